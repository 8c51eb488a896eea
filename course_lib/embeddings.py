"""A graph drawn in a space: points whose distances say who is related to whom, in flat and in hyperbolic space.

A node's point should lie nearer to its neighbours than to all other nodes. Training moves all points at once, down the
gradient of that wish. In Euclidean space a step is a subtraction. In the Poincaré ball, the unit ball in which lengths
grow without bound towards the rim, the gradient is first scaled by the metric there (Riemannian gradient descent), and
a point that a step would carry past the rim is put back just inside.

Source: Nickel & Kiela 2017, Poincaré embeddings for learning hierarchical representations (loss: eq. 6, gradient: eq. 4
and 5). They draw ten strangers at random for each step and move a few points; the graphs here are small enough to
compare every node with every other in each step.
"""

import builtins
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from types import ModuleType
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from course_lib.arguments import choose, float64_array
from course_lib.nets.threads import one_thread

__all__ = ["Embedding", "Geometry", "Graph", "class_hierarchy", "distances", "embed", "full_tree",
           "geodesics", "mean_average_precision", "poincare_distance", "reconstruction"]  # fmt: skip

RIM = 1e-5  # points stay within radius 1 − RIM, as in the source's code
START = 1e-3  # first coordinates lie between −START and START
# the first tenth of the steps run at a tenth of the rate, while directions sort themselves out
BURN_IN, SLOW = 0.1, 0.1


class Geometry(str, Enum):
    """The space that points live in."""

    EUCLIDEAN = "euclidean"
    POINCARE = "poincare"


RATE = {Geometry.EUCLIDEAN: 0.3, Geometry.POINCARE: 0.1}


@dataclass(frozen=True)
class Graph:
    """Nodes with names, and undirected edges between them, as pairs of node numbers. No node is its own neighbour."""

    name: str
    nodes: tuple
    edges: tuple

    def __post_init__(self):
        for edge in self.edges:
            if len(edge) != 2 or edge[0] == edge[1] or not all(0 <= node < len(self.nodes) for node in edge):
                raise ValueError(f"edge {edge} should join two different nodes from 0 to {len(self.nodes) - 1}")
        if len(self.nodes) < 3 or len({node for edge in self.edges for node in edge}) < len(self.nodes):
            raise ValueError(f"{self.name}: it needs at least three nodes, and each node at least one edge")

    @property
    def adjacency(self) -> NDArray[np.bool_]:
        """(n, n) bool, symmetric: who is whose neighbour."""
        near = np.zeros((len(self.nodes), len(self.nodes)), bool)
        first, second = np.array(self.edges).T
        near[first, second] = near[second, first] = True
        return near


