"""How the learning rate moves while a network is trained, as a share of the highest one.

Reference: Loshchilov & Hutter 2017, "SGDR: stochastic gradient descent with warm restarts" (the cosine).
"""

import math
from collections.abc import Callable

from course_lib.arguments import not_negative

WARM_UP = 0.1  # share of the steps over which the learning rate rises


def cosine(step: int, total: int) -> float:
    """A straight rise over the first tenth of the steps, then half a cosine down to 0.   step: 0 … total − 1"""
    rise = WARM_UP * total
    if step < rise:
        return (step + 1) / (rise + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1.0, total - rise)))


def constant(step: int, total: int) -> float:
    """The same at every step."""
    return 1.0


BY_NAME = {"cosine": cosine, "constant": constant}


def share_of(schedule: str | Callable[[int, int], float]) -> Callable[[int, int], float]:
    """The function (step, total) -> share that ``schedule`` names or is; what it gives is refused where it is no share.

    Raises
    ------
    ValueError
        Another name; when called, a share that is negative or not finite.
    """
    if isinstance(schedule, str) and schedule in BY_NAME:
        return BY_NAME[schedule]
    if not callable(schedule):
        names = ", ".join(map(repr, BY_NAME))
        raise ValueError(f"schedule is {schedule!r}; it should be one of {names}, or a function (step, total) -> share "
                         "of the learning rate")
    return lambda step, total: not_negative(schedule(step, total), f"schedule({step}, {total})")
