"""A second Python that compiles kernels into the same cache, so that two cores share the first warm-up.

Nothing depends on it: what it has not done, the first one compiles. It halves the time that a new installation waits.
"""

import subprocess
import sys
from pathlib import Path


def start(modules: list[str]) -> subprocess.Popen | None:
    """Import these modules of the room of kernels in a Python of its own, which keeps quiet.

    Parameters
    ----------
    modules : list of str, in the order in which they are to be compiled

    Returns
    -------
    What :func:`stop` takes: the process, or None where there cannot be one.
    """
    # Our own sys.path, not PYTHONPATH: the folder's name may hold the character that separates names there.
    code = f"import importlib, sys\nsys.path[:] = {[str(Path(__file__).parents[2]), *sys.path]!a}\n"
    code += f"for name in {modules}: importlib.import_module('course_lib.kernels.' + name)"
    quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    try:
        return subprocess.Popen([sys.executable, "-c", code], **quiet)
    except OSError:
        return None


def stop(process: subprocess.Popen | None) -> None:
    """End it, wherever it is: a file of the cache is written aside and renamed, so half a one is never left."""
    if process is not None:
        process.kill()
        process.wait()
