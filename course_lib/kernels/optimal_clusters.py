"""The best way to cut numbers on a line into k clusters: dynamic programming over all cuts.

It asks k n log n times for the squared error of a run of neighbours. Differences of running sums answer at once, and
well where the numbers of the run are not too close for their distance from the middle; otherwise the difference cancels
(beside an outlier of 10⁹, numbers that are 100 apart would look equal). Then the error is put together from runs:

A run knows its mass, how far its mean is from its first and from its last number, and its error, and two runs side by
side are joined by sums of positive numbers, which never cancel. Four runs are enough, and are kept: from a number to
either end of its block of ``BLOCK`` numbers, and, for whole blocks, from either side of the cut between them whose
index is divisible by the highest power of two.

Sources: Wang, Song 2011, "Ckmeans.1d.dp: optimal k-means clustering in one dimension by dynamic programming"; Grønlund
et al. 2017, "Fast exact k-means, k-medians and Bregman divergence clustering in 1D"; Chan, Golub, LeVeque 1983,
"Algorithms for computing the sample variance", for the joining.
"""

import numba
import numpy as np
from numba import float64, int32, int64, types

from course_lib.machine.compiling import array_of, kernel

BLOCK = 32
CLEAR = 1e-5                            # of Σ w (x − middle)² is left as the error: then it has ten digits
NOISE = 1e-13                           # of Σ w (x − middle)² is lost by rounding at most

_inline = numba.njit(nogil=True, error_model="numpy")
_numbers = array_of(float64, 1)


@_inline
def _join(a, b, gap):
    """One run of two, b beginning ``gap`` above the end of a. A run: (mass, first to mean, mean to last, error)."""
    mass = a[0] + b[0]
    left, right = a[0] / mass, b[0] / mass
    apart = a[2] + gap + b[1]                           # of the two means
    return mass, a[1] + apart * right, b[2] + apart * left, a[3] + b[3] + apart * apart * (a[0] * right)


@_inline
def _run_within(x, counts, i, j):
    """The run of numbers i … j − 1, one after the other."""
    run = (counts[i], 0.0, 0.0, 0.0)
    for at in range(i + 1, j):
        run = _join(run, (counts[at], 0.0, 0.0, 0.0), x[at] - x[at - 1])
    return run


@_inline
def _error_within(x, counts, i, j):
    """Σ w (x − mean)² of numbers i … j − 1: the error of :func:`_run_within`, in less time."""
    mass = total = error = 0.0
    for at in range(i, j):
        mass += counts[at]
        total += counts[at] * (x[at] - x[i])
    mean = total / mass
    for at in range(i, j):
        apart = (x[at] - x[i]) - mean
        error += counts[at] * (apart * apart)
    return error


@_inline
def _runs_in_blocks(x, counts):
    """(n, 2) each: distance and error of the run from a number to its block's end, and from its block's start to it.

    The distance is from the mean to that end: what a join with the block beside needs to know.
    """
    to_end, from_start = np.empty((x.size, 2)), np.empty((x.size, 2))
    for start in range(0, x.size, BLOCK):
        stop = min(start + BLOCK, x.size)
        run = (counts[start], 0.0, 0.0, 0.0)
        from_start[start] = 0.0
        for i in range(start + 1, stop):
            run = _join(run, (counts[i], 0.0, 0.0, 0.0), x[i] - x[i - 1])
            from_start[i, 0], from_start[i, 1] = run[1], run[3]
        run = (counts[stop - 1], 0.0, 0.0, 0.0)
        to_end[stop - 1] = 0.0
        for i in range(stop - 2, start - 1, -1):
            run = _join((counts[i], 0.0, 0.0, 0.0), run, x[i + 1] - x[i])
            to_end[i, 0], to_end[i, 1] = run[2], run[3]
    return to_end, from_start


@_inline
def _gap(x, block):
    """From the last number before a block to its first."""
    return x[block * BLOCK] - x[block * BLOCK - 1]


