"""What holds for every float format that can exist: kernel and definition agree, grids stay, order is kept."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from course_lib.numerics import (
    FORMATS,
    FloatFormat,
    Nans,
    Rounding,
    add_in,
    decode,
    decode_one,
    encode,
    encode_one,
    mx_dequantize,
    mx_quantize,
    to_format,
    to_format_one,
    uniform_one,
)

WIDTHS = {np.float32: (8, 23, 127), np.float64: (11, 52, 1023)}         # exponent bits, stored bits, bias
modes = st.sampled_from(list(Rounding))
DETERMINISTIC = [mode for mode in Rounding if mode is not Rounding.STOCHASTIC]


@st.composite
def formats(draw, dtype, max_bits=64):
    """Any format whose numbers ``dtype`` has."""
    widest, longest, top = WIDTHS[dtype]
    nans = draw(st.sampled_from(list(Nans)))
    reserved = nans is Nans.IEEE                                        # the top exponent has no numbers
    e = draw(st.integers(1 + reserved, min(widest - (not reserved), max_bits - 2)))
    m = draw(st.integers(1, min(longest, max_bits - 1 - e)))
    bias = draw(st.integers(max(0, 2**e - 1 - reserved - top), min(top, 2**e)))
    return FloatFormat("any", e, m, bias, infinities=reserved, nans=nans, subnormals=draw(st.booleans()),
                       saturates=nans is Nans.NONE or draw(st.booleans()))


@st.composite
def cases(draw, max_bits=64, finite=False):
    """A format, and numbers of all sizes or near those of the format."""
    dtype = draw(st.sampled_from(list(WIDTHS)))
    format = draw(formats(dtype, max_bits))
    assert format.holds(dtype)
    anywhere = st.floats(width=8 * np.dtype(dtype).itemsize, allow_nan=format.nan_code is not None and not finite,
                         allow_infinity=not finite)

    def beside(code, quarters):
        v = decode_one(code % (format.max_code + 1), format)
        v += quarters * format.spacing(v) / 4
        return float(dtype(math.copysign(min(abs(v), float(np.finfo(dtype).max)), v)))

    near = st.builds(beside, st.integers(0, 2**64), st.integers(-5, 5))
    near |= near.map(lambda v: -v) | st.sampled_from([format.max, -format.max])
    return format, draw(hnp.arrays(dtype, st.integers(0, 12), elements=anywhere | near))


def run(function, x, format, mode, **options):
    return function(x, format, rounding=mode, rng=np.random.default_rng(9), **options)


def bits(x):
    """Bit patterns with every NaN alike."""
    return np.where(np.isnan(x), x.dtype.type(np.nan), x).tobytes()


@given(cases(), modes, st.booleans())
def test_kernel_is_the_definition(case, mode, saturate):
    format, x = case
    saturate = saturate or format.nan_code is None
    seed = int(np.random.default_rng(9).integers(0, 2**64, dtype=np.uint64))
    one = [(r, format, mode.value, uniform_one(seed, i, x.dtype), saturate) for i, r in enumerate(x.tolist())]
    assert bits(run(to_format, x, format, mode, saturate=saturate)) == bits(np.array(
        [to_format_one(*arguments) for arguments in one], x.dtype))
    assert run(encode, x, format, mode, saturate=saturate).tolist() == [encode_one(*arguments) for arguments in one]


@given(cases(), modes)
def test_codes_and_numbers_say_the_same(case, mode):
    format, x = case
    kept = x.copy()
    rounded, codes = run(to_format, x, format, mode), run(encode, x, format, mode)
    back = decode(codes, format)
    assert bits(back.astype(x.dtype)) == bits(rounded)
    assert back.tolist() == pytest.approx([decode_one(int(code), format) for code in codes], abs=0, rel=0, nan_ok=True)
    assert bits(x) == bits(kept)
    assert bits(run(to_format, rounded, format, mode)) == bits(rounded), "what is in the format stays"
    if format.infinities or not np.isinf(rounded).any():
        assert (run(encode, back, format, mode) == codes).all()


@given(cases(finite=True), modes)
def test_the_result_is_one_of_the_two_neighbours(case, mode):
    format, x = case
    for r, got in zip(x.tolist(), run(to_format, x, format, mode, saturate=True).tolist()):
        low, high = format.neighbours(r)
        if abs(r) >= format.max:
            assert got == math.copysign(format.max, r)
        elif encode_one(r, format, "down") == encode_one(r, format, "up"):
            assert got == r
        else:
            assert got in (low, high)
            assert {Rounding.DOWN: got == low, Rounding.UP: got == high,
                    Rounding.TOWARD_ZERO: abs(got) == min(abs(low), abs(high))}.get(mode, True)
            if mode is Rounding.NEAREST:
                assert abs(got - r) <= (high - low) / 2


@given(cases(finite=True))
def test_nearest_is_within_the_unit_roundoff(case):
    format, x = case
    x = x.astype(np.float64)
    x = x[(np.abs(x) >= format.min_normal) & (np.abs(x) <= format.max)]
    with np.errstate(under="ignore"):
        assert (np.abs(to_format(x, format) - x) <= format.unit_roundoff * np.abs(x)).all()


@given(cases(finite=True), st.sampled_from(DETERMINISTIC))
def test_order_is_kept_and_signs_mirror(case, mode):
    format, x = case
    x = np.sort(x)
    got = to_format(x, format, rounding=mode, saturate=True)
    assert (got[:-1] <= got[1:]).all()
    mirrored = {Rounding.DOWN: Rounding.UP, Rounding.UP: Rounding.DOWN}.get(mode, mode)
    assert (got == -to_format(-x, format, rounding=mirrored, saturate=True)).all()


@given(st.data())
def test_codes_count_upward(data):
    """Patterns without a sign are in the order of their numbers: one more is the next number."""
    format = data.draw(formats(np.float32, max_bits=10))
    numbers = decode(np.arange(format.max_code + 1), format)
    assert (np.diff(numbers) > 0)[format.subnormals or 2**format.significand_bits - 1 :].all()
    assert numbers[-1] == format.max and numbers[2**format.significand_bits] == format.min_normal
    assert set(format.values().tolist()) == {*numbers.tolist(), *(-numbers).tolist()}


@given(st.data(), modes)
def test_any_code_survives_the_way_back(data, mode):
    format = data.draw(formats(np.float64))
    codes = data.draw(st.lists(st.integers(0, 2**format.bits - 1), max_size=20))
    numbers = decode(np.array(codes, np.uint64), format)
    assert [float(number) for number in numbers] == pytest.approx(
        [decode_one(code, format) for code in codes], abs=0, rel=0, nan_ok=True)
    sign, zero_field = 2 ** (format.bits - 1), 2**format.significand_bits
    for code, back in zip(codes, encode(np.nan_to_num(numbers, nan=0.0, posinf=0.0, neginf=0.0), format, rounding=mode,
                                        rng=np.random.default_rng(0), saturate=True).tolist()):
        if code % sign <= format.max_code and (format.subnormals or code % sign >= zero_field):
            assert back == code


@given(hnp.arrays(np.float64, (2, 8), elements=st.floats(-1e4, 1e4)),
       st.sampled_from(["e5m2", "bfloat16", "fp32"]), modes)
def test_adding_zero_changes_nothing_and_order_does_not_matter(x, name, mode):
    def add(a, b):
        return add_in(a, b, name, rounding=mode, rng=np.random.default_rng(9))

    a, b = to_format(x, name)
    assert (add(a, np.zeros(8)) == a).all() and (add(a, b) == add(b, a)).all()


@given(st.data(), st.sampled_from(["e5m2", "e4m3", "e3m2", "e2m3", "e2m1"]), st.integers(1, 40))
def test_blocks_stay_in_range_and_powers_of_two_move_only_the_scale(data, name, block_size):
    shape = data.draw(hnp.array_shapes(max_dims=3, max_side=40))
    x = data.draw(hnp.arrays(np.float32, shape, elements=st.floats(-2.0**100, 2.0**100, width=32)))
    codes, scale = mx_quantize(x, name, block_size=block_size)
    x_hat = mx_dequantize(codes, scale, name, block_size=block_size)
    assert x_hat.shape == x.shape
    assert (np.abs(x_hat) <= np.abs(x).max() * (1 + np.float32(FORMATS[name].unit_roundoff))).all()
    larger = mx_quantize(x * np.float32(2.0**20), name, block_size=block_size)
    zero = np.array([not row[at : at + block_size].any() for row in x.reshape(-1, x.shape[-1])
                     for at in range(0, x.shape[-1], block_size)]).reshape(scale.shape)
    assert (larger.scale == np.where(zero, 127, scale + 20.0))[scale > 0].all()
    if (scale > 0).all():
        assert (larger.codes == codes).all()
