"""Runge-Kutta and Adams methods: order conditions, textbook coefficients, both variables, start-up, stability."""

import math
from collections.abc import Callable, Iterator
from dataclasses import fields
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.polynomial import Polynomial

from scorebed.analytic import GaussianMixture
from scorebed.solvers import EDM, SOLVERS, VE, VP, Node, RectifiedFlow, Solver, SubVP, grid, sample, trace
from scorebed.solvers.methods.adams import adams_weights
from scorebed.solvers.methods.edm import at_rho
from scorebed.solvers.methods.runge_kutta import at_time, velocity
from scorebed.solvers.weights import tableau
from scorebed.solvers.weights.tableau import Tableau
from scorebed.toy.measure.convergence import order_of, rms
from scorebed.toy.properties.cases import jagged, modes, warped
from scorebed.toy.properties.straight import straight

X = np.linspace(-2.0, 2.0, 9)[:, None]
TABLEAUX = {
    "EULER": (1, 0),
    "MIDPOINT": (2, 0),
    "HEUN": (2, 0),
    "RALSTON": (2, 0),
    "KUTTA3": (3, 0),
    "RK4": (4, 0),
    "BOGACKI_SHAMPINE": (3, 2),
    "DORMAND_PRINCE": (5, 4),
}
STEPS = ("euler", "midpoint", "heun", "ralston", "kutta3", "rk4")
IN_TIME = (*(f"{name}_t" for name in STEPS), "ab1", "ab2", "ab3", "ab4", "pec_t")


def run(name: str, nodes: list[Node], x: np.ndarray = X, denoise: Any = None) -> np.ndarray:
    return sample(SOLVERS[name], denoise or modes().denoised, x, nodes, terminal="none")


# order conditions


def trees(n: int) -> list[tuple[Any, ...]]:
    """The rooted trees with n nodes, each as the sorted tuple of its branches."""

    def forests(m: int, largest: int) -> Iterator[tuple[Any, ...]]:
        if m == 0:
            yield ()
        for size in range(min(m, largest), 0, -1):
            for tree in trees(size):
                for rest in forests(m - size, size):
                    yield (tree, *rest)

    return sorted({tuple(sorted(forest, key=repr)) for forest in forests(n - 1, n - 1)}, key=repr)


def density(tree: tuple[Any, ...]) -> int:
    return size(tree) * math.prod(map(density, tree))


def size(tree: tuple[Any, ...]) -> int:
    return 1 + sum(map(size, tree))


def defect(t: Tableau, weights: tuple[float, ...], tree: tuple[Any, ...]) -> float:
    """Σ b_i Φ_i(tree) − 1/γ(tree)."""
    a = np.array([[*row, *[0.0] * (len(t.b) - len(row))] for row in t.a])

    def stage(branch: tuple[Any, ...]) -> np.ndarray:
        return math.prod((a @ stage(b) for b in branch), start=np.ones(len(t.b)))

    return float(np.dot(weights, stage(tree)) - 1.0 / density(tree))


def reached(t: Tableau, weights: tuple[float, ...]) -> int:
    """The order: the last one of which every tree's condition holds."""
    p = 0
    while p < 7 and all(abs(defect(t, weights, tree)) < 1e-14 for tree in trees(p + 1)):
        p += 1
    return p


def test_trees_are_counted_as_in_the_books() -> None:
    assert [len(trees(n)) for n in range(1, 7)] == [1, 1, 2, 4, 9, 20]


@pytest.mark.parametrize("name", TABLEAUX)
def test_order_conditions(name: str) -> None:
    t: Tableau = getattr(tableau, name)
    np.testing.assert_allclose([math.fsum(row) for row in t.a], t.c, rtol=0, atol=2e-15)
    assert [len(row) for row in t.a] == list(range(len(t.b)))
    main, second = TABLEAUX[name]
    assert reached(t, t.b) == main
    if second:
        assert reached(t, tuple(b - e for b, e in zip(t.b, t.error, strict=True))) == second
        assert (*t.a[-1], 0.0) == t.b  # the last stage is the result
        assert t.c[-1] == 1.0


