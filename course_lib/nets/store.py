"""Trained networks: those that come with the library, and those that are kept in the user's cache.

On MNIST, where training takes a minute or two, the networks that the pages use lie in ``shipped/``, beside this file
(``course_lib.shipping`` makes them). All others are trained when they are first asked for, and kept.

A file, in either folder, is named by its recipe and by its own content:
``lenet_300_100-<recipe>-<content>.safetensors``. The recipe part covers what decides the network (architecture,
hyperparameters, seed, the data's fingerprint, a version number of the code), so a changed recipe never meets an old
file. The number of cores is not in it, since training runs on one thread. Nor is the processor: another kind, or
another version of torch, rounds sums otherwise, and the same recipe ends in another network, as another seed would; a
cache that is carried over keeps its networks. The content part lets a damaged file be seen at once.
Files are written aside and renamed, and a lock makes the second of two notebooks that want the same network wait for
the first.
"""

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import filelock
import safetensors.torch
import torch
from torch import nn

from course_lib import data
from course_lib.nets.models import LeNet5, LeNet300100, SmallResNet
from course_lib.nets.training import train

__all__ = ["NAMES", "cached", "clear_cache", "trained"]

FOLDER = "models"
SHIPPED = Path(__file__).parent / "shipped"
TRAIN = "COURSE_TRAIN"  # set to anything, networks are trained here even where they come with the library
SUFFIX = ".safetensors"
WAIT_S = 900  # how long to wait for another process that trains the same network


@dataclass(frozen=True)
class Recipe:
    """How a network is trained. Raise ``version`` when the code of training or of the model changes its outcome."""

    architecture: str
    epochs: int
    batch_size: int
    lr: float
    weight_decay: float
    version: int = 2


BUILD = {"LeNet300100": LeNet300100, "LeNet5": LeNet5, "SmallResNet": SmallResNet}
RECIPES = {
    ("lenet_300_100", "mnist"): Recipe("LeNet300100", epochs=12, batch_size=128, lr=3e-3, weight_decay=0.1),
    ("lenet_300_100", "digits"): Recipe("LeNet300100", epochs=40, batch_size=32, lr=2e-3, weight_decay=0.1),
    ("lenet_5", "mnist"): Recipe("LeNet5", epochs=6, batch_size=128, lr=2e-3, weight_decay=0.5),
    ("lenet_5", "digits"): Recipe("LeNet5", epochs=20, batch_size=64, lr=2e-3, weight_decay=0.1),
    ("small_resnet", "mnist"): Recipe("SmallResNet", epochs=3, batch_size=128, lr=5e-3, weight_decay=0.1),
    ("small_resnet", "digits"): Recipe("SmallResNet", epochs=10, batch_size=32, lr=5e-3, weight_decay=0.1),
}
NAMES = tuple(dict.fromkeys(name for name, _ in RECIPES))


Result = TypeVar("Result")


def trained(name: str, dataset: data.Dataset, *, seed: int = 0, progress: bool = True) -> nn.Sequential:
    """A trained network: one that comes with the library, or from the cache, or trained now and kept.

    By the same recipe it is the same network on the same kind of processor; the one that comes with the library is the
    same everywhere.

    Parameters
    ----------
    name : {"lenet_300_100", "lenet_5", "small_resnet"}
    dataset : course_lib.data.Dataset
    seed : int
        For the first weights and the order of the images.
    progress : bool
        Show a bar while training.

    Returns
    -------
    nn.Sequential, in evaluation mode

    Raises
    ------
    ValueError
        ``name`` is no network of the course.
    """
    recipe = recipe_of(name, dataset)
    build = BUILD[recipe.architecture]

    def make():
        generator = torch.Generator().manual_seed(seed)
        model = build(generator=generator)
        train(model, dataset, epochs=recipe.epochs, batch_size=recipe.batch_size, lr=recipe.lr,
              weight_decay=recipe.weight_decay, seed=seed, progress=progress, label=f"training {name}")
        return model

    def load(path):
        model = build()
        model.load_state_dict(safetensors.torch.load(path.read_bytes()))
        return model.eval()

    def save(model, path):
        safetensors.torch.save_file(model.state_dict(), path)

    return cached(name, key_of(name, dataset, seed), make, save=save, load=load)


def key_of(name: str, dataset: data.Dataset, seed: int) -> dict:
    """What decides the network that ``trained(name, dataset, seed=seed)`` gives: its recipe, the seed, the data."""
    return {**asdict(recipe_of(name, dataset)), "seed": seed, "data": dataset.fingerprint}


def recipe_of(name: str, dataset: data.Dataset) -> Recipe:
    """The ``Recipe`` by which ``trained(name, dataset)`` trains."""
    if name not in NAMES:
        raise ValueError(f"name is {name!r}; it should be one of {', '.join(map(repr, NAMES))}")
    return RECIPES[name, dataset.name]


