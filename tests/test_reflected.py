"""Reflected diffusions: the exact laws of their chains, the probability flow at walls, and what thresholding is."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr

from scorebed.analytic.heat import HeatMixture
from scorebed.solvers import EDM, SOLVERS, Node, methods_on, sample
from scorebed.solvers.grid import karras
from scorebed.solvers.space import Box, HalfSpace, Polytope, Simplex
from scorebed.toy.figures.reflected import draw
from scorebed.toy.measure.convergence import order_of
from scorebed.toy.measure.reflected_law import SCHEMES, chain, clock_grid, measure, orders, weak_error
from scorebed.toy.problems.walled_chain import WalledChain
from scorebed.toy.properties.space_cases import space_cases
from scorebed.toy.properties.spaces import to_origin

ODES = [name for name, method in methods_on().items() if method.weak is None and "Box" in method.spaces]
WALLS = [
    name
    for name in methods_on()
    if name in ("reflected_euler", "projected_euler", "thresholded_euler", "reflected_heun", "reflected_walk", "reflected_pc")
]


def two(x: float, y: float, tau: float) -> HeatMixture:
    return HeatMixture(Box(2), [0.7, 0.3], [[x, y], [1.0 - y, 0.5 * x]], [tau, 2.0 * tau])


# weak orders by the exact law


def fold(y: np.ndarray) -> np.ndarray:
    return np.abs(np.mod(y + 1.0, 2.0) - 1.0)


STEP = {
    "projected_euler": lambda x, y: np.clip(y, 0.0, 1.0),
    "penalised_euler": lambda x, y: y - 0.5 * (x - np.clip(x, 0.0, 1.0)),
    "reflected_euler": lambda x, y: fold(y),
}
"""The end of a step from x, for y = Πx + h score(Πx) + √h z."""


def by_density(name: str, grid: list[Node]) -> float:
    """The error of E cos 2πx from the closed transition densities, on panels of Gauss-Legendre nodes, and of no solver.

    fold    (P f)(x) = ∫ f(u) [φ_h(u − m) + φ_h(−u − m) + φ_h(2 − u − m)] du        for √h ≪ 1
    clip    (P f)(x) = ∫ f(u) φ_h(u − m) du + f(0) Φ(−m/√h) + f(1) Φ((m − 1)/√h)
    """
    law, (points, weights) = chain().target, np.polynomial.legendre.leggauss(16)
    outside = np.linspace(0.1, 2.0, 20) if name == "penalised_euler" else np.empty(0)
    ends = np.concatenate([-outside[::-1], np.linspace(0.0, 1.0, 11), 1.0 + outside])
    half = 0.5 * np.diff(ends)[:, None]
    x = np.concatenate([[0.0, 1.0], (ends[:-1, None] + half * (1.0 + points)).reshape(-1)])
    w = np.concatenate([[0.0, 0.0], (half * weights).reshape(-1)])
    inside = np.clip(x, 0.0, 1.0)
    held = w * ((x >= 0.0) & (x <= 1.0))

    def phi(y: np.ndarray) -> np.ndarray:
        return np.exp(-0.5 * np.square((y - m) / root)) / (root * math.sqrt(2.0 * math.pi))

    def mean(f: np.ndarray, node: Node) -> float:
        density = held * np.exp(law.log_prob(inside[:, None], node))
        return float(density @ f / density.sum())

    f = np.cos(2.0 * math.pi * inside)
    wanted = mean(f, grid[-1])
    for s, t in reversed(list(pairwise(grid))):
        root = math.sqrt(s.sigma**2 - t.sigma**2)
        m = inside + root * root * law.score(inside[:, None], s)[:, 0]
        m = (m if name != "penalised_euler" else m - 0.5 * (x - inside))[:, None]
        if name == "reflected_euler":
            f = sum((phi(y) * held) @ f for y in (x, -x, 2.0 - x))
        elif name == "projected_euler":
            f = (phi(x) * held) @ f + (ndtr(-m / root) * f[0] + ndtr((m - 1.0) / root) * f[1])[:, 0]
        else:
            f = (phi(x) * w) @ f
    return mean(f, grid[0]) - wanted


@pytest.mark.parametrize("name", STEP)
def test_the_densities_are_those_of_the_solver(name: str) -> None:
    law, (s, t) = chain().target, clock_grid(8)[:2]
    rng = np.random.default_rng(0)
    x, z = rng.uniform(-0.2, 1.2, (50, 1)), rng.standard_normal((50, 1))
    x = x if name == "penalised_euler" else np.clip(x, 0.0, 1.0)
    inside = np.clip(x, 0.0, 1.0)
    y = inside + (s.sigma**2 - t.sigma**2) * law.score(inside, s) + math.sqrt(s.sigma**2 - t.sigma**2) * z
    found, _ = SCHEMES[name](space=Box(1)).step(law.denoised, x, s, t, None, lambda a, b: z)
    np.testing.assert_allclose(found, STEP[name](x, y), atol=1e-13)


@pytest.mark.parametrize("name", STEP)
@pytest.mark.parametrize("n", [4, 8, 32])
def test_the_chain_of_the_steps_has_the_law_of_the_densities(name: str, n: int) -> None:
    """Where the transition density is known, quadrature over the method's own step finds the same error."""
    assert weak_error(SCHEMES[name], n) == pytest.approx(abs(by_density(name, clock_grid(n))), abs=3e-9, rel=1e-6)


