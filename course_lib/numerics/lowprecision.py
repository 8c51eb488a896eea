"""Arithmetic in few bits: every result is rounded to the format before the next operation sees it.

A format is a ``FloatFormat`` (or its name) or a ``FixedPoint``.

Sources: Gupta, Agrawal, Gopalakrishnan, Narayanan 2015, "Deep learning with limited numerical precision", for fixed
point; Xia, Massei, Hochstenbach, Koren 2024, "On stochastic roundoff errors in gradient descent with low-precision
computation".
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from course_lib.arguments import choose, float64_array, float_array, real_array, seed_from, whole_number
from course_lib.kernels import floats
from course_lib.numerics.conversion import KERNEL_MODE, grid_of, rounded_into, to_format
from course_lib.numerics.formats import FloatFormat, as_format
from course_lib.numerics.rounding import Rounding, round_one


class Order(str, Enum):
    """From left to right, or the sums of neighbours, then the sums of those, and so on."""

    SEQUENTIAL = "sequential"
    PAIRWISE = "pairwise"


@dataclass(frozen=True)
class FixedPoint:
    """⟨IL, FL⟩: whole multiples of 2^−FL in IL + FL bits, two's complement; IL counts the sign.

    Parameters
    ----------
    integer_bits : int, 1 to 53
    fraction_bits : int, 0 to 52; together up to 53

    >>> FixedPoint(8, 8).min, FixedPoint(8, 8).max, FixedPoint(8, 8).epsilon
    (-128.0, 127.99609375, 0.00390625)
    """

    integer_bits: int
    fraction_bits: int

    def __post_init__(self):
        whole_number(self.integer_bits, "integer_bits", 1, 53)
        whole_number(self.fraction_bits, "fraction_bits", 0, 53 - self.integer_bits)

    @property
    def bits(self) -> int:
        """Word length, IL + FL."""
        return self.integer_bits + self.fraction_bits

    @property
    def epsilon(self) -> float:
        """The step between two numbers, 2^−FL."""
        return 2.0**-self.fraction_bits

    @property
    def min(self) -> float:
        """The smallest number, −2^(IL − 1)."""
        return -(2.0 ** (self.integer_bits - 1))

    @property
    def max(self) -> float:
        """The largest number, 2^(IL − 1) − 2^−FL."""
        return 2.0 ** (self.integer_bits - 1) - self.epsilon


Grid = FloatFormat | FixedPoint  # whose numbers sums are rounded to


def to_fixed_one(
    x: float, fixed: FixedPoint, rounding: Rounding | str = "nearest",
    u: float | None = None,
) -> float:
    """The multiple of ε that one number rounds to, kept in range. The definition."""
    return round_one(min(max(x, fixed.min), fixed.max) / fixed.epsilon, rounding, u) * fixed.epsilon


def to_fixed(
    x: ArrayLike, fixed: FixedPoint, *, rounding: Rounding | str = Rounding.NEAREST,
    rng: np.random.Generator | None = None,
) -> np.ndarray:  # fmt: skip
    """Round every entry to a whole multiple of 2^−FL, kept in the dtype of ``x``; outside the range it saturates.

    NaN raises; ±inf saturates; a zero result is +0.0; an empty array stays empty; a number of the format never moves.

    Parameters
    ----------
    x : array_like, any shape, float32 or float64
    fixed : FixedPoint, of up to 25 bits if ``x`` is float32
    rounding : Rounding
    rng : numpy.random.Generator, required for ``Rounding.STOCHASTIC``

    Returns
    -------
    ndarray, shape and dtype of ``x``

    Raises
    ------
    TypeError, ValueError
        ``x`` has another dtype, a NaN, or too few bits for the format; unknown rounding; stochastic without ``rng``.
    """
    x, rounding = real_array(x), choose(Rounding, rounding, "rounding")
    if not isinstance(fixed, FixedPoint):
        raise TypeError(f"fixed={fixed!r} must be a FixedPoint, such as FixedPoint(integer_bits=8, fraction_bits=8)")
    if fixed.bits > np.finfo(x.dtype).nmant + 2:
        raise TypeError(f"x has dtype float32, which does not hold numbers of {fixed.bits} bits: "
                        "use x.astype(np.float64)")
    seed = seed_from(rng) if rounding is Rounding.STOCHASTIC else np.uint64(0)
    grid = tuple(map(x.dtype.type, _fixed_grid(fixed)))
    inside = np.clip(x, x.dtype.type(fixed.min), x.dtype.type(fixed.max))
    out = np.empty(x.shape, x.dtype)
    rounded_into(out, inside, grid, KERNEL_MODE[rounding], seed)
    return np.asarray(out + x.dtype.type(0))                        # −0 + 0 is +0


def round_in(
    x: ArrayLike, format: Grid | str, *, rounding: Rounding | str = Rounding.NEAREST,
    rng: np.random.Generator | None = None,
) -> np.ndarray:  # fmt: skip
    """:func:`to_format` or :func:`to_fixed`, whichever the format is."""
    convert = to_fixed if isinstance(format, FixedPoint) else to_format
    return convert(x, format, rounding=rounding, rng=rng)


def sum_in(
    x: ArrayLike, format: Grid | str, *, rounding: Rounding | str = Rounding.NEAREST,
    rng: np.random.Generator | None = None, order: Order | str = Order.SEQUENTIAL,
) -> float:  # fmt: skip
    """Σ x with every entry and every partial sum rounded to the format.

    An empty sum is 0.0; NaN, ±inf and overflow as in :func:`to_format` or :func:`to_fixed`. A format that overflows can
    be told to saturate: ``dataclasses.replace(cl.numerics.FORMATS["e4m3"], saturates=True)``.

    Parameters
    ----------
    x : array_like, any shape (read in C order), float32 or float64
    format : FloatFormat (or its name) up to fp32, fp64 with rounding to nearest, or FixedPoint up to 26 bits
        So far float64, which does the arithmetic here, holds what has to be rounded.
    rounding : Rounding
    rng : numpy.random.Generator, required for ``Rounding.STOCHASTIC``
    order : Order

    Returns
    -------
    float

    Raises
    ------
    TypeError, ValueError
        As :func:`to_format` and :func:`to_fixed`; a format that is too wide.

    >>> sum_in(np.full(1000, 0.1), "bfloat16"), sum_in(np.full(1000, 0.1), "bfloat16", order="pairwise")
    (32.0, 100.0)
    """
    order = choose(Order, order, "order")
    if order is Order.SEQUENTIAL:
        sums = cumsum_in(x, format, rounding=rounding, rng=rng)
        return float(sums[-1]) if sums.size else 0.0
    x = round_in(_double(x).reshape(-1), format, rounding=rounding, rng=rng)
    while x.size > 1:
        pairs, last = x[: x.size // 2 * 2], x[x.size // 2 * 2 :]
        x = np.concatenate([add_in(pairs[::2], pairs[1::2], format, rounding=rounding, rng=rng), last])
    return float(x[0]) if x.size else 0.0


def cumsum_in(
    x: ArrayLike, format: Grid | str, *, rounding: Rounding | str = Rounding.NEAREST,
    rng: np.random.Generator | None = None,
) -> NDArray[np.float64]:  # fmt: skip
    """The partial sums of :func:`sum_in` from left to right: float64 (n,), to see an error grow."""
    arithmetic = _prepare(format, rounding, rng)
    x = round_in(_double(x).reshape(-1), format, rounding=rounding, rng=rng)
    sums = np.empty_like(x)
    floats.accumulate(x, *arithmetic, sums)
    return sums


def dot_in(
    x: ArrayLike, y: ArrayLike, format: Grid | str, *, rounding: Rounding | str = Rounding.NEAREST,
    rng: np.random.Generator | None = None, order: Order | str = Order.SEQUENTIAL,
    accumulator: Grid | str | None = None,
) -> float:  # fmt: skip
    """Σ xᵢ yᵢ with entries, products and partial sums rounded to the format; 0.0 for empty arrays.

    Parameters
    ----------
    x, y : array_like of one shape, float32 or float64
    format, rounding, rng, order : as in :func:`sum_in`
    accumulator : format of products and sums, if it is another one

    Returns
    -------
    float
    """
    x, y = _double(x), _double(y, "y")
    if x.shape != y.shape:
        raise ValueError(f"x has shape {x.shape} and y {y.shape}; they must agree")
    x, y = (round_in(v, format, rounding=rounding, rng=rng) for v in (x, y))
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        products = x * y                                            # exact in float64, up to fp32
    return sum_in(products, format if accumulator is None else accumulator, rounding=rounding, rng=rng, order=order)


def add_in(
    x: ArrayLike, y: ArrayLike, format: Grid | str, *, rounding: Rounding | str = Rounding.NEAREST,
    rng: np.random.Generator | None = None,
) -> NDArray[np.float64]:  # fmt: skip
    """x + y, the exact sum, rounded once to the format: float64.   x, y: float32 or float64, shapes that broadcast"""
    arithmetic = _prepare(format, rounding, rng)
    x, y = _double(x), _double(y, "y")
    try:
        x, y = np.broadcast_arrays(x, y)
    except ValueError:
        raise ValueError(f"x has shape {x.shape} and y {y.shape}; they must agree, or broadcast") from None
    sums = np.empty(x.shape)
    floats.add(x.ravel(), y.ravel(), *arithmetic, sums.reshape(-1))
    return sums


def gradient_descent_in(
    gradient: Callable[[np.ndarray], np.ndarray], x0: ArrayLike, lr: float, steps: int, format: Grid | str, *,
    rounding: Rounding | str = Rounding.NEAREST, rng: np.random.Generator | None = None,
) -> NDArray[np.float64]:  # fmt: skip
    """x ← x − lr · g(x), with the gradient, its product with lr, and the difference each rounded to the format.

    ``x0`` and ``lr`` are rounded to nearest first, since they too must be stored. Where the gradient works entry by
    entry, every entry of ``x0`` is a run of its own, and with stochastic rounding takes its own steps.

    Parameters
    ----------
    gradient : callable, float64 ndarray to ndarray of the same shape
    x0 : float or array_like
    lr : float
    steps : int
    format : as in :func:`sum_in`
    rounding : Rounding
    rng : numpy.random.Generator, required for ``Rounding.STOCHASTIC``

    Returns
    -------
    ndarray, (steps + 1, *shape of x0), float64: all iterates, x0 first

    Source: Xia et al. 2024, who study these three roundoff errors.

    >>> gradient_descent_in(lambda x: 2 * (x - 1024), 1.0, 0.1, 50, "e5m2")[-1].item()
    768.0
    """
    whole_number(steps, "steps", 0, 2**31)
    options = {"rounding": rounding, "rng": rng}
    x, lr = (round_in(float64_array(v, name), format) for name, v in (("x0", x0), ("lr", lr)))
    if lr.shape not in ((), x.shape):
        raise ValueError(f"lr has shape {lr.shape} and x0 {x.shape}; lr must be one number, or one for each entry")
    path = np.empty((steps + 1, *x.shape))
    path[0] = x
    for step in range(steps):
        slope = np.asarray(gradient(path[step]), np.float64)
        if slope.shape != x.shape:
            raise ValueError(f"gradient gave shape {slope.shape} for x of shape {x.shape}; they must agree")
        move = round_in(lr * round_in(slope, format, **options), format, **options)
        path[step + 1] = add_in(path[step], -move, format, **options)
    return path


def _double(x, name="x"):
    return float_array(x, name).astype(np.float64)


def _fixed_grid(fixed):
    """Fixed point as the kernels take a format: no number is large enough to be normal, so the spacing stays."""
    return np.inf, 1.0, fixed.epsilon, fixed.max, fixed.max, -fixed.min, fixed.max


def _prepare(format, rounding, rng):
    """What the kernels of arithmetic take: grid, whether float64 can be told to sum exactly, mode, seed."""
    rounding = choose(Rounding, rounding, "rounding")
    if isinstance(format, FixedPoint):
        grid, exact, fits = _fixed_grid(format), True, format.bits <= 26
    else:
        format = as_format(format)
        format.check_float64()
        grid, exact = grid_of(format, rounding, None, np.float64), format.precision <= 24
        fits = exact or format.precision == 53 and rounding is Rounding.NEAREST
    if not fits:
        raise ValueError(f"format={format!r} with rounding={rounding.value!r}: float64 does the arithmetic here, so "
                         "the format may have up to 24 bits of significand (fp32), or be fp64 with rounding to "
                         "nearest, or FixedPoint of up to 26 bits")
    seed = seed_from(rng) if rounding is Rounding.STOCHASTIC else np.uint64(0)
    return tuple(map(np.float64, grid)), exact, KERNEL_MODE[rounding], seed
