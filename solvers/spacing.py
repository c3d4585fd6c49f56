r"""More grids: shifted ones, ones that are optimal for Gaussian data in closed form, and the same grid on another schedule.

With rho = sigma/alpha = e^{-lam} and, for data of standard deviation c, the angle theta = arctan(rho/c), the nodes are uniform in

    cosine             arccos of t mapped to [-1, 1]                  Chebyshev-Lobatto points, dense at both ends
    exponential        log(rho), which is uniform_lam
    flow_shift         tau / (s - (s - 1) tau),  tau = rho/(1 + rho)  arXiv:2403.03206, eq. 23, solved for the time before the shift
    simple_diffusion   arctan(64 rho/d), pictures of d x d            arXiv:2301.11093: the cosine schedule, log-SNR shifted by 2 log(64/d)
    align_gaussian     arctan(rho/c)                                  arXiv:2404.14507, the optimum of DDIM on N(m, c² I)
    align_klub         log(1 + c²/rho²)                               arXiv:2404.14507, the optimum of its bound for SDE solvers
    tangent            ∫ sqrt(Σ_k w_k (dtheta_k)²)                    the optimum of DDIM on N(m, Σ) for many small steps
    lipschitz          ∫ Lipschitz constant of the drift dt           arXiv:2509.01629, its criterion minimised over changes of time

DDIM is Euler's method in rho on u = x/alpha, and on N(0, c²) one step multiplies u by

    (c² + rho rho')/(c² + rho²) = cos(theta - theta') cos(theta)/cos(theta'),      exactly: cos(theta)/cos(theta').

So the end has exactly Π cos(Δtheta_i) of its true standard deviation, and since log cos is concave, the best grid has equal Δtheta. A
last evaluation (``terminal="denoise"``) is one more step, to theta = 0. With several c_k the log of the k-th product is about
-Σ_i Δtheta_{k,i}²/2; minimising over node densities g with ∫ g = 1

    Σ_k a_k E_k²,    E_k = ∫ (theta_k')²/g,        gives        g ∝ sqrt(Σ_k w_k (theta_k')²),    w_k = a_k E_k,

a convex problem, so this fixed point is its only optimum. a_k is the multiplicity for KL, and times R_k² = c_k² + rho_end² for W2. The
sum of the arctans is not optimal. arXiv:2601.13602 derives a tangent law for the same KL; with one c it is ``align_gaussian``.

``grid.make(…, variances=)`` fits them to the data: c the root mean square of the standard deviations, the resolution 64 c that means the
same shift, and the spectrum. Without options c = 0.5, which is sigma_data of arXiv:2206.00364 for pictures in [-1, 1], and the
resolution is 64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any, Literal

import numpy as np
from scipy.optimize import brentq

from scorebed.solvers.grid import GRIDS, _interior, _made, _mix, check, spacing, uniform_lam
from scorebed.solvers.schedule import Node, Schedule

Density = Callable[[Any], Any]
"""Nodes per unit of lam, up to a factor: an array of lam to an array."""

exponential = uniform_lam  # sigma/alpha in geometric progression is lam in arithmetic progression: one grid, two names
GRIDS["exponential"] = exponential

_PANEL = 0.125  # length of lam per panel of the quadrature: the densities are analytic in |Im lam| < pi/2, so 8 points reach round-off
_POINTS, _WEIGHTS = np.polynomial.legendre.leggauss(8)


def _deviation(variances: Sequence[float]) -> float:
    """c, the root mean square of the standard deviations."""
    return math.sqrt(sum(variances) / len(variances))


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0.0):
            raise ValueError(f"{name} = {value!r} must be positive and finite")


@spacing()
def cosine(schedule: Schedule, n: int, start: float | None = None, end: float | None = None) -> list[Node]:
    """t_i = t_0 + (t_n - t_0) (1 - cos(pi i/n))/2: short at both ends. For the cosine schedule's own time, see ``simple_diffusion``."""
    return _interior(schedule, n, start, end, lambda a, b, r: schedule.node(_mix(a.t, b.t, math.sin(0.5 * math.pi * r) ** 2)))


