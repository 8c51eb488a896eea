"""Recomputes lecture 05's rows of the ledger: two matrices, three ways to write one map, and the size of the error."""

import io
import math
from fractions import Fraction
from statistics import NormalDist

import numpy as np

from course_lib.numerics import (
    calibrate,
    dequantize,
    fake_quantize,
    qparams_from_range,
    quantize,
    quantize_one,
    round_one,
    sqnr_db,
)  # fmt: skip

DECK = np.array([
    [0.97, 0.64, 0.74, 1.00], [0.58, 0.84, 0.84, 0.81], [0.00, 0.18, 0.90, 0.28], [0.57, 0.96, 0.80, 0.81],
])  # fmt: skip
RULLI = np.array([
    [2.09, 7.48, 2.92, 4.16], [8.25, 3.59, 1.04, 4.66], [10.62, 5.32, 2.63, 4.34], [0.58, 5.08, 1.40, 8.58],
])  # fmt: skip
LAYER = np.random.default_rng(0).standard_normal((300, 784)).astype(np.float32)   # as large as LeNet-300-100's first
BOTH_SIGNS = np.array([-1.28, 0.0, 1.27])


def deck_scale():
    return (127 + 128) / (DECK.max() - DECK.min())


def deck_codes():
    """Recipe of 002 as printed: clip(round(s (X − x_min) + min))."""
    return np.clip(np.rint(deck_scale() * (DECK - DECK.min()) - 128), -128, 127).astype(np.int8)


def int8_of(dtype):
    return qparams_from_range(0, 1, bits=8, scheme="affine", signed=True, dtype=dtype)


def numbers(array):
    return tuple(array.ravel().tolist())


def same_codes():
    """Entries of 16 on which the library and 002's recipe agree, in float64 and in float32."""
    return tuple(int(np.sum(quantize(DECK.astype(t), int8_of(t)) == deck_codes())) for t in (np.float64, np.float32))


def codes_of_0_90():
    """Codes of 0.90 by 002's recipe: from the true product with 255 and from the rounded one, float64 and float32."""
    codes = []
    for kind in (np.float64, np.float32):
        true, rounded = Fraction(float(kind(0.90))) * 255, kind(0.90) * kind(255)
        codes += [round(true) - 128, round(float(rounded)) - 128]    # Python's round: half to even
    return tuple(codes)


def deck_way_back():
    return np.abs(dequantize(deck_codes(), int8_of(np.float64)) - DECK).max()


def rulli_codes():
    return quantize(RULLI, qparams_from_range(0, 7, bits=3, scheme="affine", dtype=np.float64))


def source_000(r, S, Z):
    return np.rint(r / S) - Z


def source_002(x, s, x_min, q_min):
    return np.rint(s * (x - x_min) + q_min)


def source_004(r, S, Z):
    return np.rint(r / S + Z)


def differences(Z):
    """Numbers on which 000, 004 and 002 leave our map: at exact ties, then elsewhere."""
    S = 1 / 128
    alpha, beta = (0 - Z) * S, (255 - Z) * S
    r = np.arange(alpha, beta, S / 8)
    tie, ours = r / S % 1 == 0.5, np.rint(r / S) + Z
    differ = [other != ours for other in (source_000(r, S, -Z), source_004(r, S, Z), source_002(r, 1 / S, alpha, 0))]
    return tuple(int(np.sum(d & tie)) for d in differ) + tuple(int(np.sum(d & ~tie)) for d in differ)


def steps_in_range(scheme):
    """(β − α) / S when 8 bits hold [−1.28, 1.27]; a symmetric range is [−1.28, 1.28]."""
    p = calibrate(BOTH_SIGNS, bits=8, scheme=scheme)
    alpha, beta = p.clipping_range
    return float((beta - alpha) / p.scale)


def clipping_range(scheme):
    return tuple(float(end) for end in calibrate(BOTH_SIGNS, bits=8, scheme=scheme).clipping_range)


def scales(**how):
    return calibrate(LAYER, bits=4, **how).scale.size


def zero_comes_back():
    """Zero through the map of 004, Z as its formula gives it, on [−0.3, 1] with 256 codes."""
    S = (1.0 - -0.3) / 255
    Z = -(-0.3 / S - 0)
    return float(S * (source_004(0.0, S, Z) - Z))


