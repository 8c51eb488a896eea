"""Round to a float format, and pack what was rounded into bit patterns, element by element.

Near x a float format is a grid: the spacing is 2^(e − m) for 2^e ≤ |x| < 2^(e + 1) and m stored bits, and does not
shrink below the smallest normal number. So x is divided by the spacing, rounded to a whole number and multiplied again;
both steps are exact, because the spacing is a power of two.

The loops run over sliced views to ``.size``, one loop per rounding mode, because that is what the compiler vectorises.
Stochastic rounding takes the random stream of ``elementwise``: one number per position, whatever thread comes by.
"""

import numba
import numpy as np
from llvmlite import ir
from numba import boolean, float32, float64, int64, types, uint8, uint16, uint32, uint64
from numba.extending import intrinsic

from course_lib.kernels.compiling import array_of, kernel
from course_lib.kernels.elementwise import DOWN, NEAREST, TOWARD_ZERO, UP, uniform

CHUNK = 2048                            # numbers rounded at a time before they are packed: they stay in the L1 cache

# Compiled as a part of the kernels below. NumPy's error model: a division has no branch that raises, and vectorises.
_inline = numba.njit(nogil=True, error_model="numpy")


_EXPONENT = {32: 0xFF << 23, 64: 0x7FF << 52}                           # where IEEE floats keep their exponent


@intrinsic
def shifted_bits(typingctx, x, shift):
    """The bit pattern of a float without its last ``shift`` bits, as wide as the float. (Numba would take 64 bits.)"""
    unsigned = types.Integer.from_bitwidth(x.bitwidth, signed=False)

    def generate(context, builder, signature, arguments):
        bits = builder.bitcast(arguments[0], ir.IntType(x.bitwidth))
        return builder.lshr(bits, context.cast(builder, arguments[1], shift, unsigned))

    return unsigned(x, shift), generate


@intrinsic
def power_of_two_below(typingctx, x):
    """2^e for 2^e ≤ |x| < 2^(e + 1), by its exponent bits alone; 0 for subnormal x, inf for inf and NaN."""

    def generate(context, builder, signature, arguments):
        integer = ir.IntType(x.bitwidth)
        exponent = builder.and_(builder.bitcast(arguments[0], integer), ir.Constant(integer, _EXPONENT[x.bitwidth]))
        return builder.bitcast(exponent, arguments[0].type)

    return x(x), generate


@_inline
def _spacing(x, grid):
    """The spacing of the format's numbers around x."""
    min_normal, epsilon, lowest = grid[0], grid[1], grid[2]
    return max(power_of_two_below(x), min_normal) * epsilon if abs(x) >= min_normal else lowest


@_inline
def _finish(r, x, grid):
    """What stands for r, the rounded x: itself, or what the format puts in the place of too large a number."""
    largest, above, below, infinite = grid[3], grid[4], grid[5], grid[6]
    if abs(r) > largest:
        r = above if r > 0 else below
    if abs(x) == np.inf:
        r = infinite
    return np.copysign(r, x)                                            # zero and NaN keep the sign too


@_inline
def _round(x, grid, mode, seed, first, out):
    """out[i] = x[i] rounded to the format.   grid: min_normal, ε, lowest spacing, max, then see ``_finish``"""
    if mode == NEAREST:
        for i in range(x.size):
            s = _spacing(x[i], grid)
            out[i] = _finish(np.rint(x[i] / s) * s, x[i], grid)
    elif mode == DOWN:
        for i in range(x.size):
            s = _spacing(x[i], grid)
            out[i] = _finish(np.floor(x[i] / s) * s, x[i], grid)
    elif mode == UP:
        for i in range(x.size):
            s = _spacing(x[i], grid)
            out[i] = _finish(np.ceil(x[i] / s) * s, x[i], grid)
    elif mode == TOWARD_ZERO:
        for i in range(x.size):
            s = _spacing(x[i], grid)
            out[i] = _finish(np.trunc(x[i] / s) * s, x[i], grid)
    else:
        for i in range(x.size):
            s = _spacing(x[i], grid)
            t = x[i] / s
            down = np.floor(t)
            up = uniform(seed, first + i) < np.float64(t) - np.float64(down)
            out[i] = _finish((down + up) * s, x[i], grid)


def _grid(real):
    return types.UniTuple(real, 7)


@kernel([types.void(array_of(real, 1), _grid(real), int64, uint64, array_of(real, 1, readonly=False))
         for real in (float32, float64)])
def round_to_format(x, grid, mode, seed, out):
    """out[i] = the number of the format that x[i] rounds to.   x, out: (n,)"""
    _round(x, grid, mode, seed, 0, out)


