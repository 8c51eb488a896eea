"""Accuracy, bytes, time and the table they are printed in."""

import gc
import itertools
import math

import numpy as np
import pytest

from course_lib import measure

# Accuracy


def test_accuracy_and_its_standard_error():
    got = measure.accuracy(np.r_[np.zeros(984), np.ones(16)].astype(int), np.zeros(1000, np.uint8))
    assert got == pytest.approx((0.984, math.sqrt(0.984 * 0.016 / 1000), 1000))
    assert str(got) == "98.4 % ± 0.4"


def test_the_standard_error_is_the_spread_over_test_sets():
    rng = np.random.default_rng(0)
    draws = [measure.accuracy((rng.random(400) < 0.9).astype(int), np.ones(400, int)) for _ in range(2000)]
    spread = np.std([draw.value for draw in draws])
    assert spread == pytest.approx(math.sqrt(0.9 * 0.1 / 400), rel=0.1)
    assert np.mean([draw.stderr for draw in draws]) == pytest.approx(spread, rel=0.1)


@pytest.mark.parametrize("right", [True, False])
def test_all_right_or_all_wrong_has_no_spread(right):
    assert measure.accuracy([1, 2], [1, 2] if right else [2, 1]) == (float(right), 0.0, 2)


@pytest.mark.parametrize(
    ("predicted", "labels", "message"),
    [
        ([], [], "predicted is empty"),
        ([1, 2], [1], r"predicted has shape \(2,\) and labels \(1,\)"),
        (np.zeros((3, 10)), np.zeros(3, int), "argmax"),
        ([0.5, 1.0], [0, 1], "predicted is float64"),
        ([0, 1], [math.nan, 1], "labels is float64"),
        (3, 3, r"shape \(\)"),
    ],
)
def test_accuracy_refuses_what_is_not_classes(predicted, labels, message):
    with pytest.raises(ValueError, match=message):
        measure.accuracy(predicted, labels)


# Two networks on the same examples


def test_paired_difference_counts_where_one_alone_is_right():
    right_a = np.repeat([True, True, False, False], [90, 4, 1, 5])
    right_b = np.repeat([True, False, True, False], [90, 4, 1, 5])
    got = measure.paired_difference(right_a, right_b)
    assert got == pytest.approx((0.03, math.sqrt(5 - 9 / 100) / 100, 4, 1))
    assert str(got) == "+3.00 ± 2.22 points"
    assert measure.paired_difference(right_b, right_a) == pytest.approx((-0.03, got.standard_error, 1, 4))


def test_paired_difference_is_the_mean_of_the_differences_with_its_error():
    rng = np.random.default_rng(0)
    for n in (1, 2, 50, 1000):
        a, b = rng.random((2, n)) < 0.7
        each = a.astype(int) - b
        assert measure.paired_difference(a, b)[:2] == pytest.approx((each.mean(), each.std() / math.sqrt(n)))


def test_the_paired_error_is_the_spread_over_test_sets():
    """Two networks that nearly agree: the errors of their accuracies, taken for independent, are far too wide."""
    rng, draws, apart = np.random.default_rng(0), [], []
    for _ in range(2000):
        a = rng.random(400) < 0.9
        b = a ^ (rng.random(400) < 0.02)
        draws.append(measure.paired_difference(a, b))
        apart.append(math.hypot(*(measure.accuracy(right.astype(int), np.ones(400, int)).stderr for right in (a, b))))
    spread = np.std([draw.difference for draw in draws])
    assert np.mean([draw.standard_error for draw in draws]) == pytest.approx(spread, rel=0.1)
    assert np.mean(apart) > 2.5 * spread


@pytest.mark.parametrize(
    ("right_a", "right_b", "expected"),
    [
        ([True, False], [True, False], (0, 0, 0, 0)),
        ([True, True], [False, False], (1, 0, 2, 0)),
        ([False], [True], (-1, 0, 0, 1)),
        ([True] * 3, [False, True, True], (1 / 3, math.sqrt(1 - 1 / 3) / 3, 1, 0)),
    ],
)
def test_paired_difference_at_its_ends(right_a, right_b, expected):
    assert measure.paired_difference(right_a, right_b) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("right_a", "right_b", "message"),
    [
        ([], [], "right_a is empty"),
        ([True, False], [True], r"right_a has shape \(2,\) and right_b \(1,\)"),
        (np.ones((2, 2), bool), np.ones((2, 2), bool), r"\(n,\)"),
        (True, True, r"shape \(\)"),
        (np.array([1, 0], np.int8), [True, False], "right_a is int8; it should be bool, .*predicted == labels"),
        ([True, False], [0.5, 1.0], "right_b is float64"),
    ],
)
def test_paired_difference_refuses_what_is_not_right_or_wrong(right_a, right_b, message):
    with pytest.raises(ValueError, match=message):
        measure.paired_difference(right_a, right_b)


# Bytes


