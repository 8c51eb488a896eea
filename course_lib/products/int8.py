"""int8 weights times 8-bit activations."""

import numpy as np

from course_lib.kernels import integer as kernels
from course_lib.products.rows import check_codes, check_no_overflow, multiply


def matmul_int8_plain(w, x):
    """One vector: y[r] = Σ_k w[r, k] x[k]. The definition, in Python's integers, which never overflow."""
    return [sum(int(a) * int(b) for a, b in zip(row, x)) for row in w]


def matmul_int8(w, x, *, threads=1):
    """Integer codes of weights times integer codes of activations, exactly.

    No rounding, no scales: y[r] = Σ_k w[r, k] x[k] over the integers, for each image. No weights or no images give an
    empty result, sums of nothing (n = 0) give zeros.

    Parameters
    ----------
    w : int8 ndarray, (m, n)
    x : uint8 or int8 ndarray, (n,) or (batch, n)
    threads : int
        How many threads share the rows of ``w``; it changes the time and nothing else.

    Returns
    -------
    y : int32 ndarray, (m,) or (batch, m)

    Raises
    ------
    TypeError, ValueError
        Another dtype; shapes that do not match; n > 65 793 (uint8) or 131 071 (int8), where 32 bits may overflow.

    Examples
    --------
    >>> w = np.array([[1, -2, 3], [127, 127, 127]], np.int8)
    >>> matmul_int8(w, np.array([10, 20, 255], np.uint8))
    array([  735, 36195], dtype=int32)
    """
    w = check_codes("w", w, (np.int8,), (2,))
    x = check_codes("x", x, (np.uint8, np.int8), (1, 2))
    if x.shape[-1] != w.shape[1]:
        raise ValueError(f"x has shape {x.shape} and w {w.shape}; the last axes must be equally long")
    check_no_overflow(w.shape[1], 128, x)
    return multiply(kernels.matmul_int8, w, x, threads)
