"""Run the tests in phases and close with one summary.   python course.py test [another-processor] [pytest's arguments]

Without arguments everything runs; with arguments, what they select. First may stand "fast", the tests of course.py
check; "fuzz" and a number of minutes, the property tests with other examples every time (course.py fuzz); or
"another-processor": the unit tests of products, nets and calibration as a processor without vector instructions would
run them. Runs in .venv-test, which course.py sets up.
"""

import heapq
import os
import platform
import secrets
import shlex
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from course import child_env, duration, jupyter_env, say  # noqa: E402
from tests.notebook_cpu import PROPERTY  # noqa: E402

# loadscope: the cells of a notebook, or the tests of a file, stay together in one worker
PARALLEL = [f"--numprocesses={max(1, min(4, os.cpu_count() or 1))}", "--dist=loadscope"]
PHASES = (
    ("unit and property", ["tests/unit", "tests/property", "course_lib"], PARALLEL),
    ("notebooks and labs", ["notebooks", "solutions"], PARALLEL),
    ("exercises", ["tests/notebooks"], PARALLEL),
    ("browser", ["tests/browser"], []),
)
ANOTHER = "another-processor"
FAST = "fast"
FUZZ = "fuzz"
# what takes a subprocess, a compiler, a training or a second of patience for each test is left to the whole run
FAST_PLACES = (
    *(f"tests/unit/{room}" for room in ("numerics", "coding", "data", "panels", "structured", "teaching")),
    *(f"tests/unit/test_{name}.py" for name in ("energy", "floors", "measure", "pins", "plots", "sweep")),
)
SHOWN = 10  # of the slowest tests
CPU_LIMIT_S = 60  # of a lecture or a lab, with trained networks at hand
SUBJECTS = (
    "products", "nets", "quantized", "ptq", "qat", "mixed", "structured", "test_embeddings.py",
    *(f"numerics/test_{name}.py" for name in ("calibration", "quantizer", "qparams", "clustering", "codebook")),
)  # fmt: skip
# What tests and notebooks share is made once, before them: or two workers would compile the same kernels, and wait for
# each other's training.
PREPARE = """
import course_lib as cl
cl.warm_up()
cl.nets.trained("lenet_300_100", cl.data.load())
"""


@dataclass
class Result:
    """What one phase came to."""

    title: str
    seconds: float = 0.0
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    skip_reasons: list = field(default_factory=list)
    times: list = field(default_factory=list)  # (seconds, name) of each test
    failures: list = field(default_factory=list)  # (module, name) of each test that failed
    cpu: list = field(default_factory=list)  # (seconds, path) of each notebook

    def too_dear(self):
        return [(seconds, path) for seconds, path in self.cpu if seconds > CPU_LIMIT_S]


def read_report(path, title, seconds):
    """The Result in a JUnit file. A notebook over the limit has failed, whatever its cells did."""
    tree = ElementTree.parse(path)
    cases = list(tree.iter("testcase"))
    failed = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    skipped = [(case, case.find("skipped").get("message", "")) for case in cases if case.find("skipped") is not None]
    # nbval gives no reason of its own for a cell with the tag nbval-skip
    unnamed = "cell with the tag nbval-skip in {}"
    reasons = [unnamed.format(case.get("classname")) if why == "Skipped" else why for case, why in skipped]
    times = [(float(case.get("time", 0)), f"{case.get('classname')} {case.get('name')}") for case in cases]
    failures = [(case.get("classname"), case.get("name")) for case in failed]
    passed = len(cases) - len(failed) - len(reasons)
    told = [one.get("value").split(maxsplit=1) for one in tree.iter("property") if one.get("name") == PROPERTY]
    cpu = [(float(took), notebook) for took, notebook in told]
    result = Result(title, seconds, passed, len(failed), len(reasons), reasons, times, failures, cpu)
    result.failed += len(result.too_dear())
    return result


def run(command, env):
    sys.stdout.flush()
    return subprocess.call(command, cwd=ROOT, env=child_env(**env))


def run_phase(title, arguments, env):
    say(f"\n=== {title}")
    began = time.time()
    report = Path(env["IPYTHONDIR"]).parent / "report.xml"
    report.unlink(missing_ok=True)
    options = ["-rs", "-p", "tests.notebook_cpu", f"--junitxml={report}"]
    code = run([sys.executable, "-m", "pytest", *options, *arguments], env)
    seconds = time.time() - began
    result = read_report(report, title, seconds) if report.exists() else Result(title, seconds)
    if code not in (0, 5) and not result.failed:  # 5: nothing was selected
        result.failed = 1  # pytest broke outside a test
    return result


def prepare(env):
    say("\n=== kernels and models")
    began = time.time()
    broken = run([sys.executable, "-c", PREPARE], env)
    return Result("kernels and models", time.time() - began, failed=int(broken != 0))


def run_selection(env, arguments):
    """What the arguments select. Where pages are among it, what they share is made before them, as for the whole run: a
    page is not charged the time of a compiler."""
    pages = any(part.startswith(("notebooks", "solutions")) or part.endswith(".ipynb") for part in arguments)
    return [*([prepare(env)] if pages else []), run_phase("selection", arguments, env)]


def run_everything(env):
    results = [prepare(env)]
    for title, places, options in PHASES:
        places = [place for place in places if (ROOT / place).exists()]
        if places:
            results.append(run_phase(title, options + places, env))
    return results


