"""The harness of quantization-aware training: a network whose forward pass rounds, with the estimator it is told."""

from collections.abc import Callable, Mapping
from itertools import groupby
from operator import attrgetter

import numpy as np
import torch
from torch import nn

from course_lib.arguments import choose, whole_number
from course_lib.nets.evaluation import evaluating
from course_lib.nets.inputs import as_images
from course_lib.nets.surgery import BatchNorm
from course_lib.numerics import Calibration, dequantize
from course_lib.ptq import post_training as ptq
from course_lib.qat.folding import fold_into_codes
from course_lib.qat.quantizers import Quantizer, Role
from course_lib.qat.straight_through import StraightThrough, fake_quantize_ste
from course_lib.quantized.following import check_trainable, follow, fresh_weight, run, weights_of
from course_lib.quantized.layers import has_weights
from course_lib.quantized.model import QuantizedModel
from course_lib.quantized.steps import IDENTITY, INPUT, inputs_of, run_steps, scales_of

__all__ = ["FakeQuantNet"]

Bits = int | Mapping[str, int]
MakeQuantizer = Callable[..., Quantizer]


class FakeQuantNet(nn.Module):
    """A network whose forward pass rounds weights and activations as its quantized twin will, and which can be trained.

    Activations are rounded after ReLU and maximum pooling, before a layer with weights, a sum or an average reads them
    (``steps.scales_of``); the logits are left alone. So is the input where it is bytes / 255, which lie on the 8-bit
    grid already; other images are rounded to it.
    Behind a layer with batch normalization the raw weights are rounded, and the normalization runs in real numbers;
    the twin has it folded into its scales.

    Parameters
    ----------
    model : nn.Sequential
        As ``record_activations`` takes it, in float32. Its weights are the ones trained: they stay real, and only
        their rounded image is used. Dropout drops in training mode, and pruned weights stay pruned.
    weight_bits : int, 1 to 8 (``StraightThrough``: 2 to 8), or dict of layer name -> int
        A dict has every layer with weights.
    activation_bits : int, 1 to 8, or None for real activations, or dict of layer name -> int
        Of what a layer that chooses a scale hands on (one with weights, or a sum); a dict has every one but the last.
    weight_quantizer, activation_quantizer : callable(bits, role, calibration=...) -> Quantizer
        The estimators: a subclass of ``Quantizer``, or a ``functools.partial`` of one.
    weight_calibration, activation_calibration : Calibration
    edge_bits : int, optional
        Of the weights of the first and the last layer, and of what the last one reads, in place of the others.

    Attributes
    ----------
    of_weights, of_activations : dict of layer name -> Quantizer

    Raises
    ------
    TypeError
        A layer that cannot be quantized, or a weight of another dtype or that cannot be trained; the message names it.
    ValueError
        Bits out of range, or a dict that has not just the right layers.
    """

    def __init__(self, model: nn.Sequential, *, weight_bits: Bits, activation_bits: Bits | None,
                 weight_quantizer: MakeQuantizer = StraightThrough,
                 activation_quantizer: MakeQuantizer = StraightThrough,
                 weight_calibration: Calibration = Calibration.MSE,
                 activation_calibration: Calibration = Calibration.MSE, edge_bits: int | None = None):
        super().__init__()
        self.model, places = model, dict(model.named_modules(remove_duplicate=False))
        # the order is that of a copy with batch norm folded, the layers are this model's: it runs where it stood
        self.steps = [step._replace(layer=places.get(step.name, step.layer)) for step in follow(model)]
        self.scales = scales_of(self.steps)
        check_trainable(self.steps)
        for name, value in model.named_parameters():
            if value.dtype != torch.float32:
                raise TypeError(f"model has {name!r} in {value.dtype}; training runs in float32: pass model.float()")
        self.norms = _norms_behind(self.steps)
        self.weight_calibration = choose(Calibration, weight_calibration, "weight_calibration")
        self.activation_calibration = choose(Calibration, activation_calibration, "activation_calibration")
        layers = [step.name for step in self.steps if has_weights(step.kind)]
        rounded = [name for name in dict.fromkeys(self.scales.ends.values())
                   if name not in (INPUT, ptq.logits_of(self.steps))]
        self.weight_bits = _bits_of(weight_bits, "weight_bits", layers)
        self.activation_bits = None
        if activation_bits is not None:
            self.activation_bits = _bits_of(activation_bits, "activation_bits", rounded)
        if edge_bits is not None:
            edge_bits = whole_number(edge_bits, "edge_bits", 1, 8)
            self.weight_bits |= {layers[0]: edge_bits, layers[-1]: edge_bits}
            read = self._scale_read_by(layers[-1])
            if self.activation_bits and read != INPUT:
                self.activation_bits[read] = edge_bits
        self.of_weights = {name: _made(weight_quantizer, "weight_quantizer", bits, Role.WEIGHTS,
                                       self.weight_calibration) for name, bits in self.weight_bits.items()}
        self.of_activations = {name: _made(activation_quantizer, "activation_quantizer", bits, Role.ACTIVATIONS,
                                           self.activation_calibration)
                               for name, bits in (self.activation_bits or {}).items()}
        self.quantizers = nn.ModuleList([*self.of_weights.values(), *self.of_activations.values()])
        self.input_qparams, self.rounds_input, self.started = None, False, False

    @property
    def weight_qparams(self) -> dict:
        """{name of a layer with weights: its QParams, or None where its levels are no multiples of one step}."""
        return {name: quantizer.qparams() for name, quantizer in self.of_weights.items()}

    @property
    def activation_qparams(self) -> dict:
        """{name of a layer: the QParams of what it hands on, or None}."""
        return {name: quantizer.qparams() for name, quantizer in self.of_activations.items()}

    def forward(self, a: torch.Tensor) -> torch.Tensor:
        """The logits (n, classes) of images (n, …) float32."""
        return self._run(a)

    def calibrate(self, x: np.ndarray | torch.Tensor, *, renew: bool = False) -> None:
        """Start all quantizers from the weights as they are now and from the images ``x`` (n, …) float32.

        Layer by layer: each is started with what arrives when everything before it is rounded already. With ``renew``
        they are not started anew, but told of the values as they are now (``Quantizer.renew``), as before each epoch.
        """
        x = ptq.calibration_images(x)
        weights = weights_of(self.steps)
        for _ in run(self.steps, weights, x[:1]):  # words where a layer cannot take their shape
            pass
        self.input_qparams = None if self.activation_bits is None else ptq.input_range(x)
        self.rounds_input = self.input_qparams not in (None, ptq.PIXELS)
        with evaluating(self), torch.no_grad():
            for name, (weight, _) in weights.items():
                self._choose(self.of_weights[name], torch.from_numpy(weight), renew)
            self.started = True
            self._run(torch.from_numpy(x), lambda quantizer, a: self._choose(quantizer, a, renew))

    def groups(self, lr: float, weight_decay: float = 0.0) -> list[dict]:
        """The parameters in groups, for an optimizer (``train``'s ``groups``): the network's, then the quantizers'.

        The network's weights are decayed and nothing else of it; the quantizers' parameters have the learning rate and
        the decay that each estimator says.
        """
        own = [p for p in self.model.parameters() if p.requires_grad]
        groups = [{"params": [p for p in own if p.ndim > 1], "lr": lr, "weight_decay": weight_decay},
                  {"params": [p for p in own if p.ndim <= 1], "lr": lr, "weight_decay": 0.0}]
        asks = attrgetter("lr_factor", "weight_decay")
        for (factor, decay), alike in groupby(sorted(self.quantizers, key=asks), key=asks):
            learned = [p for quantizer in alike for p in quantizer.parameters() if p.requires_grad]
            if learned:
                groups.append({"params": learned, "lr": factor * lr, "weight_decay": decay})
        return groups

    def quantized(self, x: np.ndarray | torch.Tensor, meta: dict | None = None) -> QuantizedModel:
        """The ``QuantizedModel`` of the quantizers as they are; the images ``x`` set the range of the logits.

        Raises
        ------
        TypeError
            A quantizer whose levels are no multiples of one step; the message names the layer.
        """
        with evaluating(self), torch.no_grad():
            logits = self._run(torch.from_numpy(as_images(x))).numpy()
            weights, weight_qparams = {}, {}
            for name, (weight, bias) in weights_of(self.steps).items():
                qparams, codes = self._deployed(name, weight)
                if name in self.norms:
                    codes, qparams, bias = fold_into_codes(codes, qparams, bias, self.norms[name])
                weights[name], weight_qparams[name] = (dequantize(codes, qparams), bias), qparams
        ranges = None
        if self.activation_bits is not None:
            ranges = self.activation_qparams
            for name, qparams in ranges.items():
                _check_uniform(qparams, f"what layer {name!r} hands on", self.of_activations[name])
            if (last := ptq.logits_of(self.steps)) is not None:
                ranges[last] = ptq.logits_range(logits)
        return ptq.assemble(self.steps, weights, weight_qparams, self.input_qparams, ranges, meta or {})

    def _deployed(self, name, weight):
        quantizer = self.of_weights[name]
        qparams = quantizer.qparams()
        _check_uniform(qparams, f"the weights of layer {name!r}", quantizer)
        return qparams, quantizer.codes(torch.from_numpy(weight))

    @staticmethod
    def _choose(quantizer, x, renew):
        (quantizer.renew if renew else quantizer.start)(x)

    def _run(self, a, look=None):
        """The logits; ``look(quantizer, a)`` is called before activations are rounded."""
        if not self.started:
            raise ValueError("the net has no clipping ranges yet; choose them first: net.calibrate(images)")
        if self.rounds_input:
            a = fake_quantize_ste(a, self.input_qparams)
        looked = set()

        def apply(step, *inputs):
            a = self._compute(step, *inputs)
            scale = self.scales.ends.get(step.name)
            if scale == INPUT and self.input_qparams is not None:
                return fake_quantize_ste(a, self.input_qparams)
            if scale not in self.of_activations:
                return a
            if look is not None and scale not in looked:  # averages, which are rounded too, lie inside the range
                look(self.of_activations[scale], a)
                looked.add(scale)
            return self.of_activations[scale](a)

        return run_steps(self.steps, a, apply)

    def _compute(self, step, *inputs):
        """What a step makes of its inputs, with its weights rounded."""
        if not has_weights(step.kind):
            return step(*inputs)
        return step(*inputs, weight=self.of_weights[step.name](fresh_weight(step.layer)), bias=step.layer.bias)

    def _scale_read_by(self, name):
        """The layer whose scale that has which the layer ``name`` reads."""
        (read,) = next(names for step, names in zip(self.steps, inputs_of(self.steps)) if step.name == name)
        return self.scales.of[read]


