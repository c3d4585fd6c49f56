"""Group structure, generators and symmetries: what Munthe-Kaas and commutator-free methods build on."""

from __future__ import annotations

from math import factorial, pi
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.linalg import expm
from scipy.stats import kstest

from scorebed.solvers.space import SO3, SU2, Hyperbolic, Simplex, Space, Sphere, Torus
from scorebed.solvers.space.generator import apply_exp

seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=10)
groups = pytest.mark.parametrize("group", [SO3(), SU2()], ids=repr)
homogeneous = pytest.mark.parametrize("space", [Sphere(1), Sphere(2), Sphere(5), Hyperbolic(1), Hyperbolic(2), Hyperbolic(4)], ids=repr)


def multiply(group: Any, a: Any, b: Any) -> Any:
    return a @ b if isinstance(group, SO3) else group.multiply(a, b)


def minkowski(space: Space) -> np.ndarray:
    """The form that the symmetry group keeps."""
    form = np.eye(space.shape[0])
    if isinstance(space, Hyperbolic):
        form[0, 0] = -1.0
    return form


@groups
@few
@given(seed=seeds, length=st.sampled_from([1e-160, 1e-9, 0.1, 1.0, 3.0]))
def test_exp_log_hat_and_vee(group: Any, seed: int, length: float) -> None:
    rng = np.random.default_rng(seed)
    u = length * Sphere(2).uniform(10, rng)
    assert_allclose(group.vee(group.hat(u)), u, rtol=1e-15)
    r = group.group_exp(u)
    assert (group.deviation(r) <= 1e-15 * 4).all()
    assert_allclose(group.group_log(r), u, rtol=3e-14)
    assert_allclose(multiply(group, r, group.group_exp(-u)), identity(group, r), atol=1e-15)
    if isinstance(group, SO3):
        assert_allclose(r, np.stack([expm(a) for a in group.hat(u)]), rtol=0, atol=1e-14)


def identity(group: Any, like: np.ndarray) -> np.ndarray:
    return np.broadcast_to(np.eye(3) if isinstance(group, SO3) else np.eye(4)[0], like.shape)


@groups
def test_the_bracket_is_the_commutator(group: Any) -> None:
    rng = np.random.default_rng(0)
    u, w = rng.standard_normal((2, 10, 3))
    commutator = multiply(group, group.hat(u), group.hat(w)) - multiply(group, group.hat(w), group.hat(u))
    assert_allclose(group.hat(group.bracket(u, w)), commutator, atol=1e-14)


@groups
@pytest.mark.parametrize("length", [0.0, 1e-160, 1e-6, 0.2, 0.2499, 0.2501, 0.4999, 0.5001, 1.0, 2.5])
def test_dexpinv_inverts_dexp(group: Any, length: float) -> None:
    """dexp_u = Σ ad_u^k / (k + 1)!, summed to round-off."""
    rng = np.random.default_rng(0)
    u, b = length * Sphere(2).uniform(20, rng), rng.standard_normal((20, 3))
    x = group.dexpinv(u, b)
    term, total = x, x
    for k in range(1, 60):
        term = group.bracket(u, term)
        total = total + term / factorial(k + 1)
    assert_allclose(total, b, rtol=0, atol=2e-14)


@groups
def test_dexpinv_is_the_derivative_of_the_logarithm(group: Any) -> None:
    """u(t) = log(exp(t b) exp(u)) has u' = dexpinv(u, b), and log(exp(u) exp(t b)) has dexpinv(−u, b): the two trivialisations."""
    rng = np.random.default_rng(1)
    u, b = Sphere(2).uniform(10, rng), rng.standard_normal((10, 3))
    h = 1e-4

    def left(t: float) -> Any:
        return group.group_log(multiply(group, group.group_exp(t * b), group.group_exp(u)))

    def right(t: float) -> Any:
        return group.group_log(multiply(group, group.group_exp(u), group.group_exp(t * b)))

    for path, sign in ((left, 1.0), (right, -1.0)):
        slope = (8.0 * (path(h) - path(-h)) - (path(2 * h) - path(-2 * h))) / (12.0 * h)
        assert_allclose(group.dexpinv(sign * u, b), slope, atol=1e-10)
        assert np.abs(group.dexpinv(-sign * u, b) - slope).max() > 0.1


