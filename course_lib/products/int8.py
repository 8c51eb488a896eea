"""int8 weights times 8-bit activations."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from course_lib.kernels import amx
from course_lib.kernels import dense as kernels
from course_lib.kernels.tiles import ROWS, from_tiles, in_tiles
from course_lib.products.rows import check_codes, check_no_overflow, images_of, split_rows


def matmul_int8_plain(w, x):
    """One vector: y[r] = Σ_k w[r, k] x[k]. The definition, in Python's integers, which never overflow."""
    return [sum(int(a) * int(b) for a, b in zip(row, x)) for row in w]


@dataclass(frozen=True)
class PackedInt8:
    """int8 weights in the order in which the kernel reads them; made by :func:`pack_int8`.

    ``tiles`` has sixteen rows of the weights in each of its rows, four columns of each at a time; rows that are missing
    in the last pair, and columns in the last 64, are 0. ``minus_128_sums`` is −128 Σ_k w[r, k],
    which signed activations need.
    """

    tiles: np.ndarray               # (T, 16 · 64 ⌈n / 64⌉) int8, T even
    minus_128_sums: np.ndarray      # (16 T,) int32
    shape: tuple                    # (m, n)

    @property
    def nbytes(self):
        return self.tiles.nbytes + self.minus_128_sums.nbytes

    def to_dense(self):
        """The weights as they were, int8, (m, n)."""
        return from_tiles(self.tiles, self.shape)


def pack_int8(w):
    """Weights that are used more than once, in the order in which the kernel reads them.

    Parameters
    ----------
    w : int8 ndarray, (m, n)

    Returns
    -------
    PackedInt8
        Up to 31 rows and 63 columns of zeros larger than ``w``.

    Raises
    ------
    TypeError, ValueError
        Another dtype or number of axes.
    """
    w = check_codes("w", w, (np.int8,), (2,))
    tiles = in_tiles(w)
    sums = np.zeros(ROWS * len(tiles), np.int64)
    np.sum(w, axis=1, dtype=np.int64, out=sums[: len(w)])
    return PackedInt8(tiles, (-128 * sums).astype(np.int32), w.shape)


def matmul_int8(w, x, *, threads=None):
    """Integer codes of weights times integer codes of activations, exactly.

    No rounding, no scales: y[r] = Σ_k w[r, k] x[k] over the integers, for each image. No weights or no images give an
    empty result, sums of nothing (n = 0) give zeros.

    Parameters
    ----------
    w : int8 ndarray, (m, n), or PackedInt8
        Weights that meet many images, or many times a few, are worth a :func:`pack_int8`.
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
    images, offset = images_of(x, w.tiles.shape[1] // ROWS)
    start = w.minus_128_sums if offset else _zeros(w.minus_128_sums.size)
    out = np.empty((len(images), start.size), np.int32)
    done = amx.images_at_once(len(images))

    def part(first, stop):
        if done:
            amx.matmul_amx(w.tiles, images[:done], start, first, stop, out[:done])
        if done < len(images):
            kernels.matmul_tiles(w.tiles, images[done:], start, first, stop, out[done:])

    split_rows(part, len(w.tiles), ROWS * images.shape[1] * (len(images) + 3), threads=threads, align=2)
    return out if start.size == w.shape[0] else np.ascontiguousarray(out[:, : w.shape[0]])


@lru_cache(8)
def _zeros(size):
    return np.zeros(size, np.int32)


def _by_rows(w, x, threads):
    if w.shape[1] < 64:                                     # the kernel reads 64 columns at a time
        w = np.pad(w, ((0, 0), (0, 64 - w.shape[1])))
    images, offset = images_of(x, w.shape[1])
    out = np.empty((len(images), len(w)), np.int32)
    split_rows(lambda first, stop: kernels.matmul_rows(w[first:stop], images, -offset, first, out), len(w),
               images.shape[1] * (len(images) + 3), threads=threads, align=4)
    return out
