"""Fixed-point requantization: a layer's real constants as integers.

A layer with weights w, input x and output y, all written as S (q − Z), is

    q_y = Z_y + (S_w S_x / S_y) (Σ_k w_q x_q − Z_x Σ_k w_q) + b / S_y .

The sum is of integers. What is left are real constants, known before the first image comes; they become two integers
per output channel, M0 and B0, with one shift per layer:

    q_y = clip((acc · M0 + B0) >> shift, low, high),      acc = Σ_k w_q x_q

M0 = round(2^shift S_w S_x / S_y), and B0 holds bias, both zero points and the half that turns the shift, which rounds
down, into rounding to nearest. A ReLU that follows is low = max(qmin, Z_y): nothing below the code of zero.

A residual sum y = a + b has no products, and two multipliers, S_a / S_y and S_b / S_y:

    q_y = clip((q_a · M0_a + q_b · M0_b + B0) >> shift, low, high)

Source: Jacob et al. 2018, "Quantization and training of neural networks for efficient integer-arithmetic-only
inference", sec. 2.2 to 2.4, and appendix A.2 for the sum; there M0 and the shift are applied in two rounded steps, here
in one.
"""

from typing import Any, NamedTuple

import numpy as np

LIMIT_32, LIMIT_64 = 2**31 - 1, 2**63 - 1


class Requantization(NamedTuple):
    """The integers that stand for a layer's real constants. shift, low, high: int.

    multiplier, offset: M0 and B0, (out,) int64; of a residual sum M0 of each of the two addends, and one B0.
    """

    multiplier: np.ndarray
    offset: np.ndarray
    shift: int
    low: int
    high: int


def requantize_one(acc: int, multiplier: int, offset: int, shift: int, low: int, high: int) -> int:
    """One accumulator to one code. The definition; the engine's kernels do this for every output."""
    return min(max((acc * multiplier + offset) >> shift, low), high)


def requantize_sum_one(a: int, b: int, constants: Requantization) -> int:
    """One code of each addend to one code of their sum. The definition of ``kernels.layers.add``."""
    first, second = map(int, constants.multiplier)
    return requantize_one(1, a * first + b * second, int(constants.offset[0]), *constants[2:])


def fixed_point(layer: Any, relu_follows: bool = False) -> Requantization:
    """Derive M0, B0 and the shift of a linear or conv2d layer, and check that nothing can overflow.

    The bounds, per output channel, with A = Σ_k |w_q| · max x_q, which no sum of products can exceed in any order:

    1. A < 2^31: the accumulator fits 32 bits;
    2. M0 < 2^31 and A · M0 + |B0| < 2^63: so does the product 64 bits. The shift is the largest that allows this;
    3. A ≤ 2^shift / 2: rounding M0 then moves the result by at most A / 2^(shift + 1) ≤ 1/4 of a code, so that the
       code is never more than one away from the exact one.

    Parameters
    ----------
    layer : QuantizedLayer, linear or conv2d, with activations
    relu_follows : bool, whether codes below the code of zero are to become it

    Returns
    -------
    Requantization

    Raises
    ------
    ValueError
        A bound cannot be met; the message names the layer and the bound.
    """
    x, y = layer.input_qparams, layer.output_qparams
    weights = layer.weight_codes.reshape(len(layer.weight_codes), -1).astype(np.int64)      # (out, n)
    row_sums = [int(total) for total in weights.sum(axis=1)]
    largest_sums = [int(total) * x.qmax for total in np.abs(weights).sum(axis=1)]
    if max(largest_sums) > LIMIT_32:
        raise ValueError(f"layer {layer.name!r}: with n = {weights.shape[1]} products a sum can reach "
                         f"{max(largest_sums)}, and a 32-bit accumulator holds {LIMIT_32}")
    scale_y, zero_x, zero_y = float(y.scale), int(x.zero_point), int(y.zero_point)
    scales = np.broadcast_to(layer.weight_qparams.scale, len(weights)).tolist()
    factors = [scale * float(x.scale) / scale_y if total else 0.0               # a channel of zeros needs none
               for scale, total in zip(scales, largest_sums)]
    biases = [0.0] * len(weights) if layer.bias is None else [float(b) / scale_y for b in layer.bias]

    def derive(shift):
        multipliers = [round(factor * 2**shift) for factor in factors]
        offsets = [round(bias * 2**shift) + (zero_y << shift) - zero_x * row_sum * m + (1 << (shift - 1))
                   for bias, row_sum, m in zip(biases, row_sums, multipliers)]
        return multipliers, offsets, [a * m for a, m in zip(largest_sums, multipliers)]

    return _largest_shift(layer, "S_w S_x / S_y", factors, derive, max(largest_sums), relu_follows)


def fixed_point_sum(layer: Any, relu_follows: bool = False) -> Requantization:
    """Derive both M0, B0 and the shift of a residual sum, with the bounds of ``fixed_point``; A = max q_a + max q_b.

    Parameters
    ----------
    layer : QuantizedLayer, residual_sum, with activations
    relu_follows : bool, whether codes below the code of zero are to become it

    Returns
    -------
    Requantization

    Raises
    ------
    ValueError
        A bound cannot be met; the message names the layer and the bound.

    Source: Jacob et al. 2018, appendix A.2.
    """
    inputs, y = layer.input_qparams, layer.output_qparams
    factors, zero_y = [float(q.scale) / float(y.scale) for q in inputs], int(y.zero_point)

    def derive(shift):
        multipliers = [round(factor * 2**shift) for factor in factors]
        zeros = sum(int(q.zero_point) * m for q, m in zip(inputs, multipliers))
        reach = sum(q.qmax * m for q, m in zip(inputs, multipliers))
        return multipliers, [(zero_y << shift) - zeros + (1 << (shift - 1))], [reach]

    return _largest_shift(layer, "S / S_y", factors, derive, sum(q.qmax for q in inputs), relu_follows)


def _largest_shift(layer, factor_name, factors, derive, largest_sum, relu_follows):
    """The constants with the largest shift that keeps multipliers in 32 bits and products in 64.

    derive : callable(shift) -> (multipliers, offsets, the largest size of each product), lists of int
    """
    for shift in range(62, 0, -1):
        if max(factors) * 2**shift > LIMIT_32:
            continue
        multipliers, offsets, products = derive(shift)
        if all(product + abs(offset) <= LIMIT_64 for product, offset in zip(products, offsets)):
            break
    else:
        shift = 0
    if shift == 0 or largest_sum > 2**shift // 2:
        raise ValueError(f"layer {layer.name!r}: its outputs reach far beyond the range of its output codes "
                         f"({factor_name} = {max(factors):.3g}), too far for 32-bit multipliers and 64-bit products")
    y = layer.output_qparams
    low = max(y.qmin, int(y.zero_point)) if relu_follows else y.qmin
    return Requantization(np.array(multipliers, np.int64), np.array(offsets, np.int64), shift, low, y.qmax)
