"""Adam with its two moments in 8 bits: a quarter of the memory of an optimizer that nobody sees and everybody pays for.

Each block of 2048 numbers is divided by its largest magnitude, and each quotient is rounded to the nearest of 256
levels that are dense near zero: seven decades, each cut into twice as many equal parts as the decade below it, a level
in the middle of each part, and 0 and 1. The moments are 32-bit while they are updated and 8-bit while they wait.

Source: Dettmers, Lewis, Shleifer, Zettlemoyer 2022, "8-bit optimizers via block-wise quantization"; Kingma, Ba 2015,
"Adam"; Loshchilov, Hutter 2019, "Decoupled weight decay regularization".
"""

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike

from course_lib.arguments import finite_array, whole_number
from course_lib.kernels import adam as kernels
from course_lib.machine import pool

GRAIN = 2**15                               # parameters: some 30 µs of work

_M_CODES, _V_CODES, _M_SCALES, _V_SCALES = "exp_avg_codes", "exp_avg_sq_codes", "exp_avg_scales", "exp_avg_sq_scales"


class BlockCodes(NamedTuple):
    """Codes in the shape of the array, and the scale (largest magnitude) of each block."""

    codes: np.ndarray
    scales: np.ndarray


def dynamic_map(signed: bool = True) -> np.ndarray:
    """The 256 levels, ascending: what a code stands for, to be multiplied by the scale of its block.

    Signed: 127 levels below 0 (the lowest is −0.993), 0, 127 above, and 1. Unsigned: 0, 254 levels, and 1. A level is
    rounded once from the straight line it lies on, which is within 4 · 10⁻⁷ of the middle of its part.

    >>> [f"{level:.2g}" for level in dynamic_map()[[0, 126, 127, 128, 255]]]
    ['-0.99', '-5.5e-07', '0', '5.5e-07', '1']
    """
    start, slope, _, _, _, first, last = (a.astype(np.float64) for a in kernels.decade_lines(signed))
    segment = np.repeat(np.arange(9), (last - first + 1).astype(int))
    middle = np.arange(segment.size) + (0.5 if signed else 1.5)
    levels = (start[segment] + slope[segment] * middle).astype(np.float32)
    return np.concatenate([-levels[127:0:-1], levels]) if signed else levels


def nearest_code(x: ArrayLike, signed: bool = True) -> np.ndarray:
    """The code of the level nearest to each number in −1 … 1. The definition: straight lines, in float32.

    Anywhere but within 10⁻⁶ of halfway this is ``numerics.nearest_level(x, dynamic_map(signed))``.   x: (n,) float32
    """
    _, _, border, steps, offset, _, last = kernels.decade_lines(signed)
    a = np.abs(x)
    segment = np.searchsorted(border, a)                                    # how many borders are below a
    k = _once(steps[segment], a, offset[segment]).astype(np.int32)
    k = np.minimum(k, last[segment])
    code = np.maximum(kernels.ZERO + np.where(np.signbit(x), -k, k), 0) if signed else k      # −1 is not a level
    return code.astype(np.uint8)


def quantize_blocks(x: ArrayLike, *, block_size: int = 2048, signed: bool = True) -> BlockCodes:
    """Codes of the dynamic map and a scale for each block of so many numbers, the last of which may be short.

    NaN, ±inf and an empty array raise; a block of zeros has scale 0 and gives zeros back.

    Parameters
    ----------
    x : float32 ndarray, any shape; blocks are cut in memory order
    block_size : int
    signed : bool, or False for numbers of which none is negative

    Returns
    -------
    BlockCodes(codes, scales) : uint8, the shape of ``x``; float32, (⌈size / block_size⌉,)
    """
    x, block_size = finite_array(np.asarray(x, np.float32)), whole_number(block_size, "block_size", 1, 2**31)
    if not signed and x.min() < 0:
        raise ValueError(f"x has negative numbers, the lowest {x.min()}; they need signed=True")
    scales = np.maximum.reduceat(np.abs(x).ravel(), np.arange(0, x.size, block_size))
    quotients = x.ravel() * np.repeat(_inverse(scales), block_size)[: x.size]
    return BlockCodes(nearest_code(quotients, signed).reshape(x.shape), scales)


