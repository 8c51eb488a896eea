"""Calibration without data: images made from what batch normalization remembers of the training set.

Each batch normalization keeps the mean μ and the variance σ² of every channel that reached it in training. Images are
looked for, by gradient descent from noise, under which the network shows the same means and variances:

    loss = Σ over layers of the mean over channels of ((mean − μ) / σ)² + (std / σ − 1)²

They look like nothing, and reach as far into the network as digits do: enough to choose clipping ranges.

Source: Cai et al. 2020, "ZeroQ: a novel zero shot quantization framework", sec. 3.2. There the differences are not
divided by σ; here they are, so that layers of small numbers count as much.
"""

import copy
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm
from tqdm.auto import tqdm

from course_lib.arguments import not_negative, whole_number
from course_lib.nets.threads import one_thread

__all__ = ["Synthesis", "synthesise_images"]


class Synthesis(NamedTuple):
    """images : (n, channels, height, width) float32, pixels from 0 to 1;  loss : list of float, one a step"""

    images: np.ndarray
    loss: list


@one_thread()
@torch.inference_mode(False)
@torch.enable_grad()
def synthesise_images(model: nn.Module, count: int, shape: tuple[int, int, int] = (1, 28, 28), *, steps: int = 100,
                      lr: float = 0.1, seed: int = 0, progress: bool = True) -> Synthesis:
    """Make images that have, inside a network, the statistics of its training set. No data is read.

    That pixels lie between 0 and 1 is taken as known, as the shape is: x = 1 / (1 + exp(−u)), and u is what is learned,
    from normal noise. On one thread.

    Parameters
    ----------
    model : nn.Module with batch normalization, trained, images -> anything
        In evaluation mode; it is left as it was.
    count : int, 2 or more, images made together; their statistics are one
    shape : (channels, height, width) of an image
    steps : int, of Adam; 0 gives the noise
    lr : float
    seed : int, of the noise; torch's global generator is neither read nor changed
    progress : bool, show a bar

    Returns
    -------
    Synthesis

    Raises
    ------
    TypeError
        ``model`` is no module.
    ValueError
        It has no batch normalization with running statistics (folding takes them away); a number out of range.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model is a {type(model).__name__}; it should be an nn.Module")
    count, steps = whole_number(count, "count", 2), whole_number(steps, "steps", 0)
    lr, seed = not_negative(lr, "lr"), whole_number(seed, "seed")
    model = copy.deepcopy(model).float().eval().requires_grad_(False)
    norms = [layer for layer in model.modules() if isinstance(layer, BatchNorm) and layer.running_mean is not None]
    if not norms:
        raise ValueError("model has no batch norm with running statistics, and so remembers nothing of its data; give "
                         "a network with batch normalization, before it is folded, for example cl.nets.SmallResNet")
    terms = []
    for norm in norms:
        norm.register_forward_pre_hook(lambda norm, inputs: terms.append(_mismatch(norm, inputs[0])))
    generator = torch.Generator("cpu").manual_seed(seed)
    u = torch.randn(count, *shape, generator=generator).requires_grad_()
    optimizer, losses = torch.optim.Adam([u], lr=lr), []
    for _ in tqdm(range(steps), desc="making images", unit="step", disable=not progress, leave=False):
        terms.clear()
        model(torch.sigmoid(u))
        loss = sum(terms)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return Synthesis(torch.sigmoid(u).detach().numpy(), losses)


def _mismatch(norm, a):
    """How far the channels of a (n, channels, …) are from those that a batch normalization remembers, in units of σ."""
    axes = [axis for axis in range(a.ndim) if axis != 1]
    sigma = (norm.running_var + norm.eps).sqrt()
    std = (a.var(axes, correction=0) + norm.eps).sqrt()
    return ((a.mean(axes) - norm.running_mean) / sigma).square().mean() + (std / sigma - 1).square().mean()