def another_processor(aside):
    """The environment in which everything that chooses instructions by the processor falls back on the oldest ones.

    Networks are trained there, those that come with the library too, and kept in ``aside``; the compiled kernels stay
    where tests/unit/kernels/test_portable.py has its own.
    """
    import numpy as np

    from course_lib.data import cache_dir

    env = {
        "ATEN_CPU_CAPABILITY": "default",
        "MKL_CBWR": "COMPATIBLE",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        # those that this NumPy has code for and finds here: any other name is an error
        "NPY_DISABLE_CPU_FEATURES": " ".join(np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])),
        "NUMBA_CPU_NAME": "generic",
        "NUMBA_CPU_FEATURES": "",
        "NUMBA_CACHE_DIR": str(ROOT / ".pytest_cache" / "d" / "generic_kernels"),
        "COURSE_CACHE": str(Path(aside) / "cache"),
        "COURSE_TRAIN": "1",  # the networks that come with the library were trained on another processor than this
    }
    if platform.machine().lower() in ("x86_64", "amd64"):
        env["OPENBLAS_CORETYPE"] = "Nehalem"
    if not os.environ.get("COURSE_DATA") and (cache_dir() / "mnist").is_dir():
        env["COURSE_DATA"] = str(cache_dir())
    return env


def run_another_processor(env, arguments, aside):
    env = env | another_processor(aside)
    results = [prepare(env)]
    places = [f"tests/unit/{subject}" for subject in SUBJECTS]
    for threads, options in (("1", PARALLEL), ("2", [])):
        some = env | {"OMP_NUM_THREADS": threads, "COURSE_THREADS": threads}
        title = f"generic, {threads} thread{'s' * (threads != '1')}"
        results.append(run_phase(title, [*options, *places, *arguments], some))
    return results


def run_fuzz(env, minutes, arguments):
    """Rounds of the property tests, each with a seed of its own, until the minutes are over or one has failed."""
    end, results = time.time() + 60 * minutes, []
    given = [str(path.relative_to(ROOT)) for path in sorted(ROOT.glob("tests/**/test_*.py"))
             if "from hypothesis import given" in path.read_text(encoding="utf-8")]  # fmt: skip
    while time.time() < end:
        seed = secrets.randbelow(2**32)
        options = ["-m", "hypothesis", "--hypothesis-profile=fuzz", f"--hypothesis-seed={seed}"]
        title = f"round {len(results) + 1}, seed {seed}"
        chosen = [*PARALLEL[:1], *options, *(arguments or given)]
        results.append(run_phase(title, chosen, env | {"COURSE_FUZZ_UNTIL": str(end)}))
        if results[-1].failed or not results[-1].passed:
            break
    for module, name in results[-1].failures:
        path = str(module).replace(".", "/") + ".py"
        places = [f"{path}::{name}"] if (ROOT / path).exists() else [*arguments, "-k", name]
        command = shlex.join([*places, *options, "--numprocesses=0"])
        say(f"\nTo repeat what failed above:\n  python course.py test {command}")
    return results


def tree_state():
    """What git sees as changed; nothing where there is no git, or no clone."""
    command = ["git", "status", "--porcelain", "--untracked-files=all"]
    try:
        status = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return set()
    return set(status.stdout.splitlines())


def summary(results, seconds):
    """The lines that close a run."""
    lines = ["", "=== summary"]
    for one in results:
        counts = f"{one.passed:4} passed, {one.failed} failed, {one.skipped} skipped"
        lines.append(f"{one.title:20} {counts:38} {duration(one.seconds)}")
    reasons = [reason for one in results for reason in one.skip_reasons]
    lines += [f"skipped ({reasons.count(reason)}): {reason}" for reason in sorted(set(reasons))]
    cpu = sorted((path, took) for result in results for took, path in result.cpu)
    lines += [f"{took:6.1f} s of CPU  {path}" for path, took in cpu]
    too_dear = [path for result in results for _, path in result.too_dear()]
    lines += [f"over {CPU_LIMIT_S} s of CPU: {path}" for path in too_dear]
    slowest = heapq.nlargest(SHOWN, (one for result in results for one in result.times))
    lines += [f"{seconds:6.1f} s  {name}" for seconds, name in slowest if seconds >= 1]
    lines.append(f"total time: {duration(seconds)}")
    passed, failed, skipped = (sum(getattr(one, key) for one in results) for key in ("passed", "failed", "skipped"))
    return [*lines, f"{passed} passed, {failed} failed, {skipped} skipped"]


def main(arguments):
    began = time.time()
    before = tree_state()
    with tempfile.TemporaryDirectory() as aside:
        env = {**jupyter_env(aside), "OMP_NUM_THREADS": "1", "COURSE_THREADS": "1"}  # for each worker
        if arguments[:1] == [FAST]:
            results = [run_phase(FAST, [*PARALLEL, *FAST_PLACES, *arguments[1:]], env)]
        elif arguments[:1] == [FUZZ]:
            results = run_fuzz(env, float(arguments[1]), arguments[2:])
        elif arguments[:1] == [ANOTHER]:
            results = run_another_processor(env, arguments[1:], aside)
        else:
            results = run_selection(env, arguments) if arguments else run_everything(env)
    changed = sorted(tree_state() - before)
    if changed:
        say("\nThe tests changed the tree: " + ", ".join(changed))
        results.append(Result("clean tree", failed=1))
    say("\n".join(summary(results, time.time() - began)))
    return 1 if any(one.failed for one in results) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
