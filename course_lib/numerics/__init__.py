"""Rounding, the quantizer, calibration and codebooks: what a number becomes when it has only a few bits. NumPy only."""

from course_lib.numerics.calibration import Calibration, calibrate, clipping_divergence_one
from course_lib.numerics.codebook import (
    CodebookCodes,
    codebook_dequantize,
    codebook_quantize,
    nearest_level,
    nearest_level_one,
    nf4_levels,
    power_of_two_levels,
)
from course_lib.numerics.layout import Granularity
from course_lib.numerics.qparams import QParams, Scheme, code_range, qparams_from_range
from course_lib.numerics.quantizer import (
    dequantize,
    dequantize_one,
    fake_quantize,
    quantize,
    quantize_one,
    sqnr_db,
)
from course_lib.numerics.rounding import Rounding, round_one, round_to_integer, uniform_one

__all__ = [
    "Calibration", "CodebookCodes", "Granularity", "QParams", "Rounding", "Scheme",
    "calibrate", "clipping_divergence_one", "code_range", "codebook_dequantize", "codebook_quantize", "dequantize",
    "dequantize_one", "fake_quantize", "nearest_level", "nearest_level_one", "nf4_levels", "power_of_two_levels",
    "qparams_from_range", "quantize", "quantize_one", "round_one", "round_to_integer", "sqnr_db", "uniform_one",
]
