"""Kernels: found by warm-up, cached, safe in threads, and an import that survives a cache it cannot write."""

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import course_lib
import numpy as np
import pytest
from course_lib.kernels import compiling, elementwise, histogram
from course_lib.numerics import uniform_one

PACKAGE = Path(course_lib.__file__).parent


def run_python(code, **environment):
    """Run ``code`` in a new interpreter and return what it printed last, as JSON."""
    command = [sys.executable, "-P", "-W", "error", "-c", code]         # -P: nothing is imported from this folder
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_second_process_compiles_nothing(tmp_path):
    code = "import json, course_lib as cl; print(json.dumps(cl.warm_up(progress=False)._asdict()))"
    here = {"NUMBA_CACHE_DIR": str(tmp_path), "COURSE_THREADS": "2"}
    first, second = (run_python(code, **here) for _ in range(2))
    assert first["compiled"] > 0 and first["loaded"] > 0                # these a second Python compiled meanwhile
    assert second["compiled"] == 0 and second["loaded"] == first["compiled"] + first["loaded"]
    assert first["kernels"] == second["kernels"] >= 4
    assert first["uncached"] == second["uncached"] == []


def test_two_who_work_inwards_meet_at_the_smallest(tmp_path):
    for name, size in {"a": 10, "b": 40, "c": 30, "d": 20, "e": 50, "f": 60, "blocks": 99, "pool": 1}.items():
        (tmp_path / f"{name}.py").write_bytes(bytes(size))
    assert compiling._in_working_order(tmp_path) == ["blocks", "pool", "a", "f", "b", "d", "c", "e"]


def test_nothing_compiles_after_the_import(tmp_path):
    """Every public way into the kernels uses a signature that was compiled with the module."""
    code = """if True:
        import json, numpy as np, course_lib as cl
        cl.warm_up(progress=False)
        before = {name: len(d.signatures) for name, d in cl.kernels.compiling._KERNELS.items()}
        for dtype in (np.float32, np.float64):
            x = np.linspace(-1, 2, 60, dtype=dtype).reshape(6, 10)
            for view in (x, x.T, x[::2], np.asfortranarray(x)):
                for method in cl.numerics.Calibration:
                    for scheme in cl.numerics.Scheme:
                        for kind in cl.numerics.Granularity:
                            q = cl.numerics.calibrate(view, bits=4, scheme=scheme, method=method, granularity=kind,
                                                      group_size=4)
                            for mode in cl.numerics.Rounding:
                                cl.numerics.fake_quantize(view, q, rounding=mode, rng=np.random.default_rng(0))
                                cl.numerics.quantize(view, q, rounding=mode, rng=np.random.default_rng(0))
                                cl.numerics.round_to_integer(view, mode, rng=np.random.default_rng(0))
        after = {name: len(d.signatures) for name, d in cl.kernels.compiling._KERNELS.items()}
        print(json.dumps(before == after))
    """
    assert run_python(code) is True


def test_import_survives_a_cache_that_cannot_be_written(tmp_path):
    """No place at all: the given folder, the package's own and the user's all lie under a regular file, root or not."""
    copy = tmp_path / "site" / "course_lib"
    copy.mkdir(parents=True)
    shutil.copy(PACKAGE / "__init__.py", copy)
    for room in ("numerics", "kernels"):
        shutil.copytree(PACKAGE / room, copy / room, ignore=shutil.ignore_patterns("__pycache__"))
    needed = {"__init__.py", "compiling.py", "elementwise.py", "blocks.py", "clustering.py",
              "floats.py", "histogram.py", "microscaling.py", "pool.py"}
    for file in (copy / "kernels").glob("*.py"):
        if file.name not in needed:
            file.unlink()                                       # the same mechanism, and slower to compile
    (copy / "kernels" / "__pycache__").write_text("a file where a folder should be")
    nowhere = tmp_path / "file"
    nowhere.write_text("not a folder")
    code = """if True:
        import json, numpy as np, course_lib as cl
        x = np.linspace(-1, 1, 9, dtype=np.float32)
        q = cl.numerics.calibrate(x, bits=3)
        report = cl.warm_up(progress=True)
        print(json.dumps([cl.__file__, cl.numerics.quantize(x, q).tolist(), len(report.uncached), report.kernels]))
    """
    file, codes, uncached, kernels = run_python(
        code, PYTHONPATH=str(tmp_path / "site"), NUMBA_CACHE_DIR=str(nowhere / "cache"), HOME=str(nowhere),
        XDG_CACHE_HOME=str(nowhere), LOCALAPPDATA=str(nowhere))
    assert Path(file).parent == copy
    assert codes == [-3, -2, -2, -1, 0, 1, 2, 2, 3]
    if os.name == "posix" and sys.platform != "darwin":
        assert uncached == kernels > 0


def test_warm_up_shows_a_bar_and_says_what_it_did(capsys):
    report = course_lib.warm_up()
    assert "kernels: 100%" in capsys.readouterr().err
    assert report.kernels >= 4 and report.seconds >= 0
    course_lib.warm_up(progress=False)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_chunks_and_threads_do_not_change_stochastic_rounding(dtype):
    """A chunk that starts at element k is told so: the stream goes on as if it had not been cut."""
    x = np.random.default_rng(0).normal(size=(1, 5000)).astype(dtype)
    scale, zero_point, seed = np.full((1, 1), 0.3, dtype), np.full((1, 1), 7, np.int32), 123456789

    def run(start, stop):
        out = np.empty((1, stop - start), np.uint16)
        elementwise.quantize_rows(np.ascontiguousarray(x[:, start:stop]), scale, zero_point, stop - start, 0, 14,
                                  elementwise.STOCHASTIC, seed, start, start % 3 == 0, out)
        return out

    whole = run(0, 5000)
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(run, range(0, 5000, 617), [*range(617, 5000, 617), 5000]))
    assert (np.concatenate(parts, axis=1) == whole).all()
    steps = np.clip(x[0] / dtype(0.3), -7, 7)
    u = np.array([uniform_one(seed, i, dtype) for i in range(5000)])
    assert (whole[0] == np.floor(steps) + (u < steps - np.floor(steps)) + 7).all()


def test_kernels_take_read_only_arrays():
    x = np.ones((2, 3), np.float32)
    x.flags.writeable = False
    out = np.zeros((2, 8), np.int64)
    histogram.histogram_rows(x, np.zeros(2), np.full(2, 0.5), out)
    assert out[:, 2].tolist() == [3, 3] and out.sum() == 6


def test_histogram_counts_ends_and_leaves_out_zeros():
    x = np.array([[0.0, -0.0, -5.0, 0.1, 0.9, 99.0, 1.0]])
    out = np.zeros((1, 4), np.int64)
    histogram.histogram_rows(x, np.array([-1.0]), np.array([0.5]), out)
    assert out.tolist() == [[1, 0, 1, 3]]


def test_kernels_module_lists_its_rooms():
    assert {"compiling", "elementwise", "histogram"} <= set(dir(course_lib.kernels))
    with pytest.raises(AttributeError, match="course_lib.kernels has no module 'elemental'; it has"):
        _ = course_lib.kernels.elemental
