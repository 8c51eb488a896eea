"""Measuring: accuracy with its standard error, bytes on disk, time with its spread.

    >>> print(accuracy([7, 2, 1, 0], [7, 2, 1, 1]))
    75.0 % ± 21.7

Nothing here knows networks: what is timed comes in as callables. ``Case``, ``Goal``, ``Growth`` and ``Row`` say what a
benchmark is; ``course_lib.bench`` has them all and runs them.
"""

import gc
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike


class Accuracy(NamedTuple):
    """A share of right answers: ``value`` and ``stderr`` from 0 to 1, counted over ``n`` examples."""

    value: float
    stderr: float
    n: int

    def __str__(self):
        return f"{100 * self.value:.1f} % ± {100 * self.stderr:.1f}"


class Difference(NamedTuple):
    """How much more often a is right than b on the same examples, from -1 to 1, with its standard error.

    ``only_a`` and ``only_b`` count the examples on which one alone is right.
    """

    difference: float
    standard_error: float
    only_a: int
    only_b: int

    def __str__(self):
        return f"{100 * self.difference:+.2f} ± {100 * self.standard_error:.2f} points"


class Latency(NamedTuple):
    """The median time of one call and its interquartile range, in seconds, over ``repeats`` rounds."""

    median_s: float
    spread_s: float
    repeats: int

    def __str__(self):
        return f"{time_text(self.median_s)} ± {time_text(self.spread_s)}"


def accuracy(predicted: ArrayLike, labels: ArrayLike) -> Accuracy:
    """The share of ``predicted`` classes that equal ``labels``.

    Parameters
    ----------
    predicted, labels : array of integers, (n,)

    Returns
    -------
    Accuracy
        ``stderr`` is that of a binomial share, sqrt(p (1 - p) / n): how far the value would move on other test
        images of the same kind. It is 0 when every answer is right, or none is: the formula knows no better.

    Raises
    ------
    ValueError
        The two differ in shape, are not one-dimensional, are empty, or are not whole numbers.
    """
    predicted, labels = np.asarray(predicted), np.asarray(labels)
    if predicted.ndim != 1 or predicted.shape != labels.shape:
        raise ValueError(
            f"predicted has shape {predicted.shape} and labels {labels.shape}; both should be (n,): "
            "one class for each image (logits want .argmax(1) first)"
        )
    if predicted.size == 0:
        raise ValueError("predicted is empty; an accuracy needs at least one answer")
    for name, array in (("predicted", predicted), ("labels", labels)):
        if array.dtype.kind not in "iu":
            raise ValueError(f"{name} is {array.dtype}; it should hold class numbers, as integers")
    share = float(np.mean(predicted == labels))
    return Accuracy(share, math.sqrt(share * (1 - share) / predicted.size), predicted.size)


def paired_difference(right_a: ArrayLike, right_b: ArrayLike) -> Difference:
    """The accuracy of a minus that of b, where both answered the same examples.

    Where both are right, or both wrong, an example says nothing about which is better, so the errors of the two
    accuracies must not be added as if they were independent: that is several times too wide for networks that nearly
    agree. What is left are the examples on which one alone is right, n_a and n_b of them out of n:

        difference = (n_a - n_b) / n        standard error = sqrt(n_a + n_b - (n_a - n_b)² / n) / n

    Parameters
    ----------
    right_a, right_b : array of bool, (n,)
        Which answers are right, such as ``predicted == labels``; entry i of both belongs to the same example.

    Returns
    -------
    Difference
        ``standard_error`` is the deviation of the differences of single examples over sqrt(n). It is 0 when the two
        agree on every example, or one alone is right on all: the formula knows no better.

    Raises
    ------
    ValueError
        The two differ in shape, are not one-dimensional, are empty, or are not bool.

    Source: McNemar 1947, the counts of a test for paired shares; Agresti 2013, sec. 11.1.1, the standard error.
    """
    right_a, right_b = np.asarray(right_a), np.asarray(right_b)
    if right_a.ndim != 1 or right_a.shape != right_b.shape:
        raise ValueError(
            f"right_a has shape {right_a.shape} and right_b {right_b.shape}; both should be (n,): "
            "one answer to each example, in the same order"
        )
    if right_a.size == 0:
        raise ValueError("right_a is empty; a difference needs at least one example")
    for name, array in (("right_a", right_a), ("right_b", right_b)):
        if array.dtype != bool:
            raise ValueError(f"{name} is {array.dtype}; it should be bool, what is right: predicted == labels")
    n, only_a, only_b = right_a.size, int(np.sum(right_a & ~right_b)), int(np.sum(right_b & ~right_a))
    moved = only_a - only_b
    error = math.sqrt((n * (only_a + only_b) - moved**2) / n) / n   # whole numbers below the fraction: never below 0
    return Difference(moved / n, error, only_a, only_b)


