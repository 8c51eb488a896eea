"""The runner that all checks share: what it refuses whatever the task, how it shrinks, how it speaks."""

import _thread
import logging
import signal
import sys
import threading
import time
import warnings
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from tqdm import tqdm

from course_lib.check.base import CheckFailed, Property, Suspect, Task, as_array, as_pair, equal, in_order, same_shape
from course_lib.check.shrink import shrink


def _inputs(rng):
    yield (np.array([1, 2, 3]), 2)
    for _ in range(20):
        yield rng.integers(-50, 50, rng.integers(1, 9)), int(rng.integers(1, 9))


SCALE = Task(
    title="Task 0 · multiply",
    shapes={"x": "n", "factor": ""},
    expected=lambda x, factor: x * factor,
    inputs=_inputs,
    properties=(Property("one number for each number", same_shape), Property("each is x times factor", equal)),
    suspects=(Suspect("the factor is added", lambda x, factor: x + factor),),
    tried="a few arrays",
)


def _message(function, task=SCALE, **options):
    with pytest.raises(CheckFailed) as caught:
        task(function, **options)
    return str(caught.value)


def test_right_answer_prints_one_green_line(capsys):
    assert SCALE(lambda x, factor: x * factor) is None
    out = capsys.readouterr().out
    assert out.startswith("\x1b[32m✓ Task 0 · multiply: passed. Tried 21 inputs: a few arrays.")
    assert out.count("\n") == 1


def test_stub_raises_not_implemented_by_that_very_name():
    """nbclient lets errors pass by their name, so a subclass would not do."""

    def stub(x, factor):
        raise NotImplementedError

    with pytest.raises(NotImplementedError, match="Task 0 · multiply is not written yet") as caught:
        SCALE(stub)
    assert type(caught.value) is NotImplementedError
    assert len(caught.value._render_traceback_()) == 1, "a notebook shows one line"


@pytest.mark.parametrize("answer", [None, ..., NotImplemented, "6", {}, object(), [None], True])
def test_things_that_are_no_answer(answer):
    message = _message(lambda x, factor: answer)
    assert "Broken: " in message


def test_an_object_equal_to_everything_is_no_answer():
    class Yes:
        shape = (3,)

        def __eq__(self, other):
            return True

        __hash__ = None

    assert "array of numbers" in _message(lambda x, factor: Yes())


@pytest.mark.parametrize("thing", [None, 3, np.ones(3)])
def test_what_is_not_a_function(thing):
    assert "Hand over the function itself" in _message(thing)


def test_answers_learnt_by_heart():
    assert "each is x times factor" in _message(lambda x, factor: np.array([2, 4, 6])[: len(x)].copy()
                                                if len(x) <= 3 else x * factor)


def test_change_of_an_argument():
    def in_place(x, factor):
        x *= factor
        return x

    message = _message(in_place)
    assert "it changed `x`" in message and "Work on a copy" in message


def test_the_reference_never_sees_what_the_student_changed():
    def zero_everything(x, factor):
        x[:] = 0
        return x.copy()

    assert "changed `x`" in _message(zero_everything)


def test_state_between_calls():
    calls = []

    def first_one_is_right(x, factor):
        calls.append(x)
        return x * factor if len(calls) <= 21 else x

    assert "same arguments must give the same answer" in _message(first_one_is_right)


def test_one_buffer_for_all_answers():
    buffer = np.empty(100, int)

    def reuse(x, factor):
        out = buffer[: len(x)]
        np.multiply(x, factor, out=out)
        return out

    assert "must stay as it is when the function is called again" in _message(reuse)


def test_answer_of_an_earlier_run():
    earlier = np.arange(3) * 2
    assert "Broken: " in _message(lambda x, factor: earlier)


def test_an_error_is_told_with_its_line():
    def broken(x, factor):
        return x * factor + missing_name  # noqa: F821

    message = _message(broken)
    assert "stop with NameError" in message
    assert "name 'missing_name' is not defined" in message
    assert "return x * factor + missing_name" in message


def test_an_error_inside_the_library_is_told_with_the_student_s_line():
    def broken(x, factor):
        return as_array("not a number")

    assert 'In the line: return as_array("not a number")' in _message(broken)


def test_wrong_number_of_arguments_is_told():
    assert "stop with TypeError" in _message(lambda x: x)


