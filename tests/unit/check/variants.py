"""Many answers to one task, told by what they change in one text.

A wrong answer is mostly a right one with one slip. So a bank holds right sources, and for a piece of one of them what
may stand there instead:

    variants('''
    def codes_of(x):
        return np.rint(x)
    ''', {"np.rint": ["np.ceil", ("np.floor", "rounded down")]})

Beside a slip may stand a piece of the words of the usual mistake (`Suspect`) that may be said of it; of others, none
may.
"""

import math
import textwrap
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from course_lib.check import CheckFailed
from tests.unit.check.grading import source_of


class Variant(NamedTuple):
    name: str
    function: Callable
    looks: str  # a piece of the words that may be said of it


def variants(source, slips):
    """[Variant], one for each slip in {old: [new or (new, looks), ...]}; `old` must stand in the source."""
    pairs = [(old, new if isinstance(new, tuple) else (new, "")) for old, several in slips.items() for new in several]
    return [Variant(f"{old} -> {new}", written(source, (old, new)), looks) for old, (new, looks) in pairs]


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


def points_lost(lab, name, function):
    """The tasks that lose points where the answers are the lab's own, and one of them, `name`, is `function`."""
    import course_lib as cl

    space = {"np": np, "cl": cl}
    for task in lab.TASKS:
        exec(source_of(lab, task.name), space)
    space[name] = function
    lost = []
    for task in lab.TASKS:
        try:
            exec(source_of(lab, f"check_{task.name}"), space)
        except CheckFailed:
            lost.append(task.name)
    return lost
