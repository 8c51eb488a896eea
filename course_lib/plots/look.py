"""The look of the course: colours, and the style of every figure.

The same thing wears the same colour on every page: a real value is grey, its quantized twin blue, the error between
them vermilion, what is pruned away pale, a teacher green. The hues are those of Okabe and Ito (2008), which readers
with any of the common kinds of colour vision tell apart.
"""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import matplotlib as mpl
import matplotlib.style

REAL = "#6E6E6E"  # a real value: grey
QUANTIZED = "#0072B2"  # its quantized twin: blue
ERROR = "#D55E00"  # the error between them: vermilion
PRUNED = "#D4D4D4"  # what was taken away: pale
TEACHER = "#009E73"  # the teacher: green
ACCENT = "#E69F00"  # the one thing to look at: orange
SECOND = "#CC79A7"  # a second quantized thing beside the first: purple
THIRD = "#56B4E9"  # a third: sky blue
INK = "#222222"  # text

INLINE = "module://matplotlib_inline.backend_inline"  # figures on the page of a notebook
STYLE = Path(__file__).with_name("course.mplstyle")


def use_style() -> None:
    """Give every figure drawn after this call the course's style (call it once, in a notebook's first cell).

    It is laid over Matplotlib's defaults: a reader's own ``matplotlibrc`` may ask for LaTeX, which is not there, or for
    another look. In a notebook the figures appear on the page, whatever the variable ``MPLBACKEND`` says; what the
    notebook itself has chosen, ``%matplotlib widget`` for instance, stays.
    """
    mpl.style.use(["default", STYLE])
    told = os.environ.get("MPLBACKEND", "")
    if told and told != INLINE and mpl.get_backend().lower() == told.lower() and hasattr(_shell(), "kernel"):
        _shell().enable_matplotlib("inline")


def _shell():
    """The notebook or the IPython that this runs in, or None."""
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython else None


def style() -> AbstractContextManager:
    """The course's style inside a ``with`` block only; the caller's own style comes back afterwards."""
    return mpl.style.context(STYLE, after_reset=True)