@pytest.mark.parametrize("name", TABLEAUX)
def test_every_coefficient_matters_to_the_conditions(name: str) -> None:
    t: Tableau = getattr(tableau, name)
    main, second = TABLEAUX[name]

    def holds(w: Tableau) -> bool:
        sums = all(abs(math.fsum(row) - c) < 1e-14 for row, c in zip(w.a, w.c, strict=True))
        hat = tuple(b - e for b, e in zip(w.b, w.error, strict=True)) if second else ()
        return sums and reached(w, w.b) >= main and (not second or reached(w, hat) >= second)

    def corrupted(value: Any) -> Iterator[Any]:
        for i, v in enumerate(value):
            for wrong in corrupted(v) if isinstance(v, tuple) else ([1.01 * v] if v else []):
                yield (*value[:i], wrong, *value[i + 1 :])

    assert holds(t)
    for f in fields(t):
        for wrong in corrupted(getattr(t, f.name)):
            assert not holds(Tableau(**{**{g.name: getattr(t, g.name) for g in fields(t)}, f.name: wrong}))


def test_ralston_has_the_least_error_of_its_order() -> None:
    """Of the two third-order conditions one fails by 1/6 in every two-stage method; the other, Σ b c² = 1/3, holds for c₂ = 2/3 alone."""
    chain, bush = trees(3)
    assert (size(chain), density(chain), density(bush)) == (3, 6, 3)
    for name in ("MIDPOINT", "HEUN", "RALSTON"):
        t: Tableau = getattr(tableau, name)
        assert math.isclose(defect(t, t.b, chain), -1 / 6)
        assert (abs(defect(t, t.b, bush)) < 1e-15) == (name == "RALSTON")


# the steps are those of the tableau


