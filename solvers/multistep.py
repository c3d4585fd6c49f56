r"""Weights of multistep methods on grids of any spacing.

A multistep method integrates, in the place of v itself, the polynomial P through its evaluations v_j at the values u_j of some variable u.
The propagator is exact for constant v, so the step is the one-step update with a mean of the evaluations for v,

    Σ_j w_j v_j,    w_j = ∫ ℓ_j(u) k du / ∫ k du,    Σ_j w_j = 1,    ℓ_j the Lagrange polynomials, over the step from s to t.

    lam_weights   v = D,    u = lam,  k = e^lam    exponential Adams methods: DPM-Solver++(3M), UniP, UniC
    rho_weights   v = eps,  u = rho,  k = 1        Adams methods in rho: rhoAB-DEIS, iPNDM
    tAB-DEIS (``solvers.methods.deis``) has v = eps, u = t, k = drho/dt

The moments of k are closed forms in h = lam_t - lam_s, free of cancellation as h -> 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from scorebed.solvers.exponential import phi
from scorebed.solvers.model import Array
from scorebed.solvers.schedule import Node

Past = tuple[tuple[Node, Array], ...]
"""Evaluations and where they were made, the newest first."""


def lagrange(times: Sequence[float], j: int, t: float) -> float:
    """ℓ_j(t) = Π_{k≠j} (t − t_k)/(t_j − t_k)."""
    return math.prod((t - times[k]) / (times[j] - times[k]) for k in range(len(times)) if k != j)


def monomials(times: Sequence[float], j: int) -> list[float]:
    """The coefficients c of ℓ_j(t) = Σ_k c_k t^k."""
    c = [1.0]
    for k, u in enumerate(times):
        if k != j:
            c = [(low - u * high) / (times[j] - u) for low, high in zip([0.0, *c], [*c, 0.0], strict=True)]
    return c


def shares(places: Sequence[float], moments: Sequence[float]) -> list[float]:
    """w_j = Σ_k c_jk m_k for nodes at ``places`` in units of the step (s at 0, t at 1) and a kernel of moments m_k, m_0 = 1.

    The first weight is what the others leave of 1, so that constants are kept to the last bit.
    """
    others = [math.fsum(c * m for c, m in zip(monomials(places, j), moments, strict=True)) for j in range(1, len(places))]
    return [1.0 - math.fsum(others), *others]


def lam_weights(nodes: Sequence[Node], s: Node, t: Node) -> list[float]:
    """w_j = ∫ ℓ_j(λ) e^λ dλ / ∫ e^λ dλ over [λ_s, λ_t]; moments k! φ_{k+1}(−h)/φ_1(−h) of θ = (λ − λ_s)/h."""
    h = t.lam - s.lam
    if h == 0.0:
        return [1.0] + [0.0] * (len(nodes) - 1)
    moments = [math.factorial(k) * phi(k + 1, -h) / phi(1, -h) for k in range(len(nodes))]
    return shares([(node.lam - s.lam) / h for node in nodes], moments)


def rho_weights(nodes: Sequence[Node], s: Node, t: Node) -> list[float]:
    """w_j = ∫ ℓ_j(ρ) dρ / (ρ_t − ρ_s) over [ρ_s, ρ_t]; on equal steps the classical Adams weights, (3, −1)/2, (23, −16, 5)/12, …"""
    h = t.lam - s.lam
    if h == 0.0:
        return [1.0] + [0.0] * (len(nodes) - 1)
    places = [math.expm1(s.lam - node.lam) / math.expm1(-h) for node in nodes]
    return shares(places, [1.0 / (k + 1) for k in range(len(nodes))])


def mix(weights: Sequence[float], past: Past) -> Array:
    """Σ_j w_j v_j."""
    total = weights[0] * past[0][1]
    for w, (_, value) in zip(weights[1:], past[1:], strict=True):
        total = total + w * value
    return total
