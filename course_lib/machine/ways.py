"""Two ways to the same bits, where neither is the faster one on every processor: which to take here is measured.

Some instructions are fast on one make of processor and slow on another: loads from sixteen places at once (gathers), or
stores of some lanes side by side (which NumPy's sort is made of). A kernel that lives on them has a second way, in
plain loads and stores. The two take turns on a small piece of work, a few milliseconds in all, when the first call in a
process asks; ``COURSE_WAY=vector`` or ``COURSE_WAY=plain`` decides without.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter

WAYS = ("vector", "plain")
ROUNDS = 15                             # the least time of so many: a busy moment slows some of them only

_chosen = {}                            # name of the work -> way


def faster(name: str, trial: Callable[[str], object]) -> str:
    """ "vector" or "plain", whichever takes less time here; measured once a process for each ``name``.

    Parameters
    ----------
    name : str, which work it is
    trial : callable of a way, which does a little of that work; called some thirty times

    Raises
    ------
    ValueError
        ``COURSE_WAY`` is set to something else.
    """
    if name not in _chosen:
        _chosen[name] = _asked_for() or _measured(trial)
    return _chosen[name]


@contextmanager
def forced(way: str) -> Iterator[None]:
    """Inside the block all work is done this way: for tests, and to time the two beside each other."""
    global _chosen
    before, _chosen = _chosen, _Always(_checked(way, "way"))
    try:
        yield
    finally:
        _chosen = before


def call(way: str, function: Callable[[], object]) -> object:
    """``function()``, all of its work done this way."""
    with forced(way):
        return function()


def chosen() -> dict[str, str]:
    """{name of the work: way} of what has been asked for in this process."""
    return dict(_chosen)


class _Always(dict):
    """The same way for every name."""

    def __init__(self, way):
        super().__init__()
        self.way = way

    def __contains__(self, name):
        return True

    def __getitem__(self, name):
        return self.way


def _asked_for():
    way = os.environ.get("COURSE_WAY", "")
    return _checked(way, "COURSE_WAY") if way else None


def _checked(way, name):
    if way not in WAYS:
        raise ValueError(f"{name}={way!r}; it must be one of {', '.join(WAYS)}")
    return way


def _measured(trial):
    least = dict.fromkeys(WAYS, float("inf"))
    for _ in range(1 + ROUNDS):         # the first round fills the caches, and is no one's best
        for way in WAYS:
            start = perf_counter()
            trial(way)
            least[way] = min(least[way], perf_counter() - start)
    return min(WAYS, key=least.get)
