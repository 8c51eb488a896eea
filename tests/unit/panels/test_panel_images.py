"""The image panel, without a browser: its numbers are those of the files, at every corner of its controls."""

import numpy as np
import pytest

from course_lib import coding, data
from course_lib.panels import ImagesPanel
from course_lib.panels.images import FACTORS, ImagesState


@pytest.fixture(scope="module")
def panel():
    return ImagesPanel()


@pytest.mark.parametrize("picture", data.PHOTOS)
@pytest.mark.parametrize("factor", FACTORS)
def test_the_numbers_are_those_of_the_files(panel, picture, factor):
    state = ImagesState(picture=picture, factor=factor, quality=30)
    result = panel.compute(state)
    small = coding.shrink(data.photo(picture), factor)
    file = coding.jpeg_bytes(small, 30)
    assert np.array_equal(result.original, small) and np.array_equal(result.decoded, coding.read_image(file))
    assert (result.raw, result.png, result.jpeg) == (small.size, len(coding.png_bytes(small)), len(file))
    assert result.psnr == coding.psnr_db(small, result.decoded)


def test_the_block_is_where_the_controls_say(panel):
    codes = coding.jpeg_codes(coding.luminance(data.photo("china")), 50)
    for across, down, place in ((0, 0, (0, 0)), (100, 100, (53, 79)), (50, 25, (13, 40))):
        result = panel.compute(ImagesState(across=across, down=down))
        assert np.array_equal(result.codes, codes[place]) and result.corner == (8 * place[0], 8 * place[1])


def test_a_worse_quality_is_a_smaller_file_with_more_zeros(panel):
    results = [panel.compute(ImagesState(quality=quality)) for quality in (5, 25, 50, 75, 95)]
    for column in ("jpeg", "psnr"):
        values = [getattr(result, column) for result in results]
        assert values == sorted(values)
    assert [result.zeros for result in results] == sorted((result.zeros for result in results), reverse=True)


@pytest.mark.parametrize("start", [{}, {"quality": 1}, {"quality": 100, "subsampling": "4:4:4"},
                                   {"factor": 64, "across": 100, "down": 100},
                                   {"picture": "flower", "factor": 8, "across": 0, "down": 0}])  # fmt: skip
def test_draws_and_says_what_it_shows(start):
    shown = ImagesPanel(**start).shown
    assert shown.png.startswith(b"\x89PNG") and "PSNR" in shown.text and "of 64" in shown.text
    assert ("MORE than raw" in shown.text) == (shown.result.jpeg > shown.result.raw)


@pytest.mark.parametrize("shape", [(28, 28), (1, 1), (9, 200, 3), (300, 17, 3)])
def test_takes_a_readers_own_picture(shape):
    mine = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    panel = ImagesPanel(mine)
    for factor in FACTORS:
        panel.set(factor=factor)
        assert panel.shown is not None and panel.error is None
    panel.set(factor=1)
    assert np.array_equal(panel.shown.result.original, mine)


def test_takes_a_file(tmp_path):
    path = tmp_path / "mine.png"
    path.write_bytes(coding.png_bytes(data.photo("flower")))
    assert ImagesPanel(path).shown.result.raw == data.photo("flower").size


@pytest.mark.parametrize("image, words", [(np.zeros((4, 4)), "dtype float64"), (b"GIF?", "not an image"),
                                          (np.zeros((2, 2, 2), np.uint8), "shape")])  # fmt: skip
def test_refuses_what_is_no_image_by_name(image, words):
    with pytest.raises(coding.ImageError, match=words):
        ImagesPanel(image)
