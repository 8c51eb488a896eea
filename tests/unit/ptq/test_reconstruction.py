"""Reconstruction: what learning the rounding buys, what dropping changes, and refusals in words."""

import numpy as np
import pytest
import torch
from torch import nn

from course_lib.nets import LeNet300100, trained
from course_lib.numerics import calibrate, dequantize, fake_quantize
from course_lib.ptq import quantize_model, reconstruct
from course_lib.ptq.reconstruction import Rounding, RoundingChoice

TWO = {"weight_bits": 2, "activation_bits": 2, "progress": False}


@pytest.fixture(scope="module")
def model(digits):
    return trained("lenet_300_100", digits, progress=False)


@pytest.fixture(scope="module")
def images(digits):
    return digits.train_x(256)


@pytest.fixture(scope="module")
def learned(model, images):
    return reconstruct(model, images, steps=60, **TWO)


def error(model, quantized, x):
    """Mean squared error of the logits."""
    with torch.inference_mode():
        x = torch.from_numpy(x)
        return (model(x) - quantized.simulated()(x)).square().mean().item()


def weights(quantized):
    return [layer for layer in quantized.layers if layer.weight_codes is not None]


def test_learning_brings_the_logits_nearer_on_new_images_too(model, images, learned, digits):
    """Without the steps of learning the two are the same, and the test fails. (Measured: a quarter of the error.)"""
    untaught = reconstruct(model, images, steps=0, **TWO)
    for x in (images, digits.test_x()):
        assert error(model, learned, x) < 0.6 * error(model, untaught, x)


def test_without_a_step_weights_are_rounded_to_the_nearest(model, images):
    untaught = reconstruct(model, images, steps=0, **TWO)
    plain = quantize_model(model, images, weight_bits=2, activation_bits=2, weight_calibration="mse")
    for ours, nearest in zip(weights(untaught), weights(plain)):
        assert ours.weight_qparams == nearest.weight_qparams
        assert np.mean(ours.weight_codes != nearest.weight_codes) < 1e-5        # ties alone may differ


def test_a_weight_goes_to_one_of_its_two_neighbours(model, learned):
    moved = 0
    for layer, real in zip(weights(learned), (m for m in model if isinstance(m, nn.Linear))):
        w, scale = real.weight.detach().numpy(), layer.weight_qparams.scale[:, None]
        below = np.floor(w / scale)
        neighbours = [np.clip(below + h, -1, 1) for h in (0, 1)]
        assert ((layer.weight_codes == neighbours[0]) | (layer.weight_codes == neighbours[1])).all()
        moved += np.sum(layer.weight_codes != np.clip(np.rint(w / scale), -1, 1))
        assert np.array_equal(layer.bias, real.bias.detach().numpy())
    assert moved > 100


def test_the_same_seed_gives_the_same_network_and_dropping_another(model, images, learned):
    codes = [layer.weight_codes for layer in weights(learned)]
    again = reconstruct(model, images, steps=60, **TWO)
    assert all(np.array_equal(a, b.weight_codes) for a, b in zip(codes, weights(again)))
    for other in ({"drop": 0.0}, {"seed": 1}):
        different = reconstruct(model, images, steps=60, **{**TWO, **other})
        assert not all(np.array_equal(a, b.weight_codes) for a, b in zip(codes, weights(different)))


def test_with_real_activations_there_is_nothing_to_drop(model, images):
    options = {"weight_bits": 2, "activation_bits": None, "steps": 5, "progress": False}
    dropping, plain = (reconstruct(model, images, drop=drop, **options) for drop in (0.5, 0.0))
    assert dropping.weight_only
    assert all(np.array_equal(a.weight_codes, b.weight_codes) for a, b in zip(weights(dropping), weights(plain)))


def test_the_result_runs_as_integers_and_is_kept(learned, digits, tmp_path):
    x = digits.test_x()
    same = np.mean(learned.integer_only()(x).argmax(1) == learned.simulated()(x).argmax(1).numpy())
    assert same > 0.98                                      # a code may round the other way, as in every network
    learned.save(tmp_path / "model.safetensors")
    assert learned.meta["reconstruction"] == {"drop": 0.5, "steps": 60, "batch_size": 64, "lr": 0.03, "seed": 0,
                                              "images": 256}


