"""Waiting awake: a loop that looks at a flag without holding Python's lock, for the pool."""

from functools import lru_cache
from time import perf_counter

import numpy as np
from numba import int64, types
from numba.extending import intrinsic

from course_lib.machine.compiling import array_of, kernel


@intrinsic
def _now(typingctx, flag):
    """flag[0], read from memory at every look."""

    def generate(context, builder, signature, arguments):
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        return builder.load_atomic(data, "acquire", 8)

    return int64(flag), generate


@kernel([types.void(array_of(int64, 1), int64, int64)])
def look(flag, patience, longer):
    """Look at flag[0] until it is not 0, ``patience`` times at most; then look on, ``longer`` times.

    Whoever raised it holds Python's lock for some microseconds more. To come for the lock at once would be to fall
    asleep over it.
    """
    for _ in range(patience):
        if _now(flag) != 0:
            for _ in range(longer):
                _now(flag)
            return


@lru_cache
def looks_per_us() -> int:
    """How many looks this processor takes in a microsecond."""
    looks, flag, seconds = 50_000, np.zeros(1, np.int64), []
    for _ in range(3):
        start = perf_counter()
        look(flag, looks, 0)
        seconds.append(perf_counter() - start)
    return max(1, int(looks / min(seconds) / 1e6))
