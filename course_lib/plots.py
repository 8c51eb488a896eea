"""The look of the course, and the few static figures that several notebooks share.

The same thing wears the same colour on every page: a real value is grey, its quantized twin blue, the error between
them vermilion, what is pruned away pale, a teacher green. The hues are those of Okabe and Ito (2008), which readers
with any of the common kinds of colour vision tell apart.

Every helper draws into an ``Axes`` that it is given and returns what it drew; none of them opens a figure or touches
pyplot's state. ``numpy`` and Matplotlib only.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import matplotlib.style
import numpy as np
from matplotlib.artist import Artist
from matplotlib.font_manager import FontProperties, findfont
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw, ImageFont

from course_lib.numerics import QParams, Rounding, fake_quantize

if TYPE_CHECKING:  # loaded by whoever makes a figure
    from matplotlib.axes import Axes
    from matplotlib.backend_bases import RendererBase
    from matplotlib.container import BarContainer
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.text import Annotation

REAL = "#6E6E6E"  # a real value: grey
QUANTIZED = "#0072B2"  # its quantized twin: blue
ERROR = "#D55E00"  # the error between them: vermilion
PRUNED = "#D4D4D4"  # what was taken away: pale
TEACHER = "#009E73"  # the teacher: green
ACCENT = "#E69F00"  # the one thing to look at: orange
SECOND = "#CC79A7"  # a second quantized thing beside the first: purple
THIRD = "#56B4E9"  # a third: sky blue
INK = "#222222"  # text

INLINE = "module://matplotlib_inline.backend_inline"  # figures on the page of a notebook
STYLE = Path(__file__).with_name("course.mplstyle")


def use_style() -> None:
    """Give every figure drawn after this call the course's style (call it once, in a notebook's first cell).

    It is laid over Matplotlib's defaults: a reader's own ``matplotlibrc`` may ask for LaTeX, which is not there, or for
    another look. In a notebook the figures appear on the page, whatever the variable ``MPLBACKEND`` says; what the
    notebook itself has chosen, ``%matplotlib widget`` for instance, stays.
    """
    mpl.style.use(["default", STYLE])
    told = os.environ.get("MPLBACKEND", "")
    if told and told != INLINE and mpl.get_backend().lower() == told.lower() and hasattr(_shell(), "kernel"):
        _shell().enable_matplotlib("inline")


def _shell():
    """The notebook or the IPython that this runs in, or None."""
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython else None


def style() -> AbstractContextManager:
    """The course's style inside a ``with`` block only; the caller's own style comes back afterwards."""
    return mpl.style.context(STYLE, after_reset=True)


def outline(heights: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corners of a histogram's outline, ready to draw as one line or one polygon (a bar for each bin is slow).

    Parameters
    ----------
    heights : ndarray, (n,)
    edges : ndarray, (n + 1,), ascending

    Returns
    -------
    x, y : ndarrays, (2 n + 2,)
        The outline starts and ends on zero.
    """
    heights = np.asarray(heights, dtype=float)
    x = np.repeat(np.asarray(edges, dtype=float), 2)
    y = np.zeros(x.size)
    y[1:-1] = np.repeat(heights, 2)
    return x, y


def histogram_line(
    ax: Axes, values: ArrayLike, *, bins: int | ArrayLike = 100, range: tuple[float, float] | None = None,
    color: str = REAL, label: str | None = None, fill: bool = True, density: bool = True,
) -> Line2D:  # fmt: skip
    """Histogram of ``values`` as one line on ``ax``, filled underneath unless told otherwise.

    Parameters
    ----------
    ax : Axes
    values : ndarray, any shape
    bins, range, density : as in ``numpy.histogram``
    color : colour of the line; the filling is the same colour, pale
    label : str, optional, for a legend or for ``label_line``

    Returns
    -------
    line : Line2D
    """
    heights, edges = np.histogram(np.asarray(values).ravel(), bins=bins, range=range, density=density)
    x, y = outline(heights, edges)
    if fill:
        ax.fill_between(x, y, color=color, alpha=0.25, linewidth=0)
    (line,) = ax.plot(x, y, color=color, label=label, linewidth=1.6)
    ax.set_ylim(bottom=0)
    return line


