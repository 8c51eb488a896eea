"""To and from memory: whole vectors, some lanes of them, from places all over an array; and hints to the caches."""

from llvmlite import ir
from numba import types
from numba.core.errors import TypingError
from numba.extending import intrinsic

from course_lib.machine.simd.vectors import (
    BYTES,
    Addresses,
    Vector,
    address,
    call,
    chosen_bits,
    constant,
    llvm_type,
    suffix,
)


def _load(array, lanes):
    kind = Vector(array.dtype, lanes)

    def generate(context, builder, sig, args):
        index = context.cast(builder, args[1], sig.args[1], types.intp)
        found = builder.load(address(context, builder, sig.args[0], args[0], index, kind))
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
    kind, generate = _load(array, constant(lanes, "lanes"))
    return kind(array, i, lanes), generate


@intrinsic
def store(typingctx, array, i, vector):
    """array[i : i + lanes] = vector"""

    def generate(context, builder, sig, args):
        index = context.cast(builder, args[1], sig.args[1], types.intp)
        put = builder.store(args[2], address(context, builder, sig.args[0], args[0], index, vector))
        put.align = vector.dtype.bitwidth // 8
        return context.get_dummy_value()

    if array.dtype != vector.dtype:
        raise TypingError(f"a vector of {vector.dtype} does not go into an array of {array.dtype}")
    return types.void(array, i, vector), generate


@intrinsic
def gather(typingctx, array, indices):
    """array[indices] of a one-dimensional array; ``indices`` are int32, not negative."""
    kind = Vector(array.dtype, indices.lanes)

    def generate(context, builder, sig, args):
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        lanes = indices.lanes
        pointers = Addresses(builder.block, data, args[1], llvm_type(kind).element)
        builder._insert(pointers)
        mask = ir.Constant(ir.VectorType(ir.IntType(1), lanes), [1] * lanes)
        name = f"llvm.masked.gather.{suffix(kind)}.v{lanes}p0"
        size = ir.Constant(ir.IntType(32), array.dtype.bitwidth // 8)
        return call(builder, name, llvm_type(kind), [pointers, size, mask, ir.Constant(llvm_type(kind), ir.Undefined)])

    return kind(array, indices), generate


@intrinsic
def load_where(typingctx, array, i, chosen):
    """array[i + lane] in the lanes where ``chosen`` is not 0; elsewhere 0, and memory is not touched."""
    kind = Vector(array.dtype, chosen.lanes)

    def generate(context, builder, sig, args):
        index = context.cast(builder, args[1], sig.args[1], types.intp)
        place = address(context, builder, sig.args[0], args[0], index, kind)
        size = ir.Constant(ir.IntType(32), array.dtype.bitwidth // 8)
        arguments = [place, size, chosen_bits(builder, args[2]), ir.Constant(llvm_type(kind), None)]
        return call(builder, f"llvm.masked.load.{suffix(kind)}.p0", llvm_type(kind), arguments)

    return kind(array, i, chosen), generate


@intrinsic
def gather_where(typingctx, array, indices, chosen):
    """array[indices] in the lanes where ``chosen`` is not 0; elsewhere 0, and memory is not touched."""
    kind = Vector(array.dtype, indices.lanes)

    def generate(context, builder, sig, args):
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        pointers = Addresses(builder.block, data, args[1], llvm_type(kind).element)
        builder._insert(pointers)
        size = ir.Constant(ir.IntType(32), array.dtype.bitwidth // 8)
        arguments = [pointers, size, chosen_bits(builder, args[2]), ir.Constant(llvm_type(kind), None)]
        return call(builder, f"llvm.masked.gather.{suffix(kind)}.v{kind.lanes}p0", llvm_type(kind), arguments)

    return kind(array, indices, chosen), generate


@intrinsic(prefer_literal=True)
def pick(typingctx, array, indices, i, lanes):
    """array[indices[i : i + lanes]], a plain load for each lane: what ``gather`` gives, where gathers are slow.

    The indices, of 16 or 32 bits and not negative, come from memory too, as many at a time as 64 bits hold.
    """
    kind, bits = Vector(array.dtype, constant(lanes, "lanes")), indices.dtype.bitwidth
    word, a_word = ir.IntType(64), 64 // bits

    def generate(context, builder, sig, args):
        data, places = (context.make_array(sig.args[j])(context, builder, args[j]).data for j in (0, 1))
        start = context.cast(builder, args[2], sig.args[2], types.intp)
        found = ir.Constant(llvm_type(kind), ir.Undefined)
        for lane in range(kind.lanes):
            if lane % a_word == 0:
                place = builder.gep(places, [builder.add(start, ir.Constant(word, lane))])
                several = builder.load(builder.bitcast(place, ir.PointerType(word)))
                several.align = bits // 8
            index = builder.lshr(several, ir.Constant(word, bits * (lane % a_word)))
            index = builder.and_(index, ir.Constant(word, 2**bits - 1))
            entry = builder.load(builder.gep(data, [index]))
            found = builder.insert_element(found, entry, ir.Constant(ir.IntType(32), lane))
        return found

    return kind(array, indices, types.unliteral(i), lanes), generate


def _prefetch(keep, doc):
    """Ask for a cache line; ``keep`` is 3 for all caches, 2 for all but the first."""

    def prefetch(typingctx, array, i):
        def generate(context, builder, sig, args):
            index = context.cast(builder, args[1], sig.args[1], types.intp)
            data = context.make_array(sig.args[0])(context, builder, args[0]).data
            place = builder.bitcast(builder.gep(data, [index]), ir.PointerType(ir.IntType(8)))
            read_keep_data = [ir.Constant(ir.IntType(32), number) for number in (0, keep, 1)]
            call(builder, "llvm.prefetch.p0", ir.VoidType(), [place, *read_keep_data])
            return context.get_dummy_value()

        return types.void(array, i), generate

    prefetch.__doc__ = doc
    return intrinsic(prefetch)


prefetch = _prefetch(3, "Ask for the cache line of array[i], beyond the end too. It changes the time and nothing else.")
prefetch_l2 = _prefetch(2, "The same for what is needed later: it goes to the second-level cache, not to the first.")


@intrinsic
def store_where(typingctx, array, i, vector, chosen):
    """array[i + lane] = vector[lane] in the lanes where ``chosen`` is not 0; elsewhere memory is not touched."""

    def generate(context, builder, sig, args):
        index = context.cast(builder, args[1], sig.args[1], types.intp)
        place = address(context, builder, sig.args[0], args[0], index, vector)
        size = ir.Constant(ir.IntType(32), array.dtype.bitwidth // 8)
        call(builder, f"llvm.masked.store.{suffix(vector)}.p0", ir.VoidType(),
              [args[2], place, size, chosen_bits(builder, args[3])])
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
        put = builder.store(args[2], address(context, builder, sig.args[0], args[0], index, vector))
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
    size, distance = constant(lanes, "lanes") * array.dtype.bitwidth // 8, constant(ahead, "ahead")

    def generate(context, builder, sig, args):
        index = context.cast(builder, args[1], sig.args[1], types.intp)
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        place = builder.bitcast(builder.gep(data, [index]), ir.PointerType(ir.IntType(8)))
        read_keep_data = [ir.Constant(ir.IntType(32), number) for number in (0, 3, 1)]
        for start in range(0, size, BYTES):
            line = builder.gep(place, [ir.Constant(ir.IntType(64), distance + start)])
            call(builder, "llvm.prefetch.p0", ir.VoidType(), [line, *read_keep_data])
        return context.get_dummy_value()

    return types.void(array, types.unliteral(i), lanes, ahead), generate
