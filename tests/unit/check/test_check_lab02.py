"""The grader graded: every check of lab02 refuses the stub and the wrong answers that students write, and accepts
right answers written in different ways. `said` is what the message must tell the student."""

import math
import re

import numpy as np
import pytest

from course_lib import numerics
from course_lib.check import CheckFailed, lab02
from course_lib.check.lab02.descent import to_e5m2
from tests.unit.check.grading import Answers, Trial, graded_cell, shown_input, solution

ANSWERS = Answers(lab02)
right, wrong, bank = ANSWERS.right, ANSWERS.wrong, ANSWERS.bank


def wrong_one(task, said, function, name, looks=""):
    bank(task, wrong={name: (function, said, looks)})


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
wrong_one(lab02.directed, "returned None",
          lambda x, mode: np.floor(x) if mode == "down" else None, "directed_half_done")


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
wrong_one(lab02.standard_errors_off, "one number", lambda d, x: (d - x) / np.sqrt((x % 1) * (1 - x % 1)), "off_each")
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
wrong_one(lab02.descent, "begins with the stored x0", descends(start=False), "descent_start", "start was not")
wrong_one(lab02.descent, "slope was not stored", descends(slope=False), "descent_slope")
wrong_one(lab02.descent, "move was not stored", descends(move=False), "descent_move")
wrong_one(lab02.descent, "only the new x", descends(slope=False, move=False), "descent_only_x")
wrong_one(lab02.descent, "has been stored", descends(last=False), "descent_x", "new x was not")
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


wrong_one(lab02.stuck, "not with half of it", lambda x, lr, g: lr * abs(2 * (x - 1024)) < g, "stuck_whole_gap")
wrong_one(lab02.stuck, "turned round", lambda x, lr, g: lr * abs(2 * (x - 1024)) > g / 2, "stuck_turned")
wrong_one(lab02.stuck, "sign of the slope", lambda x, lr, g: lr * 2 * (x - 1024) < g / 2, "stuck_signed")
wrong_one(lab02.stuck, "above 1024", lambda x, lr, g: lr * 2 * (1024 - x) < g / 2, "stuck_signed_the_other_way")
wrong_one(lab02.stuck, "learning rate is missing", lambda x, lr, g: abs(2 * (x - 1024)) < g / 2, "stuck_no_rate")
wrong_one(lab02.stuck, "not the step", lambda x, lr, g: abs(x - 1024) < g / 2, "stuck_distance_alone")
wrong_one(lab02.stuck, "the update that vanishes", lambda x, lr, g: x == 1024, "stuck_at_the_minimum")
wrong_one(lab02.stuck, "True or False", lambda x, lr, g: lr * abs(2 * (x - 1024)), "stuck_steps")


# ------------------------------------------------------------------------------------------ many more, a line each


def elsewhere(task, of, then):
    """The right answer, but for the entries of x of which `of(x)` says so; in those, `then(right, x)`."""
    def function(x, *rest):
        right = np.asarray(task.expected(x, *rest), float)
        return np.where(of(x), then(right, x), right)

    return function


def fraction(x):
    return x - np.floor(x)


def by_dtype(task, dtype):
    def function(x, *rest):
        with np.errstate(all="ignore"):
            return np.asarray(task.expected(x.astype(dtype).astype(float), *rest))

    return function


def nearly_whole(x):
    return np.isclose(x, np.rint(x), rtol=0, atol=1e-6)


seen_before = {}


def remembered(task):
    """Keeps the answer for the first number and hands it out again, whatever the others are."""
    def function(x, *rest):
        if (x[0], len(x)) not in seen_before:
            seen_before[x[0], len(x)] = np.asarray(task.expected(x, *rest), float)
        return seen_before[x[0], len(x)]

    return function


FORMS = {
    "list": lambda answer: np.asarray(answer).tolist(),
    "tuple": lambda answer: tuple(np.asarray(answer).tolist()),
    "tensor": lambda answer: pytest.importorskip("torch").as_tensor(np.array(answer)),
    "float32": lambda answer: answer if np.asarray(answer).dtype == bool else (
        a if np.array_equal(a := np.asarray(answer, np.float32), answer) else answer),
    "tensors": lambda answer: list(pytest.importorskip("torch").as_tensor(np.array(answer))),
}
for task in (lab02.to_nearest, lab02.directed, lab02.stochastic, lab02.gaps, lab02.descent, lab02.stuck):
    bank(task, right={f"{task.name}_as_{name}": lambda *a, task=task, form=form: form(task.expected(*a))
                      for name, form in FORMS.items()})
