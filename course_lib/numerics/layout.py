"""Which numbers share a scale: every granularity as rows cut into groups.

The kernels know one layout, an array of shape (rows, n) whose rows are cut into groups of ``group`` entries:

    per tensor     one row that holds everything, one group
    per channel    one row per channel, one group
    per group      one row per leading index, ⌈n / group_size⌉ groups along the last axis, the last may be short
"""

from enum import Enum

import numpy as np

from course_lib.arguments import whole_number


class Granularity(str, Enum):
    """How many numbers share one scale: the whole tensor, a channel (one index of ``axis``), or a short run."""

    PER_TENSOR = "per_tensor"
    PER_CHANNEL = "per_channel"
    PER_GROUP = "per_group"


def to_rows(x, granularity, axis=None, group_size=None):
    """``x`` as a C-contiguous (rows, n) array (a view where it can be), and the group length.

    An array without entries keeps its number of rows.
    """
    if granularity is Granularity.PER_TENSOR:
        return np.ascontiguousarray(x).reshape(1, x.size), max(x.size, 1)
    if granularity is Granularity.PER_CHANNEL:
        channels = x.shape[axis]
        rows = np.ascontiguousarray(np.moveaxis(x, axis, 0)).reshape(channels, x.size // max(channels, 1))
        return rows, max(rows.shape[1], 1)
    n = x.shape[-1] if x.ndim else 1
    return np.ascontiguousarray(x).reshape(int(np.prod(x.shape[:-1], dtype=np.int64)), n), group_size


def from_rows(rows, shape, granularity, axis=None):
    """The reverse of :func:`to_rows`: back to ``shape``, C-contiguous."""
    if granularity is not Granularity.PER_CHANNEL:
        return rows.reshape(shape)
    moved = (shape[axis], *np.delete(shape, axis))
    return np.ascontiguousarray(np.moveaxis(rows.reshape(moved), 0, axis))


def params_shape(shape, granularity, axis=None, group_size=None):
    """The shape of the scale for a tensor of this shape: (), (C,) or (R, G)."""
    if granularity is Granularity.PER_TENSOR:
        return ()
    if granularity is Granularity.PER_CHANNEL:
        return (shape[axis],)
    n = shape[-1] if shape else 1
    return int(np.prod(shape[:-1], dtype=np.int64)), -(-n // group_size)


def check_axis(axis, ndim):
    """``axis`` as a whole number that an array of ``ndim`` axes has, counted from the front."""
    if ndim == 0:
        raise ValueError("x has no axes, so it has no channels; use granularity='per_tensor'")
    axis = whole_number(axis, f"axis (x has {ndim} axes)", -ndim, ndim - 1)
    return axis % ndim
