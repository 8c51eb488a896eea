"""Lab 04, arithmetic on integers: accumulate, requantize."""

import numpy as np

from course_lib.check.base import Property, Suspect, Task, equal, integers, same_shape

# ----------------------------------------------------------------------------------------------------- accumulate


def _sums(x, w, zero_point, bias):
    return (x.astype(np.int64) - zero_point) @ w.astype(np.int64).T + bias


def _accumulate_inputs(rng):
    yield np.array([[1, 4, 3]], np.uint8), np.array([[2, -1, 0], [1, 1, 1]], np.int8), 3, np.array([10, 0], np.int32)
    yield np.array([[0]], np.uint8), np.array([[1]], np.int8), 7, np.array([0], np.int32)
    for n in (783, 777, 769):  # products of 127 · 255: an odd sum beyond 2^24, which float32 does not hold
        yield np.full((1, n), 255, np.uint8), np.full((2, n), 127, np.int8), 0, np.array([2, -2], np.int32)
    yield np.full((1, 784), 0, np.uint8), np.full((1, 784), -128, np.int8), 255, np.array([0], np.int32)
    yield np.array([[1, 2], [3, 4]], np.uint8), np.array([[1, 0], [2, 1]], np.int8), 2, np.array([0, 70_000], np.int32)
    yield np.array([[9]], np.uint8), np.array([[-1], [1]], np.int8), 0, np.array([2**24 + 8, -(2**30)], np.int32)
    for k in range(60):
        n, inside, out = rng.integers(1, 4), rng.integers(1, 9), rng.integers(1, 5)
        top, widest = (3, 255)[k % 2], (2**12, 2**28)[k // 2 % 2]
        yield (rng.integers(0, top + 1, (n, inside)).astype(np.uint8),
               rng.integers(-(top // 2) - 1, top // 2 + 1, (out, inside)).astype(np.int8),
               int(rng.integers(0, top + 1)) * (k % 4 > 0), rng.integers(-widest, widest, out).astype(np.int32))


accumulate = Task(
    title="Task 8 · accumulate",
    shapes={"x_codes": "bn", "w_codes": "mn", "x_zero_point": "", "bias_codes": "m"},
    expected=_sums,
    inputs=_accumulate_inputs,
    properties=(
        Property("there is one sum for each image and each output: shape (images, outputs)", same_shape),
        Property("sums of integers are integers, in an integer dtype", integers),
        Property("each sum is bias_codes + Σ w (x - Z), with nothing lost", equal),
    ),
    suspects=(
        Suspect("the zero point is forgotten: subtract Z from the input codes",
                lambda x, w, z, b: x.astype(int) @ w.astype(int).T + b),
        Suspect("the zero point has the wrong sign: subtract it",
                lambda x, w, z, b: (x.astype(int) + z) @ w.astype(int).T + b),
        Suspect("Z is subtracted once from each sum, and should be subtracted from each input code",
                lambda x, w, z, b: x.astype(int) @ w.astype(int).T - z + b),
        Suspect("the bias is forgotten", lambda x, w, z, b: (x.astype(int) - z) @ w.astype(int).T),
        Suspect("x - Z is computed in 8 bits and wraps around below zero: cast first",
                lambda x, w, z, b: (x - np.uint8(z)).astype(int) @ w.astype(int).T + b),
        Suspect("the sums are kept in 8 bits and overflow: cast both factors to int32 first",
                lambda x, w, z, b: ((x.astype(int) - z) @ w.astype(int).T).astype(np.int8) + b),
        Suspect("the sums are kept in 16 bits and overflow: cast both factors to int32 first",
                lambda x, w, z, b: ((x.astype(int) - z) @ w.astype(int).T).astype(np.int16) + b),
        Suspect("the sums are kept in 16 bits and overflow: cast both factors to int32 first",
                lambda x, w, z, b: (x.astype(np.int16) - np.int16(z)) @ w.astype(np.int16).T + b),
        Suspect("the sums are made in float32, which holds whole numbers only up to 2^24",
                lambda x, w, z, b: ((x.astype(np.float32) - z) @ w.astype(np.float32).T).astype(np.int64) + b),
        Suspect("the bias is kept in 16 bits, and needs 32", lambda x, w, z, b: _sums(x, w, z, b.astype(np.int16))),
    ),
    valid=lambda x, w, z, b: 0 <= z <= 255,
    tried="zero points from 0 to 255, sums and biases beyond 16 and 24 bits, and 783 products of the largest codes",
)

# ----------------------------------------------------------------------------------------------------- requantize


def _next_codes(acc, multiplier, shift, zero_point, qmin, qmax):
    scaled = (acc.astype(np.int64) * multiplier.astype(np.int64) + (1 << (shift - 1))) >> shift
    return np.clip(scaled + zero_point, qmin, qmax)


def _requantize_inputs(rng):
    yield np.array([[10, -3, 100]], np.int32), np.array([3, 3, 3], np.int64), 3, 2, 0, 15
    yield np.array([[-1, 1, 3, -3]], np.int32), np.array([1, 1, 1, 1], np.int64), 1, 0, -127, 127
    yield np.array([[24_000_000]], np.int32), np.array([2**30 + 12345], np.int64), 50, 0, 0, 255
    # one below a half: float32 rounds the sum up to it, float64 the product
    half = 91 * 2**18 + 2**17
    yield np.array([[half - 1, -half - 1]], np.int32), np.array([1, 1], np.int64), 18, 0, -127, 127
    yield np.array([[111_549_015]], np.int32), np.array([101_879_449], np.int64), 46, 0, 0, 255
    yield np.array([[50_000, -70_000]], np.int32), np.array([2**30, 2**30], np.int64), 31, 7, -32_767, 32_767
    for k in range(63):
        n, out, shift = rng.integers(1, 4), rng.integers(1, 5), int(rng.integers(4, 40))
        bits = 2 + k // 2 % 7
        qmin, qmax = ((0, 2**bits - 1), (1 - 2 ** (bits - 1), 2 ** (bits - 1) - 1))[k % 2]
        multiplier = rng.integers(2 ** min(shift - 3, 24), 2 ** min(shift, 30), out)
        reach = (2**bits * 2.0**shift / multiplier).clip(2, 2**25)
        acc = (rng.uniform(-1, 1.2, (n, out)) * reach).astype(np.int32)
        if k % 3 == 0:  # exact halves
            multiplier[:] = 2 ** (shift - 1) if shift < 31 else 2**30
        yield acc, multiplier.astype(np.int64), shift, int(rng.integers(qmin, qmax + 1)), qmin, qmax


requantize = Task(
    title="Task 9 · requantize",
    shapes={"acc": "bm", "multiplier": "m", "shift": "", "zero_point": "", "qmin": "", "qmax": ""},
    expected=_next_codes,
    inputs=_requantize_inputs,
    properties=(
        Property("there is one code for each sum: the shape of acc", same_shape),
        Property("codes are integers in an integer dtype", integers),
        Property("every code lies between qmin and qmax, both included",
                 lambda q, e, acc, m, s, z, qmin, qmax: bool(np.all((q >= qmin) & (q <= qmax)))),
        Property("each code is (acc · multiplier + half) >> shift, plus Z, clipped", equal),
    ),
    suspects=(
        Suspect("the half is missing, so everything is rounded down: add 1 << (shift - 1) before shifting",
                lambda a, m, s, z, lo, hi: np.clip(((a.astype(np.int64) * m) >> s) + z, lo, hi)),
        Suspect("the product overflows 32 bits: cast acc to int64 first",
                lambda a, m, s, z, lo, hi: np.clip(
                    ((a.astype(np.int32) * m.astype(np.int32) + np.int32(1 << min(s - 1, 30))) >> s) + z, lo, hi)),
        Suspect("nothing is clipped",
                lambda a, m, s, z, lo, hi: ((a.astype(np.int64) * m + (1 << (s - 1))) >> s) + z),
        Suspect("Z is left out",
                lambda a, m, s, z, lo, hi: np.clip((a.astype(np.int64) * m + (1 << (s - 1))) >> s, lo, hi)),
        Suspect("Z is subtracted, and should be added",
                lambda a, m, s, z, lo, hi: np.clip(((a.astype(np.int64) * m + (1 << (s - 1))) >> s) - z, lo, hi)),
        Suspect("the clip comes before Z is added",
                lambda a, m, s, z, lo, hi: np.clip((a.astype(np.int64) * m + (1 << (s - 1))) >> s, lo, hi) + z),
        Suspect("Z is added before the shift, which shifts it away",
                lambda a, m, s, z, lo, hi: np.clip((a.astype(np.int64) * m + (1 << (s - 1)) + z) >> s, lo, hi)),
        Suspect("the result is cut off toward zero: integer shifts with the half added round to nearest",
                lambda a, m, s, z, lo, hi: np.clip(np.trunc(a * m.astype(float) / 2.0**s) + z, lo, hi).astype(int)),
        Suspect("real numbers are used: halves then go to the even neighbour, and the point was to do without",
                lambda a, m, s, z, lo, hi: np.clip(np.rint(a * m.astype(float) / 2.0**s) + z, lo, hi).astype(int)),
    ),
    fixed=("qmin", "qmax", "multiplier"),
    valid=lambda acc, m, shift, z, qmin, qmax: shift >= 1 and qmin <= z <= qmax and bool(np.all(m > 0)),
    tried="negative sums, exact halves and numbers just below, products far beyond 32 bits, codes outside the range, "
          "2 to 8 bits and 16",
)
