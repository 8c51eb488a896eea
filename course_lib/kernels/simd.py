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

import math
import operator

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel import models
from numba.core.errors import TypingError
from numba.core.registry import cpu_target
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, register_model

BYTES = 64


def has(feature):
    """Whether kernels are compiled for a processor with this feature, by LLVM's name for it, as "avx512vnni"."""
    _, name, features = cpu_target.target_context.codegen().magic_tuple()
    if feature == "dotprod" and name.startswith("apple-m"):
        return True                                     # LLVM lists no features of these
    return f"+{feature}" in features.split(",")


def aligned(shape, dtype):
    """A new array that begins at a multiple of 64 bytes, as ``np.empty`` does not: a vector of 64 bytes that lies across
    two cache lines takes two loads."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(size + BYTES, np.uint8)
    start = -memory.__array_interface__["data"][0] % BYTES
    return memory[start : start + size].view(dtype).reshape(shape)


class Vector(types.Type):
    """The type of ``lanes`` numbers of a Numba type ``dtype``."""

    def __init__(self, dtype, lanes):
        self.dtype, self.lanes = dtype, lanes
        super().__init__(name=f"{dtype}x{lanes}")

    @property
    def floats(self):
        return isinstance(self.dtype, types.Float)

    @property
    def signed(self):
        return getattr(self.dtype, "signed", True)


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, ir.VectorType(manager.lookup(kind.dtype).get_value_type(), kind.lanes))


def _llvm(kind):
    """The LLVM type of a Vector."""
    element = {"float32": ir.FloatType(), "float64": ir.DoubleType()}
    name = str(kind.dtype)
    return ir.VectorType(element[name] if name in element else ir.IntType(kind.dtype.bitwidth), kind.lanes)


def _constant(value, what):
    if not isinstance(value, types.IntegerLiteral):
        raise TypingError(f"{what} must be a constant")
    return value.literal_value


def _call(builder, name, result, arguments):
    """Call an LLVM intrinsic."""
    kind = ir.FunctionType(result, [a.type for a in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)


def _suffix(kind):
    return f"v{kind.lanes}{'f' if kind.floats else 'i'}{kind.dtype.bitwidth}"


# ---- to and from memory


def _address(context, builder, array_type, array, index, kind):
    """A pointer to element ``index`` of a one-dimensional array, as a pointer to vectors."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), ir.PointerType(_llvm(kind)))


def _load(array, lanes):
    kind = Vector(array.dtype, lanes)

    def generate(context, builder, sig, args):
        index = context.cast(builder, args[1], sig.args[1], types.intp)
        found = builder.load(_address(context, builder, sig.args[0], args[0], index, kind))
        found.align = array.dtype.bitwidth // 8
        return found

    return kind, generate


@intrinsic
def load(typingctx, array, i):
    """array[i : i + lanes] of a one-dimensional array, 64 bytes."""
    kind, generate = _load(array, 8 * BYTES // array.dtype.bitwidth)
    return kind(array, i), generate


@intrinsic(prefer_literal=True)
def load_lanes(typingctx, array, i, lanes):
    """array[i : i + lanes] of a one-dimensional array."""
    kind, generate = _load(array, _constant(lanes, "lanes"))
    return kind(array, i, lanes), generate


@intrinsic
def store(typingctx, array, i, vector):
    """array[i : i + lanes] = vector"""

    def generate(context, builder, sig, args):
        index = context.cast(builder, args[1], sig.args[1], types.intp)
        put = builder.store(args[2], _address(context, builder, sig.args[0], args[0], index, vector))
        put.align = vector.dtype.bitwidth // 8
        return context.get_dummy_value()

    if array.dtype != vector.dtype:
        raise TypingError(f"a vector of {vector.dtype} does not go into an array of {array.dtype}")
    return types.void(array, i, vector), generate


class _Addresses(ir.Instruction):
    """data + each index: a vector of pointers, which llvmlite's own ``gep`` does not know."""

    def __init__(self, block, data, indices, element):
        super().__init__(block, ir.VectorType(data.type, indices.type.count), "getelementptr", [data, indices])
        self.element = element

    def descr(self, buffer):
        data, indices = (f"{operand.type} {operand.get_reference()}" for operand in self.operands)
        buffer.append(f"getelementptr {self.element}, {data}, {indices}\n")


@intrinsic
def gather(typingctx, array, indices):
    """array[indices] of a one-dimensional array; ``indices`` are int32, not negative."""
    kind = Vector(array.dtype, indices.lanes)

    def generate(context, builder, sig, args):
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        lanes = indices.lanes
        pointers = _Addresses(builder.block, data, args[1], _llvm(kind).element)
        builder._insert(pointers)
        mask = ir.Constant(ir.VectorType(ir.IntType(1), lanes), [1] * lanes)
        name = f"llvm.masked.gather.{_suffix(kind)}.v{lanes}p0"
        size = ir.Constant(ir.IntType(32), array.dtype.bitwidth // 8)
        return _call(builder, name, _llvm(kind), [pointers, size, mask, ir.Constant(_llvm(kind), ir.Undefined)])

    return kind(array, indices), generate


# ---- from one number, and to one


def _everywhere(builder, number, kind):
    """A vector with the number in every lane."""
    one = builder.insert_element(ir.Constant(_llvm(kind), ir.Undefined), number, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), kind.lanes), [0] * kind.lanes)
    return builder.shuffle_vector(one, one, zeros)


