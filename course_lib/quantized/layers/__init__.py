"""The kinds of layers that a quantized network has, in one table: ``KINDS``, by their names in files."""

from course_lib.quantized.layers.base import LayerKind
from course_lib.quantized.layers.conv2d import Conv2d
from course_lib.quantized.layers.flatten import Flatten
from course_lib.quantized.layers.linear import Linear
from course_lib.quantized.layers.pooling import AvgPool2d, GlobalAvgPool2d, MaxPool2d
from course_lib.quantized.layers.relu import ReLU
from course_lib.quantized.layers.residual_sum import ResidualSum

KINDS: dict[str, LayerKind] = {}


def register(kind: LayerKind) -> None:
    """Put one more kind of layer into the table: models that have it can be followed, files that have it be read.

    Raises
    ------
    ValueError
        There is one of this name already.
    """
    if kind.name in KINDS:
        raise ValueError(f"there is a kind of layer {kind.name!r} already: {type(KINDS[kind.name]).__name__}")
    KINDS[kind.name] = kind


def has_weights(name: str) -> bool:
    """Whether layers of the kind of this name have weights; False for what is no kind."""
    return name in KINDS and KINDS[name].weight_axes > 0


for _kind in (Linear(), Conv2d(), MaxPool2d(), ReLU(), Flatten(), AvgPool2d(), GlobalAvgPool2d(), ResidualSum()):
    register(_kind)
