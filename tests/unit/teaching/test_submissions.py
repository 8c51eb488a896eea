"""What students hand in: whose it is, and a notebook that nbgrader can read whatever became of its cells."""

import json
import os
from copy import deepcopy
from pathlib import Path

import nbformat
import pytest
from sqlalchemy.engine import make_url

import course
from teaching import grade, grade_one, submissions

ROOT = Path(course.__file__).parent
LAB, OTHER = "lab01_number_formats", "lab02_rounding"
EXERCISES = {lab: ROOT / "exercises" / lab / f"{lab}.ipynb" for lab in (LAB, OTHER)}
RELEASED = nbformat.read(EXERCISES[LAB], as_version=4)
LAB_IDS = {lab: set(submissions.graded_cells(submissions.read(path))) for lab, path in EXERCISES.items()}
CHECKS = [name for name in submissions.graded_cells(RELEASED.cells) if name.startswith("check_")]


def found(folder, *paths, text=None):
    """{student: path} and the remarks, where these files were handed in."""
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text or EXERCISES[LAB].read_text("utf-8"), encoding="utf-8")
    taken, remarks = submissions.find(folder, LAB, LAB_IDS)
    return {one.student: one.path.relative_to(folder).as_posix() for one in taken}, remarks


# ---- whose is what


@pytest.mark.parametrize("paths, students", [
    ([f"anna/{LAB}/{LAB}.ipynb", f"Jörg Müller/{LAB}/{LAB}.ipynb"], ["Jörg Müller", "anna"]),
    (["anna.ipynb", "Müller, Jörg.ipynb"], ["Müller, Jörg", "anna"]),
    (["anna.ipynb"], ["anna"]),
    (["anna/homework.ipynb", "bert/Untitled.ipynb"], ["anna", "bert"]),
    ([f"anna/{LAB}.ipynb"], ["anna"]),
    (["tuesday/anna.ipynb", "tuesday/bert.ipynb"], ["anna", "bert"]),
    (["tue/anna.ipynb", "tue/bert.ipynb", "fri/carl.ipynb", "fri/dora.ipynb"], ["anna", "bert", "carl", "dora"]),
    ([f"smith_12_345_{LAB}-1.ipynb", f"jones_67_890_{LAB}.ipynb"], ["jones_67_890", "smith_12_345"]),
    ([f"Anna M_1_assignsubmission_file_/{LAB}.ipynb", f"Bo_2_assignsubmission_file_/{LAB}.ipynb"],
     ["Anna M_1", "Bo_2"]),
    (["anna lab01.ipynb", "bert_lab01 (1).ipynb"], ["anna", "bert"]),
    (["anna/lab01.ipynb.txt"], ["anna"]),
])  # fmt: skip
def test_the_layouts_of_learning_management_systems(tmp_path, paths, students):
    taken, remarks = found(tmp_path, *paths)
    assert sorted(taken) == students and remarks == []


def test_another_labs_notebook_is_another_labs(tmp_path):
    found(tmp_path, f"anna/{OTHER}/{OTHER}.ipynb", "bert.ipynb", text=EXERCISES[OTHER].read_text("utf-8"))
    assert found(tmp_path, "carl.ipynb") == ({"carl": "carl.ipynb"}, [])


def test_what_is_not_taken_is_said(tmp_path):
    found(tmp_path, "notes.ipynb", text='{"cells": [], "nbformat": 4, "metadata": {}}')
    found(tmp_path, "x.docx", ".ipynb_checkpoints/anna.ipynb", "__MACOSX/anna.ipynb", f"{LAB}.ipynb", text="x")
    if hasattr(os, "symlink") and os.name != "nt":
        (tmp_path / "eve.ipynb").symlink_to(EXERCISES[LAB])
    taken, remarks = found(tmp_path, "anna.ipynb")
    assert taken == {"anna": "anna.ipynb"}
    for piece in ("x.docx", f"{LAB}.ipynb: whose?", "notes.ipynb: no cell of"):
        assert any(piece in remark for remark in remarks)
    assert os.name == "nt" or any("eve.ipynb: a link" in remark for remark in remarks)


