"""The grader graded: every check of lab02 refuses the stub and the wrong answers that students write, and accepts
right answers written in different ways. `said` is what the message must tell the student."""

import math

import numpy as np
import pytest
from course_lib.check import CheckFailed, lab02

RIGHT = {task: [] for task in lab02.TASKS}
WRONG = {task: [] for task in lab02.TASKS}


def right(task):
    return lambda function: RIGHT[task].append(function) or function


def wrong(task, said):
    return lambda function: WRONG[task].append((function, said)) or function


def wrong_one(task, said, function, name):
    function.__name__ = name
    WRONG[task].append((function, said))


# ------------------------------------------------------------------------------------------------------ 1 to_nearest


@right(lab02.to_nearest)
def nearest_rint(x):
    return np.rint(x)


@right(lab02.to_nearest)
def nearest_python(x):
    return [float(round(float(v))) for v in x]


@right(lab02.to_nearest)
def nearest_by_hand(x):
    below = np.floor(x)
    f = x - below
    up = (f > 0.5) | ((f == 0.5) & (below % 2 == 1))
    return below + up


@right(lab02.to_nearest)
def nearest_torch(x):
    return pytest.importorskip("torch").from_numpy(x).round()


wrong_one(lab02.to_nearest, "every tie goes up", lambda x: np.floor(x + 0.5), "nearest_half_up")
wrong_one(lab02.to_nearest, "every tie goes down", lambda x: np.ceil(x - 0.5), "nearest_half_down")
wrong_one(lab02.to_nearest, "away from zero", lambda x: np.copysign(np.floor(abs(x) + 0.5), x), "nearest_half_away")
wrong_one(lab02.to_nearest, "wrong below zero", lambda x: (x + 0.5).astype(int), "nearest_cast")
wrong_one(lab02.to_nearest, "was cut off", lambda x: x.astype(int), "nearest_truncated")
wrong_one(lab02.to_nearest, "whole number", lambda x: x, "nearest_unchanged")
wrong_one(lab02.to_nearest, "one answer for each number", lambda x: np.rint(x)[:1], "nearest_first_alone")
wrong_one(lab02.to_nearest, "", lambda x: np.array([2, 2, 2, 3, 2, -3.0]), "nearest_example_by_heart")


@wrong(lab02.to_nearest, "leave its arguments")
def nearest_in_place(x):
    x[:] = np.rint(x)
    return x


# -------------------------------------------------------------------------------------------------------- 2 directed


@right(lab02.directed)
def directed_numpy(x, mode):
    return np.floor(x) if mode == "down" else np.ceil(x)


@right(lab02.directed)
def directed_loop(x, mode):
    return [float(math.floor(v) if mode == "down" else math.ceil(v)) for v in x]


@right(lab02.directed)
def directed_by_turning(x, mode):
    sign = 1 if mode == "down" else -1
    return sign * np.floor(sign * x)


@right(lab02.directed)
def directed_from_the_cut(x, mode):
    cut = np.trunc(x)
    return cut - (x < cut) if mode == "down" else cut + (x > cut)


wrong_one(lab02.directed, "toward zero", lambda x, mode: np.trunc(x) if mode == "down" else np.ceil(x), "directed_cut")
wrong_one(lab02.directed, "must not move", lambda x, mode: np.floor(x) + (mode == "up"), "directed_plus_one")
wrong_one(lab02.directed, "must not move", lambda x, mode: np.ceil(x) - (mode == "down"), "directed_minus_one")
wrong_one(lab02.directed, "exchanged",
          lambda x, mode: np.ceil(x) if mode == "down" else np.floor(x), "directed_exchanged")
wrong_one(lab02.directed, "not used", lambda x, mode: np.floor(x), "directed_always_down")
wrong_one(lab02.directed, "not used", lambda x, mode: np.ceil(x), "directed_always_up")
wrong_one(lab02.directed, "away from zero",
          lambda x, mode: np.floor(x) if mode == "down" else np.sign(x) * np.ceil(abs(x)), "directed_away")
