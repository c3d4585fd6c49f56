"""Probability flows on boxes, circles and rays from a pole: against DOP853, and their laws: semigroup, inverse, transport of mass."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from scorebed.analytic.heat import HeatMixture, HeatProduct, heat_flow
from scorebed.solvers.schedule import EDM, VE, VP
from scorebed.solvers.space import SO3, Box, Euclidean, Hyperbolic, Product, Sphere, Torus

N = EDM().node
BOX = HeatMixture(Box(1), [0.3, 0.5, 0.2], [[0.02], [0.3], [0.9]], [0.005, 0.02, 0.001])
CIRCLE = HeatMixture(Torus(1), [0.3, 0.5, 0.2], [[-2.0], [0.3], [1.9]], [0.05, 0.2, 0.01])


def polar(space, weights, times, signs=(1,)):
    pole = space.reference(1, np.random.default_rng(0))
    signs = np.broadcast_to(signs, len(weights)).reshape((-1,) + (1,) * len(space.shape))
    return HeatMixture(space, weights, signs * pole, times)


def laws():
    product = Product(SO3(), Torus(2), Hyperbolic(2), Euclidean(1))
    return {
        "circle": CIRCLE,
        "torus": HeatProduct([CIRCLE, HeatMixture(Torus(1), [0.5, 0.5], [[3.1], [0.0]], 0.02)]),
        "box": BOX,
        "box product": HeatProduct([BOX, HeatMixture(Box(1, -1.0, 3.0), [0.4, 0.6], [[0.0], [2.0]], [0.05, 0.02])]),
        "line": HeatMixture(Euclidean(1), [0.4, 0.6], [[-1.0], [1.0]], [0.1, 0.05]),
        "S1": polar(Sphere(1), [0.4, 0.6], [0.03, 0.5]),
        "S2": polar(Sphere(2), [0.4, 0.6], [0.03, 0.5]),
        "S2, both poles": polar(Sphere(2), [0.4, 0.4, 0.2], [0.1, 0.05, 1.0], (1, -1, 1)),
        "S3": polar(Sphere(3), [0.4, 0.6], [0.03, 0.5]),
        "S3, both poles": polar(Sphere(3), [0.4, 0.6], [0.1, 0.05], (1, -1)),
        "S5": polar(Sphere(5), [1.0], [0.03]),
        "SO3": polar(SO3(), [0.4, 0.6], [0.05, 0.5]),
        "H2": polar(Hyperbolic(2), [0.4, 0.6], [0.05, 0.5]),
        "H3": polar(Hyperbolic(3), [0.4, 0.6], [0.05, 0.5]),
        "product": HeatMixture(product, [1.0], product.reference(1, np.random.default_rng(1)), 0.1),
    }


LAWS = laws()


def integrate(law, x, s, t, speed=0.5):
    """dx/du = -½ score, u = sigma², in ambient coordinates, by DOP853 at the tightest tolerance it has."""
    space = law.space

    def slope(u, y):
        return -speed * law.score(space.project(y.reshape(x.shape)), N(math.sqrt(u))).reshape(-1)

    done = solve_ivp(slope, (s.sigma**2, t.sigma**2), x.reshape(-1), method="DOP853", rtol=1e-12, atol=1e-13)
    assert done.success
    return space.project(done.y[:, -1].reshape(x.shape))


@pytest.mark.parametrize("law", LAWS)
def test_flow_solves_the_ode(law):
    law = LAWS[law]
    noisy, clean = N(1.1), N(0.12)
    x = law.sample(3, 1, noisy)
    exact = integrate(law, x, noisy, clean)
    found = law.flow(x, noisy, clean)
    assert law.space.distance(found, exact).max() < 1e-10
    assert law.space.distance(x, exact).max() > 0.01
    assert law.space.distance(law.flow(found, clean, noisy), x).max() < 1e-9
    assert (law.space.deviation(found) < 1e-12).all()


@pytest.mark.parametrize("law", ["circle", "box", "S2", "SO3", "H3"])
def test_the_wrong_clock_is_another_flow(law):
    law = LAWS[law]
    noisy, clean = N(1.1), N(0.12)
    x = law.sample(3, 1, noisy)
    assert law.space.distance(law.flow(x, noisy, clean), integrate(law, x, noisy, clean, speed=1.0)).max() > 1e-3


@pytest.mark.parametrize("law", LAWS)
def test_flow_is_a_semigroup(law):
    law, (a, b, c) = LAWS[law], (N(1.5), N(0.4), N(0.1))
    x = law.sample(20, 2, a)
    assert law.space.distance(law.flow(law.flow(x, a, b), b, c), law.flow(x, a, c)).max() < 1e-9
    assert law.space.distance(law.flow(x, b, b), x).max() < 1e-14


@pytest.mark.parametrize("law", ["circle", "box", "S2", "S2, both poles", "SO3", "H2"])
def test_flow_carries_the_law_along(law):
    """Draws at a noisy node, carried to a clean one, have its mean log-density; 5 standard errors."""
    law, noisy, clean = LAWS[law], N(1.0), N(0.15)
    carried, drawn = (law.log_prob(x, clean) for x in (law.flow(law.sample(3000, 1, noisy), noisy, clean), law.sample(3000, 2, clean)))
    assert abs(carried.mean() - drawn.mean()) < 5 * math.sqrt((carried.var() + drawn.var()) / 3000)


def test_the_circle_may_turn():
    """A law without symmetry carries mass around the circle: a flow that kept F from a fixed point would miss it."""
    noisy, clean = N(2.5), N(0.12)
    x = np.linspace(-3.1, 3.1, 7)[:, None]
    exact = integrate(CIRCLE, x, noisy, clean)
    assert CIRCLE.space.distance(CIRCLE.flow(x, noisy, clean), exact).max() < 1e-10

    def from_zero(a, node):
        grid = np.linspace(0, a, 2001)
        return np.trapezoid(np.exp(CIRCLE.log_prob(grid[:, None], node)), grid)

    kept = [abs(from_zero(float(p), noisy) - from_zero(float(q), clean)) for p, q in zip(x[:, 0], exact[:, 0], strict=True)]
    assert min(k % 1 for k in kept) > 1e-3


def test_walls_and_poles_stay():
    clean, noisy = N(0.1), N(2.0)
    ends = np.array([[0.0], [1.0]])
    assert np.abs(BOX.flow(ends, noisy, clean) - ends).max() < 1e-12
    for name in ("S2", "S3", "H2", "SO3"):
        law = LAWS[name]
        pole = law.means[:1]
        assert law.space.distance(law.flow(pole, noisy, clean), pole).max() < 1e-12
    antipode = -LAWS["S2"].means[:1]
    assert LAWS["S2"].space.distance(LAWS["S2"].flow(antipode, noisy, clean), antipode).max() < 1e-6


def test_uniform_laws_stand_still():
    """Later than the uniform time nothing moves, and huge sigmas need no more images."""
    for law, x in ((CIRCLE, np.array([[1.0]])), (BOX, np.array([[0.4]]))):
        far = law.flow(x, N(1e3), N(20.0))
        assert np.abs(far - x).max() < 1e-12
        assert np.abs(law.flow(x, N(1e3), N(0.5)) - law.flow(x, N(20.0), N(0.5))).max() < 1e-12


def test_between_two_far_modes():
    """Where the density is e^{-100} of its peak the distribution function is flat; the flow is still exact."""
    law = HeatMixture(Sphere(2), [0.5, 0.5], [[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]], 0.0)
    theta = np.array([1.2, 1.4, 1.5, 1.55])
    x = np.stack([np.sin(theta), 0 * theta, np.cos(theta)], -1)
    s, t = N(0.09), N(0.12)
    assert law.space.distance(law.flow(x, s, t), integrate(law, x, s, t)).max() < 1e-9


def test_refusals():
    law = HeatMixture(Sphere(2), [0.5, 0.5], np.eye(3)[:2], 0.1)
    x = np.eye(3)
    with pytest.raises(ValueError, match="symmetric about a pole"):
        law.flow(x, N(1.0), N(0.1))
    with pytest.raises(ValueError, match="no closed form"):
        HeatMixture(Torus(2), [0.5, 0.5], np.zeros((2, 2)), [0.1, 0.2]).flow(np.zeros((1, 2)), N(1.0), N(0.1))
    with pytest.raises(ValueError, match="alpha"):
        heat_flow(LAWS["S2"], x, VP().node(0.5), N(0.1))
    point = HeatMixture(Sphere(2), [1.0], np.eye(3)[:1], 0.0)
    with pytest.raises(ValueError, match="node t"):
        point.flow(x, N(1.0), N(0.0))
    with pytest.raises(ValueError, match="node s"):
        point.flow(x, N(0.0), N(1.0))
    with pytest.raises(ValueError, match="e\\^-700"):
        point.flow(x, N(0.02), N(0.1))
    assert np.isfinite(LAWS["S2"].flow(x, VE().node(0.9), VE().node(0.2))).all()


def test_one_component_may_be_out_of_reach():
    """A component so narrow at one node that it has no mass at x, and that matters at the other."""
    law = HeatMixture(Sphere(3), [0.7, 0.3], np.eye(4)[[0, 0]], [0.0, 0.02])
    theta = np.array([0.3, 0.6, 0.9, 1.2])
    x = np.stack([np.cos(theta), np.sin(theta), 0 * theta, 0 * theta], -1)
    s, t = N(0.02), N(0.5)
    assert law.space.distance(law.flow(x, s, t), integrate(law, x, s, t)).max() < 1e-9


def test_far_out_in_hyperbolic_space_is_refused():
    law = HeatMixture(Hyperbolic(3), [1.0], [[1.0, 0.0, 0.0, 0.0]], 0.0)
    x = np.array([[math.cosh(9.0), math.sinh(9.0), 0.0, 0.0]])
    with pytest.raises(ValueError, match="e\\^-700"):
        law.flow(x, N(0.1), N(0.5))
