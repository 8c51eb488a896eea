"""What JPEG does to brightness: 8×8 blocks, a cosine transform, and one step size for each frequency.

The transform loses nothing: it is an orthogonal matrix, C B Cᵀ for a block B. All the loss is in one line, the rounding
of each coefficient to a multiple of its step. The steps are the example table of the standard (annex K), scaled by the
"quality" as the Independent JPEG Group's library does.

Sources: ITU-T T.81 (1992), annexes A.3 and K.1; IJG libjpeg, ``jcparam.c`` (scaling by quality).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from course_lib.arguments import integer_array
from course_lib.coding.images import checked_image, checked_quality

SIDE = 8

# Table K.1, luminance, and K.2, chrominance. Row: vertical frequency; column: horizontal.
LUMINANCE = np.array([
    [16, 11, 10, 16, 24, 40, 51, 61],
    [12, 12, 14, 19, 26, 58, 60, 55],
    [14, 13, 16, 24, 40, 57, 69, 56],
    [14, 17, 22, 29, 51, 87, 80, 62],
    [18, 22, 37, 56, 68, 109, 103, 77],
    [24, 35, 55, 64, 81, 104, 113, 92],
    [49, 64, 78, 87, 103, 121, 120, 101],
    [72, 92, 95, 98, 112, 100, 103, 99],
])  # fmt: skip
CHROMINANCE = np.full((SIDE, SIDE), 99)
CHROMINANCE[:4, :4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]


def dct_plain(block: Sequence[Sequence[float]]) -> list[list[float]]:
    """The 64 coefficients of a block of 8×8 pixels. The definition.

    F[u][v] = ¼ c(u) c(v) ΣΣ f[y][x] cos((2y+1)uπ/16) cos((2x+1)vπ/16),
    with c(0) = √½, else 1.
    """
    c, eight = [np.sqrt(0.5)] + 7 * [1.0], range(8)
    wave = [[np.cos((2 * x + 1) * u * np.pi / 16) for x in eight] for u in eight]

    def coefficient(u, v):
        products = (block[y][x] * wave[u][y] * wave[v][x] for y in eight for x in eight)
        return 0.25 * c[u] * c[v] * sum(products)

    return [[coefficient(u, v) for v in eight] for u in eight]


def cosine_matrix() -> NDArray[np.float64]:
    """The orthogonal matrix C, (8, 8) float64: row u is the cosine of frequency u. A block's DCT is C B Cᵀ."""
    u, x = np.mgrid[0:SIDE, 0:SIDE]
    matrix = 0.5 * np.cos((2 * x + 1) * u * np.pi / 16)
    matrix[0] *= np.sqrt(0.5)
    return matrix


def quantization_table(quality: int, base: np.ndarray = LUMINANCE) -> NDArray[np.int64]:
    """Step sizes for a quality from 1 to 100, (8, 8) int64 from 1 to 255: quality 50 gives ``base`` itself."""
    quality, base = checked_quality(quality), integer_array(base, "base")
    if base.shape != (SIDE, SIDE):
        raise ValueError(f"base has shape {base.shape}; a table of step sizes is (8, 8), as LUMINANCE")
    per_cent = 5000 // quality if quality < 50 else 200 - 2 * quality
    return np.clip((base * per_cent + 50) // 100, 1, 255)


def to_blocks(grey):
    """(height, width) -> (rows, columns, 8, 8); where the sides are no multiples of 8, the last pixel is repeated."""
    height, width = grey.shape
    padded = np.pad(grey, ((0, -height % SIDE), (0, -width % SIDE)), mode="edge")
    return padded.reshape(padded.shape[0] // SIDE, SIDE, -1, SIDE).swapaxes(1, 2)


def from_blocks(blocks, shape):
    """The reverse of ``to_blocks``: (rows, columns, 8, 8) -> ``shape``; what was padded is cut off."""
    rows, columns = blocks.shape[:2]
    return blocks.swapaxes(1, 2).reshape(rows * SIDE, columns * SIDE)[: shape[0], : shape[1]]


def jpeg_coefficients(grey: np.ndarray) -> NDArray[np.float64]:
    """DCT coefficients of a grey image, before any rounding: (rows, columns, 8, 8) float64, pixels taken as −128 … 127.

    Raises ``ImageError`` if ``grey`` is no grey image.
    """
    grey = checked_image(grey, "grey")
    if grey.ndim != 2:
        raise ValueError(f"grey has shape {grey.shape}; it should be (height, width): "
                         "take cl.coding.luminance(image) first")
    matrix = cosine_matrix()
    return matrix @ (to_blocks(grey) - 128.0) @ matrix.T


def jpeg_codes(grey: np.ndarray, quality: int, *, base: np.ndarray = LUMINANCE) -> NDArray[np.int16]:
    """Quantize a grey image as JPEG does: one integer for each of the 64 frequencies of each block.

    Ties go away from zero, as in libjpeg. (The DC coefficient is a multiple of 1/8, so ties do happen.)

    Parameters
    ----------
    grey : ndarray, (height, width) uint8
    quality : int, 1 to 100

    Returns
    -------
    codes : ndarray, (rows, columns, 8, 8) int16
        Code [i, j, u, v] is vertical frequency u, horizontal frequency v of block (i, j);
        the last blocks may be padded.

    Raises
    ------
    ImageError, ValueError
        ``grey`` is no grey image; ``quality`` is out of range.
    """
    ratio = jpeg_coefficients(grey) / quantization_table(quality, base)
    ratio = np.round(ratio, 9)  # a tie stays a tie: the transform's own rounding error is some 1e-13
    return (np.sign(ratio) * np.floor(np.abs(ratio) + 0.5)).astype(np.int16)


def jpeg_pixels(
    codes: np.ndarray, quality: int, shape: tuple[int, int], *, base: np.ndarray = LUMINANCE
) -> NDArray[np.uint8]:
    """Back from codes to pixels: multiply by the step, transform back, round and clip to 0 … 255.

    Ties go up, as in libjpeg. (A block of one level is a multiple of 1/8, so ties do happen.)

    Parameters
    ----------
    codes : (rows, columns, 8, 8) integers from ``jpeg_codes``
    quality : the same as there
    shape : (height, width) of the image

    Returns
    -------
    ndarray, ``shape``, uint8

    Raises
    ------
    TypeError, ValueError
        ``codes`` are not integers, or not those of an image of this shape; ``quality`` is out of range.
    """
    codes = integer_array(codes, "codes")
    wanted = tuple(-(-int(side) // SIDE) for side in shape) + (SIDE, SIDE) if len(shape) == 2 else None
    if codes.shape != wanted:
        raise ValueError(f"codes have shape {codes.shape}; those of an image of shape {tuple(shape)} have {wanted}")
    matrix = cosine_matrix()
    blocks = matrix.T @ (codes * quantization_table(quality, base)) @ matrix + 128.0
    blocks = np.floor(np.round(blocks, 9) + 0.5)  # a tie stays a tie, as in jpeg_codes
    return from_blocks(np.clip(blocks, 0, 255), shape).astype(np.uint8)
