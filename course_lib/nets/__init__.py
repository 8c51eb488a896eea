"""Networks: models, training, and a store of trained ones."""

from course_lib.lazy import room

__getattr__, __dir__, __all__ = room(__name__, {
    "evaluation": ["evaluate", "predict"],
    "models": ["LeNet300100", "LeNet5", "Residual", "SmallResNet"],
    "store": ["cached", "clear_cache", "trained"],
    "surgery": ["fold_batch_norm", "replace_layers"],
    "training": ["Reading", "TrainingLog", "train"],
})  # fmt: skip
