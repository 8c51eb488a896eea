"""What a kind of layer is: everything that the course has to know about one, in one class.

A file of this room holds one kind, or two that belong together; ``__init__`` lists them. To add a kind, write a
``LayerKind`` and ``register`` it: following a model, the description in a file, the simulation, the integer engine and
the costs all ask here. torch is imported only inside the methods that need it, so that files are read without it.
"""

import reprlib
from typing import Any, ClassVar, NamedTuple

import numpy as np

from course_lib import energy
from course_lib.nets.inputs import channel_hint

LARGEST_WINDOW = 1024  # pixels; no image of the course, and no window, is wider
IMAGES, FEATURES = "images", "features"  # (channels, height, width), and one axis


class Window(NamedTuple):
    """What a convolution or a pooling looks through: three pairs, (down, across)."""

    size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]

    def positions(self, shape: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of positions that the window can take on an image of this shape; below 1 it does not fit."""
        return tuple((n + 2 * p - k) // s + 1 for n, k, s, p in zip(shape, *self))


class Reach(NamedTuple):
    """What reaches a layer, as far as it is known without an image.

    axes: 3 for (channels, height, width), 1 for features; count: how many channels or features; where ``exact`` is
    False, a multiple of it.
    """

    axes: int
    count: int
    exact: bool


class LayerKind:
    """One kind of layer: how it is read, checked, simulated, computed on integers, and what it costs.

    Attributes
    ----------
    name : str
        As files and ``QuantizedLayer.kind`` have it.
    weight_axes : int
        Axes of its weights, outputs first; 0 where it has none.
    options : tuple of str
        Names of what else decides what it computes (``QuantizedLayer.options``).
    usual : dict of str -> value
        Attributes of the torch module that must have this value, since nothing here knows another.
    takes : IMAGES, FEATURES or None for either
    arity : int
        How many inputs it reads.
    keeps_scale : bool
        It writes codes of the scale that it reads; otherwise it has a scale of its own.
    keeps_order : bool
        Rounding before it and rounding behind it give the same, as for ReLU and maximum; so it writes codes that it
        reads, or the code of zero.
    does_relu : bool
        A ReLU that follows is done by its clipping, from the code of zero.
    any_codes : bool
        On integers it moves codes without looking at them; the others read unsigned ones of at most 8 bits.
    """

    name: ClassVar[str]
    weight_axes: ClassVar[int] = 0
    options: ClassVar[tuple[str, ...]] = ()
    usual: ClassVar[dict[str, Any]] = {}
    takes: ClassVar[str | None] = None
    arity: ClassVar[int] = 1
    keeps_scale: ClassVar[bool] = False
    keeps_order: ClassVar[bool] = False
    does_relu: ClassVar[bool] = False
    any_codes: ClassVar[bool] = False

    # -- reading it from a model ---------------------------------------------------------------------------------------

    def torch_class(self) -> type | None:
        """The class of module that it is read from; None where it is a part of a larger one."""
        return None

    def read(self, layer: Any, where: str) -> dict:
        """The options of a torch module, as plain numbers. TypeError, which starts with ``where``, for what cannot."""
        return {key: plain(getattr(layer, key)) for key in self.options}

    # -- what is known without numbers ---------------------------------------------------------------------------------

    def window(self, name: str, options: dict, weight_shape: tuple | None = None) -> Window | None:
        """The window of a layer, its options read and checked; None for a kind that has none.

        Raises
        ------
        ValueError
            An unknown or a missing option, or one out of range; the message names the layer, the option and its value.
        """
        for option in options:
            if option not in self.options:
                has = f"it has {', '.join(self.options)}" if self.options else "it has none"
                raise ValueError(f"layer {name!r}: a {self.name} layer has no option {short(option)}; {has}")
        return None

    def reach(self, name: str, weight_shape: tuple | None, *reaches: Reach | None) -> Reach | None:
        """What such a layer hands on where ``reaches`` (None: the input, of any shape) come in, one for each input.

        Raises
        ------
        ValueError
            The layer cannot take what reaches it; the message names it, what it takes and what comes.
        """
        (reach,) = reaches
        if reach is None:
            return None if self.takes is None else Reach(3 if self.takes == IMAGES else 1, 1, False)
        if self.takes == IMAGES and reach.axes != 3:
            raise ValueError(f"layer {name!r}: a {self.name} layer takes images, and features reach it; it should "
                             "stand before the flatten or linear layer")
        if self.takes == FEATURES and reach.axes != 1:
            raise ValueError(f"layer {name!r}: a {self.name} layer takes features, and images reach it; a "
                             "flatten layer should stand before it")
        return reach

    def misfit(self, weight_shape: tuple | None, window: Window | None, *shapes: tuple) -> tuple[str, str] | None:
        """Why a layer cannot take (n, …) of these shapes: what it takes, and what to do about it; None where it can."""
        shape = shapes[0]
        if self.takes == FEATURES:
            wanted = weight_shape[1] if weight_shape else "features"
            if len(shape) != 2 or wanted not in (shape[1], "features"):
                return f"takes (n, {wanted})", "; nn.Flatten() should stand before it" if len(shape) > 2 else ""
        if self.takes == IMAGES:
            channels = weight_shape[1] if weight_shape else "channels"
            if len(shape) != 4 or channels not in (shape[1], "channels"):
                return f"takes (n, {channels}, height, width)", channel_hint(shape, channels)
            if window is not None and min(window.positions(shape[2:])) < 1:
                return f"has a window of {window.size}", ": the image is too small"
        return None

    def output_shape(self, weight_shape: tuple | None, window: Window | None, *shapes: tuple) -> tuple:
        """The shape of one item of what it hands on, for one item of each input, (channels, h, w) or (features,)."""
        return shapes[0]

    def cost(self, name: str, weight_shape: tuple | None, shapes: tuple, output_shape: tuple) -> energy.Layer | None:
        """What one item costs it; None for a kind whose work is done while numbers pass from one layer to the next.

        shapes: of one item of each input
        """
        return None

    # -- computing -----------------------------------------------------------------------------------------------------

    def simulate(self, options: dict, *inputs: Any, weight: Any = None, bias: Any = None) -> Any:
        """On real numbers, as torch computes it: tensors (n, …) to a tensor (n, …). Rounding is done outside."""
        raise NotImplementedError

    def integer(self, layer: Any, relu_follows: bool) -> Any:
        """The layer on codes: an object whose ``plan(*codes)`` returns (calls, out).

        ``codes`` are the buffers that it will read, uint8 (n, …); ``out`` is the buffer that it will have written when
        each of ``calls``, a list of (function, arguments), has run. Constants are derived here, once.

        Parameters
        ----------
        layer : QuantizedLayer
        relu_follows : bool
            A ReLU alone reads it; only where ``does_relu``: its codes are to end at the code of zero.

        Raises
        ------
        ValueError
            What it asks for cannot be computed with integers of 32 and 64 bits.
        """
        raise NotImplementedError


class Weighted(LayerKind):
    """A kind of layer with weights: sums of products, a scale of its own, and clipping that does a ReLU."""

    does_relu = True
    unit: ClassVar[str]  # what it counts: features, channels

    def reach(self, name: str, weight_shape: tuple, *reaches: Reach | None) -> Reach:
        (reach,) = reaches
        super().reach(name, weight_shape, reach)
        takes = weight_shape[1]
        if reach is not None and (takes != reach.count if reach.exact else takes % reach.count):
            comes = reach.count if reach.exact else f"a multiple of {reach.count}"
            raise ValueError(f"layer {name!r} takes {takes} {self.unit}, and {comes} reach it")
        return Reach(3 if self.takes == IMAGES else 1, weight_shape[0], True)

    def cost(self, name: str, weight_shape: tuple, shapes: tuple, output_shape: tuple) -> energy.Layer:
        """Every weight is used once for each place of the outcome; biases are left out, as in ``energy.NETWORKS``."""
        weights, places = int(np.prod(weight_shape)), int(np.prod(output_shape[1:]))
        return energy.Layer(name, weights * places, weights, int(np.prod(shapes[0])), int(np.prod(output_shape)))


def plain(value: Any) -> int | tuple[int, ...] | None:
    """Numbers as Python's own, which a file can hold."""
    if value is None:
        return None
    return tuple(map(int, value)) if isinstance(value, (tuple, list)) else int(value)


def window_of(name: str, options: dict, size: tuple[int, int], first_stride: Any, most: tuple[int, int]) -> Window:
    """A window of this size with the stride and the padding of the options; ``most``: the largest padding."""
    where, padding = f"layer {name!r}: ", options.get("padding", 0)
    high = list(most) if isinstance(padding, (tuple, list)) and len(padding) == 2 else min(most)
    return Window(size, pair(options.get("stride", first_stride), f"{where}stride", 1, LARGEST_WINDOW),
                  pair(padding, f"{where}padding", 0, high))


def pair(value: Any, where: str, low: int, high: int | list[int]) -> tuple[int, int]:
    """2 -> (2, 2); (2, 3) stays. ``high`` may be one for both, or a list of two."""
    if isinstance(value, (tuple, list)):
        if len(value) != 2:
            raise ValueError(f"{where}={short(value)} must be a whole number or two of them")
        highs = high if isinstance(high, list) else [high] * 2
        return tuple(whole(n, where, low, most) for n, most in zip(value, highs))
    return (whole(value, where, low, min(high) if isinstance(high, list) else high),) * 2


def whole(value: Any, where: str, low: int, high: int) -> int:
    """``value`` if it is a Python int from ``low`` to ``high``."""
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"{where}={short(value)} must be a whole number from {low} to {high}")
    return value


def short(value: Any) -> str:
    """A value in a message: cut where it is long or deep."""
    return reprlib.repr(value)
