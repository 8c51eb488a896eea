"""The plain loops: each definition as it stands, compiled and no more. Read one before the kernel that replaces it.

The kernels in the other files of this room do the same with vectors, tiles, tables in registers and threads. Beside
them in the benchmark ("our plain loop, one thread") these loops show what all that buys: sometimes a factor of fifty,
sometimes next to nothing, because a compiler vectorises a simple loop by itself.

    cl.show(cl.kernels.plain.csr, cl.kernels.sparse.csr)

A loop is compiled when it is first called; ``cl.warm_up()`` leaves it alone. No checks, as in all of this room.
"""

import numba
import numpy as np

from course_lib.machine.compiling import plain_loop


@plain_loop
def quantize(x, scale, zero_point, qmin, qmax, out):
    """out = clip(round(x / S) + Z, qmin, qmax).   x, out: (n,)

    The kernel: ``kernels.elementwise.quantize_rows``
    """
    for i in range(x.size):
        out[i] = min(max(np.rint(x[i] / scale) + zero_point, qmin), qmax)


@plain_loop
def fake_quantize(x, scale, group, qmin, qmax, out):
    """out = S clip(round(x / S), qmin, qmax), a scale for each ``group`` numbers of a row.

    x, out: (rows, n), S: (rows, ⌈n / group⌉); the kernel: ``kernels.elementwise.fake_quantize_rows``
    """
    for r in range(x.shape[0]):
        for i in range(x.shape[1]):
            s = scale[r, i // group]
            out[r, i] = s * min(max(np.rint(x[r, i] / s), qmin), qmax)


@plain_loop
def stochastic_quantize(x, scale, qmin, qmax, seed, out):
    """out = clip(⌊x / S + u⌋, qmin, qmax), u a random number in [0, 1).   x, out: (n,)

    The kernel, ``kernels.elementwise.quantize_rows``, has a stream of random numbers that does not depend on threads.
    """
    np.random.seed(seed)
    for i in range(x.size):
        out[i] = min(max(np.floor(x[i] / scale + np.random.random()), qmin), qmax)


@plain_loop
def round_to_format(x, min_normal, epsilon, largest, out):
    """out = x to the nearest number of a float format, too large ones to the largest.   x, out: (n,)

    ε: the spacing between 1 and 2; the kernels: ``kernels.floats.round_to_format`` and, to bit patterns at once,
    ``kernels.floats.encode``
    """
    for i in range(x.size):
        power = 2.0 ** np.floor(np.log2(max(abs(x[i]), min_normal)))
        spacing = power * epsilon                                       # it does not shrink below the normal numbers
        out[i] = min(max(np.rint(x[i] / spacing) * spacing, -largest), largest)


@plain_loop
def pack(codes, bits, out):
    """Bit k of code i is bit i · bits + k of the stream.   codes: (n,) uint8, out: (⌈n · bits / 8⌉,) zeroed

    The kernel: ``kernels.packing.pack``
    """
    for i in range(codes.size):
        for k in range(bits):
            place = i * bits + k
            out[place // 8] |= (codes[i] >> k & 1) << place % 8


@plain_loop
def unpack(packed, bits, out):
    """The reverse of ``pack``.   packed: (⌈n · bits / 8⌉,) uint8, out: (n,); the kernel: ``kernels.packing.unpack``"""
    for i in range(out.size):
        out[i] = 0
        for k in range(bits):
            place = i * bits + k
            out[i] |= (packed[place // 8] >> place % 8 & 1) << k


@plain_loop
def int8_product(w, x, out):
    """out[b, r] = Σ_k w[r, k] x[b, k].   w: (m, n) int8, x: (batch, n) int8 or uint8, out: (batch, m) int32

    The kernels: ``kernels.dense.matmul_tiles``, ``kernels.dense.matmul_rows`` and ``kernels.matrix_unit.matmul``
    """
    for b in range(x.shape[0]):
        for r in range(w.shape[0]):
            total = 0
            for k in range(w.shape[1]):
                total += w[r, k] * x[b, k]
            out[b, r] = total


@plain_loop
def int4_product(packed, x, out):
    """The same with two 4-bit codes a byte, low half first.   packed: (m, ⌈n / 2⌉), x: (batch, n), out: (batch, m)

    The kernel: ``kernels.dense.matmul_int4``
    """
    for b in range(x.shape[0]):
        for r in range(packed.shape[0]):
            total = 0
            for k in range(x.shape[1]):
                code = packed[r, k // 2] >> 4 * (k % 2) & 15
                total += ((code ^ 8) - 8) * x[b, k]                     # 8 to 15 stand for −8 to −1
            out[b, r] = total


@plain_loop
def int4_groups_product(packed, scales, x, group, out):
    """out[r] = Σ_k S[r, k // group] q[r, k] x[k].   packed as above, S: (m, ⌈n / group⌉) float32, x: (n,), out: (m,)

    The kernel: ``kernels.dense.matmul_int4_groups``
    """
    for r in range(packed.shape[0]):
        total = np.float32(0)
        for k in range(x.size):
            code = packed[r, k // 2] >> 4 * (k % 2) & 15
            total += scales[r, k // group] * np.float32((code ^ 8) - 8) * x[k]
        out[r] = total


@numba.njit
def popcount(word):
    """How many bits are 1. LLVM knows this loop, and puts the processor's instruction in its place."""
    count = 0
    while word:
        word &= word - np.uint64(1)                                     # the lowest 1 goes
        count += 1
    return count


@plain_loop
def xnor_product(w, x, n, out):
    """out[b, r] = n − 2 popcount(w[r] xor x[b]), entries ±1 as bits.   w: (m, words) uint64, x: (batch, words)

    The kernel: ``kernels.bits.product``
    """
    for b in range(x.shape[0]):
        for r in range(w.shape[0]):
            different = 0
            for k in range(w.shape[1]):
                different += popcount(w[r, k] ^ x[b, k])
            out[b, r] = n - 2 * different


@plain_loop
def bit_serial_product(w, x, of_w, of_x, out):
    """out[b, r] = Σᵢⱼ of_w[i] of_x[j] popcount(plane i of w[r] and plane j of x[b]).

    w: (planes, m, words) uint64, x: (planes, batch, words), of_w, of_x: (planes,), what a bit of each plane counts;
    the kernel: ``kernels.bits.product``
    """
    for b, r in np.ndindex(out.shape):
        out[b, r] = 0
        for i, j in np.ndindex(of_w.size, of_x.size):
            both = 0
            for k in range(w.shape[2]):
                both += popcount(w[i, r, k] & x[j, b, k])
            out[b, r] += of_w[i] * of_x[j] * both


@plain_loop
def csr(values, indices, row_starts, x, out):
    """out[r] = Σ values[k] x[indices[k]] over row_starts[r] ≤ k < row_starts[r + 1].   x: (n,), out: (m,)

    The kernels: ``kernels.sparse.csr`` and ``kernels.sparse.csr_by_loads``
    """
    for r in range(out.size):
        total = np.float32(0)
        for k in range(row_starts[r], row_starts[r + 1]):
            total += values[k] * x[indices[k]]
        out[r] = total


@plain_loop
def codebook(gaps, codes, row_starts, values, x, out):
    """Deep Compression's product: the next column is ``gap`` zeros on, code 0 is a filler, code c is values[c − 1].

    gaps, codes: entries row by row, as ``coding.relative_index`` gives them; the kernels: ``kernels.sparse.codebook``
    and ``kernels.sparse.codebook_by_loads``
    """
    for r in range(out.size):
        total, column = np.float32(0), -1
        for k in range(row_starts[r], row_starts[r + 1]):
            column += gaps[k] + 1
            if codes[k] > 0:
                total += values[codes[k] - 1] * x[column]
        out[r] = total


@plain_loop
def two_four(values, places, x, out):
    """out[r] = Σ values[r, k] x[4 ⌊k / 2⌋ + places[r, k]]: two of every four columns.

    values: (m, n / 2), places: (m, n / 2), 0 to 3; the kernel: ``kernels.sparse.two_four``
    """
    for r in range(out.size):
        total = np.float32(0)
        for k in range(values.shape[1]):
            total += values[r, k] * x[4 * (k // 2) + places[r, k]]
        out[r] = total


@plain_loop
def huffman_decode(stream, children, out):
    """One bit at a time down the tree: children[node, bit] is the next node, or −1 − symbol at a leaf.

    stream: bytes, their lowest bit first; the kernels: ``kernels.huffman.read_strands_fast`` and
    ``kernels.huffman.read_strands``
    """
    place = 0
    for i in range(out.size):
        node = 0
        while node >= 0:
            node = children[node, stream[place // 8] >> place % 8 & 1]
            place += 1
        out[i] = -1 - node


@plain_loop
def lloyd(x, centres, codes):
    """One iteration of k-means: every number to its nearest centre, every centre to the mean of its numbers.

    x: (n,), centres: (k,) changed in place, codes: (n,); the kernels: ``kernels.clustering.lloyd`` and
    ``kernels.clustering.means``
    """
    sums, counts = np.zeros(centres.size), np.zeros(centres.size)
    for i in range(x.size):
        c = 0
        for other in range(1, centres.size):
            if abs(x[i] - centres[other]) < abs(x[i] - centres[c]):
                c = other
        codes[i] = c
        sums[c] += x[i]
        counts[c] += 1
    for c in range(centres.size):
        if counts[c] > 0:
            centres[c] = sums[c] / counts[c]


@plain_loop
def nearest(x, borders, out):
    """out[i] = how many borders are < x[i]: the code of the level between two of them.   borders: ascending

    The kernel: ``kernels.clustering.count_below``
    """
    for i in range(x.size):
        out[i] = 0
        for j in range(borders.size):
            out[i] += borders[j] < x[i]


@plain_loop
def adam8bit(p, g, m_codes, v_codes, m_scales, v_scales, m_levels, v_levels, size, numbers):
    """A step of Adam in blocks of ``size``: codes to moments, the step, moments to codes.

    p, g, codes: (n,), scales: (⌈n / size⌉,), levels: (256,) ascending, numbers: as in ``mixed.adam8bit.step_numbers``;
    the kernel: ``kernels.adam.adam8bit``, which needs no table and no search
    """
    b1, b2, c1, c2, eps, rate, root, keep, decay = numbers
    for j in range(m_scales.size):
        block = slice(j * size, min((j + 1) * size, p.size))
        gradient = g[block] + decay * p[block]
        m = b1 * m_scales[j] * m_levels[m_codes[block]] + c1 * gradient
        v = b2 * v_scales[j] * v_levels[v_codes[block]] + c2 * gradient * gradient
        p[block] = keep * p[block] - rate * m / (root * np.sqrt(v) + eps)
        m_scales[j], v_scales[j] = np.abs(m).max(), v.max()
        m_codes[block] = _nearest_levels(m / m_scales[j], m_levels)
        v_codes[block] = _nearest_levels(v / v_scales[j], v_levels)


@numba.njit
def _nearest_levels(x, levels):
    """The index of the nearest level for each number, by search among the borders halfway between levels."""
    return np.searchsorted((levels[1:] + levels[:-1]) / np.float32(2), x)


@plain_loop
def monarch(x, left, right, out):
    """out[b, l, j] = Σₖ L[j, l, k] Σᵢ R[k, j, i] x[b, k, i].   x: (batch, p, q), left: (s, r, p), right: (p, s, q)

    out: (batch, r, s); the kernel: ``kernels.monarch.monarch``
    """
    out[:] = 0
    for b, k, j in np.ndindex(x.shape[0], *right.shape[:2]):
        mixed = np.float32(0)
        for i in range(x.shape[2]):
            mixed += right[k, j, i] * x[b, k, i]
        for row in range(left.shape[1]):
            out[b, row, j] += left[j, row, k] * mixed


@plain_loop
def linear(x, w, multiplier, offset, shift, low, high, out):
    """out[b, c] = clip((M0 Σ_k w[c, k] x[b, k] + B0) >> shift, low, high): sums of codes, requantized to a code.

    x: (batch, n) uint8, w: (m, n) int8, M0, B0: (m,) int64, out: (batch, m); the kernel: ``kernels.layers.linear``
    """
    for b, c in np.ndindex(out.shape):
        total = 0
        for k in range(w.shape[1]):
            total += w[c, k] * x[b, k]
        out[b, c] = min(max((total * multiplier[c] + offset[c]) >> shift, low), high)


@plain_loop
def conv2d(x, w, stride, multiplier, offset, shift, low, high, out):
    """The same for each window of the images, which come with their padding, the code of zero, around them.

    x: (batch, channels, h, w) uint8, w: (m, channels, kh, kw) int8, stride: down, right, out: (batch, m, oh, ow);
    the kernel: ``kernels.layers.conv2d``
    """
    for b, c, i, j in np.ndindex(out.shape):
        total = 0
        for d, y, z in np.ndindex(w.shape[1:]):
            total += w[c, d, y, z] * x[b, d, i * stride[0] + y, j * stride[1] + z]
        out[b, c, i, j] = min(max((total * multiplier[c] + offset[c]) >> shift, low), high)
