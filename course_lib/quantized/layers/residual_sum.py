"""The sum of two paths, as in a residual block: codes of two scales become codes of a third."""

import math

from course_lib import energy
from course_lib.kernels import layers as kernels
from course_lib.quantized.layers.base import LayerKind
from course_lib.quantized.layers.buffers import buffer, code_array
from course_lib.quantized.requantization import fixed_point_sum


class ResidualSum(LayerKind):
    """a + b, of one shape. It is read from a ``nets.Residual``, which is a body, a shortcut, their sum and a ReLU."""

    name = "residual_sum"
    arity = 2
    does_relu = True

    def reach(self, name, weight_shape, *reaches):
        known = [reach for reach in reaches if reach is not None]
        if len({reach.axes for reach in known}) > 1 or len({reach.count for reach in known if reach.exact}) > 1:
            body, shortcut = ("the input" if reach is None else
                              f"{reach.count} {'channels' if reach.axes == 3 else 'features'}" for reach in reaches)
            raise ValueError(f"layer {name!r} adds two of the same shape, and {body} and {shortcut} reach it")
        return min(known, key=lambda reach: not reach.exact, default=None)

    def misfit(self, weight_shape, window, *shapes):
        return ("adds two of the same shape", "") if shapes[0] != shapes[1] else None

    def cost(self, name, weight_shape, shapes, output_shape):
        """No products; both addends are read and the sum is written. The additions are left out, as those of biases."""
        return energy.Layer(name, 0, 0, sum(map(math.prod, shapes)), math.prod(output_shape))

    def simulate(self, options, *inputs, weight=None, bias=None):
        return inputs[0] + inputs[1]

    def integer(self, layer, relu_follows):
        return IntegerResidualSum(layer, relu_follows)


class IntegerResidualSum:
    """a, b: (batch, …) -> (batch, …), all of one shape"""

    def __init__(self, layer, relu_follows):
        self.name, self.out_dtype = layer.name, code_array(layer.output_qparams)
        constants = fixed_point_sum(layer, relu_follows)
        self.constants = *constants.multiplier.tolist(), *constants.offset.tolist(), *constants[2:]

    def plan(self, *codes):
        a, b = codes
        if a.shape != b.shape:
            raise ValueError(f"layer {self.name!r} adds two of the same shape, and x gives it {a.shape[1:]} and "
                             f"{b.shape[1:]}")
        out = buffer(a.shape, self.out_dtype)
        return [(kernels.add, (a.reshape(-1), b.reshape(-1), *self.constants, out.reshape(-1)))], out
