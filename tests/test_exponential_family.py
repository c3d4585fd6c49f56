"""DPM-Solver, DPM-Solver++, DEIS, iPNDM and UniPC: identities between them, their coefficients, and the printed formulas that are wrong."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import mpmath
import numpy as np
import pytest
from scipy.integrate import quad

from scorebed.solvers import EDM, SOLVERS, VP, Node, RectifiedFlow, Solver, SubVP, grid, sample, solver, trace
from scorebed.solvers.methods.deis import deis_weights
from scorebed.solvers.methods.unipc import unic
from scorebed.solvers.weights.exponential import eps_of, flow_by_denoised, flow_by_eps, phi
from scorebed.solvers.weights.lagrange import lagrange, monomials
from scorebed.solvers.weights.multistep import lam_weights, rho_weights
from scorebed.toy.measure.convergence import Order, global_errors, order_of
from scorebed.toy.measure.runs import order_on
from scorebed.toy.properties.cases import cases, jagged, modes, warped

X = np.linspace(-2.0, 2.0, 9)[:, None]
SCHEDULES = (VP(), SubVP(), RectifiedFlow(), EDM(0.01, 10.0))
ONE_EVALUATION = ["dpmpp_2m", "dpmpp_3m", "unip_2", "unipc_1", "unipc_2", "unipc_3", "unic_ddim", "unic_dpmpp_2m", "unic_deis_tab2", "pndm"]
ONE_EVALUATION += [f"deis_{kind}{r}" for kind in ("tab", "rhoab") for r in (1, 2, 3)] + [f"ipndm_{p}" for p in (1, 2, 3, 4)]


def run(method: str | Solver, nodes: list[Node], x: np.ndarray = X) -> np.ndarray:
    return sample(SOLVERS[method] if isinstance(method, str) else method, modes().denoised, x, nodes, terminal="none")


def measured(method: Solver, make: Callable[[int], list[Node]], steps: tuple[int, ...] = (64, 128, 256)) -> Order:
    grids = [make(n) for n in steps]
    first, last = grids[0][0], grids[0][-1]
    x = first.alpha * modes().mean() + 1.2 * X
    return order_of(steps, global_errors(method, modes().denoised, x, modes().flow(x, first, last), grids))


# identities between methods


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("name", ["dpm_solver_1", "dpmpp_1", "ipndm_1", "euler", "lms_1"])
def test_the_first_order_methods_are_ddim(name: str, schedule: Any) -> None:
    nodes = grid.karras(schedule, 7)
    np.testing.assert_allclose(run(name, nodes), run("ddim", nodes), rtol=1e-11, atol=1e-11)


def test_a_multistep_method_with_one_evaluation_is_ddim() -> None:
    """DEIS-0 of either kind, UniP-1: all weight is on the one evaluation."""
    s, t = VP().node(0.6), VP().node(0.4)
    assert deis_weights([s.t], s, t) == rho_weights([s], s, t) == lam_weights([s], s, t) == [1.0]


def test_ddim_is_the_exponential_euler_method() -> None:
    """x_t = (σ_t/σ_s) x + σ_t ∫ e^λ dλ D, the integral by quadrature."""
    s, t = VP().node(0.7), VP().node(0.4)
    integral = quad(math.exp, s.lam, t.lam, epsabs=0, epsrel=1e-13)[0]
    exact = t.sigma / s.sigma * X + t.sigma * integral * modes().denoised(X, s)
    np.testing.assert_allclose(run("ddim", [s, t]), exact, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("deis_rho_heun", "heun"),
        ("deis_rho_kutta", "kutta3"),
        ("deis_rho_rk4", "rk4"),
        ("ipndm_2", "deis_rhoab1"),
        ("pndm", "deis_rhoab3"),
        *((f"ipndm_{p}", f"lms_{p}") for p in (2, 3, 4)),
    ],
)
def test_methods_with_two_names_are_one(one: str, two: str, schedule: Any) -> None:
    nodes = warped(schedule, 9, schedule.t_max * 0.9, schedule.t_max * 0.05)
    np.testing.assert_allclose(run(one, nodes), run(two, nodes), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("r", [1, 2, 3])
def test_tab_and_rhoab_are_one_where_t_is_rho(r: int) -> None:
    nodes = warped(EDM(), 9, 10.0, 0.05)
    tab, rhoab = SOLVERS[f"deis_tab{r}"], SOLVERS[f"deis_rhoab{r}"]
    same_start = Solver(tab.name, tab.step, tab.order, start=rhoab.start, starts=rhoab.starts)
    np.testing.assert_allclose(run(same_start, nodes), run(rhoab, nodes), rtol=1e-10, atol=1e-10)


def test_unip_2_with_b2_is_dpmpp_2m_and_with_b1_is_not() -> None:
    nodes = jagged(VP(), 8, 0.9, 0.05)
    np.testing.assert_allclose(run(SOLVERS["unip_2"](b="B2"), nodes), run("dpmpp_2m", nodes), rtol=1e-12, atol=1e-12)
    assert np.abs(run(SOLVERS["unip_2"](b="B1"), nodes) - run("dpmpp_2m", nodes)).max() > 1e-4


@pytest.mark.parametrize("name", ONE_EVALUATION)
def test_one_evaluation_per_step(name: str) -> None:
    """Every further step costs one evaluation, at a node of the grid where none was made before."""
    few, many = (trace(SOLVERS[name], warped(VP(), n, 0.9, 0.1)) for n in (11, 12))
    assert many.nfe - few.nfe == 1
    late = [node for node in many.nodes if node.t <= many.grid[4].t]
    assert len(late) == len(set(late))
    assert set(late) <= set(many.grid)


# coefficients


@pytest.mark.parametrize("ends", [(0.9, 0.1), (0.1, 0.9)])
@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_weights_are_the_integrals(schedule: Any, ends: tuple[float, float]) -> None:
    """Against adaptive quadrature in t: ρ' = g²/(2 α² ρ), λ' = −ρ'/ρ."""
    nodes = warped(schedule, 9, *(end * schedule.t_max for end in ends))
    t, s, *past = nodes[6:1:-1]
    known = [s, *past]

    def rho_speed(u: float) -> float:
        node = schedule.node(u)
        return schedule.g2(u) / (2.0 * node.alpha**2 * node.rho)

    def integral(f: Callable[[Node], float]) -> float:
        return quad(lambda u: f(schedule.node(u)) * rho_speed(u), s.t, t.t, epsabs=0, epsrel=1e-12)[0]

    for j in range(4):
        in_t = integral(lambda n, j=j: lagrange([k.t for k in known], j, n.t)) / (t.rho - s.rho)
        in_rho = integral(lambda n, j=j: lagrange([k.rho for k in known], j, n.rho)) / (t.rho - s.rho)
        assert deis_weights([k.t for k in known], s, t)[j] == pytest.approx(in_t, rel=1e-9)
        assert rho_weights(known, s, t)[j] == pytest.approx(in_rho, rel=1e-9)
        for among in (known, [s, t, *past[:2]]):
            top = integral(lambda n, j=j, a=among: -lagrange([k.lam for k in a], j, n.lam) / n.rho**2)
            assert lam_weights(among, s, t)[j] == pytest.approx(top / (1 / t.rho - 1 / s.rho), rel=1e-9)