def dequantize_blocks(codes: ArrayLike, scales: ArrayLike, *, block_size: int = 2048,
                      signed: bool = True) -> np.ndarray:
    """The numbers that codes and scales of :func:`quantize_blocks` stand for: float32 ndarray, shaped as ``codes``."""
    codes, scales = np.asarray(codes), np.asarray(scales)
    block_size = whole_number(block_size, "block_size", 1, 2**31)
    if codes.dtype != np.uint8 or scales.shape != (-(-codes.size // block_size),):
        raise ValueError(f"codes are {codes.dtype} {codes.shape} and scales {scales.shape}; they should be uint8 and "
                         f"one scale for each {block_size} codes")
    return dynamic_map(signed)[codes] * np.repeat(scales, block_size)[: codes.size].reshape(codes.shape)


def adam8bit_step_plain(p: np.ndarray, g: np.ndarray, m: BlockCodes, v: BlockCodes, numbers: tuple,
                        block_size: int) -> tuple[np.ndarray, BlockCodes, BlockCodes]:
    """One step, in NumPy: the definition. Returns the new p and the new m and v (``BlockCodes``).

    numbers: β₁, β₂, 1 − β₁, 1 − β₂, ε, rate, root, keep, decay as in :func:`step_numbers`.   p, g: (n,) float32
    """
    b1, b2, c1, c2, eps, rate, root, keep, decay = numbers
    if decay:
        g = g + decay * p
    m_scale, v_scale = (np.repeat(codes.scales, block_size)[: p.size] for codes in (m, v))
    m = _once(dynamic_map(True)[m.codes], b1 * m_scale, c1 * g)
    v = _once(dynamic_map(False)[v.codes], b2 * v_scale, c2 * (g * g))
    p = _once(-rate, m / _once(np.sqrt(v), root, eps), keep * p)
    return p, quantize_blocks(m, block_size=block_size), quantize_blocks(v, block_size=block_size, signed=False)


def step_numbers(step: int, *, lr: float, betas: tuple[float, float], eps: float, weight_decay: float,
                 decoupled: bool) -> tuple[np.float32, ...]:
    """What a step needs besides the arrays: nine float32, for the kernel and the definition.

    ``rate`` = lr / (1 − β₁ᵗ) and ``root`` = 1 / √(1 − β₂ᵗ) undo the start from zero; ``keep`` = 1 − lr · weight_decay
    shrinks the parameters beforehand (decoupled), or ``decay`` adds weight_decay · p to the gradient.
    """
    b1, b2 = betas
    rate, root = lr / (1 - b1**step), 1 / math.sqrt(1 - b2**step)
    keep, decay = (1 - lr * weight_decay, 0.0) if decoupled else (1.0, weight_decay)
    return tuple(map(np.float32, (b1, b2, 1 - b1, 1 - b2, eps, rate, root, keep, decay)))


class Adam8bit(torch.optim.Optimizer):
    """Adam, or AdamW with ``decoupled=True``, with 2.004 bytes of state for each parameter where torch's takes 8.

    Tensors of fewer than ``smallest`` entries keep 32-bit moments, as in the source: they weigh nothing and are often
    the delicate ones. Nothing is random and the number of threads changes nothing but the time.

    NaN and ±inf do as in torch: nothing is skipped, they spread. They reach further here: a scale is shared, so one of
    them in a gradient turns its parameter into NaN at once and its whole block at the next step. What is below 10⁻⁷ of
    the largest v in a block rounds to 0; the new gradient's share of v is still there when the parameter moves.

    Parameters
    ----------
    params : tensors or groups (dicts), as for every torch optimizer; float32 in main memory
    lr, betas, eps, weight_decay : as in ``torch.optim.Adam``
    decoupled : bool
        Shrink the parameters by lr · weight_decay (AdamW); otherwise weight_decay · p is added to the gradients.
    block_size : int, a multiple of 16 up to 65536; 2048 in the source, 256 in later practice
    smallest : int, the size from which a tensor's moments are kept in 8 bits

    Raises
    ------
    TypeError, ValueError
        A tensor that is not float32 in main memory; a number out of its range; a sparse gradient.
    """

    def __init__(self, params: Iterable, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 0.0, *, decoupled: bool = False, block_size: int = 2048, smallest: int = 4096):
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
                                  "decoupled": decoupled, "block_size": block_size, "smallest": smallest})

    def add_param_group(self, param_group: dict) -> None:
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        try:
            _check(group)
        except (TypeError, ValueError):
            self.param_groups.pop()
            raise

    @torch.no_grad()
    def step(self, closure: Callable | None = None) -> object:
        """Move every parameter that has a gradient. Returns what ``closure`` gives, if there is one."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None and p.numel():
                    self._move(p, group)
        return loss

    def _move(self, p, group):
        if p.grad.is_sparse:
            raise ValueError("a gradient is sparse; Adam8bit takes dense ones")
        _check_parameter(p)                                     # model.double() may have come after __init__
        state = self.state[p]
        if not state:
            state["step"] = 0
            state |= _zeros(p, group)
        state["step"] += 1
        numbers = step_numbers(state["step"], **{name: group[name] for name in _OF_A_STEP})
        if _M_CODES not in state:
            _step32(p, p.grad, state["exp_avg"], state["exp_avg_sq"], numbers)
            return
        if state[_M_CODES].numel() != p.numel():                # the kernel would write beyond the codes
            raise ValueError(f"a parameter has shape {tuple(p.shape)} now, and had {state[_M_CODES].numel()} numbers "
                             "at its first step: make a new Adam8bit for it")
        flat, gradient = (t.detach().contiguous().view(-1) for t in (p, p.grad))     # a copy only if p has gaps
        _step8(flat.numpy(), gradient.numpy(), state, group["block_size"], numbers)
        if flat.data_ptr() != p.data_ptr():
            p.copy_(flat.view(p.shape))
        torch.autograd.graph.increment_version(p)               # autograd notices a change that NumPy made

    def load_state_dict(self, state_dict: dict) -> None:
        """As in torch, which turns all state into the parameters' dtype: codes are turned back.

        ValueError where the state is that of another optimizer, or of parameters of other sizes.
        """
        for group in state_dict["param_groups"]:
            missing = [name for name in self.defaults if name not in group]
            if missing:
                raise ValueError(f"state_dict has no {missing[0]!r} among its settings; it is that of another "
                                 "optimizer than Adam8bit, whose moments have another form")
        before = self.__getstate__()
        super().load_state_dict(state_dict)
        try:
            for group in self.param_groups:
                _check(group)
                for p in group["params"]:
                    _check_state(p, self.state.get(p, {}), group["block_size"])
        except (TypeError, ValueError):
            self.__setstate__(before)                           # the optimizer is as it was
            raise
        for state in self.state.values():
            for name in {_M_CODES, _V_CODES} & state.keys():
                state[name] = state[name].to(torch.uint8)

    def state_bytes(self) -> int:
        """Bytes of moments, codes and scales that the optimizer holds now: none before the first step."""
        return sum(t.nbytes for state in self.state.values() for t in state.values() if torch.is_tensor(t))


_OF_A_STEP = ("lr", "betas", "eps", "weight_decay", "decoupled")


def _zeros(p, group):
    """The moments before the first step."""
    if p.numel() < group["smallest"]:
        return {"exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
    blocks = -(-p.numel() // group["block_size"])
    return {
        _M_CODES: torch.full((p.numel(),), kernels.ZERO, dtype=torch.uint8, device="cpu"),
        _V_CODES: torch.zeros(p.numel(), dtype=torch.uint8, device="cpu"),
        _M_SCALES: torch.zeros(blocks, dtype=torch.float32, device="cpu"),      # whatever torch's defaults are
        _V_SCALES: torch.zeros(blocks, dtype=torch.float32, device="cpu"),
    }


def _check_state(p, state, block):
    """Refuse loaded moments that are not those of a parameter of this size: the kernel would write beyond them."""
    blocks = -(-p.numel() // block)
    sizes = {_M_CODES: (p.numel(),), _V_CODES: (p.numel(),), _M_SCALES: (blocks,), _V_SCALES: (blocks,)}
    if _M_CODES not in state:
        sizes = {"exp_avg": p.shape, "exp_avg_sq": p.shape}
    for name, shape in (sizes if state else {}).items():
        there = tuple(state[name].shape) if name in state else "missing"
        if there != tuple(shape):
            raise ValueError(f"state_dict has {name!r} of shape {there} for a parameter of shape {tuple(p.shape)}, "
                             f"which needs {tuple(shape)}; it was saved for another model")


def _step8(p, g, state, block, numbers):
    """One step with codes, whole blocks to each thread.   p, g: (n,) float32"""
    m, v, m_scales, v_scales = (state[name].numpy() for name in (_M_CODES, _V_CODES, _M_SCALES, _V_SCALES))

    def part(start, stop):
        some = slice(start * block, min(stop * block, p.size))
        kernels.adam8bit(p[some], g[some], m[some], v[some], m_scales[start:stop], v_scales[start:stop], block, numbers)

    pool.run(part, m_scales.size, grain=max(1, GRAIN // block))


def _step32(p, g, m, v, numbers):
    """One step with 32-bit moments, in place."""
    b1, b2, c1, c2, eps, rate, root, keep, decay = map(float, numbers)
    if decay:
        g = g.add(p, alpha=decay)
    m.mul_(b1).add_(g, alpha=c1)
    v.mul_(b2).addcmul_(g, g, value=c2)
    p.mul_(keep).addcdiv_(m, v.sqrt().mul_(root).add_(eps), value=-rate)


def _once(a, b, c):
    """a · b + c of float32, rounded once."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.float32(np.asarray(a, np.float64) * b + c)


