"""What the checks of every lab share: try a function, find what broke, show the smallest input that breaks it.

A `Task` holds what a right answer is (a reference of its own, never the student's values), the inputs to try and
the properties in the order in which they are told. Calling it with a student's function either prints one green
line or raises: `NotImplementedError` on an untouched stub, `CheckFailed` with a message in plain words otherwise.

The idea is property-based testing as in QuickCheck (Claessen and Hughes 2000): random inputs, then shrinking.
"""

import contextlib
import copy
import inspect
import io
import logging
import time
import traceback
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from course_lib.check.answers import (
    PLAIN,
    RED,
    CheckFailed,
    agree,
    as_array,
    as_number,
    as_pair,
    close,
    equal,
    integers,
    plain,
    same,
    same_shape,
    show,
)
from course_lib.check.shrink import shrink

__all__ = ["CheckFailed", "Property", "Suspect", "Task", "as_array", "as_number", "as_pair", "close", "equal",
           "in_order", "integers", "same_shape"]

OURS = Path(__file__).parents[1]  # course_lib
EVIDENCE = 3  # wrong answers that a usual mistake must explain before a message names it
GREEN = "\x1b[32m"


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
    """A usual mistake. When it explains every answer seen, the right ones too, the message names it."""

    words: str
    function: Callable


class Case(NamedTuple):
    arguments: tuple
    expected: Any


class Problem(NamedTuple):
    case: Case
    words: str  # the broken property; a shrunk input must break the same one
    answer: Any = None
    detail: str = ""
    raised: BaseException | None = None
    by_memory: bool = False  # it takes several calls to show, so no smaller input is looked for


