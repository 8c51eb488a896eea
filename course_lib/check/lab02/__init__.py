"""Checks of lab 02, rounding. One callable a task, in the order of the lab."""

from course_lib.check.base import in_order
from course_lib.check.lab02.descent import descent, gaps, stuck
from course_lib.check.lab02.rounding import directed, standard_errors_off, stochastic, to_nearest

TASKS = in_order(to_nearest, directed, stochastic, standard_errors_off, gaps, descent, stuck)
to_nearest, directed, stochastic, standard_errors_off, gaps, descent, stuck = TASKS

__all__ = ["TASKS", "descent", "directed", "gaps", "standard_errors_off", "stochastic", "stuck", "to_nearest"]
