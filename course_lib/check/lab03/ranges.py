"""Lab 03: from a range of real numbers to integer codes, and back."""

from dataclasses import replace

import numpy as np

from course_lib.check import quantizer
from course_lib.check.base import Property, Suspect, Task, as_pair
from course_lib.check.quantizer import affine, affine_rules, clear_zero_point

# ----------------------------------------------------------------------------------------------------- code ranges

KINDS = {
    "unsigned": lambda bits: (0, 2**bits - 1),
    "signed": lambda bits: (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1),
    "symmetric": lambda bits: (1 - 2 ** (bits - 1), 2 ** (bits - 1) - 1),
}


def _codes_of_every_width(rng):
    yield 3, "unsigned"
    yield 3, "signed"
    yield 3, "symmetric"
    for bits in range(1, 17):
        for kind in KINDS:
            yield bits, kind


def _holds_for(kind):
    return lambda answer, expected, bits, asked: asked != kind or bool(answer == expected)


code_range = Task(
    title="Task 1 · code_range",
    shapes={"bits": "", "kind": ""},
    expected=lambda bits, kind: tuple(map(np.asarray, KINDS[kind](bits))),
    inputs=_codes_of_every_width,
    read=as_pair,
    properties=(
        Property("both ends are integers: use **, not floats",
                 lambda a, *_: all(end.dtype.kind in "iu" for end in a)),
        Property("the smallest code comes first", lambda a, *_: bool(a[0] <= a[1])),
        Property("unsigned codes begin at 0, and there are 2^bits of them", _holds_for("unsigned")),
        Property("signed codes are those of two's complement: 2^bits of them, with one more below 0 than above",
                 _holds_for("signed")),
        Property("symmetric codes are the signed ones without the lowest: as many below 0 as above",
                 _holds_for("symmetric")),
    ),
    suspects=(
        Suspect("the upper end is off by one: 0 is a code too, so the last is one less",
                lambda bits, kind: (KINDS[kind](bits)[0], KINDS[kind](bits)[1] + 1)),
        Suspect("the sign bit was forgotten: it leaves bits - 1 for the magnitude",
                lambda bits, kind: KINDS[kind](bits + (kind != "unsigned"))),
        Suspect("signed and symmetric were not told apart",
                lambda bits, kind: KINDS["symmetric" if kind == "signed" else kind](bits)),
        Suspect("signed and symmetric were not told apart",
                lambda bits, kind: KINDS["signed" if kind == "symmetric" else kind](bits)),
        Suspect("signed and symmetric were exchanged", lambda bits, kind: KINDS[
            {"signed": "symmetric", "symmetric": "signed"}.get(kind, kind)](bits)),
    ),
    fixed=("kind",),
    valid=lambda bits, kind: 1 + (kind == "symmetric") <= bits <= 16,
    tried="every width from 1 to 16 bits, unsigned, signed and symmetric",
)

# ------------------------------------------------------------------------------------- scale and zero point, affine


def _affine_inputs(rng):
    yield 0.0, 1.0, -128, 127
    yield -1.0, 2.0, 0, 3
    yield -0.3, 1.0, 0, 255
    yield 20.0, 21.0, 0, 255
    yield -6.0, -3.0, -4, 3
    yield 0.0, 0.0, 0, 255
    yield 0.0, 0.0, -128, 127
    yield -1.0, 1.0, -127, 127          # ends that sum to zero
    yield -5.0, 0.0, 0, 255
    yield 0.0, 1e-9, 0, 255             # narrow, and no zero
    yield -3e-13, 1e-13, 0, 15
    yield 1000.0, 1000.001, 0, 255
    yield -2000.001, -2000.0, -8, 7
    yield 0.3, 0.3, 0, 255              # a single number
    yield 2.5, 2.5, -8, 7
    yield -0.7, -0.7, 0, 255
    yield -1e-7, -1e-7, -8, 7
    for k in range(64):
        bits = 1 + k // 3 % 8
        kind = ("unsigned", "signed", "symmetric")[k % 3] if bits > 1 else "unsigned"
        low, high = np.sort(rng.normal(size=2)) * np.exp(rng.normal()) + (0, 0, 3, -3)[k % 4]
        yield float(low), float(high), *KINDS[kind](bits)


def _own_ends(alpha, beta, qmin, qmax):
    return alpha, beta, qmin, qmax


def _clear(alpha, beta, qmin, qmax):
    return alpha <= beta and clear_zero_point(alpha, beta, qmin, qmax)


_AFFINE, _USUAL = affine_rules(_own_ends, rule="qmin - round(alpha / S)", point=True)

affine_params = Task(
    title="Task 2 · affine_params",
    shapes={"alpha": "", "beta": "", "qmin": "", "qmax": ""},
    expected=affine,
    inputs=_affine_inputs,
    read=as_pair,
    properties=_AFFINE,
    suspects=_USUAL,
    fixed=("qmin", "qmax"),
    valid=_clear,
    tried="ranges around, above and below zero, wide and narrow, a single number, nothing but zero; "
          "unsigned and signed codes",
)

# ----------------------------------------------------------------------------------------- quantize and dequantize


def _with_a_scale_for_each_number(rng):
    """As for groups of weights, where `scale` has the shape of x."""
    yield from quantizer.quantize.inputs(rng)
    for _ in range(5):
        scale = 2.0 ** rng.integers(-4, 4, (rng.integers(1, 4), rng.integers(2, 6)))
        yield (scale * rng.integers(-20, 20, scale.shape) / 2).astype(np.float32), scale, 0, -7, 7


quantize = replace(quantizer.quantize, title="Task 3 · quantize", inputs=_with_a_scale_for_each_number)
dequantize = replace(quantizer.dequantize, title="Task 4 · dequantize")
