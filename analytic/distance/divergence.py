r"""Divergences of a law q from p on the line, and their gradients: where a generator's samples are to go.

    KL(q‖p) = ∫ q log q/p,   JS = ½ KL(q‖m) + ½ KL(p‖m), m = ½ (p + q),   χ²(q‖p) = ∫ (q − p)²/p,   Fisher = ∫ q |∇ log q/p|²

With δD = ∫ D'(x) δq(x) dx the gradient is G = ∇D', and the derivative along a generator x = g_θ(z) is E_q[G · ∂_θ g]:

    KL   ∇ log q − ∇ log p            JS   ½ ∇ log q/m            χ²   2 ∇(q/p)
    Fisher   ∇ (Δ² − 2 (Δ' + Δ ∇ log q)),  Δ = ∇ log q − ∇ log p            MMD²   2 ∇ (E k(x, q) − E k(x, p))

Sums over panels on which both densities are smooth; scores and their two derivatives from the moments of the components.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import expit, logsumexp

from scorebed.analytic.gaussian.line import Line
from scorebed.analytic.gaussian.line_quadrature import as_line, nodes, panels
from scorebed.analytic.gaussian.mixture import GaussianMixture

DIVERGENCES = ("kl", "reverse_kl", "js", "chi2", "fisher")


def _check(kind: str, *more: str) -> None:
    if kind not in (*DIVERGENCES, *more):
        raise ValueError(f"kind = {kind!r} is not known: give one of {', '.join((*DIVERGENCES, *more))}")


def _two(q: GaussianMixture, p: GaussianMixture) -> tuple[Line, Line]:
    one, two = as_line("q", q), as_line("p", p)
    if not (isinstance(one, Line) and isinstance(two, Line)):
        raise ValueError("q and p must be mixtures on the line: samples have no density")
    if min(one.scales.min(), two.scales.min()) <= 0.0:
        raise ValueError("a law with a point mass has no density: give its marginal at a node with sigma > 0")
    return one, two


def log_density(line: Line, x: np.ndarray) -> np.ndarray:
    """log Σ_k w_k N(x; m_k, s_k²) at points (n,)."""
    terms = line.log_weights - 0.5 * np.square(line.standard(x)) - np.log(line.scales) - 0.5 * math.log(2.0 * math.pi)
    return np.asarray(logsumexp(terms, axis=1))


def score_and_derivatives(line: Line, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """∇ log p and its first two derivatives at points (n,), as cumulants of −(x − m_k)/s_k² over the components."""
    terms = line.log_weights - 0.5 * np.square(line.standard(x)) - np.log(line.scales)
    gamma = np.exp(terms - logsumexp(terms, axis=1, keepdims=True))
    h, r = -line.standard(x) / line.scales, 1.0 / np.square(line.scales)
    one, two, three = ((gamma * v).sum(1) for v in (h, h * h - r, h**3 - 3.0 * h * r))
    return one, two - one**2, three - 3.0 * one * two + 2.0 * one**3


def divergence(q: GaussianMixture, p: GaussianMixture, kind: str = "kl") -> float:
    """D(q‖p) of two mixtures on the line, ``kind`` one of ``DIVERGENCES``.

    Returns:
        D(q‖p) as a float, 0 or more.

    Raises:
        ValueError: an unknown kind, laws that are no mixtures on the line, or have point masses.
    """
    _check(kind)
    a, b = _two(q, p)
    if kind == "reverse_kl":
        a, b = b, a
    x, w = nodes(panels(a, b))
    la, lb = log_density(a, x), log_density(b, x)
    if kind in ("kl", "reverse_kl"):
        return float(w @ (np.exp(la) * (la - lb)))
    if kind == "js":
        middle = np.logaddexp(la, lb) - math.log(2.0)
        return float(0.5 * w @ (np.exp(la) * (la - middle) + np.exp(lb) * (lb - middle)))
    if kind == "chi2":
        return float(w @ (np.exp(lb) * np.expm1(la - lb) ** 2))
    gap = score_and_derivatives(a, x)[0] - score_and_derivatives(b, x)[0]
    return float(w @ (np.exp(la) * gap * gap))


def gradient(q: GaussianMixture, p: GaussianMixture, x: np.ndarray, kind: str = "kl", bandwidth: float = 1.0) -> np.ndarray:
    """G(x) = ∇ of the first variation of D(q‖p) in q at points x, elementwise; ``kind`` also "mmd2", of a normal kernel's bandwidth.

    Returns:
        G(x), of the shape of x.

    Raises:
        ValueError: as ``divergence``.
    """
    _check(kind, "mmd2")
    a, b = _two(q, p)
    points = np.asarray(x, np.float64)
    flat = points.ravel()
    (sa, da, dda), (sb, db, ddb) = score_and_derivatives(a, flat), score_and_derivatives(b, flat)
    la, lb = log_density(a, flat), log_density(b, flat)
    if kind == "mmd2":
        wide = [Line(one.log_weights, one.means, np.hypot(one.scales, bandwidth)) for one in (a, b)]
        size = 2.0 * math.sqrt(2.0 * math.pi) * bandwidth
        parts = [np.exp(log_density(one, flat)) * score_and_derivatives(one, flat)[0] for one in wide]
        out = size * (parts[0] - parts[1])
    elif kind == "kl":
        out = sa - sb
    elif kind == "reverse_kl":  # δ/δq of ∫ p log p/q is −p/q
        out = np.exp(lb - la) * (sa - sb)
    elif kind == "js":  # q/m has the score (s_q − s_p) p/(p + q)
        out = 0.5 * (sa - sb) * expit(lb - la)
    elif kind == "chi2":
        out = 2.0 * np.exp(la - lb) * (sa - sb)
    else:
        gap, slope, bend = sa - sb, da - db, dda - ddb
        out = 2.0 * gap * slope - 2.0 * (bend + slope * sa + gap * da)
    return np.asarray(out).reshape(points.shape)
