"""Sparse weights survive every form they are kept in, and are multiplied the same in all of them."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from course_lib.coding import from_relative_index_plain, relative_index, relative_index_plain
from course_lib.products import (
    DeepCompressed,
    SparseCSR,
    TwoFour,
    matmul_codebook,
    matmul_csr,
    matmul_two_four,
    prune_two_four,
)


@st.composite
def sparse_codes(draw, largest=32):
    m, n = draw(st.integers(0, 20)), draw(st.integers(0, 90))
    w = np.zeros((m, n), np.int64)
    if m and n:
        entry = st.tuples(st.integers(0, m - 1), st.integers(0, n - 1), st.integers(1, largest))
        for r, c, code in draw(st.lists(entry, max_size=60)):
            w[r, c] = code
    return w


@given(sparse_codes(), st.integers(1, 6))
def test_relative_index_round_trip(w, bits):
    index = relative_index(w, bits)
    assert np.array_equal(index.to_dense(), w)
    assert index.gaps.size == np.count_nonzero(w) + index.fillers
    plain = [relative_index_plain(row, bits) for row in w.tolist()]
    assert list(zip(index.gaps.tolist(), index.values.tolist())) == [entry for row in plain for entry in row]
    assert [from_relative_index_plain(row, w.shape[1]) for row in plain] == w.tolist()


@given(sparse_codes(), st.integers(0, 20), st.integers(1, 4))
def test_products_of_whole_numbers_are_exact_in_every_form(w, batch, threads):
    weights = w.astype(np.float32)
    x = (np.arange(batch * w.shape[1]) % 201 - 100).reshape(batch, w.shape[1]).astype(np.float32)
    half = prune_two_four(weights)
    assert np.array_equal(matmul_csr(SparseCSR.from_dense(weights), x, threads=threads), x @ weights.T)
    assert np.array_equal(matmul_codebook(DeepCompressed.from_dense(weights), x, threads=threads), x @ weights.T)
    assert np.array_equal(matmul_two_four(TwoFour.from_dense(half), x, threads=threads), x @ half.T)
    for kind, kept in ((SparseCSR, weights), (DeepCompressed, weights), (TwoFour, half)):
        assert np.array_equal(kind.from_dense(kept).to_dense(), kept)


@given(st.lists(st.floats(width=32), max_size=30))
def test_prune_two_four_keeps_two_of_four(row):
    w = np.array([row], np.float32)
    pruned = prune_two_four(w)
    kept = (pruned != 0)
    assert np.array_equal(pruned[kept], w[kept], equal_nan=True)
    for group in range(0, len(row), 4):
        before, after = np.abs(w[0, group : group + 4]), np.abs(pruned[0, group : group + 4])
        assert np.count_nonzero(after) == min(2, np.count_nonzero(before))
        assert np.array_equal(np.sort(after)[-2:], np.sort(before)[-2:], equal_nan=True)
