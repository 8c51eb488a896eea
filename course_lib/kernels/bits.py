"""Products of bits: and, popcount, sum. A ±1 matrix is one plane of bits, a matrix of b-bit codes is b planes.

Bits lie in 32-bit words, ROWS rows side by side: the lanes of a vector belong to different rows, so that a sum needs
no adding across lanes, and a word of a sample is broadcast to all of them. What makes eight samples at a time fast:

- Two products for the price of one (Winograd 1968): w x + v y = z + w v + (x or y) − 1 for bits w, v, x, y, where
  z = (w = y and v = x) xor w xor v. What depends on the weights alone, or on the sample alone, is counted once.
- Popcounts are dear, so z is not counted but added: ``ones`` holds the lowest bit of 512 sums at a time, and only what
  two z carry out of it is counted, with twice the weight.
"""

import numba
import numpy as np
from numba import boolean, float32, float64, int32, int64, types, uint8, uint32

from course_lib.machine import simd
from course_lib.machine.compiling import array_of, kernel

ROWS = 16                       # of a block
SAMPLES = 8                     # that meet a block at a time
WORDS = 4                       # the words of a row are filled up with zeros to a multiple of this
SOON = 64 * ROWS                # words of the weights that are asked for ahead of time where they meet one sample
AHEAD = 4 * ROWS                # columns of out that are asked for ahead of time: a store that waits holds up loads
_inline = numba.njit(nogil=True)
_step = np.uint64(ROWS)         # unsigned, so that Numba does not ask whether an index counts from the end


def _out(dtype, ndim):
    return array_of(dtype, ndim, readonly=False)


_xor3 = simd.logic3(lambda a, b, c: a ^ b ^ c, lambda code, a, b, c: code.xor(code.xor(a, b), c))
_neither = simd.logic3(lambda a, b, c: (1 - a) & (1 - (b ^ c)),
                       lambda code, a, b, c: code.not_(code.or_(a, code.xor(b, c))))
_carry = simd.logic3(lambda before, between, after: (1 - after) if between else before,
                     lambda code, a, b, c: code.xor(a, code.and_(b, code.not_(code.xor(a, c)))))


@_inline
def _zero():
    return simd.splat(np.uint32(0), ROWS)


@_inline
def _words(rows, at):
    return simd.load(rows, at)


@_inline
def _add(sums, w, x, at):
    """Add z of the next four words of a block and of a sample's, x[at], x[at + ROWS], …, to (ones, twos)."""
    ones, twos = sums
    w0, w1, w2, w3, either01, either23 = w
    z = _neither(w0 ^ simd.splat(x[at + _step], ROWS), w1, simd.splat(x[at], ROWS))
    between = _xor3(z, either01, ones)
    at += _step + _step
    z = _neither(w2 ^ simd.splat(x[at + _step], ROWS), w3, simd.splat(x[at], ROWS))
    after = _xor3(z, either23, between)
    return after, twos + simd.popcount(_carry(ones, between, after))


@_inline
def _count(factor, sums):
    ones, twos = sums
    return simd.splat(factor, ROWS) * simd.convert(twos + twos + simd.popcount(ones), np.int32)


@_inline
def _eight_samples(totals, w, w_at, x, x_at, size, factor):
    """totals[i] + factor · Σ z for the rows of a block, whose ``size`` words begin at w[w_at], and eight samples.

    Sample i begins at x[x_at + i]. Both are tuples of eight vectors, a vector for each sample, so that all eight stay
    in registers: Numba knows no loop over a tuple whose entries change.
    """
    nothing = (_zero(), _zero())
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = nothing                 # (ones, twos) of each sample
    for k in range(np.uint64(0), size, np.uint64(WORDS * ROWS)):
        at, here = x_at + k, w_at + k
        w0, w1 = _words(w, here), _words(w, here + _step)
        w2, w3 = _words(w, here + 2 * _step), _words(w, here + 3 * _step)
        four = (w0, w1, w2, w3, w0 ^ w1, w2 ^ w3)
        for line in range(WORDS):                                   # the next plane, or block
            simd.prefetch(w, here + size + np.uint64(line) * _step)
        s0, s1 = _add(s0, four, x, at), _add(s1, four, x, at + np.uint64(1))
        s2, s3 = _add(s2, four, x, at + np.uint64(2)), _add(s3, four, x, at + np.uint64(3))
        s4, s5 = _add(s4, four, x, at + np.uint64(4)), _add(s5, four, x, at + np.uint64(5))
        s6, s7 = _add(s6, four, x, at + np.uint64(6)), _add(s7, four, x, at + np.uint64(7))
    t0, t1, t2, t3, t4, t5, t6, t7 = totals
    return (t0 + _count(factor, s0), t1 + _count(factor, s1), t2 + _count(factor, s2), t3 + _count(factor, s3),
            t4 + _count(factor, s4), t5 + _count(factor, s5), t6 + _count(factor, s6), t7 + _count(factor, s7))


