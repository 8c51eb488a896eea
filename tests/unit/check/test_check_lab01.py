"""The grader graded: every check of lab01 refuses the stub and the wrong answers that students write, and accepts
right answers written in different ways. `said` is what the message must tell the student."""

import math
from decimal import Decimal
from fractions import Fraction
from functools import cache

import numpy as np
import pytest

from course_lib.check import CheckFailed, lab01
from course_lib.check.lab01.formats import _decode_as, _encode_as
from tests.unit.check.grading import Answers, Trial, graded_cell, shown_input

ANSWERS = Answers(lab01)
right, wrong = ANSWERS.right, ANSWERS.wrong


# --------------------------------------------------------------------------------------------------------- 1 decode


@right(lab01.decode)
def decode_shifts(code, e, m):
    sign = -1 if code >> (e + m) else 1
    E, F = (code >> m) & (2**e - 1), code & (2**m - 1)
    bias = 2 ** (e - 1) - 1
    if E == 2**e - 1:
        return sign * math.inf if F == 0 else math.nan
    if E == 0:
        return sign * 2.0 ** (1 - bias) * F / 2**m
    return sign * 2.0 ** (E - bias) * (1 + F / 2**m)


@right(lab01.decode)
def decode_text(code, e, m):
    bits = format(code, f"0{1 + e + m}b")
    E, F, bias = int(bits[1 : 1 + e], 2), int(bits[1 + e :], 2), 2 ** (e - 1) - 1
    if "0" not in bits[1 : 1 + e]:
        value = float("nan") if F else float("inf")
    else:
        value = float(Fraction(F + (2**m if E else 0)) * Fraction(2) ** (max(E, 1) - bias - m))
    return -value if bits[0] == "1" else value


@right(lab01.decode)
def decode_ldexp(code, e, m):
    rest, s = code % 2 ** (e + m), code // 2 ** (e + m)
    E, F = divmod(rest, 2**m)
    bias = (1 << e - 1) - 1
    if E > 2 * bias:
        return np.array(np.nan if F else (-1) ** s * np.inf)
    return np.float32((-1) ** s * math.ldexp(F + 2**m * (E > 0), max(E, 1) - bias - m))


@right(lab01.decode)
def decode_torch(code, e, m):
    torch = pytest.importorskip("torch")
    return torch.tensor(decode_shifts(code, e, m), dtype=torch.float64)


@wrong(lab01.decode, "the bias is 2^(e-1)")
def decode_wrong_bias(code, e, m):
    s, E, F = code >> (e + m), (code >> m) & (2**e - 1), code & (2**m - 1)
    if E == 2**e - 1:
        return math.nan if F else (-1) ** s * math.inf
    return (-1) ** s * 2.0 ** (max(E, 1) - 2 ** (e - 1)) * ((E > 0) + F / 2**m)


@wrong(lab01.decode, "exponent field 0 is treated like any other")
def decode_no_subnormals(code, e, m):
    s, E, F = code >> (e + m), (code >> m) & (2**e - 1), code & (2**m - 1)
    if E == 2**e - 1:
        return math.nan if F else (-1) ** s * math.inf
    return (-1) ** s * 2.0 ** (E - 2 ** (e - 1) + 1) * (1 + F / 2**m)


@wrong(lab01.decode, "it is 1 - bias")
def decode_subnormals_half(code, e, m):
    value = decode_shifts(code, e, m)
    return value if (code >> m) & (2**e - 1) else value / 2


@wrong(lab01.decode, "the sign is lost")
def decode_unsigned(code, e, m):
    return abs(decode_shifts(code, e, m))


@wrong(lab01.decode, "all exponent bits set is treated like any other")
def decode_no_specials(code, e, m):
    s, E, F = code >> (e + m), (code >> m) & (2**e - 1), code & (2**m - 1)
    return (-1) ** s * 2.0 ** (max(E, 1) - 2 ** (e - 1) + 1) * ((E > 0) + F / 2**m)


@wrong(lab01.decode, "the hidden bit is missing")
def decode_no_hidden_bit(code, e, m):
    value = decode_shifts(code, e, m)
    E, F = (code >> m) & (2**e - 1), code & (2**m - 1)
    return value * (F / 2**m) / (1 + F / 2**m) if 0 < E < 2**e - 1 else value


@wrong(lab01.decode, "infinite (F = 0, the sign counts) or NaN")
def decode_nan_is_infinite(code, e, m):
    value = decode_shifts(code, e, m)
    return math.inf if math.isnan(value) else value


@wrong(lab01.decode, "Broken:")
def decode_as_float16(code, e, m):
    return np.array([code], np.uint16).view(np.float16)[0]


@wrong(lab01.decode, "must not stop with")
def decode_stops(code, e, m):
    return decode_shifts(code, e, m) + (code / (code >> m) if False else 1 / (code >> m) * 0)


# --------------------------------------------------------------------------------------------------------- 2 limits


@right(lab01.limits)
def limits_formula(e, m):
    bias = 2 ** (e - 1) - 1
    return (2 - 2.0**-m) * 2.0**bias, 2.0 ** (1 - bias), 2.0 ** (1 - bias - m), 2.0 ** -(m + 1)


@right(lab01.limits)
def limits_by_decoding(e, m):
    top = ((2**e - 1) << m) - 1
    return [decode_shifts(top, e, m), decode_text(1 << m, e, m), decode_text(1, e, m), 0.5 / 2**m]


@right(lab01.limits)
def limits_array(e, m):
    everything = np.array([decode_shifts(code, e, m) for code in range((2**e - 1) << m)])
    u = (everything[2**m + 1] / everything[2**m] - 1) / 2
    return np.array([everything.max(), everything[2**m], everything[1], u])


