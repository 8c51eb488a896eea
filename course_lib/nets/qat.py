"""Quantization-aware training: train on while the forward pass rounds, so that the weights learn to live with it.

Rounding has a slope of zero almost everywhere, which would stop all learning. The straight-through estimator pretends,
in the backward pass alone, that the slope is one wherever the code was not clipped.

References: Bengio et al. 2013, "Estimating or propagating gradients through stochastic neurons"; Jacob et al. 2018,
"Quantization and training of neural networks for efficient integer-arithmetic-only inference", sec. 3.
"""

import copy
from dataclasses import asdict

import numpy as np
import torch
from torch import nn
from torch.nn.functional import conv2d, linear

from ..numerics import Calibration, Granularity
from . import ptq
from .quantized import QuantizedModel
from .store import cached, recipe_of, trained
from .training import train

__all__ = ["FakeQuantNet", "fake_quantize_ste", "train_qat", "trained_qat"]


class _FakeQuantize(torch.autograd.Function):
    """Forward: S clip(round(x / S), low, high). Backward: the gradient where nothing was clipped, else 0.

    ``low`` and ``high`` are qmin − Z and qmax − Z: the zero point cancels, and need not be added first.
    """

    @staticmethod
    def forward(ctx, x, scale, low, high):
        steps = (x / scale).round_()  # half to even
        clipped = steps.clamp(low, high)
        ctx.save_for_backward(steps == clipped)
        return clipped.mul_(scale)

    @staticmethod
    def backward(ctx, gradient):
        (unclipped,) = ctx.saved_tensors
        return gradient * unclipped, None, None, None


def fake_quantize_ste(x, qparams):
    """Quantize and dequantize a torch tensor, with the straight-through gradient.

    NaN stays NaN; ±inf saturates; a scalar or an empty tensor keeps its shape. The gradient is that of the identity
    where the rounded code lies in the code range, and zero where it was clipped.

    Parameters
    ----------
    x : tensor, any shape, float32
    qparams : QParams

    Returns
    -------
    tensor, shape of ``x``, float32

    Raises
    ------
    ValueError
        ``x`` does not match the shape of per-channel or per-group ``qparams``.

    Source: Jacob et al. 2018, sec. 3; the same rule as ``torch.fake_quantize_per_tensor_affine``.
    """
    return _FakeQuantize.apply(x, *_steps_of(qparams, x.shape))


def _steps_of(qparams, shape):
    """(S, qmin − Z, qmax − Z), each a number or a tensor that broadcasts against ``shape``."""
    if qparams.granularity is Granularity.PER_TENSOR:
        zero_point = int(qparams.zero_point)
        return float(qparams.scale), qparams.qmin - zero_point, qparams.qmax - zero_point
    qparams.rows(np.empty(shape, np.uint8))  # raises where the shapes do not match
    scale, zero_point = torch.tensor(qparams.scale), torch.tensor(qparams.zero_point)
    if qparams.granularity is Granularity.PER_CHANNEL:
        spread = [1] * len(shape)
        spread[qparams.axis] = -1
        scale, zero_point = scale.reshape(spread), zero_point.reshape(spread)
    else:
        scale, zero_point = (t.repeat_interleave(qparams.group_size, 1)[:, : shape[-1]].reshape(shape)
                             for t in (scale, zero_point))
    if not zero_point.any():
        return scale, qparams.qmin, qparams.qmax
    return scale, qparams.qmin - zero_point, qparams.qmax - zero_point


class FakeQuantNet(nn.Module):
    """A network whose forward pass rounds weights and activations as its quantized twin will, and which can be trained.

    Activations are rounded where the next layer with weights reads them, after ReLU and pooling; the input is left
    alone, since pixels / 255 lie on the 8-bit grid already, and so are the logits.

    Parameters
    ----------
    model : nn.Sequential of Flatten, Linear, Conv2d, MaxPool2d, ReLU
        Its weights are the ones trained: they stay real, and only their rounded image is used.
    weight_bits : int, 2 to 8
    activation_bits : int, 1 to 8, or None for real activations
    weight_calibration, activation_calibration : Calibration
    """

    def __init__(self, model, *, weight_bits, activation_bits, weight_calibration=Calibration.MSE,
                 activation_calibration=Calibration.MSE):
        super().__init__()
        ptq.check_bits(weight_bits, activation_bits)
        self.model, self.steps = model, ptq.steps_of(model)
        self.weight_bits, self.activation_bits = weight_bits, activation_bits
        self.weight_calibration = Calibration(weight_calibration)
        self.activation_calibration = Calibration(activation_calibration)
        self.weight_qparams, self.activation_qparams = {}, {}

    def forward(self, a):
        return self._run(a)

    def calibrate(self, x):
        """Choose all clipping ranges again, for the weights as they are now and for the images ``x`` (float32 tensor).

        Layer by layer: each range is chosen for what arrives when everything before it is rounded already.
        """
        self.weight_qparams = ptq.weight_ranges(self.model, bits=self.weight_bits, method=self.weight_calibration)
        self.activation_qparams = {}
        with torch.no_grad():
            self._run(x, choose=True)

    def quantized(self, x, meta=None):
        """The ``QuantizedModel`` with the ranges of the last ``calibrate``; the images ``x`` set that of the logits."""
        with torch.no_grad():
            logits = self._run(x).numpy()
        last = list(self.weight_qparams)[-1]
        ranges = None if self.activation_bits is None else {**self.activation_qparams, last: ptq.logits_range(logits)}
        return ptq.assemble(self.steps, self.weight_qparams, ranges, meta or {})

    def _run(self, a, choose=False):
        source = None  # the last layer with weights
        for name, kind, layer in self.steps:
            if kind not in ptq.WEIGHTED:
                a = layer(a)
                continue
            if source is not None and self.activation_bits is not None:
                if choose:
                    self.activation_qparams[source] = ptq.activation_range(
                        a.numpy(), bits=self.activation_bits, method=self.activation_calibration)
                a = fake_quantize_ste(a, self.activation_qparams[source])
            weight = fake_quantize_ste(layer.weight, self.weight_qparams[name])
            if kind == "linear":
                a = linear(a, weight, layer.bias)
            else:
                a = conv2d(a, weight, layer.bias, layer.stride, layer.padding)
            source = name
        return a


