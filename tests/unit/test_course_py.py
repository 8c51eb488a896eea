"""course.py: what is wrong with a computer is said in one line; set-up goes on where it stopped; work is never lost."""

import ast
import errno
import glob
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import venv
from pathlib import Path

import pytest

import course

ROOT = Path(course.__file__).parent
posix = pytest.mark.skipif(os.name == "nt", reason="uses shell scripts in place of programs")


def problem(function, *arguments, **more):
    """The text of the Problem a call raises; always one line."""
    with pytest.raises(course.Problem) as caught:
        function(*arguments, **more)
    text = str(caught.value)
    assert "\n" not in text
    return text


# ---- an old Python can read the file


def test_an_old_python_can_read_it_and_it_needs_no_package():
    tree = ast.parse(Path(course.__file__).read_text(encoding="utf-8"), feature_version=(3, 6))
    modules = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module] if isinstance(node, ast.ImportFrom) else []
        )
    }
    assert modules <= sys.stdlib_module_names


@pytest.mark.parametrize("version", [(3, 6), (3, 10, 9), (2, 7)])
def test_python_too_old(version):
    assert "too old: install Python 3.11 or later" in problem(course.check_python, version)


def test_python_too_new():
    assert "3.11 to 3.14" in problem(course.check_python, (3, 15, 0))


@pytest.mark.parametrize("version", [(3, 11, 0), (3, 14, 2)])
def test_python_good(version):
    course.check_python(version)


@posix
@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize("python3", [None, "exit 1"], ids=["missing", "too old"])
def test_make_without_a_good_python_says_so_in_one_line(tmp_path, python3):
    if python3:
        (tmp_path / "python3").write_text(f"#!/bin/sh\n{python3}\n")
        (tmp_path / "python3").chmod(0o755)
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHON", "MAKEFLAGS", "MAKELEVEL")}
    env["PATH"] = str(tmp_path)
    done = subprocess.run([shutil.which("make"), "lab"], cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode != 0 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and "No Python 3.11 to 3.14 found: install one" in done.stderr


# ---- venv, disk, port, pip


@pytest.mark.parametrize("missing", ["venv", "ensurepip"])
def test_no_venv_module(missing):
    text = problem(course.check_venv_module, lambda name: None if name == missing else "there")
    assert "sudo apt install python3-venv" in text


def test_full_disk():
    assert "1.5 GB free" in problem(course.check_disk, 1.5e9) and "3 GB needed" in problem(course.check_disk, 1.5e9)
    course.check_disk(3.1e9)


def test_a_disk_too_small_for_the_cuda_build_is_told_but_not_refused(capsys):
    course.check_disk(4e9, may_be_cuda=True)
    assert "not for the CUDA build" in capsys.readouterr().out


def test_set_up_looks_at_the_disk_before_it_installs(project, monkeypatch):
    monkeypatch.setattr(course.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**10, 10**10, 0))
    assert "The disk is too full: 0.0 GB free" in problem(course.set_up)
    assert project == []


def test_busy_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        text = problem(course.check_port, port)
    assert f"Port {port} is busy" in text and "PORT=" in text
    course.check_port(port)  # and free again


@pytest.mark.parametrize("port", ["no", "0", "70000", "-1", "88 88"])
def test_port_that_is_none(port):
    assert "give a number" in problem(course.check_port, port)


@pytest.mark.parametrize(
    ("output", "line"),
    [
        ("ERROR: Could not install packages: OSError: [Errno 28] No space left on device", "The disk filled up"),
        ("WARNING: Retrying ... NewConnectionError(...): Temporary failure in name resolution", "cannot be reached"),
        ("WARNING: SSLError(1, '[SSL: CERTIFICATE_VERIFY_FAILED]')", "certificate of the package index was refused"),
        ("ERROR: No matching distribution found for torch==2.13.0", "No matching distribution found for torch==2.13.0"),
        ("Segmentation fault", "more in .venv/install.log"),
    ],
)
def test_what_pip_says_becomes_one_line_with_a_remedy(output, line):
    text = course.explain_pip("Collecting torch\n" + output + "\n", ".venv/install.log")
    assert line in text and "again" in text and "\n" not in text


@posix
def test_a_failing_pip_is_reported_and_leaves_its_story(project, monkeypatch):
    python = course.python_of(course.VENV)
    python.unlink()
    python.write_text("#!/bin/sh\necho Collecting x\necho 'ERROR: no such thing' >&2\nexit 1\n")
    python.chmod(0o755)
    assert "pip failed: no such thing" in problem(PIP_INSTALL, course.VENV, ["x"])
    assert (course.VENV / "install.log").read_text() == "Collecting x\nERROR: no such thing\n"


