"""Scale, zero point and code range: the conventions of the course, the edges, and what QParams refuses."""

import dataclasses
import inspect
import pickle

import numpy as np
import pytest

from course_lib.numerics import Granularity, QParams, Scheme, calibrate, code_range, fake_quantize, qparams_from_range

TINY, HUGE = np.finfo(np.float32).tiny, np.finfo(np.float32).max


def per_tensor(scale=1.0, zero_point=0, qmin=-7, qmax=7):
    return QParams(np.float32(scale), np.int32(zero_point), qmin, qmax)


def test_code_ranges():
    assert [code_range(b, "symmetric") for b in (2, 3, 8, 16)] == [(-1, 1), (-3, 3), (-127, 127), (-32767, 32767)]
    assert [code_range(b, "affine") for b in (1, 4, 8, 16)] == [(0, 1), (0, 15), (0, 255), (0, 65535)]
    assert [code_range(b, "affine", signed=True) for b in (1, 4, 16)] == [(-1, 0), (-8, 7), (-32768, 32767)]
    assert code_range(4, "symmetric", signed=True) == (-7, 7)


@pytest.mark.parametrize("bad", [1, 17, 0, -1, 4.0, "4", True, None])
def test_symmetric_refuses_other_bits(bad):
    with pytest.raises(ValueError, match=r"bits \(symmetric\)=.* must be a whole number from 2 to 16"):
        code_range(bad, "symmetric")


def test_code_range_refusals():
    with pytest.raises(ValueError, match=r"bits \(affine\)=0"):
        code_range(0, "affine")
    with pytest.raises(ValueError, match="symmetric codes are signed"):
        code_range(8, "symmetric", signed=False)
    with pytest.raises(ValueError, match="scheme='asymmetric' is not one of 'symmetric', 'affine'"):
        code_range(8, "asymmetric")


def test_symmetric_scale():
    q = qparams_from_range(-2.0, 1.0, bits=8, scheme="symmetric")
    assert q.scale == np.float32(2.0) / np.float32(127)
    assert (q.zero_point, q.qmin, q.qmax, q.bits, q.levels, q.symmetric) == (0, -127, 127, 8, 255, True)
    assert q.code_dtype == np.int8
    assert [float(end) for end in q.clipping_range] == pytest.approx([-2, 2])


def test_affine_scale_and_zero_point():
    q = qparams_from_range(-1.0, 3.0, bits=8, scheme="affine")
    assert q.scale == np.float32(4 / 255)
    assert (q.zero_point, q.qmin, q.qmax, q.bits, q.levels, q.symmetric) == (64, 0, 255, 8, 256, False)
    signed = qparams_from_range(-1.0, 3.0, bits=8, scheme="affine", signed=True)
    assert (signed.zero_point, signed.qmin, signed.qmax) == (64 - 128, -128, 127)
    assert signed.scale == q.scale


@pytest.mark.parametrize("alpha, beta, zero_point", [(2.0, 4.0, 0), (-4.0, -2.0, 15), (0.0, 4.0, 0), (-4.0, 0.0, 15)])
def test_affine_range_is_widened_to_hold_zero(alpha, beta, zero_point):
    q = qparams_from_range(alpha, beta, bits=4, scheme="affine")
    assert q.scale == np.float32(4 / 15)
    assert q.zero_point == zero_point
    assert fake_quantize(np.float32(0), q) == 0


def test_zero_point_sends_alpha_to_qmin():
    alphas = -np.linspace(0.01, 5, 400)
    q = qparams_from_range(alphas, np.ones(400), bits=6, scheme="affine", granularity="per_channel", axis=0,
                           dtype=np.float64)
    assert (np.rint(alphas / q.scale) + q.zero_point == 0).all()


@pytest.mark.parametrize("c", [3.0, -3.0, 1e-30, -1e30, TINY, -TINY, HUGE, -HUGE, 1 / 3])
@pytest.mark.parametrize("bits, scheme, signed", [
    (2, "symmetric", None), (8, "symmetric", None), (16, "symmetric", None),
    (1, "affine", None), (1, "affine", True), (8, "affine", None), (8, "affine", True), (16, "affine", None),
])
def test_constant_round_trips_exactly(c, bits, scheme, signed):
    q = qparams_from_range(np.float32(c), np.float32(c), bits=bits, scheme=scheme, signed=signed)
    assert q.scale == abs(np.float32(c))
    assert fake_quantize(np.float32([c, c]), q).tolist() == np.float32([c, c]).tolist()
    assert np.isfinite(q.clipping_range).all()


