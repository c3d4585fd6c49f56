r"""The exact law of what a stochastic solver returns in one dimension: a transfer operator on grids, no Monte Carlo.

    result = law(SOLVERS["ddpm"], target, grid.uniform_lam(VP(), 20))
    result.density(x), result.cdf(x), result.moment(4), result.expect(np.cos)

How it is computed is said in ``measure.ensemble``. ``weak_errors`` measures weak orders with it: errors of any moment, without sampling.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.interpolate import CubicHermiteSpline, make_interp_spline
from scipy.special import ndtr

from scorebed.analytic import GaussianMixture
from scorebed.solvers import Node, Solver, trace
from scorebed.solvers.sample import check_mark
from scorebed.toy.measure.ensemble import POINTS, Ensemble, TooCoarse


@dataclass(frozen=True)
class Law:
    """Σ_i weights_i N(points_i, s²); with s = 0 the pushed-forward points of a quadrature, whose density is known at the points.

    Attributes:
        points, weights: quadrature points of the law and their probabilities, sorted by point.
        s: standard deviation of the last noise.
        at_points: density at the points where s = 0, or None where the last map is not monotone.
    """

    points: np.ndarray
    weights: np.ndarray
    s: float
    at_points: np.ndarray | None = field(default=None, repr=False)

    def expect(self, f: Callable[[np.ndarray], np.ndarray], nodes: int = 64) -> float:
        """E f(x), by the quadrature of the law (and Gauss-Hermite in the last noise)."""
        if self.s == 0.0:
            return float(self.weights @ f(self.points))
        xi, w = _hermite(nodes)
        return float(sum(wi * (self.weights @ f(self.points + self.s * z)) for z, wi in zip(xi, w, strict=True)))

    def moment(self, k: int) -> float:
        """E x^k."""
        return self.expect(lambda x: x**k)

    @property
    def mean(self) -> float:
        return self.moment(1)

    @property
    def variance(self) -> float:
        mean = self.mean
        return self.expect(lambda x: (x - mean) ** 2)

    @cached_property
    def _spline(self) -> Any:
        if self.at_points is None:
            raise ValueError("the last map of this run is not monotone: its law has moments and a distribution function, but no density")
        keep = self.at_points > 1e-15 * self.at_points.max()
        return make_interp_spline(self.points[keep], np.log(self.at_points[keep]), k=5)

    @cached_property
    def _primitive(self) -> Any:
        """The distribution function where the last map is monotone: its points are those of a uniform grid, moved."""
        i = np.arange(len(self.points))
        total = make_interp_spline(i, self.weights, k=5).antiderivative()(i)
        return CubicHermiteSpline(self.points, total / total[-1], self.at_points)

    def density(self, x: np.ndarray) -> np.ndarray:
        """The density at points x, zero where there is no mass."""
        x = np.asarray(x, np.float64)
        if self.s == 0.0:
            inside = (x >= self._spline.t[0]) & (x <= self._spline.t[-1])
            return np.where(inside, np.exp(self._spline(np.where(inside, x, self._spline.t[0]))), 0.0)
        return self._mix(x, lambda z: np.exp(-0.5 * z * z) / (math.sqrt(2 * math.pi) * self.s))

    def cdf(self, x: np.ndarray) -> np.ndarray:
        """P(X <= x)."""
        x = np.asarray(x, np.float64)
        if self.s > 0.0:
            return self._mix(x, ndtr)
        if self.at_points is not None:
            return np.where(x <= self.points[0], 0.0, np.where(x >= self.points[-1], 1.0, np.clip(self._primitive(x), 0.0, 1.0)))
        total = np.cumsum(self.weights)
        middle = total - 0.5 * self.weights  # half of a point's mass lies to its left
        return np.interp(x, self.points, middle, left=0.0, right=1.0)

    def _mix(self, x: np.ndarray, f: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        flat, out = x.ravel(), np.empty(x.size)
        for i in range(0, flat.size, 256):
            out[i : i + 256] = f((flat[i : i + 256, None] - self.points) / self.s) @ self.weights
        return out.reshape(x.shape)


def _hermite(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of a standard normal."""
    z, w = np.polynomial.hermite_e.hermegauss(n)
    return z, w / w.sum()