def test_monomials_are_the_lagrange_polynomials() -> None:
    times = [0.0, -1.0, -2.5, 1.0]
    for j in range(4):
        for u in (0.3, 2.0, -1.0):
            assert sum(c * u**k for k, c in enumerate(monomials(times, j))) == pytest.approx(lagrange(times, j, u), abs=1e-12)


def test_classical_weights_on_equal_steps_of_rho() -> None:
    nodes = grid.uniform(EDM(), 9, 5.0, 0.5)
    t, s, r, q, p = nodes[6:1:-1]
    np.testing.assert_allclose(rho_weights([s, r], s, t), np.array([3, -1]) / 2, rtol=1e-12)
    np.testing.assert_allclose(rho_weights([s, r, q], s, t), np.array([23, -16, 5]) / 12, rtol=1e-12)
    np.testing.assert_allclose(rho_weights([s, r, q, p], s, t), np.array([55, -59, 37, -9]) / 24, rtol=1e-11)


@pytest.mark.parametrize("h", [1e-9, -1e-7, 1e-4, 0.3, -2.0, 20.0])
@pytest.mark.parametrize("corrector", [False, True])
def test_lam_weights_are_accurate_at_every_step_size(h: float, corrector: bool) -> None:
    """Against 60 digits, with the integrals of θ^k e^{hθ} by parts."""
    s, places = Node(0.0, 1.0, 1.0, 0.0), [0.0, 1.0, -1.5, -2.5] if corrector else [0.0, -1.5, -2.5, -4.0]
    nodes = [Node(0.0, 1.0, 1.0, h * place) for place in places]
    found = lam_weights(nodes, s, Node(1.0, 1.0, 1.0, h))
    with mpmath.workdps(60):
        z, us = mpmath.mpf(h), [mpmath.mpf(n.lam) / mpmath.mpf(h) for n in nodes]
        moments = [mpmath.quad(lambda u, k=k: u**k * mpmath.exp(z * u), [0, 1]) for k in range(4)]
        for j, w in enumerate(found):
            others = [u for k, u in enumerate(us) if k != j]
            c = [mpmath.mpf(1)]
            for u in others:
                c = [(low - u * high) / (us[j] - u) for low, high in zip([0, *c], [*c, 0], strict=True)]
            exact = mpmath.fsum(a * m for a, m in zip(c, moments, strict=True)) / moments[0]
            assert abs(w - exact) < 2e-14 * max(map(abs, found))


