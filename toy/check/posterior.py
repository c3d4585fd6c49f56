r"""``check_posterior``: does a posterior sampler draw from p(x0 | y), and if not, which term of it is wrong?

    def mine(model, operator, y, x, nodes): ...     # x ~ N(0, sigma²) at nodes[0]; returns x0, (n, d)
    print(check_posterior(mine))

``model(x, node)`` is E[x0 | x_t], ``model.vjp(x, node, v)`` is J^T v (in torch, autograd gives the same); ``operator`` is a
``solvers.operator.Linear``: A x, ``adjoint``, ``pinv``, ``matrix``, ``variance``; y is (m,). The posterior is known in closed form, and the
limit of small steps is what is judged: mean and covariance at N and 4N steps, extrapolated at first order, so that a first-order sampler
does not fail for its steps. One that is exact only on some priors is checked there: ``problem="isotropic"`` for ΠGDM's N(0, I).
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from scorebed.analytic.gaussian.regression import ExactModel
from scorebed.solvers.inverse import METHODS, Conditioned, Method, Sequential, posterior
from scorebed.solvers.operator import Linear
from scorebed.toy.check.finding import Finding, judged
from scorebed.toy.check.posterior_causes import Seen, diagnose
from scorebed.toy.check.posterior_report import PosteriorReport
from scorebed.toy.measure.calibration import ranks, summary, unit_axes
from scorebed.toy.problems.inverse import INVERSE, InverseProblem

Candidate = Callable[..., Any]
_SIGMAS = 4.0  # standard errors that sampling may cost
_BIAS = 0.06  # of the posterior's size that second-order terms of the extrapolation may cost


def check_posterior(
    sampler: Candidate | Method | str,
    *,
    problem: str | InverseProblem = "gaussian2d",
    steps: int = 60,
    samples: int = 10_000,
    joint: int = 40,
    exact: bool = True,
    library: str = "numpy",
    name: str | None = None,
    diagnosis: bool = True,
    seed: int = 0,
) -> PosteriorReport:
    """Check a posterior sampler against the exact posterior.

    Args:
        sampler: a function of (model, operator, y, x, nodes) that returns x0; or one of ``solvers.inverse.METHODS``, or its name.
        problem: one of ``toy.problems.inverse.INVERSE`` with a linear operator, or your own ``InverseProblem``.
        steps: N; the sampler runs with N and 4N steps.
        samples: how many samples of each run.
        joint: how many pairs (x0, y) coverage is measured with; 0 leaves it out.
        exact: whether the limit has to be the posterior; with False what is off is noted and fails nothing.
        library: "numpy", or "torch" for a sampler that works on float64 tensors and differentiates the model by autograd.
        diagnosis: whether to look for the term that is wrong.
        seed: of the starts, and of ``numpy.random`` and ``torch`` before each run.

    Returns:
        the PosteriorReport, with what was found and whether it passes.

    Raises:
        TypeError: not callable.
        ValueError: an unknown name, a problem that is not linear, numbers out of range.
    """
    place = _problem(problem)
    run, called = _candidate(sampler, library, seed)
    if steps < 2 or samples < 100:
        raise ValueError(f"steps = {steps}, samples = {samples}: give at least 2 steps and 100 samples")
    report = PosteriorReport(name or called, f"posterior of {place.name}", problem=place.name)
    began = time.perf_counter()
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        if _runs(run, place, steps, report):
            _measure(run, place, steps, samples, exact, diagnosis, seed, report)
            if joint:
                report.findings.append(_coverage(run, place, steps, joint, seed))
    report.causes = [] if report.passed else [cause.name for cause in report.compared[:1]]
    report.seconds = time.perf_counter() - began
    return report


def _problem(problem: str | InverseProblem) -> InverseProblem:
    if isinstance(problem, str):
        if problem not in INVERSE:
            raise ValueError(f"problem = {problem!r} is not known: give one of {', '.join(n for n, p in INVERSE.items() if p.linear)}")
        problem = INVERSE[problem]
    if not problem.linear:
        raise ValueError(f"{problem.name} has a nonlinear operator, for which no posterior is closed: give a linear problem")
    return problem


Run = Callable[[ExactModel, Linear, np.ndarray, np.ndarray, list[Any]], np.ndarray]


def _candidate(sampler: Any, library: str, seed: int) -> tuple[Run, str]:
    if isinstance(sampler, str):
        if sampler not in METHODS:
            raise ValueError(f"sampler = {sampler!r} is not known: give a function, or one of {', '.join(METHODS)}")
        sampler = METHODS[sampler]
    if isinstance(sampler, Method):
        method = sampler
        return lambda m, o, y, x, nodes: np.asarray(
            posterior(method, Conditioned(m, o, y), x, nodes, Sequential(seed, x.shape))
        ), method.name
    if not callable(sampler):
        raise TypeError(f"sampler = {sampler!r} is not callable: give a function of (model, operator, y, x, nodes)")
    called = getattr(sampler, "__name__", type(sampler).__name__)
    if library == "torch":
        from scorebed.toy.check.posterior_torch import in_torch

        return in_torch(sampler, seed), called
    if library != "numpy":
        raise ValueError(f"library = {library!r} is not known: give 'numpy' or 'torch'")

    def run(model: ExactModel, operator: Linear, y: np.ndarray, x: np.ndarray, nodes: list[Any]) -> np.ndarray:
        state = np.random.get_state()  # noqa: NPY002
        np.random.seed(seed)  # noqa: NPY002
        try:
            return np.asarray(sampler(model, operator, y.copy(), x, list(nodes)))
        finally:
            np.random.set_state(state)  # noqa: NPY002

    return run, called


def _runs(run: Run, place: InverseProblem, steps: int, report: PosteriorReport) -> bool:
    """Whether it runs, and gives back finite states of the right shape."""
    x = place.start_states(16)
    words = f"{steps} steps, 16 samples"
    try:
        out = run(place.model, place.operator, place.y, x, place.nodes(steps))
    except Exception as raised:
        detail = "called as (model, operator, y, x, nodes)"
        report.findings.append(Finding("runs", "fail", words, f"{type(raised).__name__}: {raised}", "x0", detail))
        return False
    good = out.shape == x.shape and bool(np.isfinite(out).all())
    said = f"shape {out.shape}" + ("" if np.isfinite(out).all() else ", not finite")
    report.findings.append(judged(good, "runs", words, said, f"shape {x.shape}, finite", "the sampler diverges, or returns something else"))
    return good


def _measure(
    run: Run, place: InverseProblem, steps: int, samples: int, exact: bool, diagnosis: bool, seed: int, report: PosteriorReport
) -> None:
    otherwise = "fail" if exact else "note"
    seen = Seen(
        place, observations(place), steps, samples, lambda p, y, n, k: run(p.model, p.operator, y, p.start_states(k, seed), p.nodes(n))
    )
    for which, y in zip(("y", "y far off"), seen.ys, strict=True):
        law, found = seen.truth(y), seen.limit(y)
        size, trace = math.sqrt(float(np.trace(law.covariance()))), float(np.trace(law.covariance()))
        noise = 1.7 * _SIGMAS / math.sqrt(samples)
        mean = float(np.linalg.norm(found.mean - law.mean())) / size
        spread = float(np.linalg.norm(found.covariance - law.covariance())) / trace
        words = f"{which} = {np.round(y, 2).tolist()}, limit of {steps} and {4 * steps} steps"
        for what, value, bound, unit in (
            ("mean", mean, noise + _BIAS, "a std"),
            ("covariance", spread, 1.5 * noise + _BIAS, "the trace"),
        ):
            said, wanted = f"off by {value:.1%} of {unit}", f"< {bound:.0%}"
            report.findings.append(judged(value < bound, f"{what}, {which}", words, said, wanted, "", otherwise))
    words, detail = f"{steps} steps", "it needs more steps than that: a stiff guidance term"
    report.findings.append(judged(not seen.unstable, "stable", words, "grows" if seen.unstable else "yes", "", detail, "note"))
    _behaviour(run, place, steps, seed, otherwise, report)
    bad = any(f.status in ("fail", "note") for f in report.findings)
    if bad and diagnosis:
        report.compared = diagnose(seen)


def observations(place: InverseProblem) -> tuple[np.ndarray, np.ndarray]:
    """The problem's y, and one three standard deviations further out along its first direction."""
    a, law = place.operator.matrix, place.law
    spread = a @ law.covariance() @ a.T + place.operator.variance * np.eye(place.operator.m)
    centre = a @ law.mean()
    out = np.zeros(place.operator.m)
    out[0] = 3.0 * math.sqrt(spread[0, 0])
    return place.y, place.y + (out if (place.y - centre)[0] >= 0.0 else -out)


