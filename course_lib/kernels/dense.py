"""Dense products of codes, summed exactly in 32 bits: weights prepared in tiles, or in rows as they are. Last, 4-bit
weights with a scale for each group, times real numbers.

In rows, 64 columns of four rows meet 64 columns of a sample: four sums of sixteen lanes, added up at the end of the
row. That suits weights that are used once; with many samples the tiles (see ``tiles.py``) keep more in registers.

Activations are unsigned here. Where they are signed, the caller adds 128 to them and asks for the same product minus
128 Σ_k w[r, k].
"""

import numba
import numpy as np
from numba import float32, int8, int32, int64, types, uint8

from course_lib.kernels.tiles import ROWS, products
from course_lib.machine import simd
from course_lib.machine.compiling import array_of, kernel

_inline = numba.njit(nogil=True)
_LAST = np.repeat(np.array([0, 255], np.uint8), 64)         # from 64 − i on: i lanes that do not count, then all do
_FOUR_BITS = np.tile(np.array([*range(8), *range(-8, 0)], np.float32), 2)      # twice: a table look-up sees five bits
_LOOK_UP = simd.has("avx512f")


def _out(dtype, ndim):
    """What is written, and x: to compile for one kind of array and not for two takes half the time."""
    return array_of(dtype, ndim, readonly=False)


@kernel([types.void(array_of(int8, 2), _out(uint8, 2), array_of(int32, 1), int64, int64, _out(int32, 2))])
def matmul_tiles(tiles, x, start, first, stop, out):
    """out[b, r] = start[r] + Σ_k w[r, k] x[b, k] for rows of the tiles from ``first`` to ``stop``: see ``tiles.py``

    Serves ``products.matmul_int8``. Definition: ``products.matmul_int8_plain``; plain loop: ``plain.int8_product``.
    """
    products(tiles, x, start, first, stop, out)


@_inline
def _four_sums(w0, w1, w2, w3, x):
    """Σ_k w[k] x[k] for four rows, of at least 64 columns. The last 64 columns overlap those before; x is 0 there."""
    a = b = c = d = simd.splat(np.int32(0), 16)
    last = x.size - 64
    for k in range(0, last, 64):
        y = simd.load(x, k)
        a, b = simd.dot4(a, y, simd.load(w0, k)), simd.dot4(b, y, simd.load(w1, k))
        c, d = simd.dot4(c, y, simd.load(w2, k)), simd.dot4(d, y, simd.load(w3, k))
    y = simd.load(x, last) & simd.load(_LAST, 64 - -last % 64)
    a, b = simd.dot4(a, y, simd.load(w0, last)), simd.dot4(b, y, simd.load(w1, last))
    c, d = simd.dot4(c, y, simd.load(w2, last)), simd.dot4(d, y, simd.load(w3, last))
    return simd.sum(a), simd.sum(b), simd.sum(c), simd.sum(d)


@_inline
def _rows_by_samples(w, x, ones, factor, column, out):
    """out[b, column + r] = Σ_k w[r, k] (x[b, k] + factor).   w: (m, n) with n at least 64, x: (batch, n)"""
    for r in range(0, w.shape[0], 4):
        r1, r2, r3 = min(r + 1, w.shape[0] - 1), min(r + 2, w.shape[0] - 1), min(r + 3, w.shape[0] - 1)
        w0, w1, w2, w3 = w[r], w[r1], w[r2], w[r3]
        s0 = s1 = s2 = s3 = np.int32(0)
        if factor != 0:
            s0, s1, s2, s3 = _four_sums(w0, w1, w2, w3, ones)
        for b in range(x.shape[0]):
            t0, t1, t2, t3 = _four_sums(w0, w1, w2, w3, x[b])
            y = out[b, column:]
            y[r], y[r1], y[r2], y[r3] = t0 + factor * s0, t1 + factor * s1, t2 + factor * s2, t3 + factor * s3


