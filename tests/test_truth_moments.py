"""Exact moments of a Plan's output: against the Plan itself, walked with numbers, and by Monte Carlo."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorebed.analytic import GaussianMixture, LowRank
from scorebed.analytic.output.moments import moments
from scorebed.solvers.plan import Combine, Draw, Evaluate, Plan
from scorebed.solvers.schedule import EDM, VP, RectifiedFlow


def plan_of(grid, ops, result):
    """The operations as a Plan; where its steps end does not matter here."""
    return Plan("random", grid, ops, (0,) * len(grid), result, (0,) * (len(grid) - 1))


def run(plan, law, x, draws):
    """The output for these draws, one for each operation that draws."""
    draws = iter(draws)
    return plan.fold(x, law.denoised, lambda s, t: next(draws), lambda terms: sum((c * value for c, value in terms), 0.0 * x))


def targets(d=3):
    rng = np.random.default_rng(0)
    mu, a = rng.normal(size=(1, d)), rng.normal(size=(1, d, d))
    return {
        "isotropic": GaussianMixture([1.0], mu, 0.3),
        "diagonal": GaussianMixture([1.0], mu, rng.random((1, d))),
        "low rank": GaussianMixture([1.0], mu, LowRank(rng.normal(size=(1, d, 1)), np.zeros((1, d)))),
        "full": GaussianMixture([1.0], mu, a @ a.swapaxes(1, 2)),
    }


TARGETS = targets()


def random_program(rng, schedule, stochastic=True, length=12):
    grid = tuple(schedule.node(t) for t in np.linspace(schedule.t_max, schedule.t_min, 5))
    ops = [Evaluate(grid[0], 0)]
    while len(ops) < length:
        kind = rng.integers(3)
        if kind == 0:
            ops.append(Evaluate(grid[rng.integers(5)], int(rng.integers(len(ops) + 1))))
        elif kind == 1 and stochastic:
            ops.append(Draw(grid[0], grid[1]))
        else:
            chosen = rng.choice(len(ops) + 1, size=min(3, len(ops) + 1), replace=False)
            ops.append(Combine(tuple((int(i), float(c)) for i, c in zip(chosen, rng.normal(size=3), strict=False))))
    ops.append(Combine(((0, 0.5), (len(ops), 1.0), (len(ops) // 2, -0.3))))
    return plan_of(grid, tuple(ops), len(ops))


@given(st.integers(0, 10**6), st.sampled_from(sorted(TARGETS)), st.sampled_from([VP(), EDM(), RectifiedFlow()]))
def test_moments_are_those_of_the_affine_map(seed, target, schedule):
    """The program is affine in (x, draws): its matrix is read off by feeding it unit vectors."""
    rng, law = np.random.default_rng(seed), TARGETS[target]
    program = random_program(rng, schedule)
    n = len(program.noises)
    zero, eye = np.zeros((1, 3)), np.eye(3)
    offset = run(program, law, zero, [zero] * n)
    in_x = run(program, law, eye, [np.zeros((3, 3))] * n) - offset
    in_draws = [run(program, law, np.zeros((3, 3)), [eye if j == i else np.zeros((3, 3)) for j in range(n)]) - offset for i in range(n)]
    a = rng.normal(size=(3, 3))
    for mean, covariance in ((None, None), (rng.normal(size=3), a @ a.T), (None, a @ a.T)):
        start = program.grid[0]
        m = start.alpha * law.mean() if mean is None else mean
        c = start.alpha**2 * law.covariance() + start.sigma**2 * eye if covariance is None else covariance
        expected = in_x.T @ c @ in_x + sum((b.T @ b for b in in_draws), np.zeros((3, 3)))
        found_mean, found = moments(program, law, mean, covariance)
        size = np.abs(in_x).sum() * np.abs(m).max() + np.abs(offset).max() + 1.0
        assert np.abs(found_mean - (offset[0] + m @ in_x)).max() < 1e-12 * size
        assert np.abs(found - expected).max() < 1e-12 * (np.abs(expected).max() + np.square(in_x).sum() * np.abs(c).max())
        assert np.array_equal(found, found.T)


def test_moments_agree_with_monte_carlo():
    rng, law, n = np.random.default_rng(2), TARGETS["full"], 40_000
    program = random_program(np.random.default_rng(5), VP())
    mean, covariance = moments(program, law)
    draws = [rng.standard_normal((n, 3)) for _ in program.noises]
    assert draws
    out = run(program, law, law.sample(n, rng, program.grid[0]), draws)
    assert np.all(np.abs(out.mean(0) - mean) < 5.0 * np.sqrt(np.diag(covariance) / n))
    # the variance of a sample covariance of a Gaussian is (c_ii c_jj + c_ij²)/n
    spread = np.sqrt((np.outer(np.diag(covariance), np.diag(covariance)) + covariance**2) / n)
    assert np.all(np.abs(np.cov(out.T) - covariance) < 5.0 * spread)


def test_a_program_that_does_nothing_keeps_the_law():
    law, node = TARGETS["low rank"], VP().node(0.4)
    mean, covariance = moments(plan_of((node,), (), 0), law)
    assert np.allclose(mean, node.alpha * law.mean(), rtol=1e-14)
    assert np.allclose(covariance, law.marginal(node).covariance(), rtol=1e-13)


def test_evaluation_without_noise_divides_by_alpha():
    law, start, clean = TARGETS["diagonal"], VP().node(0.4), VP().node(0.0)
    mean, covariance = moments(plan_of((start,), (Evaluate(clean, 0),), 1), law)
    assert np.allclose(mean, start.alpha * law.mean())
    assert np.allclose(covariance, law.marginal(start).covariance())


def test_long_programs_stay_fast():
    law, grid = TARGETS["full"], tuple(EDM().node(s) for s in np.geomspace(80.0, 0.002, 1025))
    ops, x = [], 0
    for s, t in itertools.pairwise(grid):
        ops.append(Evaluate(s, x))
        ops.append(Draw(s, t))
        r = t.sigma / s.sigma
        ops.append(Combine(((x, r * r), (len(ops) - 1, 1.0 - r * r), (len(ops), t.sigma * np.sqrt(1.0 - r * r)))))
        x = len(ops)
    mean, covariance = moments(plan_of(grid, tuple(ops), x), law)
    assert np.allclose(mean, law.mean(), rtol=1e-2)
    assert np.allclose(covariance, law.covariance(), rtol=0.1, atol=0.1)


def test_what_has_no_exact_moments_is_refused():
    node = VP().node(0.4)
    with pytest.raises(ValueError, match="k = 2"):
        moments(plan_of((node,), (), 0), GaussianMixture([0.5, 0.5], [[0.0], [1.0]], 1.0))
    with pytest.raises(ValueError, match="mean has shape"):
        moments(plan_of((node,), (), 0), TARGETS["full"], mean=np.zeros(2))
    with pytest.raises(ValueError, match="covariance has shape"):
        moments(plan_of((node,), (), 0), TARGETS["full"], covariance=np.eye(2))
