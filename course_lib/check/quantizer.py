"""The quantizer, for every lab that builds one: what a right one is, and what students write instead.

    q = clip(round(r / S) + Z, qmin, qmax)          r̂ = S (q − Z)

A lab takes a task and gives it a title of its own (`replace(quantize, title="Task 3 · quantize")`), or makes a task for
its own signature from the properties and suspects that `affine_rules` and `symmetric_suspects` return.
"""

import math

import numpy as np

from course_lib.check.base import Property, Suspect, Task, equal, integers, same_shape


def close_scales(answer, expected, *arguments):
    """Equal to a relative 1e-5, however small: a tiny scale is no zero."""
    return bool(np.allclose(answer, expected, rtol=1e-5, atol=0))


# ------------------------------------------------------------------------------------------------------- quantize


def codes(x, scale, zero_point, qmin, qmax):
    return np.clip(np.rint(np.asarray(x, np.float64) / scale) + zero_point, qmin, qmax).astype(np.int64)


def _quantize_inputs(rng):
    yield np.array([-9, -1.3, -0.5, 0.4, 0.5, 1.5, 2.5, 9], np.float32), 1.0, 0, -3, 3
    yield np.array([-1.0, -0.26, 0.0, 0.25, 0.75, 1.0, 40.0], np.float32), 0.5, 3, 0, 255
    yield np.array([[1.5, -3.0, 0.5], [0.25, 0.6, -0.2]], np.float32), np.array([[1.0], [0.2]], np.float32), 0, -3, 3
    yield np.zeros((2, 3), np.float32), 1.0, 5, 0, 15
    yield np.array([0.50000001, -0.50000001, 1.49999999, 2.50000001]), 1.0, 0, -7, 7  # ties to whom cuts to float32
    yield np.array([300, -300, 65_537, -65_537, 1e6, -1e6]), 1.0, 1, -7, 7            # beyond 8 and 16 bits
    yield np.array([[0.0, 3.0, -2.5, 0.5]]) * 2.0**-40, 2.0**-40, -1, -8, 7           # small, and no zero
    steps = rng.integers(-160, 160, (1, 200)) + rng.uniform(-0.49, 0.49, (1, 200))
    yield (0.003 * steps).astype(np.float32), 0.003, 0, -127, 127
    for k in range(84):
        bits, rows, columns = 2 + k // 4 % 7, rng.integers(1, 5), rng.integers(1, 9)
        signed = bool(k % 2)
        qmin, qmax = (1 - 2 ** (bits - 1), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
        zero_point = 0 if signed else int(rng.integers(qmin, qmax + 1))
        steps = rng.integers(qmin - zero_point - 4, qmax - zero_point + 5, (rows, columns)).astype(float)
        if k % 4 < 2:  # exact ties: halves of a scale that is a power of two
            scale = 2.0 ** rng.integers(-6, 3)
            steps += rng.choice([0, 0.5], (rows, columns))
        elif signed:  # one scale a row
            scale = np.exp(rng.normal(size=(rows, 1))).astype(np.float32)
            steps += rng.uniform(-0.45, 0.45, (rows, columns))
        else:
            scale = float(np.float32(np.exp(rng.normal())))
            steps += rng.uniform(-0.45, 0.45, (rows, columns))
        if k % 7 == 0:
            steps *= rng.choice([1, 100], (rows, columns))  # far outside the range
        yield (steps * scale).astype((np.float32, np.float64)[k // 28 % 2]), scale, zero_point, qmin, qmax
    for _ in range(20):  # signed codes with a zero point
        qmax = 2 ** int(rng.integers(1, 8)) - 1
        zero_point = int(rng.integers(-qmax - 1, qmax + 1))
        steps = rng.integers(-qmax - 4, qmax + 5, (rng.integers(1, 4), rng.integers(1, 6))) - zero_point
        yield (0.25 * steps).astype(np.float32), 0.25, zero_point, -qmax - 1, qmax


def _clear(x, scale, zero_point, qmin, qmax):
    """Ties only where S is a power of two: elsewhere x/S and x·(1/S) may fall on either side."""
    if not np.all(np.asarray(scale) > 0) or not qmin <= zero_point <= qmax:
        return False
    if np.ndim(scale) and scale.shape[1:] not in ((1,), x.shape[1:]):
        return False
    steps = np.asarray(x, float) / scale
    to_tie = np.abs(steps - np.floor(steps) - 0.5)
    exact = np.frexp(np.asarray(scale, float))[0] == 0.5
    return bool(np.all(exact | (to_tie > 1e-3)))


def _ties_to_even(codes, expected, x, scale, zero_point, qmin, qmax):
    steps = np.asarray(x, float) / scale
    tie = np.abs(steps - np.floor(steps)) == 0.5
    return bool(np.all((codes == expected) | ~tie))


quantize = Task(
    title="quantize",
    shapes={"x": "mn", "scale": "m1", "zero_point": "", "qmin": "", "qmax": ""},
    expected=codes,
    inputs=_quantize_inputs,
    properties=(
        Property("there is one code for each number: the shape of x", same_shape),
        Property("codes are integers in an integer dtype", integers),
        Property("every code lies between qmin and qmax, both included",
                 lambda q, e, x, s, z, qmin, qmax: bool(np.all((q >= qmin) & (q <= qmax)))),
        Property("what lies outside the range gets the nearest end of it, qmin or qmax",
                 lambda q, e, x, s, z, qmin, qmax: bool(np.all((q == e) | ((e != qmin) & (e != qmax))))),
        Property("the real number 0 gets the code zero_point, exactly",
                 lambda q, e, x, s, z, *_: bool(np.all(q[x == 0] == z))),
        Property("a tie goes to the even neighbour: 0.5 -> 0, 1.5 -> 2, 2.5 -> 2 (before Z is added)", _ties_to_even),
        Property("each code is the integer nearest to x / S, plus Z", equal),
    ),
    suspects=(
        Suspect("halves are rounded up (floor(v + 0.5)), not to the even neighbour",
                lambda x, s, z, lo, hi: np.clip(np.floor(x / s + 0.5) + z, lo, hi).astype(int)),
        Suspect("halves are rounded away from zero, not to the even neighbour",
                lambda x, s, z, lo, hi: np.clip(np.sign(x) * np.floor(abs(x) / s + 0.5) + z, lo, hi).astype(int)),
        Suspect("numbers are cut off (a bare cast to int), not rounded",
                lambda x, s, z, lo, hi: np.clip(np.trunc(x / s) + z, lo, hi).astype(int)),
        Suspect("numbers are rounded down, not to the nearest",
                lambda x, s, z, lo, hi: np.clip(np.floor(x / s) + z, lo, hi).astype(int)),
        Suspect("nothing is clipped", lambda x, s, z, lo, hi: (np.rint(x / s) + z).astype(int)),
        Suspect("the cast to 8 bits comes before the clip, so large codes wrap around",
                lambda x, s, z, lo, hi: np.clip(
                    (np.rint(x / s) + z).astype(int).astype(np.int8 if lo < 0 else np.uint8), lo, hi)),
        Suspect("Z is added before rounding, which moves the ties",
                lambda x, s, z, lo, hi: np.clip(np.rint(x / s + z), lo, hi).astype(int)),
        Suspect("the clip comes before Z is added",
                lambda x, s, z, lo, hi: (np.clip(np.rint(x / s), lo, hi) + z).astype(int)),
        Suspect("Z is subtracted, and should be added",
                lambda x, s, z, lo, hi: np.clip(np.rint(x / s) - z, lo, hi).astype(int)),
        Suspect("Z is left out", lambda x, s, z, lo, hi: np.clip(np.rint(x / s), lo, hi).astype(int)),
        Suspect("the upper end is off by one: qmax itself is a code",
                lambda x, s, z, lo, hi: np.clip(np.rint(x / s) + z, lo, hi - 1).astype(int)),
        Suspect("x is multiplied by S, and should be divided",
                lambda x, s, z, lo, hi: np.clip(np.rint(x * s) + z, lo, hi).astype(int)),
    ),
    fixed=("qmin", "qmax"),
    valid=_clear,
    tried="exact ties, numbers far outside the range, one scale a row, zero points from end to end, 2 to 8 bits, "
          "float32 and float64",
)

# ----------------------------------------------------------------------------------------------------- dequantize


def reals(codes, scale, zero_point):
    return scale * (np.asarray(codes, np.float64) - zero_point)


def _dequantize_inputs(rng):
    yield np.array([0, 3, 5], np.uint8), 0.5, 3
    yield np.array([[3, -3, 1]], np.int8), np.array([[0.2]], np.float32), 0
    yield np.array([0, 255], np.uint8), 1.0, 255
    yield np.array([[-128, 127, 0]], np.int8), 0.25, -128
    yield np.array([[1, 2], [3, 4]], np.uint8), 1e-12, 2
    yield np.array([[1, 2], [3, 4]], np.uint8), 3e6, 2
    for k in range(60):
        rows, columns = rng.integers(1, 5), rng.integers(1, 9)
        if k % 2:
            codes, zero_point = rng.integers(-128, 128, (rows, columns)).astype(np.int8), 0
            scale = np.exp(rng.normal(size=(rows, 1))).astype(np.float32)
        else:
            codes, zero_point = rng.integers(0, 256, (rows, columns)).astype(np.uint8), int(rng.integers(0, 256))
            scale = float(np.exp(rng.normal()))
        codes[0, 0] = zero_point
        yield codes, scale, zero_point
    for _ in range(20):  # signed codes with a zero point
        codes = rng.integers(-128, 128, (rng.integers(1, 4), rng.integers(1, 6))).astype(np.int8)
        yield codes, float(np.exp(rng.normal())), int(rng.integers(-128, 128))
    for dtype in (np.int16, np.int32, np.int64):
        yield rng.integers(-900, 900, (3, 4)).astype(dtype), float(np.exp(rng.normal())), int(rng.integers(-128, 128))


def _is_code(codes, scale, zero_point):
    """Z is a code, so it fits into the dtype of the codes."""
    limits = np.iinfo(codes.dtype)
    return bool(np.all(np.asarray(scale) > 0)) and limits.min <= zero_point <= limits.max


def _step_by_step(reals, expected, codes, scale, zero_point):
    """To a relative 1e-5, and a ten-thousandth of a step where S q - S Z leaves a small difference of large numbers."""
    return bool(np.all(np.abs(reals - expected) <= 1e-5 * np.abs(expected) + 1e-4 * np.asarray(scale)))


dequantize = Task(
    title="dequantize",
    shapes={"codes": "mn", "scale": "m1", "zero_point": ""},
    expected=reals,
    inputs=_dequantize_inputs,
    properties=(
        Property("there is one number for each code: the shape of codes", same_shape),
        Property("the answer holds real numbers (a float dtype)",
                 lambda x, *_: x.dtype.kind == "f" or f"Your dtype is {x.dtype}."),
        Property("the code zero_point gives back 0, exactly",
                 lambda x, e, codes, s, z: bool(np.all(x[codes == z] == 0))),
        Property("each number is S (q - Z)", _step_by_step),
    ),
    suspects=(
        Suspect("q - Z is computed in 8 bits and wraps around below zero: cast the codes first",
                lambda q, s, z: s * (q - q.dtype.type(z)).astype(float)),
        Suspect("Z is added, and should be subtracted", lambda q, s, z: s * (q.astype(float) + z)),
        Suspect("Z is left out", lambda q, s, z: s * q.astype(float)),
        Suspect("brackets are missing: S (q - Z), not S q - Z", lambda q, s, z: s * q.astype(float) - z),
        Suspect("q - Z is divided by S, and should be multiplied", lambda q, s, z: (q.astype(float) - z) / s),
    ),
    valid=_is_code,
    tried="signed and unsigned 8-bit codes below and above Z, codes in wider dtypes, one scale a row",
)

# -------------------------------------------------------------------------------------------- scale and zero point


def affine(low, high, qmin, qmax):
    """Scale and zero point of a range, widened to hold 0. Nothing but zero: S = 1 and Z = 0."""
    low, high = min(float(low), 0.0), max(float(high), 0.0)
    if low == high:
        return np.asarray(1.0), np.asarray(0)
    scale = (high - low) / (qmax - qmin)
    return np.asarray(scale), np.asarray(qmin - round(low / scale))


def clear_zero_point(low, high, qmin, qmax):
    """Whether Z is far from a tie, where the last bit of a quotient would decide."""
    low, high = min(float(low), 0.0), max(float(high), 0.0)
    steps = -low * (qmax - qmin) / (high - low) if high > low else 0.0
    return abs(steps - math.floor(steps) - 0.5) > 1e-3


def comes_back_exactly(scale, zero_point, low, high, qmin, qmax):
    """The other good answer for a range of a single number c: S = |c|, with which c comes back to the last bit."""
    return low == high != 0 and close_scales(scale, abs(low)) and qmin <= zero_point + np.sign(low) <= qmax


def affine_rules(ends, *, first="qmin", last="qmax", steps="qmax - qmin", rule="qmin - round(low / S)", point=False):
    """Properties and suspects of an answer (S, Z), read with `as_pair`.

    `ends(*arguments)` gives low, high, qmin, qmax; the words say how the lab writes the codes and the rule. With
    `point`, a range of a single number may be answered by `comes_back_exactly` too.
    """
    def alone(a, *arguments):
        return point and comes_back_exactly(*a, *ends(*arguments))

    properties = (
        Property("the scale is a finite number above zero (nothing but zeros: S = 1 and Z = 0)",
                 lambda a, *_: bool(np.isfinite(a[0]) and a[0] > 0)),
        Property("the zero point is an integer: an int, not a float",
                 lambda a, *_: a[1].dtype.kind in "iu" or f"Your Z is {a[1]}: wrap it in int(round(...))."),
        Property(f"the zero point is a code, so it lies between {first} and {last}",
                 lambda a, e, *arguments: bool(ends(*arguments)[2] <= a[1] <= ends(*arguments)[3])),
        Property(f"S is the width of the range, widened to hold 0, over {steps}",
                 lambda a, e, *arguments: close_scales(a[0], e[0]) or alone(a, *arguments)),
        Property(f"Z is the code of the real number 0: {rule}",
                 lambda a, e, *arguments: bool(a[1] == e[1]) or alone(a, *arguments)),
    )

    def suspect(words, mistake):
        """A usual mistake in the middle of otherwise right code, which does treat all zeros."""
        def function(*arguments):
            low, high, qmin, qmax = ends(*arguments)
            wide = min(low, 0.0), max(high, 0.0)
            return mistake(low, high, *wide, qmin, qmax) if wide[0] < wide[1] else (1.0, 0)
        return Suspect(words, function)

    def with_scale(zero_point, more_steps=0):
        def mistake(low, high, a, b, qmin, qmax):
            scale = (b - a) / (qmax - qmin + more_steps)
            return scale, zero_point(a / scale, b / scale, qmin, qmax)
        return mistake

    def not_widened(low, high, a, b, qmin, qmax):
        scale = (high - low) / (qmax - qmin) or 1.0
        return scale, qmin - round(low / scale) if low < high else 0

    off_by_one = f"the number of steps is off by one: the codes have {steps} steps between them"

    suspects = (
        suspect("the range is not widened to hold 0", not_widened),
        suspect(off_by_one, with_scale(lambda a, b, qmin, qmax: qmin - round(a), 1)),
        suspect(off_by_one, with_scale(lambda a, b, qmin, qmax: min(qmin - round(a), qmax), 1)),
        suspect("Z has the wrong sign", with_scale(lambda a, b, qmin, qmax: qmin + round(a))),
        suspect("Z is cut off (a bare int), not rounded", with_scale(lambda a, b, qmin, qmax: qmin + int(-a))),
        suspect("the symmetric rule max |x| was used; here the range runs from low to high",
                lambda low, high, a, b, qmin, qmax: (max(b, -a) / ((qmax - qmin) // 2), 0)),
        suspect("the fraction is upside down: that is 1/S",
                lambda low, high, a, b, qmin, qmax: (
                    (qmax - qmin) / (b - a), qmin - round(a * (qmax - qmin) / (b - a)))),
    )
    if first == "qmin":  # where codes begin at 0, nothing would be left out
        suspects += (suspect("qmin is left out of Z: codes need not begin at 0",
                             with_scale(lambda a, b, qmin, qmax: -round(a))),)
    return properties, suspects


# ------------------------------------------------------------------------------------------------ symmetric scales


def symmetric(largest, bits):
    """S = max |w| / (2^(b-1) - 1), and 1 where all is zero."""
    return np.where(largest > 0, largest / (2 ** (bits - 1) - 1), 1.0)


def awkward_rows():
    """Rows of three weights that are not all zero, though something in them is, and one that is."""
    return np.array([[0.0, 0.0, 0.0], [-2.0, 0.0, 1.0], [1.0, 1.0, -2.0], [-7.0, 0.0, -3.0], [0.0, 4.0, 4.0],
                     [5.0, 5.0, 5.0], [2e-9, -3e-9, 0.0], [0.0, -3e-14, 1e-14]])


def symmetric_suspects(over, sharing):
    """Usual mistakes in symmetric scales. `over(f, w, ...)` reduces w with f over what shares a scale."""
    def wrong(of, codes):
        def function(w, bits, *rest):
            largest = over(of, w, *rest)
            with np.errstate(divide="ignore"):
                return np.where(over(np.any, w, *rest), codes(largest, bits), 1)
        return function

    def magnitude(values, axis, keepdims=False):
        return np.abs(values).max(axis=axis, keepdims=keepdims)

    largest_weight = "the largest weight was taken, not the largest magnitude |w|"
    return (
        Suspect(largest_weight, wrong(np.max, lambda m, bits: m / (2 ** (bits - 1) - 1))),
        Suspect(largest_weight, lambda w, bits, *rest: over(np.max, w, *rest) / (2 ** (bits - 1) - 1)),
        Suspect(f"one scale was computed for the whole tensor, not one for each {sharing}",
                lambda w, bits, *rest: np.full_like(over(np.max, w, *rest), symmetric(np.abs(w).max(), bits))),
        Suspect("the code range is off by one: divide by 2^(bits-1) - 1, not by 2^(bits-1)",
                wrong(magnitude, lambda m, bits: m / 2 ** (bits - 1))),
        Suspect("the sign bit was forgotten: divide by 2^(bits-1) - 1, not by 2^bits - 1",
                wrong(magnitude, lambda m, bits: m / (2**bits - 1))),
        Suspect("the affine rule (max - min) was used; symmetric scales come from max |w|",
                wrong(np.ptp, lambda m, bits: m / (2**bits - 1))),
        Suspect("the fraction is upside down: that is 1/S",
                wrong(magnitude, lambda m, bits: (2 ** (bits - 1) - 1) / m)),
    )