wrong_one(lab02.directed, "returned None", lambda x, mode: np.floor(x) if mode == "down" else None, "directed_half_done")


# ------------------------------------------------------------------------------------------------------ 3 stochastic


@right(lab02.stochastic)
def stochastic_floor(x, u):
    return np.floor(x) + (u < x - np.floor(x))


@right(lab02.stochastic)
def stochastic_where(x, u):
    below = np.floor(x)
    return np.where(u < x - below, below + 1, below)


@right(lab02.stochastic)
def stochastic_loop(x, u):
    answers = []
    for v, coin in zip(x, u):
        n = math.floor(v)
        answers.append(n + 1 if coin < v - n else n)
    return answers


@right(lab02.stochastic)
def stochastic_ceil_of_the_difference(x, u):
    return np.ceil(x - u)


wrong_one(lab02.stochastic, "probability 1 − f", lambda x, u: np.floor(x) + (u > x - np.floor(x)), "stochastic_turned")
wrong_one(lab02.stochastic, "fair coin", lambda x, u: np.floor(x) + (u < 0.5), "stochastic_fair_coin")
wrong_one(lab02.stochastic, "u < f", lambda x, u: np.floor(x) + (u >= 1 - (x - np.floor(x))), "stochastic_other_end")
wrong_one(lab02.stochastic, "below zero", lambda x, u: np.trunc(x) + (u < x - np.trunc(x)), "stochastic_cut")
wrong_one(lab02.stochastic, "below zero", lambda x, u: np.trunc(x) + (u < np.modf(x)[0]), "stochastic_modf")
wrong_one(lab02.stochastic, "u is not used", lambda x, u: np.rint(x), "stochastic_nearest")
wrong_one(lab02.stochastic, "", lambda x, u: np.floor(x + u) + 1, "stochastic_one_too_many")
wrong_one(lab02.stochastic, "u < f",
          lambda x, u: np.floor(x) + (np.random.random(x.size) < x - np.floor(x)) * (u >= 0), "stochastic_own_coins")


# --------------------------------------------------------------------------------------------- 4 standard_errors_off


@right(lab02.standard_errors_off)
def off_numpy(draws, x):
    f = x - np.floor(x)
    return (draws.mean() - x) / np.sqrt(f * (1 - f) / draws.size)


@right(lab02.standard_errors_off)
def off_plain(draws, x):
    f = x % 1
    return (sum(draws) / len(draws) - x) * math.sqrt(len(draws)) / math.sqrt(f * (1 - f))


@right(lab02.standard_errors_off)
def off_by_counting(draws, x):
    """As a count of those that went up: binomial."""
    n, f = len(draws), x - math.floor(x)
    up = np.sum(draws - math.floor(x))
    return np.array([(up - n * f) / math.sqrt(n * f * (1 - f))])


wrong_one(lab02.standard_errors_off, "not divided", lambda d, x: d.mean() - x, "off_undivided")
wrong_one(lab02.standard_errors_off, "√N times less",
          lambda d, x: (d.mean() - x) / np.sqrt((x % 1) * (1 - x % 1)), "off_one_draw")
wrong_one(lab02.standard_errors_off, "square root is missing",
          lambda d, x: (d.mean() - x) / ((x % 1) * (1 - x % 1) / d.size), "off_no_root")
wrong_one(lab02.standard_errors_off, "outside the square root",
          lambda d, x: (d.mean() - x) / (np.sqrt((x % 1) * (1 - x % 1)) / d.size), "off_n_outside")
wrong_one(lab02.standard_errors_off, "sign is turned", lambda d, x: -off_numpy(d, x), "off_turned")
wrong_one(lab02.standard_errors_off, "sign was dropped", lambda d, x: abs(off_numpy(d, x)), "off_magnitude")
wrong_one(lab02.standard_errors_off, "estimated from the draws",
          lambda d, x: (d.mean() - x) / (d.std() / np.sqrt(d.size)), "off_estimated")
