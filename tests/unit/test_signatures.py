"""Public signatures carry types: every parameter and the result of what a room gives away."""

import inspect
from functools import cached_property
from types import ModuleType

import numba
import pytest
from numba.core.dispatcher import Dispatcher
from numba.core.extending import _Intrinsic as Intrinsic

import course_lib

ROOMS = [name for name in course_lib.__all__ if isinstance(getattr(course_lib, name), ModuleType)]


def public(room):
    """What a room gives away, its modules too: ``__all__``, or, where there is none, what is defined there."""
    own = [name for name, thing in vars(room).items() if getattr(thing, "__module__", None) == room.__name__]
    names = getattr(room, "__all__", [name for name in own if not name.startswith("_")])
    things = {name: getattr(room, name) for name in names}
    inside = [thing for thing in things.values() if isinstance(thing, ModuleType)]
    return things | {f"{module.__name__}.{name}": thing for module in inside for name, thing in public(module).items()}


def function_in(thing):
    """The function inside a property or a method of a class; None where there is none.

    What Numba compiles has its types already: a kernel's signatures, an intrinsic's types of Numba.
    """
    for wrapper, inside in ((property, "fget"), (cached_property, "func"), ((classmethod, staticmethod), "__func__")):
        if isinstance(thing, wrapper):
            thing = getattr(thing, inside)
    compiled = isinstance(thing, (Dispatcher, Intrinsic))
    return inspect.unwrap(thing) if inspect.isroutine(thing) and not compiled else None


def functions(name, thing):
    """(name, function, whether it is bound to an object) of a public name: itself, or a class's public methods."""
    if not inspect.isclass(thing):
        yield name, function_in(thing), False
        return
    fields = getattr(thing, "__dataclass_fields__", {})  # a default that is a function is no method
    for method, value in vars(thing).items():
        if method == "__init__" or not method.startswith("_") and method not in fields:
            yield f"{name}.{method}", function_in(value), not isinstance(value, staticmethod)


def missing(things):
    """What has no type, as sentences, of a dict of public names."""
    found = []
    for public_name, thing in things.items():
        for name, function, bound in functions(public_name, thing):
            if function is None:
                continue
            signature = inspect.signature(function)
            some = [one.name for one in list(signature.parameters.values())[bound:] if one.annotation is one.empty]
            if signature.return_annotation is signature.empty and not name.endswith(".__init__"):
                some.append("its result")
            if some:
                found.append(f"{name}: {', '.join(some)} without a type")
    return found


def homes(room):
    """{dotted name of the module below course_lib: its public names} of one room."""
    split = {}
    for name, thing in public(room).items():
        module = getattr(thing, "__module__", None) or room.__name__
        split.setdefault(module.removeprefix("course_lib."), {})[name] = thing
    return split


@pytest.mark.parametrize("room", ROOMS)
def test_every_public_function_has_types(room):
    split = homes(getattr(course_lib, room))
    assert [line for things in split.values() for line in missing(things)] == []


def test_the_front_door_has_types():
    front = {name: getattr(course_lib, name) for name in ("show", "table", "warm_up")}
    assert missing(front) == []



def test_the_walk_sees_what_has_no_type():
    class Thing:
        def __init__(self, size):
            pass

        def whole(self, x: int) -> int:
            return x

        @property
        def size(self):
            return 0

        @staticmethod
        def made(x: int):
            return x

        def _own(self, x):
            return x

    def half(x: int, *rest, y=0) -> int:
        return x

    def whole(x: int) -> int:
        return x

    things = {"Thing": Thing, "half": half, "whole": whole, "kernel": numba.njit(half), "NUMBER": 3}
    assert missing(things) == [
        "Thing.__init__: size without a type",
        "Thing.size: its result without a type",
        "Thing.made: its result without a type",
        "half: rest, y without a type",
    ]
