"""Products of few-bit codes, bit by bit: planes of bits are anded, counted and summed with their weights.

Codes of a bits meet codes of b bits in a · b products of bits, so the cost grows with the product of the widths: one
bit is very cheap, and at a few bits the processor's own 8-bit products overtake.
"""

from dataclasses import dataclass
from enum import Enum
from functools import cache, cached_property

import numpy as np

from course_lib.arguments import as_array, choose, whole_number
from course_lib.kernels import bits as kernels
from course_lib.machine import pool, simd
from course_lib.products.rows import LARGEST_SUM

_WORK_OF_A_PART = 240_000       # products of 512 bits: some 90 µs, as long as a sleeping thread takes to wake


class Coding(Enum):
    """What the b bits of a code stand for."""

    UNSIGNED = "unsigned"       # 0 … 2^b − 1
    SIGNED = "signed"           # −2^(b−1) … 2^(b−1) − 1, two's complement: the top plane counts negative
    BIPOLAR = "bipolar"         # −(2^b − 1), …, −1, 1, …, 2^b − 1, odd numbers: each bit is ±1


@cache
def plane_weights(bits: int, coding: Coding) -> tuple[np.ndarray, np.int32]:
    """(factors, offset): a code is offset + Σᵢ factors[i] · bit i."""
    factors = 1 << np.arange(bits, dtype=np.int32)
    if coding is Coding.SIGNED:
        factors[-1] = -factors[-1]
    if coding is Coding.BIPOLAR:
        return 2 * factors, np.int32(1 - 2**bits)
    return factors, np.int32(0)


def matmul_bitserial_plain(w: np.ndarray, x: np.ndarray, w_bits: int, x_bits: int) -> list[int]:
    """One vector of unsigned codes: y[r] = Σᵢⱼ 2^(i + j) popcount(plane i of w[r] and plane j of x). The definition."""
    def plane(codes, i):                                            # as one long whole number, code k in bit k
        return sum((int(code) >> i & 1) << k for k, code in enumerate(codes))

    return [
        sum((plane(row, i) & plane(x, j)).bit_count() << i + j for i in range(w_bits) for j in range(x_bits))
        for row in w
    ]


