"""Sparse weights: compressed rows, Deep Compression's form and 2:4, with one vector."""

from functools import partial

import numpy as np

from course_lib.bench.report import PLAIN
from course_lib.coding import relative_index
from course_lib.kernels import plain
from course_lib.machine import ways
from course_lib.measure import Case, Goal, Growth, Row
from course_lib.products import (
    DeepCompressed,
    SparseCSR,
    TwoFour,
    matmul_codebook,
    matmul_csr,
    matmul_two_four,
    prune_two_four,
)

SIZE = 4096
DENSE = "torch float32, dense"
OF_WAY = {"vector": "way by gathers", "plain": "way by plain loads"}  # ours is the faster one; see machine/ways.py
ANYWHERE = "a weight kept costs a load from anywhere in x, whatever the library"


def rows() -> list[Row]:
    """The rows of this family."""
    square, of_size = f"{SIZE}×{SIZE}", lambda n: 0.09 * n * n
    by_size = Growth("n²", (256, 512, 1024, 2048, 4096, 8192), lambda n: _csr_call(n, 0.09), 1.0, of_size,
                     lambda n: 6 * of_size(n))
    by_density = Growth("density", (0.5, 0.2, 0.09, 0.05, 0.02, 0.01, 0.005), lambda share: _csr_call(SIZE, share), 1.0,
                        lambda share: share * SIZE**2, lambda share: 6 * share * SIZE**2)
    return [
        Row("CSR product, 9 %", square, lambda: _csr_case(0.09), (Goal("best", 1.5), Goal(DENSE, 6)),
            ANYWHERE, by_size),
        Row("CSR product, 2 %", square, lambda: _csr_case(0.02), (Goal("best", 1.5), Goal(DENSE, 20)),
            f"{ANYWHERE}; so short a product is over before a sleeping second thread has woken, so it stays on one",
            by_density),
        Row("Deep Compression product, 9 %", f"{square}, 32 values", lambda: _compressed_case(32), (Goal(DENSE, 4),),
            ANYWHERE),
        Row("Deep Compression product in bytes, 9 %", f"{square}, 15 values", lambda: _compressed_case(15),
            (Goal(DENSE, 4),), ANYWHERE),
        Row("2:4 product", square, lambda: _two_four_case(np.float32), (Goal(DENSE, 2),),
            "34 bits are read for each weight kept, 64 by the dense product for each two: where memory alone decides "
            "that is 1.88 times"),
        Row("2:4 product, int8", square, lambda: _two_four_case(np.int8), (Goal(DENSE, 2),)),
    ]


def random_csr(n: int, density: float, values: np.ndarray | None = None) -> SparseCSR:
    """A random n × n SparseCSR: each entry is stored with probability ``density``; one of ``values``, or normal."""
    rng = np.random.default_rng(0)
    count = int(n * n * density)
    flat = np.cumsum(rng.geometric(density, count + 10 * int(count**0.5) + 100)) - 1      # the gaps are geometric
    flat = flat[flat < n * n]
    weights = rng.standard_normal(flat.size) if values is None else rng.choice(values, flat.size)
    row_starts = np.searchsorted(flat, np.arange(n + 1) * n)
    return SparseCSR(weights.astype(np.float32), flat % n, row_starts, (n, n))


def _csr_call(n, density):
    return partial(matmul_csr, random_csr(n, density), _vector(n))


def _csr_case(density):
    w = random_csr(SIZE, density)
    loop = partial(plain.csr, w.values, w.indices, w.row_starts, _vector(SIZE))
    return _case(partial(matmul_csr, w, _vector(SIZE)), loop, w, w)


def _compressed_case(k):
    levels = np.linspace(-1, 1, k).astype(np.float32)
    w = random_csr(SIZE, 0.09, levels[levels != 0] if k % 2 == 0 else levels + np.float32(2))
    dense = w.to_dense()
    compressed = DeepCompressed.from_dense(dense)
    assert 10 * compressed.nbytes <= 4 * SIZE**2, "no more than a tenth of the dense matrix"
    codes = np.zeros(w.shape, np.uint8)
    codes[dense != 0] = np.searchsorted(compressed.codebook, dense[dense != 0]) + 1
    index = relative_index(codes, 4 if k <= 15 else 10)
    loop = partial(plain.codebook, index.gaps, index.values, index.row_starts, compressed.codebook, _vector(SIZE))
    return _case(partial(matmul_codebook, compressed, _vector(SIZE)), loop, compressed, w)


def _two_four_case(dtype):
    w = np.random.default_rng(0).standard_normal((SIZE, SIZE)).astype(np.float32)
    w = prune_two_four(w if dtype == np.float32 else np.rint(20 * w).clip(-127, 127)).astype(dtype)
    kept = TwoFour.from_dense(w)
    fours = w.reshape(SIZE, -1, 4)
    places = np.argsort(fours == 0, axis=2, kind="stable")[:, :, :2]            # of those that are not zero
    values = np.take_along_axis(fours, places, 2).reshape(SIZE, -1)
    loop = partial(plain.two_four, values, places.astype(np.uint8).reshape(SIZE, -1), _vector(SIZE))
    return _case(partial(matmul_two_four, kept, _vector(SIZE)), loop, kept, w.astype(np.float32))


def _vector(n):
    return np.random.default_rng(1).standard_normal(n).astype(np.float32)


def _case(ours, loop, weights, same_weights):
    """Ours beside a plain loop, which writes where it is told, the dense product and, for a SparseCSR, the sparse ones
    of SciPy and PyTorch."""
    import torch

    x, sums = _vector(SIZE), np.empty(SIZE, np.float32)
    both = {PLAIN: lambda: loop(sums)}
    if not isinstance(weights, TwoFour):
        both |= {f"our {name}": partial(ways.call, way, ours) for way, name in OF_WAY.items()}
    sparse = isinstance(same_weights, SparseCSR)
    dense = torch.from_numpy(same_weights.to_dense() if sparse else same_weights)
    peers = {DENSE: partial(torch.mv, dense, torch.from_numpy(x))}
    if sparse:
        peers |= _sparse_peers(same_weights, x)
    kept = int(torch.count_nonzero(dense))

    def same():
        exact = dense.numpy().astype(np.float64) @ x
        loop(sums)
        calls = {"ours": ours, PLAIN: lambda: sums, **peers}
        for name, call in {**calls, **{name: call for name, call in both.items() if name != PLAIN}}.items():
            assert np.abs(np.asarray(call()) - exact).max() < 1e-5 * np.abs(exact).max(), name

    return Case(ours, peers | both, weights.nbytes + 8 * SIZE, 2 * kept, same=same)


def _sparse_peers(w, x):
    import warnings

    import torch

    starts, indices, values = (torch.from_numpy(a.astype(t)) for a, t in (
        (w.row_starts, np.int64), (w.indices, np.int64), (w.values, np.float32)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)                            # "in beta state"
        long = torch.sparse_csr_tensor(starts, indices, values, w.shape)
        short = torch.sparse_csr_tensor(starts.int(), indices.int(), values, w.shape)
    peers = {"torch CSR": partial(torch.mv, long, torch.from_numpy(x)),
             "torch CSR, 32-bit indices": partial(torch.mv, short, torch.from_numpy(x))}
    try:
        from scipy.sparse import csr_array
    except ImportError:
        return peers | {"SciPy CSR": "not installed: scipy"}
    matrix = csr_array((w.values, w.indices.astype(np.int32), w.row_starts.astype(np.int32)), w.shape)
    return peers | {"SciPy CSR": partial(matrix.__matmul__, x)}
