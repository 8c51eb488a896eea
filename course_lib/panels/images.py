"""Image compression: quality, resolution and colour →
the picture, its bytes as JPEG, PNG and raw, and one block's codes.

The files are made by Pillow, whole, in memory; the codes are the course's own (``course_lib.coding.jpeg_codes``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from course_lib import plots
from course_lib.coding import (
    jpeg_bytes,
    jpeg_codes,
    luminance,
    png_bytes,
    psnr_db,
    quantization_table,
    read_image,
    shrink,
)
from course_lib.coding.images import checked_image
from course_lib.data import PHOTOS, photo
from course_lib.measure import bytes_text
from course_lib.panels.base import Choice, Control, Panel, Slider

YOURS = "yours"
FACTORS = (1, 2, 4, 8, 16, 32, 64)
WINDOW = 5  # blocks on a side of the enlarged square; the shown block is in the middle


@dataclass(frozen=True)
class ImagesState:
    picture: str = PHOTOS[0]
    quality: int = 50
    factor: int = 1
    subsampling: str = "4:2:0"
    across: int = 45  # where the enlarged block lies, in per cent of the width
    down: int = 36


class ImagesResult(NamedTuple):
    state: ImagesState
    original: np.ndarray  # after shrinking, (height, width[, 3]) uint8
    decoded: np.ndarray  # the same shape
    jpeg: int  # bytes
    png: int
    raw: int
    psnr: float  # dB
    table: np.ndarray  # (8, 8) steps of the luminance
    codes: np.ndarray  # (8, 8) codes of the shown block
    zeros: float  # share of zeros among all luminance codes
    corner: tuple  # of the shown block: (row, column), in pixels


class ImagesPanel(Panel):
    """Compress a photograph and see what is left of it, in the file and in one 8×8 block.

    Parameters
    ----------
    image : ndarray, optional, (height, width) or (height, width, 3) uint8
        Your own picture, shown first; or a path to an image file, or its bytes.
    **start : values of ``ImagesState`` to begin with

    Raises
    ------
    ImageError
        ``image`` is none.
    """

    State = ImagesState
    name = "images"
    title = "Compress a photograph"
    try_this = (
        "Lower the quality: which codes go first? At which quality do you first see the blocks? "
        "Then lower the resolution: from where on are the files larger than the raw pixels?"
    )
    size = (640, 490)

    def __init__(self, image: np.ndarray | None = None, **start: object):
        self._pictures = {name: photo(name) for name in PHOTOS}
        if image is not None:
            image = checked_image(image) if isinstance(image, (np.ndarray, list)) else read_image(image)
            self._pictures[YOURS] = image
            start = {"picture": YOURS, **start}
        # (picture, factor) -> (pixels, bytes as PNG): PNG is slow to make and does not depend on quality
        self._shrunk = {}
        super().__init__(**start)

    def controls(self) -> dict[str, Control]:
        names = {"china": "a temple", "flower": "a flower", YOURS: "your own"}
        return {
            "picture": Choice("picture", {names[key]: key for key in self._pictures}),
            "quality": Slider("JPEG quality", 1, 100),
            "factor": Choice("resolution", {"full" if n == 1 else f"1/{n} on each side": n for n in FACTORS}),
            "subsampling": Choice(
                "colour",
                {"every pixel (4:4:4)": "4:4:4", "every 2nd (4:2:2)": "4:2:2", "1 in 4 (4:2:0)": "4:2:0"},
                hint="how much of the colour is kept before anything else happens; brightness is always whole",
            ),
            "across": Slider("block x, %", 0, 100, hint="where the enlarged block lies, from the left"),
            "down": Slider("block y, %", 0, 100, hint="where the enlarged block lies, from the top"),
        }

    def compute(self, state: ImagesState, *, quick: bool = False) -> ImagesResult:
        original, png = self._at(state.picture, state.factor)
        file = jpeg_bytes(original, state.quality, subsampling=state.subsampling)
        decoded = read_image(file)
        codes = jpeg_codes(luminance(original), state.quality)
        block = [min(n - 1, per_cent * n // 100) for n, per_cent in zip(codes.shape, (state.down, state.across))]
        return ImagesResult(
            state=state, original=original, decoded=decoded, jpeg=len(file), png=png, raw=original.size,
            psnr=psnr_db(original, decoded), table=quantization_table(state.quality), codes=codes[tuple(block)],
            zeros=float(np.mean(codes == 0)), corner=(8 * block[0], 8 * block[1]),
        )  # fmt: skip

    def _at(self, picture, factor):
        if (picture, factor) not in self._shrunk:
            pixels = self._pictures[picture]
            pixels = shrink(pixels, min(factor, *pixels.shape[:2]))  # a small picture ends as one row of pixels
            self._shrunk[picture, factor] = pixels, len(png_bytes(pixels))
        return self._shrunk[picture, factor]

    # -- draw ------------------------------------------------------------------------------------------------------

    def build(self, figure: Figure) -> None:
        moving = dict(animated=True)
        self._whole = _bare(figure.add_axes((0.0, 0.385, 0.605, 0.47)))
        self._picture = self._whole.imshow(np.zeros((2, 3, 3), np.uint8), **moving)
        (self._frame,) = self._whole.plot([], [], color=plots.ACCENT, linewidth=2.2, **moving)
        self._near, self._blocks = [], []
        for left, name in ((0.63, "original"), (0.82, "JPEG")):
            ax = _bare(figure.add_axes((left, 0.535, 0.172, 0.172 * 640 / 490)))
            ax.set_title(name, fontsize=12.5, pad=4)
            self._near.append(ax.imshow(np.zeros((8, 8, 3), np.uint8), **moving))
            (line,) = ax.plot([], [], color=plots.ACCENT, linewidth=2.2, **moving)
            self._blocks.append(line)
        figure.text(0.63, 0.498, f"{WINDOW} × {WINDOW} blocks, enlarged", fontsize=11.5)

        ax = figure.add_axes((0.075, 0.04, 0.52, 0.25))
        ax.set_title("bytes", fontsize=13, pad=5)
        ax.set_yticks([2, 1, 0], ["raw", "PNG", "JPEG"])
        ax.set_ylim(-0.6, 2.6)
        ax.set_xticks([])
        ax.grid(False)
        ax.spines["bottom"].set_visible(False)
        colors = (plots.REAL, plots.THIRD, plots.QUANTIZED)
        self._bars = [ax.barh(y, 0, height=0.62, color=color, **moving)[0] for y, color in zip((2, 1, 0), colors)]
        self._bar_texts = [ax.text(0, y, "", fontsize=12, va="center", **moving) for y in (2, 1, 0)]
        ax.set_xlim(0, 1)

        ax = _bare(figure.add_axes((0.63, 0.01, 0.362, 0.40)))
        ax.set_title("codes of the block", fontsize=12.5, pad=4)
        ax.set_xlim(-0.5, 7.5)
        ax.set_ylim(7.5, -0.5)
        for v, u in np.ndindex(8, 8):  # zeros stay in the background and show through
            ax.text(v, u, "0", ha="center", va="center", fontsize=10, color=plots.PRUNED)
        self._grid = ax.imshow(np.ma.zeros((8, 8)), cmap="Blues", vmin=0, vmax=9, aspect="auto", **moving)
        self._cells = [
            [ax.text(v, u, "", ha="center", va="center", fontsize=10, **moving) for v in range(8)] for u in range(8)
        ]

        self._number = figure.text(
            0.0, 0.96, "", fontsize=20, weight="bold", color=plots.QUANTIZED, va="center", **moving
        )
        self._line = figure.text(0.0, 0.9, "", fontsize=12, va="center", **moving)

    def draw(self, figure: Figure, result: ImagesResult) -> None:
        height, width = result.original.shape[:2]
        _show(self._picture, result.decoded)
        row, column = result.corner
        _box(self._frame, row - 8 * (WINDOW // 2), column - 8 * (WINDOW // 2), 8 * WINDOW)
        for image, line, pixels in zip(self._near, self._blocks, (result.original, result.decoded)):
            _show(image, _around(pixels, row, column))
            _box(line, 8 * (WINDOW // 2), 8 * (WINDOW // 2), 8)
        sizes = result.raw, result.png, result.jpeg
        for bar, text, size in zip(self._bars, self._bar_texts, sizes):
            bar.set_width(0.66 * size / max(sizes))
            text.set_x(0.66 * size / max(sizes) + 0.02)
            text.set_text(bytes_text(size))
        self._grid.set_data(np.ma.masked_equal(np.abs(result.codes), 0))
        for texts, codes in zip(self._cells, result.codes):
            for text, code in zip(texts, codes):
                text.set_visible(bool(code))
                text.set_text(str(code))
                text.set_color("white" if abs(code) >= 5 else plots.INK)
        self._number.set_text(f"{bytes_text(result.jpeg)}: {_against(result)}")
        self._line.set_text(
            f"{width} × {height}, {8 * result.jpeg / (width * height):.2f} bits a pixel; PSNR {result.psnr:.1f} dB; "
            f"{100 * result.zeros:.0f} % of the codes are zero"
        )

    def describe(self, result: ImagesResult) -> str:
        height, width = result.original.shape[:2]
        return (
            f"The {result.state.picture} photograph, {width} × {height} pixels, "
            f"as a JPEG of quality {result.state.quality}: {bytes_text(result.jpeg)}, {_against(result)}; "
            f"PNG {bytes_text(result.png)}, raw {bytes_text(result.raw)}. PSNR {result.psnr:.1f} dB. "
            f"{100 * result.zeros:.0f} % of the brightness codes are zero; "
            f"the block at row {result.corner[0]}, column {result.corner[1]} keeps "
            f"{np.count_nonzero(result.codes)} of 64."
        )


def _bare(ax):
    ax.set_xticks([])
    ax.set_yticks([])
    ax.grid(False)
    ax.spines[:].set_visible(False)
    ax.set_anchor("NW")
    return ax


def _show(artist, pixels):
    """Grey pixels as grey, colour as colour; the axes follow the picture."""
    colour = np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels
    artist.set_data(colour)
    height, width = colour.shape[:2]
    extent = [-0.5, width - 0.5, height - 0.5, -0.5]
    if list(artist.get_extent()) != extent:  # else the background stands
        artist.set_extent(extent)
        artist.axes.set_xlim(extent[:2])
        artist.axes.set_ylim(extent[2:])


def _box(line, row, column, side):
    x, y = column - 0.5, row - 0.5
    line.set_data([x, x + side, x + side, x, x], [y, y, y + side, y + side, y])


def _around(pixels, row, column):
    """The square of blocks around a block; what lies outside the picture is white."""
    margin = 8 * (WINDOW // 2)
    pad = [(margin, margin + 8), (margin, margin + 8), (0, 0)][: pixels.ndim]
    return np.pad(pixels, pad, constant_values=255)[row : row + 8 * WINDOW, column : column + 8 * WINDOW]


def _against(result):
    ratio = result.raw / result.jpeg
    return f"{ratio:.3g} × less than raw" if ratio > 1 else f"{1 / ratio:.2g} × MORE than raw"
