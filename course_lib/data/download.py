"""Fetching checked files from the first mirror that gives them, one process at a time.

Nothing half-written is ever left under a file's name: a download is written aside, checked, and renamed. What is
already there and right is not fetched again, so an interrupted download goes on where it stopped, file by file.
"""

import re
import threading
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from course_lib.data.cache import locked_after_waiting, written_aside
from course_lib.data.idx import DataFileError, check_sha256, read_bytes

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
    with _alone_in(folder) as held:
        for left_over in folder.glob(".*.part") if held else ():  # of a process that was killed: nobody's any more
            with suppress(OSError):
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
    """Whether there is a network: any mirror, asked together, answers within ``within_s`` seconds (names looked up
    included), or is kept from us by something that does, a proxy or a certificate that is refused."""
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
    except (requests.ConnectionError, requests.Timeout) as error:
        if isinstance(error, (requests.exceptions.SSLError, requests.exceptions.ProxyError)):
            answered.set()
    except Exception:  # settings that are nonsense: the download will say which
        answered.set()


def _alone_in(folder):
    """A lock on ``folder``, held: a context manager. The system frees it if the process dies."""
    import filelock

    lock = folder / ".lock"
    try:
        return locked_after_waiting(lock, WAIT_S,
                                    "data: another notebook is downloading the same files; waiting for it.")
    except filelock.Timeout as error:
        held = f"another process has been downloading for {WAIT_S} s (its lock is {lock})"
        raise DownloadFailed(held) from error


def _already_right(path, digest):
    try:
        content = read_bytes(path)
        check_sha256(content, digest, path)
        return content
    except (OSError, DataFileError):  # missing, damaged, or another user's that we cannot read
        return None


def _fetch(mirror, path, digest, progress):
    import pooch
    from tqdm import tqdm  # the plain one: tqdm.auto would put a widget's state into saved notebooks

    # The total is a guess that the answer corrects: a bar with a total of 0 counts as false, and pooch skips those.
    bar = tqdm(total=1, desc=path.name, unit="B", unit_scale=True, disable=not progress)
    get = pooch.HTTPDownloader(progressbar=bar, chunk_size=1 << 16, timeout=(CONNECT_S, READ_S))
    with written_aside(path) as aside, bar:
        try:
            get(f"{mirror.rstrip('/')}/{path.name}", aside, None)
        except OSError as error:
            if error.errno is None and "CA certificate" in str(error):  # not of the disk: of the settings of requests
                raise DataFileError(f"{error}; correct or unset REQUESTS_CA_BUNDLE") from error
            raise
        content = read_bytes(aside)
        if content.lstrip()[:1] == b"<":
            raise DataFileError("sent a web page instead of the file; open any page in a browser: the network may "
                                "want you to sign in")  # fmt: skip
        check_sha256(content, digest, path.name)
    return content


def _mirror_errors():
    import requests  # late: it costs 0.1 s, and most days nothing is downloaded
    from urllib3.exceptions import HTTPError, LocationValueError

    return (requests.RequestException, HTTPError, LocationValueError, ValueError)  # DataFileError is one


def _host(mirror):
    return urlsplit(mirror).netloc


def _in_short(error):
    """What went wrong and what to do, without the objects' addresses that requests puts into its messages."""
    import requests
    from requests import exceptions

    if isinstance(error, requests.HTTPError):
        return f"answered {error.response.status_code}, {_meaning(error.response.status_code)}"
    if isinstance(error, exceptions.SSLError):
        why = re.search(r"certificate verify failed: ([^(\]]+)", str(error))
        why = why.group(1).strip() if why else "no secure connection"
        return (f"its certificate was refused ({why}); set the clock right, or name your network's certificates in "
                "REQUESTS_CA_BUNDLE")  # fmt: skip
    if isinstance(error, exceptions.ProxyError):
        why = re.search(r"Tunnel connection failed: ([^'\")]+)", str(error))
        said = f"said {why.group(1)}" if why else "cannot be reached"
        return f"the proxy {_proxy()} {said}; correct or unset HTTPS_PROXY (a password goes into it too)"
    if isinstance(error, requests.Timeout) or "Read timed out" in str(error):  # between two pieces it has another class
        return "too slow; try again later"
    if isinstance(error, exceptions.TooManyRedirects):
        return "led round in a circle; the network may want you to sign in"
    if isinstance(error, exceptions.ChunkedEncodingError):
        return "broke off in the middle; try again"
    if isinstance(error, requests.ConnectionError):
        return "no connection, or it was lost"
    if not isinstance(error, DataFileError) and _proxy():
        return f"the proxy {_proxy()} is no address that can be used; correct or unset HTTPS_PROXY"
    return str(error) or type(error).__name__


def _meaning(status):
    if status in (401, 403):
        return "it does not let you in"
    if status in (404, 410):
        return "it no longer has the file"
    if status == 407:
        return "the proxy wants a user name and a password: write them into HTTPS_PROXY"
    return "it is busy or broken; try again later" if status == 429 or status >= 500 else "which means no"


def _proxy():
    """The proxy of this computer's settings, without a password that it may hold."""
    address = next((url for kind, url in urllib.request.getproxies().items() if kind in ("https", "all", "http")), "")
    return address.rpartition("@")[2]
