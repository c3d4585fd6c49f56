"""Mixtures conditioned on linear observations: against 50 digits, against quadrature, against derivatives and draws; and bad input."""

from __future__ import annotations

import math

import mpmath as mp
import numpy as np
import pytest

from scorebed.analytic import GaussianMixture, LowRank, Rotated, RotatedProduct, from_data
from scorebed.analytic.gaussian.diagonal import Diagonal
from scorebed.analytic.gaussian.lowrank import LowRankDiagonal
from scorebed.analytic.gaussian.rotated import RotatedDiagonal
from scorebed.solvers.schedule import EDM, VP, Node, RectifiedFlow

TOLERANCE = 1e-12
PRIORS = ("isotropic", "diagonal", "full", "low rank", "rotated")
OPERATORS = ("mask", "rows", "square", "tall")
RESULT = {
    ("isotropic", "mask"): Diagonal,
    ("isotropic", "rows"): RotatedDiagonal,
    ("isotropic", "square"): RotatedDiagonal,
    ("isotropic", "tall"): RotatedDiagonal,
    ("diagonal", "mask"): Diagonal,
    ("low rank", "mask"): LowRankDiagonal,
}


def mpm(a):
    return mp.matrix([[mp.mpf(float(v)) for v in row] for row in np.atleast_2d(a)])


def plain(a):
    return np.array(a.tolist(), dtype=np.float64)


@mp.workdps(50)
def prior(kind, rng, k=3, d=3):
    """A mixture, and its covariances as exact mpmath matrices."""
    weights = rng.random(k) + 0.2
    means = 1.5 * rng.normal(size=(k, d))
    if kind == "isotropic":
        argument = rng.random(k) + 0.1
        exact = [mp.mpf(float(v)) * mp.eye(d) for v in argument]
    elif kind == "diagonal":
        argument = rng.random((k, d)) + 0.1
        exact = [mp.diag([mp.mpf(float(v)) for v in row]) for row in argument]
    elif kind == "full":
        f = rng.normal(size=(k, d, d))
        argument = f @ f.swapaxes(1, 2)
        exact = [mpm(v) for v in argument]
    elif kind == "low rank":
        argument = LowRank(rng.normal(size=(k, d, 1)), rng.random((k, d)) * rng.choice([0.0, 1.0], size=(k, d)))
        pairs = zip(argument.factor, argument.diagonal, strict=True)
        exact = [mpm(f) * mpm(f).T + mp.diag([mp.mpf(float(v)) for v in row]) for f, row in pairs]
    else:
        argument = Rotated(np.eye(d)[[1, 2, 0]], rng.random((k, d)) + 0.1)
        q = mpm(argument.basis)
        exact = [q * mp.diag([mp.mpf(float(v)) for v in row]) * q.T for row in argument.variance]
    return GaussianMixture(weights / weights.sum(), means, argument), exact


def operator(kind, rng, d, noise):
    """A, R and one y."""
    if kind == "mask":
        a = np.eye(d)[[0, 2]]
        r = np.diag(noise**2 * (rng.random(2) + 0.5))
    else:
        m = {"rows": 2, "square": d, "tall": d + 2}[kind]
        a, f = rng.normal(size=(m, d)), rng.normal(size=(m, m))
        r = noise**2 * (f @ f.T + 0.5 * np.eye(m))
    return a, 0.5 * (r + r.T), a @ rng.normal(size=d) + noise * rng.normal(size=len(a))


def truth(law, covariances, a, y, r):
    """Evidence, weights, means and covariances of x0 | y, by the textbook's formulas in 50 digits."""
    a, y, r = mpm(a), mpm(y[:, None]), mpm(r)
    logs, means, spreads = [], [], []
    for w, mu, cov in zip(law.weights, law.means, covariances, strict=True):
        mu = mpm(mu[:, None])
        p = a * cov * a.T + r
        inverse = p**-1
        e = y - a * mu
        logs.append(mp.log(mp.mpf(float(w))) - ((e.T * inverse * e)[0] + mp.log(mp.det(p)) + len(y) * mp.log(2 * mp.pi)) / 2)
        means.append(mu + cov * a.T * inverse * e)
        spreads.append(cov - cov * a.T * inverse * a * cov)
    top = max(logs)
    total = mp.fsum(mp.exp(v - top) for v in logs)
    return top + mp.log(total), [mp.exp(v - top) / total for v in logs], means, spreads


