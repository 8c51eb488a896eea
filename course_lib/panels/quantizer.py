"""The quantizer: bits, clipping range, rounding, scheme and granularity → staircase, error, histograms, SQNR.

It runs the course's own quantizer (``course_lib.numerics``) on a weight matrix, or on an array of the reader's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from course_lib import plots
from course_lib.arguments import finite_array
from course_lib.numerics import (
    Granularity,
    QParams,
    Rounding,
    Scheme,
    code_range,
    fake_quantize,
    qparams_from_range,
    sqnr_db,
)
from course_lib.panels.base import Choice, Control, Panel, Slider

GROUP = 32  # weights that share a scale under "per group"
FEWEST_BITS = {Scheme.SYMMETRIC.value: 2, Scheme.AFFINE.value: 1}
BINS = 121  # odd: zero in the middle of a bin
DB = (-5, 55)  # limits of the SQNR axis
REACH = 1.12  # the staircase is drawn this far, in parts of its channel's largest |r|

WEIGHTS, ACTIVATIONS, YOURS = "weights", "activations", "yours"


@dataclass(frozen=True)
class QuantizerState:
    data: str = WEIGHTS
    bits: int = 4
    clip: int = 100  # per cent of the range of the data
    rounding: str = Rounding.NEAREST.value
    scheme: str = Scheme.SYMMETRIC.value
    granularity: str = Granularity.PER_TENSOR.value
    channel: int = 16  # the channel whose staircase is drawn, from 1


class QuantizerResult(NamedTuple):
    state: QuantizerState
    x: np.ndarray  # (channels, n)
    x_hat: np.ndarray  # (channels, n)
    qparams: QParams  # of the whole tensor
    shown: QParams  # of the shown channel (its first group, under "per group")
    r: np.ndarray  # (points,) real values over the shown channel's range
    r_hat: np.ndarray  # (points,)
    sqnr: float  # dB, whole tensor
    channel_sqnr: np.ndarray  # (channels,) dB
    clipped: float  # share of values outside the clipping range
    bits_per_value: float  # the code's bits and this value's part of its scale and zero point


def example_weights(channels=16, n=512):
    """Weights, (channels, n) float32, with a few outliers; the last channel is 8 times as wide as the first."""
    rng = np.random.default_rng(0)
    spread = np.geomspace(1 / 8, 1, channels)[:, None]
    return (0.1 * spread * rng.standard_t(6, (channels, n))).astype(np.float32)


def example_activations(channels=16, n=512):
    """Synthetic activations after a ReLU, (channels, n) float32: half are zero, none is negative."""
    rng = np.random.default_rng(1)
    spread = np.geomspace(1 / 8, 1, channels)[:, None]
    return np.maximum(0, spread * rng.standard_t(6, (channels, n))).astype(np.float32)


class QuantizerPanel(Panel):
    """Quantize a matrix and see what happens to it.

    Parameters
    ----------
    x : ndarray, optional, any shape with at least one axis
        Your own data, shown first; its first axis counts the channels (one channel if there is no other axis).
    **start : values of ``QuantizerState`` to begin with

    Raises
    ------
    ValueError
        ``bits`` that the scheme does not have: symmetric, 1. ``x`` is empty or a single number.
        (NaN and infinities are named inside the panel.)
    """

    State = QuantizerState
    name = "quantizer"
    title = "Quantize a matrix"
    try_this = (
        "At 4 bits, walk through the channels: which one suffers? Now give each channel its own scale. "
        "Then look for the clipping range with the best SQNR at 3 bits, and at 8. "
        "(One bit is for the affine scheme: of symmetric codes it would hold nothing but 0.)"
    )
    size = (640, 520)

    def __init__(self, x: ArrayLike | None = None, **start: object):
        self._data = {WEIGHTS: example_weights(), ACTIVATIONS: example_activations()}
        if x is not None:
            x = np.asarray(x)
            if x.ndim == 0 or x.size == 0:
                raise ValueError(f"x has shape {x.shape}; pass an array with at least one axis and one value")
            x = x.reshape(1, -1) if x.ndim == 1 else x.reshape(x.shape[0], -1)
            self._data[YOURS] = x if x.dtype == np.float64 else x.astype(np.float32)
            start = {"data": YOURS, "channel": 1, **start}
        super().__init__(**start)
        code_range(self._start.bits, self._start.scheme)  # raises where the scheme has no such code
        self.widgets["scheme"].observe(self._limit_bits, "value")
        self._limit_bits()

    def _limit_bits(self, _change=None):
        """The slider of bits begins where the scheme does; from 1 bit, a change to symmetric moves it to 2."""
        self.widgets["bits"].min = FEWEST_BITS[self.widgets["scheme"].value]

    def set(self, **values: object) -> Self:
        """As every panel's, the scheme first: which bits there are depends on it."""
        return super().set(**dict(sorted(values.items(), key=lambda item: item[0] != "scheme")))

    def controls(self) -> dict[str, Control]:
        names = {WEIGHTS: "weights, 16 channels", ACTIVATIONS: "activations after a ReLU", YOURS: "your own array"}
        channels = max(len(x) for x in self._data.values())
        return {
            "data": Choice("data", {names[key]: key for key in self._data}),
            "bits": Slider("bits b", 1, 8, hint="affine from 1, symmetric from 2 (1 bit would only hold 0)"),
            "clip": Slider("clip at, %", 5, 150, hint="clipping range [α, β] in per cent of the range of the data"),
            "rounding": Choice("rounding", {mode.value.replace("_", " "): mode.value for mode in Rounding}),
            "scheme": Choice("scheme", {scheme.value: scheme.value for scheme in Scheme}),
            "granularity": Choice(
                "granularity",
                {
                    "per tensor": Granularity.PER_TENSOR.value,
                    "per channel": Granularity.PER_CHANNEL.value,
                    f"per group of {GROUP}": Granularity.PER_GROUP.value,
                },
            ),
            "channel": Slider("show channel", 1, channels, hint="the channel whose staircase is drawn"),
        }

    # -- compute ---------------------------------------------------------------------------------------------------

    def compute(self, state: QuantizerState, *, quick: bool = False) -> QuantizerResult:
        x = finite_array(self._data[state.data])
        channel = min(state.channel, len(x)) - 1
        granularity, group_size = Granularity(state.granularity), None
        if granularity is Granularity.PER_GROUP:
            group_size = GROUP
        low, high = _ranges(x, granularity)
        options = dict(bits=state.bits, scheme=state.scheme, dtype=x.dtype)
        share = state.clip / 100
        qparams = qparams_from_range(
            low * share, high * share, granularity=granularity, group_size=group_size,
            axis=0 if granularity is Granularity.PER_CHANNEL else None, **options,
        )  # fmt: skip
        x_hat = fake_quantize(x, qparams, rounding=state.rounding, rng=np.random.default_rng(2))

        first = {"per_tensor": (), "per_channel": channel, "per_group": (channel, 0)}[state.granularity]
        shown = qparams_from_range(low[first] * share, high[first] * share, **options)
        reach = REACH * (float(np.abs(x[channel]).max()) or 1.0)
        r = np.linspace(-reach, reach, 1201).astype(x.dtype)
        alpha, beta = (np.asarray(end) for end in qparams.clipping_range)
        return QuantizerResult(
            state=state, x=x, x_hat=x_hat, qparams=qparams, shown=shown, r=r,
            r_hat=fake_quantize(r, shown, rounding=state.rounding, rng=np.random.default_rng(3)),
            sqnr=float(sqnr_db(x, x_hat)),
            channel_sqnr=_sqnr_by_row(x, x_hat),
            clipped=_share_outside(x, alpha, beta, granularity),
            bits_per_value=_bits_per_value(qparams, x.size),
        )  # fmt: skip

    # -- draw ------------------------------------------------------------------------------------------------------

    def build(self, figure: Figure) -> None:
        grid = figure.add_gridspec(2, 2, height_ratios=(1.2, 1), left=0.115, right=0.975, top=0.735, bottom=0.105,
                                   hspace=0.75, wspace=0.26)
        self._stairs, self._histogram = (figure.add_subplot(grid[0, column]) for column in (0, 1))
        self._error, self._by_channel = (figure.add_subplot(grid[1, column]) for column in (0, 1))
        moving = dict(animated=True)

        ax = self._stairs
        plots.name_axes(ax, "One channel: staircase", "real value r", "quantized r̂")
        ends = [-1, 0, 1], ["−max", "0", "max"]  # the same for every channel, so that the axes need not be drawn anew
        ax.set(xlim=(-REACH, REACH), ylim=(-REACH, REACH))
        ax.set_xticks(*ends)
        ax.set_yticks(*ends)
        ax.plot([-REACH, REACH], [-REACH, REACH], color=plots.REAL, linewidth=1.4)
        (self._steps,) = ax.plot([], [], color=plots.QUANTIZED, linewidth=2.2, **moving)

        ax = self._error
        plots.name_axes(ax, "One channel: error, in steps", "real value r", "(r̂ − r) / S")
        ax.set(xlim=(-REACH, REACH), ylim=(-1.6, 1.6))
        ax.set_xticks(*ends)
        ax.set_yticks([-1, 0, 1])
        (self._saw,) = ax.plot([], [], color=plots.ERROR, linewidth=1.8, **moving)

        ax = self._histogram
        plots.name_axes(ax, "All values: histogram", "real value r", "√ share")
        ax.set(xlim=(-REACH, REACH), ylim=(-1.12, 1.12))
        ax.set_xticks(*ends)
        ax.set_yticks([0], [""])
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
        ax.yaxis.set_label_coords(-0.04, 0.5)  # no numbers to stand clear of
        self._before = ax.fill([0, 0], [0, 0], facecolor=plots.REAL, edgecolor="none", **moving)[0]
        self._after = ax.fill([0, 0], [0, 0], facecolor=plots.QUANTIZED, edgecolor=plots.QUANTIZED, linewidth=0.8,
                              **moving)[0]
        for word, height, color in (("before", 0.92, plots.REAL), ("after", 0.08, plots.QUANTIZED)):
            ax.text(1.0, height, word, color=color, transform=ax.transAxes, fontsize=13, weight="bold", ha="right",
                    va="center")  # fmt: skip

        ax = self._by_channel
        plots.name_axes(ax, "Each channel: SQNR", "channel", "dB")
        ax.set_ylim(*DB)
        ax.set_yticks([0, 20, 40])
        (self._channels,) = ax.plot([], [], color=plots.QUANTIZED, marker="o", markersize=5.5, linewidth=1, **moving)
        (self._channel,) = ax.plot([], [], color=plots.ACCENT, marker="o", markersize=12, fillstyle="none",
                                   markeredgewidth=2.6, **moving)

        self._tiles = plots.Tiles(figure, 4)

    def draw(self, figure: Figure, result: QuantizerResult) -> None:
        state, shown, x = result.state, result.shown, result.x
        largest = float(result.r[-1]) / REACH
        self._steps.set_data(result.r / largest, result.r_hat / largest)
        self._saw.set_data(result.r / largest, (result.r_hat - result.r) / float(shown.scale))

        largest = float(np.abs(x).max()) or 1.0
        edges = np.linspace(-1, 1, BINS + 1)
        for polygon, values, sign in ((self._before, x, 1), (self._after, result.x_hat, -1)):
            corners_x, corners_y = plots.outline(_shares(values / largest), edges)
            polygon.set_xy(np.column_stack([corners_x, sign * corners_y]))

        numbers = np.arange(1, len(x) + 1)
        sqnr = np.clip(result.channel_sqnr, *DB)
        channel = min(state.channel, len(x))
        if self._by_channel.get_xlim()[1] != len(x) + 0.7:  # only then: while the axes stand, they need no drawing
            self._by_channel.set_xlim(0.3, len(x) + 0.7)
        self._channels.set_data(numbers, sqnr)
        self._channel.set_data([channel], [sqnr[channel - 1]])

        self._tiles.set(
            f"{_bits(state.bits)}, {state.scheme}, {_label(state)}, rounding {state.rounding.replace('_', ' ')}, "
            f"clipped at {state.clip} %",
            (_db(result.sqnr), "SQNR"),
            (f"{float(shown.scale):.2g}", f"step S, {shown.levels} levels"),
            (f"{100 * result.clipped:.2g} %", "of values clipped"),
            (f"{result.bits_per_value:.3g}", "bits a value"),
        )

    def describe(self, result: QuantizerResult) -> str:
        state, shown = result.state, result.shown
        channel = min(state.channel, len(result.x))
        return (
            f"Quantizer: {_bits(state.bits)}, {state.scheme}, {_label(state)}, rounding "
            f"{state.rounding.replace('_', ' ')}, clipped at {state.clip} % of the range: SQNR {_db(result.sqnr)}, "
            f"{100 * result.clipped:.2g} % of the values clipped, {result.bits_per_value:.3g} bits a value with "
            f"scales. Channel {channel}: {shown.levels} levels, step {float(shown.scale):.3g}, "
            f"zero point {int(shown.zero_point)}, SQNR {_db(result.channel_sqnr[channel - 1])}."
        )


