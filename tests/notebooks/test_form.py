"""Notebooks are saved as the course promises: run from top to bottom, readable without a kernel, ready for slides."""

import copy
import json
import re
from pathlib import Path

import nbformat
import pytest

import course

ROOT = Path(course.__file__).parent
LECTURES = sorted(ROOT.glob("notebooks/*.ipynb"))
NOTEBOOKS = LECTURES + sorted(ROOT.glob("solutions/*/*.ipynb"))
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:home|root|tmp|work|Users|private)/[\w.-]|[A-Z]:\\Users")


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def code_cells(path):
    return [cell for cell in read(path)["cells"] if cell["cell_type"] == "code"]


def source(cell):
    return "".join(cell["source"])


each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
each_lecture = pytest.mark.parametrize("path", LECTURES, ids=lambda path: path.stem)


@each_notebook
def test_is_valid_and_tidy(path):
    nbformat.validate(nbformat.read(path, as_version=4))
    notebook = read(path)
    assert course.tidy(copy.deepcopy(notebook)) == notebook, f"save it with: python course.py execute {path.name}"


@each_notebook
def test_was_run_from_top_to_bottom_without_an_error(path):
    cells = [cell for cell in code_cells(path) if source(cell).strip()]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert not [output for cell in cells for output in cell["outputs"] if output["output_type"] == "error"]


@each_notebook
def test_names_no_folder_of_the_machine_it_ran_on(path):
    found = MACHINE_PATH.search(path.read_text(encoding="utf-8"))
    assert not found, f"... {found.string[found.start() - 40 : found.end() + 40]} ..."


@each_notebook
def test_imports_the_library_once_and_as_cl(path):
    lines = [line.strip() for cell in code_cells(path) for line in source(cell).splitlines()]
    imports = [line for line in lines if re.match(r"(import|from)\s+course_lib", line)]
    assert imports == ["import course_lib as cl"]


@each_lecture
def test_is_a_deck_of_slides(path):
    kinds = [cell["metadata"].get("slideshow", {}).get("slide_type") for cell in read(path)["cells"]]
    assert kinds[0] == "slide" and kinds.count("slide") > 1
    assert set(kinds) <= {None, "slide", "subslide", "fragment", "skip", "notes", "-"}
