"""Calibration: each method against its definition and its promise, in every layout, and at the edges."""

import numpy as np
import pytest

from course_lib.kernels.histogram import clipping_divergence_rows
from course_lib.numerics import (
    Calibration,
    Scheme,
    calibrate,
    calibrate_batches,
    clipping_divergence_one,
    fake_quantize,
    moving_average_one,
)

RNG = np.random.default_rng(0)
NORMAL = RNG.normal(size=4000).astype(np.float32)
LONG_TAIL = RNG.standard_t(3, size=(8, 500)).astype(np.float32)
RELU = np.maximum(RNG.normal(size=4000), 0).astype(np.float32)
METHODS_SCHEMES = [(m, s) for m in Calibration for s in Scheme]


def squared_error(x, q):
    return float(((x.astype(np.float64) - fake_quantize(x, q)) ** 2).sum())


def test_minmax_is_the_range_of_the_data():
    q = calibrate(NORMAL, bits=8)
    assert q.scale == np.abs(NORMAL).max() / np.float32(127)
    q = calibrate(NORMAL, bits=8, scheme="affine")
    assert q.scale == pytest.approx((float(NORMAL.max()) - float(NORMAL.min())) / 255, rel=1e-6)


def test_percentile_leaves_out_its_share():
    q = calibrate(NORMAL, bits=8, method="percentile", percentile=99)
    outside = np.mean(np.abs(NORMAL) > q.clipping_range[1])
    assert outside == pytest.approx(0.01, abs=0.0005)
    q = calibrate(NORMAL, bits=16, scheme="affine", method="percentile", percentile=99)
    low, high = q.clipping_range
    assert np.mean(NORMAL < low) == pytest.approx(0.01, abs=0.0005)
    assert np.mean(NORMAL > high) == pytest.approx(0.01, abs=0.0005)
    for scheme in Scheme:
        assert calibrate(NORMAL, bits=8, scheme=scheme, method="percentile", percentile=100) == calibrate(
            NORMAL, bits=8, scheme=scheme)


@pytest.mark.parametrize("scheme", Scheme)
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("data", [NORMAL, LONG_TAIL, RELU, LONG_TAIL.astype(np.float64), -RELU])
def test_mse_is_never_worse_than_a_plain_search(data, bits, scheme):
    """Never worse than min-max, and as good as trying 100 shrunken ranges one after the other."""
    found = squared_error(data, calibrate(data, bits=bits, scheme=scheme, method="mse"))
    assert found <= squared_error(data, calibrate(data, bits=bits, scheme=scheme))
    grid = []
    for share in np.arange(1, 101) / 100:
        clipped = np.clip(data, data.min() * share, data.max() * share) if scheme is Scheme.AFFINE else (
            np.clip(data, -np.abs(data).max() * share, np.abs(data).max() * share))
        grid.append(squared_error(data, calibrate(clipped, bits=bits, scheme=scheme)))
    assert found <= 1.02 * min(grid)


def test_mse_clips_at_two_bits_and_hardly_at_eight():
    full = np.abs(NORMAL).max()
    ends = [calibrate(NORMAL, bits=b, method="mse").clipping_range[1] / full for b in (2, 4, 8)]
    assert ends[0] < ends[1] < ends[2] <= 1
    assert ends[0] * full == pytest.approx(1.224, abs=0.06)     # the best three levels for a normal, Max 1960


@pytest.mark.parametrize("levels", [2, 3, 8, 127, 128, 256, 700])
def test_divergence_equals_its_definition(levels):
    counts = RNG.poisson(40 * np.exp(-np.arange(300) / 40), size=(4, 300)).astype(np.int64)
    counts[:, -1] += 3
    counts[1, 0] = counts[2, 199] = counts[3, 20] = 0
    counts[3, 100:] = 0
    kept = np.array([(0, 300), (0, 200), (0, 131), (20, 250), (1, 9), (120, 140), (298, 300)])
    first, last = (np.ascontiguousarray(np.tile(end, (4, 1))) for end in kept.T)
    got = np.empty(first.shape)
    clipping_divergence_rows(counts, first, last, levels, got)
    for row, losses in zip(counts[:3], got):
        wanted = [clipping_divergence_one(row.tolist(), a, b, levels) for a, b in kept.tolist()]
        assert losses == pytest.approx(wanted, rel=1e-9, abs=1e-11)
    assert got[3, -2:].tolist() == [np.inf, np.inf], "nothing is kept"