def test_nothing_a_student_prints_logs_or_warns_comes_out_of_a_check(capfd):
    """On stderr it would cost the points of the cell."""
    handler = logging.StreamHandler()          # it holds the stderr of the time at which it was made
    logger = logging.getLogger("a student")
    logger.addHandler(handler)

    def noisy(x, factor):
        print("debugging")
        print("debugging", file=sys.stderr)
        for _ in tqdm([1]):
            warnings.warn("debugging", stacklevel=1)
        logger.error("debugging")
        logging.error("debugging")
        np.ones(1) / np.zeros(1)
        return x * factor

    try:
        SCALE(noisy)
        logger.error("afterwards it works again")
    finally:
        logger.removeHandler(handler)
    out, err = capfd.readouterr()
    assert "debugging" not in out and err == "afterwards it works again\n"


def test_a_usual_mistake_is_named_and_the_input_is_small():
    message = _message(lambda x, factor: x + factor)
    assert "It looks as if the factor is added." in message
    assert "x = [0]" in message and "factor = 1" in message
    assert "Your answer:  [1]" in message and "Right answer: [0]" in message


OFFSET = Task(
    title="Task 1 · plus",
    shapes={"x": "", "y": ""},
    expected=lambda x, y: np.asarray(x + y),
    inputs=lambda rng: [(float(x), float(y)) for x, y in rng.integers(-20, 20, (30, 2))],
    properties=(Property("it is x + y", equal),),
    suspects=(Suspect("y is left out", lambda x, y: x), Suspect("the sign is lost", lambda x, y: abs(x + y)),
              Suspect("it is what stands first", lambda x, y: float(x))),
    tried="thirty pairs",
)


@pytest.mark.parametrize(("function", "diagnosis"), [
    (lambda x, y: abs(x + y), "the sign is lost."),
    (lambda x, y: max(0.0, x + y), ""),                        # wrong where the sign is lost, but not in the same way
    (lambda x, y: x if x > 5 else x + y, ""),                  # where it is wrong y is left out; mostly it is right
    (lambda x, y: -(x + y) if x + y in (-1, -2) else x + y, ""),
    (lambda x, y: x, "y is left out, or as if it is what stands first."),
    (lambda x, y: x + y + 1, ""),
])
def test_a_mistake_is_named_only_if_it_explains_what_is_right_too(function, diagnosis):
    _, found, words = _message(function, OFFSET).partition("It looks as if ")
    assert words == diagnosis and bool(found) == bool(diagnosis)


def test_one_wrong_answer_is_no_evidence():
    few = replace(OFFSET, inputs=lambda rng: [(1.0, 1.0), (2.0, 3.0), (4.0, 0.0), (-1.0, 0.0)])
    assert "looks as if" not in _message(lambda x, y: abs(x + y), few)


def test_three_mistakes_that_no_input_tells_apart_are_not_named():
    third = replace(OFFSET, suspects=(*OFFSET.suspects, Suspect("y is taken for 0", lambda x, y: x + 0)))
    assert "looks as if" not in _message(lambda x, y: x, third)


def test_a_suspect_may_stop_where_the_student_s_function_stops():
    inverse = Task(title="Task 0 · inverse", shapes={"x": ""}, expected=lambda x: np.asarray(1 / x if x else 0.0),
                   inputs=lambda rng: [(float(x),) for x in (2, 0, 4, 0, -1, 0)], tried="six",
                   properties=(Property("it is 1 / x, and 0 for 0", equal),),
                   suspects=(Suspect("zero is forgotten", lambda x: 1 / x),))
    message = _message(lambda x: x**-1, inverse)
    assert "stop with ZeroDivisionError" in message and "It looks as if zero is forgotten." in message


def interrupted(function, at):
    """`function`, but at call number `at` the reader interrupts it."""
    calls = []

    def run(*arguments):
        calls.append(arguments)
        if len(calls) == at:
            raise KeyboardInterrupt
        return function(*arguments)

    return run


def test_an_interrupted_check_names_the_input():
    message = _message(interrupted(lambda x, factor: x * factor, 1))
    assert message.startswith("✗ Task 0 · multiply\n  Interrupted: the function was still running after 0.0 s, on\n")
    assert "    x = [1, 2, 3]" in message and "    factor = 2\n" in message
    assert "input 1 of 21" in message and "Does a loop have no end?" in message


