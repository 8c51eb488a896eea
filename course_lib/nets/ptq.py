"""Post-training quantization: a trained network, a few hundred images, and no training.

Two steps, kept apart because one is slow and the other is not. ``record_activations`` runs the real-valued network on
the calibration images and keeps what each layer hands on. ``quantize_model`` chooses clipping ranges from that record
and from the weights, and rounds the weights to codes; it can be repeated with other bits on the same record.

References: Jacob et al. 2018, "Quantization and training of neural networks for efficient integer-arithmetic-only
inference"; Gholami et al. 2021, "A survey of quantization methods for efficient neural network inference", sec. III.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from ..numerics import Calibration, Granularity, Scheme, calibrate, qparams_from_range, quantize
from .quantized import QuantizedLayer, QuantizedModel

__all__ = ["Activations", "quantize_model", "record_activations"]

KINDS = {nn.Linear: "linear", nn.Conv2d: "conv2d", nn.MaxPool2d: "max_pool2d", nn.ReLU: "relu", nn.Flatten: "flatten"}
WEIGHTED = ("linear", "conv2d")
LOGITS_BITS = 16  # fine enough that two logits rarely share a code
LOGITS_ROOM = 2  # their codes reach twice as far as calibration saw: new images may go beyond, and 16 bits can pay
PIXELS = qparams_from_range(0.0, 1.0, bits=8)  # S = 1/255, Z = 0: the code of a pixel is its byte


@dataclass(frozen=True, eq=False)
class Activations:
    """What the layers of a network handed on while it ran on calibration images.

    Attributes
    ----------
    values : dict of layer name -> 1-D float32
        For each layer with weights, every number that the next such layer (or the reader of the logits) is given:
        after the ReLU and the pooling that follow it. Both keep order, so they may as well come after the rounding.
    images : int
        How many images were run.
    """

    values: dict = field(repr=False)
    images: int


def record_activations(model, x):
    """Run ``model`` on calibration images and keep what its layers hand on.

    Parameters
    ----------
    model : nn.Sequential of Flatten, Linear, Conv2d, MaxPool2d, ReLU
    x : ndarray or tensor, (n, ...) float32, n >= 1
        Some hundred training images.

    Returns
    -------
    Activations

    Raises
    ------
    TypeError
        A layer that cannot be quantized; the message names it and lists those that can.
    ValueError
        ``x`` is empty, or has a NaN or an infinity; or the network made one of it.
    """
    steps = steps_of(model)
    if isinstance(x, torch.Tensor):
        x = x.detach().cpu().numpy()
    x = np.asarray(x)
    if x.dtype != np.float32:
        raise ValueError(f"x has dtype {x.dtype}; it should be float32, as dataset.train_x() gives it")
    if len(x) == 0:
        raise ValueError("x has no image; calibration needs some, for example dataset.train_x(512)")
    if not np.isfinite(x).all():
        raise ValueError(f"x has {np.count_nonzero(~np.isfinite(x))} values that are NaN or infinite; "
                         "calibration images should be finite")
    values, source = {}, None
    with torch.inference_mode():
        a = torch.from_numpy(x)
        for name, kind, layer in steps:
            a = layer(a)
            source = name if kind in WEIGHTED else source
            if source is not None:
                values[source] = a.numpy().reshape(-1)  # overwritten until the next layer with weights
    for name, seen in values.items():
        if not np.isfinite(seen).all():
            raise ValueError(f"layer {name!r} makes NaN or infinity of the calibration images; the model is broken")
    return Activations(values, len(x))


def quantize_model(model, calibration_x, *, weight_bits=8, activation_bits=8, weight_calibration=Calibration.MINMAX,
                   activation_calibration=Calibration.MINMAX, granularity=Granularity.PER_CHANNEL, group_size=None):
    """Quantize a trained network without training it again.

    Weights are symmetric; activations are affine, one scale a layer, with the range that the next layer sees (so the
    clamp to it is the ReLU). The input keeps 8 bits whatever ``activation_bits`` is, S = 1/255 and Z = 0, so that a
    pixel's code is its byte; the logits get 16, so that ties are rare. Biases stay real here, the integer engine
    turns them into fixed point.

    Parameters
    ----------
    model : nn.Sequential of Flatten, Linear, Conv2d, MaxPool2d, ReLU
    calibration_x : (n, ...) float32 ndarray or tensor, or Activations
        Training images, or ``record_activations(model, images)`` where it is to be used several times. With
        ``activation_bits=None`` it is not looked at, and may be None.
    weight_bits : int, 2 to 8
    activation_bits : int, 1 to 8, or None for real activations (weight-only)
    weight_calibration, activation_calibration : Calibration
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
        Bits out of range; a NaN in the weights or the calibration images; a wrong string.
    """
    steps = steps_of(model)
    check_bits(weight_bits, activation_bits)
    weight_qparams = weight_ranges(model, bits=weight_bits, method=weight_calibration, granularity=granularity,
                                   group_size=group_size)
    activation_qparams = None
    if activation_bits is not None:
        if not isinstance(calibration_x, Activations):
            calibration_x = record_activations(model, calibration_x)
        missing = [name for name in weight_qparams if name not in calibration_x.values]
        if missing:
            raise ValueError(f"calibration_x holds no activations of layer {missing[0]!r}; "
                             "it was recorded from another model")
        activation_qparams = activation_ranges(calibration_x, bits=activation_bits, method=activation_calibration)
    meta = {
        "weight_bits": weight_bits,
        "activation_bits": activation_bits,
        "weight_calibration": Calibration(weight_calibration).value,
        "activation_calibration": None if activation_bits is None else Calibration(activation_calibration).value,
        "granularity": Granularity(granularity).value,
    }
    return assemble(steps, weight_qparams, activation_qparams, meta)


def weight_ranges(model, *, bits, method=Calibration.MINMAX, granularity=Granularity.PER_CHANNEL, group_size=None):
    """The symmetric ``QParams`` of every weight: dict of layer name -> QParams."""
    return {
        name: calibrate(_array(layer.weight), bits=bits, scheme=Scheme.SYMMETRIC, granularity=granularity, axis=0,
                        group_size=group_size, method=method)
        for name, kind, layer in steps_of(model) if kind in WEIGHTED
    }


def activation_ranges(activations, *, bits, method=Calibration.MINMAX):
    """The affine ``QParams`` of what every layer with weights hands on: dict of layer name -> QParams."""
    *hidden, last = activations.values
    ranges = {name: activation_range(activations.values[name], bits=bits, method=method) for name in hidden}
    return {**ranges, last: logits_range(activations.values[last])}


def activation_range(values, *, bits, method=Calibration.MINMAX):
    """The affine, unsigned ``QParams`` of one layer's activations."""
    return calibrate(values, bits=bits, scheme=Scheme.AFFINE, method=method)


