"""The loops of integer arithmetic: products of codes with 32-bit sums, and the layers of the integer engine.

Everything that is compiled into another kernel stands in one file with it, because Numba's cache looks at one file.

What makes the products fast: the sum stays in 32 bits and the operands in 8 or 16, so that the processor's dot-product
instructions fit; and four rows meet four images at a time, so that eight loads feed sixteen sums.
"""

import numba
import numpy as np
from numba import boolean, float32, int8, int32, int64, types, uint8
from numba.extending import intrinsic

from course_lib.kernels.compiling import array_of, kernel

_inline = numba.njit(nogil=True)


def _out(dtype, ndim):
    return array_of(dtype, ndim, readonly=False)


@intrinsic
def multiply_add(typingctx, total, a, b):
    """total + a · b, in 32 bits. Numba would compute it in 64, and a vector register would hold half as many sums."""

    def generate(context, builder, signature, arguments):
        a, b = (context.cast(builder, value, kind, int32) for value, kind in zip(arguments[1:], signature.args[1:]))
        return builder.add(arguments[0], builder.mul(a, b))

    return int32(int32, a, b), generate


@_inline
def _four_by_four(w, x, r, b, column, out):
    """out[b + i, column + j] = Σ_k w[r + j, k] x[b + i, k] for i, j < 4: each number loaded serves four sums."""
    w0, w1, w2, w3 = w[r], w[r + 1], w[r + 2], w[r + 3]
    x0, x1, x2, x3 = x[b], x[b + 1], x[b + 2], x[b + 3]
    a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = c0 = c1 = c2 = c3 = d0 = d1 = d2 = d3 = np.int32(0)
    for k in range(w0.size):
        a0, a1 = multiply_add(a0, w0[k], x0[k]), multiply_add(a1, w1[k], x0[k])
        a2, a3 = multiply_add(a2, w2[k], x0[k]), multiply_add(a3, w3[k], x0[k])
        b0, b1 = multiply_add(b0, w0[k], x1[k]), multiply_add(b1, w1[k], x1[k])
        b2, b3 = multiply_add(b2, w2[k], x1[k]), multiply_add(b3, w3[k], x1[k])
        c0, c1 = multiply_add(c0, w0[k], x2[k]), multiply_add(c1, w1[k], x2[k])
        c2, c3 = multiply_add(c2, w2[k], x2[k]), multiply_add(c3, w3[k], x2[k])
        d0, d1 = multiply_add(d0, w0[k], x3[k]), multiply_add(d1, w1[k], x3[k])
        d2, d3 = multiply_add(d2, w2[k], x3[k]), multiply_add(d3, w3[k], x3[k])
    y0, y1, y2, y3 = out[b, column:], out[b + 1, column:], out[b + 2, column:], out[b + 3, column:]
    y0[0], y0[1], y0[2], y0[3] = a0, a1, a2, a3
    y1[0], y1[1], y1[2], y1[3] = b0, b1, b2, b3
    y2[0], y2[1], y2[2], y2[3] = c0, c1, c2, c3
    y3[0], y3[1], y3[2], y3[3] = d0, d1, d2, d3


@_inline
def _one_by_one(w, x, first_row, first_image, column, out):
    """out[first_image + b, column + r] = Σ_k w[r, k] x[b, k] for all images of x and the rows from first_row on."""
    for b in range(x.shape[0]):
        image = x[b]
        for r in range(first_row, w.shape[0]):
            row = w[r]
            total = np.int32(0)
            for k in range(row.size):
                total = multiply_add(total, row[k], image[k])
            out[first_image + b, column + r] = total


@_inline
def _widen_last(x):
    """The images left over when the others stand in fours, in 16 bits: widened once here, not again for every row."""
    wide = np.empty((x.shape[0] % 4, x.shape[1]), np.int16)
    for b in range(wide.shape[0]):
        for k in range(wide.shape[1]):
            wide[b, k] = x[x.shape[0] - wide.shape[0] + b, k]
    return wide


