"""The harness takes any estimator: a twelfth one in one file, parameters of its own, batch norm, other bits, noise."""

import importlib.util
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from course_lib.nets import LeNet300100, SmallResNet, evaluate, trained
from course_lib.numerics import QParams, dequantize, quantize
from course_lib.qat import FakeQuantNet, Quantizer, StraightThrough, train_fake_quant, train_qat
from course_lib.qat.folding import fold_into_codes

spec = importlib.util.spec_from_file_location("soft_rounding", Path(__file__).with_name("soft_rounding.py"))
soft_rounding = importlib.util.module_from_spec(spec)
spec.loader.exec_module(soft_rounding)
SoftRounding = soft_rounding.SoftRounding
BOTH = {"weight_quantizer": SoftRounding, "activation_quantizer": SoftRounding}


@pytest.fixture(scope="module")
def few(digits):
    """300 training images."""
    return replace(digits, train_images=digits.train_images[:300], train_labels=digits.train_labels[:300])


def weights_and_gradients(net, x):
    """{layer: (weight, its gradient, the gradient at its rounded image)} of one backward pass."""
    arrived = {}
    hooks = [quantizer.register_full_backward_hook(lambda q, _, out, name=name: arrived.update({name: out[0]}))
             for name, quantizer in net.of_weights.items()]  # fmt: skip
    net(x).square().mean().backward()
    for hook in hooks:
        hook.remove()
    layers = dict(net.model.named_modules())
    return {name: (layers[name].weight.detach(), layers[name].weight.grad, arrived[name]) for name in arrived}


# ---- an estimator of one's own


def uses_its_own_gradient(estimator, few):
    """Whether weights inside the clipping range get what arrives at them times the soft step's slope."""
    net = FakeQuantNet(LeNet300100(), weight_bits=3, activation_bits=3, weight_quantizer=estimator,
                       activation_quantizer=estimator)  # fmt: skip
    x = torch.from_numpy(few.train_x(64))
    net.calibrate(x)
    found = []
    for name, (weight, gradient, arrived) in weights_and_gradients(net, x).items():
        qparams = net.weight_qparams[name]
        steps = weight / torch.tensor(qparams.scale).reshape(-1, 1)
        inside = steps.abs() < qparams.qmax
        wanted = arrived * soft_rounding.soft_slope(steps - torch.floor(steps) - 0.5)
        found.append(torch.allclose(gradient[inside], wanted[inside], rtol=1e-4, atol=1e-9))
    assert len(set(found)) == 1
    return found[0]


def test_an_estimators_own_gradient_is_the_one_that_is_used(few):
    assert uses_its_own_gradient(SoftRounding, few)
    assert not uses_its_own_gradient(StraightThrough, few)


def test_a_toy_estimator_learns_with_its_own_parameters(digits):
    """Two bits for weights; after training no more than 5 points below the 97 % of the real network on digits."""
    net = FakeQuantNet(trained("lenet_300_100", digits, progress=False), weight_bits=2, activation_bits=3, **BOTH)
    x = digits.train_x(128)
    net.calibrate(torch.from_numpy(x))
    first = {name: quantizer.step.item() for name, quantizer in net.of_weights.items()}
    log = train_fake_quant(net, x, digits, epochs=3, batch_size=32, progress=False, validation=100)
    moved = [abs(quantizer.step.item() / first[name] - 1) for name, quantizer in net.of_weights.items()]
    assert min(moved) > 0.01
    twin = net.quantized(x)
    score = evaluate(twin.simulated(), digits.test_x(), digits.test_y())
    assert score.value > 0.92 and log.validation[-1].accuracy > 0.92, str(score)
    agree = evaluate(net, digits.test_x(), digits.test_y())
    assert abs(agree.value - score.value) <= 0.01  # sums in another order flip one image in a hundred at most
    for layer in twin.layers:
        if layer.weight_codes is not None:
            assert layer.weight_qparams.scale == net.of_weights[layer.name].step.item()
            assert set(np.unique(layer.weight_codes)) <= {-1, 0, 1}


def test_train_qat_takes_an_estimator_and_says_so_in_the_file(few, tmp_path):
    twin = train_qat(LeNet300100(), few, weight_bits=3, activation_bits=3, epochs=1, batch_size=50, progress=False,
                     **BOTH)  # fmt: skip
    assert twin.meta["quantizers"] == ["SoftRounding", "SoftRounding"]
    twin.save(tmp_path / "twin.safetensors")


