"""The grader graded: every check of lab04 refuses the stub and the wrong answers that students write, and accepts
right answers written in different ways. `said` is what the message must tell the student."""

import math

import numpy as np
import pytest

from course_lib.check import lab04
from tests.unit.check.bank_lab04 import BANK
from tests.unit.check.grading import Answers, Trial, shown_input
from tests.unit.check.variants import deposit, points_lost

ANSWERS = Answers(lab04)
deposit(BANK, ANSWERS)
right, wrong = ANSWERS.right, ANSWERS.wrong


# ------------------------------------------------------------------------------------------- 1 accuracy_with_error


@right(lab04.accuracy_with_error)
def accuracy_means(predicted, labels):
    p = np.mean(predicted == labels)
    return p, np.sqrt(p * (1 - p) / len(labels))


@right(lab04.accuracy_with_error)
def accuracy_loop(predicted, labels):
    hits = 0
    for a, b in zip(predicted, labels):
        if a == b:
            hits += 1
    p = hits / len(labels)
    return p, math.sqrt(p * (1 - p) / len(labels))


@right(lab04.accuracy_with_error)
def accuracy_std(predicted, labels):
    correct = (predicted == labels).astype(float)
    return correct.mean(), correct.std() / np.sqrt(correct.size)


@right(lab04.accuracy_with_error)
def accuracy_torch(predicted, labels):
    torch = pytest.importorskip("torch")
    correct = (torch.as_tensor(predicted) == torch.as_tensor(labels)).double()
    p = correct.mean()
    return [p, (p * (1 - p) / len(correct)).sqrt()]


@wrong(lab04.accuracy_with_error, "divided by n, and should be divided by the square root")
def accuracy_std_over_n(predicted, labels):
    correct = predicted == labels
    return correct.mean(), correct.std() / len(labels)


@wrong(lab04.accuracy_with_error, "the square root is missing")
def accuracy_no_root(predicted, labels):
    p = np.mean(predicted == labels)
    return p, p * (1 - p) / len(labels)


@wrong(lab04.accuracy_with_error, "the division by n is missing")
def accuracy_plain_std(predicted, labels):
    return np.mean(predicted == labels), np.std(predicted == labels)


@wrong(lab04.accuracy_with_error, "percent")
def accuracy_percent(predicted, labels):
    p = np.mean(predicted == labels)
    return 100 * p, 100 * np.sqrt(p * (1 - p) / len(labels))


@wrong(lab04.accuracy_with_error, "the error rate")
def accuracy_of_errors(predicted, labels):
    p = np.mean(predicted != labels)
    return p, np.sqrt(p * (1 - p) / len(labels))


@wrong(lab04.accuracy_with_error, "divided by n - 1")
def accuracy_n_minus_one(predicted, labels):
    correct = predicted == labels
    return correct.mean(), correct.std(ddof=1) / np.sqrt(len(labels))


@wrong(lab04.accuracy_with_error, "two numbers")
def accuracy_alone(predicted, labels):
    return np.mean(predicted == labels)


@wrong(lab04.accuracy_with_error, "share of predictions")
def accuracy_example_by_heart(predicted, labels):
    return 0.8, 0.17888543819998318


# ------------------------------------------------------------------------------------------------- 2 weight_scales


@right(lab04.weight_scales)
def scales_vectorised(w, bits):
    largest = np.abs(w).max(axis=1)
    return np.where(largest > 0, largest / (2 ** (bits - 1) - 1), 1)


@right(lab04.weight_scales)
def scales_loop(w, bits):
    scales = []
    for row in w:
        m = max(abs(v) for v in row)
        scales.append(1.0 if m == 0 else m / (2 ** (bits - 1) - 1))
    return scales


@right(lab04.weight_scales)
def scales_max_of_ends(w, bits):
    scale = np.maximum(w.max(1), -w.min(1)).astype(np.float32) / np.float32(2 ** (bits - 1) - 1)
    scale[scale == 0] = 1
    return scale


@right(lab04.weight_scales)
def scales_torch(w, bits):
    torch = pytest.importorskip("torch")
    s = torch.from_numpy(w).abs().amax(dim=1) / (2 ** (bits - 1) - 1)
    return torch.where(s == 0, torch.ones_like(s), s)


@wrong(lab04.weight_scales, "not the largest magnitude")
def scales_of_the_maximum(w, bits):
    largest = w.max(axis=1)
    return np.where(w.any(axis=1), largest, 2 ** (bits - 1) - 1) / (2 ** (bits - 1) - 1)


@wrong(lab04.weight_scales, "not the largest magnitude")
def scales_of_the_maximum_alone(w, bits):
    return w.max(axis=1) / (2 ** (bits - 1) - 1)


