"""Dense products on small arrays, in every block and remainder: see test_portable.py."""

import numpy as np

from course_lib import products


def exact(w, x):
    return x.astype(np.int64) @ w.astype(np.int64).T


def groups_bound(codes, scales, x, group):
    """What sums in float32 may be off, in the order in which the kernel takes them; and the exact result."""
    w = codes * np.repeat(scales.astype(np.float64), group, axis=1)[:, : codes.shape[1]]
    size = np.abs(x).astype(np.float64) @ np.abs(w).T
    return (group / 2 + scales.shape[1] + 4) * 2.0**-24 * size, x.astype(np.float64) @ w.T


def trial():
    rng = np.random.default_rng(0)
    for m, n in ((1, 1), (5, 63), (31, 64), (33, 70), (70, 200)):
        w = rng.integers(-128, 128, (m, n)).astype(np.int8)
        small = rng.integers(-8, 8, (m, n)).astype(np.int8)
        scales = rng.uniform(0.5, 2, (m, -(-n // 32))).astype(np.float32)
        packed, groups = products.PackedInt8.from_dense(w), products.Int4Groups.from_codes(small, scales, 32)
        for batch in (1, 2, 3, 8, 11, 33):
            for dtype, low in ((np.uint8, 0), (np.int8, -128)):
                x = rng.integers(low, low + 256, (batch, n)).astype(dtype)
                np.testing.assert_array_equal(products.matmul_int8(packed, x), exact(w, x))
                np.testing.assert_array_equal(products.matmul_int8(w, x), exact(w, x))
                four = products.PackedInt4.from_dense(small)
                np.testing.assert_array_equal(products.matmul_int4(four, x), exact(small, x))
            x = rng.standard_normal((batch, n)).astype(np.float32)
            bound, right = groups_bound(small, scales, x, 32)
            assert (np.abs(products.matmul_int4_groups(groups, x) - right) <= bound).all()
