"""Recomputes lecture 03's rows of the ledger: both tables of formats follow from two widths each."""

from course_lib.numerics import FORMATS

NAMES_002 = ("fp128", "fp64", "fp32", "fp16", "bfloat16", "e4m3", "e5m2")
NAMES_004 = ("fp32", "fp16", "e5m2")


def row_002(name):
    """t; exponent bits; 10^±k; u"""
    format = FORMATS[name]
    return format.precision, format.exponent_bits, 10, format.power_of_ten, format.unit_roundoff


def ends(name):
    """10^−k to 10^k"""
    k = FORMATS[name].power_of_ten
    return 10.0**-k, 10.0**k


RECOMPUTE = {
    **{f"03-table002-{name}": lambda name=name: row_002(name) for name in NAMES_002},
    **{f"03-table004-{name}-{what}": lambda name=name, what=what: getattr(FORMATS[name], what)
       for name in NAMES_004 for what in ("max", "min_normal", "min_subnormal")},
    **{f"03-table004-{name}-bits": lambda name=name: (1, FORMATS[name].exponent_bits, FORMATS[name].significand_bits)
       for name in NAMES_004},
    "03-range-fp32": lambda: ends("fp32"),
    "03-range-fp8": lambda: ends("e4m3"),
    "03-orders-fp32": lambda: FORMATS["fp32"].decades,
    "03-orders-fp8": lambda: FORMATS["e4m3"].decades,
    "03-binary8-roundoff": lambda: FORMATS["e5m2"].unit_roundoff,
    "03-int8-range": lambda: (-(2 ** (8 - 1)), 2 ** (8 - 1) - 1),
    "03-int8-memory": lambda: 8 / FORMATS["fp32"].bits,
}  # fmt: skip
