"""How cost grows with the work: time over size, a line through the logarithms, and a word on each cache that is left.

On one thread: where a second one joins in, time makes a step down that says nothing about the work. Every call has a
fixed cost of some microseconds, which would flatten the line. So the fit takes the sizes past it: those that take at
least eight times as long as the smallest, and the three largest in any case.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from course_lib.bench import limits
from course_lib.bench.runner import on_threads
from course_lib.measure import Row, compare, time_text
from course_lib.measure import table as text_table

PAST_OVERHEAD = 8
FEWEST = 3
CLOSE = 0.1                                 # a slope so close to the expected one is the expected one


@dataclass(frozen=True)
class GrowthResult:
    """Times of one row at several sizes: ``ms[i]`` for ``work[i]`` at ``values[i]``, smallest work first.

    ``slope`` is fitted to log time over log work from ``values[first]`` on; ``expected`` what it should be. ``steps``
    has a sentence for each cache that the data outgrow.
    """

    name: str
    axis: str
    values: tuple
    work: tuple
    ms: tuple
    slope: float
    expected: float
    first: int
    steps: tuple[str, ...]

    def as_json(self) -> dict:
        """A dict of plain numbers, texts and lists."""
        return asdict(self)

    @property
    def word(self) -> str:
        """What the slope says."""
        if abs(self.slope - self.expected) <= CLOSE:
            return "as the work does"
        return "faster: caches are left" if self.slope > self.expected else "slower: the fixed cost still shows"

    def __str__(self):
        span = f"{_text(self.values[self.first])} to {_text(self.values[-1])}"
        line = (f"{self.name}: time grows as {self.axis} to the power {self.slope:.2f} "
                f"(expected {self.expected:g}), {span}")
        return "\n".join([line, *(f"    {step}" for step in self.steps)])


def measure_growth(row: Row, *, threads: int = 1, budget_s: float = 4.0) -> GrowthResult:
    """Time a row at every size that its ``growth`` names, all of them in one loop.

    Parameters
    ----------
    row : Row with a ``growth``
    threads : int
    budget_s : float, seconds for timing, after the sizes have been prepared

    Returns
    -------
    GrowthResult

    Raises
    ------
    ValueError
        The row has no ``growth``, or it names fewer than three sizes.
    """
    growth = row.growth
    if growth is None or len(growth.values) < FEWEST:
        raise ValueError(f"{row.name!r} names no growth; it should have one with {FEWEST} sizes at least")
    values = tuple(sorted(growth.values, key=growth.work))
    with on_threads(threads):
        calls = {value: growth.prepare(value) for value in values}
    with on_threads(threads):
        times = compare(calls, repeats=200, budget_s=budget_s)
    work = np.array([growth.work(value) for value in values], dtype=float)
    ms = np.array([1e3 * times[value].median_s for value in values])
    first = first_fitted(ms)
    sizes = [growth.bytes(value) for value in values] if growth.bytes else None
    each = np.append(np.nan, (ms[1:] - ms[0]) / (work[1:] - work[0]))       # without the fixed cost
    steps = cache_steps(values, each, sizes, threads) if sizes else ()
    slope = fitted_slope(work[first:], ms[first:])
    return GrowthResult(
        row.name, growth.axis, values, tuple(work.tolist()), tuple(ms.tolist()), slope, growth.slope, first, steps
    )


def first_fitted(ms: Sequence[float]) -> int:
    """From which size on the fit counts:
    the first that, like all larger ones, takes eight times as long as the first."""
    past = np.asarray(ms) >= PAST_OVERHEAD * ms[0]
    first = len(ms) - int(np.argmin(past[::-1])) if not past.all() else 0
    return min(first, len(ms) - FEWEST)


def fitted_slope(work: Sequence[float], ms: Sequence[float]) -> float:
    """The slope of the straight line through (log work, log ms)."""
    return float(np.polyfit(np.log(work), np.log(ms), 1)[0])


def cache_steps(values: Sequence[float], ms_each: Sequence[float], sizes: Sequence[float],
                threads: int) -> tuple[str, ...]:
    """A sentence for each cache that the data outgrow between one size and the next: the time for each unit of work."""
    steps = []
    for before in range(1, len(values) - 1):
        small, large = (limits.fits_in(sizes[number], threads) for number in (before, before + 1))
        if small != large and ms_each[before] > 0 and ms_each[before + 1] > 0:
            cost = [time_text(ms_each[number] / 1e3) for number in (before, before + 1)]
            ratio = ms_each[before + 1] / ms_each[before]
            word = "no step" if 0.9 < ratio < 1.1 else f"{ratio:.2g} × the time"
            steps.append(f"from {small} to {large} at {_text(values[before + 1])}: {cost[0]} → {cost[1]} each, {word}")
    return tuple(steps)


def summary(results: list[GrowthResult]) -> str:
    """Slopes of several rows in one text table, and the cache steps under it."""
    lines = []
    for one in results:
        sizes = f"{_text(one.values[0])} … {_text(one.values[-1])}"
        slopes = f"{one.slope:.2f}", f"{one.expected:g}", one.word
        lines.append([one.name, sizes, one.axis, _text(one.values[one.first]), *slopes])
    headers = ["row", "sizes", "time over", "fitted from", "slope", "expected", "cost grows"]
    steps = [f"{one.name}, {step}" for one in results for step in one.steps]
    return "\n".join([text_table(lines, headers=headers), *steps])


def _text(value):
    """2^20 for a large power of two, else the number as it is."""
    whole = isinstance(value, int) and value >= 1024 and value & (value - 1) == 0
    return f"2^{value.bit_length() - 1}" if whole and value > 8192 else f"{value:g}"
