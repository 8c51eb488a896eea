"""Energy and time of a network's layers: bits, batch, sparsity → picojoules by layer, and the roofline above them.

Energies come from the published table (``course_lib.energy``): an estimate, and the panel says so. Times are the least
that a roof allows (``course_lib.roofline``): pass the one measured on your machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from course_lib import plots
from course_lib.energy import NETWORKS, Estimate, estimate
from course_lib.measure import time_text, with_unit
from course_lib.panels.base import Choice, Control, Panel, Slider
from course_lib.roofline import Roof, Work

MOST_LAYERS = max(len(layers) for layers in NETWORKS.values())
PARTS = {"arithmetic": plots.QUANTIZED, "weights": plots.ACCENT, "activations": plots.THIRD}
INTENSITY = (0.1, 5000)  # limits of the roofline's axis, operations a byte
#: Where no roof was measured: a processor core of round numbers, the same slope for all.
ROUND_NUMBERS = {"float32": Roof(20e9, 100e9), "float16": Roof(20e9, 200e9), "int8": Roof(20e9, 400e9)}


@dataclass(frozen=True)
class EnergyState:
    network: str = "LeNet-300-100"
    bits: int = 32
    batch: int = 1
    zeros: int = 0  # per cent of the weights
    index_bits: int = 8


class EnergyResult(NamedTuple):
    state: EnergyState
    now: Estimate
    before: Estimate  # float32, dense, batch 1
    shares: dict[str, float]  # of the energy now, by part
    seconds: float  # an image, at the least
    seconds_before: float
    roof: Roof
    intensity: np.ndarray  # (layers,) operations a byte
    rate: np.ndarray  # (layers,) operations a second that the roof allows
    memory_bound: int  # how many layers lie left of the ridge


class EnergyPanel(Panel):
    """What bits, batch and zeros do to the energy and the time of a network's layers.

    Parameters
    ----------
    roofs : dict of "float32", "float16", "int8" -> Roof, optional
        Measured on your machine; where one is missing, float32's is taken. By default a core of round numbers.
    **start : values of ``EnergyState`` to begin with
    """

    State = EnergyState
    name = "energy"
    title = "Energy and time, layer by layer"
    try_this = (
        "At 32 bits, batch 1: what costs most? Go to 8 bits and watch where the weights live. Then batch 64: "
        "which dots cross the ridge? Last, AlexNet: from how many zeros do 32-bit places pay?"
    )
    size = (640, 520)

    def __init__(self, roofs: dict[str, Roof] | None = None, **start: object):
        if roofs is not None and "float32" not in roofs:
            has = ", ".join(map(repr, roofs)) or "nothing"
            raise ValueError(f"roofs has {has}; it should have 'float32' at the least")
        self._roofs, self._machine = ROUND_NUMBERS, "a core of round numbers"
        if roofs is not None:
            self._roofs = {name: roofs.get(name, roofs["float32"]) for name in ROUND_NUMBERS}
            self._machine = "this machine"
        super().__init__(**start)

    def controls(self) -> dict[str, Control]:
        return {
            "network": Choice("network", {name: name for name in NETWORKS}),
            "bits": Choice("weight bits", {"32 (float)": 32, "16 (float)": 16, "8": 8, "4": 4, "2": 2, "1": 1}),
            "batch": Slider("batch", 1, 64, hint="images that share one reading of the weights"),
            "zeros": Slider("zeros, %", 0, 98, hint="share of the weights that is pruned"),
            "index_bits": Choice("bits of a place", {f"{b}": b for b in (32, 16, 8, 5, 4)}),
        }

    # -- compute ---------------------------------------------------------------------------------------------------

    def compute(self, state: EnergyState, *, quick: bool = False) -> EnergyResult:
        layers = NETWORKS[state.network]
        sparsity = state.zeros / 100
        now = estimate(layers, bits=state.bits, batch=state.batch, sparsity=sparsity, index_bits=state.index_bits)
        before = estimate(layers)
        roof = self._roofs[now.arithmetic]
        intensity = np.array([layer.operations / layer.bytes for layer in now.layers])
        return EnergyResult(
            state=state, now=now, before=before,
            shares={part: sum(getattr(layer, f"{part}_pj") for layer in now.layers) / now.energy_pj for part in PARTS},
            seconds=_seconds(now, roof), seconds_before=_seconds(before, self._roofs["float32"]),
            roof=roof, intensity=intensity, rate=roof.attainable(intensity),
            memory_bound=int((intensity < roof.ridge).sum()),
        )  # fmt: skip

    # -- draw ------------------------------------------------------------------------------------------------------

    def build(self, figure: Figure) -> None:
        moving = dict(animated=True)
        ax = self._bars = figure.add_axes((0.125, 0.36, 0.345, 0.37))
        ax.set_xscale("log")
        plots.name_axes(ax, "Energy of each layer", "", "")
        ax.text(0.5, -0.24, "pale: float32, dense, batch 1", transform=ax.transAxes, ha="center", fontsize=12)
        ax.grid(False, axis="y")
        ax.tick_params(labelsize=12)
        self._old, self._new = (
            [ax.add_patch(Rectangle((1, i - 0.38), 1, 0.76, color=color, **moving)) for i in range(MOST_LAYERS)]
            for color in (plots.PRUNED, plots.QUANTIZED)
        )

        ax = self._split = figure.add_axes((0.035, 0.105, 0.435, 0.09))
        ax.set_title("Where it goes now", fontsize=13, pad=5)
        ax.set(xlim=(0, 100), ylim=(0, 1))
        ax.set_yticks([])
        ax.set_xticks([0, 50, 100], ["0", "50", "100 %"], fontsize=12)
        ax.grid(False)
        self._parts = [ax.add_patch(Rectangle((0, 0), 0, 1, color=color, **moving)) for color in PARTS.values()]
        inside = dict(ha="center", va="center", fontsize=12, weight="bold", **moving)
        self._words_in = [ax.text(0, 0.47, "", **inside) for _ in PARTS]

        ax = self._roofline = figure.add_axes((0.585, 0.105, 0.395, 0.625))
        plots.name_axes(ax, "Roofline", "operations a byte", "Gop/s", left=58)        # numbers up to 1000 and more
        lowest = min(roof.bandwidth for roof in self._roofs.values()) * INTENSITY[0] / 2e9
        highest = max(roof.peak for roof in self._roofs.values()) * 3 / 1e9
        ax.set(xscale="log", yscale="log", xlim=INTENSITY, ylim=(lowest, highest))
        ax.set_xticks([0.1, 1, 10, 100, 1000], ["0.1", "1", "10", "100", "1000"])
        decades = [10.0**exponent for exponent in range(-3, 7) if lowest <= 10.0**exponent <= highest]
        ax.set_yticks(decades, [f"{decade:g}" for decade in decades])
        ax.minorticks_off()
        ax.tick_params(labelsize=12)
        self._grid = np.geomspace(*INTENSITY, 200)
        for roof in self._roofs.values():
            ax.plot(self._grid, roof.attainable(self._grid) / 1e9, color=plots.PRUNED, linewidth=1.4)
        (self._roof,) = ax.plot([], [], color=plots.REAL, linewidth=2.6, **moving)
        (self._dots,) = ax.plot([], [], "o", color=plots.ERROR, markersize=9, alpha=0.75, **moving)
        grey = dict(transform=ax.transAxes, fontsize=12.5, color=plots.REAL)
        ax.text(0.03, 0.97, self._machine, va="top", **grey)
        self._arithmetic = ax.text(0.97, 0.04, "", ha="right", **grey, **moving)
        self._tiles = plots.Tiles(figure, 4)
        self._network = None

    def draw(self, figure: Figure, result: EnergyResult) -> None:
        self._name_layers(result)
        left = self._bars.get_xlim()[0]
        for place, (old, new) in enumerate(zip(self._old, self._new, strict=True)):
            there = place < len(result.now.layers)
            for bar, network in ((old, result.before), (new, result.now)):
                bar.set_visible(there)
                if there:
                    bar.set_x(left)
                    bar.set_width(max(network.layers[place].energy_pj - left, 0))

        start = 0.0
        for part, word, (name, share) in zip(self._parts, self._words_in, result.shares.items(), strict=True):
            part.set_x(start)
            part.set_width(100 * share)
            word.set_x(start + 50 * share)
            per_cent = f"{100 * share:.0f} %"  # and as much of it as there is room for
            word.set_text(f"{name} {per_cent}" if share > 0.58 else per_cent if share > 0.12 else "")
            start += 100 * share

        self._roof.set_data(self._grid, result.roof.attainable(self._grid) / 1e9)
        self._dots.set_data(np.clip(result.intensity, *INTENSITY), result.rate / 1e9)
        self._arithmetic.set_text(f"arithmetic: {result.now.arithmetic}")
        self._tiles.set(
            _label(result.state),
            (_joules(result.now.energy_pj), "for one image"),
            (_times(result.before.energy_pj / result.now.energy_pj), "less (estimate)"),
            (time_text(result.seconds), f"at best, {_times(result.seconds_before / result.seconds, 2)} less"),
            (_bytes(result.now.stored_bytes), f"in {result.now.level}"),
        )

    def describe(self, result: EnergyResult) -> str:
        parts = ", ".join(f"{name} {100 * share:.1f} %" for name, share in result.shares.items())
        return (
            f"Estimated from the picojoule table. {_label(result.state)}: {_joules(result.now.energy_pj)} an image, "
            f"{_times(result.before.energy_pj / result.now.energy_pj)} less than float32, dense, at batch 1 ({parts}). "
            f"Weights take {_bytes(result.now.stored_bytes)} and live in {result.now.level}. On {self._machine}, "
            f"{result.now.arithmetic}, at least {time_text(result.seconds)} an image; memory limits "
            f"{result.memory_bound} of {len(result.now.layers)} layers."
        )

    def _name_layers(self, result):
        """Names and limits of the bars, set only where the network changes: otherwise the background stands."""
        if self._network == result.state.network:
            return
        self._network = result.state.network
        costs = [layer.energy_pj for layer in result.before.layers]
        ax = self._bars
        ax.set_yticks(range(len(costs)), [layer.layer.name for layer in result.before.layers])
        ax.set_ylim(len(costs) - 0.4, -0.6)
        low, high = min(costs) / 3000, 2 * max(costs)
        ax.set_xlim(low, high)
        ticks = [10.0**exponent for exponent in range(0, 15, 2) if low < 10.0**exponent < high]
        ax.set_xticks(ticks, [_joules(tick) for tick in ticks])
        ax.minorticks_off()


def _seconds(network, roof):
    return sum(roof.seconds(Work(layer.operations, layer.bytes)) for layer in network.layers)


def _label(state):
    return (
        f"{state.network}, {state.bits}-bit weights, batch {state.batch}, {state.zeros} % zeros, "
        f"{state.index_bits}-bit places"
    )


def _times(ratio, digits=3):
    return f"{float(f'{ratio:.{digits}g}'):,g}×"


def _joules(pj):
    """Three digits at most and the unit that suits: 175 µJ."""
    units = (("J", 1e12), ("mJ", 1e9), ("µJ", 1e6), ("nJ", 1e3), ("pJ", 1))
    return with_unit(pj, units)


def _bytes(size):
    return with_unit(size, (("GB", 1e9), ("MB", 1e6), ("kB", 1e3), ("B", 1)))
