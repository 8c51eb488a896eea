"""course.py grade: a folder as students leave it, graded once from end to end; nobody's notebook costs another's grade.

The students here hand in lab 01, solved and then spoilt in every way that a notebook can be; what they understood, they
keep the points for.
"""

import csv
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple

import nbformat
import pytest
from nbformat.v4 import new_code_cell

import course

ROOT = Path(course.__file__).parent
LAB = "lab01_number_formats"
SOLUTION, EXERCISE = (ROOT / folder / LAB / f"{LAB}.ipynb" for folder in ("solutions", "exercises"))
MARKS = [cell.metadata.nbgrader for cell in nbformat.read(SOLUTION, 4).cells if "nbgrader" in cell.metadata]
POINTS = {one.grade_id.removeprefix("check_"): one.points for one in MARKS if one.grade}  # conclusion: by hand
ALL = {task: f"{points:g}" for task, points in POINTS.items() if task != "conclusion"}
TASKS, IN_ALL = list(ALL), f"{sum(POINTS.values()) - POINTS['conclusion']:g}"
LIMIT_S = 30

NOISE = """
import logging, sys, warnings
from tqdm import tqdm
def {name}(*given, quiet={name}, calls=[], **named):
    calls.append(1)
    if len(calls) < 9:
        print("looking at", given, file=sys.stderr)
        warnings.warn("not vectorised")
        logging.error("nothing is wrong")
        list(tqdm(given))
    return quiet(*given, **named)
"""


def solved():
    notebook = nbformat.read(SOLUTION, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    return notebook


def cell_of(notebook, name):
    return next(cell for cell in notebook.cells if cell.metadata.get("nbgrader", {}).get("grade_id") == name)


def after(notebook, name, source):
    notebook.cells.insert(notebook.cells.index(cell_of(notebook, name)) + 1, new_code_cell(source))


def noisy():
    notebook = solved()
    for name in TASKS:
        cell_of(notebook, name).source += NOISE.format(name=name)
    return notebook


def mangled():
    """Everything solved; what nbgrader needs to know about the cells is lost, doubled, outdated or forged."""
    notebook = solved()
    cell_of(notebook, "decode").metadata = {}
    marks = {"nbgrader": {"grade_id": "limits", "solution": True}}
    notebook.cells.append(new_code_cell(cell_of(notebook, "limits").source, metadata=marks))
    notebook.cells.remove(cell_of(notebook, "check_limits"))
    cell_of(notebook, "check_encode").metadata.tags = ["skip-execution"]
    cell_of(notebook, "check_encode").source = "pass"
    cell_of(notebook, "check_rounded_sum").metadata.nbgrader.points = 100
    cell_of(notebook, "check_rounded_sum").metadata.nbgrader.schema_version = 1
    cell_of(notebook, "conclusion").metadata.nbgrader.grade_id = "my conclusion"
    cell_of(notebook, "check_pairwise_sum").metadata.nbgrader = "mine"
    return notebook


def kernel_ends():
    """A cell that ends the kernel, one that gives up, one that would change the installation, and one task wrong."""
    notebook = solved()
    cell = cell_of(notebook, "limits")
    assert "-(fraction_bits + 1)" in cell.source
    cell.source = cell.source.replace("-(fraction_bits + 1)", "-fraction_bits")
    after(notebook, "check_decode", "import os\nos._exit(1)")
    after(notebook, "check_rounded_sum", "import sys\nsys.exit('enough')")
    after(notebook, "check_rounded_sum", "%pip uninstall --yes tqdm")
    after(notebook, "check_rounded_sum", "import sys\nprint(sys.prefix)")
    return notebook


def endless():
    notebook = solved()
    after(notebook, "check_decode", "import itertools\nfor i in itertools.count():\n    pass")
    return notebook


class Graded(NamedTuple):
    folder: Path
    said: str
    rows: dict  # student -> row of the table

    def points(self, student):
        return {name: self.rows[student][name] for name in TASKS}


def run_grade(handed_in, folder, *again):
    """Grade as course.py does, into a folder of the test's own."""
    env = {**course.child_env(**course.teachers_env(folder / "jupyter")), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "teaching" / "grade.py"), LAB, str(handed_in), *again]
    done = subprocess.run([*command, f"--folder={folder}", f"--limit={LIMIT_S}"], env=env, text=True, encoding="utf-8",
                          capture_output=True)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    text = (folder / "grades" / f"{LAB}.csv").read_text(encoding="utf-8-sig")
    rows = {row["student"]: row for row in csv.DictReader(text.splitlines())}
    return Graded(folder, done.stdout, rows)


@pytest.fixture(scope="module")
def handed_in(tmp_path_factory):
    folder = tmp_path_factory.mktemp("handed in")
    nbgraders_own = folder / "Jörg Müller" / LAB / f"{LAB}.ipynb"
    texts = {
        nbgraders_own: nbformat.writes(noisy()),
        folder / "mangled" / "my lab.ipynb": json.dumps(mangled()),
        folder / f"kernel_{LAB}.ipynb": nbformat.writes(kernel_ends()),
        folder / "endless.ipynb": nbformat.writes(endless()),
        folder / "broken" / f"{LAB}.ipynb": '{"cells": [',
        folder / "untouched" / f"{LAB}.ipynb": EXERCISE.read_text(encoding="utf-8"),
        folder / "untouched" / "lab02_rounding.ipynb": "another lab's",
        folder / "readme.txt": "hello",
    }
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    nbgraders_own.chmod(0o444)
    return folder


@pytest.fixture(scope="module")
def graded(handed_in, tmp_path_factory):
    return run_grade(handed_in, tmp_path_factory.mktemp("grading"))


