"""Sorting by counting, against NumPy's sort: the same numbers in the same order."""

import numpy as np
import pytest

from course_lib.kernels import sorting
from course_lib.machine import ways
from course_lib.numerics import clustering as sharing
from tests.unit.kernels import portable_sorting


def test_on_this_processor():
    portable_sorting.trial()


def test_every_number_of_a_few_bits():
    """All patterns of the upper 16 bits, NaN among them: in order as signed magnitudes, −0 before 0."""
    bits = np.arange(2**16, dtype=np.uint32) << 16
    mixed = np.random.default_rng(0).permutation(bits)
    sorting.sort_floats(mixed, np.empty_like(mixed))
    negative, others = bits[bits >> 31 == 1], bits[bits >> 31 == 0]
    assert mixed.tolist() == [*negative[::-1].tolist(), *others.tolist()]
    x = mixed.view(np.float32)
    x = x[~np.isnan(x)]
    assert (x[1:] >= x[:-1]).all()


@pytest.mark.parametrize("way", ways.WAYS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_kmeans_is_the_same_both_ways(way, dtype):
    x = np.random.default_rng(3).standard_normal(sharing.FEW).astype(dtype)
    with ways.forced("vector"):
        expected = sharing.kmeans(x, 40)
    with ways.forced(way):
        found = sharing.kmeans(x, 40)
        with pytest.raises(ValueError, match="NaN"):
            sharing.kmeans(np.where(x == x[7], dtype(np.nan), x), 3)
        with pytest.raises(ValueError, match="NaN"):
            sharing.kmeans(np.where(x == x[7], -dtype(np.nan), x), 3)   # sorts to the other end
    for a, b in zip(expected, found):
        np.testing.assert_array_equal(a, b)
