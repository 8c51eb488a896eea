"""Many answers to one task, told by what they change in one text.

A wrong answer is mostly a right one with one slip. So a bank holds right sources and the slips, one a line:

    variants('''
    def codes_of(x):
        return np.rint(x)
    ''', ("np.rint", "np.floor", "rounded down"))     # what is written, what stands there instead, what is true of it

The third part is a piece of the words of each usual mistake (`Suspect`) that may be said of this answer; without it,
none may.
"""

import math
import textwrap
from typing import NamedTuple

import numpy as np


class Variant(NamedTuple):
    name: str
    function: object
    true: tuple = ()  # pieces of the words that may be said of it

    def __str__(self):
        return self.name


def variants(source, *changes):
    """[Variant], one for each change (old, new, *true) of the source; `old` must stand in it."""
    return [Variant(f"{old} -> {new}", written(source, (old, new)), tuple(true)) for old, new, *true in changes]


def written(source, *changes):
    """The function that a source defines last, after changes (old, new)."""
    text = textwrap.dedent(source)
    for old, new in changes:
        if old not in text:
            raise ValueError(f"{old!r} does not stand in the source, so nothing would be changed:\n{text}")
        text = text.replace(old, new)
    namespace = {"np": np, "math": math}
    before = set(namespace)
    exec(text, namespace)
    return [value for name, value in namespace.items() if name not in before and callable(value)][-1]
