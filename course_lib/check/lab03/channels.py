"""Lab 03: one scale for each channel, one for each group, and what they cost."""

import math

import numpy as np

from course_lib.check.base import Property, Suspect, Task, close, same_shape
from course_lib.check.quantizer import awkward_rows, close_scales, symmetric, symmetric_suspects

_ABOVE_ZERO = "every scale is a finite number above zero (where all weights are 0, the scale is 1)"


def _above_zero(scales, *_):
    return bool(np.all(np.isfinite(scales)) and np.all(scales > 0))


# ----------------------------------------------------------------------------------------------- one for a channel


def _others(w, axis):
    return tuple(i for i in range(w.ndim) if i != axis)


def _per_channel(w, bits, axis):
    w = np.asarray(w, np.float64)
    return symmetric(np.abs(w).max(axis=_others(w, axis), keepdims=True), bits)


def _channel_inputs(rng):
    yield np.array([[1.5, -3.0, 0.5], [0.25, 0.6, -0.2]], np.float32), 3, 0
    yield np.array([[1.5, -3.0, 0.5], [0.25, 0.6, -0.2]], np.float32), 3, 1
    yield np.array([[0.0, -7.0], [0.0, 1.0]], np.float32), 4, 1
    yield np.full((2, 3), -0.5, np.float32), 3, 1
    yield np.zeros((2, 3), np.float32), 4, 0
    yield np.array([[3.0]]), 2, 1
    yield np.diag([1.0, 2.0, 3.0]) + np.triu(np.full((3, 3), 5.0), 1), 4, 1
    yield awkward_rows(), 4, 0
    yield awkward_rows().T.astype(np.float32).reshape(3, 1, -1), 4, 2
    for k in range(63):
        shape = tuple(rng.integers(1, 5, 2 + k % 3))
        axis = int(rng.integers(len(shape)))
        along = [1] * len(shape)
        along[axis] = shape[axis]
        w = rng.normal(size=shape) * np.exp(rng.normal(size=along))
        w *= rng.random(along) > 0.15
        w *= rng.random(shape) > 0.15
        yield w.astype((np.float32, np.float64)[k % 2]), 2 + k // 3 % 7, axis


channel_scales = Task(
    title="Task 6 · channel_scales",
    shapes={"w": "klmn", "bits": "", "axis": ""},
    expected=_per_channel,
    inputs=_channel_inputs,
    properties=(
        Property("there is one scale for each channel, and every other axis of w is kept with length 1, "
                 "so that w / scales works", same_shape),
        Property(_ABOVE_ZERO, _above_zero),
        Property("the weight with the largest magnitude of its channel gets the largest code, 2^(bits-1) - 1",
                 close_scales),
    ),
    suspects=(
        Suspect("the maximum runs along `axis`; it should run along all the others, and leave `axis`",
                lambda w, bits, axis: symmetric(np.abs(w).max(axis=axis, keepdims=True), bits)),
        Suspect("the channels are always those of axis 0; `axis` is not used",
                lambda w, bits, axis: _per_channel(w, bits, 0)),
        Suspect("the axes that share a scale are gone: keepdims=True keeps them with length 1",
                lambda w, bits, axis: _per_channel(w, bits, axis).ravel()),
        *symmetric_suspects(lambda of, w, axis: of(w, axis=_others(w, axis), keepdims=True), "channel"),
    ),
    fixed=("bits", "axis"),
    valid=lambda w, bits, axis: w.size > 0,
    tried="2, 3 and 4 axes, channels on each of them, zeros in channels and channels of zeros, constant and tiny ones, "
          "2 to 8 bits",
)

# ------------------------------------------------------------------------------------------------ one for a group


def _per_group(w, bits, group_size):
    starts = np.arange(0, w.shape[1], group_size)
    return symmetric(np.maximum.reduceat(np.abs(w.astype(np.float64)), starts, axis=1), bits)


