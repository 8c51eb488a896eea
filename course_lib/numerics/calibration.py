"""Calibration: choose the clipping range [α, β], and with it scale and zero point, from data.

A wide range clips nothing and has coarse steps; a narrow one has fine steps and clips the tails. Five answers:

    min-max          the range of the data
    percentile       leaves the farthest numbers out, a fixed share of them
    MSE              the range with the smallest mean squared error
    histogram        the range whose codes keep most of the distribution (Kullback-Leibler divergence)
    moving average   the range of a typical batch: the ends of batch after batch, smoothed (``moving_average.py``)

Sources: Gholami et al. 2021, sec. III-C and III-D; Migacz 2017, "8-bit inference with TensorRT", for the histogram.
"""

import math
from collections.abc import Sequence
from enum import Enum

import numpy as np
from numpy.typing import ArrayLike

from course_lib.arguments import choose, finite_array, whole_number
from course_lib.kernels import elementwise, histogram
from course_lib.numerics.layout import Granularity, check_axis, params_shape, to_rows
from course_lib.numerics.qparams import QParams, Scheme, code_range, qparams_from_range, scale_and_zero_point

AT_ONCE = 256                                               # histograms worked on together, to bound the memory
BINS = 2048                                                 # of the histogram that the KL method looks at
REACH = 16
KEEP = np.arange(128, 128 // REACH - 1, -1) / 128           # shares of the largest |x| it tries, 1 down to 1/16


class Calibration(str, Enum):
    """How the clipping range is chosen."""

    MINMAX = "minmax"
    PERCENTILE = "percentile"
    MSE = "mse"
    HISTOGRAM = "histogram"
    MOVING_AVERAGE = "moving_average"


def calibrate(
    x: ArrayLike, *, bits: int, scheme: Scheme | str = Scheme.SYMMETRIC,
    granularity: Granularity | str = Granularity.PER_TENSOR, axis: int = 0, group_size: int | None = None,
    method: Calibration | str = Calibration.MINMAX, percentile: float = 99.9, signed: bool | None = None,
) -> QParams:  # fmt: skip
    """Choose the scale and zero point with which to quantize ``x``.

    Weights, by convention: ``calibrate(w, bits=b, scheme="symmetric", granularity="per_channel", axis=0)``;
    activations: ``calibrate(a, bits=b, scheme="affine", granularity="per_tensor", method=...)``.

    NaN, ±inf and an empty array raise; a constant tensor (channel, group) gets the scale with which it round-trips
    exactly, whatever the method; -0.0 counts as +0.0. ``x`` is not changed.

    Parameters
    ----------
    x : array_like, any shape, float32 or float64
    bits : int, 2 to 16 symmetric, 1 to 16 affine
    scheme : Scheme, by default that of weights
    granularity : Granularity
    axis : int, the channel axis, used per channel only
    group_size : int, required per group: entries along the last axis that share a scale
    method : Calibration
        A moving average needs batches, which ``calibrate_batches`` takes; ``x`` alone is one batch, and its average its
        own minimum and maximum. So it is for weights.
    percentile : float in (50, 100], used by ``Calibration.PERCENTILE``
        Symmetric: that share of |x| is inside the range. Affine: each side of the range leaves out what lies beyond its
        percentile, 99.9 for β and 0.1 for α.
    signed : bool, affine codes in [−2^(b−1), 2^(b−1) − 1] instead of [0, 2^b − 1]

    Returns
    -------
    QParams, whose scale has the dtype of ``x``

    Raises
    ------
    TypeError, ValueError
        ``x`` is empty, not finite, or not of a float dtype; another argument is not one of the above.

    Source: Gholami et al. 2021, sec. III-B to III-E.
    """
    x = finite_array(x)
    scheme = choose(Scheme, scheme, "scheme")
    granularity = choose(Granularity, granularity, "granularity")
    method = choose(Calibration, method, "method")
    qmin, qmax = code_range(bits, scheme, signed)
    if not isinstance(percentile, (int, float, np.number)) or not 50 < percentile <= 100:
        raise ValueError(f"percentile={percentile!r} must be above 50 and at most 100")
    axis = check_axis(axis, x.ndim) if granularity is Granularity.PER_CHANNEL else None
    if granularity is not Granularity.PER_GROUP:
        group_size = None
    elif group_size is None:
        raise ValueError("granularity='per_group' needs group_size, for instance group_size=128")
    else:
        whole_number(group_size, "group_size", 1, 2**31)

    def choose_range(rows):
        if method is Calibration.PERCENTILE:
            return percentile_range(rows, scheme, percentile)
        if method is Calibration.MSE:
            return mse_range(rows, scheme, qmin, qmax)
        if method is Calibration.HISTOGRAM:
            return histogram_range(rows, scheme, qmin, qmax)
        return minmax_range(rows)

    alpha, beta = _per_group(choose_range, *to_rows(x, granularity, axis, group_size))
    shape = params_shape(x.shape, granularity, axis, group_size)
    return qparams_from_range(alpha.reshape(shape), beta.reshape(shape), bits=bits, scheme=scheme, signed=signed,
                              granularity=granularity, axis=axis, group_size=group_size, dtype=x.dtype)


def _per_group(choose_range, rows, group):
    """Apply ``choose_range`` to every group of every row: α and β of shape (rows, G)."""
    whole = rows.shape[1] // group * group                  # what full groups cover; a short one may follow
    ranges = []
    for part in (rows[:, :whole].reshape(-1, group), rows[:, whole:]):
        if part.size:
            part = np.ascontiguousarray(part)               # one line per scale
            alpha, beta = choose_range(part)
            low, high = minmax_range(part)
            plain = (low == high) | (alpha == beta)         # constant, or a method that left no range at all
            ranges.append([np.where(plain, low, alpha).reshape(len(rows), -1),
                           np.where(plain, high, beta).reshape(len(rows), -1)])
    return [np.concatenate(ends, axis=1) for ends in zip(*ranges)]


def minmax_range(rows):
    """α and β as the smallest and largest entry of each row."""
    return rows.min(axis=1).astype(np.float64), rows.max(axis=1).astype(np.float64)


def percentile_range(rows, scheme, percentile):
    """α and β as percentiles of each row; symmetric, a percentile of |x|."""
    half = rows / 2                                         # the difference of two entries must not overflow
    if scheme is Scheme.SYMMETRIC:
        beta = 2 * np.percentile(np.abs(half), percentile, axis=1).astype(np.float64)
        return -beta, beta
    alpha, beta = 2 * np.percentile(half, [100 - percentile, percentile], axis=1).astype(np.float64)
    return alpha, beta


def mse_range(rows, scheme, qmin, qmax):
    """α and β with the smallest squared error, by a search over narrower and narrower ranges.

    A grid of 32 shares of the full range, then a finer one around the best. An affine range is searched one end at a
    time, twice over. The full range is on the grid: the result is never worse than min-max.
    """
    low, high = _full_range(rows, scheme)
    shares = {"low": np.ones(len(rows)), "high": np.ones(len(rows))}
    best = np.full(len(rows), np.inf)

    def attempt(ends, share):
        trial = shares | dict.fromkeys(ends, share)
        alpha, beta = low * trial["low"], high * trial["high"]
        scale, zero_point = scale_and_zero_point(alpha, beta, scheme, qmin, qmax, rows.dtype)
        error = np.empty(len(rows))
        elementwise.squared_error_rows(rows, scale, zero_point, qmin, qmax, error)
        better = error < best
        best[better] = error[better]
        for end in ends:
            shares[end] = np.where(better, share, shares[end])

    def sweep(*ends):
        for coarse in np.arange(32, 0, -1) / 32:
            attempt(ends, np.full(len(rows), coarse))
        centre = shares[ends[0]]
        for fine in np.arange(-7, 8) / 256:
            attempt(ends, np.minimum(centre + fine, 1.0))

    if scheme is Scheme.SYMMETRIC:
        sweep("low", "high")
    else:
        for _ in range(2 if (low < 0).any() and (high > 0).any() else 1):
            if (high > 0).any():
                sweep("high")
            if (low < 0).any():
                sweep("low")
    return low * shares["low"], high * shares["high"]


def _full_range(rows, scheme):
    """The range of each row: symmetric, ±max |x|; affine, widened to hold zero."""
    low, high = minmax_range(rows)
    if scheme is Scheme.SYMMETRIC:
        high = np.maximum(-low, high)
        return -high, high
    return np.minimum(low, 0), np.maximum(high, 0)


def clipping_divergence_one(
    counts: Sequence[int], first: int, last: int, levels: int
) -> float:
    """What a histogram loses when only bins first ≤ k < last are kept, and those merged into ``levels`` codes.

    P, the reference, is the kept part with all that was clipped added to its ends. Q, what the codes can express,
    spreads the mass of each code evenly over its bins that are in use; a code that has nothing but clipped numbers
    counts as one number, so that an empty gap may be clipped. The loss is Σ P log(P / Q), the Kullback-Leibler
    divergence of the two as distributions. The definition.
    """
    kept, total = list(counts[first:last]), sum(counts)
    p = kept.copy()
    p[0] += sum(counts[:first])
    p[-1] += sum(counts[last:])
    if not any(kept):
        return math.inf
    q = [0.0] * len(p)
    for level in range(levels):
        bins = range(level * len(p) // levels, (level + 1) * len(p) // levels)
        used = [k for k in bins if p[k] > 0]
        for k in used:
            q[k] = max(sum(kept[k] for k in bins), 1) / len(used)
    return sum(p[k] / total * math.log(p[k] / total / (q[k] / sum(q))) for k in range(len(p)) if p[k] > 0)


def histogram_range(rows, scheme, qmin, qmax):
    """α and β whose codes keep most of each row's histogram: the least :func:`clipping_divergence_one`.

    Tries 121 thresholds T, from the largest |x| down to a sixteenth of it, and keeps what lies in [−T, T]. Outliers do
    not count as the largest: one number, or one in a thousand, more than sixteen times as large as all others. A
    symmetric range looks at |x|. Exact zeros are left out, since zero is exact in every range; counting them would hide
    the rest after a ReLU.
    """
    if len(rows) > AT_ONCE:
        parts = [histogram_range(rows[i : i + AT_ONCE], scheme, qmin, qmax) for i in range(0, len(rows), AT_ONCE)]
        return [np.concatenate(ends) for ends in zip(*parts)]
    low, high = _full_range(rows, scheme)
    levels = qmax + 1 if scheme is Scheme.SYMMETRIC else qmax - qmin + 1       # symmetric: the codes of |x|, 0 to qmax
    if levels >= BINS:                                      # with a code for every bin there is nothing to lose
        return low, high
    low, high = _without_outliers(rows, low, high)
    if scheme is Scheme.SYMMETRIC:
        counts, zero_bin = _histogram(np.abs(rows), np.zeros_like(high), high)
    else:
        counts, zero_bin = _histogram(rows, low, high)
    threshold = np.rint(np.maximum(zero_bin, BINS - zero_bin)[:, None] * KEEP).astype(np.int64)     # in bins
    first = np.maximum(zero_bin[:, None] - threshold, 0)
    last = np.minimum(zero_bin[:, None] + threshold, BINS)
    loss = np.empty(first.shape)                            # (rows, trials), the widest range first
    histogram.clipping_divergence_rows(counts, first, last, levels, loss)
    loss[~np.isfinite(loss)] = np.inf
    best = (loss <= loss.min(axis=1, keepdims=True) + 1e-12).argmax(axis=1)             # a tie goes to the wider range
    threshold = KEEP[best] * np.maximum(-low, high)
    return np.maximum(low, -threshold), np.minimum(high, threshold)


def _without_outliers(rows, low, high):
    """The range of each row, drawn in to a sixteenth, and again, as long as only outliers lie beyond."""
    largest = np.maximum(-low, high)
    for r, row in enumerate(rows):
        few = max(1, np.count_nonzero(row) // 1000)
        if np.count_nonzero(np.abs(row) > largest[r] / REACH) <= few < row.size:
            rest = float(np.partition(np.abs(row), -few - 1)[-few - 1])         # the largest of the others
            while 0 < rest < largest[r] / REACH:
                largest[r] /= REACH
    return np.maximum(low, -largest), np.minimum(high, largest)


def _histogram(rows, low, high):
    """Counts (rows, BINS) of the entries that are not zero, and the bin at which zero lies, per row.

    What lies beyond an end counts in the last bin there.
    """
    width = np.maximum(high / BINS - low / BINS, np.finfo(np.float64).tiny)
    counts = np.zeros((len(rows), BINS), np.int64)
    histogram.histogram_rows(rows, low, width, counts)
    return counts, np.clip(np.rint(-low / width), 0, BINS).astype(np.int64)
