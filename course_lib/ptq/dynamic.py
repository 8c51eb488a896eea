"""Dynamic quantization: the weights are codes, and the range of what a layer reads is chosen while it runs.

Nothing is calibrated. Each layer looks at the numbers that reach it, chooses S and Z from their smallest and largest,
turns them into codes and multiplies codes with codes:

    y[r] = S_w[r] S_x (Σ_k w[r, k] x[k] − Z_x Σ_k w[r, k]) + b[r]

The sums are whole numbers in 32 bits, by ``products.matmul_int8``. Between the layers numbers are real again, so there
is a division and a rounding for every activation that a static engine does not need.

Source: Gholami et al. 2021, "A survey of quantization methods for efficient neural network inference", sec. III-D
(dynamic ranges).
"""

from enum import Enum

import numpy as np
import torch

from course_lib.arguments import choose, finite_array, whole_number
from course_lib.nets.inputs import as_images
from course_lib.numerics import Granularity, QParams, Scheme
from course_lib.numerics.qparams import scale_and_zero_point
from course_lib.products import PackedInt8, matmul_int8
from course_lib.quantized.layers import KINDS, has_weights
from course_lib.quantized.model import QuantizedLayer, QuantizedModel
from course_lib.quantized.steps import run_steps

__all__ = ["DynamicLinear", "DynamicNet", "Per"]

INPUT_BITS = 8  # of the images, whatever the activations have: so has the static engine
CHUNK = 500  # images at a time where ranges are chosen per image: the patches of a convolution take memory


class Per(str, Enum):
    """What shares a range: all that is computed together, or each image (each row) alone."""

    BATCH = "batch"
    IMAGE = "image"


class DynamicLinear:
    """A matrix as codes, which meets real numbers: y = W x + b, the products on codes.

    Parameters
    ----------
    codes : int8 ndarray, (out, in)
    qparams : QParams of the weights, symmetric, per tensor or per channel on axis 0
    bias : float32 ndarray, (out,), or None

    Raises
    ------
    ValueError
        Weights with a zero point; scales per group or along another axis: such a scale changes inside a sum, and
        cannot be pulled out of it.
    """

    def __init__(self, codes: np.ndarray, qparams: QParams, bias: np.ndarray | None = None):
        if qparams.granularity is Granularity.PER_GROUP or qparams.axis not in (None, 0):
            where = "per group" if qparams.axis is None else f"along axis {qparams.axis}"
            raise ValueError(f"qparams has scales {where}, which change inside a sum of products of codes; use "
                             "granularity='per_channel' with axis=0, or 'per_tensor'")
        if not qparams.symmetric:
            raise ValueError(f"qparams has codes from {qparams.qmin} to {qparams.qmax} and zero points; weights should "
                             "be symmetric")
        self.weights = PackedInt8.from_dense(codes)
        self.scale = qparams.scale.astype(np.float32)
        self.row_sums = codes.sum(axis=1, dtype=np.int64)
        self.bias = np.float32(0) if bias is None else bias

    def __call__(self, x: np.ndarray, *, bits: int = 8, per: Per = Per.BATCH) -> np.ndarray:
        """W x + b for each row of ``x``.

        Parameters
        ----------
        x : float32 ndarray, (n, in), n >= 1
            NaN and ±inf raise: they have no range. -0.0 counts as +0.0. A constant is met exactly.
        bits : int, 1 to 16, of the codes of ``x``
        per : Per, whether the rows share a range or each has its own

        Returns
        -------
        float32 ndarray, (n, out)
        """
        codes, scale, zero_point = _codes(x, bits, 1 if per is Per.IMAGE else None)
        sums = _product(self.weights, codes) - zero_point.astype(np.int64) * self.row_sums  # whole numbers up to here
        return sums.astype(np.float32) * (scale * self.scale) + self.bias


def _codes(x, bits, axis):
    """Codes of ``x``, (n, in) uint8 or uint16, with S and Z, (n, 1) or (1, 1): those of the whole range, which is not
    clipped. As ``calibrate`` and ``quantize`` make them, without what those spend on other cases: a step of an LSTM
    takes less time than their checks.
    """
    low, high = x.min(axis=axis, keepdims=True), x.max(axis=axis, keepdims=True)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        finite_array(x)  # raises, and says where
    top = 2**bits - 1
    ends = low.astype(np.float64), high.astype(np.float64)
    scale, zero_point = scale_and_zero_point(*ends, Scheme.AFFINE, 0, top, np.dtype(np.float32))
    codes = np.clip(np.rint(x / scale) + zero_point, 0, top)
    return codes.astype(np.uint8 if bits <= 8 else np.uint16), scale, zero_point


