"""A small pool of threads for the kernels, which release Python's lock: work is split into contiguous parts.

The caller works too, so two threads mean one helper beside it. Parts that are asked for inside a part run one after the
other, so a pool in a pool never multiplies threads; a result must not depend on where the cuts are, and then it does
not depend on the count.

A helper stays awake for a fifth of a millisecond after its part, in case the next call comes at once, and the caller
waits awake as long for the others (see ``awake.py``). Then they sleep: PyTorch's threads have the cores to themselves
while PyTorch works.
"""

import atexit
import os
import threading
from collections.abc import Callable

import numpy as np

from course_lib.machine.threads import checked
from course_lib.machine.threads import threads as count_of_threads

CALLER_HOLDS_US = 20                    # Python's lock, after it has raised a helper's flag: it begins its own part
HELPER_HOLDS_US = 10                    # the lock, after it has raised the caller's: it only releases one more

_lock = threading.Lock()
_inside = threading.local()             # .part is True in a thread that is working on a part
_idle = []                              # helpers without work


def run(task: Callable[[int, int], object], count: int, *, threads: int | None = None, align: int = 1,
        grain: int = 1) -> None:
    """Call ``task(start, stop)`` for contiguous parts that cover ``range(count)``, side by side.

    Parameters
    ----------
    task : callable of two ints; what it returns is dropped
    count : int, the number of items; 0 calls nothing
    threads : int, by default the count of ``machine.threads.threads()``
    align : int
        Parts start at multiples of it (the last may end anywhere).
    grain : int
        A part has at least so many items, so that small work is not cut up: handing over a part costs some 20 µs.

    Raises
    ------
    Whatever a part raises, once all have ended.
    """
    wanted = checked(threads, "threads") if threads is not None else count_of_threads()
    parts = _parts(count, wanted, align, grain)
    if len(parts) < 2 or getattr(_inside, "part", False):
        if count > 0:
            task(0, count)
        return
    helpers, failed = _take(len(parts) - 1), None
    for helper, part in zip(helpers, parts[1:]):
        helper.begin(task, part)
    try:
        _run_part(task, *parts[0])
    except BaseException as error:
        failed = error
    waiting = list(helpers)
    while waiting:                                      # an interruption does not leave a part running behind our back
        try:
            error = waiting[0].end()                    # always waited for, whatever else has failed
            failed = failed or error
            waiting.pop(0)
        except KeyboardInterrupt as error:
            failed = failed or error
    with _lock:
        _idle.extend(helpers)
    if failed is not None:
        raise failed


class _Helper:
    """A thread that is given one part of the work after the other. Locks to sleep on, flags to look at while awake."""

    def __init__(self):
        self._go, self._done = threading.Lock(), threading.Lock()
        self._begun, self._ended = np.zeros(1, np.int64), np.zeros(1, np.int64)
        self._work = self._error = None
        self._go.acquire()
        self._done.acquire()
        self.thread = threading.Thread(target=self._loop, name="course_lib", daemon=True)
        self.thread.start()

    def begin(self, task, part):
        """Give it a part; without a task it ends for good."""
        self._work, self._error = (task, part), None
        self._ended[0] = 0
        self._begun[0] = 1
        self._go.release()

    def end(self):
        """Wait until the part is done: the error it raised, or None."""
        _wait_awake(self._ended, HELPER_HOLDS_US)
        self._done.acquire()
        return self._error

    def _loop(self):
        while True:
            _wait_awake(self._begun, CALLER_HOLDS_US)
            self._go.acquire()
            self._begun[0] = 0
            task, part = self._work
            if task is None:
                return
            try:
                _run_part(task, *part)
            except BaseException as error:
                self._error = error
            self._work = task = part = None
            self._ended[0] = 1
            self._done.release()


def _wait_awake(flag, handover_us):
    from course_lib.machine import awake  # compiled, and only needed by two threads or more

    awake.wait(flag, handover_us)


def _run_part(task, start, stop):
    try:
        _inside.part = True
        task(start, stop)
    finally:
        _inside.part = False


def _parts(count, threads, align, grain):
    """[(start, stop)]: at most ``threads`` of them, as even as ``align`` lets them be."""
    number = max(1, min(threads, count // max(grain, 1)))
    step = -(-count // number)
    step += -step % align
    return [(start, min(start + step, count)) for start in range(0, count, max(step, 1))]


def _take(number):
    """So many helpers; a thread is started only when none is idle."""
    _wait_awake(np.ones(1, np.int64), 0)                            # loads what waits, before a thread needs it
    with _lock:
        return [_idle.pop() if _idle else _Helper() for _ in range(number)]


def _forget():
    """In a process that was forked: its parent's helpers are not here, and nobody is left to give back a lock."""
    global _lock
    _lock = threading.Lock()
    _idle.clear()
    _inside.part = False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


@atexit.register
def _dismiss():
    """Let the idle helpers end before the interpreter does."""
    with _lock:
        helpers = _idle[:]
        _idle.clear()
    for helper in helpers:
        helper.begin(None, None)
    for helper in helpers:
        helper.thread.join()
