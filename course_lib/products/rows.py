"""What the products share: their checks, the form in which kernels read activations, and rows split over threads."""

from collections.abc import Callable

import numpy as np

from course_lib.arguments import as_array, in_dtype
from course_lib.machine import pool, simd

LARGEST_SUM = 2**31 - 1
SIGN = np.uint8(128)


def check_codes(name: str, codes: np.ndarray, dtypes: tuple, ndims: tuple[int, ...]) -> np.ndarray:
    """``codes`` as a C-contiguous array of one of these dtypes and numbers of axes."""
    given, codes = codes, as_array(codes, name)
    if codes.dtype not in dtypes:
        right = [np.dtype(d).name for d in dtypes]
        raise TypeError(f"{name} has dtype {codes.dtype}; it must be {' or '.join(right)}: "
                        f"use {in_dtype(given, name, right[0])} where that holds it")
    if codes.ndim not in ndims:
        raise ValueError(f"{name} has shape {codes.shape}; it must have {' or '.join(map(str, ndims))} axes")
    return np.ascontiguousarray(codes)


def check_no_overflow(n: int, largest_weight: int, x: np.ndarray) -> None:
    """Refuse sums so long that n · max|w| · max|x| does not fit 32 bits, whatever the codes are."""
    largest_x = 255 if x.dtype == np.uint8 else 128
    longest = LARGEST_SUM // (largest_weight * largest_x)
    if n > longest:
        raise ValueError(f"n = {n} products of up to {largest_weight} · {largest_x} may overflow a 32-bit sum; "
                         f"n must not exceed {longest}: split the sum and add the parts in 64 bits")


def unsigned_samples(x: np.ndarray, width: int) -> tuple[np.ndarray, int]:
    """(samples, offset): activations as the kernels read them, uint8 (batch, width), and what was added to them.

    Signed ones are moved up by 128. Columns behind the last are 0; they meet weights of 0. Where there are many, they
    begin where a cache line does; for a few, each call of NumPy would take longer than that saves: between two products
    the weights have driven the interpreter out of the caches.
    """
    batch, n = 1 if x.ndim == 1 else len(x), x.shape[-1]            # one sample where x is a vector
    codes, offset = (x, 0) if x.dtype == np.uint8 else (x.view(np.uint8) ^ SIGN, 128)       # the sign bit turned: + 128
    if n == width and batch < 8 and codes.flags.writeable:
        return codes.reshape(batch, n), offset
    samples = simd.aligned((batch, width), np.uint8)
    samples[:, :n] = codes
    samples[:, n:] = 0
    return samples, offset


def split_rows(task: Callable[[int, int], None], rows: int, work: int, *, threads: int | None, align: int) -> None:
    """``task(first, stop)`` for parts of the rows, each of at least some 50 µs; ``work``: multiply-adds a row."""
    pool.run(task, rows, threads=threads, align=align, grain=max(1, 2**23 // max(work, 1)))
