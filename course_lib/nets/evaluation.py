"""What a network answers, and how often it is right: with any of its forms, a module or a function."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch

from course_lib import measure
from course_lib.arguments import whole_number
from course_lib.nets.inputs import as_images

__all__ = ["evaluate", "evaluating", "predict"]

SINGLE = torch.empty(0, dtype=torch.float32, device="cpu")  # what a module without weights is given its images like


@contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[torch.nn.Module]:
    """In evaluation mode inside, in float32 without autocast; afterwards every part is in the mode it was in."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        with torch.autocast("cpu", enabled=False):
            yield model
    finally:
        for module, mode in modes:
            module.training = mode


def predict(model: Callable, x: np.ndarray | torch.Tensor, *, batch_size: int = 1000) -> np.ndarray:
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


def evaluate(model: Callable, x: np.ndarray | torch.Tensor, y: np.ndarray | torch.Tensor, *,
             batch_size: int = 1000) -> measure.Accuracy:
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
