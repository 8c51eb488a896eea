"""Tasks 1 to 4 of lab 02: the roundings, and a test for bias."""

import numpy as np

from course_lib.check.base import Property, Suspect, Task, as_number, equal, same_shape

BESIDE = np.array([1e-300, 1e-12, 1e-9, 1e-7, 1e-6, 1e-5, 1e-3])  # what is close to a whole number and is none

_WHOLE = Property("every answer is a whole number", lambda a, *_: bool(np.all(a == np.rint(a))))
_STAYS = Property("a number that is whole already stays where it is",
                  lambda a, e, x, *_: bool(np.array_equal(a[x == np.rint(x)], x[x == np.rint(x)])))
_NEIGHBOUR = Property("the answer is one of the two whole numbers around x",
                      lambda a, e, x, *_: bool(np.all((a == np.floor(x)) | (a == np.ceil(x)))))


# ------------------------------------------------------------------------------------------------- whole numbers


def _numbers(rng):
    """Numbers of both signs: ties, whole ones, those just beside them, and any, up to what float64 holds."""
    yield np.array([2.4, 1.5, 2.5, 2.8, 2.1, -2.8])
    yield np.array([-0.5, 0.5, -1.5, 3.5, 0.0, -7.0])
    for x in (*BESIDE, 1 - 2.0**-53, 40000.5, 70001.5, 3e9, 2.0**31 + 0.5, 1e17):
        yield np.array([x])
        yield np.array([-x])
    for _ in range(70):
        x = rng.uniform(-1, 1, rng.integers(1, 8)) * rng.choice([9, 9, 1000])
        kind = rng.integers(5, size=x.size)
        near = rng.choice([-1, 1], x.size) * rng.choice(BESIDE, x.size)
        x = np.where(kind == 0, np.rint(x), np.where(kind == 1, np.floor(x) + 0.5, x))
        yield np.where(kind == 3, np.rint(x) + near, np.where(kind == 4, np.floor(x) + 0.5 + near, x))


to_nearest = Task(
    title="Task 1 · to_nearest",
    shapes={"x": "n"},
    expected=np.rint,
    inputs=lambda rng: ((x,) for x in _numbers(rng)),
    properties=(
        Property("there is one answer for each number", same_shape),
        _WHOLE,
        _STAYS,
        Property("no whole number is nearer to x than the answer",
                 lambda a, e, x: bool(np.all(np.abs(a - x) <= np.abs(e - x)))),
        Property("a tie, exactly half-way, goes to the even neighbour", equal),
    ),
    suspects=(
        Suspect("every tie goes up, as in school", lambda x: np.floor(x + 0.5)),
        Suspect("every tie goes down", lambda x: np.ceil(x - 0.5)),
        Suspect("every tie goes away from zero", lambda x: np.sign(x) * np.floor(np.abs(x) + 0.5)),
        Suspect("half was added and the rest cut off, which goes wrong below zero", lambda x: np.trunc(x + 0.5)),
        Suspect("the part behind the point was cut off", np.trunc),
    ),
    tried="positive and negative numbers, ties, whole numbers, numbers just beside both, large ones",
)


def _with_modes(rng):
    yield np.array([2.8, 2.1, -2.8]), "down"
    yield np.array([2.8, 2.1, -2.8]), "up"
    for x in _numbers(rng):
        yield x, "down"
        yield x, "up"


def _directed(x, mode):
    return {"down": np.floor, "up": np.ceil}[mode](x)


