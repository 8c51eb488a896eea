"""Images in files: JPEG and PNG through Pillow, and what a picture loses on the way.

An image here is a uint8 array, (height, width) in grey or (height, width, 3) in red, green and blue.
"""

import io
import os
import warnings
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from course_lib.arguments import as_array

# colour kept at every pixel, every second one, every second in both directions
SUBSAMPLING = ("4:4:4", "4:2:2", "4:2:0")


class ImageError(ValueError):
    """Something that should be an image is none, or cannot be read as one."""


class JpegFile(NamedTuple):
    """What a JPEG holds: its pixels, and its quantization tables (8×8, row = vertical frequency), luminance first."""

    image: np.ndarray
    tables: tuple


def checked_image(image, name="image"):
    """``image`` as a contiguous uint8 array of grey or colour pixels, or an ``ImageError`` that says what is wrong."""
    try:
        image = as_array(image, name)
    except TypeError as error:
        raise ImageError(f"{name} is not an array of pixels ({error})") from error
    if image.dtype != np.uint8:
        raise ImageError(f"{name} has dtype {image.dtype}; an image is uint8, 0 to 255 "
                         "(real pixels: quantize them first)")
    if not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)) or image.size == 0:
        raise ImageError(f"{name} has shape {image.shape}; an image is (height, width) or (height, width, 3), "
                         "and not empty")
    return np.ascontiguousarray(image)


def checked_quality(quality):
    """``quality`` as an int from 1 to 100, or an error."""
    if isinstance(quality, (bool, np.bool_)) or not isinstance(quality, (int, np.integer)) or not 1 <= quality <= 100:
        raise ValueError(f"quality is {quality!r}; it should be a whole number from 1 (smallest file) to 100")
    return int(quality)


def open_image(file):
    """``file`` (a path, or the bytes themselves) as a decoded Pillow image.

    Raises
    ------
    ImageError
        It holds no image, or a damaged one. A file that is missing stays a ``FileNotFoundError``.
    """
    if isinstance(file, (bytes, bytearray, memoryview)):
        name, content = f"these {len(file)} bytes", bytes(file)
    else:
        try:
            name = os.fspath(file)
        except TypeError:
            raise ImageError(f"file is a {type(file).__name__}; it should be a path, or the bytes of a file") from None
        with open(file, "rb") as stream:
            content = stream.read()
    try:
        with warnings.catch_warnings(category=UserWarning, action="ignore"):  # of remarks in the file that are damaged
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(content))
            picture.load()
    except UnidentifiedImageError as error:
        raise ImageError(f"{name}: not an image; it begins with {content[:8]!r}, and should be a PNG, a JPEG "
                         "or the like") from error
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        most = f"{Image.MAX_IMAGE_PIXELS / 1e6:.0f} million pixels"
        raise ImageError(f"{name}: too large a picture, with more than {most}; make it smaller first") from error
    except Exception as error:  # a decoder that meets damaged bytes raises almost anything
        raise ImageError(f"{name}: a damaged image ({error})") from error
    return picture


def read_image(file: str | Path | bytes) -> NDArray[np.uint8]:
    """Pixels of an image file: (height, width) uint8 if it is grey, else (height, width, 3) uint8.

    The picture stands upright as its camera says (EXIF), what is transparent lies on white, and of a film it is the
    first frame. Grey pixels of 16 bits are scaled by 255/65535. Those of 32 bits are read as 16-bit ones, real ones as
    0 to 1 where none is above 1, else as 0 to 255.

    Parameters
    ----------
    file : path, or bytes

    Raises
    ------
    ImageError
        It holds no image, a damaged one, or pixels beyond these ranges.
    """
    picture = open_image(file)
    # whatever a damaged remark about how the camera was held brings forth
    with suppress(Exception), warnings.catch_warnings(category=UserWarning, action="ignore"):
        picture = ImageOps.exif_transpose(picture)
    return _pixels(picture)


