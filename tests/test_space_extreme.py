"""Cut loci, coincident points, tiny and huge lengths, wrong and integer input."""

from __future__ import annotations

from math import pi
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from scorebed.solvers.space import SO3, SU2, Box, Euclidean, HalfSpace, Hyperbolic, Polytope, Product, Simplex, Space, Sphere, Torus
from scorebed.solvers.space.torus import wrap

TINY = [1e-300, 1e-160, 1e-30, 1e-12, 1e-8]


def triple(space: Space, x: Any, y: Any) -> None:
    """log, exp, transport and distance between x and y agree and are finite."""
    v = space.log(x, y)
    assert np.isfinite(v).all()
    assert_allclose(space.tangent(x, v), v, rtol=0, atol=1e-14)
    assert_allclose(space.exp(x, v), y, rtol=0, atol=3e-15)
    assert_allclose(space.norm(x, v), space.distance(x, y), rtol=0, atol=3e-15)
    e = np.eye(int(np.prod(space.shape))).reshape(-1, *space.shape)
    u = space.tangent(x, e)
    w = space.transport(x, y, u)
    assert np.isfinite(w).all()
    assert_allclose(space.tangent(y, w), w, rtol=0, atol=1e-15)
    assert_allclose(space.inner(y, w, w), space.inner(x, u, u), rtol=0, atol=1e-14)


@pytest.mark.parametrize("d", [1, 2, 5])
@pytest.mark.parametrize("off", [0.0, 1e-300, 1e-160, 1e-17, 1e-16, 1e-15, 1e-12, 1e-8, 1e-4])
def test_antipodes_of_the_sphere(d: int, off: float) -> None:
    space, rng = Sphere(d), np.random.default_rng(0)
    for x in [*np.eye(d + 1), *space.uniform(20, rng)]:
        y = space.project(-x + off * rng.standard_normal(d + 1))
        triple(space, x, y)
        assert space.distance(x, -x) == pytest.approx(pi, abs=1e-15)
        # there and back by the same great circle
        v = space.tangent(x, rng.standard_normal(d + 1))
        assert_allclose(space.transport(y, x, space.transport(x, y, v)), v, rtol=0, atol=1e-13)


@pytest.mark.parametrize("length", TINY)
def test_small_steps_on_the_sphere_keep_their_digits(length: float) -> None:
    space = Sphere(2)
    x, v = np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.6, -0.8]) * length
    y = space.exp(x, v)
    assert_allclose(space.log(x, y), v, rtol=1e-15, atol=0)
    assert_allclose(space.distance(x, y), length, rtol=1e-15)
    assert_allclose(space.norm(x, v), length, rtol=1e-15)


@pytest.mark.parametrize("off", [0.0, 1e-300, 1e-160, 1e-17, 1e-15, 1e-12, 1e-8, 1e-4])
def test_half_turns(off: float) -> None:
    space, rng = SO3(), np.random.default_rng(0)
    axes = [*np.eye(3), *Sphere(2).uniform(20, rng)]
    for axis, x in zip(axes, [np.eye(3), *space.uniform(len(axes) - 1, rng)], strict=True):
        y = space.project(x @ space.group_exp((pi - off) * axis))
        triple(space, x, y)
        assert space.distance(x, y) == pytest.approx(pi - off, abs=4e-15)
        found = space.to_algebra(x, space.log(x, y))
        assert abs(abs(found @ axis) / pi - 1.0) < max(off, 1e-14)


@pytest.mark.parametrize("length", TINY)
def test_small_rotations_keep_their_digits(length: float) -> None:
    space, u = SO3(), np.array([0.6, -0.48, 0.64])
    assert_allclose(space.group_log(space.group_exp(length * u)), length * u, rtol=3e-16)
    assert_allclose(space.distance(np.eye(3), space.group_exp(length * u)), length, rtol=3e-16)
    assert_allclose(SU2().group_log(SU2().group_exp(length * u)), length * u, rtol=3e-16)


