"""Simulated ("fake-quant") inference: rounded to codes and back at every layer, computed in float32 in between.

This is the ordinary way to try a quantization out: any framework can do it, and its accuracy is that of the integers
to within a code. It saves no time. The weights are dequantized once, when the module is made, so each layer costs what
the float32 layer costs, and on top of it the rounding of its output: divide, round, clip, scale back. That is the
simulation at its fastest; the same in a training loop would round the weights again in every step.
"""

from typing import Any

import numpy as np
import torch
from torch import nn

from course_lib.nets.inputs import as_images
from course_lib.numerics import QParams, dequantize
from course_lib.quantized.layers import KINDS
from course_lib.quantized.steps import run_steps


class FakeQuantize(nn.Module):
    """x -> S (clip(round(x / S) + Z, qmin, qmax) − Z), in torch operations. ±inf saturates; NaN stays NaN."""

    def __init__(self, qparams: QParams):
        super().__init__()
        self.register_buffer("scale", torch.from_numpy(np.array(qparams.scale)))
        zero_point = int(qparams.zero_point)
        self.low, self.high = qparams.qmin - zero_point, qparams.qmax - zero_point

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.round(x / self.scale).clamp(self.low, self.high) * self.scale


class SimulatedLayer(nn.Module):
    """One layer of a QuantizedModel (a ``QuantizedLayer``) on real numbers that its codes stand for."""

    def __init__(self, layer: Any):
        super().__init__()
        self.name, self.inputs, self.kind, self.options = layer.name, layer.inputs, layer.kind, layer.options
        self.weighted = layer.weight_codes is not None
        if self.weighted:
            weight = dequantize(layer.weight_codes, layer.weight_qparams)
            self.register_buffer("weight", torch.from_numpy(weight).float())
            self.register_buffer("bias", None if layer.bias is None else torch.from_numpy(layer.bias.copy()))
        rounds = layer.output_qparams is not None and not KINDS[layer.kind].keeps_order
        self.round = FakeQuantize(layer.output_qparams) if rounds else nn.Identity()

    def forward(self, *x: torch.Tensor) -> torch.Tensor:
        parts = {"weight": self.weight, "bias": self.bias} if self.weighted else {}
        return self.round(KINDS[self.kind].simulate(self.options, *x, **parts))


class SimulatedSteps(nn.Sequential):
    """Some layers, from the first on, each of which reads what it says it reads."""

    def __getitem__(self, index: int | slice) -> nn.Module:
        """One layer, or some: what the first few hand on is ``net[:3](x)``."""
        return SimulatedSteps(*list(self)[index]) if isinstance(index, slice) else super().__getitem__(index)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        layers = list(self)
        if layers and not isinstance(layers[0], SimulatedLayer):  # the rounding of the input
            x = layers.pop(0)(x)
        return run_steps(layers, x, lambda layer, *inputs: layer(*inputs))


class SimulatedNet(SimulatedSteps):
    """A QuantizedModel as a module: the input rounded, then its layers.   (n, …) float32 -> logits (n, classes)

    In a weight-only model nothing is rounded here: only the weights have been.
    """

    def __init__(self, model: Any):
        layers = [SimulatedLayer(layer) for layer in model.layers]
        if model.input_qparams is not None:
            layers.insert(0, FakeQuantize(model.input_qparams))
        super().__init__(*layers)
        self.eval()

    def forward(self, x: torch.Tensor | np.ndarray) -> torch.Tensor:
        if not torch.is_tensor(x):
            x = torch.from_numpy(as_images(x))
        try:
            return super().forward(x)
        except (RuntimeError, IndexError) as error:
            raise ValueError(f"x of shape {tuple(x.shape)} in {x.dtype} is nothing that this network can take; "
                             f"images are float32, of the size that it was made for ({error})") from error
