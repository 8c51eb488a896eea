"""The user's cache folder: where it is, and how to share it and write to it safely."""

import os
import secrets
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import platformdirs

NAME = "compression-course"
_said = set()  # what this process has said about the folder: once is enough


def cache_dir() -> Path:
    """The folder where downloads and trained models are kept (it may not exist yet).

    ``COURSE_CACHE`` if it is set, else the platform's place for caches. Where that is no place (no home folder, or that
    of a user who does not exist), a folder beside the temporary files, and one line says so.
    """
    folder, trouble = _chosen()
    if trouble and trouble not in _said:
        _said.add(trouble)
        print(f"cache: {trouble}; {folder} is used. To keep things longer, set COURSE_CACHE to a folder you can write.")
    return folder


def cache_trouble() -> str:
    """Why the folder that was meant is not the one of ``cache_dir``, or an empty text."""
    return _chosen()[1]


def _chosen():
    chosen = os.environ.get("COURSE_CACHE")
    try:
        if chosen:
            return Path(chosen).expanduser().absolute(), ""
        folder = platformdirs.PlatformDirs(NAME, appauthor=False, opinion=False).user_cache_path
        on_a_mac = Path.home() / "Library" / "Caches" / NAME  # the place before, whatever XDG_CACHE_HOME says
        return (on_a_mac if on_a_mac.is_dir() and not folder.exists() else folder), ""
    except RuntimeError:  # in a container, a user without HOME and without an entry in the list of users
        trouble = "there is no home folder"
        if chosen:
            trouble = f"COURSE_CACHE is {chosen!r}, and there is no such home folder"
    owner = os.getuid() if hasattr(os, "getuid") else "user"
    return Path(tempfile.gettempdir()) / f"{NAME}-{owner}", trouble


@contextmanager
def aside(path: str | Path) -> Iterator[Path]:
    """A new empty file beside ``path``, under a name of its own; what is left of it at the end is removed.

    Creates the folder. The file may be read by whom the umask and the folder say, like any other: caches are shared.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(6)}.part")
    beside.touch(exist_ok=False)  # not tempfile.mkstemp: its files are for one user alone
    try:
        yield beside
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def written_aside(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; on success rename it over ``path``, on any failure remove it.

    A reader sees the old file or the whole new one, never a part. Creates the folder. Raises ``OSError`` where the
    folder cannot be written.
    """
    with aside(path) as beside:
        yield beside
        os.replace(beside, path)


def locked(path: str | Path, timeout: float) -> AbstractContextManager:
    """A lock on the file ``path``, held: a context manager. The system frees it if the process dies.

    Where another user made the file and it cannot be opened, or the disk (of a network, often) knows no locks, but the
    rest of the folder can be written, nothing is held: doing the same work twice does no harm, as all files are written
    aside. Creates the folder.

    Raises
    ------
    filelock.Timeout
        Another process has held it for ``timeout`` seconds.
    OSError
        The folder cannot be written.
    """
    import filelock  # late: most days nothing is locked

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with warnings.catch_warnings(action="ignore"):  # of a disk that knows no locks: a file takes their place
            return filelock.FileLock(path).acquire(timeout=timeout)
    except filelock.Timeout:
        raise
    except (OSError, NotImplementedError):
        with aside(path):  # raises where it is the folder that cannot be written
            return nullcontext()


def locked_after_waiting(path: str | Path, timeout: float, waiting: str) -> AbstractContextManager:
    """``locked``, for what others may be at work on: where the lock is not free at once, ``waiting`` is printed.

    Raises
    ------
    filelock.Timeout, OSError
        As ``locked``.
    """
    import filelock

    try:
        return locked(path, timeout=0)
    except filelock.Timeout:
        print(waiting, flush=True)
    return locked(path, timeout=timeout)
