"""Waiting awake for a moment before falling asleep, for the pool: ``wait`` is all that it needs to know.

To wake a sleeping thread takes a tenth of a millisecond on some machines, as long as many a kernel runs. What it is
worth shows on short products with two threads and idle cores, and on no page.
"""

from functools import lru_cache
from time import perf_counter

import numpy as np
from numba import int64, types
from numba.extending import intrinsic

from course_lib.machine.compiling import array_of, kernel

PATIENCE_US = 200                       # how long to look at the flag


@intrinsic
def _now(typingctx, flag):
    """flag[0], read from memory at every look."""

    def generate(context, builder, signature, arguments):
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        return builder.load_atomic(data, "acquire", 8)

    return int64(flag), generate


@kernel([types.void(array_of(int64, 1), int64, int64)])
def look(flag, patience, longer):
    """Look at flag[0] until it is not 0, ``patience`` times at most; then look on, ``longer`` times: see ``wait``."""
    for _ in range(patience):
        if _now(flag) != 0:
            for _ in range(longer):
                _now(flag)
            return


def wait(flag: np.ndarray, handover_us: int) -> None:
    """Return when ``flag`` is raised, or after 200 µs; Python's lock is free meanwhile.

    Parameters
    ----------
    flag : int64 ndarray, (1,); it is raised when it is not 0
    handover_us : int
        How long to go on after that. Whoever raised the flag still holds Python's lock for some microseconds, and to
        come for the lock at once would be to fall asleep over it.
    """
    look(flag, PATIENCE_US * looks_per_us(), handover_us * looks_per_us())


@lru_cache
def looks_per_us() -> int:
    """How many looks this processor takes in a microsecond."""
    looks, flag, seconds = 50_000, np.zeros(1, np.int64), []
    for _ in range(3):
        start = perf_counter()
        look(flag, looks, 0)
        seconds.append(perf_counter() - start)
    return max(1, int(looks / min(seconds) / 1e6))
