"""Shifted images: what each transform does, and what calibration on them does."""

import numpy as np
import pytest

from course_lib.ptq import add_noise, invert, rotate

RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(size=(5, 2, 28, 28)).astype(np.float32)


def test_quarter_turns_move_pixels_counterclockwise():
    for turns in range(-1, 5):
        turned = rotate(IMAGES, 90 * turns)
        assert turned.dtype == np.float32
        np.testing.assert_allclose(turned, np.rot90(IMAGES, turns, axes=(2, 3)), atol=1e-5)


def test_a_turn_stays_in_range_and_brings_in_zeros():
    turned = rotate(IMAGES + 0.5, 45)
    assert turned.min() == 0 and turned.max() <= 1.5 and (turned[:, :, 0, 0] == 0).all()


def test_invert_twice_is_the_image():
    assert np.allclose(invert(invert(IMAGES)), IMAGES, atol=1e-6)
    assert invert(np.zeros((1, 1, 2, 2), np.float32)).min() == 1


def test_noise_is_the_generators_and_of_its_width():
    grey = np.full((20, 1, 28, 28), 0.5, np.float32)
    noisy = add_noise(grey, 0.1, rng=np.random.default_rng(1))
    assert noisy.std() == pytest.approx(0.1, rel=0.03) and noisy.dtype == np.float32
    assert np.array_equal(noisy, add_noise(grey, 0.1, rng=np.random.default_rng(1)))
    strong = add_noise(IMAGES, 2.0, rng=np.random.default_rng(1))
    assert strong.min() == 0 and strong.max() == 1
    assert np.array_equal(add_noise(IMAGES, 0, rng=RNG), IMAGES)


def test_refusals():
    with pytest.raises(ValueError, match=r"images has shape \(28, 28\); it should be \(n, channels, height, width\)"):
        invert(IMAGES[0, 0])
    with pytest.raises(ValueError, match="images has dtype uint8"):
        rotate(np.zeros((1, 1, 4, 4), np.uint8), 3)
    with pytest.raises(ValueError, match="degrees=nan must be finite"):
        rotate(IMAGES, float("nan"))
    with pytest.raises(ValueError, match="sigma=-1 must be a number, 0 or more"):
        add_noise(IMAGES, -1, rng=RNG)
    with pytest.raises(TypeError, match="rng is a NoneType"):
        add_noise(IMAGES, 1, rng=None)
