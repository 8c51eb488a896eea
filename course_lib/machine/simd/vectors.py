"""The type of a vector, and the tools of which the operations on vectors are made."""

import math

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.core.datamodel import models
from numba.core.errors import TypingError
from numba.core.registry import cpu_target
from numba.extending import register_model
from numpy.typing import DTypeLike

# Whatever NUMBA_DISABLE_JIT says: these loops are made of the processor's instructions, and have no other form.
config.DISABLE_JIT = 0

BYTES = 64


def has(feature: str) -> bool:
    """Whether kernels are compiled for a processor with this feature, by LLVM's name for it, as "avx512vnni"."""
    _, name, features = cpu_target.target_context.codegen().magic_tuple()
    if feature == "dotprod" and name.startswith("apple-m"):
        return True                                     # LLVM lists no features of these
    return f"+{feature}" in features.split(",")


def aligned(shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
    """A new array that begins at a multiple of 64 bytes, as ``np.empty`` does not: a vector of 64 bytes that lies
    across two cache lines takes two loads."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(size + BYTES, np.uint8)
    start = -memory.__array_interface__["data"][0] % BYTES
    return memory[start : start + size].view(dtype).reshape(shape)


class Vector(types.Type):
    """The type of ``lanes`` numbers of a Numba type ``dtype``."""

    def __init__(self, dtype: types.Type, lanes: int):
        self.dtype, self.lanes = dtype, lanes
        super().__init__(name=f"{dtype}x{lanes}")

    @property
    def floats(self) -> bool:
        """Whether the lanes hold floats."""
        return isinstance(self.dtype, types.Float)

    @property
    def signed(self) -> bool:
        """Whether they hold signed numbers; floats are."""
        return getattr(self.dtype, "signed", True)


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, ir.VectorType(manager.lookup(kind.dtype).get_value_type(), kind.lanes))


def llvm_type(kind):
    """The LLVM type of a Vector."""
    element = {"float32": ir.FloatType(), "float64": ir.DoubleType()}
    name = str(kind.dtype)
    return ir.VectorType(element[name] if name in element else ir.IntType(kind.dtype.bitwidth), kind.lanes)


def constant(value, what):
    if not isinstance(value, types.IntegerLiteral):
        raise TypingError(f"{what} must be a constant")
    return value.literal_value


def call(builder, name, result, arguments):
    """Call an LLVM intrinsic."""
    kind = ir.FunctionType(result, [a.type for a in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)


def suffix(kind):
    return f"v{kind.lanes}{'f' if kind.floats else 'i'}{kind.dtype.bitwidth}"


def address(context, builder, array_type, array, index, kind):
    """A pointer to element ``index`` of a one-dimensional array, as a pointer to vectors."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), ir.PointerType(llvm_type(kind)))


class Addresses(ir.Instruction):
    """data + each index: a vector of pointers, which llvmlite's own ``gep`` does not know."""

    def __init__(self, block, data, indices, element):
        super().__init__(block, ir.VectorType(data.type, indices.type.count), "getelementptr", [data, indices])
        self.element = element

    def descr(self, buffer):
        data, indices = (f"{operand.type} {operand.get_reference()}" for operand in self.operands)
        buffer.append(f"getelementptr {self.element}, {data}, {indices}\n")


def everywhere(builder, number, kind):
    """A vector with the number in every lane."""
    one = builder.insert_element(ir.Constant(llvm_type(kind), ir.Undefined), number, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), kind.lanes), [0] * kind.lanes)
    return builder.shuffle_vector(one, one, zeros)


def chosen_bits(builder, lanes):
    """One bit a lane: is it other than 0?"""
    return builder.icmp_signed("!=", lanes, ir.Constant(lanes.type, None))
