"""Reversible methods: round trips to the round-off that their amplification allows, and the formulas of their papers."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from scorebed.solvers import EDM, SOLVERS, VP, Node, NonFinite, Solver, grid, sample
from scorebed.solvers.methods.reversible import amplification, ddim_inversion, invert, keep, rex
from scorebed.solvers.weights.exponential import eps_of, flow_by_eps
from scorebed.toy.measure.convergence import global_errors, order_of
from scorebed.toy.properties.cases import jagged, modes

X = np.linspace(-2.0, 2.0, 9)[:, None]
NAMES = ["edict", "bdia", "belm", "rex_dpmpp_2s", "rex_rk4"]
EPSILON = float(np.finfo(float).eps)


def eps(x: Any, node: Node) -> Any:
    return eps_of(x, modes().denoised(x, node), node)


def off(solver: Solver, nodes: list[Node], x: np.ndarray) -> float:
    """The error of a round trip, in units of the largest entry."""
    end, carry = keep(solver, modes().denoised, x, nodes)
    again, _ = invert(solver, modes().denoised, end, carry, nodes)
    return float(np.abs(again - x).max() / np.abs(x).max())


@pytest.mark.parametrize(
    ("name", "steps", "bound"),
    [
        ("edict", 1, 1e-11),
        ("edict", 20, 1e-10),
        ("edict", 100, 1e-4),
        ("bdia", 1, 0.0),
        ("bdia", 10, 1e-12),
        ("bdia", 20, 1e-9),
        ("belm", 1, 0.0),
        ("belm", 20, 1e-12),
        ("belm", 200, 1e-10),
        ("rex_dpmpp_2s", 20, 1e-12),
        ("rex_dpmpp_2s", 200, 1e-12),
        ("rex_rk4", 20, 1e-12),
        ("rex_rk4", 200, 1e-12),
    ],
)
@pytest.mark.parametrize("ends", [(0.02, 0.9), (0.9, 0.02)], ids=["from data", "from noise"])
def test_round_trip(name: str, steps: int, bound: float, ends: tuple[float, float]) -> None:
    nodes = jagged(VP(), steps, *ends)
    assert off(SOLVERS[name], nodes, modes().sample(64, np.random.default_rng(1), nodes[0])) <= bound


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("edict", {"p": 0.99}),
        ("edict", {"alternate": True}),
        ("bdia", {"gamma": 0.96}),
        ("bdia", {"gamma": 1.0}),
        ("rex_rk4", {"zeta": 0.9}),
    ],
)
def test_round_trip_with_options(name: str, options: dict[str, float]) -> None:
    """The inverse is that of the method with its options, and a weaker coupling goes back further."""
    nodes = jagged(VP(), 60, 0.9, 0.02)
    assert off(SOLVERS[name](**options), nodes, modes().sample(64, np.random.default_rng(1), nodes[0])) <= 1e-10


@pytest.mark.parametrize("name", NAMES)
def test_round_trip_in_single_precision(name: str) -> None:
    nodes = jagged(VP(), 6, 0.9, 0.05)
    single = X.astype(np.float32)
    end, carry = keep(SOLVERS[name], modes().denoised, single, nodes)
    again, _ = invert(SOLVERS[name], modes().denoised, end, carry, nodes)
    assert again.dtype == np.float32
    assert np.abs(again - single).max() < 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_amplification_is_as_stated(name: str) -> None:
    """An error in the carry, followed back where the denoiser takes no part: D = x/alpha, so eps = 0, and D = 0 for x/sigma."""
    solver, nodes = SOLVERS[name], grid.uniform_lam(VP(), 12, 0.9, 0.1)

    def constant(x: Any, node: Node) -> Any:
        return 0.0 * x if name.startswith("rex") else (1.0 / node.alpha) * x

    end, carry = keep(solver, constant, X, nodes)
    if name in ("bdia", "belm"):
        moved: Any = ((carry[0][0], carry[0][1] + 1e-3),)
    else:
        moved = ((carry[0][0] + 1e-3, carry[0][1]),) if name == "edict" else (carry[0] + 1e-3,)
    start, left = invert(solver, constant, end, moved, nodes)
    if name in ("bdia", "belm"):
        grown = np.abs(start - X).max() / 1e-3
        assert 0.4 < grown / amplification(solver, nodes) < 1.1
    else:
        grown = np.abs(start - (left[0][0] if name == "edict" else left[0])).max() / 1e-3
        assert grown == pytest.approx(amplification(solver, nodes), rel=1e-6)


def test_amplification_explains_what_is_lost() -> None:
    """bdia loses one bit a step for gamma = 1/2, and the lost digits are those stated."""
    for steps in (10, 20, 30, 40):
        nodes = jagged(EDM(), steps, 5.0, 0.1)
        found = off(SOLVERS["bdia"], nodes, modes().sample(64, np.random.default_rng(1), nodes[0]))
        assert 1e-3 < found / (EPSILON * amplification(SOLVERS["bdia"], nodes)) < 10.0
    assert amplification(SOLVERS["bdia"], jagged(EDM(), 2000, 5.0, 0.1)) == np.inf


def test_keep_is_sample() -> None:
    nodes = jagged(VP(), 7, 0.9, 0.05)
    for name in NAMES:
        np.testing.assert_array_equal(
            keep(SOLVERS[name], modes().denoised, X, nodes)[0], sample(SOLVERS[name], modes().denoised, X, nodes, terminal="none")
        )


def test_edict_without_mixing_is_two_interleaved_runs() -> None:
    """p = 1: x by y, y by the new x, as printed, in the coefficients of DDIM."""
    nodes = jagged(VP(), 5, 0.9, 0.1)
    x = y = X
    for s, t in pairwise(nodes):
        a = t.alpha / s.alpha
        b = t.sigma - a * s.sigma
        x = a * x + b * eps(y, s)
        y = a * y + b * eps(x, s)
    np.testing.assert_allclose(sample(SOLVERS["edict"](p=1.0), modes().denoised, X, nodes, terminal="none"), x, rtol=1e-12)


def test_edict_alternates() -> None:
    """Two steps without mixing: the second moves y first."""
    r, s, t = jagged(VP(), 2, 0.8, 0.3)
    x = y = X * r.sigma
    x = flow_by_eps(x, eps(y, r), r, s)
    y = flow_by_eps(y, eps(x, r), r, s)
    y = flow_by_eps(y, eps(x, s), s, t)
    x = flow_by_eps(x, eps(y, s), s, t)
    end, carry = keep(SOLVERS["edict"](p=1.0, alternate=True), modes().denoised, X * r.sigma, [r, s, t])
    np.testing.assert_allclose(end, x, rtol=1e-12)
    np.testing.assert_allclose(carry[0][0], y, rtol=1e-12)


def test_edict_mixes_as_printed() -> None:
    p, (s, t) = 0.93, jagged(VP(), 1, 0.6, 0.5)
    a = t.alpha / s.alpha
    b = t.sigma - a * s.sigma
    x = a * X + b * eps(X, s)
    y = a * X + b * eps(x, s)
    mixed = p * x + (1 - p) * y
    end, carry = keep(SOLVERS["edict"], modes().denoised, X, [s, t])
    np.testing.assert_allclose(end, mixed, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(carry[0][0], p * y + (1 - p) * mixed, rtol=1e-12, atol=1e-13)


def two_step(update: Callable[[Node, Node, Node, Any, Any, Any], Any], first: Solver, nodes: list[Node]) -> Any:
    before, x = X, sample(first, modes().denoised, X, nodes[:2], terminal="none")
    for r, s, t in zip(nodes[:-2], nodes[1:-1], nodes[2:], strict=True):
        before, x = x, update(r, s, t, before, x, eps(x, s))
    return x


@pytest.mark.parametrize("gamma", [0.5, 0.9])
def test_bdia_is_as_printed(gamma: float) -> None:
    """x_t = gamma x_r + (a_t - gamma a_r) x + (b_t - gamma b_r) eps, with a and b of the DDIM steps to t and back to r."""

    def update(r: Node, s: Node, t: Node, x_r: Any, x: Any, e: Any) -> Any:
        ahead, behind = t.alpha / s.alpha, r.alpha / s.alpha
        b = (t.sigma - ahead * s.sigma) - gamma * (r.sigma - behind * s.sigma)
        return gamma * x_r + (ahead - gamma * behind) * x + b * e

    nodes = jagged(VP(), 8, 0.9, 0.1)
    found = sample(SOLVERS["bdia"](gamma=gamma), modes().denoised, X, nodes, terminal="none")
    np.testing.assert_allclose(found, two_step(update, SOLVERS["ddim"], nodes), rtol=1e-11, atol=1e-12)


def test_belm_is_as_printed() -> None:
    def update(r: Node, s: Node, t: Node, x_r: Any, x: Any, e: Any) -> Any:
        h, before = s.rho - t.rho, r.rho - s.rho
        y = (h / before) ** 2 * x_r / r.alpha + (before**2 - h**2) / before**2 * x / s.alpha - h * (h + before) / before * e
        return t.alpha * y

    nodes = jagged(VP(), 8, 0.9, 0.1)
    found = sample(SOLVERS["belm"], modes().denoised, X, nodes, terminal="none")
    np.testing.assert_allclose(found, two_step(update, SOLVERS["heun"], nodes), rtol=1e-11, atol=1e-12)


def test_on_equal_steps_bdia_with_gamma_one_is_belm() -> None:
    """Both are the leapfrog there; they differ in the first step only, so they start here from the same two states."""
    nodes = [EDM().node(float(rho)) for rho in np.linspace(4.0, 1.0, 9)]
    s, t = nodes[1:3]
    x = sample(SOLVERS["ddim"], modes().denoised, X, nodes[:2], terminal="none")
    carry = ((nodes[0], X),)
    one, _ = SOLVERS["bdia"](gamma=1.0).step(modes().denoised, x, s, t, carry, None)
    two, _ = SOLVERS["belm"].step(modes().denoised, x, s, t, carry, None)
    np.testing.assert_allclose(one, two, rtol=1e-12, atol=1e-13)


def test_bdia_without_gamma_would_be_ddim() -> None:
    nodes = jagged(VP(), 8, 0.9, 0.1)
    one, two = (sample(solver, modes().denoised, X, nodes, terminal="none") for solver in (SOLVERS["bdia"](gamma=1e-14), SOLVERS["ddim"]))
    np.testing.assert_allclose(one, two, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["rex_dpmpp_2s", "rex_rk4"])
def test_rex_is_as_printed(name: str) -> None:
    """With u = x/sigma and the increments of the base there: u_t = zeta u + (1 - zeta) û + Ψ_h(û), û_t = û - Ψ_{-h}(u_t)."""
    zeta, base, nodes = 0.9, SOLVERS[name.removeprefix("rex_")], jagged(VP(), 6, 0.9, 0.1)

    def increment(u: Any, s: Node, t: Node) -> Any:
        return base.step(modes().denoised, s.sigma * u, s, t, None, None)[0] / t.sigma - u

    u = hat = X / nodes[0].sigma
    for s, t in pairwise(nodes):
        u = zeta * u + (1.0 - zeta) * hat + increment(hat, s, t)
        hat = hat - increment(u, t, s)
    end, carry = keep(SOLVERS[name](zeta=zeta), modes().denoised, X, nodes)
    np.testing.assert_allclose(end, nodes[-1].sigma * u, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(carry[0], nodes[-1].sigma * hat, rtol=1e-11, atol=1e-12)


def rex_order(base: Solver, zeta: float) -> float:
    made, steps = rex(base, zeta), (128, 256, 512)
    grids = [jagged(VP(), n, 0.9, 0.05) for n in steps]
    exact = modes().flow(X, grids[0][0], grids[0][-1])
    assert made.name not in SOLVERS
    return order_of(steps, global_errors(made, modes().denoised, X, exact, grids)).slope


@pytest.mark.parametrize(("name", "zeta"), [("ddim", 0.5), ("heun", 0.5), ("heun", 0.999), ("kutta3", 0.5)])
def test_rex_has_the_order_of_its_base(name: str, zeta: float) -> None:
    found = rex_order(SOLVERS[name], zeta)
    assert -0.15 <= found - SOLVERS[name].order <= 0.35, found


@pytest.mark.parametrize("name", ["ddim", "kutta3"])
def test_errors_of_odd_order_nearly_cancel_in_rex(name: str) -> None:
    """With zeta = 1 - 1e-3 the 512 steps are too few to show the order of the base: the error falls faster."""
    assert SOLVERS[name].order + 0.3 < rex_order(SOLVERS[name], 0.999) < SOLVERS[name].order + 1.0


def test_ddim_inversion_is_only_approximate() -> None:
    errors = []
    for n in (64, 128, 256):
        nodes = jagged(VP(), n, 0.9, 0.02)
        noise = modes().sample(64, np.random.default_rng(1), nodes[0])
        end = sample(SOLVERS["ddim"], modes().denoised, noise, nodes, terminal="none")
        errors.append(float(np.abs(ddim_inversion(modes().denoised, end, nodes) - noise).max()))
    assert errors[-1] > 1e-3
    assert order_of((64, 128, 256), errors).inside(1)


def test_what_is_refused() -> None:
    nodes = grid.uniform(VP(), 5)
    with pytest.raises(ValueError, match="heun is not reversible: give one of edict, bdia, belm"):
        invert(SOLVERS["heun"], modes().denoised, X, (X,), nodes)
    with pytest.raises(ValueError, match="carry = None: give the one that keep"):
        invert(SOLVERS["belm"], modes().denoised, X, None, nodes)
    with pytest.raises(ValueError, match="dpmpp_2m keeps a memory or draws noise"):
        rex(SOLVERS["dpmpp_2m"])
    with pytest.raises(ValueError, match="ddpm keeps a memory or draws noise"):
        rex(SOLVERS["ddpm"])
    with pytest.raises(TypeError, match="base = 'heun' is not a Solver"):
        rex("heun")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"edict: p = 0\.0 must lie in \(0, 1\]"):
        sample(SOLVERS["edict"](p=0.0), modes().denoised, X, nodes)
    with pytest.raises(ValueError, match=r"bdia: gamma = -0\.5 must lie in \(0, inf\)"):
        sample(SOLVERS["bdia"](gamma=-0.5), modes().denoised, X, nodes)
    end, carry = keep(SOLVERS["belm"], modes().denoised, X, nodes)
    with pytest.raises(NonFinite):
        invert(SOLVERS["belm"], lambda x, node: x * np.nan, end, carry, nodes)
