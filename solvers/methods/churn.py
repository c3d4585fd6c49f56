r"""Stochastic sampling by churn (Karras et al., arXiv:2206.00364, Alg. 2), on any schedule in y = x/alpha and rho = sigma/alpha.

A step adds noise, from rho_s up to rho_hat = rho_s (1 + gamma), and goes down to rho_t along the ODE by Heun's method. Both halves keep the
marginals, so that the law of the samples is as accurate as the ODE method.

The paper has gamma = S_churn/N, at most sqrt(2) - 1. A number of steps is no property of the process, and a step does not know it, so here

    gamma = min(S_churn h / ln(80/0.002), sqrt(2) - 1),    h the part of the step in lam that lies in S_tmin <= rho <= S_tmax.

On the paper's range, sigma from 80 to 0.002, in N equal steps of lam this is S_churn/N; on any grid of that range the gammas add up to
S_churn, as in the paper, where neither the cap nor the window cuts them. In the limit of small steps it is the SDE of DDIM(eta) with
eta² = S_churn/ln(80/0.002): S_churn = 10.6 is the reverse SDE, and the amount per step follows the step, which makes the limit one and the
same on every grid.
"""

from __future__ import annotations

import math
from typing import Any

from scorebed.solvers.base import solver
from scorebed.solvers.model import Array, Denoiser
from scorebed.solvers.noise import Noise
from scorebed.solvers.ranges import within
from scorebed.solvers.schedule import Node
from scorebed.solvers.weights.exponential import flow_by_denoised

_RANGE = math.log(80.0 / 0.002)
"""Length in lam of the range of sigma on which the paper counts S_churn (Table 1)."""


@solver(order=2, weak=2, strong=1, reference="arXiv:2206.00364, Alg. 2")
@within(S_churn="[0, inf)", S_tmin="[0, inf)", S_tmax="[0, inf)", S_noise="(0, inf)")
def churn(
    denoise: Denoiser,
    x: Array,
    s: Node,
    t: Node,
    carry: None,
    noise: Noise,
    *,
    S_churn: float = 5.0,
    S_tmin: float = 0.0,
    S_tmax: float = 50.0,
    S_noise: float = 1.0,
) -> tuple[Array, Any]:
    r"""ŷ = y + S_noise sqrt(ρ̂² − ρ_s²) ξ,  ρ̂ = ρ_s (1 + γ),  then Heun: u the DDIM step from (ŷ, ρ̂) to ρ_t,
    y_t = ŷ + (ρ_t − ρ̂)(d + d')/2 = u + ½ (ρ̂/ρ_t − 1)(D_u − D),  d = (ŷ − D)/ρ̂,  d' = (u − D_u)/ρ_t.

    The right-hand form has no differences of nearly equal slopes. Weak order 2 is that of the marginals from the true law at the
    start; for the transitions of the SDE it is 1. With S_noise other than 1 the law does not converge; the paper's 1.003 and 1.007 make up
    for errors of the network. S_tmax is the paper's for ImageNet. Nothing rises above the noisiest node of the schedule.

    Returns:
        (x_t of the shape of x, None for no memory).

    Raises:
        ValueError: S_tmin above S_tmax, or a node that carries no schedule.
    """
    if S_tmin > S_tmax:
        raise ValueError(f"churn: S_tmin = {S_tmin!r} must not exceed S_tmax = {S_tmax!r}: between them noise is added")
    noisy, clean = _window(s, t, S_tmin, S_tmax)
    gamma = min(S_churn * (clean.lam - noisy.lam) / _RANGE, math.sqrt(2.0) - 1.0)
    if gamma > 0.0:
        hat = _above(s, gamma)
        grown = s.rho * math.sqrt(math.expm1(2.0 * (s.lam - hat.lam)))
        x = (hat.alpha / s.alpha) * x + (hat.alpha * S_noise * grown) * noise(noisy, clean)
        s = hat
    denoised = denoise(x, s)
    u = flow_by_denoised(x, denoised, s, t)
    return u + (0.5 * t.alpha * math.expm1(t.lam - s.lam)) * (denoise(u, t) - denoised), None


def _window(s: Node, t: Node, low: float, high: float) -> tuple[Node, Node]:
    """The ends of the part of the step in which low <= ρ <= high; a part of no length if there is none."""
    h = t.lam - s.lam
    if h == 0.0:
        return s, s
    begin, end = ((-math.log(rho) - s.lam) / h if rho else math.inf for rho in (high, low))
    begin, end = min(max(begin, 0.0), 1.0), min(max(end, 0.0), 1.0)
    return s.toward(t, begin), s.toward(t, max(begin, end))


def _above(s: Node, gamma: float) -> Node:
    """The node with ρ = (1 + γ) ρ_s, or the noisiest of the schedule if that lies below."""
    if s.schedule is None:
        raise ValueError("churn goes above the node; this one has schedule=None: use schedule.node(t)")
    top = s.schedule.node(s.schedule.t_max).lam
    return s.schedule.at_lam(min(s.lam, max(s.lam - math.log1p(gamma), top)))
