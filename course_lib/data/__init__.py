"""The data sets: MNIST where it can be had, else the UCI digits that come with scikit-learn.

    >>> import course_lib as cl
    >>> digits = cl.data.load("digits")
    data: the UCI digits (1297 training and 500 test images), as asked. For MNIST: cl.data.load('mnist').
    >>> digits.test_x(3).shape
    (3, 1, 28, 28)
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from course_lib.data.cache import aside, cache_dir, cache_trouble, locked, locked_after_waiting, written_aside
from course_lib.data.digits import load_digits
from course_lib.data.idx import DataFileError, parse_idx
from course_lib.data.mnist import MnistUnavailable, find_mnist
from course_lib.data.photos import PHOTOS, photo, photo_path

__all__ = [
    "Dataset", "DataFileError", "MnistUnavailable", "NAMES", "PHOTOS", "aside", "cache_dir", "cache_trouble", "load",
    "locked", "locked_after_waiting", "photo", "photo_path", "written_aside",
]  # fmt: skip

NAMES = ("mnist", "digits")


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images and labels, split into training and test.

    Attributes
    ----------
    name : str, "mnist" or "digits"
    train_images, test_images : ndarray, (n, 28, 28), uint8, 0 is background
    train_labels, test_labels : ndarray, (n,), uint8, 0 to 9
    fingerprint : str, 12 hexadecimal digits that change when any byte of the four arrays does
    """

    name: str
    train_images: np.ndarray = field(repr=False)
    train_labels: np.ndarray = field(repr=False)
    test_images: np.ndarray = field(repr=False)
    test_labels: np.ndarray = field(repr=False)
    fingerprint: str = field(init=False)

    def __post_init__(self):
        for part in ("train", "test"):
            images, labels = getattr(self, f"{part}_images"), getattr(self, f"{part}_labels")
            right = images.dtype == labels.dtype == np.uint8 and images.ndim == 3 and labels.shape == images.shape[:1]
            if not right:
                raise DataFileError(
                    f"{self.name}: {part}_images is {images.dtype} {images.shape} and {part}_labels is {labels.dtype} "
                    f"{labels.shape}; they should be uint8 (n, height, width) and uint8 (n,)"
                )
        digest = hashlib.sha256()
        for array in (self.train_images, self.train_labels, self.test_images, self.test_labels):
            digest.update(repr(array.shape).encode())
            digest.update(np.ascontiguousarray(array))
        object.__setattr__(self, "fingerprint", digest.hexdigest()[:12])

    def train_x(self, n: int | None = None) -> NDArray[np.float32]:
        """The first ``n`` training images (all by default) as (n, 1, 28, 28) float32, pixel / 255."""
        return _to_real(self.train_images[:n])

    def test_x(self, n: int | None = None) -> NDArray[np.float32]:
        """The first ``n`` test images (all by default) as (n, 1, 28, 28) float32, pixel / 255."""
        return _to_real(self.test_images[:n])

    def train_y(self, n: int | None = None) -> NDArray[np.int64]:
        """The labels of ``train_x(n)``, (n,) int64."""
        return self.train_labels[:n].astype(np.int64)

    def test_y(self, n: int | None = None) -> NDArray[np.int64]:
        """The labels of ``test_x(n)``, (n,) int64."""
        return self.test_labels[:n].astype(np.int64)


def load(name: str | None = None, *, mirrors: Sequence[str] | None = None) -> Dataset:
    """Load a data set, and say in one line which one was taken.

    MNIST is looked for in ``$COURSE_DATA/mnist`` (or where torchvision puts it, ``MNIST/raw``), then in the user's
    cache, then on the network (11 MB, once). Without it, the UCI digits. A network that failed is left alone for a
    quarter of an hour, unless MNIST is asked for by name; with ``COURSE_OFFLINE=1`` it is never tried.

    Parameters
    ----------
    name : {"mnist", "digits"}, optional
        Insist on one. By default ``$COURSE_DATASET`` if it is set, else MNIST if it can be had.
    mirrors : sequence of str, optional
        Addresses of folders to download MNIST from, instead of the public ones.

    Returns
    -------
    Dataset

    Raises
    ------
    ValueError
        ``name`` (or ``$COURSE_DATASET``) is no data set.
    MnistUnavailable
        MNIST was asked for by name and is neither here nor to be downloaded.
    DataFileError
        A file in ``$COURSE_DATA/mnist`` is damaged, not the official one, or cannot be read.
    """
    asked = name or os.environ.get("COURSE_DATASET") or None
    if asked not in (None, *NAMES):
        where = "name" if name else "COURSE_DATASET"
        raise ValueError(f"{where} is {asked!r}; it should be one of {', '.join(map(repr, NAMES))}")
    if asked == "digits":
        return _digits("as asked" if name else "as COURSE_DATASET asks", "For MNIST: cl.data.load('mnist').")
    try:
        files, where = find_mnist(insist=asked == "mnist", mirrors=mirrors)
    except MnistUnavailable as error:
        get = "put the four files into a folder mnist/ and set COURSE_DATA to the folder that holds it"
        if "COURSE_OFFLINE" not in str(error):
            first = "connect" if "no network" in str(error) or "no connection" in str(error) else "mend that"
            get = f"{first} and call cl.data.load('mnist'), or {get}"
        if asked == "mnist":
            raise MnistUnavailable(f"MNIST is not here and was not downloaded: {error}. To get it, {get}.") from error
        return _digits(f"because MNIST was not downloaded: {error}", f"To get it, {get}.")
    dataset = Dataset("mnist", *(parse_idx(content, name=part) for part, content in files.items()))
    _say(dataset, "MNIST", f"from {where}", "For the UCI digits: cl.data.load('digits').")
    return dataset


def _digits(why, how_to_get_the_other):
    dataset = Dataset("digits", *load_digits())
    _say(dataset, "the UCI digits", why, how_to_get_the_other)
    return dataset


def _say(dataset, called, why, how_to_get_the_other):
    counts = f"{len(dataset.train_labels)} training and {len(dataset.test_labels)} test images"
    print(f"data: {called} ({counts}), {why}. {how_to_get_the_other}")


def _to_real(images):
    return (images.astype(np.float32) / np.float32(255))[:, None]  # (n, 28, 28) -> (n, 1, 28, 28)
