"""Packing: b-bit codes, one after the other, without a wasted bit.

The codes form one stream of bits, least significant bit first: code i occupies bits [i·b, (i+1)·b), and bit j of the
stream is bit j mod 8 of byte ⌊j / 8⌋. Negative codes are in two's complement. The last byte is filled with zeros.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from course_lib.arguments import as_array, result_array, whole_number
from course_lib.kernels import packing
from course_lib.machine import pool

_GRAIN = 2**19                          # codes that are worth a thread


def pack_plain(codes: Sequence[int], bits: int) -> bytes:
    """The stream as one large integer. The definition: slow, and obviously right."""
    stream = 0
    for i, code in enumerate(codes):
        stream |= (int(code) % 2**bits) << (i * bits)              # % 2^b is two's complement
    return stream.to_bytes(-(-len(codes) * bits // 8), "little")


def unpack_plain(
    packed: bytes, bits: int, count: int, signed: bool
) -> list[int]:
    """The reverse of :func:`pack_plain`."""
    stream = int.from_bytes(packed, "little")
    codes = [(stream >> (i * bits)) % 2**bits for i in range(count)]
    return [code - 2**bits if signed and code >= 2 ** (bits - 1) else code for code in codes]


def packed_size(count: int, bits: int) -> int:
    """Bytes that ``count`` codes of ``bits`` bits take: ⌈count · bits / 8⌉."""
    return -(-whole_number(count, "count", 0, 2**62) * whole_number(bits, "bits", 1, 64) // 8)


def pack(
    codes: np.ndarray, bits: int, *, out: np.ndarray | None = None, threads: int | None = None
) -> NDArray[np.uint8]:
    """Pack integer codes, ``bits`` bits each, into bytes.

    Parameters
    ----------
    codes : int8 or uint8 ndarray, any shape (read in C order)
        Within [−2^(b−1), 2^(b−1) − 1] for int8, [0, 2^b − 1] for uint8. Empty gives an empty result.
    bits : int, 1 to 8
        1, 2 and 4 are the fast ones: a byte holds whole codes.
    out : uint8 ndarray, optional
        Takes the result, which is returned. After an error it holds anything.
    threads : int, by default ``cl.threads()``

    Returns
    -------
    packed : uint8 ndarray, 1-D, ⌈count · bits / 8⌉ bytes

    Raises
    ------
    TypeError, ValueError
        Another dtype; a code that does not fit; ``out`` does not match.
    """
    bits = whole_number(bits, "bits", 1, 8)
    codes = as_array(codes, "codes")
    if codes.dtype not in (np.int8, np.uint8):
        raise TypeError(f"codes have dtype {codes.dtype}; they must be int8 (signed) or uint8 (unsigned): "
                        "use np.asarray(codes, np.uint8) where they fit")
    signed = codes.dtype == np.int8
    result = result_array(out, (packed_size(codes.size, bits),), np.uint8)
    flat, half, beyond = np.ascontiguousarray(codes).reshape(-1).view(np.uint8), signed * 2 ** (bits - 1), []

    def some(start, stop):
        part = result[start * bits // 8 : packed_size(stop, bits)]
        beyond.append(packing.pack(flat[start:stop], bits, half, part))

    pool.run(some, codes.size, threads=threads, align=512, grain=_GRAIN)
    if any(beyond):
        raise ValueError(f"codes run from {codes.min()} to {codes.max()}; {bits} bits "
                         f"({'signed' if signed else 'unsigned'}) hold {-half} to {2**bits - 1 - half}")
    return result


def unpack(
    packed: NDArray[np.uint8], bits: int, count: int, *, signed: bool, out: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray:  # fmt: skip
    """The reverse of :func:`pack`.

    Parameters
    ----------
    packed : uint8 ndarray, 1-D, exactly ⌈count · bits / 8⌉ bytes
    bits : int, 1 to 8
    count : int, how many codes
    signed : bool, two's complement (int8 result) or not (uint8 result)
    out : int8 or uint8 ndarray (count,), optional
        Takes the result, which is returned.
    threads : int, by default ``cl.threads()``

    Returns
    -------
    codes : int8 or uint8 ndarray, shape (count,)

    Raises
    ------
    TypeError, ValueError
        Another dtype; a length that does not match ``count``; bits set after the last code; ``out`` does not match.
    """
    bits = whole_number(bits, "bits", 1, 8)
    count = whole_number(count, "count", 0, 2**62)
    packed = as_array(packed, "packed")
    if packed.dtype != np.uint8 or packed.ndim != 1:
        raise TypeError(f"packed has dtype {packed.dtype} and {packed.ndim} axes; it must be uint8 with one axis")
    if packed.size != packed_size(count, bits):
        raise ValueError(f"packed has {packed.size} bytes; "
                         f"{count} codes of {bits} bits take {packed_size(count, bits)}")
    if packed.size and int(packed[-1]) >> (count * bits - 1) % 8 + 1:
        raise ValueError("packed has bits set after its last code: it is damaged, or bits or count is wrong")
    result = result_array(out, (count,), np.int8 if signed else np.uint8)
    flat, codes, half = np.ascontiguousarray(packed), result.view(np.uint8), signed * 2 ** (bits - 1)

    def some(start, stop):
        part = flat[start * bits // 8 : packed_size(stop, bits)]
        packing.unpack(part, bits, half, codes[start:stop])

    pool.run(some, count, threads=threads, align=512, grain=_GRAIN)
    return result
