"""Lab 04 from the student's and from the teacher's side.

The exercise is the solution without its answers and runs to its end untouched; nbgrader gives nothing for an untouched
exercise and everything for the solution.
"""

import copy
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import course
import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(course.__file__).parent
LAB = "lab04_mnist_ptq"
SOLUTION = ROOT / "solutions" / LAB / f"{LAB}.ipynb"
EXERCISE = ROOT / "exercises" / LAB / f"{LAB}.ipynb"
POINTS = {"accuracy_with_error": 2, "weight_scales": 3, "quantize": 4, "dequantize": 2, "activation_params": 4,
          "pack_codes": 4, "comparison": 3, "accumulate": 4, "requantize": 4}
TASKS = tuple(POINTS)


def cells_of(path):
    return nbformat.read(path, as_version=4).cells


def graded(path):
    return {cell.metadata.nbgrader.grade_id: cell for cell in cells_of(path) if "nbgrader" in cell.metadata}


def files_in(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*")
            if path.is_file() and ".ipynb_checkpoints" not in path.parts}


@pytest.fixture
def jupyter(tmp_path):
    """The environment of child processes: Jupyter's folders in a temporary place, and on PATH what nbgrader calls."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return {**os.environ, **course.jupyter_env(tmp_path), "PYTHONPATH": str(ROOT), "PATH": path}


def nbgrader(folder, env, *arguments):
    done = subprocess.run([sys.executable, "-m", "nbgrader", *arguments, "--log-level=WARN"], cwd=folder, env=env,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    return done.stdout


def course_folder(tmp_path):
    shutil.copy(ROOT / "nbgrader_config.py", tmp_path)
    shutil.copytree(SOLUTION.parent, tmp_path / "solutions" / LAB, ignore=shutil.ignore_patterns(".*"))
    return tmp_path


def test_solution_has_every_task_with_its_points():
    found = graded(SOLUTION)
    for name in TASKS:
        answer, check = found[name], found[f"check_{name}"]
        assert answer.metadata.nbgrader["solution"] and not answer.metadata.nbgrader["locked"]
        assert "### BEGIN SOLUTION" in answer.source and f"def {name}(" in answer.source
        assert check.source.startswith(f"cl.check.lab04.{name}({name})\n### BEGIN HIDDEN TESTS")
        assert check.metadata.nbgrader["locked"] and check.metadata.nbgrader["points"] == POINTS[name]
    conclusion = found["conclusion"]
    assert conclusion.cell_type == "markdown" and conclusion.metadata.nbgrader["points"] == 10
    assert conclusion.metadata.nbgrader["grade"] and conclusion.metadata.nbgrader["solution"]
    assert len(found) == 2 * len(TASKS) + 1


def test_exercise_holds_no_answer():
    text = EXERCISE.read_text(encoding="utf-8")
    for mark in ("BEGIN SOLUTION", "END SOLUTION", "HIDDEN TESTS", "model conclusion", "seed=10"):
        assert mark not in text
    given, solved = graded(EXERCISE), graded(SOLUTION)
    assert given.keys() == solved.keys()
    for name in TASKS:
        hidden = solved[name].source.split("### BEGIN SOLUTION")[1].split("### END SOLUTION")[0].splitlines()
        assert not [line for line in hidden if line.strip() and line in given[name].source.splitlines()]
        assert "raise NotImplementedError" in given[name].source
        assert given[f"check_{name}"].source.strip() == f"cl.check.lab04.{name}({name})"
    assert "YOUR ANSWER HERE" in given["conclusion"].source
    code = [cell for cell in cells_of(EXERCISE) if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)


def test_exercise_is_generated_from_the_solution(tmp_path, jupyter):
    """To the byte. If this fails: make exercises."""
    folder = course_folder(tmp_path)
    nbgrader(folder, jupyter, "generate_assignment", LAB, "--force", "--no-db")
    made, kept = files_in(folder / "exercises" / LAB), files_in(EXERCISE.parent)
    assert made.keys() == kept.keys()
    assert [name for name in made if made[name] != kept[name]] == []


def test_untouched_exercise_runs_to_its_end(tmp_path, monkeypatch):
    """A cell that waits for an answer says NotImplementedError; no cell stops with anything else."""
    for name, value in course.jupyter_env(tmp_path).items():
        monkeypatch.setenv(name, value)
    notebook = nbformat.read(EXERCISE, as_version=4)
    NotebookClient(notebook, timeout=600, kernel_name="python3", allow_error_names=["NotImplementedError"],
                   resources={"metadata": {"path": str(tmp_path)}}).execute()
    stopped = {}
    for cell in notebook.cells:
        errors = [output for output in cell.get("outputs", []) if output.output_type == "error"]
        stopped[cell.metadata.get("nbgrader", {}).get("grade_id", cell.id)] = [error.ename for error in errors]
        for error in errors:
            assert error.ename == "NotImplementedError"
    assert all(stopped[f"check_{name}"] for name in TASKS)
    speed = [cell for cell in notebook.cells if cell.cell_type == "code" and "twins = variants" in cell.source]
    assert len(speed) == 1 and not stopped[speed[0].id], "the speed measurements need no answer of the student's"


def test_nbgrader_gives_nothing_for_nothing_and_everything_for_the_solution(tmp_path, jupyter):
    folder = course_folder(tmp_path)
    nbgrader(folder, jupyter, "generate_assignment", LAB)
    half = copy.deepcopy(json.loads(SOLUTION.read_text(encoding="utf-8")))
    for cell in half["cells"]:  # a student who got the rounding wrong, and nothing else
        if cell["metadata"].get("nbgrader", {}).get("grade_id") == "quantize":
            text = "".join(cell["source"]).replace("np.rint(x / scale)", "np.floor(x / scale + 0.5)")
            cell["source"] = text.splitlines(keepends=True)
    for student, text in (("untouched", EXERCISE.read_text(encoding="utf-8")),
                          ("solved", SOLUTION.read_text(encoding="utf-8")), ("rounds_up", json.dumps(half))):
        target = folder / "submitted" / student / LAB / f"{LAB}.ipynb"
        target.parent.mkdir(parents=True)
        target.write_text(text, encoding="utf-8")
    nbgrader(folder, jupyter, "autograde", LAB)
    scores = scores_of(folder / "gradebook.db")
    assert scores["untouched"] == {f"check_{name}": 0 for name in TASKS}
    assert scores["solved"] == {f"check_{name}": POINTS[name] for name in TASKS}
    assert scores["rounds_up"] == {f"check_{name}": POINTS[name] * (name != "quantize") for name in TASKS}


def scores_of(gradebook):
    """{student: {grade_id: automatic points}} of the cells that a machine grades."""
    with sqlite3.connect(gradebook) as database:
        rows = database.execute("""
            SELECT submitted_assignment.student_id, base_cell.name, grade.auto_score
            FROM grade
            JOIN base_cell ON base_cell.id = grade.cell_id
            JOIN submitted_notebook ON submitted_notebook.id = grade.notebook_id
            JOIN submitted_assignment ON submitted_assignment.id = submitted_notebook.assignment_id
        """).fetchall()
    database.close()
    scores = {}
    for student, name, points in rows:
        if name != "conclusion":
            scores.setdefault(student, {})[name] = points
    return scores
