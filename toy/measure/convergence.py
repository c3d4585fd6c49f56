r"""Order of convergence: global errors on refined grids against an exact map, and the slope of log error against log h.

A slope is only an order where the error is neither above the asymptotic range nor at the round-off floor, so ``order_of`` looks at the
finest refinements above the floor and reports how far their slopes differ.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import chdtri

from scorebed.solvers import Denoiser, Node, Solver, sample

STEEPEST = 6.0
"""The largest order that ``profile_order`` looks for."""
_SLOPES = np.linspace(0.0, STEEPEST, 1201)


@dataclass(frozen=True)
class Order:
    """A measured order: the least-squares slope of the finest refinements above the floor, and the range of their single slopes."""

    slope: float
    low: float
    high: float

    def inside(self, claim: float, below: float = 0.15, above: float = 0.35) -> bool:
        """Whether the slope lies in [claim - below, claim + above], the window of the order properties."""
        return bool(claim - below <= self.slope <= claim + above)

    def __str__(self) -> str:
        return f"{self.slope:.2f} [{self.low:.2f}, {self.high:.2f}]"


def order_of(steps: Sequence[int], errors: Sequence[float], floor: float = 0.0, finest: int = 3) -> Order:
    """The order that ``errors`` at numbers of ``steps`` show, from the ``finest`` largest numbers of steps whose error exceeds ``floor``.

    Returns:
        the Order: fitted slope, least and greatest local slope.

    Raises:
        ValueError: fewer than two usable errors, or one that is not finite.
    """
    pairs = sorted(zip(steps, errors, strict=True))
    if not all(math.isfinite(e) for _, e in pairs):
        raise ValueError(f"errors = {list(errors)} are not all finite")
    usable = [(math.log(n), math.log(e)) for n, e in pairs if e > floor]
    if len(usable) < 2:
        raise ValueError(f"errors = {list(errors)} leave {len(usable)} above the floor {floor:g}: use fewer steps")
    n, e = np.array(usable[-finest:]).T
    slopes = -np.diff(e) / np.diff(n)
    return Order(float(-np.polyfit(n, e, 1)[0]), float(slopes.min()), float(slopes.max()))


def profile_order(
    steps: Sequence[int], errors: Sequence[np.ndarray], covariances: Sequence[np.ndarray], miss: float = 0.05
) -> Order | None:
    """The p of e_N = c N^{−p} + noise with its interval, of 95 % by default; None where no error exceeds the noise.

    The interval is that of the profile likelihood, {p : χ²(p) ≤ min χ² + q}, q the 1 − ``miss`` point of χ² of one degree of freedom,
    χ²(p) = min_c Σ_N |e_N − c N^{−p}|² in the norm of the covariances. Coarse N are dropped while the fit is refused (χ² beyond its 99 %
    point); what two N still miss widens the interval.

    Args:
        steps: N, ascending; at least two.
        errors: of each N, shape (J,).
        covariances: of their noise, shape (J, J).
        miss: how probable it may be that the interval does not hold p, and that noise alone is taken for an error.

    Returns:
        slope, and the ends of the interval; an end at 0 or ``STEEPEST`` is open.
    """
    n, e = np.asarray(steps, dtype=float), np.asarray(errors)
    precision = np.linalg.inv(np.asarray(covariances))
    whole = np.einsum("kj,kjl,kl->k", e, precision, e)
    if whole.sum() < chdtri(e.size, miss):
        return None
    for first in range(len(n) - 1):
        powers = (n[first:] / n[-1]) ** -_SLOPES[:, None]
        right = np.einsum("pk,kjl,kl->pj", powers, precision[first:], e[first:])
        left = np.einsum("pk,kjl->pjl", powers**2, precision[first:])
        distance = whole[first:].sum() - np.einsum("pj,pj->p", right, np.linalg.solve(left, right[..., None])[..., 0])
        free = e[first:].size - e.shape[1] - 1
        if free < 1 or distance.min() <= chdtri(free, 0.01):
            break
    best = int(distance.argmin())
    inside = _SLOPES[distance <= distance[best] + chdtri(1, miss) * max(1.0, distance[best] / max(free, 1))]
    return Order(float(_SLOPES[best]), float(inside[0]), float(inside[-1]))


def rms(a: Any) -> float:
    """Root mean square over all entries."""
    return float(np.sqrt(np.mean(np.square(np.asarray(a, dtype=float)))))


def global_errors(solver: Solver, denoise: Denoiser, x: np.ndarray, exact: np.ndarray, grids: Sequence[Sequence[Node]]) -> list[float]:
    """RMS distance of the solver's end state from ``exact`` on each grid, without a terminal rule."""
    return [rms(sample(solver, denoise, x, grid, terminal="none") - exact) for grid in grids]
