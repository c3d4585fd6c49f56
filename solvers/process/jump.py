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

from scorebed.solvers.draws import KeyedDraws, alike, onehot
from scorebed.solvers.process.base import Instant
from scorebed.solvers.process.share import SHARES
from scorebed.solvers.state import Array, is_finite

Matrix = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class JumpProcess:
    """Tokens that jump: ``size`` S values of the data, ``kernel`` "absorbing", "uniform" or a generator (S rows that sum to 0; Q[x][y] is
    the rate from x to y), ``share`` how α falls. The clock is α. A step to t = 0 ends at the data."""

    size: int
    kernel: str | Matrix = "absorbing"
    share: str = "linear"
    t_min: float = 0.0
    t_max: float = math.nan  # 1 for absorbing, 0.99 else, where α must not vanish

    kind = "jump"
    state = ("x",)
    gives = ("probabilities",)
    draws = 1

    def __post_init__(self) -> None:
        if isinstance(self.size, bool) or not isinstance(self.size, int) or self.size < 2:
            raise ValueError(f"JumpProcess: size = {self.size!r} must be an integer of at least 2, the values that a token of the data has")
        if self.share not in SHARES:
            raise ValueError(f"JumpProcess: share = {self.share!r} is not known: give one of {', '.join(SHARES)}")
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
    def alphabet(self) -> int:
        """How many values a token has under noise: S, and the mask."""
        return self.size + self.absorbing

    @property
    def mask(self) -> int | None:
        """The value of the mask, None without one."""
        return self.size if self.absorbing else None

    def node(self, t: float) -> Instant:
        t = float(t)
        if not 0.0 <= t <= self.t_max:
            raise ValueError(f"t = {t!r} is outside JumpProcess: give 0 <= t <= {self.t_max:g}")
        return Instant(t, SHARES[self.share].alpha(t), self)

    def at(self, clock: float) -> Instant:
        clock = float(clock)
        if not 0.0 <= clock <= 1.0:
            raise ValueError(f"clock = {clock!r} is outside JumpProcess: it is the share α, give 0 <= α <= 1")
        return Instant(SHARES[self.share].time(clock), clock, self)

    def beta(self, node: Instant) -> float:
        """β = −α'/α, the rate of forward jumps; infinite where α = 0."""
        return SHARES[self.share].falls(node.t) / node.clock if node.clock > 0.0 else math.inf

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

    # from clean conditionals to steps; p is (…, S), x is (…), both NumPy or torch

    def posterior(self, p: Array, x: Array, s: Instant, t: Instant) -> Array:
        """P(x_t = y | x_s = x) of every token, the others standing still, (…, A); ``t`` is cleaner. Linear in p."""
        w = _posterior(self, s.clock, t.clock)
        if not self.absorbing:
            return (p[..., None] * alike(w, p)[x]).sum(-2)
        masked = (x == self.size)[..., None]
        return masked * (p @ alike(w[self.size], p)) + ~masked * self.onehot(x, p)

    def rates(self, p: Array, x: Array, node: Instant) -> Array:
        """The rates in time of the reverse jumps x → y at ``node``, (…, A), 0 where y = x. Linear in p."""
        w = SHARES[self.share].falls(node.t) * _rates(self, node.clock)
        if not self.absorbing:
            return (p[..., None] * alike(w, p)[x]).sum(-2)
        return (x == self.size)[..., None] * (p @ alike(w[self.size], p))

    def flow_rate(self, node: Instant) -> float:
        """−α'/(1 − α), at which a mixture path puts tokens in their place; infinite at the data."""
        return SHARES[self.share].falls(node.t) / (1.0 - node.clock) if node.clock < 1.0 else math.inf

    def forward_rates(self, x: Array, node: Instant, like: Array) -> Array:
        """The rates in time of the forward jumps x → y at ``node``, (…, A), 0 where y = x."""
        q = self.generator()
        return self.beta(node) * alike(q - np.diag(np.diag(q)), like)[x]

    def fastest(self, node: Instant) -> float:
        """The largest total rate of reverse jumps that a token can have at ``node``, whatever the model says."""
        if self.absorbing:
            return self.flow_rate(node)
        if node.clock >= 1.0:
            return math.inf
        return SHARES[self.share].falls(node.t) * float(_rates(self, node.clock).sum(-1).max())

    def onehot(self, x: Array, like: Array) -> Array:
        """e_x of the alphabet, (…, A), in dtype and library of ``like``."""
        return onehot(x, self.alphabet, like)

    def widened(self, p: Array) -> Array:
        """Probabilities of the S values as ones of the alphabet, (…, A): the mask has none."""
        return p @ alike(np.eye(self.size, self.alphabet), p)

    # what the loop asks

    def check(self, x: Any, name: str = "x") -> None:
        """Refuse what is not an array of integers (…, L), each a value of the alphabet."""
        if not (hasattr(x, "shape") and hasattr(x, "dtype")):
            raise TypeError(f"{name} is a {type(x).__name__}: give a NumPy array or a torch tensor of integers, shape (B, L)")
        whole = x.dtype.kind in "iu" if isinstance(x, np.ndarray) else not (x.is_floating_point() or x.is_complex())
        if not whole or str(x.dtype).endswith("bool"):
            raise TypeError(f"{name} has dtype {x.dtype}: tokens are integers, e.g. {name}.astype('int64')")
        if len(x.shape) < 2 or math.prod(x.shape) == 0:
            raise ValueError(f"{name} has shape {tuple(x.shape)}: give at least one sample of at least one token, shape (B, L)")
        low, high = int(x.min()), int(x.max())
        if low < 0 or high >= self.alphabet:
            mask = f", {self.mask} the mask" if self.absorbing else ""
            raise ValueError(f"{name} has values from {low} to {high}: tokens are 0 to {self.alphabet - 1}{mask}")

    def check_output(self, value: Any, x: Any, what: str) -> None:
        """Refuse what is not probabilities (…, L, S)."""
        if not (hasattr(value, "shape") and hasattr(value, "dtype")):
            raise TypeError(f"{what} is a {type(value).__name__}, not an array of shape {(*x.shape, self.size)}")
        if tuple(value.shape) != (*x.shape, self.size):
            raise ValueError(f"{what} has shape {tuple(value.shape)}: give the probabilities of the clean values, {(*x.shape, self.size)}")
        if not is_finite(value):
            return  # the loop says more of it
        if bool((value < 0).any()) or bool((abs(value.sum(-1) - 1.0) > 1e-3).any()):
            raise ValueError(f"{what} are no probabilities: they must be at least 0 and sum to 1; of logits give the softmax")

    def noise(self, source: Any, s: Any, t: Any) -> KeyedDraws:
        """The draws of a step."""
        return KeyedDraws(source, s, t)

    def check_noise(self, value: Any, x: Any, where: str) -> None:
        """Refuse what draws nothing."""
        if not callable(value):
            raise TypeError(f"noise(s, t) {where} is a {type(value).__name__}: give a function of probabilities that draws (solvers.draws)")

    def clean(self, prediction: Array) -> Array:
        """The most probable clean values, (…, L)."""
        return prediction.argmax(-1)


