"""Two more controls: bits to flip, and a line of text.

Both work by keyboard and have names that a screen reader says.
"""

from __future__ import annotations

from dataclasses import dataclass

import ipywidgets as widgets
from traitlets import Int, validate

from course_lib.panels.base import LABEL_WIDTH


class Bits(widgets.VBox):
    """A whole number as its bits, highest first, eight to a row: each a button that flips it;
    under them one less, one more.

    ``value`` is the number; what does not fit into the bits in use is clamped.
    """

    value = Int(0)

    def __init__(self, count, value=0):
        self._buttons = [widgets.ToggleButton(layout=widgets.Layout(width="33px", margin="1px")) for _ in range(count)]
        self._setting = False
        self._names = [""] * count
        self._less, self._more = (
            widgets.Button(description=word, tooltip=hint, layout=widgets.Layout(width="140px", margin="3px 1px"))
            for word, hint in (("◀ pattern − 1", "Bit pattern minus one"), ("pattern + 1 ▶", "Bit pattern plus one"))
        )
        self._less.on_click(lambda _: self._step(-1))
        self._more.on_click(lambda _: self._step(1))
        row = widgets.Box(self._buttons, layout=widgets.Layout(flex_flow="row wrap", width="288px"))
        super().__init__([widgets.HTML(CSS), row, widgets.HBox([self._less, self._more])])
        self.add_class("cl-bits")
        self.arrange([("bit", f"bit {place}") for place in reversed(range(count))])
        for button in self._buttons:
            button.observe(self._flipped, "value")
        self.observe(lambda _: self._show(), "value")
        self.value = value

    def arrange(self, bits):
        """Use as many bits as there are pairs (kind, name), highest first; the CSS class of a bit is ``cl-<kind>``."""
        self._used = len(bits)
        for place, button in enumerate(self._buttons):
            button.layout.display = None if place < self._used else "none"
        for button, (kind, _) in zip(self._buttons, bits, strict=False):
            button._dom_classes = (f"cl-{kind}",)
        self._names = [name for _, name in bits]
        self.value = min(self.value, 2**self._used - 1)
        self._show()

    @validate("value")
    def _clamp(self, proposal):
        return min(max(proposal["value"], 0), 2**self._used - 1)

    def _step(self, by):
        self.value += by

    def _show(self):
        self._setting = True
        for place, (button, name) in enumerate(zip(self._buttons, self._names, strict=False)):
            button.value = bool(self.value >> (self._used - 1 - place) & 1)
            button.tooltip = f"{name}: {button.value:d}"
        self._setting = False

    def _flipped(self, _):
        if not self._setting:
            used = self._buttons[: self._used]
            self.value = sum(button.value << place for place, button in enumerate(reversed(used)))


@dataclass(frozen=True)
class Toggles:
    """A whole number of up to ``count`` bits, each of which can be flipped: see ``Bits``."""

    label: str
    count: int
    hint: str = ""

    def build(self, value: int) -> tuple[widgets.Widget, widgets.Widget]:
        bits = Bits(self.count, value)
        return bits, widgets.VBox([widgets.Label(self.label, tooltip=self.hint or None), bits])


@dataclass(frozen=True)
class Entry:
    """A line of text, taken when the reader presses Enter or leaves it."""

    label: str
    hint: str = ""

    def build(self, value: str) -> tuple[widgets.Widget, widgets.Widget]:
        box = widgets.Text(
            value=value, description=self.label, tooltip=self.hint or None, continuous_update=False,
            placeholder=self.hint, style={"description_width": LABEL_WIDTH},
            layout=widgets.Layout(width="288px", margin="1px 0"),
        )  # fmt: skip
        return box, box


# A button's digit is drawn by the style sheet: so its accessible name is its tooltip, "exponent bit worth 8: 1".
CSS = """<style>
.cl-bits .widget-toggle-button { padding: 0; line-height: 26px; height: 28px; box-shadow: none; \
font: 600 16px monospace; color: #222; }
.cl-bits .widget-toggle-button::before { content: "0"; content: "0" / ""; }
.cl-bits .widget-toggle-button.mod-active::before { content: "1"; content: "1" / ""; }
.cl-bits .widget-toggle-button:focus-visible { outline: 3px solid #222; outline-offset: 1px; }
.cl-bits .cl-bit, .cl-bits .cl-fraction { background: #DCEBF5; }
.cl-bits .cl-bit.mod-active, .cl-bits .cl-fraction.mod-active { background: #0072B2; color: #FFF; }
.cl-bits .cl-exponent { background: #FBEFD3; }
.cl-bits .cl-exponent.mod-active { background: #E69F00; color: #222; }
.cl-bits .cl-sign { background: #F7E8F0; }
.cl-bits .cl-sign.mod-active { background: #CC79A7; color: #222; }
</style>"""
