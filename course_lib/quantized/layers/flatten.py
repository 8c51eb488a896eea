"""Flatten: an image as a row of features."""

import math

from course_lib.quantized.layers.base import LayerKind, Reach


class Flatten(LayerKind):
    """(n, …) -> (n, features), the same numbers in the same order."""

    name = "flatten"
    usual = {"start_dim": 1, "end_dim": -1}
    keeps_scale = keeps_order = any_codes = True

    def torch_class(self):
        from torch import nn

        return nn.Flatten

    def reach(self, name, weight_shape, *reaches):
        (reach,) = reaches
        if reach is None:
            return Reach(1, 1, False)
        return reach if reach.axes == 1 else Reach(1, reach.count, False)

    def output_shape(self, weight_shape, window, *shapes):
        return (math.prod(shapes[0]),)

    def simulate(self, options, *inputs, weight=None, bias=None):
        return inputs[0].flatten(1)

    def integer(self, layer, relu_follows):
        return IntegerFlatten()


class IntegerFlatten:
    """x: (batch, …) -> (batch, features), the same memory"""

    def plan(self, x):
        return [], x.reshape(len(x), math.prod(x.shape[1:]))
