"""Rounding, the quantizer, calibration and codebooks: what a number becomes when it has only a few bits. NumPy only."""

from course_lib.numerics.calibration import Calibration, calibrate
from course_lib.numerics.qparams import Granularity, QParams, Scheme, qparams_from_range
from course_lib.numerics.quantizer import (
    dequantize,
    dequantize_one,
    fake_quantize,
    quantize,
    quantize_one,
    sqnr_db,
)
from course_lib.numerics.rounding import Rounding, round_one, round_to_integer

__all__ = [
    "Calibration", "Granularity", "QParams", "Rounding", "Scheme",
    "calibrate", "dequantize", "dequantize_one", "fake_quantize", "qparams_from_range", "quantize", "quantize_one",
    "round_one", "round_to_integer", "sqnr_db",
]
