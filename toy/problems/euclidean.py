r"""Named problems: a law with an exact score, a schedule, a range of times, and the exact way from the first node to the last.

A problem answers two questions exactly, for a solver that walks from node s to node t:

    path   where does the probability flow take the state x?   By the closed flow map where there is one, else by ``reference``.
    law    what law does the state have at t?                  In closed form on the Gaussian with the same mean and covariance.

The first judges deterministic solvers, the second stochastic ones too, both without Monte Carlo. On a space other than R^d
(``SpaceProblem``) the distance is that of the space, and the law is looked at through a few observables.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from scorebed.analytic import GaussianMixture, RotatedProduct, from_data
from scorebed.solvers import EDM, VP, Cosine, Node, RectifiedFlow, Schedule, Solver
from scorebed.solvers.grid import make
from scorebed.toy.problems import spaces as on
from scorebed.toy.problems.reference import Reference, integrate

ROUND_OFF = 1e-13
"""Relative error of a closed flow map, as its laws hold it."""


@dataclass(frozen=True)
class Problem:
    """A target and the conditions under which solvers meet it.

    Attributes:
        name: what the command line calls it.
        description: one line for tables and figures.
        make: makes the target; called once, when it is first needed.
        schedule: the noise schedule.
        grid: the name of the default grid, one of ``solvers.GRIDS``.
        start, end: the range of times; None takes the schedule's ``t_max`` and ``t_min``.
        closed: whether ``target.flow`` is closed in form; otherwise the reference is an integration with its own error estimate.
        samples: how many initial states a study draws.
        finest: the most steps that a study refines to.
        solvers: the names of the methods of a study that names none; none takes ``toy.studies.study.DEFAULT``.
    """

    name: str
    description: str
    make: Callable[[], Any]
    schedule: Schedule
    grid: str = "uniform_lam"
    start: float | None = None
    end: float | None = None
    closed: bool = True
    samples: int = 100
    finest: int = 2560
    solvers: tuple[str, ...] = ()

    @cached_property
    def target(self) -> Any:
        """The law of x0: a ``GaussianMixture``, a ``RotatedProduct``, or what has their methods."""
        return self.make()

    @property
    def d(self) -> int:
        return int(self.target.d)

    @property
    def space(self) -> Any:
        """The space of ``solvers.space`` that the states lie in; None is R^d."""
        return None

    @cached_property
    def gaussian(self) -> GaussianMixture:
        """The Gaussian with the target's mean and covariance, on which the law of every Plan's output is known exactly."""
        covariance = np.asarray(self.target.covariance())
        return GaussianMixture(np.ones(1), np.asarray(self.target.mean())[None], (covariance + covariance.T)[None] / 2)

    def nodes(self, n: int, grid: str | None = None) -> list[Node]:
        """The grid of ``n`` steps, by name; None is the problem's own. Kinds that can be are fitted to the target's covariance.

        Raises:
            ValueError: an unknown name, or parameters for which the grid does not exist.
        """
        return list(_nodes(self, n, grid or self.grid))

    @cached_property
    def variances(self) -> tuple[float, ...]:
        """The spectrum of the target's covariance."""
        return tuple(float(v) for v in np.clip(np.linalg.eigvalsh(np.atleast_2d(self.gaussian.covariance())), 0.0, None))

    @cached_property
    def ends(self) -> tuple[Node, Node]:
        """The first and the last node, which all grids share."""
        s, t = self.nodes(1)
        return s, t

    def draw(self, n: int, seed: int = 0) -> np.ndarray:
        """``n`` states at the first node, from its exact marginal; shape (n, d)."""
        return np.asarray(self.target.sample(n, np.random.default_rng(seed), self.ends[0]))

    def exact(self, x: np.ndarray, s: Node, t: Node) -> Reference:
        """Where the probability flow takes ``x`` from s to t, and how well that is known."""
        if self.closed:
            x_t = np.asarray(self.target.flow(x, s, t))
            return Reference(x_t, ROUND_OFF * float(np.sqrt(np.mean(x_t**2))))
        return integrate(self.target.denoised, x, s, t)

    def apart(self, x: np.ndarray, y: np.ndarray) -> float:
        """The RMS distance of the states x from the states y, over all entries."""
        return float(np.sqrt(np.mean(np.square(x - y))))

    def suited(self, solver: Solver) -> Solver:
        """The method as it runs on this problem, under its own name.

        Raises:
            ValueError: a method that does not belong here; the message says which do.
        """
        if "gaussian" not in solver.on:
            raise ValueError(
                f"{solver.name} is made for {', '.join(solver.on)} processes, but {self.name} is a gaussian one: give a method for it"
            )
        if solver.space is not None:
            raise ValueError(
                f"{solver.name} moves in {solver.space}, but {self.name} is a problem of R^{self.d}: give the method without a space"
            )
        if solver.spaces and solver.weak is not None:
            raise ValueError(
                f"{solver.name} moves in a Space and has no Plan, from which its law on R^{self.d} would be known: measure it on a problem "
                f"of a space ({', '.join(name for name, p in PROBLEMS.items() if p.space is not None)})"
            )
        return solver


