r"""Noise in steps: a matrix of its own for each of T steps, as D3PM has it (Austin et al., arXiv:2107.03006).

    q(x_i | x_{i−1}) = Q_i(x_{i−1}, x_i),   K_i = Q_1 Q_2 … Q_i,   at times t = i/T

    uniform_steps     Q = (1 − β) I + β 1 1ᵀ/S                                                                  eq. A.2.1
    absorbing_steps   Q = (1 − β) I + β 1 e_mᵀ,  the mask stays                                                 A.2.2
    gaussian_steps    Q(x, y) = e^{−4 (x − y)²/((S − 1)² β)} / Σ_{n = 1−S}^{S−1} e^{−4 n²/((S − 1)² β)},  x ≠ y     A.2.3
    banded_steps      Q(x, y) = β/S where 0 < |x − y| ≤ v                                                       sec. 3.1
    embedded_steps    Q = exp(β R), R the generator of nearest neighbours                                       A.2.4

each with the rest of its row on the diagonal. Steps of several i at once are steps of their product. There are no rates between them: the
methods are those of posteriors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.linalg import expm

from scorebed.solvers.process.base import Instant
from scorebed.solvers.process.tokens import TokenProcess

Matrices = tuple[tuple[tuple[float, ...], ...], ...]


@dataclass(frozen=True)
class StepProcess(TokenProcess):
    """A matrix for each step.

    Args:
        size: S, the values of the data.
        matrices: Q_1 … Q_T, each (A, A) with rows that sum to 1; A = S, or S + 1 with a mask.

    Raises:
        ValueError: matrices that are none, or of another size.
    """

    size: int
    matrices: Any
    t_min: float = 0.0
    t_max: float = 1.0

    def __post_init__(self) -> None:
        q = np.array(self.matrices, dtype=float)
        if q.ndim != 3 or q.shape[1] != q.shape[2] or q.shape[1] not in (self.size, self.size + 1) or len(q) < 1:
            raise ValueError(f"StepProcess: matrices have shape {q.shape}: give (T, A, A) with A = {self.size} or {self.size + 1}")
        if not np.isfinite(q).all() or q.min() < 0.0 or np.abs(q.sum(-1) - 1.0).max() > 1e-9:
            raise ValueError(f"StepProcess: rows of matrices must be at least 0 and sum to 1; they are at least {q.min():g}")
        q = q / q.sum(-1, keepdims=True)
        object.__setattr__(self, "matrices", tuple(tuple(map(tuple, m)) for m in q.tolist()))
        if not 0.0 <= self.t_min < self.t_max <= 1.0:
            raise ValueError(f"StepProcess: t_min = {self.t_min!r}, t_max = {self.t_max!r}: give 0 <= t_min < t_max <= 1")

    def __hash__(self) -> int:
        return hash((self.size, len(self.matrices), self.matrices[-1]))

    def __repr__(self) -> str:
        return f"StepProcess({self.size}, {len(self.matrices)} steps)"

    @property
    def mask(self) -> int | None:
        return self.size if len(self.matrices[0]) > self.size else None

    @property
    def steps(self) -> int:
        """T."""
        return len(self.matrices)

    def node(self, t: float) -> Instant:
        t = float(t)
        i = round(t * self.steps) if math.isfinite(t) else -1
        if not 0 <= i <= self.steps or abs(t * self.steps - i) > 1e-6:
            raise ValueError(f"t = {t!r} is no step of this process: give a multiple of 1/{self.steps}, from 0 to 1")
        return Instant(i / self.steps, 1.0 - i / self.steps, self)

    def at(self, clock: float) -> Instant:
        return self.node(1.0 - clock)

    def nearest(self, t: float | None = None, clock: float | None = None) -> Instant:
        """The node of the step nearest to t or to a clock: a spacing goes through the steps that there are, a method asks for them."""
        return self.node(round((1.0 - clock if clock is not None else t or 0.0) * self.steps) / self.steps)

    def forward(self, node: Instant) -> np.ndarray:
        return _product(self, 0, round(node.t * self.steps))[: self.size]

    def between(self, s: Instant, t: Instant) -> np.ndarray:
        if t.t < s.t:
            raise ValueError(f"between(s, t) goes towards noise: t = {t.t:g} is cleaner than s = {s.t:g}")
        return _product(self, round(s.t * self.steps), round(t.t * self.steps))


@lru_cache(maxsize=4096)
def _product(process: StepProcess, first: int, last: int) -> np.ndarray:
    out = np.eye(process.alphabet)
    for m in process.matrices[first:last]:
        out = out @ np.array(m)
    return out


# how much noise a step adds


def linear_betas(steps: int, low: float = 0.02, high: float = 1.0) -> list[float]:
    """From ``low`` to ``high`` in equal steps (D3PM's for Gaussian kernels)."""
    return list(np.linspace(low, high, steps))


def cosine_betas(steps: int, offset: float = 0.008) -> list[float]:
    """β_i = 1 − f_i/f_{i−1},  f_i = cos((i/T + o)/(1 + o) π/2) (D3PM's for uniform kernels)."""
    f = [math.cos((i / steps + offset) / (1.0 + offset) * 0.5 * math.pi) for i in range(steps + 1)]
    return [1.0 - max(b, 0.0) / a for a, b in pairwise(f)]


def even_betas(steps: int) -> list[float]:
    """β_i = 1/(T − i + 1), so that a share i/T has jumped after i steps (D3PM's for masks)."""
    return [1.0 / (steps - i) for i in range(steps)]


def _steps(size: int, betas: Sequence[float], matrix: Callable[[float], np.ndarray]) -> StepProcess:
    if not len(betas) or not all(0.0 <= b < math.inf for b in betas):
        raise ValueError(f"betas = {list(betas)!r}: give a number of at least 0 for each step")
    made = [matrix(float(b)) for b in betas]
    for q in made:
        np.fill_diagonal(q, 0.0)
        np.fill_diagonal(q, 1.0 - q.sum(1))
        if q.min() < -1e-12:
            raise ValueError(f"betas up to {max(betas):g} leave no room on the diagonal: give smaller ones")
    return StepProcess(size, np.maximum(made, 0.0))


def uniform_steps(size: int, betas: Sequence[float]) -> StepProcess:
    """Jumps anywhere, with probability β."""
    return _steps(size, betas, lambda b: np.full((size, size), b / size))


def absorbing_steps(size: int, betas: Sequence[float]) -> StepProcess:
    """A mask, with probability β."""
    to_mask = np.eye(size + 1)[size]
    return _steps(size, betas, lambda b: b * np.repeat(to_mask[None], size + 1, 0))


def gaussian_steps(size: int, betas: Sequence[float]) -> StepProcess:
    """Jumps to near levels: a discretised Gaussian of variance β (S − 1)²/8."""
    x, n = np.arange(size), np.arange(1 - size, size)

    def matrix(b: float) -> np.ndarray:
        scale = 4.0 / ((size - 1) ** 2 * b) if b > 0.0 else math.inf
        with np.errstate(invalid="ignore"):
            near = np.where(x[:, None] == x, 1.0, np.exp(-scale * (x[:, None] - x) ** 2.0))
            return np.asarray(near / np.where(n == 0, 1.0, np.exp(-scale * n**2.0)).sum())

    return _steps(size, betas, matrix)


def banded_steps(size: int, betas: Sequence[float], width: int = 1) -> StepProcess:
    """Jumps to each of the ``width`` levels above and below, with probability β/S."""
    x = np.arange(size)
    near = 1.0 * (np.abs(x[:, None] - x) <= width)
    return _steps(size, betas, lambda b: near * (b / size))


def embedded_steps(generator: Any, betas: Sequence[float]) -> StepProcess:
    """exp(β R) of a generator, such as ``generators.embedding_rates``."""
    r = np.array(generator, dtype=float)
    return _steps(len(r), betas, lambda b: np.asarray(expm(b * r)))
