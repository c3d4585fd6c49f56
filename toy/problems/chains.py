r"""The exact weak error of methods that move on curved, closed and walled spaces, by the chain of one coordinate.

A weak error is the root mean square of the errors of the means of observables, in the coordinate u of ``problems.radial_law``,

    sphere, SO(3), torus   cos kθ, k = 1, 2, 3, θ the distance from the pole, on the torus each coordinate
    box                    cos kπx, k = 1, 2, 3, each coordinate
    hyperbolic plane       e^{-r²/2s²}, s = ½, 1, 2, r the distance from the pole

started from the exact law at the first node, against the exact law at the last. It comes from the exact law of the chain of one coordinate,
which a method on a product follows by itself where it treats coordinates alike and one by one; else with the noise of all coordinates.
Where there is no such chain (a method that draws twice in a step, in more than one dimension), Monte Carlo, with half of its 95 % interval
as the error of the reference.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np

from scorebed.analytic.heat import HeatMixture, HeatProduct
from scorebed.solvers import Node, Solver, sample
from scorebed.solvers.base import advance
from scorebed.solvers.noise import BrownianNoise
from scorebed.toy.problems.radial_law import Observable, RadialChain, count_draws
from scorebed.toy.problems.walled_chain import WalledChain, followed

ROUND_OFF = 1e-12
"""RMS distance at which the exact flow maps of spaces are trusted: their round trips close to 1e-14."""
RESOLVED = 3e-6
"""How far a weak error at 10 steps is from that of a chain of more nodes, at most; it falls faster than (10/steps)²."""
WALLED = 1e-8
"""The same of a chain on panels, at most at any number of steps."""
PATHS = 2000
"""Of a Monte Carlo error."""


def cosine(k: int, u: np.ndarray) -> np.ndarray:
    """cos kθ of u = cos θ."""
    return np.cos(k * np.arccos(np.clip(u, -1.0, 1.0)))


def bell(s: float, chain: RadialChain, u: np.ndarray) -> np.ndarray:
    """e^{-r²/2s²}."""
    return np.exp(-0.5 * np.square(chain.radius(u) / s))


@dataclass(frozen=True, eq=False)
class Side(RadialChain):
    """The first coordinate of a product on a torus or a box, with the noise of all coordinates: the others stand at 0.3."""

    target: Any

    @property
    def line(self) -> Any:
        """The first factor's space."""
        return self.target.factors[0].space

    def coordinate(self, x: np.ndarray) -> np.ndarray:
        """u of the first coordinate."""
        return super().coordinate(x[..., :1])

    def states(self, r: np.ndarray) -> np.ndarray:
        """A point at each r."""
        return np.concatenate([super().states(r), np.full((len(r), self.space.dim - 1), 0.3)], axis=-1)

    def normals(self, r: np.ndarray, z: np.ndarray) -> np.ndarray:
        """The noise along the coordinate and the rest of it across."""
        rest = np.zeros((len(z), self.space.dim - 1))
        rest[:, 0] = z[:, 1]
        return np.broadcast_to(np.concatenate([z[:, :1], rest], axis=-1), (len(r), len(z), self.space.dim))


@lru_cache(maxsize=32)
def chains(target: Any, draws: int = 1) -> list[RadialChain]:
    """The chains of one coordinate: the radius, or each factor's. Kept, for they keep what they know of their target's scores."""
    if isinstance(target, HeatMixture):
        return [RadialChain(target, points=40 if target.space.compact else 64, rule=(9, 12))]
    return [RadialChain(factor, points=64, rule=(22 if draws == 1 else 10, 2)) for factor in target.factors]


@lru_cache(maxsize=16)
def sides(target: HeatProduct) -> list[RadialChain]:
    """The same of a product whose coordinates share their noise."""
    order = range(len(target.factors))
    turned = [HeatProduct([target.factors[j] for j in sorted(order, key=lambda j, i=i: j != i)]) for i in order]  # type: ignore[misc]
    return [Side(one, points=40, rule=(11, 12)) for one in turned]


