"""Problems of guidance: a class and all the data, their models, and the law that guidance of a scale means, p_c^w p_u^{1 − w}/Z."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from scorebed.analytic import GaussianMixture
from scorebed.analytic.gaussian.tilt import geometric, of_class
from scorebed.solvers import VP, Node, Schedule, grid

Floats = np.ndarray
_POINTS, _REACH = 8001, 8.0


@dataclass(frozen=True)
class LineLaw:
    """A law on the line by its density at equally spaced points.

    Attributes:
        x, density: points and values, which add up to 1 with the spacing.
    """

    x: Floats
    density: Floats

    @cached_property
    def distribution(self) -> Floats:
        """F at the points."""
        steps = 0.5 * (self.density[1:] + self.density[:-1]) * np.diff(self.x)
        return np.concatenate([[0.0], np.cumsum(steps)])

    def cdf(self, x: Floats) -> Floats:
        """P(X <= x)."""
        return np.interp(x, self.x, self.distribution, left=0.0, right=1.0)

    def expect(self, f: Any) -> float:
        """E f(X)."""
        return float(np.trapezoid(self.density * f(self.x), self.x))


@dataclass(frozen=True)
class GuidedProblem:
    """A class in the data on the line.

    Attributes:
        given, null: laws of the class, and of what guidance goes away from.
        schedule, start, end: of the grids, uniform in λ.
    """

    name: str
    description: str
    given: GaussianMixture
    null: GaussianMixture
    schedule: Schedule = VP()  # noqa: RUF009
    start: float = 1.0
    end: float = 0.01

    def nodes(self, n: int) -> list[Node]:
        """A grid of n steps."""
        return grid.uniform_lam(self.schedule, n, self.start, self.end)

    @property
    def points(self) -> Floats:
        """Where laws on the line are looked at."""
        reach = _REACH * float(np.sqrt(self.null.covariance()[0, 0]))
        return np.linspace(-reach, reach, _POINTS) + float(self.null.mean()[0])

    def meant(self, scale: float) -> LineLaw:
        """p_c^w p_u^{1 − w}/Z, by quadrature.

        Returns:
            the LineLaw of the guided density.

        Raises:
            ValueError: a scale at which it cannot be normalised.
        """
        x = self.points
        log = scale * self.given.log_prob(x[:, None]) + (1.0 - scale) * self.null.log_prob(x[:, None])
        density = np.exp(log - log.max())
        if max(density[0], density[-1]) > 1e-6:
            raise ValueError(f"scale = {scale!r}: p_c^w p_u^(1 − w) has no finite mass here; give another scale")
        return LineLaw(x, density / np.trapezoid(density, x))


@dataclass(frozen=True)
class GuidedPlane(GuidedProblem):
    """The same in the plane; for two Gaussians what was meant is a Gaussian."""

    def meant_law(self, scale: float) -> GaussianMixture:
        """∏ of powers.

        Returns:
            the GaussianMixture that is the product of powers.

        Raises:
            ValueError: mixtures.
        """
        return geometric([self.given, self.null], [scale, 1.0 - scale])

    def start_states(self, n: int) -> Floats:
        """Even points of N(0, σ²) at the first node, (n, 2)."""
        from scipy.special import ndtri

        return self.nodes(1)[0].sigma * np.asarray(ndtri(_even(n)))

    def mesh(self, points: int = 401) -> tuple[Floats, Floats]:
        """Where densities of the plane are looked at: both axes."""
        centre, spread = np.asarray(self.null.mean()), 0.625 * _REACH * np.sqrt(np.diag(self.null.covariance()))
        x, y = (m + s * np.linspace(-1.0, 1.0, points) for m, s in zip(centre, spread, strict=True))
        return x, y

    def meant_density(self, scale: float) -> Floats:
        """p_c^w p_u^{1 − w}/Z on the mesh, (points, points), the first axis first.

        Returns:
            (points, points) density on the mesh, of mass 1.

        Raises:
            ValueError: as ``meant``.
        """
        x, y = self.mesh()
        at = np.stack(np.meshgrid(x, y, indexing="ij"), -1).reshape(-1, 2)
        log = (scale * self.given.log_prob(at) + (1.0 - scale) * self.null.log_prob(at)).reshape(len(x), len(y))
        density = np.exp(log - log.max())
        if max(density[[0, -1]].max(), density[:, [0, -1]].max()) > 1e-6:
            raise ValueError(f"scale = {scale!r}: p_c^w p_u^(1 − w) has no finite mass here; give another scale")
        return np.asarray(density / (density.sum() * (x[1] - x[0]) * (y[1] - y[0])))

    def meant_states(self, scale: float, n: int) -> Floats:
        """Even points of what was meant, (n, 2): by the distribution of the first coordinate, and that of the second given the first."""
        x, y = self.mesh()
        density, u = self.meant_density(scale), _even(n, seed=1)
        first = _primitive(density.sum(1)[None])[0]
        out = np.empty((n, 2))
        out[:, 0] = np.interp(u[:, 0], first / first[-1], x)
        place = np.clip((out[:, 0] - x[0]) / (x[1] - x[0]), 0.0, len(x) - 1.001)
        low = place.astype(int)
        share = (place - low)[:, None]
        rows = _primitive((1.0 - share) * density[low] + share * density[low + 1])
        out[:, 1] = [np.interp(v, row / row[-1], y) for v, row in zip(u[:, 1], rows, strict=True)]
        return out


def _even(n: int, seed: int = 0) -> Floats:
    """Even points of the unit square, (n, 2)."""
    from scipy.stats import qmc

    return np.asarray(qmc.Sobol(2, seed=seed).random(n))


def _primitive(rows: Floats) -> Floats:
    """Running integrals of each row by trapezoids."""
    sums = np.cumsum(0.5 * (rows[:, 1:] + rows[:, :-1]), axis=1)
    return np.concatenate([np.zeros((len(rows), 1)), sums], axis=1)


def _modes() -> tuple[GaussianMixture, GaussianMixture]:
    whole = GaussianMixture([0.25, 0.25, 0.5], [[0.8], [1.6], [-1.0]], [0.05, 0.1, 0.2])
    return of_class(whole, [0, 1]).law, whole


def _plane_modes() -> tuple[GaussianMixture, GaussianMixture]:
    means = [[0.9, 0.5], [0.2, 1.3], [-0.9, 0.2], [0.3, -0.9]]
    turned = [[[0.1, 0.06], [0.06, 0.08]], [[0.06, -0.02], [-0.02, 0.05]], [[0.12, 0.0], [0.0, 0.2]], [[0.25, 0.08], [0.08, 0.1]]]
    whole = GaussianMixture([0.2, 0.2, 0.3, 0.3], means, turned)
    return of_class(whole, [0, 1]).law, whole


GUIDED: dict[str, GuidedProblem] = {
    p.name: p
    for p in (
        GuidedProblem("gaussian", "N(½, ¼) in N(0, 1)", GaussianMixture([1.0], [[0.5]], 0.25), GaussianMixture([1.0], [[0.0]], 1.0)),
        GuidedProblem("classes", "a class of two modes in three", *_modes()),
        GuidedPlane(
            "plane",
            "a turned Gaussian in a round one",
            GaussianMixture([1.0], [[0.8, 0.4]], [[[0.35, 0.15], [0.15, 0.2]]]),
            GaussianMixture([1.0], [[0.0, 0.0]], 1.0),
        ),
        GuidedPlane("modes", "a class of two modes in four, in the plane", *_plane_modes()),
    )
}
"""By name."""


def scales(values: Sequence[float]) -> list[float]:
    """Guidance scales, sorted, each once.

    Returns:
        the distinct scales, ascending.

    Raises:
        ValueError: not finite.
    """
    if not all(np.isfinite(values)):
        raise ValueError(f"scales = {list(values)}: give finite numbers")
    return sorted(set(map(float, values)))
