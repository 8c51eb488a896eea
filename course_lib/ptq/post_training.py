"""Post-training quantization: a trained network, a few hundred images, and no training.

Two steps, kept apart because one is slow and the other is not. ``record_activations`` runs the real-valued network on
the calibration images and keeps what each layer hands on. ``quantize_model`` chooses clipping ranges from that record
and from the weights, and rounds the weights to codes; it can be repeated with other bits on the same record.

References: Jacob et al. 2018, "Quantization and training of neural networks for efficient integer-arithmetic-only
inference"; Gholami et al. 2021, "A survey of quantization methods for efficient neural network inference", sec. III.
"""

import zlib
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from course_lib.arguments import choose
from course_lib.nets.inputs import as_images
from course_lib.nets.training import evaluating
from course_lib.numerics import (
    Calibration,
    Granularity,
    QParams,
    Scheme,
    calibrate,
    calibrate_batches,
    qparams_from_range,
    quantize,
)
from course_lib.quantized.following import Step, compare, follow, run, weights_of
from course_lib.quantized.layers import KINDS, has_weights
from course_lib.quantized.model import QuantizedLayer, QuantizedModel
from course_lib.quantized.steps import IDENTITY, INPUT, inputs_of, scales_of

__all__ = ["Activations", "quantize_model", "record_activations"]

LOGITS_BITS = 16  # fine enough that two logits rarely share a code
BATCH = 32  # images at a time, where a calibrator averages over batches
LOGITS_ROOM = 2  # their codes reach twice as far as calibration saw: new images may go beyond, and 16 bits can pay
PIXELS = qparams_from_range(0.0, 1.0, bits=8, scheme=Scheme.AFFINE)  # bytes / 255: S = 1/255, Z = 0


@dataclass(frozen=True, eq=False)
class Activations:
    """What the layers of a network handed on while it ran on calibration images.

    Attributes
    ----------
    values : dict of layer name -> 1-D float32
        For each layer that has a scale of its own (with weights, or a sum), every number of what it hands on: after
        the ReLU and the maximum pooling that follow it, since both keep order and may as well come after the rounding,
        but before an average, whose numbers lie inside those it is of.
    logits : str or None
        The name of the layer whose values are the logits; None where they are averages of a layer's values.
    images : int
        How many images were run.
    input_qparams : QParams
        With which the images themselves are turned into codes (``input_range``).
    checksum : int
        Of the layers and weights that made these values: the record of one network is refused for another.
    """

    values: dict[str, np.ndarray] = field(repr=False)
    images: int
    input_qparams: QParams
    checksum: int
    logits: str | None = None


def record_activations(model: nn.Sequential, x: np.ndarray | torch.Tensor) -> Activations:
    """Run ``model`` on calibration images and keep what its layers hand on.

    It runs in evaluation mode and float32, whatever its mode, dtype and device are, and is left as it was. What is
    recorded is what its layers give one after the other; the model itself is run once beside them, and refused where
    it gives something else.

    Parameters
    ----------
    model : nn.Sequential of Flatten, Linear, Conv2d, MaxPool2d, AvgPool2d, AdaptiveAvgPool2d(1), ReLU, nets.Residual
        Batch normalization is folded into the layers before it, Dropout and Identity are passed over; a Sequential in
        it and a layer that stands twice are followed.
    x : array or tensor of any float dtype, (n, ...), n >= 1
        Some hundred training images, in the unit that the network was trained on.

    Returns
    -------
    Activations

    Raises
    ------
    TypeError
        A layer that cannot be quantized; the message names it and lists those that can.
    ValueError
        ``x`` is empty, constant, of integers, or has a NaN or an infinity, or a shape that a layer cannot take; the
        network made NaN or infinity of it, or gives other outputs than its layers one after the other.
    """
    return _recorded(model, follow(model), x)[0]


def calibration_images(x: np.ndarray | torch.Tensor) -> np.ndarray:
    """As ``as_images``, and refused where no range can be chosen from them."""
    x = as_images(x)
    if len(x) == 0:
        raise ValueError("x has no image; calibration needs some, for example dataset.train_x(512)")
    if not np.isfinite(x).all():
        raise ValueError(f"x has {np.count_nonzero(~np.isfinite(x))} values that are NaN or infinite; "
                         "calibration images should be finite")
    if x.size and x.min() == x.max():
        raise ValueError(f"x is {x.flat[0]:g} everywhere, and nothing can be learned of ranges from that; calibration "
                         "needs images like those that will come, for example dataset.train_x(512)")
    return x


