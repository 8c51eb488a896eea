"""Quantization-aware training: train on while the forward pass rounds, so that the weights learn to live with it.

Reference: Jacob et al. 2018, "Quantization and training of neural networks for efficient integer-arithmetic-only
inference", sec. 3.
"""

import copy
from collections.abc import Mapping
from dataclasses import asdict

import numpy as np
import torch
from torch import nn

from course_lib.arguments import not_negative, whole_number
from course_lib.data import Dataset
from course_lib.nets.evaluation import evaluating
from course_lib.nets.inputs import as_images
from course_lib.nets.store import cached, recipe_of, trained
from course_lib.nets.threads import one_thread
from course_lib.nets.training import TrainingLog, train
from course_lib.numerics import Calibration, Granularity
from course_lib.ptq import post_training as ptq
from course_lib.qat.harness import FakeQuantNet, MakeQuantizer
from course_lib.qat.straight_through import StraightThrough
from course_lib.quantized.following import check_trainable, compare, follow, weights_of
from course_lib.quantized.model import QuantizedModel

__all__ = ["train_fake_quant", "train_qat", "trained_qat"]

CALIBRATION_IMAGES = 512


@one_thread()
@torch.inference_mode(False)
@torch.enable_grad()
def train_fake_quant(net: FakeQuantNet, x: np.ndarray, dataset: Dataset, *, epochs: int, lr: float = 2e-3,
                     weight_decay: float = 0.0, **options: object) -> TrainingLog:
    """Start the quantizers of a harness from images ``x``, and train it with them, in place.

    Before each later epoch the quantizers are told of the values as they are then (``Quantizer.renew``).

    Parameters
    ----------
    net : FakeQuantNet
    x : (n, …) float32, calibration images, for example ``dataset.train_x(512)``
    dataset : course_lib.data.Dataset
    epochs : int
        0 starts the quantizers and nothing more.
    lr, weight_decay : float
        Of the network; each estimator says what its own parameters have.
    options : what else ``train`` takes: batch_size, seed, loss, optimizer, schedule, after_step, validation, …

    Returns
    -------
    TrainingLog
    """
    epochs, lr = whole_number(epochs, "epochs", 0), not_negative(lr, "lr")
    weight_decay = not_negative(weight_decay, "weight_decay")
    if epochs and not any(p.requires_grad for p in net.model.parameters()):
        raise ValueError("every weight of model is frozen (requires_grad is False), so there is nothing to train: "
                         "call model.requires_grad_(True), or pass epochs=0")
    with torch.autocast("cpu", enabled=False):
        net.calibrate(x)  # even with no epoch the twin is complete
        return train(net, dataset, epochs=epochs, lr=lr, weight_decay=weight_decay,
                     groups=net.groups(lr, weight_decay),
                     before_epoch=lambda epoch: net.calibrate(x, renew=True) if epoch else None, **options)


@one_thread()
@torch.inference_mode(False)
@torch.enable_grad()
def train_qat(model: nn.Sequential, dataset: Dataset, *, weight_bits: int | Mapping[str, int],
              activation_bits: int | Mapping[str, int] | None, epochs: int = 5, batch_size: int = 128, lr: float = 2e-3,
              seed: int = 0, progress: bool = True, weight_calibration: Calibration = Calibration.MSE,
              activation_calibration: Calibration = Calibration.MSE, calibration_images: int = CALIBRATION_IMAGES,
              weight_quantizer: MakeQuantizer = StraightThrough, activation_quantizer: MakeQuantizer = StraightThrough,
              edge_bits: int | None = None, **options: object) -> QuantizedModel:
    """Train a copy of a trained network on, rounding in the forward pass; return its quantized twin.

    With the straight-through estimator, which stands here by default, the clipping ranges are chosen anew before each
    epoch, from the weights as they are then and from the first ``calibration_images`` training images; within an epoch
    they stand still. Weights are symmetric per channel, activations affine per tensor. On one thread, for the reason
    that ``train`` gives.

    Parameters
    ----------
    model : nn.Sequential
        As ``record_activations`` takes it, trained in real numbers, of any float dtype, on pixels from 0 to 1. It is
        not changed. Layers that are frozen stay so, weights that are pruned too.
    dataset : course_lib.data.Dataset
    weight_bits, activation_bits : int, dict of layer name -> int, and for activations None; see ``FakeQuantNet``
    epochs, batch_size, lr, seed, progress : see ``train``
    weight_calibration, activation_calibration : Calibration
    calibration_images : int
    weight_quantizer, activation_quantizer, edge_bits : see ``FakeQuantNet``
    options : what else ``train`` takes: loss, optimizer, schedule, after_step, …

    Returns
    -------
    QuantizedModel
        The same kind that ``quantize_model`` returns.

    Raises
    ------
    TypeError
        A layer that cannot be quantized; the message names it.
    ValueError
        Bits out of range; a wrong string; every weight is frozen; the model gives other outputs than its layers one
        after the other.
    """
    epochs, seed = whole_number(epochs, "epochs", 0), whole_number(seed, "seed")
    lr, batch_size = not_negative(lr, "lr"), whole_number(batch_size, "batch_size")
    x = dataset.train_x(whole_number(calibration_images, "calibration_images", 1))
    with torch.autocast("cpu", enabled=False):
        net = FakeQuantNet(_copy_of(model, x), weight_bits=weight_bits, activation_bits=activation_bits,
                           weight_calibration=weight_calibration, activation_calibration=activation_calibration,
                           weight_quantizer=weight_quantizer, activation_quantizer=activation_quantizer,
                           edge_bits=edge_bits)
        settings = {"epochs": epochs, "batch_size": batch_size, "lr": lr, "seed": seed}
        bits = {"weight_bits": _plain(weight_bits), "activation_bits": _plain(activation_bits)}
        label = f"QAT {bits['weight_bits']}/{bits['activation_bits'] or 'real'}"
        train_fake_quant(net, x, dataset, progress=progress, **{"label": label, **settings, **options})
        return net.quantized(x, {**bits, "edge_bits": _plain(edge_bits), **_meta(net), "qat": settings})


