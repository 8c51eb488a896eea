"""Finding the four MNIST files: $COURSE_DATA, the user's cache, or the network.

Every file is checked against the SHA-256 of its decompressed bytes, compiled in below: what is loaded is MNIST, to the
byte. The gzip wrapper is not checked; it differs between mirrors by a time stamp.

Source: LeCun, Cortes and Burges, "The MNIST database of handwritten digits".
"""

import os
import re
import tempfile
import time
from pathlib import Path

from course_lib.data.cache import cache_dir
from course_lib.data.download import DownloadFailed, any_answers, download
from course_lib.data.idx import DataFileError, check_sha256, read_bytes

SHA256 = {  # of the decompressed bytes, in the order the arrays are handed out
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://raw.githubusercontent.com/fgnt/mnist/master/",
)
PLACES = ("mnist", "MNIST", "mnist/raw", "MNIST/raw", "mnist/MNIST/raw", "")  # below COURSE_DATA; raw is torchvision's
REMEMBER_S = 900  # a failed download is not tried again for so long
_refused = {}  # the same in this process, for a cache that cannot be written: {folder: (when, why)}


class MnistUnavailable(RuntimeError):
    """MNIST is neither on this computer nor to be downloaded now; the message says why and how to get it."""


def read_folder(folder, sha256=None):
    """The four files of ``folder`` (gzip or not), checked, as ``{name: bytes}``; ``None`` if one is missing.

    Other archivers' names are taken too: train-images.idx3-ubyte, TRAIN-IMAGES-IDX3-UBYTE.GZ, or a folder of a file's
    name with the file in it.

    Raises
    ------
    DataFileError
        A file is damaged, not the official one, or cannot be read.
    """
    sha256 = sha256 or SHA256
    found = _by_name(folder, sha256)
    if any(name not in found for name in sha256):
        return None
    return {name: _first_right(found[name], digest, sha256) for name, digest in sha256.items()}


def _by_name(folder, names):
    """{official name: [paths that may be it]} of a folder; nothing where there is none."""
    found = {}
    try:
        paths = sorted(Path(folder).iterdir(), key=lambda path: path.suffix.lower() != ".gz")
    except (FileNotFoundError, NotADirectoryError):
        return found
    except OSError as error:
        raise DataFileError(f"{folder} cannot be read ({error.strerror or error})") from error
    for path in paths:
        name = re.sub(r"[._ ]", "-", path.name.lower()).removesuffix("-gz")
        if name in names:
            within = _by_name(path, [name]).get(name) if os.path.isdir(path) else None
            found.setdefault(name, []).extend(within or [path])
    return found


def _first_right(paths, digest, sha256):
    """The content of the first of these files that passes its check; the first one's fault if none does."""
    fault = None
    for path in paths:
        try:
            content = read_bytes(path)
            check_sha256(content, digest, path, sha256)
            return content
        except DataFileError as error:
            fault = fault or error
        except OSError as error:  # another user's, a folder, a link that leads round in a circle
            fault = fault or DataFileError(f"{path} cannot be read ({error.strerror or error})")
    raise fault


def find_mnist(*, insist=False, mirrors=None):
    """The four files as ``{name: bytes}``, and in words where they came from.

    Parameters
    ----------
    insist : bool
        Try the network even where it failed a few minutes ago.
    mirrors : sequence of str, by default ``MIRRORS``

    Raises
    ------
    MnistUnavailable
        They are nowhere to be had.
    DataFileError
        A file below ``$COURSE_DATA`` is damaged or cannot be read: it was put there by hand, so it is not passed over
        in silence.
    """
    aside = ""
    if given := os.environ.get("COURSE_DATA"):
        lacking = []
        for place in PLACES:
            folder = Path(os.path.expanduser(given)) / place
            if files := read_folder(folder):
                return files, "COURSE_DATA"
            lacking.append(SHA256.keys() - _by_name(folder, SHA256).keys())
        fewest = sorted(min(lacking, key=len))
        what = "mnist/ with the four files" if len(fewest) == len(SHA256) else " and ".join(fewest)
        aside = f", and COURSE_DATA is {given!r}, where {what} is not"
    folder = cache_dir() / "mnist"
    try:
        if files := read_folder(folder):
            return files, "the cache"
    except DataFileError as error:
        aside += f", and in the cache {error}"  # the download replaces it
    if os.environ.get("COURSE_OFFLINE", "0") not in ("", "0"):
        raise MnistUnavailable(f"COURSE_OFFLINE forbids a download{aside}")
    if not insist and (why := _refusal(folder)):
        raise MnistUnavailable(why + aside)
    try:
        return _from_network(folder, MIRRORS if mirrors is None else mirrors)
    except DownloadFailed as error:
        _remember(folder, str(error))
        raise MnistUnavailable(f"{error}{aside}") from error


def _from_network(folder, mirrors):
    if not any_answers(mirrors):
        raise DownloadFailed("there is no network")
    try:
        return download(folder, mirrors=mirrors, sha256=SHA256), "the network; it is kept for the next time"
    except OSError as error:
        cannot = f"{error.strerror or error}"
    try:
        with tempfile.TemporaryDirectory() as elsewhere:
            files = download(elsewhere, mirrors=mirrors, sha256=SHA256)
    except OSError as error:
        nowhere = f"neither the cache nor the temporary folder can be written ({error.strerror or error})"
        raise DownloadFailed(nowhere) from error
    return files, f"the network; it could not be kept ({cannot}): set COURSE_CACHE to a folder you can write"


def _refusal(folder):
    """Why the last download failed, if that was a short while ago; else ``None``."""
    when, why = _refused.get(folder, (0.0, None))
    try:
        marker = folder / "failed.txt"
        when, why = marker.stat().st_mtime, marker.read_text(encoding="utf-8")
    except OSError:
        pass
    if why is not None and 0 <= time.time() - when < REMEMBER_S:
        return f"{why} (tried a few minutes ago)"
    return None


def _remember(folder, why):
    _refused[folder] = (time.time(), why)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "failed.txt").write_text(why, encoding="utf-8")
    except OSError:
        pass  # this process remembers; the next one asks again
