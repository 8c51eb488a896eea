"""Every lecture keeps the rules that a program can check, and the checks see what they should."""

import copy
import json
import subprocess
import tempfile
from html.parser import HTMLParser
from pathlib import Path

import pytest

import course
from pages import export, measure, rules

ROOT = Path(course.__file__).parent
LECTURES = sorted(ROOT.glob("notebooks/[0-9]*.ipynb"))
SEVERAL = [path for path in LECTURES if not path.stem.startswith("00")]
FOR_ALL = ("words of pictures", "folding", "escapes")  # rules that 00 and its kind keep too


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def keeps(path, rule, faults):
    assert not faults, f"{path.stem}, {rule}:\n  " + "\n  ".join(faults)


CASES = [(path, rule) for rule in rules.RULES for path in (LECTURES if rule in FOR_ALL else SEVERAL)]


@pytest.mark.parametrize("path, rule", CASES, ids=[f"{path.stem}-{rule}" for path, rule in CASES])
def test_a_lecture_keeps_the_rule(path, rule):
    keeps(path, rule, rules.RULES[rule](read(path)))


def test_a_reader_who_wants_to_be_surprised_is_told_how():
    assert "make start LECTURE=" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert "make start LECTURE=" in rules.NOTATION.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", LECTURES, ids=lambda path: path.stem)
def test_lines_are_short_enough_for_the_last_row(path):
    """Of code and of output, on slides; what is folded or skipped may be longer."""
    notebook = read(path)
    cells, found = notebook["cells"], measure.lines_too_long(notebook)
    on_slides = [number for number in sorted(found) if rules.kind(cells[number]) not in ("skip", "notes")]
    keeps(path, "lines", [f"cell {number}: {fault}" for number in on_slides for fault in found[number]])


# ---------------------------------------------------------------------------------------------- as pages and as decks


class Images(HTMLParser):
    """The alternative texts of the pictures of a page, in their order."""

    def __init__(self, text):
        super().__init__()
        self.words = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        if tag == "img":
            self.words.append(dict(attributes).get("alt", ""))


@pytest.fixture(scope="module")
def exported():
    """{(kind, lecture): text} of every lecture as a page and as a deck, made by the students' environment."""
    if not course.is_set_up(course.VENV):
        pytest.skip("the students' environment is not set up: pages are made elsewhere")
    made = {}
    with tempfile.TemporaryDirectory() as aside:
        env = course.child_env(**course.jupyter_env(aside))
        python = str(course.python_of(course.VENV))
        code = ("import sys; from pathlib import Path; from pages import export\n"
                "for kind in ('html', 'slides'):\n for one in map(Path, sys.argv[2:]):\n"
                "  Path(sys.argv[1], one.stem + '.' + kind).write_text(export.export(kind, one), encoding='utf-8')")
        done = subprocess.run([python, "-c", code, aside, *map(str, LECTURES)], cwd=ROOT, env=env, capture_output=True,
                              text=True)
        assert done.returncode == 0, done.stderr
        for path in LECTURES:
            for kind in ("html", "slides"):
                made[kind, path.stem] = Path(aside, f"{path.stem}.{kind}").read_text(encoding="utf-8")
    return made


@pytest.mark.parametrize("path", LECTURES, ids=lambda path: path.stem)
def test_page_and_deck_carry_the_words_of_every_picture(path, exported):
    notebook = read(path)
    words = [" ".join(words.split()) for _, words in rules.pictures(notebook)]
    slides = [number for number, cell in enumerate(notebook["cells"]) if rules.kind(cell) != "skip"]
    shown = [" ".join(words.split()) for number, words in rules.pictures(notebook) if number in slides]
    assert Images(exported["html", path.stem]).words == words
    assert Images(exported["slides", path.stem]).words == shown


@pytest.mark.parametrize("path", LECTURES, ids=lambda path: path.stem)
def test_folded_code_is_folded_on_the_page_and_left_out_of_the_deck(path, exported):
    folded = [cell for cell in read(path)["cells"] if "hide-input" in rules.tags(cell)]
    assert exported["html", path.stem].count('<details class="folded">') == len(folded)
    assert '<details class="folded">' not in exported["slides", path.stem]


@pytest.mark.parametrize("text, hidden", [
    (r"from \$5 to \$7", "from K5 to K7"),
    (r"| \$5 | $x$ | \$7 |", "| K5 | $x$ | K7 |"),
    (r"`\$5` and $\$ x$ and $$\$\alpha$$, \$", r"`\$5` and $\$ x$ and $$\$\alpha$$, K"),
    ("```\n\\$5\n```", "```\n\\$5\n```"),
])
def test_an_escaped_dollar_is_no_formula_on_a_page(text, hidden):
    assert export.hide_dollars(text) == hidden.replace("K", export.KEPT)


def test_a_hidden_dollar_comes_back_in_text_and_not_in_attributes():
    page = f"<h1 id='a-{export.KEPT}5'>a {export.KEPT}5</h1>"
    assert export.show_dollars(page) == "<h1 id='a-5'>a <span class=\"tex2jax_ignore\">$</span>5</h1>"


@pytest.mark.parametrize("path", LECTURES, ids=lambda path: path.stem)
def test_a_deck_names_no_address_that_it_loads(path, exported):
    for tag in ("script", "link", "img", "iframe"):
        for piece in exported["slides", path.stem].split(f"<{tag} ")[1:]:
            assert "://" not in piece.split(">")[0].replace("data:image", ""), piece[:200]


