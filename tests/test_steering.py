"""Composition, superposition, particles and search, each against closed-form truth, with the broken thing beside it."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from scorebed import SOLVERS, VP, GaussianMixture, grid, sample
from scorebed.analytic.gaussian.tilt import of_class, quadratic
from scorebed.analytic.gaussian.tilt import product as product_law
from scorebed.analytic.gaussian.tilt import union as union_law
from scorebed.analytic.output.guided import guided_law
from scorebed.solvers.guide import CFG, guided
from scorebed.solvers.methods.steering import composition as compose
from scorebed.solvers.methods.steering.correction import predictor_corrector
from scorebed.solvers.methods.steering.particles import effective, smc, soft_value, systematic
from scorebed.solvers.methods.steering.search import best_of, best_of_n_kl, best_of_n_weight, rollover, zero_order
from scorebed.solvers.methods.steering.superdiff import along, superdiff
from scorebed.solvers.noise import BrownianNoise
from scorebed.toy.measure.output_law import law

ONE = GaussianMixture([1.0], [[0.8, -0.2]], [[[0.3, 0.1], [0.1, 0.2]]])
TWO = GaussianMixture([0.5, 0.5], [[-1.0, 0.3], [0.2, 1.0]], [0.1, 0.3])
NULL = GaussianMixture([1.0], [[0.0, 0.0]], 1.0)
NODES = grid.uniform_lam(VP(), 8, 0.9, 0.05)
NODE = NODES[4]
X = np.random.default_rng(0).standard_normal((5, 2))


def agree(model: Any, wanted: np.ndarray, x: np.ndarray = X) -> None:
    np.testing.assert_allclose(model(x, NODE), wanted, atol=1e-10)
    np.testing.assert_allclose(model(x[1:3], NODE), np.asarray(wanted)[1:3], atol=1e-10)


def test_composition_is_its_formula() -> None:
    d, e, u = (np.asarray(one.denoised(X, NODE)) for one in (ONE, TWO, NULL))
    agree(compose.composed(NULL.denoised, [(2.0, ONE.denoised), (-0.5, TWO.denoised)]), u + 2.0 * (d - u) - 0.5 * (e - u))
    agree(compose.composed(NULL.denoised, [(3.0, ONE.denoised)]), CFG(3.0)(d, u, X, NODE))
    fields = 2.0 * np.asarray(ONE.score(X, NODE)) - 0.7 * np.asarray(TWO.score(X, NODE))
    agree(compose.product([ONE.denoised, TWO.denoised], [2.0, -0.7]), (X + NODE.sigma**2 * fields) / NODE.alpha)
    agree(compose.regions([ONE.denoised, TWO.denoised], [np.array([1.0, 0.0]), np.array([0.0, 1.0])]), np.stack([d[:, 0], e[:, 1]], 1))
    filter_ = compose.low_pass(2, 0)
    agree(compose.banded(ONE.denoised, NULL.denoised, 3.0, 1.5, lambda gap: gap @ filter_), u + 1.5 * (d - u) + 1.5 * ((d - u) @ filter_))
    agree(compose.banded(ONE.denoised, NULL.denoised, 3.0, 3.0, lambda gap: gap @ filter_), CFG(3.0)(d, u, X, NODE))
    size = np.maximum(0.4, np.quantile(np.abs(d), 0.9, axis=1))[:, None]
    agree(compose.thresholded(ONE.denoised, 0.9, 0.4), 0.4 * np.clip(d / size, -1.0, 1.0))


def test_regions_are_exact_where_they_are_independent() -> None:
    """One coordinate of each of two laws of independent ones: the model of their product; of dependent ones it is not."""
    one, two = GaussianMixture([0.3, 0.7], [[-1.0], [0.6]], [0.1, 0.2]), GaussianMixture([0.6, 0.4], [[0.2], [1.5]], [0.3, 0.05])

    def both(a: GaussianMixture, b: GaussianMixture) -> GaussianMixture:
        means = [[float(m[0]), float(n[0])] for m in a.means for n in b.means]
        spreads = [np.diag([s, t]) for s in np.ravel(a.covariances) for t in np.ravel(b.covariances)]
        return GaussianMixture(np.outer(a.weights, b.weights).ravel(), means, np.stack(spreads))

    masks = [np.array([1.0, 0.0]), np.array([0.0, 1.0])]
    agree(compose.regions([both(one, one).denoised, both(two, two).denoised], masks), np.asarray(both(one, two).denoised(X, NODE)))
    tied = compose.regions([ONE.denoised, both(two, two).denoised], masks)
    cut = GaussianMixture([1.0], ONE.means[:, :1], [[[0.3]]])
    assert np.abs(tied(X, NODE) - np.asarray(both(cut, two).denoised(X, NODE))).max() > 0.01


def test_bands_and_negatives_sample_their_gaussians() -> None:
    """Of Gaussians with common directions: each band has the guided law of its own scale, and a negative prompt that of its weight."""
    cov = np.diag([0.2, 0.4])
    given, null = GaussianMixture([1.0], [[0.5, -0.3]], cov[None]), GaussianMixture([1.0], [[0.0, 0.0]], 1.0)
    nodes = grid.uniform_lam(VP(), 300, 0.999, 0.01)
    x = nodes[0].sigma * np.concatenate([np.zeros((1, 2)), np.eye(2)])  # the run is affine: mean and slopes
    first = np.diag([1.0, 0.0])
    bands = compose.banded(given.denoised, null.denoised, 3.0, 1.5, lambda gap: gap @ first)
    away = compose.composed(given.denoised, [(-0.5, null.denoised)])
    for model, scales in ((bands, (3.0, 1.5)), (away, (1.5, 1.5))):
        out = sample(SOLVERS["heun"], model, x, nodes, terminal="none")
        for i, w in enumerate(scales):
            mean, variance = guided_law([(w, given.means[0, i], cov[i, i]), (1.0 - w, 0.0, 1.0)], nodes[0], nodes[-1])
            assert out[0, i] == pytest.approx(float(mean), abs=2e-3)
            assert (out[1 + i, i] - out[0, i]) ** 2 == pytest.approx(float(variance), rel=5e-3)


def test_low_pass_is_a_real_projection() -> None:
    p = compose.low_pass(9, 2)
    np.testing.assert_allclose(p @ p, p, atol=1e-12)
    np.testing.assert_allclose(p, p.T, atol=1e-12)
    assert np.linalg.matrix_rank(p) == 5


def test_unions_and_routers_are_the_union() -> None:
    """Exact at every t with exact weights; equal weights and the nearest expert alone are not."""
    whole = union_law([ONE, TWO], [0.3, 0.7])
    exact = np.asarray(whole.denoised(X, NODE))
    models, logs = [ONE.denoised, TWO.denoised], [ONE.log_prob, TWO.log_prob]
    agree(compose.union(models, logs, [0.3, 0.7]), exact)
    share = np.exp(np.stack([np.log(w) + np.asarray(one.log_prob(X, NODE)) for w, one in ((0.3, ONE), (0.7, TWO))], 1))
    share = share / share.sum(1, keepdims=True)
    routed = compose.routed(models, lambda x, n: share)
    np.testing.assert_allclose(routed(X, NODE), exact, atol=1e-10)
    for wrong in (compose.routed(models, lambda x, n: share, top=1), compose.routed(models, lambda x, n: np.full((len(x), 2), 0.5))):
        assert np.abs(wrong(X, NODE) - exact).max() > 0.01
    with pytest.raises(ValueError, match="router gave shape"):
        compose.routed(models, lambda x, n: np.ones((len(x), 3)))(X, NODE)


def test_the_exact_value_steers_to_the_tilt() -> None:
    """Classifier and reward guidance by the exact gradient are the tilt's own model; by the posterior mean they are not."""
    tilt = quadratic(TWO, 0.5, [1.0, -0.5])
    agree(compose.steered(TWO.denoised, tilt.gradient), np.asarray(tilt.law.denoised(X, NODE)))
    label = of_class(TWO, [1])
    agree(compose.steered(TWO.denoised, label.gradient), np.asarray(label.law.denoised(X, NODE)))

    class Model:
        vjp = staticmethod(TWO.vjp)

        def __call__(self, x: Any, node: Any) -> Any:
            return TWO.denoised(x, node)

    naive = compose.rewarded(Model(), lambda x0: np.array([1.0, -0.5]) - 0.5 * x0)
    assert np.abs(naive(X, NODE) - np.asarray(tilt.law.denoised(X, NODE))).max() > 0.02


