r"""Does a target put solvers in the network's order? Rank correlation at each budget, with a bootstrap interval.

With E[s, i] the error of solver s from initial state i, solvers are ranked by e_s = (mean_i E[s, i]²)^{1/2}, on the network and on the
target; Spearman's rho is the correlation of mean ranks, Kendall's tau-b counts pairs, and the regret is

    e^network(the solver best on the target) / e^network(the solver best on the network),

what choosing by the target costs. The bootstrap draws initial states, the same for both as both start from the same, and solvers, the same
at every budget, each with replacement; the interval holds the middle 95 % of the draws. A diverged run ranks last.

Two marks say what the numbers can mean at best and at worst: the network's own order from one half of the states against that from the
other (``halves``), which no target can be asked to exceed, and the band of |rho| under permuted names (``chance``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau, rankdata

Errors = Mapping[tuple[str, int], NDArray[np.float64]]
"""(solver, budget) -> error of each sample."""
FEWEST = 4
"""Correlations are not taken over fewer solvers than this."""
LEVEL = 0.95


@dataclass(frozen=True)
class Agreement:
    """One correlation.

    Attributes:
        budget: evaluations; 0 for the mean over budgets.
        solvers: how many were ranked; over budgets, the fewest.
        spearman, low, high: rank correlation and its interval.
        gain, gain_low, gain_high: the correlation less that of a plain target, and its interval over the same draws.
        top: rank correlation over the half of the solvers that are best on the network, a harder question with no interval.
        kendall: tau-b.
        regret, regret_low, regret_high: see the module, with the interval over the drawn states; 1 is a perfect choice. Over budgets, the
            geometric mean.
        pick: the solver that the target would choose.
    """

    budget: int
    solvers: int
    spearman: float
    low: float
    high: float
    gain: float
    gain_low: float
    gain_high: float
    top: float
    kendall: float
    regret: float
    regret_low: float
    regret_high: float
    pick: str


def spearman(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Spearman's rho along the last axis, ties at their mean rank; nan where one side is constant."""
    ranks = [rankdata(v, axis=-1) for v in (a, b)]
    centred = [r - r.mean(axis=-1, keepdims=True) for r in ranks]
    product = (centred[0] * centred[1]).sum(axis=-1)
    norm = np.sqrt((centred[0] ** 2).sum(axis=-1) * (centred[1] ** 2).sum(axis=-1))
    return np.asarray(np.divide(product, norm, out=np.full(np.shape(norm), np.nan), where=norm > 0.0))


