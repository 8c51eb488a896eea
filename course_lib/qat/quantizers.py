"""What a quantizer for training is: a module x -> x̂ with a gradient of its own, and parameters where it learns any.

An estimator is one file with one subclass of ``Quantizer``; the harness (``FakeQuantNet``) makes one object of it for
the weights of each layer and one for the numbers that each layer hands on. What an estimator has to say:

    start(x)      choose everything from values: a clipping range, a first step, first levels
    forward(x)    x̂, and by autograd or a ``torch.autograd.Function`` of its own the gradient
    qparams()     scale and zero point of x̂, for codes; None where the levels are no multiples of one step

and, where the default does not fit: ``renew(x)`` before each later epoch, ``levels()`` and ``codes(x)``.

Where things of an estimator belong. A learned step, clip or interval is an ``nn.Parameter`` that ``start`` makes, as it
knows the shape by then; ``lr_factor`` and ``weight_decay`` say how the optimizer treats it. What moves without a
gradient (levels that follow the weights) is a buffer. Noise is drawn by torch's global generator, which training seeds,
and only where ``self.training``: in evaluation x̂ is what the codes stand for.
"""

from enum import Enum

import numpy as np
import torch
from torch import nn

from course_lib.arguments import choose, whole_number
from course_lib.numerics import Calibration, QParams, quantize

__all__ = ["Quantizer", "Role"]


class Role(str, Enum):
    """Weights: signed, both signs alike, axis 0 is the channel. Activations: an image a row; most are not negative."""

    WEIGHTS = "weights"
    ACTIVATIONS = "activations"


class Quantizer(nn.Module):
    """Base class of the estimators: x, of any shape, float32 -> x̂, of the same.

    Parameters
    ----------
    bits : int, 1 to 8
    role : Role
    calibration : Calibration
        How a clipping range is chosen, for those that choose one from values.

    Attributes
    ----------
    lr_factor : float
        The learning rate of its parameters is that of the weights, times this.
    weight_decay : float
        Of its parameters, whatever that of the weights is.
    """

    lr_factor: float = 1.0
    weight_decay: float = 0.0

    def __init__(self, bits: int, role: Role, *, calibration: Calibration = Calibration.MSE):
        super().__init__()
        self.role, self.bits = choose(Role, role, "role"), whole_number(bits, "bits", 1, 8)
        self.calibration = choose(Calibration, calibration, "calibration")

    @property
    def code_range(self) -> tuple[int, int]:
        """The usual smallest and largest code: ±(2^(b−1) − 1) for weights (1 bit: ±1), 0 … 2^b − 1 for activations."""
        if self.role is Role.WEIGHTS:
            largest = max(2 ** (self.bits - 1) - 1, 1)
            return -largest, largest
        return 0, 2**self.bits - 1

    def start(self, x: torch.Tensor) -> None:
        """Choose everything from these values, without gradients; forget what was chosen before.   x: finite"""
        raise NotImplementedError(f"{type(self).__name__} has no start(x)")

    def renew(self, x: torch.Tensor) -> None:
        """Before each later epoch, with the values as they are then, without gradients. Nothing, unless overridden."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x̂, in the shape and dtype of ``x``."""
        raise NotImplementedError(f"{type(self).__name__} has no forward(x)")

    def qparams(self) -> QParams | None:
        """Scale, zero point and code range of x̂; None where its levels are no multiples of one step.

        Of weights per tensor or per channel along axis 0, of activations per tensor.
        """
        raise NotImplementedError(f"{type(self).__name__} has no qparams()")

    def levels(self) -> np.ndarray:
        """All that x̂ can be, ascending: (levels,) float64, or (channels, levels)."""
        qparams = self.qparams()
        if qparams is None:
            raise NotImplementedError(f"{type(self).__name__} has no qparams, and says its levels itself: levels()")
        codes = np.arange(qparams.qmin, qparams.qmax + 1)
        return qparams.scale[..., None].astype(np.float64) * (codes - qparams.zero_point[..., None])

    def codes(self, x: torch.Tensor) -> np.ndarray:
        """The codes of x̂ under ``qparams()``, as deployed: in evaluation mode, so without noise.

        x̂ lies on the grid already, so rounding x̂ / S gives the code of each number whatever way x went to x̂.

        Raises
        ------
        TypeError
            Without ``qparams`` there is no integer code.
        """
        qparams, training = self.qparams(), self.training
        if qparams is None:
            raise TypeError(f"{type(self).__name__} has levels that are no multiples of one step, so no integer code; "
                            "they are deployed by a table, levels()")
        with torch.no_grad():
            on_grid = self.eval()(x).numpy()
        self.train(training)
        return quantize(np.ascontiguousarray(on_grid), qparams)
