"""From a PyTorch model to a plain list of steps that computes the same, or an error that names what is in the way.

A model may change what it computes in many places: a ``forward`` of its own, hooks, options, a weight that is made
anew before each call. Whatever is not understood here is refused, by the name of the place; and ``compare`` runs the
list beside the model, so that nothing that was overlooked gives a silently different network. Batch normalization is
folded into the layers before it; a ``Residual`` becomes its body, its shortcut, their sum and a ReLU.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn.modules import module as torch_module

from course_lib.nets.models import Residual
from course_lib.nets.surgery import BatchNorm, fold_batch_norm, has_batch_norm
from course_lib.nets.training import evaluating
from course_lib.quantized.layers import KINDS, has_weights
from course_lib.quantized.plain_modules import check_calls, check_weights, remedy, type_name
from course_lib.quantized.steps import IDENTITY, INPUT, run_steps, walk_steps

SKIPPED = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)


class Step(NamedTuple):
    """One layer of a followed model; ``steps.run_steps`` walks over a list of them.

    name : its place, as in ``named_modules``; of a residual block the sum is ``<block>.sum``, the ReLU ``<block>.relu``
    kind : of ``layers.KINDS``, or ``IDENTITY``
    layer : the module it was read from
    options : dict, as ``QuantizedLayer`` has them
    inputs : the names of the steps it reads; empty for the step before
    """

    name: str
    kind: str
    layer: nn.Module
    options: dict
    inputs: tuple[str, ...] = ()

    @property
    def weight_shape(self) -> tuple[int, ...] | None:
        """(out, in, …); None where there are no weights."""
        return tuple(self.layer.weight.shape) if has_weights(self.kind) else None

    def __call__(self, *inputs: torch.Tensor, weight: torch.Tensor | None = None,
                 bias: torch.Tensor | None = None) -> torch.Tensor:
        """What the step hands on for these inputs, with these weights: the layer's own would not be rounded."""
        if self.kind == IDENTITY:
            return self.layer(*inputs)
        parts = {"weight": weight, "bias": bias} if has_weights(self.kind) else {}
        return KINDS[self.kind].simulate(self.options, *inputs, **parts)


def follow(model: nn.Module) -> list[Step]:
    """The steps of a model, in an order in which they can run.

    A module that stands twice is two steps, and a Sequential in a Sequential is its steps. What acts in training
    alone (dropout) is a step of kind ``IDENTITY``. Where the model has batch normalization, the steps are those of a
    copy of it, with the batch normalization folded (``folded``).

    Raises
    ------
    TypeError
        Something that cannot be followed; the message names the place and says what to do.
    """
    if not isinstance(model, nn.Sequential):
        raise TypeError(f"model is a {type_name(model, _known())}; it should be an nn.Sequential of {_supported()}"
                        f"{remedy(model)}")
    if torch_module._global_forward_hooks or torch_module._global_forward_pre_hooks:
        raise TypeError("a hook for every module is registered (torch.nn.modules.module.register_module_forward_hook); "
                        "what it changes cannot be quantized: remove it, by handle.remove()")
    try:
        with evaluating(model):                             # a weight that is made anew changes in training mode
            steps, model = [], folded(model)
            _follow(model, "", INPUT, steps)
            return _checked(steps)
    except RecursionError:
        raise TypeError("model contains itself, and never ends") from None


def folded(model: nn.Module) -> nn.Module:
    """The model itself, or, where it has batch normalization, a copy with that folded into the layers before it.

    Raises
    ------
    TypeError
        A batch normalization that cannot be folded; the message names it.
    """
    if not has_batch_norm(model):
        return model
    for name, layer in model.named_modules():
        if isinstance(layer, BatchNorm):
            known = next((base for base in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d) if isinstance(layer, base)),
                         BatchNorm)
            check_calls(layer, known, f"layer {name!r}")
    return fold_batch_norm(model)


def _bases():
    """{class of module: the kind of layer that it is read as}, of the table as it is now."""
    return {kind.torch_class(): kind for kind in KINDS.values() if kind.torch_class() is not None}


def _known():
    return (*_bases(), *SKIPPED)


def _supported():
    return (", ".join(base.__name__ for base in _bases())
            + ", BatchNorm, Dropout, Identity, and nn.Sequential and nets.Residual of these")


def _checked(steps):
    """The steps, if there are weights in them and each can take what reaches it."""
    if not any(has_weights(step.kind) for step in steps):
        raise TypeError("model has no Linear or Conv2d layer; there is nothing to quantize")

    def reach(step, *reaches):
        if step.kind == IDENTITY:
            return reaches[0]
        KINDS[step.kind].window(step.name, step.options, step.weight_shape)
        return KINDS[step.kind].reach(step.name, step.weight_shape, *reaches)

    try:
        run_steps(steps, None, reach)
    except ValueError as error:
        raise TypeError(f"{error}; so the model cannot be quantized") from None
    return steps


