"""A new panel is one new file: the room finds it, it draws and speaks, a key moves it, and the timing walks over it."""

import importlib.util
import io
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import course_lib.panels
from course_lib import lazy

ROOT = Path(course_lib.__file__).parents[1]
TOY = '''
from dataclasses import dataclass
from typing import NamedTuple

from course_lib.panels.base import Choice, Panel, Slider


@dataclass(frozen=True)
class ParabolaState:
    height: int = 2
    sign: str = "up"


class ParabolaResult(NamedTuple):
    x: tuple
    y: tuple
    top: int


class ParabolaPanel(Panel):
    """A parabola that opens up or down."""

    State = ParabolaState
    name = "parabola"
    title = "A parabola"
    size = (200, 100)

    def controls(self):
        return {"height": Slider("height", 1, 9), "sign": Choice("opens", {"up": "up", "down": "down"})}

    def compute(self, state, *, quick=False):
        sign = 1 if state.sign == "up" else -1
        x = (-1.0, -0.5, 0.0, 0.5, 1.0)
        return ParabolaResult(x, tuple(sign * state.height * at**2 for at in x), sign * state.height)

    def build(self, figure):
        ax = figure.add_subplot()
        ax.set(xlim=(-1, 1), ylim=(-9, 9))
        (self.line,) = ax.plot([], [], animated=True)

    def draw(self, figure, result):
        self.line.set_data(result.x, result.y)

    def describe(self, result):
        return f"A parabola from 0 to {result.top}."
'''


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """The room of panels with one more file in it."""
    folder = tmp_path_factory.mktemp("panels")
    (folder / "parabola.py").write_text(TOY, encoding="utf-8")
    package = course_lib.panels
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(package, "__path__", [*package.__path__, str(folder)])
        look_up, _, public = lazy.room(package.__name__, package._panels_in(package.__path__))
        panel = look_up("ParabolaPanel")
        yield SimpleNamespace(**{name: getattr(package, name) for name in package.__all__} | {"ParabolaPanel": panel},
                              __all__=[*package.__all__, *set(public) - set(package.__all__)])  # fmt: skip
    del package.ParabolaPanel, package.parabola, sys.modules[f"{package.__name__}.parabola"]


@pytest.fixture
def panel(room):
    return room.ParabolaPanel()


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def test_the_room_finds_it_beside_the_others(room):
    assert set(room.__all__) - set(course_lib.panels.__all__) == {"ParabolaPanel"}
    assert len([name for name in course_lib.panels.__all__ if name.endswith("Panel")]) >= 8


def test_it_computes_draws_and_describes(panel):
    shown = panel.set(height=5, sign="down").shown
    assert shown.result.y == (-5, -1.25, 0, -1.25, -5) and shown.text == "A parabola from 0 to -5."
    assert pixels(shown.png).shape == (100, 200, 3)


def test_a_key_moves_the_picture_and_its_words(panel):
    """What the page sends when a reader presses an arrow, and what it gets back."""
    before = panel.shown
    panel.widgets["height"].set_state({"value": 3})
    assert panel.shown.text == panel.picture.tooltip == "A parabola from 0 to 3."
    assert panel.picture.value == panel.shown.png and np.any(pixels(before.png) != pixels(panel.shown.png))


def benchmark():
    spec = importlib.util.spec_from_file_location("panel_latency", ROOT / "benchmarks" / "panel_latency.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_timing_walks_over_it(room, monkeypatch):
    monkeypatch.setattr(course_lib, "panels", room, raising=False)
    assert benchmark().panels()["ParabolaPanel"] == "parabola"


def not_in_a_browser(names):
    """The panels that no browser test opens."""
    tests = "\n".join(path.read_text(encoding="utf-8") for path in ROOT.glob("tests/browser/test_*.py"))
    opened = re.findall(r"cl\.panels\.(\w+)\(", tests)
    return {name for name in names if name.endswith("Panel") and name != "Panel"} - set(opened)


def test_every_panel_of_the_course_is_opened_in_a_browser(room):
    assert not_in_a_browser(course_lib.panels.__all__) == set()
    assert not_in_a_browser(room.__all__) == {"ParabolaPanel"}, "the walk would see one that is not"
