"""A quantized network as plain data, and the one file it is kept in. Needs NumPy and safetensors, no PyTorch.

A :class:`QuantizedModel` is a tuple of :class:`QuantizedLayer`: integer codes, the scales that give them a unit, what
each layer reads, and nothing that computes. Two things can be made of it: ``simulated()``, a PyTorch module that rounds
in floating point, and ``integer_only()``, an engine that multiplies and adds the codes themselves.
"""

import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from course_lib.numerics import QParams
from course_lib.quantized.chain import as_tuple, check_activation, check_chain, check_inputs, check_name, scales_shape
from course_lib.quantized.file import QuantizedFileError, read_model, save_float, write_model
from course_lib.quantized.layers import KINDS
from course_lib.quantized.layers.base import Window

__all__ = ["QuantizedFileError", "QuantizedLayer", "QuantizedModel", "save_float"]


@dataclass(frozen=True, eq=False)
class QuantizedLayer:
    """One layer: integer weights with their scales, and the codes it reads and writes.

    Parameters
    ----------
    kind : str
        Of the table of kinds, ``quantized.layers.KINDS``: "linear", "conv2d", "max_pool2d", "avg_pool2d",
        "global_avg_pool2d", "relu", "flatten" or "residual_sum".
    name : str, unique in the model, e.g. ``"1"`` or ``"fc1"``
    weight_codes : int8 (out, in) for linear, (out, in, kh, kw) for conv2d, None for the others
    weight_qparams : QParams of the weights, at most 8 bits; None where there are no weights
    bias : float32 (out,) or None
        Kept as a real number: it is a thousandth of the file. The integer engine turns it into fixed point.
    input_qparams, output_qparams : QParams per tensor, or None
        Codes the layer reads and writes; None in a weight-only model. Where a ReLU follows a linear or convolution
        layer or a sum, ``output_qparams`` are those *after* the ReLU: saturation at code Z, the code of zero, is the
        ReLU. Pooling, ReLU and flatten write codes of the scale they read, so there both are the same. Of a residual
        sum ``input_qparams`` is a tuple, one for each addend.
    options : dict
        ``stride`` and ``padding`` (conv2d), ``kernel_size``, ``stride`` and ``padding`` (max_pool2d, avg_pool2d); an
        int or a pair.
    inputs : tuple of str
        The names of the layers that it reads; empty for the layer before (the input, for the first). "" among them is
        the input of the network.

    Raises
    ------
    ValueError
        An unknown kind, weights where there should be none, an option out of range, arrays that do not fit together,
        or another number of inputs than such a layer reads.
    """

    kind: str
    name: str
    weight_codes: np.ndarray | None = None
    weight_qparams: QParams | None = None
    bias: np.ndarray | None = None
    input_qparams: QParams | tuple[QParams, ...] | None = None
    output_qparams: QParams | None = None
    options: dict = field(default_factory=dict)
    inputs: tuple[str, ...] = ()

    def __post_init__(self):
        check_name(self.name, "the name of a layer")
        if self.kind not in KINDS:
            raise ValueError(f"layer {self.name!r}: kind must be one of {', '.join(KINDS)}, not {self.kind!r}")
        self._check_weights()
        self.window  # noqa: B018 - reads the options, and raises where one is wrong
        check_inputs(self.name, self.kind, self.inputs)
        object.__setattr__(self, "inputs", tuple(self.inputs))
        if isinstance(self.input_qparams, list):
            object.__setattr__(self, "input_qparams", tuple(self.input_qparams))
        arity = KINDS[self.kind].arity
        if self.input_qparams is not None and (isinstance(self.input_qparams, tuple) != (arity > 1)
                                               or len(as_tuple(self.input_qparams)) != arity):
            raise ValueError(f"layer {self.name!r}: input_qparams must be QParams, or a tuple of {arity} where a layer "
                             f"reads {arity} inputs, not {self.input_qparams!r}")
        for role in ("input_qparams", "output_qparams"):
            for qparams in as_tuple(getattr(self, role)):
                if qparams is not None:
                    check_activation(qparams, f"layer {self.name!r}: {role}")

    @property
    def weight_shape(self) -> tuple[int, ...] | None:
        """(out, in) or (out, in, kh, kw); None where there are no weights."""
        return None if self.weight_codes is None else self.weight_codes.shape

    @property
    def window(self) -> Window | None:
        """What a convolution or a pooling looks through, as pairs; None for the other kinds."""
        return KINDS[self.kind].window(self.name, self.options, self.weight_shape)

    def _check_weights(self):
        dimensions = KINDS[self.kind].weight_axes
        if not dimensions:
            if self.weight_codes is not None or self.weight_qparams is not None or self.bias is not None:
                raise ValueError(f"layer {self.name!r}: a {self.kind} layer has no weights and no bias")
            return
        if self.weight_codes is None or self.weight_qparams is None:
            raise ValueError(f"layer {self.name!r}: a {self.kind} layer needs weight_codes and weight_qparams")
        codes, qparams = self.weight_codes, self.weight_qparams
        if codes.ndim != dimensions or codes.dtype not in (np.int8, np.uint8):
            raise ValueError(f"layer {self.name!r}: weight_codes must be int8 with {dimensions} dimensions, "
                             f"not {codes.dtype} of shape {codes.shape}")
        if not codes.size:
            raise ValueError(f"layer {self.name!r}: weight_codes have shape {codes.shape}; no axis may be empty")
        expected = scales_shape(self.name, codes.shape, qparams.granularity, qparams.axis, qparams.group_size)
        if np.shape(qparams.scale) != expected:
            raise ValueError(f"layer {self.name!r}: the scales of weights {codes.shape} must have shape {expected}, "
                             f"not {np.shape(qparams.scale)}")
        if (codes.min() < qparams.qmin or codes.max() > qparams.qmax):
            raise ValueError(f"layer {self.name!r}: weight codes lie in [{codes.min()}, {codes.max()}], "
                             f"outside [{qparams.qmin}, {qparams.qmax}]")
        if self.bias is not None and (self.bias.shape != codes.shape[:1] or self.bias.dtype != np.float32
                                      or not np.isfinite(self.bias).all()):
            raise ValueError(f"layer {self.name!r}: bias must be float32 of shape {codes.shape[:1]} and finite, "
                             f"not {self.bias.dtype} of shape {self.bias.shape}")


