"""Float bits: flip the bits of a number and see its value, its neighbours, and where it lies on the format's number
line.

Everything shown follows from ``course_lib.numerics.formats``; the number line is walked with
``FloatFormat.neighbours``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure

from course_lib import plots
from course_lib.numerics import FORMATS, FloatFormat, Neighbours, decode_one
from course_lib.panels.base import Choice, Control, Panel
from course_lib.panels.controls import Entry, Toggles
from course_lib.panels.float_words import bit_names, code_of, formula, label, read_number, ten, words

SHOWN = ("fp32", "tf32", "fp16", "bfloat16", "e5m2", "e4m3", "e4m3_ieee", "e3m2", "e2m3", "e2m1")
MOST_BITS = 32
REACH = 5.6  # the line around the number is drawn this many spacings to each side
COLOURS = {"sign": plots.SECOND, "exponent": plots.ACCENT, "fraction": plots.QUANTIZED}
PALE = {"sign": "#F7E8F0", "exponent": "#FBEFD3", "fraction": "#DCEBF5"}
DARK = {"sign": "#96386A", "exponent": "#8A5F00", "fraction": plots.QUANTIZED}  # for text


@dataclass(frozen=True)
class FloatBitsState:
    format: str = "fp16"
    code: int = 0x2E66  # the bit pattern
    number: str = "0.1"  # what was typed; empty once a bit was flipped


class FloatBitsResult(NamedTuple):
    state: FloatBitsState
    format: FloatFormat
    sign: int
    exponent: int  # the field E
    fraction: int  # the field F
    kind: str  # normal, subnormal, zero, infinity or NaN
    value: float
    typed: float | None  # the number asked for, where one was
    neighbours: Neighbours | None  # None for NaN
    spacing: float | None  # None for NaN and infinity
    around: np.ndarray  # numbers of the format near the value, (number − value) / spacing


class FloatBitsPanel(Panel):
    """Flip the bits of a number.

    Parameters
    ----------
    **start : values of ``FloatBitsState`` to begin with: ``format``, and ``number`` (text or a number) or ``code``
    """

    State = FloatBitsState
    name = "float-bits"
    title = "Flip the bits of a number"
    try_this = (
        "Which bit doubles the number? Which one moves it least? Set every exponent bit to 0, then to 1. "
        "Type 1/3 and walk through the formats."
    )
    size = (640, 520)

    def __init__(self, **start: object):
        if start.setdefault("format", FloatBitsState.format) not in SHOWN:
            raise ValueError(f"format={start['format']!r} is not one of {', '.join(SHOWN)}")
        format = FORMATS[start["format"]]
        if "code" in start and "number" not in start:
            start["number"] = ""
        else:
            start["number"] = str(start.get("number", FloatBitsState.number))
            start["code"] = code_of(read_number(start["number"]), format) if start["number"] else start.get("code", 0)
        self._following = False
        super().__init__(**start)
        self._arrange()
        self.widgets["code"].value = self._start.code
        for control in ("format", "code", "number"):
            self.widgets[control].observe(getattr(self, f"_{control}_changed"), "value")

    def controls(self) -> dict[str, Control]:
        return {
            "format": Choice("format", {label(FORMATS[name]): name for name in SHOWN}),
            "number": Entry("nearest to", "0.1, 1/3, inf"),
            "code": Toggles("bits: click to flip", MOST_BITS),
        }

    # -- one number, said in two ways: as text and as bits ---------------------------------------------------------

    def reset(self, _: object = None) -> None:
        self.set(format=self._start.format, code=self._start.code)
        self.set(number=self._start.number)

    def _arrange(self):
        self._arranged = FORMATS[self.widgets["format"].value]
        self.widgets["code"].arrange([(kind, f"{kind} bit{worth}") for kind, worth in bit_names(self._arranged)])

    def _format_changed(self, _):
        """The same number in another format: the typed one rounded anew, else the one whose bits were shown."""
        before, bits, typed = self._arranged, self.widgets["code"], self.widgets["number"].value
        try:
            number = read_number(typed) if typed else decode_one(bits.value, before)
        except ValueError:
            number = 0.0
        with self._follow():
            self._arrange()
            if math.isnan(number) and self._arranged.nan_code is None:
                number, self.widgets["number"].value = self._arranged.max, ""
            bits.value = code_of(number, self._arranged)

    def _code_changed(self, _):
        if not self._following:
            with self._follow():
                self.widgets["number"].value = ""

    def _number_changed(self, change):
        if not self._following and change["new"]:
            try:
                code = code_of(read_number(change["new"]), self._arranged)
            except ValueError:
                return  # compute says it in words
            with self._follow():
                self.widgets["code"].value = code

    def _follow(self):
        return _Flag(self)

    # -- compute ---------------------------------------------------------------------------------------------------

    def compute(self, state: FloatBitsState, *, quick: bool = False) -> FloatBitsResult:
        format = FORMATS[state.format]
        typed = read_number(state.number) if state.number else None
        if typed is not None:
            code_of(typed, format)  # a number that the format has no pattern for is named
        value = decode_one(state.code, format)
        m = format.significand_bits
        sign, rest = divmod(state.code, 2 ** (format.bits - 1))
        exponent, fraction = divmod(rest, 2**m)
        finite = math.isfinite(value)
        kind = ("NaN" if math.isnan(value) else "infinity" if not finite else "zero" if value == 0
                else "normal" if exponent else "subnormal")
        return FloatBitsResult(
            state, format, sign, exponent, fraction, kind, value, typed,
            neighbours=None if kind == "NaN" else format.neighbours(value),
            spacing=format.spacing(value) if finite else None,
            around=_around(value, format) if finite else np.empty(0),
        )  # fmt: skip

    # -- draw ------------------------------------------------------------------------------------------------------

    def build(self, figure: Figure) -> None:
        moving = dict(animated=True)
        self._tiles = plots.Tiles(figure, 3)
        ax = figure.add_axes((0.012, 0.565, 0.976, 0.235))
        ax.set_axis_off()
        ax.set(xlim=(0, 1), ylim=(0, 1))
        self._boxes = ax.add_collection(PolyCollection([], linewidths=0, **moving))
        self._digits = [ax.text(0, 0.82, "", va="center", ha="center", family="monospace", weight="bold", **moving)
                        for _ in range(MOST_BITS)]  # fmt: skip
        self._captions = {kind: ax.text(0, 0.51, "", fontsize=12.5, va="center", weight="bold", color=colour, **moving)
                          for kind, colour in DARK.items()}  # fmt: skip
        self._formula = [ax.text(0, y, "", fontsize=14, va="center", **moving) for y in (0.27, 0.04)]

        ax = figure.add_axes((0.03, 0.325, 0.94, 0.15))
        _line(ax, "Its neighbours, in spacings; the orange rounds to it")
        ax.set(xlim=(-REACH, REACH), ylim=(-1, 1.7))
        ax.set_xticks(range(-5, 6), [f"{k:+d}".replace("-", "−") if k else "0" for k in range(-5, 6)])
        self._basin = ax.fill([0, 0, 0, 0], [0, 0, 0, 0], color=plots.ACCENT, alpha=0.3, lw=0, **moving)[0]
        self._points = ax.add_collection(LineCollection([], colors=plots.QUANTIZED, linewidths=2, **moving))
        (self._here,) = ax.plot([], [], "o", color=plots.QUANTIZED, markersize=11, **moving)
        (self._typed,) = ax.plot([], [], "v", color=plots.REAL, markersize=10, **moving)
        self._beside = [ax.text(x, 0.95, "", fontsize=12, ha=ha, va="bottom", color=plots.INK, **moving)
                        for x, ha in ((-0.75, "right"), (0, "center"), (0.75, "left"))]  # fmt: skip

        ax = self._whole = figure.add_axes((0.03, 0.115, 0.94, 0.1))
        _line(ax, "")
        ax.set_ylim(-1, 1)
        self._title = figure.text(0.03, 0.238, "", fontsize=13, weight="bold", **moving)
        self._all = ax.add_collection(LineCollection([], colors=plots.QUANTIZED, linewidths=1, **moving))
        self._low = ax.add_collection(LineCollection([], colors=plots.THIRD, linewidths=1, **moving))
        (self._marker,) = ax.plot([], [], "o", color=plots.ERROR, markersize=11, **moving)
        self._format = None  # whose half line is drawn

    def draw(self, figure: Figure, result: FloatBitsResult) -> None:
        format, value = result.format, result.value
        self._tiles.set(
            f"{label(format)}, bit pattern {result.state.code} of {2**format.bits}",
            (words(value, 6), "value" if result.typed is None else f"nearest to {result.state.number}"),
            (result.kind, f"largest {words(format.max, 6)}"),
            ("none" if result.spacing is None else words(result.spacing, 4), "spacing"),
        )
        self._draw_bits(result)
        for line, text in zip(self._formula, formula(result), strict=True):
            line.set_text(text)

        finite = result.around.size > 0
        self._points.set_segments([[(x, -0.75), (x, 0.75)] for x in result.around])
        self._here.set_data([0] if finite else [], [0] if finite else [])
        offset = _steps(result, result.typed)
        inside = offset is not None and abs(offset) <= REACH
        self._typed.set_data([offset] if inside else [], [1.25] if inside else [])
        ends = [_steps(result, end) for end in result.neighbours or ()]
        low, high = ((end / 2 if end is not None and math.isfinite(end) else 0) for end in ends) if finite else (0, 0)
        self._basin.set_xy([(low, -0.5), (low, 0.5), (high, 0.5), (high, -0.5)])
        below, above = result.neighbours or (None, None)
        self._beside[0].set_text("" if below is None else f"below it {words(below, 8)}")
        self._beside[1].set_text("" if finite else "|")
        nothing = "nothing above it" if result.neighbours else ""
        self._beside[2].set_text(nothing if above is None else f"above it {words(above, 8)}")

        if format.name != self._format:
            self._draw_line(format)
        place = None if result.kind == "NaN" else self._at(abs(value))
        self._marker.set_data([] if place is None else [place], [] if place is None else [0])
        self._title.set_text(f"The whole format, {'negative' if result.sign else 'positive'} half")

    def _draw_bits(self, result):
        format = result.format
        wide = min(0.058, 0.99 / format.bits)
        bits = f"{result.state.code:0{format.bits}b}"
        colours = [
            (COLOURS if bit == "1" else PALE)[kind] for bit, (kind, _) in zip(bits, bit_names(format), strict=True)
        ]
        self._boxes.set_facecolors(colours)
        for text, bit, colour in zip(self._digits, bits, colours, strict=False):
            text.set_text(bit)
            text.set_color("white" if colour == plots.QUANTIZED else plots.INK)
        if format.name != self._format:
            left = wide * np.arange(format.bits)
            self._boxes.set_verts([[(x, 0.65), (x, 1), (x + 0.9 * wide, 1), (x + 0.9 * wide, 0.65)] for x in left])
            for place, text in enumerate(self._digits):
                text.set_visible(place < format.bits)
                text.set_x((place + 0.45) * wide)
                text.set_fontsize(20 if wide > 0.04 else 14)
        texts = {"sign": (0, "sign"), "exponent": (1, f"exponent E = {result.exponent}"),
                 "fraction": (1 + format.exponent_bits, f"fraction F = {result.fraction}")}  # fmt: skip
        x = 0
        for kind, (first, text) in texts.items():
            x = max(x, first * wide)
            self._captions[kind].set_text(text)
            self._captions[kind].set_x(x)
            x += 0.017 * len(text) + 0.025  # not into the next one

    def _draw_line(self, format):
        """The half line of a format,
        each number (wide formats: each power of two) a stroke, on a scale of powers of ten."""
        self._format = format.name
        ax, (lowest, largest) = self._whole, (math.log10(x) for x in (format.min_subnormal, format.max))
        room = 0.09 * (largest - lowest)
        self._span = lowest, largest, room
        ax.set_xlim(lowest - 2.1 * room, largest + 2.1 * room)
        step = max(1, math.ceil((largest - lowest) / 9))
        tens = [k for k in range(math.ceil(lowest), math.floor(largest) + 1) if k % step == 0]
        ends = [lowest - 1.4 * room] + [largest + 1.4 * room] * format.infinities
        ax.set_xticks([*tens, *ends], [ten(k) for k in tens] + ["0"] + ["∞"] * format.infinities)
        if format.bits <= 8:
            numbers = format.values()
            numbers = np.log10(numbers[numbers > 0])
        else:
            first = format.emin - format.significand_bits
            numbers = np.arange(first, format.emax + 1) * math.log10(2)
        normal = numbers >= math.log10(format.min_normal) - 1e-9
        for lines, chosen in ((self._all, normal), (self._low, ~normal)):
            lines.set_segments([[(x, -0.6), (x, 0.6)] for x in numbers[chosen]])
        word = "number" if format.bits <= 8 else "power of two"
        ax.set_xlabel(f"|value|; each {word} a stroke, subnormal ones in light blue", fontsize=12)

    def _at(self, size):
        lowest, largest, room = self._span
        return math.log10(size) if 0 < size < math.inf else lowest - 1.4 * room if size == 0 else largest + 1.4 * room

    def describe(self, result: FloatBitsResult) -> str:
        format = result.format
        near = ""
        if result.neighbours:
            ends = [words(end, 8) if end is not None else "none" for end in result.neighbours]
            near = f" Its neighbours: {ends[0]} below, {ends[1]} above."
        pattern = f"{result.state.code:0{format.bits}b}"
        cut = 1 + format.exponent_bits
        typed = "" if result.typed is None else f", the nearest to {result.state.number}"
        return (f"{label(format)}: bits {pattern[0]} {pattern[1:cut]} {pattern[cut:]}, {result.kind}. "
                f"{' '.join(formula(result)).strip()}{typed}.{near}")


class _Flag:
    """While it holds, a control that is moved moves no other one."""

    def __init__(self, panel):
        self.panel = panel

    def __enter__(self):
        self.before, self.panel._following = self.panel._following, True

    def __exit__(self, *_):
        self.panel._following = self.before


def _around(value, format):
    """Numbers of the format up to REACH spacings away, counted from the value in spacings."""
    unit, places = format.spacing(value), [0.0]
    for side in (0, 1):
        here = value
        while (here := format.neighbours(here)[side]) is not None and math.isfinite(here):
            if abs(here - value) > REACH * unit:
                break
            places.append((here - value) / unit)
    return np.sort(places)


def _steps(result, number):
    """How many spacings from the value to a number; None where either has no place."""
    if number is None or result.spacing is None or math.isnan(number):
        return None
    return (number - result.value) / result.spacing


def _line(ax, title):
    ax.set_title(title, fontsize=13, pad=5)
    ax.set_yticks([])
    ax.grid(False)
    ax.spines["left"].set_visible(False)
    ax.tick_params(labelsize=11)
