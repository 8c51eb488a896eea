"""Long runs: settings in, the rows of a CSV file out, whatever happens in between.

    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "squares.csv"
    >>> rows = run(path, grid(x=[1, 2, 3]), lambda x: {"square": x * x}, progress=False)
    >>> rows == read(path) == [{"x": 1, "square": 1}, {"x": 2, "square": 4}, {"x": 3, "square": 9}]
    True

A finished row is on the disk before the next one counts as finished, in a file beside the table. A run that was
stopped, killed or switched off goes on from there when it is started again, and the table that comes out is the same:
its rows stand in the order of the settings. The table itself appears, or is replaced, when all of it is there.
"""

import csv
import io
import itertools
import os
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, wait
from pathlib import Path

import filelock

from course_lib.data import locked, written_aside

__all__ = ["SweepFailed", "grid", "read", "run"]


class SweepFailed(RuntimeError):
    """A row could not be computed. The message names its setting; the rows that were finished are kept."""


def grid(**values: Iterable) -> list[dict]:
    """Every combination of the values, the last name changing fastest.

        >>> grid(bits=[4, 8], seed=range(2))
        [{'bits': 4, 'seed': 0}, {'bits': 4, 'seed': 1}, {'bits': 8, 'seed': 0}, {'bits': 8, 'seed': 1}]

    Parameters
    ----------
    **values : an iterable a name; an empty one gives no settings

    Returns
    -------
    list of dict
    """
    return [dict(zip(values, combination)) for combination in itertools.product(*values.values())]


def run(
    path: str | Path, settings: Iterable[dict], compute: Callable[..., dict], *, executor: Executor | None = None,
    progress: bool = True,
) -> list[dict]:  # fmt: skip
    """Compute a row for each setting and write them all to ``path``; go on where an earlier run was stopped.

    Finished rows are kept in ``<path>.part`` until the table is whole. They are found again by the setting they belong
    to, so put everything that decides a result into the settings, the number of epochs too. Delete that file after a
    change of ``compute``.

    Parameters
    ----------
    path : str or Path
        The CSV file. One that is there stays until the new one is whole.
    settings : iterable of dict
        All with the same names. Values: str, int, float, bool or None (an empty cell).
    compute : callable(**setting) -> dict
        The results of one row, always with the same names. With processes it must be a function of a module.
    executor : concurrent.futures.Executor, optional
        Runs the rows side by side (a pool of threads or processes, joblib's, Dask's); without one they run here, one
        after the other. It is left open.
    progress : bool
        Show a bar.

    Returns
    -------
    list of dict, as ``read(path)`` gives it

    Raises
    ------
    ValueError
        The settings, or the results, have different names; two settings look the same in the table; a value has a line
        break or is no plain value; the rows kept have other columns.
    SweepFailed
        ``compute`` raised (its error is the cause). What ran beside it is finished and kept first.
    RuntimeError
        Another process is computing the same table.
    """
    path, settings = Path(path), [dict(one) for one in settings]
    names = list(settings[0]) if settings else []
    wanted = {}
    for setting in settings:
        if list(setting) != names:
            raise ValueError(f"settings have the names {names} and {list(setting)}; all should have the same, "
                             "in one order")
        if wanted.setdefault(_key(setting), setting) is not setting:
            raise ValueError(f"settings hold {setting} twice (or values that look the same in a table); "
                             "each should differ")
    lock = Path(f"{path}.lock")
    try:
        held = locked(lock, timeout=0)
    except filelock.Timeout:
        raise RuntimeError(f"{path.name} is being computed by another process; wait for it, or stop it") from None
    try:
        with held, _Rows(Path(f"{path}.part"), names) as rows:
            _compute(rows, [setting for key, setting in wanted.items() if key not in rows.done], len(wanted), compute,
                     executor, progress, path.stem)
            with written_aside(path) as aside, aside.open("w", newline="", encoding="utf-8") as file:
                table = csv.writer(file, lineterminator="\n")
                table.writerow(rows.columns or names)
                table.writerows((*key, *rows.done[key]) for key in wanted)
        rows.path.unlink()
    finally:
        lock.unlink(missing_ok=True)
    return read(path)


