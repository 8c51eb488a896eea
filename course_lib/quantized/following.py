"""From a PyTorch model to a plain list of layers that computes the same, or an error that names what is in the way.

A model may change what it computes in many places: a ``forward`` of its own, hooks, options, a weight that is made
anew before each call. Whatever is not understood here is refused, by the name of the place; and ``compare`` runs the
list beside the model, so that nothing that was overlooked gives a silently different network.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn.modules import module as torch_module
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from course_lib.nets.inputs import channel_hint
from course_lib.nets.training import evaluating
from course_lib.quantized.kinds import WEIGHTED, reach_after, window
from course_lib.quantized.simulated import apply

KINDS = {nn.Linear: "linear", nn.Conv2d: "conv2d", nn.MaxPool2d: "max_pool2d", nn.ReLU: "relu", nn.Flatten: "flatten"}
SKIPPED = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
IDENTITY = "identity"                   # what runs in training alone, or not at all
SUPPORTED = ", ".join(kind.__name__ for kind in KINDS) + ", Dropout, Identity, and nn.Sequential of these"
CALLED = ("forward", "__call__", "__iter__", "_conv_forward", "_call_impl")        # what decides what a call computes
RECOMPUTES = (BasePruningMethod, WeightNorm, SpectralNorm)      # hooks that make a weight anew before each call
REMEDIES = {
    "BatchNorm1d": "fold it into the layer before, by torch.nn.utils.fusion.fuse_linear_bn_eval",
    "BatchNorm2d": "fold it into the convolution before, by torch.nn.utils.fusion.fuse_conv_bn_eval",
    "Softmax": "leave it out at the end: the largest logit stays the largest",
    "LogSoftmax": "leave it out at the end: the largest logit stays the largest",
    "OptimizedModule": "pass the model that was compiled, model._orig_mod",
    "RecursiveScriptModule": "pass the model that it was made from",
    "TopLevelTracedModule": "pass the model that it was made from",
    "GraphModule": "pass the model that it was made from",
    "DataParallel": "pass what it wraps, model.module",
    "DistributedDataParallel": "pass what it wraps, model.module",
}


class Step(NamedTuple):
    """One layer. name: its place, as in ``named_modules``; kind: of ``kinds.KINDS``, or ``IDENTITY``."""

    name: str
    kind: str
    layer: nn.Module
    options: dict


def follow(model):
    """The steps of a model: a list of ``Step``, in the order in which they run.

    A module that stands twice is two steps, and a Sequential in a Sequential is its steps. What acts in training
    alone (dropout) is a step of kind ``IDENTITY``.

    Raises
    ------
    TypeError
        Something that cannot be followed; the message names the place and says what to do.
    """
    if not isinstance(model, nn.Sequential):
        raise TypeError(f"model is a {_type_name(model)}; it should be an nn.Sequential of {SUPPORTED}"
                        f"{_remedy(model)}")
    if torch_module._global_forward_hooks or torch_module._global_forward_pre_hooks:
        raise TypeError("a hook for every module is registered (torch.nn.modules.module.register_module_forward_hook); "
                        "what it changes cannot be quantized: remove it, by handle.remove()")
    try:
        with evaluating(model):                             # a weight that is made anew changes in training mode
            return _checked(list(_steps(model, "")))
    except RecursionError:
        raise TypeError("model contains itself, and never ends") from None


def _checked(steps):
    """The steps, if there are weights in them and each can take what the one before hands on."""
    if not any(step.kind in WEIGHTED for step in steps):
        raise TypeError("model has no Linear or Conv2d layer; there is nothing to quantize")
    reach = None
    for name, kind, layer, options in steps:
        if kind != IDENTITY:
            shape = tuple(layer.weight.shape) if kind in WEIGHTED else None
            try:
                window(name, kind, options, shape)
                reach = reach_after(name, kind, shape, reach)
            except ValueError as error:
                raise TypeError(f"{error}; so the model cannot be quantized") from None
    return steps


def _steps(container, prefix):
    _check_calls(container, nn.Sequential, f"layer {prefix[:-1]!r}" if prefix else "model")
    for key, layer in container._modules.items():           # named_children would leave the second of two out
        name = prefix + key
        where = f"layer {name!r}"
        if isinstance(layer, nn.Sequential):
            yield from _steps(layer, f"{name}.")
            continue
        base = next((base for base in (*KINDS, *SKIPPED) if isinstance(layer, base)), None)
        if base is None:
            raise TypeError(f"{where} is a {_type_name(layer)}, which cannot be quantized; supported are "
                            f"{SUPPORTED}{_remedy(layer)}")
        if isinstance(layer, nn.modules.lazy.LazyModuleMixin):
            raise TypeError(f"{where} is a {type(layer).__name__} that has not seen its shape yet: run the model once, "
                            "model(images), before it is quantized")
        _check_calls(layer, base, where)
        if base in SKIPPED:
            yield Step(name, IDENTITY, layer, {})
            continue
        _check_options(layer, where)
        if KINDS[base] in WEIGHTED:
            _check_weights(layer, where)
        yield Step(name, KINDS[base], layer, _options(KINDS[base], layer, where))


def _check_calls(module, base, where):
    """Refuse a module whose call computes something else than that of ``base``."""
    for method in CALLED:
        own = getattr(type(module), method, None) is not getattr(base, method, None)
        if own or method in vars(module):
            raise TypeError(f"{where} is a {type(module).__name__} with a {method} of its own, which cannot be "
                            f"quantized; it should be a plain nn.{base.__name__}, or an nn.Sequential of layers that "
                            "compute the same")
        if not _is_torchs(getattr(base, method, None)):
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


def _check_options(layer, where):
    """Refuse an option whose value is not the usual one."""
    for option, usual in (("dilation", 1), ("groups", 1), ("padding_mode", "zeros"), ("ceil_mode", False),
                          ("return_indices", False), ("start_dim", 1), ("end_dim", -1)):
        value = getattr(layer, option, usual)
        if value != usual and value != (usual, usual):
            raise TypeError(f"{where} has {option}={value!r}, which cannot be quantized; it should be {usual!r}")


def _check_weights(layer, where):
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


def _options(kind, layer, where):
    if kind == "conv2d":
        padding = layer.padding
        if padding == "valid":
            padding = 0
        elif padding == "same":
            if any(n % 2 == 0 for n in layer.kernel_size):
                raise TypeError(f"{where} has padding='same' with a kernel of {layer.kernel_size}, which pads one side "
                                "more than the other and cannot be quantized; the kernel should have odd sides")
            padding = tuple(n // 2 for n in layer.kernel_size)
        return {"stride": _plain(layer.stride), "padding": _plain(padding)}
    if kind == "max_pool2d":
        return {key: _plain(getattr(layer, key)) for key in ("kernel_size", "stride", "padding")}
    return {}


def _plain(value):
    """Numbers as Python's own, which a file can hold."""
    if value is None:
        return None
    return tuple(map(int, value)) if isinstance(value, (tuple, list)) else int(value)