# ------------------------------------------------------------------------------------ the checks see what they should


def markdown(text, slide="slide", *marks):
    return {"cell_type": "markdown", "metadata": {"slideshow": {"slide_type": slide}, "tags": [*marks]}, "source": text}


def code(text="", slide="fragment", *marks, out=(), **metadata):
    tags = {"slideshow": {"slide_type": slide}, "tags": list(marks), **metadata}
    return {"cell_type": "code", "metadata": tags, "source": text, "outputs": list(out)}


def shown(alt, mime="image/png"):
    return {"output_type": "display_data", "data": {mime: "..."}, "metadata": {mime: {"alt": alt}} if alt else {}}


WORDS = "A line that rises from zero to one and then falls"
PANEL = {"output_type": "execute_result", "data": {"text/plain": "<ToyPanel: a line>"}, "metadata": {}}
QUESTION = markdown("> **Predict.** What?", "slide", "predict")
ANSWER = markdown("**Notice.** That.", "fragment", "answer")
PLAIN = code("1 + 1")
TABLE = markdown("**How to read this page.**\n| $x$ | a value |")

FAULTY = [
    ("words of pictures", [code(out=[shown("")])], "without words"),
    ("words of pictures", [code(out=[shown("short")])], "without words"),
    ("words of pictures", [code(out=[shown(WORDS)]), code(out=[shown(WORDS)])], "those of cell 0"),
    ("words of pictures", [code(out=[shown("", "image/svg+xml")])], "without words"),
    ("words of pictures", [markdown("![a dog](dog.png)")], "too short"),
    ("words of pictures", [code("plt.show()")], "plt.show"),
    ("folding", [code("1", "slide", "hide-input")], "do not agree"),
    ("folding", [code("1", jupyter={"source_hidden": True})], "do not agree"),
    ("folding", [code("# NBVAL_CHECK_OUTPUT\n1")], "marker"),
    ("folding", [code("assert x\nassert (y\n  == 2)")], "only asserts"),
    ("folding", [code("def figure_x():\n    pass")], "only draws"),
    ("escapes", [markdown("From $3751 to $9870 each")], "formula"),
    ("escapes", [markdown("It costs $5.")], "partner"),
    ("escapes", [code(out=[{"data": {"text/markdown": ["| $5 to | $7 |"]}}])], "formula"),
    ("symbols", [markdown("$y + 1$")], "y "),
    ("symbols", [TABLE, markdown(r"$\hat x + \gamma$")], r"\gamma"),
    ("references", [markdown("## References\n\n- A. Author, B. Other, *Title*, 2020.")], "Author"),
    ("references", [markdown("Other (2020)\n### References\n- A. Author,\n  B. Other, *Title*, 2020.")], "Author"),
    ("questions", [QUESTION, PLAIN], "no cell tagged answer"),
    ("questions", [QUESTION, *[PLAIN] * 5, ANSWER], "no cell tagged answer"),
    ("questions", [QUESTION, markdown("x", "notes"), ANSWER], "teacher's note"),
    ("questions", [QUESTION, markdown("x", "-", "answer")], "beside the question"),
    ("questions", [QUESTION, code("1", "-", out=[PANEL]), ANSWER, ANSWER], "beside the question"),
    ("questions", [markdown("> **Predict.** What?"), ANSWER], "has the tag predict"),
    ("questions", [code("1", out=[PANEL]), PLAIN], "panel's tasks"),
    ("pictures", [markdown("## 1. First"), code(out=[shown(WORDS)]), markdown("## 2. Second"), PLAIN], "2. Second"),
    ("pictures", [markdown("## 1. First"), PLAIN, markdown("## End"), code(out=[shown(WORDS)])], "1. First"),
]  # fmt: skip


@pytest.mark.parametrize("rule, cells, message", FAULTY, ids=[f"{rule}-{text}" for rule, _, text in FAULTY])
def test_a_fault_is_seen(rule, cells, message):
    faults = rules.RULES[rule]({"cells": copy.deepcopy(cells)})
    assert len(faults) == 1 and message in faults[0]


GOOD = [
    TABLE,
    QUESTION,
    code("cl.plots.show(fig, alt=words)", "fragment", out=[shown(WORDS)]),
    ANSWER,
    markdown("## 1. One\n" r"For \$5 and \$6, $\hat x_{\text{new}} = x^{2} \cdot \max_i x_i$, `$no`; Author (2020)."),
    code("panel", "slide", out=[PANEL, shown(WORDS + ", in a panel")]),
    code("assert x", "skip"),
    code("def figure_x():\n    pass", "slide", "hide-input", jupyter={"source_hidden": True}),
    markdown("**Notice.** The panel", "fragment", "answer"),
    markdown("## References\n\n- A. Author, B. Other, *Title*, 2020."),
]  # fmt: skip


@pytest.mark.parametrize("rule", rules.RULES)
def test_a_good_page_has_no_faults(rule):
    assert rules.RULES[rule]({"cells": copy.deepcopy(GOOD)}) == []


def test_lines_that_are_too_long_are_named():
    long = {"output_type": "stream", "text": ["x" * 62 + "\n", "y" * 63]}
    cells = [code("x" * 71, out=[long]), code("x" * 72), code("x" * 99, "slide", "hide-input")]
    found = measure.lines_too_long({"cells": cells})
    assert found == {0: ["line 2 of its output has 63 letters, 62 at most"],
                     1: ["line 1 of its code has 72 letters, 71 at most"]}
