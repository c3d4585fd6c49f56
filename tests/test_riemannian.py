"""Methods on manifolds: what breaks their order, that they stay where they are, and what they refuse."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from scorebed.analytic.heat import HeatMixture
from scorebed.solvers import EDM, SOLVERS, VE, VP, Node, NonFinite, Solver, methods_on, sample, solver
from scorebed.solvers.grid import karras, uniform
from scorebed.solvers.methods.riemannian_lie import Curved
from scorebed.solvers.methods.riemannian_retraction import heun_by, retract
from scorebed.solvers.space import SO3, SU2, Box, Euclidean, Hyperbolic, Product, Space, Sphere, Torus
from scorebed.toy.measure.convergence import order_of
from scorebed.toy.measure.runs import order_on
from scorebed.toy.problems.chains import chains
from scorebed.toy.properties.space_cases import space_cases, target_on
from scorebed.toy.properties.space_laws import law_cases
from scorebed.toy.properties.spaces import to_origin

MOVING = [name for name, method in methods_on().items() if method.spaces]
GRID = karras(EDM(), 6, 1.0, 0.1)


def case(name: str) -> Any:
    return next(one for one in space_cases() if one.name == name)


def measured(method: Solver, name: str, steps: tuple[int, ...] = (32, 64, 128)) -> float:
    order = order_on(case(name), method, steps=steps).order
    assert order is not None
    return order.slope


# what each order hangs on


@pytest.mark.parametrize("name", ["rkmk_3", "rkmk_4"])
def test_without_brackets_munthe_kaas_methods_have_order_2_on_so3(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Curved, "dexpinv", lambda self, u, v, brackets: v)
    assert 1.7 < measured(SOLVERS[name](space=SO3()), "SO3, 2 points") < 2.5


def test_with_transvections_the_brackets_do_not_matter_to_order_4(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a symmetric space [ξ, ξ'] is in the isotropy algebra, which does not move the point: no brackets are needed up to order 4."""
    monkeypatch.setattr(Curved, "dexpinv", lambda self, u, v, brackets: v)
    assert 3.85 < measured(SOLVERS["rkmk_4"](space=Sphere(2)), "Sphere(2), 2 points") < 4.35


