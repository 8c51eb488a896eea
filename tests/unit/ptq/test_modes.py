"""Static, dynamic, 16-bit activations, weight-only: the same network four ways."""

import numpy as np
import pytest

from course_lib.nets import evaluate, trained
from course_lib.ptq import DynamicNet, Mode, quantize_in_mode, quantize_model, record_activations
from course_lib.quantized import save_float


@pytest.fixture(scope="module")
def model(digits):
    return trained("lenet_300_100", digits, progress=False)


@pytest.fixture(scope="module")
def recorded(model, digits):
    return record_activations(model, digits.train_x(200))


@pytest.mark.parametrize("mode", Mode)
def test_eight_bits_keep_the_accuracy_in_every_mode_and_a_quarter_of_the_bytes(model, recorded, digits, mode, tmp_path):
    one = quantize_in_mode(model, recorded, mode)
    x, y = digits.test_x(), digits.test_y()
    for net in (one.net, one.engine):
        if net is not None:                                 # at 8 bits two of 500 images at most lie that near a border
            assert abs(evaluate(net, x, y).value - evaluate(model, x, y).value) <= 2 / len(y)
    one.quantized.save(tmp_path / "model.safetensors")
    assert one.bytes == (tmp_path / "model.safetensors").stat().st_size
    assert 3.8 < save_float(model, tmp_path / "float.safetensors") / one.bytes < 4


def test_what_has_a_time_multiplies_codes(model, recorded):
    found = {mode: quantize_in_mode(model, recorded, mode) for mode in Mode}
    assert found[Mode.WEIGHT_ONLY].engine is None           # a simulation has no time
    assert isinstance(found[Mode.DYNAMIC].engine, DynamicNet) and found[Mode.DYNAMIC].engine.activation_bits == 8
    assert found[Mode.WIDE].engine.activation_bits == 16
    assert found[Mode.STATIC].engine is not None and not found[Mode.STATIC].quantized.weight_only
    assert all(found[mode].quantized.weight_only for mode in Mode if mode is not Mode.STATIC)


def test_sixteen_bits_come_nearer_to_weight_only_than_eight(model, digits):
    x = digits.test_x(100)
    logits = {mode: np.asarray(quantize_in_mode(model, None, mode, weight_bits=3).net(x))
              for mode in ("weight_only", "wide", "dynamic")}
    apart = [np.abs(logits[mode] - logits["weight_only"]).max() for mode in ("wide", "dynamic")]
    assert apart[0] < apart[1] / 50                         # 1/256 of the step, and float32 round-off


def test_no_images_are_needed_where_no_range_is_calibrated(model, recorded):
    for mode in ("dynamic", "wide", "weight_only"):
        quantize_in_mode(model, None, mode)
    with pytest.raises(ValueError, match="calibration_x is None"):
        quantize_in_mode(model, None, "static")


def test_static_options_are_those_of_quantize_model(model, recorded):
    options = {"weight_bits": 3, "activation_bits": 5, "weight_calibration": "mse",
               "activation_calibration": "histogram", "granularity": "per_tensor"}
    ours = quantize_in_mode(model, recorded, "static", **options).quantized
    assert ours.meta == quantize_model(model, recorded, **options).meta


def test_per_group_has_no_products_on_codes(model, recorded):
    groups = {"granularity": "per_group", "group_size": 49}
    assert quantize_in_mode(model, recorded, "static", **groups).engine is None
    with pytest.raises(ValueError, match="layer 'fc1': qparams has scales per group"):
        quantize_in_mode(model, recorded, "dynamic", **groups)
    with pytest.raises(ValueError, match="mode='fast' is not one of 'static', 'dynamic', 'wide', 'weight_only'"):
        quantize_in_mode(model, recorded, "fast")
