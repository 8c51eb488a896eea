"""Quantize, fake-quantize and round, element by element. (Dequantizing is a few NumPy lines, so it has no kernel.)

Every kernel takes ``x`` as (rows, n) and the parameters as (rows, G): each row is cut into groups of ``group`` entries
(the last may be short) and each group has its own scale and zero point. One row is per tensor, one group a row is per
channel.

The loops run over sliced views to ``.size``, one loop per rounding mode, because that is what the compiler vectorises.
Clipping comes before rounding: the bounds are whole numbers, so the code is the same, and ±inf is never rounded.

Stochastic rounding is counter-based: the random number of an element depends on the seed and on the element's position,
and on nothing else. Source of the mixing function: Steele, Lea, Flood 2014, "Fast splittable pseudorandom number
generators" (SplitMix64).
"""

import numba
import numpy as np
from numba import float32, float64, int32, int64, types, uint64

from course_lib.kernels.compiling import array_of, kernel

NEAREST, DOWN, UP, TOWARD_ZERO, STOCHASTIC = range(5)

_GAMMA = 0x9E3779B97F4A7C15              # the step between two elements of a random stream

_inline = numba.njit(nogil=True)        # compiled as a part of the kernels that call it; same file, so one cache entry


def seed_at(seed, first):
    """The seed with which a chunk that starts at element ``first`` goes on with the random stream ``seed``."""
    return np.uint64((int(seed) + first * _GAMMA) % 2**64)


@_inline
def uniform(seed, i):
    """Element ``i`` of the random stream ``seed``: a float64 in [0, 1), a multiple of 2⁻⁵³."""
    z = seed + (np.uint64(i) + np.uint64(1)) * np.uint64(_GAMMA)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return np.float64(z >> np.uint64(11)) * 2.0**-53


@_inline
def _steps(x, scale, low, high, mode, seed, first, out):
    """out[i] = round(clip(x[i] / scale, low, high)): whole numbers of steps from zero, as floats.

    Numbers on the grid (k · scale, with k whole) stay there in every mode, although x / scale need not be k exactly.
    """
    if mode == NEAREST:
        for i in range(x.size):
            out[i] = np.rint(min(max(x[i] / scale, low), high))
    elif mode == TOWARD_ZERO:
        for i in range(x.size):
            t = min(max(x[i] / scale, low), high)
            k = np.rint(t)
            out[i] = k if k * scale == x[i] else np.trunc(t)
    elif mode == DOWN:
        for i in range(x.size):
            t = min(max(x[i] / scale, low), high)
            k = np.rint(t)
            out[i] = k if k * scale == x[i] else np.floor(t)
    elif mode == UP:
        for i in range(x.size):
            t = min(max(x[i] / scale, low), high)
            k = np.rint(t)
            out[i] = k if k * scale == x[i] else np.ceil(t)
    else:
        for i in range(x.size):
            t = min(max(x[i] / scale, low), high)
            k = np.rint(t)
            down = np.floor(t)
            up = uniform(seed, first + i) < np.float64(t) - np.float64(down)
            out[i] = k if k * scale == x[i] else down + up


def _signatures(real, result):
    matrix, ints = array_of(real, 2), array_of(int32, 2)
    return types.void(matrix, matrix, ints, int64, int64, int64, int64, uint64, array_of(result, 2, readonly=False))


@kernel([_signatures(real, int32) for real in (float32, float64)])
def quantize_rows(x, scale, zero_point, group, qmin, qmax, mode, seed, out):
    """out = clip(round(x / S) + Z, qmin, qmax).   x: (rows, n), S, Z: (rows, G), out: (rows, n) int32"""
    buffer = np.empty(min(group, x.shape[1]), x.dtype)
    for r in range(x.shape[0]):
        for g in range(scale.shape[1]):
            a, b = g * group, min((g + 1) * group, x.shape[1])
            s, z = scale[r, g], zero_point[r, g]
            steps, codes = buffer[: b - a], out[r, a:b]
            _steps(x[r, a:b], s, x.dtype.type(qmin - z), x.dtype.type(qmax - z), mode, seed, r * x.shape[1] + a, steps)
            for i in range(codes.size):
                codes[i] = np.int32(steps[i]) + z


@kernel([_signatures(real, real) for real in (float32, float64)])
def fake_quantize_rows(x, scale, zero_point, group, qmin, qmax, mode, seed, out):
    """out = S (clip(round(x / S) + Z, qmin, qmax) − Z).   x: (rows, n), S, Z: (rows, G), out: (rows, n)"""
    for r in range(x.shape[0]):
        for g in range(scale.shape[1]):
            a, b = g * group, min((g + 1) * group, x.shape[1])
            s, z = scale[r, g], zero_point[r, g]
            steps = out[r, a:b]
            _steps(x[r, a:b], s, x.dtype.type(qmin - z), x.dtype.type(qmax - z), mode, seed, r * x.shape[1] + a, steps)
            for i in range(steps.size):
                steps[i] = s * steps[i] + x.dtype.type(0)        # −0 + 0 is +0


@numba.njit(nogil=True, fastmath={"reassoc", "contract"})
def _dot(x, y):
    """Σ x[i] y[i] in double precision, summed in any order so that it vectorises."""
    total = 0.0
    for i in range(x.size):
        total += np.float64(x[i]) * np.float64(y[i])
    return total


@kernel([types.void(array_of(real, 2), array_of(real, 1), array_of(int32, 1), int64, int64,
                    array_of(float64, 1, readonly=False)) for real in (float32, float64)])
def squared_error_rows(x, scale, zero_point, qmin, qmax, out):
    """out[r] = Σᵢ (x[r, i] − x̂[r, i])² after fake quantization.   x: (rows, n), S, Z, out: (rows,)"""
    error = np.empty(x.shape[1], x.dtype)
    for r in range(x.shape[0]):
        row, s, z = x[r], scale[r], zero_point[r]
        _steps(row, s, x.dtype.type(qmin - z), x.dtype.type(qmax - z), NEAREST, np.uint64(0), 0, error)
        for i in range(error.size):
            error[i] = row[i] - s * error[i]
        out[r] = _dot(error, error)


@kernel([types.void(array_of(real, 1), uint64, array_of(real, 1, readonly=False)) for real in (float32, float64)])
def round_stochastic(x, seed, out):
    """out[i] = ⌊x[i]⌋ + (uᵢ < x[i] − ⌊x[i]⌋), uᵢ element i of the random stream ``seed``.   x, out: (n,)"""
    for i in range(x.size):
        down = np.floor(x[i])
        out[i] = down + (uniform(seed, i) < np.float64(x[i]) - np.float64(down))