def _follow(layer, name, before, steps):
    """Append the steps of a module that reads what the step ``before`` hands on; return the name of its last step."""
    where = f"layer {name!r}" if name else "model"
    if isinstance(layer, nn.Sequential):
        check_calls(layer, nn.Sequential, where)
        for key, child in layer._modules.items():           # named_children would leave the second of two out
            before = _follow(child, f"{name}.{key}" if name else key, before, steps)
        return before
    if isinstance(layer, Residual):
        check_calls(layer, Residual, where)
        paths = tuple(_follow(path, f"{name}.{key}", before, steps) for key, path in
                      (("body", layer.body), ("shortcut", layer.shortcut)))
        steps.append(Step(f"{name}.sum", "residual_sum", layer, {}, paths))
        steps.append(Step(f"{name}.relu", "relu", layer, {}))
        return steps[-1].name
    last = steps[-1].name if steps else INPUT
    steps.append(_step(layer, name, where, () if before == last else (before,)))
    return name


def _step(layer, name, where, inputs):
    """The step of one layer, if it is one that is known, with nothing unusual about it."""
    bases = _bases()
    base = next((base for base in _known() if isinstance(layer, base)), None)
    if base is None:
        raise TypeError(f"{where} is a {type_name(layer, _known())}, which cannot be quantized; supported are "
                        f"{_supported()}{remedy(layer)}")
    if isinstance(layer, nn.modules.lazy.LazyModuleMixin):
        raise TypeError(f"{where} is a {type(layer).__name__} that has not seen its shape yet: run the model once, "
                        "model(images), before it is quantized")
    check_calls(layer, base, where)
    if base in SKIPPED:
        return Step(name, IDENTITY, layer, {}, inputs)
    kind = bases[base]
    _check_options(layer, kind, where)
    if kind.weight_axes:
        check_weights(layer, where)
    return Step(name, kind.name, layer, kind.read(layer, where), inputs)


def _check_options(layer, kind, where):
    """Refuse an option whose value is not the usual one."""
    for option, usual in kind.usual.items():
        value = getattr(layer, option, usual)
        if value != usual and value != (usual, usual):
            raise TypeError(f"{where} has {option}={value!r}, which cannot be quantized; it should be {usual!r}")


def fresh_weight(layer: nn.Module) -> torch.Tensor:
    """The weight that a call would use now: hooks that make it anew before a call (pruning, norms) are run first."""
    for hook in layer._forward_pre_hooks.values():
        hook(layer, ())
    return layer.weight


def check_trainable(steps: list[Step]) -> None:
    """Refuse weights that training a copy of the model would leave where they are, or move where a hook forbids it."""
    for name, layer in ((step.name, step.layer) for step in steps if has_weights(step.kind)):
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


def weights_of(steps: list[Step]) -> dict[str, tuple[np.ndarray, np.ndarray | None]]:
    """{name: (weight, bias or None)} of the steps that have any: float32 ndarrays, C-contiguous.

    Raises
    ------
    ValueError
        A NaN or an infinity, the layer named.
    """
    found = {}
    with torch.no_grad():
        for name, layer in ((step.name, step.layer) for step in steps if has_weights(step.kind)):
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


def run(steps: list[Step], weights: dict, x: np.ndarray) -> Iterator[tuple[Step, torch.Tensor]]:
    """Run the steps in float32 on images, with these weights (``weights_of``).   x: (n, …) float32

    Returns
    -------
    iterator of (step, what it hands on), in the order in which they run

    Raises
    ------
    ValueError
        A layer cannot take the shape that reaches it.
    """
    def apply(step, *inputs):
        if step.kind == IDENTITY:
            return inputs[0]                                # in evaluation mode it does nothing
        w, b = (None if value is None else torch.from_numpy(value) for value in weights.get(step.name, (None, None)))
        _check_shape(step, [tuple(a.shape) for a in inputs], x.shape)
        return step(*inputs, weight=w, bias=b)

    return walk_steps(steps, torch.from_numpy(x), apply)


def _check_shape(step, shapes, x_shape):
    kind, reaches = KINDS[step.kind], " and ".join(map(str, shapes))
    gets = f"and x of shape {tuple(x_shape)} reaches it as {reaches}"
    if min(map(len, shapes)) < 2:
        raise ValueError(f"layer {step.name!r} takes (n, …), {gets}; one image alone is x[None]")
    if misfit := kind.misfit(step.weight_shape, kind.window(step.name, step.options, step.weight_shape), *shapes):
        takes, hint = misfit
        raise ValueError(f"layer {step.name!r} {takes}, {gets}{hint}")


def compare(model: nn.Module, steps: list[Step], weights: dict, x: np.ndarray) -> None:
    """Refuse a model that gives other logits than its steps, on images ``x`` (n, …) float32.

    They may differ by what rounding in the model's dtype explains: √ε of the largest logit, ε its spacing at 1.

    Raises
    ------
    ValueError
    """
    for _, a in run(steps, weights, x):
        ours = a
    reference = next(step.layer.weight for step in steps if has_weights(step.kind))
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