def staircase(
    ax: Axes, qparams: QParams, *, rounding: Rounding | str = Rounding.NEAREST, rng: np.random.Generator | None = None,
    span: tuple[float, float] | None = None, points: int = 2001, color: str = QUANTIZED, identity: bool = True,
) -> Line2D:  # fmt: skip
    """The quantizer's staircase r → r̂ on ``ax``, over the grey line r̂ = r it stands for.

    Parameters
    ----------
    ax : Axes
    qparams : QParams, per tensor
    rounding, rng : as in ``fake_quantize``
    span : (low, high), optional
        Range of r; a quarter wider than the clipping range unless given, so that the clipping shows.
    identity : bool
        Draw the line r̂ = r as well.

    Returns
    -------
    line : Line2D
        The staircase.

    Raises
    ------
    ValueError
        ``qparams`` holds more than one scale: a staircase shows one.
    """
    if np.ndim(qparams.scale) != 0:
        scales = np.size(qparams.scale)
        raise ValueError(f"qparams holds {scales} scales; a staircase shows one: pass a per-tensor QParams")
    if span is None:
        low, high = (float(end) for end in qparams.clipping_range)
        margin = 0.25 * max(high - low, float(qparams.scale))
        span = (low - margin, high + margin)
    r = np.linspace(*span, points).astype(np.asarray(qparams.scale).dtype)
    if identity:
        ax.plot(r, r, color=REAL, linewidth=1.2)
    (line,) = ax.plot(r, fake_quantize(r, qparams, rounding=rounding, rng=rng), color=color)
    ax.set_xlabel("real value r")
    ax.set_ylabel("quantized value r̂")
    return line


def bars_with_error(
    ax: Axes, labels: Sequence[str], values: ArrayLike, errors: ArrayLike | None = None, *,
    colors: str | Sequence[str] = QUANTIZED, text: str | None = "{:.1f}",
) -> BarContainer:  # fmt: skip
    """One bar for each label, its error bar (one standard error) and its value written above.

    Parameters
    ----------
    ax : Axes
    labels : list of str, n
    values, errors : array-like, (n,)
    colors : one colour, or one for each bar
    text : format of the number above a bar; ``None`` writes none

    Returns
    -------
    bars : BarContainer
    """
    values = np.asarray(values, dtype=float)
    spread = np.zeros_like(values) if errors is None else np.asarray(errors, dtype=float)
    places = np.arange(len(values))
    bars = ax.bar(places, values, width=0.65, color=colors)
    if errors is not None:
        ax.errorbar(places, values, yerr=spread, fmt="none", ecolor=INK, linewidth=1.6)
    if text is not None:
        for place, value, up in zip(places, values, spread, strict=True):
            above = dict(xytext=(0, 4), textcoords="offset points", ha="center", va="bottom")
            ax.annotate(text.format(value), (place, value + up), **above)
    ax.set_xticks(places, labels)
    ax.grid(False, axis="x")
    return bars


def label_line(
    ax: Axes, line: Line2D, text: str | None = None, *, at: int = -1, offset: tuple[float, float] = (6, 0),
    **kwargs: object,
) -> Annotation:  # fmt: skip
    """Write a line's name beside its point number ``at``, in its own colour: better than a legend.

    ``text`` is the line's own label unless given. Further keywords go to ``Axes.annotate``.
    """
    x, y = line.get_xdata()[at], line.get_ydata()[at]
    name = line.get_label() if text is None else text
    kwargs = {"color": line.get_color(), "va": "center", **kwargs}
    return ax.annotate(name, (x, y), xytext=offset, textcoords="offset points", **kwargs)