@_inline
def _pack(values, grid, layout, codes):
    """codes[i] = the bit pattern of values[i], which is a number of the format, inf or NaN.

    The significand bits that the format does not have are zero and are shifted out; what is left counts the numbers of
    the format upward, and only starts elsewhere. Adding the smallest normal number makes a subnormal one normal.
    """
    kind = layout.dtype.type                                            # as wide as the floats, not Numba's 64 bits
    shift, first_normal, infinity, nan, sign = layout[0], layout[1], layout[2], layout[3], layout[4]
    min_normal, last = grid[0], 8 * layout.itemsize - 1
    start = shifted_bits(min_normal, shift)
    start_normal = kind(start - first_normal)
    for i in range(values.size):
        a = abs(values[i])
        normal = a >= min_normal
        code = kind(shifted_bits(a if normal else a + min_normal, shift) - (start_normal if normal else start))
        if not a < np.inf:
            code = infinity if a == np.inf else nan
        codes[i] = kind(code + (sign if shifted_bits(values[i], last) else kind(0)))


@kernel([types.void(array_of(real, 1), _grid(real), array_of(bits, 1), int64, uint64, array_of(code, 1, readonly=False))
         for real, bits, code in ((float32, uint32, uint8), (float32, uint32, uint16), (float32, uint32, uint32),
                                  (float64, uint64, uint64))])
def encode(x, grid, layout, mode, seed, out):
    """out[i] = the bit pattern of the number that x[i] rounds to.   x, out: (n,)

    layout: bits to drop, code of the smallest normal number, codes of inf and NaN, sign bit; (5,)
    """
    buffer = np.empty(min(CHUNK, x.size), x.dtype)
    for start in range(0, x.size, CHUNK):
        part, codes = x[start : start + CHUNK], out[start : start + CHUNK]
        rounded = buffer[: part.size]
        _round(part, grid, mode, seed, start, rounded)
        _pack(rounded, grid, layout, codes)


@_inline
def _sum_to_odd(a, b):
    """a + b; where that is not exact, of the two float64 around it the one whose last bit is 1.

    To round such a sum to a format with two bits less is to round the exact sum: the last bit says on which side it is.
    Source: Boldo and Melquiond 2008, "Emulation of a FMA and correctly rounded sums: proved algorithms using rounding
    to odd".
    """
    s = a + b
    v = s - a
    error = (a - (s - v)) + (b - v)                                     # a + b − s, exactly (Knuth)
    if error != 0 and abs(s) < np.inf and shifted_bits(s, 0) & np.uint64(1) == 0:
        return np.nextafter(s, np.copysign(np.inf, error))
    return s


@_inline
def _round_scalar(x, grid, mode, seed, i):
    s = _spacing(x, grid)
    t = x / s
    down = np.floor(t)
    if mode == NEAREST:
        k = np.rint(t)
    elif mode == DOWN:
        k = down
    elif mode == UP:
        k = np.ceil(t)
    elif mode == TOWARD_ZERO:
        k = np.trunc(t)
    else:
        k = down + (uniform(seed, i) < t - down)
    return _finish(k * s, x, grid)


@kernel([types.void(array_of(float64, 1), array_of(float64, 1), _grid(float64), boolean, int64, uint64,
                    array_of(float64, 1, readonly=False))])
def add(x, y, grid, exact, mode, seed, out):
    """out[i] = x[i] + y[i] rounded to the format, the exact sum if asked.   x, y, out: (n,)"""
    for i in range(x.size):
        total = _sum_to_odd(x[i], y[i]) if exact else x[i] + y[i]
        out[i] = _round_scalar(total, grid, mode, seed, i)


@kernel([types.void(array_of(float64, 1), _grid(float64), boolean, int64, uint64,
                    array_of(float64, 1, readonly=False))])
def accumulate(x, grid, exact, mode, seed, out):
    """out[i] = x[0] + … + x[i], from left to right, every sum rounded to the format.   x, out: (n,)"""
    total = 0.0
    for i in range(x.size):
        total = _sum_to_odd(total, x[i]) if exact else total + x[i]
        total = _round_scalar(total, grid, mode, seed, i)
        out[i] = total


@kernel([types.void(array_of(code, 1), array_of(float32, 1), array_of(float32, 1, readonly=False))
         for code in (uint8, uint16)])
def look_up(codes, table, out):
    """out[i] = table[codes[i]].   codes, out: (n,)"""
    for i in range(codes.size):
        out[i] = table[codes[i]]
