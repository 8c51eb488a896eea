"""Lab 03: how good a quantizer is, and where it should clip."""

import numpy as np

from course_lib.check.base import Property, Suspect, Task

# ------------------------------------------------------------------------------------------------- signal to noise


def _decibels(x, x_hat):
    x, x_hat = np.asarray(x, np.float64), np.asarray(x_hat, np.float64)
    with np.errstate(divide="ignore"):
        return np.asarray(10 * np.log10(np.sum(x**2) / np.sum((x - x_hat) ** 2)))


def _pairs(rng):
    yield np.array([3.0, -4.0]), np.array([3.0, -3.5])
    yield np.array([1.0, 1.0, 1.0, 1.0]), np.array([0.9, 1.1, 1.0, 1.0])
    yield np.array([0.5, 0.0]), np.array([0.5, 0.0])
    yield np.array([2.0]), np.array([0.0])
    yield np.array([1.0, 2.0]), np.array([2.0, 1.0])       # errors that sum to zero
    yield np.array([1.0, -2.0]), np.array([-1.0, 2.0])     # as large, and the wrong way
    yield np.array([1.0, 2.0, 0.0]), np.array([1.0, -7.0, 0.0])
    yield np.array([3e-9, -4e-9]), np.array([3e-9, -3.5e-9])
    yield np.array([3.0, 4.0]), np.array([3.0, 4.000001])
    for k in range(16):                                    # more noise than signal, and float32
        x = (np.exp(rng.normal()) * rng.normal(size=(rng.integers(1, 4), 5))).astype((np.float64, np.float32)[k % 2])
        yield x, (x + np.exp(rng.normal()) * rng.normal(size=x.shape)).astype(x.dtype)
    for k in range(60):
        shape = (rng.integers(1, 9),) if k % 2 else (rng.integers(1, 4), rng.integers(1, 5))
        x = np.exp(rng.normal()) * (rng.normal(size=shape) + k % 3)
        step = np.exp(rng.uniform(-4, 0)) * np.abs(x).max()
        yield x, x.copy() if k % 20 == 9 else step * np.rint(x / step)


sqnr_db = Task(
    title="Task 5 · sqnr_db",
    shapes={"x": "mn", "x_hat": "mn"},
    expected=_decibels,
    inputs=_pairs,
    properties=(
        Property("the answer is a single number, for all entries together", lambda a, *_: a.size == 1),
        Property("where nothing is lost the ratio is infinite (NumPy divides by zero: a warning, and np.inf)",
                 lambda a, e, *_: bool(np.isposinf(a)) if np.isinf(e) else True),
        Property("it is 10 log10 of the sum of x² over the sum of (x - x̂)²",
                 lambda a, e, *_: bool(np.allclose(a, e, rtol=1e-5, atol=1e-4))),   # sums in float32 will do
    ),
    suspects=(
        Suspect("20 stands for 10: a ratio of powers, of squares, takes 10 log10", lambda x, y: 2 * _decibels(x, y)),
        Suspect("the fraction is upside down: noise over signal", lambda x, y: -_decibels(x, y)),
        Suspect("the logarithm is the natural one, not that to base 10",
                lambda x, y: _decibels(x, y) * np.log(10)),
        Suspect("the factor 10 is missing: those are bels", lambda x, y: _decibels(x, y) / 10),
        Suspect("the logarithm is missing", lambda x, y: np.sum(x**2) / np.sum((x - y) ** 2)),
        Suspect("magnitudes were summed, not squares",
                lambda x, y: 10 * np.log10(np.sum(np.abs(x)) / np.sum(np.abs(x - y)))),
        Suspect("the signal is x, not x̂", lambda x, y: 10 * np.log10(np.sum(y**2) / np.sum((x - y) ** 2))),
        Suspect("a variance or standard deviation was taken, which subtracts the mean",
                lambda x, y: 10 * np.log10(np.var(x) / np.var(x - y))),
        Suspect("the mean over the entries' own ratios was taken; sum first, then divide",
                lambda x, y: 10 * np.log10(np.mean(x**2 / (x - y) ** 2))),
    ),
    valid=lambda x, x_hat: bool(x.any()),
    tried="signals with and without a mean, coarse and fine steps, more noise than signal, an x̂ that is exact, "
          "an x̂ of zeros",
)

# ---------------------------------------------------------------------------------------------------- where to clip

SHARES = np.arange(1, 101) / 100


def _squared_error(x, threshold, bits):
    """Σ (x - x̂)² of the symmetric quantizer that clips at ±threshold, for one threshold or each of many."""
    return np.sum(_errors(x, threshold, bits) ** 2, axis=-1)


