"""Cold start: how long a new installation waits until every kernel is compiled,
and every later session until loaded."""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

COLD_GOAL_S, WARM_GOAL_S = 45.0, 5.0
FIRST_RESULT = """
import json
import numpy as np
import course_lib as cl
found = cl.warm_up(progress=False)
cl.numerics.fake_quantize(np.ones(3, np.float32), cl.numerics.qparams_from_range(-1.0, 1.0, bits=8, scheme="affine"))
print(json.dumps({"kernels": found.kernels, "compiled": found.compiled, "loaded": found.loaded}))
"""


@dataclass(frozen=True)
class ColdStart:
    """Seconds from the start of Python to the first result: with an empty compile cache, and with a full one."""

    cold_s: float
    warm_s: float
    kernels: int
    variants: int
    cold_met: bool
    warm_met: bool

    def as_json(self) -> dict:
        return asdict(self)

    def __str__(self):
        verdicts = ["met" if met else "missed" for met in (self.cold_met, self.warm_met)]
        return (
            f"first result with an empty compile cache: {self.cold_s:.1f} s (goal {COLD_GOAL_S:g} s: {verdicts[0]}), "
            f"with a full one {self.warm_s:.1f} s (goal {WARM_GOAL_S:g} s: {verdicts[1]}); "
            f"{self.kernels} kernels, {self.variants} compiled variants"
        )


def measure_cold_start() -> ColdStart:
    """Start Python twice with a compile cache of its own, empty at first; see ``ColdStart``."""
    with tempfile.TemporaryDirectory() as cache:
        cold_s, found = _start(cache)
        warm_s, _ = _start(cache)
    variants = found["compiled"] + found["loaded"]
    return ColdStart(
        cold_s, warm_s, found["kernels"], variants, cold_met=cold_s < COLD_GOAL_S, warm_met=warm_s < WARM_GOAL_S
    )


def _start(cache):
    # Our own sys.path, not PYTHONPATH: the folder's name may hold the character that separates names there.
    here = f"import sys\nsys.path[:] = {[str(Path(__file__).parents[2]), *sys.path]!a}\n"
    start = perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", here + FIRST_RESULT],
        env={**os.environ, "NUMBA_CACHE_DIR": cache},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    seconds = perf_counter() - start
    if done.returncode:
        raise RuntimeError(f"the kernels do not compile from nothing:\n{done.stderr}")
    return seconds, json.loads(done.stdout.splitlines()[-1])