def cell_with(graded, student, source):
    path = graded.folder / "autograded" / student / LAB / f"{LAB}.ipynb"
    found, = (cell for cell in nbformat.read(path, as_version=4).cells if source in cell.source)
    return found


def test_nothing_for_nothing(graded):
    assert set(graded.points("untouched").values()) == {"0"} and graded.rows["untouched"]["waits_for_you"] == ""


@pytest.mark.parametrize("student", ["Jörg Müller", "mangled", "endless"])
def test_what_is_right_keeps_its_points(graded, student):
    assert graded.points(student) == ALL
    row = graded.rows[student]
    assert (row["total"], row["maximum"]) == (IN_ALL, f"{sum(POINTS.values()):g}")
    assert row["waits_for_you"] == "conclusion"


def test_the_end_of_a_kernel_costs_no_more_than_what_is_wrong(graded):
    assert graded.points("kernel") == {**ALL, "limits": "0"}
    assert graded.rows["kernel"]["notes"].count("ended the kernel") == 1


def test_an_endless_loop_is_stopped_and_said(graded):
    assert f"was stopped after {LIMIT_S} s" in graded.rows["endless"]["notes"]


def test_what_cannot_be_graded_is_said_and_has_no_points(graded):
    assert "broken" in graded.said and "not graded: not a notebook: no JSON" in graded.rows["broken"]["notes"]
    assert graded.rows["broken"]["total"] == "" and "readme.txt" in graded.said
    assert "gone and put back: check_limits" in graded.rows["mangled"]["notes"]
    assert len(graded.rows) == 6


def test_every_graded_student_has_a_page(graded):
    pages = {path.parts[-3] for path in graded.folder.glob(f"feedback/*/{LAB}/{LAB}.html")}
    assert pages == graded.rows.keys() - {"broken"}


def test_a_cell_changes_no_installation(graded):
    cell = cell_with(graded, "kernel", "%pip")
    assert "Successfully uninstalled" not in str(cell.outputs) and "none-while-grading" in str(cell.outputs)


def test_notebooks_run_in_the_students_environment(graded):
    if not course.python_of(course.VENV).exists():
        pytest.skip("the students' environment is not set up: the tests run elsewhere")
    printed, = cell_with(graded, "kernel", "print(sys.prefix)").outputs
    assert printed.text.strip() == str(course.VENV)


def test_graded_again_what_changed_and_nothing_else_and_a_teachers_grade_stays(graded, handed_in):
    """The conclusion of one student is graded by hand; another one hands in something new."""
    with sqlite3.connect(graded.folder / "gradebook.db") as book:
        book.execute("""
            UPDATE grade SET manual_score = 3.5, needs_manual_grade = 0
            WHERE cell_id IN (SELECT id FROM base_cell WHERE name = 'conclusion')
            AND notebook_id IN (SELECT submitted_notebook.id FROM submitted_notebook JOIN submitted_assignment
                ON submitted_assignment.id = submitted_notebook.assignment_id WHERE student_id = 'Jörg Müller')""")
    book.close()
    shutil.copy(EXERCISE, handed_in / "broken" / f"{LAB}.ipynb")
    again = run_grade(handed_in, graded.folder, "Jörg Müller")
    assert again.said.count("(as before)") == 4
    with_conclusion = f"{float(IN_ALL) + 3.5:g}"
    assert again.rows["broken"]["total"] == "0" and again.rows["Jörg Müller"]["total"] == with_conclusion
    same = {"endless", "kernel", "mangled", "untouched"}
    assert {name: again.rows[name] for name in same} == {name: graded.rows[name] for name in same}
    page, = graded.folder.glob(f"feedback/Jörg Müller/{LAB}/*.html")
    assert f"{with_conclusion} / " in page.read_text(encoding="utf-8")


def test_the_form_opens_and_shows_what_was_graded(graded, monkeypatch, tmp_path):
    """The pages as the server makes them, and the data that a browser asks for to fill them."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setattr(course, "GRADING", graded.folder)
    as_root = hasattr(os, "geteuid") and os.geteuid() == 0
    command = [*course.formgrader_command(port, browser=False, root_user=as_root), "--IdentityProvider.token=tests"]
    command[0] = sys.executable
    env = course.child_env(**course.teachers_env(tmp_path), PYTHONPATH=str(ROOT))

    def get(page):
        address = f"http://127.0.0.1:{port}/formgrader/{page}"
        request = urllib.request.Request(address, headers={"Authorization": "token tests"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read().decode()

    with (tmp_path / "log.txt").open("w") as log:
        server = subprocess.Popen(command, cwd=graded.folder, env=env, stdout=log, stderr=log)
    try:
        for _ in range(600):
            try:
                page = get("gradebook")
                break
            except (urllib.error.URLError, ConnectionError):
                assert server.poll() is None, (tmp_path / "log.txt").read_text()
                time.sleep(0.1)
        assert "Manual Grading" in page
        assignment, = json.loads(get("api/assignments"))
        assert assignment["name"] == LAB and assignment["num_submissions"] >= 5
        waiting = json.loads(get(f"api/submitted_notebooks/{LAB}/{LAB}"))
        assert {one["student"] for one in waiting if one["needs_manual_grade"]} >= {"endless", "kernel", "mangled"}
        assert "Build a number format" in get(f"submissions/{waiting[0]['id']}/")
        assert "exchange" not in (tmp_path / "log.txt").read_text()
    finally:
        server.kill()
        server.wait()


def test_what_grading_writes_is_ignored_by_git():
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("no clone, or no git")
    written = [course.GRADING / "gradebook.db", course.GRADING / "grades" / "x.csv", ROOT / "submitted" / "a.ipynb"]
    for path in written:
        assert subprocess.call(["git", "check-ignore", "-q", str(path)], cwd=ROOT) == 0, path
