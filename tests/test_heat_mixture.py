"""Mixtures of heat kernels: scores, Tweedie's form, exact draws, wrapped and reflected normals, products, symmetries, bad input."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scorebed.analytic import GaussianMixture
from scorebed.analytic.heat import HeatMixture, HeatProduct
from scorebed.analytic.heat.kernels import kernel_of
from scorebed.analytic.heat.radial import radial_of
from scorebed.solvers.schedule import EDM, VE, VP
from scorebed.solvers.space import SO3, SU2, Box, Euclidean, HalfSpace, Hyperbolic, Product, Simplex, Sphere, Torus

PI = math.pi
N = EDM().node
SPACES = [
    Euclidean(2),
    Torus(2),
    Box(2),
    Box(2, [-1.0, 0.0], [1.0, 3.0]),
    HalfSpace([1.0, 1.0]),
    Sphere(1),
    Sphere(2),
    Sphere(3),
    SU2(),
    SO3(),
    Hyperbolic(2),
    Hyperbolic(3),
    Product(SO3(), Euclidean(3)),
    Product(Sphere(2), Torus(1), Box(1)),
]


def draw(space, n, rng):
    if isinstance(space, HalfSpace):
        return space.project(rng.normal(size=(n, space.dim)))
    return space.reference(n, rng)


def mixture(space, seed=0, times=(0.02, 0.3, 0.15)):
    rng = np.random.default_rng(seed)
    return HeatMixture(space, [0.5, 0.2, 0.3], draw(space, 3, rng), times)


@pytest.mark.parametrize("sigma", [0.05, 0.6])
@pytest.mark.parametrize("space", SPACES, ids=repr)
def test_score_is_the_riemannian_gradient(space, sigma):
    """⟨score, v⟩ against differences of log p along geodesics, by Richardson's extrapolation; and the score is tangent."""
    law, node, rng = mixture(space), N(sigma), np.random.default_rng(3)
    x = law.sample(6, rng, node)
    score = law.score(x, node)
    v = space.noise(x, rng.standard_normal(x.shape))
    assert np.abs(space.tangent(x, score) - score).max() < 1e-10 * (1 + np.abs(score).max())

    def slope(h):
        ends = [law.log_prob(space.exp(x, s * h * v), node) for s in (1, -1)]
        return (ends[0] - ends[1]) / (2 * h)

    h = 2e-3 * max(sigma, 0.1)
    a, b, c = slope(h), slope(h / 2), slope(h / 4)
    ab, bc = (4 * b - a) / 3, (4 * c - b) / 3
    assert np.abs((16 * bc - ab) / 15 - space.inner(x, score, v)).max() < 1e-8 * (1 + np.abs(space.inner(x, score, v)).max())


@pytest.mark.parametrize("space", SPACES, ids=repr)
def test_denoised_is_tweedies_form(space):
    law, node = mixture(space), N(0.3)
    x = law.sample(5, 1, node)
    assert np.array_equal(law.denoised(x, node), x + 0.3 * 0.3 * law.score(x, node))
    assert np.array_equal(law.denoised(x, N(0.0)), x)
    assert law.score.prediction == "score"
    assert law.denoised.prediction == "denoised"


@pytest.mark.parametrize("space", SPACES, ids=repr)
def test_marginals_compose(space):
    law = mixture(space)
    x = law.sample(4, 1, N(1.0))
    direct, twice = law.log_prob(x, N(1.0)), law.marginal(N(0.6)).log_prob(x, N(0.8))
    assert np.abs(direct - twice).max() < 1e-13 * (1 + np.abs(direct).max())


@pytest.mark.parametrize("space", SPACES, ids=repr)
def test_batches_and_dtypes(space):
    law, node = mixture(space), N(0.4)
    x = law.sample(6, 2, node)
    stacked = x.reshape(2, 3, *space.shape)
    assert np.array_equal(law.log_prob(stacked, node).reshape(6), law.log_prob(x, node))
    assert np.allclose(law.score(stacked, node).reshape(x.shape), law.score(x, node), rtol=1e-14, atol=1e-300)
    one = law.log_prob(x[0], node)
    assert one.shape == ()
    assert abs(one - law.log_prob(x, node)[0]) < 1e-12
    assert law.score(x.astype(np.float32), node).dtype == np.float32


# special cases --------------------------------------------------------------------------------------------------------------------------


