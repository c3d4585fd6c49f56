"""Distances: against independent computations (quadrature, 50 digits, Monte Carlo with an interval), and the laws of a metric."""

from __future__ import annotations

import itertools

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.integrate import quad

from scorebed.analytic import GaussianMixture, LowRank
from scorebed.analytic.distance import (
    cramer,
    cramer_von_mises,
    divergence,
    gaussian_kl,
    gaussian_w2,
    kolmogorov,
    mmd2,
    sliced_cramer,
    sliced_wasserstein,
    unit_directions,
    wasserstein,
)

A = GaussianMixture([0.3, 0.7], [[-3.0], [2.0]], [0.25, 0.04])
B = GaussianMixture([0.5, 0.1, 0.4], [[-1.0], [0.0], [5.0]], [0.5, 1e-3, 2.0])
C = GaussianMixture([1.0], [[0.5]], 4.0)
LINE = {
    "W1": lambda a, b: wasserstein(a, b, 1),
    "W2": lambda a, b: wasserstein(a, b, 2),
    "Cramer": cramer,
    "Kolmogorov": kolmogorov,
}


def covariance(rng, d, condition=1.0):
    a = rng.normal(size=(d, d)) * condition ** np.linspace(0.0, -0.5, d)
    return a @ a.T


def shifted(law, by=0.0, scale=1.0):
    return GaussianMixture(law.weights, scale * law.means + by, scale**2 * law.covariances)


# Gaussian W2


def bures_digits(a, b):
    """tr A + tr B - 2 tr (A^{1/2} B A^{1/2})^{1/2}, the textbook formula with 60 digits."""
    with mp.workdps(60):
        a, b = (mp.matrix(m.tolist()) for m in (a, b))
        values, q = mp.eigsy(a)
        root = q * mp.diag([mp.sqrt(abs(v)) for v in values]) * q.T
        inner = mp.eigsy(root * b * root, eigvals_only=True)
        trace = sum(a[i, i] + b[i, i] for i in range(a.rows))
        return float(mp.sqrt(trace - 2 * sum(mp.sqrt(abs(v)) for v in inner)))


@pytest.mark.parametrize("distance", [1.0, 1e-1, 1e-3, 1e-6, 1e-9, 1e-12])
@pytest.mark.parametrize("d", [1, 2, 4])
def test_gaussian_w2_agrees_with_sixty_digits(distance, d):
    rng = np.random.default_rng(d)
    a = covariance(rng, d) + 0.1 * np.eye(d)
    b = a + distance * covariance(rng, d)
    zero = np.zeros(d)
    assert gaussian_w2(zero, a, zero, b) == pytest.approx(bures_digits(a, b), rel=1e-12, abs=0.0)
    wide = covariance(rng, d, 1e6)
    assert gaussian_w2(zero, a, zero, wide) == pytest.approx(bures_digits(a, wide), rel=1e-10, abs=0.0)


@pytest.mark.parametrize("distance", [10.0, 1.0, 1e-3, 1e-6])
def test_gaussian_kl_agrees_with_sixty_digits_and_with_quadrature(distance):
    rng = np.random.default_rng(3)
    a, mean = covariance(rng, 3) + 0.1 * np.eye(3), distance * rng.standard_normal(3)
    b = a + distance * covariance(rng, 3)
    with mp.workdps(60):
        first, second, gap = (mp.matrix(v.tolist()) for v in (a, b, mean[:, None]))
        inner = mp.inverse(second) * first
        exact = float((inner[0, 0] + inner[1, 1] + inner[2, 2] - 3 + (gap.T * mp.inverse(second) * gap)[0] - mp.log(mp.det(inner))) / 2)
    assert gaussian_kl(mean, a, np.zeros(3), b) == pytest.approx(exact, rel=1e-9, abs=0.0)
    one, two = GaussianMixture([1.0], [[0.3]], 0.5), GaussianMixture([1.0], [[-0.2]], 0.5 + distance)
    assert gaussian_kl([0.3], [[0.5]], [-0.2], [[0.5 + distance]]) == pytest.approx(divergence(one, two), rel=1e-10)


