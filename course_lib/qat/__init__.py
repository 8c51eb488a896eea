"""Quantization-aware training: the quantizer stands in the forward pass while a network learns."""

from course_lib.lazy import room

__getattr__, __dir__, __all__ = room(__name__, {
    "harness": ["FakeQuantNet"],
    "quantizers": ["Quantizer", "Role"],
    "straight_through": ["StraightThrough", "fake_quantize_ste"],
    "training": ["train_fake_quant", "train_qat", "trained_qat"],
})  # fmt: skip
