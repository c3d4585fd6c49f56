"""Tokens as points: the Gaussian mixture of a table at embeddings against Bayes' rule by hand, and samplers of R^d judged on the table."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from scorebed.analytic.finite import TableLaw, total_variation
from scorebed.analytic.finite.embedded import EmbeddedLaw, bit_points, level_points, onehot_points, simplex_points
from scorebed.solvers import SOLVERS, VP, grid, sample
from scorebed.solvers.process.jump import JumpProcess
from scorebed.toy.problems.jump import random_table

LAW = TableLaw(random_table(3, 2, 7), JumpProcess(3))
FORMS = {"one-hot": onehot_points(3), "simplex": simplex_points(3), "bits": bit_points(3), "levels": level_points(3)}


@pytest.mark.parametrize("form", FORMS)
def test_clean_conditionals_are_bayes_rule(form: str) -> None:
    made, node = EmbeddedLaw(LAW, FORMS[form]), VP().node(0.4)
    x = 0.7 * np.random.default_rng(0).standard_normal((5, made.mixture.means.shape[1]))
    wanted = np.zeros((5, 2, 3))
    for a, b in product(range(3), repeat=2):
        mean = node.alpha * np.concatenate([FORMS[form][a], FORMS[form][b]])
        weight = LAW.table[a, b] * np.exp(-((x - mean) ** 2).sum(1) / (2.0 * node.sigma**2))
        wanted[:, 0, a] += weight
        wanted[:, 1, b] += weight
    found = made.probabilities(x, node)
    np.testing.assert_allclose(found, wanted / wanted.sum(-1, keepdims=True), atol=1e-13)
    mean = np.concatenate(list(np.moveaxis(found @ FORMS[form], 1, 0)), 1)
    np.testing.assert_allclose(made.mixture.denoised(x, node), mean, atol=1e-13)  # E[x0 | x_t] is the mean embedding
    data = FORMS[form][LAW.sample(50, np.random.default_rng(1))].reshape(50, -1)
    assert (FORMS[form][made.tokens(data)].reshape(50, -1) == data).all()


@pytest.mark.parametrize("form", FORMS)
def test_a_sampler_of_points_has_the_law_of_the_table(form: str) -> None:
    """DPM-Solver++(2M), 60 steps, 4000 runs; with the model of another table it has another law."""
    made = EmbeddedLaw(LAW, FORMS[form], 1e-8)
    nodes = grid.uniform_lam(VP(), 60, end=0.01)
    x = nodes[0].sigma * np.random.default_rng(2).standard_normal((4000, made.mixture.means.shape[1]))
    ends = sample(SOLVERS["dpmpp_2m"], made.mixture.denoised, x, nodes, terminal="denoise")
    assert total_variation(made.table_of(ends), LAW.table) < 0.04
    other = TableLaw(random_table(3, 2, 8), LAW.process)
    assert total_variation(made.table_of(ends), other.table) > 0.2


def test_points_are_what_they_are_called() -> None:
    for size in (2, 3, 5):
        e = simplex_points(size)
        assert e.shape == (size, size - 1)
        gram = e @ e.T
        np.testing.assert_allclose(np.diag(gram), 1.0, atol=1e-13)
        np.testing.assert_allclose(gram[~np.eye(size, dtype=bool)], -1.0 / (size - 1), atol=1e-13)
    assert bit_points(4).tolist() == [[-1, -1], [-1, 1], [1, -1], [1, 1]]
    assert bit_points(5).shape == (5, 3)
    assert level_points(3).ravel().tolist() == [-1.0, 0.0, 1.0]
    for bad, says in ((np.eye(2), "one for each value"), (np.zeros((3, 1)), "could not be told apart")):
        with pytest.raises(ValueError, match=says):
            EmbeddedLaw(LAW, bad)
