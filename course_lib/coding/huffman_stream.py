"""Symbols as one stream of bits in a Huffman code: written, read, and as a file that is checked when it is read.

The words follow each other without a gap, first bit lowest as in ``packing``. So that they can be read quickly, every
block of 32 768 symbols is four streams (strands) of a quarter of it, each beginning at a byte, their sizes kept: about
nine bytes more a block. See ``kernels/huffman.py`` for what the strands buy.
"""

import struct
import zlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import numpy as np

from course_lib.arguments import as_array, whole_number
from course_lib.coding.huffman import HuffmanCode
from course_lib.coding.packing import pack, packed_size, unpack
from course_lib.kernels import huffman as kernels
from course_lib.machine import pool

BLOCK = 1 << 15                         # symbols
GRAIN = 4                               # blocks: about 50 µs of writing or reading
LONGEST = 16                            # bits of a code word in a stream
MAGIC = b"HUF1"
_HEADER = struct.Struct("<4sQIBB")      # magic, symbols, size of the alphabet, bits of a length, bytes of a symbol


@dataclass(frozen=True, eq=False)
class HuffmanStream:
    """Symbols as a stream of bits: what :func:`huffman_encode` makes, :func:`huffman_decode` reads.

    ``code``; ``count`` symbols; ``sizes`` uint16, bytes of each strand (four a block of 32 768 symbols); ``payload``
    uint8, the strands one after the other; ``dtype`` of the symbols, uint8 or uint16.
    """

    code: HuffmanCode
    count: int
    sizes: np.ndarray
    payload: np.ndarray
    dtype: np.dtype

    @property
    def nbytes(self) -> int:
        """The size of the file: header, table of lengths, sizes of the strands, payload and check sum."""
        table = packed_size(self.code.lengths.size, self._bits_of_a_length)
        return _HEADER.size + table + 2 * self.sizes.size + self.payload.size + 4

    @property
    def _bits_of_a_length(self):
        return max(1, self.code.longest.bit_length())

    def to_bytes(self) -> bytes:
        """The stream as a file, ``nbytes`` long."""
        width = self._bits_of_a_length
        header = _HEADER.pack(MAGIC, self.count, self.code.lengths.size, width, self.dtype.itemsize)
        table, sizes = pack(self.code.lengths, width), self.sizes.astype("<u2")
        data = b"".join([header, table.tobytes(), sizes.tobytes(), self.payload.tobytes()])
        return data + struct.pack("<I", zlib.crc32(data))

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The reverse of ``to_bytes``.

        Raises
        ------
        ValueError
            ``data`` is not such a file, is cut short or damaged.
        """
        data = bytes(data)
        if len(data) < _HEADER.size + 4 or data[:4] != MAGIC:
            raise ValueError(f"data ({len(data)} bytes) does not begin as such a file does, with {MAGIC} and a header")
        if zlib.crc32(data[:-4]) != struct.unpack("<I", data[-4:])[0]:
            raise ValueError(f"data ({len(data)} bytes) does not match its check sum: it is cut short or damaged")
        _, count, alphabet, width, itemsize = _HEADER.unpack_from(data)
        rest = len(data) - _HEADER.size - 4
        strands = kernels.STRANDS * -(-count // BLOCK)
        if not (itemsize in (1, 2) and alphabet <= 256**itemsize and 1 <= width <= 5
                and packed_size(alphabet, width) + 2 * strands <= rest):
            raise ValueError("data has a header that makes no sense")
        table = np.frombuffer(data, np.uint8, packed_size(alphabet, width), _HEADER.size)
        sizes = np.frombuffer(data, "<u2", strands, _HEADER.size + table.size)
        first = _HEADER.size + table.size + sizes.nbytes
        payload = np.frombuffer(data, np.uint8, len(data) - 4 - first, first)
        stream = cls(HuffmanCode(unpack(table, width, alphabet, signed=False)), count, sizes, payload,
                     np.dtype(np.uint8 if itemsize == 1 else np.uint16))
        _check(stream)
        return stream


def huffman_encode(
    symbols: np.ndarray, code: HuffmanCode | None = None, *, limit: int | None = None, threads: int | None = None
) -> HuffmanStream:
    """Write symbols as code words, one after the other.

    No symbols give a stream without payload; a single symbol value takes one bit each.

    Parameters
    ----------
    symbols : ndarray of whole numbers from 0 to 65535, any shape (read in C order)
        Below 256 they are read much faster.
    code : HuffmanCode, by default the best for these symbols
    limit : int, 1 to 16: longest word of the default code, 12 for symbols below 256 (a table of 2¹² entries then reads
        several symbols at a time), 16 for others
    threads : int, changes the time and nothing else

    Returns
    -------
    HuffmanStream

    Raises
    ------
    TypeError, ValueError
        ``symbols`` are not whole numbers from 0 to 65535; one has no word in ``code``; a word is longer than 16 bits;
        2^limit words are too few.

    Examples
    --------
    >>> stream = huffman_encode(np.array([0, 3, 0, 1, 0, 2, 3, 0, 3, 0]))
    >>> stream.code.words, stream.payload.size, huffman_decode(stream).tolist()
    (['0', '110', '111', '10'], 4, [0, 3, 0, 1, 0, 2, 3, 0, 3, 0])
    """
    symbols = as_array(symbols, "symbols")
    symbols = _check_symbols(symbols if symbols.size else np.zeros(0, np.uint8))
    if code is not None and not isinstance(code, HuffmanCode):
        raise TypeError(f"code is a {type(code).__name__}; it should be a HuffmanCode: HuffmanCode.from_counts(counts)")
    blocks = -(-symbols.size // BLOCK)
    if code is not None and limit is not None:
        raise ValueError(f"limit={limit} is for the default code; a code was given as well")
    counts = _strand_counts(symbols, blocks, threads)
    total = counts.sum(0, dtype=np.int64) if symbols.dtype == np.uint8 else counts
    alphabet = int(np.flatnonzero(total)[-1]) + 1 if symbols.size else 0
    if code is None:
        if limit is None:
            limit = kernels.TABLE_BITS if symbols.dtype == np.uint8 else LONGEST
        code = HuffmanCode.from_counts(total[:alphabet], limit=whole_number(limit, "limit", 1, LONGEST))
    lengths = _lengths_for(code, total)
    if symbols.dtype == np.uint8:
        strand_bits = counts[:, :alphabet] @ lengths[:alphabet]
    else:
        running = np.concatenate([[0], np.cumsum(lengths.astype(np.uint8)[symbols], dtype=np.int64)])
        strand_bits = np.diff(running[_strand_bounds(symbols.size)])
    sizes = -(-strand_bits // 8)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    payload, words = np.empty(starts[-1], np.uint8), np.zeros(lengths.size, np.uint32)
    words[: code.lengths.size] = _words(code)[: lengths.size]
    if symbols.dtype == np.uint8 and code.longest <= kernels.TABLE_BITS and symbols.size > 8 * alphabet**2:
        pairs = _pairs(words, alphabet)
        pool.run(lambda a, b: kernels.write_strands_fast(symbols, words, pairs, starts, BLOCK, a, b, payload), blocks,
                 threads=threads, grain=GRAIN)
    else:
        wide = symbols.astype(np.uint16, copy=False)
        pool.run(lambda a, b: kernels.write_strands(wide, words, starts, BLOCK, a, b, payload), blocks, threads=threads,
                 grain=GRAIN)
    return HuffmanStream(code, symbols.size, sizes.astype(np.uint16), payload, symbols.dtype)


def huffman_decode(stream: HuffmanStream, *, threads: int | None = None) -> np.ndarray:
    """The symbols of a stream, (count,), uint8 or uint16.

    Raises
    ------
    TypeError, ValueError
        ``stream`` is no HuffmanStream; it is damaged, so that a strand does not end where it should. Damage that leaves
        all ends in place is found by :meth:`HuffmanStream.from_bytes` alone, which has a check sum.
    """
    if not isinstance(stream, HuffmanStream):
        raise TypeError(f"stream is a {type(stream).__name__}; it should be a HuffmanStream")
    starts = _check(stream)
    if not stream.count:
        return np.empty(0, stream.dtype)
    fast = stream.dtype == np.uint8 and stream.code.longest <= kernels.TABLE_BITS
    out = np.empty(stream.count, stream.dtype if fast else np.uint16)
    ends, payload, blocks = np.empty(stream.sizes.size, np.int64), stream.payload, stream.sizes.size // kernels.STRANDS
    single = _single_table(stream.code)
    if fast:
        table = np.empty(1 << kernels.TABLE_BITS, np.uint64)
        kernels.fill_table(single, table)
        pool.run(lambda a, b: kernels.read_strands_fast(payload, starts, table, single, BLOCK, a, b, out, ends), blocks,
                 threads=threads, grain=GRAIN)
    else:
        pool.run(lambda a, b: kernels.read_strands(payload, starts, single, BLOCK, a, b, out, ends), blocks,
                 threads=threads)
    cut = ends % 8 > 0                                  # these strands end inside a byte, whose other bits are 0
    if (-(-ends // 8) != starts[1:]).any() or (stream.payload[starts[1:] - 1][cut] >> ends[cut] % 8).any():
        raise ValueError("payload is damaged: its code words do not end where the strands do")
    return out.astype(stream.dtype, copy=False)


def _check_symbols(symbols):
    """The symbols in a row, as uint8 where they are small enough, else as uint16."""
    if symbols.dtype.kind not in "iub":
        raise TypeError(f"symbols have dtype {symbols.dtype}; they should be whole numbers: quantize them first")
    symbols = np.ascontiguousarray(symbols).reshape(-1)
    if symbols.dtype == np.uint8:
        return symbols
    low, high = (int(symbols.min()), int(symbols.max())) if symbols.size else (0, 0)
    if low < 0 or high >= 2**16:
        raise ValueError(f"symbols run from {low} to {high}; they should be from 0 to 65535: subtract the smallest")
    return symbols.astype(np.uint8 if high < 256 else np.uint16)


def _strand_bounds(count):
    """The first symbol of every strand, and the count at the end: (strands + 1,)"""
    first = np.arange(0, count, BLOCK)
    length = np.minimum(BLOCK, count - first)
    step = -(-length // kernels.STRANDS)
    inside = np.minimum(np.arange(kernels.STRANDS) * step[:, None], length[:, None])
    return np.append(first[:, None] + inside, count)


def _strand_counts(symbols, blocks, threads):
    """How often each symbol occurs: strand by strand for uint8, in all for uint16."""
    if symbols.dtype != np.uint8:
        return np.bincount(symbols, minlength=2**16)
    counts = np.empty((blocks * kernels.STRANDS, 256), np.uint16)       # a strand has 8192 symbols at most
    pool.run(lambda a, b: kernels.count_strands(symbols, BLOCK, a, b, counts), blocks, threads=threads, grain=GRAIN)
    return counts


def _lengths_for(code, total):
    """The lengths of the code, one for each count; checked."""
    if code.longest > LONGEST:
        raise ValueError(f"the longest code word has {code.longest} bits; a stream takes {LONGEST}: "
                         f"make the code with limit={LONGEST}")
    lengths = np.zeros(total.size, np.int64)
    lengths[: code.lengths.size] = code.lengths[: total.size]
    missing = np.flatnonzero((lengths == 0) & (total > 0))
    if missing.size:
        raise ValueError(f"symbol {missing[0]} occurs {total[missing[0]]} times and has no code word "
                         f"({missing.size} such symbols)")
    return lengths


def _check(stream):
    """Where each strand begins in the payload, and its end: (strands + 1,), if the stream's parts fit together."""
    bounds = _strand_bounds(stream.count)
    starts = np.concatenate([[0], np.cumsum(stream.sizes, dtype=np.int64)])
    if starts.size != bounds.size or starts[-1] != stream.payload.size or (stream.count and not stream.code.longest):
        raise ValueError(f"the stream's parts do not fit: {stream.count} symbols, {stream.sizes.size} strands of "
                         f"{starts[-1]} bytes, a payload of {stream.payload.size}")
    if stream.code.longest > LONGEST or (8 * np.diff(starts) < np.diff(bounds)).any():
        raise ValueError("the stream's parts do not fit: words of more than 16 bits or of less than one")
    return starts


