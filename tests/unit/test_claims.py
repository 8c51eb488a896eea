"""The claims ledger, notebooks/claims.csv: every number that a lecture takes from a source, and what became of it.

A row's ``how`` says which kind it is:

- ``computed``: a function recomputes it. It gives ``got`` where that is filled, ``value`` where it is not, to the
  digits printed there. A filled ``got`` beside another ``value`` is a place where a source disagrees with its own
  numbers.
- ``measured``: ours stands in ``got``, and in the lecture.
- ``quoted``: too big for here, or not a thing to compute; the lecture says so.

The functions live in claims/lectureNN.py, one file a lecture, in a dict RECOMPUTE = {id: function without arguments}.
A function returns a number (compared with the first in the cell), a tuple (one number for each in the cell, in order),
or text, equal to the letter.
"""

import csv
import re
import runpy
from collections import Counter
from pathlib import Path

import pytest

import course

COLUMNS = ["id", "source", "statement", "value", "how", "lecture", "got"]
ROOT = Path(course.__file__).parent
LEDGER = ROOT / "notebooks" / "claims.csv"
NUMBER = re.compile(r"[-−]?\d+(?:,\d{3})+(?:\.\d+)?|[-−]?\d*\.?\d+(?:e[-+]?\d+)?")
TIMES_TEN_TO = re.compile(r"\s*[·×]\s*10\^\(?([-−+]?\d+)\)?")
BARE_TEN_TO = re.compile(r"(?<![\d.])10\^\(?([-−+]?\d+)\)?")


def read():
    with LEDGER.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def registry():
    """{id: function} of all lectures; an id in two files is an error."""
    found = {}
    for path in sorted(Path(__file__).with_name("claims").glob("lecture*.py")):
        for name, function in runpy.run_path(str(path))["RECOMPUTE"].items():
            assert name not in found, f"{name} is recomputed twice"
            found[name] = function
    return found


def printed_numbers(text):
    """Every number in a cell with half a unit of its last digit: '8.64·10^19' is (8.64e19, 0.005e19)."""
    text = BARE_TEN_TO.sub(r"1e\1", TIMES_TEN_TO.sub(r"e\1", text)).replace("−", "-")
    text = re.sub(r"(?<=\d)-(?=\d)(?<!e-)", " ", text)  # 3-7 is a range, not a negative seven
    numbers = []
    for match in NUMBER.finditer(text):
        digits = match.group().replace(",", "")
        mantissa, _, exponent = digits.partition("e")
        unit = 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
        numbers.append((float(digits), unit / 2))
    return numbers


def agrees(result, text):
    """Whether a recomputed ``result`` is what ``text`` prints, at the printed precision."""
    if isinstance(result, str):
        return result == text
    results = result if isinstance(result, tuple) else (result,)
    printed = printed_numbers(text)
    return len(results) <= len(printed) and (not isinstance(result, tuple) or len(results) == len(printed)) and all(
        abs(ours - value) <= half * (1 + 1e-9) + 1e-12 * abs(value) for ours, (value, half) in zip(results, printed)
    )  # fmt: skip


ROWS, RECOMPUTE = read(), registry()


def test_the_ledger_has_its_columns_and_unique_ids():
    with LEDGER.open(encoding="utf-8", newline="") as file:
        lines = list(csv.reader(file))
    assert lines[0] == COLUMNS
    assert [line for line in lines if len(line) != len(COLUMNS)] == []
    assert [name for name, times in Counter(row["id"] for row in ROWS).items() if times > 1] == []


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["id"])
def test_a_row_is_filled(row):
    empty = [name for name in COLUMNS[:-1] if not row[name].strip()]
    assert not empty
    assert row["how"] in ("computed", "measured", "quoted")
    assert re.fullmatch(r"(0[1-9]|1[0-6])", row["lecture"]), "two digits, as in the notebook's name"
    assert re.fullmatch(row["lecture"] + r"(-[a-z0-9_.]+)+", row["id"]), "the lecture's number, then words with hyphens"
    assert row["how"] != "measured" or row["got"].strip(), "what we measured stands in the column got"


def test_every_computed_row_has_a_function_and_every_function_a_row():
    computed = {row["id"] for row in ROWS if row["how"] == "computed"}
    assert computed - set(RECOMPUTE) == set(), "no function in tests/unit/claims"
    assert set(RECOMPUTE) - computed == set(), "no row in the ledger"


@pytest.mark.parametrize("row", [row for row in ROWS if row["how"] == "computed"], ids=lambda row: row["id"])
def test_a_computed_row_says_what_the_function_gives(row):
    result, text = RECOMPUTE[row["id"]](), row["got"] or row["value"]
    assert agrees(result, text), f"recomputed {result}, and the ledger has {text!r}"


@pytest.mark.parametrize("result, text", [
    (30.0, "30×"), (18.5, "18.5×"), (116.2, "116×"), (27.3, "27×"), (626_155.04, "626,155 lb"), (25.5, "26"),
    ((3.0, 7.2), "3-7 times"), ((3.0, 7.2), "3 to 7"), ((41.28, 140.16), "$41–$140"), (-0.25, "−0.25"), (0.5, ".5"),
    (8.64e19, "8.64·10^19"), (5.96e-8, "6 × 10^-8"), (1e-4, "10^-4"), ("e4m3", "e4m3"),
])  # fmt: skip
def test_agrees_at_the_printed_precision(result, text):
    assert agrees(result, text)


@pytest.mark.parametrize("result, text", [
    (30.6, "30×"), (18.56, "18.5×"), (626_156, "626,155 lb"), (8.66e19, "8.64·10^19"), ((3.0, 7.6), "3-7 times"),
    ((3.0,), "3 to 7"), (6.6e-8, "6 × 10^-8"), (0.25, "−0.25"), ("e4m3", "E4M3"), (1.0, "none"), (float("nan"), "1"),
])  # fmt: skip
def test_sees_what_does_not_agree(result, text):
    assert not agrees(result, text)
