"""The image panel in JupyterLab, moved as a reader moves it."""

import pytest


@pytest.fixture(scope="module")
def images(open_panel):
    return open_panel("cl.panels.ImagesPanel()", "images")


@pytest.fixture(autouse=True)
def _from_the_start(images):
    images.reset()


def test_every_control_changes_the_picture_and_its_words(images):
    assert images.labels("input") == ["JPEG quality", "block x, %", "block y, %"]
    assert images.labels("select") == ["picture", "resolution", "colour"]
    images.move_every_control()


def test_ends_on_the_last_value_after_a_burst_of_keys(images):
    images.press("JPEG quality", "ArrowLeft", times=40)
    images.wait_for(lambda: "quality 10:" in images.words(), "the last value")


def test_fits_a_laptop_beside_the_file_browser(images):
    picture, side = (images.root.locator(css).bounding_box() for css in (".widget-image", ".cl-side"))
    assert picture["y"] < side["y"] + 60, "the picture stands beside the controls, not under them"
    assert picture["x"] + picture["width"] <= 1366
    assert max(picture["height"], side["height"]) <= 620
