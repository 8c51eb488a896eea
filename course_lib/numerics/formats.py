"""Float formats as data: how many bits for what, and everything that follows from it.

A bit pattern is sign, exponent field E (e bits), fraction F (m bits), from the highest bit down:

    normal      ±(1 + F / 2^m) · 2^(E − bias)        0 < E
    subnormal   ±(0 + F / 2^m) · 2^(1 − bias)        E = 0
    special     ±inf and NaN, where the format has them: see ``Nans``

Two conventions count the significand. ``significand_bits`` is m, the bits that are stored; ``precision`` is t = m + 1,
which counts the hidden bit as well. The unit roundoff is u = 2^−t.

Sources: IEEE 754-2019; Micikevicius et al. 2022, "FP8 formats for deep learning", for e4m3 and e5m2; Open Compute
Project 2023, "OCP microscaling formats (MX) specification v1.0", for the formats of 6 and 4 bits.
"""

import math
from dataclasses import dataclass
from decimal import Context, Decimal
from enum import Enum
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from course_lib.arguments import choose, whole_number


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
            raise ValueError(f"infinities={self.infinities} does not go with nans={self.nans.value!r}: nans='ieee' "
                             "sets the top exponent aside for both, use infinities=True; with the others use False")
        if self.nans is Nans.IEEE and self.exponent_bits == 1:
            raise ValueError("exponent_bits=1 with nans='ieee' leaves no exponent for numbers: use 2 or more, or "
                             "nans='single' or 'none' with infinities=False")
        if self.nans is Nans.NONE and not self.saturates:
            raise ValueError("saturates=False needs inf or NaN to overflow to, and nans='none' has neither: "
                             "use saturates=True")

    @property
    def bits(self) -> int:
        """Total width: sign, exponent, fraction."""
        return 1 + self.exponent_bits + self.significand_bits

    @property
    def precision(self) -> int:
        """t = m + 1: bits of the significand, the hidden one included."""
        return self.significand_bits + 1

    @property
    def unit_roundoff(self) -> float:
        """u = 2^−t: rounding to nearest moves a number in range by at most u, relatively."""
        return 2.0**-self.precision

    @property
    def emin(self) -> int:
        """Exponent of the smallest normal number, 1 − bias."""
        return 1 - self.bias

    @property
    def emax(self) -> int:
        """Exponent of the largest number."""
        return self._split(self.max_code)[1] + self.significand_bits

    @property
    def max(self) -> float | Fraction:
        """The largest number (a Fraction where float64 cannot hold it, and so below)."""
        return exact(*self._split(self.max_code))

    @property
    def min_normal(self) -> float | Fraction:
        """The smallest positive number with a full significand, 2^emin."""
        return exact(1, self.emin)

    @property
    def min_subnormal(self) -> float | Fraction | None:
        """The smallest positive number, 2^(emin − m); None without subnormals."""
        return exact(1, self.emin - self.significand_bits) if self.subnormals else None

    @property
    def decades(self) -> float:
        """log₁₀(max / min_normal): powers of ten from end to end, subnormals not counted."""
        significand, exponent = self._split(self.max_code)
        return math.log10(significand) + (exponent - self.emin) * math.log10(2)

    @property
    def power_of_ten(self) -> int:
        """The k of tables that give the range as 10^±k: the smallest normal number is c · 10^−k with 1 ≤ c < 10.

        The largest number need not have the exponent k: 65504 of fp16, whose k is 5, has 4. Both forms of e4m3 have
        k = 2, since they differ at the top only.
        """
        return max(0, math.ceil(-self.emin * math.log10(2)))

    @property
    def max_code(self) -> int:
        """Bit pattern of the largest number."""
        last = 2 ** (self.bits - 1) - 1
        return {Nans.IEEE: last - 2**self.significand_bits, Nans.SINGLE: last - 1, Nans.NONE: last}[self.nans]

    @property
    def infinity_code(self) -> int | None:
        """Bit pattern of +inf; None without infinities."""
        return self.max_code + 1 if self.infinities else None

    @property
    def nan_code(self) -> int | None:
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

    def holds(self, dtype: DTypeLike) -> bool:
        """True if ``dtype`` (float32 or float64) has every number of the format, and as normal what is normal here."""
        info = np.finfo(dtype)
        return (self.significand_bits <= info.nmant and self.emin >= info.minexp and self.max <= float(info.max))

    def spacing(self, x: float | Fraction) -> float | Fraction:
        """Distance between the numbers of the format around x, 2^(e − m) for 2^e ≤ |x| < 2^(e + 1)."""
        e = max(math.frexp(x)[1] - 1, self.emin) if x else self.emin
        if abs(x) < self.min_normal and not self.subnormals:
            return self.min_normal
        return exact(1, e - self.significand_bits)

    def values(self) -> NDArray[np.float64]:
        """Every finite number of a format of up to 16 bits, ascending, zero once: float64 (n,)."""
        self.check_float64()
        if self.bits > 16:
            raise ValueError(f"{self.name} has 2^{self.bits} bit patterns; values() lists those of up to 16 bits")
        numbers = {exact(*self._split(code)) for code in range(self.max_code + 1)}
        positive = np.array(sorted(numbers - {0.0}))
        return np.concatenate([-positive[::-1], [0.0], positive])

    def neighbours(self, x: float | Fraction) -> Neighbours:
        """The numbers of the format strictly below and above x; ±inf counts where the format has it, NaN raises.

        >>> FORMATS["e4m3"].neighbours(17.0)
        Neighbours(below=16.0, above=18.0)
        >>> FORMATS["e4m3"].neighbours(448.0)
        Neighbours(below=416.0, above=None)
        """
        self.check_float64()
        if math.isnan(x):
            raise ValueError("x is NaN; it has no neighbours, give a number")
        below, above = self._below(x), self._below(-x)
        return Neighbours(below, None if above is None else 0.0 - above)

    def _below(self, x):
        """The largest number of the format less than x."""
        if x == -math.inf:
            return None
        x = math.nextafter(x, -math.inf)                            # so now: not more than x
        if x >= self.max:
            return self.max
        if x < -self.max:
            return -math.inf if self.infinities else None
        return math.floor(x / self.spacing(x)) * self.spacing(x)

    def check_float64(self) -> None:
        """Raise if float64 does not hold the format."""
        if not self.holds(np.float64):
            raise ValueError(f"format {self.name} reaches beyond float64: it has exact properties and decode_one, "
                             "but no arrays and no conversions")


