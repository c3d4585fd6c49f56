r"""Rules that join two predictions, beside CFG (``solvers.guide``): CFG++, rescaled, projected, CFG-Zero*, tangential, by magnitude."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from scorebed.solvers.guide import CFG, Rule, Scale, by_row
from scorebed.solvers.model import Array, from_denoised, to_denoised

_TINY = 1e-30  # in place of |0|²


def cfg_pp(scale: float, grid: Sequence[Any]) -> CFG:
    r"""CFG++ (arXiv:2406.08070, Alg. 1): denoise by the guided model, renoise by the unconditional one.

        x_t = α_t D_λ + σ_t eps_null        =  a DDIM step with  w = λ/(1 − rho_t/rho_s)

    so that it is CFG of a scale that depends on the step, about λ/h for steps h of log(alpha/sigma): finite on a grid, without a limit. On
    the last node w = λ.

    Returns:
        the CFG whose scale λ/(1 − rho_t/rho_s) depends on the step.

    Raises:
        ValueError: λ outside [0, 1].
    """
    if not 0.0 <= scale <= 1.0:
        raise ValueError(f"scale = {scale!r} of CFG++ must lie in [0, 1]: it interpolates")
    ahead = {s.clock: scale / (1.0 - t.rho / s.rho) for s, t in pairwise(grid)}
    return CFG(lambda node: ahead.get(node.clock, scale))


@dataclass(frozen=True)
class Rescaled(Rule):
    """CFG, then scaled so that each sample has the standard deviation of the given answer, a part φ of the way (arXiv:2305.08891, §3.4).

    D = φ D_w std(D_given)/std(D_w) + (1 − φ) D_w, std over the entries of a sample.
    """

    scale: Scale
    phi: float = 0.7

    def __call__(self, given: Array, null: Array, x: Array, node: Any) -> Array:
        raw = CFG(self.scale)(given, null, x, node)
        ratio = (_variance(given) / _variance(raw).clip(_TINY, None)) ** 0.5
        return (self.phi * by_row(ratio, raw) + (1.0 - self.phi)) * raw


@dataclass(frozen=True)
class APG(Rule):
    r"""Adaptive projected guidance (arXiv:2410.02416, Alg. 1).

        Δ ← D_given − D_null + β Δ_before,   Δ ← Δ min(1, r/|Δ|),   D = D_given + (w − 1)(Δ_⊥ + η Δ_∥)

    with Δ_∥ along D_given. With β ≠ 0 the rule remembers the step before, of one run at a time; it forgets when the noise grows again.
    """

    scale: float
    eta: float = 0.0
    norm: float = math.inf
    momentum: float = 0.0
    memory: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def __call__(self, given: Array, null: Array, x: Array, node: Any) -> Array:
        gap = given - null
        if self.momentum:
            seen = self.memory
            if node.clock != seen.get("clock"):
                ahead = "clock" in seen and node.clock > seen["clock"] and seen["gap"].shape == gap.shape
                seen.update(clock=node.clock, before=seen["gap"] if ahead else 0.0 * gap)
            gap = seen["gap"] = gap + self.momentum * seen["before"]
        if math.isfinite(self.norm):
            gap = by_row(self.norm / (_dot(gap, gap) ** 0.5).clip(self.norm, None), gap) * gap
        along = by_row(_dot(gap, given) / _dot(given, given).clip(_TINY, None), given) * given
        return given + (self.scale - 1.0) * (gap - (1.0 - self.eta) * along)


@dataclass(frozen=True)
class CFGZero(Rule):
    """CFG-Zero* (arXiv:2503.18886): v = s v_null + w (v_given − s v_null) with s = ⟨v_given, v_null⟩/|v_null|², and v = 0 at first.

    v is the velocity of the straight flow; ``zero`` is the rho above which it is nought.
    """

    scale: Scale
    zero: float = math.inf

    def __call__(self, given: Array, null: Array, x: Array, node: Any) -> Array:
        v, u = (from_denoised(value, x, node, "flow") for value in (given, null))
        if node.rho > self.zero:
            return to_denoised(0.0 * v, x, node, "flow")
        u = by_row(_dot(v, u) / _dot(u, u).clip(_TINY, None), u) * u
        return to_denoised(CFG(self.scale)(v, u, x, node), x, node, "flow")


@dataclass(frozen=True)
class Tangential(Rule):
    r"""Tangential guidance (arXiv:2503.18137, Alg. 1): CFG from the part of the null answer along the first right singular vector of both.

    With the Gram matrix (a, b; b, c) of the two answers, |D_given|² = a, |D_null|² = c, and r² = ((c − a)/2)² + b², that part is

        D_null ← (b D_given + ((c − a)/2 + r) D_null)/(2 r).
    """

    scale: Scale

    def __call__(self, given: Array, null: Array, x: Array, node: Any) -> Array:
        half, b = 0.5 * (_dot(null, null) - _dot(given, given)), _dot(given, null)
        r = (half * half + b * b).clip(_TINY, None) ** 0.5
        part = by_row(0.5 * b / r, given) * given + by_row(0.5 * half / r + 0.5, null) * null
        return CFG(self.scale)(given, part, x, node)


@dataclass(frozen=True)
class MagnitudeAware(Rule):
    """MAMBO-G (arXiv:2508.03442): CFG of the scale 1 + (w − 1) e^{−k |D_given − D_null|/|D_null|}, one for each sample."""

    scale: float
    k: float = 8.0

    def __call__(self, given: Array, null: Array, x: Array, node: Any) -> Array:
        gap = given - null
        ratio = (_dot(gap, gap) / _dot(null, null).clip(_TINY, None)) ** 0.5
        return given + by_row((self.scale - 1.0) * math.e ** (-self.k * ratio), gap) * gap


def _dot(a: Array, b: Array) -> Array:
    """⟨a, b⟩ of each sample, (n,)."""
    return (a * b).reshape(a.shape[0], -1).sum(1)


def _variance(a: Array) -> Array:
    """Of the entries of each sample, (n,)."""
    flat = a.reshape(a.shape[0], -1)
    flat = flat - flat.mean(1).reshape(-1, 1)
    return (flat * flat).mean(1)
