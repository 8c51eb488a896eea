"""Images that are not what a network was trained on: turned, inverted, noisy. For calibration that goes astray."""

import numpy as np

from course_lib.arguments import not_negative
from course_lib.nets.inputs import as_images

__all__ = ["add_noise", "invert", "rotate"]


def rotate(images: np.ndarray, degrees: float) -> np.ndarray:
    """Images turned about their centre, counterclockwise; what comes in from outside is 0.

    Numbers between pixels are linear in those around them, so nothing leaves the range of the image and zero; NaN
    spreads. A multiple of 90 degrees moves pixels of a square image without changing them, to float32 round-off.

    Parameters
    ----------
    images : (n, channels, height, width) of a float dtype
    degrees : float, finite

    Returns
    -------
    (n, channels, height, width) float32

    Raises
    ------
    ValueError
        Other axes; integers; ``degrees`` is not finite.
    """
    from scipy import ndimage  # takes a tenth of a second to import

    images = _checked(images)
    if not np.isfinite(degrees):
        raise ValueError(f"degrees={degrees!r} must be finite")
    return ndimage.rotate(images, degrees, axes=(3, 2), reshape=False, order=1)


def invert(images: np.ndarray) -> np.ndarray:
    """1 − x: black becomes white. For pixels from 0 to 1; twice gives the images again, to float32 round-off.

    Parameters
    ----------
    images : (n, channels, height, width) of a float dtype

    Returns
    -------
    the same, float32
    """
    return 1 - _checked(images)


def add_noise(images: np.ndarray, sigma: float, *, rng: np.random.Generator) -> np.ndarray:
    """Normal noise on every pixel, cut to [0, 1] as a camera would.

    Parameters
    ----------
    images : (n, channels, height, width) of a float dtype, pixels from 0 to 1
    sigma : float, 0 or more
        The standard deviation, before what leaves [0, 1] is cut.
    rng : numpy.random.Generator

    Returns
    -------
    (n, channels, height, width) float32

    Raises
    ------
    TypeError, ValueError
        Other axes; integers; ``sigma`` below zero or not finite; ``rng`` is no generator.
    """
    images, sigma = _checked(images), not_negative(sigma, "sigma")
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng is a {type(rng).__name__}; it should be a NumPy generator: np.random.default_rng(0)")
    return np.clip(images + np.float32(sigma) * rng.standard_normal(images.shape, np.float32), 0, 1)


def _checked(images):
    images = as_images(images, "images")
    if images.ndim != 4:
        raise ValueError(f"images has shape {images.shape}; it should be (n, channels, height, width)")
    return images
