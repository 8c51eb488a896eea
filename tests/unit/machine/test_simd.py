"""Vectors in kernels: right on this processor (test_portable.py tries the same on a plain one), wrong use refused."""

import numba
import numpy as np
import pytest
from llvmlite import binding, ir
from numba.core.errors import TypingError

from course_lib.machine import simd
from course_lib.machine.simd import instructions
from tests.unit.kernels import portable_simd


def test_every_operation_gives_what_numpy_gives():
    portable_simd.trial()


def test_a_feature_nobody_has_is_not_found():
    assert not simd.has("telepathy")


@numba.njit
def cross_types(a, b, i):
    simd.store(b, i, simd.load(a, i))


@numba.njit
def variable_lanes(a, lanes):
    return simd.sum(simd.load_lanes(a, 0, lanes))


@numba.njit
def dot_of_floats(a):
    v = simd.load(a, 0)
    return simd.sum(simd.dot4(v, v, v))


def test_wrong_use_is_refused_by_the_compiler():
    with pytest.raises(TypingError, match="does not go into an array of int32"):
        cross_types(np.zeros(16, np.float32), np.zeros(16, np.int32), 0)
    with pytest.raises(TypingError, match="lanes must be a constant"):
        variable_lanes(np.zeros(16, np.float32), 16)
    with pytest.raises(TypingError, match="dot4 takes int32, uint8 and int8"):
        dot_of_floats(np.zeros(16, np.float32))


@pytest.mark.parametrize(("features", "way", "instruction"), [
    ("+i8mm,+dotprod", instructions._dot4_by("llvm.aarch64.neon.usdot.v4i32.v16i8"), "usdot"),
    ("+dotprod", instructions._dot4_signed, "sdot"),
    ("", instructions._dot4_plain, "smlal"),
])
def test_arm_processors_get_their_own_dot_product(features, way, instruction):
    """Translated for a processor that is not here: the code is accepted, and it is the instruction that was meant."""
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    try:
        arm = binding.Target.from_triple("aarch64-unknown-linux-gnu")
    except RuntimeError:
        pytest.skip("this LLVM does not know Arm processors")
    sums, numbers = ir.VectorType(ir.IntType(32), 4), ir.VectorType(ir.IntType(8), 16)
    module = ir.Module()
    module.triple = "aarch64-unknown-linux-gnu"
    function = ir.Function(module, ir.FunctionType(sums, [sums, numbers, numbers]), "dot4")
    builder = ir.IRBuilder(function.append_basic_block())
    builder.ret(way(builder, *function.args))
    parsed = binding.parse_assembly(str(module))
    parsed.verify()
    assert instruction in arm.create_target_machine(features=features, opt=3).emit_assembly(parsed)
