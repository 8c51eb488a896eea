"""Trained networks, kept in the user's cache.

A file is named by its recipe and by its own content: ``lenet_300_100-<recipe>-<content>.safetensors``. The recipe part
covers everything that decides the result (architecture, hyperparameters, seed, the data's fingerprint, a version number
of the code), so a changed recipe never meets an old file. The content part lets a damaged file be seen at once. Files are
written aside and renamed, so two notebooks that train the same network at the same time do not disturb each other.
"""

import hashlib
import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import safetensors.torch
import torch

from .. import data
from .models import LeNet5, LeNet300100
from .training import train

__all__ = ["NAMES", "cached", "clear_cache", "trained"]

FOLDER = "models"
SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Recipe:
    """How a network is trained. Raise ``version`` when the code of training or of the model changes its outcome."""

    architecture: str
    epochs: int
    batch_size: int
    lr: float
    weight_decay: float
    version: int = 1


BUILD = {"LeNet300100": LeNet300100, "LeNet5": LeNet5}
RECIPES = {
    ("lenet_300_100", "mnist"): Recipe("LeNet300100", epochs=12, batch_size=128, lr=3e-3, weight_decay=0.1),
    ("lenet_300_100", "digits"): Recipe("LeNet300100", epochs=40, batch_size=32, lr=2e-3, weight_decay=0.1),
    ("lenet_5", "mnist"): Recipe("LeNet5", epochs=6, batch_size=128, lr=2e-3, weight_decay=0.01),
    ("lenet_5", "digits"): Recipe("LeNet5", epochs=20, batch_size=64, lr=2e-3, weight_decay=0.1),
}
NAMES = tuple(dict.fromkeys(name for name, _ in RECIPES))


def trained(name, dataset, *, seed=0, progress=True):
    """A trained network: from the cache, or trained now and kept.

    Parameters
    ----------
    name : {"lenet_300_100", "lenet_5"}
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

    key = {**asdict(recipe), "seed": seed, "data": dataset.fingerprint}
    return cached(name, key, make, save=lambda model, path: safetensors.torch.save_file(model.state_dict(), path), load=load)


def recipe_of(name, dataset):
    """The ``Recipe`` by which ``trained(name, dataset)`` trains."""
    if name not in NAMES:
        raise ValueError(f"name is {name!r}; it should be one of {', '.join(map(repr, NAMES))}")
    return RECIPES[name, dataset.name]


def cached(name, recipe, make, *, save, load):
    """The result of ``make()``, or the kept result of an earlier run with the same ``name`` and ``recipe``.

    A kept file that is damaged is removed and made again, and one line says so. Where the cache cannot be written the
    result is returned all the same, and one line says that it is not kept.

    Parameters
    ----------
    name : str
        Starts the file's name: letters, digits, underscores.
    recipe : dict of what JSON can hold
        Everything that decides the result.
    make : callable() -> result
    save : callable(result, path)
        Writes one file.
    load : callable(path) -> result
        Reads it back; raises if it cannot.

    Returns
    -------
    the result
    """
    recipe_hash = _hash(json.dumps(recipe, sort_keys=True).encode())
    folder = data.cache_dir() / FOLDER
    for path in sorted(folder.glob(f"{name}-{recipe_hash}-*{SUFFIX}")):
        try:
            if path.name == f"{name}-{recipe_hash}-{_hash(path.read_bytes())}{SUFFIX}":
                return load(path)
            reason = "its content changed since it was written"
        except Exception as error:  # whatever is wrong with a cached file, making it again is the answer
            reason = f"{type(error).__name__}: {error}"
        print(f"cache: {path} is damaged ({reason}); making {name} again.")
        path.unlink(missing_ok=True)
    result = make()
    try:
        _keep(result, folder, f"{name}-{recipe_hash}", save)
    except OSError as error:
        print(f"cache: {name} is not kept for next time, {folder} cannot be written ({error}). "
              "Set COURSE_CACHE to a folder that can.")
    return result


def clear_cache():
    """Remove every trained network from the user's cache (downloaded data stay); return how many files went."""
    gone = 0
    for path in (data.cache_dir() / FOLDER).glob(f"*{SUFFIX}*"):
        path.unlink(missing_ok=True)
        gone += 1
    return gone


def _keep(result, folder, stem, save):
    with tempfile.TemporaryDirectory() as elsewhere:
        first = Path(elsewhere) / f"{stem}{SUFFIX}"
        save(result, first)
        content = first.read_bytes()
    with data.written_aside(folder / f"{stem}-{_hash(content)}{SUFFIX}") as aside:
        aside.write_bytes(content)


def _hash(content):
    return hashlib.sha256(content).hexdigest()[:16]
