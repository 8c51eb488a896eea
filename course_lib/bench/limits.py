"""What the machine allows: how fast it copies, how fast it multiplies and adds, and which cache holds how much."""

from functools import lru_cache
from pathlib import Path

import numpy as np

from course_lib.kernels import pool
from course_lib.roofline import matmul_peak, peak_rate

GRAIN = 1 << 17                             # bytes: a smaller part is copied faster than it is handed over


def copy_of(size):
    """A callable that moves ``size`` bytes with the pool's threads: half of them read, half written."""
    source = np.ones(max(1, int(size) // 2), np.uint8)
    target = np.empty_like(source)

    def part(start, stop):
        np.copyto(target[start:stop], source[start:stop])

    return lambda: pool.run(part, source.size, align=64, grain=GRAIN)


@lru_cache
def peak(arithmetic, threads):
    """Operations a second of one kind on so many threads, measured once: the best of several ways."""
    if arithmetic == "float32":
        return matmul_peak((512, 1024, 2048), budget_s=1.5)
    if arithmetic == "int8":
        return peak_rate(_int8_products(), budget_s=1.5)[1]
    return None


def _int8_products(sizes=(512, 1024, 2048)):
    import torch

    calls = {}
    for n in sizes:
        a, b = (torch.randint(-128, 128, (n, n), dtype=torch.int8) for _ in range(2))
        calls[f"torch, {n}×{n}"] = (lambda a=a, b=b: torch._int_mm(a, b)), 2 * n**3
    return calls


@lru_cache
def caches():
    """{"L1": bytes, "L2": bytes, …} of the data caches of one core; empty where the system does not say."""
    found = {}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            kind, level, size = ((index / name).read_text().strip() for name in ("type", "level", "size"))
        except OSError:
            continue
        if kind != "Instruction" and size.endswith("K"):
            found[f"L{level}"] = 1024 * int(size[:-1])
    return found


def fits_in(size):
    """The smallest cache that holds ``size`` bytes ("L2"), "memory" where none does, None where nothing is known."""
    known = caches()
    return next((name for name, capacity in known.items() if size <= capacity), "memory") if known else None
