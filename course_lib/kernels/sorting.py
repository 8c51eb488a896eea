"""Numbers in ascending order by counting, eleven bits at a time from the lowest (radix sort).

NumPy sorts faster where the processor is quick to store some lanes of a vector side by side, and several times more
slowly where it is not; see ``machine/ways.py``. This is the other way: plain loads and stores, and no comparison.
"""

import numba
import numpy as np
from numba import types, uint32, uint64

from course_lib.machine.compiling import array_of, kernel

DIGIT = 11                              # bits, so that the places of all digits stay in the innermost caches
SIZE = 1 << DIGIT

_inline = numba.njit(nogil=True)


@_inline
def _flipped(bits, sign, top):
    """All bits of a negative number the other way round, of others the sign: then they ascend as the numbers do."""
    return bits ^ (top | (np.uint64(0) - sign & top - np.uint64(1)))


@kernel([types.void(array_of(bits, 1, readonly=False), array_of(bits, 1, readonly=False)) for bits in (uint32, uint64)])
def sort_floats(bits, other):
    """Sort floats, given as the whole numbers of their bits, in place; −0 comes before 0, NaN at the end of its sign.

    bits, other: (n,); other is where numbers lie meanwhile

    Serves ``numerics.kmeans``. Definition: the first line above.
    """
    width = np.uint64(8 * bits.itemsize)
    digits, last, mask = (8 * bits.itemsize + DIGIT - 1) // DIGIT, width - np.uint64(1), np.uint64(SIZE - 1)
    top = np.uint64(1) << last
    places = np.zeros(digits * SIZE, np.int64)
    for i in range(bits.size):
        key = np.uint64(bits[i])
        key = _flipped(key, key >> last, top)
        bits[i] = key
        for d in range(digits):
            places[np.uint64(d * SIZE) + (key >> np.uint64(d * DIGIT) & mask)] += 1
    for d in range(digits):                             # where the first number with each digit goes
        before = 0
        for j in range(d * SIZE, (d + 1) * SIZE):
            before, places[j] = before + places[j], before
    source, target = bits, other
    for d in range(digits):
        place, shift = places[d * SIZE :], np.uint64(d * DIGIT)
        for i in range(source.size):
            digit = np.uint64(source[i]) >> shift & mask
            target[np.uint64(place[digit])] = source[i]
            place[digit] += 1
        source, target = target, source
    for i in range(source.size):
        key = np.uint64(source[i])
        bits[i] = _flipped(key, np.uint64(1) - (key >> last), top)
