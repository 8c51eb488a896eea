"""Numbers to a float format and back: rounded in place, or as bit patterns.

Sources: as in ``formats``; Croci, Fasi, Higham, Mary, Mikaitis 2022, "Stochastic rounding: implementation, error
analysis and applications".
"""

import functools
import math
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike

from course_lib.arguments import choose, float_array, integer_array, real_array, result_array, seed_from, whole_number
from course_lib.kernels import elementwise, floats
from course_lib.machine import pool
from course_lib.numerics.formats import FloatFormat, Nans, as_format, exact
from course_lib.numerics.rounding import Rounding, round_one

KERNEL_MODE = {
    Rounding.NEAREST: elementwise.NEAREST,
    Rounding.DOWN: elementwise.DOWN,
    Rounding.UP: elementwise.UP,
    Rounding.TOWARD_ZERO: elementwise.TOWARD_ZERO,
    Rounding.STOCHASTIC: elementwise.STOCHASTIC,
}
_EMIN = np.finfo(np.float32).minexp
_GRAIN = 2**16                          # entries that are worth a thread
_PAST_CACHES = 2**22                    # bytes of a result from which on it is written past the caches; codes are few


def decode_one(code: int, format: FloatFormat) -> float | Fraction:
    """The number that a bit pattern stands for, a float (a Fraction past float64). The definition."""
    m = format.significand_bits
    code = whole_number(code, "code", 0, 2**format.bits - 1)
    negative, code = divmod(code, 2 ** (format.bits - 1))
    field, fraction = divmod(code, 2**m)
    if code > format.max_code:
        number = math.inf if code == format.infinity_code else math.nan
    elif field > 0:
        number = exact(2**m + fraction, field - format.bias - m)    # the hidden bit is 1
    else:
        number = exact(fraction if format.subnormals else 0, 1 - format.bias - m)
    return -number if negative else number


def to_format_one(
    x: float, format: FloatFormat,
    rounding: Rounding | str = "nearest", u: float | None = None,
    saturate: bool | None = None,
) -> float:
    """The number of the format that x rounds to. The definition.

    Near x the format is a grid: its numbers are whole multiples of the spacing. Too large is decided after rounding.
    """
    if math.isnan(x):
        return x
    spacing = format.spacing(x)
    r = round_one(x / spacing, rounding, u) * spacing if math.isfinite(x) else x
    if abs(r) > format.max:
        saturate = format.saturates if saturate is None else saturate
        inward = math.isfinite(x) and rounding in ("toward_zero", "down" if x > 0 else "up")
        r = format.max if saturate or inward else math.inf if format.infinities else math.nan
    return math.copysign(r, x)                                      # zero and NaN keep the sign too


def encode_one(
    x: float, format: FloatFormat,
    rounding: Rounding | str = "nearest", u: float | None = None,
    saturate: bool | None = None,
) -> int:
    """The bit pattern of the number that x rounds to. The definition.

    Below 2^emin a pattern counts spacings, x = code · spacing; each power of two from there on adds 2^m patterns.
    """
    r = to_format_one(x, format, rounding, u, saturate)
    if math.isnan(r):
        code = format.nan_code
    elif math.isinf(r):
        code = format.infinity_code
    else:
        e = max(math.frexp(r)[1] - 1, format.emin) if r else format.emin            # 2^e ≤ |r| < 2^(e + 1)
        code = int(abs(r) / 2.0 ** (e - format.significand_bits)) + (e - format.emin) * 2**format.significand_bits
    return code + (2 ** (format.bits - 1) if math.copysign(1, r) < 0 else 0)