def test_the_noised_product_is_not_the_product_of_the_noised() -> None:
    """Gaussians: biased at t > 0, and the gap goes as t → 0."""
    meant = product_law(ONE, TWO).law
    model = compose.product([ONE.denoised, TWO.denoised], [1.0, 1.0])
    gaps = [np.abs(model(X, n) - np.asarray(meant.denoised(X, n))).max() for n in (VP().node(t) for t in (0.5, 0.1, 0.01))]
    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[0] > 0.05
    assert gaps[2] < 0.1 * gaps[0]


def test_reflection_moves_by_the_difference_of_scores() -> None:
    """x̃ − x = σ² Δλ (s_strong − s_weak) + O(Δλ²); nothing moves where weak is strong; a DDIM step is the one from x̃."""
    strong, weak = ONE.denoised, NULL.denoised
    gaps = []
    for h in (0.1, 0.05, 0.025):
        s, t = VP().at_lam(0.0), VP().at_lam(h)
        model = compose.reflected(strong, weak, [s, t])
        step = sample(SOLVERS["ddim"], model, X, [s, t], terminal="none")
        there = sample(SOLVERS["ddim"], strong, X, [s, t], terminal="none")
        back = (s.sigma / t.sigma) * there - s.alpha * math.expm1(t.lam - s.lam) * weak(there, t)
        np.testing.assert_allclose(step, sample(SOLVERS["ddim"], strong, back, [s, t], terminal="none"), atol=1e-12)
        first = s.sigma**2 * h * (np.asarray(ONE.score(X, s)) - np.asarray(NULL.score(X, s)))
        gaps.append(np.abs(back - X - first).max())
    assert gaps[0] / gaps[1] == pytest.approx(4.0, rel=0.15)
    assert gaps[1] / gaps[2] == pytest.approx(4.0, rel=0.15)
    same = compose.reflected(strong, strong, NODES)
    assert np.abs(same(X, NODES[2]) - strong(X, NODES[2])).max() < 0.3


