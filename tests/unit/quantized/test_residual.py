"""Residual blocks, averages and batch normalization: followed, on codes, and on integers within a code of it all."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from course_lib import energy
from course_lib.kernels import layers as kernels
from course_lib.nets import LeNet5, LeNet300100, Residual, SmallResNet, replace_layers, trained
from course_lib.numerics import dequantize, qparams_from_range, quantize
from course_lib.ptq import quantize_model, record_activations
from course_lib.quantized import QuantizedLayer, QuantizedModel, cost, following
from course_lib.quantized.chain import as_tuple
from course_lib.quantized.following import follow
from course_lib.quantized.layers import KINDS
from course_lib.quantized.layers.pooling import average_one
from course_lib.quantized.requantization import fixed_point_sum, requantize_sum_one
from course_lib.quantized.steps import inputs_of, run_steps, scales_of


def drawn(model, seed=0):
    """Every number drawn, running statistics of batch normalization too."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in [*model.named_parameters(), *model.named_buffers()]:
            if value.is_floating_point():
                value.normal_(0, (2 / value[0].numel()) ** 0.5 if value.ndim > 1 else 0.3, generator=generator)
                if name.endswith(("running_var", "bn.weight")):
                    value.abs_().add_(0.5)
    return model.eval()


@pytest.fixture(scope="module")
def images(digits):
    return digits.train_x(60)


def logits_of(model, x):
    with torch.no_grad():
        return model(torch.from_numpy(x)).numpy()


def affine(low, high, bits=8, **options):
    return qparams_from_range(low, high, bits=bits, scheme="affine", **options)


# ---- the sum


SUMS = {  # scales of the addends and of the sum
    "alike": (affine(-1, 1), affine(-1, 1), affine(-2, 2)),
    "far apart": (affine(-0.01, 0.02), affine(0, 3), affine(-0.5, 3)),
    "saturating": (affine(-1, 2), affine(-2, 2), affine(0, 1)),
    "few bits": (affine(-1, 2, bits=2), affine(-2, 2, bits=3), affine(-1, 1, bits=4)),
    "as logits": (affine(-1, 1), affine(-3, 2), affine(-9, 9, bits=16, signed=True)),
}


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("name", SUMS)
def test_every_pair_of_codes_is_added_as_defined_and_to_within_a_code(name, relu):
    a, b, y = SUMS[name]
    layer = QuantizedLayer("residual_sum", "s", input_qparams=(a, b), output_qparams=y, inputs=("", ""))
    pairs = np.array(list(itertools.product(range(a.qmax + 1), range(b.qmax + 1))), np.uint8)
    constants = fixed_point_sum(layer, relu)
    columns = (np.ascontiguousarray(column[:, None]) for column in pairs.T)
    [(run, arguments)], out = KINDS["residual_sum"].integer(layer, relu).plan(*columns)
    run(*arguments)
    ours = out[:, 0]
    some = np.random.default_rng(0).choice(len(pairs), min(len(pairs), 5000), replace=False)
    assert [requantize_sum_one(int(p), int(q), constants) for p, q in pairs[some]] == ours[some].tolist()
    real = dequantize(pairs[:, 0], a).astype(np.float64) + dequantize(pairs[:, 1], b)
    exact = quantize(np.maximum(real, 0) if relu else real, y)
    steps = real / float(y.scale)
    clear = np.abs(steps - np.floor(steps) - 0.5) > 2.0**-10  # away from the halves, which may go either way
    assert np.abs(ours.astype(int) - exact).max() <= 1 and np.array_equal(ours[clear], exact[clear]) and clear.any()
    assert ours.min() >= (int(y.zero_point) if relu else y.qmin) and ours.max() <= y.qmax


def test_a_sum_whose_scale_is_too_fine_is_refused():
    layer = QuantizedLayer("residual_sum", "s", input_qparams=(affine(-1, 1), affine(-1, 1)),
                           output_qparams=affine(-1e-12, 1e-12), inputs=("", ""))
    with pytest.raises(ValueError, match="layer 's': its outputs reach far beyond the range of its output codes"):
        fixed_point_sum(layer)


