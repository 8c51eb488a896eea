"""The static figures: what they draw, on the axes they are given and nowhere else."""

from contextlib import nullcontext

import matplotlib as mpl
import nbclient
import nbformat
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from course_lib import plots
from course_lib.numerics import calibrate, fake_quantize, qparams_from_range


@pytest.fixture
def ax():
    figure = Figure()
    FigureCanvasAgg(figure)
    yield figure.add_subplot()
    figure.canvas.draw()  # whatever was drawn can be drawn, without a warning


def test_the_style_is_put_on_and_taken_off():
    with mpl.rc_context():
        mpl.rcParams["font.size"] = 5
        with plots.style():
            assert mpl.rcParams["font.size"] == 12
        assert mpl.rcParams["font.size"] == 5
        plots.use_style()
        assert mpl.rcParams["font.size"] == 12 and not mpl.rcParams["axes.spines.top"]


READERS_OWN = """
text.usetex: True
font.family: serif
font.size: 31
path.sketch: 1, 100, 2
savefig.format: pdf
figure.autolayout: True
lines.linewidth: 0.1
"""


def test_the_style_lies_over_matplotlibs_defaults_and_not_over_a_readers_own(tmp_path):
    (tmp_path / "matplotlibrc").write_text(READERS_OWN)
    own = mpl.rc_params_from_file(tmp_path / "matplotlibrc", use_default_template=False)
    want = {name: mpl.rcParamsDefault[name] for name in own} | {"font.size": 12, "font.family": ["DejaVu Sans"]}
    want["lines.linewidth"] = 2.2
    for block in (plots.style, lambda: nullcontext(plots.use_style())):
        with mpl.rc_context():
            backend = mpl.get_backend()
            mpl.rcParams.update(own)
            with block():
                assert {name: mpl.rcParams[name] for name in own} == want and mpl.get_backend() == backend


@pytest.mark.parametrize("before", ["", "import matplotlib.pyplot as plt; plt.switch_backend('svg')"])
def test_figures_of_a_notebook_are_on_its_page_whatever_the_surroundings_say(tmp_path, monkeypatch, before):
    """A variable that sends figures nowhere, and a file that wants LaTeX;
    but what the notebook chooses itself stays."""
    (tmp_path / "matplotlibrc").write_text(READERS_OWN)
    monkeypatch.setenv("MATPLOTLIBRC", str(tmp_path))
    monkeypatch.setenv("MPLBACKEND", "agg")
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    drawing = "import matplotlib.pyplot as plt; plt.plot([1, 2]); plt.title('$x^2$'); plt.show()"
    cells = [before, "from course_lib import plots; plots.use_style()", drawing]
    notebook = nbformat.v4.new_notebook(cells=list(map(nbformat.v4.new_code_cell, cells)))
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    pictures = [output for output in notebook.cells[-1].outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == (0 if before else 1), notebook.cells[-1].outputs


def test_the_style_sheet_and_the_constants_agree():
    with plots.style():
        cycle = mpl.rcParams["axes.prop_cycle"].by_key()["color"]
    cycle = [color.upper() if color.startswith("#") else f"#{color.upper()}" for color in cycle]
    assert cycle == [plots.QUANTIZED, plots.ERROR, plots.TEACHER, plots.ACCENT, plots.SECOND, plots.THIRD, plots.REAL]


def test_text_stands_out_from_its_ground():
    def luminance(color):
        channels = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in mpl.colors.to_rgb(color)]
        return np.dot([0.2126, 0.7152, 0.0722], channels)

    def contrast(color):
        return 1.05 / (luminance(color) + 0.05)

    assert contrast(plots.INK) > 7
    for color in (plots.REAL, plots.QUANTIZED):
        assert contrast(color) > 4.5
    assert contrast(plots.ERROR) > 3, "large text"


def test_an_outline_starts_and_ends_on_zero():
    x, y = plots.outline([2, 3], [0, 1, 2])
    assert x.tolist() == [0, 0, 1, 1, 2, 2]
    assert y.tolist() == [0, 2, 2, 3, 3, 0]


def test_a_histogram_is_one_line(ax):
    values = np.random.default_rng(0).normal(size=(10, 30))
    line = plots.histogram_line(ax, values, bins=12, density=False)
    heights, edges = np.histogram(values, bins=12)
    assert line.get_ydata()[1:-1:2].tolist() == heights.tolist()
    assert len(ax.lines) == 1 and line.get_color() == plots.REAL
    assert ax.get_ylim()[0] == 0


def test_a_staircase_is_the_quantizers(ax):
    qparams = calibrate(np.linspace(-1, 1, 50, dtype=np.float32), bits=3)
    line = plots.staircase(ax, qparams)
    assert len(np.unique(line.get_ydata())) == qparams.levels == 7
    np.testing.assert_array_equal(line.get_ydata(), fake_quantize(line.get_xdata(), qparams))
    assert line.get_xdata()[0] < qparams.clipping_range[0], "the clipping shows"
    assert len(ax.lines) == 2, "and what it stands for, in grey"
    assert ax.get_xlabel() and ax.get_ylabel()


def test_a_staircase_rounds_as_told(ax):
    qparams = qparams_from_range(0, 3, bits=2, scheme="affine")
    assert plots.staircase(ax, qparams, rounding="down", span=(0.9, 0.95), identity=False).get_ydata().max() == 0
    assert len(ax.lines) == 1