def observables(chain: RadialChain | WalledChain) -> list[Observable]:
    """Functions of the chain's coordinate u."""
    if isinstance(chain, RadialChain) and math.isinf(chain.radial.end):
        return [partial(bell, s, chain) for s in (0.5, 1.0, 2.0)]
    return [partial(cosine, k) for k in (1, 2, 3)]


def coupled(solver: Solver, target: HeatProduct, s: Node, t: Node) -> bool:
    """Whether a step of the method lets the noise of one coordinate act on another."""
    x = np.full((1, target.space.dim), 0.3)
    first = np.arange(target.space.dim) == 0
    ends = []
    for other in (0.4, -1.3):
        z = np.where(first, 0.7, other)[None]
        ends.append(advance(solver, target.denoised, x, s, t, None, lambda a, b, z=z: z)[0][0, 0])
    return bool(abs(ends[1] - ends[0]) > 1e-12)


def weak_error(target: Any, solver: Solver, grid: Sequence[Node], seed: int = 0) -> tuple[float, float, int]:
    """(error, error of the reference, paths) of a stochastic method on a target of this module or of its kind; paths 0 where it is exact.

    The target is a ``HeatMixture`` about the base of its space, or a ``HeatProduct`` of such on circles or on [0, 1].

    Returns:
        (error, error of the reference, paths), paths 0 where exact.
    """
    product, (s, t) = isinstance(target, HeatProduct), grid[:2]
    together, draws = product and coupled(solver, target, s, t), count_draws(solver, target, target.sample(1, 0, s), s, t)
    kinked = solver.weak is not None and solver.weak < 1.0
    alone = not together and (product or target.space.dim == 1)
    if (draws > 1 and (kinked or not alone)) or (kinked and together):
        return monte_carlo(target, solver, grid, seed)
    if product:
        traced = [followed(solver, chain) for chain in (sides(target) if together else chains(target, draws))]
        off = [one.error(solver(space=one.space), grid, *observables(one)) / math.sqrt(3.0) for one in traced]
    else:
        off = [_pair(target, solver, tuple(grid))[0]]
    return _rms(off), WALLED if kinked else RESOLVED * (10.0 / (len(grid) - 1)) ** 2, 0


def transition_error(target: HeatMixture, solver: Solver, grid: Sequence[Node]) -> float:
    """The same error from the target's first mean at the start, where the transitions of the reverse SDE are known too.

    Returns:
        the error of the transition from the first mean.

    Raises:
        ValueError: a method that draws more than once in a step, in more than one dimension.
    """
    return _pair(target, solver, tuple(grid))[1]


@lru_cache(maxsize=2048)
def _pair(target: HeatMixture, solver: Solver, grid: tuple[Node, ...]) -> tuple[float, float]:
    """Both errors, from the law and from the point at the start: one pass gives them."""
    one = followed(solver, chains(target)[0])
    law, transition = one.errors(solver(space=one.space), grid, *observables(one))
    return law / math.sqrt(3.0), transition / math.sqrt(3.0)


def monte_carlo(target: Any, solver: Solver, grid: Sequence[Node], seed: int, paths: int = PATHS) -> tuple[float, float, int]:
    """(error, half of its 95 % interval, paths): the same observables over paths from the exact law at the first node."""
    rng = np.random.default_rng(seed)
    x = target.sample(paths, rng, grid[0])
    y = sample(solver, target.denoised, x, grid, terminal="none", noise=BrownianNoise(seed, x.shape))
    y = target.space.project(y)
    off, spread = [], []
    for i, chain in enumerate(chains(target)):
        part = y[..., i : i + 1] if isinstance(target, HeatProduct) else y
        for f in observables(chain):
            values = f(chain.coordinate(part))
            off.append(values.mean() - chain._means(f(chain.nodes)[:, None], grid[-1])[0])
            spread.append(values.var() / paths)
    return _rms(off), 1.96 * math.sqrt(float(np.mean(spread))), paths


def _rms(values: Any) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
