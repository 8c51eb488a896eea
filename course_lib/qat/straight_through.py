"""The straight-through estimator: round in the forward pass, and pretend in the backward pass that nothing was rounded.

Rounding has a slope of zero almost everywhere, which would stop all learning. The estimator takes the slope as one
wherever the code was not clipped.

References: Bengio et al. 2013, "Estimating or propagating gradients through stochastic neurons"; Jacob et al. 2018,
"Quantization and training of neural networks for efficient integer-arithmetic-only inference", sec. 3.
"""

import numpy as np
import torch

from course_lib.arguments import whole_number
from course_lib.numerics import Calibration, Granularity, QParams, Scheme, calibrate
from course_lib.ptq.post_training import activation_range
from course_lib.qat.quantizers import Quantizer, Role

__all__ = ["StraightThrough", "fake_quantize_ste"]


class _FakeQuantize(torch.autograd.Function):
    """Forward: S clip(round(x / S), low, high). Backward: the gradient where nothing was clipped, else 0.

    ``low`` and ``high`` are qmin − Z and qmax − Z: the zero point cancels, and need not be added first. As in
    ``numerics.fake_quantize`` the division runs in the wider dtype of x and S, and the result is one of S; then x's.
    """

    @staticmethod
    def forward(ctx, x, scale, low, high):
        wide = torch.promote_types(x.dtype, scale.dtype)
        steps = (x.to(wide) / scale.to(wide)).round_()  # half to even
        clipped = steps.clamp(low, high)
        ctx.save_for_backward(steps == clipped)
        return clipped.mul_(scale.to(wide)).to(scale.dtype).to(x.dtype)

    @staticmethod
    def backward(ctx, gradient):
        (unclipped,) = ctx.saved_tensors
        return gradient * unclipped, None, None, None


def fake_quantize_ste(x: torch.Tensor, qparams: QParams) -> torch.Tensor:
    """Quantize and dequantize a torch tensor, with the straight-through gradient.

    The numbers are those of ``numerics.fake_quantize``, to the last bit, given in the dtype of ``x``: where only the
    scale is float64 they are rounded once more, to float32.

    NaN stays NaN; ±inf saturates; a scalar or an empty tensor keeps its shape. The gradient is that of the identity
    where the rounded code lies in the code range, and zero where it was clipped.

    Parameters
    ----------
    x : tensor, any shape, float32 or float64
    qparams : QParams

    Returns
    -------
    tensor, shape and dtype of ``x``

    Raises
    ------
    TypeError
        ``x`` is no tensor, or of another dtype; ``qparams`` are none.
    ValueError
        ``x`` does not match the shape of per-channel or per-group ``qparams``.

    Source: Jacob et al. 2018, sec. 3; the same rule as ``torch.fake_quantize_per_tensor_affine``.
    """
    if not isinstance(x, torch.Tensor):
        raise TypeError(f"x is a {type(x).__name__}; it must be a tensor: for arrays take cl.numerics.fake_quantize "
                        "or torch.from_numpy(x)")
    if x.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"x has dtype {x.dtype}; it must be torch.float32 or torch.float64: use x.float()")
    if not isinstance(qparams, QParams):
        raise TypeError(f"qparams is a {type(qparams).__name__}; it must be QParams, as cl.numerics.calibrate makes")
    return _FakeQuantize.apply(x, *_steps_of(qparams, x.shape, x.device))


def _steps_of(qparams, shape, device):
    """(S, qmin − Z, qmax − Z): S a tensor that broadcasts against ``shape``, the others too, or numbers."""
    if qparams.granularity is Granularity.PER_TENSOR:
        zero_point = int(qparams.zero_point)
        return torch.tensor(qparams.scale, device=device), qparams.qmin - zero_point, qparams.qmax - zero_point
    qparams.rows(np.empty(shape, np.uint8))  # raises where the shapes do not match
    scale, zero_point = (torch.tensor(value, device=device) for value in (qparams.scale, qparams.zero_point))
    if qparams.granularity is Granularity.PER_CHANNEL:
        spread = [1] * len(shape)
        spread[qparams.axis] = -1
        scale, zero_point = scale.reshape(spread), zero_point.reshape(spread)
    else:
        scale, zero_point = (t.repeat_interleave(qparams.group_size, 1)[:, : shape[-1]].reshape(shape)
                             for t in (scale, zero_point))
    if not zero_point.any():
        return scale, qparams.qmin, qparams.qmax
    return scale, qparams.qmin - zero_point, qparams.qmax - zero_point


class StraightThrough(Quantizer):
    """The straight-through estimator between two epochs: clipping ranges are chosen anew before each, by calibration.

    Weights are symmetric per channel, of 2 bits or more; activations affine per tensor. It learns nothing of its own.
    """

    def __init__(self, bits: int, role: Role, *, calibration: Calibration = Calibration.MSE):
        super().__init__(bits, role, calibration=calibration)
        if self.role is Role.WEIGHTS:
            whole_number(bits, "weight_bits", 2, 8)
        self._qparams = None

    def start(self, x: torch.Tensor) -> None:
        values = x.detach().numpy()
        if self.role is Role.WEIGHTS:
            self._qparams = calibrate(np.ascontiguousarray(values), bits=self.bits, scheme=Scheme.SYMMETRIC,
                                      granularity=Granularity.PER_CHANNEL, axis=0, method=self.calibration)
        else:
            self._qparams = activation_range(values, bits=self.bits, method=self.calibration)

    def renew(self, x: torch.Tensor) -> None:
        self.start(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return fake_quantize_ste(x, self._qparams)

    def qparams(self) -> QParams:
        return self._qparams
