"""Every row of the scoreboard is what it says: bytes of its file, accuracy, a time only where something runs."""

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from course_lib import energy, nets, plots, scoreboard
from course_lib.measure import Accuracy, Latency

WEIGHTS, BIASES = 266_200, 410


@pytest.fixture(scope="module")
def rows(mnist):
    return {row.name: row for row in scoreboard.rows("05", mnist)}


def test_lectures_add_rows_in_their_order(rows):
    assert list(rows) == [name for name, form in scoreboard.FORMS.items() if form.lecture <= "05"]
    lectures = [form.lecture for form in scoreboard.FORMS.values()]
    assert lectures == sorted(lectures)


def test_a_file_holds_its_weights_in_their_bits_and_little_more(rows):
    for name, bits in (("float32", 32), ("8-bit weights", 8), ("4-bit weights", 4)):
        least = WEIGHTS * bits // 8 + 4 * BIASES
        assert least <= rows[name].bytes < least + 4 * BIASES + 3000  # scales, and names of tensors


def test_a_zipped_file_loses_nothing_and_gains_little(rows):
    real, zipped = rows["float32"], rows["float32, zipped"]
    assert zipped.accuracy == real.accuracy and zipped.picojoules == real.picojoules and zipped.latency is None
    # of the four bytes of a number only the first, sign and exponent, is not noise: a quarter is the most to gain
    assert 0.75 * real.bytes < zipped.bytes < real.bytes


def test_accuracy_is_that_of_the_network(rows, mnist):
    model = nets.trained("lenet_300_100", mnist)
    assert rows["float32"].accuracy == nets.evaluate(model, mnist.test_x(), mnist.test_y())
    for row in rows.values():  # one scale a channel loses little: several standard errors below would be a fault
        assert row.accuracy.value > rows["float32"].accuracy.value - 5 * row.accuracy.stderr


def test_what_nothing_runs_on_has_no_time(rows):
    assert rows["float32"].latency.median_s > 0
    assert rows["8-bit weights"].latency is None and rows["4-bit weights"].latency is None


def test_weights_that_become_real_numbers_again_save_reading_alone(rows):
    layers = energy.NETWORKS["LeNet-300-100"]
    assert rows["float32"].picojoules == energy.estimate(layers, bits=32).energy_pj
    arithmetic = sum(layer.arithmetic_pj for layer in energy.estimate(layers, bits=32).layers)
    for name in ("8-bit weights", "4-bit weights"):
        assert arithmetic < rows[name].picojoules < rows["float32"].picojoules / 10  # out of DRAM, into a cache
    integers = energy.estimate(layers, bits=8).energy_pj
    assert rows["8-bit weights"].picojoules > integers


@pytest.mark.parametrize("call, message", [
    (lambda: scoreboard.score("int3"), "'int3' is not one of the forms 'float32'"),
    (lambda: scoreboard.rows("00"), "'00' adds no row; those that do are '01'"),
])
def test_an_unknown_form_or_lecture_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# ------------------------------------------------------------------------------------------------------- the pictures


def figure(height=3.0):
    made = Figure(figsize=(11, height))
    FigureCanvasAgg(made)
    return made


ROWS = [scoreboard.Score("float32", 1_066_896, Accuracy(0.9854, 0.0012, 10_000), Latency(7e-5, 1e-6, 9), 174.2e6),
        scoreboard.Score("4-bit weights", 138_012, Accuracy(0.9843, 0.0012, 10_000), None, 2.9e6)]


def test_the_strip_says_in_words_and_in_its_title_what_it_shows():
    made = figure()
    alt = plots.scoreboard(made, ROWS)
    for piece in ("float32 1 066 896, 98.54 ± 0.12, 70 µs, 174.20 µJ", "nothing runs on it", "138 012"):
        assert piece in alt
    assert made.get_suptitle() == "4-bit weights: a file 7.7 times smaller, −0.11 points"
    made.canvas.draw()


def test_bars_are_in_proportion_to_the_first_row():
    made = figure()
    plots.scoreboard(made, ROWS)
    sizes, accuracy, time, joules = made.axes
    assert [bar.get_width() for bar in sizes.patches] == pytest.approx([1, 138_012 / 1_066_896])
    assert [bar.get_width() for bar in joules.patches] == pytest.approx([1, 2.9 / 174.2])
    assert not accuracy.patches and len(time.patches) == 1


def test_no_text_of_the_strip_leaves_it_or_lies_on_another():
    made = figure(0.5 * len(ROWS) + 1.2)
    plots.scoreboard(made, ROWS)
    made.canvas.draw()
    texts = [one for ax in made.axes for one in (*ax.texts, ax.title)] + made.axes[0].get_yticklabels()
    texts = [one for one in [*texts, *made.texts] if one.get_text()]
    boxes = [text.get_window_extent() for text in texts]
    assert all(made.bbox.x0 - 1 <= box.x0 and box.x1 <= made.bbox.x1 + 1 for box in boxes)
    assert not [(a.get_text(), b.get_text()) for i, a in enumerate(texts) for j, b in enumerate(texts[:i])
                if boxes[i].overlaps(boxes[j])]


def test_one_row_opens_the_board():
    made = figure()
    plots.scoreboard(made, ROWS[:1])
    assert made.get_suptitle() == "The scoreboard opens: LeNet-300-100 in float32"


def test_a_network_is_drawn_with_its_counts():
    made = figure()
    alt = plots.network(made.add_subplot(), energy.NETWORKS["LeNet-300-100"])
    assert "266200 weights in all" in alt
    words = " ".join(text.get_text() for text in made.axes[0].texts)
    for piece in ("235 200 weights", "784\npixels", "10\nclasses", "300\nhidden"):
        assert piece in words
    made.canvas.draw()


@pytest.mark.parametrize("call, message", [
    (lambda: plots.scoreboard(figure(), []), "rows is empty"),
    (lambda: plots.network(figure().add_subplot(), []), "layers is empty"),
    (lambda: plots.network(figure().add_subplot(), [energy.linear("a", 3, 2), energy.linear("b", 4, 1)]),
     "'b' reads 4 numbers, and 'a' gives 2"),
])
def test_what_cannot_be_drawn_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
