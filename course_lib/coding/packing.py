"""Packing: b-bit codes, one after the other, without a wasted bit.

The codes form one stream of bits, least significant bit first: code i occupies bits [i·b, (i+1)·b), and bit j of the
stream is bit j mod 8 of byte ⌊j / 8⌋. Negative codes are in two's complement. The last byte is filled with zeros.
"""

import numpy as np

from course_lib.numerics.checks import whole_number


def pack_plain(codes, bits):
    """The stream as one large integer. The definition: slow, and obviously right."""
    stream = 0
    for i, code in enumerate(codes):
        stream |= (int(code) % 2**bits) << (i * bits)              # % 2^b is two's complement
    return stream.to_bytes(-(-len(codes) * bits // 8), "little")


def unpack_plain(packed, bits, count, signed):
    """The reverse of :func:`pack_plain`."""
    stream = int.from_bytes(packed, "little")
    codes = [(stream >> (i * bits)) % 2**bits for i in range(count)]
    return [code - 2**bits if signed and code >= 2 ** (bits - 1) else code for code in codes]


def packed_size(count, bits):
    """Bytes that ``count`` codes of ``bits`` bits take: ⌈count · bits / 8⌉."""
    return -(-count * bits // 8)


def pack(codes, bits):
    """Pack integer codes, ``bits`` bits each, into bytes.

    Parameters
    ----------
    codes : int8 or uint8 ndarray, any shape (read in C order)
        Within [−2^(b−1), 2^(b−1) − 1] for int8, [0, 2^b − 1] for uint8. Empty gives an empty result.
    bits : int, 1 to 8

    Returns
    -------
    packed : uint8 ndarray, 1-D, ⌈count · bits / 8⌉ bytes

    Raises
    ------
    TypeError, ValueError
        Another dtype; a code that does not fit.
    """
    bits = whole_number(bits, "bits", 1, 8)
    codes = np.asarray(codes)
    if codes.dtype not in (np.int8, np.uint8):
        raise TypeError(f"codes have dtype {codes.dtype}; they must be int8 (signed) or uint8 (unsigned)")
    signed = codes.dtype == np.int8
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    if codes.size and not (low <= codes.min() and codes.max() <= high):
        raise ValueError(f"codes run from {codes.min()} to {codes.max()}; {bits} bits "
                         f"({'signed' if signed else 'unsigned'}) hold {low} to {high}")
    columns = np.ascontiguousarray(codes).view(np.uint8).reshape(-1, 1)
    planes = np.unpackbits(columns, axis=1, count=bits, bitorder="little")      # (count, bits), low bit first
    return np.packbits(planes.reshape(-1), bitorder="little")


def unpack(packed, bits, count, *, signed):
    """The reverse of :func:`pack`.

    Parameters
    ----------
    packed : uint8 ndarray, 1-D, exactly ⌈count · bits / 8⌉ bytes
    bits : int, 1 to 8
    count : int, how many codes
    signed : bool, two's complement (int8 result) or not (uint8 result)

    Returns
    -------
    codes : int8 or uint8 ndarray, shape (count,)

    Raises
    ------
    TypeError, ValueError
        Another dtype; a length that does not match ``count``; bits set after the last code.
    """
    bits = whole_number(bits, "bits", 1, 8)
    count = whole_number(count, "count", 0, 2**62)
    packed = np.asarray(packed)
    if packed.dtype != np.uint8 or packed.ndim != 1:
        raise TypeError(f"packed has dtype {packed.dtype} and {packed.ndim} axes; it must be uint8 with one axis")
    if packed.size != packed_size(count, bits):
        raise ValueError(f"packed has {packed.size} bytes; "
                         f"{count} codes of {bits} bits take {packed_size(count, bits)}")
    stream = np.unpackbits(packed, bitorder="little")
    if stream[count * bits:].any():
        raise ValueError("packed has bits set after its last code: it is damaged, or bits or count is wrong")
    planes = stream[: count * bits].reshape(count, bits)
    codes = np.packbits(planes, axis=1, bitorder="little").reshape(count)
    if not signed:
        return codes
    shift = 8 - bits                                     # move the sign bit to the top, then back with its copies
    return (codes << shift).view(np.int8) >> shift
