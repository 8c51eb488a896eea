"""Entropy: how many bits a symbol is worth, once its frequency is known.

Source: Shannon 1948, A mathematical theory of communication, sec. 6.
"""

import math
from collections import Counter
from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike

from course_lib.arguments import as_array


def entropy_plain(symbols: Iterable) -> float:
    """Σ p log₂(1/p) over the symbols that occur, p their share. The definition."""
    counts, total = Counter(symbols), len(symbols)
    return sum(count / total * math.log2(total / count) for count in counts.values())


def entropy(symbols: ArrayLike) -> float:
    """Bits per symbol that no code beats on average, if each symbol is coded alone and all share one table.

    A file can be smaller all the same, where it uses what one symbol says about the next.

    Parameters
    ----------
    symbols : ndarray of integers or bools, any shape
        A constant array has entropy 0.

    Returns
    -------
    float, in bits: from 0 to log₂ of the number of different symbols

    Raises
    ------
    TypeError
        ``symbols`` are not integers: a real number has no frequency before it is quantized.
    ValueError
        ``symbols`` is empty.
    """
    symbols = as_array(symbols, "symbols")
    if symbols.dtype.kind not in "iub":
        raise TypeError(f"symbols have dtype {symbols.dtype}; they should be integers: quantize them first")
    if symbols.size == 0:
        raise ValueError("symbols is empty; an entropy needs at least one symbol")
    counts = np.unique(symbols, return_counts=True)[1]
    share = counts / symbols.size
    return float(np.sum(share * np.log2(symbols.size / counts)))
