r"""Information of mixtures on the line under Gaussian noise, by quadrature to round-off: entropy, mmse, mutual information, divergences.

With x_t = alpha x0 + sigma eps and the signal-to-noise ratio γ = alpha²/sigma² (Guo, Shamai & Verdú, IEEE Trans. Inf. Theory 2005),

    I(x0; x_t) = h(x_t) − ½ log(2πe sigma²),        dI/dγ = ½ mmse(γ),        mmse = E|x0 − E[x0|x_t]|².

Every integral is a Gauss sum on panels on which the densities are smooth; ``expect`` is the one that all of them call.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from scorebed.analytic.gaussian.line_quadrature import nodes, panels
from scorebed.analytic.gaussian.mixture import GaussianMixture
from scorebed.solvers.schedule import Node

Floats = NDArray[np.float64]


def points(*laws: GaussianMixture, node: Node | None = None) -> tuple[Floats, Floats]:
    """Gauss nodes (m, 1) and weights (m,) for integrals over the line of what is smooth where these laws are, at a node.

    Returns:
        (nodes (m, 1), weights (m,)) of the quadrature.

    Raises:
        ValueError: a law in more than one dimension.
    """
    x, w = nodes(panels(*[law.line(node) for law in laws]))
    return x[:, None], w


def expect(law: GaussianMixture, f: Callable[[Floats], Floats], node: Node | None = None) -> float:
    """E f(x) over the law at a node, for f of states (m, 1) with values (m,)."""
    x, w = points(law, node=node)
    return float(w @ (np.exp(law.log_prob(x, node)) * f(x)))


def entropy(law: GaussianMixture, node: Node | None = None) -> float:
    """h = −E log p at a node, in nats."""
    return -expect(law, lambda x: np.asarray(law.log_prob(x, node)), node)


def mmse(law: GaussianMixture, node: Node) -> float:
    """E Var[x0 | x_t]."""
    return expect(law, lambda x: np.asarray(law.posterior_covariance(x, node))[:, 0, 0], node)


def mutual_information(law: GaussianMixture, node: Node) -> float:
    """I(x0; x_t) = h(x_t) − ½ log(2πe sigma²)."""
    return entropy(law, node) - 0.5 * math.log(2.0 * math.pi * math.e * node.sigma**2)


def channel(snr: float) -> Node:
    """The node x = x0 + eps/√snr of a signal-to-noise ratio."""
    return Node(t=0.0, alpha=1.0, sigma=snr**-0.5, lam=0.5 * math.log(snr))


def over_snr(f: Callable[[Node], float], low: float, high: float, panels_: int = 12) -> float:
    """∫ f dγ over signal-to-noise ratios from ``low`` to ``high``, by Gauss sums in log γ; f of the channel's node."""
    z, w = np.polynomial.legendre.leggauss(10)
    ends = np.linspace(math.log(low), math.log(high), panels_ + 1)
    total = 0.0
    for a, b in pairwise(ends.tolist()):
        snr = np.exp(0.5 * (a + b) + 0.5 * (b - a) * z)
        total += 0.5 * (b - a) * float(sum(wi * s * f(channel(float(s))) for wi, s in zip(w, snr, strict=True)))
    return total


def kl(p: GaussianMixture, q: GaussianMixture, node: Node | None = None) -> float:
    """KL(p‖q) at a node."""
    x, w = points(p, q, node=node)
    log_p = np.asarray(p.log_prob(x, node))
    return float(w @ (np.exp(log_p) * (log_p - np.asarray(q.log_prob(x, node)))))


def total_variation(p: GaussianMixture, q: GaussianMixture, node: Node | None = None) -> float:
    """½ ∫ |p − q| at a node."""
    x, w = points(p, q, node=node)
    return 0.5 * float(w @ np.abs(np.exp(np.asarray(p.log_prob(x, node))) - np.exp(np.asarray(q.log_prob(x, node)))))
