"""Simulated ("fake-quant") inference: rounded to codes and back at every layer, computed in float32 in between.

This is the ordinary way to try a quantization out: any framework can do it, and its accuracy is that of the integers
to within a code. It saves no time. The weights are dequantized once, when the module is made, so each layer costs what
the float32 layer costs, and on top of it the rounding of its output: divide, round, clip, scale back. That is the
simulation at its fastest; the same in a training loop would round the weights again in every step.
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from course_lib.nets.inputs import as_images
from course_lib.numerics import dequantize


class FakeQuantize(nn.Module):
    """x -> S (clip(round(x / S) + Z, qmin, qmax) − Z), in torch operations. ±inf saturates; NaN stays NaN."""

    def __init__(self, qparams):
        super().__init__()
        self.register_buffer("scale", torch.from_numpy(np.array(qparams.scale)))
        zero_point = int(qparams.zero_point)
        self.low, self.high = qparams.qmin - zero_point, qparams.qmax - zero_point

    def forward(self, x):
        return torch.round(x / self.scale).clamp(self.low, self.high) * self.scale


def apply(kind, options, x, weight=None, bias=None):
    """One layer on real numbers, by its kind (``kinds.KINDS``), as torch computes it."""
    if kind == "linear":
        return functional.linear(x.flatten(1), weight, bias)
    if kind == "conv2d":
        return functional.conv2d(x, weight, bias, **options)
    if kind == "max_pool2d":
        return functional.max_pool2d(x, **options)
    return torch.relu(x) if kind == "relu" else x.flatten(1)


class SimulatedLayer(nn.Module):
    """One layer of a QuantizedModel on real numbers that its codes stand for."""

    def __init__(self, layer):
        super().__init__()
        self.kind, self.options = layer.kind, layer.options
        self.weighted = layer.weight_codes is not None
        if self.weighted:
            weight = dequantize(layer.weight_codes, layer.weight_qparams)
            self.register_buffer("weight", torch.from_numpy(weight).float())
            self.register_buffer("bias", None if layer.bias is None else torch.from_numpy(layer.bias.copy()))
            self.round = nn.Identity() if layer.output_qparams is None else FakeQuantize(layer.output_qparams)

    def forward(self, x):
        if self.weighted:
            return self.round(apply(self.kind, self.options, x, self.weight, self.bias))
        return apply(self.kind, self.options, x)


class SimulatedNet(nn.Sequential):
    """A QuantizedModel as a module: the input rounded, then its layers.   (n, …) float32 -> logits (n, classes)

    In a weight-only model nothing is rounded here: only the weights have been.
    """

    def __init__(self, model):
        layers = [SimulatedLayer(layer) for layer in model.layers]
        if model.input_qparams is not None:
            layers.insert(0, FakeQuantize(model.input_qparams))
        super().__init__(*layers)
        self.eval()

    def __getitem__(self, index):
        """One layer, or a plain Sequential of some: what the first few hand on is ``net[:3](x)``."""
        return nn.Sequential(*list(self)[index]) if isinstance(index, slice) else super().__getitem__(index)

    def forward(self, x):
        if not torch.is_tensor(x):
            x = torch.from_numpy(as_images(x))
        try:
            return super().forward(x)
        except (RuntimeError, IndexError) as error:
            raise ValueError(f"x of shape {tuple(x.shape)} in {x.dtype} is nothing that this network can take; "
                             f"images are float32, of the size that it was made for ({error})") from error
