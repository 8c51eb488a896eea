"""The energy panel in JupyterLab, moved as a reader moves it."""

import pytest


@pytest.fixture(scope="module")
def energy(open_panel):
    return open_panel("cl.panels.EnergyPanel()", "energy")


@pytest.fixture(autouse=True)
def _from_the_start(energy):
    energy.reset()


def test_every_control_changes_the_picture_and_its_words(energy):
    assert energy.labels("input") == ["batch", "zeros, %"]
    assert energy.labels("select") == ["network", "weight bits", "bits of a place"]
    energy.move_every_control()


@pytest.mark.parametrize("label, key, by", [("batch", "ArrowRight", 1), ("zeros, %", "ArrowRight", 1)])
def test_a_handle_moves_by_arrow_keys_and_takes_its_box_along(energy, label, key, by):
    before = energy.value(label)
    energy.changes(lambda: energy.press(label, key), label)
    assert energy.value(label) == before + by


def test_ends_on_the_last_value_after_a_burst_of_keys(energy):
    energy.press("zeros, %", "ArrowRight", times=40)
    energy.wait_for(lambda: "40 % zeros" in energy.words(), "the last value")
    assert energy.value("zeros, %") == 40


def test_int8_moves_the_weights_onto_the_chip(energy):
    assert "live in DRAM" in energy.words()
    energy.changes(lambda: energy.choose("weight bits", "8"), "8 bits")
    assert "live in 1 MB cache" in energy.words()


def test_fits_a_laptop_beside_the_file_browser(energy):
    picture, side = (energy.root.locator(css).bounding_box() for css in (".widget-image", ".cl-side"))
    assert picture["y"] < side["y"] + 60, "the picture stands beside the controls, not under them"
    assert picture["x"] + picture["width"] <= 1366
    assert max(picture["height"], side["height"]) <= 620