def off(found, exact):
    return float(np.linalg.norm(found - exact) / max(np.linalg.norm(exact), 1e-300))


@pytest.mark.parametrize("observed", OPERATORS)
@pytest.mark.parametrize("kind", PRIORS)
@pytest.mark.parametrize("noise", [1e-3, 0.3, 30.0])
def test_the_conditional_agrees_with_fifty_digits(kind, observed, noise):
    rng = np.random.default_rng([PRIORS.index(kind), OPERATORS.index(observed), int(1e4 * noise)])
    law, exact = prior(kind, rng)
    a, r, y = operator(observed, rng, law.d, noise)
    found = law.given(a, y, r)
    with mp.workdps(50):
        evidence, weights, means, spreads = truth(law, exact, a, y, r)
        evidence, weights = float(evidence), np.array([float(w) for w in weights])
        means, spreads = np.array([plain(m)[:, 0] for m in means]), np.array([plain(s) for s in spreads])
    assert law.evidence(a, y, r) == pytest.approx(evidence, rel=TOLERANCE, abs=TOLERANCE)
    assert np.abs(found.weights - weights).max() < TOLERANCE
    assert off(found.means, means) < TOLERANCE
    dense = np.stack([found.structure.pooled(np.eye(law.k)[i]) for i in range(law.k)])
    assert off(dense, spreads) < TOLERANCE
    if (kind, observed) in RESULT:
        assert type(found.structure) is RESULT[kind, observed]


@pytest.mark.parametrize("observed", OPERATORS)
@pytest.mark.parametrize("kind", PRIORS)
@pytest.mark.parametrize("node", [VP().node(0.05), VP().node(0.6), EDM().node(20.0), RectifiedFlow().node(0.97)], ids=repr)
def test_score_and_likelihood_score_add_up_to_the_conditional_score(kind, observed, node):
    """Two ways that share no sum: the conditional law noised, and the likelihood of x_t through p(x0 | x_t)."""
    rng = np.random.default_rng([PRIORS.index(kind), OPERATORS.index(observed), int(100 * node.sigma)])
    law, _ = prior(kind, rng)
    a, r, y = operator(observed, rng, law.d, 0.3)
    conditional = law.given(a, y, r)
    x = np.concatenate([law.sample(3, rng, node), 5.0 * law.sample(1, rng, node)])
    part, likelihood = law.score(x, node), law.likelihood_score(x, node, a, y, r)
    size = np.abs(part) + np.abs(likelihood)
    assert np.abs(conditional.score(x, node) - part - likelihood).max() < TOLERANCE * size.max()
    bayes = conditional.log_prob(x, node) + law.evidence(a, y, r) - law.log_prob(x, node)
    log = law.likelihood(x, node, a, y, r)
    assert np.abs(log - bayes).max() < TOLERANCE * max(1.0, np.abs(bayes).max(), np.abs(law.log_prob(x, node)).max())


@pytest.mark.parametrize("noise", [1e-2, 1.0])
def test_the_likelihood_agrees_with_fifty_digits(noise):
    rng, node = np.random.default_rng(3), VP().node(0.3)
    law, exact = prior("full", rng)
    a, r, y = operator("rows", rng, law.d, noise)
    for x in np.concatenate([law.sample(2, rng, node), 30.0 * law.sample(1, rng, node)]):
        with mp.workdps(50):
            al, s2 = mp.mpf(node.alpha), mp.mpf(node.sigma) ** 2
            noisy = [al * al * c + s2 * mp.eye(law.d) for c in exact]
            joint, plainly, column = [], [], mpm(x[:, None])
            for w, mu, cov, c in zip(law.weights, law.means, exact, noisy, strict=True):
                e = column - al * mpm(mu[:, None])
                solved = c**-1 * e
                m, s = mpm(mu[:, None]) + al * cov * solved, s2 * cov * c**-1
                p, rest = mpm(a) * s * mpm(a).T + mpm(r), mpm(y[:, None]) - mpm(a) * m
                logw = mp.log(mp.mpf(float(w))) - ((e.T * solved)[0] + mp.log(mp.det(c))) / 2
                plainly.append(logw)
                joint.append(logw - ((rest.T * p**-1 * rest)[0] + mp.log(mp.det(p)) + len(y) * mp.log(2 * mp.pi)) / 2)
            log = float(mp.log(mp.fsum(map(mp.exp, joint))) - mp.log(mp.fsum(map(mp.exp, plainly))))
        assert law.likelihood(x, node, a, y, r) == pytest.approx(log, rel=1e-11)


