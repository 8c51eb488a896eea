"""What holds codes and runs: a quantized model, its file, and its engines.

A saved one runs on integers without PyTorch.
"""

from course_lib.lazy import room

__getattr__, __dir__, __all__ = room(__name__, {
    "file": ["QuantizedFileError", "save_float"],
    "integer": ["IntegerNet"],
    "model": ["QuantizedLayer", "QuantizedModel"],
    "simulated": ["SimulatedNet"],
})  # fmt: skip
