"""Models and pixels as people have them: the quantized net computes what the model does, or an error says why not."""

import copy
import functools
import warnings
from collections import OrderedDict
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import nn
from torch.nn.utils import parametrizations, prune

from course_lib.nets import LeNet5, LeNet300100, evaluate, predict
from course_lib.ptq import quantize_model, record_activations
from course_lib.qat import FakeQuantNet, train_qat
from course_lib.quantized import QuantizedModel, save_float


@pytest.fixture(scope="module")
def images(digits):
    return digits.train_x(120)


def drawn(*layers, seed=0):
    """A Sequential whose weights are drawn from a seed, biases too."""
    model = layers[0] if len(layers) == 1 else nn.Sequential(*layers)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(0, (p.shape[-1] if p.ndim == 2 else p[0].numel()) ** -0.5 if p.ndim > 1 else 0.3,
                      generator=generator)
    return model.eval()


def logits_of(model, x):
    """The model as it is: in evaluation mode, in its own dtype."""
    model = copy.deepcopy(model).eval() if not hasattr(model, "twin") else model
    like = next(model.parameters())
    with torch.no_grad():
        return model(torch.tensor(x, dtype=like.dtype)).float().numpy()


def assert_follows(model, x, *, expected=None, off=0.03):
    """8 bits, simulated and on integers: within a few hundredths of the largest logit; a lost layer moves it by far."""
    expected = logits_of(model, x) if expected is None else expected
    quantized = quantize_model(model, x)
    largest = np.abs(expected).max()
    simulated = quantized.simulated()(torch.tensor(x)).numpy()
    assert np.abs(simulated - expected).max() < off * largest
    assert np.abs(quantized.integer_only()(x) - expected).max() < off * largest
    weights_alone = quantize_model(model, None, activation_bits=None).simulated()(torch.tensor(x)).numpy()
    assert np.abs(weights_alone - expected).max() < off * largest
    return quantized


# -- the same network ----------------------------------------------------------------------------------------------


def test_a_module_that_stands_twice_runs_twice(images):
    shared, relu = nn.Linear(30, 30), nn.ReLU()
    model = drawn(nn.Flatten(), nn.Linear(784, 30), relu, shared, relu, shared, relu, nn.Linear(30, 10))
    quantized = assert_follows(model, images)
    assert [layer.name for layer in quantized.layers] == list("01234567")
    assert np.array_equal(quantized.layers[3].weight_codes, quantized.layers[5].weight_codes)
    assert quantized.layers[3].output_qparams != quantized.layers[5].output_qparams


def test_two_layers_that_share_one_parameter(images, few):
    model = drawn(nn.Flatten(), nn.Linear(784, 30), nn.ReLU(), nn.Linear(30, 30), nn.ReLU(), nn.Linear(30, 30))
    model[5].weight = model[3].weight
    assert_follows(model, images)
    layers = {layer.name: layer for layer in quantized_of(model, few).layers}
    assert np.array_equal(layers["3"].weight_codes, layers["5"].weight_codes)       # and still one after training


def quantized_of(model, few, **settings):
    return train_qat(model, few, weight_bits=4, activation_bits=8, epochs=1, progress=False, **settings)


@pytest.fixture(scope="module")
def few(digits):
    return replace(digits, train_images=digits.train_images[:256], train_labels=digits.train_labels[:256])


class Plain(nn.Sequential):
    def __init__(self):
        super().__init__(OrderedDict(body=nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2)),
                                     head=nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(676, 10))))


class MyLinear(nn.Linear):
    """Nothing of its own."""