directed = Task(
    title="Task 2 · directed",
    shapes={"x": "n", "mode": ""},
    expected=_directed,
    inputs=_with_modes,
    fixed=("mode",),
    properties=(
        Property("there is one answer for each number", same_shape),
        _WHOLE,
        _STAYS,
        Property("down is never above x, and less than 1 below it",
                 lambda a, e, x, mode: mode != "down" or equal(a, e)),
        Property("up is never below x, and less than 1 above it",
                 lambda a, e, x, mode: mode != "up" or equal(a, e)),
    ),
    suspects=(
        Suspect("down cuts off what is behind the point: that is toward zero, and goes up below zero",
                lambda x, mode: np.trunc(x) if mode == "down" else np.ceil(x)),
        Suspect("down cuts off what is behind the point: that is toward zero, and goes up below zero",
                lambda x, mode: np.trunc(x) if mode == "down" else np.trunc(x) + 1),
        Suspect("up adds 1 to what is below; a whole number must not move",
                lambda x, mode: np.floor(x) + (mode == "up")),
        Suspect("down takes 1 from what is above; a whole number must not move",
                lambda x, mode: np.ceil(x) - (mode == "down")),
        Suspect("`mode` is not used", lambda x, mode: np.floor(x)),
        Suspect("`mode` is not used", lambda x, mode: np.ceil(x)),
        Suspect("down and up are exchanged", lambda x, mode: np.ceil(x) if mode == "down" else np.floor(x)),
        Suspect("up means away from zero here; it should mean upward, below zero too",
                lambda x, mode: np.floor(x) if mode == "down" else np.sign(x) * np.ceil(np.abs(x))),
    ),
    tried="both modes on positive and negative numbers, whole numbers and what is just beside them, large ones",
)


def _with_coins(rng):
    yield np.array([1.7, 1.7, -1.3, 4.0]), np.array([0.2, 0.9, 0.6, 0.0])
    yield np.array([0.25, 0.25, -0.25, -0.25]), np.array([0.1, 0.5, 0.1, 0.9])
    yield np.array([0.25, -0.25, 5.5]), np.array([0.25, 0.75, 0.5])                   # u = f: not less, so down
    for x in (BESIDE, -BESIDE, 3 + BESIDE, 1 - BESIDE):                               # hardly above a whole number:
        yield x, np.zeros(x.size)                                                     # the coin 0 takes them up
    for x in _numbers(rng):
        yield x, rng.random(x.size)
        yield x, rng.random(x.size) * 0.5 * (x - np.floor(x))
    for _ in range(10):
        x = rng.integers(-40, 40, rng.integers(1, 6)) / 8
        yield x, np.where(rng.random(x.size) < 0.5, x - np.floor(x), rng.integers(0, 8, x.size) / 8)
    yield rng.uniform(-3, 3, 400), rng.random(400)


def _clear_coins(x, u):
    """No coin so close to the fraction that a rounding error decides; eighths have none."""
    f = x - np.floor(x)
    exact = (8 * x == np.rint(8 * x)) & (8 * u == np.rint(8 * u))
    clear = (np.abs(u - f) > 1e-9) | (f == 0) | (u == 0) | exact
    return bool(x.shape == u.shape and np.all(clear) and np.all((0 <= u) & (u < 1)) and np.all(np.abs(x) < 1e5))


stochastic = Task(
    title="Task 3 · stochastic",
    shapes={"x": "n", "u": "n"},
    expected=lambda x, u: np.floor(x) + (u < x - np.floor(x)),
    inputs=_with_coins,
    valid=_clear_coins,
    properties=(
        Property("there is one answer for each number", same_shape),
        _WHOLE,
        _STAYS,
        _NEIGHBOUR,
        Property("it goes up exactly where u < f, so that it does so with probability f", equal),
    ),
    suspects=(
        Suspect("u > f goes up: that has probability 1 − f", lambda x, u: np.floor(x) + (u > x - np.floor(x))),
        Suspect("u is compared with a half: that tosses a fair coin, whatever f is",
                lambda x, u: np.floor(x) + (u < 0.5)),
        Suspect("u ≥ 1 − f goes up; that has the right probability too, but the task asks for u < f",
                lambda x, u: np.floor(x) + (u >= 1 - (x - np.floor(x)))),
        Suspect("f is measured from the part cut off toward zero, which is negative below zero; take x − floor(x)",
                lambda x, u: np.trunc(x) + (u < x - np.trunc(x))),
        Suspect("f is measured from the part cut off toward zero, which is negative below zero; take x − floor(x)",
                lambda x, u: np.trunc(x) + np.sign(x) * (u < np.abs(x - np.trunc(x)))),
        Suspect("that is rounding to the nearest; u is not used", lambda x, u: np.rint(x)),
        Suspect("1 is added to the whole number above, not to the one below",
                lambda x, u: np.ceil(x) + (u < x - np.floor(x))),
    ),
    tried="positive and negative numbers, whole numbers and what is just beside them, coins equal to f, 400 at once",
)


