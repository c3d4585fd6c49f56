r"""Probability paths of discrete flow matching that no generator with one clock makes: each token goes from noise to data along

    MixturePath   K(k, ·) = (1 − b)(α e_k + (1 − α) w) + b v,  b = 4 h t(1 − t)        Gat et al., arXiv:2407.15595, eq. 9 and 10
    MetricPath    K(k, y) ∝ e^{−β d(k, y)},  β = c ((1 − t)/t)^a                       Shaul et al., arXiv:2412.03487, eq. 15

The first has any share α, a source w with or without masks, and a third law v that comes and goes (hybrid noise is the case in which it is
uniform under masks: von Rütte et al., arXiv:2503.04482). Of the parts κ_j w_j of its K it takes the velocity of eq. 14 of the first paper,

    u(x, k, y) = Σ_j (κ̇_j − κ_j κ̇_l/κ_l) w_j(y | k),  y ≠ x,   l the part that falls fastest

dots against t, and l that which grows fastest towards noise; or that of time reversal, or the kinetic-optimal one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from scorebed.solvers.process.base import Instant
from scorebed.solvers.process.share import share_of
from scorebed.solvers.process.tokens import TokenProcess, apart, kinetic, over

Law = tuple[float, ...]


@dataclass(frozen=True)
class MixturePath(TokenProcess):
    """Data, a source of noise and a third law, mixed.

    Args:
        size: S.
        source: w: "absorbing", "uniform", or S probabilities, or S + 1 of which the last is the mask's.
        share: how α falls, a name of ``SHARES`` or a ``Share``.
        third: v, as ``source``; it has a mask only if the source has one.
        height: h, the largest b, in [0, 1).
        velocity: "flow" (eq. 14), "kinetic" or "reverse", the rates that methods ask for.

    Raises:
        ValueError: an argument out of its range.
    """

    size: int
    source: str | Law = "absorbing"
    share: Any = "linear"
    third: str | Law = "uniform"
    height: float = 0.0
    velocity: str = "flow"
    t_min: float = 0.0
    t_max: float = 1.0

    def __post_init__(self) -> None:
        if isinstance(self.size, bool) or not isinstance(self.size, int) or self.size < 2:
            raise ValueError(f"MixturePath: size = {self.size!r} must be an integer of at least 2")
        share_of(self.share, "MixturePath")
        for name in ("source", "third"):
            law = getattr(self, name)
            if not isinstance(law, str):
                object.__setattr__(self, name, tuple(map(float, law)))
            self._law(name)
        if not 0.0 <= self.height < 1.0:
            raise ValueError(f"MixturePath: height = {self.height!r}: give the largest share of the third law, in [0, 1)")
        if self.velocity not in ("flow", "kinetic", "reverse"):
            raise ValueError(f"MixturePath: velocity = {self.velocity!r} is not known: give 'flow', 'kinetic' or 'reverse'")
        if not 0.0 <= self.t_min < self.t_max <= 1.0:
            raise ValueError(f"MixturePath: t_min = {self.t_min!r}, t_max = {self.t_max!r}: give 0 <= t_min < t_max <= 1")

    @property
    def mask(self) -> int | None:
        wide = len(self.source) > self.size if isinstance(self.source, tuple) else self.source == "absorbing"
        return self.size if wide else None

    def _law(self, name: str) -> np.ndarray:
        """A law on the alphabet, (A,)."""
        law, n = getattr(self, name), self.alphabet
        if law == "uniform":
            return np.eye(self.size, n).mean(0)
        if law == "absorbing" and n > self.size:
            return np.eye(n)[self.size]
        p = np.zeros(0) if isinstance(law, str) else np.array(law)
        if len(p) not in (self.size, n) or not np.isfinite(p).all() or p.min() < 0.0 or abs(p.sum() - 1.0) > 1e-9:
            raise ValueError(f"MixturePath: {name} = {law!r}: give 'absorbing', 'uniform', or {self.size} to {n} probabilities")
        return np.pad(p, (0, n - len(p)))

    def node(self, t: float) -> Instant:
        t = float(t)
        if not 0.0 <= t <= self.t_max:
            raise ValueError(f"t = {t!r} is outside MixturePath: give 0 <= t <= {self.t_max:g}")
        return Instant(t, share_of(self.share, "MixturePath").alpha(t), self)

    def at(self, clock: float) -> Instant:
        clock = float(clock)
        if not 0.0 <= clock <= 1.0:
            raise ValueError(f"clock = {clock!r} is outside MixturePath: it is the share α, give 0 <= α <= 1")
        return Instant(share_of(self.share, "MixturePath").time(clock), clock, self)

    def parts(self, node: Instant) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """κ (3,), −κ' (3,) and the laws w_j(y | k), (3, S, A): of data, source and the third."""
        t, a, falls = node.t, node.clock, share_of(self.share, "MixturePath").falls(node.t)
        b, up = 4.0 * self.height * t * (1.0 - t), 4.0 * self.height * (1.0 - 2.0 * t)
        share = np.array([(1.0 - b) * a, (1.0 - b) * (1.0 - a), b])
        slope = np.array([up * a + (1.0 - b) * falls, up * (1.0 - a) - (1.0 - b) * falls, -up])
        rows = np.ones((self.size, 1))
        return share, slope, np.stack([np.eye(self.size, self.alphabet), rows * self._law("source"), rows * self._law("third")])

    def forward(self, node: Instant) -> np.ndarray:
        share, _, laws = self.parts(node)
        return np.tensordot(share, laws, 1)

    def between(self, s: Instant, t: Instant) -> np.ndarray:
        if t.t < s.t:
            raise ValueError(f"between(s, t) goes towards noise: t = {t.t:g} is cleaner than s = {s.t:g}")
        (here, _, laws), (there, _, _) = self.parts(s), self.parts(t)
        kept = there[0] / here[0] if here[0] > 0.0 else 1.0
        fresh = np.tensordot((there - kept * here)[1:], laws[1:, 0], 1)
        if fresh.min() < -1e-12:
            raise ValueError(f"height = {self.height:g} is too high for a forward process from t = {s.t:g}: use a method of rates")
        return kept * np.eye(self.alphabet) + np.maximum(fresh, 0.0)

    def velocities(self, node: Instant) -> np.ndarray:
        if self.velocity == "flow":
            return self.flow(node)
        share, slope, laws = self.parts(node)
        k = np.tensordot(share, laws, 1)
        if self.velocity == "kinetic":
            return kinetic(k, np.tensordot(slope, laws, 1))
        if share[0] <= 0.0:
            raise ValueError("the reverse rates of MixturePath are infinite where α = 0: begin later, or take velocity='flow'")
        back = np.tensordot((share * slope[0] / share[0] - slope)[1:], laws[1:, 0], 1)
        if back.min() < -1e-12:
            raise ValueError(f"height = {self.height:g} is too high for time reversal at t = {node.t:g}: take velocity='flow'")
        return apart(over(np.maximum(back, 0.0)[:, None, None] * k[None], k))

    def flow(self, node: Instant) -> np.ndarray:
        return self._along(node, 1.0)

    def returns(self, node: Instant) -> np.ndarray:
        return self._along(node, -1.0)

    def _along(self, node: Instant, sign: float) -> np.ndarray:
        """The velocity of eq. 14, towards data (1) or noise (−1)."""
        share, slope, laws = self.parts(node)
        slope = sign * slope
        some = share > 0.0
        if (slope[~some] < 0.0).any():
            raise ValueError(f"t = {node.t:g}: a part of MixturePath has gone there, and the rates with which it goes are infinite")
        least = (slope[some] / share[some]).min()
        to = np.tensordot(np.maximum(slope - share * least, 0.0), laws, 1)
        return apart(np.repeat(to[None], self.alphabet, 0))

    def fastest(self, node: Instant, flow: bool = False) -> float:
        return math.inf if node.t == 0.0 else super().fastest(node, flow)


