"""The compiled loops: plain arrays in, plain arrays out, no checks (the friendly functions above them check).

Every kernel is declared with ``@kernel(signatures)`` (see ``compiling.py``), which fixes its argument types, keeps the
compiled code in a cache and compiles or loads it when its module is imported: nothing compiles later.
"""

import importlib
import pkgutil

_MODULES = tuple(module.name for module in pkgutil.iter_modules(__path__))


def __getattr__(name):
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"course_lib.kernels has no module {name!r}; it has {', '.join(_MODULES)}")


def __dir__():
    return sorted({*globals(), *_MODULES})
