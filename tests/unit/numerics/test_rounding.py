"""The five roundings: against their definition, at the edges, and the statistics of the stochastic one."""

import numpy as np
import pytest

from course_lib.numerics import Rounding, round_one, round_to_integer, uniform_one

HALVES = np.arange(-40, 41) / 8
EXPECTED = {                                #  -2.5  -1.5  -0.5  -0.2   0.2   0.5   1.5   2.5   2.7
    Rounding.NEAREST:     [-2, -2, 0, 0, 0, 0, 2, 2, 3],
    Rounding.DOWN:        [-3, -2, -1, -1, 0, 0, 1, 2, 2],
    Rounding.UP:          [-2, -1, 0, 0, 1, 1, 2, 3, 3],
    Rounding.TOWARD_ZERO: [-2, -1, 0, 0, 0, 0, 1, 2, 2],
}


@pytest.mark.parametrize("mode", EXPECTED)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_worked_values(mode, dtype):
    x = np.array([-2.5, -1.5, -0.5, -0.2, 0.2, 0.5, 1.5, 2.5, 2.7], dtype)
    for spelled in (mode, mode.value):
        got = round_to_integer(x, spelled)
        assert got.dtype == dtype
        assert got.tolist() == EXPECTED[mode]
        assert not np.signbit(got[got == 0]).any(), "a zero result is +0.0"


@pytest.mark.parametrize("mode", Rounding)
def test_agrees_with_the_definition(mode):
    seed = np.random.default_rng(3).integers(0, 2**64, dtype=np.uint64)
    got = round_to_integer(HALVES, mode, rng=np.random.default_rng(3))
    assert got.tolist() == [round_one(x, mode.value, uniform_one(int(seed), i)) for i, x in enumerate(HALVES)]


def test_nearest_is_the_default_and_agrees_with_numpy():
    x = np.random.default_rng(0).normal(scale=1e4, size=1000)
    assert (round_to_integer(x) == np.rint(x)).all()


@pytest.mark.parametrize("mode", Rounding)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_edges(mode, dtype):
    rng = np.random.default_rng(0)
    whole = np.array([0.0, -0.0, 7, -3, 2**23 + 1, np.inf, -np.inf], dtype)
    kept = whole.copy()
    assert (round_to_integer(whole, mode, rng=rng) == kept).all(), "whole numbers and infinities never change"
    assert (whole == kept).all()
    assert round_to_integer(np.zeros((0, 3), dtype), mode, rng=rng).shape == (0, 3)
    assert round_to_integer(dtype(2), mode, rng=rng).shape == ()
    fortran = np.asfortranarray(np.arange(12.0).reshape(3, 4) / 8).astype(dtype)
    assert (round_to_integer(fortran, mode, rng=np.random.default_rng(1))
            == round_to_integer(np.ascontiguousarray(fortran), mode, rng=np.random.default_rng(1))).all()


def test_refusals():
    with pytest.raises(ValueError, match=r"x has 1 NaN, the first at index \(1,\)"):
        round_to_integer(np.array([1.0, np.nan]))
    with pytest.raises(TypeError, match="x has dtype int64; it must be float32 or float64"):
        round_to_integer(np.array([1, 2]))
    with pytest.raises(ValueError, match="rounding='half_up' is not one of 'nearest', 'down', 'up', 'toward_zero'"):
        round_to_integer(HALVES, "half_up")
    with pytest.raises(ValueError, match=r"rng = np.random.default_rng\(0\)"):
        round_to_integer(HALVES, "stochastic")
    with pytest.raises(ValueError, match="needs rng, a NumPy generator, and got 7"):
        round_to_integer(HALVES, "stochastic", rng=7)
    with pytest.raises(ValueError, match="unknown rounding mode 'half_up'"):
        round_one(0.5, "half_up")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", [0.3, -0.3, 1.7, -1.7, 0.001, 100.75])
def test_stochastic_is_unbiased(value, dtype):
    n = 200_000
    x = np.full(n, value, dtype)
    got = round_to_integer(x, "stochastic", rng=np.random.default_rng(11)).astype(np.float64)
    assert set(np.unique(got)) <= {np.floor(value), np.ceil(value)}
    fraction = float(x[0]) - np.floor(float(x[0]))
    standard_error = np.sqrt(fraction * (1 - fraction) / n)
    assert abs(got.mean() - float(x[0])) < 4.5 * standard_error


def test_stochastic_follows_its_generator():
    first, again, other = (round_to_integer(HALVES, "stochastic", rng=np.random.default_rng(s)) for s in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()
    rng = np.random.default_rng(1)
    assert (round_to_integer(HALVES, "stochastic", rng=rng) != round_to_integer(HALVES, "stochastic", rng=rng)).any()


PUBLISHED = [                           # of SplitMix64 from seed 1234567, as its authors' C program prints them
    6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]


def test_random_stream_is_the_published_one():
    assert [uniform_one(1234567, i) for i in range(5)] == [(z >> 11) / 2**53 for z in PUBLISHED]
    halves = [half >> 8 for z in PUBLISHED for half in (z % 2**32, z >> 32)]
    assert [uniform_one(1234567, i, np.float32) for i in range(10)] == [half / 2**24 for half in halves]


def stream(dtype, n, seed):
    """The first numbers of the stream, to 8 bits: where u < f flips as f grows says what u was."""
    u = np.zeros(n, np.int64)
    for bit in range(7, -1, -1):
        fraction = (u + 2**bit) / 256
        up = [round_to_integer(fraction.astype(dtype), "stochastic", rng=np.random.default_rng(seed))]
        u += np.where(up[0] == 0, 2**bit, 0)                                # u ≥ f
    return u


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_random_stream_is_uniform_and_its_neighbours_are_independent(dtype):
    n = 1 << 20
    u = stream(dtype, n, 5)
    seed = int(np.random.default_rng(5).integers(0, 2**64, dtype=np.uint64))
    assert u[:999].tolist() == [int(256 * uniform_one(seed, i, dtype)) for i in range(999)]
    counts = np.bincount(u, minlength=256)
    assert ((counts - n / 256) ** 2 / (n / 256)).sum() < 255 + 4 * np.sqrt(2 * 255)         # chi-square
    centred = (u - u.mean()) / u.std()
    for lag in (1, 2, 3, 16, 32, 4096):
        assert abs((centred[:-lag] * centred[lag:]).mean()) < 4.5 / np.sqrt(n), lag
        pairs = np.bincount((u[:-lag] >> 4) * 16 + (u[lag:] >> 4), minlength=256)
        assert ((pairs - n / 256) ** 2 / (n / 256)).sum() < 255 + 5 * np.sqrt(2 * 255), lag
    other = stream(dtype, n, 6)
    assert abs((centred * (other - other.mean()) / other.std()).mean()) < 4.5 / np.sqrt(n)
    ones = np.unpackbits(u.astype(np.uint8)[:, None], axis=1).mean(axis=0)
    assert (abs(ones - 0.5) < 4.5 * 0.5 / np.sqrt(n)).all()
