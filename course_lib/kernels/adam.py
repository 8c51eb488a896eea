"""One step of Adam whose two moments are kept as 8-bit codes of a dynamic map, in blocks that share a scale.

What makes it fast: parameters, gradients and codes pass through the processor once. While the codes of one block are
turned into moments and the parameters move, the moments of the block before, which wait in the cache, are turned back
into codes: the new scale of a block is known only when all of it is done. And the map needs no table of 256 levels and
no search: within a decade it is a straight line, so sixteen entries, which fit one register, hold the lines.

A level from a code: k + 1/2, as a float, has the number of the decade in its exponent. A code from a level: between
exponents two apart (a factor of four) lies at most one border of decades, and one comparison settles the decade.
"""

import numba
import numpy as np
from numba import float32, int64, types, uint8

from course_lib.machine import simd
from course_lib.machine.compiling import array_of, kernel

DECADES = 7
ZERO = 127                               # the code of 0 in the signed map; in the unsigned map it is 0
SMALLEST_SCALE = np.float32(2.0**-126)  # below it 1 / scale overflows: the block is taken for zeros
_AHEAD = 1024                            # memory is asked for so many parameters in advance

SIGN, MAGNITUDE = np.int32(-(2**31)), np.int32(2**31 - 1)

_inline = numba.njit(nogil=True)


def decade_lines(signed: bool) -> tuple[np.ndarray, ...]:
    """The dynamic map as lines: arrays of float32 and whole numbers, one entry for each of 9 segments.

    Segment 0 is zero, 1 to 7 are the decades from 10⁻⁷ … 10⁻⁶ to 10⁻¹ … 1, 8 is one. Counted from zero, level k, which
    is in segment s, is start[s] + slope[s] (k + 1/2), with 3/2 for 1/2 in the unsigned map; ``first`` and ``last`` are
    the k at the ends of a segment. A magnitude a lies in segment s if s of the eight borders are below it; then its k
    is min(⌊steps[s] a + offset[s]⌋, last[s]). Sums of products are rounded once.
    """
    extra = 0 if signed else 1                          # the unsigned map has twice the levels: a bit for the sign
    first, last = np.zeros(9, np.int32), np.zeros(9, np.int32)
    start, slope, steps, offset = np.zeros((4, 9), np.float32)
    ends = np.zeros((2, 9))                             # the lowest and the highest level of a segment
    for s in range(1, 8):
        top, count = 10.0 ** (s - DECADES), 2 ** (s - 1 + extra)
        first[s] = count - extra
        last[s] = first[s] + count - 1
        slope[s] = 0.9 * top / count
        start[s] = 0.1 * top - float(slope[s]) * count
        steps[s] = count / (0.9 * top)
        offset[s] = first[s] - count / 9
        ends[:, s] = [np.float32(float(start[s]) + float(slope[s]) * (k + extra + 0.5)) for k in (first[s], last[s])]
    first[8] = last[8] = offset[8] = 128 if signed else 255
    start[8] = ends[:, 8] = 1
    border = ((ends[1, :8] + ends[0, 1:]) / 2).astype(np.float32)
    return start, slope, border, steps, offset, first, last


def _registers(signed):
    """The lines, laid out for the bits of a float that find them: see _level and _code. Seven arrays of 16 float32."""
    start, slope, border, steps, offset, _, last = decade_lines(signed)
    by_exponent, by_segment, by_bits = np.zeros((2, 16)), np.zeros((2, 16)), np.full(16, np.inf)
    lowest = 126 if signed else 127                     # the exponent of 1/2 or 3/2: code 0
    for s in range(9):
        by_exponent[:, (lowest + s) % 16] = start[s], slope[s]
        by_segment[:, s] = steps[s], offset[s]
    whole = np.zeros((2, 16), np.int32)
    whole[1, :9] = last
    quarters = border.view(np.int32) >> 24
    for bits in range(51, 67):
        whole[0, bits % 16] = (quarters < bits).sum()
        by_bits[bits % 16] = next(iter(border[quarters == bits]), np.inf)
    found = np.vstack([by_exponent, by_bits, by_segment]).astype(np.float32)
    return (*found, *whole.view(np.float32))


