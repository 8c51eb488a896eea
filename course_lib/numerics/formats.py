"""Float formats as data: how many bits for what, and everything that follows from it.

A bit pattern is sign, exponent field E (e bits), fraction F (m bits), from the highest bit down:

    normal      ±(1 + F / 2^m) · 2^(E − bias)        0 < E
    subnormal   ±(0 + F / 2^m) · 2^(1 − bias)        E = 0
    special     ±inf and NaN, where the format has them: see ``Nans``

Two conventions count the significand. ``significand_bits`` is m, the bits that are stored; ``precision`` is t = m + 1, which
counts the hidden bit as well. The unit roundoff is u = 2^−t.

Sources: IEEE 754-2019; Micikevicius et al. 2022, "FP8 formats for deep learning", for e4m3 and e5m2; Open Compute Project 2023,
"OCP microscaling formats (MX) specification v1.0", for the formats of 6 and 4 bits.
"""

import math
from dataclasses import dataclass
from decimal import Context, Decimal
from enum import Enum
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from course_lib.numerics.checks import choose, whole_number
from course_lib.numerics.rounding import round_one


class Nans(str, Enum):
    """Which bit patterns are not numbers: the top exponent (F = 0 there is infinity), the single last one, or none."""

    IEEE = "ieee"
    SINGLE = "single"
    NONE = "none"


class Neighbours(NamedTuple):
    """The numbers of a format just below and just above x; None where there is none."""

    below: float | None
    above: float | None


