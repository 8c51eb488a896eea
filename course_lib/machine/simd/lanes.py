"""From one number to a vector and back, and arithmetic lane by lane."""

import operator

from llvmlite import ir
from numba import types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin

from course_lib.machine.simd.vectors import Vector, call, constant, everywhere, llvm_type, suffix


@intrinsic(prefer_literal=True)
def splat(typingctx, value, lanes):
    """A vector with ``value`` in every lane; its dtype is that of ``value``."""
    number = types.unliteral(value)
    kind = Vector(number, constant(lanes, "lanes"))

    def generate(context, builder, sig, args):
        return everywhere(builder, args[0], kind)

    return kind(number, lanes), generate


@intrinsic
def sum(typingctx, vector):
    """Σ of the lanes, in the vector's dtype; of floats in pairs, so not in their order."""

    def generate(context, builder, sig, args):
        element = llvm_type(vector).element
        if not vector.floats:
            return call(builder, f"llvm.vector.reduce.add.{suffix(vector)}", element, args)
        half, lanes = args[0], vector.lanes
        while lanes > 1:
            lanes //= 2
            low, high = (ir.Constant(ir.VectorType(ir.IntType(32), lanes), list(range(a, a + lanes)))
                         for a in (0, lanes))
            half = builder.fadd(builder.shuffle_vector(half, half, low), builder.shuffle_vector(half, half, high))
        return builder.extract_element(half, ir.Constant(ir.IntType(32), 0))

    return vector.dtype(vector), generate


def _operator(symbol, of_floats, signed, unsigned=None):
    """Let ``a symbol b`` work for two vectors of one type, or a vector and a number:
    the names of the builder's methods."""

    @infer_global(symbol)
    class Template(AbstractTemplate):
        def generic(self, args, kws):
            if len(args) == 2 and isinstance(args[0], Vector):
                if args[0] == args[1]:
                    return signature(args[0], *args)
                if isinstance(types.unliteral(args[1]), types.Number):
                    return signature(args[0], args[0], args[0].dtype)           # the number is cast

    def lower(context, builder, sig, args):
        kind = sig.return_type
        name = of_floats if kind.floats else signed if kind.signed else unsigned or signed
        return getattr(builder, name)(*args)

    @lower_builtin(symbol, Vector, types.Number)
    def lower_with_number(context, builder, sig, args):
        return lower(context, builder, sig, (args[0], everywhere(builder, args[1], sig.return_type)))

    lower_builtin(symbol, Vector, Vector)(lower)


_operator(operator.add, "fadd", "add")
_operator(operator.sub, "fsub", "sub")
_operator(operator.mul, "fmul", "mul")
_operator(operator.truediv, "fdiv", None)
_operator(operator.and_, None, "and_")
_operator(operator.or_, None, "or_")
_operator(operator.xor, None, "xor")
_operator(operator.lshift, None, "shl")
_operator(operator.rshift, None, "ashr", "lshr")


def _same_name(name, doc, arguments=1):
    """An intrinsic of LLVM that takes vectors of one type and gives one of them."""

    def generate(context, builder, sig, args):
        return call(builder, f"{name}.{suffix(sig.return_type)}", llvm_type(sig.return_type), args)

    if arguments == 1:
        def typed(typingctx, a):
            return a(a), generate
    elif arguments == 2:
        def typed(typingctx, a, b):
            return a(a, b), generate
    else:
        def typed(typingctx, a, b, c):
            return a(a, b, c), generate
    typed.__doc__ = doc
    return intrinsic(typed)


popcount = _same_name("llvm.ctpop", "How many bits of each lane are 1.")
rint = _same_name("llvm.rint", "Round each lane to the nearest whole number, ties to even.")
square_root = _same_name("llvm.sqrt", "The square root of each lane; NaN below zero.")
multiply_add = _same_name("llvm.fma", "a · b + c for floats, rounded once.", 3)
maximum_int = _same_name("llvm.smax", "The larger of two signed whole numbers.", 2)
minimum_int = _same_name("llvm.smin", "The smaller of two signed whole numbers.", 2)


@intrinsic
def convert(typingctx, vector, dtype):
    """The same values, lane by lane, in another dtype (as ``np.int32``): widened, cut, or to and from floats."""
    kind = Vector(dtype.dtype, vector.lanes)

    def generate(context, builder, sig, args):
        if kind == vector:
            return args[0]
        if vector.floats and kind.floats:
            method = "fpext" if kind.dtype.bitwidth > vector.dtype.bitwidth else "fptrunc"
        elif vector.floats:
            method = "fptosi" if kind.signed else "fptoui"
        elif kind.floats:
            method = "sitofp" if vector.signed else "uitofp"
        elif kind.dtype.bitwidth > vector.dtype.bitwidth:
            method = "sext" if vector.signed else "zext"
        elif kind.dtype.bitwidth < vector.dtype.bitwidth:
            method = "trunc"
        else:
            return args[0]
        return getattr(builder, method)(args[0], llvm_type(kind))

    return kind(vector, dtype), generate


@intrinsic
def reinterpret(typingctx, vector, dtype):
    """The same bits as another dtype (as ``np.int32``), with as many lanes as they make."""
    kind = Vector(dtype.dtype, vector.lanes * vector.dtype.bitwidth // dtype.dtype.bitwidth)

    def generate(context, builder, sig, args):
        return builder.bitcast(args[0], llvm_type(kind))

    return kind(vector, dtype), generate


floor = _same_name("llvm.floor", "Round each lane down.")
ceil = _same_name("llvm.ceil", "Round each lane up.")
trunc = _same_name("llvm.trunc", "Round each lane toward zero.")
absolute = _same_name("llvm.fabs", "Each lane without its sign; NaN stays NaN.")
copysign = _same_name("llvm.copysign", "The first number of each lane with the sign of the second.", 2)


@intrinsic
def greatest(typingctx, vector):
    """The largest lane of a vector of whole numbers."""

    def generate(context, builder, sig, args):
        name = f"llvm.vector.reduce.{'smax' if vector.signed else 'umax'}.{suffix(vector)}"
        return call(builder, name, llvm_type(vector).element, args)

    return vector.dtype(vector), generate
