"""Histograms of rows, and what is lost when a histogram is clipped and its bins are merged into few codes."""

import numba
import numpy as np
from numba import float32, float64, int64, types

from course_lib.machine.compiling import array_of, kernel

_inline = numba.njit(nogil=True)


@kernel([types.void(array_of(real, 2), array_of(float64, 1), array_of(float64, 1), array_of(int64, 2, readonly=False))
         for real in (float32, float64)])
def histogram_rows(x, low, width, out):
    """out[r, k] = how many x[r, i] ≠ 0 lie in bin k = ⌊(x[r, i] − low[r]) / width[r]⌋, the ends clipped into the range.

    x: (rows, n), low, width: (rows,), out: (rows, bins) zeroed

    Serves ``numerics.calibrate``. Definition: the first line above.
    """
    last = out.shape[1] - 1
    for r in range(x.shape[0]):
        row, counts, start, step = x[r], out[r], low[r], width[r]
        for i in range(row.size):
            if row[i] != 0:
                counts[int(min(max((row[i] - start) / step, 0), last))] += 1


@_inline
def _x_log_x(x):
    return x * np.log(x) if x > 0 else 0.0


@_inline
def _divergence(mass, used, x_log_x, first, last, levels):
    """Σ P log(P / Q) for the bins first ≤ k < last merged into ``levels`` codes, from running sums over the bins.

    Over the bins of one code Q is constant, so that a code costs one logarithm, however many bins it has.
    """
    total, below, above = mass[-1], mass[first], mass[-1] - mass[last]
    kept = total - below - above
    left, right = mass[first + 1] - mass[first], mass[last] - mass[last - 1]
    p_log_p = (x_log_x[last] - x_log_x[first] - _x_log_x(left) - _x_log_x(right)
               + _x_log_x(left + below) + _x_log_x(right + above))      # what was clipped piles up at the ends
    p_log_q, expressed, start = 0.0, kept, first                        # expressed: the mass of all codes
    for level in range(levels):
        stop = first + (level + 1) * (last - first) // levels
        q, n = mass[stop] - mass[start], used[stop] - used[start]
        p = q
        if start == first < stop:                                       # the code of the first bin
            p += below
            n += left == 0 and below > 0
        if level == levels - 1:                                         # and of the last
            p += above
            n += right == 0 and above > 0
        if p > 0:
            if q == 0:                                                  # nothing but clipped: as one number
                q, expressed = 1.0, expressed + 1
            p_log_q += p * np.log(q / n)
        start = stop
    return (p_log_p - p_log_q + total * np.log(expressed / total)) / total if kept > 0 else np.inf


@kernel([types.void(array_of(int64, 2), array_of(int64, 2), array_of(int64, 2), int64,
                    array_of(float64, 2, readonly=False))])
def clipping_divergence_rows(counts, first, last, levels, out):
    """out[r, t] = the divergence of histogram r when the bins first[r, t] ≤ k < last[r, t] (two or more) are kept.

    counts: (rows, bins), first, last, out: (rows, trials)

    Serves ``numerics.calibrate``. Definition: ``numerics.clipping_divergence_one``.
    """
    bins = counts.shape[1]
    mass, used, x_log_x = np.zeros(bins + 1), np.zeros(bins + 1), np.zeros(bins + 1)
    for r in range(counts.shape[0]):
        for k in range(bins):
            count = counts[r, k]
            mass[k + 1] = mass[k] + count
            used[k + 1] = used[k] + (count > 0)
            x_log_x[k + 1] = x_log_x[k] + _x_log_x(count)
        for t in range(out.shape[1]):
            out[r, t] = _divergence(mass, used, x_log_x, first[r, t], last[r, t], levels)
