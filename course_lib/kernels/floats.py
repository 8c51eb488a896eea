"""Round to a float format, and the bit patterns of what was rounded, element by element.

Near x a float format is a grid: the spacing is 2^(e − m) for 2^e ≤ |x| < 2^(e + 1) and m stored bits, and does not
shrink below the smallest normal number. So x is divided by the spacing, rounded to a whole number and multiplied again;
both steps are exact, because the spacing is a power of two.

Stochastic rounding takes the random stream of ``blocks``: one number per position, whatever thread comes by.
"""

import numba
import numpy as np
from llvmlite import ir
from numba import boolean, float32, float64, int64, types, uint8, uint16, uint32, uint64
from numba.extending import intrinsic

from course_lib.kernels.blocks import (
    DOWN,
    LANES,
    NEAREST,
    STOCHASTIC,
    TOWARD_ZERO,
    UP,
    block,
    inline,
    like,
    load_block,
    round_lanes,
    store_block,
    uniform,
    uniforms,
    until_aligned,
)  # fmt: skip
from course_lib.machine import simd
from course_lib.machine.compiling import array_of, kernel

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
    """2^e for 2^e ≤ |x| < 2^(e + 1), by its exponent bits alone; 0 for subnormal x, inf for inf and NaN.

    x is one float or a vector of them.
    """
    width = x.dtype.bitwidth if isinstance(x, simd.Vector) else x.bitwidth

    def generate(context, builder, signature, arguments):
        integer, mask = ir.IntType(width), _EXPONENT[width]
        if isinstance(x, simd.Vector):
            integer, mask = ir.VectorType(integer, x.lanes), [mask] * x.lanes
        exponent = builder.and_(builder.bitcast(arguments[0], integer), ir.Constant(integer, mask))
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


def _grid(real):
    return types.UniTuple(real, 7)


@inline
def _finish_lanes(r, x, largest, above, below, infinite):
    """``_finish`` for vectors."""
    size, zero = simd.absolute(r), like(r, 0)
    r = simd.select(simd.is_less(largest, size), simd.select(simd.is_less(zero, r), above, below), r)
    r = simd.select(simd.is_equal(simd.absolute(x), like(x, 1) / zero), infinite, r)
    return simd.copysign(r, x)


@kernel([types.void(array_of(real, 1), _grid(real), int64, uint64, int64, boolean, array_of(real, 1, readonly=False))
         for real in (float32, float64)], error_model="numpy")
def round_to_format(x, grid, mode, seed, first, past_caches, out):
    """out[i] = the number of the format that x[i] rounds to.   x, out: (n,); grid: see ``_spacing`` and ``_finish``

    Entry 0 is element ``first`` of the random stream.

    Serves ``numerics.to_format``. Definition: ``numerics.to_format_one``; plain loop: ``plain.round_to_format``.
    """
    min_normal, epsilon, lowest = simd.splat(grid[0], LANES), grid[1], simd.splat(grid[2], LANES)
    largest, infinite = simd.splat(grid[3], LANES), simd.splat(grid[6], LANES)
    above, below = simd.splat(grid[4], LANES), simd.splat(grid[5], LANES)
    head, i = until_aligned(out) * past_caches, 0
    while i < x.size:
        count = block(i, head, x.size)
        v = load_block(x, i, count)
        power = power_of_two_below(v)
        spacing = simd.select(simd.is_less(power, min_normal), lowest, power * epsilon)
        r = round_lanes(v / spacing, mode, seed, first + i) * spacing
        store_block(out, i, _finish_lanes(r, v, largest, above, below, infinite), count, past_caches)
        i += count
    simd.fence()


@kernel([types.void(array_of(real, 1), _grid(real), array_of(bits, 1), array_of(bits, 1, readonly=False))
         for real, bits in ((float32, uint32), (float64, uint64))])
