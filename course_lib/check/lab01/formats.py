"""Tasks 1 to 3 of lab 01: decode, limits, encode.

A format here is two widths, by IEEE's rules: bias 2^(e−1) − 1, subnormal numbers, the highest exponent field set aside
for infinity and NaN.
"""

import math

import numpy as np

from course_lib.check.base import CheckFailed, Property, Suspect, Task, as_number
from course_lib.numerics.conversion import decode_one, encode_one
from course_lib.numerics.formats import FloatFormat


def _format(exponent_bits, fraction_bits):
    return FloatFormat("the format", exponent_bits, fraction_bits)


def _parts(code, e, m):
    return code >> (e + m), code >> m & 2**e - 1, code & 2**m - 1


def _widths(rng):
    return int(rng.integers(2, 9)), int(rng.integers(1, 11))


def _widths_exist(e, m):
    return 2 <= e <= 8 and 1 <= m <= 23


def _equal(answer, expected):
    return bool(answer == expected or (np.isnan(answer) and np.isnan(expected)))


# --------------------------------------------------------------------------------------------------------- 1 decode


def _decode_inputs(rng):
    for code in (0b001100, 0b010001, 0b100001, 0b000011, 0, 0b011100, 0b111100, 0b011101):
        yield code, 3, 2
    yield 0b0_01011_1001100110, 5, 10
    for k in range(120):
        e, m = _widths(rng)
        code = int(rng.integers(0, 2 ** (1 + e + m)))
        top = (2**e - 1) << m
        yield (code & ~top if k % 4 == 1 else code | top if k % 4 == 3 else code), e, m
    for e in range(2, 9):
        m = int(rng.choice([1, 2, 7, 10, 23]))
        infinity = (2**e - 1) << m
        for code in (0, 1, 2**m - 1, 2**m, infinity - 1, infinity, infinity + 1, infinity + 2 ** (m - 1)):
            yield code, e, m
            yield code + 2 ** (e + m), e, m


def _decode_only(of):
    """A property of some patterns: `of(E, e)` says of which."""
    return lambda answer, expected, code, e, m: not of(_parts(code, e, m)[1], e) or _equal(answer, expected)


def _decode_as(code, e, m, *, bias=None, hidden=True, subnormal=True, special=True, sign=True):
    s, E, F = _parts(code, e, m)
    bias = 2 ** (e - 1) - 1 if bias is None else bias
    if special and E == 2**e - 1:
        x = math.nan if F else math.inf
    elif E or not subnormal:
        x = ((1 if hidden else 0) + F / 2**m) * 2.0 ** (E - bias)
    else:
        x = F / 2**m * 2.0 ** (1 - bias)
    return -x if s and sign else x


decode = Task(
    title="Task 1 · decode",
    shapes={"code": "", "exponent_bits": "", "fraction_bits": ""},
    expected=lambda code, e, m: np.asarray(decode_one(code, _format(e, m))),
    inputs=_decode_inputs,
    read=as_number,
    properties=(
        Property("with an exponent field between all zeros and all ones, the number is "
                 "(-1)^s 2^(E - bias) (1 + F / 2^m)", _decode_only(lambda E, e: 0 < E < 2**e - 1)),
        Property("with exponent field 0, the number is subnormal: (-1)^s 2^(1 - bias) F / 2^m",
                 _decode_only(lambda E, e: E == 0)),
        Property("with all exponent bits set, the number is infinite (F = 0, the sign counts) or NaN (any other F)",
                 _decode_only(lambda E, e: E == 2**e - 1)),
    ),
    suspects=(
        Suspect("subnormal numbers get the exponent -bias; it is 1 - bias",
                lambda c, e, m: _decode_as(c, e, m) / (1 if _parts(c, e, m)[1] else 2)),
        Suspect("the bias is 2^(e-1); it is one less", lambda c, e, m: _decode_as(c, e, m, bias=2 ** (e - 1))),
        Suspect("the bias is not subtracted", lambda c, e, m: _decode_as(c, e, m, bias=0)),
        Suspect("the hidden bit is missing", lambda c, e, m: _decode_as(c, e, m, hidden=False)),
        Suspect("the sign is lost", lambda c, e, m: _decode_as(c, e, m, sign=False)),
        Suspect("exponent field 0 is treated like any other", lambda c, e, m: _decode_as(c, e, m, subnormal=False)),
        Suspect("all exponent bits set is treated like any other exponent",
                lambda c, e, m: _decode_as(c, e, m, special=False)),
    ),
    valid=lambda code, e, m: _widths_exist(e, m) and 0 <= code < 2 ** (1 + e + m),
    tried="normal and subnormal numbers, both zeros, infinities and NaN, first and last of each, from 4 to 32 bits",
)