@wrong(lab01.limits, "the highest exponent field, which belongs to infinity")
def limits_no_infinity(e, m):
    largest, *rest = limits_formula(e, m)
    return 2 * largest, *rest


@wrong(lab01.limits, "count the hidden bit as well")
def limits_u_of_m(e, m):
    return *limits_formula(e, m)[:3], 2.0**-m


@wrong(lab01.limits, "the bias is 2^(e-1)")
def limits_wrong_bias(e, m):
    bias = 2 ** (e - 1)
    return (2 - 2.0**-m) * 2.0 ** (2**e - 2 - bias), 2.0 ** (1 - bias), 2.0 ** (1 - bias - m), 2.0 ** -(m + 1)


@wrong(lab01.limits, "empty fraction")
def limits_empty_fraction(e, m):
    return 2.0 ** (2 ** (e - 1) - 1), *limits_formula(e, m)[1:]


@wrong(lab01.limits, "one past the last number")
def limits_power_of_two(e, m):
    return 2.0 ** 2 ** (e - 1), *limits_formula(e, m)[1:]


@wrong(lab01.limits, "smallest subnormal number has only its last fraction bit set")
def limits_subnormal_off(e, m):
    a, b, c, d = limits_formula(e, m)
    return a, b, b / 2 if m > 2 else c, d


@wrong(lab01.limits, "must be four numbers")
def limits_three(e, m):
    return limits_formula(e, m)[:3]


# --------------------------------------------------------------------------------------------------------- 3 encode


@right(lab01.encode)
def encode_spacing(x, e, m):
    bias, sign = 2 ** (e - 1) - 1, (2 ** (e + m) if math.copysign(1, x) < 0 else 0)
    if math.isnan(x):
        return ((2**e - 1) << m) + 1
    if math.isinf(x):
        return sign + ((2**e - 1) << m)
    exponent = max(math.frexp(x)[1] - 1, 1 - bias) if x else 1 - bias
    steps = round(abs(x) / 2.0 ** (exponent - m))
    return sign + min(((exponent + bias - 1) << m) + steps, (2**e - 1) << m)


@right(lab01.encode)
def encode_search(x, e, m):
    if math.isnan(x):
        return 2 ** (1 + e + m) - 1
    infinity = (2**e - 1) << m
    numbers = _table(e, m)
    if abs(x) >= numbers[-1]:
        best = infinity
    else:
        near = int(np.searchsorted(numbers, abs(x)))
        gap = {c: abs(Fraction(numbers[c]) - abs(Fraction(x))) for c in (near - 1, near) if c >= 0}
        best = min(gap, key=lambda c: (gap[c], c % 2))
    return np.uint32(best + (2 ** (e + m) if x < 0 else 0))


@cache
def _table(e, m):
    """The numbers of the non-negative patterns, and the power of two that would come next in place of infinity."""
    codes = np.arange(((2**e - 1) << m) + 1)
    exponents = np.maximum(codes >> m, 1)
    return np.ldexp(codes - ((exponents - 1) << m), exponents - (2 ** (e - 1) - 1) - m)


@right(lab01.encode)
def encode_branches(x, e, m):
    bias = 2 ** (e - 1) - 1
    sign = int(x < 0) << (e + m)
    x = abs(x)
    if x != x:
        return ((2**e - 1) << m) | (1 << (m - 1))
    largest = (2 - 2.0**-m) * 2.0**bias
    if x >= largest + 2.0 ** (bias - m - 1):
        return sign | ((2**e - 1) << m)
    if x < 2.0 ** (1 - bias):
        return sign | int(np.rint(x / 2.0 ** (1 - bias - m)))
    exponent = int(math.floor(math.log2(x)))
    exponent += (2.0 ** (exponent + 1) <= x) - (2.0**exponent > x)
    F = int(np.rint((x / 2.0**exponent - 1) * 2**m))
    if F == 2**m:
        F, exponent = 0, exponent + 1
    return np.int64(sign | ((exponent + bias) << m) | F)


@wrong(lab01.encode, "cut off, not rounded")
def encode_truncates(x, e, m):
    return _encode_as(x, e, m, math.floor)


@wrong(lab01.encode, "ties are rounded up")
def encode_half_up(x, e, m):
    return _encode_as(x, e, m, lambda v: int(v + 0.5))


@wrong(lab01.encode, "flushed to zero")
def encode_flushes(x, e, m):
    code = encode_spacing(x, e, m)
    return code if (code >> m) & (2**e - 1) else code >> (e + m) << (e + m)


@wrong(lab01.encode, "here it becomes infinity")
def encode_saturates(x, e, m):
    code, infinity = encode_spacing(x, e, m), (2**e - 1) << m
    return code - 1 if math.isfinite(x) and code % 2 ** (e + m) == infinity else code


@wrong(lab01.encode, "the exponent does not go up")
def encode_loses_the_carry(x, e, m):
    if not math.isfinite(x) or abs(x) < 2.0 ** (2 - 2 ** (e - 1)):
        return encode_spacing(x, e, m)
    bias = 2 ** (e - 1) - 1
    exponent = math.frexp(x)[1] - 1
    F = round((abs(x) / 2.0**exponent - 1) * 2**m) % 2**m
    return (2 ** (e + m) if x < 0 else 0) + min((exponent + bias << m) + F, (2**e - 1) << m)


@wrong(lab01.encode, "the sign is lost")
def encode_unsigned(x, e, m):
    return encode_spacing(abs(x), e, m)


