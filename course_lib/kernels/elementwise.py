"""Quantize, fake-quantize and round, element by element. (Dequantizing is a few NumPy lines, so it has no kernel.)

Every kernel takes ``x`` as (rows, n) and the parameters as (rows, G): each row is cut into groups of ``group`` entries
(the last may be short) and each group has its own scale and zero point. One row is per tensor, one group a row is per
channel.

Memory is the limit here, so one pass does everything: it reads x once, a few lines ahead (``prefetch``), looks for NaN
on the way, and writes results that no cache can hold past the caches. Clipping comes before rounding: the bounds are
whole numbers, so the code is the same, and ±inf is never rounded.

Stochastic rounding is counter-based: the random number of an element depends on the seed and on the element's position,
and on nothing else. Source of the mixing function: Steele, Lea, Flood 2014, "Fast splittable pseudorandom number
generators" (SplitMix64).
"""

import numba
import numpy as np
from numba import boolean, float32, float64, int32, int64, types, uint8, uint16, uint64
from numba.extending import overload

from course_lib.kernels import simd
from course_lib.kernels.compiling import array_of, kernel

NEAREST, DOWN, UP, TOWARD_ZERO, STOCHASTIC = range(5)

LANES, PAIRS = 32, 16                   # numbers computed at a time; random numbers of 64 bits that serve so many float32
AHEAD = 4096                            # bytes between what is computed and what is fetched
LONG = 4096                             # entries

_GAMMA = 0x9E3779B97F4A7C15              # the step between two elements of a random stream

# Compiled as a part of the kernels that call it. NumPy's error model: a division has no branch that raises.
_inline = numba.njit(nogil=True, error_model="numpy", forceinline=True)


@_inline
def uniform(seed, i):
    """Element ``i`` of the random stream ``seed``: a float64 in [0, 1), a multiple of 2⁻⁵³."""
    z = seed + (np.uint64(i) + np.uint64(1)) * np.uint64(_GAMMA)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return np.float64(z >> np.uint64(11)) * 2.0**-53


@_inline
def _uniform64(x, seed, i):
    z = simd.splat(seed + (np.uint64(i) + np.uint64(1)) * np.uint64(_GAMMA), LANES) + simd.ramp(np.uint64(_GAMMA), LANES)
    z = (z ^ (z >> simd.splat(np.uint64(30), LANES))) * simd.splat(np.uint64(0xBF58476D1CE4E5B9), LANES)
    z = (z ^ (z >> simd.splat(np.uint64(27), LANES))) * simd.splat(np.uint64(0x94D049BB133111EB), LANES)
    z = (z ^ (z >> simd.splat(np.uint64(31), LANES))) >> simd.splat(np.uint64(11), LANES)
    return simd.convert(simd.reinterpret(z, np.int64), np.float64) * simd.splat(2.0**-53, LANES)


@_inline
def _halves(seed, number):
    """Numbers ``number``, ``number`` + 1, … of 64 bits as twice as many of 32 bits, low half first."""
    z = simd.splat(seed + (np.uint64(number) + np.uint64(1)) * np.uint64(_GAMMA), PAIRS)
    z = z + simd.ramp(np.uint64(_GAMMA), PAIRS)
    z = (z ^ (z >> simd.splat(np.uint64(30), PAIRS))) * simd.splat(np.uint64(0xBF58476D1CE4E5B9), PAIRS)
    z = (z ^ (z >> simd.splat(np.uint64(27), PAIRS))) * simd.splat(np.uint64(0x94D049BB133111EB), PAIRS)
    return simd.reinterpret(z ^ (z >> simd.splat(np.uint64(31), PAIRS)), np.uint32)


@_inline
def _uniform32(x, seed, i):
    half = _halves(seed, i >> 1)
    if i & 1:                                               # from the middle of a number on
        half = simd.slide(half, _halves(seed, (i >> 1) + PAIRS), 1)
    half = simd.reinterpret(half >> simd.splat(np.uint32(8), LANES), np.int32)
    return simd.convert(half, np.float32) * simd.splat(np.float32(2.0**-24), LANES)


