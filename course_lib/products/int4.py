"""4-bit weights, two in a byte, times 8-bit activations: half the memory to read, two shifts more to compute."""

import numpy as np

from course_lib.arguments import whole_number
from course_lib.coding import pack, unpack
from course_lib.kernels import dense as kernels
from course_lib.products.int8 import matmul_int8_plain
from course_lib.products.rows import check_codes, check_no_overflow, images_of, split_rows


def pack_int4(w):
    """Pack 4-bit codes, two in a byte, row by row: the even columns in the low halves, the odd ones in the high halves.

    Parameters
    ----------
    w : int8 ndarray, (m, n), codes in [−8, 7]

    Returns
    -------
    packed : uint8 ndarray, (m, ⌈n / 2⌉)
        Where n is odd, the last half byte of each row is 0.

    Raises
    ------
    TypeError, ValueError
        Another dtype or shape; a code outside [−8, 7].

    Examples
    --------
    >>> pack_int4(np.array([[1, -1, 7]], np.int8))
    array([[241,   7]], dtype=uint8)
    """
    w = check_codes("w", w, (np.int8,), (2,))
    if w.size and (w.min() < -8 or w.max() > 7):
        raise ValueError(f"w has codes from {w.min()} to {w.max()}; 4 bits hold −8 to 7")
    even = np.pad(w, ((0, 0), (0, w.shape[1] % 2)))
    return pack(even, 4).reshape(even.shape[0], even.shape[1] // 2)


def unpack_int4(packed, n):
    """The reverse of ``pack_int4``: int8 codes, (m, n)."""
    packed = check_codes("packed", packed, (np.uint8,), (2,))
    _check_width(packed, n)
    return unpack(packed.reshape(-1), 4, 2 * packed.size, signed=True).reshape(len(packed), 2 * packed.shape[1])[:, :n]


def matmul_int4_plain(packed, x, n):
    """One vector: unpack, then multiply. The definition."""
    return matmul_int8_plain(unpack_int4(packed, n), x)


def matmul_int4(packed, x, n=None, *, threads=None):
    """Packed 4-bit codes of weights times integer codes of activations, exactly.

    The weights stay packed in memory; four rows at a time are unpacked into the cache. Empty as in ``matmul_int8``.

    Parameters
    ----------
    packed : uint8 ndarray, (m, ⌈n / 2⌉), from ``pack_int4``
    x : uint8 or int8 ndarray, (n,) or (batch, n)
    n : int, columns of the unpacked weights; by default the length of ``x``'s last axis
    threads : int, by default ``cl.threads()``
        How many threads share the rows; it changes the time and nothing else.

    Returns
    -------
    y : int32 ndarray, (m,) or (batch, m)

    Raises
    ------
    TypeError, ValueError
        Another dtype; shapes that do not match; n > 1 052 688 (uint8) or 2 097 151 (int8), where 32 bits may overflow.

    Examples
    --------
    >>> matmul_int4(pack_int4(np.array([[1, -1, 7]], np.int8)), np.array([10, 20, 255], np.uint8))
    array([1775], dtype=int32)
    """
    packed = check_codes("packed", packed, (np.uint8,), (2,))
    x = check_codes("x", x, (np.uint8, np.int8), (1, 2))
    n = x.shape[-1] if n is None else n
    _check_width(packed, n)
    if x.shape[-1] != n:
        raise ValueError(f"x has shape {x.shape}; its last axis must be n = {n} long")
    check_no_overflow(n, 8, x)
    images, offset = images_of(x, n)
    second = -(-packed.shape[1] // 64) * 64                         # where the odd columns begin
    halves = np.zeros((len(images), max(2 * second, 64)), np.uint8)
    halves[:, : -(-n // 2)], halves[:, second : second + n // 2] = images[:, ::2], images[:, 1::2]
    out = np.empty((len(images), len(packed)), np.int32)
    split_rows(lambda first, stop: kernels.matmul_int4(packed[first:stop], halves, -offset, first, out), len(packed),
               halves.shape[1] * (len(images) + 3), threads=threads, align=4)
    return out.reshape(x.shape[:-1] + (len(packed),))


def _check_width(packed, n):
    n = whole_number(n, "n", 0, 2**31)
    if packed.shape[1] != -(-n // 2):
        raise ValueError(f"packed has shape {packed.shape}; rows of n = {n} codes take {-(-n // 2)} bytes")
