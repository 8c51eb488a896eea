"""Structured matrices: fewer numbers by a pattern that is known beforehand."""

from course_lib.lazy import room

__getattr__, __dir__, __all__ = room(__name__, {
    "monarch": ["MonarchLinear", "monarch_dense_plain", "monarch_matmul", "project_monarch"],
})  # fmt: skip
