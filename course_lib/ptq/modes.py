"""The modes of post-training quantization side by side: what is codes, when a range is chosen, what multiplies codes.

    static         ranges of activations from calibration images, once; products on codes, integers from end to end
    dynamic        the range of what a layer reads is chosen while it runs; products on codes, real numbers between
    wide           as dynamic, with 16-bit activations: 8-bit weights meet two bytes
    weight-only    the file holds codes, which become real numbers again before they are used: no product on codes

Source: Gholami et al. 2021, "A survey of quantization methods for efficient neural network inference", sec. III-D.
"""

import tempfile
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from course_lib.arguments import choose
from course_lib.numerics import Calibration, Granularity
from course_lib.ptq.dynamic import DynamicNet, Per
from course_lib.ptq.post_training import Activations, quantize_model
from course_lib.quantized.model import QuantizedModel

__all__ = ["InMode", "Mode", "quantize_in_mode"]

WIDE_BITS = 16


class Mode(str, Enum):
    """What happens to activations."""

    STATIC = "static"
    DYNAMIC = "dynamic"
    WIDE = "wide"
    WEIGHT_ONLY = "weight_only"


class InMode(NamedTuple):
    """A network quantized in one mode.

    mode : Mode
    quantized : QuantizedModel, what a file holds: weight-only in every mode but the static one
    net : callable, images (n, …) -> logits (n, classes), for its accuracy; ``nets.predict`` takes it. Static and
        weight-only it is the simulation, in float32.
    engine : callable or None, images -> logits by products on codes: what can be timed. None: nothing multiplies codes
        in this mode, and **a simulation has no time**: it would be that of float32, with rounding on top.
    bytes : int, of the file
    """

    mode: Mode
    quantized: QuantizedModel
    net: Callable
    engine: Callable | None
    bytes: int


def quantize_in_mode(model: nn.Module, calibration_x: np.ndarray | torch.Tensor | Activations | None, mode: Mode | str,
                     *, weight_bits: int = 8, activation_bits: int = 8,
                     weight_calibration: Calibration | str = Calibration.MINMAX,
                     activation_calibration: Calibration | str = Calibration.MINMAX,
                     granularity: Granularity | str = Granularity.PER_CHANNEL, group_size: int | None = None,
                     per: Per | str = Per.BATCH) -> InMode:
    """Quantize a trained network in one of the modes.

    Parameters
    ----------
    model : nn.Module, as ``record_activations`` takes it
    calibration_x : images, or their ``Activations``
        Used in the static mode; the others choose no range from it, and it may be None.
    mode : Mode
    weight_bits : int, 2 to 8
    activation_bits : int, 1 to 8, static and dynamic
    weight_calibration : Calibration
    activation_calibration : Calibration
        Static. A range that is chosen while the network runs is that of all numbers: min-max.
    granularity, group_size : of the weights; see ``quantize_model``. Per group there are no products on codes: static
        has no engine then, and dynamic and wide are refused.
    per : Per, what shares a range, dynamic and wide

    Returns
    -------
    InMode

    Raises
    ------
    TypeError, ValueError
        What ``quantize_model`` and ``DynamicNet`` refuse; an unknown mode.
    """
    mode = choose(Mode, mode, "mode")
    static = mode is Mode.STATIC
    quantized = quantize_model(
        model, calibration_x if static else None, weight_bits=weight_bits, weight_calibration=weight_calibration,
        activation_bits=activation_bits if static else None, activation_calibration=activation_calibration,
        granularity=granularity, group_size=group_size)
    net = engine = None
    if static and choose(Granularity, granularity, "granularity") is not Granularity.PER_GROUP:
        engine = quantized.integer_only()
    elif mode in (Mode.DYNAMIC, Mode.WIDE):
        bits = WIDE_BITS if mode is Mode.WIDE else activation_bits
        net = engine = DynamicNet(quantized, activation_bits=bits, per=per)
    with tempfile.TemporaryDirectory() as folder:
        size = quantized.save(Path(folder) / "model.safetensors")
    return InMode(mode, quantized, quantized.simulated() if net is None else net, engine, size)