def test_the_conditional_agrees_with_quadrature_in_one_and_two_dimensions():
    line = GaussianMixture([0.3, 0.7], [-1.0, 1.2], [0.2, 0.1])
    grid = np.linspace(-8.0, 8.0, 4001)
    log = line.log_prob(grid[:, None]) - 0.5 * (0.4 - 0.8 * grid) ** 2 / 0.3
    weight = np.exp(log)
    found = line.given([[0.8]], [0.4], 0.3)
    mean = (weight @ grid) / weight.sum()
    assert found.mean()[0] == pytest.approx(mean, rel=1e-12)
    assert found.covariance()[0, 0] == pytest.approx(weight @ (grid - mean) ** 2 / weight.sum(), rel=1e-12)
    total = math.log(weight.sum() * (grid[1] - grid[0]) / math.sqrt(2 * math.pi * 0.3))
    assert line.evidence([[0.8]], [0.4], 0.3) == pytest.approx(total, rel=1e-12)
    rng = np.random.default_rng(0)
    law = GaussianMixture([0.4, 0.6], [[-1.0, 0.5], [1.0, -0.3]], [[[0.5, 0.2], [0.2, 0.4]], [[0.3, -0.1], [-0.1, 0.6]]])
    a, r, y = rng.normal(size=(1, 2)), np.array([[0.2]]), np.array([0.7])
    axis = np.linspace(-8.0, 8.0, 401)
    points = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    weight = np.exp(law.log_prob(points) - 0.5 * (y[0] - points @ a[0]) ** 2 / 0.2)
    mean = weight @ points / weight.sum()
    found = law.given(a, y, r)
    assert found.mean() == pytest.approx(mean, rel=1e-10)
    assert found.covariance() == pytest.approx((points - mean).T * weight @ (points - mean) / weight.sum(), rel=1e-10)


def test_the_likelihood_is_the_mean_of_the_likelihood_over_the_posterior_of_x0():
    law = GaussianMixture([0.3, 0.7], [-1.0, 1.2], [0.2, 0.1])
    node, x, grid = VP().node(0.2), np.array([0.3]), np.linspace(-8.0, 8.0, 8001)
    weight = np.exp(law.log_prob(grid[:, None]) - 0.5 * (x - node.alpha * grid) ** 2 / node.sigma**2)
    density = np.exp(-0.5 * (0.4 - 0.8 * grid) ** 2 / 0.3) / math.sqrt(2 * math.pi * 0.3)
    assert law.likelihood(x, node, [[0.8]], [0.4], 0.3) == pytest.approx(math.log(weight @ density / weight.sum()), rel=1e-12)
    h = 1e-5
    slope = (law.likelihood(x + h, node, [[0.8]], [0.4], 0.3) - law.likelihood(x - h, node, [[0.8]], [0.4], 0.3)) / (2 * h)
    assert law.likelihood_score(x, node, [[0.8]], [0.4], 0.3)[0] == pytest.approx(slope, rel=1e-8)


def test_at_a_clean_node_the_likelihood_is_that_of_the_data():
    law = GaussianMixture([1.0], [[0.0, 0.0]], 1.0)
    x, clean = np.array([[0.3, -0.2]]), Node(t=0.0, alpha=0.5, sigma=0.0, lam=math.inf)
    rest = 1.0 - 2.0 * x[0, 0]
    assert law.likelihood(x, clean, [[1.0, 0.0]], [1.0], 0.2)[0] == pytest.approx(-0.5 * rest**2 / 0.2 - 0.5 * math.log(0.4 * math.pi))
    assert law.likelihood_score(x, clean, [[1.0, 0.0]], [1.0], 0.2)[0] == pytest.approx([2.0 * rest / 0.2, 0.0])


@pytest.mark.parametrize("kind", PRIORS)
@pytest.mark.parametrize("node", [VP().node(0.02), VP().node(0.5), EDM().node(30.0)], ids=repr)
def test_vjp_is_the_covariance_times_v(kind, node):
    rng = np.random.default_rng(PRIORS.index(kind))
    law, _ = prior(kind, rng, k=4)
    x, v = law.sample(5, rng, node), rng.normal(size=(5, 3))
    exact = node.alpha / node.sigma**2 * np.einsum("nij,nj->ni", law.posterior_covariance(x, node), v)
    assert np.abs(law.vjp(x, node, v) - exact).max() < 1e-12 * np.abs(exact).max()


