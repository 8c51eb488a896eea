"""Bit packing: every code at every width, worked bytes, and what is refused."""

import numpy as np
import pytest

from course_lib.coding import pack, pack_plain, packed_size, unpack, unpack_plain


def all_codes(bits, signed):
    low = -(2 ** (bits - 1)) if signed else 0
    return np.arange(low, low + 2**bits).astype(np.int8 if signed else np.uint8)


def test_worked_bytes():
    assert pack(np.array([1, 2, 3], np.uint8), 4).tolist() == [0x21, 0x03]
    assert pack(np.array([-1, 1, -2], np.int8), 3).tolist() == [0b10_001_111, 0b1]      # code i in bits 3i … 3i + 2
    assert pack(np.array([1, 0, 1, 1, 0, 0, 0, 0, 1], np.uint8), 1).tolist() == [0b00001101, 1]


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", range(1, 9))
def test_every_code_at_every_offset(bits, signed):
    """Every code, at each of the bit offsets it can have, equals the definition and comes back."""
    codes = all_codes(bits, signed)
    for shift in range(8):
        stream = np.concatenate([codes[:1].repeat(shift), codes, codes[::-1]])
        packed = pack(stream, bits)
        assert packed.dtype == np.uint8 and packed.shape == (packed_size(stream.size, bits),)
        assert packed.tobytes() == pack_plain(stream.tolist(), bits)
        back = unpack(packed, bits, stream.size, signed=signed)
        assert back.dtype == stream.dtype and (back == stream).all()
        assert unpack_plain(packed.tobytes(), bits, stream.size, signed) == stream.tolist()


def test_edges():
    for bits in range(1, 9):
        assert pack(np.zeros(0, np.int8), bits).shape == (0,)
        assert unpack(np.zeros(0, np.uint8), bits, 0, signed=True).dtype == np.int8
    grid = np.arange(12, dtype=np.int8).reshape(3, 4) - 6
    kept = grid.copy()
    assert (pack(np.asfortranarray(grid), 4) == pack(grid.ravel(), 4)).all()
    assert (pack(grid[:, ::2], 4) == pack(grid[:, ::2].ravel(), 4)).all()
    assert (grid == kept).all()
    assert (pack(np.int8(-3), 4) == [0b1101]).all()


def test_refusals():
    with pytest.raises(TypeError, match=r"codes have dtype int64; they must be int8 \(signed\) or uint8 \(unsigned\)"):
        pack(np.array([1, 2]), 4)
    with pytest.raises(ValueError, match=r"codes run from 0 to 8; 4 bits \(signed\) hold -8 to 7"):
        pack(np.array([0, 8], np.int8), 4)
    with pytest.raises(ValueError, match=r"codes run from 16 to 16; 4 bits \(unsigned\) hold 0 to 15"):
        pack(np.array([16], np.uint8), 4)
    for bits in (0, 9, 4.0):
        with pytest.raises(ValueError, match="bits=.* must be a whole number from 1 to 8"):
            pack(np.zeros(1, np.int8), bits)
        with pytest.raises(ValueError, match="bits=.* must be a whole number from 1 to 8"):
            unpack(np.zeros(1, np.uint8), bits, 1, signed=True)
    with pytest.raises(ValueError, match="packed has 1 bytes; 3 codes of 4 bits take 2"):
        unpack(np.zeros(1, np.uint8), 4, 3, signed=False)
    with pytest.raises(ValueError, match="bits set after its last code"):
        unpack(np.array([0, 0xF0], np.uint8), 4, 3, signed=False)
    with pytest.raises(ValueError, match="count=-1"):
        unpack(np.zeros(0, np.uint8), 4, -1, signed=False)
    with pytest.raises(TypeError, match="packed has dtype int8"):
        unpack(np.zeros(2, np.int8), 4, 3, signed=False)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", range(1, 9))
def test_long_streams_at_every_address_on_any_number_of_threads(bits, signed):
    rng = np.random.default_rng(bits)
    codes = rng.choice(all_codes(bits, signed), 5003)
    plain = np.frombuffer(pack_plain(codes.tolist(), bits), np.uint8)
    room = np.empty(plain.size + 9, np.uint8)
    for shift in range(9):
        part = room[shift : shift + plain.size]
        assert pack(codes, bits, out=part) is part and (part == plain).all()
        back = np.empty(codes.size + 9, codes.dtype)[shift:][: codes.size]
        assert unpack(part, bits, codes.size, signed=signed, out=back) is back and (back == codes).all()
    many = np.tile(codes, 900)
    one = pack(many, bits, threads=1)
    for threads in (2, 3):
        assert (pack(many, bits, threads=threads) == one).all()
        assert (unpack(one, bits, many.size, signed=signed, threads=threads) == many).all()
    for place in (0, 70, many.size // 2, many.size - 1) if bits < 8 else ():
        wrong = many.copy()
        wrong[place] = 2 ** (bits - 1) if signed else 2**bits
        with pytest.raises(ValueError, match="codes run from"):
            pack(wrong, bits)


def test_one_bit_is_numpys():
    codes = np.random.default_rng(0).integers(0, 2, 10_001).astype(np.uint8)
    assert (pack(codes, 1) == np.packbits(codes, bitorder="little")).all()


def test_a_result_that_does_not_match_is_refused():
    with pytest.raises(ValueError, match=r"out has shape \(3,\) and dtype uint8; the result has \(2,\) and uint8"):
        pack(np.zeros(3, np.int8), 4, out=np.zeros(3, np.uint8))
    with pytest.raises(ValueError, match="dtype uint8; the result has .* int8"):
        unpack(np.zeros(2, np.uint8), 4, 3, signed=True, out=np.zeros(3, np.uint8))