def off_by(f=lambda x: x % 1, n=lambda d: d.size, mean=np.mean, of=lambda z: z):
    return lambda d, x: of((mean(d) - x) / np.sqrt(f(x) * (1 - f(x)) / n(d)))


bank(lab02.standard_errors_off, right={
    "off_fraction_of_the_cut": off_by(f=lambda x: abs(x - int(x))),                    # f (1 − f) is the same
    "off_as_list": lambda d, x: [float(off_numpy(d, x))],
    "off_as_tensor": lambda d, x: pytest.importorskip("torch").tensor(float(off_numpy(d, x))),
    "off_as_array": lambda d, x: np.array([[off_numpy(d, x)]]),
    "off_of_the_sum": lambda d, x: (d.sum() - d.size * x) / math.sqrt(d.size * (x % 1) * (1 - x % 1)),
})
bank(lab02.to_nearest, right={
    "nearest_numpy_round": lambda x: np.round(x),
    "nearest_half_up_but_for_ties": lambda x: np.floor(x + 0.5) - ((fraction(x) == 0.5) & (np.floor(x + 0.5) % 2 == 1)),
    "nearest_int64": lambda x: np.rint(x).astype(np.int64),
    "nearest_whole_numbers": lambda x: [round(v) for v in x.tolist()],
})
bank(lab02.directed, right={
    "directed_int64": lambda x, mode: (np.floor if mode == "down" else np.ceil)(x).astype(np.int64),
    "directed_by_nearest":
        lambda x, mode: (r := np.rint(x)) - ((r > x) & (mode == "down")) + ((r < x) & (mode == "up")),
})

for task in (lab02.to_nearest, lab02.directed, lab02.stochastic):
    name = task.name
    bank(task, wrong={
        f"{name}_float32_first": (by_dtype(task, np.float32), "Broken:"),
        f"{name}_float16_first": (by_dtype(task, np.float16), "Broken:"),
        f"{name}_six_digits_first": (lambda x, *r, task=task: np.asarray(task.expected(np.round(x, 6), *r)), "Broken:"),
        f"{name}_close_is_whole": (
            elsewhere(task, nearly_whole, lambda a, x: np.rint(x)) if task is not lab02.to_nearest
                                   else elsewhere(task, lambda x: np.isclose(fraction(x), 0.5, rtol=0, atol=1e-6),
                                                  lambda a, x: 2 * np.rint(x / 2)), "Broken:"),
        f"{name}_magnitude": (lambda x, *r, task=task: abs(np.asarray(task.expected(x, *r), float)), "Broken:"),
        f"{name}_no_less_than_zero": (lambda x, *r, task=task: np.maximum(task.expected(x, *r), 0.0), "Broken:"),
        f"{name}_eight_bits": (
            lambda x, *r, task=task: np.asarray(task.expected(x, *r), float).astype(np.int64).astype(np.int8),
            "Broken:"),
        f"{name}_sixteen_bits": (
            lambda x, *r, task=task: np.asarray(task.expected(x, *r), float).astype(np.int64).astype(np.int16),
            "Broken:"),
        f"{name}_clipped_to_bytes": (lambda x, *r, task=task: np.clip(task.expected(x, *r), -128, 127), "Broken:"),
        f"{name}_first_of_one_alone": (
            lambda x, *r, task=task: x.copy() if len(x) == 1 else np.asarray(task.expected(x, *r)), "Broken:"),
        f"{name}_one_where_there_is_a_zero": (
            lambda x, *r, task=task: np.ones(len(x)) if np.any(x == 0) else np.asarray(task.expected(x, *r)),
            "Broken:"),
        f"{name}_sorted": (lambda x, *r, task=task: np.sort(task.expected(x, *r)), "Broken:"),
        f"{name}_remembered": (remembered(task), "Broken:"),
        f"{name}_texts": (lambda x, *r, task=task: [str(v) for v in task.expected(x, *r)], "array of numbers"),
        f"{name}_one_too_many": (lambda x, *r, task=task: np.append(task.expected(x, *r), 0.0), "one answer for each"),
    })
