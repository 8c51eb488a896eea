"""The one class that every panel is built on.

A panel is ``controls → state → compute(state) → draw(figure, result)``: a frozen dataclass of what the controls say, a
pure function of it, and a picture of the answer. A subclass names its controls and writes a few methods; the rest
(widgets, linking, coalescing, drawing, errors, the picture for readers without a kernel) is here.

How a drag stays smooth. A change only stamps a new version and asks the event loop to draw later; messages that wait in
the kernel are handled first, and of the draws that were asked for only the newest does anything. So a drag that outruns
the drawing skips to the newest value, and the last value is always drawn. A ``heavy`` panel draws a quick answer while
values keep coming and the full one once they have stood still for ``SETTLE_S``.

How a picture stays quick. The figure is made once. Artists that move are ``animated``, so that Matplotlib leaves them
out of the background (axes, ticks, labels), which is kept and painted under them again. The background is drawn anew
only when something in it changed, which Matplotlib itself notes in ``figure.stale``.
"""

from __future__ import annotations

import asyncio
import base64
import html
import struct
import threading
import zlib
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, Self

import ipywidgets as widgets
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from traitlets import Unicode

from course_lib import plots

SETTLE_S = 0.25  # a heavy panel takes a value for final when it has stood still this long
LABEL_WIDTH = "100px"


class Control(Protocol):
    """What ``Panel.controls`` names: anything that makes a widget with a ``value``."""

    def build(self, value: Any) -> tuple[widgets.Widget, widgets.Widget]:
        """The widget that holds the value, which it starts with, and the row that shows it."""
        ...


@dataclass(frozen=True)
class Slider:
    """A number between ``low`` and ``high``: a slider linked to a number box that carries the label."""

    label: str
    low: float
    high: float
    step: float = 1
    hint: str = ""

    def build(self, value: float) -> tuple[widgets.Widget, widgets.Widget]:
        whole = all(isinstance(number, int) for number in (self.low, self.high, self.step))
        make_box, make_slider = (
            (widgets.BoundedIntText, widgets.IntSlider) if whole else (widgets.BoundedFloatText, widgets.FloatSlider)
        )
        limits = dict(value=value, min=self.low, max=self.high, step=self.step)
        box = make_box(
            **limits, description=self.label, tooltip=self.hint or None,
            style={"description_width": LABEL_WIDTH}, layout=widgets.Layout(width="164px", margin="1px 2px 1px 0"),
        )  # fmt: skip
        slider = make_slider(**limits, readout=False, layout=widgets.Layout(width="110px", margin="1px 0"))
        for trait in ("value", "min", "max"):  # a panel may move the limits of its slider
            widgets.link((slider, trait), (box, trait))
        return slider, widgets.HBox([box, slider])


@dataclass(frozen=True)
class Choice:
    """One of several named options: a drop-down list. ``options`` maps what the reader sees to the state's value."""

    label: str
    options: dict[str, Any]
    hint: str = ""

    def build(self, value: Any) -> tuple[widgets.Widget, widgets.Widget]:
        dropdown = widgets.Dropdown(
            options=list(self.options.items()), value=value, description=self.label, tooltip=self.hint or None,
            style={"description_width": LABEL_WIDTH}, layout=widgets.Layout(width="276px", margin="1px 0"),
        )  # fmt: skip
        return dropdown, dropdown


class Picture(widgets.Image):
    """An image with an accessible name.

    ``widgets.Image`` has no alternative text, but the page gives an element its ``tooltip`` as ``title``, which is an
    image's accessible name, as soon as the widget has an (empty) ``description``, which ``widgets.Image`` lacks.
    """

    description = Unicode("").tag(sync=True)


class Drawn(NamedTuple):
    """What is on screen: the state it shows, its result, the picture and its alternative text."""

    state: Any
    result: Any
    png: bytes
    text: str
    quick: bool


