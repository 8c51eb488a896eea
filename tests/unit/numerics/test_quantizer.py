"""The quantizer against its definition (exhaustively at few bits), against torch, and at the edges."""

import itertools

import numpy as np
import pytest

from course_lib.numerics import (
    QParams,
    Rounding,
    calibrate,
    dequantize,
    dequantize_one,
    fake_quantize,
    qparams_from_range,
    quantize,
    quantize_one,
    sqnr_db,
    uniform_one,
)

FEW_BITS = [(-1, 1), (-3, 3), (-7, 7), (0, 1), (0, 3), (0, 15), (-8, 7), (-1, 0)]
LAYOUTS = [
    ("per_tensor", {}), ("per_channel", {"axis": 0}), ("per_channel", {"axis": 1}), ("per_channel", {"axis": -1}),
    ("per_group", {"group_size": 1}), ("per_group", {"group_size": 4}), ("per_group", {"group_size": 5}),
    ("per_group", {"group_size": 99}),
]


def by_definition(x, q, mode, seed):
    kind = x.dtype.type
    return [quantize_one(r, kind(q.scale), int(q.zero_point), q.qmin, q.qmax, mode.value,
                         uniform_one(seed, i, kind)) for i, r in enumerate(x)]


@pytest.mark.parametrize("mode", Rounding)
@pytest.mark.parametrize("qmin, qmax", FEW_BITS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_zero_point_every_eighth_of_a_step(qmin, qmax, mode, dtype):
    """Every zero point of a few-bit quantizer, on and between all its levels and beyond both ends."""
    seed = int(np.random.default_rng(5).integers(0, 2**64, dtype=np.uint64))
    for scale, zero_point in itertools.product((0.1, 0.25, 1 / 3), range(qmin, qmax + 1)):
        q = QParams(np.asarray(scale, dtype), np.int32(zero_point), qmin, qmax)
        eighths = np.arange(8 * (qmin - zero_point - 2), 8 * (qmax - zero_point + 2) + 1)
        x = (q.scale * eighths.astype(dtype) / dtype(8)).astype(dtype)
        got = quantize(x, q, rounding=mode, rng=np.random.default_rng(5))
        assert got.tolist() == by_definition(x, q, mode, seed)
        back = dequantize(got, q)
        assert back.tolist() == [dequantize_one(int(code), q.scale[()], zero_point) for code in got]
        fake = fake_quantize(x, q, rounding=mode, rng=np.random.default_rng(5))
        assert fake.tobytes() == back.tobytes()


@pytest.mark.parametrize("mode", Rounding)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_on_the_grid_stay_in_every_mode(mode, dtype):
    """S k / S need not be k in floating point: 255 S comes back as 255.00002 for about every tenth S."""
    rng = np.random.default_rng(0)
    codes = np.arange(256, dtype=np.uint8)
    for scale in rng.uniform(0.5, 2, 300).astype(dtype):
        q = QParams(scale, np.int32(0), 0, 255)
        assert (quantize(dequantize(codes, q), q, rounding=mode, rng=rng) == codes).all()


@pytest.mark.parametrize("granularity, where", LAYOUTS)
@pytest.mark.parametrize("scheme", ["symmetric", "affine"])
@pytest.mark.parametrize("shape", [(3, 4), (2, 5, 3), (3, 1, 2, 5), (6, 13)])
def test_every_layout_is_per_tensor_on_its_parts(granularity, where, scheme, shape):
    x = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    q = calibrate(x, bits=4, scheme=scheme, granularity=granularity, **where)
    got, back = quantize(x, q), fake_quantize(x, q)
    assert got.shape == back.shape == shape and back.dtype == np.float32
    assert (dequantize(got, q) == back).all()
    if granularity == "per_tensor":
        return
    if granularity == "per_channel":
        cut = lambda a: list(np.moveaxis(a, where["axis"], 0))
    else:
        n = where["group_size"]
        cut = lambda a: [row[i : i + n] for row in a.reshape(-1, a.shape[-1]) for i in range(0, a.shape[-1], n)]
    parts = zip(cut(x), cut(got), q.scale.ravel(), q.zero_point.ravel(), strict=True)
    for part, codes, scale, zero_point in parts:
        one = calibrate(part, bits=4, scheme=scheme)
        assert (one.scale, one.zero_point) == (scale, zero_point)
        assert (quantize(part, one) == codes).all()


@pytest.mark.parametrize("granularity, where", LAYOUTS)
@pytest.mark.parametrize("mode", ["nearest", "stochastic"])
def test_memory_layout_does_not_matter(granularity, where, mode):
    x = np.random.default_rng(2).normal(size=(6, 10)).astype(np.float32)
    q = calibrate(x, bits=3, granularity=granularity, **where)
    wide = np.zeros((6, 20), np.float32)
    wide[:, ::2] = x
    readonly = x.copy()
    readonly.flags.writeable = False
    swapped = x.astype(">f4")
    expected = quantize(x, q, rounding=mode, rng=np.random.default_rng(0))
    for other in (np.asfortranarray(x), wide[:, ::2], x[::-1][::-1], readonly, swapped, x.tolist()):
        if isinstance(other, list):
            other = np.float32(other)
        kept = other.copy()
        assert (quantize(other, q, rounding=mode, rng=np.random.default_rng(0)) == expected).all()
        assert (other == kept).all(), "the input is not changed"


@pytest.mark.parametrize("scheme", ["symmetric", "affine"])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_equal_to_torch_except_at_ties(scheme, bits, axis):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(bits)
    for _ in range(20):
        x = (rng.normal(size=(7, 300)) * 10 ** rng.uniform(-3, 3) + rng.normal()).astype(np.float32)
        wanted = "per_tensor" if axis is None else "per_channel"
        q = calibrate(0.7 * x, bits=bits, scheme=scheme, granularity=wanted, axis=axis or 0)
        scale, zero_point = (torch.from_numpy(np.array(a)) for a in (q.scale, q.zero_point))
        if axis is None:
            theirs = torch.fake_quantize_per_tensor_affine(
                torch.from_numpy(x), scale, zero_point, q.qmin, q.qmax).numpy()
            steps = x.astype(np.float64) / float(q.scale)
        else:
            theirs = torch.fake_quantize_per_channel_affine(
                torch.from_numpy(x), scale, zero_point, axis, q.qmin, q.qmax).numpy()
            steps = x.astype(np.float64) / np.expand_dims(q.scale.astype(np.float64), 1 - axis)
        tie = np.abs(steps - np.floor(steps) - 0.5) < (np.abs(steps) + 2) * 2.0**-22
        assert tie.mean() < 0.01
        assert np.array_equal(fake_quantize(x, q)[~tie], theirs[~tie])


def test_scale_and_zero_point_equal_torch_observers():
    torch = pytest.importorskip("torch")
    from torch.ao.quantization.observer import MinMaxObserver
    x = np.random.default_rng(0).normal(0.3, 2, 500).astype(np.float32)
    observer = MinMaxObserver(dtype=torch.quint8, qscheme=torch.per_tensor_affine)
    observer(torch.from_numpy(x))
    scale, zero_point = observer.calculate_qparams()
    ours = calibrate(x, bits=8, scheme="affine")
    assert ours.scale == pytest.approx(float(scale), rel=1e-6)
    assert ours.zero_point == int(zero_point)


def test_saturation_and_signed_zero():
    q = qparams_from_range(-1, 1, bits=8, scheme="affine")
    assert quantize(np.array([np.inf, -np.inf, 1e30, -1e30]), q).tolist() == [255, 0, 255, 0]
    codes = quantize(np.array([0.0, -0.0, -1e-30]), q)
    assert (codes == q.zero_point).all()
    for back in (dequantize(codes, q), fake_quantize(np.array([0.0, -0.0, -1e-30]), q)):
        assert (back == 0).all() and not np.signbit(back).any()


@pytest.mark.parametrize("mode", Rounding)
def test_overflowing_quotients_saturate(mode):
    rng = np.random.default_rng(0)
    for dtype in (np.float32, np.float64):
        info = np.finfo(dtype)
        q = QParams(info.tiny, np.int32(3), -8, 7)
        x = np.array([info.max, -info.max, np.inf], dtype)
        assert quantize(x, q, rounding=mode, rng=rng).tolist() == [7, -8, 7]


@pytest.mark.parametrize("granularity, where", LAYOUTS)
def test_empty_stays_empty(granularity, where):
    for shape in ((0, 3), (3, 0)):
        ones = {"per_tensor": (), "per_channel": (shape[where.get("axis", 0)],),
                "per_group": (shape[0], -(-shape[1] // where.get("group_size", 1)))}[granularity]
        q = QParams(np.ones(ones, np.float32), np.zeros(ones, np.int32), -7, 7, granularity, **where)
        codes = quantize(np.zeros(shape, np.float32), q)
        assert codes.shape == shape and codes.dtype == np.int8
        assert dequantize(codes, q).shape == fake_quantize(np.zeros(shape, np.float32), q).shape == shape


def test_scalars_give_arrays_without_axes():
    q = qparams_from_range(-1, 1, bits=3, scheme="symmetric")
    for x in (np.float32(0.4), np.array(0.4), 0.4):
        code = quantize(x, q)
        assert code.shape == () and code == 1
        assert dequantize(code, q).shape == ()
    group = qparams_from_range([[-1]], [[1]], bits=3, scheme="symmetric", granularity="per_group", group_size=4)
    assert quantize(np.float32(0.4), group) == 1


def test_wider_dtype_decides():
    q32 = qparams_from_range(-1, 1, bits=8, scheme="affine")
    q64 = qparams_from_range(-1, 1, bits=8, scheme="affine", dtype=np.float64)
    x = np.random.default_rng(0).normal(size=500)
    assert fake_quantize(x, q32).dtype == np.float32
    assert fake_quantize(x.astype(np.float32), q64).dtype == np.float64
    assert (fake_quantize(x, q32) == dequantize(quantize(x, q32), q32)).all()


@pytest.mark.parametrize("function", [quantize, fake_quantize])
def test_refusals(function):
    q = qparams_from_range(-1, 1, bits=8, scheme="affine")
    channels = qparams_from_range(-np.ones(3), np.ones(3), bits=8, scheme="affine", granularity="per_channel", axis=0)
    groups = qparams_from_range(-np.ones((2, 3)), np.ones((2, 3)), bits=8, scheme="affine", granularity="per_group",
                                group_size=4)
    with pytest.raises(ValueError, match=r"x has 2 NaN, the first at index \(0, 1\)"):
        function(np.array([[0, np.nan], [np.nan, 1]]), q)
    with pytest.raises(ValueError, match="x has 1 NaN, the first; NaN has no code"):
        function(np.float32(np.nan), q)
    for wrong in (np.zeros(3, np.float16), np.zeros(3, int), np.zeros(3, complex), np.array(["a"])):
        with pytest.raises(TypeError, match=r"x has dtype .*must be float32 or float64: use x.astype\(np.float32\)"):
            function(wrong, q)
    with pytest.raises(TypeError, match=r"x has dtype int64; .*: use np.asarray\(x, np.float32\)"):
        function([1, 2], q)
    with pytest.raises(ValueError, match=r"x has shape \(4, 3\), .* scales of shape \(4,\) \(per channel on axis 0\)"):
        function(np.zeros((4, 3)), channels)
    with pytest.raises(ValueError, match="x has no axes"):
        function(np.float64(1), channels)
    with pytest.raises(ValueError, match=r"scales of shape \(2, 2\) \(per group of 4\); qparams has \(2, 3\)"):
        function(np.zeros((2, 8)), groups)
    with pytest.raises(ValueError, match="rounding='half_even' is not one of 'nearest', 'down'"):
        function(np.zeros(3), q, rounding="half_even")
    with pytest.raises(ValueError, match=r"rounding='stochastic' needs rng.* np.random.default_rng\(0\)"):
        function(np.zeros(3), q, rounding="stochastic")


def test_dequantize_refusals():
    q = qparams_from_range(-1, 1, bits=4, scheme="affine")
    with pytest.raises(TypeError, match="codes has dtype float64"):
        dequantize(np.zeros(3), q)
    with pytest.raises(ValueError, match=r"codes run from 3 to 16, outside \[qmin, qmax\] = \[0, 15\]"):
        dequantize(np.array([3, 16]), q)


def test_sqnr():
    x = np.array([3.0, 4.0])
    assert sqnr_db(x, x) == np.inf
    assert sqnr_db(x, x + [0.5, 0]) == pytest.approx(20)
    assert sqnr_db(np.zeros(2), x) == -np.inf
    assert sqnr_db(np.zeros(0), np.zeros(0)) == np.inf
    assert [sqnr_db(k * x, k * 0.9 * x) for k in (1e300, 1e-300)] == pytest.approx([20, 20])
    uniform = np.random.default_rng(0).uniform(-1, 1, 100_000)
    gained = [sqnr_db(uniform, fake_quantize(uniform, calibrate(uniform, bits=b))) for b in (6, 7, 8)]
    assert np.diff(gained) == pytest.approx([6.02, 6.02], abs=0.15)             # 6 dB a bit
    with pytest.raises(ValueError, match=r"x has shape \(2,\) and x_hat \(1,\)"):
        sqnr_db(x, x[:1])
    with pytest.raises(ValueError, match="must be finite"):
        sqnr_db(x, np.array([np.inf, 0]))


@pytest.mark.parametrize("mode", ["nearest", "stochastic"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("granularity, where", [
    ("per_tensor", {}), ("per_channel", {"axis": 0}), ("per_channel", {"axis": 1}), ("per_group", {"group_size": 128}),
    ("per_group", {"group_size": 37})])
def test_threads_and_given_results_change_nothing(granularity, where, dtype, mode):
    """Large enough to be cut up, and to be written past the caches where it lies aligned and where it does not."""
    x = np.random.default_rng(0).normal(size=(1031, 1100)).astype(dtype)
    q = calibrate(x, bits=8, granularity=granularity, **where)
    for function, kind in ((quantize, q.code_dtype), (fake_quantize, dtype)):
        run = lambda x=x, f=function, **more: f(x, q, rounding=mode, rng=np.random.default_rng(5), **more)     # noqa: E731
        one = run(threads=1)
        assert (one == run(threads=2)).all() and (one == run(threads=3)).all()
        room = np.empty(x.size + 16, kind)
        for shift in (0, 1, 5, 16):
            out = room[shift : shift + x.size].reshape(x.shape)
            assert run(out=out) is out and (out == one).all()
    if q.scale.dtype == dtype:
        kept = x.copy()
        assert fake_quantize(x, q, out=x) is x and (x == fake_quantize(kept, q)).all()


def test_one_row_in_many_groups_is_cut_between_groups():
    x = np.random.default_rng(0).normal(size=700_001).astype(np.float32)
    q = calibrate(x, bits=4, granularity="per_group", group_size=33)
    run = lambda threads: quantize(x, q, rounding="stochastic", rng=np.random.default_rng(0), threads=threads)  # noqa: E731
    assert (run(1) == run(2)).all() and (run(1) == run(3)).all()
    assert (fake_quantize(x, q, threads=3) == dequantize(quantize(x, q, threads=1), q)).all()


def test_a_nan_anywhere_is_found_by_the_kernel():
    q = QParams(np.float32(1), np.int32(0), -7, 7)
    for size, places in ((1, [0]), (33, [0, 31, 32]), (400_003, [0, 13, 200_000, 400_002])):
        for place in places:
            x = np.ones(size, np.float32)
            x[place] = np.nan
            for function in (quantize, fake_quantize):
                with pytest.raises(ValueError, match=rf"x has 1 NaN, the first at index \({place},\)"):
                    function(x, q)


def test_results_that_do_not_match_are_refused():
    x, q = np.ones((2, 3), np.float32), QParams(np.float32(1), np.int32(0), -7, 7)
    with pytest.raises(ValueError, match=r"out has shape \(3, 2\) and dtype int8; the result has \(2, 3\) and int8"):
        quantize(x, q, out=np.empty((3, 2), np.int8))
    with pytest.raises(ValueError, match="dtype float64; the result has .* float32"):
        fake_quantize(x, q, out=np.empty((2, 3)))
    with pytest.raises(ValueError, match="must be C-contiguous and writeable"):
        fake_quantize(x, q, out=np.empty((3, 2), np.float32).T)