def uniforms(x, seed, i):
    """Elements i, i + 1, … of the random stream ``seed`` for the lanes of x, in its dtype, in [0, 1).

    float64: ``uniform``, multiples of 2⁻⁵³. float32 takes half a number of 64 bits each, and multiples of 2⁻²⁴: element
    i has the low half of number i / 2 if i is even, else the high half of number (i − 1) / 2.
    """


@overload(uniforms)
def _uniforms_of(x, seed, i):
    if x.dtype == float32:
        return lambda x, seed, i: _uniform32(x, seed, i)
    return lambda x, seed, i: _uniform64(x, seed, i)


@_inline
def round_lanes(t, mode, seed, i):
    """t rounded to whole numbers; lane l is element i + l of a random stream."""
    if mode == NEAREST:
        r = simd.rint(t)
    elif mode == TOWARD_ZERO:
        r = simd.trunc(t)
    elif mode == UP:
        r = simd.ceil(t)
    else:
        r = simd.floor(t)
        if mode == STOCHASTIC:
            r = simd.select(simd.is_less(uniforms(t, seed, i), t - r), r + _like(t, 1), r)
    return r


@_inline
def _like(x, value):
    """``value`` in every lane, in the dtype of x."""
    return simd.convert(simd.splat(np.int32(value), LANES), _dtype(x))


def _dtype(x):
    """The dtype of a vector."""


@overload(_dtype)
def _dtype_of(x):
    kind = np.float32 if x.dtype == float32 else np.float64
    return lambda x: kind


@_inline
def _steps(x, scale, low, high, mode, seed, i):
    """round(clip(x / scale, low, high)), lane by lane: whole numbers of steps from zero, as floats.

    Numbers on the grid (k · scale, with k whole) stay there in every mode, although x / scale need not be k exactly.
    """
    t = simd.minimum(simd.maximum(x / scale, low), high)
    if mode == NEAREST:
        return simd.rint(t)
    k = simd.rint(t)
    return simd.select(simd.is_equal(k * scale, x), k, round_lanes(t, mode, seed, i))


