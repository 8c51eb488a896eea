"""Tasks 5 to 7 of lab 02: gaps of a float format, and a descent in it."""

import numpy as np

from course_lib.check.base import Property, Suspect, Task, as_array, same_shape
from course_lib.check.quantizer import close_scales

TARGET = 1024.0


def _positive(rng):
    yield np.array([1.0, 1.5, 2.0, 768.0, 1024.0, 0.75]), 2
    yield np.array([0.1, 100.0, 3.999, 4.0]), 7
    for _ in range(50):
        x = 2.0 ** rng.uniform(-8, 12, rng.integers(1, 7))
        yield np.where(rng.random(x.size) < 0.3, 2.0 ** np.floor(np.log2(x)), x), int(rng.integers(1, 11))
    for _ in range(20):
        x = 2.0 ** rng.integers(-28, 100, rng.integers(1, 5))
        # just beside a power of two, but not where a right logarithm, or a ratio of two, is off by a rounding
        yield x * rng.choice([1, 1 - 1e-9, 1 + 1e-9, 1 - 1e-6, 1.5], x.size), int(rng.integers(1, 24))
    yield 2.0 ** np.arange(-28.0, 61), 3


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
        Property("the gap at x is 2^(e − m), where 2^e ≤ x < 2^(e + 1)", close_scales),
    ),
    suspects=(
        Suspect("frexp gives a number between ½ and 1, so its exponent is one more than e",
                lambda x, m: 2 * _gaps(x, m)),
        Suspect("m - 1 stands for m, which is the stored bits alone", lambda x, m: 2 * _gaps(x, m)),
        Suspect("the hidden bit was counted: m is the stored bits alone", lambda x, m: _gaps(x, m) / 2),
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
    tried="powers of two and what is just beside them, from tiny to huge, 1 to 23 stored bits",
)


def _to_significand(x, m):
    x = np.asarray(x, float)
    gap = 2.0 ** (np.frexp(x)[1] - 1 - m)
    return np.rint(x / gap) * gap


def _store(words, function):
    """A stand-in for a format, with the words in which a message shows it."""
    function.words = words
    return function


to_quarters = _store("rounds to whole multiples of 1/4", lambda x: np.rint(4 * np.asarray(x, float)) / 4)
to_e5m2 = _store("rounds to e5m2: two stored bits", lambda x: _to_significand(x, 2))
to_four_bits = _store("rounds to four stored bits", lambda x: _to_significand(x, 4))
exactly = _store("rounds nothing", lambda x: np.asarray(x, float))


def _descents(rng):
    yield 150.0, 0.12, 2, to_e5m2
    yield 1.0, 0.1, 8, to_e5m2
    yield 1000.3, 0.3, 3, to_quarters
    yield 10.0, 0.25, 4, exactly
    yield 1.0, 0.1, 20, to_e5m2                 # it stands still long before the end, and the path goes on
    yield 700.3, 0.1, 0, to_quarters
    for x0 in (-300.7, 0.0, 1024.0, 1024.3, 3000.9):
        for store in (to_e5m2, to_quarters, exactly):
            yield x0, round(float(rng.uniform(0.02, 0.45)), 3), 3, store
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
    valid=lambda x0, lr, steps, store: abs(x0) <= 4096 and 0.01 < lr < 0.5 and steps >= 0,
    properties=(
        Property("the path has steps + 1 entries, the start and what each step leads to",
                 lambda a, e, *_: a.shape == e.shape or f"Your shape is {a.shape}, the right one {e.shape}."),
        Property("the path begins with the stored x0",
                 lambda a, e, *_: bool(np.isclose(a[0], e[0], rtol=1e-6, atol=0))),
        Property("where `store` rounds nothing, each step is x − lr · 2 (x − 1024)",
                 lambda a, e, x0, lr, steps, store: store is not exactly or bool(np.allclose(a, e, rtol=1e-6))),
        Property("every x on the path has been stored",
                 lambda a, e, x0, lr, steps, store: bool(np.allclose(a, store(a)))),
        Property("the learning rate, the slope, the move and the new x are stored, each before it is used",
                 lambda a, e, *_: bool(np.allclose(a, e, rtol=1e-6))),
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
    for lr in 2.0 ** -np.arange(2, 6):                      # exactly half a gap, in numbers that have no rounding error
        gap = 2.0 ** rng.integers(0, 9, 3)
        yield TARGET + np.array([-1, 1, 0]) * gap / (4 * lr), float(lr), gap
    for _ in range(20):
        n, lr = rng.integers(1, 5), round(float(rng.uniform(0.01, 0.4)), 3)
        gap = 2.0 ** rng.integers(-6, 12, n) * rng.choice([1, 1.25], n)
        yield TARGET + rng.choice([-1, 1], n) * gap / (4 * lr) * (1 + rng.choice([-1, 1], n) * 1e-4), lr, gap


def _half_gaps(x, lr, gap):
    return 2 * lr * np.abs(2 * (x - TARGET)) / gap


def _stuck(x, lr, gap):
    return _half_gaps(x, lr, gap) < 1


def _no_tie(x, lr, gap):
    """Exactly half a gap only where a rounding error cannot decide."""
    exact = np.frexp(lr)[0] == 0.5 and np.all(8 * x == np.rint(8 * x))
    return bool(x.shape == gap.shape and np.all(gap > 0)
                and (exact or np.all(np.abs(_half_gaps(x, lr, gap) - 1) > 1e-6)))


def _booleans(answer):
    array = as_array(answer, "biuf")
    return array.astype(int) if array.dtype == bool else array


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
                 lambda a, e, x, lr, gap: bool(np.all((a == e) | (_half_gaps(x, lr, gap) == 1)))),
        Property("a step of exactly half the gap is not shorter than it: False",
                 lambda a, e, *_: bool(np.all(a == e))),
    ),
    suspects=(
        Suspect("the step was compared with the gap, not with half of it", lambda x, lr, g: _half_gaps(x, lr, g) < 2),
        Suspect("≤ stands for <: exactly half the gap is not shorter", lambda x, lr, g: _half_gaps(x, lr, g) <= 1),
        Suspect("the step was compared with a quarter of the gap, not with half of it",
                lambda x, lr, g: _half_gaps(x, lr, g) < 0.5),
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
    tried="both sides of 1024, the minimum itself, steps just above and below half a gap, and of just that, "
          "gaps from 1/64 to 2560",
)
