"""Measure decks as they will be projected.   python course.py slides --check [02 ...]

Every slide of a deck is turned to in a headless Chromium of 1366 by 768 pixels without a network, all its fragments
shown and nothing scaled. Told is each slide that reaches out of that box, each line of code or output that is cut or
longer than a row of seats can read, and a deck of too many slides, by the numbers of the notebook's cells (from 0).
"""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from course import VENV, Problem, child_env, jupyter_env, python_of, say  # noqa: E402

WIDTH, HEIGHT = 1366, 768
LONGEST_CODE, LONGEST_OUTPUT, MOST_SLIDES = 71, 62, 60
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
         "--disable-sync", "--no-first-run"]

# For each slide: its cells, how far down and right it reaches, and the cells with a line that is cut.
LOOK = """async () => {
  await MathJax.startup.promise;
  await document.fonts.ready;
  const slides = Reveal.getSlides(), told = [];
  for (const [number, slide] of slides.entries()) {
    const {h, v} = Reveal.getIndices(slide);
    Reveal.slide(h, v, 1000);
    const origin = document.querySelector('.slides').getBoundingClientRect();
    const box = {number: number + 1, cells: [], down: 0, right: 0, cut: []};
    for (const cell of slide.querySelectorAll('.cell')) {
      const index = Number(cell.dataset.cell);
      if (cell.closest('aside')) continue;
      box.cells.push(index);
      for (const one of cell.querySelectorAll('*')) {
        const place = one.getBoundingClientRect();
        if (!place.width || !place.height || one.closest('mjx-assistive-mml')) continue;
        box.down = Math.max(box.down, place.bottom - origin.top);
        box.right = Math.max(box.right, place.right - origin.left);
        if (one.matches('pre') && one.scrollWidth > one.clientWidth + 1) box.cut.push(index);
      }
    }
    told.push(box);
  }
  return {slides: told, box: [Reveal.getScale(), innerWidth, innerHeight]};
}"""


@dataclass
class Slide:
    """One slide: its place in the deck, its cells, its size in pixels, and its faults in words."""

    number: int
    cells: list[int]
    height: int
    faults: list[str] = field(default_factory=list)

    def __str__(self):
        cells = f"cell {self.cells[0]}" if len(self.cells) == 1 else f"cells {self.cells[0]} to {self.cells[-1]}"
        return f"slide {self.number} ({cells}), {self.height} px: {'; '.join(self.faults) or 'fits'}"


@contextmanager
def browser() -> Iterator[Any]:
    """Chromium or Chrome from PATH, else Playwright's own."""
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        raise Problem("Playwright for Python is not installed: it comes with the tests' environment.") from None
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    with sync_playwright() as engine:
        try:
            started = engine.chromium.launch(executable_path=path, args=FLAGS)
        except Error as error:
            first = str(error).strip().splitlines()[0]
            raise Problem(f"no Chromium or Chrome on PATH, and Playwright has none of its own ({first})") from None
        yield started
        started.close()


def look(chromium: Any, deck: Path) -> tuple[list[dict], list[str]]:
    """Every slide of a deck as LOOK tells it, and what the page asked the network for (in vain)."""
    asked = []
    page = chromium.new_page(viewport={"width": WIDTH, "height": HEIGHT})

    def guard(route):
        if route.request.url.startswith(("file:", "data:", "blob:")):
            return route.continue_()
        asked.append(route.request.url)
        return route.abort()

    page.route("**/*", guard)
    page.goto(deck.as_uri())
    page.wait_for_function("window.Reveal && Reveal.isReady() && window.MathJax && MathJax.startup.promise")
    told = page.evaluate(LOOK)
    page.close()
    assert told["box"] == [1, WIDTH, HEIGHT], f"measured at another scale: {told['box']}"
    return told["slides"], asked


def lines_too_long(notebook: dict) -> dict[int, list[str]]:
    """{number of a cell: its lines of open code and of output that are too long, in words}."""
    found = {}
    for number, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] != "code":
            continue
        faults = []
        if "hide-input" not in cell["metadata"].get("tags", []):
            faults += _too_long("".join(cell["source"]), LONGEST_CODE, "code")
        for output in cell["outputs"]:
            data = output.get("data", {})
            shown = output.get("text") or (data.get("text/plain", "") if set(data) == {"text/plain"} else "")
            faults += _too_long("".join(shown), LONGEST_OUTPUT, "output")
        if faults:
            found[number] = faults
    return found


def _too_long(text, most, what):
    return [f"line {number} of its {what} has {len(line)} letters, {most} at most"
            for number, line in enumerate(text.splitlines(), start=1) if len(line) > most]


def measure(chromium: Any, deck: Path, notebook: dict) -> tuple[list[Slide], list[str]]:
    """The slides of a deck with their faults, and the faults of the deck as a whole."""
    told, asked = look(chromium, deck)
    too_long, slides = lines_too_long(notebook), []
    for box in told:
        slide = Slide(box["number"], box["cells"], round(box["down"]))
        if box["down"] > HEIGHT + 0.5:
            slide.faults.append(f"{slide.height - HEIGHT} px too high")
        if box["right"] > WIDTH + 0.5:
            slide.faults.append(f"{box['right'] - WIDTH:.0f} px too wide")
        for cell in box["cells"]:
            slide.faults += [f"cell {cell}: {fault}" for fault in too_long.get(cell, [])]
            if cell in box["cut"] and cell not in too_long:
                slide.faults.append(f"cell {cell}: a line is cut")
        slides.append(slide)
    whole = [f"{len(slides)} slides, {MOST_SLIDES} at most"] if len(slides) > MOST_SLIDES else []
    whole += [f"asks the network for {address}" for address in asked]
    return slides, whole


def make(paths: list[Path], folder: Path) -> list[Path]:
    """The decks of these notebooks, made by the students' environment as `make slides` does."""
    with tempfile.TemporaryDirectory() as aside:
        command = [str(python_of(VENV)), str(ROOT / "pages" / "export.py"), "slides", str(folder), *map(str, paths)]
        done = subprocess.run(command, env=child_env(**jupyter_env(aside)), capture_output=True, text=True)
    if done.returncode:
        raise Problem((done.stderr.strip() or done.stdout.strip()).splitlines()[-1].removeprefix("course.py: "))
    return [folder / f"{path.stem}.slides.html" for path in paths]


def chosen(names: list[str]) -> list[Path]:
    """The lectures that these names mean: "02", or the path of a notebook. None: all."""
    paths = []
    for name in names or [""]:
        found = [ROOT / name] if name.endswith(".ipynb") else sorted(ROOT.glob(f"notebooks/{name}*.ipynb"))
        if not found or not found[0].is_file():
            raise Problem(f"There is no lecture {name!r}: give its number, for example 02, or its notebook's path.")
        paths += found
    return paths


def main(names):
    try:
        with tempfile.TemporaryDirectory() as folder, browser() as chromium:
            paths, wrong, count = chosen(names), 0, 0
            for path, deck in zip(paths, make(paths, Path(folder)), strict=True):
                slides, whole = measure(chromium, deck, json.loads(path.read_text(encoding="utf-8")))
                faulty = [slide for slide in slides if slide.faults]
                say(f"{path.stem}: {len(slides)} slides, {len(faulty)} with faults" + "".join(f"; {w}" for w in whole))
                for slide in faulty:
                    say(f"  {slide}")
                wrong, count = wrong + len(faulty) + len(whole), count + len(slides)
    except Problem as problem:
        say(f"course.py: {problem}", sys.stderr)
        return 1
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