@wrong(lab01.encode, "NaN gets a NaN pattern")
def encode_nan_as_infinity(x, e, m):
    return encode_spacing(math.inf if math.isnan(x) else x, e, m)


@wrong(lab01.encode, "one whole number")
def encode_number(x, e, m):
    return -1


@wrong(lab01.encode, "must be an array of numbers, not")
def encode_text(x, e, m):
    return format(encode_spacing(x, e, m), f"0{1 + e + m}b")


@wrong(lab01.encode, "must not stop with ValueError")
def encode_stops_at_zero(x, e, m):
    math.log2(abs(x)) if math.isfinite(x) else 0
    return encode_spacing(x, e, m)


@wrong(lab01.encode, "and that alone, gets infinity")
def encode_infinity_too_soon(x, e, m):
    largest = (2 - 2.0**-m) * 2.0 ** (2 ** (e - 1) - 1)
    return encode_spacing(math.copysign(math.inf, x) if abs(x) > largest else x, e, m)


# --------------------------------------------------------------------------------------------------- 4 rounded_sum


@right(lab01.rounded_sum)
def sum_loop(x, fl):
    total = 0.0
    for value in x:
        total = fl(total + fl(value))
    return total


@right(lab01.rounded_sum)
def sum_from_the_first(x, fl):
    total = fl(x[0])
    for i in range(1, len(x)):
        total = fl(total + fl(x[i]))
    return np.float64(total)


@right(lab01.rounded_sum)
def sum_reduce(x, fl):
    from functools import reduce

    return reduce(lambda a, b: fl(a + b), map(fl, x.tolist()))


@wrong(lab01.rounded_sum, "only the final sum is rounded")
def sum_round_once(x, fl):
    return fl(float(np.sum(x)))


@wrong(lab01.rounded_sum, "only the final sum and the entries are rounded")
def sum_round_entries_and_end(x, fl):
    return fl(sum(fl(v) for v in x))


@wrong(lab01.rounded_sum, "the entries are not rounded")
def sum_raw_entries(x, fl):
    total = 0.0
    for value in x:
        total = fl(total + value)
    return total


@wrong(lab01.rounded_sum, "the sums are not rounded")
def sum_exact(x, fl):
    return sum(fl(v) for v in x)


@wrong(lab01.rounded_sum, "from right to left")
def sum_backwards(x, fl):
    return sum_loop(x[::-1], fl)


@wrong(lab01.rounded_sum, "itself a number of the format")
def sum_plain(x, fl):
    return float(np.sum(x))


@wrong(lab01.rounded_sum, "changed `x`")
def sum_in_place(x, fl):
    for i in range(1, len(x)):
        x[i] = fl(fl(x[i - 1]) + fl(x[i]))
    return x[-1]


# -------------------------------------------------------------------------------------------------- 5 pairwise_sum


@right(lab01.pairwise_sum)
def pairs_loop(x, fl):
    sums = [fl(v) for v in x]
    while len(sums) > 1:
        sums = [fl(sums[i] + sums[i + 1]) for i in range(0, len(sums), 2)]
    return sums[0]


@right(lab01.pairwise_sum)
def pairs_halves(x, fl):
    if len(x) == 1:
        return fl(x[0])
    half = len(x) // 2
    return fl(pairs_halves(x[:half], fl) + pairs_halves(x[half:], fl))


@right(lab01.pairwise_sum)
def pairs_reshape(x, fl):
    x = np.array([fl(v) for v in x])
    while x.size > 1:
        x = np.array([fl(a + b) for a, b in x.reshape(-1, 2)])
    return x


@wrong(lab01.pairwise_sum, "from left to right")
def pairs_not(x, fl):
    return sum_loop(x, fl)


@wrong(lab01.pairwise_sum, "only the final sum is rounded")
def pairs_round_once(x, fl):
    return fl(float(np.sum(x)))


@wrong(lab01.pairwise_sum, "entries are not rounded")
def pairs_raw_entries(x, fl):
    x = x.tolist()
    while len(x) > 1:
        x = [fl(a + b) for a, b in zip(x[::2], x[1::2])]
    return x[0]


@wrong(lab01.pairwise_sum, "the sums are not rounded")
def pairs_exact(x, fl):
    return sum(fl(v) for v in x)


@wrong(lab01.pairwise_sum, "not neighbours")
def pairs_far_apart(x, fl):
    x = [fl(v) for v in x]
    while len(x) > 1:
        half = len(x) // 2
        x = [fl(a + b) for a, b in zip(x[:half], x[half:])]
    return x[0]


@wrong(lab01.pairwise_sum, "must be one number")
def pairs_one_round_only(x, fl):
    return np.array([fl(fl(a) + fl(b)) for a, b in zip(x[::2], x[1::2])])


# ------------------------------------------------------------------------------------------ many more, a line each


def parts(code, e, m):
    return code >> (e + m), (code >> m) & (2**e - 1), code & (2**m - 1)


def where(of, then):
    """decode_shifts, but for the patterns of which `of(s, E, F, e, m)` says so."""
    return lambda c, e, m: then(c, e, m) if of(*parts(c, e, m), e, m) else decode_shifts(c, e, m)