def _inverse(scales):
    with np.errstate(divide="ignore", over="ignore"):
        return np.where(scales >= kernels.SMALLEST_SCALE, np.float32(1) / scales, np.float32(0))


def _check(group):
    """Refuse numbers out of range and tensors that the kernel cannot work on."""
    betas = group["betas"]
    if not isinstance(betas, (tuple, list)) or len(betas) != 2 or not all(_is_number(b) and b < 1 for b in betas):
        raise ValueError(f"betas={betas!r} must be numbers from 0 to below 1, two of them")
    for name in ("lr", "eps", "weight_decay"):
        if not _is_number(group[name]):
            raise ValueError(f"{name}={group[name]!r} must be a number that is not negative, and finite")
    if whole_number(group["block_size"], "block_size", 16, 2**16) % 16:
        raise ValueError(f"block_size={group['block_size']} must be a multiple of 16")
    whole_number(group["smallest"], "smallest", 0, 2**62)
    for p in group["params"]:
        _check_parameter(p)


def _is_number(value):
    """Finite and not negative; a learning rate may also be a tensor of one number."""
    if torch.is_tensor(value) and value.numel() == 1:
        value = value.item()
    return isinstance(value, (int, float, np.integer, np.floating)) and 0 <= value < math.inf


def _check_parameter(p):
    if p.dtype != torch.float32 or p.device.type != "cpu":
        raise TypeError(f"a parameter is {p.dtype} on {p.device}; Adam8bit takes float32 in main memory (cpu)")
