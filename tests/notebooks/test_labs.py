"""Every lab, from the student's and from the teacher's side.

The exercise is the solution without its answers, generated and not edited. nbgrader gives nothing for an untouched
exercise, which runs to its end all the same, and everything for the solution. A new lab needs no test of its own here.
"""

import os
import shutil
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import nbformat
import pytest

import course
from course_lib import check

ROOT = Path(course.__file__).parent
LABS = sorted(path.name for path in (ROOT / "solutions").glob("lab*") if (path / f"{path.name}.ipynb").exists())

# A student with one task wrong loses the points of that task and no others: task, a piece of the solution, the mistake.
ONE_WRONG = {
    "lab01_number_formats": ("decode", "max(E, 1) - bias", "E - bias"),
    "lab02_rounding": ("gaps", "np.log2(x)) - m", "np.log2(x)) - m + 1"),
    "lab04_mnist_ptq": ("quantize", "np.rint(x / scale)", "np.floor(x / scale + 0.5)"),
}
# Cells that need no answer of the student's, by a piece of their source.
ALWAYS_RUN = {"lab04_mnist_ptq": ["twins = variants"]}


class Lab(NamedTuple):
    name: str
    solution: Path
    exercise: Path
    tasks: dict  # name -> points of its check, in the order of the notebook
    by_hand: list  # grade ids of the cells that a teacher grades

    @property
    def checks(self):
        return getattr(check, self.name.split("_")[0])


@pytest.fixture(scope="module", params=LABS)
def lab(request):
    return read_lab(request.param)


def read_lab(name):
    solution, exercise = (ROOT / folder / name / f"{name}.ipynb" for folder in ("solutions", "exercises"))
    found = graded(solution)
    points = {grade_id: cell.metadata.nbgrader.get("points", 0) for grade_id, cell in found.items()}
    tasks = {grade_id: points[f"check_{grade_id}"] for grade_id in found if f"check_{grade_id}" in found}
    by_hand = [grade_id for grade_id, cell in found.items() if cell.cell_type == "markdown"]
    return Lab(name, solution, exercise, tasks, by_hand)


def graded(path):
    """{grade_id: cell} of the cells that nbgrader knows, in their order."""
    cells = nbformat.read(path, as_version=4).cells
    return {cell.metadata.nbgrader.grade_id: cell for cell in cells if "nbgrader" in cell.metadata}


def between(text, name):
    """The lines between ### BEGIN name and ### END name."""
    return text.split(f"### BEGIN {name}\n")[1].split(f"### END {name}")[0].splitlines()


def files_in(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*")
            if path.is_file() and ".ipynb_checkpoints" not in path.parts}


# ------------------------------------------------------------------------------------------- as they lie in the folders


def test_every_solution_has_its_exercise():
    made = sorted(path.name for path in (ROOT / "exercises").glob("*") if not path.name.startswith("."))
    assert made == LABS, "make exercises"


def test_solution_has_every_task_with_its_points(lab):
    found = graded(lab.solution)
    assert tuple(getattr(lab.checks, name) for name in lab.tasks) == lab.checks.TASKS
    for name, points in lab.tasks.items():
        answer, checked = found[name], found[f"check_{name}"]
        assert answer.metadata.nbgrader["solution"] and not answer.metadata.nbgrader["locked"]
        assert "### BEGIN SOLUTION" in answer.source and f"def {name}(" in answer.source
        start = f"cl.check.{lab.name.split('_')[0]}.{name}({name})\n### BEGIN HIDDEN TESTS"
        assert checked.source.startswith(start)
        assert checked.metadata.nbgrader["locked"] and checked.metadata.nbgrader["grade"] and points > 0
    assert lab.by_hand, "a lab ends with a conclusion in words"
    for name in lab.by_hand:
        cell = found[name]
        assert cell.metadata.nbgrader["grade"] and cell.metadata.nbgrader["solution"]
        assert cell.metadata.nbgrader["points"] > 0
    assert len(found) == 2 * len(lab.tasks) + len(lab.by_hand)


def test_exercise_holds_no_answer(lab):
    text = lab.exercise.read_text(encoding="utf-8")
    for mark in ("BEGIN SOLUTION", "END SOLUTION", "HIDDEN TESTS", "model conclusion"):
        assert mark not in text
    given, solved = graded(lab.exercise), graded(lab.solution)
    assert given.keys() == solved.keys()
    for name in lab.tasks:
        answer = [line for line in between(solved[name].source, "SOLUTION") if line.strip()]
        assert answer and not set(answer) & set(given[name].source.splitlines())
        assert "raise NotImplementedError" in given[name].source
        checked = given[f"check_{name}"].source
        assert checked.strip() == f"cl.check.{lab.name.split('_')[0]}.{name}({name})"
        assert not [line for line in between(solved[f"check_{name}"].source, "HIDDEN TESTS") if line in checked]
    assert all("YOUR ANSWER HERE" in given[name].source for name in lab.by_hand)
    code = [cell for cell in nbformat.read(lab.exercise, as_version=4).cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)


