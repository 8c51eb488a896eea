"""The plain loops beside the kernels: the same integers, and floats as close as sums in another order are."""

import inspect
import re

import numpy as np
import pytest

import course_lib
from course_lib import coding, numerics, products
from course_lib.bench.codes import tree_of
from course_lib.kernels import layers, monarch, plain, tiles
from course_lib.machine.compiling import KERNELS, PlainLoop
from course_lib.mixed import adam8bit

LOOPS = {name: loop for name, loop in vars(plain).items() if isinstance(loop, PlainLoop)}


def normal(*shape):
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def integers(low, high, *shape, dtype=np.int8):
    return np.random.default_rng(1).integers(low, high, shape).astype(dtype)


def assert_close(y, weights, x):
    """Sums of n products in float32: each of n + 1 roundings is off by half a unit in the last place at most."""
    exact, size = weights.astype(np.float64) @ x, np.abs(weights).astype(np.float64) @ np.abs(x)
    assert (np.abs(y - exact) <= (x.size + 1) * 2.0**-24 * size).all()


def as_words(planes):
    """Bits, (…, n) of 0 and 1, in uint64 words."""
    padded = np.pad(planes.astype(np.uint8), [(0, 0)] * (planes.ndim - 1) + [(0, -planes.shape[-1] % 64)])
    return np.ascontiguousarray(np.packbits(padded, axis=-1, bitorder="little")).view(np.uint64)


def test_each_is_short_and_says_which_kernel_it_stands_beside():
    course_lib.warm_up(progress=False)
    assert len(LOOPS) >= 16
    for name, loop in LOOPS.items():
        lines = inspect.getsource(loop.py_func).split('"""')[2].strip().splitlines()
        assert len(lines) <= 12, f"{name} has {len(lines)} lines"
        named = re.findall(r"``kernels\.(\w+)\.(\w+)``", loop.__doc__)
        assert named and all(f"course_lib.kernels.{module}.{kernel}" in KERNELS or module == "matrix_unit"
                             for module, kernel in named), f"{name} stands beside {named}"


def test_none_is_compiled_before_it_is_called():
    assert not any(name.startswith("course_lib.kernels.plain") for name in KERNELS)
    assert plain.unpack.py_func.__name__ == "unpack" and plain.unpack.__doc__ == plain.unpack.py_func.__doc__


def test_quantize():
    x = np.append(normal(1000), [np.inf, -np.inf, 0.0, 0.05, 1e30]).astype(np.float32)
    q = numerics.qparams_from_range(-1.0, 3.0, bits=8, scheme="affine")
    codes = np.empty(x.size, np.uint8)
    plain.quantize(x, q.scale.item(), int(q.zero_point), q.qmin, q.qmax, codes)
    assert (codes == numerics.quantize(x.astype(np.float64), q)).all()     # both divide in float64


@pytest.mark.parametrize("group", [1, 7, 64, 128])
def test_fake_quantize(group):
    x = normal(5, 128) * 2
    q = numerics.calibrate(x, bits=4, granularity="per_group", group_size=group)
    out = np.empty_like(x)
    plain.fake_quantize(x, q.scale, group, q.qmin, q.qmax, out)
    assert (out == numerics.fake_quantize(x, q)).all()


def test_stochastic_quantize_takes_a_neighbour_and_is_not_biased():
    x, out = normal(100_000), np.empty(100_000, np.int8)
    plain.stochastic_quantize(x, np.float32(0.05), -127, 127, 3, out)
    off = out - x / np.float32(0.05)
    assert (np.abs(off) < 1).all() and abs(off.mean()) < 5 * 0.5 / x.size**0.5     # five standard errors at most


