"""The kernel of the Monarch product against the formula: see test_portable.py."""

import numpy as np

from course_lib.kernels import monarch


def compare(s, r, p, q, batch, *, parts=1, seed=0):
    """Whole numbers, whose sums are exact in any order."""
    rng = np.random.default_rng(seed)
    left, right, x = (rng.integers(-8, 9, shape).astype(np.float32) for shape in ((s, r, p), (p, s, q), (batch, p, q)))
    out = np.full((batch, r, s), np.nan, np.float32)
    pieces = -(-s // monarch.LANES) * -(-batch // monarch.SAMPLES)
    cuts = np.linspace(0, pieces, parts + 1).astype(int)
    for start, stop in zip(cuts[:-1], cuts[1:]):
        monarch.monarch(x.ravel(), batch, left.ravel(), (s, r, p, q), right.ravel(), start, stop, out.ravel())
    exact = np.einsum("jlk,kji,bki->blj", *(a.astype(np.int64) for a in (left, right, x)))
    np.testing.assert_array_equal(out, exact)


def trial():
    compare(16, 16, 16, 16, 8)
    compare(37, 3, 5, 7, 11, parts=3)