def _ranges(x, granularity):
    """Smallest and largest value of each part of ``x`` that shares a scale."""
    if granularity is Granularity.PER_TENSOR:
        return x.min(), x.max()
    if granularity is Granularity.PER_CHANNEL:
        return x.min(axis=1), x.max(axis=1)
    starts = np.arange(0, x.shape[1], GROUP)  # the last group may be short
    return np.minimum.reduceat(x, starts, axis=1), np.maximum.reduceat(x, starts, axis=1)


def _sqnr_by_row(x, x_hat):
    signal = np.square(x, dtype=np.float64).sum(axis=1)
    noise = np.square(x_hat - x, dtype=np.float64).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(noise == 0, np.inf, 10 * np.log10(signal / noise))


def _share_outside(x, alpha, beta, granularity):
    if granularity is Granularity.PER_CHANNEL:
        alpha, beta = alpha[:, None], beta[:, None]
    elif granularity is Granularity.PER_GROUP:
        alpha, beta = (np.repeat(end, GROUP, axis=1)[:, : x.shape[1]] for end in (alpha, beta))
    slack = 1e-6 * (np.abs(alpha) + np.abs(beta))  # S (q_max − Z) rounds
    return float(np.mean((x < alpha - slack) | (x > beta + slack)))


def _bits_per_value(qparams, size):
    """Bits of a code, and of a float32 scale (and an 8-bit zero point, where affine) shared by its neighbours."""
    overhead = np.size(qparams.scale) * (32 + (0 if qparams.symmetric else 8))
    return qparams.bits + overhead / size


def _shares(values):
    """Square roots of a histogram's counts over [−1, 1], the tallest 1: the roots keep rare values visible."""
    place = np.clip((values.ravel() + 1) * (BINS / 2), 0, BINS - 1).astype(np.intp)
    counts = np.bincount(place, minlength=BINS)
    return np.sqrt(counts / counts.max())


def _label(state):
    granularity = state.granularity.replace("_", " ")
    return f"{granularity} of {GROUP}" if granularity == "per group" else granularity


def _bits(bits):
    return f"{bits} bit" if bits == 1 else f"{bits} bits"


def _db(value):
    return f"{value:.1f} dB".replace("-", "−") if np.isfinite(value) else "infinite" if value > 0 else "undefined"