@_inline
def _products(w, x, wide, column, out):
    """out[b, column + r] = Σ_k w[r, k] x[b, k]: blocks of four by four, then the rows and images left over."""
    rows, images = w.shape[0] // 4 * 4, x.shape[0] // 4 * 4
    for r in range(0, rows, 4):
        for b in range(0, images, 4):
            _four_by_four(w, x, r, b, column + r, out)
    _one_by_one(w, x[:images], rows, 0, column, out)
    _one_by_one(w, wide, 0, images, column, out)


@kernel([types.void(array_of(int8, 2), array_of(codes, 2), int64, _out(int32, 2)) for codes in (uint8, int8)])
def matmul_int8(w, x, first, out):
    """out[b, first + r] = Σ_k w[r, k] x[b, k].   w: (m, n), x: (batch, n), out: (batch, first + m or more)"""
    _products(w, x, _widen_last(x), first, out)


@_inline
def _unpack(packed, first, rows):
    """Rows of 4-bit codes as int8: the low halves of the bytes, then the high ones.   packed: (m, h), rows: (4, 2h)"""
    half = packed.shape[1]
    for r in range(rows.shape[0]):
        row, low, high = packed[first + r], rows[r, :half], rows[r, half:]
        for k in range(row.size):                                   # two loops: one would not vectorise
            low[k] = np.int8(row[k] << 4) >> 4                      # shifted up and down: the sign comes along
        for k in range(row.size):
            high[k] = np.int8(row[k]) >> 4


