"""What every space obeys, and that each of these laws fails on a space that is broken in the way the law is about."""

from __future__ import annotations

from collections.abc import Callable
from math import pi, prod
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scorebed.solvers.space import SO3, SU2, Box, Euclidean, HalfSpace, Hyperbolic, Polytope, Product, Simplex, Space, Sphere, Torus

TRIANGLE = ([[1.0, 1.0], [-1.0, 0.2], [0.0, -1.0]], [1.0, 1.0, 1.0])
FLAT = [
    Euclidean(3),
    Box(3),
    Box(2, lower=(-1.0, 2.0), upper=(0.5, 7.0)),
    Box(2, rule="project"),
    HalfSpace([1.0, 2.0, -2.0], 0.3),
    HalfSpace([0.0, 2.0], 0.3, rule="project"),
    Polytope(*TRIANGLE),
    Polytope(*TRIANGLE, rule="project"),
    Simplex(1),
    Simplex(4),
    Simplex(2, rule="project"),
]
ROUND = [Torus(1), Torus(3), Sphere(1), Sphere(2), Sphere(6), SO3(), SU2()]
OPEN = [Hyperbolic(1), Hyperbolic(2), Hyperbolic(4)]
MIXED = [Product(SO3(), Euclidean(3)), Product(Sphere(2), Torus(1), Hyperbolic(2)), Product(Box(2), SU2())]
SPACES: list[Space] = [*FLAT, *ROUND, *OPEN, *MIXED]
CURVED = [s for s in [*ROUND, *OPEN, *MIXED] if not s.bounded and not s.name.startswith(("Torus", "Sphere(1)", "Hyperbolic(1)"))]
every = pytest.mark.parametrize("space", SPACES, ids=repr)
seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=5)

Law = Callable[[Space, np.random.Generator], None]


def tolerance(space: Space) -> float:
    """Round-off of the coordinates: those of the hyperboloid grow with e^r, r up to 5 or so under the reference law."""
    return 1e-10 if "Hyperbolic" in space.name else 2e-14


def points(space: Space, rng: np.random.Generator, n: int = 12) -> np.ndarray:
    return space.reference(n, rng)