@dataclass(frozen=True, eq=False)
class BitPlanes:
    """Codes of a few bits, taken apart into planes of bits, 16 rows side by side. Made by :meth:`from_dense`.

    ``words`` is uint32, (⌈rows / 16⌉, bits, words · 16): word k of plane i of row 16 g + l is words[g, i, 16 k + l],
    and code 32 k + j of a row is in bit j of its word k. What is not a code is 0. ``shape`` is that of the codes:
    (rows, n), or (n,) for one vector.
    """

    words: np.ndarray
    shape: tuple[int, ...]
    bits: int
    coding: Coding

    @classmethod
    def from_dense(cls, codes: np.ndarray, bits: int, coding: Coding | str, *,
                   threads: int | None = None) -> "BitPlanes":
        """Take codes apart.

        Parameters
        ----------
        codes : int8 or uint8 ndarray, (rows, n) or (n,)
        bits : int, 1 to 8 (bipolar codes: 1 to 7)
        coding : Coding, or its name: "unsigned", "signed" (two's complement) or "bipolar" (odd numbers)
        threads : int, by default ``cl.threads()``

        Raises
        ------
        TypeError, ValueError
            Another dtype or number of axes; a code that is not one of this coding.
        """
        coding = choose(Coding, coding, "coding")
        bits = whole_number(bits, "bits", 1, 7 if coding is Coding.BIPOLAR else 8)
        codes = _checked(codes, bits, coding)
        if coding is Coding.BIPOLAR:
            codes = (codes.astype(np.int16) + 2**bits - 1) >> 1
        rows = as_rows(codes.astype(np.uint8, copy=False))
        words = no_words(len(rows), bits, rows.shape[1])
        pool.run(lambda a, b: kernels.pack_planes(rows[a:b], bits, a, words), len(rows), threads=threads,
                 align=kernels.ROWS, grain=rows_of_a_part(rows.shape[1] * bits))
        return cls(words, codes.shape, bits, coding)

    def to_dense(self) -> np.ndarray:
        """The codes: int8, or uint8 for unsigned ones."""
        groups, planes, long = self.words.shape
        rows, n = 1 if len(self.shape) == 1 else self.shape[0], self.shape[-1]
        words = self.words.reshape(groups, planes, long // kernels.ROWS, kernels.ROWS).transpose(0, 3, 1, 2)
        rows_of_bytes = np.ascontiguousarray(words, "<u4").view(np.uint8)
        rows_of_bytes = rows_of_bytes.reshape(groups * kernels.ROWS, planes, long // 4)
        planes_of_rows = np.unpackbits(rows_of_bytes[:rows], axis=2, count=n, bitorder="little")    # (rows, bits, n)
        factors, offset = self.weights
        codes = np.tensordot(factors, planes_of_rows, (0, 1)) + offset
        return codes.astype(np.uint8 if self.coding is Coding.UNSIGNED else np.int8).reshape(self.shape)

    @cached_property
    def weights(self) -> tuple[np.ndarray, np.int32]:
        """(factors, offset): a code is offset + Σᵢ factors[i] · bit i."""
        return plane_weights(self.bits, self.coding)

    @cached_property
    def sums(self) -> np.ndarray:
        """Σᵢ factors[i] · bit i of all codes of a row, int32, for whole blocks of 16 rows."""
        ones = np.bitwise_count(self._neighbours).sum((2, 3), dtype=np.int32)                   # (groups, bits, 16)
        return np.tensordot(self.weights[0], ones, (0, 1)).reshape(-1)

    @cached_property
    def pairs(self) -> np.ndarray:
        """How many pairs of neighbouring words' bits are both 1, int32, (groups · bits · 16,)."""
        words = self._neighbours
        return np.bitwise_count(words[:, :, :, 0] & words[:, :, :, 1]).sum(2, dtype=np.int32).reshape(-1)

    @property
    def _neighbours(self):
        groups, planes, long = self.words.shape
        return self.words.reshape(groups, planes, long // (2 * kernels.ROWS), 2, kernels.ROWS)

    @property
    def nbytes(self) -> int:
        """Bytes of the planes, with the zeros that fill them up."""
        return self.words.nbytes

    @property
    def largest(self) -> int:
        """The largest magnitude that a code can have."""
        return 2 ** (self.bits - 1) if self.coding is Coding.SIGNED else 2**self.bits - 1


def matmul_bitserial(w: BitPlanes, x: BitPlanes, *, threads: int | None = None) -> np.ndarray:
    """Few-bit codes of weights times few-bit codes of activations, exactly: y[r] = Σ_k w[r, k] x[k] for each sample.

    No weights or no samples give an empty result, sums of nothing (n = 0) give zeros.

    Parameters
    ----------
    w : BitPlanes of (m, n) codes
    x : BitPlanes of (n,) or (batch, n) codes; its width and coding may be others than those of ``w``
    threads : int, by default ``cl.threads()``
        How many threads share the rows of ``w``; it changes the time and nothing else.

    Returns
    -------
    y : int32 ndarray, (m,) or (batch, m)

    Raises
    ------
    TypeError, ValueError
        Not BitPlanes; shapes that do not match; n so large that 32 bits may overflow.

    Source: Umuroglu, Rasnayake, Själander 2018, "BISMO: a scalable bit-serial matrix multiplication overlay".

    Examples
    --------
    >>> w = BitPlanes.from_dense(np.array([[1, -2, 0], [1, 1, 1]], np.int8), 2, "signed")
    >>> matmul_bitserial(w, BitPlanes.from_dense(np.array([3, 2, 1], np.uint8), 2, "unsigned"))
    array([-1,  6], dtype=int32)
    """
    for name, value in (("w", w), ("x", x)):
        if not isinstance(value, BitPlanes):
            raise TypeError(f"{name} is {type(value).__name__}; it must be BitPlanes: BitPlanes.from_dense makes them")
    if len(w.shape) != 2:
        raise ValueError(f"w has shape {w.shape}; it must have 2 axes")
    n = w.shape[1]
    if x.shape[-1] != n:
        raise ValueError(f"x has shape {x.shape} and w {w.shape}; the last axes must be equally long")
    if n * w.largest * x.largest > LARGEST_SUM:
        raise ValueError(f"n = {n} products of up to {w.largest} · {x.largest} may overflow a 32-bit sum; n must not "
                         f"exceed {LARGEST_SUM // (w.largest * x.largest)}: split the sum and add the parts in 64 bits")
    samples, blocks, size = 1 if len(x.shape) == 1 else x.shape[0], len(w.words), w.words.shape[2]
    out = (simd.aligned if samples > 2 else np.empty)((samples * w.shape[0],), np.int32)
    (of_w, w_offset), (of_x, x_offset) = w.weights, x.weights
    arguments = (w.words.reshape(-1), x.words.reshape(-1), size // kernels.ROWS, of_w, of_x, w.sums, w.pairs, w_offset,
                 x_offset, n * int(w_offset) * int(x_offset))
    work = 1 + w.bits * x.bits * samples * (size // 16)              # products of 512 bits for a block of 16 rows

    def part(first, last):
        kernels.product(*arguments, first, last, w.shape[0], out)

    pool.run(part, blocks if samples else 0, threads=threads, grain=1 + _WORK_OF_A_PART // work)
    return out.reshape(x.shape[:-1] + (w.shape[0],))


def as_rows(x: np.ndarray) -> np.ndarray:
    """(rows, n), one row where x is a vector."""
    return np.ascontiguousarray(x.reshape(1 if x.ndim == 1 else len(x), x.shape[-1]))


def no_words(rows: int, bits: int, n: int) -> np.ndarray:
    """Zeroed words for so many rows of n codes."""
    words = -(-n // (32 * kernels.WORDS)) * kernels.WORDS
    zeros = simd.aligned((-(-rows // kernels.ROWS), bits, words * kernels.ROWS), np.uint32)
    zeros.fill(0)
    return zeros


def rows_of_a_part(codes: int) -> int:
    """How many rows of so many codes are worth a thread when they are packed."""
    return 1 + 400_000 // max(codes, 1)


def _checked(codes, bits, coding):
    """``codes``, if all of them are codes of this coding."""
    codes = as_array(codes, "codes")
    if codes.dtype not in (np.int8, np.uint8):
        raise TypeError(f"codes have dtype {codes.dtype}; they must be int8 or uint8: "
                        "use np.asarray(codes, np.uint8) where they fit")
    if codes.ndim not in (1, 2):
        raise ValueError(f"codes have shape {codes.shape}; they must have 1 or 2 axes")
    low, high = {Coding.UNSIGNED: (0, 2**bits - 1), Coding.SIGNED: (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1),
                 Coding.BIPOLAR: (1 - 2**bits, 2**bits - 1)}[coding]
    if codes.size and not (low <= codes.min() and codes.max() <= high):
        raise ValueError(f"codes run from {codes.min()} to {codes.max()}; "
                         f"{bits} bits ({coding.value}) hold {low} to {high}")
    if coding is Coding.BIPOLAR and codes.size and not (codes & 1).all():
        where = tuple(map(int, np.argwhere(codes & 1 == 0)[0]))
        raise ValueError(f"codes have {codes[where]} at index {where}; bipolar codes are odd: each of their bits is ±1")
    return codes
