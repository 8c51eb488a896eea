"""Huffman codes against their definition, the entropy and dahuffman; streams against the definition, bit by bit."""

import dataclasses
from collections import Counter

import numpy as np
import pytest

from course_lib.coding import (
    HuffmanCode,
    HuffmanStream,
    entropy,
    huffman_decode,
    huffman_decode_plain,
    huffman_encode,
    huffman_encode_plain,
    huffman_lengths,
    huffman_lengths_plain,
    huffman_tree_plain,
)

FIBONACCI = [1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 987, 1597, 2584, 4181, 6765]


def clusters(n, k=32, seed=0):
    """Codes of weights in k clusters of equal width: frequent in the middle, rare at the ends."""
    x = np.random.default_rng(seed).normal(k / 2, k / 8, n)
    return np.clip(np.rint(x), 0, k - 1).astype(np.uint8)


def least_bits(counts, limit):
    """The fewest bits of all codes with words of 1 to ``limit`` bits, by trying all there are. The definition."""
    counts = sorted((count for count in counts if count), reverse=True)
    best = [float("inf")]

    def go_on(i, shortest, room, bits):
        if i == len(counts):
            best[0] = min(best[0], bits)
            return
        for length in range(shortest, limit + 1):
            if 2.0**-length <= room:
                go_on(i + 1, length, room - 2.0**-length, bits + counts[i] * length)

    go_on(0, 1, 1.0, 0)
    return best[0]