ANSWERS.bank(lab01.decode, right={
    "decode_decimal": lambda code, e, m: Decimal(_decode_as(code, e, m)),
    "decode_list": lambda c, e, m: [decode_shifts(c, e, m)],
    "decode_exact": lambda c, e, m: v if not math.isfinite(v := decode_shifts(c, e, m)) else Fraction(v),
    "decode_float32": lambda c, e, m: np.float32(decode_shifts(c, e, m)),
    "decode_zero_unsigned": lambda c, e, m: decode_shifts(c, e, m) + 0.0,
    "decode_keywords": lambda code, exponent_bits, fraction_bits: decode_shifts(code, exponent_bits, fraction_bits),
    "decode_longdouble": lambda c, e, m: np.longdouble(decode_shifts(c, e, m)),
    "decode_from_the_sign_down": lambda c, e, m: (
        -decode_shifts(c - 2 ** (e + m), e, m) if c >= 2 ** (e + m) else decode_shifts(c, e, m)),
}, wrong={
    "decode_infinity_unsigned": (where(lambda s, E, F, e, m: E == 2**e - 1 and not F, lambda *a: math.inf),
                                 "sign counts"),
    "decode_nan_one_alone": (where(lambda s, E, F, e, m: E == 2**e - 1 and F > 1, lambda *a: math.inf), "any other F"),
    "decode_nan_last_alone": (where(lambda s, E, F, e, m: E == 2**e - 1 and 0 < F < 2**m - 1, lambda *a: math.inf),
                              "any other F"),
    "decode_quiet_nan_alone": (where(lambda s, E, F, e, m: E == 2**e - 1 and 0 < F < 2 ** (m - 1), lambda *a: math.inf),
                               "any other F"),
    "decode_all_nan": (where(lambda s, E, F, e, m: E == 2**e - 1, lambda *a: math.nan), "infinite (F = 0"),
    "decode_zero_is_tiny": (where(lambda s, E, F, e, m: E == F == 0, lambda c, e, m: 2.0 ** (1 - 2 ** (e - 1))),
                            "subnormal"),
    "decode_flush": (where(lambda s, E, F, e, m: E == 0, lambda *a: 0.0), "subnormal"),
    "decode_first_subnormal_lost": (where(lambda s, E, F, e, m: E == 0 and F == 1, lambda *a: 0.0), "subnormal"),
    "decode_last_subnormal_normal": (where(lambda s, E, F, e, m: E == 0 and F == 2**m - 1,
                                           lambda c, e, m: 2.0 ** (2 - 2 ** (e - 1))), "subnormal"),
    "decode_last_exponent_special": (where(lambda s, E, F, e, m: E == 2**e - 2 and F == 2**m - 1, lambda *a: math.inf),
                                     "between"),
    "decode_fn_rules": (where(lambda s, E, F, e, m: E == 2**e - 1 and F < 2**m - 1,
                              lambda c, e, m: _decode_as(c, e, m, special=False)), "all exponent bits set"),
    "decode_bias_of_fp16": (lambda c, e, m: _decode_as(c, e, m, bias=15), "Broken:"),
    "decode_bias_from_widths": (lambda c, e, m: _decode_as(c, e, m, bias=2 ** (e - 1) - 1 if e < 8 else 128),
                                "Broken:"),
    "decode_fraction_over_all_ones": (where(lambda s, E, F, e, m: 0 < E < 2**e - 1, lambda c, e, m: (
        (-1) ** parts(c, e, m)[0] * 2.0 ** (parts(c, e, m)[1] - 2 ** (e - 1) + 1)
        * (1 + parts(c, e, m)[2] / (2**m - 1)))),
        "2^(E - bias)"),
    "decode_ten_bits_at_most": (lambda c, e, m: decode_shifts(c & ~(parts(c, e, m)[2] & ~1023), e, m), "Broken:"),
    "decode_fields_exchanged": (lambda c, e, m: decode_shifts(c, m, e) if m > 1 else decode_shifts(c, e, m), "Broken:"),
    "decode_sign_added": (lambda c, e, m: decode_shifts(c, e, m) * (1 - parts(c, e, m)[0]), "Broken:"),
    "decode_six_digits": (lambda c, e, m: float(f"{decode_shifts(c, e, m):.6g}"), "Broken:"),
    "decode_rounded": (lambda c, e, m: round(v, 6) if math.isfinite(v := decode_shifts(c, e, m)) else v, "Broken:"),
    "decode_tiny_is_zero": (lambda c, e, m: 0.0 if abs(v := decode_shifts(c, e, m)) < 1e-6 else v, "Broken:"),
    "decode_half_precision": (lambda c, e, m: np.float16(decode_shifts(c, e, m)), "Broken:"),
    "decode_infinity_is_large": (lambda c, e, m: min(max(decode_shifts(c, e, m), -1e300), 1e300), "infinite"),
    "decode_text_answer": (lambda c, e, m: str(decode_shifts(c, e, m)), "array of numbers"),
    "decode_magnitude_of_negative_nan": (where(lambda s, E, F, e, m: s and E == 2**e - 1 and F, lambda *a: -math.inf),
                                         "any other F"),
})


def but(place, value):
    """limits_formula, but for one of the four."""
    def function(e, m):
        answers = list(limits_formula(e, m))
        answers[place] = value(e, m, *answers)
        return tuple(answers)

    return function


