"""How this library compiles: one decorator for every kernel, and the walk over all of them behind ``cl.warm_up()``.

The rules, and why:

- fixed argument types, so that everything is compiled when the module is imported and nothing while a lecture runs;
- a cache, so that it is compiled once per machine; a cache that cannot be written costs time, never the import;
- ``nogil``, so that a thread pool can run kernels side by side; never ``parallel`` (it crashes beside PyTorch on some
  machines and resets PyTorch's threads); no ``fastmath`` (NaN, infinities and -0 keep their meaning).
"""

import glob
import importlib
import pkgutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numba
from numba import types

from course_lib.machine import pool

# compiled into kernels of other files
_SHARED_SOURCES = [Path(__file__).with_name(name) for name in ("blocks.py", "floats.py", "tiles.py")]
_SHARED_SOURCES += sorted(Path(__file__).with_name("simd").glob("*.py"))
_KERNELS = {}               # "module.name" -> dispatcher
_LIGHT = ("blocks", "compiling", "pool", "ways")                   # modules of this folder that have no kernel
_watchers = []              # callables told the name of a kernel just before it is compiled or loaded


class WarmUp(NamedTuple):
    """What :func:`load_all` did. ``uncached`` names the kernels whose compiled code is not kept, ``why`` says in words
    what stood in the way, and ``repaired`` names those whose compiled code was damaged and was made again."""

    kernels: int
    compiled: int
    loaded: int
    uncached: tuple
    seconds: float
    repaired: tuple = ()
    why: tuple = ()


def array_of(dtype, ndim, *, readonly=True):
    """The Numba type of a C-contiguous array argument.

    A read-only type also takes writable arrays, the reverse is not true: use it for every input, because arrays that
    come from a file, a view or a frozen dataclass are often read-only.
    """
    return types.Array(dtype, ndim, "C", readonly=readonly)


def kernel(signatures, **options):
    """Decorate a loop so that it is compiled for ``signatures`` at once, cached, and known to :func:`load_all`.

    Parameters
    ----------
    signatures : list of Numba signatures
    **options : passed on to ``numba.njit``
    """

    def decorate(function):
        name = f"{function.__module__}.{function.__qualname__}"
        for watcher in _watchers:
            watcher(function.__name__)
        dispatcher, repaired, why = _kept(function, signatures, options)
        if dispatcher is None:
            dispatcher = numba.njit(signatures, nogil=True, **options)(function)    # a fault in the kernel shows here
        dispatcher.cached, dispatcher.repaired, dispatcher.why = not why, repaired, why
        _KERNELS[name] = dispatcher
        return dispatcher

    return decorate


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
            dispatcher.disable_compile()
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


def load_all(progress=True):
    """Import every module of :mod:`course_lib.kernels`, which compiles its kernels or loads them from the cache.

    Where there is much to compile and a second core, a second Python compiles the modules from the other end of the list
    into the same cache; where the two meet, this one finds the rest compiled.
    """
    from tqdm.auto import tqdm

    names = _in_working_order(Path(__file__).parent)
    start, helper = time.perf_counter(), None
    with tqdm(names, desc="kernels", disable=not progress) as bar:
        _watchers.append(bar.set_postfix_str)
        try:
            for done, name in enumerate(bar, start=1):
                importlib.import_module(f"course_lib.kernels.{name}")
                if helper is None and len(names) - done > 1 and _compiles_into_a_cache():
                    helper = _start_helper(names[:done:-1])
        finally:
            _watchers.remove(bar.set_postfix_str)
            if helper is not None:
                helper.kill()               # only what is done here already can be left
                helper.wait()
    dispatchers = list(_KERNELS.values())
    uncached = tuple(name for name, d in _KERNELS.items() if not d.cached)
    repaired = tuple(name for name, d in _KERNELS.items() if d.cached and d.repaired)
    why = tuple(dict.fromkeys(d.why for d in dispatchers if d.why))
    if repaired and progress:
        print(f"The compiled code of {len(repaired)} kernels was damaged; it has been made again.")
    if uncached and progress:
        print(f"The compiled code of {len(uncached)} kernels cannot be kept and is made again in every session "
              f"({why[0]}): set NUMBA_CACHE_DIR to a folder that can be written.")
    return WarmUp(
        kernels=len(dispatchers),
        compiled=sum(sum(d.stats.cache_misses.values()) if d.cached else len(d.signatures) for d in dispatchers),
        loaded=sum(sum(d.stats.cache_hits.values()) for d in dispatchers),
        uncached=uncached,
        seconds=time.perf_counter() - start,
        repaired=repaired,
        why=why,
    )


def _in_working_order(folder):
    """The names of the kernel modules: a small one first, to see whether there is anything to compile; then inwards from
    two large ones, so that two who begin at the two ends meet at small ones."""
    modules = [module.name for module in pkgutil.iter_modules([str(folder)]) if not module.ispkg]
    size = {name: (folder / f"{name}.py").stat().st_size for name in modules}
    light = [name for name in _LIGHT if name in size]
    *large, first = sorted(size.keys() - light, key=size.get, reverse=True)
    return [*light, first, *large[::2], *large[1::2][::-1]]


def _compiles_into_a_cache():
    """Whether a kernel had to be compiled, and was written down for others."""
    return pool.threads() > 1 and any(d.cached and sum(d.stats.cache_misses.values()) for d in _KERNELS.values())


def _start_helper(names):
    """A Python that imports these kernel modules; None where there cannot be one. It keeps quiet: nothing depends on it."""
    # Our own sys.path, not PYTHONPATH: the folder's name may hold the character that separates names there.
    code = f"import importlib, sys\nsys.path[:] = {[str(Path(__file__).parents[2]), *sys.path]!a}\n"
    code += f"for name in {names}: importlib.import_module('course_lib.kernels.' + name)"
    quiet = {name: subprocess.DEVNULL for name in ("stdin", "stdout", "stderr")}
    try:
        return subprocess.Popen([sys.executable, "-c", code], **quiet)
    except OSError:
        return None
