"""Exact maps: Jacobians by complex step and by differences, derivatives in time, the average velocity and its identities, inverses."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import erfc

from scorebed.analytic import GaussianMixture, RotatedProduct
from scorebed.analytic.gaussian.mixture import CLEAN
from scorebed.analytic.heat import HeatMixture
from scorebed.analytic.process.maps import FlowMap
from scorebed.analytic.process.reflow import Reflow
from scorebed.solvers import EDM, VE, VP, RectifiedFlow, SubVP
from scorebed.solvers.space import SO3, Box, Hyperbolic, Sphere, Torus
from scorebed.toy.problems.lines import modes

TURN = np.array([[0.8, -0.6], [0.6, 0.8]])
LAWS: dict[str, Any] = {
    "gaussian": GaussianMixture([1.0], [[0.5, -1.0]], [[[1.0, 0.3], [0.3, 0.2]]]),
    "line": modes(),
    "product": RotatedProduct(TURN, [modes(), GaussianMixture([0.4, 0.6], [-1.0, 1.2], [0.1, 0.2])]),
}
PROCESSES = {"VP": (VP(), 0.8, 0.3), "EDM": (EDM(), 3.0, 0.4), "RectifiedFlow": (RectifiedFlow(), 0.85, 0.2), "SubVP": (SubVP(), 0.7, 0.25)}


def setting(law: str, process: str) -> tuple[FlowMap, np.ndarray, Any, Any]:
    schedule, s, t = PROCESSES[process]
    exact = LAWS[law]
    return FlowMap(exact), exact.sample(40, 1, schedule.node(s)), schedule.node(s), schedule.node(t)


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("law", LAWS)
def test_identities_hold_to_1e_10(law: str, process: str) -> None:
    """Average velocity, tangent, semigroup, inverse, log-determinant, and g → D"""
    f, x, s, t = setting(law, process)
    middle = s.schedule.node(0.5 * (s.t + t.t))
    size = float(np.abs(f.velocity(x, s)).max())
    np.testing.assert_allclose(f(f(x, s, middle), middle, t), f(x, s, t), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(f.inverse(f(x, s, t), s, t), x, rtol=1e-10, atol=1e-10)
    u, v = f.average_velocity(x, s, t), f.velocity(x, s)
    np.testing.assert_allclose(f.average_derivative(x, s, t), (u - v) / (t.t - s.t), rtol=0.0, atol=1e-10 * size / (s.t - t.t))
    z, w = np.polynomial.legendre.leggauss(24)  # the mean of v over the flow, in pieces
    total, cuts = 0.0 * x, np.linspace(s.t, t.t, 9)
    for a, b in pairwise(cuts):
        for zi, wi in zip(z, w, strict=True):
            node = s.schedule.node(0.5 * (a + b) + 0.5 * (b - a) * zi)
            total = total + 0.5 * (b - a) * wi * f.velocity(f(x, s, node), node)
    np.testing.assert_allclose(total / (t.t - s.t), u, rtol=0.0, atol=1e-10 * size)
    np.testing.assert_allclose(f.tangent(lambda y, n: f(y, n, t), x, s), 0.0 * x, atol=1e-10 * size)
    along = f.tangent(lambda y, n: f.average_velocity(y, n, t), x, s)  # by differences on the path, where the identity is by formulas
    np.testing.assert_allclose(f.average_derivative(x, s, t), along, atol=1e-8 * float(np.abs(along).max()))
    h = 3e-3 * s.t  # ∂_s at a fixed x
    ends = [f(x, s.schedule.node(s.t + k * h), t) - f(x, s.schedule.node(s.t - k * h), t) for k in (1, 2, 3, 4)]
    fixed = sum(w * end for w, end in zip((0.8, -0.2, 4 / 105, -1 / 280), ends, strict=True)) / h
    np.testing.assert_allclose(f.by_start(x, s, t), fixed, atol=1e-7 * float(np.abs(fixed).max()))
    np.testing.assert_allclose(f.by_start(x, s, t) + f.jvp(x, s, t, v), 0.0 * x, atol=1e-10)
    np.testing.assert_allclose(f.log_det(x, s, t), np.linalg.slogdet(f.jacobian(x, s, t))[1], rtol=1e-10, atol=1e-10)
    d = f.law.denoised(x, s)
    near = s.schedule.node(s.t * (1.0 - 1e-6))
    np.testing.assert_allclose(f.denoised(x, s, near), d, atol=2e-5)
    np.testing.assert_array_equal(f.denoised(x, s, s), d)


@pytest.mark.parametrize("process", PROCESSES)
def test_the_mean_of_v_takes_over_where_the_difference_loses_digits(process: str) -> None:
    f, x, s, _ = setting("line", process)
    ends = [s.schedule.node(s.t * (1.0 - h)) for h in (1.001e-3, 0.999e-3, 1e-7)]
    u = [f.average_velocity(x, s, t) for t in ends]
    size = float(np.abs(u[0]).max())
    np.testing.assert_allclose(u[1], u[0], atol=1e-4 * size)
    np.testing.assert_allclose(u[2], f.velocity(x, s), atol=1e-5 * size)
    np.testing.assert_array_equal(f.average_velocity(x, s, s), f.velocity(x, s))
    plain = (f(x, s, ends[1]) - x) / (ends[1].t - s.t)
    np.testing.assert_allclose(u[1], plain, atol=1e-10 * size)


def complex_flow(law: GaussianMixture, x: np.ndarray, s: Any, t: Any) -> np.ndarray:
    """The flow of a 1-D mixture in complex arithmetic: Newton on F_t(y) = F_s(x) from the real solution."""

    def cdf(z: np.ndarray, n: Any) -> tuple[np.ndarray, np.ndarray]:
        line = law.line(n)
        q = (z[:, None] - line.means) / line.scales
        return 0.5 * erfc(-q / np.sqrt(2.0)) @ line.weights, np.exp(-0.5 * q * q) / np.sqrt(2 * np.pi) @ (line.weights / line.scales)

    goal = cdf(x, s)[0]
    y = np.asarray(law.flow(x.real[:, None], s, t))[:, 0].astype(complex)
    for _ in range(4):
        value, slope = cdf(y, t)
        y = y - (value - goal) / slope
    return y


@pytest.mark.parametrize("process", PROCESSES)
def test_jacobians_are_those_of_the_complex_step(process: str) -> None:
    """On the line by Newton in complex arithmetic, on the product coordinate by coordinate, on the Gaussian by the affine map."""
    f, x, s, t = setting("line", process)
    h = 1e-30
    exact = complex_flow(f.law, x[:, 0] + 1j * h, s, t).imag / h
    np.testing.assert_allclose(f.jvp(x, s, t, np.ones_like(x))[:, 0], exact, rtol=1e-10)
    f, x, s, t = setting("product", process)
    v = np.random.default_rng(0).standard_normal(x.shape)
    y, dy = x @ TURN, v @ TURN
    parts = [complex_flow(one, y[:, i] + 1j * h * dy[:, i], s, t).imag / h for i, one in enumerate(f.law.factors)]
    np.testing.assert_allclose(f.jvp(x, s, t, v), np.stack(parts, 1) @ TURN.T, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(np.sum(f.vjp(x, s, t, v) * x, 1), np.sum(f.jvp(x, s, t, x) * v, 1), rtol=1e-10, atol=1e-10)
    f, x, s, t = setting("gaussian", process)
    a, b = f.affine(s, t)
    np.testing.assert_allclose(((x + 1j * h * v) @ a.T + b).imag / h, f.jvp(x, s, t, v), rtol=1e-10, atol=1e-10)


SPACES: dict[str, HeatMixture] = {
    "sphere": HeatMixture(Sphere(2), [0.7, 0.3], [[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]], [0.1, 0.2]),
    "sphere3": HeatMixture(Sphere(3), [1.0], [[0.0, 0.0, 0.0, 1.0]], 0.1),
    "hyperbolic": HeatMixture(Hyperbolic(2), [1.0], Hyperbolic(2).origin[None], 0.2),
    "rotations": HeatMixture(SO3(), [1.0], np.eye(3)[None], 0.3),
    "circle": HeatMixture(Torus(1), [0.4, 0.6], [[0.5], [2.5]], [0.1, 0.2]),
    "interval": HeatMixture(Box(1), [0.4, 0.6], [[0.2], [0.7]], [0.01, 0.02]),
}


@pytest.mark.parametrize("name", SPACES)
def test_on_spaces_the_jacobian_is_that_of_differences_and_its_transpose_its_own(name: str) -> None:
    law = SPACES[name]
    space, f = law.space, FlowMap(law)
    s, t = (EDM().node(z) for z in ((0.9, 0.25) if name != "interval" else (0.3, 0.05)))
    rng = np.random.default_rng(2)
    x = law.sample(25, rng, s)
    v, w = (np.asarray(space.tangent(x, rng.standard_normal(x.shape))) for _ in range(2))
    h, y = 2e-4, np.asarray(f(x, s, t))
    one, two = (
        (np.asarray(space.log(y, f(space.exp(x, k * h * v), s, t))) - np.asarray(space.log(y, f(space.exp(x, -k * h * v), s, t))))
        / (2 * k * h)
        for k in (1, 2)
    )
    exact = np.asarray(f.jvp(x, s, t, v))
    scale = np.abs(exact).max()
    np.testing.assert_allclose((4.0 * one - two) / 3.0, exact, atol=2e-6 * scale)
    there = np.asarray(space.tangent(y, rng.standard_normal(x.shape)))
    np.testing.assert_allclose(space.inner(y, exact, there), space.inner(x, v, f.vjp(x, s, t, there)), rtol=1e-9, atol=1e-9 * scale)
    np.testing.assert_allclose(f.inverse(y, s, t), x, atol=1e-8)
    u = f.average_velocity(x, s, t)
    np.testing.assert_allclose(space.exp(x, (t.t - s.t) * u), y, atol=1e-9)
    path = [(k, EDM().node(s.t * (1.0 + k * 1e-3))) for k in (-1, 1)]  # du/ds along the flow, carried back to x
    moved = [np.asarray(space.transport(f(x, s, n), x, f.average_velocity(f(x, s, n), n, t))) for _, n in path]
    du = (moved[1] - moved[0]) / (2e-3 * s.t)
    np.testing.assert_allclose(f.average_derivative(x, s, t), du, atol=1e-5 * np.abs(du).max())
    base = [np.asarray(space.tangent(x, rng.standard_normal(x.shape))) for _ in range(space.dim)]

    def volume(vectors: list[np.ndarray], at: np.ndarray) -> np.ndarray:
        return np.linalg.slogdet(np.array([[space.inner(at, a, b) for a in vectors] for b in vectors]).transpose(2, 0, 1))[1]

    stretched = 0.5 * (volume([np.asarray(f.jvp(x, s, t, a)) for a in base], y) - volume(base, x))
    np.testing.assert_allclose(f.log_det(x, s, t), stretched, atol=1e-8)
    np.testing.assert_allclose(f.tangent(lambda q, n: f(q, n, t), x, s), 0.0 * x, atol=1e-8)
    plus, minus = (np.asarray(f(x, s, EDM().node(t.t * (1.0 + k)))) for k in (1e-5, -1e-5))
    np.testing.assert_allclose(
        (np.asarray(space.log(y, plus)) - space.log(y, minus)) / (2e-5 * t.t), f.by_end(x, s, t), atol=1e-6 * (1 + scale)
    )
    assert w.shape == x.shape


def test_pairs_keep_both_marginals_and_the_coupling_of_the_flow() -> None:
    f, s = FlowMap(modes()), VP().node(0.9)
    x, y = f.pairs(4000, 3, s)
    assert np.abs(np.sort(modes().cdf(y[:, 0])) - (np.arange(4000) + 0.5) / 4000).max() < 0.03
    np.testing.assert_allclose(modes().cdf(y), modes().marginal(s).cdf(x), atol=1e-9)


def test_arguments_that_have_no_answer_are_refused() -> None:
    f, s = FlowMap(modes()), VP().node(0.5)
    x = np.zeros((3, 1))
    for wrong, words in (
        (lambda: f.velocity(x, CLEAN), "has no schedule"),
        (lambda: f.tangent(f.endpoint, x, CLEAN), "make it by schedule.node"),
        (lambda: f.average_derivative(x, s, s), "between two nodes"),
        (lambda: f.jvp(x, s, VP().node(0.1), np.zeros((2, 1))), "one vector for each state"),
        (lambda: FlowMap(GaussianMixture([0.5, 0.5], np.eye(2), 0.1)).jvp(np.zeros((1, 2)), s, CLEAN, np.zeros((1, 2))), "no closed form"),
        (lambda: f(np.zeros((3, 2)), s), "1 dimensions"),
        (lambda: FlowMap(modes()).affine(s), "affine where there is one"),
    ):
        with pytest.raises(ValueError, match=words):
            wrong()


def test_other_libraries_and_precisions_come_back_as_they_came() -> None:
    f, s, t = FlowMap(modes()), VE().node(0.7), VE().node(0.2)
    for x in (torch.linspace(-1.0, 1.0, 5, dtype=torch.float32)[:, None], np.linspace(-1.0, 1.0, 5, dtype=np.float32)[:, None]):
        v = 0.0 * x + 1.0
        for out in (f(x, s, t), f.jvp(x, s, t, v), f.vjp(x, s, t, v), f.velocity(x, s), f.average_velocity(x, s, t), f.log_det(x, s, t)):
            assert type(out) is type(x)
            assert out.dtype == x.dtype


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("law", LAWS)
def test_paths_of_a_reflow_are_straight_and_end_where_the_flow_does(law: str, process: str) -> None:
    """S_w(Z) = w Z + (1 − w) T(Z) is undone, the velocity is dx/dt of it, and the law at the ends is the marginal."""
    f, z, s, t = setting(law, process)
    y, paths = f(z, s, t), Reflow(f.law, s, t)
    for w in (1.0, 0.7, 0.05, 0.0):
        u = s.schedule.node(t.t + w * (s.t - t.t))
        x = w * z + (1.0 - w) * y
        np.testing.assert_allclose(paths.begin(x, u), z, atol=1e-11)
        np.testing.assert_allclose(paths(x, u, t), y, atol=1e-11)
        np.testing.assert_allclose(paths.velocity(x, u), (z - y) / (s.t - t.t), atol=1e-11)
    if law == "line":
        np.testing.assert_allclose(paths.cdf(y, t), f.law.marginal(t).cdf(y), atol=1e-10)
        middle = s.schedule.node(0.5 * (s.t + t.t))
        assert np.abs(np.ravel(paths.cdf(x, middle)) - np.ravel(f.law.marginal(middle).cdf(x))).max() > 1e-3  # not that of the process


def test_a_reflow_of_far_modes_is_exact_and_what_has_none_is_refused() -> None:
    """Between modes 40 standard deviations apart T is as steep as e^{200}."""
    law, (s, t) = GaussianMixture([0.5, 0.5], [-2.0, 2.0], [0.01, 0.01]), (RectifiedFlow().node(z) for z in (1.0, 0.0))
    z = law.sample(50, 0, s)
    y = law.flow(z, s, t)
    paths = Reflow(law, s, t)
    np.testing.assert_allclose(paths.begin(0.02 * z + 0.98 * y, RectifiedFlow().node(0.02)), z, atol=1e-12)
    for wrong, words in (
        (lambda: Reflow(GaussianMixture([0.5, 0.5], np.eye(2), 0.1), s, t), "no closed straight paths"),
        (lambda: Reflow(SPACES["sphere"], s, t), "no closed straight paths"),
        (lambda: Reflow(law, s, s), "give two times"),
        (lambda: Reflow(law, RectifiedFlow().node(0.5), t).velocity(z, s), "not between the ends"),
    ):
        with pytest.raises(ValueError, match=words):
            wrong()
