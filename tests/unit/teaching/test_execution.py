"""A notebook is run to its end whatever its cells do, and each cell pays for itself."""

import os

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

import course
from teaching import execution

LIMIT_S = 6


@pytest.fixture(scope="module", autouse=True)
def settings(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        for name, value in course.jupyter_env(tmp_path_factory.mktemp("jupyter")).items():
            patch.setenv(name, value)
        yield


def run(folder, *sources, limit=LIMIT_S):
    """The notebook of these cells after its run, and what was stopped."""
    notebook = new_notebook(cells=[new_markdown_cell("# Title"), *map(new_code_cell, sources)])
    stopped = execution.run(notebook, folder, cell_limit=limit)
    nbformat.validate(notebook)
    return notebook.cells[1:], stopped


def printed(cell):
    return "".join(output.get("text", "") for output in cell.outputs)


def test_errors_stay_where_they_happen(tmp_path):
    cells, stopped = run(tmp_path, "x = 1", "1 / 0", "import sys; sys.exit()", "print(x)", "")
    assert [execution.has_error(cell) for cell in cells] == [False, True, True, False, False]
    assert printed(cells[3]) == "1\n" and stopped == []


@pytest.mark.parametrize("end", [
    "import os; os._exit(1)", "exit()", "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
])  # fmt: skip
def test_a_cell_that_ends_the_kernel_is_left_out(tmp_path, end):
    cells, stopped = run(tmp_path, "x = 1", end, "print(x)")
    assert printed(cells[0]) == "" and printed(cells[2]) == "1\n"
    assert [output.ename for output in cells[1].outputs] == [execution.NO_KERNEL]
    assert stopped == ["cell 3 ended the kernel"]


def test_an_endless_loop_is_interrupted_and_the_rest_goes_on(tmp_path):
    cells, stopped = run(tmp_path, "x = 1", "while True: pass", "print(x)")
    assert execution.OUT_OF_TIME in [output.ename for output in cells[1].outputs]
    assert printed(cells[2]) == "1\n" and stopped == [f"cell 3 was stopped after {LIMIT_S} s"]


@pytest.mark.skipif(os.name == "nt", reason="ignores a POSIX signal")
def test_a_loop_that_cannot_be_interrupted_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(execution, "ANSWER_S", 2)
    monkeypatch.setattr(execution, "LATE_OUTPUT_S", 1)
    deaf = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass"
    cells, stopped = run(tmp_path, "x = 1", deaf, "print(x)")
    assert execution.has_error(cells[1]) and printed(cells[2]) == "1\n"
    assert stopped == [f"cell 3 was stopped after {LIMIT_S} s and would not be interrupted"]


def test_output_without_end_is_cut(tmp_path):
    long, longer = "for i in range(3000): print('x' * 1000)", "print('y' * 10**7); 1 / 0"
    cells, _ = run(tmp_path, long, "print('end')", longer, limit=60)
    assert len(printed(cells[0])) <= execution.LONGEST_OUTPUT and printed(cells[1]) == "end\n"
    assert printed(cells[2]) == "" and execution.has_error(cells[2])


def test_a_notebook_of_nothing_but_deadly_cells_comes_to_an_end(tmp_path, monkeypatch):
    monkeypatch.setattr(execution, "DEADLY_CELLS", 1)
    cells, stopped = run(tmp_path, "exit()", "exit()", "exit()", "print(1)")
    assert all(execution.has_error(cell) for cell in cells) and len(stopped) == 4


def test_what_no_notebook_can_hold_is_not_kept(tmp_path):
    """``run`` above looks whether the notebook is a valid one."""
    show = "from IPython.display import display\ndisplay(%s, raw=True)\nprint('after')"
    cells, stopped = run(tmp_path, show % "{'image/png': 5}", show % "{'text/plain': None}")
    assert [printed(cell) for cell in cells] == ["after\n"] * 2 and stopped == []