bank(lab02.to_nearest, wrong={
    "nearest_ties_odd": (
        elsewhere(lab02.to_nearest, lambda x: fraction(x) == 0.5, lambda a, x: 2 * np.floor(x) + 1 - a),
        "even neighbour"),
    "nearest_ties_to_zero": (elsewhere(lab02.to_nearest, lambda x: fraction(x) == 0.5, lambda a, x: np.trunc(x)),
                             "even neighbour"),
    "nearest_even_above_zero_alone": (
        elsewhere(lab02.to_nearest, lambda x: (fraction(x) == 0.5) & (x < 0), lambda a, x: np.floor(x)),
        "even neighbour"),
    "nearest_away_below_a_hundred": (
        elsewhere(lab02.to_nearest, lambda x: (fraction(x) == 0.5) & (abs(x) > 100), lambda a, x: np.floor(x) + 1),
        "even neighbour"),
    "nearest_half_is_one": (elsewhere(lab02.to_nearest, lambda x: x == 0.5, lambda a, x: a + 1), "even neighbour"),
    "nearest_stops_at_zero": (lambda x: np.rint(x) + 0 * [1, 0][int(np.any(x == 0)) * 2], "must not stop with"),
})
bank(lab02.directed, wrong={
    "directed_down_of_a_little_more": (lambda x, mode: np.floor(x + 1e-9) if mode == "down" else np.ceil(x), "Broken:"),
    "directed_up_of_a_little_less": (lambda x, mode: np.floor(x) if mode == "down" else np.ceil(x - 1e-9), "Broken:"),
    "directed_to_nearest": (lambda x, mode: np.rint(x), "Broken:"),
    "directed_half": (lambda x, mode: np.rint(x - 0.5) if mode == "down" else np.rint(x + 0.5), "Broken:"),
    "directed_up_is_down_plus_one": (lambda x, mode: np.floor(x) + (mode == "up") * (x != 0),
                                     "Broken:", "must not move"),
    "directed_tiny_is_zero": (elsewhere(lab02.directed, lambda x: abs(x) < 1e-6, lambda a, x: 0 * a), "Broken:"),
})
bank(lab02.stochastic, wrong={
    "stochastic_equal_goes_up": (lambda x, u: np.floor(x) + ((u <= fraction(x)) & (fraction(x) > 0)), "u < f"),
    "stochastic_equal_goes_up_whole_too": (lambda x, u: np.floor(x) + (u <= fraction(x)), "Broken:"),
    "stochastic_ceil": (lambda x, u: np.ceil(x), "Broken:"),
    "stochastic_one_coin": (lambda x, u: np.floor(x) + (u[0] < fraction(x)), "u < f"),
    "stochastic_coins_backwards": (lambda x, u: np.floor(x) + (u[::-1] < fraction(x)), "u < f"),
    "stochastic_negative_turned": (lambda x, u: np.sign(x) * (np.floor(abs(x)) + (u < fraction(abs(x)))),
                                   "Broken:", "below zero"),
    "stochastic_nearest_unless_close": (
        lambda x, u: np.where(abs(fraction(x) - 0.5) < 0.25, np.floor(x) + (u < fraction(x)), np.rint(x)), "u < f"),
    "stochastic_two_digits": (lambda x, u: np.floor(x) + (u < np.round(fraction(x), 2)), "u < f"),
    "stochastic_rounded_sum": (lambda x, u: np.rint(x + u - 0.5), "Broken:"),
    "stochastic_ties_alone": (lambda x, u: np.where(fraction(x) == 0.5, np.floor(x) + (u < 0.5), np.rint(x)), "u < f"),
})