wrong_one(lab02.standard_errors_off, "estimated from the draws",
          lambda d, x: (d.mean() - x) / (d.std(ddof=1) / np.sqrt(d.size)), "off_estimated_too")
wrong_one(lab02.standard_errors_off, "a single number", lambda d, x: (d - x) / np.sqrt((x % 1) * (1 - x % 1)), "off_each")
wrong_one(lab02.standard_errors_off, "", lambda d, x: 0.21821789, "off_by_heart")


# ------------------------------------------------------------------------------------------------------------ 5 gaps


@right(lab02.gaps)
def gaps_log(x, m):
    return 2.0 ** (np.floor(np.log2(x)) - m)


@right(lab02.gaps)
def gaps_frexp(x, m):
    return np.ldexp(1.0, np.frexp(x)[1] - 1 - m)


@right(lab02.gaps)
def gaps_loop(x, m):
    answers = []
    for v in x:
        e = 0
        while 2.0**e > v:
            e -= 1
        while 2.0 ** (e + 1) <= v:
            e += 1
        answers.append(2.0 ** (e - m))
    return answers


@right(lab02.gaps)
def gaps_spacing(x, m):
    return np.spacing(x) * 2.0 ** (52 - m)


wrong_one(lab02.gaps, "one more than e", lambda x, m: 2.0 ** (np.frexp(x)[1] - m), "gaps_frexp_off_by_one")
wrong_one(lab02.gaps, "rounded to the nearest", lambda x, m: 2.0 ** (np.rint(np.log2(x)) - m), "gaps_rint")
wrong_one(lab02.gaps, "rounded up", lambda x, m: 2.0 ** (np.ceil(np.log2(x)) - m), "gaps_ceil")
wrong_one(lab02.gaps, "not rounded down", lambda x, m: x * 2.0**-m, "gaps_no_floor")
wrong_one(lab02.gaps, "not subtracted", lambda x, m: 2.0 ** (np.floor(np.log2(x)) + m), "gaps_plus")
wrong_one(lab02.gaps, "natural one", lambda x, m: 2.0 ** (np.floor(np.log(x)) - m), "gaps_natural")
wrong_one(lab02.gaps, "does not depend on x", lambda x, m: np.full(x.shape, 2.0**-m), "gaps_constant")
wrong_one(lab02.gaps, "2^(e − m)", lambda x, m: 2.0 ** (np.trunc(np.log2(x)) - m), "gaps_toward_zero")


# --------------------------------------------------------------------------------------------------------- 6 descent


@right(lab02.descent)
def descent_list(x0, lr, steps, store):
    x, lr = store(x0), store(lr)
    path = [x]
    for _ in range(steps):
        x = store(x - store(lr * store(2 * (x - 1024))))
        path.append(x)
    return np.array(path)


@right(lab02.descent)
def descent_array(x0, lr, steps, store):
    path = np.zeros(steps + 1)
    path[0], lr = store(x0), store(lr)
    for k in range(steps):
        slope = store(2 * path[k] - 2048)
        path[k + 1] = store(path[k] - store(slope * lr))
    return path


@right(lab02.descent)
def descent_uphill_of_the_negative(x0, lr, steps, store):
    path, lr = [float(store(x0))], float(store(lr))
    while len(path) <= steps:
        path.append(float(store(path[-1] + store(lr * store(2 * (1024 - path[-1]))))))
    return path


def descends(rate=True, start=True, slope=True, move=True, last=True, sign=1, factor=2, entries=0):
    def put(store, x, wanted):
        return store(x) if wanted else np.asarray(x, float)

    def function(x0, lr, steps, store):
        x, lr = put(store, x0, start), put(store, lr, rate)
        path = [x]
        for _ in range(steps + entries):
            x = put(store, x - sign * put(store, lr * put(store, factor * (x - 1024), slope), move), last)
            path.append(x)
        return np.array(path)

    return function


