"""Many answers to one task, told by what they change in one text.

A wrong answer is mostly a right one with one slip. So a bank holds right sources and the slips, one a line:

    variants('''
    def codes_of(x):
        return np.rint(x)
    ''', ("np.rint", "np.floor", "rounded down"))     # what is written, what stands there instead, what is true of it

The third part is a piece of the words of the usual mistake (`Suspect`) that may be said of this answer; without it, none
may.
"""

import math
import textwrap
from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Variant(NamedTuple):
    name: str
    function: Callable
    looks: str  # a piece of the words that may be said of it


def variants(source, *changes):
    """[Variant], one for each change (old, new) or (old, new, looks) of the source; `old` must stand in it."""
    return [Variant(f"{old} -> {new}", written(source, (old, new)), "".join(looks)) for old, new, *looks in changes]


def deposit(bank, answers):
    """Hand a bank {task: (right source, other right sources, wrong variants)} over to the `Answers` of a lab."""
    for task, (source, others, wrong) in bank.items():
        answers.bank(task, right={f"{task.name}_{i}": written(text) for i, text in enumerate((source, *others))},
                     wrong={name: (function, "Broken: ", looks) for name, function, looks in wrong})


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
