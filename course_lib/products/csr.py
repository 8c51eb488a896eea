"""Weights that are mostly zero, times real vectors: compressed sparse rows (CSR).

The values of a row stand one after the other, and beside each the column it comes from. ``row_starts[r]`` says where
row r begins: with a values and m rows, 2a + m + 1 numbers in place of m · n.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING

import numpy as np

from course_lib.arguments import as_array, in_dtype, integer_array, whole_number
from course_lib.kernels import sparse as kernels
from course_lib.machine import pool, ways
from course_lib.machine.threads import LARGEST_COUNT
from course_lib.machine.threads import threads as thread_count

if TYPE_CHECKING:
    import scipy.sparse

GRAIN = 250_000                 # weights that are worth a thread of their own: some 60 µs
BY_WAY = {"vector": kernels.csr, "plain": kernels.csr_by_loads}
FEW = 3                         # so many samples are faster one by one
NARROW = 2**16                  # so many columns have 16-bit indices


@dataclass(frozen=True)
class SparseCSR:
    """A sparse matrix by rows: row r has values[k] in column indices[k], for row_starts[r] ≤ k < row_starts[r + 1].

    Takes arrays from wherever they are (SciPy's ``data``, ``indices``, ``indptr``), checks them, and keeps the indices
    in 16 bits where there are at most 65 536 columns, in 32 otherwise. The columns of a row may be in any order; where
    one occurs twice, its values add up. Empty rows and empty matrices are fine.

    Parameters
    ----------
    values : float32 ndarray, (a,)
    indices : integer ndarray, (a,), columns from 0 to n − 1
    row_starts : integer ndarray, (m + 1,), from 0 to a, never descending
    shape : (m, n)

    Raises
    ------
    TypeError, ValueError
        Another dtype or shape; a column that does not exist; rows that do not follow each other from 0 to a.
    """

    values: np.ndarray
    indices: np.ndarray
    row_starts: np.ndarray
    shape: tuple[int, int]

    def __post_init__(self):
        m, n = checked_shape(self.shape)
        values = checked_weights(self.values, "values", 1)
        indices = _integers(self.indices, "indices")
        row_starts = _integers(self.row_starts, "row_starts")
        if indices.size != values.size:
            raise ValueError(f"values has {values.size} entries and indices {indices.size}; each value has one column")
        if indices.size and not 0 <= indices.min() <= indices.max() < n:
            raise ValueError(f"indices run from {indices.min()} to {indices.max()}; {n} columns have 0 to {n - 1}")
        if row_starts.size != m + 1:
            raise ValueError(f"row_starts has {row_starts.size} entries; {m} rows take {m + 1}")
        if row_starts[0] != 0 or row_starts[-1] != values.size or (row_starts[1:] < row_starts[:-1]).any():
            raise ValueError(f"row_starts must go from 0 to {values.size}, the number of values, and never descend; "
                             f"it goes from {row_starts[0]} to {row_starts[-1]}")
        narrow = np.uint16 if n <= NARROW else np.uint32
        for name, array in (("values", values), ("indices", np.ascontiguousarray(indices, narrow)),
                            ("row_starts", np.ascontiguousarray(row_starts, np.int64)), ("shape", (m, n))):
            object.__setattr__(self, name, array)

    @classmethod
    def from_dense(cls, w: np.ndarray) -> "SparseCSR":
        """Everything of ``w`` that is not zero (so NaN is kept; −0 is not).   w: float32 ndarray, (m, n)

        >>> SparseCSR.from_dense(np.array([[0, 5, 0], [0, 0, 0], [7, 0, 9]], np.float32)).indices
        array([1, 0, 2], dtype=uint16)
        """
        w = checked_weights(w, "w", 2)
        rows, columns = np.nonzero(w)
        row_starts = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(w)))])
        return cls(w[rows, columns], columns, row_starts, w.shape)

    @classmethod
    def from_scipy(cls, matrix: "scipy.sparse.sparray | scipy.sparse.spmatrix") -> "SparseCSR":
        """A sparse matrix or array of SciPy, in any of its forms. Values are taken as they are: float32."""
        if not hasattr(matrix, "tocsr"):
            raise TypeError(f"matrix is a {type(matrix).__name__}; it must be a sparse matrix or array of SciPy: "
                            "for an array take SparseCSR.from_dense")
        matrix = matrix.tocsr()
        return cls(matrix.data, matrix.indices, matrix.indptr, matrix.shape)

    def to_dense(self) -> np.ndarray:
        """The matrix with its zeros: float32 ndarray, (m, n)."""
        dense = np.zeros(self.shape, np.float32)
        np.add.at(dense, (np.repeat(np.arange(self.shape[0]), np.diff(self.row_starts)), self.indices), self.values)
        return dense

    @property
    def nbytes(self) -> int:
        """Bytes of the three arrays."""
        return self.values.nbytes + self.indices.nbytes + self.row_starts.nbytes

    @property
    def density(self) -> float:
        """The share of entries that are stored; 0 for an empty matrix."""
        return self.values.size / max(1, self.shape[0] * self.shape[1])


def matmul_csr_plain(values: np.ndarray, indices: np.ndarray, row_starts: np.ndarray, x: np.ndarray) -> list[float]:
    """One vector: y[r] = Σ values[k] x[indices[k]] over the row's k. The definition, in Python's floats (64 bits)."""
    return [sum(float(values[k]) * float(x[indices[k]]) for k in range(start, end))
            for start, end in zip(row_starts[:-1], row_starts[1:])]


def matmul_csr(w: SparseCSR, x: np.ndarray, *, threads: int | None = None) -> np.ndarray:
    """Sparse weights times real vectors: y[r] = Σ w[r, c] x[c] over the stored entries.

    What is not stored is not multiplied, so an infinity or NaN in ``x`` meets stored weights only, as in SciPy; stored
    ones follow the rules of floats (0 · inf is NaN). Sums are in float32, in an order that depends on the row alone for
    up to three vectors, and is another one for more: the last bits may differ between the two. How entries of ``x`` are
    fetched is a matter of speed alone (see ``machine/ways.py``): it changes no bit.

    Parameters
    ----------
    w : SparseCSR, (m, n)
    x : float32 ndarray, (n,) or (batch, n)
    threads : int, by default ``cl.threads()``
        They share the rows, by the number of stored weights; it changes the time and nothing else.

    Returns
    -------
    y : float32 ndarray, (m,) or (batch, m)

    Raises
    ------
    TypeError, ValueError
        ``w`` is no SparseCSR; ``x`` has another dtype or length.

    Examples
    --------
    >>> w = SparseCSR.from_dense(np.array([[0, 5, 0], [0, 0, 0], [7, 0, 9]], np.float32))
    >>> matmul_csr(w, np.array([1, 2, 3], np.float32))
    array([10.,  0., 34.], dtype=float32)
    """
    if not isinstance(w, SparseCSR):
        raise TypeError(f"w is a {type(w).__name__}; it must be a SparseCSR: SparseCSR.from_dense(w)")
    m, n = w.shape
    x = checked_vectors(x, n)
    if x.ndim == 1 or len(x) <= FEW:
        kernel = BY_WAY[ways.faster("CSR product", lambda way: BY_WAY[way](*_trial(), np.empty(256, np.float32)))]
        y = np.empty(x.shape[:-1] + (m,), np.float32)
        for sample, out in ((x, y),) if x.ndim == 1 else zip(x, y):
            share_rows(partial(_csr, kernel, w, sample, out), w.row_starts, threads, GRAIN)
        return y
    x_t, width = transposed(x)
    y = np.empty((m, width), np.float32)
    share_rows(partial(_csr_samples, w, x_t, y), w.row_starts, threads, GRAIN // width)
    return np.ascontiguousarray(y[:, : len(x)].T)


def _csr(kernel, w, x, y, first, last):
    kernel(w.values, w.indices, w.row_starts[first : last + 1], x, y[first:last])


@lru_cache
def _trial():
    """What tells which way is faster here: rows of 256 weights, and a vector that the innermost cache holds."""
    indices = np.random.default_rng(0).integers(0, 4096, 256 * 256).astype(np.uint16)
    return np.ones(indices.size, np.float32), indices, np.arange(0, indices.size + 1, 256), np.ones(4096, np.float32)


def _csr_samples(w, x, y, first, last):
    kernels.csr_samples(w.values, w.indices, w.row_starts[first : last + 1], x, y[first:last])


def share_rows(task: Callable[[int, int], None], row_starts: np.ndarray, threads: int | None, grain: int) -> None:
    """Call ``task(first row, row after the last)`` for parts that cover the rows once, about as heavy."""
    rows, weights = len(row_starts) - 1, int(row_starts[-1])
    parts = thread_count() if threads is None else whole_number(threads, "threads", 1, LARGEST_COUNT)
    parts = min(parts, weights // max(1, grain))
    if parts < 2:
        task(0, rows)
        return
    cuts = np.searchsorted(row_starts, [weights * part // parts for part in range(1, parts)])
    edges = [0, *map(int, cuts), rows]                              # now, because it needs Python's lock
    pool.run(lambda first, last: task(edges[first], edges[last]), parts, threads=parts)


def transposed(x: np.ndarray) -> tuple[np.ndarray, int]:
    """x with a vector of samples for each entry, and one more of zeros: ((n + 1) · width,) float32, and the width."""
    width = -(-len(x) // kernels.SAMPLES) * kernels.SAMPLES
    x_t = np.zeros((x.shape[1] + 1, width), np.float32)
    x_t[:-1, : len(x)] = x.T
    return x_t.reshape(-1), width


def checked_weights(w: np.ndarray, name: str, ndim: int) -> np.ndarray:
    """``w`` as a C-contiguous float32 array with this many axes."""
    given, w = w, as_array(w, name)
    if w.dtype != np.float32:
        raise TypeError(f"{name} has dtype {w.dtype}; it must be float32: use {in_dtype(given, name, 'float32')}")
    if w.ndim != ndim:
        raise ValueError(f"{name} has shape {w.shape}; it must have {ndim} axes")
    return np.ascontiguousarray(w)


def checked_vectors(x: np.ndarray, n: int) -> np.ndarray:
    """``x`` as a C-contiguous float32 array, (n,) or (batch, n)."""
    given, x = x, as_array(x)
    if x.dtype != np.float32:
        raise TypeError(f"x has dtype {x.dtype}; it must be float32: use {in_dtype(given, 'x', 'float32')}")
    if x.ndim not in (1, 2) or x.shape[-1] != n:
        raise ValueError(f"x has shape {x.shape}; it must be ({n},) or (batch, {n}), as w has {n} columns")
    return np.ascontiguousarray(x)


def checked_shape(shape: Sequence[int]) -> tuple[int, int]:
    """``shape`` as two whole numbers."""
    if not isinstance(shape, (tuple, list)) or len(shape) != 2:
        raise ValueError(f"shape={shape!r} must be two whole numbers, rows and columns")
    return tuple(whole_number(size, "shape", 0, 2**31 - 1) for size in shape)


def _integers(array, name):
    array = integer_array(array, name)
    if array.ndim != 1:
        raise ValueError(f"{name} has shape {array.shape}; it must have 1 axis")
    return array
