"""Lab 04, the quantizer: scales of weights, quantize, dequantize, range of activations."""

from dataclasses import replace

import numpy as np

from course_lib.check import quantizer
from course_lib.check.base import Property, Task, as_pair, same_shape
from course_lib.check.quantizer import (
    affine,
    affine_rules,
    awkward_rows,
    clear_zero_point,
    close_scales,
    symmetric,
    symmetric_suspects,
)

# ---------------------------------------------------------------------------------------------- scales of weights


def _scale_inputs(rng):
    yield np.array([[1.5, -3.0, 0.5], [0.25, 0.6, -0.2]], np.float32), 3
    yield np.array([[0.0, 0.0], [7.0, -1.0]], np.float32), 4
    yield np.array([[-2.0, -1.0]], np.float32), 2
    yield np.array([[3.0], [-0.5], [0.0]]), 4
    yield awkward_rows(), 8
    yield awkward_rows().astype(np.float32), 3
    for k in range(63):
        rows, columns = rng.integers(1, 7), rng.integers(1, 9)
        w = rng.normal(size=(rows, columns)) * np.exp(rng.normal(size=(rows, 1)))
        w[rng.random(rows) < 0.1] = 0
        w *= rng.random(w.shape) > 0.15
        yield w.astype((np.float32, np.float64)[k % 2]), 2 + k // 2 % 7


weight_scales = Task(
    title="Task 2 · weight_scales",
    shapes={"w": "mn", "bits": ""},
    expected=lambda w, bits: symmetric(np.abs(w.astype(np.float64)).max(axis=1), bits),
    inputs=_scale_inputs,
    properties=(
        Property("the answer has one scale for each row of w, in an array of shape (rows,)", same_shape),
        Property("every scale is a finite number above zero (an all-zero row gets the scale 1)",
                 lambda s, *_: bool(np.all(np.isfinite(s)) and np.all(s > 0))),
        Property("the weight with the largest magnitude of its row gets the largest code, 2^(bits-1) - 1",
                 close_scales),
    ),
    suspects=symmetric_suspects(lambda of, w: of(w, axis=1), "row"),
    fixed=("bits",),
    valid=lambda w, bits: w.shape[1] > 0,
    tried="literal ones, negative rows, zeros in rows and all-zero rows, tiny ones, and random weights at 2 to 8 bits",
)

# ----------------------------------------------------------------------------------------- quantize and dequantize

quantize = replace(quantizer.quantize, title="Task 3 · quantize")
dequantize = replace(quantizer.dequantize, title="Task 4 · dequantize")

# -------------------------------------------------------------------------------------- scale and Z of activations


def _ends(x, bits):
    return float(x.min()), float(x.max()), 0, 2**bits - 1


def _params_inputs(rng):
    yield np.array([-1.0, 0.0, 2.0], np.float32), 2
    yield np.array([2.0, 6.0], np.float32), 4
    yield np.array([-6.0, -3.0], np.float32), 2
    yield np.zeros(3, np.float32), 8
    yield np.full(4, 5.0, np.float32), 8
    for c in (0.7, -0.7, 3.0):                              # a single number
        yield np.array([c]), 4
    yield np.array([-1.0, -1.0, 2.0], np.float32), 4        # a sum of zero
    yield np.array([-3.0, 0.0]), 7
    yield np.array([0.0, 1e-9, 3e-9]), 8                    # narrow, and no zeros
    yield np.array([-3e-13, 1e-13]), 4
    yield np.array([1000.0, 1000.001]), 8
    yield np.array([-2000.001, -2000.0]), 3
    for k in range(63):
        x = rng.normal(size=rng.integers(2, 12)) * np.exp(rng.normal())
        x += (0, 0, 4, -4)[k % 4] * x.std()
        x = np.maximum(x, 0) if k % 8 == 5 else x
        yield x.astype((np.float32, np.float64)[k // 2 % 2]), 2 + k % 7


_AFFINE, _USUAL = affine_rules(_ends, first="0", last="2^bits - 1", steps="2^bits - 1", rule="round(-low / S)")

activation_params = Task(
    title="Task 5 · activation_params",
    shapes={"x": "n", "bits": ""},
    expected=lambda x, bits: affine(*_ends(x, bits)),
    inputs=_params_inputs,
    read=as_pair,
    properties=_AFFINE,
    suspects=_USUAL,
    fixed=("bits",),
    valid=lambda x, bits: clear_zero_point(*_ends(x, bits)),
    tried="ranges around zero, above zero and below zero, narrow ones, a single number, a constant, all zeros, "
          "2 to 8 bits",
)
