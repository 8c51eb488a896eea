"""What holds codes and runs: a quantized model, its file, its engines, and the one table of kinds of layers.

A saved one runs on integers without PyTorch.
"""

from course_lib.lazy import room

__getattr__, __dir__, __all__ = room(__name__, {
    "costs": ["cost"],
    "file": ["QuantizedFileError", "save_float"],
    "integer": ["IntegerNet"],
    "layers": ["KINDS", "register"],
    "model": ["QuantizedLayer", "QuantizedModel"],
    "simulated": ["SimulatedNet"],
    "steps": ["run_steps", "walk_steps"],
})  # fmt: skip
