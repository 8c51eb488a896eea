"""Weight sharing: k-means replaces every number by one of k, so that a weight is stored as an index into a codebook.

    r̂ = codebook[q],  q the index of the nearest entry,  and the squared error Σ (r − r̂)² is made small

Deep Compression keeps n weights of b bits in n log₂ k + k b bits this way.

Sources: Han, Mao, Dally 2016, "Deep Compression", sec. 3; Gong et al. 2014, "Compressing deep convolutional networks
using vector quantization"; Arthur, Vassilvitskii 2007, "k-means++"; for the algorithms see ``kernels/clustering.py``.
"""

import math
from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from course_lib.arguments import as_array, choose, finite_array, float64_array, whole_number
from course_lib.kernels import clustering, sorting
from course_lib.machine import ways
from course_lib.numerics.codebook import nearest_level, nearest_level_one

LARGEST = 1e150                                         # the square of a larger number may not fit float64
# so many numbers NumPy sorts anywhere in less than a millisecond
FEW = 2**14
LARGEST_TABLE = 2**26                                   # k · n up to which kmeans_optimal keeps its table: 256 MB


class Start(str, Enum):
    """Where k-means begins: evenly spaced from the smallest number to the largest, at evenly spaced quantiles, at
    numbers drawn from the data (Forgy), or at numbers drawn so that they keep their distance (k-means++)."""

    LINEAR = "linear"
    DENSITY = "density"
    FORGY = "forgy"
    PLUS_PLUS = "k-means++"


class KMeans(NamedTuple):
    """Shared weights: ``codebook[codes]`` stands for the array, ``sse`` is the sum of its squared errors."""

    codebook: np.ndarray
    codes: np.ndarray
    sse: float
    iterations: int


def sharing_rate(count: int, bits: int, k: int) -> float:
    """How many times smaller weight sharing makes ``count`` weights of ``bits`` bits: nb / (n log₂ k + kb).

    Sixteen weights of 32 bits in four clusters, the example of Han et al. 2016:

    >>> sharing_rate(16, 32, 4)
    3.2
    """
    count, bits, k = (whole_number(value, name, 1, 2**62)
                      for name, value in (("count", count), ("bits", bits), ("k", k)))
    return count * bits / (count * math.log2(k) + k * bits)


def kmeans_plain(values: Sequence[float], centres: list[float],
                 iterations: int = 1000) -> tuple[list[float], list[int]]:
    """Assign every value to its nearest centre, move every centre to the mean of its values, until nothing changes.

    The definition. Returns (centres, codes); a centre without values stays where it is.
    """
    codes = None
    for _ in range(iterations):
        before, codes = codes, [nearest_level_one(value, centres) for value in values]
        if codes == before:
            break
        for c in set(codes):
            own = [value for value, code in zip(values, codes) if code == c]
            centres = [*centres[:c], sum(own) / len(own), *centres[c + 1 :]]
    return centres, codes


def kmeans(x: ArrayLike, k: int, *, start: Start | str | ArrayLike = Start.LINEAR,
           rng: np.random.Generator | None = None, most_iterations: int = 1000,
           threads: int | None = None) -> KMeans:
    """Share ``k`` values among all numbers of ``x``, by Lloyd's algorithm, run until nothing moves.

    NaN, ±inf and an empty array raise. Where ``x`` has no more than ``k`` different numbers they are the codebook, and
    the error is 0 (so with a constant array). A number in the middle between two entries takes the lower one. A cluster
    that runs empty starts again at the number farthest from its centre. Sums are taken in double precision.

    Parameters
    ----------
    x : array_like, any shape, float32 or float64, no number beyond ±1e150
    k : int, 1 to 65536
    start : Start, or array_like of k finite numbers to begin with
        See :func:`first_centroids`.
    rng : numpy.random.Generator, required for ``Start.FORGY`` and ``Start.PLUS_PLUS``
    most_iterations : int, at least 1
    threads : int, changes the time and nothing else

    Returns
    -------
    KMeans
        ``codebook``: (k,) or shorter, ascending, in the dtype of ``x``; ``codes``: shape of ``x``, uint8 (uint16 above
        256 entries), as :func:`nearest_level` gives them; ``sse``; ``iterations``.

    Raises
    ------
    TypeError, ValueError
        ``x`` has another dtype, NaN or infinities, or no entries; ``start`` or ``rng`` is not as above.

    Examples
    --------
    >>> shared = kmeans(np.float32([0.1, 0.2, 0.9, 1.0, 1.1]), 2)
    >>> shared.codebook, shared.codes, round(shared.sse, 3)
    (array([0.15, 1.  ], dtype=float32), array([0, 0, 1, 1, 1], dtype=uint8), 0.025)

    Source: Han et al. 2016, sec. 3.1 and 3.2, who found that the linear start keeps the most accuracy.
    """
    k = whole_number(k, "k", 1, 2**16)
    most_iterations = whole_number(most_iterations, "most_iterations", 1, 2**31)
    x, start = as_array(x), _checked_start(start, k, rng)
    ascending = _sorted(x)
    new = ascending[1:] != ascending[:-1]
    if np.count_nonzero(new) < k:
        return _exact(x, ascending[np.concatenate([[True], new])], threads)
    wide, centres, starts = ascending.astype(np.float64), _centres(ascending, k, start, rng), np.zeros(k + 1, np.int64)
    iterations = clustering.lloyd(wide, centres, starts, most_iterations)
    clustering.means(wide, starts, centres)
    return _shared(x, wide, centres, iterations, threads)


