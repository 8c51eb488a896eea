"""Huffman codes: frequent symbols get short code words, rare ones long, and no word is the beginning of another.

Only the lengths of the words matter and are stored: the words follow from them (canonical codes: ascending by length,
then by symbol). On average a word is less than one bit longer than the entropy.

Sources: Huffman 1952, "A method for the construction of minimum-redundancy codes"; Larmore, Hirschberg 1990, "A fast
algorithm for optimal length-limited Huffman codes" (package-merge); Han et al. 2016, "Deep Compression", sec. 4.
"""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from course_lib.arguments import as_array, integer_array, whole_number


def huffman_tree_plain(counts: Sequence[int]) -> tuple | int | None:
    """Join the two rarest, a symbol or a pair of such, until one is left. The definition: nested pairs of symbols.

    >>> huffman_tree_plain([5, 1, 1, 3])
    (0, ((1, 2), 3))
    """
    heap = [(count, symbol, symbol) for symbol, count in enumerate(counts) if count]
    heapq.heapify(heap)
    made = len(counts)                                  # of equal counts the older is joined first
    while len(heap) > 1:
        (a, _, left), (b, _, right) = heapq.heappop(heap), heapq.heappop(heap)
        heapq.heappush(heap, (a + b, made, (left, right)))
        made += 1
    return heap[0][2] if heap else None


def huffman_lengths_plain(counts: Sequence[int]) -> list[int]:
    """The length of every symbol's code word is its depth in the tree; 0 where the count is 0. The definition.

    A symbol that is alone gets a word of one bit.
    """
    lengths = [0] * len(counts)
    below = [(huffman_tree_plain(counts), 0)]
    while below:
        node, depth = below.pop()
        if isinstance(node, tuple):
            below += [(child, depth + 1) for child in node]
        elif node is not None:
            lengths[node] = max(depth, 1)
    return lengths


def huffman_encode_plain(
    symbols: Sequence[int], words: Sequence[str]
) -> str:
    """The code words, one after the other, as text. The definition."""
    return "".join(words[symbol] for symbol in symbols)


def huffman_decode_plain(bits: str, words: Sequence[str]) -> list[int]:
    """The symbols whose words make up the text ``bits``. The definition: no word is the beginning of another."""
    symbol_of, symbols, word = {word: symbol for symbol, word in enumerate(words) if word}, [], ""
    for bit in bits:
        word += bit
        if word in symbol_of:
            symbols.append(symbol_of[word])
            word = ""
    return symbols


def huffman_lengths(counts: ArrayLike, *, limit: int | None = None) -> NDArray[np.uint8]:
    """The lengths of the code words that take the fewest bits in all.

    Parameters
    ----------
    counts : array_like of whole numbers, (alphabet,), how often each symbol occurs
        A symbol that never occurs gets no word (length 0); one that is alone gets one bit; empty stays empty.
    limit : int, no word is longer (at most 64); by default they are as long as they come out

    Returns
    -------
    lengths : uint8 ndarray, (alphabet,)

    Raises
    ------
    TypeError, ValueError
        ``counts`` are not whole numbers, or negative, or beyond 2⁴⁸ in all; 2^limit words are too few.

    Examples
    --------
    >>> huffman_lengths([5, 1, 1, 3, 0])
    array([1, 3, 3, 2, 0], dtype=uint8)
    >>> huffman_lengths([5, 1, 1, 3, 0], limit=2)
    array([2, 2, 2, 2, 0], dtype=uint8)
    """
    if isinstance(counts, Mapping):
        raise TypeError(f"counts is a {type(counts).__name__}; it should be a list, the count of symbol s at place s: "
                        "[counts.get(s, 0) for s in range(1 + max(counts))]")
    counts = as_array(counts, "counts")
    if counts.size == 0:
        counts = counts.astype(np.int64)
    if counts.dtype.kind not in "iu" or counts.ndim != 1:
        raise TypeError(f"counts have dtype {counts.dtype} and shape {counts.shape}; "
                        "they should be whole numbers, (alphabet,)")
    if counts.size and (counts.min() < 0 or counts.sum(dtype=np.float64) > 2**48):
        raise ValueError(f"counts run from {counts.min()} to {counts.max()}; "
                         "they should be from 0 on, and 2⁴⁸ in all at most")
    used = np.flatnonzero(counts)
    if limit is None:
        return np.array(huffman_lengths_plain(counts.tolist()), np.uint8)
    limit = whole_number(limit, "limit", 1, 64)
    if used.size > 2**limit:
        raise ValueError(f"limit={limit} gives {2**limit} words; {used.size} symbols occur: "
                         f"it should be {(used.size - 1).bit_length()} or more")
    lengths = np.zeros(counts.size, np.uint8)
    rarest_first = used[np.argsort(counts[used], kind="stable")]
    lengths[rarest_first] = _package_merge(counts[rarest_first].astype(np.int64), limit)
    return lengths