def _product(weights, codes):
    """Σ_k w[r, k] x[k] of int8 weights and uint8 or uint16 codes.   codes: (n, in) -> (n, out) int32 or int64

    A 16-bit code is 256 high + low, two bytes, and its product two products of bytes: twice the time.
    """
    if codes.dtype == np.uint8:
        return matmul_int8(weights, codes)
    high, low = (codes >> 8).astype(np.uint8), codes.astype(np.uint8)
    return 256 * matmul_int8(weights, high).astype(np.int64) + matmul_int8(weights, low)


class DynamicNet:
    """A quantized network whose ranges of activations are chosen while it runs; its products are on codes.

    Called with images it gives logits, and ``nets.predict`` takes it like any network. Of the model only the codes of
    the weights and their scales are used, so it may be weight-only, or static: its ranges are passed over.

    The range of a layer is that of all images of a call (``per="batch"``): then an image's logits depend on what is
    computed beside it. With ``per="image"`` they do not.

    Parameters
    ----------
    model : QuantizedModel
        Weights per tensor or per output channel.
    activation_bits : int, 1 to 16
        Above 8 a code takes two bytes, and the product two products: 8-bit weights with 16-bit activations. The images
        themselves keep 8 bits, as in ``quantize_model``.
    per : Per

    Raises
    ------
    TypeError, ValueError
        ``model`` is no QuantizedModel; bits out of range; weights whose scales change inside a sum, the layer
        named.

    Examples
    --------
    >>> from course_lib import nets, ptq
    >>> weight_only = ptq.quantize_model(nets.LeNet300100(), None, weight_bits=8, activation_bits=None)
    >>> ptq.DynamicNet(weight_only)(np.ones((5, 1, 28, 28), np.float32)).shape
    (5, 10)
    """

    def __init__(self, model: QuantizedModel, *, activation_bits: int = 8, per: Per | str = Per.BATCH):
        if not isinstance(model, QuantizedModel):
            raise TypeError(f"model is a {type(model).__name__}; it should be a QuantizedModel, which "
                            "quantize_model gives")
        self.model, self.per = model, choose(Per, per, "per")
        self.activation_bits = whole_number(activation_bits, "activation_bits", 1, 16)
        self.products = {}
        for layer in model.layers:
            if has_weights(layer.kind):
                try:
                    rows = layer.weight_codes.reshape(len(layer.weight_codes), -1)
                    self.products[layer.name] = DynamicLinear(rows, layer.weight_qparams, layer.bias)
                except ValueError as error:
                    raise ValueError(f"layer {layer.name!r}: {error}") from None
        self.first = next(iter(self.products))

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Logits, (n, classes) float32, of images ``x``, (n, …) float32. NaN and ±inf raise, no image gives no row."""
        x = as_images(x)
        if self.per is Per.IMAGE and len(x) > CHUNK:
            return np.concatenate([self(x[i : i + CHUNK]) for i in range(0, len(x), CHUNK)])
        if not len(x):
            return np.empty((0, self.model.layers[-1].weight_shape[0]), np.float32)
        return run_steps(self.model.layers, x, self._run)

    def _run(self, layer: QuantizedLayer, *inputs: np.ndarray) -> np.ndarray:
        if not has_weights(layer.kind):
            return KINDS[layer.kind].simulate(layer.options, *map(torch.from_numpy, inputs)).numpy()
        (x,) = inputs
        product, bits = self.products[layer.name], INPUT_BITS if layer.name == self.first else self.activation_bits
        if layer.kind == "linear":
            return product(x.reshape(len(x), -1), bits=bits, per=self.per)
        n, patches, shape = len(x), *_patches(x, layer.window)
        if self.per is Per.IMAGE:  # each image shares a range with its own patches alone
            y = np.concatenate([product(rows, bits=bits) for rows in np.split(patches, n)])
        else:
            y = product(patches, bits=bits)
        return np.ascontiguousarray(y.reshape(n, *shape, -1).transpose(0, 3, 1, 2))


def _patches(x, window):
    """What a convolution looks at, a row a position.   (n, channels, h, w) -> (n oh ow, channels kh kw), (oh, ow)"""
    (down, across), (pad_down, pad_across) = window.stride, window.padding
    x = np.pad(x, ((0, 0), (0, 0), (pad_down, pad_down), (pad_across, pad_across)))
    seen = np.lib.stride_tricks.sliding_window_view(x, window.size, axis=(2, 3))[:, :, ::down, ::across]
    n, _, rows, columns = seen.shape[:4]
    return seen.transpose(0, 2, 3, 1, 4, 5).reshape(n * rows * columns, -1), (rows, columns)
