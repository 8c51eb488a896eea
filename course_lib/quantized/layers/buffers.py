"""What the layers of the integer engine share: arrays for codes, weights in tiles, and the check of an image's size."""

import math
from typing import Any

import numpy as np

from course_lib.kernels.tiles import COLUMNS, ROWS, in_tiles
from course_lib.numerics import QParams
from course_lib.quantized.layers.base import Window


def packed(weight_codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights, (out, …), as the kernels read them: in tiles, with zeros to start the sums from."""
    tiles = in_tiles(weight_codes.reshape(len(weight_codes), -1))
    return tiles, np.zeros(ROWS * len(tiles), np.int32)


def buffer(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An array for codes, with 63 bytes behind it: the kernels read that far, whatever is there."""
    memory = np.zeros(math.prod(shape) * np.dtype(dtype).itemsize + COLUMNS - 1, np.uint8)
    return memory[: memory.size - (COLUMNS - 1)].view(dtype).reshape(shape)


def code_array(qparams: QParams) -> type:
    """The dtype of the engine's arrays for these codes: uint8, or int32 where a code does not fit a byte (logits)."""
    return np.uint8 if qparams.qmin >= 0 and qparams.qmax <= 255 else np.int32


def positions(name: str, window: Window, channels: int, shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns of positions that the window takes on images (n, channels, height, width)."""
    if len(shape) != 4 or shape[1] != channels or min(window.positions(shape[2:])) < 1:
        raise ValueError(f"layer {name!r} takes images of {channels} channels that are at least as large as its window "
                         f"{window.size}, and x gives it {shape[1:]}")
    return window.positions(shape[2:])