@pytest.mark.parametrize("p", [2, 3])
def test_unic_solves_the_papers_system_and_b_cancels(p: int) -> None:
    """R_p(h) a B(h) = φ_p(h) (arXiv:2302.04867, Thm. 3.1), solved as printed, for either B; and UniP-3 from its own system of two rows."""
    s, h, r = Node(0.0, 1.0, 1.0, 0.0), 0.4, [-2.3, -1.2, 1.0][-p:]
    for rows, inner in ((p, r), (p - 1, r[:-1])):
        nodes = [s, *(Node(0.0, 1.0, 1.0, h * u) for u in inner)]
        for big_b in (-h, math.expm1(-h)):
            powers = np.array([[u**k * h**k for u in inner] for k in range(rows)])
            right = np.array([-(h ** (k + 1)) * math.factorial(k + 1) * phi(k + 2, -h) for k in range(rows)])
            a = np.linalg.solve(powers * big_b, right)
            # - α B Σ a_m/r_m (D_m − D_s) over − α (e^{−h} − 1) D_s
            shares = big_b * a / np.array(inner) / math.expm1(-h)
            np.testing.assert_allclose(lam_weights(nodes, s, Node(1.0, 1.0, 1.0, h))[1:], shares, rtol=1e-12)


@pytest.mark.parametrize(("b", "big_b"), [("B1", lambda h: -h), ("B2", lambda h: math.expm1(-h))])
def test_b_where_the_paper_does_not_solve(b: str, big_b: Callable[[float], float]) -> None:
    """UniP-2 and UniC-1 with a_1 = 1/2: x_t = (σ_t/σ_s) x − α_t (e^{−h} − 1) D_s − α_t (B/2r)(D − D_s)."""
    r, s, t = jagged(VP(), 3, 0.9, 0.05)[:3]
    first = run("dpmpp_2s", [r, s])
    old, new, h = modes().denoised(X, r), modes().denoised(first, s), t.lam - s.lam
    exact = flow_by_denoised(first, new, s, t) - t.alpha * big_b(h) / 2 * h / (r.lam - s.lam) * (old - new)
    np.testing.assert_allclose(run(SOLVERS["unip_2"](b=b), [r, s, t]), exact, rtol=1e-12, atol=1e-12)
    u, h = run("ddim", [r, s]), s.lam - r.lam
    exact = u - s.alpha * big_b(h) / 2 * (modes().denoised(u, s) - old)
    np.testing.assert_allclose(run(SOLVERS["unipc_1"](b=b), [r, s]), exact, rtol=1e-12, atol=1e-12)


def test_dpmpp_3s_is_the_printed_algorithm() -> None:
    nodes = jagged(VP(), 4, 0.9, 0.05)
    x = X
    for s, t in pairwise(nodes):
        h, one, two = t.lam - s.lam, s.toward(t, 1 / 3), s.toward(t, 2 / 3)
        d = modes().denoised(x, s)
        u = one.sigma / s.sigma * x - one.alpha * (math.exp(-h / 3) - 1) * d
        d_one = modes().denoised(u, one) - d
        factor = (math.exp(-2 * h / 3) - 1) / (2 * h / 3) + 1
        u = two.sigma / s.sigma * x - two.alpha * (math.exp(-2 * h / 3) - 1) * d + two.alpha * 2 * factor * d_one
        d_two = modes().denoised(u, two) - d
        x = t.sigma / s.sigma * x - t.alpha * (math.exp(-h) - 1) * d + t.alpha / (2 / 3) * ((math.exp(-h) - 1) / h + 1) * d_two
    np.testing.assert_allclose(run("dpmpp_3s", nodes), x, rtol=1e-11, atol=1e-11)


# the corrector on any method


@pytest.mark.parametrize(("base", "order"), [("heun", 3), ("deis_rhoab1", 3), ("dpm_solver_3", 4), ("deis_rho_rk4", 5)])
def test_unic_raises_the_order_of_any_method_at_no_cost(base: str, order: int) -> None:
    better = unic(SOLVERS[base])
    assert better.order == order
    assert better.name not in SOLVERS
    assert measured(better, lambda n: jagged(VP(), n, 0.9, 0.1), (32, 64, 128)).inside(order)
    nodes = jagged(VP(), 9, 0.9, 0.1)
    assert trace(better, nodes).nfe == trace(SOLVERS[base], nodes).nfe + 1


