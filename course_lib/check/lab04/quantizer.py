"""Lab 04, the quantizer: scales of weights, quantize, dequantize, range of activations."""

import math

import numpy as np

from ..base import Property, Suspect, Task, as_pair, close, equal, integers, same_shape

# ---------------------------------------------------------------------------------------------- scales of weights


def _scales(w, bits):
    largest = np.abs(w.astype(np.float64)).max(axis=1)
    return np.where(largest > 0, largest / (2 ** (bits - 1) - 1), 1.0)


def _scale_inputs(rng):
    yield np.array([[1.5, -3.0, 0.5], [0.25, 0.6, -0.2]], np.float32), 3
    yield np.array([[0.0, 0.0], [7.0, -1.0]], np.float32), 4
    yield np.array([[-2.0, -1.0]], np.float32), 2
    for _ in range(60):
        rows, columns = rng.integers(2, 7), rng.integers(2, 9)
        w = rng.normal(size=(rows, columns)) * np.exp(rng.normal(size=(rows, 1)))
        w[rng.random(rows) < 0.1] = 0
        yield w.astype(np.float32), int(rng.integers(2, 9))


weight_scales = Task(
    title="Task 2 · weight_scales",
    shapes={"w": "mn", "bits": ""},
    expected=_scales,
    inputs=_scale_inputs,
    properties=(
        Property("the answer has one scale for each row of w, in an array of shape (rows,)", same_shape),
        Property("every scale is a finite number above zero (an all-zero row gets the scale 1)",
                 lambda s, *_: bool(np.all(np.isfinite(s)) and np.all(s > 0))),
        Property("the weight with the largest magnitude of its row gets the largest code, 2^(bits-1) - 1", close),
    ),
    suspects=(
        Suspect("the largest weight was taken, not the largest magnitude |w|",
                lambda w, bits: np.where(w.any(1), w.max(1), 2 ** (bits - 1) - 1) / (2 ** (bits - 1) - 1)),
        Suspect("one scale was computed for the whole tensor, not one for each row",
                lambda w, bits: np.full(len(w), np.abs(w).max() / (2 ** (bits - 1) - 1))),
        Suspect("the code range is off by one: divide by 2^(bits-1) - 1, not by 2^(bits-1)",
                lambda w, bits: np.where(w.any(1), np.abs(w).max(1) / 2 ** (bits - 1), 1)),
        Suspect("the sign bit was forgotten: divide by 2^(bits-1) - 1, not by 2^bits - 1",
                lambda w, bits: np.where(w.any(1), np.abs(w).max(1) / (2 ** bits - 1), 1)),
        Suspect("the affine rule (max - min) was used; symmetric scales come from max |w|",
                lambda w, bits: np.where(w.any(1), np.ptp(w, axis=1) / (2 ** bits - 1), 1)),
        Suspect("the fraction is upside down: that is 1/S",
                lambda w, bits: np.where(w.any(1), (2 ** (bits - 1) - 1) / np.abs(w).max(1), 1)),
    ),
    fixed=("bits",),
    valid=lambda w, bits: w.shape[1] > 0,
    tried="literal ones, negative rows, all-zero rows, and random weights at 2 to 8 bits",
)

# ------------------------------------------------------------------------------------------------------- quantize


def _codes(x, scale, zero_point, qmin, qmax):
    return np.clip(np.rint(x.astype(np.float64) / scale) + zero_point, qmin, qmax).astype(np.int64)


def _quantize_inputs(rng):
    yield np.array([-9, -1.3, -0.5, 0.4, 0.5, 1.5, 2.5, 9], np.float32), 1.0, 0, -3, 3
    yield np.array([-1.0, -0.26, 0.0, 0.25, 0.75, 1.0, 40.0], np.float32), 0.5, 3, 0, 255
    yield np.array([[1.5, -3.0, 0.5], [0.25, 0.6, -0.2]], np.float32), np.array([[1.0], [0.2]], np.float32), 0, -3, 3
    yield np.zeros((2, 3), np.float32), 1.0, 5, 0, 15
    for k in range(80):
        bits, rows, columns = int(rng.integers(2, 9)), rng.integers(1, 5), rng.integers(1, 9)
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
        yield (steps * scale).astype(np.float32), scale, zero_point, qmin, qmax


def _clear(x, scale, zero_point, qmin, qmax):
    """Ties only where S is a power of two: elsewhere x/S and x·(1/S) may fall on either side."""
    if not np.all(np.asarray(scale) > 0) or not qmin <= zero_point <= qmax:
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
    title="Task 3 · quantize",
    shapes={"x": "mn", "scale": "m1", "zero_point": "", "qmin": "", "qmax": ""},
    expected=_codes,
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
    tried="exact ties, numbers far outside the range, one scale a row, zero points from end to end, 2 to 8 bits",
)

# ----------------------------------------------------------------------------------------------------- dequantize


def _reals(codes, scale, zero_point):
    return scale * (codes.astype(np.float64) - zero_point)


def _dequantize_inputs(rng):
    yield np.array([0, 3, 5], np.uint8), 0.5, 3
    yield np.array([[3, -3, 1]], np.int8), np.array([[0.2]], np.float32), 0
    yield np.array([0, 255], np.uint8), 1.0, 255
    for k in range(60):
        rows, columns = rng.integers(1, 5), rng.integers(1, 9)
        if k % 2:
            codes, zero_point = rng.integers(-127, 128, (rows, columns)).astype(np.int8), 0
            scale = np.exp(rng.normal(size=(rows, 1))).astype(np.float32)
        else:
            codes, zero_point = rng.integers(0, 256, (rows, columns)).astype(np.uint8), int(rng.integers(0, 256))
            scale = float(np.exp(rng.normal()))
        yield codes, scale, zero_point


