"""Every kernel's docstring says what it serves and where its definition stands, and what it names is there."""

import importlib
import re
from pathlib import Path

import pytest

import course_lib
from course_lib.kernels import plain
from course_lib.machine.compiling import KERNELS, PlainLoop

course_lib.warm_up(progress=False)
SHAPE = re.compile(r"Serves (?P<serves>.+?)\. Definition: (?P<definition>.+?)(; plain loop: (?P<loops>.+?))?\.$")
HERE = {name: kernel for name, kernel in KERNELS.items() if name.startswith("course_lib.kernels.")}


def places(text):
    return re.findall(r"``([\w.]+)``", text)


def found(place):
    """What a dotted place below course_lib names."""
    parts = place.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            thing = importlib.import_module(".".join(["course_lib", *parts[:cut]]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            thing = getattr(thing, part)
        return thing
    raise AttributeError(place)


def last_paragraph(doc):
    return " ".join(doc.strip().rpartition("\n\n")[2].split())


def test_the_walk_finds_the_kernels():
    files = Path(course_lib.kernels.__file__).parent.glob("*.py")
    declared = sum(len(re.findall(r"^@kernel\(", file.read_text(encoding="utf-8"), re.MULTILINE)) for file in files)
    assert declared <= len(HERE) <= declared + 1                        # one is declared in a line, where it can be


@pytest.mark.parametrize("name", sorted(HERE))
def test_a_kernel_says_what_it_serves_and_where_its_definition_stands(name):
    said = SHAPE.search(last_paragraph(HERE[name].py_func.__doc__))
    assert said, f"{name}: end its docstring with “Serves ``room.name``. Definition: ``room.name``.”"
    assert places(said["serves"]), f"{name} serves nobody"
    assert places(said["definition"]) or said["definition"] == "the first line above"
    for place in places(said["serves"]) + places(said["definition"]):
        assert callable(found(place)), f"{name} names {place}, which is not there"
    for place in places(said["loops"] or ""):
        loop = getattr(plain, place.removeprefix("plain."))
        assert isinstance(loop, PlainLoop)


@pytest.mark.parametrize("doc, right", [
    ("y = 2 x\n\n    Serves ``numerics.quantize``. Definition: ``numerics.quantize_one``.", True),
    ("y = 2 x\n\n    Serves ``numerics.quantize``. Definition: ``a`` and ``b``; plain loop: ``plain.csr``.", True),
    ("y = 2 x", False),
    ("Serves many. Definition: none", False),
])  # fmt: skip
def test_the_shape_is_the_one_that_is_asked_for(doc, right):
    assert bool(SHAPE.search(last_paragraph(doc))) == right
    with pytest.raises(AttributeError):
        found("numerics.quantise")