bank(lab02.standard_errors_off, wrong={
    "off_one_less": (off_by(n=lambda d: d.size - 1), "standard error"),
    "off_one_more": (off_by(n=lambda d: d.size + 1), "standard error"),
    "off_one_less_but_for_one": (off_by(n=lambda d: max(d.size - 1, 1)), "standard error"),
    "off_cut": (off_by(f=lambda x: x - int(x) if x > 0 else 0.5), "standard error"),
    "off_fraction_rounded": (off_by(f=lambda x: round(x % 1, 1) or 0.05), "standard error"),
    "off_a_half": (off_by(f=lambda x: 0.5), "standard error"),
    "off_f_alone": (lambda d, x: (d.mean() - x) / np.sqrt((x % 1) / d.size), "standard error"),
    "off_median": (off_by(mean=np.median), "Broken:"),
    "off_float32_mean": (
        lambda d, x: (float(np.mean(d.astype(np.float32))) - np.float32(x)) / np.sqrt((x % 1) * (1 - x % 1) / d.size),
        "Broken:"),
    "off_no_less_than_zero": (off_by(of=lambda z: max(0.0, z)), "negative one"),
    "off_small_is_zero": (off_by(of=lambda z: 0.0 if abs(z) < 0.05 else z), "Broken:"),
    "off_two_digits": (off_by(of=lambda z: round(float(z), 2)), "standard error"),
    "off_clipped": (off_by(of=lambda z: float(np.clip(z, -3, 3))), "standard error"),
    "off_zero_for_one_draw": (lambda d, x: 0.0 if d.size == 1 else off_numpy(d, x), "Broken:"),
    "off_stops_for_one_draw": (lambda d, x: off_numpy(d, x) + 0 * [1, 1][2 * (d.size == 1)], "must not stop with"),
    "off_distinct_draws": (off_by(n=lambda d: np.unique(d).size), "standard error"),
    "off_variance_added": (lambda d, x: (d.mean() - x) / np.sqrt((x % 1) * (1 - x % 1) / d.size + 1e-3),
                           "standard error"),
    "off_pair": (lambda d, x: (off_numpy(d, x), d.size), "one number"),
    "off_text": (lambda d, x: str(off_numpy(d, x)), "array of numbers"),
    "off_squared": (off_by(of=lambda z: z * abs(z)), "standard error"),
})


def gap_of(exponent):
    return lambda x, m: 2.0 ** (exponent(x) - m)


bank(lab02.gaps, wrong={
    "gaps_float32_first": (lambda x, m: gaps_frexp(x.astype(np.float32), m), "2^(e − m)"),
    "gaps_a_little_more": (gap_of(lambda x: np.floor(np.log2(x) + 1e-6)), "2^(e − m)"),
    "gaps_a_little_less": (gap_of(lambda x: np.floor(np.log2(x) - 1e-6)), "2^(e − m)"),
    "gaps_six_digits": (gap_of(lambda x: np.floor(np.round(np.log2(x), 6))), "2^(e − m)"),
    "gaps_of_log_ten": (gap_of(lambda x: np.floor(np.log10(x))), "2^(e − m)"),
    "gaps_above_the_power": (gap_of(lambda x: np.ceil(np.log2(x)) - 1), "2^(e − m)"),
    "gaps_tiny_is_zero": (lambda x, m: np.where(gaps_frexp(x, m) < 1e-9, 0.0, gaps_frexp(x, m)), "power of two"),
    "gaps_one_at_least": (lambda x, m: np.maximum(gaps_frexp(x, m), 2.0**-m), "2^(e − m)"),
    "gaps_two_bits_always": (lambda x, m: gaps_frexp(x, 2), "2^(e − m)"),
    "gaps_ten_bits_at_most": (lambda x, m: gaps_frexp(x, min(m, 10)), "2^(e − m)"),
    "gaps_hidden_bit_counted": (lambda x, m: gaps_frexp(x, m + 1), "hidden bit was counted"),
    "gaps_one_bit_less": (lambda x, m: gaps_frexp(x, m - 1), "2^(e − m)", "one more than e"),
    "gaps_half_precision": (lambda x, m: gaps_frexp(x, m).astype(np.float16), "Broken:"),
    "gaps_whole": (lambda x, m: np.maximum(gaps_frexp(x, m).astype(int), 1), "2^(e − m)"),
    "gaps_of_the_first": (lambda x, m: np.full(x.shape, gaps_frexp(x, m)[0]), "2^(e − m)"),
    "gaps_sixteen_exponents": (gap_of(lambda x: np.clip(np.frexp(x)[1] - 1, -14, 15)), "2^(e − m)"),
    "gaps_to_the_next_of_float64": (lambda x, m: np.spacing(x), "Broken:"),
    "gaps_over_m": (lambda x, m: 2.0 ** (np.frexp(x)[1] - 1) / m, "Broken:"),
    "gaps_exponents": (lambda x, m: np.frexp(x)[1] - 1.0 - m, "power of two"),
})


