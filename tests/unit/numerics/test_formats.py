"""Float formats as data: the published tables come out, every number of a format is there, and nonsense is refused."""

import math
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest

from course_lib.numerics import FORMATS, FloatFormat, Nans, decode_one, scientific

#         name        t  exponent  10^±k     u
TABLE = """
          fp128     113    15       4932   1e-34
          fp64       53    11        308   1e-16
          fp32       24     8         38   6e-8
          fp16       11     5          5   5e-4
          bfloat16    8     8         38   4e-3
          e4m3        4     4          2   6e-2
          e5m2        3     5          5   1e-1
"""
PEERS = {
    "fp64": np.finfo(np.float64), "fp32": np.finfo(np.float32), "fp16": np.finfo(np.float16),
    "bfloat16": ml_dtypes.finfo("bfloat16"), "e5m2": ml_dtypes.finfo("float8_e5m2"),
    "e4m3": ml_dtypes.finfo("float8_e4m3fn"), "e4m3_ieee": ml_dtypes.finfo("float8_e4m3"),
    "e3m2": ml_dtypes.finfo("float6_e3m2fn"), "e2m3": ml_dtypes.finfo("float6_e2m3fn"),
    "e2m1": ml_dtypes.finfo("float4_e2m1fn"),
}
SMALL = [format for format in FORMATS.values() if format.bits <= 8]


def ieee(exponent_bits, significand_bits, **options):
    return FloatFormat("test", exponent_bits, significand_bits, **options)


@pytest.mark.parametrize("row", TABLE.split("\n")[1:-1])
def test_published_table(row):
    name, t, exponent_bits, k, u = row.split()
    format = FORMATS[name]
    assert (format.precision, format.exponent_bits, format.power_of_ten) == (int(t), int(exponent_bits), int(k))
    assert scientific(format.unit_roundoff, 1) == scientific(Fraction(u), 1)


def test_published_ranges_with_the_right_largest_half():
    """The table of Mellempudi et al. 2019, with 65504 where it has 65 535, and with 2^−16 rounded, not cut."""
    wanted = {"fp32": ["3.40e+38", "1.18e-38", "1.40e-45"], "fp16": ["6.55e+4", "6.10e-5", "5.96e-8"],
              "e5m2": ["5.73e+4", "6.10e-5", "1.53e-5"]}
    for name, row in wanted.items():
        format = FORMATS[name]
        assert [scientific(x, 3) for x in (format.max, format.min_normal, format.min_subnormal)] == row
    assert FORMATS["fp16"].max == 65504 and FORMATS["e5m2"].max == 57344


def test_the_rule_of_the_powers_of_ten():
    """10^−k ≤ min_normal < 10^(1 − k), exactly; the largest number would give other k for fp16 and e5m2."""
    for format in FORMATS.values():
        k, smallest = format.power_of_ten, Fraction(format.min_normal)
        assert Fraction(10) ** -k <= smallest < Fraction(10) ** (1 - k)
    assert [math.floor(math.log10(FORMATS[name].max)) for name in ("fp16", "e5m2")] == [4, 4]
    assert FORMATS["e4m3"].power_of_ten == FORMATS["e4m3_ieee"].power_of_ten == 2
    assert [round(math.log10(FORMATS[name].max)) for name in ("e4m3", "e4m3_ieee")] == [3, 2]


@pytest.mark.parametrize("name", PEERS)
def test_limits_are_those_of_numpy_and_ml_dtypes(name):
    format, peer = FORMATS[name], PEERS[name]
    assert format.bits == peer.bits and format.significand_bits == peer.nmant
    assert format.max == float(peer.max) and format.min_normal == float(peer.smallest_normal)
    assert format.min_subnormal == float(peer.smallest_subnormal)
    assert 2 * format.unit_roundoff == float(peer.eps)
    assert format.emax == math.frexp(float(peer.max))[1] - 1


def test_quadruple_precision_is_exact():
    format = FORMATS["fp128"]
    assert format.bits == 128 and format.bias == 16383
    assert format.max == (2 - Fraction(1, 2**112)) * 2**16383
    assert format.min_normal == Fraction(1, 2**16382) and format.min_subnormal == Fraction(1, 2**16494)
    assert format.unit_roundoff == 2.0**-113
    assert scientific(format.max, 4) == "1.190e+4932" and scientific(format.min_normal) == "3.4e-4932"
    assert format.decades == pytest.approx(9863.55, abs=0.01)
    assert decode_one(0x3FFF << 112, format) == 1.0
    assert decode_one(1 << 127 | 1, format) == -Fraction(1, 2**16494)
    assert math.copysign(1, decode_one(1 << 127, format)) == -1 and math.isinf(decode_one(0x7FFF << 112, format))
    assert not format.holds(np.float64)
    for refused in (format.values, lambda: format.neighbours(1.0)):
        with pytest.raises(ValueError, match="fp128 reaches beyond float64"):
            refused()


def test_decades():
    assert FORMATS["fp32"].decades == pytest.approx(math.log10(FORMATS["fp32"].max / FORMATS["fp32"].min_normal))
    assert FORMATS["e2m1"].decades == pytest.approx(math.log10(6))


def test_scientific():
    written = [scientific(x) for x in (0, -0.125, 1, 99.6, Fraction(1, 3))]
    assert written == ["0.0e+0", "-1.2e-1", "1.0e+0", "1.0e+2", "3.3e-1"]


