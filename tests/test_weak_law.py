"""Weak order on a mixture, from the exact law of the discretised chain on a grid: no Monte Carlo.

A step of a stochastic method is x_t = m(x_s, x_r) + c xi with c a number, so the density of (x_t, x_s) follows from that of (x_s, x_r) by a
Gaussian kernel. On standardised coordinates the trapezoidal rule is exact to round-off as long as c is wider than the spacing.
"""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from scorebed.solvers import SOLVERS, VP, Node, Solver
from scorebed.toy.measure.convergence import order_of
from scorebed.toy.properties.cases import jagged, modes

MOMENTS = (lambda x: x, lambda x: x**2, lambda x: x**3, lambda x: x**4, lambda x: np.cos(2.0 * x))


def coordinates(node: Node, points: int) -> tuple[np.ndarray, float]:
    """Points that cover the marginal at a node, and their spacing."""
    scale = math.sqrt(node.alpha**2 * modes().covariance()[0, 0] + node.sigma**2)
    u = np.linspace(-7.5, 7.5, points)
    return node.alpha * modes().mean()[0] + scale * u, scale * float(u[1] - u[0])


def step(solver: Solver, x: np.ndarray, s: Node, t: Node, carry: Any) -> tuple[np.ndarray, float, Any]:
    """Mean map, noise amplitude and carry of one step from the states x, shape (n, 1)."""
    mean, after = solver.step(modes().denoised, x, s, t, carry, lambda a, b: 0.0 * x)
    shifted, _ = solver.step(modes().denoised, x, s, t, carry, lambda a, b: 0.0 * x + 1.0)
    amplitude = shifted - mean
    assert np.ptp(amplitude) < 1e-12
    return mean, float(amplitude.mean()), after


def kernel(y: np.ndarray, mean: np.ndarray, amplitude: float) -> np.ndarray:
    return np.exp(-0.5 * ((y - mean) / amplitude) ** 2) / (amplitude * math.sqrt(2.0 * math.pi))


def density(node: Node, x: np.ndarray) -> np.ndarray:
    return np.exp(modes().log_prob(x[:, None], node))


def weak_errors(node: Node, x: np.ndarray, dx: float, p: np.ndarray) -> float:
    exact = density(node, x)
    return float(np.sqrt(sum((float(f(x) @ (p - exact)) * dx) ** 2 for f in MOMENTS)))


def one_step_law(solver: Solver, nodes: list[Node], points: int = 700) -> float:
    x, dx = coordinates(nodes[0], points)
    p = density(nodes[0], x)
    for s, t in pairwise(nodes):
        mean, amplitude, _ = step(solver, x[:, None], s, t, None)
        y, dy = coordinates(t, points)
        p = kernel(y[:, None], mean[:, 0], amplitude) @ p * dx
        x, dx = y, dy
    assert abs(p.sum() * dx - 1.0) < 1e-9
    return weak_errors(nodes[-1], x, dx, p)


def two_step_law(solver: Solver, nodes: list[Node], points: int = 200) -> float:
    """The joint density of the last two states, joint[i, j] at (x_i, r_j)."""
    r, dr = coordinates(nodes[0], points)
    mean, amplitude, after = step(solver, r[:, None], nodes[0], nodes[1], None)
    x, dx = coordinates(nodes[1], points)
    joint = kernel(x[:, None], mean[:, 0], amplitude) * density(nodes[0], r)
    for s, t in pairwise(nodes[1:]):
        y, dy = coordinates(t, points)
        new = np.empty_like(joint)
        for i in range(points):
            mean, amplitude, _ = step(solver, np.full((points, 1), x[i]), s, t, after)
            new[:, i] = kernel(y[:, None], mean[:, 0], amplitude) @ joint[i] * dr
        _, _, after = step(solver, x[:, None], s, t, after)
        joint, r, dr, x, dx = new, x, dx, y, dy
    p = joint.sum(1) * dr
    assert abs(p.sum() * dx - 1.0) < 1e-9
    return weak_errors(nodes[-1], x, dx, p)


def test_ddpm_has_weak_order_one_on_a_mixture() -> None:
    steps = (16, 32, 64)
    found = order_of(steps, [one_step_law(SOLVERS["ddpm"], jagged(VP(), n, 0.9, 0.1)) for n in steps])
    assert found.inside(1.0), found


@pytest.mark.parametrize("name", ["dpmpp_2m_sde", "er_sde_2"])
def test_two_step_methods_have_weak_order_two_on_a_mixture(name: str) -> None:
    steps = (8, 16, 32)
    found = order_of(steps, [two_step_law(SOLVERS[name], jagged(VP(), n, 0.9, 0.3), 130) for n in steps])
    assert found.inside(2.0), found


def test_the_first_order_chain_is_seen_as_first_order() -> None:
    """The two-step law of ddpm, which has no memory, is its one-step law."""
    nodes = jagged(VP(), 6, 0.9, 0.3)
    assert two_step_law(SOLVERS["ddpm"], nodes) == pytest.approx(one_step_law(SOLVERS["ddpm"], nodes), rel=1e-6)