def images(x, mean, variance, shifts):
    """Σ over image points of normal densities."""
    apart = x[:, None, :] - (mean + shifts)[None]
    return np.exp(-0.5 * (apart**2).sum(-1) / variance).sum(1) / (2 * PI * variance) ** (x.shape[1] / 2)


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.floats(0.02, 3.0))
def test_wrapped_and_reflected_normals(seed, sigma):
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*2 * [np.arange(-9, 10)]), -1).reshape(-1, 2)
    torus = HeatMixture(Torus(2), [0.4, 0.6], rng.uniform(-PI, PI, (2, 2)), 0.05)
    x, t = rng.uniform(-PI, PI, (9, 2)), 0.05 + sigma**2
    direct = sum(w * images(x, m, t, 2 * PI * grid) for w, m in zip(torus.weights, torus.means, strict=True))
    assert np.abs(torus.log_prob(x, N(sigma)) - np.log(direct)).max() < 1e-11
    box = HeatMixture(Box(2), [0.4, 0.6], rng.uniform(0, 1, (2, 2)), 0.01)
    x, t = rng.uniform(0, 1, (9, 2)), 0.01 + min(sigma, 1.0) ** 2
    signs = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]])
    direct = sum(w * images(x, s * m, t, 2 * grid) for w, m in zip(box.weights, box.means, strict=True) for s in signs)
    assert np.abs(np.exp(box.log_prob(x, N(min(sigma, 1.0)))) / direct - 1).max() < 1e-11


def test_flat_space_is_the_gaussian_mixture():
    law, node = mixture(Euclidean(2)), N(0.7)
    plain = GaussianMixture(law.weights, law.means, law.times)
    x = law.sample(20, 1, node)
    assert np.abs(law.log_prob(x, node) - plain.log_prob(x, node)).max() < 1e-13
    assert np.abs(law.denoised(x, node) - plain.denoised(x, node)).max() < 1e-13


def test_half_space_by_its_image():
    law, node = HeatMixture(HalfSpace([1.0, 0.0]), [1.0], [[-0.3, 0.2]], 0.1), N(0.5)
    both = GaussianMixture([0.5, 0.5], [[-0.3, 0.2], [0.3, 0.2]], 0.1)
    x = law.sample(20, 1, node)
    assert (x[:, 0] <= 0).all()
    assert np.abs(law.log_prob(x, node) - both.log_prob(x, node) - math.log(2)).max() < 1e-13
    assert np.abs(law.score(x, node) - both.score(x, node)).max() < 1e-12


def test_circle_is_the_first_torus_and_the_first_sphere():
    rng, node = np.random.default_rng(1), N(0.8)
    mean, x = rng.uniform(-PI, PI, (2, 1)), rng.uniform(-PI, PI, (9, 1))

    def on(a):
        return np.concatenate([np.cos(a), np.sin(a)], -1)

    torus, circle = (HeatMixture(s, [0.3, 0.7], m, [0.1, 0.3]) for s, m in ((Torus(1), mean), (Sphere(1), on(mean))))
    assert np.abs(torus.log_prob(x, node) - circle.log_prob(on(x), node)).max() < 1e-13
    along = (circle.score(on(x), node) * np.concatenate([-np.sin(x), np.cos(x)], -1)).sum(-1)
    assert np.abs(along - torus.score(x, node)[:, 0]).max() < 1e-12


def test_rotations_are_half_the_quaternions():
    """K^{SO(3)}_t(ω) 8 = K^{SU(2)}_{t/4}(ω/2) + K^{SU(2)}_{t/4}(π - ω/2), as mixtures: q and -q."""
    q, t = SU2().uniform(6, np.random.default_rng(0)), 0.4
    w, v = q[:, 0], q[:, 1:]
    hat = SO3.hat(v)
    rotate = np.eye(3) + 2 * w[:, None, None] * hat + 2 * hat @ hat
    law = HeatMixture(SO3(), [1.0], rotate[:1], t)
    double = HeatMixture(SU2(), [0.5, 0.5], np.stack([q[0], -q[0]]), t / 4)
    assert np.abs(law.log_prob(rotate) - double.log_prob(q) - math.log(2 / 8)).max() < 1e-12


