"""The kernel of 8-bit Adam against its definition, bit for bit: see test_portable.py."""

import numpy as np

from course_lib.kernels import adam
from course_lib.mixed import adam8bit


def compare(n, block, *, steps=4, seed=0, **numbers):
    """Steps of the kernel and of the definition on the same gradients; the kernel's p, m and v."""
    rng = np.random.default_rng(seed)
    options = {"lr": 1e-2, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0, "decoupled": False} | numbers
    blocks = -(-n // block)
    p = rng.standard_normal(n).astype(np.float32)
    m = adam8bit.BlockCodes(np.full(n, adam.ZERO, np.uint8), np.zeros(blocks, np.float32))
    v = adam8bit.BlockCodes(np.zeros(n, np.uint8), np.zeros(blocks, np.float32))
    right_p, right_m, right_v = p, m, v
    p, m, v = p.copy(), adam8bit.BlockCodes(*map(np.copy, m)), adam8bit.BlockCodes(*map(np.copy, v))
    for step in range(1, steps + 1):
        g = (rng.standard_normal(n) * 10.0 ** rng.uniform(-5, 0, n)).astype(np.float32)
        of_step = adam8bit.step_numbers(step, **options)
        right_p, right_m, right_v = adam8bit.adam8bit_step_plain(right_p, g, right_m, right_v, of_step, block)
        adam.adam8bit(p, g, m.codes, v.codes, m.scales, v.scales, block, of_step)
        for ours, right in [(p, right_p), *zip(m, right_m), *zip(v, right_v)]:
            np.testing.assert_array_equal(ours, right)
    return p, m, v


def trial():
    compare(300, 64, weight_decay=0.1)
    compare(257, 256, weight_decay=0.1, decoupled=True)