def test_neighbouring_rotations_far_from_the_identity() -> None:
    """xᵀ(y − x) instead of xᵀy − 1: the distance of matrices an ulp or so apart is that of their difference."""
    space, rng = SO3(), np.random.default_rng(0)
    x = space.uniform(50, rng)
    y = space.exp(x, space.noise(x, 1e-9 * rng.standard_normal(x.shape)))
    difference = np.linalg.norm((y - x).reshape(-1, 9), axis=1) / np.sqrt(2.0)
    assert_allclose(space.distance(x, y), difference, rtol=1e-6)
    assert (space.distance(x, x) == 0.0).all()


def test_opposite_points_of_the_torus_and_its_seam() -> None:
    space = Torus(1)
    for a in (-pi, -1.0, 0.0, 2.0):
        x = space.project(np.array([a]))
        y = space.project(np.array([a + pi]))
        assert space.distance(x, y) == pytest.approx(pi, abs=1e-15)
        assert np.abs(space.exp(x, space.log(x, y)) - y) == pytest.approx(0.0, abs=1e-15)
    edge = np.array([-pi, pi, np.nextafter(pi, 0), np.nextafter(-pi, -4), 3 * pi, -3 * pi, 1e-300, -1e-160, 1e6, -1e15])
    for x in (edge, edge.astype(np.float32)):
        y = wrap(x)
        assert ((y >= x.dtype.type(-pi)) & (y < x.dtype.type(pi))).all()
        assert y.dtype == x.dtype
    assert (wrap(np.array([1e-300, -1e-160, 3.0])) == [1e-300, -1e-160, 3.0]).all()
    assert_allclose(wrap(np.array([1e3])), [1e3 - 2 * pi * 159], atol=1e-12)


@pytest.mark.parametrize("space", [Sphere(2), Sphere(5), SO3(), SU2(), Torus(2)], ids=repr)
def test_long_vectors_wind_round(space: Space) -> None:
    """Geodesics of unit speed close after 2π: 159 turns more are the same end."""
    rng = np.random.default_rng(0)
    x = space.uniform(20, rng)
    v = space.noise(x, rng.standard_normal(x.shape))
    if isinstance(space, Torus):
        v[..., 1:] = 0.0  # a slanted line need not close
    v = v / space.norm(x, v).reshape(-1, *[1] * len(space.shape))
    for turns in (1, 159):
        assert_allclose(space.exp(x, (1.0 + 2.0 * pi * turns) * v), space.exp(x, v), rtol=0, atol=1e-12)
    for length in (1e3, 1e8):
        assert (space.deviation(space.move(x, length * v)) <= 1e-15 * 4).all()


def exact_distance(x: np.ndarray, y: np.ndarray) -> float:
    """arcosh of the Minkowski product, in 700 digits, of the points with these spatial parts."""
    with mpmath.workdps(700):
        a, b = ([mpmath.mpf(float(c)) for c in p[1:]] for p in (x, y))
        ta, tb = (mpmath.sqrt(1 + mpmath.fsum(c * c for c in p)) for p in (a, b))
        product = ta * tb - mpmath.fsum(p * q for p, q in zip(a, b, strict=True))
        return float(mpmath.acosh(max(product, mpmath.mpf(1))))  # rounded below 1 where x = y


@pytest.mark.parametrize("r", [0.0, 1e-160, 1e-12, 1e-3, 1.0, 10.0, 25.0, 50.0])
@pytest.mark.parametrize("s", [0.0, 1e-160, 1e-12, 1e-3, 1.0, 10.0, 25.0, 50.0])
def test_hyperbolic_distance_against_many_digits(r: float, s: float) -> None:
    space = Hyperbolic(2)
    for angle in (0.0, 1e-13, 1e-6, 0.3, 1.5, 3.0, pi):
        x = space.project(np.array([0.0, np.sinh(r), 0.0]))
        y = space.project(np.sinh(s) * np.array([0.0, np.cos(angle), np.sin(angle)]))
        exact = exact_distance(x, y)
        for d in (space.distance(x, y), space.distance(y, x)):
            assert_allclose(d, exact, rtol=2e-15, atol=1e-14 * max(r, s) if r == s else 0.0)


