"""The matrix unit of recent x86 servers (AMX), which multiplies 16 samples by 16 rows of weights, 64 columns at a time.

It has eight registers of 16 lines by 64 bytes. One instruction adds to 16 × 16 sums of 32 bits the products of 16
samples and 16 rows; sixteen steps of a tile, as they lie in memory (see ``tiles.py``), are one register of weights.
Four registers hold sums, two samples, two weights, so that four loads feed four products.

A process must ask the system before it uses the unit: ``allowed``. Where it may not, or there is none, the tiles go
through the vectors, to the same numbers.
"""

import ctypes
import platform
from functools import lru_cache

import numpy as np
from llvmlite import ir
from numba import int8, int32, int64, types, uint8
from numba.core import cgutils
from numba.extending import intrinsic

from course_lib.kernels.tiles import ROWS
from course_lib.machine import simd
from course_lib.machine.compiling import array_of, kernel

SAMPLES = 32                             # of one round
_ARCH_PRCTL, _ASK_FOR, _TILE_DATA = 158, 0x1023, 18
_SHAPES = np.zeros(64, np.uint8)        # of the registers: palette 1, then 64 bytes (two bytes each) by 16 lines
_SHAPES[0], _SHAPES[16:32:2], _SHAPES[48:56] = 1, 64, 16


def samples_at_once(batch: int) -> int:
    """How many of the first samples ``matmul`` can take: whole sets of 32, none where there is no such unit."""
    return batch // SAMPLES * SAMPLES if batch >= SAMPLES and allowed() else 0


@lru_cache(1)
def allowed() -> bool:
    """Whether kernels are compiled for the unit, and the system lets this process use it (asked once)."""
    if not simd.has("amx-int8") or platform.system() != "Linux":
        return False
    return ctypes.CDLL(None).syscall(_ARCH_PRCTL, _ASK_FOR, _TILE_DATA) == 0


def _instruction(builder, name, *arguments):
    """Call an instruction of the unit. Registers are given by their numbers, as constants."""
    arguments = [ir.Constant(ir.IntType(8), a) if isinstance(a, int) else a for a in arguments]
    kind = ir.FunctionType(ir.VoidType(), [a.type for a in arguments])
    builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.{name}"), arguments)


def _place(context, builder, kind, array, index):
    """The address of element ``index`` of a one-dimensional array, and in bytes."""
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), ir.PointerType(ir.IntType(8)))


@intrinsic
def _configure(typingctx, shapes):
    """Give the registers their shapes; until ``_release`` they are this thread's."""

    def generate(context, builder, sig, args):
        zero = ir.Constant(ir.IntType(64), 0)
        _instruction(builder, "ldtilecfg", _place(context, builder, sig.args[0], args[0], zero))
        return context.get_dummy_value()

    return types.void(shapes), generate


@intrinsic
def _release(typingctx):
    def generate(context, builder, sig, args):
        _instruction(builder, "tilerelease")
        return context.get_dummy_value()

    return types.void(), generate


def _move(name, doc):
    """Sixteen lines of 64 bytes to or from a register; the first begins at array[i], each ``stride`` bytes on."""

    def typed(typingctx, register, array, i, stride):
        def generate(context, builder, sig, args):
            index, step = (context.cast(builder, args[i], sig.args[i], int64) for i in (2, 3))
            place = _place(context, builder, sig.args[1], args[1], index)
            _instruction(builder, name, register.literal_value, place, step)
            return context.get_dummy_value()

        return types.void(register, array, i, stride), generate

    typed.__doc__ = doc
    return intrinsic(prefer_literal=True)(typed)


_load = _move("tileloadd64", "register = lines")
_store = _move("tilestored64", "lines = register")


@intrinsic(prefer_literal=True)
def _multiply_add(typingctx, sums, samples, weights):
    """sums[i, r] += Σ_k samples[i, k] weights[r, k], uint8 times int8, of three registers."""

    def generate(context, builder, sig, args):
        _instruction(builder, "tdpbusd", *(number.literal_value for number in sig.args))
        return context.get_dummy_value()

    return types.void(sums, samples, weights), generate


def _matmul(tiles, x, start, first, stop, out):
    """The same as ``dense.matmul_tiles``, for whole sets of 32 samples.   x: (32 i, n) uint8, see ``tiles.products``

    Serves ``products.matmul_int8``. Definition: ``products.matmul_int8_plain``; plain loop: ``plain.int8_product``.
    """
    n, stride, line = tiles.shape[1] // ROWS, x.shape[1], 4 * out.shape[1]
    _configure(_SHAPES)
    for t in range(first, stop, 2):
        u, v, r = tiles[t], tiles[t + 1], ROWS * t
        for b in range(0, x.shape[0], SAMPLES):
            x0, x1, y0, y1 = x[b], x[b + 16], out[b], out[b + 16]
            _load(0, start, r, 0)                               # one line sixteen times: the same start for each sample
            _load(1, start, r + ROWS, 0)
            _load(2, start, r, 0)
            _load(3, start, r + ROWS, 0)
            for k in range(0, n, 64):
                _load(4, x0, k, stride)
                _load(5, x1, k, stride)
                _load(6, u, 16 * k, 64)
                _load(7, v, 16 * k, 64)
                _multiply_add(0, 4, 6)
                _multiply_add(1, 4, 7)
                _multiply_add(2, 5, 6)
                _multiply_add(3, 5, 7)
            _store(0, y0, r, line)
            _store(1, y0, r + ROWS, line)
            _store(2, y1, r, line)
            _store(3, y1, r + ROWS, line)
    _release()


_arrays = array_of(int8, 2), array_of(uint8, 2), array_of(int32, 1), int64, int64, array_of(int32, 2, readonly=False)
matmul = kernel([types.void(*_arrays)])(_matmul) if simd.has("amx-int8") else None