@spacing()
def flow_shift(schedule: Schedule, n: int, start: float | None = None, end: float | None = None, *, shift: float = 3.0) -> list[Node]:
    """Uniform flow times moved by tau -> s tau/(1 + (s - 1) tau), that is rho -> s rho (SD3, arXiv:2403.03206, eq. 23).

    tau = sigma/(alpha + sigma), the time of ``RectifiedFlow``, on any schedule. The ends stay, so what is uniform is the time before the
    shift, between those of the ends. shift > 1 spends more steps on noise; shift = 1 is uniform in tau.
    """
    _positive(shift=shift)

    def between(a: Node, b: Node, r: float) -> Node:
        noise = _mix(a.rho / (shift + a.rho), b.rho / (shift + b.rho), r)  # tau before the shift, and 1 - tau: neither cancels
        data = _mix(shift / (shift + a.rho), shift / (shift + b.rho), r)
        return schedule.at_lam(math.log(data / noise) - math.log(shift))

    return _interior(schedule, n, start, end, between)


@spacing(lambda variances: {"c": _deviation(variances)})
def align_gaussian(schedule: Schedule, n: int, start: float | None = None, end: float | None = None, *, c: float = 0.5) -> list[Node]:
    """Uniform in theta = arctan(sigma/(c alpha)): of all grids with these ends the one on which DDIM errs least on N(m, c² I), for every n.

    For ``terminal="denoise"`` the best end is itself one step from theta = 0: rho_end = c tan(theta_start/(n + 1)).
    Source: arXiv:2404.14507; the proof is in the head of this file.
    """
    _positive(c=c)

    def between(a: Node, b: Node, r: float) -> Node:
        theta = _mix(math.atan(a.rho / c), math.atan(b.rho / c), r)
        rest = _mix(math.atan(c / a.rho), math.atan(c / b.rho), r)  # pi/2 - theta, accurate where theta is near pi/2
        return schedule.at_lam((-math.log(math.tan(theta)) if theta < rest else math.log(math.tan(rest))) - math.log(c))

    return _interior(schedule, n, start, end, between)


@spacing(lambda variances: {"resolution": 64.0 * _deviation(variances)})
def simple_diffusion(
    schedule: Schedule, n: int, start: float | None = None, end: float | None = None, *, resolution: float = 64.0, base: float = 64.0
) -> list[Node]:
    """Uniform in the time of the cosine schedule whose log-SNR is shifted by 2 log(base/resolution), on any schedule.

    There t = (2/pi) arctan(rho base/resolution), so this is ``align_gaussian`` with c = resolution/base: the shift takes the standard
    deviation of the data, in units of the noise, to grow with the side of the picture. Source: arXiv:2301.11093.
    """
    _positive(resolution=resolution, base=base)
    return align_gaussian(schedule, n, start, end, c=resolution / base)


@spacing(lambda variances: {"c": _deviation(variances)})
def align_klub(schedule: Schedule, n: int, start: float | None = None, end: float | None = None, *, c: float = 0.5) -> list[Node]:
    """Uniform in log(1 + c²/rho²): the least KL upper bound of a first-order SDE solver on N(m, c² I), for many small steps.

    The bound is Σ_i ∫ rho^{-3} E|D(x_rho) - D(x_{rho_i})|² drho over each step, and E|…|² = V(rho_i) - V(rho) with the posterior variance
    V = c² rho²/(c² + rho²); so the density is sqrt(V'/rho³) ∝ 1/(rho (c² + rho²)). Source: arXiv:2404.14507.
    """
    _positive(c=c)

    def between(a: Node, b: Node, r: float) -> Node:
        v = _mix(float(np.logaddexp(0.0, 2.0 * (a.lam + math.log(c)))), float(np.logaddexp(0.0, 2.0 * (b.lam + math.log(c)))), r)
        return schedule.at_lam(0.5 * (v + math.log(-math.expm1(-v))) - math.log(c))

    return _interior(schedule, n, start, end, between)


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
        return schedule.at_lam(float(brentq(lambda lam: _integral(density, low, lam) - rest, low, high, xtol=1e-14, rtol=1e-14)))

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


def transfer(nodes: Sequence[Node], schedule: Schedule) -> list[Node]:
    """The nodes with the same lam on another schedule. Solvers that work in lam, rho or theta then give the same x/alpha, started alike.

    Raises:
        ValueError: ``nodes`` are no grid, or the other schedule does not reach their lam.
    """
    _made(schedule)
    return check([schedule.at_lam(node.lam) for node in check(nodes)])
