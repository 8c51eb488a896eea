"""Products with weights that are mostly zero: only what was kept is stored, and met with the right entries of x.

What makes them fast: eight entries of x are gathered at once, weights and indices are asked for ahead of time (their
rows are too short for the processor to guess), and nothing that is not needed is read. Where gathers are slow, the
products with one vector have a second way, ``…_by_loads``; see ``machine/ways.py``. With many samples the other
dimension is the vector: one weight meets sixteen samples, so x comes transposed, (n, samples), as one row of numbers.
"""

import numba
import numpy as np
from numba import float32, int8, int32, int64, types, uint8, uint16, uint32

from course_lib.machine import simd
from course_lib.machine.compiling import array_of, kernel

SAMPLES = 16                     # samples that one vector holds; the transposed x has a multiple of it
AHEAD = 1024                    # how far ahead weights are asked for, in entries
STEPS = 8                       # of sixteen entries whose columns are written down before their loads
_inline = numba.njit(nogil=True)
_floats, _out = array_of(float32, 1), array_of(float32, 1, readonly=False)


_csr_types = [types.void(_floats, array_of(index, 1), array_of(int64, 1), _floats, _out) for index in (uint16, uint32)]


@kernel(_csr_types)
def csr(values, indices, row_starts, x, out):
    """out[r] = Σ values[k] x[indices[k]] over row_starts[r] ≤ k < row_starts[r + 1].   x: (n,), out: (rows,)

    Serves ``products.matmul_csr``. Definition: ``products.matmul_csr_plain``; plain loop: ``plain.csr``.
    """
    for r in range(out.size):
        k, end = row_starts[r], row_starts[r + 1]
        a = b = c = d = simd.splat(np.float32(0), 8)
        while k + 32 <= end:
            simd.prefetch(values, k + AHEAD)
            simd.prefetch(values, k + AHEAD + 16)
            simd.prefetch(indices, k + AHEAD)
            i = simd.convert(simd.load_lanes(indices, k, 8), np.int32)
            a = simd.multiply_add(simd.load_lanes(values, k, 8), simd.gather(x, i), a)
            i = simd.convert(simd.load_lanes(indices, k + 8, 8), np.int32)
            b = simd.multiply_add(simd.load_lanes(values, k + 8, 8), simd.gather(x, i), b)
            i = simd.convert(simd.load_lanes(indices, k + 16, 8), np.int32)
            c = simd.multiply_add(simd.load_lanes(values, k + 16, 8), simd.gather(x, i), c)
            i = simd.convert(simd.load_lanes(indices, k + 24, 8), np.int32)
            d = simd.multiply_add(simd.load_lanes(values, k + 24, 8), simd.gather(x, i), d)
            k += 32
        while k < end:                                              # what is left: the lanes beyond the row are off
            here = simd.first(end - k, 8)
            i = simd.convert(simd.load_where(indices, k, here), np.int32)
            a = simd.multiply_add(simd.load_where(values, k, here), simd.gather_where(x, i, here), a)
            k += 8
        out[r] = simd.sum((a + b) + (c + d))


@kernel(_csr_types)
def csr_by_loads(values, indices, row_starts, x, out):
    """The same to the bit, without gathers.

    Serves ``products.matmul_csr``. Definition: ``products.matmul_csr_plain``; plain loop: ``plain.csr``.
    """
    columns = np.empty(8, np.int32)
    for r in range(out.size):
        k, end = row_starts[r], row_starts[r + 1]
        a = b = c = d = simd.splat(np.float32(0), 8)
        while k + 32 <= end:
            simd.prefetch(values, k + AHEAD)
            simd.prefetch(values, k + AHEAD + 16)
            simd.prefetch(indices, k + AHEAD)
            a = simd.multiply_add(simd.load_lanes(values, k, 8), simd.pick(x, indices, k, 8), a)
            b = simd.multiply_add(simd.load_lanes(values, k + 8, 8), simd.pick(x, indices, k + 8, 8), b)
            c = simd.multiply_add(simd.load_lanes(values, k + 16, 8), simd.pick(x, indices, k + 16, 8), c)
            d = simd.multiply_add(simd.load_lanes(values, k + 24, 8), simd.pick(x, indices, k + 24, 8), d)
            k += 32
        while k + 8 <= end:
            a = simd.multiply_add(simd.load_lanes(values, k, 8), simd.pick(x, indices, k, 8), a)
            k += 8
        if k < end:                                                 # the lanes beyond the row read x[0] and drop it
            here = simd.first(end - k, 8)
            simd.store(columns, 0, simd.convert(simd.load_where(indices, k, here), np.int32))
            entries = simd.select(here, simd.pick(x, columns, 0, 8), simd.splat(np.float32(0), 8))
            a = simd.multiply_add(simd.load_where(values, k, here), entries, a)
        out[r] = simd.sum((a + b) + (c + d))