FOLLOWED = {
    "nested, subclass, dropout": lambda: Plain(),
    "subclass of a layer": lambda: nn.Sequential(nn.Flatten(), MyLinear(784, 10)),
    "dropout before a relu": lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 20), nn.Dropout(), nn.ReLU(),
                                                   nn.Identity(), nn.Linear(20, 10)),
    "2-d dropout": lambda: nn.Sequential(nn.Conv2d(1, 3, 5), nn.Dropout2d(), nn.ReLU(), nn.Flatten(),
                                         nn.Linear(1728, 10)),
    "padding same": lambda: nn.Sequential(nn.Conv2d(1, 3, (5, 3), padding="same"), nn.ReLU(), nn.Flatten(),
                                          nn.Linear(2352, 10)),
    "padding valid, stride": lambda: nn.Sequential(nn.Conv2d(1, 3, 5, padding="valid", stride=(2, 3)), nn.Flatten(),
                                                   nn.Linear(288, 10)),
    "pool first": lambda: nn.Sequential(nn.MaxPool2d(3, 2, 1), nn.Conv2d(1, 3, 5), nn.Flatten(), nn.Linear(300, 10)),
    "relu first, in place": lambda: nn.Sequential(nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(784, 10)),
    "no bias": lambda: nn.Sequential(nn.Conv2d(1, 3, 5, bias=False), nn.ReLU(), nn.Flatten(),
                                     nn.Linear(1728, 10, bias=False)),
    "relu at the end": lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 10), nn.ReLU()),
}


@pytest.mark.parametrize("name", FOLLOWED)
def test_followed(images, name, tmp_path):
    x, model = images - np.float32(0.25), drawn(FOLLOWED[name]())
    before = x.copy()
    quantized = assert_follows(model, x)
    quantized.save(tmp_path / "q")                          # names with dots, pairs and numbers among the options
    assert np.array_equal(QuantizedModel.load(tmp_path / "q").integer_only()(x), quantized.integer_only()(x))
    assert np.array_equal(x, before)                        # a layer in place does not reach the caller's images
    predict(model, x)
    assert np.array_equal(x, before)


def test_dropout_drops_in_training_and_nowhere_else(images):
    net = FakeQuantNet(drawn(Plain()), weight_bits=8, activation_bits=8)
    x = torch.from_numpy(images)
    net.train().calibrate(images)
    assert net.training and net.model.head[1].training
    with torch.no_grad():
        assert not torch.equal(net(x), net(x))
    first = net.quantized(images).simulated()(x)
    net.calibrate(images)
    assert torch.equal(first, net.quantized(images).simulated()(x))


# -- refused, by name ----------------------------------------------------------------------------------------------


class Residual(nn.Sequential):
    def forward(self, x):
        return x + super().forward(x)


class Reversed(nn.Sequential):
    def __iter__(self):
        return reversed(list(super().__iter__()))


class Scaled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


class Doubled(nn.BatchNorm1d):
    def forward(self, x):
        return 2 * super().forward(x)


class Standardized(nn.Conv2d):
    def _conv_forward(self, x, weight, bias):
        return super()._conv_forward(x, weight - weight.mean(), bias)


def linear_net(*after):
    return drawn(nn.Flatten(), nn.Linear(784, 20), *after, nn.ReLU(), nn.Linear(20, 10))


def patched():
    model = linear_net()
    model[1].forward = lambda x: torch.zeros(len(x), 20)
    return model


