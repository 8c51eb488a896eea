"""What cannot be quantized or calibrated from ends in words that name it, wherever it is handed in."""

from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn

from course_lib.nets import LeNet300100
from course_lib.numerics import calibrate, calibrate_batches
from course_lib.ptq import correct_bias, quantize_in_mode, quantize_model, reconstruct, record_activations

MODEL = LeNet300100()
IMAGES = np.random.default_rng(0).uniform(size=(4, 1, 28, 28)).astype(np.float32)
HOLED = IMAGES.copy()
HOLED[1, 0, 3, 5:7] = np.nan
QUANTIZED = quantize_model(MODEL, IMAGES)
WAYS = {
    "record": lambda model, x: record_activations(model, x),
    "quantize": lambda model, x: quantize_model(model, x),
    "mode": lambda model, x: quantize_in_mode(model, x, "static"),
    "bias": lambda model, x: correct_bias(QUANTIZED, model, x),
    "reconstruct": lambda model, x: reconstruct(model, x, weight_bits=4, activation_bits=4, steps=1, progress=False),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("x, words", [
    (IMAGES[:0], "x has no image; calibration needs some"),
    (np.zeros_like(IMAGES), "x is 0 everywhere, and nothing can be learned of ranges from that"),
    (np.full_like(IMAGES, 0.5), "x is 0.5 everywhere"),
    (HOLED, "x has 2 values that are NaN or infinite"),
], ids=["nothing", "zeros", "constant", "NaN"])
def test_images_of_which_no_range_can_be_chosen(way, x, words):
    with pytest.raises(ValueError, match=words):
        WAYS[way](MODEL, x)


@pytest.mark.parametrize("way", WAYS)
def test_an_unknown_layer_is_named_with_what_is_known(way):
    model = nn.Sequential(OrderedDict(flatten=nn.Flatten(), fc=nn.Linear(784, 10), squash=nn.Sigmoid()))
    with pytest.raises(TypeError, match="layer 'squash' is a Sigmoid, which cannot .*supported are .*Linear"):
        WAYS[way](model, IMAGES)


@pytest.mark.parametrize("way", WAYS)
def test_a_batch_norm_without_a_layer_to_fold_into_is_named(way):
    model = nn.Sequential(OrderedDict(norm=nn.BatchNorm2d(1), flatten=nn.Flatten(), fc=nn.Linear(784, 10))).eval()
    with pytest.raises(TypeError, match="batch norm 'norm' has no layer to fold into: nothing stands before it"):
        WAYS[way](model, IMAGES)


def test_a_channel_axis_that_is_not_there():
    for axis in (2, -3):
        with pytest.raises(ValueError, match=rf"axis \(x has 2 axes\)={axis} must be a whole number from -2 to 1"):
            calibrate(np.ones((3, 4), np.float32), bits=8, granularity="per_channel", axis=axis)


def test_a_moving_average_of_no_batches():
    for nothing in ([], iter(()), np.empty((0, 5), np.float32)):
        with pytest.raises(ValueError, match="batches has no batch, and there is no moving average of none"):
            calibrate_batches(nothing, bits=8)


def test_batch_norm_is_folded_by_quantize_model():
    """To float32 round-off: 8-bit codes of the folded weights, and no other layer left."""
    torch.manual_seed(0)
    model = nn.Sequential(OrderedDict(conv=nn.Conv2d(1, 4, 3, bias=False), norm=nn.BatchNorm2d(4), relu=nn.ReLU(),
                                      flatten=nn.Flatten(), fc=nn.Linear(4 * 26 * 26, 5)))
    norm = model.norm
    with torch.no_grad():
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        norm.weight.uniform_(0.5, 2)
        norm.bias.normal_()
    model.eval()
    quantized = quantize_model(model, IMAGES, activation_bits=None)
    factor = (norm.weight / (norm.running_var + norm.eps).sqrt()).detach()
    folded = (model.conv.weight * factor[:, None, None, None]).detach().numpy()
    layers = {layer.name: layer for layer in quantized.layers}
    assert set(layers) == {"conv", "relu", "flatten", "fc"}
    scale = layers["conv"].weight_qparams.scale.reshape(-1, 1, 1, 1)
    assert np.abs(layers["conv"].weight_codes * scale - folded).max() <= 0.5001 * scale.max()
    np.testing.assert_allclose(layers["conv"].bias, (norm.bias - norm.running_mean * factor).detach(), rtol=1e-5)
