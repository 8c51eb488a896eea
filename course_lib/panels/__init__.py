"""Panels: a few controls and one picture that answers at once. ``cl.panels.QuantizerPanel()`` shows one.

Each is a short subclass of ``Panel`` in a file of its own, and that file alone makes it known: the room reads which
panels its files define. The ones that need PyTorch load it when they are first named.
"""

import re
from pathlib import Path

from course_lib.lazy import room


def _panels_in(folders):
    """{module: [its panels]} of the files in ``folders``, read and not imported."""
    files = [path for folder in folders for path in sorted(Path(folder).glob("*.py"))]
    found = {path.stem: re.findall(r"^class (\w+)\(\w*Panel\):", path.read_text("utf-8"), re.M) for path in files}
    return {module: names for module, names in found.items() if names}


__getattr__, __dir__, __all__ = room(__name__, {
    "base": ["Choice", "Panel", "Slider"],
    "controls": ["Entry", "Toggles"],
    **_panels_in(__path__),
})  # fmt: skip
