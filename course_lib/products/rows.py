"""What the products share: their checks, and a small pool of threads over which the rows of the weights are split."""

from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np

from course_lib.numerics.checks import whole_number

LARGEST_SUM = 2**31 - 1


def check_codes(name, codes, dtypes, ndims):
    """``codes`` as a C-contiguous array of one of these dtypes and numbers of axes."""
    codes = np.asarray(codes)
    if codes.dtype not in dtypes:
        raise TypeError(f"{name} has dtype {codes.dtype}; it must be {' or '.join(np.dtype(d).name for d in dtypes)}")
    if codes.ndim not in ndims:
        raise ValueError(f"{name} has shape {codes.shape}; it must have {' or '.join(map(str, ndims))} axes")
    return np.ascontiguousarray(codes)


def check_no_overflow(n, largest_weight, x):
    """Refuse sums so long that n · max|w| · max|x| does not fit 32 bits, whatever the codes are."""
    largest_x = 255 if x.dtype == np.uint8 else 128
    longest = LARGEST_SUM // (largest_weight * largest_x)
    if n > longest:
        raise ValueError(f"n = {n} products of up to {largest_weight} · {largest_x} may overflow a 32-bit sum; "
                         f"n must not exceed {longest}: split the sum and add the parts in 64 bits")


def multiply(kernel, weights, x, threads):
    """Run ``kernel(rows of weights, x, number of the first row, out)`` over all rows; the result as int32.

    Rows are independent, so the result does not depend on how many threads share them.
    """
    threads = whole_number(threads, "threads", 1, 256)
    images = x.reshape(1 if x.ndim == 1 else len(x), x.shape[-1])   # (batch, n), one image where x is a vector
    out = np.empty((len(images), len(weights)), np.int32)
    if threads == 1:
        kernel(weights, images, 0, out)
    else:
        step = max(4, -(-len(weights) // (4 * threads)) * 4)        # whole blocks of four rows
        starts = range(0, len(weights), step)
        list(_pool(threads).map(lambda first: kernel(weights[first : first + step], images, first, out), starts))
    return out.reshape(x.shape[:-1] + (len(weights),))


@lru_cache
def _pool(threads):
    return ThreadPoolExecutor(threads, thread_name_prefix="course_lib.products")