@pytest.mark.parametrize("bits, scheme, signed", [(2, "symmetric", None), (1, "affine", None), (8, "affine", True)])
def test_all_zero(bits, scheme, signed):
    q = qparams_from_range(0.0, 0.0, bits=bits, scheme=scheme, signed=signed)
    assert (q.scale, q.zero_point) == (1, 0)
    assert fake_quantize(np.float32([0.0, -0.0]), q).tolist() == [0, 0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scheme, bits", [
    ("symmetric", 2), ("symmetric", 8), ("affine", 1), ("affine", 8), ("affine", 16),
])
def test_scale_stays_normal_and_products_finite(scheme, bits, dtype):
    info = np.finfo(dtype)
    small = info.smallest_subnormal
    q = qparams_from_range(-3 * small, 5 * small, bits=bits, scheme=scheme, dtype=dtype)
    assert q.scale == info.tiny
    q = qparams_from_range(-info.max, info.max, bits=bits, scheme=scheme, dtype=dtype)
    ends = np.array([float(info.max), -float(info.max), 0.0], dtype)
    got = fake_quantize(ends, q)
    assert np.isfinite(got).all() and np.isfinite(q.clipping_range).all()
    assert (abs(got / info.max - ends / info.max) <= 2.01 / (q.levels - 1)).all()     # a step at most: Z is whole
    assert got[2] == 0


def test_arrays_of_ranges():
    q = qparams_from_range([-1, 0, 2], [1, 0, 2], bits=8, scheme=Scheme.SYMMETRIC, granularity="per_channel", axis=1)
    assert q.scale.tolist() == np.float32([1 / 127, 1, 2]).tolist()
    assert (q.granularity, q.axis) == (Granularity.PER_CHANNEL, 1)
    q = qparams_from_range(np.zeros((2, 3)), np.ones((2, 3)), bits=4, scheme="affine", granularity="per_group",
                           group_size=5)
    assert q.scale.shape == q.zero_point.shape == (2, 3)


@pytest.mark.parametrize("alpha, beta, message", [
    (np.nan, 1, "alpha must be finite"), (0, np.inf, "beta must be finite"), (2, 1, "alpha must not exceed beta"),
])
def test_range_refusals(alpha, beta, message):
    with pytest.raises(ValueError, match=message):
        qparams_from_range(alpha, beta, bits=8, scheme="affine")


def test_dtype_refusal():
    with pytest.raises(TypeError, match="dtype=float16 must be float32 or float64"):
        qparams_from_range(0, 1, bits=8, scheme="affine", dtype=np.float16)


@pytest.mark.parametrize("fields, error, message", [
    ({"scale": 0.0}, ValueError, "scale must be positive and finite"),
    ({"scale": -1.0}, ValueError, "scale must be positive and finite"),
    ({"scale": np.nan}, ValueError, "scale must be positive and finite"),
    ({"scale": np.inf}, ValueError, "scale must be positive and finite"),
    ({"zero_point": 8}, ValueError, r"zero_point must lie in \[qmin, qmax\] = \[-7, 7\]"),
    ({"qmin": 7}, ValueError, "qmax=7 must be a whole number from 8"),
    ({"qmax": 7.0}, ValueError, "qmax=7.0 must be a whole number"),
    ({"qmin": -40000}, ValueError, "qmin=-40000 must be a whole number from -32768"),
    ({"qmax": 40000}, ValueError, "qmax=40000 must be a whole number from -6 to 32767"),
])
def test_qparams_refusals(fields, error, message):
    with pytest.raises(error, match=message):
        per_tensor(**fields)