@kernel([types.void(array_of(uint8, 2), array_of(codes, 2), int64, _out(int32, 2)) for codes in (uint8, int8)])
def matmul_int4(packed, x, first, out):
    """The same with two 4-bit codes a byte, low half first.   packed: (m, ⌈n / 2⌉), x: (batch, n)

    Unpacking gives the even and the odd codes of a row apart, so x is put in that order too: even entries, then odd.
    """
    n, half = x.shape[1], packed.shape[1]
    order = np.zeros((x.shape[0], 2 * half), x.dtype)               # an odd n leaves a zero at the end
    for b in range(x.shape[0]):
        for k in range(half):
            order[b, k] = x[b, 2 * k]
        for k in range(n // 2):
            order[b, half + k] = x[b, 2 * k + 1]
    wide = _widen_last(order)
    four = np.empty((4, 2 * half), np.int8)
    for r in range(0, packed.shape[0], 4):
        rows = four[: packed.shape[0] - r]
        _unpack(packed, r, rows)
        _products(rows, order, wide, first + r, out)


@kernel([boolean(array_of(float32, 1), float32, int64, int64, int64, _out(uint8, 1))])
def quantize_input(x, scale, zero_point, qmin, qmax, out):
    """out = clip(round(x / S) + Z, qmin, qmax); True if x has a NaN.   x: (n,) float32, out: (n,) uint8"""
    low, high = np.float32(qmin - zero_point), np.float32(qmax - zero_point)
    nan = False
    for i in range(x.size):
        nan |= x[i] != x[i]
        out[i] = np.int32(np.rint(min(max(x[i] / scale, low), high))) + zero_point
    return nan


@kernel([types.void(array_of(kind, 1), float32, int64, _out(float32, 1)) for kind in (int32, uint8)])
def dequantize_output(codes, scale, zero_point, out):
    """out = S (q − Z).   codes: (n,), out: (n,) float32"""
    for i in range(codes.size):
        out[i] = scale * np.float32(codes[i] - zero_point)


@_inline
def _requantize(acc, multiplier, offset, shift, low, high):
    """clip((acc · M0 + B0) >> shift, low, high): the accumulator in units of the output's scale, rounded, as a code."""
    return min(max((np.int64(acc) * multiplier + offset) >> shift, low), high)


_constants = (array_of(int64, 1), array_of(int64, 1), int64, int64, int64)      # M0, B0, shift, low, high
_pair = types.UniTuple(int64, 2)


@kernel([types.void(array_of(uint8, 2), array_of(int8, 2), *_constants, _out(int32, 2), _out(codes, 2))
         for codes in (uint8, int32)])
def linear(x, w, multiplier, offset, shift, low, high, acc, out):
    """out[b, c] = requantize(Σ_k w[c, k] x[b, k]).   x: (batch, n), w: (m, n), M0, B0: (m,), acc, out: (batch, m)"""
    _products(w, x, _widen_last(x), 0, acc)
    for b in range(out.shape[0]):
        for c in range(out.shape[1]):
            out[b, c] = _requantize(acc[b, c], multiplier[c], offset[c], shift, low, high)


@_inline
def _copy_patches(x, kernel_size, stride, padding, zero_point, patches):
    """im2col: patches[i·ow + j] = the window of the image that output pixel (i, j) sees; Z outside the image.

    x: (channels, height, width), patches: (oh·ow, channels·kh·kw). One entry of all windows after the other.
    """
    ow = (x.shape[2] + 2 * padding[1] - kernel_size[1]) // stride[1] + 1
    oh, entry = patches.shape[0] // ow, 0
    for c in range(x.shape[0]):
        for down in range(kernel_size[0]):
            for right in range(kernel_size[1]):
                for i in range(oh):
                    y = i * stride[0] + down - padding[0]
                    for j in range(ow):
                        z = j * stride[1] + right - padding[1]
                        inside = 0 <= y < x.shape[1] and 0 <= z < x.shape[2]
                        patches[i * ow + j, entry] = x[c, y, z] if inside else zero_point
                entry += 1


@kernel([types.void(array_of(uint8, 4), array_of(int8, 2), *_constants, _pair, _pair, _pair, uint8, _out(uint8, 2),
                    _out(int32, 2), _out(codes, 3)) for codes in (uint8, int32)])
def conv2d(x, w, multiplier, offset, shift, low, high, kernel_size, stride, padding, zero_point, patches, acc, out):
    """Convolution: the image's patches times the filters, requantized.

    x: (batch, channels, height, width) uint8, w: (m, channels·kh·kw) int8, patches: (oh·ow, channels·kh·kw),
    acc: (oh·ow, m), out: (batch, m, oh·ow)
    """
    for b in range(x.shape[0]):
        _copy_patches(x[b], kernel_size, stride, padding, zero_point, patches)
        _products(w, patches, _widen_last(patches), 0, acc)
        for c in range(out.shape[1]):
            for position in range(out.shape[2]):
                out[b, c, position] = _requantize(acc[position, c], multiplier[c], offset[c], shift, low, high)


@kernel([types.void(array_of(uint8, 3), _pair, _pair, _pair, _out(uint8, 3))])
def max_pool2d(x, kernel_size, stride, padding, out):
    """The largest code of each window; outside the image is nothing.   x: (planes, h, w), out: (planes, oh, ow)"""
    for plane in range(out.shape[0]):
        for i in range(out.shape[1]):
            row = out[plane, i]
            for j in range(row.size):
                row[j] = 0
            top = i * stride[0] - padding[0]
            for y in range(max(top, 0), min(top + kernel_size[0], x.shape[1])):
                for right in range(kernel_size[1]):
                    for j in range(row.size):
                        z = j * stride[1] + right - padding[1]
                        if 0 <= z < x.shape[2]:
                            row[j] = max(row[j], x[plane, y, z])


@kernel([types.void(array_of(uint8, 1), uint8, _out(uint8, 1))])
def relu(x, zero_point, out):
    """out = max(q, Z): codes below the code of zero become the code of zero.   x, out: (n,) uint8"""
    for i in range(x.size):
        out[i] = max(x[i], zero_point)