@_inline
def _samples(values, columns, first, last, step, x, width, out):
    """out[i] = Σ values[k] x[columns[k], i] over k = first, first + step, … < last.   x: (n, width) as one row"""
    for i in range(0, width - 48, 64):                              # four vectors of samples at a time, then one
        a = b = c = d = simd.splat(np.float32(0), 16)
        for k in range(first, last, step):
            value, place = simd.splat(values[k], 16), np.int64(columns[k]) * width + i
            a = simd.multiply_add(value, simd.load(x, place), a)
            b = simd.multiply_add(value, simd.load(x, place + 16), b)
            c = simd.multiply_add(value, simd.load(x, place + 32), c)
            d = simd.multiply_add(value, simd.load(x, place + 48), d)
        simd.store(out, i, a)
        simd.store(out, i + 16, b)
        simd.store(out, i + 32, c)
        simd.store(out, i + 48, d)
    for i in range(width // 64 * 64, width, 16):
        a = simd.splat(np.float32(0), 16)
        for k in range(first, last, step):
            a = simd.multiply_add(simd.splat(values[k], 16), simd.load(x, np.int64(columns[k]) * width + i), a)
        simd.store(out, i, a)


@kernel([types.void(_floats, array_of(index, 1), array_of(int64, 1), _floats, array_of(float32, 2, readonly=False))
         for index in (uint16, uint32)])
def csr_samples(values, indices, row_starts, x, out):
    """The same for many samples.   x: (n, width) as one row of numbers, width a multiple of 16, out: (rows, width)

    Serves ``products.matmul_csr``. Definition: ``products.matmul_csr_plain``; plain loop: ``plain.csr``.
    """
    for r in range(out.shape[0]):
        _samples(values, indices, row_starts[r], row_starts[r + 1], 1, x, out.shape[1], out[r])


@_inline
def _to_rows(total, sums, rows, g, out):
    """out[row] = its lane of ``total``, for the sixteen rows of group g."""
    simd.store(sums, 0, total)
    for lane in range(16):
        if rows[16 * g + lane] < out.size:                          # the last group may have lanes without a row
            out[rows[16 * g + lane]] = sums[lane]


_codebook_types = [types.void(array_of(entry, 1), array_of(int64, 1), array_of(int32, 1), _floats, _floats, _out)
                   for entry in (uint8, uint16)]


@kernel(_codebook_types)
def codebook(entries, group_starts, rows, table, x, out):
    """out[r] = Σ table[code] x[column] over the entries of row r, straight from codes and gaps.

    Sixteen rows stand side by side, one a lane, so that sixteen columns are counted on and sixteen codes looked up at
    once: entries[16 t + lane] is entry t of its row, code in the low 4 bits (6 of an uint16), gap above it; code 0 is a
    filler. group_starts[g] ≤ t < group_starts[g + 1] are the steps of rows[16 g : 16 g + 16].   table: (32,), x: (n,)

    Serves ``products.matmul_codebook``. Definition: ``products.matmul_codebook_plain``; plain loop: ``plain.codebook``.
    """
    bits = np.int32(4 if entries.itemsize == 1 else 6)
    code = simd.splat(np.int32((1 << bits) - 1), 16)
    shift, one = simd.splat(bits, 16), simd.splat(np.int32(1), 16)
    sums = np.empty(16, np.float32)
    for g in range(group_starts.size - 1):
        column = simd.splat(np.int32(-1), 16)
        total = simd.splat(np.float32(0), 16)
        for t in range(group_starts[g], group_starts[g + 1]):
            simd.prefetch(entries, 16 * t + AHEAD)
            entry = simd.convert(simd.load_lanes(entries, 16 * t, 16), np.int32)
            column = column + (entry >> shift) + one
            total = simd.multiply_add(simd.lookup32(table, entry), simd.gather_where(x, column, entry & code), total)
        _to_rows(total, sums, rows, g, out)


@kernel(_codebook_types)
def codebook_by_loads(entries, group_starts, rows, table, x, out):
    """The same to the bit, without gathers: the columns of some steps first, then one load for each.   n ≥ 1

    A filler, whose column may not exist, reads x[0] and drops it.

    Serves ``products.matmul_codebook``. Definition: ``products.matmul_codebook_plain``; plain loop: ``plain.codebook``.
    """
    bits = np.int32(4 if entries.itemsize == 1 else 6)
    code = simd.splat(np.int32((1 << bits) - 1), 16)
    shift, one = simd.splat(bits, 16), simd.splat(np.int32(1), 16)
    nowhere, nothing = simd.splat(np.int32(0), 16), simd.splat(np.float32(0), 16)
    sums, columns = np.empty(16, np.float32), np.empty(16 * STEPS, np.int32)
    for g in range(group_starts.size - 1):
        column = simd.splat(np.int32(-1), 16)
        total = simd.splat(np.float32(0), 16)
        for start in range(group_starts[g], group_starts[g + 1], STEPS):
            steps = min(STEPS, group_starts[g + 1] - start)
            for t in range(steps):
                simd.prefetch(entries, 16 * (start + t) + AHEAD)
                entry = simd.convert(simd.load_lanes(entries, 16 * (start + t), 16), np.int32)
                column = column + (entry >> shift) + one
                simd.store(columns, 16 * t, simd.select(entry & code, column, nowhere))
            for t in range(steps):
                entry = simd.convert(simd.load_lanes(entries, 16 * (start + t), 16), np.int32)
                picked = simd.select(entry & code, simd.pick(x, columns, 16 * t, 16), nothing)
                total = simd.multiply_add(simd.lookup32(table, entry), picked, total)
        _to_rows(total, sums, rows, g, out)


@kernel([types.void(array_of(entry, 1), array_of(int64, 1), array_of(int32, 1), _floats, _floats,
                    array_of(float32, 2, readonly=False)) for entry in (uint8, uint16)])
def codebook_samples(entries, group_starts, rows, table, x, out):
    """The same for many samples: sixteen rows are decoded, then multiplied as in ``csr_samples``.   out: (m, width)

    A filler is given column n, where x has zeros: so x is ((n + 1) · width,).

    Serves ``products.matmul_codebook``. Definition: ``products.matmul_codebook_plain``; plain loop: ``plain.codebook``.
    """
    bits = np.int32(4 if entries.itemsize == 1 else 6)
    code = simd.splat(np.int32((1 << bits) - 1), 16)
    shift, one = simd.splat(bits, 16), simd.splat(np.int32(1), 16)
    width, longest = out.shape[1], 0
    nowhere = simd.splat(np.int32(x.size // max(1, width) - 1), 16)
    for g in range(group_starts.size - 1):
        longest = max(longest, group_starts[g + 1] - group_starts[g])
    values, columns = np.empty(16 * longest, np.float32), np.empty(16 * longest, np.int32)
    for g in range(group_starts.size - 1):
        column = simd.splat(np.int32(-1), 16)
        steps = group_starts[g + 1] - group_starts[g]
        for t in range(steps):
            entry = simd.convert(simd.load_lanes(entries, 16 * (group_starts[g] + t), 16), np.int32)
            column = column + (entry >> shift) + one
            simd.store(values, 16 * t, simd.lookup32(table, entry))
            simd.store(columns, 16 * t, simd.select(entry & code, column, nowhere))
        for lane in range(16):
            if rows[16 * g + lane] < out.shape[0]:
                _samples(values, columns, lane, 16 * steps, 16, x, width, out[rows[16 * g + lane]])


@_inline
def _two_rows(total, lanes, out, r, b):
    """out[r, b] and out[r + 1, b]: of every four lanes of ``total``, two belong to the one row and two to the other."""
    simd.store(lanes, 0, total)
    for row in range(min(2, out.shape[0] - r)):
        a = lanes[2 * row :]
        out[r + row, b] = ((a[0] + a[1]) + (a[4] + a[5])) + ((a[8] + a[9]) + (a[12] + a[13]))


@_inline
def _four_samples(total, weights, which, x0, x1, x2, x3, at):
    """Σ of one step of two rows, added for each of four samples."""
    a, b, c, d = total
    return (simd.multiply_add(weights, simd.pick_of_four(simd.load(x0, at), which), a),
            simd.multiply_add(weights, simd.pick_of_four(simd.load(x1, at), which), b),
            simd.multiply_add(weights, simd.pick_of_four(simd.load(x2, at), which), c),
            simd.multiply_add(weights, simd.pick_of_four(simd.load(x3, at), which), d))


@kernel([types.void(array_of(weight, 1), array_of(uint32, 1), array_of(float32, 2),
                    array_of(float32, 2, readonly=False)) for weight in (float32, int8)])
def two_four(values, positions, x, out):
    """out[r, b] = Σ values x[b, column], two of every four columns.   x: (batch, 16 · steps), out: (rows, batch)

    A step is sixteen columns of two rows: in four lanes the two weights of the one and the two of the other, from the
    same four columns. So one instruction picks the entries of x. The 2-bit positions of sixteen steps share 16 numbers
    of 32 bits, lane by lane: a shift brings up the next.   values: (pairs · steps · 16,), positions likewise, of tiles

    Serves ``products.matmul_two_four``. Definition: ``products.matmul_two_four_plain``; plain loop: ``plain.two_four``.
    """
    steps = x.shape[1] // 16
    tiles = (steps + 15) // 16
    two = simd.splat(np.uint32(2), 16)
    lanes = np.empty(16, np.float32)
    if x.shape[0] == 1:                                             # two rows at a time, as memory brings them
        sample = x[0]
        at = tile = 0
        for r in range(0, out.shape[0], 2):
            total = simd.splat(np.float32(0), 16)
            for start in range(0, steps, 16):
                which = simd.load(positions, tile)
                tile += 16
                for step in range(start, min(start + 16, steps)):
                    simd.prefetch(values, at + AHEAD)
                    weights = simd.convert(simd.load_lanes(values, at, 16), np.float32)
                    picked = simd.pick_of_four(simd.load(sample, 16 * step), simd.reinterpret(which, np.int32))
                    total = simd.multiply_add(weights, picked, total)
                    which = which >> two
                    at += 16
            _two_rows(total, lanes, out, r, 0)
        return
    last = x.shape[0] - 1
    for r in range(0, out.shape[0], 4):                             # four rows meet four samples: each load serves more
        p, q = r // 2, min(r // 2 + 1, (out.shape[0] - 1) // 2)     # where there are fewer, some are computed twice
        for b in range(0, x.shape[0], 4):
            b1, b2, b3 = min(b + 1, last), min(b + 2, last), min(b + 3, last)
            x0, x1, x2, x3 = x[b], x[b1], x[b2], x[b3]
            zero = simd.splat(np.float32(0), 16)
            first = second = (zero, zero, zero, zero)
            for start in range(0, steps, 16):
                tile = start // 16
                w, v = simd.load(positions, 16 * (p * tiles + tile)), simd.load(positions, 16 * (q * tiles + tile))
                for step in range(start, min(start + 16, steps)):
                    weights = simd.convert(simd.load_lanes(values, 16 * (p * steps + step), 16), np.float32)
                    first = _four_samples(first, weights, simd.reinterpret(w, np.int32), x0, x1, x2, x3, 16 * step)
                    weights = simd.convert(simd.load_lanes(values, 16 * (q * steps + step), 16), np.float32)
                    second = _four_samples(second, weights, simd.reinterpret(v, np.int32), x0, x1, x2, x3, 16 * step)
                    w, v = w >> two, v >> two
            for total, r2 in ((first, 2 * p), (second, 2 * q)):
                _two_rows(total[0], lanes, out, r2, b)
                _two_rows(total[1], lanes, out, r2, b1)
                _two_rows(total[2], lanes, out, r2, b2)
                _two_rows(total[3], lanes, out, r2, b3)