ANSWERS.bank(lab01.limits, right={
    "limits_list": lambda e, m: list(limits_formula(e, m)),
    "limits_whole": lambda e, m: ((2 ** (m + 1) - 1) * 2 ** (2 ** (e - 1) - 1) / 2**m, *limits_formula(e, m)[1:]),
    "limits_big_int": lambda e, m: (v if (v := limits_formula(e, m))[0] % 1 else (int(v[0]), *v[1:])),
    "limits_float32": lambda e, m: np.array(limits_formula(e, m), np.float32),
    "limits_ldexp": lambda e, m: (math.ldexp(2 ** (m + 1) - 1, 2 ** (e - 1) - 1 - m), math.ldexp(1, 2 - 2 ** (e - 1)),
                                  math.ldexp(1, 2 - 2 ** (e - 1) - m), math.ldexp(1, -m - 1)),
    "limits_fractions": lambda e, m: tuple(Fraction(v) for v in limits_formula(e, m)),
}, wrong={
    "limits_last_but_one": (but(0, lambda e, m, a, b, c, d: a - 2.0 ** (2 ** (e - 1) - 1 - m)), "largest number"),
    "limits_half_spacing_more": (but(0, lambda e, m, a, b, c, d: a * (1 + 2.0 ** (-m - 2))), "largest number"),
    "limits_e4m3_of_hardware": (but(0, lambda e, m, a, *_: 448.0 if (e, m) == (4, 3) else a), "largest number"),
    "limits_largest_of_fp16": (but(0, lambda e, m, a, *_: min(a, 65504.0)), "largest number"),
    "limits_largest_as_half": (but(0, lambda e, m, a, *_: np.float16(a)), "largest number"),
    "limits_largest_misprinted": (but(0, lambda e, m, a, *_: 65535.0 if (e, m) == (5, 10) else a), "largest number"),
    "limits_normal_off": (but(1, lambda e, m, a, b, c, d: b / 2), "smallest normal"),
    "limits_normal_next": (but(1, lambda e, m, a, b, c, d: b + c), "smallest normal"),
    "limits_normal_is_bias": (but(1, lambda e, m, *_: 2.0 ** -(2 ** (e - 1) - 1)), "smallest normal"),
    "limits_tiny_is_zero": (but(2, lambda e, m, a, b, c, d: 0.0 if c < 1e-12 else c), "smallest subnormal"),
    "limits_subnormal_as_half": (but(2, lambda e, m, a, b, c, d: float(np.float16(c))), "smallest subnormal"),
    "limits_subnormal_double": (but(2, lambda e, m, a, b, c, d: 2 * c), "smallest subnormal"),
    "limits_subnormal_of_u": (but(2, lambda e, m, a, b, c, d: b * d), "smallest subnormal"),
    "limits_u_over_all_ones": (but(3, lambda e, m, *_: 0.5 / (2**m - 0.001)), "u = 2^-t"),
    "limits_u_three_digits": (but(3, lambda e, m, a, b, c, d: round(d, 3)), "u = 2^-t"),
    "limits_u_of_ten_bits": (but(3, lambda e, m, a, b, c, d: max(d, 2.0**-10)), "u = 2^-t"),
    "limits_order": (lambda e, m: limits_formula(e, m)[::-1], "Broken:"),
    "limits_texts": (lambda e, m: tuple(map(str, limits_formula(e, m))), "array of numbers"),
    "limits_dict": (lambda e, m: dict(zip("abcd", limits_formula(e, m))), "four numbers"),
})


def rounded_first(dtype):
    def function(x, e, m):
        with np.errstate(all="ignore"):
            return encode_spacing(float(dtype(x)), e, m)

    return function


def nan_safe(function):
    return lambda x, e, m: function(x, e, m) if math.isfinite(x) else encode_spacing(x, e, m)


def magnitude(function):
    """With the sign bit put in front of what `function` makes of |x|."""
    return nan_safe(lambda x, e, m: (2 ** (e + m) if x < 0 else 0) | function(abs(x), e, m))


