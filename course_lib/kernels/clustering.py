"""k-means of numbers on a line.

Sorted, the numbers of a cluster are neighbours, so that k clusters are k − 1 cuts. A cut is found by binary search and
a sum between two cuts by two running sums: an iteration costs k log n, not k n, and sorting once takes the time.
Running sums are kept for every ``BLOCK``-th number only; the few numbers after the last of them are added on the spot.
The least error of all k − 1 cuts: ``optimal_clusters``.

Source: Lloyd 1982, "Least squares quantization in PCM".
"""

import numba
import numpy as np
from numba import float32, float64, int64, types, uint8

from course_lib.machine import simd
from course_lib.machine.compiling import array_of, kernel

BLOCK = 64

_inline = numba.njit(nogil=True, error_model="numpy")
_sums = numba.njit(nogil=True, fastmath={"reassoc", "contract"})


_numbers = array_of(float64, 1)


def _out(dtype):
    return array_of(dtype, 1, readonly=False)


@_sums
def _sum(x):
    total = 0.0
    for i in range(x.size):
        total += x[i]
    return total


@_sums
def _squares(x, centre):
    total = 0.0
    for i in range(x.size):
        total += (x[i] - centre) * (x[i] - centre)
    return total


@_inline
def _sum_before(x, running, i):
    """x[0] + … + x[i − 1]"""
    block = i // BLOCK
    return running[block] + _sum(x[block * BLOCK : i])


@_inline
def _first_above(x, value, near):
    """The index of the first x[i] > value in ascending x, its size if there is none; sought outwards from ``near``."""
    low, high, step = near, near, 1                     # x[low − 1] ≤ value < x[high] once both have stopped
    while low > 0 and x[low - 1] > value:
        high = low - 1
        low = max(low - step, 0)
        step *= 2
    while high < x.size and x[high] <= value:
        low = high + 1
        high = min(high + step, x.size)
        step *= 2
    while low < high:
        middle = (low + high) // 2
        if x[middle] <= value:
            low = middle + 1
        else:
            high = middle
    return low


@_inline
def _farthest(x, centres, starts):
    """The number farthest from the centre of its cluster, which is one of the ends of a cluster."""
    found, largest = x[0], -1.0
    for c in range(centres.size):
        if starts[c] < starts[c + 1]:
            for end in (starts[c], starts[c + 1] - 1):
                distance = abs(x[end] - centres[c])
                if distance > largest:
                    found, largest = x[end], distance
    return found


@_inline
def _move(centres, c, value):
    """Give centre c this value and bring the centres back into ascending order."""
    while c > 0 and centres[c - 1] > value:
        centres[c] = centres[c - 1]
        c -= 1
    while c + 1 < centres.size and centres[c + 1] < value:
        centres[c] = centres[c + 1]
        c += 1
    centres[c] = value


@kernel([int64(_numbers, _out(float64), _out(int64), int64)])
def lloyd(x, centres, starts, most):
    """Assign, take means, until nothing changes or ``most`` times; how many times. Cluster c is x[starts[c] … − 1].

    x: (n,) ascending, centres: (k,) ascending, changed in place, starts: (k + 1,), cluster c ends before starts[c + 1].
    What is in the middle between two centres belongs to the lower one. An empty cluster moves to the number farthest
    from its centre, one a round.

    Serves ``numerics.kmeans``. Definition: ``numerics.kmeans_plain``; plain loop: ``plain.lloyd``.
    """
    running = np.empty(x.size // BLOCK + 1)
    running[0] = 0.0
    for b in range(x.size // BLOCK):
        running[b + 1] = running[b] + _sum(x[b * BLOCK : (b + 1) * BLOCK])
    k = centres.size
    for c in range(k + 1):
        starts[c] = x.size if c == k else 0
    changed = True
    for iteration in range(most):
        for c in range(1, k):
            start = _first_above(x, centres[c - 1] / 2 + centres[c] / 2, starts[c])
            changed |= start != starts[c]
            starts[c] = start
        if not changed:
            return iteration
        changed = False
        empty, below = -1, 0.0
        for c in range(k):
            first, stop = starts[c], starts[c + 1]
            above = _sum_before(x, running, stop)
            if first < stop:                            # rounding must not carry a mean out of its cluster
                centres[c] = min(max((above - below) / (stop - first), x[first]), x[stop - 1])
            else:
                empty = c
            below = above
        if empty >= 0 and iteration + 1 < most:
            _move(centres, empty, _farthest(x, centres, starts))
            changed = True
    return most


@kernel([float64(_numbers, array_of(int64, 1), _numbers)])
def squared_error(x, starts, centres):
    """Σ_c Σ_i (x[i] − centres[c])², starts[c] ≤ i < starts[c + 1].   x: (n,), starts: (k + 1,), centres: (k,)

    Serves ``numerics.kmeans``. Definition: the first line above.
    """
    total = 0.0
    for c in range(centres.size):
        total += _squares(x[starts[c] : starts[c + 1]], centres[c])
    return total


@_inline
def _step_if_below(border, numbers, step):
    """``step`` in the lanes where border < number, else 0."""
    return simd.reinterpret(border - numbers, np.int32) >> simd.splat(np.int32(31), 16) & simd.splat(np.int32(step), 16)


@kernel([types.void(_numbers, array_of(int64, 1), _out(float64))])
def means(x, starts, centres):
    """centres[c] = mean of x[starts[c] … starts[c + 1] − 1]; of an empty cluster it stays.   x: (n,), centres: (k,)

    From the cluster's own numbers: in a difference of running sums an outlier elsewhere cancels what they had.

    Serves ``numerics.kmeans``. Definition: ``numerics.kmeans_plain``; plain loop: ``plain.lloyd``.
    """
    for c in range(centres.size):
        first, stop = starts[c], starts[c + 1]
        if first < stop:
            centres[c] = min(max(_sum(x[first:stop]) / (stop - first), x[first]), x[stop - 1])


@kernel([types.void(array_of(float32, 1), array_of(float32, 1), _out(uint8))])
def count_below(x, borders, out):
    """out[i] = how many borders are < x[i].   x: (n,), n ≥ 16, borders: (2^p − 1,) ascending, out: (n,) uint8

    Binary search, sixteen at a time: a difference's sign bit, spread over 32 bits, keeps a step or drops it, so that
    there is no branch to guess. Borders are finite, so that the difference of two infinities never comes up. The first
    five steps find theirs in registers: every border where there are 31 at most, else every second, fourth or eighth.

    Serves ``numerics.nearest_level``. Definition: ``numerics.nearest_level_one``; plain loop: ``plain.nearest``.
    """
    unit = max(1, (borders.size + 1) // 32)
    table = np.zeros(32, np.float32)
    for j in range(min(31, borders.size)):
        table[j] = borders[unit * (j + 1) - 1]
    for block in range(0, x.size, 16):
        i = min(block, x.size - 16)                     # the last sixteen overlap those before
        numbers, found = simd.load(x, i), simd.splat(np.int32(0), 16)
        step = min(16, (borders.size + 1) // 2)
        while step > 0:
            border = simd.lookup32(table, found + simd.splat(np.int32(step - 1), 16))
            found = found + _step_if_below(border, numbers, step)
            step //= 2
        found = found * simd.splat(np.int32(unit), 16)
        step = unit // 2
        while step > 0:
            border = simd.gather(borders, found + simd.splat(np.int32(step - 1), 16))
            found = found + _step_if_below(border, numbers, step)
            step //= 2
        simd.store(out, i, simd.convert(found, np.uint8))
