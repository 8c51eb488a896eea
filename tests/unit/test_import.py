"""What an import costs: no lecture about bits pays for PyTorch, nobody for widgets or scikit-learn."""

import json
import subprocess
import sys

import pytest

import course_lib
from course_lib import numerics

HEAVY = ("torch", "ipywidgets", "sklearn")


def loaded_after(statement):
    code = f"import json, sys\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_course_lib_alone_loads_next_to_nothing():
    loaded = loaded_after("import course_lib as cl\nassert cl.__version__ and 'numerics' in dir(cl)")
    assert not {*HEAVY, "numpy", "numba", "matplotlib"} & set(loaded)
    assert not [name for name in loaded if name.startswith("course_lib.")]


def test_everything_below_nets_loads_nothing_heavy():
    rooms = ("kernels", "numerics", "coding", "products", "data", "measure", "check", "energy", "roofline")
    touched = "\n".join(f"cl.{room}" for room in rooms)
    loaded = loaded_after(f"import course_lib as cl\n{touched}\ncl.warm_up(progress=False)")
    assert {f"course_lib.{room}" for room in rooms} <= set(loaded)
    assert not set(HEAVY) & set(loaded)


def test_rooms_load_when_touched():
    assert course_lib.numerics is numerics
    with pytest.raises(AttributeError, match="course_lib has no 'numeric'; it has set_threads, show, table, threads, "
                                             "warm_up, machine, kernels"):  # fmt: skip
        _ = course_lib.numeric
    assert {"numerics", "panels", "show", "warm_up", "__version__"} <= set(dir(course_lib))


def test_every_public_name_is_there():
    for room in ("numerics", "coding"):
        module = getattr(course_lib, room)
        for name in module.__all__:
            assert getattr(module, name).__doc__


def test_table(monkeypatch):
    rows = [["float32", 4, "a|b"]]
    source = "| format | bytes | note |\n| --- | ---: | ---: |\n| float32 | 4 | a\\|b |"
    assert course_lib.table(["format", "bytes", "note"], rows).data == source
    with pytest.raises(ValueError, match="a row has 3 cells and headers 2"):
        course_lib.table(["format", "bytes"], rows)
    monkeypatch.setitem(sys.modules, "IPython.display", None)
    assert course_lib.table(["format", "bytes", "note"], rows) == source