@_inline
def until_aligned(array):
    """How many entries stand before the first that a store past the caches takes."""
    return min(-array.ctypes.data % min(simd.BYTES, LANES * array.itemsize) // array.itemsize, array.size)


@_inline
def block(i, head, size):
    """How many entries the block at i has: LANES, unless the start or the end of the array cuts it short."""
    return min(head if i < head else LANES, size - i)


@_inline
def load_block(x, i, count):
    if count == LANES:
        simd.prefetch_lanes(x, i, LANES, AHEAD)
        return simd.load_lanes(x, i, LANES)
    return simd.load_where(x, i, simd.first(count, LANES))


@_inline
def store_block(out, i, values, count, past_caches):
    if count < LANES:
        simd.store_where(out, i, values, simd.first(count, LANES))
    elif past_caches:
        simd.store_past_caches(out, i, values)
    else:
        simd.store(out, i, values)


@_inline
def _quantize(x, scale, zero_point, qmin, qmax, mode, seed, first, past_caches, out):
    """The codes of numbers that share a scale; lanes other than 0 if one is NaN.   x, out: (n,)"""
    real = x.dtype.type
    s, z = simd.splat(scale, LANES), simd.splat(zero_point, LANES)
    low, high = simd.splat(real(qmin - zero_point), LANES), simd.splat(real(qmax - zero_point), LANES)
    nan, head, i = simd.splat(np.int32(0), LANES), until_aligned(out), 0
    past_caches &= head == 0 or x.size >= LONG              # both ways of storing in one cache line are slow
    head *= past_caches
    while i < x.size:
        count = block(i, head, x.size)
        v = load_block(x, i, count)
        nan = nan | simd.convert(simd.is_nan(v), np.int32)
        codes = simd.convert(_steps(v, s, low, high, mode, seed, first + i), np.int32) + z
        store_block(out, i, simd.convert(codes, out.dtype), count, past_caches)
        i += count
    return nan


@_inline
def _fake_quantize(x, scale, zero_point, qmin, qmax, mode, seed, first, past_caches, out):
    """The same for S (q − Z)."""
    real = x.dtype.type
    s, zero = simd.splat(scale, LANES), simd.splat(real(0), LANES)
    low, high = simd.splat(real(qmin - zero_point), LANES), simd.splat(real(qmax - zero_point), LANES)
    nan, head, i = simd.splat(np.int32(0), LANES), until_aligned(out), 0
    past_caches &= head == 0 or x.size >= LONG              # both ways of storing in one cache line are slow
    head *= past_caches
    while i < x.size:
        count = block(i, head, x.size)
        v = load_block(x, i, count)
        nan = nan | simd.convert(simd.is_nan(v), np.int32)
        values = s * _steps(v, s, low, high, mode, seed, first + i) + zero              # −0 + 0 is +0
        store_block(out, i, values, count, past_caches)
        i += count
    return nan


def _signatures(real, result):
    matrix, ints = array_of(real, 2), array_of(int32, 2)
    return boolean(matrix, matrix, ints, int64, int64, int64, int64, uint64, int64, boolean,
                   array_of(result, 2, readonly=False))


@kernel([_signatures(real, codes) for real in (float32, float64) for codes in (uint8, uint16)])
def quantize_rows(x, scale, zero_point, group, qmin, qmax, mode, seed, first, past_caches, out):
    """out = clip(round(x / S) + Z, qmin, qmax), the last 8 or 16 bits of it; True if x has a NaN.

    x: (rows, n), S, Z: (rows, G), out: (rows, n). Entry (0, 0) is element ``first`` of the random stream.
    """
    nan = simd.splat(np.int32(0), LANES)
    for r in range(x.shape[0]):
        for g in range(scale.shape[1]):
            a, b = g * group, min((g + 1) * group, x.shape[1])
            nan = nan | _quantize(x[r, a:b], scale[r, g], zero_point[r, g], qmin, qmax, mode, seed,
                                  first + r * x.shape[1] + a, past_caches, out[r, a:b])
    simd.fence()
    return simd.sum(nan) != 0


@kernel([_signatures(real, real) for real in (float32, float64)])
def fake_quantize_rows(x, scale, zero_point, group, qmin, qmax, mode, seed, first, past_caches, out):
    """out = S (clip(round(x / S) + Z, qmin, qmax) − Z); True if x has a NaN. Everything else as in quantize_rows."""
    nan = simd.splat(np.int32(0), LANES)
    for r in range(x.shape[0]):
        for g in range(scale.shape[1]):
            a, b = g * group, min((g + 1) * group, x.shape[1])
            nan = nan | _fake_quantize(x[r, a:b], scale[r, g], zero_point[r, g], qmin, qmax, mode,
                                       seed, first + r * x.shape[1] + a, past_caches, out[r, a:b])
    simd.fence()
    return simd.sum(nan) != 0


@numba.njit(nogil=True, fastmath={"reassoc", "contract"})
def _dot(x, y):
    """Σ x[i] y[i] in double precision, summed in any order so that it vectorises."""
    total = 0.0
    for i in range(x.size):
        total += np.float64(x[i]) * np.float64(y[i])
    return total


@kernel([types.void(array_of(real, 2), array_of(real, 1), array_of(int32, 1), int64, int64,
                    array_of(float64, 1, readonly=False)) for real in (float32, float64)], error_model="numpy")
def squared_error_rows(x, scale, zero_point, qmin, qmax, out):
    """out[r] = Σᵢ (x[r, i] − x̂[r, i])² after fake quantization.   x: (rows, n), S, Z, out: (rows,)"""
    error = np.empty(x.shape[1], x.dtype)
    for r in range(x.shape[0]):
        row, s, z = x[r], scale[r], zero_point[r]
        low, high = x.dtype.type(qmin - z), x.dtype.type(qmax - z)
        for i in range(error.size):
            error[i] = row[i] - s * np.rint(min(max(row[i] / s, low), high))
        out[r] = _dot(error, error)


@kernel([types.void(array_of(real, 1), uint64, int64, array_of(real, 1, readonly=False)) for real in (float32, float64)])
def round_stochastic(x, seed, first, out):
    """out[i] = ⌊x[i]⌋ + (u < x[i] − ⌊x[i]⌋), u element ``first`` + i of the random stream ``seed``.   x, out: (n,)"""
    for i in range(0, x.size, LANES):
        count = min(LANES, x.size - i)
        store_block(out, i, round_lanes(load_block(x, i, count), STOCHASTIC, seed, first + i), count, False)
