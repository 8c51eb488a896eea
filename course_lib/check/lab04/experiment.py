"""Lab 04, the experiment: accuracy with its standard error, and the table that compares the models."""

import math
import numbers
from typing import NamedTuple

import numpy as np

from course_lib.check.base import CheckFailed, Property, Suspect, Task, as_pair, close

# --------------------------------------------------------------------------------------- accuracy with its error


def _accuracy(predicted, labels):
    p = float(np.mean(predicted == labels))
    return np.asarray(p), np.asarray(np.sqrt(p * (1 - p) / len(labels)))


def _accuracy_inputs(rng):
    yield np.array([7, 2, 1, 0, 4]), np.array([7, 2, 1, 0, 9])
    yield np.array([3, 3]), np.array([3, 3])
    yield np.array([0]), np.array([1])
    yield np.array([4]), np.array([4])
    for k in range(40):
        n = int(rng.integers(2, 300)) if k % 8 else 10_000
        labels = rng.integers(0, 10, n).astype((np.int64, np.uint8)[k % 2])
        others = (labels + rng.integers(1, 10, n)) % 10
        yield np.where(rng.random(n) < rng.random(), labels, others).astype(np.int64), labels


def _about(mistake):
    return lambda predicted, labels: mistake(float(np.mean(predicted == labels)), len(labels))


accuracy_with_error = Task(
    title="Task 1 · accuracy_with_error",
    shapes={"predicted": "n", "labels": "n"},
    expected=_accuracy,
    inputs=_accuracy_inputs,
    read=as_pair,
    properties=(
        Property("the accuracy is a fraction between 0 and 1", lambda a, *_: bool(0 <= a[0] <= 1)),
        Property("the accuracy is the share of predictions that equal their label", lambda a, e, *_: close(a[0], e[0])),
        Property("the standard error is a finite number, zero or above",
                 lambda a, *_: bool(np.isfinite(a[1]) and a[1] >= 0)),
        Property("the standard error is the square root of p (1 - p) / n", lambda a, e, *_: close(a[1], e[1])),
    ),
    suspects=(
        Suspect("the square root is missing", _about(lambda p, n: (p, p * (1 - p) / n))),
        Suspect("the division by n is missing: that is the deviation of one image", _about(
            lambda p, n: (p, (p * (1 - p)) ** 0.5))),
        Suspect("the deviation is divided by n, and should be divided by the square root of n", _about(
            lambda p, n: (p, (p * (1 - p)) ** 0.5 / n))),
        Suspect("the formula is p (1 - p) / n: here it is divided by n - 1", _about(
            lambda p, n: (p, (p * (1 - p) / (n - 1)) ** 0.5 if n > 1 else math.nan))),
        Suspect("that is the error rate, the share of wrong ones", _about(
            lambda p, n: (1 - p, (p * (1 - p) / n) ** 0.5))),
        Suspect("those are percent; give a fraction", _about(lambda p, n: (100 * p, 100 * (p * (1 - p) / n) ** 0.5))),
        Suspect("right answers are counted; divide by n", _about(lambda p, n: (p * n, (p * (1 - p) / n) ** 0.5))),
    ),
    tried="all right, all wrong, one image, and random predictions on 2 to 10 000 images",
)

# ----------------------------------------------------------------------------------------------------- comparison


class _Model(NamedTuple):
    """Stands in for a quantized network: it knows how it was made and nothing else."""

    method: str
    weight_bits: int
    activation_bits: int | None


def _wanted():
    ptq = [("PTQ", bits, activations) for bits in (8, 4, 3, 2) for activations in (None, bits)]
    return ptq + [("QAT", bits, bits) for bits in (3, 2)]


def _table(ptq, qat, measure):
    make = {"PTQ": ptq, "QAT": qat}
    return [dict(zip(("method", "weight_bits", "activation_bits"), wanted), **measure(make[wanted[0]](*wanted[1:])))
            for wanted in _wanted()]


def _comparison_inputs(rng):
    for _ in range(4):
        noise = {configuration: rng.random(5) for configuration in _wanted()}
        yield tuple(_stand_ins(noise))


def _stand_ins(noise):
    """Three functions that look like the real ones and answer at once."""
    def bits_of(weight_bits, activation_bits):
        for name, bits in (("weight_bits", weight_bits), ("activation_bits", activation_bits)):
            if not (isinstance(bits, numbers.Integral) or (bits is None and name == "activation_bits")):
                raise TypeError(f"{name} must be an int{' or None' if name == 'activation_bits' else ''}, not {bits!r}")
        return weight_bits, activation_bits

    def ptq(weight_bits, activation_bits):
        return _Model("PTQ", *bits_of(weight_bits, activation_bits))

    def qat(weight_bits, activation_bits):
        return _Model("QAT", *bits_of(weight_bits, activation_bits))

    def measure(model):
        if not isinstance(model, _Model):
            raise TypeError("measure takes the model that ptq or qat returned")
        a, b, c, d, e = noise.get(tuple(model), np.zeros(5))
        return {"accuracy": 0.5 + a / 2, "stderr": b / 100, "difference": c - 0.9, "difference_stderr": d / 100,
                "bytes": int(1e6 * e)}

    return ptq, qat, measure


_KEYS = ("method", "weight_bits", "activation_bits", "accuracy", "stderr", "difference", "difference_stderr", "bytes")


def _rows(answer):
    if not isinstance(answer, list) or not all(isinstance(row, dict) for row in answer):
        raise CheckFailed("the answer must be a list of dicts, one dict for each model")
    return answer


def _made(row):
    return tuple(row[key] for key in _KEYS[:3])


def _keys(rows, *_):
    for row in rows:
        if set(row) != set(_KEYS):
            return f"One row has the keys {sorted(row)}."
    return True


def _all_there(rows, *_):
    made = [_made(row) for row in rows]
    lost = [wanted for wanted in _wanted() if wanted not in made]
    return not lost or f"Missing (method, weight_bits, activation_bits): {lost[0]}."


def _no_others(rows, *_):
    made = [_made(row) for row in rows]
    extra = [m for i, m in enumerate(made) if m not in _wanted() or m in made[:i]]
    return not extra or f"Not asked for, or there twice: {extra[0]}."


def _own_numbers(rows, expected, *_):
    right = {_made(row): row for row in expected}
    for row in rows:
        if row != right[_made(row)]:
            return f"The row of {_made(row)} holds other numbers than measure gives for that model."
    return True


comparison = Task(
    title="Task 7 · comparison",
    shapes={"ptq": "", "qat": "", "measure": ""},
    expected=_table,
    inputs=_comparison_inputs,
    read=_rows,
    quote=False,
    properties=(
        Property(f"each row has the keys {', '.join(_KEYS)}", _keys),
        Property("every model asked for is in the table: PTQ at 8, 4, 3, 2 bits, weights alone (activation_bits None) "
                 "and weights with activations (both alike), and QAT at 3 and 2 bits (both alike)", _all_there),
        Property("the ten models are there once each, and no others", _no_others),
        Property("each row holds what `measure` says of its own model", _own_numbers),
    ),
    tried="stand-ins for ptq, qat and measure that answer at once, with new numbers each time",
)