def law(
    solver: Solver,
    target: GaussianMixture,
    grid: Sequence[Node],
    *,
    initial: Literal["exact", "prior"] = "exact",
    terminal: str = "none",
    model: Callable[..., Any] | None = None,
    refine: float = 1.0,
) -> Law:
    """The exact law of the solver's output, started from the exact marginal of the target at the first node, or from N(0, sigma²).

    Args:
        target: a mixture in one dimension.
        initial, terminal: how the run begins, and its terminal rule as in ``sample``.
        model: what the solver is given, of (x, node), or of (x, s, t) where it takes a map; by default E[x0 | x] of the target.
        refine: how many times finer the grids are than smooth denoisers need; a map that is steep between two modes needs 10 or more.

    Returns:
        the Law of the output.

    Raises:
        ValueError: a target of another dimension; a deterministic solver whose law is only a push-forward is allowed, a method that
            remembers more than one past state is not, nor one without a Plan (``NotLinear``).
    """
    if target.d != 1:
        raise ValueError(f"target has d = {target.d}: the exact law is computed in one dimension")
    if initial not in ("exact", "prior"):
        raise ValueError(f"initial = {initial!r} is not known: give 'exact' or 'prior'")
    plan, fine = trace(solver, grid, terminal), dict[int, float]()
    check_mark(model or target.denoised, solver.takes)
    for _ in range(20 + 2 * len(plan.grid)):
        try:
            return Law(*Ensemble(plan, target, fine, initial == "prior", model, refine).run())
        except TooCoarse as grid_too_coarse:
            which = grid_too_coarse.which
            fine[which] = fine.get(which, POINTS if which >= 0 else 1.0) * grid_too_coarse.times
    raise ValueError(f"{solver.name}: the noise changes too fast from step to step on this grid to resolve its law; give more steps")


def transfer_matrix(points: np.ndarray, mean: np.ndarray, std: float) -> np.ndarray:
    """T_ij ∝ exp(−(x_j − mean_i)²/2 std²), rows of sum 1: x_i → N(mean_i, std²) on a uniform grid ``points`` (n,), ``mean`` (n,).

    The law of a chain, as a vector of masses, goes from p to p T. The identity where std = 0 and the mean is at a point. For chains that
    carry more than the state, a level, a category or another token; else ``law``, which needs no common grid.

    Returns:
        (n, n) transition matrix, rows of sum 1.
    """
    off = points - np.asarray(mean)[:, None]
    density = np.exp(-0.5 * np.square(off / std)) if std > 0.0 else (np.abs(off) == np.abs(off).min(1, keepdims=True)).astype(float)
    return np.asarray(density / density.sum(1, keepdims=True))


def weak_errors(
    solver: Solver,
    target: GaussianMixture,
    grids: Sequence[Sequence[Node]],
    moments: Sequence[int] = (1, 2, 3, 4),
    terminal: str = "none",
) -> pd.DataFrame:
    """|E f(x_N) - E f(x)| for f = x^k and for the distribution function (its largest error), on each grid; one row for each.

    Columns: solver, steps, quantity, value, exact, error.

    Returns:
        a row for each grid, moment and the CDF, with value, exact and error.
    """
    rows = []
    for nodes in grids:
        result, end = law(solver, target, nodes, terminal=terminal), nodes[-1]
        truth = target.line(end) if terminal == "none" else target.line()
        spread = float(np.sqrt(truth.weights @ (truth.means**2 + truth.scales**2)))
        for k in moments:
            exact = float(truth.weights @ _normal_moment(truth.means, truth.scales, k))
            rows.append((f"x^{k}", result.moment(k), exact, abs(result.moment(k) - exact)))
        x = np.linspace(truth.means.min() - 5 * spread, truth.means.max() + 5 * spread, 801)
        gap = float(np.abs(result.cdf(x) - truth.cdf(x)).max())
        rows.append(("cdf", gap, 0.0, gap))
    each = len(moments) + 1
    table = pd.DataFrame(rows, columns=["quantity", "value", "exact", "error"])
    table.insert(0, "steps", np.repeat([len(nodes) - 1 for nodes in grids], each))
    table.insert(0, "solver", solver.name)
    return table


def _normal_moment(mean: np.ndarray, s: np.ndarray, k: int) -> np.ndarray:
    """E (m + s ξ)^k = Σ_j C(k, 2j) (2j - 1)!! m^{k-2j} s^{2j}."""
    terms = [math.comb(k, 2 * j) * math.prod(range(1, 2 * j, 2)) * mean ** (k - 2 * j) * s ** (2 * j) for j in range(k // 2 + 1)]
    return np.sum(terms, axis=0)
