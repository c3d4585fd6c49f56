r"""The targets on which the properties of spaces look at a method: mixtures of heat kernels.

About one point the flow is exact (``analytic.heat``). About two points it is not closed, and the group elements of a step do not commute;
there the reference is DOP853 at 1e-13 in the ambient coordinates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.integrate import solve_ivp

from scorebed.analytic.heat import HeatMixture
from scorebed.solvers import EDM, Node
from scorebed.solvers.grid import check
from scorebed.solvers.space import SO3, Box, Hyperbolic, Product, Space, Sphere, Torus


@dataclass(frozen=True)
class SpaceCase:
    """A target on a space between two noise levels, with a few states and where the flow takes them."""

    name: str
    target: HeatMixture
    noisy: float = 0.9
    clean: float = 0.15

    @property
    def space(self) -> Space:
        return self.target.space

    @property
    def ends(self) -> tuple[Node, Node]:
        return EDM().node(self.noisy), EDM().node(self.clean)

    def grid(self, n: int) -> list[Node]:
        """n steps between the ends with smoothly varying lengths in sigma."""
        (s, t), u = self.ends, np.arange(n + 1) / n
        u = u + 0.1 * np.sin(2.0 * math.pi * u)
        return check([s, *(EDM().node(s.sigma + (t.sigma - s.sigma) * float(r)) for r in u[1:-1]), t])

    def states(self) -> np.ndarray:
        """A few states, away from the means and from their cut loci."""
        rng = np.random.default_rng(3)
        if self.space.bounded:
            return self.space.uniform(4, rng)
        return np.stack([away(self.space, r, rng) for r in (0.3, 0.9, 1.5, 2.1)])

    def exact(self) -> np.ndarray:
        """The states, carried by the probability flow."""
        return _exact(self.name)


def away(space: Space, distance: float, rng: np.random.Generator) -> np.ndarray:
    """A point at about this distance from the base in a random direction."""
    x = base(space)
    v = space.noise(x, rng.standard_normal(space.shape))
    return np.asarray(space.move(x, (distance / float(space.norm(x, v))) * v))


def base(space: Space) -> np.ndarray:
    """A point of the space: a pole, the identity, the origin, a middle."""
    if isinstance(space, Product):
        return np.asarray(space.join([base(part) for part in space.spaces]))
    if isinstance(space, SO3):
        return np.eye(3)
    first = np.zeros(space.shape)
    if isinstance(space, (Sphere, Hyperbolic)):
        first[0] = 1.0
    return np.asarray(space.project(first + (0.5 if space.bounded else 0.0)))


@cache
def _exact(name: str) -> np.ndarray:
    case = next(one for one in space_cases() if one.name == name)
    s, t = case.ends
    return case.target.flow(case.states(), s, t) if case.target.k == 1 else integrated(case.target, case.states(), s, t)


def integrated(target: HeatMixture, x: np.ndarray, s: Node, t: Node) -> np.ndarray:
    """The flow map by DOP853 at 1e-13 in the ambient coordinates and sigma."""

    def right_side(sigma: float, y: np.ndarray) -> np.ndarray:
        z = target.space.project(y.reshape(x.shape))
        return (-sigma * target.score(z, EDM().node(sigma))).reshape(-1)

    found = solve_ivp(right_side, (s.sigma, t.sigma), x.reshape(-1), method="DOP853", rtol=1e-13, atol=1e-13)
    return np.asarray(target.space.project(found.y[:, -1].reshape(x.shape)))


def target_on(space: Space, k: int) -> HeatMixture:
    """A mixture about k points of this space."""
    rng = np.random.default_rng(7)
    shrink = 0.1 if space.bounded else 1.0  # a box of side 1 is full after a tenth of the time that fills the others
    return HeatMixture(space, [1.0] if k == 1 else [0.6, 0.4], _means(space, k, rng), 0.3 * shrink)


def _means(space: Space, k: int, rng: np.random.Generator) -> np.ndarray:
    if isinstance(space, Product):
        return np.asarray(space.join([_means(part, k, rng) for part in space.spaces]))
    if isinstance(space, Box):
        return space.lower + (0.15 + 0.7 * rng.random((k, space.dim))) * (space.upper - space.lower)
    return np.stack([away(space, 1.2 if space.compact else 0.8, rng) for _ in range(k)])


@cache
def space_cases() -> tuple[SpaceCase, ...]:
    """About one point on every kind of space, and about two where that tells more."""
    spaces = (SO3(), Sphere(2), Sphere(3), Hyperbolic(2), Torus(2), Box(2), Product(SO3(), Box(1)))
    cases = []
    for space in spaces:
        for k in (1, 2) if isinstance(space, (SO3, Sphere, Hyperbolic)) and space.dim in (2, 3) else (1,):
            size = 0.4 if space.bounded else 1.0
            cases.append(SpaceCase(f"{space}, {k} point{'s' * (k > 1)}", target_on(space, k), size * 0.9, size * 0.15))
    return tuple(cases)
