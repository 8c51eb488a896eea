"""Benchmarks: every operation of the course against what a user would take instead, and against the machine's limit.

    >>> from course_lib import bench
    >>> bench.find("lenet_300_100 int8, batch 64").shape
    '64×1×28×28'

A row (``course_lib.measure.Row``) is one operation at one size. The families below bring the rows; ``run`` times one,
``table`` sets several side by side. ``make bench`` runs them all.
"""

import importlib
import json
from pathlib import Path

from course_lib.bench.report import GoalResult, RowResult, table

__all__ = ["FAMILIES", "GoalResult", "RowResult", "find", "rows", "run", "saved", "table"]

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results.json"
FAMILIES = ("elementwise", "dense", "bits", "sparse", "codes", "networks")


def rows():
    """All rows, family by family: a list of ``measure.Row``. Nothing is prepared yet."""
    return [row for family in FAMILIES for row in importlib.import_module(f"{__name__}.{family}").rows()]


def find(name):
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


def run(name, *, threads=None, budget_s=6.0):
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
    from course_lib.bench.runner import time_row        # brings PyTorch

    row = find(name) if isinstance(name, str) else name
    return time_row(row, threads=threads, budget_s=budget_s, find=find)


def saved(path=None):
    """What ``make bench`` last wrote: a dict with the rows, the roofs measured beside them, versions and the load.

    Parameters
    ----------
    path : by default ``benchmarks/results.json`` of this copy of the course

    Raises
    ------
    FileNotFoundError
        It has never run here.
    """
    path = RESULTS if path is None else Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path}; `make bench` (or `python course.py bench`) writes it")
    return json.loads(path.read_text(encoding="utf-8"))


def _listed(some):
    return "; ".join(row.name for row in some)
