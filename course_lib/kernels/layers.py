"""The layers of the integer engine: products of codes with 32-bit sums (``tiles.py``), requantized."""

import numba
import numpy as np
from numba import boolean, float32, int8, int32, int64, types, uint8

from course_lib.kernels.tiles import products
from course_lib.machine.compiling import array_of, kernel

_inline = numba.njit(nogil=True)


def _out(dtype, ndim):
    """What is written, and the x of products: to compile for one kind of array and not for two takes half the time."""
    return array_of(dtype, ndim, readonly=False)


@kernel([boolean(array_of(float32, 1), float32, int64, int64, int64, _out(uint8, 1))])
def quantize_input(x, scale, zero_point, qmin, qmax, out):
    """out = clip(round(x / S) + Z, qmin, qmax); True if x has a NaN.   x: (n,) float32, out: (n,) uint8

    Serves ``quantized.integer.IntegerNet``. Definition: ``numerics.quantize_one``; plain loop: ``plain.quantize``.
    """
    low, high = np.float32(qmin - zero_point), np.float32(qmax - zero_point)
    nan = False
    for i in range(x.size):
        nan |= x[i] != x[i]
        out[i] = np.int32(np.rint(min(max(x[i] / scale, low), high))) + zero_point
    return nan


@kernel([types.void(array_of(kind, 1), float32, int64, _out(float32, 1)) for kind in (int32, uint8)])
def dequantize_output(codes, scale, zero_point, out):
    """out = S (q − Z).   codes: (n,), out: (n,) float32

    Serves ``quantized.integer.IntegerNet``. Definition: ``numerics.dequantize_one``.
    """
    for i in range(codes.size):
        out[i] = scale * np.float32(codes[i] - zero_point)


@_inline
def _requantize(acc, multiplier, offset, shift, low, high):
    """clip((acc · M0 + B0) >> shift, low, high): the accumulator in units of the output's scale, rounded, as a code."""
    return min(max((np.int64(acc) * multiplier + offset) >> shift, low), high)


_weights = (array_of(int8, 2), array_of(int32, 1))                              # tiles, and zeros: the sums' start
_constants = (array_of(int64, 1), array_of(int64, 1), int64, int64, int64)      # M0, B0, shift, low, high
_pair = types.UniTuple(int64, 2)


@kernel([types.void(_out(uint8, 2), *_weights, *_constants, int64, _out(int32, 2), _out(codes, 2))
         for codes in (uint8, int32)])
def linear(x, tiles, start, multiplier, offset, shift, low, high, done, acc, out):
    """out[b, c] = requantize(Σ_k w[c, k] x[b, k]).   x: (batch, n), w: (m, n) as T tiles, M0, B0: (m,), out: (batch, m)

    acc: (batch, 16 T), start: (16 T,); done: for how many of the first images acc holds the sums already

    Serves ``quantized.layers.linear.IntegerLinear``. Definition: the first line above; plain loop: ``plain.linear``.
    """
    products(tiles, x[done:], start, 0, tiles.shape[0], acc[done:])
    for b in range(out.shape[0]):
        sums, row = acc[b], out[b]
        for c in range(row.size):
            row[c] = _requantize(sums[c], multiplier[c], offset[c], shift, low, high)


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


@kernel([types.void(array_of(uint8, 4), *_weights, *_constants, _pair, _pair, _pair, uint8, _out(uint8, 2),
                    _out(int32, 2), _out(codes, 3)) for codes in (uint8, int32)])
def conv2d(x, tiles, start, multiplier, offset, shift, low, high, kernel_size, stride, padding, zero_point, patches,
           acc, out):
    """Convolution: the image's patches times the filters, requantized.

    x: (batch, channels, height, width) uint8, tiles: of the filters, (m, channels·kh·kw), patches: (oh·ow,
    channels·kh·kw), acc: (oh·ow, 16 T), start: (16 T,), out: (batch, m, oh·ow)

    Serves ``quantized.layers.conv2d.IntegerConv2d``. Definition: the first line above; plain loop: ``plain.conv2d``.
    """
    for b in range(x.shape[0]):
        _copy_patches(x[b], kernel_size, stride, padding, zero_point, patches)
        products(tiles, patches, start, 0, tiles.shape[0], acc)
        for c in range(out.shape[1]):
            for position in range(out.shape[2]):
                out[b, c, position] = _requantize(acc[position, c], multiplier[c], offset[c], shift, low, high)


@kernel([types.void(array_of(uint8, 3), _pair, _pair, _pair, _out(uint8, 3))])
def max_pool2d(x, kernel_size, stride, padding, out):
    """The largest code of each window; outside the image is nothing.   x: (planes, h, w), out: (planes, oh, ow)

    Serves ``quantized.layers.pooling.IntegerMaxPool2d``. Definition: the first line above.
    """
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


@kernel([types.void(array_of(uint8, 3), _pair, _pair, _pair, int64, _out(uint8, 3))])
def avg_pool2d(x, kernel_size, stride, padding, zero_point, out):
    """The average code of each window, rounded, halves up: ⌊(Σ q + k / 2) / k⌋, k codes a window; outside is Z.

    x: (planes, h, w), out: (planes, oh, ow)

    Serves ``quantized.layers.pooling.IntegerAvgPool2d``. Definition: ``quantized.layers.pooling.average_one``.
    """
    count = kernel_size[0] * kernel_size[1]
    for plane in range(out.shape[0]):
        for i in range(out.shape[1]):
            for j in range(out.shape[2]):
                total = count // 2
                for down in range(kernel_size[0]):
                    for right in range(kernel_size[1]):
                        y, z = i * stride[0] + down - padding[0], j * stride[1] + right - padding[1]
                        inside = 0 <= y < x.shape[1] and 0 <= z < x.shape[2]
                        total += np.int64(x[plane, y, z]) if inside else zero_point
                out[plane, i, j] = total // count


@kernel([types.void(array_of(uint8, 1), array_of(uint8, 1), *[int64] * 6, _out(codes, 1)) for codes in (uint8, int32)])
def add(a, b, first, second, offset, shift, low, high, out):
    """out = clip((a · M0_a + b · M0_b + B0) >> shift, low, high), the sum of two paths.   a, b, out: (n,)

    Serves ``quantized.layers.residual_sum.IntegerResidualSum``. Definition:
    ``quantized.requantization.requantize_sum_one``.
    """
    for i in range(out.size):
        total = np.int64(a[i]) * first + np.int64(b[i]) * second + offset
        out[i] = min(max(total >> shift, low), high)


@kernel([types.void(array_of(uint8, 1), uint8, _out(uint8, 1))])
def relu(x, zero_point, out):
    """out = max(q, Z): codes below the code of zero become the code of zero.   x, out: (n,) uint8

    Serves ``quantized.layers.relu.IntegerReLU``. Definition: the first line above.
    """
    for i in range(x.size):
        out[i] = max(x[i], zero_point)