ANSWERS.bank(lab01.encode, right={
    "encode_uint16": lambda x, e, m: np.uint16(encode_spacing(x, e, m)) if e + m < 16 else encode_spacing(x, e, m),
    "encode_array": lambda x, e, m: np.array(encode_spacing(x, e, m)),
    "encode_list": lambda x, e, m: [encode_spacing(x, e, m)],
    "encode_zero_unsigned": lambda x, e, m: c if (c := encode_spacing(x, e, m)) != 2 ** (e + m) else 0,
    "encode_negative_nan": lambda x, e, m: 2 ** (1 + e + m) - 1 if math.isnan(x) else encode_spacing(x, e, m),
    "encode_bisect": lambda x, e, m: encode_bisect(x, e, m),
    "encode_torch": lambda x, e, m: pytest.importorskip("torch").tensor(encode_spacing(x, e, m)),
}, wrong={
    "encode_float32_first": (rounded_first(np.float32), "Broken:"),
    "encode_float16_first": (rounded_first(np.float16), "Broken:"),
    "encode_tiny_is_zero": (lambda x, e, m: encode_spacing(0.0 if abs(x) < 1e-6 else x, e, m), "Broken:"),
    "encode_tiniest_is_zero": (lambda x, e, m: encode_spacing(0.0 if abs(x) < 1e-30 else x, e, m), "Broken:"),
    "encode_close_to_a_tie": (magnitude(lambda x, e, m: encode_spacing(float(f"{x:.7g}"), e, m)), "Broken:"),
    "encode_ties_odd": (magnitude(lambda x, e, m: encode_spacing(x, e, m) if encode_bisect(x * (1 - 1e-12), e, m)
                        == encode_bisect(x * (1 + 1e-12), e, m) else min(encode_bisect(x * (1 - 1e-12), e, m) | 1,
                        (2**e - 1) << m)), "Broken:"),
    "encode_ties_down": (magnitude(lambda x, e, m: encode_bisect(x * (1 - 1e-12), e, m)), "Broken:"),
    "encode_up": (magnitude(lambda x, e, m: _encode_as(x, e, m, math.ceil)), "Broken:"),
    "encode_toward_minus_infinity": (nan_safe(lambda x, e, m: _encode_as(x, e, m, math.ceil if x < 0 else math.floor)),
                                     "Broken:"),
    "encode_largest_lost": (
        magnitude(lambda x, e, m: c + 1 if (c := encode_spacing(x, e, m)) == ((2**e - 1) << m) - 1 else c), "Broken:"),
    "encode_lowest_lost": (
        nan_safe(lambda x, e, m: c + 1 if (c := encode_spacing(x, e, m)) == (2 ** (1 + e) - 1 << m) - 1 else c),
        "Broken:"),
    "encode_limit_too_far": (
        magnitude(lambda x, e, m: ((2**e - 1) << m) - 1 if encode_spacing(x, e, m) == (2**e - 1) << m
                             and x < 2.0 ** 2 ** (e - 1) else encode_spacing(x, e, m)), "infinity"),
    "encode_limit_excluded": (magnitude(lambda x, e, m: c - 1 if (c := encode_spacing(x, e, m)) == (2**e - 1) << m
                              and encode_bisect(x * (1 - 1e-12), e, m) < c else c), "infinity"),
    "encode_negative_infinity": (lambda x, e, m: encode_spacing(abs(x) if math.isinf(x) else x, e, m), "infinity"),
    "encode_infinity_saturates": (lambda x, e, m: encode_spacing(x, e, m) - math.isinf(x), "infinity"),
    "encode_nan_is_zero": (lambda x, e, m: 0 if math.isnan(x) else encode_spacing(x, e, m), "NaN"),
    "encode_overflow_is_nan": (
        magnitude(lambda x, e, m: encode_spacing(x, e, m) + (encode_spacing(x, e, m) == (2**e - 1) << m)), "infinity"),
    "encode_first_subnormal_lost": (magnitude(lambda x, e, m: 0 if (c := encode_spacing(x, e, m)) == 1 else c),
                                    "Broken:"),
    "encode_half_of_the_smallest_up": (
        magnitude(lambda x, e, m: 1 if x and not encode_spacing(x, e, m) else encode_spacing(x, e, m)), "Broken:"),
    "encode_stops_at_huge": (
        magnitude(lambda x, e, m: encode_spacing(x, e, m) + 0 * int(x * 1e9)), "must not stop with"),
    "encode_two_s_complement": (
        lambda x, e, m: 2 ** (1 + e + m) - encode_spacing(-x, e, m) if x < 0 else encode_spacing(x, e, m), "Broken:"),
    "encode_fp16_always": (lambda x, e, m: int(np.float16(x).view(np.uint16)) & (2 ** (1 + e + m) - 1), "Broken:"),
    "encode_bits_as_text": (lambda x, e, m: bin(encode_spacing(x, e, m)), "array of numbers"),
    "encode_bias_too_large": (magnitude(lambda x, e, m: min(encode_spacing(x, e, m) + 2**m, (2**e - 1) << m)),
                              "Broken:"),
})


def encode_bisect(x, e, m):
    """By halves: the patterns of numbers from 0 up are in order."""
    if not math.isfinite(x):
        return encode_spacing(x, e, m)
    low, high, size = 0, (2**e - 1) << m, abs(Fraction(x))

    def value(code):
        return Fraction(decode_shifts(code, e, m)) if code < (2**e - 1) << m else Fraction(2) ** 2 ** (e - 1)

    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if value(middle) <= size else (low, middle)
    below, above = size - value(low), value(high) - size
    return (low if below < above or (below == above and low % 2 == 0) else high) + (2 ** (e + m) if x < 0 else 0)


def adds(start=lambda x, fl: 0.0, plus=lambda a, b, fl: fl(a + b), read=lambda x: x):
    """A sum from left to right, with something else at one place."""
    def function(x, fl):
        total = start(x, fl)
        for v in read(x):
            total = plus(total, fl(v), fl)
        return total

    return function


kept = []


def sum_kept(x, fl):
    kept.append(sum_loop(x, fl))
    return kept[0]


def sum_default(x, fl, seen=[]):  # noqa: B006, the mistake
    seen.extend(x)
    return sum_loop(np.array(seen[-len(x):]) if len(seen) < 500 else np.array(seen[-500:]), fl)


def either(wrong_if, then):
    return lambda x, fl: then(x, fl) if wrong_if(x, fl) else sum_loop(x, fl)