@lru_cache
def _reversed(bits):
    """0 … 2^bits − 1 with their bits in reverse order: (2^bits,) uint32, not to be written to."""
    numbers = np.arange(1 << bits, dtype=np.uint32)
    result = np.zeros_like(numbers)
    for _ in range(bits):
        result, numbers = result << np.uint32(1) | numbers & np.uint32(1), numbers >> np.uint32(1)
    return result


def _in_order(code):
    """Symbols that have words, in canonical order; their lengths; how many of 2^longest patterns begin with each."""
    symbols = np.argsort(code.lengths, kind="stable")[np.count_nonzero(code.lengths == 0):]
    lengths = code.lengths[symbols].astype(np.uint32)
    return symbols.astype(np.uint32), lengths, np.uint32(1) << (np.uint32(code.longest) - lengths)


def _words(code):
    """Every symbol's code word, first bit lowest, + 2¹⁶ · its length, as the kernels want them: uint32, (alphabet,)"""
    symbols, lengths, patterns = _in_order(code)
    words = np.zeros(code.lengths.size, np.uint32)
    words[symbols] = _reversed(code.longest)[np.cumsum(patterns) - patterns] | lengths << np.uint32(16)
    return words


def _pairs(words, alphabet):
    """The code words of each pair of symbols, joined, as the fast kernel wants them: uint32, (65536,)"""
    words = words[:alphabet]
    word, length = words & np.uint32(0xFFFF), words >> np.uint32(16)
    pairs = np.zeros((256, 256), np.uint32)                             # second symbol, first symbol
    pairs[:alphabet, :alphabet] = (word | word[:, None] << length) << np.uint32(8) | length + length[:, None]
    return pairs.reshape(-1)


def _single_table(code):
    """For each pattern of ``longest`` bits, first bit lowest, the symbol it begins with + 2¹⁶ · its length: uint32."""
    symbols, lengths, patterns = _in_order(code)
    entries = np.repeat(symbols | lengths << np.uint32(16), patterns)
    if entries.size == 1:                               # a symbol alone: its word is 0, and 1 shall not lead nowhere
        entries = entries.repeat(2)
    return entries[_reversed(code.longest)]