def test_of_two_notebooks_of_one_student_one_is_taken_and_the_other_named(tmp_path):
    found(tmp_path, f"anna/{LAB}-Copy1.ipynb", f"anna/{LAB}.ipynb", "bert/old.ipynb", "bert/new.ipynb")
    os.utime(tmp_path / "bert" / "old.ipynb", (1e9, 1e9))
    taken, _ = submissions.find(tmp_path, LAB, LAB_IDS)
    assert [(one.student, one.path.name) for one in taken] == [("anna", f"{LAB}.ipynb"), ("bert", "new.ipynb")]
    assert "Copy1" in taken[0].notes[0] and "old.ipynb" in taken[1].notes[0]


@pytest.mark.parametrize("name, student", [
    ("Jo\u0308rg", "J\u00f6rg"), ("../../etc", "etc"), ("a/b", "a_b"), ("..", ""), ("", ""), ("-rf", "rf"),
    ("=1+1", "1_1"), ("a*?[b]", "a___b"), ("CON", "CON_"), ("nul.txt", "nul.txt_"), ("anna.", "anna"),
    ("x" * 300, "x" * 80),
])  # fmt: skip
def test_a_students_name_is_a_safe_folder_everywhere(name, student):
    assert submissions.student_id(name) == student


# ---- a notebook that nbgrader can read


@pytest.mark.parametrize("content, why", [
    (b"", "empty"), (b'{"cells": [', "no JSON"), (b"[]", "without cells"), (b'{"cells": 3}', "without cells"),
    (b"\xff\xfe\x00", "no UTF-8"), (b"[" * 100_000, "not a notebook"), (b"PK\x03\x04", "no JSON"),
    (b'{"nbformat": 3}', "not a notebook"),
])  # fmt: skip
def test_what_is_no_notebook_is_refused_in_words(tmp_path, content, why):
    (tmp_path / "x.ipynb").write_bytes(content)
    with pytest.raises(submissions.Unreadable, match=why):
        submissions.read(tmp_path / "x.ipynb")


def mended(change):
    cells = json.loads(EXERCISES[LAB].read_text("utf-8"))["cells"]
    for cell in cells:
        cell["source"] = "".join(cell["source"])
        if (cell["metadata"].get("nbgrader") or {}).get("solution"):
            cell["source"] += "\nmy answer"
    cells = change(cells) or cells
    notebook, notes = submissions.mend(cells, RELEASED)
    nbformat.validate(notebook)
    return notebook, notes


def by_name(cells):
    return submissions.graded_cells(cells)


def without(cells, *names):
    return [cell for cell in cells if not by_name([cell]).keys() & set(names)]


def forget(cells, *names):
    for name in names:
        by_name(cells)[name]["metadata"] = {}


def forget_with_id(cells, *names):
    for name in names:
        cell = by_name(cells)[name]
        cell["metadata"], cell["id"] = {}, f"new-{name.replace('_', '-')}"


def forge(cells):
    for name in CHECKS:
        cell = by_name(cells)[name]
        cell["metadata"]["nbgrader"].update(points=99, locked=False, solution=True, schema_version=1)
        cell["metadata"]["tags"], cell["source"], cell["cell_type"] = ["skip-execution"], "pass", "markdown"


def spoil(cells):
    cells.append({"cell_type": "code", "source": "x", "metadata": 3, "id": 7, "outputs": "none"})
    cells.append({"cell_type": "nonsense", "source": "y"})
    mine = {"nbgrader": {"grade_id": "check_of_mine", "grade": True}}
    cells.append({"cell_type": "code", "source": "z", "metadata": mine})


def double(cells):
    cells.append(deepcopy(by_name(cells)["encode"]))
    cells.insert(0, deepcopy(by_name(cells)["check_encode"]))


@pytest.mark.parametrize("change", [
    lambda cells: None, lambda cells: forget(cells, *CHECKS, "conclusion"),
    lambda cells: forget_with_id(cells, *CHECKS), forge, spoil, double, lambda cells: cells.reverse(),
], ids=["untouched", "no marks", "neither marks nor ids", "forged", "spoilt", "doubled", "reversed"])  # fmt: skip
def test_every_graded_cell_is_there_once_as_it_was_released(change):
    notebook, notes = mended(change)
    assert notes == []
    now, then = by_name(notebook.cells), by_name(RELEASED.cells)
    assert now.keys() == then.keys() and sum(bool(by_name([cell])) for cell in notebook.cells) == len(then)
    for name, cell in then.items():
        assert now[name].metadata == cell.metadata and now[name].cell_type == cell.cell_type
        assert now[name].source == cell.source + "\nmy answer" * bool(cell.metadata.nbgrader.solution)
    assert all("tags" not in cell.metadata for cell in notebook.cells)


