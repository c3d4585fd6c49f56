r"""The Fast Diffusion Model (Wu et al., arXiv:2306.06991) as a noise schedule.

FDM gives the forward process momentum. Its mean is a damped oscillator, m'' + 2 m' + m = 0 in the clock B, critically damped and released
at rest, so that m = e^{-B} (1 + B) x0; the noise is scaled along,

    x_t = s (x0 + t eps),   s = e^{-B} (1 + B),
    B = k (beta_min u + (beta_max - beta_min) u²/2),   u = (t - sigma_min)/(sigma_max - sigma_min),

with t the sigma of EDM. In the scaled variable y = x/s that is EDM's forward process, its probability flow is EDM's, and every method that
works in x/alpha and lam makes on it the steps that it makes on EDM: the authors' sampler is EDM's. What remains of the momentum is the
input of the network, c_in = s, and what methods on x(t) itself make of s.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scorebed.solvers.process.base import as_floats, ordered, positive
from scorebed.solvers.schedule import EDM, Node


@dataclass(frozen=True)
class FDM(EDM):
    """alpha = s(t), sigma = t s(t), lam = -log t; f = -B B'/(1 + B), g² = 2 t s² (arXiv:2306.06991, its EDM version).

    ``multiplier`` is k; beta_min, beta_max and u are as in the authors' code. k = 0 is EDM.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0
    multiplier: float = 1.0

    def __post_init__(self) -> None:
        EDM.__post_init__(self)
        as_floats(self, "multiplier")
        positive(self, "beta_min", "beta_max")
        ordered(self, "beta_min", "beta_max")
        if not (math.isfinite(self.multiplier) and self.multiplier >= 0.0):
            raise ValueError(f"FDM: multiplier = {self.multiplier!r} must be finite and not negative")

    def clock(self, t: float) -> tuple[float, float]:
        """B and dB/dt."""
        width = self.sigma_max - self.sigma_min
        u, slope = (t - self.sigma_min) / width, self.beta_max - self.beta_min
        return self.multiplier * (self.beta_min * u + 0.5 * slope * u * u), self.multiplier * (self.beta_min + slope * u) / width

    def _scaled(self, node: Node) -> Node:
        b, _ = self.clock(node.t)
        scale = math.exp(-b) * (1.0 + b)
        return Node(node.t, scale, scale * node.sigma, node.lam, self)

    def node(self, t: float) -> Node:
        return self._scaled(EDM.node(self, t))

    def at_lam(self, lam: float) -> Node:
        return self._scaled(EDM.at_lam(self, lam))

    def f(self, t: float) -> float:
        EDM.f(self, t)
        b, rate = self.clock(float(t))
        return -b * rate / (1.0 + b)

    def g2(self, t: float) -> float:
        return EDM.g2(self, t) * self.node(t).alpha ** 2
