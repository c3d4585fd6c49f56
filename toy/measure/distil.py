r"""Students of distillation with closed optima, on the line: what each training target leads to, without training.

    teacher chain        f(x, s_i) = the solver's steps from s_i on: the fixed point of consistency distillation
    trained consistency  f(x, s_i) = E[f(y, s_{i+1}) | x_s = x], y the same data and noise at s_{i+1}: the minimiser of consistency training
    stochastic           f(x, s_i) = E[f(x_t, s_{i+1}) | x_s = x] over true reverse steps: the posterior mean, a martingale (SCott)
    affine               the affine map with the two moments of the exact one
    generator            the affine map whose law is nearest in KL

Functions of x are held as cubic splines on a grid wide enough for the law. At the data f is the identity, reached from the last node by
E[x0 | x].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.interpolate import make_interp_spline
from scipy.optimize import minimize
from scipy.special import ndtri

from scorebed.analytic import GaussianMixture
from scorebed.analytic.distance import divergence
from scorebed.solvers import Node, Solver, predicts
from scorebed.solvers.base import advance

_POINTS = 1201
_XI, _WEIGHTS = np.polynomial.hermite_e.hermegauss(40)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()
Function = Callable[[np.ndarray], np.ndarray]


def span(law: GaussianMixture, node: Node) -> np.ndarray:
    """Points of a grid that holds all of a 1-D law at a node."""
    reach = 8.0 * float(np.sqrt(node.alpha**2 * law.covariance()[0, 0] + node.sigma**2))
    return node.alpha * float(law.mean()[0]) + np.linspace(-reach, reach, _POINTS)


def tabulated(x: np.ndarray, y: np.ndarray) -> Function:
    """The cubic spline through (x, y), a straight line outside."""
    spline = make_interp_spline(x, y, k=3)
    slopes = spline.derivative()
    low, high = (float(slopes(end)) for end in (x[0], x[-1]))

    def value(z: np.ndarray) -> np.ndarray:
        inside = np.clip(z, x[0], x[-1])
        return np.asarray(spline(inside) + np.where(z < x[0], low, high) * (z - inside))

    return value


@dataclass(frozen=True)
class Student:
    """f(x, s) at the nodes of a grid, as functions of numbers (n,); ``endpoint`` is the model that ``multistep_consistency`` takes."""

    nodes: tuple[Node, ...]
    at: tuple[Function, ...]

    @property
    def endpoint(self) -> Any:
        """f(x, s), x of shape (..., 1), for s among the nodes.

        Raises:
            ValueError: a node that is none of the grid's.
        """
        known = {node.t: function for node, function in zip(self.nodes, self.at, strict=True)}

        @predicts("endpoint")
        def endpoint(x: np.ndarray, s: Node) -> np.ndarray:
            if s.t not in known:
                raise ValueError(f"{s} is no node of the grid that this student was trained on")
            return known[s.t](np.asarray(x, np.float64))

        return endpoint


def chain(solver: Solver, law: GaussianMixture, nodes: Sequence[Node]) -> Student:
    """f(x, s_i): the deterministic solver's steps from s_i to the last node, and E[x0 | x] there. One-step solvers only."""
    made: list[Function] = [lambda x: np.asarray(law.denoised(x[..., None], nodes[-1]))[..., 0]]
    for s, t in reversed(list(pairwise(nodes))):
        x = span(law, s)
        y, _ = advance(solver, law.denoised, x[:, None], s, t, None, lambda a, b: 0.0)
        made.insert(0, tabulated(x, made[0](np.asarray(y)[:, 0])))
    return _student(nodes, made)


def trained(law: GaussianMixture, nodes: Sequence[Node], stochastic: bool = False) -> Student:
    """The minimiser of consistency training on this grid, or of its stochastic form, by a recursion from the data."""
    made: list[Function] = [lambda x: np.asarray(law.denoised(x[..., None], nodes[-1]))[..., 0]]
    for s, t in reversed(list(pairwise(nodes))):
        x = span(law, s)
        posterior = law.posterior(x[:, None], s)
        scale = np.sqrt(np.asarray(posterior.covariances).reshape(law.k))
        x0 = np.asarray(posterior.means)[:, :, 0, None] + scale[:, None] * _XI  # (n, K, nodes)
        if stochastic:
            h = t.lam - s.lam
            spread = -np.expm1(-2.0 * h)
            centre = t.sigma / s.sigma * np.exp(-h) * x[:, None] + t.alpha * spread * np.asarray(posterior.means)[:, :, 0]
            width = np.sqrt((t.alpha * spread * scale) ** 2 + t.sigma**2 * spread)
            y = centre[..., None] + width[:, None] * _XI
        else:
            keep = t.sigma / s.sigma
            y = keep * x[:, None, None] + (t.alpha - keep * s.alpha) * x0
        value = np.einsum("nk,nkm,m->n", np.asarray(posterior.weights), made[0](y), _WEIGHTS)
        made.insert(0, tabulated(x, value))
    return _student(nodes, made)


def affine(law: GaussianMixture, nodes: Sequence[Node]) -> Student:
    """f(x, s) = m + (√Var x0/√Var x_s)(x − α m): the least squares fit of the exact map's moments, the best affine law."""
    m, v = float(law.mean()[0]), float(law.covariance()[0, 0])

    def at(n: Node) -> Function:
        factor = float(np.sqrt(v / (n.alpha**2 * v + n.sigma**2)))
        return lambda x: m + factor * (x - n.alpha * m)

    return _student(nodes, [at(n) for n in nodes])


def perturbed(student: Any, delta: float) -> Any:
    """An endpoint with a fixed error, delta sin 3x of its output: what an imperfect fit does to chains."""

    @predicts("endpoint")
    def endpoint(x: np.ndarray, s: Node) -> np.ndarray:
        y = student(x, s)
        return y + delta * np.sin(3.0 * y)

    return endpoint


def generator(law: GaussianMixture, nodes: Sequence[Node]) -> Student:
    """f(x, s) = m + c (x − E x_s)/√Var x_s with the (m, c) that make KL(law of f(x_s) ‖ data) least: what DMD at the data makes of an
    affine one-step generator. ``affine`` has the data's moments; this one seeks modes.

    Returns:
        the Student, one affine map of x for each node.
    """

    def at(n: Node) -> Function:
        line = law.marginal(n)
        centre, spread = float(line.mean()[0]), float(np.sqrt(line.covariance()[0, 0]))

        @cache
        def best() -> tuple[float, float]:
            def made(p: np.ndarray) -> float:
                factor = float(np.exp(p[1])) / spread
                means = p[0] + factor * (np.asarray(line.means)[:, 0] - centre)
                return divergence(GaussianMixture(line.weights, means, factor**2 * np.asarray(line.covariances).reshape(-1)), law)

            start = [float(law.mean()[0]), 0.5 * float(np.log(law.covariance()[0, 0]))]
            m, logarithm = minimize(made, start, method="BFGS").x
            return float(m), float(np.exp(logarithm))

        return lambda x: best()[0] + best()[1] * (x - centre) / spread

    return _student(nodes, [at(n) for n in nodes])


def _student(nodes: Sequence[Node], made: list[Function]) -> Student:
    return Student(tuple(nodes), tuple(made))


def prior_w2(f: Function, law: GaussianMixture, sigma: float, n: int = 4001) -> float:
    """W2 between the law of f(x), x ~ N(0, sigma²), and the data, on n equally likely points (f may fall)."""
    u = (np.arange(n) + 0.5) / n
    return float(np.sqrt(np.mean((np.sort(f(sigma * ndtri(u))) - np.asarray(law.quantile(u))) ** 2)))
