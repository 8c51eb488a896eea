"""Properties of integer arithmetic: products over all of int8, and requantization over all scales that it accepts."""

from fractions import Fraction

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from course_lib.numerics import QParams, qparams_from_range
from course_lib.products import PackedInt4, matmul_int4, matmul_int8, matmul_int8_plain
from course_lib.quantized import QuantizedLayer, QuantizedModel
from course_lib.quantized.requantization import fixed_point, requantize_one

sizes = st.integers(0, 40)
scales = st.floats(2.0**-20, 2.0**10, width=32)


@st.composite
def operands(draw, low=-128, high=127):
    m, n, batch = draw(sizes), draw(sizes), draw(st.none() | sizes)
    w = draw(arrays(np.int8, (m, n), elements=st.integers(low, high)))
    x = draw(arrays(draw(st.sampled_from([np.uint8, np.int8])), (n,) if batch is None else (batch, n)))
    return w, x, draw(st.integers(1, 5))


@given(operands())
def test_int8_products_are_exact(case):
    w, x, threads = case
    expected = [matmul_int8_plain(w, image) for image in np.atleast_2d(x)]
    assert np.atleast_2d(matmul_int8(w, x, threads=threads)).tolist() == expected


@given(operands(-8, 7))
def test_int4_products_are_the_int8_products_of_the_unpacked_codes(case):
    w, x, threads = case
    packed = PackedInt4.from_dense(w)
    assert np.array_equal(packed.to_dense(), w)
    assert np.array_equal(matmul_int4(packed, x, threads=threads), matmul_int8(w, x))


@st.composite
def linear_layers(draw):
    """Any scales, zero points, biases and codes; the constructor of the engine decides whether they fit."""
    m, n = draw(st.integers(1, 5)), draw(st.integers(1, 30))
    bits = draw(st.integers(2, 8))
    top = 2 ** (bits - 1) - 1
    w = draw(arrays(np.int8, (m, n), elements=st.integers(-top, top)))
    weight_scales = draw(arrays(np.float32, m, elements=scales))
    weight_qparams = QParams(weight_scales, np.zeros(m, np.int32), -top, top, "per_channel", 0)
    x_top = 2 ** draw(st.integers(1, 8)) - 1
    reads = QParams(np.float32(draw(scales)), np.int32(draw(st.integers(0, x_top))), 0, x_top)
    low, high = draw(st.sampled_from([(0, 1), (0, 15), (0, 255), (-32768, 32767)]))
    writes = QParams(np.float32(draw(scales)), np.int32(draw(st.integers(low, high))), low, high)
    bias = draw(st.none() | arrays(np.float32, m, elements=st.floats(-1e4, 1e4, width=32)))
    codes = draw(arrays(np.uint8, (draw(st.integers(1, 6)), n), elements=st.integers(0, x_top)))
    return QuantizedLayer("linear", "x", w, weight_qparams, bias, reads, writes), codes


@given(linear_layers(), st.booleans())
def test_every_code_is_at_most_one_from_the_exact_one(case, relu):
    """The exact code, from fractions; and the constants keep the bounds that the docstring states."""
    layer, codes = case
    y = layer.output_qparams
    layers = [layer] + ([QuantizedLayer("relu", "r", input_qparams=y, output_qparams=y)] if relu else [])
    try:
        net = QuantizedModel(layers, layer.input_qparams).integer_only()
    except ValueError as error:
        assert "reach far beyond the range of its output codes" in str(error)
        assume(False)
    x = layer.input_qparams
    constants, ours = fixed_point(layer, relu), net.run_codes(0, codes)
    for c, row in enumerate(layer.weight_codes.tolist()):
        multiplier, offset = int(constants.multiplier[c]), int(constants.offset[c])
        largest = sum(map(abs, row)) * x.qmax
        assert largest < 2**31 and 0 <= multiplier < 2**31 and largest * multiplier + abs(offset) < 2**63
        bias = Fraction(0) if layer.bias is None else Fraction(float(layer.bias[c]))
        for image, code in zip(codes.tolist(), ours[:, c].tolist()):
            acc = sum(a * b for a, b in zip(row, image))
            assert code == requantize_one(acc, multiplier, offset, constants.shift, constants.low, constants.high)
            scale = Fraction(float(layer.weight_qparams.scale[c])) * Fraction(float(x.scale))
            real = scale * (acc - int(x.zero_point) * sum(row)) + bias
            steps = real / Fraction(float(y.scale)) + int(y.zero_point)
            exact = min(max(round(steps), constants.low), constants.high)
            assert abs(code - exact) <= 1
            if abs(steps - round(steps)) < Fraction(1, 4) - Fraction(1, 1000):
                assert code == exact                                                    # off by one only near a tie


@given(st.floats(-1e6, 0), st.floats(1e-3, 1e6), st.integers(1, 8))
def test_relu_on_codes_is_relu_on_numbers(alpha, beta, bits):
    q = qparams_from_range(alpha, beta, bits=bits, scheme="affine")
    layer = QuantizedLayer("relu", "r", input_qparams=q, output_qparams=q)
    codes = np.arange(q.qmax + 1, dtype=np.uint8)[None]
    ours = QuantizedModel([layer], q).integer_only().run_codes(0, codes)
    assert np.array_equal(ours, np.maximum(codes, q.zero_point))