_M_START, _M_SLOPE, _M_BORDER, _M_STEPS, _M_OFFSET, _M_SEGMENT, _M_LAST = _registers(True)
_V_START, _V_SLOPE, _V_BORDER, _V_STEPS, _V_OFFSET, _V_SEGMENT, _V_LAST = _registers(False)


@_inline
def _f(value):
    return simd.splat(np.float32(value), 16)


@_inline
def _i(value):
    return simd.splat(np.int32(value), 16)


@_inline
def _bits(vector):
    return simd.reinterpret(vector, np.int32)


@_inline
def _level(k, slope, start):
    """The level of magnitude k, which comes as k + 1/2 (unsigned: k + 3/2, so that the exponents begin at one)."""
    segment = _bits(k) >> _i(23)
    return simd.multiply_add(simd.lookup16(slope, segment), k, simd.lookup16(start, segment))


@_inline
def _code(bits, border, segment, steps, offset, last):
    """The number k of the level nearest to a magnitude in 0 … 1, which comes as its bits."""
    bits = simd.maximum_int(bits, _i(0x33800000))                   # 2⁻²⁴
    quarter = bits >> _i(24)
    s = _bits(simd.lookup16(segment, quarter))
    s = simd.select(simd.is_less(_bits(simd.lookup16(border, quarter)), bits), s + _i(1), s)
    a = simd.reinterpret(bits, np.float32)
    k = simd.convert(simd.multiply_add(simd.lookup16(steps, s), a, simd.lookup16(offset, s)), np.int32)
    return simd.minimum_int(k, _bits(simd.lookup16(last, s)))


@_inline
def _pass(p, g, codes, scales, numbers, moments, codes_before, inverse, moments_before):
    """Update one block, and turn the moments of the block before into codes. The bits of the largest |m|, v by lane.

    Pairs are of m and v: codes (n,) uint8, scales, moments (n,), and the same of the block before, with 1 / scale.
    """
    b1, b2, c1, c2, eps, rate, root, keep, _ = numbers
    m_scale, v_scale = _f(b1 * scales[0]), _f(b2 * scales[1])
    m_inverse, v_inverse = _f(inverse[0]), _f(inverse[1])
    m_largest, v_largest = _i(0), _i(0)
    for i in range(0, p.size, 16):
        simd.prefetch(p, i + _AHEAD)
        simd.prefetch(g, i + _AHEAD)
        gradient = simd.load(g, i)
        k = simd.convert(simd.convert(simd.load_lanes(codes[0], i, 16), np.int32), np.float32) - _f(ZERO)
        sign = _bits(k) & _i(SIGN)
        k = simd.reinterpret(_bits(k) & _i(MAGNITUDE), np.float32) + _f(0.5)
        level = simd.reinterpret(_bits(_level(k, _M_SLOPE, _M_START)) ^ sign, np.float32)
        m = simd.multiply_add(level, m_scale, gradient * _f(c1))
        k = simd.convert(simd.convert(simd.load_lanes(codes[1], i, 16), np.int32), np.float32) + _f(1.5)
        v = simd.multiply_add(_level(k, _V_SLOPE, _V_START), v_scale, gradient * gradient * _f(c2))
        move = m / simd.multiply_add(simd.square_root(v), _f(root), _f(eps))
        simd.store(p, i, simd.multiply_add(_f(-rate), move, simd.load(p, i) * _f(keep)))
        simd.store(moments[0], i, m)
        simd.store(moments[1], i, v)
        m_largest = simd.maximum_int(m_largest, _bits(m) & _i(MAGNITUDE))       # as whole numbers: NaN is largest
        v_largest = simd.maximum_int(v_largest, _bits(v) & _i(MAGNITUDE))

        bits = _bits(simd.load(moments_before[0], i) * m_inverse)
        k = _code(bits & _i(MAGNITUDE), _M_BORDER, _M_SEGMENT, _M_STEPS, _M_OFFSET, _M_LAST)
        k = simd.select(simd.is_less(bits, _i(0)), _i(ZERO) - k, _i(ZERO) + k)
        simd.store(codes_before[0], i, simd.convert(simd.maximum_int(k, _i(0)), np.uint8))   # −1 is not a level
        bits = _bits(simd.load(moments_before[1], i) * v_inverse)
        k = _code(bits, _V_BORDER, _V_SEGMENT, _V_STEPS, _V_OFFSET, _V_LAST)
        simd.store(codes_before[1], i, simd.convert(k, np.uint8))
    return m_largest, v_largest


