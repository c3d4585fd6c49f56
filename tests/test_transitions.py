"""Means, standard deviations and log-probabilities of every step of every stochastic Plan."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from scorebed import SOLVERS, VP, GaussianMixture, trace
from scorebed.solvers import methods_on
from scorebed.solvers.grid import uniform_lam
from scorebed.solvers.noise import BrownianNoise
from scorebed.solvers.transitions import NotGaussian

LAW = GaussianMixture([0.4, 0.6], [[-1.0, 0.2], [0.8, -0.3]], [0.1, 0.2])
STOCHASTIC = [s for s in methods_on().values() if s.weak is not None and not s.spaces and s.nonlinear is None]
NODES = uniform_lam(VP(), 6)


def start() -> np.ndarray:
    return LAW.sample(5, np.random.default_rng(0), NODES[0])


@pytest.mark.parametrize("method", STOCHASTIC, ids=lambda s: s.name)
def test_a_step_is_its_mean_and_its_noise(method: Any) -> None:
    """The roll-out is the run; each step's state is mean + std times a unit normal, whose density is the log-probability."""
    plan, x = trace(method, NODES), start()
    made = plan.transitions(LAW.denoised)
    try:
        steps = made.rollout(x, noise=3)
    except NotGaussian:
        inside = any(plan.draws[r] is not None for r in plan.draws)
        assert inside  # a draw inside a step, before an evaluation: told, and not approximated
        return
    np.testing.assert_allclose(steps[-1].next, plan.run(LAW.denoised, x, noise=3), atol=1e-12)
    for step in steps:
        if step.log_prob is None:
            np.testing.assert_allclose(step.next, step.mean, atol=1e-12)
            continue
        z = (np.asarray(step.next) - np.asarray(step.mean)) / step.std
        expected = -0.5 * np.sum(z**2, axis=1) - x.shape[1] * math.log(step.std * math.sqrt(2.0 * math.pi))
        np.testing.assert_allclose(step.log_prob, expected, atol=1e-10)
    again = made.score([x, *(step.next for step in steps)])
    for one, other in zip(steps, again, strict=True):
        np.testing.assert_allclose(one.mean, other.mean, atol=1e-9)
        if one.log_prob is not None:
            np.testing.assert_allclose(one.log_prob, other.log_prob, atol=1e-7)


def test_against_the_formula_of_ddpm() -> None:
    """Mean (σ_t/σ_s) e^{−h} x + α_t (1 − e^{−2h}) D and variance σ_t² (1 − e^{−2h}); the density integrates to 1."""
    steps = trace(SOLVERS["ddpm"], NODES).transitions(LAW.denoised).rollout(start(), noise=1)
    for (s, t), step in zip(pairwise(NODES), steps, strict=True):
        h = t.lam - s.lam
        mean = (t.sigma / s.sigma) * math.exp(-h) * step.x - t.alpha * math.expm1(-2.0 * h) * LAW.denoised(step.x, s)
        np.testing.assert_allclose(step.mean, mean, atol=1e-12)
        assert step.std == pytest.approx(t.sigma * math.sqrt(-math.expm1(-2.0 * h)), rel=1e-12)


def test_ratios_of_two_policies() -> None:
    """log p_other − log p of the same states: the mean of the ratio over roll-outs is 1, and its KL is that of Gaussians."""
    plan, x = trace(SOLVERS["ddpm"], NODES), np.repeat(start()[:1], 4000, axis=0)
    other = GaussianMixture([0.5, 0.5], [[-0.98, 0.2], [0.8, -0.28]], [0.1, 0.2])
    steps = plan.transitions(LAW.denoised).rollout(x, noise=BrownianNoise(5, x.shape))
    theirs = plan.transitions(other.denoised).score([x, *(step.next for step in steps)])
    ratio = np.exp(sum(np.asarray(b.log_prob) - np.asarray(a.log_prob) for a, b in zip(steps, theirs, strict=True)))
    assert np.mean(ratio) == pytest.approx(1.0, abs=4.0 * float(np.std(ratio)) / math.sqrt(len(ratio)))
    first = float(np.sum((np.asarray(steps[0].mean[0]) - np.asarray(theirs[0].mean[0])) ** 2) / (2.0 * steps[0].std ** 2))
    measured = np.mean(np.asarray(steps[0].log_prob) - np.asarray(theirs[0].log_prob))
    assert measured == pytest.approx(first, abs=5.0 * math.sqrt(2.0 * first / len(ratio)) + 1e-12)


def test_the_same_bits_whatever_the_batch() -> None:
    plan, x = trace(SOLVERS["dpmpp_2m_sde"], NODES), start()
    noise = BrownianNoise(9, x.shape)
    whole = plan.transitions(LAW.denoised).rollout(x, noise)
    rows = np.array([3, 1])
    some = plan.transitions(LAW.denoised).rollout(x[rows], noise.take(rows))
    for a, b in zip(whole, some, strict=True):
        np.testing.assert_array_equal(np.asarray(a.next)[rows], b.next)
        np.testing.assert_array_equal(np.asarray(a.log_prob)[rows], b.log_prob)


def test_wrong_use_is_told() -> None:
    made = trace(SOLVERS["ddpm"], NODES).transitions(LAW.denoised)
    with pytest.raises(ValueError, match="states has 2 entries for 7 nodes"):
        made.score([start(), start()])
    steps = trace(SOLVERS["ddim"], NODES).transitions(LAW.denoised).rollout(start())
    assert all(step.log_prob is None for step in steps)