def exact(significand, exponent):
    """significand · 2^exponent, whole numbers both: a float where that is exact, else a Fraction."""
    if significand < 2**53 and -1074 <= exponent <= 971:
        return math.ldexp(significand, exponent)                    # the same, without the long division
    number = Fraction(significand) * Fraction(2) ** exponent
    try:
        return float(number) if float(number) == number else number
    except OverflowError:
        return number


def scientific(x: float | Fraction, digits: int = 2) -> str:
    """A finite number written with a power of ten, also beyond float64.

    >>> scientific(FORMATS["fp128"].max, 3)
    '1.19e+4932'
    """
    if isinstance(x, (int, float)) and x == 0:
        return f"{0:.{digits - 1}f}e+0"                             # Decimal would write 0.0e+1
    try:
        x = Fraction(x)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"x={x!r} must be a finite number") from None
    context = Context(prec=40, Emax=10**6, Emin=-(10**6))
    return f"{context.divide(Decimal(x.numerator), Decimal(x.denominator)):.{digits - 1}e}"


FORMATS = {format.name: format for format in (
    FloatFormat("fp128", 15, 112),
    FloatFormat("fp64", 11, 52),
    FloatFormat("fp32", 8, 23),
    FloatFormat("tf32", 8, 10),
    FloatFormat("fp16", 5, 10),
    FloatFormat("bfloat16", 8, 7),
    FloatFormat("e5m2", 5, 2),                                      # papers call it binary8, u = 2^−3
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
