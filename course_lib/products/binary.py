"""±1 weights times ±1 activations: a bit each, a product is XNOR, a sum is a popcount."""

import numpy as np

from course_lib.arguments import as_array, float_array
from course_lib.kernels import bits as kernels
from course_lib.machine import pool
from course_lib.products.bitserial import BitPlanes, Coding, as_rows, matmul_bitserial, no_words, rows_of_a_part


def matmul_binary_plain(w: np.ndarray, x: np.ndarray) -> list[int]:
    """One vector: y[r] = n − 2 popcount(w[r] xor x), where a bit is 1 for −1. The definition."""
    def as_bits(row):                                               # one long whole number, entry k in bit k
        return sum((value < 0) << k for k, value in enumerate(row))

    return [len(x) - 2 * (as_bits(row) ^ as_bits(x)).bit_count() for row in w]


class BinaryMatrix(BitPlanes):
    """A matrix of ±1 (or one vector), a bit an entry: BitPlanes with one bipolar plane; a bit is 1 for +1, 0 for −1.

    Made by :meth:`from_dense` from ±1, or by :func:`pack_signs` from the signs of any numbers.
    """

    @classmethod
    def from_dense(cls, matrix: np.ndarray, *, threads: int | None = None) -> "BinaryMatrix":
        """Pack a matrix that is ±1 already.

        Parameters
        ----------
        matrix : ndarray, (rows, n) or (n,), integers or floats, every entry −1 or +1
        threads : int, by default ``cl.threads()``

        Raises
        ------
        TypeError, ValueError
            Neither numbers nor 1 or 2 axes; an entry that is not ±1 (0 and NaN, for instance).

        Examples
        --------
        >>> BinaryMatrix.from_dense([[1, -1, 1]]).to_dense()
        array([[ 1, -1,  1]], dtype=int8)
        """
        matrix = as_array(matrix, "matrix")
        if matrix.dtype.kind not in "if":
            raise TypeError(f"matrix has dtype {matrix.dtype}; it must be signed integers or floats")
        if matrix.ndim not in (1, 2):
            raise ValueError(f"matrix has shape {matrix.shape}; it must have 1 or 2 axes")
        wrong = np.argwhere(np.abs(matrix) != 1)
        if len(wrong):
            where = tuple(map(int, wrong[0]))
            raise ValueError(f"matrix has {matrix[where]} at index {where}; every entry must be −1 or +1: pack_signs "
                             "takes the signs of other numbers")
        return super().from_dense(matrix.astype(np.int8), 1, Coding.BIPOLAR, threads=threads)


def pack_signs(x: np.ndarray, *, threads: int | None = None) -> BinaryMatrix:
    """The signs of real numbers, a bit each: +1 where x ≥ 0 (so for −0 and +0 too, and for +inf), −1 elsewhere.

    Parameters
    ----------
    x : float32 or float64 ndarray, (rows, n) or (n,)
    threads : int, by default ``cl.threads()``

    Returns
    -------
    BinaryMatrix

    Raises
    ------
    TypeError, ValueError
        Another dtype or number of axes; a NaN, which has no sign.

    Examples
    --------
    >>> pack_signs(np.array([0.5, -0.1, 0.0])).to_dense()
    array([ 1, -1,  1], dtype=int8)
    """
    x = float_array(x)
    if x.ndim not in (1, 2):
        raise ValueError(f"x has shape {x.shape}; it must have 1 or 2 axes")
    rows = as_rows(x)
    words, nan = no_words(len(rows), 1, rows.shape[1]), []

    def part(start, stop):
        if kernels.pack_signs(rows[start:stop], start, words.reshape(len(words), words.shape[2])):
            nan.append(start)

    pool.run(part, len(rows), threads=threads, align=kernels.ROWS, grain=rows_of_a_part(rows.shape[1]))
    if nan:
        where = tuple(map(int, np.argwhere(np.isnan(x))[0]))
        raise ValueError(f"x has a NaN at index {where}; NaN has no sign, remove it first")
    return BinaryMatrix(words, x.shape, 1, Coding.BIPOLAR)


def matmul_binary(w: BinaryMatrix, x: BinaryMatrix | np.ndarray, *, threads: int | None = None) -> np.ndarray:
    """±1 weights times ±1 activations, exactly: y[r] = Σ_k w[r, k] x[k] = n − 2 popcount(w[r] xor x) for each sample.

    No weights or no samples give an empty result, sums of nothing (n = 0) give zeros.

    Parameters
    ----------
    w : BinaryMatrix, (m, n)
    x : BinaryMatrix, (n,) or (batch, n), as from ``pack_signs``; or an array of ±1, which is packed first
    threads : int, by default ``cl.threads()``
        How many threads share the rows of ``w``; it changes the time and nothing else.

    Returns
    -------
    y : int32 ndarray, (m,) or (batch, m)

    Raises
    ------
    TypeError, ValueError
        ``w`` is not a BinaryMatrix; shapes that do not match; an array ``x`` that is not ±1.

    Source: Rastegari et al. 2016, "XNOR-Net: ImageNet classification using binary convolutional neural networks".

    Examples
    --------
    >>> w = BinaryMatrix.from_dense([[1, -1, 1], [1, 1, 1]])
    >>> matmul_binary(w, pack_signs(np.array([0.3, -2.0, -0.1])))
    array([ 1, -1], dtype=int32)
    """
    if not isinstance(w, BinaryMatrix):
        raise TypeError(f"w is {type(w).__name__}; it must be a BinaryMatrix, as BinaryMatrix.from_dense makes")
    if not isinstance(x, BinaryMatrix):
        x = BinaryMatrix.from_dense(x, threads=threads)
    return matmul_bitserial(w, x, threads=threads)
