"""Products of bits on small arrays, for a processor without any special instructions (see test_portable.py)."""

import numpy as np

from course_lib.products import BinaryMatrix, BitPlanes, matmul_binary, matmul_bitserial, pack_signs


def trial():
    rng = np.random.default_rng(0)
    for batch in (1, 2, 3, 9, 17):                                  # images alone, in eights, and left over
        w, x = rng.choice([-1, 1], (35, 261)), rng.standard_normal((batch, 261)).astype(np.float32)
        signs = np.where(x >= 0, 1, -1)
        assert (matmul_binary(BinaryMatrix.from_dense(w), pack_signs(x)) == signs @ w.T).all()
        w, x = rng.integers(-2, 2, (35, 261)).astype(np.int8), rng.integers(0, 8, (batch, 261)).astype(np.uint8)
        planes = BitPlanes.from_dense(w, 2, "signed"), BitPlanes.from_dense(x, 3, "unsigned")
        assert (matmul_bitserial(*planes) == x.astype(int) @ w.T.astype(int)).all()
        assert (planes[0].to_dense() == w).all()
