"""Kernels: found by warm-up, cached, safe in threads, and an import that survives a cache it cannot write."""

import ast
import importlib.util
import json
import os
import pickle
import runpy
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numba
import numpy as np
import pytest
from numba import types

import course_lib
from course_lib.kernels import elementwise, histogram
from course_lib.machine import compiling, warm_up
from course_lib.numerics import uniform_one

PACKAGE = Path(course_lib.__file__).parent


def run_python(code, **environment):
    """Run ``code`` in a new interpreter and return what it printed last, as JSON."""
    command = [sys.executable, "-P", "-W", "error", "-c", code]         # -P: nothing is imported from this folder
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


WARM_UP = "import json, course_lib as cl\nprint(json.dumps(cl.warm_up(progress=False)._asdict()))"
THREE_MODULES = """
from pathlib import Path
from course_lib.machine import second_python, warm_up
warm_up.KERNEL_FOLDER = Path({folder!r})
start = second_python.start

def start_and_wait(modules):
    helper = start(modules)
    helper.wait()
    return helper

second_python.start = start_and_wait
"""


def test_second_process_compiles_nothing():
    """All kernels, in the cache that the tests share; each in a process where nothing else has used them."""
    first, second = (run_python(WARM_UP) for _ in range(2))
    assert first["uncached"] == second["uncached"] == [] and second["compiled"] == 0
    assert second["loaded"] == first["compiled"] + first["loaded"] > 0 and second["kernels"] == first["kernels"] >= 4


def test_first_warm_up_shares_its_work_with_a_second_python(tmp_path):
    """Three small modules in an empty cache: one compiles two of them, and loads the third, which the other made."""
    (tmp_path / "kernels").mkdir()
    for name in ("histogram", "packing", "peaks"):
        shutil.copy(PACKAGE / "kernels" / f"{name}.py", tmp_path / "kernels")  # names and sizes; they are not imported
    code = THREE_MODULES.format(folder=str(tmp_path / "kernels")) + WARM_UP
    here = {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "COURSE_THREADS": "2"}
    first, second = (run_python(code, **here) for _ in range(2))
    assert first["compiled"] > 0 and first["loaded"] > 0
    assert second["compiled"] == 0 and second["loaded"] == first["compiled"] + first["loaded"]
    assert first["kernels"] == second["kernels"] >= 4
    assert first["uncached"] == second["uncached"] == []


KERNEL = """
from course_lib.machine.compiling import kernel
from numba import types

@kernel([types.int64(types.int64)])
def twice(x):
    return 2 * x
"""


