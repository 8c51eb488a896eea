"""Dynamic quantization: products on codes, ranges chosen while it runs, and refusals in words."""

import numpy as np
import pytest
import torch
from torch import nn

from course_lib.nets import LeNet5, evaluate, trained
from course_lib.numerics import calibrate, fake_quantize, quantize
from course_lib.ptq import DynamicLinear, DynamicNet, dynamic, quantize_model

RNG = np.random.default_rng(0)
W = RNG.normal(size=(7, 90)).astype(np.float32)
B = RNG.normal(size=7).astype(np.float32)


def linear_layer(bits=8, granularity="per_channel"):
    qparams = calibrate(W, bits=bits, granularity=granularity, axis=0)
    return DynamicLinear(quantize(W, qparams), qparams, B), fake_quantize(W, qparams)


@pytest.mark.parametrize("per", ["batch", "image"])
@pytest.mark.parametrize("bits", [1, 3, 8, 12, 16])
@pytest.mark.parametrize("granularity", ["per_tensor", "per_channel"])
def test_products_of_codes_are_products_of_what_the_codes_stand_for(bits, per, granularity):
    layer, w = linear_layer(granularity=granularity)
    x = RNG.normal(1, 2, size=(5, 90)).astype(np.float32)
    x[3] = 0.7                                              # a constant row
    rounded = fake_quantize(x, calibrate(x, bits=bits, scheme="affine", axis=0,
                                         granularity="per_channel" if per == "image" else "per_tensor"))
    expected = rounded.astype(np.float64) @ w.T.astype(np.float64) + B
    got = layer(x, bits=bits, per=dynamic.Per(per))
    assert got.dtype == np.float32
    # float32 in the scales and at the end alone: the sums between are exact
    np.testing.assert_allclose(got, expected, atol=1e-6 * np.abs(rounded).max() * np.abs(w).sum(1).max())


@pytest.mark.parametrize("bits", [1, 2, 8, 11, 16])
def test_codes_are_those_of_the_quantizer(bits):
    x = RNG.normal(0.3, 1, size=(40, 25)).astype(np.float32)
    x[0], x[1], x[2], x[3] = 0, -0.0, 4.5, np.abs(x[3])
    for axis, granularity in ((1, "per_channel"), (None, "per_tensor")):
        q = calibrate(x, bits=bits, scheme="affine", granularity=granularity, axis=0)
        codes, scale, zero_point = dynamic._codes(x, bits, axis)
        assert np.array_equal(codes, quantize(x, q)) and codes.dtype == q.code_dtype
        assert np.array_equal(scale.ravel(), q.scale.ravel())
        assert np.array_equal(zero_point.ravel(), q.zero_point.ravel())


def test_products_are_made_by_matmul_int8(monkeypatch):
    seen = []
    real = dynamic.matmul_int8
    monkeypatch.setattr(dynamic, "matmul_int8", lambda w, x: seen.append(x.dtype) or real(w, x))
    layer, _ = linear_layer()
    layer(W, bits=8)
    layer(W, bits=16)
    assert seen == [np.uint8] * 3                           # a product of 16-bit codes is two of bytes


def test_an_image_alone_has_the_logits_it_has_in_a_crowd_per_image_and_not_per_batch(digits):
    model = trained("lenet_300_100", digits, progress=False)
    quantized = quantize_model(model, None, weight_bits=8, activation_bits=None)
    x = digits.test_x(600).copy()
    x[0] *= 0.2
    for per, same in (("image", True), ("batch", False)):
        net = DynamicNet(quantized, activation_bits=4, per=per)
        assert np.array_equal(net(x)[0], net(x[:1])[0]) is same


@pytest.mark.parametrize("name", ["lenet_300_100", "lenet_5"])
@pytest.mark.parametrize("per", ["batch", "image"])
def test_eight_bits_are_as_right_as_float(digits, name, per):
    """At 8 bits a logit moves by a hundredth or so; of 360 test images one may lie that near to a border, or two."""
    model = trained(name, digits, progress=False)
    net = DynamicNet(quantize_model(model, None, weight_bits=8, activation_bits=None), per=per)
    x, y = digits.test_x(), digits.test_y()
    assert abs(evaluate(net, x, y).value - evaluate(model, x, y).value) <= 2 / len(y)


def test_wider_activations_come_nearer_to_weight_only(digits):
    model = trained("lenet_5", digits, progress=False)
    quantized = quantize_model(model, None, weight_bits=8, activation_bits=None)
    x = digits.test_x(50)
    with torch.inference_mode():
        real = quantized.simulated()(torch.from_numpy(x)).numpy()
    apart = [np.abs(DynamicNet(quantized, activation_bits=bits)(x) - real).max() for bits in (2, 4, 8, 16)]
    assert apart[0] > 4 * apart[1] > 16 * apart[2]          # two more bits quarter the step, with room to spare
    assert apart[3] <= apart[2]                             # the images keep their 8 bits, and these are bytes


def test_a_convolution_with_stride_padding_and_a_window_that_is_not_square():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, (3, 5), stride=(2, 1), padding=(1, 2)), nn.ReLU(), nn.MaxPool2d(2),
                          nn.Flatten(), nn.Linear(3 * 2 * 4, 4))
    x = RNG.uniform(size=(6, 2, 8, 8)).astype(np.float32)
    with torch.no_grad():
        expected = model(torch.from_numpy(x)).numpy()
    quantized = quantize_model(model, None, weight_bits=8, activation_bits=None)
    for per in ("batch", "image"):
        got = DynamicNet(quantized, activation_bits=16, per=per)(x)
        assert np.abs(got - expected).max() < 0.03 * np.abs(expected).max()     # 8 bits of weights and of images


def test_no_image_gives_no_row_and_bad_numbers_are_named():
    net = DynamicNet(quantize_model(LeNet5(), None, weight_bits=8, activation_bits=None))
    assert net(np.empty((0, 1, 28, 28), np.float32)).shape == (0, 10)
    with pytest.raises(ValueError, match="NaN"):
        net(np.full((1, 1, 28, 28), np.nan, np.float32))


def test_refusals():
    model = nn.Sequential(nn.Linear(90, 7))
    grouped = quantize_model(model, None, weight_bits=8, activation_bits=None, granularity="per_group", group_size=30)
    with pytest.raises(ValueError, match="layer '0': qparams has scales per group, which change inside a sum"):
        DynamicNet(grouped)
    qparams = calibrate(W, bits=8, granularity="per_channel", axis=1)
    with pytest.raises(ValueError, match="scales along axis 1"):
        DynamicLinear(quantize(W, qparams), qparams)
    affine = calibrate(np.abs(W), bits=8, scheme="affine", signed=True)
    with pytest.raises(ValueError, match="weights should be symmetric"):
        DynamicLinear(quantize(np.abs(W), affine), affine)
    plain = quantize_model(model, None, weight_bits=8, activation_bits=None)
    with pytest.raises(ValueError, match="activation_bits=17 must be a whole number from 1 to 16"):
        DynamicNet(plain, activation_bits=17)
    with pytest.raises(ValueError, match="per='channel' is not one of 'batch', 'image'"):
        DynamicNet(plain, per="channel")
    with pytest.raises(TypeError, match="model is a Sequential; it should be a QuantizedModel"):
        DynamicNet(model)
