"""The Huffman kernels on small arrays, for a processor without any special instructions (see test_portable.py)."""

import numpy as np

from course_lib.coding import huffman_decode, huffman_encode


def trial():
    rng = np.random.default_rng(0)
    for n in (1, 5, 700, 40_000):
        for symbols in (rng.geometric(0.3, n), rng.integers(0, 256, n), rng.integers(0, 2000, n)):
            assert (huffman_decode(huffman_encode(symbols)) == symbols).all()
