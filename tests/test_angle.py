"""Adams methods in the angle: weights against independent integrals, exactness on Gaussians, orders in both bases, cost."""

import math
from typing import Any

import numpy as np
import pytest
from scipy.integrate import quad

from scorebed.analytic import GaussianMixture
from scorebed.solvers import EDM, SOLVERS, VP, Node, RectifiedFlow, Solver, grid, sample, trace
from scorebed.solvers.methods.trig_flow import angle, output, radius
from scorebed.solvers.weights.multistep import angle_weights
from scorebed.toy.measure.runs import order_on
from scorebed.toy.properties.cases import cases, jagged, modes

X = np.linspace(-2.0, 2.0, 9)[:, None]
AB = ["trig_ab_2", "trig_ab_3", "trig_ab_4"]
ABM = ["trig_abm_2", "trig_abm_3", "trig_abm_4", "trig_abm_5"]
FORMULAS = {  # classical weights on equal steps; those with a first angle of one step ahead are the correctors
    (0, -1): [3 / 2, -1 / 2],
    (0, -1, -2): [23 / 12, -16 / 12, 5 / 12],
    (0, -1, -2, -3): [55 / 24, -59 / 24, 37 / 24, -9 / 24],
    (1, 0): [1 / 2, 1 / 2],
    (1, 0, -1): [5 / 12, 8 / 12, -1 / 12],
    (1, 0, -1, -2): [9 / 24, 19 / 24, -5 / 24, 1 / 24],
    (1, 0, -1, -2, -3): [251 / 720, 646 / 720, -264 / 720, 106 / 720, -19 / 720],
}


def run(solver: Solver, nodes: list[Node], x: np.ndarray = X) -> np.ndarray:
    return sample(solver, modes().denoised, x, nodes, terminal="none")


@pytest.mark.parametrize("schedule", [VP(), RectifiedFlow(), EDM(0.01, 10.0)], ids=lambda s: type(s).__name__)
def test_the_rotation_is_ddim(schedule: VP) -> None:
    nodes = grid.karras(schedule, 7)
    np.testing.assert_allclose(run(SOLVERS["trig_ab_1"], nodes), run(SOLVERS["ddim"], nodes), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("places", list(FORMULAS))
@pytest.mark.parametrize("h", [0.3, -0.01])
def test_polynomial_weights_are_the_classical_ones_on_equal_steps(places: tuple[int, ...], h: float) -> None:
    found = angle_weights([0.7 + h * k for k in places], 0.7, 0.7 + h, "polynomial")
    np.testing.assert_allclose(found, h * np.array(FORMULAS[places]), rtol=1e-11)


@pytest.mark.parametrize("basis", ["mixed", "polynomial"])
@pytest.mark.parametrize("thetas", [(0.9, 1.0), (0.9, 1.05, 1.1), (0.62, 0.9, 1.05), (0.62, 0.9, 1.05, 1.1, 1.4)])
def test_weights_integrate_their_basis(basis: str, thetas: tuple[float, ...]) -> None:
    start, end, p = 0.9, 0.62, len(thetas)
    functions: list[Any] = [lambda u, k=k: u**k for k in range(p if basis == "polynomial" else p - 2)]
    functions += [] if basis == "polynomial" else [math.cos, math.sin]
    weights = angle_weights(thetas, start, end, basis)  # type: ignore[arg-type]
    for f in functions:
        assert sum(w * f(u) for w, u in zip(weights, thetas, strict=True)) == pytest.approx(quad(f, start, end)[0], rel=1e-10)


@pytest.mark.parametrize("places", list(FORMULAS))
def test_mixed_weights_tend_to_the_classical_ones_without_cancellation(places: tuple[int, ...]) -> None:
    for h in (1e-3, 1e-6, -1e-9):
        found = np.array(angle_weights([0.7 + h * k for k in places], 0.7, 0.7 + h, "mixed")) / h
        np.testing.assert_allclose(found, FORMULAS[places], rtol=0, atol=2 * h**2 + 1e-6 * (abs(h) < 1e-6) + 1e-9)


def test_mixed_trapezoid() -> None:
    np.testing.assert_allclose(angle_weights([0.5, 0.8], 0.8, 0.5, "mixed"), 2 * [math.tan(-0.15)], rtol=1e-13)


def test_f_is_the_network_of_edm() -> None:
    """D = c_skip x + c_out F_net with sigma_data = c gives F_net = −F."""
    node, c = EDM().node(0.8), 0.5
    x, d = X, modes().denoised(X, node)
    skip, out = c**2 / (node.sigma**2 + c**2), node.sigma * c / math.hypot(node.sigma, c)
    found = output(modes().denoised, (1.0 / radius(node, c)) * x, node, c, x)
    np.testing.assert_allclose(found, -(d - skip * x) / out, rtol=1e-12)
    assert angle(node, c) == pytest.approx(math.atan(node.sigma / c), rel=1e-15)


def test_f_is_the_slope_of_the_flow() -> None:
    schedule, c, dt = VP(), 0.7, 1e-5
    here, before, after = (schedule.node(t) for t in (0.4, 0.4 - dt, 0.4 + dt))
    a, b = ((1.0 / radius(n, c)) * modes().flow(X, here, n) for n in (before, after))
    slope = (b - a) / (angle(after, c) - angle(before, c))
    np.testing.assert_allclose(output(modes().denoised, (1.0 / radius(here, c)) * X, here, c), slope, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("name", AB + ABM)
def test_exact_on_gaussians_of_spread_c(name: str) -> None:
    """Mixed: on N(m, c² I); polynomial: on N(0, c² I). The start knows nothing of c, so exact from where it ends."""
    c, nodes, method = 0.7, jagged(VP(), 6, 0.9, 0.05), SOLVERS[name]
    begun = int(name[-1]) - 1 if method.start else 0
    for basis, mean in (("mixed", 1.3), ("polynomial", 0.0)):
        target = GaussianMixture([1.0], np.full((1, 1), mean), np.array([c**2]))
        xs = sample(method(c=c, basis=basis), target.denoised, X, nodes, terminal="none", record=True).xs
        np.testing.assert_allclose(xs[-1], target.flow(xs[begun], nodes[begun], nodes[-1]), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", AB + ABM)
def test_order_with_the_polynomial_basis(name: str) -> None:
    method = SOLVERS[name](basis="polynomial", c=0.8)
    result = order_on(cases()[0], method, steps=(64, 128, 256))
    assert result.inside(method.order), result


@pytest.mark.parametrize("name", AB + ABM)
def test_one_evaluation_per_step(name: str) -> None:
    few, many = (trace(SOLVERS[name], jagged(VP(), n, 0.9, 0.05)).nfe for n in (20, 40))
    assert many - few == 20
    p = int(name[-1])
    assert trace(SOLVERS[name], jagged(VP(), 20, 0.9, 0.05)).history == p - 1


def test_the_corrector_pays() -> None:
    """At one evaluation per step the predictor-corrector of order p is far better than the predictor of order p − 1 alone."""
    nodes = jagged(VP(), 30, 0.9, 0.02)
    exact = modes().flow(X, nodes[0], nodes[-1])
    for p in (2, 3, 4):
        plain, corrected = (np.abs(run(SOLVERS[n], nodes) - exact).max() for n in (f"trig_ab_{p - 1}", f"trig_abm_{p}"))
        assert corrected < 0.5 * plain
