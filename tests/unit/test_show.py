"""cl.show: the source of whatever a page may want to show, or a sentence on why there is none."""

import inspect
import subprocess
import sys

import pytest

import course_lib
from course_lib import numerics
from tests.unit.test_signatures import public


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
