"""Products with weights that are mostly zero: only what was kept is stored, and met with the right entries of x.

What makes them fast: eight entries of x are gathered at once, weights and indices are asked for ahead of time (their
rows are too short for the processor to guess), and nothing that is not needed is read. With many images the other
dimension is the vector: one weight meets sixteen images, so x comes transposed, (n, images), as one row of numbers.
"""

import numba
import numpy as np
from numba import float32, int64, types, uint8, uint16, uint32

from course_lib.kernels import simd
from course_lib.kernels.compiling import array_of, kernel

IMAGES = 16                     # images that one vector holds; the transposed x has a multiple of it
AHEAD = 1024                    # how far ahead weights are asked for, in entries
_inline = numba.njit(nogil=True)
_floats, _out = array_of(float32, 1), array_of(float32, 1, readonly=False)


@kernel([types.void(_floats, array_of(index, 1), array_of(int64, 1), _floats, _out) for index in (uint16, uint32)])
def csr(values, indices, row_starts, x, out):
    """out[r] = Σ values[k] x[indices[k]] over row_starts[r] ≤ k < row_starts[r + 1].   x: (n,), out: (rows,)"""
    for r in range(out.size):
        k, end = row_starts[r], row_starts[r + 1]
        a = b = c = d = simd.splat(np.float32(0), 8)
        while k + 32 <= end:
            simd.prefetch(values, k + AHEAD)
            simd.prefetch(values, k + AHEAD + 16)
            simd.prefetch(indices, k + AHEAD)
            i = simd.convert(simd.load_lanes(indices, k, 8), np.int32)
            a = simd.multiply_add(simd.load_lanes(values, k, 8), simd.gather(x, i), a)
            i = simd.convert(simd.load_lanes(indices, k + 8, 8), np.int32)
            b = simd.multiply_add(simd.load_lanes(values, k + 8, 8), simd.gather(x, i), b)
            i = simd.convert(simd.load_lanes(indices, k + 16, 8), np.int32)
            c = simd.multiply_add(simd.load_lanes(values, k + 16, 8), simd.gather(x, i), c)
            i = simd.convert(simd.load_lanes(indices, k + 24, 8), np.int32)
            d = simd.multiply_add(simd.load_lanes(values, k + 24, 8), simd.gather(x, i), d)
            k += 32
        while k < end:                                              # what is left: the lanes beyond the row are off
            here = simd.first(end - k, 8)
            i = simd.convert(simd.load_where(indices, k, here), np.int32)
            a = simd.multiply_add(simd.load_where(values, k, here), simd.gather_where(x, i, here), a)
            k += 8
        out[r] = simd.sum((a + b) + (c + d))


@_inline
def _images(values, columns, first, last, step, x, width, out):
    """out[i] = Σ values[k] x[columns[k], i] over k = first, first + step, … < last.   x: (n, width) as one row"""
    for i in range(0, width - 48, 64):                              # four vectors of images at a time, then one
        a = b = c = d = simd.splat(np.float32(0), 16)
        for k in range(first, last, step):
            value, place = simd.splat(values[k], 16), np.int64(columns[k]) * width + i
            a = simd.multiply_add(value, simd.load(x, place), a)
            b = simd.multiply_add(value, simd.load(x, place + 16), b)
            c = simd.multiply_add(value, simd.load(x, place + 32), c)
            d = simd.multiply_add(value, simd.load(x, place + 48), d)
        simd.store(out, i, a)
        simd.store(out, i + 16, b)
        simd.store(out, i + 32, c)
        simd.store(out, i + 48, d)
    for i in range(width // 64 * 64, width, 16):
        a = simd.splat(np.float32(0), 16)
        for k in range(first, last, step):
            a = simd.multiply_add(simd.splat(values[k], 16), simd.load(x, np.int64(columns[k]) * width + i), a)
        simd.store(out, i, a)


@kernel([types.void(_floats, array_of(index, 1), array_of(int64, 1), _floats, array_of(float32, 2, readonly=False))
         for index in (uint16, uint32)])
def csr_images(values, indices, row_starts, x, out):
    """The same for many images.   x: (n, width) as one row of numbers, width a multiple of 16, out: (rows, width)"""
    for r in range(out.shape[0]):
        _images(values, indices, row_starts[r], row_starts[r + 1], 1, x, out.shape[1], out[r])
