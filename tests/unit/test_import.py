"""What an import costs: no lecture about bits pays for PyTorch, nobody for widgets or scikit-learn."""

import inspect
import json
import subprocess
import sys

import pytest

import course_lib
from course_lib import numerics
from tests.unit.test_signatures import public

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


def test_show():
    shown = course_lib.show(numerics.quantize_one, numerics.Rounding)
    assert shown.data.startswith("def quantize_one(") and "class Rounding" in shown.data
    assert "<pre>" in shown._repr_html_()
    kernel = course_lib.show(course_lib.kernels.elementwise.fake_quantize_rows)
    assert "def fake_quantize_rows" in kernel.data
    with pytest.raises(ValueError, match=r"cl.show\(cl.numerics.quantize_one\)"):
        course_lib.show()


def test_show_in_an_optimising_python():
    """-OO takes the documentation out of what runs, not out of what is shown."""
    code = "import course_lib as cl; print(cl.show(cl.data.cache_dir).data); print(cl.check, cl.installation)"
    done = subprocess.run([sys.executable, "-OO", "-c", code], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0 and '"""The folder where downloads' in done.stdout, done.stderr


def test_table(monkeypatch):
    rows = [["float32", 4, "a|b"]]
    source = "| format | bytes | note |\n| --- | ---: | ---: |\n| float32 | 4 | a\\|b |"
    assert course_lib.table(["format", "bytes", "note"], rows).data == source
    with pytest.raises(ValueError, match="a row has 3 cells and headers 2"):
        course_lib.table(["format", "bytes"], rows)
    monkeypatch.setitem(sys.modules, "IPython.display", None)
    assert course_lib.table(["format", "bytes", "note"], rows) == source


@pytest.mark.parametrize("thing, words", [
    (7, "got 7, which has no source; it takes functions, classes"),
    (len, "built-in function len"),
    (numerics.FORMATS, "got a dict, which has no source"),
])
def test_show_says_what_has_no_source(thing, words):
    with pytest.raises(TypeError, match=words):
        course_lib.show(numerics.quantize_one, thing)


SHOWN = {
    "a format": (numerics.FORMATS["e4m3"], "class FloatFormat"),
    "a member of an enum": (numerics.Rounding.NEAREST, "# <Rounding.NEAREST: 'nearest'>\nclass Rounding"),
    "a kernel": (course_lib.kernels.sparse.csr, "def csr("),
    "a plain loop": (course_lib.kernels.plain.csr, "@plain_loop\ndef csr("),
    "an intrinsic": (course_lib.machine.simd.splat, "def splat("),
    "an intrinsic that a function made": (course_lib.machine.simd.is_less, "def _comparison("),
    "a check": (course_lib.check.lab04.quantize, "class Task"),
    "a method": (numerics.QParams.rows, "def rows("),
    "a property": (course_lib.products.BitPlanes.nbytes, "def nbytes("),
    "a cached property": (vars(course_lib.products.BitPlanes)["sums"], "def sums("),
    "a function that keeps its results": (course_lib.machine.awake.looks_per_us, "def looks_per_us("),
    "a module": (course_lib.kernels.tiles, '"""Weights in tiles'),
}


@pytest.mark.parametrize("what", SHOWN)
def test_show_takes_whatever_a_page_may_want_to_show(what):
    thing, source = SHOWN[what]
    assert source in course_lib.show(thing).data


@pytest.mark.parametrize("room", [name for name in course_lib.__all__ if inspect.ismodule(getattr(course_lib, name))])
def test_show_over_every_public_name(room):
    """What has a source is shown; of the rest, constants, it says so in words."""
    for name, thing in public(getattr(course_lib, room)).items():
        try:
            assert course_lib.show(thing).data.strip(), name
        except TypeError as error:
            assert "which has no source; it takes functions" in str(error), name
            assert not (callable(thing) or inspect.ismodule(thing)), f"{name} should be shown"


def test_show_without_ipython(monkeypatch):
    monkeypatch.setitem(sys.modules, "IPython.display", None)
    assert course_lib.show(numerics.dequantize_one).startswith("def dequantize_one(")
