"""Every slide of every deck, as it is projected: nothing reaches out of 1366 by 768 pixels, and no network is asked."""

import json
from pathlib import Path

import nbformat
import pytest

import course
from pages import measure

ROOT = Path(course.__file__).parent
LECTURES = sorted(ROOT.glob("notebooks/[0-9]*.ipynb"))


def made(paths, folder):
    """The decks of these notebooks; a skipped test where reveal.js and MathJax cannot be had."""
    if not course.is_set_up(course.VENV):
        pytest.skip("the students' environment is not set up: decks are made elsewhere")
    try:
        return measure.make(paths, folder)
    except course.Problem as problem:
        pytest.skip(str(problem))


@pytest.fixture(scope="module")
def decks(tmp_path_factory):
    """{path of a lecture: its deck}."""
    return dict(zip(LECTURES, made(LECTURES, tmp_path_factory.mktemp("decks")), strict=True))


@pytest.mark.parametrize("path", LECTURES, ids=lambda path: path.stem)
def test_every_slide_fits_and_asks_no_network(path, decks, browser):
    slides, whole = measure.measure(browser, decks[path], json.loads(path.read_text(encoding="utf-8")))
    faults = whole + [str(slide) for slide in slides if slide.faults]
    assert len(slides) > 5, "a deck with its slides"
    assert not [fault for fault in whole if "network" in fault]
    assert not faults, f"{path.stem}:\n  " + "\n  ".join(faults)


def slide(text, kind="slide", **more):
    return nbformat.v4.new_markdown_cell(text, metadata={"slideshow": {"slide_type": kind}}, **more)


def code(text, out=""):
    output = nbformat.v4.new_output("stream", text=out)
    return nbformat.v4.new_code_cell(text, outputs=[output] if out else [],
                                     metadata={"slideshow": {"slide_type": "fragment"}})


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    """A notebook with a fault of each kind, and its deck."""
    paragraph = "A sentence with a formula, $x^2$, and a few words more.\n\n"
    cells = [
        slide(r"# A slide that fits, from \$5 to \$7"), code("x = 1", "one line"),
        slide("# Too high\n\n" + 20 * paragraph), slide(paragraph, "fragment"),
        slide("# High only when its fragment is shown\n\n" + 11 * paragraph), slide(6 * paragraph, "fragment"),
        slide("# A line that is cut"), code("y = " + 120 * "1"),
        slide("# A long line, not cut"), code("z = " + 70 * "1", 63 * "o"),
        slide("# Too wide\n\n| a | b |\n|---|---|\n| " + 60 * "wide" + " | " + 60 * "wide" + " |"),
        slide("![a picture that the deck does not hold](https://example.org/picture.png)"),
        slide("# Not on a slide\n\n" + 30 * paragraph, "skip"),
        slide("For the teacher.\n\n" + 30 * "A sentence.\n\n", "notes"),
    ]  # fmt: skip
    notebook = nbformat.v4.new_notebook(cells=cells)
    folder = tmp_path_factory.mktemp("faults")
    nbformat.write(notebook, folder / "faults.ipynb")
    (deck,) = made([folder / "faults.ipynb"], folder)
    return notebook, deck


@pytest.fixture(scope="module")
def looked_at(faulty, browser):
    """Its slides, as they were measured, and what is wrong with the whole."""
    notebook, deck = faulty
    return measure.measure(browser, deck, notebook)


@pytest.mark.parametrize("number, cells, faults", [
    (1, [0, 1], []),
    (2, [2, 3], ["px too high"]),
    (3, [4, 5], ["px too high"]),
    (4, [6, 7], ["px too wide", "line 1 of its code has 124 letters"]),
    (5, [8, 9], ["line 1 of its code has 74 letters", "line 1 of its output has 63 letters"]),
    (6, [10], ["px too wide"]),
    (7, [11], []),
])
def test_a_fault_is_seen_on_its_slide(number, cells, faults, looked_at):
    slides, _ = looked_at
    found = slides[number - 1]
    assert (found.number, found.cells) == (number, cells)
    assert len(found.faults) == len(faults) and all(one in said for one, said in zip(faults, found.faults, strict=True))


def test_what_a_deck_loads_from_elsewhere_is_told(looked_at):
    slides, whole = looked_at
    assert len(slides) == 7
    assert whole == ["asks the network for https://example.org/picture.png"]


def test_formulas_are_set_prices_are_not_and_fragments_wait(faulty, browser):
    page = browser.new_page(viewport={"width": measure.WIDTH, "height": measure.HEIGHT})
    page.goto(faulty[1].as_uri())
    page.wait_for_function("window.Reveal && Reveal.isReady() && window.MathJax && MathJax.startup.promise")
    formulas = "MathJax.startup.promise.then(() => document.querySelectorAll('.cell mjx-container').length)"
    assert page.evaluate(formulas) == 20 + 1 + 11 + 6  # one in each paragraph
    assert page.locator("h1").first.inner_text().startswith("A slide that fits, from $5 to $7")
    assert page.locator(".fragment.visible").count() == 0
    assert page.evaluate("getComputedStyle(document.querySelector('.fragment')).visibility") == "hidden"
    page.close()
