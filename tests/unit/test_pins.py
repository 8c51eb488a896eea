"""The files that say which packages the course needs agree with one another and with what is installed."""

import ast
import fnmatch
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import course

ROOT = Path(course.__file__).parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
RUNTIME = [Requirement(line) for line in PROJECT["dependencies"]]
EXTRAS = [Requirement(line) for lines in PROJECT["optional-dependencies"].values() for line in lines]
CONDA_NAMES = {"torch": "pytorch", "matplotlib": "matplotlib-base"}


def pins():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def conda():
    """({name: specification}, [pip's lines]) of environment.yml."""
    entries = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    packages = dict(re.match(r"([\w.-]+)(.*)", entry).groups() for entry in entries if isinstance(entry, str))
    return packages, [line for entry in entries if isinstance(entry, dict) for line in entry["pip"]]


def test_every_line_of_the_lock_is_a_plain_pin():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    odd = [line for line in lines if not re.fullmatch(r"#.*|[A-Za-z0-9._-]+==[0-9][0-9a-z.]*", line)]
    assert not odd, f"neither a comment nor name==version (no address, no +cpu): {odd}"


def test_torch_is_exactly_the_same_everywhere():
    assert next(str(one.specifier) for one in RUNTIME if one.name == "torch") == "==2.13.0"
    assert pins()["torch"] == "2.13.0"
    assert conda()[0]["pytorch"] == "=2.13.0=cpu*"


@pytest.mark.parametrize("requirement", RUNTIME + EXTRAS, ids=str)
def test_the_lock_pins_every_requirement_inside_its_range(requirement):
    pinned = {canonicalize_name(name): version for name, version in pins().items()}
    assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)])


def test_conda_has_the_packages_of_pyproject_and_no_others():
    packages, from_pip = conda()
    expected = {CONDA_NAMES.get(one.name, one.name): one.specifier for one in RUNTIME if one.name != "torch"}
    found = {name: spec for name, spec in packages.items() if name not in ("python", "pip", "pytorch")}
    assert {name: Requirement(name + spec).specifier for name, spec in found.items()} == expected
    assert from_pip == ["-e ."]


def test_one_range_of_pythons():
    minimum, maximum = (f"{major}.{minor}" for major, minor in course.PYTHONS)
    assert PROJECT["requires-python"] == f">={minimum},<{maximum}"
    conda_python = Version(conda()[0]["python"].lstrip("="))
    assert Version(minimum) <= conda_python < Version(maximum)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert f"not {course.PYTHONS[0]} <= sys.version_info < {course.PYTHONS[1]}" in makefile


def test_one_version_of_the_course():
    import course_lib

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert PROJECT["version"] == citation["version"] == course_lib.__version__ == metadata.version("course_lib")


@pytest.mark.parametrize("name", sorted({one.name for one in RUNTIME + EXTRAS}))
def test_what_is_installed_is_what_the_lock_says(name):
    pinned = {canonicalize_name(name): version for name, version in pins().items()}
    assert Version(metadata.version(name)).public == pinned[canonicalize_name(name)]


def test_a_wheel_holds_every_file_of_the_library():
    """Patterns of package-data hold in every folder that is found as a package, a folder without code among them."""
    settings = PYPROJECT["tool"]["setuptools"]
    patterns = settings["package-data"]
    assert settings["packages"]["find"] == {"include": ["course_lib*"]} and list(patterns) == ["*"]
    files = [path for path in (ROOT / "course_lib").rglob("*") if path.is_file() and path.suffix != ".py"]
    files = [path for path in files if path.parent.name != "__pycache__"]
    assert {"course.mplstyle"} < {path.name for path in files}
    lost = [path for path in files if not any(fnmatch.fnmatch(path.name, pattern) for pattern in patterns["*"])]
    assert not lost, f"say in package-data of pyproject.toml that a wheel takes {lost}"


# ---- what is imported is declared

EXTRA = {name: {canonicalize_name(Requirement(line).name) for line in lines}
         for name, lines in PROJECT["optional-dependencies"].items()}  # fmt: skip
STUDENTS = {canonicalize_name(one.name) for one in RUNTIME}
# Who may need what: the first place that a file lies in.
AREAS = {
    "course_lib/bench": STUDENTS | EXTRA["bench"],
    "course_lib": STUDENTS,
    "experiments": STUDENTS,
    "course.py": set(),
    "pages/measure.py": STUDENTS | EXTRA["test"],
    "pages": STUDENTS,
    "teaching": STUDENTS | EXTRA["teach"],
    "benchmarks": STUDENTS | EXTRA["bench"],
    "tests": STUDENTS | EXTRA["test"] | EXTRA["bench"],
}
OWN = {"course_lib", "course", "teaching", "tests", "pages"}
DISTRIBUTIONS = metadata.packages_distributions()


def imported(tree):
    """First names of all that is imported, at any depth, and is neither Python's nor ours."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            names = [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
        first = {name.split(".")[0] for name in names}
        yield from first - set(sys.stdlib_module_names) - OWN


def undeclared(tree, declared):
    return {name for name in imported(tree)
            if not declared & {canonicalize_name(one) for one in DISTRIBUTIONS.get(name, [])}}  # fmt: skip


@pytest.mark.parametrize("area", AREAS)
def test_what_is_imported_is_declared(area):
    within = [other for other in AREAS if other.startswith(area + "/")]
    files = [ROOT / area] if area.endswith(".py") else sorted((ROOT / area).rglob("*.py"))
    files = [path for path in files if not any((ROOT / other) in (path, *path.parents) for other in within)]
    found = {str(path.relative_to(ROOT)): undeclared(ast.parse(path.read_text("utf-8")), AREAS[area]) for path in files}
    assert files and {path: names for path, names in found.items() if names} == {}, "say so in pyproject.toml"


@pytest.mark.parametrize("code, names", [
    ("import os, numpy.linalg", {"numpy"}),
    ("def f():\n    from sklearn import svm", {"sklearn"}),
    ("from . import sibling\nimport course_lib", set()),
    ("import no_such_package", {"no_such_package"}),
])  # fmt: skip
def test_the_walk_sees_imports_at_any_depth(code, names):
    assert undeclared(ast.parse(code), set()) == names
    assert undeclared(ast.parse(code), {"numpy", "scikit-learn"}) == names - {"numpy", "sklearn"}
