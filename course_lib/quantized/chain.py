"""What holds between the layers of a quantized network: which can follow which, and whose codes each of them reads.

Knows neither torch nor an image, so that a description of a network can be read to the end before anything is built.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from course_lib.numerics import Granularity, QParams
from course_lib.numerics.layout import params_shape
from course_lib.quantized.layers import KINDS
from course_lib.quantized.layers.base import short
from course_lib.quantized.steps import INPUT, inputs_of, run_steps

SINGLE = np.finfo(np.float32)  # in which the scales of activations are used
LONGEST_NAME = 200


def check_name(value: Any, where: str) -> None:
    """A layer's name: what files and messages can hold."""
    if not isinstance(value, str) or not 1 <= len(value) <= LONGEST_NAME:
        raise ValueError(f"{where} is {short(value)}; it must be a text of 1 to {LONGEST_NAME} characters")


def scales_shape(name: str, weight_shape: tuple, granularity: Granularity, axis: Any, group_size: Any) -> tuple:
    """The shape that the scales of these weights have; a channel axis that they lack is refused."""
    if granularity == Granularity.PER_CHANNEL and (type(axis) is not int or not 0 <= axis < len(weight_shape)):
        raise ValueError(f"layer {name!r}: axis={short(axis)} must be a whole number from 0 to "
                         f"{len(weight_shape) - 1}, an axis of the weights {tuple(weight_shape)}")
    return params_shape(weight_shape, granularity, axis, group_size)


def check_activation(qparams: QParams, where: str) -> None:
    """Refuse a quantizer that activations, float32 numbers with one scale, cannot have."""
    if qparams.granularity != Granularity.PER_TENSOR:
        raise ValueError(f"{where} must be per tensor, not {qparams.granularity.value}")
    if not SINGLE.tiny <= qparams.scale <= SINGLE.max:
        raise ValueError(f"{where} has scale {qparams.scale}; it must lie in float32's range, "
                         f"{SINGLE.tiny:.3g} to {SINGLE.max:.3g}")


def check_inputs(name: str, kind: str, inputs: Any) -> None:
    """Refuse names of inputs that are no names, or not as many as such a layer reads."""
    arity = KINDS[kind].arity
    if not isinstance(inputs, (tuple, list)) or not all(isinstance(one, str) for one in inputs):
        raise ValueError(f"layer {name!r}: inputs={short(inputs)} must be names of layers")
    if len(inputs) != arity and (inputs or arity != 1):
        may = "one input, or names none and reads the layer before" if arity == 1 else f"{arity} inputs"
        raise ValueError(f"layer {name!r}: a {kind} layer reads {may}, and inputs={short(inputs)} names "
                         f"{len(inputs)}")


def as_tuple(qparams: Any) -> tuple:
    """``input_qparams`` of a layer, one for each input, as a tuple also where there is one alone."""
    return qparams if isinstance(qparams, tuple) else (qparams,)


def check_chain(layers: Sequence, input_qparams: QParams | None) -> None:
    """Refuse layers of which one cannot take what reaches it: shapes, and the codes' meaning.

    Parameters
    ----------
    layers : of anything with name, kind, weight_shape, inputs, input_qparams, output_qparams; at least one
    input_qparams : QParams or None

    Raises
    ------
    ValueError
    """
    names = [layer.name for layer in layers]
    if not names or len(set(names)) != len(names):
        raise ValueError("a model needs at least one layer, and a different name for each; the names are "
                         f"{short(names)}")
    known = {INPUT}
    for layer, reads in zip(layers, inputs_of(layers)):
        if missing := [name for name in reads if name not in known]:
            raise ValueError(f"layer {layer.name!r} reads {short(missing[0])}, and no layer of this name stands before "
                             "it")
        known.add(layer.name)
    run_steps(layers, None, lambda layer, *reaches: KINDS[layer.kind].reach(layer.name, layer.weight_shape, *reaches))
    run_steps(layers, input_qparams, lambda layer, *codes: _codes_after(layer, codes, input_qparams is None))


def _codes_after(layer, codes, weight_only):
    """The quantizer of what a layer writes, where ``codes`` are those of what it reads; what disagrees is refused."""
    where, reads, writes = f"layer {layer.name!r}", layer.input_qparams, layer.output_qparams
    if weight_only:
        if reads is not None or writes is not None:
            raise ValueError(f"{where} has input_qparams or output_qparams, and the model has no input_qparams: "
                             "with real activations no layer has any")
        return None
    if reads is None or writes is None:
        raise ValueError(f"{where} lacks input_qparams or output_qparams; a model with codes for its input has "
                         "both in every layer")
    if as_tuple(reads) != codes:
        raise ValueError(f"{where}: input_qparams must be those of the codes that reach it")
    if KINDS[layer.kind].keeps_scale and reads != writes:
        raise ValueError(f"{where}: a {layer.kind} layer writes the codes it reads; "
                         "input_qparams and output_qparams must be the same")
    return writes
