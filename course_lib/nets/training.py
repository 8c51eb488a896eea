"""Train a small network, seeded: one loop, in which loss, optimizer, schedule and the rest can each be replaced.

Adam with decoupled weight decay, the learning rate on half a cosine after a short rise. Batches are cut here, from one
permutation an epoch: the data sets fit in memory, and worker processes would only add time and randomness.

References: Kingma & Ba 2015 (Adam); Loshchilov & Hutter 2019 (AdamW); Loshchilov & Hutter 2017 (cosine).
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from tqdm.auto import tqdm

from course_lib.arguments import not_negative, whole_number
from course_lib.data import Dataset
from course_lib.nets.evaluation import evaluating
from course_lib.nets.inputs import as_images
from course_lib.nets.schedules import share_of
from course_lib.nets.threads import one_thread

__all__ = ["Reading", "TrainingLog", "adamw", "classification_loss", "train"]

AT_ONCE = 1000  # validation images


class Reading(NamedTuple):
    """The network on the validation images after ``step`` steps: mean cross entropy and accuracy (fraction)."""

    step: int
    loss: float
    accuracy: float


class TrainingLog(NamedTuple):
    """What training saw: the mean loss and the accuracy (fraction) on the training batches, one number an epoch.

    ``validation`` is a list of ``Reading``, empty without validation images.
    """

    loss: list[float]
    accuracy: list[float]
    validation: list[Reading]


def classification_loss(logits: torch.Tensor, labels: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """The loss of ``train`` where none is given: cross entropy, the mean over the batch. ``chosen`` is not needed."""
    return cross_entropy(logits, labels)


def adamw(groups: list[dict]) -> torch.optim.Optimizer:
    """The optimizer of ``train`` where none is given."""
    return torch.optim.AdamW(groups, fused=True)


@one_thread()
@torch.inference_mode(False)
@torch.enable_grad()
def train(
    model: torch.nn.Module,
    dataset: Dataset,
    *,
    epochs: int,
    batch_size: int = 128,
    lr: float = 2e-3,
    weight_decay: float = 0.0,
    seed: int = 0,
    loss: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor] = classification_loss,
    optimizer: Callable[[list[dict]], torch.optim.Optimizer] = adamw,
    groups: Iterable[dict] | None = None,
    schedule: str | Callable[[int, int], float] = "cosine",
    augment: Callable[[torch.Tensor, torch.Generator], torch.Tensor] | None = None,
    before_epoch: Callable[[int], None] | None = None,
    after_step: Callable[[int], None] | None = None,
    validation: int | tuple | None = None,
    validate_every: int | None = None,
    progress: bool = True,
    label: str = "training",
) -> TrainingLog:
    """Train ``model`` in place to classify the images of ``dataset``.

    The order of the images comes from a generator seeded with ``seed``; so does what draws from torch's global
    generator meanwhile (dropout), which afterwards is as it was. It runs on one thread, whatever torch is set to: the
    same model, data, seed, kind of processor and version of torch give the same weights to the last bit. Images left
    over after the last whole batch of an epoch are skipped (other ones in each epoch).

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
        Decoupled in the default optimizer; applied to the weights and not to the biases.
    seed : int
    loss : callable(logits, labels, chosen) -> tensor of one number
        What is made small. logits: (batch, classes) float32; labels: (batch,) int64; chosen: (batch,) int64, where
        these images stand in ``dataset.train_images``, by which a teacher's logits can be looked up.
    optimizer : callable(groups) -> torch.optim.Optimizer
        ``groups`` is a list of dicts with the keys ``params``, ``lr`` and ``weight_decay``, as torch's optimizers take
        it: ``torch.optim.SGD`` will do, or ``lambda groups: torch.optim.SGD(groups, momentum=0.9)``.
    groups : list of dicts, optional
        The parameters to train, in groups: each with ``params``, and with ``lr`` or ``weight_decay`` where they differ
        from the arguments of this name. By default all that are not frozen, with decay where they have two axes or
        more.
    schedule : {"cosine", "constant"} or callable(step, total) -> share
        The learning rate of step 0 … total − 1 as a share of ``lr``. Cosine: a straight rise over a tenth of the steps,
        then half a cosine down to 0.
    augment : callable(x, generator) -> x, optional
        Changes the training images, (batch, 1, 28, 28) float32, before the model sees them, and draws what it needs
        from a generator that comes from ``seed`` and does not touch the order of the images.
    before_epoch : callable(epoch), optional
        Called before each epoch, with its number from 0.
    after_step : callable(step), optional
        Called after each step of the optimizer, with its number from 0 and without gradients: to clip weights, or to
        set pruned ones to zero again, whatever the optimizer remembers of them.
    validation : int or (x, y), optional
        The last so many training images, which then are in no batch; or images (n, 1, 28, 28) float32 and their labels
        (n,). The network is read on them in evaluation mode, which changes nothing in the training.
    validate_every : int, optional
        Steps between two readings; the last step is always read. By default once an epoch.
    progress : bool
        Show a bar.
    label : str
        The bar's name.

    Returns
    -------
    TrainingLog

    Raises
    ------
    TypeError
        ``model`` is no module, or in another dtype; something that should be called cannot be.
    ValueError
        ``batch_size`` is not between 1 and the number of training images; a number is out of its range; nothing is to
        be trained; the loss is not one number with a gradient.
    """
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"model is a {type(model).__name__}; it should be an nn.Module (a quantized model is trained "
                        "by train_qat, from the real one)")
    images, labels = torch.from_numpy(dataset.train_images), torch.from_numpy(dataset.train_y())
    epochs, seed = whole_number(epochs, "epochs", 0), whole_number(seed, "seed")
    lr, weight_decay = not_negative(lr, "lr"), not_negative(weight_decay, "weight_decay")
    _check_callables(loss=loss, optimizer=optimizer, augment=augment, before_epoch=before_epoch, after_step=after_step)
    share = share_of(schedule)
    held, count = _validation_images(validation, images, labels)
    batch_size = whole_number(batch_size, "batch_size", 1, count)  # from 1 to the number of images
    if validate_every is not None:
        validate_every = whole_number(validate_every, "validate_every", 1)
        if held is None:
            raise ValueError(f"validate_every={validate_every}, and there is nothing to read: pass validation too")
    if epochs:
        _check_parameters(model)
    steps, highest = count // batch_size, int(labels.max())
    every, total = validate_every or steps, epochs * steps
    of_augment, of_model = _seeds_apart(seed, 2)
    order_of, draws = (torch.Generator("cpu").manual_seed(one) for one in (seed, of_augment))
    model.to(memory_format=torch.channels_last)  # an order in memory in which convolutions train sooner
    optimizer = _optimizer(model, optimizer, groups, lr, weight_decay) if epochs else None
    rates = [group["lr"] for group in optimizer.param_groups] if epochs else []
    log, step = TrainingLog([], [], []), 0
    model.train()
    with (torch.random.fork_rng(devices=[]),
          tqdm(total=total, desc=label, unit="batch", disable=not progress, leave=False) as bar):
        torch.default_generator.manual_seed(of_model)  # of the CPU alone, which is what is put back
        for epoch in range(epochs):
            if before_epoch is not None:
                before_epoch(epoch)
            loss_sum, right = torch.zeros((), device="cpu"), torch.zeros((), dtype=torch.int64, device="cpu")
            order = torch.randperm(count, generator=order_of, device="cpu")
            for chosen in order[: steps * batch_size].split(batch_size):
                x, y = images[chosen][:, None].float().div_(255), labels[chosen]  # (batch, 1, 28, 28), (batch,)
                x = x if augment is None else _augmented(augment, x, draws)
                _set_rates(optimizer, rates, share(step, total))
                value, logits = _learn(model, optimizer, loss, x, y, chosen, highest)
                if after_step is not None:
                    with torch.no_grad():
                        after_step(step)
                step += 1
                loss_sum += value
                right += (logits.argmax(1) == y).sum()
                if held is not None and (step % every == 0 or step == total):
                    log.validation.append(_read(model, step, *held))
                bar.update()
            log.loss.append(float(loss_sum) / steps)
            log.accuracy.append(int(right) / (steps * batch_size))
            bar.set_postfix(loss=f"{log.loss[-1]:.4f}")
    model.to(memory_format=torch.contiguous_format).eval()
    return log


def _seeds_apart(seed, count):
    """Seeds of generators whose numbers have nothing to do with those of ``seed``'s own: numbers drawn from that."""
    first = torch.Generator("cpu").manual_seed(seed)
    return torch.randint(2**32, (count,), generator=first, device="cpu").tolist()


