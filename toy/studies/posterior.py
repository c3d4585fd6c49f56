r"""Posterior samplers on inverse problems with exact answers: one row for method × problem × number of steps.

What is measured depends on what is known, and the column ``measure`` says which:

    w2     on one Gaussian, where the sampler is affine: W2 between the exact law of its output and the posterior, no Monte Carlo
    mmd    elsewhere: the square root of the closed MMD² between n samples and the posterior mixture; ``noise``: that of n exact draws

``split`` takes the error of a sampler on one Gaussian in two: W2 from its own limit of small steps (discretisation) and of that limit from
the posterior (approximation). ``profile`` is the score error along t: RMS of (alpha/sigma²)(D̃ − E[x0 | x_t, y]) over x_t ~ p(x_t | y),
against that of the likelihood score itself.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from scorebed.analytic import GaussianMixture, LowRank, Rotated
from scorebed.analytic.distance.mmd import mmd2
from scorebed.analytic.distance.sliced import sliced_wasserstein, unit_directions
from scorebed.solvers import Node
from scorebed.solvers.inverse import METHODS, Conditioned, Method, Sequential, posterior
from scorebed.toy.measure.affine_law import NotAffine, affine_law
from scorebed.toy.measure.calibration import Calibration, ranks, unit_axes
from scorebed.toy.problems.inverse import InverseProblem
from scorebed.toy.studies.study import pick

Tell = Callable[[int, int, str], object]
COLUMNS = ("method", "problem", "steps", "nfe", "vjp", "mean", "covariance", "measure", "error", "noise", "modes", "coverage", "seconds")
"""``mean``, ``covariance``: |Δ mean| and |Δ Cov|_F over the root of the trace and the trace of the posterior's covariance; ``modes``: half
the sum of |Δ weight| over the modes; ``coverage``: mean |coverage − mass| of central intervals; ``seconds``: of the run that drew the
samples."""
_SHARP = Node(t=0.0, alpha=1.0, sigma=1e-6, lam=-math.log(1e-6))


class Counted:
    """A model that counts evaluations of D and of J^T v, by sample."""

    prediction = "denoised"

    def __init__(self, model: Any) -> None:
        self.model, self.evaluations, self.products = model, 0, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def __call__(self, x: Any, node: Node) -> Any:
        self.evaluations += len(x)
        return self.model(x, node)

    def given(self, operator: Any, y: Any) -> Any:
        """E[x0 | x_t, y], whose evaluations count like those of D."""
        inner = self.model.given(operator, y)

        def conditional(x: Any, node: Node) -> Any:
            self.evaluations += len(x)
            return inner(x, node)

        return conditional

    def vjp(self, x: Any, node: Node, v: Any) -> Any:
        self.products += len(x)
        return self.model.vjp(x, node, v)


def evaluate(
    method: Method, problem: InverseProblem, steps: int, *, samples: int = 1000, joint: int = 0, draws: int = 19, seed: int = 0
) -> dict[str, Any]:
    """One row: how far the samples of ``method`` are from the posterior, and what they cost."""
    nodes, truth = problem.nodes(steps), problem.posterior
    counted = Counted(problem.model)
    began = time.perf_counter()
    c = replace(problem.conditioned, model=counted)
    with np.errstate(all="ignore"):
        x = np.asarray(posterior(method, c, problem.start_states(samples, seed), nodes, Sequential(seed, (samples, problem.d))))
    seconds = time.perf_counter() - began
    row: dict[str, Any] = {"method": method.name, "problem": problem.name, "steps": steps}
    row |= {"nfe": counted.evaluations / samples, "vjp": counted.products / samples, "seconds": seconds}
    if not np.isfinite(x).all() or np.abs(x).max() > 1e6:
        bad = dict.fromkeys(("mean", "covariance", "error", "modes"), math.inf)
        return row | bad | {"measure": "diverged", "noise": math.nan, "coverage": math.nan}
    mean, covariance = x.mean(0), np.atleast_2d(np.cov(x.T))
    measure, error, noise = "mmd", *law_distance(x, truth, problem.bandwidth, seed)
    if truth.k == 1 and not method.particles:
        try:
            law = affine_law(method, problem.conditioned, nodes, problem.d)
            mean, covariance = law.mean, law.covariance
            measure, error, noise = "w2", law.w2(truth.mean(), truth.covariance()), 0.0
        except NotAffine:
            pass
    row |= moments(mean, covariance, truth) | {"measure": measure, "error": error, "noise": noise, "modes": mode_error(x, truth)}
    found = calibrate(method, problem, steps, joint, draws, seed).error if joint and problem.linear else math.nan
    return row | {"coverage": found}


def moments(mean: np.ndarray, covariance: np.ndarray, truth: GaussianMixture) -> dict[str, float]:
    """Errors of mean and covariance relative to the size of the posterior."""
    exact = truth.covariance()
    trace = float(np.trace(exact))
    return {
        "mean": float(np.linalg.norm(mean - truth.mean())) / math.sqrt(trace),
        "covariance": float(np.linalg.norm(covariance - exact)) / trace,
    }


def law_distance(x: np.ndarray, truth: GaussianMixture, bandwidth: float, seed: int) -> tuple[float, float]:
    """MMD of the samples, and of as many exact draws."""
    law = _kept(truth)
    pairs = (x, law.sample(len(x), np.random.default_rng([seed, 7])))
    one, other = (mmd2(z, law, bandwidth, unbiased=False) for z in pairs)
    return math.sqrt(max(0.0, one)), math.sqrt(max(0.0, other))


def _kept(law: GaussianMixture) -> GaussianMixture:
    """The components that hold all but 1e-6 of the mass, in their structure: a posterior of many components has few that matter."""
    order = np.argsort(law.weights)[::-1]
    keep = np.sort(order[: int(np.searchsorted(np.cumsum(law.weights[order]), 1.0 - 1e-6)) + 1])
    if len(keep) == law.k:
        return law
    raw = law.covariances
    if isinstance(raw, Rotated):
        parts: Any = Rotated(raw.basis, raw.variance[keep])
    elif isinstance(raw, LowRank):
        parts = LowRank(raw.factor[keep], raw.diagonal[keep])
    else:
        parts = raw[keep]
    weights = law.weights[keep]
    return GaussianMixture(weights / weights.sum(), law.means[keep], parts)


def mode_error(x: np.ndarray, truth: GaussianMixture, most: int = 8) -> float:
    """½ Σ |share of the samples − weight| over the ``most`` heaviest components and the rest, samples going to the likeliest component."""
    if truth.k == 1 or truth.k > 2000:
        return math.nan
    lead = np.argsort(truth.weights)[::-1][:most]
    weights = np.asarray(truth.posterior(x, _SHARP).weights)
    share = weights.mean(0)[lead]
    return 0.5 * float(np.abs(share - truth.weights[lead]).sum() + abs(share.sum() - truth.weights[lead].sum()))


def calibrate(method: Method, problem: InverseProblem, steps: int, joint: int = 200, draws: int = 19, seed: int = 0) -> Calibration:
    """Ranks of ``joint`` pairs (x0, y) among ``draws`` samples each, along the axes."""
    x0, y = problem.joint(joint, seed + 1)
    many = np.repeat(y, draws, axis=0)
    start = problem.start_states(len(many), seed + 1)
    c = Conditioned(problem.model, problem.operator, many)
    with np.errstate(all="ignore"):
        out = np.asarray(posterior(method, c, start, problem.nodes(steps), Sequential(seed + 1, start.shape)))
    out = np.nan_to_num(out, nan=1e6, posinf=1e6, neginf=-1e6)
    return ranks(x0, out.reshape(joint, draws, -1), unit_axes(problem.d), seed)


def table(
    methods: Sequence[Method], problems: Sequence[InverseProblem], steps: Sequence[int], tell: Tell | None = None, **options: Any
) -> pd.DataFrame:
    """``evaluate`` for all of them; nonlinear problems leave the methods out that need a linear A."""
    cells = [(m, p, n) for p in problems for m in methods for n in steps if p.linear or not m.linear]
    rows = []
    for i, (m, p, n) in enumerate(cells):
        if tell is not None:
            tell(i, len(cells), f"{m.name} on {p.name}")
        rows.append(evaluate(m, p, n, **options))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def split(method: Method, problem: InverseProblem, steps: Sequence[int], limit: int = 1280) -> pd.DataFrame:
    """Discretisation and approximation of an affine sampler on one Gaussian: columns method, steps, discretisation, approximation, total.

    Returns:
        one row for each number of steps: method, steps, discretisation, approximation, total.

    Raises:
        NotAffine: where it is not.
    """
    truth = problem.posterior
    end = affine_law(method, problem.conditioned, problem.nodes(limit), problem.d)
    rows = []
    for n in steps:
        law = affine_law(method, problem.conditioned, problem.nodes(n), problem.d)
        parts = law.w2(end.mean, end.covariance), end.w2(truth.mean(), truth.covariance()), law.w2(truth.mean(), truth.covariance())
        rows.append((method.name, n, *parts))
    return pd.DataFrame(rows, columns=["method", "steps", "discretisation", "approximation", "total"])


def profile(methods: Sequence[Method], problem: InverseProblem, points: int = 25, samples: int = 400, seed: int = 0) -> pd.DataFrame:
    """Score error of guides along t: columns method, t, lam, error (RMS), likelihood (RMS of the exact likelihood score), relative."""
    rows, truth = [], problem.posterior
    for node in problem.nodes(points)[:-1]:
        x = truth.sample(samples, np.random.default_rng([seed, 5]), node)
        exact = np.asarray(truth.denoised(x, node))
        scale = node.alpha / node.sigma**2
        size = scale * _rms(exact - np.asarray(problem.model(x, node)))
        for m in methods:
            if m.make is None:
                continue
            guided = np.asarray(m.make(problem.conditioned, Sequential(seed, x.shape))(x, node))
            gap = scale * _rms(guided - exact)
            rows.append((m.name, node.t, node.lam, gap, size, gap / size if size else math.nan))
    return pd.DataFrame(rows, columns=["method", "t", "lam", "error", "likelihood", "relative"])


def _rms(a: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(a).sum(-1))))


def sliced(x: np.ndarray, truth: GaussianMixture, seed: int = 0, directions: int = 30) -> float:
    """Sliced W2 between samples and the posterior."""
    return sliced_wasserstein(x, truth, unit_directions(directions, truth.d, seed))


DEFAULT = ("exact", "tmpd", "mmps", "pigdm", "dps", "diffpir", "ddnm", "ddrm", "repaint", "resample", "daps", "pnp_dm", "red_diff", "tds")
"""Methods of a table that names none."""


def known(names: Sequence[str | Method] | None) -> list[Method]:
    """Methods by name, with options, or from a file, as ``studies.study.pick`` says; all for "all", the default for None."""
    return pick(names or DEFAULT, METHODS, "posterior sampler")