def train_qat(model, dataset, *, weight_bits, activation_bits, epochs=5, batch_size=128, lr=2e-3, seed=0, progress=True,
              weight_calibration=Calibration.MSE, activation_calibration=Calibration.MSE, calibration_images=512):
    """Train a copy of a trained network on, rounding in the forward pass; return its quantized twin.

    The clipping ranges are chosen anew before each epoch, from the weights as they are then and from the first
    ``calibration_images`` training images; within an epoch they stand still. Weights are symmetric per channel,
    activations affine per tensor.

    Parameters
    ----------
    model : nn.Sequential of Flatten, Linear, Conv2d, MaxPool2d, ReLU
        Trained in real numbers. It is not changed.
    dataset : course_lib.data.Dataset
    weight_bits : int, 2 to 8
    activation_bits : int, 1 to 8, or None for real activations
    epochs, batch_size, lr, seed, progress : see ``train``
    weight_calibration, activation_calibration : Calibration
    calibration_images : int

    Returns
    -------
    QuantizedModel
        The same kind that ``quantize_model`` returns.
    """
    net = FakeQuantNet(copy.deepcopy(model), weight_bits=weight_bits, activation_bits=activation_bits,
                       weight_calibration=weight_calibration, activation_calibration=activation_calibration)
    x = torch.from_numpy(dataset.train_x(calibration_images))
    net.calibrate(x)  # even with no epoch the twin is complete
    train(net, dataset, epochs=epochs, batch_size=batch_size, lr=lr, seed=seed, progress=progress,
          before_epoch=lambda epoch: net.calibrate(x) if epoch else None,
          label=f"QAT {weight_bits}/{activation_bits or 'real'}")
    meta = {
        "weight_bits": weight_bits,
        "activation_bits": activation_bits,
        "weight_calibration": net.weight_calibration.value,
        "activation_calibration": None if activation_bits is None else net.activation_calibration.value,
        "granularity": Granularity.PER_CHANNEL.value,
        "qat": {"epochs": epochs, "batch_size": batch_size, "lr": lr, "seed": seed},
    }
    return net.quantized(x, meta)


VERSION = 1  # raise it when the code of this file changes what it gives
SETTINGS = {
    ("lenet_300_100", "mnist"): {"epochs": 5, "batch_size": 128, "lr": 2e-3},
    ("lenet_300_100", "digits"): {"epochs": 15, "batch_size": 32, "lr": 2e-3},
    ("lenet_5", "mnist"): {"epochs": 2, "batch_size": 128, "lr": 1e-3},
    ("lenet_5", "digits"): {"epochs": 10, "batch_size": 32, "lr": 1e-3},
}


def trained_qat(name, dataset, weight_bits, activation_bits, *, seed=0, progress=True):
    """What ``train_qat`` makes of ``trained(name, dataset)``, from the cache, or made now and kept.

    Parameters
    ----------
    name : {"lenet_300_100", "lenet_5"}
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
    ptq.check_bits(weight_bits, activation_bits)
    start = recipe_of(name, dataset)  # an unknown name is refused here
    settings = SETTINGS[name, dataset.name]
    key = {"start": asdict(start), "bits": [weight_bits, activation_bits], **settings,
           "seed": seed, "data": dataset.fingerprint, "version": VERSION}

    def make():
        model = trained(name, dataset, seed=seed, progress=progress)
        return train_qat(model, dataset, weight_bits=weight_bits, activation_bits=activation_bits, seed=seed,
                         progress=progress, **settings)

    label = f"{name}_qat_w{weight_bits}a{activation_bits or 32}"
    return cached(label, key, make, save=lambda model, path: model.save(path), load=QuantizedModel.load)
