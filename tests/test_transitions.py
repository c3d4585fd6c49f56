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
from scorebed.solvers.transitions import NotGaussian, kl, log_ratio

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


@pytest.mark.parametrize("method", STOCHASTIC, ids=lambda s: s.name)
def test_log_probabilities_are_densities_by_quadrature(method: Any) -> None:
    """On the line: exp(log p) of the last step integrates to 1, with the mean and the std of the solver's own steps, to 1e-10."""
    line = GaussianMixture([0.4, 0.6], [[-1.0], [0.8]], 0.1)
    nodes = uniform_lam(VP(), 3, 0.7, 0.3)
    made = trace(method, nodes).transitions(line.denoised)
    try:
        steps = made.rollout(np.full((1, 1), 0.3), noise=4)
    except NotGaussian:
        return
    last = steps[-1]
    if last.log_prob is None:
        return
    x = float(last.mean[0, 0]) + last.std * np.linspace(-9.0, 9.0, 145)
    paths = [np.repeat(steps[0].x, len(x), 0), *(np.repeat(step.next, len(x), 0) for step in steps[:-1]), x[:, None]]
    density = np.exp(made.score(paths)[-1].log_prob)
    weight = x[1] - x[0]
    assert density.sum() * weight == pytest.approx(1.0, abs=1e-10)

    drawn: dict[Any, float] = {}

    def noise(value: float) -> Any:
        def at(s: Any, t: Any) -> np.ndarray:
            fixed = drawn.setdefault((s.lam, t.lam), 0.1)
            return np.full((1, 1), value if t is nodes[-1] or t.lam >= nodes[-1].lam else fixed)

        return at

    from scorebed import sample

    low, high = (
        float(sample(method, line.denoised, np.full((1, 1), 0.3), nodes, noise=noise(z), terminal="none")[0, 0]) for z in (0.0, 1.0)
    )
    again = made.rollout(np.full((1, 1), 0.3), noise=noise(0.0))[-1]
    assert (again.mean[0, 0], again.std) == pytest.approx((low, abs(high - low)), abs=1e-10)


@pytest.mark.parametrize("name", ["ddpm", "flow_sde", "flow_precise"])
def test_importance_ratios_and_kl(name: str) -> None:
    """E_old[ratio] = 1, E_old[−log ratio] = E_old[KL], which is that of Gaussian steps; zero for equal models, by part of the batch too."""
    plan, x = trace(SOLVERS[name], NODES), np.repeat(start()[:1], 4000, axis=0)
    other = GaussianMixture([0.5, 0.5], [[-0.98, 0.2], [0.8, -0.28]], [0.1, 0.2])
    old = plan.transitions(LAW.denoised).rollout(x, noise=BrownianNoise(5, x.shape))
    path = [x, *(step.next for step in old)]
    new = plan.transitions(other.denoised).score(path)
    ratio, divergence = log_ratio(new, old), kl(new, old)
    tolerance = 4.0 * float(np.std(ratio)) / math.sqrt(len(ratio))
    assert np.mean(np.exp(ratio)) == pytest.approx(1.0, abs=1.5 * tolerance)
    assert np.mean(-ratio) == pytest.approx(float(np.mean(divergence)), abs=tolerance)
    assert np.abs(log_ratio(plan.transitions(LAW.denoised).score(path), old)).max() < 1e-10
    by_hand = sum(((a.mean - b.mean) ** 2).sum(1) / (2.0 * b.std**2) for a, b in zip(new, old, strict=True))
    np.testing.assert_allclose(divergence, by_hand, rtol=1e-10)
    with pytest.raises(ValueError, match="new has 1 steps, old has 6"):
        log_ratio(new[:1], old)
    still = trace(SOLVERS["ddim"], NODES).transitions(LAW.denoised).rollout(x[:2])
    with pytest.raises(ValueError, match="step 0 has no noise"):
        kl(still, still)


def test_ratios_in_phase_space() -> None:
    """States of two components: the KL is that of the joint Gaussian of position and velocity."""
    from scorebed.toy.properties.phase import problems

    problem = problems()[0]
    nodes, x = problem.nodes(5), problem.draw(6)
    plan = trace(SOLVERS["ddpm"], nodes)
    old = plan.transitions(problem.model).rollout(x, noise=3)
    path = [x, *(step.next for step in old)]
    new = plan.transitions(lambda z, node: tuple(0.9 * part for part in problem.model(z, node))).score(path)
    total = 0.0
    for a, b in zip(new, old, strict=True):
        gap = np.stack([np.asarray(one - other) for one, other in zip(a.mean, b.mean, strict=True)])
        total = total + 0.5 * np.einsum("inj,ik,knj->n", gap, np.linalg.inv(b.covariance), gap)
    np.testing.assert_allclose(kl(new, old), total, rtol=1e-9)
    assert np.isfinite(log_ratio(new, old)).all()


def _split(seeds: list[int]) -> list[np.ndarray]:
    """A roll-out of these samples, as one process makes it: states and log-probabilities."""
    x = np.stack([np.random.default_rng(seed).standard_normal(2) for seed in seeds])
    steps = trace(SOLVERS["flow_sde"], NODES).transitions(LAW.denoised).rollout(x, noise=seeds)
    return [np.stack([step.next for step in steps]), np.stack([step.log_prob for step in steps])]


def test_the_same_bits_over_processes() -> None:
    """A batch over 1, 2 and 4 processes, in another order: the same states and log-probabilities, bit for bit."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    seeds = [7, 3, 11, 5, 2, 13, 17, 1]
    whole = _split(seeds)
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        for order, k in ((seeds, 1), (seeds[::-1], 2), (seeds, 4)):
            size = len(seeds) // k
            made = list(pool.map(_split, [order[i : i + size] for i in range(0, len(seeds), size)]))
            rows = [seeds.index(seed) for seed in order]
            for found, wanted in zip(zip(*made, strict=True), whole, strict=True):
                np.testing.assert_array_equal(np.concatenate(found, axis=1), wanted[:, rows])


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
