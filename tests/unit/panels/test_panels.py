"""The panels without a browser: state, compute, draw, errors, coalescing, what a reader without a kernel gets."""

import asyncio
import base64
import io
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError, dataclass

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from course_lib import panels
from course_lib.numerics import calibrate, fake_quantize, sqnr_db
from course_lib.panels import Choice, Panel, QuantizerPanel, Slider, base
from course_lib.panels.quantizer import ACTIVATIONS, GROUP, WEIGHTS, QuantizerState


@dataclass(frozen=True)
class ToyState:
    number: int = 3
    gain: float = 0.5
    sign: str = "plus"


class ToyPanel(Panel):
    """A line whose height is a product; the number 7 fails."""

    State = ToyState
    name = "toy"
    title = "A <toy>"
    size = (200, 100)

    def controls(self):
        return {
            "number": Slider("a number", 0, 9),
            "gain": Slider("gain", 0.0, 1.0, 0.1),
            "sign": Choice("sign", {"+": "plus", "−": "minus"}),
        }

    def compute(self, state, *, quick=False):
        self.calls = [*getattr(self, "calls", []), (state, quick)]
        if state.number == 7:
            raise ValueError("number=7 is unlucky; take <6> or 8")
        if state.number == 8:
            raise RuntimeError("broken")
        return state.number * state.gain * (1 if state.sign == "plus" else -1)

    def build(self, figure):
        self.ax = figure.add_subplot()
        self.ax.set(xlim=(0, 1), ylim=(-10, 10))
        (self.line,) = self.ax.plot([0, 1], [0, 0], animated=True)

    def draw(self, figure, result):
        self.line.set_ydata([result, result])

    def describe(self, result):
        return f"a line at {result:.1f}"


class WritingToy(ToyPanel):
    """Makes letters while it draws."""

    def draw(self, figure, result):
        super().draw(figure, result)
        for text in self.ax.texts:
            text.remove()
        self.ax.text(0.1, 0.1, f"{result:.1f}")


class HeavyToy(ToyPanel):
    heavy = True