def _check_callables(**given):
    for name, value in given.items():
        optional = name not in ("loss", "optimizer")
        if not callable(value) and not (optional and value is None):
            raise TypeError(f"{name} is {value!r}; it should be a function{', or None' if optional else ''}")


def _check_parameters(model):
    for name, value in model.named_parameters():
        if value.is_floating_point() and value.dtype != torch.float32 or value.device.type != "cpu":
            raise TypeError(f"model has {name!r} in {value.dtype} on {value.device}; training runs in float32 in main "
                            "memory: pass model.float().cpu()")
    if not any(p.requires_grad for p in model.parameters()):
        raise ValueError("every weight of model is frozen (requires_grad is False), or it has none, so there is "
                         "nothing to train: call model.requires_grad_(True), or pass epochs=0")


def _validation_images(validation, images, labels):
    """((x, y) or None, how many of the training images are left to train on)."""
    count = len(labels)
    if validation is None:
        return None, count
    if isinstance(validation, (tuple, list)):
        if len(validation) != 2:
            raise ValueError(f"validation has {len(validation)} parts; it should be images and labels, (x, y), or how "
                             "many training images to hold out")
        x, y = as_images(validation[0], "x of validation"), np.asarray(validation[1])
        if y.dtype.kind not in "iu" or y.shape != x.shape[:1] or not len(y):
            raise ValueError(f"validation has labels of dtype {y.dtype} and shape {y.shape} for {len(x)} images; they "
                             f"should be whole numbers, ({len(x)},), at least one")
        return (torch.from_numpy(x), torch.from_numpy(y.astype(np.int64))), count
    count -= whole_number(validation, "validation", 1, count - 1)
    return (images[count:][:, None].float().div_(255), labels[count:]), count


