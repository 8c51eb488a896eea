"""Prepared weights: int8 in tiles and int4 in groups against their definitions, NumPy and torch, at every remainder."""

import itertools

import numpy as np
import pytest
import torch

from course_lib.kernels import matrix_unit
from course_lib.nets import LeNet300100
from course_lib.numerics import Granularity, calibrate, fake_quantize
from course_lib.products import (
    Int4Groups,
    PackedInt8,
    matmul_int4_groups,
    matmul_int4_groups_plain,
    matmul_int8,
    matmul_int8_plain,
)
from course_lib.ptq import quantize_model
from tests.unit.kernels import portable_dense
from tests.unit.kernels.portable_dense import exact, groups_bound

CODES = {np.uint8: (0, 256), np.int8: (-128, 128)}


def codes(rng, shape, dtype, low=None, high=None):
    low, high = CODES[dtype] if low is None else (low, high)
    return rng.integers(low, high, shape).astype(dtype)


@pytest.fixture(params=["as it is", "no matrix unit"])
def unit(request, monkeypatch):
    """With the matrix unit where there is one, and without."""
    if request.param == "no matrix unit":
        monkeypatch.setattr(matrix_unit, "allowed", lambda: False)


def test_the_trial_of_any_processor():
    portable_dense.trial()


# ---- int8


@pytest.mark.parametrize("dtype", CODES)
def test_every_remainder_of_the_blocks(dtype, unit):
    rng = np.random.default_rng(0)
    sizes = itertools.product((0, 1, 16, 31, 33, 65), (0, 1, 2, 3, 7, 8, 10, 11, 32, 35, 64), (0, 1, 63, 64, 65, 200))
    for m, batch, n in sizes:
        w, x = codes(rng, (m, n), np.int8), codes(rng, (batch, n), dtype)
        packed = PackedInt8.from_dense(w)
        assert np.array_equal(packed.to_dense(), w) and packed.shape == w.shape
        y = matmul_int8(packed, x)
        assert y.dtype == np.int32 and y.flags.c_contiguous
        assert np.array_equal(y, exact(w, x))


@pytest.mark.parametrize("dtype", CODES)
@pytest.mark.parametrize("batch", [1, 40])
def test_any_number_of_threads_gives_the_same(dtype, batch, unit):
    rng = np.random.default_rng(1)
    w, x = codes(rng, (3000, 300), np.int8), codes(rng, (batch, 300), dtype)
    packed = PackedInt8.from_dense(w)
    for threads in (1, 2, 3, 16):
        assert np.array_equal(matmul_int8(packed, x, threads=threads), exact(w, x))
        assert np.array_equal(matmul_int8(w, x, threads=threads), exact(w, x))


@pytest.mark.parametrize("dtype", CODES)
def test_every_pair_of_codes(dtype, unit):
    w = np.arange(-128, 128, dtype=np.int8)[:, None]
    x = np.arange(256).astype(np.uint8).view(dtype)[:, None]
    y = matmul_int8(PackedInt8.from_dense(w), x)
    assert np.array_equal(y, exact(w, x))
    assert y[3].tolist() == matmul_int8_plain(w, x[3])


@pytest.mark.parametrize(("x", "longest"), [(np.uint8(255), 65793), (np.int8(-128), 131071)])
@pytest.mark.parametrize("batch", [1, 8, 32])
def test_the_longest_sum_fits(x, longest, batch, unit):
    """With signed activations the sum on the way passes 2^32 and comes back."""
    w = np.full((1, longest), -128, np.int8)
    images = np.full((batch, longest), x)
    assert (matmul_int8(PackedInt8.from_dense(w), images) == longest * -128 * int(x)).all()
    with pytest.raises(ValueError, match=f"must not exceed {longest}"):
        matmul_int8(PackedInt8.from_dense(np.full((1, longest + 1), -128, np.int8)), np.full(longest + 1, x))


def test_equal_to_torch_int_mm(unit):
    """With 7-bit codes: where a processor has no dot product of bytes, theirs adds two products in 16 bits, clipped."""
    rng = np.random.default_rng(2)
    w, x = (codes(rng, (rows, 784), np.int8, -64, 63) for rows in (48, 64))
    theirs = torch._int_mm(torch.from_numpy(x), torch.from_numpy(w).T.contiguous())
    assert np.array_equal(matmul_int8(PackedInt8.from_dense(w), x), theirs.numpy())