class Panel:
    """Base class of the panels; see the module's docstring for how it works.

    A subclass sets the class attributes below and implements ``build``, ``compute``, ``draw`` and ``describe``.

    Parameters
    ----------
    **start : values of ``State`` to begin with; the reset button returns to them
    """

    State: type  #: frozen dataclass: one field with a default for each control
    name = "panel"  #: short name; the CSS class is ``cl-<name>``, the handle of browser tests
    title = ""  #: one line above the controls
    try_this = ""  #: one or two lines of HTML under the controls
    size = (640, 470)  #: pixels of the picture
    heavy = False  #: True: quick answer while values keep coming, the full one when they stand still

    def __init__(self, **start: Any):
        self._start = self.State(**start)
        self._lock = threading.RLock()  # JupyterLab may deliver a control's messages on another thread than the cells'
        self._version = 0  # counts changes of the controls
        self._shown = -1  # the version on screen, and whether fully
        self._full = False
        self._drawn: Drawn | None = None
        self._figure = self._background = self._moving = None
        self.error: Exception | None = None
        self._build_widgets()

    # -- what a subclass writes ------------------------------------------------------------------------------------

    def controls(self) -> dict[str, Control]:
        """The controls, top to bottom: {name of the state's field: Slider or Choice}."""
        raise NotImplementedError

    def compute(self, state: Any, *, quick: bool = False) -> Any:
        """The answer for one state. Pure: no widget, no figure. ``quick`` asks a heavy panel for its subset."""
        raise NotImplementedError

    def build(self, figure: Figure) -> None:
        """Make the axes and every artist, once. Artists that move are ``animated=True``."""
        raise NotImplementedError

    def draw(self, figure: Figure, result: Any) -> None:
        """Update the artists in place."""
        raise NotImplementedError

    def describe(self, result: Any) -> str:
        """The picture in words, with its numbers: its alternative text."""
        raise NotImplementedError

    # -- what a reader uses ----------------------------------------------------------------------------------------

    @property
    def state(self) -> Any:
        """What the controls say now."""
        return self.State(**{name: widget.value for name, widget in self.widgets.items()})

    def set(self, **values: Any) -> Self:
        """Move controls from code; returns the panel. An unknown name or a value out of range is an error."""
        for name, value in values.items():
            if name not in self.widgets:
                raise ValueError(f"{name!r} is not a control of this panel; its controls are {', '.join(self.widgets)}")
            widget = self.widgets[name]
            widget.value = value
            if widget.value != value:  # a bounded widget clamps without a word
                raise ValueError(f"{name}={value!r} is outside the control's range; it took {widget.value!r}")
        return self

    def reset(self, _: object = None) -> None:
        """Put every control back to where it started."""
        self.set(**{name: getattr(self._start, name) for name in self.widgets})

    @property
    def shown(self) -> Drawn | None:
        """What is on screen, brought up to date first. ``None`` if no state could be drawn yet."""
        self.refresh()
        return self._drawn

    def refresh(self, *, quick: bool = False) -> None:
        """Compute and draw what the controls say, unless it is on screen already. An error is shown in words."""
        with self._lock:
            version = self._version
            if self._shown == version and (self._full or quick):
                return
            try:
                state = self.state
                result = self.compute(state, quick=True) if quick else self.compute(state)
                self._drawn = Drawn(state, result, self._paint(result), self.describe(result), quick)
                self.error = None
            except Exception as error:  # whatever went wrong, the reader sees it in words and goes on
                self.error = error
            self._shown, self._full = version, not quick
            self._publish()

    def _repr_mimebundle_(self, **kwargs):
        """The live widget where there is a kernel; a picture of the same state, and its words, where there is none."""
        self.refresh()
        bundle, metadata = {"text/plain": f"<{type(self).__name__}: {self._words()}>"}, {}
        if self._drawn is not None:
            bundle["image/png"] = base64.b64encode(self._drawn.png).decode()
            metadata["image/png"] = {"alt": self._words()}
        live = self.widget._repr_mimebundle_() or {}
        view = "application/vnd.jupyter.widget-view+json"
        return bundle | {key: value for key, value in live.items() if key == view}, metadata

    # -- widgets ---------------------------------------------------------------------------------------------------

    def _build_widgets(self):
        self.widgets, rows = {}, []
        for name, control in self.controls().items():
            self.widgets[name], row = control.build(getattr(self._start, name))
            self.widgets[name].observe(self._changed, "value")
            rows.append(row)
        width, height = self.size
        shrinks = widgets.Layout(flex=f"1 1 {0.7 * width:.0f}px", min_width="0", max_width=f"{width}px", height="auto")
        self.picture = Picture(format="png", width=str(width), height=str(height), layout=shrinks)
        self._alert = widgets.HTML(layout=widgets.Layout(display="none"))
        self.reset_button = widgets.Button(description="Reset", tooltip="Put every control back", icon="undo")
        self.reset_button.layout.width = "96px"
        self.reset_button.on_click(self.reset)
        left = [widgets.HTML(f"{CSS}<h3 class='cl-title'>{html.escape(self.title)}</h3>"), *rows, self.reset_button]
        if self.try_this:
            left.append(widgets.HTML(f"<div class='cl-try'><b>Try this.</b> {self.try_this}</div>"))
        side = widgets.VBox([*left, self._alert], layout=widgets.Layout(width="278px", flex="0 0 auto"))
        side.add_class("cl-side")
        beside = widgets.Layout(flex_flow="row wrap", align_items="flex-start")
        self.widget = widgets.Box([side, self.picture], layout=beside)
        self.widget.add_class("cl-panel").add_class(f"cl-{self.name}")

    def _words(self) -> str:
        return f"Error: {_in_words(self.error)}" if self.error else self._drawn.text

    def _publish(self):
        """Send the picture and its words to the page, in one message."""
        if self.error is None:
            with self.picture.hold_sync():
                self.picture.value, self.picture.tooltip = self._drawn.png, self._drawn.text
            if self._alert.value:
                self._alert.value, self._alert.layout.display = "", "none"
                self.widget.remove_class("cl-failed")
        else:
            self.picture.tooltip = f"No picture for these controls. {self._words()}"
            self._alert.value = f"<div role='alert' class='cl-alert'>{html.escape(_in_words(self.error))}</div>"
            self._alert.layout.display = None
            self.widget.add_class("cl-failed")

    # -- from a change to a picture --------------------------------------------------------------------------------

    def _changed(self, _change):
        self._version += 1
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # no event loop, so nobody is looking; ``shown`` draws when asked
            return
        loop.call_soon(self._catch_up, self._version, self.heavy)
        if self.heavy:
            loop.call_later(SETTLE_S, self._catch_up, self._version, False)

    def _catch_up(self, version, quick):
        if version == self._version:  # else a newer change has asked for its own drawing
            self.refresh(quick=quick)

    def _paint(self, result) -> bytes:
        """The figure for ``result`` as PNG bytes."""
        with plots.style():  # whenever letters are made: a reader's own style may want LaTeX
            if self._figure is None:
                width, height = self.size
                figure = Figure(figsize=(width / 100, height / 100), dpi=100)
                FigureCanvasAgg(figure)
                self.build(figure)
                self._figure = figure
                self._moving = figure.findobj(lambda artist: artist.get_animated())
            figure, canvas = self._figure, self._figure.canvas
            self.draw(figure, result)
            if figure.stale or self._background is None:
                canvas.draw()
                self._background = canvas.copy_from_bbox(figure.bbox)
            else:
                canvas.restore_region(self._background)
            for artist in self._moving:
                (artist.axes or figure).draw_artist(artist)
        return png(np.asarray(canvas.buffer_rgba()))