def roofline(ax: Axes, results: dict) -> str:
    """Every row of a run of ``make bench`` that computes, under the roofs measured in the same run.

    A blue dot is ours, the grey one at the end of its line the fastest peer at the same task, counted in the same
    operations; the dash is the row's own limit. Numbers stand beside the dots and their names right of the axes.

    Parameters
    ----------
    ax : Axes, with a third of its figure free to its right
    results : dict, for instance ``cl.bench.saved()``

    Returns
    -------
    alt : str
        What the figure shows, for a reader who does not see it.
    """
    rows = [row for row in results["rows"] if row["operations"] and row["best_peer"]]
    rows.sort(key=lambda row: row["operations"] / row["bytes"])
    work = np.array([row["operations"] for row in rows]) / 1e6
    x = np.array([row["operations"] / row["bytes"] for row in rows])
    ours, limit = (work / [row[key] for row in rows] for key in ("ours_ms", "limit_ms"))
    best = work / [row["peers"][row["best_peer"]] for row in rows]
    peaks = {name: peak["rate"] / 1e9 for name, peak in results["roofs"]["peaks"].items()}
    bandwidth = results["roofs"]["bandwidth"][str(1 << 24)] / 1e9
    left, right, top = x.min() / 3, max(x.max(), max(peaks.values()) / bandwidth) * 30, max(peaks.values())
    ax.set(xscale="log", yscale="log", xlim=(left, right), ylim=(min(*ours, *best) / 2.5, 2.5 * max(top, *ours)))
    for name, peak in peaks.items():
        ax.plot([peak / bandwidth, right], [peak, peak], color=INK, linewidth=1.6)
        ax.text(right / 1.15, 1.07 * peak, f"peak: {name}", ha="right", va="bottom", fontsize=12)
    slope = np.geomspace(left, top / bandwidth, 100)
    ax.plot(slope, slope * bandwidth, color=INK, linewidth=1.6)
    ax.vlines(x, best, ours, color=REAL, linewidth=1.2)
    ax.plot(x, limit, "_", color=INK, markersize=14, markeredgewidth=2)
    ax.plot(x, best, "o", color=REAL, markersize=6)
    ax.plot(x, ours, "o", color=QUANTIZED, markersize=9)
    spread_labels(ax, [str(number) for number in range(1, len(rows) + 1)], x, ours,
                  avoid=[(x, best), (x, limit), (slope, slope * bandwidth)])
    names = "\n".join(f"{number}  {row['name']}" for number, row in enumerate(rows, start=1))
    ax.text(1.03, 1, names, transform=ax.transAxes, va="top", color=QUANTIZED, fontsize=12, linespacing=1.5)
    ax.text(1.03, 0, _where(results), transform=ax.transAxes, va="bottom", color=INK, fontsize=12)
    ax.set_xlabel("operations for each byte that must move")
    ax.set_ylabel("billion operations a second")
    ax.set_title("Fewer bits: further up the slope, and under a higher roof")
    ahead, close = int((ours > best).sum()), int((ours >= limit / 2).sum())
    return (
        f"A roofline on logarithmic axes, measured on {_where(results)}: {len(rows)} operations of the course as dots, "
        "under the slope of a copy and "
        f"the flat roofs {', '.join(peaks)}. {ahead} of {len(rows)} lie above the fastest peer, {close} of {len(rows)} "
        "reach at least half of their own limit."
    )


def limits_reached(ax: Axes, results: dict) -> str:
    """For every row of a run of ``make bench``, how much of its own limit ours reaches and how much the best peer.

    ``ax`` and ``results`` as in ``roofline``; so is what is returned.
    """
    rows = [row for row in results["rows"] if row["limit_ms"]][::-1]
    places = np.arange(len(rows))
    ours = np.array([100 * row["of_limit"] for row in rows])
    peer = [row["limit_ms"] / row["peers"][row["best_peer"]] if row["best_peer"] else np.nan for row in rows]
    ax.barh(places, ours, height=0.62, color=QUANTIZED)
    ax.plot(100 * np.array(peer), places, "o", color=REAL, markersize=7, markeredgecolor="white")
    ax.axvline(100, color=INK, linewidth=1.6)
    ax.set_yticks(places, [row["name"] for row in rows])
    ax.set(ylim=(-0.6, len(rows) - 0.4), xlim=(0, max(110, 1.05 * ours.max())))
    ax.grid(False, axis="y")
    ax.set_xlabel(f"% of the limit: ours (bar), fastest peer (dot); {_where(results)}")
    ax.set_title("How much of what the machine allows")
    return f"Bars, one for each operation, of the share of its limit, on {_where(results)}: " + ", ".join(
        f"{row['name']} {share:.0f} %" for row, share in zip(rows[::-1], ours[::-1], strict=True)
    )


def _where(results):
    """The processor of a run of ``make bench``, and on how many threads."""
    return f"{results['machine']['name']}, {results['threads']} thread{'s' * (results['threads'] > 1)}"


