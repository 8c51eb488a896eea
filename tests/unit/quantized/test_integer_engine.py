"""The integer engine: exactly its definition, at most one code from the simulation, and clear about what it refuses."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from numba import types
from torch import nn
from torch.nn import functional

from course_lib.kernels import layers as kernels
from course_lib.kernels import matrix_unit
from course_lib.nets import LeNet5, LeNet300100
from course_lib.numerics import QParams, calibrate, dequantize, fake_quantize, qparams_from_range, quantize
from course_lib.ptq import quantize_model
from course_lib.quantized import QuantizedLayer, QuantizedModel
from course_lib.quantized.requantization import fixed_point, requantize_one

PIXELS = qparams_from_range(0.0, 1.0, bits=8, scheme="affine")
BITS = (2, 3, 4, 8)


def make_layer(kind, weight_shape, *, weight_bits=8, reads=PIXELS, activation_bits=8, granularity="per_channel",
               **options):
    """A random layer whose output range is what random input codes give, as a calibration would set it."""
    rng = np.random.default_rng(0)
    w = rng.normal(scale=weight_shape[1] ** -0.5, size=weight_shape).astype(np.float32)
    w *= rng.uniform(0.2, 3.0, (len(w),) + (1,) * (w.ndim - 1)).astype(np.float32)      # channels of different size
    weight_qparams = calibrate(w, bits=weight_bits, granularity=granularity)
    bias = rng.normal(size=len(w)).astype(np.float32)
    layer = QuantizedLayer(kind, "x", quantize(w, weight_qparams), weight_qparams, bias, reads, reads, options)
    out = real_output(layer, random_codes(layer, 8, rng)).numpy()
    writes = calibrate(out, bits=activation_bits, scheme="affine", signed=activation_bits == 16)
    return QuantizedLayer(kind, "x", layer.weight_codes, weight_qparams, bias, reads, writes, options)


def random_codes(layer, batch, rng):
    shape = (batch, layer.weight_codes.shape[1]) + ((9, 8) if layer.kind == "conv2d" else ())
    return rng.integers(layer.input_qparams.qmin, layer.input_qparams.qmax + 1, shape).astype(np.uint8)


def real_output(layer, codes):
    """The layer in torch float32, on the numbers that the codes stand for."""
    x = torch.from_numpy(dequantize(codes, layer.input_qparams))
    w, bias = torch.from_numpy(dequantize(layer.weight_codes, layer.weight_qparams)), torch.from_numpy(layer.bias)
    return functional.linear(x, w, bias) if layer.kind == "linear" else functional.conv2d(x, w, bias, **layer.options)


def accumulators(layer, codes):
    """Σ w_q x_q in 64 bits, with the code of zero as padding."""
    if layer.kind == "linear":
        return codes.astype(np.int64) @ layer.weight_codes.astype(np.int64).T
    p, zero = layer.options.get("padding", 0), int(layer.input_qparams.zero_point)
    padded = torch.from_numpy(np.pad(codes.astype(np.float64), ((0, 0), (0, 0), (p, p), (p, p)), constant_values=zero))
    weights, stride = torch.from_numpy(layer.weight_codes.astype(np.float64)), layer.options.get("stride", 1)
    return functional.conv2d(padded, weights, stride=stride).numpy().astype(np.int64)   # exact in float64


def run_layers(layers, index, codes):
    return QuantizedModel(layers, layers[0].input_qparams).integer_only().run_codes(index, codes)


def check_layer(layer, relu=False, batch=9):
    """Equal to the definition on Python's integers, and at most one code from torch's float32."""
    codes = random_codes(layer, batch, np.random.default_rng(1))
    after = [QuantizedLayer("relu", "r", input_qparams=layer.output_qparams, output_qparams=layer.output_qparams)]
    ours = run_layers([layer, *(after if relu else [])], 0, codes)
    constants = fixed_point(layer, relu)
    acc = accumulators(layer, codes)
    defined = np.empty(acc.shape, np.int64)
    for place in np.ndindex(acc.shape):
        c = place[1]
        multiplier, offset = int(constants.multiplier[c]), int(constants.offset[c])
        defined[place] = requantize_one(int(acc[place]), multiplier, offset, *constants[2:])
    assert np.array_equal(ours, defined)
    out = real_output(layer, codes)
    simulated = quantize((torch.relu(out) if relu else out).numpy(), layer.output_qparams)
    assert ours.dtype == simulated.dtype == layer.output_qparams.code_dtype
    difference = np.abs(ours.astype(np.int64) - simulated)
    assert difference.max() <= 1
    return difference


@pytest.mark.parametrize("granularity", ["per_tensor", "per_channel"])
@pytest.mark.parametrize(("weight_bits", "activation_bits"), list(itertools.product(BITS, (*BITS, 16))))
def test_linear_against_definition_and_simulation(weight_bits, activation_bits, granularity):
    reads = qparams_from_range(-0.6, 1.9, bits=8 if activation_bits == 16 else activation_bits, scheme="affine")
    assert reads.zero_point > 0
    for relu in (False, True):
        layer = make_layer("linear", (37, 101), weight_bits=weight_bits, activation_bits=activation_bits, reads=reads,
                           granularity=granularity)
        assert check_layer(layer, relu).mean() < 0.01


@pytest.mark.parametrize("granularity", ["per_tensor", "per_channel"])
@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("options", [{}, {"padding": 2}, {"stride": 2, "padding": 1}, {"stride": 3}], ids=str)
def test_convolution_against_definition_and_simulation(bits, granularity, options):
    reads = qparams_from_range(-0.6, 1.9, bits=bits, scheme="affine")
    for relu in (False, True):
        check_layer(make_layer("conv2d", (6, 5, 5, 5), weight_bits=bits, activation_bits=bits, reads=reads,
                               granularity=granularity, **options), relu, batch=3)


def test_convolution_with_unequal_sides():
    """Windows, strides and paddings that differ down and across."""
    layer = make_layer("conv2d", (4, 3, 2, 5), reads=qparams_from_range(-1, 1, bits=8, scheme="affine"),
                       stride=(2, 1), padding=(0, 3))
    codes = random_codes(layer, 2, np.random.default_rng(0))
    ours, theirs = run_layers([layer], 0, codes), quantize(real_output(layer, codes).numpy(), layer.output_qparams)
    assert ours.shape == theirs.shape and np.abs(ours.astype(int) - theirs).max() <= 1


def test_a_channel_of_zeros_costs_the_others_no_precision():
    """Its scale is 1 by convention, far above the others, and must not set the shift."""
    layer = make_layer("linear", (6, 20))
    codes, scale = layer.weight_codes.copy(), layer.weight_qparams.scale.copy()
    codes[2], scale[2] = 0, 1e6
    qparams = QParams(scale, np.zeros(6, np.int32), -127, 127, "per_channel", 0)
    changed = QuantizedLayer("linear", "x", codes, qparams, layer.bias, layer.input_qparams, layer.output_qparams)
    assert fixed_point(changed).shift == fixed_point(layer).shift
    check_layer(changed)


def test_every_pair_of_input_codes():
    """Two inputs, all 65 536 pairs of codes: exactly the definition."""
    layer = make_layer("linear", (3, 2), reads=qparams_from_range(-1, 2, bits=8, scheme="affine"))
    codes = np.array(list(itertools.product(range(256), repeat=2)), np.uint8)
    constants = fixed_point(layer)
    for c, column in enumerate(run_layers([layer], 0, codes).T):
        w0, w1 = map(int, layer.weight_codes[c])
        values = int(constants.multiplier[c]), int(constants.offset[c]), *constants[2:]
        assert column.tolist() == [requantize_one(w0 * int(a) + w1 * int(b), *values) for a, b in codes]


@pytest.mark.parametrize("sign", [1, -1])
def test_the_longest_sum_does_not_overflow(sign):
    """66 311 weights of ±127 times codes of 255 reach the last bit of the accumulator; one more is refused."""
    q = qparams_from_range(-1, 1, bits=8, scheme="symmetric")
    wide = qparams_from_range(-7e4, 7e4, bits=16, scheme="affine", signed=True)
    for n in (66311, 66312):
        layer = QuantizedLayer("linear", "x", np.full((5, n), sign * 127, np.int8), q, None, PIXELS, wide)
        model = QuantizedModel([layer], PIXELS)
        if n == 66312:
            with pytest.raises(ValueError, match="n = 66312 products a sum can reach 2147514120"):
                model.integer_only()
        else:
            assert model.integer_only()(np.ones((5, n), np.float32)) == pytest.approx(sign * n, abs=2)


@pytest.mark.parametrize("bits", BITS)
def test_pooling_and_relu_on_codes(bits):
    q = qparams_from_range(-0.6, 1.9, bits=bits, scheme="affine")
    codes = np.random.default_rng(0).integers(0, q.qmax + 1, (3, 4, 11, 9)).astype(np.uint8)
    x = torch.from_numpy(dequantize(codes, q))
    windows = [(2, None, 0), (3, 2, 1), ((3, 2), (1, 4), 0)]
    for options in [dict(zip(("kernel_size", "stride", "padding"), window)) for window in windows]:
        layer = QuantizedLayer("max_pool2d", "p", input_qparams=q, output_qparams=q, options=options)
        expected = quantize(functional.max_pool2d(x, **options).numpy(), q)
        assert np.array_equal(run_layers([layer], 0, codes), expected)
    relu = QuantizedLayer("relu", "r", input_qparams=q, output_qparams=q)
    assert np.array_equal(run_layers([relu], 0, codes), quantize(torch.relu(x).numpy(), q))
    flatten = QuantizedLayer("flatten", "f", input_qparams=q, output_qparams=q)
    assert np.array_equal(run_layers([flatten], 0, codes), codes.reshape(3, -1))


def test_relu_that_stands_alone_in_a_net():
    """After pooling there is no clamp to hide in: the ReLU runs as a layer of its own."""
    first = make_layer("conv2d", (6, 5, 5, 5), reads=qparams_from_range(-1, 1, bits=8, scheme="affine"))
    q = first.output_qparams
    layers = [first, QuantizedLayer("max_pool2d", "p", input_qparams=q, output_qparams=q, options={"kernel_size": 2}),
              QuantizedLayer("relu", "r", input_qparams=q, output_qparams=q)]
    model = QuantizedModel(layers, first.input_qparams)
    x = np.random.default_rng(0).uniform(-1, 1, (7, 5, 9, 8)).astype(np.float32)
    simulated = model.simulated()(torch.from_numpy(x)).numpy()
    assert np.abs(model.integer_only()(x) - simulated).max() <= q.scale * 1.001
    assert simulated.min() == 0 < simulated.max()


NETS = {"lenet_300_100": LeNet300100, "lenet_5": LeNet5}


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(3).random((130, 1, 28, 28), np.float32)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize(("weight_bits", "activation_bits"), [(8, 8), (4, 8), (3, 3), (2, 2)])
def test_layers_of_real_nets_against_the_simulation(name, weight_bits, activation_bits, images):
    """Each layer is fed the codes that the integer net feeds it; the simulation's answer is at most one code away."""
    model = quantize_model(NETS[name](), images[:32], weight_bits=weight_bits, activation_bits=activation_bits)
    net, codes = model.integer_only(), quantize(images[:8], model.input_qparams)
    for i, (layer, module) in enumerate(zip(model.layers, list(model.simulated())[1:])):
        ours = net.run_codes(i, codes)
        with torch.no_grad():
            out = module(torch.from_numpy(dequantize(codes, layer.input_qparams)))
            relu_next = i + 1 < len(model.layers) and model.layers[i + 1].kind == "relu"
            simulated = quantize((torch.relu(out) if relu_next else out).numpy(), layer.output_qparams)
        assert np.abs(ours.astype(int) - simulated).max() <= 1, layer.name
        codes = ours
    last = model.layers[-1].output_qparams
    assert np.array_equal(net(images[:8]), dequantize(codes, last))


