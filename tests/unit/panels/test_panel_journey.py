"""The journey panel without a browser: each step against the quantizer, what it tells and when, what it draws."""

import io
import itertools

import numpy as np
import pytest
from PIL import Image

from course_lib.numerics import dequantize, qparams_from_range, quantize
from course_lib.panels import JourneyPanel
from course_lib.panels.journey import HIGH, LOW, STEPS, JourneyState


@pytest.fixture(scope="module")
def panel():
    return JourneyPanel()


def compute(panel, **values):
    return panel.compute(JourneyState(**values))


@pytest.mark.parametrize("bits", [2, 3, 4, 5])
@pytest.mark.parametrize("scheme", ["symmetric", "affine"])
def test_every_weight_gets_the_code_and_the_way_back_of_the_library(panel, bits, scheme):
    p = qparams_from_range(LOW, HIGH, bits=bits, scheme=scheme, dtype=np.float64)
    for r in np.arange(-160, 161) / 100:
        result = compute(panel, r=float(r), bits=bits, scheme=scheme)
        assert result.code == quantize(np.array(r), p)
        assert result.r_hat == dequantize(quantize(np.array(r), p), p)


def test_a_weight_by_hand(panel):
    """Seven codes over [−1, 1]: a step of 1/3. 0.45 is 1.35 steps."""
    result = compute(panel, r=0.45)
    assert result.scaled == pytest.approx(1.35) and (result.rounded, result.shifted, result.code) == (1, 1, 1)
    assert result.r_hat == pytest.approx(1 / 3) and not result.clipped


def test_past_the_range_it_is_clipping_that_moves_it(panel):
    result = compute(panel, r=1.4)
    assert (result.rounded, result.code, result.clipped) == (4, 3, True)
    assert result.r_hat == 1.0


def test_affine_keeps_a_code_for_zero_and_shifts_by_it(panel):
    result = compute(panel, r=0.0, bits=4, scheme="affine")
    assert (result.rounded, result.code, result.r_hat) == (0, 5, 0.0)
    below = compute(panel, r=-0.7, bits=4, scheme="affine")
    assert (below.rounded, below.shifted, below.code, below.r_hat) == (-7, -2, 0, -0.5)


def test_tells_no_more_than_the_step_has_reached(panel):
    panel.reset()
    told = ["in steps it is 1.35", "rounded 1", "which is its code", "comes back as 0.333"]
    for step in range(len(STEPS)):
        words = panel.set(step=step).shown.text
        assert [text in words for text in told] == [place < step for place in range(4)], words
        assert STEPS[step] in words
        unknown = [number == "?" for number, _ in panel._tiles.tiles]
        assert unknown == [False, step < 1, step < 3, step < 4]
    panel.reset()


def test_draws_an_error_only_where_something_was_lost(panel):
    lost = lambda: np.nan_to_num(panel._moved.get_xdata()[1::3]) - np.nan_to_num(panel._moved.get_xdata()[::3])  # noqa
    panel.set(r=1.4, step=4).refresh()
    np.testing.assert_allclose(lost(), [-1.4 + 4 / 3, 1 - 4 / 3, 1 - 1.4])        # round, clip, in all
    panel.set(r=1.0).refresh()
    np.testing.assert_allclose(lost(), 0, atol=1e-12)
    panel.set(r=1.4, step=1).refresh()
    assert len(panel._moved.get_xdata()) == 0
    panel.reset()


def test_every_corner_of_the_controls_is_a_picture(panel):
    for step, r, bits, scheme in itertools.product((0, 4), (-1.6, 0.0, 1.6), (2, 5), ("symmetric", "affine")):
        shown = panel.set(step=step, r=r, bits=bits, scheme=scheme).shown
        assert panel.error is None
        assert "nan" not in shown.text and "inf" not in shown.text and "-" not in shown.text
        assert Image.open(io.BytesIO(shown.png)).size == JourneyPanel.size
    panel.reset()


def test_each_step_and_each_ruler_is_another_picture_and_the_same_state_the_same(panel):
    pictures = [panel.set(step=step).shown.png for step in range(len(STEPS))]
    assert len(set(pictures)) == len(STEPS)
    assert panel.set(bits=5).shown.png != pictures[-1]
    panel.reset()
    assert panel.shown.png == pictures[-1]
