"""What each notebook costs: the processor time of its kernel, as a property in the JUnit file of the run.

    python -m pytest -p tests.notebook_cpu --junitxml=report.xml notebooks

Seconds of the processor, not of the clock: a busy machine changes them little. Children of the kernel count, those that
have ended too (but on Windows and macOS, where the system keeps no such sum).
"""

import contextlib

import psutil
import pytest

PROPERTY = "notebook_cpu_seconds"


def cpu_seconds(pid):
    """Seconds that the process ``pid`` and all below it have computed so far."""
    process, total = psutil.Process(pid), 0.0
    for one in (process, *process.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended
            times = one.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item, nextitem):
    """After a notebook's last cell, while its kernel is still there."""
    last = nextitem is None or nextitem.parent is not item.parent
    kernel = getattr(item.parent, "kernel", None)  # nbval's file has one; not imported here, which takes 3 s
    if last and kernel is not None:
        seconds = cpu_seconds(kernel.km.provisioner.pid)
        name = item.path.relative_to(item.config.rootpath).as_posix()
        item.user_properties.append((PROPERTY, f"{seconds:.1f} {name}"))
