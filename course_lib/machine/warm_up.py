"""Everything compiled before anybody waits for it: the walk over all kernels behind ``cl.warm_up()``."""

import importlib
import pkgutil
import time
from pathlib import Path
from typing import NamedTuple

from course_lib.machine import compiling, second_python
from course_lib.machine.compiling import watchers
from course_lib.machine.threads import threads

KERNEL_FOLDER = Path(__file__).parents[1] / "kernels"       # found by walking it: the machine does not know its kernels
LIGHT = ("blocks", "plain")            # modules of that folder that have no kernel


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


def load_all(progress: bool = True) -> WarmUp:
    """Import every module of the room of kernels, which compiles its kernels or loads them from the cache.

    Where there is much to compile and a second core, a second Python compiles the modules from the other end of the
    list into the same cache; where the two meet, this one finds the rest compiled.
    """
    from tqdm.auto import tqdm

    names = _in_working_order(KERNEL_FOLDER)
    start, helper = time.perf_counter(), None
    with tqdm(names, desc="kernels", disable=not progress) as bar:
        watchers.append(bar.set_postfix_str)
        try:
            for done, name in enumerate(bar, start=1):
                importlib.import_module(f"course_lib.kernels.{name}")
                if helper is None and len(names) - done > 1 and _compiles_into_a_cache():
                    helper = second_python.start(names[:done:-1])
        finally:
            watchers.remove(bar.set_postfix_str)
            second_python.stop(helper)      # only what is done here already can be left
    dispatchers = list(compiling.KERNELS.values())
    uncached = tuple(name for name, d in compiling.KERNELS.items() if not d.cached)
    repaired = tuple(name for name, d in compiling.KERNELS.items() if d.cached and d.repaired)
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
    """The names of the kernel modules: those without kernels, then a small one, to see whether there is anything to
    compile. Then the largest, the third largest, … down to small ones, and up again to the second largest: one Python
    begins at the front and the other at the back, and while each has a large module before it, where they meet both
    are at small ones, so that neither waits long for the other."""
    modules = [module.name for module in pkgutil.iter_modules([str(folder)]) if not module.ispkg]
    size = {name: (folder / f"{name}.py").stat().st_size for name in modules}
    light = [name for name in LIGHT if name in size]
    *large, first = sorted(size.keys() - light, key=size.get, reverse=True)
    return [*light, first, *large[::2], *large[1::2][::-1]]


def _compiles_into_a_cache():
    """Whether a kernel had to be compiled, and was written down for others."""
    return threads() > 1 and any(d.cached and sum(d.stats.cache_misses.values()) for d in compiling.KERNELS.values())
