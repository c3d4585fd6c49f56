"""Mixtures: identities between their methods, agreement of the structures, sampling, memory, dtypes, and what they refuse."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from scorebed.analytic import GaussianMixture, LowRank, RotatedProduct, from_data
from scorebed.analytic.gaussian.extended import Extended, matmul
from scorebed.solvers.schedule import EDM, VP, Node, RectifiedFlow, SubVP

NODES = [VP().node(0.02), SubVP().node(0.6), EDM().node(0.05), EDM().node(50.0), RectifiedFlow().node(0.7), RectifiedFlow().node(1.0)]


def test_means_of_a_line_may_be_numbers() -> None:
    one, two = GaussianMixture([0.4, 0.6], [-1.0, 2.0], [0.5, 1.0]), GaussianMixture([0.4, 0.6], [[-1.0], [2.0]], [0.5, 1.0])
    assert one.d == 1
    assert np.array_equal(one.means, two.means)


def orthogonal(rng, d):
    return np.linalg.qr(rng.normal(size=(d, d)))[0]


def mixtures(k=3, d=2, seed=0):
    rng = np.random.default_rng(seed)
    weights = rng.random(k) + 0.1
    weights, means, a = weights / weights.sum(), 2.0 * rng.normal(size=(k, d)), rng.normal(size=(k, d, d))
    arguments = {
        "isotropic": rng.random(k) + 0.05,
        "diagonal": rng.random((k, d)) + 0.05,
        "low rank": LowRank(rng.normal(size=(k, d, 1)), rng.random((k, d)) + 0.05),
        "full": a @ a.swapaxes(1, 2) + 0.05 * np.eye(d),
    }
    return {name: GaussianMixture(weights, means, c) for name, c in arguments.items()}


LAWS = {
    **mixtures(),
    "product": RotatedProduct(
        orthogonal(np.random.default_rng(1), 2),
        [GaussianMixture([0.4, 0.6], [[-2.0], [1.0]], [0.1, 0.3]), GaussianMixture([0.2, 0.5, 0.3], [[-3.0], [0.0], [2.0]], 0.2)],
    ),
}


def dense(law):
    """The same mixture with full matrices."""
    return GaussianMixture(law.weights, law.means, np.stack([law.structure.pooled(row) for row in np.eye(law.k)]))


def gradient(function, x, h):
    """Central differences of eighth order, (..., d)."""
    out = np.zeros((*np.shape(function(x)), x.shape[-1]))
    for i in range(x.shape[-1]):
        for j, c in zip((1, 2, 3, 4), (4 / 5, -1 / 5, 4 / 105, -1 / 280), strict=True):
            step = np.zeros(x.shape[-1])
            step[i] = j * h
            out[..., i] += c * (function(x + step) - function(x - step)) / h
    return out


@pytest.mark.parametrize("node", NODES, ids=repr)
@pytest.mark.parametrize("law", LAWS)
def test_score_denoised_and_covariance_are_derivatives_of_one_density(law, node):
    law = LAWS[law]
    x = law.sample(20, 2, node)
    h = 0.02 * np.hypot(0.2 * node.alpha, node.sigma)
    score = law.score(x, node)
    assert np.abs(score - gradient(lambda p: law.log_prob(p, node), x, h)).max() < 1e-9 * np.abs(score).max()
    tweedie = node.alpha * law.denoised(x, node)
    assert np.abs(tweedie - (x + node.sigma**2 * score)).max() < 1e-12 * np.abs(x).max()
    assert np.abs(law.eps(x, node) + node.sigma * score).max() < 1e-13 * max(1.0, np.abs(node.sigma * score).max())
    covariance, slope = law.posterior_covariance(x, node), gradient(lambda p: law.denoised(p, node), x, h)
    assert np.abs(node.alpha * covariance - node.sigma**2 * slope).max() < 1e-8 * np.abs(covariance).max()
    assert np.linalg.eigvalsh(covariance).min() > -1e-15 * np.abs(covariance).max()


@pytest.mark.parametrize("node", NODES, ids=repr)
@pytest.mark.parametrize("law", ["isotropic", "diagonal", "low rank"])
def test_structures_agree_with_full_matrices(law, node):
    for k, d in ((1, 1), (4, 3), (700, 6)):  # the last one by the ways for many components
        law_here = mixtures(k, d)[law]
        full, x = dense(law_here), law_here.sample(5, 3, node)
        for name in ("log_prob", "score", "denoised", "eps", "posterior_covariance"):
            found, expected = getattr(law_here, name)(x, node), getattr(full, name)(x, node)
            assert np.abs(found - expected).max() < 1e-11 * max(1.0, np.abs(expected).max()), name
        assert np.allclose(law_here.mean(), full.mean(), rtol=1e-14)
        assert np.allclose(law_here.covariance(), full.covariance(), rtol=1e-12, atol=1e-14)
        u = np.random.default_rng(0).normal(size=(3, d))
        u /= np.linalg.norm(u, axis=1, keepdims=True)
        for one, other in zip(law_here.project(u), full.project(u), strict=True):
            assert np.allclose(one.means, other.means)
            assert np.allclose(one.covariances, other.covariances, rtol=1e-11)


@pytest.mark.parametrize("node", NODES[:-1], ids=repr)
@pytest.mark.parametrize("law", LAWS)
def test_marginal_is_the_law_at_the_node(law, node):
    law = LAWS[law]
    x, at = law.sample(20, 4, node), law.marginal(node)
    assert np.allclose(at.log_prob(x), law.log_prob(x, node), rtol=1e-11, atol=1e-11)
    clean = Node(t=0.0, alpha=1.0, sigma=0.0, lam=np.inf)
    assert np.allclose(at.score(x, clean), law.score(x, node), rtol=1e-10, atol=1e-10)
    assert np.allclose(at.mean(), node.alpha * law.mean(), atol=1e-13)
    assert np.allclose(at.covariance(), node.alpha**2 * law.covariance() + node.sigma**2 * np.eye(law.d), rtol=1e-12)


@pytest.mark.parametrize("law", list(mixtures()))
def test_posterior_is_the_law_of_x0_given_x(law):
    law, node = LAWS[law], VP().node(0.4)
    x = law.sample(6, 5, node)
    post = law.posterior(x, node)
    for i in range(len(x)):
        inner = GaussianMixture(post.weights[i], post.means[i], post.covariances)
        assert np.allclose(inner.mean(), law.denoised(x[i], node), rtol=1e-12)
        assert np.allclose(inner.covariance(), law.posterior_covariance(x[i], node), rtol=1e-11)
        x0 = inner.sample(3, 0)  # Bayes: log p(x0|x) = log p(x0) + log p(x|x0) - log p(x)
        noise = stats.norm.logpdf(x[i], node.alpha * x0, node.sigma).sum(-1)
        assert np.allclose(inner.log_prob(x0), law.log_prob(x0) + noise - law.log_prob(x[i], node), rtol=1e-10)


@pytest.mark.parametrize("law", LAWS)
def test_samples_have_the_moments_and_the_marginals(law):
    law, node, n = LAWS[law], VP().node(0.3), 40_000
    x = law.sample(n, 7, node)
    spread = node.alpha**2 * law.covariance() + node.sigma**2 * np.eye(law.d)
    assert np.all(np.abs(x.mean(0) - node.alpha * law.mean()) < 5.0 * np.sqrt(np.diag(spread) / n))
    assert np.abs(np.cov(x.T) - spread).max() < 0.05 * np.abs(spread).max()
    expanded = law.mixture() if isinstance(law, RotatedProduct) else law
    for u in np.array([[1.0, 0.0], [0.6, -0.8]]):
        shadow = expanded.marginal(node).project(u[None])[0]
        assert stats.ks_1samp(x @ u, shadow.cdf).pvalue > 1e-4
    assert np.array_equal(law.sample(5, 3), law.sample(5, 3))


def test_product_is_its_expansion():
    law = LAWS["product"]
    expanded = law.mixture()
    assert law.k == expanded.k == 6
    for node in NODES:
        for scale in (1.0, 50.0):
            x = scale * law.sample(10, 8, node)
            for name in ("log_prob", "score", "denoised", "eps", "posterior_covariance"):
                found, expected = getattr(law, name)(x, node), getattr(expanded, name)(x, node)
                assert np.abs(found - expected).max() < 1e-11 * max(1.0, np.abs(expected).max()), name
    assert np.allclose(law.mean(), expanded.mean())
    assert np.allclose(law.covariance(), expanded.covariance())


@pytest.mark.parametrize("law", LAWS)
def test_rotating_and_shifting_the_law_rotates_and_shifts_the_answers(law):
    law, node = LAWS[law], VP().node(0.4)
    full = dense(law.mixture() if isinstance(law, RotatedProduct) else law)
    turn, shift = orthogonal(np.random.default_rng(9), 2), np.array([3.0, -1.0])
    moved = GaussianMixture(full.weights, full.means @ turn.T + shift, turn @ full.covariances @ turn.T)
    x = law.sample(10, 10, node)
    y = x @ turn.T + node.alpha * shift
    assert np.allclose(moved.score(y, node), law.score(x, node) @ turn.T, rtol=1e-10, atol=1e-11)
    assert np.allclose(moved.denoised(y, node), law.denoised(x, node) @ turn.T + shift, rtol=1e-10, atol=1e-11)


def test_ends_of_the_noise_range():
    clean, noise = EDM().node(0.0), RectifiedFlow().node(1.0)
    for law in LAWS.values():
        x = law.sample(4, 11)
        assert np.array_equal(law.denoised(x, clean), x)
        assert np.array_equal(law.eps(x, clean), np.zeros_like(x))
        assert np.array_equal(law.posterior_covariance(x, clean), np.zeros((4, 2, 2)))
        assert np.all(np.isfinite(law.score(x, clean)))
        assert np.allclose(law.denoised(x, noise), law.mean(), rtol=1e-12)
        assert np.allclose(law.posterior_covariance(x, noise), law.covariance(), rtol=1e-12)


def test_quantile_inverts_cdf_in_both_tails():
    law = GaussianMixture([0.3, 1e-9, 0.7 - 1e-9], [[-3.0], [40.0], [2.0]], [0.25, 1.0, 0.01])
    u = np.concatenate([10.0 ** -np.arange(1.0, 300.0, 7.0), np.linspace(0.01, 0.5, 30)])
    np.testing.assert_allclose(law.cdf(law.quantile(u)), u, rtol=3e-12)
    np.testing.assert_allclose(law.sf(law.isf(u)), u, rtol=3e-12)
    np.testing.assert_allclose(law.quantile(1.0 - 2.0**-30), law.isf(2.0**-30), rtol=1e-12)
    assert law.quantile(0.0) == -np.inf
    assert law.quantile(1.0) == np.inf
    assert np.all(law.quantile(np.full((2, 3), 0.3)) == law.quantile(0.3))
    x = np.linspace(-60.0, 60.0, 500)
    assert np.all(np.diff(law.log_cdf(x)) >= 0.0)
    assert np.all(np.abs(law.cdf(x) + law.sf(x) - 1.0) < 1e-15)
    assert law.log_cdf(-1e3) == pytest.approx(-0.5 * 1040.0**2 - np.log(1040.0 * np.sqrt(2.0 * np.pi)) + np.log(1e-9), rel=1e-11)
    atoms = GaussianMixture([0.25, 0.75], [[0.0], [1.0]], 0.0)
    assert np.array_equal(atoms.cdf(np.array([-0.1, 0.0, 0.9, 1.0])), [0.0, 0.25, 0.25, 1.0])


@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 10**6), st.floats(-3.0, 3.0), st.sampled_from(sorted(mixtures())))
def test_batches_and_leading_shapes_do_not_matter(k, d, seed, log_sigma, structure):
    law, node = mixtures(k, d, seed)[structure], EDM().node(10.0**log_sigma)
    x = law.sample(6, seed, node) * np.array([1.0, 1.0, 1.0, 1.0, 30.0, 300.0])[:, None]
    for name in ("log_prob", "score", "denoised", "posterior_covariance"):
        whole = getattr(law, name)(x, node)
        assert whole.shape == (6,) + {"log_prob": (), "posterior_covariance": (d, d)}.get(name, (d,))
        assert np.all(np.isfinite(whole))
        parts = np.stack([getattr(law, name)(row, node) for row in x])
        assert np.allclose(parts, whole, rtol=1e-12, atol=1e-13 * np.abs(whole).max())
        assert np.array_equal(getattr(law, name)(x.reshape(2, 3, d), node).reshape(whole.shape), whole)


@pytest.mark.parametrize("law", LAWS)
def test_dtypes_and_libraries_come_back(law):
    law, node = LAWS[law], VP().node(0.5)
    x = law.sample(3, 12, node)
    for name in ("log_prob", "score", "denoised", "eps", "posterior_covariance"):
        exact = getattr(law, name)(x.astype(np.float32).astype(np.float64), node)
        single = getattr(law, name)(x.astype(np.float32), node)
        assert single.dtype == np.float32
        assert np.array_equal(single, exact.astype(np.float32))
        assert getattr(law, name)(np.zeros((0, 2)), node).shape == (0, *exact.shape[1:])
        assert getattr(law, name)([[0, 1]], node).dtype == np.float64
        assert not np.any(np.isfinite(getattr(law, name)(np.full((1, 2), np.nan), node)))
    import torch

    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        tensor = law.denoised(torch.zeros(4, 2, dtype=dtype), node)
        assert tensor.dtype == dtype
        assert tensor.shape == (4, 2)
    with pytest.raises(TypeError, match="floating"):
        law.denoised(torch.zeros(4, 2, dtype=torch.int64), node)


def test_methods_say_what_they_predict():
    for law in (LAWS["full"], LAWS["product"]):
        assert (law.score.prediction, law.denoised.prediction, law.eps.prediction) == ("score", "denoised", "eps")


def test_a_large_data_set_fits():
    rng = np.random.default_rng(0)
    law = from_data(rng.random((10_000, 784)) * (rng.random((10_000, 784)) < 0.2), 0.05)
    for sigma in (1e-3, 0.3, 10.0):
        node = EDM().node(sigma)
        x = law.sample(256, rng, node)
        tracemalloc.start()
        denoised = law.denoised(x, node)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 256 * 2**20, f"{peak / 2**20:.0f} MiB at sigma = {sigma}"  # K B d numbers would be 15,000 MiB
        i = 17  # against the plain formula, one state at a time
        r = x[i] - law.means
        c = 0.05**2 + sigma**2
        logits = -0.5 * np.square(r).sum(1) / c
        gamma = np.exp(logits - logits.max())
        expected = (sigma**2 * (gamma @ law.means) / gamma.sum() + 0.05**2 * x[i]) / c
        assert np.abs(denoised[i] - expected).max() < 1e-11


def test_many_states_fit():
    law, node = from_data(np.random.default_rng(0).random((10_000, 8)), 0.05), EDM().node(1.0)
    x = law.sample(4000, 1, node)
    tracemalloc.start()
    law.score(x, node)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 160 * 2**20, f"{peak / 2**20:.0f} MiB"  # one table of states × components is 305 MiB


@pytest.mark.parametrize("structure", ["diagonal", "low rank", "full"])
def test_memory_is_bounded_for_every_structure(structure):
    """Components × states × dimensions would be 160 MiB and more; nothing near it is held."""
    law, node = mixtures(200, 32)[structure], EDM().node(0.5)
    x = law.sample(3000, 1, node)
    law.score(x[:1], node)
    tracemalloc.start()
    law.score(x, node)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 80 * 2**20, f"{peak / 2**20:.0f} MiB"


def test_extended_arithmetic_holds_32_digits():
    rng = np.random.default_rng(0)
    third = Extended(np.ones((4, 4))) / 3.0
    assert np.all((third * 3.0 - 1.0).hi == 0.0)
    assert np.abs((third + third + third - 1.0).hi).max() < 1e-31
    root = (third.sqrt() * third.sqrt() - third).hi
    assert np.abs(root).max() < 1e-31
    a = rng.normal(size=(4, 4))
    inverse = Extended(np.linalg.inv(a))
    for _ in range(4):
        inverse = inverse + matmul(inverse, np.eye(4) - matmul(a, inverse))
    assert np.abs((matmul(a, inverse) - np.eye(4)).hi).max() < 1e-28


GOOD = {"weights": [0.5, 0.5], "means": [[0.0, 0.0], [1.0, 1.0]], "covariances": 1.0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": [1.5, -0.5]}, r"weights\[1\] = -0.5 is negative"),
        ({"weights": [0.5, 0.4]}, "weights sum to 0.9"),
        ({"weights": [0.5, np.nan]}, "weights holds 1 values that are nan"),
        ({"weights": [1.0]}, "means has shape"),
        ({"weights": [], "means": np.zeros((0, 2))}, "means has shape"),
        ({"weights": "no"}, "weights"),
        ({"means": [0.0, 1.0, 2.0]}, "means has shape"),
        ({"means": [[0.0, 0.0], [1.0, np.inf]]}, "means holds 1 values"),
        ({"covariances": -1.0}, "negative variance -1.0"),
        ({"covariances": np.nan}, "covariances holds 1 values"),
        ({"covariances": [1.0, 1.0, 1.0]}, "covariances has shape"),
        ({"covariances": np.ones((2, 2, 3))}, "covariances has shape"),
        ({"covariances": [[[1.0, 0.5], [0.0, 1.0]]] * 2}, "not symmetric"),
        ({"covariances": [[[1.0, 2.0], [2.0, 1.0]]] * 2}, "not positive semidefinite"),
        ({"covariances": LowRank(np.ones((2, 2, 1)), np.ones((2, 3)))}, "factor"),
        ({"covariances": LowRank(np.ones((2, 2, 1)), -np.ones((2, 2)))}, "negative variance"),
    ],
)
def test_what_is_no_mixture_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        GaussianMixture(**{**GOOD, **change})


def test_small_blemishes_are_forgiven():
    law = GaussianMixture([0.5, 0.5 + 1e-7], GOOD["means"], (np.zeros((2, 2, 1)), np.ones((2, 2))))
    assert law.weights.sum() == pytest.approx(1.0, abs=1e-16)
    zero = GaussianMixture([1.0, 0.0], GOOD["means"], 1.0)
    one = GaussianMixture([1.0], GOOD["means"][:1], 1.0)
    for x in (np.array([0.3, 0.2]), np.array([300.0, 200.0])):
        assert np.array_equal(zero.score(x, EDM().node(1e-3)), one.score(x, EDM().node(1e-3)))


def test_questions_without_an_answer_are_refused():
    law, node, clean = GaussianMixture(**GOOD), EDM().node(1.0), EDM().node(0.0)
    for name in ("log_prob", "score", "denoised", "eps", "posterior", "posterior_covariance"):
        with pytest.raises(ValueError, match=r"x has shape \(4, 3\)"):
            getattr(law, name)(np.zeros((4, 3)), node)
        with pytest.raises(TypeError, match="real numbers"):
            getattr(law, name)("state", node)
    points = GaussianMixture([0.5, 0.5], GOOD["means"], 0.0)
    assert np.all(np.isfinite(points.score(np.zeros(2), node)))
    for singular in (points, GaussianMixture([1.0], [[0.0, 0.0]], np.ones((1, 2, 2))), GaussianMixture([1.0], [[0.0]], np.zeros((1, 1)))):
        with pytest.raises(ValueError, match="singular"):
            singular.log_prob(np.zeros(singular.d))
        with pytest.raises(ValueError, match="singular"):
            singular.score(np.zeros(singular.d), clean)
    for name in ("cdf", "sf", "log_cdf", "log_sf", "quantile", "isf"):
        with pytest.raises(ValueError, match="1 dimension"):
            getattr(law, name)(0.5)
    with pytest.raises(ValueError, match="no probability"):
        law.project(np.eye(2))[0].quantile(1.5)
    with pytest.raises(ValueError, match="unit rows"):
        law.project(np.ones((1, 2)))
    with pytest.raises(ValueError, match="sigma = -1"):
        law.score(np.zeros(2), Node(t=0.0, alpha=1.0, sigma=-1.0, lam=0.0))
    with pytest.raises(ValueError, match="bandwidth"):
        from_data(np.zeros((3, 2)), -0.1)
    with pytest.raises(ValueError, match="not orthogonal"):
        RotatedProduct(np.ones((2, 2)), LAWS["product"].factors)
    with pytest.raises(ValueError, match="factors"):
        RotatedProduct(np.eye(2), LAWS["product"].factors[:1])
    with pytest.raises(ValueError, match="components"):
        RotatedProduct(np.eye(12), LAWS["product"].factors[1:] * 12).mixture()