def test_torch_states_are_composed_alike() -> None:
    x = torch.from_numpy(X)
    for make in (
        lambda: compose.composed(NULL.denoised, [(2.0, ONE.denoised)]),
        lambda: compose.product([ONE.denoised, TWO.denoised], [1.0, 0.5]),
        lambda: compose.thresholded(ONE.denoised, 0.9, 0.4),
        lambda: compose.reflected(ONE.denoised, NULL.denoised, NODES),
        lambda: compose.union([ONE.denoised, TWO.denoised], [ONE.log_prob, TWO.log_prob], [0.5, 0.5]),
    ):
        np.testing.assert_allclose(make()(x, NODE).numpy(), make()(X, NODE), atol=1e-12)


def test_the_limit_of_guidance_by_the_sde_is_the_predictor_corrector() -> None:
    """Exact moments (the run is affine: slope and impulse responses) tend to guidance of scale (1 + γ)/2, not of γ."""
    given, null, gamma = GaussianMixture([1.0], [[0.0]], 0.2), GaussianMixture([1.0], [[0.0]], 1.0), 4.0

    def variance(n: int) -> float:
        nodes = grid.uniform_lam(VP(), n, 0.9, 0.05)
        draws = {(s.lam, t.lam): i for i, (s, t) in enumerate(pairwise(nodes))}
        unit = np.eye(n + 1)

        def noise(s: Any, t: Any) -> np.ndarray:
            return unit[:, 1 + draws[(s.lam, t.lam)]][:, None]

        out = predictor_corrector(given.denoised, null.denoised, gamma, unit[:, :1] * nodes[0].sigma, nodes, noise)
        return float((out**2).sum())

    first, second = variance(100), variance(200)
    found = 2.0 * second - first
    s, t = VP().node(0.9), VP().node(0.05)

    def meant(w: float) -> float:
        return float(guided_law([(w, 0.0, 0.2), (1.0 - w, 0.0, 1.0)], s, t, 1.0)[1])

    assert found == pytest.approx(meant(2.5), rel=3e-3)
    assert abs(found / meant(gamma) - 1.0) > 0.05


