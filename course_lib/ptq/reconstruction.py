"""Reconstruction: layer by layer, learn which way each weight is rounded, and how far activations reach.

Rounding to the nearest code makes the smallest error in a weight, and not the smallest in what the layer gives. Here
each layer is taken alone, with a few hundred images and without labels: each weight may go to the code below or above,
and gradient descent chooses so that the layer, reading what the quantized layers before it hand on, gives what the
real one gives on real inputs. The next layer then makes up for what this one could not.

    AdaRound   the choice is a number h from 0 to 1 for each weight, and a term that grows stiffer pushes it to an end
    QDrop      while learning, each activation stays unrounded with probability 1/2: what is learned must suit a
               neighbourhood of the rounded activations, and so fits new images better than these images alone

References: Nagel et al. 2020, "Up or down? Adaptive rounding for post-training quantization"; Li et al. 2021, "BRECQ";
Esser et al. 2020, "Learned step size quantization", for the step of the activations; Wei et al. 2022, "QDrop: randomly
dropping quantization for extremely low-bit post-training quantization".
"""

from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from torch import nn
from tqdm.auto import tqdm

from course_lib.arguments import not_negative, whole_number
from course_lib.nets.threads import one_thread
from course_lib.nets.training import evaluating
from course_lib.numerics import Calibration, QParams
from course_lib.ptq import post_training as ptq
from course_lib.quantized.following import compare, follow, weights_of
from course_lib.quantized.layers import KINDS, has_weights
from course_lib.quantized.model import QuantizedModel
from course_lib.quantized.steps import IDENTITY, INPUT, inputs_of, run_steps, scales_of

__all__ = ["reconstruct"]

LOW, HIGH = -0.1, 1.1  # the sigmoid is stretched to them and cut at 0 and 1, so that it can reach both ends
STIFFNESS = 20.0, 2.0  # β of the term that pushes h to its ends: high at first, which leaves the middle alone
FREE = 0.2  # share of the steps before that term begins
PUSH = 0.01  # its weight beside the error


@dataclass(frozen=True)
class Settings:
    """How each layer is learned."""

    drop: float
    steps: int
    batch_size: int
    lr: float


@one_thread()
@torch.inference_mode(False)
@torch.enable_grad()
def reconstruct(model: nn.Module, images: np.ndarray | torch.Tensor, *, weight_bits: int, activation_bits: int | None,
                drop: float = 0.5, steps: int = 1000, batch_size: int = 64, lr: float = 0.03, seed: int = 0,
                progress: bool = True) -> QuantizedModel:
    """Quantize a trained network layer by layer, with learned rounding; no labels.

    Starts from the ranges that MSE calibration gives, per output channel for weights; they stay, and only the choice
    between a weight's two neighbouring codes is learned. The steps S of activations are learned with the layer that
    reads them; their zero points stay. Biases stay. On one thread, so that the number of cores decides nothing.

    Parameters
    ----------
    model : nn.Module
        As ``record_activations`` takes it; it is left as it was.
    images : (n, …) array or tensor of a float dtype, n >= 1
        Some hundred training images; 1000 are better than 200.
    weight_bits : int, 2 to 8
    activation_bits : int, 1 to 8, or None for real activations; then ``drop`` changes nothing
    drop : float in [0, 1]
        The probability with which a single activation that a layer reads stays real in a step of learning. 0 drops
        nothing, and is plain reconstruction; 1 learns for real activations, and never sees their rounding.
    steps : int, of Adam, for each layer; 0 rounds to the nearest
    batch_size : int, images in a step, drawn with replacement
    lr : float, the learning rate of the choices; that of a step S is a third of it, of the step's own size
    seed : int, of the batches and of what is dropped; torch's global generator is neither read nor changed
    progress : bool, show a bar

    Returns
    -------
    QuantizedModel
        With ``meta["reconstruction"]`` holding drop, steps, batch_size, lr, seed and the number of images.

    Raises
    ------
    TypeError
        A layer that cannot be quantized; the message names it and lists those that can.
    ValueError
        No images, or a NaN in them; bits, ``drop``, ``steps``, ``batch_size`` or ``lr`` out of range.
    """
    weight_bits, activation_bits = ptq.check_bits(weight_bits, activation_bits)
    steps, batch_size = whole_number(steps, "steps", 0), whole_number(batch_size, "batch_size", 1)
    drop, lr, seed = not_negative(drop, "drop"), not_negative(lr, "lr"), whole_number(seed, "seed")
    if drop > 1:
        raise ValueError(f"drop={drop!r} must be a probability, from 0 to 1")
    x, walk = ptq.calibration_images(images), follow(model)
    with evaluating(model), torch.no_grad():
        weights = weights_of(walk)
        compare(model, walk, weights, x)
    ranges = ptq.weight_ranges(weights, bits=weight_bits, method=Calibration.MSE)
    input_qparams = None if activation_bits is None else ptq.input_range(x)
    settings = Settings(drop, steps, batch_size, lr)
    start, generator = torch.from_numpy(x), torch.Generator("cpu").manual_seed(seed)
    with tqdm(total=steps * len(weights), desc=f"reconstructing {weight_bits}/{activation_bits or 'real'}", unit="step",
              disable=not progress, leave=False) as bar:
        learning = _Learning(walk, weights, ranges, input_qparams, activation_bits, settings, generator, bar)
        _, given = run_steps(walk, (start, start), learning)
    activation_qparams = {scale: rounding.qparams() for scale, rounding in learning.roundings.items()}
    if activation_bits is not None and (last := ptq.logits_of(walk)) is not None:
        activation_qparams[last] = ptq.logits_range(given.numpy())
    meta = {"weight_bits": weight_bits, "activation_bits": activation_bits, "granularity": "per_channel",
            "weight_calibration": "mse", "activation_calibration": None if activation_bits is None else "mse",
            "reconstruction": {**asdict(settings), "seed": seed, "images": len(x)}}
    return ptq.assemble(walk, learning.rounded, ranges, input_qparams, activation_qparams or None, meta)


