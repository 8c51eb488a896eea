"""Image files, photographs, entropy and the cosine transform: what they promise, and how they refuse."""

import io
import math

import numpy as np
import pytest
from PIL import Image
from scipy.fft import dctn
from scipy.stats import entropy as scipy_entropy

from course_lib import coding, data

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (19, 21), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (19, 21, 3), dtype=np.uint8)


# ---- entropy

@pytest.mark.parametrize("symbols", [[0], [1, 1, 1], [0, 1], [0, 0, 0, 5], list(range(-7, 9)),
                                     RNG.integers(-3, 50, 500)])  # fmt: skip
def test_entropy_is_that_of_the_definition_and_of_scipy(symbols):
    symbols = np.asarray(symbols)
    counts = np.unique(symbols, return_counts=True)[1]
    assert coding.entropy(symbols) == pytest.approx(coding.entropy_plain(symbols.tolist()), abs=1e-12)
    assert coding.entropy(symbols) == pytest.approx(float(scipy_entropy(counts, base=2)), abs=1e-12)


def test_entropy_of_a_constant_is_zero_and_of_even_symbols_their_bits():
    assert coding.entropy(np.full((3, 4), 7, np.uint8)) == 0
    assert coding.entropy(np.arange(256)) == 8
    assert coding.entropy(np.array([True, False])) == 1


def test_entropy_refuses_what_has_no_frequency():
    with pytest.raises(TypeError, match="float64.*quantize them first"):
        coding.entropy(np.array([0.5]))
    with pytest.raises(ValueError, match="empty"):
        coding.entropy(np.array([], int))


# ---- the transform

def test_transform_is_orthogonal_and_scipys():
    matrix = coding.cosine_matrix()
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(8), atol=1e-14)
    block = RNG.normal(size=(8, 8))
    np.testing.assert_allclose(matrix @ block @ matrix.T, dctn(block, norm="ortho"), atol=1e-12)
    np.testing.assert_allclose(coding.dct_plain(block), dctn(block, norm="ortho"), atol=1e-12)


def test_a_flat_block_is_one_number():
    codes = coding.jpeg_codes(np.full((8, 8), 200, np.uint8), 50)
    assert codes[0, 0, 0, 0] == 8 * (200 - 128) // 16 and np.count_nonzero(codes) == 1


@pytest.mark.parametrize("value, code", [(129, 1), (127, -1)])
def test_ties_go_away_from_zero_as_in_libjpeg(value, code):
    """At quality 50 the DC step is 16, and 8 · (±1) is half of it."""
    flat = np.full((8, 8), value, np.uint8)
    assert coding.jpeg_codes(flat, 50)[0, 0, 0, 0] == code
    assert np.array_equal(coding.jpeg_pixels(coding.jpeg_codes(flat, 50), 50, (8, 8)),
                          coding.read_image(coding.jpeg_bytes(flat, 50)))  # fmt: skip