@pytest.mark.parametrize("i", [2, 3, 4], ids=["Sphere(2)", "SO3", "Hyperbolic(3)"])
def test_the_ricci_factor_is_a_first_order_effect_on_transitions_and_none_on_the_law(i: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it the generator is off by (h κ/12)(Δ + b·grad), of which p is stationary where b = grad log p."""
    case, steps = law_cases()[i], (16, 32)
    (chain,), method = chains(case.target), SOLVERS["geodesic_heun_maruyama"](space=case.space)
    right = np.array([chain.errors(method, case.nodes(n)) for n in steps])
    monkeypatch.setattr(type(case.space), "ricci", lambda self, x, v: 0.0 * v)
    law, transitions = np.abs(np.array([chain.errors(method, case.nodes(n)) for n in steps]) - right).T
    assert order_of(steps, transitions).slope == pytest.approx(1.0, abs=0.1)
    assert law[1] < 0.05 * transitions[1]


@pytest.mark.parametrize("where", ["SO3, 2 points", "Sphere(2), 2 points", "Hyperbolic(2), 2 points"])
def test_a_retraction_of_first_order_costs_heun_an_order(where: str) -> None:
    @solver(order=1, reference="first-order retraction", register=False, spaces=("SO3", "Sphere", "Hyperbolic"))
    def first(denoise: Any, x: Any, s: Node, t: Node, carry: Any, noise: Any, *, space: Any = None) -> Any:
        return heun_by(denoise, x, s, t, space, "first"), None

    space = case(where).space
    assert 0.85 < measured(first(space=space), where) < 1.35
    assert 1.85 < measured(SOLVERS["retraction_heun"](space=space), where) < 2.35


@pytest.mark.parametrize(("space", "first"), [(Sphere(2), 1.0), (Hyperbolic(2), 1.0), (SO3(), 0.0)], ids=str)
def test_the_mean_step_of_a_walk_by_retraction(space: Space, first: float) -> None:
    """E log_x R_x(√h z) is O(h²) by the second-order retraction. By the first-order one it is c h, c the trace of its acceleration,
    which is 0 on SO(3): there the coordinate axes are geodesics."""
    x = space.project(space.reference(3, np.random.default_rng(5))[1])
    points, weights = np.polynomial.hermite_e.hermegauss(8)
    frame = np.linalg.svd(np.stack([space.tangent(x, e.reshape(space.shape)).reshape(-1) for e in np.eye(x.size)]))[2][: space.dim]
    frame = np.stack([e.reshape(space.shape) / space.norm(x, e.reshape(space.shape)) for e in frame])
    gram = np.array([[space.inner(x, a, b) for a in frame] for b in frame])
    frame = np.einsum("ij,j...->i...", np.linalg.inv(np.linalg.cholesky(gram)), frame)
    z = np.stack(np.meshgrid(*[points] * space.dim, indexing="ij"), axis=-1).reshape(-1, space.dim)
    w = (
        np.prod(np.stack(np.meshgrid(*[weights] * space.dim, indexing="ij"), axis=-1).reshape(-1, space.dim), axis=-1)
        / weights.sum() ** space.dim
    )
    v = np.einsum("qi,i...->q...", z, frame)
    y = np.broadcast_to(x, v.shape)

    def drift(which: Any, h: float) -> float:
        moved = space.log(y, retract(space, y, math.sqrt(h) * v, which))
        return float(space.norm(x, np.einsum("q,q...->...", w, moved))) / h

    assert drift("second", 1e-4) < 1e-3
    assert drift("second", 1e-3) < 1e-2
    if first:
        assert drift("first", 1e-3) > 0.05
        assert drift("first", 1e-4) == pytest.approx(drift("first", 1e-3), rel=0.1)
    else:
        assert drift("first", 1e-4) < 1e-3


def test_bridges_to_atoms_arrive_with_their_weights() -> None:
    """From one point m, the mixture of Brownian bridges to atoms μ_k with weights w_k has the drift of the heat mixture with the weights
    w_k / p_T(m, μ_k): its score is E[grad log p_τ(x | μ_k) | x], and it ends at μ_k with probability w_k."""
    space, rng = Sphere(2), np.random.default_rng(0)
    atoms, w, m = np.eye(3), np.array([0.5, 0.3, 0.2]), Sphere(2).project(np.array([1.0, -0.4, 0.5]))
    s = EDM().node(1.0)
    apart = [float(HeatMixture(space, [1.0], atom[None], 0.0).log_prob(m, s)) for atom in atoms]
    share = w / np.exp(apart)
    drift = HeatMixture(space, share / share.sum(), atoms, 0.0)
    n = 1500
    for name in ("geodesic_heun_maruyama", "bridge_mixture"):
        x = sample(
            SOLVERS[name](space=space), drift.denoised, np.tile(m, (n, 1)), karras(EDM(), 25, 1.0, 0.05), noise=int(rng.integers(99))
        )
        found = np.bincount(np.argmax(x, axis=-1), minlength=3) / n
        assert np.all(np.abs(found - w) < 4.5 * np.sqrt(w * (1.0 - w) / n) + 0.01), (name, found)
        assert np.median(space.distance(x, atoms[np.argmax(x, axis=-1)])) < 0.03


# staying in the space


@pytest.mark.parametrize(
    ("name", "space", "n"),
    [
        ("geodesic_euler_maruyama", Sphere(2), 100_000),
        ("geodesic_euler_maruyama", SO3(), 30_000),
        ("reflected_euler", Box(2), 100_000),
        ("rkmk_2", Sphere(2), 10_000),
    ],
    ids=str,
)
def test_long_runs_stay_in_the_space(name: str, space: Space, n: int) -> None:
    x, method, (s, t) = space.reference(1, np.random.default_rng(0)), SOLVERS[name](space=space), (EDM().node(1.0), EDM().node(0.97))
    normals = np.random.default_rng(1).standard_normal((64, *x.shape))
    aim = space.reference(1, np.random.default_rng(3))
    for i in range(n):
        x, _ = method.step(lambda y, node: aim, x, s, t, None, lambda a, b, i=i: normals[i % 64])
    assert float(space.deviation(x)[0]) < 1e-13


@pytest.mark.parametrize("name", MOVING)
def test_the_terminal_rule_ends_in_the_space(name: str) -> None:
    for space in (SO3(), Sphere(2), Hyperbolic(2), Box(2)):
        if SOLVERS[name].claims(space):
            x = target_on(space, 1).sample(4, 0, GRID[0])
            run = sample(SOLVERS[name](space=space), target_on(space, 1).denoised, x, GRID, noise=0, record=True)
            space.check(run.x, tol=1e-12)
            assert run.denoised[-1].shape == x.shape
            assert run.denoised_nodes[-1] is GRID[-1]


@pytest.mark.parametrize("name", MOVING)
def test_torch_and_numpy_agree(name: str) -> None:
    for space in (SO3(), Sphere(2), Box(2), Product(Sphere(2), Torus(1))):
        if SOLVERS[name].claims(space):
            x = space.reference(3, np.random.default_rng(0))
            here = sample(SOLVERS[name](space=space), partial(to_origin, space), x, GRID, noise=1)

            def there(y: Any, node: Node, space: Space = space) -> Any:
                return torch.as_tensor(to_origin(space, y.numpy(), node))

            found = sample(SOLVERS[name](space=space), there, torch.as_tensor(x), GRID, noise=1)
            np.testing.assert_allclose(found.numpy(), here, atol=1e-12)


# claims and refusals


def test_a_product_is_claimed_part_by_part_and_a_kind_by_its_class() -> None:
    method = SOLVERS["cf_4"]
    assert method.claims(Product(SO3(), Euclidean(3), Box(1)))
    assert not SOLVERS["reflected_euler"].claims(Product(SO3(), Box(1)))
    assert method.claims(SU2())
    assert not SOLVERS["heun"].claims(Sphere(2))
    assert method(space=Sphere(2)).space.dim == 2
    assert method.space is None
    assert method(space=Sphere(2)).name == "cf_4(space=Sphere(2))"
    assert SOLVERS["reflected_pc"](corrector=0.1)(space=Box(1)).options == {"corrector": 0.1}


X = Sphere(2).reference(3, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"grid": uniform(VP(), 4)}, ValueError, r"alpha=.*Sphere\(2\).*alpha = 1 \(EDM or VE\)"),
        ({"x": 1.1 * X}, ValueError, r"x is not in Sphere\(2\).*project"),
        ({"x": X[:, :2]}, ValueError, r"x has shape \(3, 2\), but points of Sphere\(2\) have shape"),
        ({"x": np.where(X[1, 1] == X, math.nan, X)}, NonFinite, "nan or inf entries"),
        ({"x": np.ones((3, 3), dtype=int)}, TypeError, "floating"),
        ({"denoise": lambda x, node: math.nan * x}, NonFinite, "denoise returned nan or inf"),
        ({"denoise": lambda x, node: x[:1]}, ValueError, r"denoise.*has shape \(1, 3\)"),
    ],
)
@pytest.mark.parametrize("name", ["geodesic_euler_maruyama", "rkmk_4", "cf_4", "retraction_heun"])
def test_bad_input_is_refused(name: str, change: dict[str, Any], error: type[Exception], message: str) -> None:
    arguments = {"denoise": partial(to_origin, Sphere(2)), "x": X, "grid": GRID, **change}
    with pytest.raises(error, match=message):
        sample(SOLVERS[name](space=Sphere(2)), **arguments)


def test_bad_spaces_are_refused() -> None:
    with pytest.raises(TypeError, match="is not a Space: give one of"):
        SOLVERS["cf_4"](space=Sphere)
    with pytest.raises(TypeError, match="'S2' is not a Space: give one of"):
        SOLVERS["cf_4"](space="S2")
    with pytest.raises(ValueError, match=r"reflected_euler: space = Sphere\(2\) is not among the spaces that it moves in: Box, HalfSpace"):
        SOLVERS["reflected_euler"](space=Sphere(2))
    with pytest.raises(TypeError, match="heun has no option space"):
        SOLVERS["heun"](space=Sphere(2))
    with pytest.raises(TypeError, match="has no option space_; its options: none, and space"):
        SOLVERS["cf_4"](space_=Sphere(2))
    with pytest.raises(TypeError, match="step has no option space"):
        solver(order=1, reference="none", register=False, spaces=("Sphere",))(lambda denoise, x, s, t, carry, noise: (x, None))


def test_ve_grids_are_welcome() -> None:
    nodes = uniform(VE(), 5, 0.6, 0.3)
    end = sample(SOLVERS["rkmk_4"](space=Sphere(2)), target_on(Sphere(2), 1).denoised, X, nodes)
    Sphere(2).check(end, tol=1e-12)


# formulas, where 1 % of a coefficient is too little for an order


def test_the_step_of_weak_order_2_is_its_formula() -> None:
    for space, kappa in ((Sphere(3), 2.0), (SO3(), 0.5), (Hyperbolic(2), -1.0), (SU2(), 2.0), (Torus(2), 0.0)):
        law, s, t = target_on(space, 1), EDM().node(0.8), EDM().node(0.6)
        x = space.reference(4, np.random.default_rng(0))
        z, h = np.random.default_rng(1).standard_normal(x.shape), 0.64 - 0.36
        b, xi = law.score(x, s), math.sqrt(h) * space.noise(x, z)
        y = space.exp(x, h * b + xi)
        mean = 0.5 * h * (b + space.transport(y, x, law.score(y, t)))
        found, _ = SOLVERS["geodesic_heun_maruyama"](space=space).step(law.denoised, x, s, t, None, lambda a, b, z=z: z)
        np.testing.assert_allclose(found, space.exp(x, (1.0 - h * kappa / 12.0) * (mean + xi)), atol=1e-11)


def test_the_ricci_curvature_of_a_product_is_that_of_its_parts() -> None:
    space = Product(Sphere(3), Torus(1), SO3())
    v = np.ones((1, *space.shape))
    np.testing.assert_array_equal(space.ricci(space.origin[None], v), [[2.0] * 4 + [0.0] + [0.5] * 9])


def test_the_closed_form_of_dexpinv_differs_at_the_fifth_order_of_a_step() -> None:
    one, gaps = case("SO3, 2 points"), []
    for step in (0.2, 0.1):
        nodes = [EDM().node(0.7), EDM().node(0.7 - step)]
        ends = [
            sample(SOLVERS[name](space=SO3()), one.target.denoised, one.states(nodes[0]), nodes, terminal="none")
            for name in ("rkmk_4", "rkmk_4_exact")
        ]
        gaps.append(float(np.abs(ends[0] - ends[1]).max()))
    assert gaps[1] > 0.0
    assert math.log2(gaps[0] / gaps[1]) > 4.6


def test_the_bridge_step_is_its_formula() -> None:
    space, s, t = Sphere(2), EDM().node(0.8), EDM().node(0.6)
    law, x = target_on(space, 1), Sphere(2).reference(4, np.random.default_rng(0))
    z, h = np.random.default_rng(1).standard_normal(x.shape), 0.28
    found, _ = SOLVERS["bridge_mixture"](space=space).step(law.denoised, x, s, t, None, lambda a, b: z)
    v = h * law.score(x, s) + math.sqrt(h * 0.36 / 0.64) * space.noise(x, z)
    np.testing.assert_allclose(found, space.exp(x, v), atol=1e-12)
