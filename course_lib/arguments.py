"""The checks that the friendly functions share: each error names the argument, the value, and what would be right."""

import numpy as np


def choose(kind, value, name):
    """The member of the enum ``kind`` that ``value`` is or spells; otherwise an error that lists the right ones."""
    try:
        return kind(value)
    except ValueError:
        right = ", ".join(repr(member.value) for member in kind)
        raise ValueError(f"{name}={value!r} is not one of {right}") from None


def whole_number(value: object, name: str, low: int | None = None, high: int | None = None) -> int:
    """``value`` as Python's int, if it is a whole number of any kind, from ``low`` to ``high`` where they are given."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, (bool, np.bool_))
    if whole and (low is None or low <= value) and (high is None or value <= high):
        return int(value)
    right = "" if low is None and high is None else f", {low} or more" if high is None else f" from {low} to {high}"
    raise ValueError(f"{name}={value!r} must be a whole number{right}")


def not_negative(value: object, name: str) -> float:
    """``value`` as Python's float, if it is a number from 0 that is finite."""
    number = isinstance(value, (int, float, np.number)) and not isinstance(value, (bool, np.bool_, np.complexfloating))
    if not number or not 0 <= value < np.inf:
        raise ValueError(f"{name}={value!r} must be a number, 0 or more, and finite")
    return float(value)


def as_array(x, name="x"):
    """``x`` as an array, if it is one, or a number, a tensor, nested lists of numbers; its dtype is not looked at."""
    try:
        array = np.asarray(x)
    except (TypeError, ValueError, RuntimeError) as error:      # uneven lists, a tensor that has a gradient
        raise TypeError(f"{name} is a {type(x).__name__} that NumPy cannot read as an array ({error})") from error
    if array.ndim == 0 and array.dtype == object:
        raise TypeError(f"{name} is a {type(x).__name__}; it must be an array of numbers")
    return array


def float64_array(x, name="x"):
    """Real numbers of any dtype, as float64."""
    x = as_array(x, name)
    if x.dtype.kind not in "fiu":
        raise TypeError(f"{name} has dtype {x.dtype}; it must hold real numbers")
    return x.astype(np.float64)


def float_array(x, name="x"):
    """``x`` as a float32 or float64 array in the machine's byte order (NaN and infinities pass)."""
    given, x = x, as_array(x, name)
    if x.dtype.kind != "f" or x.dtype.itemsize not in (4, 8):
        raise TypeError(f"{name} has dtype {x.dtype}; it must be float32 or float64: "
                        f"use {in_dtype(given, name, 'float32')}")
    return x.astype(x.dtype.newbyteorder("="), copy=False)


def in_dtype(x, name, dtype):
    """How a reader gets ``x`` in this dtype, in Python: only an array has ``astype``."""
    return f"{name}.astype(np.{dtype})" if isinstance(x, np.ndarray) else f"np.asarray({name}, np.{dtype})"


def integer_array(x, name, why="it must be an integer dtype"):
    """``x`` as an array of integers; an empty list is one too."""
    x = as_array(x, name)
    if not x.size and x.dtype == np.float64:
        x = x.astype(np.int64)
    if x.dtype.kind not in "iu":
        raise TypeError(f"{name} has dtype {x.dtype}; {why}")
    return x


def real_array(x, name="x"):
    """``x`` as a float32 or float64 array without NaN (infinities pass)."""
    x = float_array(x, name)
    if x.size and np.isnan(x.min()):                    # a minimum carries NaN on, and needs no second array
        where = np.argwhere(np.isnan(x))
        place = f" at index {tuple(map(int, where[0]))}" if x.ndim else ""
        raise ValueError(f"{name} has {len(where)} NaN, the first{place}; NaN has no code, remove it first")
    return x


def finite_array(x, name="x"):
    """``x`` as a float32 or float64 array that has entries, all of them finite."""
    x = real_array(x, name)
    if x.size == 0:
        raise ValueError(f"{name} is empty (shape {x.shape}); it needs at least one number")
    if not (np.isfinite(x.min()) and np.isfinite(x.max())):
        where = np.argwhere(np.isinf(x))
        place = f" at index {tuple(map(int, where[0]))}" if x.ndim else ""
        raise ValueError(f"{name} has {len(where)} infinities, the first{place}; a clipping range needs finite numbers")
    return x


def seed_from(rng, name="rounding='stochastic'"):
    """One 64-bit seed drawn from a generator."""
    if not isinstance(rng, np.random.Generator):
        raise ValueError(f"{name} needs rng, a NumPy generator, and got {rng!r}: make one with "
                         "rng = np.random.default_rng(0)")
    return rng.integers(0, 2**64, dtype=np.uint64)


def result_array(out, shape, dtype, name="out"):
    """``out`` if it can take a result of this shape and dtype, or a new array where it is None."""
    if out is None:
        return np.empty(shape, dtype)
    if not isinstance(out, np.ndarray):
        raise TypeError(f"{name} is {type(out).__name__}; it must be a NumPy array, or None for a new one")
    if out.shape != tuple(shape) or out.dtype != dtype:
        raise ValueError(f"{name} has shape {out.shape} and dtype {out.dtype}; the result has {tuple(shape)} and "
                         f"{np.dtype(dtype)}")
    if not (out.flags.c_contiguous and out.flags.writeable):
        raise ValueError(f"{name} must be C-contiguous and writeable: use np.empty({tuple(shape)}, {np.dtype(dtype)})")
    return out