def _errors(x, threshold, bits):
    """x - x̂, of the shape of ``threshold`` followed by that of ``x``, (n,)."""
    qmax = 2 ** (bits - 1) - 1
    scale = np.asarray(threshold)[..., None] / qmax
    return x - scale * np.clip(np.rint(x / scale), -qmax, qmax)


def _search(score, shares=SHARES):
    """A search over thresholds with a score of its own."""
    def function(x, bits):
        x = x.astype(np.float64)
        thresholds = shares * np.abs(x).max()
        return np.asarray(thresholds[np.argmin(score(x, thresholds, bits))])
    return function


_least = _search(_squared_error)


def _tails(rng):
    yield np.array([1.0, 1.0, 1.0, 1.0, 1.0, -1.0, -1.0, -1.0, 2.0]), 2
    yield np.array([-8.0, 0.4, 0.5, 0.6, 1.0, -0.5, -1.2, 0.9]), 3
    yield np.array([0.3, 0.3, 0.3]), 2
    yield np.array([-1.0, 0.25, 0.5]), 4
    for x in (0.7, -0.7):
        yield np.array([x]), 3
    yield np.append(rng.normal(size=1000), 15.0), 2        # the best threshold is a tenth of the largest
    yield 1e-6 * rng.normal(size=50), 3
    for k in range(42):
        size, bits = int(rng.integers(8, 60)) * (1 + 2 * (k % 7 > 4)), 2 + k % 7
        x = rng.standard_t(2, size) if k % 2 else rng.normal(size=size)
        if k % 8 == 3:
            x = np.abs(x)
        yield (x * np.exp(rng.normal())).astype(np.float32 if k % 5 == 0 else np.float64), bits


def _no_better_candidate(answer, expected, x, bits):
    x = x.astype(np.float64)
    answer, expected = answer.item(), expected.item()
    mine, least = (_squared_error(x, threshold, bits) for threshold in (answer, expected))
    if mine <= least * (1 + 1e-4) + 1e-12 * float(np.sum(x**2)):
        return True
    return f"Clipping at ±{answer:.4g} leaves {mine:.4g}; clipping at ±{expected:.4g} leaves {least:.4g}."


def _absolute_error(x, threshold, bits):
    return np.sum(np.abs(_errors(x, threshold, bits)), axis=-1)


best_clip = Task(
    title="Task 7 · best_clip",
    shapes={"x": "n", "bits": ""},
    expected=_least,
    inputs=_tails,
    properties=(
        Property("the answer is a single number, the threshold T", lambda a, *_: a.size == 1),
        Property("T is a finite number above zero", lambda a, *_: bool(np.isfinite(a).all() and (a > 0).all())),
        Property("T is not beyond the largest magnitude in x",
                 lambda a, e, x, *_: bool((a <= np.abs(x).max() * (1 + 1e-6)).all())),
        Property("no candidate, k/100 of the largest magnitude, leaves a smaller sum of squared errors",
                 _no_better_candidate),
    ),
    suspects=(
        Suspect("the smallest candidate was taken: it looks best where nothing is clipped, where numbers that are "
                "clipped do not count, or where the largest error is sought",
                lambda x, bits: np.asarray(0.01 * np.abs(x).max())),
        Suspect("magnitudes of errors were summed, not squares", _search(_absolute_error)),
        Suspect("the share k/100 was returned; T is that share of the largest magnitude",
                lambda x, bits: _least(x, bits) / np.abs(x).max()),
        Suspect("the scale was returned; T is the end of the range, S times the largest code",
                lambda x, bits: _least(x, bits) / (2 ** (bits - 1) - 1)),
        Suspect("the least error was returned, and T is asked for",
                lambda x, bits: np.asarray(_squared_error(x.astype(np.float64), float(_least(x, bits)), bits))),
        Suspect("that is min-max: the largest magnitude itself", lambda x, bits: np.asarray(np.abs(x).max())),
        Suspect("the search begins at half of the largest magnitude; heavy tails want less",
                _search(_squared_error, shares=SHARES[49:])),
        Suspect("x.max() was taken for the largest magnitude",
                lambda x, bits: np.asarray(min(
                    SHARES * x.max(), key=lambda t: _squared_error(x.astype(np.float64), float(t), bits)))),
    ),
    fixed=("bits",),
    valid=lambda x, bits: bool(x.any()),
    tried="bell-shaped and heavy-tailed data, far outliers on either side, one-sided data, one number, 2 to 8 bits",
)
