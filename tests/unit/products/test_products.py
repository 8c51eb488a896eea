"""Products of codes: exhaustive at tiny sizes, exact at the extremes, equal to NumPy and torch at real sizes."""

import itertools

import numpy as np
import pytest
import torch

from course_lib import products
from course_lib.products import PackedInt4, matmul_int4, matmul_int4_plain, matmul_int8, matmul_int8_plain

EXTREMES = {np.int8: (-128, -1, 0, 127), np.uint8: (0, 1, 128, 255)}


def codes(rng, shape, dtype, low=None, high=None):
    info = np.iinfo(dtype)
    return rng.integers(info.min if low is None else low, (info.max if high is None else high) + 1, shape).astype(dtype)


def exact(w, x):
    return x.astype(np.int64) @ w.astype(np.int64).T


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_every_pair_of_codes(dtype):
    """All 65 536 products of two codes, and in 4 bits all 4096."""
    w, x = np.arange(-128, 128, dtype=np.int8)[:, None], np.arange(256).astype(np.uint8).view(dtype)[:, None]
    assert np.array_equal(matmul_int8(w, x), exact(w, x))
    w4 = np.arange(-8, 8, dtype=np.int8)[:, None]
    assert np.array_equal(matmul_int4(PackedInt4.from_dense(w4), x), exact(w4, x))


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_every_short_vector_of_extremes_against_the_definition(dtype, n):
    rows = np.array(list(itertools.product(EXTREMES[np.int8], repeat=n)), np.int8)
    images = np.array(list(itertools.product(EXTREMES[dtype], repeat=n))).astype(dtype)
    plain = [matmul_int8_plain(rows, image) for image in images]
    assert np.array_equal(matmul_int8(rows, images), plain)
    rows4 = np.clip(rows, -8, 7)
    packed = PackedInt4.from_dense(rows4)
    assert np.array_equal(matmul_int4(packed, images), [matmul_int4_plain(packed, image) for image in images])


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_every_remainder_of_the_blocks(dtype):
    """Rows and images come in fours, with up to three left over; n meets every tail of a vector register."""
    rng = np.random.default_rng(0)
    for m, batch, n in itertools.product(range(9), range(9), (0, 1, 7, 8, 15, 16, 31, 33, 64, 67)):
        w, x = codes(rng, (m, n), np.int8), codes(rng, (batch, n), dtype)
        w4 = codes(rng, (m, n), np.int8, -8, 7)
        for threads in (1, 2, 3):
            assert np.array_equal(matmul_int8(w, x, threads=threads), exact(w, x))
            assert np.array_equal(matmul_int4(PackedInt4.from_dense(w4), x, threads=threads), exact(w4, x))


@pytest.mark.parametrize(("m", "n", "batch"), [(300, 784, 1), (300, 784, 64), (10, 100, 17), (257, 1025, 33)])
@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_real_sizes_for_any_number_of_threads(m, n, batch, dtype):
    rng = np.random.default_rng(m + n)
    w, x = codes(rng, (m, n), np.int8), codes(rng, (batch, n), dtype)
    w4 = codes(rng, (m, n), np.int8, -8, 7)
    for threads in (1, 2, 7, 64):
        assert np.array_equal(matmul_int8(w, x, threads=threads), exact(w, x))
        assert np.array_equal(matmul_int4(PackedInt4.from_dense(w4), x, threads=threads), exact(w4, x))


def test_equal_to_torch_int_mm():
    """With 7-bit codes: where a processor has no dot product of bytes, theirs adds two products in 16 bits, clipped."""
    rng = np.random.default_rng(1)
    w, x = (codes(rng, (rows, 784), np.int8, -64, 63) for rows in (48, 64))
    theirs = torch._int_mm(torch.from_numpy(x), torch.from_numpy(w).T.contiguous())
    assert np.array_equal(matmul_int8(w, x), theirs.numpy())


