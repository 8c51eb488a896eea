"""Whether a module computes what its class says, and what to do where it does not: words for ``following.py``.

A ``forward`` of its own, hooks, weights of other numbers: each is one TypeError that names the place.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

CALLED = ("forward", "__call__", "__iter__", "_conv_forward", "_call_impl")        # what decides what a call computes
RECOMPUTES = (BasePruningMethod, WeightNorm, SpectralNorm)      # hooks that make a weight anew before each call
REMEDIES = {
    "Softmax": "leave it out at the end: the largest logit stays the largest",
    "LogSoftmax": "leave it out at the end: the largest logit stays the largest",
    "OptimizedModule": "pass the model that was compiled, model._orig_mod",
    "RecursiveScriptModule": "pass the model that it was made from",
    "TopLevelTracedModule": "pass the model that it was made from",
    "GraphModule": "pass the model that it was made from",
    "DataParallel": "pass what it wraps, model.module",
    "DistributedDataParallel": "pass what it wraps, model.module",
}


def check_calls(module: nn.Module, base: type, where: str) -> None:
    """Refuse a module whose call computes something else than that of ``base``."""
    for method in CALLED:
        own = getattr(type(module), method, None) is not getattr(base, method, None)
        if own or method in vars(module):
            raise TypeError(f"{where} is a {type(module).__name__} with a {method} of its own, which cannot be "
                            f"quantized; it should be a plain nn.{base.__name__}, or an nn.Sequential of layers that "
                            "compute the same")
        if base.__module__.startswith("torch.") and not _is_torchs(getattr(base, method, None)):
            raise TypeError(f"nn.{base.__name__}.{method} is not PyTorch's any more: something replaced it by "
                            f"{getattr(base, method)!r}, and what that computes cannot be quantized")
    for hooks in (module._forward_pre_hooks, module._forward_hooks):
        for hook in hooks.values():
            if not isinstance(hook, RECOMPUTES):
                name = getattr(hook, "__name__", type(hook).__name__)
                raise TypeError(f"{where} has a forward hook ({name}), and what it changes cannot be quantized: "
                                "remove it, by handle.remove() of the handle that registering it gave")


def _is_torchs(function):
    """Whether a method is PyTorch's own; a decorator may copy its name and its module, not where it was written."""
    return getattr(function, "__globals__", {}).get("__name__", "torch").partition(".")[0] == "torch"


def check_weights(layer: nn.Module, where: str) -> None:
    """Refuse a layer whose weight or bias is missing, of other numbers than real ones, without values, or empty."""
    for name in ("weight", "bias"):
        value = getattr(layer, name, None)
        if value is None:
            if name == "weight":
                raise TypeError(f"{where} has no weight any more; it should be a plain nn.{type(layer).__name__}")
            continue
        if not value.is_floating_point():
            raise TypeError(f"{where} has a {name} of {value.dtype}; it should be of real floating-point numbers")
        if value.is_meta:
            raise TypeError(f"{where} has a {name} on the device 'meta', where it has no values: load the weights "
                            "first, for example model.to_empty(device='cpu') and model.load_state_dict(...)")
        if not value.numel():
            raise TypeError(f"{where} has a {name} of shape {tuple(value.shape)}; no axis may be empty")


def type_name(module: Any, known: Iterable[type]) -> str:
    """With its home where the name alone would be that of a layer that is taken: torch.ao has a Linear too."""
    own = type(module)
    if own.__module__.startswith("torch.nn.modules"):
        return own.__name__
    alike = own.__name__ in ("Sequential", *(base.__name__ for base in known))
    return f"{own.__module__}.{own.__name__}" if alike else own.__name__


def remedy(module: Any) -> str:
    """What to do about a module that cannot be followed, as a sentence to append; empty where nothing is known."""
    traced = isinstance(module, torch.fx.GraphModule)       # its class has the name of what was traced
    known = REMEDIES.get("GraphModule" if traced else type(module).__name__)
    return f". {known[0].upper()}{known[1:]}" if known else ""