@wrong(lab04.weight_scales, "one scale for each row")
def scales_per_tensor(w, bits):
    return np.abs(w).max() / (2 ** (bits - 1) - 1)


@wrong(lab04.weight_scales, "one scale was computed for the whole tensor")
def scales_per_tensor_repeated(w, bits):
    return np.full(len(w), np.abs(w).max() / (2 ** (bits - 1) - 1))


@wrong(lab04.weight_scales, "off by one")
def scales_off_by_one(w, bits):
    largest = np.abs(w).max(axis=1)
    return np.where(largest > 0, largest / 2 ** (bits - 1), 1)


@wrong(lab04.weight_scales, "the sign bit was forgotten")
def scales_unsigned(w, bits):
    largest = np.abs(w).max(axis=1)
    return np.where(largest > 0, largest / (2**bits - 1), 1)


@wrong(lab04.weight_scales, "above zero")
def scales_zero_for_a_zero_row(w, bits):
    return np.abs(w).max(axis=1) / (2 ** (bits - 1) - 1)


@wrong(lab04.weight_scales, "above zero")
def scales_nan_for_a_zero_row(w, bits):
    largest = np.abs(w).max(axis=1)
    return largest / largest * largest / (2 ** (bits - 1) - 1)


@wrong(lab04.weight_scales, "shape (rows,)")
def scales_by_column(w, bits):
    largest = np.abs(w).max(axis=0)
    return np.where(largest > 0, largest / (2 ** (bits - 1) - 1), 1)


@wrong(lab04.weight_scales, "largest magnitude of its row gets the largest code")
def scales_always_eight_bits(w, bits):
    return scales_vectorised(w, 8)


@wrong(lab04.weight_scales, "it changed `w`")
def scales_in_place(w, bits):
    np.abs(w, out=w)
    return scales_vectorised(w, bits)


@wrong(lab04.weight_scales, "Broken: ")
def scales_example_by_heart(w, bits):
    return np.array([1.0, 0.2])


# ------------------------------------------------------------------------------------------------------ 3 quantize


@right(lab04.quantize)
def quantize_rint(x, scale, zero_point, qmin, qmax):
    return np.clip(np.rint(x / scale) + zero_point, qmin, qmax).astype(np.int32)


@right(lab04.quantize)
def quantize_round(x, scale, zero_point, qmin, qmax):
    codes = np.round(x * (1 / np.asarray(scale)), 0) + zero_point
    codes = np.minimum(np.maximum(codes, qmin), qmax)
    return codes.astype(np.int16)


@right(lab04.quantize)
def quantize_loop(x, scale, zero_point, qmin, qmax):
    codes = np.empty(x.shape, dtype=int)
    scales = np.broadcast_to(scale, x.shape)
    for index in np.ndindex(x.shape):
        q = round(float(x[index]) / float(scales[index])) + zero_point  # Python's round goes to even
        codes[index] = max(qmin, min(qmax, q))
    return codes


@right(lab04.quantize)
def quantize_torch(x, scale, zero_point, qmin, qmax):
    torch = pytest.importorskip("torch")
    q = torch.round(torch.as_tensor(x) / torch.as_tensor(scale)) + zero_point
    return q.clamp(qmin, qmax).int()


@right(lab04.quantize)
def quantize_narrow(x, scale, zero_point, qmin, qmax):
    q = np.clip(np.around(x / scale), qmin - zero_point, qmax - zero_point) + zero_point
    return q.astype(np.int8 if qmin < 0 else np.uint8)


@wrong(lab04.quantize, "rounded up")
def quantize_half_up(x, scale, zero_point, qmin, qmax):
    return np.clip(np.floor(x / scale + 0.5) + zero_point, qmin, qmax).astype(int)


@wrong(lab04.quantize, "away from zero")
def quantize_half_away(x, scale, zero_point, qmin, qmax):
    steps = x / scale
    return np.clip(np.trunc(steps + np.copysign(0.5, steps)) + zero_point, qmin, qmax).astype(int)


@wrong(lab04.quantize, "cut off")
def quantize_truncated(x, scale, zero_point, qmin, qmax):
    return np.clip((x / scale).astype(int) + zero_point, qmin, qmax)


