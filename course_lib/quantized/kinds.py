"""The kinds of layers that a quantized network has, in one table: their weights, their options, what can follow what.

Knows neither torch nor codes, so that a description of a network can be read to the end before anything is built.
"""

import reprlib
from typing import NamedTuple

import numpy as np

from course_lib.numerics import Granularity
from course_lib.numerics.layout import params_shape

SINGLE = np.finfo(np.float32)           # in which the scales of activations are used
LARGEST_WINDOW = 1024                   # pixels; no image of the course, and no window, is wider
LONGEST_NAME = 200


class Kind(NamedTuple):
    """weight_axes: of its weights, 0 where there are none; options: their names."""

    weight_axes: int
    options: tuple


KINDS = {
    "linear": Kind(2, ()),
    "conv2d": Kind(4, ("stride", "padding")),
    "max_pool2d": Kind(0, ("kernel_size", "stride", "padding")),
    "relu": Kind(0, ()),
    "flatten": Kind(0, ()),
}
WEIGHTED = tuple(name for name, kind in KINDS.items() if kind.weight_axes)


class Window(NamedTuple):
    """What a convolution or a pooling looks through: three pairs, (down, across)."""

    size: tuple
    stride: tuple
    padding: tuple

    def positions(self, shape):
        """Rows and columns of positions that the window can take on an image of this shape; below 1 it does not fit."""
        return tuple((n + 2 * p - k) // s + 1 for n, k, s, p in zip(shape, *self))


def window(name, kind, options, weight_shape=None):
    """The window of a layer, its options read and checked; None for a kind that has none.

    Raises
    ------
    ValueError
        An unknown or a missing option, or one out of range; the message names the layer, the option and its value. A
        padding must leave something of the image in each window.
    """
    known = KINDS[kind].options
    for option in options:
        if option not in known:
            has = f"it has {', '.join(known)}" if known else "it has none"
            raise ValueError(f"layer {name!r}: a {kind} layer has no option {short(option)}; {has}")
    if not known:
        return None
    where = f"layer {name!r}: "
    if kind == "conv2d":
        size, first_stride = tuple(weight_shape[2:]), 1
    else:
        size = first_stride = pair(options.get("kernel_size"), f"{where}kernel_size", 1, LARGEST_WINDOW)
    stride = options.get("stride", first_stride)
    if stride is None and kind == "max_pool2d":             # as in torch: windows side by side
        stride = size
    most = min(size) - 1 if kind == "conv2d" else min(size) // 2
    padding = options.get("padding", 0)
    if isinstance(padding, (tuple, list)) and len(padding) == 2:
        most = [n - 1 if kind == "conv2d" else n // 2 for n in size]
    return Window(size, pair(stride, f"{where}stride", 1, LARGEST_WINDOW), pair(padding, f"{where}padding", 0, most))


def pair(value, where, low, high):
    """2 -> (2, 2); (2, 3) stays. ``high`` may be one for both, or a list of two."""
    if isinstance(value, (tuple, list)):
        if len(value) != 2:
            raise ValueError(f"{where}={short(value)} must be a whole number or two of them")
        highs = high if isinstance(high, list) else [high] * 2
        return tuple(whole(n, where, low, most) for n, most in zip(value, highs))
    return (whole(value, where, low, min(high) if isinstance(high, list) else high),) * 2


def whole(value, where, low, high):
    """``value`` if it is a Python int from ``low`` to ``high``."""
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"{where}={short(value)} must be a whole number from {low} to {high}")
    return value


def short(value):
    """A value in a message: cut where it is long or deep."""
    return reprlib.repr(value)


def check_name(value, where):
    """A layer's name: what files and messages can hold."""
    if not isinstance(value, str) or not 1 <= len(value) <= LONGEST_NAME:
        raise ValueError(f"{where} is {short(value)}; it must be a text of 1 to {LONGEST_NAME} characters")


class Reach(NamedTuple):
    """What reaches a layer, as far as it is known without an image.

    axes: 3 for (channels, height, width), 1 for features; count: how many channels or features; where ``exact`` is
    False, a multiple of it.
    """

    axes: int
    count: int
    exact: bool


def reach_after(name, kind, weight_shape, reach):
    """What such a layer hands on where ``reach`` (None: the image, of any shape) comes in.

    Raises
    ------
    ValueError
        The layer cannot take what reaches it; the message names it, what it takes and what comes.
    """
    if kind in ("conv2d", "max_pool2d") and reach is not None and reach.axes != 3:
        raise ValueError(f"layer {name!r}: a {kind} layer takes images, and features reach it; it should stand before "
                         "the flatten or linear layer")
    if kind == "linear" and reach is not None and reach.axes != 1:
        raise ValueError(f"layer {name!r}: a linear layer takes features, and images reach it; a "
                         "flatten layer should stand before it")
    if kind in WEIGHTED:
        takes = weight_shape[1]
        if reach is not None and (takes != reach.count if reach.exact else takes % reach.count):
            unit = "channels" if kind == "conv2d" else "features"
            comes = reach.count if reach.exact else f"a multiple of {reach.count}"
            raise ValueError(f"layer {name!r} takes {takes} {unit}, and {comes} reach it")
        return Reach(3 if kind == "conv2d" else 1, weight_shape[0], True)
    if kind == "max_pool2d":
        return reach or Reach(3, 1, False)
    if kind == "flatten":
        return Reach(1, 1, False) if reach is None else reach if reach.axes == 1 else Reach(1, reach.count, False)
    return reach


def scales_shape(name, weight_shape, granularity, axis, group_size):
    """The shape that the scales of these weights have; a channel axis that they lack is refused."""
    if granularity == Granularity.PER_CHANNEL and (type(axis) is not int or not 0 <= axis < len(weight_shape)):
        raise ValueError(f"layer {name!r}: axis={short(axis)} must be a whole number from 0 to "
                         f"{len(weight_shape) - 1}, an axis of the weights {tuple(weight_shape)}")
    return params_shape(weight_shape, granularity, axis, group_size)


def check_activation(qparams, where):
    """Refuse a quantizer that activations, float32 numbers with one scale, cannot have."""
    if qparams.granularity != Granularity.PER_TENSOR:
        raise ValueError(f"{where} must be per tensor, not {qparams.granularity.value}")
    if not SINGLE.tiny <= qparams.scale <= SINGLE.max:
        raise ValueError(f"{where} has scale {qparams.scale}; it must lie in float32's range, "
                         f"{SINGLE.tiny:.3g} to {SINGLE.max:.3g}")


def check_chain(layers, input_qparams):
    """Refuse layers of which one cannot take what the one before hands on: shapes, and the codes' meaning.

    Parameters
    ----------
    layers : of anything with name, kind, weight_shape, input_qparams, output_qparams; at least one
    input_qparams : QParams or None

    Raises
    ------
    ValueError
    """
    names = [layer.name for layer in layers]
    if not names or len(set(names)) != len(names):
        raise ValueError("a model needs at least one layer, and a different name for each; the names are "
                         f"{short(names)}")
    reach, codes = None, input_qparams
    for layer in layers:
        reach = reach_after(layer.name, layer.kind, layer.weight_shape, reach)
        where, reads, writes = f"layer {layer.name!r}", layer.input_qparams, layer.output_qparams
        if input_qparams is None:
            if reads is not None or writes is not None:
                raise ValueError(f"{where} has input_qparams or output_qparams, and the model has no input_qparams: "
                                 "with real activations no layer has any")
            continue
        if reads is None or writes is None:
            raise ValueError(f"{where} lacks input_qparams or output_qparams; a model with codes for its input has "
                             "both in every layer")
        if reads != codes:
            raise ValueError(f"{where}: input_qparams must be those of the codes that reach it")
        if layer.kind not in WEIGHTED and reads != writes:
            raise ValueError(f"{where}: a {layer.kind} layer writes the codes it reads; "
                             "input_qparams and output_qparams must be the same")
        codes = writes