@intrinsic(prefer_literal=True)
def splat(typingctx, value, lanes):
    """A vector with ``value`` in every lane; its dtype is that of ``value``."""
    number = types.unliteral(value)
    kind = Vector(number, _constant(lanes, "lanes"))

    def generate(context, builder, sig, args):
        return _everywhere(builder, args[0], kind)

    return kind(number, lanes), generate


@intrinsic
def splat4(typingctx, array, i):
    """The four bytes array[i : i + 4], sixteen times over: what ``dot4`` multiplies with four columns of sixteen rows."""
    kind = Vector(array.dtype, BYTES)
    if array.dtype.bitwidth != 8:
        raise TypingError("splat4 takes an array of bytes")

    def generate(context, builder, sig, args):
        index = context.cast(builder, args[1], sig.args[1], types.intp)
        sixteen = ir.VectorType(ir.IntType(32), BYTES // 4)
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        four = builder.load(builder.bitcast(builder.gep(data, [index]), ir.PointerType(ir.IntType(32))))
        four.align = 1
        one = builder.insert_element(ir.Constant(sixteen, ir.Undefined), four, ir.Constant(ir.IntType(32), 0))
        return builder.bitcast(_lanes_of(builder, one, [0] * sixteen.count), _llvm(kind))

    return kind(array, i), generate


@intrinsic
def sum(typingctx, vector):
    """Σ of the lanes, in the vector's dtype; of floats in pairs, so not in their order."""

    def generate(context, builder, sig, args):
        element = _llvm(vector).element
        if not vector.floats:
            return _call(builder, f"llvm.vector.reduce.add.{_suffix(vector)}", element, args)
        half, lanes = args[0], vector.lanes
        while lanes > 1:
            lanes //= 2
            low, high = (ir.Constant(ir.VectorType(ir.IntType(32), lanes), list(range(a, a + lanes)))
                         for a in (0, lanes))
            half = builder.fadd(builder.shuffle_vector(half, half, low), builder.shuffle_vector(half, half, high))
        return builder.extract_element(half, ir.Constant(ir.IntType(32), 0))

    return vector.dtype(vector), generate


# ---- lane by lane


def _operator(symbol, of_floats, signed, unsigned=None):
    """Let ``a symbol b`` work for two vectors of one type, or a vector and a number: the names of the builder's methods."""

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
        return lower(context, builder, sig, (args[0], _everywhere(builder, args[1], sig.return_type)))

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
        return _call(builder, f"{name}.{_suffix(sig.return_type)}", _llvm(sig.return_type), args)

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


def logic3(truth, plain):
    """An operation on the bits of three vectors of whole numbers: ``truth(a, b, c)`` is its table, for 0 and 1.

    One instruction where the processor takes tables; ``plain(builder, a, b, c)`` is the same for LLVM's builder.
    """
    table = int("".join(str(truth(i >> 2 & 1, i >> 1 & 1, i & 1)) for i in reversed(range(8))), 2)

    def generate(context, builder, sig, args):
        kind = sig.return_type
        if not has("avx512f") or kind.dtype.bitwidth * kind.lanes != 8 * BYTES:
            return plain(builder, *args)
        as_words = ir.VectorType(ir.IntType(32), BYTES // 4)
        words = [builder.bitcast(a, as_words) for a in args]
        name = "llvm.x86.avx512.pternlog.d.512"
        return builder.bitcast(_call(builder, name, as_words, [*words, ir.Constant(ir.IntType(32), table)]), _llvm(kind))

    def typed(typingctx, a, b, c):
        return a(a, b, c), generate

    return intrinsic(typed)


@intrinsic
def bits_of_lanes(typingctx, vector):
    """One bit a lane, the first lane's lowest, as a whole number of so many bits: is the lane other than 0?"""

    def generate(context, builder, sig, args):
        return builder.bitcast(_chosen(builder, args[0]), ir.IntType(vector.lanes))

    return types.Integer.from_bitwidth(vector.lanes, signed=False)(vector), generate


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
        return getattr(builder, method)(args[0], _llvm(kind))

    return kind(vector, dtype), generate


@intrinsic
def reinterpret(typingctx, vector, dtype):
    """The same bits as another dtype (as ``np.int32``), with as many lanes as they make."""
    kind = Vector(dtype.dtype, vector.lanes * vector.dtype.bitwidth // dtype.dtype.bitwidth)

    def generate(context, builder, sig, args):
        return builder.bitcast(args[0], _llvm(kind))

    return kind(vector, dtype), generate


@intrinsic
def dot4(typingctx, total, a, b):
    """total[l] + Σⱼ a[4l + j] b[4l + j], j < 4: uint8 times int8 into int32, exactly."""
    if str(a.dtype) != "uint8" or str(b.dtype) != "int8" or str(total.dtype) != "int32":
        raise TypingError("dot4 takes int32, uint8 and int8")

    def generate(context, builder, sig, args):
        lanes, multiply_add_4 = _dot4_of_this_processor()
        lanes = min(lanes, total.lanes)
        sums = []
        for i in range(0, total.lanes, lanes):
            ranges = range(i, i + lanes), range(4 * i, 4 * (i + lanes)), range(4 * i, 4 * (i + lanes))
            sums.append(multiply_add_4(builder, *(_lanes_of(builder, arg, part) for arg, part in zip(args, ranges))))
        return _side_by_side(builder, sums)

    return total(total, a, b), generate


def _dot4_of_this_processor():
    """How many lanes dot4 does at a time on the processor that kernels are compiled for, and the code for them."""
    if has("avx512vnni"):
        return 16, _dot4_by("llvm.x86.avx512.vpdpbusd.512")
    if has("avxvnni"):
        return 8, _dot4_by("llvm.x86.avx512.vpdpbusd.256")
    if has("i8mm"):
        return 4, _dot4_by("llvm.aarch64.neon.usdot.v4i32.v16i8")
    if has("dotprod"):
        return 4, _dot4_signed
    return 16, _dot4_plain


def _dot4_by(name):
    return lambda builder, total, a, b: _call(builder, name, total.type, [total, a, b])


def _dot4_signed(builder, total, a, b):
    """Where both factors must be signed: a = (a mod 128) − (−128 or 0), and each of the two is a signed byte."""
    def sdot(total, a):
        return _call(builder, "llvm.aarch64.neon.sdot.v4i32.v16i8", total.type, [total, a, b])

    low, high = (builder.and_(a, ir.Constant(a.type, [bits] * a.type.count)) for bits in (127, -128))
    return builder.sub(sdot(total, low), sdot(ir.Constant(total.type, None), high))


def _dot4_plain(builder, total, a, b):
    """Even bytes, then odd bytes, as 16-bit numbers: x86 multiplies and adds neighbouring pairs of those (pmaddwd)."""
    pairs = ir.VectorType(ir.IntType(16), a.type.count // 2)
    a, b = builder.bitcast(a, pairs), builder.bitcast(b, pairs)
    eight, byte = (ir.Constant(pairs, [number] * pairs.count) for number in (8, 255))
    for x, y in ((builder.and_(a, byte), builder.ashr(builder.shl(b, eight), eight)),
                 (builder.lshr(a, eight), builder.ashr(b, eight))):
        products = []
        for neighbour in (0, 1):
            halves = [_lanes_of(builder, z, range(neighbour, pairs.count, 2)) for z in (x, y)]
            products.append(builder.mul(*(builder.sext(half, total.type) for half in halves)))
        total = builder.add(total, builder.add(*products))
    return total


def _lanes_of(builder, vector, lanes):
    """These lanes of a vector, in this order."""
    return builder.shuffle_vector(vector, vector, ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), list(lanes)))


def _side_by_side(builder, vectors):
    """2, 4, 8, … vectors as one."""
    while len(vectors) > 1:
        every = ir.VectorType(ir.IntType(32), 2 * vectors[0].type.count)
        both = ir.Constant(every, list(range(every.count)))
        vectors = [builder.shuffle_vector(a, b, both) for a, b in zip(vectors[::2], vectors[1::2])]
    return vectors[0]


# ---- some lanes only, tables, and hints


def _chosen(builder, lanes):
    """One bit a lane: is it other than 0?"""
    return builder.icmp_signed("!=", lanes, ir.Constant(lanes.type, None))


@intrinsic(prefer_literal=True)
def first(typingctx, count, lanes):
    """int32 lanes, −1 in the first ``count`` and 0 in the others: which lanes of a last, short vector count."""
    kind = Vector(types.int32, _constant(lanes, "lanes"))

    def generate(context, builder, sig, args):
        count32 = context.cast(builder, args[0], sig.args[0], types.int32)
        one = builder.insert_element(ir.Constant(_llvm(kind), ir.Undefined), count32, ir.Constant(ir.IntType(32), 0))
        counts = builder.shuffle_vector(one, one, ir.Constant(_llvm(kind), [0] * kind.lanes))
        return builder.sext(builder.icmp_signed(">", counts, ir.Constant(_llvm(kind), list(range(kind.lanes)))), _llvm(kind))

    return kind(count, lanes), generate


@intrinsic
def load_where(typingctx, array, i, chosen):
    """array[i + lane] in the lanes where ``chosen`` is not 0; elsewhere 0, and memory is not touched."""
    kind = Vector(array.dtype, chosen.lanes)

    def generate(context, builder, sig, args):
        index = context.cast(builder, args[1], sig.args[1], types.intp)
        place = _address(context, builder, sig.args[0], args[0], index, kind)
        size = ir.Constant(ir.IntType(32), array.dtype.bitwidth // 8)
        arguments = [place, size, _chosen(builder, args[2]), ir.Constant(_llvm(kind), None)]
        return _call(builder, f"llvm.masked.load.{_suffix(kind)}.p0", _llvm(kind), arguments)

    return kind(array, i, chosen), generate


@intrinsic
def gather_where(typingctx, array, indices, chosen):
    """array[indices] in the lanes where ``chosen`` is not 0; elsewhere 0, and memory is not touched."""
    kind = Vector(array.dtype, indices.lanes)

    def generate(context, builder, sig, args):
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        pointers = _Addresses(builder.block, data, args[1], _llvm(kind).element)
        builder._insert(pointers)
        size = ir.Constant(ir.IntType(32), array.dtype.bitwidth // 8)
        arguments = [pointers, size, _chosen(builder, args[2]), ir.Constant(_llvm(kind), None)]
        return _call(builder, f"llvm.masked.gather.{_suffix(kind)}.v{kind.lanes}p0", _llvm(kind), arguments)

    return kind(array, indices, chosen), generate


def _lookup(table, indices, size, instruction):
    """Look 16 int32 ``indices`` mod ``size`` up in an array of float32 that fits into one or two registers."""
    kind = Vector(types.float32, 16)
    if str(table.dtype) != "float32" or (str(indices.dtype), indices.lanes) != ("int32", 16):
        raise TypingError(f"lookup{size} takes an array of float32 and 16 lanes of int32")

    def generate(context, builder, sig, args):
        if has("avx512f"):
            parts = [builder.load(_address(context, builder, sig.args[0], args[0], ir.Constant(ir.IntType(64), i), kind))
                     for i in range(0, size, 16)]
            for part in parts:
                part.align = 4
            return _call(builder, instruction, _llvm(kind), [parts[0], args[1], *parts[1:]])
        inside = builder.and_(args[1], ir.Constant(args[1].type, [size - 1] * 16))
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        pointers = _Addresses(builder.block, data, inside, _llvm(kind).element)
        builder._insert(pointers)
        everywhere = ir.Constant(ir.VectorType(ir.IntType(1), 16), [1] * 16)
        arguments = [pointers, ir.Constant(ir.IntType(32), 4), everywhere, ir.Constant(_llvm(kind), ir.Undefined)]
        return _call(builder, "llvm.masked.gather.v16f32.v16p0", _llvm(kind), arguments)

    return kind(table, indices), generate


@intrinsic
def lookup16(typingctx, table, indices):
    """table[indices mod 16] of an array of 16 float32; ``indices`` are 16 lanes of int32."""
    return _lookup(table, indices, 16, "llvm.x86.avx512.permvar.sf.512")


@intrinsic
def lookup32(typingctx, table, indices):
    """table[indices mod 32] of an array of 32 float32; ``indices`` are 16 lanes of int32."""
    return _lookup(table, indices, 32, "llvm.x86.avx512.vpermi2var.ps.512")


@intrinsic
def pick_of_four(typingctx, vector, which):
    """vector[4 ⌊l / 4⌋ + which[l] mod 4] in lane l, for 16 lanes of float32: each lane picks within its group of four."""
    if (str(vector.dtype), vector.lanes, str(which.dtype), which.lanes) != ("float32", 16, "int32", 16):
        raise TypingError("pick_of_four takes 16 lanes of float32 and 16 of int32")

    def generate(context, builder, sig, args):
        if has("avx512f"):
            return _call(builder, "llvm.x86.avx512.vpermilvar.ps.512", _llvm(vector), args)
        group = [4 * (lane // 4) for lane in range(16)]
        of = [builder.shuffle_vector(args[0], args[0], ir.Constant(args[1].type, [g + j for g in group])) for j in range(4)]
        low, high = (_chosen(builder, builder.and_(args[1], ir.Constant(args[1].type, [bit] * 16))) for bit in (1, 2))
        return builder.select(high, builder.select(low, of[3], of[2]), builder.select(low, of[1], of[0]))

    return vector(vector, which), generate


def _prefetch(keep, doc):
    """Ask for a cache line; ``keep`` is 3 for all caches, 2 for all but the first."""

    def prefetch(typingctx, array, i):
        def generate(context, builder, sig, args):
            index = context.cast(builder, args[1], sig.args[1], types.intp)
            data = context.make_array(sig.args[0])(context, builder, args[0]).data
            place = builder.bitcast(builder.gep(data, [index]), ir.PointerType(ir.IntType(8)))
            read_keep_data = [ir.Constant(ir.IntType(32), number) for number in (0, keep, 1)]
            _call(builder, "llvm.prefetch.p0", ir.VoidType(), [place, *read_keep_data])
            return context.get_dummy_value()

        return types.void(array, i), generate

    prefetch.__doc__ = doc
    return intrinsic(prefetch)


prefetch = _prefetch(3, "Ask for the cache line of array[i], beyond the end too. It changes the time and nothing else.")
prefetch_l2 = _prefetch(2, "The same for what is needed later: it goes to the second-level cache, not to the first.")


# ---- comparing and choosing, lane by lane


def _comparison(name, symbol, doc):
    def typed(typingctx, a, b):
        kind = Vector(types.Integer.from_bitwidth(a.dtype.bitwidth, signed=True), a.lanes)

        def generate(context, builder, sig, args):
            compare = builder.fcmp_ordered if a.floats else builder.icmp_signed if a.signed else builder.icmp_unsigned
            return builder.sext(compare(symbol, *args), _llvm(kind))

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
        return builder.sext(builder.fcmp_unordered("uno", args[0], args[0]), _llvm(kind))

    return kind(a), generate


@intrinsic
def select(typingctx, chosen, a, b):
    """a in the lanes where ``chosen`` is not 0, else b."""

    def generate(context, builder, sig, args):
        return builder.select(_chosen(builder, args[0]), args[1], args[2])

    if a != b or chosen.lanes != a.lanes:
        raise TypingError(f"select takes as many lanes to choose by as in two vectors of one type, not {chosen}, {a}, {b}")
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
floor = _same_name("llvm.floor", "Round each lane down.")
ceil = _same_name("llvm.ceil", "Round each lane up.")
trunc = _same_name("llvm.trunc", "Round each lane toward zero.")
absolute = _same_name("llvm.fabs", "Each lane without its sign; NaN stays NaN.")
copysign = _same_name("llvm.copysign", "The first number of each lane with the sign of the second.", 2)


@intrinsic(prefer_literal=True)
def ramp(typingctx, step, lanes):
    """0, step, 2 step, …: whole numbers in the dtype of ``step``."""
    number = types.unliteral(step)
    kind = Vector(number, _constant(lanes, "lanes"))

    def generate(context, builder, sig, args):
        one = builder.insert_element(ir.Constant(_llvm(kind), ir.Undefined), args[0], ir.Constant(ir.IntType(32), 0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), kind.lanes), [0] * kind.lanes)
        return builder.mul(builder.shuffle_vector(one, one, zeros), ir.Constant(_llvm(kind), list(range(kind.lanes))))

    return kind(number, lanes), generate


@intrinsic(prefer_literal=True)
def slide(typingctx, a, b, count):
    """The lanes of a from ``count`` on, then the first ``count`` of b."""
    skipped = _constant(count, "count")

    def generate(context, builder, sig, args):
        order = ir.Constant(ir.VectorType(ir.IntType(32), a.lanes), list(range(skipped, skipped + a.lanes)))
        return builder.shuffle_vector(args[0], args[1], order)

    return a(a, b, count), generate


# ---- the end of an array, and results that are larger than the caches


@intrinsic
def store_where(typingctx, array, i, vector, chosen):
    """array[i + lane] = vector[lane] in the lanes where ``chosen`` is not 0; elsewhere memory is not touched."""

    def generate(context, builder, sig, args):
        index = context.cast(builder, args[1], sig.args[1], types.intp)
        place = _address(context, builder, sig.args[0], args[0], index, vector)
        size = ir.Constant(ir.IntType(32), array.dtype.bitwidth // 8)
        _call(builder, f"llvm.masked.store.{_suffix(vector)}.p0", ir.VoidType(),
              [args[2], place, size, _chosen(builder, args[3])])
        return context.get_dummy_value()

    if array.dtype != vector.dtype:
        raise TypingError(f"a vector of {vector.dtype} does not go into an array of {array.dtype}")
    return types.void(array, i, vector, chosen), generate


@intrinsic
def store_past_caches(typingctx, array, i, vector):
    """The same as store, for a result that is larger than the caches: a plain store first reads what it overwrites.

    The address must be a multiple of the bytes of the vector, or of 64. Call ``fence`` after the last one.
    """

    def generate(context, builder, sig, args):
        index = context.cast(builder, args[1], sig.args[1], types.intp)
        put = builder.store(args[2], _address(context, builder, sig.args[0], args[0], index, vector))
        put.align = min(vector.dtype.bitwidth // 8 * vector.lanes, BYTES)
        put.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)]))
        return context.get_dummy_value()

    if array.dtype != vector.dtype:
        raise TypingError(f"a vector of {vector.dtype} does not go into an array of {array.dtype}")
    return types.void(array, i, vector), generate


@intrinsic
def fence(typingctx):
    """What was stored before it is seen by other threads before what is stored after it."""

    def generate(context, builder, sig, args):
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic(prefer_literal=True)
def prefetch_lanes(typingctx, array, i, lanes, ahead):
    """Ask for the cache lines that lie ``ahead`` bytes beyond those of array[i : i + lanes], past the end too."""
    size, distance = _constant(lanes, "lanes") * array.dtype.bitwidth // 8, _constant(ahead, "ahead")

    def generate(context, builder, sig, args):
        index = context.cast(builder, args[1], sig.args[1], types.intp)
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        place = builder.bitcast(builder.gep(data, [index]), ir.PointerType(ir.IntType(8)))
        read_keep_data = [ir.Constant(ir.IntType(32), number) for number in (0, 3, 1)]
        for start in range(0, size, BYTES):
            line = builder.gep(place, [ir.Constant(ir.IntType(64), distance + start)])
            _call(builder, "llvm.prefetch.p0", ir.VoidType(), [line, *read_keep_data])
        return context.get_dummy_value()

    return types.void(array, types.unliteral(i), lanes, ahead), generate


# ---- one bit a lane


@intrinsic
def to_bits(typingctx, vector):
    """A number with a bit for each of 8, 16, 32 or 64 lanes, the first lane lowest: 1 where the lane is not 0."""
    kind = types.Integer.from_bitwidth(vector.lanes, signed=False)

    def generate(context, builder, sig, args):
        return builder.bitcast(_chosen(builder, args[0]), ir.IntType(vector.lanes))

    return kind(vector), generate


@intrinsic
def from_bits(typingctx, bits):
    """Bytes, one for each bit of an unsigned number, the lowest first: 1 where the bit is set, else 0."""
    kind = Vector(types.uint8, bits.bitwidth)

    def generate(context, builder, sig, args):
        return builder.zext(builder.bitcast(args[0], ir.VectorType(ir.IntType(1), kind.lanes)), _llvm(kind))

    return kind(bits), generate


@intrinsic
def greatest(typingctx, vector):
    """The largest lane of a vector of whole numbers."""

    def generate(context, builder, sig, args):
        name = f"llvm.vector.reduce.{'smax' if vector.signed else 'umax'}.{_suffix(vector)}"
        return _call(builder, name, _llvm(vector).element, args)

    return vector.dtype(vector), generate