def test_products_add_up():
    parts = [mixture(space, seed) for seed, space in enumerate((SO3(), Torus(2), Hyperbolic(2), Box(1)))]
    law, node = HeatProduct(parts), N(0.4)
    x = law.sample(5, 3, node)
    pieces = law.space.split(x)
    assert law.k == 81
    assert np.array_equal(law.log_prob(x, node), sum(p.log_prob(y, node) for p, y in zip(parts, pieces, strict=True)))
    assert np.array_equal(law.denoised(x, node), x + 0.4 * 0.4 * law.score(x, node))
    torus = HeatProduct([mixture(Torus(1), seed) for seed in (1, 2)])
    assert isinstance(torus.space, Torus)
    assert torus.space.dim == 2
    full = HeatMixture(
        Torus(2),
        np.outer(torus.factors[0].weights, torus.factors[1].weights).reshape(-1),
        [[a, b] for a in torus.factors[0].means[:, 0] for b in torus.factors[1].means[:, 0]],
        0.0,
    )
    same = HeatProduct([HeatMixture(Torus(1), f.weights, f.means, 0.0) for f in torus.factors])
    y = same.sample(7, 1, node)
    assert np.abs(full.log_prob(y, node) - same.log_prob(y, node)).max() < 1e-12
    assert np.abs(full.score(y, node) - same.score(y, node)).max() < 1e-10


# draws ----------------------------------------------------------------------------------------------------------------------------------


def sup_distance(r, cdf):
    """√n times the Kolmogorov-Smirnov distance."""
    u = np.sort(cdf(r))
    n = len(u)
    return math.sqrt(n) * max((np.arange(1, n + 1) / n - u).max(), (u - np.arange(n) / n).max())


@pytest.mark.parametrize("t", [1e-3, 0.3, 2.0])
@pytest.mark.parametrize("space", [s for s in SPACES if radial_of(s) is not None and not isinstance(s, Box)], ids=repr)
def test_draws_have_the_radial_law(space, t):
    """Distances from the mean by their distribution function (5.0 = 1 - 4e-22), directions by their mean."""
    mean = space.reference(1, np.random.default_rng(1))
    x = HeatMixture(space, [1.0], mean, t).sample(4000, 5)
    assert (space.deviation(x) < 1e-12).all()
    law = radial_of(space).law(t)
    assert sup_distance(space.distance(mean, x), lambda r: np.exp(law.logs(r)[0])) < 2.0
    towards = space.log(np.broadcast_to(mean, x.shape), x)
    unit = towards / space.norm(mean, towards)[(..., *(None,) * len(space.shape))]
    length = space.norm(mean, unit.mean(0, keepdims=True))[0]
    assert length < 4.5 / math.sqrt(4000)


@pytest.mark.parametrize("space", [Torus(1), Box(1), Box(1, -1.0, 2.0)], ids=repr)
@pytest.mark.parametrize("sigma", [0.0, 0.2, 1.5])
def test_draws_on_the_line(space, sigma):
    law = HeatMixture(space, [0.4, 0.6], space.uniform(2, np.random.default_rng(2)), [0.02, 0.1])
    x = law.sample(40000, 7, N(sigma))[:, 0]
    low, high = (-PI, PI) if isinstance(space, Torus) else (space.lower[0], space.upper[0])
    edges = np.linspace(low, high, 4001)[:, None]
    density = np.exp(law.log_prob(edges, N(sigma)))
    cdf = np.concatenate([[0], np.cumsum(0.5 * (density[1:] + density[:-1]) * np.diff(edges[:, 0]))])
    assert abs(cdf[-1] - 1) < 1e-5
    assert sup_distance(x, lambda p: np.interp(p, edges[:, 0], cdf)) < 2.0


@pytest.mark.parametrize("t", [0.2, 1.0])
def test_first_modes_decay_at_their_rates(t):
    """E cos(first mode) = e^{-λt}, by Monte Carlo with 5 standard errors: the clock of the sampler."""
    n = 20000
    north = np.eye(4)[:1]
    s = HeatMixture(Sphere(3), [1.0], north, t).sample(n, 1)[:, 0]
    r = np.trace(HeatMixture(SO3(), [1.0], np.eye(3)[None], t).sample(n, 2), axis1=1, axis2=2)
    c = np.cos(HeatMixture(Torus(1), [1.0], [[0.0]], t).sample(n, 3)[:, 0])
    b = np.cos(PI * HeatMixture(Box(1), [1.0], [[0.0]], t).sample(n, 4)[:, 0])
    h = HeatMixture(Hyperbolic(2), [1.0], [[1.0, 0.0, 0.0]], 0.2 * t).sample(n, 5)[:, 0]
    for values, exact in (
        (s, math.exp(-1.5 * t)),
        (r, 3 * math.exp(-t)),
        (c, math.exp(-t / 2)),
        (b, math.exp(-(PI**2) * t / 2)),
        (h, math.exp(0.2 * t)),
    ):
        assert abs(values.mean() - exact) < 5 * values.std() / math.sqrt(n)


