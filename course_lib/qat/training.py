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

from course_lib.arguments import not_negative, whole_number
from course_lib.nets.evaluation import evaluating
from course_lib.nets.inputs import as_images
from course_lib.nets.store import cached, recipe_of, trained
from course_lib.nets.threads import one_thread
from course_lib.nets.training import train
from course_lib.numerics import Calibration, Granularity, QParams
from course_lib.ptq import post_training as ptq
from course_lib.quantized.following import (
    IDENTITY,
    check_trainable,
    compare,
    follow,
    fresh_weight,
    run,
    weights_of,
)
from course_lib.quantized.kinds import WEIGHTED
from course_lib.quantized.model import QuantizedModel
from course_lib.quantized.simulated import apply

__all__ = ["FakeQuantNet", "fake_quantize_ste", "train_qat", "trained_qat"]


class _FakeQuantize(torch.autograd.Function):
    """Forward: S clip(round(x / S), low, high). Backward: the gradient where nothing was clipped, else 0.

    ``low`` and ``high`` are qmin − Z and qmax − Z: the zero point cancels, and need not be added first. As in
    ``numerics.fake_quantize`` the division runs in the wider dtype of x and S, and the result is one of S; then x's.
    """

    @staticmethod
    def forward(ctx, x, scale, low, high):
        wide = torch.promote_types(x.dtype, scale.dtype)
        steps = (x.to(wide) / scale.to(wide)).round_()  # half to even
        clipped = steps.clamp(low, high)
        ctx.save_for_backward(steps == clipped)
        return clipped.mul_(scale.to(wide)).to(scale.dtype).to(x.dtype)

    @staticmethod
    def backward(ctx, gradient):
        (unclipped,) = ctx.saved_tensors
        return gradient * unclipped, None, None, None


def fake_quantize_ste(x, qparams):
    """Quantize and dequantize a torch tensor, with the straight-through gradient.

    The numbers are those of ``numerics.fake_quantize``, to the last bit, given in the dtype of ``x``: where only the
    scale is float64 they are rounded once more, to float32.

    NaN stays NaN; ±inf saturates; a scalar or an empty tensor keeps its shape. The gradient is that of the identity
    where the rounded code lies in the code range, and zero where it was clipped.

    Parameters
    ----------
    x : tensor, any shape, float32 or float64
    qparams : QParams

    Returns
    -------
    tensor, shape and dtype of ``x``

    Raises
    ------
    TypeError
        ``x`` is no tensor, or of another dtype; ``qparams`` are none.
    ValueError
        ``x`` does not match the shape of per-channel or per-group ``qparams``.

    Source: Jacob et al. 2018, sec. 3; the same rule as ``torch.fake_quantize_per_tensor_affine``.
    """
    if not isinstance(x, torch.Tensor):
        raise TypeError(f"x is a {type(x).__name__}; it must be a tensor: for arrays take cl.numerics.fake_quantize "
                        "or torch.from_numpy(x)")
    if x.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"x has dtype {x.dtype}; it must be torch.float32 or torch.float64: use x.float()")
    if not isinstance(qparams, QParams):
        raise TypeError(f"qparams is a {type(qparams).__name__}; it must be QParams, as cl.numerics.calibrate makes")
    return _FakeQuantize.apply(x, *_steps_of(qparams, x.shape, x.device))