@pytest.mark.parametrize("format", SMALL, ids=lambda format: format.name)
def test_values_are_every_number_once(format):
    values = format.values()
    decoded = [decode_one(code, format) for code in range(2**format.bits)]
    assert values.tolist() == sorted({v for v in decoded if math.isfinite(v)})
    assert (np.diff(values) > 0).all() and (values == -values[::-1]).all() and not np.signbit(values[values == 0]).any()
    specials = {Nans.IEEE: 2 ** (format.significand_bits + 1), Nans.SINGLE: 2, Nans.NONE: 0}[format.nans]
    assert len(values) == 2**format.bits - 1 - specials


def test_smallest_format_by_hand():
    assert FORMATS["e2m1"].values().tolist() == [-6, -4, -3, -2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2, 3, 4, 6]


@pytest.mark.parametrize("format", SMALL, ids=lambda format: format.name)
def test_neighbours_walk_through_the_values(format):
    values = format.values().tolist()
    ends = [math.inf] if format.infinities else [None]
    below = [None if end is None else -end for end in ends]
    for v, low, high in zip(values, [*below, *values], [*values[1:], *ends]):
        assert format.neighbours(v) == (low, high)
    for low, high in zip(values, values[1:]):
        for x in ((low + high) / 2, math.nextafter(low, high), math.nextafter(high, low)):
            assert format.neighbours(x) == (low, high)
    assert format.neighbours(math.inf) == (format.max, None) and format.neighbours(-math.inf) == (None, -format.max)
    assert format.neighbours(2 * format.max) == (format.max, ends[0])
    with pytest.raises(ValueError, match="x is NaN; it has no neighbours"):
        format.neighbours(math.nan)


def test_neighbours_of_wide_formats():
    for x in (1.0, -1.0, 3e38, 1e-40, 0.0, 2.0**-126):
        low, high = FORMATS["fp32"].neighbours(x)
        at = float(np.float32(x))
        down, up = (float(np.nextafter(np.float32(x), np.float32(end))) for end in (-np.inf, np.inf))
        assert (low, high) == (at if at < x else down, at if at > x else up)
    for x in (1.0, -3.3, 5e-324, 0.0, 1.7e308):
        assert FORMATS["fp64"].neighbours(x) == (math.nextafter(x, -math.inf), math.nextafter(x, math.inf))


def test_without_subnormals_there_is_nothing_between_zero_and_the_smallest_normal():
    format = ieee(3, 2, subnormals=False)
    assert format.min_subnormal is None
    assert format.values()[format.values() > 0][0] == format.min_normal == 0.25
    assert format.neighbours(0.0) == (-0.25, 0.25) and format.neighbours(0.1) == (0.0, 0.25)
    assert [decode_one(code, format) for code in range(5)] == [0, 0, 0, 0, 0.25]


def test_a_bias_of_ones_own_moves_the_range():
    assert ieee(4, 3, bias=11).max == ieee(4, 3).max / 16
    assert ieee(4, 3, bias=0).min_normal == 2.0 and ieee(4, 3, bias=0).power_of_ten == 0


def test_spacing():
    format = FORMATS["e4m3"]
    assert [format.spacing(x) for x in (0.0, 0.01, 1.0, -1.9, 2.0, 448.0)] == [2**-9, 2**-9, 0.125, 0.125, 0.25, 32.0]


@pytest.mark.parametrize("arguments, message", [
    ((0, 3), "exponent_bits=0 must be a whole number from 1 to 15"),
    ((-1, 3), "exponent_bits=-1 must be a whole number from 1 to 15"),
    ((16, 3), "exponent_bits=16 must be a whole number from 1 to 15"),
    ((4, 0), "significand_bits=0 must be a whole number from 1 to 112"),
    ((4, -3), "significand_bits=-3 must be a whole number from 1 to 112"),
    ((4, 113), "significand_bits=113 must be a whole number from 1 to 112"),
    ((4.0, 3), "exponent_bits=4.0 must be a whole number"),
    ((4, 3, -1), "bias=-1 must be a whole number from 0 to 32767"),
    ((1, 3), "exponent_bits=1 with nans='ieee' leaves no exponent for numbers"),
    ((4, 3, None, False), "infinities=False does not go with nans='ieee'"),
    ((4, 3, None, True, "single"), "infinities=True does not go with nans='single'"),
    ((4, 3, None, False, "none"), "saturates=False needs inf or NaN to overflow to, and nans='none' has neither"),
    ((4, 3, None, False, "some"), "nans='some' is not one of 'ieee', 'single', 'none'"),
])
def test_a_format_that_cannot_exist_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        FloatFormat("test", *arguments)


def test_bits_out_of_range_are_refused():
    for code in (-1, 256, 1.5):
        with pytest.raises(ValueError, match=f"code={code} must be a whole number from 0 to 255"):
            decode_one(code, FORMATS["e4m3"])
    with pytest.raises(ValueError, match=r"tf32 has 2\^19 bit patterns; values\(\) lists those of up to 16 bits"):
        FORMATS["tf32"].values()


def test_formats_are_frozen_and_compare():
    assert FloatFormat("e5m2", 5, 2) == FORMATS["e5m2"] and hash(FORMATS["e5m2"]) == hash(FloatFormat("e5m2", 5, 2))
    with pytest.raises(AttributeError):
        FORMATS["e5m2"].bias = 3
