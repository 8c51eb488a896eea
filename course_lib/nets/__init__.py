"""Networks: models, training, a cache of trained ones, and their quantized twins.

Names load on first touch, so that a saved ``QuantizedModel`` runs on integers without importing torch.
"""

from importlib import import_module

_HOME = {
    "LeNet300100": "models",
    "LeNet5": "models",
    "TrainingLog": "training",
    "train": "training",
    "predict": "training",
    "evaluate": "training",
    "trained": "store",
    "cached": "store",
    "clear_cache": "store",
    "Activations": "ptq",
    "record_activations": "ptq",
    "quantize_model": "ptq",
    "FakeQuantNet": "qat",
    "fake_quantize_ste": "qat",
    "train_qat": "qat",
    "trained_qat": "qat",
    "QuantizedFileError": "quantized_file",
    "QuantizedLayer": "quantized",
    "QuantizedModel": "quantized",
    "save_float": "quantized_file",
    "SimulatedNet": "simulated",
    "IntegerNet": "integer",
    "inference_row": "speed",
    "Adam8bit": "adam8bit",
    "BlockCodes": "adam8bit",
    "dynamic_map": "adam8bit",
    "quantize_blocks": "adam8bit",
    "dequantize_blocks": "adam8bit",
    "MonarchLinear": "monarch",
    "monarch_dense_plain": "monarch",
    "monarch_matmul": "monarch",
    "project_monarch": "monarch",
    "FixedPointNet": "fixed_point_training",
    "fixed_point_step": "fixed_point_training",
    "train_fixed_point": "fixed_point_training",
    "Embedding": "embeddings",
    "Geometry": "embeddings",
    "Graph": "embeddings",
    "class_hierarchy": "embeddings",
    "embed": "embeddings",
    "full_tree": "embeddings",
    "distances": "embeddings",
    "poincare_distance": "embeddings",
    "reconstruction": "embeddings",
}

__all__ = sorted(_HOME)


def __getattr__(name):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *__all__})
