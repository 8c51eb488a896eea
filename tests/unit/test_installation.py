"""The check on the first page: it sees what is wrong, says what to do, and never raises."""

import importlib.metadata
import sys

import pytest

from course_lib import installation
from course_lib.machine.warm_up import WarmUp


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COURSE_DATASET", "digits")


def test_a_good_installation_ends_in_a_green_line():
    found = installation.check(progress=False)
    assert found.ready, found
    assert repr(found).splitlines()[-1] == "Everything is ready."
    assert "#007A55" in found._repr_html_() and "To fix it" not in found._repr_html_()


def test_one_problem_turns_the_verdict():
    found = installation.Findings([installation.Finding("A", "fine"), installation.Finding("B", "a < b", "do this")])
    assert not found.ready
    assert "Not ready yet: 1 thing to fix" in repr(found) and "To fix it: do this." in repr(found)
    assert "a &lt; b" in found._repr_html_() and "Everything is ready" not in found._repr_html_()


def test_packages_missing_or_of_another_version(monkeypatch):
    version = importlib.metadata.version
    required = ['torch==2.13.0', 'numpy>=1', 'pooch>=99', 'no-such-package>=1', 'nbgrader; extra == "test"']
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: required)
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "2.13.0+cpu" if name == "torch" else version(name))
    found = installation._packages()
    assert found.found == f"pooch is {version('pooch')} and should be >=99; no-such-package is missing"
    assert "course.py setup" in found.fix


def test_a_python_without_the_course(monkeypatch):
    def unknown(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", unknown)
    assert "does not know course_lib" in installation._packages().found and installation._packages().fix


def test_a_torch_that_does_not_start(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)  # what import sees of a package that is not there
    found = installation._torch()
    assert "does not start" in found.found and "course.py setup" in found.fix


def test_data_that_cannot_be_used(monkeypatch, tmp_path):
    (tmp_path / "mnist").mkdir()
    for name in installation.data.mnist.SHA256:
        (tmp_path / "mnist" / name).write_bytes(b"not MNIST")
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    monkeypatch.delenv("COURSE_DATASET")
    found = installation._data()
    assert "not the official file" in found.found and "COURSE_DATA" in found.fix
    monkeypatch.setenv("COURSE_DATASET", "cifar")
    assert "'cifar'" in installation._data().found


def test_data_whose_package_is_missing(monkeypatch):
    monkeypatch.setattr(installation.data.digits.importlib.util, "find_spec", lambda name: None)
    found = installation._data()
    assert "scikit-learn" in found.found and "course.py setup" in found.fix


def test_digits_are_enough(capsys):
    found = installation._data()
    assert "UCI digits" in found.found and "Everything works on them" in found.found and not found.fix
    assert capsys.readouterr().out == ""


def test_kernels_that_cannot_be_kept(monkeypatch):
    monkeypatch.setattr("course_lib.machine.warm_up.load_all", lambda progress: WarmUp(3, 5, 0, ("a", "b"), 1.0))
    found = installation._kernels(progress=False)
    assert "no place to keep 2" in found.found and "NUMBA_CACHE_DIR" in found.fix


def test_kernels_that_were_damaged_are_told_from_those_that_cannot_be_kept(monkeypatch):
    done = WarmUp(3, 1, 2, (), 1.0, repaired=("a",))
    monkeypatch.setattr("course_lib.machine.warm_up.load_all", lambda progress: done)
    found = installation._kernels(progress=False)
    assert "the compiled code of 1 was damaged and has been made again" in found.found and not found.fix
    done = WarmUp(3, 5, 0, ("a", "b"), 1.0, why=("No space left on device",))
    found = installation._kernels(progress=False)
    assert "no place to keep 2 of them (No space left on device)" in found.found and "damaged" not in found.found


@pytest.mark.parametrize("count", ["many", "0", "-1", "2.5", "1e3"])
def test_a_count_of_threads_that_is_none(monkeypatch, count):
    monkeypatch.setattr("course_lib.machine.threads._count", None)  # or the variable is not looked at
    monkeypatch.setenv("COURSE_THREADS", count)
    found = installation._kernels(progress=False)
    assert "COURSE_THREADS" in found.found and "unset COURSE_THREADS" in found.fix


def test_kernels_that_do_not_compile(monkeypatch):
    def broken(progress):
        raise ImportError("llvmlite")

    monkeypatch.setattr("course_lib.machine.warm_up.load_all", broken)
    found = installation._kernels(progress=False)
    assert "llvmlite" in found.found and "course.py setup" in found.fix


def test_a_cache_that_cannot_be_written(monkeypatch, tmp_path):
    (tmp_path / "a_file").write_text("in the way")
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "a_file" / "cache"))
    found = installation._cache()
    assert "cannot be written" in found.found and "COURSE_CACHE" in found.fix


def test_a_read_only_cache_with_models_in_it_is_fine(ordinary_user, monkeypatch):
    monkeypatch.setenv("COURSE_CACHE", str(ordinary_user))
    (ordinary_user / "models").mkdir()
    ordinary_user.chmod(0o555)
    assert "cannot be written (Permission denied)" in installation._cache().found
    (ordinary_user / "models" / "net.safetensors").touch()
    assert "it is read-only" in installation._cache().found and not installation._cache().fix


def test_a_cache_in_a_home_that_is_none(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("COURSE_CACHE", "~no-such-user-of-this-computer/x")
    found = installation._cache()
    assert "no such home folder" in found.found and "COURSE_CACHE" in found.fix
