"""Checks of lab 01, number formats. One callable a task, in the order of the lab."""

from .formats import decode, encode, limits
from .sums import RoundTo, pairwise_sum, rounded_sum

TASKS = (decode, limits, encode, rounded_sum, pairwise_sum)

__all__ = ["TASKS", "RoundTo", "decode", "encode", "limits", "pairwise_sum", "rounded_sum"]