def pack(values, grid, layout, codes):
    """codes[i] = the bit pattern of values[i], which is a number of the format, inf or NaN.   values, codes: (n,)

    layout: bits to drop, code of the smallest normal number, codes of inf and NaN, sign bit; (5,)

    The significand bits that the format does not have are zero and are shifted out; what is left counts the numbers of
    the format upward, and only starts elsewhere. Adding the smallest normal number makes a subnormal one normal.

    Serves ``numerics.encode``. Definition: ``numerics.encode_one``.
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


MAGIC = 0x4B000000                      # the bits of 2²³: added to it, a whole number below stands in the last bits


@inline
def count_spacings(v, size, drop, min_normal, mode, seed, i):
    """The bit patterns of v without its sign: how many spacings r it is from zero, and 2^m for each power of two.

    Below the smallest normal number a pattern counts spacings. Each power of two from there on adds 2^m patterns. The
    spacing is the power 2^e without m; one over it has the exponent bits 254 + m less those of 2^e.
    """
    power = simd.maximum(simd.reinterpret(power_of_two_below(v), np.uint32), min_normal)
    one_over_spacing = simd.reinterpret(simd.splat(np.uint32((254 + 23 - drop) << 23), LANES) - power, np.float32)
    if mode == NEAREST:
        r = simd.reinterpret(size, np.float32) * one_over_spacing       # adding 2²³ rounds it, ties to even
    else:
        r = simd.absolute(round_lanes(v * one_over_spacing, mode, seed, i))
    return simd.reinterpret(r + 2.0**23, np.uint32) + (power >> drop) - ((min_normal >> drop) + MAGIC)


@inline
def _cut(v, size, drop, mode, seed, i):
    """The same for a format with the exponents of float32: its last bits are cut off, and what they say is rounded."""
    below = simd.splat(np.uint32((1 << drop) - 1), LANES)               # the bits to cut, all ones
    nothing, negative = below ^ below, simd.is_less(v, like(v, 0))
    if mode == NEAREST:
        # half of a unit, a bit less if the last bit is 0
        more = (below >> 1) + ((size >> drop) & 1)
    elif mode == STOCHASTIC:
        u = simd.convert(uniforms(v, seed, i) * 2.0**24, np.int32)
        # x < 0 moves away from zero where u ≥ f, the share of its distance to the number below
        more = (simd.reinterpret(u, np.uint32) >> (24 - drop)) ^ simd.select(negative, nothing, below)
    elif mode == UP:
        more = simd.select(negative, nothing, below)
    elif mode == TOWARD_ZERO:
        more = nothing
    else:
        more = simd.select(negative, below, nothing)
    return (size + more) >> drop


@kernel([boolean(array_of(float32, 1), _grid(float32), types.UniTuple(int64, 8), int64, uint64, int64, boolean,
                 array_of(code, 1, readonly=False)) for code in (uint8, uint16)], error_model="numpy")
def encode(x, grid, layout, mode, seed, first, past_caches, out):
    """out[i] = the bit pattern of the number that x[i] rounds to; True if x has a NaN.   x, out: (n,)

    Of a format that has subnormal numbers, in 8 or 16 bits. layout: its bits, the bits of float32 to drop, the codes of
    its largest number and of what replaces larger ones (positive, negative, ±inf) and NaN, whether float32 has the same
    exponents. Entry 0 is element ``first`` of the random stream.

    Serves ``numerics.encode``. Definition: ``numerics.encode_one``; plain loop: ``plain.round_to_format``.
    """
    min_normal = simd.reinterpret(simd.splat(grid[0], LANES), np.uint32)
    drop, sign_place, sign_bit = layout[1], 32 - layout[0], 1 << (layout[0] - 1)
    largest, above = simd.splat(np.uint32(layout[2]), LANES), simd.splat(np.uint32(layout[3]), LANES)
    below, infinite = simd.splat(np.uint32(layout[4]), LANES), simd.splat(np.uint32(layout[5]), LANES)
    nan, zero = simd.splat(np.uint32(layout[6]), LANES), simd.splat(np.float32(0), LANES)
    inf = simd.splat(np.uint32(0x7F800000), LANES)
    nans, head, i = simd.splat(np.int32(0), LANES), until_aligned(out) * past_caches, 0
    while i < x.size:
        count = block(i, head, x.size)
        v = load_block(x, i, count)
        bits = simd.reinterpret(v, np.uint32)
        size = bits & 0x7FFFFFFF
        if layout[7]:
            code = _cut(v, size, drop, mode, seed, first + i)
        else:
            code = count_spacings(v, size, drop, min_normal, mode, seed, first + i)
        if mode == NEAREST or mode == STOCHASTIC:
            code = simd.select(simd.is_less(largest, code), above, code)
        else:
            code = simd.select(simd.is_less(largest, code), simd.select(simd.is_less(v, zero), below, above), code)
            code = simd.select(simd.is_equal(size, inf), infinite, code)
        bad = simd.is_nan(v)
        if layout[6] == 0:                                              # a format that has none
            nans = nans | bad
        code = simd.select(bad, nan, code) | ((bits >> sign_place) & sign_bit)
        store_block(out, i, simd.convert(code, out.dtype), count, past_caches)
        i += count
    simd.fence()
    return simd.sum(nans) != 0


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
    """out[i] = x[i] + y[i] rounded to the format, the exact sum if asked.   x, y, out: (n,)

    Serves ``numerics.add_in``. Definition: the first line above.
    """
    for i in range(x.size):
        total = _sum_to_odd(x[i], y[i]) if exact else x[i] + y[i]
        out[i] = _round_scalar(total, grid, mode, seed, i)


@kernel([types.void(array_of(float64, 1), _grid(float64), boolean, int64, uint64,
                    array_of(float64, 1, readonly=False))])
def accumulate(x, grid, exact, mode, seed, out):
    """out[i] = x[0] + … + x[i], from left to right, every sum rounded to the format.   x, out: (n,)

    Serves ``numerics.cumsum_in`` and ``numerics.sum_in``. Definition: the first line above.
    """
    total = 0.0
    for i in range(x.size):
        total = _sum_to_odd(total, x[i]) if exact else total + x[i]
        total = _round_scalar(total, grid, mode, seed, i)
        out[i] = total


@kernel([types.void(array_of(code, 1), array_of(float32, 1), array_of(float32, 1, readonly=False))
         for code in (uint8, uint16)])
def look_up(codes, table, out):
    """out[i] = table[codes[i]].   codes, out: (n,)

    Serves ``numerics.decode``. Definition: ``numerics.decode_one``.
    """
    for i in range(codes.size):
        out[i] = table[codes[i]]
