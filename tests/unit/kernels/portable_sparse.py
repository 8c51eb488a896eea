"""Sparse products, small enough for any processor: see test_portable.py."""

import numpy as np

from course_lib import products
from course_lib.coding import relative_index
from course_lib.machine import ways


def sparse_weights(rng, m, n, density, values=None):
    w = rng.standard_normal((m, n)) if values is None else rng.choice(values, (m, n))
    return (w * (rng.random((m, n)) < density)).astype(np.float32)


def assert_close(y, w, x):
    """Within what float32 sums in any order may be off: n units in the last place of the sum of magnitudes."""
    exact = x.astype(np.float64) @ w.astype(np.float64).T
    allowed = np.abs(x).astype(np.float64) @ np.abs(w.T).astype(np.float64) * (w.shape[1] + 1) * 2.0**-24
    assert y.dtype == np.float32 and y.shape == exact.shape
    assert (np.abs(y - exact) <= allowed).all()


def trial():
    for way in ways.WAYS:
        with ways.forced(way):
            _products()


def _products():
    rng = np.random.default_rng(0)
    for m, n in ((5, 7), (37, 300), (18, 1)):
        w = sparse_weights(rng, m, n, 0.2)
        few, many = (sparse_weights(rng, m, n, 0.2, values) for values in (np.arange(1, 16), np.arange(1, 33)))
        half = products.prune_two_four(rng.standard_normal((m, n)).astype(np.float32))
        codes = products.prune_two_four(rng.integers(-128, 128, (m, n)).astype(np.float32)).astype(np.int8)
        for batch in ((), (3,), (5,), (70,)):
            x = rng.standard_normal((*batch, n)).astype(np.float32)
            assert_close(products.matmul_csr(products.SparseCSR.from_dense(w), x), w, x)
            for v in (few, many):
                assert_close(products.matmul_codebook(products.DeepCompressed.from_dense(v), x), v, x)
            for v in (half, codes):
                assert_close(products.matmul_two_four(products.TwoFour.from_dense(v), x), v, x)
        assert (relative_index(few, 3).to_dense() == few).all()
    w = sparse_weights(rng, 3, 2**16 + 5, 0.001)                            # 32-bit indices, gaps with fillers
    x = rng.standard_normal(w.shape[1]).astype(np.float32)
    assert_close(products.matmul_csr(products.SparseCSR.from_dense(w), x), w, x)
    shared = np.sign(w)
    assert_close(products.matmul_codebook(products.DeepCompressed.from_dense(shared), x), shared, x)