# ---- set-up

PIP_INSTALL, IMPORTABLE = course.pip_install, course.importable


@pytest.fixture
def project(tmp_path, monkeypatch):
    """course.py on a folder of its own, with an environment but no packages; the list of the pip runs."""
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    monkeypatch.setattr(course, "ROOT", tmp_path)
    monkeypatch.setattr(course, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(course, "VENV_TEST", tmp_path / ".venv-test")
    monkeypatch.setattr(course, "importable", lambda environment, module: True)
    venv.EnvBuilder(with_pip=False, symlinks=os.name != "nt").create(tmp_path / ".venv")
    runs = []
    monkeypatch.setattr(course, "pip_install", lambda environment, arguments: runs.append(arguments))
    return runs


def test_second_set_up_installs_nothing(project):
    course.set_up()
    course.set_up()
    assert project == [["-e", "."]]


def test_an_interrupted_installation_goes_on(project, monkeypatch):
    def interrupted(environment, arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(course, "pip_install", interrupted)
        with pytest.raises(KeyboardInterrupt):
            course.set_up()
    assert not course.is_set_up(course.VENV)
    course.set_up()
    assert project == [["-e", "."]] and course.is_set_up(course.VENV)


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_changed_pins_are_installed(project, name):
    course.set_up()
    with open(course.ROOT / name, "a") as file:
        file.write("# changed\n")
    course.set_up()
    assert len(project) == 2


def test_an_environment_whose_python_is_gone_is_made_again(project, monkeypatch):
    course.set_up()
    course.python_of(course.VENV).unlink()
    made = []

    class Builder:
        def __init__(self, with_pip, clear, symlinks):
            assert with_pip and clear

        def create(self, path):
            made.append(path)
            venv_create(path)

    venv_create = venv.EnvBuilder(with_pip=False, clear=True, symlinks=os.name != "nt").create
    monkeypatch.setattr(venv, "EnvBuilder", Builder)
    course.set_up()
    assert made == [str(course.VENV)] and course.is_set_up(course.VENV)


def test_the_test_extras_are_laid_over_the_students_environment(project):
    course.set_up_tests()
    code = "import sys; print(*sys.path, sep='\\n')"
    path = subprocess.check_output([course.python_of(course.VENV_TEST), "-c", code], text=True)
    assert f"{course.VENV}{os.sep}" in path.replace(str(course.VENV_TEST), "")
    assert all(any(one.startswith(name) for one in project[1]) for name in ("nbgrader", "onnxruntime"))
    course.set_up_tests()
    assert len(project) == 2


@posix
def test_the_test_extras_in_a_folder_whose_name_a_pipe_lacks(project, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    monkeypatch.setattr(course, "VENV", tmp_path / "Übung 'é'" / ".venv")
    monkeypatch.setattr(course, "VENV_TEST", tmp_path / "Übung 'é'" / ".venv-test")
    venv.EnvBuilder(with_pip=False).create(course.VENV)
    course.set_up_tests()
    (laid,) = course.VENV_TEST.rglob("students_environment.pth")
    assert laid.read_bytes().isascii()
    code = "import sys; print(ascii(sys.path))"
    path = subprocess.check_output([course.python_of(course.VENV_TEST), "-c", code], env=course.child_env())
    assert any(one.startswith(f"{course.VENV}{os.sep}") for one in ast.literal_eval(path.decode()))


def test_students_never_see_nbgrader_nor_the_news():
    python = course.python_of(ROOT / ".venv")
    if not python.exists():
        pytest.skip("the students' environment is not set up: the tests run elsewhere")
    listed = subprocess.run([python, "-m", "jupyter", "labextension", "list"], capture_output=True, text=True)
    listed = listed.stdout + listed.stderr
    assert "jupyterlab-manager" in listed and "nbgrader" not in listed
    servers = subprocess.run([python, "-m", "jupyter", "server", "extension", "list"], capture_output=True, text=True)
    assert "nbgrader" not in servers.stdout + servers.stderr
    overrides = (ROOT / ".venv" / "share" / "jupyter" / "lab" / "settings" / "overrides.json").read_text()
    assert '"fetchNews": "false"' in overrides
    assert "--LabApp.news_url=None" in course.lab_command(8888)


@pytest.mark.parametrize(
    ("environ", "system", "machine", "expected"),
    [
        ({}, "Linux", "x86_64", True),
        ({"PIP_EXTRA_INDEX_URL": "somewhere"}, "Linux", "x86_64", False),
        ({}, "Linux", "aarch64", False),
        ({}, "Darwin", "arm64", False),
        ({}, "Windows", "AMD64", False),
    ],
)
def test_where_pip_would_take_the_cuda_build(environ, system, machine, expected):
    assert course.may_be_cuda(environ, system, machine) is expected


# ---- lab


def test_pictures_get_their_words_and_a_newer_extension_takes_the_place_of_an_older(tmp_path):
    course.describe_pictures(tmp_path)
    place = tmp_path / "share" / "jupyter" / "labextensions" / "course-pictures"
    built = json.loads((place / "package.json").read_text())["jupyterlab"]["_build"]
    script = place / built["load"]
    assert script.read_bytes() == (ROOT / "pages" / "labextension" / built["load"]).read_bytes()
    script.write_text("older")
    course.describe_pictures(tmp_path)
    assert script.read_text() != "older"


def test_lab_command():
    command = course.lab_command("8889", "--ip=0.0.0.0 --flag='two words'", browser=False, root_user=True)
    assert command[1:3] == ["-m", "jupyterlab"]
    assert {"--ServerApp.port=8889", "--ServerApp.port_retries=0", "--allow-root", "--no-browser"} <= set(command)
    assert "--LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb" in command
    assert command[-2:] == ["--ip=0.0.0.0", "--flag=two words" if os.name != "nt" else "--flag='two"] or os.name == "nt"


def test_lab_command_of_an_ordinary_user_with_a_browser():
    assert not {"--allow-root", "--no-browser"} & set(course.lab_command("8888"))


def test_browser_or_address(monkeypatch):
    assert not course.has_browser({}, "Linux")
    monkeypatch.setattr(course.webbrowser, "get", lambda: "one")
    assert course.has_browser({"DISPLAY": ":0"}, "Linux") and course.has_browser({}, "Darwin")

    def none():
        raise course.webbrowser.Error

    monkeypatch.setattr(course.webbrowser, "get", none)
    assert not course.has_browser({"DISPLAY": ":0"}, "Linux")


def test_port_and_arguments_come_from_the_environment_or_the_command_line(monkeypatch):
    seen = []
    monkeypatch.setitem(course.JOBS, "lab", lambda arguments, settings: seen.append((arguments, settings["PORT"])))
    monkeypatch.setenv("PORT", "8001")
    assert course.main(["lab"]) == 0 and course.main(["lab", "PORT=8002", "--debug"]) == 0
    assert seen == [([], "8001"), (["--debug"], "8002")]


def test_threads_wait_passively_unless_told_otherwise(monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    assert course.child_env()["OMP_WAIT_POLICY"] == "PASSIVE"
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    assert course.child_env()["OMP_WAIT_POLICY"] == "ACTIVE"


# ---- what people bring along in their environment


def python(*arguments, **more):
    """Run this Python as course.py would."""
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=course.child_env(**more), cwd=ROOT, capture_output=True, timeout=120)


def test_foreign_packages_do_not_hide_ours(tmp_path, monkeypatch):
    (tmp_path / "numpy.py").write_text("raise ImportError('a NumPy of another Python')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    done = python("-c", "import numpy; print(numpy.__file__)")
    assert done.returncode == 0 and str(tmp_path) not in done.stdout.decode(), done.stderr.decode()


def test_pip_in_foreign_packages_is_not_taken_for_installed(tmp_path, monkeypatch):
    venv.EnvBuilder(with_pip=False, symlinks=os.name != "nt").create(tmp_path / "environment")
    (tmp_path / "pip.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert not course.importable(tmp_path / "environment", "pip")


@pytest.mark.parametrize(
    "name",
    ["MPLBACKEND", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONOPTIMIZE", "PIP_TARGET", "PIP_DRY_RUN", "PIP_NO_DEPS"],
)
def test_settings_that_change_what_runs_are_left_behind(monkeypatch, name):
    monkeypatch.setenv(name, "agg")
    assert name not in course.child_env() and course.child_env()["PYTHONNOUSERSITE"] == "1"
    assert course.child_env(**{name: "mine"})[name] == "mine"


@pytest.mark.parametrize("encoding", ["cp1252", "gbk", "ascii", "cp437:strict", ""])
def test_a_pipe_that_lacks_a_letter_stops_nothing(monkeypatch, encoding):
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    errors = "strict" if "strict" in encoding else "replace"
    assert course.child_env()["PYTHONIOENCODING"] == f"{encoding.partition(':')[0]}:{errors}"
    code = "import course; course.say('r̂ = 文 ✓ é')"
    for more in ({}, {"PYTHONIOENCODING": encoding}):
        done = python("-c", code, **more)
        assert done.returncode == 0 and done.stdout.startswith(b"r") and done.stdout.count(b"\n") == 1, done.stderr
    if errors == "replace":
        assert python("-c", "print('r̂ = 文 ✓ é')").returncode == 0


@pytest.mark.parametrize("option", ["-O", "-OO"])
def test_the_help_of_an_optimising_python(option):
    done = python(option, "course.py", "help", PYTHONIOENCODING="utf-8")
    assert done.returncode == 0 and done.stdout.decode().split() == course.__doc__.split()


@posix
def test_without_a_home_folder_there_is_one_and_one_line(project, monkeypatch, capsys):
    monkeypatch.setattr(course, "HOMES_MADE", [])
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)  # as for the number that a container gives its user
    home = Path(course.child_env()["HOME"])
    assert home.is_dir() and course.ROOT in home.parents and course.child_env()["HOME"] == str(home)
    assert capsys.readouterr().out.count("\n") == 1


@posix
@pytest.mark.parametrize("home", ["", "/nonexistent", "a/relative/one", "/dev/null"])
def test_a_home_that_cannot_be_used_is_replaced(project, monkeypatch, home):
    monkeypatch.setattr(course, "HOMES_MADE", [])
    monkeypatch.setenv("HOME", home)
    assert os.access(course.child_env()["HOME"], os.W_OK) == (course.child_env()["HOME"] != home)
    monkeypatch.setenv("HOME", str(course.ROOT))
    assert course.child_env()["HOME"] == str(course.ROOT)


def in_a_folder_called(parent, name):
    folder = parent / name
    folder.mkdir()
    for one in ("course.py", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / one, folder)
    (folder / "exercises" / "lab99_x").mkdir(parents=True)
    return folder


@posix
def test_a_colon_in_the_folders_name_is_said_before_anything_is_made(tmp_path):
    folder = in_a_folder_called(tmp_path, "course: 2")
    before = sorted(folder.iterdir())
    done = python(str(folder / "course.py"), "setup")
    assert done.returncode == 1 and done.stdout == b"" and done.stderr.count(b"\n") == 1
    assert b"rename the folder" in done.stderr and sorted(folder.iterdir()) == before


@pytest.mark.parametrize("name", ["two words", "it's", "50% [1]", "Übung 文", "a;b" if os.name != "nt" else "a&b"])
def test_other_names_of_the_folder_are_fine(tmp_path, name):
    folder = in_a_folder_called(tmp_path, name)
    done = python(str(folder / "course.py"), "start", "lab99", PYTHONIOENCODING="ascii")
    assert done.returncode == 0 and (folder / "work" / "lab99_x").is_dir(), done.stderr
    course.check_folder(folder)


def test_nbconvert_is_given_names_and_no_patterns(project, monkeypatch, tmp_path):
    (course.ROOT / "notes [1]").mkdir()
    monkeypatch.setattr(course, "ROOT", course.ROOT / "notes [1]")
    (course.ROOT / "a.ipynb").write_text("{}")
    monkeypatch.setattr(course, "set_up", lambda: None)
    commands = []
    monkeypatch.setattr(course, "run", lambda command, **more: commands.append(command) or 1)
    with pytest.raises(course.Problem, match="did not run"):
        course.execute(["a.ipynb"], {})
    (command,) = commands
    (found,) = [one for one in map(str, command) if one.endswith("a.ipynb")]
    assert glob.glob(found) == [str(course.ROOT / "a.ipynb")]


@pytest.mark.skipif(shutil.which("git") is None or not (ROOT / ".git").exists(), reason="this is no git clone")
def test_a_clone_has_the_same_line_ends_everywhere():
    command = ["git", "-c", "core.autocrlf=true", "ls-files", "--eol"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    fields = [line.split("\t")[0].split(maxsplit=2) + [line.split("\t")[1]] for line in listed]
    assert len(fields) > 100
    assert [name for inside, _, rule, name in fields if "eol=lf" not in rule and rule.strip() != "attr/-text"] == []
    assert [name for inside, *_, name in fields if inside in ("i/crlf", "i/mixed")] == []


@pytest.mark.parametrize("arguments", [[], ["help"], ["--help"]])
def test_help(arguments, capsys):
    assert course.main(arguments) == 0
    text = capsys.readouterr().out
    assert all(f"\n    {job} " in text for job in course.JOBS)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_a_folder_that_cannot_be_written(monkeypatch, capsys, number):
    def fail(arguments, settings):
        raise OSError(number, os.strerror(number), "here")

    monkeypatch.setitem(course.JOBS, "setup", fail)
    assert course.main(["setup"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and os.strerror(number) in error and "make room" in error


def test_an_environment_that_cannot_be_made(project, monkeypatch):
    class Builder:
        def __init__(self, **options):
            pass

        def create(self, path):
            raise subprocess.CalledProcessError(1, "ensurepip", output="OSError: No space left on device")

    monkeypatch.setattr(venv, "EnvBuilder", Builder)
    course.python_of(course.VENV).unlink()
    assert "The disk filled up" in problem(course.set_up)


def test_unknown_job(capsys):
    assert course.main(["labb"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "the jobs are lab, start" in error


# ---- start


@pytest.fixture
def exercises(tmp_path):
    for name in ("lab04_mnist_ptq", "lab05_other", "lab05_twin"):
        (tmp_path / "exercises" / name).mkdir(parents=True)
        (tmp_path / "exercises" / name / f"{name}.ipynb").write_text("task")
    return {"exercises": tmp_path / "exercises", "work": tmp_path / "work"}


@pytest.mark.parametrize("name", ["lab04", "lab04_mnist_ptq"])
def test_start_copies_and_never_overwrites(exercises, name, capsys):
    folder = course.start(name, **exercises)
    notebook = folder / "lab04_mnist_ptq.ipynb"
    assert notebook.read_text() == "task" and folder == exercises["work"] / "lab04_mnist_ptq"
    notebook.write_text("answers")
    assert course.start(name, **exercises) == folder
    assert notebook.read_text() == "answers" and "is there already" in capsys.readouterr().out
    assert sorted(path.name for path in exercises["work"].iterdir()) == ["lab04_mnist_ptq"]


@pytest.mark.parametrize("name", ["lab99", "", None, "lab0", "lab05", "../exercises"])
def test_start_lists_the_labs_where_the_name_is_not_one(exercises, name):
    assert "the labs are lab04_mnist_ptq, lab05_other, lab05_twin" in problem(course.start, name, **exercises)
    assert not exercises["work"].exists()


def test_a_lab_copied_from_a_read_only_course_can_be_written(ordinary_user, capsys):
    folder = ordinary_user / "exercises" / "lab07_x"
    folder.mkdir(parents=True)
    (folder / "lab07_x.ipynb").write_text("task")
    (folder / "lab07_x.ipynb").chmod(0o444)
    folder.chmod(0o555)
    copy = course.start("lab07", exercises=ordinary_user / "exercises", work=ordinary_user / "work")
    (copy / "lab07_x.ipynb").write_text("answer")
    (copy / "notes.txt").write_text("more")


def test_a_start_that_breaks_leaves_no_half_lab(exercises, monkeypatch):
    def full(*arguments):
        raise OSError("No space left on device")

    monkeypatch.setattr(course.os, "rename", full)
    with pytest.raises(OSError, match="No space"):
        course.start("lab04", **exercises)
    assert list(exercises["work"].iterdir()) == []


@pytest.fixture
def lectures(tmp_path):
    """A lecture that has been run, in a course of its own."""
    cells = [
        {"cell_type": "markdown", "metadata": {}, "source": ["[04](04_x.ipynb), [it](https://x.org/04_y.ipynb)"]},
        {"cell_type": "code", "metadata": {"tags": ["hide-input"]}, "source": ["1 + 1"], "execution_count": 3,
         "outputs": [{"output_type": "execute_result", "data": {"text/plain": ["2"]}}]},
    ]  # fmt: skip
    (tmp_path / "notebooks").mkdir()
    for name in ("05_uniform", "06_post", "06_twin"):
        text = json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
        (tmp_path / "notebooks" / f"{name}.ipynb").write_text(text)
    return {"lectures": tmp_path / "notebooks", "work": tmp_path / "work"}


@pytest.mark.parametrize("links", [True, False], ids=["", "no links"])
@pytest.mark.parametrize("name", ["05", "05_uniform"])
def test_a_lecture_is_copied_without_outputs_and_never_overwritten(lectures, name, links, capsys, monkeypatch):
    if not links:
        def refuse(*paths):
            raise OSError("this disk has no links")
        monkeypatch.setattr(course.os, "link", refuse)  # fmt: skip
    copy = course.start_lecture(name, **lectures)
    assert copy == lectures["work"] / "05_uniform.ipynb"
    text, code = json.loads(copy.read_text())["cells"]
    assert code["outputs"] == [] and code["execution_count"] is None and code["metadata"] == {"tags": ["hide-input"]}
    assert text["source"] == ["[04](../notebooks/04_x.ipynb), [it](https://x.org/04_y.ipynb)"]
    copy.write_text("answers")
    assert course.start_lecture(name, **lectures) == copy
    assert copy.read_text() == "answers" and "is there already" in capsys.readouterr().out
    assert [path.name for path in lectures["work"].iterdir()] == ["05_uniform.ipynb"]


@pytest.mark.parametrize("name", ["07", "", "5", "06", "../notebooks/05"])
def test_start_lists_the_lectures_where_the_name_is_not_one(lectures, name):
    assert "the lectures are 05_uniform, 06_post, 06_twin" in problem(course.start_lecture, name, **lectures)
    assert not lectures["work"].exists()


@pytest.mark.parametrize("arguments, settings, lecture, lab", [
    ([], {"LECTURE": "05"}, "05", None),
    (["05"], {}, "05", None),
    (["lab04"], {"LECTURE": ""}, None, "lab04"),
    ([], {"LAB": "lab04", "LECTURE": "05"}, "05", "lab04"),
    ([], {}, None, None),
])
def test_what_is_started_is_a_lecture_or_a_lab(arguments, settings, lecture, lab, monkeypatch):
    started = []
    monkeypatch.setattr(course, "start_lecture", lambda name: started.append(("lecture", name)))
    monkeypatch.setattr(course, "start", lambda name: started.append(("lab", name)))
    course.start_job(arguments, settings)
    assert started == [("lecture", lecture)] * (lecture is not None) + [("lab", lab)] * (lab is not None or not lecture)


def test_start_twice_at_once_gives_one_whole_copy(exercises):
    results = []
    threads = [threading.Thread(target=lambda: results.append(course.start("lab04", **exercises))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(path.name for path in exercises["work"].iterdir()) == ["lab04_mnist_ptq"]
    assert len(results) == 4


# ---- grade


@pytest.fixture
def grade_runs(monkeypatch):
    """The commands that course.py grade starts, and the environment of each; none is run."""
    runs = []

    class Process:
        def __init__(self, command, cwd, env):
            runs.append((command, env))

        def wait(self):
            return 7

    monkeypatch.setattr(course.subprocess, "Popen", Process)
    monkeypatch.setattr(course, "set_up_tests", lambda: None)
    for name in course.SETTINGS:
        monkeypatch.delenv(name, raising=False)
    return runs


def test_grade_hands_lab_folder_and_limit_on(grade_runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert course.main(["grade", "LAB=lab01", "SUBMISSIONS=from students", "LIMIT=60", "anna"]) == 7
    assert course.main(["grade", "LAB=lab01_number_formats"]) == 7
    (first, env), (second, _) = grade_runs
    assert first[2:] == ["lab01_number_formats", str(tmp_path / "from students"), "--limit=60", "anna"]
    assert second[2:] == ["lab01_number_formats", str(ROOT / "submitted")]
    assert env["PATH"].startswith(str(course.python_of(course.VENV_TEST).parent) + os.pathsep)  # nbgrader calls alembic
    assert env["JUPYTER_PATH"] == str(course.VENV / "share" / "jupyter")  # and needs templates


@pytest.mark.parametrize("arguments", [["grade"], ["grade", "LAB=lab99"]])
def test_grade_lists_the_labs_where_the_name_is_not_one(arguments, grade_runs, capsys):
    assert course.main(arguments) == 1 and grade_runs == []
    assert "the labs are lab01_number_formats" in capsys.readouterr().err


def test_the_form_comes_after_grading(monkeypatch, tmp_path):
    monkeypatch.setattr(course, "GRADING", tmp_path)
    assert "grade LAB=lab01" in problem(course.formgrader, [], {"PORT": None})


# ---- notebooks


def test_what_was_printed_in_pieces_becomes_one_output():
    """As a reader sees it: what stands between two pieces keeps them apart, and so does the other stream."""
    def said(text, name="stdout"):
        return {"output_type": "stream", "name": name, "text": text}

    picture = {"output_type": "display_data", "data": {"image/png": "PNG"}, "metadata": {}}
    pieces = [said(["a\n", "b"]), said("c\n"), said(["d\n"]), said("!", "stderr"), said(["e\n"]), picture, said(["f"])]
    cells = [{"cell_type": "code", "outputs": pieces}, {"cell_type": "markdown"}]
    joined = course.join_streams({"cells": cells})["cells"]
    assert joined[0]["outputs"] == [
        said(["a\n", "bc\n", "d\n"]), said("!", "stderr"), said(["e\n"]), picture, said(["f"])]  # fmt: skip
    assert joined[1] == {"cell_type": "markdown"}


@pytest.mark.parametrize("tags, before, after", [
    (["hide-input"], {}, {"tags": ["hide-input"], "jupyter": {"source_hidden": True}}),
    ([], {"jupyter": {"source_hidden": True}}, {"tags": []}),
    ([], {"jupyter": {"source_hidden": True, "outputs_hidden": 1}}, {"tags": [], "jupyter": {"outputs_hidden": 1}}),
])
def test_the_tag_decides_what_is_folded(tags, before, after):
    cells = [{"cell_type": "code", "metadata": {"tags": tags, **before}, "outputs": []}]
    assert course.tidy({"metadata": {}, "cells": cells})["cells"][0]["metadata"] == after


def test_tidy_keeps_the_picture_and_drops_what_changes_from_run_to_run():
    view = "application/vnd.jupyter.widget-view+json"
    notebook = {
        "metadata": {"widgets": {"state": 1}, "kernelspec": {"name": "x"}, "language_info": {"version": "3.11.7"}},
        "cells": [
            {"cell_type": "markdown", "metadata": {"slideshow": {"slide_type": "slide"}}},
            {
                "cell_type": "code",
                "metadata": {"execution": {"iopub.status.busy": "2026"}, "tags": ["a"]},
                "outputs": [
                    {"data": {view: {"model_id": "1"}, "image/png": "PNG", "text/plain": "panel"}},
                    {"data": {view: {"model_id": "2"}, "text/plain": "  0%|"}},
                    {"name": "stdout", "text": "hello"},
                ],
            },
        ],
    }
    tidied = course.tidy(notebook)
    assert tidied["metadata"] == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    assert tidied["cells"][0]["metadata"] == {"slideshow": {"slide_type": "slide"}}
    assert tidied["cells"][1]["metadata"] == {"tags": ["a"]}
    assert tidied["cells"][1]["outputs"] == [
        {"data": {"image/png": "PNG", "text/plain": "panel"}},
        {"name": "stdout", "text": "hello"},
    ]


def test_execute_refuses_a_path_that_is_no_notebook():
    assert "There is no notebook" in problem(course.notebooks, ["notebooks/99_nowhere.ipynb"])


def test_a_notebook_that_cannot_be_saved_stays_as_it_was(tmp_path, monkeypatch):
    notebook = tmp_path / "a.ipynb"
    course.write_whole(notebook, "old é\n")
    write = Path.write_bytes

    def full(path, content):
        write(path, content[:3])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        course.write_whole(notebook, "new")
    assert list(tmp_path.iterdir()) == [notebook] and notebook.read_bytes() == "old é\n".encode()


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "0 s"), (89, "89 s"), (90, "1 min 30 s"), (119.6, "2 min 00 s")])
def test_duration(seconds, text):
    assert course.duration(seconds) == text


# ---- what people bring along


def test_pips_settings_cannot_make_an_empty_environment_look_complete(project, monkeypatch):
    """A target folder in pip's settings, for instance: pip succeeds, and what it installed is elsewhere."""
    monkeypatch.setattr(course, "importable", lambda environment, modules: modules == "pip")
    assert "look at pip's settings" in problem(course.set_up)
    assert not (course.VENV / course.STAMP).exists()


@posix
def test_an_environment_under_which_python_became_another_is_not_complete(project, monkeypatch):
    course.set_up()
    assert course.is_set_up(course.VENV)
    monkeypatch.setattr(course, "importable", IMPORTABLE)
    python = course.python_of(course.VENV)
    python.unlink()
    python.write_text("#!/bin/sh\necho No module named course_lib >&2\nexit 1\n")
    python.chmod(0o755)
    assert not course.is_set_up(course.VENV)


@posix
def test_the_second_of_two_set_ups_waits_and_installs_nothing(project, monkeypatch, capsys):
    going_on, go_on = threading.Event(), threading.Event()

    def install(environment, arguments):
        project.append(arguments)
        going_on.set()
        assert go_on.wait(30)

    monkeypatch.setattr(course, "pip_install", install)
    both = [threading.Thread(target=course.set_up) for _ in range(2)]
    both[0].start()
    assert going_on.wait(30)
    both[1].start()
    end = time.monotonic() + 30
    while "waiting for it" not in (said := capsys.readouterr().out) and time.monotonic() < end:
        time.sleep(0.01)
    go_on.set()
    for one in both:
        one.join()
    assert "Another set-up is at work" in said and project == [["-e", "."]]


@posix
def test_a_disk_that_knows_no_locks_sets_up_all_the_same(project, monkeypatch):
    import fcntl

    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    course.set_up()
    assert course.is_set_up(course.VENV)


@pytest.mark.parametrize("output", ["OSError: [Errno 122] Disk quota exceeded: 'x'", "No space left on device"])
def test_a_quota_is_a_full_disk(output):
    assert "disk filled up" in course.explain_pip(output, "log")


@pytest.mark.parametrize("output", ["ConnectionResetError(104, 'Connection reset by peer')", "IncompleteRead(5 bytes)"])
def test_a_connection_that_is_lost_is_the_networks(output):
    assert "cannot be reached" in course.explain_pip(output, "log")


def test_our_own_kernel_comes_before_those_that_the_user_has(monkeypatch):
    monkeypatch.setenv("JUPYTER_PATH", "elsewhere")
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "0")
    env = course.child_env()
    assert env["JUPYTER_PATH"] == f"{course.VENV / 'share' / 'jupyter'}{os.pathsep}elsewhere"
    assert env["JUPYTER_PREFER_ENV_PATH"] == "1"


def test_pages_are_executed_away_from_the_users_settings(project, monkeypatch):
    (course.ROOT / "a.ipynb").write_text("{}")
    monkeypatch.setattr(course, "set_up", lambda: None)
    given = []
    monkeypatch.setattr(course, "run", lambda command, **more: given.append(more) or 1)
    with pytest.raises(course.Problem, match="did not run"):
        course.execute(["a.ipynb"], {})
    assert {"IPYTHONDIR", "JUPYTER_CONFIG_DIR"} <= given[0].keys()


@pytest.mark.parametrize("port", ["²", "٣x", "1e3"])
def test_a_port_in_other_digits(port):
    assert f"PORT={port} is not a port" in problem(course.check_port, port)


@pytest.mark.parametrize("limit", ["0", "-5", "nan", "soon"])
def test_a_limit_that_is_no_time(limit):
    settings = {"LAB": "lab01", "LIMIT": limit}
    assert f"LIMIT={limit} is no time" in problem(course.grade, [], settings)


def test_arguments_that_cannot_be_split():
    assert "LAB_ARGS is --ip='x" in problem(course.lab_command, 8888, "--ip='x")


def test_exercises_that_cannot_be_written_whole_leave_the_old_ones(tmp_path, monkeypatch):
    for name, text in (("made", "new"), ("target", "old")):
        (tmp_path / name / "lab01").mkdir(parents=True)
        (tmp_path / name / "lab01" / "a.txt").write_text(text)
    target = tmp_path / "target" / "lab01"

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copytree", full)
        with pytest.raises(OSError, match="No space"):
            course.replace_folder(tmp_path / "made" / "lab01", target)
    assert (target / "a.txt").read_text() == "old"
    course.replace_folder(tmp_path / "made" / "lab01", target)
    assert (target / "a.txt").read_text() == "new" and os.listdir(target.parent) == ["lab01"]


def test_a_course_that_lies_read_only_says_where_to_work(ordinary_user):
    (ordinary_user / "exercises" / "lab01_a").mkdir(parents=True)
    ordinary_user.chmod(0o500)
    said = problem(course.start, "lab01", ordinary_user / "exercises", ordinary_user / "work")
    assert "cannot be written" in said and "copy the course's folder" in said


@posix
def test_a_reader_that_has_gone_stops_nothing():
    read, write = os.pipe()
    os.close(read)
    code = "import course\nfor _ in range(3): course.say('x' * 9999)\nimport sys; print('end', file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "end\n")


@pytest.mark.parametrize("name", [errno.ESTALE, errno.EIO, errno.ENAMETOOLONG])
def test_what_the_system_refuses_is_one_line(monkeypatch, capsys, name):
    def refuse(*_):
        raise OSError(name, os.strerror(name), "some/file")

    monkeypatch.setitem(course.JOBS, "slides", refuse)
    assert course.main(["slides"]) == 1
    assert capsys.readouterr().err == f"course.py: {os.strerror(name)} (some/file).\n"