def full_tree(branching: int, depth: int) -> Graph:
    """The tree in which every node has ``branching`` children, ``depth`` levels below the root. Node 0 is the root."""
    if branching < 1 or depth < 1:
        raise ValueError(f"branching is {branching} and depth {depth}; both should be at least 1")
    count = sum(branching**level for level in range(depth + 1))
    edges = tuple(((node - 1) // branching, node) for node in range(1, count))
    return Graph(f"tree {branching}^{depth}", tuple(map(str, range(count))), edges)


def class_hierarchy(root: type = BaseException, modules: Iterable[ModuleType] = (builtins,)) -> Graph:
    """The classes below ``root`` that ``modules`` name, and those they inherit from:
    an edge joins a class and its base.

    The default is the tree of built-in exceptions that Python's documentation prints. Classes may have two bases, so
    in general it is no tree. It differs a little from one version of Python to the next.
    """
    found = {base for module in modules for thing in vars(module).values() if isinstance(thing, type)
             if issubclass(thing, root) for base in thing.__mro__ if issubclass(base, root)}  # fmt: skip
    classes = sorted(found, key=lambda one: (len(one.__mro__), one.__module__, one.__qualname__))
    number = {one: i for i, one in enumerate(classes)}
    edges = tuple((number[base], number[one]) for one in classes for base in one.__bases__ if base in number)
    return Graph(f"classes below {root.__name__}", tuple(one.__qualname__ for one in classes), edges)


def poincare_distance(u: Sequence[float], v: Sequence[float]) -> float:
    """arcosh(1 + 2 ‖u − v‖² / ((1 − ‖u‖²)(1 − ‖v‖²))). The definition.

    For two points inside the unit ball.
    """
    check_inside_the_ball(u=u, v=v)
    apart = sum((a - b) ** 2 for a, b in zip(u, v, strict=True))
    room = (1 - sum(a * a for a in u)) * (1 - sum(b * b for b in v))
    return math.acosh(1 + 2 * apart / room)


def check_inside_the_ball(**points):
    """Raise ValueError, and say which, where a point is not inside the unit ball: there alone has it a distance."""
    for name, point in points.items():
        square = sum(float(a) * float(a) for a in point)
        if not square < 1:
            raise ValueError(f"{name} = {tuple(map(float, point))} is not inside the unit ball: its length is "
                             f"{math.sqrt(square):.6g}, and should be below 1")


def geodesics(u: NDArray, v: NDArray, *, count: int = 32) -> NDArray[np.float64]:
    """The straight ways in the Poincaré ball, as points to draw a line through: arcs that bend towards the centre.

    Parameters
    ----------
    u, v : ndarray, (m, dimension) float, the m pairs of ends, inside the unit ball
    count : int, at least 2, points on each way, both ends among them, at equal hyperbolic distances

    Returns
    -------
    ndarray, (m, count, dimension); ``count`` times the same point where u and v are equal

    Raises
    ------
    ValueError
        ``u`` and ``v`` have different shapes or are not 2-dimensional, an end is outside the ball or NaN, or ``count``
        is below 2.

    Source: Ungar 2008, A gyrovector space approach to hyperbolic geometry, sec. 3.4: u ⊕ (t ⊗ (⊖u ⊕ v)).
    """
    u, v = float64_array(u, "u"), float64_array(v, "v")
    if u.ndim != 2 or u.shape != v.shape:
        raise ValueError(f"u has the shape {u.shape} and v {v.shape}; both should be (pairs, dimension)")
    if count < 2:
        raise ValueError(f"count={count!r}; it should be at least 2: both ends")
    for name, ends in (("u", u), ("v", v)):
        outside = ~(np.square(ends).sum(1) < 1)
        if outside.any():
            check_inside_the_ball(**{name: ends[outside][0]})
    there = _moebius_add(-u, v)  # v, seen from where u is the centre: there the straight way is a line
    length = np.minimum(np.linalg.norm(there, axis=1)[:, None], 1 - 2.0**-53)
    along = np.tanh(np.linspace(0, 1, count) * np.arctanh(length)) / np.where(length > 0, length, 1)
    ways = _moebius_add(u[:, None, :], along[:, :, None] * there[:, None, :])
    ways[:, 0], ways[:, -1] = u, v  # near the rim the way back loses digits
    return ways


def _moebius_add(u, w):
    """u ⊕ w: where w is once the centre has been moved to u, points along the last axis."""
    dot, uu, ww = ((a * b).sum(-1, keepdims=True) for a, b in ((u, w), (u, u), (w, w)))
    return ((1 + 2 * dot + ww) * u + (1 - uu) * w) / (1 + 2 * dot + uu * ww)


def distances(points: "torch.Tensor | np.ndarray | Embedding", geometry: Geometry | str) -> torch.Tensor | np.ndarray:
    """Distance of every point from every other.

    Parameters
    ----------
    points : tensor or ndarray, (n, dimension), or what ``embed`` returns; for the Poincaré ball, inside it
    geometry : Geometry, or its string value

    Returns
    -------
    tensor, (n, n); its gradient is finite, between equal points too. An ndarray unless ``points`` is a tensor.

    Raises
    ------
    ValueError
        A point on the rim of the Poincaré ball or outside; an unknown geometry; ``points`` are not (n, dimension).
    """
    geometry = choose(Geometry, geometry, "geometry")
    if not isinstance(points, torch.Tensor):
        points = points.points if isinstance(points, Embedding) else points
        return distances(torch.from_numpy(float64_array(points, "points")), geometry).numpy()
    if points.ndim != 2:
        raise ValueError(f"points has shape {tuple(points.shape)}; it should be (n, dimension)")
    squares = (points * points).sum(1)
    apart = (squares[:, None] + squares[None] - 2 * points @ points.T).clamp_min(0)
    if geometry is Geometry.EUCLIDEAN:
        return torch.sqrt(apart + 1e-12)
    for i in torch.nonzero(~(squares < 1)).flatten().tolist():
        check_inside_the_ball(**{f"points[{i}]": points[i].tolist()})
    room = 1 - squares
    more = 2 * apart / (room[:, None] * room[None])  # arcosh(1 + x) = log(1 + x + √(x (x + 2)))
    return torch.log1p(more + torch.sqrt(more * (more + 2) + 1e-24))


class Embedding(NamedTuple):
    """Points after training, and on the way:
    ``history[i]`` are the points after ``every * i`` steps, (n, dimension)."""

    points: np.ndarray
    history: np.ndarray
    every: int
    loss: float  # mean over the edges, in both directions, at the last step

    @property
    def steps(self) -> int:
        return self.every * (len(self.history) - 1)


@one_thread()
def embed(
    graph: Graph, geometry: Geometry | str, dimension: int, *, steps: int = 300, rate: float | None = None,
    every: int = 10, seed: int = 0,
) -> Embedding:  # fmt: skip
    """Train one point for each node of ``graph``.

    The loss of an edge u–v is −log of e^−d(u,v) against e^−d(u,v') summed over v and all v' that are not u's
    neighbours. All nodes move at once; the first points come from a generator seeded with ``seed``. On one thread: the
    same arguments give the same points on the same kind of processor.

    Parameters
    ----------
    graph : Graph
    geometry : Geometry, or its string value
    dimension : int
    steps : int, a multiple of ``every``
    rate : float, optional
        Learning rate; the course's choice for the geometry unless given.
    every : int
        Keep the points of every so many steps in ``history``.
    seed : int

    Returns
    -------
    Embedding

    Raises
    ------
    ValueError
        An unknown geometry; ``dimension`` below 1; ``steps`` not a positive multiple of ``every``.
    """
    geometry = choose(Geometry, geometry, "geometry")
    if dimension < 1:
        raise ValueError(f"dimension is {dimension}; it should be at least 1")
    if every < 1 or steps < 1 or steps % every:
        raise ValueError(f"steps is {steps}; it should be a positive multiple of every ({every})")
    rate = RATE[geometry] if rate is None else rate
    near = torch.from_numpy(graph.adjacency)
    generator = torch.Generator().manual_seed(seed)
    points = START * (2 * torch.rand(len(graph.nodes), dimension, generator=generator, dtype=torch.float64) - 1)
    history = [points.numpy()]
    for step in range(steps):
        points = points.requires_grad_()
        loss = edge_loss(distances(points, geometry), near)
        (gradient,) = torch.autograd.grad(loss, points)
        pace = rate * (SLOW if step < BURN_IN * steps else 1)
        points = move(points.detach(), gradient, pace, geometry)
        if (step + 1) % every == 0:
            history.append(points.numpy())
    return Embedding(points.numpy(), np.stack(history), every, loss.item() / int(near.sum()))


def edge_loss(apart, near):
    """The loss summed over all edges, in both directions:
    ``apart`` (n, n) distances, ``near`` (n, n) who is a neighbour."""
    itself = torch.eye(len(near), dtype=torch.bool)
    strangers = torch.logsumexp((-apart).masked_fill(near | itself, -math.inf), 1, keepdim=True)  # (n, 1)
    to_neighbour = -apart[near]
    return (torch.logaddexp(to_neighbour, strangers.expand_as(apart)[near]) - to_neighbour).sum()


def move(points, gradient, rate, geometry):
    """One step down the gradient.

    In the ball the metric shrinks it by ((1 − ‖θ‖²) / 2)², and nobody leaves the ball.
    """
    if geometry is Geometry.EUCLIDEAN:
        return points - rate * gradient
    shrink = ((1 - (points * points).sum(1, keepdim=True)) / 2) ** 2
    moved = points - rate * shrink * gradient
    radius = moved.norm(dim=1, keepdim=True)
    return torch.where(radius > 1 - RIM, moved / radius * (1 - RIM), moved)


def mean_average_precision(apart: np.ndarray, near: np.ndarray) -> float:
    """How well distances give the neighbours back, from 0 to 1 (reconstruction).

    For each node, all others are ranked by distance. Its average precision is the mean, over its neighbours, of the
    share of neighbours among all nodes up to and with that one. 1: every node's neighbours are its nearest nodes.

    Parameters
    ----------
    apart : ndarray, (n, n)
        Distances; ties are ranked as if the stranger came first, so that a collapsed embedding earns nothing by luck.
    near : ndarray, (n, n) bool
        Every node needs a neighbour; nobody is his own.
    """
    apart = np.where(np.eye(len(apart), dtype=bool), np.inf, apart)
    order = np.lexsort((near, apart), axis=1)  # by distance, then strangers (False) first; oneself is last
    hits = np.take_along_axis(near, order, axis=1)
    precision = np.cumsum(hits, axis=1) / np.arange(1, len(apart) + 1)
    return float(np.mean((precision * hits).sum(1) / hits.sum(1)))


def reconstruction(points: np.ndarray, graph: Graph, geometry: Geometry | str) -> float:
    """Mean average precision of ``points``, (n, dimension), for ``graph``."""
    return mean_average_precision(distances(np.asarray(points, np.float64), geometry), graph.adjacency)
