"""What comes after calibration, on the residual network: reconstruction, and ranges chosen while it runs."""

import numpy as np
import pytest

from course_lib.nets import evaluate, trained
from course_lib.ptq import DynamicNet, quantize_model, reconstruct


@pytest.fixture(scope="module")
def model(digits):
    return trained("small_resnet", digits, progress=False)


def test_dynamic_ranges(digits, model):
    x = digits.test_x(100)
    weight_only = quantize_model(model, None, weight_bits=8, activation_bits=None)
    real, ours = weight_only.simulated()(x).numpy(), DynamicNet(weight_only)(x)
    assert np.abs(ours - real).max() < 0.05 * np.abs(real).max()


def test_reconstruction_helps_at_few_bits(digits, model):
    """Without a step of learning it is rounding to nearest: 51 % at 3/4 bits. Twelve steps a layer give 98 %."""
    x, y = digits.test_x(), digits.test_y()
    options = {"weight_bits": 3, "activation_bits": 4, "batch_size": 32, "progress": False}
    untaught = reconstruct(model, digits.train_x(64), steps=0, **options)
    learned = reconstruct(model, digits.train_x(64), steps=12, lr=0.15, **options)
    before, after = evaluate(untaught.simulated(), x, y), evaluate(learned.simulated(), x, y)
    assert after.value > before.value + 0.1 and after.value > 0.95, f"{before}, {after}"
    assert abs(evaluate(learned.integer_only(), x, y).value - after.value) <= 0.02