def test_a_change_in_any_shared_source_compiles_anew(tmp_path, monkeypatch):
    """Copies of the shared sources, one longer by a line after the other: a kernel's own file has not changed."""
    copies = []
    for number, source in enumerate(compiling._SHARED_SOURCES):
        copies.append(shutil.copy(source, tmp_path / f"{number}_{source.name}"))
    monkeypatch.setattr(compiling, "_SHARED_SOURCES", copies)
    monkeypatch.setattr(compiling, "KERNELS", {})
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "one_kernel.py").write_text(KERNEL)

    def compiled():
        spec = importlib.util.spec_from_file_location("one_kernel", tmp_path / "one_kernel.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        assert module.twice(21) == 42 and module.twice.cached
        return sum(module.twice.stats.cache_misses.values())

    assert (compiled(), compiled()) == (1, 0)
    for copy in copies:
        with open(copy, "a") as file:
            file.write("# changed\n")
        assert (compiled(), compiled()) == (1, 0), copy.name


def test_what_kernels_take_from_each_other_is_a_shared_source():
    """Every file of this folder from which another one imports, but for those that nothing is compiled from."""
    folder, machine, taken = PACKAGE / "kernels", PACKAGE / "machine", set()
    plain = {folder / "__init__.py", machine / "__init__.py", *machine.glob("*.py")}
    for file in {*folder.glob("*.py"), *(machine / "simd").glob("*.py")} - plain:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            rooms = ("course_lib.kernels", "course_lib.machine")
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(rooms):
                names = [f"{node.module}.{alias.name}" for alias in node.names] + [node.module]
                for name in names:
                    path = PACKAGE.parent.joinpath(*name.split("."))
                    taken |= {one for one in (path.with_suffix(".py"), path / "__init__.py") if one.is_file()}
            assert not (isinstance(node, ast.ImportFrom) and node.level), f"{file.name}: import by the full name"
    taken -= plain
    assert folder / "blocks.py" in taken and machine / "simd" / "lanes.py" in taken
    assert taken <= set(compiling._SHARED_SOURCES), taken - set(compiling._SHARED_SOURCES)


def test_two_who_work_inwards_meet_at_the_smallest(tmp_path):
    for name, size in {"a": 10, "b": 40, "c": 30, "d": 20, "e": 50, "f": 60, "blocks": 99}.items():
        (tmp_path / f"{name}.py").write_bytes(bytes(size))
    assert warm_up._in_working_order(tmp_path) == ["blocks", "a", "f", "b", "d", "c", "e"]


def test_nothing_compiles_after_the_import(tmp_path):
    """Every public way into the kernels uses a signature that was compiled with the module."""
    code = """if True:
        import json, numpy as np, course_lib as cl
        cl.warm_up(progress=False)
        before = {name: len(d.signatures) for name, d in cl.machine.compiling.KERNELS.items()}
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
        after = {name: len(d.signatures) for name, d in cl.machine.compiling.KERNELS.items()}
        print(json.dumps(before == after))
    """
    assert run_python(code) is True


def test_import_survives_a_cache_that_cannot_be_written(tmp_path):
    """No place at all: the given folder, the package's own and the user's all lie under a regular file, root or not."""
    copy = tmp_path / "site" / "course_lib"
    copy.mkdir(parents=True)
    for file in ("__init__.py", "lazy.py", "arguments.py"):
        shutil.copy(PACKAGE / file, copy)
    for room in ("numerics", "kernels", "machine"):
        shutil.copytree(PACKAGE / room, copy / room, ignore=shutil.ignore_patterns("__pycache__"))
    needed = {"__init__.py", "elementwise.py", "blocks.py", "histogram.py"}
    for file in (copy / "kernels").glob("*.py"):
        if file.name not in needed:
            file.unlink()                                       # the same mechanism, and slower to compile
    for room in ("kernels", "machine"):
        (copy / room / "__pycache__").write_text("a file where a folder should be")
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


SMALL = """
def twice(x):
    return x + x
"""
SIGNATURES = [types.int64(types.int64), types.float64(types.float64)]


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A callable that compiles one small kernel into a cache of its own, as a new session would; and that cache."""
    monkeypatch.setattr(compiling, "KERNELS", {})
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "small.py").write_text(SMALL)

    def session(signatures=SIGNATURES):
        space = runpy.run_path(str(tmp_path / "small.py"))
        return compiling.kernel(signatures)(space["twice"])

    return session, tmp_path / "cache"


def files_of(cache, kind):
    return sorted(cache.rglob(f"*.{kind}"))


@pytest.mark.parametrize("kind", ["nbi", "nbc"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        lambda content: b"rubbish",
        lambda content: b"\x80" * 40,
        lambda content: content[:20] + b"\xff" + content[21:],
        lambda content: pickle.dumps(numba.__version__) + pickle.dumps(None),
        lambda content: pickle.dumps("0.1.0") + b"of another Numba",
    ],
    ids=[
        "empty", "half", "one byte less", "rubbish", "no pickle", "one byte changed", "another thing", "another Numba",
    ],  # fmt: skip
)
def test_damaged_compiled_code_is_made_again_once_and_kept(small, kind, damage):
    session, cache = small
    session()
    for path in files_of(cache, kind):
        path.write_bytes(damage(path.read_bytes()))
    mended = session()
    assert mended.cached and mended.why == "" and mended(21) == 42 and mended(0.5) == 1.0
    again = session()
    assert again.cached and not again.repaired and sum(again.stats.cache_hits.values()) == 2
    assert sum(again.stats.cache_misses.values()) == 0


def test_several_who_mend_at_once_do_not_hinder_each_other(small, tmp_path):
    session, cache = small
    session()
    for path in (*files_of(cache, "nbi"), *files_of(cache, "nbc")):
        path.write_bytes(b"")
    code = f"""if True:
        import runpy
        from course_lib.machine import compiling
        from numba import types
        for _ in range(5):
            function = runpy.run_path({str(tmp_path / "small.py")!r})["twice"]
            kernel = compiling.kernel([types.int64(types.int64), types.float64(types.float64)])(function)
            assert kernel(21) == 42 and kernel(0.5) == 1.0
    """
    env = os.environ | {"NUMBA_CACHE_DIR": str(cache)}
    several = [subprocess.Popen([sys.executable, "-c", code], env=env, stderr=subprocess.PIPE) for _ in range(3)]
    assert [one.communicate()[1].decode() for one in several] == [""] * 3
    assert session().cached and sum(session().stats.cache_hits.values()) == 2


def test_the_code_of_others_stays_where_one_is_damaged(small):
    session, cache = small
    session()
    (index,) = files_of(cache, "nbi")
    other = index.with_name(index.name.replace("twice", "thrice"))
    other.write_bytes(b"another kernel's")
    index.write_bytes(b"")
    assert session().repaired and other.read_bytes() == b"another kernel's"


def test_damaged_code_that_cannot_be_removed_is_told_by_its_real_reason(small, monkeypatch):
    session, cache = small
    session()
    (index,) = files_of(cache, "nbi")
    index.write_bytes(b"")
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: (_ for _ in ()).throw(PermissionError(13, "in use")))
    kernel = session()
    assert not kernel.cached and "EOFError" in kernel.why and kernel(21) == 42


def test_a_full_disk_is_no_damage(small, monkeypatch):
    session, cache = small
    session()
    before = {path: path.read_bytes() for path in cache.rglob("*.nb?")}

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("numba.core.caching.IndexDataCacheFile._save_data", full)
    kernel = session([types.int32(types.int32)])
    assert not kernel.cached and "No space left on device" in kernel.why and not kernel.repaired
    assert all(path.read_bytes() == content for path, content in before.items() if path.suffix == ".nbc")


def test_another_users_code_is_no_damage(ordinary_user, monkeypatch):
    monkeypatch.setattr(compiling, "KERNELS", {})
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(ordinary_user / "cache"))
    (ordinary_user / "small.py").write_text(SMALL)
    function = runpy.run_path(str(ordinary_user / "small.py"))["twice"]
    compiling.kernel(SIGNATURES)(function)
    (index,) = files_of(ordinary_user, "nbi")
    index.chmod(0)
    kernel = compiling.kernel(SIGNATURES)(function)
    assert not kernel.cached and not kernel.repaired and kernel.why.endswith("Permission denied") and index.exists()


def test_a_fault_in_a_kernel_is_raised_and_not_called_damage(small, tmp_path):
    session, _ = small
    session()
    (tmp_path / "small.py").write_text("def twice(x):\n    return x.nothing\n")
    with pytest.raises(numba.TypingError, match="nothing"):
        session()


def test_warm_up_says_what_was_mended_and_why_the_rest_cannot_be_kept(small, monkeypatch, capsys):
    session, cache = small
    monkeypatch.setattr(warm_up, "_in_working_order", lambda folder: [])
    session()
    (index,) = files_of(cache, "nbi")
    index.write_bytes(b"")
    session()
    report = warm_up.load_all()
    assert "compiled code of 1 kernels was damaged; it has been made again" in capsys.readouterr().out
    assert len(report.repaired) == 1 and report.uncached == report.why == ()
    monkeypatch.setattr("numba.core.caching.CacheImpl._locator_classes", [])
    session()
    report = warm_up.load_all()
    printed = capsys.readouterr().out
    assert "(no folder for it can be written): set NUMBA_CACHE_DIR" in printed and "damaged" not in printed
    assert len(report.uncached) == 1 and report.repaired == ()


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
    assert {"elementwise", "histogram"} <= set(dir(course_lib.kernels))
    with pytest.raises(AttributeError, match="course_lib.kernels has no 'elemental'; it has"):
        _ = course_lib.kernels.elemental


def test_kernels_are_compiled_whatever_a_reader_has_told_numba():
    code = "import course_lib as cl; from course_lib.kernels import packing; print(cl.warm_up(progress=False).kernels)"
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0 and int(done.stdout) > 40, done.stderr
