"""Post-training quantization: codes for a trained network, without training."""

from course_lib.lazy import room

__getattr__, __dir__, __all__ = room(__name__, {
    "bias_correction": ["correct_bias"],
    "data_free": ["Synthesis", "synthesise_images"],
    "dynamic": ["DynamicLinear", "DynamicNet", "Per"],
    "learners": [
        "Exercises", "LearnerNet", "QuantizedLearnerNet", "out_of_vocabulary", "simulate_learners",
        "trained_learner_net",
    ],
    "modes": ["InMode", "Mode", "quantize_in_mode"],
    "post_training": ["Activations", "quantize_model", "record_activations"],
    "reconstruction": ["reconstruct"],
    "shifts": ["add_noise", "invert", "rotate"],
})  # fmt: skip