def test_file_bytes(tmp_path):
    path = tmp_path / "model"
    path.write_bytes(b"12345")
    assert measure.file_bytes(path) == measure.file_bytes(str(path)) == 5
    path.write_bytes(b"")
    assert measure.file_bytes(path) == 0
    for wrong in (tmp_path, tmp_path / "missing"):
        with pytest.raises(FileNotFoundError, match="path is .*a file that exists"):
            measure.file_bytes(wrong)


# Time: on a clock that the test turns, so that nothing depends on the machine


class Clock:
    """``perf_counter`` for the test; ``call(seconds)`` makes a callable that takes that long, in turn."""

    def __init__(self, monkeypatch):
        self.now, self.order = 0.0, []
        monkeypatch.setattr(measure, "perf_counter", lambda: self.now)

    def call(self, name, *seconds):
        durations = itertools.cycle(seconds)

        def run():
            self.order.append(name)
            self.now += next(durations)

        return run


def test_median_and_interquartile_range(monkeypatch):
    clock = Clock(monkeypatch)
    got = measure.compare({"a": clock.call("a", 1.0, 2.0, 3.0, 4.0, 100.0)}, repeats=5, budget_s=1e9, warmup=5)["a"]
    assert got.repeats == 5
    assert got.median_s == pytest.approx(3.0)
    assert got.spread_s == pytest.approx(2.0)  # from 2 to 4: one slow call moves neither
    assert str(got) == "3 s ± 2 s"


def test_callables_take_turns_and_the_order_turns_too(monkeypatch):
    clock = Clock(monkeypatch)
    measure.compare({name: clock.call(name, 0.01) for name in "abc"}, repeats=4, warmup=2)
    assert "".join(clock.order) == "aabbcc" + "abc" + "bca" + "cab" + "abc"


def test_short_calls_are_repeated_for_a_millisecond(monkeypatch):
    clock = Clock(monkeypatch)
    got = measure.compare({"short": clock.call("s", 1e-4), "shorter": clock.call("t", 1e-9)}, repeats=3, warmup=1)
    assert clock.order.count("s") == 1 + 3 * 10
    assert clock.order.count("t") == 1 + 3 * 1000
    assert got["short"].median_s == pytest.approx(1e-4) and got["shorter"].median_s == pytest.approx(1e-9)


def test_the_budget_ends_the_rounds_but_not_before_the_third(monkeypatch):
    clock = Clock(monkeypatch)
    calls = {"a": clock.call("a", 0.5), "b": clock.call("b", 0.5)}
    assert measure.compare(calls, repeats=100, budget_s=7.5, warmup=1)["b"].repeats == 8
    assert measure.compare(calls, repeats=100, budget_s=0.1, warmup=1)["b"].repeats == 3
    assert measure.compare(calls, repeats=2, budget_s=0.1, warmup=1)["b"].repeats == 2


def test_garbage_collection_waits_and_comes_back():
    seen = []

    def fail():
        seen.append(gc.isenabled())
        raise RuntimeError

    assert gc.isenabled()
    with pytest.raises(RuntimeError):
        measure.compare({"fail": fail})
    assert seen == [False] and gc.isenabled()


def test_a_real_clock_sees_who_is_slower():
    a, b = np.ones(1_000), np.ones(1_000_000)
    got = measure.compare({"short": a.sum, "long": b.sum}, repeats=9, budget_s=0.5)
    assert got["long"].median_s > 3 * got["short"].median_s > 0  # a thousand times the work


@pytest.mark.parametrize(
    ("calls", "wrong", "message"),
    [
        ({}, {}, "calls is empty"),
        ({"a": int}, {"repeats": 0}, "repeats is 0"),
        ({"a": int}, {"warmup": 0}, "warmup is 0"),
        ({"a": int}, {"budget_s": 0}, "budget_s is 0"),
        ({"a": int}, {"budget_s": math.nan}, "budget_s is nan"),
    ],
)
def test_compare_names_the_wrong_argument(calls, wrong, message):
    with pytest.raises(ValueError, match=message):
        measure.compare(calls, **wrong)


# Printing


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1.62e-5, "16.2 µs"), (4.713e-3, "4.71 ms"), (2.3, "2.3 s"), (123.4, "123 s"), (5e-8, "50 ns"),
     (2e-12, "0.002 ns"), (0, "0 ns")],  # fmt: skip
)
def test_time_text(seconds, text):
    assert measure.time_text(seconds) == text


def test_table():
    printed = measure.table([["float32", 1070.1, "a"], ["int8", 271, "bcd"]], headers=["model", "kB", "note"])
    assert printed.splitlines() == [
        "model        kB  note",
        "float32  1070.1  a",
        "int8        271  bcd",
    ]
    assert measure.table([], headers=["a", "b"]) == "a  b"
    with pytest.raises(ValueError, match="2 cells and headers 1"):
        measure.table([[1, 2]], headers=["a"])
