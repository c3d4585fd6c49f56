"""Mixtures against 50-digit arithmetic: every structure of the covariance, sigma from 1e-3 to 1e3, far tails, weights of 1e-12."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest

from scorebed.analytic import GaussianMixture, LowRank, RotatedProduct
from scorebed.solvers.schedule import EDM, VP, Node, RectifiedFlow

TOLERANCE = 1e-12
STRUCTURES = ("point masses", "isotropic", "diagonal", "diagonal with zeros", "low rank", "low rank alone", "full", "full, singular")


def number(a):
    return mp.mpf(float(a))


def matrix(a):
    return mp.matrix([[number(v) for v in row] for row in np.atleast_2d(a)])


def column(a):
    return mp.matrix([number(v) for v in a])


def plain(a):
    return np.array(a.tolist(), dtype=np.float64)


def make(structure, rng, k, d, scale):
    """A covariance argument and the same as mpmath matrices, exact."""
    zeros = rng.choice([0.0, 1.0], size=(k, d))
    if structure in ("point masses", "isotropic"):
        value = scale**2 * rng.random(k) * (structure == "isotropic")
        return value, [number(v) * mp.eye(d) for v in value]
    if structure.startswith("diagonal"):
        value = scale**2 * rng.random((k, d)) * (zeros if structure.endswith("zeros") else 1.0)
        return value, [mp.diag([number(v) for v in row]) for row in value]
    if structure.startswith("low rank"):
        factor, diagonal = (
            scale * rng.normal(size=(k, d, 2)),
            scale**2 * rng.random((k, d)) * (0.0 if structure.endswith("alone") else zeros),
        )
        return LowRank(factor, diagonal), [
            matrix(f) * matrix(f).T + mp.diag([number(v) for v in row]) for f, row in zip(factor, diagonal, strict=True)
        ]
    factor = scale * rng.normal(size=(k, d, 1 if structure.endswith("singular") else d))
    value = factor @ factor.swapaxes(1, 2)
    return value, [matrix(v) for v in value]


def truth(law, covariances, x, node):
    """Log-density, score, denoised, posterior covariance, weights and means of x0 | x."""
    a, s, x = number(node.alpha), number(node.sigma), column(x)
    logs, solved, means, spreads = [], [], [], []
    for w, mu, cov in zip(law.weights, law.means, covariances, strict=True):
        c = a * a * cov + s * s * mp.eye(law.d)
        r = x - a * column(mu)
        inverse = c**-1
        y = inverse * r
        logs.append(mp.log(number(w)) - (mp.log(mp.det(c)) + (r.T * y)[0] + law.d * mp.log(2 * mp.pi)) / 2)
        solved.append(y)
        means.append(column(mu) + a * cov * y)
        spreads.append(s * s * cov * inverse)
    top = max(logs)
    total = mp.fsum(mp.exp(v - top) for v in logs)
    weights = [mp.exp(v - top) / total for v in logs]
    zero = mp.zeros(law.d, 1)
    score = sum((-w * y for w, y in zip(weights, solved, strict=True)), zero)
    mean = sum((w * m for w, m in zip(weights, means, strict=True)), zero)
    spread = sum((w * (c + (m - mean) * (m - mean).T) for w, m, c in zip(weights, means, spreads, strict=True)), mp.zeros(law.d))
    return (
        float(top + mp.log(total)),
        plain(score)[:, 0],
        plain(mean)[:, 0],
        plain(spread),
        np.array([float(w) for w in weights]),
        np.array([plain(m)[:, 0] for m in means]),
    )


def off(found, exact):
    size = np.linalg.norm(exact)
    return np.linalg.norm(found - exact) / (size if size > 0.0 else 1.0)


def states(law, node, rng, scale):
    """A typical state, one 3 and one 300 standard deviations away, and one 1000 noise levels off the line through two means."""
    x = law.sample(4, rng, node)
    spread = np.sqrt(node.sigma**2 + node.alpha**2 * scale**2)
    x[1] += 3.0 * spread * rng.normal(size=law.d)
    x[2] += 300.0 * spread * rng.normal(size=law.d)
    x[3] = node.alpha * (law.means[0] + law.means[-1]) / 2 + 1000.0 * node.sigma * rng.normal(size=law.d)
    return x


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("sigma", [1e-3, 1e-2, 0.3, 3.0, 30.0, 1e3])
def test_agrees_with_fifty_digits(structure, sigma):
    rng = np.random.default_rng([int(1e6 * sigma), STRUCTURES.index(structure)])
    worst = {}
    for alpha, scale in ((1.0, 1.0), (1.0, 10.0), (0.37, 0.1)):
        k, d = int(rng.integers(2, 5)), int(rng.integers(1, 5))
        weights = rng.random(k) + 0.1
        weights[0] = 1e-12 * weights.sum()
        node = Node(t=0.0, alpha=alpha, sigma=sigma, lam=np.log(alpha / sigma))
        with mp.workdps(50):
            argument, exact = make(structure, rng, k, d, scale)
        law = GaussianMixture(weights / weights.sum(), 2.0 * rng.normal(size=(k, d)), argument)
        with mp.workdps(50):
            for x in states(law, node, rng, scale):
                log_prob, score, mean, spread, gamma, means = truth(law, exact, x, node)
                posterior = law.posterior(x, node)
                found = {
                    "log_prob": abs(law.log_prob(x, node) - log_prob) / max(1.0, abs(log_prob)),
                    "score": off(law.score(x, node), score),
                    "eps": off(law.eps(x, node), -node.sigma * score),
                    "denoised": off(law.denoised(x, node), mean),
                    "posterior_covariance": off(law.posterior_covariance(x, node), spread),
                    "weights": np.abs(posterior.weights - gamma).max(),
                    "means": off(posterior.means, means),
                }
                worst = {name: max(value, worst.get(name, 0.0)) for name, value in found.items()}
    assert max(worst.values()) < TOLERANCE, worst


def truth_diagonal(law, variances, x, node):
    """Log-density, score and denoised for diagonal covariances, (K, d), without a matrix."""
    a, s, x = number(node.alpha), number(node.sigma), [number(v) for v in x]
    logs, solved, means = [], [], []
    for w, mu, var in zip(law.weights, law.means, variances, strict=True):
        c = [a * a * number(v) + s * s for v in var]
        r = [p - a * number(m) for p, m in zip(x, mu, strict=True)]
        solved.append([p / q for p, q in zip(r, c, strict=True)])
        means.append([number(m) + a * number(v) * y for m, v, y in zip(mu, var, solved[-1], strict=True)])
        logs.append(mp.log(number(w)) - (mp.log(mp.fprod(c)) + mp.fdot(r, solved[-1]) + law.d * mp.log(2 * mp.pi)) / 2)
    top = max(logs)
    weights = [mp.exp(v - top) for v in logs]
    total = mp.fsum(weights)

    def mean(rows):
        return np.array([float(mp.fdot(weights, column) / total) for column in zip(*rows, strict=True)])

    return float(top + mp.log(total)), -mean(solved), mean(means)


@pytest.mark.parametrize("spread", ["isotropic", "diagonal", "points"])
@pytest.mark.parametrize("node", [EDM().node(1e-3), VP().node(0.3), RectifiedFlow().node(0.999)], ids=repr)
def test_many_components_agree_with_fifty_digits(node, spread):
    """The paths for large mixtures, lists of leaders and matrix products, at the same tolerance."""
    rng = np.random.default_rng(5)
    k, d = 700, 6
    argument = {"isotropic": rng.random(k), "diagonal": rng.random((k, d)), "points": np.zeros(k)}[spread]
    weights = rng.random(k)
    law = GaussianMixture(weights / weights.sum(), 3.0 * rng.normal(size=(k, d)), argument)
    x = law.sample(2, rng, node)
    x[1] *= 100.0
    with mp.workdps(50):
        for state in x:
            log_prob, score, mean = truth_diagonal(law, np.broadcast_to(argument.reshape(k, -1), (k, d)), state, node)
            assert abs(law.log_prob(state, node) - log_prob) < TOLERANCE * max(1.0, abs(log_prob))
            assert off(law.score(state, node), score) < TOLERANCE
            assert off(law.denoised(state, node), mean) < TOLERANCE


@pytest.mark.parametrize("k", [3, 700])
def test_states_near_distant_means_and_far_off_the_data_agree_with_fifty_digits(k):
    """Where alpha mu is rounded by more than 1e-13 of x - alpha mu, and where components compete 20,000 standard deviations away."""
    rng = np.random.default_rng(8)
    d, node = 6, Node(t=0.0, alpha=0.37, sigma=1e-3, lam=np.log(370.0))
    means = 1e3 * rng.normal(size=(k, d))
    means[:2] = means[0] + [[0.0], [1e-4]]  # two that compete near the data
    law = GaussianMixture(np.full(k, 1.0 / k), means, 0.0)
    x = law.means[:1] * node.alpha + node.sigma * rng.normal(size=(1, d))
    flat = GaussianMixture(law.weights, np.concatenate([1e-6 * means[:, :5], np.zeros((k, 1))], axis=1), 0.0)
    for case, state in ((law, x[0]), (flat, np.array([0.0, 0.0, 0.0, 0.0, 0.0, 20.0]))):
        with mp.workdps(50):
            log_prob, score, mean = truth_diagonal(case, np.zeros((k, d)), state, node)
        assert abs(case.log_prob(state, node) - log_prob) < TOLERANCE * max(1.0, abs(log_prob))
        assert off(case.score(state, node), score) < TOLERANCE
        assert off(case.denoised(state, node), mean) < TOLERANCE


@pytest.mark.parametrize("structure", ["low rank", "full"])
def test_many_matrices_agree_with_fifty_digits(structure):
    """Components taken in blocks."""
    rng = np.random.default_rng(6)
    k, d, node = 300, 16, EDM().node(0.01)
    with mp.workdps(50):
        argument, exact = make(structure, rng, 1, d, 1.0)
    wide = LowRank(*(np.repeat(a, k, axis=0) for a in argument)) if structure == "low rank" else np.repeat(argument, k, axis=0)
    means = 0.01 * rng.normal(size=(k, d))  # all of them compete
    law = GaussianMixture(np.full(k, 1.0 / k), means, wide)
    with mp.workdps(50):
        a, s = number(node.alpha), number(node.sigma)
        inverse = (a * a * exact[0] + s * s * mp.eye(d)) ** -1
        for x in law.sample(1, rng, node):
            solved = [inverse * (column(x) - a * column(mu)) for mu in means]
            logs = [-((column(x) - a * column(mu)).T * y)[0] / 2 for mu, y in zip(means, solved, strict=True)]
            weights = [mp.exp(v - max(logs)) for v in logs]
            score = -sum((w * y for w, y in zip(weights, solved, strict=True)), mp.zeros(d, 1)) / mp.fsum(weights)
            assert off(law.score(x, node), plain(score)[:, 0]) < TOLERANCE


@pytest.mark.parametrize("sigma", [1e-3, 0.5, 100.0])
def test_product_agrees_with_fifty_digits(sigma):
    rng = np.random.default_rng(3)
    factors = [
        GaussianMixture([1e-12, 1.0 - 1e-12], 3.0 * rng.normal(size=(2, 1)), rng.random(2)),
        GaussianMixture([0.5, 0.5], [[-50.0], [50.1]], 0.25),
    ]
    law = RotatedProduct(np.eye(2), factors)
    expanded = law.mixture()
    exact = [mp.diag([number(v) for v in row]) for row in np.einsum("kii->ki", expanded.covariances)]
    node = EDM().node(sigma)
    x = np.concatenate([law.sample(2, rng, node), 300.0 * law.sample(1, rng, node)])
    x[1, 1] = 0.05 + 0.005 * (0.25 + sigma**2)  # halfway, where two components compete from 100 standard deviations away
    with mp.workdps(50):
        for state in x:
            log_prob, score, mean, spread, *_ = truth(expanded, exact, state, node)
            assert abs(law.log_prob(state, node) - log_prob) < TOLERANCE * max(1.0, abs(log_prob))
            assert off(law.score(state, node), score) < TOLERANCE
            assert off(law.denoised(state, node), mean) < TOLERANCE
            assert off(law.posterior_covariance(state, node), spread) < TOLERANCE


@pytest.mark.parametrize("x", [-60.0, -37.0, -8.0, -3.3, 0.0, 2.0, 3.4, 9.0, 30.0])
def test_tails_of_a_line_agree_with_fifty_digits(x):
    law = GaussianMixture([0.3, 1e-12, 0.7 - 1e-12], [[-3.0], [0.5], [4.0]], [0.25, 1.0, 2.0])
    variances = (0.25, 1.0, 2.0)
    with mp.workdps(60):
        parts = [
            (number(w), (number(x) - number(m)) / mp.sqrt(number(v)))
            for w, m, v in zip(law.weights, law.means[:, 0], variances, strict=True)
        ]
        cdf, sf = mp.fsum(w * mp.ncdf(z) for w, z in parts), mp.fsum(w * mp.ncdf(-z) for w, z in parts)
        logs = [float(mp.log(p) if p < 0.5 else mp.log1p(-rest)) for p, rest in ((cdf, sf), (sf, cdf))]
        cdf, sf = float(cdf), float(sf)
    assert law.cdf(x) == pytest.approx(cdf, rel=TOLERANCE, abs=1e-320)
    assert law.sf(x) == pytest.approx(sf, rel=TOLERANCE, abs=1e-320)
    assert law.log_cdf(x) == pytest.approx(logs[0], rel=TOLERANCE, abs=1e-320)
    assert law.log_sf(x) == pytest.approx(logs[1], rel=TOLERANCE, abs=1e-320)
