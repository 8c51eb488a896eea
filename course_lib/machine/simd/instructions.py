"""What some processors do in one instruction: 8-bit dot products, tables in registers, any logic of three bits."""

from collections.abc import Callable

from llvmlite import ir
from numba import types
from numba.core.errors import TypingError
from numba.extending import intrinsic

from course_lib.machine.simd.vectors import BYTES, Addresses, Vector, address, call, chosen_bits, has, llvm_type


@intrinsic
def splat4(typingctx, array, i):
    """The four bytes array[i : i + 4], sixteen times over:
    what ``dot4`` multiplies with four columns of sixteen rows."""
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
        return builder.bitcast(_lanes_of(builder, one, [0] * sixteen.count), llvm_type(kind))

    return kind(array, i), generate


def logic3(truth: Callable[[int, int, int], int], plain: Callable) -> Callable:
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
        return builder.bitcast(call(builder, name, as_words, [*words, ir.Constant(ir.IntType(32), table)]),
                               llvm_type(kind))

    def typed(typingctx, a, b, c):
        return a(a, b, c), generate

    return intrinsic(typed)


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
    return lambda builder, total, a, b: call(builder, name, total.type, [total, a, b])


def _dot4_signed(builder, total, a, b):
    """Where both factors must be signed: a = (a mod 128) − (−128 or 0), and each of the two is a signed byte."""
    def sdot(total, a):
        return call(builder, "llvm.aarch64.neon.sdot.v4i32.v16i8", total.type, [total, a, b])

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


def _lookup(table, indices, size, instruction):
    """Look 16 int32 ``indices`` mod ``size`` up in an array of float32 that fits into one or two registers."""
    kind = Vector(types.float32, 16)
    if str(table.dtype) != "float32" or (str(indices.dtype), indices.lanes) != ("int32", 16):
        raise TypingError(f"lookup{size} takes an array of float32 and 16 lanes of int32")

    def generate(context, builder, sig, args):
        if has("avx512f"):
            parts = [builder.load(address(context, builder, sig.args[0], args[0], ir.Constant(ir.IntType(64), i), kind))
                     for i in range(0, size, 16)]
            for part in parts:
                part.align = 4
            return call(builder, instruction, llvm_type(kind), [parts[0], args[1], *parts[1:]])
        inside = builder.and_(args[1], ir.Constant(args[1].type, [size - 1] * 16))
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        pointers = Addresses(builder.block, data, inside, llvm_type(kind).element)
        builder._insert(pointers)
        everywhere = ir.Constant(ir.VectorType(ir.IntType(1), 16), [1] * 16)
        arguments = [pointers, ir.Constant(ir.IntType(32), 4), everywhere, ir.Constant(llvm_type(kind), ir.Undefined)]
        return call(builder, "llvm.masked.gather.v16f32.v16p0", llvm_type(kind), arguments)

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
    """vector[4 ⌊l / 4⌋ + which[l] mod 4] in lane l, for 16 lanes of float32:
    each lane picks within its group of four."""
    if (str(vector.dtype), vector.lanes, str(which.dtype), which.lanes) != ("float32", 16, "int32", 16):
        raise TypingError("pick_of_four takes 16 lanes of float32 and 16 of int32")

    def generate(context, builder, sig, args):
        if has("avx512f"):
            return call(builder, "llvm.x86.avx512.vpermilvar.ps.512", llvm_type(vector), args)
        group = [4 * (lane // 4) for lane in range(16)]
        of = [builder.shuffle_vector(args[0], args[0], ir.Constant(args[1].type, [g + j for g in group]))
              for j in range(4)]
        low, high = (chosen_bits(builder, builder.and_(args[1], ir.Constant(args[1].type, [bit] * 16)))
                     for bit in (1, 2))
        return builder.select(high, builder.select(low, of[3], of[2]), builder.select(low, of[1], of[0]))

    return vector(vector, which), generate
