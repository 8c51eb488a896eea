"""Rooms whose names load when they are first touched, so that a page about bits never waits for PyTorch (PEP 562)."""

import sys
from importlib import import_module


def room(package, homes):
    """``__getattr__``, ``__dir__`` and ``__all__`` for a package: put the three into its ``__init__.py``.

    Parameters
    ----------
    package : str, the package's ``__name__``
    homes : dict, module -> the names that the package gives away from it (none: the module itself is all there is)

    Returns
    -------
    __getattr__, __dir__, __all__

    Raises
    ------
    ValueError
        A name stands in two modules, or is the name of one: what it gives would depend on what was imported before.
    """
    home = {name: module for module, names in homes.items() for name in names}
    if twice := [name for name in home if name in homes or sum(name in names for names in homes.values()) > 1]:
        raise ValueError(f"{package}: the names {sorted(twice)} stand for two things; rename one")
    public = sorted(home) + sorted(module for module, names in homes.items() if not names)

    def __getattr__(name):
        if name in homes:
            return import_module(f"{package}.{name}")
        if name not in home:
            raise AttributeError(f"{package} has no {name!r}; it has {', '.join(public)}")
        value = getattr(import_module(f"{package}.{home[name]}"), name)
        setattr(sys.modules[package], name, value)
        return value

    def __dir__():
        return sorted({*vars(sys.modules[package]), *public})

    return __getattr__, __dir__, public
