"""Panels: a few controls and one picture that answers at once. ``cl.panels.QuantizerPanel()`` shows one.

Each is a short subclass of ``Panel``. The ones that need PyTorch load it when they are first named.
"""

from course_lib.lazy import room

__getattr__, __dir__, __all__ = room(__name__, {
    "base": ["Choice", "Panel", "Slider"],
    "controls": ["Entry", "Toggles"],
    "embeddings": ["EmbeddingPanel"],
    "energy": ["EnergyPanel"],
    "float_bits": ["FloatBitsPanel"],
    "images": ["ImagesPanel"],
    "ptq": ["PTQPanel"],
    "quantizer": ["QuantizerPanel"],
    "rounding": ["RoundingPanel"],
})  # fmt: skip
