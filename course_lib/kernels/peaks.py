"""Arithmetic on what lies in registers and nothing else, and a copy: how fast this processor can go.

The benchmarks' limits.

Eight sums that do not wait for one another keep the arithmetic units busy; each number that comes out depends on every
step, so that the compiler can leave none away.
"""

import numpy as np
from numba import float32, int8, int32, int64, types, uint8, uint64

from course_lib.machine import simd
from course_lib.machine.compiling import array_of, kernel

SUMS = 8
FLOAT32_OPERATIONS = 2 * 16 * SUMS          # a round: a multiply-add is two operations
INT8_OPERATIONS = 2 * 64 * SUMS
POPCOUNT_OPERATIONS = 2 * 512 * SUMS        # a product of two bits and its sum: two operations, as for numbers


@kernel([types.void(array_of(uint8, 1), array_of(uint8, 1, readonly=False))])
def copy_past_caches(source, target):
    """target = source, past the caches.   (n,) uint8, n and the address of target multiples of 64

    Serves ``roofline.copies``. Definition: the first line above.
    """
    for i in range(0, source.size, 64):
        simd.prefetch_lanes(source, i, 64, 2048)
        simd.store_past_caches(target, i, simd.load(source, i))
    simd.fence()


@kernel([float32(int64)])
def float32_rounds(rounds):
    """s ← s / 2 + 1, so many times, for eight vectors of 16 float32.

    Serves ``bench.limits.peak``. Definition: the first line above.
    """
    half, one = simd.splat(np.float32(0.5), 16), simd.splat(np.float32(1), 16)
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = one
    for _ in range(rounds):
        s0, s1 = simd.multiply_add(s0, half, one), simd.multiply_add(s1, half, one)
        s2, s3 = simd.multiply_add(s2, half, one), simd.multiply_add(s3, half, one)
        s4, s5 = simd.multiply_add(s4, half, one), simd.multiply_add(s5, half, one)
        s6, s7 = simd.multiply_add(s6, half, one), simd.multiply_add(s7, half, one)
    return simd.sum(((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7)))


@kernel([int32(int64, array_of(uint8, 1), array_of(int8, 1))])
def int8_rounds(rounds, x, w):
    """s ← s + x · w, so many times,
    for eight vectors of int8 from w and one, which changes, from x: 64 numbers each.

    Serves ``bench.limits.peak``. Definition: the first line above.
    """
    step = simd.splat(np.uint8(1), 64)
    a = simd.load(x, 0)
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = simd.splat(np.int32(0), 16)
    for _ in range(rounds):
        a = a + step
        s0, s1 = simd.dot4(s0, a, simd.load(w, 0)), simd.dot4(s1, a, simd.load(w, 64))
        s2, s3 = simd.dot4(s2, a, simd.load(w, 128)), simd.dot4(s3, a, simd.load(w, 192))
        s4, s5 = simd.dot4(s4, a, simd.load(w, 256)), simd.dot4(s5, a, simd.load(w, 320))
        s6, s7 = simd.dot4(s6, a, simd.load(w, 384)), simd.dot4(s7, a, simd.load(w, 448))
    return simd.sum(((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7)))


@kernel([uint64(int64, uint64)])
def popcount_rounds(rounds, bits):
    """s ← s + popcount(s xor bits), so many times, for eight vectors of 512 bits.

    Serves ``bench.limits.peak``. Definition: the first line above.
    """
    x, s0 = simd.splat(bits, 8), simd.splat(np.uint64(0), 8)
    s1 = s2 = s3 = s4 = s5 = s6 = s7 = s0
    for _ in range(rounds):
        s0, s1 = s0 + simd.popcount(s0 ^ x), s1 + simd.popcount(s1 ^ x)
        s2, s3 = s2 + simd.popcount(s2 ^ x), s3 + simd.popcount(s3 ^ x)
        s4, s5 = s4 + simd.popcount(s4 ^ x), s5 + simd.popcount(s5 ^ x)
        s6, s7 = s6 + simd.popcount(s6 ^ x), s7 + simd.popcount(s7 ^ x)
    return simd.sum(((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7)))
