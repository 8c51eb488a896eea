"""The clustering kernels on small arrays, for a processor without any special instructions (see test_portable.py)."""

import numpy as np

from course_lib.numerics import kmeans, kmeans_optimal, kmeans_plain, nearest_level


def trial():
    x = np.random.default_rng(0).normal(size=133).astype(np.float32)
    for k in (1, 2, 5, 17, 33, 100, 256):
        levels = np.linspace(-2, 2, k)
        assert (nearest_level(x, levels) == np.searchsorted(levels[:-1] / 2 + levels[1:] / 2, x)).all()
    result = kmeans(x, 5, start=[-2.0, -1, 0, 1, 2])
    np.testing.assert_allclose(result.codebook, kmeans_plain(x.tolist(), [-2.0, -1, 0, 1, 2])[0], rtol=1e-6)
    assert kmeans_optimal(x, 5).sse <= result.sse * (1 + 1e-9)