def agreement(network: Errors, target: Errors, plain: Errors | None = None, *, resamples: int = 2000, seed: int = 0) -> list[Agreement]:
    """The agreement of a target with the network at each budget, and over all of them (budget 0); its gain is over ``plain``.

    Returns:
        one Agreement for each budget, the one over all (budget 0) last.

    Raises:
        ValueError: the two were not run from the same number of states, or share too few solvers at every budget.
    """
    sides = [network, target, target if plain is None else plain]
    shared = [key for key in network if all(key in side for side in sides)]
    counts = {len(side[key]) for key in shared for side in sides}
    if len(counts) > 1:
        raise ValueError(f"runs from {sorted(counts)} initial states are compared: a study has one number of them")
    names = list(dict.fromkeys(solver for solver, _ in shared))
    budgets = [b for b in sorted({b for _, b in shared}) if sum(k[1] == b for k in shared) >= FEWEST]
    if not budgets:
        raise ValueError(f"no budget has {FEWEST} solvers in common: give more solvers, or larger budgets")
    rng, n = np.random.default_rng(seed), counts.pop()
    states, picked = (rng.integers(0, size, (resamples, size)) for size in (n, len(names)))
    out, draws, gains, regrets = [], [], [], []
    for budget in budgets:
        mine = [name for name in names if (name, budget) in shared]
        with np.errstate(over="ignore"):
            squares = [np.stack([side[name, budget] for name in mine]) ** 2 for side in sides]
        weights = np.stack([(picked == names.index(name)).sum(axis=1) for name in mine], axis=1)
        ours, theirs, others = (np.sqrt(s.mean(axis=1)) for s in squares)
        drawn = [s[:, states].mean(axis=2).T for s in squares]  # (draws, solvers); roots do not change ranks
        draws.append(_weighted(drawn[0], drawn[1], weights))
        gains.append(draws[-1] - _weighted(drawn[0], drawn[2], weights))
        choice = drawn[1].argmin(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            regrets.append(0.5 * np.log(drawn[0][np.arange(resamples), choice] / drawn[0].min(axis=1)))
        best, good = int(np.argmin(theirs)), np.argsort(ours, kind="stable")[: (len(mine) + 1) // 2]
        rho, tau = float(spearman(ours, theirs)), float(kendalltau(ours, theirs).statistic)
        gain, top = rho - float(spearman(ours, others)), float(spearman(ours[good], theirs[good]))
        numbers = (rho, *_interval(draws[-1]), gain, *_interval(gains[-1]), top, tau, float(ours[best] / ours.min()), *_bounds(regrets[-1]))
        out.append(Agreement(budget, len(mine), *numbers, mine[best]))
    rho, gain, top, tau = (float(np.mean([getattr(a, key) for a in out])) for key in ("spearman", "gain", "top", "kendall"))
    regret = float(np.exp(np.mean([np.log(a.regret) for a in out])))
    spread, difference = _interval(np.mean(draws, axis=0)), _interval(np.mean(gains, axis=0))
    return [
        *out,
        Agreement(
            0, min(a.solvers for a in out), rho, *spread, gain, *difference, top, tau, regret, *_bounds(np.mean(regrets, axis=0)), ""
        ),
    ]


def _bounds(logs: NDArray[np.float64]) -> tuple[float, float]:
    """The interval of a ratio, from draws of its logarithm."""
    low, high = _interval(logs)
    return float(np.exp(low)), float(np.exp(high))


def _weighted(a: NDArray[np.float64], b: NDArray[np.float64], weights: NDArray[np.int64]) -> NDArray[np.float64]:
    """Spearman's rho along the last axis where entry s occurs ``weights`` times; nan where fewer than three differ."""
    total = weights.sum(axis=1, keepdims=True)
    centred = []
    for v in (a, b):
        below = (v[:, None, :] < v[:, :, None]).astype(np.float64)
        level = (v[:, None, :] == v[:, :, None]).astype(np.float64)
        ranks = np.einsum("nij,nj->ni", below + 0.5 * level, weights)
        centred.append(ranks - 0.5 * total)  # the weighted mean of these ranks is half the total
    x, y = centred
    norm = np.sqrt((weights * x * x).sum(axis=1) * (weights * y * y).sum(axis=1))
    enough = (norm > 0.0) & ((weights > 0).sum(axis=1) >= FEWEST - 1)
    return np.divide((weights * x * y).sum(axis=1), norm, out=np.full(len(norm), np.nan), where=enough)


def _interval(draws: NDArray[np.float64], level: float = LEVEL) -> tuple[float, float]:
    found = draws[np.isfinite(draws)]
    if not found.size:
        return float("nan"), float("nan")
    low, high = np.quantile(found, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return float(low), float(high)


def winners(network: Errors, *, resamples: int = 2000, seed: int = 0) -> list[dict[str, Any]]:
    """Which solver at which budget: a row for each run, the best of each budget first.

    Keys: budget, solver; error with its interval low, high; ratio to the error of the best, with ratio_low, ratio_high over the same draws
    of states. A solver whose ratio_low is at most 1 is not beyond doubt worse than the best. A run that diverged is inf throughout.

    Returns:
        one dict for each run, best of each budget first.
    """
    rng, out = np.random.default_rng(seed), []
    names = {budget: [solver for solver, b in network if b == budget] for budget in sorted({b for _, b in network})}
    for budget, mine in names.items():
        with np.errstate(over="ignore"):
            squares = np.stack([network[name, budget] for name in mine]) ** 2
        drawn = np.sqrt(squares[:, rng.integers(0, squares.shape[1], (resamples, squares.shape[1]))].mean(axis=2))
        errors = np.sqrt(squares.mean(axis=1))
        best = int(np.argmin(errors))
        for i in np.argsort(errors, kind="stable"):
            with np.errstate(invalid="ignore"):
                ends = [*_interval(drawn[i]), float(errors[i] / errors[best]), *_interval(drawn[i] / drawn[best])]
            heads = ("low", "high", "ratio", "ratio_low", "ratio_high")
            out.append({"budget": budget, "solver": mine[i], "error": float(errors[i]), **dict(zip(heads, ends, strict=True))})
    return out


def halves(network: Errors, *, resamples: int = 400, seed: int = 0) -> dict[int, float]:
    """Spearman's rho of the network's order from one half of the states with that from the other, by budget, in the mean over halvings.

    Returns:
        mean Spearman's rho by budget.

    Raises:
        ValueError: fewer than two states.
    """
    return {budget: float(np.nanmean(_halved(errors, resamples, seed))) for budget, errors in _by_budget(network).items()}


def _halved(errors: NDArray[np.float64], resamples: int, seed: int) -> NDArray[np.float64]:
    n = errors.shape[1]
    if n < 2:
        raise ValueError("one initial state has no halves: give at least two")
    orders = np.random.default_rng(seed).permuted(np.tile(np.arange(n), (resamples, 1)), axis=1)
    with np.errstate(over="ignore"):
        squares = errors**2
    first, second = (squares[:, part].mean(axis=2).T for part in (orders[:, : n // 2], orders[:, n // 2 :]))
    return spearman(first, second)


def chance(network: Errors, *, resamples: int = 2000, seed: int = 0, level: float = LEVEL) -> dict[int, float]:
    """The |rho| that ``level`` of all permutations of the solvers' names stay below, by budget."""
    rng, out = np.random.default_rng(seed), {}
    for budget, errors in _by_budget(network).items():
        with np.errstate(over="ignore"):
            ours = np.sqrt((errors**2).mean(axis=1))
        shuffled = rng.permuted(np.tile(ours, (resamples, 1)), axis=1)
        out[budget] = float(np.quantile(np.abs(spearman(np.broadcast_to(ours, shuffled.shape), shuffled)), level))
    return out


def _by_budget(errors: Errors) -> dict[int, NDArray[np.float64]]:
    found: dict[int, list[NDArray[np.float64]]] = {}
    for (_, budget), values in errors.items():
        found.setdefault(budget, []).append(values)
    return {budget: np.stack(rows) for budget, rows in sorted(found.items()) if len(rows) >= FEWEST}
