r"""Reward hacking with the true reward known: what is paid in KL to the model, and what the proxy and the true reward gain.

On the line the data are a mixture p, the proxy r(x) = x, "more of it", and what was wanted −(x − 0.9)², the distance to a mode.

    best of N       law p N F(r)^{N−1},        KL = log N − (N − 1)/N                                   exact
    tilt            law p e^{βr}/Z,            KL = β E r − log Z: what a KL penalty means               exact
    guidance        the field of p with β σ²/α Jᵀ∇r(D), by a solver: law by a transfer operator, KL by quadrature
    particles       Feynman-Kac steering towards the tilt, a population of finite size: drawn
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from scorebed.analytic import GaussianMixture
from scorebed.analytic.gaussian.tilt import quadratic
from scorebed.solvers import SOLVERS, VP, Solver, grid
from scorebed.solvers.methods.steering.composition import rewarded
from scorebed.solvers.methods.steering.particles import smc
from scorebed.solvers.methods.steering.search import best_of_n_kl, best_of_n_weight
from scorebed.toy.measure.output_law import law as output_law

Floats = np.ndarray
WANTED = 0.9
STRENGTHS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
COUNTS = tuple(2**k for k in range(13))


def data() -> GaussianMixture:
    """Two modes on the line."""
    return GaussianMixture([0.6, 0.4], [[-0.8], [WANTED]], [0.2, 0.1])


def true_reward(x: Floats) -> Floats:
    """−(x − 0.9)²."""
    return -((np.asarray(x) - WANTED) ** 2)


def table(
    strengths: Sequence[float] = STRENGTHS,
    counts: Sequence[int] = COUNTS,
    *,
    steps: int = 40,
    particles: int = 512,
    solver: str | Solver = "ddpm",
    report: Callable[[int, int, str], object] = lambda done, whole, what: None,
) -> pd.DataFrame:
    """One row for each method and strength: columns method, strength (β or N), kl, proxy, true.

    Args:
        strengths: β of the tilt, of guidance and of the particles.
        counts: N of best of N.
        steps: of the runs.
        particles: in a population.
        solver: a stochastic one-step method.
        report: told of each strength of guidance and of the particles.

    Returns:
        one row for each method and strength: method, strength, kl, proxy, true.
    """
    p, by = data(), SOLVERS[solver] if isinstance(solver, str) else solver
    x = np.linspace(-4.0, 4.0 + 0.2 * max(strengths, default=0.0), 6001)
    log_p = np.asarray(p.log_prob(x[:, None]))
    level = np.asarray(p.cdf(x))
    rows: list[dict[str, Any]] = []

    def add(method: str, strength: float, kl: float, density: Floats) -> None:
        rows.append({"method": method, "strength": strength, "kl": kl} | _means(x, density))

    for n in counts:
        add("best of N", n, best_of_n_kl(n), np.exp(log_p) * best_of_n_weight(level, n))
    nodes = grid.uniform_lam(VP(), steps, 1.0, 0.01)
    for beta in strengths:
        tilt = quadratic(p, linear=beta)
        density = np.exp(np.asarray(tilt.law.log_prob(x[:, None])))
        add("tilt", beta, beta * _means(x, density)["proxy"] - tilt.log_normaliser, density)
    for i, beta in enumerate(strengths):
        report(i, 2 * len(strengths), f"guidance, {beta:g}")
        out = output_law(by, p, nodes, initial="prior", terminal="denoise", model=rewarded(_Model(p), np.ones_like, beta))
        density = np.clip(np.gradient(out.cdf(x), x), 1e-300, None)
        add("guidance", beta, float(np.trapezoid(density * (np.log(density) - log_p), x)), density)
    start = nodes[0].sigma * np.random.default_rng(0).standard_normal((particles, 1))
    for i, beta in enumerate(strengths, len(strengths)):
        report(i, 2 * len(strengths), f"particles, {beta:g}")
        value, final = _proxy_of(p, beta)
        run = smc(by, p.denoised, value, start, nodes, 1, final=final)
        proxy = run.expect(lambda y: y[:, 0])
        found = {"proxy": proxy, "true": run.expect(lambda y: true_reward(y[:, 0]))}
        rows.append({"method": "particles", "strength": beta, "kl": max(0.0, beta * proxy - run.log_normaliser)} | found)
    return pd.DataFrame(rows)


def hacked(part: pd.DataFrame) -> tuple[float, float]:
    """The KL at which the true reward of one method is largest, and how much of it the strongest run has lost since."""
    best = part.loc[part.true.idxmax()]
    return float(best.kl), float(best.true - part.sort_values("kl").true.iloc[-1])


def best_of_means(proxy: Floats, true: Floats, counts: Sequence[int]) -> pd.DataFrame:
    """Best of N from n draws: the means over all subsets of N, sample i of the proxy's order being the best of C(i − 1, N − 1) of C(n, N).

    Args:
        proxy, true: rewards of the draws, (n,).
        counts: N, at most n.

    Returns:
        one row for each N, with the mean proxy and true reward.

    Raises:
        ValueError: more than there are draws.
    """
    n, order = len(proxy), np.argsort(proxy)
    if max(counts) > n:
        raise ValueError(f"counts = {list(counts)}: there are {n} draws to choose from")
    rows = []
    for k in counts:
        w = np.exp([_log_choose(j, k - 1) - _log_choose(n, k) if j >= k - 1 else -math.inf for j in range(n)])
        rows.append({"strength": k, "kl": best_of_n_kl(k), "proxy": float(w @ proxy[order]), "true": float(w @ true[order])})
    return pd.DataFrame(rows)


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _means(x: Floats, density: Floats) -> dict[str, float]:
    total = float(np.trapezoid(density, x))
    return {"proxy": float(np.trapezoid(x * density, x)) / total, "true": float(np.trapezoid(true_reward(x) * density, x)) / total}


def _proxy_of(p: GaussianMixture, beta: float) -> tuple[Callable[[Floats, Any], Floats], Callable[[Floats], Floats]]:
    """β times the proxy of the denoised, as a value function, and of x0."""
    return lambda y, node: beta * np.asarray(p.denoised(y, node))[:, 0], lambda y: beta * y[:, 0]


class _Model:
    """The exact model with its Jacobian, as a reward's guidance asks for."""

    prediction = "denoised"

    def __init__(self, law: GaussianMixture) -> None:
        self.law, self.vjp = law, law.vjp

    def __call__(self, x: Any, node: Any) -> Any:
        return self.law.denoised(x, node)