def test_a_chain_refuses_what_it_does_not_see() -> None:
    grid, method = clock_grid(2), SOLVERS["projected_euler"](space=Box(1))

    def twice(denoise: Any, x: Any, s: Node, t: Node, carry: Any, noise: Any) -> Any:
        return np.clip(x + 0.1 * (noise(s, s.toward(t, 0.5)) + noise(s, t)), 0.0, 1.0), None

    def wild(denoise: Any, x: Any, s: Node, t: Node, carry: Any, noise: Any) -> Any:
        return np.clip(x + np.sin(9.0 * noise(s, t)), 0.0, 1.0), None

    for step, words in ((twice, "draws 2 times in a step"), (wild, "meets a wall at several values")):
        with pytest.raises(ValueError, match=words):
            WalledChain(chain().target).error(replace(method, step=step), grid)


def test_projection_has_weak_order_a_half_and_reflection_one() -> None:
    frame = measure(steps=(32, 64, 128))
    found = orders(frame)
    for name, order in found.items():
        assert order.inside(float(frame[frame.scheme == name].claimed.iloc[0])), (name, str(order))
    assert found["projected_euler"].slope < 0.6 < 0.9 < found["reflected_euler"].slope < 1.2 < found["reflected_heun"].slope
    assert list(frame.columns) == ["scheme", "claimed", "steps", "h", "error"]
    figure = draw(frame)
    assert len(figure.axes[0].get_legend().get_texts()) == len(SCHEMES)
    matplotlib.pyplot.close(figure)


def test_the_slope_of_projection_rises_to_a_half() -> None:
    """The error is c √h + O(h) with the two of opposite sign: its slope comes to ½ from below."""
    errors = [weak_error(SOLVERS["projected_euler"], n) for n in (16, 64, 256)]
    slopes = [order_of((1, 4), pair).slope for pair in pairwise(errors)]
    assert slopes[0] < slopes[1] < 0.5
    c = [4.0 * e for e in (errors[1] - 0.25 * errors[0], errors[2] - 0.25 * errors[1])]  # the √h term, O(h) cancelled
    assert order_of((1, 4), c).slope == pytest.approx(0.5, abs=0.02)


# the probability flow at walls