def test_convolutions_and_activations_below_zero(digits):
    """LeNet-5 has no ReLU behind its convolutions: the activations have a zero point, which stays."""
    model, x = trained("lenet_5", digits, progress=False), digits.train_x(64)
    few = {"weight_bits": 3, "activation_bits": 3, "batch_size": 16, "progress": False}
    learned, untaught = (reconstruct(model, x, steps=steps, **few) for steps in (30, 0))
    assert error(model, learned, x) < 0.8 * error(model, untaught, x)


def test_neither_the_model_nor_torchs_generator_is_touched(model, images):
    before, state = [p.clone() for p in model.parameters()], torch.get_rng_state()
    with torch.no_grad():                                   # and it learns where gradients are switched off
        reconstruct(model, images, steps=2, **TWO)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters()))
    assert torch.equal(state, torch.get_rng_state())


def test_the_rounding_of_activations_is_the_quantizers_and_its_step_has_the_gradient_of_lsq():
    x = np.random.default_rng(0).normal(size=500).astype(np.float32)
    qparams = calibrate(x, bits=3, scheme="affine", method="mse")
    rounding = Rounding(qparams)
    assert np.allclose(rounding(torch.from_numpy(x)).detach().numpy(), fake_quantize(x, qparams), atol=1e-6)
    rounding(torch.from_numpy(x)).sum().backward()
    steps = x / qparams.scale
    clipped = np.clip(steps, rounding.low, rounding.high)
    slope = np.where(clipped == steps, np.rint(steps) - steps, clipped)         # Esser et al. 2020, eq. 3
    assert rounding.log_scale.grad.item() == pytest.approx(float(qparams.scale) * slope.sum(), rel=1e-3)
    assert rounding.qparams().zero_point == qparams.zero_point


def test_a_choice_starts_as_the_real_weight_and_ends_on_a_code():
    w = np.random.default_rng(0).normal(size=(4, 9)).astype(np.float32)
    qparams = calibrate(w, bits=4, granularity="per_channel", axis=0)
    choice = RoundingChoice(torch.from_numpy(w), qparams)
    assert np.allclose(choice.weight(choice()).detach().numpy(), w, atol=1e-5)
    nearest = choice.chosen().detach().numpy()
    assert np.allclose(nearest, fake_quantize(w, qparams), atol=1e-6)
    assert np.array_equal(nearest, dequantize(np.rint(nearest / qparams.scale[:, None]).astype(np.int8), qparams))


@pytest.mark.parametrize("wrong, words", [
    ({"drop": 1.5}, "drop=1.5 must be a probability, from 0 to 1"),
    ({"drop": -0.5}, "drop=-0.5 must be a number, 0 or more"),
    ({"steps": -1}, "steps=-1 must be a whole number, 0 or more"),
    ({"batch_size": 0}, "batch_size=0 must be a whole number"),
    ({"lr": float("nan")}, "lr=nan must be a number, 0 or more"),
    ({"weight_bits": 1}, "weight_bits is 1; it should be a whole number from 2 to 8"),
])
def test_options_out_of_range(model, images, wrong, words):
    with pytest.raises(ValueError, match=words):
        reconstruct(model, images, **{**TWO, **wrong})


def test_images_and_layers_that_cannot_be_used(images):
    model = LeNet300100()
    with pytest.raises(ValueError, match="x has no image; calibration needs some"):
        reconstruct(model, images[:0], **TWO)
    with pytest.raises(ValueError, match="x has 784 values that are NaN or infinite"):
        reconstruct(model, np.full_like(images[:1], np.nan), **TWO)
    with pytest.raises(TypeError, match="layer '1' is a Tanh, which cannot be quantized; supported are"):
        reconstruct(nn.Sequential(nn.Linear(4, 4), nn.Tanh()), np.eye(2, 4, dtype=np.float32), **TWO)