def file_bytes(path: str | Path) -> int:
    """The size of a file as it lies on disk, headers and all, in bytes."""
    if not os.path.isfile(path):
        raise FileNotFoundError(f"path is {os.fspath(path)!r}; it should be a file that exists")
    return os.path.getsize(path)


def compare(
    calls: dict[str, Callable[[], object]], *, repeats: int = 50, budget_s: float = 2.0, warmup: int = 3
) -> dict[str, Latency]:
    """Time several callables fairly: all in one loop, taking turns, so that whatever slows the machine slows all.

    After ``warmup`` calls of each come the rounds. In a round each callable is called several times in a row (enough
    for a millisecond, so that the clock costs nothing and the data are in the cache, as in repeated use) and its time
    for one call noted; the order turns by one from round to round. Garbage collection waits until the end.

    Parameters
    ----------
    calls : dict of name -> callable without arguments
    repeats : int, the number of rounds
    budget_s : float, stop after the round that passes this many seconds, but not before the third
    warmup : int, at least 1

    Returns
    -------
    dict of name -> Latency
        The median over the rounds, and the interquartile range (the width of the middle half).

    Raises
    ------
    ValueError
        No callables, or ``repeats`` or ``warmup`` below 1, or ``budget_s`` not positive.
    """
    if not calls:
        raise ValueError("calls is empty; it should name at least one callable")
    for name, value in (("repeats", repeats), ("warmup", warmup)):
        if value < 1:
            raise ValueError(f"{name} is {value}; it should be at least 1")
    if not budget_s > 0:
        raise ValueError(f"budget_s is {budget_s}; it should be a positive number of seconds")
    collecting = gc.isenabled()
    gc.disable()
    try:
        in_a_row = {name: _calls_for_a_millisecond(call, warmup) for name, call in calls.items()}
        times = {name: [] for name in calls}
        names, start = list(calls), perf_counter()
        for done in range(repeats):
            if done >= 3 and perf_counter() - start > budget_s:
                break
            for name in names:
                times[name].append(_time_one(calls[name], in_a_row[name]))
            names.append(names.pop(0))
    finally:
        if collecting:
            gc.enable()
    return {name: _latency(times[name]) for name in calls}


def _calls_for_a_millisecond(call, warmup):
    fastest = min(_time_one(call, 1) for _ in range(warmup))
    return max(1, min(1000, math.ceil(1e-3 / max(fastest, 1e-9))))


def _time_one(call, count):
    start = perf_counter()
    for _ in range(count):
        call()
    return (perf_counter() - start) / count


def _latency(times):
    low, median, high = np.percentile(times, [25, 50, 75])
    return Latency(float(median), float(high - low), len(times))