def read(path: str | Path, *, text: Iterable[str] = ()) -> list[dict]:
    """The rows of a CSV file.

    Parameters
    ----------
    path : str or Path
    text : names of columns that stay text, where they look like numbers (a version 3.10)

    Returns
    -------
    list of dict; whole numbers are int, other numbers float ("nan" and "inf" too), True and False are bool, an empty
    cell is None, the rest is str
    """
    with Path(path).open(newline="", encoding="utf-8-sig") as file:  # a spreadsheet puts a mark in front
        return [{name: cell if name in text else _value(cell) for name, cell in row.items()}
                for row in csv.DictReader(file)]


class _Rows:
    """The rows finished so far: in memory, and line by line in a file that survives the process."""

    def __init__(self, path, names):
        self.path, self.names, self.columns, self.done = path, names, None, {}
        kept = path.read_bytes() if path.exists() else b""
        kept = kept[: kept.rfind(b"\n") + 1]                     # a killed process may leave half a line
        for line in csv.reader(kept.decode("utf-8").split("\n")[:-1]):
            if self.columns is None:
                self.columns = line
                if line[: len(names)] != names:
                    raise ValueError(f"{path.name} holds rows with the columns {line}, and settings have the names "
                                     f"{names}; delete it to begin again")
            else:
                self.done[tuple(line[: len(names)])] = line[len(names):]
        self._file = path.open("ab")
        self._file.truncate(len(kept))

    def add(self, setting, results):
        if not isinstance(results, dict):
            raise ValueError(f"compute returned a {type(results).__name__}; it should return a dict of results")
        columns = [*self.names, *results]
        if self.columns is None:
            if twice := self.names and set(self.names) & set(results):
                raise ValueError(f"the results repeat the names {sorted(twice)} of the settings; give them others")
            self.columns = columns
            self._write(columns)
        if columns != self.columns:
            raise ValueError(f"the results have the names {list(results)} here and {self.columns[len(self.names):]} in "
                             f"rows finished earlier; they should agree, or delete {self.path.name} to begin again")
        self.done[_key(setting)] = list(_key(results))
        self._write([*_key(setting), *_key(results)])

    def _write(self, cells):
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(cells)
        self._file.write(text.getvalue().encode("utf-8"))
        self._file.flush()
        os.fsync(self._file.fileno())

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._file.close()


def _compute(rows, missing, total, compute, executor, progress, title):
    from tqdm.auto import tqdm

    with tqdm(total=total, initial=total - len(missing), desc=title, unit="row", disable=not progress) as bar:
        if executor is None:
            for setting in missing:
                _finish(rows, setting, lambda setting=setting: compute(**setting))
                bar.update()
            return
        running = {executor.submit(compute, **setting): setting for setting in missing}
        failed = None
        try:
            while running:
                for one in wait(running, return_when=FIRST_COMPLETED).done:
                    setting = running.pop(one)
                    try:
                        _finish(rows, setting, one.result)
                        bar.update()
                    except CancelledError:
                        pass
                    except SweepFailed as error:
                        failed = failed or error
                        for other in running:
                            other.cancel()
        finally:
            for other in running:
                other.cancel()
        if failed:
            raise failed


def _finish(rows, setting, result):
    try:
        results = result()
    except Exception as error:
        said = ", ".join(f"{name}={value!r}" for name, value in setting.items())
        raise SweepFailed(f"the row {said} ended with {type(error).__name__}: {error}") from error
    rows.add(setting, results)


def _key(values):
    """How a dict of plain values looks in the table, cell by cell."""
    return tuple(_cell(name, value) for name, value in values.items())


def _cell(name, value):
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:    # a NumPy number
        value = value.item()
    if not isinstance(value, str | int | float | None):
        raise ValueError(f"{name} is a {type(value).__name__}; a cell of a table should be a str, a number, a bool "
                         "or None")
    text = "" if value is None else str(value)
    if "\n" in text or "\r" in text:
        raise ValueError(f"{name} is {value!r}; a cell should have no line break")
    return text


def _value(cell):
    if cell in ("True", "False"):
        return cell == "True"
    for kind in (int, float) if cell and "_" not in cell else ():
        try:
            return kind(cell)
        except ValueError:
            pass
    return cell or None
