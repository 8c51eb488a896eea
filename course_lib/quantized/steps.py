"""The order in which the layers of a network run, and which of them reads what. Knows neither torch nor codes.

A network is a list of steps: whatever has a ``name`` and ``inputs``, the names of those that it reads. Empty inputs
mean the step before; ``INPUT`` is what the network itself is given. So a chain needs no names, and a residual block is
a chain of which two steps say what they read. ``Step`` (``following.py``) and ``QuantizedLayer`` are such steps.

Whoever walks over a network calls ``run_steps`` (or ``walk_steps``, to see every value), and says in ``apply`` what one
step does with its inputs:

    >>> from types import SimpleNamespace as Some
    >>> steps = [Some(name="double", inputs=()), Some(name="sum", inputs=("", "double"))]
    >>> run_steps(steps, 5, lambda step, *values: 2 * values[0] if step.name == "double" else sum(values))
    15
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from course_lib.quantized.layers import KINDS

INPUT = ""  # what the network is given, as a name among inputs; no layer has it
IDENTITY = "identity"  # the kind of a step that runs in training alone, or does nothing


def inputs_of(steps: Sequence) -> list[tuple[str, ...]]:
    """For each step the names of what it reads: its own ``inputs``, or the step before."""
    before = [INPUT, *(step.name for step in steps)]
    return [tuple(step.inputs) or (name,) for step, name in zip(steps, before)]


def walk_steps(steps: Sequence, x: Any, apply: Callable[..., Any]) -> Iterator[tuple[Any, Any]]:
    """``run_steps`` as an iterator of (step, what it hands on), one step at a time."""
    reads = inputs_of(steps)
    readers = Counter(name for names in reads for name in names)
    values = {INPUT: x}
    for step, names in zip(steps, reads):
        out = values[step.name] = apply(step, *(values[name] for name in names))
        readers.subtract(names)
        for name in names:  # what nobody reads any more need not be kept
            if not readers[name]:
                values.pop(name, None)
        yield step, out


def run_steps(steps: Sequence, x: Any, apply: Callable[..., Any]) -> Any:
    """Run steps one after the other, each on what it reads; return what the last one hands on.

    Parameters
    ----------
    steps : sequence of anything with ``name`` and ``inputs``
    x : what the network is given: a tensor, codes, a shape
    apply : callable(step, *values) -> value
        Called once a step, with what its inputs handed on, in their order. To look at values, to record or to round
        them, do so here. A ``Step`` of a followed model can be called: ``step(*values, weight=w, bias=b)``.

    Returns
    -------
    what ``apply`` returned for the last step; ``x`` where there is none
    """
    last = x
    for _, last in walk_steps(steps, x, apply):  # noqa: B007 - only the last is wanted
        pass
    return last


class Scales(NamedTuple):
    """Whose scale what is handed on has, in a network whose activations are codes.

    of : dict of step name -> the name of the step that chose the scale of what it hands on: itself, or one before it
        that it keeps the scale of. ``INPUT`` is where the input's scale comes from.
    ends : dict of step name -> the same, of those alone at which values are rounded: once for each scale, as late as
        rounding there and rounding before give the same (behind ReLU and max pooling, where nothing else reads what
        comes before them); and behind each step that makes numbers between codes of a scale that it keeps (averages).
        In the order in which they run; where a scale comes first, there its range is chosen.
    """

    of: dict
    ends: dict


def scales_of(steps: Sequence) -> Scales:
    """Whose scale everything has, and where it is rounded (``Scales``).   steps: with name, inputs, kind"""
    reads, kept_by = inputs_of(steps), {}
    for step, names in zip(steps, reads):
        for name in names:
            kept_by.setdefault(name, []).append(step.kind == IDENTITY or KINDS[step.kind].keeps_order)
    of, ends, ended = {INPUT: INPUT}, {}, set()
    for step, names in zip(steps, reads):
        kind = KINDS.get(step.kind)
        between = kind is not None and not kind.keeps_order  # what it gives are no codes yet
        of[step.name] = step.name if between and not kind.keeps_scale else of[names[0]]
        goes_on = kept_by.get(step.name) == [True]  # one reader, behind which rounding is the same
        scale = of[step.name]
        if between and kind.keeps_scale or scale != INPUT and scale not in ended and not goes_on:
            ends[step.name] = scale
            ended.add(scale)
    return Scales(of, ends)