def strands_of(symbols, block):
    """The symbols of each strand, as the format has them: blocks, each in four equal parts, the last shorter."""
    for first in range(0, len(symbols), block):
        part = symbols[first : first + block]
        step = -(-len(part) // 4)
        yield from (part[j * step : (j + 1) * step] for j in range(4))


def bits_of(payload):
    return "".join(map(str, np.unpackbits(payload, bitorder="little").tolist()))


def test_tree_and_words():
    assert huffman_tree_plain([5, 1, 1, 3]) == (0, ((1, 2), 3))
    assert HuffmanCode.from_counts([5, 1, 1, 3]).words == ["0", "110", "111", "10"]
    for counts in ({0: 5, 3: 3}, Counter([0, 0, 3])):
        with pytest.raises(TypeError, match=r"counts is a (dict|Counter); it should be a list, "
                                            r".*counts.get\(s, 0\) for s"):  # fmt: skip
            HuffmanCode.from_counts(counts)
    assert HuffmanCode.from_counts([0, 7, 0]).words == ["", "0", ""]
    assert HuffmanCode.from_counts([]).words == [] and HuffmanCode([]).longest == 0
    assert huffman_tree_plain([0, 0]) is None and huffman_lengths([0, 0]).tolist() == [0, 0]


@pytest.mark.parametrize("limit", [2, 3, 4, 5, 7])
def test_lengths_are_the_best_there_are(limit):
    rng = np.random.default_rng(limit)
    for size in range(1, min(2**limit, 7) + 1):
        for counts in (rng.integers(0, 9, size), rng.integers(1, 1000, size), np.array(FIBONACCI[:size])):
            lengths = huffman_lengths(counts, limit=limit)
            assert counts @ lengths == least_bits(counts.tolist(), limit)
            assert lengths.max(initial=0) <= limit and ((lengths > 0) == (counts > 0)).all()
            HuffmanCode(lengths)                                # the words fill the tree


def test_lengths_without_a_limit():
    rng = np.random.default_rng(0)
    some = (rng.integers(0, 50, 40), rng.exponential(50, 300).astype(int), np.ones(256, int), np.array(FIBONACCI))
    for counts in some:
        lengths = huffman_lengths(counts)
        assert lengths.tolist() == huffman_lengths_plain(counts.tolist())
        assert counts @ lengths == counts @ huffman_lengths(counts, limit=64)           # the limit does not bind
    assert huffman_lengths(FIBONACCI).max() == len(FIBONACCI) - 1
    assert huffman_lengths([1] * 256, limit=8).tolist() == [8] * 256
    assert huffman_lengths(FIBONACCI, limit=5).max() == 5


def test_words_as_dahuffman_has_them():
    """dahuffman adds a symbol for the end, which occurs once: with it, the same bits in all."""
    from dahuffman import HuffmanCodec
    for symbols in (clusters(5000), clusters(300, 8), np.random.default_rng(0).integers(0, 200, 4000)):
        codec = HuffmanCodec.from_data(symbols.tolist())
        counts = np.append(np.bincount(symbols), 1)
        table = codec.get_code_table()
        theirs = sum(counts[symbol if isinstance(symbol, int) else -1] * bits for symbol, (bits, _) in table.items())
        assert HuffmanCode.from_counts(counts).bits(counts) == theirs


def test_mean_length_is_within_a_bit_of_the_entropy():
    some = (clusters(10_000), clusters(999, 256), np.arange(256), np.array([0, 1] * 9), np.repeat([0, 1], [1, 99]))
    for symbols in some:
        counts = np.bincount(symbols)
        mean = HuffmanCode.from_counts(counts).bits(counts) / symbols.size
        assert entropy(symbols) - 1e-12 <= mean < entropy(symbols) + 1
    assert HuffmanCode.from_counts([64, 32, 16, 16]).bits([64, 32, 16, 16]) == 1.75 * 128       # powers of two: no loss


@pytest.mark.parametrize("n", [*range(1, 18), 100, 1000, 32_767, 32_768, 32_769, 70_001])
def test_stream_equals_the_definition(n):
    """Every strand is the code words one after the other, filled up to a byte with zeros."""
    symbols = clusters(n)
    stream = huffman_encode(symbols)
    words, byte = stream.code.words, 0
    strands = list(strands_of(symbols.tolist(), 1 << 15))
    assert len(strands) == stream.sizes.size
    for strand, size in zip(strands, stream.sizes.tolist()):
        wanted = huffman_encode_plain(strand, words)
        found = bits_of(stream.payload[byte : byte + size])
        assert found[: len(wanted)] == wanted and size == -(-len(wanted) // 8) and "1" not in found[len(wanted) :]
        assert n > 1000 or huffman_decode_plain(wanted, words) == strand
        byte += size
    back = huffman_decode(stream)
    assert back.dtype == np.uint8 and (back == symbols).all()


@pytest.mark.parametrize("limit", [5, 8, 12, 13, 16])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int64])
def test_round_trip_at_every_limit(limit, dtype):
    symbols = np.repeat(np.arange(len(FIBONACCI)), FIBONACCI).astype(dtype)
    np.random.default_rng(0).shuffle(symbols)
    stream = huffman_encode(symbols, limit=limit)
    assert stream.code.longest == limit
    assert (huffman_decode(stream) == symbols).all()
    assert (huffman_decode(HuffmanStream.from_bytes(stream.to_bytes())) == symbols).all()


@pytest.mark.parametrize("k", [2, 3, 32, 200, 256])
def test_pairs_at_a_time(k):
    """Many symbols take the kernel with a table of pairs, few the other: the same stream of bits."""
    symbols = clusters(8 * k**2 + 70_001, k)
    stream, words = huffman_encode(symbols), HuffmanCode(huffman_encode(symbols).code.lengths).words
    assert (huffman_decode(stream) == symbols).all()
    strand = next(strands_of(symbols.tolist(), 1 << 15))
    assert bits_of(stream.payload[: stream.sizes[0]]).startswith(huffman_encode_plain(strand, words))
    few = huffman_encode(symbols[:50], stream.code)
    assert (huffman_decode(few) == symbols[:50]).all()


