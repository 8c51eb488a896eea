"""The grader graded: every check of lab03 refuses the stub and the wrong answers that students write, and accepts
right answers written in different ways. `said` is what the message must tell the student."""

import math

import numpy as np
import pytest

from course_lib.check import lab03
from tests.unit.check.bank_lab03 import BANK
from tests.unit.check.grading import Answers, Trial, shown_input
from tests.unit.check.variants import deposit, points_lost

ANSWERS = Answers(lab03)
deposit(BANK, ANSWERS)
right, wrong = ANSWERS.right, ANSWERS.wrong


# ---------------------------------------------------------------------------------------------------- 1 code_range


@right(lab03.code_range)
def range_cases(bits, kind):
    if kind == "unsigned":
        return 0, 2**bits - 1
    if kind == "signed":
        return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    return 1 - 2 ** (bits - 1), 2 ** (bits - 1) - 1


@right(lab03.code_range)
def range_shifts(bits, kind):
    half = 1 << (bits - 1)
    return {"unsigned": (0, 2 * half - 1), "signed": (-half, half - 1), "symmetric": (-half + 1, half - 1)}[kind]


@right(lab03.code_range)
def range_numpy(bits, kind):
    top = 2 ** np.int64(bits) - 1 if kind == "unsigned" else 2 ** np.int64(bits - 1) - 1
    return np.array([{"unsigned": 0, "signed": -top - 1, "symmetric": -top}[kind], top])


@wrong(lab03.code_range, "off by one")
def range_one_too_many(bits, kind):
    low, high = range_cases(bits, kind)
    return low, high + 1


@wrong(lab03.code_range, "the sign bit was forgotten")
def range_without_sign_bit(bits, kind):
    return range_cases(bits, kind) if kind == "unsigned" else range_cases(bits + 1, kind)


@wrong(lab03.code_range, "not told apart")
def range_always_symmetric(bits, kind):
    return range_cases(bits, "symmetric" if kind == "signed" else kind)


@wrong(lab03.code_range, "not told apart")
def range_never_symmetric(bits, kind):
    return range_cases(bits, "signed" if kind == "symmetric" else kind)


@wrong(lab03.code_range, "exchanged")
def range_exchanged(bits, kind):
    return range_cases(bits, {"signed": "symmetric", "symmetric": "signed"}.get(kind, kind))


@wrong(lab03.code_range, "the smallest code comes first")
def range_backwards(bits, kind):
    return range_cases(bits, kind)[::-1]


@wrong(lab03.code_range, "both ends are integers")
def range_of_floats(bits, kind):
    low, high = range_cases(bits, kind)
    return float(low), float(high)


@wrong(lab03.code_range, "two numbers")
def range_as_a_list_of_codes(bits, kind):
    low, high = range_cases(min(bits, 8), kind)
    return list(range(low, high + 1))


@wrong(lab03.code_range, "Broken: ")
def range_of_numpy_s_bytes(bits, kind):
    limits = np.iinfo(np.uint8 if kind == "unsigned" else np.int8)
    return limits.min, limits.max


# ------------------------------------------------------------------------------------------------- 2 affine_params


@right(lab03.affine_params)
def affine_plain(alpha, beta, qmin, qmax):
    alpha, beta = min(alpha, 0.0), max(beta, 0.0)
    if alpha == beta:
        return 1.0, 0
    scale = (beta - alpha) / (qmax - qmin)
    return scale, qmin - round(alpha / scale)


@right(lab03.affine_params)
def affine_from_the_top(alpha, beta, qmin, qmax):
    alpha, beta = np.minimum(alpha, 0), np.maximum(beta, 0)
    scale = (beta - alpha) / (qmax - qmin)
    return (scale, int(np.rint(qmax - beta / scale))) if scale else (1, 0)


@right(lab03.affine_params)
def affine_numpy(alpha, beta, qmin, qmax):
    low, high = sorted((alpha, 0.0, beta))[::2]
    scale = np.float32((high - low) / (qmax - qmin) or 1)
    zero_point = np.clip(np.rint(qmin - low / scale), qmin, qmax) if low < high else 0
    return scale, np.int32(zero_point)


@right(lab03.affine_params)
def affine_exact_for_a_constant(alpha, beta, qmin, qmax):
    """As in the library: a range of a single number c gets S = |c|."""
    if alpha == beta:
        return abs(alpha) or 1.0, qmin + (alpha < 0) if alpha else 0
    return affine_plain(alpha, beta, qmin, qmax)


