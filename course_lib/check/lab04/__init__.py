"""Checks of lab 04, post-training quantization on MNIST. One callable a task, in the order of the lab."""

from course_lib.check.base import in_order
from course_lib.check.lab04.experiment import accuracy_with_error, comparison
from course_lib.check.lab04.integer import accumulate, requantize
from course_lib.check.lab04.packing import pack_codes
from course_lib.check.lab04.quantizer import activation_params, dequantize, quantize, weight_scales

TASKS = in_order(
    accuracy_with_error, weight_scales, quantize, dequantize, activation_params, pack_codes, comparison, accumulate,
    requantize)
(
    accuracy_with_error, weight_scales, quantize, dequantize, activation_params, pack_codes, comparison, accumulate,
    requantize) = TASKS

__all__ = [
    "TASKS",
    "accumulate",
    "accuracy_with_error",
    "activation_params",
    "comparison",
    "dequantize",
    "pack_codes",
    "quantize",
    "requantize",
    "weight_scales",
]
