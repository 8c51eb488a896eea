"""Scale and zero point: how real numbers and integer codes are tied together.

    q = clip(round(r / S) + Z, qmin, qmax)          r̂ = S (q − Z)

Source: Gholami et al. 2021, "A survey of quantization methods for efficient neural network inference", sec. III.
"""

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from course_lib.arguments import as_array, choose, float64_array, whole_number
from course_lib.numerics.layout import Granularity, check_axis, from_rows, params_shape, to_rows


class Scheme(str, Enum):
    """Symmetric: Z = 0 and codes ±(2^(b−1) − 1). Affine: all 2^b codes, and a zero point that keeps 0 exact."""

    SYMMETRIC = "symmetric"
    AFFINE = "affine"


@dataclass(frozen=True, eq=False)
class QParams:
    """Scale, zero point and code range of a uniform quantizer. Immutable; checks itself.

    Attributes
    ----------
    scale : float32 or float64 ndarray, S > 0
        Shape () per tensor, (C,) per channel; per group (R, G): the tensor viewed as R rows (all leading axes
        together) of n entries, each row cut into G = ⌈n / group_size⌉ groups, the last of which may be short.
    zero_point : int32 ndarray, shape of ``scale``, inside [qmin, qmax]; one number may be given for all
    qmin, qmax : int, the smallest and the largest code
    granularity : Granularity
    axis : int, the channel axis (per channel only)
    group_size : int, entries per group (per group only)
    """

    scale: np.ndarray
    zero_point: np.ndarray
    qmin: int
    qmax: int
    granularity: Granularity = Granularity.PER_TENSOR
    axis: int | None = None
    group_size: int | None = None

    def __post_init__(self):
        put = lambda name, value: object.__setattr__(self, name, value)     # the dataclass is frozen
        put("granularity", choose(Granularity, self.granularity, "granularity"))
        put("qmin", whole_number(self.qmin, "qmin", -(2**15), 2**16 - 2))
        put("qmax", whole_number(self.qmax, "qmax", self.qmin + 1, 2**15 - 1 if self.qmin < 0 else 2**16 - 1))
        scale = np.array(as_array(self.scale, "scale"))
        if scale.dtype not in (np.float32, np.float64):
            raise TypeError(f"scale has dtype {scale.dtype}; it must be float32 or float64")
        if not (np.isfinite(scale) & (scale > 0)).all():
            raise ValueError(f"scale must be positive and finite, got {scale}")
        zero_point = np.array(as_array(self.zero_point, "zero_point"))
        if zero_point.dtype.kind not in "iu" and zero_point.size:
            raise TypeError(f"zero_point has dtype {zero_point.dtype}; it must be an integer (round it first)")
        if zero_point.ndim == 0:
            zero_point = np.full(scale.shape, zero_point)
        if zero_point.shape != scale.shape:
            raise ValueError(f"zero_point has shape {zero_point.shape} and scale {scale.shape}; they must agree")
        if not ((zero_point >= self.qmin) & (zero_point <= self.qmax)).all():
            raise ValueError(f"zero_point must lie in [qmin, qmax] = [{self.qmin}, {self.qmax}], got {zero_point}")
        self._check_granularity(scale)
        zero_point = zero_point.astype(np.int32)
        scale.flags.writeable = zero_point.flags.writeable = False
        put("scale", scale)
        put("zero_point", zero_point)

    def _check_granularity(self, scale):
        per_channel, per_group = Granularity.PER_CHANNEL, Granularity.PER_GROUP
        ndim = {Granularity.PER_TENSOR: 0, per_channel: 1, per_group: 2}[self.granularity]
        if scale.ndim != ndim:
            raise ValueError(f"scale has shape {scale.shape}; {self.granularity.value} wants {ndim} axes")
        if (self.axis is not None) != (self.granularity is per_channel):
            raise ValueError(f"axis={self.axis!r} with {self.granularity.value}: give axis per channel, and only there")
        if (self.group_size is not None) != (self.granularity is per_group):
            raise ValueError(f"group_size={self.group_size!r} with {self.granularity.value}: "
                             "give group_size per group, and only there")
        if self.group_size is not None:
            whole_number(self.group_size, "group_size", 1, 2**31)

    def __eq__(self, other):
        if not isinstance(other, QParams):
            return NotImplemented
        plain = ("qmin", "qmax", "granularity", "axis", "group_size")
        return (all(getattr(self, name) == getattr(other, name) for name in plain)
                and self.scale.dtype == other.scale.dtype
                and np.array_equal(self.scale, other.scale)
                and np.array_equal(self.zero_point, other.zero_point))

    @property
    def bits(self) -> int:
        """Bits that a code needs."""
        return (self.qmax - self.qmin).bit_length()

    @property
    def levels(self) -> int:
        """How many codes there are: 2^b, or 2^b − 1 when symmetric."""
        return self.qmax - self.qmin + 1

    @property
    def symmetric(self) -> bool:
        """Whether Z = 0 and the code range is ±qmax."""
        return self.qmin == -self.qmax and not self.zero_point.any()

    @property
    def clipping_range(self) -> tuple[np.ndarray, np.ndarray]:
        """(α, β) = (S (qmin − Z), S (qmax − Z)): the smallest and the largest number that a code stands for.

        Where the product overflows (a constant tensor near the largest float), the largest float stands instead.
        """
        kind, limit = self.scale.dtype.type, np.finfo(self.scale.dtype).max
        with np.errstate(over="ignore"):
            ends = [self.scale * (end - self.zero_point).astype(kind) for end in (self.qmin, self.qmax)]
        return tuple(np.clip(end, -limit, limit) for end in ends)

    @property
    def code_dtype(self) -> np.dtype:
        """The narrowest integer dtype that holds the code range."""
        small, large = (np.int8, np.int16) if self.qmin < 0 else (np.uint8, np.uint16)
        fits = np.iinfo(small).min <= self.qmin and self.qmax <= np.iinfo(small).max
        return np.dtype(small if fits else large)

    def rows(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
        """``x`` as (rows, n), with scale and zero point as (rows, G) and the group length; see ``layout.py``."""
        axis = None if self.axis is None else check_axis(self.axis, x.ndim)
        wanted = params_shape(x.shape, self.granularity, axis, self.group_size)
        if wanted != self.scale.shape:
            raise ValueError(f"x has shape {x.shape}, which takes scales of shape {wanted} "
                             f"({self._where()}); qparams has {self.scale.shape}")
        rows, group = to_rows(x, self.granularity, axis, self.group_size)
        if self.granularity is Granularity.PER_GROUP:
            return rows, self.scale, self.zero_point, group
        return rows, self.scale.reshape(-1, 1), self.zero_point.reshape(-1, 1), group

    def unrows(self, rows: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """The reverse of :meth:`rows`: back to ``shape``."""
        return from_rows(rows, shape, self.granularity, self.axis)

    def _where(self):
        return {Granularity.PER_TENSOR: "per tensor", Granularity.PER_CHANNEL: f"per channel on axis {self.axis}",
                Granularity.PER_GROUP: f"per group of {self.group_size}"}[self.granularity]


def code_range(bits: int, scheme: Scheme | str = Scheme.SYMMETRIC, signed: bool | None = None) -> tuple[int, int]:
    """The smallest and the largest code of a ``bits``-bit quantizer.

    >>> code_range(8, "symmetric"), code_range(8, "affine"), code_range(8, "affine", signed=True)
    ((-127, 127), (0, 255), (-128, 127))
    """
    scheme = choose(Scheme, scheme, "scheme")
    if scheme is Scheme.SYMMETRIC:
        bits = whole_number(bits, "bits (symmetric)", 2, 16)
        if signed is False:
            raise ValueError("signed=False: symmetric codes are signed; use scheme='affine'")
        return -(2 ** (bits - 1) - 1), 2 ** (bits - 1) - 1
    bits = whole_number(bits, "bits (affine)", 1, 16)
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)


def qparams_from_range(
    alpha: ArrayLike, beta: ArrayLike, *, bits: int, scheme: Scheme | str, signed: bool | None = None,
    granularity: Granularity | str = Granularity.PER_TENSOR, axis: int = 0, group_size: int | None = None,
    dtype: DTypeLike = np.float32,
) -> QParams:  # fmt: skip
    """The scale and zero point that map the clipping range [α, β] onto the codes of ``bits`` bits.

    Symmetric: S = max(|α|, |β|) / (2^(b−1) − 1) and Z = 0. Affine: the range is first widened to hold zero, then
    S = (β − α) / (qmax − qmin) and Z = qmin − round(α / S), so that zero is exact.

    Where α = β = c the tensor is constant and S = |c|, so that it round-trips exactly (all zero: S = 1 and Z = 0).
    S is never below the smallest normal number, so a constant or a range smaller than that becomes zero; nor is it so
    large that S (q − Z) overflows, so a range that fills the whole float axis loses a little at its ends.

    Parameters
    ----------
    alpha, beta : float or ndarray, () per tensor, (C,) per channel, (R, G) per group; finite, alpha <= beta
    bits : int, 2 to 16 symmetric, 1 to 16 affine
    scheme : Scheme
        Without a default: a range says nothing of what it is for. (Numbers do, to ``calibrate``: by default weights.)
    signed : bool, affine codes in [−2^(b−1), 2^(b−1) − 1] instead of [0, 2^b − 1]
    granularity : Granularity
    axis : int, the channel axis, used per channel only
    group_size : int, required per group: see QParams
    dtype : float32 or float64, the dtype of the scale

    Returns
    -------
    QParams

    Raises
    ------
    ValueError
        A bound is NaN or infinite, or alpha > beta; bits out of range.
    """
    scheme, granularity = choose(Scheme, scheme, "scheme"), choose(Granularity, granularity, "granularity")
    axis = axis if granularity is Granularity.PER_CHANNEL else None
    qmin, qmax = code_range(bits, scheme, signed)
    try:
        dtype = np.dtype(dtype)
    except TypeError:
        raise TypeError(f"dtype={dtype!r} must be float32 or float64") from None
    if dtype not in (np.float32, np.float64):
        raise TypeError(f"dtype={dtype} must be float32 or float64")
    alpha, beta = (float64_array(end, name) for name, end in (("alpha", alpha), ("beta", beta)))
    if alpha.shape != beta.shape and alpha.ndim and beta.ndim:
        raise ValueError(f"alpha has shape {alpha.shape} and beta {beta.shape}; they must agree, or one be a number")
    alpha, beta = np.broadcast_arrays(alpha, beta)
    for name, bound in (("alpha", alpha), ("beta", beta)):
        if not np.isfinite(bound).all():
            raise ValueError(f"{name} must be finite, got {bound}")
    if (alpha > beta).any():
        raise ValueError(f"alpha must not exceed beta, got alpha={alpha}, beta={beta}")
    scale, zero_point = scale_and_zero_point(alpha, beta, scheme, qmin, qmax, dtype)
    return QParams(scale, zero_point, qmin, qmax, granularity, axis, group_size)


def scale_and_zero_point(alpha, beta, scheme, qmin, qmax, dtype):
    """The arithmetic of :func:`qparams_from_range`, without its checks: arrays in, arrays out."""
    steps = qmax if scheme is Scheme.SYMMETRIC else qmax - qmin
    low, high = np.minimum(alpha, 0), np.maximum(beta, 0)
    if scheme is Scheme.SYMMETRIC:
        scale = np.maximum(-low, high) / steps
    else:
        with np.errstate(over="ignore"):                    # one bit and the whole float axis; brought back below
            scale = high / steps - low / steps              # not (high − low) / steps, which overflows sooner
    constant = alpha == beta
    scale = np.where(constant, np.where(alpha == 0, 1.0, np.abs(alpha)), scale)
    info = np.finfo(dtype)
    scale = np.clip(scale, info.tiny, info.max).astype(dtype)
    if scheme is Scheme.SYMMETRIC:
        zero_point = np.zeros(scale.shape, np.int32)
    else:
        zero_point = np.clip(qmin - np.rint(low / scale.astype(np.float64)), qmin, qmax).astype(np.int32)
        zero_point = np.where(constant & (alpha == 0), 0, zero_point).astype(np.int32)
    farthest = np.maximum(zero_point - qmin, qmax - zero_point).astype(dtype)
    largest = np.nextafter(info.max / farthest, dtype.type(0))      # one step less than what might overflow
    return np.asarray(np.where(constant, scale, np.minimum(scale, largest)), dtype), zero_point
