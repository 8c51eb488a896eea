"""The element-by-element kernels against their definitions, on small arrays: see test_portable.py."""

import numpy as np

from course_lib.coding import pack, pack_plain, unpack
from course_lib.numerics import (
    FORMATS,
    QParams,
    Rounding,
    dequantize,
    encode,
    encode_one,
    fake_quantize,
    mx_dequantize,
    mx_quantize,
    mx_quantize_one,
    quantize,
    quantize_one,
    round_one,
    round_to_integer,
    to_format,
    to_format_one,
    uniform_one,
)


def quantizers(dtype, mode):
    seed = int(np.random.default_rng(5).integers(0, 2**64, dtype=np.uint64))
    run = {"rounding": mode, "rng": np.random.default_rng(5)}
    x = np.concatenate([np.arange(-40, 41, dtype=dtype) / dtype(8), [np.inf, -np.inf, -0.0]]).astype(dtype)
    for q in (QParams(dtype(0.3), np.int32(3), 0, 15), QParams(dtype(0.3), np.int32(-2), -300, 299)):
        codes = quantize(x, q, **run)
        wanted = [quantize_one(r, q.scale[()], int(q.zero_point), q.qmin, q.qmax, mode.value,
                               uniform_one(seed, i, dtype))
                  for i, r in enumerate(x)]
        assert codes.tolist() == wanted
        run["rng"] = np.random.default_rng(5)
        assert fake_quantize(x, q, **run).tobytes() == dequantize(codes, q).tobytes()
        run["rng"] = np.random.default_rng(5)
    finite = x[:-3]
    assert round_to_integer(finite, mode, rng=np.random.default_rng(5)).tolist() == [
        round_one(r, mode.value, uniform_one(seed, i, dtype)) for i, r in enumerate(finite)]


def formats(name, dtype, mode):
    rng = np.random.default_rng(3)
    seed = int(np.random.default_rng(5).integers(0, 2**64, dtype=np.uint64))
    x = (rng.standard_normal(101) * 10.0 ** rng.uniform(-9, 9, 101)).astype(dtype)
    x[:4] = 0.0, -0.0, np.inf, -np.inf
    one = [(r, FORMATS[name], mode.value, uniform_one(seed, i, dtype)) for i, r in enumerate(x.tolist())]
    codes = encode(x, name, rounding=mode, rng=np.random.default_rng(5))
    assert codes.tolist() == [encode_one(*case) for case in one], name
    rounded = to_format(x, name, rounding=mode, rng=np.random.default_rng(5))
    np.testing.assert_array_equal(rounded, np.array([to_format_one(*case) for case in one], dtype))


def streams(bits, signed):
    low = -(2 ** (bits - 1)) if signed else 0
    codes = np.random.default_rng(bits).integers(low, low + 2**bits, 1031).astype(np.int8 if signed else np.uint8)
    packed = pack(codes, bits)
    assert packed.tobytes() == pack_plain(codes.tolist(), bits)
    assert (unpack(packed, bits, codes.size, signed=signed) == codes).all()


def blocks(name):
    x = np.random.default_rng(0).standard_normal((2, 70)).astype(np.float32)
    codes, scale = mx_quantize(x, name)
    for row, row_codes, row_scale in zip(x, codes, scale):
        for at in (0, 32, 64):
            part = slice(at, at + 32)
            assert mx_quantize_one(row[part].tolist(), FORMATS[name]) == (row_codes[part].tolist(), row_scale[at // 32])
    assert np.abs(mx_dequantize(codes, scale, name) - x).max() < 1


def trial():
    for dtype in (np.float32, np.float64):
        for mode in Rounding:
            quantizers(dtype, mode)
            for name in ("e4m3", "e5m2", "e2m1", "bfloat16", "fp16"):
                formats(name, dtype, mode)
    for bits in range(1, 9):
        for signed in (False, True):
            streams(bits, signed)
    for name in ("e4m3", "e2m1"):
        blocks(name)
