"""The energy panel without a browser: what it computes, and that it draws every state."""

import numpy as np
import pytest

from course_lib.energy import NETWORKS, estimate
from course_lib.panels import EnergyPanel
from course_lib.panels.energy import EnergyState
from course_lib.roofline import Roof

ROOFS = {"float32": Roof(10e9, 50e9), "int8": Roof(10e9, 200e9)}


@pytest.fixture(scope="module")
def panel():
    return EnergyPanel(ROOFS)


def test_starts_at_one_times_itself(panel):
    result = panel.compute(EnergyState())
    assert result.now == result.before and result.seconds == result.seconds_before
    assert sum(result.shares.values()) == pytest.approx(1)


def test_is_the_librarys_estimate(panel):
    result = panel.compute(EnergyState("AlexNet", bits=4, batch=8, zeros=90, index_bits=5))
    assert result.now == estimate(NETWORKS["AlexNet"], bits=4, batch=8, sparsity=0.9, index_bits=5)
    assert result.roof == ROOFS["int8"]


def test_fully_connected_layers_cross_the_ridge_with_the_batch(panel):
    assert panel.compute(EnergyState()).memory_bound == 3
    assert panel.compute(EnergyState(batch=64)).memory_bound == 1  # 1000 weights: its own inputs and outputs bound it


def test_time_is_that_of_the_bytes_where_memory_is_the_limit(panel):
    result = panel.compute(EnergyState(bits=8))
    assert result.seconds == pytest.approx(sum(layer.bytes for layer in result.now.layers) / 10e9)
    assert np.all(result.rate == result.intensity * 10e9)


def test_a_roof_that_was_not_measured_is_that_of_float32(panel):
    assert panel.compute(EnergyState(bits=16)).roof == ROOFS["float32"]


def test_draws_every_network_at_its_extremes():
    panel = EnergyPanel()
    for network in NETWORKS:
        for bits, batch, zeros in ((32, 1, 0), (1, 64, 98)):
            shown = panel.set(network=network, bits=bits, batch=batch, zeros=zeros).shown
            assert panel.error is None
            assert network in shown.text and "picojoule table" in shown.text and "round numbers" in shown.text
            assert all(layer.layer.name for layer in shown.result.now.layers)


def test_says_which_machine(panel):
    assert "On this machine" in panel.shown.text
    assert panel.shown.png.startswith(b"\x89PNG")


def test_needs_the_roof_of_float32():
    with pytest.raises(ValueError, match="should have 'float32'"):
        EnergyPanel({"int8": ROOFS["int8"]})
    with pytest.raises(ValueError, match="nothing"):
        EnergyPanel({})