def test_densities_along_a_path_have_strong_order_one_half() -> None:
    """⟨s, dy⟩ − ½|s|²dτ against log p along reverse paths with refined noise: the error falls as sqrt(h); without the ½ it does not."""
    noise = BrownianNoise(3, (200, 2), refine=True)
    errors, wrong = [], []
    for n in (20, 80, 320):
        nodes = grid.uniform_lam(VP(), n, 0.8, 0.1)
        x = TWO.sample(200, 1, nodes[0])
        run = sample(SOLVERS["ddpm"], TWO.denoised, x, nodes, noise=noise, terminal="none", record=True)
        s, t = nodes[0], nodes[-1]
        truth = np.asarray(TWO.log_prob(run.x, t)) - np.asarray(TWO.log_prob(x, s)) + 2.0 * math.log(t.alpha / s.alpha)
        made = along(TWO.denoised, run.xs, nodes)
        errors.append(float(np.sqrt(np.mean((made - truth) ** 2))))
        drift = sum(
            0.5 * (a.rho**2 - b.rho**2) * (((np.asarray(TWO.denoised(y, a)) - y / a.alpha) / a.rho**2) ** 2).sum(1)
            for (a, b), y in zip(pairwise(nodes), run.xs, strict=False)
        )
        wrong.append(float(np.sqrt(np.mean((made - drift - truth) ** 2))))
    slopes = [math.log(a / b) / math.log(4.0) for a, b in pairwise(errors)]
    assert all(0.35 < slope < 0.65 for slope in slopes), (slopes, errors)
    assert wrong[-1] > 0.8 * wrong[0]


def test_superposition_samples_the_mixture_and_the_limits_of_and() -> None:
    left, right = GaussianMixture([1.0], [[-1.0]], 0.1), GaussianMixture([1.0], [[0.9]], 0.2)
    nodes = grid.uniform_lam(VP(), 120, 0.98, 0.05)
    x = nodes[0].sigma * np.random.default_rng(2).standard_normal((1500, 1))
    models = [left.denoised, right.denoised]
    noise = BrownianNoise(4, x.shape)
    both = superdiff(models, x, nodes, noise, weights=[0.3, 0.7])
    assert float((both.x < 0.0).mean()) == pytest.approx(0.3, abs=4.0 * math.sqrt(0.21 / 1500) + 0.02)
    gaps = {}
    for variance in (0.1, 0.2):
        other = GaussianMixture([1.0], [[0.9]], variance)
        ends = superdiff([left.denoised, other.denoised], x[:300], nodes, noise.take(range(300)), mode="and")
        assert np.abs(ends.log_ratios[:, 0] - ends.log_ratios[:, 1]).max() < 1e-9  # as the estimator sees it
        exact = np.asarray(left.log_prob(ends.x, nodes[-1])) - np.asarray(other.log_prob(ends.x, nodes[-1]))
        gaps[variance] = float(np.median(np.abs(exact)))
    # AND's weights meet the noise: along s_1 − s_2 the path has none, and Itô's ½ (Δ log q_1 − Δ log q_2) dτ is missing where they differ
    assert gaps[0.1] < 0.02
    assert gaps[0.2] > 0.15
    with pytest.raises(ValueError, match="mode"):
        superdiff(models, x, nodes, noise, mode="xor")  # type: ignore[arg-type]


LINE = GaussianMixture([0.6, 0.4], [[-0.8], [0.9]], [0.2, 0.1])
TILT = quadratic(LINE, 0.5, 1.2)
COARSE = grid.uniform_lam(VP(), 6, 0.95, 0.02)


def starts(n: int, seed: int) -> np.ndarray:
    return np.asarray(LINE.sample(n, seed, COARSE[0]))