def in_a_loop(moves):
    """Run a coroutine in an event loop on a thread of its own: on this one a browser test may have left one running."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, moves).result()


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


@pytest.mark.parametrize("own", [{"text.usetex": True}, {"font.size": 40, "path.sketch": (1, 100, 2)}])
def test_a_readers_own_style_does_not_reach_a_panel(own):
    panel = WritingToy()
    panel.set(number=4).refresh()
    want = pixels(panel.picture.value)
    with mpl.rc_context(own):
        panel = WritingToy()
        panel.set(number=4).refresh()
        assert np.array_equal(pixels(panel.picture.value), want)


# -- the base class ----------------------------------------------------------------------------------------------------


def test_the_controls_make_the_state():
    panel = ToyPanel()
    assert panel.state == ToyState()
    assert panel.set(number=5, sign="minus").state == ToyState(5, 0.5, "minus")
    with pytest.raises(FrozenInstanceError):
        panel.state.number = 1


def test_a_panel_begins_where_it_is_told_and_returns_there():
    panel = ToyPanel(number=2)
    panel.set(number=9, gain=1.0, sign="minus")
    panel.reset_button.click()
    assert panel.state == ToyState(number=2)
    assert panel.shown.text == "a line at 1.0"


def test_wrong_controls_and_values_are_named():
    panel = ToyPanel()
    with pytest.raises(
        ValueError, match="'colour' is not a control of this panel; its controls are number, gain, sign"
    ):
        panel.set(colour="blue")
    with pytest.raises(ValueError, match="number=12 is outside the control's range; it took 9"):
        panel.set(number=12)
    with pytest.raises(TypeError, match="colour"):
        ToyPanel(colour="blue")


def test_each_slider_is_linked_to_a_box_that_carries_its_label():
    panel = ToyPanel()
    rows = [child for child in panel.widget.children[0].children if len(getattr(child, "children", ())) == 2]
    boxes = {row.children[0].description: row.children for row in rows}
    assert set(boxes) == {"a number", "gain"}
    box, slider = boxes["a number"]
    slider.value = 6
    assert box.value == 6 and panel.state.number == 6
    box.value = 1
    assert slider.value == 1 and panel.state.number == 1
    assert panel.widgets["sign"].description == "sign"


def test_the_picture_follows_the_state_and_says_so():
    panel = ToyPanel()
    first = panel.shown
    assert first.state == ToyState() and first.text == panel.picture.tooltip == "a line at 1.5"
    assert panel.picture.value == first.png and pixels(first.png).shape == (100, 200, 3)
    second = panel.set(number=9).shown
    assert second.text == panel.picture.tooltip == "a line at 4.5"
    assert not np.array_equal(pixels(first.png), pixels(second.png))


def test_what_stays_is_drawn_once_and_what_moves_leaves_no_trace():
    panel = ToyPanel()
    start = panel.shown.png
    backgrounds = []
    draw = panel._figure.canvas.draw
    panel._figure.canvas.draw = lambda: (backgrounds.append(1), draw())
    panel.set(number=9).refresh()
    assert not backgrounds, "a moved line needs no new axes"
    assert np.array_equal(pixels(panel.set(number=3).shown.png), pixels(start))
    panel.ax.set_ylim(-5, 5)
    panel.set(number=9).refresh()
    assert backgrounds == [1], "a moved axis does"


def test_a_png_holds_its_pixels():
    pixels_in = np.random.default_rng(0).integers(0, 256, (7, 5, 4), dtype=np.uint8)
    image = Image.open(io.BytesIO(base.png(pixels_in)))
    image.verify()
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(base.png(pixels_in)))), pixels_in)


def test_nothing_is_computed_twice_or_before_it_is_asked_for():
    panel = ToyPanel()
    panel.set(number=4).set(number=5)
    assert not hasattr(panel, "calls")
    assert panel.shown is panel.shown
    assert len(panel.calls) == 1


def test_an_error_shows_in_words_and_the_panel_goes_on():
    panel = ToyPanel()
    before = panel.shown
    panel.set(number=7).refresh()
    assert isinstance(panel.error, ValueError)
    assert "number=7 is unlucky; take &lt;6&gt; or 8" in panel._alert.value and "role='alert'" in panel._alert.value
    assert panel._alert.layout.display is None and "cl-failed" in panel.widget._dom_classes
    assert panel.picture.tooltip == "No picture for these controls. Error: number=7 is unlucky; take <6> or 8"
    assert panel.shown is before, "the last picture stays, pale"
    assert panel.set(number=3).shown.text == "a line at 1.5"
    assert panel.error is None and panel._alert.value == "" and "cl-failed" not in panel.widget._dom_classes


def test_an_error_that_is_not_the_readers_keeps_its_type():
    panel = ToyPanel(number=8)
    assert panel.shown is None
    assert "RuntimeError: broken" in panel._alert.value


def test_a_reader_without_a_kernel_gets_the_picture_and_its_words():
    panel = ToyPanel(number=4)
    bundle, metadata = panel._repr_mimebundle_()
    assert bundle["text/plain"] == "<ToyPanel: a line at 2.0>"
    assert metadata == {"image/png": {"alt": "a line at 2.0"}}
    assert base64.b64decode(bundle["image/png"]) == panel.shown.png
    assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"] == panel.widget.model_id
    json.dumps([bundle, metadata])


def test_a_panel_that_cannot_start_still_shows_itself():
    bundle, metadata = ToyPanel(number=7)._repr_mimebundle_()
    assert bundle["text/plain"] == "<ToyPanel: Error: number=7 is unlucky; take <6> or 8>"
    assert not metadata and "image/png" not in bundle and "application/vnd.jupyter.widget-view+json" in bundle


def test_the_panel_has_its_handle_and_its_title_is_text():
    panel = ToyPanel()
    assert {"cl-panel", "cl-toy"} <= set(panel.widget._dom_classes)
    assert "A &lt;toy&gt;" in panel.widget.children[0].children[0].value


# -- a drag that outruns the drawing -----------------------------------------------------------------------------------


def test_many_changes_before_a_drawing_make_one_drawing_of_the_last():
    panel = ToyPanel()
    panel.refresh()
    panel.calls.clear()

    async def drag():
        for number in (4, 5, 6, 9, 2):
            panel.set(number=number)
        await asyncio.sleep(0.02)

    in_a_loop(drag())
    assert [state.number for state, _ in panel.calls] == [2]
    assert panel.picture.tooltip == "a line at 1.0"


def test_a_drag_is_followed_beside_a_loop_that_runs_already():
    async def beside():
        test_many_changes_before_a_drawing_make_one_drawing_of_the_last()

    asyncio.set_event_loop(loop := asyncio.new_event_loop())
    try:
        loop.run_until_complete(beside())
    finally:
        loop.close()
        asyncio.set_event_loop(None)


def test_changes_that_arrive_while_it_draws_end_on_the_last():
    panel = ToyPanel()
    panel.refresh()

    async def drag():
        for number in (4, 5, 6, 9, 2):
            panel.set(number=number)
            await asyncio.sleep(0)
        await asyncio.sleep(0.02)

    in_a_loop(drag())
    assert panel.picture.tooltip == "a line at 1.0"


def test_a_heavy_panel_is_quick_while_it_moves_and_full_when_it_rests(monkeypatch):
    monkeypatch.setattr(base, "SETTLE_S", 0.1)
    panel = HeavyToy()
    panel.refresh()
    panel.calls.clear()

    async def drag():
        for number in (4, 5, 6):
            panel.set(number=number)
            await asyncio.sleep(0.02)
        assert [(state.number, quick) for state, quick in panel.calls] == [(4, True), (5, True), (6, True)]
        await asyncio.sleep(0.3)

    in_a_loop(drag())
    assert [(state.number, quick) for state, quick in panel.calls[3:]] == [(6, False)]
    assert not panel.shown.quick


# -- the quantizer -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def quantizer():
    return QuantizerPanel()


def test_a_panel_loads_neither_torch_nor_pyplot():
    code = """