def png(pixels):
    """PNG file of ``pixels``, (height, width, 4) uint8: rows without filters, which takes half the time of Pillow's."""
    height, width, _ = pixels.shape
    rows = np.zeros((height, 1 + 4 * width), np.uint8)  # a row begins with its filter: none
    rows[:, 1:] = pixels.reshape(height, -1)

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)  # 8 bits a channel, colours with opacity
    parts = chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows, level=1)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _in_words(error):
    """A reader's own mistake in its own words; anything else with its type, which helps to find it."""
    return str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"


# JupyterLab takes the keys of a focused drop-down list for its own (an arrow leaves the cell, two d delete it) unless
# the element is marked. No widget can set such an attribute, so the style sheet does when the page has loaded it.
CSS = """<style onload="this.closest('.cl-panel').addEventListener('focusin', (event) =>
  event.target.matches('select') && event.target.setAttribute('data-lm-suppress-shortcuts', 'true'))">
.cl-panel { color: var(--jp-ui-font-color1, #222); gap: 8px; }
.cl-panel .cl-title { margin: 0 0 4px; font-size: 17px; line-height: 1.25; font-weight: 600; }
.cl-panel .cl-try { font-size: 14px; line-height: 1.4; max-width: 268px; margin-top: 6px; white-space: normal; }
.cl-panel .cl-alert { font-size: 15px; line-height: 1.35; max-width: 250px; margin-top: 6px; padding: 8px;
  white-space: normal; color: #8A2F00; background: #FFF1E8; border-left: 4px solid #D55E00; }
.cl-panel .widget-image { pointer-events: none; border-radius: 3px; object-fit: contain; }
.cl-panel.cl-failed .widget-image { opacity: 0.25; }
.cl-panel .widget-label, .cl-panel select, .cl-panel input { font-size: 14px; }
.cl-panel .noUi-handle:focus-visible, .cl-panel input:focus-visible, .cl-panel select:focus-visible,
.cl-panel button:focus-visible { outline: 3px solid #E69F00; outline-offset: 1px; }
</style>"""
