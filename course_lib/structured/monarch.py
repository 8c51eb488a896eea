"""Monarch matrices: a dense matrix as two block-diagonal ones with a transposition after each, n√n numbers for n².

    M = P₂ · diag(L₀ … L_{s−1}) · P₁ · diag(R₀ … R_{p−1})          M[(l, j), (k, i)] = L[j, l, k] · R[k, j, i]

x is cut into p pieces of q. R mixes within a piece, P₁ hands entry j of every piece to block j of L, which mixes across
the pieces, and P₂ hands the results back. (Inputs are numbered (k, i), outputs (l, j).) With p = q = √n that is
2 n√n multiply-adds in place of n², in two batched products that any library does well; nothing is sparse or irregular.
The Fourier transform and every butterfly of its kind have this form.

Source: Dao et al. 2022, "Monarch: expressive structured matrices for efficient and accurate training".
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

from course_lib.kernels import monarch as kernels
from course_lib.machine import pool

GRAIN = 2**22                               # multiply-adds: some 100 µs of work
_PLAIN = (torch.Tensor, nn.Parameter)       # and not the stand-ins by which torch traces and transforms


def monarch_dense_plain(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """The whole matrix, (r·s, p·q): the definition, factor by factor.   left: (s, r, p), right: (p, s, q)"""
    p, s, _ = right.shape
    r = left.shape[1]
    gather, scatter = (_transposition(*shape).to(left.dtype) for shape in ((p, s), (s, r)))
    return scatter @ torch.block_diag(*left) @ gather @ torch.block_diag(*right)


def _transposition(rows, columns):
    """The permutation that reads a row-major (rows, columns) column by column, as a matrix."""
    order = torch.arange(rows * columns).reshape(rows, columns).T.reshape(-1)
    return torch.eye(rows * columns)[order]


def monarch_matmul(x: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """x Mᵀ, without ever making M. Gradients flow to all three.

    Where no gradient is asked for, a kernel does float32 batches in one pass; otherwise two batched products of torch,
    with the batch as the last axis, so that neither the pieces of ``x`` nor what lies between the two is copied. The
    two ways sum in different orders, and may differ in the last bits.

    Parameters
    ----------
    x : tensor, (n,) or (batch, n), n = p·q
    left : tensor, (s, r, p)
    right : tensor, (p, s, q)

    Returns
    -------
    y : tensor, (m,) or (batch, m), m = r·s

    Raises
    ------
    TypeError
        Something else than tensors of one float dtype.
    ValueError
        Shapes that do not match.
    """
    for name, value in (("x", x), ("left", left), ("right", right)):
        found = value.dtype if torch.is_tensor(value) else type(value).__name__
        if not torch.is_tensor(value) or value.dtype != left.dtype or not (found.is_floating_point or found.is_complex):
            raise TypeError(f"{name} is {found}; x, left and right should be tensors of one float dtype")
    if left.ndim != 3 or right.ndim != 3 or left.shape[0] != right.shape[1] or left.shape[2] != right.shape[0]:
        raise ValueError(f"left has shape {tuple(left.shape)} and right {tuple(right.shape)}; they should be (s, r, p) "
                         "and (p, s, q)")
    p, s, q = right.shape
    if x.ndim not in (1, 2) or x.shape[-1] != p * q:
        raise ValueError(f"x has shape {tuple(x.shape)}; right of shape {tuple(right.shape)} takes ({p * q},) or "
                         f"(batch, {p * q})")
    if _for_the_kernel(x, left, right):
        return _by_kernel(x, left, right)
    pieces = x.reshape(-1, p, q).permute(1, 2, 0)                   # (p, q, batch)
    mixed = torch.bmm(right, pieces).transpose(0, 1)                # (s, p, batch)
    y = torch.bmm(left, mixed).permute(2, 1, 0)                     # (batch, r, s)
    return y.reshape(*x.shape[:-1], left.shape[1] * s)


def _for_the_kernel(*tensors):
    """No gradients, float32 in main memory, and large enough to fill vectors."""
    x, _, right = tensors
    if torch.is_grad_enabled() and any(t.requires_grad for t in tensors):
        return False
    if torch.jit.is_tracing() or torch.compiler.is_compiling() or any(_is_wrapped(t) for t in tensors):
        return False
    plain = all(type(t) in _PLAIN and t.dtype == torch.float32 and t.device.type == "cpu" for t in tensors)
    return plain and right.shape[1] >= kernels.LANES and x.ndim == 2 and len(x) >= kernels.SAMPLES


def _is_wrapped(tensor):
    """Whether torch.func (vmap, jvp, …) is at work on it, or it carries a tangent:
    its numbers alone are not all of it."""
    if torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        return True
    return torch.autograd.forward_ad.unpack_dual(tensor).tangent is not None


def _by_kernel(x, left, right):
    """The same, in one pass over pieces of sixteen j and eight images."""
    s, r, p = left.shape
    q, batch = right.shape[2], len(x)
    y = torch.empty(batch, r * s, dtype=torch.float32, device="cpu")     # whatever torch's defaults are
    flat = [t.detach().contiguous().view(-1).numpy() for t in (x, left, right, y)]

    def part(start, stop):
        kernels.monarch(flat[0], batch, flat[1], (s, r, p, q), flat[2], start, stop, flat[3])

    pieces = -(-s // kernels.LANES) * -(-batch // kernels.SAMPLES)
    pool.run(part, pieces, grain=GRAIN // (kernels.LANES * kernels.SAMPLES * p * (q + r)) + 1)
    return y


def project_monarch(matrix: torch.Tensor, *,
                    blocks: tuple[int, int] | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """The Monarch matrix nearest to a dense one, in the sum of squared differences. Closed form.

    For each piece k of the input and each j, the entries M[(l, j), (k, i)] form a matrix in l and i, which in a Monarch
    matrix is one outer product: the best is the first pair of singular vectors, and the p·s problems do not touch.

    Parameters
    ----------
    matrix : tensor, (m, n), float
    blocks : (int, int), p and s: in how many pieces inputs and outputs are cut; by default near √n and √m

    Returns
    -------
    left, right : tensors, (s, m/s, p) and (p, s, n/p)
    """
    if not torch.is_tensor(matrix):
        raise TypeError(f"matrix is a {type(matrix).__name__}; it should be a tensor, (m, n)")
    if matrix.ndim != 2 or not matrix.is_floating_point() or not matrix.numel() or matrix.is_meta:
        raise ValueError(f"matrix is {matrix.dtype}, shape {tuple(matrix.shape)} on {matrix.device}; it should be real "
                         "numbers, (m, n)")
    if not matrix.isfinite().all():
        raise ValueError("matrix has a NaN or an infinity; nothing is nearest to it")
    if matrix.dtype.itemsize < 4:                                                   # no SVD in 16 bits
        return tuple(factor.to(matrix.dtype) for factor in project_monarch(matrix.float(), blocks=blocks))
    m, n = matrix.shape
    p, s = _blocks(n, m, blocks)
    slices = matrix.reshape(m // s, s, p, n // p).permute(1, 2, 0, 3)               # (s, p, r, q)
    u, sigma, vt = torch.linalg.svd(slices, full_matrices=False)
    root = sigma[..., :1].sqrt()                                                    # half of the size to each side
    left = (u[..., 0] * root).transpose(1, 2)                                       # (s, r, p)
    right = (vt[..., 0, :] * root).transpose(0, 1)                                  # (p, s, q)
    return left.contiguous(), right.contiguous()


class MonarchLinear(nn.Module):
    """A linear layer whose weight is a Monarch matrix: s·n + p·m numbers in place of m·n.

    Parameters
    ----------
    in_features : int, n
    out_features : int, m; n by default
    blocks : (int, int), p and s, divisors of n and m; by default those nearest to √n and √m
    bias : bool
    """

    def __init__(self, in_features: int, out_features: int | None = None, *, blocks: tuple[int, int] | None = None,
                 bias: bool = True):
        super().__init__()
        n, m = in_features, in_features if out_features is None else out_features
        p, s = _blocks(n, m, blocks)
        n, m = int(n), int(m)
        self.in_features, self.out_features = n, m
        self.left = nn.Parameter(torch.empty(s, m // s, p))
        self.right = nn.Parameter(torch.empty(p, s, n // p))
        self.bias = nn.Parameter(torch.empty(m)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Random entries, so that the whole matrix has the variance of ``nn.Linear``'s, 1 / 3n."""
        p, _, q = self.right.shape
        nn.init.normal_(self.left, std=(math.sqrt(3) * p) ** -0.5)
        nn.init.normal_(self.right, std=(math.sqrt(3) * q) ** -0.5)
        if self.bias is not None:
            nn.init.uniform_(self.bias, -self.in_features**-0.5, self.in_features**-0.5)

    @classmethod
    def from_linear(cls, linear: nn.Linear, *, blocks: tuple[int, int] | None = None) -> MonarchLinear:
        """The nearest layer of this kind to an ``nn.Linear``: its weight projected, its bias and dtype kept."""
        if not isinstance(linear, nn.Linear):
            raise TypeError(f"linear is a {type(linear).__name__}; it should be an nn.Linear")
        factors = project_monarch(linear.weight.detach(), blocks=blocks)
        layer = cls(linear.in_features, linear.out_features, blocks=blocks, bias=linear.bias is not None)
        layer.to(linear.weight)                                                     # its dtype, its device
        with torch.no_grad():
            for own, new in zip((layer.left, layer.right), factors):
                own.copy_(new)
            if linear.bias is not None:
                layer.bias.copy_(linear.bias)
        return layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n,) or (batch, n) → (m,) or (batch, m)"""
        y = monarch_matmul(x, self.left, self.right)
        return y if self.bias is None else y + self.bias

    def extra_repr(self) -> str:
        """For ``print``."""
        p, s, _ = self.right.shape
        return f"{self.in_features}, {self.out_features}, blocks=({p}, {s}), bias={self.bias is not None}"


def _blocks(n, m, blocks):
    """(p, s), checked, or the divisors nearest to the square roots."""
    for name, size in (("in_features", n), ("out_features", m)):
        if not _is_count(size):
            raise ValueError(f"{name} is {size!r}; it should be a whole number from 1")
    if blocks is None:
        return _near_root(n), m // _near_root(m)
    if not isinstance(blocks, (tuple, list)) or len(blocks) != 2:
        raise ValueError(f"blocks={blocks!r} should be two numbers, in how many pieces inputs and outputs are cut")
    for name, count, size in zip(("in_features", "out_features"), blocks, (n, m)):
        if not _is_count(count) or size % count:
            raise ValueError(f"blocks={blocks!r}: {count!r} should be a whole number that divides {name} = {size}")
    return tuple(map(int, blocks))


def _is_count(value):
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and value >= 1


def _near_root(n):
    """The largest divisor of n up to √n."""
    return next(d for d in range(math.isqrt(n), 0, -1) if n % d == 0)
