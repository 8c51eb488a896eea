"""Lab 04, storage: codes of fewer than eight bits, packed into bytes."""

import numpy as np

from course_lib.check.base import Property, Suspect, Task, as_array, equal, same_shape


def _packed(codes, bits):
    stream = sum((int(code) & (2**bits - 1)) << (bits * i) for i, code in enumerate(codes))
    return np.frombuffer(stream.to_bytes(-(-len(codes) * bits // 8), "little"), np.uint8)


def _pack_inputs(rng):
    yield np.array([1, -2, 7, -7], np.int8), 4
    yield np.array([1, -1, 0, 1, -1], np.int8), 2
    yield np.array([3, -3, 1], np.int8), 3
    yield np.array([-127, 127], np.int8), 8
    for bits in range(2, 9):
        lowest = -(2 ** (bits - 1))
        yield np.array([lowest], np.int8), bits
        yield np.array([-1, lowest, -lowest - 1, 0, lowest], np.int32), bits
    for k in range(63):
        bits, dtype = 2 + k % 7, (np.int8, np.int32, np.int16, np.int64)[k % 4]
        top, count = 2 ** (bits - 1), rng.integers(1, 20) if k % 9 else rng.integers(100, 300)
        yield rng.integers(-top, top, count).astype(dtype), bits


def _bits(codes, bits, order):
    return ((codes.astype(int) & (2**bits - 1))[:, None] >> np.arange(bits)[::order]) & 1


def _bytes(answer):
    """A list of whole numbers has no dtype of its own: if each fits into a byte, they are bytes."""
    array = as_array(answer)
    bare = isinstance(answer, list | tuple) and all(isinstance(v, int) and 0 <= v < 256 for v in answer)
    return array.astype(np.uint8) if bare else array


pack_codes = Task(
    title="Task 6 · pack_codes",
    shapes={"codes": "n", "bits": ""},
    expected=_packed,
    inputs=_pack_inputs,
    read=_bytes,
    properties=(
        Property("n codes of b bits take ceil(n b / 8) bytes", same_shape),
        Property("bytes have the dtype uint8", lambda p, *_: p.dtype == np.uint8 or f"Your dtype is {p.dtype}."),
        Property("code i sits in the bits i·b to i·b + b - 1 of the stream, lowest bit first", equal),
    ),
    suspects=(
        Suspect("the highest bit comes first: use the order 'little'",
                lambda q, b: np.packbits(_bits(q, b, -1).ravel())),
        Suspect("the bits within a byte run the wrong way: packbits needs bitorder='little'",
                lambda q, b: np.packbits(_bits(q, b, 1).ravel())),
        Suspect("the bits of a code run the wrong way: its lowest bit comes first",
                lambda q, b: np.packbits(_bits(q, b, -1).ravel(), bitorder="little")),
        Suspect("the codes are shifted to start at zero; keep the last bits of each code (two's complement)",
                lambda q, b: _packed(q.astype(int) + 2 ** (b - 1), b)),
        Suspect("the codes are shifted to start at zero; keep the last bits of each code (two's complement)",
                lambda q, b: _packed(q.astype(int) + 2 ** (b - 1) - 1, b)),
        Suspect("the sign is lost: keep the last bits of each code (two's complement)",
                lambda q, b: _packed(abs(q.astype(int)), b)),
    ),
    fixed=("bits",),
    tried="2 to 8 bits, negative codes down to the lowest, codes in wider dtypes, one code and hundreds, counts that "
          "leave the last byte half empty",
)