def _type_name(module):
    """With its home where the name alone would be that of a layer that is taken: torch.ao has a Linear too."""
    kind = type(module)
    if kind.__module__.startswith("torch.nn.modules"):
        return kind.__name__
    alike = kind.__name__ in ("Sequential", *(known.__name__ for known in (*KINDS, *SKIPPED)))
    return f"{kind.__module__}.{kind.__name__}" if alike else kind.__name__


def _remedy(module):
    traced = isinstance(module, torch.fx.GraphModule)       # its class has the name of what was traced
    remedy = REMEDIES.get("GraphModule" if traced else type(module).__name__)
    return f". {remedy[0].upper()}{remedy[1:]}" if remedy else ""


def fresh_weight(layer):
    """The weight that a call would use now: hooks that make it anew before a call (pruning, norms) are run first."""
    for hook in layer._forward_pre_hooks.values():
        hook(layer, ())
    return layer.weight


def check_trainable(steps):
    """Refuse weights that training a copy of the model would leave where they are, or move where a hook forbids it."""
    for name, kind, layer, _ in steps:
        if kind not in WEIGHTED:
            continue
        hooks = layer._forward_pre_hooks.values()
        made = {getattr(hook, "_tensor_name", getattr(hook, "name", None)) for hook in hooks}
        for part in ("weight", "bias"):
            if vars(layer).get(part) is not None and part not in made:
                raise TypeError(f"layer {name!r} has a {part} that is no parameter, so training cannot move it: "
                                f"w = layer.{part}.detach(); del layer.{part}; layer.{part} = nn.Parameter(w)")
        for part, value in layer.named_parameters():
            if value._backward_hooks or getattr(value, "_post_accumulate_grad_hooks", None):
                raise TypeError(f"layer {name!r} has a hook on the gradient of its {part}, which a copy of the model "
                                "does not keep: remove it, by handle.remove(). To keep weights at zero use "
                                "torch.nn.utils.prune; to keep all as they are, layer.requires_grad_(False)")


