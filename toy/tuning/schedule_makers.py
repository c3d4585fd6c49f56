r"""Schedules that are made for a model, from what is known of it: its spectrum, or a few of its trajectories.

    klub        Σ_ij ∫ ρ^{-3} (e(ρ) − e(ρ_i)) dρ, the objective of AYS (arXiv:2404.14507), e = E|D|² known on the Gaussian of the spectrum
    klub paths  the same with e read off trajectories
    gits        Σ_ij |x_j − Φ(x_i; i → j)|, one step of DDIM against the trajectory (arXiv:2405.11326)
    turning     equal shares of the angle by which eps turns: neighbours with equal cosine similarity
    spectrum    the least exact error of this very solver on the Gaussian of the spectrum, by its Plan
    searched    the least error of this very solver on training states
    random      the best of as many random schedules as ``searched`` tried, on the same states

The first four are sums over steps of a cost c(i, j) between levels of a fine table, so that dynamic programming finds the least of all
schedules on the table. The last three run the solver.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy.optimize import minimize

from scorebed.analytic.output.error import flow_rms
from scorebed.analytic.output.klub import step as klub_step
from scorebed.solvers import Node, NotLinear, trace
from scorebed.solvers.grid import make
from scorebed.toy.tuning.known import FINE, Known


def cheapest(cost: np.ndarray, steps: int) -> list[int]:
    """The path 0 = i_0 < … < i_n = last with the least Σ cost[i_k, i_{k+1}], by dynamic programming: O(n levels²).

    Returns:
        the indices 0 = i_0 < … < i_n, steps + 1 of them.

    Raises:
        ValueError: more steps than the table has.
    """
    levels = len(cost)
    if not 1 <= steps < levels:
        raise ValueError(f"steps = {steps!r}: give 1 to {levels - 1} on a table of {levels} levels")
    allowed = np.where(np.triu(np.ones_like(cost), 1) > 0, cost, np.inf)
    best, back = np.full(levels, np.inf), []
    best[0] = 0.0
    for _ in range(steps):
        total = best[:, None] + allowed
        back.append(total.argmin(0))
        best = total.min(0)
    path = [levels - 1]
    for choice in reversed(back):
        path.append(int(choice[path[-1]]))
    return path[::-1]


def klub(known: Known) -> list[Node]:
    """The least divergence of paths on the Gaussian of the spectrum, on the table."""
    nodes = known.levels(3 * FINE)
    rho = np.array([node.rho for node in nodes])
    cost = np.full((len(rho), len(rho)), np.inf)
    for i in range(len(rho) - 1):
        cost[i, i + 1 :] = klub_step(rho[i], rho[i + 1 :], known.variances[known.variances > 0.0])
    return [nodes[k] for k in cheapest(cost, known.steps)]


def klub_paths(known: Known) -> list[Node]:
    """The least divergence of paths with E|D|² read off trajectories, by the trapezoidal rule on the table."""
    rho = np.array([node.rho for node in known.fine])
    e = np.mean(np.sum(known.path[1] ** 2, axis=2), axis=1)
    weight = rho**-3.0
    return [known.fine[k] for k in cheapest(_areas(rho, e, weight), known.steps)]


def _areas(rho: np.ndarray, e: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """c_ij = ∫ weight (e − e_i) dρ from ρ_j to ρ_i."""
    pieces = 0.5 * (rho[:-1] - rho[1:])
    total = np.concatenate([[0.0], np.cumsum(pieces * (weight[:-1] * e[:-1] + weight[1:] * e[1:]))])
    mass = np.concatenate([[0.0], np.cumsum(pieces * (weight[:-1] + weight[1:]))])
    return np.asarray((total[None] - total[:, None]) - e[:, None] * (mass[None] - mass[:, None]))


def gits(known: Known) -> list[Node]:
    """The least sum of one-step errors of DDIM against the trajectories."""
    xs, ds = known.path
    levels = len(known.fine)
    cost = np.full((levels, levels), np.inf)
    for i, s in enumerate(known.fine):
        for j in range(i + 1, levels):
            t = known.fine[j]
            ratio = t.sigma / s.sigma
            gap = ratio * xs[i] + (t.alpha - s.alpha * ratio) * ds[i] - xs[j]
            cost[i, j] = float(np.mean(np.sqrt(np.mean((gap / t.alpha) ** 2, axis=1))))
    return [known.fine[k] for k in cheapest(cost, known.steps)]


def turning(known: Known) -> list[Node]:
    """Equal shares of the angle by which eps turns along the trajectories."""
    xs, ds = known.path
    alpha, sigma = (np.array([getattr(node, k) for node in known.fine])[:, None, None] for k in ("alpha", "sigma"))
    eps = (xs - alpha * ds) / sigma
    unit = eps / np.linalg.norm(eps, axis=2, keepdims=True)
    angle = np.arccos(np.clip(np.sum(unit[:-1] * unit[1:], axis=2), -1.0, 1.0)).mean(1) + 1e-9
    share = np.concatenate([[0.0], np.cumsum(angle)]) / angle.sum()
    lams = np.interp(np.arange(1, known.steps) / known.steps, share, [node.lam for node in known.fine])
    return [known.fine[0], *(known.setting.schedule.at_lam(float(lam)) for lam in lams), known.fine[-1]]


def _descend(known: Known, value: Callable[[np.ndarray], float], start: Sequence[Node], budget: int) -> list[Node]:
    """A descent over the logarithms of the steps in lam: quasi-Newton with differences, at most ``budget`` values."""
    z = np.log(np.diff([node.lam for node in start]))
    count, best = 0, (math.inf, z)

    def watched(w: np.ndarray) -> float:
        nonlocal count, best
        count += 1
        found = value(w)
        found = found if math.isfinite(found) else 1e3
        if found < best[0]:
            best = (found, w.copy())
        return found

    minimize(watched, z, method="L-BFGS-B", bounds=[(b - 3.0, b + 3.0) for b in z], options={"maxfun": budget, "eps": 1e-4})
    return known.grid(best[1])


def by_spectrum(known: Known, budget: int = 600) -> list[Node]:
    """The least exact error of the solver's Plan on the Gaussian of the spectrum; the model is not asked."""

    def value(z: np.ndarray) -> float:
        try:
            return math.log(flow_rms(trace(known.solver, known.grid(z)), known.variances))
        except (NotLinear, ValueError, ZeroDivisionError, OverflowError):
            return math.inf

    first, last = known.setting.ends
    start = make("tangent", known.setting.schedule, known.steps, first.t, last.t, variances=known.variances.tolist())
    return _descend(known, value, start, budget)


