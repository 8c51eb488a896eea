"""Change the layers of a network that stands already: replace some of them, fold batch normalization away.

Both work on a copy, and both keep what is shared: a module that stands in two places still does.
"""

import copy
from collections import Counter
from collections.abc import Callable

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm  # what BatchNorm1d, 2d and 3d have in common
from torch.nn.utils.prune import BasePruningMethod

__all__ = ["fold_batch_norm", "replace_layers"]

FOLDED_INTO = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)  # all of them with the outputs along the weight's axis 0
PASSED_OVER = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)  # in evaluation they do nothing


def replace_layers(model: nn.Module, choose: Callable[[str, nn.Module], nn.Module | None]) -> nn.Module:
    """A copy of a network in which some layers are other ones.

    Parameters
    ----------
    model : nn.Module, any tree of modules
        It is left as it was.
    choose : callable(name, layer) -> nn.Module or None
        Asked for every module of the copy, from the root down: the name is the place, as in ``named_modules`` (the
        root's is ""). What it returns stands in the layer's place; None leaves the layer, and goes on to what is in
        it. It may put the layer, which is the copy's own, into what it returns. A module that stands in several places
        is asked for once, by its first name, and its replacement stands in all of them.

    Returns
    -------
    nn.Module

    Raises
    ------
    TypeError
        ``model`` is no module; ``choose`` returned something else than a module or None.
    """
    seen = {}  # id -> (module, what stands in its place); the module is kept, so that its id is not given to another

    def visit(layer, name):
        if id(layer) not in seen:
            chosen = choose(name, layer)
            if chosen is not None and not isinstance(chosen, nn.Module):
                raise TypeError(f"choose returned a {type(chosen).__name__} for {name!r}; it should return a module, "
                                "or None to leave the layer")
            seen[id(layer)] = layer, layer if chosen is None else chosen
            if chosen is None:
                for key, child in list(layer._modules.items()):
                    if child is not None:
                        layer._modules[key] = visit(child, f"{name}.{key}" if name else key)
        return seen[id(layer)][1]

    return visit(_copy_of(model), "")


def fold_batch_norm(model: nn.Module) -> nn.Module:
    """A copy of a network whose batch normalizations are folded into the layers before them.

    In evaluation mode a batch normalization is one factor and one offset a channel, y = γ (x − μ) / √(σ² + ε) + β,
    and x = W a + b is linear. So W' = f W and b' = f (b − μ) + β with f = γ / √(σ² + ε), row by row, give the same y,
    to the rounding of float32. Where the batch normalization stood stands an Identity; names stay. In training mode
    the copy does something else than the model: it has no batch statistics any more.

    A batch normalization is folded into the Linear or convolution that it follows in an ``nn.Sequential``, in
    Sequentials inside it, and inside a ``Residual``. Dropout and Identity between the two are passed over. Weights
    pruned by ``torch.nn.utils.prune`` stay pruned.

    Parameters
    ----------
    model : nn.Module
        It is left as it was.

    Returns
    -------
    nn.Module

    Raises
    ------
    TypeError
        ``model`` is no module; a batch normalization without a layer to fold into, or without running statistics; a
        layer before it that stands in two places, or whose weight is made anew before each call. The message names it.

    Source: Jacob et al. 2018, sec. 3.2.
    """
    folded = _copy_of(model)
    places = Counter(id(child) for module in folded.modules() for child in module._modules.values())
    _fold_inside(folded, "", places)
    return folded


def has_batch_norm(model: nn.Module) -> bool:
    """Whether there is a batch normalization anywhere in a network."""
    return any(isinstance(module, BatchNorm) for module in model.modules())


def _copy_of(model):
    if not isinstance(model, nn.Module):
        raise TypeError(f"model is a {type(model).__name__}; it should be an nn.Module")
    with torch.no_grad():  # a weight that pruning makes before each call is made as plain numbers, which can be copied
        for module in model.modules():
            for hook in module._forward_pre_hooks.values():
                if isinstance(hook, BasePruningMethod):
                    hook(module, ())
    return copy.deepcopy(model)


