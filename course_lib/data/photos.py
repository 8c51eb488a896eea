"""Two photographs that come inside scikit-learn, read from its package without importing it.

Both are under the Creative Commons licence CC BY 2.0: china.jpg by danielbuechele, flower.jpg from the page of
vultilion, both on Flickr (scikit-learn's README beside the files).
"""

import importlib.util
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

PHOTOS = ("china", "flower")


def photo_path(name: str) -> Path:
    """Where scikit-learn keeps the photograph ``name``."""
    if name not in PHOTOS:
        raise ValueError(f"name is {name!r}; it should be one of {', '.join(map(repr, PHOTOS))}")
    spec = importlib.util.find_spec("sklearn")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("scikit-learn, which brings the photographs, is not here: pip install scikit-learn")
    path = Path(spec.submodule_search_locations[0]) / "datasets" / "images" / f"{name}.jpg"
    if not path.is_file():
        raise FileNotFoundError(f"scikit-learn has no photograph at {path}: reinstall it")
    return path


def photo(name: str) -> NDArray[np.uint8]:
    """The photograph ``"china"`` (a temple) or ``"flower"``, (427, 640, 3) uint8.

    Raises
    ------
    ValueError
        ``name`` is no photograph.
    FileNotFoundError
        scikit-learn is not installed.
    ImageError
        The file is damaged.
    """
    from course_lib.coding import read_image  # here, so that loading a data set does not wait for the compiled loops

    return read_image(photo_path(name))
