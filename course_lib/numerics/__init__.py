"""Rounding, the quantizer, calibration and codebooks: what a number becomes when it has only a few bits. NumPy only."""

from course_lib.lazy import room

__getattr__, __dir__, __all__ = room(__name__, {
    "calibration": ["Calibration", "calibrate", "clipping_divergence_one"],
    "clustering": ["KMeans", "Start", "first_centroids", "kmeans", "kmeans_optimal", "kmeans_plain", "sharing_rate"],
    "codebook": [
        "CodebookCodes", "codebook_dequantize", "codebook_quantize", "nearest_level", "nearest_level_one", "nf4_levels",
        "power_of_two_levels",
    ],
    "conversion": ["decode", "decode_one", "encode", "encode_one", "to_format", "to_format_one"],
    "formats": ["FORMATS", "FloatFormat", "Nans", "Neighbours", "scientific"],
    "layout": ["Granularity"],
    "lowprecision": [
        "FixedPoint", "Order", "add_in", "cumsum_in", "dot_in", "gradient_descent_in", "round_in", "sum_in", "to_fixed",
        "to_fixed_one",
    ],
    "microscaling": ["MXCodes", "mx_dequantize", "mx_quantize", "mx_quantize_one"],
    "moving_average": ["calibrate_batches", "moving_average_one"],
    "qparams": ["QParams", "Scheme", "code_range", "qparams_from_range"],
    "quantizer": ["dequantize", "dequantize_one", "fake_quantize", "quantize", "quantize_one", "sqnr_db"],
    "rounding": ["Rounding", "round_one", "round_to_integer", "uniform_one"],
})  # fmt: skip
