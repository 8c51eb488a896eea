"""Huffman codes: counting, writing and reading streams of bits.

Bits lie in the stream as ``coding.packing`` has them: bit j is bit j mod 8 of byte ⌊j / 8⌋, and a code word begins
with its first bit. So the next code word is at the bottom of a 64-bit word read at the byte of its first bit, shifted
by what is left over, and 57 bits of that word are certain to be good. (Little-endian machines, as all are that Numba
compiles for.)

Symbols are cut into blocks and every block into four strands, each a stream of its own that starts at a byte. A strand
is read one code word after the other, and each look-up waits for the one before; four strands in turn keep the
processor busy, and blocks go to different threads.

Sources: Huffman 1952, "A method for the construction of minimum-redundancy codes"; interleaved streams as in Giesen
2014, "Interleaved entropy coders", and Zstandard's format.
"""

import numba
import numpy as np
from llvmlite import ir
from numba import int64, types, uint8, uint16, uint32, uint64
from numba.extending import intrinsic

from course_lib.machine.compiling import array_of, kernel

STRANDS = 4
TABLE_BITS = 12                         # a look-up takes so many bits of the stream: 4096 entries of 8 bytes
READS = 4                               # look-ups from one 64-bit word: 4 · 12 + 7 bits
PER_ENTRY = 4                           # symbols that an entry may hold

_inline = numba.njit(nogil=True)


def _out(dtype, ndim=1):
    return array_of(dtype, ndim, readonly=False)


@intrinsic
def _word_at(typingctx, array, byte):
    """The eight bytes from ``byte`` on, as one number."""

    def generate(context, builder, signature, arguments):
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        address = builder.bitcast(builder.gep(data, [arguments[1]]), ir.PointerType(ir.IntType(64)))
        word = builder.load(address)
        word.align = 1
        return word

    return uint64(array, byte), generate


@intrinsic
def _put(typingctx, array, byte, number):
    """Store a number, four or eight bytes by its type, from ``byte`` on."""

    def generate(context, builder, signature, arguments):
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        address = builder.bitcast(builder.gep(data, [arguments[1]]), ir.PointerType(arguments[2].type))
        builder.store(arguments[2], address).align = 1
        return context.get_dummy_value()

    return types.void(array, byte, number), generate


@_inline
def _strand(block, strand, block_size, count):
    """The first symbol of a strand and the one after its last."""
    first = block * block_size
    length = min(block_size, count - first)
    step = (length + STRANDS - 1) // STRANDS
    return first + min(strand * step, length), first + min((strand + 1) * step, length)


@kernel([types.void(array_of(uint8, 1), int64, int64, int64, _out(uint16, 2))])
def count_strands(symbols, block_size, first_block, last_block, counts):
    """counts[s, v] = how often symbol v stands in strand s.   symbols: (n,), counts: (strands, 256)

    Two counters a symbol value, in turn: the processor need not wait for a count before it adds to it again.

    Serves ``coding.huffman_encode``. Definition: the first line above.
    """
    one, other = np.empty(256, np.uint32), np.empty(256, np.uint32)
    for block in range(first_block, last_block):
        for strand in range(STRANDS):
            first, stop = _strand(block, strand, block_size, symbols.size)
            part, row = symbols[first:stop], counts[block * STRANDS + strand]
            for v in range(256):
                one[v], other[v] = 0, 0
            half = part.size // 2
            left, right = part[:half], part[half : 2 * half]
            for i in range(half):
                one[left[i]] += np.uint32(1)
                other[right[i]] += np.uint32(1)
            for i in range(2 * half, part.size):
                one[part[i]] += np.uint32(1)
            for v in range(256):
                row[v] = one[v] + other[v]


@_inline
def _write_rest(symbols, words, bits, used, byte, stream):
    """Write the last symbols of a strand byte by byte, after the ``used`` bits that wait in ``bits``."""
    for i in range(symbols.size):
        word = words[symbols[i]]
        bits |= np.uint64(word & np.uint32(0xFFFF)) << used
        used += np.uint64(word >> np.uint32(16))
        while used >= np.uint64(8):
            stream[byte] = bits & np.uint64(0xFF)
            bits >>= np.uint64(8)
            used -= np.uint64(8)
            byte += np.uint64(1)
    if used > np.uint64(0):
        stream[byte] = bits & np.uint64(0xFF)


@_inline
def _flush(bits, used, byte, stream):
    """Write eight bytes, of which the next call overwrites what is not yet full: the new bits, used and byte."""
    _put(stream, byte, bits)
    return bits >> (used & np.uint64(56)), used & np.uint64(7), byte + (used >> np.uint64(3))