def test_the_normaliser_of_particles_is_exact_in_expectation() -> None:
    """E Ẑ over populations of 16 is E[e^r] under the chain's own exact law, whatever v and whenever one resamples; the last weights alone
    miss it by far."""
    truth = law(SOLVERS["ddpm"], LINE, COARSE).expect(lambda x: np.exp(np.asarray(TILT.reward(x[:, None]))))
    rough = lambda x, n: 0.5 * TILT.reward(LINE.denoised(x, n))  # noqa: E731
    for value, threshold in ((TILT.value, 1.0), (rough, 0.7), (rough, 0.0)):
        runs = [
            smc(SOLVERS["ddpm"], LINE.denoised, value, starts(16, k), COARSE, k, final=TILT.reward, threshold=threshold) for k in range(150)
        ]
        estimates = np.exp([run.log_normaliser for run in runs])
        assert estimates.mean() == pytest.approx(truth, abs=4.0 * estimates.std() / math.sqrt(len(runs)))
        if threshold == 1.0:  # the last weights alone: what is lost is the product of the means before
            lost = np.array([np.exp(np.asarray(TILT.reward(run.x))).mean() for run in runs])
            assert lost.mean() > 1.3 * truth


def test_particles_tend_to_the_tilt() -> None:
    """The weighted mean of many particles is that of the tilted chain; effective numbers and ancestors tell of resampling."""
    out = smc(SOLVERS["ddpm"], LINE.denoised, TILT.value, starts(6000, 5), COARSE, 3, final=TILT.reward)
    chain = law(SOLVERS["ddpm"], LINE, COARSE)
    weight = lambda x: np.exp(np.asarray(TILT.reward(x[:, None])))  # noqa: E731
    mean = chain.expect(lambda x: x * weight(x)) / chain.expect(weight)
    assert out.expect(lambda x: x[:, 0]) == pytest.approx(mean, abs=0.05)
    often = smc(SOLVERS["ddpm"], LINE.denoised, TILT.value, starts(6000, 5), COARSE, 3, threshold=1.0)
    assert abs(float(often.x.mean()) - mean) < 0.3 * abs(chain.mean - mean)
    always = smc(SOLVERS["ddpm"], LINE.denoised, TILT.value, starts(64, 5), COARSE, 3, threshold=1.0)
    never = smc(SOLVERS["ddpm"], LINE.denoised, TILT.value, starts(64, 5), COARSE, 3, threshold=0.0)
    assert len(always.resampled) == 6
    assert never.resampled == ()
    assert len(set(always.ancestors)) < 64 == len(set(never.ancestors))


def test_systematic_resampling_is_unbiased() -> None:
    logs = np.log(np.array([0.05, 0.5, 0.3, 0.15]))
    counts = np.mean([np.bincount(systematic(logs, u), minlength=4) for u in (np.arange(1000) + 0.5) / 1000], axis=0)
    np.testing.assert_allclose(counts, 4.0 * np.exp(logs), atol=2e-3)
    assert effective(np.zeros(7)) == pytest.approx(7.0)


def test_soft_values_sample_the_tilt_with_a_bias_of_one_over_m() -> None:
    """On a fine chain, from the tilt's own marginal: the mean tends to the tilt's as M grows; M = 1 is the chain without a reward."""
    nodes, mean = grid.uniform_lam(VP(), 24, 0.95, 0.02), float(TILT.law.mean()[0])
    x = np.asarray(TILT.law.sample(1500, 8, nodes[0]))
    off = [abs(float(soft_value(SOLVERS["ddpm"], LINE.denoised, TILT.value, x, nodes, 2, candidates=m).mean()) - mean) for m in (1, 4, 16)]
    assert off[0] > 2.0 * off[1]
    assert off[1] > 1.4 * off[2]


def test_best_of_n_has_its_law() -> None:
    """KL = log N − (N−1)/N by quadrature, and the mean of the best of 8 that of p N F^{N−1}."""
    x = np.linspace(-6.0, 6.0, 8001)
    p, f = np.exp(LINE.log_prob(x[:, None])), np.asarray(LINE.cdf(x))
    for n in (1, 4, 32):
        w = best_of_n_weight(f, n)
        kl = np.trapezoid(np.where(w > 0.0, p * w * np.log(np.maximum(w, 1e-300)), 0.0), x)
        assert kl == pytest.approx(best_of_n_kl(n), abs=1e-5)
    nodes = grid.uniform_lam(VP(), 40, 1.0, 0.01)
    begin = nodes[0].sigma * np.random.default_rng(1).standard_normal((8000, 1))
    best = best_of(lambda z: sample(SOLVERS["dpmpp_2m"], LINE.denoised, z, nodes), lambda y: y[:, 0], begin, 8)
    assert float(best.mean()) == pytest.approx(float(np.trapezoid(x * p * best_of_n_weight(f, 8), x)), abs=0.05)
    with pytest.raises(ValueError, match="does not divide"):
        best_of(lambda z: z, lambda y: y[:, 0], begin[:7], 2)


