"""Inference with integers alone: no floating-point number between the pixels and the logits.

Each linear or convolution layer is one kernel: sums of products of codes in 32 bits, then the requantization of
``fixed_point``, which carries bias, zero points, rounding and the ReLU that follows. A residual sum requantizes both
addends alike. Pooling, ReLU and flatten move codes, or average them. The pixels are turned into codes as part of the
call, the codes of the logits into numbers at its end. What each kind of layer does stands in ``layers/``.
"""

import math
from collections.abc import Sequence
from threading import get_ident
from typing import Any, NamedTuple

import numpy as np

from course_lib.kernels import layers as kernels
from course_lib.nets.inputs import channel_hint
from course_lib.numerics import Granularity
from course_lib.quantized.chain import as_tuple
from course_lib.quantized.layers import KINDS, has_weights
from course_lib.quantized.layers.base import FEATURES
from course_lib.quantized.layers.buffers import buffer, code_array
from course_lib.quantized.steps import inputs_of, run_steps

CHUNK = 64  # samples computed at a time: their codes stay in the processor's cache
FLOAT32 = np.dtype(np.float32)


class Plan(NamedTuple):
    """Everything a call needs for one shape of input: kernels with their arguments, and the buffers between them."""

    input: tuple
    calls: list
    codes: np.ndarray
    output: tuple
    shape: tuple