def out_of_its_byte():
    S, Z = 1 / 128, 65
    return S * (int(source_004(1.6, S, Z)) % 256 - Z)


def symmetric_with_256_codes():
    """S and Z of 004 with −α = β = 1 and the codes −128 to 127, in fractions."""
    S = Fraction(2, 127 - -128)
    return S, -(Fraction(-1) / S - -128)


def pixel_error():
    pixels = (np.arange(256) / 255).astype(np.float32)
    return float(np.abs(pixels - fake_quantize(pixels, calibrate(pixels, bits=8, scheme="affine"))).max())


def rounding_error():
    """Mean square and its root, in units of the step, of values spread evenly over many steps."""
    p = qparams_from_range(-1.01, 1.01, bits=8, scheme="symmetric", dtype=np.float64)
    fine = p.scale * np.linspace(-100, 100, 200_001)
    square = np.mean((fake_quantize(fine, p) - fine) ** 2) / p.scale**2
    return float(square), float(np.sqrt(square))


def sine_at(bits):
    """SQNR of a full-range sine, symmetric, in dB."""
    sine = np.sin(np.arange(200_000))
    return float(sqnr_db(sine, fake_quantize(sine, calibrate(sine, bits=bits))))


def on_disk(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.tell()


def normal_float():
    """Sixteen quantiles of a Gaussian: eight above zero, seven below, and zero, divided by the largest."""
    offset, quantile = (1 - 1 / 32 + 1 - 1 / 30) / 2, NormalDist().inv_cdf
    above = [quantile(u) for u in np.linspace(offset, 0.5, 9)[:-1]]
    below = [-quantile(u) for u in np.linspace(offset, 0.5, 8)[:-1]]
    return tuple(value / max(above) for value in sorted([*below, 0.0, *above]))


RECOMPUTE = {
    "05-deck-matrix-scale": deck_scale,
    "05-deck-matrix-int8": lambda: numbers(deck_codes()),
    "05-deck-matrix-same-codes": same_codes,
    "05-deck-matrix-double-rounding": codes_of_0_90,
    "05-deck-matrix-approximates": lambda: (int(deck_codes().min()), int(deck_codes().max())),
    "05-deck-matrix-way-back": deck_way_back,
    "05-deck-clip": lambda: tuple(quantize_one(x, 1.0, 0, 0, 10) for x in (5, -3, 15)),
    "05-deck-rounding": lambda: (
        round_one(1.5, "nearest"), round_one(2.4, "nearest"), round_one(2.8, "down"), round_one(2.1, "up"),
    ),
    "05-deck-int8-memory": lambda: on_disk(LAYER) / on_disk(quantize(LAYER, calibrate(LAYER, bits=8))),
    "05-rulli-matrix": lambda: numbers(rulli_codes()),
    "05-rulli-clipped": lambda: numbers(RULLI[np.rint(RULLI) > rulli_codes()]),
    "05-survey-zero-point": lambda: float(source_000(0.0, 0.1, -37)),
    "05-conventions-even-z": lambda: differences(64),
    "05-conventions-odd-z": lambda: differences(65),
    "05-survey-step-affine": lambda: steps_in_range("affine"),
    "05-survey-step-symmetric": lambda: steps_in_range("symmetric"),
    "05-survey-layerwise": lambda: (
        scales(granularity="per_tensor"), scales(granularity="per_channel"),
        scales(granularity="per_group", group_size=32),
    ),
    "05-cmu-affine-range": lambda: clipping_range("affine"),
    "05-cmu-symmetric-range": lambda: clipping_range("symmetric"),
    "05-cmu-symmetric-zero-point": lambda: str(symmetric_with_256_codes()[1]),
    "05-cmu-symmetric-largest": lambda: float(1 / symmetric_with_256_codes()[0]),
    "05-cmu-zero-point-not-rounded": zero_comes_back,
    "05-cmu-no-clamp": out_of_its_byte,
    "05-cmu-error-on-the-grid": pixel_error,
    "05-noise-mean-square": lambda: rounding_error()[0],
    "05-noise-root-mean-square": lambda: rounding_error()[1],
    "05-six-decibels": lambda: (20 * math.log10(2), 10 * math.log10(3 / 2)),
    "05-six-decibels-sine": lambda: sine_at(8),
    "05-six-decibels-few-bits": lambda: sine_at(3) - sine_at(2),
    "05-nf4-levels": normal_float,
}  # fmt: skip