def test_a_real_interrupt_of_an_endless_loop_names_the_input():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background starts without it
    def endless(x, factor):
        if factor == 2:
            timer = threading.Timer(0.2, _thread.interrupt_main)
            timer.start()
            while True:
                time.sleep(0.01)
        return x * factor

    try:
        assert "still running after 0." in _message(endless)
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_interrupt_while_the_input_shrinks_leaves_what_was_found():
    """Calls: one that fails, 21 to look for suspects, and then smaller inputs, of which one may never end."""
    message = _message(interrupted(lambda x, factor: x - factor, 24))
    assert "Broken: each is x times factor" in message and "Interrupted" not in message
    assert "Broken: each is x times factor" in _message(interrupted(lambda x, factor: x - factor, 10))


def test_what_only_promises_an_answer_is_told_in_words():
    def gives(x, factor):
        yield x * factor

    async def waits(x, factor):
        return x * factor

    assert "returned a generator" in _message(gives) and "`return`, not `yield`" in _message(gives)
    assert "returned a coroutine" in _message(waits) and "without `async`" in _message(waits)


def test_leaving_python_is_told_like_an_error():
    assert "must not stop with SystemExit" in _message(lambda x, factor: sys.exit())


# ------------------------------------------------------------------------------------- what builds on an earlier task

TWICE = Task(
    title="Task 2 · twice",
    builds_on=(OFFSET,),
    shapes={"x": ""},
    expected=lambda x: np.asarray(2 * x),
    inputs=lambda rng: [(float(x),) for x in rng.integers(-9, 9, 20)],
    properties=(Property("it is twice x", equal),),
    tried="twenty numbers",
)


def notebook(source):
    """The names that a student's cells have made."""
    space = {}
    exec(source, space)
    return space


RIGHT_PLUS, WRONG_PLUS = "def plus(x, y): return x + y\n", "def plus(x, y): return x - y\n"
NO_PLUS = "def plus(x, y): raise NotImplementedError\n"


@pytest.mark.parametrize("call", ["plus(x, x)", "plus(y=x, x=x)", "helper(x)"])
def test_a_mistake_in_an_earlier_task_costs_that_one_alone(call, capsys):
    twice = f"def helper(x): return plus(x, x)\ndef twice(x): return {call}\n"
    TWICE(notebook(RIGHT_PLUS + twice)["twice"])
    assert "passed. Tried 20 inputs" in capsys.readouterr().out
    for earlier in (WRONG_PLUS, NO_PLUS):
        space = notebook(earlier + twice)
        theirs = space["plus"]
        TWICE(space["twice"])
        assert "passed, with a right `plus` in place of yours, which is not right yet" in capsys.readouterr().out
        assert space["plus"] is theirs


def test_a_reference_stands_in_as_a_student_s_function_would():
    """It gives Python's numbers, not arrays without axes."""
    TWICE(notebook(NO_PLUS + "def twice(x): return [plus(x, x)][0] if type(plus(x, x)) is float else None\n")["twice"])


FORMS = {
    "an array of them": ("plus(x, y)", "plus(np.array([x, x]), x)[1]"),
    "a list for an array": ("double(x)", "double([x, 1.0])[0]"),
    "a parameter more": ("plus(x, y, quick=True)", "plus(x, x, quick=False)"),
    "a default": ("plus(x, y=None)", "plus(x, y=x)"),
    "names of their own": ("plus(one, other)", "plus(other=x, one=x)"),
}


@pytest.mark.parametrize("defined, called", FORMS.values(), ids=FORMS)
def test_a_reference_is_called_as_the_student_calls(defined, called, capsys):
    double = replace(SCALE, title="Task 1 · double", shapes={"x": "n"}, expected=lambda x: x.astype(float) * 2)
    source = f"import numpy as np\ndef {defined}: return 0.0\ndef twice(x): return {called}\n"
    in_order(OFFSET, double, TWICE)[-1](notebook(source.replace("return 0.0", "return np.zeros(2)"))["twice"])
    assert "passed, with a right `" in capsys.readouterr().out


def test_a_mistake_of_its_own_is_told_whatever_the_earlier_task_is():
    wrong_too = "def twice(x): return plus(x, x) + 1\n"
    for earlier in (WRONG_PLUS, NO_PLUS):
        message = _message(notebook(earlier + wrong_too)["twice"], TWICE)
        assert "Your answer:  1. " in message and "Here a right `plus` stood in for yours." in message
    assert "stood in" not in _message(notebook(RIGHT_PLUS + wrong_too)["twice"], TWICE)