# --------------------------------------------------------------------------------------------------------- 2 limits


def _four(answer):
    """Four single numbers: a tuple of ndarrays without axes."""
    if getattr(answer, "shape", None) == (4,):
        answer = tuple(answer)
    if not isinstance(answer, tuple | list) or len(answer) != 4:
        raise CheckFailed("the answer must be four numbers, `return largest, smallest_normal, smallest_subnormal, u`")
    return tuple(as_number(part) for part in answer)


def _limits(e, m, *, bias=None, top=2, u=None):
    bias = 2 ** (e - 1) - 1 if bias is None else bias
    largest = (2 - 2.0**-m) * 2.0 ** (2**e - top - bias)
    return largest, 2.0 ** (1 - bias), 2.0 ** (1 - bias - m), 2.0 ** -(m + 1) if u is None else u


def _limits_inputs(rng):
    yield from ((3, 2), (5, 10), (8, 7), (5, 2), (4, 3), (2, 1))
    yield from ((e, m) for e in range(2, 9) for m in range(1, 11))


def _limit(place):
    return lambda answer, expected, *_: _equal(answer[place], expected[place])


limits = Task(
    title="Task 2 · limits",
    shapes={"exponent_bits": "", "fraction_bits": ""},
    expected=lambda e, m: _four(_limits(e, m)),
    inputs=_limits_inputs,
    read=_four,
    properties=(
        Property("the largest number has the highest exponent field but one, and all fraction bits set", _limit(0)),
        Property("the smallest normal number has exponent field 1 and no fraction: 2^(1 - bias)", _limit(1)),
        Property("the smallest subnormal number has only its last fraction bit set", _limit(2)),
        Property("u = 2^-t, and t counts the hidden bit", _limit(3)),
    ),
    suspects=(
        Suspect("the bias is 2^(e-1); it is one less", lambda e, m: _limits(e, m, bias=2 ** (e - 1))),
        Suspect("the largest number takes the highest exponent field, which belongs to infinity",
                lambda e, m: _limits(e, m, top=1)),
        Suspect("u is 2^-m: count the hidden bit as well", lambda e, m: _limits(e, m, u=2.0**-m)),
        Suspect("the largest number has an empty fraction",
                lambda e, m: (2.0 ** (2 ** (e - 1) - 1), *_limits(e, m)[1:])),
        Suspect("the largest number is a power of two, one past the last number",
                lambda e, m: (2.0 ** 2 ** (e - 1), *_limits(e, m)[1:])),
    ),
    valid=_widths_exist,
    tried="fp16, bfloat16, e5m2, an IEEE e4m3 and others, from 4 to 19 bits",
)

# --------------------------------------------------------------------------------------------------------- 3 encode


def _encode_inputs(rng):
    for x in (1.0, 2.5, -0.0625, 0.3, 9.0, 9.5, 14.0, 15.0, 14.9, 16.0, -1e9, 0.03125, 0.0938, 1e-9, 0.0, math.inf,
              -math.inf, math.nan):
        yield x, 3, 2
    for x in (0.1, 65504.0, 65519.0, 65520.0, 6e-8, 1.99999):
        yield x, 5, 10
    for e, m in ((2, 1), (3, 2), (4, 3), (5, 2), (5, 10), (8, 7)):
        f = _format(e, m)
        half = f.min_subnormal / 2
        limit = f.max + (f.max - decode_one(f.max_code - 1, f)) / 2                 # from here on infinity
        for x in (0.0, half, half * (1 + 1e-9), 3 * half, 3 * half * (1 - 1e-9), f.min_subnormal, f.min_normal,
                  f.min_normal - half, f.max, limit, limit * (1 - 1e-9), 1e300, 5e-324):
            yield x, e, m
            yield -x, e, m
    for k in range(210):
        e, m = _widths(rng)
        f = _format(e, m)
        code = int(rng.integers(0, f.max_code))
        low, high = (decode_one(c, f) for c in (code, code + 1))
        tie = 0.5 * (low + high)
        x = (tie, low, low + rng.random() * (high - low), high * (1 - 1e-9), f.min_normal * rng.random(),
             tie * (1 + 1e-9), tie * (1 - 1e-9))[k % 7]
        yield float(x * rng.choice([-1, 1])), e, m


