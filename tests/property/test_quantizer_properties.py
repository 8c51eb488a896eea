"""What holds for every tensor and every quantizer: kernel and definition agree, errors are bounded, grids stay."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from course_lib.numerics import (
    Calibration,
    QParams,
    Rounding,
    Scheme,
    calibrate,
    code_range,
    dequantize,
    fake_quantize,
    qparams_from_range,
    quantize,
    quantize_one,
    round_one,
    round_to_integer,
    uniform_one,
)

WIDTH = {np.float32: 32, np.float64: 64}
dtypes = st.sampled_from([np.float32, np.float64])
modes = st.sampled_from(list(Rounding))
shapes = hnp.array_shapes(min_dims=1, max_dims=3, max_side=7)


def floats(dtype, **limits):
    return st.floats(allow_nan=False, width=WIDTH[dtype], **limits)


@st.composite
def arrays(draw, dtype=None, finite=True, **limits):
    dtype = dtype or draw(dtypes)
    return draw(hnp.arrays(dtype, draw(shapes), elements=floats(dtype, allow_infinity=not finite, **limits)))


@st.composite
def formats(draw):
    scheme = draw(st.sampled_from(list(Scheme)))
    signed = draw(st.booleans()) if scheme is Scheme.AFFINE else None
    return {"bits": draw(st.integers(2 if scheme is Scheme.SYMMETRIC else 1, 16)), "scheme": scheme, "signed": signed}


@st.composite
def layouts(draw, shape):
    kind = draw(st.sampled_from(["per_tensor", "per_channel", "per_group"]))
    where = {"per_tensor": {}, "per_channel": {"axis": draw(st.integers(-len(shape), len(shape) - 1))},
             "per_group": {"group_size": draw(st.integers(1, 9))}}[kind]
    return {"granularity": kind, **where}


@st.composite
def quantizers(draw, dtype):
    """Any per-tensor quantizer at all, not only those that a calibration makes."""
    info = np.finfo(dtype)
    scale = dtype(draw(floats(dtype, min_value=float(info.tiny), max_value=float(info.max) / 2**17)))
    qmin, qmax = code_range(**draw(formats()))
    return QParams(scale, np.int32(draw(st.integers(qmin, qmax))), qmin, qmax)


@given(st.data(), dtypes, modes, st.integers(0, 2**32))
def test_kernel_is_the_definition(data, dtype, mode, seed):
    q = data.draw(quantizers(dtype))
    scale = float(q.scale)
    near = floats(dtype, min_value=-20, max_value=20).map(lambda t: dtype(t * scale))
    x = data.draw(hnp.arrays(dtype, st.integers(0, 12), elements=floats(dtype) | near))
    drawn = int(np.random.default_rng(seed).integers(0, 2**64, dtype=np.uint64))
    with np.errstate(over="ignore", under="ignore"):                   # of NumPy's numbers in the definition
        expected = [quantize_one(r, q.scale[()], int(q.zero_point), q.qmin, q.qmax, mode.value,
                                 uniform_one(drawn, i, dtype)) for i, r in enumerate(x)]
    assert quantize(x, q, rounding=mode, rng=np.random.default_rng(seed)).tolist() == expected


@given(st.data(), modes)
def test_fake_is_quantize_then_dequantize(data, mode):
    x = data.draw(arrays(finite=False))
    finite = np.where(np.isfinite(x), x, x.dtype.type(1))
    q = calibrate(finite, **data.draw(formats()), **data.draw(layouts(x.shape)))
    kept = x.copy()
    codes = quantize(x, q, rounding=mode, rng=np.random.default_rng(1))
    back = dequantize(codes, q)
    assert codes.shape == back.shape == x.shape
    assert codes.dtype == q.code_dtype and back.dtype == x.dtype
    assert fake_quantize(x, q, rounding=mode, rng=np.random.default_rng(1)).tobytes() == back.tobytes()
    assert not np.signbit(back[back == 0]).any()
    assert x.tobytes() == kept.tobytes()


@given(st.data(), modes)
def test_what_is_on_the_grid_stays(data, mode):
    dtype = data.draw(dtypes)
    q = data.draw(quantizers(dtype))
    codes = np.array(data.draw(st.lists(st.integers(q.qmin, q.qmax), max_size=30)), q.code_dtype)
    assert (quantize(dequantize(codes, q), q, rounding=mode, rng=np.random.default_rng(0)) == codes).all()


@given(st.data())
def test_error_is_half_a_step_inside_the_range(data):
    x = data.draw(arrays())
    q = calibrate(x, **data.draw(formats()), method=data.draw(st.sampled_from(list(Calibration))))
    back = fake_quantize(x, q)
    low, high = q.clipping_range
    inside = (x >= low) & (x <= high)
    unit = np.finfo(x.dtype).eps
    error = np.abs(x.astype(np.longdouble) - back.astype(np.longdouble))
    bound = float(q.scale) * (0.5 + unit * q.levels) + np.abs(x) * unit
    assert np.isfinite(back).all()
    assert (error[inside] <= bound[inside]).all()
    assert (back == np.where(x > high, high, low))[~inside].all(), "outside, the end of the range"


@given(st.data())
def test_larger_numbers_never_get_smaller_codes(data):
    x = np.sort(data.draw(arrays(finite=False)).ravel())
    q = data.draw(quantizers(x.dtype.type))
    for mode in (Rounding.NEAREST, Rounding.DOWN, Rounding.UP, Rounding.TOWARD_ZERO):
        assert (np.diff(quantize(x, q, rounding=mode).astype(int)) >= 0).all()


@given(st.data(), modes)
def test_every_mode_takes_one_of_the_two_neighbours(data, mode):
    x = data.draw(arrays())
    q = data.draw(quantizers(x.dtype.type))
    code = quantize(x, q, rounding=mode, rng=np.random.default_rng(2)).astype(int)
    down, up = (quantize(x, q, rounding=m).astype(int) for m in ("down", "up"))
    assert ((code == down) | (code == up)).all() and (up - down <= 1).all()


@given(st.data(), st.floats(allow_nan=False, allow_infinity=False, width=32), formats())
def test_constants_and_zero_are_exact(data, c, fmt):
    assume(c == 0 or abs(c) >= np.finfo(np.float32).tiny)
    x = np.full(data.draw(shapes), c, np.float32)
    method = data.draw(st.sampled_from(list(Calibration)))
    q = calibrate(x, **fmt, **data.draw(layouts(x.shape)), method=method)
    assert (fake_quantize(x, q) == x).all()
    assert (fake_quantize(np.zeros_like(x), q) == 0).all()


@given(st.data(), st.integers(-6, 6), st.sampled_from(["minmax", "mse", "percentile"]))
def test_powers_of_two_scale_everything_exactly(data, exponent, method):
    x = data.draw(hnp.arrays(np.float64, 25, elements=st.floats(-100, 100).filter(lambda v: v == 0 or abs(v) > 1e-30)))
    fmt = data.draw(formats())
    q, scaled = (calibrate(k * x, **fmt, method=method) for k in (1.0, 2.0**exponent))
    if x.any():
        assert scaled.scale == q.scale * 2.0**exponent and scaled.zero_point == q.zero_point


@given(arrays(min_value=-1000, max_value=1000), formats())
def test_mse_is_never_worse_than_minmax(x, fmt):
    errors = []
    for method in ("mse", "minmax"):
        back = fake_quantize(x, calibrate(x, **fmt, method=method))
        errors.append(float(((x.astype(np.float64) - back) ** 2).sum()))
    assert errors[0] <= errors[1] * (1 + 1e-6)


@pytest.mark.parametrize("bits", [2, 4, 8])
@given(st.data())
def test_torch_agrees_except_at_ties(bits, data):
    torch = pytest.importorskip("torch")
    x = data.draw(hnp.arrays(np.float32, 20, elements=st.floats(-100, 100, width=32)))
    low = data.draw(st.floats(-50, 0, width=32))
    high = data.draw(st.floats(0.0009765625, 50, width=32))
    q = qparams_from_range(low, high, bits=bits, scheme=data.draw(st.sampled_from(["symmetric", "affine"])))
    theirs = torch.fake_quantize_per_tensor_affine(
        torch.from_numpy(x), float(q.scale), int(q.zero_point), q.qmin, q.qmax).numpy()
    steps = x.astype(np.float64) / float(q.scale)
    tie = np.abs(steps - np.floor(steps) - 0.5) < (np.abs(steps) + 2) * 2.0**-22
    assert np.array_equal(fake_quantize(x, q)[~tie], theirs[~tie])


@given(st.data(), modes, st.integers(0, 2**32))
def test_round_to_integer_is_the_definition(data, mode, seed):
    x = data.draw(arrays())
    drawn = int(np.random.default_rng(seed).integers(0, 2**64, dtype=np.uint64))
    got = round_to_integer(x, mode, rng=np.random.default_rng(seed))
    assert got.ravel().tolist() == [
        round_one(r, mode.value, uniform_one(drawn, i, x.dtype)) for i, r in enumerate(x.ravel())
    ]


@given(arrays(finite=False), st.integers(0, 200))
def test_nan_is_always_refused(x, where):
    x.flat[where % x.size] = np.nan
    q = qparams_from_range(-1, 1, bits=8, scheme="affine")
    for function in (lambda: quantize(x, q), lambda: round_to_integer(x),
                     lambda: calibrate(x, bits=8)):
        with pytest.raises(ValueError, match="x has 1 NaN"):
            function()