class _Learning:
    """What ``run_steps`` does with each step: learn a layer with weights, and hand on both what the real layers give
    and what the quantized ones do.

    Attributes
    ----------
    rounded : dict of layer name -> (weight, bias), float32 ndarrays, every weight on a code
    roundings : dict of layer name -> Rounding, of the scale that the layer chooses, once something has read it
    """

    def __init__(self, steps, weights, ranges, input_qparams, activation_bits, settings, generator, bar):
        self.reads = {step.name: names for step, names in zip(steps, inputs_of(steps))}
        self.scale_of, self.relu_behind = scales_of(steps).of, _relus_behind(steps)
        self.weights, self.ranges, self.settings, self.generator, self.bar = weights, ranges, settings, generator, bar
        self.input_qparams, self.activation_bits = input_qparams, activation_bits
        self.rounded, self.roundings = {}, {}

    def __call__(self, step, *pairs):
        """pairs, and what comes back: (real, given), tensors (n, …)"""
        if step.kind == IDENTITY:
            return pairs[0]
        reals, givens = zip(*pairs)
        if has_weights(step.kind):
            return self._weighted(step, *reals, *givens)
        with torch.no_grad():
            if not KINDS[step.kind].keeps_order:  # a sum or an average reads codes too
                givens = [self._read(name, given)(given) for name, given in zip(self.reads[step.name], givens)]
            return step(*reals), step(*givens)

    def _read(self, name, given):
        """The rounding of what the step ``name`` hands on: that of its scale, or a new one, whose S may be learned."""
        if self.activation_bits is None:
            return nn.Identity()
        scale = self.scale_of[name]
        if scale == INPUT:
            return Rounding(self.input_qparams, learned=False)
        if scale in self.roundings:  # learned by the first that read it
            return Rounding(self.roundings[scale].qparams(), learned=False)
        found = ptq.activation_range(given.numpy(), bits=self.activation_bits, method=Calibration.MSE)
        self.roundings[scale] = Rounding(found)
        return self.roundings[scale]

    def _weighted(self, step, real, given):
        weight, bias = (None if value is None else torch.from_numpy(value) for value in self.weights[step.name])
        relu = step.name in self.relu_behind

        def layer(a, w):
            a = step(a, weight=w, bias=bias)
            return torch.relu(a) if relu else a

        choice, rounding = RoundingChoice(weight, self.ranges[step.name]), self._read(self.reads[step.name][0], given)
        with torch.no_grad():
            target = layer(real, weight)
        _learn(layer, choice, rounding, real, given, target, self.settings, self.generator, self.bar)
        with torch.no_grad():
            w = choice.chosen()
            self.rounded[step.name] = w.numpy(), self.weights[step.name][1]
            return target, layer(rounding(given), w)


