r"""Grids with an equal share of a density in every step: optimal for Gaussian data of any covariance, in the limit of many steps.

With rho = sigma/alpha = e^{-lam} and, for the k-th standard deviation c_k of the data, theta_k = arctan(rho/c_k), the nodes are uniform in

    tangent            ∫ sqrt(Σ_k w_k (dtheta_k)²)                    the optimum of DDIM on N(m, Σ) for many small steps
    lipschitz          ∫ Lipschitz constant of the drift dt           arXiv:2509.01629, its criterion minimised over changes of time

With one c the best grid for DDIM is uniform in theta (``spacing.align_gaussian``). With several, the log of the k-th product of
``solvers.spacing`` is about -Σ_i Δtheta_{k,i}²/2; minimising over node densities g with ∫ g = 1

    Σ_k a_k E_k²,    E_k = ∫ (theta_k')²/g,        gives        g ∝ sqrt(Σ_k w_k (theta_k')²),    w_k = a_k E_k,

a convex problem, so this fixed point is its only optimum. a_k is the multiplicity for KL, and times R_k² = c_k² + rho_end² for W2. The
sum of the arctans is not optimal. arXiv:2601.13602 derives a tangent law for the same KL.

``grid.make(…, variances=)`` fits both to the spectrum of the data; without options it is that of pictures in [-1, 1], c = 0.5.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, Literal

import numpy as np
import scipy

from scorebed.solvers.grid import _interior, spacing
from scorebed.solvers.schedule import Node, Schedule

Density = Callable[[Any], Any]
"""Nodes per unit of lam, up to a factor: an array of lam to an array."""

_PANEL = 0.125  # length of lam per panel of the quadrature: the densities are analytic in |Im lam| < pi/2, so 8 points reach round-off
_POINTS, _WEIGHTS = np.polynomial.legendre.leggauss(8)


def _integral(density: Density, low: Any, high: Any) -> Any:
    """∫ density over each panel [low, high], by Gauss's rule."""
    half = 0.5 * (np.asarray(high) - low)
    points = (low + half)[..., None] + half[..., None] * _POINTS
    return half * (density(points) * _WEIGHTS).sum(-1)


def _equidistribute(
    schedule: Schedule, n: int, start: float | None, end: float | None, make: Callable[[Node, Node], Density]
) -> list[Node]:
    """The grid with equal ∫ density dlam over every step; ``make`` gets the two end nodes."""

    @cache
    def table(a: Node, b: Node) -> tuple[Density, Any, Any]:
        density, edges = make(a, b), _edges(a, b)
        return density, edges, np.concatenate([[0.0], np.cumsum(_integral(density, edges[:-1], edges[1:]))])

    def between(a: Node, b: Node, r: float) -> Node:
        density, edges, below = table(a, b)
        i = int(np.clip(np.searchsorted(np.abs(below), abs(r * below[-1])) - 1, 0, len(edges) - 2))
        rest, (low, high) = r * below[-1] - below[i], edges[i : i + 2]
        if abs(rest) >= abs(below[i + 1] - below[i]):  # at a node of the table, to round-off
            return schedule.at_lam(float(high))
        return schedule.at_lam(
            float(scipy.optimize.brentq(lambda lam: _integral(density, low, lam) - rest, low, high, xtol=1e-14, rtol=1e-14))
        )

    return _interior(schedule, n, start, end, between)


def _edges(a: Node, b: Node) -> Any:
    return np.linspace(a.lam, b.lam, 16 + math.ceil(abs(b.lam - a.lam) / _PANEL))


def _spectrum(variances: Iterable[float], weights: Iterable[float] | None) -> tuple[Any, Any]:
    """Variances and multiplicities as arrays (k,)."""
    v = np.asarray(list(variances) if not isinstance(variances, np.ndarray) else variances, dtype=float)
    if v.ndim != 1 or not v.size or not (np.isfinite(v).all() and (v >= 0.0).all() and (v > 0.0).any()):
        raise ValueError(f"variances = {v!r} must be a list of finite eigenvalues of a covariance, none negative and not all zero")
    w = np.ones_like(v) if weights is None else np.asarray(list(weights), dtype=float)
    if w.shape != v.shape or not (np.isfinite(w).all() and (w > 0.0).all()):
        raise ValueError(f"weights = {w!r} must be positive and finite, one for each of the {v.size} variances")
    return v, w / w.sum()


