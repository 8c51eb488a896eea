"""tests/run.py: the numbers that close a run are the numbers of the run."""

import json
import os
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
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


def env(tmp_path, *plugins):
    """With no pytest plugins but those that are named: they take longer to import than the tests here to run."""
    names = ",".join([*plugins, "xdist.plugin"])
    return {"IPYTHONDIR": str(tmp_path / "ipython"), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_PLUGINS": names}


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


@pytest.mark.parametrize(("arguments", "made"), [
    (["notebooks/05_uniform_quantization.ipynb"], True), (["-x", "solutions"], True), (["work/copy.ipynb"], True),
    (["tests/unit/test_run.py"], False), (["tests/notebooks"], False),
])  # fmt: skip
def test_a_page_is_not_charged_the_compiler(monkeypatch, arguments, made):
    """Kernels and networks are made before a selection with pages, and before no other."""
    order = []
    for name in ("prepare", "run_phase"):
        monkeypatch.setitem(RUN["run_selection"].__globals__, name, lambda *_, name=name: order.append(name))
    assert len(RUN["run_selection"]({}, arguments)) == len(order)
    assert order == ["prepare", "run_phase"][0 if made else 1 :]


def test_summary_ends_with_the_totals_alone_on_their_line():
    result = RUN["Result"]
    lines = RUN["summary"]([result("a", 61, 10, 0, 2, ["why", "why"]), result("b", 2, 3, 1)], 100)
    assert lines[-1] == "13 passed, 1 failed, 2 skipped"
    assert lines[-2] == "total time: 1 min 40 s"
    assert "skipped (2): why" in lines


BURN = """
import subprocess, sys, time
burn = "import time\\nwhile time.process_time() < {}: pass"
subprocess.run([sys.executable, "-c", burn.format(0.4)], check=True)
end = time.process_time() + 0.4
while time.process_time() < end: pass
"""


def test_a_notebook_over_its_processor_time_fails_by_name(tmp_path, monkeypatch):
    """Its kernel computes for 0.4 s, and so does a process that the kernel starts."""
    cells = [nbformat.v4.new_code_cell(source) for source in (BURN, "1 + 1")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "dear one.ipynb")
    options = ["--nbval-lax", "--nbval-current-env", "-p", "no:cacheprovider", "--numprocesses=1", "--dist=loadscope"]
    cheap = RUN["run_phase"]("notebooks", [*options, str(tmp_path)], env(tmp_path, "nbval.plugin"))
    ((seconds, name),) = cheap.cpu
    assert (cheap.passed, cheap.failed, name) == (2, 0, "dear one.ipynb") and seconds >= 0.8
    monkeypatch.setitem(RUN["read_report"].__globals__, "CPU_LIMIT_S", 0.7)
    dear = RUN["read_report"](tmp_path / "report.xml", "notebooks", 1.0)
    lines = RUN["summary"]([dear], 1.0)
    assert dear.failed == 1 and "over 0.7 s of CPU: dear one.ipynb" in lines
    assert f"{seconds:6.1f} s of CPU  dear one.ipynb" in lines


HYPOTHESIS = "_hypothesis_pytestplugin"
PROPERTY = """
from hypothesis import given, strategies

@given(strategies.integers(0, 2**40))
def test_small(x):
    with open({seen!r}, "a") as seen:
        seen.write(f"{{x}} ")
    assert x < {limit}
"""


def planted(folder, limit):
    """A property that holds below ``limit``, and the file to which it writes every example."""
    shutil.copy(Path(__file__).parent.parent / "conftest.py", folder)
    (folder / "test_planted.py").write_text(PROPERTY.format(seen=str(folder / "seen"), limit=limit))
    return [str(folder), "-p", "no:cacheprovider", "--numprocesses=0"], folder / "seen"


def test_fuzzing_shows_the_example_that_fails_and_how_to_repeat_it(tmp_path, capfd):
    arguments, seen = planted(tmp_path, limit=1000)

    def tried(run, *given):
        """The large examples that a run tried; what it had kept of earlier failures was of no use to it."""
        storage = tmp_path / f"storage{len(list(tmp_path.iterdir()))}"
        (result,) = run(env(tmp_path, HYPOTHESIS) | {"HYPOTHESIS_STORAGE_DIRECTORY": str(storage)}, *given)
        assert result.failed == 1 and result.failures[0][1] == "test_small"
        large = {int(x) for x in seen.read_text().split() if int(x) > 2**20}
        seen.unlink()
        return large

    first = tried(RUN["run_fuzz"], 5, arguments)
    said = capfd.readouterr().out
    assert "x=1000," in said and "@reproduce_failure" in said
    repeat = shlex.split(said.split("python course.py test ")[1].splitlines()[0])
    assert first and tried(lambda place: [RUN["run_phase"]("again", repeat, place)]) == first
    assert not tried(RUN["run_fuzz"], 5, arguments) & first, "another round takes other examples"


def test_fuzzing_stops_when_told(tmp_path):
    arguments, _ = planted(tmp_path, limit=2**41)
    result, = RUN["run_fuzz"](env(tmp_path, HYPOTHESIS), 1e-3, arguments)
    assert (result.passed, result.failed, result.skip_reasons) == (0, 0, ["the time for fuzzing was over"])


FALLBACK = """
import json, warnings
warnings.simplefilter("error")
import numpy, torch
from course_lib.machine import simd
found = numpy.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
special = [name for name in ("avx2", "avx512f", "avx512vnni") if simd.has(name)]
print(json.dumps([found, torch.backends.cpu.get_cpu_capability(), special]))
"""


def test_another_processor_has_no_special_instruction(tmp_path):
    """NumPy refuses a name that it does not know, with a warning: here that would be an error."""
    env = os.environ | RUN["another_processor"](tmp_path)
    done = subprocess.run([sys.executable, "-c", FALLBACK], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found, capability, special = json.loads(done.stdout.splitlines()[-1])
    assert (found, special) == ([], []) and capability in ("DEFAULT", "NO AVX")


def test_another_processor_keeps_its_nets_to_itself_and_finds_the_data(tmp_path, monkeypatch):
    monkeypatch.delenv("COURSE_DATA", raising=False)
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "mine"))
    env = RUN["another_processor"](tmp_path / "aside")
    assert Path(env["COURSE_CACHE"]).parent == tmp_path / "aside" and "COURSE_DATA" not in env
    (tmp_path / "mine" / "mnist").mkdir(parents=True)
    assert RUN["another_processor"](tmp_path / "aside")["COURSE_DATA"] == str(tmp_path / "mine")
    monkeypatch.setenv("COURSE_DATA", "elsewhere")
    assert "COURSE_DATA" not in RUN["another_processor"](tmp_path / "aside")
    assert env["COURSE_TRAIN"] == "1"  # what came from another processor would test no training on this one


def test_another_processor_runs_on_one_thread_and_on_two(monkeypatch, capsys):
    seen, rooms = [], RUN["main"].__globals__

    def phase(title, arguments, env):
        seen.append((title, arguments, env["OMP_NUM_THREADS"], env["COURSE_THREADS"], env["NUMBA_CPU_NAME"]))
        return RUN["Result"](title, passed=1)

    monkeypatch.setitem(rooms, "run_phase", phase)
    monkeypatch.setitem(rooms, "run", lambda command, env: 0)
    assert RUN["main"](["another-processor", "-k", "csr"]) == 0
    assert [one[0] for one in seen] == ["generic, 1 thread", "generic, 2 threads"]
    assert [one[2:] for one in seen] == [("1", "1", "generic"), ("2", "2", "generic")]
    for _, arguments, *_ in seen:
        places = [one for one in arguments if one.startswith("tests/")]
        assert len(places) == len(RUN["SUBJECTS"]) and all((RUN["ROOT"] / place).exists() for place in places)
        assert arguments[-2:] == ["-k", "csr"]
    assert capsys.readouterr().out.splitlines()[-1] == "2 passed, 0 failed, 0 skipped"
