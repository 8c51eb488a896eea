"""Panels: a few controls and one picture that answers at once. ``cl.panels.QuantizerPanel()`` shows one.

Each is a short subclass of ``Panel``. The ones that need PyTorch load it when they are first named.
"""

from course_lib.panels.base import Choice, Panel, Slider
from course_lib.panels.controls import Entry, Toggles
from course_lib.panels.energy import EnergyPanel
from course_lib.panels.float_bits import FloatBitsPanel
from course_lib.panels.images import ImagesPanel
from course_lib.panels.quantizer import QuantizerPanel
from course_lib.panels.rounding import RoundingPanel

__all__ = ["Choice", "EmbeddingPanel", "Entry", "FloatBitsPanel", "EnergyPanel", "ImagesPanel", "PTQPanel", "Panel", "QuantizerPanel", "RoundingPanel", "Slider", "Toggles"]


def __getattr__(name):
    if name == "PTQPanel":  # needs torch, which takes seconds to import
        from course_lib.panels.ptq import PTQPanel

        return PTQPanel
    if name == "EmbeddingPanel":
        from course_lib.panels.embeddings import EmbeddingPanel

        return EmbeddingPanel
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