@dataclass(frozen=True)
class FloatFormat:
    """A binary floating-point format with one sign bit.

    Parameters
    ----------
    name : str
    exponent_bits : int, 1 to 15
    significand_bits : int, 1 to 112
        Bits that are stored, m: the hidden bit is not counted.
    bias : int, 0 to 32767; 2^(e − 1) − 1 by default
    infinities : bool, only together with ``Nans.IEEE``
    nans : Nans
    subnormals : bool
        Without them every pattern with exponent field 0 is a zero.
    saturates : bool
        What is too large becomes ±max, unless a conversion is told otherwise; else inf, or NaN where there is no inf.

    Raises
    ------
    ValueError
        A format that cannot exist; the message says which number would have to change.

    >>> e5m2 = FloatFormat("e5m2", 5, 2)
    >>> e5m2.bits, e5m2.max, e5m2.min_normal, e5m2.unit_roundoff
    (8, 57344.0, 6.103515625e-05, 0.125)
    """

    name: str
    exponent_bits: int
    significand_bits: int
    bias: int | None = None
    infinities: bool = True
    nans: Nans = Nans.IEEE
    subnormals: bool = True
    saturates: bool = False

    def __post_init__(self):
        put = lambda key, value: object.__setattr__(self, key, value)               # noqa: E731, the class is frozen
        put("exponent_bits", whole_number(self.exponent_bits, "exponent_bits", 1, 15))
        put("significand_bits", whole_number(self.significand_bits, "significand_bits", 1, 112))
        if self.bias is None:
            put("bias", 2 ** (self.exponent_bits - 1) - 1)
        put("bias", whole_number(self.bias, "bias", 0, 2**15 - 1))
        put("nans", choose(Nans, self.nans, "nans"))
        if self.infinities != (self.nans is Nans.IEEE):
            raise ValueError(f"infinities={self.infinities} does not go with nans={self.nans.value!r}: the infinities are the "
                             "patterns that nans='ieee' leaves over in the top exponent, and no other choice leaves any")
        if self.nans is Nans.IEEE and self.exponent_bits == 1:
            raise ValueError("exponent_bits=1 with nans='ieee' leaves no exponent for numbers: use 2 or more, or "
                             "nans='single' or 'none' with infinities=False")
        if self.nans is Nans.NONE and not self.saturates:
            raise ValueError("saturates=False needs inf or NaN to overflow to, and nans='none' has neither: "
                             "use saturates=True")

    @property
    def bits(self):
        """Total width: sign, exponent, fraction."""
        return 1 + self.exponent_bits + self.significand_bits

    @property
    def precision(self):
        """t = m + 1: bits of the significand, the hidden one included."""
        return self.significand_bits + 1

    @property
    def unit_roundoff(self):
        """u = 2^−t: rounding to nearest moves a number in range by at most u, relatively."""
        return 2.0**-self.precision

    @property
    def emin(self):
        """Exponent of the smallest normal number, 1 − bias."""
        return 1 - self.bias

    @property
    def emax(self):
        """Exponent of the largest number."""
        return self._split(self.max_code)[1] + self.significand_bits

    @property
    def max(self):
        """The largest number (a Fraction where float64 cannot hold it, and so below)."""
        return _number(*self._split(self.max_code))

    @property
    def min_normal(self):
        """The smallest positive number with a full significand, 2^emin."""
        return _number(1, self.emin)

    @property
    def min_subnormal(self):
        """The smallest positive number, 2^(emin − m); None without subnormals."""
        return _number(1, self.emin - self.significand_bits) if self.subnormals else None

    @property
    def decades(self):
        """log₁₀(max / min_normal): powers of ten from end to end, subnormals not counted."""
        significand, exponent = self._split(self.max_code)
        return math.log10(significand) + (exponent - self.emin) * math.log10(2)

    @property
    def power_of_ten(self):
        """The k of tables that give the range as 10^±k: the smallest normal number is c · 10^−k with 1 ≤ c < 10.

        The largest number need not have the exponent k: 65504 of fp16, whose k is 5, has 4.
        """
        return max(0, math.ceil(-self.emin * math.log10(2)))

    @property
    def max_code(self):
        """Bit pattern of the largest number."""
        last = 2 ** (self.bits - 1) - 1
        return {Nans.IEEE: last - 2**self.significand_bits, Nans.SINGLE: last - 1, Nans.NONE: last}[self.nans]

    @property
    def infinity_code(self):
        """Bit pattern of +inf; None without infinities."""
        return self.max_code + 1 if self.infinities else None

    @property
    def nan_code(self):
        """Bit pattern of the NaN that conversions give (IEEE: the quiet one); None without NaN."""
        if self.nans is Nans.NONE:
            return None
        return 2 ** (self.bits - 1) - (2 ** (self.significand_bits - 1) if self.nans is Nans.IEEE else 1)

    def _split(self, code):
        """Integers (significand, exponent) of a pattern without its sign: the number is significand · 2^exponent."""
        field, fraction = code >> self.significand_bits, code % 2**self.significand_bits
        if field:
            fraction += 2**self.significand_bits
        elif not self.subnormals:
            fraction = 0
        return fraction, max(field, 1) - self.bias - self.significand_bits

    def holds(self, dtype):
        """True if every number of the format is one of ``dtype`` (float32 or float64), normal where it is normal here."""
        info = np.finfo(dtype)
        return (self.significand_bits <= info.nmant and self.emin >= info.minexp and self.max <= float(info.max))

    def spacing(self, x):
        """Distance between the numbers of the format around x, 2^(e − m) for 2^e ≤ |x| < 2^(e + 1)."""
        e = max(math.frexp(x)[1] - 1, self.emin) if x else self.emin
        if abs(x) < self.min_normal and not self.subnormals:
            return self.min_normal
        return _number(1, e - self.significand_bits)

    def values(self):
        """Every finite number of a format of up to 16 bits, ascending, zero once: float64 (n,)."""
        if self.bits > 16:
            raise ValueError(f"{self.name} has 2^{self.bits} bit patterns; values() lists those of up to 16 bits")
        positive = sorted({decode_one(code, self) for code in range(1, self.max_code + 1)} - {0.0})
        return np.array([*(-v for v in reversed(positive)), 0.0, *positive])

    def neighbours(self, x):
        """The numbers of the format strictly below and above x; ±inf counts where the format has it.

        >>> FORMATS["e4m3"].neighbours(17.0)
        Neighbours(below=16.0, above=18.0)
        """
        if math.isnan(x):
            raise ValueError("x is NaN; it has no neighbours, give a number")
        return Neighbours(self._below(x), _negative(self._below(-x)))

    def _below(self, x):
        """The largest number of the format less than x."""
        biggest, infinite = self.max, math.inf if self.infinities else None
        if x > biggest:
            return biggest
        if x <= -biggest:
            return _negative(infinite) if x > -math.inf else None
        down = to_format_one(x, self, "down")
        if down < x:
            return down
        code = encode_one(abs(x), self)                             # x is a number of the format: the next one down
        if x > 0:
            return decode_one(code - 1, self) if self.subnormals or x > self.min_normal else 0.0
        return -decode_one(code + 1, self) if self.subnormals or x else -self.min_normal


