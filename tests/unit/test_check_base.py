"""The runner that all checks share: what it refuses whatever the task, how it shrinks, how it speaks."""

import numpy as np
import pytest

from course_lib.check.base import CheckFailed, Property, Suspect, Task, as_array, as_pair, equal, same_shape
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


def test_warnings_and_prints_of_the_student_do_not_disturb(capsys):
    def noisy(x, factor):
        print("debugging")
        np.ones(1) / np.zeros(1)
        return x * factor

    SCALE(noisy)
    assert "debugging" not in capsys.readouterr().out


def test_a_usual_mistake_is_named_and_the_input_is_small():
    message = _message(lambda x, factor: x + factor)
    assert "It looks as if the factor is added." in message
    assert "x = [0]" in message and "factor = 1" in message
    assert "Your answer:  [1]" in message and "Right answer: [0]" in message


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
