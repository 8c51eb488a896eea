"""The grader graded: what the checks of every lab must stand.

A lab's test file collects its right and wrong answers in an `Answers`, and hands it to the trial:

    ANSWERS = Answers(lab03)
    right, wrong = ANSWERS.right, ANSWERS.wrong

    @wrong(lab03.sqnr_db, "20 stands for 10")     # what the message must say
    def sqnr_twenty(x, x_hat): ...

    class TestTrial(Trial):
        answers = ANSWERS
"""

import numpy as np
import pytest

from course_lib.check import CheckFailed


class Answers:
    """Answers to the tasks of a lab: the right ones, and the wrong ones with what must be said about them."""

    def __init__(self, lab):
        self.lab = lab
        self.accepted = {task: [] for task in lab.TASKS}
        self.refused = {task: [] for task in lab.TASKS}

    def right(self, task):
        return lambda function: self.accepted[task].append(function) or function

    def wrong(self, task, said):
        return lambda function: self.refused[task].append((function, said)) or function


class Trial:
    """Every right answer is accepted, every wrong one refused in words, and so is every stub."""

    answers: Answers

    def pytest_generate_tests(self, metafunc):
        names, answers = metafunc.fixturenames, self.answers
        if "right_one" in names:
            cases = [pytest.param(task, function, id=function.__name__)
                     for task, functions in answers.accepted.items() for function in functions]
            metafunc.parametrize(("task", "right_one"), cases)
        elif "wrong_one" in names:
            cases = [pytest.param(task, function, said, id=function.__name__)
                     for task, entries in answers.refused.items() for function, said in entries]
            metafunc.parametrize(("task", "wrong_one", "said"), cases)
        elif "task" in names:
            metafunc.parametrize("task", answers.lab.TASKS, ids=lambda task: task.title)

    def test_right_answers_are_accepted(self, task, right_one, capsys):
        for seed in range(3):
            task(right_one, seed=seed)
        assert capsys.readouterr().out.count("passed. Tried") == 3

    def test_wrong_answers_are_refused_in_words(self, task, wrong_one, said):
        message = refusal(task, wrong_one)
        assert said in message, message
        assert message.startswith(f"✗ {task.title}") and "Smallest input found" in message
        assert len(message) < 3000, "too long to read"

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


def refusal(task, function):
    """The message with which a check refuses an answer; it must refuse it."""
    with pytest.raises(CheckFailed) as caught:
        task(function)
    return str(caught.value)


def shown_input(task, function, shown):
    """The line of a refusal that shows an argument, `x = [`: to see that a counterexample can be worked by hand."""
    return next(line for line in refusal(task, function).splitlines() if shown in line)
