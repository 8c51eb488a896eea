"""The user's cache folder: where it is, and how to write to it safely."""

import os
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

NAME = "compression-course"


def cache_dir():
    """The folder where downloads and trained models are kept (it may not exist yet).

    ``COURSE_CACHE`` if it is set, else the platform's place for caches.
    """
    if chosen := os.environ.get("COURSE_CACHE"):
        return Path(chosen).expanduser().absolute()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / NAME


@contextmanager
def written_aside(path):
    """Give a temporary path beside ``path``; on success rename it over ``path``, on any failure remove it.

    A reader sees the old file or the whole new one, never a part. Creates the folder. Raises ``OSError`` where the
    folder cannot be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, aside = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    os.close(handle)
    aside = Path(aside)
    try:
        yield aside
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
