"""Non-uniform quantization: any list of levels will do, and a code is an index into it.

    q = the k whose level is nearest to r / S          r̂ = S · levels[q]

The levels are a table, so arithmetic cannot run on the codes: they are looked up first.

Sources: Gholami et al. 2021, sec. III-F; Miyashita, Lee, Murmann 2016, "Convolutional neural networks using logarithmic
data representation", for powers of two; Dettmers et al. 2023, "QLoRA", for NF4.
"""

from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from course_lib.arguments import as_array, finite_array, integer_array, real_array, whole_number
from course_lib.kernels import clustering
from course_lib.machine import pool
from course_lib.numerics.layout import Granularity, params_shape, to_rows

GRAIN = 1 << 15                                                         # numbers: about 50 µs of searching
ONE = np.float32(1)                                                     # the scale of codes that have none


class CodebookCodes(NamedTuple):
    """Codes, shape of the tensor, and the scale of each group: () for the whole tensor, or (R, G)."""

    codes: np.ndarray
    scale: np.ndarray


def power_of_two_levels(bits: int) -> NDArray[np.float32]:
    """0 and ±2⁻ᵏ for k = 0 … 2^(b−1) − 2: 2^b − 1 levels in [−1, 1], dense near zero. A product is then a shift.

    >>> power_of_two_levels(3).tolist()
    [-1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0]
    """
    bits = whole_number(bits, "bits", 2, 6)
    positive = 2.0 ** -np.arange(2 ** (bits - 1) - 1)                   # 1, 1/2, 1/4, …
    return np.concatenate([-positive, [0.0], positive[::-1]]).astype(np.float32)


def nf4_levels() -> NDArray[np.float32]:
    """The 16 levels of NF4: quantiles of a normal distribution, scaled to [−1, 1], zero among them. float32, (16,)

    Eight quantiles lie above zero and seven below; Dettmers et al. cut the distribution at its 0.9677083 quantile. The
    probabilities and the division are in float32, as in their software, so that the levels are theirs to the last bit.

    >>> nf4_levels()[1].item()
    -0.6961928009986877
    """
    above, below = (np.float32([NormalDist().inv_cdf(p) for p in _from_cut_to_half(n)]) for n in (9, 8))
    levels = np.sort(np.concatenate([-below, np.zeros(1, np.float32), above]))
    return levels / levels[-1]


def _from_cut_to_half(n):
    """n float32 numbers from 0.9677083 down to 0.5, evenly spaced, the last left out; as Python's, which hold them too.

    Half of them are counted from either end, as ``torch.linspace`` does; that decides last bits.
    """
    cut, half, i = np.float32(0.9677083), np.float32(0.5), np.arange(n, dtype=np.float32)
    step = (half - cut) / np.float32(n - 1)
    return np.where(i < n / 2, cut + step * i, half - step * (n - 1 - i))[:-1].tolist()


def nearest_level_one(r: float, levels: Sequence[float]) -> int:
    """The index of the level nearest to one number; a tie goes to the lower level. The definition."""
    return min(range(len(levels)), key=lambda k: abs(r - levels[k]))


def nearest_level(x: ArrayLike, levels: ArrayLike, *, threads: int | None = None) -> np.ndarray:
    """The index of the nearest level, for every entry; a tie goes to the lower level.

    NaN raises; ±inf takes the end level; -0.0 and +0.0 share a code; an empty array stays empty.

    Parameters
    ----------
    x : array_like, any shape, float32 or float64
    levels : array_like, 1-D, 1 to 65536 finite numbers, strictly ascending
    threads : int, changes the time and nothing else

    Returns
    -------
    codes : uint8 ndarray (uint16 above 256 levels), shape of ``x``

    Raises
    ------
    TypeError, ValueError
        ``x`` has another dtype or a NaN; ``levels`` is not as above.
    """
    x, levels = real_array(x), _check_levels(levels).astype(np.float64)
    between = levels[:-1] / 2 + levels[1:] / 2                          # where the nearest level changes
    if x.dtype != np.float32 or x.size < 16 or levels.size > 256:
        codes = np.searchsorted(between, x, side="left")
        return np.asarray(codes, np.uint8 if levels.size <= 256 else np.uint16)
    borders = np.full(2 ** (levels.size - 1).bit_length() - 1, np.inf)  # as many as the search can tell apart
    borders[: between.size] = between
    borders, flat, codes = _float32_below(borders), np.ascontiguousarray(x).reshape(-1), np.empty(x.shape, np.uint8)
    flat_codes = codes.reshape(-1)

    def part(start, stop):
        clustering.count_below(flat[start:stop], borders, flat_codes[start:stop])

    pool.run(part, flat.size, threads=threads, align=16, grain=GRAIN)
    return np.minimum(codes, levels.size - 1, out=codes) if borders.size > between.size else codes