@dataclass(frozen=True, eq=False)
class QuantizedModel:
    """A quantized network.

    Parameters
    ----------
    layers : tuple of QuantizedLayer, in the order in which they run: each reads the one before, or those it names
    input_qparams : QParams of the input image, or None for a weight-only model
    meta : dict that JSON can hold
        Whatever the maker wants to remember (bits, calibration, network); saved, never read by the engines.

    Raises
    ------
    ValueError
        No layer, or two of one name; a layer that cannot take the shape or the codes that reach it.
    """

    layers: tuple[QuantizedLayer, ...]
    input_qparams: QParams | None = None
    meta: dict = field(default_factory=dict)

    def __post_init__(self):
        object.__setattr__(self, "layers", tuple(self.layers))
        if not isinstance(self.meta, dict):
            raise ValueError(f"meta is a {type(self.meta).__name__}; it should be a dict")
        if self.input_qparams is not None:
            check_activation(self.input_qparams, "input_qparams")
        check_chain(self.layers, self.input_qparams)

    @property
    def weight_only(self) -> bool:
        """True when the activations stay real numbers: there are no codes to multiply codes with."""
        return self.input_qparams is None

    def save(self, path: str | bytes | os.PathLike) -> int:
        """Write the model to one safetensors file (see ``file.py``) and return its size on disk, in bytes."""
        return write_model(self, path)

    @classmethod
    def load(cls, path: str | bytes | os.PathLike) -> "QuantizedModel":
        """Read a model that ``save`` wrote, the same to the last bit.

        Raises
        ------
        QuantizedFileError
            The file is damaged, or is something else; the message names it and says what is wrong.
        """
        layers, input_qparams, meta = read_model(path)
        try:
            return cls(tuple(QuantizedLayer(**fields) for fields in layers), input_qparams, meta)
        except (ValueError, TypeError) as error:
            raise QuantizedFileError(f"{os.fspath(path)}: {error}") from error

    def simulated(self) -> Any:
        """The network as a PyTorch module that rounds to codes and back, and computes in float32 in between."""
        from course_lib.quantized.simulated import SimulatedNet

        return SimulatedNet(self)

    def integer_only(self) -> Any:
        """The network as an engine that computes with integer codes alone. See ``IntegerNet``."""
        from course_lib.quantized.integer import IntegerNet

        return IntegerNet(self)