def test_point_masses_stay_where_they_are():
    law = HeatMixture(Sphere(2), [0.5, 0.5], np.eye(3)[:2], 0.0)
    x = law.sample(50, 0)
    assert set(map(tuple, x)) == {(1.0, 0.0, 0.0), (0.0, 1.0, 0.0)}
    assert np.isfinite(law.log_prob(x, N(1e-4))).all()


def test_many_points_in_bounded_memory():
    law = HeatMixture(Sphere(2), np.full(40, 1 / 40), Sphere(2).uniform(40, np.random.default_rng(0)), 0.2)
    x = Sphere(2).uniform(3000, np.random.default_rng(1))
    assert np.isfinite(law.score(x, N(1.6))).all()


@pytest.mark.parametrize("sigma", [1e-4, 0.1, 2.0])
@pytest.mark.parametrize("space", SPACES, ids=repr)
def test_finite_everywhere(space, sigma):
    """At the means, at cut loci, in corners, on walls, a long way off."""
    law, rng = mixture(space, times=0.0), np.random.default_rng(0)
    x = [law.means, draw(space, 4, rng)]
    if isinstance(space, Sphere):
        x.append(-law.means)
    if isinstance(space, SO3):
        x.append(law.means @ np.diag([-1.0, -1.0, 1.0]))
    if isinstance(space, Torus):
        x.append(Torus(2).project(law.means + PI))
    if isinstance(space, Box):
        x += [np.array([space.lower, space.upper])]
    x = np.concatenate(x)
    for value in (law.log_prob(x, N(sigma)), law.score(x, N(sigma)), law.denoised(x, N(sigma))):
        assert np.isfinite(value).all()


# bad input ------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"weights": [0.5, 0.4]}, "sum to"),
        ({"weights": [1.5, -0.5]}, "negative"),
        ({"weights": [math.nan, 1.0]}, "nan"),
        ({"means": [[1.0, 0.0], [0.0, 1.0]]}, "means has shape"),
        ({"means": [[1.0, 1.0, 0.0], [0.0, 1.0, 0.0]]}, "means is not in"),
        ({"times": [0.1, -0.1]}, "times\\[1\\] = -0.1 is negative"),
        ({"times": [0.1, 0.1, 0.1]}, "times has shape"),
        ({"weights": [], "means": np.zeros((0, 3))}, "means has shape"),
    ],
)
def test_bad_parameters(arguments, words):
    fine = {"weights": [0.5, 0.5], "means": [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], "times": 0.1}
    with pytest.raises(ValueError, match=words):
        HeatMixture(Sphere(2), **{**fine, **arguments})


def test_bad_requests():
    law = HeatMixture(Sphere(2), [0.5, 0.5], np.eye(3)[:2], [0.0, 0.1])
    with pytest.raises(ValueError, match="point mass"):
        law.log_prob(np.eye(3))
    with pytest.raises(ValueError, match="alpha = "):
        law.score(np.eye(3), VP().node(0.5))
    with pytest.raises(ValueError, match="shape"):
        law.score(np.eye(2), N(1.0))
    with pytest.raises(ValueError, match="nan or inf"):
        law.score(np.full((1, 3), math.nan), N(1.0))
    with pytest.raises(TypeError, match="real numbers"):
        law.score("x", N(1.0))
    for n in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match="n = "):
            law.sample(n, 0)
    with pytest.raises(TypeError, match="no heat kernel"):
        HeatMixture(Simplex(2), [1.0], [[0.3, 0.3, 0.4]], 0.1)
    with pytest.raises(TypeError, match="no heat kernel"):
        kernel_of(object())
    with pytest.raises(ValueError, match="empty"):
        HeatProduct([])
    with pytest.raises(TypeError, match="HeatMixtures"):
        HeatProduct([GaussianMixture([1.0], [0.0], 1.0)])
    assert np.isfinite(law.score(np.eye(3), VE().node(0.3))).all()
