"""Products of integer codes with 32-bit sums."""

import numba
import numpy as np
from numba import int8, int32, types, uint8

from course_lib.kernels.compiling import array_of, kernel

_inline = numba.njit(nogil=True)


@_inline
def dot(w, x):
    """Σ_k w[k] x[k], summed in 32 bits.   w, x: (n,) 8-bit integers"""
    acc = np.int32(0)
    for k in range(w.size):
        acc += np.int32(w[k]) * np.int32(x[k])
    return acc


@kernel([types.void(array_of(int8, 2), array_of(codes, 2), array_of(int32, 2, readonly=False))
         for codes in (uint8, int8)])
def matmul(w, x, out):
    """out[b, r] = Σ_k w[r, k] x[b, k].   w: (m, n) int8, x: (batch, n), out: (batch, m) int32"""
    for b in range(x.shape[0]):
        for r in range(w.shape[0]):
            out[b, r] = dot(w[r], x[b])
