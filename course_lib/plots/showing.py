"""A picture on the page, together with the words that stand for it."""

from __future__ import annotations

import base64
import io
import sys

from matplotlib.figure import Figure

FEWEST_LETTERS = 30  # a shorter text names a picture and does not say what it shows


def show(figure: Figure, alt: str) -> None:
    """Show a figure on the page of a notebook, with its alternative text, as the end of a cell.

    The saved output is a PNG whose metadata hold the text under ``alt``, where the course's pages and decks look for
    it; the same text is the output's plain one, for a reader who has only that. The figure is closed afterwards.
    Without a notebook (in a script, in a test) nothing is shown.

    Parameters
    ----------
    figure : Figure
        With a title: its own, or one over one of its axes, that states the point of the picture.
    alt : str
        What the picture shows, with its numbers, for someone who does not see it: 30 letters at least, in one
        paragraph. Put numbers in as the cell computed them: ``f"... ends at {end:.0f}"``.

    Raises
    ------
    TypeError
        ``figure`` is no figure (pass the figure, not its axes); ``alt`` is no text.
    ValueError
        ``alt`` is too short; the figure has no title.
    """
    if not isinstance(figure, Figure):
        raise TypeError(f"figure is a {type(figure).__name__}; it must be a Figure: the first that plt.subplots gives")
    if not isinstance(alt, str):
        raise TypeError(f"alt is a {type(alt).__name__}; it must be a text that says what the picture shows")
    alt = " ".join(alt.split())
    if len(alt) < FEWEST_LETTERS:
        raise ValueError(f"alt={alt!r} is too short to say what the picture shows: {FEWEST_LETTERS} letters at least")
    titles = [ax.get_title(place) for ax in figure.axes for place in ("left", "center", "right")]
    if not any(title.strip() for title in [figure.get_suptitle(), *titles]):
        raise ValueError("figure has no title: state its point in one, ax.set_title(...) or figure.suptitle(...)")
    ipython = sys.modules.get("IPython")
    if ipython and ipython.get_ipython():
        bundle = {"image/png": _png(figure), "text/plain": alt}
        from IPython.display import display

        display(bundle, metadata={"image/png": {"alt": alt}}, raw=True)
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot:  # or the notebook shows it once more, without words
        pyplot.close(figure)


def _png(figure):
    """The figure as a notebook shows it (as large as what is drawn, at the figure's own resolution), in base64."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=figure.dpi, bbox_inches="tight", facecolor=figure.get_facecolor())
    return base64.b64encode(file.getvalue()).decode("ascii")
