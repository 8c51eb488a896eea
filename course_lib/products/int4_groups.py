"""4-bit weights in groups, each with a scale of its own, times real activations: how language models are stored."""

from dataclasses import dataclass

import numpy as np

from course_lib.arguments import finite_array, whole_number
from course_lib.kernels import dense as kernels
from course_lib.kernels.tiles import ROWS
from course_lib.machine import simd
from course_lib.numerics import Granularity, calibrate, quantize
from course_lib.products.rows import check_codes, split_rows


def matmul_int4_groups_plain(codes: np.ndarray, scales: np.ndarray, x: np.ndarray, group: int) -> list[float]:
    """One vector: y[r] = Σ_g s[r, g] Σ_k q[r, k] x[k], k in group g. The definition, in Python's floats (64 bits)."""
    return [sum(float(scales[r][k // group]) * int(q) * float(x[k]) for k, q in enumerate(row))
            for r, row in enumerate(codes)]


@dataclass(frozen=True)
class Int4Groups:
    """4-bit weights with a scale per group of columns, in the order in which the kernel reads them.

    Made by :meth:`from_codes`, or by :meth:`from_dense`, which quantizes.

    Each row of ``tiles`` is sixteen rows of the weights, eight columns at a time: one int32 holds eight codes of a row,
    the first in its lowest bits. Shifting all sixteen by 4 j brings up column j of sixteen rows. ``scales`` stands in
    the same order, sixteen rows of a group together. Rows that are missing in the last pair of tiles are 0.
    """

    tiles: np.ndarray               # (T, 16 ⌈n / 8⌉) int32, T even
    scales: np.ndarray              # (T, 16 ⌈n / group⌉) float32
    shape: tuple                    # (m, n)
    group: int

    @classmethod
    def from_dense(cls, w: np.ndarray, group: int = 128) -> "Int4Groups":
        """Quantize float32 weights, (m, n), symmetrically to [−7, 7], S = max|w| / 7 in each group."""
        w = check_codes("w", w, (np.float32,), (2,))
        if w.size == 0:
            raise ValueError(f"w has shape {w.shape}; it should have weights")
        q = calibrate(finite_array(w, "w"), bits=4, granularity=Granularity.PER_GROUP, group_size=group)
        return cls.from_codes(quantize(w, q), q.scale, group)

    @classmethod
    def from_codes(cls, codes: np.ndarray, scales: np.ndarray, group: int = 128) -> "Int4Groups":
        """Prepare 4-bit codes and their scales for :func:`matmul_int4_groups`, without any loss.

        Parameters
        ----------
        codes : int8 ndarray, (m, n), codes in [−8, 7]
        scales : float32 ndarray, (m, ⌈n / group⌉)
            Column k of row r stands for ``scales[r, k // group] * codes[r, k]``; the last group may be short.
        group : int, a multiple of 8

        Raises
        ------
        TypeError, ValueError
            Another dtype or shape; a code outside [−8, 7]; a group that is not a multiple of 8.

        Examples
        --------
        >>> w = Int4Groups.from_codes(np.array([[1, -8, 7]], np.int8), np.array([[0.5]], np.float32))
        >>> w.to_dense()
        array([[ 0.5, -4. ,  3.5]], dtype=float32)
        """
        codes = check_codes("codes", codes, (np.int8,), (2,))
        scales = check_codes("scales", scales, (np.float32,), (2,))
        group = whole_number(group, "group", 1, 2**31)
        if group % 8:
            raise ValueError(f"group is {group}; it should be a multiple of 8, of the columns that lie together")
        (m, n), groups = codes.shape, -(-codes.shape[1] // group)
        if scales.shape != (m, groups):
            raise ValueError(f"scales has shape {scales.shape}; codes of shape {codes.shape} in groups of {group} take "
                             f"({m}, {groups})")
        if codes.size and (codes.min() < -8 or codes.max() > 7):
            raise ValueError(f"codes go from {codes.min()} to {codes.max()}; 4 bits hold −8 to 7")
        count, steps = 2 * -(-m // (2 * ROWS)), -(-n // 8)
        padded = np.zeros((count * ROWS, 8 * steps), np.uint32)
        padded[:m, :n] = codes.view(np.uint8) & 15
        places = np.arange(0, 32, 4, dtype=np.uint32)
        eights = (padded.reshape(count, ROWS, steps, 8) << places).sum(-1, dtype=np.uint32)
        tiles = simd.aligned((count, ROWS * steps), np.int32)
        tiles.reshape(count, steps, ROWS)[:] = eights.transpose(0, 2, 1).view(np.int32)
        all_scales = np.zeros((count * ROWS, groups), np.float32)
        all_scales[:m] = scales
        by_group = simd.aligned((count, ROWS * groups), np.float32)
        by_group.reshape(count, groups, ROWS)[:] = all_scales.reshape(count, ROWS, groups).transpose(0, 2, 1)
        return cls(tiles, by_group, (m, n), group)

    @property
    def nbytes(self) -> int:
        """Bytes of codes and scales."""
        return self.tiles.nbytes + self.scales.nbytes

    def to_dense(self) -> np.ndarray:
        """The weights that the codes stand for, S q, float32, (m, n)."""
        (m, n), count = self.shape, len(self.tiles)
        steps, groups = self.tiles.shape[1] // ROWS, self.scales.shape[1] // ROWS
        eights = self.tiles.reshape(count, steps, ROWS, 1).transpose(0, 2, 1, 3)
        codes = (eights << np.arange(28, -1, -4, dtype=np.int32)) >> np.int32(28)       # (T, 16, ⌈n / 8⌉, 8)
        scales = self.scales.reshape(count, groups, ROWS).transpose(0, 2, 1).reshape(count * ROWS, groups)
        codes = codes.reshape(count * ROWS, 8 * steps)[:m, :n].astype(np.float32)
        return codes * np.repeat(scales, self.group, axis=1)[:m, :n]


def matmul_int4_groups(w: Int4Groups, x: np.ndarray, *, threads: int | None = None) -> np.ndarray:
    """4-bit weights in groups, times real activations; the weights are unpacked in registers, never in memory.

    Sums run in float32, so that the result differs from the exact one by at most (group / 2 + ⌈n / group⌉ + 4) 2⁻²⁴
    Σ_k |S q x|; activations are not rounded. Infinite or NaN activations act as in any product of floats (a code of 0
    times infinity is NaN). It is made for one or a few samples: each sample unpacks the weights anew.

    Parameters
    ----------
    w : Int4Groups, from ``Int4Groups.from_dense`` or ``Int4Groups.from_codes``
    x : float32 ndarray, (n,) or (batch, n)
    threads : int, by default ``cl.threads()``
        How many threads share the rows of ``w``; it changes the time and nothing else.

    Returns
    -------
    y : float32 ndarray, (m,) or (batch, m)

    Raises
    ------
    TypeError, ValueError
        Another type or dtype; shapes that do not match.

    Examples
    --------
    >>> w = Int4Groups.from_codes(np.array([[1, -8, 7]], np.int8), np.array([[0.5]], np.float32))
    >>> matmul_int4_groups(w, np.array([2, 1, 1], np.float32))
    array([0.5], dtype=float32)

    Source: Frantar et al. 2022, "GPTQ", sec. 4 (grouping); the layout is ours.
    """
    if not isinstance(w, Int4Groups):
        raise TypeError(f"w is {type(w).__name__}; it must be Int4Groups: Int4Groups.from_dense(w)")
    x = check_codes("x", x, (np.float32,), (1, 2))
    m, n = w.shape
    if x.shape[-1] != n:
        raise ValueError(f"x has shape {x.shape} and w {w.shape}; the last axes must be equally long")
    samples = x.reshape(1 if x.ndim == 1 else len(x), n)
    if n % 8:
        samples = np.pad(samples, ((0, 0), (0, -n % 8)))
    out = np.empty((len(samples), ROWS * len(w.tiles)), np.float32)
    split_rows(lambda first, stop: kernels.matmul_int4_groups(w.tiles, w.scales, samples, w.group, first, stop, out),
               len(w.tiles), 4 * ROWS * n * len(samples), threads=threads, align=2)
    return np.ascontiguousarray(out[:, :m]).reshape(x.shape[:-1] + (m,))
