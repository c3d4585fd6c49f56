r"""Jump processes on tokens: L tokens, each of which jumps by itself (Austin et al., arXiv:2107.03006; Lou et al., arXiv:2310.16834).

    P(x_t | x_s) = Π_i K(x_s^i, x_t^i),   K = exp(log(α_s/α_t) Q),   s cleaner than t,

with a generator Q on the alphabet and α the share of tokens that no jump has met. Two kernels are closed,

    absorbing   K = (α_t/α_s) I + (1 − α_t/α_s) 1 e_mᵀ,   m = S, one value more than data have, the mask
    uniform     K = (α_t/α_s) I + (1 − α_t/α_s) 1 1ᵀ/S

and any other Q is given as its matrix. A model gives the clean conditionals p(x0^i = k | x_t), (B, L, S). From them, for every token,

    P(x_t = y | x_s = x) = Σ_k p_k K_t(k, y) K_{ts}(y, x) / K_s(k, x)          (the posterior of D3PM, eq. 3 and 4)
    rate x → y at s      = β_s Q(y, x) Σ_k p_k K_s(k, y) / K_s(k, x),  β = −α'/α    (β Q times the concrete score of SEDD, eq. 3)

exact where the other tokens stand still, which is all that a step of many tokens gets wrong.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.linalg import expm

from scorebed.solvers.process.base import Instant
from scorebed.solvers.process.share import share_of
from scorebed.solvers.process.tokens import TokenProcess, apart, over
from scorebed.solvers.state import Array, alike

Matrix = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class JumpProcess(TokenProcess):
    """Tokens that jump: ``size`` S values of the data, ``kernel`` "absorbing", "uniform" or a generator (S rows that sum to 0; Q[x][y] is
    the rate from x to y), ``share`` how α falls: a name of ``SHARES`` or a ``Share``. The clock is α. A step to t = 0 ends at the data."""

    size: int
    kernel: str | Matrix = "absorbing"
    share: Any = "linear"
    t_min: float = 0.0
    t_max: float = math.nan  # 1 for absorbing, 0.99 else, where α must not vanish

    def __post_init__(self) -> None:
        if isinstance(self.size, bool) or not isinstance(self.size, int) or self.size < 2:
            raise ValueError(f"JumpProcess: size = {self.size!r} must be an integer of at least 2, the values that a token of the data has")
        share_of(self.share, "JumpProcess")
        if not isinstance(self.kernel, str):
            q = np.asarray(self.kernel, dtype=float)
            good = q.shape == (self.size, self.size) and np.isfinite(q).all() and (q - np.diag(np.diag(q)) >= 0).all()
            if not good or np.abs(q.sum(1)).max() > 1e-9 * max(1.0, np.abs(q).max()):
                raise ValueError(
                    f"JumpProcess: kernel is no generator of {self.size} states: rows sum to 0, rates off the diagonal are ≥ 0"
                )
            object.__setattr__(self, "kernel", tuple(map(tuple, q.tolist())))
        elif self.kernel not in ("absorbing", "uniform"):
            raise ValueError(f"JumpProcess: kernel = {self.kernel!r} is not known: give 'absorbing', 'uniform' or a generator")
        if math.isnan(self.t_max):
            object.__setattr__(self, "t_max", 1.0 if self.absorbing else 0.99)
        if not (0.0 <= self.t_min < self.t_max <= 1.0) or (self.t_max == 1.0 and not self.absorbing):
            raise ValueError(
                f"JumpProcess: t_min = {self.t_min!r}, t_max = {self.t_max!r}: give 0 <= t_min < t_max <= 1, below 1 unless absorbing"
            )

    @property
    def absorbing(self) -> bool:
        """Whether tokens jump to a mask and nowhere else."""
        return self.kernel == "absorbing"

    @property
    def fall(self) -> Any:
        """The share, as functions."""
        return share_of(self.share, "JumpProcess")

    @property
    def mask(self) -> int | None:
        """The value of the mask, None without one."""
        return self.size if self.absorbing else None

    def node(self, t: float) -> Instant:
        t = float(t)
        if not 0.0 <= t <= self.t_max:
            raise ValueError(f"t = {t!r} is outside JumpProcess: give 0 <= t <= {self.t_max:g}")
        return Instant(t, self.fall.alpha(t), self)

    def at(self, clock: float) -> Instant:
        clock = float(clock)
        if not 0.0 <= clock <= 1.0:
            raise ValueError(f"clock = {clock!r} is outside JumpProcess: it is the share α, give 0 <= α <= 1")
        return Instant(self.fall.time(clock), clock, self)

    def beta(self, node: Instant) -> float:
        """β = −α'/α, the rate of forward jumps; infinite where α = 0."""
        return self.fall.falls(node.t) / node.clock if node.clock > 0.0 else math.inf

    def generator(self) -> np.ndarray:
        """Q on the alphabet, (A, A)."""
        if not isinstance(self.kernel, str):
            return np.array(self.kernel)
        n = self.alphabet
        to = np.eye(n)[self.size] if self.absorbing else np.full(n, 1.0 / n)
        return np.ones((n, 1)) * to - np.eye(n)

    def between(self, s: Instant, t: Instant) -> np.ndarray:
        """K(x, y) = P(x_t = y | x_s = x) for the cleaner node ``s``, (A, A)."""
        if t.clock > s.clock:
            raise ValueError(f"between(s, t) goes towards noise: t = {t.t:g} is cleaner than s = {s.t:g}")
        return _kernel(self, t.clock / s.clock if s.clock > 0.0 else 1.0)

    def forward(self, node: Instant) -> np.ndarray:
        """P(x_t = y | x0 = k), (S, A)."""
        return _kernel(self, node.clock)[: self.size]

    def velocities(self, node: Instant) -> np.ndarray:
        """The rates of the reverse process, β_s Q(y, x) K_s(k, y)/K_s(k, x), (A, S, A)."""
        falls, n, a = self.fall.falls(node.t), self.alphabet, node.clock
        if self.absorbing:  # β α/(1 − α) = −α'/(1 − α), finite at α = 0
            w = np.zeros((n, self.size, n))
            w[self.size, range(self.size), range(self.size)] = falls / (1.0 - a) if a < 1.0 else 0.0
            return w
        here = self.forward(node)
        return apart(over((falls / a) * self.generator().T[:, None, :] * here[None, :, :], here))

    def returns(self, node: Instant) -> np.ndarray:
        """The rates of the forward process, β Q(x, y) whatever k, (A, S, A)."""
        return np.repeat(apart(self.beta(node) * self.generator()[:, None, :]), self.size, 1)

    def flow(self, node: Instant) -> np.ndarray:
        if self.kernel != "uniform":
            return self.velocities(node)
        to = self.flow_rate(node) * np.eye(self.size)
        return apart(np.repeat(to[None], self.size, 0))

    # masks are common, and their steps products of p with one matrix

    def posterior(self, p: Array, x: Array, s: Instant, t: Instant) -> Array:
        if not self.absorbing:
            return super().posterior(p, x, s, t)
        shown = (t.clock - s.clock) / (1.0 - s.clock) if s.clock < 1.0 else 0.0
        masked = (x == self.size)[..., None]
        row = np.eye(self.size, self.alphabet) * shown + np.eye(self.alphabet)[self.size] * (1.0 - shown)
        return masked * (p @ alike(row, p)) + ~masked * self.onehot(x, p)

    def rates(self, p: Array, x: Array, node: Instant) -> Array:
        return self._shown(p, x, node) if self.absorbing else super().rates(p, x, node)

    def flow_rates(self, p: Array, x: Array, node: Instant) -> Array:
        self._has_flow()
        if self.absorbing:
            return self._shown(p, x, node)
        return self.flow_rate(node) * p * (1.0 - self.onehot(x, p))

    def _has_flow(self) -> None:
        if not isinstance(self.kernel, str):
            raise ValueError("a generator has no mixture path to flow along: use kernel='absorbing' or 'uniform'")

    def leaped(self, p: Array, x: Array, node: Instant, h: float, free: float = 0.0) -> Array:
        if free or not isinstance(self.kernel, str):
            return super().leaped(p, x, node, h, free)
        shown = -math.expm1(-h * self.flow_rate(node)) * (x == self.size if self.absorbing else x == x)[..., None]
        return shown * self.widened(p) + (1.0 - shown) * self.onehot(x, p)

    def _shown(self, p: Array, x: Array, node: Instant) -> Array:
        rate = self.flow_rate(node) if node.clock < 1.0 else 0.0
        return (x == self.size)[..., None] * (rate * self.widened(p))

    def flow_rate(self, node: Instant) -> float:
        """−α'/(1 − α), at which a mixture path puts tokens in their place; infinite at the data."""
        return self.fall.falls(node.t) / (1.0 - node.clock) if node.clock < 1.0 else math.inf

    def fastest(self, node: Instant, flow: bool = False) -> float:
        if flow:
            self._has_flow()
        if self.absorbing or flow:
            return self.flow_rate(node)
        return super().fastest(node) if node.clock < 1.0 else math.inf


@lru_cache(maxsize=4096)
def _kernel(process: JumpProcess, ratio: float) -> np.ndarray:
    if process.kernel == "uniform" or process.absorbing:
        return ratio * np.eye(process.alphabet) + (1.0 - ratio) * (process.generator() + np.eye(process.alphabet))
    if ratio == 0.0:
        raise ValueError("α = 0 has no kernel but for 'absorbing' and 'uniform': end the process before")
    return np.maximum(expm(-math.log(ratio) * process.generator()), 0.0)
