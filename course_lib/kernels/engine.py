"""The loops of the integer engine: codes in, codes out, and no floating-point number in between.

Only the first and the last kernel see real numbers: ``quantize_input`` turns pixels into codes, ``dequantize_output``
turns the codes of the logits back. Codes of activations are uint8; those of the logits need more bits and are int32.
"""

import numba
import numpy as np
from numba import boolean, float32, int8, int32, int64, types, uint8

from course_lib.kernels.compiling import array_of, kernel
from course_lib.kernels.matmul import dot

_inline = numba.njit(nogil=True)


def _out(dtype, ndim):
    return array_of(dtype, ndim, readonly=False)


@kernel([boolean(array_of(float32, 1), float32, int64, int64, int64, _out(uint8, 1))])
def quantize_input(x, scale, zero_point, qmin, qmax, out):
    """out = clip(round(x / S) + Z, qmin, qmax); True if x has a NaN.   x: (n,) float32, out: (n,) uint8"""
    low, high = np.float32(qmin - zero_point), np.float32(qmax - zero_point)
    nan = False
    for i in range(x.size):
        nan |= x[i] != x[i]
        out[i] = np.int32(np.rint(min(max(x[i] / scale, low), high))) + zero_point
    return nan


@kernel([types.void(array_of(int32, 1), float32, int64, _out(float32, 1))])
def dequantize_output(codes, scale, zero_point, out):
    """out = S (q − Z).   codes: (n,) int32, out: (n,) float32"""
    for i in range(codes.size):
        out[i] = scale * np.float32(codes[i] - zero_point)


@_inline
def _requantize(acc, multiplier, offset, shift, low, high):
    """clip((acc · M0 + B0) >> shift, low, high): the accumulator in units of the output's scale, rounded, as a code."""
    return min(max((np.int64(acc) * multiplier + offset) >> shift, low), high)


@kernel([types.void(array_of(uint8, 2), array_of(int8, 2), array_of(int64, 1), array_of(int64, 1), int64, int64, int64,
                    _out(result, 2)) for result in (uint8, int32)])
def linear(x, w, multiplier, offset, shift, low, high, out):
    """out[b, c] = requantize(Σ_k w[c, k] x[b, k]).   x: (batch, n) uint8, w: (m, n) int8, M0, B0: (m,), out: (batch, m)"""
    for b in range(x.shape[0]):
        for c in range(w.shape[0]):
            out[b, c] = _requantize(dot(w[c], x[b]), multiplier[c], offset[c], shift, low, high)


@_inline
def _copy_patches(x, kernel_size, stride, padding, zero_point, patches):
    """im2col: patches[i·ow + j] = the window of the image that output pixel (i, j) sees; Z outside the image.

    x: (channels, height, width), patches: (oh·ow, channels·kh·kw)
    """
    ow = (x.shape[2] + 2 * padding[1] - kernel_size[1]) // stride[1] + 1
    for position in range(patches.shape[0]):
        patch = patches[position]
        top, left = position // ow * stride[0] - padding[0], position % ow * stride[1] - padding[1]
        k = 0
        for c in range(x.shape[0]):
            for i in range(top, top + kernel_size[0]):
                for j in range(left, left + kernel_size[1]):
                    inside = 0 <= i < x.shape[1] and 0 <= j < x.shape[2]
                    patch[k] = x[c, i, j] if inside else zero_point
                    k += 1


_pair = types.UniTuple(int64, 2)


@kernel([types.void(array_of(uint8, 4), array_of(int8, 2), array_of(int64, 1), array_of(int64, 1), int64, int64, int64,
                    _pair, _pair, _pair, uint8, _out(uint8, 2), _out(result, 3)) for result in (uint8, int32)])
def conv2d(x, w, multiplier, offset, shift, low, high, kernel_size, stride, padding, zero_point, patches, out):
    """Convolution as a matrix product with the image's patches, requantized.

    x: (batch, channels, height, width) uint8, w: (m, channels·kh·kw) int8, patches: (oh·ow, channels·kh·kw) scratch,
    out: (batch, m, oh·ow)
    """
    for b in range(x.shape[0]):
        _copy_patches(x[b], kernel_size, stride, padding, zero_point, patches)
        for c in range(w.shape[0]):
            for position in range(patches.shape[0]):
                acc = dot(w[c], patches[position])
                out[b, c, position] = _requantize(acc, multiplier[c], offset[c], shift, low, high)


@kernel([types.void(array_of(uint8, 3), _pair, _pair, _pair, _out(uint8, 3))])
def max_pool2d(x, kernel_size, stride, padding, out):
    """The largest code of each window; outside the image there is nothing.   x: (planes, h, w), out: (planes, oh, ow)"""
    for plane in range(out.shape[0]):
        for i in range(out.shape[1]):
            top = i * stride[0] - padding[0]
            for j in range(out.shape[2]):
                left = j * stride[1] - padding[1]
                largest = np.uint8(0)
                for y in range(max(top, 0), min(top + kernel_size[0], x.shape[1])):
                    for z in range(max(left, 0), min(left + kernel_size[1], x.shape[2])):
                        largest = max(largest, x[plane, y, z])
                out[plane, i, j] = largest


@kernel([types.void(array_of(uint8, 1), uint8, _out(uint8, 1))])
def relu(x, zero_point, out):
    """out = max(q, Z): codes below the code of zero become the code of zero.   x, out: (n,) uint8"""
    for i in range(x.size):
        out[i] = max(x[i], zero_point)
