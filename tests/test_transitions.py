"""Means, standard deviations and log-probabilities of every state of every stochastic Plan, against runs of the solver and quadrature."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from scipy.linalg import null_space, orth
from scipy.stats import multivariate_normal

from scorebed import SOLVERS, VP, GaussianMixture, sample, trace
from scorebed.solvers import methods_on
from scorebed.solvers.grid import uniform_lam
from scorebed.solvers.noise import BrownianNoise
from scorebed.solvers.plan.transitions import kl, log_ratio, path_log_prob
from scorebed.solvers.state import bare, parts

LAW = GaussianMixture([0.4, 0.6], [[-1.0, 0.2], [0.8, -0.3]], [0.1, 0.2])
STOCHASTIC = [s for s in methods_on().values() if s.weak is not None and not s.spaces and s.nonlinear is None]
NODES = uniform_lam(VP(), 6)


def start() -> np.ndarray:
    return LAW.sample(5, np.random.default_rng(0), NODES[0])


def on_every_kind() -> list[Any]:
    """Every stochastic method that has a Plan with every kind of process, and its problem: a law, nodes, states of one component or two."""
    from scorebed.toy.properties import bridge, phase

    cases = [(method, "gaussian", NODES[::2], LAW.denoised, start()) for method in STOCHASTIC]
    for kind, problem in (("phase", phase.problems()[1]), ("bridge", bridge.problems()[1])):
        drawn = [method for method in methods_on(kind).values() if method.weak is not None]
        cases += [(method, kind, problem.nodes(3), problem.model, problem.draw(3)) for method in drawn]
    return [pytest.param(*case, id=f"{case[0].name}-{case[1]}") for case in cases]


def given(draws: np.ndarray, intervals: Any, per: int = 1) -> Any:
    """These draws as a noise, ``per`` for each of the intervals in their order."""

    def noise(s: Any, t: Any) -> Any:
        first = per * intervals.index((s.clock, t.clock))
        return bare(tuple(draws[first : first + per]))

    return noise


class Solved:
    """The solver itself: its states at nodes and at evaluations, as functions of all of its draws, (draws, n, d)."""

    def __init__(self, method: Any, nodes: Any, model: Any, x: Any) -> None:
        self.method, self.nodes, self.model, self.x = method, nodes, model, x
        self.shape, self.intervals = parts(x)[0].shape, list[tuple[float, float]]()
        self.per = nodes[0].process.draws

    def __call__(self, draws: np.ndarray) -> list[tuple[np.ndarray, bool]]:
        """Every state that is evaluated, where it is not the one before, or ends a step; (components, n, d), and whether it ends one."""
        seen: list[tuple[np.ndarray, bool]] = []

        def see(x: Any, end: bool = False) -> None:
            y = np.stack([np.asarray(part) for part in parts(x)])
            if end or not seen or np.abs(y - seen[-1][0]).max() > 1e-12:
                seen.append((y, end))

        def model(x: Any, node: Any) -> Any:
            see(x)
            return self.model(x, node)

        def noise(s: Any, t: Any) -> Any:
            if (s.clock, t.clock) not in self.intervals:
                self.intervals.append((s.clock, t.clock))
            return given(draws, self.intervals, self.per)(s, t)

        see(self.x)
        sample(self.method, model, self.x, self.nodes, noise=noise, terminal="none", callback=lambda done: see(done.x, end=True))
        return seen

    def laws(self, draws: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Mean and factor of every state given those before: what moves it along draws that move nothing before it."""
        path = self(draws)
        draws = draws[: self.per * len(self.intervals)]  # those that were asked for
        known, found = np.zeros((0, len(draws))), []
        for k, (y, end) in enumerate(path[1:], 1):
            free = null_space(known) if len(known) else np.eye(len(draws))
            moved = [self(draws + turn[:, None, None]) for turn in free.T]
            factor = np.array([(one[k][0] - y)[:, 0, 0] for one in moved]).reshape(-1, len(y)).T
            size = np.abs(factor).max(initial=0.0)
            if not end and size < 1e-11:
                continue  # the past fixes it
            values = np.einsum("ji,jnd->ind", free, draws)
            found.append((y - np.einsum("ci,ind->cnd", factor, values), factor))
            known = np.concatenate([known, orth((factor @ free.T).T).T]) if size > 1e-9 else known
        return found


