"""A small pool of threads for the kernels, which release Python's lock: work is split into contiguous parts.

The caller works too, so two threads mean one helper beside it. Parts that are asked for inside a part run one after the
other, so a pool in a pool never multiplies threads; a result must not depend on where the cuts are, and then it does not
depend on the count. Helpers sleep between calls: PyTorch's threads have the cores to themselves while PyTorch works.
"""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

LARGEST_COUNT = 256

_lock = threading.Lock()
_inside = threading.local()             # .part is True in a thread that is working on a part
_count = None
_helpers = None                         # (executor, the process it belongs to)


def threads():
    """How many threads share the work of a kernel: what :func:`set_threads` was told, else ``COURSE_THREADS``, else as
    many as there are cores that this process may use."""
    return _count if _count is not None else _default()


def set_threads(count):
    """Let kernels use this many threads from now on; ``None`` goes back to the default. Results do not change, times do.

    Raises
    ------
    ValueError
        ``count`` is not a whole number from 1 to 256.
    """
    global _count
    _count = None if count is None else _checked(count, "count")


def run(task, count, *, threads=None, align=1, grain=1):
    """Call ``task(start, stop)`` for contiguous parts that cover ``range(count)``, side by side.

    Parameters
    ----------
    task : callable of two ints; what it returns is dropped
    count : int, the number of items; 0 calls nothing
    threads : int, by default the count of :func:`threads`
    align : int
        Parts start at multiples of it (the last may end anywhere).
    grain : int
        A part has at least so many items, so that small work is not cut up: handing over a part costs some 15 µs.

    Raises
    ------
    Whatever a part raises, once all have ended.
    """
    wanted = _checked(threads, "threads") if threads is not None else globals()["threads"]()
    parts = _parts(count, wanted, align, grain)
    if len(parts) < 2 or getattr(_inside, "part", False):
        if count > 0:
            task(0, count)
        return
    pool = _executor()
    others = [pool.submit(_run_part, task, *part) for part in parts[1:]]
    failed = None
    try:
        _run_part(task, *parts[0])
    except BaseException as error:
        failed = error
    for other in others:
        try:
            other.result()
        except BaseException as error:
            failed = failed or error
    if failed is not None:
        raise failed


def _run_part(task, start, stop):
    _inside.part = True
    try:
        task(start, stop)
    finally:
        _inside.part = False


def _parts(count, threads, align, grain):
    """[(start, stop)]: at most ``threads`` of them, as even as ``align`` lets them be."""
    number = max(1, min(threads, count // max(grain, 1)))
    step = -(-count // number)
    step += -step % align
    return [(start, min(start + step, count)) for start in range(0, count, max(step, 1))]


def _executor():
    """The helpers: a thread is started only when none is idle. A process that was forked makes its own."""
    global _helpers
    with _lock:
        if _helpers is None or _helpers[1] != os.getpid():
            _helpers = (ThreadPoolExecutor(LARGEST_COUNT, thread_name_prefix="course_lib"), os.getpid())
        return _helpers[0]


def _checked(count, name):
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= LARGEST_COUNT:
        raise ValueError(f"{name} is {count!r}; it should be a whole number from 1 to {LARGEST_COUNT}")
    return count


def _default():
    told = os.environ.get("COURSE_THREADS")
    if told:
        if not told.isdecimal():
            raise ValueError(f"COURSE_THREADS is {told!r}; it should be a whole number from 1 to {LARGEST_COUNT}")
        return _checked(int(told), "COURSE_THREADS")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, LARGEST_COUNT)
