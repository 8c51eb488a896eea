"""Pooling: of each window of an image one number, the largest or the average; or the average of the whole image."""

import numpy as np

from course_lib.kernels import layers as kernels
from course_lib.quantized.layers.base import IMAGES, LARGEST_WINDOW, LayerKind, Reach, Window, pair, window_of
from course_lib.quantized.layers.buffers import buffer, positions


def average_one(codes: list[int]) -> int:
    """The average of some codes, rounded to a code, halves up. The definition of ``kernels.layers.avg_pool2d``.

    >>> average_one([0, 1, 1, 4]), average_one([0, 1])
    (2, 1)
    """
    return (sum(codes) + len(codes) // 2) // len(codes)


class Pooling(LayerKind):
    """What all of them share: images in, images of as many channels out, in the scale of what comes in."""

    takes = IMAGES
    keeps_scale = True

    def output_shape(self, weight_shape, window, *shapes):
        return (shapes[0][0], *window.positions(shapes[0][1:]))


class WindowPooling(Pooling):
    """Pooling with a window: kernel_size, stride (by default windows stand side by side), padding."""

    options = ("kernel_size", "stride", "padding")

    def window(self, name, options, weight_shape=None):
        """Padding is at most half a window, as in torch."""
        super().window(name, options)
        size = pair(options.get("kernel_size"), f"layer {name!r}: kernel_size", 1, LARGEST_WINDOW)
        if options.get("stride") is None:
            options = {**options, "stride": size}
        return window_of(name, options, size, size, [n // 2 for n in size])


class MaxPool2d(WindowPooling):
    """The largest number of each window; outside the image is nothing. It keeps order, so codes may be compared."""

    name = "max_pool2d"
    usual = {"dilation": 1, "ceil_mode": False, "return_indices": False}
    keeps_order = True

    def torch_class(self):
        from torch import nn

        return nn.MaxPool2d

    def simulate(self, options, *inputs, weight=None, bias=None):
        from torch.nn import functional

        return functional.max_pool2d(*inputs, **options)

    def integer(self, layer, relu_follows):
        return IntegerMaxPool2d(layer)


class IntegerMaxPool2d:
    """x: (batch, channels, height, width) -> (batch, channels, oh, ow)"""

    def __init__(self, layer):
        self.name, self.window = layer.name, layer.window

    def plan(self, x):
        out = buffer((*x.shape[:2], *positions(self.name, self.window, x.shape[1], x.shape)), np.uint8)
        planes, out_planes = x.reshape(-1, *x.shape[2:]), out.reshape(-1, *out.shape[2:])
        return [(kernels.max_pool2d, (planes, *self.window, out_planes))], out


class AvgPool2d(WindowPooling):
    """The average of each window; outside the image is zero, which counts.

    S (q − Z) averaged is S (average of q − Z): the average of the codes, rounded, is a code of the same scale. But an
    average lies between the numbers that it is of, so the range has to be that of the numbers before it.
    """

    name = "avg_pool2d"
    usual = {"ceil_mode": False, "count_include_pad": True, "divisor_override": None}

    def torch_class(self):
        from torch import nn

        return nn.AvgPool2d

    def simulate(self, options, *inputs, weight=None, bias=None):
        from torch.nn import functional

        return functional.avg_pool2d(*inputs, **options)

    def integer(self, layer, relu_follows):
        return IntegerAvgPool2d(layer)


class GlobalAvgPool2d(Pooling):
    """The average of each channel, whatever the size of the image: ``nn.AdaptiveAvgPool2d(1)``."""

    name = "global_avg_pool2d"

    def torch_class(self):
        from torch import nn

        return nn.AdaptiveAvgPool2d

    def read(self, layer, where):
        if layer.output_size not in (1, (1, 1), [1, 1]):
            raise TypeError(f"{where} has output_size={layer.output_size!r}, which cannot be quantized; it should be 1")
        return {}

    def reach(self, name, weight_shape, *reaches):
        channels = super().reach(name, weight_shape, *reaches)
        return Reach(3, channels.count, channels.exact)

    def output_shape(self, weight_shape, window, *shapes):
        return (shapes[0][0], 1, 1)

    def simulate(self, options, *inputs, weight=None, bias=None):
        return inputs[0].mean((2, 3), keepdim=True)

    def integer(self, layer, relu_follows):
        return IntegerAvgPool2d(layer)


class IntegerAvgPool2d:
    """x: (batch, channels, height, width) -> (batch, channels, oh, ow); without a window the whole image is one"""

    def __init__(self, layer):
        self.name, self.window, self.zero_point = layer.name, layer.window, int(layer.input_qparams.zero_point)

    def plan(self, x):
        window = self.window
        if window is None:
            if x.ndim != 4 or 0 in x.shape[2:]:
                raise ValueError(f"layer {self.name!r} takes images, and x gives it {x.shape[1:]}")
            window = Window(x.shape[2:], (1, 1), (0, 0))
        out = buffer((*x.shape[:2], *positions(self.name, window, x.shape[1], x.shape)), np.uint8)
        planes, out_planes = x.reshape(-1, *x.shape[2:]), out.reshape(-1, *out.shape[2:])
        return [(kernels.avg_pool2d, (planes, *window, self.zero_point, out_planes))], out