def searched(known: Known, budget: int = 300) -> list[Node]:
    """The least error on the training states, from the best schedule of the table of names."""
    starts = usual(known)
    start = starts[min(starts, key=lambda name: known.error(starts[name]))]
    tried = len(starts)

    def value(z: np.ndarray) -> float:
        nonlocal tried
        tried += 1
        return known.error(known.grid(z))

    nodes = _descend(known, value, start, budget)
    known.tried["searched"] = tried
    return nodes


def random(known: Known) -> list[Node]:
    """The best on the training states of as many schedules with Dirichlet(1) or Dirichlet(4) steps of lam as ``searched`` tried."""
    rng = np.random.default_rng(known.seed)
    drawn = [
        known.grid(np.log(rng.dirichlet(np.full(known.steps, (1.0, 4.0)[k % 2])) + 1e-3)) for k in range(known.tried.get("searched", 100))
    ]
    return min(drawn, key=known.error)


def usual(known: Known) -> dict[str, list[Node]]:
    """Every registered spacing, fitted to the spectrum where it can be."""
    from scorebed.solvers import GRIDS

    first, last = known.setting.ends
    made = {}
    for name in GRIDS:
        try:
            made[name] = make(name, known.setting.schedule, known.steps, first.t, last.t, variances=known.variances.tolist())
        except ValueError:
            continue
    return made


MAKERS: dict[str, Callable[[Known], list[Node]]] = {
    "klub": klub,
    "klub paths": klub_paths,
    "gits": gits,
    "turning": turning,
    "spectrum": by_spectrum,
    "searched": searched,
    "random": random,
}
"""By name; ``random`` comes after ``searched``, whose number of tries it has."""