def test_the_optimizer_treats_learned_parameters_as_their_estimator_says(few):
    net = FakeQuantNet(LeNet300100(), weight_bits=3, activation_bits=3, **BOTH)
    net.calibrate(few.train_x(10))
    weights, biases, learned = net.groups(lr=0.1, weight_decay=0.3)
    assert (weights["lr"], weights["weight_decay"], len(weights["params"])) == (0.1, 0.3, 3)
    assert (biases["lr"], biases["weight_decay"], len(biases["params"])) == (0.1, 0.0, 3)
    assert (learned["lr"], learned["weight_decay"], len(learned["params"])) == (0.05, 0.01, 5)
    assert len(FakeQuantNet(LeNet300100(), weight_bits=3, activation_bits=3).groups(lr=0.1)) == 2


class Noisy(StraightThrough):
    """Noise of one step in training, rounding otherwise."""

    def forward(self, x):
        if not self.training:
            return super().forward(x)
        scale = torch.tensor(self.qparams().scale).reshape(-1, *[1] * (x.ndim - 1))
        return x + scale * (torch.rand_like(x) - 0.5)


def test_noise_is_seeded_and_for_training_alone(few):
    x = few.train_x(64)

    def twin(seed):
        return train_qat(LeNet300100(), few, weight_bits=3, activation_bits=None, epochs=1, batch_size=50, seed=seed,
                         progress=False, weight_quantizer=Noisy)  # fmt: skip

    first, again, other = (twin(seed).layers[1].weight_codes for seed in (0, 0, 1))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    net = FakeQuantNet(LeNet300100(), weight_bits=3, activation_bits=None, weight_quantizer=Noisy)
    net.calibrate(x)
    a, b = (net.train()(torch.from_numpy(x)) for _ in range(2))
    assert not torch.equal(a, b)
    quantized = net.quantized(x)
    assert net.training and all(q.training for q in net.quantizers)
    plain = FakeQuantNet(LeNet300100(), weight_bits=3, activation_bits=None)
    plain.calibrate(x)
    for one, two in zip(quantized.layers, plain.quantized(x).layers):
        assert one.weight_codes is None or np.array_equal(one.weight_codes, two.weight_codes)


class Powers(Quantizer):
    """0 and ± powers of two times the largest magnitude, which here are no multiples of one step."""

    def start(self, x):
        self.largest = float(x.abs().max())

    def levels(self):
        powers = self.largest * 2.0 ** -np.arange(3)
        return np.concatenate([-powers, [0.0], powers[::-1]])

    def forward(self, x):
        levels = torch.from_numpy(self.levels()).float()
        nearest = levels[(x.detach()[..., None] - levels).abs().argmin(-1)]
        return x + (nearest - x).detach()

    def qparams(self):
        return None


def test_levels_of_any_kind_are_trained_and_what_cannot_be_codes_is_refused_by_name(few):
    net = FakeQuantNet(LeNet300100(), weight_bits=3, activation_bits=None, weight_quantizer=Powers)
    log = train_fake_quant(net, few.train_x(64), few, epochs=2, batch_size=50, progress=False)
    assert log.loss[1] < log.loss[0]
    with pytest.raises(TypeError, match="Powers rounds the weights of layer 'fc1' to levels that are no multiples"):
        net.quantized(few.train_x(64))
    with pytest.raises(TypeError, match="Powers has levels that are no multiples of one step, so no integer code"):
        net.of_weights["fc1"].codes(torch.zeros(3))


def test_levels_and_codes_of_what_is_uniform():
    quantizer = StraightThrough(3, "weights")
    w = torch.from_numpy(np.random.default_rng(0).normal(size=(4, 60)).astype(np.float32))
    quantizer.start(w)
    qparams = quantizer.qparams()
    assert quantizer.levels().shape == (4, 7)
    assert np.array_equal(quantizer.codes(w), quantize(w.numpy(), qparams))
    for row, levels in zip(quantizer(w).numpy(), quantizer.levels()):
        assert set(row) <= set(levels.astype(np.float32))


