"""int8 weights times 8-bit activations."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from course_lib.kernels import dense as kernels
from course_lib.kernels import matrix_unit
from course_lib.kernels.tiles import ROWS, from_tiles, in_tiles
from course_lib.products.rows import check_codes, check_no_overflow, split_rows, unsigned_samples


def matmul_int8_plain(w: np.ndarray, x: np.ndarray) -> list[int]:
    """One vector: y[r] = Σ_k w[r, k] x[k]. The definition, in Python's integers, which never overflow."""
    return [sum(int(a) * int(b) for a, b in zip(row, x)) for row in w]


@dataclass(frozen=True)
class PackedInt8:
    """int8 weights in the order in which the kernel reads them. Made by :meth:`from_dense`.

    ``tiles`` has sixteen rows of the weights in each of its rows, four columns of each at a time; rows that are missing
    in the last pair, and columns in the last 64, are 0. ``minus_128_sums`` is −128 Σ_k w[r, k],
    which signed activations need.
    """

    tiles: np.ndarray               # (T, 16 · 64 ⌈n / 64⌉) int8, T even
    minus_128_sums: np.ndarray      # (16 T,) int32
    shape: tuple                    # (m, n)

    @classmethod
    def from_dense(cls, w: np.ndarray) -> "PackedInt8":
        """Weights that are used more than once: up to 31 rows and 63 columns of zeros larger than ``w``.

        Parameters
        ----------
        w : int8 ndarray, (m, n)

        Raises
        ------
        TypeError, ValueError
            Another dtype or number of axes.
        """
        w = check_codes("w", w, (np.int8,), (2,))
        tiles = in_tiles(w)
        sums = np.zeros(ROWS * len(tiles), np.int64)
        np.sum(w, axis=1, dtype=np.int64, out=sums[: len(w)])
        return cls(tiles, (-128 * sums).astype(np.int32), w.shape)

    def to_dense(self) -> np.ndarray:
        """The weights as they were, int8, (m, n)."""
        return from_tiles(self.tiles, self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of tiles and sums."""
        return self.tiles.nbytes + self.minus_128_sums.nbytes


def matmul_int8(w: np.ndarray | PackedInt8, x: np.ndarray, *, threads: int | None = None) -> np.ndarray:
    """Integer codes of weights times integer codes of activations, exactly.

    No rounding, no scales: y[r] = Σ_k w[r, k] x[k] over the integers, for each sample. No weights or no samples give an
    empty result, sums of nothing (n = 0) give zeros.

    Parameters
    ----------
    w : int8 ndarray, (m, n), or PackedInt8
        Weights that meet many samples, or many times a few, are worth a :meth:`PackedInt8.from_dense`.
    x : uint8 or int8 ndarray, (n,) or (batch, n)
    threads : int, by default ``cl.threads()``
        How many threads share the rows of ``w``; it changes the time and nothing else.

    Returns
    -------
    y : int32 ndarray, (m,) or (batch, m)

    Raises
    ------
    TypeError, ValueError
        Another dtype; shapes that do not match; n > 65 793 (uint8) or 131 071 (int8), where 32 bits may overflow.

    Examples
    --------
    >>> w = np.array([[1, -2, 3], [127, 127, 127]], np.int8)
    >>> matmul_int8(w, np.array([10, 20, 255], np.uint8))
    array([  735, 36195], dtype=int32)
    """
    packed = isinstance(w, PackedInt8)
    w = w if packed else check_codes("w", w, (np.int8,), (2,))
    x = check_codes("x", x, (np.uint8, np.int8), (1, 2))
    if x.shape[-1] != w.shape[1]:
        raise ValueError(f"x has shape {x.shape} and w {w.shape}; the last axes must be equally long")
    check_no_overflow(w.shape[1], 128, x)
    y = (_by_tiles if packed else _by_rows)(w, x, threads)
    return y.reshape(x.shape[:-1] + (w.shape[0],))


def _by_tiles(w, x, threads):
    samples, offset = unsigned_samples(x, w.tiles.shape[1] // ROWS)
    start = w.minus_128_sums if offset else _zeros(w.minus_128_sums.size)
    out = np.empty((len(samples), start.size), np.int32)
    done = matrix_unit.samples_at_once(len(samples))

    def part(first, stop):
        if done:
            matrix_unit.matmul(w.tiles, samples[:done], start, first, stop, out[:done])
        if done < len(samples):
            kernels.matmul_tiles(w.tiles, samples[done:], start, first, stop, out[done:])

    split_rows(part, len(w.tiles), ROWS * samples.shape[1] * (len(samples) + 3), threads=threads, align=2)
    return out if start.size == w.shape[0] else np.ascontiguousarray(out[:, : w.shape[0]])


@lru_cache(8)
def _zeros(size):
    return np.zeros(size, np.int32)


def _by_rows(w, x, threads):
    if w.shape[1] < 64:                                     # the kernel reads 64 columns at a time
        w = np.pad(w, ((0, 0), (0, 64 - w.shape[1])))
    samples, offset = unsigned_samples(x, w.shape[1])
    out = np.empty((len(samples), len(w)), np.int32)
    split_rows(lambda first, stop: kernels.matmul_rows(w[first:stop], samples, -offset, first, out), len(w),
               samples.shape[1] * (len(samples) + 3), threads=threads, align=4)
    return out
