"""Checks of lab 01, number formats. One callable a task, in the order of the lab."""

from course_lib.check.base import in_order
from course_lib.check.lab01.formats import decode, encode, limits
from course_lib.check.lab01.sums import RoundTo, pairwise_sum, rounded_sum

TASKS = in_order(decode, limits, encode, rounded_sum, pairwise_sum)
decode, limits, encode, rounded_sum, pairwise_sum = TASKS

__all__ = ["TASKS", "RoundTo", "decode", "encode", "limits", "pairwise_sum", "rounded_sum"]