@kernel([types.void(array_of(uint16, 1), array_of(uint32, 1), array_of(int64, 1), int64, int64, int64, _out(uint8))])
def write_strands(symbols, words, starts, block_size, first_block, last_block, stream):
    """Put each symbol's code word into the stream, strand s into bytes starts[s] to starts[s + 1].

    words[v] = the code word of symbol v, first bit lowest, + its length · 2¹⁶.   symbols: (n,), stream: (bytes,)

    Three words of at most 16 bits are collected, then eight bytes written. The last bytes of a strand are written one
    by one: the next strand's may stand behind them already.

    Serves ``coding.huffman_encode``. Definition: ``coding.huffman_encode_plain``.
    """
    low, sixteen = np.uint32(0xFFFF), np.uint32(16)
    for block in range(first_block, last_block):
        for strand in range(STRANDS):
            first, stop = _strand(block, strand, block_size, symbols.size)
            byte, end = np.uint64(starts[block * STRANDS + strand]), np.uint64(starts[block * STRANDS + strand + 1])
            bits, used, i = np.uint64(0), np.uint64(0), np.uint64(first)     # unsigned: no check for x[-1]
            while i + np.uint64(3) <= np.uint64(stop) and byte + np.uint64(8) <= end:
                a, b, c = words[symbols[i]], words[symbols[i + np.uint64(1)]], words[symbols[i + np.uint64(2)]]
                a_bits, b_bits, c_bits = np.uint64(a >> sixteen), np.uint64(b >> sixteen), np.uint64(c >> sixteen)
                two = np.uint64(a & low) | np.uint64(b & low) << a_bits
                bits |= (two | np.uint64(c & low) << (a_bits + b_bits)) << used
                bits, used, byte = _flush(bits, used + a_bits + b_bits + c_bits, byte, stream)
                i += np.uint64(3)
            _write_rest(symbols[np.int64(i) : stop], words, bits, used, byte, stream)


@kernel([types.void(array_of(uint8, 1), array_of(uint32, 1), array_of(uint32, 1), array_of(int64, 1), int64, int64,
                    int64, _out(uint8))])
def write_strands_fast(symbols, words, pairs, starts, block_size, first_block, last_block, stream):
    """The same for uint8 and code words of up to TABLE_BITS bits: two symbols a look-up.

    pairs[v + 256 w] = the words of v and w, 24 bits at most, · 2⁸ + how many bits.   pairs: (65536,), words: (256,)

    Serves ``coding.huffman_encode``. Definition: ``coding.huffman_encode_plain``.
    """
    for block in range(first_block, last_block):
        for strand in range(STRANDS):
            first, stop = _strand(block, strand, block_size, symbols.size)
            byte, end = np.uint64(starts[block * STRANDS + strand]), np.uint64(starts[block * STRANDS + strand + 1])
            bits, used, i = np.uint64(0), np.uint64(0), np.uint64(first)
            while i + np.uint64(8) <= np.uint64(stop) and byte + np.uint64(14) <= end:      # 6 bytes, then 8 written
                eight = _word_at(symbols, i)
                for _ in range(2):
                    a = np.uint64(pairs[eight & np.uint64(0xFFFF)])
                    b = np.uint64(pairs[(eight >> np.uint64(16)) & np.uint64(0xFFFF)])
                    bits |= (a >> np.uint64(8) | b >> np.uint64(8) << (a & np.uint64(63))) << used
                    bits, used, byte = _flush(bits, used + ((a + b) & np.uint64(0xFF)), byte, stream)
                    eight >>= np.uint64(32)
                i += np.uint64(8)
            _write_rest(symbols[np.int64(i) : stop], words, bits, used, byte, stream)


@_inline
def _read_rest(stream, position, single, out, i, stop):
    """Read the symbols i … stop − 1 byte by byte, none outside the stream: the bit after the last."""
    while i < stop:
        word, byte = np.uint64(0), position >> 3
        for b in range(3):                                          # 7 + 16 bits may be wanted
            if byte + b < stream.size:
                word |= np.uint64(stream[byte + b]) << np.uint64(8 * b)
        entry = single[(word >> np.uint64(position & 7)) & np.uint64(single.size - 1)]
        out[i] = entry & np.uint32(0xFFFF)
        position += np.int64(entry >> np.uint32(16))
        i += 1
    return position


@kernel([types.void(array_of(uint8, 1), array_of(int64, 1), array_of(uint32, 1), int64, int64, int64, _out(uint16),
                    _out(int64))])