def _in_range(answer, expected, x, e, m):
    bits = 1 + e + m
    return bool(answer == np.floor(answer) and 0 <= answer < 2**bits) or f"Here: 0 to {2**bits - 1}."


def _stands_for(answer, e, m):
    return decode_one(int(answer), _format(e, m))


def _in_words(answer, expected, e, m):
    return (f"Your pattern {int(answer):0{1 + e + m}b} stands for {_stands_for(answer, e, m):.10g}; "
            f"the right one {int(expected):0{1 + e + m}b} for {_stands_for(expected, e, m):.10g}.")


def _specials(answer, expected, x, e, m):
    given, right = _stands_for(answer, e, m), _stands_for(expected, e, m)
    if math.isfinite(right) and math.isfinite(given):
        return True
    return _equal(np.float64(given), np.float64(right)) or _in_words(answer, expected, e, m)


def _nearest(answer, expected, x, e, m):
    given, right = _stands_for(answer, e, m), _stands_for(expected, e, m)
    if not math.isfinite(right):
        return True
    return abs(given - x) <= abs(right - x) or _in_words(answer, expected, e, m)


def _even(answer, expected, x, e, m):
    given, right = _stands_for(answer, e, m), _stands_for(expected, e, m)
    return _equal(np.float64(given), np.float64(right)) or _in_words(answer, expected, e, m)


def _encode_as(x, e, m, rounded=round, *, flush=False, saturate=False, carry=True):
    """An encoder with one mistake."""
    f = _format(e, m)
    if not math.isfinite(x):
        return encode_one(x, f)
    bias, sign = 2 ** (e - 1) - 1, 2 ** (e + m) if x < 0 else 0
    exponent = max(math.frexp(x)[1] - 1, 1 - bias) if x else 1 - bias
    if flush and abs(x) < f.min_normal:
        return sign
    steps = rounded(abs(x) / 2.0 ** (exponent - m))
    code = (exponent + bias - 1 << m) + steps
    if not carry and steps == 2 ** (m + 1):
        code = (exponent + bias << m) | 0
    if code > f.max_code:
        code = f.max_code if saturate else f.infinity_code
    return sign + code


def _without_subnormals(code, e, m, sign=1):
    return code if _parts(code, e, m)[1] else sign * (code >> (e + m) << (e + m))


encode = Task(
    title="Task 3 · encode",
    shapes={"x": "", "exponent_bits": "", "fraction_bits": ""},
    expected=lambda x, e, m: np.asarray(encode_one(x, _format(e, m))),
    inputs=_encode_inputs,
    read=as_number,
    properties=(
        Property("a bit pattern is one whole number, 0 or more, of 1 + e + m bits", _in_range),
        Property("NaN gets a NaN pattern; what rounds past the largest number, and that alone, gets infinity",
                 _specials),
        Property("the pattern stands for a number of the format that is nearest to x", _nearest),
        Property("half-way between two numbers, the pattern whose last bit is 0 wins", _even),
    ),
    suspects=(
        Suspect("the fraction is cut off, not rounded", lambda x, e, m: _encode_as(x, e, m, math.floor)),
        Suspect("ties are rounded up, away from zero",
                lambda x, e, m: _encode_as(x, e, m, lambda v: math.floor(v + 0.5))),
        *(Suspect("subnormal numbers are flushed to zero", flushed) for flushed in (
            lambda x, e, m: _encode_as(x, e, m, flush=True),
            lambda x, e, m: 0 if abs(x) < _format(e, m).min_normal else encode_one(x, _format(e, m)),
            lambda x, e, m: _without_subnormals(encode_one(x, _format(e, m)), e, m),
            lambda x, e, m: _without_subnormals(encode_one(x, _format(e, m)), e, m, sign=0))),
        Suspect("what is too large becomes the largest number; here it becomes infinity",
                lambda x, e, m: _encode_as(x, e, m, saturate=True)),
        Suspect("the exponent does not go up when the fraction is rounded up to the next power of two",
                lambda x, e, m: _encode_as(x, e, m, carry=False)),
        Suspect("the sign is lost", lambda x, e, m: _encode_as(abs(x), e, m)),
    ),
    fixed=("exponent_bits", "fraction_bits"),
    valid=lambda x, e, m: _widths_exist(e, m),
    tried="numbers of the format, ties and what is just beside them, subnormal and too large ones, infinities and NaN",
)