@lru_cache(maxsize=4096)
def _nodes(problem: Problem, n: int, grid: str) -> tuple[Node, ...]:
    return tuple(make(grid, problem.schedule, n, problem.start, problem.end, variances=problem.variances))


@dataclass(frozen=True)
class SpaceProblem(Problem):
    """A problem on a space other than R^d: its target is a ``HeatMixture`` or ``HeatProduct`` with an exact flow, its schedule
    has alpha = 1.
    """

    @property
    def d(self) -> int:
        return int(self.target.space.dim)

    @property
    def space(self) -> Any:
        return self.target.space

    @cached_property
    def gaussian(self) -> GaussianMixture:
        """The isotropic Gaussian of R^d as wide as the target about its first mean: what grids are fitted to, and nothing else."""
        x = self.target.sample(1000, np.random.default_rng(0))
        parts = getattr(self.target, "factors", (self.target,))
        centre = np.concatenate([part.means[0] for part in parts]) if len(parts) > 1 else parts[0].means[0]
        variance = float(np.mean(np.square(self.space.distance(x, np.broadcast_to(centre, x.shape))))) / self.d
        return GaussianMixture(np.ones(1), np.zeros((1, self.d)), variance * np.eye(self.d)[None])

    def exact(self, x: np.ndarray, s: Node, t: Node) -> Reference:
        """Where the probability flow takes ``x`` from s to t."""
        return Reference(np.asarray(self.target.flow(x, s, t)), on.ROUND_OFF)

    def apart(self, x: np.ndarray, y: np.ndarray) -> float:
        """The RMS of the distances of the states x from the states y."""
        return float(np.sqrt(np.mean(np.square(self.space.distance(x, y)))))

    def suited(self, solver: Solver) -> Solver:
        """The method in the problem's space, under its own name.

        Raises:
            ValueError: a method of R^d, or of other spaces.
        """
        known = ", ".join(self.solvers)
        if not solver.spaces:
            raise ValueError(
                f"{solver.name} is a method of R^d, but {self.name} lies on {self.space}: give methods that move there, e.g. {known}"
            )
        if not solver.claims(self.space) or (solver.space is not None and solver.space.name != self.space.name):
            where = solver.space or "/".join(solver.spaces)
            raise ValueError(
                f"{solver.name} moves in {where}, but {self.name} lies on {self.space}: give methods that move there, e.g. {known}"
            )
        return replace(solver(space=self.space), name=solver.name)


def digits(bandwidth: float = 0.25) -> GaussianMixture:
    """scikit-learn's 1,797 handwritten digits, 8 × 8 pixels in [-1, 1], each the centre of a Gaussian of std ``bandwidth``."""
    from sklearn.datasets import load_digits  # here, for it takes a second

    return from_data(load_digits().data / 8.0 - 1.0, bandwidth)


def _rotated(factors: Sequence[GaussianMixture], seed: int) -> RotatedProduct:
    """The product of 1-D ``factors`` in randomly rotated coordinates."""
    d = len(factors)
    q, r = np.linalg.qr(np.random.default_rng(seed).standard_normal((d, d)))
    return RotatedProduct(q * np.sign(np.diag(r)), factors)


