"""Calibration from batches that come one after the other: a moving average of their ranges.

Source: Jacob et al. 2018, "Quantization and training of neural networks for efficient integer-arithmetic-only
inference", sec. 3.1.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike

from course_lib.arguments import choose, finite_array
from course_lib.numerics.qparams import QParams, Scheme, code_range, qparams_from_range


def calibrate_batches(
    batches: Iterable[ArrayLike], *, bits: int, scheme: Scheme | str = Scheme.AFFINE, momentum: float = 0.9,
    signed: bool | None = None,
) -> QParams:  # fmt: skip
    """Choose the scale and zero point from batches that come one after the other: a moving average of their ranges.

    After the first batch, whose range is taken as it is, both ends follow :func:`moving_average_one`. A lone outlier
    widens the range by 1 − ``momentum`` of what it would do to min-max, and is forgotten. Per tensor; only one batch is
    in memory at a time.

    NaN, ±inf and an empty batch raise; -0.0 counts as +0.0. Batches that are all the same constant give the scale with
    which it round-trips exactly.

    Parameters
    ----------
    batches : iterable of array_like, any shapes, float32 or float64; at least one
    bits : int, 2 to 16 symmetric, 1 to 16 affine
    scheme : Scheme, by default that of activations
    momentum : float in [0, 1)
        What is kept of the average at each new batch; 0 keeps the last batch alone.
    signed : bool, as in ``calibrate``

    Returns
    -------
    QParams per tensor, whose scale has the dtype of the first batch

    Raises
    ------
    TypeError, ValueError
        No batch at all; a batch is empty, not finite or not of a float dtype (its number is named); ``momentum`` or
        ``bits`` out of range.

    Source: Jacob et al. 2018, sec. 3.1, exponential moving averages of the ranges of activations.

    >>> calibrate_batches([np.float32([0, 1]), np.float32([0, 3])], bits=8, momentum=0.9).clipping_range[1].round(4)
    np.float32(1.2)
    """
    scheme = choose(Scheme, scheme, "scheme")
    code_range(bits, scheme, signed)
    if isinstance(momentum, bool) or not isinstance(momentum, (int, float, np.number)) or not 0 <= momentum < 1:
        raise ValueError(f"momentum={momentum!r} must be at least 0 and below 1")
    ends, dtype = None, None
    for number, batch in enumerate(batches):
        batch = finite_array(batch, f"batch {number}")
        new = float(batch.min()), float(batch.max())
        dtype = dtype or batch.dtype
        ends = new if ends is None else [moving_average_one(old, end, momentum) for old, end in zip(ends, new)]
    if ends is None:
        raise ValueError("batches has no batch, and there is no moving average of none: give one array or more, for "
                         "example np.array_split(x, 16)")
    low, high = sorted(ends)                                # where they have met, the last bit may cross them
    return qparams_from_range(low, high, bits=bits, scheme=scheme, signed=signed, dtype=dtype)


def moving_average_one(average: float, new: float, momentum: float) -> float:
    """One step of an exponential moving average. The definition; equal numbers stay what they are.

    >>> moving_average_one(1.0, 3.0, 0.9)
    1.2
    """
    return average + (1 - momentum) * (new - average)