def vectors(space: Space, rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    return space.noise(x, rng.standard_normal(x.shape))


def column(space: Space, length: Any) -> Any:
    """Lengths of the batch, to scale tangent vectors with."""
    return length.reshape(length.shape + (1,) * len(space.shape))


def within(space: Space, rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """Tangent vectors shorter than the injectivity radius π in every factor."""
    v = vectors(space, rng, x)
    return v * column(space, rng.uniform(0.0, 3.0, len(x)) / space.norm(x, v))


def exp_undoes_log(space: Space, rng: np.random.Generator) -> None:
    x, y = points(space, rng), points(space, rng)
    np.testing.assert_allclose(space.exp(x, space.log(x, y)), y, rtol=0, atol=tolerance(space))


def log_undoes_exp(space: Space, rng: np.random.Generator) -> None:
    x = points(space, rng)
    v = within(space, rng, x)
    np.testing.assert_allclose(space.log(x, space.exp(x, v)), v, rtol=0, atol=10.0 * tolerance(space))


def log_is_tangent_of_the_length_of_the_distance(space: Space, rng: np.random.Generator) -> None:
    x, y = points(space, rng), points(space, rng)
    v = space.log(x, y)
    np.testing.assert_allclose(space.tangent(x, v), v, rtol=0, atol=tolerance(space))
    np.testing.assert_allclose(space.norm(x, v), space.distance(x, y), rtol=0, atol=tolerance(space))
    np.testing.assert_allclose(space.inner(x, v, v), space.norm(x, v) ** 2, rtol=1e-12)


def distance_is_a_metric(space: Space, rng: np.random.Generator) -> None:
    x, y, z = points(space, rng), points(space, rng), points(space, rng)
    np.testing.assert_allclose(space.distance(x, y), space.distance(y, x), rtol=0, atol=tolerance(space))
    assert (space.distance(x, y) > 0.0).all()
    assert (space.distance(x, x) <= 1e-7).all()
    assert (space.distance(x, z) <= space.distance(x, y) + space.distance(y, z) + tolerance(space)).all()


def geodesics_have_constant_speed(space: Space, rng: np.random.Generator) -> None:
    x = points(space, rng)
    v = within(space, rng, x)
    at = space.distance(space.exp(x, 0.25 * v), space.exp(x, 0.75 * v))
    np.testing.assert_allclose(at, 0.5 * space.norm(x, v), rtol=0, atol=10.0 * tolerance(space))


def transport_is_an_isometry(space: Space, rng: np.random.Generator) -> None:
    x, y = points(space, rng), points(space, rng)
    u, v = vectors(space, rng, x), vectors(space, rng, x)
    there, other = space.transport(x, y, u), space.transport(x, y, v)
    np.testing.assert_allclose(space.inner(y, there, other), space.inner(x, u, v), rtol=0, atol=10.0 * tolerance(space))
    np.testing.assert_allclose(space.tangent(y, there), there, rtol=0, atol=10.0 * tolerance(space))


def transport_back_is_the_reverse(space: Space, rng: np.random.Generator) -> None:
    x, y = points(space, rng), points(space, rng)
    v = vectors(space, rng, x)
    np.testing.assert_allclose(space.transport(y, x, space.transport(x, y, v)), v, rtol=0, atol=10.0 * tolerance(space))


def transport_carries_the_velocity(space: Space, rng: np.random.Generator) -> None:
    x, y = points(space, rng), points(space, rng)
    np.testing.assert_allclose(space.transport(x, y, space.log(x, y)), -space.log(y, x), rtol=0, atol=10.0 * tolerance(space))


def transport_is_the_limit_of_schilds_ladder(space: Space, rng: np.random.Generator) -> None:
    """What fixes transport among the isometries: a rung of a ladder with sides a and b is off by O(ab(a + b))."""
    x = points(space, rng)
    step, rung = 0.02 * within(space, rng, x), 0.02 * within(space, rng, x)
    y = space.exp(x, step)
    top = space.exp(x, rung)
    middle = space.exp(top, 0.5 * space.log(top, y))
    ladder = space.log(y, space.exp(x, 2.0 * space.log(x, middle)))
    a, b = space.norm(x, step), space.norm(x, rung)
    assert (space.norm(y, ladder - space.transport(x, y, rung)) <= a * b * (a + b) + tolerance(space)).all()


def projection_is_idempotent_and_fixes_the_space(space: Space, rng: np.random.Generator) -> None:
    x = points(space, rng)
    np.testing.assert_allclose(space.project(x), x, rtol=0, atol=tolerance(space))
    p = space.project(x + 0.5 * rng.standard_normal(x.shape))
    assert (space.deviation(p) <= tolerance(space)).all()
    np.testing.assert_allclose(space.project(p), p, rtol=0, atol=tolerance(space))


def tangent_projection_is_orthogonal(space: Space, rng: np.random.Generator) -> None:
    x = points(space, rng)
    a, u = rng.standard_normal(x.shape), vectors(space, rng, x)
    t = space.tangent(x, a)
    np.testing.assert_allclose(space.tangent(x, t), t, rtol=0, atol=100.0 * tolerance(space))
    # ⟨u, gradient(x, c)⟩ is the plain pairing of u with c: the derivative of a linear function along u
    pairing = (a * u).reshape(len(x), -1).sum(axis=1)
    np.testing.assert_allclose(space.inner(x, space.gradient(x, a), u), pairing, rtol=0, atol=100.0 * tolerance(space))


def noise_has_the_metric_as_covariance(space: Space, rng: np.random.Generator) -> None:
    """Σ_i ⟨noise(e_i), u⟩ noise(e_i) = u for tangent u: exactly the identity of T_x, no sampling."""
    x = points(space, rng)
    u = vectors(space, rng, x)
    total = np.zeros_like(u)
    for e in np.eye(prod(space.shape)):
        xi = space.noise(x, np.broadcast_to(e.reshape(space.shape), x.shape))
        np.testing.assert_allclose(space.tangent(x, xi), xi, rtol=0, atol=100.0 * tolerance(space))
        total = total + column(space, space.inner(x, xi, u)) * xi
    np.testing.assert_allclose(total, u, rtol=0, atol=100.0 * tolerance(space))


def zero_moves_nothing(space: Space, rng: np.random.Generator) -> None:
    x = points(space, rng)
    for go in (space.exp, space.move, space.retract, space.retract1):
        np.testing.assert_allclose(go(x, np.zeros_like(x)), x, rtol=1e-15, atol=1e-15)
    v = vectors(space, rng, x)
    np.testing.assert_allclose(space.transport(x, x, v), v, rtol=0, atol=tolerance(space))
    assert (space.norm(x, space.log(x, x)) <= 1e-15).all()


def moves_end_in_the_space(space: Space, rng: np.random.Generator) -> None:
    x = points(space, rng)
    v = vectors(space, rng, x)
    for go in (space.move, space.retract, space.retract1):
        assert (space.deviation(go(x, v)) <= 4e-15).all()


def batches_do_not_mix(space: Space, rng: np.random.Generator) -> None:
    x, y = points(space, rng), points(space, rng)
    v = 5.0 * vectors(space, rng, x)
    calls = {
        "exp": (x, v), "move": (x, v), "log": (x, y), "distance": (x, y), "transport": (x, y, v), "project": (x + v,), "tangent": (x, v),
        "inner": (x, v, v), "norm": (x, v), "noise": (x, v), "gradient": (x, v), "retract": (x, v), "retract1": (x, v), "deviation": (x,),
    }  # fmt: skip
    for name, args in calls.items():
        whole = getattr(space, name)(*args)
        alone = np.stack([getattr(space, name)(*(a[i] for a in args)) for i in range(len(x))])
        np.testing.assert_allclose(alone, whole, rtol=1e-12, atol=1e-12, err_msg=name)
        folded = getattr(space, name)(*(a.reshape(3, 4, *space.shape) for a in args))
        np.testing.assert_allclose(folded.reshape(whole.shape), whole, rtol=1e-12, atol=1e-12, err_msg=name)


LAWS: list[Law] = [
    exp_undoes_log,
    log_undoes_exp,
    log_is_tangent_of_the_length_of_the_distance,
    distance_is_a_metric,
    geodesics_have_constant_speed,
    transport_is_an_isometry,
    transport_back_is_the_reverse,
    transport_carries_the_velocity,
    transport_is_the_limit_of_schilds_ladder,
    projection_is_idempotent_and_fixes_the_space,
    tangent_projection_is_orthogonal,
    noise_has_the_metric_as_covariance,
    zero_moves_nothing,
    moves_end_in_the_space,
    batches_do_not_mix,
]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@every
def test_space(space: Space, law: Law) -> None:
    @few
    @given(seeds)
    def holds(seed: int) -> None:
        law(space, np.random.default_rng(seed))

    holds()


def orders(space: Space, name: str, rng: np.random.Generator) -> float:
    """The exponent p of |retraction − exp| = O(h^p), from h = 1/32 and h = 1/64."""
    x = points(space, rng, 40)
    v = vectors(space, rng, x)
    gaps = [np.sqrt(np.mean((getattr(space, name)(x, h * v) - space.exp(x, h * v)) ** 2)) for h in (1.0 / 32, 1.0 / 64)]
    return float(np.log2(gaps[0] / gaps[1]))


@pytest.mark.parametrize("space", CURVED, ids=repr)
def test_retract_is_of_second_order_and_retract1_of_first(space: Space) -> None:
    assert orders(space, "retract", np.random.default_rng(0)) == pytest.approx(3.0, abs=0.15)
    assert orders(space, "retract1", np.random.default_rng(0)) == pytest.approx(2.0, abs=0.15)


WALKS: list[Space] = [
    Box(3), Box(2, rule="project"), HalfSpace([1.0, 2.0], 0.3), Polytope(*TRIANGLE), Polytope(*TRIANGLE, rule="project"), Simplex(4),
    Simplex(2, rule="project"), Torus(3), Sphere(1), Sphere(6), SO3(), SU2(), Hyperbolic(2),
]  # fmt: skip


@pytest.mark.parametrize("space", WALKS, ids=repr)
def test_many_moves_stay_in_the_space(space: Space) -> None:
    rng = np.random.default_rng(3)
    x = points(space, rng, 2)
    for _ in range(10):
        for z in rng.standard_normal((1000, *x.shape)):
            x = space.move(x, space.noise(x, 0.03 * z))
        assert np.isfinite(x).all()
        assert (space.deviation(x) <= 2e-15).all()
        space.check(x, tol=2e-15)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@every
def test_torch_equals_numpy(space: Space, dtype: torch.dtype) -> None:
    rng = np.random.default_rng(5)
    double = points(space, rng), points(space, rng)
    x, y = (space.project(p.astype(np.float32)) if dtype == torch.float32 else p for p in double)
    a = rng.standard_normal(x.shape).astype(x.dtype)
    v = space.noise(x, a)
    calls = {
        "exp": (x, v), "move": (x, v), "log": (x, y), "distance": (x, y), "transport": (x, y, v), "project": (x + a,), "tangent": (x, a),
        "inner": (x, v, v), "norm": (x, v), "noise": (x, a), "gradient": (x, a), "retract": (x, v), "retract1": (x, v), "deviation": (x,),
        "contains": (x,),
    }  # fmt: skip
    tol = 3e-4 if dtype == torch.float32 else 1e-11
    for name, args in calls.items():
        ours = getattr(space, name)(*args)
        theirs = getattr(space, name)(*map(torch.from_numpy, args))
        assert isinstance(theirs, torch.Tensor), name
        assert tuple(theirs.shape) == ours.shape, name
        assert theirs.dtype == (torch.bool if name == "contains" else dtype), name
        assert ours.dtype == (bool if name == "contains" else x.dtype), name
        np.testing.assert_allclose(theirs.numpy(), ours, rtol=tol, atol=tol, err_msg=name)
    space.check(torch.from_numpy(x))
    if space.bounded and hasattr(space, "reflect"):
        for ours, theirs in zip(space.reflect(x, 9.0 * v), space.reflect(*map(torch.from_numpy, (x, 9.0 * v))), strict=True):
            np.testing.assert_allclose(theirs.numpy(), ours, rtol=tol, atol=20.0 * tol)


@every
def test_dimension_is_the_rank_of_the_noise(space: Space) -> None:
    x = points(space, np.random.default_rng(0), 1)[0]
    rows = [space.noise(x, e.reshape(space.shape)).reshape(-1) for e in np.eye(prod(space.shape))]
    assert np.linalg.matrix_rank(np.stack(rows), tol=1e-9) == space.dim


# each law on a space that is broken in one way -----------------------------------------------------------------------------------------


def broken(base: type[Space], *args: Any, **methods: Any) -> Space:
    return type(f"Broken{base.__name__}", (base,), methods)(*args)


class Unnormalised(Sphere):
    def exp(self, x: Any, v: Any) -> Any:
        length = np.linalg.norm(v, axis=-1, keepdims=True)
        return np.cos(length) * x + np.sinc(length / pi) * v * (1.0 + 1e-9)


class NoTransport(Sphere):
    def transport(self, x: Any, y: Any, v: Any) -> Any:
        return v


class WrongHolonomy(Hyperbolic):
    def transport(self, x: Any, y: Any, v: Any) -> Any:
        return self.from_frame(y, self.to_frame(x, v))


class LeftTransport(SO3):
    def transport(self, x: Any, y: Any, v: Any) -> Any:
        return self.from_algebra(y, self.to_algebra(x, v))


class ThinNoise(SO3):
    def noise(self, x: Any, z: Any) -> Any:
        return self.tangent(x, z)


class PlainGradient(SO3):
    def gradient(self, x: Any, g: Any) -> Any:
        return self.tangent(x, g)


class Signed(Torus):
    def distance(self, x: Any, y: Any) -> Any:
        return self.log(x, y).sum(axis=-1)


class ChordDistance(Sphere):
    def distance(self, x: Any, y: Any) -> Any:
        return np.linalg.norm(x - y, axis=-1)


class SquaredDistance(Torus):
    def distance(self, x: Any, y: Any) -> Any:
        return super().distance(x, y) ** 2


class Unwrapped(Torus):
    def log(self, x: Any, y: Any) -> Any:
        return y - x


class HalfClipped(Box):
    def project(self, x: Any) -> Any:
        return np.minimum(x, 1.0)


class Mixing(Sphere):
    def project(self, x: Any) -> Any:
        return x / np.linalg.norm(x, axis=-1).max()


class Restless(Sphere):
    def retract(self, x: Any, v: Any) -> Any:
        return super().retract(x, v + 1e-9)


class Oblique(Sphere):
    def tangent(self, x: Any, v: Any) -> Any:
        return v - v[..., :1] * x / x[..., :1]


BROKEN: list[tuple[Law, Space]] = [
    (exp_undoes_log, Unnormalised(2)),
    (log_undoes_exp, Unwrapped(2)),
    (log_is_tangent_of_the_length_of_the_distance, ChordDistance(2)),
    (distance_is_a_metric, Signed(2)),
    (distance_is_a_metric, SquaredDistance(1)),
    (geodesics_have_constant_speed, ChordDistance(2)),
    (transport_is_an_isometry, NoTransport(2)),
    (transport_back_is_the_reverse, broken(Sphere, 2, transport=lambda self, x, y, v: Sphere.transport(self, x, y, 1.01 * v))),
    (transport_carries_the_velocity, WrongHolonomy(2)),
    (transport_is_the_limit_of_schilds_ladder, LeftTransport()),
    (projection_is_idempotent_and_fixes_the_space, HalfClipped(2)),
    (tangent_projection_is_orthogonal, Oblique(2)),
    (tangent_projection_is_orthogonal, PlainGradient()),
    (noise_has_the_metric_as_covariance, ThinNoise()),
    (zero_moves_nothing, Restless(2)),
    (moves_end_in_the_space, Unnormalised(2)),
    (batches_do_not_mix, Mixing(2)),
]


@pytest.mark.parametrize(("law", "space"), BROKEN, ids=lambda x: x.__name__ if callable(x) else type(x).__name__)
def test_the_law_bites(law: Law, space: Space) -> None:
    with pytest.raises(AssertionError):
        law(space, np.random.default_rng(0))


def test_every_law_has_a_space_that_breaks_it() -> None:
    assert {law for law, _ in BROKEN} == set(LAWS)


@pytest.mark.parametrize("space", SPACES, ids=repr)
def test_origin_and_edges_are_points_of_the_space(space: Space) -> None:
    assert space.origin.shape == space.shape
    np.testing.assert_array_equal(space.edges()[0], space.origin)
    space.check(space.edges(), "edges", tol=1e-14)
    if space in FLAT:
        assert not space.ricci(space.origin, np.ones(space.shape)).any()
    if space.bounded and not isinstance(space, Product):
        assert float(np.min(space.gaps(space.origin))) > 1e-3  # type: ignore[attr-defined]
