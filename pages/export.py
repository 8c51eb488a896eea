"""Lectures as web pages and as decks.   python course.py html [NOTEBOOK ...]   python course.py slides [NOTEBOOK ...]

Both come from nbconvert with the templates beside this file. Pictures have their alternative text, and code that is
folded in JupyterLab (the tag `hide-input`) is folded on a page and left out of a deck.
"""

import argparse
import os
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


class Numbers(Preprocessor):
    """Write its number on each cell, so that what is wrong with a slide can be told by its cells."""

    def preprocess_cell(self, cell, resources, index):
        """The cell with its number in its metadata."""
        cell.metadata["number"] = index
        return cell, resources


def export(kind: str, path: Path) -> str:
    """The notebook at ``path`` as one page of HTML: ``"html"`` to read, ``"slides"`` to project."""
    exporter, template, _ = KINDS[kind]
    places = {"template_name": template, "extra_template_basedirs": [str(TEMPLATES)],
              "extra_template_paths": [str(TEMPLATES)]}
    maker = exporter(config=Config({"TemplateExporter": places}))
    maker.register_preprocessor(Numbers, enabled=True)
    text, _ = maker.from_filename(str(path))
    return text


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