def test_large_alphabets():
    rng = np.random.default_rng(0)
    for symbols in (rng.integers(0, 2**16, 150_000), rng.geometric(0.01, 50_000), np.array([65_535]), np.arange(2**16)):
        stream = huffman_encode(symbols)
        back = huffman_decode(stream)
        assert back.dtype == (np.uint16 if symbols.max() > 255 else np.uint8) and (back == symbols).all()
        assert (huffman_decode(HuffmanStream.from_bytes(stream.to_bytes())) == symbols).all()
    counts = np.bincount(rng.geometric(0.01, 50_000))
    limited, free = HuffmanCode.from_counts(counts, limit=16), HuffmanCode.from_counts(counts)
    assert free.bits(counts) <= limited.bits(counts) <= 1.001 * free.bits(counts)


@pytest.mark.parametrize("p", [0.5, 0.9, 0.999, 1.0])
def test_short_words(p):
    """One bit each, several symbols a look-up; a symbol that is alone has a word of one bit."""
    symbols = (np.random.default_rng(0).random(100_003) > p).astype(np.uint8)
    stream = huffman_encode(symbols)
    assert stream.code.longest == 1 and abs(8 * stream.payload.size - symbols.size) < 8 * stream.sizes.size
    assert (huffman_decode(stream) == symbols).all()


def test_edges():
    for empty in (np.zeros(0, np.uint8), np.zeros((0, 3), np.int32)):
        stream = huffman_encode(empty)
        assert stream.count == stream.payload.size == 0 and huffman_decode(stream).shape == (0,)
        assert huffman_decode(HuffmanStream.from_bytes(stream.to_bytes())).shape == (0,)
    single = huffman_encode(np.array([7]))
    assert single.payload.tolist() == [0] and huffman_decode(single).tolist() == [7]
    grid = clusters(60).reshape(5, 12)
    assert (huffman_decode(huffman_encode(np.asfortranarray(grid))) == grid.ravel()).all()
    assert huffman_decode(huffman_encode(np.array([True, False, True]))).tolist() == [1, 0, 1]
    code = HuffmanCode.from_counts([1, 2, 3, 4])                # a code made for other data
    assert huffman_decode(huffman_encode(np.array([3, 3, 0]), code)).tolist() == [3, 3, 0]
    assert not code.lengths.flags.writeable


def test_file_size_counts_everything():
    symbols = clusters(100_000)
    stream = huffman_encode(symbols)
    data = stream.to_bytes()
    assert stream.nbytes == len(data)
    assert 8 * len(data) < stream.code.bits(np.bincount(symbols)) + 8 * (18 + 16 + 4) + 16 * 16 + 8 * 16
    again = HuffmanStream.from_bytes(memoryview(data))
    assert again.to_bytes() == data and (again.code.lengths == stream.code.lengths).all()


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_change_nothing(threads):
    symbols = clusters(500_001)
    one, some = huffman_encode(symbols, threads=1), huffman_encode(symbols, threads=threads)
    assert one.to_bytes() == some.to_bytes()
    assert (huffman_decode(some, threads=threads) == symbols).all()


def test_no_damaged_file_is_read():
    data = huffman_encode(clusters(400)).to_bytes()
    for length in range(len(data)):
        with pytest.raises(ValueError, match="data"):
            HuffmanStream.from_bytes(data[:length])
    for byte in range(len(data)):
        with pytest.raises(ValueError, match="data"):
            HuffmanStream.from_bytes(data[:byte] + bytes([data[byte] ^ 1 << byte % 8]) + data[byte + 1 :])
    with pytest.raises(ValueError, match="data"):
        HuffmanStream.from_bytes(data + b"\0")


def test_headers_that_lie():
    """A right check sum over wrong numbers: refused before anything is read or much memory taken."""
    import struct
    import zlib
    data = huffman_encode(clusters(400)).to_bytes()
    for count, alphabet, width, itemsize in (
            (2**62, 32, 4, 1), (401 + 2**15, 32, 4, 1), (0, 32, 4, 1), (400, 2**31, 4, 1), (400, 300, 4, 1),
            (400, 31, 4, 1), (400, 32, 3, 1), (400, 32, 9, 1), (400, 32, 0, 1), (400, 32, 4, 4), (400, 0, 4, 1)):
        forged = struct.pack("<4sQIBB", b"HUF1", count, alphabet, width, itemsize) + data[18:-4]
        with pytest.raises(ValueError):
            huffman_decode(HuffmanStream.from_bytes(forged + struct.pack("<I", zlib.crc32(forged))))