def test_search_climbs_and_hacks() -> None:
    """Zero-order search never falls in its own reward; under a verifier that grows for ever the true reward falls."""
    nodes = grid.uniform_lam(VP(), 10, 1.0, 0.02)
    truth = lambda y: -((y[:, 0] - 0.9) ** 2)  # noqa: E731
    climbed = zero_order(
        lambda z: sample(SOLVERS["ddim"], LINE.denoised, z, nodes), lambda y: y[:, 0], np.random.default_rng(0).standard_normal((60, 1)), 8
    )
    assert (np.diff(climbed.rewards, axis=0) >= 0.0).all()
    assert climbed.rewards[-1].mean() > climbed.rewards[0].mean() + 0.5
    assert truth(climbed.x).mean() < truth(np.full((1, 1), 0.9)).mean() - 0.05


def test_rollover_spends_no_more_than_its_budget() -> None:
    reward = lambda x, n: np.asarray(TILT.reward(np.asarray(LINE.denoised(x, n))))  # noqa: E731
    plain = rollover(SOLVERS["ddpm"], LINE.denoised, reward, starts(200, 3), COARSE, 1)
    many = rollover(SOLVERS["ddpm"], LINE.denoised, reward, starts(200, 3), COARSE, 5)
    assert (many.nfe <= 5 * 6).all()
    assert (plain.nfe == 6).all()
    assert many.nfe.mean() < 30.0
    assert np.asarray(TILT.reward(many.x)).mean() > np.asarray(TILT.reward(plain.x)).mean() + 0.2


def test_overshoot_vanishes_with_dimension() -> None:
    """Two classes ±m with |m|² = d (arXiv:2502.07849): by the SDE the guided mean leaves the class's by less and less, in its own std."""
    off = []
    for d in (1, 4, 16):
        m = math.sqrt(d)
        whole = GaussianMixture([0.5, 0.5], [[m], [-m]], 1.0)
        target: Any = type("T", (), {"d": 1, "line": staticmethod(whole.line)})()
        target.denoised = guided(of_class(whole, [0]).law.denoised, whole.denoised, 3.0)
        off.append(law(SOLVERS["ddpm"], target, grid.uniform_lam(VP(), 30, 1.0, 0.01), initial="prior").mean - m)
    assert off[0] > 1.4 * off[1] > 2.1 * off[2] > 0.0, off


def test_wrong_use_is_told() -> None:
    with pytest.raises(ValueError, match="draws nothing"):
        smc(SOLVERS["ddim"], LINE.denoised, TILT.value, starts(4, 1), COARSE)
    with pytest.raises(ValueError, match="threshold"):
        smc(SOLVERS["ddpm"], LINE.denoised, TILT.value, starts(4, 1), COARSE, threshold=2.0)
    with pytest.raises(ValueError, match="value gave shape"):
        smc(SOLVERS["ddpm"], LINE.denoised, lambda x, n: x, starts(4, 1), COARSE)
    with pytest.raises(ValueError, match="candidate"):
        soft_value(SOLVERS["ddpm"], LINE.denoised, TILT.value, starts(4, 1), COARSE, candidates=0)
    with pytest.raises(ValueError, match="budget"):
        rollover(SOLVERS["ddpm"], LINE.denoised, TILT.value, starts(4, 1), COARSE, 0)
    with pytest.raises(ValueError, match="rounds"):
        zero_order(lambda z: z, lambda y: y[:, 0], X, 0)
    with pytest.raises(ValueError, match="corrections"):
        predictor_corrector(ONE.denoised, NULL.denoised, 2.0, X, NODES, lambda s, t: X, corrections=0)
    with pytest.raises(ValueError, match="for 9 nodes"):
        along(ONE.denoised, [X], NODES)
