"""Checks of lab 03, the quantizer itself. One callable a task, in the order of the lab."""

from course_lib.check.base import in_order
from course_lib.check.lab03.channels import bits_per_weight, channel_scales, group_scales
from course_lib.check.lab03.clipping import best_clip, sqnr_db
from course_lib.check.lab03.ranges import affine_params, code_range, dequantize, quantize

TASKS = in_order(
    code_range, affine_params, quantize, dequantize, sqnr_db, channel_scales, best_clip, group_scales,
    bits_per_weight)
(
    code_range, affine_params, quantize, dequantize, sqnr_db, channel_scales, best_clip, group_scales,
    bits_per_weight) = TASKS

__all__ = [
    "TASKS",
    "affine_params",
    "best_clip",
    "bits_per_weight",
    "channel_scales",
    "code_range",
    "dequantize",
    "group_scales",
    "quantize",
    "sqnr_db",
]