def codebook_quantize(x: ArrayLike, levels: ArrayLike, *, group_size: int | None = None) -> CodebookCodes:
    """Scale ``x`` so that its largest entry meets the largest level, then take the nearest level.

    NaN, ±inf and an empty array raise; an array (or group) of zeros has S = 1; ``x`` is not changed.

    Parameters
    ----------
    x : array_like, any shape, float32 or float64
    levels : array_like, 1-D, as in :func:`nearest_level`, not all zero
    group_size : int, entries along the last axis that share a scale; all entries share one without it

    Returns
    -------
    CodebookCodes(codes, scale), scale in the dtype of ``x``, shape () or (R, G)
    """
    x, levels = finite_array(x), _check_levels(levels)
    if not levels.any():
        raise ValueError(f"levels={levels} must not be all zero: nothing can be scaled to it")
    kind, group_size = _granularity(group_size)
    rows, group = to_rows(np.abs(x), kind, None, group_size)
    largest = np.maximum.reduceat(rows, np.arange(0, rows.shape[1], group), axis=1).astype(np.float64)
    scale = np.where(largest == 0, 1.0, largest / np.abs(levels).max())
    info = np.finfo(x.dtype)
    scale = np.clip(scale, info.tiny, info.max).astype(x.dtype).reshape(params_shape(x.shape, kind, None, group_size))
    with np.errstate(over="ignore", under="ignore"):
        return CodebookCodes(nearest_level(x / _per_entry(scale, x.shape, group_size), levels), scale)


def codebook_dequantize(
    codes: np.ndarray, levels: ArrayLike, scale: ArrayLike = ONE, *, group_size: int | None = None
) -> np.ndarray:
    """The numbers that the codes stand for, r̂ = S · levels[q], in the dtype of ``scale``.

    Parameters
    ----------
    codes : integer ndarray, any shape, 0 to len(levels) − 1
    levels : array_like, 1-D, as in :func:`nearest_level`
    scale : float32 or float64, () or (R, G), as :func:`codebook_quantize` gives it
    group_size : int, as there

    Raises
    ------
    TypeError, ValueError
        ``codes`` are not integers or not indices of ``levels``; ``scale`` does not match.
    """
    codes, levels, scale = integer_array(codes, "codes"), _check_levels(levels), real_array(scale, "scale")
    if codes.size and not 0 <= codes.min() <= codes.max() < levels.size:
        raise ValueError(f"codes run from {codes.min()} to {codes.max()}; "
                         f"{levels.size} levels have 0 to {levels.size - 1}")
    kind, group_size = _granularity(group_size)
    wanted = params_shape(codes.shape, kind, None, group_size)
    if scale.shape != wanted:
        raise ValueError(f"scale has shape {scale.shape}; codes of shape {codes.shape} take {wanted}")
    x_hat = _per_entry(scale, codes.shape, group_size) * levels.astype(scale.dtype)[codes]
    return np.asarray(x_hat + scale.dtype.type(0))                      # −0 + 0 is +0


def _float32_below(x):
    """``x`` in float32, rounded down and finite: a float32 is above the result just where it is above ``x``."""
    limit = np.finfo(np.float32).max
    rounded = np.clip(x, -limit, limit).astype(np.float32)
    return np.where(rounded > x, np.nextafter(rounded, np.float32(-np.inf)), rounded) + np.float32(0)    # no −0


def _check_levels(levels):
    levels = as_array(levels, "levels")
    if levels.ndim != 1 or not 1 <= levels.size <= 2**16 or levels.dtype.kind not in "fiu":
        raise ValueError(f"levels must be 1 to 65536 real numbers in one row, got dtype {levels.dtype}, "
                         f"shape {levels.shape}")
    if not np.isfinite(levels).all() or (np.diff(levels) <= 0).any():
        raise ValueError(f"levels must be finite and strictly ascending, got {levels}")
    return levels


def _granularity(group_size):
    if group_size is None:
        return Granularity.PER_TENSOR, None
    return Granularity.PER_GROUP, whole_number(group_size, "group_size", 1, 2**31)


def _per_entry(scale, shape, group_size):
    """``scale`` repeated so that it lines up with an array of this shape."""
    if group_size is None:
        return scale
    n = shape[-1] if shape else 1
    return np.repeat(scale, group_size, axis=1)[:, :n].reshape(shape)