@right(lab03.affine_params)
def affine_floor(alpha, beta, qmin, qmax):
    if alpha == beta == 0:
        return [1.0, 0]
    width = max(alpha, beta, 0) - min(alpha, beta, 0)
    return [width / (qmax - qmin), qmin + math.floor(-min(alpha, 0) * (qmax - qmin) / width + 0.5)]


@wrong(lab03.affine_params, "the range is not widened to hold 0")
def affine_not_widened(alpha, beta, qmin, qmax):
    scale = (beta - alpha) / (qmax - qmin) or 1.0
    return scale, qmin - round(alpha / scale) if alpha < beta else 0


@wrong(lab03.affine_params, "widened to hold 0")
def affine_clipped_not_widened(alpha, beta, qmin, qmax):
    scale = (beta - alpha) / (qmax - qmin) or 1.0
    return scale, int(np.clip(qmin - round(alpha / scale), qmin, qmax))


@wrong(lab03.affine_params, "qmin is left out of Z")
def affine_codes_from_zero(alpha, beta, qmin, qmax):
    scale, zero_point = affine_plain(alpha, beta, qmin, qmax)
    return scale, zero_point - qmin


@wrong(lab03.affine_params, "off by one")
def affine_one_step_too_many(alpha, beta, qmin, qmax):
    alpha, beta = min(alpha, 0.0), max(beta, 0.0)
    scale = (beta - alpha) / (qmax - qmin + 1) or 1.0
    return scale, int(np.clip(qmin - round(alpha / scale), qmin, qmax)) if alpha < beta else 0


@wrong(lab03.affine_params, "the zero point is a code", "Z has the wrong sign")
def affine_wrong_sign(alpha, beta, qmin, qmax):
    alpha, beta = min(alpha, 0.0), max(beta, 0.0)
    scale = (beta - alpha) / (qmax - qmin) or 1.0
    return scale, qmin + round(alpha / scale) if alpha < beta else 0


@wrong(lab03.affine_params, "cut off")
def affine_truncated(alpha, beta, qmin, qmax):
    alpha, beta = min(alpha, 0.0), max(beta, 0.0)
    scale = (beta - alpha) / (qmax - qmin) or 1.0
    return scale, qmin + int(-alpha / scale) if alpha < beta else 0


@wrong(lab03.affine_params, "an int, not a float")
def affine_float_zero_point(alpha, beta, qmin, qmax):
    scale, _ = affine_plain(alpha, beta, qmin, qmax)
    return scale, qmin - min(alpha, 0.0) / scale


@wrong(lab03.affine_params, "must not stop with ZeroDivisionError")
def affine_no_care_for_zero(alpha, beta, qmin, qmax):
    alpha, beta = min(alpha, 0.0), max(beta, 0.0)
    scale = (beta - alpha) / (qmax - qmin)
    return scale, qmin - round(alpha / scale)


