"""Bias correction: what rounding adds to a channel on average is taken out of its bias.

Rounding errors of weights do not cancel: in one output channel they have a mean, which shifts everything that the
channel gives. The shift is measured on calibration images, E[W x + b] of the real network against E[Ŵ x̂ + b] of the
quantized one, and the difference goes into the bias, which costs nothing at run time. Layer by layer: each shift is
measured with the layers before it corrected.

Source: Nagel et al. 2019, "Data-free quantization through weight equalization and bias correction", sec. 4.2 and
appendix D (empirical bias correction).
"""

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from course_lib.nets.training import evaluating
from course_lib.numerics import dequantize
from course_lib.ptq.post_training import calibration_images
from course_lib.quantized.following import compare, follow, weights_of
from course_lib.quantized.layers import KINDS, has_weights
from course_lib.quantized.model import QuantizedModel
from course_lib.quantized.simulated import FakeQuantize
from course_lib.quantized.steps import run_steps

__all__ = ["correct_bias"]


def correct_bias(quantized: QuantizedModel, model: nn.Module, images: np.ndarray | torch.Tensor) -> QuantizedModel:
    """A quantized network whose channels have, on average over some images, the outputs of the real one.

    The averages are of what a layer with weights gives, before ReLU and rounding, over images and positions. Codes,
    scales and ranges stay; the bias of a layer that had none is the correction alone.

    Parameters
    ----------
    quantized : QuantizedModel
        Static or weight-only, made of ``model``. It is left as it was.
    model : nn.Module
        The real network, as ``record_activations`` takes it.
    images : (n, …) array or tensor of a float dtype, n >= 1
        Those of the calibration.

    Returns
    -------
    QuantizedModel
        With ``meta["bias_correction"]`` the number of images.

    Raises
    ------
    TypeError
        A layer of ``model`` that cannot be quantized; the message names it.
    ValueError
        No images, or a NaN in them; ``quantized`` was made of another network.
    """
    x, steps = calibration_images(images), follow(model)
    with evaluating(model), torch.no_grad():
        weights = weights_of(steps)
        compare(model, steps, weights, x)
        _check_same(quantized, weights)
        corrected = {}
        x = torch.from_numpy(x)
        rounded = x if quantized.input_qparams is None else FakeQuantize(quantized.input_qparams)(x)
        run_steps(quantized.layers, (x, rounded), lambda layer, *pairs: _step(layer, pairs, weights, corrected))
    layers = tuple(replace(layer, bias=corrected[layer.name]) if layer.name in corrected else layer
                   for layer in quantized.layers)
    return QuantizedModel(layers, quantized.input_qparams, {**quantized.meta, "bias_correction": len(x)})


def _step(layer, pairs, weights, corrected):
    """(real, rounded): what a layer hands on in both networks; the bias that it should have goes into ``corrected``."""
    kind, real, rounded = KINDS[layer.kind], *zip(*pairs)
    if not has_weights(layer.kind):
        real, rounded = (kind.simulate(layer.options, *values) for values in (real, rounded))
    else:
        weight, bias = (None if value is None else torch.from_numpy(value) for value in weights[layer.name])
        codes = torch.from_numpy(dequantize(layer.weight_codes, layer.weight_qparams)).float()
        old = None if layer.bias is None else torch.from_numpy(layer.bias)
        real = kind.simulate(layer.options, *real, weight=weight, bias=bias)
        rounded = kind.simulate(layer.options, *rounded, weight=codes, bias=old)
        axes = [axis for axis in range(real.ndim) if axis != 1]  # all but the channels
        shift = (real.double() - rounded.double()).mean(axes).float()
        corrected[layer.name] = (shift if old is None else old + shift).numpy()
        rounded = rounded + shift.reshape(-1, *[1] * (real.ndim - 2))
    if layer.output_qparams is not None and not kind.keeps_order:
        rounded = FakeQuantize(layer.output_qparams)(rounded)
    return real, rounded


def _check_same(quantized, weights):
    """Refuse a quantized network whose layers with weights are others than those of the real one."""
    ours = {layer.name: layer.weight_shape for layer in quantized.layers if has_weights(layer.kind)}
    theirs = {name: weight.shape for name, (weight, _) in weights.items()}
    if ours != theirs:
        raise ValueError(f"quantized has the layers with weights {ours}, and model has {theirs}; it was made of "
                         "another network")