import sys
from course_lib import panels
panels.QuantizerPanel().shown
print([name for name in ("torch", "matplotlib.pyplot", "sklearn") if name in sys.modules])
"""
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


@pytest.mark.parametrize("scheme", ["symmetric", "affine"])
@pytest.mark.parametrize(
    "granularity, axis, group_size", [("per_tensor", None, None), ("per_channel", 0, None), ("per_group", None, GROUP)]
)
@pytest.mark.parametrize("data", [WEIGHTS, ACTIVATIONS])
def test_it_runs_the_librarys_own_quantizer(quantizer, data, scheme, granularity, axis, group_size):
    result = quantizer.compute(QuantizerState(data=data, bits=3, scheme=scheme, granularity=granularity))
    x = result.x
    expected = calibrate(
        x,
        bits=3,
        scheme=scheme,
        granularity=granularity,
        axis=axis,
        group_size=group_size,
        signed=result.qparams.qmin < 0,
    )
    np.testing.assert_array_equal(result.x_hat, fake_quantize(x, expected))
    assert result.sqnr == pytest.approx(sqnr_db(x, result.x_hat))
    np.testing.assert_allclose(result.channel_sqnr, [sqnr_db(a, b) for a, b in zip(x, result.x_hat, strict=True)])


def test_each_bit_is_worth_six_decibel(quantizer):
    sqnr = [quantizer.compute(QuantizerState(bits=bits, granularity="per_channel")).sqnr for bits in (5, 6, 7, 8)]
    np.testing.assert_allclose(np.diff(sqnr), 6.02, atol=0.4)


def test_finer_scales_help_and_cost_bits(quantizer):
    results = [
        quantizer.compute(QuantizerState(granularity=name)) for name in ("per_tensor", "per_channel", "per_group")
    ]
    assert results[0].sqnr < results[1].sqnr < results[2].sqnr
    n = results[0].x.size
    assert [round((result.bits_per_value - 4) * n) for result in results] == [32, 16 * 32, n // GROUP * 32]
    affine = quantizer.compute(QuantizerState(scheme="affine"))
    assert round((affine.bits_per_value - 4) * n) == 40


def test_clipping_is_counted_and_has_a_best_place(quantizer):
    results = {clip: quantizer.compute(QuantizerState(bits=3, clip=clip)) for clip in (20, 50, 100, 150)}
    assert results[100].clipped == results[150].clipped == 0
    outside = np.abs(results[50].x) > 0.5 * np.abs(results[50].x).max()
    assert results[50].clipped == pytest.approx(outside.mean())
    assert results[50].sqnr > results[100].sqnr > results[150].sqnr


def test_the_staircase_is_that_of_the_shown_channel(quantizer):
    result = quantizer.compute(QuantizerState(granularity="per_channel", channel=3))
    assert result.shown.scale == result.qparams.scale[2]
    assert len(np.unique(result.r_hat)) == result.shown.levels == 15
    group = quantizer.compute(QuantizerState(granularity="per_group", channel=3))
    assert group.shown.scale == group.qparams.scale[2, 0]


@pytest.mark.parametrize(
    "rounding, low, high", [("nearest", -0.5, 0.5), ("down", -1, 0), ("up", 0, 1), ("stochastic", -1, 1)]
)
def test_the_error_stays_in_the_bounds_of_its_rounding_mode(quantizer, rounding, low, high):
    result = quantizer.compute(QuantizerState(rounding=rounding))
    inside = np.abs(result.r) < 0.98 * np.abs(result.x[15]).max()
    error = ((result.r_hat - result.r) / result.shown.scale)[inside]
    assert low - 1e-4 <= error.min() and error.max() <= high + 1e-4


def test_the_same_state_gives_the_same_picture():
    state = dict(rounding="stochastic", bits=3)
    assert QuantizerPanel(**state).shown.png == QuantizerPanel(**state).shown.png


def test_the_slider_of_bits_begins_where_the_scheme_does():
    """One bit is there for affine codes only, on slider and box; every bit that can be set can be drawn."""
    with pytest.raises(ValueError, match="from 2 to 16"):
        QuantizerPanel(bits=1)
    panel = QuantizerPanel(bits=1, scheme="affine")
    rows = [child.children for child in panel.widget.children[0].children if len(getattr(child, "children", ())) == 2]
    box = next(box for box, _ in rows if box.description == "bits b")
    assert "1 bit, affine" in panel.shown.text and panel.error is None and box.min == panel.widgets["bits"].min == 1
    panel.set(scheme="symmetric")
    assert "2 bits, symmetric" in panel.shown.text and panel.error is None and box.min == panel.widgets["bits"].min == 2
    with pytest.raises(ValueError, match="bits=1 is outside the control's range"):
        panel.set(bits=1)
    panel.set(bits=1, scheme="affine").set(scheme="symmetric", bits=8).reset()
    assert panel.state == QuantizerState(bits=1, scheme="affine") and "1 bit, affine" in panel.shown.text
    assert "One bit" in panel.try_this


@pytest.mark.parametrize(
    "x",
    [
        np.zeros((2, 5)),
        np.full((3, 4), 2.5),
        np.arange(6),
        np.float32([1e-38, -1e-38]),
        np.linspace(-1e30, 1e30, 40, dtype=np.float32).reshape(2, 20),
        np.random.default_rng(0).normal(size=(4, 3, 5, 5)),
        np.float64([[1.0]]),
    ],
    ids=["zeros", "constant", "integers", "tiny", "huge", "4-D", "one value"],
)
def test_a_readers_own_array_in_every_state(x):
    panel = QuantizerPanel(x)
    for values in (
        {},
        {"granularity": "per_channel"},
        {"granularity": "per_group"},
        {"scheme": "affine"},
        {"rounding": "stochastic"},
    ):
        panel.reset()
        panel.set(**values)
        assert panel.shown.state == panel.state and panel.error is None
    assert panel.shown.result.x.size == x.size


def test_the_channel_stops_at_the_last_one_there_is():
    panel = QuantizerPanel(np.random.default_rng(0).normal(size=(40, 8)))
    assert panel.set(channel=40).shown.text.count("Channel 40")
    assert "Channel 16" in panel.set(data=WEIGHTS).shown.text


def test_what_cannot_be_quantized_is_named():
    assert "NaN" in str(_failed(QuantizerPanel(np.array([1.0, np.nan]))))
    assert "1 infinities" in str(_failed(QuantizerPanel(np.array([1.0, np.inf]))))
    for x in (np.float32(3), np.empty((0, 3))):
        with pytest.raises(ValueError, match="x has shape"):
            QuantizerPanel(x)


def _failed(panel):
    panel.refresh()
    return panel.error


# -- post-training quantization ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ptq(digits):
    torch = pytest.importorskip("torch")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        from course_lib import nets

        model = nets.LeNet300100()
        nets.train(model, digits, epochs=2, batch_size=64, lr=1e-3, seed=0, progress=False)
    return panels.PTQPanel(dataset=digits, model=model)


def test_eight_bits_lose_almost_nothing_and_two_a_lot(ptq):
    ptq.reset()
    eight = ptq.set(weight_bits=8).shown.result
    two = ptq.set(weight_bits=2, granularity="per_tensor").shown.result
    assert eight.before.value - eight.accuracy.value < 0.02 < two.before.value - two.accuracy.value
    assert eight.all_images and eight.accuracy.n == len(ptq._labels)


def test_its_bytes_are_those_of_the_file(ptq, tmp_path):
    from course_lib.ptq import quantize_model

    ptq.reset()
    result = ptq.set(weight_bits=4).shown.result
    quantized = quantize_model(
        ptq._model, ptq._recorded, weight_bits=4, activation_bits=8, granularity="per_channel"
    )
    quantized.save(tmp_path / "model.safetensors")
    assert result.size == (tmp_path / "model.safetensors").stat().st_size
    assert f"{result.size:,} bytes" in ptq.shown.text
    assert 7 < result.float_size / result.size < 8


def test_a_flipped_image_was_right_and_is_wrong(ptq):
    ptq.reset()
    result = ptq.set(weight_bits=2).shown.result
    assert len(result.flipped) > 0
    np.testing.assert_array_equal(ptq._predicted[result.flipped], result.labels)
    assert np.all(result.said != result.labels)
    lost = result.before.value - result.accuracy.value
    assert len(result.flipped) >= round(lost * result.images)


def test_while_it_moves_it_says_that_it_looks_at_a_part(ptq, monkeypatch):
    from course_lib.panels import ptq as module

    monkeypatch.setattr(module, "QUICK", 50)
    ptq.reset()
    ptq.set(weight_bits=3).refresh(quick=True)
    assert "on the first 50 test images" in ptq.picture.tooltip
    ptq.refresh()
    assert f"on all {len(ptq._labels)} test images" in ptq.picture.tooltip


def test_reset_forgets_what_was_tried(ptq):
    ptq.set(weight_bits=5).refresh()
    ptq.set(weight_bits=6).refresh()
    assert len(ptq._trail) >= 2
    ptq.reset()
    ptq.refresh()
    assert list(ptq._trail) == [ptq.state]


@pytest.mark.parametrize("granularity", ["per_tensor", "per_channel", "per_group"])
@pytest.mark.parametrize("calibration", ["minmax", "moving_average", "percentile", "mse", "histogram"])
@pytest.mark.parametrize("mode, words", [("static", "8-bit activations,"), ("dynamic", "8-bit activations, dynamic"),
                                         ("weight_only", "float activations")])
def test_every_mode_calibrator_and_granularity_gives_a_picture(ptq, calibration, granularity, mode, words):
    ptq.reset()
    ptq.set(calibration=calibration, granularity=granularity, mode=mode).refresh()
    if mode == "dynamic" and granularity == "per_group":
        assert "need one scale for a whole sum" in str(ptq.error)
    else:
        assert ptq.error is None and words in ptq.picture.tooltip


def test_each_mode_is_its_own_network(ptq):
    """At 2 activation bits a range for each image beats one for all, and real activations beat both."""
    ptq.reset()
    right = {mode: ptq.set(mode=mode, weight_bits=8, activation_bits=2).shown.result.accuracy.value
             for mode in ("static", "dynamic", "weight_only")}
    assert right["static"] < right["dynamic"] < right["weight_only"]


# -- no compiler in a lecture ------------------------------------------------------------------------------------------


def test_after_warm_up_no_panel_waits_for_a_compiler():
    code = """
import course_lib as cl
from numba.core import event
cl.warm_up(progress=False)
with event.install_recorder("numba:compile") as seen:
    untrained = cl.panels.PTQPanel(dataset=cl.data.load("digits"), model=cl.nets.LeNet300100())
    for panel in (cl.panels.QuantizerPanel(), untrained):
        for name, control in panel.controls().items():
            options = getattr(control, "options", None)
            for value in options.values() if options else {max(control.low, 2), control.high}:
                panel.set(**{name: value}).refresh()
                assert panel.error is None, (name, value, panel.error)
            panel.reset()
print(len(seen.buffer))
"""
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.stdout.splitlines()[-1:] == ["0"], answer.stdout + answer.stderr
