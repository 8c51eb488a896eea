"""Our 8×8 quantization against the codes inside files that Pillow wrote,
read by a small baseline decoder of our own."""

import numpy as np
import pytest

from course_lib import coding
from course_lib.data import photo


def zigzag():
    """The order in which a JPEG stores the 64 frequencies: (row, column) pairs along the diagonals."""
    return sorted(((u, v) for u in range(8) for v in range(8)),
                  key=lambda at: (sum(at), at[0] if sum(at) % 2 else at[1]))


def segments(file):
    """(marker, content) up to the start of scan, and then the entropy-coded bytes."""
    at = 2
    while True:
        assert file[at] == 0xFF
        marker, length = file[at + 1], int.from_bytes(file[at + 2 : at + 4], "big")
        yield marker, file[at + 4 : at + 2 + length]
        at += 2 + length
        if marker == 0xDA:
            yield None, file[at:-2].replace(b"\xff\x00", b"\xff")
            return


def huffman(content):
    """{(class, number): {(length, word): symbol}} of one DHT segment."""
    tables, at = {}, 0
    while at < len(content):
        head, counts, at = content[at], content[at + 1 : at + 17], at + 17
        word, table = 0, {}
        for length, count in enumerate(counts, start=1):
            for _ in range(count):
                table[length, word] = content[at]
                word, at = word + 1, at + 1
            word <<= 1
        tables[head >> 4, head & 15] = table
    return tables


def codes_in(file):
    """The quantized coefficients of a baseline grey JPEG, (rows, columns, 8, 8)."""
    tables, shape, bits = {}, None, None
    for marker, content in segments(file):
        if marker == 0xC0:
            assert content[5] == 1, "grey only"
            shape = tuple(-(-int.from_bytes(content[i : i + 2], "big") // 8) for i in (1, 3))
        elif marker == 0xC4:
            tables |= huffman(content)
        elif marker is None:
            bits = "".join(f"{byte:08b}" for byte in content)
    at = 0

    def symbol(table):
        nonlocal at
        word = 0
        for length in range(1, 17):
            word = 2 * word + (bits[at + length - 1] == "1")
            if (length, word) in table:
                at += length
                return table[length, word]
        raise AssertionError("no such word")

    def value(size):
        nonlocal at
        if size == 0:
            return 0
        word, at = int(bits[at : at + size], 2), at + size
        return word if word >= 2 ** (size - 1) else word - 2**size + 1

    order, codes, dc = zigzag(), np.zeros((*shape, 8, 8), int), 0
    for block in codes.reshape(-1, 8, 8):
        dc += value(symbol(tables[0, 0]))
        block[0, 0], k = dc, 1
        while k < 64:
            run, size = divmod(symbol(tables[1, 0]), 16)
            if (run, size) == (0, 0):
                break
            k += run
            if size:
                block[order[k]] = value(size)
            k += 1
    return codes


@pytest.mark.parametrize("quality", [1, 10, 25, 50, 75, 95, 100])
@pytest.mark.parametrize("name", ["china", "flower"])
def test_codes_are_those_of_the_library_except_close_to_a_tie(name, quality):
    """libjpeg transforms in integers that stand for an eighth: it sees a coefficient to about ± 1/16, never ± 1/4 off.

    So of codes with step S, a share of about 2/16 / S may fall to the other side of a tie, and no other code may move.
    """
    grey = coding.luminance(photo(name))[100:260, 150:310]
    ours = coding.jpeg_codes(grey, quality).astype(int)
    theirs = codes_in(coding.jpeg_bytes(grey, quality))
    differ = ours != theirs
    assert np.abs(ours - theirs).max() <= 1
    steps = np.broadcast_to(coding.quantization_table(quality), ours.shape)
    assert differ.mean() < np.mean(2 / 16 / steps)
    middle = (ours + theirs) / 2 * steps  # the tie between the two codes
    assert np.abs(coding.jpeg_coefficients(grey) - middle)[differ].max(initial=0) < 0.25


@pytest.mark.parametrize("quality", [25, 50, 75, 90])
def test_a_tie_goes_away_from_zero_however_the_processor_rounds(quality):
    """The sum of a block is 8 times its DC coefficient: a whole number, so that the right code is known exactly."""
    rng, step = np.random.default_rng(quality), int(coding.quantization_table(quality)[0, 0])
    blocks = rng.integers(0, 256, (400, 64))
    sums = blocks.sum(axis=1) - 64 * 128
    blocks[:, 0] -= (sums - 4 * step) % (8 * step)  # on a tie, if the first pixel can take it
    blocks = blocks[blocks[:, 0] >= 0]
    sums = blocks.sum(axis=1) - 64 * 128
    assert len(blocks) > 40 and (sums % (8 * step) == 4 * step).all()
    wanted = np.sign(sums) * ((np.abs(sums) + 4 * step) // (8 * step))
    for block, code in zip(blocks.astype(np.uint8), wanted):
        assert coding.jpeg_codes(block.reshape(8, 8), quality)[0, 0, 0, 0] == code


def test_a_tie_that_the_transform_missed_by_its_own_rounding_is_one(monkeypatch):
    half, error = np.array([-2.5, -0.5, 0.5, 1.5]), 1e-13
    missed = np.stack([half * (1 - error), half, half * (1 + error)])
    ratio = np.zeros((1, 1, 8, 8))
    ratio[0, 0, :3, :4] = missed
    monkeypatch.setattr(coding.dct, "jpeg_coefficients", lambda grey: ratio * coding.quantization_table(50))
    codes = coding.jpeg_codes(np.zeros((8, 8), np.uint8), 50)
    assert codes[0, 0, :3, :4].tolist() == [[-3, -1, 1, 2]] * 3


def test_a_pixel_half_way_between_two_levels_goes_up():
    """A block of one level, 128 + 4/8 of its only code: half of them end in .5, and no processor's noise decides."""
    assert coding.quantization_table(88)[0, 0] == 4
    codes = np.zeros((1, 511, 8, 8), np.int16)
    codes[0, :, 0, 0] = np.arange(-255, 256)
    pixels = coding.jpeg_pixels(codes, 88, (8, 8 * 511))
    wanted = np.clip((257 + np.arange(-255, 256)) // 2, 0, 255)
    assert (pixels.reshape(8, 511, 8) == wanted[:, None]).all()


@pytest.mark.parametrize("quality", [1, 25, 75, 100])
def test_pixels_are_those_of_the_library_where_the_codes_are(quality):
    """With the same codes, the two ways back differ by the rounding of the library's integer transform: one level."""
    grey = coding.luminance(photo("china"))
    file = coding.jpeg_bytes(grey, quality)
    theirs = coding.read_jpeg(file).image.astype(int)
    back = coding.jpeg_pixels(codes_in(file), quality, grey.shape)
    assert np.abs(back - theirs).max() <= 1
    ours = coding.jpeg_pixels(coding.jpeg_codes(grey, quality), quality, grey.shape)
    assert np.mean(np.abs(ours - theirs) <= 1) > 0.9
    if quality < 100:
        assert abs(coding.psnr_db(grey, ours) - coding.psnr_db(grey, theirs.astype(np.uint8))) < 0.05