@pytest.mark.parametrize(("product", "w", "x", "longest"), [
    ("matmul_int8", -128, np.uint8(255), 65793), ("matmul_int8", -128, np.int8(-128), 131071),
    ("matmul_int4", -8, np.uint8(255), 1052688), ("matmul_int4", -8, np.int8(-128), 2097151),
])
def test_longest_sum_fits_and_one_more_is_refused(product, w, x, longest):
    """Every product at its extreme: the largest n is exact, the next one is an error that names n."""
    row, image = np.full((1, longest), w, np.int8), np.full(longest, x)
    weights = row if product == "matmul_int8" else PackedInt4.from_dense(row)
    assert getattr(products, product)(weights, image)[0] == longest * w * int(x)
    row, image = np.full((1, longest + 1), w, np.int8), np.full(longest + 1, x)
    weights = row if product == "matmul_int8" else PackedInt4.from_dense(row)
    with pytest.raises(ValueError, match=f"n = {longest + 1} .* must not exceed {longest}"):
        getattr(products, product)(weights, image)


def test_shapes_and_dtypes():
    w, x = np.ones((3, 4), np.int8), np.ones((2, 4), np.uint8)
    assert matmul_int8(w, x).shape == (2, 3) and matmul_int8(w, x[0]).shape == (3,)
    four = PackedInt4.from_dense(w)
    assert matmul_int4(four, x).shape == (2, 3) and matmul_int4(four, x[0]).shape == (3,)
    assert matmul_int8(w, x).dtype == matmul_int4(four, x).dtype == np.int32
    assert matmul_int8(w[:0], x).shape == (2, 0) and matmul_int8(w, x[:0]).shape == (0, 3)
    assert np.array_equal(matmul_int8(w[:, :0], x[:, :0]), np.zeros((2, 3)))
    assert np.array_equal(matmul_int4(PackedInt4.from_dense(w[:, :0]), x[:, :0]), np.zeros((2, 3)))


def test_views_and_read_only_arrays():
    rng = np.random.default_rng(2)
    w, x = codes(rng, (20, 30), np.int8), codes(rng, (10, 30), np.uint8)
    w.flags.writeable = x.flags.writeable = False
    for a, b in ((w[::2, ::3], x[::-1, ::3]), (w.T[:10], x.T[:20, :].T), (np.asfortranarray(w), np.asfortranarray(x))):
        if a.shape[1] == b.shape[1]:
            assert np.array_equal(matmul_int8(a, b), exact(a, b))
    low = np.clip(w, -8, 7)[::2, ::-1]
    assert np.array_equal(matmul_int4(PackedInt4.from_dense(low), x), exact(low, x))


@pytest.mark.parametrize("n", range(8))
def test_packed_int4_round_trip_and_layout(n):
    w = codes(np.random.default_rng(n), (5, n), np.int8, -8, 7)
    packed = PackedInt4.from_dense(w)
    assert packed.shape == (5, n) and packed.nbytes == 5 * -(-n // 2)
    assert np.array_equal(packed.to_dense(), w)
    for r, k in itertools.product(range(5), range(n)):
        assert int(packed.packed[r, k // 2]) >> (4 * (k % 2)) & 15 == w[r, k] % 16


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda w, x: matmul_int8(w.astype(np.int16), x), TypeError, "w has dtype int16; it must be int8"),
    (lambda w, x: matmul_int8(w, x.astype(np.float32)), TypeError, "x has dtype float32; it must be uint8 or int8"),
    (lambda w, x: matmul_int8(w[0], x), ValueError, r"w has shape \(4,\); it must have 2 axes"),
    (lambda w, x: matmul_int8(w, x[None]), ValueError, "x has shape .* 1 or 2 axes"),
    (lambda w, x: matmul_int8(w, x[:, :3]), ValueError, "equally long"),
    (lambda w, x: matmul_int8(w, x, threads=0), ValueError, "threads is 0; it should be a whole number from 1"),
    (lambda w, x: PackedInt4.from_dense(w + np.int8(9)), ValueError, "codes from 10 to 10; 4 bits hold"),
    (lambda w, x: PackedInt4.from_dense(w.astype(np.int64)), TypeError, "w has dtype int64"),
    (lambda w, x: matmul_int4(w, x), TypeError, "w is ndarray; it must be a PackedInt4"),
    (lambda w, x: matmul_int4(PackedInt4.from_dense(w), x[:, :3]), ValueError, "equally long"),
])
def test_errors_name_the_argument(call, error, message):
    with pytest.raises(error, match=message):
        call(np.ones((3, 4), np.int8), np.ones((2, 4), np.uint8))
