"""The grader graded: what the checks of every lab must stand.

A lab's test file collects its right and wrong answers in an `Answers`, and hands it to the trial:

    ANSWERS = Answers(lab03)
    right, wrong = ANSWERS.right, ANSWERS.wrong

    @wrong(lab03.sqnr_db, "20 stands for 10")     # what the message must say
    def sqnr_twenty(x, x_hat): ...

    ANSWERS.bank(lab03.sqnr_db, right={"sqnr_mean": lambda x, x_hat: ...},
                 wrong={"sqnr_twenty": (lambda x, x_hat: ..., "20 stands for 10"),
                        "sqnr_halved": (lambda x, x_hat: ..., "in decibels", "a mean in place of a sum")})

    class TestTrial(Trial):
        answers = ANSWERS

A message may end in a diagnosis, "It looks as if ...". It is true of a wrong answer if it holds the words that the bank
wants said, or those that stand third: a diagnosis that may be named, and need not be. Any other diagnosis is false, and
of fifty less than one may be.
"""

import ast
import functools
import json
from pathlib import Path

import numpy as np
import pytest

import course
from course_lib.check import CheckFailed

SOLUTIONS = Path(course.__file__).parent / "solutions"


class Answers:
    """Answers to the tasks of a lab: the right ones, and the wrong ones with what must be said about them.

    `given()` returns names that the lab's own cells have made before the graded ones, such as a layer's weights.
    """

    def __init__(self, lab, given=dict):
        self.lab, self.given = lab, given
        self.accepted = {task: [] for task in lab.TASKS}
        self.refused = {task: [] for task in lab.TASKS}

    def right(self, task):
        return lambda function: self.accepted[task].append(function) or function

    def wrong(self, task, said, looks=""):
        return lambda function: self.refused[task].append((function, said, looks)) or function

    def bank(self, task, *, right=None, wrong=None):
        """Many short ones: name -> function, and name -> (function, said) or (function, said, looks)."""
        for name, function in (right or {}).items():
            self.right(task)(_named(function, name))
        for name, (function, *words) in (wrong or {}).items():
            self.wrong(task, *words)(_named(function, name))


def _named(function, name):
    function.__name__ = name
    return function


class Trial:
    """Every right answer is accepted and keeps its points, every wrong one refused in words, and so is every stub."""

    answers: Answers

    def pytest_generate_tests(self, metafunc):
        names, answers = metafunc.fixturenames, self.answers
        if "right_one" in names:
            cases = [pytest.param(task, function, id=function.__name__)
                     for task, functions in answers.accepted.items() for function in functions]
            metafunc.parametrize(("task", "right_one"), cases)
        elif "wrong_one" in names:
            cases = [pytest.param(task, function, said, id=function.__name__)
                     for task, entries in answers.refused.items() for function, said, _ in entries]
            metafunc.parametrize(("task", "wrong_one", "said"), cases)
        elif "task" in names:
            metafunc.parametrize("task", answers.lab.TASKS, ids=lambda task: task.title)

    def test_right_answers_are_accepted(self, task, right_one, capsys):
        """With other inputs, too, than those of a student's check, which the graded cell below calls."""
        for seed in (1, 2):
            task(right_one, seed=seed)
        assert capsys.readouterr().out.count("passed. Tried") == 2

    def test_right_answers_keep_their_points(self, task, right_one):
        """The graded cell of the lab, its hidden tests too, with this answer in place of the student's."""
        graded_cell(self.answers, task, right_one)

    def test_hidden_tests_use_no_other_answer_of_the_student_s(self, task):
        """Or a mistake would cost the points of two tasks."""
        used = {node.id for node in ast.walk(ast.parse(source_of(self.answers.lab, f"check_{task.name}")))
                if isinstance(node, ast.Name)}
        assert used & {other.name for other in self.answers.lab.TASKS} == {task.name}

    def test_each_task_builds_on_all_before_it(self, task):
        """A student may call any of them, and a mistake in one costs the points of that one alone."""
        tasks = self.answers.lab.TASKS
        assert [earlier.name for earlier in task.builds_on] == [one.name for one in tasks[: tasks.index(task)]]

    def test_wrong_answers_are_refused_in_words(self, task, wrong_one, said):
        message = refusal(task, wrong_one)
        assert said in message, message
        assert message.startswith(f"✗ {task.title}") and "Smallest input found" in message
        assert len(message) < 3000, "too long to read"

    def test_hardly_a_diagnosis_is_false(self):
        """Less than one in fifty; the message of a failure lists them."""
        named, false = 0, []
        for task, entries in self.answers.refused.items():
            for function, said, looks in entries:
                diagnosis = diagnosed(task, function)
                if diagnosis:
                    named += 1
                    if not any(words and words in diagnosis for words in (said, looks)):
                        false.append(f"{task.name}, {function.__name__}: {diagnosis}")
        assert named and len(false) < named / 50, f"{len(false)} of {named}\n" + "\n".join(false)

    def test_every_usual_mistake_is_named_for_itself(self, task):
        """A suspect is a wrong answer, and a diagnosis that its own function does not get could never be made."""
        for suspect in task.suspects:
            assert suspect.words in diagnosed(task, lambda *arguments, f=suspect.function: f(*arguments))

    def test_stubs_are_refused(self, task):
        def stub(*arguments):
            raise NotImplementedError("Task")

        with pytest.raises(NotImplementedError, match="is not written yet"):
            task(stub)
        for nothing in (lambda *a: None, lambda *a: ..., lambda *a: a[0], lambda *a: 0, lambda *a: (1.0, 0)):
            refusal(task, nothing)

    def test_the_answer_of_an_earlier_run_is_refused(self, task):
        """A value kept in a notebook from an earlier, right run is no answer to other inputs."""
        earlier = task.expected(*next(iter(task.inputs(np.random.default_rng(0)))))
        refusal(task, lambda *arguments: earlier)

    def test_there_are_enough_of_each(self):
        tasks = self.answers.lab.TASKS
        assert all(len(self.answers.accepted[task]) >= 3 for task in tasks)
        assert all(len(self.answers.refused[task]) >= 5 for task in tasks)
        assert [task.title.split(" · ")[0] for task in tasks] == [f"Task {n}" for n in range(1, len(tasks) + 1)]


@functools.cache
def refusal(task, function):
    """The message with which a check refuses an answer; it must refuse it."""
    with pytest.raises(CheckFailed) as caught:
        task(function)
    return str(caught.value)


def shown_input(task, function, shown):
    """The line of a refusal that shows an argument, `x = [`: to see that a counterexample can be worked by hand."""
    return next(line for line in refusal(task, function).splitlines() if shown in line)


def diagnosed(task, function):
    """What a refusal says after "It looks as if", or an empty text."""
    return refusal(task, function).partition("It looks as if ")[2]


@functools.cache
def solution(lab):
    """The cells of a lab as its teacher has it."""
    name = lab.__name__.split(".")[-1]
    path, = SOLUTIONS.glob(f"{name}_*/{name}_*.ipynb")
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def source_of(lab, grade_id):
    """The source of a graded cell, hidden tests included."""
    cell, = (cell for cell in solution(lab) if cell["metadata"].get("nbgrader", {}).get("grade_id") == grade_id)
    return "".join(cell["source"])


def graded_cell(answers, task, function):
    """Run the graded cell of a task with this function for an answer; it stops with an error if points are lost."""
    import math

    import course_lib as cl

    space = {"np": np, "math": math, "cl": cl, **answers.given(), task.name: function}
    exec(compile(source_of(answers.lab, f"check_{task.name}"), f"check_{task.name}", "exec"), space)
