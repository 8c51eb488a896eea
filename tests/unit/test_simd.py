"""Vectors in kernels: right on this processor (test_portable.py tries the same on a plain one), wrong use refused."""

import numba
import numpy as np
import pytest
from course_lib.kernels import simd
from numba.core.errors import TypingError
from tests.unit import portable_simd


def test_every_operation_gives_what_numpy_gives():
    portable_simd.trial()


def test_a_feature_nobody_has_is_not_found():
    assert not simd.has("telepathy")


@numba.njit
def cross_types(a, b, i):
    simd.store(b, i, simd.load(a, i))


@numba.njit
def variable_lanes(a, lanes):
    return simd.sum(simd.load_lanes(a, 0, lanes))


@numba.njit
def dot_of_floats(a):
    v = simd.load(a, 0)
    return simd.sum(simd.dot4(v, v, v))


def test_wrong_use_is_refused_by_the_compiler():
    with pytest.raises(TypingError, match="does not go into an array of int32"):
        cross_types(np.zeros(16, np.float32), np.zeros(16, np.int32), 0)
    with pytest.raises(TypingError, match="lanes must be a constant"):
        variable_lanes(np.zeros(16, np.float32), 16)
    with pytest.raises(TypingError, match="dot4 takes int32, uint8 and int8"):
        dot_of_floats(np.zeros(16, np.float32))
