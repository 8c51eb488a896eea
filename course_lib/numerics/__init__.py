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
from course_lib.numerics.conversion import decode, decode_one, encode, encode_one, to_format, to_format_one
from course_lib.numerics.formats import FORMATS, FloatFormat, Nans, Neighbours, scientific
from course_lib.numerics.layout import Granularity
from course_lib.numerics.lowprecision import (
    FixedPoint,
    Order,
    add_in,
    cumsum_in,
    dot_in,
    gradient_descent_in,
    round_in,
    sum_in,
    to_fixed,
    to_fixed_one,
)
from course_lib.numerics.microscaling import MXCodes, mx_dequantize, mx_quantize, mx_quantize_one
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
from course_lib.numerics.sharing import (
    KMeans,
    Start,
    first_centroids,
    kmeans,
    kmeans_optimal,
    kmeans_plain,
    sharing_rate,
)

__all__ = [
    "FORMATS", "Calibration", "CodebookCodes", "FixedPoint", "FloatFormat", "Granularity", "KMeans", "MXCodes",
    "Nans", "Neighbours", "Order", "QParams", "Rounding", "Scheme", "Start",
    "add_in", "calibrate", "clipping_divergence_one", "code_range", "codebook_dequantize", "codebook_quantize",
    "cumsum_in", "decode", "decode_one", "dequantize", "dequantize_one", "dot_in", "encode", "encode_one",
    "fake_quantize", "first_centroids", "gradient_descent_in", "kmeans", "kmeans_optimal", "kmeans_plain",
    "mx_dequantize", "mx_quantize", "mx_quantize_one", "nearest_level", "nearest_level_one", "nf4_levels",
    "power_of_two_levels", "qparams_from_range", "quantize", "quantize_one", "round_in", "round_one",
    "round_to_integer", "scientific", "sharing_rate", "sqnr_db", "sum_in", "to_fixed", "to_fixed_one", "to_format",
    "to_format_one", "uniform_one",
]