class StillRunning(KeyboardInterrupt):
    """The reader interrupted the student's function; `args[0]` is how many seconds that call had taken."""


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
    builds_on : earlier tasks, whose functions a student may well call; a mistake in one of them costs nothing here.
        A lab's `in_order` fills it in
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
    builds_on: tuple["Task", ...] = ()

    @property
    def name(self) -> str:
        return self.title.split(" · ")[-1]

    def __call__(self, function, *, seed=0, also=()):
        """Try `function`; print a green line, or raise CheckFailed (NotImplementedError for an untouched stub).

        `also` holds more inputs, tuples of arguments. A hidden test hands its own over here, so that it takes the
        answers in every form in which the check takes them.
        """
        if not callable(function):
            raise CheckFailed(f"✗ {self.title}\n  Hand over the function itself, not {show(function)}.")
        with _no_logging():  # once, and not for each call: it goes through all loggers that there are
            passed = self._judge(function, seed, also)
        print(f"{GREEN}✓ {self.title}: {passed}{PLAIN}")

    def _judge(self, function, seed, also):
        """What the green line says; raises where there is none to print."""
        cases = self._cases(seed, also)
        passed = f"passed. Tried {len(cases)} inputs: {self.tried}."
        found = self._examine(function, cases)
        if found:
            by_itself, called = self._by_itself(function)
            alone = self._examine(by_itself, cases) if self.builds_on and not found.by_memory else found
            if not called:
                raise self._failure(function, found, cases) from None
            names = " and ".join(f"`{name}`" for name in sorted(called))
            if alone:
                note = "" if _alike(found, alone) else f"Here a right {names} stood in for yours."
                raise self._failure(by_itself, alone, cases, note) from None
            passed = f"passed, with a right {names} in place of yours, which is not right yet: go back to its check."
        return passed

    def _by_itself(self, function):
        """`function` as it is when the tasks that it builds on are right -> (function, names of those it called).

        While it runs, their references stand in the student's namespace, where the student's helpers find them too.
        """
        namespace = getattr(inspect.unwrap(function), "__globals__", {})
        called = set()

        def stand_in(task):
            theirs = namespace[task.name]

            def right(*arguments, **named):
                called.add(task.name)
                return plain(task._answer(*_as_called(theirs, arguments, named, task.shapes)))

            return right

        right = {task.name: stand_in(task) for task in self.builds_on if callable(namespace.get(task.name))}

        def run(*arguments):
            theirs = {name: namespace[name] for name in right}
            namespace.update(right)
            try:
                return function(*arguments)
            finally:
                namespace.update(theirs)

        return run, called

    def _answer(self, *arguments):
        """The right answer to arguments as a student's later task hands them over: lists, or codes by the array."""
        arguments = [np.asarray(value) if letters and isinstance(value, list) else value
                     for value, letters in zip(arguments, self.shapes.values())]
        if not any(self.shapes.values()) and any(np.ndim(value) for value in arguments):
            return np.vectorize(lambda *each: plain(self.expected(*each)))(*arguments)
        return self.expected(*arguments)

    def _cases(self, seed, also):
        """The inputs to try, each with its right answer."""
        for arguments in also:
            if not self.valid(*arguments):
                raise ValueError(f"also: {show(tuple(arguments))} has no single clear answer; hand over others")
        inputs = [arguments for arguments in self.inputs(np.random.default_rng(seed)) if self.valid(*arguments)]
        return [self._case(tuple(arguments)) for arguments in (*inputs, *also)]

    def _case(self, arguments):
        return Case(arguments, self.expected(*copy.deepcopy(arguments)))

    def _examine(self, function, cases):
        """Try all inputs -> the first Problem, or None."""
        answers, start = [], time.monotonic()
        for number, case in enumerate(cases, 1):
            try:
                problem, answer = self._try(function, case)
            except StillRunning as late:
                raise CheckFailed("\n".join([
                    f"✗ {self.title}", f"  Interrupted: the function was still running after {late.args[0]:.1f} s, on",
                    *self._named(case.arguments), f"  This is input {number} of {len(cases)}, "
                    f"{time.monotonic() - start:.1f} s after the start. Does a loop have no end?"])) from None
            if problem:
                return problem
            answers.append((answer, copy.deepcopy(answer)))
        return self._memory(function, cases, answers)

    def _try(self, function, case):
        """Call once -> (Problem or None, answer)."""
        handed = copy.deepcopy(case.arguments)
        try:
            answer = _call(function, handed)
        except (Exception, SystemExit) as error:
            return Problem(case, f"the function must not stop with {type(error).__name__}",
                           detail=f"It said: {error}{_line_of(error)}", raised=error), None
        for name, before, after in zip(self.shapes, case.arguments, handed):
            if not same(before, after):
                return Problem(case, f"the function must leave its arguments as they were, but it changed `{name}`",
                               detail="Work on a copy, or build a new array."), None
        if answer is None:
            return Problem(case, "the function must return its answer, but it returned None",
                           detail="Is there a `return` at the end?"), None
        if inspect.isgenerator(answer) or inspect.iscoroutine(answer):
            answer.close()
            return Problem(case, f"the function must return its answer, but it returned a {type(answer).__name__}",
                           detail="Write `return`, not `yield`, and `def` without `async`."), None
        try:
            answer = self.read(answer)
        except CheckFailed as trouble:
            return Problem(case, str(trouble), answer), None
        for words, holds in self.properties:
            verdict = holds(answer, case.expected, *case.arguments)
            if verdict is not True and verdict is not np.True_:
                return Problem(case, words, answer, verdict if isinstance(verdict, str) else ""), answer
        return None, answer

    def _memory(self, function, cases, answers):
        """The answer must depend on the arguments alone: not on calls before, not on a buffer used again."""
        for case, (now, then) in zip(cases, answers):
            if not same(now, then):
                return Problem(case, "an answer must stay as it is when the function is called again", now,
                               "Make a new array in each call.", by_memory=True)
        for case, (_, first) in list(zip(cases, answers))[:: -max(1, len(cases) // 8)]:
            problem, again = self._try(function, case)
            if problem or not same(again, first):
                return Problem(case, "the same arguments must give the same answer each time", again,
                               "Does the function use a variable from outside, or keep one between calls?",
                               by_memory=True)
        return None

    def _failure(self, function, problem, cases, note=""):
        """The whole message, on the smallest input that breaks the same property."""
        if isinstance(problem.raised, NotImplementedError):
            return _not_written(self.title)
        likely = self._suspect(function, cases)
        if not problem.by_memory:
            def broken_by(candidate):
                if not self.valid(*candidate):
                    return None
                found, _ = self._try(function, self._case(candidate))
                return found if found and found.words == problem.words else None

            problem = shrink(problem.case.arguments, self.shapes, self.fixed, broken_by, problem)[1]
        lines = [f"✗ {self.title}", f"  Broken: {problem.words}.", "  Smallest input found:",
                 *self._named(problem.case.arguments)]
        if self.quote and problem.answer is not None:
            lines.append(f"  Your answer:  {show(problem.answer)}")
        if self.quote and problem.case.expected is not None:
            lines.append(f"  Right answer: {show(problem.case.expected)}")
        lines += [f"  {text}" for text in (problem.detail, note, likely and f"It looks as if {likely}.") if text]
        return CheckFailed("\n".join(lines))

    def _named(self, arguments):
        return [f"    {name} = {_name(value)}" for name, value in zip(self.shapes, arguments)]

    def _suspect(self, function, cases):
        """The words of the usual mistakes that do as the student does on every input; or None.

        A suspect is cleared by one input where it is wrong and the student is right, and when it misses more than a
        tenth of the student's wrong answers. Two that no input tells apart are both named; of more, none.
        """
        wrong, missed = 0, dict.fromkeys(self.suspects, 0)
        try:
            for case in cases:
                problem, _ = self._try(function, case)
                wrong += problem is not None
                for suspect in list(missed):
                    alike = _alike(problem, self._try(suspect.function, case)[0])
                    if not alike and not problem:
                        del missed[suspect]
                    else:
                        missed[suspect] += not alike
        except KeyboardInterrupt:
            return None
        words = list(dict.fromkeys(suspect.words for suspect in missed if missed[suspect] <= 0.1 * wrong))
        return ", or as if ".join(words) if wrong >= EVIDENCE and len(words) <= 2 else None


def in_order(*tasks):
    """The tasks of a lab: each builds on all before it."""
    return tuple(replace(task, builds_on=tasks[:k]) for k, task in enumerate(tasks))


def _as_called(function, arguments, named, names):
    """The arguments of a call in the order of `names`, by the parameters and defaults of the student's `function`."""
    try:
        bound = inspect.signature(function).bind(*arguments, **named)
        bound.apply_defaults()
        arguments = (*bound.args, *bound.kwargs.values())
    except (TypeError, ValueError):                             # no signature, or a stub that takes anything else
        arguments = (*arguments, *(named[name] for name in list(names)[len(arguments):] if name in named))
    return arguments[: len(names)]


def _call(function, arguments):
    """Call it quietly: what a student prints, a progress bar too, is not the check's to show."""
    start = time.monotonic()
    with (warnings.catch_warnings(), np.errstate(all="ignore"),
          contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO())):
        warnings.simplefilter("ignore")
        try:
            return function(*arguments)
        except KeyboardInterrupt:
            raise StillRunning(time.monotonic() - start) from None


@contextlib.contextmanager
def _no_logging():
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def _alike(problem, other):
    """Whether two functions did the same on one input: both right, both stopped, or the same wrong answer."""
    if problem is None or other is None:
        return problem is other
    if problem.raised or other.raised:
        return bool(problem.raised and other.raised)
    return agree(problem.answer, other.answer)


def _name(argument):
    """An argument as a message shows it; a function may say in `words` what it does."""
    return getattr(argument, "words", "a stand-in that answers at once") if callable(argument) else show(argument)


def _line_of(error):
    """Where in the student's own code an error came up: the last frame that is neither ours nor a library's."""
    foreign = ("site-packages", "dist-packages", str(OURS))
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not any(name in f.filename for name in foreign)]
    return f"\n  In the line: {frames[-1].line}" if frames and frames[-1].line else ""
