"""The layers of the integer engine against their definitions, on small arrays: see test_portable.py."""

import numpy as np

from course_lib.kernels import layers
from course_lib.quantized.layers.pooling import average_one
from course_lib.quantized.requantization import Requantization, requantize_sum_one


def windows(plane, size, stride, padding, outside):
    """The codes in each window, one list a window; outside the image is ``outside``, or nothing where that is None."""
    padded = np.pad(plane.astype(object), [(n, n) for n in padding], constant_values=outside)
    for top in range(0, padded.shape[0] - size[0] + 1, stride[0]):
        for left in range(0, padded.shape[1] - size[1] + 1, stride[1]):
            window = padded[top : top + size[0], left : left + size[1]]
            yield [code for code in window.ravel().tolist() if code is not None]


def pooling(x, window, zero_point):
    size, stride, padding = window
    shape = [(n + 2 * p - k) // s + 1 for n, p, k, s in zip(x.shape[1:], padding, size, stride)]
    out = np.empty((len(x), *shape), np.uint8)
    layers.avg_pool2d(x, *window, zero_point, out)
    assert out.ravel().tolist() == [average_one(one) for plane in x for one in windows(plane, *window, zero_point)]
    layers.max_pool2d(x, *window, out)
    assert out.ravel().tolist() == [max(one) for plane in x for one in windows(plane, *window, None)]


def sums(a, b, constants):
    wanted = [requantize_sum_one(p, q, constants) for p, q in zip(a.tolist(), b.tolist())]
    first, second = constants.multiplier.tolist()
    for dtype in (np.uint8, np.int32):
        out = np.empty(a.size, dtype)
        layers.add(a, b, first, second, int(constants.offset[0]), *constants[2:], out)
        assert out.tolist() == wanted
    assert len(set(wanted)) > 3


def trial():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (3, 7, 9)).astype(np.uint8)
    for window in (((2, 2), (2, 2), (0, 0)), ((3, 2), (1, 3), (1, 1)), ((7, 9), (1, 1), (0, 0))):
        pooling(x, window, 5)
    pooling(np.full((1, 4, 4), 255, np.uint8), ((3, 3), (2, 2), (1, 1)), 255)
    for n in (1, 15, 64, 131):
        a, b = rng.integers(0, 256, (2, n + 16)).astype(np.uint8)
        a[:4], b[:4] = (0, 0, 255, 255), (0, 255, 0, 255)
        for low in (0, 100):  # with and without a ReLU
            sums(a, b, Requantization(np.array([2**30 - 1, 2**29 + 7]), np.array([-(2**33) + 2**29]), 30, low, 255))
