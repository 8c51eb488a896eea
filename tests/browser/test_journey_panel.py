"""The journey panel in JupyterLab, moved as a reader moves it."""

import pytest


@pytest.fixture(scope="module")
def journey(open_panel):
    return open_panel("cl.panels.JourneyPanel()", "journey")


@pytest.fixture(autouse=True)
def _from_the_start(journey):
    journey.reset()


def test_every_control_changes_the_picture_and_its_words(journey):
    assert journey.labels("input") == ["step", "weight r", "bits"]
    assert journey.labels("select") == ["scheme"]
    journey.move_every_control()


def test_the_code_is_told_only_when_its_step_is_reached(journey):
    assert "which is its code" in journey.words()
    journey.changes(lambda: journey.press("step", "ArrowLeft", times=2), "two steps back")
    journey.wait_for(lambda: "Step 2 of 4" in journey.words(), "the second step")
    assert "code 1" not in journey.words() and "its code" not in journey.words()


def test_a_weight_past_the_range_is_clipped(journey):
    journey.press("weight r", "ArrowRight", times=95)
    journey.wait_for(lambda: "The weight 1.4 " in journey.words(), "the last value")
    assert "clipped to the code 3" in journey.words()


def test_fits_a_laptop_beside_the_file_browser(journey):
    picture, side = (journey.root.locator(css).bounding_box() for css in (".widget-image", ".cl-side"))
    assert picture["y"] < side["y"] + 60, "the picture stands beside the controls, not under them"
    assert picture["x"] + picture["width"] <= 1366
    assert max(picture["height"], side["height"]) <= 620