def _steps_of(qparams, shape, device):
    """(S, qmin − Z, qmax − Z): S a tensor that broadcasts against ``shape``, the others too, or numbers."""
    if qparams.granularity is Granularity.PER_TENSOR:
        zero_point = int(qparams.zero_point)
        return torch.tensor(qparams.scale, device=device), qparams.qmin - zero_point, qparams.qmax - zero_point
    qparams.rows(np.empty(shape, np.uint8))  # raises where the shapes do not match
    scale, zero_point = (torch.tensor(value, device=device) for value in (qparams.scale, qparams.zero_point))
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

    Activations are rounded where the next layer with weights reads them, after ReLU and pooling; the logits are left
    alone. So is the input where it is bytes / 255, which lie on the 8-bit grid already; other images are rounded to it.

    Parameters
    ----------
    model : nn.Sequential of Flatten, Linear, Conv2d, MaxPool2d, ReLU
        As ``record_activations`` takes it, in float32. Its weights are the ones trained: they stay real, and only
        their rounded image is used. Dropout drops in training mode, and pruned weights stay pruned.
    weight_bits : int, 2 to 8
    activation_bits : int, 1 to 8, or None for real activations
    weight_calibration, activation_calibration : Calibration

    Raises
    ------
    TypeError
        A layer that cannot be quantized, or a weight of another dtype or that cannot be trained; the message names it.
    """

    def __init__(self, model, *, weight_bits, activation_bits, weight_calibration=Calibration.MSE,
                 activation_calibration=Calibration.MSE):
        super().__init__()
        self.weight_bits, self.activation_bits = ptq.check_bits(weight_bits, activation_bits)
        self.model, self.steps = model, follow(model)
        check_trainable(self.steps)
        for name, value in model.named_parameters():
            if value.dtype != torch.float32:
                raise TypeError(f"model has {name!r} in {value.dtype}; training runs in float32: pass model.float()")
        self.weight_calibration = Calibration(weight_calibration)
        self.activation_calibration = Calibration(activation_calibration)
        self.weight_qparams, self.activation_qparams = {}, {}
        self.input_qparams, self.rounds_input = None, False

    def forward(self, a):
        return self._run(a)

    def calibrate(self, x):
        """Choose all clipping ranges again, for the weights as they are now and for the images ``x`` (n, …) float32.

        Layer by layer: each range is chosen for what arrives when everything before it is rounded already.
        """
        x = ptq.calibration_images(x)
        weights = weights_of(self.steps)
        for _ in run(self.steps, weights, x[:1]):  # words where a layer cannot take their shape
            pass
        self.input_qparams = None if self.activation_bits is None else ptq.input_range(x)
        self.rounds_input = self.input_qparams not in (None, ptq.PIXELS)
        with evaluating(self), torch.no_grad():
            self.weight_qparams = ptq.weight_ranges(weights, bits=self.weight_bits,
                                                    method=self.weight_calibration)
            self.activation_qparams = {}
            self._run(torch.from_numpy(x), choose=True)

    def quantized(self, x, meta=None):
        """The ``QuantizedModel`` with the ranges of the last ``calibrate``; the images ``x`` set that of the logits."""
        with evaluating(self), torch.no_grad():
            logits, weights = self._run(torch.from_numpy(as_images(x))).numpy(), weights_of(self.steps)
        last = list(self.weight_qparams)[-1]
        ranges = None if self.activation_bits is None else {**self.activation_qparams, last: ptq.logits_range(logits)}
        return ptq.assemble(self.steps, weights, self.weight_qparams, self.input_qparams, ranges, meta or {})

    def _run(self, a, choose=False):
        if not self.weight_qparams:
            raise ValueError("the net has no clipping ranges yet; choose them first: net.calibrate(images)")
        source = None  # the last layer with weights
        if self.rounds_input:
            a = fake_quantize_ste(a, self.input_qparams)
        for name, kind, layer, options in self.steps:
            if kind == IDENTITY:
                a = layer(a)
            elif kind not in WEIGHTED:
                a = apply(kind, options, a)
            else:
                if source is not None and self.activation_bits is not None:
                    if choose:
                        self.activation_qparams[source] = ptq.activation_range(
                            a.numpy(), bits=self.activation_bits, method=self.activation_calibration)
                    a = fake_quantize_ste(a, self.activation_qparams[source])
                weight = fake_quantize_ste(fresh_weight(layer), self.weight_qparams[name])
                a = apply(kind, options, a, weight, layer.bias)
                source = name
        return a


@one_thread()
def train_qat(model, dataset, *, weight_bits, activation_bits, epochs=5, batch_size=128, lr=2e-3, seed=0, progress=True,
              weight_calibration=Calibration.MSE, activation_calibration=Calibration.MSE, calibration_images=512):
    """Train a copy of a trained network on, rounding in the forward pass; return its quantized twin.

    The clipping ranges are chosen anew before each epoch, from the weights as they are then and from the first
    ``calibration_images`` training images; within an epoch they stand still. Weights are symmetric per channel,
    activations affine per tensor. On one thread, for the reason that ``train`` gives.

    Parameters
    ----------
    model : nn.Sequential of Flatten, Linear, Conv2d, MaxPool2d, ReLU
        Trained in real numbers, of any float dtype, on pixels from 0 to 1. It is not changed. Layers that are frozen
        stay so, weights that are pruned too.
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

    Raises
    ------
    TypeError
        A layer that cannot be quantized; the message names it.
    ValueError
        Bits out of range; a wrong string; every weight is frozen; the model gives other outputs than its layers one
        after the other.
    """
    ptq.check_bits(weight_bits, activation_bits)
    epochs, seed = whole_number(epochs, "epochs", 0), whole_number(seed, "seed")
    batch_size = whole_number(batch_size, "batch_size")
    lr = not_negative(lr, "lr")
    x = dataset.train_x(whole_number(calibration_images, "calibration_images", 1))
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast("cpu", enabled=False):
        net = FakeQuantNet(_copy_of(model, x), weight_bits=weight_bits, activation_bits=activation_bits,
                           weight_calibration=weight_calibration, activation_calibration=activation_calibration)
        if epochs and not any(p.requires_grad for p in net.parameters()):
            raise ValueError("every weight of model is frozen (requires_grad is False), so there is nothing to train: "
                             "call model.requires_grad_(True), or pass epochs=0")
        net.calibrate(x)  # even with no epoch the twin is complete
        train(net, dataset, epochs=epochs, batch_size=batch_size, lr=lr, seed=seed, progress=progress,
              before_epoch=lambda epoch: net.calibrate(x) if epoch else None,
              label=f"QAT {weight_bits}/{activation_bits or 'real'}")
        return net.quantized(x, _meta(net, epochs=epochs, batch_size=batch_size, lr=lr, seed=seed))


def _copy_of(model, x):
    """A copy of the model in float32 that can be trained; a model that cannot be followed is refused."""
    steps = follow(model)
    check_trainable(steps)
    with evaluating(model), torch.no_grad():
        compare(model, steps, weights_of(steps), as_images(x))  # weights that hooks make are plain numbers afterwards
    return copy.deepcopy(model).float().cpu()


def _meta(net, **training):
    return {
        "weight_bits": net.weight_bits,
        "activation_bits": net.activation_bits,
        "weight_calibration": net.weight_calibration.value,
        "activation_calibration": None if net.activation_bits is None else net.activation_calibration.value,
        "granularity": Granularity.PER_CHANNEL.value,
        "qat": training,
    }


VERSION = 2  # raise it when the code of this file changes what it gives
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
    weight_bits, activation_bits = ptq.check_bits(weight_bits, activation_bits)
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
