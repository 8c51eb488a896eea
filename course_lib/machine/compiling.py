"""How this library compiles: one decorator for every kernel, and a list of all of them for ``cl.warm_up()``.

The rules, and why:

- fixed argument types, so that everything is compiled when the module is imported and nothing while a lecture runs;
- a cache, so that it is compiled once per machine; a cache that cannot be written costs time, never the import;
- ``nogil``, so that a thread pool can run kernels side by side; never ``parallel`` (it crashes beside PyTorch on some
  machines and resets PyTorch's threads); no ``fastmath`` (NaN, infinities and -0 keep their meaning).
"""

import functools
import glob
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numba
from numba import types
from numba.core.dispatcher import Dispatcher

from course_lib.machine import simd  # noqa: F401  it lets Numba compile

# compiled into kernels of other files
_SHARED_SOURCES = [Path(__file__).parents[1] / "kernels" / name for name in ("blocks.py", "floats.py", "tiles.py")]
_SHARED_SOURCES += sorted(Path(__file__).with_name("simd").glob("*.py"))
KERNELS = {}               # "module.name" -> dispatcher
watchers = []              # callables told the name of a kernel just before it is compiled or loaded


def array_of(dtype: types.Type, ndim: int, *, readonly: bool = True) -> types.Array:
    """The Numba type of a C-contiguous array argument.

    A read-only type also takes writable arrays, the reverse is not true: use it for every input, because arrays that
    come from a file, a view or a frozen dataclass are often read-only.
    """
    return types.Array(dtype, ndim, "C", readonly=readonly)


def kernel(signatures: list, **options: object) -> Callable[[Callable], Dispatcher]:
    """Decorate a loop so that it is compiled for ``signatures`` at once, cached, and known to ``warm_up.load_all``.

    Parameters
    ----------
    signatures : list of Numba signatures
    **options : passed on to ``numba.njit``
    """

    def decorate(function):
        name = f"{function.__module__}.{function.__qualname__}"
        for watcher in watchers:
            watcher(function.__name__)
        dispatcher, repaired, why = _kept(function, signatures, options)
        if dispatcher is not None:
            dispatcher.disable_compile()
        else:
            dispatcher = numba.njit(signatures, nogil=True, **options)(function)    # a fault in the kernel shows here
        dispatcher.cached, dispatcher.repaired, dispatcher.why = not why, repaired, why
        KERNELS[name] = dispatcher
        return dispatcher

    return decorate


class PlainLoop:
    """A loop that is compiled when it is first called: see :func:`plain_loop`. ``py_func`` is the loop as it stands."""

    def __init__(self, function: Callable):
        functools.update_wrapper(self, function)
        self.py_func, self._compiled = function, None

    def __call__(self, *arguments):
        if self._compiled is None:
            signature = tuple(map(numba.typeof, arguments))
            self._compiled = _kept(self.py_func, [signature], {})[0] or numba.njit(nogil=True)(self.py_func)
        return self._compiled(*arguments)


def plain_loop(function: Callable) -> PlainLoop:
    """Decorate a loop that stands beside a kernel, to be read and to be timed.

    It is compiled for the types of its first call, and for others when they come, and kept in the same cache.
    ``cl.warm_up()`` leaves it alone: nobody who does not ask for it waits for it.
    """
    return PlainLoop(function)


def _kept(function, signatures, options):
    """(dispatcher, whether its code in the cache was damaged, "") or (None, that, why nothing can be kept).

    Damaged code (half a file, another file's content) is removed and made again once: Numba by itself would stumble
    over it for ever. Another process that does the same finds at worst a file less, and compiles that.
    """
    repaired = False
    while True:
        try:
            dispatcher = numba.njit(cache=True, nogil=True, **options)(function)
        except Exception as error:
            no_place = isinstance(error, RuntimeError) and "no locator" in str(error)
            return None, repaired, "no folder for it can be written" if no_place else _in_short(error)
        try:
            _watch_shared_source(dispatcher)
            for signature in signatures:
                dispatcher.compile(signature)
            return dispatcher, repaired, ""
        except OSError as error:                        # a full disk, or another user's file: no damage
            return None, repaired, f"{error.filename or 'the compile cache'}: {error.strerror or error}"
        except Exception as error:                      # unpickling damaged bytes raises almost anything
            if repaired or not _remove_code(dispatcher):
                return None, repaired, _in_short(error)
            repaired = True


def _remove_code(dispatcher):
    """Remove what the cache holds of this kernel, and of no other; whether there was anything."""
    try:
        folder, base = Path(dispatcher._cache.cache_path), dispatcher._cache._impl.filename_base
    except AttributeError:
        return False                                    # another Numba
    files = [path for path in (folder / f"{base}.nbi", *folder.glob(f"{glob.escape(base)}.*.nbc")) if path.exists()]
    for path in files:
        with suppress(OSError):                         # where it stays, the second attempt says what is wrong
            path.unlink(missing_ok=True)
    return bool(files)


def _in_short(error):
    return f"{type(error).__name__}: {error}"


def _watch_shared_source(dispatcher):
    """Let the cache forget a kernel when shared source changes: by itself it looks at the kernel's own file only."""
    try:
        index, stats = dispatcher._cache._cache_file, [source.stat() for source in _SHARED_SOURCES]
        index._source_stamp = (index._source_stamp, *((stat.st_mtime, stat.st_size) for stat in stats))
    except (AttributeError, OSError):
        pass                            # another Numba, or a zipped package: a change needs a new cache folder