def _line(weights: Sequence[float], means: Sequence[float], stds: Sequence[float]) -> GaussianMixture:
    """A mixture on the line."""
    return GaussianMixture(np.array(weights), np.array(means)[:, None], np.square(stds)[:, None])


def _mixture1d() -> GaussianMixture:
    return _line([0.25, 0.45, 0.3], [-1.4, 0.1, 1.3], [0.15, 0.4, 0.25])


def _product2d() -> RotatedProduct:
    return _rotated([_line([0.35, 0.4, 0.25], [-1.5, 0.1, 1.4], [0.2, 0.3, 0.15]), _line([0.6, 0.4], [-0.7, 0.9], [0.3, 0.25])], seed=4)


def _product8d() -> RotatedProduct:
    rng = np.random.default_rng(8)
    pairs = [(rng.uniform(0.3, 0.7), rng.uniform(0.6, 1.3), rng.uniform(0.2, 0.5, 2)) for _ in range(8)]
    return _rotated([_line([w, 1 - w], [-gap, gap], stds.tolist()) for w, gap, stds in pairs], seed=9)


def _manifold() -> RotatedProduct:
    along = _line([0.3, 0.4, 0.3], [-1.2, 0.0, 1.1], [0.4, 0.3, 0.5])
    across = (_line([1.0], [0.2], [0.02]), _line([0.5, 0.5], [-0.6, 0.6], [0.02, 0.02]))
    return _rotated([along, *across], seed=2)


_CURVED = (
    *("geodesic_euler", "geodesic_heun", "retraction_heun", "rkmk_3", "cf_3", "rkmk_4", "cf_4"),
    *("geodesic_euler_maruyama", "retraction_euler_maruyama", "geodesic_heun_maruyama"),
)
_FLAT = ("geodesic_euler", "geodesic_heun", "geodesic_midpoint", "rkmk_3", "rkmk_4")

PROBLEMS: dict[str, Problem] = {
    p.name: p
    for p in (
        Problem("mixture1d", "3 modes on the line", _mixture1d, VP(), "quadratic"),
        Problem("product2d", "6 modes in the plane, rotated product", _product2d, RectifiedFlow(), "uniform", start=0.98, end=0.01),
        Problem("product8d", "256 modes in 8 dimensions, rotated product", _product8d, Cosine(), "quadratic", start=0.98, samples=50),
        Problem("manifold", "near a line pair in space, std 0.02 across", _manifold, EDM(), "karras"),
        Problem("digits", "1,797 digits, 64 dimensions, bandwidth 0.25", digits, VP(), closed=False, samples=8, finest=320),
        SpaceProblem("sphere", "3 kernels about two poles", on.sphere, EDM(), "karras", 1.2, 0.1, True, 24, 160, _CURVED),
        SpaceProblem("so3", "2 kernels about the identity", on.so3, EDM(), "karras", 1.2, 0.15, True, 24, 160, _CURVED),
        SpaceProblem(
            *("torus", "6 modes, product of two circles", on.torus, EDM(), "karras", 1.2, 0.1, True, 24, 160),
            (*_FLAT, "geodesic_euler_maruyama", "geodesic_walk", "geodesic_heun_maruyama"),
        ),
        SpaceProblem(
            *("box", "6 modes in a square, four at walls", on.box, EDM(), "karras", 0.4, 0.04, True, 24, 160),
            (*_FLAT, "projected_euler", "reflected_euler", "reflected_walk", "reflected_heun"),
        ),
        SpaceProblem("hyperbolic", "2 kernels about one point", on.hyperbolic, EDM(), "karras", 1.0, 0.1, True, 24, 80, _CURVED),
    )
}
"""The problems of the study, by name. ``PROBLEMS["mine"] = Problem("mine", …)`` adds one."""
PLAIN = tuple(name for name, problem in PROBLEMS.items() if not isinstance(problem, SpaceProblem))
"""The problems of R^d, which a study takes that names none."""
