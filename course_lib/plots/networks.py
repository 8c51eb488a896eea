"""LeNet-300-100 as the course draws it, and the scoreboard of its forms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from course_lib.measure import time_text
from course_lib.plots.look import INK, PRUNED, QUANTIZED, REAL

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from course_lib.energy import Layer
    from course_lib.scoreboard import Score

def network(ax: Axes, layers: Sequence[Layer]) -> str:
    """Fully connected layers as bars for numbers and bands for weights, with their counts.

    A bar is as high as the fourth root of how many numbers there are, so that ten are still seen beside 784; a band is
    as dark as its share of the weights.

    Parameters
    ----------
    ax : Axes, about three times as wide as high
    layers : sequence of energy.Layer, for instance ``energy.NETWORKS["LeNet-300-100"]``

    Returns
    -------
    alt : str
        What the figure shows, for a reader who does not see it.

    Raises
    ------
    ValueError
        No layers; a layer that does not read as many numbers as the one before gives.
    """
    layers = list(layers)
    if not layers:
        raise ValueError("layers is empty; pass for instance cl.energy.NETWORKS['LeNet-300-100']")
    for before, after in zip(layers, layers[1:], strict=False):
        if before.outputs != after.inputs:
            raise ValueError(f"{after.name!r} reads {after.inputs} numbers, and {before.name!r} gives {before.outputs}")
    counts = [layers[0].inputs, *(layer.outputs for layer in layers)]
    total = sum(layer.weights for layer in layers)
    half = [(count / counts[0]) ** 0.25 for count in counts]
    for place, layer in enumerate(layers):
        left, right = half[place], half[place + 1]
        share = layer.weights / total
        ax.fill_between([place, place + 1], [left, right], [-left, -right], color=QUANTIZED, alpha=0.12 + 0.5 * share,
                        linewidth=0)
        text = f"{layer.name}\n{layer.inputs} × {layer.outputs}\n{_spaced(layer.weights)} weights"
        ax.text(place + 0.5, 0, text, ha="center", va="center", fontsize=13, color=INK)
    for place, (count, height) in enumerate(zip(counts, half, strict=True)):
        ax.plot([place, place], [-height, height], color=INK, linewidth=5, solid_capstyle="butt")
        what = "pixels" if place == 0 else "classes" if place == len(layers) else "hidden"
        ax.text(place, -height - 0.08, f"{count}\n{what}", ha="center", va="top", fontsize=13, color=INK)
    ax.set(xlim=(-0.3, len(layers) + 0.3), ylim=(-1.55, 1.1), xticks=[], yticks=[])
    ax.axis("off")
    words = [f"{layer.name} from {layer.inputs} to {layer.outputs} numbers with {layer.weights} weights"
             for layer in layers]
    return f"A network as bars joined by bands: {', then '.join(words)}; {total} weights in all."


COLUMNS = ("bytes in the file", "accuracy, %", "time of an image", "energy, estimated")
TIME = 2  # the column that may be empty


def scoreboard(figure: Figure, rows: Sequence[Score]) -> str:
    """The scores of the forms of one network as one strip: bytes, accuracy, time, energy, a line a form.

    Bars begin at zero and are in proportion to the first row's, but for accuracy, which is told in numbers with its
    standard error. A form that nothing runs on has no time, and the strip says so.

    Parameters
    ----------
    figure : Figure, empty, about 11 inches wide and 0.5 inches high for each row, and 1.2 more
    rows : sequence of scoreboard.Score, as ``scoreboard.rows`` gives them

    Returns
    -------
    alt : str
        What the figure shows, for a reader who does not see it.

    Raises
    ------
    ValueError
        No rows.
    """
    rows = list(rows)
    if not rows:
        raise ValueError("rows is empty; pass for instance cl.scoreboard.rows('01')")
    axes = figure.subplots(1, len(COLUMNS), sharey=True)
    figure.subplots_adjust(left=0.16, right=0.985, top=1 - 0.8 / figure.get_figheight(), bottom=0.04, wspace=0.12)
    cells = [_cells(row) for row in rows]
    for column, (ax, heading) in enumerate(zip(axes, COLUMNS, strict=True)):
        for place, line in enumerate(cells):
            value, text = line[column]
            first = cells[0][column][0]
            if value is not None and first:
                ax.barh(place, value / first, height=0.62, color=REAL if place == 0 else QUANTIZED, alpha=0.35)
            ink = REAL if value is None and column == TIME else INK
            ax.text(0.03, place, text, va="center", fontsize=13, color=ink)
        ax.set(xlim=(0, 1.08), ylim=(len(rows) - 0.4, -0.6), xticks=[])
        ax.set_title(heading, fontsize=12, fontweight="normal", pad=4)
        ax.spines[["left", "bottom"]].set_color(PRUNED)
        ax.grid(False)
        ax.tick_params(length=0)
    axes[0].set_yticks(range(len(rows)), [row.name for row in rows], fontsize=13)
    figure.suptitle(_title(rows), x=0.01, ha="left", fontsize=14, fontweight="bold", y=0.985, va="top")
    lines = [f"{row.name} {', '.join(text for _, text in line)}" for row, line in zip(rows, cells, strict=True)]
    return f"Scoreboard of LeNet-300-100, with {', '.join(COLUMNS)}: {'; '.join(lines)}."


def _cells(row):
    """(length of a bar or None, text) for each column."""
    time = (row.latency.median_s, time_text(row.latency.median_s)) if row.latency else (None, "nothing runs on it")
    accuracy = f"{100 * row.accuracy.value:.2f} ± {100 * row.accuracy.stderr:.2f}"
    return ((row.bytes, _spaced(row.bytes)), (None, accuracy), time,
            (row.picojoules, f"{row.picojoules / 1e6:.2f} µJ"))


def _title(rows):
    first, last = rows[0], rows[-1]
    if len(rows) == 1:
        return f"The scoreboard opens: LeNet-300-100 in {first.name}"
    points = f"{100 * (last.accuracy.value - first.accuracy.value):+.2f}".replace("-", "−")
    return f"{last.name}: a file {first.bytes / last.bytes:.1f} times smaller, {points} points"


def _spaced(count):
    return f"{count:,}".replace(",", " ")