@wrong(lab04.quantize, "rounded down")
def quantize_floor(x, scale, zero_point, qmin, qmax):
    return np.clip(x // scale + zero_point, qmin, qmax).astype(int)


@wrong(lab04.quantize, "nothing is clipped")
def quantize_no_clip(x, scale, zero_point, qmin, qmax):
    return (np.rint(x / scale) + zero_point).astype(np.int32)


@wrong(lab04.quantize, "wrap around")
def quantize_wraps(x, scale, zero_point, qmin, qmax):
    codes = (np.rint(x / scale) + zero_point).astype(np.int64).astype(np.int8 if qmin < 0 else np.uint8)
    return np.clip(codes.astype(int), qmin, qmax)


@wrong(lab04.quantize, "integer dtype")
def quantize_floats(x, scale, zero_point, qmin, qmax):
    return np.clip(np.rint(x / scale) + zero_point, qmin, qmax)


@wrong(lab04.quantize, "off by one")
def quantize_without_qmax(x, scale, zero_point, qmin, qmax):
    return np.clip(np.rint(x / scale) + zero_point, qmin, qmax - 1).astype(int)


@wrong(lab04.quantize, "lies between qmin and qmax")
def quantize_wide_range(x, scale, zero_point, qmin, qmax):
    return np.clip(np.rint(x / scale) + zero_point, qmin - 1, qmax).astype(int)


@wrong(lab04.quantize, "Z is left out")
def quantize_no_zero_point(x, scale, zero_point, qmin, qmax):
    return np.clip(np.rint(x / scale), qmin, qmax).astype(int)


@wrong(lab04.quantize, "Z is subtracted")
def quantize_minus_zero_point(x, scale, zero_point, qmin, qmax):
    return np.clip(np.rint(x / scale) - zero_point, qmin, qmax).astype(int)


@wrong(lab04.quantize, "before rounding")
def quantize_zero_point_inside(x, scale, zero_point, qmin, qmax):
    return np.clip(np.rint(x / scale + zero_point), qmin, qmax).astype(int)


@wrong(lab04.quantize, "the clip comes before Z")
def quantize_clip_first(x, scale, zero_point, qmin, qmax):
    return (np.clip(np.rint(x / scale), qmin, qmax) + zero_point).astype(int)


@wrong(lab04.quantize, "multiplied by S")
def quantize_times_scale(x, scale, zero_point, qmin, qmax):
    return np.clip(np.rint(x * scale) + zero_point, qmin, qmax).astype(int)


@wrong(lab04.quantize, "it changed `x`")
def quantize_in_place(x, scale, zero_point, qmin, qmax):
    x /= scale
    np.rint(x, out=x)
    return np.clip(x + zero_point, qmin, qmax).astype(int)


@wrong(lab04.quantize, "Broken: ")
def quantize_first_scale_for_all_rows(x, scale, zero_point, qmin, qmax):
    return np.clip(np.rint(x / np.ravel(scale)[0]) + zero_point, qmin, qmax).astype(int)


@wrong(lab04.quantize, "the shape of x")
def quantize_flattened(x, scale, zero_point, qmin, qmax):
    return quantize_rint(x, scale, zero_point, qmin, qmax).ravel()


@wrong(lab04.quantize, "Broken: ")
def quantize_learnt_by_heart(x, scale, zero_point, qmin, qmax):
    return np.array([-3, -1, 0, 0, 0, 2, 2, 3])


# ---------------------------------------------------------------------------------------------------- 4 dequantize


@right(lab04.dequantize)
def dequantize_cast(codes, scale, zero_point):
    return scale * (codes.astype(np.float32) - zero_point)


@right(lab04.dequantize)
def dequantize_int64(codes, scale, zero_point):
    return (codes.astype(np.int64) - zero_point) * np.asarray(scale, np.float64)


@right(lab04.dequantize)
def dequantize_loop(codes, scale, zero_point):
    out = np.zeros(codes.shape)
    scales = np.broadcast_to(scale, codes.shape)
    for index, q in np.ndenumerate(codes):
        out[index] = float(scales[index]) * (int(q) - zero_point)
    return out


@right(lab04.dequantize)
def dequantize_torch(codes, scale, zero_point):
    torch = pytest.importorskip("torch")
    return (torch.as_tensor(codes).float() - zero_point) * torch.as_tensor(scale)


@wrong(lab04.dequantize, "wraps around")
def dequantize_wraps(codes, scale, zero_point):
    return scale * (codes - codes.dtype.type(zero_point)).astype(np.float64)


@wrong(lab04.dequantize, "Z is added")
def dequantize_wrong_sign(codes, scale, zero_point):
    return scale * (codes.astype(float) + zero_point)


@wrong(lab04.dequantize, "Z is left out")
def dequantize_no_zero_point(codes, scale, zero_point):
    return scale * codes.astype(float)


@wrong(lab04.dequantize, "brackets")
def dequantize_no_brackets(codes, scale, zero_point):
    return scale * codes.astype(float) - zero_point


@wrong(lab04.dequantize, "divided by S")
def dequantize_divided(codes, scale, zero_point):
    return (codes.astype(float) - zero_point) / scale


@wrong(lab04.dequantize, "float dtype")
def dequantize_integers(codes, scale, zero_point):
    return (scale * (codes.astype(float) - zero_point)).astype(int)


@wrong(lab04.dequantize, "S (q - Z)")
def dequantize_rounded(codes, scale, zero_point):
    return np.round(scale * (codes.astype(float) - zero_point), 1)


# --------------------------------------------------------------------------------------------- 5 activation_params


@right(lab04.activation_params)
def params_min_max(x, bits):
    low, high = min(x.min(), 0), max(x.max(), 0)
    if high == low:
        return 1.0, 0
    scale = (high - low) / (2**bits - 1)
    return scale, int(np.rint(-low / scale))


@right(lab04.activation_params)
def params_with_zero_appended(x, bits):
    widened = np.append(x.astype(np.float64), 0.0)
    scale = np.ptp(widened) / (2**bits - 1) or 1.0
    return scale, round(-widened.min() / scale)


@right(lab04.activation_params)
def params_loop(x, bits):
    low = high = 0.0
    for v in x:
        low, high = (v if v < low else low), (v if v > high else high)
    if low == 0 and high == 0:
        return 1, 0
    return (high - low) / (2**bits - 1), np.int64(np.floor(-low * (2**bits - 1) / (high - low) + 0.5))


@right(lab04.activation_params)
def params_torch(x, bits):
    torch = pytest.importorskip("torch")
    low, high = torch.aminmax(torch.cat([torch.as_tensor(x), torch.zeros(1)]))
    scale = (high - low) / (2**bits - 1)
    scale = torch.where(scale == 0, torch.ones(()), scale)
    return scale, torch.round(-low / scale).int()


@wrong(lab04.activation_params, "an int, not a float")
def params_zero_point_not_rounded(x, bits):
    low, high = min(x.min(), 0), max(x.max(), 0)
    scale = (high - low) / (2**bits - 1) or 1.0
    return scale, -low / scale


@wrong(lab04.activation_params, "above zero")
def params_zero_for_zeros(x, bits):
    low, high = min(x.min(), 0), max(x.max(), 0)
    scale = (high - low) / (2**bits - 1)
    return scale, int(np.rint(-low / scale)) if scale else 0


@wrong(lab04.activation_params, "must not stop with ValueError")
def params_nan_for_zeros(x, bits):
    low, high = min(float(x.min()), 0), max(float(x.max()), 0)
    scale = np.float64(high - low) / (2**bits - 1)
    return scale, int(np.rint(-low / scale))


@wrong(lab04.activation_params, "between 0 and 2^bits - 1", "the range is not widened")
def params_not_widened(x, bits):
    low, high = float(x.min()), float(x.max())
    if low == high:
        return (abs(high) or 1.0), 0
    scale = (high - low) / (2**bits - 1)
    return scale, round(-low / scale)


@wrong(lab04.activation_params, "widened to hold 0")
def params_not_widened_but_clipped(x, bits):
    low, high = float(x.min()), float(x.max())
    scale = (high - low) / (2**bits - 1) or 1.0
    return scale, int(np.clip(round(-low / scale), 0, 2**bits - 1))


@wrong(lab04.activation_params, "have 2^bits - 1 steps")
def params_off_by_one(x, bits):
    low, high = min(float(x.min()), 0), max(float(x.max()), 0)
    scale = (high - low) / 2**bits or 1.0
    return scale, round(-low / scale)


@wrong(lab04.activation_params, "Z has the wrong sign")
def params_wrong_sign(x, bits):
    low, high = min(float(x.min()), 0), max(float(x.max()), 0)
    scale = (high - low) / (2**bits - 1) or 1.0
    return scale, round(low / scale)


@wrong(lab04.activation_params, "cut off")
def params_zero_point_cut_off(x, bits):
    low, high = min(float(x.min()), 0), max(float(x.max()), 0)
    scale = (high - low) / (2**bits - 1) or 1.0
    return scale, int(-low / scale)


@wrong(lab04.activation_params, "Broken: ", "the symmetric rule")
def params_symmetric(x, bits):
    return float(np.abs(x).max() / (2 ** (bits - 1) - 1)) or 1.0, 0


@wrong(lab04.activation_params, "Broken: ")
def params_from_the_maximum(x, bits):
    return float(max(x.max(), 0)) / (2**bits - 1) or 1.0, 0


@wrong(lab04.activation_params, "two numbers")
def params_scale_alone(x, bits):
    return params_min_max(x, bits)[0]


@wrong(lab04.activation_params, "Broken: ")
def params_swapped(x, bits):
    return params_min_max(x, bits)[::-1]


# ---------------------------------------------------------------------------------------------------- 6 pack_codes


@right(lab04.pack_codes)
def pack_bits(codes, bits):
    each = np.unpackbits((codes.astype(np.int64) & 0xFF).astype(np.uint8)[:, None], axis=1, bitorder="little")
    return np.packbits(each[:, :bits].ravel(), bitorder="little")


@right(lab04.pack_codes)
def pack_shifts(codes, bits):
    each = (codes.astype(int)[:, None] >> np.arange(bits)) & 1
    return np.packbits(each.astype(np.uint8).reshape(-1), bitorder="little")


@right(lab04.pack_codes)
def pack_big_number(codes, bits):
    number = 0
    for i, code in enumerate(codes):
        number |= (int(code) % 2**bits) << (i * bits)
    return number.to_bytes((len(codes) * bits + 7) // 8, "little")


@right(lab04.pack_codes)
def pack_loop(codes, bits):
    out = np.zeros(math.ceil(len(codes) * bits / 8), np.uint8)
    for i, code in enumerate(codes):
        for j in range(bits):
            if (int(code) >> j) & 1:
                out[(i * bits + j) // 8] |= 1 << ((i * bits + j) % 8)
    return out


@right(lab04.pack_codes)
def pack_text(codes, bits):
    text = "".join(format(int(code) & (2**bits - 1), f"0{bits}b")[::-1] for code in codes)
    text += "0" * (-len(text) % 8)
    return np.array([int(text[i : i + 8][::-1], 2) for i in range(0, len(text), 8)], dtype=np.uint8)


@wrong(lab04.pack_codes, "ceil(n b / 8)")
def pack_not_at_all(codes, bits):
    return codes.view(np.uint8)


@wrong(lab04.pack_codes, "the highest bit comes first")
def pack_big_endian(codes, bits):
    each = (codes.astype(int)[:, None] >> np.arange(bits)[::-1]) & 1
    return np.packbits(each.ravel())


@wrong(lab04.pack_codes, "bitorder='little'")
def pack_mixed_order(codes, bits):
    each = (codes.astype(int)[:, None] >> np.arange(bits)) & 1
    return np.packbits(each.ravel())


@wrong(lab04.pack_codes, "the bits of a code run the wrong way")
def pack_codes_reversed(codes, bits):
    each = (codes.astype(int)[:, None] >> np.arange(bits)[::-1]) & 1
    return np.packbits(each.ravel(), bitorder="little")


@wrong(lab04.pack_codes, "shifted to start at zero")
def pack_offset(codes, bits):
    return pack_big_number(codes.astype(int) + 2 ** (bits - 1), bits)


@wrong(lab04.pack_codes, "the sign is lost")
def pack_without_sign(codes, bits):
    return pack_big_number(np.abs(codes.astype(int)), bits)


@wrong(lab04.pack_codes, "ceil(n b / 8)")
def pack_loses_the_last_byte(codes, bits):
    return pack_bits(codes, bits)[: len(codes) * bits // 8]


@wrong(lab04.pack_codes, "Broken: ")
def pack_spills_the_sign(codes, bits):
    number = 0
    for i, code in enumerate(codes):
        number |= int(code) << (i * bits)
    return (number & (2 ** (len(codes) * bits) - 1)).to_bytes((len(codes) * bits + 7) // 8, "little")


@wrong(lab04.pack_codes, "dtype uint8")
def pack_wrong_dtype(codes, bits):
    return pack_bits(codes, bits).astype(np.int64)


# ---------------------------------------------------------------------------------------------------- 7 comparison


def _row(method, weight_bits, activation_bits, numbers):
    return {"method": method, "weight_bits": weight_bits, "activation_bits": activation_bits, **numbers}


@right(lab04.comparison)
def comparison_nested(ptq, qat, measure):
    rows = []
    for bits in (8, 4, 3, 2):
        for activations in (None, bits):
            rows.append(_row("PTQ", bits, activations, measure(ptq(bits, activations))))
    for bits in (3, 2):
        rows.append(_row("QAT", bits, bits, measure(qat(bits, bits))))
    return rows


@right(lab04.comparison)
def comparison_other_order(ptq, qat, measure):
    rows = [_row("QAT", b, b, measure(qat(weight_bits=b, activation_bits=b))) for b in (2, 3)]
    rows += [_row("PTQ", b, None, measure(ptq(weight_bits=b, activation_bits=None))) for b in (2, 3, 4, 8)]
    return rows + [_row("PTQ", b, b, measure(ptq(b, b))) for b in (2, 3, 4, 8)]


@right(lab04.comparison)
def comparison_key_by_key(ptq, qat, measure):
    wanted = [("PTQ", ptq, b, a) for b in (8, 4, 3, 2) for a in (b, None)] + [("QAT", qat, 3, 3), ("QAT", qat, 2, 2)]
    rows = []
    for name, make, b, a in wanted:
        result = measure(make(b, a))
        row = dict(method=name, weight_bits=b, activation_bits=a)
        for key in ("accuracy", "stderr", "difference", "difference_stderr", "bytes"):
            row[key] = result[key]
        rows.append(row)
    return rows


@wrong(lab04.comparison, "Missing (method, weight_bits, activation_bits): ('PTQ', 8, None)")
def comparison_without_weights_alone(ptq, qat, measure):
    return [row for row in comparison_nested(ptq, qat, measure) if row["activation_bits"]]


@wrong(lab04.comparison, "('QAT', 3, 3)")
def comparison_without_qat(ptq, qat, measure):
    return comparison_nested(ptq, qat, measure)[:8]


@wrong(lab04.comparison, "holds other numbers")
def comparison_measures_once(ptq, qat, measure):
    numbers = measure(ptq(8, 8))
    return [{**row, **numbers} for row in comparison_nested(ptq, qat, measure)]


@wrong(lab04.comparison, "holds other numbers")
def comparison_ptq_called_qat(ptq, qat, measure):
    return comparison_nested(ptq, ptq, measure)


@wrong(lab04.comparison, "holds other numbers")
def comparison_activations_at_8_bits(ptq, qat, measure):
    return comparison_nested(lambda w, a: ptq(w, a and 8), qat, measure)


@wrong(lab04.comparison, "there twice")
def comparison_twice(ptq, qat, measure):
    return comparison_nested(ptq, qat, measure) * 2


@wrong(lab04.comparison, "the keys")
def comparison_without_method(ptq, qat, measure):
    return [{k: v for k, v in row.items() if k != "method"} for row in comparison_nested(ptq, qat, measure)]


@wrong(lab04.comparison, "list of dicts")
def comparison_tuples(ptq, qat, measure):
    return [tuple(row.values()) for row in comparison_nested(ptq, qat, measure)]


_LEFT_OVER = []


@wrong(lab04.comparison, "Broken: ")
def comparison_grows_a_list_of_earlier_runs(ptq, qat, measure):
    _LEFT_OVER.extend(comparison_nested(ptq, qat, measure))
    return _LEFT_OVER


@wrong(lab04.comparison, "one row has the keys".capitalize())
def comparison_same_dict_again(ptq, qat, measure):
    row, rows = {}, []
    for bits in (8, 4):
        row["weight_bits"] = bits
        rows.append(row)
    return rows


# ---------------------------------------------------------------------------------------------------- 8 accumulate


@right(lab04.accumulate)
def accumulate_cast(x_codes, w_codes, x_zero_point, bias_codes):
    x = x_codes.astype(np.int32) - x_zero_point
    return x @ w_codes.astype(np.int32).T + bias_codes


@right(lab04.accumulate)
def accumulate_correction_apart(x_codes, w_codes, x_zero_point, bias_codes):
    w = w_codes.astype(np.int64)
    return x_codes.astype(np.int64) @ w.T - x_zero_point * w.sum(axis=1) + bias_codes


@right(lab04.accumulate)
def accumulate_loop(x_codes, w_codes, x_zero_point, bias_codes):
    out = np.zeros((len(x_codes), len(w_codes)), np.int32)
    for n in range(len(x_codes)):
        for m in range(len(w_codes)):
            total = int(bias_codes[m])
            for x, w in zip(x_codes[n], w_codes[m]):
                total += int(w) * (int(x) - x_zero_point)
            out[n, m] = total
    return out


@right(lab04.accumulate)
def accumulate_einsum(x_codes, w_codes, x_zero_point, bias_codes):
    x = x_codes.astype(np.int32) - np.int32(x_zero_point)
    return np.einsum("bn,mn->bm", x, w_codes, dtype=np.int32) + bias_codes


@right(lab04.accumulate)
def accumulate_torch(x_codes, w_codes, x_zero_point, bias_codes):
    torch = pytest.importorskip("torch")
    x = torch.as_tensor(x_codes).int() - x_zero_point
    return x @ torch.as_tensor(w_codes).int().T + torch.as_tensor(bias_codes)


@wrong(lab04.accumulate, "the zero point is forgotten")
def accumulate_no_correction(x_codes, w_codes, x_zero_point, bias_codes):
    return x_codes.astype(int) @ w_codes.astype(int).T + bias_codes


@wrong(lab04.accumulate, "wrong sign")
def accumulate_wrong_sign(x_codes, w_codes, x_zero_point, bias_codes):
    return (x_codes.astype(int) + x_zero_point) @ w_codes.astype(int).T + bias_codes


@wrong(lab04.accumulate, "once from each sum")
def accumulate_correction_once(x_codes, w_codes, x_zero_point, bias_codes):
    return x_codes.astype(int) @ w_codes.astype(int).T - x_zero_point + bias_codes


@wrong(lab04.accumulate, "with nothing lost")
def accumulate_in_narrow_integers(x_codes, w_codes, x_zero_point, bias_codes):
    return (x_codes @ w_codes.T) - x_zero_point * w_codes.sum(axis=1) + bias_codes


@wrong(lab04.accumulate, "in 16 bits and overflow")
def accumulate_int16(x_codes, w_codes, x_zero_point, bias_codes):
    return (x_codes.astype(np.int16) - np.int16(x_zero_point)) @ w_codes.astype(np.int16).T + bias_codes


@wrong(lab04.accumulate, "in 8 bits and overflow")
def accumulate_int8(x_codes, w_codes, x_zero_point, bias_codes):
    return ((x_codes.astype(int) - x_zero_point) @ w_codes.astype(int).T).astype(np.int8) + bias_codes


@wrong(lab04.accumulate, "wraps around")
def accumulate_uint8_difference(x_codes, w_codes, x_zero_point, bias_codes):
    return (x_codes - np.uint8(x_zero_point)).astype(int) @ w_codes.astype(int).T + bias_codes


@wrong(lab04.accumulate, "the bias is forgotten")
def accumulate_no_bias(x_codes, w_codes, x_zero_point, bias_codes):
    return (x_codes.astype(int) - x_zero_point) @ w_codes.astype(int).T


@wrong(lab04.accumulate, "integer dtype")
def accumulate_floats(x_codes, w_codes, x_zero_point, bias_codes):
    return (x_codes.astype(float) - x_zero_point) @ w_codes.astype(float).T + bias_codes


@wrong(lab04.accumulate, "Broken: ")
def accumulate_float32_then_cast(x_codes, w_codes, x_zero_point, bias_codes):
    sums = (x_codes.astype(np.float32) - x_zero_point) @ w_codes.astype(np.float32).T
    return (sums + bias_codes.astype(np.float32)).astype(np.int32)


@wrong(lab04.accumulate, "Broken: ")
def accumulate_not_transposed(x_codes, w_codes, x_zero_point, bias_codes):
    return (x_codes.astype(int) - x_zero_point) @ w_codes.astype(int) + bias_codes


@wrong(lab04.accumulate, "it changed `bias_codes`")
def accumulate_into_the_bias(x_codes, w_codes, x_zero_point, bias_codes):
    bias_codes += ((x_codes.astype(np.int32) - x_zero_point) @ w_codes.astype(np.int32).T)[0]
    return bias_codes[None]


# ---------------------------------------------------------------------------------------------------- 9 requantize


@right(lab04.requantize)
def requantize_shift(acc, multiplier, shift, zero_point, qmin, qmax):
    scaled = (acc.astype(np.int64) * multiplier + (1 << (shift - 1))) >> shift
    return np.clip(scaled + zero_point, qmin, qmax)


@right(lab04.requantize)
def requantize_floor_division(acc, multiplier, shift, zero_point, qmin, qmax):
    scaled = (acc.astype(np.int64) * multiplier.astype(np.int64) + 2 ** (shift - 1)) // 2**shift
    return np.minimum(np.maximum(scaled + zero_point, qmin), qmax).astype(np.int32)


@right(lab04.requantize)
def requantize_loop(acc, multiplier, shift, zero_point, qmin, qmax):
    out = np.empty(acc.shape, np.int16)
    for (i, j), a in np.ndenumerate(acc):
        out[i, j] = max(qmin, min(qmax, ((int(a) * int(multiplier[j]) + (1 << (shift - 1))) >> shift) + zero_point))
    return out


@right(lab04.requantize)
def requantize_zero_point_inside(acc, multiplier, shift, zero_point, qmin, qmax):
    offset = (zero_point << shift) + (1 << (shift - 1))
    return np.clip((acc * multiplier.astype(np.int64) + offset) >> shift, qmin, qmax).astype(np.int32)


@right(lab04.requantize)
def requantize_torch(acc, multiplier, shift, zero_point, qmin, qmax):
    torch = pytest.importorskip("torch")
    scaled = torch.as_tensor(acc).long() * torch.as_tensor(multiplier) + (1 << (shift - 1))
    return ((scaled >> shift) + zero_point).clamp(qmin, qmax).int()


@wrong(lab04.requantize, "the half is missing")
def requantize_no_half(acc, multiplier, shift, zero_point, qmin, qmax):
    return np.clip(((acc.astype(np.int64) * multiplier) >> shift) + zero_point, qmin, qmax)


@wrong(lab04.requantize, "Broken: ", "overflows 32 bits")
def requantize_32_bits(acc, multiplier, shift, zero_point, qmin, qmax):
    scaled = (acc * multiplier.astype(np.int32) + (1 << min(shift - 1, 30))) >> min(shift, 31)
    return np.clip(scaled + zero_point, qmin, qmax)


@wrong(lab04.requantize, "lies between qmin and qmax", "nothing is clipped")
def requantize_no_clip(acc, multiplier, shift, zero_point, qmin, qmax):
    return ((acc.astype(np.int64) * multiplier + (1 << (shift - 1))) >> shift) + zero_point


@wrong(lab04.requantize, "Z is left out")
def requantize_no_zero_point(acc, multiplier, shift, zero_point, qmin, qmax):
    return np.clip((acc.astype(np.int64) * multiplier + (1 << (shift - 1))) >> shift, qmin, qmax)


@wrong(lab04.requantize, "Z is subtracted")
def requantize_minus_zero_point(acc, multiplier, shift, zero_point, qmin, qmax):
    scaled = (acc.astype(np.int64) * multiplier + (1 << (shift - 1))) >> shift
    return np.clip(scaled - zero_point, qmin, qmax)


@wrong(lab04.requantize, "the clip comes before Z")
def requantize_clip_first(acc, multiplier, shift, zero_point, qmin, qmax):
    scaled = (acc.astype(np.int64) * multiplier + (1 << (shift - 1))) >> shift
    return np.clip(scaled, qmin, qmax) + zero_point


@wrong(lab04.requantize, "shifts it away")
def requantize_zero_point_shifted_away(acc, multiplier, shift, zero_point, qmin, qmax):
    return np.clip((acc.astype(np.int64) * multiplier + (1 << (shift - 1)) + zero_point) >> shift, qmin, qmax)


@wrong(lab04.requantize, "cut off toward zero")
def requantize_truncated(acc, multiplier, shift, zero_point, qmin, qmax):
    return np.clip((acc * multiplier / 2.0**shift).astype(np.int64) + zero_point, qmin, qmax)


@wrong(lab04.requantize, "real numbers are used")
def requantize_with_floats(acc, multiplier, shift, zero_point, qmin, qmax):
    return np.clip(np.rint(acc * (multiplier / 2.0**shift)) + zero_point, qmin, qmax).astype(np.int32)


@wrong(lab04.requantize, "integer dtype")
def requantize_to_floats(acc, multiplier, shift, zero_point, qmin, qmax):
    return requantize_shift(acc, multiplier, shift, zero_point, qmin, qmax).astype(np.float32)


@wrong(lab04.requantize, "Broken: ")
def requantize_one_multiplier_for_all(acc, multiplier, shift, zero_point, qmin, qmax):
    return requantize_shift(acc, multiplier[:1], shift, zero_point, qmin, qmax)


# -------------------------------------------------------------------------------------------------------- the trial


class TestTrial(Trial):
    answers = ANSWERS


@pytest.mark.parametrize(("function", "task", "shown"), [
    (quantize_half_up, lab04.quantize, "x = [0.5]"),
    (quantize_no_clip, lab04.quantize, "x = [-4.]"),
    (scales_of_the_maximum, lab04.weight_scales, "w = [["),
    (params_off_by_one, lab04.activation_params, "x = ["),
])
def test_counterexamples_are_small(function, task, shown):
    """A message shows an input that can be worked by hand."""
    line = shown_input(task, function, shown)
    assert line.count(",") <= 1, line


@pytest.mark.parametrize("task", lab04.TASKS, ids=lambda task: task.title)
def test_a_wrong_answer_costs_its_own_points_alone(task):
    """Later answers call it, and are right for all that; no graded cell needs another cell's results either."""
    def stops(*arguments):
        raise ValueError("wrong from the first line")

    for function in (stops, BANK[task][2][0].function):
        assert points_lost(lab04, task.name, function) == [task.name]


def test_the_references_are_the_library_s():
    """The checks have definitions of their own; they agree with the library on what the course teaches."""
    import course_lib as cl

    rng = np.random.default_rng(1)
    for bits in (2, 3, 4, 8):
        w = rng.normal(size=(6, 9)).astype(np.float32)
        made = cl.numerics.calibrate(w, bits=bits, scheme="symmetric", granularity="per_channel", axis=0)
        np.testing.assert_allclose(lab04.weight_scales.expected(w, bits), made.scale, rtol=1e-6)
        codes = cl.numerics.quantize(w, made)
        np.testing.assert_array_equal(
            lab04.quantize.expected(w, made.scale[:, None].astype(np.float64), 0, made.qmin, made.qmax), codes)
        np.testing.assert_allclose(
            lab04.dequantize.expected(codes, made.scale[:, None], 0), cl.numerics.dequantize(codes, made), rtol=1e-6)
        flat = codes.ravel()
        np.testing.assert_array_equal(lab04.pack_codes.expected(flat, bits), cl.coding.pack(flat, bits))
        for x in (w, w + 3, w - 3, np.maximum(w, 0)):
            made = cl.numerics.calibrate(x, bits=bits, scheme="affine")
            scale, zero_point = lab04.activation_params.expected(x, bits)
            assert scale == pytest.approx(float(made.scale), rel=1e-6) and zero_point == made.zero_point
