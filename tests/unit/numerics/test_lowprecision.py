"""Arithmetic in few bits: against narrow floats of others, against exact fractions, and the descent that gets stuck."""

import dataclasses
import math
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest

from course_lib.numerics import (
    FORMATS,
    FixedPoint,
    FloatFormat,
    Order,
    Rounding,
    add_in,
    cumsum_in,
    dot_in,
    gradient_descent_in,
    round_in,
    sum_in,
    to_fixed,
    to_fixed_one,
    to_format,
    uniform_one,
)

NARROW = {"fp32": np.float32, "fp16": np.float16, "bfloat16": ml_dtypes.bfloat16, "e5m2": ml_dtypes.float8_e5m2,
          "e4m3": ml_dtypes.float8_e4m3fn}


def gradient(x):
    """Of (x − 1024)²."""
    return 2 * (x - 1024)


@pytest.mark.parametrize("name", NARROW)
def test_sums_are_those_of_narrow_floats(name):
    x = np.random.default_rng(0).normal(size=1000)
    narrow = to_format(x, name).astype(NARROW[name])
    total, wanted = NARROW[name](0), []
    for term in narrow:
        total = NARROW[name](total + term)
        wanted.append(float(total))
    assert cumsum_in(x, name).tolist() == wanted
    assert sum_in(x, name) == sum_in(x.astype(np.float32).reshape(10, 100), name) == wanted[-1]


def test_sums_of_doubles_are_numpy_s():
    x = np.random.default_rng(0).normal(size=1000)
    assert cumsum_in(x, "fp64").tolist() == np.add.accumulate(x).tolist()