@dataclass(frozen=True)
class Case:
    """What a benchmark row times, ready to be called: our callable, its peers by name, on the same arrays.

    Every callable takes no arguments and runs on the thread count that is set (``cl.threads()`` for ours).
    """

    ours: Callable
    peers: dict[str, Callable | str]    # a text in place of a callable says why this peer cannot be timed here
    bytes: int                          # that one call must move at the least: weights, input, output
    operations: float = 0               # that it must do; a multiply-add is two; 0: it only moves bytes
    arithmetic: str = "float32"         # the measured peak that stands over them: float32, int8, popcount, "" for none
    scaled: dict[str, int] = field(default_factory=dict)    # peer -> n: it gets 1/n of the data, its time times n
    same: Callable | None = None        # raises AssertionError where ours and the peers disagree; called before timing


@dataclass(frozen=True)
class Goal:
    """How well a row means to do: ``at_least`` times as fast as ``peer``.

    ``peer`` is a peer's name, "best" for the fastest of them, "ours: NAME" for another row of ours, or "limit": then
    ``at_least`` is the share of the measured limit, 0.8 for 80 %.
    """

    peer: str
    at_least: float


@dataclass(frozen=True)
class Growth:
    """How a row's cost grows: ``prepare(value)`` gives the callable of one size along ``axis``.

    ``work`` is the amount of work at each value, for instance elements or multiply-adds; time over work, both in
    logarithms, should have this ``slope``. ``bytes`` is what a call at each value moves, for the words on caches.
    """

    axis: str
    values: tuple
    prepare: Callable[[Any], Callable]
    slope: float = 1.0
    work: Callable[[Any], float] = float
    bytes: Callable[[Any], float] | None = None


@dataclass(frozen=True)
class Row:
    """A benchmark: ``prepare()`` makes its case.

    ``why`` is printed beside a goal that is missed or a peer that is faster, after what the limit of the run says: the
    reason, in words that are true whatever the number and whatever the processor.
    """

    name: str
    shape: str
    prepare: Callable[[], Case]
    goals: tuple[Goal, ...] = ()
    why: str = ""
    growth: Growth | None = None


def three_digits(value: float) -> str:
    """The first three digits of a number, without zeros at the end: 0.982, 25.3, 1210."""
    return f"{float(f'{value:.3g}'):g}"


def with_unit(value: float, units: tuple[tuple[str, float], ...]) -> str:
    """Three digits and the largest unit that ``value`` reaches, or the smallest there is.

    ``units`` holds names and sizes, largest first:

    >>> with_unit(0.0123, (("m", 1.0), ("cm", 0.01), ("mm", 0.001)))
    '1.23 cm'
    """
    unit, size = next((one for one in units if value >= one[1]), units[-1])
    return f"{three_digits(value / size)} {unit}"


def time_text(seconds: float) -> str:
    """Three digits and the unit that suits: 1.21 ns, 16.2 µs, 4.71 ms, 2.3 s."""
    return with_unit(seconds, (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9)))


def bytes_text(count: float) -> str:
    """The same for bytes: 70 bytes, 32.8 kB, 1.2 MB, 3 GB."""
    return with_unit(count, (("GB", 1e9), ("MB", 1e6), ("kB", 1e3), ("bytes", 1)))


def table(rows: Sequence[Sequence], *, headers: Sequence[str]) -> str:
    """Lines of text with the columns aligned: text to the left, numbers to the right.

    >>> print(table([["float32", 1070.1], ["int8", 271.9]], headers=["model", "kB"]))
    model        kB
    float32  1070.1
    int8      271.9
    """
    cells = [[str(cell) for cell in row] for row in rows]
    for row in cells:
        if len(row) != len(headers):
            raise ValueError(f"a row has {len(row)} cells and headers {len(headers)}; they should agree: {row}")
    columns = range(len(headers))
    right = [bool(rows) and all(isinstance(row[i], (int, float, np.number)) for row in rows) for i in columns]
    widths = [max(len(line[i]) for line in [headers, *cells]) for i in columns]
    lines = []
    for line in [headers, *cells]:
        padded = (text.rjust(w) if r else text.ljust(w) for text, w, r in zip(line, widths, right))
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)