def test_gaussian_kl_of_singular_laws_is_infinite_or_refused():
    assert gaussian_kl([0.0], [[0.0]], [0.0], [[1.0]]) == np.inf
    with pytest.raises(ValueError, match="cov_b is singular"):
        gaussian_kl([0.0], [[1.0]], [0.0], [[0.0]])
    with pytest.raises(ValueError, match="mean_b"):
        gaussian_kl([0.0], [[1.0]], [0.0, 0.0], np.eye(2))


def test_gaussian_w2_of_singular_and_commuting():
    zero = np.zeros(3)
    assert gaussian_w2(zero, np.zeros((3, 3)), zero, np.diag([1.0, 4.0, 0.0])) == pytest.approx(np.sqrt(5.0), rel=1e-14, abs=0.0)
    a, b = np.diag([1.0, 4.0, 0.0]), np.diag([1.21, 3.61, 0.0])
    assert gaussian_w2(zero, a, zero, b) == pytest.approx(np.hypot(0.1, 0.1), rel=1e-13, abs=0.0)
    assert gaussian_w2(zero, a, np.array([0.0, 3.0, 4.0]), a) == pytest.approx(5.0, rel=1e-15, abs=0.0)
    assert gaussian_w2(zero, a, zero, a) == 0.0
    one = [[2.25]], [[1.0]]
    assert gaussian_w2([0.0], one[0], [0.0], one[1]) == pytest.approx(
        wasserstein(*(GaussianMixture([1.0], [[0.0]], v[0]) for v in one), 2), rel=1e-9
    )


@given(st.integers(1, 4), st.integers(0, 10**6), st.floats(-8.0, 0.0))
def test_gaussian_w2_is_a_metric(d, seed, log_distance):
    rng = np.random.default_rng(seed)
    base = covariance(rng, d, 100.0)
    laws = [(10.0**log_distance * rng.normal(size=d), base + 10.0**log_distance * covariance(rng, d)) for _ in range(3)]
    ab, ba = gaussian_w2(*laws[0], *laws[1]), gaussian_w2(*laws[1], *laws[0])
    assert ab == pytest.approx(ba, rel=1e-6, abs=1e-14)
    assert ab <= gaussian_w2(*laws[0], *laws[2]) + gaussian_w2(*laws[2], *laws[1]) + 1e-13
    turn = np.linalg.qr(rng.normal(size=(d, d)))[0]
    moved = [(turn @ m + 1.0, turn @ c @ turn.T) for m, c in laws[:2]]
    assert gaussian_w2(*moved[0], *moved[1]) == pytest.approx(ab, rel=1e-5, abs=1e-13)


def test_gaussian_w2_refuses_what_is_no_gaussian():
    eye = np.eye(2)
    for arguments, message in (
        ((np.zeros(2), eye, np.zeros(3), eye), "mean_b"),
        ((np.zeros(2), np.eye(3), np.zeros(2), eye), "cov_a"),
        ((np.zeros(2), eye, np.zeros(2), np.array([[1.0, 0.5], [0.0, 1.0]])), "cov_b is not symmetric"),
        ((np.zeros(2), -eye, np.zeros(2), eye), "not positive semidefinite"),
        ((np.array([0.0, np.nan]), eye, np.zeros(2), eye), "mean_a holds 1"),
    ):
        with pytest.raises(ValueError, match=message):
            gaussian_w2(*arguments)


# One dimension