def first_centroids(x: ArrayLike, k: int, start: Start | str | ArrayLike = Start.LINEAR, *,
                    rng: np.random.Generator | None = None) -> np.ndarray:
    """Where :func:`kmeans` begins: with ``start=first_centroids(x, k, start)`` it gives what ``start=start`` gives.

    Parameters
    ----------
    x, k : as in :func:`kmeans`
    start : Start
    rng : numpy.random.Generator, required for ``Start.FORGY`` and ``Start.PLUS_PLUS``
        In the same state as the one that :func:`kmeans` would get, the same centroids.

    Returns
    -------
    ndarray, (k,) float64, ascending; equal ones where ``x`` has too few different numbers

    Raises
    ------
    TypeError, ValueError
        As :func:`kmeans`.

    Examples
    --------
    >>> x = np.float32([0, 1, 2, 3, 10])
    >>> first_centroids(x, 3), first_centroids(x, 3, "density")
    (array([ 0.,  5., 10.]), array([ 0.,  2., 10.]))

    Source: Han et al. 2016, sec. 3.2, for the linear, the density and the Forgy start.
    """
    k, start = whole_number(k, "k", 1, 2**16), _checked_start(start, k, rng)
    return _centres(_sorted(as_array(x)), k, start, rng)


def kmeans_optimal(x: ArrayLike, k: int, *, threads: int | None = None) -> KMeans:
    """The clusters of least squared error that there are, by dynamic programming: k n log n steps, k n numbers kept.

    Least while the codebook is real; it is rounded to the dtype of ``x`` then. Never worse than :func:`kmeans` from the
    linear start. As there in everything else. ``iterations`` is 0.

    Raises
    ------
    ValueError
        Also where k times the number of different values is beyond 2²⁶: the table would not fit.

    Source: Wang, Song 2011; Grønlund et al. 2017.
    """
    k = whole_number(k, "k", 1, 2**16)
    x = as_array(x)
    values, counts = np.unique(_sorted(x), return_counts=True)
    if values.size <= k:
        return _exact(x, values, threads)
    if k * values.size > LARGEST_TABLE:
        raise ValueError(f"k={k} times {values.size} different numbers is more than {LARGEST_TABLE}; "
                         "take kmeans, which is not exact, or fewer numbers")
    from course_lib.kernels import optimal_clusters  # here, so that nobody else waits for it to load

    wide, weights = values.astype(np.float64), counts.astype(np.float64)
    starts = np.zeros(k + 1, np.int64)
    about_one = np.ldexp(wide, -np.frexp(np.abs(wide).max())[1])    # squares of small numbers do not vanish
    optimal_clusters.optimal_starts(about_one, weights, np.zeros((k, values.size + 1), np.int32), starts)
    centres = np.array([wide[a] + np.average(wide[a:b] - wide[a], weights=counts[a:b])
                        for a, b in zip(starts, starts[1:])])
    best, near = _shared(x, np.repeat(wide, counts), centres, 0, threads), kmeans(x, k, threads=threads)
    return best if best.sse <= near.sse else near._replace(iterations=0)    # rounding the codebook has the last word


def _sorted(x):
    """All numbers of ``x`` in ascending order, checked."""
    ascending = np.array(x, order="C").reshape(-1)
    if ascending.dtype not in (np.float32, np.float64) or not ascending.size:
        finite_array(x)                                 # raises, or the byte order is a foreign one
        ascending = ascending.astype(ascending.dtype.newbyteorder("="))
    _sort(ascending)
    if not (float(ascending[0]) >= -LARGEST and float(ascending[-1]) <= LARGEST):     # NaN sorts to one of the ends
        finite_array(x)
        raise ValueError(f"x runs from {ascending[0]} to {ascending[-1]}; beyond ±{LARGEST:g} squares do not fit")
    return ascending


