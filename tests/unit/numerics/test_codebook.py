"""Codebooks: powers of two, NF4, and the nearest level of any list."""

import numpy as np
import pytest

from course_lib.numerics import (
    codebook_dequantize,
    codebook_quantize,
    nearest_level,
    nearest_level_one,
    nf4_levels,
    power_of_two_levels,
    sqnr_db,
)

PUBLISHED_NF4 = [                               # Dettmers et al. 2023, appendix E
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
]


def test_nf4_is_the_published_table():
    """To the last bit: who loads weights that another library coded gets that library's numbers."""
    levels = nf4_levels()
    assert levels.dtype == np.float32 and levels.tolist() == PUBLISHED_NF4


def test_powers_of_two():
    assert power_of_two_levels(2).tolist() == [-1, 0, 1]
    for bits in range(2, 7):
        levels = power_of_two_levels(bits)
        assert len(levels) == 2**bits - 1 and (np.diff(levels) > 0).all()
        assert (np.log2(levels[levels > 0]) % 1 == 0).all()
    with pytest.raises(ValueError, match="bits=7"):
        power_of_two_levels(7)


@pytest.mark.parametrize("levels", [power_of_two_levels(3), nf4_levels(), np.arange(-3, 4), [0.5]])
def test_nearest_level_equals_its_definition(levels):
    levels = np.asarray(levels)
    x = np.concatenate([np.random.default_rng(0).normal(size=400), levels.astype(float), np.arange(-16, 17) / 4])
    codes = nearest_level(x, levels)
    assert codes.dtype == np.uint8
    assert codes.tolist() == [nearest_level_one(r, levels.tolist()) for r in x.tolist()]


def test_nearest_level_edges():
    levels = [-1.0, 0.0, 1.0]
    assert nearest_level(np.array([np.inf, -np.inf, 0.0, -0.0]), levels).tolist() == [2, 0, 1, 1]
    assert nearest_level(np.zeros((0, 2)), levels).shape == (0, 2)
    assert nearest_level(np.float32(0.9), levels) == 2
    assert nearest_level(np.zeros(2), np.arange(300.0)).dtype == np.uint16


@pytest.mark.parametrize("group_size", [None, 1, 7, 16, 99])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_round_trip_scales_to_the_largest_entry(group_size, dtype):
    x = np.random.default_rng(1).normal(size=(3, 2, 16)).astype(dtype)
    x[0, 0] = 0
    kept = x.copy()
    codes, scale = codebook_quantize(x, nf4_levels(), group_size=group_size)
    back = codebook_dequantize(codes, nf4_levels(), scale, group_size=group_size)
    assert back.shape == x.shape and back.dtype == scale.dtype == dtype and (x == kept).all()
    assert scale.shape == (() if group_size is None else (6, -(-16 // group_size)))
    assert (back[0, 0] == 0).all() and not np.signbit(back[0, 0]).any()
    assert sqnr_db(x, back) > 17
    again = codebook_quantize(back, nf4_levels(), group_size=group_size)
    assert (again.codes == codes).all()


def test_scalar_and_extremes():
    for value in (3.0, -3.0, 1e-45, 3e38):
        codes, scale = codebook_quantize(np.float32(value), [-1.0, 0.0, 1.0])
        assert codes.shape == scale.shape == ()
        back = codebook_dequantize(codes, [-1.0, 0.0, 1.0], scale)
        assert back == (value if abs(value) > 1e-38 else 0)


def test_refusals():
    x = np.ones(4)
    for levels in ([], [1.0, 1.0], [2.0, 1.0], [0.0, np.nan], [[0.0, 1.0]], ["a"], [0, 1j]):
        with pytest.raises(ValueError, match="levels must be"):
            nearest_level(x, levels)
    with pytest.raises(ValueError, match="x has 1 NaN"):
        nearest_level(np.array([np.nan]), [0.0])
    with pytest.raises(ValueError, match="x has 1 infinities"):
        codebook_quantize(np.array([np.inf]), [0.0, 1.0])
    with pytest.raises(ValueError, match="x is empty"):
        codebook_quantize(np.zeros(0), [0.0, 1.0])
    with pytest.raises(ValueError, match="must not be all zero"):
        codebook_quantize(x, [0.0])
    with pytest.raises(TypeError, match="codes has dtype float64"):
        codebook_dequantize(x, [0.0, 1.0])
    with pytest.raises(ValueError, match="codes run from 2 to 2; 2 levels have 0 to 1"):
        codebook_dequantize(np.array([2]), [0.0, 1.0])
    with pytest.raises(ValueError, match=r"scale has shape \(2,\); codes of shape \(4,\) take \(\)"):
        codebook_dequantize(np.zeros(4, int), [0.0, 1.0], np.ones(2))


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 8, 9, 31, 32, 33, 255, 256])
def test_the_sixteen_at_a_time_search_equals_numpys(size):
    """float32 numbers from sixteen on take a kernel: borders themselves, their neighbours, both ends."""
    rng = np.random.default_rng(size)
    limit = float(np.finfo(np.float32).max)
    ends = np.float32([0, -0.0, np.inf, -np.inf, limit, -limit])
    for levels in (np.sort(rng.normal(size=size)), np.unique(rng.integers(-5, 5, size) / 4),
                   np.linspace(-1e-45, 1, size), np.linspace(-limit, limit, size), np.linspace(1e38, 1e39, size)):
        if (np.diff(levels) <= 0).any():
            continue
        between = levels[:-1] / 2 + levels[1:] / 2
        near = np.clip(between, -limit, limit).astype(np.float32)
        x = np.concatenate([near, np.nextafter(near, np.float32(9)), np.nextafter(near, np.float32(-9)),
                            rng.normal(size=41).astype(np.float32), ends])
        for part in (x, x[:16], x[-17:]):
            assert (nearest_level(part, levels) == np.searchsorted(between, part)).all()


def test_nearest_level_on_any_number_of_threads():
    x = np.random.default_rng(0).normal(size=(7, 20_001)).astype(np.float32)
    ones = nearest_level(x, nf4_levels(), threads=1)
    assert all((nearest_level(x, nf4_levels(), threads=threads) == ones).all() for threads in (2, 3))
