"""Gradient descent in few bits: format, rounding, starting point, learning rate →
where it goes, and what rounding added.

f(x) = (x − 1024)², as in Xia et al. 2024. Every step rounds three results: the gradient, its product with the learning
rate, and the new x (``numerics.gradient_descent_in``). The grey twin takes the same steps in float64.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from course_lib import plots
from course_lib.numerics import FORMATS, FixedPoint, Rounding, gradient_descent_in, round_in
from course_lib.panels.base import Choice, Control, Panel, Slider

TARGET = 1024.0
RUNS = 100  # of stochastic rounding
SHOWN = 12  # of them are drawn
TOP = 2200.0  # of the axis of x
POINTS = 4097  # where the panel asks whether a step would go anywhere

GRIDS = {
    "e5m2": FORMATS["e5m2"],
    "e4m3": replace(FORMATS["e4m3"], saturates=True),  # else the first gradient, −2046, is NaN
    "bfloat16": FORMATS["bfloat16"],
    "fp16": FORMATS["fp16"],
    "fixed": FixedPoint(16, 8),
}
NAMES = {
    "e5m2": "e5m2, 8 bits", "e4m3": "e4m3, 8 bits, saturating", "bfloat16": "bfloat16", "fp16": "fp16",
    "fixed": "fixed ⟨16, 8⟩",
}  # fmt: skip


@dataclass(frozen=True)
class RoundingState:
    format: str = "e5m2"
    rounding: str = Rounding.NEAREST.value
    start: int = 1
    lr: float = 0.1
    steps: int = 40


class RoundingResult(NamedTuple):
    state: RoundingState
    path: np.ndarray  # (steps + 1, runs): one run, or RUNS of them if rounding is stochastic
    exact: np.ndarray  # (steps + 1,) the same descent in float64, from the same x and learning rate
    added: np.ndarray  # (steps + 1, runs): the sum so far of what rounding added to the steps
    lr: float  # as the format keeps it
    stuck: tuple | None  # (lowest, highest) x around 1024 where rounding to nearest goes nowhere
    last_move: int  # number of the last step that moved any run
    wanted: float  # the length of the step that exact arithmetic would take from the last x
    gap: float  # from there to the format's next number, on the side of 1024

    @property
    def end(self):
        return float(self.path[-1].mean())


def gradient(x):
    return 2 * (x - TARGET)


class RoundingPanel(Panel):
    """Minimise (x − 1024)² in a chosen format and rounding.

    Parameters
    ----------
    **start : values of ``RoundingState`` to begin with
    """

    State = RoundingState
    name = "rounding"
    title = "Gradient descent on (x − 1024)² in few bits"
    try_this = (
        "Why does it stop? Compare the step with half the gap. Round stochastically instead. Then round "
        "up: from 1, and from 2000. Which learning rate gets out of the vermilion band?"
    )
    size = (640, 520)

    def controls(self) -> dict[str, Control]:
        return {
            "format": Choice("format", {label: key for key, label in NAMES.items()}),
            "rounding": Choice("rounding", {mode.value.replace("_", " "): mode.value for mode in Rounding}),
            "start": Slider("start x₀", 1, 2048),
            "lr": Slider("rate η", 0.005, 0.5, 0.005, hint="learning rate"),
            "steps": Slider("steps", 10, 200, 10),
        }

    # -- compute ---------------------------------------------------------------------------------------------------

    def compute(self, state: RoundingState, *, quick: bool = False) -> RoundingResult:
        grid, rounding = GRIDS[state.format], Rounding(state.rounding)
        runs = RUNS if rounding is Rounding.STOCHASTIC else 1
        path = gradient_descent_in(gradient, np.full(runs, float(state.start)), state.lr, state.steps, grid,
                                   rounding=rounding, rng=np.random.default_rng(0))  # fmt: skip
        lr = float(round_in(np.float64(state.lr), grid))
        exact = TARGET + (path[0, 0] - TARGET) * (1 - 2 * lr) ** np.arange(state.steps + 1.0)
        errors = path[1:] - (path[:-1] - lr * gradient(path[:-1]))
        moved = np.nonzero((path[1:] != path[:-1]).any(axis=1))[0]
        last = float(path[-1, 0])
        return RoundingResult(
            state, path, exact, added=np.vstack([np.zeros(runs), errors.cumsum(axis=0)]), lr=lr, stuck=_stuck(lr, grid),
            last_move=int(moved.max(initial=-1)) + 1, wanted=abs(lr * gradient(last)), gap=_gap(last, grid),
        )  # fmt: skip

    # -- draw ------------------------------------------------------------------------------------------------------

    def build(self, figure: Figure) -> None:
        self._path = figure.add_axes((0.115, 0.40, 0.865, 0.375))
        self._sum = figure.add_axes((0.115, 0.095, 0.865, 0.20))
        moving = dict(animated=True)

        ax = self._path
        plots.name_axes(ax, "Where it goes", "", "x")
        ax.yaxis.set_label_coords(-0.095, 0.86)  # clear of the four-figure numbers
        ax.set_ylim(0, TOP)
        ax.set_yticks([0, 512, 1024, 1536, 2048])
        self._band = ax.axhspan(0, 1, facecolor=plots.ERROR, alpha=0.16, edgecolor="none", **moving)
        (self._exact,) = ax.plot([], [], color=plots.REAL, linewidth=3.5, **moving)
        (self._others,) = ax.plot([], [], color=plots.QUANTIZED, linewidth=0.8, alpha=0.45, **moving)
        (self._run,) = ax.plot([], [], color=plots.QUANTIZED, marker="o", markersize=3.5, linewidth=1.6, **moving)
        words = {"exact": (0.40, plots.REAL), "rounded": (0.59, plots.QUANTIZED),
                 "nearest gets stuck": (1.0, plots.ERROR)}  # fmt: skip
        for word, (right, color) in words.items():
            ax.text(right, 1.035, word, color=color, transform=ax.transAxes, fontsize=13, weight="bold", ha="right")

        ax = self._sum
        plots.name_axes(ax, "Accumulated bias: what rounding has added so far", "step", "bias of x")
        ax.axhline(0, color=plots.REAL, linewidth=1)
        (self._sums,) = ax.plot([], [], color=plots.ERROR, linewidth=0.8, alpha=0.45, **moving)
        (self._mean,) = ax.plot([], [], color=plots.ERROR, linewidth=2.4, **moving)
        self._tiles = plots.Tiles(figure, 4)
        self._limits = None

    def draw(self, figure: Figure, result: RoundingResult) -> None:
        state, steps = result.state, np.arange(result.state.steps + 1.0)
        reach = _nice(np.abs(result.added[:, :SHOWN]).max())
        if self._limits != (state.steps, reach):
            self._limits = (state.steps, reach)
            for ax in (self._path, self._sum):
                ax.set_xlim(0, state.steps)
            self._sum.set_ylim(-reach, reach)
            self._sum.set_yticks([-reach, 0, reach])
        low, high = result.stuck or (-1.0, -1.0)
        self._band.set_bounds(0, low - 4, 1, high - low + 8)  # a band of one number is still seen
        self._exact.set_data(steps, result.exact)
        self._others.set_data(*_in_one_line(steps, result.path[:, 1:SHOWN]))
        self._run.set_data(steps, result.path.mean(axis=1))
        self._run.set_markersize(3.5 if state.steps <= 60 else 0)  # more dots would hide the exact path
        self._sums.set_data(*_in_one_line(steps, result.added[:, :SHOWN]))
        self._mean.set_data(steps, result.added.mean(axis=1))
        runs = result.path.shape[1]
        self._tiles.set(
            f"{NAMES[state.format]}, rounding {state.rounding.replace('_', ' ')}, from {state.start}, η stored as "
            + f"{result.lr:.4g}" + (f", {runs} runs" if runs > 1 else ""),
            (f"{result.end:.4g}", "mean of last x" if runs > 1 else "last x"),
            (_signed(result.added[-1].mean()), "mean bias" if runs > 1 else "bias so far"),
            (f"{result.last_move}", "last moving step"),
            (f"{result.wanted / result.gap:.2f}", "gaps: next step"),
        )

    def describe(self, result: RoundingResult) -> str:
        state, runs = result.state, result.path.shape[1]
        last = float(result.path[-1, 0])
        many = f", mean of {runs} runs" if runs > 1 else ""
        stuck = (f"Rounding to the nearest is stuck from {result.stuck[0]:g} to {result.stuck[1]:g}" if result.stuck
                 else "Rounding to the nearest is stuck nowhere but at 1024")
        return (
            f"Gradient descent on (x − 1024)² in {NAMES[state.format]}, rounding {state.rounding.replace('_', ' ')}, "
            f"from {state.start}, learning rate {state.lr:g} stored as {result.lr:.4g}: after {state.steps} steps x is "
            f"{result.end:.6g}{many}, in exact arithmetic {result.exact[-1]:.6g}. "
            f"The last step that moved is {result.last_move}; "
            f"rounding has added {result.added[-1].mean():.4g}{many}. {stuck}. At x = {last:g} the step wanted is "
            f"{result.wanted:.4g}, the gap to the next number {result.gap:.4g}."
        )


def _stuck(lr, grid):
    """The range of x around 1024 where a step rounded to nearest leads nowhere; None if 1024 is the only such x."""
    at = np.unique(round_in(np.linspace(0, 2048, POINTS), grid))
    rests = gradient_descent_in(gradient, at, lr, 1, grid)[1] == at
    here = int(np.searchsorted(at, round_in(TARGET, grid)))
    moves = np.nonzero(~rests)[0]
    first = moves[moves < here].max(initial=-1) + 1
    last = moves[moves > here].min(initial=at.size) - 1
    return None if at[first] == at[last] == TARGET else (float(at[first]), float(at[last]))


def _gap(x, grid):
    """From x to the format's next number on the side of 1024; from the last number to the one before."""
    if isinstance(grid, FixedPoint):
        return grid.epsilon
    below, above = grid.neighbours(x)
    return x - below if x >= TARGET or above is None else above - x


def _signed(x):
    """Three digits and a sign, without a power of ten."""
    return (f"{x:+.0f}" if abs(x) >= 100 else f"{x:+.3g}" if abs(x) >= 0.01 else f"{x:+.4f}").replace("-", "−")


def _nice(reach):
    """1, 2 or 5 times a power of ten, the next one above ``reach``: the axis changes seldom."""
    ten = 10.0 ** np.floor(np.log10(max(reach, 1e-3)))
    return float(next(step * ten for step in (1, 2, 5, 10) if step * ten >= reach))


def _in_one_line(x, runs):
    """All runs, (n, k), as one line that lifts the pen between them."""
    n, k = runs.shape
    pen_up = np.full((1, k), np.nan)
    return np.tile(np.append(x, np.nan), k), np.vstack([runs, pen_up]).T.ravel()