def _pixels(picture):
    """A decoded Pillow image of any mode as a uint8 array of grey or colour."""
    if picture.mode.startswith("I;16"):
        return _scaled(np.array(picture), 65535)
    if picture.mode in ("I", "F"):
        values = np.array(picture, np.float64)
        top = 65535 if picture.mode == "I" else 1 if values.max() <= 1 else 255
        if not (values.min() >= 0 and values.max() <= top):  # nor NaN
            raise ImageError(f"pixels are from {values.min():g} to {values.max():g}; they should be from 0 to {top}")
        return _scaled(values, top)
    grey = picture.mode in ("1", "L", "LA")
    try:
        if picture.has_transparency_data:
            picture = picture.convert("RGBA")
            picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
        return np.array(picture.convert("L" if grey else "RGB"))
    except ValueError as error:
        raise ImageError(f"the pixels are of the kind {picture.mode!r} ({error}); save them as grey or RGB") from error


def _scaled(values, top):
    """0…top to 0…255, to the nearest."""
    return np.floor(values * (255 / top) + 0.5).astype(np.uint8)


def read_jpeg(file: str | Path | bytes) -> JpegFile:
    """``JpegFile(image, tables)``; an ``ImageError`` if ``file`` is not a JPEG.

    The pixels lie as the tables see them: not turned as EXIF asks.
    """
    picture = open_image(file)
    if picture.format != "JPEG":
        raise ImageError(f"this is a {picture.format} file; quantization tables are in a JPEG")
    tables = tuple(np.array(table).reshape(8, 8) for _, table in sorted(picture.quantization.items()))
    return JpegFile(_pixels(picture), tables)


def jpeg_bytes(image: np.ndarray, quality: int, *, subsampling: str = "4:2:0") -> bytes:
    """The JPEG file of ``image``, as bytes: no less than a file on disk would hold.

    Parameters
    ----------
    image : ndarray, uint8, (height, width) or (height, width, 3)
    quality : int, 1 to 100
    subsampling : {"4:4:4", "4:2:2", "4:2:0"}
        How the two colour channels are thinned out before anything else; a grey image has none.

    Raises
    ------
    ImageError, ValueError
        ``image`` is none; ``quality`` or ``subsampling`` is out of range.
    """
    if subsampling not in SUBSAMPLING:
        raise ValueError(f"subsampling is {subsampling!r}; it should be one of {', '.join(map(repr, SUBSAMPLING))}")
    image, quality = checked_image(image), checked_quality(quality)
    options = {} if image.ndim == 2 else {"subsampling": subsampling}
    return _saved(image, "jpeg", quality=quality, **options)


def png_bytes(image: np.ndarray) -> bytes:
    """The PNG file of ``image`` as bytes. PNG loses nothing: ``read_image`` gives the same pixels back."""
    return _saved(checked_image(image), "png", optimize=True)


def shrink(image: np.ndarray, factor: int) -> NDArray[np.uint8]:
    """The image at 1/``factor`` of its resolution: each pixel is the mean of a ``factor`` × ``factor`` square.

    What is left over at the right and lower edge becomes a pixel too. Factor 1 is the image itself.
    """
    image = checked_image(image)
    if not isinstance(factor, (int, np.integer)) or not 1 <= factor <= min(image.shape[:2]):
        raise ValueError(f"factor is {factor!r}; it should be a whole number from 1 to {min(image.shape[:2])}, "
                         "the shorter side")
    return np.array(Image.fromarray(image).reduce(int(factor)))


def luminance(image: np.ndarray) -> NDArray[np.uint8]:
    """Brightness Y = 0.299 R + 0.587 G + 0.114 B as JPEG has it, (height, width) uint8; a grey image is its own."""
    image = checked_image(image)
    return image if image.ndim == 2 else np.array(Image.fromarray(image).convert("L"))


def psnr_db(image: np.ndarray, decoded: np.ndarray) -> float:
    """Peak signal-to-noise ratio, 10 log₁₀(255² / mean squared error), in dB; infinite where nothing was lost."""
    image, decoded = checked_image(image), checked_image(decoded, "decoded")
    if image.shape != decoded.shape:
        raise ImageError(f"image has shape {image.shape} and decoded {decoded.shape}; they should be the same picture")
    error = np.mean(np.square(image.astype(np.float64) - decoded))
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


def _saved(image, kind, **options):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, **options)
    return buffer.getvalue()
