"""Blocks of narrow floats that share a power of two: encoded in one pass over memory, and scaled back."""

import numba
import numpy as np
from numba import float32, int64, types, uint8

from course_lib.kernels.blocks import LANES, NEAREST, inline, load_block, store_block
from course_lib.kernels.floats import count_spacings
from course_lib.machine import simd
from course_lib.machine.compiling import array_of, kernel

_plain = numba.njit(nogil=True)


@inline
def _largest(x):
    """The bits of the largest finite |x|, and other than 0 if there is a NaN.   x: (n,)"""
    largest, nan = simd.splat(np.uint32(0), LANES), simd.splat(np.int32(0), LANES)
    infinity = simd.splat(np.uint32(0x7F800000), LANES)                 # its bits
    for i in range(0, x.size, LANES):
        v = load_block(x, i, min(LANES, x.size - i))
        size = simd.reinterpret(v, np.uint32) & 0x7FFFFFFF
        largest = simd.maximum(largest, simd.select(simd.is_less(size, infinity), size, size ^ size))
        nan = nan | simd.is_nan(v)
    return np.int64(simd.greatest(largest)), simd.sum(nan)


@kernel([types.void(array_of(float32, 2), int64, types.UniTuple(int64, 5), array_of(uint8, 2, readonly=False),
                    array_of(uint8, 2, readonly=False))], error_model="numpy")
def encode_blocks(x, group, layout, scale, codes):
    """scale[r, g] = 127 + ⌊log₂ max |x|⌋ − emax; codes[r, i] = x[r, i] / 2^(scale − 127) as an element, to the nearest.

    x, codes: (rows, n), scale: (rows, G); a block is ``group`` numbers, the last one of a row may be shorter. layout:
    the bits of the element format, the bits of float32 to drop, the code of its largest number, emax ≥ 1, the bits of
    its smallest normal number in float32. A block with a NaN has scale 255; the NaN itself has code 0.

    Serves ``numerics.mx_quantize``. Definition: ``numerics.mx_quantize_one``.
    """
    drop, emax, sign_place, sign_bit = layout[1], layout[3], 32 - layout[0], 1 << (layout[0] - 1)
    last, min_normal = simd.splat(np.uint32(layout[2]), LANES), simd.splat(np.uint32(layout[4]), LANES)
    for r in range(x.shape[0]):
        for g in range(scale.shape[1]):
            a, b = g * group, min((g + 1) * group, x.shape[1])
            block, out = x[r, a:b], codes[r, a:b]
            largest, nan = _largest(block)
            exponent = max((largest >> 23) - emax, 0) if largest > 0 else 127
            scale[r, g] = exponent if nan == 0 else 255
            factor = simd.reinterpret(simd.splat(np.uint32((254 - exponent) << 23), LANES), np.float32)
            for i in range(0, block.size, LANES):
                count = min(LANES, block.size - i)
                v = load_block(block, i, count) * factor
                bits = simd.reinterpret(v, np.uint32)
                code = count_spacings(v, bits & 0x7FFFFFFF, drop, min_normal, NEAREST, np.uint64(0), 0)
                code = simd.minimum(code, last) | ((bits >> sign_place) & sign_bit)
                code = simd.select(simd.is_nan(v), bits ^ bits, code)
                store_block(out, i, simd.convert(code, np.uint8), count, False)


@_plain
def _power_of_two(scale):
    """2^(scale − 127), NaN for 255: float32."""
    return np.float32(np.nan) if scale == 255 else np.float32(2.0 ** (np.int64(scale) - 127))


@kernel([types.void(array_of(float32, 2), array_of(uint8, 2), int64, array_of(float32, 2, readonly=False))])
def scale_blocks(x, scale, group, out):
    """out[r, i] = x[r, i] 2^(scale[r, g] − 127), NaN where the scale is 255.   x, out: (rows, n), scale: (rows, G)

    Serves ``numerics.mx_dequantize``. Definition: the first line above.
    """
    for r in range(x.shape[0]):
        for g in range(scale.shape[1]):
            a, b = g * group, min((g + 1) * group, x.shape[1])
            block, scaled, factor = x[r, a:b], out[r, a:b], _power_of_two(scale[r, g])
            for i in range(block.size):
                scaled[i] = block[i] * factor