# ---- averages


@pytest.mark.parametrize("window", [(2, None, 0), (3, 2, 1), ((3, 2), (1, 4), (1, 0)), (5, 1, 2)])
@pytest.mark.parametrize("bits", [2, 5, 8])
def test_averages_of_codes(bits, window):
    """The definition exactly; torch's average of the numbers to within a code, which halves alone can cost."""
    q = affine(-0.6, 1.9, bits=bits)
    codes = np.random.default_rng(0).integers(0, q.qmax + 1, (3, 4, 11, 9)).astype(np.uint8)
    options = dict(zip(("kernel_size", "stride", "padding"), window))
    layer = QuantizedLayer("avg_pool2d", "p", input_qparams=q, output_qparams=q, options=options)
    ours = QuantizedModel([layer], q).integer_only().run_codes(0, codes)
    padded = np.pad(codes, ((0, 0), (0, 0), *((n, n) for n in layer.window.padding)), constant_values=q.zero_point)
    seen = np.lib.stride_tricks.sliding_window_view(padded, layer.window.size, axis=(2, 3))
    seen = seen[:, :, :: layer.window.stride[0], :: layer.window.stride[1]]
    expected = [average_one(one.tolist()) for one in seen.reshape(-1, np.prod(layer.window.size))]
    assert ours.reshape(-1).tolist() == expected
    real = functional.avg_pool2d(torch.from_numpy(dequantize(codes, q)), **options).numpy()
    apart = np.abs(ours.astype(int) - quantize(real, q))
    assert apart.max() <= 1 and apart.mean() < 0.3


def test_the_average_of_a_whole_image_whatever_its_size():
    q = affine(-0.6, 1.9)
    net = QuantizedModel([QuantizedLayer("global_avg_pool2d", "p", input_qparams=q, output_qparams=q)], q)
    engine = net.integer_only()
    for shape in ((2, 3, 7, 7), (1, 5, 1, 1), (2, 1, 3, 8)):
        x = np.random.default_rng(0).uniform(-0.6, 1.9, shape).astype(np.float32)
        ours, simulated = engine(x), net.simulated()(x).numpy()
        assert ours.shape == (*shape[:2], 1, 1)
        assert np.abs(ours - simulated).max() <= 1.001 * q.scale
        assert np.abs(ours[..., 0, 0] - x.mean((2, 3))).max() <= 1.001 * q.scale


def averaging():
    return drawn(nn.Sequential(nn.Conv2d(1, 6, 5), nn.ReLU(), nn.AvgPool2d(3, 2, 1), nn.Conv2d(6, 5, 3), nn.ReLU(),
                               nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 10)))


def test_the_range_is_that_before_the_average(images):
    """An average lies inside the numbers that it is of: a range from behind it would clip them."""
    model = averaging()
    with torch.no_grad():
        before = model[:2](torch.from_numpy(images))
        behind = model[:3](torch.from_numpy(images))
    record = record_activations(model, images)
    assert record.values["0"].max() == before.max() > 1.2 * behind.max()
    layers = {layer.name: layer for layer in quantize_model(model, record).layers}
    assert layers["0"].output_qparams == layers["2"].output_qparams == layers["3"].input_qparams
    assert layers["0"].output_qparams.clipping_range[1] == pytest.approx(float(before.max()), rel=1e-2)


