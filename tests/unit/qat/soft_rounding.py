"""A toy estimator, all of it in this file: rounding by soft steps of a width that is learned.

The forward pass rounds. In the backward pass each step is a piece of a hyperbolic tangent, which is steep at the border
of two codes and flat at a code; and the step's width has the gradient x̂ / S, as LSQ's has where it clips.
"""

import numpy as np
import torch
from torch import nn

from course_lib.numerics import QParams
from course_lib.qat import Quantizer, Role

STEEPNESS = 4.0


def soft_slope(distance):
    """The slope of the soft step at this distance from the nearest border, in steps; its mean over a step is 1."""
    return STEEPNESS * (1 - torch.tanh(STEEPNESS * distance) ** 2) / (2 * np.tanh(STEEPNESS / 2))


class _SoftRound(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, step, low, high):
        steps = x / step
        codes = steps.round().clamp(low, high)
        ctx.save_for_backward(steps, codes)
        return codes * step

    @staticmethod
    def backward(ctx, gradient):
        steps, codes = ctx.saved_tensors
        distance = steps - torch.floor(steps) - 0.5  # from the border, halfway between two codes
        inside = steps.round() == codes
        of_step = torch.where(inside, codes - steps, codes)
        return gradient * soft_slope(distance) * inside, (gradient * of_step).sum() / steps.numel() ** 0.5, None, None


class SoftRounding(Quantizer):
    lr_factor = 0.5
    weight_decay = 0.01

    def start(self, x):
        low, high = self.code_range
        first = 2 * x.abs().mean() / high**0.5 if self.role is Role.WEIGHTS else x.abs().max() / high
        self.step = nn.Parameter(first.clone())

    def forward(self, x):
        return _SoftRound.apply(x, self.step, *self.code_range)

    def qparams(self):
        return QParams(self.step.detach().numpy(), 0, *self.code_range)
