"""Batch normalization into the scales of weights that are codes already: exactly, without rounding any weight again.

A channel of a layer gives Σ ŵ a + b with ŵ = S (q − Z), and the batch normalization behind it f · (that − μ) + β, with
f = γ / √(σ² + ε). So its weights are f ŵ: the same codes with the scale |f| S, and where γ is negative the codes of the
channel are mirrored, q' = qmin + qmax − q, which turns q − Z around if Z is mirrored too.

Source: Jacob et al. 2018, sec. 3.2 (the folding); the codes stay, since the quantizer stands before the normalization.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from course_lib.nets.surgery import affine_of
from course_lib.numerics import Granularity, QParams

__all__ = ["FoldedWeights", "fold_into_codes"]


class FoldedWeights(NamedTuple):
    """codes: (channels, …) integers; qparams: per channel along axis 0; bias: (channels,) float32."""

    codes: np.ndarray
    qparams: QParams
    bias: np.ndarray


def fold_into_codes(codes: np.ndarray, qparams: QParams, bias: np.ndarray | None, norm: nn.Module) -> FoldedWeights:
    """Codes, scales and bias of a layer with the batch normalization behind it folded in, as it is in evaluation mode.

    A channel with γ = 0 has weights of zero: its codes are all Z, under the scale that it had.

    Parameters
    ----------
    codes : (channels, …) integers
    qparams : QParams, per tensor, or per channel along axis 0
    bias : (channels,), or None
    norm : BatchNorm1d or BatchNorm2d, with running statistics

    Raises
    ------
    ValueError
        Other ``qparams``.
    """
    per_tensor = qparams.granularity is Granularity.PER_TENSOR
    if not per_tensor and (qparams.granularity is not Granularity.PER_CHANNEL or qparams.axis):
        raise ValueError(f"qparams are {qparams.granularity.value} along axis {qparams.axis}; batch norm has one "
                         "factor a channel: they should be per tensor, or per channel along axis 0")
    channels, (qmin, qmax) = len(codes), (qparams.qmin, qparams.qmax)
    with torch.no_grad():
        factor, offset = (part.numpy() for part in affine_of(norm))
    scale, zero_point = (np.broadcast_to(part, (channels,)) for part in (qparams.scale, qparams.zero_point))
    turned = factor < 0
    column = (slice(None), *[None] * (codes.ndim - 1))
    zero_point = np.where(turned, qmin + qmax - zero_point, zero_point)
    codes = np.where(turned[column], qmin + qmax - codes.astype(np.int32), codes)
    codes = np.where((factor == 0)[column], zero_point[column], codes)
    scale = np.where(factor == 0, scale, np.abs(factor) * scale).astype(qparams.scale.dtype)
    bias = offset if bias is None else factor * bias.astype(np.float64) + offset
    return FoldedWeights(codes, QParams(scale, zero_point, qmin, qmax, Granularity.PER_CHANNEL, axis=0),
                         bias.astype(np.float32))