REFUSED = {
    "own forward": (lambda: Residual(nn.Flatten(), nn.Linear(784, 784)),
                    "model is a Residual with a forward of its own"),
    "own forward inside": (lambda: nn.Sequential(nn.Flatten(), Residual(nn.Linear(784, 784))),
                           "layer '1' is a Residual with a forward of its own"),
    "own order": (lambda: Reversed(nn.Linear(784, 10), nn.Flatten()), "model is a Reversed with a __iter__ of its own"),
    "own layer": (lambda: nn.Sequential(nn.Flatten(), Scaled(784, 10)),
                  "layer '1' is a Scaled with a forward of its own"),
    "own convolution": (lambda: nn.Sequential(Standardized(1, 3, 3)), "'0' is a Standardized with a _conv_forward"),
    "patched": (patched, "layer '1' is a Linear with a forward of its own"),
    "batch norm": (lambda: linear_net(nn.ReLU(), nn.BatchNorm1d(20)),
                   "batch norm '3' has no layer to fold into: before it stands a ReLU"),
    "own batch norm": (lambda: linear_net(Doubled(20)), "'2' is a Doubled with a forward of its own"),
    "softmax": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 10), nn.LogSoftmax(1)),
                "'2' is a LogSoftmax.*[Ll]eave it out at the end"),
    "lazy": (lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(10)), "'1' is a LazyLinear that has not seen its shape"),
    "meta": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 10, device="meta")),
             "'1' has a weight on the device 'meta'"),
    "complex": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 10, dtype=torch.complex64)),
                "weight of torch.complex64"),
    "no flatten": (lambda: drawn(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Linear(26, 10)),
                   "'2'.*a flatten layer should stand before"),
    "flatten too early": (lambda: drawn(nn.Flatten(), nn.Linear(784, 10), nn.MaxPool2d(2)),
                          "'2'.*a max_pool2d layer takes"),
    "return indices": (lambda: drawn(nn.Conv2d(1, 3, 3), nn.MaxPool2d(2, return_indices=True)),
                       "'1' has return_indices=True"),
    "dilated pool": (lambda: drawn(nn.Conv2d(1, 3, 3), nn.MaxPool2d(2, dilation=2)), "'1' has dilation=2"),
    "a list": (lambda: [nn.Linear(784, 10)], "model is a list; it should be an nn.Sequential"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(images, few, name):
    """With images and without: weights alone are not compared with anything."""
    make, message = REFUSED[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)        # of lazy modules: that they are new
        model = make()
    for call in (lambda: quantize_model(model, images), lambda: quantize_model(model, None, activation_bits=None),
                 lambda: record_activations(model, images), lambda: quantized_of(model, few)):
        with pytest.raises(TypeError, match=message):
            call()


def test_hooks_are_refused_and_left(images):
    model = linear_net()
    for register in (model[1].register_forward_hook, model[2].register_forward_pre_hook, model.register_forward_hook):
        handle = register(lambda *_: None)
        with pytest.raises(TypeError, match=r"(layer '[12]'|model) has a forward hook \(<lambda>\).*handle.remove"):
            quantize_model(model, images)
        handle.remove()
    handle = nn.modules.module.register_module_forward_hook(lambda module, x, y: 2 * y)
    try:
        with pytest.raises(TypeError, match="a hook for every module"):
            quantize_model(model, images)
    finally:
        handle.remove()
    model[1].register_full_backward_hook(lambda *_: None)   # changes no output
    assert_follows(model, images, expected=predict_logits(model, images))


def predict_logits(model, x):
    return model(torch.from_numpy(x)).detach().numpy()


def test_wrapped_models_say_what_to_pass(images):
    model = linear_net()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch's own, when it first compiles
        compiled = torch.compile(model)
    with pytest.raises(TypeError, match="model is a OptimizedModule; .* model._orig_mod"):
        quantize_model(compiled, images)
    with pytest.raises(TypeError, match="model is a DataParallel; .* model.module"):
        quantize_model(nn.DataParallel(model), images)


def test_a_sequential_in_itself(images):
    model = linear_net()
    model.append(model)
    modes = [module.training for module in model.modules()]
    with pytest.raises(TypeError, match="model contains itself"):
        quantize_model(model, images)
    assert modes == [module.training for module in model.modules()]


def test_what_was_overlooked_is_seen_by_the_comparison(images, few, monkeypatch):
    """Whatever changes a net behind the back of all checks, here a class of tensor that doubles each product."""
    model = linear_net()

    class Doubling(nn.Parameter):
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            with torch._C.DisableTorchFunctionSubclass():
                out = func(*args, **(kwargs or {}))
            return out * 2 if func is nn.functional.linear else out

    with torch.no_grad():
        model[3].weight = Doubling(model[3].weight.detach().clone())
    for call in (lambda: quantize_model(model, images), lambda: record_activations(model, images),
                 lambda: quantized_of(model, few), lambda: quantize_model(model, images, activation_bits=None)):
        with pytest.raises(ValueError, match="model gives other outputs than its layers one after the other"):
            call()


@pytest.mark.parametrize(("build", "shape", "message"), [
    (LeNet5, (5, 28, 28), r"'conv1' takes \(n, 1, height, width\).*x\[:, None\] puts the axis of the channel in"),
    (LeNet5, (5, 28, 28, 1), r"'conv1' takes .* channels last, and np.moveaxis\(x, -1, 1\)"),
    (LeNet5, (5, 3, 28, 28), r"'conv1' takes \(n, 1, height, width\), and x of shape \(5, 3, 28, 28\)"),
    (LeNet5, (5, 1, 4, 4), r"'conv1' has a window of \(5, 5\).*too small"),
    (LeNet5, (5, 1, 32, 32), r"'fc1' takes \(n, 800\), and x of shape \(5, 1, 32, 32\) reaches it as \(5, 1250\)"),
    (LeNet300100, (784,), r"'flatten' takes \(n, …\), and x of shape \(784,\) .*; one image alone is x\[None\]"),
    (LeNet300100, (5, 1, 27, 28), r"'fc1' takes \(n, 784\)"),
    (lambda: drawn(nn.Sequential(nn.Linear(28, 10))), (5, 28, 28), r"'0' takes \(n, 28\).*nn.Flatten\(\) should stand"),
])
def test_shapes_in_words(build, shape, message):
    x = np.random.default_rng(0).random(shape, np.float32)
    with pytest.raises(ValueError, match=message):
        quantize_model(build(), x)
    if shape[-1] != 28 or len(shape) != 3:                  # nn.Linear itself goes row by row
        with pytest.raises(ValueError, match="model cannot run on x of shape"):
            predict(build(), x)


def test_images_of_another_size_are_refused_after_quantization_too(images):
    """Before, the engine read on behind the image, and said nothing."""
    for build in (LeNet5, LeNet300100):
        quantized = quantize_model(build(), images[:8])
        for shape in ((2, 1, 32, 32), (2, 1, 26, 26), (2, 1, 3, 3)):
            with pytest.raises(ValueError, match="takes"):
                quantized.integer_only()(np.zeros(shape, np.float32))
    pooled = drawn(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.MaxPool2d(5), nn.Flatten(), nn.Linear(75, 10))
    with pytest.raises(ValueError, match="'2' takes images .* as its window"):
        quantize_model(pooled, images[:8]).integer_only()(np.zeros((2, 1, 6, 6), np.float32))
    with pytest.raises(ValueError, match=r"x\[:, None\]"):
        quantize_model(LeNet5(), images[:8]).integer_only()(images[:5, 0])


# -- models as people have them ------------------------------------------------------------------------------------


def pruned():
    model = LeNet300100()
    prune.l1_unstructured(model.fc1, "weight", 0.8)
    prune.l1_unstructured(model.fc2, "bias", 3)
    prune.random_unstructured(model.fc2, "weight", 0.5)
    return model


def stale():
    """The weights were loaded after pruning: ``weight`` is old until the next call."""
    model = pruned()
    state = {key: value * 3 if key.endswith("_orig") else value for key, value in model.state_dict().items()}
    model.load_state_dict(state)
    return model


def normed(how):
    def make():
        model = LeNet300100()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch's older way is deprecated, and still about
            how(model.fc2)
        return model
    return make


def in_double():
    model = LeNet300100().double()
    return model


def under_default_double():
    torch.set_default_dtype(torch.float64)
    try:
        return drawn(nn.Flatten(), nn.Linear(784, 30), nn.ReLU(), nn.Linear(30, 10))
    finally:
        torch.set_default_dtype(torch.float32)


def built_in_inference_mode():
    with torch.inference_mode():
        return drawn(nn.Flatten(), nn.Linear(784, 30), nn.ReLU(), nn.Linear(30, 10))


MODELS = {
    "frozen": lambda: LeNet300100().requires_grad_(False),
    "double": in_double,
    "half": lambda: LeNet300100().half(),
    "bfloat16": lambda: LeNet300100().bfloat16(),
    "default double": under_default_double,
    "built in inference mode": built_in_inference_mode,
    "pruned": pruned,
    "pruned, then loaded": stale,
    "weight norm": normed(nn.utils.weight_norm),
    "spectral norm": normed(nn.utils.spectral_norm),
    "parametrized weight norm": normed(parametrizations.weight_norm),
    "parametrized spectral norm": normed(parametrizations.spectral_norm),
    "channels last": lambda: LeNet5().to(memory_format=torch.channels_last),
}


def state_of(model):
    return {key: value.clone() for key, value in model.state_dict().items()}, [m.training for m in model.modules()]


def made(name):
    with torch.random.fork_rng():                           # random pruning and spectral norms draw from it
        torch.manual_seed(0)
        return MODELS[name]()


@pytest.mark.parametrize("name", MODELS)
def test_models_as_people_have_them(images, name):
    model = made(name)
    model.train()
    next(iter(model.children())).eval()                     # some parts in one mode, some in the other
    state, modes = state_of(model)
    largest_step = {"half": 0.03, "bfloat16": 0.06}
    fresh = made(name)                                  # what the model computes is asked of another of its kind
    fresh.eval()
    with torch.no_grad():
        expected = fresh(torch.tensor(images, dtype=next(fresh.parameters()).dtype)).float().numpy()
    quantized = assert_follows(model, images, expected=expected, off=largest_step.get(name, 0.03))
    assert all(layer.weight_qparams.scale.dtype == np.float32 for layer in quantized.layers if layer.weight_qparams)
    assert predict(model, images).tolist() == expected.argmax(1).tolist()
    after, modes_after = state_of(model)
    assert modes == modes_after
    assert state.keys() == after.keys() and all(torch.equal(state[key], after[key]) for key in state)


@pytest.mark.parametrize("name", [name for name in MODELS if name != "frozen"])
def test_training_of_models_as_people_have_them(few, name, tmp_path):
    model = made(name)
    state, modes = state_of(model)
    twin = train_qat(model, few, weight_bits=4, activation_bits=8, epochs=10, batch_size=32, progress=False)
    assert np.mean(predict(twin.simulated(), few.train_x()) == few.train_y()) > 0.5      # chance is a tenth
    twin.save(tmp_path / "twin")
    assert QuantizedModel.load(tmp_path / "twin").meta == twin.meta
    after, modes_after = state_of(model)
    assert modes == modes_after and all(torch.equal(state[key], after[key]) for key in state)


def test_pruned_weights_stay_pruned_in_training(few):
    model = pruned()
    twin = quantized_of(model, few)
    fc1 = next(layer for layer in twin.layers if layer.name == "fc1")
    assert not fc1.weight_codes[model.fc1.weight_mask.numpy() == 0].any() and fc1.weight_codes.any()


def test_frozen_layers_stay_and_a_frozen_model_is_refused(few):
    model = LeNet300100()
    model.fc1.requires_grad_(False)
    still = train_qat(model, few, weight_bits=4, activation_bits=None, epochs=0, progress=False)
    moved = train_qat(model, few, weight_bits=4, activation_bits=None, epochs=1, progress=False)
    assert np.array_equal(still.layers[1].weight_codes, moved.layers[1].weight_codes)
    assert not np.array_equal(still.layers[3].weight_codes, moved.layers[3].weight_codes)
    model.requires_grad_(False)
    with pytest.raises(ValueError, match=r"every weight of model is frozen .*requires_grad_\(True\)"):
        quantized_of(model, few)
    assert train_qat(model, few, weight_bits=4, activation_bits=None, epochs=0, progress=False).layers


@pytest.mark.parametrize("around", [torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu", torch.bfloat16)])
def test_whatever_mode_torch_is_in(few, images, around):
    model = LeNet300100()
    plain, trained_plainly = quantize_model(model, images), quantized_of(model, few)
    with around():
        inside, trained_inside = quantize_model(model, images), quantized_of(model, few)
        built = LeNet300100()
        classes = predict(model, images)
    assert built.fc1.weight.requires_grad and not built.fc1.weight.is_inference()
    assert np.array_equal(classes, predict(model, images))
    for ours, theirs in zip((*plain.layers, *trained_plainly.layers), (*inside.layers, *trained_inside.layers)):
        assert ours.output_qparams == theirs.output_qparams
        assert ours.weight_codes is None or np.array_equal(ours.weight_codes, theirs.weight_codes)


def test_another_default_dtype_changes_nothing(few, images):
    plain, trained_plainly = quantize_model(LeNet5(), images[:20]), quantized_of(LeNet300100(), few)
    expected = plain.simulated()(torch.from_numpy(images))
    torch.set_default_dtype(torch.float64)
    try:
        model = LeNet5()
        assert {p.dtype for p in model.parameters()} == {torch.float32}
        inside, trained_inside = quantize_model(model, images[:20]), quantized_of(LeNet300100(), few)
        assert torch.equal(inside.simulated()(torch.from_numpy(images)), expected)
        classes = predict(inside.simulated(), images)
    finally:
        torch.set_default_dtype(torch.float32)
    assert np.array_equal(classes, expected.argmax(1).numpy())
    for ours, theirs in zip((*plain.layers, *trained_plainly.layers), (*inside.layers, *trained_inside.layers)):
        assert ours.output_qparams == theirs.output_qparams
        assert ours.weight_codes is None or np.array_equal(ours.weight_codes, theirs.weight_codes)


def test_a_net_in_training_wants_float32():
    with pytest.raises(TypeError, match=r"model has 'fc1.weight' in torch.float64; .* model.float\(\)"):
        FakeQuantNet(LeNet300100().double(), weight_bits=4, activation_bits=4)


def test_the_float32_file_of_a_pruned_or_a_half_model_is_that_of_its_weights(tmp_path):
    model = pruned()
    dense = save_float(LeNet300100(), tmp_path / "dense")
    assert save_float(model, tmp_path / "pruned") == dense
    kept = load_file(tmp_path / "pruned")
    assert np.array_equal(kept["fc1.weight"], (model.fc1.weight_orig * model.fc1.weight_mask).detach().numpy())
    assert save_float(LeNet300100().bfloat16(), tmp_path / "half") == dense


def test_bits_of_any_integer_kind_and_no_other(images, tmp_path):
    quantized = quantize_model(LeNet300100(), images, weight_bits=np.int64(4), activation_bits=np.uint8(6))
    quantized.save(tmp_path / "q")
    assert QuantizedModel.load(tmp_path / "q").meta["weight_bits"] == 4
    for wrong in (4.0, True, "4", None):
        with pytest.raises(ValueError, match="weight_bits is"):
            quantize_model(LeNet300100(), images, weight_bits=wrong)
    with pytest.raises(ValueError, match="activation_bits is True"):
        quantize_model(LeNet300100(), images, activation_bits=True)


# -- pixels as NumPy makes them ------------------------------------------------------------------------------------


def as_torch(x):
    return torch.tensor(x, requires_grad=True)


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


PIXELS = {
    "float64": lambda x: x.astype(np.float64),
    "big endian": lambda x: x.astype(">f4"),
    "backwards": lambda x: x[::-1].copy()[::-1],
    "columns first": np.asfortranarray,
    "channels last in memory": lambda x: np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1),
    "read only": read_only,
    "tensor with a gradient": as_torch,
    "float64 tensor": lambda x: torch.tensor(x, dtype=torch.float64),
    "lists": lambda x: x.tolist(),
}


@pytest.mark.parametrize("name", PIXELS)
def test_pixels_as_people_have_them(images, digits, name):
    x = PIXELS[name](images[:40])
    for model in (LeNet300100(), LeNet5()):
        plain, given = quantize_model(model, images[:40]), quantize_model(model, x)
        assert given.input_qparams == plain.input_qparams
        assert all(a.output_qparams == b.output_qparams for a, b in zip(plain.layers, given.layers))
        labels = digits.train_y()[:40]
        for form in (model, plain.simulated(), plain.integer_only()):
            assert np.array_equal(predict(form, x), predict(form, images[:40]))
            assert evaluate(form, x, labels) == evaluate(form, images[:40], labels)


@pytest.mark.parametrize("form", ["model", "simulated", "integer"])
def test_bytes_and_other_shapes_say_what_to_do(images, form):
    model = LeNet5()
    quantized = quantize_model(model, images[:20])
    net = {"model": model, "simulated": quantized.simulated(), "integer": quantized.integer_only()}[form]
    x = images[:5]
    for given in ((255 * x).astype(np.uint8), (255 * x).astype(np.int64), torch.tensor(255 * x).byte()):
        with pytest.raises(ValueError, match=r"x has dtype u?int\d+; .* x.astype\(np.float32\) / 255"):
            predict(net, given)
    with pytest.raises(ValueError, match=r"x (of|has) shape \(5, 28, 28\)"):
        predict(net, x[:, 0])
    for batch_size in (0, -1, 2.5):
        with pytest.raises(ValueError, match="batch_size="):
            predict(net, x, batch_size=batch_size)


def test_what_is_no_array_of_images_is_refused(images, few):
    model = LeNet300100()
    nan = images[:3].copy()
    nan[1, 0, 2, 2] = np.nan
    for call in (lambda x: predict(model, x), lambda x: quantize_model(model, x)):
        for x, message in (((images, few.train_y()), "x is a tuple of unlike parts"), (few, "x has dtype object"),
                           (0.5, "x is one number"), (nan, "x has 1 (NaN|values that are NaN)"),
                           ("x", "x has dtype <U1")):
            with pytest.raises(ValueError, match=message):
                call(x)


def test_flat_nets_take_images_without_a_channel(images):
    model = LeNet300100()
    plain, flat = quantize_model(model, images), quantize_model(model, images[:, 0])
    assert all(a.output_qparams == b.output_qparams for a, b in zip(plain.layers, flat.layers))
    for form in (model, plain.simulated(), plain.integer_only()):
        assert np.array_equal(predict(form, images[:, 0]), predict(form, images))


# -- what changes a model behind its back --------------------------------------------------------------------------


@pytest.mark.parametrize("change", [
    lambda m: m.__setitem__(2, nn.Identity()), lambda m: m.__setitem__(2, nn.MaxPool2d(2)),
    lambda m: setattr(m[3], "stride", 1), lambda m: setattr(m[0], "padding", (0, 0))])
def test_a_record_is_of_layers_and_not_of_weights_alone(images, change):
    """Before, the ranges of a net with a ReLU clipped the same net without it."""
    model = drawn(nn.Conv2d(1, 3, 5, padding=1), nn.Dropout(), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Flatten(),
                  nn.Linear(432, 10))
    record = record_activations(model, images)
    model[1] = nn.Identity()                                # computes the same
    quantize_model(model, record)
    change(model)
    with pytest.raises(ValueError, match="recorded from other weights or layers than model has now"):
        quantize_model(model, record)


def test_a_method_that_was_replaced_for_all_layers(images, monkeypatch):
    forward = nn.Linear.forward

    @functools.wraps(forward)
    def doubled(self, x):
        return 2 * forward(self, x)

    monkeypatch.setattr(nn.Linear, "forward", doubled)
    with pytest.raises(TypeError, match="nn.Linear.forward is not PyTorch's any more"):
        quantize_model(linear_net(), None, activation_bits=None)


def test_names_that_are_not_enough(images):
    """Another Linear, another Sequential: the message says whose."""
    with pytest.raises(TypeError, match=r"is a torch.fx.graph_module.Sequential; .* Pass the model that it was made"):
        quantize_model(torch.fx.symbolic_trace(linear_net()), images)

    class Linear(nn.Module):
        pass

    with pytest.raises(TypeError, match=r"'1' is a .*test_following.Linear, which cannot be quantized"):
        quantize_model(nn.Sequential(nn.Flatten(), Linear()), images)
    model = linear_net()
    del model[1].weight
    with pytest.raises(TypeError, match="layer '1' has no weight any more"):
        quantize_model(model, images)


def unhooked():
    """Pruned, and the hook that would make the weight taken away: it is a number that nothing trains."""
    model = linear_net()
    prune.l1_unstructured(model[1], "weight", 0.5)
    model[1]._forward_pre_hooks.clear()
    return model


def plain_tensor():
    model = linear_net()
    weight = model[1].weight.detach()
    del model[1].weight
    model[1].weight = weight
    return model


def masked_gradients():
    model = linear_net()
    model[1].weight.register_hook(lambda gradient: gradient * 0)
    return model


@pytest.mark.parametrize(("make", "message"), [
    (unhooked, "layer '1' has a weight that is no parameter, so training cannot move it.*nn.Parameter"),
    (plain_tensor, "layer '1' has a weight that is no parameter"),
    (masked_gradients, "layer '1' has a hook on the gradient of its weight, which a copy .* torch.nn.utils.prune"),
])
def test_weights_that_training_would_not_move_or_would_move_unasked(few, images, make, message):
    with pytest.raises(TypeError, match=message):
        quantized_of(make(), few)
    with pytest.raises(TypeError, match=message):
        FakeQuantNet(make(), weight_bits=4, activation_bits=4)
    assert_follows(make(), images, expected=predict_logits(make(), images))     # without training it is a net as others


def test_another_default_device_changes_nothing(few, images):
    plain, trained_plainly = quantize_model(LeNet5(), images[:20]), quantized_of(LeNet300100(), few)
    torch.set_default_device("meta")
    try:
        model = LeNet5()
        inside, trained_inside = quantize_model(model, images[:20]), quantized_of(LeNet300100(), few)
        classes = predict(inside.simulated(), images)
    finally:
        torch.set_default_device(None)
    assert np.array_equal(classes, predict(plain.simulated(), images))
    for ours, theirs in zip((*plain.layers, *trained_plainly.layers), (*inside.layers, *trained_inside.layers)):
        assert ours.output_qparams == theirs.output_qparams
        assert ours.weight_codes is None or np.array_equal(ours.weight_codes, theirs.weight_codes)


def test_images_in_other_wrappings(images):
    model = LeNet300100()
    expected = predict(model, images)
    tensors = [torch.tensor(image, requires_grad=True) for image in images]
    for form in (model, quantize_model(model, images).simulated()):
        assert np.array_equal(predict(form, tensors), predict(form, images))
    assert np.array_equal(predict(model, torch.tensor(images).to_sparse()), expected)
    with pytest.raises(ValueError, match=r"x has masked values.*x.filled\(0\)"):
        predict(model, np.ma.masked_array(images, images > 0.5))
    with pytest.raises(ValueError, match="device 'meta', where it has no values"):
        predict(model, torch.tensor(images).to("meta"))
    loader = torch.utils.data.DataLoader(torch.tensor(images))
    with pytest.raises(ValueError, match="which DataLoader gives; .* np.concatenate"):
        predict(model, loader)


def test_a_simulated_net_takes_arrays_and_gives_its_first_layers(images):
    net = quantize_model(LeNet300100(), images).simulated()
    x = torch.from_numpy(images)
    assert torch.equal(net(images), net(x)) and torch.equal(net[3:](net[:3](x)), net(x))
    with pytest.raises(ValueError, match="x has dtype uint8"):
        net((255 * images).astype(np.uint8))