def _recorded(model, steps, x):
    """The record of these images, and the weights that it was made with."""
    x = calibration_images(x)
    values, ends = {}, scales_of(steps).ends
    with evaluating(model), torch.no_grad():
        weights = weights_of(steps)
        for step, a in run(steps, weights, x):
            if ends.get(step.name, INPUT) != INPUT:
                values.setdefault(ends[step.name], a.numpy().reshape(-1))  # what averages make of them comes later
        for name, seen in values.items():
            if not np.isfinite(seen).all():
                raise ValueError(f"layer {name!r} makes NaN or infinity of the calibration images; the model is broken")
        compare(model, steps, weights, x)
    return Activations(values, len(x), input_range(x), _checksum(steps, weights), logits_of(steps)), weights


def logits_of(steps: list[Step]) -> str | None:
    """The name of the layer whose scale the logits have; None where they are averages, made of its values."""
    scales, last = scales_of(steps), steps[-1].name
    scale = scales.of[last]
    first_end = next((name for name, of in scales.ends.items() if of == scale), None)
    return scale if first_end == last else None


def quantize_model(model: nn.Sequential, calibration_x: np.ndarray | torch.Tensor | Activations | None, *,
                   weight_bits: int = 8, activation_bits: int | None = 8,
                   weight_calibration: Calibration = Calibration.MINMAX,
                   activation_calibration: Calibration = Calibration.MINMAX,
                   granularity: Granularity = Granularity.PER_CHANNEL,
                   group_size: int | None = None) -> QuantizedModel:
    """Quantize a trained network without training it again.

    Weights are symmetric; activations are affine, one scale a layer, with the range that the next layer sees (so the
    clamp to it is the ReLU). The input keeps 8 bits whatever ``activation_bits`` is; for pixels from 0 to 1 that are
    bytes / 255, S = 1/255 and Z = 0, so that a pixel's code is its byte, and for other images their range decides
    (``input_range``). The logits get 16 bits, so that ties are rare. Biases stay real here, the integer engine turns
    them into fixed point.

    Parameters
    ----------
    model : nn.Sequential
        As ``record_activations`` takes it; it is left as it was.
    calibration_x : (n, ...) array or tensor of a float dtype, or Activations
        Training images, or ``record_activations(model, images)`` where it is to be used several times. With
        ``activation_bits=None`` no range is chosen from it, and it may be None; then nothing can be compared either.
    weight_bits : int, 2 to 8
    activation_bits : int, 1 to 8, or None for real activations (weight-only)
    weight_calibration, activation_calibration : Calibration
        The moving average runs over batches of ``BATCH`` images; weights are one batch, so for them it is min-max.
    granularity : Granularity
        Of the weights. Per channel is per output channel; per group cuts along the last axis of the weight, which is
        the inputs of a linear layer, the width of the filter of a convolution.
    group_size : int, for ``Granularity.PER_GROUP``

    Returns
    -------
    QuantizedModel

    Raises
    ------
    TypeError
        A layer that cannot be quantized; the message names it and lists those that can.
    ValueError
        Bits out of range; a NaN in the weights or the calibration images; a wrong string; a record of other weights;
        what ``record_activations`` refuses.
    """
    weight_bits, activation_bits = check_bits(weight_bits, activation_bits)
    steps, record = follow(model), calibration_x
    if record is None and activation_bits is not None:
        raise ValueError("calibration_x is None; activations need images to choose their ranges from, for example "
                         "dataset.train_x(512)")
    if record is None or isinstance(record, Activations):
        with evaluating(model):
            weights = weights_of(steps)
    else:
        record, weights = _recorded(model, steps, record)
    weight_qparams = weight_ranges(weights, bits=weight_bits, method=weight_calibration, granularity=granularity,
                                   group_size=group_size)
    activation_qparams = input_qparams = None
    if activation_bits is not None:
        missing = [name for name in weight_qparams if name not in record.values]
        if missing:
            raise ValueError(f"calibration_x holds no activations of layer {missing[0]!r}; "
                             "it was recorded from another model")
        if record.checksum != _checksum(steps, weights):
            raise ValueError("calibration_x was recorded from other weights or layers than model has now; record it "
                             "again: record_activations(model, images)")
        activation_qparams = activation_ranges(record, bits=activation_bits, method=activation_calibration)
        input_qparams = record.input_qparams
    meta = {
        "weight_bits": weight_bits,
        "activation_bits": activation_bits,
        "weight_calibration": Calibration(weight_calibration).value,
        "activation_calibration": None if activation_bits is None else Calibration(activation_calibration).value,
        "granularity": Granularity(granularity).value,
    }
    return assemble(steps, weights, weight_qparams, input_qparams, activation_qparams, meta)


def input_range(x: np.ndarray) -> QParams:
    """The 8-bit ``QParams`` of images: affine, from the smallest to the largest number, widened to hold zero.

    Where all of them are bytes, divided by 255 or as they are, the range is that of the bytes, and each has itself for
    a code, also where the images are dark. (Whole numbers below 128 may be anything.)   x: (n, …) float32 ndarray,
    finite, not empty
    """
    low, high = float(x.min()), float(x.max())
    for white, least in ((1.0, 0.0), (255.0, 128.0)):
        if 0 <= low and least <= high <= 1.00001 * white:
            codes = x * np.float32(255 / white)
            if np.abs(codes - np.rint(codes)).max() < 1e-3:
                return qparams_from_range(0.0, white, bits=8, scheme=Scheme.AFFINE)
    return qparams_from_range(min(0.0, low), max(0.0, high), bits=8, scheme=Scheme.AFFINE)


