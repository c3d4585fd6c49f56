r"""Weights of multistep methods on grids of any spacing.

A multistep method integrates, in the place of v itself, the polynomial P through its evaluations v_j at the values u_j of some variable u.
The propagator is exact for constant v, so the step is the one-step update with a mean of the evaluations for v,

    Σ_j w_j v_j,    w_j = ∫ ℓ_j(u) k du / ∫ k du,    Σ_j w_j = 1,    ℓ_j the Lagrange polynomials, over the step from s to t.

    lam_weights     v = D,    u = lam,  k = e^{(1+eta) lam}    exponential Adams methods: DPM-Solver++(3M), UniP, UniC; SA-Solver
    rho_weights     v = eps,  u = rho,  k = 1                  Adams methods in rho: k-diffusion's LMS, rhoAB-DEIS, iPNDM
    deis_weights    v = eps,  u = t,    k = drho/dt            tAB-DEIS
    adams_weights   any v and u,        k = 1                  the classical ones, with steps of any length
    angle_weights   F, theta: exact for cos and sin too        Adams methods in the angle

The moments of k are closed forms in h = lam_t - lam_s, free of cancellation as h -> 0. ``newton_integrals`` and ``divided_differences`` are
the classical weights in Newton's form.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from scorebed.solvers.model import Array
from scorebed.solvers.schedule import Node
from scorebed.solvers.weights.exponential import phi
from scorebed.solvers.weights.lagrange import monomials

_POINTS, _WEIGHTS = (a.tolist() for a in np.polynomial.legendre.leggauss(32))
Basis = Literal["mixed", "polynomial"]
Past = tuple[tuple[Node, Array], ...]
"""Evaluations and where they were made, the newest first."""


def shares(places: Sequence[float], moments: Sequence[float]) -> list[float]:
    """w_j = Σ_k c_jk m_k for nodes at ``places`` in units of the step (s at 0, t at 1) and a kernel of moments m_k, m_0 = 1.

    The first weight is what the others leave of 1, so that constants are kept to the last bit.

    Returns:
        weights w_j, one for each of ``places``, of sum 1.
    """
    others = [math.fsum(c * m for c, m in zip(monomials(places, j), moments, strict=True)) for j in range(1, len(places))]
    return [1.0 - math.fsum(others), *others]


def adams_weights(points: Sequence[float], end: float) -> list[float]:
    """w_j = ∫ ℓ_j(u) du / (end − u_0) over [u_0, end], ℓ_j through u_0, u_1, …; on equal steps (3, −1)/2, (23, −16, 5)/12, …"""
    step = end - points[0]
    if step == 0.0:
        return [1.0] + [0.0] * (len(points) - 1)
    return shares([(u - points[0]) / step for u in points], _even(len(points)))


def _even(count: int) -> list[float]:
    """The moments of the constant kernel."""
    return [1.0 / (k + 1) for k in range(count)]


def lam_weights(nodes: Sequence[Node], s: Node, t: Node, eta: float = 0.0) -> list[float]:
    """w_j = ∫ ℓ_j(λ) e^{(1+η)λ} dλ / ∫ e^{(1+η)λ} dλ over [λ_s, λ_t]; moments k! φ_{k+1}(z)/φ_1(z) of θ = (λ − λ_s)/h, z = −(1 + η) h."""
    h = t.lam - s.lam
    if h == 0.0:
        return [1.0] + [0.0] * (len(nodes) - 1)
    z = -(1.0 + eta) * h
    moments = [math.factorial(k) * phi(k + 1, z) / phi(1, z) for k in range(len(nodes))]
    return shares([(node.lam - s.lam) / h for node in nodes], moments)


def rho_weights(nodes: Sequence[Node], s: Node, t: Node) -> list[float]:
    """w_j = ∫ ℓ_j(ρ) dρ / (ρ_t − ρ_s) over [ρ_s, ρ_t]; on equal steps the classical Adams weights, (3, −1)/2, (23, −16, 5)/12, …"""
    h = t.lam - s.lam
    if h == 0.0:
        return [1.0] + [0.0] * (len(nodes) - 1)
    places = [math.expm1(s.lam - node.lam) / math.expm1(-h) for node in nodes]
    return shares(places, _even(len(nodes)))


def deis_weights(times: Sequence[float], s: Node, t: Node) -> list[float]:
    r"""C_j = ∫_{ρ_s}^{ρ_t} ℓ_j(t(ρ)) dρ / (ρ_t − ρ_s), the tAB-DEIS coefficients as shares of the DDIM step; they add up to 1.

    By 32-point Gauss-Legendre quadrature in lam, where the integrand is smooth over many decades of rho.

    Returns:
        shares C_j, one for each of ``times``, of sum 1.
    """
    h, length = t.lam - s.lam, t.t - s.t
    if h == 0.0:
        return [1.0] + [0.0] * (len(times) - 1)
    # ∫ -rho dlam = rho_t - rho_s = rho_s (e^-h - 1)
    moment = [-0.5 * h / math.expm1(-h) * w * math.exp(-0.5 * (1.0 + p) * h) for p, w in zip(_POINTS, _WEIGHTS, strict=True)]
    u = [(s.toward(t, 0.5 * (1.0 + p)).t - s.t) / length for p in _POINTS]
    moments = [1.0]
    for _ in times[1:]:
        moment = [m * v for m, v in zip(moment, u, strict=True)]
        moments.append(math.fsum(moment))
    return shares([(time - s.t) / length for time in times], moments)


def _bend(k: int, tau: float) -> float:
    """Σ_j (−1)^j τ^{2j} k!/(k + 2j)!. τ^k times it is cos τ, sin τ, 2 (1 − cos τ), 6 (τ − sin τ), …: the k-th is k times the integral
    of the last, and near τ^k, so that the weights are those of Adams plus O(h²).

    Returns:
        the sum of the series, a float; 1 at τ = 0.
    """
    total, term = 0.0, 1.0
    for j in range(24):
        total += term
        term *= -tau * tau / ((k + 2 * j + 1) * (k + 2 * j + 2))
    return total


def angle_weights(thetas: Sequence[float], start: float, end: float, basis: Basis) -> list[float]:
    """w_j with Σ_j w_j f(θ_j) = ∫ f dθ from ``start`` to ``end`` for the functions f of the basis."""
    h, p = end - start, len(thetas)
    if h == 0.0:
        return [0.0] * p
    taus = [theta - start for theta in thetas]
    bent = [basis == "mixed" and k >= p - 2 for k in range(p)]
    matrix = [[(tau / h) ** k * (_bend(k, tau) if bent[k] else 1.0) for tau in taus] for k in range(p)]
    moments = [h / (k + 1) * (_bend(k + 1, h) if bent[k] else 1.0) for k in range(p)]
    return [float(w) for w in np.linalg.solve(matrix, moments)]


def newton_integrals(rhos: Sequence[float], h: float) -> list[float]:
    """g_k = ∫ Π_{i<k} (ρ − ρ_i) dρ from ρ_0 to ρ_0 + h, for k < len(rhos): Adams-Bashforth is y + Σ g_k f[ρ_0 … ρ_k]."""
    product, integrals = [1.0], []
    for rho in rhos:
        integrals.append(sum(c * h ** (i + 1) / (i + 1) for i, c in enumerate(product)))
        product = [a - (rho - rhos[0]) * b for a, b in zip([0.0, *product], [*product, 0.0], strict=True)]
    return integrals


def divided_differences(rhos: Sequence[float], values: Sequence[Array]) -> list[Array]:
    """f[ρ_0], f[ρ_0 ρ_1], f[ρ_0 ρ_1 ρ_2], …"""
    column, first = list(values), [values[0]]
    for k in range(1, len(rhos)):
        column = [(1.0 / (rhos[i] - rhos[i + k])) * (column[i] - column[i + 1]) for i in range(len(column) - 1)]
        first.append(column[0])
    return first


def mix(weights: Sequence[float], past: Past) -> Array:
    """Σ_j w_j v_j."""
    total = weights[0] * past[0][1]
    for w, (_, value) in zip(weights[1:], past[1:], strict=True):
        total = total + w * value
    return total
