"""The UCI handwritten digits that come inside scikit-learn, drawn at MNIST's size.

The file is read straight from the package: importing scikit-learn would cost seconds and 100 MB for 57 kB of data.

Source: Alpaydin and Kaynak 1998, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository.
"""

import gzip
import importlib.util
import zlib
from pathlib import Path

import numpy as np

from course_lib.data.idx import DataFileError

SPLIT_SEED = 0
TEST_COUNT = 500  # of 1797: enough for a standard error below one point
DRAWN, SIDE = 20, 28  # as in MNIST: the digit fills 20×20, in the middle of 28×28


def digits_path():
    """Where scikit-learn keeps the digits, found without importing it.

    Raises
    ------
    FileNotFoundError
        scikit-learn is not installed, or it carries no digits where they are expected.
    """
    spec = importlib.util.find_spec("sklearn")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("scikit-learn, which brings the UCI digits, is not here: pip install scikit-learn")
    path = Path(spec.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz"
    if not path.is_file():
        raise FileNotFoundError(f"scikit-learn has no digits at {path}: reinstall it")
    return path


def load_digits():
    """The 1797 digits as 28×28 images, split into training and test.

    Returns
    -------
    (train_images, train_labels, test_images, test_labels)
        uint8: (1297, 28, 28), (1297,), (500, 28, 28), (500,). Always the same split, on every platform.
    """
    path = digits_path()
    try:
        with gzip.open(path, "rt") as lines:
            table = np.loadtxt(lines, delimiter=",", dtype=np.int64)
    except (EOFError, OSError, ValueError, zlib.error) as error:
        raise DataFileError(f"{path}: not the table of digits scikit-learn ships ({error})") from error
    if table.ndim != 2 or table.shape[1] != 65 or table.min() < 0 or table[:, :64].max() > 16 or table[:, 64].max() > 9:
        raise DataFileError(f"{path}: {table.shape} numbers; it should be rows of 64 pixels from 0 to 16 and one label")
    images = enlarge(table[:, :64].reshape(-1, 8, 8))
    labels = table[:, 64].astype(np.uint8)
    order = _fixed_order(len(labels))
    test, train = order[:TEST_COUNT], order[TEST_COUNT:]
    return images[train], labels[train], images[test], labels[test]


def enlarge(small):
    """Bilinear scaling of (n, 8, 8) pixels 0…16 to (n, 28, 28) pixels 0…255, in whole numbers.

    The centre of pixel i of the 20 drawn lies at 0.4 i - 0.3 on the axis of the 8 given. In tenths that is an
    integer, so the result is exact and the same everywhere.
    """
    tenths = np.clip(4 * np.arange(DRAWN) - 3, 0, 70)
    left = np.minimum(tenths // 10, 6)
    weights = np.zeros((DRAWN, 8), np.int64)  # each row: how much of the 8 given pixels, in tenths
    weights[np.arange(DRAWN), left] = 10 - (tenths - 10 * left)
    weights[np.arange(DRAWN), left + 1] = tenths - 10 * left
    drawn = weights @ small.astype(np.int64) @ weights.T  # (n, 20, 20), 0…1600
    border = (SIDE - DRAWN) // 2
    large = np.zeros((len(small), SIDE, SIDE), np.uint8)
    large[:, border:-border, border:-border] = (drawn * 255 + 800) // 1600
    return large


def _fixed_order(count):
    # The raw stream of PCG64 is promised never to change; Generator.permutation is not.
    return np.argsort(np.random.PCG64(SPLIT_SEED).random_raw(count), kind="stable")