def to_format(
    x: ArrayLike, format: FloatFormat | str, *, rounding: Rounding | str = Rounding.NEAREST,
    rng: np.random.Generator | None = None, saturate: bool | None = None, out: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray:  # fmt: skip
    """Round every entry to a number of the format, kept in the dtype of ``x``.

    A number of the format never moves, in any mode. NaN stays NaN, its payload is not kept (a format without NaN
    raises). What rounds beyond ±max, and ±inf, becomes ±max with ``saturate``; without it ±inf, or NaN in a format
    that has no infinities, only that a mode that rounds a finite number toward zero stops at ±max. Zero keeps its sign,
    and so does what rounds to zero. An empty array stays empty. ``x`` is not changed.

    Parameters
    ----------
    x : array_like, any shape, float32 or float64
        The dtype must hold the numbers of the format.
    format : FloatFormat or its name
    rounding : Rounding
        Nearest sends a tie to the number whose last bit is 0.
    rng : numpy.random.Generator, required for ``Rounding.STOCHASTIC``
        One 64-bit seed is drawn from it; the rest is counted per element, so the result does not depend on ``threads``.
    saturate : bool, ``format.saturates`` by default
    out : ndarray, optional
        Takes the result, which is returned: in a loop this saves what a new array costs, more than the arithmetic. Its
        shape and dtype must be those of the result; it may be ``x``. After an error it holds anything.
    threads : int, by default ``cl.threads()``

    Returns
    -------
    ndarray, shape and dtype of ``x``

    Raises
    ------
    TypeError
        ``x`` is neither float32 nor float64, or float32 does not hold the format.
    ValueError
        No such format or rounding; stochastic without ``rng``; NaN in a format without NaN; ``saturate=False`` in a
        format that has nothing to overflow to; ``out`` does not match.

    >>> to_format(np.array([1.06, 17.0, 500.0]), "e4m3")
    array([ 1., 16., nan])
    """
    x, format, mode, seed, grid = _prepare(x, format, rounding, rng, saturate)
    if format.nans is Nans.NONE:
        real_array(x)
    result = result_array(out, x.shape, x.dtype)
    rounded_into(result, x, grid, mode, seed, threads)
    return result


def rounded_into(result, x, grid, mode, seed, threads=None):
    """Round x by the kernel, on all threads.   x, result: the same shape and dtype; x any layout, result contiguous"""
    flat, out, past_caches = np.ascontiguousarray(x).reshape(-1), result.reshape(-1), result.nbytes >= _PAST_CACHES
    pool.run(lambda a, b: floats.round_to_format(flat[a:b], grid, mode, seed, a, past_caches, out[a:b]), flat.size,
             threads=threads, align=elementwise.LANES, grain=_GRAIN)


def encode(
    x: ArrayLike, format: FloatFormat | str, *, rounding: Rounding | str = Rounding.NEAREST,
    rng: np.random.Generator | None = None, saturate: bool | None = None, out: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray:  # fmt: skip
    """The bit pattern of the number that each entry rounds to.

    Same edge contract, parameters and errors as :func:`to_format`; any NaN becomes ``format.nan_code``, with its sign.
    Where ml_dtypes has the format, ``.view`` of the codes is an array of its dtype.

    Returns
    -------
    codes : ndarray, shape of ``x``, the narrowest of uint8, uint16, uint32, uint64 that holds ``format.bits``

    >>> encode(np.array([1.0, -2.0, 0.0]), "e4m3")
    array([ 56, 192,   0], dtype=uint8)
    """
    x, format, mode, seed, grid = _prepare(x, format, rounding, rng, saturate)
    dtype = code_dtype(format)
    result = result_array(out, x.shape, dtype)
    flat, codes = np.ascontiguousarray(x).reshape(-1), result.reshape(-1)
    if x.dtype == np.float32 and format.bits <= 16 and format.subnormals and (
            format.emin == _EMIN or format.emin >= format.significand_bits - 127):
        layout, nans = _layout(format, grid), []
        past_caches = codes.itemsize > 1 and codes.nbytes >= _PAST_CACHES
        pool.run(lambda a, b: nans.append(floats.encode(flat[a:b], grid, layout, mode, seed, a, past_caches,
                                                        codes[a:b])),
                 flat.size, threads=threads, align=elementwise.LANES, grain=_GRAIN)
        if format.nans is Nans.NONE and any(nans):
            real_array(x)                                       # raises, and says where
        return result
    if format.nans is Nans.NONE:
        real_array(x)
    bits = np.dtype(f"u{x.dtype.itemsize}")
    layout = np.array([np.finfo(x.dtype).nmant - format.significand_bits, 2**format.significand_bits,
                       format.infinity_code or 0, format.nan_code or 0, 2 ** (format.bits - 1)], bits)

    def some(a, b):
        rounded, wide = np.empty(b - a, x.dtype), np.empty(b - a, bits)
        floats.round_to_format(flat[a:b], grid, mode, seed, a, False, rounded)
        floats.pack(rounded, grid, layout, wide)
        codes[a:b] = wide

    pool.run(some, flat.size, threads=threads, align=elementwise.LANES, grain=_GRAIN)
    return result


@functools.lru_cache(maxsize=256)
def _layout(format, grid):
    """What the kernel ``encode`` has to know of the patterns of a format, for a grid of ``grid_of``."""
    code = lambda number: (format.max_code if number == format.max else
                           format.infinity_code if number == math.inf else format.nan_code or 0)    # noqa: E731
    return (format.bits, 23 - format.significand_bits, format.max_code, *(code(float(v)) for v in grid[4:7]),
            format.nan_code or 0, int(format.emin == _EMIN))


def decode(
    codes: np.ndarray, format: FloatFormat | str, *, out: np.ndarray | None = None, threads: int | None = None
) -> np.ndarray:
    """The numbers that bit patterns stand for.

    NaN patterns give NaN with their sign, whatever their payload; an empty array stays empty.

    Parameters
    ----------
    codes : integer ndarray, any shape, 0 to 2^bits − 1
    format : FloatFormat or its name
    out : ndarray, optional
        Takes the result, which is returned. Its shape and dtype must be those of the result.
    threads : int, by default ``cl.threads()``

    Returns
    -------
    ndarray, shape of ``codes``, float32 where that holds the format, else float64

    Raises
    ------
    TypeError, ValueError
        ``codes`` are not integers, or out of range; a format beyond float64.

    >>> decode(np.array([56, 192, 127]), "e4m3")
    array([ 1., -2., nan], dtype=float32)
    """
    codes, format = integer_array(codes, "codes"), as_format(format)
    format.check_float64()
    narrow = code_dtype(format)
    fits = codes.dtype == narrow and format.bits == 8 * narrow.itemsize
    if not fits and codes.size and not 0 <= int(codes.min()) <= int(codes.max()) < 2**format.bits:
        raise ValueError(f"codes run from {codes.min()} to {codes.max()}; the {format.bits} bits of {format.name} have "
                         f"0 to {2**format.bits - 1}")
    single = format.holds(np.float32)
    result = result_array(out, codes.shape, np.float32 if single else np.float64)
    if not single or format.bits > 16:
        result[...] = _decode(codes.astype(np.uint64), format)
        return result
    flat, numbers, table = np.ascontiguousarray(codes, narrow).reshape(-1), result.reshape(-1), _table(format)
    pool.run(lambda a, b: floats.look_up(flat[a:b], table, numbers[a:b]), flat.size, threads=threads, grain=_GRAIN)
    return result


def code_dtype(format):
    """The narrowest unsigned dtype that holds the bit patterns."""
    return np.dtype(f"uint{max(8, 2 ** math.ceil(math.log2(format.bits)))}")


@functools.lru_cache(maxsize=64)
def _table(format):
    """Every number of a format of up to 16 bits, by its bit pattern: float32."""
    table = _decode(np.arange(2**format.bits, dtype=np.uint64), format).astype(np.float32)
    table.flags.writeable = False
    return table


def _decode(codes, format):
    """decode_one, for arrays: uint64 to float64."""
    rest = codes & np.uint64(2 ** (format.bits - 1) - 1)
    field = (rest >> np.uint64(format.significand_bits)).astype(np.int32)
    significand = (rest & np.uint64(2**format.significand_bits - 1)).astype(np.float64)
    significand[field == 0] *= format.subnormals
    significand += (field > 0) * 2.0**format.significand_bits
    special = rest > np.uint64(format.max_code)
    exponent = np.where(special, 0, np.maximum(field, 1) - format.bias - format.significand_bits)
    number = np.where(special, np.nan, np.ldexp(significand, exponent))
    if format.infinities:
        number[rest == np.uint64(format.infinity_code)] = np.inf
    return np.copysign(number, np.where(codes == rest, 1.0, -1.0))


def _prepare(x, format, rounding, rng, saturate):
    """Check the arguments and lay out for a kernel what it has to know of the format."""
    x, format = float_array(x), as_format(format)
    rounding = choose(Rounding, rounding, "rounding")
    format.check_float64()
    if not format.holds(x.dtype):
        raise TypeError(f"x has dtype float32, which does not hold the numbers of {format.name}: "
                        "use x.astype(np.float64)")
    grid = grid_of(format, rounding, saturate, x.dtype)
    seed = seed_from(rng) if rounding is Rounding.STOCHASTIC else np.uint64(0)
    return x, format, KERNEL_MODE[rounding], seed, grid


@functools.lru_cache(maxsize=256)                                   # a descent asks for the same one at every step
def grid_of(format, rounding, saturate, dtype):
    """A format as the kernels take it: smallest normal, ε, lowest spacing, largest, and what replaces the too large."""
    saturate = format.saturates if saturate is None else saturate
    if format.nans is Nans.NONE and not saturate:
        raise ValueError(f"saturate=False needs inf or NaN to overflow to, and {format.name} has neither: "
                         "use saturate=True")
    beyond = format.max if saturate else math.inf if format.infinities else math.nan
    above = format.max if rounding in (Rounding.DOWN, Rounding.TOWARD_ZERO) else beyond
    below = format.max if rounding in (Rounding.UP, Rounding.TOWARD_ZERO) else beyond
    lowest = format.min_subnormal if format.subnormals else format.min_normal
    numbers = (format.min_normal, 2.0**-format.significand_bits, lowest, format.max, above, below, beyond)
    return tuple(map(np.dtype(dtype).type, numbers))
