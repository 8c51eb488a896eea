"""Embedding dimension: the same graph in flat and in hyperbolic space, trained on the spot.

It runs ``course_lib.embeddings.embed`` for both geometries and ranks every node's neighbours by distance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from course_lib import plots
from course_lib.embeddings import RIM, Geometry, Graph, class_hierarchy, embed, full_tree, geodesics, reconstruction
from course_lib.numerics import fake_quantize, qparams_from_range
from course_lib.panels.base import Choice, Control, Panel, Slider

STEPS, EVERY, QUICK = 300, 10, 40  # QUICK: steps while a slider moves, where the full training is not there yet
FLOAT = 64
ARC = 24  # points of the arc that an edge is in the disc
CLASSES, TREE, YOURS = "classes", "tree", "yours"
COLORS = {Geometry.EUCLIDEAN: plots.SECOND, Geometry.POINCARE: plots.QUANTIZED}
NAMES = {Geometry.EUCLIDEAN: "Euclidean", Geometry.POINCARE: "Poincaré"}


@dataclass(frozen=True)
class EmbeddingState:
    which: str = CLASSES
    dimension: int = 2
    step: int = STEPS
    bits: int = FLOAT  # of each coordinate


class EmbeddingResult(NamedTuple):
    state: EmbeddingState
    graph: Graph
    points: dict  # geometry -> (n, dimension)
    score: dict  # geometry -> mean average precision of these points
    course: dict  # geometry -> (steps, scores) over training
    visited: dict  # geometry -> {dimension: score after the full training}
    quick: bool


class EmbeddingPanel(Panel):
    """Train one point per node, in Euclidean and in hyperbolic space, and see who finds his neighbours again.

    Parameters
    ----------
    graph : course_lib.embeddings.Graph, optional
        Your own, shown first. Training compares all nodes with all: a few hundred at most.
    **start : values of ``EmbeddingState`` to begin with
    """

    State = EmbeddingState
    name = "embeddings"
    title = "Room for a tree"
    try_this = (
        "From which dimension on is flat space good enough? Back in dimension 2: how many bits does a coordinate need, "
        "in each space, and why so many in the ball?"
    )
    size = (640, 480)
    heavy = True

    def __init__(self, graph: Graph | None = None, **start: object):
        self._graphs = {CLASSES: class_hierarchy(), TREE: full_tree(3, 4)}
        if graph is not None:
            self._graphs[YOURS] = graph
            start = {"which": YOURS, **start}
        self._trained = {}  # (graph, geometry, dimension) -> (Embedding, scores over training)
        super().__init__(**start)

    def controls(self) -> dict[str, Control]:
        names = {CLASSES: "exceptions", TREE: "full tree", YOURS: "your own"}
        return {
            "which": Choice(
                "graph", {f"{names[key]}, {len(one.nodes)} nodes": key for key, one in self._graphs.items()}
            ),
            "dimension": Slider("dimension", 2, 10),
            "step": Slider("training step", 0, STEPS, EVERY),
            "bits": Choice(
                "bits a number",
                {"64, as trained": FLOAT, **{str(bits): bits for bits in (16, 14, 12, 10, 8, 6, 4)}},
                hint="each coordinate rounded to this many bits, after training",
            ),
        }

    # -- compute ---------------------------------------------------------------------------------------------------

    def compute(self, state: EmbeddingState, *, quick: bool = False) -> EmbeddingResult:
        graph = self._graphs[state.which]
        points, score, course, partial = {}, {}, {}, False
        for geometry in Geometry:
            done, scores, short = self._train(state, geometry, quick)
            partial |= short
            at = min(state.step // done.every, len(done.history) - 1)
            points[geometry] = rounded(done.history[at], state.bits, geometry)
            score[geometry] = reconstruction(points[geometry], graph, geometry)
            course[geometry] = done.every * np.arange(len(scores)), scores
        visited = {
            geometry: {
                d: scores[-1]
                for (name, which, d), (_, scores) in self._trained.items()
                if (name, which) == (state.which, geometry)
            }
            for geometry in Geometry
        }
        return EmbeddingResult(state, graph, points, score, course, visited, partial)

    def _train(self, state, geometry, quick):
        """(Embedding, its scores over training, whether this is the short training)."""
        key, graph = (state.which, geometry, state.dimension), self._graphs[state.which]
        if key in self._trained:
            return *self._trained[key], False
        done = embed(graph, geometry, state.dimension, steps=QUICK if quick else STEPS, every=EVERY)
        scores = np.array([reconstruction(points, graph, geometry) for points in done.history])
        if not quick:
            self._trained[key] = done, scores
        return done, scores, quick

    # -- draw ------------------------------------------------------------------------------------------------------

    def build(self, figure: Figure) -> None:
        moving = dict(animated=True)
        self._maps = {}
        for geometry, left in zip(Geometry, (0.01, 0.51)):
            ax = figure.add_axes((left, 0.34, 0.48, 0.525))
            ax.set_aspect("equal")
            ax.axis("off")
            ax.set_xlim(-1.08, 1.08)
            ax.set_ylim(-1.08, 1.08)
            if geometry is Geometry.POINCARE:
                angle = np.linspace(0, 2 * np.pi, 200)
                ax.plot(np.cos(angle), np.sin(angle), color=plots.REAL, linewidth=1.4)
            (edges,) = ax.plot([], [], color=plots.PRUNED, linewidth=1.2, **moving)
            (nodes,) = ax.plot([], [], "o", color=COLORS[geometry], markersize=4.5, **moving)
            names = [
                ax.text(0, 0, "", fontsize=10.5, ha="center", va="bottom", weight="bold", **moving) for _ in range(3)
            ]
            self._maps[geometry] = edges, nodes, names

        self._over_steps = figure.add_axes((0.1, 0.115, 0.38, 0.19))
        self._over_steps.set_xlabel("training step", labelpad=1)
        self._over_steps.set_xlim(-6, STEPS + 6)
        self._over_dimensions = figure.add_axes((0.59, 0.115, 0.38, 0.19))
        self._over_dimensions.set_xlabel("dimension (those you visited)", labelpad=1)
        self._over_dimensions.set_xlim(1.7, 10.3)
        self._over_dimensions.set_xticks([2, 4, 6, 8, 10])
        self._curves, self._visited = {}, {}
        for ax, lines, style in (
            (self._over_steps, self._curves, {}),
            (self._over_dimensions, self._visited, {"marker": "o", "markersize": 6}),
        ):
            ax.set_ylim(0, 1.08)
            ax.set_yticks([0, 0.5, 1])
            for geometry in Geometry:
                (line,) = ax.plot([], [], color=COLORS[geometry], linewidth=2, **style, **moving)
                (here,) = ax.plot(
                    [], [], "o", color=COLORS[geometry], markersize=12, fillstyle="none", markeredgewidth=2.4,
                    clip_on=False, **moving,
                )  # fmt: skip
                lines[geometry] = line, here
        self._over_steps.set_ylabel("MAP")
        self._numbers = {
            geometry: figure.text(
                x, 0.95, "", fontsize=18, weight="bold", color=COLORS[geometry], ha="center", va="center", **moving
            )
            for geometry, x in zip(Geometry, (0.25, 0.75))
        }
        self._note = figure.text(0.5, 0.895, "", fontsize=12, ha="center", va="center", **moving)

    def draw(self, figure: Figure, result: EmbeddingResult) -> None:
        state, graph = result.state, result.graph
        pairs = np.array(graph.edges)
        for geometry, (edges, nodes, names) in self._maps.items():
            flat = shadow(result.points[geometry])
            if geometry is Geometry.EUCLIDEAN:
                flat = flat / max(float(np.abs(flat).max()), 1e-12)
            ways = _ways(result.points[geometry], pairs, geometry, flat)
            gaps = np.full((len(pairs), 1, 2), np.nan)  # after each edge: one line draws them all
            edges.set_data(*np.concatenate([ways, gaps], axis=1).reshape(-1, 2).T)
            nodes.set_data(*flat.T)
            named = hubs(graph, len(names)) if state.which == CLASSES else [0]
            for place, (text, node) in enumerate(zip(names, named)):
                above = place == 0 or flat[node][1] < 0  # the others towards the middle: two at the rim may be close
                text.set_position(flat[node] + (0, 0.03 if above else -0.03))
                text.set_va("bottom" if above else "top")
                text.set_text(graph.nodes[node] if state.which == CLASSES else "root" if state.which == TREE else "")
            for text in names[1:] if state.which != CLASSES else []:
                text.set_text("")
            steps, scores = result.course[geometry]
            line, here = self._curves[geometry]
            line.set_data(steps, scores)
            here.set_data([min(state.step, steps[-1])], [result.score[geometry]])
            line, here = self._visited[geometry]
            line.set_data(*zip(*sorted(result.visited[geometry].items())) if result.visited[geometry] else ([], []))
            here.set_data([state.dimension], [result.score[geometry]])
            self._numbers[geometry].set_text(f"{NAMES[geometry]}: MAP {result.score[geometry]:.3f}")
        self._note.set_text(_note(result))

    def describe(self, result: EmbeddingResult) -> str:
        state = result.state
        return (
            f"{len(result.graph.nodes)} nodes in dimension {state.dimension}, {_note(result)}. Mean average precision: "
            + ", ".join(f"{NAMES[geometry]} {score:.3f}" for geometry, score in result.score.items())
            + "."
        )


def rounded(points, bits, geometry):
    """Coordinates rounded to ``bits`` bits on even steps over their range;
    in the ball, nobody is rounded onto the rim."""
    if bits == FLOAT:
        return points
    reach = 1.0 if geometry is Geometry.POINCARE else float(np.abs(points).max())
    points = fake_quantize(points, qparams_from_range(-reach, reach, bits=bits, scheme="symmetric", dtype=np.float64))
    if geometry is Geometry.POINCARE:
        radius = np.linalg.norm(points, axis=1, keepdims=True)
        points = np.where(radius > 1 - RIM, points / np.maximum(radius, RIM) * (1 - RIM), points)
    return points


def shadow(points):
    """(n, dimension) -> (n, 2): as they are in the plane,
    else their shadow on the two axes along which they spread most."""
    if points.shape[1] == 2:
        return points
    axes = np.linalg.svd(points, full_matrices=False)[2][:2]
    # a sign of one's own, so that nothing flips
    axes = axes * np.sign(axes[:, np.abs(axes).argmax(1)].diagonal())[:, None]
    return points @ axes.T  # about the origin, where the centre of the ball stays


def _ways(points, pairs, geometry, flat):
    """(edges, points of each, 2): arcs in the disc; where more dimensions cast a shadow, its ends are joined."""
    if geometry is Geometry.EUCLIDEAN or points.shape[1] > 2:
        return flat[pairs]
    return geodesics(*points[pairs].swapaxes(0, 1), count=ARC)


def hubs(graph, count):
    """The ``count`` nodes with the most neighbours."""
    return np.argsort(-graph.adjacency.sum(1), kind="stable")[:count]


def _note(result):
    state = result.state
    bits = "64 bits" if state.bits == FLOAT else f"{state.bits} bits"
    step = f"a first {QUICK} steps, then all" if result.quick else f"step {state.step}"
    flat = "" if state.dimension == 2 else ", shadow on two axes"
    return f"{step}; {state.dimension} × {bits} for each node{flat}"
