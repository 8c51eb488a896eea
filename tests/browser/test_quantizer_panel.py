"""The quantizer panel in JupyterLab, moved as a reader moves it."""

import re

import pytest


@pytest.fixture(scope="module")
def quantizer(open_panel):
    return open_panel("cl.panels.QuantizerPanel()", "quantizer")


@pytest.fixture(autouse=True)
def _from_the_start(quantizer):
    quantizer.reset()


def rests_on_its_handle(panel):
    """Whether box and picture have arrived where the handle stands."""
    shown = float(re.search(r"clipped at (\d+) %", panel.words()).group(1))
    return shown == panel.value("clip at, %") == panel.handle_value("clip at, %")


def test_every_control_changes_the_picture_and_its_words(quantizer):
    assert quantizer.labels("input") == ["bits b", "clip at, %", "show channel"]
    assert quantizer.labels("select") == ["data", "rounding", "scheme", "granularity"]
    quantizer.move_every_control()


@pytest.mark.parametrize("label", ["bits b", "clip at, %", "show channel"])
def test_a_handle_moves_by_arrow_keys_and_takes_its_box_along(quantizer, label):
    before = quantizer.value(label)
    quantizer.changes(lambda: quantizer.press(label, "ArrowLeft"), label)
    assert quantizer.value(label) == before - 1


def test_a_typed_value_moves_the_handle(quantizer):
    quantizer.changes(lambda: quantizer.set("bits b", 7), "bits b")
    quantizer.wait_for(lambda: quantizer.handle_value("bits b") == 7, "the handle to follow")


@pytest.mark.parametrize("label", ["data", "rounding", "scheme", "granularity"])
def test_a_drop_down_list_moves_by_arrow_keys_and_keeps_the_focus(quantizer, label):
    control = quantizer.control(label)
    quantizer.focus(control)
    for key in ("ArrowDown", "ArrowUp"):
        quantizer.changes(lambda key=key: quantizer.page.keyboard.press(key), f"{label}, {key}")
    assert control.evaluate("e => e === document.activeElement"), "JupyterLab has not taken the key for the notebook"


def test_ends_on_the_last_value_after_a_fast_drag_by_mouse(quantizer):
    handle = quantizer.handle("clip at, %").bounding_box()
    x, y = handle["x"] + handle["width"] / 2, handle["y"] + handle["height"] / 2
    mouse = quantizer.page.mouse
    mouse.move(x, y)
    mouse.down()
    for step in range(60):
        mouse.move(x - step, y)
    mouse.up()
    assert quantizer.handle_value("clip at, %") < 60
    quantizer.wait_for(lambda: rests_on_its_handle(quantizer), "the last value")


def test_ends_on_the_last_value_after_a_burst_of_keys(quantizer):
    quantizer.press("clip at, %", "ArrowLeft", times=40)
    assert quantizer.handle_value("clip at, %") == 60
    quantizer.wait_for(lambda: rests_on_its_handle(quantizer), "the last value")


def test_the_bits_begin_where_the_scheme_does(quantizer):
    quantizer.changes(lambda: quantizer.set("bits b", 1), "as few as there are")
    assert quantizer.value("bits b") == 2 and "2 bits, symmetric" in quantizer.words() and not quantizer.alert()
    quantizer.changes(lambda: quantizer.choose("scheme", "affine"), "the scheme")
    quantizer.changes(lambda: quantizer.set("bits b", 1), "one bit")
    assert "1 bit, affine" in quantizer.words()
    quantizer.changes(lambda: quantizer.choose("scheme", "symmetric"), "back again")
    assert quantizer.value("bits b") == quantizer.handle_value("bits b") == 2
    assert "2 bits, symmetric" in quantizer.words()


def test_fits_a_laptop_beside_the_file_browser(quantizer):
    picture, side = (quantizer.root.locator(css).bounding_box() for css in (".widget-image", ".cl-side"))
    assert picture["y"] < side["y"] + 60, "the picture stands beside the controls, not under them"
    assert picture["x"] + picture["width"] <= 1366
    assert max(picture["height"], side["height"]) <= 620


def test_a_readers_own_array_with_nan_is_named(open_panel):
    panel = open_panel(
        "cl.panels.QuantizerPanel(x=np.array([[1.0, np.nan], [0.5, 2.0]]))", "quantizer", "import numpy as np"
    )
    assert "NaN" in panel.alert()
    panel.changes(lambda: panel.choose("data", "weights, 16 channels"), "the example")
    assert not panel.alert() and "SQNR" in panel.words()