@pytest.mark.parametrize("name", ODES)
def test_the_flow_needs_no_reflection(name: str) -> None:
    """The normal part of the score vanishes at a wall: a start there stays there exactly, and the same method without walls, on R²,
    takes the same steps, since none of them leaves the box."""
    law, grid = two(0.2, 0.9, 0.02), karras(EDM(), 12, 0.4, 0.05)
    x = np.array([[0.0, 0.3], [0.4, 1.0], [1.0, 0.0], [1e-12, 0.5], [0.999999, 0.2], [0.3, 0.7]])
    run = sample(SOLVERS[name](space=Box(2)), law.denoised, x, grid, terminal="none", record=True)
    free = sample(SOLVERS[name], law.denoised, x, grid, terminal="none", record=True)
    np.testing.assert_allclose(np.stack(run.xs), np.stack(free.xs), atol=1e-13)
    for state in free.xs:
        assert np.abs(np.minimum(state, 1.0 - state)[:3][[0, 1, 2, 2], [0, 1, 0, 1]]).max() < 1e-13
        assert state.min() >= -1e-15
        assert state.max() <= 1.0 + 1e-15


def test_order_does_not_suffer_at_the_walls() -> None:
    case = next(one for one in space_cases() if one.name == "Box(2), 1 point")
    (s, t), x = case.ends, np.array([[1e-3, 0.5], [0.999, 1e-2], [0.0, 0.2]])
    exact = case.target.flow(x, s, t)
    for name in ("geodesic_heun", "rkmk_4"):
        steps = (64, 128, 256)
        run = [sample(SOLVERS[name](space=case.space), case.target.denoised, x, case.nodes(n), terminal="none") for n in steps]
        assert order_of(steps, [float(np.abs(end - exact).max()) for end in run]).inside(SOLVERS[name].order)


# thresholding


@settings(max_examples=25)
@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0), st.floats(0.001, 1.0), st.floats(0.01, 3.0))
def test_the_denoised_of_a_reflected_law_is_in_the_box(x: float, y: float, tau: float, sigma: float) -> None:
    grid = np.linspace(0.0, 1.0, 9)
    points = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
    denoised = two(x, y, tau).denoised(points, EDM().node(sigma))
    assert Box(2).deviation(denoised).max() < 1e-9 * max(1.0, sigma**2)


def test_thresholding_is_the_projected_scheme() -> None:
    law, grid, x = two(0.1, 0.9, 0.01), karras(EDM(), 20, 0.5, 0.02), np.random.default_rng(0).uniform(size=(200, 2))
    clipped, projected = (SOLVERS[name](space=Box(2)) for name in ("thresholded_euler", "projected_euler"))
    np.testing.assert_allclose(*(sample(m, law.denoised, x, grid, noise=1, terminal="none") for m in (clipped, projected)), atol=1e-12)


def test_thresholding_clips_what_is_wrong_and_no_evaluation_gets_worse() -> None:
    """|Π(D + e) − D| ≤ |e|, and less where D + e leaves the box. Over a run that is no promise: the clipped error has lost its sign."""
    law, node, x = two(0.1, 0.9, 0.01), EDM().node(0.2), np.random.default_rng(0).uniform(size=(500, 2))
    right = law.denoised(x, node)
    wrong = right + 0.4 * np.sin(40.0 * x)
    after = np.linalg.norm(Box(2).project(wrong) - right, axis=-1)
    before = np.linalg.norm(wrong - right, axis=-1)
    assert np.all(after <= before + 1e-12)
    assert after.mean() < 0.9 * before.mean()
    # what the solver takes from it is the clipped value: D = 5 and D = 1 are one
    s, t = clock_grid(8)[:2]
    method = SOLVERS["thresholded_euler"](space=Box(2))
    a, b = (method.step(lambda y, n, d=d: 0.0 * y + d, x, s, t, None, lambda s, t: 0.0 * x)[0] for d in (5.0, 1.0))
    np.testing.assert_array_equal(a, b)


# corners


