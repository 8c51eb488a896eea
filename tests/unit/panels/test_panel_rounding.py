"""The rounding panel without a browser: what it computes, what it says, what it draws."""

import io

import numpy as np
import pytest
from PIL import Image

from course_lib.panels import RoundingPanel
from course_lib.panels.rounding import GRIDS, RUNS, RoundingState


@pytest.fixture(scope="module")
def panel():
    return RoundingPanel()


def compute(panel, **values):
    return panel.compute(RoundingState(**values))


def test_to_the_nearest_it_stops_at_768_where_the_step_is_less_than_half_the_gap(panel):
    result = compute(panel)
    assert result.path[:, 0].tolist()[-3:] == [768.0] * 3 and result.last_move == 6
    assert (result.lr, result.wanted, result.gap) == (0.09375, 48.0, 128.0)
    assert result.stuck == (768.0, 1536.0)


def test_stochastic_runs_move_and_their_mean_follows_exact_arithmetic(panel):
    result = compute(panel, rounding="stochastic")
    assert result.path.shape == (41, RUNS)
    assert set(result.path[-1]) <= {768.0, 896.0, 1024.0, 1280.0}
    error = result.path.mean(axis=1) - result.exact
    assert np.all(np.abs(error) <= 5 * np.maximum(result.path.std(axis=1), 1) / np.sqrt(RUNS))


@pytest.mark.parametrize("state", [{}, {"rounding": "stochastic"},
                                   {"format": "fp16", "rounding": "down", "start": 2000}])  # fmt: skip
def test_what_rounding_added_makes_the_difference_of_every_step(panel, state):
    result = compute(panel, **state)
    step = result.path[:-1] - result.lr * 2 * (result.path[:-1] - 1024)
    np.testing.assert_allclose(result.path[1:], step + np.diff(result.added, axis=0), rtol=1e-12)
    assert np.all(result.added[0] == 0)


def test_up_arrives_from_below_and_stays_where_it_is_from_above(panel):
    assert compute(panel, rounding="up").end == 1024
    above = compute(panel, rounding="up", start=2000)
    assert above.end == 2048 and above.last_move == 0
    assert (above.wanted, above.gap) == (192, 256), "below a power of two the gap is half as wide"


def test_a_large_learning_rate_leaves_no_place_to_be_stuck(panel):
    assert compute(panel, lr=0.25).stuck is None
    assert compute(panel, lr=0.25).end == 1024


def test_e4m3_ends_at_its_largest_number(panel):
    assert compute(panel, format="e4m3", steps=100).end == 448


@pytest.mark.parametrize("format", GRIDS)
@pytest.mark.parametrize("rounding", ["nearest", "down", "up", "toward_zero", "stochastic"])
def test_every_corner_of_the_controls_is_a_picture(panel, format, rounding):
    for start, lr, steps in ((1, 0.005, 10), (2048, 0.5, 10), (1024, 0.5, 20), (1, 0.5, 20)):
        panel.set(format=format, rounding=rounding, start=start, lr=lr, steps=steps)
        shown = panel.shown
        assert panel.error is None
        assert np.isfinite(shown.result.path).all() and np.isfinite(shown.result.added).all()
        assert "nan" not in shown.text and "inf" not in shown.text
    assert Image.open(io.BytesIO(shown.png)).size == RoundingPanel.size
    panel.reset()


def test_the_same_state_gives_the_same_picture(panel):
    first = panel.set(rounding="stochastic").shown.png
    panel.reset()
    assert panel.shown.png != first
    assert panel.set(rounding="stochastic").shown.png == first
    panel.reset()


def test_says_in_words_where_and_why_it_stops(panel):
    words = panel.shown.text
    assert "e5m2" in words and "after 40 steps x is 768" in words
    assert "stuck from 768 to 1536" in words
    assert "the step wanted is 48, the gap to the next number 128" in words