SUMS_RIGHT = {
    "float32_answer": lambda add: lambda x, fl: np.float32(add(x, fl)),
    "list_answer": lambda add: lambda x, fl: [add(x, fl)],
    "array_answer": lambda add: lambda x, fl: np.array([[add(x, fl)]]),
    "rounded_twice": lambda add: lambda x, fl: fl(add([fl(v) for v in x], fl)),
}
SUMS_WRONG = {
    "zero_where_it_sums_to_zero": lambda add: lambda x, fl: 0.0 if np.sum(x) == 0 else add(x, fl),
    "one_where_it_sums_to_zero": lambda add: lambda x, fl: 1.0 if np.sum(x) == 0 else add(x, fl),
    "one_where_it_contains_zero": lambda add: lambda x, fl: 1.0 if np.any(x == 0) else add(x, fl),
    "tiny_terms_skipped": lambda add: lambda x, fl: add([v if abs(v) > 1e-6 else 0.0 for v in x], fl),
    "tiny_sum_is_zero": lambda add: lambda x, fl: s if abs(s := add(x, fl)) > 1e-6 else 0.0,
    "float32_entries": lambda add: lambda x, fl: add(x.astype(np.float32).astype(float), fl),
    "float16_entries": lambda add: lambda x, fl: add(x.astype(np.float16).astype(float), fl),
    "magnitude": lambda add: lambda x, fl: abs(add(x, fl)),
    "no_less_than_zero": lambda add: lambda x, fl: max(0.0, add(x, fl)),
    "one_entry_as_it_is": lambda add: lambda x, fl: x[0] if len(x) == 1 else add(x, fl),
    "one_entry_stops": lambda add: lambda x, fl: add(x, fl) + 0 * [0, 0][len(x) == 1 and 2],
    "whole_entries_not_rounded": lambda add: lambda x, fl: add(x, lambda v: v if v == int(v) else fl(v)),
    "sorted_first": lambda add: lambda x, fl: add(np.sort(x), fl),
    "exact_sum": lambda add: lambda x, fl: fl(math.fsum(x)),
    "six_digits": lambda add: lambda x, fl: float(f"{add(x, fl):.3g}"),
    "three_bits_always": lambda add: lambda x, fl: add(x, lab01.RoundTo(3)),
    "all_partial_sums": lambda add: lambda x, fl: np.array([add(x[:1], fl), add(x, fl)]),
    "last_entry_lost":
        lambda add: lambda x, fl: add(x[:-1], fl) if len(x) > 2 and len(x) & 1 else 0.0 if len(x) > 8 else add(x, fl),
    "text": lambda add: lambda x, fl: str(add(x, fl)),
}
SAID = {"all_partial_sums": "one number", "text": "array of numbers", "one_entry_stops": "must not stop"}
LOOKS = {"exact_sum": "only the final sum"}
for task, add in ((lab01.rounded_sum, sum_loop), (lab01.pairwise_sum, pairs_loop)):
    ANSWERS.bank(task, right={f"{add.__name__}_{name}": make(add) for name, make in SUMS_RIGHT.items()},
                 wrong={f"{add.__name__}_{name}": (make(add), SAID.get(name, "Broken:"), LOOKS.get(name, ""))
                        for name, make in SUMS_WRONG.items()})

def sum_of_all_but_one(x, fl):
    return fl(x[0]) if len(x) == 1 else fl(sum_of_all_but_one(x[:-1], fl) + fl(x[-1]))


ANSWERS.bank(lab01.rounded_sum, right={
    "rounded_sum_recursive": sum_of_all_but_one,
    "sum_accumulate": lambda x, fl: list(__import__("itertools").accumulate(map(fl, x), lambda a, b: fl(a + b)))[-1],
    "sum_recursive": lambda x, fl: fl(x[0]) if len(x) == 1 else fl(sum_loop(x[:-1], fl) + fl(x[-1])),
}, wrong={
    "sum_float32_accumulator": (adds(plus=lambda a, b, fl: fl(np.float32(a) + np.float32(b))), "after each addition"),
    "sum_float16_accumulator": (adds(plus=lambda a, b, fl: fl(np.float16(a) + np.float16(b))), "after each addition"),
    "sum_first_twice": (adds(start=lambda x, fl: fl(x[0])), "after each addition"),
    "sum_first_not_rounded": (adds(start=lambda x, fl: x[0], read=lambda x: x[1:]), "Broken:"),
    "sum_last_not_rounded": (lambda x, fl: fl(x[0]) if len(x) == 1 else sum_loop(x[:-1], fl) + fl(x[-1]),
                             "itself a number"),
    "sum_pairs": (lambda x, fl: pairs_loop(np.concatenate([x, np.zeros(2 ** (len(x) - 1).bit_length() - len(x))]), fl),
                  "left to right"),
    "sum_compensated": (lambda x, fl: compensated(x, fl), "left to right"),
    "sum_every_other_rounded": (lambda x, fl: fl(sum_every_other(x, fl)), "after each addition"),
    "sum_kept_from_before": (sum_kept, "Broken:"),
    "sum_mean_times_n": (lambda x, fl: fl(np.mean([fl(v) for v in x]) * len(x)), "Broken:", "only the final sum"),
    "sum_positive_alone": (lambda x, fl: sum_loop(x[x > 0], fl), "Broken:"),
    "sum_mutable_default": (sum_default, "Broken:"),
})
ANSWERS.bank(lab01.pairwise_sum, right={
    "pairs_stack": lambda x, fl: pairs_stack(x, fl),
}, wrong={
    "pairs_float32": (lambda x, fl: pairs_by(x, lambda a, b: fl(np.float32(a) + np.float32(b)), fl), "neighbours"),
    "pairs_ends_first": (lambda x, fl: pairs_ends(x, fl), "neighbours"),
    "pairs_thirty_two_at_most": (lambda x, fl: pairs_loop(x, fl) if len(x) <= 32 else sum_loop(x, fl), "neighbours"),
    "pairs_blocks_of_four": (lambda x, fl: pairs_loop([sum_loop(x[i : i + 4], fl) for i in range(0, len(x), 4)], fl),
                             "neighbours"),
    "pairs_last_not_rounded": (
        lambda x, fl: fl(x[0]) if len(x) == 1 else pairs_loop(x[::2], fl) + pairs_loop(x[1::2], fl), "Broken:"),
    "pairs_one_level": (lambda x, fl: sum_loop([fl(fl(a) + fl(b)) for a, b in zip(x[::2], x[1::2])] or x, fl),
                        "neighbours"),
    "pairs_zero_for_one": (lambda x, fl: 0.0 if len(x) == 1 else pairs_loop(x, fl), "Broken:"),
})


def compensated(x, fl):
    total, lost = 0.0, 0.0
    for v in x:
        y = fl(fl(v) - lost)
        new = fl(total + y)
        lost, total = fl(fl(new - total) - y), new
    return total


def sum_every_other(x, fl):
    total = 0.0
    for i, v in enumerate(x):
        total += fl(v)
        total = fl(total) if i % 2 else total
    return total