def _copy_of(model, x):
    """A copy of the model in float32 that can be trained; a model that cannot be followed is refused."""
    steps = follow(model)
    check_trainable(steps)
    with evaluating(model), torch.no_grad():
        compare(model, steps, weights_of(steps), as_images(x))  # weights that hooks make are plain numbers afterwards
    return copy.deepcopy(model).float().cpu()


def _plain(bits):
    """As Python's numbers, which a file can hold."""
    if isinstance(bits, Mapping):
        return {name: int(one) for name, one in bits.items()}
    return None if bits is None else int(bits)


def _meta(net):
    quantizers = [type(next(iter(of.values()))).__name__ if of else None for of in (net.of_weights, net.of_activations)]
    return {
        "weight_calibration": net.weight_calibration.value,
        "activation_calibration": None if net.activation_bits is None else net.activation_calibration.value,
        "granularity": Granularity.PER_CHANNEL.value,
        "quantizers": quantizers,
    }


VERSION = 2  # raise it when the code of this file changes what it gives
SETTINGS = {
    ("lenet_300_100", "mnist"): {"epochs": 5, "batch_size": 128, "lr": 2e-3},
    ("lenet_300_100", "digits"): {"epochs": 15, "batch_size": 32, "lr": 2e-3},
    ("lenet_5", "mnist"): {"epochs": 2, "batch_size": 128, "lr": 1e-3},
    ("lenet_5", "digits"): {"epochs": 10, "batch_size": 32, "lr": 1e-3},
    ("small_resnet", "mnist"): {"epochs": 1, "batch_size": 128, "lr": 2e-3},
    ("small_resnet", "digits"): {"epochs": 5, "batch_size": 32, "lr": 2e-3},
}


def trained_qat(name: str, dataset: Dataset, weight_bits: int, activation_bits: int | None, *, seed: int = 0,
                progress: bool = True) -> QuantizedModel:
    """What ``train_qat`` makes of ``trained(name, dataset)``: with the library, from the cache, or made now and kept.

    Parameters
    ----------
    name : {"lenet_300_100", "lenet_5", "small_resnet"}
    dataset : course_lib.data.Dataset
    weight_bits : int, 2 to 8
    activation_bits : int, 1 to 8, or None for real activations
    seed : int
        Of the real network, and of this training.
    progress : bool

    Returns
    -------
    QuantizedModel

    Raises
    ------
    ValueError
        ``name`` is no network of the course; bits out of range.
    """
    weight_bits, activation_bits = ptq.check_bits(weight_bits, activation_bits)
    label, key = label_and_key(name, dataset, weight_bits, activation_bits, seed)
    settings = SETTINGS[name, dataset.name]

    def make():
        model = trained(name, dataset, seed=seed, progress=progress)
        return train_qat(model, dataset, weight_bits=weight_bits, activation_bits=activation_bits, seed=seed,
                         progress=progress, **settings)

    return cached(label, key, make, save=lambda model, path: model.save(path), load=QuantizedModel.load)


def label_and_key(name: str, dataset: Dataset, weight_bits: int, activation_bits: int | None,
                  seed: int) -> tuple[str, dict]:
    """How the file of a ``trained_qat`` is called, and what decides what is in it."""
    start = recipe_of(name, dataset)  # an unknown name is refused here
    return f"{name}_qat_w{weight_bits}a{activation_bits or 32}", {
        "start": asdict(start), "bits": [weight_bits, activation_bits], **SETTINGS[name, dataset.name],
        "seed": seed, "data": dataset.fingerprint, "version": VERSION}
