"""What a check makes of a student's return value: numbers in any form, compared and shown."""

import decimal
import numbers

import numpy as np

RED, PLAIN = "\x1b[31m", "\x1b[0m"
_EXACT = (numbers.Real, decimal.Decimal)


class CheckFailed(AssertionError):
    """An answer is not right yet. The message says what broke and shows an input that breaks it."""

    def _render_traceback_(self):
        """What a notebook shows: the message alone, not the way through our code."""
        return [f"{RED}{self}{PLAIN}"]


def as_array(answer, kinds="iuf"):
    """A student's return value as an ndarray of numbers: arrays, tensors, lists, bytes and numbers are all right.

    Truth values are no numbers, unless `kinds` has a "b".
    """
    try:
        if hasattr(answer, "detach"):
            answer = answer.detach().cpu()
            answer = (answer.double() if answer.is_floating_point() else answer).numpy()    # NumPy has no bfloat16
        if isinstance(answer, bytes | bytearray):
            answer = np.frombuffer(bytes(answer), np.uint8)
        array = np.asarray(answer)
        if array.dtype == object and all(isinstance(v, _EXACT) and not isinstance(v, bool) for v in array.flat):
            whole = all(isinstance(v, numbers.Integral) and -(2**63) <= v < 2**63 for v in array.flat)
            array = array.astype(np.int64 if whole else float)  # Python's own numbers: ints, fractions, decimals
    except Exception:
        array = None
    if array is None or array.dtype.kind not in kinds:
        raise CheckFailed(f"the answer must be an array of numbers, not {show(answer)}")
    return array


def as_number(answer):
    """A student's return value as one number: an ndarray without axes."""
    array = as_array(answer)
    if array.size != 1:
        raise CheckFailed(f"the answer must be one number, not an array of shape {array.shape}")
    return array.reshape(())


def as_pair(answer):
    """A student's return value as two ndarrays without axes."""
    if getattr(answer, "shape", None) == (2,):
        answer = tuple(answer)
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        raise CheckFailed(f"the answer must be two numbers, `return first, second`, not {show(answer)}")
    pair = tuple(as_array(part) for part in answer)
    if any(part.size != 1 for part in pair):
        raise CheckFailed(f"the answer must be two single numbers, not {show(answer)}")
    return tuple(part.reshape(()) for part in pair)


def same_shape(answer, expected, *arguments):
    return answer.shape == expected.shape or f"Your shape is {answer.shape}, the right one {expected.shape}."


def integers(answer, expected, *arguments):
    return answer.dtype.kind in "iu" or f"Your dtype is {answer.dtype}: cast with .astype(np.int32) at the end."


def equal(answer, expected, *arguments):
    return bool(np.array_equal(answer, expected))


def close(answer, expected, *arguments):
    """Equal to a relative 1e-5: float32 and float64 are both right. NaN never is."""
    return bool(np.allclose(answer, expected, rtol=1e-5, atol=1e-9))


def plain(answer):
    """A reference's answer as a student's function gives it: Python numbers where they are single."""
    if isinstance(answer, tuple):
        return tuple(plain(part) for part in answer)
    return answer.item() if isinstance(answer, np.ndarray | np.generic) and answer.ndim == 0 else answer


def same(before, after):
    """Equal in value, shape and dtype, NaN included."""
    if isinstance(before, tuple | list):
        return len(before) == len(after) and all(same(b, a) for b, a in zip(before, after))
    if isinstance(before, np.ndarray):
        return before.dtype == after.dtype and np.array_equal(before, after, equal_nan=before.dtype.kind == "f")
    return before is after or before == after                     # NaN is itself, and not equal to itself


def agree(answer, other):
    """Equal as far as float32 goes. What could not be read as numbers agrees with nothing."""
    if isinstance(answer, tuple) and isinstance(other, tuple):
        return len(answer) == len(other) and all(agree(a, o) for a, o in zip(answer, other))
    if not isinstance(answer, np.ndarray) or not isinstance(other, np.ndarray):
        return False
    return answer.shape == other.shape and np.allclose(answer, other, rtol=1e-5, atol=1e-9, equal_nan=True)


def show(value):
    if isinstance(value, tuple):
        return "(" + ", ".join(show(part) for part in value) + ")"
    if isinstance(value, np.ndarray):
        text = np.array2string(value, separator=", ", threshold=60, max_line_width=100)
        return (text if value.ndim < 2 else text.replace("\n", "\n" + " " * 8)) + f"  ({value.dtype})"
    text = repr(value)
    return text if len(text) <= 200 else text[:200] + " …"
