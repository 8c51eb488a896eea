"""What students handed in: whose it is, and a notebook that nbgrader can read, whatever became of its cells.

Understood are nbgrader's own layout ``<student>/<lab>/<lab>.ipynb``, a folder for each student
(``<student>/anything.ipynb``) and loose files (``<student>.ipynb``, ``<student>_<lab>.ipynb``), as learning-management
systems give them. What is not understood is said.
"""

import itertools
import json
import os
import re
import unicodedata
from collections import defaultdict
from copy import deepcopy
from pathlib import Path
from typing import NamedTuple

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_raw_cell

NOTEBOOK = re.compile(r"\.ipynb(\.txt|\.json)?$", re.IGNORECASE)
COPY = re.compile(r"[ _-]*(-Copy\d+| ?\(\d+\)|copy)$", re.IGNORECASE)  # what Jupyter, browsers and desktops append
MOODLE = re.compile(r"_assignsubmission_file_?")
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # no file of this name on Windows
LONGEST_ID = 80


class Unreadable(Exception):
    """Why a file is no notebook, in words."""


class Submission(NamedTuple):
    student: str
    path: Path
    notes: list  # of str: what a teacher should know


# ---------------------------------------------------------------------------------------------------- whose is what


def find(folder, lab, lab_ids):
    """Every student's notebook of ``lab`` below ``folder``.

    Parameters
    ----------
    folder : Path
    lab : str, such as "lab01_number_formats"
    lab_ids : dict
        {lab: set of the grade ids of its cells}, for every lab of the course: a notebook that was given another name
        is known by its cells.

    Returns
    -------
    submissions : list of Submission, sorted by student
    remarks : list of str
        What was found and not taken, and why.
    """
    taken, remarks, others = [], [], []
    for path in _files(folder):
        shown = path.relative_to(folder).as_posix()
        if not NOTEBOOK.search(path.name):
            others += [] if path.name == "timestamp.txt" else [shown]
        elif path.is_symlink():
            remarks.append(f"{shown}: a link, not followed")
        elif (whose := _lab_of(path, folder, lab, lab_ids)) == lab:
            taken.append(path)
        elif whose is None:
            remarks.append(f"{shown}: no cell of {lab} in it, left alone")
    if others:
        remarks.append(f"no notebooks, left alone: {', '.join(others[:5])}" + (" …" if len(others) > 5 else ""))
    of_student = defaultdict(list)
    for path, name in _names(taken, folder, lab).items():
        student = student_id(name)
        if student:
            of_student[student.casefold()].append((student, path))
        else:
            shown = path.relative_to(folder).as_posix()
            remarks.append(f"{shown}: whose? Put it into a folder with the student's name")
    return sorted(_one_each(of_student.values(), folder, lab)), remarks


def _files(folder):
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__")))
        yield from (Path(place) / name for name in sorted(names) if not name.startswith("."))


def _mention(lab):
    """Matches the lab's name, or its number alone ("lab01"), in the name of a file or folder."""
    number = re.escape(lab.partition("_")[0])
    return re.compile(rf"[ _-]*({re.escape(lab)}|{number}(?![^\W_]))(-\d+\b)?[ _-]*", re.IGNORECASE)


def _stem(path):
    return NOTEBOOK.sub("", path.name)


def _lab_of(path, folder, lab, lab_ids):
    """The lab a notebook belongs to: by the names on its path, else by its cells; None for none."""
    parts = [*path.relative_to(folder).parts[:-1], _stem(path)]
    for one in [lab, *lab_ids]:
        if any(_mention(one).search(part) for part in parts):
            return one
    try:
        cells = read(path)
    except Unreadable:
        return lab  # somebody handed something in: not to be lost without a word
    found = {_grade_id(cell) for cell in cells}
    shares = {one: len(found & ids) / len(ids) for one, ids in lab_ids.items()}
    best = max(shares, key=lambda one: (shares[one], one == lab))
    return best if shares[best] else None


def _names(paths, folder, lab):
    """{path: what the folders and the file's name call the student; "" where they do not}."""
    mention, beside = _mention(lab), defaultdict(list)
    for path in paths:
        above = [part for part in path.relative_to(folder).parts[:-1] if not mention.fullmatch(part)]
        beside[tuple(above)].append(path)
    own = {path: mention.sub("", _bare(path)) for path in paths}

    def for_many(together):
        named_alike = any(mention.search(_stem(path)) for path in together) and len(beside) > 1
        return len(together) > 1 and all(own[path] for path in together) and not named_alike

    # Folders that hold everybody's files (a class, a day), or a folder for each student?
    by_file = all(for_many(together) for above, together in beside.items() if above)
    return {path: own[path] if by_file or not above else above[-1]
            for above, together in beside.items() for path in together}  # fmt: skip


def _bare(path):
    stem = _stem(path)
    while (shorter := COPY.sub("", stem)) != stem:
        stem = shorter
    return stem


def student_id(name):
    """``name`` as the name of a folder on every system, and as a word of nbgrader's; "" where nothing is left of it."""
    name = unicodedata.normalize("NFC", MOODLE.sub("", name))
    name = re.sub(r"[^\w .@'(),-]", "_", name)
    name = re.sub(r"^[\W_]+|[ .,_-]+$", "", name)[:LONGEST_ID].rstrip(" .")
    return f"{name}_" if RESERVED.fullmatch(name) else name