def _group_inputs(rng):
    yield np.array([[1.0, -3.0, 0.5, 0.2, 6.0]], np.float32), 3, 2
    yield np.array([[0.0, 0.0, 7.0, -1.0], [1.0, 2.0, 0.0, 0.0]], np.float32), 4, 2
    yield np.array([[-1.0, 2.0, 3.0]], np.float32), 2, 8
    yield np.array([[3.0]]), 4, 1
    yield awkward_rows(), 4, 3
    yield awkward_rows().reshape(1, -1).astype(np.float32), 4, 3
    yield awkward_rows()[:, :2], 3, 1
    for k in range(63):
        rows, columns = rng.integers(1, 5), rng.integers(1, 12)
        w = rng.normal(size=(rows, columns)) * np.exp(rng.normal(size=(rows, columns)))
        w[:, : columns // 3] *= rng.random((rows, 1)) > 0.2
        w *= rng.random(w.shape) > 0.15
        yield w.astype((np.float32, np.float64)[k % 2]), 2 + k // 2 % 7, int(rng.integers(1, 6))


def _over_groups(of, w, group_size):
    return np.stack([of(w[:, i : i + group_size], axis=1) for i in range(0, w.shape[1], group_size)], axis=1)


def _across_rows(w, bits, group_size):
    largest = [np.abs(part).max() for part in np.split(w.ravel(), range(group_size, w.size, group_size))]
    return symmetric(np.array(largest), bits).reshape(len(w), -1)


group_scales = Task(
    title="Task 8 · group_scales",
    shapes={"w": "mn", "bits": "", "group_size": ""},
    expected=_per_group,
    inputs=_group_inputs,
    properties=(
        Property("each row has one scale for each of its groups, the last of which may be short: "
                 "shape (rows, ceil(columns / group_size))", same_shape),
        Property(_ABOVE_ZERO, _above_zero),
        Property("the weight with the largest magnitude of its group gets the largest code, 2^(bits-1) - 1",
                 close_scales),
    ),
    suspects=(
        Suspect("the short group at the end of a row is left out",
                lambda w, bits, group_size: _per_group(w, bits, group_size)[:, : w.shape[1] // group_size]),
        Suspect("groups run on from one row into the next; each row begins a new group", _across_rows),
        Suspect("each row was cut into `group_size` groups; it is how many weights a group holds",
                lambda w, bits, group_size: np.stack(
                    [symmetric(np.abs(part).max(axis=1), bits)
                     for part in np.array_split(w, min(group_size, w.shape[1]), axis=1)], 1)),
        Suspect("the scales of a row are all the same, from its largest magnitude; each group has its own",
                lambda w, bits, group_size: np.repeat(
                    _per_channel(w, bits, 0), math.ceil(w.shape[1] / group_size), axis=1)),
        *symmetric_suspects(_over_groups, "group"),
    ),
    fixed=("bits", "group_size"),
    valid=lambda w, bits, group_size: w.size > 0,
    tried="groups that fill the row, a short last one, groups longer than the row, zeros in groups and groups of "
          "zeros, tiny ones, 2 to 8 bits",
)

# ------------------------------------------------------------------------------------------------------- their cost


def _with_scales(columns, bits, group_size, scale_bits):
    return np.asarray(bits + scale_bits * math.ceil(columns / group_size) / columns)


def _cost_inputs(rng):
    yield 32, 4, 32, 32
    yield 784, 4, 128, 16
    yield 5, 2, 2, 8
    yield 1, 8, 128, 16
    yield 96, 8, 32, 8
    for k in range(63):
        group_size = int(rng.choice((1, 8, 16, 32, 100, 128, 256, 2000)))
        columns = int(rng.integers(1, 1000)) if k % 4 else group_size * int(rng.integers(1, 5))
        yield columns, 2 + k % 7, group_size, int(rng.choice((8, 16, 32)))


bits_per_weight = Task(
    title="Task 9 · bits_per_weight",
    shapes={"columns": "", "bits": "", "group_size": "", "scale_bits": ""},
    expected=_with_scales,
    inputs=_cost_inputs,
    properties=(
        Property("the answer is a single number", lambda a, *_: a.size == 1),
        Property("scales cost something: the answer is more than the bits of a code",
                 lambda a, e, columns, bits, *_: bool(a > bits)),
        Property("a short last group needs a whole scale too, and all bits of a row are shared by its weights", close),
    ),
    suspects=(
        Suspect("a short last group has a whole scale, not a part of one: round the number of groups up",
                lambda columns, bits, group_size, scale_bits: bits + scale_bits / group_size),
        Suspect("the short group at the end of a row is left out: round the number of groups up, not down",
                lambda columns, bits, group_size, scale_bits: bits + scale_bits * (columns // group_size) / columns),
        Suspect("only one scale was counted for a row",
                lambda columns, bits, group_size, scale_bits: bits + scale_bits / columns),
        Suspect("these are the bits of the whole row: share them among its weights",
                lambda columns, bits, group_size, scale_bits: bits * columns
                + scale_bits * math.ceil(columns / group_size)),
        Suspect("these are bytes, and bits are asked for",
                lambda *arguments: _with_scales(*arguments) / 8),
        Suspect("the result was rounded to a whole number",
                lambda *arguments: np.rint(_with_scales(*arguments))),
        Suspect("the result was cut off to a whole number", lambda *arguments: np.floor(_with_scales(*arguments))),
    ),
    valid=lambda columns, bits, group_size, scale_bits: min(columns, bits, group_size, scale_bits) > 0,
    tried="groups that fill the row, a short last one, groups longer than the row, scales of 8, 16 and 32 bits",
)
