"""The spaces against geomstats, where both are at their ease; and where they part, which of the two is right."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from math import pi
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from scorebed.solvers.space import SO3, SU2, Euclidean, Hyperbolic, Product, Simplex, Space, Sphere, Torus


@pytest.fixture(scope="module")
def theirs() -> Iterator[dict[str, Any]]:
    """geomstats 2.8 asks NumPy for ``trapz``, which NumPy 2.4 has under its new name only."""
    patch = pytest.MonkeyPatch()
    if not hasattr(np, "trapz"):
        patch.setattr(np, "trapz", np.trapezoid, raising=False)
    patch.setenv("GEOMSTATS_BACKEND", "numpy")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from geomstats.geometry.euclidean import Euclidean as Plain
        from geomstats.geometry.hyperboloid import Hyperboloid
        from geomstats.geometry.hypersphere import Hypersphere
        from geomstats.geometry.product_manifold import ProductManifold
        from geomstats.geometry.special_orthogonal import SpecialOrthogonal

        yield {
            "Euclidean(3)": Plain(3),
            **{f"Sphere({d})": Hypersphere(d) for d in (1, 2, 5)},
            "SU2": Hypersphere(3),
            "SO3": SpecialOrthogonal(3),
            **{f"Hyperbolic({d})": Hyperboloid(d) for d in (1, 2, 4)},
            "Product(Sphere(2), Hyperbolic(2))": ProductManifold([Hypersphere(2), Hyperboloid(2)]),
        }
    patch.undo()


SPACES: list[Space] = [
    Euclidean(3), Sphere(1), Sphere(2), Sphere(5), SU2(), SO3(), Hyperbolic(1), Hyperbolic(2), Hyperbolic(4),
    Product(Sphere(2), Hyperbolic(2)),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("space", SPACES, ids=repr)
def test_agrees_with_geomstats(theirs: dict[str, Any], space: Space) -> None:
    other = theirs[space.name]
    rng = np.random.default_rng(0)
    x, y = space.reference(40, rng), space.reference(40, rng)
    u, v = (space.noise(x, rng.standard_normal(x.shape)) for _ in range(2))

    def give(a: np.ndarray) -> np.ndarray:
        return a.reshape(-1, *other.shape)

    def same(ours: np.ndarray, found: np.ndarray, what: str) -> None:
        # their Minkowski products lose cosh² of the radius, here up to 1e4
        assert_allclose(
            np.reshape(found, ours.shape),
            ours,
            rtol=1e-7 if "Hyperbolic" in space.name else 1e-12,
            atol=1e-7 if "Hyperbolic" in space.name else 5e-14,
            err_msg=what,
        )

    metric = other.metric
    same(space.exp(x, v), metric.exp(give(v), give(x)), "exp")
    same(space.log(x, y), metric.log(give(y), give(x)), "log")
    same(space.distance(x, y), metric.dist(give(x), give(y)), "distance")
    same(space.inner(x, u, v), metric.inner_product(give(u), give(v), give(x)), "inner")
    same(space.norm(x, v), metric.norm(give(v), give(x)), "norm")
    a = rng.standard_normal(x.shape)
    same(space.tangent(x, a), other.to_tangent(give(a), give(x)), "tangent")
    if not isinstance(space, Product):
        same(space.transport(x, y, v), metric.parallel_transport(v, x, end_point=y), "transport")
    assert np.asarray(other.belongs(give(space.exp(x, v)), atol=1e-6)).all()


@pytest.mark.filterwarnings("ignore")
def test_projections_agree_with_geomstats(theirs: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    a = rng.standard_normal((40, 6))
    assert_allclose(Sphere(5).project(a), theirs["Sphere(5)"].projection(a), atol=1e-15)
    b = rng.standard_normal((40, 3, 3))
    b = b * np.sign(np.linalg.det(b))[:, None, None]
    assert_allclose(SO3().project(b), theirs["SO3"].projection(b), atol=1e-13)
    # for a determinant below 0 geomstats may return a rotation that is not the nearest one
    mirrored = -b
    ours, found = SO3().project(mirrored), theirs["SO3"].projection(mirrored)
    gaps = [np.linalg.norm(mirrored - p, axis=(1, 2)) for p in (ours, found)]
    assert (gaps[0] <= gaps[1] + 1e-12).all()
    assert (SO3().deviation(ours) < 1e-14).all()


@pytest.mark.filterwarnings("ignore")
def test_where_the_two_part(theirs: dict[str, Any]) -> None:
    """Near and far: the arc cosines of inner products lose half the digits, ours do not."""
    x, h = np.array([1.0, 0.0, 0.0]), 1e-9
    y = np.array([1.0, h, 0.0])
    assert Sphere(2).distance(x, y) == pytest.approx(h, rel=1e-15)
    assert abs(float(theirs["Sphere(2)"].metric.dist(x, y)) - h) > 1e-3 * h
    p = Hyperbolic(2).project(np.array([0.0, np.sinh(30.0), 0.0]))
    q = Hyperbolic(2).project(np.array([0.0, np.sinh(31.0), 0.0]))
    assert Hyperbolic(2).distance(p, q) == pytest.approx(1.0, rel=1e-14)
    assert not abs(float(theirs["Hyperbolic(2)"].metric.dist(p, q)) - 1.0) < 1e-3


@pytest.mark.filterwarnings("ignore")
def test_the_torus_is_a_product_of_circles(theirs: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    a, b = Torus(1).uniform(50, rng), Torus(1).uniform(50, rng)
    circle = theirs["Sphere(1)"].metric

    def embed(t: np.ndarray) -> np.ndarray:
        return np.concatenate([np.cos(t), np.sin(t)], axis=-1)

    assert_allclose(Torus(1).distance(a, b), circle.dist(embed(a), embed(b)), atol=1e-7)
    assert_allclose(Torus(1).distance(a, b), Sphere(1).distance(embed(a), embed(b)), atol=1e-15 * 4)
    v = rng.standard_normal((50, 1))
    turned = np.concatenate([-np.sin(a), np.cos(a)], axis=-1) * v
    assert_allclose(embed(Torus(1).exp(a, v)), circle.exp(turned, embed(a)), atol=1e-14)


def test_the_simplex_is_flat() -> None:
    """A regular simplex of edge √2: two corners, and the height of the triangle."""
    space = Simplex(2)
    assert space.distance(*np.eye(3)[:2]) == pytest.approx(np.sqrt(2.0))
    assert space.gaps(np.eye(3)[0])[0] == pytest.approx(np.sqrt(1.5))
    assert Torus(2).distance(np.array([-pi, -pi]), np.zeros(2)) == pytest.approx(pi * np.sqrt(2.0))
