"""Checks of lab 02, rounding. One callable a task, in the order of the lab."""

import numpy as np

from .base import Property, Suspect, Task, as_array, close, equal, same_shape

__all__ = ["TASKS", "descent", "directed", "gaps", "standard_errors_off", "stochastic", "stuck", "to_nearest"]

TARGET = 1024.0

_WHOLE = Property("every answer is a whole number", lambda a, *_: bool(np.all(a == np.rint(a))))
_STAYS = Property("a number that is whole already stays where it is",
                  lambda a, e, x, *_: bool(np.array_equal(a[x == np.rint(x)], x[x == np.rint(x)])))
_NEIGHBOUR = Property("the answer is one of the two whole numbers around x",
                      lambda a, e, x, *_: bool(np.all(np.abs(a - x) < 1)))


# ------------------------------------------------------------------------------------------------- whole numbers


def _numbers(rng):
    """Numbers of both signs: ties, whole ones, and any."""
    yield np.array([2.4, 1.5, 2.5, 2.8, 2.1, -2.8])
    yield np.array([-0.5, 0.5, -1.5, 3.5, 0.0, -7.0])
    for _ in range(50):
        x = rng.uniform(-9, 9, rng.integers(1, 8))
        kind = rng.integers(3, size=x.size)
        yield np.where(kind == 0, np.rint(x), np.where(kind == 1, np.floor(x) + 0.5, x))


to_nearest = Task(
    title="Task 1 · to_nearest",
    shapes={"x": "n"},
    expected=np.rint,
    inputs=lambda rng: ((x,) for x in _numbers(rng)),
    properties=(
        Property("there is one answer for each number", same_shape),
        _WHOLE,
        _STAYS,
        Property("no whole number is nearer to x than the answer", lambda a, e, x: bool(np.all(np.abs(a - x) <= 0.5))),
        Property("a tie, exactly half-way, goes to the even neighbour", equal),
    ),
    suspects=(
        Suspect("every tie goes up, as in school", lambda x: np.floor(x + 0.5)),
        Suspect("every tie goes down", lambda x: np.ceil(x - 0.5)),
        Suspect("every tie goes away from zero", lambda x: np.sign(x) * np.floor(np.abs(x) + 0.5)),
        Suspect("half was added and the rest cut off, which goes wrong below zero", lambda x: np.trunc(x + 0.5)),
        Suspect("the part behind the point was cut off", np.trunc),
    ),
    tried="positive and negative numbers, ties, whole numbers",
)


def _with_modes(rng):
    yield np.array([2.8, 2.1, -2.8]), "down"
    yield np.array([2.8, 2.1, -2.8]), "up"
    for k, x in enumerate(_numbers(rng)):
        yield x, ("down", "up")[k % 2]


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
                 lambda a, e, x, mode: mode != "down" or bool(np.all((a <= x) & (a > x - 1)))),
        Property("up is never below x, and less than 1 above it",
                 lambda a, e, x, mode: mode != "up" or bool(np.all((a >= x) & (a < x + 1)))),
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
    tried="both modes on positive and negative numbers, whole numbers among them",
)


def _with_coins(rng):
    yield np.array([1.7, 1.7, -1.3, 4.0]), np.array([0.2, 0.9, 0.6, 0.0])
    yield np.array([0.25, 0.25, -0.25, -0.25]), np.array([0.1, 0.5, 0.1, 0.9])
    for x in _numbers(rng):
        yield x, rng.random(x.size)
    yield rng.uniform(-3, 3, 400), rng.random(400)


def _clear_coins(x, u):
    """No coin so close to the fraction that a rounding error decides."""
    f = x - np.floor(x)
    return bool(x.shape == u.shape and np.all((np.abs(u - f) > 1e-9) | (f == 0)) and np.all((0 <= u) & (u < 1)))


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
    tried="positive and negative numbers, whole numbers, 400 at once",
)


# ------------------------------------------------------------------------------------------------- unbiased?


def _samples(rng):
    yield np.array([1.0, 2.0, 2.0, 2.0]), 1.7
    yield np.array([0.0, 0.0, 1.0, 0.0]), 0.25
    yield np.array([-2.0, -1.0, -1.0]), -1.25
    for _ in range(50):
        x = round(float(rng.uniform(-5, 5)), 2)
        n = int(rng.integers(2, 60))
        yield np.floor(x) + (rng.random(n) < rng.uniform(0.1, 0.9)), x


def _off(draws, x):
    f = x - np.floor(x)
    return np.asarray((np.mean(draws) - x) / np.sqrt(f * (1 - f) / draws.size))


def _single(answer):
    return as_array(answer).reshape(()) if as_array(answer).size == 1 else as_array(answer)