@pytest.mark.parametrize("name", NETS)
def test_batches_chunks_and_single_images_agree(name, images):
    net = quantize_model(NETS[name](), images[:32]).integer_only()
    whole = net(images)
    assert whole.shape == (130, 10) and whole.dtype == np.float32
    assert np.array_equal(net.predict(images), whole.argmax(1))
    for n in (0, 1, 2, 3, 4, 5, 63, 64, 65, 129):
        assert np.array_equal(net(images[:n]), whole[:n])
    assert np.array_equal(net(images[7]), whole[7:8] if name == "lenet_300_100" else whole[7])
    assert np.array_equal(net(images[::-2]), whole[::-2])
    first = net(images[:1])
    before = first.copy()
    net(images[1:2])
    assert np.array_equal(first, before)                                               # a result is not a buffer
    if name == "lenet_300_100":
        assert np.array_equal(net(images.reshape(130, 784)), whole)
        assert np.array_equal(net(images[5].reshape(784)), whole[5])
        assert np.array_equal(net(images[5, 0]), whole[5])


def test_infinities_saturate_and_nan_is_refused(images):
    net = quantize_model(LeNet300100(), images[:32]).integer_only()
    x = images[:3].copy()
    x[0, 0, 0, 0], x[1, 0, 3, 3] = np.inf, -np.inf
    clipped = np.clip(x, 0, 1)
    assert np.array_equal(net(x), net(clipped))
    x[2, 0, 27, 27] = np.nan
    with pytest.raises(ValueError, match="x has a NaN"):
        net(x)
    assert np.array_equal(net(clipped), net(clipped))