# -------------------------------------------------------------------------------------------------- as nbgrader sees it


def nbgrader(folder, env, *arguments):
    done = subprocess.run([sys.executable, "-m", "nbgrader", *arguments, "--log-level=WARN"], cwd=folder, env=env,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout


def with_one_mistake(solution, task, right, wrong):
    notebook = nbformat.read(solution, as_version=4)
    cell, = (cell for cell in notebook.cells if cell.metadata.get("nbgrader", {}).get("grade_id") == task)
    assert right in cell.source
    cell.source = cell.source.replace(right, wrong)
    return nbformat.writes(notebook)


def grade(lab, folder):
    """A teacher's folder with this lab alone: generated, handed in by two or three students, and graded."""
    # Jupyter's folders in a temporary place, and on PATH what nbgrader calls
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    env = {**os.environ, **course.jupyter_env(folder), "PYTHONPATH": str(ROOT), "PATH": path}
    shutil.copy(ROOT / "nbgrader_config.py", folder)
    shutil.copytree(lab.solution.parent, folder / "solutions" / lab.name, ignore=shutil.ignore_patterns(".*"))
    nbgrader(folder, env, "generate_assignment", lab.name)
    students = {"untouched": lab.exercise.read_text(encoding="utf-8"),
                "solved": lab.solution.read_text(encoding="utf-8")}
    if lab.name in ONE_WRONG:
        students["one_wrong"] = with_one_mistake(lab.solution, *ONE_WRONG[lab.name])
    for student, text in students.items():
        target = folder / "submitted" / student / lab.name / f"{lab.name}.ipynb"
        target.parent.mkdir(parents=True)
        target.write_text(text, encoding="utf-8")
    nbgrader(folder, env, "autograde", lab.name)
    return folder


@pytest.fixture(scope="module")
def grading(request, tmp_path_factory):
    """{lab: future of its folder}. The selected labs are graded side by side, in processes of their own."""
    selected = {item.callspec.params["lab"] for item in request.session.items
                if "graded_course" in getattr(item, "fixturenames", ())}
    with ThreadPoolExecutor(max(1, min(4, os.cpu_count() or 1))) as pool:
        longest_first = sorted(selected, key=lambda name: (name not in ONE_WRONG, name))
        yield {name: pool.submit(grade, read_lab(name), tmp_path_factory.mktemp(name)) for name in longest_first}


@pytest.fixture
def graded_course(lab, grading):
    return grading[lab.name].result()


def test_exercise_is_generated_from_the_solution(lab, graded_course):
    """To the byte. If this fails: make exercises."""
    made, kept = files_in(graded_course / "exercises" / lab.name), files_in(lab.exercise.parent)
    assert made.keys() == kept.keys()
    assert [name for name in made if made[name] != kept[name]] == []


def test_untouched_exercise_runs_to_its_end(lab, graded_course):
    """A cell that waits for an answer says NotImplementedError; no cell stops with anything else."""
    path = graded_course / "autograded" / "untouched" / lab.name / f"{lab.name}.ipynb"
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in cells)
    stopped = []
    for cell in cells:
        errors = [output for output in cell.outputs if output.output_type == "error"]
        assert [error.ename for error in errors] in ([], ["NotImplementedError"]), cell.source
        stopped += [cell] if errors else []
    names = {cell.metadata.get("nbgrader", {}).get("grade_id") for cell in stopped}
    assert names >= {f"check_{name}" for name in lab.tasks}
    for piece in ALWAYS_RUN.get(lab.name, []):
        found, = (cell for cell in cells if piece in cell.source)
        assert found not in stopped


def test_nothing_for_nothing_and_everything_for_the_solution(lab, graded_course):
    scores = scores_of(graded_course / "gradebook.db", lab.by_hand)
    assert scores["untouched"] == {f"check_{name}": 0 for name in lab.tasks}
    assert scores["solved"] == {f"check_{name}": points for name, points in lab.tasks.items()}
    if lab.name in ONE_WRONG:
        wrong = ONE_WRONG[lab.name][0]
        assert scores["one_wrong"] == {f"check_{name}": points * (name != wrong) for name, points in lab.tasks.items()}


def scores_of(gradebook, by_hand):
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
        if name not in by_hand:
            scores.setdefault(student, {})[name] = points
    return scores