standard_errors_off = Task(
    title="Task 4 · standard_errors_off",
    shapes={"draws": "n", "x": ""},
    expected=_off,
    inputs=_samples,
    fixed=("x",),
    valid=lambda draws, x: 0.005 < x - np.floor(x) < 0.995,
    read=_single,
    properties=(
        Property("the answer is a single number", lambda a, *_: a.size == 1),
        Property("a mean above x gives a positive number, a mean below x a negative one",
                 lambda a, e, *_: abs(e) < 1e-9 or bool(np.sign(a) == np.sign(e))),
        Property("it is mean − x, divided by the standard error √(f (1 − f) / N)",
                 lambda a, e, *_: bool(np.isclose(a, e, rtol=1e-5, atol=1e-6))),
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
    tried="few draws and many, positive and negative x",
)


# ------------------------------------------------------------------------------------------------- floats and descent


def _positive(rng):
    yield np.array([1.0, 1.5, 2.0, 768.0, 1024.0, 0.75]), 2
    yield np.array([0.1, 100.0, 3.999, 4.0]), 7
    for _ in range(50):
        x = 2.0 ** rng.uniform(-8, 12, rng.integers(1, 7))
        yield np.where(rng.random(x.size) < 0.3, 2.0 ** np.floor(np.log2(x)), x), int(rng.integers(1, 11))


def _gaps(x, m):
    return 2.0 ** (np.frexp(x)[1] - 1 - m)


gaps = Task(
    title="Task 5 · gaps",
    shapes={"x": "n", "m": ""},
    expected=_gaps,
    inputs=_positive,
    valid=lambda x, m: bool(np.all(x > 0)) and m >= 1,
    properties=(
        Property("there is one gap for each number", same_shape),
        Property("every gap is a power of two", lambda a, *_: bool(np.all(a > 0) and np.all(np.frexp(a)[0] == 0.5))),
        Property("the gap at x is 2^(e − m), where 2^e ≤ x < 2^(e + 1)", close),
    ),
    suspects=(
        Suspect("frexp gives a number between ½ and 1, so its exponent is one more than e",
                lambda x, m: 2 * _gaps(x, m)),
        Suspect("the hidden bit was counted: m is the stored bits alone", lambda x, m: 2 * _gaps(x, m)),
        Suspect("the logarithm was rounded to the nearest, not down", lambda x, m: 2.0 ** (np.rint(np.log2(x)) - m)),
        Suspect("the logarithm was rounded up: a power of two is right, all others are twice too wide",
                lambda x, m: 2.0 ** (np.ceil(np.log2(x)) - m)),
        Suspect("the logarithm is not rounded down: the gap is the same from one power of two to the next",
                lambda x, m: x * 2.0**-m),
        Suspect("m was added, not subtracted", lambda x, m: 2.0 ** (np.frexp(x)[1] - 1 + m)),
        Suspect("the logarithm is the natural one", lambda x, m: 2.0 ** (np.floor(np.log(x)) - m)),
        Suspect("the gap does not depend on x", lambda x, m: np.full(x.shape, 2.0**-m)),
    ),
    fixed=("m",),
    tried="powers of two, numbers just below one, 1 to 10 stored bits",
)


def to_quarters(x):
    """A stand-in for a format: whole multiples of ¼."""
    return np.rint(4 * np.asarray(x, float)) / 4


def _to_significand(x, m):
    x = np.asarray(x, float)
    gap = 2.0 ** (np.frexp(x)[1] - 1 - m)
    return np.rint(x / gap) * gap


def to_e5m2(x):
    """A stand-in: two stored bits of significand, to the nearest."""
    return _to_significand(x, 2)


def to_four_bits(x):
    """A stand-in: four stored bits of significand, to the nearest."""
    return _to_significand(x, 4)


def exactly(x):
    """A stand-in that rounds nothing."""
    return np.asarray(x, float)


def _descents(rng):
    yield 1.0, 0.1, 8, to_e5m2
    yield 1000.3, 0.3, 3, to_quarters
    yield 10.0, 0.25, 4, exactly
    for k in range(60):
        # small x0: there the first step shows every rounding before it
        x0, lr = round(float(2048 ** rng.random()), 1), round(float(rng.uniform(0.02, 0.45)), 3)
        yield x0, lr, int(rng.integers(1, 7)), (to_e5m2, to_four_bits, to_quarters, exactly)[k % 4]


def _path(x0, lr, steps, store, *, start=True, rate=True, slope=True, move=True, last=True, factor=2):
    """The descent, with each storing on or off."""
    put = lambda x, stored: store(x) if stored else np.asarray(x, float)    # noqa: E731
    x, lr = put(x0, start), put(lr, rate)
    path = [x]
    for _ in range(steps):
        x = put(x - put(lr * put(factor * (x - TARGET), slope), move), last)
        path.append(x)
    return np.array(path)


descent = Task(
    title="Task 6 · descent",
    shapes={"x0": "", "lr": "", "steps": "", "store": ""},
    expected=_path,
    inputs=_descents,
    fixed=("store",),
    valid=lambda x0, lr, steps, store: x0 >= 1 and 0.01 < lr < 0.5 and steps >= 1,
    properties=(
        Property("the path has steps + 1 entries, the start and what each step leads to",
                 lambda a, e, *_: a.shape == e.shape or f"Your shape is {a.shape}, the right one {e.shape}."),
        Property("the path begins with the stored x0", lambda a, e, *_: bool(np.isclose(a[0], e[0], rtol=1e-12))),
        Property("where `store` rounds nothing, each step is x − lr · 2 (x − 1024)",
                 lambda a, e, x0, lr, steps, store: store is not exactly or bool(np.allclose(a, e, rtol=1e-9))),
        Property("every x on the path has been stored",
                 lambda a, e, x0, lr, steps, store: bool(np.allclose(a, store(a)))),
        Property("the learning rate, the slope, the move and the new x are stored, each before it is used",
                 lambda a, e, *_: bool(np.allclose(a, e, rtol=1e-9))),
    ),
    suspects=(
        Suspect("the learning rate was not stored", lambda *a: _path(*a, rate=False)),
        Suspect("the start was not stored", lambda *a: _path(*a, start=False)),
        Suspect("the slope was not stored", lambda *a: _path(*a, slope=False)),
        Suspect("the move was not stored", lambda *a: _path(*a, move=False)),
        Suspect("slope and move were not stored, only the new x", lambda *a: _path(*a, slope=False, move=False)),
        Suspect("the new x was not stored", lambda *a: _path(*a, last=False)),
        Suspect("nothing was stored", lambda x0, lr, steps, store: _path(x0, lr, steps, exactly)),
        Suspect("the step goes uphill: the slope is to be subtracted", lambda *a: _path(*a, factor=-2)),
        Suspect("the factor 2 of the slope is missing", lambda *a: _path(*a, factor=1)),
    ),
    tried="four ways to store: two and four bits of significand, whole quarters, and nothing rounded",
)


def _places(rng):
    yield np.array([512.0, 640.0, 768.0, 896.0]), 0.09375, np.array([128.0, 128.0, 128.0, 128.0])
    yield np.array([1024.0, 1280.0, 1792.0]), 0.09375, np.array([256.0, 256.0, 256.0])
    for _ in range(50):
        n, lr = rng.integers(1, 7), round(float(rng.uniform(0.01, 0.4)), 3)
        gap = 2.0 ** rng.integers(0, 9, n)
        edge = gap * rng.choice([1 / (4 * lr), 1 / 4, 1 / 2], n)        # of the band, and of what mistakes make of it
        side = rng.choice([-1, 0, 1], n, p=[0.45, 0.1, 0.45])
        yield TARGET + np.round(side * edge * rng.uniform(0.2, 2, n), 1), lr, gap


def _half_gaps(x, lr, gap):
    return 2 * lr * np.abs(2 * (x - TARGET)) / gap


def _stuck(x, lr, gap):
    return _half_gaps(x, lr, gap) < 1


def _no_tie(x, lr, gap):
    """At exactly half a gap the tie rule would decide."""
    return bool(x.shape == gap.shape and np.all(gap > 0) and np.all(np.abs(_half_gaps(x, lr, gap) - 1) > 1e-6))


def _booleans(answer):
    array = np.asarray(answer)
    return array.astype(int) if array.dtype == bool else as_array(answer)


stuck = Task(
    title="Task 7 · stuck",
    shapes={"x": "n", "lr": "", "gap": "n"},
    expected=_stuck,
    inputs=_places,
    fixed=("lr",),
    valid=_no_tie,
    read=_booleans,
    properties=(
        Property("there is one answer for each x", same_shape),
        Property("every answer is True or False", lambda a, *_: bool(np.all((a == 0) | (a == 1)))),
        Property("at the minimum itself there is nothing to do, so x stays: True",
                 lambda a, e, x, *_: bool(np.all(a[x == TARGET] == 1))),
        Property("it is True exactly where the step is shorter than half the gap, on both sides of 1024",
                 lambda a, e, *_: bool(np.array_equal(a.astype(bool), e))),
    ),
    suspects=(
        Suspect("the step was compared with the gap, not with half of it", lambda x, lr, g: _half_gaps(x, lr, g) < 2),
        Suspect("the answers are turned round: True stands for what moves", lambda x, lr, g: _half_gaps(x, lr, g) >= 1),
        Suspect("the sign of the slope was kept: below 1024 it is negative, and always less than half a gap",
                lambda x, lr, g: 4 * lr * (x - TARGET) / g < 1),
        Suspect("the sign is turned and kept: above 1024 everything seems stuck",
                lambda x, lr, g: 4 * lr * (TARGET - x) / g < 1),
        Suspect("the factor 2 of the slope is missing", lambda x, lr, g: _half_gaps(x, lr, g) < 2),
        Suspect("the learning rate is missing", lambda x, lr, g: _half_gaps(x, 1.0, g) < 1),
        Suspect("the distance to 1024 was compared, not the step", lambda x, lr, g: np.abs(x - TARGET) < g / 2),
        Suspect("the slope was tested for zero; it is the update that vanishes", lambda x, lr, g: x == TARGET),
    ),
    tried="both sides of 1024, the minimum itself, gaps from 1 to 256",
)

TASKS = (to_nearest, directed, stochastic, standard_errors_off, gaps, descent, stuck)
