"""The codes of the input: a byte is its own code, and whatever else calibration shows is not clipped."""

import numpy as np
import pytest
import torch
from torch import nn

from course_lib.nets import LeNet5, LeNet300100, predict
from course_lib.numerics import fake_quantize, qparams_from_range, quantize
from course_lib.ptq import quantize_model
from course_lib.ptq.post_training import PIXELS, input_range
from course_lib.qat import FakeQuantNet
from course_lib.quantized import QuantizedModel

UNITS = {                               # pixels from 0 to 1 in other people's units
    "mean and spread": lambda x: (x - np.float32(0.1307)) / np.float32(0.3081),
    "from -1 to 1": lambda x: 2 * x - 1,
    "from 0 to 255": lambda x: np.float32(255) * x,
    "from -0.5 to 0.5": lambda x: x - np.float32(0.5),
    "from 0 to 0.01": lambda x: x * np.float32(0.01),
    "negative alone": lambda x: x - 3,
    "black on white": lambda x: 1 - x,
    "millions": lambda x: x * np.float32(1e6),
}


@pytest.fixture(scope="module")
def images(digits):
    return digits.train_x(200)


def net_for(unit, build):
    """A net for images in this unit that sees in them what ``build()`` sees in pixels from 0 to 1."""
    model = build()
    black, white = (float(UNITS[unit](np.float32(v))) for v in (0, 1))
    first = next(layer for layer in model if hasattr(layer, "weight"))
    with torch.no_grad():               # w x + b with x = (x' - black) / (white - black)
        first.weight.div_(white - black)
        first.bias.sub_(black * first.weight.flatten(1).sum(1))
    return model


@pytest.mark.parametrize("build", [LeNet300100, LeNet5])
@pytest.mark.parametrize("unit", UNITS)
def test_nothing_that_calibration_shows_is_clipped(images, unit, build):
    """8 bits in any unit are as good as 8 bits of bytes: to a few hundredths of the largest logit, on all paths."""
    x, model = np.ascontiguousarray(UNITS[unit](images)), net_for(unit, build)
    with torch.no_grad():
        real = model(torch.from_numpy(x)).numpy()
    quantized = quantize_model(model, x)
    low, high = quantized.input_qparams.clipping_range
    step = quantized.input_qparams.scale
    assert low <= min(0, x.min()) + step and high >= max(0, x.max()) - step and quantized.input_qparams.bits == 8
    assert quantized.input_qparams.qmin == 0 <= int(quantized.input_qparams.zero_point) <= 255
    simulated, engine = quantized.simulated()(torch.from_numpy(x)).numpy(), quantized.integer_only()
    # where the pixels lie far from zero, the 8 bits must reach to zero too, and are coarser
    room = 0.05 * max(1, np.abs(x).max() / np.ptp(x)) * np.abs(real).max()
    assert np.abs(simulated - real).max() < room and np.abs(engine(x) - simulated).max() < room
    assert np.mean(engine(x).argmax(1) == real.argmax(1)) > (0.95 if unit != "negative alone" else 0.8)


def padded_net():
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 5, padding=(2, 4), stride=2), nn.ReLU(), nn.MaxPool2d(3, 2, 1), nn.Flatten(),
                          nn.Linear(4 * 7 * 8, 10))
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(0, 0.2, generator=generator)
    return model


@pytest.mark.parametrize("unit", ["mean and spread", "from -1 to 1", "negative alone"])
def test_padding_is_zero_whatever_the_zero_point(images, unit, tmp_path):
    """The first layer pads with the code of zero, which lies inside the codes here; and the file keeps it."""
    x, model = np.ascontiguousarray(UNITS[unit](images)), padded_net()
    quantized = quantize_model(model, x)
    assert int(quantized.input_qparams.zero_point) > 0
    with torch.no_grad():
        real = model(torch.from_numpy(x)).numpy()
    quantized.save(tmp_path / "q")
    loaded = QuantizedModel.load(tmp_path / "q")
    assert loaded.input_qparams == quantized.input_qparams
    ours, simulated = loaded.integer_only()(x), loaded.simulated()(torch.from_numpy(x)).numpy()
    assert np.array_equal(ours, quantized.integer_only()(x))
    assert np.abs(simulated - real).max() < 0.03 * np.abs(real).max()
    assert np.abs(ours - simulated).max() < 0.03 * np.abs(real).max()


