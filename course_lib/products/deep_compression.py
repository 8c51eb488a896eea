"""Deep Compression's weights, multiplied as they are: shared values behind a codebook, columns behind a relative index.

A weight is one byte: 4 bits say how many zeros come before it and 4 bits which of 15 values it is (0: a filler). With
16 to 32 values it is two bytes, 10 bits and 6. See ``coding.sparse_index`` for the gaps and their fillers.

A running sum of gaps gives one column after the other, which a processor that computes in vectors cannot use; so
sixteen rows run side by side, entry by entry. Rows of about the same length stand together (they are sorted), because
the shorter ones wait for the longest with empty entries.
"""

from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np

from course_lib.coding import relative_index
from course_lib.kernels import sparse as kernels
from course_lib.machine import ways
from course_lib.products.csr import FEW, checked_shape, checked_vectors, checked_weights, share_rows, transposed

ROWS = 16                       # of a group, side by side
BY_WAY = {"vector": kernels.codebook, "plain": kernels.codebook_by_loads}
GRAIN = 16_000                  # steps of sixteen entries that are worth a thread of their own


@dataclass(frozen=True)
class DeepCompressed:
    """Sparse weights with few different values: codes and gaps, sixteen rows side by side. Made by ``from_dense``.

    Attributes
    ----------
    entries : uint8 or uint16 ndarray, (16 · steps,)
        gap · 16 + code in a byte, gap · 64 + code in two; code 0 is a filler, code c the value ``codebook[c − 1]``.
        Entry t of the row in lane l of group g is entries[16 (group_starts[g] + t) + l].
    group_starts : int64 ndarray, (groups + 1,)
    rows : int32 ndarray, (16 · groups,), the row in each lane; m where the last group has none
    codebook : float32 ndarray, (k,), k ≤ 15 for one byte, ≤ 32 for two
    shape : (m, n)
    """

    entries: np.ndarray
    group_starts: np.ndarray
    rows: np.ndarray
    codebook: np.ndarray
    shape: tuple[int, int]

    def __post_init__(self):
        m, n = checked_shape(self.shape)
        groups, k = -(-m // ROWS), self.codebook.size
        for name, array, dtypes in (
            ("entries", self.entries, (np.uint8, np.uint16)), ("group_starts", self.group_starts, (np.int64,)),
            ("rows", self.rows, (np.int32,)), ("codebook", self.codebook, (np.float32,)),
        ):
            if array.dtype not in dtypes or array.ndim != 1 or not array.flags.c_contiguous:
                raise TypeError(f"{name} is an array of {array.dtype} with {array.ndim} axes; it must be of "
                                f"{' or '.join(np.dtype(d).name for d in dtypes)}, with one")
        most = 15 if self.entries.dtype == np.uint8 else 32
        if k > most:
            raise ValueError(f"codebook has {k} values; {self.entries.dtype} entries have {most} at most")
        starts, steps = self.group_starts, self.entries.size / ROWS
        if starts.size != groups + 1 or starts[0] != 0 or (np.diff(starts) < 0).any() or starts[-1] != steps:
            raise ValueError(f"group_starts must have {groups + 1} numbers that ascend from 0 to {steps:g}")
        if not np.array_equal(np.sort(self.rows)[:m], np.arange(m)) or self.rows.size != ROWS * groups:
            raise ValueError(f"rows must name each of the {m} rows once, and {m} in the lanes that are left over")
        for columns, codes, _ in self._groups():
            if codes.max(initial=0) > k or columns[codes > 0].max(initial=-1) >= n:
                raise ValueError(f"entries lead past the {n} columns or past the {k} values of the codebook")

    def _groups(self):
        """Columns and codes of each group, (steps, 16), and its rows."""
        bits = 4 if self.entries.dtype == np.uint8 else 6
        for g, (start, stop) in enumerate(zip(self.group_starts[:-1], self.group_starts[1:])):
            here = self.entries[ROWS * start : ROWS * stop].reshape(-1, ROWS).astype(np.int64)
            yield np.cumsum((here >> bits) + 1, axis=0) - 1, here % 2**bits, self.rows[ROWS * g : ROWS * (g + 1)]

    @classmethod
    def from_dense(cls, w: np.ndarray) -> "DeepCompressed":
        """``w`` itself, without any loss: at most 32 different values beside zero (share them first, by k-means).

        Parameters
        ----------
        w : float32 ndarray, (m, n)

        Raises
        ------
        TypeError, ValueError
            Another dtype or shape; more than 32 values.

        Examples
        --------
        >>> w = DeepCompressed.from_dense(np.array([[0, 0, 5, 0, 7], [0, 0, 0, 0, 0]], np.float32))
        >>> w.codebook.tolist(), w.entries[:32:16].tolist()         # two zeros and value 1, one zero and value 2
        ([5.0, 7.0], [33, 18])
        """
        w = checked_weights(w, "w", 2)
        m, n = checked_shape(w.shape)
        values, which = np.unique(w[w != 0], return_inverse=True)
        if values.size > 32:
            raise ValueError(f"w has {values.size} different values beside zero; a codebook here has 32 at most: "
                             "let those that are not zero share values first, by cl.numerics.kmeans")
        codes = np.zeros(w.shape, np.uint8)
        codes[w != 0] = which + 1
        narrow = values.size <= 15
        index = relative_index(codes, 4 if narrow else 10)
        steps = np.diff(index.row_starts)
        order = np.argsort(-steps, kind="stable")
        groups = -(-m // ROWS)
        rows = np.full(groups * ROWS, m, np.int32)
        rows[:m] = order
        group_starts = np.concatenate([[0], np.cumsum(steps[order[::ROWS]])]).astype(np.int64)
        lane_of = np.empty(m, np.int64)
        lane_of[order] = np.arange(m)
        lane = np.repeat(lane_of, steps)                                        # of each entry
        t = np.arange(index.gaps.size) - np.repeat(index.row_starts[:-1], steps)
        entries = np.zeros(ROWS * int(group_starts[-1]), np.uint8 if narrow else np.uint16)
        packed = (index.gaps.astype(np.int64) << (4 if narrow else 6)) | index.values
        entries[ROWS * (group_starts[lane // ROWS] + t) + lane % ROWS] = packed
        return cls(entries, group_starts, rows, values, w.shape)

    def to_dense(self) -> np.ndarray:
        """The matrix with its zeros: float32 ndarray, (m, n)."""
        dense, values = np.zeros(self.shape, np.float32), np.append(np.float32(0), self.codebook)
        for columns, codes, rows in self._groups():
            step, lane = np.nonzero(codes)
            dense[rows[lane], columns[step, lane]] = values[codes[step, lane]]
        return dense

    @property
    def nbytes(self) -> int:
        """Bytes of everything that the product needs: entries, starts, rows and codebook."""
        return self.entries.nbytes + self.group_starts.nbytes + self.rows.nbytes + self.codebook.nbytes


def matmul_codebook_plain(gaps: np.ndarray, codes: np.ndarray, row_starts: np.ndarray, codebook: np.ndarray,
                          x: np.ndarray) -> list[float]:
    """One vector, with entries row by row as ``coding.relative_index`` gives them. The definition."""
    y = []
    for start, end in zip(row_starts[:-1], row_starts[1:]):
        total, column = 0.0, -1
        for gap, code in zip(gaps[start:end], codes[start:end]):
            column += int(gap) + 1
            if code:                                                            # 0 is a filler
                total += float(codebook[code - 1]) * float(x[column])
        y.append(total)
    return y


def matmul_codebook(w: DeepCompressed, x: np.ndarray, *, threads: int | None = None) -> np.ndarray:
    """Deep Compression's weights times real vectors: y[r] = Σ w[r, c] x[c], straight from codes and gaps.

    Nothing is multiplied for fillers and weights that are not stored, so an infinity or NaN in ``x`` meets stored
    weights only. Sums are in float32, in another order for more than three vectors, as in ``matmul_csr``.

    Parameters
    ----------
    w : DeepCompressed, (m, n)
    x : float32 ndarray, (n,) or (batch, n)
    threads : int, by default ``cl.threads()``
        They share the rows, by the number of entries; it changes the time and nothing else.

    Returns
    -------
    y : float32 ndarray, (m,) or (batch, m)

    Raises
    ------
    TypeError, ValueError
        ``w`` is no DeepCompressed; ``x`` has another dtype or length.

    Examples
    --------
    >>> w = DeepCompressed.from_dense(np.array([[0, 0, 5, 0, 7], [0, 0, 0, 0, 0]], np.float32))
    >>> matmul_codebook(w, np.array([1, 2, 3, 4, 5], np.float32))
    array([50.,  0.], dtype=float32)
    """
    if not isinstance(w, DeepCompressed):
        raise TypeError(f"w is a {type(w).__name__}; it must be a DeepCompressed: DeepCompressed.from_dense(w)")
    m, n = w.shape
    x, table = checked_vectors(x, n), _table(w)

    def part(kernel, x, y, first, last):
        kernel(w.entries, w.group_starts[first : last + 1], w.rows[ROWS * first : ROWS * last], table, x, y)

    if x.ndim == 1 or len(x) <= FEW:
        if not n:
            return np.zeros(x.shape[:-1] + (m,), np.float32)        # fillers alone: there is no x[0] to read for them
        kernel = BY_WAY[ways.faster("Deep Compression product", _try)]
        y = np.empty(x.shape[:-1] + (m,), np.float32)
        for sample, out in ((x, y),) if x.ndim == 1 else zip(x, y):
            share_rows(partial(part, kernel, sample, out), w.group_starts, threads, GRAIN)
        return y
    x_t, width = transposed(x)
    y = np.empty((m, width), np.float32)
    share_rows(partial(part, kernels.codebook_samples, x_t, y), w.group_starts, threads, GRAIN // width)
    return np.ascontiguousarray(y[:, : len(x)].T)


def _try(way):
    """Some work that tells which way is faster here."""
    BY_WAY[way](*_trial(), np.empty(256, np.float32))


@lru_cache
def _trial():
    """Sixteen groups of 256 steps, a weight in each lane with 0 to 15 zeros before it:
    entries, starts, rows, table, x."""
    entries = np.random.default_rng(0).integers(0, 256, 16 * 256 * ROWS).astype(np.uint8) | np.uint8(1)
    return (entries, np.arange(0, 16 * 256 + 1, 256), np.arange(256, dtype=np.int32), np.ones(32, np.float32),
            np.ones(4096, np.float32))


def _table(w):
    """The codebook as the kernel looks it up: by the low 5 bits of an entry, so 15 values are there twice."""
    codes = np.arange(1, 1 + w.codebook.size)
    table = np.zeros(32, np.float32)
    table[codes % 32] = w.codebook
    if w.entries.dtype == np.uint8:
        table[codes + 16] = w.codebook
    return table
