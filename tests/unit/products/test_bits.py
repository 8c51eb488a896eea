"""Products of bits: kernels against the definitions, friendly functions against NumPy, and the edges."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from course_lib.kernels import bits as kernels
from course_lib.machine import simd
from course_lib.products import (
    BinaryMatrix,
    BitPlanes,
    Coding,
    matmul_binary,
    matmul_binary_plain,
    matmul_bitserial,
    matmul_bitserial_plain,
    pack_signs,
)

BATCHES = (1, 2, 3, 8, 9, 10, 11, 16, 17, 25)       # one or two alone, eights, the last eight not full
WIDTHS = (1, 31, 32, 33, 64, 127, 128, 129, 511, 512, 513)


def codes_of(coding, bits):
    """Every code of this coding."""
    coding = Coding(coding)
    lows = {Coding.UNSIGNED: (0, 1), Coding.SIGNED: (-(2 ** (bits - 1)), 1), Coding.BIPOLAR: (1 - 2**bits, 2)}
    low, step = lows[coding]
    return (low + step * np.arange(2**bits)).astype(np.uint8 if coding is Coding.UNSIGNED else np.int8)


def signs(rng, *shape):
    return rng.choice(np.array([-1, 1], np.int8), shape)


# ---- ±1


def test_every_product_of_four_signs():
    every = np.array(list(itertools.product([-1, 1], repeat=4)))
    w = BinaryMatrix.from_dense(every)
    for x in every:
        assert matmul_binary(w, x).tolist() == matmul_binary_plain(every.tolist(), x.tolist())
    np.testing.assert_array_equal(matmul_binary(w, every), every @ every.T)


@pytest.mark.parametrize("n", WIDTHS)
@pytest.mark.parametrize("m", [1, 15, 16, 17, 50])
def test_binary_products_are_those_of_numpy(m, n):
    rng = np.random.default_rng(m * n)
    w = signs(rng, m, n)
    packed = BinaryMatrix.from_dense(w)
    for batch in BATCHES:
        x = signs(rng, batch, n)
        y = matmul_binary(packed, BinaryMatrix.from_dense(x))
        assert y.dtype == np.int32
        np.testing.assert_array_equal(y, x.astype(int) @ w.T.astype(int))
    np.testing.assert_array_equal(matmul_binary(packed, x[0]), matmul_binary_plain(w.tolist(), x[0].tolist()))


@given(st.data())
def test_binary_product_against_the_definition(data):
    m, n, batch = (data.draw(st.integers(1, most)) for most in (20, 300, 12))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    w, x = signs(rng, m, n), signs(rng, batch, n)
    y = matmul_binary(BinaryMatrix.from_dense(w), BinaryMatrix.from_dense(x))
    assert y.tolist() == [matmul_binary_plain(w.tolist(), image) for image in x.tolist()]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", WIDTHS)
def test_signs_of_numbers(n, dtype):
    x = np.random.default_rng(n).standard_normal((5, n)).astype(dtype)
    x.reshape(-1)[::7], x.reshape(-1)[3::11] = -0.0, -np.inf
    packed = pack_signs(x)
    np.testing.assert_array_equal(packed.to_dense(), np.where(x >= 0, 1, -1))
    np.testing.assert_array_equal(packed.words, BinaryMatrix.from_dense(np.where(x >= 0, 1, -1)).words)


def test_signs_at_the_edges():
    x = np.array([np.inf, -np.inf, 0.0, -0.0, 1e-45, -1e-45], np.float32)
    assert pack_signs(x).to_dense().tolist() == [1, -1, 1, 1, 1, -1]


@pytest.mark.parametrize("place", [(0, 0), (2, 31), (4, 32), (4, 69)])
def test_nan_has_no_sign(place):
    x = np.zeros((5, 70), np.float32)
    x[place] = np.nan
    with pytest.raises(ValueError, match=rf"x has a NaN at index \({place[0]}, {place[1]}\)"):
        pack_signs(x)


# ---- a few bits


@pytest.mark.parametrize("w_coding", list(Coding))
@pytest.mark.parametrize("x_coding", list(Coding))
def test_every_pair_of_codes(w_coding, x_coding):
    for w_bits, x_bits in itertools.product((1, 2, 3), repeat=2):
        w, x = codes_of(w_coding, w_bits), codes_of(x_coding, x_bits)
        y = matmul_bitserial(BitPlanes.from_dense(w[:, None], w_bits, w_coding),
                             BitPlanes.from_dense(x[:, None], x_bits, x_coding))
        np.testing.assert_array_equal(y, np.multiply.outer(x.astype(int), w.astype(int)))


@pytest.mark.parametrize(("w_bits", "x_bits"), [(1, 1), (2, 2), (1, 8), (4, 3), (7, 7), (8, 8)])
@pytest.mark.parametrize("w_coding", ["unsigned", "signed", "bipolar"])
def test_bit_serial_products_are_those_of_numpy(w_bits, x_bits, w_coding):
    rng = np.random.default_rng(w_bits)
    w_bits = min(w_bits, 7) if w_coding == "bipolar" else w_bits
    for x_coding, n, batch in itertools.product(("unsigned", "signed"), (33, 260), (1, 2, 3, 19)):
        w = rng.choice(codes_of(w_coding, w_bits), (18, n))
        x = rng.choice(codes_of(x_coding, x_bits), (batch, n))
        planes = BitPlanes.from_dense(w, w_bits, w_coding)
        y = matmul_bitserial(planes, BitPlanes.from_dense(x, x_bits, x_coding))
        np.testing.assert_array_equal(y, x.astype(int) @ w.T.astype(int))
        np.testing.assert_array_equal(planes.to_dense(), w)
        assert planes.to_dense().dtype == w.dtype


def test_bit_serial_product_against_the_definition():
    rng = np.random.default_rng(0)
    w, x = rng.integers(0, 4, (6, 45), np.uint8), rng.integers(0, 8, 45, np.uint8)
    y = matmul_bitserial(BitPlanes.from_dense(w, 2, "unsigned"), BitPlanes.from_dense(x, 3, "unsigned"))
    assert y.tolist() == matmul_bitserial_plain(w, x, 2, 3) == (w.astype(int) @ x).tolist()


@pytest.mark.parametrize(("coding", "largest"), [("unsigned", 255), ("signed", -128)])
def test_the_longest_sums(coding, largest):
    n = (2**31 - 1) // largest**2
    codes = np.full((1, n), largest, np.uint8 if largest > 0 else np.int8)
    planes = BitPlanes.from_dense(codes, 8, coding)
    assert matmul_bitserial(planes, planes).tolist() == [[n * largest**2]]
    longer = BitPlanes.from_dense(np.zeros((1, n + 1), codes.dtype), 8, coding)
    with pytest.raises(ValueError, match=f"n = {n + 1} products .* must not exceed {n}"):
        matmul_bitserial(longer, longer)


# ---- shapes, threads, memory


@pytest.mark.parametrize(("m", "n", "batch"), [(0, 5, 2), (3, 0, 2), (3, 5, 0), (0, 0, 0), (3, 0, 20)])
def test_empty(m, n, batch):
    w, x = BinaryMatrix.from_dense(np.ones((m, n), np.int8)), pack_signs(np.ones((batch, n), np.float32))
    np.testing.assert_array_equal(matmul_binary(w, x), np.full((batch, m), n, np.int32))
    assert w.to_dense().shape == (m, n)
    w, x = (BitPlanes.from_dense(np.ones(shape, np.uint8), 2, "unsigned") for shape in ((m, n), (batch, n)))
    np.testing.assert_array_equal(matmul_bitserial(w, x), np.full((batch, m), n, np.int32))


def test_one_vector_gives_one_vector():
    w = BinaryMatrix.from_dense(np.ones((3, 5)))
    assert matmul_binary(w, np.ones(5)).tolist() == [5, 5, 5]
    assert pack_signs(np.ones(5)).to_dense().shape == (5,)


@pytest.mark.parametrize("batch", [1, 2, 40])
def test_threads_change_nothing(batch):
    rng = np.random.default_rng(0)
    w = BitPlanes.from_dense(rng.integers(-4, 4, (1000, 700)).astype(np.int8), 3, "signed")
    codes, real = rng.integers(0, 16, (batch, 700), np.uint8), rng.standard_normal((4000, 300)).astype(np.float32)
    results = [matmul_bitserial(w, BitPlanes.from_dense(codes, 4, "unsigned", threads=t), threads=t) for t in (1, 2, 3)]
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])
    np.testing.assert_array_equal(pack_signs(real, threads=1).words, pack_signs(real, threads=3).words)


def test_arrays_in_any_order():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((40, 30))
    np.testing.assert_array_equal(pack_signs(x.T).to_dense(), np.where(x.T >= 0, 1, -1))
    np.testing.assert_array_equal(pack_signs(x[::2, ::3]).to_dense(), np.where(x[::2, ::3] >= 0, 1, -1))


def test_a_bit_a_weight():
    packed = BinaryMatrix.from_dense(np.ones((4096, 4096), np.int8))
    assert packed.nbytes == 4096 * 4096 // 8
    assert BitPlanes.from_dense(np.ones((64, 256), np.uint8), 3, "unsigned").nbytes == 3 * 64 * 256 // 8
    assert packed.words.ctypes.data % simd.BYTES == 0


def test_rows_lie_side_by_side():
    """Word k of row 16 g + l is words[g, plane, 16 k + l], and code 32 k + j is its bit j."""
    w = np.zeros((20, 100), np.uint8)
    w[17, 70] = 2
    words = BitPlanes.from_dense(w, 2, "unsigned").words
    assert words.shape == (2, 2, 4 * kernels.ROWS) and np.count_nonzero(words) == 1
    assert words[1, 1, 2 * kernels.ROWS + 1] == 1 << 6


# ---- errors


@pytest.mark.parametrize("wrong", [0, 2, np.nan])
def test_what_is_not_a_sign(wrong):
    w = np.ones((3, 4))
    w[1, 2] = wrong
    with pytest.raises(ValueError, match=r"matrix has .* at index \(1, 2\); every entry must be −1 or \+1"):
        BinaryMatrix.from_dense(w)
    with pytest.raises(ValueError, match="every entry must be −1 or"):
        matmul_binary(BinaryMatrix.from_dense(np.ones((2, 4))), w)


@pytest.mark.parametrize(("codes", "bits", "coding", "message"), [
    ([4], 2, "unsigned", "codes run from 4 to 4; 2 bits .unsigned. hold 0 to 3"),
    ([-3], 2, "signed", "hold −?-2 to 1"),
    ([2], 2, "bipolar", r"codes have 2 at index \(0,\); bipolar codes are odd"),
    ([5], 2, "bipolar", "hold -3 to 3"),
    ([1], 9, "signed", "bits=9"),
    ([1], 8, "bipolar", "bits=8"),
    ([1], 2, "odd", "coding='odd' is not one of 'unsigned', 'signed', 'bipolar'"),
])
def test_wrong_codes(codes, bits, coding, message):
    with pytest.raises(ValueError, match=message):
        BitPlanes.from_dense(np.array(codes, np.int8), bits, coding)


def test_wrong_types_and_shapes():
    w = BinaryMatrix.from_dense(np.ones((3, 4)))
    with pytest.raises(TypeError, match="w is ndarray; it must be a BinaryMatrix"):
        matmul_binary(np.ones((3, 4)), np.ones(4))
    with pytest.raises(TypeError, match="x is ndarray; it must be BitPlanes"):
        matmul_bitserial(w, np.ones(4))
    with pytest.raises(ValueError, match=r"x has shape \(5,\) and w \(3, 4\)"):
        matmul_binary(w, np.ones(5))
    with pytest.raises(ValueError, match=r"w has shape \(4,\); it must have 2 axes"):
        matmul_binary(BinaryMatrix.from_dense(np.ones(4)), np.ones(4))
    with pytest.raises(TypeError, match="x has dtype int64; it must be float32 or float64"):
        pack_signs(np.ones(3, int))
    with pytest.raises(TypeError, match="codes have dtype float64"):
        BitPlanes.from_dense(np.ones(3), 1, "unsigned")
    with pytest.raises(TypeError, match="matrix has dtype bool"):
        BinaryMatrix.from_dense(np.ones(3, bool))
    for make in (pack_signs, BinaryMatrix.from_dense):
        with pytest.raises(ValueError, match="must have 1 or 2 axes"):
            make(np.ones((2, 2, 2)))
        with pytest.raises(ValueError, match="must have 1 or 2 axes"):
            make(np.float64(1))
