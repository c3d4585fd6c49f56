r"""Where a sampler is measured: a target, a kind of grid, and the conditions by name.

A sampler that takes any schedule is tried on several (``free``). One that is bound to its own is tried on

    smooth   sigma/alpha from 8 to 0.1, uniform in its cube root, float64: what the formula does, its own start included, without the last
             step to sigma = 0
    uneven   steps in lam of alternating lengths 2 : 3, float64, where coefficients that assume equal steps lose their order
    gentle   even in log(sigma/alpha) after two very short first steps: no cost of a first-order start
    fine     (tables of integer timesteps) its own grid on a table of 131,072 entries, to an eighth of it: no cost of rounding
    ideal    its own grid in float64, the network told the node
    shipped  its own grid in float32, the network told the timestep, as a trained one is

and the scoreboard and ``check_solver`` both do so, by these names.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from scorebed.solvers import EDM, VP, Cosine, Node, RectifiedFlow, Schedule, SubVP
from scorebed.solvers.grid import karras, uniform
from scorebed.solvers.process import SCALAR
from scorebed.toy.foreign.candidate import Candidate, Refused
from scorebed.toy.measure import targets
from scorebed.toy.measure.order import FINER, STEPS, Conditions
from scorebed.toy.problems.euclidean import EuclideanProblem
from scorebed.toy.problems.uneven import jagged, warped

Make = Callable[..., list[Node]]
HIGH, LOW = 8.0, 0.1
"""The ends in sigma/alpha of the grids of bound samplers."""
SMOOTH_STEPS = (24, 48, 96, 192)
"""Multiples of 6: whole cycles of single-step methods of order 2 and 3."""
SHIPPED_STEPS = (8, 16, 32, 64, 128, 256)
FINE_STEPS = (16, 32, 64, 128, 256)


@dataclass(frozen=True, kw_only=True)
class Setting(EuclideanProblem):
    """A problem for somebody's sampler: a target, a way to make a grid of n steps, and the conditions of both by name.

    Attributes:
        conditions: what a measurement here is made under; target and grid are the name of the setting.
        spaced: makes the grid of n steps.
        own: the grid is the candidate's, made in the dtype of the run.
        steps, finer: the numbers of steps that are run, and those by which a slope that still rises is refined.
    """

    name: str = field(init=False)
    process: Any = SCALAR
    conditions: Conditions
    spaced: Make
    own: bool = False
    steps: tuple[int, ...] = STEPS
    finer: tuple[int, ...] = FINER

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", f"{self.conditions.target}, {self.conditions.grid}")

    def nodes(self, n: int, grid: str | None = None) -> list[Node]:
        """The grid of n steps."""
        return self.spaced(n, dtype=self.conditions.dtype) if self.own else self.spaced(n)

    def states(self, node: Node) -> np.ndarray:
        """A few fixed states, or quantiles, of the marginal at a node."""
        return np.asarray(self.target.states(node))

    def under(self, **conditions: Any) -> Setting:
        """The same with other conditions: ``dtype``, ``start``, ``terminal``, ``network``, or the name of the grid."""
        return replace(self, conditions=replace(self.conditions, **conditions))


def _setting(target: str, grid: str, of: Callable[[], Any], spaced: Make, *, dtype: str = "float64 state", **more: Any) -> Setting:
    names = {k: more.pop(k) for k in ("start", "network", "terminal") if k in more}
    return Setting(make=of, spaced=spaced, conditions=Conditions(target, grid, dtype, **names), **more)


def between(kind: Callable[..., list[Node]], schedule: Schedule, noisy: float, clean: float, back: bool = False) -> Make:
    """The grids of one kind between two times; ``back`` from clean to noisy."""
    ends = (clean, noisy) if back else (noisy, clean)
    return lambda n: kind(schedule, n, *ends)


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


def free(back: bool = False, small: bool = False) -> list[Setting]:
    """The settings of a sampler that takes any schedule and grid."""
    rf, vp, edm, sub, cosine = RectifiedFlow(), VP(), EDM(), SubVP(), Cosine()
    modes, gaussian = targets.modes, targets.ellipsoid
    result = [
        _setting("3 modes", "VP, uneven steps", modes, between(jagged, vp, *ends(vp), back)),
        _setting("3 modes", "rectified flow, warped", modes, between(warped, rf, *ends(rf), back)),
        _setting("Gaussian", "EDM, Karras", gaussian, between(karras, edm, *ends(edm), back)),
        _setting("6 modes in 2-D", "cosine, uniform", targets.product, between(uniform, cosine, *ends(cosine), back)),
        _setting("Gaussian", "sub-VP, uneven steps", gaussian, between(jagged, sub, *ends(sub), back)),
    ]
    return result[:2] if small else result[:3] if back else result


def bound(schedule: Schedule, kind: str = "", back: bool = False) -> list[Setting]:
    """The settings with steps of unequal length of a sampler that takes any grid on its own schedule alone."""
    name, dtype = type(schedule).__name__, "float64" if kind == "diffusers" else "float64 state"
    uneven, smooth = (between(k, schedule, *ends(schedule), back) for k in (jagged, karras))
    return [
        _setting("3 modes", f"{name}, uneven steps", targets.modes, uneven, dtype=dtype),
        _setting("Gaussian", f"{name}, Karras", targets.ellipsoid, smooth, dtype=dtype),
        _setting("6 modes in 2-D", f"{name}, uneven steps", targets.product, uneven, dtype=dtype),
    ]


def settings(candidate: Candidate, back: bool = False, small: bool = False) -> list[Setting]:
    """The settings of a candidate that takes our grids, the most telling first."""
    if not candidate.interface.grid:
        return [] if back or not candidate.interface.steady else [fine(candidate) if candidate.interface.fine else smooth(candidate)]
    if candidate.interface.schedules:
        return free(back, small)
    if candidate.schedule is None:
        raise Refused(f"{candidate.name} leaves no choice of schedule and names none: give schedule=…")
    result = bound(candidate.schedule, candidate.kind, back)
    if not back and candidate.interface.own:
        result = [smooth(candidate), *result]
    return result[:2] if small else result


def levels(rho: np.ndarray, schedule: Schedule) -> list[Node]:
    """The nodes of these sigma/alpha."""
    return [schedule.at_lam(-math.log(r)) for r in rho]


def cubic(schedule: Schedule, n: int, power: float = 3.0) -> list[Node]:
    """sigma/alpha from 8 to 0.1, uniform in its cube root: smooth, and not uniform in any variable that a method uses."""
    high, low = HIGH ** (1 / power), LOW ** (1 / power)
    return levels((high + np.linspace(0.0, 1.0, n + 1) * (low - high)) ** power, schedule)


def even(schedule: Schedule, n: int) -> list[Node]:
    """sigma/alpha from 8 to 0.1, uniform in its logarithm."""
    return levels(np.exp(np.linspace(math.log(HIGH), math.log(LOW), n + 1)), schedule)


def short_first(schedule: Schedule, n: int) -> list[Node]:
    """As ``even`` but for the first two steps, of 1/n³ and 1/n² of the length."""
    if n < 4:
        return even(schedule, n)
    r = np.cumsum([0.0, n**-3.0, n**-2.0, *([1.0 / (n - 2)] * (n - 2))])
    return levels(np.exp(math.log(HIGH) + r / r[-1] * (math.log(LOW) - math.log(HIGH))), schedule)


def _of(candidate: Candidate) -> tuple[str, Callable[[], Any]]:
    """The target of a bound sampler: a pair of Gaussians with exact moments where it draws noise, else two modes with their exact flow."""
    return ("2 Gaussians", targets.pair) if candidate.stochastic else ("2 modes", targets.two_modes)


def smooth(candidate: Candidate, kind: Callable[..., list[Node]] = cubic, start: str = "own") -> Setting:
    """Our grid from 8 to 0.1 in float64; of a sampler that takes the two ends alone, its own between these."""
    name, target = _of(candidate)
    more: dict[str, Any] = {"dtype": "float64", "start": start, "steps": SMOOTH_STEPS, "finer": (384,)}
    if not candidate.interface.grid:
        return _setting(name, "its own, 8 to 0.1", target, partial(candidate.own, ends=(HIGH, LOW)), own=True, **more)
    words = {cubic: "uniform in rho^(1/3)", even: "even in log rho", short_first: "even in log rho after two short steps"}
    assert candidate.schedule is not None
    return _setting(name, f"{words[kind]}, 8 to 0.1", target, partial(kind, candidate.schedule), **more)


def gentle(candidate: Candidate) -> Setting:
    """The order of the formula without that of its start."""
    return smooth(candidate, short_first, "gentle")


def fine(candidate: Candidate) -> Setting:
    """Its own grid on a fine table, in float64."""
    name, target = _of(candidate)
    make = partial(candidate.own, fine=True)
    grid = "its own on a table of 131,072, to an eighth"
    return _setting(name, grid, target, make, own=True, dtype="float64", steps=FINE_STEPS, finer=())


def own(candidate: Candidate, dtype: str = "float32", network: str = "timestep") -> Setting:
    """Its own grid: as shipped, or with other conditions."""
    name, target = _of(candidate)
    more: dict[str, Any] = {"own": True, "dtype": dtype, "network": network, "terminal": "own"}
    return _setting(name, "its own grid", target, candidate.own, steps=SHIPPED_STEPS, finer=(), **more)
