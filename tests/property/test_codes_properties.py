"""Any symbols come back from a Huffman stream; any numbers are shared as well as their definitions say."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from course_lib.coding import (
    HuffmanCode,
    HuffmanStream,
    entropy,
    huffman_decode,
    huffman_encode,
    huffman_lengths,
)
from course_lib.numerics import kmeans, kmeans_optimal, nearest_level

small = st.lists(st.integers(0, 255), min_size=1, max_size=300)
large = st.lists(st.integers(0, 2**16 - 1), min_size=1, max_size=300)
counts = st.lists(st.integers(0, 10**6), min_size=1, max_size=60)
numbers = st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=60)


@given(st.one_of(small, large), st.integers(9, 16))
def test_any_symbols_come_back(symbols, limit):
    symbols = np.array(symbols)
    stream = huffman_encode(symbols, limit=limit)
    data = stream.to_bytes()
    assert len(data) == stream.nbytes and stream.code.longest <= limit
    assert (huffman_decode(HuffmanStream.from_bytes(data)) == symbols).all()


@given(counts, st.integers(6, 20))
def test_a_limit_costs_bits_and_nothing_else(counts, limit):
    counts = np.array(counts)
    free, limited = (HuffmanCode(huffman_lengths(counts, limit=some)) for some in (None, limit))
    assert limited.longest <= limit and limited.bits(counts) >= free.bits(counts)
    if free.longest <= limit:
        assert limited.bits(counts) == free.bits(counts)
    if (counts > 0).sum() > 1:
        symbols = np.repeat(np.arange(counts.size), np.minimum(counts, 50))
        own = HuffmanCode.from_counts(np.bincount(symbols, minlength=counts.size))
        mean = own.bits(np.bincount(symbols, minlength=counts.size)) / symbols.size
        assert entropy(symbols) - 1e-9 <= mean < entropy(symbols) + 1


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(data):
    for attempt in (data, b"HUF1" + data):
        try:
            huffman_decode(HuffmanStream.from_bytes(attempt))
        except ValueError:
            continue
        raise AssertionError("random bytes passed the check sum")


@given(numbers, st.integers(1, 12))
def test_sharing(values, k):
    x = np.float32(values)
    for share in (kmeans, kmeans_optimal):
        result = share(x, k)
        assert result.codebook.size == min(k, np.unique(x).size) or share is kmeans
        assert (np.diff(result.codebook) > 0).all() and (nearest_level(x, result.codebook) == result.codes).all()
        error = np.sum((x.astype(np.float64) - result.codebook[result.codes]) ** 2)
        assert np.isclose(result.sse, error, rtol=1e-9, atol=1e-30)
    least = kmeans_optimal(x, k).sse
    size = np.abs(x.astype(np.float64)).max() ** 2 * x.size
    assert least <= kmeans(x, k).sse * (1 + 1e-9) + 1e-9 * size + 1e-30         # codebooks are rounded to float32
