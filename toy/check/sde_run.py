r"""``check_sde_solver(run, kind="run")``: a solver that draws its own noise, by Monte Carlo with intervals.

The error of E f(X_T) at N steps is a mean over paths with a covariance; those of several N are fitted by c h^p, and p has the interval of
its profile likelihood (``profile_order``); all intervals of one check hold with 95 %, each with its share of what may be missed.

A run whose seed fixes its noise shows that noise: with b = 0 and s = 1 it returns x0 + W_T of each path. From it come control variates
whose means are known (Hermite polynomials of W_T, and f(X_T) where X_T is a function of W_T), which narrow the interval, and the strong
error on the solver's own paths. Without such a seed the means are plain, and no strong order is told.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from scipy.stats import kstest

from scorebed.toy.check.finding import Finding, judged, one_digit_up
from scorebed.toy.check.findings import Findings
from scorebed.toy.check.sde_causes import Fields, known_faults, near_within, read_the_step
from scorebed.toy.measure.convergence import STEEPEST, Order, profile_order
from scorebed.toy.problems.equations import SPAN, STARTS, Equation, Floats, observables

_STEPS, _FINEST = (4, 8, 16, 32), 128
_BELOW, _APART = 0.15, 0.5
"""An order fails where its interval lies below claim − 0.15, and passes where it lies above claim − 0.5, half way to the next one."""
Estimate = tuple[Floats, Floats]


@dataclass
class Runs:
    """Runs of one solver, with what its seed shows.

    Attributes:
        run: (drift, diffusion, x0, t0, t1, steps, seed) -> ends.
        half: ½ where its calculus is Stratonovich's, else 0.
        paths: how many, over the three starts.
        seeds: where its seeds come from.
        seeded: whether a seed fixes the noise.
        noise: sums of W_T² / T over every path whose noise was seen, and how many.
    """

    run: Callable[..., Any]
    half: float
    paths: int
    seeds: np.random.Generator
    seeded: bool = False
    noise: tuple[float, float, int] = (0.0, 0.0, 0)

    def seed(self) -> int:
        return int(self.seeds.integers(2**31 - 1))

    def ends(self, fields: Fields, x0: Floats, t0: float, t1: float, steps: int, seed: int) -> Floats:
        out = np.asarray(self.run(fields.drift, fields.diffusion, x0.copy(), t0, t1, steps, seed), dtype=float)
        if out.shape != x0.shape:
            raise TypeError(f"the run returned shape {out.shape} for x0 of shape {x0.shape}: they must be equal")
        return out

    def with_noise(self, equation: Equation, x0: Floats, t0: float, t1: float, steps: int) -> tuple[Floats, Floats | None]:
        """X at t1, and W_{t1} − W_{t0} of the same paths where the seed shows it."""
        seed, sign = self.seed(), 1.0 if t1 > t0 else -1.0
        ends = self.ends(Fields(equation, sign, self.half), x0, t0, t1, steps, seed)
        if not self.seeded:
            return ends, None
        return ends, self.ends(Fields(None, sign, 0.0), x0, t0, t1, steps, seed) - x0

    def level(self, equation: Equation, direction: float, steps: int) -> tuple[Estimate, Estimate | None]:
        """The weak errors with their covariance, and the strong error with its variance, at one number of steps."""
        m = self.paths // len(STARTS)
        x0 = np.repeat(STARTS, m)
        ends, w = self.with_noise(equation, x0, *((0.0, SPAN) if direction > 0.0 else (SPAN, 0.0)), steps)
        if w is not None:
            z2 = w**2 / SPAN
            self.noise = (self.noise[0] + float(z2.sum()), self.noise[1] + float((z2**2).sum()), self.noise[2] + len(w))
        normal = w is not None and bool(kstest(w / math.sqrt(SPAN), "norm").pvalue > 1e-4)
        exact = equation.mean()
        mean, covariance = np.empty(exact.size), np.zeros((exact.size, exact.size))
        for i, start in enumerate(STARTS):
            mine, at = slice(i * m, (i + 1) * m), slice(3 * i, 3 * i + 3)
            columns: list[Floats] = [np.ones((m, 1))]
            if w is not None and normal:
                columns.append(np.asarray(np.polynomial.hermite_e.hermevander(w[mine] / math.sqrt(SPAN), 4)[:, 1:], dtype=np.float64))
                if equation.strong is not None:
                    columns.append(observables(equation.strong(np.full(m, start), w[mine])) - exact[i])
            mean[at], covariance[at, at] = _controlled(observables(ends[mine]), np.hstack(columns))
        mean -= exact.ravel()
        if w is None or equation.strong is None or not normal:
            return (mean, covariance), None
        wanted = equation.strong(x0, w)
        square = (ends - wanted) ** 2
        if np.corrcoef(ends, wanted)[0, 1] < 0.7:  # of another path: what it draws depends on the equation
            return (mean, covariance), None
        size = float(square.mean())
        return (mean, covariance), (np.array([math.sqrt(size)]), np.array([[square.var() / (4.0 * size * len(ends)) + 1e-30]]))


def _controlled(f: Floats, design: Floats) -> Estimate:
    """The mean of f with the columns beyond the first, of mean zero, regressed out; its covariance."""
    gram = np.linalg.pinv(design.T @ design, rcond=1e-13)
    fit = gram @ (design.T @ f)
    rest = f - design @ fit
    # round-off of float64 keeps an error that is exactly zero from being infinitely sure
    return fit[0], rest.T @ rest / (len(f) - design.shape[1]) * gram[0, 0] + 1e-24 * np.eye(f.shape[1])


def judge_run(
    result: Findings, runs: Runs, equations: Sequence[Equation], directions: Sequence[float], weak: float | None, strong: float | None
) -> None:
    """Fill ``result`` with the orders of a run, its noise, and what short runs show."""
    try:
        if not _seed(result, runs):
            return
        asked = [(e, 1.0) for e in equations] + [(equations[-1], d) for d in directions[1:]]
        miss = 0.05 / (len(asked) + sum(e.strong is not None for e in equations))
        for equation, direction in asked:
            _orders(result, runs, equation, direction, {"weak": weak, "strong": strong}, miss)
        _noise(result, runs)
        read_the_step(result, partial(_faults, runs), equations, directions)
    except Exception as problem:
        text = f"{type(problem).__name__}: {problem}"
        result.findings.append(Finding("runs", "fail", f"{runs.paths} paths", text, "", "the run raised an error"))
        return
    for kind, claim in (("weak", weak), ("strong", strong)):
        told = [f for f in result.findings if f.name.startswith(f"{kind} order")]
        if claim is not None and told and all(f.status in ("note", "skip") for f in told):
            text = f"none of {len(told)} intervals decides"
            result.findings.append(Finding(f"{kind} order, decided", "fail", "every equation", text, "at least one", told[0].detail))


def _seed(result: Findings, runs: Runs) -> bool:
    """Whether noise differs between paths and seeds, and a seed fixes it."""
    x0, fields = np.full(64, STARTS[1]), Fields(None, 1.0, 0.0)
    one, again, other = (runs.ends(fields, x0, 0.0, SPAN, 4, seed) for seed in (11, 11, 12))
    cause = ""
    if np.ptp(one) == 0.0:
        cause = "noise left out" if np.array_equal(one, x0) else "one noise for all paths"
    elif np.array_equal(one, other):
        cause = "the seed is ignored"
    runs.seeded = np.array_equal(one, again)
    measured = cause or ("a seed fixes the noise" if runs.seeded else "a seed does not fix the noise: plain means, no strong order")
    result.findings.append(
        judged(not cause, "seed", "b = 0, s = 1, two seeds, 64 paths", measured, "", "give each path and each seed its own noise")
    )
    result.causes += [cause] if cause else []
    return not cause


def _orders(result: Findings, runs: Runs, equation: Equation, direction: float, claims: Mapping[str, float | None], miss: float) -> None:
    levels: dict[int, tuple[Estimate, Estimate | None]] = {}

    def judge(kind: str) -> None:
        claim = claims[kind]
        name = f"{kind} order{', against time' if direction < 0.0 else ''}: {equation.name}"
        n = list(_STEPS)
        while True:
            with np.errstate(all="ignore"):
                levels.update({k: runs.level(equation, direction, k) for k in n if k not in levels})
            kept = {k: pair for k in n if (pair := levels[k][kind == "strong"]) is not None and np.isfinite(pair[0]).all()}
            seen = list(kept), [mean for mean, _ in kept.values()], [covariance for _, covariance in kept.values()]
            order = profile_order(*seen, miss) if len(kept) > 1 and n[-1] in kept else None
            # a slope that has not settled is followed to finer steps before it is refused
            short = claim is not None and order is not None and claim - _APART < order.high < claim - _BELOW
            if not short or n[-1] >= _FINEST:
                break
            n.append(2 * n[-1])
        result.findings.append(_verdict(name, n, kept, order, claim, runs.paths))

    judge("weak")
    if equation.strong is not None and direction > 0.0:
        if levels[_STEPS[-1]][1] is None:
            why = "no W_T of a path is seen, or it is not normal: give a step that is handed its noise, or a run whose seed fixes it"
            result.findings.append(Finding(f"strong order: {equation.name}", "skip", "", why))
        else:
            judge("strong")


def _verdict(name: str, n: list[int], kept: dict[int, Estimate], order: Order | None, claim: float | None, paths: int) -> Finding:
    tried = f"{n[0]}…{n[-1]} steps, {paths:.0e} paths".replace("e+0", "e")
    if n[-1] not in kept:
        return Finding(name, "fail", tried, "nan or inf", "finite", "the run diverges")
    mean, covariance = kept[n[-1]]
    spread = float(np.sqrt(np.trace(covariance)))
    wanted = "" if claim is None else f"{claim:g}"
    if order is None:
        detail = (
            f"too noisy: no error is seen above {2.0 * spread:.1e}; give paths={one_digit_up(16 * paths)}, or nothing where it is exact"
        )
        return Finding(name, "note", tried, f"below {2.0 * spread:.1e}", wanted, detail)
    size = f"error {float(np.linalg.norm(mean)):.1e} ± {2.0 * spread:.0e}"
    if order.high >= STEEPEST:  # a small term of lower order may hide below the noise
        detail = f"too noisy: only coarse steps show an error; give paths={one_digit_up(16 * paths)}"
        return Finding(name, "note", tried, f"above {order.low:.2f}, {size}", wanted, detail)
    text = f"{order}, {size}"
    if order.high < 0.3:
        return Finding(name, "fail", tried, text, wanted, "the error does not fall: another equation is solved")
    if claim is None:
        return Finding(name, "note", tried, text)
    if order.high < claim - _BELOW:
        return Finding(name, "fail", tried, text, wanted, "lower than claimed")
    if order.low >= claim - _APART:
        return Finding(name, "pass", tried, text, wanted)
    up, down = order.slope - claim + _APART, claim - _BELOW - order.slope
    widths = [(order.slope - order.low) / up if up > 0.0 else math.inf, (order.high - order.slope) / down if down > 0.0 else math.inf]
    more = min(max(min(widths) ** 2, 2.0), 100.0)
    return Finding(name, "note", tried, text, wanted, f"too noisy: give paths={one_digit_up(more * paths)}")


def _noise(result: Findings, runs: Runs) -> None:
    """The variance of W_T over every path that was seen: an error of scale that control variates would hide."""
    total, squares, count = runs.noise
    if not count:
        return
    ratio = total / count
    error = math.sqrt(max(squares / count - ratio**2, 1e-30) / count)
    kept, text = abs(ratio - 1.0) < 4.0 * error, f"{ratio:.4f} ± {2.0 * error:.4f}"
    result.findings.append(judged(kept, "the noise itself", f"E W_T² / T, {count:.0e} paths", text, "1", "the noise has another variance"))


def _faults(runs: Runs, equation: Equation, sign: float) -> list[str]:
    """What one step of length h → 0 has wrong, from its mean and variance over h at two lengths, beyond four standard errors."""
    x, m = np.array([-1.3, 0.45, 1.1]), runs.paths // 3
    t0 = 0.3 if sign > 0.0 else SPAN - 0.3
    ratio, known = runs.noise[0] / max(runs.noise[2], 1), max(runs.noise[2], m)

    def moments(h: float) -> tuple[Floats, Floats, Floats]:
        ends, w = runs.with_noise(equation, np.repeat(x, m), t0, t0 + sign * h, 1)
        moved = (ends - np.repeat(x, m)).reshape(3, m)
        centred = rest = moved - moved.mean(axis=1, keepdims=True)
        mean, scale = moved.mean(axis=1), np.ones(3)
        if w is not None:
            w = w.reshape(3, m)
            seen = w.var(axis=1) / h
            if near_within(5.0 * math.sqrt(2.0 / m), 0.0, seen, np.full(3, ratio)):  # the paths that were seen before tell it better
                scale = ratio / seen
            slope = np.sum(centred * w, axis=1) / np.maximum(np.sum(w**2, axis=1), 1e-300)
            mean = mean - slope * w.mean(axis=1)
            rest = moved - mean[:, None] - slope[:, None] * w
        return mean / h, scale * centred.var(axis=1) / h, rest.std(axis=1) / (h * math.sqrt(m))

    with np.errstate(all="ignore"):
        (b1, v1, _), (b2, v2, error) = moments(0.04), moments(0.02)
    s = np.broadcast_to(equation.diffusion(x, 0.3), x.shape)
    size = max(1.0, float(np.abs(s).max()))
    near = partial(near_within, 0.03 + 4.0 * math.sqrt(10.0 / known), 0.02 * size)
    near_drift = partial(near_within, 0.02, 0.02 * size + 4.0 * math.sqrt(5.0) * float(error.max()))
    return known_faults(equation, x, (b1, v1), (b2, v2), near_drift, near)