wrong_one(lab02.descent, "learning rate was not stored", descends(rate=False), "descent_rate")
wrong_one(lab02.descent, "begins with the stored x0", descends(start=False), "descent_start")
wrong_one(lab02.descent, "slope was not stored", descends(slope=False), "descent_slope")
wrong_one(lab02.descent, "move was not stored", descends(move=False), "descent_move")
wrong_one(lab02.descent, "only the new x", descends(slope=False, move=False), "descent_only_x")
wrong_one(lab02.descent, "has been stored", descends(last=False), "descent_x")
wrong_one(lab02.descent, "stored", descends(False, False, False, False, False), "descent_nothing_stored")
wrong_one(lab02.descent, "uphill", descends(sign=-1), "descent_uphill")
wrong_one(lab02.descent, "factor 2", descends(factor=1), "descent_half_slope")
wrong_one(lab02.descent, "steps + 1 entries", descends(entries=-1), "descent_one_short")
wrong_one(lab02.descent, "steps + 1 entries", lambda *a: descends()(*a)[-1:], "descent_end_alone")


# ----------------------------------------------------------------------------------------------------------- 7 stuck


@right(lab02.stuck)
def stuck_numpy(x, lr, gap):
    return lr * np.abs(2 * (x - 1024)) < gap / 2


@right(lab02.stuck)
def stuck_distance(x, lr, gap):
    return np.abs(x - 1024) < gap / (4 * lr)


@right(lab02.stuck)
def stuck_loop(x, lr, gap):
    return [bool(-g < 4 * lr * (v - 1024) < g) for v, g in zip(x, gap)]


@right(lab02.stuck)
def stuck_by_rounding(x, lr, gap):
    return np.rint(lr * 2 * (x - 1024) / gap) == 0


wrong_one(lab02.stuck, "not with half of it", lambda x, lr, g: lr * abs(2 * (x - 1024)) < g, "stuck_whole_gap")
wrong_one(lab02.stuck, "turned round", lambda x, lr, g: lr * abs(2 * (x - 1024)) > g / 2, "stuck_turned")
wrong_one(lab02.stuck, "sign of the slope", lambda x, lr, g: lr * 2 * (x - 1024) < g / 2, "stuck_signed")
wrong_one(lab02.stuck, "above 1024", lambda x, lr, g: lr * 2 * (1024 - x) < g / 2, "stuck_signed_the_other_way")
wrong_one(lab02.stuck, "learning rate is missing", lambda x, lr, g: abs(2 * (x - 1024)) < g / 2, "stuck_no_rate")
wrong_one(lab02.stuck, "not the step", lambda x, lr, g: abs(x - 1024) < g / 2, "stuck_distance_alone")
wrong_one(lab02.stuck, "the update that vanishes", lambda x, lr, g: x == 1024, "stuck_at_the_minimum")
wrong_one(lab02.stuck, "True or False", lambda x, lr, g: lr * abs(2 * (x - 1024)), "stuck_steps")


# ------------------------------------------------------------------------------------------------------------ all of them


def stub(*arguments):
    raise NotImplementedError


def listed(table):
    return [pytest.param(task, *(entry if isinstance(entry, tuple) else (entry,)),
                         id=(entry[0] if isinstance(entry, tuple) else entry).__name__)
            for task, entries in table.items() for entry in entries]  # fmt: skip


@pytest.mark.parametrize("task, function", listed(RIGHT))
@pytest.mark.parametrize("seed", [0, 1])
def test_accepts_what_is_right(task, function, seed, capsys):
    task(function, seed=seed)
    assert f"✓ {task.title}: passed" in capsys.readouterr().out