@pytest.mark.parametrize("length", [1e-160, 1e-12, 1.0, 25.0, 50.0])
def test_hyperbolic_exp_and_log_far_out(length: float) -> None:
    """From and towards the origin, along and across the ray: what the coordinates can hold comes out again."""
    space = Hyperbolic(2)
    for r in (0.0, 1e-8, 1.0, 12.0, 25.0):
        x = space.project(np.array([0.0, 0.6 * np.sinh(r), -0.8 * np.sinh(r)]))
        for turn in (0.0, 0.7, pi / 2, 2.5, pi):
            w = length * np.array([0.6 * np.cos(turn) + 0.8 * np.sin(turn), -0.8 * np.cos(turn) + 0.6 * np.sin(turn)])
            y = space.exp(x, space.from_frame(x, w))
            assert np.isfinite(y).all()
            assert space.deviation(y) <= 1e-15
            # a relative 1e-16 in the coordinates of x or y moves a point at r by up to e^r 1e-16 across its ray
            resolution = 4e-16 * np.exp(max(r, np.arcsinh(np.linalg.norm(y[1:]))))
            assert abs(space.distance(x, y) - length) <= 1e-14 * length + 2.0 * np.arcsinh(resolution)
            # an ambient vector at x holds its part across the ray to eps cosh(r) of its part along it
            assert_allclose(space.norm(x, space.log(x, y)), space.distance(x, y), rtol=1e-15 * np.cosh(r))


def test_hyperbolic_exp_against_many_digits() -> None:
    """exp towards the origin from far out, where cosh and sinh terms of size e^{2r} cancel."""
    space = Hyperbolic(2)
    for r in (1.0, 5.0, 15.0, 25.0):
        for turn in (1e-3, 0.7, 2.0, 3.1, pi - 1e-14 * np.exp(r)):
            with mpmath.workdps(100):
                x = np.array([np.cosh(r), np.sinh(r), 0.0])
                sinh_r = mpmath.mpf(float(x[1]))
                cosh_r, rho = mpmath.sqrt(1 + sinh_r**2), mpmath.mpf(r)
                w = np.array([np.cos(turn), np.sin(turn)])
                a, b = (mpmath.mpf(float(c)) for c in w)
                size = mpmath.sqrt(a * a + b * b)
                along = sinh_r * mpmath.cosh(rho * size) + cosh_r * mpmath.sinh(rho * size) * a / size
                across = mpmath.sinh(rho * size) * b / size
                exact = np.array([float(along), float(across)])
            y = space.exp(space.project(x), space.from_frame(space.project(x), r * w))
            assert_allclose(y[1:], exact, rtol=0, atol=2e-15 * r * max(1.0, np.abs(exact).max()))


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda t: t.__name__)
def test_a_hyperbolic_walk_does_not_run_away(dtype: type) -> None:
    """Beyond the radius where coordinates see steps across the ray, round-off must not count as one: the speed stays that of the noise."""
    space, rng = Hyperbolic(2), np.random.default_rng(0)
    start = 0.9 * np.log(1.0 / np.finfo(dtype).eps)
    x = space.project((np.sinh(start) * np.array([[0.0, 0.28, 0.96]])).astype(dtype))
    for z in rng.standard_normal((2000, 1, 3)).astype(dtype):
        y = space.move(x, space.noise(x, dtype(0.1) * z))
        assert space.distance(space.origin, y) - space.distance(space.origin, x) < 1.0
        x = y
    assert space.distance(space.origin, x) < start + 0.01 * 2000


