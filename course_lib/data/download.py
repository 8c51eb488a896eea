"""Fetching checked files from the first mirror that gives them, one process at a time.

Nothing half-written is ever left under a file's name: a download is written aside, checked, and renamed. What is
already there and right is not fetched again, so an interrupted download goes on where it stopped, file by file.
"""

import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

from .cache import written_aside
from .idx import DataFileError, check_sha256, read_bytes

CONNECT_S, READ_S = 5, 30  # how long a mirror may take to answer, and then between two pieces
WAIT_S = 600  # how long to wait for another notebook that is downloading the same


class DownloadFailed(RuntimeError):
    """No mirror gave the files; the message says what each of them did."""


def download(folder, *, mirrors, sha256, progress=True):
    """Make ``folder`` hold the files named in ``sha256``, fetching those that are missing or damaged.

    Parameters
    ----------
    folder : path, created if missing
    mirrors : sequence of str
        Addresses that ``{name}.gz`` is appended to. One that fails is not asked again; the next one is.
    sha256 : dict of file name (without .gz) -> SHA-256 of its decompressed bytes
    progress : bool, show a bar for each file

    Returns
    -------
    dict of name -> decompressed bytes

    Raises
    ------
    DownloadFailed
        No mirror gave a file that passes its check, or another process holds the lock for too long.
    OSError
        ``folder`` cannot be written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files, failures, asked = {}, [], list(mirrors)
    with _alone_in(folder):
        for left_over in folder.glob(".*.part"):  # of a process that was killed; we hold the lock, so nobody's
            left_over.unlink(missing_ok=True)
        for name, digest in sha256.items():
            path = folder / f"{name}.gz"
            files[name] = _already_right(path, digest)
            while files[name] is None:
                if not asked:
                    raise DownloadFailed("; ".join(failures) or "there is no mirror to ask")
                try:
                    files[name] = _fetch(asked[0], path, digest, progress)
                except _mirror_errors() as error:
                    failures.append(f"{_host(asked.pop(0))}: {_in_short(error)}")
    return files


def any_answers(mirrors, *, within_s=3.0):
    """Whether any mirror answers at all, asked together, within ``within_s`` seconds (names looked up included)."""
    answered = threading.Event()
    waiting = [threading.Thread(target=_ask, args=(mirror, within_s, answered), daemon=True) for mirror in mirrors]
    for thread in waiting:
        thread.start()
    end = time.monotonic() + within_s
    while not answered.wait(0.02) and time.monotonic() < end and any(thread.is_alive() for thread in waiting):
        pass
    return answered.is_set()


def _ask(mirror, within_s, answered):
    import requests

    try:
        requests.head(mirror, timeout=within_s)
        answered.set()
    except requests.RequestException:
        pass


def _alone_in(folder):
    """A lock on ``folder``, held: a context manager. The system frees it if the process dies."""
    import filelock

    lock = filelock.FileLock(folder / ".lock")
    try:
        return lock.acquire(timeout=1)
    except filelock.Timeout:
        print("data: another notebook is downloading the same files; waiting for it.", flush=True)
    try:
        return lock.acquire(timeout=WAIT_S)
    except filelock.Timeout as error:
        held = f"another process has been downloading for {WAIT_S} s (its lock is {lock.lock_file})"
        raise DownloadFailed(held) from error


def _already_right(path, digest):
    try:
        content = read_bytes(path)
        check_sha256(content, digest, path)
        return content
    except (FileNotFoundError, DataFileError):
        return None


def _fetch(mirror, path, digest, progress):
    import pooch
    from tqdm import tqdm  # the plain one: tqdm.auto would put a widget's state into saved notebooks

    # The total is a guess that the answer corrects: a bar with a total of 0 counts as false, and pooch skips those.
    bar = tqdm(total=1, desc=path.name, unit="B", unit_scale=True, disable=not progress)
    get = pooch.HTTPDownloader(progressbar=bar, chunk_size=1 << 16, timeout=(CONNECT_S, READ_S))
    with written_aside(path) as aside, bar:
        get(f"{mirror.rstrip('/')}/{path.name}", aside, None)
        content = read_bytes(aside)
        check_sha256(content, digest, path.name)
    return content


def _mirror_errors():
    import requests  # late: it costs 0.1 s, and most days nothing is downloaded

    return (requests.RequestException, DataFileError)


def _host(mirror):
    return urlsplit(mirror).netloc


def _in_short(error):
    """What went wrong, without the objects' addresses that requests puts into its messages."""
    import requests

    if isinstance(error, requests.HTTPError):
        return f"answered {error.response.status_code}"
    if isinstance(error, requests.Timeout):
        return "too slow"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "broke off in the middle"
    if isinstance(error, requests.ConnectionError):
        return "no connection, or it was lost"
    return str(error)