def _one_each(groups, folder, lab):
    """Of several notebooks of one student the one under the lab's own name, else the newest."""
    for group in groups:
        student, best = max(group, key=lambda one: (_stem(one[1]) == lab, one[1].stat().st_mtime, str(one[1])))
        more = [path.relative_to(folder).as_posix() for _, path in group if path != best]
        taken = best.relative_to(folder).as_posix()
        notes = [f"handed in {1 + len(more)} notebooks: {taken} taken, not {', '.join(more)}"] if more else []
        yield Submission(student, best, notes)


# ------------------------------------------------------------------------------------------------ what is handed in


def read(path):
    """The cells of the notebook in a file, as a list of dicts with at least cell_type and source; or Unreadable."""
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
        found = json.loads(text)
        if isinstance(found, dict) and found.get("nbformat") in (1, 2, 3):
            found = nbformat.reads(text, as_version=4)
    except UnicodeDecodeError:
        raise Unreadable("not a notebook: no UTF-8 text") from None
    except json.JSONDecodeError as error:
        what = "the file is empty" if not text.strip() else f"no JSON ({error.msg}, line {error.lineno})"
        raise Unreadable(f"not a notebook: {what}") from None
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror}") from None
    except Exception as error:  # nested too deep, an old notebook that does not convert
        raise Unreadable(f"not a notebook: {type(error).__name__}: {error}") from None
    cells = found.get("cells") if isinstance(found, dict) else None
    if not isinstance(cells, list):
        raise Unreadable("not a notebook: JSON without cells")
    cells = [cell for cell in cells if isinstance(cell, dict) and isinstance(cell.get("source", ""), str | list)]
    return [{**cell, "source": _written("".join(map(str, cell.get("source", ""))))} for cell in cells]


def _written(text):
    """``text`` without halves of letters: JSON can hold them, a file cannot."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _grade_id(cell):
    metadata = cell.get("metadata")
    marks = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    found = marks.get("grade_id") if isinstance(marks, dict) else None
    return found if isinstance(found, str) else None


def graded_cells(cells):
    """{grade id: cell} of the cells that nbgrader knows, in their order."""
    return {name: cell for cell in cells if (name := _grade_id(cell))}


def mend(cells, released):
    """A whole notebook from what a student made of the released one.

    Every cell keeps its source and loses its outputs. The cells that nbgrader knows are found again by grade id, by
    cell id, by their text; they get their marks back, checks their text too, and graded cells that are gone are put
    back in their place. A copy of such a cell is a cell like any other.

    Parameters
    ----------
    cells : list of dict, from ``read``
    released : NotebookNode
        The exercise as nbgrader generates it.

    Returns
    -------
    notebook : NotebookNode
    notes : list of str
        What had to be put back.
    """
    wanted = graded_cells(released.cells)
    claims = sorted((claim for index, cell in enumerate(cells) for claim in _claims(cell, index, wanted)), reverse=True)
    place = {}
    for *_, index, name in claims:
        if name not in place and index not in place.values():
            place[name] = index
    known, used = {index: name for name, index in place.items()}, set()
    made = [_clean(cell, used, wanted.get(known.get(index))) for index, cell in enumerate(cells)]
    missing = [name for name, cell in wanted.items() if name not in place and cell.metadata.nbgrader.grade]
    order = list(wanted)
    for name in reversed(missing):  # before the next cell that is there: what it checks may stand anywhere above
        later = [place[other] for other in order[order.index(name) + 1 :] if other in place]
        place[name] = min(later, default=len(made))
        place = {other: at + (other != name and at >= place[name]) for other, at in place.items()}
        made.insert(place[name], _clean(wanted[name], used, wanted[name]))
    notes = [f"gone and put back: {', '.join(missing)}"] if missing else []
    return new_notebook(cells=made, metadata=deepcopy(released.metadata)), notes


def _claims(cell, index, wanted):
    """What this cell may be, as (it counts, how sure, index, grade id): the greatest claim on a grade id has it."""
    for name, original in wanted.items():
        by_name, by_id = _grade_id(cell) == name, cell.get("id") == original.id
        by_text = original.metadata.nbgrader.locked and cell["source"].strip() == original.source.strip()
        if by_name or by_id or by_text:
            counts = original.metadata.nbgrader.locked or cell["source"].strip() != original.source.strip()
            yield counts, 4 * by_name + 2 * by_id + by_text, index, name


def _are_pictures(files):
    """Whether these are files by their kind, {"image/png": base64}, as nbformat has them."""
    given = [one for pair in files.items() for one in pair] if isinstance(files, dict) else [None]
    return all(isinstance(one, str) and one.isascii() for one in given)


def _clean(cell, used, original=None):
    kind, source = cell.get("cell_type"), cell["source"]
    if original is not None:
        kind = original.cell_type
        source = original.source if original.metadata.nbgrader.locked else source
    made = {"code": new_code_cell, "raw": new_raw_cell}.get(str(kind), new_markdown_cell)(source)
    if original is not None:
        made.metadata = deepcopy(original.metadata)
    attachments = cell.get("attachments")
    if kind == "markdown" and isinstance(attachments, dict):
        made.attachments = {_written(name): files for name, files in attachments.items() if _are_pictures(files)}
    wish = original.id if original is not None else cell.get("id")
    if not isinstance(wish, str) or not re.fullmatch(r"[\w-]{1,64}", wish, re.ASCII) or wish in used:
        wish = next(name for at in itertools.count() if (name := f"cell-{at}") not in used)  # the same in every run
    made.id = wish
    used.add(wish)
    return made