@_inline
def _runs_of_blocks(x, counts):
    """(levels, blocks, 4) runs: level 0, a block; level l, from a block to the odd multiple of 2^(l − 1) next to it."""
    blocks, levels = -(-x.size // BLOCK), 1
    while 1 << levels - 1 < blocks:
        levels += 1
    runs = np.empty((levels, blocks, 4))
    for b in range(blocks):
        runs[0, b] = _run_within(x, counts, b * BLOCK, min((b + 1) * BLOCK, x.size))
    for level in range(1, levels):
        half = 1 << level - 1
        for middle in range(half, blocks, 2 * half):
            runs[level, middle - 1], runs[level, middle] = runs[0, middle - 1], runs[0, middle]
            for b in range(middle - 2, middle - half - 1, -1):
                runs[level, b] = _join(_run(runs, 0, b), _run(runs, level, b + 1), _gap(x, b + 1))
            for b in range(middle + 1, min(middle + half, blocks)):
                runs[level, b] = _join(_run(runs, level, b - 1), _run(runs, 0, b), _gap(x, b))
    return runs


@_inline
def _run(runs, level, b):
    return runs[level, b, 0], runs[level, b, 1], runs[level, b, 2], runs[level, b, 3]


@_inline
def _error_of_runs(x, counts, mass, to_end, from_start, runs, i, j):
    """The squared error of numbers i … j − 1 in one cluster, from runs."""
    b, last = i // BLOCK, (j - 1) // BLOCK
    if b == last:
        return _error_within(x, counts, i, j)
    b += 1
    run = (mass[b * BLOCK] - mass[i], 0.0, to_end[i, 0], to_end[i, 1])
    if b + 1 < last:
        level, differing = 0, b ^ (last - 1)
        while differing:
            level, differing = level + 1, differing >> 1
        middle = (last - 1) >> level - 1 << level - 1
        run = _join(run, _run(runs, level, b), _gap(x, b))
        run = _join(run, _run(runs, level, last - 1), _gap(x, middle))
    elif b < last:
        run = _join(run, _run(runs, 0, b), _gap(x, b))
    tail = (mass[j] - mass[last * BLOCK], from_start[j - 1, 0], 0.0, from_start[j - 1, 1])
    return _join(run, tail, _gap(x, last))[3]


@_inline
def _running_sum(x, counts, power):
    """(n + 1, 2): the sums of w (x − middle)^power from the middle number on, upwards and (negative) downwards.

    In two parts that together have twice the digits. From the middle, because an outlier then spoils its own side only.
    """
    sums, middle = np.zeros((x.size + 1, 2)), x.size // 2
    for i in range(middle, x.size):
        _add(sums[i], counts[i] * (x[i] - x[middle]) ** power, sums[i + 1])
    for i in range(middle - 1, -1, -1):
        _add(sums[i + 1], -counts[i] * (x[i] - x[middle]) ** power, sums[i])
    return sums


@_inline
def _add(a, b, out):
    """out = a + b, where a and out are high and low part: the low one takes what rounding the high one loses."""
    out[0] = a[0] + b
    taken = out[0] - a[0]
    out[1] = a[1] + ((a[0] - (out[0] - taken)) + (b - taken))


@_inline
def _between(sums, i, j):
    return (sums[j, 0] - sums[i, 0]) + (sums[j, 1] - sums[i, 1])


@kernel([types.void(_numbers, _numbers, array_of(int32, 2, readonly=False), array_of(int64, 1, readonly=False))])
def optimal_starts(x, counts, cut, starts):
    """The k clusters of least Σ w (x − mean)²: cluster c is x[starts[c] … starts[c + 1] − 1].

    x: (n,) strictly ascending, n ≥ k, counts: (n,) weights w, whole numbers, cut: (k, n + 1) zeroed, starts: (k + 1,)

    best[c, j] = min over i of best[c − 1, i] + error(i … j − 1). The i that is best moves up with j, so that the j in
    the middle halves the search of both sides: k n log n steps in all.

    Serves ``numerics.kmeans_optimal``. Definition: the first line above.
    """
    n, k = x.size, starts.size - 1
    mass = np.zeros(n + 1)
    for i in range(n):
        mass[i + 1] = mass[i] + counts[i]
    first, second = _running_sum(x, counts, 1), _running_sum(x, counts, 2)
    to_end, from_start = _runs_in_blocks(x, counts)
    runs = _runs_of_blocks(x, counts)
    best, better = np.full(n + 1, np.inf), np.full(n + 1, np.inf)
    for j in range(1, n + 1):
        best[j] = _error_of_runs(x, counts, mass, to_end, from_start, runs, 0, j)
    half = 1
    while half <= n:
        half *= 2
    for c in range(1, k):
        step = half
        while step > 0:
            for j in range(step, n + 1, 2 * step):      # the neighbours j − step and j + step are known
                low = max(cut[c, j - step], c)
                high = min(cut[c, j + step], j - 1) if j + step <= n else j - 1
                found, least = low, np.inf
                for i in range(low, high + 1):
                    total, squares = _between(first, i, j), _between(second, i, j)
                    error = squares - total * (total / (mass[j] - mass[i]))
                    if best[i] + error - NOISE * squares > least:
                        continue                        # worse, whatever has cancelled
                    if error < CLEAR * squares:
                        error = _error_of_runs(x, counts, mass, to_end, from_start, runs, i, j)
                    error += best[i]
                    if error < least:
                        found, least = i, error
                cut[c, j], better[j] = found, least
            step //= 2
        best, better = better, best
    starts[0], starts[k] = 0, n
    for c in range(k - 1, 0, -1):
        starts[c] = cut[c, starts[c + 1]]