@pytest.mark.parametrize(("method", "kind", "nodes", "model", "x"), on_every_kind())
def test_every_state_has_the_mean_and_the_noise_of_the_solver(method: Any, kind: str, nodes: Any, model: Any, x: Any) -> None:
    """Moved by draws that leave all before it where it is, each state of a run of the solver moves by C; without them it is the mean; the
    log-probability is that of this Gaussian, on the range of its covariance; ``score`` reads the same."""
    del kind
    made, solved = trace(method, nodes).transitions(model), Solved(method, nodes, model, x)
    draws = np.random.default_rng(1).standard_normal((20, *solved.shape))
    wanted = solved.laws(draws)
    path = made.rollout(x, noise=given(draws, solved.intervals, solved.per))
    assert len(path) == len(wanted) == len(made.stages)
    for one, (mean, factor) in zip(path, wanted, strict=True):
        np.testing.assert_allclose(np.stack(parts(one.mean)), mean, atol=1e-11)
        np.testing.assert_allclose(one.covariance, factor @ factor.T, atol=1e-11)
        if one.log_prob is None:
            assert np.abs(factor).max(initial=0.0) < 1e-11
            continue
        gap = np.moveaxis(np.stack(parts(one.next)) - mean, 0, -1)
        log = multivariate_normal(np.zeros(len(mean)), factor @ factor.T, allow_singular=True).logpdf(gap)
        np.testing.assert_allclose(one.log_prob, np.sum(log, axis=1) if log.ndim == 2 else log, atol=1e-10)
    for one, other in zip(made.score([x, *(one.next for one in path)]), path, strict=True):
        np.testing.assert_allclose(np.stack(parts(one.mean)), np.stack(parts(other.mean)), atol=1e-9)
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


LINE = GaussianMixture([0.4, 0.6], [[-1.0], [0.8]], 0.1)


def cases_on_the_line() -> list[tuple[Any, int]]:
    """Every stochastic method with one or two steps: two draws, or as many as one step takes, up to three."""
    nodes = uniform_lam(VP(), 2, 0.7, 0.3)
    return [(method, 2 if len(trace(method, nodes).draws) == 2 else 1) for method in STOCHASTIC]


@pytest.mark.parametrize(("method", "steps"), cases_on_the_line(), ids=lambda v: getattr(v, "name", ""))
def test_log_probabilities_are_densities_by_quadrature(method: Any, steps: int) -> None:
    """∫ p(path) dpath = 1 and ∫ p(path) f(x_N) dpath = E f(x_N), by the solver on Gauss-Hermite draws, to 1e-10: paths with all stages."""
    nodes, x = uniform_lam(VP(), steps, 0.55, 0.45), np.full((1, 1), 0.3)
    plan = trace(method, nodes)
    made, count = plan.transitions(LINE.denoised), len(plan.draws)
    u, w = np.polynomial.hermite_e.hermegauss({1: 40, 2: 32, 3: 20}.get(count, 10))
    draws = np.stack(np.meshgrid(*[u] * count, indexing="ij")).reshape(count, -1, 1)
    weights = np.prod(np.stack(np.meshgrid(*[w / w.sum()] * count, indexing="ij")).reshape(count, -1), axis=0)

    def f(y: Any) -> np.ndarray:
        return np.cos(np.asarray(y)[:, 0])

    intervals = [(s.clock, t.clock) for s, t in plan.noises]
    noise, starts = given(draws, intervals), np.repeat(x, len(weights), 0)
    ends = made.rollout(starts, noise=noise)
    direct = sample(method, LINE.denoised, starts, nodes, noise=noise, terminal="none")
    noisy = [one for one in ends if one.log_prob is not None]
    grids = []
    for one in noisy:
        spread = np.asarray(one.mean)[:, 0]
        low, high, h = spread.min() - 6.9 * one.std, spread.max() + 6.9 * one.std, 0.75 * one.std
        grids.append(np.linspace(low, high, 2 + int((high - low) / h)))
    mesh = iter(np.stack(np.meshgrid(*grids, indexing="ij")).reshape(len(grids), -1, 1))
    cell, size = math.prod(g[1] - g[0] for g in grids), math.prod(map(len, grids))
    path = made.score([np.repeat(x, size, 0), *(np.zeros((size, 1)) if one.log_prob is None else next(mesh) for one in ends)])
    density = np.exp(path_log_prob(path))
    assert density.sum() * cell == pytest.approx(1.0, abs=1e-10)
    assert (density * f(path[-1].next)).sum() * cell == pytest.approx(float(weights @ f(direct)), abs=1e-10)