def test_the_size_that_is_counted():
    packed = PackedInt8.from_dense(np.ones((33, 65), np.int8))
    assert isinstance(packed, PackedInt8)
    assert packed.nbytes == 64 * 128 + 4 * 64                       # whole pairs of tiles, and a sum for each row
    assert packed.tiles.ctypes.data % 64 == 0


def test_views_and_vectors():
    rng = np.random.default_rng(3)
    w, x = codes(rng, (40, 60), np.int8), codes(rng, (20, 60), np.uint8)
    w.flags.writeable = x.flags.writeable = False
    packed = PackedInt8.from_dense(w[::2, ::3])
    assert np.array_equal(matmul_int8(packed, x[::-2, ::3]), exact(w[::2, ::3], x[::-2, ::3]))
    assert np.array_equal(matmul_int8(packed, x[0, ::3]), exact(w[::2, ::3], x[0, ::3]))


def test_the_engine_gives_the_same_without_the_matrix_unit(monkeypatch):
    images = np.random.default_rng(4).random((70, 1, 28, 28), dtype=np.float32)
    model = quantize_model(LeNet300100().eval(), images[:32])
    with_unit = model.integer_only()(images)
    monkeypatch.setattr(matrix_unit, "allowed", lambda: False)
    assert np.array_equal(model.integer_only()(images), with_unit)


# ---- int4 in groups