def test_logits_that_are_averages_have_the_codes_of_what_they_average(images):
    model = drawn(nn.Sequential(nn.Conv2d(1, 10, 5), nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    quantized = quantize_model(model, images)
    assert quantized.layers[0].output_qparams.bits == 8 and record_activations(model, images).logits is None
    real, step = logits_of(model, images), quantized.layers[0].output_qparams.scale
    assert np.abs(quantized.integer_only()(images) - real).max() < 1.5 * step


# ---- networks


def net_input_block():
    """The first block reads the input of the network itself."""
    return nn.Sequential(Residual(nn.Conv2d(1, 1, 3, padding=1)), nn.Flatten(), nn.Linear(784, 10))


def pre_activation():
    """A ReLU and the sum read the same convolution: what is clipped for the one must not be for the other."""
    block = Residual(nn.Sequential(nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1)))
    return nn.Sequential(nn.Conv2d(1, 4, 5, stride=3), block, nn.Flatten(), nn.Linear(256, 10))


def double():
    return nn.Sequential(nn.Conv2d(1, 4, 5, stride=3), Residual(nn.Identity()), nn.Flatten(), nn.Linear(256, 10))


def sequence_around():
    block = Residual(nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)), nn.Sequential())
    return nn.Sequential(nn.Sequential(nn.Conv2d(1, 4, 5, stride=3), nn.BatchNorm2d(4), nn.ReLU()), nn.Dropout(), block,
                         nn.Dropout(), Residual(nn.Dropout(), nn.Conv2d(4, 4, 1)), nn.Flatten(), nn.Linear(256, 10))


NETS = {"small resnet": SmallResNet, "averaging": averaging, "reads the input": net_input_block,
        "pre-activation": pre_activation, "twice the same": double, "dropout, batch norm": sequence_around,
        "a block at the end": lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 10), Residual(nn.Linear(10, 10))),
        "features": lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 20), nn.BatchNorm1d(20), nn.ReLU(),
                                          Residual(nn.Linear(20, 20)), nn.Linear(20, 10))}


@pytest.mark.parametrize("name", NETS)
def test_followed_at_8_bits(name, images, tmp_path):
    x, model = images - np.float32(0.25), drawn(NETS[name]())
    real, quantized = logits_of(model, x), quantize_model(model, x)
    largest = np.abs(real).max()
    integer = quantized.integer_only()(x)
    assert np.abs(quantized.simulated()(x).numpy() - real).max() < 0.06 * largest
    assert np.abs(integer - real).max() < 0.06 * largest
    weights_alone = quantize_model(model, None, activation_bits=None)
    assert np.abs(weights_alone.simulated()(x).numpy() - real).max() < 0.06 * largest
    for one in (quantized, weights_alone):
        one.save(tmp_path / "q")
        loaded = QuantizedModel.load(tmp_path / "q")
        assert [layer.inputs for layer in loaded.layers] == [layer.inputs for layer in one.layers]
        assert torch.equal(loaded.simulated()(x), one.simulated()(x))
    assert np.array_equal(QuantizedModel.load(tmp_path / "q").simulated()(x), weights_alone.simulated()(x))


@pytest.mark.parametrize("bits", [(8, 8), (4, 4), (2, 2)])
@pytest.mark.parametrize("name", NETS)
def test_each_layer_on_integers_against_the_simulation(name, bits, images):
    """Each layer is fed the codes that the integer net feeds it; the simulation's answer is at most one code away."""
    x = images[:8]
    model = quantize_model(drawn(NETS[name]()), images, weight_bits=bits[0], activation_bits=bits[1])
    net, layers = model.integer_only(), {layer.name: i for i, layer in enumerate(model.layers)}
    modules = {module.name: module for module in list(model.simulated())[1:]}
    relus = {names[0] for layer, names in zip(model.layers, inputs_of(model.layers)) if layer.kind == "relu"}
    readers = [name for names in inputs_of(model.layers) for name in names]

    def on_integers(layer, *codes):
        if layer.kind == "relu" and codes[0].dtype != np.uint8:
            return codes[0]  # of the logits; the engine does it as it makes them
        ours = net.run_codes(layers[layer.name], *codes)
        with torch.no_grad():
            out = modules[layer.name](*(torch.from_numpy(dequantize(c, q))
                                        for c, q in zip(codes, as_tuple(layer.input_qparams))))
            clips = layer.name in relus and readers.count(layer.name) == 1
            simulated = quantize((torch.relu(out) if clips else out).numpy(), layer.output_qparams)
        assert np.abs(ours.astype(int) - simulated).max() <= 1, layer.name
        return ours

    last = run_steps(model.layers, quantize(x, model.input_qparams), on_integers)
    assert np.array_equal(net(x), dequantize(last, model.layers[-1].output_qparams))


