"""The relative index: the source's example, its edges, and its definition."""

import numpy as np
import pytest

from course_lib.coding import from_relative_index_plain, relative_index, relative_index_plain


def entries(w, bits):
    index = relative_index(np.array(w), bits)
    return list(zip(index.gaps.tolist(), index.values.tolist()))


def test_the_figure_of_the_source():
    """Values at 1, 4 and 15 in 3 bits: the filler is at 12, eight steps after 4."""
    row = np.zeros(16)
    row[[1, 4, 15]] = 3.4, 0.9, 1.7
    index = relative_index(row, 3)
    assert index.gaps.tolist() == [1, 2, 7, 2] and index.values.tolist() == [3.4, 0.9, 0, 1.7]
    assert index.columns().tolist() == [1, 4, 12, 15]
    assert (index.fillers, index.index_bits, index.bits, index.shape) == (1, 12, 3, (16,))


@pytest.mark.parametrize(("row", "expected"), [
    ([], []),
    ([0, 0, 0, 0, 0, 0, 0, 0, 0], []),                                  # all zero, however long
    ([5], [(0, 5)]),
    ([0, 0, 0, 5], [(3, 5)]),                                           # the longest gap without a filler
    ([0, 0, 0, 0, 5], [(3, 0), (0, 5)]),                                # a filler, and nothing between it and the value
    ([0, 0, 0, 0, 0, 0, 0, 5], [(3, 0), (3, 5)]),
    ([0, 0, 0, 0, 0, 0, 0, 0, 5], [(3, 0), (3, 0), (0, 5)]),            # two fillers, already before the first value
    ([5, 0, 0, 0, 0, 0, 0], [(0, 5)]),                                  # zeros at the end take nothing
    ([1, 2, 0, 3], [(0, 1), (0, 2), (1, 3)]),
])
def test_edges_with_two_bits(row, expected):
    assert relative_index_plain(row, 2) == entries(row, 2) == expected
    assert from_relative_index_plain(expected, len(row)) == row
    assert relative_index(np.array(row), 2).to_dense().tolist() == row


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 8, 10, 16])
@pytest.mark.parametrize("density", [0, 0.01, 0.1, 0.5, 1])
def test_every_row_by_itself_as_in_the_definition(bits, density):
    rng = np.random.default_rng(bits)
    w = rng.integers(1, 100, (12, 700)) * (rng.random((12, 700)) < density)
    w[3] = w[11] = 0
    index = relative_index(w, bits)
    assert index.gaps.dtype == (np.uint8 if bits <= 8 else np.uint16) and index.values.dtype == w.dtype
    fillers = 0
    for row, start, end in zip(w.tolist(), index.row_starts[:-1], index.row_starts[1:]):
        plain = relative_index_plain(row, bits)
        assert list(zip(index.gaps[start:end].tolist(), index.values[start:end].tolist())) == plain
        assert from_relative_index_plain(plain, 700) == row
        fillers += sum(value == 0 for _, value in plain)
    assert index.fillers == fillers == index.gaps.size - np.count_nonzero(w)
    assert index.index_bits == bits * index.gaps.size
    assert np.array_equal(index.to_dense(), w)


def test_wider_gaps_need_fewer_fillers():
    w = np.random.default_rng(0).random((100, 1000)) < 0.09
    fillers = [relative_index(w.astype(np.uint8), bits).fillers for bits in range(1, 9)]
    assert fillers == sorted(fillers, reverse=True) and fillers[-1] == 0
    share = np.array(fillers) / w.sum()                                 # after z zeros in a row: 0.91^(2^b) / (1 − …)
    expected = [0.91 ** 2**bits / (1 - 0.91 ** 2**bits) for bits in range(1, 9)]
    np.testing.assert_allclose(share[:5], expected[:5], rtol=0.1, atol=0.01)


@pytest.mark.parametrize("shape", [(0,), (0, 5), (5, 0), (0, 0), (1, 1)])
def test_empty_shapes(shape):
    index = relative_index(np.zeros(shape, np.float32), 4)
    assert index.gaps.size == index.fillers == 0
    assert index.to_dense().shape == shape and index.to_dense().dtype == np.float32


def test_nan_is_a_value_and_negative_zero_is_none():
    index = relative_index(np.array([-0.0, np.nan, 0, -np.inf]), 4)
    assert index.gaps.tolist() == [1, 1] and index.fillers == 0
    np.testing.assert_array_equal(index.to_dense(), [0, np.nan, 0, -np.inf])


@pytest.mark.parametrize(("w", "bits", "error", "message"), [
    (np.zeros(3), 0, ValueError, "bits=0 must be a whole number from 1 to 16"),
    (np.zeros(3), 17, ValueError, "bits=17"),
    (np.zeros((2, 2, 2)), 4, ValueError, r"w has shape \(2, 2, 2\); it must be"),
    (np.float64(1), 4, ValueError, "w has shape"),
    (np.array(["a"]), 4, TypeError, "w has dtype <U1"),
    (np.zeros(3, complex), 4, TypeError, "w has dtype complex128"),
])
def test_errors_name_the_argument(w, bits, error, message):
    with pytest.raises(error, match=message):
        relative_index(w, bits)


def test_gaps_that_leave_the_row_are_refused():
    index = relative_index(np.array([[0, 0, 1], [1, 0, 1]]), 4)
    index.gaps[2] = 9
    with pytest.raises(ValueError, match="gaps lead to column 10; rows of n = 3 end at 2"):
        index.to_dense()
