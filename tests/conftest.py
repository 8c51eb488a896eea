"""What all tests share: settings of hypothesis, and a browser that is asked for must be there."""

import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

import hypothesis
import pytest

# No deadline: the first call of a kernel may compile it. Derandomised: the same examples for everyone, every time.
hypothesis.settings.register_profile("course", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("course")
# What "course.py fuzz" chooses: other examples every time, more of them, and those that once failed first.
hypothesis.settings.register_profile(
    "fuzz", parent=hypothesis.settings.get_profile("default"), deadline=None, max_examples=1000, print_blob=True,
    derandomize=False,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],  # a busy machine is no mistake of ours
)  # fmt: skip
FUZZ_UNTIL = "COURSE_FUZZ_UNTIL"  # the time (of time.time) from which on no property is begun
NOBODY = 65534  # the user whom every system has, and who owns nothing


@pytest.fixture(autouse=True)
def as_many_threads_as_before():
    """A test that sets the number of threads for itself does not set it for those after it."""
    before = _threads_given()
    yield
    if _threads_given() != before:
        sys.modules["course_lib.machine.threads"].set_threads(before)


def _threads_given():
    """What ``set_threads`` was told, or None; nothing is imported for it."""
    threads = sys.modules.get("course_lib.machine.threads")
    return threads.given() if threads else None


@pytest.fixture(scope="session")
def digits():
    """The UCI digits, which are always there."""
    from course_lib import data

    return data.load("digits")


@pytest.fixture(scope="session")
def mnist():
    """MNIST, or a skip that says why not."""
    from course_lib import data

    dataset = data.load()
    if dataset.name != "mnist":
        pytest.skip(f"needs MNIST, and cl.data.load() gave {dataset.name}")
    return dataset


def pytest_collection_modifyitems(config, items):
    """A short fuzz begins with other properties every time: the seed of the round shuffles them."""
    if os.environ.get(FUZZ_UNTIL):
        random.Random(config.getoption("--hypothesis-seed")).shuffle(items)


def pytest_runtest_setup(item):
    if time.time() > float(os.environ.get(FUZZ_UNTIL) or "inf"):
        pytest.skip("the time for fuzzing was over")


def browser_required():
    return os.environ.get("COURSE_REQUIRE_BROWSER", "0") not in ("", "0")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """With COURSE_REQUIRE_BROWSER=1 a browser test that skips is a failure: a test that never ran proves nothing."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and browser_required() and "browser" in item.path.parts:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome, report.longrepr = "failed", f"COURSE_REQUIRE_BROWSER is set, but: {reason}"
    return report


@pytest.fixture
def ordinary_user():
    """A new folder, and within the test a user for whom the rights of files count (for root they do not)."""
    if os.name == "nt":
        pytest.skip("rights of files are those of POSIX here")
    folder = Path(tempfile.mkdtemp())
    if not os.geteuid():
        os.chown(folder, NOBODY, -1)
        os.seteuid(NOBODY)
    try:
        yield folder
    finally:
        if not os.getuid():
            os.seteuid(0)
        folder.chmod(0o700)
        for here, folders, _ in os.walk(folder):
            for one in folders:
                os.chmod(os.path.join(here, one), 0o700)
        shutil.rmtree(folder)
