"""What the machine allows: how fast it copies, how fast it does arithmetic, and which cache holds how much.

Bandwidth is measured beside each row, on as many bytes, by ``roofline.copies``. A peak is measured once in a process,
and is the best of several ways: loops that stay in registers, and the large square products of the libraries at hand,
which may know an instruction that our loops do not.
"""

import ctypes
import os
import sys
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from course_lib.kernels import peaks
from course_lib.machine import pool
from course_lib.measure import compare
from course_lib.roofline import copies, peak_rate

ROUNDS = 2_000_000                          # of a loop in registers: some milliseconds
PEAKS = ("float32", "int8", "popcount")


class Peak(NamedTuple):
    """``rate`` operations a second, reached by ``by``."""

    rate: float
    by: str


def bandwidth(size: int, threads: int, *, budget_s: float = 0.2) -> float:
    """Bytes a second that the fastest copy of ``size`` bytes moves."""
    times = compare(copies(size, threads), repeats=1000, budget_s=budget_s)
    return size / min(latency.median_s for latency in times.values())


@lru_cache
def peak(arithmetic: str, threads: int, *, budget_s: float = 1.0) -> Peak:
    """The Peak of "float32", "int8" or "popcount" on so many threads, which must be the number that is set.

    A multiply-add is two operations. For "popcount" the numbers are bits: 64 bits multiplied (xor) and summed are 128.
    """
    rounds, operations = _in_registers(arithmetic)

    def on_all_threads():
        pool.run(lambda start, stop: rounds(), threads, threads=threads)

    ways = {"a loop in registers": (on_all_threads, threads * ROUNDS * operations), **_products(arithmetic)}
    name, rate = peak_rate(ways, budget_s=budget_s)
    return Peak(rate, name)


def _in_registers(arithmetic):
    if arithmetic == "float32":
        return (lambda: peaks.float32_rounds(ROUNDS)), peaks.FLOAT32_OPERATIONS
    if arithmetic == "int8":
        x, w = np.arange(64, dtype=np.uint8), np.arange(512).astype(np.int8)
        return (lambda: peaks.int8_rounds(ROUNDS, x, w)), peaks.INT8_OPERATIONS
    if arithmetic == "popcount":
        return (lambda: peaks.popcount_rounds(ROUNDS, 12345)), peaks.POPCOUNT_OPERATIONS
    raise ValueError(f"arithmetic is {arithmetic!r}; it should be one of {', '.join(PEAKS)}")


def _products(arithmetic, sizes=(512, 1024, 2048)):
    """{name: (callable, operations)} of square matrix products in PyTorch."""
    if arithmetic == "popcount":
        return {}
    import torch

    calls = {}
    for n in sizes:
        if arithmetic == "int8":
            a, b = (torch.randint(-128, 128, (n, n), dtype=torch.int8) for _ in range(2))
            call = (lambda a=a, b=b: torch._int_mm(a, b)) if hasattr(torch, "_int_mm") else None
        else:
            a, b, out = (torch.rand(n, n) for _ in range(3))
            call = lambda a=a, b=b, out=out: torch.mm(a, b, out=out)
        if call is not None:
            calls[f"torch, {n}×{n}"] = call, 2 * n**3
    return calls


class Cache(NamedTuple):
    """A data cache: ``size`` in bytes, and how many ``cores`` share one."""

    size: int
    cores: int


@lru_cache
def caches() -> dict[str, "Cache"]:
    """{"L1": Cache, "L2": Cache, …}; empty where the system does not say."""
    found = {}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            kind, level, size, cores = (
                (index / name).read_text().strip() for name in ("type", "level", "size", "shared_cpu_list")
            )
        except OSError:
            continue
        if kind != "Instruction" and size.endswith("K"):
            found[f"L{level}"] = Cache(1024 * int(size[:-1]), _count(cores))
    return found or _caches_of_macos()


def _count(cores):
    """How many numbers a list like "0-3,8" names."""
    spans = [[int(end) for end in span.split("-")] for span in cores.split(",")]
    return sum(span[-1] - span[0] + 1 for span in spans)


def _caches_of_macos():
    if sys.platform != "darwin":
        return {}
    found, system = {}, ctypes.CDLL(None)
    for name, key in (("L1", b"hw.perflevel0.l1dcachesize"), ("L2", b"hw.perflevel0.l2cachesize")):
        value, length = ctypes.c_int64(0), ctypes.c_size_t(8)
        if system.sysctlbyname(key, ctypes.byref(value), ctypes.byref(length), None, 0) == 0 and value.value > 0:
            found[name] = Cache(value.value, 1 if name == "L1" else os.cpu_count() or 1)
    return found


def fits_in(size: int, threads: int = 1) -> str | None:
    """The smallest cache, counting those of all the cores at work, that holds ``size`` bytes: "L1", "L2", …

    "memory" where none does, None where the system says nothing about its caches.
    """
    for name, cache in caches().items():
        if size <= cache.size * -(-threads // cache.cores):
            return name
    return "memory" if caches() else None