@pytest.mark.parametrize("name", STEPS)
def test_steps_in_rho_solve_the_quadrature_and_the_linear_problem(name: str) -> None:
    """On dy/dρ = z y one step multiplies by the Taylor polynomial of e^{zh}: these methods have as many stages as order, up to 4."""
    z, nodes = -0.37, grid.from_times(EDM(), [3.0, 1.2])
    h = 1.2 - 3.0
    found = run(name, nodes, denoise=lambda y, node: (1.0 - node.sigma * z) * y)
    taylor = sum((z * h) ** k / math.factorial(k) for k in range(SOLVERS[name].order + 1))
    np.testing.assert_allclose(found, taylor * X, rtol=1e-13)


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("schedule", [EDM(0.01, 10.0)], ids=repr)
def test_both_variables_are_one_where_time_is_rho(name: str, schedule: Any) -> None:
    nodes = jagged(schedule, 5, 8.0, 0.05)
    np.testing.assert_allclose(run(name, nodes), run(f"{name}_t", nodes), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", [*STEPS, "pec"])
def test_the_variables_differ_elsewhere(name: str) -> None:
    nodes = jagged(VP(), 12, 0.9, 0.05)
    assert np.abs(run(name, nodes) - run(f"{name}_t", nodes)).max() > 1e-6


@pytest.mark.parametrize(("one", "other"), [("euler", "ddim"), ("euler", "lms_1"), ("euler_t", "ab1")])
@pytest.mark.parametrize("schedule", [VP(), SubVP(), RectifiedFlow()], ids=lambda s: type(s).__name__)
def test_first_order_identities(one: str, other: str, schedule: Any) -> None:
    nodes = grid.uniform(schedule, 7)
    np.testing.assert_allclose(run(one, nodes), run(other, nodes), rtol=1e-11, atol=1e-11)


def test_euler_in_time_is_ddim_in_rectified_flow() -> None:
    nodes = grid.karras(RectifiedFlow(), 9)
    np.testing.assert_allclose(run("euler_t", nodes), run("ddim", nodes), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", IN_TIME)
def test_in_time_a_constant_denoiser_is_followed_where_the_schedule_is_straight(name: str) -> None:
    """And nowhere else: in VP the schedule itself is discretised."""
    c = np.array([0.7, -1.3])
    x = np.array([[2.0, 1.0], [-0.4, 0.1], [0.0, 3.0]])
    off = []
    for nodes in (warped(RectifiedFlow(), 9, 0.99, 0.01), warped(EDM(), 9, 20.0, 0.01), warped(VP(), 9, 0.9, 0.05)):
        s, t = nodes[0], nodes[-1]
        exact = t.alpha * c + t.sigma / s.sigma * (x - s.alpha * c)
        off.append(float(np.abs(run(name, nodes, x, lambda y, node: 0.0 * y + c) - exact).max()))
    assert max(off[:2]) < 1e-11 < 1e-3 < off[2]


@given(st.floats(0.01, 0.99), st.floats(0.02, 0.9), st.floats(0.02, 0.9))
def test_stages_lie_where_they_should(c: float, a: float, b: float) -> None:
    for schedule in (VP(), SubVP(), RectifiedFlow(), VE()):
        s, t = schedule.node(a), schedule.node(b)
        assert math.isclose(at_rho(s, t, c).rho, s.rho + c * (t.rho - s.rho), rel_tol=1e-11)
        assert math.isclose(at_time(s, t, c).t, s.t + c * (t.t - s.t), rel_tol=1e-12)
    assert [at(s, t, end) is node for at in (at_rho, at_time) for end, node in ((0.0, s), (1.0, t))] == [True] * 4


@pytest.mark.parametrize("schedule", [VP(), SubVP(), RectifiedFlow(), VE(), EDM()], ids=lambda s: type(s).__name__)
def test_velocity_is_the_time_derivative_of_the_exact_flow(schedule: Any) -> None:
    t = 0.4
    node, h = schedule.node(t), 1e-4
    there = [modes().flow(X, node, schedule.node(t + k * h)) for k in (-2, -1, 1, 2)]
    slope = (there[0] - 8 * there[1] + 8 * there[2] - there[3]) / (12 * h)
    np.testing.assert_allclose(velocity(X, modes().denoised(X, node), node), slope, rtol=1e-7, atol=1e-7)


def test_a_node_without_a_schedule_is_named() -> None:
    nodes = [Node(n.t, n.alpha, n.sigma, n.lam) for n in grid.uniform(VP(), 3)]
    for name in ("euler_t", "rk4_t", "ab2", "midpoint"):
        with pytest.raises(ValueError, match="schedule=None"):
            run(name, nodes)


def test_midpoint_in_rho_has_order_three_on_every_gaussian() -> None:
    """y − m is proportional to w = sqrt(c² + ρ²), so y' = a y with a = ρ/w², y'' = c²/w³, y''' = −3 c² ρ/w⁵, and the principal error
    h³ (y'''/24 + a y''/8) of the explicit midpoint rule vanishes. On a mixture it does not."""
    line = GaussianMixture([1.0], np.array([[0.4]]), np.array([0.3]))
    for target, order in ((line, 3), (modes(), 2)):
        for schedule in (VP(), RectifiedFlow()):
            errors, steps = [], (128, 256, 512)
            for n in steps:
                nodes = jagged(schedule, n, 0.9, 0.05)
                errors.append(rms(run("midpoint", nodes, denoise=target.denoised) - target.flow(X, nodes[0], nodes[-1])))
            assert order_of(steps, errors).inside(order), errors


# Adams


@pytest.mark.parametrize(
    ("k", "weights"), [(1, [1.0]), (2, [3 / 2, -1 / 2]), (3, [23 / 12, -16 / 12, 5 / 12]), (4, [55 / 24, -59 / 24, 37 / 24, -9 / 24])]
)
def test_adams_weights_on_equal_steps_are_the_textbooks(k: int, weights: list[float]) -> None:
    np.testing.assert_allclose(adams_weights([0.3 * j for j in range(k)], -0.3), weights, rtol=0, atol=1e-13)


@given(st.lists(st.floats(0.05, 1.0), min_size=4, max_size=4), st.integers(1, 4))
def test_adams_weights_integrate_polynomials(steps: list[float], k: int) -> None:
    times = list(np.cumsum([0.0, *steps[:-1]]))[:k]
    end = -steps[-1]
    weights = adams_weights(times, end)
    for degree in range(k):
        power = Polynomial([0.0] * degree + [1.0])
        whole = power.integ()(end) - power.integ()(times[0])
        assert math.isclose(
            (end - times[0]) * sum(b * power(u) for b, u in zip(weights, times, strict=True)), whole, rel_tol=1e-9, abs_tol=1e-11
        )


@pytest.mark.parametrize("name", ["ab1", "ab2", "ab3", "ab4", "lms_1", "lms_2", "lms_3", "lms_4"])
def test_adams_step_is_the_integral_of_the_interpolant(name: str) -> None:
    """Against NumPy's polynomial through the last slopes, on steps of no regularity."""
    k, schedule = int(name[-1]), SubVP()
    nodes = grid.from_times(schedule, [0.8, 0.71, 0.68, 0.5, 0.43, 0.3, 0.29])
    xs = sample(SOLVERS[name], modes().denoised, X, nodes, terminal="none", record=True).xs
    in_time = name.startswith("ab")
    u: Callable[[Node], float] = (lambda n: n.t) if in_time else (lambda n: n.rho)
    slopes = [
        velocity(x, modes().denoised(x, n), n) if in_time else (x / n.alpha - modes().denoised(x, n)) / n.rho
        for x, n in zip(xs, nodes, strict=True)
    ]
    for i in range(k - 1, 6):
        past = range(i - k + 1, i + 1)
        fit = np.polynomial.polynomial.polyfit([u(nodes[j]) for j in past], np.array([slopes[j][:, 0] for j in past]), k - 1)
        integral = np.array([Polynomial(c).integ()(u(nodes[i + 1])) - Polynomial(c).integ()(u(nodes[i])) for c in fit.T])[:, None]
        a, b = (1.0, 1.0) if in_time else (nodes[i].alpha, nodes[i + 1].alpha)
        np.testing.assert_allclose(xs[i + 1], b * (xs[i] / a + integral), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "extra"),
    [("ab1", 0), ("ab2", 1), ("ab3", 2), ("ab4", 6), ("lms_1", 0), ("lms_2", 1), ("lms_3", 2), ("lms_4", 6), ("pec", 1), ("pec_t", 1)],
)
def test_one_evaluation_per_step_after_the_start(name: str, extra: int) -> None:
    """The start shares the body's evaluation at s."""
    plan = trace(SOLVERS[name], jagged(VP(), 10, 0.9, 0.05))
    assert plan.nfe == 10 + extra
    assert plan.history == (1 if name.startswith("pec") else int(name[-1]) - 1)


@pytest.mark.parametrize(("name", "nfe"), [("euler", 1), ("midpoint", 2), ("heun", 2), ("ralston", 2), ("kutta3", 3), ("rk4", 4)])
def test_evaluations_per_step(name: str, nfe: int) -> None:
    for variant in (name, f"{name}_t"):
        plan = trace(SOLVERS[variant], jagged(VP(), 10, 0.9, 0.05))
        assert (plan.nfe, plan.history) == (10 * nfe, 0)


@pytest.mark.parametrize(("name", "heun"), [("pec", "heun"), ("pec_t", "heun_t")])
def test_pec_begins_as_heun_and_keeps_the_predicted_slope(name: str, heun: str) -> None:
    nodes = jagged(VP(), 6, 0.9, 0.05)
    np.testing.assert_allclose(run(name, nodes[:2]), run(heun, nodes[:2]), rtol=1e-12, atol=1e-12)
    assert [n.t for n in trace(SOLVERS[name], nodes).nodes] == [n.t for n in nodes]


@pytest.mark.parametrize(("name", "interval"), [("pec", 1.0), ("heun", 2.0), ("ab1", 2.0), ("ab2", 1.0), ("ab3", 6 / 11), ("ab4", 0.3)])
def test_real_stability_interval(name: str, interval: float) -> None:
    """On x' = −β x/h the run decays for β inside the interval and grows outside: 1 for PEC against 2 for Heun."""
    times = np.linspace(500.0, 100.0, 401)

    def end(beta: float) -> float:
        # in EDM dx/dt = (x − D)/t; time falls, so a positive rate decays
        found = run(name, grid.from_times(EDM(), times), np.ones((1, 1)), lambda y, node: (1.0 - beta * node.sigma) * y)
        return float(np.abs(found).max())

    assert end(0.97 * interval) < 1e-2 < 1e2 < end(1.1 * interval)


def test_stage_nodes_at_the_end_are_the_grids_own() -> None:
    nodes = jagged(VP(), 4, 0.9, 0.05)
    for name in ("heun", "kutta3", "rk4", "heun_t", "kutta3_t", "rk4_t"):
        found = trace(SOLVERS[name], nodes).nodes
        assert all(any(n == m for n in found) for m in nodes[1:])
    assert [a.t for a, _ in pairwise(nodes)] == [n.t for n in trace(SOLVERS["euler_t"], nodes).nodes]


def test_straight(solver: Solver) -> None:
    straight(solver)
