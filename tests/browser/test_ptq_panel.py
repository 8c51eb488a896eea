"""The post-training-quantization panel in JupyterLab."""

import pytest


@pytest.fixture(scope="module")
def ptq(open_panel):
    return open_panel("cl.panels.PTQPanel()", "ptq")


def test_every_control_changes_the_picture_and_its_words(ptq):
    assert ptq.labels("input") == ["weight bits"]
    assert ptq.labels("select") == ["activation bits", "calibrator", "weight scales"]
    ptq.move_every_control()


def test_rests_on_all_test_images(ptq):
    ptq.reset()
    ptq.press("weight bits", "ArrowLeft", times=2)
    ptq.wait_for(lambda: "2-bit weights" in ptq.words() and "on all " in ptq.words(), "the full test set")
    assert "float32" in ptq.words() and "wrong now" in ptq.words()