@pytest.mark.parametrize("task, function, said", listed(WRONG))
@pytest.mark.parametrize("seed", [0, 1])
def test_refuses_what_is_wrong_and_says_why(task, function, said, seed, capsys):
    with pytest.raises(CheckFailed) as failure:
        task(function, seed=seed)
    assert said in str(failure.value), str(failure.value)
    assert "✓" not in capsys.readouterr().out


@pytest.mark.parametrize("task", lab02.TASKS, ids=lambda task: task.title)
def test_a_stub_is_not_written_yet(task):
    with pytest.raises(NotImplementedError, match="not written yet"):
        task(stub)


@pytest.mark.parametrize("task", lab02.TASKS, ids=lambda task: task.title)
def test_has_at_least_three_right_answers_and_five_wrong_ones(task):
    assert len(RIGHT[task]) >= 3 and len(WRONG[task]) >= 5


@pytest.mark.parametrize("task", lab02.TASKS, ids=lambda task: task.title)
def test_refuses_nothing_at_all_and_the_answer_of_an_earlier_run(task):
    earlier = task.expected(*next(iter(task.inputs(np.random.default_rng(0)))))
    for function in (lambda *a: None, lambda *a: ..., lambda *a: "2", lambda *a: 0, lambda *a: a[0], lambda *a: earlier):
        with pytest.raises(CheckFailed):
            task(function)


def test_counterexamples_are_small():
    wrong_ones = {lab02.to_nearest: "nearest_half_up", lab02.directed: "directed_cut", lab02.stuck: "stuck_whole_gap"}
    for task, name in wrong_ones.items():
        function = next(function for function, _ in WRONG[task] if function.__name__ == name)
        with pytest.raises(CheckFailed) as failure:
            task(function)
        line = next(line for line in str(failure.value).splitlines() if "x = " in line)
        assert "," not in line, line


def test_the_references_are_the_librarys():
    from course_lib import numerics

    rng = np.random.default_rng(3)
    x, u = rng.normal(0, 9, 300), rng.random(300)
    assert np.array_equal(lab02.to_nearest.expected(x), numerics.round_to_integer(x))
    for mode in ("down", "up"):
        assert np.array_equal(lab02.directed.expected(x, mode), numerics.round_to_integer(x, mode))
    coins = [numerics.round_one(a, "stochastic", b) for a, b in zip(x, u, strict=True)]
    assert np.array_equal(lab02.stochastic.expected(x, u), coins)
    e5m2 = numerics.FORMATS["e5m2"]
    assert np.array_equal(lab02.gaps.expected(abs(x), 2), [e5m2.spacing(v) for v in abs(x)])
    path = numerics.gradient_descent_in(lambda x: 2 * (x - 1024), 1.0, 0.1, 30, "e5m2")
    assert np.array_equal(lab02.descent.expected(1.0, 0.1, 30, lab02.to_e5m2), path)


def test_the_examples_of_the_lab():
    assert lab02.to_nearest.expected(np.array([2.4, 1.5, 2.5, 2.8, 2.1, -2.8])).tolist() == [2, 2, 2, 3, 2, -3]
    coins = lab02.stochastic.expected(np.array([1.7, 1.7, -1.3, 4.0]), np.array([0.2, 0.9, 0.6, 0.0]))
    assert coins.tolist() == [2, 1, -1, 4]
    assert float(lab02.standard_errors_off.expected(np.array([1.0, 2, 2, 2]), 1.7)) == pytest.approx(0.2182, abs=1e-4)
    assert lab02.gaps.expected(np.array([1.0, 1.5, 2, 768, 1024, 0.75]), 2).tolist() == [0.25, 0.25, 0.5, 128, 256, 0.125]
    assert lab02.descent.expected(1.0, 0.1, 2, lab02.to_e5m2).tolist() == [1, 192, 320]
    at = np.array([512.0, 640, 768, 896])
    assert lab02.stuck.expected(at, 0.09375, np.full(4, 128.0)).tolist() == [False, False, True, True]
