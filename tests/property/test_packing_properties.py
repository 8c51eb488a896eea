"""Packing gives back what it was given, in exactly the bytes it promises, and equals its definition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from course_lib.coding import pack, pack_plain, packed_size, unpack


@st.composite
def streams(draw):
    bits, signed = draw(st.integers(1, 8)), draw(st.booleans())
    low = -(2 ** (bits - 1)) if signed else 0
    codes = draw(st.lists(st.integers(low, low + 2**bits - 1), max_size=60))
    return np.array(codes, np.int8 if signed else np.uint8), bits, signed


@given(streams())
def test_round_trip(stream):
    codes, bits, signed = stream
    packed = pack(codes, bits)
    assert packed.nbytes == packed_size(codes.size, bits)
    assert packed.tobytes() == pack_plain(codes.tolist(), bits)
    back = unpack(packed, bits, codes.size, signed=signed)
    assert back.dtype == codes.dtype and back.tolist() == codes.tolist()


@given(st.binary(max_size=40), st.integers(1, 8), st.booleans(), st.integers(0, 400))
def test_any_bytes_unpack_to_what_packs_back_or_are_refused(data, bits, signed, count):
    packed = np.frombuffer(data, np.uint8)
    try:
        codes = unpack(packed, bits, count, signed=signed)
    except ValueError as error:
        assert "packed has" in str(error)
    else:
        assert pack(codes, bits).tobytes() == data


@given(st.integers(1, 7), st.booleans(), st.integers(-128, 255))
def test_codes_that_do_not_fit_are_refused(bits, signed, code):
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    limits = np.iinfo(np.int8 if signed else np.uint8)
    if limits.min <= code <= limits.max:
        codes = np.array([0, code], limits.dtype)
        if low <= code <= high:
            assert unpack(pack(codes, bits), bits, 2, signed=signed).tolist() == [0, code]
        else:
            with pytest.raises(ValueError, match=f"{bits} bits .* hold {low} to {high}"):
                pack(codes, bits)
