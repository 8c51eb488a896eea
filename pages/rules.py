"""The rules for a lecture that a program can check.   python pages/rules.py [02 ...]

A rule is a function from a notebook (a dict, as its file holds it) to its faults in words, by numbers of cells from 0.
What only shows on a slide is in `pages/measure.py`. `tests/notebooks/test_rules.py` holds every lecture to both.
"""

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOTATION = ROOT / "notebooks" / "00_start_here.ipynb"
FEWEST_LETTERS = 30  # of an alternative text
NEAR = 5  # cells from a question to its answer
PICTURES = ("image/png", "image/jpeg", "image/svg+xml")
# Letters that every page may use without a word: what counts, two constants, a differential, expectation, the reals.
EVERYWHERE = {"i", "j", r"\pi", "e", "d", r"\mathbb E", r"\mathbb R"}
# Commands of TeX that are letters of a formula; all others are its structure.
GREEK = ("alpha beta gamma Gamma delta Delta epsilon varepsilon zeta eta theta Theta kappa lambda Lambda mu nu xi Xi "
         "rho sigma Sigma tau phi varphi Phi chi psi Psi omega Omega pi Pi ell").split()
ACCENT = re.compile(r"\\(hat|bar|tilde|vec|mathbb|mathcal|mathbf)\s*\{?\s*(\\[a-zA-Z]+|[A-Za-z])\s*\}?")
TABLES_OF_SYMBOLS = ("**How to read this page.**", "## One notation", "### Words")  # or the tag `symbols`


def source(cell: dict) -> str:
    """The text of a cell."""
    return "".join(cell["source"])


def tags(cell: dict) -> list[str]:
    """The tags of a cell."""
    return cell["metadata"].get("tags", [])


def kind(cell: dict) -> str:
    """What the cell is in a deck: slide, subslide, fragment, skip, notes or -."""
    return cell["metadata"].get("slideshow", {}).get("slide_type", "-")


def pictures(notebook: dict) -> Iterator[tuple[int, str]]:
    """(number of a cell, alternative text) of every picture in the outputs, "" where there is none."""
    for number, cell in enumerate(notebook["cells"]):
        for output in cell.get("outputs", []):
            for mime in set(output.get("data", {})) & set(PICTURES):
                yield number, output.get("metadata", {}).get(mime, {}).get("alt", "").strip()


def pictures_have_words(notebook: dict) -> list[str]:
    """Rule 9: an alternative text on every picture, long enough to say something, no two alike."""
    faults, seen = [], {}
    for number, words in pictures(notebook):
        if len(words) < FEWEST_LETTERS:
            faults.append(f"cell {number}: a picture without words (end its figure with cl.plots.show(fig, alt=...))")
        elif words in seen:
            faults.append(f"cell {number}: the words of its picture are those of cell {seen[words]}")
        seen.setdefault(words, number)
    for number, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] == "markdown":
            images = re.findall(r"!\[([^\]]*)\]\(", source(cell))
            faults += [f"cell {number}: ![{words}] is too short" for words in images if len(words) < FEWEST_LETTERS]
        elif re.search(r"\bplt\.show\(", source(cell)):
            faults.append(f"cell {number}: plt.show() instead of cl.plots.show(fig, alt=...), which asks for a title")
    return faults


def folding_is_real(notebook: dict) -> list[str]:
    """Rule 14: markers are tags; what is tagged as folded is folded; what only draws or asserts is not open."""
    faults = []
    for number, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] != "code":
            continue
        folded = "hide-input" in tags(cell)
        if folded != cell["metadata"].get("jupyter", {}).get("source_hidden", False):
            faults.append(f"cell {number}: tag hide-input and folding do not agree (make execute makes them)")
        lines = [line.strip() for line in source(cell).splitlines()]
        faults += [f"cell {number}: the marker {line} is a comment" for line in lines
                   if re.match(r"#\s*(NBVAL_|nbval-|hide-input)", line)]
        top = [line for line in source(cell).splitlines() if line and not line[0].isspace() and line[0] not in "#)]}"]
        if not folded and kind(cell) not in ("skip", "notes") and top:
            if all(line.startswith(("assert ", "assert(")) for line in top):
                faults.append(f"cell {number}: it only asserts, and is open")
            if all(re.match(r"def (figure|draw)_|@", line) for line in top):
                faults.append(f"cell {number}: it only draws, and is open")
    return faults


