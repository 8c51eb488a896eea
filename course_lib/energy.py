"""Energy, estimated: a published table of picojoules, and what it says about the layers of a network.

The table is Horowitz's, for one 45 nm process, at about 0.9 V (ISSCC 2014). A chip of today spends several times less
on each entry; the ratios between entries have moved less, and it is the ratios that this module is for. It is an
estimate, not a measurement: control, leakage, and the wires inside a chip are not in it.

    >>> MULTIPLY["float32"].energy_pj / MULTIPLY["int8"].energy_pj      # picojoules over picojoules
    18.5
    >>> before = estimate(NETWORKS["LeNet-300-100"], bits=32)
    >>> after = estimate(NETWORKS["LeNet-300-100"], bits=8)
    >>> before.level, after.level                                       # where the weights live
    ('DRAM', '1 MB cache')
    >>> round(before.energy_pj / after.energy_pj)
    51
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import NamedTuple


class Cost(NamedTuple):
    """Of one operation: ``energy_pj`` in picojoules, ``area_um2`` of its circuit in square micrometres."""

    energy_pj: float
    area_um2: float


ADD = {"int8": Cost(0.03, 36), "int32": Cost(0.1, 137), "float16": Cost(0.4, 1360), "float32": Cost(0.9, 4184)}
MULTIPLY = {"int8": Cost(0.2, 282), "int32": Cost(3.1, 3495), "float16": Cost(1.1, 1640), "float32": Cost(3.7, 7700)}

#: Picojoules to read 64 bits, from the nearest memory to the farthest: {name: (bytes it holds, picojoules)}.
#: DRAM is printed as 1300 to 2600; the lower end is taken, so that what moving less data saves is at least this.
MEMORY = {
    "8 kB cache": (8 * 1024, 10.0), "32 kB cache": (32 * 1024, 20.0), "1 MB cache": (1024**2, 100.0),
    "DRAM": (float("inf"), 1300.0),
}  # fmt: skip
DRAM_PJ = (1300.0, 2600.0)

#: {bits of a weight: (number that is multiplied, number that the products are summed in)}. No entry of the table is
#: narrower than 8 bits: below, only the bytes that move shrink.
ARITHMETIC = {32: ("float32", "float32"), 16: ("float16", "float32"), 8: ("int8", "int32")}


@dataclass(frozen=True)
class Layer:
    """What one image costs a layer: multiply-adds, weights held, numbers read and written."""

    name: str
    multiply_adds: int
    weights: int
    inputs: int
    outputs: int

    def __post_init__(self):
        for field in ("multiply_adds", "weights", "inputs", "outputs"):
            value = getattr(self, field)
            if not isinstance(value, Integral) or isinstance(value, bool) or value < 0:
                raise ValueError(f"layer {self.name!r}: {field} comes to {value!r}; it should be a whole number, "
                                 "0 or more")


def linear(name: str, inputs: int, outputs: int) -> Layer:
    """A fully connected layer: every weight meets one number, once. (Biases are left out: one for each output.)"""
    return Layer(name, inputs * outputs, inputs * outputs, inputs, outputs)


def conv2d(name: str, channels: int, filters: int, kernel: int, image: int, outcome: int, *, groups: int = 1) -> Layer:
    """A convolution from ``channels`` of ``image`` × ``image`` to ``filters`` of ``outcome`` × ``outcome``.

    Every weight is used once for each place of the outcome. (Biases are left out.)
    """
    if not isinstance(groups, Integral) or groups < 1 or channels % groups or filters % groups:
        raise ValueError(f"layer {name!r}: groups={groups!r} should be a whole number that divides the {channels} "
                         f"channels and the {filters} filters")
    weights = filters * (channels // groups) * kernel**2
    return Layer(name, weights * outcome**2, weights, channels * image**2, filters * outcome**2)


NETWORKS = {
    "LeNet-300-100": (linear("ip1", 784, 300), linear("ip2", 300, 100), linear("ip3", 100, 10)),
    "LeNet-5": (
        conv2d("conv1", 1, 20, 5, 28, 24), conv2d("conv2", 20, 50, 5, 12, 8),
        linear("ip1", 800, 500), linear("ip2", 500, 10),
    ),
    "AlexNet": (
        conv2d("conv1", 3, 96, 11, 227, 55), conv2d("conv2", 96, 256, 5, 27, 27, groups=2),
        conv2d("conv3", 256, 384, 3, 13, 13), conv2d("conv4", 384, 384, 3, 13, 13, groups=2),
        conv2d("conv5", 384, 256, 3, 13, 13, groups=2),
        linear("fc6", 9216, 4096), linear("fc7", 4096, 4096), linear("fc8", 4096, 1000),
    ),
    "Llama-2 7B block": (
        *(linear(name, 4096, 4096) for name in ("query", "key", "value", "output")),
        linear("gate", 4096, 11008), linear("up", 4096, 11008), linear("down", 11008, 4096),
    ),
}  # fmt: skip


class LayerEstimate(NamedTuple):
    """For one image, when ``batch`` of them share a reading of the weights."""

    layer: Layer
    arithmetic_pj: float
    weights_pj: float
    activations_pj: float
    operations: float  # two for each multiply-add that is left
    bytes: float  # weights and activations that move
    stored_bytes: float  # weights as stored

    @property
    def energy_pj(self) -> float:
        return self.arithmetic_pj + self.weights_pj + self.activations_pj


@dataclass(frozen=True)
class Estimate:
    """The layers of a network, one after the other; ``level`` is the memory its weights are read from."""

    layers: tuple[LayerEstimate, ...]
    level: str
    arithmetic: str  # the numbers that are multiplied: "int8"

    @property
    def energy_pj(self) -> float:
        return sum(layer.energy_pj for layer in self.layers)

    @property
    def stored_bytes(self) -> float:
        return sum(layer.stored_bytes for layer in self.layers)


def multiply_add_pj(bits: int) -> float:
    """Picojoules of a multiplication and of the addition into a sum that is wide enough (``ARITHMETIC``)."""
    number, total = _arithmetic(bits)
    return MULTIPLY[number].energy_pj + ADD[total].energy_pj


def memory_for(size: float) -> str:
    """The name of the smallest memory of the table that holds ``size`` bytes."""
    return next(name for name, (holds, _) in MEMORY.items() if size <= holds)


def estimate(
    layers: Sequence[Layer], *, bits: int = 32, batch: int = 1, sparsity: float = 0.0, index_bits: int = 8
) -> Estimate:
    """What the layers of a network cost for one image.

    Weights are stored in ``bits`` each; with ``sparsity``, only those left, each with the ``index_bits`` of its place.
    They are read once for a batch, from the smallest memory that holds them all. Activations have the width of what is
    multiplied (8 bits at the least); a layer reads its inputs and writes its outputs, in the smallest memory that holds
    both for the batch. What a perfect machine would do: every multiplication by a zero weight is skipped at no cost.

    Parameters
    ----------
    layers : sequence of Layer
    bits : int, 1 to 8, 16 or 32
    batch : int, at least 1
    sparsity : float, from 0 up to but not including 1
        The share of weights that are zero; at 0 the weights are stored without places.
    index_bits : int, at least 0

    Returns
    -------
    Estimate

    Raises
    ------
    TypeError
        Something else than layers.
    ValueError
        An argument out of its range, or no layers.
    """
    layers = tuple(layers) if isinstance(layers, Iterable) else (layers,)
    if not layers:
        raise ValueError("layers is empty; pass for instance NETWORKS['LeNet-5']")
    for layer in layers:
        if not isinstance(layer, Layer):
            raise TypeError(f"layers holds a {type(layer).__name__}; it should hold Layers, as energy.linear and "
                            "energy.conv2d make them, or be for instance NETWORKS['LeNet-5']")
    if not isinstance(batch, Integral) or isinstance(batch, bool) or batch < 1:
        raise ValueError(f"batch={batch!r}; it should be a whole number, at least 1")
    if not isinstance(sparsity, Real) or not 0 <= sparsity < 1:
        raise ValueError(f"sparsity={sparsity!r}; it is the share of zeros, from 0 up to but not including 1")
    if not isinstance(index_bits, Real) or not 0 <= index_bits < float("inf"):
        raise ValueError(f"index_bits={index_bits!r}; it should be a number, at least 0")
    number, _ = _arithmetic(bits)
    kept = 1 - sparsity
    weight_bytes = kept * (bits + (index_bits if sparsity else 0)) / 8
    number_bytes = max(bits, 8) / 8
    level = memory_for(weight_bytes * sum(layer.weights for layer in layers))
    found = []
    for layer in layers:
        numbers = layer.inputs + layer.outputs
        stored, moved = layer.weights * weight_bytes, numbers * number_bytes
        found.append(LayerEstimate(
            layer=layer,
            arithmetic_pj=kept * layer.multiply_adds * multiply_add_pj(bits),
            weights_pj=stored / batch * _pj_per_byte(level),
            activations_pj=moved * _pj_per_byte(memory_for(moved * batch)),
            operations=2 * kept * layer.multiply_adds,
            bytes=stored / batch + moved,
            stored_bytes=stored,
        ))  # fmt: skip
    return Estimate(tuple(found), level, number)


def _arithmetic(bits):
    if isinstance(bits, bool) or not isinstance(bits, Integral) or bits not in (*range(1, 9), 16, 32):
        raise ValueError(f"bits={bits!r}; the table knows 1 to 8 (multiplied as int8), 16 and 32")
    return ARITHMETIC[max(bits, 8)]


def _pj_per_byte(level):
    return MEMORY[level][1] / 8
