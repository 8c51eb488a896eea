"""4-bit weights, two in a byte, times 8-bit activations: half the memory to read, two shifts more to compute."""

from dataclasses import dataclass

import numpy as np

from course_lib.coding import pack, unpack
from course_lib.kernels import dense as kernels
from course_lib.products.int8 import matmul_int8_plain
from course_lib.products.rows import check_codes, check_no_overflow, split_rows, unsigned_samples


@dataclass(frozen=True)
class PackedInt4:
    """4-bit codes, two in a byte, row by row. Made by :meth:`from_dense`.

    Columns 0, 2, 4, … are in the low halves of the bytes, columns 1, 3, 5, … in the high ones. Where n is odd, the last
    half byte of each row is 0.
    """

    packed: np.ndarray              # (m, ⌈n / 2⌉) uint8
    shape: tuple[int, int]          # (m, n)

    @classmethod
    def from_dense(cls, w: np.ndarray) -> "PackedInt4":
        """Pack codes, without any loss.

        Parameters
        ----------
        w : int8 ndarray, (m, n), codes in [−8, 7]

        Raises
        ------
        TypeError, ValueError
            Another dtype or shape; a code outside [−8, 7].

        Examples
        --------
        >>> PackedInt4.from_dense(np.array([[1, -1, 7]], np.int8)).packed
        array([[241,   7]], dtype=uint8)
        """
        w = check_codes("w", w, (np.int8,), (2,))
        if w.size and (w.min() < -8 or w.max() > 7):
            raise ValueError(f"w has codes from {w.min()} to {w.max()}; 4 bits hold −8 to 7")
        even = np.pad(w, ((0, 0), (0, w.shape[1] % 2)))
        return cls(pack(even, 4).reshape(even.shape[0], even.shape[1] // 2), w.shape)

    def to_dense(self) -> np.ndarray:
        """The codes as they were, int8, (m, n)."""
        rows, half = self.packed.shape
        codes = unpack(self.packed.reshape(-1), 4, 2 * self.packed.size, signed=True)
        return codes.reshape(rows, 2 * half)[:, : self.shape[1]]

    @property
    def nbytes(self) -> int:
        """Bytes of the packed codes."""
        return self.packed.nbytes


def matmul_int4_plain(w: PackedInt4, x: np.ndarray) -> list[int]:
    """One vector: unpack, then multiply. The definition."""
    return matmul_int8_plain(w.to_dense(), x)


def matmul_int4(w: PackedInt4, x: np.ndarray, *, threads: int | None = None) -> np.ndarray:
    """Packed 4-bit codes of weights times integer codes of activations, exactly.

    The weights stay packed in memory; four rows at a time are unpacked into the cache. Empty as in ``matmul_int8``.

    Parameters
    ----------
    w : PackedInt4, (m, n)
    x : uint8 or int8 ndarray, (n,) or (batch, n)
    threads : int, by default ``cl.threads()``
        How many threads share the rows; it changes the time and nothing else.

    Returns
    -------
    y : int32 ndarray, (m,) or (batch, m)

    Raises
    ------
    TypeError, ValueError
        ``w`` is no PackedInt4; another dtype; shapes that do not match; n > 1 052 688 (uint8) or 2 097 151 (int8),
        where 32 bits may overflow.

    Examples
    --------
    >>> w = PackedInt4.from_dense(np.array([[1, -1, 7]], np.int8))
    >>> matmul_int4(w, np.array([10, 20, 255], np.uint8))
    array([1775], dtype=int32)
    """
    if not isinstance(w, PackedInt4):
        raise TypeError(f"w is {type(w).__name__}; it must be a PackedInt4: PackedInt4.from_dense(w)")
    x = check_codes("x", x, (np.uint8, np.int8), (1, 2))
    packed, (m, n) = w.packed, w.shape
    if x.shape[-1] != n:
        raise ValueError(f"x has shape {x.shape} and w {w.shape}; the last axes must be equally long")
    check_no_overflow(n, 8, x)
    samples, offset = unsigned_samples(x, n)
    second = -(-packed.shape[1] // 64) * 64                         # where the odd columns begin
    halves = np.zeros((len(samples), max(2 * second, 64)), np.uint8)
    halves[:, : -(-n // 2)], halves[:, second : second + n // 2] = samples[:, ::2], samples[:, 1::2]
    out = np.empty((len(samples), m), np.int32)
    split_rows(lambda first, stop: kernels.matmul_int4(packed[first:stop], halves, -offset, first, out), m,
               halves.shape[1] * (len(samples) + 3), threads=threads, align=4)
    return out.reshape(x.shape[:-1] + (m,))
