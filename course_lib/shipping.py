"""The networks that come with the library, so that no page waits for their training: which, and how they are made.

``python -m course_lib.shipping`` (``make nets``) makes the folder again: what is there and right stays, what is missing
is taken from the cache or trained, and what no recipe asks for any more is removed. It can be stopped at any time, and
goes on where it was.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from course_lib import data
from course_lib.nets import store
from course_lib.qat.training import label_and_key, trained_qat

STALE = "stale: run make nets"
LIMIT_BYTES = 8_000_000  # of the whole folder: it is cloned with the course


class Known(NamedTuple):
    """A data set as far as a recipe needs it."""

    name: str
    fingerprint: str


MNIST = Known("mnist", "25c98f992c00")
NETWORKS = (("lenet_300_100", 0), ("lenet_5", 0), ("small_resnet", 0))  # name, seed
AWARE = (("lenet_300_100", 2, 2, 0), ("lenet_300_100", 3, 3, 0))  # name, bits, seed


class Shipped(NamedTuple):
    """One file: how its name begins, and how its content is made from MNIST."""

    stem: str
    make: Callable[[data.Dataset], object]


def shipped() -> list[Shipped]:
    """The files that should be there, by the recipes as they are now."""
    files = [Shipped(store.stem_of(name, store.key_of(name, MNIST, seed)), partial(_network, name, seed))
             for name, seed in NETWORKS]
    for name, weight_bits, activation_bits, seed in AWARE:
        stem = store.stem_of(*label_and_key(name, MNIST, weight_bits, activation_bits, seed))
        files.append(Shipped(stem, partial(_aware, name, weight_bits, activation_bits, seed)))
    return files


def trouble() -> list[str]:
    """What is wrong with the folder, a line each: a network that is missing, damaged, or that no recipe asks for."""
    stems = {one.stem for one in shipped()}
    missing = sorted(stem for stem in stems if store.whole_file(store.SHIPPED, stem) is None)
    return [f"{STALE} ({stem} is missing or damaged)" for stem in missing] + [
        f"{STALE} (no recipe asks for {path.name})" for path in _unasked(stems)]


def make_all() -> None:
    """Make the folder right, a file after the other.

    Raises
    ------
    course_lib.data.MnistUnavailable
    OSError
        The cache, where what is trained is kept first, or the folder cannot be written.
    """
    dataset, files = data.load("mnist"), shipped()
    if dataset.fingerprint != MNIST.fingerprint:
        raise ValueError(f"MNIST has the fingerprint {dataset.fingerprint}; it should be {MNIST.fingerprint}")
    for number, one in enumerate(files, 1):
        began, path = time.time(), store.whole_file(store.SHIPPED, one.stem)
        if path is None:
            path = _made(one, dataset)
        print(f"{number}/{len(files)} {path.name}: {path.stat().st_size:,} bytes, {time.time() - began:.0f} s")
    for path in _unasked({one.stem for one in files}):
        path.unlink()
        print(f"removed {path.name}: no recipe asks for it")


def _network(name, seed, dataset):
    return store.trained(name, dataset, seed=seed)


def _aware(name, weight_bits, activation_bits, seed, dataset):
    return trained_qat(name, dataset, weight_bits, activation_bits, seed=seed)


def _made(one, dataset):
    """Have it made, which leaves it in the cache, and copy it from there."""
    one.make(dataset)
    kept = store.whole_file(data.cache_dir() / store.FOLDER, one.stem)
    if kept is None:
        raise OSError(f"{data.cache_dir()} does not keep {one.stem}: set COURSE_CACHE to a folder that can be written")
    with data.written_aside(store.SHIPPED / kept.name) as aside:
        aside.write_bytes(kept.read_bytes())
    return store.SHIPPED / kept.name


def _unasked(stems):
    """Files that are not the one whole file of a stem."""
    right = {store.whole_file(store.SHIPPED, stem) for stem in stems}
    return [path for path in sorted(store.SHIPPED.glob(f"*{store.SUFFIX}")) if path not in right]


if __name__ == "__main__":
    make_all()
