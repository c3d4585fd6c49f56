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
from numpy.polynomial import chebyshev
from scipy.interpolate import CubicSpline
from scipy.special import roots_genlaguerre, roots_jacobi

from scorebed.analytic.heat import HeatMixture
from scorebed.solvers import Node, Solver
from scorebed.solvers.base import advance
from scorebed.solvers.model import pointwise
from scorebed.solvers.space import SO3, Box, Hyperbolic, Sphere, Torus

_REACH = 9.0
Observable = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class RadialChain:
    """The coordinate of one target that is symmetric about ``target.means[0]``: the base of its space, or any point of [0, 1].

    Args:
        target: on ``Sphere``, ``SO3``, ``Hyperbolic`` with means at the base, on ``Torus(1)`` with means 0, or on ``Box(1)``.
        points: Chebyshev nodes in the coordinate.
        rule: nodes of the Gauss rules in the length of the noise and in its angle.
    """

    target: HeatMixture
    points: int = 40
    rule: tuple[int, int] = (10, 14)

    @property
    def space(self) -> Any:
        """A space of one of the kinds above."""
        return self.target.space

    @cached_property
    def nodes(self) -> np.ndarray:
        """Chebyshev nodes of u in (-1, 1)."""
        return np.cos(math.pi * (np.arange(self.points) + 0.5) / self.points)

    def radius(self, u: np.ndarray) -> np.ndarray:
        """The distance to the base, on the box the position."""
        if isinstance(self.space, Hyperbolic):
            return _REACH * np.sqrt(0.5 * (1.0 - u))
        angle = np.arccos(np.clip(u, -1.0, 1.0))
        return angle / math.pi if isinstance(self.space, Box) else angle

    def states(self, r: np.ndarray) -> np.ndarray:
        """A point at each radius, all on one ray."""
        if isinstance(self.space, SO3):
            return self.space.group_exp(np.stack([r, 0.0 * r, 0.0 * r], axis=-1))
        if isinstance(self.space, (Box, Torus)):
            return r[:, None]
        cosine, sine = (np.cosh(r), np.sinh(r)) if isinstance(self.space, Hyperbolic) else (np.cos(r), np.sin(r))
        return np.concatenate([np.stack([cosine, sine], axis=-1), np.zeros((len(r), self.space.dim - 1))], axis=-1)

    def coordinate(self, x: np.ndarray) -> np.ndarray:
        """u of points."""
        if isinstance(self.space, SO3):
            return 0.5 * (np.trace(x, axis1=-2, axis2=-1) - 1.0)
        if isinstance(self.space, (Box, Torus)):
            return np.cos(math.pi * x[..., 0] if isinstance(self.space, Box) else x[..., 0])
        if isinstance(self.space, Sphere):
            return x[..., 0]
        r = np.arcsinh(np.linalg.norm(x[..., 1:], axis=-1))
        return 1.0 - 2.0 * np.minimum(r / _REACH, 1.0) ** 2

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
        """Ambient normals whose tangent part at ``states(r)`` has the components z along the ray and across it."""
        a, b = z[:, 0], z[:, 1]
        if isinstance(self.space, SO3):
            return self.space.from_algebra(self.states(r), np.stack([a, b, 0.0 * a], axis=-1)) / math.sqrt(2.0)
        if isinstance(self.space, (Box, Torus)):
            return a[:, None]
        if isinstance(self.space, Hyperbolic):
            along = np.stack([0.0 * a, a], axis=-1)
        else:
            along = np.stack([-np.sin(r) * a, np.cos(r) * a], axis=-1)
        rest = np.zeros((len(r), self.space.dim - 1))
        if self.space.dim > 1:
            rest[:, 0] = b
        return np.concatenate([along, rest], axis=-1)

    @pointwise
    def denoised(self, x: np.ndarray, node: Node) -> np.ndarray:
        """The target's, off a spline of its score in the radius where that is what costs."""
        if isinstance(self.space, (Box, Torus)):
            return self.target.denoised(x, node)
        pole = self.target.means[0]
        r = self.space.distance(x, np.broadcast_to(pole, x.shape))
        axes = (...,) + (None,) * len(self.space.shape)
        return x - (node.sigma**2 * _slope(self, node)(r))[axes] * self.space.log(x, np.broadcast_to(pole, x.shape))

    def operator(self, solver: Solver, s: Node, t: Node) -> np.ndarray:
        """P of one step as a matrix on values at ``nodes``.

        Raises:
            ValueError: a method that draws more than once in a step, in more than one dimension: the second draw has an angle to the first.
        """
        z, w = self.quadrature()
        draws = count_draws(solver, self.target, self.states(self.radius(self.nodes[:1])), s, t)
        if draws > 1 and self.space.dim > 1:
            raise ValueError(f"{solver.name} draws {draws} times in a step: its chain is followed on the line only")
        rules = np.array(np.meshgrid(*[np.arange(len(w))] * draws, indexing="ij")).reshape(draws, -1)
        weights = np.prod(w[rules], axis=0)
        r = np.repeat(self.radius(self.nodes), len(weights))
        values = [self.normals(r, np.tile(z[index], (self.points, 1))) for index in rules]
        seen: dict[tuple[float, float], np.ndarray] = {}

        def noise(s: Node, t: Node) -> np.ndarray:
            return seen.setdefault((s.lam, t.lam), values[len(seen)] if len(seen) < len(values) else values[-1])

        x_t, _ = advance(solver, self.denoised, self.states(r), s, t, None, noise)
        u = self.coordinate(x_t).reshape(self.points, -1)
        basis = chebyshev.chebvander(np.clip(u, -1.0, 1.0), self.points - 1)
        averaged = np.einsum("q,iqk->ik", weights, basis)
        return averaged @ np.linalg.inv(chebyshev.chebvander(self.nodes, self.points - 1))

    def _means(self, f: np.ndarray, node: Node, bridge: HeatMixture | None = None) -> np.ndarray:
        """∫ p f over the exact law at ``node``, times the density of ``bridge``, for each column of values f at ``nodes``."""
        points, weights = np.polynomial.legendre.leggauss(200)
        top = _REACH if isinstance(self.space, Hyperbolic) else 1.0 if isinstance(self.space, Box) else math.pi
        r, w = 0.5 * top * (1.0 + points), 0.5 * top * weights
        x = self.states(r)
        log = self.target.log_prob(x, node) + (0.0 if bridge is None else bridge.log_prob(x))
        law = w * np.exp(log - log.max()) * self._area(r)
        return np.asarray(chebyshev.chebval(self.coordinate(x), self._fit(f)) @ law / law.sum())

    def _area(self, r: np.ndarray) -> np.ndarray:
        if isinstance(self.space, SO3):
            return np.sin(0.5 * r) ** 2
        if isinstance(self.space, (Box, Torus)):
            return np.ones_like(r)
        return (np.sinh(r) if isinstance(self.space, Hyperbolic) else np.sin(r)) ** (self.space.dim - 1)

    def error(self, solver: Solver, grid: Sequence[Node], *observables: Observable) -> float:
        """E f(u) under the method, from the exact law at the first node, minus E f(u) under the exact law at the last.

        Of several observables f the root of the sum of the squares; of one, with its sign. By default f(u) = e^u.
        """
        f = self._observed(observables)
        return length(self._means(self._carried(solver, grid, f), grid[0]) - self._means(f, grid[-1]))

    def errors(self, solver: Solver, grid: Sequence[Node], *observables: Observable) -> tuple[float, float]:
        """``error``, and the same from the mean x_s = μ, in one pass.

        The reverse SDE has the transition density p_t(y) K_h(y, μ)/p_s(μ), h = τ_s − τ_t. What leaves the marginals alone, a Langevin step
        for instance, shows in the second only.
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
def _slope(chain: RadialChain, node: Node) -> CubicSpline:
    """(p'/p)/r as a function of r."""
    top = 1.5 * _REACH if isinstance(chain.space, Hyperbolic) else math.pi
    r = np.linspace(0.0, top, 900)
    x = chain.states(r[1:])
    pole = np.broadcast_to(chain.target.means[0], x.shape)
    score = chain.target.score(x, node)
    slope = -chain.space.inner(x, score, chain.space.log(x, pole)) / r[1:] ** 2
    first = slope[0] + (slope[0] - slope[1]) / 3.0  # even in r
    return CubicSpline(r, np.append(first, slope))


def count_draws(solver: Solver, target: HeatMixture, x: np.ndarray, s: Node, t: Node) -> int:
    """How many intervals a step draws on."""
    asked: set[tuple[float, float]] = set()

    def noise(s: Node, t: Node) -> np.ndarray:
        asked.add((s.lam, t.lam))
        return np.ones_like(x)

    advance(solver, target.denoised, x, s, t, None, noise)
    return max(1, len(asked))