@groups
@few
@given(seed=seeds)
def test_the_frame_is_left_invariant_and_orthonormal(group: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, g = group.uniform(10, rng), group.uniform(10, rng)
    u = rng.standard_normal((10, 3))
    v = group.from_algebra(x, u)
    assert_allclose(group.tangent(x, v), v, atol=1e-14)
    assert_allclose(group.to_algebra(x, v), u, atol=1e-14)
    assert_allclose(group.norm(x, v), np.linalg.norm(u, axis=-1), rtol=1e-14)
    assert_allclose(group.exp(x, v), multiply(group, x, group.group_exp(u)), atol=1e-14)
    assert_allclose(group.to_algebra(multiply(group, g, x), multiply(group, g, v)), u, atol=1e-14)


def test_su2_covers_so3_twice() -> None:
    two, three, rng = SU2(), SO3(), np.random.default_rng(0)
    p, q = two.uniform(30, rng), two.uniform(30, rng)
    assert_allclose(two.to_rotation(two.multiply(p, q)), two.to_rotation(p) @ two.to_rotation(q), atol=1e-14)
    assert_allclose(two.to_rotation(-p), two.to_rotation(p), atol=1e-14)
    w = rng.standard_normal((30, 3))
    turned = two.vee(two.multiply(two.multiply(p, two.hat(w)), two.inverse(p)))
    assert_allclose((two.to_rotation(p) @ w[..., None])[..., 0], turned, atol=1e-14)
    u = two.noise(p, 0.1 * rng.standard_normal(p.shape))
    assert_allclose(three.distance(two.to_rotation(p), two.to_rotation(two.exp(p, u))), 2.0 * two.norm(p, u), rtol=1e-12)


def test_transport_in_so3_is_that_of_its_cover() -> None:
    """S³ → SO(3) is a local isometry up to the factor 2, and the sphere's transport is another formula."""
    two, three, rng = SU2(), SO3(), np.random.default_rng(3)
    p = two.uniform(50, rng)
    step = two.noise(p, rng.standard_normal(p.shape))
    q = two.exp(p, step / two.norm(p, step)[:, None] * rng.uniform(0.0, 1.5, (50, 1)))
    u = rng.standard_normal((50, 3))
    above = two.to_algebra(q, two.transport(p, q, two.from_algebra(p, u)))
    x, y = two.to_rotation(p), two.to_rotation(q)
    below = three.to_algebra(y, three.transport(x, y, three.from_algebra(x, 2.0 * u)))
    assert_allclose(below, 2.0 * above, rtol=0, atol=1e-13)


@homogeneous
@few
@given(seed=seeds)
def test_generators(space: Any, seed: int) -> None:
    """A_x(v) x = v, A_x(v) keeps the form, exp(A_x(v)) x = exp_x(v), and exp(A_x(v)) is transport on T_x and an isometry of the space."""
    rng = np.random.default_rng(seed)
    x, y = space.reference(8, rng), space.reference(8, rng)
    v, u = (0.5 * space.noise(x, rng.standard_normal(x.shape)) for _ in range(2))
    a, form = space.generator(x, v), minkowski(space)
    size = 1e-12 if isinstance(space, Hyperbolic) else 3e-15
    scale = np.abs(a).max()
    assert_allclose((a @ x[..., None])[..., 0], v, atol=size * scale * np.abs(x).max())
    assert_allclose(form @ a + np.swapaxes(form @ a, -1, -2), 0.0, atol=size)
    end = space.exp(x, v)
    grown = 1e-11 if isinstance(space, Hyperbolic) else 1e-14
    assert_allclose(space.rotate(x, v, x), end, rtol=grown, atol=grown * scale)
    assert_allclose(space.act(a, x), end, rtol=grown, atol=grown * scale)
    assert_allclose(space.rotate(x, v, u), space.transport(x, end, u), rtol=grown, atol=grown * scale**2)
    far = space.rotate(x, v, y)
    assert_allclose(far, (np.stack([expm(m) for m in a]) @ y[..., None])[..., 0], rtol=grown, atol=grown * scale * np.abs(y).max())
    assert_allclose(space.distance(end, space.project(far)), space.distance(x, y), atol=1e-9 if isinstance(space, Hyperbolic) else 1e-14)


@homogeneous
def test_sums_of_generators_act(space: Any) -> None:
    """What a commutator-free step exponentiates: a combination of generators at different points, of rank 4."""
    rng = np.random.default_rng(2)
    x, y, z = (space.exp(o, 0.3 * space.noise(o, rng.standard_normal(o.shape))) for o in [space.reference(6, rng)] * 3)
    a = 0.7 * space.generator(x, space.noise(x, rng.standard_normal(x.shape))) - 0.2 * space.generator(
        y, space.noise(y, rng.standard_normal(x.shape))
    )
    exact = (np.stack([expm(m) for m in a]) @ z[..., None])[..., 0]
    assert_allclose(space.act(a, z), exact, rtol=1e-11, atol=1e-12 * np.abs(exact).max())
    assert (space.deviation(space.act(a, z)) <= 1e-15).all()
    theirs = space.act(torch.from_numpy(a), torch.from_numpy(z))
    assert_allclose(theirs.numpy(), space.act(a, z), rtol=1e-12, atol=1e-12)
    one = space.act(a.astype(np.float32), z.astype(np.float32))
    assert one.dtype == np.float32


def test_long_generators() -> None:
    for size in (0.0, 1e-200, 1.0, 30.0, 1000.0):
        a = size * np.array([[0.0, -1.0], [1.0, 0.0]])
        assert_allclose(apply_exp(a, np.array([1.0, 0.0])), [np.cos(size), np.sin(size)], rtol=0, atol=1e-15 * max(1.0, size))
    for bad in (np.inf, np.nan, 1e9):
        with pytest.raises(ValueError, match="cannot be exponentiated"):
            apply_exp(np.full((2, 2), bad), np.ones(2))


@pytest.mark.parametrize("d", [1, 2, 5])
def test_spheres_have_the_symmetry_of_rotations(d: int) -> None:
    rng = np.random.default_rng(0)
    space, g = Sphere(d), np.linalg.qr(rng.standard_normal((d + 1, d + 1)))[0]
    x, y = space.uniform(10, rng), space.uniform(10, rng)
    v = space.noise(x, rng.standard_normal(x.shape))
    for name, args in {"exp": (x, v), "log": (x, y), "transport": (x, y, v), "retract": (x, v), "project": (x + v,)}.items():
        assert_allclose(getattr(space, name)(*(a @ g for a in args)), getattr(space, name)(*args) @ g, atol=1e-14, err_msg=name)


def test_hyperbolic_space_has_the_symmetry_of_boosts() -> None:
    rng = np.random.default_rng(0)
    space = Hyperbolic(3)
    o, w = space.origin, np.array([0.0, 0.4, -0.9, 0.3])
    x, y = space.reference(10, rng), space.reference(10, rng)
    v = space.noise(x, rng.standard_normal(x.shape))

    def boost(p: Any) -> Any:
        return space.rotate(o, w, p)

    for name, args in {"exp": (x, v), "log": (x, y), "transport": (x, y, v), "retract": (x, v)}.items():
        assert_allclose(getattr(space, name)(*map(boost, args)), boost(getattr(space, name)(*args)), rtol=1e-10, atol=1e-10, err_msg=name)
    assert_allclose(space.distance(boost(x), boost(y)), space.distance(x, y), rtol=1e-12)


def test_uniform_laws() -> None:
    """Archimedes: a coordinate of S² is uniform. The angle of a Haar rotation has density (1 − cos θ)/π. And so on, one number each."""
    rng, n = np.random.default_rng(0), 4000

    def fits(values: np.ndarray, cdf: Any) -> None:
        assert kstest(values, cdf).pvalue > 0.005

    axis = np.array([0.48, 0.6, 0.64])
    fits(Sphere(2).uniform(n, rng) @ axis, lambda t: (1.0 + t) / 2.0)
    angle = SO3().distance(SO3().uniform(n, rng), SO3().group_exp(2.0 * axis))
    fits(angle, lambda t: (t - np.sin(t)) / pi)
    fits(SU2().distance(SU2().uniform(n, rng), np.eye(4)[0]), lambda t: (t - np.sin(t) * np.cos(t)) / pi)
    fits(Simplex(3).uniform(n, rng)[:, 1], lambda t: 1.0 - (1.0 - t) ** 3)
    fits(Torus(2).uniform(n, rng)[:, 1], lambda t: (t + pi) / (2.0 * pi))
    radius = Hyperbolic(2).distance(Hyperbolic(2).origin, Hyperbolic(2).reference(n, rng))
    fits(radius, lambda t: 1.0 - np.exp(-(t**2) / 2.0))
