"""2:4 sparsity: of every four weights in a row two are kept, so a weight needs 2 bits for its place and no index.

Half of the multiplications, and a bit more than half of the bytes: 32 + 2 bits for every second weight. With 8-bit
codes for weights (as ``quantize`` gives them; multiply the sums by the rows' scales) it is 8 + 2. With many samples the
multiplications count, and there is little to gain: picking an entry of x takes as long as the multiplication saved.
"""

import itertools
from dataclasses import dataclass

import numpy as np

from course_lib.arguments import as_array, float_array
from course_lib.kernels import sparse as kernels
from course_lib.machine import pool
from course_lib.products.csr import checked_shape, checked_vectors

STEP = 16                       # columns of one step of the kernel; a tile is sixteen steps
GRAIN = 256                     # rows of 4096 columns that are worth a thread of their own
_PLACES = np.array([[0, 1], [0, 1], [0, 1], [0, 1], [0, 2], [0, 2], [1, 2], [0, 1],     # by the four bits "not zero"
                    [0, 3], [0, 3], [1, 3], [0, 1], [2, 3], [0, 1], [0, 1], [0, 1]], np.uint8)


@dataclass(frozen=True)
class TwoFour:
    """Weights of which every four keep two, laid out for the kernel. Made by ``from_dense``.

    Attributes
    ----------
    values : float32 or int8 ndarray, (⌈m / 2⌉, steps, 4, 2, 2)
        By pair of rows, step of sixteen columns, four columns of it, row of the pair, and which of the two weights.
    positions : uint32 ndarray, (⌈m / 2⌉, ⌈steps / 16⌉, 16)
        Bits 2s and 2s + 1 of lane l: which of its four columns weight l of step s (of sixteen) comes from.
    shape : (m, n)
    """

    values: np.ndarray
    positions: np.ndarray
    shape: tuple[int, int]

    def __post_init__(self):
        m, n = checked_shape(self.shape)
        pairs, steps = -(-m // 2), -(-n // STEP)
        for name, array, dtypes, shape in (
            ("values", self.values, (np.float32, np.int8), (pairs, steps, 4, 2, 2)),
            ("positions", self.positions, (np.uint32,), (pairs, -(-steps // 16), 16)),
        ):
            if array.dtype not in dtypes or array.shape != shape or not array.flags.c_contiguous:
                raise ValueError(f"{name} has dtype {array.dtype} and shape {array.shape}; it must be "
                                 f"{' or '.join(np.dtype(d).name for d in dtypes)}, {shape}, in C order")

    @classmethod
    def from_dense(cls, w: np.ndarray) -> "TwoFour":
        """``w`` itself, without any loss. Where a group has more zeros, some of the two weights kept are zeros.

        Parameters
        ----------
        w : float32 or int8 ndarray, (m, n), at most two of columns 4g to 4g + 3 not zero: see ``prune_two_four``

        Raises
        ------
        TypeError, ValueError
            Another dtype or shape; a group with more than two weights.
        """
        w = as_array(w, "w")
        if w.dtype not in (np.float32, np.int8):
            raise TypeError(f"w has dtype {w.dtype}; it must be float32 or int8")
        if w.ndim != 2:
            raise ValueError(f"w has shape {w.shape}; it must have 2 axes")
        m, n = checked_shape(w.shape)
        pairs, steps = -(-m // 2), -(-n // STEP)
        groups = np.zeros((2 * pairs, STEP * steps), w.dtype)
        groups[:m, :n] = w
        groups = groups.reshape(2 * pairs, 4 * steps, 4)
        kept = (groups != 0) @ np.array([1, 2, 4, 8], np.uint8)                 # four bits a group
        crowded = np.argwhere(np.bitwise_count(kept) > 2)
        if len(crowded):
            row, group = map(int, crowded[0])
            four = slice(4 * group, 4 * group + 4)
            raise ValueError(f"w[{row}, {four.start}:{four.stop}] has more than two weights: {w[row, four]}; "
                             "use prune_two_four(w) first")
        places = _PLACES[kept]                                                  # (2 pairs, 4 steps, 2)
        values = np.take_along_axis(groups, places.astype(np.int64), axis=2)
        values, places = (a.reshape(pairs, 2, steps, 4, 2).transpose(0, 2, 3, 1, 4) for a in (values, places))
        lanes = np.zeros((pairs, -(-steps // 16) * 16, 16), np.uint32)
        lanes[:, :steps] = places.reshape(pairs, steps, 16)
        shifts = 2 * np.arange(16, dtype=np.uint32)[:, None]
        positions = np.bitwise_or.reduce(lanes.reshape(pairs, -(-steps // 16), 16, 16) << shifts, axis=2)
        return cls(np.ascontiguousarray(values), np.ascontiguousarray(positions), (m, n))

    def to_dense(self) -> np.ndarray:
        """The matrix with its zeros, in the dtype of the values, (m, n)."""
        (m, n), (pairs, steps) = self.shape, self.values.shape[:2]
        shifts = 2 * np.arange(16, dtype=np.uint32)[:, None]
        lanes = (self.positions[:, :, None, :] >> shifts & 3).reshape(pairs, -(-steps // 16) * 16, 16)[:, :steps]
        places = lanes.reshape(pairs, steps, 4, 2, 2).transpose(0, 3, 1, 2, 4).astype(np.int64)
        groups = np.zeros((pairs, 2, steps, 4, 4), self.values.dtype)
        np.put_along_axis(groups, places, self.values.transpose(0, 3, 1, 2, 4), axis=4)
        return groups.reshape(2 * pairs, STEP * steps)[:m, :n]

    @property
    def nbytes(self) -> int:
        """Bytes of values and positions."""
        return self.values.nbytes + self.positions.nbytes


def is_two_four(w: np.ndarray) -> bool:
    """Whether at most two of every four weights in a row are not zero, so that :meth:`TwoFour.from_dense` takes them.

    Parameters
    ----------
    w : ndarray of numbers, (…, n); NaN is not zero, a last, shorter group may have two as well

    Returns
    -------
    bool; True for an empty array

    Raises
    ------
    TypeError, ValueError
        ``w`` holds no numbers, or is a single one.

    Examples
    --------
    >>> is_two_four([[1, 0, 0, 4, 5, 0]]), is_two_four([[1, 2, 3, 0]])
    (True, False)
    """
    return bool((np.count_nonzero(_groups(as_array(w, "w")), axis=1) <= 2).all())


def two_four_mask(w: np.ndarray) -> np.ndarray:
    """Which weights :func:`prune_two_four` keeps: two of every four, also where they are zero themselves.

    Multiply by it to hold a pattern while training goes on.

    Parameters
    ----------
    w : float32 or float64 ndarray, (…, n)

    Returns
    -------
    bool ndarray, shape of ``w``

    Examples
    --------
    >>> two_four_mask(np.array([[1, -4, 3, 2, 0, 0, 0, 0, 7]], np.float32)).astype(int)
    array([[0, 1, 1, 0, 1, 1, 0, 0, 1]])
    """
    w = float_array(w, "w")
    size = np.abs(_groups(w).T)                                                 # (4, groups)
    size[np.isnan(size)] = np.inf
    beaten = np.zeros(size.shape, np.uint8)                                     # by how many others of its group
    for left, right in itertools.combinations(range(4), 2):
        stays = size[left] >= size[right]
        beaten[right] += stays
        beaten[left] += ~stays
    n = w.shape[-1]
    return np.ascontiguousarray((beaten.T < 2).reshape(w.shape[:-1] + (-(-n // 4) * 4,))[..., :n])


def _groups(w):
    """Four columns a row, a new array; the last of each row of ``w`` is filled up with zeros."""
    if w.ndim == 0:
        raise ValueError("w is a single number; it must have at least one axis")
    padded = np.zeros(w.shape[:-1] + (-(-w.shape[-1] // 4) * 4,), w.dtype)
    padded[..., : w.shape[-1]] = w
    return padded.reshape(-1, 4)


def prune_two_four(w: np.ndarray) -> np.ndarray:
    """Keep the two largest magnitudes of every four columns, zero elsewhere.

    Of equal magnitudes the left ones stay; NaN counts as the largest; a last, shorter group keeps two as well.

    Parameters
    ----------
    w : float32 or float64 ndarray, (…, n)

    Returns
    -------
    ndarray like ``w``, a new one

    Examples
    --------
    >>> prune_two_four(np.array([[1, -4, 3, 2, 5, 5, 5, 0, 7]], np.float32))
    array([[ 0., -4.,  3.,  0.,  5.,  5.,  0.,  0.,  7.]], dtype=float32)
    """
    w = float_array(w, "w")
    return np.where(two_four_mask(w), w, w.dtype.type(0))


def matmul_two_four_plain(w: np.ndarray, x: np.ndarray) -> list[float]:
    """One vector and dense weights of which two in four are kept: y[r] = Σ w[r, c] x[c] over those. The definition."""
    return [sum(float(a) * float(b) for a, b in zip(row, x) if a != 0) for row in w]


def matmul_two_four(w: TwoFour, x: np.ndarray, *, threads: int | None = None) -> np.ndarray:
    """2:4 sparse weights times real vectors, y[r] = Σ w[r, c] x[c] over the weights that are kept.

    A group always keeps two weights, so where one of them is 0 an infinity in ``x`` gives NaN, as in a dense product.

    Parameters
    ----------
    w : TwoFour, (m, n)
    x : float32 ndarray, (n,) or (batch, n)
    threads : int, by default ``cl.threads()``; they share the rows, which changes the time and nothing else

    Returns
    -------
    y : float32 ndarray, (m,) or (batch, m)
        For int8 weights the sums of code times x: the scales are yet to be multiplied.

    Raises
    ------
    TypeError, ValueError
        ``w`` is no TwoFour; ``x`` has another dtype or length.
    """
    if not isinstance(w, TwoFour):
        raise TypeError(f"w is a {type(w).__name__}; it must be a TwoFour: TwoFour.from_dense(prune_two_four(w))")
    m, n = w.shape
    x = checked_vectors(x, n)
    samples = 1 if x.ndim == 1 else len(x)
    padded = np.zeros((samples, w.values.shape[1] * STEP), np.float32)
    padded[:, :n] = x
    y = np.empty((m, samples), np.float32)
    values, positions = w.values.reshape(-1), w.positions.reshape(-1)
    a, b = w.values[:1].size, w.positions[:1].size                              # of a pair of rows

    def rows(first, last):
        start, stop = first // 2, -(-last // 2)
        kernels.two_four(values[start * a : stop * a], positions[start * b : stop * b], padded, y[first:last])

    if samples:
        pool.run(rows, m, threads=threads, align=4, grain=max(1, GRAIN // samples))
    return y.reshape(m) if x.ndim == 1 else np.ascontiguousarray(y.T)
