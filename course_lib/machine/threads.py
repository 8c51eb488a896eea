"""How many threads share the work of a kernel."""

import os

import numpy as np

LARGEST_COUNT = 256

_count = None


def threads() -> int:
    """How many threads share the work of a kernel: what :func:`set_threads` was told, else ``COURSE_THREADS``, else as
    many as there are cores that this process may use."""
    return _count if _count is not None else _default()


def set_threads(count: int | None) -> None:
    """Let kernels use this many threads from now on; ``None`` goes back to the default.

    Results do not change, times do.

    Raises
    ------
    ValueError
        ``count`` is not a whole number from 1 to 256.
    """
    global _count
    _count = None if count is None else checked(count, "count")


def given() -> int | None:
    """What :func:`set_threads` was told, or None: what to set again after another count has been tried."""
    return _count


def checked(count: int, name: str) -> int:
    """``count`` as an int, if it is a whole number from 1 to 256; otherwise an error that names it."""
    if not isinstance(count, (int, np.integer)) or isinstance(count, bool) or not 1 <= count <= LARGEST_COUNT:
        raise ValueError(f"{name} is {count!r}; it should be a whole number from 1 to {LARGEST_COUNT}")
    return int(count)


def _default():
    told = os.environ.get("COURSE_THREADS")
    if told:
        if not told.isdecimal():
            raise ValueError(f"COURSE_THREADS is {told!r}; it should be a whole number from 1 to {LARGEST_COUNT}")
        return checked(int(told), "COURSE_THREADS")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, LARGEST_COUNT)
