"""Worse models: what an error of an evaluation becomes at the output is a closed form, and runs agree with it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from scorebed import SOLVERS, VP, GaussianMixture, sample, trace
from scorebed.analytic.output.error import propagated, sensitivity
from scorebed.solvers.grid import uniform_lam
from scorebed.toy.measure.convergence import rms
from scorebed.toy.measure.ladder import best_errors, few, narrowed, noise_price, quantised, responsibilities, retimed, rounded

V = np.array([4.0, 1.0, 0.3, 0.05])
LAW = GaussianMixture(np.ones(1), np.zeros((1, 4)), V[None])
NODES = uniform_lam(VP(), 12)
X = LAW.sample(1500, 0, NODES[0])


@pytest.mark.parametrize("name", ["ddim", "heun", "dpmpp_2m", "unipc_3"])
def test_sensitivities_are_what_errors_make(name: str) -> None:
    plan = trace(SOLVERS[name], NODES)
    delta = np.random.default_rng(0).standard_normal((plan.nfe, 4))
    errors = iter(delta)
    gap = plan.run(lambda y, node: LAW.denoised(y, node) + next(errors), X[:2]) - plan.run(LAW.denoised, X[:2])
    np.testing.assert_allclose(gap[0], (sensitivity(plan, V) * delta).sum(0), atol=1e-9)
    wrong = sensitivity(plan, V[::-1].copy())
    assert np.abs((wrong * delta).sum(0) - gap[0]).max() > 1e-3


@pytest.mark.parametrize("name", ["ddim", "dpmpp_2m"])
def test_rounding_costs_what_is_predicted(name: str) -> None:
    plan, step = trace(SOLVERS[name], NODES), 0.02
    gap = rms(plan.run(quantised(LAW.denoised, step), X) - plan.run(LAW.denoised, X))
    assert gap == pytest.approx(noise_price(plan, V, np.full(plan.nfe, step / math.sqrt(12.0))), rel=0.08)
    half = rms(plan.run(rounded(LAW.denoised, np.float16), X) - plan.run(LAW.denoised, X))
    assert 1e-5 < half < 5e-3


@pytest.mark.parametrize("name", ["euler", "dpmpp_2m"])
def test_the_best_shares_are_the_least(name: str) -> None:
    plan = trace(SOLVERS[name], NODES)
    even = np.full(plan.nfe, 0.03)
    cost = float(np.sum(even**-2.0))
    best = best_errors(plan, V, cost)
    assert np.sum(best**-2.0) == pytest.approx(cost)
    least = noise_price(plan, V, best)
    assert least < 0.93 * noise_price(plan, V, even)
    rng = np.random.default_rng(0)
    for _ in range(20):
        other = best * np.exp(0.2 * rng.standard_normal(plan.nfe))
        other *= math.sqrt(float(np.sum(other**-2.0)) / cost)
        assert noise_price(plan, V, other) >= least


def test_an_error_of_the_flow_is_its_propagated_integral() -> None:
    delta = np.array([0.1, -0.2, 0.05, 0.3])
    fine = uniform_lam(VP(), 300)
    predicted = propagated(lambda node: delta * node.sigma, V, fine[0], fine[-1])
    ends = [
        sample(SOLVERS["dpmpp_2m"], d, X[:2], fine, terminal="none")
        for d in (lambda y, n: LAW.denoised(y, n) + delta * n.sigma, LAW.denoised)
    ]
    np.testing.assert_allclose(ends[0] - ends[1], np.broadcast_to(predicted, (2, 4)), rtol=1e-3)


def test_times_that_fall_together_cost_more_the_fewer_there_are() -> None:
    gaps, counts = [], (4, 16, 256)
    right = sample(SOLVERS["dpmpp_2m"], LAW.denoised, X[:100], uniform_lam(VP(), 64, 0.9, 0.1), terminal="none")
    for n in counts:
        worse = retimed(LAW.denoised, VP(), np.linspace(0.05, 0.95, n))
        gaps.append(rms(sample(SOLVERS["dpmpp_2m"], worse, X[:100], uniform_lam(VP(), 64, 0.9, 0.1), terminal="none") - right))
    assert gaps[0] > 3.0 * gaps[1] > 3.0 * gaps[2]


def test_a_narrow_model_is_exact_where_it_knows() -> None:
    out = narrowed(V, 2)(X, NODES[3])
    np.testing.assert_allclose(out[:, :2], LAW.denoised(X, NODES[3])[:, :2], atol=1e-12)
    assert not out[:, 2:].any()


def test_dropped_responsibilities_are_bounded_by_their_mass() -> None:
    rng = np.random.default_rng(1)
    law = GaussianMixture(np.full(12, 1 / 12), rng.normal(0.0, 2.0, (12, 2)), np.full(12, 0.1))
    node = VP().node(0.3)
    x = law.sample(300, 0, node)
    r, means = responsibilities(law, x, node)
    exact = law.denoised(x, node)
    np.testing.assert_allclose((r[:, :, None] * means).sum(1), exact, atol=1e-9)
    keep = lambda r: np.argsort(np.argsort(-r, axis=1), axis=1) < 3  # noqa: E731
    dropped = 1.0 - (r * keep(r)).sum(1)
    diameter = np.linalg.norm(means[:, :, None] - means[:, None], axis=3).max((1, 2))
    assert (np.linalg.norm(few(law, keep)(x, node) - exact, axis=1) <= dropped * diameter + 1e-9).all()


@pytest.mark.parametrize(("call", "words"), [(lambda: quantised(LAW.denoised, 0.0), "step = 0")])
def test_wrong_use_is_told(call: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()
