"""Five ways to round a real number to a whole one.

Source: Croci, Fasi, Higham, Mary, Mikaitis 2022, "Stochastic rounding: implementation, error analysis and
applications".
"""

import math
from enum import Enum

import numpy as np
from numpy.typing import ArrayLike

from course_lib.arguments import choose, real_array, seed_from
from course_lib.kernels import elementwise
from course_lib.machine import pool


class Rounding(str, Enum):
    """To the nearest whole number (ties to the even one), down, up, toward zero, or up with probability x − ⌊x⌋."""

    NEAREST = "nearest"
    DOWN = "down"
    UP = "up"
    TOWARD_ZERO = "toward_zero"
    STOCHASTIC = "stochastic"


def round_one(
    x: float, mode: Rounding | str, u: float | None = None
) -> float:
    """Round one finite number; ``u`` in [0, 1) decides the stochastic mode. The definition."""
    x = float(x)                                        # exact, and it also takes NumPy's numbers
    if mode == "nearest":
        return round(x)                                 # Python's round: a tie goes to the even one
    if mode == "down":
        return math.floor(x)
    if mode == "up":
        return math.ceil(x)
    if mode == "toward_zero":
        return math.trunc(x)
    if mode == "stochastic":
        return math.floor(x) + (u < x - math.floor(x))  # up with probability x − ⌊x⌋: E[result] = x
    raise ValueError(f"unknown rounding mode {mode!r}")


def uniform_one(
    seed: int, i: int, dtype: type[np.floating] = np.float64
) -> np.floating:
    """Element ``i`` of the random stream ``seed``, in [0, 1): SplitMix64 (Steele, Lea, Flood 2014). The definition.

    The number depends on ``seed`` and ``i`` alone: an array may be rounded in any order, by any number of threads.
    For float64 it is a multiple of 2⁻⁵³. Two neighbours in float32 share one 64-bit number: the low half and the high
    half give each a multiple of 2⁻²⁴.
    """
    single = dtype == np.float32
    z = (seed + ((i // 2 if single else i) + 1) * 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    z ^= z >> 31
    return (z >> (40 if i % 2 else 8)) % 2**24 / 2**24 if single else (z >> 11) / 2**53


def round_to_integer(
    x: ArrayLike, rounding: Rounding | str = Rounding.NEAREST, *, rng: np.random.Generator | None = None,
    threads: int | None = None,
) -> np.ndarray:  # fmt: skip
    """Round every entry to a whole number, kept in the dtype of ``x``.

    NaN raises; ±inf stays; a zero result is +0.0; an empty array stays empty; whole numbers never change.

    Parameters
    ----------
    x : array_like, any shape, float32 or float64
    rounding : Rounding
    rng : numpy.random.Generator, required for ``Rounding.STOCHASTIC``
    threads : int, by default ``cl.threads()``; the result does not depend on it

    Returns
    -------
    ndarray, shape and dtype of ``x``

    Raises
    ------
    TypeError, ValueError
        ``x`` is not float32 or float64, or has a NaN; an unknown rounding; stochastic without ``rng``.
    """
    x = real_array(x)
    rounding = choose(Rounding, rounding, "rounding")
    if rounding is Rounding.STOCHASTIC:
        whole = np.empty(x.shape, x.dtype)
        flat, seed, lines = np.ascontiguousarray(x).reshape(-1), seed_from(rng), whole.reshape(-1)
        pool.run(lambda a, b: elementwise.round_stochastic(flat[a:b], seed, a, lines[a:b]), flat.size, threads=threads,
                 align=elementwise.LANES, grain=2**16)
    else:
        whole = _IN_NUMPY[rounding](x)
    return np.asarray(whole + x.dtype.type(0))          # −0 + 0 is +0


_IN_NUMPY = {
    Rounding.NEAREST: np.rint, Rounding.DOWN: np.floor, Rounding.UP: np.ceil, Rounding.TOWARD_ZERO: np.trunc,
}