def test_qparams_refuses_what_does_not_fit_together():
    two = np.ones(2, np.float32), np.zeros(2, np.int32)
    with pytest.raises(TypeError, match="scale has dtype int64"):
        QParams(np.array(1), np.int32(0), 0, 1)
    with pytest.raises(TypeError, match="zero_point has dtype float64; it must be an integer"):
        QParams(np.float32(1), np.array(0.5), 0, 1)
    with pytest.raises(ValueError, match=r"zero_point has shape \(3,\) and scale \(2,\)"):
        QParams(two[0], np.zeros(3, int), 0, 1, "per_channel", axis=0)
    for name in ("scale", "zero_point"):
        with pytest.raises(TypeError, match=f"{name} is a dict; it must be an array of numbers"):
            QParams(**{"scale": np.float32(1), "zero_point": 0, name: {}}, qmin=0, qmax=1)
    with pytest.raises(ValueError, match=r"scale has shape \(2,\); per_tensor wants 0 axes"):
        QParams(*two, 0, 1)
    with pytest.raises(ValueError, match="axis=None with per_channel"):
        QParams(*two, 0, 1, "per_channel")
    with pytest.raises(ValueError, match="axis=0 with per_tensor"):
        QParams(np.float32(1), np.int32(0), 0, 1, axis=0)
    with pytest.raises(ValueError, match="group_size=None with per_group"):
        QParams(np.ones((1, 2), np.float32), np.zeros((1, 2), np.int32), 0, 1, "per_group")
    with pytest.raises(ValueError, match="group_size=0 must be a whole number"):
        QParams(np.ones((1, 2), np.float32), np.zeros((1, 2), np.int32), 0, 1, "per_group", group_size=0)
    with pytest.raises(ValueError, match="'per_row' is not one of 'per_tensor', 'per_channel', 'per_group'"):
        QParams(*two, 0, 1, "per_row")


def test_one_zero_point_serves_every_channel_and_group():
    scales = np.float32([0.5, 0.25])
    q = QParams(scales, 3, 0, 7, "per_channel", axis=0)
    assert q == QParams(scales, np.int32([3, 3]), 0, 7, "per_channel", axis=0) and q.zero_point.shape == (2,)
    assert QParams(scales[None], 3, 0, 7, "per_group", group_size=4).zero_point.tolist() == [[3, 3]]


def test_the_scheme_of_a_range_has_no_default_and_other_defaults_are_those_of_calibrate():
    """Two functions that give the same thing: a default of one must not be another's."""
    ours, others = (inspect.signature(function).parameters for function in (qparams_from_range, calibrate))
    with pytest.raises(TypeError, match="scheme"):
        qparams_from_range(-1, 1, bits=8)
    shared = {name for name in set(ours) & set(others) if ours[name].default is not inspect.Parameter.empty}
    assert shared == {"signed", "granularity", "axis", "group_size"}
    assert all(ours[name].default == others[name].default for name in shared)
    ends = np.array([1.0, 2.0])
    assert qparams_from_range(-ends, ends, bits=8, scheme="symmetric", granularity="per_channel").axis == 0


def test_qparams_is_immutable_comparable_and_portable():
    scale = np.ones(3, np.float32)
    q = QParams(scale, np.zeros(3, np.int64), -7, 7, "per_channel", axis=0)
    scale[0] = 9
    assert q.scale.tolist() == [1, 1, 1] and q.zero_point.dtype == np.int32
    with pytest.raises(ValueError, match="read-only"):
        q.scale[0] = 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        q.qmin = 0
    assert q == pickle.loads(pickle.dumps(q))
    assert q != dataclasses.replace(q, scale=2 * q.scale)
    assert q != dataclasses.replace(q, axis=1)
    assert q != "qparams"


@pytest.mark.parametrize("qmin, qmax, dtype", [
    (-7, 7, "int8"), (-128, 127, "int8"), (-129, 127, "int16"), (-1, 0, "int8"),
    (0, 255, "uint8"), (0, 256, "uint16"), (0, 65535, "uint16"), (3, 4, "uint8"),
])
def test_code_dtype_is_the_narrowest(qmin, qmax, dtype):
    assert per_tensor(zero_point=qmin, qmin=qmin, qmax=qmax).code_dtype == dtype


@pytest.mark.parametrize("bits", range(1, 17))
def test_bits_count_the_codes(bits):
    assert qparams_from_range(0, 1, bits=bits, scheme="affine").bits == bits
    if bits > 1:
        assert qparams_from_range(0, 1, bits=bits, scheme="symmetric").bits == bits
