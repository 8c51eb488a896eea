"""A new kind of layer in one file, this one: from a model through codes, both engines and the file to its cost.

LeakyReLU, which the library does not know. On integers it is a table of what each code becomes.
"""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from course_lib import energy
from course_lib.numerics import dequantize, quantize
from course_lib.ptq import quantize_model, record_activations
from course_lib.qat import FakeQuantNet
from course_lib.quantized import QuantizedFileError, QuantizedLayer, QuantizedModel, cost, register
from course_lib.quantized.layers import KINDS
from course_lib.quantized.layers.base import LayerKind
from course_lib.quantized.layers.buffers import buffer


class LeakyReLU(LayerKind):
    """x where it is positive, else a x."""

    name = "leaky_relu"
    options = ("negative_slope",)

    def torch_class(self):
        return nn.LeakyReLU

    def read(self, layer, where):
        return {"negative_slope": float(layer.negative_slope)}

    def window(self, name, options, weight_shape=None):
        super().window(name, options)
        slope = options.get("negative_slope")
        if not isinstance(slope, float) or not 0 <= slope <= 1:
            raise ValueError(f"layer {name!r}: negative_slope={slope!r} must be a number from 0 to 1")

    def simulate(self, options, *inputs, weight=None, bias=None):
        return functional.leaky_relu(*inputs, **options)

    def integer(self, layer, relu_follows):
        codes = np.arange(layer.input_qparams.qmax + 1)
        real = torch.from_numpy(dequantize(codes, layer.input_qparams))
        return Table(quantize(self.simulate(layer.options, real).numpy(), layer.output_qparams).astype(np.uint8))

    def cost(self, name, weight_shape, shapes, output_shape):
        numbers = int(np.prod(output_shape))
        return energy.Layer(name, numbers, 0, numbers, numbers)


class Table:
    def __init__(self, table):
        self.table = table

    def plan(self, x):
        out = buffer(x.shape, np.uint8)
        return [(np.take, (self.table, x, None, out, "clip"))], out


@pytest.fixture
def known():
    register(LeakyReLU())
    yield
    del KINDS["leaky_relu"]


@pytest.fixture
def model():
    model = nn.Sequential(nn.Conv2d(1, 4, 5, stride=2), nn.LeakyReLU(0.2), nn.MaxPool2d(2), nn.Flatten(),
                          nn.Linear(144, 10))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(0, 0.2, generator=generator)
    return model


def test_a_model_that_has_it_goes_all_the_way(known, model, digits, tmp_path):
    x = digits.train_x(100)
    with torch.no_grad():
        real = model(torch.from_numpy(x)).numpy()
        leaky = model[1](model[0](torch.from_numpy(x))).numpy()
    record = record_activations(model, x)
    assert list(record.values) == ["0", "1", "4"]  # it has a scale of its own, chosen behind the pooling
    assert record.values["1"].min() >= leaky.min() and record.values["1"].max() == leaky.max()
    quantized = quantize_model(model, record)
    assert quantized.layers[1].options == {"negative_slope": pytest.approx(0.2)}
    simulated = quantized.simulated()(torch.from_numpy(x)).numpy()
    integer = quantized.integer_only()(x)
    assert np.abs(simulated - real).max() < 0.03 * np.abs(real).max()
    assert np.abs(integer - simulated).max() < 0.03 * np.abs(real).max()
    changed = quantize_model(nn.Sequential(model[0], nn.LeakyReLU(0.9), *list(model)[2:]), x).simulated()(x).numpy()
    assert np.abs(changed - real).max() > 0.1 * np.abs(real).max()  # the option counts

    quantized.save(tmp_path / "model")
    loaded = QuantizedModel.load(tmp_path / "model")
    assert np.array_equal(loaded.integer_only()(x), integer)
    layers = cost(loaded, (1, 28, 28))
    assert layers == cost(model, (1, 28, 28))
    assert [(layer.name, layer.multiply_adds) for layer in layers] == [("0", 100 * 144), ("1", 4 * 144), ("4", 1440)]

    net = FakeQuantNet(model, weight_bits=8, activation_bits=8)
    net.calibrate(x)
    with torch.no_grad():
        assert np.abs(net(torch.from_numpy(x)).numpy() - real).max() < 0.03 * np.abs(real).max()
    net(torch.from_numpy(x)).square().mean().backward()
    assert all(p.grad.abs().sum() > 0 for p in model.parameters())


def test_its_options_are_checked_in_a_file_and_its_name_is_its_own(known):
    with pytest.raises(ValueError, match="negative_slope=2.0 must be a number from 0 to 1"):
        QuantizedLayer("leaky_relu", "a", options={"negative_slope": 2.0})
    with pytest.raises(ValueError, match="there is a kind of layer 'leaky_relu' already: LeakyReLU"):
        register(LeakyReLU())


def test_without_it_the_model_and_its_file_are_refused(model, digits, tmp_path):
    x = digits.train_x(20)
    with pytest.raises(TypeError, match="layer '1' is a LeakyReLU, which cannot be quantized; supported are Linear"):
        quantize_model(model, x)
    register(LeakyReLU())
    try:
        quantize_model(model, x).save(tmp_path / "model")
    finally:
        del KINDS["leaky_relu"]
    with pytest.raises(QuantizedFileError, match="kind is 'leaky_relu'; it must be one of linear"):
        QuantizedModel.load(tmp_path / "model")
