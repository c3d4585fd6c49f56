r"""Claims on masked and other jump processes: scores, bounds, blocks, orders, guidance. Everything is a sum over a small table."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise, product

import numpy as np

from scorebed.analytic.finite import TableLaw, kl, total_correlation
from scorebed.analytic.finite.elbo import any_order_bound, block_bound, conditionals, masked_bound, masked_quadrature, score_entropy_bound
from scorebed.analytic.finite.parallel import best_partition, revealing_cost, step_correlation
from scorebed.solvers import SOLVERS
from scorebed.solvers.decode import DECODERS
from scorebed.solvers.process.jump import JumpProcess
from scorebed.toy.claims.registry import Row, above, below, claim, near, order
from scorebed.toy.measure.convergence import order_of
from scorebed.toy.problems.decoding import decoded_law
from scorebed.toy.problems.jump import JumpProblem, random_table
from scorebed.toy.problems.jump_law import output_table

_BITS = random_table(2, 3, 1)
_STATES = [np.array(x) for x in product(range(2), repeat=3)]


def _masked(share: str = "linear", table: np.ndarray = _BITS) -> TableLaw:
    return TableLaw(table, JumpProcess(table.shape[0], "absorbing", share))


def _problem(law: TableLaw, start: float | None = None, end: float | None = None) -> JumpProblem:
    return JumpProblem(name="table", make=lambda: law, process=law.process, start=start, end=end)


def _warm(law: TableLaw, power: float = 0.7) -> Callable[[np.ndarray], np.ndarray]:
    """A model that is wrong: its conditionals are too flat."""
    exact = conditionals(law)

    def model(x: np.ndarray) -> np.ndarray:
        p = exact(x) ** power
        return np.asarray(p / p.sum(-1, keepdims=True))

    return model


def changed_steps(law: TableLaw, n: int) -> float:
    """The expected number of n steps, from all masks to the data, in which a token changes: what caching pays for. Exact."""
    problem = _problem(law)
    nodes, found, start = problem.nodes(n), 0.0, law.marginal(law.process.node(1.0))
    for s, t in pairwise(nodes):
        for x in np.argwhere(start > 0.0):
            one = np.zeros(start.shape)
            one[tuple(x)] = 1.0
            stays = output_table(SOLVERS["jump_ancestral"], problem.known, one, [s, t])[tuple(x)]
            found += start[tuple(x)] * (1.0 - stays)
        start = output_table(SOLVERS["jump_ancestral"], problem.known, start, [s, t])
    return float(found)


@claim(
    12,
    paper="RADD (absorbing diffusion secretly models clean conditionals)",
    reference="arXiv:2406.03736",
    statement="On masks the concrete score is α/(1 − α) times the clean conditional, which does not know the time; with caching, n "
    "steps of "
    "log-linear noise cost n (1 − (1 − 1/n)^L) evaluations on average; the bound in the mask rate is the mean loss over random orders.",
    control="the score is read at another time than its factor; the share of masks is 1 − t²; mask rates above 0.9 are left out",
)
def radd(broken: bool) -> list[Row]:
    """Three identities, to round-off."""
    law = _masked()
    node, other = law.process.node(0.4), law.process.node(0.5 if broken else 0.4)
    x = np.array([[2, 0, 2], [2, 2, 2], [1, 2, 2]])
    masked = (x == 2)[..., None]
    off = masked * (law.score(x, node)[..., :2] - other.clock / (1.0 - other.clock) * law.probabilities(x, node))
    n, tokens = 8, 3
    cost = changed_steps(_masked("square") if broken else law, n)
    model, end = _warm(law), 0.9 if broken else 1.0
    gaps = [abs(masked_quadrature(law, s, model, high=end) - any_order_bound(law, s, model)) for s in _STATES]
    return [
        below("score against α/(1 − α) p, worst entry", float(np.abs(off).max()), 1e-12),
        near("evaluations of 8 steps with caching, 3 tokens", cost, n * (1.0 - (1.0 - 1.0 / n) ** tokens), 1e-10),
        below("bound in the mask rate against random orders, a wrong model, worst x0", max(gaps), 1e-12, "nats"),
    ]


def _step_elbo_gap(table: np.ndarray, steps: int) -> float:
    """What the exact model of a factorised reverse chain loses in ``steps`` steps of D3PM with uniform noise, in nats, in the mean."""
    law = TableLaw(table, JumpProcess(table.shape[0], "uniform"))
    nodes = [law.process.node(0.9 * (1.0 - i / steps)) for i in range(steps + 1)]
    return sum(step_correlation(law, s, t) for s, t in pairwise(nodes))


@claim(
    123,
    paper="D3PM (structured denoising diffusion in discrete space)",
    reference="arXiv:2107.03006",
    statement="Kernels are the products of their steps and doubly stochastic for uniform noise; the posterior of a step follows from "
    "them by "
    "Bayes; with the exact model the T-step bound of a single token is tight for every T, that of several tokens only as T → ∞.",
    control="the kernel of the end is taken with the noise of another time; the reversed kernel in Bayes' rule is left out; tokens are "
    "independent where the gap is measured, and dependent where there must be none",
)
def d3pm(broken: bool) -> list[Row]:
    """Kernels to round-off, and the gap against T."""
    process = JumpProcess(3, "uniform", "cosine")
    r, s, t = (process.node(v) for v in (0.1, 0.4, 0.8))
    product_of = process.between(r, s) @ process.between(s, t)
    whole = process.between(r, process.node(0.7) if broken else t)
    table = random_table(3, 1, 3)
    law = TableLaw(table, process)
    joint = (law.marginal(s)[:, None] * process.between(s, t))[:, 1]
    bayes = joint / joint.sum()
    p = law.probabilities(np.array([[1]]), t)
    step = p[0, 0] @ process.forward(s) if broken else process.posterior(p, np.array([[1]]), t, s)[0, 0]
    alone = np.full((2, 2, 2), 0.125)
    gaps = {T: _step_elbo_gap(alone if broken else _BITS, T) for T in (4, 8, 16)}
    single = _step_elbo_gap(_BITS if broken else random_table(3, 1, 3), 4)
    return [
        below("products of steps against the kernel, worst entry", float(np.abs(product_of - whole).max()), 1e-14),
        below("columns of the uniform kernel sum to 1, worst", float(np.abs(whole.sum(0) - 1.0).max()), 1e-14, kept=True),
        below("posterior of a step against Bayes", float(np.abs(step - bayes).max()), 1e-13),
        below("gap of one token at T = 4", abs(single), 1e-13, "nats"),
        above("gap of three dependent tokens at T = 8", gaps[8], 1e-4, "nats"),
        near("gap at T = 8 over that at T = 16", gaps[8] / gaps[16] if gaps[16] > 1e-12 else 0.0, 2.0, 0.25),
    ]


@claim(
    126,
    paper="SEDD (score entropy discrete diffusion)",
    reference="arXiv:2310.16834",
    statement="The score entropy is least at the true ratios, and its weighted integral is −log π(x0) with the exact score; a "
    "Tweedie step is "
    "exact for one token, however long it is, and of order 1 for several.",
    control="scores e^{0.2} too large; Euler in place of Tweedie for one token; tokens that are independent, where Tweedie is exact too",
)
def sedd(broken: bool) -> list[Row]:
    """Score entropy by quadrature, Tweedie by exact laws."""
    table = random_table(3, 1, 5)
    law = TableLaw(table, JumpProcess(3, "uniform"))
    wrong = 0.2 if broken else 0.0
    tight = max(abs(score_entropy_bound(law, np.array([k]), 0.6, tilt=wrong) + np.log(table[k])) for k in range(3))
    mean = [sum(table[k] * score_entropy_bound(law, np.array([k]), 0.6, 24, wrong + e) for k in range(3)) for e in (-0.05, 0.0, 0.05)]
    method = SOLVERS["jump_euler" if broken else "tweedie_leaping"]
    one = _problem(law, 0.95, 0.05)
    exact = max(one.law_error(method, one.nodes(n)).error for n in (1, 3))
    pair = np.full((3, 3), 1.0 / 9.0) if broken else random_table(3, 2, 2)
    two = _problem(TableLaw(pair, JumpProcess(3, "uniform")), 0.9, 0.1)
    errors = [two.law_error(SOLVERS["tweedie_leaping"], two.nodes(n)).error + 1e-17 for n in (16, 32, 64)]
    return [
        below("bound against −log π, one token, worst x0", float(tight), 1e-10, "nats"),
        below("slope of the mean score entropy at the score", abs(mean[2] - mean[0]) / 0.1, 1e-3, "nats"),
        above("its curvature", (mean[0] + mean[2] - 2 * mean[1]) / 0.05**2, 0.01, "nats", kept=True),
        below("Tweedie on one token, 1 and 3 steps, total variation", exact, 1e-13),
        order("Tweedie on two tokens", order_of((16, 32, 64), errors).slope, 1.0),
    ]


@claim(
    190,
    paper="Block diffusion (BD3-LM)",
    reference="arXiv:2503.09573",
    statement="With exact conditionals the bound is −log π(x0) for every size of block; with others it is the log loss of the "
    "autoregressive "
    "order at size 1; fewer steps than tokens in a block add what drawing at once loses.",
    control="mask rates above 0.8 are left out; the model's own loss is compared with that of all orders; one token in each step",
)
def blocks(broken: bool) -> list[Row]:
    """Bounds to round-off, and the loss of two tokens at once in closed form."""
    law = TableLaw(random_table(2, 4, 7), JumpProcess(2))
    states = [np.array(x) for x in product(range(2), repeat=4)]
    worst = max(abs(block_bound(law, x, size) + np.log(law.table[tuple(x)])) for x in states for size in (1, 2, 3, 4))
    if broken:
        worst = max(abs(masked_quadrature(law, x, high=0.8) + np.log(law.table[tuple(x)])) for x in states)
    model = _warm(law)

    def left_to_right(x: np.ndarray) -> float:
        total = 0.0
        for i in range(4):
            y = np.array(x)
            y[i:] = 2
            total -= float(np.log(model(y[None])[0, i, x[i]]))
        return total

    other = any_order_bound if broken else (lambda _, x, m: left_to_right(x))
    ar = max(abs(block_bound(law, x, 1, model) - other(law, x, model)) for x in states)
    out = decoded_law(DECODERS["blocks"](size=2), law, [1] * 4 if broken else [2, 2])[(slice(0, 2),) * 4]
    pairs = law.table.reshape(4, 4)
    first = pairs.sum(1)
    expected = total_correlation(first.reshape(2, 2)) + sum(
        w * total_correlation((row / w).reshape(2, 2)) for w, row in zip(first, pairs, strict=True)
    )
    return [
        below("bound against −log π, blocks of 1 to 4, worst x0", float(worst), 1e-12, "nats"),
        below("blocks of 1, a wrong model: against its own loss left to right", float(ar), 1e-12, "nats"),
        near("KL of one step for each block of 2, over the correlation inside blocks", kl(law.table, out) / expected, 1.0, 1e-10),
    ]


@claim(
    246,
    paper="ARDM (autoregressive diffusion)",
    reference="arXiv:2110.02037",
    statement="The objective is the mean log loss over orders, which is the bound of masks as T → ∞ and −log π(x0) with exact "
    "conditionals; "
    "dynamic programming finds the best numbers of tokens for each step; a step costs the conditional total correlation.",
    control="mask rates above 0.9 are left out; equal numbers of tokens; the tokens are drawn one by one",
)
def ardm(broken: bool) -> list[Row]:
    """Identities to round-off, and all partitions of six tokens."""
    law, model = _masked(), _warm(_masked())
    high = 0.9 if broken else 1.0
    same = max(abs(masked_quadrature(law, x, model, high=high) - any_order_bound(law, x, model)) for x in _STATES)
    tight = max(
        abs((masked_quadrature(law, x, high=high) if broken else masked_bound(law, x)) + np.log(law.table[tuple(x)])) for x in _STATES
    )
    stay = np.array([[0.97, 0.03], [0.3, 0.7]])
    chain = np.einsum("a,ab,bc,cd,de,ef->abcdef", [0.9, 0.1], stay, stay, stay, stay, stay)
    h = revealing_cost(_masked(table=chain))

    def cost(sizes: tuple[int, ...]) -> float:
        edges = np.cumsum((0, *sizes))
        return float(sum(h[a] - h[j] for a, b in pairwise(edges) for j in range(a, b)))

    every = [s for s in product(range(1, 5), repeat=3) if sum(s) == 6]
    best = min(map(cost, every))
    chosen = cost((2, 2, 2)) if broken else best_partition(h, 3)[1]
    out = decoded_law(DECODERS["random_order"], law, [1, 1, 1] if broken else [3])[:2, :2, :2]
    return [
        below("bound of masks against the mean over orders, worst x0", float(same), 1e-12, "nats"),
        below("both against −log π, exact model, worst x0", float(tight), 1e-12, "nats"),
        below("best partition of 6 tokens in 3 steps, above the least of all", chosen - best, 1e-14, "nats"),
        near("KL of all tokens in one step, over the total correlation", kl(law.table, out) / total_correlation(law.table), 1.0, 1e-10),
    ]