def _sort(x):
    """Sort an array of floats in place; NumPy's sort is slow where some lanes of a vector are slow to store."""
    (SORTS[ways.faster("sort", _try_to_sort)] if x.size >= FEW else np.ndarray.sort)(x)


def _radix_sort(x):
    bits = x.view(np.dtype(f"u{x.itemsize}"))
    sorting.sort_floats(bits, np.empty_like(bits))


SORTS = {"vector": np.ndarray.sort, "plain": _radix_sort}


def _try_to_sort(way):
    """Some numbers that are in no order, multiples of a prime."""
    SORTS[way]((np.arange(FEW) * 7919 % FEW).astype(np.float32))


def _exact(x, values, threads):
    """The result where every number has an entry of its own."""
    codebook = values + values.dtype.type(0)            # −0 + 0 is +0
    return KMeans(codebook, nearest_level(x, codebook, threads=threads), 0.0, 0)


def _shared(x, ascending, centres, iterations, threads):
    """The result for these centres, rounded to the dtype of ``x``.   ascending: the numbers of x in float64"""
    codebook = np.unique(centres.astype(x.dtype.newbyteorder("="))) + x.dtype.type(0)
    rounded = codebook.astype(np.float64)
    cuts = np.searchsorted(ascending, rounded[:-1] / 2 + rounded[1:] / 2, side="right")
    starts = np.concatenate([[0], cuts, [ascending.size]])
    codes = nearest_level(x, codebook, threads=threads)
    return KMeans(codebook, codes, clustering.squared_error(ascending, starts, rounded), iterations)


def _checked_start(start, k, rng):
    """A member of Start, or k centres in float64."""
    if not isinstance(start, str):
        centres = finite_array(float64_array(start, "start"), "start")
        if centres.shape != (k,):
            raise ValueError(f"start has shape {centres.shape}; k={k} takes as many centres, ({k},)")
        return centres
    if start == "random":
        raise ValueError("start='random' has two meanings: take 'forgy', numbers drawn from the data")
    start = choose(Start, start, "start")
    if start in (Start.FORGY, Start.PLUS_PLUS) and not isinstance(rng, np.random.Generator):
        raise ValueError(f"start={start.value!r} needs rng, a NumPy generator, and got {rng!r}: make one with "
                         "rng = np.random.default_rng(0)")
    return start


def _centres(ascending, k, start, rng):
    """k centres to begin with, ascending, float64."""
    n = ascending.size
    if not isinstance(start, Start):
        return np.sort(start)
    if start == Start.LINEAR:
        return np.linspace(float(ascending[0]), float(ascending[-1]), k)
    if start == Start.DENSITY:
        return ascending[((np.arange(k) + 0.5) / k * n).astype(np.int64)].astype(np.float64)
    if start == Start.FORGY:
        return np.sort(ascending[rng.choice(n, k, replace=n < k, shuffle=False)]).astype(np.float64)
    return _plus_plus(ascending, k, rng)


def _plus_plus(ascending, k, rng):
    """Each next centre is a number drawn with a chance in proportion to its squared distance from the nearest one."""
    wide = ascending.astype(np.float64)
    centres, ends = wide[[rng.integers(wide.size)]], np.array([0, wide.size])

    def squares(c):
        """(x − centre c)² over the numbers of its cluster."""
        return (wide[ends[c] : ends[c + 1]] - centres[c]) ** 2

    masses = [squares(0).sum()]
    while centres.size < k:
        total = np.concatenate([[0], np.cumsum(masses)])
        drawn = rng.random() * total[-1]
        c = min(int(np.searchsorted(total[1:], drawn, side="right")), centres.size - 1)
        low = np.searchsorted(np.cumsum(squares(c)), drawn - total[c], side="right")    # whose share passes the draw
        new = wide[min(ends[c] + low, ends[c + 1] - 1)]     # a draw that rounding put past the end takes the last
        at = int(np.searchsorted(centres, new))
        centres = np.insert(centres, at, new)
        cuts = np.searchsorted(wide, centres[:-1] / 2 + centres[1:] / 2, side="right")
        ends = np.concatenate([[0], cuts, [wide.size]])
        masses.insert(at, 0)
        for c in range(max(at - 1, 0), min(at + 2, centres.size)):      # the new cluster and those beside it
            masses[c] = squares(c).sum()
    return centres