class IntegerNet:
    """A quantized network that computes with integer codes alone; made by ``QuantizedModel.integer_only()``.

    Weights of fewer than 8 bits are unpacked to one byte each when the network is made, and multipliers are derived
    then. A call runs one kernel per layer, into buffers that exist already, some for each thread that calls.

    Parameters
    ----------
    model : QuantizedModel
        Activations unsigned, at most 8 bits; the last layer may write up to 16. Weights symmetric, per tensor or per
        channel.

    Raises
    ------
    ValueError
        A weight-only model (no activation codes to multiply); weights per group (one sum would need several scales);
        affine weights; a bound of ``fixed_point`` that cannot be met.
    """

    def __init__(self, model: Any):
        check_model(model)
        self.model = model
        relus = relus_done_before(model.layers)
        followed = {name for layer, (name, *_) in zip(model.layers, inputs_of(model.layers)) if layer.name in relus}
        self._layers = [KINDS[layer.kind].integer(layer, layer.name in followed) for layer in model.layers]
        self._run = {layer.name: computes for layer, computes in zip(model.layers, self._layers)
                     if layer.name not in relus}
        self._plans = {}

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Logits of images.

        Parameters
        ----------
        x : float32 ndarray, (n, channels, height, width) or, for a network that starts with a linear layer,
            (n, features); or one image, without the first axis

        Returns
        -------
        logits : float32 ndarray, (n, classes), or (classes,) for one image

        Raises
        ------
        TypeError, ValueError
            ``x`` is not float32, has a NaN (±inf saturates), or a shape that the network cannot take.
        """
        if not isinstance(x, np.ndarray) or x.dtype != FLOAT32:
            raise TypeError(f"x must be a float32 array, not {getattr(x, 'dtype', type(x).__name__)}; numbers in the "
                            "network's unit become one by np.asarray(x, np.float32)")
        plan = self._plans.get((get_ident(), x.shape))
        if plan is None:
            if len(x) > CHUNK and split_shape(self.model.layers, x.shape)[0]:
                return np.concatenate([self(x[i : i + CHUNK]) for i in range(0, len(x), CHUNK)])
            plan = self._plan(x.shape)
        if kernels.quantize_input(x.ravel(), *plan.input):
            raise ValueError("x has a NaN, which no code can stand for")
        for run, arguments in plan.calls:
            run(*arguments)
        logits = np.empty(plan.shape, np.float32)
        kernels.dequantize_output(plan.codes, *plan.output, logits.reshape(-1))
        return logits

    def predict(self, x: np.ndarray) -> np.ndarray:
        """The class of each image: the index of its largest logit.   (n, …) -> (n,) int64"""
        logits = self(x)
        if logits.ndim > 2:
            raise ValueError(f"the network gives {logits.shape}, and a class needs logits (n, classes); it should end "
                             "in a linear or flatten layer")
        return logits.argmax(axis=-1)

    def run_codes(self, layer_index: int, *input_codes: np.ndarray) -> np.ndarray:
        """One layer alone, on codes: what it writes when it reads ``input_codes``.

        Parameters
        ----------
        layer_index : int, position in ``model.layers``
        *input_codes : uint8 ndarray, (n, …) as the layer takes it, one for each input that it reads

        Returns
        -------
        codes : ndarray of the narrowest dtype that holds the layer's output codes, (n, …)
        """
        layer, given = self.model.layers[layer_index], []
        if len(input_codes) != KINDS[layer.kind].arity:
            raise ValueError(f"input_codes are {len(input_codes)}, and layer {layer.name!r} reads "
                             f"{KINDS[layer.kind].arity}")
        for codes, qparams in zip(input_codes, as_tuple(layer.input_qparams)):
            codes = np.ascontiguousarray(codes)
            if codes.dtype != np.uint8 or codes.size and codes.max() > qparams.qmax:
                raise ValueError(f"input_codes must be uint8, none above {qparams.qmax}, "
                                 f"as layer {layer.name!r} reads them; got {codes.dtype}")
            x = buffer(codes.shape, np.uint8)
            x[...] = codes
            given.append(x)
        calls, out = self._layers[layer_index].plan(*given)
        for run, arguments in calls:
            run(*arguments)
        return out.astype(layer.output_qparams.code_dtype)

    def _plan(self, x_shape):
        """For a new shape of input: check it, allocate the buffers, and list the kernel calls."""
        batch_shape, item_shape = split_shape(self.model.layers, x_shape)
        q = self.model.input_qparams
        codes = buffer((math.prod(batch_shape), *item_shape), np.uint8)
        input_arguments = (q.scale.item(), int(q.zero_point), q.qmin, q.qmax, codes.reshape(-1))
        calls = []

        def plan_layer(layer, *codes):
            if layer.name not in self._run:                 # a ReLU that was done before
                return codes[0]
            more, out = self._run[layer.name].plan(*codes)
            calls.extend(more)
            return out

        codes = run_steps(self.model.layers, codes, plan_layer)
        q = self.model.layers[-1].output_qparams
        if len(self._plans) >= 8:                           # shapes seen once should not keep their memory for ever
            self._plans.clear()
        plan = Plan(input_arguments, calls, codes.reshape(-1), (q.scale.item(), int(q.zero_point)),
                    batch_shape + codes.shape[1:])
        self._plans[get_ident(), x_shape] = plan
        return plan


def relus_done_before(layers: Sequence) -> set[str]:
    """The names of the ReLUs that have nothing left to do: what they read is clipped at the code of zero already.

    A layer clips for the ReLU behind it only where nothing else reads what it writes.
    """
    by_name, reads = {layer.name: layer for layer in layers}, inputs_of(layers)
    readers = [name for names in reads for name in names]
    done = set()
    for layer, names in zip(layers, reads):
        before = by_name.get(names[0])
        if layer.kind == "relu" and before is not None and KINDS[before.kind].does_relu:
            if before.kind == "relu" or readers.count(before.name) == 1:
                done.add(layer.name)
    return done


def split_shape(layers: Sequence, shape: tuple) -> tuple[tuple, tuple]:
    """The shape of the input as (n,) or () for one image, and the shape of one image as the first layer wants it."""
    first = next((layer for layer in layers if KINDS[layer.kind].takes), layers[0])
    if KINDS[first.kind].takes == FEATURES:
        features = first.weight_codes.shape[1]
        if len(shape) > 1 and math.prod(shape[1:]) == features:
            return shape[:1], (features,)
        if math.prod(shape) == features:
            return (), (features,)
        wanted = f"(n, …) or (…) with {features} features"
    else:
        channels = first.weight_codes.shape[1] if has_weights(first.kind) else "channels"
        if len(shape) in (3, 4) and channels in (shape[-3], "channels"):
            return shape[:-3], shape[-3:]
        wanted = f"(n, {channels}, height, width), or one image without n{channel_hint(shape, channels)}"
    raise ValueError(f"x has shape {shape}; this network takes {wanted}")


UNSIGNED = ("the engine reads unsigned codes of at most 8 bits: calibrate activations with scheme='affine', "
            "signed=False, bits=8 or fewer (the zero point makes room for negative numbers), or use simulated()")


def check_model(model: Any) -> None:
    """Refuse what integers alone cannot compute, and say why."""
    if model.weight_only:
        raise ValueError("this model quantizes its weights only: its activations are real numbers, so there are no "
                         "codes to multiply; quantize the activations too, or use simulated()")
    for layer in model.layers:
        if has_weights(layer.kind):
            _check_weights(f"layer {layer.name!r}", layer.weight_qparams)
    q = model.input_qparams
    if code_array(q) != np.uint8:
        raise ValueError(f"the input has codes from {q.qmin} to {q.qmax}; {UNSIGNED}")
    done_before = relus_done_before(model.layers)
    for layer in model.layers:
        for q in as_tuple(layer.input_qparams):
            if not KINDS[layer.kind].any_codes and layer.name not in done_before and code_array(q) != np.uint8:
                raise ValueError(f"layer {layer.name!r} reads codes from {q.qmin} to {q.qmax}; {UNSIGNED}")


def _check_weights(name, qparams):
    if qparams.granularity == Granularity.PER_GROUP:
        raise ValueError(f"{name}: weights per group have several scales in one sum, and an integer accumulator has "
                         "one; quantize per channel, or use simulated()")
    if qparams.granularity == Granularity.PER_CHANNEL and qparams.axis != 0:
        raise ValueError(f"{name}: weights have one scale per entry of axis {qparams.axis}; integers alone need one "
                         "per output channel, axis 0")
    if qparams.zero_point.any() or qparams.qmin < -128 or qparams.qmax > 127:
        raise ValueError(f"{name}: weights must be symmetric int8 codes (zero point 0, from −128 to 127), "
                         f"not [{qparams.qmin}, {qparams.qmax}]")
