"""The embedding panel in JupyterLab, moved as a reader moves it."""

import pytest


@pytest.fixture(scope="module")
def embeddings(open_panel):
    return open_panel("cl.panels.EmbeddingPanel()", "embeddings")


@pytest.fixture(autouse=True)
def _from_the_start(embeddings):
    embeddings.reset()


def test_every_control_changes_the_picture_and_its_words(embeddings):
    assert embeddings.labels("input") == ["dimension", "training step"]
    assert embeddings.labels("select") == ["graph", "bits a number"]
    embeddings.move_every_control()


def test_a_fast_drag_ends_on_the_full_training_of_the_last_dimension(embeddings):
    embeddings.press("dimension", "ArrowRight", times=4)
    embeddings.wait_for(lambda: "dimension 6, step 300" in embeddings.words(), "the full training")


def test_fits_a_laptop_beside_the_file_browser(embeddings):
    picture, side = (embeddings.root.locator(css).bounding_box() for css in (".widget-image", ".cl-side"))
    assert picture["y"] < side["y"] + 60, "the picture stands beside the controls, not under them"
    assert picture["x"] + picture["width"] <= 1366
    assert max(picture["height"], side["height"]) <= 620