@pytest.mark.parametrize(("make", "message"), [
    (lambda: StraightThrough(1, "weights"), "weight_bits=1 must be a whole number from 2 to 8"),
    (lambda: StraightThrough(9, "activations"), "bits=9 must be a whole number from 1 to 8"),
    (lambda: StraightThrough(2, "biases"), "role='biases' is not one of 'weights', 'activations'"),
    (lambda: Quantizer(2, "weights").start(torch.zeros(2)), r"Quantizer has no start\(x\)"),
    (lambda: Quantizer(2, "weights")(torch.zeros(2)), r"Quantizer has no forward\(x\)"),
    (lambda: FakeQuantNet(LeNet300100(), weight_bits=2, activation_bits=2, weight_quantizer=lambda *a, **b: nn.ReLU()),
     "weight_quantizer gives a ReLU; it should be a subclass of cl.qat.Quantizer"),
    (lambda: FakeQuantNet(LeNet300100(), weight_bits={"fc1": 2}, activation_bits=2),
     "weight_bits has the layers 'fc1'; it should have fc1, fc2, fc3"),
    (lambda: FakeQuantNet(LeNet300100(), weight_bits={"fc1": 2, "fc2": 0, "fc3": 2}, activation_bits=2),
     r"weight_bits\['fc2'\]=0 must be a whole number from 1 to 8"),
    (lambda: FakeQuantNet(LeNet300100(), weight_bits=2, activation_bits=2, edge_bits=9), "edge_bits=9 must be a whole"),
])
def test_errors_say_what_would_be_right(make, message):
    with pytest.raises((TypeError, ValueError, NotImplementedError), match=message):
        make()


# ---- other bits


def bits_of(twin):
    return {layer.name: (layer.weight_qparams.bits, layer.output_qparams and layer.output_qparams.bits)
            for layer in twin.layers if layer.weight_codes is not None}


def test_first_and_last_layer_and_each_layer_may_have_other_bits(few):
    x = few.train_x(64)
    net = FakeQuantNet(LeNet300100(), weight_bits=2, activation_bits=3, edge_bits=8)
    net.calibrate(x)
    assert bits_of(net.quantized(x)) == {"fc1": (8, 3), "fc2": (2, 8), "fc3": (8, 16)}  # 16: the logits
    twin = train_qat(LeNet300100(), few, weight_bits={"fc1": 2, "fc2": 4, "fc3": 6}, epochs=1, progress=False,
                     activation_bits={"fc1": 5, "fc2": 7})  # fmt: skip
    assert bits_of(twin) == {"fc1": (2, 5), "fc2": (4, 7), "fc3": (6, 16)}
    assert twin.meta["weight_bits"] == {"fc1": 2, "fc2": 4, "fc3": 6}


def test_an_estimator_with_options_is_a_partial(few):
    net = FakeQuantNet(LeNet300100(), weight_bits=2, activation_bits=2,
                       weight_quantizer=partial(StraightThrough), weight_calibration="minmax")  # fmt: skip
    assert {quantizer.calibration.value for quantizer in net.of_weights.values()} == {"minmax"}


# ---- batch norm


def with_batch_norm():
    """A convolution and a linear layer, each with batch norm that has seen something; one γ negative, one zero."""
    generator = torch.Generator().manual_seed(4)
    model = nn.Sequential(nn.Conv2d(1, 6, 5, stride=3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(),
                          nn.Linear(6 * 64, 20, bias=False), nn.BatchNorm1d(20), nn.ReLU(), nn.Linear(20, 10))
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) / p[0].numel() ** 0.5 if p.ndim > 1
                    else 0.3 * torch.randn(p.shape, generator=generator))  # fmt: skip
        for norm in (model[1], model[5]):
            norm.weight.copy_(1 + 0.5 * torch.randn(norm.weight.shape, generator=generator))
            norm.weight[1:3] = torch.tensor([-0.8, 0.0])
            norm.running_mean.copy_(0.2 * torch.randn(norm.weight.shape, generator=generator))
            norm.running_var.copy_(0.1 + torch.rand(norm.weight.shape, generator=generator))
    return model


def affine_codes():
    rng = np.random.default_rng(2)
    return rng.integers(0, 8, (5, 7)).astype(np.uint8), QParams(
        (0.1 + rng.random(5)).astype(np.float32), rng.integers(0, 8, 5), 0, 7, "per_channel", axis=0)  # fmt: skip


def symmetric_codes():
    codes = np.random.default_rng(3).integers(-7, 8, (5, 2, 3, 3)).astype(np.int8)
    return codes, QParams(np.float32(0.25), 0, -7, 7)


@pytest.mark.parametrize("codes_and_qparams", [affine_codes, symmetric_codes])
def test_folding_moves_no_code_but_mirrors_channels_of_negative_factor(codes_and_qparams):
    codes, qparams = codes_and_qparams()
    norm = nn.BatchNorm1d(5)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([0.7, -1.3, 0.0, 2.0, -0.1]))
        norm.bias.copy_(torch.arange(5) / 10)
        norm.running_mean.copy_(torch.arange(5) - 2)
        norm.running_var.copy_(torch.arange(1, 6) / 4)
    bias = np.arange(5, dtype=np.float32)
    folded = fold_into_codes(codes, qparams, bias, norm)
    factor = norm.weight.detach().double().numpy() / np.sqrt(np.arange(1, 6) / 4 + norm.eps)
    scale = np.broadcast_to(qparams.scale, 5)
    assert np.array_equal(folded.qparams.scale[[0, 1, 3, 4]], (np.abs(factor) * scale).astype(np.float32)[[0, 1, 3, 4]])
    zero_point = np.broadcast_to(qparams.zero_point, 5)
    for channel, sign in ((0, 1), (1, -1), (2, 0), (3, 1), (4, -1)):
        steps = codes[channel].astype(int) - zero_point[channel]
        assert np.array_equal(folded.codes[channel].astype(int) - folded.qparams.zero_point[channel], sign * steps)
    assert folded.codes.min() >= qparams.qmin and folded.codes.max() <= qparams.qmax
    np.testing.assert_allclose(folded.bias, factor * (bias - (np.arange(5) - 2)) + np.arange(5) / 10, rtol=1e-6)


