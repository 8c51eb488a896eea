"""Weights in tiles, so that one instruction serves sixteen rows: what the dense products and the integer engine share.

A tile holds sixteen rows of the weights, four columns at a time: byte 64 i + 4 r + j of it is w[16 t + r, 4 i + j].
Four bytes of a sample, repeated sixteen times, then meet 64 weights in one ``dot4``, and lane r of the sum belongs to
row r: nothing is left to be added up at the end. Two tiles meet eight samples at a time, so that ten loads feed
sixteen sums, all of them in registers.

Rows that are missing in the last pair of tiles, and columns in the last 64, are weights of 0. Images that are
missing in the last eight repeat the last sample: the same numbers are written twice to the same place.
"""

import numba
import numpy as np

from course_lib.machine import simd

ROWS, COLUMNS = 16, 64                  # of a tile: the columns are a multiple
WIDE = simd.has("avx512f")              # 32 registers of 64 bytes: enough for sixteen sums
AHEAD, FAR_AHEAD = 512, 4096            # bytes: so far in advance a tile is asked for, from the caches and from memory

_inline = numba.njit(nogil=True)


def in_tiles(w: np.ndarray) -> np.ndarray:
    """Weights, int8 (m, n), as tiles: int8, (2 ⌈m / 32⌉, 16 · 64 ⌈n / 64⌉)"""
    tiles, steps = 2 * -(-w.shape[0] // (2 * ROWS)), COLUMNS // 4 * -(-w.shape[1] // COLUMNS)
    padded = np.zeros((ROWS * tiles, 4 * steps), np.int8)
    padded[: w.shape[0], : w.shape[1]] = w
    out = simd.aligned((tiles, ROWS * 4 * steps), np.int8)
    out.reshape(tiles, steps, ROWS, 4)[:] = padded.reshape(tiles, ROWS, steps, 4).transpose(0, 2, 1, 3)
    return out


def from_tiles(tiles: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The reverse of ``in_tiles``."""
    steps = tiles.shape[1] // (4 * ROWS)
    rows = tiles.reshape(len(tiles), steps, ROWS, 4).transpose(0, 2, 1, 3).reshape(ROWS * len(tiles), 4 * steps)
    return np.ascontiguousarray(rows[: shape[0], : shape[1]])


@_inline
def _one_sample(tiles, t, sample, start, out):
    """Two tiles and one sample; even and odd steps have sums of their own, since a sum has to wait for the last one."""
    u, v = tiles[t], tiles[t + 1]
    a0, b0 = simd.load(start, ROWS * t), simd.load(start, ROWS * (t + 1))
    a1 = b1 = simd.splat(np.int32(0), 16)
    for k in range(0, u.size // ROWS, 8):
        simd.prefetch_l2(u, 16 * k + FAR_AHEAD)
        simd.prefetch_l2(u, 16 * k + FAR_AHEAD + 64)
        simd.prefetch_l2(v, 16 * k + FAR_AHEAD)
        simd.prefetch_l2(v, 16 * k + FAR_AHEAD + 64)
        x0, x1 = simd.splat4(sample, k), simd.splat4(sample, k + 4)
        a0, b0 = simd.dot4(a0, x0, simd.load(u, 16 * k)), simd.dot4(b0, x0, simd.load(v, 16 * k))
        a1, b1 = simd.dot4(a1, x1, simd.load(u, 16 * k + 64)), simd.dot4(b1, x1, simd.load(v, 16 * k + 64))
    simd.store(out, ROWS * t, a0 + a1)
    simd.store(out, ROWS * (t + 1), b0 + b1)


@_inline
def _two_samples(tiles, t, x, b, start, out):
    """Two tiles and two samples: four sums, for processors with few or short registers."""
    last = x.shape[0] - 1
    u, v, x0, x1 = tiles[t], tiles[t + 1], x[b], x[min(b + 1, last)]
    a0 = a1 = simd.load(start, ROWS * t)
    b0 = b1 = simd.load(start, ROWS * (t + 1))
    for k in range(0, u.size // ROWS, 4):
        p, q = simd.load(u, 16 * k), simd.load(v, 16 * k)
        y0, y1 = simd.splat4(x0, k), simd.splat4(x1, k)
        a0, a1, b0, b1 = simd.dot4(a0, y0, p), simd.dot4(a1, y1, p), simd.dot4(b0, y0, q), simd.dot4(b1, y1, q)
    _store_two(out, b, t, a0, b0)
    _store_two(out, min(b + 1, last), t, a1, b1)


@_inline
def _eight_samples(tiles, t, x, b, start, out, ahead, step):
    """Two tiles and eight samples: sixteen sums. Meanwhile a part of the next two tiles is asked for."""
    last = x.shape[0] - 1
    u, v, x0, x1, x2, x3 = tiles[t], tiles[t + 1], x[b], x[min(b + 1, last)], x[min(b + 2, last)], x[min(b + 3, last)]
    x4, x5, x6, x7 = x[min(b + 4, last)], x[min(b + 5, last)], x[min(b + 6, last)], x[min(b + 7, last)]
    a0 = a1 = a2 = a3 = a4 = a5 = a6 = a7 = simd.load(start, ROWS * t)
    b0 = b1 = b2 = b3 = b4 = b5 = b6 = b7 = simd.load(start, ROWS * (t + 1))
    for k in range(0, u.size // ROWS, 4):
        p, q = simd.load(u, 16 * k), simd.load(v, 16 * k)
        simd.prefetch(u, 16 * k + AHEAD)
        simd.prefetch(v, 16 * k + AHEAD)
        simd.prefetch_l2(u, ahead)
        ahead += step
        y0, y1, y2, y3 = simd.splat4(x0, k), simd.splat4(x1, k), simd.splat4(x2, k), simd.splat4(x3, k)
        a0, a1, a2, a3 = simd.dot4(a0, y0, p), simd.dot4(a1, y1, p), simd.dot4(a2, y2, p), simd.dot4(a3, y3, p)
        b0, b1, b2, b3 = simd.dot4(b0, y0, q), simd.dot4(b1, y1, q), simd.dot4(b2, y2, q), simd.dot4(b3, y3, q)
        y0, y1, y2, y3 = simd.splat4(x4, k), simd.splat4(x5, k), simd.splat4(x6, k), simd.splat4(x7, k)
        a4, a5, a6, a7 = simd.dot4(a4, y0, p), simd.dot4(a5, y1, p), simd.dot4(a6, y2, p), simd.dot4(a7, y3, p)
        b4, b5, b6, b7 = simd.dot4(b4, y0, q), simd.dot4(b5, y1, q), simd.dot4(b6, y2, q), simd.dot4(b7, y3, q)
    _store_two(out, b, t, a0, b0)
    _store_two(out, min(b + 1, last), t, a1, b1)
    _store_two(out, min(b + 2, last), t, a2, b2)
    _store_two(out, min(b + 3, last), t, a3, b3)
    _store_two(out, min(b + 4, last), t, a4, b4)
    _store_two(out, min(b + 5, last), t, a5, b5)
    _store_two(out, min(b + 6, last), t, a6, b6)
    _store_two(out, min(b + 7, last), t, a7, b7)


@_inline
def _store_two(out, b, t, a, b_):
    simd.store(out[b], ROWS * t, a)
    simd.store(out[b], ROWS * (t + 1), b_)


@_inline
def products(tiles, x, start, first, stop, out):
    """out[b, r] = start[r] + Σ_k w[r, k] x[b, k] for the rows of the tiles from ``first`` to ``stop``, both even.

    tiles: (T, 16 n) int8, T even, n a multiple of 64, x: (batch, n or up to 63 fewer) uint8, start: (16 T,) int32,
    out: (batch, 16 T) int32

    Where x has fewer columns, what lies behind a sample is read and meets weights of 0: behind the last sample there
    must be 63 bytes that can be read.
    """
    batch, at_once = x.shape[0], 8 if WIDE else 2
    alone = batch % at_once if batch % at_once <= at_once // 4 else 0       # so few go one by one
    step = 2 * 64 * at_once // max(at_once, batch)
    for t in range(first, stop, 2):
        ahead = 2 * tiles.shape[1]
        for b in range(0, batch - alone, at_once):
            if WIDE:
                _eight_samples(tiles, t, x, b, start, out, ahead, step)
                ahead += step * (tiles.shape[1] // 64)
            else:
                _two_samples(tiles, t, x, b, start, out)
        for b in range(batch - alone, batch):
            _one_sample(tiles, t, x[b], start, out[b])
