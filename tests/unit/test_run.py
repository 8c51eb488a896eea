"""tests/run.py: the numbers that close a run are the numbers of the run."""

import runpy
import shutil
from pathlib import Path

import pytest

RUN = runpy.run_path(str(Path(__file__).parent.parent / "run.py"))

PYTEST_FILE = """
import pytest

def test_good(): pass
def test_bad(): assert 0
def test_skipped(): pytest.skip("no browser here")
@pytest.fixture
def broken(): raise RuntimeError
def test_error(broken): pass
"""


def env(tmp_path):
    return {"IPYTHONDIR": str(tmp_path / "ipython")}


def test_a_phase_counts_and_keeps_the_reasons(tmp_path):
    (tmp_path / "test_some.py").write_text(PYTEST_FILE)
    result = RUN["run_phase"]("some", [str(tmp_path), "-p", "no:cacheprovider"], env(tmp_path))
    assert (result.passed, result.failed, result.skipped) == (1, 2, 1)
    assert result.skip_reasons == ["no browser here"]


@pytest.mark.parametrize("arguments", [["no/such/file.py"], ["--no-such-option"]])
def test_a_phase_that_breaks_before_its_tests_has_failed(tmp_path, arguments):
    assert RUN["run_phase"]("broken", arguments, env(tmp_path)).failed == 1


@pytest.mark.parametrize(("required", "folder", "failed"), [("1", "browser", 3), ("0", "browser", 2), ("1", "unit", 2)])
def test_a_required_browser_turns_a_skip_into_a_failure(tmp_path, monkeypatch, required, folder, failed):
    monkeypatch.setenv("COURSE_REQUIRE_BROWSER", required)
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "test_some.py").write_text(PYTEST_FILE)
    shutil.copy(Path(__file__).parent.parent / "conftest.py", tmp_path)
    result = RUN["run_phase"]("some", [str(tmp_path), "-p", "no:cacheprovider"], env(tmp_path))
    assert (result.passed, result.failed, result.skipped) == (1, failed, 3 - failed)


def test_a_skipped_cell_is_named(tmp_path):
    report = tmp_path / "report.xml"
    report.write_text('<testsuite><testcase classname="a.ipynb"><skipped message="Skipped"/></testcase></testsuite>')
    assert RUN["read_report"](report, "notebooks", 1.0).skip_reasons == ["cell with the tag nbval-skip in a.ipynb"]


def test_a_selection_of_nothing_has_not_failed(tmp_path):
    (tmp_path / "test_some.py").write_text("def test_good(): pass\n")
    result = RUN["run_phase"]("none", [str(tmp_path), "-k", "absent", "-p", "no:cacheprovider"], env(tmp_path))
    assert (result.passed, result.failed, result.skipped) == (0, 0, 0)


def test_summary_ends_with_the_totals_alone_on_their_line():
    result = RUN["Result"]
    lines = RUN["summary"]([result("a", 61, 10, 0, 2, ["why", "why"]), result("b", 2, 3, 1)], 100)
    assert lines[-1] == "13 passed, 1 failed, 2 skipped"
    assert lines[-2] == "total time: 1 min 40 s"
    assert "skipped (2): why" in lines