@pytest.mark.parametrize("activation_bits", [None, 8])
def test_the_twin_of_a_net_with_batch_norm_computes_the_same(digits, activation_bits):
    """Weight-only to float32's rounding; with codes between, one of them may be a neighbour."""
    model, x = with_batch_norm(), torch.from_numpy(digits.train_x(200))
    net = FakeQuantNet(model, weight_bits=4, activation_bits=activation_bits)
    net.calibrate(x)
    with torch.no_grad():
        logits = net.eval()(x)
    twin = net.quantized(x)
    assert [layer.kind for layer in twin.layers] == ["conv2d", "relu", "flatten", "linear", "relu", "linear"]
    apart = (twin.simulated()(x) - logits).abs().max().item()
    assert apart < (1e-5 if activation_bits is None else 0.05) * logits.abs().max().item()
    conv, raw = twin.layers[0], net.of_weights["0"].codes(model[0].weight.detach())
    assert np.array_equal(conv.weight_codes[1], -raw[1]) and not conv.weight_codes[2].any()
    assert np.array_equal(np.delete(conv.weight_codes, [1, 2], 0), np.delete(raw, [1, 2], 0))
    assert np.abs(raw[2]).max() == 7  # what γ = 0 silenced was not silent


def test_the_quantizer_stands_before_the_batch_norm_and_that_runs_as_it_is(digits):
    """In training it normalizes by the batch, and learns from it; rounding folded weights would leave no batch norm."""
    model, x = with_batch_norm(), torch.from_numpy(digits.train_x(64))
    net = FakeQuantNet(model, weight_bits=4, activation_bits=None)
    net.calibrate(x)
    before = model[1].running_mean.clone()
    net.train()(x)
    assert not torch.equal(before, model[1].running_mean)
    w = dequantize(quantize(model[0].weight.detach().numpy(), net.weight_qparams["0"]), net.weight_qparams["0"])
    convolved = nn.functional.conv2d(x, torch.from_numpy(w), model[0].bias.detach(), stride=3)
    expected = nn.functional.batch_norm(convolved, None, None, model[1].weight, model[1].bias, training=True)
    seen = []
    hook = model[1].register_forward_hook(lambda layer, given, out: seen.append(out))
    net.train()(x)
    hook.remove()
    torch.testing.assert_close(seen[0], expected, rtol=1e-4, atol=1e-5)


def test_a_net_with_batch_norm_is_trained_and_deployed(digits):
    """From first weights, four bits: chance is 10 %; what it came to is 94 %."""
    twin = train_qat(with_batch_norm(), digits, weight_bits=4, activation_bits=4, epochs=4, batch_size=32,
                     progress=False)  # fmt: skip
    score = evaluate(twin.simulated(), digits.test_x(), digits.test_y())
    assert score.value > 0.85, str(score)
    assert abs(evaluate(twin.integer_only(), digits.test_x(), digits.test_y()).value - score.value) <= 0.01


def test_a_residual_net_with_batch_norm_is_trained_and_deployed(few):
    """Its normalizations run in training, and are gone in the twin, which computes the same on the same images."""
    x = torch.from_numpy(few.train_x(64))
    net = FakeQuantNet(SmallResNet(), weight_bits=4, activation_bits=8, edge_bits=8)
    before = net.model.stem[1].running_mean.clone()
    log = train_fake_quant(net, x.numpy(), few, epochs=2, batch_size=50, progress=False)
    assert log.loss[1] < log.loss[0] and not torch.equal(before, net.model.stem[1].running_mean)
    twin = net.quantized(x)
    with torch.no_grad():
        logits = net.eval()(x)
    assert sum(layer.kind == "residual_sum" for layer in twin.layers) == 4
    apart = (twin.simulated()(x) - logits).abs()
    assert apart.median() < 0.01 * logits.abs().max() and apart.max() < 0.1 * logits.abs().max()