def weights_of(steps):
    """{name: (weight, bias or None)} of the steps that have any: float32 ndarrays, C-contiguous.

    Raises
    ------
    ValueError
        A NaN or an infinity, the layer named.
    """
    found = {}
    with torch.no_grad():
        for name, kind, layer, _ in steps:
            if kind in WEIGHTED:
                values = [fresh_weight(layer), layer.bias]
                values = [None if value is None else
                          np.ascontiguousarray(value.detach().to_dense().cpu().to(torch.float32).numpy())
                          for value in values]
                for part, value in zip(("weight", "bias"), values):
                    if value is not None and not np.isfinite(value).all():
                        raise ValueError(f"layer {name!r} has a NaN or an infinity in its {part}, as float32; "
                                         "the model is broken")
                found[name] = tuple(values)
    return found


def run(steps, weights, x):
    """Run the steps in float32 on images: an iterator of (step, what it hands on).   x: (n, …) float32 ndarray

    Raises
    ------
    ValueError
        A layer cannot take the shape that reaches it.
    """
    a = torch.from_numpy(x)
    for step in steps:
        if step.kind != IDENTITY:
            pair = weights.get(step.name, (None, None))
            w, b = (None if value is None else torch.from_numpy(value) for value in pair)
            _check_shape(step, w, a.shape, x.shape)
            a = apply(step.kind, step.options, a, w, b)
        yield step, a


def _check_shape(step, weight, shape, x_shape):
    name, kind = step.name, step.kind
    gets = f"and x of shape {tuple(x_shape)} reaches it as {tuple(shape)}"
    if len(shape) < 2:
        raise ValueError(f"layer {name!r} takes (n, …), {gets}; one image alone is x[None]")
    if kind == "linear" and (len(shape) != 2 or shape[1] != weight.shape[1]):
        flatten = "; nn.Flatten() should stand before it" if len(shape) > 2 else ""
        raise ValueError(f"layer {name!r} takes (n, {weight.shape[1]}), {gets}{flatten}")
    if kind not in ("conv2d", "max_pool2d"):
        return
    channels = weight.shape[1] if kind == "conv2d" else "channels"
    if len(shape) != 4 or channels not in (shape[1], "channels"):
        raise ValueError(f"layer {name!r} takes (n, {channels}, height, width), {gets}{channel_hint(shape, channels)}")
    look = window(name, kind, step.options, None if weight is None else weight.shape)
    if min(look.positions(shape[2:])) < 1:
        raise ValueError(f"layer {name!r} has a window of {look.size}, {gets}: the image is too small")


def compare(model, steps, weights, x):
    """Refuse a model that gives other logits than its steps, on images ``x`` (n, …) float32.

    They may differ by what rounding in the model's dtype explains: √ε of the largest logit, ε its spacing at 1.

    Raises
    ------
    ValueError
    """
    for _, a in run(steps, weights, x):
        ours = a
    reference = next(step.layer.weight for step in steps if step.kind in WEIGHTED)
    given = torch.from_numpy(x.copy()).to(reference.device, reference.dtype)  # a copy: a layer may work in place
    try:
        theirs = model(given)
    except RuntimeError as error:
        raise ValueError(f"model cannot run on x of shape {tuple(x.shape)}: {error}") from error
    theirs = theirs.detach().cpu().to(torch.float32)
    if theirs.shape != ours.shape:
        raise ValueError(f"model gives an output of shape {tuple(theirs.shape)}, and its layers one after the other "
                         f"give {tuple(ours.shape)}; something in it cannot be followed, and it cannot be quantized")
    largest = max(theirs.abs().max().item(), ours.abs().max().item())
    apart = (theirs - ours).abs().max().item()
    if not apart <= max(torch.finfo(reference.dtype).eps, torch.finfo(torch.float32).eps) ** 0.5 * largest:
        raise ValueError(f"model gives other outputs than its layers one after the other, by up to {apart:.3g} where "
                         f"the largest is {largest:.3g}; something in it cannot be followed, and it cannot be "
                         "quantized. It should be a plain nn.Sequential without hooks")
