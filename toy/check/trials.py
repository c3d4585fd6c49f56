"""Where a candidate is tried: targets with exact flow maps, on the schedules and grids that it takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from scorebed.solvers import EDM, VP, Cosine, Node, RectifiedFlow, Schedule, SubVP
from scorebed.solvers.grid import karras, uniform
from scorebed.solvers.model import pointwise
from scorebed.toy.check.candidate import Candidate, Refused, host
from scorebed.toy.problems.registry import PROBLEMS
from scorebed.toy.properties import cases
from scorebed.toy.properties.cases import ellipsoid, jagged, warped

Make = Callable[[int], list[Node]]


@dataclass(frozen=True)
class Trial:
    """A target and a way to make a grid of n steps between two levels of noise.

    ``linear`` says that the exact flow is linear, where some methods do better than they claim.
    """

    name: str
    target: Any
    make: Make
    linear: bool = False

    def states(self, node: Node) -> np.ndarray:
        """A few fixed states that are typical of the target's marginal at ``node``; shape (7, d)."""
        spread = np.linspace(-1.6, 1.7, 7)[:, None] * np.linspace(1.0, 0.6, self.target.d)
        return node.alpha * self.target.mean() + np.sqrt(node.alpha**2 * np.diag(self.target.covariance()) + node.sigma**2) * spread


def between(kind: Callable[..., list[Node]], schedule: Schedule, noisy: float, clean: float, back: bool = False) -> Make:
    """The grids of one kind between two times; ``back`` from clean to noisy."""
    ends = (clean, noisy) if back else (noisy, clean)
    return lambda n: kind(schedule, n, *ends)


class Fast:
    """A 1-D mixture or a rotated product of them with E[x0 | x] in plain float64, ten times as fast and as good as round-off here.

    Everything else is the target's own.
    """

    def __init__(self, target: Any) -> None:
        self.target, self.d = target, int(target.d)
        self.rotation = getattr(target, "rotation", None)
        self.lines = [
            (np.log(f.weights), f.means[:, 0], np.asarray(f.structure.along(np.ones((1, 1)))[0], float))
            for f in getattr(target, "factors", [target])
        ]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.target, name)

    @pointwise
    def denoised(self, x: Any, node: Node) -> Any:
        """E[x0 | x], shape (..., d), in the library and dtype of x."""
        if node.sigma == 0.0:
            return x / node.alpha
        y = x if isinstance(x, np.ndarray) else host(x)
        with np.errstate(all="ignore"):
            y = np.asarray(y, float)
            y = y if self.rotation is None else y @ self.rotation
            out = np.concatenate([self._line(y[..., i : i + 1], node, *line) for i, line in enumerate(self.lines)], axis=-1)
            out = out if self.rotation is None else out @ self.rotation.T
        return out.astype(x.dtype) if isinstance(x, np.ndarray) else x.new_tensor(out)

    @staticmethod
    def _line(y: np.ndarray, node: Node, log_weights: np.ndarray, means: np.ndarray, variances: np.ndarray) -> np.ndarray:
        c = node.alpha**2 * variances + node.sigma**2
        apart = y - node.alpha * means
        logits = log_weights - 0.5 * (apart**2 / c + np.log(c))
        weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
        posterior = means + (node.alpha * variances / c) * apart
        return (weights * posterior).sum(-1, keepdims=True) / weights.sum(-1, keepdims=True)


@cache
def modes() -> Fast:
    """Three unequal modes on the line."""
    return Fast(cases.modes())


@cache
def product() -> Fast:
    """Six modes in the plane, with an exact flow map."""
    return Fast(PROBLEMS["product2d"].target)


def ends(schedule: Schedule) -> tuple[float, float]:
    """A noisy and a clean time between which the asymptotic range begins near 64 steps."""
    known: dict[type, tuple[float, float]] = {
        VP: (0.9, 0.02),
        RectifiedFlow: (0.9, 0.1),
        EDM: (10.0, 0.05),
        SubVP: (0.8, 0.1),
        Cosine: (0.88, 0.05),
    }
    if type(schedule) in known:
        return known[type(schedule)]
    return schedule.at_lam(-2.0).t, schedule.at_lam(3.0).t


def trials(candidate: Candidate, back: bool = False, small: bool = False) -> list[Trial]:
    """The trials of a candidate that takes our grids: several schedules where it lets us choose, else several targets on its own."""
    if not candidate.freedom.grid:
        return []
    if candidate.freedom.schedules:
        rf, vp, edm, sub, cosine = RectifiedFlow(), VP(), EDM(), SubVP(), Cosine()
        found = [
            Trial("3 modes, VP, uneven steps", modes(), between(jagged, vp, *ends(vp), back)),
            Trial("3 modes, rectified flow, warped", modes(), between(warped, rf, *ends(rf), back)),
            Trial("Gaussian, EDM, Karras", ellipsoid(), between(karras, edm, *ends(edm), back), linear=True),
            Trial("6 modes in 2-D, cosine, uniform", product(), between(uniform, cosine, *ends(cosine), back)),
            Trial("Gaussian, sub-VP, uneven steps", ellipsoid(), between(jagged, sub, *ends(sub), back), linear=True),
        ]
        return found[:2] if small else found[:3] if back else found
    if candidate.schedule is None:
        raise Refused(f"{candidate.name} leaves no choice of schedule and names none: give schedule=…")
    schedule = candidate.schedule
    name = type(schedule).__name__
    found = [
        Trial(f"3 modes, {name}, uneven steps", modes(), between(jagged, schedule, *ends(schedule), back)),
        Trial(f"Gaussian, {name}, Karras", ellipsoid(), between(karras, schedule, *ends(schedule), back), linear=True),
        Trial(f"6 modes in 2-D, {name}, uneven steps", product(), between(jagged, schedule, *ends(schedule), back)),
    ]
    return found[:1] if small else found


def own_trials(candidate: Candidate) -> list[Trial]:
    """The trials on the grids that a candidate makes itself."""
    if not candidate.freedom.own:
        return []
    return [
        Trial("3 modes, its own grid", modes(), candidate.own),
        Trial("Gaussian, its own grid", ellipsoid(), candidate.own, linear=True),
    ]


class Affine:
    """E[x0 | x] of the Gaussian N(mean, diag(variance)), in the few operations that every library has.

    ``strength`` w > 1 guides: D + (w - 1)(D - D_0) with D_0 that of the same Gaussian of ``wide`` times the standard deviation and mean 0.
    """

    def __init__(self, mean: ArrayLike, variance: ArrayLike, strength: float = 1.0, wide: float = 3.0) -> None:
        self.mean, self.variance = np.asarray(mean, float), np.asarray(variance, float)
        self.strength, self.wide = strength, wide

    def __call__(self, x: Any, node: Node) -> Any:
        if node.sigma == 0.0:
            return x / node.alpha
        slope, shift = self.parts(node, self.mean, self.variance)
        if self.strength != 1.0:
            slope0, shift0 = self.parts(node, 0.0 * self.mean, self.wide**2 * self.variance)
            w = self.strength
            slope, shift = w * slope - (w - 1.0) * slope0, w * shift - (w - 1.0) * shift0
        return x * _like(slope, x) + _like(shift, x)

    @staticmethod
    def parts(node: Node, mean: np.ndarray, variance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Slope and constant of E[x0 | x] in x, of the unguided Gaussian."""
        c = node.alpha**2 * variance + node.sigma**2
        return node.alpha * variance / c, node.sigma**2 / c * mean


def _like(values: np.ndarray, x: Any) -> Any:
    return x.new_tensor(values) if hasattr(x, "new_tensor") else values.astype(x.dtype)