def walks(change=lambda x, path: x, path_of=lambda path: np.array(path), start=lambda x: x, target=1024):
    """Gradient descent, with something else at one place."""
    def function(x0, lr, steps, store):
        x, lr = store(start(x0)), store(lr)
        path = [x]
        for _ in range(steps):
            x = change(store(x - store(lr * store(2 * (x - target)))), path)
            path.append(x)
        return path_of(path)

    return function


def stops_early(x0, lr, steps, store):
    path = descent_list(x0, lr, steps, store)
    still = np.flatnonzero(np.diff(path) == 0)
    return path[: still[0] + 1] if still.size else path


def walk_kept(x0, lr, steps, store, path=[]):  # noqa: B006, the mistake
    path.extend(descent_list(x0, lr, steps, store))
    return np.array(path)


bank(lab02.descent, right={
    "descent_into_float32": walks(path_of=lambda path: np.array(path, np.float32)),
    "descent_keywords": lambda x0, lr, steps, store: descent_array(x0=x0, lr=lr, steps=steps, store=store),
}, wrong={
    "descent_stops_when_still": (stops_early, "steps + 1 entries"),
    "descent_never_above": (walks(lambda x, path: np.minimum(x, 1024.0)), "Broken:"),
    "descent_never_below_zero": (walks(start=lambda x: max(x, 0.0)), "begins with the stored x0"),
    "descent_whole_numbers": (walks(path_of=lambda path: np.array(path).astype(int)), "Broken:"),
    "descent_half_precision": (walks(path_of=lambda path: np.array(path).astype(np.float16)), "Broken:"),
    "descent_target_1000": (walks(target=1000), "Broken:"),
    "descent_start_left_out": (lambda x0, lr, steps, store: descent_list(x0, lr, steps, store)[1:],
                               "steps + 1 entries"),
    "descent_one_path": (walk_kept, "Broken:"),
    "descent_backwards": (walks(path_of=lambda path: np.array(path)[::-1]), "Broken:"),
    "descent_one_step_at_least": (lambda x0, lr, steps, store: descent_list(x0, lr, max(steps, 1), store),
                                  "steps + 1 entries"),
    "descent_slope_of_one_side": (lambda x0, lr, steps, store: descent_list(x0, lr, steps, store) if x0 <= 1024
                                  else np.full(steps + 1, store(x0)), "Broken:"),
    "descent_rate_and_slope_at_once": (descends(rate=False, slope=False), "Broken:"),
    "descent_start_and_rate": (descends(rate=False, start=False), "begins with the stored x0"),
    "descent_move_and_x": (descends(move=False, last=False), "Broken:"),
    "descent_slope_alone_missing_factor": (descends(slope=False, factor=1), "Broken:", "factor 2"),
    "descent_rate_at_once_halved": (lambda x0, lr, steps, store: descent_list(x0, lr / 2, steps, store),
                                    "Broken:", "factor 2"),
    "descent_stored_path_alone": (
        lambda x0, lr, steps, store: np.array([store(v) for v in descent_list(x0, lr, steps, lambda v: v)]), "Broken:"),
    "descent_still_below_a_millionth": (walks(lambda x, path: path[-1] if abs(x - path[-1]) < 1 else x), "Broken:"),
    "descent_text": (walks(path_of=lambda path: str(path)), "array of numbers"),
})


def stuck_if(says):
    return lambda x, lr, gap: says(lr * abs(2 * (x - 1024)), gap / 2)