@pytest.mark.parametrize("limit", [8, 13])
def test_damaged_payloads_are_found_or_harmless(limit):
    """Without a check sum: wrong symbols or an error, never a byte outside the stream."""
    symbols, rng, found = clusters(3000), np.random.default_rng(0), 0
    stream = huffman_encode(symbols, limit=limit)
    for _ in range(200):
        payload = stream.payload.copy()
        payload[rng.integers(payload.size, size=3)] ^= rng.integers(1, 256, 3).astype(np.uint8)
        try:
            assert huffman_decode(dataclasses.replace(stream, payload=payload)).shape == symbols.shape
        except ValueError as error:
            assert "payload is damaged" in str(error)
            found += 1
    assert found > 20                                           # a Huffman code falls back into step by itself
    for payload in (stream.payload[:-1], np.append(stream.payload, np.uint8(0))):
        with pytest.raises(ValueError, match="do not fit"):
            huffman_decode(dataclasses.replace(stream, payload=payload))
    for payload in (np.zeros_like(stream.payload), np.full_like(stream.payload, 255)):
        with pytest.raises(ValueError, match="payload is damaged"):
            huffman_decode(dataclasses.replace(stream, payload=payload))


def test_refusals():
    with pytest.raises(TypeError, match="counts have dtype float64"):
        huffman_lengths([0.5, 0.5])
    with pytest.raises(ValueError, match="counts run from -1 to 2"):
        huffman_lengths([-1, 2])
    with pytest.raises(ValueError, match="limit=2 gives 4 words; 5 symbols occur: it should be 3 or more"):
        huffman_lengths([1] * 5, limit=2)
    with pytest.raises(ValueError, match="limit=0 must be a whole number from 1 to 64"):
        huffman_lengths([1], limit=0)
    for lengths, sum_ in (([1, 1, 1], "1.5"), ([2, 2, 2], "0.75"), ([2], "0.25"), ([1, 2], "0.75")):
        with pytest.raises(ValueError, match=f"2.−length is {sum_}"):
            HuffmanCode(lengths)
    with pytest.raises(ValueError, match="lengths run from -1"):
        HuffmanCode([-1, 1])
    with pytest.raises(ValueError, match="lengths have dtype float64"):
        HuffmanCode([0.5])
    with pytest.raises(TypeError, match="symbols have dtype float64"):
        huffman_encode(np.zeros(3))
    for symbols in ([-1, 2], [0, 70_000]):
        with pytest.raises(ValueError, match="symbols run from .* they should be from 0 to 65535"):
            huffman_encode(np.array(symbols))
    with pytest.raises(ValueError, match=r"symbol 1 occurs 2 times and has no code word \(2 such symbols\)"):
        huffman_encode(np.array([0, 1, 1, 3]), HuffmanCode([1, 0, 1]))
    with pytest.raises(ValueError, match="the longest code word has 19 bits; a stream takes 16"):
        huffman_encode(np.array([0]), HuffmanCode.from_counts(FIBONACCI))
    for limit in (0, 17):
        with pytest.raises(ValueError, match=f"limit={limit} must be a whole number from 1 to 16"):
            huffman_encode(np.array([0, 1]), limit=limit)
    with pytest.raises(ValueError, match="limit=5 is for the default code"):
        huffman_encode(np.array([0, 1]), HuffmanCode([1, 1]), limit=5)
    with pytest.raises(ValueError, match=r"counts have shape \(3,\); 2 are wanted"):
        HuffmanCode([1, 1]).bits([1, 2, 3])
    with pytest.raises(TypeError, match="stream is a bytes"):
        huffman_decode(b"HUF1")