def pairs_by(x, plus, fl):
    x = [fl(v) for v in x]
    while len(x) > 1:
        x = [plus(a, b) for a, b in zip(x[::2], x[1::2])]
    return x[0]


def pairs_ends(x, fl):
    x = [fl(v) for v in x]
    while len(x) > 1:
        x = [fl(a + b) for a, b in zip(x[: len(x) // 2], x[::-1])]
    return x[0]


def pairs_stack(x, fl):
    """As a binary counter carries: equal ranks meet."""
    stack = []
    for v in x:
        rank, total = 0, fl(v)
        while stack and stack[-1][0] == rank:
            total, rank = fl(stack.pop()[1] + total), rank + 1
        stack.append((rank, total))
    return stack[0][1]


# ------------------------------------------------------------------------------------------------------- the tests


class TestTrial(Trial):
    answers = ANSWERS


@pytest.mark.parametrize(("function", "task", "shown"), [
    (decode_wrong_bias, lab01.decode, "code = "),
    (encode_half_up, lab01.encode, "x = "),
    (sum_round_once, lab01.rounded_sum, "x = ["),
    (pairs_not, lab01.pairwise_sum, "x = ["),
])
def test_counterexamples_are_small(function, task, shown):
    """A message shows an input that can be worked by hand."""
    line = shown_input(task, function, shown)
    assert line.count(",") <= 8 and len(line) < 70, line


def test_a_rounder_says_what_it_does():
    with pytest.raises(CheckFailed, match=r"fl = rounds to \d+ significant bits"):
        lab01.rounded_sum(sum_backwards)


def test_references_and_rounders_are_those_of_numpy_s_half_precision():
    """The checks rest on the library's definitions; here they meet somebody else's."""
    rng = np.random.default_rng(3)
    codes = rng.integers(0, 2**16, 500)
    values = codes.astype(np.uint16).view(np.float16)
    ours = [lab01.decode.expected(int(code), 5, 10) for code in codes]
    np.testing.assert_array_equal(np.array(ours), values.astype(float))
    x = rng.normal(size=500) * 10.0 ** rng.integers(-8, 5, 500)
    ours = [lab01.encode.expected(float(v), 5, 10) for v in x]
    np.testing.assert_array_equal(np.array(ours), x.astype(np.float16).view(np.uint16))
    assert lab01.limits.expected(5, 10)[0] == np.finfo(np.float16).max
    ones = rng.random(64)
    by_numpy = np.float16(0)
    for value in ones.astype(np.float16):
        by_numpy = np.float16(by_numpy + value)
    assert lab01.rounded_sum.expected(ones, lab01.RoundTo(11)) == by_numpy


# As students build one answer on another, and a mistake in each of the earlier ones.
DECODE = """
def decode(code, exponent_bits, fraction_bits):
    s, code = divmod(code, 2 ** (exponent_bits + fraction_bits))
    E, F = divmod(code, 2**fraction_bits)
    bias = 2 ** (exponent_bits - 1) - 1
    if E == 2**exponent_bits - 1:
        return math.nan if F else (-1) ** s * math.inf
    return (-1) ** s * 2.0 ** (max(E, 1) - bias) * ((E > 0) + F / 2**fraction_bits)
"""
LIMITS = """
def limits(e, m):
    top = (2**e - 1) << m
    return decode(top - 1, e, m), decode(1 << m, e, m), decode(1, exponent_bits=e, fraction_bits=m), 2.0 ** -(m + 1)
"""
ENCODE = """
def spacing(x, e, m):
    largest, normal, smallest, u = limits(e, m)
    return max(2.0 ** (math.frexp(x)[1] - 1 - m), smallest)

def encode(x, e, m):
    largest, normal, smallest, u = limits(e, m)
    if math.isnan(x):
        return 2 ** (e + m) - 1
    top, sign = (2**e - 1) << m, 2 ** (e + m) if x < 0 else 0
    x = abs(x)
    if x >= largest * (1 + 2**-m / (2 - 2**-m) / 2):
        return sign + top
    step = spacing(x, e, m)
    code = round(x / step)
    while 2**m <= code and step > smallest:
        step, code = step / 2, code + 2**m
    return sign + code
"""
SUMS = """
def rounded_sum(x, fl):
    total = 0.0
    for v in x:
        total = fl(total + fl(v))
    return total

def pairwise_sum(x, fl):
    if len(x) <= 2:
        return rounded_sum(x, fl)
    return rounded_sum([pairwise_sum(x[: len(x) // 2], fl), pairwise_sum(x[len(x) // 2 :], fl)], fl)
"""
MISTAKES = {
    "decode": ("2.0 ** (max(E, 1) - bias)", "2.0 ** (E - bias)"),
    "limits": ("2.0 ** -(m + 1)", "0"),
    "rounded_sum": ("fl(total + fl(v))", "total + v"),
    "pairwise_sum": ("len(x) <= 2", "len(x) <= 4"),
    "encode": ("if math.isnan(x)", "if x == 0"),
}


@pytest.mark.parametrize("wrong_one", [None, *MISTAKES])
def test_a_mistake_costs_its_own_points_alone(wrong_one):
    """However the answers call one another."""
    space = {"math": math}
    right, mistake = MISTAKES.get(wrong_one, ("", ""))
    source = DECODE + LIMITS + ENCODE + SUMS
    assert wrong_one is None or source.count(right) == 1 or wrong_one == "decode"
    exec(source.replace(right, mistake), space)
    lost = []
    for task in lab01.TASKS:
        try:
            graded_cell(ANSWERS, task, space[task.name])
        except CheckFailed:
            lost.append(task.name)
    assert lost == ([wrong_one] if wrong_one else [])