def test_hyperbolic_transport_turns_by_the_area() -> None:
    """Round a triangle a vector turns by minus its area, angle defect and all: the Gauss-Bonnet theorem."""
    space, rng = Hyperbolic(2), np.random.default_rng(0)
    for scale in (1e-3, 1.0, 6.0):
        a, b, c = (space.exp(space.origin, space.from_frame(space.origin, scale * rng.standard_normal(2))) for _ in range(3))
        v = space.from_frame(a, np.array([1.0, 0.0]))
        w = space.to_frame(a, space.transport(c, a, space.transport(b, c, space.transport(a, b, v))))
        turn = np.arctan2(w[1], w[0])

        def corner(p: np.ndarray, q: np.ndarray, r: np.ndarray) -> float:
            u, t = (space.to_frame(p, space.log(p, other)) for other in (q, r))
            return float(np.arctan2(u[0] * t[1] - u[1] * t[0], u @ t))

        angles = [corner(a, b, c), corner(b, c, a), corner(c, a, b)]
        area = np.sign(angles[0]) * (pi - np.abs(angles).sum())
        assert wrap(np.array([turn + area]))[0] == pytest.approx(0.0, abs=1e-10)
        assert abs(area) > 1e-8


def test_the_sphere_turns_by_the_area() -> None:
    """The octant has area π/2: round it a vector turns by a right angle, the other way."""
    space, (x, y, z) = Sphere(2), np.eye(3)
    turned = space.transport(z, x, space.transport(y, z, space.transport(x, y, y)))
    assert_allclose(turned, z, atol=1e-15)


@pytest.mark.parametrize("space", [Sphere(2), SO3(), SU2(), Hyperbolic(3), Torus(2), Box(2), Simplex(2)], ids=repr)
@pytest.mark.parametrize("kind", ["float64", "float32", "tensor"])
def test_coincident_points_give_zeros(space: Space, kind: str) -> None:
    x: Any = space.reference(50, np.random.default_rng(0))
    x = x.astype(np.float32) if kind == "float32" else x
    x = space.project(x)
    x = torch.from_numpy(x) if kind == "tensor" else x
    v = space.log(x, x)
    small = 1e-6 if kind == "float32" else 1e-15
    assert float(abs(v).max()) <= small * float(abs(x).max())
    assert float(space.distance(x, x).max()) <= small
    assert bool((space.deviation(space.exp(x, v)) <= small).all())


BAD: list[tuple[Any, type[Exception], str]] = [
    ([[0.0, 0.0, 1.0]], TypeError, "list"),
    (3.0, TypeError, "float"),
    (None, TypeError, "NoneType"),
    (np.array([[0, 0, 1]]), TypeError, "int64"),
    (torch.tensor([[0, 0, 1]]), TypeError, "int64"),
    (np.array([[0.0, 1.0]]), ValueError, r"shape \(1, 2\).*\(\.\.\., 3\)"),
    (np.array([[1.0], [0.0], [0.0]]), ValueError, "shape"),
    (np.zeros((0, 3)), ValueError, "at least one point"),
    (np.array([[0.0, 0.0, np.nan]]), ValueError, "nan or inf"),
    (torch.tensor([[0.0, 0.0, float("inf")]]), ValueError, "nan or inf"),
    (np.array([[0.0, 0.0, 1.0], [0.0, 0.0, 1.1]]), ValueError, r"1 of 2 points, the first at \[1\], by up to 0.1.*project"),
    (np.array([0.0, 0.0, 2.0]), ValueError, "1 of 1 points"),
]