@pytest.mark.parametrize("name", ["e4m3", "e5m2", "bfloat16", "fp16", "e2m1"])
def test_round_to_format(name):
    form = numerics.FORMATS[name]
    x = normal(5000) * 2.0 ** integers(form.emin - 4, min(form.emax, 100), 5000, dtype=int)
    x = x[np.abs(x) < form.max].astype(np.float32)                      # where formats differ in what comes beyond
    out = np.empty_like(x)
    plain.round_to_format(x, float(form.min_normal), 2.0 ** (1 - form.precision), float(form.max), out)
    assert (out == numerics.to_format(x, form)).all() and (out == 0).any()


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("count", [0, 1, 5, 16, 1001])
def test_pack_and_unpack(bits, count):
    codes = integers(0, 2**bits, count, dtype=np.uint8)
    packed, back = np.zeros(-(-count * bits // 8), np.uint8), np.empty(count, np.uint8)
    plain.pack(codes, bits, packed)
    plain.unpack(packed, bits, back)
    assert (packed == coding.pack(codes, bits)).all() and (back == codes).all()


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_int8_and_int4_products(dtype):
    w, x = integers(-128, 128, 7, 33), integers(0, 256, 3, 33, dtype=np.uint8).view(dtype)
    out = np.empty((3, 7), np.int32)
    plain.int8_product(w, x, out)
    assert (out == products.matmul_int8(w, x)).all()
    four = products.PackedInt4.from_dense(w >> 4)
    plain.int4_product(four.packed, x, out)
    assert (out == products.matmul_int4(four, x)).all()


def test_int4_product_in_groups():
    codes, scales, x = integers(-8, 8, 7, 40), np.abs(normal(7, 3)), normal(40)
    four, out = products.PackedInt4.from_dense(codes), np.empty(7, np.float32)
    plain.int4_groups_product(four.packed, scales, x, 16, out)
    weights = products.Int4Groups.from_codes(codes, scales, 16)
    assert_close(out, weights.to_dense(), x)
    assert_close(products.matmul_int4_groups(weights, x), weights.to_dense(), x)


def test_products_of_bits():
    w, x = 2 * integers(0, 2, 7, 100) - 1, 2 * integers(0, 2, 3, 100) - 1
    out = np.empty((3, 7), np.int32)
    plain.xnor_product(as_words(w > 0), as_words(x > 0), 100, out)
    assert (out == products.matmul_binary(products.BinaryMatrix.from_dense(w), x)).all()
    w, x = integers(-4, 4, 7, 100), integers(0, 4, 3, 100, dtype=np.uint8)
    planes = [as_words(np.stack([codes >> i & 1 for i in range(bits)])) for codes, bits in ((w, 3), (x, 2))]
    plain.bit_serial_product(*planes, np.array([1, 2, -4]), np.array([1, 2]), out)
    ours = [products.BitPlanes.from_dense(w, 3, "signed"), products.BitPlanes.from_dense(x, 2, "unsigned")]
    assert (out == products.matmul_bitserial(*ours)).all()


def test_sparse_products():
    x, out = normal(300), np.empty(20, np.float32)
    dense = np.where(normal(20, 300) > 1, integers(1, 9, 20, 300), 0).astype(np.float32)
    w = products.SparseCSR.from_dense(dense)
    plain.csr(w.values, w.indices, w.row_starts, x, out)
    assert_close(out, dense, x)
    assert_close(products.matmul_csr(w, x), dense, x)
    compressed = products.DeepCompressed.from_dense(dense)
    codes = np.where(dense > 0, np.searchsorted(compressed.codebook, dense) + 1, 0).astype(np.uint8)
    entries = coding.relative_index(codes, 3)                           # gaps of more than 7 have fillers
    plain.codebook(entries.gaps, entries.values, entries.row_starts, compressed.codebook, x, out)
    assert_close(out, dense, x)
    assert (entries.values == 0).any()
    half = products.prune_two_four(normal(20, 300))
    kept = np.argsort(half.reshape(20, 75, 4) == 0, axis=2, kind="stable")[:, :, :2]
    values = np.take_along_axis(half.reshape(20, 75, 4), kept, 2).reshape(20, 150)
    plain.two_four(values, kept.reshape(20, 150).astype(np.uint8), x, out)
    assert_close(out, half, x)
    assert_close(products.matmul_two_four(products.TwoFour.from_dense(half), x), half, x)


def test_huffman_decode():
    symbols = integers(0, 9, 1000, dtype=np.uint8) // 2
    words = coding.HuffmanCode.from_counts(np.bincount(symbols)).words
    bits = coding.huffman_encode_plain(symbols.tolist(), words)
    stream = np.packbits(np.array([int(bit) for bit in bits], np.uint8), bitorder="little")
    out = np.empty(1000, np.uint8)
    plain.huffman_decode(stream, tree_of(words), out)
    assert (out == symbols).all()


def test_lloyd_and_nearest():
    x, k = normal(2000), 16
    shared = numerics.kmeans(x, k)
    centres, codes = numerics.first_centroids(x, k), np.empty(x.size, np.uint8)
    for _ in range(shared.iterations + 1):
        plain.lloyd(x.astype(np.float64), centres, codes)
    np.testing.assert_allclose(centres, shared.codebook, rtol=1e-6)      # the codebook is in float32
    assert (codes == shared.codes).mean() > 0.999                       # but at borders, which that moves
    borders = (shared.codebook[1:] + shared.codebook[:-1]) / np.float32(2)
    plain.nearest(x, borders, codes)
    assert (codes == numerics.nearest_level(x, shared.codebook)).all()


def test_a_step_of_adam():
    """The kernel rounds a product and a sum once, and finds a level by a line: within a few units in the last place."""
    p, g, size = normal(1000), normal(2, 1000)[1], 256
    numbers = adam8bit.step_numbers(3, lr=1e-2, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01, decoupled=False)
    m = adam8bit.quantize_blocks(g * np.float32(0.1), block_size=size)
    v = adam8bit.quantize_blocks(g * g * np.float32(0.01), block_size=size, signed=False)
    right_p, right_m, right_v = adam8bit.adam8bit_step_plain(p, g, m, v, numbers, size)
    codes, scales = [m.codes.copy(), v.codes.copy()], [m.scales.copy(), v.scales.copy()]
    plain.adam8bit(p, g, *codes, *scales, adam8bit.dynamic_map(True), adam8bit.dynamic_map(False), size, numbers)
    np.testing.assert_allclose(p, right_p, rtol=1e-5, atol=1e-7)
    for found, scale, right in zip(codes, scales, (right_m, right_v)):
        np.testing.assert_allclose(scale, right.scales, rtol=1e-6)
        assert (np.abs(found.astype(int) - right.codes) <= 1).all() and (found != right.codes).mean() < 0.01


def test_monarch():
    x, left, right = normal(9, 5, 6), normal(18, 4, 5), normal(5, 18, 6)
    out, ours = np.empty((9, 4, 18), np.float32), np.empty((9, 4, 18), np.float32)
    plain.monarch(x, left, right, out)
    pieces = -(-18 // monarch.LANES) * -(-9 // monarch.SAMPLES)
    monarch.monarch(x.reshape(-1), 9, left.reshape(-1), (18, 4, 5, 6), right.reshape(-1), 0, pieces, ours.reshape(-1))
    # two sums, each within n + 1 roundings of half a unit of the exact one
    size = np.einsum("jlk,kji,bki->blj", *(np.abs(a).astype(np.float64) for a in (left, right, x)))
    assert (np.abs(out - ours) <= 2 * (5 + 6 + 1) * 2.0**-24 * size).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.int32])
def test_layers_of_integers(dtype):
    multiplier, offset, shift = integers(2**28, 2**29, 7, dtype=np.int64), integers(-9, 9, 7, dtype=np.int64) << 36, 37
    constants, start = (multiplier, offset, shift, 0, 255), np.zeros(32, np.int32)
    w, x = integers(-128, 128, 7, 64), integers(0, 256, 3, 64, dtype=np.uint8)
    out, ours = np.empty((2, 3, 7), dtype)
    plain.linear(x, w, *constants, out)
    layers.linear(x, tiles.in_tiles(w), start, *constants, 0, np.empty((3, 32), np.int32), ours)
    assert (out == ours).all() and len(np.unique(out)) > 3

    w, x, zero = integers(-128, 128, 7, 2, 3, 3), integers(0, 256, 2, 2, 6, 7, dtype=np.uint8), 5
    out = np.empty((2, 7, 3, 7), dtype)
    plain.conv2d(np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=zero), w, (2, 1), *constants, out)
    ours = np.empty((2, 7, 21), dtype)
    patches = np.zeros((21, 18 + 63), np.uint8).reshape(-1)[: 21 * 18].reshape(21, 18)
    layers.conv2d(x, tiles.in_tiles(w.reshape(7, -1)), start, *constants, (3, 3), (2, 1), (1, 1), zero, patches,
                  np.empty((21, 32), np.int32), ours)
    assert (out.reshape(ours.shape) == ours).all() and len(np.unique(out)) > 3
