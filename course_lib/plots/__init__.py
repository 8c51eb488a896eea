"""The look of the course, the figures that several pages share, and how a picture gets onto a page with its words."""

from course_lib.lazy import room

__getattr__, __dir__, __all__ = room(__name__, {
    "look": [
        "ACCENT", "ERROR", "INK", "PRUNED", "QUANTIZED", "REAL", "SECOND", "STYLE", "TEACHER", "THIRD",
        "style", "use_style",
    ],
    "showing": ["show"],
    "shapes": ["bars_with_error", "histogram_line", "label_line", "outline", "spread_labels", "staircase"],
    "networks": ["network", "scoreboard"],
    "rooflines": ["limits_reached", "roofline"],
    "panel_parts": ["Tiles", "name_axes"],
})  # fmt: skip