@pytest.mark.parametrize("t", [0.02, 0.3, 0.9])
def test_vjp_of_many_components_is_the_covariance_times_v(t):
    rng, node = np.random.default_rng(1), VP().node(t)
    law = from_data(rng.normal(size=(900, 6)), 0.3)
    x, v = law.sample(4, rng, node), rng.normal(size=(4, 6))
    for one in (law, law.given(rng.normal(size=(2, 6)), [0.1, 0.4], 0.2)):
        exact = node.alpha / node.sigma**2 * np.einsum("nij,nj->ni", one.posterior_covariance(x, node), v)
        assert np.abs(one.vjp(x, node, v) - exact).max() < 1e-11 * np.abs(exact).max()


def test_vjp_of_a_product_and_of_a_clean_node():
    rng, node = np.random.default_rng(2), VP().node(0.3)
    q = np.linalg.qr(rng.normal(size=(2, 2)))[0]
    law = RotatedProduct(q, [GaussianMixture([0.4, 0.6], [-1.0, 1.0], [0.1, 0.2]), GaussianMixture([1.0], [0.0], 0.5)])
    x, v = law.sample(5, rng, node), rng.normal(size=(5, 2))
    assert law.vjp(x, node, v) == pytest.approx(law.mixture().vjp(x, node, v), rel=1e-10, abs=1e-12)
    clean = Node(t=0.0, alpha=0.5, sigma=0.0, lam=math.inf)
    assert law.vjp(x, clean, v) == pytest.approx(2.0 * v)
    assert law.mixture().vjp(x, clean, v) == pytest.approx(2.0 * v)
    given = law.given([[1.0, 0.0]], [0.3], 0.1)
    assert given.mean() == pytest.approx(law.mixture().given([[1.0, 0.0]], [0.3], 0.1).mean())


def test_a_rotated_law_is_the_full_law():
    rng = np.random.default_rng(5)
    k, d = 4, 3
    basis, variance = np.linalg.qr(rng.normal(size=(d, d)))[0], rng.random((k, d)) + 0.05
    means, weights = rng.normal(size=(k, d)), np.full(k, 1.0 / k)
    one, other = (
        GaussianMixture(weights, means, Rotated(basis, variance)),
        GaussianMixture(weights, means, (basis * variance[:, None, :]) @ basis.T),
    )
    x, u = rng.normal(size=(6, d)), np.eye(d)[:2]
    for node in (VP().node(0.1), EDM().node(3.0)):
        for name in ("log_prob", "score", "denoised", "posterior_covariance"):
            assert getattr(one, name)(x, node) == pytest.approx(getattr(other, name)(x, node), rel=1e-10, abs=1e-12), name
        assert one.marginal(node).covariance() == pytest.approx(other.marginal(node).covariance(), rel=1e-12)
    assert [p.covariances[0] for p in one.project(u)] == pytest.approx([p.covariances[0] for p in other.project(u)])
    assert one.covariance() == pytest.approx(other.covariance())
    assert np.cov(one.sample(20_000, 0).T) == pytest.approx(one.covariance(), abs=0.05)
    single = GaussianMixture([1.0], means[:1], Rotated(basis, variance[:1]))
    full = GaussianMixture([1.0], means[:1], other.covariances[:1])
    assert single.flow(x, VP().node(0.9), VP().node(0.1)) == pytest.approx(full.flow(x, VP().node(0.9), VP().node(0.1)))


def test_many_rotated_components_agree_with_few():
    """The path for large mixtures: rough products and lists of leaders, in turned coordinates."""
    rng = np.random.default_rng(6)
    points = rng.normal(size=(900, 6))
    law = from_data(points, 0.2).given(rng.normal(size=(3, 6)), [0.1, -0.2, 0.3], 0.5)
    lead = np.argsort(law.weights)[-600:]
    few = GaussianMixture(law.weights / law.weights.sum(), law.means, Rotated(law.covariances.basis, law.covariances.variance))
    assert len(lead) == 600
    for t in (0.01, 0.2, 0.9):
        node = VP().node(t)
        x = law.sample(5, rng, node)
        dense = [few.structure.pooled(np.eye(900)[k]) for k in range(3)]
        assert dense[0] == pytest.approx(dense[1])
        full = GaussianMixture(law.weights, law.means, np.broadcast_to(dense[0], (900, 6, 6)).copy())
        for name in ("log_prob", "score", "denoised"):
            assert getattr(law, name)(x, node) == pytest.approx(getattr(full, name)(x, node), rel=1e-10, abs=1e-11), name


