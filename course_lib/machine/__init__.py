"""The machine below the kernels: threads, compiling, vectors, and what this processor can do."""

from course_lib.lazy import room

__getattr__, __dir__, __all__ = room(__name__, {
    "awake": (),
    "compiling": (),
    "pool": (),
    "second_python": (),
    "simd": (),
    "threads": (),
    "warm_up": (),
    "ways": (),
})  # fmt: skip