def _relus_behind(steps):
    """The names of the steps of which a ReLU alone reads what they hand on."""
    readers = {}
    for step, names in zip(steps, inputs_of(steps)):
        for name in names:
            readers.setdefault(name, []).append(step)

    def relu_reads(name):
        after = readers.get(name, [])
        return len(after) == 1 and (after[0].kind == "relu" or after[0].kind == IDENTITY and relu_reads(after[0].name))

    return {step.name for step in steps if relu_reads(step.name)}


def _learn(layer, choice, rounding, real, given, target, settings, generator, bar):
    """Learn how the weights of one layer, and the activations it reads, are rounded.

    layer : callable(a, w) -> what the layer gives;  choice : RoundingChoice;  rounding : Rounding or Identity
    real, given : (n, …), what reaches the layer in the real and in the quantized network;  target : what it should give
    """
    groups = [{"params": choice.parameters(), "lr": settings.lr}]
    learned = [p for p in rounding.parameters() if p.requires_grad]
    if learned:
        groups.append({"params": learned, "lr": settings.lr / 3})
    optimizer = torch.optim.Adam(groups, fused=True)
    for step in range(settings.steps):
        some = torch.randint(len(given), (settings.batch_size,), generator=generator)
        a = rounding(given[some])
        if settings.drop and learned:
            dropped = torch.rand(a.shape, generator=generator) < settings.drop
            a = torch.where(dropped, real[some], a)
        h = choice()
        loss = (layer(a, choice.weight(h)) - target[some]).square().sum(1).mean()
        done = step / settings.steps
        if done >= FREE:
            beta = STIFFNESS[0] + (STIFFNESS[1] - STIFFNESS[0]) * (done - FREE) / (1 - FREE)
            loss = loss + PUSH * (1 - (2 * h - 1).abs().pow(beta)).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        bar.update()


class RoundingChoice(nn.Module):
    """For each weight a number h from 0 to 1: its code is the one below for h = 0, and the one above for h = 1.

    It starts with the fraction that rounding cuts off, so that the weight starts as the real one, and is chosen by
    which half it ends in: no step is rounding to the nearest.

    Parameters
    ----------
    weight : float32 tensor, (out, …)
    qparams : QParams, symmetric, per channel on axis 0

    Source: Nagel et al. 2020, sec. 3.2 (rectified sigmoid) and eq. 24.
    """

    def __init__(self, weight: torch.Tensor, qparams: QParams):
        super().__init__()
        self.scale = torch.from_numpy(qparams.scale.copy()).reshape(-1, *[1] * (weight.ndim - 1))
        self.low, self.high = qparams.qmin, qparams.qmax
        self.below = torch.floor(weight / self.scale)
        fraction = weight / self.scale - self.below
        self.v = nn.Parameter(torch.logit((fraction - LOW) / (HIGH - LOW)))

    def forward(self) -> torch.Tensor:
        """h, shape of the weights."""
        return (torch.sigmoid(self.v) * (HIGH - LOW) + LOW).clamp(0, 1)

    def weight(self, h: torch.Tensor) -> torch.Tensor:
        """The weights that these choices stand for; between codes while they are learned."""
        return (self.below + h).clamp(self.low, self.high) * self.scale

    def chosen(self) -> torch.Tensor:
        """The weights with every choice made, each on a code."""
        return self.weight((self.v > 0).float())


class Rounding(nn.Module):
    """x -> S clip(round(x / S), qmin − Z, qmax − Z), where S can be learned: round has the slope of the identity.

    Source: Esser et al. 2020, eq. 1 to 3; S is learned by its logarithm, so that it stays above zero.
    """

    def __init__(self, qparams: QParams, *, learned: bool = True):
        super().__init__()
        self.start = qparams
        self.low, self.high = (end - int(qparams.zero_point) for end in (qparams.qmin, qparams.qmax))
        self.log_scale = nn.Parameter(torch.tensor(np.log(float(qparams.scale)), dtype=torch.float32), learned)

    def scale(self) -> torch.Tensor:
        """S; where it is not learned, the one given, to the last bit."""
        return self.log_scale.exp() if self.log_scale.requires_grad else torch.tensor(self.start.scale)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scale = self.scale()
        steps = (x / scale).clamp(self.low, self.high)
        return (steps + (steps.round() - steps).detach()) * scale

    def qparams(self) -> QParams:
        """With the S that was learned; Z and the code range are those given."""
        return replace(self.start, scale=self.scale().detach().numpy())