@_inline
def _largest(bits, lanes):
    """The largest of 16 numbers that come as bits."""
    simd.store(lanes, 0, bits)
    for lane in range(1, lanes.size):
        lanes[0] = max(lanes[0], lanes[lane])
    return lanes.view(np.float32)[0]


@_inline
def _inverse(scale):
    """1 / scale; 0, which makes all codes zero, where a block is all zeros (or as good as), or has a NaN."""
    return np.float32(1) / scale if scale >= SMALLEST_SCALE else np.float32(0)


@_inline
def _copy(source, target):
    for i in range(source.size):
        target[i] = source[i]


_codes = array_of(uint8, 1, readonly=False)
_floats = array_of(float32, 1, readonly=False)


@kernel([types.void(_floats, _floats, _codes, _codes, _floats, _floats, int64, types.UniTuple(float32, 9))])
def adam8bit(p, g, m_codes, v_codes, m_scales, v_scales, block, numbers):
    """m ← β₁ m + (1 − β₁) g,  v ← β₂ v + (1 − β₂) g²,  p ← keep p − rate m / (root √v + ε),  with g + decay p for g.

    In each block m = m_scale · map[m_code], before and after, and v alike.   p, g, codes: (n,), scales: (⌈n / block⌉,),
    block: a multiple of 16, numbers: β₁, β₂, 1 − β₁, 1 − β₂, ε, rate, root, keep, decay

    Serves ``mixed.Adam8bit``. Definition: ``mixed.adam8bit.adam8bit_step_plain``; plain loop: ``plain.adam8bit``.
    """
    floats, codes = np.zeros((7, block), np.float32), np.zeros((4, block), np.uint8)
    short_p, short_g, short_codes = floats[4], floats[5], (codes[2], codes[3])      # a block filled up with zeros
    short_codes[0][:] = ZERO
    lanes = np.empty(16, np.int32)
    zero = (np.float32(0), np.float32(0))
    before, inverse = (codes[0], codes[1]), zero                    # the first block has none before it,
    for j in range(m_scales.size + 1):                              # and the last is before one that is not there
        a, b = j * block, min((j + 1) * block, p.size)
        here, gradient, now = p[a:b], g[a:b], (m_codes[a:b], v_codes[a:b])
        if here.size < block:
            _copy(here, short_p)
            _copy(gradient, short_g)
            _copy(now[0], short_codes[0])
            _copy(now[1], short_codes[1])
            here, gradient, now = short_p, short_g, short_codes
        if numbers[8] != 0:
            for i in range(gradient.size):
                floats[6, i] = gradient[i] + numbers[8] * here[i]
            gradient = floats[6]
        scales = (m_scales[j], v_scales[j]) if j < m_scales.size else zero
        even, odd = (floats[0], floats[1]), (floats[2], floats[3])
        moments, moments_before = (even, odd) if j % 2 == 0 else (odd, even)
        m_bits, v_bits = _pass(here, gradient, now, scales, numbers, moments, before, inverse, moments_before)
        if j < m_scales.size:
            m_scales[j], v_scales[j] = _largest(m_bits, lanes), _largest(v_bits, lanes)
            before, inverse = now, (_inverse(m_scales[j]), _inverse(v_scales[j]))
            if b - a < block:
                _copy(here[: b - a], p[a:b])
    whole = p.size // block * block
    _copy(short_codes[0][: p.size - whole], m_codes[whole:])
    _copy(short_codes[1][: p.size - whole], v_codes[whole:])