@pytest.mark.parametrize("name", ["ddpm", "gddim_2", "sscs", "baoab"])
def test_densities_in_phase_space_integrate_to_one(name: str) -> None:
    """Over position and velocity, or over the line that the noise reaches, to 1e-10; beyond that line there is no density."""
    from scorebed.toy.properties import phase

    problem = phase.problems()[1]
    nodes, x = problem.nodes(1), tuple(part[:1] for part in problem.draw(1))
    made = trace(SOLVERS[name], nodes).transitions(problem.model)
    path = made.rollout(x, noise=2)
    at = next(i for i, one in enumerate(path) if one.log_prob is not None)
    u = np.linspace(-7.0, 7.0, 25)
    rank = path[at].factor.shape[1]
    mesh = np.stack(np.meshgrid(*[u] * rank, indexing="ij")).reshape(rank, -1)
    ahead = [tuple(np.repeat(part, mesh.shape[1], 0) for part in parts(state)) for state in (x, *(one.next for one in path))]
    ahead[at + 1] = tuple(np.asarray(m) + (c @ mesh)[:, None] for m, c in zip(parts(path[at].mean), path[at].factor, strict=True))
    cell = math.sqrt(np.linalg.det(path[at].factor.T @ path[at].factor)) * (u[1] - u[0]) ** rank
    log_prob = made.score(ahead)[at].log_prob
    assert np.exp(log_prob).sum() * cell == pytest.approx(1.0, abs=1e-10)
    if rank == 1:
        ahead[at + 1] = (ahead[at + 1][0] + 0.1, ahead[at + 1][1])
        with pytest.raises(ValueError, match="cannot go there"):
            made.score(ahead)


@pytest.mark.parametrize("name", ["ddpm", "srk_2", "churn"])
def test_torch_states_have_the_same_transitions(name: str) -> None:
    import torch

    plan, noise = trace(SOLVERS[name], NODES), BrownianNoise(3, (5, 2))
    ours = plan.transitions(LAW.denoised).rollout(start(), noise)
    model = lambda x, node: torch.from_numpy(np.asarray(LAW.denoised(x.numpy(), node)))  # noqa: E731
    theirs = plan.transitions(model).rollout(torch.from_numpy(start()), lambda s, t: torch.from_numpy(noise(s, t)))
    np.testing.assert_allclose(path_log_prob(theirs).numpy(), path_log_prob(ours), rtol=1e-12)
    np.testing.assert_allclose(theirs[-1].next.numpy(), ours[-1].next, atol=1e-13)


@pytest.mark.parametrize("name", ["ddpm", "flow_sde", "flow_precise", "churn", "srk_2", "dpmpp_sde"])
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
    pairs = [(a, b) for a, b in zip(new, old, strict=True) if b.log_prob is not None]
    by_hand = sum(((a.mean - b.mean) ** 2).sum(1) / (2.0 * b.std**2) for a, b in pairs)
    np.testing.assert_allclose(divergence, by_hand, rtol=1e-10)
    with pytest.raises(ValueError, match=f"new has 1 steps, old has {len(old)}"):
        log_ratio(new[:1], old)
    still = trace(SOLVERS["ddim"], NODES).transitions(LAW.denoised).rollout(x[:2])
    with pytest.raises(ValueError, match="no step has noise"):
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
    inside = trace(SOLVERS["srk_2"], NODES).transitions(LAW.denoised)
    assert inside.stages == (True, False) * 6
    with pytest.raises(ValueError, match="for 7 nodes and 6 stages inside its steps"):
        inside.score([start()] * 7)
    with pytest.raises(ValueError, match="noise at different steps"):
        log_ratio(steps, made.rollout(start()))
