"""Neural-network compression, from the bits up: the library behind the lectures and labs.

A notebook needs one import, ``import course_lib as cl``. The submodules load when first touched (PEP 562), so a
lecture about bits never waits for PyTorch and nothing but a panel ever loads ipywidgets.
"""

import importlib
import inspect
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # what a light front door must not import
    from IPython.display import Code, Markdown

    from course_lib.machine.warm_up import WarmUp

__version__ = "0.1.0"

_SUBMODULES = (
    "machine", "kernels", "numerics", "coding", "products",     # NumPy and compiled loops
    "data", "measure", "energy", "roofline", "sweep",           # data sets, measurements, costs, long runs
    "nets", "quantized", "structured", "embeddings",            # PyTorch from here on: networks, and what holds codes
    "ptq", "qat", "mixed",                                      # what changes a network, or how one is trained
    "check", "bench", "scoreboard",                             # feedback on answers; ours against others; all in one
    "plots", "panels", "installation",                          # figures, widgets; is all well?
)

__all__ = ["set_threads", "show", "table", "threads", "warm_up", *_SUBMODULES]


def __getattr__(name: str) -> object:
    if name in ("threads", "set_threads"):
        return getattr(importlib.import_module("course_lib.machine.threads"), name)
    if name in _SUBMODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"course_lib has no {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def show(*things: object) -> "Code | str":
    """Show the source of functions, classes or kernels, highlighted, as the value of a notebook cell.

    Parameters
    ----------
    *things : shown one after the other
        Functions, methods, properties, classes, modules, kernels and plain loops: their source. An intrinsic that is
        made by a function: that function. An object of the library, for instance a format, a check, a member of an
        enum: what it is, as a comment, and the source of its class.

    Returns
    -------
    IPython.display.Code, or a plain ``str`` where IPython is not installed

    Raises
    ------
    TypeError
        One of them has no source in Python: a number, a text, an array, a function that is built in.
    """
    if not things:
        raise ValueError("show() needs at least one function, for instance cl.show(cl.numerics.quantize_one)")
    source = "\n\n".join(_source_of(thing) for thing in things)
    try:
        from IPython.display import Code
    except ImportError:
        return source
    return Code(source, language="python")


def _source_of(thing):
    """The source of one thing that :func:`show` takes."""
    shown, said = _with_source(thing), ""
    if shown is None and type(thing).__module__.startswith(f"{__name__}."):
        shown, text = type(thing), repr(thing)
        said = f"# {text if len(text) < 118 else f'{text[:115]}…'}\n"
    try:
        return said + inspect.getsource(shown).rstrip()
    except (TypeError, OSError):
        text = repr(thing)
        raise TypeError(f"show() got {text if len(text) < 80 else f'a {type(thing).__name__}'}, which has no source; "
                        "it takes functions, classes, modules, kernels and objects of the library") from None


def _with_source(thing):
    """The function, class or module behind ``thing``; None where there is none."""
    def has_source():
        return any(kind(thing) for kind in (inspect.isfunction, inspect.ismethod, inspect.isclass, inspect.ismodule))

    for inside in ("py_func", "_defn", "fget", "func", "__wrapped__"):      # of a kernel, an intrinsic, a property, …
        if not has_source():
            thing = getattr(thing, inside, thing)
    if inspect.isfunction(thing) and "<locals>" in thing.__qualname__:      # what made it says more than it
        thing = getattr(inspect.getmodule(thing), thing.__qualname__.partition(".")[0], thing)
    return thing if has_source() else None


def table(headers: list[str], rows: list[list], text_columns: int = 1) -> "Markdown | str":
    """Rows as a table on the page, as the value of a notebook cell.

    Parameters
    ----------
    headers : list of str
    rows : list of lists of cells, each as long as ``headers``
    text_columns : int, how many of the first columns hold text (set to the left; the others, numbers, to the right)

    Returns
    -------
    IPython.display.Markdown, or its source as a plain ``str`` where IPython is not installed
    """
    for row in rows:
        if len(row) != len(headers):
            raise ValueError(f"a row has {len(row)} cells and headers {len(headers)}; they should agree: {row}")
    rule = ["---"] * text_columns + ["---:"] * (len(headers) - text_columns)
    cells = [[str(cell).replace("|", "\\|") for cell in line] for line in (headers, rule, *rows)]
    source = "\n".join(f"| {' | '.join(line)} |" for line in cells)
    try:
        from IPython.display import Markdown
    except ImportError:
        return source
    return Markdown(source)


def warm_up(progress: bool = True) -> "WarmUp":
    """Compile every kernel of the library, or load it from the cache, so that nothing waits for a compiler later.

    The first call after an installation takes some seconds; the compiled code is kept, and later calls only load it.

    Parameters
    ----------
    progress : bool, show a progress bar that names the kernel at work

    Returns
    -------
    WarmUp(kernels, compiled, loaded, uncached, seconds)
        How many kernels there are, how many compiled variants were made, how many came from the cache, and which
        kernels found no place for their compiled code.
    """
    from course_lib.machine.warm_up import load_all

    return load_all(progress=progress)