bank(lab02.stuck, right={
    "stuck_zeros_and_ones": lambda x, lr, gap: lab02.stuck.expected(x, lr, gap).astype(int),
    "stuck_not_moving": lambda x, lr, gap: ~(4 * lr * abs(x - 1024) / gap >= 1),
}, wrong={
    "stuck_a_little_more": (stuck_if(lambda step, half: step < half + 0.01), "shorter than half"),
    "stuck_close_counts": (stuck_if(lambda step, half: (step < half) | np.isclose(step, half, rtol=1e-3)),
                           "exactly half"),
    "stuck_close_does_not_count": (stuck_if(lambda step, half: (step < half) & ~np.isclose(step, half, rtol=1e-3)),
                                   "shorter than half"),
    "stuck_whole_halves": (lambda x, lr, gap: lr * abs(2 * (x - 1024)) < gap // 2, "shorter than half"),
    "stuck_whole_steps": (stuck_if(lambda step, half: np.floor(step) < half), "shorter than half"),
    "stuck_three_digits": (stuck_if(lambda step, half: np.round(step) < np.round(half)), "Broken:"),
    "stuck_factor_missing": (lambda x, lr, gap: lr * abs(x - 1024) < gap / 2, "factor 2"),
    "stuck_quarter": (lambda x, lr, gap: lr * abs(2 * (x - 1024)) < gap / 4, "quarter"),
    "stuck_minimum_moves": (stuck_if(lambda step, half: (step < half) & (step > 0)), "True"),
    "stuck_minimum_within_a_millionth": (lambda x, lr, gap: abs(x - 1024) < 1e-6,
                                         "shorter than half", "the update that vanishes"),
    "stuck_gap_one_at_least": (lambda x, lr, gap: lr * abs(2 * (x - 1024)) < np.maximum(gap, 1) / 2,
                               "shorter than half"),
    "stuck_gap_256_at_most": (lambda x, lr, gap: lr * abs(2 * (x - 1024)) < np.minimum(gap, 256) / 2,
                              "shorter than half"),
    "stuck_below_alone": (lambda x, lr, gap: (lr * abs(2 * (x - 1024)) < gap / 2) & (x <= 1024), "shorter than half"),
    "stuck_all_or_none": (lambda x, lr, gap: np.full(len(x), bool(np.all(lr * abs(2 * (x - 1024)) < gap / 2))),
                          "shorter than half"),
    "stuck_first_gap": (lambda x, lr, gap: lr * abs(2 * (x - 1024)) < gap[0] / 2, "shorter than half"),
    "stuck_ragged": (lambda x, lr, gap: [[True], [True, False]], "array of numbers"),
    "stuck_any": (lambda x, lr, gap: bool(np.any(lr * abs(2 * (x - 1024)) < gap / 2)), "one answer for each"),
    "stuck_texts": (lambda x, lr, gap: [str(v) for v in lab02.stuck.expected(x, lr, gap)], "array of numbers"),
    "stuck_half_a_gap_too": (stuck_if(lambda step, half: step <= half), "exactly half"),
    "stuck_by_rounding": (lambda x, lr, gap: np.rint(lr * 2 * (x - 1024) / gap) == 0, "exactly half"),
    "stuck_stored_rate": (lambda x, lr, gap: float(to_e5m2(lr)) * abs(2 * (x - 1024)) < gap / 2, "shorter than half"),
})


bank(lab02.gaps, right={
    "gaps_spacing": lambda x, m: np.spacing(x) * 2.0 ** (52 - m),
    "gaps_bits": lambda x, m: np.exp2((x.view(np.int64) >> 52) - 1023.0 - m),
}, wrong={
    "gaps_a_little_added": (lambda x, m: 2.0 ** (np.floor(np.log2(x + 1e-8)) - m), "2^(e − m)"),
    "gaps_no_subnormal": (lambda x, m: np.maximum(2.0 ** (np.floor(np.log2(x)) - m), 2.0**-31), "2^(e − m)"),
})

bank(lab02.stochastic, right={"stochastic_ceiling": lambda x, u: np.ceil(x - u)}, wrong={
    "stochastic_close_is_whole": (lambda x, u: np.where(np.isclose(x - np.floor(x), 0), np.floor(x),
                                                        np.floor(x) + (u < x - np.floor(x))), "up exactly where"),
    "stochastic_not_strict": (lambda x, u: np.floor(x + 1 - u), "", "u ≥ 1 − f"),
})

# ----------------------------------------------------------------------------------------------------- all of them


class TestTrial(Trial):
    answers = ANSWERS


def test_counterexamples_are_small():
    wrong_ones = {lab02.to_nearest: "nearest_half_up", lab02.directed: "directed_cut", lab02.stuck: "stuck_whole_gap"}
    for task, name in wrong_ones.items():
        function = next(entry[0] for entry in ANSWERS.refused[task] if entry[0].__name__ == name)
        line = shown_input(task, function, "x = ")
        assert "," not in line, line


def test_the_references_are_the_librarys():
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
    assert np.array_equal(lab02.descent.expected(1.0, 0.1, 30, to_e5m2), path)


def test_the_examples_of_the_lab():
    assert lab02.to_nearest.expected(np.array([2.4, 1.5, 2.5, 2.8, 2.1, -2.8])).tolist() == [2, 2, 2, 3, 2, -3]
    coins = lab02.stochastic.expected(np.array([1.7, 1.7, -1.3, 4.0]), np.array([0.2, 0.9, 0.6, 0.0]))
    assert coins.tolist() == [2, 1, -1, 4]
    assert float(lab02.standard_errors_off.expected(np.array([1.0, 2, 2, 2]), 1.7)) == pytest.approx(0.2182, abs=1e-4)
    gaps = lab02.gaps.expected(np.array([1.0, 1.5, 2, 768, 1024, 0.75]), 2)
    assert gaps.tolist() == [0.25, 0.25, 0.5, 128, 256, 0.125]
    assert lab02.descent.expected(150.0, 0.12, 2, to_e5m2).tolist() == [160, 384, 512]
    at = np.array([512.0, 640, 768, 896])
    assert lab02.stuck.expected(at, 0.09375, np.full(4, 128.0)).tolist() == [False, False, True, True]


def test_the_descent_of_the_example_can_be_followed_with_a_pencil():
    """Each number of its table follows from the line before by the list in the text: no tie, and four roundings."""
    text, = ("".join(cell["source"]) for cell in solution(lab02) if "### Task 6." in "".join(cell["source"]))
    numbers = [float(v) for v in re.search(r"^128, .*2048", text, re.M)[0].split(", ")]
    assert numbers == [v for v in numerics.FORMATS["e5m2"].values() if 128 <= v <= 2048]

    def nearest(v):
        distances = sorted(abs(abs(v) - n) for n in numbers)
        assert distances[0] < distances[1]
        return math.copysign(min(numbers, key=lambda n: abs(abs(v) - n)), v)

    rows = [[float(v.strip(" *").replace("−", "-")) for v in row.strip("|").split("|")]
            for row in text.splitlines() if re.match(r"\| \d", row)]
    assert numerics.to_format(np.array([0.12]), "e5m2") == 0.125 and nearest(150.0) == 160
    x, rounded = 160.0, 2
    for step, row in enumerate(rows, 1):
        slope = 2 * (x - 1024)
        move = nearest(slope) / 8
        new = x - nearest(move)
        assert row == [step, x, slope, nearest(slope), move, nearest(move), new, nearest(new)]
        rounded += sum(a != b for a, b in ((row[2], row[3]), (row[4], row[5]), (row[6], row[7])))
        x = nearest(new)
    assert len(rows) == 2 and rounded >= 4
    assert "`descent(150.0, 0.12, 2, store)` is `[160, 384, 512]`" in text


# As students build one answer on another, and a mistake in each of those that others call.
CHAIN = """
def to_nearest(x):
    return np.rint(x)

def directed(x, mode):
    near = to_nearest(x)
    return near - (near > x) if mode == "down" else near + (near < x)

def stochastic(x, u):
    return directed(x, "down") + (u < x - directed(x, mode="down"))

def standard_errors_off(draws, x):
    f = x - float(directed(np.array([x]), "down")[0])
    return (draws.mean() - x) / math.sqrt(f * (1 - f) / len(draws))

def gaps(x, m):
    return 2.0 ** (directed(np.log2(x), "down") - m)
"""


@pytest.mark.parametrize(("wrong_one", "piece", "mistake"), [
    ("", "", ""),
    ("to_nearest", "np.rint(x)", "np.floor(x + 0.6)"),
    ("directed", "near + (near < x)", "near + 1"),
    ("directed", "near = to_nearest(x)", "raise NotImplementedError"),
    ("stochastic", "u < x", "u > x"),
])
def test_a_mistake_costs_its_own_points_alone(wrong_one, piece, mistake):
    """However the answers call one another."""
    space = {"np": np, "math": math}
    assert not piece or CHAIN.count(piece) == 1
    exec(CHAIN.replace(piece, mistake) if piece else CHAIN, space)
    lost = []
    for task in lab02.TASKS:
        if task.name in space:
            try:
                graded_cell(ANSWERS, task, space[task.name])
            except (CheckFailed, NotImplementedError):
                lost.append(task.name)
    assert lost == [wrong_one] * bool(wrong_one)
