"""The embedding panel, without a browser."""

import numpy as np
import pytest

from course_lib import embeddings
from course_lib.embeddings import RIM, Geometry
from course_lib.panels import EmbeddingPanel
from course_lib.panels.embeddings import QUICK, STEPS, EmbeddingState, rounded, shadow

SMALL = embeddings.full_tree(2, 2)


@pytest.fixture(scope="module")
def panel():
    return EmbeddingPanel(SMALL)


@pytest.mark.parametrize("dimension", [2, 3, 10])
@pytest.mark.parametrize("step", [0, 50, STEPS])
def test_the_score_is_that_of_the_points_at_that_step(panel, dimension, step):
    result = panel.compute(EmbeddingState(which="yours", dimension=dimension, step=step))
    for geometry in Geometry:
        wanted = embeddings.embed(SMALL, geometry, dimension, steps=STEPS).history[step // 10]
        assert np.array_equal(result.points[geometry], wanted)
        assert result.score[geometry] == embeddings.reconstruction(wanted, SMALL, geometry)
        assert dimension in result.visited[geometry]


def test_a_quick_answer_trains_less_and_says_so_until_the_full_one_is_there():
    panel = EmbeddingPanel(SMALL)
    state = EmbeddingState(which="yours", dimension=4)
    quick = panel.compute(state, quick=True)
    assert quick.quick and len(quick.course[Geometry.POINCARE][0]) == QUICK // 10 + 1
    assert not quick.visited[Geometry.POINCARE]
    assert "first" in panel.describe(quick)
    assert not panel.compute(state).quick
    assert not panel.compute(state, quick=True).quick, "what is trained is at hand"


@pytest.mark.parametrize("geometry", list(Geometry))
@pytest.mark.parametrize("bits", [4, 8, 16])
def test_rounding_keeps_points_in_the_ball_and_close(geometry, bits):
    points = np.random.default_rng(0).normal(size=(50, 3))
    points *= (1 - RIM) / np.linalg.norm(points, axis=1, keepdims=True)
    got = rounded(points, bits, geometry)
    step = 2 / (2**bits - 2)
    assert np.abs(got - points).max() < 1.1 * step
    assert geometry is Geometry.EUCLIDEAN or np.linalg.norm(got, axis=1).max() <= 1 - RIM + 1e-12
    assert rounded(points, 64, geometry) is points


def test_shadow_keeps_the_plane_and_never_stretches():
    flat = np.random.default_rng(0).normal(size=(20, 2))
    assert shadow(flat) is flat
    points = np.random.default_rng(0).normal(size=(20, 5)) * [1, 3, 0.1, 2, 0.5]
    seen = shadow(points)
    assert seen.shape == (20, 2) and np.all(np.linalg.norm(seen, axis=1) <= np.linalg.norm(points, axis=1) + 1e-12)
    assert seen.var(0).sum() > 0.8 * points.var(0).sum()


@pytest.mark.parametrize("start", [{}, {"dimension": 3, "step": 0}, {"which": "tree", "bits": 4}])
def test_draws_and_says_what_it_shows(start):
    shown = EmbeddingPanel(**start).shown
    assert shown.png.startswith(b"\x89PNG")
    for score in shown.result.score.values():
        assert f"{score:.3f}" in shown.text