@pytest.mark.parametrize("name", ["fp16", "fp32"])
def test_pairwise_sums_are_those_of_narrow_floats(name):
    x = np.random.default_rng(0).normal(size=77)
    level = x.astype(NARROW[name])
    while level.size > 1:
        level = np.concatenate([level[:-1:2] + level[1::2], level[level.size // 2 * 2 :]])
    assert sum_in(x, name, order="pairwise") == sum_in(x, name, order=Order.PAIRWISE) == float(level[0])


@pytest.mark.parametrize("name", ["fp16", "fp32"])
def test_dot_products_are_those_of_narrow_floats(name):
    x, y = np.random.default_rng(0).normal(size=(2, 300))
    total = NARROW[name](0)
    for a, b in zip(x.astype(NARROW[name]), y.astype(NARROW[name])):
        total += a * b
    assert dot_in(x, y, name) == float(total)


def test_a_wider_accumulator_loses_less():
    x, y = np.random.default_rng(1).normal(size=(2, 4096))
    stored_x, stored_y = to_format(x, "e4m3"), to_format(y, "e4m3")
    exact = float(stored_x @ stored_y)
    errors = [abs(dot_in(x, y, "e4m3", accumulator=wide) - exact) for wide in ("e4m3", "bfloat16", "fp32")]
    assert errors[0] > 4 * errors[1] and errors[1] > 100 * errors[2]


@pytest.mark.parametrize("mode", [mode for mode in Rounding if mode != Rounding.STOCHASTIC])
@pytest.mark.parametrize("name", ["bfloat16", "fp32"])
def test_the_exact_sum_is_rounded_once(name, mode):
    """Far exponents: float64 cannot hold the sum, and in the directed modes the lost bits decide."""
    rng, format = np.random.default_rng(2), FORMATS[name]
    x, y = (to_format(rng.choice([-1, 1], 3000) * 2.0 ** rng.uniform(-100, 100, 3000), name) for _ in range(2))
    y[::3] = to_format(x[::3] * 2.0 ** -rng.integers(20, 70, 1000), name)
    for a, b, got in zip(x.tolist(), y.tolist(), add_in(x, y, name, rounding=mode).tolist()):
        exact = Fraction(a) + Fraction(b)
        low, high = format.neighbours(got)
        if mode is Rounding.NEAREST:
            assert 2 * abs(exact - Fraction(got)) <= min(Fraction(got) - Fraction(low), Fraction(high) - Fraction(got))
        elif mode is Rounding.DOWN or mode is Rounding.TOWARD_ZERO and exact > 0:
            assert Fraction(got) <= exact < Fraction(high)
        else:
            assert Fraction(low) < exact <= Fraction(got)


def test_adding_single_precision_is_numpy_s():
    x, y = np.random.default_rng(3).integers(0, 2**32, (2, 100_000), dtype=np.uint32).view(np.float32)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        assert np.array_equal(add_in(x, y, "fp32").astype(np.float32), x + y, equal_nan=True)


def test_adding_broadcasts_and_takes_any_layout():
    x, y = np.arange(12.0).reshape(3, 4), np.array([[0.5], [1.0], [2.0]])
    assert (add_in(x, y, "fp16") == x + y).all() and (add_in(x.T, y.T, "fp16") == x.T + y.T).all()
    assert (add_in(np.arange(5.0), np.ones(1), "fp16") == np.arange(5.0) + 1).all()
    assert add_in(np.float64(1), np.float64(2), "fp16").shape == ()


def test_a_small_term_is_lost_to_nearest_and_kept_on_average_by_stochastic():
    """1 + 2⁻¹² · 4096 = 2 in fp16 (u = 2⁻¹¹): nearest never moves; the standard error of the mean is below 2⁻⁸."""
    x = np.concatenate([[1.0], np.full(4096, 2.0**-12)])
    assert sum_in(x, "fp16") == 1.0
    assert sum_in(x[::-1], "fp16") == 1.5, "the small ones first: they stop at 1/2, where they are half a spacing"
    assert sum_in(x[::-1], "fp16", order="pairwise") == 2.0
    sums = [sum_in(x, "fp16", rounding="stochastic", rng=np.random.default_rng(seed)) for seed in range(64)]
    spread = math.sqrt(4096 * 2.0**-10 * 2.0**-10 * 0.25 * 0.75)        # d √(p (1 − p)) a step, p = 1/4, d = 2⁻¹⁰
    assert abs(np.mean(sums) - 2) < 4.5 * spread / math.sqrt(64)


def test_edges_of_sums():
    for empty in (np.zeros(0), np.zeros((0, 3), np.float32)):
        for order in Order:
            assert sum_in(empty, "e4m3", order=order) == 0.0
        assert dot_in(empty, empty, "e4m3") == 0.0 and cumsum_in(empty, "e4m3").shape == (0,)
    assert math.isnan(sum_in(np.full(3, 300.0), "e4m3"))
    assert sum_in(np.full(3, 300.0), dataclasses.replace(FORMATS["e4m3"], saturates=True)) == 448
    assert sum_in(np.full(3, 4.0), "e2m1") == 6
    assert sum_in(np.array([60000.0, 60000]), "fp16") == math.inf
    assert sum_in(np.array([np.inf, 1.0]), "fp16") == math.inf
    assert math.isnan(sum_in(np.array([np.inf, -np.inf]), "fp16"))
    assert math.isnan(dot_in(np.array([np.inf]), np.zeros(1), "fp16"))
    assert sum_in(np.array([0.1]), "e4m3") == sum_in(np.array([0.1]), "e4m3", order="pairwise") == 0.1015625


def test_refusals():
    x = np.ones(4)
    wide = FloatFormat("wide", 11, 30)
    for format, rounding in (("fp64", "down"), (wide, "nearest"), (FixedPoint(20, 20), "nearest")):
        with pytest.raises(ValueError, match="float64 does the arithmetic here, so the format may have up to 24 bits"):
            sum_in(x, format, rounding=rounding)
    with pytest.raises(ValueError, match="format fp128 reaches beyond float64"):
        sum_in(x, "fp128")
    with pytest.raises(ValueError, match="order='random' is not one of 'sequential', 'pairwise'"):
        sum_in(x, "fp16", order="random")
    with pytest.raises(ValueError, match=r"x has shape \(4,\) and y \(3,\); they must agree"):
        dot_in(x, np.ones(3), "fp16")
    with pytest.raises(TypeError, match="y has dtype int64; it must be float32 or float64"):
        dot_in(x, np.arange(4), "fp16")
    for function in (sum_in, cumsum_in, lambda *a, **k: add_in(x, *a, **k)):
        with pytest.raises(ValueError, match="rounding='stochastic' needs rng"):
            function(x, "fp16", rounding="stochastic")
    with pytest.raises(ValueError, match=r"gradient gave shape \(2,\) for x of shape \(\); they must agree"):
        gradient_descent_in(lambda x: np.ones(2), 1.0, 0.1, 3, "fp16")
    with pytest.raises(ValueError, match="steps=-1 must be a whole number from 0"):
        gradient_descent_in(gradient, 1.0, 0.1, -1, "fp16")


def test_descent_stagnates_under_nearest():
    path = gradient_descent_in(gradient, 1.0, 0.01, 400, "e5m2")
    assert path.shape == (401,) and path[0] == 1.0
    assert (np.diff(path[:8]) > 0).all() and (path[7:] == 128).all(), "stuck an eighth of the way"
    move = to_format(0.01 * np.array(gradient(128.0)), "e5m2")
    assert abs(move) <= FORMATS["e5m2"].spacing(128.0) / 2, "half a spacing is rounded away"


@pytest.mark.parametrize("seed", range(20))
def test_descent_moves_under_stochastic_rounding(seed):
    """50 runs a seed end at 1023.2 ± 1.4 on average, and none below 896 in ten thousand."""
    path = gradient_descent_in(gradient, np.ones(50), 0.01, 400, "e5m2", rounding="stochastic",
                               rng=np.random.default_rng(seed))
    assert path.shape == (401, 50)
    assert abs(path[-1].mean() - 1024) < 24
    assert (path[-1] > 4 * 128).all(), "every single run leaves the place where nearest gets stuck far behind"


def test_descent_under_stochastic_rounding_is_the_exact_one_on_average():
    """The gradient is linear and every rounding unbiased: E[x_k] = 1024 − 1023 (1 − 2 lr)^k, lr as it is stored."""
    runs, steps = 4000, 60
    path = gradient_descent_in(gradient, np.ones(runs), 0.01, steps, "e5m2", rounding="stochastic",
                               rng=np.random.default_rng(0))
    lr = float(to_format(np.array(0.01), "e5m2"))
    exact = 1024 - 1023 * (1 - 2 * lr) ** np.arange(steps + 1)
    standard_error = path.std(axis=1) / math.sqrt(runs)
    assert (np.abs(path.mean(axis=1) - exact)[1:] < 5 * standard_error[1:]).all()


def test_descent_in_wide_formats_is_the_plain_one():
    x, wanted = 1.0, [1.0]
    for _ in range(50):
        x = x - 0.1 * gradient(x)
        wanted.append(x)
    assert gradient_descent_in(gradient, 1.0, 0.1, 50, "fp64").tolist() == wanted
    single = gradient_descent_in(gradient, np.full((2, 3), 1.0), 0.1, 50, "fp32")
    assert single.shape == (51, 2, 3) and single[:, 1, 2] == pytest.approx(wanted, rel=1e-6)
    assert gradient_descent_in(gradient, 1.0, 0.1, 0, "fp16").tolist() == [1.0]


def test_descent_in_fixed_point_stagnates_too():
    fixed = FixedPoint(12, 4)
    start, lr = 1023.8125, 2.0**-4                          # ε, the least that can be stored; lr · 3/8 is below ε / 2
    assert (gradient_descent_in(gradient, start, lr, 50, fixed) == start).all()
    moved = gradient_descent_in(gradient, np.full(50, start), lr, 200, fixed, rounding="stochastic",
                                rng=np.random.default_rng(0))
    assert abs(moved[-1].mean() - 1024) < 0.1


def test_fixed_point_by_hand():
    fixed = FixedPoint(3, 2)
    assert (fixed.bits, fixed.epsilon, fixed.min, fixed.max) == (5, 0.25, -4.0, 3.75)
    x = np.array([0.3, 0.375, 0.625, -0.3, 3.9, -4.2, np.inf, -np.inf, -0.1])
    assert to_fixed(x, fixed).tolist() == [0.25, 0.5, 0.5, -0.25, 3.75, -4.0, 3.75, -4.0, 0.0]
    assert to_fixed(x, fixed, rounding="down").tolist() == [0.25, 0.25, 0.5, -0.5, 3.75, -4.0, 3.75, -4.0, -0.25]
    assert to_fixed(x, fixed, rounding="up").tolist() == [0.5, 0.5, 0.75, -0.25, 3.75, -4.0, 3.75, -4.0, 0.0]
    assert to_fixed(x, fixed, rounding="toward_zero").tolist() == [0.25, 0.25, 0.5, -0.25, 3.75, -4.0, 3.75, -4.0, 0.0]
    assert not np.signbit(to_fixed(np.array([-0.0, -0.1]), fixed)).any()


@pytest.mark.parametrize("mode", Rounding)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("fixed", [FixedPoint(1, 0), FixedPoint(8, 8), FixedPoint(2, 14), FixedPoint(16, 0)])
def test_fixed_point_is_its_definition_and_whole_steps_stay(fixed, dtype, mode):
    x = (np.random.default_rng(4).normal(size=500) * fixed.max).astype(dtype)
    seed = int(np.random.default_rng(5).integers(0, 2**64, dtype=np.uint64))
    got = to_fixed(x, fixed, rounding=mode, rng=np.random.default_rng(5))
    assert got.dtype == dtype
    assert got.tolist() == [to_fixed_one(r, fixed, mode.value, uniform_one(seed, i, x.dtype))
                            for i, r in enumerate(x.tolist())]  # fmt: skip
    steps = np.arange(fixed.min, fixed.max + fixed.epsilon, fixed.epsilon).astype(dtype)
    assert len(steps) == 2**fixed.bits
    assert (to_fixed(steps, fixed, rounding=mode, rng=np.random.default_rng(0)) == steps).all()
    assert (round_in(steps, fixed, rounding=mode, rng=np.random.default_rng(0)) == steps).all()


def test_fixed_point_is_unbiased_under_stochastic_rounding():
    n, x = 200_000, 0.3
    got = to_fixed(np.full(n, x), FixedPoint(3, 2), rounding="stochastic", rng=np.random.default_rng(0))
    assert set(np.unique(got)) == {0.25, 0.5}
    assert abs(got.mean() - x) < 4.5 * 0.25 * math.sqrt(0.2 * 0.8 / n)


def test_fixed_point_sums_saturate():
    assert sum_in(np.full(9, 1.0), FixedPoint(3, 2)) == 3.75
    assert cumsum_in(np.full(6, -1.0), FixedPoint(3, 2)).tolist() == [-1, -2, -3, -4, -4, -4]
    assert dot_in(np.array([0.5, 0.25]), np.array([0.5, 0.5]), FixedPoint(3, 2)) == 0.25        # 1/8 is a tie


def test_fixed_point_refusals():
    for widths, message in (((0, 4), "integer_bits=0 must be a whole number from 1 to 53"),
                            ((4, -1), "fraction_bits=-1 must be a whole number from 0 to 49"),
                            ((40, 20), "fraction_bits=20 must be a whole number from 0 to 13"),
                            ((4.0, 1), "integer_bits=4.0 must be a whole number")):
        with pytest.raises(ValueError, match=message):
            FixedPoint(*widths)
    with pytest.raises(ValueError, match="x has 1 NaN, the first at index"):
        to_fixed(np.array([np.nan]), FixedPoint(4, 4))
    with pytest.raises(TypeError, match="fixed=8 must be a FixedPoint, such as FixedPoint"):
        to_fixed(np.ones(2), 8)
    with pytest.raises(TypeError, match="x has dtype float32, which does not hold numbers of 26 bits"):
        to_fixed(np.ones(2, np.float32), FixedPoint(13, 13))
    with pytest.raises(ValueError, match="rounding='stochastic' needs rng"):
        to_fixed(np.ones(2), FixedPoint(4, 4), rounding="stochastic")
