"""The float-bits panel in JupyterLab, flipped as a reader flips it."""

import pytest


@pytest.fixture(scope="module")
def bits(open_panel):
    return open_panel("cl.panels.FloatBitsPanel()", "float-bits")


@pytest.fixture(autouse=True)
def _from_the_start(bits):
    bits.reset()


def toggles(panel):
    return panel.root.locator(".cl-bits .widget-toggle-button:visible")


def pattern(panel):
    """The bits as the buttons' accessible names say them."""
    return "".join(button.get_attribute("title")[-1] for button in toggles(panel).all())


def type_number(panel, text):
    box = panel.control("nearest to")
    box.fill(text)
    box.press("Enter")


def test_every_bit_flips_by_mouse_and_shows_in_picture_and_words(bits):
    assert toggles(bits).count() == 16 and pattern(bits) == "0010111001100110"
    for place in range(16):
        before = pattern(bits)
        bits.changes(lambda place=place: toggles(bits).nth(place).click(), f"bit {place}")
        flipped = before[:place] + "10"[int(before[place])] + before[place + 1 :]
        bits.wait_for(lambda flipped=flipped: pattern(bits) == flipped, "the button to turn")
    assert bits.control("nearest to").input_value() == ""


def test_a_bit_is_found_by_its_name_and_flips_by_keyboard(bits):
    sign = bits.root.get_by_role("button", name="sign bit: 0")
    sign.focus()
    bits.changes(lambda: bits.page.keyboard.press("Space"), "the sign")
    assert "bits 1 01011 1001100110" in bits.words()
    bits.page.keyboard.press("Tab")
    bits.changes(lambda: bits.page.keyboard.press("Enter"), "the next bit")
    assert "bits 1 11011 1001100110" in bits.words()
    assert bits.root.get_by_role("button", name="exponent bit, worth 16: 1").count() == 1


def test_every_format_shows_as_many_bits_as_it_has(bits):
    widths = {"fp32": 32, "tf32": 19, "fp16": 16, "bfloat16": 16, "e5m2": 8, "e4m3": 8, "e4m3_ieee": 8, "e3m2": 6,
              "e2m3": 6, "e2m1": 4}  # fmt: skip
    options = bits.control("format").locator("option").all()
    names = [option.get_attribute("value") for option in options]
    assert [name.split(":")[0] for name in names] == list(widths)
    for name, width in zip(names, widths.values(), strict=True):
        if name != bits.control("format").input_value():
            bits.changes(lambda name=name: bits.choose("format", name), name)
        bits.wait_for(lambda width=width: toggles(bits).count() == width, f"{width} buttons")
        assert "nearest to 0.1" in bits.words(), "the number typed is rounded anew"


def test_typed_numbers_and_what_is_not_one(bits):
    bits.changes(lambda: type_number(bits, "1/3"), "1/3")
    bits.wait_for(lambda: pattern(bits) == "0011010101010101", "its bits")
    bits.changes(lambda: type_number(bits, "-inf"), "-inf")
    assert "infinity" in bits.words()
    bits.changes(lambda: type_number(bits, "one"), "the error")
    assert "'one' is not a number" in bits.alert()
    bits.changes(lambda: toggles(bits).first.click(), "the way out")
    bits.wait_for(lambda: not bits.alert(), "the error to go")
    assert ", infinity" in bits.words()


def test_steps_along_the_number_line(bits):
    bits.changes(lambda: type_number(bits, "1"), "one")
    up = bits.root.get_by_role("button", name="pattern + 1")
    for _ in range(20):
        up.click()
    bits.wait_for(lambda: pattern(bits) == f"{0x3C00 + 20:016b}", "twenty patterns up")
    bits.wait_for(lambda: "1.01953125" in bits.words(), "the last value")


def test_fits_a_laptop_beside_the_file_browser(bits):
    for name in ("fp16", "fp32"):
        option = bits.control("format").locator("option", has_text=name).get_attribute("value")
        bits.choose("format", option)
        bits.wait_for(lambda name=name: bits.words().startswith(name), name)
        picture, side = (bits.root.locator(css).bounding_box() for css in (".widget-image", ".cl-side"))
        assert picture["y"] < side["y"] + 60, "the picture stands beside the controls, not under them"
        assert picture["x"] + picture["width"] <= 1366
        assert max(picture["height"], side["height"]) <= 620