def _package_merge(counts, limit):
    """Lengths of at most ``limit`` for ascending counts, all above 0.

    A symbol of length l is a coin of its count in each of l values 2⁻¹ … 2⁻ˡ; all words together are worth 1. From the
    smallest value up, coins are packed in pairs, and the pairs lie among the coins of the next value, cheapest first.
    """
    if counts.size <= 1:
        return np.ones(counts.size, np.uint8)
    coins, are_symbols = counts, [np.ones(counts.size, bool)]
    for _ in range(limit - 1):
        pairs = coins[: coins.size // 2 * 2].reshape(-1, 2).sum(1)
        both = np.concatenate([counts, pairs])
        order = np.argsort(both, kind="stable")
        coins = both[order]
        are_symbols.append(order < counts.size)
    lengths, taken = np.zeros(counts.size, np.uint8), 2 * counts.size - 2
    for is_symbol in reversed(are_symbols):             # unpack: of the cheapest, some are symbols, the rest pairs
        symbols = np.count_nonzero(is_symbol[:taken])
        lengths[:symbols] += 1
        taken = 2 * (taken - symbols)
    return lengths


@dataclass(frozen=True, eq=False)
class HuffmanCode:
    """A canonical Huffman code, known by the lengths of its words.

    Parameters
    ----------
    lengths : array_like of whole numbers, (alphabet,), 0 for a symbol without a word
        Every stream of bits must be readable, so Σ 2^−length = 1, except for a single word of one bit, or none.
    """

    lengths: np.ndarray

    def __post_init__(self):
        lengths = as_array(self.lengths, "lengths")
        if lengths.ndim != 1 or lengths.size > 2**16 or (lengths.size and lengths.dtype.kind not in "iu"):
            raise ValueError(f"lengths have dtype {lengths.dtype} and shape {lengths.shape}; "
                             "they should be whole numbers, (alphabet,), at most 65536")
        if lengths.size and not 0 <= lengths.min() <= lengths.max() <= 255:
            raise ValueError(f"lengths run from {lengths.min()} to {lengths.max()}; they should be from 0 to 255")
        lengths = lengths.astype(np.uint8)
        lengths.flags.writeable = False
        object.__setattr__(self, "lengths", lengths)
        longest, used = self.longest, np.bincount(lengths)[1:].tolist()
        filled = sum(count << longest - length for length, count in enumerate(used, start=1))   # exact, however long
        if filled != 1 << longest and used not in ([], [1]):
            raise ValueError(f"Σ 2^−length is {filled / (1 << longest):g}; it should be 1: "
                             "more is no code, less leaves bits that mean nothing")

    @classmethod
    def from_counts(cls, counts: ArrayLike, *, limit: int | None = None) -> Self:
        """The code that takes the fewest bits for these counts, see :func:`huffman_lengths`."""
        return cls(huffman_lengths(counts, limit=limit))

    @property
    def longest(self) -> int:
        """The length of the longest word, 0 if there is none."""
        return int(self.lengths.max(initial=0))

    @property
    def words(self) -> list[str]:
        """Every symbol's code word as text, "" where it has none.

        >>> HuffmanCode([1, 3, 3, 2, 0]).words
        ['0', '110', '111', '10', '']
        """
        words, value, before = [""] * self.lengths.size, 0, 0
        for symbol in np.argsort(self.lengths, kind="stable")[np.count_nonzero(self.lengths == 0):].tolist():
            length = int(self.lengths[symbol])
            value <<= length - before
            words[symbol] = format(value, f"0{length}b")
            value, before = value + 1, length
        return words

    def bits(self, counts: ArrayLike) -> int:
        """How many bits so many of each symbol take, the table of lengths not counted."""
        counts = integer_array(counts, "counts")
        if counts.shape != self.lengths.shape or (counts[self.lengths == 0] != 0).any():
            raise ValueError(f"counts have shape {counts.shape}; "
                             f"{self.lengths.size} are wanted, 0 where there is no word")
        return int(counts.astype(np.int64) @ self.lengths)