def test_conditioning_twice_is_conditioning_on_both():
    rng = np.random.default_rng(4)
    law, _ = prior("isotropic", rng)
    a, y = rng.normal(size=(4, 3)), rng.normal(size=4)
    once = law.given(a, y, [0.1, 0.2, 0.3, 0.4])
    twice = law.given(a[:2], y[:2], [0.1, 0.2]).given(a[2:], y[2:], [0.3, 0.4])
    assert twice.weights == pytest.approx(once.weights, rel=1e-10)
    assert twice.means == pytest.approx(once.means, rel=1e-10)
    assert twice.covariance() == pytest.approx(once.covariance(), rel=1e-10)


def test_pairs_have_the_joint_law():
    law = GaussianMixture([0.5, 0.5], [[-1.0, 0.0], [1.0, 0.5]], [0.2, 0.4])
    a, r = np.array([[1.0, -1.0], [0.5, 2.0]]), np.array([[0.3, 0.1], [0.1, 0.2]])
    x, y = law.sample_joint(40_000, a, r, 0)
    rest = y - x @ a.T
    assert np.cov(rest.T) == pytest.approx(r, abs=0.01)
    assert np.abs(np.corrcoef(rest.T, x.T)[:2, 2:]).max() < 0.02
    assert np.cov(x.T) == pytest.approx(law.covariance(), abs=0.03)


BAD = [
    ({"A": np.ones((1, 3))}, r"A has shape \(1, 3\), but this law lives in 2 dimensions: give \(m, 2\)"),
    ({"A": np.ones(2)}, r"A has shape \(2,\): give 2 dimensions"),
    ({"A": np.ones((0, 2)), "y": np.ones(0)}, r"m >= 1"),
    ({"A": [[math.nan, 1.0]]}, "A holds 1 values that are nan or inf"),
    ({"y": [math.nan]}, "y holds 1 values that are nan or inf"),
    ({"y": [1.0, 2.0]}, r"y has shape \(2,\), but A has 1 rows: give \(1,\)"),
    ({"R": 0.0}, "R is not positive definite"),
    ({"R": -1.0}, "R is not positive definite"),
    ({"R": math.inf}, "R holds 1 values that are nan or inf"),
    ({"R": np.eye(2)}, r"R has shape \(2, 2\), but A has 1 rows"),
    ({"A": np.eye(2), "y": [0.0, 0.0], "R": np.ones((2, 2))}, "R is not positive definite: its smallest eigenvalue"),
    ({"A": np.eye(2), "y": [0.0, 0.0], "R": [[1.0, 0.5], [0.0, 1.0]]}, "R is not symmetric"),
    ({"y": [1e200]}, "check the units of y, A and R"),
]


@pytest.mark.parametrize(("changed", "words"), BAD, ids=[w[:40] for _, w in BAD])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_bad_input_is_refused_with_one_clear_error(changed, words):
    law = GaussianMixture([0.5, 0.5], [[-1.0, 0.0], [1.0, 0.5]], [0.2, 0.4])
    arguments = {"A": [[1.0, 0.0]], "y": [0.5], "R": 0.1, **changed}
    with pytest.raises(ValueError, match=words):
        law.given(**arguments)
    with pytest.raises(ValueError, match=words):
        law.evidence(**arguments)


def test_other_bad_input_is_refused():
    law = GaussianMixture([1.0], [[0.0, 0.0]], 1.0)
    with pytest.raises(ValueError, match=r"v has shape \(2,\), but x has \(1, 2\)"):
        law.vjp(np.zeros((1, 2)), VP().node(0.5), np.zeros(2))
    with pytest.raises(ValueError, match="basis is not orthogonal"):
        GaussianMixture([1.0], [[0.0, 0.0]], Rotated([[1.0, 1.0], [0.0, 1.0]], [[1.0, 1.0]]))
    with pytest.raises(ValueError, match=r"basis \(2, 2\) and variance \(1, 3\)"):
        GaussianMixture([1.0], [[0.0, 0.0]], Rotated(np.eye(2), [[1.0, 1.0, 1.0]]))
    with pytest.raises(ValueError, match="negative variance"):
        GaussianMixture([1.0], [[0.0, 0.0]], Rotated(np.eye(2), [[1.0, -1.0]]))
