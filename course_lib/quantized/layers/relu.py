"""The ReLU: nothing below zero."""

from course_lib.kernels import layers as kernels
from course_lib.quantized.layers.base import LayerKind
from course_lib.quantized.layers.buffers import buffer


class ReLU(LayerKind):
    """max(x, 0), on codes max(q, Z). Where the layer before clips at the code of zero, there is nothing left to do."""

    name = "relu"
    keeps_scale = keeps_order = does_relu = True

    def torch_class(self):
        from torch import nn

        return nn.ReLU

    def simulate(self, options, *inputs, weight=None, bias=None):
        return inputs[0].relu()

    def integer(self, layer, relu_follows):
        return IntegerReLU(layer)


class IntegerReLU:
    """x: any shape"""

    def __init__(self, layer):
        self.zero_point = int(layer.input_qparams.zero_point)

    def plan(self, x):
        out = buffer(x.shape, x.dtype)
        return [(kernels.relu, (x.reshape(-1), self.zero_point, out.reshape(-1)))], out
