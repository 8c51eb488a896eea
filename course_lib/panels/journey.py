"""One number's journey through the quantizer, a step at a time: scale, round, clip, and back.

The definition on one number (``numerics.quantize_one``), taken apart. Real value, steps and code stand on three lines
above each other, on one ruler: dividing by the scale and adding the zero point only change what the ruler says, so the
number goes straight down. It moves sideways where something is lost: when it is rounded, and when it is clipped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont
from PIL import Image, ImageDraw, ImageFont

from course_lib import plots
from course_lib.numerics import QParams, Scheme, dequantize_one, qparams_from_range, quantize_one, round_one
from course_lib.panels.base import Choice, Control, Panel, Slider

LOW, HIGH = -0.5, 1.0  # the data's range; symmetric makes it −1 to 1
REACH = 1.75  # of the ruler
MARGIN = 0.82  # left of the ruler, where its lines have their names: a number at the end of the range passes none
REAL_ROW, STEP_ROW, CODE_ROW = 2.0, 1.0, 0.0
STEPS = ("start", "scale", "round", "shift and clip", "back")


@dataclass(frozen=True)
class JourneyState:
    step: int = 4  # how much of the journey is shown: a place in STEPS
    r: float = 0.45
    bits: int = 3
    scheme: str = Scheme.SYMMETRIC.value


class JourneyResult(NamedTuple):
    state: JourneyState
    qparams: QParams
    scaled: float  # r / S
    rounded: int  # to the nearest whole number, ties to the even one
    shifted: int  # + Z: the code, were there no limits
    code: int
    r_hat: float

    @property
    def clipped(self):
        return self.shifted != self.code


class JourneyPanel(Panel):
    """Scale, round, clip and bring back one number, as many of these steps as the first slider says.

    Parameters
    ----------
    **start : values of ``JourneyState`` to begin with
    """

    State = JourneyState
    name = "journey"
    title = "One weight's journey"
    try_this = (
        "Put step to 0, guess the code, and go on one step at a time. Which r come back as they were? "
        "Take r past the range: which step moves it now? In affine, which code stands for zero?"
    )
    size = (640, 470)

    def controls(self) -> dict[str, Control]:
        return {
            "step": Slider("step", 0, len(STEPS) - 1, hint=", ".join(f"{i} {word}" for i, word in enumerate(STEPS))),
            "r": Slider("weight r", -1.6, 1.6, 0.01),
            "bits": Slider("bits", 2, 5),
            "scheme": Choice("scheme", {scheme.value: scheme.value for scheme in Scheme}),
        }

    # -- compute ---------------------------------------------------------------------------------------------------

    def compute(self, state: JourneyState, *, quick: bool = False) -> JourneyResult:
        p = qparams_from_range(LOW, HIGH, bits=state.bits, scheme=state.scheme, dtype=np.float64)
        scale, zero_point = float(p.scale), int(p.zero_point)
        code = quantize_one(state.r, scale, zero_point, p.qmin, p.qmax)
        rounded = int(round_one(state.r / scale, "nearest"))
        return JourneyResult(
            state, p, scaled=state.r / scale, rounded=rounded, shifted=rounded + zero_point, code=int(code),
            r_hat=float(dequantize_one(code, scale, zero_point)),
        )  # fmt: skip

    # -- draw ------------------------------------------------------------------------------------------------------

    def build(self, figure: Figure) -> None:
        self._ax = ax = figure.add_axes((0.02, 0.02, 0.96, 0.74))
        ax.set(xlim=(-REACH - MARGIN, REACH), ylim=(-0.42, 2.62), xticks=[], yticks=[])
        ax.grid(False)
        for spine in ax.spines.values():
            spine.set_visible(False)
        ax.hlines([REAL_ROW, STEP_ROW, CODE_ROW], -REACH, REACH, color=plots.REAL, linewidth=1)
        for row, word in ((REAL_ROW, "real value r"), (STEP_ROW, "in steps r / S"), (CODE_ROW, "code q")):
            ax.text(-REACH - MARGIN, row, word, fontsize=13, va="center", color=plots.INK)
        moving = dict(animated=True)
        self._band = ax.axvspan(0, 1, facecolor=plots.QUANTIZED, alpha=0.07, edgecolor="none", **moving)
        (self._steps,) = ax.plot([], [], "|", color=plots.REAL, markersize=9, markeredgewidth=1.4, **moving)
        (self._levels,) = ax.plot([], [], "|", color=plots.QUANTIZED, markersize=14, markeredgewidth=2.4, **moving)
        self._numbers = _Numbers(ax)
        (self._down,) = ax.plot([], [], color=plots.REAL, linewidth=2, **moving)
        (self._up,) = ax.plot([], [], color=plots.QUANTIZED, linewidth=2, linestyle="--", **moving)
        (self._moved,) = ax.plot([], [], color=plots.ERROR, linewidth=5, solid_capstyle="butt", **moving)
        (self._real,) = ax.plot([], [], "o", color=plots.REAL, markersize=11, **moving)
        (self._whole,) = ax.plot([], [], "o", color=plots.QUANTIZED, markersize=11, **moving)
        self._tiles = plots.Tiles(figure, 4)

    def draw(self, figure: Figure, result: JourneyResult) -> None:
        state, p = result.state, result.qparams
        self._rule(p)
        scale = float(p.scale)
        r, whole, unclipped = state.r, scale * result.rounded, scale * (result.shifted - int(p.zero_point))
        # what is drawn from each step on: (from, to) pieces of straight lines, and dots
        down = [None, [(r, REAL_ROW), (r, STEP_ROW)], None, [(whole, STEP_ROW), (unclipped, CODE_ROW)], None]
        moved = [None, None, [(r, STEP_ROW), (whole, STEP_ROW)], [(unclipped, CODE_ROW), (result.r_hat, CODE_ROW)],
                 [(r, REAL_ROW), (result.r_hat, REAL_ROW)]]  # fmt: skip
        self._down.set_data(*_pieces(down[: state.step + 1]))
        self._moved.set_data(*_pieces(moved[: state.step + 1]))
        self._up.set_data(*_pieces([[(result.r_hat, CODE_ROW), (result.r_hat, REAL_ROW)]] if state.step == 4 else []))
        self._real.set_data(*zip(*[(r, REAL_ROW), (r, STEP_ROW)][: 1 + (state.step > 0)], strict=True))
        dots = [(whole, STEP_ROW), (result.r_hat, CODE_ROW), (result.r_hat, REAL_ROW)][: max(state.step - 1, 0)]
        self._whole.set_data([x for x, _ in dots], [y for _, y in dots])
        self._tiles.set(
            self._sentence(result),
            (_number(state.r), "the weight r"),
            (_number(result.scaled) if state.step > 0 else "?", "r / S"),
            (_number(result.code) if state.step > 2 else "?", "code q"),
            (_number(result.r_hat) if state.step > 3 else "?", "comes back as r̂"),
        )

    def _rule(self, p):
        """Ticks and numbers of the three lines, and the clipping range as a pale band."""
        scale = float(p.scale)
        codes = np.arange(p.qmin, p.qmax + 1)
        values = scale * (codes - int(p.zero_point))
        whole = np.arange(-int(REACH / scale), int(REACH / scale) + 1)
        every = 1 if scale > 0.18 else 4 if scale > 0.08 else 8  # numbers that do not touch
        named = codes if every == 1 else (p.qmin, int(p.zero_point), p.qmax)
        self._band.set_bounds(values[0], 0, values[-1] - values[0], 1)
        self._steps.set_data(scale * whole, np.full(whole.size, STEP_ROW))
        self._levels.set_data(np.tile(values, 2), np.repeat([REAL_ROW, CODE_ROW], values.size))
        self._numbers.texts = [
            *((x, REAL_ROW, _number(x)) for x in np.arange(-1.5, 1.6, 0.5)),
            *((scale * n, STEP_ROW, _number(n)) for n in whole if n % every == 0),
            *((scale * (q - int(p.zero_point)), CODE_ROW, _number(q)) for q in named),
        ]

    # -- words -----------------------------------------------------------------------------------------------------

    def _sentence(self, result):
        p, step = result.qparams, result.state.step
        shift = f"add Z = {int(p.zero_point)}, " if p.zero_point else ""
        limits = f"{_number(p.qmin)} to {_number(p.qmax)}"
        kept = f"{_number(result.shifted)} becomes {_number(result.code)}" if result.clipped else "nothing to clip"
        return (
            f"{result.state.bits} bits, {result.state.scheme}: S = {float(p.scale):.4g}, codes {limits}",
            f"Scale: divide by S = {float(p.scale):.4g}",
            f"Round: {_number(result.scaled)} to {_number(result.rounded)}",
            f"Clip: {shift}codes are {limits}: {kept}",
            f"Back: S (q − Z), an error of {_number(result.r_hat - result.state.r)}",
        )[step]

    def describe(self, result: JourneyResult) -> str:
        state, p = result.state, result.qparams
        told = [
            f"The weight {_number(state.r)} on its way through {state.bits} bits, {state.scheme}, scale "
            f"{float(p.scale):.4g}, zero point {int(p.zero_point)}, codes {_number(p.qmin)} to {_number(p.qmax)}",
            f"in steps it is {_number(result.scaled)}",
            f"rounded {_number(result.rounded)}",
            f"plus the zero point {_number(result.shifted)}, "
            + (f"clipped to the code {_number(result.code)}" if result.clipped else "which is its code"),
            f"it comes back as {_number(result.r_hat)}, an error of {_number(result.r_hat - state.r)}",
        ]
        return f"Step {state.step} of 4, {STEPS[state.step]}. " + "; ".join(told[: state.step + 1]) + "."


class _Numbers(Artist):
    """Numbers under the lines of an axes. One artist, its letters set by Pillow: Matplotlib needs ten times as long."""

    def __init__(self, ax):
        super().__init__()
        self.texts = []  # (x, y, text), in the axes' coordinates
        self._font = ImageFont.truetype(findfont("DejaVu Sans"), 15, layout_engine=ImageFont.Layout.BASIC)
        self.set_animated(True)
        ax.add_artist(self)

    def draw(self, renderer):
        """Paint every text, centred, just below its place."""
        width, height = renderer.get_canvas_width_height()
        sheet = Image.new("RGBA", (int(width), int(height)), (255, 255, 255, 0))
        pen = ImageDraw.Draw(sheet)
        for x, y, text in self.texts:
            across, up = self.axes.transData.transform((x, y))
            pen.text((across, height - up + 21), text, font=self._font, fill=plots.INK, anchor="mm")
        renderer.draw_image(renderer.new_gc(), 0, 0, np.asarray(sheet)[::-1])
        self.stale = False


def _pieces(pieces):
    """Pieces of straight lines as one line that lifts the pen between them."""
    points = [point for piece in pieces if piece for point in (*piece, (np.nan, np.nan))]
    return [x for x, _ in points], [y for _, y in points]


def _number(x):
    """Three decimals at most, no negative zero, a true minus sign."""
    return f"{round(float(x), 3) + 0.0:g}".replace("-", "−")
