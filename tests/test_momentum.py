"""Momentum: identities with Adams-Bashforth, the paper's recurrences on equal steps, stability intervals, a stiff guided Gaussian."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from scorebed.analytic import GaussianMixture
from scorebed.solvers import EDM, SOLVERS, VP, Node, Solver, grid, sample, trace
from scorebed.solvers.base import advance
from scorebed.solvers.methods.momentum import divided_differences, heavy_ball, newton_integrals
from scorebed.toy.measure.runs import order_on
from scorebed.toy.properties.cases import cases, jagged, modes
from scorebed.toy.studies.stability import real_interval

X = np.linspace(-2.0, 2.0, 9)[:, None]
AB = {1: 2.0, 2: 1.0, 3: 6.0 / 11.0, 4: 3.0 / 10.0}
ORDERS = pytest.mark.parametrize("r", [1, 2, 3, 4])
BETAS = pytest.mark.parametrize("beta", [0.9, 0.5, 0.2])


def run(solver: Solver, nodes: list[Node], x: np.ndarray = X) -> np.ndarray:
    return sample(solver, modes().denoised, x, nodes, terminal="none")


def equal_steps(n: int) -> list[Node]:
    return [EDM().node(float(rho)) for rho in np.linspace(4.0, 1.0, n + 1)]


def slopes(xs: list[np.ndarray], nodes: list[Node]) -> list[np.ndarray]:
    return [(x - modes().denoised(x, node)) / node.sigma for x, node in zip(xs, nodes, strict=True)]


@ORDERS
def test_without_damping_ghvb_is_adams_bashforth(r: int) -> None:
    nodes = jagged(VP(), 9, 0.9, 0.05)
    np.testing.assert_allclose(run(SOLVERS[f"ghvb_{r}"](beta=1.0), nodes), run(SOLVERS[f"lms_{r}"], nodes), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ["lms_4", "ipndm_3", "pndm", "dpmpp_2m", "deis_tab2", "dpm_solver_2"])
def test_without_damping_a_heavy_ball_is_its_base(name: str) -> None:
    nodes = jagged(VP(), 9, 0.9, 0.05)
    for nesterov in (False, True):
        found = run(heavy_ball(SOLVERS[name], 1.0, nesterov=nesterov), nodes)
        np.testing.assert_allclose(found, run(SOLVERS[name], nodes), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(
    ("name", "base"),
    [(name, name.split("_", 1)[1]) for name in SOLVERS if name.startswith(("hb_", "nesterov_"))],
)
def test_registered_methods_without_damping_are_their_base(name: str, base: str) -> None:
    nodes = jagged(VP(), 9, 0.9, 0.05)
    np.testing.assert_allclose(run(SOLVERS[name](beta=1.0), nodes), run(SOLVERS[base], nodes), rtol=1e-11, atol=1e-11)


def test_ghvb_1_is_euler_with_a_heavy_ball() -> None:
    nodes = jagged(VP(), 9, 0.9, 0.05)
    np.testing.assert_allclose(run(SOLVERS["ghvb_1"](beta=0.4), nodes), run(heavy_ball(SOLVERS["euler"], 0.4), nodes), rtol=1e-11)


WEIGHTS: dict[int, Callable[[float], list[float]]] = {
    2: lambda b: [(2 + b) / (2 * b), -(2 - b) / (2 * b)],
    3: lambda b: [(18 + 5 * b) / (12 * b), -(24 - 8 * b) / (12 * b), (6 - b) / (12 * b)],
    4: lambda b: [(46 + 9 * b) / (24 * b), -(78 - 19 * b) / (24 * b), (42 - 5 * b) / (24 * b), -(10 - b) / (24 * b)],
}


@pytest.mark.parametrize("r", [2, 3, 4])
@BETAS
def test_the_weights_of_algorithm_2_on_equal_steps(r: int, beta: float) -> None:
    """x_{n+1} = x_n + δ Σ_j c_j v_{n+1-j}, from the v_1 … v_r that obey the recursion and have ∇^{r-1} v_r = ∇^{r-1} f_{r-1}."""
    n_steps = 12
    nodes = equal_steps(n_steps)
    xs = sample(SOLVERS[f"ghvb_{r}"](beta=beta), modes().denoised, X, nodes, terminal="none", record=True).xs
    f, h = slopes(xs, nodes), nodes[1].rho - nodes[0].rho

    def backwards(newest: np.ndarray) -> list[np.ndarray]:
        v = [newest]
        for k in range(r - 1, 0, -1):
            v.insert(0, (v[0] - beta * f[k]) / (1 - beta))
        return v

    def difference(v: list[np.ndarray]) -> np.ndarray:
        return np.diff(v, n=r - 1, axis=0)[0]

    offset = difference(backwards(0.0 * X))
    newest = (difference(f[:r]) - offset) / (-beta / (1 - beta)) ** (r - 1)
    v = backwards(newest)
    for n in range(r - 1, n_steps):
        if n >= r:
            v.append((1 - beta) * v[-1] + beta * f[n])
        step = sum(c * v[n - j] for j, c in enumerate(WEIGHTS[r](beta)))
        np.testing.assert_allclose(xs[n + 1], xs[n] + h * step, rtol=1e-9, atol=1e-9)


@BETAS
def test_heavy_ball_is_polyaks_recurrence(beta: float) -> None:
    """x_{n+1} = x_n + (1 − β)(x_n − x_{n−1}) + δ β f_n (eq. 12)."""
    nodes = equal_steps(8)
    xs = sample(heavy_ball(SOLVERS["euler"], beta), modes().denoised, X, nodes, terminal="none", record=True).xs
    f, h = slopes(xs, nodes), nodes[1].rho - nodes[0].rho
    for n in range(1, 8):
        np.testing.assert_allclose(xs[n + 1], xs[n] + (1 - beta) * (xs[n] - xs[n - 1]) + h * beta * f[n], rtol=1e-11, atol=1e-11)


@BETAS
def test_nesterov_is_the_extrapolated_gradient_step(beta: float) -> None:
    """y_{n+1} = x_n + δ β f_n,  x_{n+1} = y_{n+1} + (1 − β)(y_{n+1} − y_n) (eq. 49)."""
    nodes = equal_steps(8)
    xs = sample(heavy_ball(SOLVERS["euler"], beta, nesterov=True), modes().denoised, X, nodes, terminal="none", record=True).xs
    f, h = slopes(xs, nodes), nodes[1].rho - nodes[0].rho
    y = [x + h * beta * d for x, d in zip(xs, f, strict=True)]
    for n in range(1, 8):
        np.testing.assert_allclose(xs[n + 1], y[n] + (1 - beta) * (y[n] - y[n - 1]), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("free", [-0.7, 0.0, 0.4, 1.0])
def test_second_order_nesterov_is_ghvb_2(free: float) -> None:
    """b0 v_{n+1} + b1 ∇v_{n+1} + c0 f_n of eq. 54, with (2 − β)/2 = β b1 + (1 − β) c0, is GHVB-2 for every c0 = ``free``."""
    beta, v_new, v_old = 0.3, 1.7, -0.6
    f = (v_new - (1 - beta) * v_old) / beta
    b1 = ((2 - beta) / 2 - (1 - beta) * free) / beta
    found = (1 - free) * v_new + b1 * (v_new - v_old) + free * f
    assert found == pytest.approx(((2 + beta) * v_new - (2 - beta) * v_old) / (2 * beta), rel=1e-14)


def test_newton_form_integrates_the_interpolating_polynomial() -> None:
    rhos, h = [2.0, 2.7, 2.9, 4.0], -0.8
    cubic = np.polynomial.Polynomial([0.3, -1.0, 0.4, 0.2])
    differences = divided_differences(rhos, [np.array(cubic(r)) for r in rhos])
    exact = cubic.integ()(2.0 + h) - cubic.integ()(2.0)
    assert sum(g * float(d) for g, d in zip(newton_integrals(rhos, h), differences, strict=True)) == pytest.approx(exact, rel=1e-13)


@ORDERS
def test_real_intervals_of_adams_bashforth(r: int) -> None:
    assert real_interval(SOLVERS[f"lms_{r}"]) == pytest.approx(AB[r], abs=1e-6)


@ORDERS
@BETAS
def test_a_heavy_ball_widens_the_interval(r: int, beta: float) -> None:
    base = SOLVERS[f"lms_{r}"]
    assert real_interval(heavy_ball(base, beta)) == pytest.approx(AB[r] * (2 - beta) / beta, rel=1e-6)
    assert real_interval(heavy_ball(base, beta, nesterov=True)) == pytest.approx(AB[r] * (2 - beta) / (beta * (3 - 2 * beta)), rel=1e-6)


@BETAS
def test_real_intervals_of_ghvb(beta: float) -> None:
    theory = {1: 2 * (2 - beta) / beta, 2: 2 - beta, 3: 6 * (2 - beta) / (12 - beta), 4: 3 * (2 - beta) / (11 - beta)}
    for r, interval in theory.items():
        assert real_interval(SOLVERS[f"ghvb_{r}"](beta=beta)) == pytest.approx(interval, rel=1e-6)


@pytest.mark.parametrize("r", [2, 3, 4])
def test_the_interval_of_ghvb_lies_between_two_orders(r: int) -> None:
    method = SOLVERS[f"ghvb_{r}"]
    assert real_interval(method(beta=1.0)) == pytest.approx(AB[r], abs=1e-6)
    assert real_interval(method(beta=1e-4)) == pytest.approx(AB[r - 1], abs=1e-3)


@pytest.mark.parametrize("name", ["pndm", "dpm_solver_3", "ipndm_2"])
def test_a_heavy_ball_on_anything_is_of_first_order(name: str) -> None:
    for nesterov in (False, True):
        method = heavy_ball(SOLVERS[name], nesterov=nesterov)
        result = order_on(cases()[0], method, steps=(128, 256, 512))
        assert result.inside(method.order), (method.name, result)


def guided(w: float, std: float) -> Callable[[np.ndarray, Node], np.ndarray]:
    """D_0 + w (D_1 − D_0) for the data N(0, 1) and the class N(0.5, std²)."""
    data, narrow = GaussianMixture([1.0], np.zeros((1, 1)), np.ones(1)), GaussianMixture([1.0], np.full((1, 1), 0.5), np.array([std**2]))
    return lambda x, node: data.denoised(x, node) + w * (narrow.denoised(x, node) - data.denoised(x, node))


def test_on_a_guided_narrow_gaussian_adams_bashforth_diverges_and_ghvb_does_not() -> None:
    """Ten uniform steps, guidance 7.5: λ is about −w/ρ. The end state should lie within a few hundredths of 0.5."""
    nodes = grid.uniform(VP(), 10, 0.4, 0.02)
    x = nodes[0].alpha * 0.5 + nodes[0].sigma * X
    denoise = guided(7.5, 0.02)
    exact = sample(SOLVERS["rk4"], denoise, x, grid.uniform_lam(VP(), 1000, 0.4, 0.02), terminal="none")

    def error(solver: Solver) -> float:
        return float(np.abs(sample(solver, denoise, x, nodes, terminal="none") - exact).max())

    assert error(SOLVERS["lms_4"]) > 10.0
    assert error(SOLVERS["ghvb_4"](beta=1.0)) > 10.0
    for r, beta in ((1, 0.8), (1, 0.5), (2, 0.8), (2, 0.3)):
        assert error(SOLVERS[f"ghvb_{r}"](beta=beta)) < 0.1, (r, beta)


def silent(s: Node, t: Node) -> np.ndarray:
    raise AssertionError("a deterministic method has drawn noise")


def limit(solver: Solver, q: float) -> float:
    """The largest w (1 − q) for which steps of ratio q decay on D = (1 − w) y, the narrow Gaussian with guidance scale w."""
    nodes = [EDM().at_lam(-i * float(np.log(q))) for i in range(161)]

    def decays(w: float) -> bool:
        x, sizes = np.ones((1, 1)), []
        carry: Any = None
        for s, t in pairwise(nodes):
            x, carry = advance(solver, lambda y, node: (1.0 - w) * y, x, s, t, carry, silent)
            if not np.abs(x).max() < 1e150:
                return False
            sizes.append(float(np.abs(x).max()))
        return max(sizes[-60:]) < max(sizes[-120:-60])

    low, high = 1.0, 40.0 / (1.0 - q)
    for _ in range(16):
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if decays(middle) else (low, middle)
    return low * (1.0 - q)


@pytest.mark.parametrize(
    ("q", "r", "limits"),
    [
        (0.99, 2, {1.0: 1.01, 0.8: 1.21, 0.2: 1.80}),
        (0.99, 3, {1.0: 0.56, 0.8: 0.65, 0.2: 0.93}),
        (0.99, 4, {1.0: 0.31, 0.8: 0.36, 0.5: 0.44, 0.2: 0.51}),
        (0.99, 1, {1.0: 2.0, 0.8: 2.99}),
        (0.9, 1, {1.0: 2.0, 0.8: 2.95}),
        (0.63, 1, {1.0: 2.0, 0.8: 2.82}),
        (0.9, 2, {1.0: 1.08, 0.8: 1.26, 0.2: 1.81}),
        (0.9, 3, {1.0: 0.66, 0.8: 0.75, 0.2: 1.00}),
        (0.9, 4, {1.0: 0.43, 0.8: 0.48, 0.5: 0.55, 0.2: 0.62}),
        (0.63, 2, {1.0: 1.32, 0.8: 1.45, 0.2: 1.86}),
        (0.63, 3, {1.0: 1.05, 0.8: 1.10, 0.2: 1.27}),
        (0.63, 4, {1.0: 0.91, 0.8: 0.94, 0.5: 0.98, 0.2: 1.02}),
    ],
)
def test_which_guidance_ghvb_stands(q: float, r: int, limits: dict[float, float]) -> None:
    """The table of the module; beta = 1 is Adams-Bashforth. As q -> 1 the limits are the stability intervals."""
    for beta, expected in limits.items():
        assert limit(SOLVERS[f"ghvb_{r}"](beta=beta), q) == pytest.approx(expected, abs=0.011), beta


def test_in_ten_steps_a_smaller_beta_tames_ghvb_4_and_a_lower_order_more() -> None:
    """Guidance 7.5: the error grows with the order and with beta, and at orders 3 and 4 no beta helps enough."""
    nodes = grid.uniform(VP(), 10, 0.4, 0.02)
    x = nodes[0].alpha * 0.5 + nodes[0].sigma * X
    found = [
        [float(np.abs(sample(SOLVERS[f"ghvb_{r}"](beta=b), guided(7.5, 0.02), x, nodes) - 0.5).max()) for b in (1.0, 0.8, 0.5, 0.2)]
        for r in (2, 3, 4)
    ]
    for row in found[1:]:
        assert all(a > b for a, b in pairwise(row))
        assert row[0] > 5.0
    assert max(found[0][1:]) < 0.1 < found[1][-1] < found[2][-1]


def test_one_evaluation_and_the_memory_that_is_needed() -> None:
    nodes = jagged(VP(), 20, 0.9, 0.05)
    for r in (1, 2, 3, 4):
        plan = trace(SOLVERS[f"ghvb_{r}"], nodes)
        assert plan.nfe == trace(SOLVERS[f"lms_{r}"], nodes).nfe
        assert plan.history == max(r, 1)
    assert trace(SOLVERS["hb_lms_4"], nodes).nfe == trace(SOLVERS["lms_4"], nodes).nfe
    assert trace(SOLVERS["hb_lms_4"], nodes).history == trace(SOLVERS["lms_4"], nodes).history + 1


@pytest.mark.parametrize("beta", [0.0, -0.1, 2.0, float("nan")])
def test_a_beta_that_does_not_average_is_refused(beta: float) -> None:
    nodes = jagged(VP(), 5, 0.9, 0.05)
    for name in ("ghvb_2", "hb_lms_2"):
        with pytest.raises(ValueError, match="beta = "):
            run(SOLVERS[name](beta=beta), nodes)


def test_bases_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="ddpm draws noise"):
        heavy_ball(SOLVERS["ddpm"])
    with pytest.raises(TypeError, match="not a Solver"):
        heavy_ball("euler")  # type: ignore[arg-type]