def test_batches_and_threads_of_one_image_agree(images):
    net = quantize_model(drawn(SmallResNet()), images).integer_only()
    whole = net(images)
    assert np.array_equal(np.concatenate([net(images[i : i + 7]) for i in range(0, 60, 7)]), whole)
    assert np.array_equal(net(images[3]), whole[3])


def test_accuracy_at_8_bits_is_that_of_real_numbers(digits):
    """Of 500 digits hardly any goes to another class: 1 % is five of them."""
    model = trained("small_resnet", digits, progress=False)
    x, y = digits.test_x(), digits.test_y()
    real = logits_of(model, x).argmax(1)
    quantized = quantize_model(model, digits.train_x(512))
    assert np.mean(real == y) > 0.97
    for answers in (quantized.simulated()(x).numpy().argmax(1), quantized.integer_only().predict(x)):
        assert np.mean(answers == real) >= 0.99


def test_what_is_rounded_where():
    """One scale a convolution and a sum, chosen behind the ReLU; what two layers read is rounded once."""
    steps = follow(drawn(SmallResNet()))
    scales = scales_of(steps)
    ends = {scale: step for step, scale in scales.ends.items() if step not in ("pool", "flatten")}
    assert ends["stem.conv"] == "relu" and ends["block1.body.conv1"] == "block1.body.relu"
    assert ends["block1.body.conv2"] == "block1.body.bn2" and ends["block1.sum"] == "block1.relu"
    assert scales.ends["pool"] == scales.of["flatten"] == "block4.sum" and scales.of["fc"] == "fc"
    branching = scales_of(follow(drawn(pre_activation())))
    assert branching.ends["0"] == "0" and branching.of["1.body.0"] == "0"


# ---- what fails where a step is left out


def test_without_folding_the_comparison_refuses(images, monkeypatch):
    """The batch normalization left out instead of folded: refused, and not silently another network."""
    model = drawn(SmallResNet())

    def left_out(model):
        return replace_layers(model, lambda _, layer: nn.Identity() if isinstance(layer, nn.BatchNorm2d) else None)

    quantize_model(model, images)
    monkeypatch.setattr(following, "fold_batch_norm", left_out)
    with pytest.raises(ValueError, match="model gives other outputs than its layers one after the other"):
        quantize_model(model, images)


def test_a_wrong_order_of_inputs_or_a_lost_shortcut_is_not_the_same_network(images):
    """Where the shortcut of a block is cut, the simulated net is far from the model."""
    model = drawn(SmallResNet())
    real, quantized = logits_of(model, images), quantize_model(model, images)
    cut = replace_layers(model, lambda _, layer: layer.body if isinstance(layer, Residual) else None)
    assert np.abs(quantized.simulated()(images).numpy() - real).max() < 0.06 * np.abs(real).max()
    assert np.abs(logits_of(cut, images) - real).max() > 0.2 * np.abs(real).max()


REFUSED = {
    "shapes that differ": (lambda: nn.Sequential(nn.Conv2d(1, 4, 3), Residual(nn.Conv2d(4, 5, 3, padding=1))),
                           TypeError, "layer '1.sum' adds two of the same shape, and 5 channels and 4 channels reach"),
    "sizes that differ": (lambda: nn.Sequential(nn.Conv2d(1, 4, 3), Residual(nn.Conv2d(4, 4, 3))),
                          ValueError, r"layer '1.sum' adds two of the same shape, and x of shape .* \(60, 4, 24, 24\)"),
    "another average": (lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(2)),
                        TypeError, "layer '1' has output_size=2, which cannot be quantized; it should be 1"),
    "an average without zeros": (lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.AvgPool2d(3, 1, 1, False, False)),
                                 TypeError, "layer '1' has count_include_pad=False"),
    "an own block": (lambda: nn.Sequential(nn.Conv2d(1, 4, 3), Gated(nn.Conv2d(4, 4, 1))),
                     TypeError, "layer '1' is a Gated with a forward of its own"),
}