def read_strands(stream, starts, single, block_size, first_block, last_block, out, ends):
    """Read every strand, a code word after the other: out = the symbols, ends[s] = the bit after strand s.

    single[b] = the symbol whose code word the bits b begin with + 2¹⁶ · its length.   single: (2^longest,), out: (n,)

    Serves ``coding.huffman_decode``. Definition: ``coding.huffman_decode_plain``; plain loop: ``plain.huffman_decode``.
    """
    mask, last = np.uint64(single.size - 1), stream.size * 8 - 64
    for block in range(first_block, last_block):
        for strand in range(STRANDS):
            place = block * STRANDS + strand
            i, stop = _strand(block, strand, block_size, out.size)
            position = starts[place] * 8
            while i < stop and position <= last:
                word = _word_at(stream, position >> 3) >> np.uint64(position & 7)
                for _ in range(min(3, stop - i)):               # three words of at most 16 bits
                    entry = single[word & mask]
                    out[i] = entry & np.uint32(0xFFFF)
                    length = entry >> np.uint32(16)
                    word >>= np.uint64(length)
                    position += np.int64(length)
                    i += 1
            ends[place] = _read_rest(stream, position, single, out, i, stop)


@kernel([types.void(array_of(uint32, 1), _out(uint64))])
def fill_table(single, table):
    """table[b] = all symbols that the bits b begin with, as many as are complete in them and at most PER_ENTRY.

    They stand in the upper half, the first one lowest; how many in byte 1, all their bits in byte 0.
    single: as in :func:`read_strands`, table: (2^TABLE_BITS,)

    Serves ``coding.huffman_decode``. Definition: the first line above.
    """
    for b in range(table.size):
        symbols, number, used = np.uint64(0), np.uint64(0), np.uint64(0)
        while number < np.uint64(PER_ENTRY):
            entry = single[(np.uint64(b) >> used) & np.uint64(single.size - 1)]
            length = np.uint64(entry >> np.uint32(16))
            if used + length > np.uint64(TABLE_BITS):
                break
            symbols |= np.uint64(entry & np.uint32(0xFF)) << (np.uint64(8) * number)
            used += length
            number += np.uint64(1)
        table[b] = symbols << np.uint64(32) | number << np.uint64(8) | used


@_inline
def _read_word(stream, position, table, out, place):
    """READS look-ups, each of up to PER_ENTRY symbols: the new position and place."""
    mask = np.uint64(2**TABLE_BITS - 1)
    word = _word_at(stream, position >> 3) >> np.uint64(position & 7)
    for _ in range(READS):
        entry = table[word & mask]
        _put(out, place, np.uint32(entry >> np.uint64(32)))
        place += np.int64((entry >> np.uint64(8)) & np.uint64(255))
        position += np.int64(entry & np.uint64(255))
        word >>= entry & np.uint64(63)
    return position, place


@_inline
def _rounds(position, last, place, stop):
    """How many times four look-ups surely stay inside the stream and the strand."""
    return min((last - position) // (READS * TABLE_BITS), (stop - place) // (READS * PER_ENTRY))


@kernel([types.void(array_of(uint8, 1), array_of(int64, 1), array_of(uint64, 1), array_of(uint32, 1), int64, int64,
                    int64, _out(uint8), _out(int64))])
def read_strands_fast(stream, starts, table, single, block_size, first_block, last_block, out, ends):
    """The same for uint8 and code words of up to TABLE_BITS bits: several symbols a look-up, four strands in turn.

    table: from :func:`fill_table`, single: as above

    Serves ``coding.huffman_decode``. Definition: ``coding.huffman_decode_plain``; plain loop: ``plain.huffman_decode``.
    """
    last = stream.size * 8 - 64
    for block in range(first_block, last_block):
        s = block * STRANDS
        i0, stop0 = _strand(block, 0, block_size, out.size)
        i1, stop1 = _strand(block, 1, block_size, out.size)
        i2, stop2 = _strand(block, 2, block_size, out.size)
        i3, stop3 = _strand(block, 3, block_size, out.size)
        p0, p1, p2, p3 = starts[s] * 8, starts[s + 1] * 8, starts[s + 2] * 8, starts[s + 3] * 8
        rounds = 1
        while rounds > 0:
            rounds = min(min(_rounds(p0, last, i0, stop0), _rounds(p1, last, i1, stop1)),
                         min(_rounds(p2, last, i2, stop2), _rounds(p3, last, i3, stop3)))
            for _ in range(rounds):
                p0, i0 = _read_word(stream, p0, table, out, i0)
                p1, i1 = _read_word(stream, p1, table, out, i1)
                p2, i2 = _read_word(stream, p2, table, out, i2)
                p3, i3 = _read_word(stream, p3, table, out, i3)
        rest = ((p0, i0, stop0), (p1, i1, stop1), (p2, i2, stop2), (p3, i3, stop3))
        for strand, (position, i, stop) in enumerate(rest):
            ends[s + strand] = _read_rest(stream, position, single, out, i, stop)
