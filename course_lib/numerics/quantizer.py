"""The uniform quantizer: real numbers to integer codes and back.

    q = clip(round(r / S) + Z, qmin, qmax)          r̂ = S (q − Z)

Sources: Gholami et al. 2021, "A survey of quantization methods for efficient neural network inference", sec. III-B;
Jacob et al. 2018, "Quantization and training of neural networks for efficient integer-arithmetic-only inference".
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from course_lib.arguments import choose, float_array, integer_array, real_array, result_array, seed_from
from course_lib.kernels import elementwise
from course_lib.machine import pool
from course_lib.numerics.layout import Granularity
from course_lib.numerics.qparams import QParams, Scheme, qparams_from_range
from course_lib.numerics.rounding import Rounding, round_one

__all__ = ["Granularity", "QParams", "Scheme", "dequantize", "dequantize_one", "fake_quantize", "qparams_from_range",
           "quantize", "quantize_one", "sqnr_db"]

_KERNEL_MODE = {
    Rounding.NEAREST: elementwise.NEAREST,
    Rounding.DOWN: elementwise.DOWN,
    Rounding.UP: elementwise.UP,
    Rounding.TOWARD_ZERO: elementwise.TOWARD_ZERO,
    Rounding.STOCHASTIC: elementwise.STOCHASTIC,
}
_GRAIN = 2**17                          # entries that are worth a thread
_PAST_CACHES = 2**22                    # bytes of a result from which on it is written past the caches; codes are few


def quantize_one(
    r: float, scale: float, zero_point: int, qmin: int, qmax: int,
    rounding: Rounding | str = "nearest", u: float | None = None,
) -> int:
    """The code of one number: divide, clip, round, shift. The definition.

    Clipping first gives the same code, since the bounds are whole, and spares ±inf the rounding.
    """
    steps = min(max(r / scale, qmin - zero_point), qmax - zero_point)
    if round(steps) * scale == r:                       # on the grid already: no mode moves it
        return round(steps) + zero_point
    return round_one(steps, rounding, u) + zero_point


def dequantize_one(q: int, scale: float, zero_point: int) -> float:
    """The number that a code stands for. The definition."""
    return scale * (q - zero_point)


def quantize(
    x: ArrayLike, qparams: QParams, *, rounding: Rounding | str = Rounding.NEAREST,
    rng: np.random.Generator | None = None, out: np.ndarray | None = None, threads: int | None = None,
) -> np.ndarray:  # fmt: skip
    """Map real numbers to integer codes, q = clip(round(r / S) + Z, qmin, qmax).

    NaN raises; ±inf and anything outside the clipping range saturates; -0.0 and +0.0 share a code; an empty array
    stays empty; a number that a code stands for keeps that code in every rounding mode. ``x`` is not changed.

    Parameters
    ----------
    x : array_like, any shape, float32 or float64
    qparams : QParams
        Scale (same unit as ``x``), zero point and code range, per tensor, per channel or per group. The division runs
        in the wider dtype of ``x`` and scale.
    rounding : Rounding
    rng : numpy.random.Generator, required for ``Rounding.STOCHASTIC``
        One 64-bit seed is drawn from it; the rest is counted per element, so the codes do not depend on ``threads``.
    out : ndarray, optional
        Takes the result, which is returned: in a loop this saves what a new array costs, more than the arithmetic. Its
        shape and dtype must be those of the result. After an error it holds anything.
    threads : int, by default ``cl.threads()``

    Returns
    -------
    codes : ndarray, shape of ``x``, the narrowest integer dtype that holds the code range

    Raises
    ------
    TypeError
        ``x`` is neither float32 nor float64 (float16 and integers included).
    ValueError
        ``x`` has a NaN or does not match the shape of ``qparams``; an unknown rounding; stochastic without ``rng``;
        ``out`` does not match.

    Source: Gholami et al. 2021, sec. III-B.

    >>> p = qparams_from_range(-1.0, 1.0, bits=3, scheme="symmetric")       # S = 1/3, codes -3 to 3
    >>> quantize(np.array([0.1, 0.2, -0.6, 5.0]), p)
    array([ 0,  1, -2,  3], dtype=int8)
    """
    dtype = _checked(qparams).code_dtype
    return _by_kernel(elementwise.quantize_rows, x, qparams, rounding, rng, out, dtype, threads)


def dequantize(codes: np.ndarray, qparams: QParams) -> np.ndarray:
    """Map integer codes back to real numbers, r̂ = S (q − Z).

    The zero point gives +0.0; an empty array stays empty.

    Parameters
    ----------
    codes : integer ndarray, any shape, within [qmin, qmax]
    qparams : QParams

    Returns
    -------
    x_hat : ndarray, shape of ``codes``, dtype of the scale

    Raises
    ------
    TypeError
        ``codes`` are not integers.
    ValueError
        A code outside [qmin, qmax]; a shape that does not match ``qparams``.

    Source: Gholami et al. 2021, sec. III-B.
    """
    codes, qparams = integer_array(codes, "codes"), _checked(qparams)
    if codes.size and not qparams.qmin <= codes.min() <= codes.max() <= qparams.qmax:
        raise ValueError(f"codes run from {codes.min()} to {codes.max()}, outside [qmin, qmax] = "
                         f"[{qparams.qmin}, {qparams.qmax}]")
    rows, scale, zero_point, group = qparams.rows(codes)
    if scale.shape[1] > 1:                                  # (rows, G) -> (rows, n)
        scale = np.repeat(scale, group, axis=1)[:, : rows.shape[1]]
        zero_point = np.repeat(zero_point, group, axis=1)[:, : rows.shape[1]]
    steps = (rows.astype(np.int32) - zero_point).astype(scale.dtype)
    with np.errstate(over="ignore", under="ignore"):
        return qparams.unrows(scale * steps, codes.shape)


def fake_quantize(
    x: ArrayLike, qparams: QParams, *, rounding: Rounding | str = Rounding.NEAREST,
    rng: np.random.Generator | None = None, out: np.ndarray | None = None, threads: int | None = None,
) -> np.ndarray:  # fmt: skip
    """Quantize and dequantize at once: ``dequantize(quantize(x))``, to the last bit, without making the codes.

    Same edge contract, parameters and errors as :func:`quantize`; ``out`` may be ``x`` itself.

    Returns
    -------
    x_hat : ndarray, shape of ``x``, dtype of the scale

    Source: Gholami et al. 2021, sec. III-G (simulated quantization).
    """
    dtype = _checked(qparams).scale.dtype
    return _by_kernel(elementwise.fake_quantize_rows, x, qparams, rounding, rng, out, dtype, threads)


def _checked(qparams):
    if not isinstance(qparams, QParams):
        raise TypeError(f"qparams is a {type(qparams).__name__}; it must be QParams, as calibrate and "
                        "qparams_from_range make them")
    return qparams


class _Rule(NamedTuple):
    """How a number of steps becomes a code, in the order in which the kernels take it."""

    qmin: int
    qmax: int
    mode: int
    seed: np.uint64


def _by_kernel(kernel, x, qparams, rounding, rng, out, dtype, threads):
    """Check the arguments, lay them out as rows in one dtype, share them among threads, and put the result in shape."""
    x = float_array(x)
    rounding = choose(Rounding, rounding, "rounding")
    seed = seed_from(rng) if rounding is Rounding.STOCHASTIC else np.uint64(0)
    rule = _Rule(qparams.qmin, qparams.qmax, _KERNEL_MODE[rounding], seed)
    rows, scale, zero_point, group = qparams.rows(x)
    result = result_array(out, x.shape, dtype)
    real = np.result_type(rows, scale)                      # the division runs in the wider of the two
    rows, scale = rows.astype(real, copy=False), scale.astype(real, copy=False)
    kind = _written(dtype, real)
    as_it_lies = dtype == kind and qparams.axis in (None, 0)        # the kernel writes into the result itself
    lines = (result if as_it_lies else np.empty(rows.shape, kind)).reshape(rows.shape)
    if kind.kind == "i":
        lines = lines.view(f"u{kind.itemsize}")             # kernels write the last bits of a code, whatever its sign
    if _share(kernel, rows, scale, zero_point, group, rule, lines, threads):
        real_array(x)                                       # raises, and says where the NaN is
    if not as_it_lies:
        result[...] = qparams.unrows(lines.view(kind), x.shape)
    return result


def _written(dtype, real):
    """The dtype that a kernel writes: real numbers as it divides them, codes of float64 in 16 bits."""
    if dtype.kind == "f":
        return real
    return dtype if real == np.float32 else np.dtype(f"{dtype.kind}2")


def _share(kernel, rows, scale, zero_point, group, rule, out, threads):
    """Run the kernel on parts of the rows, or of the one row, side by side; whether x has a NaN.

    The arguments between ``group`` and ``out`` are the rule, the place of the part in the random stream, and whether to
    write past the caches.
    """
    count, n = rows.shape
    nans, past_caches = [], out.itemsize > 1 and out.nbytes >= _PAST_CACHES

    def some_rows(a, b):
        nans.append(kernel(rows[a:b], scale[a:b], zero_point[a:b], group, *rule, a * n, past_caches, out[a:b]))

    def some_groups(a, b):
        first, last = a * group, min(b * group, n)
        nans.append(kernel(rows[:, first:last], scale[:, a:b], zero_point[:, a:b], group, *rule, first, past_caches,
                           out[:, first:last]))

    def some_entries(a, b):
        nans.append(kernel(rows[:, a:b], scale, zero_point, b - a, *rule, a, past_caches, out[:, a:b]))

    if count != 1:
        pool.run(some_rows, count, threads=threads, grain=-(-_GRAIN // max(n, 1)))
    elif scale.size != 1:
        pool.run(some_groups, scale.size, threads=threads, grain=-(-_GRAIN // group))
    else:
        pool.run(some_entries, n, threads=threads, grain=_GRAIN, align=elementwise.LANES)
    return any(nans)


def sqnr_db(x: ArrayLike, x_hat: ArrayLike) -> float:
    """Signal-to-quantization-noise ratio in decibels, 10 log₁₀(Σ x² / Σ (x − x̂)²).

    +inf where x̂ equals x (also where both are empty), -inf where only the signal is zero. NaN and ±inf raise.

    Parameters
    ----------
    x, x_hat : array_like of the same shape, float32 or float64

    Returns
    -------
    float

    Raises
    ------
    TypeError, ValueError
        Another dtype, different shapes, a number that is not finite.
    """
    x, x_hat = real_array(x), real_array(x_hat, "x_hat")
    if x.shape != x_hat.shape:
        raise ValueError(f"x has shape {x.shape} and x_hat {x_hat.shape}; they must agree")
    if not (np.isfinite(x).all() and np.isfinite(x_hat).all()):
        raise ValueError("x and x_hat must be finite: a ratio of infinities means nothing")
    x, x_hat = x.astype(np.float64), x_hat.astype(np.float64)
    unit = max(np.abs(x).max(initial=0), np.abs(x_hat).max(initial=0)) or 1.0
    x, x_hat = x / unit, x_hat / unit                       # so that squares neither overflow nor vanish
    signal, noise = float(np.sum(x**2)), float(np.sum((x - x_hat) ** 2))
    if noise == 0:
        return float("inf")
    return 10 * np.log10(signal / noise).item() if signal else float("-inf")
