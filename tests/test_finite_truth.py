"""Truth on tables: marginals, posteriors, scores by brute force; every way to write a bound of −log π is one number, and tight."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from scipy.linalg import expm

from scorebed.analytic.finite import Known, TableLaw, entropy, kl, total_correlation, total_variation
from scorebed.analytic.finite.elbo import any_order_bound, block_bound, conditionals, masked_bound, masked_quadrature, score_entropy_bound
from scorebed.solvers.process.jump import JumpProcess
from scorebed.toy.problems.jump import random_table

CHAIN = ((-1.0, 1.0, 0.0), (0.5, -1.5, 1.0), (0.0, 2.0, -2.0))
LAWS = [
    TableLaw(random_table(3, 2, 1), JumpProcess(3)),
    TableLaw(random_table(3, 2, 2), JumpProcess(3, "uniform", "cosine")),
    TableLaw(random_table(3, 2, 3), JumpProcess(3, CHAIN)),
]
BITS = TableLaw(random_table(2, 4, 7), JumpProcess(2))


@pytest.mark.parametrize("law", LAWS, ids=["absorbing", "uniform", "chain"])
def test_marginals_posteriors_and_scores_are_those_of_the_whole_generator(law: TableLaw) -> None:
    """Against the exponential of the generator on all states at once, and Bayes' rule."""
    process, node = law.process, law.process.node(0.4)
    a, q = process.alphabet, process.generator()
    whole = np.kron(q, np.eye(a)) + np.kron(np.eye(a), q)
    start = np.zeros((a, a))
    start[:3, :3] = law.table
    kernel = expm(-np.log(node.clock) * whole)
    marginal = start.ravel() @ kernel
    np.testing.assert_allclose(law.marginal(node).ravel(), marginal, atol=1e-14)
    states = np.array([x for x in product(range(a), repeat=2) if law.marginal(node)[x] > 1e-6])
    joint = start.ravel()[:, None] * kernel
    for x in states:
        column = joint[:, x[0] * a + x[1]].reshape(a, a)[:3, :3]
        found = law.posterior(x[None], node)[0]
        np.testing.assert_allclose(found, column / column.sum(), atol=1e-13)
        p = law.probabilities(x[None], node)[0]
        np.testing.assert_allclose(p, np.stack([found.sum(1), found.sum(0)]), atol=1e-15)
        score = law.score(x[None], node)[0]
        for y in range(a):
            assert score[0, y] == pytest.approx(marginal.reshape(a, a)[y, x[1]] / marginal.reshape(a, a)[tuple(x)], rel=1e-11)
    np.testing.assert_array_equal(Known(law)(states, node), law.probabilities(states, node))


def test_rates_are_the_forward_rates_times_the_score() -> None:
    for law in LAWS:
        process, node = law.process, law.process.node(0.4)
        x = np.argwhere(law.marginal(node) > 0)
        expected = process.beta(node) * process.generator().T[x] * law.score(x, node)
        expected[np.arange(len(x))[:, None], np.arange(2)[None], x] = 0.0
        np.testing.assert_allclose(process.rates(law.probabilities(x, node), x, node), expected, rtol=1e-10, atol=1e-13)


def test_absorbing_scores_are_clean_conditionals() -> None:
    """s(x, i, y) = α/(1 − α) p(x0^i = y | what is shown): time and state apart (arXiv:2406.03736, th. 1)."""
    for t in (0.2, 0.7):
        node = BITS.process.node(t)
        x = np.array([[2, 0, 2, 1], [2, 2, 2, 2]])
        p = BITS.probabilities(x, node)
        np.testing.assert_allclose(BITS.score(x, node)[:, 0, :2], node.clock / (1 - node.clock) * p[:, 0], rtol=1e-12)


@pytest.mark.parametrize("x0", [(0, 0, 0, 0), (1, 0, 1, 1), (0, 1, 1, 0)])
def test_all_bounds_are_the_log_likelihood_with_the_exact_model(x0: tuple[int, ...]) -> None:
    x, exact = np.array(x0), -float(np.log(BITS.table[x0]))
    for found in (
        masked_bound(BITS, x),
        any_order_bound(BITS, x),
        masked_quadrature(BITS, x),
        *(block_bound(BITS, x, b) for b in (1, 2, 3, 4)),
    ):
        assert found == pytest.approx(exact, abs=1e-12)


def test_bounds_agree_with_any_model_and_are_above_it() -> None:
    exact = conditionals(BITS)

    def model(x: np.ndarray) -> np.ndarray:
        p = exact(x) ** 0.7
        return np.asarray(p / p.sum(-1, keepdims=True))

    gap = 0.0
    for x0 in product(range(2), repeat=4):
        x = np.array(x0)
        bounds = [f(BITS, x, model) for f in (masked_bound, any_order_bound, masked_quadrature)]
        assert np.ptp(bounds) < 1e-12
        gap += BITS.table[x0] * (bounds[0] + np.log(BITS.table[x0]))
        assert block_bound(BITS, x, 4, model) == pytest.approx(bounds[0], abs=1e-12)
    assert gap > 0.01


@pytest.mark.parametrize("law", LAWS[1:], ids=["uniform", "chain"])
def test_the_score_entropy_bound_is_tight_and_broken_by_a_wrong_score(law: TableLaw) -> None:
    gap = 0.0
    for x0 in ((0, 0), (2, 1), (1, 1)):
        exact = -float(np.log(law.table[x0]))
        assert score_entropy_bound(law, np.array(x0), 0.6) == pytest.approx(exact, abs=1e-11)
    for x0 in product(range(3), repeat=2):  # with a wrong score the bound holds in the mean
        gap += law.table[x0] * (score_entropy_bound(law, np.array(x0), 0.6, nodes=20, tilt=0.1) + np.log(law.table[x0]))
    assert gap > 1e-3


def test_measures_of_information() -> None:
    p = random_table(2, 3, 0)
    marginals = [p.sum(tuple(j for j in range(3) if j != i)) for i in range(3)]
    alone = np.einsum("a,b,c->abc", *marginals)
    assert total_correlation(p) == pytest.approx(kl(p, alone), rel=1e-12)
    assert total_correlation(alone) == pytest.approx(0.0, abs=1e-14)
    assert entropy(np.full(8, 0.125)) == pytest.approx(np.log(8))
    assert kl(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == np.inf
    assert total_variation(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == 1.0


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (np.full((2, 3), 1 / 6), r"give \(S,\) \* L"),
        (np.full((3, 3), 1 / 9), "3 values of a token, the process 2"),
        (np.full((2, 2), 0.3), "is no law"),
        (np.array([[1.5, -0.5], [0.0, 0.0]]), "is no law"),
        (np.full((2,) * 13, 2.0**-13), "at most 4096 entries"),
        (np.full((2, 2), np.nan), "is no law"),
    ],
)
def test_tables_that_are_no_laws_are_refused(table: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        TableLaw(table, JumpProcess(2))


def test_the_largest_table_works() -> None:
    law = TableLaw(random_table(2, 12, 0), JumpProcess(2))
    x = law.sample(5, np.random.default_rng(0), law.process.node(0.5))
    p = law.probabilities(x, law.process.node(0.5))
    assert p.shape == (5, 12, 2)
    np.testing.assert_allclose(p.sum(-1), 1.0, atol=1e-12)
    assert law.marginal(JumpProcess(2).node(0.0)).size == 3**12