def cached(name: str, recipe: dict, make: Callable[[], Result], *, save: Callable[[Result, Path], None],
           load: Callable[[Path], Result]) -> Result:
    """What comes with the library under this ``name`` and ``recipe``, or is kept of an earlier run, or ``make()``.

    A file of the library's that is damaged is named, and passed over. With ``COURSE_TRAIN`` set none of them is read.
    A kept file that is damaged is removed and made again, and one line says so. Where the cache cannot be written the
    result is returned all the same, and one line says that it is not kept. While another process makes the same, this
    one waits, and then reads what it made.

    Parameters
    ----------
    name : str
        Starts the file's name: letters, digits, underscores.
    recipe : dict of what JSON can hold
        What decides the result.
    make : callable() -> result, not None
    save : callable(result, path)
        Writes one file.
    load : callable(path) -> result
        Reads it back; raises if it cannot.

    Returns
    -------
    the result
    """
    stem, folder, told = stem_of(name, recipe), data.cache_dir() / FOLDER, set()
    kept = None if os.environ.get(TRAIN) else _read(SHIPPED, stem, load, told)
    if kept is None:
        kept = _read(folder, stem, load, told)
    if kept is not None:
        return kept
    try:
        lock = _alone(folder, stem)
    except OSError as error:
        print(f"cache: {name} will not be kept for next time, because {folder} cannot be written ({error}); "
              "set COURSE_CACHE to a folder that can.")
        return make()
    with lock:
        kept = _read(folder, stem, load, told)  # another notebook may have made it while this one waited
        if kept is not None:
            return kept
        result = make()
        try:
            _keep(result, folder, stem, save)
        except OSError as error:
            print(f"cache: {name} is not kept for next time, because {folder} cannot be written ({error}).")
    return result


def stem_of(name: str, recipe: dict) -> str:
    """How the name of a file of this recipe begins."""
    return f"{name}-{_hash(json.dumps(recipe, sort_keys=True).encode())}"


def whole_file(folder: Path, stem: str) -> Path | None:
    """The file of this stem in a folder whose content is what was written, if there is one."""
    return next((path for path in sorted(folder.glob(f"{stem}-*{SUFFIX}"))
                 if path.name == _file_name(stem, path.read_bytes())), None)


def clear_cache() -> int:
    """Forget every trained network in the user's cache (downloaded data stay); return how many there were."""
    folder = data.cache_dir() / FOLDER
    for left_over in [*folder.glob(".*.part"), *folder.glob(".*.lock")]:
        with suppress(OSError):  # where a lock that is held cannot be removed, it stays
            left_over.unlink(missing_ok=True)
    forgotten = 0
    for path in list(folder.glob(f"*{SUFFIX}")):
        try:
            path.unlink(missing_ok=True)
            forgotten += 1
        except OSError as error:  # in a cache that a class shares it may be another's
            print(f"cache: {path} cannot be removed ({error.strerror or error}).")
    return forgotten


def _read(folder, stem, load, told):
    """What ``load`` makes of a whole file of this stem, or None; damaged files are removed, and a line says so.

    A file that cannot be read, another user's for instance, is not a damaged one: it is left alone. ``told`` is the set
    of those that a line has been written about.
    """
    for path in sorted(folder.glob(f"{stem}-*{SUFFIX}")):
        try:
            if path.name == _file_name(stem, path.read_bytes()):
                return load(path)
            reason = "its content is not what was written"
        except FileNotFoundError:
            continue  # another process has just removed it
        except (OSError, MemoryError) as error:
            why = getattr(error, "strerror", None) or type(error).__name__
            if path not in told:
                print(f"cache: {path} cannot be read ({why}); it is left alone, and its content made again.")
            told.add(path)
            continue
        except Exception as error:  # whatever is wrong with it, making it again is the answer
            reason = f"{type(error).__name__}: {error}"
        if folder == SHIPPED:
            print(f"{path}, which comes with the library, is damaged ({reason}); another one is made instead. To mend "
                  "the file, fetch the course again, or run make nets.")
            continue
        print(f"cache: {path} is damaged ({reason}); it is made again.")
        with suppress(OSError):
            path.unlink(missing_ok=True)
    return None


def _keep(result, folder, stem, save):
    with data.aside(folder / stem) as first:
        save(result, first)
        content = first.read_bytes()
    with data.written_aside(folder / _file_name(stem, content)) as aside:
        aside.write_bytes(content)


def _file_name(stem, content):
    return f"{stem}-{_hash(content)}{SUFFIX}"


def _alone(folder, stem):
    """A lock for ``stem``, held: of several notebooks that want the same network, one trains and the others wait."""
    lock = folder / f".{stem}.lock"
    try:
        return data.locked_after_waiting(
            lock, WAIT_S, f"cache: another notebook is training {stem.partition('-')[0]}; waiting for it.")
    except filelock.Timeout:  # it may have been suspended; training twice does no harm
        return nullcontext()


def _hash(content):
    return hashlib.sha256(content).hexdigest()[:16]