def _fold_inside(module, name, places):
    """Fold in a module of any kind, by its parts: only of a Sequential and of a Residual is it known what runs when."""
    if isinstance(module, BatchNorm):
        raise TypeError(f"batch norm {name!r} has no layer to fold into; it should follow a Linear or a convolution in "
                        "an nn.Sequential")
    if type(module).forward is nn.Sequential.forward:
        _fold_chain(module, name, places, None)
        return
    for key, child in module._modules.items():
        if child is not None:
            _fold_inside(child, f"{name}.{key}" if name else key, places)


def _fold_chain(chain, prefix, places, before):
    """Fold along a Sequential. ``before``: (name, layer) that ran last, or None; returns it for what comes after."""
    for key, layer in list(chain._modules.items()):
        name = f"{prefix}.{key}" if prefix else key
        if isinstance(layer, BatchNorm):
            _fold(name, layer, before, places)
            chain._modules[key] = nn.Identity()
        elif type(layer).forward is nn.Sequential.forward:
            before = _fold_chain(layer, name, places, before)
        elif not isinstance(layer, PASSED_OVER):
            _fold_inside(layer, name, places)
            before = name, layer
    return before


def _fold(name, norm, before, places):
    """Put one batch normalization into the layer before it."""
    if before is None or not isinstance(before[1], FOLDED_INTO):
        what = "nothing stands before it" if before is None else f"before it stands a {type(before[1]).__name__}"
        raise TypeError(f"batch norm {name!r} has no layer to fold into: {what}; it should follow a Linear or a "
                        "convolution")
    into, layer = before
    if norm.running_mean is None or isinstance(norm, nn.modules.lazy.LazyModuleMixin):
        raise TypeError(f"batch norm {name!r} has no running statistics (track_running_stats=False, or it has not run "
                        "yet), so what it computes depends on the other images of a batch; it cannot be folded")
    if places[id(layer)] > 1:
        raise TypeError(f"layer {into!r} stands in {places[id(layer)]} places, so batch norm {name!r} cannot be folded "
                        "into it without changing the others; give each place a layer of its own")
    made = {part for part in ("weight", "bias") if part not in layer._parameters}
    pruned = {hook._tensor_name for hook in layer._forward_pre_hooks.values() if isinstance(hook, BasePruningMethod)}
    if made and (made != {"weight"} or pruned != {"weight"}):
        raise TypeError(f"layer {into!r} has a {' and a '.join(sorted(made))} that is made anew before each call, so "
                        f"batch norm {name!r} cannot be folded into it; make it a plain parameter first, by "
                        "torch.nn.utils.prune.remove for example")
    weight = layer.weight_orig if made else layer.weight
    if len(weight) != norm.num_features:
        raise TypeError(f"batch norm {name!r} has {norm.num_features} features, and layer {into!r} before it gives "
                        f"{len(weight)}")
    with torch.no_grad():
        factor, offset = affine_of(norm)
        bias = 0 if layer.bias is None else layer.bias.double()
        grad = weight.requires_grad
        layer._parameters["weight_orig" if made else "weight"] = nn.Parameter(
            (weight.double() * factor.reshape(-1, *[1] * (weight.ndim - 1))).to(weight.dtype), grad)
        layer.bias = nn.Parameter((bias * factor + offset).to(weight.dtype), grad)
        for hook in layer._forward_pre_hooks.values():
            hook(layer, ())


def affine_of(norm: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    """What a batch normalization does to each channel in evaluation mode, y = f x + offset.

    Parameters
    ----------
    norm : BatchNorm1d, 2d or 3d with running statistics, with γ and β or without

    Returns
    -------
    f = γ / √(σ² + ε), offset = β − f μ : (channels,) float64
    """
    factor = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        factor = factor * norm.weight.double()
    offset = -norm.running_mean.double() * factor
    return factor, offset if norm.bias is None else offset + norm.bias.double()
