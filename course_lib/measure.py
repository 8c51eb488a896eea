"""Measuring: accuracy with its standard error, bytes on disk, time with its spread.

    >>> print(accuracy([7, 2, 1, 0], [7, 2, 1, 1]))
    75.0 % ± 21.7

Nothing here knows networks: what is timed comes in as callables.
"""

import gc
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import NamedTuple

import numpy as np


class Accuracy(NamedTuple):
    """A share of right answers: ``value`` and ``stderr`` from 0 to 1, counted over ``n`` examples."""

    value: float
    stderr: float
    n: int

    def __str__(self):
        return f"{100 * self.value:.1f} % ± {100 * self.stderr:.1f}"


class Latency(NamedTuple):
    """The median time of one call and its interquartile range, in seconds, over ``repeats`` rounds."""

    median_s: float
    spread_s: float
    repeats: int

    def __str__(self):
        return f"{time_text(self.median_s)} ± {time_text(self.spread_s)}"


def accuracy(predicted, labels):
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


def file_bytes(path):
    """The size of a file as it lies on disk, headers and all, in bytes."""
    if not os.path.isfile(path):
        raise FileNotFoundError(f"path is {os.fspath(path)!r}; it should be a file that exists")
    return os.path.getsize(path)


def compare(calls, *, repeats=50, budget_s=2.0, warmup=3):
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

    ``bytes`` is what one call must move at the least (weights, input, output). ``memory_bound`` says that moving them
    is what limits the call, as in a product with one vector; the result then carries the limit measured beside it.
    """

    ours: Callable
    peers: dict[str, Callable]
    bytes: int
    memory_bound: bool = False


@dataclass(frozen=True)
class Row:
    """A benchmark: ``prepare()`` makes its case. ``goal`` is how many times faster than the best peer we mean to be."""

    name: str
    shape: str
    prepare: Callable[[], Case]
    goal: float | None = None


@dataclass(frozen=True)
class RowResult:
    """A row, timed. Times in milliseconds; ``ours_spread`` is an interquartile range; ``None`` where not measured."""

    name: str
    shape: str
    ours_ms: float
    ours_spread: float
    peers: dict[str, float]
    best_peer: str
    speedup: float
    bytes: int
    limit_ms: float | None
    of_limit: float | None
    goal: float | None
    met: bool | None


def run(row, *, repeats=200, budget_s=5.0):
    """Time one benchmark row: ours and every peer in one loop, and, where memory is the limit, a copy of as many bytes.

    Parameters
    ----------
    row : Row
    repeats, budget_s : as in ``compare``

    Returns
    -------
    RowResult
        ``speedup`` is the best peer's time over ours; ``limit_ms`` the time of a copy that moves ``bytes`` bytes (half
        read, half written), and ``of_limit`` the share of that limit we reach: 1 is as fast as memory allows.
    """
    case = row.prepare()
    calls = {"ours": case.ours, **{f"peer {name}": peer for name, peer in case.peers.items()}}
    if case.memory_bound:
        source = np.ones(max(1, case.bytes // 2), np.uint8)
        target = np.empty_like(source)
        calls["limit"] = lambda: np.copyto(target, source)
    times = compare(calls, repeats=repeats, budget_s=budget_s)
    ours = times["ours"].median_s
    peers = {name: times[f"peer {name}"].median_s for name in case.peers}
    best = min(peers, key=peers.get)
    limit = times["limit"].median_s if case.memory_bound else None
    return RowResult(
        name=row.name,
        shape=row.shape,
        ours_ms=1e3 * ours,
        ours_spread=1e3 * times["ours"].spread_s,
        peers={name: 1e3 * seconds for name, seconds in peers.items()},
        best_peer=best,
        speedup=peers[best] / ours,
        bytes=case.bytes,
        limit_ms=None if limit is None else 1e3 * limit,
        of_limit=None if limit is None else limit / ours,
        goal=row.goal,
        met=None if row.goal is None else peers[best] / ours >= row.goal,
    )


def time_text(seconds):
    """Three digits and the unit that suits: 16.2 µs, 4.71 ms, 2.30 s."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            break
    return f"{float(f'{seconds / size:.3g}'):g} {unit}"


def table(rows, *, headers):
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