@lru_cache(maxsize=4096)
def _kernel(process: JumpProcess, ratio: float) -> np.ndarray:
    if process.kernel == "uniform" or process.absorbing:
        return ratio * np.eye(process.alphabet) + (1.0 - ratio) * (process.generator() + np.eye(process.alphabet))
    if ratio == 0.0:
        raise ValueError("α = 0 has no kernel but for 'absorbing' and 'uniform': end the process before")
    return np.maximum(expm(-math.log(ratio) * process.generator()), 0.0)


@lru_cache(maxsize=512)
def _posterior(process: JumpProcess, s: float, t: float) -> np.ndarray:
    """w[x, k, y] with P(x_t = y | x_s = x) = Σ_k p_k w[x, k, y]; 0 where k cannot have become x."""
    here, there, step = (_kernel(process, a) for a in (s, t, s / t))
    here, there = here[: process.size], there[: process.size]
    with np.errstate(divide="ignore", invalid="ignore"):
        w = there[None, :, :] * step.T[:, None, :] / here.T[:, :, None]
    return np.where(here.T[:, :, None] > 0.0, w, 0.0)


@lru_cache(maxsize=512)
def _rates(process: JumpProcess, alpha: float) -> np.ndarray:
    """w[x, k, y] with reverse rates −α' Σ_k p_k w[x, k, y]."""
    n, size = process.alphabet, process.size
    if process.absorbing:  # β α/(1 − α) = −α'/(1 − α), finite at α = 0
        w = np.zeros((n, size, n))
        w[size, range(size), range(size)] = 1.0 / (1.0 - alpha) if alpha < 1.0 else 0.0
        return w
    here, q = _kernel(process, alpha)[:size], process.generator() / alpha
    with np.errstate(divide="ignore", invalid="ignore"):
        w = q.T[:, None, :] * here[None, :, :] / here.T[:, :, None]
    w = np.where(here.T[:, :, None] > 0.0, w, 0.0)
    w[range(n), :, range(n)] = 0.0
    return w
