"""Microscaling blocks: against the definition, at the edges, and where a shared power of two helps."""

import ml_dtypes
import numpy as np
import pytest

from course_lib.numerics import FORMATS, decode, mx_dequantize, mx_quantize, mx_quantize_one, sqnr_db, to_format

ELEMENTS = ["e5m2", "e4m3", "e3m2", "e2m3", "e2m1"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ELEMENTS)
def test_every_block_is_the_definition(name, dtype):
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(2, 3, 70)) * 2.0 ** rng.integers(-40, 40, (2, 3, 70))).astype(dtype)
    x[0, 0, :32], x[0, 1, 5], x[1, 2, 64:] = 0, 0, 0
    kept = x.copy()
    codes, scale = mx_quantize(x, name)
    assert codes.dtype == scale.dtype == np.uint8 and codes.shape == x.shape and scale.shape == (6, 3)
    for row, row_codes, row_scale in zip(x.reshape(6, 70), codes.reshape(6, 70), scale):
        for block in range(3):
            at = slice(32 * block, 32 * block + 32)
            assert mx_quantize_one(row[at].tolist(), FORMATS[name]) == (row_codes[at].tolist(), row_scale[block])
    assert (x == kept).all()


@pytest.mark.parametrize("name", ELEMENTS)
def test_decoding_multiplies_by_the_scale(name):
    """The scale is what ml_dtypes calls float8_e8m0fnu."""
    x = np.random.default_rng(1).normal(size=(5, 64)).astype(np.float32)
    codes, scale = mx_quantize(x, name)
    power = np.repeat(scale.view(ml_dtypes.float8_e8m0fnu).astype(np.float32), 32, axis=1)
    x_hat = mx_dequantize(codes, scale, name)
    assert x_hat.dtype == np.float32 and (x_hat == power * decode(codes, name)).all()
    again = mx_quantize(x_hat, name)
    assert (mx_dequantize(*again, name) == x_hat).all(), "what blocks stand for stays"


def test_worked_block():
    """max |x| = 24 = 1.5 · 2⁴ and the largest e2m1 is 6 = 1.5 · 2²: the scale is 2², its code 2 + 127."""
    x = np.array([24.0, -10.0, 3.0, 0.9], np.float32)
    codes, scale = mx_quantize(x, "e2m1")
    assert scale.tolist() == [[129]] and codes.tolist() == [7, 12, 2, 0]
    assert mx_dequantize(codes, scale, "e2m1").tolist() == [24, -8, 4, 0]


def test_what_lies_above_the_largest_element_saturates():
    """31 has the exponent of 24, so the scale is the same: 31 / 4 = 7.75 is beyond 6."""
    codes, scale = mx_quantize(np.array([31.0, 1.0]), "e2m1")
    assert scale.tolist() == [[129]] and mx_dequantize(codes, scale, "e2m1").tolist() == [24, 0]


@pytest.mark.parametrize("name", ELEMENTS)
def test_edges(name):
    x = np.ones((2, 96), np.float32)
    x[0, 3], x[0, 40], x[1, 70] = np.nan, np.inf, -np.inf
    x[1, :32] = [0.0, -0.0] * 16
    codes, scale = mx_quantize(x, name)
    x_hat = mx_dequantize(codes, scale, name)
    one = 127 - FORMATS[name].emax
    assert scale.tolist() == [[255, one, one], [127, one, one]]
    assert np.isnan(x_hat[0, :32]).all() and np.isfinite(x_hat[0, 32:]).all() and np.isfinite(x_hat[1]).all()
    largest = FORMATS[name].max * 2.0 ** (one - 127)
    assert x_hat[0, 40] == largest and x_hat[1, 70] == -largest
    assert (x_hat[1, :32] == 0).all() and (np.delete(x_hat[0], 40)[32:] == 1).all()
    for shape, blocks in (((0,), (1, 0)), ((3, 0), (3, 0)), ((0, 40), (0, 2)), ((), (1, 1)), ((33,), (1, 2))):
        codes, scale = mx_quantize(np.ones(shape), name)
        assert codes.shape == shape and scale.shape == blocks
        assert mx_dequantize(codes, scale, name).tolist() == np.ones(shape).tolist()


@pytest.mark.parametrize("name", ELEMENTS)
def test_largest_and_smallest_floats(name):
    info = np.finfo(np.float32)
    for value in (info.max, -info.max, info.tiny, info.smallest_subnormal):
        x_hat = mx_dequantize(*mx_quantize(np.full(5, value, np.float32), name), name)
        assert np.isfinite(x_hat).all()
        if abs(value) >= info.tiny:
            assert np.abs(x_hat / value - 1).max() <= 0.25, "not even saturation loses more"
    assert mx_quantize(np.full(5, 1e300), name).scale.tolist() == [[254]]
    assert mx_quantize(np.full(5, 1e-300), name).scale.tolist() == [[0]]
    with np.errstate(over="raise"):
        assert np.isinf(mx_dequantize(np.array([FORMATS[name].max_code]), np.array([[254]], np.uint8), name)).all()