@pytest.mark.parametrize(("x", "error", "words"), BAD)
def test_check_refuses(x: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        Sphere(2).check(x, "start")
    with pytest.raises(error, match="start"):
        Sphere(2).check(x, "start")


OUTSIDE: list[tuple[Space, Any]] = [
    (Box(2), [0.5, 1.1]),
    (HalfSpace([0.0, 1.0]), [0.0, 0.1]),
    (Polytope(np.vstack([np.eye(2), -np.eye(2)]), np.ones(4)), [0.0, -1.1]),
    (Simplex(2), [0.5, 0.5, 0.1]),
    (Simplex(2), [0.6, 0.5, -0.1]),
    (Torus(2), [0.0, 3.2]),
    (SO3(), np.diag([1.0, 1.0, -1.0])),
    (SO3(), 1.01 * np.eye(3)),
    (Hyperbolic(2), [-1.0, 0.0, 0.0]),
    (Hyperbolic(2), [1.0, 0.1, 0.0]),
    (Product(Sphere(1), Box(1)), [1.0, 0.0, 1.2]),
    (Product(Sphere(1), Box(1)), [1.0, 0.1, 0.2]),
]


@pytest.mark.parametrize(("space", "x"), OUTSIDE, ids=lambda p: repr(p) if isinstance(p, Space) else "")
def test_check_finds_points_outside(space: Space, x: Any) -> None:
    point = np.asarray(x, dtype=np.float64)
    assert not space.contains(point)
    with pytest.raises(ValueError, match="is not in"):
        space.check(point)
    space.check(space.project(point))
    assert not space.contains(np.full(space.shape, np.nan))


MAKERS: list[tuple[Any, type[Exception], str]] = [
    (lambda: Euclidean(0), ValueError, "d = 0"),
    (lambda: Sphere(-1), ValueError, "d = -1"),
    (lambda: Torus(2.0), TypeError, "d = 2.0"),  # type: ignore[arg-type]
    (lambda: Hyperbolic(True), TypeError, "d = True"),
    (lambda: Simplex("3"), TypeError, "d = '3'"),  # type: ignore[arg-type]
    (lambda: Box(0), ValueError, "d = 0"),
    (lambda: Box(2, lower=1.0, upper=0.0), ValueError, "lower < upper"),
    (lambda: Box(2, lower=(0.0, 0.0, 0.0)), ValueError, "2 of them"),
    (lambda: Box(2, upper=np.inf), ValueError, "finite"),
    (lambda: Box(2, rule="bounce"), ValueError, "rule = 'bounce'"),  # type: ignore[arg-type]
    (lambda: Simplex(2, rule="x"), ValueError, "rule = 'x'"),  # type: ignore[arg-type]
    (lambda: HalfSpace([0.0, 0.0]), ValueError, "other than 0"),
    (lambda: HalfSpace([1.0, 0.0], np.nan), ValueError, "finite"),
    (lambda: Polytope([[1.0, 0.0]], [1.0, 2.0]), ValueError, r"\(1, 2\) and b \(2,\)"),
    (lambda: Polytope([[1.0, np.nan]], [1.0]), ValueError, "nan"),
    (lambda: Polytope([[0.0, 0.0]], [1.0]), ValueError, "row 0"),
    (lambda: Polytope([[1.0], [-1.0]], [0.0, -1.0]), ValueError, "no interior"),
    (lambda: Polytope([[1.0], [-1.0]], [0.0, 0.0]), ValueError, "no interior"),
    (lambda: Product(), TypeError, "one or more"),
    (lambda: Product(Box(2), 3), TypeError, "one or more"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("make", "error", "words"), MAKERS)
def test_bad_spaces_are_refused(make: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make()


@pytest.mark.parametrize("space", [Euclidean(2), HalfSpace([1.0, 0.0]), Hyperbolic(2), Product(Sphere(1), Euclidean(1))], ids=repr)
def test_no_uniform_law_on_infinite_volume(space: Space) -> None:
    assert not space.compact
    with pytest.raises(TypeError, match="infinite volume"):
        space.uniform(3, np.random.default_rng(0))
    space.check(space.reference(3, np.random.default_rng(0)))
