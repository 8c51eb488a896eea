"""Deep Compression's weights, multiplied as they are: shared values behind a codebook, columns behind a relative index.

A weight is one byte: 4 bits say how many zeros come before it and 4 bits which of 15 values it is (0: a filler). With 16
to 32 values it is two bytes, 10 bits and 6. See ``coding.sparse_index`` for the gaps and their fillers.

A running sum of gaps gives one column after the other, which a processor that computes in vectors cannot use; so sixteen
rows run side by side, entry by entry. Rows of about the same length stand together (they are sorted), because the
shorter ones wait for the longest with empty entries.
"""

from dataclasses import dataclass

import numpy as np

from course_lib.coding import relative_index
from course_lib.kernels import sparse as kernels
from course_lib.products.sparse import checked_shape, checked_vectors, checked_weights, share_rows

LANES = 16
GRAIN = 10_000                  # steps of sixteen entries that are worth a thread of their own


@dataclass(frozen=True)
class DeepCompressed:
    """Sparse weights with few different values: codes and gaps, sixteen rows side by side. Made by ``from_dense``.

    Attributes
    ----------
    entries : uint8 or uint16 ndarray, (16 · steps,)
        gap · 16 + code in a byte, gap · 64 + code in two; code 0 is a filler, code c the value ``codebook[c − 1]``.
        Entry t of the row in lane l of group g is entries[16 (group_starts[g] + t) + l].
    group_starts : int64 ndarray, (groups + 1,)
    rows : int32 ndarray, (16 · groups,), the row in each lane; m where the last group has none
    codebook : float32 ndarray, (k,), k ≤ 15 for one byte, ≤ 32 for two
    shape : (m, n)
    """

    entries: np.ndarray
    group_starts: np.ndarray
    rows: np.ndarray
    codebook: np.ndarray
    shape: tuple

    @classmethod
    def from_dense(cls, w):
        """``w`` itself, without any loss: at most 32 different values beside zero (share them first, by k-means).

        Parameters
        ----------
        w : float32 ndarray, (m, n)

        Raises
        ------
        TypeError, ValueError
            Another dtype or shape; more than 32 values.

        Examples
        --------
        >>> w = DeepCompressed.from_dense(np.array([[0, 0, 5, 0, 7], [0, 0, 0, 0, 0]], np.float32))
        >>> w.codebook.tolist(), w.entries[:32:16].tolist()         # two zeros and value 1, one zero and value 2
        ([5.0, 7.0], [33, 18])
        """
        w = checked_weights(w, "w", 2)
        m, n = checked_shape(w.shape)
        values, which = np.unique(w[w != 0], return_inverse=True)
        if values.size > 32:
            raise ValueError(f"w has {values.size} different values beside zero; a codebook here has 32 at most: "
                             "share the weights first, by cl.numerics.share_weights or the like")
        codes = np.zeros(w.shape, np.uint8)
        codes[w != 0] = which + 1
        narrow = values.size <= 15
        index = relative_index(codes, 4 if narrow else 10)
        steps = np.diff(index.row_starts)
        order = np.argsort(-steps, kind="stable")
        groups = -(-m // LANES)
        rows = np.full(groups * LANES, m, np.int32)
        rows[:m] = order
        group_starts = np.concatenate([[0], np.cumsum(steps[order[::LANES]])]).astype(np.int64)
        lane_of = np.empty(m, np.int64)
        lane_of[order] = np.arange(m)
        lane = np.repeat(lane_of, steps)                                        # of each entry
        t = np.arange(index.gaps.size) - np.repeat(index.row_starts[:-1], steps)
        entries = np.zeros(LANES * int(group_starts[-1]), np.uint8 if narrow else np.uint16)
        packed = (index.gaps.astype(np.int64) << (4 if narrow else 6)) | index.values
        entries[LANES * (group_starts[lane // LANES] + t) + lane % LANES] = packed
        return cls(entries, group_starts, rows, values, w.shape)

    def to_dense(self):
        """The matrix with its zeros: float32 ndarray, (m, n)."""
        dense = np.zeros(self.shape, np.float32)
        bits = 4 if self.entries.dtype == np.uint8 else 6
        values = np.concatenate([[0], self.codebook]).astype(np.float32)
        for g, (start, stop) in enumerate(zip(self.group_starts[:-1], self.group_starts[1:])):
            here = self.entries[LANES * start : LANES * stop].reshape(-1, LANES).astype(np.int64)
            columns = np.cumsum((here >> bits) + 1, axis=0) - 1
            codes = here % 2**bits
            rows = np.broadcast_to(self.rows[LANES * g : LANES * (g + 1)], here.shape)
            dense[rows[codes != 0], columns[codes != 0]] = values[codes[codes != 0]]
        return dense

    @property
    def nbytes(self):
        """Bytes of everything that the product needs: entries, starts, rows and codebook."""
        return self.entries.nbytes + self.group_starts.nbytes + self.rows.nbytes + self.codebook.nbytes


def matmul_codebook(w, x, *, threads=None):
    """y[r] = Σ w[r, c] x[c] over the weights that are stored, from their codes and gaps.

    Parameters
    ----------
    w : DeepCompressed, (m, n)
    x : float32 ndarray, (n,) or (batch, n)
    threads : int, by default ``cl.threads()``; it changes the time and nothing else

    Returns
    -------
    y : float32 ndarray, (m,) or (batch, m)
    """
    m, n = w.shape
    x = checked_vectors(x, n)
    y = np.empty(x.shape[:-1] + (m,), np.float32)
    table = np.zeros(32, np.float32)
    if w.entries.dtype == np.uint8:
        table[1 : 1 + w.codebook.size] = w.codebook
        table[16:] = table[:16]
    else:
        table[np.arange(1, 1 + w.codebook.size) % 32] = w.codebook

    def each(first, last):
        for image, out in zip(np.atleast_2d(x), np.atleast_2d(y)):
            kernels.codebook(w.entries, w.group_starts[first : last + 1], w.rows[LANES * first : LANES * last], table,
                             image, out)

    share_rows(each, w.group_starts, threads, GRAIN)
    return y
