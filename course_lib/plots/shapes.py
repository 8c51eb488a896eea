"""What several figures are made of: outlines, staircases, bars with errors, labels beside lines and points.

Every helper draws into an ``Axes`` that it is given and returns what it drew; none of them opens a figure or touches
pyplot's state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from course_lib.numerics import QParams, Rounding, fake_quantize
from course_lib.plots.look import INK, QUANTIZED, REAL

if TYPE_CHECKING:  # loaded by whoever makes a figure
    from matplotlib.axes import Axes
    from matplotlib.container import BarContainer
    from matplotlib.lines import Line2D
    from matplotlib.text import Annotation


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
