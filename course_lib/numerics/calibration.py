"""Calibration: choose the clipping range [α, β] from data."""

from enum import Enum

import numpy as np

from course_lib.numerics.checks import choose, real_array
from course_lib.numerics.qparams import Granularity, Scheme, group_shape, qparams_from_range


class Calibration(str, Enum):
    """How the clipping range is chosen."""

    MINMAX = "minmax"
    PERCENTILE = "percentile"
    MSE = "mse"
    HISTOGRAM = "histogram"


def calibrate(x, *, bits, scheme=Scheme.SYMMETRIC, granularity=Granularity.PER_TENSOR, axis=0, group_size=None,
              method=Calibration.MINMAX, percentile=99.9, signed=None):
    """Choose scale and zero point for ``x``. (Only ``minmax`` yet.)"""
    x = real_array(x)
    granularity = choose(Granularity, granularity, "granularity")
    method = choose(Calibration, method, "method")
    if x.size == 0:
        raise ValueError("x is empty: there is nothing to calibrate on")
    if not np.isfinite([x.min(), x.max()]).all():
        raise ValueError("x has an infinity: it has no finite clipping range")
    if granularity is Granularity.PER_TENSOR:
        rows, axis, group_size, group = x.reshape(1, -1), None, None, x.size
    elif granularity is Granularity.PER_CHANNEL:
        rows, group_size = np.moveaxis(x, axis, 0).reshape(x.shape[axis], -1), None
        group = rows.shape[1]
    else:
        if group_size is None:
            raise ValueError("granularity='per_group' needs group_size, for instance 128")
        axis, group = None, group_size
        rows = x.reshape(group_shape(x.shape, group_size)[0], -1)
    starts = np.arange(0, rows.shape[1], group)
    alpha, beta = np.minimum.reduceat(rows, starts, axis=1), np.maximum.reduceat(rows, starts, axis=1)
    shape = {Granularity.PER_TENSOR: (), Granularity.PER_CHANNEL: (-1,), Granularity.PER_GROUP: alpha.shape}[granularity]
    return qparams_from_range(alpha.reshape(shape), beta.reshape(shape), bits=bits, scheme=scheme, signed=signed,
                              granularity=granularity, axis=axis, group_size=group_size, dtype=x.dtype)