def test_input_codes_are_those_of_quantize():
    x = np.concatenate([np.linspace(-2, 3, 10001), np.arange(-5, 600) / 510]).astype(np.float32)     # ties included
    for q in (PIXELS, qparams_from_range(-0.7, 1.3, bits=8, scheme="affine"),
              qparams_from_range(-1, 2, bits=3, scheme="affine")):
        out = np.empty(x.size, np.uint8)
        assert not kernels.quantize_input(x, q.scale.item(), int(q.zero_point), q.qmin, q.qmax, out)
        assert np.array_equal(out, quantize(x, q))


def test_no_floating_point_between_input_and_output(images):
    """The kernels between the first and the last have no floating-point argument and make no floating-point number."""
    whole = {kernels.linear, kernels.conv2d, kernels.max_pool2d, kernels.relu} | ({matrix_unit.matmul} - {None})
    for kernel in whole:
        for signature in kernel.signatures:
            for argument in signature:
                inner = getattr(argument, "dtype", argument)
                assert not isinstance(inner, types.Float)
    net = quantize_model(LeNet5(), images[:8]).integer_only()
    net(images[:2])
    for plan in net._plans.values():
        assert {run for run, _ in plan.calls} <= whole
        arrays = [a for _, arguments in plan.calls for a in arguments if isinstance(a, np.ndarray)]
        assert all(a.dtype.kind in "iu" for a in arrays)