def _norms_behind(steps):
    """{name of a layer with weights: the batch normalization that stands behind it}."""
    norms, before = {}, None
    for step in steps:
        if isinstance(step.layer, BatchNorm):
            norms[before] = step.layer
        elif step.kind != IDENTITY:
            before = step.name
    return norms


def _bits_of(bits, name, layers):
    """{layer: bits} of one number for all, or of a dict that has just these layers."""
    if not isinstance(bits, Mapping):
        return dict.fromkeys(layers, whole_number(bits, name, 1, 8))
    if set(bits) != set(layers):
        raise ValueError(f"{name} has the layers {', '.join(map(repr, bits))}; it should have {', '.join(layers)}")
    return {layer: whole_number(bits[layer], f"{name}[{layer!r}]", 1, 8) for layer in layers}


def _made(make, name, bits, role, calibration):
    quantizer = make(bits, role, calibration=calibration)
    if not isinstance(quantizer, Quantizer):
        raise TypeError(f"{name} gives a {type(quantizer).__name__}; it should be a subclass of cl.qat.Quantizer, or "
                        "make an object of one")
    return quantizer


def _check_uniform(qparams, what, quantizer):
    if qparams is None:
        raise TypeError(f"{type(quantizer).__name__} rounds {what} to levels that are no multiples of one step, which "
                        "a QuantizedModel, on integers, cannot hold: the net itself computes with them, and "
                        "quantizer.levels() is their table")
