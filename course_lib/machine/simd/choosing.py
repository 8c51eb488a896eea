"""Choosing lane by lane: a comparison gives −1 or 0 in each lane, and by that ``select`` takes from one of two vectors.

Also here: the same answers as one bit a lane, and vectors that only say where a lane stands (``first``, ``ramp``).
"""

from llvmlite import ir
from numba import types
from numba.core.errors import TypingError
from numba.extending import intrinsic

from course_lib.machine.simd.vectors import Vector, chosen_bits, constant, llvm_type


@intrinsic(prefer_literal=True)
def first(typingctx, count, lanes):
    """int32 lanes, −1 in the first ``count`` and 0 in the others: which lanes of a last, short vector count."""
    kind = Vector(types.int32, constant(lanes, "lanes"))

    def generate(context, builder, sig, args):
        count32 = context.cast(builder, args[0], sig.args[0], types.int32)
        one = builder.insert_element(ir.Constant(llvm_type(kind), ir.Undefined), count32,
                                     ir.Constant(ir.IntType(32), 0))
        counts = builder.shuffle_vector(one, one, ir.Constant(llvm_type(kind), [0] * kind.lanes))
        inside = builder.icmp_signed(">", counts, ir.Constant(llvm_type(kind), list(range(kind.lanes))))
        return builder.sext(inside, llvm_type(kind))

    return kind(count, lanes), generate


def _comparison(name, symbol, doc):
    def typed(typingctx, a, b):
        kind = Vector(types.Integer.from_bitwidth(a.dtype.bitwidth, signed=True), a.lanes)

        def generate(context, builder, sig, args):
            compare = builder.fcmp_ordered if a.floats else builder.icmp_signed if a.signed else builder.icmp_unsigned
            return builder.sext(compare(symbol, *args), llvm_type(kind))

        if a != b:
            raise TypingError(f"{name} takes two vectors of one type, not {a} and {b}")
        return kind(a, b), generate

    typed.__doc__ = doc
    return intrinsic(typed)


is_less = _comparison("is_less", "<", "−1 in the lanes where a < b, 0 in the others and for NaN.")
is_equal = _comparison("is_equal", "==", "−1 in the lanes where a = b, 0 in the others and for NaN.")


@intrinsic
def is_nan(typingctx, a):
    """−1 in the lanes that are NaN, 0 in the others."""
    kind = Vector(types.Integer.from_bitwidth(a.dtype.bitwidth, signed=True), a.lanes)

    def generate(context, builder, sig, args):
        return builder.sext(builder.fcmp_unordered("uno", args[0], args[0]), llvm_type(kind))

    return kind(a), generate


@intrinsic
def select(typingctx, chosen, a, b):
    """a in the lanes where ``chosen`` is not 0, else b."""

    def generate(context, builder, sig, args):
        return builder.select(chosen_bits(builder, args[0]), args[1], args[2])

    if a != b or chosen.lanes != a.lanes:
        raise TypingError("select takes as many lanes to choose by as in two vectors of one type, "
                          f"not {chosen}, {a}, {b}")
    return a(chosen, a, b), generate


def _better(symbol, doc):
    def typed(typingctx, a, b):
        def generate(context, builder, sig, args):
            compare = builder.fcmp_ordered if a.floats else builder.icmp_signed if a.signed else builder.icmp_unsigned
            return builder.select(compare(symbol, *args), *args)

        return a(a, b), generate

    typed.__doc__ = doc
    return intrinsic(typed)


maximum = _better(">", "The larger of a and b; b where one of them is NaN.")
minimum = _better("<", "The smaller of a and b; b where one of them is NaN.")


@intrinsic(prefer_literal=True)
def ramp(typingctx, step, lanes):
    """0, step, 2 step, …: whole numbers in the dtype of ``step``."""
    number = types.unliteral(step)
    kind = Vector(number, constant(lanes, "lanes"))

    def generate(context, builder, sig, args):
        one = builder.insert_element(ir.Constant(llvm_type(kind), ir.Undefined), args[0],
                                     ir.Constant(ir.IntType(32), 0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), kind.lanes), [0] * kind.lanes)
        return builder.mul(builder.shuffle_vector(one, one, zeros),
                           ir.Constant(llvm_type(kind), list(range(kind.lanes))))

    return kind(number, lanes), generate


@intrinsic(prefer_literal=True)
def slide(typingctx, a, b, count):
    """The lanes of a from ``count`` on, then the first ``count`` of b."""
    skipped = constant(count, "count")

    def generate(context, builder, sig, args):
        order = ir.Constant(ir.VectorType(ir.IntType(32), a.lanes), list(range(skipped, skipped + a.lanes)))
        return builder.shuffle_vector(args[0], args[1], order)

    return a(a, b, count), generate


@intrinsic
def to_bits(typingctx, vector):
    """A number with a bit for each of 8, 16, 32 or 64 lanes, the first lane lowest: 1 where the lane is not 0."""
    kind = types.Integer.from_bitwidth(vector.lanes, signed=False)

    def generate(context, builder, sig, args):
        return builder.bitcast(chosen_bits(builder, args[0]), ir.IntType(vector.lanes))

    return kind(vector), generate


@intrinsic
def from_bits(typingctx, bits):
    """Bytes, one for each bit of an unsigned number, the lowest first: 1 where the bit is set, else 0."""
    kind = Vector(types.uint8, bits.bitwidth)

    def generate(context, builder, sig, args):
        return builder.zext(builder.bitcast(args[0], ir.VectorType(ir.IntType(1), kind.lanes)), llvm_type(kind))

    return kind(bits), generate