def over_levels(levels, f):
    """∫_0^1 f(u, 1 - u) du by tanh-sinh between the given levels, where f may leap."""
    t = np.linspace(-3.2, 3.2, 1001)
    unit, rest = (1.0 / (1.0 + np.exp(sign * np.pi * np.sinh(t))) for sign in (-1.0, 1.0))
    weight = (t[1] - t[0]) * np.pi * np.cosh(t) * unit * rest
    edges = itertools.pairwise(np.unique(np.round(levels, 12)))
    return sum((q - p) * (weight @ f(p + (q - p) * unit, (1.0 - q) + (q - p) * rest)) for p, q in edges)


def quantiles(law, u, above):
    return np.where(u < 0.5, law.quantile(np.minimum(u, 0.5)), law.isf(np.minimum(above, 0.5)))


@pytest.mark.parametrize(("a", "b"), [(A, B), (B, C), (A, C)])
def test_line_distances_of_mixtures_agree_with_quadrature(a, b):
    edges = np.unique(np.concatenate([np.ravel(law.means + np.sqrt(law.covariances)[:, None] * np.arange(-9, 10)) for law in (a, b)]))

    def integral(f):
        return sum(quad(f, low, high, epsabs=1e-13, epsrel=1e-13, limit=200)[0] for low, high in itertools.pairwise(edges))

    assert wasserstein(a, b, 1) == pytest.approx(integral(lambda x: abs(float(a.cdf(x) - b.cdf(x)))), rel=1e-9)
    assert cramer(a, b) ** 2 == pytest.approx(integral(lambda x: float(a.cdf(x) - b.cdf(x)) ** 2), rel=1e-12, abs=0.0)
    assert cramer_von_mises(a, b) == pytest.approx(
        integral(lambda x: float(a.cdf(x) - b.cdf(x)) ** 2 * float(np.exp(b.log_prob(np.array([x]))))), rel=1e-10
    )
    x = np.linspace(edges[0], edges[-1], 400_001)
    gap = np.abs(a.cdf(x) - b.cdf(x))
    assert gap.max() <= kolmogorov(a, b) <= gap.max() + 1e-5
    levels = np.concatenate([[0.0, 1.0], *(np.cumsum(law.weights)[:-1] for law in (a, b))])
    expected = over_levels(levels, lambda below, above: np.square(quantiles(a, below, above) - quantiles(b, below, above)))
    assert wasserstein(a, b, 2) == pytest.approx(np.sqrt(expected), rel=1e-9, abs=0.0)