@pytest.mark.parametrize("shape", [(1, 1), (8, 8), (7, 9), (16, 17)])
def test_any_size_comes_back_close_at_full_quality(shape):
    grey = RNG.integers(0, 256, shape, dtype=np.uint8)
    codes = coding.jpeg_codes(grey, 100)
    assert codes.shape == (-(-shape[0] // 8), -(-shape[1] // 8), 8, 8)
    back = coding.jpeg_pixels(codes, 100, shape)
    # steps of 1: 64 errors of at most ½, orthogonal
    assert back.shape == shape and np.abs(back.astype(int) - grey).max() <= 4


@pytest.mark.parametrize("quality", range(1, 101))
def test_tables_are_those_pillow_writes(quality):
    tables = coding.read_jpeg(coding.jpeg_bytes(COLOUR, quality)).tables
    assert np.array_equal(tables[0], coding.quantization_table(quality))
    assert np.array_equal(tables[1], coding.quantization_table(quality, coding.CHROMINANCE))


# ---- files

def test_png_gives_every_pixel_back():
    for image in (GREY, COLOUR, GREY[:1, :1]):
        assert np.array_equal(coding.read_image(coding.png_bytes(image)), image)


def test_a_file_is_read_from_a_path_or_from_its_bytes(tmp_path):
    path = tmp_path / "picture.png"
    path.write_bytes(coding.png_bytes(COLOUR))
    assert np.array_equal(coding.read_image(path), coding.read_image(str(path)))
    assert np.array_equal(coding.read_image(path), COLOUR)


@pytest.mark.parametrize("mode, shape", [("1", (4, 5)), ("L", (4, 5)), ("LA", (4, 5)), ("P", (4, 5, 3)),
                                         ("RGBA", (4, 5, 3))])  # fmt: skip
def test_other_kinds_of_picture_become_grey_or_colour(mode, shape):
    buffer = io.BytesIO()
    Image.new("RGB", (5, 4), (255, 0, 0)).convert(mode).save(buffer, "png")
    image = coding.read_image(buffer.getvalue())
    assert image.shape == shape and image.dtype == np.uint8


def file_of(picture, kind="png", **options):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


STEPS = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16)  # 0, 1 … 255 of 255, in 16 bits


@pytest.mark.parametrize("kind", ["png", "tiff", "ppm"])
def test_grey_of_16_bits_keeps_its_shades(kind):
    image = coding.read_image(file_of(Image.fromarray(STEPS), kind))
    assert image.dtype == np.uint8 and image.ravel().tolist() == list(range(256))


@pytest.mark.parametrize("values", [STEPS.astype("i4"), STEPS.astype("f4") / 65535, STEPS.astype("f4") / 257])
def test_grey_of_32_bits_keeps_its_shades(values):
    assert coding.read_image(file_of(Image.fromarray(values), "tiff")).ravel().tolist() == list(range(256))


def test_16_bits_are_rounded_to_the_nearest():
    image = coding.read_image(file_of(Image.fromarray(np.array([[0, 128, 129, 385, 386, 65406, 65407]], np.uint16))))
    assert image.tolist() == [[0, 0, 1, 1, 2, 254, 255]]


@pytest.mark.parametrize("values, words", [
    (np.array([[-1, 5]], np.int32), "from -1 to 5; they should be from 0 to 65535"),
    (np.array([[0, 1 << 20]], np.int32), "they should be from 0 to 65535"),
    (np.array([[0, 256]], np.float32), "from 0 to 256; they should be from 0 to 255"),
    (np.array([[-0.5, 1]], np.float32), "they should be from 0 to 1"),
    (np.array([[0, np.nan]], np.float32), "nan"),
    (np.array([[0, np.inf]], np.float32), "inf"),
])  # fmt: skip
def test_pixels_beyond_what_can_be_shown_are_refused(values, words):
    with pytest.raises(coding.ImageError, match=words):
        coding.read_image(file_of(Image.fromarray(values), "tiff"))


@pytest.mark.parametrize("mode, clear, half", [("RGBA", (255, 255, 255), (255, 127, 127)), ("LA", 255, 203)])
def test_what_is_transparent_lies_on_white(mode, clear, half):
    red = {"RGBA": (255, 0, 0), "LA": (151,)}[mode]
    picture = Image.new(mode, (3, 1))
    for at, alpha in enumerate((0, 128, 255)):
        picture.putpixel((at, 0), (*red, alpha))
    image = coding.read_image(file_of(picture))
    assert np.array_equal(image[0, 0], np.array(clear)) and np.array_equal(image[0, 2], np.array(red).squeeze())
    assert np.abs(image[0, 1].astype(int) - half).max() <= 1


def test_a_colour_that_counts_as_transparent_lies_on_white_too():
    for mode, colour in (("L", 7), ("RGB", (7, 7, 7))):
        assert (coding.read_image(file_of(Image.new(mode, (2, 1), colour), transparency=colour)) == 255).all()
    palette = Image.new("RGBA", (2, 1), (9, 9, 9, 0)).quantize(2)
    assert palette.mode == "P" and (coding.read_image(file_of(palette)) == 255).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["png", "jpeg", "tiff"])
