"""Gradients through the spaces in torch: right at v = 0, at y = x, at the origin and everywhere else but on the cut locus, by difference
quotient along a curve in the space; and through whole runs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from scorebed.solvers import EDM, SOLVERS, grid, sample
from scorebed.solvers.space import SO3, SU2, Box, Euclidean, Hyperbolic, Product, Space, Sphere, Torus

SPACES = (Euclidean(2), Torus(2), Sphere(1), Sphere(2), Sphere(4), SO3(), SU2(), Hyperbolic(1), Hyperbolic(2), Product(SO3(), Torus(1)))
STEP = 1e-5


def points(space: Space, seed: int = 0) -> list[np.ndarray]:
    """Points of the space: ordinary ones, one where coordinates are special, and one far out where there is room."""
    rng = np.random.default_rng(seed)
    made = [np.asarray(one) for one in space.reference(2, rng)]
    if isinstance(space, Hyperbolic):
        z = rng.standard_normal(space.dim)
        made += [space.origin, *(np.array([math.cosh(r), *(math.sinh(r) * z / np.linalg.norm(z))]) for r in (0.2, 0.4, 2.0))]
    elif isinstance(space, SO3):
        made.append(np.eye(3))
    else:
        made.append(np.asarray(space.project(np.eye(space.shape[0])[0])))
    return made


def rate(function: Callable[[Any], Any]) -> tuple[np.ndarray, np.ndarray]:
    """d/dt at 0 of a function of t, by torch and by differences."""
    t = torch.zeros((), dtype=torch.float64, requires_grad=True)
    out = function(t) + 0.0 * t
    found = np.array([float(torch.autograd.grad(one, t, retain_graph=True)[0]) for one in out.reshape(-1)])
    up, down = (function(torch.tensor(sign * STEP, dtype=torch.float64)) for sign in (1.0, -1.0))
    return found, ((up - down) / (2.0 * STEP)).reshape(-1).numpy()


def cases(space: Space) -> dict[str, Callable[[Any], Any]]:
    """Functions of t through exp, log, transport, distance², norm², project, retract, rotate, with the kinks at t = 0."""
    rng = np.random.default_rng(5)

    def some(x: Any) -> Any:
        return space.tangent(x, torch.as_tensor(0.6 * rng.standard_normal(space.shape)))

    made: dict[str, Callable[[Any], Any]] = {}
    places = [torch.as_tensor(p) for p in points(space)]
    for i, x in enumerate(places):
        v, w = some(x), some(x)
        made[f"exp at v = 0, {i}"] = lambda t, x=x, v=v: space.exp(x, t * v)
        made[f"exp, {i}"] = lambda t, x=x, v=v, w=w: space.exp(x, v + t * w)
        made[f"exp from a moving point, {i}"] = lambda t, x=x, v=v, w=w: (lambda z: space.exp(z, space.tangent(z, w)))(space.exp(x, t * v))
        made[f"retract at v = 0, {i}"] = lambda t, x=x, v=v: space.retract(x, t * v)
        made[f"retract1 at v = 0, {i}"] = lambda t, x=x, v=v: space.retract1(x, t * v)
        made[f"norm² at v = 0, {i}"] = lambda t, x=x, v=v: space.norm(x, t * v) ** 2
        made[f"project, {i}"] = lambda t, x=x, v=v, w=w: space.project(x + t * torch.as_tensor(np.ones(space.shape)))
        for j, y in enumerate(places):
            if j != i and float(space.distance(x, y)) > 2.8 and space.compact:
                continue  # near the cut locus
            made[f"log of a moving end, {i} {j}"] = lambda t, x=x, y=y, j=j: space.log(x, space.exp(y, t * some_at(space, y, 1)))
            made[f"log from a moving point, {i} {j}"] = lambda t, x=x, y=y: space.log(space.exp(x, t * some_at(space, x, 2)), y)
            made[f"distance², {i} {j}"] = lambda t, x=x, y=y: space.distance(x, space.exp(y, t * some_at(space, y, 3))) ** 2
            made[f"transport to a moving end, {i} {j}"] = lambda t, x=x, y=y, v=v: space.transport(
                x, space.exp(y, t * some_at(space, y, 4)), v
            )
            made[f"transport from a moving point, {i} {j}"] = lambda t, x=x, y=y: (
                lambda z: space.transport(z, y, space.tangent(z, some_at(space, x, 5)))
            )(space.exp(x, t * some_at(space, x, 6)))
        if hasattr(space, "rotate"):
            made[f"rotate at v = 0, {i}"] = lambda t, x=x, v=v, w=w: space.rotate(x, t * v, w)
        if hasattr(space, "group_exp"):
            u = torch.as_tensor(np.random.default_rng(7).standard_normal(3))
            made[f"group, {i}"] = lambda t, u=u: space.group_log(space.group_exp(t * u))
            made[f"dexpinv, {i}"] = lambda t, u=u: space.dexpinv(t * u, torch.flip(u, (0,)))
    return made


def some_at(space: Space, x: Any, seed: int) -> Any:
    return space.tangent(x, torch.as_tensor(0.6 * np.random.default_rng(seed).standard_normal(space.shape)))


@pytest.mark.parametrize("space", SPACES, ids=repr)
def test_every_gradient_is_the_difference_quotient(space: Space) -> None:
    for what, function in cases(space).items():
        found, exact = rate(function)
        size = 1.0 + np.abs(exact).max()
        np.testing.assert_allclose(found, exact, rtol=0.0, atol=2e-8 * size, err_msg=f"{space!r}: {what}")


@pytest.mark.parametrize("space", SPACES, ids=repr)
def test_in_batches_and_in_float32_none_is_nan(space: Space) -> None:
    """One point at a kink does not spoil the others."""
    x = torch.as_tensor(np.stack(points(space)), dtype=torch.float32)
    ends = torch.cat((x[:1], x[:1].expand(len(x) - 1, *space.shape)))
    for what, arguments in (("exp", "av"), ("log", "ab"), ("transport", "abv"), ("distance", "ab"), ("norm", "av"), ("project", "a")):
        of = {k: one.clone().requires_grad_(True) for k, one in (("a", x), ("b", ends), ("v", torch.zeros_like(x)))}
        out = getattr(space, what)(*(of[k] for k in arguments))
        for gradient in torch.autograd.grad(out.sum(), tuple(of.values()), allow_unused=True):
            assert gradient is None or bool(torch.isfinite(gradient).all()), f"{space!r}: {what}"


@pytest.mark.parametrize(("name", "terminal"), [("cf_4", "none"), ("cf_4", "denoise"), ("retraction_heun", "none"), ("rkmk_3", "denoise")])
def test_gradients_of_whole_runs_on_rotations(name: str, terminal: str) -> None:
    so3, nodes = SO3(), grid.karras(EDM(), 3, 1.0, 0.05)
    x = torch.from_numpy(so3.uniform(4, np.random.default_rng(0)))
    turn = so3.from_algebra(x, torch.ones(4, 3, dtype=torch.float64))

    def end(t: Any) -> Any:
        return sample(
            SOLVERS[name](space=so3),
            lambda z, node: z + 0.5 * (torch.eye(3, dtype=z.dtype) - z),
            so3.exp(x, t * turn),
            nodes,
            terminal=terminal,
        )

    found, exact = rate(end)
    np.testing.assert_allclose(found, exact, atol=1e-8)


@pytest.mark.parametrize("space", [Sphere(2), Hyperbolic(2), Torus(2), Box(2)], ids=repr)
def test_where_the_denoiser_stands_still_the_gradient_does_not_vanish(space: Space) -> None:
    """D(x) = x: the flow does not move, and d(end)/d(start) is the identity on tangent vectors."""
    nodes = grid.karras(EDM(), 3, 1.0, 0.05)
    x = torch.as_tensor(np.asarray(space.reference(3, np.random.default_rng(2))))
    v = space.tangent(x, torch.as_tensor(0.6 * np.random.default_rng(3).standard_normal(x.shape)))
    method = SOLVERS["geodesic_heun"](space=space)
    found, exact = rate(lambda t: sample(method, lambda z, node: 1.0 * z, space.exp(x, 0.1 * t * v), nodes, terminal="none"))
    np.testing.assert_allclose(found, exact, atol=1e-8)
    np.testing.assert_allclose(found, 0.1 * v.reshape(-1).numpy(), atol=1e-8)


def test_rotations_beside_the_orthogonal_ones() -> None:
    """The gradient of the projection off the group, and for a reflection, against differences in every entry."""
    so3 = SO3()
    for x in (np.diag([1.0, 1.0, 1.0]) + 0.3 * np.random.default_rng(0).standard_normal((3, 3)), np.diag([1.3, 0.9, -0.2])):
        a = torch.tensor(x, requires_grad=True)
        weights = torch.tensor(np.random.default_rng(1).standard_normal((3, 3)))
        (found,) = torch.autograd.grad((so3.project(a) * weights).sum(), a)
        for i in range(3):
            for j in range(3):
                e = np.zeros((3, 3))
                e[i, j] = STEP
                up, down = (float((torch.tensor(so3.project(x + sign * e)) * weights).sum()) for sign in (1.0, -1.0))
                assert float(found[i, j]) == pytest.approx((up - down) / (2.0 * STEP), abs=1e-7)


@pytest.mark.parametrize(("dtype", "reach"), [(np.float64, 18.0), (np.float32, 8.0)])
def test_the_hyperbolic_radius_is_what_the_dtype_resolves(dtype: type, reach: float) -> None:
    """Beyond it a start is refused; two units inside a step by an ambient vector is good to some percent, which it is not beyond."""
    plane, step = Hyperbolic(2), 0.3

    def at(r: float) -> np.ndarray:
        return np.array([[math.cosh(r), math.sinh(r) * math.cos(1.0), math.sinh(r) * math.sin(1.0)]])

    def error(r: float) -> float:
        x = at(r).astype(dtype)
        aim = plane.exp(x, plane.from_frame(x, np.array([[0.6, -0.8]], dtype) * np.array(step, dtype)))
        found = plane.norm(x, plane.tangent(x, aim - x))
        return abs(float(found[0]) - math.sinh(step)) / step

    assert error(reach - 2.5) < 0.1
    assert error(reach + 2.0) > 0.3
    plane.check(at(reach - 0.5).astype(dtype))
    with pytest.raises(ValueError, match=rf"x has points at distance .* where {np.dtype(dtype)} resolves steps up to {reach}"):
        sample(SOLVERS["cf_4"](space=plane), lambda x, node: x, at(reach + 0.5).astype(dtype), grid.karras(EDM(), 2, 1.0, 0.1))
