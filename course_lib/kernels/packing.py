"""Pack codes of b bits without a gap, and unpack them: code i in bits [i·b, (i + 1)·b) of one stream, lowest bit first.

Where b divides 8 a byte holds whole codes, and a vector of 64 bytes is packed or unpacked at once: the codes of one
byte are seen as one number of as many bytes, and slide together, or apart, in one or two shifts. The other widths go
through a 64-bit number that takes eight codes, b bytes.
"""

import numba
import numpy as np
from numba import boolean, int64, types, uint8

from course_lib.kernels.blocks import inline
from course_lib.machine import simd
from course_lib.machine.compiling import array_of, kernel

BYTES = 64                              # of the stream, packed or unpacked at a time
_plain = numba.njit(nogil=True)


@_plain
def _pack_eights(codes, bits, half, out):
    """Eight codes at a time, the last ones fewer; other than 0 if one does not fit."""
    beyond = 0
    for first in range(0, codes.size, 8):
        stream = np.uint64(0)
        for j in range(min(8, codes.size - first)):
            code = np.uint64(codes[first + j])
            beyond |= ((code + np.uint64(half)) & np.uint64(255)) >> np.uint64(bits)
            stream |= (code & np.uint64((1 << bits) - 1)) << np.uint64(j * bits)
        start = first // 8 * bits
        for k in range(min(bits, out.size - start)):
            out[start + k] = np.uint8(stream >> np.uint64(8 * k))
    return beyond


@_plain
def _unpack_eights(packed, bits, half, out):
    """The reverse."""
    for first in range(0, out.size, 8):
        start, stream = first // 8 * bits, np.uint64(0)
        for k in range(min(bits, packed.size - start)):
            stream |= np.uint64(packed[start + k]) << np.uint64(8 * k)
        for j in range(min(8, out.size - first)):
            code = (stream >> np.uint64(j * bits)) & np.uint64((1 << bits) - 1)
            out[first + j] = np.uint8((code ^ np.uint64(half)) - np.uint64(half))


@inline
def _pack_blocks(codes, bits, half, out):
    """Whole blocks of 64 bytes of ``out``; other than 0 if a code does not fit."""
    beyond = simd.splat(np.uint8(0), BYTES)
    if bits == 4:
        pairs = codes.view(np.uint16)
        for i in range(0, out.size, BYTES):
            simd.prefetch_lanes(pairs, i, 64, 4096)
            beyond = beyond | (simd.load_lanes(codes, 2 * i, 64) + half)
            beyond = beyond | (simd.load_lanes(codes, 2 * i + 64, 64) + half)
            v = simd.load_lanes(pairs, i, 64) & 0x0F0F
            simd.store(out, i, simd.convert(v | (v >> 4), np.uint8))
    elif bits == 2:
        fours = codes.view(np.uint32)
        for i in range(0, out.size, BYTES):
            simd.prefetch_lanes(fours, i, 64, 4096)
            for j in range(0, 256, 64):
                beyond = beyond | (simd.load_lanes(codes, 4 * i + j, 64) + half)
            v = simd.load_lanes(fours, i, 64) & 0x03030303
            v = v | (v >> 6)
            simd.store(out, i, simd.convert(v | (v >> 12), np.uint8))
    else:
        eights = out.view(np.uint64)
        for i in range(eights.size):
            simd.prefetch_lanes(codes, 64 * i, 64, 4096)
            v = simd.load_lanes(codes, 64 * i, 64)
            beyond = beyond | (v + half)
            eights[i] = simd.to_bits(v & 1)
    return simd.to_bits(beyond >> bits)


@kernel([boolean(array_of(uint8, 1), int64, int64, array_of(uint8, 1, readonly=False))])
def pack(codes, bits, half, out):
    """The codes side by side, ``bits`` bits each; True if one of codes + half has a bit above those.

    codes: (n,) as uint8, half: 2^(bits − 1) if they are signed, else 0, out: (⌈n · bits / 8⌉,)

    Serves ``coding.pack``. Definition: ``coding.pack_plain``; plain loop: ``plain.pack``.
    """
    if bits != 1 and bits != 2 and bits != 4:
        return _pack_eights(codes, bits, half, out) != 0
    each = 8 // bits                                        # codes a byte
    whole = codes.size // each // BYTES * BYTES
    beyond = _pack_blocks(codes[: whole * each], bits, half, out[:whole]) != 0
    return beyond | (_pack_eights(codes[whole * each :], bits, half, out[whole:]) != 0)


@inline
def _unpack_blocks(packed, bits, half, out):
    """Whole blocks of 64 bytes of ``packed``."""
    if bits == 4:
        for i in range(0, packed.size, BYTES):
            simd.prefetch_lanes(packed, i, 64, 2048)
            for j in range(0, BYTES, 32):
                v = simd.convert(simd.load_lanes(packed, i + j, 32), np.uint16)
                v = (v | (v << 4)) & 0x0F0F
                simd.store(out, 2 * (i + j), (simd.reinterpret(v, np.uint8) ^ half) - half)
    elif bits == 2:
        for i in range(0, packed.size, BYTES):
            simd.prefetch_lanes(packed, i, 64, 2048)
            for j in range(0, BYTES, 16):
                v = simd.convert(simd.load_lanes(packed, i + j, 16), np.uint32)
                v = (v | (v << 12)) & 0x000F000F
                v = (v | (v << 6)) & 0x03030303
                simd.store(out, 4 * (i + j), (simd.reinterpret(v, np.uint8) ^ half) - half)
    else:
        eights = packed.view(np.uint64)
        for i in range(eights.size):
            simd.store(out, 64 * i, (simd.from_bits(eights[i]) ^ half) - half)


@kernel([types.void(array_of(uint8, 1), int64, int64, array_of(uint8, 1, readonly=False))])
def unpack(packed, bits, half, out):
    """The reverse of ``pack``.   packed: (⌈n · bits / 8⌉,), out: (n,)

    Serves ``coding.unpack``. Definition: ``coding.unpack_plain``; plain loop: ``plain.unpack``.
    """
    if bits != 1 and bits != 2 and bits != 4:
        _unpack_eights(packed, bits, half, out)
    else:
        each = 8 // bits
        whole = out.size // each // BYTES * BYTES
        _unpack_blocks(packed[:whole], bits, half, out[: whole * each])
        _unpack_eights(packed[whole:], bits, half, out[whole * each :])
