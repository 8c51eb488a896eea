"""The kernels compiled for a processor that promises nothing: the same answers without any special instruction.

Every ``portable_*.py`` here has a function ``trial()`` that holds kernels against their definition on small arrays. One
other process, in which Numba compiles for its "generic" processor, runs them all.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
TRIALS = sorted(path.stem for path in FOLDER.glob("portable_*.py"))
RUN_TRIALS = """
import importlib, json, sys, traceback
from course_lib.machine import simd
assert not any(map(simd.has, ["avx2", "avx512f", "avx512vnni"])), "not a generic processor"
sys.path.insert(0, sys.argv[1])
broken = {}
for name in sys.argv[2:]:
    try:
        importlib.import_module(name).trial()
    except Exception:
        broken[name] = traceback.format_exc()
print(json.dumps(broken))
"""


@pytest.fixture(scope="module")
def broken(request, tmp_path_factory):
    """{trial: traceback} of those that failed."""
    cache = getattr(request.config, "cache", None)  # from run to run: compiling takes longer than running
    folder = cache.mkdir("generic_kernels") if cache else tmp_path_factory.mktemp("generic_kernels")
    generic = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "", "NUMBA_CACHE_DIR": str(folder)}
    command = [sys.executable, "-c", RUN_TRIALS, str(FOLDER), *TRIALS]
    done = subprocess.run(command, env={**os.environ, **generic}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", TRIALS)
def test_kernels_on_any_processor(broken, name):
    assert name not in broken, broken[name]


def test_there_are_trials():
    assert "portable_simd" in TRIALS
