"""Products of bits: ±1 with ±1, and codes of a few bits plane by plane."""

from functools import partial

import numpy as np

from course_lib.bench.report import PLAIN
from course_lib.kernels import plain
from course_lib.measure import Case, Goal, Growth, Row
from course_lib.products import (
    BinaryMatrix,
    BitPlanes,
    PackedInt8,
    matmul_binary,
    matmul_bitserial,
    matmul_int8,
    pack_signs,
)

N = 4096
DENSE, INT8 = "torch float32", "our int8 product"
SIZES = (256, 512, 1024, 2048, 4096, 8192)
WIDTHS = (1, 2, 3, 4, 6, 8)


def rows() -> list[Row]:
    """The rows of this family. The signs of the activations are taken, and packed, within our time."""
    square = f"{N}×{N}"
    widths = Growth("bits × bits, batch 64", WIDTHS, lambda bits: _bit_serial(bits, bits, peers=False).ours, slope=1.0,
                    work=lambda bits: bits * bits, bytes=lambda bits: _bytes(N, 64, bits, bits))
    return [
        Row("XNOR product, batch 1", square, lambda: _xnor(1), (Goal(DENSE, 25),),
            "a product so short stays on one thread, and packs its input first",
            _xnor_growth(1)),
        Row("XNOR product, batch 64", square, lambda: _xnor(64), (Goal(DENSE, 30),),
            "beside xor, popcount and add there are loads, stores and a second thread to wake", _xnor_growth(64)),
        Row("bit-serial product, 1×1 bit, batch 64", square, lambda: _bit_serial(1, 1), (Goal(INT8, 1),),
            "8-bit products have instructions of their own, sums of single bits have not"),
        Row("bit-serial product, 2×2 bits, batch 64", square, lambda: _bit_serial(2, 2), (Goal(DENSE, 6),),
            "four products of bits for each product of codes; 8-bit products do it in one", widths),
        Row("bit-serial product, 4×4 bits, batch 64", square, lambda: _bit_serial(4, 4), (Goal(INT8, 1),),
            "sixteen products of bits for each product of codes; 8-bit products do it in one"),
    ]


def _bytes(n, batch, w_bits, x_bits):
    """What a call must move: planes of weights and activations, 32-bit results."""
    return n * n * w_bits // 8 + batch * n * x_bits // 8 + 4 * batch * n


def _xnor_growth(batch):
    return Growth("n", SIZES, lambda n: _xnor(batch, n, peers=False).ours, slope=1.0, work=lambda n: batch * n * n,
                  bytes=lambda n: _bytes(n, batch, 1, 32))


def _xnor(batch, n=N, *, peers=True):
    """Real activations of a binary layer in, whole numbers out."""
    rng = np.random.default_rng(0)
    signs = np.where(rng.random((n, n)) < 0.5, -1, 1).astype(np.int8)
    x = rng.standard_normal((batch, n)).astype(np.float32)
    w = BinaryMatrix.from_dense(signs)

    def ours():
        return matmul_binary(w, pack_signs(x))

    others = {}
    if peers:
        others = _dense(signs, np.where(x >= 0, 1, -1)) | {PLAIN: partial(_plain_xnor, _words(signs >= 0), x)}
    return Case(ours, others, _bytes(n, batch, 1, 32), 2 * batch * n * n, "popcount", same=_same(ours, others))


def _words(bits):
    """Bits, (…, n) of 0 and 1, n a multiple of 64, in uint64 words."""
    return np.packbits(bits, axis=-1, bitorder="little").view(np.uint64)


def _plain_xnor(w, x):
    """By the plain loop, which packs its input, too."""
    out = np.empty((len(x), len(w)), np.int32)
    plain.xnor_product(w, _words(x >= 0), x.shape[1], out)
    return out


def _plain_bit_serial(planes, of_w, codes, x_bits):
    """By the plain loop, which makes the planes of its input, too."""
    out = np.empty((len(codes), planes.shape[1]), np.int32)
    x = np.stack([_words(codes >> i & 1) for i in range(x_bits)])
    plain.bit_serial_product(planes, x, of_w, 1 << np.arange(x_bits), out)
    return out


def _bit_serial(w_bits, x_bits, *, peers=True):
    """Signed weights (one bit: 0 or 1), unsigned activations; the activations' planes are made within our time."""
    rng = np.random.default_rng(0)
    low = -(2 ** (w_bits - 1)) if w_bits > 1 else 0
    weights = rng.integers(low, low + 2**w_bits, (N, N)).astype(np.int8)
    codes = rng.integers(0, 2**x_bits, (64, N)).astype(np.uint8)
    w = BitPlanes.from_dense(weights, w_bits, "signed" if w_bits > 1 else "unsigned")

    def ours():
        return matmul_bitserial(w, BitPlanes.from_dense(codes, x_bits, "unsigned"))

    others = {}
    if peers:
        others = _dense(weights, codes) | {INT8: partial(matmul_int8, PackedInt8.from_dense(weights), codes)}
        planes, of_w = np.stack([_words(weights >> i & 1) for i in range(w_bits)]), 1 << np.arange(w_bits)
        of_w[-1] *= -1 if w_bits > 1 else 1                         # two's complement: the top bit counts negative
        others[PLAIN] = partial(_plain_bit_serial, planes, of_w, codes, x_bits)
    return Case(ours, others, _bytes(N, 64, w_bits, x_bits), 2 * w_bits * x_bits * 64 * N * N, "popcount",
                same=_same(ours, others))


def _dense(w, x):
    """{name: the same product in float32}."""
    import torch

    weights, activations = (torch.from_numpy(codes.astype(np.float32)) for codes in (w, x))
    return {DENSE: partial(torch.nn.functional.linear, activations, weights)}


def _same(ours, others):
    def same():
        mine = ours()
        for name, call in others.items():
            assert np.array_equal(mine, np.asarray(call())), name

    return same
