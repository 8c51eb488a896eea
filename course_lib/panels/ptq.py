"""Post-training quantization of a real network: bits, mode, calibrator, granularity → accuracy, bytes, flipped images.

Every move quantizes the trained network anew and runs it on real test images; nothing is looked up.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from torch import nn

from course_lib import data, nets, plots, ptq, quantized
from course_lib.measure import Accuracy, accuracy
from course_lib.numerics import Calibration, Granularity
from course_lib.panels.base import Choice, Control, Panel, Slider
from course_lib.ptq import Mode

QUICK = 1000  # test images while a control moves; all of them when it rests
CALIBRATION = 512  # training images that choose the activations' ranges
GROUP = 49  # weights that share a scale under "per group": a sixteenth of an image
ROWS, COLUMNS, PIXELS = 3, 4, 34  # the images that flipped: a grid of cells this wide
WRONG = (0.5, 95)  # limits of the axis of wrong answers, per cent


@dataclass(frozen=True)
class PTQState:
    mode: str = Mode.STATIC.value
    weight_bits: int = 4
    activation_bits: int = 8
    calibration: str = Calibration.MINMAX.value
    granularity: str = Granularity.PER_CHANNEL.value


class PTQResult(NamedTuple):
    state: PTQState
    accuracy: Accuracy
    before: Accuracy  # of the float32 network, same images
    images: int
    all_images: bool
    size: int  # bytes of the file
    float_size: int
    flipped: np.ndarray  # (f,) indices of images that were right before and are wrong now
    said: np.ndarray  # (f,) what the quantized network says they are
    labels: np.ndarray  # (f,) what they are


class PTQPanel(Panel):
    """Quantize a trained network and see what it gets wrong.

    Parameters
    ----------
    dataset : course_lib.data.Dataset, optional, by default ``cl.data.load()``
    model : nn.Sequential, optional, by default the trained LeNet-300-100
        Anything that ``cl.ptq.quantize_model`` takes.
    **start : values of ``PTQState`` to begin with
    """

    State = PTQState
    name = "ptq"
    title = "Quantize a trained network"
    try_this = (
        "Go down to 2 weight bits: which digits fail first? Now change the calibrator. "
        "Which costs more at 2 bits, weights or activations? Does dynamic help at 2 activation bits?"
    )
    size = (640, 520)
    heavy = True

    def __init__(self, dataset: data.Dataset | None = None, model: nn.Module | None = None, **start: object):
        dataset = data.load() if dataset is None else dataset
        self._model = nets.trained("lenet_300_100", dataset) if model is None else model
        self._x, self._labels = dataset.test_x(), dataset.test_y()
        self._predicted = nets.predict(self._model, self._x)
        self._recorded = ptq.record_activations(self._model, dataset.train_x(CALIBRATION))
        self._float_size = _bytes(lambda path: quantized.save_float(self._model, path))
        self._trail = {}  # what was tried since the last reset: {state: (kB, per cent wrong)}
        super().__init__(**start)

    def controls(self) -> dict[str, Control]:
        return {
            "mode": Choice("mode", {
                "static": Mode.STATIC.value, "dynamic": Mode.DYNAMIC.value, "weight-only": Mode.WEIGHT_ONLY.value,
            }),
            "weight_bits": Slider("weight bits", 2, 8),
            "activation_bits": Choice("activation bits", {f"{b}": b for b in range(8, 1, -1)}),
            "calibration": Choice("calibrator", {
                "min-max": Calibration.MINMAX.value, "moving average": Calibration.MOVING_AVERAGE.value,
                "percentile 99.9": Calibration.PERCENTILE.value, "histogram (KL)": Calibration.HISTOGRAM.value,
                "least squares (MSE)": Calibration.MSE.value,
            }),
            "granularity": Choice("weight scales", {
                "per tensor": Granularity.PER_TENSOR.value, "per channel": Granularity.PER_CHANNEL.value,
                f"per group of {GROUP}": Granularity.PER_GROUP.value,
            }),
        }  # fmt: skip

    def reset(self, _: object = None) -> None:
        self._trail.clear()
        super().reset()

    # -- compute ---------------------------------------------------------------------------------------------------

    def compute(self, state: PTQState, *, quick: bool = False) -> PTQResult:
        per_group = state.granularity == Granularity.PER_GROUP
        if per_group and state.mode == Mode.DYNAMIC:
            raise ValueError("dynamic products on codes need one scale for a whole sum: choose weight scales per "
                             "tensor or per channel, or another mode")
        quantized = ptq.quantize_in_mode(
            self._model, self._recorded, state.mode, weight_bits=state.weight_bits,
            activation_bits=state.activation_bits, weight_calibration=state.calibration,
            activation_calibration=state.calibration, granularity=state.granularity,
            group_size=GROUP if per_group else None, per=ptq.Per.IMAGE,
        )  # fmt: skip
        n = min(QUICK, len(self._x)) if quick else len(self._x)
        labels, before = self._labels[:n], self._predicted[:n]
        now = nets.predict(quantized.net, self._x[:n])
        flipped = np.flatnonzero((before == labels) & (now != labels))
        return PTQResult(
            state=state, accuracy=accuracy(now, labels), before=accuracy(before, labels), images=n,
            all_images=n == len(self._x), size=quantized.bytes, float_size=self._float_size,
            flipped=flipped, said=now[flipped], labels=labels[flipped],
        )  # fmt: skip

    # -- draw ------------------------------------------------------------------------------------------------------

    def build(self, figure: Figure) -> None:
        grid = figure.add_gridspec(1, 2, width_ratios=(1, 1.05), left=0.115, right=0.985, top=0.735, bottom=0.105,
                                   wspace=0.14)  # fmt: skip
        moving = dict(animated=True)

        ax = self._map = figure.add_subplot(grid[0])
        plots.name_axes(ax, "What you have tried", "file, kB", "wrong answers, %")
        ax.set(xscale="log", yscale="log", xlim=(self._float_size / 1e3 / 20, self._float_size / 1e3 * 1.6), ylim=WRONG)
        ax.set_xticks(*_ticks(self._float_size, (16, 8, 4, 2, 1)))
        ax.set_yticks([1, 3, 10, 30, 90], ["1", "3", "10", "30", "90"])
        ax.minorticks_off()
        wrong = 100 * (1 - np.mean(self._predicted == self._labels))
        ax.axhline(max(wrong, WRONG[0]), color=plots.REAL, linewidth=1.2, linestyle="--")
        ax.plot([self._float_size / 1e3], [max(wrong, WRONG[0])], "o", color=plots.REAL, markersize=9)
        ax.annotate("float32", (self._float_size / 1e3, max(wrong, WRONG[0])), (-4, 10), textcoords="offset points",
                    ha="right", fontsize=12.5, color=plots.REAL, weight="bold")
        (self._tried,) = ax.plot([], [], "o", color=plots.THIRD, markersize=6, alpha=0.7, **moving)
        (self._now,) = ax.plot([], [], "o", color=plots.QUANTIZED, markersize=12, **moving)

        ax = self._images = figure.add_subplot(grid[1])
        ax.set_title("Right before, wrong now", fontsize=13, pad=5)
        ax.set_axis_off()
        step = 44  # a cell's height: the image, and its label above
        ax.set(xlim=(0, COLUMNS * PIXELS), ylim=(ROWS * step, 0), aspect="auto")
        self._pictures, self._names = [], []
        for cell in range(ROWS * COLUMNS):
            x, y = cell % COLUMNS * PIXELS, cell // COLUMNS * step
            extent = (x + 1, x + PIXELS - 3, y + step - 1, y + 11)
            self._pictures.append(ax.imshow(np.zeros((28, 28)), vmin=0, vmax=1, extent=extent, aspect="auto", **moving))
            self._names.append(ax.text(x + PIXELS / 2 - 1, y + 5.5, "", ha="center", va="center", fontsize=13.5,
                                       weight="bold", color=plots.ERROR, **moving))  # fmt: skip
        ax.set(xlim=(0, COLUMNS * PIXELS), ylim=(ROWS * step, 0))
        self._tiles = plots.Tiles(figure, 4)

    def draw(self, figure: Figure, result: PTQResult) -> None:
        here = (result.size / 1e3, np.clip(100 * (1 - result.accuracy.value), *WRONG))
        if result.all_images:
            self._trail[result.state] = here
        tried = list(self._trail.values())
        self._tried.set_data([size for size, _ in tried], [wrong for _, wrong in tried])
        self._now.set_data(*([place] for place in here))
        chosen = result.flipped[: ROWS * COLUMNS]
        for cell, (picture, name) in enumerate(zip(self._pictures, self._names, strict=True)):
            shown = cell < len(chosen)
            picture.set_visible(shown)
            picture.set_data(self._x[chosen[cell], 0] if shown else np.zeros((28, 28)))
            name.set_text(f"{result.labels[cell]}→{result.said[cell]}" if shown else "")
        if not len(chosen):
            self._names[0].set_text("none")
        self._tiles.set(
            _label(result.state),
            (f"{100 * result.accuracy.value:.1f} %", f"right, ± {100 * result.accuracy.stderr:.1f}"),
            (f"{100 * result.before.value:.1f} %", "right in float32"),
            (f"{result.size / 1e3:.0f} kB", f"{result.float_size / result.size:.2f}× smaller"),
            (f"{len(result.flipped)}", f"flipped of {'' if result.all_images else 'first '}{result.images}"),
        )

    def describe(self, result: PTQResult) -> str:
        pairs = [f"{label} taken for {said}" for label, said in zip(result.labels[:3], result.said[:3], strict=True)]
        examples = f" (for example a {', a '.join(pairs)})" if pairs else ""
        images = f"on {'all' if result.all_images else 'the first'} {result.images} test images"
        smaller = f"{result.float_size / result.size:.2f} times smaller than float32"
        return (
            f"Post-training quantization, {_label(result.state)}: accuracy {result.accuracy}, {result.before} in "
            f"float32, {images}. File {result.size:,} bytes, {smaller}. "
            f"{len(result.flipped)} images were right before and are wrong now{examples}."
        )


def _label(state: PTQState) -> str:
    """The state in words. Without activations' codes their bits say nothing; a range found at run time is min-max."""
    activations = {
        Mode.STATIC: f"{state.activation_bits}-bit activations",
        Mode.DYNAMIC: f"{state.activation_bits}-bit activations, dynamic",
        Mode.WEIGHT_ONLY: "float activations",
    }[Mode(state.mode)]
    scales = f"per group of {GROUP}" if state.granularity == "per_group" else state.granularity.replace("_", " ")
    return f"{state.weight_bits}-bit weights {scales}, {activations}, {state.calibration.replace('_', ' ')}"


def _ticks(float_size, ratios):
    """Places and labels of the size axis: float32 and even fractions of it."""
    kilobytes = [float_size / 1e3 / ratio for ratio in ratios]
    return kilobytes, [f"{size:.0f}" for size in kilobytes]


def _bytes(save):
    """Bytes that ``save(path)`` puts on disk."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        save(path)
        return path.stat().st_size