@wrong(lab03.affine_params, "the symmetric rule")
def affine_symmetric(alpha, beta, qmin, qmax):
    return max(abs(alpha), abs(beta)) / ((qmax - qmin) // 2) or 1.0, 0


@wrong(lab03.affine_params, "upside down")
def affine_deck_s_reciprocal(alpha, beta, qmin, qmax):
    scale, zero_point = affine_plain(alpha, beta, qmin, qmax)
    return 1 / scale, zero_point


@wrong(lab03.affine_params, "over qmax - qmin")
def affine_bits_assumed(alpha, beta, qmin, qmax):
    alpha, beta = min(alpha, 0.0), max(beta, 0.0)
    return (beta - alpha) / 255 or 1.0, affine_plain(alpha, beta, qmin, qmax)[1]


@wrong(lab03.affine_params, "two numbers")
def affine_scale_alone(alpha, beta, qmin, qmax):
    return affine_plain(alpha, beta, qmin, qmax)[0]


# ------------------------------------------------------------------------------------------ 3, 4 quantize, dequantize
# The checks are those of lab 04, which are tried at length there; here is what signed codes with a zero point add.


@right(lab03.quantize)
def quantize_plain(x, scale, zero_point, qmin, qmax):
    return np.clip(np.rint(x / scale) + zero_point, qmin, qmax).astype(np.int32)


@right(lab03.quantize)
def quantize_minimum(x, scale, zero_point, qmin, qmax):
    steps = np.round(np.asarray(x, np.float64) / scale).astype(np.int64) + zero_point
    return np.minimum(np.maximum(steps, qmin), qmax)


@right(lab03.quantize)
def quantize_one_by_one(x, scale, zero_point, qmin, qmax):
    scales = np.broadcast_to(scale, x.shape)
    codes = [max(qmin, min(qmax, round(float(r) / float(s)) + zero_point)) for r, s in zip(x.flat, scales.flat)]
    return np.array(codes, np.int16).reshape(x.shape)


@right(lab03.quantize)
def quantize_narrow(x, scale, zero_point, qmin, qmax):
    return np.clip(np.rint(x / scale) + zero_point, qmin, qmax).astype(np.int8 if qmin < 0 else np.uint8)


@wrong(lab03.quantize, "halves are rounded up")
def quantize_half_up(x, scale, zero_point, qmin, qmax):
    return np.clip(np.floor(x / scale + 0.5) + zero_point, qmin, qmax).astype(int)


@wrong(lab03.quantize, "Z is added before rounding")
def quantize_as_in_004(x, scale, zero_point, qmin, qmax):
    return np.clip(np.rint(x / scale + zero_point), qmin, qmax).astype(int)


@wrong(lab03.quantize, "Z is subtracted")
def quantize_as_in_000(x, scale, zero_point, qmin, qmax):
    return np.clip(np.rint(x / scale) - zero_point, qmin, qmax).astype(int)


@wrong(lab03.quantize, "nothing is clipped")
def quantize_no_clip(x, scale, zero_point, qmin, qmax):
    return (np.rint(x / scale) + zero_point).astype(int)


@wrong(lab03.quantize, "wrap around")
def quantize_cast_first(x, scale, zero_point, qmin, qmax):
    codes = (np.rint(x / scale) + zero_point).astype(int).astype(np.int8 if qmin < 0 else np.uint8)
    return np.clip(codes, qmin, qmax)


@wrong(lab03.quantize, "Broken: ")
def quantize_z_only_unsigned(x, scale, zero_point, qmin, qmax):
    return np.clip(np.rint(x / scale) + (zero_point if qmin == 0 else 0), qmin, qmax).astype(int)


@wrong(lab03.quantize, "integer dtype")
def quantize_to_floats(x, scale, zero_point, qmin, qmax):
    return np.clip(np.rint(x / scale) + zero_point, qmin, qmax)


@right(lab03.dequantize)
def dequantize_cast(codes, scale, zero_point):
    return scale * (codes.astype(np.float32) - zero_point)


@right(lab03.dequantize)
def dequantize_integers(codes, scale, zero_point):
    return (codes.astype(np.int64) - zero_point) * scale


@right(lab03.dequantize)
def dequantize_torch(codes, scale, zero_point):
    torch = pytest.importorskip("torch")
    return torch.as_tensor(scale) * (torch.as_tensor(codes).double() - zero_point)


@wrong(lab03.dequantize, "wraps around")
def dequantize_in_bytes(codes, scale, zero_point):
    return scale * (codes - codes.dtype.type(zero_point)).astype(float)


@wrong(lab03.dequantize, "Broken: ")
def dequantize_in_signed_bytes(codes, scale, zero_point):
    wide = codes if codes.dtype == np.int8 else codes.astype(int)
    return scale * (wide - wide.dtype.type(zero_point)).astype(float)


@wrong(lab03.dequantize, "Z is added")
def dequantize_plus(codes, scale, zero_point):
    return scale * (codes.astype(float) + zero_point)


@wrong(lab03.dequantize, "brackets")
def dequantize_no_brackets(codes, scale, zero_point):
    return scale * codes.astype(float) - zero_point


@wrong(lab03.dequantize, "divided by S")
def dequantize_divides(codes, scale, zero_point):
    return (codes.astype(float) - zero_point) / scale


@wrong(lab03.dequantize, "Z is left out")
def dequantize_no_zero_point(codes, scale, zero_point):
    return scale * codes.astype(float)


# ------------------------------------------------------------------------------------------------------- 5 sqnr_db


@right(lab03.sqnr_db)
def sqnr_sums(x, x_hat):
    return 10 * np.log10(np.sum(x**2) / np.sum((x - x_hat) ** 2))


@right(lab03.sqnr_db)
def sqnr_means(x, x_hat):
    return 10 * (np.log10(np.mean(x * x)) - np.log10(np.mean((x_hat - x) ** 2)))


@right(lab03.sqnr_db)
def sqnr_norms(x, x_hat):
    noise = np.linalg.norm(x - x_hat)
    return 20 * math.log10(np.linalg.norm(x) / noise) if noise else math.inf


@right(lab03.sqnr_db)
def sqnr_loop(x, x_hat):
    signal = noise = 0.0
    for a, b in zip(x.ravel(), x_hat.ravel()):
        signal, noise = signal + a * a, noise + (a - b) ** 2
    return [float("inf") if noise == 0 else 10 * math.log(signal / noise, 10)]


@wrong(lab03.sqnr_db, "20 stands for 10")
def sqnr_twenty(x, x_hat):
    return 20 * np.log10(np.sum(x**2) / np.sum((x - x_hat) ** 2))


@wrong(lab03.sqnr_db, "upside down")
def sqnr_upside_down(x, x_hat):
    return 10 * np.log10(np.sum((x - x_hat) ** 2) / np.sum(x**2))


@wrong(lab03.sqnr_db, "the natural one")
def sqnr_natural(x, x_hat):
    return 10 * np.log(np.sum(x**2) / np.sum((x - x_hat) ** 2))


@wrong(lab03.sqnr_db, "bels")
def sqnr_bels(x, x_hat):
    return np.log10(np.sum(x**2) / np.sum((x - x_hat) ** 2))


@wrong(lab03.sqnr_db, "the logarithm is missing")
def sqnr_ratio(x, x_hat):
    return np.sum(x**2) / np.sum((x - x_hat) ** 2)


@wrong(lab03.sqnr_db, "magnitudes were summed")
def sqnr_magnitudes(x, x_hat):
    return 10 * np.log10(np.sum(np.abs(x)) / np.sum(np.abs(x - x_hat)))


@wrong(lab03.sqnr_db, "subtracts the mean")
def sqnr_variances(x, x_hat):
    return 10 * np.log10(np.var(x) / np.var(x - x_hat))


@wrong(lab03.sqnr_db, "Broken: ")
def sqnr_of_sums(x, x_hat):
    return 10 * np.log10(np.sum(x) ** 2 / np.sum(x - x_hat) ** 2)


@wrong(lab03.sqnr_db, "the signal is x")
def sqnr_of_x_hat(x, x_hat):
    return 10 * np.log10(np.sum(x_hat**2) / np.sum((x - x_hat) ** 2))


@wrong(lab03.sqnr_db, "infinite")
def sqnr_never_infinite(x, x_hat):
    return 10 * np.log10(np.sum(x**2) / (np.sum((x - x_hat) ** 2) + 1e-12))


@wrong(lab03.sqnr_db, "ZeroDivisionError")
def sqnr_python_division(x, x_hat):
    return 10 * math.log10(float(np.sum(x**2)) / float(np.sum((x - x_hat) ** 2)))


@wrong(lab03.sqnr_db, "a single number")
def sqnr_of_each(x, x_hat):
    return 10 * np.log10(x**2 / (x - x_hat) ** 2)


# ------------------------------------------------------------------------------------------------ 6 channel_scales


@right(lab03.channel_scales)
def channels_reduce(w, bits, axis):
    others = tuple(i for i in range(w.ndim) if i != axis)
    scales = np.abs(w).max(axis=others, keepdims=True) / (2 ** (bits - 1) - 1)
    return np.where(scales > 0, scales, 1)


@right(lab03.channel_scales)
def channels_move_axis(w, bits, axis):
    rows = np.moveaxis(w, axis, 0).reshape(w.shape[axis], -1)
    scales = np.max(np.abs(rows), axis=1) / (2 ** (bits - 1) - 1)
    scales[scales == 0] = 1
    shape = [1] * w.ndim
    shape[axis] = -1
    return scales.reshape(shape)


@right(lab03.channel_scales)
def channels_loop(w, bits, axis):
    scales = []
    for channel in range(w.shape[axis]):
        part = np.take(w, channel, axis=axis)
        scales.append(max(-part.min(), part.max()) / (2 ** (bits - 1) - 1) or 1.0)
    return np.expand_dims(np.array(scales), [i for i in range(w.ndim) if i != axis])


@right(lab03.channel_scales)
def channels_torch(w, bits, axis):
    torch = pytest.importorskip("torch")
    others = [i for i in range(w.ndim) if i != axis]
    largest = torch.as_tensor(w).abs().amax(dim=others, keepdim=True)
    return torch.where(largest > 0, largest / (2 ** (bits - 1) - 1), torch.ones_like(largest))


@wrong(lab03.channel_scales, "runs along `axis`")
def channels_along_axis(w, bits, axis):
    scales = np.abs(w).max(axis=axis, keepdims=True) / (2 ** (bits - 1) - 1)
    return np.where(scales > 0, scales, 1)


@wrong(lab03.channel_scales, "`axis` is not used")
def channels_axis_0(w, bits, axis):
    return channels_reduce(w, bits, 0)


@wrong(lab03.channel_scales, "keepdims=True")
def channels_flat(w, bits, axis):
    return channels_reduce(w, bits, axis).ravel()


@wrong(lab03.channel_scales, "Broken: ")
def channels_of_two_axes_only(w, bits, axis):
    scales = np.abs(w).max(axis=1 - axis if axis < 2 else 0, keepdims=True) / (2 ** (bits - 1) - 1)
    return np.where(scales > 0, scales, 1)


@wrong(lab03.channel_scales, "not the largest magnitude")
def channels_maximum(w, bits, axis):
    others = tuple(i for i in range(w.ndim) if i != axis)
    scales = w.max(axis=others, keepdims=True) / (2 ** (bits - 1) - 1)
    return np.where(w.any(axis=others, keepdims=True), scales, 1)


@wrong(lab03.channel_scales, "for the whole tensor")
def channels_one_scale(w, bits, axis):
    scales = channels_reduce(w, bits, axis)
    return np.full_like(scales, np.abs(w).max() / (2 ** (bits - 1) - 1) or 1)


@wrong(lab03.channel_scales, "off by one")
def channels_off_by_one(w, bits, axis):
    scales = channels_reduce(w, bits, axis) * (2 ** (bits - 1) - 1) / 2 ** (bits - 1)
    return np.where(channels_are_zero(w, axis), 1, scales)


@wrong(lab03.channel_scales, "the sign bit was forgotten")
def channels_without_sign_bit(w, bits, axis):
    scales = channels_reduce(w, bits, axis) * (2 ** (bits - 1) - 1) / (2**bits - 1)
    return np.where(channels_are_zero(w, axis), 1, scales)


@wrong(lab03.channel_scales, "above zero")
def channels_zero_scale(w, bits, axis):
    others = tuple(i for i in range(w.ndim) if i != axis)
    return np.abs(w).max(axis=others, keepdims=True) / (2 ** (bits - 1) - 1)


@wrong(lab03.channel_scales, "gets the largest code")
def channels_tiny_added(w, bits, axis):
    others = tuple(i for i in range(w.ndim) if i != axis)
    return (np.abs(w).max(axis=others, keepdims=True) + 1e-3) / (2 ** (bits - 1) - 1)


def channels_are_zero(w, axis):
    return ~w.any(axis=tuple(i for i in range(w.ndim) if i != axis), keepdims=True)


# ----------------------------------------------------------------------------------------------------- 7 best_clip


def squared_error(x, threshold, bits):
    qmax = 2 ** (bits - 1) - 1
    scale = threshold / qmax
    return np.sum((x - scale * np.clip(np.rint(x / scale), -qmax, qmax)) ** 2)


@right(lab03.best_clip)
def clip_loop(x, bits):
    best, least = None, math.inf
    for k in range(1, 101):
        threshold = k / 100 * np.abs(x).max()
        error = squared_error(x, threshold, bits)
        if error < least:
            best, least = threshold, error
    return best


@right(lab03.best_clip)
def clip_all_at_once(x, bits):
    qmax = 2 ** (bits - 1) - 1
    thresholds = np.abs(x).max() * np.arange(1, 101) / 100
    scales = (thresholds / qmax)[:, None]
    errors = x - scales * np.clip(np.rint(x / scales), -qmax, qmax)
    return thresholds[np.square(errors).sum(axis=1).argmin()]


@right(lab03.best_clip)
def clip_from_above(x, bits):
    thresholds = [share * np.max(np.abs(x)) for share in np.linspace(1, 0.01, 100)]
    return min(thresholds, key=lambda threshold: float(np.mean((x - fake(x, threshold, bits)) ** 2)))


@right(lab03.best_clip)
def clip_finer(x, bits):
    """A finer search that holds the candidates finds no worse."""
    thresholds = np.arange(1, 1001) / 1000 * np.abs(x).max()
    return thresholds[np.argmin([squared_error(x, threshold, bits) for threshold in thresholds])]


def fake(x, threshold, bits):
    qmax = 2 ** (bits - 1) - 1
    return np.clip(np.rint(x * qmax / threshold), -qmax, qmax) * threshold / qmax


@wrong(lab03.best_clip, "min-max")
def clip_nowhere(x, bits):
    return np.abs(x).max()


@wrong(lab03.best_clip, "the smallest candidate")
def clip_without_clip(x, bits):
    thresholds = np.arange(1, 101) / 100 * np.abs(x).max()
    scales = thresholds / (2 ** (bits - 1) - 1)
    return thresholds[np.argmin([np.sum((x - s * np.rint(x / s)) ** 2) for s in scales])]


@wrong(lab03.best_clip, "the smallest candidate")
def clip_rounding_alone(x, bits):
    thresholds = np.arange(1, 101) / 100 * np.abs(x).max()
    return thresholds[np.argmin([squared_error(x[np.abs(x) <= t], t, bits) for t in thresholds])]


@wrong(lab03.best_clip, "Clipping at", "that is min-max")
def clip_clipping_alone(x, bits):
    thresholds = np.arange(1, 101) / 100 * np.abs(x).max()
    return thresholds[np.argmin([np.sum(np.maximum(np.abs(x) - t, 0) ** 2) for t in thresholds])]


@wrong(lab03.best_clip, "the smallest candidate")
def clip_argmax(x, bits):
    thresholds = np.arange(1, 101) / 100 * np.abs(x).max()
    return thresholds[np.argmax([squared_error(x, t, bits) for t in thresholds])]


@wrong(lab03.best_clip, "not squares")
def clip_absolute_error(x, bits):
    thresholds = np.arange(1, 101) / 100 * np.abs(x).max()
    return thresholds[np.argmin([np.abs(x - fake(x, t, bits)).sum() for t in thresholds])]


@wrong(lab03.best_clip, "the share k/100 was returned")
def clip_share(x, bits):
    return clip_loop(x, bits) / np.abs(x).max()


@wrong(lab03.best_clip, "the scale was returned")
def clip_scale(x, bits):
    return clip_loop(x, bits) / (2 ** (bits - 1) - 1)


@wrong(lab03.best_clip, "the least error was returned")
def clip_error(x, bits):
    return squared_error(x.astype(float), clip_loop(x.astype(float), bits), bits)


@wrong(lab03.best_clip, "begins at half")
def clip_upper_half(x, bits):
    thresholds = np.arange(50, 101) / 100 * np.abs(x).max()
    return thresholds[np.argmin([squared_error(x, t, bits) for t in thresholds])]


@wrong(lab03.best_clip, "Broken: ")
def clip_first_dip(x, bits):
    """Stops at the first threshold after which the error rises, from above."""
    thresholds = np.arange(100, 0, -1) / 100 * np.abs(x).max()
    for now, then in zip(thresholds, thresholds[1:]):
        if squared_error(x, then, bits) > squared_error(x, now, bits):
            return now
    return thresholds[-1]


@wrong(lab03.best_clip, "Broken: ")
def clip_three_sigma(x, bits):
    return min(3 * x.std(), np.abs(x).max())


@wrong(lab03.best_clip, "Broken: ")
def clip_percentile(x, bits):
    return np.percentile(np.abs(x), 99)


@wrong(lab03.best_clip, "Broken: ")
def clip_unsigned_levels(x, bits):
    return clip_loop(x, bits + 1)


@wrong(lab03.best_clip, "a single number")
def clip_range(x, bits):
    return np.array([-clip_loop(x, bits), clip_loop(x, bits)])


@wrong(lab03.best_clip, "x.max() was taken")
def clip_maximum(x, bits):
    thresholds = np.arange(1, 101) / 100 * x.max()
    return thresholds[np.argmin([squared_error(x, t, bits) for t in thresholds])]


# -------------------------------------------------------------------------------------------------- 8 group_scales


@right(lab03.group_scales)
def groups_loop(w, bits, group_size):
    qmax = 2 ** (bits - 1) - 1
    largest = [np.abs(w[:, i : i + group_size]).max(axis=1) for i in range(0, w.shape[1], group_size)]
    scales = np.stack(largest, axis=1) / qmax
    return np.where(scales == 0, 1, scales)


@right(lab03.group_scales)
def groups_pad(w, bits, group_size):
    rows, columns = w.shape
    groups = -(-columns // group_size)
    padded = np.zeros((rows, groups * group_size))
    padded[:, :columns] = w
    scales = np.abs(padded.reshape(rows, groups, group_size)).max(axis=2) / (2 ** (bits - 1) - 1)
    scales[scales == 0] = 1
    return scales


@right(lab03.group_scales)
def groups_each(w, bits, group_size):
    scales = np.ones((len(w), math.ceil(w.shape[1] / group_size)), np.float32)
    for (i, j), _ in np.ndenumerate(scales):
        largest = max(abs(v) for v in w[i, j * group_size : (j + 1) * group_size])
        if largest > 0:
            scales[i, j] = largest / (2 ** (bits - 1) - 1)
    return scales


@right(lab03.group_scales)
def groups_split(w, bits, group_size):
    cuts = range(group_size, w.shape[1], group_size)
    parts = [np.abs(part).max(1, keepdims=True) for part in np.split(w, cuts, axis=1)]
    scales = np.hstack(parts) / (2 ** (bits - 1) - 1)
    return np.where(scales > 0, scales, 1.0).tolist()


@wrong(lab03.group_scales, "the short group at the end of a row is left out")
def groups_full_only(w, bits, group_size):
    return groups_loop(w, bits, group_size)[:, : w.shape[1] // group_size]


@wrong(lab03.group_scales, "must not stop with ValueError")
def groups_reshape(w, bits, group_size):
    scales = np.abs(w.reshape(len(w), -1, group_size)).max(axis=2) / (2 ** (bits - 1) - 1)
    return np.where(scales > 0, scales, 1)


@wrong(lab03.group_scales, "Broken: each row has one scale for each of its groups")
def groups_across_rows(w, bits, group_size):
    return groups_loop(w.reshape(1, -1), bits, group_size)


@wrong(lab03.group_scales, "was cut into `group_size` groups")
def groups_counted(w, bits, group_size):
    parts = [np.abs(part).max(axis=1) for part in np.array_split(w, min(group_size, w.shape[1]), axis=1)]
    scales = np.stack(parts, axis=1) / (2 ** (bits - 1) - 1)
    return np.where(scales > 0, scales, 1)


@wrong(lab03.group_scales, "each group has its own")
def groups_all_the_same(w, bits, group_size):
    scales = groups_loop(w, bits, group_size)
    return np.repeat(groups_loop(w, bits, w.shape[1]), scales.shape[1], axis=1)


@wrong(lab03.group_scales, "not the largest magnitude")
def groups_maximum(w, bits, group_size):
    parts = [w[:, i : i + group_size] for i in range(0, w.shape[1], group_size)]
    scales = np.stack([part.max(axis=1) for part in parts], axis=1) / (2 ** (bits - 1) - 1)
    return np.where(np.stack([part.any(axis=1) for part in parts], axis=1), scales, 1)


@wrong(lab03.group_scales, "above zero")
def groups_of_zeros(w, bits, group_size):
    return np.stack([np.abs(w[:, i : i + group_size]).max(axis=1) for i in range(0, w.shape[1], group_size)],
                    axis=1) / (2 ** (bits - 1) - 1)


@wrong(lab03.group_scales, "off by one")
def groups_off_by_one(w, bits, group_size):
    parts = [np.abs(w[:, i : i + group_size]).max(axis=1) for i in range(0, w.shape[1], group_size)]
    scales = np.stack(parts, axis=1) / 2 ** (bits - 1)
    return np.where(scales > 0, scales, 1)


@wrong(lab03.group_scales, "ceil(columns / group_size)")
def groups_spread_out(w, bits, group_size):
    return np.repeat(groups_loop(w, bits, group_size), group_size, axis=1)[:, : w.shape[1]]


@wrong(lab03.group_scales, "ceil(columns / group_size)")
def groups_of_rows(w, bits, group_size):
    return groups_loop(w.T, bits, group_size).T


# ----------------------------------------------------------------------------------------------- 9 bits_per_weight


@right(lab03.bits_per_weight)
def cost_ceil(columns, bits, group_size, scale_bits):
    return bits + scale_bits * math.ceil(columns / group_size) / columns


@right(lab03.bits_per_weight)
def cost_total(columns, bits, group_size, scale_bits):
    groups = (columns + group_size - 1) // group_size
    return (columns * bits + groups * scale_bits) / columns


@right(lab03.bits_per_weight)
def cost_counted(columns, bits, group_size, scale_bits):
    total = 0
    for start in range(0, columns, group_size):
        total += scale_bits + bits * len(range(start, min(start + group_size, columns)))
    return np.float32(total / columns)


@wrong(lab03.bits_per_weight, "round the number of groups up")
def cost_part_of_a_scale(columns, bits, group_size, scale_bits):
    return bits + scale_bits / group_size


@wrong(lab03.bits_per_weight, "not down")
def cost_floor(columns, bits, group_size, scale_bits):
    return bits + scale_bits * (columns // group_size) / columns + 1e-12


@wrong(lab03.bits_per_weight, "only one scale was counted")
def cost_one_scale(columns, bits, group_size, scale_bits):
    return bits + scale_bits / columns


@wrong(lab03.bits_per_weight, "more than the bits of a code")
def cost_of_codes(columns, bits, group_size, scale_bits):
    return bits


@wrong(lab03.bits_per_weight, "whole row")
def cost_of_a_row(columns, bits, group_size, scale_bits):
    return columns * cost_ceil(columns, bits, group_size, scale_bits)


@wrong(lab03.bits_per_weight, "bytes")
def cost_in_bytes(columns, bits, group_size, scale_bits):
    return cost_ceil(columns, bits, group_size, scale_bits) / 8


@wrong(lab03.bits_per_weight, "rounded to a whole number")
def cost_rounded(columns, bits, group_size, scale_bits):
    return round(cost_ceil(columns, bits, group_size, scale_bits))


@wrong(lab03.bits_per_weight, "cut off")
def cost_truncated(columns, bits, group_size, scale_bits):
    return (columns * bits + math.ceil(columns / group_size) * scale_bits) // columns


@wrong(lab03.bits_per_weight, "Broken: ")
def cost_scale_in_bytes(columns, bits, group_size, scale_bits):
    return bits + scale_bits / 8 * math.ceil(columns / group_size) / columns


@wrong(lab03.bits_per_weight, "Broken: ")
def cost_one_group_too_many(columns, bits, group_size, scale_bits):
    return bits + scale_bits * (columns // group_size + 1) / columns


# -------------------------------------------------------------------------------------------------------- the trial


class TestTrial(Trial):
    answers = ANSWERS


@pytest.mark.parametrize(("function", "task", "shown", "commas"), [
    (affine_clipped_not_widened, lab03.affine_params, "alpha = ", 0),
    (channels_along_axis, lab03.channel_scales, "w = [", 1),
    (clip_nowhere, lab03.best_clip, "x = [", 5),
    (groups_full_only, lab03.group_scales, "w = [", 2),
])
def test_counterexamples_are_small(function, task, shown, commas):
    """A message shows an input that can be worked by hand."""
    line = shown_input(task, function, shown)
    assert line.count(",") <= commas, line


@pytest.mark.parametrize("task", lab03.TASKS, ids=lambda task: task.title)
def test_a_wrong_answer_costs_its_own_points_alone(task):
    """Later answers call it, and are right for all that; no graded cell needs another cell's results either."""
    def stops(*arguments):
        raise ValueError("wrong from the first line")

    for function in (stops, BANK[task][2][0].function):
        assert points_lost(lab03, task.name, function) == [task.name]


def test_the_references_are_the_library_s():
    """The checks have definitions of their own; they agree with the library on what the course teaches."""
    import course_lib as cl

    num, rng = cl.numerics, np.random.default_rng(1)
    for bits in (2, 3, 4, 8):
        for kind, scheme, signed in (("unsigned", "affine", None), ("signed", "affine", True),
                                     ("symmetric", "symmetric", None)):
            assert lab03.code_range.expected(bits, kind) == num.code_range(bits, scheme, signed)
        for alpha, beta in ((0, 1), (-0.3, 1), (2, 3), (-3, -2), (0, 0)):
            for signed in (False, True):
                made = num.qparams_from_range(alpha, beta, bits=bits, scheme="affine", signed=signed, dtype=np.float64)
                found = lab03.affine_params.expected(alpha, beta, made.qmin, made.qmax)
                assert found == (pytest.approx(float(made.scale)), made.zero_point)
        w = rng.standard_t(3, size=(6, 5, 7))
        w[:, 2] = 0
        for axis in range(3):
            made = num.calibrate(w, bits=bits, granularity="per_channel", axis=axis)
            np.testing.assert_allclose(lab03.channel_scales.expected(w, bits, axis).ravel(), made.scale)
        made = num.calibrate(w[:, 0], bits=bits, granularity="per_group", group_size=4)
        np.testing.assert_allclose(lab03.group_scales.expected(w[:, 0], bits, 4), made.scale)
        x = rng.standard_t(3, 2000)
        made = num.calibrate(x, bits=bits, method="mse")
        mine = float(lab03.best_clip.expected(x, bits))
        theirs = num.sqnr_db(x, num.fake_quantize(x, made))
        assert num.sqnr_db(x, fake(x, mine, bits)) == pytest.approx(theirs, abs=0.1)
        assert lab03.sqnr_db.expected(x, fake(x, mine, bits)) == pytest.approx(num.sqnr_db(x, fake(x, mine, bits)))