def test_divergence_by_hand():
    # P = (3, 1, 1, 1) / 6 in one code: Q = (1, 1, 1, 1) / 4; and all lost where the kept part is empty
    assert clipping_divergence_one([3, 1, 1, 1], 0, 4, 1) == pytest.approx(0.5 * np.log(2) + 0.5 * np.log(2 / 3))
    gap = 2 / 7 * np.log(3 / 7) + 5 / 7 * np.log(15 / 7)         # the code of an empty gap, with five clipped: as one
    assert clipping_divergence_one([1, 1, 0, 5], 0, 3, 3) == pytest.approx(gap)
    assert clipping_divergence_one([0, 0, 0, 5], 0, 3, 3) == np.inf


@pytest.mark.parametrize("scheme", Scheme)
def test_histogram_clips_a_far_outlier_and_not_a_uniform(scheme):
    data = np.append(NORMAL, np.float32(40))
    low, high = calibrate(data, bits=8, scheme=scheme, method="histogram").clipping_range
    assert 2.4 < high < 20
    uniform = RNG.uniform(-1, 1, 20_000).astype(np.float32)
    low, high = calibrate(uniform, bits=8, scheme=scheme, method="histogram").clipping_range
    assert low == pytest.approx(-1, abs=0.08) and high == pytest.approx(1, abs=0.08)


@pytest.mark.parametrize("scheme", Scheme)
@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("outlier", [30, 100, 1e4, -1e9])
def test_histogram_clips_a_lone_outlier_however_far(outlier, bits, scheme):
    """Also beyond sixteen times the rest, where only a gap lies between: the range is about that of the rest alone."""
    rest = np.random.default_rng(0).normal(size=5000).astype(np.float32)
    how = {"bits": bits, "scheme": scheme, "method": "histogram"}
    alone = calibrate(rest, **how).clipping_range
    beside = calibrate(np.append(rest, np.float32(outlier)), **how).clipping_range
    assert 0.5 < (beside[1] - beside[0]) / (alone[1] - alone[0]) < 2
    few = np.array([0.1, -0.2, 0.15, 0.2, outlier])             # one in five, but one
    assert max(np.abs(calibrate(few, **how).clipping_range)) < abs(outlier) / 8


def test_histogram_clips_none_of_a_few_numbers_that_all_have_a_code():
    """Where nothing is lost without clipping, nothing is clipped: a divergence is never below 0."""
    rng = np.random.default_rng(0)
    x = rng.permuted(np.tile(np.linspace(0.04, 1, 25), (40, 1)), axis=1) * rng.choice([-1, 1], (40, 25))
    q = calibrate(x, bits=8, granularity="per_channel", method="histogram")
    np.testing.assert_allclose(q.clipping_range[1], np.abs(x).max(1))
    assert clipping_divergence_one([1, 0, 1, 1, 0, 0, 0, 1], 0, 6, 3) == pytest.approx(0, abs=1e-15)


def test_histogram_keeps_a_second_group_of_numbers():
    """One in fifty, a thousand times as large: those are no outliers, and the range is not drawn in to the rest."""
    x = np.random.default_rng(0).normal(size=5000)
    x[::50] *= 1e3
    assert calibrate(x, bits=8, method="histogram").clipping_range[1] > 200


def test_histogram_leaves_out_exact_zeros():
    dense = calibrate(RELU[RELU > 0], bits=4, scheme="affine", method="histogram")
    sparse = calibrate(np.append(RELU, np.zeros(50_000, np.float32)), bits=4, scheme="affine", method="histogram")
    assert dense == sparse
    wide = calibrate(RELU, bits=16, scheme="affine", method="histogram")       # a code for every bin: nothing to lose
    assert wide == calibrate(RELU, bits=16, scheme="affine")