# ------------------------------------------------------------------------------------------------- unbiased?


def _samples(rng):
    yield np.array([1.0, 2.0, 2.0, 2.0]), 1.7
    yield np.array([0.0, 0.0, 1.0, 0.0]), 0.25
    yield np.array([-2.0, -1.0, -1.0]), -1.25
    for _ in range(50):
        x = round(float(rng.uniform(-5, 5)), 2)
        n = int(rng.integers(1, 60))
        yield np.floor(x) + (rng.random(n) < rng.uniform(0.1, 0.9)), x
    for x in (0.01, 7.99, -0.02, 12345.5, -12345.75, 999.6):
        for n in (1, 2, 700):
            yield np.floor(x) + (rng.random(n) < 0.5), x
    for x in (0.5001, -3.499, 2.500001):
        yield np.floor(x) + np.arange(700) % 2, x                                         # a mean that is hardly off


def _off(draws, x):
    f = x - np.floor(x)
    return np.asarray((np.mean(draws) - x) / np.sqrt(f * (1 - f) / draws.size))


standard_errors_off = Task(
    title="Task 4 · standard_errors_off",
    shapes={"draws": "n", "x": ""},
    expected=_off,
    inputs=_samples,
    fixed=("x",),
    valid=lambda draws, x: 0.005 < x - np.floor(x) < 0.995,
    read=as_number,
    properties=(
        Property("a mean above x gives a positive number, a mean below x a negative one",
                 lambda a, e, *_: abs(e) < 1e-9 or bool(np.sign(a) == np.sign(e))),
        Property("it is mean − x, divided by the standard error √(f (1 − f) / N)",
                 lambda a, e, *_: bool(np.isclose(a, e, rtol=1e-5, atol=1e-7))),
    ),
    suspects=(
        Suspect("the difference was not divided by the standard error", lambda d, x: np.mean(d) - x),
        Suspect("it was divided by the spread of one draw; the mean of N draws spreads √N times less",
                lambda d, x: _off(d, x) / np.sqrt(d.size)),
        Suspect("it was divided by f (1 − f) / N: the square root is missing",
                lambda d, x: (np.mean(d) - x) / ((x - np.floor(x)) * (1 - x + np.floor(x)) / d.size)),
        Suspect("N stands outside the square root", lambda d, x: _off(d, x) * np.sqrt(d.size)),
        Suspect("the sign was dropped", lambda d, x: np.abs(_off(d, x))),
        Suspect("it is x − mean: the sign is turned", lambda d, x: -_off(d, x)),
        Suspect("the spread was estimated from the draws; it is known exactly, f (1 − f)",
                lambda d, x: (np.mean(d) - x) / (np.std(d) / np.sqrt(d.size))),
        Suspect("the spread was estimated from the draws; it is known exactly, f (1 − f)",
                lambda d, x: (np.mean(d) - x) / (np.std(d, ddof=1) / np.sqrt(d.size))),
        Suspect("x stands where its fraction f should",
                lambda d, x: (np.mean(d) - x) / np.sqrt(abs(x * (1 - x)) / d.size)),
    ),
    tried="one draw, few and many, positive and negative x, small and large ones",
)
