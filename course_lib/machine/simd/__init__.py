"""Vectors of numbers, for the loops that a compiler does not vectorise by itself.

A vector here is LLVM's: so many numbers of one type, 64 bytes as a rule. LLVM knows how to compute with it on every
processor, in one instruction where there are registers of 64 bytes, in two, four or more elsewhere. So a kernel that is
written with vectors runs, and gives the same bits, on all of them. The few instructions that only some processors have
are taken where :func:`has` finds them, each with the plain way beside it.

    total = simd.splat(np.int32(0), 16)
    for i in range(0, x.size, 64):
        total = simd.dot4(total, simd.load(x, i), simd.load(w, i))      # 64 multiply-adds
    return simd.sum(total)

Loads and stores check no bounds. ``lanes``, ``dtype`` and the order of ``shuffle`` must be constants.
"""

from course_lib.machine.simd.choosing import (
    first,
    from_bits,
    is_equal,
    is_less,
    is_nan,
    maximum,
    minimum,
    ramp,
    select,
    slide,
    to_bits,
)
from course_lib.machine.simd.instructions import dot4, logic3, lookup16, lookup32, pick_of_four, splat4
from course_lib.machine.simd.lanes import (
    absolute,
    ceil,
    convert,
    copysign,
    floor,
    greatest,
    maximum_int,
    minimum_int,
    multiply_add,
    popcount,
    reinterpret,
    rint,
    splat,
    square_root,
    sum,
    trunc,
)
from course_lib.machine.simd.memory import (
    fence,
    gather,
    gather_where,
    load,
    load_lanes,
    load_where,
    pick,
    prefetch,
    prefetch_l2,
    prefetch_lanes,
    store,
    store_past_caches,
    store_where,
)
from course_lib.machine.simd.vectors import BYTES, Vector, aligned, has

__all__ = [
    "BYTES", "Vector", "absolute", "aligned", "ceil", "convert", "copysign", "dot4", "fence", "first", "floor",
    "from_bits", "gather", "gather_where", "greatest", "has", "is_equal", "is_less", "is_nan", "load",
    "load_lanes", "load_where", "logic3", "lookup16", "lookup32", "maximum", "maximum_int", "minimum",
    "minimum_int", "multiply_add", "pick", "pick_of_four", "popcount", "prefetch", "prefetch_l2",
    "prefetch_lanes", "ramp", "reinterpret", "rint", "select", "slide", "splat", "splat4", "square_root", "store",
    "store_past_caches", "store_where", "sum", "to_bits", "trunc",
]  # fmt: skip
