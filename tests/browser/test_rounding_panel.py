"""The rounding panel in JupyterLab, moved as a reader moves it."""

import pytest


@pytest.fixture(scope="module")
def rounding(open_panel):
    return open_panel("cl.panels.RoundingPanel()", "rounding")


@pytest.fixture(autouse=True)
def _from_the_start(rounding):
    rounding.reset()


def test_every_control_changes_the_picture_and_its_words(rounding):
    assert rounding.labels("input") == ["start x₀", "rate η", "steps"]
    assert rounding.labels("select") == ["format", "rounding"]
    rounding.move_every_control()


def test_stuck_to_the_nearest_and_home_by_chance(rounding):
    assert "x is 768," in rounding.words()
    rounding.changes(lambda: rounding.choose("rounding", "stochastic"), "stochastic rounding")
    assert "mean of 100 runs" in rounding.words()


def test_ends_on_the_last_value_after_a_burst_of_keys(rounding):
    rounding.press("rate η", "ArrowRight", times=30)
    rounding.wait_for(lambda: "learning rate 0.25 stored as 0.25" in rounding.words(), "the last value")


def test_fits_a_laptop_beside_the_file_browser(rounding):
    picture, side = (rounding.root.locator(css).bounding_box() for css in (".widget-image", ".cl-side"))
    assert picture["y"] < side["y"] + 60, "the picture stands beside the controls, not under them"
    assert picture["x"] + picture["width"] <= 1366
    assert max(picture["height"], side["height"]) <= 620
