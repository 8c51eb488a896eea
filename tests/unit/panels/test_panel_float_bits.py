"""The float-bits panel and its controls without a browser:
the bits, the number typed, what is shown, what is refused."""

import math

import numpy as np
import pytest

from course_lib.numerics import FORMATS, decode_one
from course_lib.panels import FloatBitsPanel, Toggles
from course_lib.panels.float_bits import SHOWN
from course_lib.panels.float_words import bit_names, read_number


def buttons(panel):
    bits = panel.widgets["code"]
    return [button for button in bits.children[1].children if button.layout.display != "none"]


def result(panel):
    shown = panel.shown
    assert panel.error is None, panel.error
    return shown.result


def test_starts_with_a_tenth_in_fp16():
    panel = FloatBitsPanel()
    assert result(panel).value == float(np.float16(0.1)) and panel.state.code == np.float16(0.1).view(np.uint16)
    assert "bits 0 01011 1001100110, normal" in panel.shown.text and "nearest to 0.1" in panel.shown.text


@pytest.mark.parametrize("name", SHOWN)
def test_a_button_for_each_bit_flips_it(name):
    panel = FloatBitsPanel(format=name, code=0)
    assert len(buttons(panel)) == FORMATS[name].bits == len(bit_names(FORMATS[name]))
    for place, button in enumerate(buttons(panel)):
        button.value = True
        code = 2 ** (FORMATS[name].bits - 1 - place)
        assert panel.state.code == code and result(panel).state.number == ""
        assert result(panel).value == pytest.approx(decode_one(code, FORMATS[name]), nan_ok=True)
        button.value = False
    assert panel.state.code == 0


@pytest.mark.parametrize("name", ["e5m2", "e4m3", "e4m3_ieee", "e3m2", "e2m3", "e2m1"])
def test_every_pattern_of_a_small_format_can_be_shown(name):
    format = FORMATS[name]
    panel = FloatBitsPanel(format=name)
    for code in range(2**format.bits):
        answer = panel.compute(panel.set(code=code).state)
        assert answer.value == decode_one(code, format) or math.isnan(answer.value)
        assert panel.describe(answer)
        if answer.kind in ("normal", "subnormal", "zero"):
            below, above = answer.neighbours
            numbers = format.values()
            place = np.searchsorted(numbers, answer.value)
            assert below == (numbers[place - 1] if place else (-math.inf if format.infinities else None))
            last = place == numbers.size - 1
            assert above == ((math.inf if format.infinities else None) if last else numbers[place + 1])
            assert 0 in answer.around


def test_draws_zero_infinity_and_nan():
    panel = FloatBitsPanel(format="fp16", code=0)
    pictures = {panel.shown.png}
    for code, kind in ((0x8000, "zero"), (0x7C00, "infinity"), (0xFC00, "infinity"), (0x7E01, "NaN"), (1, "subnormal")):
        assert result(panel.set(code=code)).kind == kind
        pictures.add(panel.shown.png)
    assert len(pictures) == 6
    assert result(panel.set(code=0x7C01)).kind == "NaN" and panel.state.code == 0x7C01, "a payload is not tidied away"


def test_another_format_rounds_the_typed_number_anew():
    panel = FloatBitsPanel(number="1/3")
    panel.set(format="e2m1")
    assert result(panel).value == 0.5
    panel.set(format="fp32")
    assert result(panel).value == float(np.float32(1 / 3))


def test_another_format_keeps_the_number_whose_bits_were_shown():
    panel = FloatBitsPanel(format="fp16", code=0x3E00)
    assert result(panel).value == 1.5
    assert result(panel.set(format="bfloat16")).value == 1.5


def test_typing_sets_the_bits_and_flipping_forgets_what_was_typed():
    panel = FloatBitsPanel(format="e4m3")
    panel.set(number="-2")
    assert panel.state.code == 192
    buttons(panel)[0].value = False
    assert panel.state == panel.State("e4m3", 64, "") and result(panel).value == 2.0
    assert result(panel.set(number="-0.0")).sign == 1
    assert result(panel.set(number="nan")).kind == "NaN"
    assert result(panel.set(number="1e9")).kind == "NaN", "e4m3 has no infinity and does not saturate"


@pytest.mark.parametrize("text", ["abc", "1/0", "1/", "0x10"])
def test_what_is_not_a_number_is_said_in_words_and_leaves_the_panel_usable(text):
    panel = FloatBitsPanel()
    panel.set(number=text).refresh()
    assert "is not a number" in str(panel.error) and "1/3" in str(panel.error)
    panel.set(format="bfloat16").refresh()
    assert panel.error is not None
    assert result(panel.set(number="2")).value == 2


def test_nan_in_a_format_without_nan():
    panel = FloatBitsPanel(format="e2m1")
    panel.set(number="nan").refresh()
    assert "NaN" in str(panel.error)
    panel = FloatBitsPanel(format="e5m2", code=0x7F)
    assert result(panel.set(format="e2m1")).value == 6


def test_infinity_in_a_format_without_it_saturates():
    panel = FloatBitsPanel(format="e5m2", number="inf")
    assert result(panel).kind == "infinity"
    assert result(panel.set(format="e3m2")).value == 28


def test_steps_to_the_next_pattern_and_stops_at_the_ends():
    panel = FloatBitsPanel(format="e2m1", code=0)
    bits = panel.widgets["code"]
    bits._less.click()
    assert bits.value == 0
    bits._more.click()
    assert bits.value == 1 and result(panel).kind == "subnormal"
    panel.set(code=15)
    bits._more.click()
    assert bits.value == 15
    with pytest.raises(ValueError, match="code=16 is outside"):
        panel.set(code=16)


def test_reset_puts_back_format_bits_and_text():
    for start in ({}, {"format": "e4m3"}, {"format": "bfloat16", "code": 3}, {"number": "1/3"}):
        panel = FloatBitsPanel(**start)
        before = panel.state
        panel.set(format="e2m1").set(code=3)
        panel.reset()
        assert panel.state == before and result(panel)


def test_a_format_that_is_not_shown_is_named():
    with pytest.raises(ValueError, match="format='fp99' is not one of fp32"):
        FloatBitsPanel(format="fp99")


def test_each_bit_has_a_name_and_says_its_state():
    panel = FloatBitsPanel(format="e4m3", number="1.5")
    assert [button.tooltip for button in buttons(panel)] == [
        "sign bit: 0", "exponent bit, worth 8: 0", "exponent bit, worth 4: 1", "exponent bit, worth 2: 1",
        "exponent bit, worth 1: 1", "fraction bit, worth 1/2: 1", "fraction bit, worth 1/4: 0",
        "fraction bit, worth 1/8: 0",
    ]  # fmt: skip


def test_toggles_stand_alone():
    bits, _ = Toggles("four bits", 4).build(5)
    assert bits.value == 5
    assert [button.value for button in bits.children[1].children] == [False, True, False, True]
    bits.value = 99
    assert bits.value == 15


def test_reads_numbers():
    assert read_number("−2e5") == -2e5 and read_number("1/4") == 0.25 and math.isnan(read_number("nan"))