def test_simulated_is_the_ordinary_fake_quantization(images):
    """Weights dequantized once; input and activations rounded by the library's own quantizer, bit for bit.

    Only the order of the sums is the library's choice: each layer is fed what the simulation fed it, and a code may
    differ, by one, where the real output lies at a tie to within the rounding of such a sum.
    """
    model = quantize_model(LeNet300100(), images[:32], weight_bits=4, activation_bits=4)
    first, *layers = model.simulated()
    a = first(torch.from_numpy(images))
    assert np.array_equal(a.numpy(), fake_quantize(images, model.input_qparams))
    for layer, module in zip(model.layers, layers, strict=True):
        before, a = a.flatten(1).numpy(), module(a)
        if layer.kind == "linear":
            w = dequantize(layer.weight_codes, layer.weight_qparams)
            out = before.astype(np.float64) @ w.T + layer.bias
            off = sum_bound(before, w, layer.bias)
            low, high = (fake_quantize((out + side).astype(np.float32), layer.output_qparams) for side in (-off, off))
            assert ((low <= a.numpy()) & (a.numpy() <= high)).all()
            assert (high - low).max() <= 1.01 * layer.output_qparams.scale


def sum_bound(x, w, bias):
    """How far a float32 x @ w.T + bias may be from the exact one, whatever the order of the sum: (n + 2) roundings."""
    return (w.shape[1] + 2) * 2.0**-24 * (np.abs(x).astype(np.float64) @ np.abs(w).T + np.abs(bias))


def test_weight_only(images):
    net = LeNet5()
    model = quantize_model(net, None, weight_bits=4, activation_bits=None)
    twin = LeNet5()
    weighted = [layer for layer in model.layers if layer.weight_codes is not None]
    state = {f"{layer.name}.weight": dequantize(layer.weight_codes, layer.weight_qparams) for layer in weighted}
    state |= {f"{layer.name}.bias": layer.bias for layer in weighted}
    twin.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
    x = torch.from_numpy(images[:4])
    with torch.no_grad():
        torch.testing.assert_close(model.simulated()(x), twin(x), rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="quantizes its weights only: .* use simulated"):
        model.integer_only()


def linear(codes=None, weight_qparams=None, reads=PIXELS, writes=None):
    weight_qparams = weight_qparams or qparams_from_range(-1, 1, bits=8, scheme="symmetric")
    codes = np.ones((2, 4), weight_qparams.code_dtype) if codes is None else codes
    writes = writes or qparams_from_range(-4, 4, bits=8, scheme="affine")
    return QuantizedLayer("linear", "fc", codes, weight_qparams, None, reads, writes)


def relu(reads=PIXELS, writes=PIXELS):
    return QuantizedLayer("relu", "r", input_qparams=reads, output_qparams=writes)


