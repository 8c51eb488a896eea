"""Microscaling: blocks of 32 narrow floats that share one power of two.

    x̂ = 2^(c − 127) · element          c: the block's scale, 8 bits of exponent and nothing else (E8M0); c = 255 is NaN

The scale brings the largest entry of the block to the exponent of the largest element: 2^(⌊log₂ max|x|⌋ − emax).

Source: Open Compute Project 2023, "OCP microscaling formats (MX) specification v1.0", sec. 5 and 6.3.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from course_lib.arguments import as_array, float_array, whole_number
from course_lib.kernels import microscaling
from course_lib.machine import pool
from course_lib.numerics.conversion import decode, encode, encode_one
from course_lib.numerics.formats import FloatFormat, as_format
from course_lib.numerics.layout import Granularity, params_shape, to_rows
from course_lib.numerics.rounding import Rounding

SCALE_BIAS, SCALE_NAN = 127, 255
_GRAIN = 2**15                          # entries that are worth a thread


class MXCodes(NamedTuple):
    """Element codes, shape of the tensor, and E8M0 scale codes, uint8 (R, G): a row of blocks along the last axis."""

    codes: np.ndarray
    scale: np.ndarray


def mx_quantize_one(
    block: Sequence[float], format: FloatFormat
) -> tuple[list[int], int]:
    """Element codes and scale code of one block of finite numbers. The definition."""
    largest = max(map(abs, block))
    exponent = math.frexp(largest)[1] - 1 - format.emax if largest else 0  # ⌊log₂ largest⌋ to emax
    scale = min(max(exponent + SCALE_BIAS, 0), SCALE_NAN - 1)
    steps = [r * 2.0 ** (SCALE_BIAS - scale) for r in block]
    return [encode_one(step, format, saturate=True) for step in steps], scale


def mx_quantize(
    x: ArrayLike, format: FloatFormat | str, *, block_size: int = 32, rounding: Rounding | str = Rounding.NEAREST,
    rng: np.random.Generator | None = None, threads: int | None = None,
) -> MXCodes:  # fmt: skip
    """Cut ``x`` into blocks along its last axis; give each a power of two and its entries the element format.

    What is too large for the largest element saturates, and so does ±inf, which does not count for the scale. A NaN
    makes the scale of its block NaN, and with it the whole block. A block of zeros has scale 1. The last block of a row
    may be short. An empty array stays empty. ``x`` is not changed.

    Parameters
    ----------
    x : array_like, any shape, float32 or float64
    format : FloatFormat or its name
        Of the elements, up to 8 bits: e5m2, e4m3, e3m2, e2m3, e2m1.
    block_size : int
    rounding : Rounding
    rng : numpy.random.Generator, required for ``Rounding.STOCHASTIC``
    threads : int, by default ``cl.threads()``

    Returns
    -------
    MXCodes(codes, scale)

    Raises
    ------
    TypeError, ValueError
        ``x`` is neither float32 nor float64; the format is wider than 8 bits; an argument is not one of the above.

    >>> codes, scale = mx_quantize(np.array([3.0, -24.0, 1.0]), "e2m1")
    >>> mx_dequantize(codes, scale, "e2m1"), scale
    (array([  4., -24.,   0.], dtype=float32), array([[129]], dtype=uint8))
    """
    x, format = float_array(x), _element(format)
    group = whole_number(block_size, "block_size", 1, 2**31)
    rows, group = to_rows(x, Granularity.PER_GROUP, None, group)
    scale = np.full(params_shape(x.shape, Granularity.PER_GROUP, None, group), SCALE_BIAS, np.uint8)
    if not x.size:
        return MXCodes(np.zeros(x.shape, np.uint8), scale)
    if x.dtype == np.float32 and rounding == Rounding.NEAREST and format.subnormals and 1 <= format.emax <= 32:
        return _quantize_nearest(rows, format, group, scale, x.shape, threads)
    finite = np.where(np.isfinite(rows), np.abs(rows), 0)
    largest = np.maximum.reduceat(finite, np.arange(0, rows.shape[1], group), axis=1)
    exponent = np.frexp(largest)[1].astype(np.int64) - 1 - format.emax
    scale[...] = np.where(largest > 0, np.clip(exponent + SCALE_BIAS, 0, SCALE_NAN - 1), SCALE_BIAS)
    nan = np.isnan(rows)
    steps = np.ldexp(np.where(nan, 0, rows.astype(np.float64)), SCALE_BIAS - _per_entry(scale, rows, group))
    codes = encode(steps, format, rounding=rounding, rng=rng, saturate=True, threads=threads)
    scale[np.logical_or.reduceat(nan, np.arange(0, rows.shape[1], group), axis=1)] = SCALE_NAN
    return MXCodes(codes.reshape(x.shape), scale)


def _quantize_nearest(rows, format, group, scale, shape, threads):
    """The same by the kernel: float32 to the nearest."""
    codes = np.empty(rows.shape, np.uint8)
    layout = (format.bits, 23 - format.significand_bits, format.max_code, format.emax,
              int(np.float32(format.min_normal).view(np.uint32)))
    _share(lambda x, scale, codes: microscaling.encode_blocks(x, group, layout, scale, codes),
           rows, scale, codes, group, threads)
    return MXCodes(codes.reshape(shape), scale)


def _share(kernel, x, scale, out, group, threads):
    """Run the kernel on some rows each, or on some blocks of the one row, side by side."""
    def some_rows(a, b):
        kernel(x[a:b], scale[a:b], out[a:b])

    def some_blocks(a, b):
        entries = slice(a * group, b * group)
        kernel(x[:, entries], scale[:, a:b], out[:, entries])

    if len(x) != 1:
        pool.run(some_rows, len(x), threads=threads, grain=-(-_GRAIN // max(x.shape[1], 1)))
    else:
        pool.run(some_blocks, scale.shape[1], threads=threads, grain=-(-_GRAIN // group))


def mx_dequantize(
    codes: np.ndarray, scale: np.ndarray, format: FloatFormat | str, *, block_size: int = 32, threads: int | None = None
) -> NDArray[np.float32]:
    """The numbers that blocks stand for, float32, shape of ``codes``.

    A scale code of 255 makes its block NaN; what float32 cannot hold becomes ±inf.

    Parameters
    ----------
    codes : integer ndarray, any shape
    scale : uint8 ndarray (R, G), as :func:`mx_quantize` gives it
    format, block_size, threads : as there

    Raises
    ------
    TypeError, ValueError
        Codes that the format does not have; ``scale`` does not match.
    """
    format, scale = _element(format), as_array(scale, "scale")
    group = whole_number(block_size, "block_size", 1, 2**31)
    elements = decode(codes, format, threads=threads)
    wanted = params_shape(elements.shape, Granularity.PER_GROUP, None, group)
    if scale.dtype != np.uint8 or scale.shape != wanted:
        raise ValueError(f"scale has dtype {scale.dtype} and shape {scale.shape}; codes of shape {elements.shape} take "
                         f"uint8 and {wanted}")
    rows, group = to_rows(elements, Granularity.PER_GROUP, None, group)
    scale = np.ascontiguousarray(scale)
    if rows.dtype == np.float32:
        _share(lambda x, scale, out: microscaling.scale_blocks(x, scale, group, out), rows, scale, rows, group, threads)
        return rows.reshape(elements.shape)
    each = _per_entry(scale, rows, group)
    with np.errstate(over="ignore", under="ignore"):
        x_hat = np.where(each == SCALE_NAN, np.float32(np.nan), np.ldexp(rows, each - SCALE_BIAS))
    return x_hat.reshape(elements.shape)


def _element(format):
    format = as_format(format)
    if format.bits > 8:
        raise ValueError(f"format {format.name} has {format.bits} bits; the elements of a block have up to 8")
    return format


def _per_entry(scale, rows, group):
    """Scale codes repeated so that they line up with the rows: int32 (R, n)."""
    return np.repeat(scale.astype(np.int32), group, axis=1)[:, : rows.shape[1]]
