"""Networks: models, training, and a store of trained ones."""

from course_lib.lazy import room

__getattr__, __dir__, __all__ = room(__name__, {
    "models": ["LeNet300100", "LeNet5"],
    "store": ["cached", "clear_cache", "trained"],
    "training": ["TrainingLog", "evaluate", "predict", "train"],
})  # fmt: skip
