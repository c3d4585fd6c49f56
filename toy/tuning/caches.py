r"""What a cache costs and gains: order, stability, exact error on Gaussians, measured error on a model, the threshold for a tolerance.

The spectrum of the model's data makes a Gaussian, its twin, on which the error of every cached Plan is a closed form
(``analytic.output.error``); there the prediction must agree with a run. On the model itself what is measured stands beside it, and beside
both what as many evaluations give without a cache: an honest cache must beat fewer steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from scorebed.analytic import GaussianMixture
from scorebed.analytic.output.error import flow_rms, plan_distance
from scorebed.solvers import NonFinite, NotLinear, Plan, Solver, trace
from scorebed.solvers.cache_rules import Threshold, expected, scaled
from scorebed.solvers.grid import make
from scorebed.solvers.parallel import late, picard, rounds
from scorebed.solvers.reuse import cached, reuse
from scorebed.toy.measure.cost import most_steps
from scorebed.toy.studies.stability import real_interval
from scorebed.toy.tuning.setting import Setting, distances

_THRESHOLDS = np.geomspace(1e-4, 4.0, 90)


@dataclass(frozen=True)
class Variant:
    """A way to make fewer evaluations, or the same in fewer rounds.

    Attributes:
        name: for tables.
        plan: from the full Plan and its solver.
        order: claimed, None where it has none: a rule's decisions do not scale with the step.
        cycle: the cached solver whose stability interval is looked at, and the length of its cycle.
    """

    name: str
    plan: Callable[[Plan], Plan]
    order: int | None = None
    cycle: tuple[Solver, int] | None = field(default=None, repr=False)


def variants(solver: Solver, what: str, intervals: Sequence[int] = (2, 3), orders: Sequence[int] = (1, 2, 3)) -> list[Variant]:
    """Periodic reuse and extrapolation, TaylorSeer, late evaluations, Picard sweeps; each for this solver and this held prediction."""
    made: list[Variant] = []
    for n in intervals:
        for k in orders:
            kind = "hold" if k == 1 else f"extrapolate {k}"
            made.append(_periodic(f"every {n}, {kind}", solver, n, order=k, what=what))
        made.append(_periodic(f"every {n}, taylor 3", solver, n, order=3, what=what, shape="taylor"))
    made += [Variant(f"late by {d}", lambda plan, d=d: late(plan, d, what), 1) for d in (1, 2)]  # type: ignore[misc]
    made += [Variant(f"picard, {k} sweeps", lambda plan, k=k: picard(plan, k, what=what)) for k in (2, 4)]  # type: ignore[misc]
    return made


def _periodic(name: str, solver: Solver, n: int, **how: Any) -> Variant:
    whole = cached(solver, n, **how)
    return Variant(name, lambda plan: trace(whole, plan.grid), whole.order, (cached(solver, n, **{**how, "by": "rho", "what": "eps"}), n))


def spectrum(setting: Setting, states: int = 64, seed: int = 5) -> np.ndarray:
    """Eigenvalues of the covariance of the data: known, or those of as many outputs of the model."""
    if setting.variances is not None:
        return np.asarray(setting.variances, dtype=float)
    x = setting.answer(setting.draw(states, seed))
    flat = np.asarray(x.detach().cpu() if hasattr(x, "detach") else x, dtype=float).reshape(states, -1)
    values = np.linalg.svd(flat - flat.mean(0), compute_uv=False) ** 2 / (states - 1)
    return np.asarray(np.concatenate([values, np.zeros(max(0, flat.shape[1] - len(values)))])[: flat.shape[1]])


def threshold_for(
    plan: Plan, tolerance: float, variances: Sequence[float] | np.ndarray, *, filtered: bool = False, accumulate: bool = True, **how: Any
) -> tuple[float, list[bool], float]:
    """The largest threshold below which a rule's cache costs at most ``tolerance`` on the Gaussian of these variances.

    Args:
        plan: the full one.
        tolerance: of the RMS distance between its output and that of the cached one, in units of the data.
        variances: eigenvalues of the covariance of the data.
        filtered: whether the rule looks behind the Wiener filter (SeaCache) or at the input (TeaCache).
        accumulate: as in ``Threshold``.
        how: options of ``Cache``.

    Returns:
        Threshold, what is made, and the predicted cost; threshold 0 and everything where no rule keeps the tolerance.

    Raises:
        ValueError: a tolerance that is not positive.
    """
    if not tolerance > 0.0:
        raise ValueError(f"tolerance = {tolerance!r}: give a positive number")
    best: tuple[float, list[bool], float] = (0.0, [True] * plan.nfe, 0.0)
    for threshold in _THRESHOLDS:
        keep = expected(Threshold(float(threshold), scaled, accumulate=accumulate), plan.nodes, list(variances), filtered)
        cost = best[2] if keep == best[1] else plan_distance(reuse(plan, keep, **how), plan, variances)
        if not cost <= tolerance:
            break
        best = (float(threshold), keep, cost)
    return best


def twin_error(plan: Plan, variances: np.ndarray, states: int, seed: int = 0) -> float:
    """The RMS error of a run on the twin N(0, diag(variances)), against its exact flow: what ``flow_rms`` predicts."""
    law = GaussianMixture(np.ones(1), np.zeros((1, len(variances))), variances[None])
    s, t = plan.grid[0], plan.grid[-1]
    x = law.sample(states, seed, s)
    exact = np.sqrt((t.alpha**2 * variances + t.sigma**2) / (s.alpha**2 * variances + s.sigma**2)) * x
    return math.sqrt(float(np.mean((plan.run(law.denoised, x, noise=0) - exact) ** 2)))


def table(
    setting: Setting,
    solver: Solver,
    steps: int,
    *,
    grid: str = "uniform_lam",
    what: str = "denoised",
    tolerance: float = 0.02,
    states: int = 64,
    seed: int = 0,
    report: Callable[[int, int, str], object] | None = None,
) -> list[dict[str, Any]]:
    """One row for the full Plan and one for each variant and each rule at the tolerance.

    Columns: ``cache``, ``nfe``, ``rounds``, ``order``, ``interval`` (of real stability, for one step in rho), ``predicted`` and ``on the
    twin`` (RMS error on the Gaussian of the same spectrum: closed form, and a run), ``error`` (median on the model), ``fewer steps``
    (median of the same solver with as many evaluations and no cache), ``wins`` (by 1 % at least).

    Returns:
        one dict for the full Plan and each variant and rule.

    Raises:
        ValueError: a solver without a deterministic Plan, or numbers out of range.
    """
    if solver.weak is not None or solver.nonlinear is not None:
        raise ValueError(f"{solver.name} {'draws noise' if solver.weak is not None else 'has no Plan'}: give a deterministic method")
    first, last = setting.ends
    full = trace(solver, make(grid, setting.schedule, steps, first.t, last.t, variances=setting.variances))
    variances = spectrum(setting)
    x = setting.draw(states, seed)
    answer = setting.answer(x)
    known: dict[int, float] = {}

    def error(plan: Plan) -> float:
        try:
            with np.errstate(all="ignore"):
                return float(np.median(distances(plan.run(setting.denoise, x, noise=0), answer)))
        except NonFinite:
            return math.inf

    def plain(nfe: int) -> float:
        if nfe not in known:
            shorter = _at(solver, setting, grid, nfe)
            known[nfe] = math.nan if shorter is None else error(shorter)
        return known[nfe]

    rules = [("input threshold", False), ("filtered threshold", True)]
    todo: list[tuple[str, Plan, int | None, tuple[Solver, int] | None]] = [("none", full, solver.order, (solver, 1))]
    for v in variants(solver, what):
        try:
            todo.append((v.name, v.plan(full), v.order, v.cycle))
        except (NotLinear, ValueError):
            continue
    for name, filtered in rules:
        threshold, keep, _ = threshold_for(full, tolerance, variances, filtered=filtered, order=2, what=what)
        todo.append((f"{name} {threshold:.3g}", reuse(full, keep, order=2, what=what), None, None))
    rows = []
    for i, (name, plan, order, cycle) in enumerate(todo):
        if report is not None:
            report(i, len(todo), name)
        value = error(plan)
        row = {"cache": name, "nfe": plan.nfe, "rounds": rounds(plan), "order": order, "interval": _interval(cycle)}
        row |= {"predicted": flow_rms(plan, variances), "on the twin": twin_error(plan, variances, 4 * states, seed)}
        fewer = plain(rounds(plan) if plan.nfe > full.nfe or rounds(plan) < plan.nfe else plan.nfe)
        rows.append({**row, "error": value, "fewer steps": fewer, "wins": bool(value < 0.99 * fewer)})
    return rows


def _interval(cycle: tuple[Solver, int] | None) -> float:
    if cycle is None:
        return math.nan
    for period in (cycle[1], 2 * cycle[1]):
        try:
            return real_interval(cycle[0], longest=20.0, period=period)
        except (ValueError, np.linalg.LinAlgError):
            continue
    return math.nan


def _at(solver: Solver, setting: Setting, grid: str, nfe: int) -> Plan | None:
    """The solver with the most steps that ``nfe`` evaluations pay for, or None."""
    first, last = setting.ends

    def plan(n: int) -> Plan | None:
        try:
            return trace(solver, make(grid, setting.schedule, n, first.t, last.t, variances=setting.variances))
        except (NotLinear, ValueError):
            return None

    n = most_steps(lambda n: None if (made := plan(n)) is None else made.nfe, nfe)
    return plan(n) if n else None
