"""Every vector operation against NumPy, on small arrays: see test_portable.py."""

import numba
import numpy as np

from course_lib.machine import simd


@numba.njit
def dot(x, w):
    total = simd.splat(np.int32(0), 16)
    for i in range(0, x.size, 64):
        total = simd.dot4(total, simd.load(x, i), simd.load(w, i))
    return simd.sum(total)


@numba.njit
def four_everywhere(x, i, out):
    simd.store(out, 0, simd.splat4(x, i))


@numba.njit
def different_bits(a, b):
    total = simd.splat(np.uint64(0), 8)
    for i in range(0, a.size, 8):
        total = total + simd.popcount(simd.load(a, i) ^ simd.load(b, i))
    return simd.sum(total)


@numba.njit
def look_up(x, indices, out):
    for i in range(0, indices.size, 16):
        found = simd.gather(x, simd.convert(simd.load_lanes(indices, i, 16), np.int32))
        simd.store(out, i, simd.multiply_add(found, found, simd.rint(found)))


@numba.njit
def pick(x, indices, out):
    for i in range(0, indices.size, 16):
        simd.store(out, i, simd.pick(x, indices, i, 16))


@numba.njit
def arithmetic(a, b, out):
    x, y = simd.load(a, 0), simd.load(b, 0)
    simd.store(out, 0, x + y)
    simd.store(out, 16, x - y)
    simd.store(out, 32, x * y)
    simd.store(out, 48, x / y)


@numba.njit
def whole_numbers(a, b, out):
    x, y = simd.load(a, 0), simd.load(b, 0)
    simd.store(out, 0, x & y)
    simd.store(out, 16, x | y)
    simd.store(out, 32, x << simd.splat(np.int32(3), 16))
    simd.store(out, 48, x >> simd.splat(np.int32(3), 16))
    simd.store(out, 64, simd.maximum_int(x, y))
    simd.store(out, 80, simd.minimum_int(x, y))
    simd.store(out, 96, simd.convert(simd.reinterpret(simd.convert(x, np.float32), np.uint32), np.int32))


@numba.njit
def shifted_unsigned(a, out):
    simd.store(out, 0, simd.load(a, 0) >> simd.splat(np.uint32(3), 16))


@numba.njit
def sum_of_floats(a):
    return simd.sum(simd.load(a, 0))


def trial():
    rng = np.random.default_rng(0)
    x, w = rng.integers(0, 256, 4096).astype(np.uint8), rng.integers(-128, 128, 4096).astype(np.int8)
    x[:64], w[:64] = 255, -128                                      # the largest products
    assert dot(x, w) == x.astype(int) @ w.astype(int)
    out = simd.aligned((2, 32), np.uint8)
    four_everywhere(x, 3, out.reshape(-1))                          # from any address
    assert out.ctypes.data % 64 == 0 and np.array_equal(out.reshape(-1), np.tile(x[3:7], 16))
    a, b = (rng.integers(0, 2**64, 64, dtype=np.uint64) for _ in range(2))
    assert different_bits(a, b) == np.bitwise_count(a ^ b).sum()
    table, indices = rng.standard_normal(70_000).astype(np.float32), rng.integers(0, 2**16, 256).astype(np.uint16)
    out = np.empty(256, np.float32)
    look_up(table, indices, out)
    picked = np.empty_like(out)
    for kind in (np.uint16, np.int32, np.uint32):
        pick(table, indices.astype(kind), picked)
        assert (picked == table[indices]).all()
    exact = table[indices].astype(float) ** 2 + np.rint(table[indices])      # rounded once, so half a unit at most
    assert (np.abs(out - exact) <= np.spacing(np.abs(out)) / 2).all()
    f, g = (rng.standard_normal(16).astype(np.float32) for _ in range(2))
    f[:5], g[:5] = [np.nan, np.inf, -0.0, 0.0, 1.0], [1, -np.inf, 0.0, 0.0, 0.0]
    out = np.empty(64, np.float32)
    arithmetic(f, g, out)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(out, np.concatenate([f + g, f - g, f * g, f / g]))
    assert np.signbit(out[2 + 32]) and not np.signbit(out[2])               # −0 · 0 and −0 + 0
    i, j = (rng.integers(-(2**31), 2**31, 16).astype(np.int32) for _ in range(2))
    out = np.empty(112, np.int32)
    whole_numbers(i, j, out)
    bits = i.astype(np.float32).view(np.int32)
    np.testing.assert_array_equal(
        out, np.concatenate([i & j, i | j, i << 3, i >> 3, np.maximum(i, j), np.minimum(i, j), bits]))
    out = np.empty(16, np.uint32)
    shifted_unsigned(i.view(np.uint32), out)
    np.testing.assert_array_equal(out, i.view(np.uint32) >> 3)
    whole = np.arange(16, dtype=np.float32) - 3                             # exact in any order
    assert sum_of_floats(whole) == whole.sum()
