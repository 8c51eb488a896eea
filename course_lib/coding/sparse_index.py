"""The relative index of Deep Compression: how many zeros were skipped, in place of the column.

Reading a row from the left, each entry is stored with the number of zeros since the entry before it (since the start
of the row, for the first): with b bits, 0 to 2^b − 1. Where more zeros come in a row, a *filler* stands in between: an
entry of value zero, 2^b − 1 zeros after the one before it. What follows the last entry needs no code, as n is known.

    row      0 3 0 0 1 0 0 0 0 0 0 0 0 0 0 7        3 bits, so up to 7 zeros are skipped
    gaps       1     2               7     2
    values     3     1               0     7        the third is a filler

Source: Han, Mao, Dally 2016, "Deep Compression", sec. 2 and fig. 2. (The figure prints the steps from index to index,
1 3 8 3, so its filler is the same; a step of 8 is stored in 3 bits as the seven zeros it skips. The decoder that the
authors published reads gaps as they are here, column = cumsum(gap + 1) − 1.)
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from course_lib.arguments import as_array, whole_number


@dataclass(frozen=True)
class RelativeIndex:
    """Entries of all rows, one after the other, fillers among them. What ``relative_index`` gives.

    Attributes
    ----------
    gaps : uint8 ndarray (uint16 above 8 bits), (entries,), zeros skipped before each entry
    values : ndarray, (entries,), the dtype of the weights; 0 in fillers and nowhere else
    row_starts : int64 ndarray, (m + 1,), where each row's entries begin
    shape : (m, n) or (n,), of the weights
    bits : int, of a gap
    """

    gaps: np.ndarray
    values: np.ndarray
    row_starts: np.ndarray
    shape: tuple
    bits: int

    @property
    def fillers(self) -> int:
        """How many entries are there only because zeros went on for too long."""
        return int(self.values.size - np.count_nonzero(self.values))

    @property
    def index_bits(self) -> int:
        """Bits of all gaps, those of fillers included."""
        return self.gaps.size * self.bits

    def columns(self) -> NDArray[np.int64]:
        """The column of each entry, int64: a running sum along each row.

        Raises
        ------
        ValueError
            A row runs past its end: the gaps are damaged, or are of another shape.
        """
        steps = np.cumsum(self.gaps.astype(np.int64) + 1)
        before = np.concatenate([[0], steps])[self.row_starts[:-1]]             # the sum up to each row
        columns = steps - np.repeat(before, np.diff(self.row_starts)) - 1
        if columns.size and columns.max() >= self.shape[-1]:
            raise ValueError(f"gaps lead to column {columns.max()}; rows of n = {self.shape[-1]} end at "
                             f"{self.shape[-1] - 1}: the gaps are damaged or shape is wrong")
        return columns

    def to_dense(self) -> np.ndarray:
        """The weights with their zeros, in their shape and dtype. Every zero is +0."""
        dense = np.zeros((len(self.row_starts) - 1, self.shape[-1]), self.values.dtype)
        rows = np.repeat(np.arange(len(dense)), np.diff(self.row_starts))
        dense[rows, self.columns()] = self.values
        return dense.reshape(self.shape)


def relative_index_plain(
    row: Sequence[float], bits: int
) -> list[tuple[int, float]]:
    """One row as a list of (zeros skipped, value). The definition."""
    largest, entries, skipped = 2**bits - 1, [], 0
    for value in row:
        if value == 0 and skipped < largest:
            skipped += 1
        elif value != 0:
            entries.append((skipped, value))
            skipped = 0
        else:                                                       # one zero too many: it is written down, as a filler
            entries.append((skipped, 0))
            skipped = 0
    while entries and entries[-1][1] == 0:                          # nothing comes after the last value
        entries.pop()
    return entries


def from_relative_index_plain(
    entries: Iterable[tuple[int, float]], n: int
) -> list[float]:
    """The row back from its (zeros skipped, value)."""
    row, at = [0] * n, -1
    for skipped, value in entries:
        at += skipped + 1
        row[at] = value
    return row


def relative_index(w: np.ndarray, bits: int) -> RelativeIndex:
    """Write sparse weights as gaps and values, with fillers where zeros go on for too long.

    −0 is a zero and NaN is none; rows of zeros, and zeros at the end of a row, take nothing; empty arrays are fine.

    Parameters
    ----------
    w : ndarray, (m, n), each row by itself, or (n,); real numbers or integer codes, whose zero means "pruned"
    bits : int, 1 to 16, of a gap: 2^bits − 1 zeros are skipped at most

    Returns
    -------
    RelativeIndex
        ``.to_dense()`` is the way back.

    Raises
    ------
    TypeError, ValueError
        ``w`` holds no numbers, or has another number of axes; ``bits`` is out of range.

    Examples
    --------
    >>> index = relative_index(np.array([0, 3, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]), 3)
    >>> index.gaps.tolist(), index.values.tolist(), index.fillers, index.index_bits
    ([1, 2, 7, 2], [3, 1, 0, 7], 1, 12)
    """
    w, bits = as_array(w, "w"), whole_number(bits, "bits", 1, 16)
    if w.dtype.kind not in "fiu":
        raise TypeError(f"w has dtype {w.dtype}; it must hold real numbers or integer codes")
    if w.ndim not in (1, 2):
        raise ValueError(f"w has shape {w.shape}; it must be (m, n) or (n,)")
    matrix = np.atleast_2d(w)
    rows, columns = np.nonzero(matrix)
    before = np.concatenate([[-1], columns])[:-1]                               # the column of the value before
    before[np.flatnonzero(np.diff(rows, prepend=-1))] = -1                      # the first value of a row has none
    zeros = columns - before - 1
    ends = np.cumsum((zeros >> bits) + 1)                                       # a value, after its fillers
    entries = int(ends[-1]) if ends.size else 0
    gaps = np.full(entries, 2**bits - 1, np.uint8 if bits <= 8 else np.uint16)
    values = np.zeros(entries, w.dtype)
    gaps[ends - 1] = zeros & (2**bits - 1)
    values[ends - 1] = matrix[rows, columns]
    last = np.cumsum(np.bincount(rows, minlength=len(matrix)))                  # values up to the end of each row
    row_starts = np.concatenate([[0], ends])[np.concatenate([[0], last])].astype(np.int64)
    return RelativeIndex(gaps, values, row_starts, w.shape, bits)