def logits_range(logits):
    """The ``QParams`` of the logits: 16 bits, signed, with room beyond what was seen."""
    return qparams_from_range(LOGITS_ROOM * min(0.0, logits.min()), LOGITS_ROOM * max(0.0, logits.max()),
                              bits=LOGITS_BITS, scheme=Scheme.AFFINE, signed=True)


def assemble(steps, weight_qparams, activation_qparams, meta):
    """The ``QuantizedModel`` of these layers with these ranges; ``activation_qparams`` is None for weight-only."""
    layers, current = [], None if activation_qparams is None else PIXELS
    for name, kind, layer in steps:
        given, weights = current, {}
        if kind in WEIGHTED:
            current = activation_qparams and activation_qparams[name]
            qparams = weight_qparams[name]
            weights = {"weight_codes": quantize(_array(layer.weight), qparams), "weight_qparams": qparams,
                       "bias": None if layer.bias is None else _array(layer.bias).copy()}
        layers.append(QuantizedLayer(kind, name, input_qparams=given, output_qparams=current,
                                     options=_options(kind, layer), **weights))
    return QuantizedModel(tuple(layers), None if activation_qparams is None else PIXELS, meta)


def steps_of(model):
    """[(name, kind, layer)] of a network that can be quantized, else an error that names the layer in the way."""
    supported = ", ".join(kind.__name__ for kind in KINDS)
    if not isinstance(model, nn.Sequential):
        raise TypeError(f"model is a {type(model).__name__}; it should be an nn.Sequential of {supported}")
    for name, layer in model.named_children():
        if type(layer) not in KINDS:
            raise TypeError(f"layer {name!r} is a {type(layer).__name__}, which cannot be quantized; "
                            f"supported are {supported}")
        unusual = _unusual(layer)
        if unusual:
            raise TypeError(f"layer {name!r} has {unusual}, which cannot be quantized")
    steps = [(name, KINDS[type(layer)], layer) for name, layer in model.named_children()]
    if not any(kind in WEIGHTED for _, kind, _ in steps):
        raise TypeError("model has no Linear or Conv2d layer; there is nothing to quantize")
    return steps


def _unusual(layer):
    """The option of a supported layer that is not supported, in words, or None."""
    for option, usual in (("dilation", 1), ("groups", 1), ("padding_mode", "zeros"), ("ceil_mode", False),
                          ("return_indices", False), ("start_dim", 1), ("end_dim", -1)):
        value = getattr(layer, option, usual)
        if value != usual and value != (usual, usual):
            return f"{option}={value!r}"
    padding = getattr(layer, "padding", 0)
    return f"padding={padding!r}" if isinstance(padding, str) else None


def _options(kind, layer):
    if kind == "conv2d":
        return {"stride": layer.stride, "padding": layer.padding}
    if kind == "max_pool2d":
        return {"kernel_size": layer.kernel_size, "stride": layer.stride, "padding": layer.padding}
    return {}


def check_bits(weight_bits, activation_bits):
    if weight_bits not in range(2, 9):
        raise ValueError(f"weight_bits is {weight_bits!r}; it should be a whole number from 2 to 8")
    if activation_bits is not None and activation_bits not in range(1, 9):
        raise ValueError(f"activation_bits is {activation_bits!r}; it should be a whole number from 1 to 8, or None")


def _array(parameter):
    return parameter.detach().cpu().numpy()