def prose(text: str) -> str:
    """Markdown without its code."""
    return re.sub(r"```.*?```|`[^`\n]*`", " ", text, flags=re.DOTALL)


def markdown(notebook: dict) -> Iterator[tuple[int, str]]:
    """(number of a cell, Markdown) of every Markdown cell and of every Markdown that code has made."""
    for number, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] == "markdown":
            yield number, source(cell)
        for output in cell.get("outputs", []):
            if "text/markdown" in output.get("data", {}):
                yield number, "".join(output["data"]["text/markdown"])


FORMULA = re.compile(r"(?<!\\)\$\$(.+?)(?<!\\)\$\$|(?<![\\$])\$(?!\$)([^$]+?)(?<!\\)\$", re.DOTALL)


def formulas(text: str) -> list[str]:
    """What stands between dollars in Markdown."""
    return [block or inline for block, inline in FORMULA.findall(prose(text))]


def escapes_are_there(notebook: dict) -> list[str]:
    """Rule 15: what stands between dollars is a formula, and no price."""
    faults = []
    for number, text in markdown(notebook):
        for formula in formulas(text):
            plain = re.sub(r"\\[a-zA-Z]+\*?\s*\{[^{}]*\}|\\[a-zA-Z]+", " ", formula)
            if re.search(r"[A-Za-z]{4,}", plain) or re.match(r"\s*[\d.,]+ [A-Za-z|]", plain):
                faults.append(f"cell {number}: ${formula[:40]}$ is read as a formula; write \\$ for a dollar")
        if len(re.findall(r"(?<!\\)\$", re.sub(FORMULA, " ", prose(text)))):
            faults.append(f"cell {number}: a dollar without its partner; write \\$ for a dollar")
    return faults


def symbols(formula: str) -> set[str]:
    """The letters that a formula uses: ``q``, ``\\alpha``, ``\\mathbb E``; hats and indices are not looked at."""
    text = re.sub(r"\\(text|operatorname|mathrm|mathsf|texttt|textbf|textit|begin|end)\*?\s*\{[^{}]*\}", " ", formula)
    text = re.sub(r"_\s*(\{(?:[^{}]|\{[^{}]*\})*\}|\\[a-zA-Z]+|.)", " ", text)
    found = {rf"\{accent} {one}" if accent in ("mathbb", "mathcal") else one for accent, one in ACCENT.findall(text)}
    text = ACCENT.sub(" ", text)
    found |= {f"\\{name}" for name in re.findall(r"\\([a-zA-Z]+)", text) if name in GREEK}
    return found | set(re.findall(r"[A-Za-z]", re.sub(r"\\[a-zA-Z]+", " ", text)))


def declared(notebook: dict) -> set[str]:
    """The symbols of a page's tables of symbols."""
    found = set()
    for cell in notebook["cells"]:
        if "symbols" in tags(cell) or any(words in source(cell) for words in TABLES_OF_SYMBOLS):
            found.update(*map(symbols, formulas(source(cell))))
    return found


def symbols_are_known(notebook: dict) -> list[str]:
    """Rule 5: a letter of a formula stands in 00's table, or in the page's own ("How to read this page")."""
    known = EVERYWHERE | declared(notebook) | declared(json.loads(NOTATION.read_text(encoding="utf-8")))
    where = {}
    for number, text in markdown(notebook):
        for formula in formulas(text):
            for one in symbols(formula) - known:
                where.setdefault(one, []).append(number)
    return [f"{one} (cells {', '.join(map(str, sorted(set(cells))))}) is in no table of symbols"
            for one, cells in sorted(where.items())]