@pytest.mark.parametrize("name", WALLS)
def test_corners_and_long_steps(name: str) -> None:
    triangle = Polytope([[1.0, 2.0], [-1.0, 0.0], [0.0, -1.0]], [1.0, 0.0, 0.0])
    for space, corners in (
        (Box(2, -1.0, 2.0), [[-1.0, -1.0], [2.0, -1.0], [-1.0, 0.3]]),
        (triangle, [[0.0, 0.0], [1.0, 0.0], [0.0, 0.5]]),
        (Simplex(2), np.eye(3)),
        (HalfSpace([1.0, 0.0]), [[0.0, 0.0], [0.0, -3.0], [-1.0, 2.0]]),
    ):
        if SOLVERS[name].claims(space):
            for grid in (karras(EDM(), 1, 50.0, 0.01), karras(EDM(), 30, 2.0, 0.01)):
                end = sample(
                    SOLVERS[name](space=space), lambda y, n, space=space: to_origin(space, y, n), np.array(corners, float), grid, noise=0
                )
                space.check(end, tol=1e-12)


@pytest.mark.parametrize("name", ["reflected_euler", "reflected_heun", "reflected_pc", "geodesic_euler_maruyama"])
def test_the_rule_of_the_space_does_not_matter_to_methods_that_reflect(name: str) -> None:
    x, grid = np.random.default_rng(0).uniform(size=(20, 2)), karras(EDM(), 5, 1.0, 0.1)
    a, b = (
        sample(SOLVERS[name](space=Box(2, rule=rule)), two(0.2, 0.4, 0.1).denoised, x, grid, noise=2) for rule in ("reflect", "project")
    )
    np.testing.assert_array_equal(a, b)


def test_bad_options_are_refused() -> None:
    law, x, grid = two(0.2, 0.4, 0.1), np.full((2, 2), 0.5), clock_grid(2)
    with pytest.raises(ValueError, match=r"penalised_euler: strength = 2\.0 must lie in \(0, 2\)"):
        sample(SOLVERS["penalised_euler"](space=Box(2), strength=2.0), law.denoised, x, grid)
    with pytest.raises(ValueError, match=r"reflected_pc: corrector = -1\.0 must lie in \[0, inf\)"):
        sample(SOLVERS["reflected_pc"](space=Box(2), corrector=-1.0), law.denoised, x, grid)
    with pytest.raises(ValueError, match=r"x is not in Box\(2\)"):
        sample(SOLVERS["reflected_euler"](space=Box(2)), law.denoised, x + 1.0, grid)


def test_the_steps_of_second_order_and_of_the_corrector_are_their_formulas() -> None:
    law, s, t, rng = two(0.2, 0.4, 0.1), EDM().node(0.5), EDM().node(0.4), np.random.default_rng(0)
    x, h = rng.uniform(size=(50, 2)), 0.25 - 0.16
    draws = {}

    def noise(a: Node, b: Node) -> np.ndarray:
        return draws.setdefault((a.lam, b.lam), rng.standard_normal(x.shape))

    def fold(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        phase = np.mod(y, 2.0)
        return np.where(phase > 1.0, 2.0 - phase, phase), np.where(phase > 1.0, -1.0, 1.0)

    found, _ = SOLVERS["reflected_heun"](space=Box(2)).step(law.denoised, x, s, t, None, noise)
    z = math.sqrt(h) * draws[s.lam, t.lam]
    y, sign = fold(x + h * law.score(x, s) + z)
    np.testing.assert_allclose(found, fold(x + 0.5 * h * (law.score(x, s) + sign * law.score(y, t)) + z)[0], atol=1e-12)

    draws.clear()
    found, _ = SOLVERS["reflected_pc"](space=Box(2), corrector=0.3).step(law.denoised, x, s, t, None, noise)
    (one, two_), ((_, b), _) = draws.values(), draws
    middle = math.exp(-2.0 * b)  # σ² where the halves meet
    increment = math.sqrt(0.25 - middle) * one + math.sqrt(middle - 0.16) * two_
    other = (math.sqrt(middle - 0.16) * one - math.sqrt(0.25 - middle) * two_) / math.sqrt(h)
    y = fold(x + h * law.score(x, s) + increment)[0]
    np.testing.assert_allclose(found, fold(y + 0.15 * h * law.score(y, t) + math.sqrt(0.3 * h) * other)[0], atol=1e-12)
