"""The uniform quantizer: real numbers to integer codes and back.

    q = clip(round(r / S) + Z, qmin, qmax)          r̂ = S (q − Z)

Source: Gholami et al. 2021, "A survey of quantization methods for efficient neural network inference", sec. III-B.
"""

import numpy as np

from course_lib.numerics.checks import real_array
from course_lib.numerics.qparams import Granularity, QParams, Scheme, qparams_from_range  # noqa: F401
from course_lib.numerics.rounding import Rounding, round_to_integer


def quantize_one(r, scale, zero_point, qmin, qmax):
    """The code of one number: scale, round, shift, clip. The definition."""
    steps = min(max(r / scale, qmin - zero_point), qmax - zero_point)     # clipped first: ±inf cannot be rounded
    return round(steps) + zero_point


def dequantize_one(q, scale, zero_point):
    """The number that a code stands for. The definition."""
    return scale * (q - zero_point)


def _spread(qparams, n):
    """Scale and zero point for every entry of rows of length ``n``."""
    scale, zero_point, group = qparams.row_params(n)
    if scale.shape[1] > 1:
        return np.repeat(scale, group, axis=1)[:, :n], np.repeat(zero_point, group, axis=1)[:, :n]
    return scale, zero_point


def quantize(x, qparams, *, rounding=Rounding.NEAREST, rng=None):
    """Map real numbers to integer codes.

    NaN raises; ±inf and anything outside the clipping range saturates; -0.0 and +0.0 share a code; empty stays empty.
    """
    x = real_array(x)
    rows = qparams.rows(x)
    scale, zero_point = _spread(qparams, rows.shape[1])
    with np.errstate(over="ignore"):
        steps = np.clip(rows / scale, qparams.qmin - zero_point, qparams.qmax - zero_point).astype(np.result_type(x, scale))
    codes = round_to_integer(steps, rounding, rng=rng) + zero_point
    return qparams.unrows(codes.astype(qparams.code_dtype), x.shape)


def dequantize(codes, qparams):
    """Map integer codes back to real numbers."""
    codes = np.asarray(codes)
    rows = qparams.rows(codes)
    scale, zero_point = _spread(qparams, rows.shape[1])
    return qparams.unrows(scale * (rows.astype(np.int32) - zero_point).astype(scale.dtype), codes.shape)


def fake_quantize(x, qparams, *, rounding=Rounding.NEAREST, rng=None):
    """Quantize and dequantize: the nearest numbers that the codes can express."""
    return dequantize(quantize(x, qparams, rounding=rounding, rng=rng), qparams)


def sqnr_db(x, x_hat):
    """Signal-to-quantization-noise ratio in decibels, 10 log10(Σ x² / Σ (x − x̂)²); inf where x̂ equals x."""
    x, x_hat = np.asarray(x, np.float64), np.asarray(x_hat, np.float64)
    signal, noise = np.sum(x**2), np.sum((x - x_hat) ** 2)
    if noise == 0:
        return float("inf")
    return float(10 * np.log10(signal / noise)) if signal else float("-inf")
