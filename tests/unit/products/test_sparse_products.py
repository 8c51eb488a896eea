"""Products with sparse weights: against their definitions, SciPy and NumPy in 64 bits, and at the edges."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse

from course_lib.coding import relative_index
from course_lib.machine import ways
from course_lib.products import (
    DeepCompressed,
    SparseCSR,
    TwoFour,
    is_two_four,
    matmul_codebook,
    matmul_codebook_plain,
    matmul_csr,
    matmul_csr_plain,
    matmul_two_four,
    matmul_two_four_plain,
    prune_two_four,
    two_four_mask,
)
from tests.unit.kernels import portable_sparse
from tests.unit.kernels.portable_sparse import assert_close, sparse_weights

inf, nan = np.inf, np.nan
f32 = np.float32


def csr(w, x, **options):
    return matmul_csr(SparseCSR.from_dense(w), x, **options)


def compressed(w, x, **options):
    return matmul_codebook(DeepCompressed.from_dense(w), x, **options)


def two_four(w, x, **options):
    return matmul_two_four(TwoFour.from_dense(w), x, **options)


@pytest.fixture(autouse=True, params=ways.WAYS)
def way(request):
    """Everything here holds in both ways, whichever is faster on this processor."""
    with ways.forced(request.param):
        yield


KINDS = {"csr": csr, "compressed": compressed, "two_four": two_four}


def weights_for(kind, rng, m, n, density=0.2):
    if kind == "two_four":
        return prune_two_four(rng.standard_normal((m, n)).astype(f32))
    return sparse_weights(rng, m, n, density, np.arange(1, 33) if kind == "compressed" else None)


def test_small_ones_on_this_processor():
    portable_sparse.trial()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("m", [0, 1, 2, 15, 16, 17, 33])
@pytest.mark.parametrize("n", [0, 1, 3, 4, 15, 17, 255, 256, 257, 1031])
def test_odd_sizes(kind, m, n):
    rng = np.random.default_rng(m * 2000 + n)
    for density in (0, 0.03, 0.3, 1):
        w = weights_for(kind, rng, m, n, density)
        for batch in ((), (0,), (1,), (4,), (5,), (17,), (64,), (80,), (113,)) if n < 300 else ((), (2,), (48,)):
            x = rng.standard_normal((*batch, n)).astype(f32)
            assert_close(KINDS[kind](w, x), w, x)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch", [(), (3,), (20,)])
def test_threads_change_nothing(kind, batch, monkeypatch):
    from course_lib.products import csr as sparse
    from course_lib.products import deep_compression as codebook
    from course_lib.products import two_four as two_four_module

    for module in (codebook, sparse, two_four_module):
        monkeypatch.setattr(module, "GRAIN", 1)                         # every row may be a part of its own
    rng = np.random.default_rng(5)
    w = weights_for(kind, rng, 101, 333)
    w[7:31] = 0                                                         # empty rows, in a part of their own too
    w[0] = w[-1] = 0
    x = rng.standard_normal((*batch, 333)).astype(f32)
    one = KINDS[kind](w, x, threads=1)
    for threads in (2, 3, 8, 101, 200):
        assert KINDS[kind](w, x, threads=threads).tobytes() == one.tobytes()


def test_rows_are_shared_by_their_weights():
    from course_lib.products.csr import share_rows

    parts = []
    sizes = np.array([0, 0, 1000, 1, 1, 1, 997, 0, 0, 0])
    share_rows(lambda *rows: parts.append(rows), np.concatenate([[0], np.cumsum(sizes)]), 2, 1)
    assert sorted(parts) == [(0, 3), (3, 10)]
    parts.clear()
    share_rows(lambda *rows: parts.append(rows), np.zeros(6, int), 2, 1)
    assert parts == [(0, 5)]


def test_csr_against_its_definition_and_scipy():
    rng = np.random.default_rng(0)
    w = sparse_weights(rng, 60, 90, 0.1)
    ours, theirs = SparseCSR.from_dense(w), scipy.sparse.csr_array(w)
    x = rng.standard_normal(90).astype(f32)
    plain = matmul_csr_plain(ours.values, ours.indices, ours.row_starts, x)
    np.testing.assert_allclose(matmul_csr(ours, x), plain, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(matmul_csr(ours, x), theirs @ x, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(ours.indices, theirs.indices)
    np.testing.assert_array_equal(ours.row_starts, theirs.indptr)


@pytest.mark.parametrize("kind", ["csr", "compressed"])
@pytest.mark.parametrize("batch", [1, 5])
def test_whole_numbers_come_out_exactly(kind, batch):
    rng = np.random.default_rng(batch)
    w = sparse_weights(rng, 64, 4096, 0.09, np.arange(-7, 8))
    x = rng.integers(-50, 51, (batch, 4096)).astype(f32)
    np.testing.assert_array_equal(KINDS[kind](w, x), (x @ w.T))


@pytest.mark.parametrize("batch", [1, 6])
def test_nan_and_infinity_as_in_scipy(batch):
    """Stored zeros multiply, entries that are not stored do not."""
    values = f32([1, 0, nan, inf, -2, 3, 1e38, -0.0])
    indices, row_starts = np.array([0, 1, 0, 2, 3, 3, 0, 0]), np.array([0, 1, 2, 3, 4, 6, 7, 8, 8])
    w = SparseCSR(values, indices, row_starts, (8, 4))
    theirs = scipy.sparse.csr_array((values, indices, row_starts), (8, 4))
    x = np.tile(f32([1e38, inf, 0, -inf]), (batch, 1))
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(matmul_csr(w, x), (theirs @ x.T).T)
    assert np.isnan(matmul_csr(w, x)[0, 1:5]).all()


@pytest.mark.parametrize("batch", [1, 6])
@pytest.mark.parametrize("k", [3, 16])
def test_fillers_and_missing_weights_multiply_nothing(k, batch):
    w = np.zeros((20, 3000), f32)
    w[:, 2999] = np.arange(20) % k + 1                                  # a long way with fillers, to the last column
    w[3, 0] = nan
    x = np.full((batch, 3000), inf, f32)
    x[:, 2999] = 2
    got = compressed(w, x)
    assert np.isnan(got[:, 3]).all()
    np.testing.assert_array_equal(np.delete(got, 3, 1), np.tile(np.delete(2 * w[:, 2999], 3), (batch, 1)))


def test_duplicates_add_up_and_any_order_will_do():
    w = SparseCSR(f32([1, 2, 4, 8]), [3, 0, 3, 1], [0, 3, 4], (2, 4))
    np.testing.assert_array_equal(w.to_dense(), [[2, 0, 0, 5], [0, 8, 0, 0]])
    np.testing.assert_array_equal(matmul_csr(w, f32([1, 10, 100, 1000])), [5002, 80])


def test_indices_are_narrow_up_to_65536_columns():
    for n, dtype in ((2**16, np.uint16), (2**16 + 1, np.uint32)):
        w = SparseCSR(f32([2, 3]), np.array([0, n - 1]), np.array([0, 2]), (1, n))
        assert w.indices.dtype == dtype and w.nbytes == 8 + 2 * dtype().itemsize + 16
        x = np.zeros(n, f32)
        x[[0, -1]] = 1, 10
        for batch in (x, np.tile(x, (5, 1))):
            assert (matmul_csr(w, batch) == 32).all()


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "bsr", "dia", "lil"])
def test_from_scipy(form):
    w = sparse_weights(np.random.default_rng(1), 12, 20, 0.2)
    ours = SparseCSR.from_scipy(scipy.sparse.csr_array(w).asformat(form))
    np.testing.assert_array_equal(ours.to_dense(), w)
    assert ours.density == np.count_nonzero(w) / w.size or form in ("bsr", "dia")


def test_round_trips_and_bytes():
    rng = np.random.default_rng(2)
    w = sparse_weights(rng, 40, 500, 0.09)
    assert np.array_equal(SparseCSR.from_dense(w).to_dense(), w)
    a = np.count_nonzero(w)
    assert SparseCSR.from_dense(w).nbytes == 6 * a + 8 * 41
    assert SparseCSR.from_dense(w[:0]).density == SparseCSR.from_dense(w[:, :0]).density == 0
    half = prune_two_four(rng.standard_normal((64, 512)).astype(f32))
    packed = TwoFour.from_dense(half)
    assert np.array_equal(packed.to_dense(), half)
    assert packed.nbytes == 64 * 256 * 4 + 64 * 256 // 4                # 32 + 2 bits for every second weight
    codes = np.rint(10 * half).astype(np.int8)
    assert TwoFour.from_dense(codes).nbytes == 64 * 256 + 64 * 256 // 4
    assert TwoFour.from_dense(codes).to_dense().dtype == np.int8


@pytest.mark.parametrize(("k", "dtype"), [(1, np.uint8), (15, np.uint8), (16, np.uint16), (32, np.uint16)])
def test_compressed_form(k, dtype):
    rng = np.random.default_rng(k)
    w = sparse_weights(rng, 100, 2500, 0.02, np.arange(1, k + 1))
    packed = DeepCompressed.from_dense(w)
    assert packed.entries.dtype == dtype and packed.codebook.tolist() == list(range(1, k + 1))
    assert np.array_equal(packed.to_dense(), w)
    assert packed.nbytes == packed.entries.nbytes + 8 * 8 + 4 * 112 + 4 * k
    codes = w.astype(np.uint8)                                          # value c is codebook entry c − 1
    index = relative_index(codes, 4 if dtype == np.uint8 else 10)
    assert np.count_nonzero(packed.entries) >= index.gaps.size          # and empty entries to fill up lanes
    x = rng.standard_normal(2500).astype(f32)
    plain = matmul_codebook_plain(index.gaps, index.values, index.row_starts, packed.codebook, x)
    np.testing.assert_allclose(matmul_codebook(packed, x), plain, rtol=1e-4, atol=1e-3)


def test_a_tenth_of_the_bytes():
    """At 9 % the compressed form is less than a tenth of the dense matrix, everything counted."""
    for k in (15, 32):
        w = sparse_weights(np.random.default_rng(k), 512, 4096, 0.09, np.arange(1, k + 1))
        assert 10 * DeepCompressed.from_dense(w).nbytes <= w.nbytes


@pytest.mark.parametrize("w", [f32([[nan, 1, 0, nan]]), f32([[-0.0, 0, 0, -0.0]]), f32([[inf, -inf, 1e-45, 0]])])
def test_unusual_weights_survive(w):
    for kind in (SparseCSR, DeepCompressed):
        np.testing.assert_array_equal(kind.from_dense(w).to_dense(), w)


def test_prune_two_four_keeps_the_two_largest():
    rng = np.random.default_rng(3)
    w = rng.integers(-3, 4, (500, 8)).astype(f32)                       # many ties
    w[0, 0], w[1, 1] = nan, -inf
    pruned = prune_two_four(w)
    for before, after in zip(w.reshape(-1, 4), pruned.reshape(-1, 4)):
        size = [inf if np.isnan(v) else abs(v) for v in before]
        kept = sorted(sorted(range(4), key=lambda i: (-size[i], i))[:2])
        np.testing.assert_array_equal(after, [v if i in kept else 0 for i, v in enumerate(before)])
    assert np.array_equal(prune_two_four(w[0]), pruned[0], equal_nan=True) and pruned is not w
    assert prune_two_four(w.reshape(5, 100, 8).astype(np.float64)).shape == (5, 100, 8)
    assert prune_two_four(f32([])).shape == (0,)
    assert np.array_equal(prune_two_four(f32([1, 2, 3, 4, 5, 6, 7])), [0, 0, 3, 4, 0, 6, 7])


def test_two_four_against_its_definition():
    rng = np.random.default_rng(4)
    w = prune_two_four(rng.standard_normal((9, 50)).astype(f32))
    x = rng.standard_normal(50).astype(f32)
    np.testing.assert_allclose(two_four(w, x), matmul_two_four_plain(w, x), rtol=1e-5, atol=1e-5)
    codes = np.rint(40 * w).astype(np.int8)
    np.testing.assert_allclose(two_four(codes, x), matmul_two_four_plain(codes, x), rtol=1e-5, atol=1e-3)


def test_a_group_of_two_four_keeps_two_weights_even_if_they_are_zero():
    assert np.isnan(two_four(f32([[0, 0, 5, 0]]), f32([inf, 0, 0, 0])))[0]
    assert two_four(f32([[0, 0, 5, 6]]), f32([inf, nan, 1, 1]))[0] == 11


def test_views_and_read_only_arrays():
    rng = np.random.default_rng(6)
    w = weights_for("two_four", rng, 40, 64)
    w[np.abs(w) < 1.5] = 0
    w[w != 0] = np.sign(w[w != 0])
    x = rng.standard_normal((6, 128)).astype(f32)
    w.flags.writeable = x.flags.writeable = False
    for call in KINDS.values():
        assert_close(call(w[::2], x[::2, ::2]), w[::2], x[::2, ::2])
        assert_close(call(np.asfortranarray(w), np.asfortranarray(x[:, 64:])), w, x[:, 64:])


W = f32([[0, 5, 0, 0], [0, 0, 0, 7]])


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda: SparseCSR(f32([1]), [0], [0, 1], (1, 2, 3)), ValueError, "shape=.* two whole numbers"),
    (lambda: SparseCSR(f32([1]), [0], [0, 1], (1, 2.5)), ValueError, "shape=2.5 must be a whole number"),
    (lambda: SparseCSR(np.float64([1]), [0], [0, 1], (1, 2)), TypeError, "values has dtype float64; it must be"),
    (lambda: SparseCSR(f32([[1]]), [0], [0, 1], (1, 2)), ValueError, r"values has shape \(1, 1\); it must have 1 axes"),
    (lambda: SparseCSR(f32([1]), [0.5], [0, 1], (1, 2)), TypeError, "indices has dtype float64"),
    (lambda: SparseCSR(f32([1]), [0, 1], [0, 1], (1, 2)), ValueError, "1 entries and indices 2"),
    (lambda: SparseCSR(f32([1]), [2], [0, 1], (1, 2)), ValueError, "indices run from 2 to 2; 2 columns have 0 to 1"),
    (lambda: SparseCSR(f32([1]), [-1], [0, 1], (1, 2)), ValueError, "indices run from -1"),
    (lambda: SparseCSR(f32([1]), [0], [0, 0, 1], (1, 2)), ValueError, "row_starts has 3 entries; 1 rows take 2"),
    (lambda: SparseCSR(f32([1]), [0], [[0, 1]], (1, 2)), ValueError, "row_starts has shape"),
    (lambda: SparseCSR(f32([1]), [0], [0, 2], (1, 2)), ValueError, "row_starts must go from 0 to 1"),
    (lambda: SparseCSR(f32([1]), [0], [0, 2, 1], (2, 2)), ValueError, "never descend"),
    (lambda: SparseCSR.from_dense(W.astype(int)), TypeError, "w has dtype int64; it must be float32"),
    (lambda: SparseCSR.from_dense(W[0]), ValueError, "w has shape"),
    (lambda: matmul_csr(W, W[0]), TypeError, "w is a ndarray; it must be a SparseCSR"),
    (lambda: csr(W, W[0].astype(np.float64)), TypeError, "x has dtype float64"),
    (lambda: csr(W, W[0, :3]), ValueError, r"x has shape \(3,\); it must be \(4,\) or \(batch, 4\)"),
    (lambda: csr(W, W[None]), ValueError, "x has shape"),
    (lambda: csr(W, W[0], threads=0), ValueError, "threads=0 must be"),
    (lambda: DeepCompressed.from_dense(f32([range(34)])), ValueError, "33 different values .* has 32 at most"),
    (lambda: DeepCompressed.from_dense(W.astype(int)), TypeError, "w has dtype int64"),
    (lambda: matmul_codebook(W, W[0]), TypeError, "w is a ndarray; it must be a DeepCompressed"),
    (lambda: compressed(W, W[0, :3]), ValueError, "x has shape"),
    (lambda: TwoFour.from_dense(f32([[1, 0, 0, 0, 0, 1, 2, 3]])), ValueError, r"w\[0, 4:8\] has more than two weights"),
    (lambda: TwoFour.from_dense(W.astype(int)), TypeError, "w has dtype int64; it must be float32 or int8"),
    (lambda: TwoFour.from_dense(W[0]), ValueError, "w has shape"),
    (lambda: matmul_two_four(W, W[0]), TypeError, "w is a ndarray; it must be a TwoFour"),
    (lambda: two_four(W, W[0].astype(int)), TypeError, "x has dtype int64"),
    (lambda: prune_two_four(W.astype(int)), TypeError, "w has dtype int64"),
    (lambda: prune_two_four(f32(1)), ValueError, "w is a single number"),
])
def test_errors_name_the_argument(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(("field", "value", "error", "message"), [
    ("entries", np.zeros(3, np.int32), TypeError, "entries is an array of int32"),
    ("rows", np.zeros((4, 4), np.int32), TypeError, "rows is an array of int32 with 2 axes"),
    ("codebook", np.ones(16, f32), ValueError, "codebook has 16 values; uint8 entries have 15 at most"),
    ("group_starts", np.array([0, 2]), ValueError, "group_starts must have 2 numbers that ascend from 0 to 1"),
    ("rows", np.zeros(16, np.int32), ValueError, "rows must name each of the 2 rows once"),
    ("entries", np.full(16, 0x41, np.uint8), ValueError, "entries lead past the 4 columns"),
    ("entries", np.full(16, 0x03, np.uint8), ValueError, "past the 2 values of the codebook"),
])
def test_damaged_compressed_weights_are_refused(field, value, error, message):
    """A column beyond x would read memory that is not ours."""
    with pytest.raises(error, match=message):
        dataclasses.replace(DeepCompressed.from_dense(W), **{field: value})


@pytest.mark.parametrize(("field", "value"), [
    ("values", np.zeros((1, 1, 4, 2, 2))), ("values", np.zeros((2, 1, 4, 2, 2), f32)),
    ("positions", np.zeros((1, 1, 16), np.int32)), ("positions", np.zeros((1, 2, 16), np.uint32)),
])
def test_damaged_two_four_weights_are_refused(field, value):
    with pytest.raises((TypeError, ValueError), match=f"{field} "):
        dataclasses.replace(TwoFour.from_dense(W), **{field: value})


@pytest.mark.parametrize("shape", [(5, 16), (3, 7), (2, 3, 9), (6,), (0, 4), (4, 0), (2, 1)])
def test_mask_and_predicate_of_two_four(shape):
    """The mask keeps two of every four, the largest, and its product is what pruning gives;
    the predicate knows both."""
    w = np.random.default_rng(0).integers(-3, 4, shape).astype(f32)
    mask, pruned = two_four_mask(w), prune_two_four(w)
    assert mask.dtype == bool and mask.shape == w.shape
    assert np.array_equal(np.where(mask, w, 0), pruned) and is_two_four(pruned) and is_two_four(mask)
    n = shape[-1]
    for group in range(0, n, 4):
        assert (mask[..., group : group + 4].sum(-1) == min(2, n - group)).all()
    assert is_two_four(w) == all((np.count_nonzero(w[..., g : g + 4], axis=-1) <= 2).all() for g in range(0, n, 4))


def test_two_four_is_what_the_product_takes():
    rng = np.random.default_rng(0)
    for _ in range(30):
        w = rng.integers(-1, 2, (2, 8)).astype(np.int8)
        try:
            TwoFour.from_dense(w)
        except ValueError:
            assert not is_two_four(w)
        else:
            assert is_two_four(w)
    assert not is_two_four([[nan, 1, 1, 0]]) and is_two_four(w.astype(float) * 0)
    with pytest.raises(ValueError, match="w is a single number"):
        two_four_mask(np.float32(1))
    with pytest.raises(TypeError, match="w has dtype int8"):
        two_four_mask(w)