@spacing(lambda variances: {"variances": variances})
def tangent(
    schedule: Schedule,
    n: int,
    start: float | None = None,
    end: float | None = None,
    *,
    variances: Iterable[float] = (0.25,),
    weights: Iterable[float] | None = None,
    error: Literal["kl", "w2"] = "kl",
) -> list[Node]:
    """Best for DDIM on N(m, Σ) as n grows, Σ with eigenvalues ``variances`` of multiplicity ``weights`` (default: 1 each).

    Density sqrt(Σ_k w_k (theta_k')²) with the w_k that minimise KL(what comes out | what should), ``error="kl"``, or the Wasserstein
    distance between them, "w2", both to leading order in 1/n; derived in the head of this file. With one variance it is
    ``align_gaussian`` and optimal for every n. Zero variances do not matter: there DDIM is exact.

    Returns:
        list of n + 1 nodes from start to end.

    Raises:
        ValueError: an unknown ``error``, or variances and weights that are not positive.
    """
    v, a = _spectrum(variances, weights)
    if error not in ("kl", "w2"):
        raise ValueError(f"error = {error!r} is not known: give 'kl' or 'w2'")
    v, a = v[v > 0.0], a[v > 0.0]

    def squares(lam: Any) -> Any:
        """(dtheta_k/dlam)² = 1/(4 cosh²(lam + log c_k)), shape (..., k)."""
        return 0.25 / np.cosh(np.clip(np.asarray(lam)[..., None] + 0.5 * np.log(v), -170.0, 170.0)) ** 2

    def make(first: Node, last: Node) -> Density:
        scale = a * (v + last.rho**2) if error == "w2" else a
        edges = _edges(first, last)
        half = 0.5 * np.diff(edges)[:, None]
        points = edges[:-1, None] + half * (1.0 + _POINTS)
        sq, measure = squares(points), np.abs(half) * _WEIGHTS
        w = scale / scale.sum()
        for _ in range(200):  # halving the exponent damps what would otherwise overshoot
            g = np.sqrt(sq @ w)
            new = np.sqrt(w * scale * np.einsum("pq,pqk->k", measure / g, sq))
            new /= new.sum()
            if np.abs(new - w).max() < 1e-14:
                break
            w = new
        return lambda lam: np.sqrt(squares(lam) @ w)

    return _equidistribute(schedule, n, start, end, make)


@spacing(lambda variances: {"variances": variances})
def lipschitz(
    schedule: Schedule, n: int, start: float | None = None, end: float | None = None, *, variances: Iterable[float] = (0.25,)
) -> list[Node]:
    """Equal ∫ L dt per step, L the Lipschitz constant of the schedule's probability-flow drift for N(m, Σ).

    L = max_k |d log R_k/dt|, R_k² = alpha² v_k + sigma², over the eigenvalues v_k of Σ. A change of time that makes L constant minimises
    the average of L² over time, the criterion of arXiv:2509.01629. Unlike the other grids this one depends on the schedule's scale of
    x: it suits solvers of the ODE in x. With alpha = 1 it is uniform in log(v_min + sigma²). Nodes are
    exact to round-off where L is smooth, and to about 1e-5 in lam where another eigenvalue takes over.

    Returns:
        list of n + 1 nodes from start to end.

    Raises:
        ValueError: the drift is zero, as on VP with all variances 1, or as every grid.
    """
    v, _ = _spectrum(variances, None)
    extremes = np.array([v.min(), v.max()])  # d log R_k/dlam is monotone in v_k

    def density(lam: Any) -> Any:
        nodes = [schedule.at_lam(float(z)) for z in np.ravel(lam)]
        stretch = np.array([2.0 * z.sigma**2 * schedule.f(z.t) / schedule.g2(z.t) for z in nodes])  # -d log(alpha)/dlam
        noise = np.array([[z.sigma**2 / (z.alpha**2 * u + z.sigma**2) for u in extremes] for z in nodes])  # sin² theta_k
        return np.abs(stretch[:, None] + noise).max(-1).reshape(np.shape(lam))

    def make(first: Node, last: Node) -> Density:
        if density(_edges(first, last)[1:-1]).max() < 1e-9:
            raise ValueError(f"variances = {v!r} leave {schedule} no drift: x stays where it is on every grid, give others")
        return density

    return _equidistribute(schedule, n, start, end, make)
