"""Train a small network, seeded; predict and evaluate with any of its forms.

Adam with decoupled weight decay, the learning rate on half a cosine after a short rise. Batches are cut here, from one
permutation an epoch: the data sets fit in memory, and worker processes would only add time and randomness.

References: Kingma & Ba 2015 (Adam); Loshchilov & Hutter 2019 (AdamW); Loshchilov & Hutter 2017 (cosine).
"""

import math
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from tqdm.auto import tqdm

from course_lib import measure
from course_lib.arguments import whole_number
from course_lib.nets.inputs import as_images, not_negative, whole
from course_lib.nets.threads import one_thread

__all__ = ["TrainingLog", "evaluate", "evaluating", "predict", "train"]

WARM_UP = 0.1  # share of the steps over which the learning rate rises
SINGLE = torch.empty(0, dtype=torch.float32, device="cpu")  # what a module without weights is given its images like


class TrainingLog(NamedTuple):
    """What training saw: the mean loss and the accuracy (fraction) on the training batches, one number an epoch."""

    loss: list
    accuracy: list


@one_thread()
@torch.inference_mode(False)
@torch.enable_grad()
def train(model, dataset, *, epochs, batch_size=128, lr=2e-3, weight_decay=0.0, seed=0, progress=True,
          before_epoch=None, label="training"):
    """Train ``model`` in place to classify the images of ``dataset``.

    The order of the images comes from a generator seeded with ``seed``; torch's global generator is neither read nor
    changed. It runs on one thread, whatever torch is set to: the same model, data, seed, kind of processor and version
    of torch give the same weights to the last bit. Images left over after the last whole batch of an epoch are skipped
    (other ones in each epoch).

    Parameters
    ----------
    model : nn.Module, (n, 1, 28, 28) float32 -> (n, classes) logits
    dataset : course_lib.data.Dataset
    epochs : int
        0 leaves the model as it is.
    batch_size : int
    lr : float
        The highest learning rate.
    weight_decay : float
        Decoupled; applied to the weights and not to the biases.
    seed : int
    progress : bool
        Show a bar.
    before_epoch : callable(epoch), optional
        Called before each epoch, with its number from 0.
    label : str
        The bar's name.

    Returns
    -------
    TrainingLog

    Raises
    ------
    ValueError
        ``batch_size`` is not between 1 and the number of training images; ``epochs`` is negative.
    """
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"model is a {type(model).__name__}; it should be an nn.Module (a quantized model is trained "
                        "by train_qat, from the real one)")
    images, labels = torch.from_numpy(dataset.train_images), torch.from_numpy(dataset.train_y())
    epochs, batch_size, seed = whole(epochs, "epochs"), whole(batch_size, "batch_size"), whole(seed, "seed")
    lr, weight_decay = not_negative(lr, "lr"), not_negative(weight_decay, "weight_decay")
    if not 1 <= batch_size <= len(labels):
        raise ValueError(f"batch_size is {batch_size}; it should be from 1 to {len(labels)}, the number of images")
    if epochs < 0:
        raise ValueError(f"epochs is {epochs}; it should be 0 or more")
    if epochs:
        _check_parameters(model)
    steps, highest = len(labels) // batch_size, int(labels.max())
    generator = torch.Generator("cpu").manual_seed(seed)
    model.to(memory_format=torch.channels_last)  # an order in memory in which convolutions train sooner
    optimizer = _optimizer(model, lr, weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, epochs * steps))
    log = TrainingLog([], [])
    model.train()
    with tqdm(total=epochs * steps, desc=label, unit="batch", disable=not progress, leave=False) as bar:
        for epoch in range(epochs):
            if before_epoch is not None:
                before_epoch(epoch)
            loss_sum, right = torch.zeros((), device="cpu"), torch.zeros((), dtype=torch.int64, device="cpu")
            order = torch.randperm(len(labels), generator=generator, device="cpu")
            for chosen in order[: steps * batch_size].split(batch_size):
                x, y = images[chosen][:, None].float().div_(255), labels[chosen]  # (batch, 1, 28, 28), (batch,)
                logits = _forward(model, x, highest)
                loss = cross_entropy(logits, y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                loss_sum += loss.detach()
                right += (logits.argmax(1) == y).sum()
                bar.update()
            log.loss.append(float(loss_sum) / steps)
            log.accuracy.append(int(right) / (steps * batch_size))
            bar.set_postfix(loss=f"{log.loss[-1]:.4f}")
    model.to(memory_format=torch.contiguous_format).eval()
    return log


@contextmanager
def evaluating(model):
    """In evaluation mode inside, in float32 without autocast; afterwards every part is in the mode it was in."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        with torch.autocast("cpu", enabled=False):
            yield model
    finally:
        for module, mode in modes:
            module.training = mode


def predict(model, x, *, batch_size=1000):
    """The class of each image: the index of the largest logit, the first one at a tie.

    Parameters
    ----------
    model : nn.Module or callable
        A module gets torch tensors of its weights' dtype, on their device; any other callable (an ``IntegerNet``, a
        function) gets float32 arrays. Either returns logits (n, classes). It is left in the mode it was in.
    x : array or tensor of any float dtype, (n, ...)
        In the unit that the network was trained on. It is not changed.
    batch_size : int, 1 or more
        Images at once; it changes memory, not the answer.

    Returns
    -------
    ndarray, (n,) int64

    Raises
    ------
    TypeError
        ``model`` cannot be called.
    ValueError
        ``x`` has integers, a NaN, or a shape that the model cannot take; ``batch_size`` is not a whole number from 1;
        the model gives something else than logits, or NaN.
    """
    if not callable(model):
        raise TypeError(f"model is a {type(model).__name__}, which cannot be called; pass a module, a function, "
                        "or model.simulated() or model.integer_only() of a quantized model")
    x, batch_size = as_images(x), whole_number(batch_size, "batch_size", 1, 2**31)
    if np.isnan(x).any():
        raise ValueError(f"x has {np.count_nonzero(np.isnan(x))} NaN, of which no network makes a class")
    answers = [_logits(model, x[i : i + batch_size]).argmax(1) for i in range(0, len(x), batch_size)]
    return np.concatenate(answers).astype(np.int64) if answers else np.empty(0, np.int64)


def evaluate(model, x, y, *, batch_size=1000):
    """The share of the images ``x`` that ``model`` puts in class ``y``, with its standard error (``measure.Accuracy``).

    ``model`` and ``x`` as in ``predict``; ``y`` is (n,) integers.
    """
    labels = y.detach().cpu().numpy() if torch.is_tensor(y) else np.asarray(y)
    return measure.accuracy(predict(model, x, batch_size=batch_size), labels)


def _logits(model, x):
    if isinstance(model, torch.nn.Module):
        like = next((value for value in model.parameters() if value.is_floating_point()), SINGLE)
        images = torch.tensor(x, dtype=like.dtype, device=like.device)  # a copy: a layer may work in place
        with evaluating(model), torch.inference_mode():
            try:
                answer = model(images)
                answer = answer.float().cpu() if torch.is_tensor(answer) else answer
            except (RuntimeError, IndexError) as error:
                raise ValueError(f"model cannot run on x of shape {x.shape} (n = {len(x)}): {error}") from error
    else:
        answer = model(x)
    if torch.is_tensor(answer):
        answer = answer.detach().float().cpu().numpy()
    logits = answer if isinstance(answer, (tuple, dict)) else np.asarray(answer)
    numbers = getattr(logits, "dtype", np.dtype(object)).kind in "fiu"
    if not numbers or logits.ndim != 2 or len(logits) != len(x):
        gives = f"shape {logits.shape}" if isinstance(logits, np.ndarray) else f"a {type(answer).__name__}"
        raise ValueError(f"model gives {gives} for {len(x)} images; it should be their logits, ({len(x)}, classes)")
    if np.isnan(logits).any():
        raise ValueError("model makes NaN of x, of which no class can be told; look for NaN in its weights")
    return logits


def _check_parameters(model):
    for name, value in model.named_parameters():
        if value.is_floating_point() and value.dtype != torch.float32 or value.device.type != "cpu":
            raise TypeError(f"model has {name!r} in {value.dtype} on {value.device}; training runs in float32 in main "
                            "memory: pass model.float().cpu()")
    if not any(p.requires_grad for p in model.parameters()):
        raise ValueError("every weight of model is frozen (requires_grad is False), or it has none, so there is "
                         "nothing to train: call model.requires_grad_(True), or pass epochs=0")


def _forward(model, x, highest):
    """The logits of a batch, or words about a model that does not make any for these images and classes."""
    try:
        logits = model(x)
    except RuntimeError as error:
        raise ValueError(f"model cannot run on images of shape {tuple(x.shape)}: {error}") from error
    shape = tuple(logits.shape) if torch.is_tensor(logits) else f"a {type(logits).__name__}"
    if not torch.is_tensor(logits) or logits.ndim != 2 or logits.shape[1] <= highest:
        raise ValueError(f"model gives {shape} for {len(x)} images, and the data have classes from 0 to {highest}; it "
                         f"should give logits, ({len(x)}, {highest + 1})")
    return logits


def _optimizer(model, lr, weight_decay):
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=lr, fused=True)


def _rate(step, total):
    """The learning rate at ``step`` as a share of the highest one: a straight rise, then half a cosine down to 0."""
    rise = WARM_UP * total
    if step < rise:
        return (step + 1) / (rise + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1.0, total - rise)))
