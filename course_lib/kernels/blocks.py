"""What the element-by-element kernels share: random numbers, rounding, and walking through an array block by block.

A block is a vector of ``LANES`` numbers. Memory is the limit of these kernels, so input is fetched a few lines ahead,
and results that no cache can hold are written past the caches: a plain store first reads the line that it overwrites.

Stochastic rounding is counter-based: the random number of an element depends on the seed and on the element's position,
and on nothing else. Source of the mixing function: Steele, Lea, Flood 2014, "Fast splittable pseudorandom number
generators" (SplitMix64).
"""

import numba
import numpy as np
from numba import float32
from numba.extending import overload

from course_lib.machine import simd

NEAREST, DOWN, UP, TOWARD_ZERO, STOCHASTIC = range(5)

# numbers computed at a time; random numbers of 64 bits that serve so many float32
LANES, PAIRS = 32, 16
AHEAD = 2048                            # bytes between what is computed and what is fetched
LONG = 4096                             # entries that are worth an aligned start

_GAMMA = 0x9E3779B97F4A7C15              # the step between two elements of a random stream

# Compiled as a part of the kernels that call it. NumPy's error model: a division has no branch that raises.
inline = numba.njit(nogil=True, error_model="numpy", forceinline=True)


@inline
def uniform(seed, i):
    """Element ``i`` of the random stream ``seed``: a float64 in [0, 1), a multiple of 2⁻⁵³."""
    z = seed + (np.uint64(i) + np.uint64(1)) * np.uint64(_GAMMA)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return np.float64(z >> np.uint64(11)) * 2.0**-53


@inline
def _uniform64(x, seed, i):
    z = (simd.splat(seed + (np.uint64(i) + np.uint64(1)) * np.uint64(_GAMMA), LANES)
         + simd.ramp(np.uint64(_GAMMA), LANES))
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB
    z = (z ^ (z >> 31)) >> 11
    return simd.convert(simd.reinterpret(z, np.int64), np.float64) * 2.0**-53


@inline
def _halves(seed, number):
    """Numbers ``number``, ``number`` + 1, … of 64 bits as twice as many of 32 bits, low half first."""
    z = simd.splat(seed + (np.uint64(number) + np.uint64(1)) * np.uint64(_GAMMA), PAIRS)
    z = z + simd.ramp(np.uint64(_GAMMA), PAIRS)
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB
    return simd.reinterpret(z ^ (z >> 31), np.uint32)


@inline
def _uniform32(x, seed, i):
    half = _halves(seed, i >> 1)
    if i & 1:                                               # from the middle of a number on
        half = simd.slide(half, _halves(seed, (i >> 1) + PAIRS), 1)
    half = simd.reinterpret(half >> 8, np.int32)
    return simd.convert(half, np.float32) * 2.0**-24


def uniforms(x: simd.Vector, seed: int, i: int) -> simd.Vector:
    """Elements i, i + 1, … of the random stream ``seed`` for the lanes of x, in its dtype, in [0, 1).

    float64: ``uniform``, multiples of 2⁻⁵³. float32 takes half a number of 64 bits each, and multiples of 2⁻²⁴: element
    i has the low half of number i / 2 if i is even, else the high half of number (i − 1) / 2.
    """


@overload(uniforms)
def _uniforms_of(x, seed, i):
    if x.dtype == float32:
        return lambda x, seed, i: _uniform32(x, seed, i)
    return lambda x, seed, i: _uniform64(x, seed, i)


@inline
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
            r = simd.select(simd.is_less(uniforms(t, seed, i), t - r), r + 1, r)
    return r


@inline
def like(x, value):
    """``value`` in every lane, in the dtype of x."""
    return simd.convert(simd.splat(np.int32(value), LANES), _dtype(x))


def _dtype(x):
    """The dtype of a vector."""


@overload(_dtype)
def _dtype_of(x):
    kind = np.float32 if x.dtype == float32 else np.float64
    return lambda x: kind


@inline
def until_aligned(array):
    """How many entries stand before the first that a store past the caches takes."""
    return min(-array.ctypes.data % min(simd.BYTES, LANES * array.itemsize) // array.itemsize, array.size)


@inline
def block(i, head, size):
    """How many entries the block at i has: LANES, unless the start or the end of the array cuts it short."""
    return min(head if i < head else LANES, size - i)


@inline
def load_block(x, i, count):
    """x[i : i + count] as a vector of ``LANES``, the lanes beyond 0; what comes later is asked for ahead of time."""
    if count == LANES:
        simd.prefetch_lanes(x, i, LANES, AHEAD)
        return simd.load_lanes(x, i, LANES)
    return simd.load_where(x, i, simd.first(count, LANES))


@inline
def store_block(out, i, values, count, past_caches):
    """out[i : i + count] = the first ``count`` lanes; a whole block past the caches if asked, its address aligned."""
    if count < LANES:
        simd.store_where(out, i, values, simd.first(count, LANES))
    elif past_caches:
        simd.store_past_caches(out, i, values)
    else:
        simd.store(out, i, values)