def _negative(x):
    return None if x is None else -x


def _number(significand, exponent):
    """significand · 2^exponent: a float where that is exact, else a Fraction."""
    exact = Fraction(significand) * Fraction(2) ** exponent
    try:
        return float(exact) if float(exact) == exact else exact
    except OverflowError:
        return exact


def scientific(x, digits=2):
    """A number written with a power of ten, also beyond float64.

    >>> scientific(FORMATS["fp128"].max, 3)
    '1.19e+4932'
    """
    x = Fraction(x)
    context = Context(prec=40, Emax=10**6, Emin=-(10**6))
    return f"{context.divide(Decimal(x.numerator), Decimal(x.denominator)):.{digits - 1}e}"


def decode_one(code, format):
    """The number that one bit pattern stands for. The definition."""
    sign = -1.0 if code >> (format.bits - 1) else 1.0
    code %= 2 ** (format.bits - 1)                                  # the rest of the pattern
    if code > format.max_code:
        return math.copysign(math.inf if code == format.infinity_code else math.nan, sign)
    field, fraction = code >> format.significand_bits, code % 2**format.significand_bits
    if field > 0:
        return sign * _number(2**format.significand_bits + fraction, field - format.bias - format.significand_bits)
    return sign * _number(fraction * format.subnormals, 1 - format.bias - format.significand_bits)


def to_format_one(x, format, rounding="nearest", u=None, saturate=None):
    """The number of the format that x rounds to: near x the format is a grid, on which x / spacing is whole. The definition.

    Too large is decided after rounding. Down, up and toward zero then stop at ±max on the side that lies toward zero.
    """
    saturate = format.saturates if saturate is None else saturate
    if math.isnan(x):
        return x
    spacing = format.spacing(x) if math.isfinite(x) else 1.0
    r = round_one(x / spacing, rounding, u) * spacing if math.isfinite(x) else x
    if abs(r) > format.max:
        inward = math.isfinite(x) and rounding in ("toward_zero", "down" if x > 0 else "up")
        r = format.max if saturate or inward else math.inf if format.infinities else math.nan
    return math.copysign(r, x)


def encode_one(x, format, rounding="nearest", u=None, saturate=None):
    """The bit pattern of the number that x rounds to. The definition."""
    r = to_format_one(x, format, rounding, u, saturate)
    sign = 2 ** (format.bits - 1) if math.copysign(1, r) < 0 else 0
    if math.isnan(r):
        return sign + format.nan_code
    if math.isinf(r):
        return sign + format.infinity_code
    steps, e = abs(r) / format.spacing(r), max(math.frexp(r)[1] - 1, format.emin) if r else format.emin
    return sign + int(steps) + (e - format.emin) * 2**format.significand_bits


FORMATS = {format.name: format for format in (
    FloatFormat("fp128", 15, 112),
    FloatFormat("fp64", 11, 52),
    FloatFormat("fp32", 8, 23),
    FloatFormat("tf32", 8, 10),
    FloatFormat("fp16", 5, 10),
    FloatFormat("bfloat16", 8, 7),
    FloatFormat("e5m2", 5, 2),                                      # the 8-bit format with u = 2^−3 of the descent examples
    FloatFormat("e4m3", 4, 3, infinities=False, nans=Nans.SINGLE),
    FloatFormat("e4m3_ieee", 4, 3),                                 # what e4m3 would be with the IEEE rules
    FloatFormat("e3m2", 3, 2, infinities=False, nans=Nans.NONE, saturates=True),
    FloatFormat("e2m3", 2, 3, infinities=False, nans=Nans.NONE, saturates=True),
    FloatFormat("e2m1", 2, 1, infinities=False, nans=Nans.NONE, saturates=True),
)}


def as_format(format, name="format"):
    """A FloatFormat as it is, or the one with that name."""
    if isinstance(format, FloatFormat):
        return format
    if isinstance(format, str) and format in FORMATS:
        return FORMATS[format]
    raise ValueError(f"{name}={format!r} is neither a FloatFormat nor one of {', '.join(map(repr, FORMATS))}")
