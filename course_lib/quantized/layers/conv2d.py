"""A convolution over images: every weight is used once for each place of the outcome."""

import math

import numpy as np

from course_lib.kernels import layers as kernels
from course_lib.quantized.layers.base import IMAGES, Weighted, plain, window_of
from course_lib.quantized.layers.buffers import buffer, code_array, packed, positions
from course_lib.quantized.requantization import fixed_point


class Conv2d(Weighted):
    """Products of the weights with each window of the image.   weights: (out, in, kh, kw), x: (n, in, height, width)"""

    name = "conv2d"
    weight_axes = 4
    options = ("stride", "padding")
    usual = {"dilation": 1, "groups": 1, "padding_mode": "zeros"}
    takes = IMAGES
    unit = "channels"

    def torch_class(self):
        from torch import nn

        return nn.Conv2d

    def read(self, layer, where):
        padding = layer.padding
        if padding == "valid":
            padding = 0
        elif padding == "same":
            if any(n % 2 == 0 for n in layer.kernel_size):
                raise TypeError(f"{where} has padding='same' with a kernel of {layer.kernel_size}, which pads one side "
                                "more than the other and cannot be quantized; the kernel should have odd sides")
            padding = tuple(n // 2 for n in layer.kernel_size)
        return {"stride": plain(layer.stride), "padding": plain(padding)}

    def window(self, name, options, weight_shape=None):
        """A padding must leave something of the image in each window."""
        super().window(name, options)
        size = tuple(weight_shape[2:])
        return window_of(name, options, size, 1, [n - 1 for n in size])

    def output_shape(self, weight_shape, window, *shapes):
        return (weight_shape[0], *window.positions(shapes[0][1:]))

    def simulate(self, options, *inputs, weight=None, bias=None):
        from torch.nn import functional

        return functional.conv2d(*inputs, weight, bias, **options)

    def integer(self, layer, relu_follows):
        return IntegerConv2d(layer, relu_follows)


class IntegerConv2d:
    """x: (batch, channels, height, width) -> (batch, out, oh, ow), padded with the code of zero"""

    def __init__(self, layer, relu_follows):
        self.weights, self.rows = packed(layer.weight_codes), len(layer.weight_codes)
        self.constants = fixed_point(layer, relu_follows)
        self.out_dtype = code_array(layer.output_qparams)
        self.zero_point = int(layer.input_qparams.zero_point)
        self.name, self.channels, self.window = layer.name, layer.weight_shape[1], layer.window

    def plan(self, x):
        height, width = positions(self.name, self.window, self.channels, x.shape)
        patches = buffer((height * width, math.prod((x.shape[1], *self.window.size))), np.uint8)
        out = buffer((len(x), self.rows, height, width), self.out_dtype)
        acc = np.empty((height * width, self.weights[1].size), np.int32)
        flat = out.reshape(*out.shape[:2], height * width)
        buffers = patches, acc, flat
        return [(kernels.conv2d, (x, *self.weights, *self.constants, *self.window, self.zero_point, *buffers))], out
