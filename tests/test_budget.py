"""The error budget: its parts add up, each equals its closed form where there is one, and each vanishes with its cause."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from scorebed.analytic import GaussianMixture
from scorebed.analytic.distance import gaussian_w2
from scorebed.solvers import SOLVERS, VP, Node, grid
from scorebed.toy.figures.budget import figure
from scorebed.toy.measure.convergence import order_of
from scorebed.toy.studies.budget import PARTS, ScoreError, WithError, budget, budgets

PLANE = GaussianMixture([1.0], [[1.0, -0.5]], [[[1.0, 0.3], [0.3, 0.2]]])
LINE = GaussianMixture([0.3, 0.7], [[-1.0], [1.2]], [0.04, 0.15])
BOTH = ScoreError(0.02, 0.1)


def nodes(n: int, end: float = 0.03) -> list[Node]:
    return grid.uniform_lam(VP(), n, end=end)


def part(table: pd.DataFrame, name: str) -> float:
    return float(table.set_index("part").w2[name])


@pytest.mark.parametrize("terminal", ["none", "denoise"])
@pytest.mark.parametrize("name", ["heun", "ddpm", "dpmpp_2m"])
@pytest.mark.parametrize(("target", "error"), [(PLANE, BOTH), (LINE, ScoreError(0.02))], ids=["plane", "line"])
def test_the_parts_add_up(target: GaussianMixture, error: ScoreError, name: str, terminal: str) -> None:
    table = budget(SOLVERS[name], target, nodes(8, 0.1) if target is PLANE else nodes(4, 0.25), score_error=error, terminal=terminal)
    parts, total = table[table.part != "total"], part(table, "total")
    assert list(parts.part) == list(PARTS)
    assert abs(parts.share.sum() - total) < 1e-12
    assert (parts.w2 + 1e-15 >= parts.share.abs()).all()
    assert total <= parts.w2.sum() + 1e-12


def test_truncation_and_initialisation_on_a_gaussian_are_the_closed_forms() -> None:
    """The axes of the covariance keep apart, so that W2² = |mean|² + Σ (difference of standard deviations)²."""
    grid_ = nodes(8)
    first, last = grid_[0], grid_[-1]
    table = budget(SOLVERS["heun"], PLANE, grid_, terminal="none")
    values = np.linalg.eigvalsh([[1.0, 0.3], [0.3, 0.2]])
    mean = np.array([1.0, -0.5])
    noisy = [np.sqrt(n.alpha**2 * values + n.sigma**2) for n in (first, last)]
    truncation = math.hypot((1 - last.alpha) * np.linalg.norm(mean), np.linalg.norm(np.sqrt(values) - noisy[1]))
    assert abs(part(table, "truncation") - truncation) < 1e-12
    vectors = np.linalg.eigh([[1.0, 0.3], [0.3, 0.2]])[1]
    gap = (noisy[1] / noisy[0]) * (first.alpha * (mean @ vectors))
    initial = math.hypot(np.linalg.norm(gap), np.linalg.norm(noisy[1] - noisy[1] / noisy[0] * first.sigma))
    assert abs(part(table, "initialisation") - initial) < 1e-12


def test_the_total_is_the_distance() -> None:
    from scorebed.analytic.output.moments import moments
    from scorebed.solvers import trace

    grid_ = nodes(6)
    first = grid_[0]
    mean, covariance = moments(trace(SOLVERS["ddpm"], grid_), PLANE, np.zeros(2), first.sigma**2 * np.eye(2))
    table = budget(SOLVERS["ddpm"], PLANE, grid_, terminal="none")
    assert abs(part(table, "total") - gaussian_w2(mean, covariance, PLANE.mean(), PLANE.covariance())) < 1e-10


@pytest.mark.parametrize(("name", "order"), [("heun", 2), ("ddim", 1), ("ddpm", 1)])
def test_discretisation_vanishes_at_the_order_of_the_method(name: str, order: int) -> None:
    table = budgets(SOLVERS[name], PLANE, [nodes(n) for n in (40, 80, 160)], terminal="none")
    rows = table[table.part == "discretisation"]
    assert order_of(list(rows.steps), list(rows.w2)).inside(order)


def test_a_turning_error_leaves_the_law_of_the_exact_dynamics_and_a_gradient_error_does_not() -> None:
    table = budgets(
        SOLVERS["heun"], PLANE, [nodes(n) for n in (40, 80, 160)], score_error=ScoreError(solenoidal=0.1), initial="exact", terminal="none"
    )
    assert part(table[table.steps == 40], "initialisation") < 1e-12
    turning = table[table.part == "score error, solenoidal"]
    assert order_of(list(turning.steps), list(turning.w2)).slope > 1.7
    assert turning.w2.iloc[-1] < 1e-3
    table = budgets(SOLVERS["heun"], PLANE, [nodes(n) for n in (40, 80)], score_error=BOTH, initial="exact", terminal="none")
    gradient = table[table.part == "score error, gradient"].w2
    assert gradient.min() > 0.05
    assert gradient.max() / gradient.min() < 1.05


def test_a_turning_field_has_no_divergence_against_a_mixture() -> None:
    """∇·(p J ∇log p) = 0 on a mixture in the plane; with a symmetric matrix in place of J it is not."""
    mixture = GaussianMixture([0.4, 0.6], [[-1.0, 0.0], [1.0, 0.5]], [0.2, 0.3])
    node, h, x = VP().node(0.4), 1e-4, np.random.default_rng(0).normal(size=(40, 2))

    def flux(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
        return np.exp(mixture.log_prob(points, node))[:, None] * (mixture.score(points, node) @ matrix.T)

    def divergence(matrix: np.ndarray) -> np.ndarray:
        return sum((flux(x + h * e, matrix) - flux(x - h * e, matrix))[:, i] / (2 * h) for i, e in enumerate(np.eye(2)))

    assert np.abs(divergence(ScoreError(solenoidal=1.0).matrix(2))).max() < 1e-7
    assert np.abs(divergence(np.array([[0.0, 1.0], [1.0, 0.0]]))).max() > 1e-3


def test_the_wrong_denoiser_has_the_wrong_score() -> None:
    node, x = VP().node(0.3), np.random.default_rng(1).normal(size=(5, 2))
    wrong = WithError(PLANE, BOTH)
    score = (node.alpha * wrong.denoised(x, node) - x) / node.sigma**2
    exact = PLANE.score(x, node)
    np.testing.assert_allclose(score, exact + exact @ BOTH.matrix(2).T, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("target", "error", "message"),
    [
        (GaussianMixture([0.5, 0.5], np.eye(2), [1.0, 1.0]), ScoreError(), "one Gaussian, or of mixtures"),
        (LINE, ScoreError(solenoidal=0.1), "every field is a gradient"),
        (PLANE, ScoreError(turn=np.eye(2)), "antisymmetric"),
        (GaussianMixture([1.0], [[0.0, 0.0]], [[[1.0, 0.0], [0.0, 0.0]]]), ScoreError(), "singular covariance"),
    ],
)
def test_what_has_no_exact_budget_is_refused(target: GaussianMixture, error: ScoreError, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        budget(SOLVERS["heun"], target, nodes(4), score_error=error)


def test_the_figure_names_the_parts() -> None:
    drawn = figure([budgets(SOLVERS["heun"], PLANE, [nodes(4), nodes(8)], score_error=BOTH)])
    assert {text.get_text() for text in drawn.legends[0].get_texts()} == {*PARTS, "total"}
