"""The Jacobi diffusion: two exact forms of one kernel, its equation, its clock, exact draws, stick-breaking, bad input."""

from __future__ import annotations

import math

import mpmath as mp
import numpy as np
import pytest

from scorebed.analytic.heat import Jacobi, JacobiMixture
from scorebed.analytic.heat.jacobi import lineages
from scorebed.analytic.heat.simplex import from_sticks, to_sticks
from scorebed.solvers.schedule import EDM, VP

N = EDM().node
PARAMETERS = [(1.0, 1.0), (0.5, 2.0), (2.0, 3.0), (0.3, 0.4)]


def interval(a, b, n=160):
    """Gauss-Jacobi nodes and weights for ∫ f(y) Beta(y; a, b) dy."""
    from scipy.special import roots_jacobi

    u, w = roots_jacobi(n, b - 1, a - 1)
    return 0.5 * (1 + u), w / w.sum()


@pytest.mark.parametrize(("a", "b"), PARAMETERS)
def test_two_forms_agree(a, b):
    x, y = (c.reshape(-1) for c in np.meshgrid([0.0, 0.01, 0.3, 0.9, 1.0], [1e-6, 0.01, 0.2, 0.77, 0.999]))
    for t in (0.05, 0.3, 2.0):
        log, slope, share = Jacobi(a, b).spectral(x, y, t)
        other, tilt = Jacobi(a, b).ancestral(x, y, t)
        fine = share > 0.01
        assert fine.sum() >= 5
        assert np.abs(log - other)[fine].max() < 1e-12
        assert (np.abs(slope - tilt) / (1 + np.abs(tilt)))[fine].max() < 1e-11


@pytest.mark.parametrize(("x", "y", "t"), [(0.0, 0.999, 0.05), (0.3, 0.77, 0.05), (0.9, 0.02, 0.2)])
def test_tails_against_digits(x, y, t):
    a, b = 0.5, 2.0
    with mp.workdps(200):
        total, u, v = mp.mpf(0), 2 * mp.mpf(x) - 1, 2 * mp.mpf(y) - 1
        al, be = mp.mpf(b) - 1, mp.mpf(a) - 1
        for n in range(130):
            h = mp.gamma(n + al + 1) * mp.gamma(n + be + 1) / (mp.gamma(n + al + be + 1) * mp.factorial(n) * (2 * n + al + be + 1))
            decay = mp.exp(-n * (n + mp.mpf(a + b) - 1) * mp.mpf(t) / 2)
            total += decay * mp.jacobi(n, al, be, u) * mp.jacobi(n, al, be, v) / h
        exact = mp.log(total * mp.mpf(y) ** (a - 1) * (1 - mp.mpf(y)) ** (b - 1))
        assert abs(mp.mpf(float(Jacobi(a, b).kernel(x, y, t)[0])) - exact) < 1e-13 * (1 + abs(exact))


@pytest.mark.parametrize(("a", "b"), PARAMETERS)
@pytest.mark.parametrize("t", [0.1, 1.0])
def test_mass_clock_and_semigroup(a, b, t):
    law = Jacobi(a, b)
    y, w = interval(a, b)

    def density(start, time):
        return np.exp(law.kernel(start, y, time)[0] - law.log_stationary(y))

    for x in (0.0, 0.2, 0.9):
        assert abs(density(x, t) @ w - 1) < 1e-10
        # E[x_t] relaxes at the gap (a + b)/2
        mean = a / (a + b)
        assert abs(density(x, t) @ (w * y) - mean - (x - mean) * math.exp(-0.5 * (a + b) * t)) < 1e-10
    two = np.exp(law.kernel(y, 0.35, 0.3)[0]) @ (w * density(0.2, t))
    assert abs(two / math.exp(law.kernel(0.2, 0.35, t + 0.3)[0]) - 1) < 1e-10


@pytest.mark.parametrize(("a", "b"), PARAMETERS)
def test_backward_equation_and_slope(a, b):
    """∂_t p = ½ x(1-x) ∂²p + ½ (a(1-x) - bx) ∂p in the starting point."""
    law, y, t, h = Jacobi(a, b), 0.4, 0.4, 4e-3

    def p(x, time, end=y):
        return np.exp(law.kernel(x, end, time)[0])

    c1, c2 = np.array([1, -8, 0, 8, -1]) / 12, np.array([-1, 16, -30, 16, -1]) / 12
    j = np.arange(-2, 3)
    for x in (0.15, 0.5, 0.8):
        rate = sum(c * p(x, t + k * h) for c, k in zip(c1, j, strict=True)) / h
        d1 = sum(c * p(x + k * h, t) for c, k in zip(c1, j, strict=True)) / h
        d2 = sum(c * p(x + k * h, t) for c, k in zip(c2, j, strict=True)) / h**2
        assert abs(rate - 0.5 * x * (1 - x) * d2 - 0.5 * (a * (1 - x) - b * x) * d1) < 1e-6 * (1 + abs(rate))
        slope = sum(c * law.kernel(x, y + k * h, t)[0] for c, k in zip(c1, j, strict=True)) / h
        assert abs(slope - law.kernel(x, y, t)[1]) < 1e-6 * (1 + abs(slope))


