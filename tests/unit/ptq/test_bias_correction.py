"""Bias correction: the mean error of every channel is gone, and the logits are nearer."""

import numpy as np
import pytest
import torch

from course_lib.nets import LeNet5, SmallResNet, evaluate, trained
from course_lib.ptq import correct_bias, quantize_model

NAMES = ["lenet_300_100", "lenet_5"]


@pytest.fixture(scope="module", params=NAMES)
def model(request, digits):
    return trained(request.param, digits, progress=False)


def error(model, quantized, x):
    with torch.inference_mode():
        x = torch.from_numpy(x)
        return (quantized.simulated()(x) - model(x)).double()


@pytest.mark.parametrize("activation_bits", [None, 8, 4])
def test_the_mean_error_of_the_logits_is_gone_on_the_images_it_was_measured_on(model, digits, activation_bits):
    """And is there where the step is left out."""
    x = digits.train_x(300)
    plain = quantize_model(model, x, weight_bits=3, activation_bits=activation_bits)
    corrected = correct_bias(plain, model, x)
    before, after = (error(model, one, x).mean(0).abs().max().item() for one in (plain, corrected))
    # float32 sums of some hundred terms; the logits themselves are rounded to 16 bits, whose errors have a mean too
    assert after < 2e-3 < 0.1 < before


def test_every_layer_of_a_hand_made_network_is_corrected():
    """y = W x + b, two layers, weight-only: the mean of what the first gives, before its ReLU, is the real one."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(30, 20), torch.nn.ReLU(), torch.nn.Linear(20, 5, bias=False))
    x = np.random.default_rng(0).uniform(size=(200, 30)).astype(np.float32)
    plain = quantize_model(model, x, weight_bits=2, activation_bits=None)
    corrected = correct_bias(plain, model, x)
    with torch.no_grad():
        real = model[0](torch.from_numpy(x)).mean(0)
        first = corrected.simulated()[:1](torch.from_numpy(x)).mean(0)
        uncorrected = plain.simulated()[:1](torch.from_numpy(x)).mean(0)
    assert torch.allclose(first, real, atol=1e-5) and (uncorrected - real).abs().max() > 0.05
    assert plain.layers[-1].bias is None and corrected.layers[-1].bias.shape == (5,)
    assert error(model, corrected, x).mean(0).abs().max() < 1e-5


def test_logits_of_new_images_are_nearer(model, digits):
    x, new = digits.train_x(300), digits.test_x()
    plain = quantize_model(model, x, weight_bits=3, activation_bits=8)
    squares = [error(model, one, new).square().mean().item() for one in (plain, correct_bias(plain, model, x))]
    assert squares[1] < 0.95 * squares[0]


def test_codes_and_ranges_stay_and_the_correction_is_remembered(model, digits):
    x = digits.train_x(100)
    plain = quantize_model(model, x, weight_bits=3)
    corrected = correct_bias(plain, model, x)
    for a, b in zip(plain.layers, corrected.layers):
        assert a.weight_codes is b.weight_codes and a.output_qparams == b.output_qparams
    assert corrected.meta == {**plain.meta, "bias_correction": 100} and "bias_correction" not in plain.meta


def test_a_residual_network_is_corrected_too(digits):
    model, x = SmallResNet().eval(), digits.train_x(100)
    plain = quantize_model(model, x, weight_bits=3)
    before, after = (error(model, one, x).mean(0).abs().max().item() for one in (plain, correct_bias(plain, model, x)))
    assert after < before / 5


def test_refusals(digits):
    model, x = LeNet5(), digits.train_x(20)
    quantized = quantize_model(model, x)
    with pytest.raises(ValueError, match="x has no image"):
        correct_bias(quantized, model, x[:0])
    with pytest.raises(ValueError, match="x has 1 values that are NaN or infinite"):
        bad = x.copy()
        bad[0, 0, 0, 0] = np.nan
        correct_bias(quantized, model, bad)
    other = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10))
    with pytest.raises(ValueError, match="it was made of another network"):
        correct_bias(quantized, other, x)


@pytest.mark.parametrize("bits", [2, 3])
def test_it_does_not_hurt(digits, bits):
    """On 500 images a point is two standard errors of a difference of the two."""
    model, x = trained("lenet_5", digits, progress=False), digits.train_x(300)
    plain = quantize_model(model, x, weight_bits=bits, weight_calibration="mse")
    one, two = (evaluate(q.simulated(), digits.test_x(), digits.test_y()).value
                for q in (plain, correct_bias(plain, model, x)))
    assert two > one - 0.02
