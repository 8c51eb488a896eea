"""A run of ``make bench`` as a roofline, and as shares of the limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from course_lib.plots.look import INK, QUANTIZED, REAL
from course_lib.plots.shapes import spread_labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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
