"""Make a failing input small: fewer rows and columns first, then simpler numbers."""

import time

import numpy as np

TRIES, SECONDS = 600, 2.0


def shrink(arguments, shapes, fixed, broken_by, problem):
    """Walk greedily to smaller arguments as long as `broken_by(arguments)` returns a problem (not None).

    Returns the smallest arguments found and their problem. Stops after 600 tries or two seconds, and when interrupted:
    a message that comes late helps nobody.
    """
    deadline, tries, moving = time.monotonic() + SECONDS, 0, True
    while moving:
        moving = False
        for candidate in _smaller(arguments, shapes, fixed):
            tries += 1
            if tries > TRIES or time.monotonic() > deadline:
                return arguments, problem
            try:
                found = broken_by(candidate)
            except KeyboardInterrupt:           # the function may never end on a candidate; what was found stands
                return arguments, problem
            if found is not None:
                arguments, problem, moving = candidate, found, True
                break
    return arguments, problem


def _smaller(arguments, shapes, fixed):
    names = list(shapes)
    letters = {n: shapes[n][len(shapes[n]) - np.ndim(a):] for n, a in zip(names, arguments)}
    for letter in sorted(set("".join(letters.values())) - {"1"}):
        sizes = [a.shape[letters[n].index(letter)] for n, a in zip(names, arguments) if letter in letters[n]]
        for keep in _fewer(sizes[0]):
            yield tuple(np.take(a, keep, axis=letters[n].index(letter)) if letter in letters[n] else a
                        for n, a in zip(names, arguments))
    for position, (name, value) in enumerate(zip(names, arguments)):
        if name not in fixed:
            for simpler in _simpler(value):
                yield arguments[:position] + (simpler,) + arguments[position + 1:]


def _fewer(size):
    """Index lists to keep: each half, then all but one."""
    if size > 3:
        yield np.arange(size // 2)
        yield np.arange(size // 2, size)
    if 1 < size <= 16:
        for out in range(size):
            yield np.delete(np.arange(size), out)


def _simpler(value):
    """The same value with one number replaced by a simpler one."""
    if isinstance(value, np.ndarray) and value.size <= 12:
        for index in np.ndindex(value.shape):
            for number in _simpler_numbers(value[index]):
                changed = value.copy()
                changed[index] = number
                yield changed
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield from _simpler_numbers(value)


def _simpler_numbers(number):
    kind = int if isinstance(number, int | np.integer) else float
    value = float(number)
    tries = (0, 1, -1, 2, np.round(value), round(value, 1), np.trunc(value / 2))  # np.round(1e308, 1) overflows
    for candidate in dict.fromkeys(kind(t) for t in tries):
        if _fits(candidate, number) and _cost(candidate) < _cost(number):
            yield candidate


def _fits(candidate, number):
    """Whether a number can stand in an array where `number` stands."""
    if not isinstance(number, np.integer):
        return True
    limits = np.iinfo(number.dtype)
    return limits.min <= candidate <= limits.max


def _cost(number):
    """Fewer characters is simpler, then nearer to zero, then positive."""
    return (len(f"{abs(float(number)):.6g}"), abs(float(number)), number < 0)