@pytest.mark.parametrize("theta", [0.5, 1.0, 3.7])
def test_lineages_are_a_law(theta):
    for t in (0.05, 0.3, 2.0, 10.0):
        m, q = lineages(theta, t)
        assert abs(q.sum() - 1) < 1e-14
        assert (q >= 0).all()
        # E of the falling factorial of order one under Tavaré's law is Σ_k≥1 (2k+θ-1) e^{-λ_k t}
        k = np.arange(1, 200)
        assert abs(q @ m - ((2 * k + theta - 1) * np.exp(-0.5 * k * (k + theta - 1) * t)).sum()) < 1e-11 * (1 + q @ m)


@pytest.mark.parametrize(("a", "b"), PARAMETERS)
def test_draws_have_the_law(a, b):
    law, n, t, x = Jacobi(a, b), 20000, 0.15, 0.3
    u = np.sort(law.sample(np.full(n, x), t, 3))
    m, q = lineages(a + b, t)
    from scipy.special import betainc
    from scipy.stats import binom

    cdf = sum(w * binom.pmf(l, i, x) * betainc(a + l, b + i - l, u) for i, w in zip(m, q, strict=True) if w > 1e-9 for l in range(i + 1))
    assert math.sqrt(n) * np.abs(cdf - (np.arange(n) + 0.5) / n).max() < 2.0
    moment = u.mean() - (a / (a + b) + (x - a / (a + b)) * math.exp(-0.5 * (a + b) * t))
    assert abs(moment) < 5 * u.std() / math.sqrt(n)


def test_sticks_and_back():
    p = np.random.default_rng(0).dirichlet([0.5, 1.0, 2.0, 0.3], 50)
    assert np.abs(from_sticks(to_sticks(p)) - p).max() < 1e-14
    assert np.isfinite(to_sticks(np.eye(4))).all()
    assert np.array_equal(from_sticks(to_sticks(np.eye(4))), np.eye(4))


def test_simplex_density():
    """Mass one over the triangle, the Dirichlet law in the long run, the mean at its rate."""
    c = [1.5, 2.0, 1.0]
    law = JacobiMixture(c, [0.4, 0.6], [[0.2, 0.5, 0.3], [1.0, 0.0, 0.0]], [0.05, 0.1])
    u, w = np.polynomial.legendre.leggauss(60)
    u, w = 0.5 * (1 + u), 0.5 * w
    v = np.stack(np.meshgrid(u, u, indexing="ij"), -1).reshape(-1, 2)
    p = from_sticks(v)
    area = np.outer(w, w).reshape(-1) * (1 - v[:, 0])  # dp = (1 - v_1) dv
    assert abs(np.exp(law.log_prob(p, N(0.5))) @ area - 1) < 1e-5
    from scipy.stats import dirichlet

    assert np.abs(law.log_prob(p, N(9.0)) - dirichlet(c).logpdf(p.T)).max() < 1e-11
    x = law.sample(3000, 1, N(0.4))
    assert np.abs(x.sum(1) - 1).max() < 1e-14
    rate = sum(c) / 2
    for k, expected in [(0, c[0] / sum(c))]:
        start = law.weights * np.exp(-rate * (law.times + 0.16)) @ (law.means[:, k] - expected)
        assert abs(x[:, k].mean() - expected - start) < 5 * x[:, k].std() / math.sqrt(3000)


def test_scores_of_mixtures():
    law = JacobiMixture([2.0, 1.0], [0.5, 0.5], [[0.1], [0.8]], 0.05)
    x, h, node = np.array([[0.05], [0.4], [0.9]]), 1e-4, N(0.3)
    slope = (
        8 * (law.log_prob(x + h, node) - law.log_prob(x - h, node)) - law.log_prob(x + 2 * h, node) + law.log_prob(x - 2 * h, node)
    ) / (12 * h)
    assert np.abs(law.score(x, node)[:, 0] - slope).max() < 1e-7 * (1 + np.abs(slope).max())


def test_refusals():
    with pytest.raises(ValueError, match="a = -1"):
        Jacobi(-1.0, 1.0)
    law = Jacobi(1.0, 1.0)
    for t in (1e-3, -1.0, math.nan):
        with pytest.raises(ValueError, match="too short"):
            law.kernel(0.5, 0.5, t)
    with pytest.raises(ValueError, match="outside"):
        law.kernel(0.5, 1.0, 0.1)
    with pytest.raises(ValueError, match="outside"):
        law.kernel(math.nan, 0.5, 0.1)
    with pytest.raises(ValueError, match="simplex"):
        JacobiMixture([1.0, 1.0, 1.0], [1.0], [[0.5, 0.5, 0.5]], 0.1)
    with pytest.raises(ValueError, match="weights"):
        JacobiMixture([1.0, 1.0], [0.4], [[0.5]], 0.1)
    with pytest.raises(ValueError, match="times"):
        JacobiMixture([1.0, 1.0], [1.0], [[0.5]], -0.1)
    mixture = JacobiMixture([1.0, 1.0], [1.0], [[0.5]], 0.1)
    with pytest.raises(ValueError, match="alpha"):
        mixture.log_prob([[0.5]], VP().node(0.5))
    with pytest.raises(ValueError, match="n = 0"):
        mixture.sample(0, 1)
    with pytest.raises(ValueError, match="too short"):
        JacobiMixture([1.0, 1.0], [1.0], [[0.5]], 0.0).log_prob([[0.5]], N(0.01))
