"""The course's scoreboard: one network, LeNet-300-100, in one form more with each lecture, and what each form costs.

A page asks for its own rows and those of the lectures before (``rows("05")``). All are made from the trained network
that comes with the library and measured there and then, on one machine: nothing is copied from another page.
"""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from course_lib import data, energy, measure, nets, ptq, quantized

NETWORK = "lenet_300_100"


@dataclass(frozen=True)
class Score:
    """One row: a form of LeNet-300-100, and what was measured.

    name : str
    bytes : int, of its file on disk
    accuracy : measure.Accuracy, on all test images
    latency : measure.Latency or None, of one image; None where nothing runs on what the file holds
    picojoules : float, estimated for one image (``energy.estimate``): weights read as they are stored, and arithmetic
        and activations in the numbers that are multiplied
    """

    name: str
    bytes: int
    accuracy: measure.Accuracy
    latency: measure.Latency | None
    picojoules: float


class Form(NamedTuple):
    """A form of the network: the lecture that makes it, and how it is made; see ``Made``."""

    lecture: str
    make: Callable[[torch.nn.Module, data.Dataset], Made]


class Made(NamedTuple):
    """What there is to measure.

    bytes : int, of the file
    net : callable, images -> logits, for the accuracy
    engine : callable or None, images -> logits, to be timed
    weight_bits : int, of a weight as it is stored and read
    number_bits : int, of what is multiplied: 32 where codes become real numbers first
    """

    bytes: int
    net: Callable
    engine: Callable | None
    weight_bits: int
    number_bits: int


def _real(model, dataset):
    def engine(x):
        with torch.inference_mode():
            return model(torch.from_numpy(x))

    return Made(len(_float_file(model)), model, engine, 32, 32)


def _zipped(model, dataset):
    """Nothing is lost, and nothing runs on it: unpacked, it is the float32 file again, and so are its weights read."""
    return Made(len(zlib.compress(_float_file(model), 9)), model, None, 32, 32)


def _float_file(model):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        quantized.save_float(model, path)
        return path.read_bytes()


def _weight_only(bits):
    def make(model, dataset):
        form = ptq.quantize_in_mode(model, None, "weight_only", weight_bits=bits)
        return Made(form.bytes, form.net, form.engine, bits, 32)

    return make


def _static(bits):
    def make(model, dataset):
        form = ptq.quantize_in_mode(model, dataset.train_x(512), "static", weight_bits=bits, activation_bits=bits)
        return Made(form.bytes, form.net, form.engine, bits, 8)

    return make


#: Every row, in the order of the lectures: {name: Form}. A lecture adds its own here.
FORMS = {
    "float32": Form("01", _real),
    "float32, zipped": Form("02", _zipped),
    "8-bit weights": Form("05", _weight_only(8)),
    "4-bit weights": Form("05", _weight_only(4)),
    "8/8, integers alone": Form("06", _static(8)),
    "4/4, integers alone": Form("06", _static(4)),
}


def score(name: str, dataset: data.Dataset | None = None) -> Score:
    """One form of the network, made and measured now, on one image at a time and as many threads as torch has.

    Parameters
    ----------
    name : str, a key of ``FORMS``
    dataset : Dataset, ``data.load()`` unless given

    Raises
    ------
    ValueError
        ``name`` is no form.
    """
    if name not in FORMS:
        raise ValueError(f"name={name!r} is not one of the forms {', '.join(map(repr, FORMS))}")
    dataset = data.load() if dataset is None else dataset
    model = nets.trained(NETWORK, dataset)
    made = FORMS[name].make(model, dataset)
    images, labels = dataset.test_x(), dataset.test_y()
    one = images[:1]
    latency = None
    if made.engine is not None:
        latency = measure.compare({name: lambda: made.engine(one)}, budget_s=0.3)[name]
    return Score(name, made.bytes, nets.evaluate(made.net, images, labels), latency, _picojoules(model, made))


def _picojoules(model, made):
    layers = [energy.linear(name, layer.in_features, layer.out_features)
              for name, layer in model.named_modules() if isinstance(layer, torch.nn.Linear)]
    stored, multiplied = (energy.estimate(layers, bits=bits) for bits in (made.weight_bits, made.number_bits))
    return sum(of_weights.weights_pj + of_numbers.arithmetic_pj + of_numbers.activations_pj
               for of_weights, of_numbers in zip(stored.layers, multiplied.layers, strict=True))


def rows(lecture: str, dataset: data.Dataset | None = None) -> list[Score]:
    """The scores of every form up to and with those of ``lecture``: ``rows("05")``.

    Raises
    ------
    ValueError
        No form belongs to that lecture.
    """
    lectures = sorted({form.lecture for form in FORMS.values()})
    if lecture not in lectures:
        raise ValueError(f"lecture={lecture!r} adds no row; those that do are {', '.join(map(repr, lectures))}")
    dataset = data.load() if dataset is None else dataset
    return [score(name, dataset) for name, form in FORMS.items() if form.lecture <= lecture]
