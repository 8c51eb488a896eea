"""The product with a Monarch matrix, M[(l, j), (k, i)] = L[j, l, k] · R[k, j, i], for a batch.

Sixteen j fill a vector, and a vector never meets another one: the sums over i and over k run lane by lane, and nothing
is transposed but the weights of those j, once, into a strip that is read from end to end. What lies between the two
products, for sixteen j and eight samples, stays in the innermost cache. Eight samples share each vector of weights.
"""

import numba
import numpy as np
from numba import float32, int64, types

from course_lib.machine import simd
from course_lib.machine.compiling import array_of, kernel

LANES, SAMPLES = 16, 8

_inline = numba.njit(nogil=True)


@_inline
def _zero():
    return simd.splat(np.float32(0), 16)


@_inline
def _first(x, rows, right, at, q, y, to):
    """y[b] = Σᵢ x[b, i] R[i] for eight samples and sixteen j.   rows: where x of each sample begins"""
    x0, x1, x2, x3 = x[rows[0] :][:q], x[rows[1] :][:q], x[rows[2] :][:q], x[rows[3] :][:q]
    x4, x5, x6, x7 = x[rows[4] :][:q], x[rows[5] :][:q], x[rows[6] :][:q], x[rows[7] :][:q]
    a = b = c = d = e = f = g = h = _zero()
    for i in range(x0.size):
        w = simd.load(right, at + LANES * i)
        a = simd.multiply_add(simd.splat(x0[i], 16), w, a)
        b = simd.multiply_add(simd.splat(x1[i], 16), w, b)
        c = simd.multiply_add(simd.splat(x2[i], 16), w, c)
        d = simd.multiply_add(simd.splat(x3[i], 16), w, d)
        e = simd.multiply_add(simd.splat(x4[i], 16), w, e)
        f = simd.multiply_add(simd.splat(x5[i], 16), w, f)
        g = simd.multiply_add(simd.splat(x6[i], 16), w, g)
        h = simd.multiply_add(simd.splat(x7[i], 16), w, h)
    simd.store(y, to, a)
    simd.store(y, to + 16, b)
    simd.store(y, to + 32, c)
    simd.store(y, to + 48, d)
    simd.store(y, to + 64, e)
    simd.store(y, to + 80, f)
    simd.store(y, to + 96, g)
    simd.store(y, to + 112, h)


@_inline
def _second(y, left, at, p, out, rows):
    """out[b] = Σₖ y[k, b] L[k] for eight samples and sixteen j.   rows: where out of each begins"""
    r0, r1, r2, r3, r4, r5, r6, r7 = rows
    a = b = c = d = e = f = g = h = _zero()
    for k in range(p):
        w, t = simd.load(left, at + LANES * k), 128 * k
        a = simd.multiply_add(simd.load(y, t), w, a)
        b = simd.multiply_add(simd.load(y, t + 16), w, b)
        c = simd.multiply_add(simd.load(y, t + 32), w, c)
        d = simd.multiply_add(simd.load(y, t + 48), w, d)
        e = simd.multiply_add(simd.load(y, t + 64), w, e)
        f = simd.multiply_add(simd.load(y, t + 80), w, f)
        g = simd.multiply_add(simd.load(y, t + 96), w, g)
        h = simd.multiply_add(simd.load(y, t + 112), w, h)
    simd.store(out, r0, a)
    simd.store(out, r1, b)
    simd.store(out, r2, c)
    simd.store(out, r3, d)
    simd.store(out, r4, e)
    simd.store(out, r5, f)
    simd.store(out, r6, g)
    simd.store(out, r7, h)


@_inline
def _rows(b, batch, length):
    """Where the rows of eight samples begin; past the last sample the last one again, which does no harm."""
    e = batch - 1
    return (min(b, e) * length, min(b + 1, e) * length, min(b + 2, e) * length, min(b + 3, e) * length,
            min(b + 4, e) * length, min(b + 5, e) * length, min(b + 6, e) * length, min(b + 7, e) * length)


@_inline
def _moved(rows, by):
    r0, r1, r2, r3, r4, r5, r6, r7 = rows
    return (r0 + by, r1 + by, r2 + by, r3 + by, r4 + by, r5 + by, r6 + by, r7 + by)


@_inline
def _strip(weights, rows, strip):
    """strip[t, j] = weights[j, t] for sixteen rows of a flat matrix.   weights: from the first of the rows on"""
    sixteen = simd.ramp(np.int32(rows), 16)
    for t in range(rows):
        simd.store(strip, LANES * t, simd.gather(weights[t:], sixteen))


@_inline
def _from_a_line(size):
    """An array that begins with a cache line: a vector fills one, and should not lie across two."""
    memory = np.empty(size + LANES, np.float32)
    return memory[-(memory.ctypes.data // 4) % LANES :][:size]


_in = array_of(float32, 1)


@kernel([types.void(_in, int64, _in, types.UniTuple(int64, 4), _in, int64, int64,
                    array_of(float32, 1, readonly=False))])
def monarch(x, batch, left, shape, right, start, stop, out):
    """out[b, l, j] = Σₖ L[j, l, k] Σᵢ R[k, j, i] x[b, k, i], for some of the pieces of sixteen j and eight samples.

    All arrays are flat: x: (batch, p, q), left: (s, r, p), right: (p, s, q), out: (batch, r, s), shape: s, r, p, q with
    s at least 16. Pieces start … stop − 1 of ⌈s / 16⌉ · ⌈batch / 8⌉; the last sixteen j end with s, and may overlap.

    Serves ``structured.monarch_matmul``. Definition: ``structured.monarch_dense_plain``; plain loop: ``plain.monarch``.
    """
    s, r, p, q = shape
    groups = (batch + SAMPLES - 1) // SAMPLES
    left_strip, right_strip = _from_a_line(r * p * LANES), _from_a_line(p * q * LANES)
    y = _from_a_line(p * SAMPLES * LANES)
    packed = -1
    for piece in range(start, stop):                    # the samples of one j after the other
        j, b = min(piece // groups * LANES, s - LANES), piece % groups * SAMPLES
        if j != packed:
            _strip(left[j * r * p :], r * p, left_strip)
            for k in range(p):
                _strip(right[(k * s + j) * q :], q, right_strip[k * q * LANES :])
            packed = j
        rows = _rows(b, batch, p * q)
        for k in range(p):
            _first(x, _moved(rows, k * q), right_strip, k * q * LANES, q, y, k * SAMPLES * LANES)
        rows = _rows(b, batch, r * s)
        for ell in range(r):
            _second(y, left_strip, ell * p * LANES, p, out, _moved(rows, ell * s + j))
