"""Exponential Runge-Kutta, Lawson, Taylor and RF-Solver: stiff order conditions, limits, and identities to round-off."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from scorebed.analytic import GaussianMixture
from scorebed.analytic.gaussian.statistics import denoised_rate
from scorebed.solvers import EDM, SOLVERS, VP, Node, RectifiedFlow, Schedule, Solver, SubVP, grid, sample, trace
from scorebed.solvers.methods.exponential_rk import Row, rows_2, rows_3, rows_4
from scorebed.solvers.methods.rectified import at_tau, tau
from scorebed.solvers.weights import tableau
from scorebed.solvers.weights.exponential import flow_by_denoised, phi
from scorebed.solvers.weights.tableau import Tableau
from scorebed.toy.measure.convergence import global_errors, order_of
from scorebed.toy.properties.cases import ellipsoid, jagged, modes, warped

X = np.linspace(-2.0, 2.0, 9)[:, None]
SCHEDULES = (VP(), SubVP(), RectifiedFlow(), EDM(0.01, 10.0))


def run(solver: Solver, nodes: list[Node], x: np.ndarray = X) -> np.ndarray:
    return sample(solver, modes().denoised, x, nodes, terminal="none")


def same(a: Any, b: Any) -> None:
    np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11)


def etdrk_rows(h: float) -> list[Row]:
    half, b = phi(1, -h / 2), (2 * phi(2, -h) - 4 * phi(3, -h), 4 * phi(3, -h) - phi(2, -h))
    return [(0.5, ()), (0.5, (half / 2,)), (1.0, (0.0, half)), (1.0, (b[0], b[0], b[1]))]


def krogstad_rows(h: float) -> list[Row]:
    return [(0.5, ()), (0.5, (phi(2, -h / 2),)), (1.0, (0.0, 2 * phi(2, -h))), etdrk_rows(h)[-1]]


TABLES: dict[str, tuple[Callable[[float], list[Row]], int]] = {
    "exp_rk_2": (lambda h: rows_2(h, 0.5), 2),
    "exp_rk_3": (lambda h: rows_3(h, 0.5, 0.75), 3),
    "exp_rk_4": (rows_4, 4),
    "etdrk_4": (etdrk_rows, 2),
    "krogstad_4": (krogstad_rows, 3),
}


def full(rows: Sequence[Row], z: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """c, a(z) and b(z) with the first column, a_i1 = c_i φ_1(c_i z) − Σ_{j≥2} a_ij."""
    n = len(rows)
    c, weights = np.zeros(n), np.zeros((n, n))
    for i, (node, row) in enumerate(rows):
        weights[i, 1 : 1 + len(row)] = row
        weights[i, 0] = node * phi(1, node * z) - sum(row)
        if i < n - 1:
            c[i + 1] = node
    return c, np.vstack([np.zeros(n), weights[:-1]]), weights[-1]


def stiff_order(table: Callable[[float], list[Row]]) -> int:
    """By the conditions of Hochbruck & Ostermann (2005): those of order below p hold for all z, those of order p with b(0) for b(z).

    Operators do not commute, so that each factor has its own z.
    """
    places = (-0.02, -0.7, -3.0, -12.0)

    def holds(p: int, weak: bool) -> bool:
        found = []
        for z1 in places:
            c, _, b = full(table(-z1), z1)
            if weak:
                z1 = 0.0
                c, _, b = full(table(0.0), 0.0)
            found.append(phi(p, z1) - float(b @ c ** (p - 1)) / math.factorial(p - 1))
            for z2 in places:
                a = full(table(-z2), z2)[1]
                psi = [np.array([phi(j, ci * z2) * ci**j for ci in c]) - a @ c ** (j - 1) / math.factorial(j - 1) for j in (1, 2, 3)]
                found += [float(v) for v in psi[0]] if p == 2 else [float(b @ psi[1])] if p == 3 else []
                if p == 4:
                    found += [float(b @ psi[2]), float(b @ (c * psi[1]))]
                    found += [float(b @ full(table(-z3), z3)[1] @ psi[1]) for z3 in places]
        return max(map(abs, found)) < 1e-12

    reached = 0
    for p in (1, 2, 3, 4):
        if holds(p, weak=True) and all(holds(q, weak=False) for q in range(1, p)):
            reached = p
    return reached


@pytest.mark.parametrize("name", TABLES)
def test_stiff_order(name: str) -> None:
    table, order = TABLES[name]
    assert stiff_order(table) == order


def test_the_stiff_conditions_bite() -> None:
    assert stiff_order(lambda h: rows_3(h, 0.5, 1.0)) == 3
    assert stiff_order(lambda h: [(0.5, ()), (1.0, (phi(1, -h),))]) == 2  # the weakened form, dpmpp_2s
    assert stiff_order(lambda h: [(0.5, ()), (1.0, (1.01 * phi(1, -h),))]) == 1


@pytest.mark.parametrize("name", ["etdrk_4", "krogstad_4", "exp_rk_4", "exp_rk_3", "exp_rk_2"])
def test_the_solvers_have_these_tables(name: str) -> None:
    s, t = VP().node(0.7), VP().node(0.2)
    h, rows = t.lam - s.lam, TABLES[name][0](t.lam - s.lam)
    c, a, b = full(rows, -h)
    plan = trace(SOLVERS[name], [s, t])
    for i, (node, row) in enumerate(zip(plan.nodes, plan.inputs, strict=True)):
        assert node.lam == pytest.approx(s.lam + c[i] * h, abs=1e-13)
        same(row[1:], node.alpha * h * a[i])
    same(plan.output[1:], t.alpha * h * b)
    assert plan.output[0] == pytest.approx(t.sigma / s.sigma, rel=1e-14)


@pytest.mark.parametrize(
    ("rows", "classical"),
    [
        (rows_2(0.0, 0.5), tableau.MIDPOINT),
        (rows_2(0.0, 1.0), tableau.HEUN),
        (rows_3(0.0, 0.5, 1.0), tableau.KUTTA3),
        (rows_3(0.0, 0.5, 0.75), Tableau((0.0, 0.5, 0.75), ((), (0.5,), (0.0, 0.75)), (2 / 9, 1 / 3, 4 / 9))),
        (etdrk_rows(0.0), tableau.RK4),
        (krogstad_rows(0.0), tableau.RK4),
    ],
)
def test_short_steps_are_classical(rows: list[Row], classical: Tableau) -> None:
    c, a, b = full(rows, 0.0)
    same(c, classical.c)
    same(b, classical.b)
    for i, row in enumerate(classical.a):
        same(a[i, :i], row)


@pytest.mark.parametrize("c2", [1 / 3, 0.45])
def test_dpmpp_3s_is_an_exponential_runge_kutta_method(c2: float) -> None:
    nodes = jagged(VP(), 7, 0.9, 0.05)
    same(run(SOLVERS["exp_rk_3"](c2=c2, c3=2 / 3), nodes), run(SOLVERS["dpmpp_3s"](r1=c2), nodes))


def test_the_third_order_family_has_a_hole() -> None:
    with pytest.raises(ValueError, match=r"c2 = 0\.66"):
        run(SOLVERS["exp_rk_3"](c2=2 / 3), jagged(VP(), 2, 0.9, 0.05))


@pytest.mark.parametrize(
    ("name", "nfe"),
    [("exp_rk_2", 2), ("exp_rk_3", 3), ("exp_rk_4", 5), ("etdrk_4", 4), ("krogstad_4", 4)]
    + [("lawson_2", 2), ("lawson_3", 3), ("lawson_4", 4), ("taylor_2", 2), ("rf_solver_2", 2)],
)
def test_evaluations_per_step(name: str, nfe: int) -> None:
    plan = trace(SOLVERS[name], grid.uniform(VP(), 5))
    assert (plan.nfe, plan.history) == (5 * nfe, 0)


# Lawson


def classical(method: Tableau, slope: Callable[[np.ndarray, float], np.ndarray], y: np.ndarray, start: float, end: float) -> np.ndarray:
    """One step of a Runge-Kutta method on dy/du = slope(y, u)."""
    h, found = end - start, []
    for c, row in zip(method.c, method.a, strict=True):
        found.append(slope(y + h * sum((a * k for a, k in zip(row, found, strict=True)), np.zeros_like(y)), start + c * h))
    return y + h * sum(b * k for b, k in zip(method.b, found, strict=True))


METHODS = [("lawson_2", "midpoint", tableau.MIDPOINT), ("lawson_3", "kutta3", tableau.KUTTA3), ("lawson_4", "rk4", tableau.RK4)]


@pytest.mark.parametrize(("name", "_", "method"), METHODS)
@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_lawson_is_classical_behind_the_integrating_factor(schedule: Schedule, name: str, _: str, method: Tableau) -> None:
    """w = x/σ, dw/dλ = e^λ D, and for the generalised method dw/dλ = e^λ (D − D_s) beside the exact part of D_s."""
    nodes = warped(schedule, 5, schedule.node(0.8 * schedule.t_max).t, 0.1 * schedule.t_max)
    for generalized in (False, True):
        x = X
        for s, t in pairwise(nodes):
            first = modes().denoised(x, s) if generalized else np.zeros_like(x)

            def slope(w: np.ndarray, lam: float, s: Node = s, first: np.ndarray = first) -> np.ndarray:
                node = schedule.at_lam(lam)
                y = node.sigma * (w + (math.exp(lam) - math.exp(s.lam)) * first)
                return math.exp(lam) * (modes().denoised(y, node) - first)

            w = classical(method, slope, x / s.sigma, s.lam, t.lam)
            x = t.sigma * (w + (math.exp(t.lam) - math.exp(s.lam)) * first)
        same(run(SOLVERS[name](generalized=generalized), nodes), x)


@pytest.mark.parametrize(("_", "name", "method"), METHODS)
def test_lawson_in_rho_is_the_edm_family(_: str, name: str, method: Tableau) -> None:
    """The factor 1/α and the time ρ: d(x/α)/dρ = eps."""
    nodes, z = jagged(VP(), 5, 0.9, 0.05), X / VP().node(0.9).alpha

    def slope(z: np.ndarray, rho: float) -> np.ndarray:
        node = VP().at_lam(-math.log(rho))
        return modes().eps(node.alpha * z, node)

    for s, t in pairwise(nodes):
        z = classical(method, slope, z, s.rho, t.rho)
    same(run(SOLVERS[name], nodes), nodes[-1].alpha * z)


@pytest.mark.parametrize(("name", "rule"), [("lawson_2", 2), ("lawson_3", 4), ("lawson_4", 4)])
def test_lawson_loses_fixed_points(name: str, rule: int) -> None:
    """Without ``generalized`` a constant D is missed by the error of the midpoint or Simpson rule for ∫ e^λ dλ; with it, not at all."""

    def errors(generalized: bool) -> list[float]:
        grids = [jagged(VP(), n, 0.9, 0.05) for n in (32, 64, 128)]
        exact = flow_by_denoised(X, np.ones_like(X), grids[0][0], grids[0][-1])
        return global_errors(SOLVERS[name](generalized=generalized), lambda x, node: np.ones_like(x), X, exact, grids)

    assert order_of((32, 64, 128), errors(False)).inside(rule)
    assert max(errors(True)) < 1e-13


@pytest.mark.parametrize("name", ["lawson_2", "lawson_3", "lawson_4"])
def test_plain_lawson_has_its_order(name: str) -> None:
    solver, steps = SOLVERS[name](generalized=False), (64, 128, 256)
    grids = [warped(RectifiedFlow(), n, 0.9, 0.1) for n in steps]
    exact = modes().flow(X, grids[0][0], grids[0][-1])
    assert order_of(steps, global_errors(solver, modes().denoised, X, exact, grids), 1e-12).inside(solver.order)


# Taylor


def test_the_difference_taylor_method_is_exponential_runge_kutta() -> None:
    nodes = jagged(VP(), 7, 0.9, 0.05)
    for delta in (1 / 64, 0.3, 1.0):
        same(run(SOLVERS["taylor_2"](delta=delta), nodes), run(SOLVERS["exp_rk_2"](c2=delta), nodes))


@pytest.mark.parametrize("schedule", [VP(), RectifiedFlow(), EDM()], ids=lambda s: type(s).__name__)
def test_taylor_2_tends_to_the_exact_jacobian_vector_product(schedule: Schedule) -> None:
    """x_t = (σ_t/σ_s) x − α_t (e^{−h} − 1) D + α_t h² φ₂(−h) Ḋ with Ḋ = e^λ Cov[x0|x] eps − e^{2λ} E[(x0 − D)|x0 − D|²] in closed form."""
    full_rank = np.array([[[0.3, 0.1], [0.1, 0.2]], [[0.1, 0.0], [0.0, 0.4]]])
    target = GaussianMixture([0.3, 0.7], np.array([[-1.0, 0.5], [0.7, 0.2]]), full_rank)
    s = schedule.at_lam(-0.5)
    t = schedule.at_lam(0.2)
    x = s.alpha * np.array([[0.3, -1.0], [2.0, 0.4], [-1.5, 1.0]])
    h = t.lam - s.lam
    exact = flow_by_denoised(x, target.denoised(x, s), s, t) + t.alpha * h * h * phi(2, -h) * denoised_rate(target, x, s)
    off = [
        float(np.abs(sample(SOLVERS["taylor_2"](delta=delta), target.denoised, x, [s, t], terminal="none") - exact).max())
        for delta in (2.0**-6, 2.0**-7, 2.0**-20)
    ]
    assert off[0] / off[1] == pytest.approx(2.0, rel=0.05)
    assert off[2] < 1e-6


# RF-Solver


@pytest.mark.parametrize(("r", "name"), [(0.5, "midpoint_t"), (1.0, "heun_t")])
def test_rf_solver_is_a_runge_kutta_method_in_t(r: float, name: str) -> None:
    for nodes in (warped(RectifiedFlow(), 8, 0.98, 0.01), warped(RectifiedFlow(), 8, 0.05, 0.9)):
        same(run(SOLVERS["rf_solver_2"](r=r), nodes), run(SOLVERS[name], nodes))


def test_rf_solver_by_its_own_formula() -> None:
    x, nodes = X, warped(RectifiedFlow(), 6, 0.95, 0.02)
    for s, t in pairwise(nodes):
        step, middle = t.t - s.t, RectifiedFlow().node((s.t + t.t) / 2)
        v = (x - modes().denoised(x, s)) / s.t
        u = x + step / 2 * v
        v_dot = ((u - modes().denoised(u, middle)) / middle.t - v) / (step / 2)
        x = x + step * v + step**2 / 2 * v_dot
    same(run(SOLVERS["rf_solver_2"], nodes), x)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_rf_solver_sees_every_schedule_as_rectified_flow(schedule: Schedule) -> None:
    """With the same λ, x/(α + σ) is the same on every schedule, and its time is τ = σ/(α + σ)."""
    nodes = warped(schedule, 7, schedule.node(0.8 * schedule.t_max).t, 0.1 * schedule.t_max)
    straight = [RectifiedFlow().at_lam(node.lam) for node in nodes]
    there = {node.lam: node for node in nodes}
    same([node.t for node in straight], [tau(node) for node in nodes])
    first, last = (node.alpha + node.sigma for node in (nodes[0], nodes[-1]))

    def denoised(y: np.ndarray, node: Node) -> np.ndarray:
        own = there.get(node.lam) or schedule.at_lam(node.lam)
        return modes().denoised((own.alpha + own.sigma) * y, own)

    expected = sample(SOLVERS["midpoint_t"], denoised, X / first, straight, terminal="none")
    same(run(SOLVERS["rf_solver_2"], nodes) / last, expected)


@pytest.mark.parametrize("ends", [(-12.0, 12.0), (12.0, -12.0), (0.3, 0.3 + 1e-9), (2.0, 30.0)])
def test_nodes_at_tau(ends: tuple[float, float]) -> None:
    s, t = (EDM().at_lam(lam) for lam in ends)
    for c in (0.1, 0.5, 0.9):
        node = at_tau(s, t, c)
        assert tau(node) == pytest.approx((1 - c) * tau(s) + c * tau(t), rel=1e-12)
    assert (at_tau(s, t, 0.0), at_tau(s, t, 1.0), at_tau(s, s, 0.5).lam) == (s, t, s.lam)


@pytest.mark.parametrize(("name", "schedule"), [("rf_solver_2", EDM()), ("rf_solver_2", SubVP()), ("midpoint", SubVP())])
def test_the_midpoint_rule_is_of_order_3_on_gaussians(name: str, schedule: Schedule) -> None:
    """y = sqrt(q), q a parabola in the time: y'' = C/y³ and y' = a y, so that the local error −h³ (a y''/8 + y'''/24) + O(h⁴) vanishes.

    On a mixture it is of order 2.
    """
    steps = (32, 64, 128)
    start, end = (10.0, 0.05) if isinstance(schedule, EDM) else (0.8, 0.1)
    grids = [jagged(schedule, n, start, end) for n in steps]
    for target, order in ((ellipsoid(), 3), (modes(), 2)):
        x = np.linspace(-1.0, 1.0, 5)[:, None] * np.ones(target.d) * start
        errors = global_errors(SOLVERS[name], target.denoised, x, target.flow(x, grids[0][0], grids[0][-1]), grids)
        assert order_of(steps, errors, 1e-12).inside(order), errors
