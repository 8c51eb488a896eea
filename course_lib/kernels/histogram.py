"""Counting: one histogram per row."""

from numba import float32, float64, int64, types

from course_lib.kernels.compiling import array_of, kernel


@kernel([types.void(array_of(real, 2), array_of(float64, 1), array_of(float64, 1), array_of(int64, 2, readonly=False))
         for real in (float32, float64)])
def histogram_rows(x, low, width, out):
    """out[r, k] = how many x[r, i] ≠ 0 lie in bin k = ⌊(x[r, i] − low[r]) / width[r]⌋, the ends clipped into the range.

    x: (rows, n), low, width: (rows,), out: (rows, bins) zeroed
    """
    last = out.shape[1] - 1
    for r in range(x.shape[0]):
        row, counts, start, step = x[r], out[r], low[r], width[r]
        for i in range(row.size):
            if row[i] != 0:
                counts[int(min(max((row[i] - start) / step, 0), last))] += 1
