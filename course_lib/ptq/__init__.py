"""Post-training quantization: codes for a trained network, without training."""

from course_lib.lazy import room

__getattr__, __dir__, __all__ = room(__name__, {
    "dynamic": ["DynamicLinear", "DynamicNet", "Per"],
    "post_training": ["Activations", "quantize_model", "record_activations"],
    "reconstruction": ["reconstruct"],
})  # fmt: skip