@dataclass(frozen=True)
class MetricPath(TokenProcess):
    """Values near the clean one are likelier: K(k, y) ∝ e^{−β d(k, y)}, with kinetic-optimal rates p_t(y | k) β̇ [d(k, x) − d(k, y)]₊.

    Args:
        distances: d, (S, S), symmetric or not, 0 on the diagonal and positive elsewhere.
        scale: c.
        power: a, at least 1.

    Raises:
        ValueError: distances that are none, a scale that is not positive, a power below 1.
    """

    distances: Any
    scale: float = 1.0
    power: float = 1.0
    t_min: float = 0.0
    t_max: float = 1.0

    def __post_init__(self) -> None:
        d = np.array(self.distances, dtype=float)
        if d.ndim != 2 or d.shape[0] != d.shape[1] or len(d) < 2 or not np.isfinite(d).all():
            raise ValueError(f"MetricPath: distances have shape {d.shape}: give (S, S) finite numbers, S ≥ 2")
        if np.diag(d).any() or (d + np.eye(len(d)) <= 0.0).any():
            raise ValueError("MetricPath: distances must be 0 on the diagonal and positive elsewhere")
        if not (self.scale > 0.0 and self.power >= 1.0):
            raise ValueError(f"MetricPath: scale = {self.scale!r}, power = {self.power!r}: give a positive scale and a power of at least 1")
        object.__setattr__(self, "distances", tuple(map(tuple, d.tolist())))

    @property
    def size(self) -> int:  # type: ignore[override]
        return len(self.distances)

    def node(self, t: float) -> Instant:
        t = float(t)
        if not 0.0 <= t <= self.t_max:
            raise ValueError(f"t = {t!r} is outside MetricPath: give 0 <= t <= {self.t_max:g}")
        return Instant(t, 1.0 - t, self)

    def at(self, clock: float) -> Instant:
        return self.node(1.0 - clock)

    def forward(self, node: Instant) -> np.ndarray:
        if node.t == 0.0:
            return np.eye(self.size)
        k = np.exp(-self.scale * ((1.0 - node.t) / node.t) ** self.power * np.array(self.distances))
        return np.asarray(k / k.sum(1, keepdims=True))

    def velocities(self, node: Instant) -> np.ndarray:
        return kinetic(*self._moving(node))

    def returns(self, node: Instant) -> np.ndarray:
        k, slope = self._moving(node)
        return kinetic(k, -slope)

    def _moving(self, node: Instant) -> tuple[np.ndarray, np.ndarray]:
        """K and −∂_t K = K β̇ (⟨d⟩ − d)."""
        if node.t == 0.0:
            raise ValueError("the rates of MetricPath are infinite at t = 0: end the grid with a step to it")
        k, d, odds = self.forward(node), np.array(self.distances), (1.0 - node.t) / node.t
        rate = self.scale * self.power * odds ** (self.power - 1.0) / node.t**2
        return k, rate * k * ((k * d).sum(1, keepdims=True) - d)

    def fastest(self, node: Instant, flow: bool = False) -> float:
        return math.inf if node.t == 0.0 else super().fastest(node, flow)