def test_a_staircase_has_one_scale(ax):
    qparams = calibrate(np.eye(3, dtype=np.float32), bits=4, granularity="per_channel")
    with pytest.raises(ValueError, match="qparams holds 3 scales; a staircase shows one"):
        plots.staircase(ax, qparams)


def test_bars_say_their_value_above_their_error(ax):
    plots.bars_with_error(ax, ["float32", "int8"], [98.5, 98.4], [0.1, 0.2], colors=[plots.REAL, plots.QUANTIZED])
    assert [text.get_text() for text in ax.texts] == ["98.5", "98.4"]
    assert ax.texts[1].xy == (1, pytest.approx(98.6))
    assert [label.get_text() for label in ax.get_xticklabels()] == ["float32", "int8"]


def test_bars_without_errors_and_words(ax):
    bars = plots.bars_with_error(ax, ["a", "b"], [1, 2], text=None)
    assert [bar.get_height() for bar in bars] == [1, 2] and not ax.texts


def test_a_line_carries_its_name(ax):
    (line,) = ax.plot([1, 2], [3, 4], color=plots.TEACHER, label="teacher")
    label = plots.label_line(ax, line)
    assert label.get_text() == "teacher" and label.xy == (2, 4) and label.get_color() == plots.TEACHER
    assert plots.label_line(ax, line, "start", at=0).xy == (1, 3)


def test_tiles_are_words_over_a_picture():
    figure = Figure(figsize=(6.4, 5.2), dpi=100, facecolor="white")
    canvas = FigureCanvasAgg(figure)
    tiles = plots.Tiles(figure, 2)
    canvas.draw()
    empty = np.asarray(canvas.buffer_rgba()).copy()
    tiles.set("4 bits → 15 levels", ("−8.2 dB", "SQNR"), ("15", "levels"))
    figure.draw_artist(tiles)
    written = (np.asarray(canvas.buffer_rgba()) != empty).any(axis=-1)
    assert [bool(written[top : top + 30, left : left + 320].any()) for top in (0, 32, 63) for left in (0, 320)] == [
        True, False, True, True, True, True,
    ]  # fmt: skip
    assert not written[95:].any(), "the rest is left alone"
    blue = (np.asarray(canvas.buffer_rgba())[32:62] == [0, 0x72, 0xB2, 255]).all(axis=-1)
    assert blue.sum() > 200, "the numbers are of the quantized thing"
    with pytest.raises(ValueError, match="1 tiles for a row of 2"):
        tiles.set("4 bits", ("8.2 dB", "SQNR"))


@pytest.fixture
def results():
    """Two rows that compute, one that only moves bytes."""
    def row(name, operations, ours_ms, best_ms, limit_ms):
        return {
            "name": name, "operations": operations, "bytes": 1e6, "ours_ms": ours_ms, "peers": {"peer": best_ms},
            "best_peer": "peer", "limit_ms": limit_ms, "of_limit": limit_ms / ours_ms,
        }  # fmt: skip

    rows = [row("int8 product", 64e6, 0.1, 0.3, 0.05), row("dense", 2e6, 0.2, 0.1, 0.05),
            row("copy", 0, 0.1, 0.2, 0.09)]  # fmt: skip
    peaks = {"float32": {"rate": 4e11}, "int8": {"rate": 2e12}}
    return {"machine": {"name": "Wright X1"}, "threads": 2, "rows": rows,
            "roofs": {"peaks": peaks, "bandwidth": {str(1 << 24): 2e10}}}  # fmt: skip


def test_the_roofline_of_a_benchmark(ax, results):
    alt = plots.roofline(ax, results)
    assert ax.get_xscale() == ax.get_yscale() == "log"
    assert "measured on Wright X1, 2 threads" in alt
    assert "1 of 2 lie above the fastest peer" in alt and "1 of 2 reach at least half" in alt
    texts = [text.get_text() for text in ax.texts]
    # ordered by intensity
    assert {"1", "2", "1  dense\n2  int8 product", "peak: float32", "peak: int8", "Wright X1, 2 threads"} == set(texts)
    (ours,) = [line for line in ax.lines if line.get_color() == plots.QUANTIZED]
    assert ours.get_xdata().tolist() == [2, 64] and ours.get_ydata() == pytest.approx([10, 640])
    roof = [
        line for line in ax.lines
        if line.get_color() == plots.INK and len(line.get_xdata()) == 2 and line.get_marker() == "None"
    ]  # fmt: skip
    assert [line.get_xdata()[0] for line in roof] == pytest.approx([20, 100])  # the ridges


def test_the_share_of_the_limit_of_every_row(ax, results):
    alt = plots.limits_reached(ax, results)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["copy", "dense", "int8 product"]
    assert [bar.get_width() for bar in ax.patches] == pytest.approx([90, 25, 50])
    assert "int8 product 50 %, dense 25 %, copy 90 %" in alt and "on Wright X1, 2 threads" in alt


def test_numbers_cover_neither_each_other_nor_the_points(ax):
    x, y = [0.50, 0.51, 0.5, 0.9], [0.5, 0.5, 0.52, 0.9]
    labels = plots.spread_labels(ax, list("1234"), x, y)
    renderer = ax.figure.canvas.get_renderer()
    boxes = [label.get_window_extent(renderer) for label in labels]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    points = ax.transData.transform(np.column_stack([x, y]))
    assert not any(box.contains(*point) for box in boxes for point in points)
