"""Quantize, fake-quantize and round, element by element. (Dequantizing is a few NumPy lines, so it has no kernel.)

Every kernel takes ``x`` as (rows, n) and the parameters as (rows, G): each row is cut into groups of ``group`` entries
(the last may be short) and each group has its own scale and zero point. One row is per tensor, one group a row is per
channel.

One pass does everything, and looks for NaN on the way. Clipping comes before rounding: the bounds are whole numbers, so
the code is the same, and ±inf is never rounded.
"""

import numba
import numpy as np
from numba import boolean, float32, float64, int32, int64, types, uint8, uint16, uint64
from numba.extending import overload

from course_lib.kernels.blocks import (
    DOWN,
    LANES,
    LONG,
    NEAREST,
    STOCHASTIC,
    TOWARD_ZERO,
    UP,
    block,
    inline,
    load_block,
    round_lanes,
    store_block,
    until_aligned,
)  # fmt: skip
from course_lib.machine import simd
from course_lib.machine.compiling import array_of, kernel

__all__ = ["DOWN", "LANES", "NEAREST", "STOCHASTIC", "TOWARD_ZERO", "UP", "fake_quantize_rows", "quantize_rows",
           "round_stochastic", "squared_error_rows"]


@inline
def _steps(x, scale, low, high, mode, seed, i):
    """round(clip(x / scale, low, high)), lane by lane: whole numbers of steps from zero, as floats.

    Numbers on the grid (k · scale, with k whole) stay there in every mode, although x / scale need not be k exactly.
    """
    t = simd.minimum(simd.maximum(x / scale, low), high)
    if mode == NEAREST:
        return simd.rint(t)
    k = simd.rint(t)
    return simd.select(simd.is_equal(k * scale, x), k, round_lanes(t, mode, seed, i))


def _result(steps, scale, zero_point, out):
    """What ``out`` takes: S · steps if it holds real numbers, steps + Z if it holds codes."""


@overload(_result)
def _result_for(steps, scale, zero_point, out):
    if isinstance(out.dtype, types.Float):
        return lambda steps, scale, zero_point, out: steps * scale + 0                  # −0 + 0 is +0
    return lambda steps, scale, zero_point, out: simd.convert(simd.convert(steps, np.int32) + zero_point, out.dtype)


@inline
def _one_scale(x, scale, zero_point, qmin, qmax, mode, seed, first, past_caches, out):
    """Quantize numbers that share a scale; lanes other than 0 if one is NaN.   x, out: (n,)

    A store past the caches needs an aligned address, so the entries before the first such address, the head, go in a
    shorter block. They are stored through the caches, into a cache line whose rest goes past them, which is slow: a
    short run that has a head goes through the caches altogether.
    """
    real = x.dtype.type
    low, high = simd.splat(real(qmin - zero_point), LANES), simd.splat(real(qmax - zero_point), LANES)
    nan, head, i = simd.splat(np.int32(0), LANES), until_aligned(out), 0
    past_caches &= head == 0 or x.size >= LONG
    head *= past_caches                                     # stores through the caches need no alignment
    while i < x.size:
        count = block(i, head, x.size)
        v = load_block(x, i, count)
        nan = nan | simd.convert(simd.is_nan(v), np.int32)
        steps = _steps(v, scale, low, high, mode, seed, first + i)
        store_block(out, i, _result(steps, scale, zero_point, out), count, past_caches)
        i += count
    return nan


@inline
def _rows(x, scale, zero_point, group, qmin, qmax, mode, seed, first, past_caches, out):
    """Every group of every row; whether x has a NaN. Entry (0, 0) is element ``first`` of the random stream."""
    nan = simd.splat(np.int32(0), LANES)
    for r in range(x.shape[0]):
        for g in range(scale.shape[1]):
            a, b = g * group, min((g + 1) * group, x.shape[1])
            nan = nan | _one_scale(x[r, a:b], scale[r, g], zero_point[r, g], qmin, qmax, mode, seed,
                                   first + r * x.shape[1] + a, past_caches, out[r, a:b])
    simd.fence()
    return simd.sum(nan) != 0


def _signatures(real, result):
    matrix, ints = array_of(real, 2), array_of(int32, 2)
    return boolean(matrix, matrix, ints, int64, int64, int64, int64, uint64, int64, boolean,
                   array_of(result, 2, readonly=False))


@kernel([_signatures(real, codes) for real, codes in ((float32, uint8), (float32, uint16), (float64, uint16))])
def quantize_rows(x, scale, zero_point, group, qmin, qmax, mode, seed, first, past_caches, out):
    """out = clip(round(x / S) + Z, qmin, qmax), the last 8 or 16 bits of it; True if x has a NaN.

    x: (rows, n), S, Z: (rows, G), out: (rows, n), written past the caches if asked. Entry (0, 0) is element ``first``
    of the random stream.

    Serves ``numerics.quantize``. Definition: ``numerics.quantize_one``; plain loop: ``plain.quantize`` and
    ``plain.stochastic_quantize``.
    """
    return _rows(x, scale, zero_point, group, qmin, qmax, mode, seed, first, past_caches, out)


@kernel([_signatures(real, real) for real in (float32, float64)])
def fake_quantize_rows(x, scale, zero_point, group, qmin, qmax, mode, seed, first, past_caches, out):
    """out = S (clip(round(x / S) + Z, qmin, qmax) − Z); True if x has a NaN. Everything else as in ``quantize_rows``.

    Serves ``numerics.fake_quantize``. Definition: ``numerics.quantize_one`` and ``numerics.dequantize_one``; plain
    loop: ``plain.fake_quantize``.
    """
    return _rows(x, scale, zero_point, group, qmin, qmax, mode, seed, first, past_caches, out)


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
    """out[r] = Σᵢ (x[r, i] − x̂[r, i])² after fake quantization.   x: (rows, n), S, Z, out: (rows,)

    Serves ``numerics.calibrate``. Definition: the first line above.
    """
    error = np.empty(x.shape[1], x.dtype)
    for r in range(x.shape[0]):
        row, s, z = x[r], scale[r], zero_point[r]
        low, high = x.dtype.type(qmin - z), x.dtype.type(qmax - z)
        for i in range(error.size):
            error[i] = row[i] - s * np.rint(min(max(row[i] / s, low), high))
        out[r] = _dot(error, error)


@kernel([types.void(array_of(real, 1), uint64, int64, array_of(real, 1, readonly=False))
         for real in (float32, float64)])
def round_stochastic(x, seed, first, out):
    """out[i] = ⌊x[i]⌋ + (u < x[i] − ⌊x[i]⌋), u element ``first`` + i of the random stream ``seed``.   x, out: (n,)

    Serves ``numerics.round_to_integer``. Definition: ``numerics.round_one``.
    """
    for i in range(0, x.size, LANES):
        count = min(LANES, x.size - i)
        store_block(out, i, round_lanes(load_block(x, i, count), STOCHASTIC, seed, first + i), count, False)