def test_a_picture_stands_upright_as_its_camera_says(kind, orientation):
    """A light corner at the upper left, stored as cameras hold it."""
    upright = np.zeros((16, 32), np.uint8)
    upright[:8, :8] = 255
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.T,
        6: np.rot90(upright), 7: upright[::-1, ::-1].T, 8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    remarks = Image.Exif()
    remarks[0x0112] = orientation
    image = coding.read_image(file_of(Image.fromarray(np.ascontiguousarray(stored)), kind, exif=remarks))
    assert image.shape == upright.shape and np.abs(image.astype(int) - upright).max() < 30


def test_a_damaged_remark_about_the_camera_is_passed_over():
    content = file_of(Image.fromarray(GREY), "jpeg", exif=b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\xff\xff")
    assert coding.read_image(content).shape == GREY.shape


@pytest.mark.parametrize("mode, kind", [("CMYK", "jpeg"), ("CMYK", "tiff"), ("YCbCr", "tiff"), ("LAB", "tiff"),
                                        ("PA", "tiff")])  # fmt: skip
def test_other_colours_become_red_green_and_blue(mode, kind):
    assert coding.read_image(file_of(Image.new(mode, (5, 4)), kind)).shape == (4, 5, 3)


def test_the_tables_of_a_four_coloured_jpeg_come_with_an_image():
    content = file_of(Image.new("CMYK", (16, 8)), "jpeg")
    assert coding.read_jpeg(content).image.shape == (8, 16, 3)


def test_of_a_film_the_first_frame():
    frames = [Image.new("L", (5, 4), shade) for shade in (200, 50)]
    for kind in ("gif", "png", "tiff"):
        image = coding.read_image(file_of(frames[0], kind, save_all=True, append_images=frames[1:]))
        assert image.shape[:2] == (4, 5) and (image == 200).all()


def test_thinner_colour_makes_a_smaller_file():
    sizes = [len(coding.jpeg_bytes(data.photo("china"), 75, subsampling=kind)) for kind in coding.SUBSAMPLING]
    assert sizes[0] > sizes[1] > sizes[2]


def test_shrink_takes_means():
    image = np.array([[0, 100, 7], [50, 50, 9], [1, 3, 5]], np.uint8)
    assert np.array_equal(coding.shrink(image, 1), image)
    assert coding.shrink(image, 2).tolist() == [[50, 8], [2, 5]]
    assert coding.shrink(COLOUR, 19).shape == (1, 2, 3)


def test_psnr_against_its_formula():
    assert coding.psnr_db(GREY, GREY) == math.inf
    other = GREY // 2 + 5
    mse = np.mean((GREY.astype(float) - other) ** 2)
    assert coding.psnr_db(GREY, other) == pytest.approx(10 * math.log10(255**2 / mse))


def test_luminance_of_grey_is_itself_and_of_colour_the_weighted_mean():
    assert np.array_equal(coding.luminance(GREY), GREY)
    expected = COLOUR @ np.array([0.299, 0.587, 0.114])
    assert np.abs(coding.luminance(COLOUR) - expected).max() <= 1


# ---- what is no image

@pytest.mark.parametrize("content, words", [
    (b"", "0 bytes: not an image"),
    (b"hello, I am a text", "begins with b'hello, I'"),
    (coding.jpeg_bytes(COLOUR, 50)[:-40], "a damaged image.*truncated"),
    (coding.png_bytes(COLOUR)[:-200], "a damaged image"),
])  # fmt: skip
def test_bytes_that_are_no_image_are_refused_by_name(content, words, tmp_path):
    with pytest.raises(coding.ImageError, match=words):
        coding.read_image(content)
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    with pytest.raises(coding.ImageError, match="photo.jpg"):
        coding.read_image(path)


def test_a_missing_file_is_missing():
    with pytest.raises(FileNotFoundError, match="nowhere.png"):
        coding.read_image("nowhere.png")


@pytest.mark.parametrize("image, words", [
    (np.zeros((4, 4)), "dtype float64; an image is uint8"),
    (np.zeros((4, 4), np.int64), "dtype int64"),
    (np.zeros(4, np.uint8), r"shape \(4,\)"),
    (np.zeros((4, 4, 4), np.uint8), r"shape \(4, 4, 4\)"),
    (np.zeros((0, 4), np.uint8), "not empty"),
    ([[1, 2], [3]], "not an array of pixels"),
    ("china.jpg", "dtype <U"),
])  # fmt: skip
def test_arrays_that_are_no_image_are_refused_by_name(image, words):
    for use in (lambda: coding.jpeg_bytes(image, 50), lambda: coding.png_bytes(image), lambda: coding.shrink(image, 2),
                lambda: coding.luminance(image), lambda: coding.jpeg_codes(image, 50),
                lambda: coding.psnr_db(image, image)):  # fmt: skip
        with pytest.raises(coding.ImageError, match=words):
            use()


@pytest.mark.parametrize("quality", [0, 101, -1, 50.0, True, "50", None])
def test_a_quality_that_is_none_is_refused(quality):
    for use in (lambda: coding.quantization_table(quality), lambda: coding.jpeg_bytes(GREY, quality),
                lambda: coding.jpeg_codes(GREY, quality)):  # fmt: skip
        with pytest.raises(ValueError, match="quality is .* from 1"):
            use()


def test_other_arguments_are_refused_by_name():
    with pytest.raises(ValueError, match="subsampling is '4:1:1'"):
        coding.jpeg_bytes(COLOUR, 50, subsampling="4:1:1")
    with pytest.raises(ValueError, match="factor is 20"):
        coding.shrink(GREY, 20)
    with pytest.raises(ValueError, match="take cl.coding.luminance"):
        coding.jpeg_codes(COLOUR, 50)
    with pytest.raises(coding.ImageError, match="the same picture"):
        coding.psnr_db(GREY, COLOUR)
    with pytest.raises(coding.ImageError, match="PNG file; quantization tables are in a JPEG"):
        coding.read_jpeg(coding.png_bytes(GREY))


# ---- photographs

@pytest.mark.parametrize("name", data.PHOTOS)
def test_photographs_are_here(name):
    photo = data.photo(name)
    assert photo.shape == (427, 640, 3) and photo.dtype == np.uint8 and photo.std() > 30


def test_photographs_that_are_not_here(monkeypatch):
    with pytest.raises(ValueError, match="name is 'cat'; it should be one of 'china', 'flower'"):
        data.photo("cat")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match="pip install scikit-learn"):
        data.photo("china")


def test_a_picture_that_would_fill_the_memory_is_refused_before_it_is_read(monkeypatch):
    content = coding.png_bytes(np.zeros((20, 30), np.uint8))
    for most in (400, 100):  # Pillow warns of more than that, and refuses twice as much
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", most)
        with pytest.raises(coding.ImageError, match="too large a picture"):
            coding.read_image(content)


@pytest.mark.parametrize("error", [RuntimeError, NotImplementedError, IndexError, MemoryError])
def test_whatever_a_decoder_raises_is_a_damaged_image(monkeypatch, error):
    content = coding.png_bytes(np.zeros((2, 3), np.uint8))

    def load(picture):
        raise error("in its own words")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", load)
    with pytest.raises(coding.ImageError, match="these .* bytes: a damaged image"):
        coding.read_image(content)


def test_what_is_neither_path_nor_bytes_is_named():
    with pytest.raises(coding.ImageError, match="file is a BytesIO; it should be a path"):
        coding.read_image(io.BytesIO())
