r"""Diffusions about a centre: mean-reverting (IR-SDE, arXiv:2301.11699; MRS, arXiv:2502.07856) and residual-shifting ones (ResShift,
arXiv:2307.12348; RDDM, arXiv:2308.13712), which restore a degraded input mu in place of making data from pure noise.

    mean reversion      dx = theta (mu - x) dt + g dW, g² = 2 l² theta, T = ∫ theta:  x_t = mu + e^{-T} (x0 - mu) + l sqrt(1 - e^{-2T}) eps
    residual shifting   x_t = x0 + eta_t (mu - x0) + kappa sqrt(eta_t) eps
    RDDM                x_t = x0 + abar_t (mu - x0) + bbar_t eps

are all x_t - mu = alpha (x0 - mu) + sigma eps with some schedule: the diffusion of x0 - mu. So every solver works on them, about mu, and no
method needs deriving again: IR-SDE's posterior sampling is DDPM, MRS are SDE-DPM-Solver++ and DPM-Solver++, RDDM's deterministic sampler is
DDIM. What is new is ResShift's amount of noise, ``resshift``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from scorebed.solvers.base import Carry, Solver, advance, remade, solver
from scorebed.solvers.model import Array, Denoiser
from scorebed.solvers.noise import Noise
from scorebed.solvers.process import ScalarProcess
from scorebed.solvers.schedule import VP, Node


@dataclass(frozen=True)
class MeanReverting(ScalarProcess):
    r"""alpha = e^{-T}, sigma = level sqrt(1 - alpha²): a VP schedule, T = B/2, whose noise ends at ``level``, IR-SDE's lambda."""

    level: float = 10.0 / 255.0
    base: VP = field(default_factory=VP)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.level) and self.level > 0.0):
            raise ValueError(f"MeanReverting: level = {self.level!r} must be positive and finite")

    @property
    def t_min(self) -> float:
        return self.base.t_min

    @property
    def t_max(self) -> float:
        return self.base.t_max

    def node(self, t: float) -> Node:
        return self._scaled(self.base.node(t))

    def at_lam(self, lam: float) -> Node:
        return self._scaled(self.base.at_lam(lam + math.log(self.level)))

    def f(self, t: float) -> float:
        return self.base.f(t)

    def g2(self, t: float) -> float:
        return self.level**2 * self.base.g2(t)

    def _scaled(self, node: Node) -> Node:
        return Node(node.t, node.alpha, self.level * node.sigma, node.lam - math.log(self.level), self)


@dataclass(frozen=True)
class ResidualShift(ScalarProcess):
    r"""alpha = 1 - eta, sigma = kappa sqrt(eta) with the time t = sqrt(eta): alpha = 1 - t², sigma = kappa t (arXiv:2307.12348).

    f = -2t/(1 - t²),  g² = 2 kappa² t (1 + t²)/(1 - t²). The paper's grid is geometric in t, kappa = 2.
    """

    kappa: float = 2.0
    t_min: float = 0.02
    t_max: float = 0.999**0.5

    def __post_init__(self) -> None:
        if not (math.isfinite(self.kappa) and self.kappa > 0.0):
            raise ValueError(f"ResidualShift: kappa = {self.kappa!r} must be positive and finite")
        if not 0.0 < self.t_min < self.t_max < 1.0:
            raise ValueError(f"ResidualShift: t_min = {self.t_min!r}, t_max = {self.t_max!r}: give 0 < t_min < t_max < 1")

    def node(self, t: float) -> Node:
        t = float(t)
        if not 0.0 <= t < 1.0:
            raise ValueError(f"t = {t!r} is outside ResidualShift: give 0 <= t < 1")
        alpha, sigma = (1.0 - t) * (1.0 + t), self.kappa * t
        return Node(t, alpha, sigma, math.log(alpha) - math.log(sigma) if t else math.inf, self)

    def at_lam(self, lam: float) -> Node:
        """t = 2/(q + sqrt(q² + 4)) with q = κ/ρ, the root of κ t = ρ (1 − t²) in (0, 1)."""
        q = self.kappa * math.exp(lam)
        t = 2.0 / (q + math.hypot(q, 2.0))
        return Node(t, t * q, self.kappa * t, lam, self)  # 1 − t² = q t

    def f(self, t: float) -> float:
        return -2.0 * t / ((1.0 - t) * (1.0 + t))

    def g2(self, t: float) -> float:
        return 2.0 * self.kappa**2 * t * (1.0 + t * t) / ((1.0 - t) * (1.0 + t))


def about(base: Solver, centre: Array) -> Solver:
    r"""``base`` on x − centre: for x_t = μ + α (x0 − μ) + σ ε and a denoiser E[x0 | x_t] of x itself.

    ``centre`` is μ, of the state's dtype and of its shape or one that broadcasts to it. The Plan is that of the base, on x − μ; adding μ is
    no linear form.

    Returns:
        the Solver that steps ``base`` on x − μ, declared nonlinear.
    """

    def step(denoise: Denoiser, x: Array, s: Node, t: Node, carry: Carry, noise: Noise) -> tuple[Array, Carry]:
        def off_centre(y: Array, node: Node) -> Array:
            return denoise(y + centre, node) - centre

        x_t, memory = advance(base, off_centre, x - centre, s, t, carry, noise)
        return x_t + centre, memory

    why = base.nonlinear or f"adds the centre, an array; trace {base.name}, whose Plan moves x - centre"
    return Solver(
        f"{base.name} about a centre", remade(step, about, base, centre), base.order, base.weak, base.strong, base.reference, nonlinear=why
    )


@solver(order=1, weak=1, strong=1, reference="arXiv:2307.12348, posterior of the reverse chain; arXiv:2308.13712")
def resshift(denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise) -> tuple[Array, Any]:
    r"""x_t = (σ_t²/σ_s²) x + (α_t − α_s σ_t²/σ_s²) D + σ_t sqrt(1 − σ_t²/σ_s²) ξ.

    ResShift's step for σ² = κ² η, about y0; RDDM's with its variance at 1. It is DDIM with fresh noise of variance σ_t² (1 − σ_t²/σ_s²),
    less than DDPM's σ_t² (1 − ρ_t²/ρ_s²) but where α is constant: given x0 the residual shifts without decaying.

    Returns:
        (x_t of the shape of x, None for no memory).
    """
    kept = (t.sigma / s.sigma) ** 2
    gone = max(0.0, (s.sigma - t.sigma) * (s.sigma + t.sigma)) / s.sigma**2
    return kept * x + (t.alpha - s.alpha * kept) * denoise(x, s) + t.sigma * math.sqrt(gone) * noise(s, t), None