def test_a_stub_stays_a_stub_and_a_lucky_second_run_does_not_count():
    with pytest.raises(NotImplementedError, match="Task 2 · twice is not written yet"):
        TWICE(notebook(NO_PLUS + "def twice(x): raise NotImplementedError\n")["twice"])
    counted = "calls = []\ndef twice(x):\n    calls.append(x)\n    return 2 * x + (len(calls) == 1)\n"
    first_wrong = notebook(RIGHT_PLUS + counted)
    assert "Broken:" in _message(first_wrong["twice"], TWICE)


# ------------------------------------------------------------------------------------------------------ hidden tests


def test_more_inputs_are_tried_and_read_as_the_others():
    for form in (lambda a: a, list, lambda a: a.astype(np.float32), lambda a: [np.int16(v) for v in a]):
        SCALE(lambda x, factor, form=form: form(x * factor), also=[(np.array([7]), 3)])
    message = _message(lambda x, factor: x * min(factor, 10), also=[(np.array([7]), 30)])
    assert "each is x times factor" in message
    with pytest.raises(ValueError, match="also: .* has no single clear answer"):
        replace(SCALE, valid=lambda x, factor: factor < 10)(lambda x, factor: x * factor, also=[(np.array([7]), 30)])


def test_messages_are_the_same_each_time():
    assert _message(lambda x, factor: x - factor) == _message(lambda x, factor: x - factor)


def test_another_seed_tries_other_inputs():
    seen = {}
    for seed in (0, 1):
        seen[seed] = []
        SCALE(lambda x, factor, to=seen[seed]: to.append(x.copy()) or x * factor, seed=seed)
    assert any(not np.array_equal(a, b) for a, b in zip(seen[0], seen[1]))


def test_notebook_shows_the_message_alone():
    error = CheckFailed("✗ no")
    assert error._render_traceback_() == ["\x1b[31m✗ no\x1b[0m"]
    assert isinstance(error, AssertionError)


def test_shrinking_keeps_coupled_axes_together():
    w, s = np.arange(12.0).reshape(4, 3) * 7.3, np.arange(1, 5.0)[:, None]

    def broken_by(arguments):
        a, b = arguments
        assert a.shape[0] == b.shape[0]
        return "still" if (a >= 50).any() else None

    (a, b), problem = shrink((w, s), {"w": "mn", "s": "m1"}, (), broken_by, "first")
    assert problem == "still"
    assert a.shape == (1, 1) and b.shape == (1, 1) and a[0, 0] >= 50


def test_shrinking_leaves_fixed_arguments_and_dtypes_alone():
    def broken_by(arguments):
        assert arguments[0].dtype == np.uint8
        return "still" if arguments[0].sum() >= 9 else None

    (x, bits), _ = shrink((np.array([200, 3, 1], np.uint8), 8), {"x": "n", "bits": ""}, ("bits",), broken_by, "first")
    assert bits == 8 and x.size == 1 and x[0] >= 9


def test_as_array_takes_lists_bytes_numbers_and_tensors():
    torch = pytest.importorskip("torch")
    assert as_array([1, 2]).tolist() == [1, 2]
    assert as_array(b"\x01\xff").tolist() == [1, 255]
    assert as_array(np.float32(2)).shape == ()
    assert as_array(torch.ones(2, requires_grad=True)).tolist() == [1, 1]
    assert as_array(torch.ones(2, dtype=torch.bfloat16)).tolist() == [1, 1]
    assert as_array(list(torch.arange(3))).tolist() == [0, 1, 2]
    assert as_array(torch.tensor([2**62 + 1])).tolist() == [2**62 + 1], "whole numbers stay as they are"
    assert as_array([2**127, Fraction(1, 2)]).tolist() == [2.0**127, 0.5]
    assert as_array(memoryview(b"\x01")).tolist() == [1]
    assert as_array(np.array([3, -(2**40)], object)).dtype == np.int64
    assert as_array([Decimal("0.5"), 2]).tolist() == [0.5, 2]
    with pytest.raises(CheckFailed, match="array of numbers"):
        as_array([[1], [1, 2]])


def test_as_pair_wants_two_single_numbers():
    assert as_pair((1.5, np.array([2])))[1] == 2
    assert as_pair(np.array([1.5, 2.5]))[1] == 2.5
    for answer in (1.0, (1, 2, 3), "ab", ([1, 2], 3)):
        with pytest.raises(CheckFailed):
            as_pair(answer)


def test_check_does_not_import_torch():
    import subprocess
    import sys

    code = "import sys, course_lib as cl; cl.check.lab04; assert not {'torch', 'ipywidgets'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", code], check=True)