def _read(model, step, x, y):
    with evaluating(model), torch.no_grad():
        logits = torch.cat([model(part) for part in x.split(AT_ONCE)])
        return Reading(step, float(cross_entropy(logits, y)), float((logits.argmax(1) == y).double().mean()))


def _set_rates(optimizer, rates, share):
    for group, rate in zip(optimizer.param_groups, rates):
        group["lr"] = rate * share


def _learn(model, optimizer, loss, x, y, chosen, highest):
    """One step on one batch: its loss, and the logits from which that came."""
    logits = _forward(model, x, highest)
    value = _checked_loss(loss(logits, y, chosen))
    optimizer.zero_grad()
    value.backward()
    optimizer.step()
    return value.detach(), logits


def _augmented(augment, x, draws):
    shape, x = x.shape, augment(x, draws)
    if not torch.is_tensor(x) or x.shape[0] != shape[0] or x.dtype != torch.float32:
        gives = f"{x.dtype} {tuple(x.shape)}" if torch.is_tensor(x) else f"a {type(x).__name__}"
        raise ValueError(f"augment gives {gives}; it should give as many images as it gets, a float32 tensor of shape "
                         f"{tuple(shape)}")
    return x


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


def _checked_loss(value):
    if not torch.is_tensor(value) or value.ndim or not value.requires_grad:
        gives = f"a tensor of shape {tuple(value.shape)}" if torch.is_tensor(value) else f"a {type(value).__name__}"
        gives += "" if not torch.is_tensor(value) or value.ndim else " without a gradient"
        raise ValueError(f"loss gives {gives}; it should give one number that depends on the logits: a tensor of shape "
                         "(), as torch.nn.functional.cross_entropy(logits, labels)")
    return value


def _optimizer(model, make, groups, lr, weight_decay):
    if groups is None:
        parameters = [p for p in model.parameters() if p.requires_grad]
        groups = [{"params": [p for p in parameters if p.ndim > 1]},
                  {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0}]
    optimizer = make([{"lr": lr, "weight_decay": weight_decay, **group} for group in groups])
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(f"optimizer gives a {type(optimizer).__name__}; it should give a torch.optim.Optimizer over "
                        "the groups that it gets, for example lambda groups: torch.optim.SGD(groups, momentum=0.9)")
    return optimizer
