r"""The law of a guided field on Gaussians, exactly, direction by direction: what guidance samples, apart from any solver.

A field Σ_i a_i ∇ log p_{i,t} of Gaussians with common eigenvectors is linear in each direction. In y = x/alpha and τ = rho², for the
reverse process with eta of its noise (0 the flow, 1 the SDE), run towards the data,

    dy = −A(τ) y dτ + b(τ) dτ + eta dW,    A = ½ (1 + eta²) Σ a_i/(v_i + τ),    b = ½ (1 + eta²) Σ a_i m_i/(v_i + τ)    (|dτ| = −dτ)

    Φ(τ_t, τ_s) = ∏ ((v_i + τ_t)/(v_i + τ_s))^{½ (1 + eta²) a_i},
    mean_t = Φ mean_s + ∫ Φ(τ_t, τ) b dτ,    var_t = Φ² var_s + eta² ∫ Φ(τ_t, τ)² dτ.

The law that was meant, ∏ p_i^{a_i}, has the precision Σ a_i/v_i (``tilt.geometric``), and is neither of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from scorebed.solvers.schedule import Node

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(40)
_PANELS = 24

Term = tuple[float, Any, Any]
"""(a_i, m_i, v_i): weight, mean and variance, numbers or arrays over the directions."""


def guided_law(terms: Sequence[Term], s: Node, t: Node, eta: float = 0.0, start: tuple[Any, Any] | None = None) -> tuple[Any, Any]:
    """Mean and variance of x_t along each direction, from the state at s.

    Args:
        terms: the fields; for classifier-free guidance [(w, m_c, v_c), (1 − w, m_u, v_u)].
        s, t: from noise towards data.
        eta: the part of the noise of the reverse process; 0 is the probability flow.
        start: mean and variance of x_s; N(0, sigma²) by default.

    Returns:
        (mean, variance) of x_t along each direction.

    Raises:
        ValueError: t noisier than s, or variances that are negative.
    """
    a = [float(one) for one, _, _ in terms]
    means, variances = ([np.asarray(term[i], float) for term in terms] for i in (1, 2))
    if t.rho > s.rho or any(bool(np.any(v < 0.0)) for v in variances):
        raise ValueError(f"t has rho = {t.rho:g}, s has {s.rho:g}: give nodes from noise to data, and variances that are not negative")
    half = 0.5 * (1.0 + eta * eta)
    end, begin = t.rho**2, s.rho**2

    def carried(tau: Any) -> Any:
        """Φ(τ_t, τ)."""
        return np.exp(sum(half * c * (np.log(v + end) - np.log(v + tau)) for c, v in zip(a, variances, strict=True)))

    mean, variance = (0.0, s.sigma**2) if start is None else start
    mean, variance = np.asarray(mean, float) / s.alpha, np.asarray(variance, float) / s.alpha**2
    moved, spread = carried(begin) * mean, carried(begin) ** 2 * variance
    edges = np.geomspace(end, begin, _PANELS + 1) if end > 0.0 else np.concatenate([[0.0], np.geomspace(1e-14 * begin, begin, _PANELS)])
    for low, high in pairwise(edges):
        for z, w in zip(_NODES, _WEIGHTS, strict=True):
            tau, weight = 0.5 * (low + high) + 0.5 * (high - low) * z, 0.5 * (high - low) * w
            phi = carried(tau)
            moved = moved + weight * phi * sum(half * c * m / (v + tau) for c, m, v in zip(a, means, variances, strict=True))
            spread = spread + (eta * eta * weight) * phi**2
    return t.alpha * moved, t.alpha**2 * spread