GROUPS = calibrate(np.ones((2, 4), np.float32), bits=4, granularity="per_group", group_size=2)
INPUTS = calibrate(np.ones((2, 4), np.float32), bits=4, granularity="per_channel", axis=1)


@pytest.mark.parametrize(("layers", "message"), [
    (lambda: [linear(weight_qparams=GROUPS)], "'fc': weights per group have several scales in one sum"),
    (lambda: [linear(weight_qparams=INPUTS)], "one scale per entry of axis 1; integers alone need one per output"),
    (lambda: [linear(weight_qparams=qparams_from_range(-1, 2, bits=8, scheme="affine"))], "weights must be symmetric"),
    (lambda: [linear(weight_qparams=qparams_from_range(0, 2, bits=8, scheme="affine"))], "weights must be symmetric"),
    (lambda: [linear(reads=qparams_from_range(0, 1, bits=8, scheme="affine", signed=True))],
     "unsigned codes of at most 8 bits: calibrate activations with scheme='affine', signed=False"),
    (lambda: [linear(reads=qparams_from_range(0, 1, bits=9, scheme="affine"))], "unsigned codes of at most 8 bits"),
    (lambda: [linear(writes=qparams_from_range(0, 1e-12, bits=8, scheme="affine"))],
     "'fc': its outputs reach far beyond"),
    (lambda: [linear(), linear()], "a different name"),
    (lambda: [linear(), relu()], "those of the codes that reach it"),
    (lambda: [relu(writes=qparams_from_range(0, 2, bits=8, scheme="affine"))], "must be the same"),
    (lambda: [relu(writes=None)], "lacks input_qparams or output_qparams"),
])
def test_what_the_engine_refuses(layers, message):
    with pytest.raises(ValueError, match=message):
        made = layers()
        QuantizedModel(made, made[0].input_qparams).integer_only()


def test_wrong_inputs_are_named(images):
    net = quantize_model(LeNet300100(), images[:8]).integer_only()
    for x, error, message in (
        (images[:2].astype(np.float64), TypeError, "x must be a float32 array, not float64"),
        (torch.from_numpy(images[:2]), TypeError, "x must be a float32 array"),
        ([0.0] * 784, TypeError, "not list"),
        (images[:2, :, :27], ValueError, r"x has shape \(2, 1, 27, 28\); .* with 784 features"),
        (np.float32(1), TypeError, "x must be"),
    ):
        with pytest.raises(error, match=message):
            net(x)
    with pytest.raises(ValueError, match=r"x has shape \(2, 3, 28, 28\); .* \(n, 1, height, width\)"):
        quantize_model(LeNet5(), images[:8]).integer_only()(np.ones((2, 3, 28, 28), np.float32))
    for codes in (np.zeros((1, 784), np.int8), np.zeros((1, 784), np.float32)):
        with pytest.raises(ValueError, match="input_codes must be uint8"):
            net.run_codes(1, codes)
    low = quantize_model(LeNet300100(), images[:8], activation_bits=2).integer_only()
    with pytest.raises(ValueError, match="none above 3"):
        low.run_codes(3, np.full((1, 300), 4, np.uint8))


def test_threads_share_one_engine(images):
    """Before, they wrote into the same buffers, and a few answers were those of other images."""
    engine = quantize_model(LeNet300100(), images).integer_only()
    parts = [images[i : i + 20] for i in (0, 20, 40)]
    expected = [engine(part) for part in parts]

    def wrong(part, logits):
        return sum(not np.array_equal(engine(part), logits) for _ in range(400))

    with ThreadPoolExecutor(3) as pool:
        assert sum(pool.map(wrong, parts, expected)) == 0


def test_a_relu_after_a_relu_is_done_already(images):
    model = nn.Sequential(nn.ReLU(), nn.ReLU(), nn.Flatten(), nn.Linear(784, 10), nn.ReLU(), nn.Dropout(), nn.ReLU())
    once = nn.Sequential(*list(model)[1:5])
    x = images - np.float32(0.25)
    assert np.array_equal(quantize_model(model, x).integer_only()(x), quantize_model(once, x).integer_only()(x))


def test_maps_are_no_classes(images):
    engine = quantize_model(nn.Sequential(nn.Conv2d(1, 4, 3)), images).integer_only()
    with pytest.raises(ValueError, match=r"gives \(\d+, 4, 26, 26\), and a class needs logits"):
        engine.predict(images)
