"""Training with few bits in the loop: 8-bit states of an optimizer, fixed point."""

from course_lib.lazy import room

__getattr__, __dir__, __all__ = room(__name__, {
    "adam8bit": ["Adam8bit", "BlockCodes", "dequantize_blocks", "dynamic_map", "quantize_blocks"],
    "fixed_point": ["FixedPointNet", "fixed_point_step", "train_fixed_point"],
})  # fmt: skip