@pytest.mark.parametrize("law", [A, B, C])
@pytest.mark.parametrize("n", [1, 2, 50])
def test_line_distances_of_samples_agree_with_quadrature(law, n):
    x = np.sort(B.sample(n, 3)[:, 0])

    def integral(f, edges):
        return sum(quad(f, low, high, epsabs=1e-10, epsrel=1e-10)[0] for low, high in itertools.pairwise(edges))

    def step(at):
        return np.searchsorted(x, at, side="right") / n

    edges = np.unique(np.concatenate([x, np.ravel(law.means + np.sqrt(law.covariances)[:, None] * np.arange(-9, 10))]))
    assert wasserstein(x, law, 1) == pytest.approx(integral(lambda p: abs(step(p) - float(law.cdf(p))), edges), rel=1e-8)
    assert cramer(law, x[:, None]) ** 2 == pytest.approx(integral(lambda p: (step(p) - float(law.cdf(p))) ** 2, edges), rel=1e-10)
    assert kolmogorov(x, law) == pytest.approx(stats.ks_1samp(x, law.cdf).statistic, rel=1e-13, abs=0.0)
    if n > 1:
        assert cramer_von_mises(x, law) * n == pytest.approx(stats.cramervonmises(x, law.cdf).statistic, rel=1e-12, abs=0.0)
    levels = np.concatenate([np.arange(n + 1) / n, np.cumsum(law.weights)[:-1]])
    expected = over_levels(levels, lambda u, above: np.square(quantiles(law, u, above) - x[int(n * u[len(u) // 2])]))
    assert wasserstein(x, law, 2) ** 2 == pytest.approx(expected, rel=1e-9, abs=0.0)


def test_line_distances_of_two_samples():
    rng = np.random.default_rng(0)
    for n, m in ((1, 1), (7, 7), (5, 12)):
        x, y = rng.normal(size=n), rng.normal(size=m) + 0.5
        assert wasserstein(x, y, 1) == pytest.approx(stats.wasserstein_distance(x, y), rel=1e-12, abs=0.0)
        assert cramer(x, y) * np.sqrt(2.0) == pytest.approx(stats.energy_distance(x, y), rel=1e-10, abs=0.0)
        assert kolmogorov(x, y) == pytest.approx(stats.ks_2samp(x, y).statistic, rel=1e-12, abs=0.0)
        repeated = np.repeat(np.sort(x), m), np.repeat(np.sort(y), n)
        assert wasserstein(x, y, 2) == pytest.approx(np.sqrt(np.mean((repeated[0] - repeated[1]) ** 2)), rel=1e-12, abs=0.0)


@pytest.mark.parametrize("name", LINE)
def test_line_distances_are_metrics(name):
    distance = LINE[name]
    samples = B.sample(20, 1)[:, 0]
    laws = [A, B, C, samples]
    for a in laws:
        assert distance(a, a) < 1e-7
        for b in laws:
            assert distance(a, b) == pytest.approx(distance(b, a), rel=1e-9, abs=1e-7)
            for c in laws:
                assert distance(a, b) <= distance(a, c) + distance(c, b) + 1e-9


@settings(max_examples=15)
@given(st.floats(-20.0, 20.0), st.floats(0.1, 10.0))
def test_line_distances_follow_shifts_and_scales(by, scale):
    for name, power in (("W1", 1.0), ("W2", 1.0), ("Cramer", 0.5), ("Kolmogorov", 0.0)):
        moved = LINE[name](shifted(A, by, scale), shifted(B, by, scale))
        assert moved == pytest.approx(scale**power * LINE[name](A, B), rel=1e-8, abs=0.0)


@pytest.mark.parametrize("by", [1e-9, 1e-6, 1e-3, 1.0, 30.0])
def test_line_distances_of_a_shift(by):
    """W_p of a law and its translate is the shift; the small ones show that nothing is lost to cancellation."""
    law = shifted(B, by)
    assert wasserstein(B, law, 1) == pytest.approx(by, rel=1e-6, abs=0.0)
    assert wasserstein(B, law, 2) == pytest.approx(by, rel=1e-4, abs=0.0)
    assert wasserstein(GaussianMixture([1.0], [[0.0]], 1.0), GaussianMixture([1.0], [[by]], 4.0), 2) == pytest.approx(
        np.hypot(by, 1.0), rel=1e-10
    )
    one, other = GaussianMixture([1.0], [[0.0]], 1.0), GaussianMixture([1.0], [[by]], 1.0)
    assert kolmogorov(one, other) == pytest.approx(2.0 * stats.norm.cdf(by / 2.0) - 1.0, rel=1e-6, abs=0.0)


def test_samples_come_near_their_law():
    n = 20_000
    x = B.sample(n, 5)[:, 0]
    assert np.sqrt(n) * kolmogorov(x, B) < 2.5  # exceeded with probability 1e-5
    assert n * cramer_von_mises(x, B) < 2.0  # the same
    assert wasserstein(x, B, 1) <= wasserstein(x, B, 2) < 0.1
    assert wasserstein(x, A, 1) == pytest.approx(wasserstein(B, A, 1), abs=0.1)
    assert wasserstein(x, A, 2) == pytest.approx(wasserstein(B, A, 2), abs=0.1)


def test_many_components_on_a_line():
    rng = np.random.default_rng(0)
    law = GaussianMixture(np.full(300, 1 / 300), rng.normal(size=(300, 1)), 1e-2)
    near = GaussianMixture([1.0], [[0.0]], 1.0)
    assert wasserstein(law, near, 1) <= wasserstein(law, near, 2) < 0.2
    assert 0.0 < cramer(law, near) < 0.1
    assert kolmogorov(law, near) < 0.1


# Kernels and slices


def mixtures(k=3, d=2):
    rng = np.random.default_rng(0)
    means, a = rng.normal(size=(k, d)), rng.normal(size=(k, d, d))
    arguments = {
        "isotropic": rng.random(k),
        "shared": 0.2,
        "diagonal": rng.random((k, d)),
        "low rank": LowRank(rng.normal(size=(k, d, 1)), rng.random((k, d))),
        "full": a @ a.swapaxes(1, 2),
        "points": 0.0,
    }
    return {name: GaussianMixture([0.2, 0.3, 0.5], means + 0.3 * i, c) for i, (name, c) in enumerate(arguments.items())}


MIXTURES = mixtures()


def mean_kernel(a, b, h):
    """E k(X, Y) by the plain formula, component by component."""
    total = 0.0
    for w, m, row in zip(a.weights, a.means, np.eye(a.k), strict=True):
        for v, n, column in zip(b.weights, b.means, np.eye(b.k), strict=True):
            spread = a.structure.pooled(row) + b.structure.pooled(column) + h * h * np.eye(a.d)
            total += w * v * h**a.d * (2 * np.pi) ** (a.d / 2) * stats.multivariate_normal(n, spread).pdf(m)
    return total


@pytest.mark.parametrize("a", MIXTURES)
@pytest.mark.parametrize("b", MIXTURES)
def test_mmd_of_mixtures_is_the_plain_formula(a, b):
    a, b = MIXTURES[a], MIXTURES[b]
    for h in (0.3, 2.0):
        expected = mean_kernel(a, a, h) + mean_kernel(b, b, h) - 2.0 * mean_kernel(a, b, h)
        assert mmd2(a, b, h) == pytest.approx(expected, abs=1e-14)


@pytest.mark.parametrize("name", MIXTURES)
def test_mmd_of_samples_is_unbiased(name):
    law, other, h, n, repeats = MIXTURES[name], MIXTURES["full"], 0.7, 40, 60
    found = np.array([mmd2(law.sample(n, seed), other, h) for seed in range(repeats)])
    assert abs(found.mean() - mmd2(law, other, h)) < 4.5 * found.std() / np.sqrt(repeats)
    if name != "full":
        assert found.std() > 0.0
    x = law.sample(n, 0)
    kernel = np.exp(-0.5 / h**2 * np.square(x[:, None] - x).sum(-1))
    own = mean_kernel(other, other, h)
    cross = np.mean([mean_kernel(GaussianMixture([1.0], [p], 0.0), other, h) for p in x])
    assert mmd2(x, other, h, unbiased=False) == pytest.approx(kernel.mean() - 2.0 * cross + own, rel=1e-11, abs=0.0)
    assert mmd2(other, x, h) == pytest.approx((kernel.sum() - n) / (n * (n - 1)) - 2.0 * cross + own, rel=1e-11, abs=1e-14)
    y = other.sample(25, 1)
    pairs = np.exp(-0.5 / h**2 * np.square(x[:, None] - y).sum(-1)).mean()
    own = np.exp(-0.5 / h**2 * np.square(y[:, None] - y).sum(-1))
    expected = (kernel.sum() - n) / (n * (n - 1)) - 2.0 * pairs + (own.sum() - 25) / (25 * 24)
    assert mmd2(x, y, h) == pytest.approx(expected, rel=1e-11, abs=1e-14)


def test_mmd_separates():
    for a in MIXTURES.values():
        assert abs(mmd2(a, a, 0.5)) < 1e-15
        for b in MIXTURES.values():
            assert a is b or mmd2(a, b, 0.5) > 1e-4
    assert np.sqrt(mmd2(MIXTURES["full"], MIXTURES["points"], 0.5)) <= np.sqrt(mmd2(MIXTURES["full"], MIXTURES["shared"], 0.5)) + np.sqrt(
        mmd2(MIXTURES["shared"], MIXTURES["points"], 0.5)
    )


def test_slices_are_exact_projections():
    u = unit_directions(30, 2, 0)
    assert np.allclose(np.linalg.norm(u, axis=1), 1.0)
    a, b = (
        GaussianMixture([1.0], [m], [c]) for m, c in ((np.zeros(2), np.eye(2)), (np.array([1.0, 2.0]), np.array([[2.0, 0.5], [0.5, 1.0]])))
    )
    # 1-D Gaussians: W2² = (difference of means)² + (difference of deviations)²
    spread = np.sqrt(np.einsum("md,de,me->m", u, b.covariances[0], u))
    expected = np.sqrt(np.mean((u @ b.means[0]) ** 2 + (spread - 1.0) ** 2))
    assert sliced_wasserstein(a, b, u) == pytest.approx(expected, rel=1e-10, abs=0.0)
    shift = GaussianMixture([1.0], [[1.0, 2.0]], [np.eye(2)])
    assert sliced_wasserstein(a, shift, u, p=1) == pytest.approx(np.mean(np.abs(u @ [1.0, 2.0])), rel=1e-12, abs=0.0)
    samples = a.sample(4000, 1)
    assert sliced_wasserstein(samples, a, u) < 0.1
    assert sliced_wasserstein(samples, b, u) == pytest.approx(expected, abs=0.1)
    assert sliced_cramer(samples, b, u) == pytest.approx(sliced_cramer(a, b, u), abs=0.05)
    assert sliced_cramer(a, b, u) == pytest.approx(
        np.sqrt(np.mean([cramer(x, y) ** 2 for x, y in zip(a.project(u), b.project(u), strict=True)])), rel=1e-13
    )
    for distance in (sliced_wasserstein, sliced_cramer):
        assert distance(a, b, u) == pytest.approx(distance(b, a, u), rel=1e-9, abs=0.0)
        assert distance(a, a, u) < 1e-7


def test_distances_refuse_what_they_cannot_compare():
    plane, line = MIXTURES["full"], A
    for call, message in (
        (lambda: wasserstein(plane, line), "1 dimension"),
        (lambda: wasserstein(np.zeros((3, 2)), line), "a has shape"),
        (lambda: wasserstein(np.zeros(0), line), "a has shape"),
        (lambda: wasserstein(np.array([np.nan]), line), "a holds 1"),
        (lambda: wasserstein(A, B, 3), "p = 3"),
        (lambda: cramer_von_mises(A, np.zeros(3)), "reference"),
        (lambda: mmd2(plane, line, 1.0), "dimensions"),
        (lambda: mmd2(plane, plane, 0.0), "bandwidth"),
        (lambda: mmd2(np.zeros((1, 2)), plane, 1.0), "2 or more"),
        (lambda: sliced_wasserstein(plane, plane, np.ones((2, 2))), "unit rows"),
        (lambda: sliced_wasserstein(np.zeros((5, 2)), plane, np.eye(3)), "unit rows"),
        (lambda: sliced_cramer(plane, plane, np.zeros((0, 2))), "directions is empty"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_of_a_gaussian_on_a_plane() -> None:
    """Across the plane the whole variance of the other is what it costs, to 1e-12: round-off of a zero eigenvalue has no root."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        q, _ = np.linalg.qr(rng.standard_normal((5, 5)))
        along, across = q[:3], q[3:]
        a, b, rest = (m @ m.T for m in (rng.standard_normal((3, 3)), rng.standard_normal((3, 3)), rng.standard_normal((2, 2))))
        found = gaussian_w2(np.zeros(5), along.T @ a @ along, np.zeros(5), along.T @ b @ along + across.T @ rest @ across) ** 2
        expected = gaussian_w2(np.zeros(3), a, np.zeros(3), b) ** 2 + float(np.trace(rest))
        assert abs(found - expected) < 1e-12 * expected
