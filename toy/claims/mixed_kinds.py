r"""Claims 109, 197: numbers and categories in one process, and posteriors on tables by ratios of the clean law."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise, product

import numpy as np
from scipy.optimize import minimize

from scorebed.analytic.finite import TableLaw, total_variation
from scorebed.solvers import SOLVERS, VP, Node
from scorebed.solvers.process.jump import JumpProcess
from scorebed.toy.claims.registry import Row, above, below, claim, order
from scorebed.toy.measure.convergence import order_of
from scorebed.toy.measure.output_law import transfer_matrix
from scorebed.toy.problems.jump import random_table

_SHARES, _MEANS, _VARIANCE = np.array([0.5, 0.2, 0.3]), np.array([-1.2, 0.1, 1.4]), 0.09
_X = np.linspace(-4.5, 4.5, 240)
_SCHEDULE, _JUMPS = VP(), JumpProcess(3, "uniform")


def _given(node: Node) -> tuple[np.ndarray, np.ndarray, float]:
    """p(c0 | x_t, c_t), (x, c_t, c0); E[x0 | x_t, c0], (x, c0); the variance of x0 about it."""
    spread = node.alpha**2 * _VARIANCE + node.sigma**2
    off = _X[:, None] - node.alpha * _MEANS
    joint = (_SHARES * np.exp(-0.5 * off**2 / spread))[:, None, :] * _JUMPS.forward(_JUMPS.node(node.t)).T
    return joint / joint.sum(-1, keepdims=True), _MEANS + node.alpha * _VARIANCE / spread * off, _VARIANCE * node.sigma**2 / spread


def _marginal(node: Node) -> np.ndarray:
    """p_t(x, c) on the grid, (x, c)."""
    spread = node.alpha**2 * _VARIANCE + node.sigma**2
    clean = _SHARES * np.exp(-0.5 * (_X[:, None] - node.alpha * _MEANS) ** 2 / spread)
    law = clean @ _JUMPS.forward(_JUMPS.node(node.t))
    return np.asarray(law / law.sum())


def _ddpm(denoised: np.ndarray, s: Node, t: Node) -> tuple[np.ndarray, float]:
    """Mean and variance of a step of DDPM from each point of the grid."""
    mean, one = (
        SOLVERS["ddpm"].step(lambda x, node: denoised, _X, s, t, None, lambda a, b, z=z: z * np.ones_like(_X))[0] for z in (0.0, 1.0)
    )
    return mean, float((one - mean)[0]) ** 2


def _run(n: int, joint: bool, broken: bool) -> float:
    """TV of the output of n steps to p_t(x, c): both parts from their factors, or of one draw of (c0, x0). Broken: c does not see x."""
    nodes = [_SCHEDULE.node(t) for t in np.linspace(0.9, 0.05, n + 1)]
    law = _marginal(nodes[0])
    for s, t in pairwise(nodes):
        a, b = _JUMPS.node(s.t), _JUMPS.node(t.t)
        given, means, spread = _given(s)
        blind = _SHARES * _JUMPS.forward(a).T
        category = np.broadcast_to(blind / blind.sum(1, keepdims=True), given.shape) if broken else given
        new = np.zeros_like(law)
        for c in range(3):
            here = np.full(len(_X), c)
            if joint:
                shift = (_ddpm(_X + 1.0, s, t)[0] - _ddpm(_X, s, t)[0])[0]
                for k in range(3):
                    mean, variance = _ddpm(means[:, k], s, t)
                    to = _JUMPS.posterior(np.broadcast_to((category[:, c] if broken else np.eye(3)[k]), (len(_X), 3)), here, a, b)
                    new += transfer_matrix(_X, mean, math.sqrt(variance + shift**2 * spread)).T @ (
                        (law[:, c] * given[:, c, k])[:, None] * to
                    )
            else:
                mean, variance = _ddpm((given[:, c] * means).sum(1), s, t)
                new += transfer_matrix(_X, mean, math.sqrt(variance)).T @ (law[:, c, None] * _JUMPS.posterior(category[:, c], here, a, b))
        law = new
    return 0.5 * float(np.abs(law - _marginal(nodes[-1])).sum())


@claim(
    197,
    paper="TabDDPM",
    reference="arXiv:2209.15421",
    statement="A Gaussian process of a number beside a multinomial one of a category is reversed by two factors, each from the joint "
    "posterior, with an error of first order in the steps; where one draw of (c0, x0) serves both, any number of steps is "
    "exact.",
    control="the category's posterior does not see the number",
)
def mixed(broken: bool) -> list[Row]:
    """Three categories with a Gaussian each, the law of both on a grid; TV of 2 to 64 steps."""
    counts = (16, 32, 64)
    errors = [_run(n, False, broken) for n in counts]
    return [
        order("order of the factorised steps in TV", order_of(counts, errors).slope, 1.0),
        below("TV of 64 steps", errors[-1], 0.05),
        below("TV of 2 steps with one draw for both", _run(2, True, broken), 1e-5),
    ]


def _neighbours(x: tuple[int, ...], size: int) -> Iterator[tuple[int, ...]]:
    """The states that differ from x in one token."""
    for i, value in enumerate(x):
        yield from ((*x[:i], v, *x[i + 1 :]) for v in range(size) if v != value)


def _by_ratios(law: TableLaw, seen: tuple[int, ...], t: float, reward: np.ndarray, kernels: bool) -> np.ndarray:
    """argmin over posteriors q of Σ_x Σ_y~x D(p(y|x_t)/p(x|x_t) ‖ q(y)/q(x)), D the generalised KL, from ratios of the clean law, of the
    rewards and, with ``kernels``, of the noise's.

    Returns:
        probabilities q, of the shape of the table, of sum 1.
    """
    forward, states = law.process.forward(law.process.node(t)), list(product(range(law.process.size), repeat=law.d))
    place = {x: i for i, x in enumerate(states)}

    def weight(x: tuple[int, ...]) -> float:
        noise = np.prod([forward[a, b] for a, b in zip(x, seen, strict=True)]) if kernels else 1.0
        return float(law.table[x] * np.exp(reward[x]) * noise)

    pairs = [(place[x], place[y], weight(y) / weight(x)) for x in states for y in _neighbours(x, law.process.size)]
    i, j, ratio = (np.array(column) for column in zip(*pairs, strict=True))

    def loss(logits: np.ndarray) -> tuple[float, np.ndarray]:
        log_q = logits[j] - logits[i]
        slope = (np.exp(log_q) - ratio) / len(ratio)
        gradient = np.zeros_like(logits)
        np.add.at(gradient, j, slope)
        np.add.at(gradient, i, -slope)
        return float(np.mean(np.exp(log_q) - ratio * log_q)), gradient

    logits = minimize(loss, np.zeros(len(states)), jac=True, method="BFGS", options={"gtol": 1e-10, "maxiter": 500}).x
    q = np.exp(logits - logits.max())
    return np.asarray(q / q.sum()).reshape(law.table.shape)


@claim(
    109,
    paper="TCSM (target concrete score matching)",
    reference="arXiv:2504.16431",
    statement="Ratios of the clean law at neighbours, p0(y)/p0(x), times those of the noise have the posterior p(x0 | x_t) as the "
    "only minimiser of a Bregman loss; with e^{R(y) − R(x)} beside them it is the posterior of p0 e^R.",
    control="the noise's ratios are left out",
)
def by_ratios(broken: bool) -> list[Row]:
    """Three tokens of two values, uniform noise, generalised KL, minimised over all tables."""
    law, seen, t = TableLaw(random_table(2, 3, 1), JumpProcess(2, "uniform")), (0, 1, 1), 0.4
    reward = np.random.default_rng(109).standard_normal(law.table.shape)
    tilted = TableLaw(law.table * np.exp(reward) / (law.table * np.exp(reward)).sum(), law.process)
    exact, wanted = (of.posterior(np.array([seen]), of.process.node(t))[0] for of in (law, tilted))
    plain, paid = (_by_ratios(law, seen, t, r, not broken) for r in (0.0 * reward, reward))
    return [
        below("TV of the minimiser to p(x0 | x_t)", total_variation(plain, exact), 1e-6),
        below("TV with rewards to the posterior of the tilted law", total_variation(paid, wanted), 1e-6),
        above("TV of the two", total_variation(plain, paid), 0.05, kept=True),
    ]
