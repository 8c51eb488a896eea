"""Tasks 4 and 5 of lab 01: sums with too few bits."""

import functools
from dataclasses import dataclass

import numpy as np

from course_lib.check.base import Property, Suspect, Task, as_number
from course_lib.numerics.conversion import to_format_one
from course_lib.numerics.formats import FloatFormat


@functools.cache
def _format_of(t):
    return FloatFormat("t bits", 8, t - 1)


@dataclass(frozen=True)
class RoundTo:
    """fl(x): the nearest number with t significant bits, as fp32's range goes."""

    t: int

    @property
    def words(self) -> str:
        return f"rounds to {self.t} significant bits"

    def __call__(self, x):
        return to_format_one(float(x), _format_of(self.t))


def _in_turn(x, fl, *, first=True, each=True):
    total = 0.0
    for v in x:
        total = total + (fl(v) if first else float(v))
        total = fl(total) if each else total
    return total


def _in_pairs(x, fl, *, first=True, each=True):
    x = [fl(v) if first else float(v) for v in x]
    while len(x) > 1:
        x = [fl(a + b) if each else a + b for a, b in zip(x[::2], x[1::2])]
    return x[0]


def _far_apart(x, fl):
    x = [fl(v) for v in x]
    while len(x) > 1:
        x = [fl(a + b) for a, b in zip(x[: len(x) // 2], x[len(x) // 2 :])]
    return x[0]


def _terms(rng, size):
    """Entries of all kinds, and ways to round them."""
    for x in ([5.0], [-0.3], [0.0], [21.0, 0.0], [0.0, -21.0], [3e-9, 4e-9], [1e9, 1.0]):
        yield np.array(x), RoundTo(3)
    for k in range(50):
        x = rng.random(size()) * 2.0 ** rng.integers(-3, 4)
        yield (x if k % 3 else x - x.mean()), RoundTo(int(rng.integers(2, 12)))
    for _ in range(15):
        yield rng.integers(-99, 100, size()).astype(float), RoundTo(int(rng.integers(2, 6)))            # whole
        yield rng.normal(size=size()) * 2.0 ** rng.integers(-60, 60), RoundTo(int(rng.integers(12, 24)))
        # an entry, then a sum, just past a tie: whoever rounds to float32 first, rounds twice
        t = int(rng.integers(2, 12))
        tie = 1 + 2.0**-t * (2 * rng.integers(0, 2 ** (t - 1), size()) + 1)
        yield tie * (1 + rng.choice([-1e-9, 1e-9], tie.size)), RoundTo(t)
        yield np.array([1.0, 2.0**-20 * (1 + 2.0**-19)]), RoundTo(20)


def _sum_inputs(rng):
    yield np.array([1.0, 0.3, 0.3, 0.3]), RoundTo(3)
    yield np.ones(10), RoundTo(3)
    yield np.array([8.0, -8.0, 0.5, 0.25]), RoundTo(2)
    yield np.array([8.0, 0.5, -8.0, -0.5]), RoundTo(3)                    # sums to zero, but not in three bits
    yield from _terms(rng, lambda: int(rng.integers(1, 40)))


def _power_of_two_inputs(rng):
    yield np.array([1.0, 0.3, 0.3, 0.3]), RoundTo(3)
    yield np.ones(16), RoundTo(3)
    yield np.array([8.0, 0.5, -8.0, -0.5]), RoundTo(2)
    yield from _terms(rng, lambda: 2 ** int(rng.integers(7)))


def _a_number_of_the_format(answer, expected, x, fl):
    return float(answer) == fl(float(answer)) or f"{float(answer):.10g} has more than {fl.t} significant bits."


def _exactly(answer, expected, *_):
    return float(answer) == float(expected)


rounded_sum = Task(
    title="Task 4 · rounded_sum",
    shapes={"x": "n", "fl": ""},
    expected=lambda x, fl: np.asarray(_in_turn(x, fl)),
    inputs=_sum_inputs,
    read=as_number,
    properties=(
        Property("the sum is itself a number of the format: fl(sum) == sum", _a_number_of_the_format),
        Property("every entry is rounded, and after each addition the sum so far, from left to right", _exactly),
    ),
    suspects=(
        Suspect("only the final sum is rounded", lambda x, fl: fl(float(np.sum(x)))),
        Suspect("only the final sum and the entries are rounded", lambda x, fl: fl(sum(fl(v) for v in x))),
        Suspect("the entries are not rounded before they are added", lambda x, fl: _in_turn(x, fl, first=False)),
        Suspect("the sums are not rounded, only the entries", lambda x, fl: _in_turn(x, fl, each=False)),
        Suspect("the sum runs from right to left", lambda x, fl: _in_turn(x[::-1], fl)),
    ),
    fixed=("fl",),
    valid=lambda x, fl: len(x) > 0,
    tried="a single entry, sums that stand still, sums that cancel, ties, and random ones, 2 to 23 significant bits",
)

pairwise_sum = Task(
    title="Task 5 · pairwise_sum",
    shapes={"x": "n", "fl": ""},
    expected=lambda x, fl: np.asarray(_in_pairs(x, fl)),
    inputs=_power_of_two_inputs,
    read=as_number,
    properties=(
        Property("the sum is itself a number of the format: fl(sum) == sum", _a_number_of_the_format),
        Property("neighbours are added first, then the sums of neighbours, and so on; "
                 "every entry and every sum is rounded", _exactly),
    ),
    suspects=(
        Suspect("the sum runs from left to right, as in Task 4", _in_turn),
        Suspect("only the final sum is rounded", lambda x, fl: fl(float(np.sum(x)))),
        Suspect("the entries are not rounded before they are added", lambda x, fl: _in_pairs(x, fl, first=False)),
        Suspect("the sums are not rounded, only the entries", lambda x, fl: _in_pairs(x, fl, each=False)),
        Suspect("entries far apart are added first, not neighbours",
                _far_apart),
    ),
    fixed=("fl",),
    valid=lambda x, fl: len(x) > 0 and len(x) & (len(x) - 1) == 0,
    tried="1 to 64 entries, sums that would stand still, ties, and random ones, with 2 to 23 significant bits",
)
