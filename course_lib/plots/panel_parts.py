"""What all panels' pictures share: the names of small axes, and the head with its large numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.artist import Artist
from matplotlib.font_manager import FontProperties, findfont
from PIL import Image, ImageDraw, ImageFont

from course_lib.plots.look import INK, QUANTIZED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.backend_bases import RendererBase
    from matplotlib.figure import Figure


def name_axes(ax: Axes, title: str, x: str, y: str, *, left: float = 44) -> None:
    """Title and axis labels in the sizes and places that small axes in a panel need.

    The places are fixed: finding them takes a quarter of the time that drawing the axes takes. ``left`` is how many
    pixels left of the axes the name of y stands: more where the numbers beside it are long.
    """
    figure, box = ax.figure, ax.get_position()
    width, height = (box.size * figure.get_size_inches() * figure.dpi).round()
    ax.set_title(title, fontsize=13, pad=5, y=1.0)
    ax.set_xlabel(x, fontsize=12, va="top")
    ax.set_ylabel(y, fontsize=12)
    ax.xaxis.set_label_coords(0.5, -27 / height)
    ax.yaxis.set_label_coords(-left / width, 0.5)


class Tiles(Artist):
    """The head of a panel's picture: a line that says what is shown, and under it a row of large numbers with captions.

    One artist, its letters set by Pillow: text takes longest to draw, and Matplotlib needs ten times as long for it.

    Parameters
    ----------
    figure : Figure
    count : int, numbers in the row
    """

    def __init__(self, figure: Figure, count: int):
        super().__init__()
        self.count, self.line, self.tiles = count, "", [("", "")] * count
        self._scale = figure.dpi / 100  # places below are pixels of a figure at 100 dpi
        fonts = [findfont(FontProperties(family="DejaVu Sans", weight=weight)) for weight in ("normal", "bold")]
        sizes = 17.4 * self._scale, 30.6 * self._scale
        self._small, self._large = (
            ImageFont.truetype(font, size, layout_engine=ImageFont.Layout.BASIC)
            for font, size in zip(fonts, sizes, strict=True)
        )
        self.set_animated(True)
        figure.add_artist(self)

    def set(self, line: str, *tiles: tuple[str, str]) -> None:
        """Write the line, and for each tile its (number, caption)."""
        if len(tiles) != self.count:
            raise ValueError(f"{len(tiles)} tiles for a row of {self.count}")
        self.line, self.tiles, self.stale = line, list(tiles), True

    def draw(self, renderer: RendererBase) -> None:
        """Paint the head at the top of the figure."""
        width, height = renderer.get_canvas_width_height()
        strip = Image.new("RGBA", (int(width), round(95 * self._scale)), (255, 255, 255, 0))
        pen = ImageDraw.Draw(strip)

        def write(x, y, text, font, color):
            pen.text((x, y * self._scale), text, font=font, fill=color, anchor="lm")

        write(8 * self._scale, 15, self.line, self._small, INK)
        for place, (number, caption) in enumerate(self.tiles):
            x = 8 * self._scale + 0.985 * width * place / self.count
            write(x, 48, number, self._large, QUANTIZED)
            write(x, 78, caption, self._small, INK)
        renderer.draw_image(renderer.new_gc(), 0, height - strip.height, np.asarray(strip)[::-1])
        self.stale = False
