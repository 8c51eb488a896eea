"""The post-training-quantization panel in JupyterLab."""

import time

import pytest


@pytest.fixture(scope="module")
def ptq(open_panel):
    return open_panel("cl.panels.PTQPanel()", "ptq")


def test_every_control_changes_the_picture_and_its_words(ptq):
    assert ptq.labels("input") == ["weight bits"]
    assert ptq.labels("select") == ["mode", "activation bits", "calibrator", "weight scales"]
    ptq.move_every_control()


def test_rests_on_all_test_images(ptq):
    ptq.reset()
    ptq.press("weight bits", "ArrowLeft", times=2)
    ptq.wait_for(lambda: "2-bit weights" in ptq.words() and "on all " in ptq.words(), "the full test set")
    assert "float32" in ptq.words() and "wrong now" in ptq.words()


def test_every_mode_and_calibrator_settles_within_a_second(ptq):
    """From the choice to words about all test images; the quicker of two, since the first loads what a mode needs."""
    ptq.reset()
    choices = [("mode", "dynamic", "activations, dynamic"), ("mode", "weight-only", "float activations"),
               ("mode", "static", "8-bit activations, minmax")]
    choices += [("calibrator", option, f"activations, {words}:") for option, words in (
        ("moving average", "moving average"), ("percentile 99.9", "percentile"), ("histogram (KL)", "histogram"),
        ("least squares (MSE)", "mse"), ("min-max", "minmax"))]
    seconds = {choice: [] for choice in choices}
    for choice in choices * 2:
        label, option, words = choice
        start = time.monotonic()
        ptq.choose(label, option)
        ptq.wait_for(lambda words=words: words in ptq.words() and "on all " in ptq.words(), f"{option}, at rest")
        seconds[choice].append(time.monotonic() - start)
    assert not {choice: times for choice, times in seconds.items() if min(times) > 1}
