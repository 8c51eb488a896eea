"""What the checks of every lab share: try a function, find what broke, show the smallest input that breaks it.

A `Task` holds what a right answer is (a reference of its own, never the student's values), the inputs to try and
the properties in the order in which they are told. Calling it with a student's function either prints one green
line or raises: `NotImplementedError` on an untouched stub, `CheckFailed` with a message in plain words otherwise.

The idea is property-based testing as in QuickCheck (Claessen and Hughes 2000): random inputs, then shrinking.
"""

import contextlib
import copy
import io
import traceback
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .shrink import shrink

OURS = Path(__file__).parents[1]  # course_lib
GREEN, RED, PLAIN = "\x1b[32m", "\x1b[31m", "\x1b[0m"


class CheckFailed(AssertionError):
    """An answer is not right yet. The message says what broke and shows an input that breaks it."""

    def _render_traceback_(self):
        """What a notebook shows: the message alone, not the way through our code."""
        return [f"{RED}{self}{PLAIN}"]


def _not_written(title):
    """A plain NotImplementedError, known to all tools by that name, which a notebook shows in one line."""
    error = NotImplementedError(f"{title} is not written yet: put your code in place of `raise NotImplementedError`.")
    error._render_traceback_ = lambda: [f"{RED}{error}{PLAIN}"]
    return error


class Property(NamedTuple):
    """`words` says what must hold; `holds(answer, expected, *arguments)` is True, False or the trouble in words."""

    words: str
    holds: Callable[..., bool | str]


class Suspect(NamedTuple):
    """A usual mistake. When it explains every answer seen, the message names it."""

    words: str
    function: Callable


class Problem(NamedTuple):
    words: str  # the broken property; a shrunk input must break the same one
    answer: Any = None
    expected: Any = None
    detail: str = ""


@dataclass(frozen=True, eq=False)
class Task:
    """One function for a student to write, and how to tell whether it is right.

    Parameters
    ----------
    title : what the messages call it, "Task 3 · quantize"
    expected : the reference; called on copies, before the student's function sees them
    inputs : `inputs(rng)` yields tuples of arguments, the fixed ones first
    properties : told in this order, the first broken one is reported
    tried : ends the sentence "passed: tried 70 inputs, ..."
    shapes : argument name -> letters of its axes, right-aligned; equal letters shrink together
    suspects : usual mistakes
    fixed : names of the arguments that shrinking leaves alone
    valid : whether arguments (after shrinking) still have one clear answer
    read : turns the student's return value into what the properties take
    quote : whether messages show the whole answer; where it is long, the trouble in words must do
    """

    title: str
    expected: Callable
    inputs: Callable[[np.random.Generator], Iterable[tuple]]
    properties: tuple[Property, ...]
    tried: str
    shapes: dict[str, str]
    suspects: tuple[Suspect, ...] = ()
    fixed: tuple[str, ...] = ()
    valid: Callable[..., bool] = field(default=lambda *arguments: True)
    read: Callable[[Any], Any] = field(default=lambda answer: as_array(answer))
    quote: bool = True

    def __call__(self, function, *, seed=0):
        """Try `function`; print a green line, or raise CheckFailed (NotImplementedError for an untouched stub)."""
        if not callable(function):
            raise CheckFailed(f"✗ {self.title}\n  Hand over the function itself, not {_show(function)}.")
        inputs = [arguments for arguments in self.inputs(np.random.default_rng(seed)) if self.valid(*arguments)]
        answers = []
        for arguments in inputs:
            problem, answer = self._try(function, arguments)
            if problem:
                raise self._failure(function, arguments, problem, inputs) from None
            answers.append((answer, copy.deepcopy(answer)))
        problem = self._memory(function, inputs, answers)
        if problem:
            raise self._failure(function, inputs[0], problem, inputs, smaller=False) from None
        print(f"{GREEN}✓ {self.title}: passed. Tried {len(inputs)} inputs: {self.tried}.{PLAIN}")

    def _try(self, function, arguments):
        """Call once -> (Problem or None, answer)."""
        expected = self.expected(*copy.deepcopy(arguments))
        handed = copy.deepcopy(arguments)
        try:
            answer = _call(function, handed)
        except NotImplementedError:
            raise _not_written(self.title) from None
        except Exception as error:
            where = _line_of(error)
            return Problem(f"the function must not stop with {type(error).__name__}", None, expected,
                           f"It said: {error}{where}"), None
        for name, before, after in zip(self.shapes, arguments, handed):
            if not _same(before, after):
                return Problem(f"the function must leave its arguments as they were, but it changed `{name}`",
                               None, None, "Work on a copy, or build a new array."), None
        if answer is None:
            return Problem("the function must return its answer, but it returned None", None, expected,
                           "Is there a `return` at the end?"), None
        try:
            answer = self.read(answer)
        except CheckFailed as trouble:
            return Problem(str(trouble), answer, expected), None
        for words, holds in self.properties:
            verdict = holds(answer, expected, *arguments)
            if verdict is not True and verdict is not np.True_:
                return Problem(words, answer, expected, verdict if isinstance(verdict, str) else ""), answer
        return None, answer

    def _memory(self, function, inputs, answers):
        """The answer must depend on the arguments alone: not on calls before, not on a buffer used again."""
        for now, then in answers:
            if not _same(now, then):
                return Problem("an answer must stay as it is when the function is called again", now, then,
                               "Make a new array in each call.")
        problem, again = self._try(function, inputs[0])
        if problem or not _same(again, answers[0][1]):
            return Problem("the same arguments must give the same answer each time", again, answers[0][1],
                           "Does the function use a variable from outside, or keep one between calls?")
        return None

    def _failure(self, function, arguments, problem, inputs, *, smaller=True):
        """The whole message, on the smallest input that breaks the same property."""
        likely = self._suspect(function, inputs)
        if smaller:
            def broken_by(candidate):
                if not self.valid(*candidate):
                    return None
                found, _ = self._try(function, candidate)
                return found if found and found.words == problem.words else None

            arguments, problem = shrink(arguments, self.shapes, self.fixed, broken_by, problem)
        lines = [f"✗ {self.title}", f"  Broken: {problem.words}.", "  Smallest input found:"]
        lines += [f"    {name} = {_name(value)}" for name, value in zip(self.shapes, arguments)]
        if self.quote and problem.answer is not None:
            lines.append(f"  Your answer:  {_show(problem.answer)}")
        if self.quote and problem.expected is not None:
            lines.append(f"  Right answer: {_show(problem.expected)}")
        lines += [f"  {text}" for text in (problem.detail, likely and f"It looks as if {likely}.") if text]
        return CheckFailed("\n".join(lines))

    def _suspect(self, function, inputs):
        """The words of the usual mistake that explains the wrong answers, at least half of them, or None."""
        def answer(of, arguments):
            return self.read(_call(of, copy.deepcopy(arguments)))

        wrong, explained = 0, [0] * len(self.suspects)
        for arguments in inputs:
            with contextlib.suppress(Exception):
                given = answer(function, arguments)
                if _agree(given, self.read(self.expected(*copy.deepcopy(arguments)))):
                    continue
                wrong += 1
                for i, suspect in enumerate(self.suspects):
                    with contextlib.suppress(Exception):
                        explained[i] += _agree(given, answer(suspect.function, arguments))
        best = max(range(len(explained)), key=explained.__getitem__, default=None)
        return self.suspects[best].words if wrong and best is not None and explained[best] >= 0.5 * wrong else None


