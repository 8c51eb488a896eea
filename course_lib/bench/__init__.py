"""Benchmarks: every operation of the course against what a user would take instead, and against the machine's limit.

    >>> from course_lib import bench
    >>> bench.find("lenet_300_100 int8, batch 64").shape
    '64×1×28×28'

A row (``course_lib.measure.Row``) is one operation at one size. The families below bring the rows; ``run`` times one,
``summary`` sets several side by side. ``make bench`` runs them all, and keeps one file of results for each processor.
"""

import importlib
import json
from pathlib import Path

from course_lib.bench import processor
from course_lib.bench.report import GoalResult, RowResult, summary
from course_lib.measure import Row

__all__ = ["FAMILIES", "GoalResult", "RowResult", "find", "measured_on", "rows", "run", "saved", "summary"]

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"             # a file for each kind of processor
FAMILIES = ("elementwise", "dense", "bits", "sparse", "codes", "networks")


def rows() -> list[Row]:
    """All rows, family by family: a list of ``measure.Row``. Nothing is prepared yet."""
    return [row for family in FAMILIES for row in importlib.import_module(f"{__name__}.{family}").rows()]


def find(name: str) -> Row:
    """The row of this name, or the only one whose name contains it, small and capital letters alike.

    Raises
    ------
    LookupError
        No row, or more than one: the message names them.
    """
    known = rows()
    for row in known:
        if row.name == name:
            return row
    found = [row for row in known if name.casefold() in row.name.casefold()]
    if len(found) == 1:
        return found[0]
    if found:
        raise LookupError(f"{name!r} is part of {len(found)} names: {_listed(found)}; say which")
    raise LookupError(f"no row is called {name!r}; the rows are {_listed(known)}")


def run(name: str | Row, *, threads: int | None = None, budget_s: float = 6.0) -> RowResult:
    """Time one row: ours, every peer and the limit in one loop, on the same arrays, with the same number of threads.

    Parameters
    ----------
    name : str, as in ``find``; or a ``measure.Row``
    threads : int, by default what ``cl.threads()`` says; PyTorch and the others get as many
    budget_s : float, seconds for timing, after the row has been prepared

    Returns
    -------
    RowResult
        Shows itself as a small table in a notebook.
    """
    from course_lib.bench.runner import time_row  # brings PyTorch

    row = find(name) if isinstance(name, str) else name
    return time_row(row, threads=threads, budget_s=budget_s, find=find)


def saved(path: str | Path | None = None) -> dict:
    """What ``make bench`` wrote: a dict with the rows, the roofs measured beside them, the processor,
    versions and load.

    Parameters
    ----------
    path : by default the file of this kind of processor in ``benchmarks/results``, or the newest of another kind where
        there is none; ``measured_on`` says which

    Raises
    ------
    FileNotFoundError
        It has never run here.
    """
    if path is not None:
        paths = [Path(path)]
    else:
        own = RESULTS / f"{processor.this().slug}.json"
        paths = [own] if own.is_file() else sorted(RESULTS.glob("*.json"))
    found = [json.loads(one.read_text(encoding="utf-8")) for one in paths if one.is_file()]
    if not found:
        raise FileNotFoundError(f"there is no {paths[0] if paths else own}; `make bench` (or `python course.py bench`) "
                                "writes it")
    return max(found, key=lambda results: results["date"])


def measured_on(results: dict) -> str:
    """A sentence on when and on what ``results``, from ``saved``, were measured,
    and whether this processor is alike."""
    there, here = results["machine"], processor.this()
    threads = f"{results['threads']} thread{'s' * (results['threads'] > 1)}"
    sentence = f"Measured on {results['date']} with {threads} on: {there['name']}."
    if processor.Processor(there["model"], tuple(there["features"])).slug == here.slug:
        return f"{sentence} Your processor is of the same kind."
    return f"{sentence} Yours is another kind, {here.name}: `make bench` measures it."


def _listed(some):
    return "; ".join(row.name for row in some)
