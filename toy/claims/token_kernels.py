r"""Claims on kernels of tokens and numbers: bits that flip, counts that die, generators that are triangular."""

from __future__ import annotations

import numpy as np
from scipy.linalg import expm
from scipy.stats import binom

from scorebed.analytic.finite import TableLaw, total_variation
from scorebed.solvers import SOLVERS
from scorebed.solvers.process.jump import JumpProcess
from scorebed.toy.claims.registry import Row, above, below, claim, near
from scorebed.toy.problems.jump import JumpProblem, random_table


def _error(table: np.ndarray, process: JumpProcess, steps: int, start: float, end: float = 0.0) -> float:
    problem = JumpProblem(name="table", make=lambda: TableLaw(table, process), process=process, start=start, end=end)
    return problem.law_error(SOLVERS["jump_ancestral"], problem.nodes(steps)).error


@claim(
    252,
    paper="Binary diffusion (XOR noise)",
    reference="arXiv:2409.13882",
    statement="Flips compose as p ∗ q = p (1 − q) + q (1 − p), with ½ stationary; with the bit-wise posterior a step is exact for "
    "independent "
    "bits, and biased for dependent ones where it is long.",
    control="probabilities of flips are added; dependent and independent bits change places",
)
def flips(broken: bool) -> list[Row]:
    """Uniform noise on two values is a flip with probability (1 − α)/2."""
    process = JumpProcess(2, "uniform")
    s, t, u = (process.node(v) for v in (0.0, 0.3, 0.7))
    p, q = float(process.between(s, t)[0, 1]), float(process.between(t, u)[0, 1])
    both = p + q if broken else p * (1.0 - q) + q * (1.0 - p)
    free = np.einsum("a,b,c->abc", [0.3, 0.7], [0.6, 0.4], [0.2, 0.8])
    tied = random_table(2, 3, 1)
    alone, together = (tied, free) if broken else (free, tied)
    start = np.array([0.5, 0.5]) @ process.between(s, u)
    return [
        below("flip of both intervals against p ∗ q", abs(float(process.between(s, u)[0, 1]) - both), 1e-14),
        below("½ after an interval, off ½", float(np.abs(start - 0.5).max()), 1e-15, kept=True),
        below("independent bits, 1 and 3 steps, total variation", max(_error(alone, process, n, 0.9) for n in (1, 3)), 1e-13),
        above("dependent bits, 1 step, total variation", _error(together, process, 1, 0.9), 0.02),
    ]


def _death(most: int) -> JumpProcess:
    """Every one of n dies at rate 1; t_max leaves few."""
    q = np.diag(-np.arange(most + 1.0)) + np.diag(np.arange(1.0, most + 1), -1)
    return JumpProcess(most + 1, tuple(map(tuple, q.tolist())))


@claim(
    124,
    paper="Blackout diffusion",
    reference="arXiv:2305.11089",
    statement="Under pure death x_t given x0 is Binomial(x0, e^{−τ}), τ = −log α; births of the reverse have rate (E[x0 | x_t] − x_t) "
    "e^{−τ}/(1 − e^{−τ}); between two times x_s given x0 adds Binomial(x0 − x_t, (e^{−s} − e^{−t})/(1 − e^{−t})), exact for any step.",
    control="the binomial of another time; the mean of x_t for that of x0; Euler in place of the bridge",
)
def blackout(broken: bool) -> list[Row]:
    """Counts up to 6."""
    most, process = 6, _death(6)
    node, other = process.node(0.6), process.node(0.5 if broken else 0.6)
    exact = np.array([[binom.pmf(y, x, other.clock) for y in range(most + 1)] for x in range(most + 1)])
    law = TableLaw(random_table(most + 1, 1, 2), process)
    x = np.arange(most + 1)[:, None]
    p = law.probabilities(x, node)
    born = process.rates(p, x, node)[:, 0].sum(1) / process.beta(node)
    mean = p[:, 0] @ np.arange(most + 1.0)
    formula = ((x[:, 0] if broken else mean) - x[:, 0]) * node.clock / (1.0 - node.clock)
    problem = JumpProblem(name="counts", make=lambda: law, process=process, start=0.99, end=0.0)
    method = SOLVERS["jump_euler" if broken else "jump_ancestral"]
    off = max(problem.law_error(method, problem.nodes(n)).error for n in (1, 3))
    return [
        below("kernel against the binomial, worst entry", float(np.abs(process.forward(node) - exact).max()), 1e-13),
        below("births of the reverse against the formula, worst count", float(np.abs(born - formula).max()), 1e-10),
        below("bridge steps, 1 and 3 of them, total variation", off, 1e-12),
        near("what is not black at t = 0.99", 1.0 - float(law.marginal(process.node(0.99))[0]), 0.03, 0.03, kept=True),
    ]


@claim(
    151,
    paper="Discrete Markov bridge",
    reference="arXiv:2505.19752",
    statement="With H = U Λ U⁻¹, U the upper triangle of ones, cumulative sums evolve each by themselves, P_k = Q_k e^{Λ_k}; with "
    "states sorted by "
    "p/q, Λ_k = log(P_k/Q_k) makes H a generator that carries q to p.",
    control="the states are not sorted, and their generator, its negative rates dropped, is no bridge",
)
def triangular(broken: bool) -> list[Row]:
    """Six states."""
    rng = np.random.default_rng(4)
    p, q = rng.dirichlet(np.ones(6)), rng.dirichlet(np.ones(6))
    by = np.argsort(p / q)[:: -1 if broken else 1]
    p, q = p[by], q[by]
    upper = np.triu(np.ones((6, 6)))
    rates = np.log(np.cumsum(p) / np.cumsum(q))
    h = upper @ np.diag(rates) @ np.linalg.inv(upper)
    least = float((h - np.diag(np.diag(h))).min())
    if broken:
        h = np.maximum(h - np.diag(np.diag(h)), 0.0)
        h -= np.diag(h.sum(1))
    return [
        below("q e^H against p, total variation", total_variation(q @ expm(h), p), 1e-12),
        above("least rate off the diagonal", least, -1e-12),
        below("rows of H sum to 0, worst", float(np.abs(h.sum(1)).max()), 1e-12, kept=True),
    ]
