"""Lectures as web pages and as decks.   python course.py html [NOTEBOOK ...]   python course.py slides [NOTEBOOK ...]

Both come from nbconvert with the templates beside this file. Pictures have their alternative text, and code that is
folded in JupyterLab (the tag `hide-input`) is folded on a page and left out of a deck.
"""

import argparse
import os
import re
import sys
from pathlib import Path

from nbconvert.exporters import HTMLExporter, SlidesExporter
from nbconvert.preprocessors import Preprocessor
from traitlets.config import Config

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from course import Problem, say  # noqa: E402
from pages import libraries  # noqa: E402

TEMPLATES = Path(__file__).with_name("templates")
KINDS = {"html": (HTMLExporter, "lecture", ".html"), "slides": (SlidesExporter, "deck", ".slides.html")}


# Code, and formulas; or else a dollar that is escaped.
DOLLAR = re.compile(
    r"(```.*?```|`[^`\n]*`|(?<!\\)\$\$(?:\\.|[^\\])+?\$\$|(?<![\\$])\$(?!\$)(?:\\.|[^$\\])+\$)|\\\$", re.DOTALL
)
KEPT = "\ue000"  # stands for such a dollar on its way through nbconvert, which would take it for the start of a formula


def hide_dollars(text: str) -> str:
    """Markdown in which every escaped dollar is another letter: nbconvert drops the backslash, and MathJax sees two."""
    return DOLLAR.sub(lambda found: found[1] or KEPT, text)


def show_dollars(page: str) -> str:
    """The page with those dollars, where MathJax does not look; in attributes they are left out."""
    page = re.sub(rf"<[^<>]*{KEPT}[^<>]*>", lambda tag: tag[0].replace(KEPT, ""), page)
    return page.replace(KEPT, '<span class="tex2jax_ignore">$</span>')


class Prepare(Preprocessor):
    """What a cell needs to become a page: its number, to tell what is wrong with a slide; dollars that stay dollars."""

    def preprocess_cell(self, cell, resources, index):
        """The cell with its number in its metadata, and Markdown that MathJax reads as it is meant."""
        cell.metadata["number"] = index
        if cell.cell_type == "markdown":
            cell.source = hide_dollars(cell.source)
        for output in cell.get("outputs", []):
            if "text/markdown" in output.get("data", {}):
                output.data["text/markdown"] = hide_dollars(output.data["text/markdown"])
        return cell, resources


def export(kind: str, path: Path) -> str:
    """The notebook at ``path`` as one page of HTML: ``"html"`` to read, ``"slides"`` to project."""
    exporter, template, _ = KINDS[kind]
    places = {"template_name": template, "extra_template_basedirs": [str(TEMPLATES)],
              "extra_template_paths": [str(TEMPLATES)]}
    maker = exporter(config=Config({"TemplateExporter": places}))
    maker.register_preprocessor(Prepare, enabled=True)
    text, _ = maker.from_filename(str(path))
    return show_dollars(text)


def write(kind: str, paths: list[Path], folder: Path) -> list[Path]:
    """Export notebooks into ``folder``, with what decks load beside them; the paths of what was written."""
    folder.mkdir(parents=True, exist_ok=True)
    if kind == "slides":
        libraries.place(folder)
    written = []
    for path in paths:
        target = folder / (path.stem + KINDS[kind][2])
        aside = target.with_name(target.name + ".part")
        aside.write_text(export(kind, path), encoding="utf-8")
        os.replace(aside, target)
        written.append(target)
    return written


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="course.py", description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("notebooks", type=Path, nargs="+")
    given = parser.parse_args(arguments)
    try:
        for path in write(given.kind, given.notebooks, given.folder):
            say(str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path))
    except Problem as problem:
        say(f"course.py: {problem}", sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