class Gated(Residual):
    def forward(self, x):
        return self.body(x) * self.shortcut(x)


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name, images):
    make, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        quantize_model(drawn(make()), images)


def test_images_of_another_size(images):
    """A net that ends in an average takes any; one whose shapes then differ says so."""
    quantized = quantize_model(drawn(SmallResNet()), images)
    for side in (1, 9, 32):
        x = np.random.default_rng(0).random((2, 1, side, side), np.float32)
        assert np.abs(quantized.integer_only()(x) - quantized.simulated()(x).numpy()).max() < 1
    with pytest.raises(ValueError, match="x has shape"):
        quantized.integer_only()(np.zeros((2, 3, 28, 28), np.float32))


# ---- costs


@pytest.mark.parametrize(("build", "name"), [(LeNet300100, "LeNet-300-100"), (LeNet5, "LeNet-5")])
def test_costs_agree_with_the_table(build, name, images):
    """Layer by layer the same numbers; only names differ ("fc1" here, "ip1" in the table)."""
    numbers = [[(layer.multiply_adds, layer.weights, layer.inputs, layer.outputs) for layer in layers] for layers in
               (energy.NETWORKS[name], cost(build(), (1, 28, 28)),
                cost(quantize_model(build(), images[:4]), (1, 28, 28)))]
    assert numbers[0] == numbers[1] == numbers[2]
    ours, theirs = (energy.estimate(layers, bits=8) for layers in (cost(build(), (1, 28, 28)), energy.NETWORKS[name]))
    assert ours.energy_pj == theirs.energy_pj


def test_costs_of_the_residual_net_are_those_that_torch_runs():
    model, seen = drawn(SmallResNet()), {}

    def look(layer, inputs, output, name):
        products = output[0].numel() * layer.weight[0].numel()
        seen[name] = products, layer.weight.numel(), inputs[0][0].numel(), output[0].numel()

    hooks = [layer.register_forward_hook(lambda *a, name=name: look(*a, name)) for name, layer in model.named_modules()
             if isinstance(layer, (nn.Conv2d, nn.Linear))]
    model(torch.zeros(1, 1, 28, 28))
    for hook in hooks:
        hook.remove()
    ours = {layer.name: (layer.multiply_adds, layer.weights, layer.inputs, layer.outputs)
            for layer in cost(model, (1, 28, 28))}
    assert {name: ours[name] for name in seen} == seen
    assert {name: ours[name] for name in ours if name not in seen} == {
        f"block{i}.sum": (0, 0, 2 * n, n) for i, n in ((1, 6272), (2, 3136), (3, 1568), (4, 1568))}
    assert energy.estimate(cost(model, (1, 28, 28)), bits=8).energy_pj > 0


@pytest.mark.parametrize(("shape", "message"), [
    ((28, 28), r"layer 'stem.conv' takes \(n, 1, height, width\), and an image of shape \(28, 28\) reaches it"),
    ((3, 28, 28), r"layer 'stem.conv' takes \(n, 1, height, width\)"),
    ((), "image_shape=.* must be whole numbers from 1"),
    ((1, 0, 28), "image_shape=.* must be whole numbers from 1"),
    (28, "image_shape=28 must be whole numbers from 1"),
])
def test_shapes_that_have_no_cost(shape, message):
    with pytest.raises(ValueError, match=message):
        cost(drawn(SmallResNet()), shape)


def test_no_floating_point_in_the_new_kernels():
    for kernel in (kernels.add, kernels.avg_pool2d):
        for signature in kernel.signatures:
            assert not any("float" in str(argument) for argument in signature)