@pytest.mark.parametrize("method, scheme", METHODS_SCHEMES)
def test_layouts_agree_with_per_tensor_on_their_parts(method, scheme):
    x = LONG_TAIL[:3, :110].reshape(3, 2, 55)
    keywords = {"bits": 4, "scheme": scheme, "method": method}
    q = calibrate(x, granularity="per_channel", axis=1, **keywords)
    for c in range(2):
        one = calibrate(x[:, c], **keywords)
        assert (one.scale, one.zero_point) == (q.scale[c], q.zero_point[c])
    q = calibrate(x, granularity="per_group", group_size=20, **keywords)
    assert q.scale.shape == (6, 3)
    for r, row in enumerate(x.reshape(6, 55)):
        for g in range(3):
            one = calibrate(row[20 * g : 20 * g + 20], **keywords)
            assert (one.scale, one.zero_point) == (q.scale[r, g], q.zero_point[r, g])


@pytest.mark.parametrize("method, scheme", METHODS_SCHEMES)
@pytest.mark.parametrize("c", [2.5, -2.5, 0.0, 1e-35, 3e38])
def test_constant_parts_round_trip_beside_others(method, scheme, c):
    x = np.stack([np.full(40, c), np.linspace(-1, 2, 40), np.zeros(40)]).astype(np.float32)
    q = calibrate(x, bits=3, scheme=scheme, granularity="per_channel", method=method)
    assert (fake_quantize(x, q)[[0, 2]] == x[[0, 2]]).all()
    assert fake_quantize(x[0], calibrate(x[0], bits=3, scheme=scheme, method=method)).tolist() == x[0].tolist()


@pytest.mark.parametrize("method, scheme", METHODS_SCHEMES)
@pytest.mark.parametrize("data", [
    np.linspace(1, 2, 50), np.linspace(-2, -1, 50), np.array([-3e38, 3e38]), np.array([1e-45, 2e-45, -1e-45]),
    np.append(np.zeros(5000), 3.0), np.append(np.full(5000, 2.0), 9.0), np.array(5.0), np.array([1e-38, 1e38]),
])
def test_every_method_survives_hard_data(method, scheme, data):
    data = data.astype(np.float32)
    q = calibrate(data, bits=4, scheme=scheme, method=method)
    back = fake_quantize(data, q)
    assert np.isfinite(back).all()
    low, high = q.clipping_range
    inside = (data >= low) & (data <= high)
    assert inside.any()
    assert (np.abs(back.astype(np.float64) - data)[inside] <= 0.5001 * float(q.scale)).all()


@pytest.mark.parametrize("method", Calibration)
def test_input_is_not_changed_and_its_dtype_is_kept(method):
    for dtype in (np.float32, np.float64):
        x = LONG_TAIL.astype(dtype)
        kept = x.copy()
        assert calibrate(np.asfortranarray(x), bits=5, method=method).scale.dtype == dtype
        assert calibrate(x[::-1], bits=5, method=method) == calibrate(x, bits=5, method=method)
        assert (x == kept).all()


def test_many_groups_are_worked_on_in_portions():
    x = RNG.normal(size=(300, 16)).astype(np.float32)
    q = calibrate(x, bits=3, granularity="per_channel", method="histogram")
    assert q.scale[280] == calibrate(x[280], bits=3, method="histogram").scale


def test_refusals():
    x = np.ones((2, 3), np.float32)
    for method in Calibration:
        with pytest.raises(ValueError, match=r"x has 1 NaN, the first at index \(1,\)"):
            calibrate([1.0, np.nan], bits=8, method=method)
        with pytest.raises(ValueError, match=r"x has 1 infinities, the first at index \(0,\)"):
            calibrate([-np.inf, 1.0], bits=8, method=method)
        with pytest.raises(ValueError, match=r"x is empty \(shape \(0, 3\)\)"):
            calibrate(np.zeros((0, 3), np.float32), bits=8, method=method)
    with pytest.raises(TypeError, match="x has dtype int64"):
        calibrate([1, 2], bits=8)
    with pytest.raises(ValueError, match="method='entropy' is not one of 'minmax', 'percentile', 'mse', 'histogram'"):
        calibrate(x, bits=8, method="entropy")
    with pytest.raises(ValueError, match="granularity='channel' is not one of"):
        calibrate(x, bits=8, granularity="channel")
    with pytest.raises(ValueError, match="needs group_size, for instance group_size=128"):
        calibrate(x, bits=8, granularity="per_group")
    with pytest.raises(ValueError, match="group_size=0 must be"):
        calibrate(x, bits=8, granularity="per_group", group_size=0)
    with pytest.raises(ValueError, match=r"axis \(x has 2 axes\)=2 must be a whole number from -2 to 1"):
        calibrate(x, bits=8, granularity="per_channel", axis=2)
    with pytest.raises(ValueError, match="percentile=40 must be above 50"):
        calibrate(x, bits=8, method="percentile", percentile=40)
    with pytest.raises(ValueError, match=r"bits \(symmetric\)=1"):
        calibrate(x, bits=1)


