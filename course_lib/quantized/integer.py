"""Inference with integers alone: no floating-point number between the pixels and the logits.

Each linear or convolution layer is one kernel: sums of products of codes in 32 bits, then the requantization of
``fixed_point``, which carries bias, zero points, rounding and the ReLU that follows. Pooling, ReLU and flatten move
codes. The pixels are turned into codes as part of the call, the codes of the logits into numbers at its end.
"""

import math
from threading import get_ident
from typing import NamedTuple

import numpy as np

from course_lib.kernels import layers as kernels
from course_lib.kernels import matrix_unit
from course_lib.kernels.tiles import COLUMNS, ROWS, in_tiles
from course_lib.nets.inputs import channel_hint
from course_lib.numerics import Granularity
from course_lib.quantized.kinds import WEIGHTED
from course_lib.quantized.requantization import fixed_point

CHUNK = 64                  # images computed at a time: their codes stay in the processor's cache
FLOAT32 = np.dtype(np.float32)
DONE_BEFORE = (*WEIGHTED, "relu")       # what leaves a ReLU behind it nothing to do: it is done there already


class Linear:
    """x: (batch, n) -> (batch, out)"""

    def __init__(self, layer, relu_follows):
        self.weights, self.rows = packed(layer.weight_codes), len(layer.weight_codes)
        self.constants = fixed_point(layer, relu_follows)
        self.out_dtype = code_array(layer.output_qparams)
        self.name, self.features = layer.name, layer.weight_shape[1]

    def plan(self, x):
        if x.shape[1:] != (self.features,):
            raise ValueError(f"layer {self.name!r} takes {self.features} features, and x gives it {x.shape[1:]}; "
                             "the images have another size than those that the network was made for")
        out = buffer((len(x), self.rows), self.out_dtype)
        (tiles, start), done = self.weights, matrix_unit.samples_at_once(len(x))
        acc = np.empty((len(x), start.size), np.int32)
        steps = [(matrix_unit.matmul, (tiles, x[:done], start, 0, len(tiles), acc[:done]))] if done else []
        return steps + [(kernels.linear, (x, tiles, start, *self.constants, done, acc, out))], out


class Conv2d:
    """x: (batch, channels, height, width) -> (batch, out, oh, ow), padded with the code of zero"""

    def __init__(self, layer, relu_follows):
        self.weights, self.rows = packed(layer.weight_codes), len(layer.weight_codes)
        self.constants = fixed_point(layer, relu_follows)
        self.out_dtype = code_array(layer.output_qparams)
        self.zero_point = int(layer.input_qparams.zero_point)
        self.name, self.channels, self.window = layer.name, layer.weight_shape[1], layer.window

    def plan(self, x):
        height, width = positions(self.name, self.window, self.channels, x.shape)
        patches = buffer((height * width, math.prod((x.shape[1], *self.window.size))), np.uint8)
        out = buffer((len(x), self.rows, height, width), self.out_dtype)
        acc = np.empty((height * width, self.weights[1].size), np.int32)
        flat = out.reshape(*out.shape[:2], height * width)
        buffers = patches, acc, flat
        return [(kernels.conv2d, (x, *self.weights, *self.constants, *self.window, self.zero_point, *buffers))], out


class MaxPool2d:
    """x: (batch, channels, height, width) -> (batch, channels, oh, ow)"""

    def __init__(self, layer, relu_follows):
        self.name, self.window = layer.name, layer.window

    def plan(self, x):
        out = buffer((*x.shape[:2], *positions(self.name, self.window, x.shape[1], x.shape)), np.uint8)
        planes, out_planes = x.reshape(-1, *x.shape[2:]), out.reshape(-1, *out.shape[2:])
        return [(kernels.max_pool2d, (planes, *self.window, out_planes))], out


class ReLU:
    """x: any shape"""

    def __init__(self, layer, relu_follows):
        self.zero_point = int(layer.input_qparams.zero_point)

    def plan(self, x):
        out = buffer(x.shape, x.dtype)
        return [(kernels.relu, (x.reshape(-1), self.zero_point, out.reshape(-1)))], out


class Flatten:
    """x: (batch, …) -> (batch, features), the same memory"""

    def __init__(self, layer, relu_follows):
        pass

    def plan(self, x):
        return [], x.reshape(len(x), math.prod(x.shape[1:]))


LAYERS = {"linear": Linear, "conv2d": Conv2d, "max_pool2d": MaxPool2d, "relu": ReLU, "flatten": Flatten}