def test_what_is_gone_is_put_back_below_what_it_checks():
    notebook, notes = mended(lambda cells: without(cells, *CHECKS, "conclusion", "limits"))
    assert notes == [f"gone and put back: {', '.join([*CHECKS, 'conclusion'])}"]
    order = list(by_name(notebook.cells))
    assert order == [name for name in by_name(RELEASED.cells) if name != "limits"]


def test_it_comes_out_the_same_in_every_run():
    """Or who hands in cells without ids, as older programs write them, is graded again each time."""
    cells = [{"cell_type": "code", "source": "x"}, {"cell_type": "code", "source": "y", "id": "cell-0"}] * 2
    assert submissions.mend(cells, RELEASED) == submissions.mend(cells, RELEASED)


def test_a_notebook_written_anew_is_checked_at_its_end():
    notebook, notes = submissions.mend([{"cell_type": "code", "source": "def decode(): ..."}], RELEASED)
    assert list(by_name(notebook.cells)) == [*CHECKS, "conclusion"] and notebook.cells[0].source == "def decode(): ..."


def test_a_copied_answer_does_not_hide_the_one_that_was_written():
    def copy_untouched(cells):
        answer = by_name(cells)["conclusion"]
        cells.append({**deepcopy(answer), "source": by_name(RELEASED.cells)["conclusion"].source, "id": "copy"})

    notebook, _ = mended(copy_untouched)
    assert by_name(notebook.cells)["conclusion"].source.endswith("my answer")


@pytest.mark.parametrize("strange", [
    {"source": "x = '\ud800'"}, {"cell_type": ["code"]}, {"cell_type": "markdown", "attachments": {"a": 5}},
    {"cell_type": "markdown", "attachments": {"a": {"image/png": "\ud800"}, "\udfff": {}}},
], ids=["half a letter", "a list of kinds", "an attachment that is none", "half a letter attached"])  # fmt: skip
def test_a_strange_cell_becomes_one_that_can_be_written(tmp_path, strange):
    cell = {"cell_type": "code", "source": "", "metadata": {}, **strange}
    (tmp_path / "x.ipynb").write_text(json.dumps({"cells": [cell]}), encoding="utf-8")
    notebook, _ = submissions.mend(submissions.read(tmp_path / "x.ipynb"), RELEASED)
    nbformat.validate(notebook)
    assert nbformat.writes(notebook).encode()


def test_a_notebook_that_breaks_what_reads_it_stops_nobody(tmp_path, monkeypatch):
    for student in ("good", "strange"):
        (tmp_path / "in" / student).mkdir(parents=True)
        (tmp_path / "in" / student / f"{LAB}.ipynb").write_text(nbformat.writes(RELEASED), encoding="utf-8")
    course = grade.Course(tmp_path, LAB)
    grade.write(course.released, nbformat.writes(RELEASED).encode())

    def read(path):
        if "strange" in str(path):
            raise RecursionError("too deep")
        return RELEASED.cells

    monkeypatch.setattr(submissions, "read", read)
    notes, refused, _ = grade.collect(course, tmp_path / "in")
    assert notes.keys() == {"good"} and refused == {"strange": "RecursionError: too deep"}


def test_a_time_stamp_says_its_zone(tmp_path):
    (tmp_path / "timestamp.txt").write_text("2024-01-01 10:00:00+02:00")
    assert grade.handed_in_at(tmp_path / "x.ipynb").isoformat() == "2024-01-01T08:00:00+00:00"


def test_the_grade_book_lies_in_its_folder_whatever_the_folders_name(tmp_path):
    folder = tmp_path / "x %41 #1 ?"
    found = make_url(grade_one.course_directory(folder).CourseDirectory.db_url)
    assert found.database == (folder / "gradebook.db").as_posix() and found.query["timeout"]
