"""Numbers to a float format and back: rounded in place, or as bit patterns.

Sources: as in ``formats``; Croci, Fasi, Higham, Mary, Mikaitis 2022, "Stochastic rounding: implementation, error analysis
and applications".
"""

import functools
import math

import numpy as np

from course_lib.kernels import elementwise, floats
from course_lib.numerics.checks import choose, float_array, real_array, seed_from
from course_lib.numerics.formats import Nans, as_format
from course_lib.numerics.rounding import Rounding

KERNEL_MODE = {
    Rounding.NEAREST: elementwise.NEAREST,
    Rounding.DOWN: elementwise.DOWN,
    Rounding.UP: elementwise.UP,
    Rounding.TOWARD_ZERO: elementwise.TOWARD_ZERO,
    Rounding.STOCHASTIC: elementwise.STOCHASTIC,
}


def to_format(x, format, *, rounding=Rounding.NEAREST, rng=None, saturate=None):
    """Round every entry to a number of the format, kept in the dtype of ``x``.

    A number of the format never moves, in any mode. NaN stays NaN, without its payload (a format that has no NaN raises).
    What rounds beyond ±max, and ±inf, becomes ±max with ``saturate``; without, ±inf, or NaN in a format that has no
    infinities, except that down, up and toward zero stop at ±max on the side of zero. Zero keeps its sign, and so does
    what rounds to zero. An empty array stays empty. ``x`` is not changed.

    Parameters
    ----------
    x : array_like, any shape, float32 or float64
        The dtype must hold the numbers of the format.
    format : FloatFormat or its name
    rounding : Rounding
        Nearest sends a tie to the number whose last bit is 0.
    rng : numpy.random.Generator, required for ``Rounding.STOCHASTIC``
        One 64-bit seed is drawn from it; the rest is counted per element.
    saturate : bool, ``format.saturates`` by default

    Returns
    -------
    ndarray, shape and dtype of ``x``

    Raises
    ------
    TypeError
        ``x`` is neither float32 nor float64, or float32 does not hold the format.
    ValueError
        No such format or rounding; stochastic without ``rng``; NaN in a format without NaN; ``saturate=False`` in a format
        that has nothing to overflow to.

    >>> to_format(np.array([1.06, 17.0, 500.0]), "e4m3")
    array([ 1., 16., nan])
    """
    x, format, mode, seed, grid = _prepare(x, format, rounding, rng, saturate)
    out = np.empty(x.shape, x.dtype)
    floats.round_to_format(np.ascontiguousarray(x).reshape(-1), grid, mode, seed, out.reshape(-1))
    return out


def encode(x, format, *, rounding=Rounding.NEAREST, rng=None, saturate=None):
    """The bit pattern of the number that each entry rounds to.

    Same edge contract, parameters and errors as :func:`to_format`; every NaN becomes ``format.nan_code``, with its sign.

    Returns
    -------
    codes : ndarray, shape of ``x``, the narrowest of uint8, uint16, uint32, uint64 that holds ``format.bits``

    >>> encode(np.array([1.0, -2.0, 0.0]), "e4m3")
    array([ 56, 192,   0], dtype=uint8)
    """
    x, format, mode, seed, grid = _prepare(x, format, rounding, rng, saturate)
    dtype = code_dtype(format)
    out = np.empty(x.shape, dtype if x.dtype == np.float32 else np.uint64)
    specials = (code or 0 for code in (format.infinity_code, format.nan_code))
    layout = (np.finfo(x.dtype).nmant - format.significand_bits, 2**format.significand_bits, *specials, 2 ** (format.bits - 1))
    floats.encode(np.ascontiguousarray(x).reshape(-1), grid, tuple(map(np.uint64, layout)), mode, seed, out.reshape(-1))
    return out.astype(dtype, copy=False)


def decode(codes, format):
    """The numbers that bit patterns stand for.

    NaN patterns give NaN with their sign, whatever their payload; an empty array stays empty.

    Parameters
    ----------
    codes : integer ndarray, any shape, 0 to 2^bits − 1
    format : FloatFormat or its name

    Returns
    -------
    ndarray, shape of ``codes``, float32 where that holds the format, else float64

    Raises
    ------
    TypeError, ValueError
        ``codes`` are not integers, or out of range; a format beyond float64.
    """
    codes, format = np.asarray(codes), as_format(format)
    dtype = np.float32 if format.holds(np.float32) else np.float64
    _check_holds(format, dtype)
    if codes.dtype.kind not in "iu":
        raise TypeError(f"codes has dtype {codes.dtype}; it must be an integer dtype")
    if codes.size and not 0 <= int(codes.min()) <= int(codes.max()) < 2**format.bits:
        raise ValueError(f"codes run from {codes.min()} to {codes.max()}; the {format.bits} bits of {format.name} have 0 to "
                         f"{2**format.bits - 1}")
    if format.bits <= 16:
        return _table(format)[codes]
    return _decode(codes.astype(np.uint64), format).astype(dtype)


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
    significand = (rest & np.uint64(2**format.significand_bits - 1)).astype(np.float64) * (format.subnormals | (field > 0))
    significand += (field > 0) * 2.0**format.significand_bits
    special = rest > np.uint64(format.max_code)
    exponent = np.where(special, 0, np.maximum(field, 1) - format.bias - format.significand_bits)
    number = np.where(special, np.nan, np.ldexp(significand, exponent))
    if format.infinities:
        number[rest == np.uint64(format.infinity_code)] = np.inf
    return np.copysign(number, np.where(codes == rest, 1.0, -1.0))


def _check_holds(format, dtype):
    if not format.holds(dtype):
        if format.holds(np.float64):
            raise TypeError(f"x has dtype float32, which does not hold the numbers of {format.name}: "
                            "use x.astype(np.float64)")
        raise ValueError(f"format {format.name} reaches beyond float64: its properties are exact, conversions are not offered")


def _prepare(x, format, rounding, rng, saturate):
    """Check the arguments and lay out for a kernel what it has to know of the format."""
    x, format = float_array(x), as_format(format)
    rounding = choose(Rounding, rounding, "rounding")
    _check_holds(format, x.dtype)
    grid = grid_of(format, rounding, saturate, x.dtype)
    if format.nans is Nans.NONE:
        real_array(x)
    seed = seed_from(rng) if rounding is Rounding.STOCHASTIC else np.uint64(0)
    return x, format, KERNEL_MODE[rounding], seed, grid


def grid_of(format, rounding, saturate, dtype):
    """A format as the kernels take it: smallest normal, ε, lowest spacing, largest, and what replaces the too large."""
    saturate = format.saturates if saturate is None else saturate
    if format.nans is Nans.NONE and not saturate:
        raise ValueError(f"saturate=False needs inf or NaN to overflow to, and {format.name} has neither: use saturate=True")
    beyond = format.max if saturate else math.inf if format.infinities else math.nan
    above = format.max if rounding in (Rounding.DOWN, Rounding.TOWARD_ZERO) else beyond
    below = format.max if rounding in (Rounding.UP, Rounding.TOWARD_ZERO) else beyond
    lowest = format.min_subnormal if format.subnormals else format.min_normal
    numbers = (format.min_normal, 2.0**-format.significand_bits, lowest, format.max, above, below, beyond)
    return tuple(map(np.dtype(dtype).type, numbers))