class Plan(NamedTuple):
    """Everything a call needs for one shape of input: kernels with their arguments, and the buffers between them."""

    input: tuple
    steps: list
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

    def __init__(self, model):
        check_model(model)
        self.model = model
        kinds = [layer.kind for layer in model.layers] + [None]
        self._layers = [LAYERS[layer.kind](layer, after == "relu") for layer, after in zip(model.layers, kinds[1:])]
        self._run = [layer for layer, kind, before in zip(self._layers, kinds, [None] + kinds)
                     if not (kind == "relu" and before in DONE_BEFORE)]
        self._plans = {}

    def __call__(self, x):
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
        for run, arguments in plan.steps:
            run(*arguments)
        logits = np.empty(plan.shape, np.float32)
        kernels.dequantize_output(plan.codes, *plan.output, logits.reshape(-1))
        return logits

    def predict(self, x):
        """The class of each image: the index of its largest logit.   (n, …) -> (n,) int64"""
        logits = self(x)
        if logits.ndim > 2:
            raise ValueError(f"the network gives {logits.shape}, and a class needs logits (n, classes); it should end "
                             "in a linear or flatten layer")
        return logits.argmax(axis=-1)

    def run_codes(self, layer_index, input_codes):
        """One layer alone, on codes: what it writes when it reads ``input_codes``.

        Parameters
        ----------
        layer_index : int, position in ``model.layers``
        input_codes : uint8 ndarray, (n, …) as the layer takes it

        Returns
        -------
        codes : ndarray of the narrowest dtype that holds the layer's output codes, (n, …)
        """
        layer = self.model.layers[layer_index]
        codes = np.ascontiguousarray(input_codes)
        if codes.dtype != np.uint8 or codes.size and codes.max() > layer.input_qparams.qmax:
            raise ValueError(f"input_codes must be uint8, none above {layer.input_qparams.qmax}, "
                             f"as layer {layer.name!r} reads them; got {codes.dtype}")
        x = buffer(codes.shape, np.uint8)
        x[...] = codes
        steps, out = self._layers[layer_index].plan(x)
        for run, arguments in steps:
            run(*arguments)
        return out.astype(layer.output_qparams.code_dtype)

    def _plan(self, x_shape):
        """For a new shape of input: check it, allocate the buffers, and list the kernel calls."""
        batch_shape, item_shape = split_shape(self.model.layers, x_shape)
        q = self.model.input_qparams
        codes = buffer((math.prod(batch_shape), *item_shape), np.uint8)
        input_arguments = (q.scale.item(), int(q.zero_point), q.qmin, q.qmax, codes.reshape(-1))
        steps = []
        for layer in self._run:
            more, codes = layer.plan(codes)
            steps += more
        q = self.model.layers[-1].output_qparams
        if len(self._plans) >= 8:                           # shapes seen once should not keep their memory for ever
            self._plans.clear()
        plan = Plan(input_arguments, steps, codes.reshape(-1), (q.scale.item(), int(q.zero_point)),
                    batch_shape + codes.shape[1:])
        self._plans[get_ident(), x_shape] = plan
        return plan


def split_shape(layers, shape):
    """The shape of the input as (n,) or () for one image, and the shape of one image as the first layer wants it."""
    shaped = ("linear", "conv2d", "max_pool2d")
    first = next((layer for layer in layers if layer.kind in shaped), layers[0])
    if first.kind == "linear":
        features = first.weight_codes.shape[1]
        if len(shape) > 1 and math.prod(shape[1:]) == features:
            return shape[:1], (features,)
        if math.prod(shape) == features:
            return (), (features,)
        wanted = f"(n, …) or (…) with {features} features"
    else:
        channels = first.weight_codes.shape[1] if first.kind == "conv2d" else "channels"
        if len(shape) in (3, 4) and channels in (shape[-3], "channels"):
            return shape[:-3], shape[-3:]
        wanted = f"(n, {channels}, height, width), or one image without n{channel_hint(shape, channels)}"
    raise ValueError(f"x has shape {shape}; this network takes {wanted}")


UNSIGNED = ("the engine reads unsigned codes of at most 8 bits: calibrate activations with scheme='affine', "
            "signed=False, bits=8 or fewer (the zero point makes room for negative numbers), or use simulated()")


def check_model(model):
    """Refuse what integers alone cannot compute, and say why."""
    if model.weight_only:
        raise ValueError("this model quantizes its weights only: its activations are real numbers, so there are no "
                         "codes to multiply; quantize the activations too, or use simulated()")
    for layer in model.layers:
        if layer.kind in WEIGHTED:
            _check_weights(f"layer {layer.name!r}", layer.weight_qparams)
    q = model.input_qparams
    if code_array(q) != np.uint8:
        raise ValueError(f"the input has codes from {q.qmin} to {q.qmax}; {UNSIGNED}")
    for before, layer in zip((None, *model.layers), model.layers):
        done_before = layer.kind == "relu" and before is not None and before.kind in DONE_BEFORE
        if layer.kind != "flatten" and not done_before and code_array(layer.input_qparams) != np.uint8:
            q = layer.input_qparams
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


def packed(weight_codes):
    """Weights, (out, …), as the kernels read them: in tiles, with zeros to start the sums from."""
    tiles = in_tiles(weight_codes.reshape(len(weight_codes), -1))
    return tiles, np.zeros(ROWS * len(tiles), np.int32)


def buffer(shape, dtype):
    """An array for codes, with 63 bytes behind it: the kernels read that far, whatever is there."""
    memory = np.zeros(math.prod(shape) * np.dtype(dtype).itemsize + COLUMNS - 1, np.uint8)
    return memory[: memory.size - (COLUMNS - 1)].view(dtype).reshape(shape)


def positions(name, window, channels, shape):
    """Rows and columns of positions that the window takes on images (n, channels, height, width)."""
    if len(shape) != 4 or shape[1] != channels or min(window.positions(shape[2:])) < 1:
        raise ValueError(f"layer {name!r} takes images of {channels} channels that are at least as large as its window "
                         f"{window.size}, and x gives it {shape[1:]}")
    return window.positions(shape[2:])


def code_array(qparams):
    """The dtype of the engine's arrays for these codes: uint8, or int32 where a code does not fit a byte (logits)."""
    return np.uint8 if qparams.qmin >= 0 and qparams.qmax <= 255 else np.int32