def _behaviour(run: Run, place: InverseProblem, steps: int, seed: int, otherwise: str, report: PosteriorReport) -> None:
    """Units of y, coverage, and what the sampler does to its arguments."""
    n, few = steps, 2000
    nodes, x = place.nodes(n), place.start_states(few, seed)
    plain = run(place.model, place.operator, place.y, x.copy(), nodes)
    scaled = Linear(3.0 * place.operator.matrix, 9.0 * place.operator.variance)
    again = run(place.model, scaled, 3.0 * place.y, x.copy(), nodes)
    trace = float(np.trace(place.posterior.covariance()))
    mean = float(np.linalg.norm(again.mean(0) - plain.mean(0))) / math.sqrt(trace)
    spread = float(np.linalg.norm(np.cov(again.T) - np.cov(plain.T))) / trace
    bound = 2.0 * _SIGMAS / math.sqrt(few)
    words = "3 A, 9 R and 3 y in place of A, R and y"
    detail = "the data term has the wrong units: a variance for a standard deviation, A^T or 1/r² left out, or a step size of its own"
    said, wanted = f"mean moves by {mean:.1%} of a std, covariance by {spread:.1%}", f"< {bound:.0%}, < {2.0 * bound:.0%}"
    kept = mean < bound and spread < 2.0 * bound
    report.findings.append(judged(kept, "units of y", words, said, wanted, detail, otherwise))
    given = x.copy()
    run(place.model, place.operator, place.y, given, nodes)
    kept = np.array_equal(given, x)
    report.findings.append(
        judged(kept, "arguments", "x after the run", "as before" if kept else "changed", "as before", "copy x first", "note")
    )


def _coverage(run: Run, place: InverseProblem, steps: int, joint: int, seed: int) -> Finding:
    """Where x0 lies among samples given its y, for pairs of the joint law."""
    draws = 19
    x0, ys = place.joint(joint, seed + 1)
    start = place.start_states(joint * draws, seed + 1).reshape(joint, draws, place.d)
    rows = [run(place.model, place.operator, y, begin, place.nodes(steps)) for y, begin in zip(ys, start, strict=True)]
    words = f"{joint} pairs (x0, y), {draws} samples each, {steps} steps"
    return Finding("coverage", "pass", words, summary(ranks(x0, np.stack(rows), unit_axes(place.d), seed)))