def references_are_cited(notebook: dict) -> list[str]:
    """Rule 6: the first author of every reference (else a word of its title in capitals) stands in the text as well."""
    text, listed = [], []
    for number, cell in enumerate(notebook["cells"]):
        before, heading, after = source(cell).partition("# References")
        text.append(before)
        if heading:
            listed += [(number, " ".join(item.split())) for item in re.findall(r"^- ((?:.|\n(?!- |\n))+)", after, re.M)]
    everything, faults = "\n".join(text), []
    for number, item in listed:
        names = cited_as(item)
        if not any(re.search(rf"\b{re.escape(name)}\b", everything) for name in names):
            faults.append(f"cell {number}: {item[:40]}... is not cited: no {' or '.join(names)} in the text")
    return faults


def cited_as(item: str) -> list[str]:
    """The names by which a text may mention a reference: its first author's, or those in capitals and numbers."""
    source_number = re.match(r"\*\*(\d{3})\*\*", item)
    if source_number:
        return [source_number[1]]
    author = re.match(r"(?:[A-Z][\w’']*\.[ -]?)*([^\W\d_][\w’'-]+)(?: et al\.| Lite)?(?=,| and )", item)
    return [author[1]] if author else re.findall(r"\b(?:[A-Z][A-Z-]{2,}|[A-Z]\.\d+|[\w’]{5,})\b", item)[:3]


def questions_are_answered(notebook: dict) -> list[str]:
    """Rule 7: the answer comes on the next fragment or slide, within five cells, no teacher's note before it."""
    cells, faults = notebook["cells"], []
    for number, cell in enumerate(cells):
        asks = cell["cell_type"] == "markdown" and re.search(r"\*\*Predict[^*]*\*\*", source(cell)) is not None
        if asks != ("predict" in tags(cell)):
            faults.append(f"cell {number}: a question has the tag predict, and nothing else has it")
        panel = any(re.match(r"<\w+Panel:", "".join(output.get("data", {}).get("text/plain", "")))
                    for output in cell.get("outputs", []))
        if not asks and not panel:
            continue
        what = "the question" if asks else "the panel's tasks"
        after = cells[number + 1 : number + 1 + NEAR]
        place = next((k for k, one in enumerate(after) if "answer" in tags(one)), None)
        if place is None:
            faults.append(f"cell {number}: no cell tagged answer within {NEAR} cells of {what}")
            continue
        if any(kind(one) == "notes" for one in after[:place]):
            faults.append(f"cell {number}: a teacher's note stands between {what} and the answer")
        if asks and not any(kind(one) in ("slide", "subslide", "fragment") for one in after[: place + 1]):
            faults.append(f"cell {number}: the answer stands beside the question")
        shown = next((one for one in after if kind(one) not in ("skip", "notes")), None)
        if asks and shown is not None and kind(shown) == "-" and shown["cell_type"] == "code" and shown["outputs"]:
            faults.append(f"cell {number}: what comes out of the next cell stands beside the question")
    return faults


def sections_have_pictures(notebook: dict) -> list[str]:
    """Rule 11: at least one picture in each numbered section."""
    shown = {number for number, _ in pictures(notebook)}
    starts = [(number, found[0]) for number, cell in enumerate(notebook["cells"]) if cell["cell_type"] == "markdown"
              and (found := re.findall(r"^## (\d+\. .*)$", source(cell), re.MULTILINE))]
    others = [number for number, cell in enumerate(notebook["cells"]) if re.match(r"## ", source(cell))]
    faults = []
    for start, title in starts:
        end = next((number for number in others if number > start), len(notebook["cells"]))
        if not shown & set(range(start, end)):
            faults.append(f"cell {start}: no picture in the section {title}")
    return faults


RULES: dict[str, Callable[[dict], list[str]]] = {
    "words of pictures": pictures_have_words,
    "folding": folding_is_real,
    "escapes": escapes_are_there,
    "symbols": symbols_are_known,
    "references": references_are_cited,
    "questions": questions_are_answered,
    "pictures": sections_have_pictures,
}


def main(names):
    for name in names or [""]:
        for path in sorted(ROOT.glob(f"notebooks/{name}*.ipynb")):
            notebook = json.loads(path.read_text(encoding="utf-8"))
            for rule, check in RULES.items():
                faults = check(notebook)
                print(f"{path.stem}, {rule}: {len(faults) or 'no'} faults", *faults, sep="\n  ")


if __name__ == "__main__":
    main(sys.argv[1:])
