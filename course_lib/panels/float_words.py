"""A number and its bits in words and formulas, for the float-bits panel."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from course_lib.numerics import encode

ABOVE = str.maketrans("0123456789-−", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁻")


def read_number(text):
    """A float from '0.1', '-2e5', '1/3', 'inf' or 'nan'."""
    try:
        return float(Fraction(text.replace("−", "-"))) if "/" in text else float(text.replace("−", "-"))
    except (ValueError, ZeroDivisionError, OverflowError):
        raise ValueError(f"{text!r} is not a number: write 0.1, -2e5, 1/3, inf or nan") from None


def code_of(number, format):
    """The bit pattern that a number rounds to; NaN in a format without it is an error that says so."""
    return int(encode(np.float64(number), format))


def bit_names(format):
    """(kind, what it is worth) of each bit, the highest first."""
    exponent = [("exponent", f", worth {2**k}") for k in reversed(range(format.exponent_bits))]
    fraction = [("fraction", f", worth 1/{2**k}") for k in range(1, format.significand_bits + 1)]
    return [("sign", ""), *exponent, *fraction]


def formula(result):
    """Two lines: the rule with the numbers put in, and what it gives."""
    format, m = result.format, result.format.significand_bits
    if result.kind in ("NaN", "infinity"):
        return f"the pattern stands for {result.kind}", words(result.value, 9)
    hidden, field = (1, result.exponent) if result.exponent else (0, 1)
    significand = hidden + result.fraction / 2**m
    first = f"(−1){up(result.sign)} · 2{up(f'{field}−{format.bias}')} · ({hidden} + {result.fraction} / 2{up(m)})"
    digits = f"{significand:.9g}"
    sign = "−" if result.sign else ""
    exact = "=" if float(plain(words(result.value, 12))) == result.value and float(digits) == significand else "≈"
    return first, f"{exact} {sign}2{up(field - format.bias)} · {digits} {exact} {words(result.value, 12)}"


def label(format):
    """A format's name and widths."""
    return f"{format.name}: 1 + {format.exponent_bits} + {format.significand_bits} bits"


def words(x, digits):
    """A number to so many digits with a proper minus; the sign of a zero shows."""
    return f"{x:.{digits}g}".replace("inf", "∞").replace("nan", "NaN").replace("-", "−")


def plain(text):
    """With the minus that float() reads."""
    return text.replace("−", "-")


def up(k):
    """Digits as superscripts."""
    return str(k).translate(ABOVE)


def ten(k):
    """A power of ten, as an axis shows it."""
    return {-1: "0.1", 0: "1", 1: "10", 2: "100"}.get(k, f"10{up(k)}")