def spread_labels(
    ax: Axes, texts: Sequence[str], x: ArrayLike, y: ArrayLike, *, avoid: Sequence[tuple[float, float]] = (),
    fontsize: float = 12,
) -> list[Annotation]:  # fmt: skip
    """Write a short text beside each point, on the side where it covers no other text and no point.

    Parameters
    ----------
    ax : Axes, its limits and scales as they will stay
    texts : list of str
    x, y : array-like, the points
    avoid : list of (x, y), further points not to be covered

    Returns
    -------
    labels : list of Annotation
    """
    renderer = ax.figure.canvas.get_renderer()
    pixels = ax.transData.transform(np.concatenate([np.column_stack(pair) for pair in ((x, y), *avoid)]))
    angles = np.deg2rad([0, 180, 45, 135, -45, -135, 90, -90])
    labels, taken = [], []
    for text, point in zip(texts, zip(x, y, strict=True), strict=True):
        tried = []
        for away in (13, 18, 25, 32):
            for side, up in zip(away * np.cos(angles), away * np.sin(angles), strict=True):
                note = ax.annotate(text, point, xytext=(side, up), textcoords="offset points", color=QUANTIZED,
                                   fontsize=fontsize, ha="center", va="center")
                box = note.get_window_extent(renderer)
                crowd = sum(map(box.overlaps, taken)) + sum(box.padded(3).contains(*pixel) for pixel in pixels)
                tried.append((crowd, len(tried), note, box))
        best = min(tried)
        for _, _, note, _ in tried:
            if note is not best[2]:
                note.remove()
        labels.append(best[2])
        taken.append(best[3])
    return labels


def name_axes(ax: Axes, title: str, x: str, y: str, *, left: float = 44) -> None:
    """Title and axis labels in the sizes and places that small axes in a panel need.

    The places are fixed: finding them takes a quarter of the time that drawing the axes takes. ``left`` is how many
    pixels left of the axes the name of y stands: more where the numbers beside it are long.
    """
    figure, box = ax.figure, ax.get_position()
    width, height = (box.size * figure.get_size_inches() * figure.dpi).round()
    ax.set_title(title, fontsize=13, pad=5, y=1.0)
    ax.set_xlabel(x, fontsize=12, va="top")
    ax.set_ylabel(y, fontsize=12)
    ax.xaxis.set_label_coords(0.5, -27 / height)
    ax.yaxis.set_label_coords(-left / width, 0.5)


class Tiles(Artist):
    """The head of a panel's picture: a line that says what is shown, and under it a row of large numbers with captions.

    One artist, its letters set by Pillow: text takes longest to draw, and Matplotlib needs ten times as long for it.

    Parameters
    ----------
    figure : Figure
    count : int, numbers in the row
    """

    def __init__(self, figure: Figure, count: int):
        super().__init__()
        self.count, self.line, self.tiles = count, "", [("", "")] * count
        self._scale = figure.dpi / 100  # places below are pixels of a figure at 100 dpi
        fonts = [findfont(FontProperties(family="DejaVu Sans", weight=weight)) for weight in ("normal", "bold")]
        sizes = 17.4 * self._scale, 30.6 * self._scale
        self._small, self._large = (
            ImageFont.truetype(font, size, layout_engine=ImageFont.Layout.BASIC)
            for font, size in zip(fonts, sizes, strict=True)
        )
        self.set_animated(True)
        figure.add_artist(self)

    def set(self, line: str, *tiles: tuple[str, str]) -> None:
        """Write the line, and for each tile its (number, caption)."""
        if len(tiles) != self.count:
            raise ValueError(f"{len(tiles)} tiles for a row of {self.count}")
        self.line, self.tiles, self.stale = line, list(tiles), True

    def draw(self, renderer: RendererBase) -> None:
        """Paint the head at the top of the figure."""
        width, height = renderer.get_canvas_width_height()
        strip = Image.new("RGBA", (int(width), round(95 * self._scale)), (255, 255, 255, 0))
        pen = ImageDraw.Draw(strip)

        def write(x, y, text, font, color):
            pen.text((x, y * self._scale), text, font=font, fill=color, anchor="lm")

        write(8 * self._scale, 15, self.line, self._small, INK)
        for place, (number, caption) in enumerate(self.tiles):
            x = 8 * self._scale + 0.985 * width * place / self.count
            write(x, 48, number, self._large, QUANTIZED)
            write(x, 78, caption, self._small, INK)
        renderer.draw_image(renderer.new_gc(), 0, height - strip.height, np.asarray(strip)[::-1])
        self.stale = False
