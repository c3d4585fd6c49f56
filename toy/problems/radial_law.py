r"""Weak errors of methods on spaces without Monte Carlo: the exact law of a radial chain.

A target symmetric about a point, with isotropic noise, makes the distance to that point a Markov chain of its own, whatever the space. Its
transition operator acts on functions of one coordinate u,

    (P f)(u) = E f(u(x_t)),    x_t one step of the method from a point x at u with the noise z,

and z enters by its length and by its angle to the ray, so that E is a Gauss rule in two variables (Laguerre in |z|²/2, Gegenbauer in the
cosine), with the method's own step run on its nodes. Functions are Chebyshev interpolants in

    S^d, SO(3)   u = cos of the angle        box [0, 1]   u = cos(pi x)        circle   u = cos        H^d   u = 1 - 2 (r/R)², r <= R

of which every smooth function that is even where the space is reflected or closed is a smooth function. Applied backwards from an
observable at the end and integrated over the exact law at the start, it gives the mean of the observable under the method to about 1e-11.
Started from the mean itself it gives the transitions, whose exact law is known too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import scipy
from numpy.polynomial import chebyshev
from scipy.special import roots_genlaguerre, roots_jacobi

from scorebed.analytic.heat import HeatMixture
from scorebed.analytic.heat.radial import Radial, radial_of
from scorebed.solvers import Node, Solver
from scorebed.solvers.base import advance
from scorebed.solvers.model import pointwise

_REACH = 9.0
Observable = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class RadialChain:
    """The coordinate of one target that is symmetric about the pole of its space, or on an interval.

    Args:
        target: with means at the pole of a space that has a ``radial_of``; anywhere in an interval.
        points: Chebyshev nodes in the coordinate.
        rule: nodes of the Gauss rules in the length of the noise and in its angle.
    """

    target: HeatMixture
    points: int = 40
    rule: tuple[int, int] = (10, 14)

    @property
    def space(self) -> Any:
        """Where the target lies."""
        return self.target.space

    @property
    def line(self) -> Any:
        """The space of the coordinate's own: its points are the first entries of a state."""
        return self.space

    @cached_property
    def radial(self) -> Radial:
        """The distance from the pole.

        Raises:
            TypeError: a space in which directions differ.
        """
        radial = radial_of(self.line)
        if radial is None:
            raise TypeError(
                f"{self.line} has no radial coordinate: give a space that looks the same in all directions, or of one dimension"
            )
        return radial

    @cached_property
    def nodes(self) -> np.ndarray:
        """Chebyshev nodes of u in (-1, 1)."""
        return np.cos(math.pi * (np.arange(self.points) + 0.5) / self.points)

    @property
    def top(self) -> float:
        """The largest r that is looked at."""
        return min(self.radial.end, _REACH)

    def radius(self, u: np.ndarray) -> np.ndarray:
        """The distance to the pole, on the box the position."""
        if math.isinf(self.radial.end):
            return _REACH * np.sqrt(0.5 * (1.0 - u))
        return np.arccos(np.clip(u, -1.0, 1.0)) * (self.radial.end / math.pi)

    @cached_property
    def _rays(self) -> np.ndarray:
        """Orthonormal tangent vectors at the pole: along the ray, and one across it where there is one; (1 or 2, *shape)."""
        space, pole = self.line, self.radial.pole
        made = space.noise(pole, np.eye(pole.size).reshape(-1, *pole.shape))
        first = made[np.argmax(space.norm(pole, made) > 0.5)]
        along = first / space.norm(pole, first)
        if space.dim == 1:
            return along[None]
        left = made - space.inner(pole, made, along[None])[(..., *(None,) * pole.ndim)] * along
        second = left[np.argmax(space.norm(pole, left) > 0.5)]
        return np.stack([along, second / space.norm(pole, second)])

    def states(self, r: np.ndarray) -> np.ndarray:
        """A point at each radius, all on one ray."""
        v = r[(..., *(None,) * self.radial.pole.ndim)] * self._rays[0]
        return np.asarray(self.line.exp(np.broadcast_to(self.radial.pole, v.shape), v))

    def coordinate(self, x: np.ndarray) -> np.ndarray:
        """u of points."""
        r = self.line.distance(np.broadcast_to(self.radial.pole, x.shape), x)
        if math.isinf(self.radial.end):
            return 1.0 - 2.0 * np.minimum(r / _REACH, 1.0) ** 2
        return np.cos(r * (math.pi / self.radial.end))

    def quadrature(self) -> tuple[np.ndarray, np.ndarray]:
        """(a, b), weights: normals along the ray and across it, (q, 2), of a standard normal in the dimension of the space."""
        d = self.space.dim
        y, wy = roots_genlaguerre(self.rule[0], 0.5 * d - 1.0)
        c, wc = (np.array([-1.0, 1.0]), np.ones(2)) if d == 1 else roots_jacobi(self.rule[1], 0.5 * (d - 3), 0.5 * (d - 3))
        length, cosine = np.meshgrid(np.sqrt(2.0 * y), c, indexing="ij")
        weights = np.outer(wy / wy.sum(), wc / wc.sum()).reshape(-1)
        sine = np.sqrt(np.maximum(1.0 - cosine * cosine, 0.0))
        return np.stack([length * cosine, length * sine], axis=-1).reshape(-1, 2), weights

    def normals(self, r: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Ambient normals (len(r), q, *shape) whose tangent parts at ``states(r)`` have the components z (q, 2), along the ray and across.

        noise(x, ·) is an isometry off its kernel, so its adjoint gives the normal of a tangent vector v: ⟨noise(x, e_i), v⟩ for each i.

        Returns:
            (len(r), q, *shape) ambient normals.
        """
        x, pole, space = self.states(r), self.radial.pole, self.line
        made = space.noise(x[:, None], np.eye(pole.size).reshape(-1, *pole.shape))
        out = np.zeros((len(r), len(z), *pole.shape))
        for part, ray in zip(z.T, self._rays, strict=False):
            v = space.transport(np.broadcast_to(pole, x.shape), x, np.broadcast_to(ray, x.shape))
            normal = space.inner(x[:, None], made, v[:, None]).reshape(x.shape)
            out += part[(None, ..., *(None,) * pole.ndim)] * normal[:, None]
        return out

    @pointwise
    def denoised(self, x: np.ndarray, node: Node) -> np.ndarray:
        """The target's, off a spline of its score in the radius where that is what costs."""
        if self.line.dim == 1:
            return self.target.denoised(x, node)
        pole = self.target.means[0]
        r = self.space.distance(x, np.broadcast_to(pole, x.shape))
        axes = (...,) + (None,) * len(self.space.shape)
        return x - (node.sigma**2 * _slope(self, node)(r))[axes] * self.space.log(x, np.broadcast_to(pole, x.shape))

    def operator(self, solver: Solver, s: Node, t: Node) -> np.ndarray:
        """P of one step as a matrix on values at ``nodes``.

        Returns:
            P, (points, points), on values at ``nodes``.

        Raises:
            ValueError: a method that draws more than once in a step, in more than one dimension: the second draw has an angle to the first.
        """
        z, w = self.quadrature()
        draws = count_draws(solver, self.target, self.states(self.radius(self.nodes[:1])), s, t)
        if draws > 1 and self.space.dim > 1:
            raise ValueError(f"{solver.name} draws {draws} times in a step: its chain is followed on the line only")
        rules = np.array(np.meshgrid(*[np.arange(len(w))] * draws, indexing="ij")).reshape(draws, -1)
        weights = np.prod(w[rules], axis=0)
        r = self.radius(self.nodes)
        x = np.repeat(self.states(r), len(weights), axis=0)
        values = [self.normals(r, z[index]).reshape(x.shape) for index in rules]
        seen: dict[tuple[float, float], np.ndarray] = {}

        def noise(s: Node, t: Node) -> np.ndarray:
            return seen.setdefault((s.lam, t.lam), values[len(seen)] if len(seen) < len(values) else values[-1])

        x_t, _ = advance(solver, self.denoised, x, s, t, None, noise)
        u = self.coordinate(x_t).reshape(self.points, -1)
        basis = chebyshev.chebvander(np.clip(u, -1.0, 1.0), self.points - 1)
        averaged = np.einsum("q,iqk->ik", weights, basis)
        return averaged @ np.linalg.inv(chebyshev.chebvander(self.nodes, self.points - 1))

    def _means(self, f: np.ndarray, node: Node, bridge: HeatMixture | None = None) -> np.ndarray:
        """∫ p f over the exact law at ``node``, times the density of ``bridge``, for each column of values f at ``nodes``."""
        points, weights = np.polynomial.legendre.leggauss(200)
        r, w = 0.5 * self.top * (1.0 + points), 0.5 * self.top * weights
        x = self.states(r)
        log = self.target.log_prob(x, node) + (0.0 if bridge is None else bridge.log_prob(x))
        law = w * np.exp(log - log.max() + self.radial.log_area(r))
        return np.asarray(chebyshev.chebval(self.coordinate(x), self._fit(f)) @ law / law.sum())

    def error(self, solver: Solver, grid: Sequence[Node], *observables: Observable) -> float:
        """E f(u) under the method, from the exact law at the first node, minus E f(u) under the exact law at the last.

        Of several observables f the root of the sum of the squares; of one, with its sign. By default f(u) = e^u.

        Returns:
            the weak error, with its sign for one observable, else a root sum of squares.
        """
        f = self._observed(observables)
        return length(self._means(self._carried(solver, grid, f), grid[0]) - self._means(f, grid[-1]))

    def errors(self, solver: Solver, grid: Sequence[Node], *observables: Observable) -> tuple[float, float]:
        """``error``, and the same from the mean x_s = μ, in one pass.

        The reverse SDE has the transition density p_t(y) K_h(y, μ)/p_s(μ), h = τ_s − τ_t. What leaves the marginals alone, a Langevin step
        for instance, shows in the second only.

        Returns:
            (error of the marginal, error from the mean x_s = μ).
        """
        f = self._observed(observables)
        carried = self._carried(solver, grid, f)
        start = chebyshev.chebval(self.coordinate(self.target.means[:1]), self._fit(carried))[:, 0]
        bridge = HeatMixture(self.space, [1.0], self.target.means[:1], grid[0].sigma ** 2 - grid[-1].sigma ** 2)
        marginal = self._means(carried, grid[0]) - self._means(f, grid[-1])
        return length(marginal), length(start - self._means(f, grid[-1], bridge))

    def _observed(self, observables: Sequence[Observable]) -> np.ndarray:
        return np.stack([observable(self.nodes) for observable in observables or (np.exp,)], axis=-1)

    def _carried(self, solver: Solver, grid: Sequence[Node], f: np.ndarray) -> np.ndarray:
        for s, t in reversed(list(pairwise(grid))):
            f = self.operator(solver, s, t) @ f
        return f

    def _fit(self, f: np.ndarray) -> np.ndarray:
        return np.linalg.solve(chebyshev.chebvander(self.nodes, self.points - 1), f)


def length(off: np.ndarray) -> float:
    """The norm of several errors; one keeps its sign."""
    return float(off[0]) if len(off) == 1 else float(np.linalg.norm(off))


@lru_cache(maxsize=512)
def _slope(chain: RadialChain, node: Node) -> scipy.interpolate.CubicSpline:
    """(p'/p)/r as a function of r."""
    r = np.linspace(0.0, min(chain.radial.end, 1.5 * _REACH), 900)
    x = chain.states(r[1:])
    pole = np.broadcast_to(chain.target.means[0], x.shape)
    score = chain.target.score(x, node)
    slope = -chain.space.inner(x, score, chain.space.log(x, pole)) / r[1:] ** 2
    first = slope[0] + (slope[0] - slope[1]) / 3.0  # even in r
    return scipy.interpolate.CubicSpline(r, np.append(first, slope))


def count_draws(solver: Solver, target: HeatMixture, x: np.ndarray, s: Node, t: Node) -> int:
    """How many intervals a step draws on."""
    asked: set[tuple[float, float]] = set()

    def noise(s: Node, t: Node) -> np.ndarray:
        asked.add((s.lam, t.lam))
        return np.ones_like(x)

    advance(solver, target.denoised, x, s, t, None, noise)
    return max(1, len(asked))