def test_bytes_are_their_own_codes(images):
    levels = np.arange(256, dtype=np.uint8)
    for made in (levels.astype(np.float32) / 255, levels.astype(np.float32) * np.float32(1 / 255),
                 (levels / 255).astype(np.float32)):
        assert input_range(made) == PIXELS == qparams_from_range(0.0, 1.0, bits=8, scheme="affine")
        assert np.array_equal(quantize(made, PIXELS), levels)
    assert input_range(images[:1]) == input_range(images) == PIXELS      # however few of the bytes they show
    assert input_range(np.zeros((1, 3), np.float32)) == PIXELS
    assert input_range(levels[:250].astype(np.float32)) == qparams_from_range(0.0, 255.0, bits=8, scheme="affine")
    for other in (np.float32([0, 0.5]), np.float32([0, 1.0001]), np.float32([-1 / 255, 1]), np.float32([0, 256]),
                  np.arange(17, dtype=np.float32)):
        assert input_range(other) not in (PIXELS, qparams_from_range(0.0, 255.0, bits=8, scheme="affine"))


def test_what_lies_beyond_saturates_and_nan_is_refused(images):
    x = np.ascontiguousarray(UNITS["mean and spread"](images))
    net = quantize_model(LeNet300100(), x).integer_only()
    low, high = net.model.input_qparams.clipping_range
    beyond = x[:3].copy()
    beyond[0, 0, 0], beyond[1, 0, 1], beyond[2, 0, 2, :2] = 9, -9, (np.inf, -np.inf)
    assert np.array_equal(net(beyond), net(np.clip(beyond, low, high)))
    beyond[0, 0, 5, 5] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        net(beyond)


def test_a_constant_image_does_not_widen_the_range():
    for value in (0.3, -2.7):
        low, high = input_range(np.full((2, 5), value, np.float32)).clipping_range
        assert (low, high) == pytest.approx((min(0, value), max(0, value)), abs=1e-6)


@pytest.mark.parametrize("first", [nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()])
def test_layers_before_the_first_weights_move_the_inputs_codes(images, first):
    x = np.ascontiguousarray(UNITS["from -1 to 1"](images))
    features = 784 if not isinstance(first, nn.MaxPool2d) else 196
    model = nn.Sequential(first, nn.Flatten(), nn.Linear(features, 10))
    with torch.no_grad():
        model[2].weight.normal_(0, 0.05, generator=torch.Generator().manual_seed(0))
        model[2].bias.zero_()
        real = model(torch.from_numpy(x)).numpy()
    quantized = quantize_model(model, x)
    assert np.abs(quantized.integer_only()(x) - real).max() < 0.03 * np.abs(real).max()
    assert np.abs(quantized.simulated()(torch.from_numpy(x)).numpy() - real).max() < 0.03 * np.abs(real).max()


def test_a_net_in_training_rounds_the_input_as_its_twin_does(images):
    x = np.ascontiguousarray(UNITS["mean and spread"](images))
    net = FakeQuantNet(net_for("mean and spread", LeNet300100), weight_bits=4, activation_bits=4)
    net.calibrate(x)
    twin = net.quantized(x)
    assert twin.input_qparams == input_range(x) != PIXELS
    with torch.no_grad():
        logits = net(torch.from_numpy(x))
        assert torch.equal(logits, net(torch.from_numpy(fake_quantize(x, twin.input_qparams))))
    assert np.mean(predict(twin.simulated(), x) == logits.argmax(1).numpy()) > 0.98
    bytes_net = FakeQuantNet(LeNet300100(), weight_bits=4, activation_bits=4)
    bytes_net.calibrate(images)
    assert bytes_net.quantized(images).input_qparams == PIXELS


def test_weights_alone_leave_the_input_as_it_is(images):
    quantized = quantize_model(LeNet300100(), 7 * images, activation_bits=None)
    assert quantized.weight_only and quantized.input_qparams is None