def test_a_block_follows_its_own_size_where_one_format_cannot():
    rng = np.random.default_rng(2)
    x = (rng.normal(size=(64, 32)) * 2.0 ** rng.integers(-20, 20, (64, 1))).astype(np.float32)
    assert sqnr_db(x[:1], mx_dequantize(*mx_quantize(x[:1], "e2m1"), "e2m1")) > 15
    per_block = [sqnr_db(row, mx_dequantize(*mx_quantize(row, "e2m1"), "e2m1")) for row in x]
    alone = [sqnr_db(row, to_format(row, "e2m1")) for row in x]
    assert min(per_block) > 12 and np.median(alone) < 5


def test_block_size_and_modes():
    x = np.random.default_rng(3).normal(size=(4, 50)).astype(np.float32)
    rough = x * np.float32(2) ** np.arange(50)
    lost = [(mx_dequantize(*mx_quantize(rough, "e2m1", block_size=n), "e2m1", block_size=n) == 0).sum()
            for n in (1, 5, 10, 50, 1000)]
    assert lost[0] == 0 < lost[1] < lost[2] < lost[3] == lost[4], "what is far below the largest of its block is lost"
    low, high = (mx_dequantize(*mx_quantize(x, "e5m2", rounding=mode), "e5m2") for mode in ("down", "up"))
    middle = mx_dequantize(*mx_quantize(x, "e5m2", rounding="stochastic", rng=np.random.default_rng(0)), "e5m2")
    assert ((low <= x) & (x <= high)).all() and ((middle == low) | (middle == high)).all() and (middle != low).any()


def test_refusals():
    x = np.ones(40)
    with pytest.raises(ValueError, match="format fp16 has 16 bits; the elements of a block have up to 8"):
        mx_quantize(x, "fp16")
    with pytest.raises(ValueError, match="block_size=0 must be a whole number from 1"):
        mx_quantize(x, "e4m3", block_size=0)
    with pytest.raises(TypeError, match="x has dtype int64; it must be float32 or float64"):
        mx_quantize(np.arange(4), "e4m3")
    with pytest.raises(ValueError, match="rounding='stochastic' needs rng"):
        mx_quantize(x, "e4m3", rounding="stochastic")
    codes, scale = mx_quantize(x, "e4m3")
    for wrong in (scale[:, :1], scale.astype(int), scale[0]):
        with pytest.raises(ValueError, match=r"codes of shape \(40,\) take uint8 and \(1, 2\)"):
            mx_dequantize(codes, wrong, "e4m3")
    with pytest.raises(ValueError, match="codes run from 120 to 120; the 4 bits of e2m1 have 0 to 15"):
        mx_dequantize(codes, scale, "e2m1")


@pytest.mark.parametrize("group", [1, 5, 32, 100])
@pytest.mark.parametrize("name", ELEMENTS)
def test_float32_and_float64_agree_over_the_whole_axis(name, group):
    """float32 has a kernel of its own: here against float64, which has none."""
    rng = np.random.default_rng(2)
    x = rng.integers(0, 2**32, (7, 333), dtype=np.uint32).view(np.float32)         # every exponent, inf and NaN too
    x[1] = rng.normal(size=333).astype(np.float32) * np.float32(1e-40)              # subnormal
    x[2, ::3], x[3], x[4, :200] = 0, -0.0, np.finfo(np.float32).max
    for some in (x, x[:1], x[0], x[:, :0], x[:0]):
        with np.errstate(invalid="ignore"):                                         # signalling NaN
            wide = mx_quantize(some.astype(np.float64), name, block_size=group)
        for threads in (1, 2, 3):
            codes, scale = mx_quantize(some, name, block_size=group, threads=threads)
            assert (codes == wide.codes).all() and (scale == wide.scale).all()
        x_hat = mx_dequantize(codes, scale, name, block_size=group)
        with np.errstate(all="ignore"):
            each = np.repeat(scale.astype(int), group, axis=1)
            each = each[:, : some.shape[-1] if some.ndim else 1].reshape(some.shape)
            wanted = np.where(each == 255, np.nan, decode(codes, name).astype(float) * 2.0 ** (each - 127.0))
            np.testing.assert_array_equal(x_hat, wanted.astype(np.float32))