@kernel([types.void(array_of(int8, 2), _out(uint8, 2), int64, int64, _out(int32, 2))])
def matmul_rows(w, x, factor, column, out):
    """out[b, column + r] = Σ_k w[r, k] (x[b, k] + factor).   w: (m, n) with n at least 64, x: (batch, n)

    Serves ``products.matmul_int8``. Definition: ``products.matmul_int8_plain``; plain loop: ``plain.int8_product``.
    """
    _rows_by_samples(w, x, np.ones(x.shape[1], np.uint8), factor, column, out)


@kernel([types.void(array_of(uint8, 2), _out(uint8, 2), int64, int64, _out(int32, 2))])
def matmul_int4(packed, x, factor, column, out):
    """The same with two 4-bit codes a byte, low half first.   packed: (m, h), x: (batch, 2 p), p ≥ h a multiple of 64

    Unpacking gives the even and the odd columns of a row apart, so x comes in that order too: even entries, then odd
    ones from p on.

    Serves ``products.matmul_int4``. Definition: ``products.matmul_int4_plain``; plain loop: ``plain.int4_product``.
    """
    half, second = packed.shape[1], x.shape[1] // 2
    four, ones = np.zeros((4, x.shape[1]), np.int8), np.ones(x.shape[1], np.uint8)
    for r in range(0, packed.shape[0], 4):
        rows = four[: packed.shape[0] - r]
        for i in range(rows.shape[0]):
            codes, low, high = packed[r + i], rows[i, :half], rows[i, second : second + half]
            for k in range(codes.size):                             # two loops: one would not vectorise
                low[k] = np.int8(codes[k] << 4) >> 4                # shifted up and down: the sign comes along
            for k in range(codes.size):
                high[k] = np.int8(codes[k]) >> 4
        _rows_by_samples(rows, x, ones, factor, column + r, out)


@_inline
def _code(eight, j):
    """Code j of the eight that each lane of int32 holds, as float32; the lowest four bits are the first."""
    if _LOOK_UP:
        return simd.lookup32(_FOUR_BITS, eight >> simd.splat(np.int32(4 * j), 16))
    return simd.convert((eight << simd.splat(np.int32(28 - 4 * j), 16)) >> simd.splat(np.int32(28), 16), np.float32)


@kernel([types.void(array_of(int32, 2), array_of(float32, 2), array_of(float32, 2), int64, int64, int64,
                    _out(float32, 2))])
def matmul_int4_groups(tiles, scales, x, group, first, stop, out):
    """out[b, r] = Σ_g s[r, g] Σ_k q[r, k] x[b, k], k in group g, for the rows of the tiles from ``first`` to ``stop``

    tiles: (T, 2 n) int32, sixteen rows by eight columns in each 64 bytes, T even, n a multiple of 8; group: columns of
    one, a multiple of 8; scales: (T, 16 ⌈n / group⌉), sixteen rows of a group together; x: (batch, n),
    out: (batch, 16 T)

    Serves ``products.matmul_int4_groups``. Definition: ``products.matmul_int4_groups_plain``; plain loop:
    ``plain.int4_groups_product``.
    """
    zero = simd.splat(np.float32(0), 16)
    for t in range(first, stop, 2):
        u, v, s, r = tiles[t], tiles[t + 1], scales[t], scales[t + 1]
        for b in range(x.shape[0]):
            sample, y, z, at = x[b], zero, zero, 0
            for start in range(0, sample.size, group):
                a0 = a1 = b0 = b1 = zero                            # of even and of odd columns: they wait for less
                for k in range(start, min(start + group, sample.size), 8):
                    p, q = simd.load(u, 2 * k), simd.load(v, 2 * k)
                    for j in range(0, 8, 2):
                        x0, x1 = simd.splat(sample[k + j], 16), simd.splat(sample[k + j + 1], 16)
                        a0 = simd.multiply_add(_code(p, j), x0, a0)
                        a1 = simd.multiply_add(_code(p, j + 1), x1, a1)
                        b0 = simd.multiply_add(_code(q, j), x0, b0)
                        b1 = simd.multiply_add(_code(q, j + 1), x1, b1)
                y = simd.multiply_add(simd.load(s, at), a0 + a1, y)
                z = simd.multiply_add(simd.load(r, at), b0 + b1, z)
                at += ROWS
            simd.store(out[b], ROWS * t, y)
            simd.store(out[b], ROWS * (t + 1), z)
