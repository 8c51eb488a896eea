"""The grader graded: every check of lab01 refuses the stub and the wrong answers that students write, and accepts
right answers written in different ways. `said` is what the message must tell the student."""

import math
from fractions import Fraction

import numpy as np
import pytest

from course_lib.check import CheckFailed, lab01
from tests.unit.grading import Answers, Trial, shown_input

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
    return np.array([everything.max(), everything[2**m], everything[1], (everything[2**m + 1] / everything[2**m] - 1) / 2])


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
    size = abs(Fraction(x)) if math.isfinite(x) else None
    if size is None or size >= numbers[-1]:
        best = infinity
    else:
        near = int(np.searchsorted([float(v) for v in numbers], float(size)))
        best = min(range(max(near - 1, 0), min(near + 2, infinity + 1)), key=lambda c: (abs(numbers[c] - size), c % 2))
    return np.uint32(best + (2 ** (e + m) if x < 0 else 0))


def _table(e, m, made={}):
    """The numbers of the non-negative patterns, and the power of two that would come next in place of infinity."""
    if (e, m) not in made:
        made[e, m] = [Fraction(decode_text(c, e, m)) for c in range((2**e - 1) << m)] + [Fraction(2) ** 2 ** (e - 1)]
    return made[e, m]


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
    return lab01._encode_as(x, e, m, math.floor)


@wrong(lab01.encode, "ties are rounded up")
def encode_half_up(x, e, m):
    return lab01._encode_as(x, e, m, lambda v: int(v + 0.5))


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