def test_unic_refuses_a_stochastic_base() -> None:
    with pytest.raises(ValueError, match="draws noise"):
        unic(SOLVERS["ddpm"])


# orders of the printed formulas, and of the methods whose asymptotic range begins late


@solver(order=2, reference="arXiv:2206.00927, Alg. 5 with r2 = 0.9", register=False)
def free_r2(denoise: Any, x: Any, s: Node, t: Node, carry: None, noise: Any) -> tuple[Any, Any]:
    r1, r2, h = 1 / 3, 0.9, t.lam - s.lam
    one, two = s.toward(t, r1), s.toward(t, r2)
    eps = eps_of(x, denoise(x, s), s)
    u = flow_by_eps(x, eps, s, one)
    d_one = eps_of(u, denoise(u, one), one) - eps
    u = flow_by_eps(x, eps, s, two) - two.sigma * (r2 / r1) * r2 * h * phi(2, r2 * h) * d_one
    return flow_by_eps(x, eps, s, t) - (t.sigma / r2) * h * phi(2, h) * (eps_of(u, denoise(u, two), two) - eps), None


@solver(
    order=2,
    reference="the multistep update of order 3 as shipped with arXiv:2211.01095",
    start=SOLVERS["dpmpp_3s"],
    starts=2,
    register=False,
)
def shipped_3m(denoise: Any, x: Any, s: Node, t: Node, carry: Any, noise: Any) -> tuple[Any, Any]:
    past = ((s, denoise(x, s)), *(carry or ()))
    if len(past) < 3:
        return x, past
    (_, m0), (r, m1), (q, m2) = past
    h = t.lam - s.lam
    r0, r1 = (s.lam - r.lam) / h, (r.lam - q.lam) / h
    d10, d11 = (1.0 / r0) * (m0 - m1), (1.0 / r1) * (m1 - m2)
    d1, d2 = d10 + (r0 / (r0 + r1)) * (d10 - d11), (1.0 / (r0 + r1)) * (d10 - d11)
    phi_2 = math.expm1(-h) / h + 1.0
    return flow_by_denoised(x, m0, s, t) + t.alpha * phi_2 * d1 - t.alpha * (phi_2 / h - 0.5) * d2, past[:2]


@solver(order=2, reference="arXiv:2202.09778, eq. 12, after Runge-Kutta in rho", start=SOLVERS["deis_rho_rk4"], starts=3, register=False)
def printed_plms(denoise: Any, x: Any, s: Node, t: Node, carry: Any, noise: Any) -> tuple[Any, Any]:
    past = (eps_of(x, denoise(x, s), s), *(carry or ()))
    if len(past) < 4:
        return x, past
    return flow_by_eps(x, (1 / 24) * (55.0 * past[0] - 59.0 * past[1] + 37.0 * past[2] - 9.0 * past[3]), s, t), past[:3]


@pytest.mark.parametrize(
    ("printed", "right", "make"),
    [
        (free_r2, "dpm_solver_3", grid.uniform_lam),
        (shipped_3m, "dpmpp_3m", grid.uniform_lam),
        (shipped_3m, "dpmpp_3m", jagged),
        (printed_plms, "pndm", grid.uniform),
    ],
    ids=lambda v: getattr(v, "name", getattr(v, "__name__", v)),
)
def test_printed_formulas_are_of_order_two(printed: Solver, right: str, make: Any) -> None:
    """Each on the grid that suits it best; the corrected one has the order that was meant."""
    assert measured(printed, lambda n: make(VP(), n, 0.9, 0.1), (128, 256, 512)).inside(2)
    assert measured(SOLVERS[right], lambda n: make(VP(), n, 0.9, 0.1), (128, 256, 512)).inside(SOLVERS[right].order)


@pytest.mark.parametrize(
    ("name", "backwards"),
    [*((name, False) for name in ("deis_rhoab2", "deis_rhoab3", "ipndm_3", "ipndm_4", "pndm")), ("unipc_3", True)],
)
def test_late_asymptotic_range(name: str, backwards: bool) -> None:
    """On rectified flow rho and lam move fast at the noisy end: there the slopes come to the order from below only near 1000 steps."""
    case, order = cases()[1], SOLVERS[name].order
    result = order_on(case.reversed() if backwards else case, SOLVERS[name], steps=(512, 1024, 2048))
    assert result.inside(order)
    assert abs(result.last_slope - order) < 0.1