# -- moving average over batches ---------------------------------------------------------------------------------------


BATCHES = [np.float32([0, 1]), np.float32([-2, 3]), np.float32([0, 2])]


def test_moving_average_is_the_recursion_of_its_definition():
    low = high = None
    for batch in BATCHES:
        low = batch.min() if low is None else moving_average_one(low, batch.min(), 0.75)
        high = batch.max() if high is None else moving_average_one(high, batch.max(), 0.75)
    assert (low, high) == (-0.375, 1.625)                   # 3/4 of −1/2; 3/4 of 3/2 and a quarter of 2
    q = calibrate_batches(BATCHES, bits=8, momentum=0.75)
    assert q == calibrate(np.float32([low, high]), bits=8, scheme="affine")


def test_moving_average_agrees_with_torchs_observer():
    torch = pytest.importorskip("torch")
    from torch.ao.quantization import MovingAverageMinMaxObserver

    batches = [RNG.normal(size=50).astype(np.float32) for _ in range(20)]
    observer = MovingAverageMinMaxObserver(averaging_constant=0.1, dtype=torch.quint8)
    for batch in batches:
        observer(torch.from_numpy(batch))
    scale, zero_point = observer.calculate_qparams()
    q = calibrate_batches(batches, bits=8, momentum=0.9)
    assert q.scale == pytest.approx(scale.item(), rel=1e-5) and abs(int(q.zero_point) - zero_point.item()) <= 1


def test_moving_average_forgets_an_outlier_and_minmax_does_not():
    calm = [np.float32([0, 1])] * 30
    batches = [*calm, np.float32([0, 101]), *calm]
    assert calibrate_batches(batches[:31], bits=8).clipping_range[1] == pytest.approx(11, rel=1e-5)
    assert calibrate_batches(batches, bits=8).clipping_range[1] == pytest.approx(1 + 10 * 0.9**30, rel=1e-5)
    assert calibrate(np.concatenate(batches), bits=8, scheme="affine").clipping_range[1] == pytest.approx(101)


def test_one_batch_is_its_own_average():
    assert calibrate_batches([NORMAL], bits=4) == calibrate(NORMAL, bits=4, scheme="affine")
    assert calibrate(NORMAL, bits=4, scheme="affine", method="moving_average") == calibrate_batches([NORMAL], bits=4)
    assert calibrate_batches(iter([NORMAL]), bits=4, scheme="symmetric") == calibrate(NORMAL, bits=4)


@pytest.mark.parametrize("constant", [0.0, -0.0, 0.3, -7.0])
def test_constant_batches_round_trip(constant):
    x = np.full(5, constant, np.float32)
    assert (fake_quantize(x, calibrate_batches([x] * 7, bits=2)) == x).all()


@pytest.mark.parametrize("batches, words", [
    ([], "no moving average of none"),
    ([NORMAL, np.float32([])], "batch 1 is empty"),
    ([NORMAL, NORMAL, np.float32([1, np.nan])], "batch 2 has 1 NaN"),
    ([np.float32([np.inf])], "batch 0 has 1 infinities"),
])
def test_batches_that_have_no_range(batches, words):
    with pytest.raises(ValueError, match=words):
        calibrate_batches(batches, bits=8)


@pytest.mark.parametrize("momentum", [1, -0.1, float("nan"), "0.9", True])
def test_momentum_out_of_range(momentum):
    with pytest.raises(ValueError, match="momentum=.* must be at least 0 and below 1"):
        calibrate_batches([NORMAL], bits=8, momentum=momentum)
