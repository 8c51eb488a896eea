"""Finding the four MNIST files: $COURSE_DATA, the user's cache, or the network.

Every file is checked against the SHA-256 of its decompressed bytes, compiled in below: what is loaded is MNIST, to the byte.
"""

import os
from pathlib import Path

from .cache import cache_dir
from .idx import DataFileError, check_sha256, read_bytes

SHA256 = {  # of the decompressed bytes, in the order the arrays are handed out
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


class MnistUnavailable(RuntimeError):
    """MNIST is neither on this computer nor to be downloaded now; the message says why and how to get it."""


def read_folder(folder, sha256=SHA256):
    """The four files of ``folder`` (gzip or not), checked, as ``{name: bytes}``; ``None`` if one is missing.

    Raises
    ------
    DataFileError
        A file is damaged, or not the official one.
    """
    paths = {}
    for name in sha256:
        found = [path for path in (Path(folder) / f"{name}.gz", Path(folder) / name) if path.is_file()]
        if not found:
            return None
        paths[name] = found[0]
    files = {}
    for name, path in paths.items():
        files[name] = read_bytes(path)
        check_sha256(files[name], sha256[name], path)
    return files


def find_mnist(*, insist=False):
    """The four files as ``{name: bytes}``, and in words where they came from."""
    if given := os.environ.get("COURSE_DATA"):
        if files := read_folder(Path(given) / "mnist"):
            return files, "COURSE_DATA"
    if files := read_folder(cache_dir() / "mnist"):
        return files, "the cache"
    raise MnistUnavailable("set COURSE_DATA to a folder that holds mnist/")