dequantize = Task(
    title="Task 4 · dequantize",
    shapes={"codes": "mn", "scale": "m1", "zero_point": ""},
    expected=_reals,
    inputs=_dequantize_inputs,
    properties=(
        Property("there is one number for each code: the shape of codes", same_shape),
        Property("the answer holds real numbers (a float dtype)",
                 lambda x, *_: x.dtype.kind == "f" or f"Your dtype is {x.dtype}."),
        Property("the code zero_point gives back 0, exactly",
                 lambda x, e, codes, s, z: bool(np.all(x[codes == z] == 0))),
        Property("each number is S (q - Z)", close),
    ),
    suspects=(
        Suspect("q - Z is computed in 8 bits and wraps around below zero: cast the codes first",
                lambda q, s, z: s * (q - q.dtype.type(z)).astype(float)),
        Suspect("Z is added, and should be subtracted", lambda q, s, z: s * (q.astype(float) + z)),
        Suspect("Z is left out", lambda q, s, z: s * q.astype(float)),
        Suspect("brackets are missing: S (q - Z), not S q - Z", lambda q, s, z: s * q.astype(float) - z),
        Suspect("q - Z is divided by S, and should be multiplied", lambda q, s, z: (q.astype(float) - z) / s),
    ),
    valid=lambda codes, scale, zero_point: bool(np.all(np.asarray(scale) > 0)) and 0 <= zero_point <= 255,
    tried="signed and unsigned 8-bit codes below and above Z, one scale a row",
)

# -------------------------------------------------------------------------------------- scale and Z of activations


def _params(x, bits):
    low, high = min(float(x.min()), 0.0), max(float(x.max()), 0.0)
    if low == high:
        return np.asarray(1.0), np.asarray(0)
    scale = (high - low) / (2**bits - 1)
    return np.asarray(scale), np.asarray(round(-low / scale))


def _params_inputs(rng):
    yield np.array([-1.0, 0.0, 2.0], np.float32), 2
    yield np.array([2.0, 6.0], np.float32), 4
    yield np.array([-6.0, -3.0], np.float32), 2
    yield np.zeros(3, np.float32), 8
    yield np.full(4, 5.0, np.float32), 8
    for k in range(60):
        x = rng.normal(size=rng.integers(2, 12)) * np.exp(rng.normal())
        x += (0, 0, 4, -4)[k % 4] * x.std()
        yield np.maximum(x, 0).astype(np.float32) if k % 8 == 5 else x.astype(np.float32), int(rng.integers(2, 9))


def _clear_zero_point(x, bits):
    low, high = min(float(x.min()), 0.0), max(float(x.max()), 0.0)
    steps = -low * (2**bits - 1) / (high - low) if high > low else 0.0
    return abs(steps - math.floor(steps) - 0.5) > 1e-3


def _own_rule(mistake):
    """A usual mistake in the middle of otherwise right code, which does treat all zeros."""
    def function(x, bits):
        return mistake(float(x.min()), float(x.max()), 2**bits - 1) if x.any() else (1.0, 0)
    return function


activation_params = Task(
    title="Task 5 · activation_params",
    shapes={"x": "n", "bits": ""},
    expected=_params,
    inputs=_params_inputs,
    read=as_pair,
    properties=(
        Property("the scale is a finite number above zero (all zeros: S = 1 and Z = 0)",
                 lambda a, *_: bool(np.isfinite(a[0]) and a[0] > 0)),
        Property("the zero point is an integer: an int, not a float",
                 lambda a, *_: a[1].dtype.kind in "iu" or f"Your Z is {a[1]}: wrap it in int(round(...))."),
        Property("the zero point is a code, so it lies between 0 and 2^bits - 1",
                 lambda a, e, x, bits: bool(0 <= a[1] <= 2**bits - 1)),
        Property("S is the width of the range, widened to hold 0, over 2^bits - 1",
                 lambda a, e, *_: close(a[0], e[0])),
        Property("Z is the code of the real number 0: round(-low / S)", lambda a, e, *_: bool(a[1] == e[1])),
    ),
    suspects=(
        Suspect("the range is not widened to hold 0",
                _own_rule(lambda lo, hi, n: ((hi - lo) / n, round(-lo * n / (hi - lo)) if hi > lo else 0))),
        Suspect("the number of steps is off by one: 2^bits codes have 2^bits - 1 steps between them",
                _own_rule(lambda lo, hi, n: ((s := (max(hi, 0) - min(lo, 0)) / (n + 1)), round(-min(lo, 0) / s)))),
        Suspect("Z has the wrong sign", _own_rule(
            lambda lo, hi, n: ((s := (max(hi, 0) - min(lo, 0)) / n), round(min(lo, 0) / s)))),
        Suspect("Z is cut off (a bare int), not rounded",
                _own_rule(lambda lo, hi, n: ((s := (max(hi, 0) - min(lo, 0)) / n), int(-min(lo, 0) / s)))),
        Suspect("the symmetric rule max |x| was used; here the range runs from low to high",
                _own_rule(lambda lo, hi, n: (max(hi, -lo) / (n // 2), 0))),
    ),
    fixed=("bits",),
    valid=_clear_zero_point,
    tried="ranges around zero, above zero and below zero, a constant, all zeros, 2 to 8 bits",
)