@_inline
def _one_sample(w, w_at, x, x_at, size):
    """Σ popcount(w and x) for the rows of a block and one sample: nothing to share, so nothing to prepare."""
    total = _zero()
    for k in range(np.uint64(0), size, _step):
        simd.prefetch(w, w_at + k + np.uint64(SOON))
        total = total + simd.popcount(_words(w, w_at + k) & simd.splat(x[x_at + k], ROWS))
    return simd.convert(total, np.int32)


@_inline
def _pairs_of_samples(x, x_at, size):
    """Σ x y and Σ (x or y) for the neighbours x, y."""
    both = one = _zero()
    for k in range(np.uint64(0), size, _step + _step):
        here, beside = _words(x, x_at + k), _words(x, x_at + k + _step)
        both, one = both + simd.popcount(here & beside), one + simd.popcount(here | beside)
    return simd.convert(both, np.int32), simd.convert(one, np.int32)


@_inline
def _put(out, columns, sample, r, total):
    """out[sample, r : r + ROWS] = total, as far as there are columns."""
    if r + ROWS <= columns:
        simd.store(out, sample * columns + r, total)
    else:
        simd.store_where(out, sample * columns + r, total, simd.first(columns - r, ROWS))


@_inline
def _put_tile(out, columns, sample, r, tile, of_sample, spare):
    """out[sample + i, r : r + ROWS] = tile[i] + of_sample[sample + i], i < 8, as far as there are samples and columns.

    Where some are missing, all eight are stored in ``spare``, and what there is of them is copied.
    """
    t0, t1, t2, t3, t4, t5, t6, t7 = tile
    whole = r + ROWS <= columns and (sample + SAMPLES) * columns <= out.size
    to, at, step = (out, sample * columns + r, columns) if whole else (spare, 0, ROWS)
    simd.store(to, at, t0 + simd.splat(of_sample[sample], ROWS))
    simd.store(to, at + step, t1 + simd.splat(of_sample[sample + 1], ROWS))
    simd.store(to, at + 2 * step, t2 + simd.splat(of_sample[sample + 2], ROWS))
    simd.store(to, at + 3 * step, t3 + simd.splat(of_sample[sample + 3], ROWS))
    simd.store(to, at + 4 * step, t4 + simd.splat(of_sample[sample + 4], ROWS))
    simd.store(to, at + 5 * step, t5 + simd.splat(of_sample[sample + 5], ROWS))
    simd.store(to, at + 6 * step, t6 + simd.splat(of_sample[sample + 6], ROWS))
    simd.store(to, at + 7 * step, t7 + simd.splat(of_sample[sample + 7], ROWS))
    if not whole:
        for i in range(min(SAMPLES, out.size // columns - sample)):
            _put(out, columns, sample + i, r, simd.load(spare, i * ROWS))


@_inline
def _of_samples(x, size, of_x, w_share, w_offset, constant, alone, shared):
    """What depends on a sample alone: for one that meets the rows by itself, and for one of eight (see the top).

    alone[b] = constant + w_offset Σⱼ of_x[j] Σ_k xⱼ[b, k]; shared[b] adds w_share Σⱼ of_x[j] Σ (x or y), x and y
    neighbours.
    """
    planes = np.uint64(of_x.size)
    for group in range(alone.size // ROWS):
        first, pairs = simd.splat(constant, ROWS), simd.splat(np.int32(0), ROWS)
        for j in range(planes):
            both, either = _pairs_of_samples(x, (np.uint64(group) * planes + j) * size, size)
            first = first + simd.splat(np.int32(of_x[j] * w_offset), ROWS) * (both + either)
            pairs = pairs + simd.splat(np.int32(of_x[j] * w_share), ROWS) * either
        simd.store(alone, group * ROWS, first)
        simd.store(shared, group * ROWS, first + pairs)


@_inline
def _of_rows(of_w, w_pairs, block, x_share, words):
    """What depends on the rows of a block alone, where eight samples meet them: Σᵢ of_w[i] x_share Σ (w v − 1)."""
    every_pair = simd.splat(np.int32(16 * words), ROWS)
    pairs = simd.splat(np.int32(0), ROWS)
    for i in range(of_w.size):
        both = simd.load(w_pairs, (block * of_w.size + i) * ROWS)
        pairs = pairs + simd.splat(np.int32(of_w[i] * x_share), ROWS) * (both - every_pair)
    return pairs


_flat, _ints = array_of(uint32, 1), array_of(int32, 1)


@kernel([types.void(_flat, _flat, int64, _ints, _ints, _ints, _ints, int32, int32, int32, int64, int64, int64,
                    _out(int32, 1))])
def product(w, x, words, of_w, of_x, w_sums, w_pairs, w_offset, x_offset, constant, first, last, columns, out):
    """out[b, r] = Σᵢⱼ of_w[i] of_x[j] Σ_k wᵢ[r, k] xⱼ[b, k] + x_offset w_sums[r] + w_offset Σⱼ of_x[j] Σ_k xⱼ[b, k]
                + constant

    Sums are modulo 2³². Rows ROWS·first ≤ r < ROWS·last. All arrays as one row of numbers, since Numba counts every
    view of a part, which takes time: w: (blocks, planes, words, ROWS), x: the same for samples, of_w, of_x: (planes,),
    w_sums: (blocks, ROWS), w_pairs: (blocks, planes, ROWS), Σ_k w v for the neighbours w, v, out: (batch, columns)

    Serves ``products.matmul_bitserial`` and ``products.matmul_binary``. Definition: ``products.matmul_bitserial_plain``
    and ``products.matmul_binary_plain``; plain loop: ``plain.bit_serial_product`` and ``plain.xnor_product``.
    """
    size, w_planes, x_planes = np.uint64(words * ROWS), np.uint64(of_w.size), np.uint64(of_x.size)
    samples = out.size // columns
    groups = -(-samples // ROWS)
    tiled = samples if samples % SAMPLES > 2 else samples - samples % SAMPLES   # one or two left over go alone
    alone, shared = np.empty(groups * ROWS, np.int32), np.empty(groups * ROWS, np.int32)
    spare, w_share, x_share = np.empty(SAMPLES * ROWS, np.int32), np.int32(np.sum(of_w)), np.int32(np.sum(of_x))
    _of_samples(x, size, of_x, w_share, w_offset, constant, alone, shared)
    for group in range(groups):                                     # a few samples at a time: they stay in L1,
        for block in range(first, last):                            # and each line of out is written beside the last
            r, w_at = block * ROWS, np.uint64(block) * w_planes * size
            base = simd.splat(x_offset, ROWS) * simd.load(w_sums, r)
            start = base + _of_rows(of_w, w_pairs, block, x_share, words)
            for sample in range(group * ROWS, min(tiled, (group + 1) * ROWS), SAMPLES):
                for i in range(SAMPLES):
                    simd.prefetch_l2(out, (sample + i) * columns + r + AHEAD)
                x_at = np.uint64(group) * x_planes * size + np.uint64(sample % ROWS)
                totals = (start, start, start, start, start, start, start, start)
                for i in range(w_planes):
                    for j in range(x_planes):
                        totals = _eight_samples(totals, w, w_at + i * size, x, x_at + j * size, size,
                                                np.int32(of_w[i] * of_x[j]))
                _put_tile(out, columns, sample, r, totals, shared, spare)
            for sample in range(max(tiled, group * ROWS), min(samples, (group + 1) * ROWS)):
                x_at = np.uint64(group) * x_planes * size + np.uint64(sample % ROWS)
                total = base + simd.splat(alone[sample], ROWS)
                for i in range(w_planes):
                    for j in range(x_planes):
                        count = _one_sample(w, w_at + i * size, x, x_at + j * size, size)
                        total = total + simd.splat(np.int32(of_w[i] * of_x[j]), ROWS) * count
                _put(out, columns, sample, r, total)


@kernel([boolean(array_of(real, 2), int64, _out(uint32, 2)) for real in (float32, float64)])
def pack_signs(x, first, words):
    """words: bit k of row r is x[r, k] ≥ 0; True if x has a NaN.

    x: (rows, n), words: (blocks, words·ROWS) zeroed, from row ``first``, a multiple of ROWS, on

    Serves ``products.pack_signs``. Definition: the first line above.
    """
    nans, zero = np.uint32(0), simd.splat(x.dtype.type(0), 32)
    for r in range(x.shape[0]):
        row, place, lane = x[r], words[(first + r) // ROWS], (first + r) % ROWS
        whole = row.size // 32
        for k in range(whole):
            numbers = simd.load_lanes(row, 32 * k, 32)
            nans |= simd.to_bits(simd.is_nan(numbers))
            place[k * ROWS + lane] = ~simd.to_bits(simd.is_less(numbers, zero))
        if row.size > 32 * whole:
            here = simd.first(row.size - 32 * whole, 32)
            numbers = simd.load_where(row, 32 * whole, here)
            nans |= simd.to_bits(simd.is_nan(numbers))
            place[whole * ROWS + lane] = simd.to_bits(here) & ~simd.to_bits(simd.is_less(numbers, zero))
    return nans != 0


@kernel([types.void(array_of(uint8, 2), int64, int64, _out(uint32, 3))])
def pack_planes(codes, bits, first, words):
    """words: bit k of plane i of row r is bit i of codes[r, k].

    codes: (rows, n), words: (blocks, bits, words·ROWS) zeroed, from row ``first``, a multiple of ROWS, on

    Serves ``products.BitPlanes.from_dense``. Definition: the first line above.
    """
    for r in range(codes.shape[0]):
        row, planes, lane = codes[r], words[(first + r) // ROWS], (first + r) % ROWS
        for k in range(0, row.size, 32):
            left = row.size - k
            numbers = simd.load_lanes(row, k, 32) if left >= 32 else simd.load_where(row, k, simd.first(left, 32))
            for i in range(bits):
                chosen = numbers & simd.splat(np.uint8(1 << i), 32)
                planes[i, k // 32 * ROWS + lane] = simd.to_bits(chosen)
