"""Training with quantization takes the residual network: its sums are rounded, its batch norm runs as it is."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from course_lib.nets import Residual, SmallResNet, evaluate, trained
from course_lib.qat import FakeQuantNet, train_qat
from course_lib.quantized import QuantizedModel


@pytest.fixture(scope="module")
def model(digits):
    return trained("small_resnet", digits, progress=False)


@pytest.mark.parametrize("bits", [(8, 8), (3, 3), (4, None)])
def test_the_net_in_training_computes_what_its_twin_does(digits, model, bits):
    """Up to sums taken in another order, which may move a code, and the 16-bit rounding of the logits."""
    x = torch.from_numpy(digits.test_x(100))
    net = FakeQuantNet(model, weight_bits=bits[0], activation_bits=bits[1])
    net.calibrate(x)
    with torch.no_grad():
        logits = net(x)
    twin = net.quantized(x)
    assert twin.weight_only == (bits[1] is None)
    difference = (twin.simulated()(x) - logits).abs().max(1).values / logits.abs().max()
    assert difference.median() < 0.02 and (difference < 0.1).float().mean() > 0.95


def test_each_sum_has_a_quantizer_of_its_own_and_an_average_none():
    net = FakeQuantNet(SmallResNet(), weight_bits=4, activation_bits=4)
    assert [name for name in net.of_activations if name.endswith("sum")] == [f"block{i}.sum" for i in (1, 2, 3, 4)]
    assert set(net.of_activations) == {*net.of_weights, *(f"block{i}.sum" for i in (1, 2, 3, 4))} - {"fc"}
    edges = FakeQuantNet(SmallResNet(), weight_bits=4, activation_bits=4, edge_bits=8)
    assert {name for name, bits in edges.activation_bits.items() if bits == 8} == {"block4.sum"}  # what fc reads


def test_gradients_reach_every_parameter(digits, model):
    net = FakeQuantNet(model, weight_bits=4, activation_bits=4)
    x = torch.from_numpy(digits.train_x(64))
    net.calibrate(x)
    net.train()(x).square().mean().backward()
    assert all(p.grad.abs().sum() > 0 for p in net.parameters())
    net.zero_grad()


def test_an_average_is_rounded_to_the_scale_of_what_it_averages(digits):
    """As the integer engine does: what leaves the pooling lies on the codes of the sum before it."""
    seen = {}
    model = nn.Sequential(nn.Conv2d(1, 4, 5, stride=2), Residual(nn.Conv2d(4, 4, 3, padding=1)),
                          nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))
    net = FakeQuantNet(model, weight_bits=8, activation_bits=4)
    x = torch.from_numpy(digits.train_x(32))
    net.calibrate(x)
    run = net._compute
    net._compute = lambda step, *inputs: seen.update({step.name: inputs[0].detach()}) or run(step, *inputs)
    with torch.no_grad():
        net(x)
    steps = seen["4"] / torch.tensor(net.activation_qparams["1.sum"].scale)
    assert torch.allclose(steps, steps.round(), atol=1e-4) and steps.abs().max() > 0


def test_trained_saved_and_run_on_integers(digits, model, tmp_path):
    few = replace(digits, train_images=digits.train_images[:400], train_labels=digits.train_labels[:400])
    twin = train_qat(model, few, weight_bits=4, activation_bits=4, epochs=1, batch_size=32, progress=False)
    twin.save(tmp_path / "twin")
    loaded, x, y = QuantizedModel.load(tmp_path / "twin"), digits.test_x(), digits.test_y()
    assert np.array_equal(loaded.integer_only()(x[:50]), twin.integer_only()(x[:50]))
    simulated, integer = evaluate(loaded.simulated(), x, y), evaluate(loaded.integer_only(), x, y)
    assert simulated.value > 0.93 and abs(simulated.value - integer.value) <= 0.02
