"""The roofline: how fast a computation may go, given the bytes it must move and the operations it must do.

A machine copies so many bytes a second, and multiplies and adds so many times a second. A computation that does I
operations for each byte it moves (its arithmetic intensity) can do no more than

    rate = min(peak, I · bandwidth)     operations a second.

Left of the ridge, I = peak / bandwidth, memory is the limit; right of it, arithmetic. Both numbers are measured here,
on the machine that runs this; what is timed comes in as callables, so any library can stand under the roof.

Source: Williams, Waterman, Patterson, "Roofline: an insightful visual performance model", CACM 2009.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter

import numpy as np

from course_lib.machine import pool, simd, threads
from course_lib.measure import Latency, compare

MEGABYTE = 1_000_000
LARGE = 1 << 22                             # bytes, from which a copy may be faster past the caches


@dataclass(frozen=True)
class Roof:
    """Two measured numbers: ``bandwidth`` in bytes a second, ``peak`` in operations a second."""

    bandwidth: float
    peak: float
    name: str = ""

    def __post_init__(self):
        for name in ("bandwidth", "peak"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name}={getattr(self, name)!r}; it should be positive and finite")

    @property
    def ridge(self) -> float:
        """The arithmetic intensity, in operations a byte, from which arithmetic is the limit."""
        return self.peak / self.bandwidth

    def attainable(self, intensity: float | np.ndarray) -> np.ndarray:
        """The highest rate, in operations a second, at an arithmetic intensity (a number or an array)."""
        return np.minimum(self.peak, np.asarray(intensity, dtype=float) * self.bandwidth)

    def seconds(self, work: "Work") -> float:
        """The least time that ``work`` takes: for its bytes or for its operations, whichever is longer."""
        return max(work.bytes / self.bandwidth, work.operations / self.peak)


@dataclass(frozen=True)
class Work:
    """What a computation must do at the least: ``operations`` (a multiply-add is two) and ``bytes`` to move."""

    operations: float
    bytes: float

    @property
    def intensity(self) -> float:
        """Operations for each byte."""
        return self.operations / self.bytes


@dataclass(frozen=True)
class Placed:
    """A computation under a roof: what it must do, how long it took, how much of the roof it reached."""

    name: str
    work: Work
    latency: Latency
    roof: Roof

    @property
    def rate(self) -> float:
        """Operations a second."""
        return self.work.operations / self.latency.median_s

    @property
    def share(self) -> float:
        """Of what the roof allows: 1 is as fast as this machine can."""
        return self.roof.seconds(self.work) / self.latency.median_s

    @property
    def memory_bound(self) -> bool:
        """Whether its bytes, not its operations, are what limits it at best."""
        return self.work.intensity < self.roof.ridge


def product_work(m: int, n: int, batch: int, *, weight_bytes: float, input_bytes: float,
                 output_bytes: float) -> Work:
    """A product of weights (m, n) with ``batch`` vectors of n numbers, each array moved once; widths in bytes a number.

    >>> work = product_work(300, 784, 1, weight_bytes=4, input_bytes=4, output_bytes=4)
    >>> work.operations, work.bytes, round(work.intensity, 2)
    (470400, 945136, 0.5)
    """
    for name, value in (("m", m), ("n", n), ("batch", batch)):
        if value < 1:
            raise ValueError(f"{name}={value!r}; it should be at least 1")
    return Work(2 * m * n * batch, m * n * weight_bytes + batch * (n * input_bytes + m * output_bytes))


def copies(size: int, count: int | None = None) -> dict[str, Callable[[], None]]:
    """Ways to move ``size`` bytes, half of them read, half written. The fastest one is the limit.

    A copy that is over before a second thread has woken is faster on one; a large one past the caches, as a plain store
    first reads what it overwrites.

    Parameters
    ----------
    size : int, in bytes, 2 at the least
    count : int, threads for the copies on several, by default ``cl.threads()``

    Returns
    -------
    {name: callable without arguments}
    """
    count, half = count or threads.threads(), max(1, int(size) // 2)
    source, target = (simd.aligned((-(-half // 64) * 64,), np.uint8) for _ in range(2))
    source[:] = 1

    def through(start, stop):
        np.copyto(target[start:stop], source[start:stop])

    ways = {"copy": (through, half)}
    if size >= LARGE:
        from course_lib.kernels import peaks  # compiled: not before it is needed

        def past(start, stop):
            peaks.copy_past_caches(source[start:stop], target[start:stop])

        ways["copy past the caches"] = past, source.size
    return {
        f"{name} on {some}": partial(pool.run, way, items, threads=some, align=64)
        for name, (way, items) in ways.items()
        for some in {count, 1}
    }


def copy_bandwidth(size: int | Sequence[int] = 64 * MEGABYTE, *, budget_s: float = 0.3) -> float | list[float]:
    """Bytes a second that the fastest copy moves, when ``size`` bytes are read and written in all (half each).

    Caches are warm, and as many threads work as ``cl.threads()`` says.

    Parameters
    ----------
    size : int, or a sequence of them, in bytes, 2 at the least
        A size that fits in a cache gives the speed of that cache.
    budget_s : float, seconds for each size

    Returns
    -------
    float, or a list of them

    Raises
    ------
    ValueError
        A size below 2, or none.
    """
    sizes = [size] if np.isscalar(size) else list(size)
    if not sizes or min(sizes) < 2:
        raise ValueError(f"size={size!r}; it should be at least 2 bytes: one to read and one to write")
    rates = [total / min(_fastest(copies(total), budget_s).values()) for total in sizes]
    return rates[0] if np.isscalar(size) else rates


def peak_rate(calls: dict[str, tuple[Callable[[], object], float]], *, budget_s: float = 1.0) -> tuple[str, float]:
    """The highest rate, in operations a second, of several ways to do a lot of arithmetic on little data.

    Parameters
    ----------
    calls : dict of name -> (callable without arguments, its operations); large square products are a good choice
    budget_s : float, seconds for all of them

    Returns
    -------
    (name, rate) of the fastest
    """
    times = _fastest({name: call for name, (call, _) in calls.items()}, budget_s)
    rates = {name: operations / times[name] for name, (_, operations) in calls.items()}
    best = max(rates, key=rates.get)
    return best, rates[best]


def place(calls: dict[str, tuple[Callable, Work]], peak: float | dict[str, float], *, repeats: int = 100,
          budget_s: float = 1.0) -> list[Placed]:
    """Time computations, each beside copies that move as many bytes, and put them under the roof that gives.

    The fastest copy is the slope: the bandwidth of the memory that this much data lies in, slowed by whatever else
    slows the computation. All take turns of some calls in a row, so that caches are warm, as in repeated use.

    Parameters
    ----------
    calls : dict of name -> (callable without arguments, Work)
    peak : float, or dict of name -> float, in operations a second (an int8 product has another peak than a float32 one)
    repeats, budget_s : as in ``measure.compare``; the seconds are for all of them

    Returns
    -------
    list of Placed, in the order of ``calls``
    """
    peaks = peak if isinstance(peak, dict) else dict.fromkeys(calls, peak)
    found = []
    for name, (call, work) in calls.items():
        turns = {way: _in_a_row(one) for way, one in {"call": call, **copies(work.bytes)}.items()}
        times = compare({way: turn for way, (turn, _) in turns.items()}, repeats=repeats,
                        budget_s=budget_s / len(calls))
        seconds = {way: times[way].median_s / in_a_turn for way, (_, in_a_turn) in turns.items()}
        _, spread, rounds = times["call"]
        latency = Latency(seconds.pop("call"), spread / turns["call"][1], rounds)
        bandwidth = work.bytes / min(seconds.values())
        found.append(Placed(name, work, latency, Roof(bandwidth, peaks[name])))
    return found


def _in_a_row(call, seconds=0.01):
    """(a callable that calls for about ``seconds``, how often it does); all but the first find warm caches."""
    call()
    start = perf_counter()
    call()
    count = max(1, min(1000, round(seconds / max(perf_counter() - start, 1e-9))))

    def turn():
        for _ in range(count):
            call()

    return turn, count


def _fastest(calls, budget_s):
    """Seconds for one call of each, the best of five medians: what the machine can do, even in a busy moment."""
    runs = [compare(calls, repeats=1000, budget_s=budget_s / 5) for _ in range(5)]
    return {name: min(times[name].median_s for times in runs) for name in calls}
