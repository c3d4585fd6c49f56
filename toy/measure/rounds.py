r"""Distillation in rounds, on the line: towers that halve their steps, and reflow, whose pairs are made by the round before.

    progressive    a student's step is two of the round before (Salimans & Ho, arXiv:2202.00512, Alg. 2)
    reflow         v_1 = dx/dt of the probability flow; T_k the run of v_k in N steps; v_{k+1} that of straight paths between z and T_k(z)
                   (Liu, Gong & Liu, arXiv:2209.03003, Alg. 1)

Fits are exact, or off by an ``error`` of each. T_k is increasing, since Euler's steps and the flow are, so paths do not cross and v_2 makes
T_1 in any number of steps: the first reflow pays for all, a later one keeps what there is, and errors of fits add up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from scorebed.analytic import GaussianMixture
from scorebed.analytic.process.maps import FlowMap
from scorebed.solvers import SOLVERS, Node, Solver, predicts
from scorebed.solvers.base import advance
from scorebed.toy.measure.distil import Function, span, tabulated

Model = Callable[..., Any]


def run(solver: Solver, model: Model, x: np.ndarray, nodes: Sequence[Node]) -> np.ndarray:
    """Where a deterministic one-step method takes numbers (n,) along the nodes."""
    y = x[:, None]
    for s, t in pairwise(nodes):
        y, _ = advance(solver, model, y, s, t, None, lambda a, b: 0.0)
    return np.asarray(y)[:, 0]


def tower(solver: Solver, law: GaussianMixture, nodes: Sequence[Node], error: Function | None = None) -> list[list[Function]]:
    """Progressive distillation: the steps of the teacher, and of the student after each round, which halves their number.

    A student's step is two of the round before, through ``error`` where its fit is not exact. With steps off by a factor 1 + δ each a round
    makes e of it into 2 e + 1, so that after r rounds a step is off by (1 + δ)^{2^r − 1}, and one step in place of N by (1 + δ)^{N − 1}.

    Returns:
        step functions of each round, the teacher's first, half as many each round.

    Raises:
        ValueError: a number of steps that is no power of 2.
    """
    n = len(nodes) - 1
    if n < 1 or n & (n - 1):
        raise ValueError(f"nodes has {n} steps: give a power of 2")
    rounds, starts, wrong = [], list(nodes[:-1]), error or (lambda y: y)
    steps: list[Function] = []
    for s, t in pairwise(nodes):
        x = span(law, s)
        steps.append(tabulated(x, run(solver, law.denoised, x, [s, t])))
    rounds.append(steps)
    while len(steps) > 1:
        starts = starts[::2]
        points = [span(law, s) for s in starts]
        steps = [tabulated(x, wrong(b(a(x)))) for x, a, b in zip(points, steps[::2], steps[1::2], strict=True)]
        rounds.append(steps)
    return rounds


def progressive(solver: Solver, law: GaussianMixture, nodes: Sequence[Node], error: Function | None = None) -> Model:
    """f(x, s, t) of the tower for neighbours of the grid and of each round's, as the map that ``flow_map`` takes.

    Returns:
        the Model f(x, s, t), exact or fitted, on grid and round neighbours.

    Raises:
        ValueError: on the call, two nodes that are no step of any round.
    """
    known: dict[tuple[float, float], Function] = {}
    for r, steps in enumerate(tower(solver, law, nodes, error)):
        for (s, t), step in zip(pairwise(nodes[:: 2**r]), steps, strict=True):
            known[s.t, t.t] = step

    @predicts("map")
    def student(x: np.ndarray, s: Node, t: Node) -> np.ndarray:
        if (s.t, t.t) not in known:
            raise ValueError(f"{s} to {t} is no step of a round: give every 2^r-th node of the grid")
        return known[s.t, t.t](np.asarray(x, np.float64))

    return student


def straight(z: np.ndarray, y: np.ndarray, s: Node, t: Node) -> Model:
    """v(x, u) of the straight paths between the pairs (z, y), (n,) each, z at s and y at t; z increasing.

    Returns:
        the Model v(x, u), velocities of the shape of x.

    Raises:
        ValueError: on the call, paths that cross before u.
    """
    known: dict[float, Function] = {}

    def velocity(x: np.ndarray, u: Node) -> np.ndarray:
        if u.t not in known:
            w = (u.t - t.t) / (s.t - t.t)
            at = w * z + (1.0 - w) * y
            if not (np.diff(at) > 0.0).all():
                raise ValueError(f"the paths between the pairs cross before {u}: their velocity there is a mean over several")
            known[u.t] = tabulated(at, (z - y) / (s.t - t.t))
        return known[u.t](np.asarray(x, np.float64))

    return velocity


def reflow(law: GaussianMixture, nodes: Sequence[Node], rounds: int, error: Function | None = None) -> list[Model]:
    """v_1, …, v_rounds, models that ``reflow`` takes; v_1 is exact, the pairs of v_{k+1} are runs of v_k along ``nodes``, and its values
    go through ``error`` where its fit is not exact.

    Of one step and fits off by a factor 1 + δ, T_k − 1 is (1 + δ)^{k−1} times that of the first on a Gaussian without a mean.

    Returns:
        the Models v_1, …, v_rounds.

    Raises:
        ValueError: fewer than one round; paths that cross.
    """
    if rounds < 1:
        raise ValueError(f"rounds = {rounds}: give at least 1")
    wrong = error or (lambda v: v)
    first = FlowMap(law)
    out: list[Model] = [predicts("velocity")(lambda x, u: first.velocity(x, u))]
    z = span(law, nodes[0])
    while len(out) < rounds:
        v = straight(z, run(SOLVERS["reflow"], out[-1], z, nodes), nodes[0], nodes[-1])
        out.append(predicts("velocity")(lambda x, u, v=v: wrong(v(x, u))))
    return out