def _checksum(steps, weights):
    """Of everything that decides what the layers hand on: kinds, options and order too, not the weights alone."""
    seen = [(step.name, step.kind, step.options, step.inputs) for step in steps if step.kind != IDENTITY]
    total = zlib.crc32(repr(seen).encode())
    for array in (array for pair in weights.values() for array in pair if array is not None):
        total = zlib.crc32(array, total)
    return total


def weight_ranges(weights: dict, *, bits: int, method: Calibration = Calibration.MINMAX,
                  granularity: Granularity = Granularity.PER_CHANNEL, group_size: int | None = None) -> dict:
    """The symmetric ``QParams`` of every weight: dict of layer name -> QParams."""
    return {
        name: calibrate(weight, bits=bits, scheme=Scheme.SYMMETRIC, granularity=granularity, axis=0,
                        group_size=group_size, method=method)
        for name, (weight, _) in weights.items()
    }


def activation_ranges(activations: Activations, *, bits: int, method: Calibration = Calibration.MINMAX) -> dict:
    """The affine ``QParams`` of what every layer with a scale of its own hands on: dict of layer name -> QParams."""
    return {name: logits_range(values) if name == activations.logits
            else activation_range(values.reshape(activations.images, -1), bits=bits, method=method)
            for name, values in activations.values.items()}


def activation_range(values: np.ndarray, *, bits: int, method: Calibration = Calibration.MINMAX) -> QParams:
    """The affine, unsigned ``QParams`` of one layer's activations.   values: (n, …), an image a row

    The moving average takes ``BATCH`` images at a time; a remainder smaller than that, behind them, is left out.
    """
    if choose(Calibration, method, "activation_calibration") is Calibration.MOVING_AVERAGE:
        whole_batches = range(0, max(len(values) - BATCH + 1, 1), BATCH)
        return calibrate_batches((values[i : i + BATCH] for i in whole_batches), bits=bits, scheme=Scheme.AFFINE)
    return calibrate(values, bits=bits, scheme=Scheme.AFFINE, method=method)


def logits_range(logits: np.ndarray) -> QParams:
    """The ``QParams`` of the logits: 16 bits, signed, with room beyond what was seen."""
    return qparams_from_range(LOGITS_ROOM * min(0.0, logits.min()), LOGITS_ROOM * max(0.0, logits.max()),
                              bits=LOGITS_BITS, scheme=Scheme.AFFINE, signed=True)


def assemble(steps: list[Step], weights: dict, weight_qparams: dict, input_qparams: QParams | None,
             activation_qparams: dict | None, meta: dict) -> QuantizedModel:
    """The ``QuantizedModel`` of these layers with these ranges; both of the activations are None for weight-only."""
    scales = scales_of(steps).of
    qparams = {name: None if activation_qparams is None else input_qparams if scale == INPUT
               else activation_qparams[scale] for name, scale in scales.items()}
    layers, stands_for, before = [], {INPUT: INPUT}, INPUT  # what dropout hands on is what the layer before it does
    for step, names in zip(steps, inputs_of(steps)):
        reads = tuple(stands_for[name] for name in names)
        stands_for[step.name] = reads[0] if step.kind == IDENTITY else step.name
        if step.kind == IDENTITY:
            continue
        arrays, given = {}, tuple(qparams[name] for name in reads)
        if has_weights(step.kind):
            (weight, bias), of_weight = weights[step.name], weight_qparams[step.name]
            arrays = {"weight_codes": quantize(weight, of_weight), "weight_qparams": of_weight,
                      "bias": None if bias is None else bias.copy()}
        several = KINDS[step.kind].arity > 1 and activation_qparams is not None
        layers.append(QuantizedLayer(
            step.kind, step.name, input_qparams=given if several else given[0], output_qparams=qparams[step.name],
            options=step.options, inputs=() if reads == (before,) else reads, **arrays))
        before = step.name
    return QuantizedModel(tuple(layers), input_qparams, meta)


def check_bits(weight_bits: int, activation_bits: int | None) -> tuple[int, int | None]:
    """Both as Python's ints, or None."""
    weight_bits = _bits(weight_bits, "weight_bits", 2, "a whole number from 2 to 8")
    if activation_bits is not None:
        activation_bits = _bits(activation_bits, "activation_bits", 1, "a whole number from 1 to 8, or None")
    return weight_bits, activation_bits


def _bits(value, name, low, words):
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)) or not low <= value <= 8:
        raise ValueError(f"{name} is {value!r}; it should be {words}")
    return int(value)
