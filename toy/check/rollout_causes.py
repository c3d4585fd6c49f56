r"""What each step of a roll-out is, and what it would be with one term of it wrong.

On the straight path z = x/(α + σ), τ = σ/(α + σ), a step that sees D once is z_t = p D + q ε̂ + ς ξ. Two runs on the same draws with other
states and other answers of the model give p and q exactly, and ς is what is left. The law is kept to first order where

    p = 1 − τ_t + O(h²),    q² + ς² = τ_t² + O(h²),

which is what the drift that belongs to the noise means; (p, q) at a given ς tells which term is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


def tau(node: Any) -> float:
    """τ of a node."""
    return float(node.sigma / (node.alpha + node.sigma))


@dataclass(frozen=True)
class StepRead:
    """(p, q, ς) of the step from τ_s to τ_t, ``h`` its length in λ."""

    s: float
    t: float
    h: float
    p: float
    q: float
    std: float

    @property
    def rate(self) -> float:
        """ς²/(τ_t² h): how much of the noise is new, per unit of λ."""
        return self.std**2 / (self.t**2 * self.h)

    @property
    def off(self) -> tuple[float, float]:
        """What p, and q² + ς², are off by, per unit of λ; both tend to 0 with h."""
        return (self.p - 1.0 + self.t) / self.h, (self.q**2 + self.std**2 - self.t**2) / (2.0 * self.t**2 * self.h)


def _euler(s: float, t: float, std: float, k: float = 1.0, at: float | None = None) -> tuple[float, float]:
    return 1.0 - t, t - k * std * std / (2.0 * (s if at is None else at))


Formula = Callable[[float, float, float], tuple[float, float]]
RIGHT: dict[str, Formula] = {
    "Euler-Maruyama": _euler,
    "kept noise": lambda s, t, e: (1.0 - t, math.sqrt(max(0.0, t * t - e * e))),
}
WRONG: dict[str, Formula] = {
    "missing drift": lambda s, t, e: _euler(s, t, e, 0.0),
    "sign of the drift correction": lambda s, t, e: _euler(s, t, e, -1.0),
    "drift correction twice": lambda s, t, e: _euler(s, t, e, 2.0),
    "half of the drift correction": lambda s, t, e: _euler(s, t, e, 0.5),
    "sigma at the wrong end": lambda s, t, e: _euler(s, t, e, at=t),
    "std for variance": lambda s, t, e: _euler(s, t, e, 1.0 / (e / math.sqrt(s - t)) if e else 1.0),
    "std for variance in the step": lambda s, t, e: _euler(s, t, e, 1.0 / e if e else 1.0),
    "dt left out of the drift": lambda s, t, e: _euler(s, t, e, 1.0 / (s - t)),
    "sign of dt": lambda s, t, e: (1.0 - 2.0 * s + t, 2.0 * s - t - e * e / (2.0 * s)),
    "sign of dt in the whole drift": lambda s, t, e: (1.0 - 2.0 * s + t, 2.0 * s - t + e * e / (2.0 * s)),
    "no drift": lambda s, t, e: (1.0 - s, s),
    "x0 by the sigma of the next node": lambda s, t, e: (
        1.0 - t - (s - t) * (1.0 - t - math.sqrt(max(0.0, t * t - e * e))),
        math.sqrt(max(0.0, t * t - e * e)) + (s - t) * (1.0 - t - math.sqrt(max(0.0, t * t - e * e))),
    ),
    "noise beside a whole DDIM step": lambda s, t, e: (1.0 - t, t),
}
"""(p, q) at a given ς: the two ways in which it is right, and what it is with one term wrong."""


def nearest(steps: Sequence[StepRead], table: dict[str, Formula]) -> list[tuple[str, float]]:
    """How far the steps are from each formula, in units of the length that the step goes, the nearest first."""
    out = []
    for name, formula in table.items():
        gaps = [(np.array(formula(k.s, k.t, k.std)) - (k.p, k.q)) / (k.s - k.t) for k in steps]
        out.append((name, float(np.sqrt(np.mean(np.square(gaps))))))
    return sorted(out, key=lambda pair: pair[1])


def limit(coarse: Sequence[StepRead], fine: Sequence[StepRead]) -> np.ndarray:
    """``off`` extrapolated to h = 0 from steps that begin at the same nodes; each at least by what the formula is off itself, (k, 2)."""
    parts = np.array([(a.off, b.off) for a, b in zip(coarse, fine, strict=True)])
    ratio = coarse[0].h / fine[0].h
    return np.asarray((ratio * parts[:, 1] - parts[:, 0]) / (ratio - 1.0))


def wrong_end(steps: Sequence[StepRead]) -> bool:
    """Whether the noise is g(τ) sqrt(dτ) of Flow-SDE, or CPS's, with g at the other end, and not at its own."""

    def spread(values: list[float]) -> float:
        return float(np.std(np.log(values)))

    if min(k.std for k in steps) <= 0.0:
        return False
    right = spread([k.std**2 * (1.0 - k.s) / (k.s * (k.s - k.t)) for k in steps])
    other = spread([k.std**2 * (1.0 - k.t) / (k.t * (k.s - k.t)) for k in steps])
    return other < 0.03 and right > 3.0 * other


def log_causes(steps: Sequence[StepRead], slope: np.ndarray, constant: np.ndarray, scale: np.ndarray, d: int) -> str:
    """The fault of log-probabilities −½ slope r² + constant, r² the square of the noise: right are 1 and −d log(ς sqrt(2π)).

    Args:
        scale: α + σ at the end of each step, in which the states are measured.

    Returns:
        the name of the fault, in words.
    """
    std = np.array([k.std for k in steps]) * scale
    span = np.array([k.s - k.t for k in steps])
    s, t = np.array([k.s for k in steps]), np.array([k.t for k in steps])
    two_pi, log_std = 0.5 * math.log(2.0 * math.pi), np.log(std)
    whole = -d * (log_std + two_pi)

    def near(a: Any, b: Any, within: float = 0.08) -> bool:
        return bool(np.all(np.abs(np.asarray(a) - b) <= within * np.maximum(1e-3, np.abs(np.asarray(b)))))

    slopes = {
        "": np.ones_like(std),
        "mean over the entries for their sum": np.full_like(std, 1.0 / d),
        "factor ½ left out of the log-probability": np.full_like(std, 2.0),
        "sign of the log-probability": np.full_like(std, -1.0),
        "std for variance in the log-probability": std,
        "variance left out of the log-probability": std**2,
        "variance for std in the log-probability": 1.0 / std**2,
        "sqrt(dt) left out of the log-probability": span,
        "sigma at the wrong end in the log-probability": s * (1.0 - t) / (t * (1.0 - s)),
        "sigma of the other end in the log-probability": (s / t) ** 2,
    }
    for name, value in slopes.items():
        if near(slope, value):
            if name:
                return name
            break
    else:
        return "log-probability of another std"
    gap = constant - whole
    constants = {
        "2π left out of the log-probability": np.full_like(gap, d * two_pi),
        "log std left out of the log-probability": d * log_std,
        "normaliser left out of the log-probability": d * (log_std + two_pi),
        "normaliser of one entry": (d - 1) * (log_std + two_pi),
    }
    best = min(constants, key=lambda name: float(np.abs(gap - constants[name]).max()))
    return best if float(np.abs(gap - constants[best]).max()) < 0.1 * d else "constant of the log-probability"
