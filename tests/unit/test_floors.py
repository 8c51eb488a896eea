"""The floors of the library: an import goes down only, wherever in a file it stands."""

import ast
import graphlib
import re
from pathlib import Path

import pytest

import course_lib

PACKAGE = Path(course_lib.__file__).parent
FLOORS = [                                              # from the ground up; rooms on one floor do not know each other
    {"lazy", "arguments"},
    {"machine"},
    {"kernels"},
    {"numerics"},
    {"coding"},
    {"products"},
    {"data", "measure", "energy"},
    {"roofline", "sweep"},                              # times with measure; writes as data does
    {"nets"},                                           # PyTorch from here on
    {"quantized", "structured", "embeddings"},
    {"ptq", "mixed"},
    {"qat"},                                            # ends in what ptq makes
    {"check", "bench", "shipping", "scoreboard"},       # feedback on answers; ours against others; nets handed out
    {"plots"},
    {"panels"},
    {"installation"},                                   # the roof: looks at everything, and nothing looks at it
]
FLOOR_OF = {room: height for height, rooms in enumerate(FLOORS) for room in rooms}
FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(path):
    """The room a file belongs to; None for the front door, course_lib/__init__.py."""
    first = path.relative_to(PACKAGE).parts[0]
    return None if first == "__init__.py" else first.removesuffix(".py")


def imports_of(path, tree=None):
    """(line, dotted name) of every import, at any depth; relative ones resolved, import_module("…") included."""
    package = ["course_lib", *path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(tree or ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                yield node.lineno, f"{module}.{alias.name}"
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", None)
            if called in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                yield node.lineno, node.args[0].value


def broken_rules(path, tree=None):
    room, found = room_of(path), []
    for line, name in imports_of(path, tree):
        top, *rest = name.split(".")
        where = f"{path.relative_to(PACKAGE.parent)}:{line} imports {name}"
        if room is None:
            if top not in ("importlib", "inspect", "typing", "course_lib", "IPython"):
                found.append(f"{where}: the front door stays light")
        elif top == "course_lib":
            if not rest or rest[0] not in FLOOR_OF:
                found.append(f"{where}: import what you need from a room, not the whole library")
            elif rest[0] != room and FLOOR_OF[rest[0]] >= FLOOR_OF[room]:
                found.append(f"{where}: that is not below {room}")
        elif top in ("torch", "torchvision") and FLOOR_OF[room] < FLOOR_OF["nets"]:
            found.append(f"{where}: nothing below nets knows torch")
        elif top == "ipywidgets" and room != "panels":
            found.append(f"{where}: widgets belong in panels")
        elif top == "sklearn" and FLOOR_OF[room] < FLOOR_OF["nets"]:
            found.append(f"{where}: scikit-learn takes four seconds to import")
    return found


def test_every_room_has_a_floor():
    strangers = {room_of(path) for path in FILES} - set(FLOOR_OF) - {None}
    assert not strangers, f"say in FLOORS on which floor {strangers} live"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down_only(path):
    assert broken_rules(path) == []


@pytest.mark.parametrize("room, code", [
    ("numerics/x.py", "import torch"),
    ("numerics/x.py", "def f():\n    import torch.nn"),
    ("numerics/x.py", "from course_lib.coding import pack"),
    ("numerics/x.py", "from course_lib import coding"),
    ("numerics/x.py", "from ..coding.packing import pack"),
    ("numerics/x.py", "class A:\n    def f(self):\n        from .. import coding"),
    ("numerics/x.py", "import course_lib as cl"),
    ("data.py", "from . import measure"),
    ("data.py", "import importlib\nimportlib.import_module('sklearn.datasets')"),
    ("nets/x.py", "import ipywidgets"),
    ("nets/x.py", "import course_lib"),
    ("plots/look.py", "from course_lib.panels import Panel"),
    ("__init__.py", "import numpy"),
])
def test_the_walk_sees_what_it_should(room, code):
    assert broken_rules(PACKAGE / room, ast.parse(code))


@pytest.mark.parametrize("room, code", [
    ("numerics/x.py", "from . import rounding\nfrom course_lib.kernels import elementwise"),
    ("numerics/x.py", "from ..kernels.histogram import histogram_rows"),
    ("nets/x.py", "import torch\nfrom .. import data\nfrom course_lib.numerics import quantize"),
    ("nets/x.py", "from .models import LeNet5"),
    ("panels/x.py", "import ipywidgets\nfrom course_lib import plots"),
])
def test_the_walk_lets_the_rest_pass(room, code):
    assert broken_rules(PACKAGE / room, ast.parse(code)) == []


def module_of(path):
    return ".".join(["course_lib", *path.relative_to(PACKAGE).with_suffix("").parts]).removesuffix(".__init__")


def imported_modules(path):
    """The modules of the library that a file imports, inside functions too."""
    known = {module_of(file) for file in FILES}
    for _, name in imports_of(path):
        while name and name not in known:                               # a name in a module: the module itself
            name = name.rpartition(".")[0]
        if name and name != module_of(path):
            yield name


def test_no_two_modules_import_each_other():
    graph = {module_of(path): set(imported_modules(path)) for path in FILES}
    graphlib.TopologicalSorter(graph).prepare()                         # CycleError names the circle


def test_the_plan_says_what_the_imports_say():
    """Floors and rooms of ARCHITECTURE.md, in its order, are those that the imports were walked against."""
    plan = (PACKAGE.parent / "ARCHITECTURE.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \d+ \| (.*?) \|", plan, re.MULTILINE)
    rooms = [{name.strip("/").removesuffix(".py") for name in re.findall(r"`(\w+(?:/|\.py))`", row)} for row in rows]
    assert rooms == FLOORS


def test_every_file_that_the_plan_names_is_there():
    for page in ("ARCHITECTURE.md", "CONTRIBUTING.md"):
        text = (PACKAGE.parent / page).read_text(encoding="utf-8")
        for name in re.findall(r"`((?:\w+/)*\w+\.(?:py|ipynb|md|csv))`", text):
            if "NN" not in name:
                assert any((folder / name).exists() for folder in (PACKAGE, PACKAGE.parent)), f"{page} names {name}"
