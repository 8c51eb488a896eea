"""A fully connected layer: every weight meets one number, once."""

import numpy as np

from course_lib.kernels import layers as kernels
from course_lib.kernels import matrix_unit
from course_lib.quantized.layers.base import FEATURES, Weighted
from course_lib.quantized.layers.buffers import buffer, code_array, packed
from course_lib.quantized.requantization import fixed_point


class Linear(Weighted):
    """y = W x + b.   weights: (out, in), x: (n, in)"""

    name = "linear"
    weight_axes = 2
    takes = FEATURES
    unit = "features"

    def torch_class(self):
        from torch import nn

        return nn.Linear

    def output_shape(self, weight_shape, window, *shapes):
        return (weight_shape[0],)

    def simulate(self, options, *inputs, weight=None, bias=None):
        from torch.nn import functional

        return functional.linear(inputs[0].flatten(1), weight, bias)

    def integer(self, layer, relu_follows):
        return IntegerLinear(layer, relu_follows)


class IntegerLinear:
    """x: (batch, n) -> (batch, out)"""

    def __init__(self, layer, relu_follows):
        self.weights, self.rows = packed(layer.weight_codes), len(layer.weight_codes)
        self.constants = fixed_point(layer, relu_follows)
        self.out_dtype = code_array(layer.output_qparams)
        self.name, self.features = layer.name, layer.weight_shape[1]

    def plan(self, x):
        if x.shape[1:] != (self.features,):
            raise ValueError(f"layer {self.name!r} takes {self.features} features, and x gives it {x.shape[1:]}; "
                             "the images have another size than those that the network was made for")
        out = buffer((len(x), self.rows), self.out_dtype)
        (tiles, start), done = self.weights, matrix_unit.samples_at_once(len(x))
        acc = np.empty((len(x), start.size), np.int32)
        calls = [(matrix_unit.matmul, (tiles, x[:done], start, 0, len(tiles), acc[:done]))] if done else []
        return calls + [(kernels.linear, (x, tiles, start, *self.constants, done, acc, out))], out
