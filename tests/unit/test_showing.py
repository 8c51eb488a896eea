"""A picture comes onto the page with its words, once, and not without a title."""

import base64
import io

import nbclient
import nbformat
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from course_lib import plots

WORDS = "A straight line from zero up to one, in blue on white"


def figure(title="The line rises"):
    made = Figure()
    FigureCanvasAgg(made)
    made.add_subplot().set_title(title)
    return made


@pytest.fixture(scope="module")
def outputs():
    """What a notebook's cell puts onto the page for a figure that it shows."""
    cell = nbformat.v4.new_code_cell(f"""
        import matplotlib.pyplot as plt
        import course_lib as cl
        cl.plots.use_style()
        fig, ax = plt.subplots(figsize=(4, 3))
        ax.plot([0, 1])
        ax.set_title("The line rises")
        cl.plots.show(fig, alt="{WORDS[:20]}\\n  {WORDS[20:]}")
        """)
    cell.source = "\n".join(line.strip() for line in cell.source.splitlines())
    notebook = nbformat.v4.new_notebook(cells=[cell])
    nbclient.NotebookClient(notebook, kernel_name="python3").execute()
    return cell.outputs


def test_the_page_has_the_picture_once_and_its_words_twice(outputs):
    (output,) = outputs
    words = " ".join(WORDS.split())
    assert output.output_type == "display_data"
    assert output.metadata == {"image/png": {"alt": words}} and output.data["text/plain"] == words


def test_the_picture_is_a_png_in_the_figure_s_own_resolution(outputs):
    picture = Image.open(io.BytesIO(base64.b64decode(outputs[0].data["image/png"])))
    assert picture.format == "PNG"
    assert 330 < picture.width <= 420 and 250 < picture.height <= 320  # 4 by 3 inches at 100 dpi, cut to what is drawn


def test_nothing_is_shown_without_a_notebook():
    assert plots.show(figure(), alt=WORDS) is None


@pytest.mark.parametrize("place", ["left", "center", "right"])
def test_a_title_may_stand_in_any_place(place):
    made = figure(title="")
    made.axes[0].set_title("The line rises", loc=place)
    plots.show(made, alt=WORDS)


def test_one_title_over_all_axes_is_enough():
    made = figure(title="")
    made.suptitle("The line rises")
    plots.show(made, alt=WORDS)


@pytest.mark.parametrize("made, alt, error, message", [
    (figure(title=" "), WORDS, ValueError, "title"),
    (figure(), "a line", ValueError, "alt='a line'"),
    (figure(), " " * 50, ValueError, "alt=''"),
    (figure(), None, TypeError, "alt is a NoneType"),
    (figure().axes[0], WORDS, TypeError, "figure is a Axes"),
])
def test_what_is_missing_is_named(made, alt, error, message):
    with pytest.raises(error, match=message):
        plots.show(made, alt=alt)
