"""What a deck needs to open without a network: reveal.js, which turns its slides, and MathJax, which sets its formulas.

Both come from their npm packages, once, in the version named here and checked against its digest. The archives are
kept in the course's cache; `npm` fetches them, and nothing else does.
"""

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from course import Problem  # noqa: E402
from course_lib.data import cache_dir  # noqa: E402


class Library(NamedTuple):
    """An npm package, the digest of its archive, and the files of it that a deck loads."""

    name: str
    version: str
    sha512: str
    files: tuple[str, ...]

    @property
    def archive(self):
        """Its file name, as npm gives it."""
        return f"{self.name}-{self.version}.tgz"


REVEAL = Library(
    "reveal.js", "5.2.1",
    "r7//6mIM5p34hFiDMvYfXgyjXqGRta+/psd9YtytsgRlrpRzFv4RbH76TXd2qD+7ZPZEbpBDhdRhJaFgfQ7zNQ==",
    ("dist/reset.css", "dist/reveal.css", "dist/reveal.js", "plugin/notes/notes.js", "LICENSE"),
)  # fmt: skip
MATHJAX = Library(
    "mathjax", "3.2.2",
    "Bt+SSVU8eBG27zChVewOicYs7Xsdt40qm4+UpHyX7k0/O9NliPc+x77k1/FEsPsjKPZGJvtRZM1vO+geW0OhGw==",
    ("es5/tex-svg.js", "LICENSE"),
)  # fmt: skip


def place(folder: Path) -> None:
    """Put the files of both libraries into ``folder``/lib, from the cache or with npm.

    Raises
    ------
    Problem
        A library is not in the cache and npm is missing or fails; an archive is not the one that was tested.
    """
    for library in (REVEAL, MATHJAX):
        target = folder / "lib" / library.name
        if not all((target / name).exists() for name in library.files):
            _unpack(library, _archive(library), target)


def _archive(library):
    kept = cache_dir() / "decks" / library.archive
    if kept.exists() and _digest(kept) == library.sha512:
        return kept
    npm = shutil.which("npm")
    if npm is None:
        raise Problem(
            f"A deck needs {library.name} {library.version}, which npm fetches, and there is no npm: install Node.js "
            f"(it brings npm) and run this again, or copy {library.archive} into {kept.parent}."
        )
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent) as aside:
        command = [npm, "pack", f"{library.name}@{library.version}", "--silent"]
        done = subprocess.run(command, cwd=aside, capture_output=True, text=True)
        made = Path(aside) / library.archive
        if done.returncode or not made.exists():
            said = (done.stderr.strip() or done.stdout.strip() or "it says nothing").splitlines()[-1]
            raise Problem(
                f"npm did not fetch {library.name} {library.version} ({said}): check the network and run this again, "
                f"or copy {library.archive} into {kept.parent}."
            )
        if _digest(made) != library.sha512:
            raise Problem(f"npm fetched a {library.archive} that is not the one this course was tested with.")
        os.replace(made, kept)
    return kept


def _digest(path):
    return base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode("ascii")


def _unpack(library, archive, target):
    with tarfile.open(archive) as packed:
        for name in library.files:
            place = target / name
            place.parent.mkdir(parents=True, exist_ok=True)
            aside = place.with_name(place.name + ".part")
            aside.write_bytes(packed.extractfile(f"package/{name}").read())
            os.replace(aside, place)