def as_array(answer):
    """A student's return value as an ndarray of numbers: arrays, tensors, lists, bytes and numbers are all right."""
    if hasattr(answer, "detach"):
        answer = answer.detach().cpu().numpy()
    if isinstance(answer, bytes | bytearray):
        answer = np.frombuffer(bytes(answer), np.uint8)
    try:
        array = np.asarray(answer)
    except Exception:
        array = None
    if array is None or array.dtype.kind not in "iuf":
        raise CheckFailed(f"the answer must be an array of numbers, not {_show(answer)}")
    return array


def as_pair(answer):
    """A student's return value as two ndarrays without axes."""
    if getattr(answer, "shape", None) == (2,):
        answer = tuple(answer)
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        raise CheckFailed(f"the answer must be two numbers, `return first, second`, not {_show(answer)}")
    pair = tuple(as_array(part) for part in answer)
    if any(part.size != 1 for part in pair):
        raise CheckFailed(f"the answer must be two single numbers, not {_show(answer)}")
    return tuple(part.reshape(()) for part in pair)


def same_shape(answer, expected, *arguments):
    return answer.shape == expected.shape or f"Your shape is {answer.shape}, the right one {expected.shape}."


def integers(answer, expected, *arguments):
    return answer.dtype.kind in "iu" or f"Your dtype is {answer.dtype}: cast with .astype(np.int32) at the end."


def equal(answer, expected, *arguments):
    return bool(np.array_equal(answer, expected))


def close(answer, expected, *arguments):
    """Equal to a relative 1e-5: float32 and float64 are both right. NaN never is."""
    return bool(np.allclose(answer, expected, rtol=1e-5, atol=1e-9))


def _call(function, arguments):
    with warnings.catch_warnings(), np.errstate(all="ignore"), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        return function(*arguments)


def _same(before, after):
    """Equal in value, shape and dtype, NaN included."""
    if isinstance(before, tuple | list):
        return len(before) == len(after) and all(_same(b, a) for b, a in zip(before, after))
    if isinstance(before, np.ndarray):
        return before.dtype == after.dtype and np.array_equal(before, after, equal_nan=before.dtype.kind == "f")
    return before is after or before == after                     # NaN is itself, and not equal to itself


def _agree(answer, other):
    if isinstance(answer, tuple):
        return all(_agree(a, o) for a, o in zip(answer, other, strict=True))
    return answer.shape == other.shape and np.allclose(answer, other, rtol=1e-5, atol=1e-9, equal_nan=True)


def _name(argument):
    """An argument as a message shows it; a function may say in `words` what it does."""
    return getattr(argument, "words", "a stand-in that answers at once") if callable(argument) else _show(argument)


def _show(value):
    if isinstance(value, tuple):
        return "(" + ", ".join(_show(part) for part in value) + ")"
    if isinstance(value, np.ndarray):
        text = np.array2string(value, separator=", ", threshold=60, max_line_width=100)
        return (text if value.ndim < 2 else text.replace("\n", "\n" + " " * 8)) + f"  ({value.dtype})"
    text = repr(value)
    return text if len(text) <= 200 else text[:200] + " …"


def _line_of(error):
    """Where in the student's own code an error came up: the last frame that is neither ours nor a library's."""
    foreign = ("site-packages", "dist-packages", str(OURS))
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not any(name in f.filename for name in foreign)]
    return f"\n  In the line: {frames[-1].line}" if frames and frames[-1].line else ""