@pytest.mark.parametrize("n", [1, 2, 8, 9])
def test_every_code_alone(n):
    """Each of the 16 codes in each column, times a power of two: exact."""
    small = np.zeros((16 * n, n), np.int8)
    small[np.arange(16 * n), np.arange(16 * n) // 16] = np.tile(np.arange(-8, 8), n)
    scales = np.full((16 * n, -(-n // 8)), 0.25, np.float32)
    w = Int4Groups.from_codes(small, scales, 8)
    assert np.array_equal(w.to_dense(), small / 4)
    x = (2.0 ** np.arange(n)).astype(np.float32)
    assert np.array_equal(matmul_int4_groups(w, x), small / 4 @ x)
    assert matmul_int4_groups(w, x).tolist() == matmul_int4_groups_plain(small, scales, x, 8)


@pytest.mark.parametrize(("m", "n", "group"), [(1, 1, 8), (33, 100, 16), (64, 256, 128), (70, 300, 128), (5, 64, 4096)])
@pytest.mark.parametrize("batch", [0, 1, 5])
def test_within_the_bound_of_float32_sums(m, n, group, batch):
    """Against the dequantized product in float64. The bound: group / 2 + groups + 4 roundings of terms of that size."""
    rng = np.random.default_rng(m + n)
    small, x = codes(rng, (m, n), np.int8, -8, 8), rng.standard_normal((batch, n)).astype(np.float32)
    scales = rng.uniform(1e-3, 1e3, (m, -(-n // group))).astype(np.float32)
    w = Int4Groups.from_codes(small, scales, group)
    bound, right = groups_bound(small, scales, x, group)
    results = [matmul_int4_groups(w, x, threads=threads) for threads in (1, 2, 3)]
    assert results[0].dtype == np.float32 and results[0].shape == (batch, m)
    assert (np.abs(results[0] - right) <= bound).all()
    assert all(np.array_equal(results[0], other) for other in results)
    if batch:
        np.testing.assert_allclose(matmul_int4_groups_plain(small, scales, x[0], group), right[0], rtol=1e-9, atol=1e-9)
        assert np.array_equal(matmul_int4_groups(w, x[0]), results[0][0])


def test_many_rows_for_any_number_of_threads():
    rng = np.random.default_rng(5)
    w = Int4Groups.from_codes(codes(rng, (4100, 512), np.int8, -8, 8), rng.random((4100, 4), dtype=np.float32))
    x = rng.standard_normal(512).astype(np.float32)
    one = matmul_int4_groups(w, x, threads=1)
    assert all(np.array_equal(matmul_int4_groups(w, x, threads=threads), one) for threads in (2, 3, 7))


def test_close_to_torch_int4pack():
    """Theirs rounds activations and scales to bfloat16, 8 bits: two roundings of 2^-9, and one of the result."""
    rng = np.random.default_rng(6)
    small, scales = codes(rng, (64, 256), np.int8, -8, 8), rng.uniform(0.5, 1, (64, 2)).astype(np.float32)
    x = rng.standard_normal((1, 256)).astype(np.float32)
    packed = torch._convert_weight_to_int4pack_for_cpu(torch.from_numpy(small.astype(np.int32) + 8), 2)
    by_group = torch.from_numpy(scales.T.copy())
    scale_and_zero = torch.stack([by_group, torch.zeros_like(by_group)], -1).to(torch.bfloat16)
    x_half = torch.from_numpy(x).to(torch.bfloat16)
    theirs = torch._weight_int4pack_mm_for_cpu(x_half, packed, 128, scale_and_zero).float().numpy()
    size = np.abs(x) @ np.abs(Int4Groups.from_codes(small, scales).to_dense()).T
    assert (np.abs(matmul_int4_groups(Int4Groups.from_codes(small, scales), x) - theirs) <= 3 * 2.0**-8 * size).all()


def test_from_dense_is_the_ordinary_quantizer():
    w = np.random.default_rng(7).standard_normal((20, 300)).astype(np.float32)
    q = calibrate(w, bits=4, granularity=Granularity.PER_GROUP, group_size=128)
    packed = Int4Groups.from_dense(w)
    assert np.array_equal(packed.to_dense(), fake_quantize(w, q))
    assert packed.nbytes == 32 * 304 // 2 + 4 * 32 * 3 and packed.group == 128


def test_infinity_and_nan_spread_as_in_any_product():
    w = Int4Groups.from_codes(np.array([[1, 0, -1]], np.int8), np.ones((1, 1), np.float32))
    assert matmul_int4_groups(w, np.array([np.inf, 1, 1], np.float32)) == np.inf
    assert np.isnan(matmul_int4_groups(w, np.array([1, np.inf, 1], np.float32))[0])
    assert np.isnan(matmul_int4_groups(w, np.array([1, np.nan, 1], np.float32))[0])


def test_empty_weights():
    w = Int4Groups.from_codes(np.zeros((0, 5), np.int8), np.zeros((0, 1), np.float32))
    assert matmul_int4_groups(w, np.ones((2, 5), np.float32)).shape == (2, 0) and w.to_dense().shape == (0, 5)
    w = Int4Groups.from_codes(np.zeros((3, 0), np.int8), np.zeros((3, 0), np.float32))
    assert np.array_equal(matmul_int4_groups(w, np.ones((2, 0), np.float32)), np.zeros((2, 3)))


SMALL, SCALES = np.ones((3, 4), np.int8), np.ones((3, 1), np.float32)


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda: PackedInt8.from_dense(SMALL.astype(np.int16)), TypeError, "w has dtype int16; it must be int8"),
    (lambda: matmul_int8(PackedInt8.from_dense(SMALL), np.ones(3, np.uint8)), ValueError, "equally long"),
    (lambda: matmul_int8(PackedInt8.from_dense(SMALL), np.ones(4, np.float32)), TypeError, "x has dtype float32"),
    (lambda: matmul_int8(PackedInt8.from_dense(SMALL), np.ones(4, np.uint8), threads=0), ValueError, "threads is 0"),
    (lambda: Int4Groups.from_codes(SMALL, SCALES, 12), ValueError, "group is 12; it should be a multiple of 8"),
    (lambda: Int4Groups.from_codes(SMALL, SCALES, 0), ValueError, "group=0 must be a whole number from 1"),
    (lambda: Int4Groups.from_codes(8 * SMALL, SCALES), ValueError, "codes go from 8 to 8; 4 bits hold"),
    (lambda: Int4Groups.from_codes(SMALL, SCALES.T), ValueError, r"scales has shape \(1, 3\); .* take \(3, 1\)"),
    (lambda: Int4Groups.from_codes(SMALL, SCALES.astype(float)), TypeError, "scales has dtype float64"),
    (lambda: Int4Groups.from_dense(SMALL), TypeError, "w has dtype int8; it must be float32"),
    (lambda: Int4Groups.from_dense(SCALES[:0]), ValueError, "it should have weights"),
    (lambda: matmul_int4_groups(SMALL, SCALES[0]), TypeError, "w is ndarray; it must be Int4Groups"),
    (lambda: matmul_int4_groups(Int4Groups.from_codes(SMALL, SCALES), SCALES), ValueError, "equally long"),
    (lambda: matmul_int4_groups(Int4Groups.from_codes(SMALL, SCALES), SMALL[0]), TypeError, "x has dtype int8"),
])
def test_errors_name_the_argument(call, error, message):
    with pytest.raises(error, match=message):
        call()
