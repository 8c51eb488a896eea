"""Is the course ready to run here? The check on the first page.

Each question has an answer in words; what is wrong comes with what to do about it. Nothing raises: a broken
installation is what this is for.
"""

import importlib
import importlib.metadata
import io
import sys
from contextlib import redirect_stdout
from html import escape
from typing import NamedTuple

from course_lib import data
from course_lib.machine.threads import threads as thread_count

SET_UP = "run `python course.py setup` in the course's folder, then restart the kernel"


class Finding(NamedTuple):
    """One thing looked at: what, what was found, and how to mend it (empty where nothing is wrong)."""

    what: str
    found: str
    fix: str = ""


class Findings(tuple):
    """All findings; a notebook shows them as a list that ends in a green line, or in what to fix."""

    @property
    def ready(self) -> bool:
        return not any(finding.fix for finding in self)

    @property
    def verdict(self) -> str:
        if self.ready:
            return "Everything is ready."
        wrong = sum(bool(finding.fix) for finding in self)
        return f"Not ready yet: {wrong} thing{'s' * (wrong > 1)} to fix, above. Then run this cell again."

    def __repr__(self):
        lines = []
        for one in self:
            lines.append(f"{'✗' if one.fix else '✓'} {one.what}: {one.found}")
            lines += [f"    To fix it: {one.fix}."] * bool(one.fix)
        return "\n".join([*lines, self.verdict])

    def _repr_html_(self):
        lines = []
        for one in self:
            fix = f"<br><b>To fix it:</b> {escape(one.fix)}." if one.fix else ""
            mark = '<span style="color:#B03A00">✗</span>' if one.fix else '<span style="color:#007A55">✓</span>'
            lines.append(f"<div>{mark} <b>{escape(one.what)}</b>: {escape(one.found)}{fix}</div>")
        background = "#007A55" if self.ready else "#B03A00"
        verdict = f'padding:.4em .8em;margin-top:.6em;color:white;font-weight:bold;background:{background}'
        return "".join(lines) + f'<div style="{verdict}">{escape(self.verdict)}</div>'


def check(progress: bool = True) -> Findings:
    """Look at the packages, PyTorch, the data, the kernels and the cache folder.

    Parameters
    ----------
    progress : bool, show a bar while the kernels compile

    Returns
    -------
    Findings, with ``ready`` (bool); it shows itself as the value of a notebook cell
    """
    return Findings([_packages(), _torch(), _data(), _kernels(progress), _cache()])


def _packages():
    """Every package that the course requires, against the range it was pinned to."""
    from packaging.requirements import Requirement

    what = "Packages"
    try:
        required = [Requirement(text) for text in importlib.metadata.requires("course_lib") or ()]
    except importlib.metadata.PackageNotFoundError:
        return Finding(what, f"this Python ({sys.executable}) does not know course_lib", SET_UP)
    wrong, count = [], 0
    for package in required:
        if package.marker is not None and not package.marker.evaluate({"extra": ""}):
            continue
        count += 1
        try:
            version = importlib.metadata.version(package.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{package.name} is missing")
        else:
            if not package.specifier.contains(version, prereleases=True):
                wrong.append(f"{package.name} is {version} and should be {package.specifier}")
    if wrong:
        return Finding(what, "; ".join(wrong), SET_UP)
    return Finding(what, f"{count} of {count} in the versions that the course is pinned to")


def _torch():
    try:
        torch = importlib.import_module("torch")
        value = float(torch.ones(2) @ torch.ones(2))
    except Exception as error:  # a missing system library shows as OSError, a half installation as almost anything
        first = (str(error).strip().splitlines() or [""])[0]
        return Finding("PyTorch", f"does not start ({type(error).__name__}: {first})", SET_UP)
    if value != 2:
        return Finding("PyTorch", f"computes 1 + 1 = {value}", SET_UP)
    return Finding("PyTorch", f"{torch.__version__}")


def _data():
    said = io.StringIO()
    try:
        with redirect_stdout(said):
            dataset = data.load()
    except FileNotFoundError as error:  # of the digits, which a package brings
        return Finding("Data", str(error), SET_UP)
    except (data.MnistUnavailable, OSError, ValueError) as error:
        return Finding("Data", str(error), "give the four official files, or unset COURSE_DATA and COURSE_DATASET")
    found = said.getvalue().strip().removeprefix("data: ")
    if dataset.name == "digits":
        found += " Everything works on them too; only the numbers differ from those printed on the pages."
    return Finding("Data", found)


def _kernels(progress):
    from course_lib.machine.warm_up import load_all

    try:
        thread_count()
    except ValueError as error:
        return Finding("Kernels", str(error), "unset COURSE_THREADS, or set it right, then restart the kernel")
    try:
        done = load_all(progress=progress)
    except Exception as error:
        return Finding("Kernels", f"they do not compile ({type(error).__name__}: {error})", SET_UP)
    found = f"{done.kernels} ready in {done.seconds:.1f} s ({done.compiled} variants compiled, {done.loaded} loaded)"
    if done.repaired:
        found += f"; the compiled code of {len(done.repaired)} was damaged and has been made again"
    if done.uncached:
        lost = f"there is no place to keep {len(done.uncached)} of them"
        lost += f" ({done.why[0]})" if done.why else ""
        place = "set NUMBA_CACHE_DIR to a folder that you can write, or each start compiles again"
        return Finding("Kernels", f"{found}; {lost}", place)
    return Finding("Kernels", found)


def _cache():
    set_it = "set COURSE_CACHE to a folder that you can write"
    folder = data.cache_dir()
    try:
        with data.aside(folder / "writable") as aside:
            aside.write_bytes(b"yes")
    except OSError as error:
        if any(folder.glob("*/*.safetensors")):  # a teacher's, for a class
            return Finding("Cache", f"trained models are read from {folder}; it is read-only, so others are not kept")
        why = f"{folder} cannot be written ({error.strerror or error}), so trained models cannot be kept"
        return Finding("Cache", why, set_it)
    if trouble := data.cache_trouble():
        return Finding("Cache", f"{trouble}; {folder} is used, which may be emptied at any time", set_it)
    return Finding("Cache", "trained models can be kept")
