"""Reflected paths and projections: against folding, against each other, from boundaries and corners, over any length."""

from __future__ import annotations

from itertools import combinations
from math import pi

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from scorebed.solvers.space import Box, HalfSpace, Polytope, Simplex, Space
from scorebed.solvers.space import faces as faces_module

seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=12)


def cube(d: int, rule: str = "reflect") -> Polytope:
    return Polytope(np.vstack([np.eye(d), -np.eye(d)]), np.r_[np.ones(d), np.zeros(d)], rule=rule)  # type: ignore[arg-type]


def random_polytope(rng: np.random.Generator, d: int, m: int, rule: str = "reflect") -> Polytope:
    """Random faces around the origin, closed by a box."""
    a = np.vstack([rng.standard_normal((m, d)), np.eye(d), -np.eye(d)])
    return Polytope(a, np.r_[rng.uniform(0.3, 1.0, m), np.full(2 * d, 2.0)], rule=rule)  # type: ignore[arg-type]


@pytest.mark.parametrize("d", [1, 2, 3, 5])
@few
@given(seed=seeds, length=st.sampled_from([1e-160, 1e-9, 0.3, 2.0, 40.0]))
def test_a_billiard_path_in_a_cube_is_the_fold(d: int, seed: int, length: float) -> None:
    rng = np.random.default_rng(seed)
    x, v = rng.random((30, d)), length * rng.standard_normal((30, d))
    end, speed = cube(d).reflect(x, v)
    folded, sign = Box(d).reflect(x, v)
    assert_allclose(end, folded, rtol=0, atol=3e-14 * max(1.0, length))
    assert_allclose(speed, sign, rtol=1e-13, atol=0)


def test_the_fold_is_the_triangle_wave() -> None:
    box = Box(1, lower=-1.0, upper=2.0)
    x = np.full((1001, 1), 0.25)
    y = np.linspace(-20.0, 20.0, 1001)[:, None]
    # the arccosine of a cosine is a triangle wave: another way to the same fold
    wave = -1.0 + 3.0 / pi * np.arccos(np.cos((y + 1.0) * pi / 3.0))
    end, speed = box.reflect(x, y - x)
    assert_allclose(end, wave, rtol=0, atol=1e-12)
    slope = np.sin((y + 1.0) * pi / 3.0)
    inner = np.abs(slope) > 1e-9
    assert (np.sign(speed * (y - x))[inner] == np.sign(slope)[inner]).all()


@few
@given(seed=seeds)
def test_the_way_back_is_the_way(seed: int) -> None:
    """A reflected path run backwards from its end arrives at its start, in every space with faces."""
    rng = np.random.default_rng(seed)
    for space in (Box(2), HalfSpace([1.0, -2.0], 0.5), random_polytope(rng, 3, 6), Simplex(3)):
        x = space.reference(10, rng)
        v = space.noise(x, 2.0 * rng.standard_normal(x.shape))
        end, speed = space.reflect(x, v)
        assert_allclose(np.linalg.norm(speed, axis=-1), np.linalg.norm(v, axis=-1), rtol=1e-12)
        start, back = space.reflect(end, -speed)
        assert_allclose(start, x, rtol=0, atol=1e-11)
        assert_allclose(back, -v, rtol=0, atol=1e-11)


def test_the_equilateral_triangle_is_reflected_by_its_lattice() -> None:
    """The triangle tiles the plane, so the unfolded path gives the end: reflect the lattice triangle that holds x + v back."""
    space = Simplex(2)
    rng = np.random.default_rng(0)
    x = space.uniform(200, rng)
    v = space.noise(x, 3.0 * rng.standard_normal(x.shape))
    # Fold by the affine Weyl group of A₂: at the worst negative coordinate, reflect; sums of squares fall until all are ≥ 0.
    y = x + v
    for _ in range(200):
        i = y.argmin(axis=1)
        gap = np.minimum(y[np.arange(len(y)), i], 0.0)
        y = y - 2.0 * (gap / np.sqrt(2.0 / 3.0))[:, None] * space.normals[i]
    assert_allclose(space.move(x, v), y, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "space", [Box(2), cube(2), Polytope([[1.0, 3.0], [-1.0, 3.0], [0.0, -1.0]], [1.0, 1.0, 0.0]), Simplex(2)], ids=repr
)
def test_starts_on_the_boundary_and_in_corners(space: Space) -> None:
    corners = getattr(space, "vertices", np.eye(3) if isinstance(space, Simplex) else np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]))
    edges = np.array([0.5 * (a + b) for a, b in combinations(corners, 2)])
    starts = np.concatenate([corners, edges])
    turns = np.linspace(0.0, 2.0 * pi, 73)
    for length in (0.0, 1e-300, 1e-17, 1e-8, 0.4, 17.0):
        for turn in turns:
            z = length * np.array([np.cos(turn), np.sin(turn), np.cos(turn + 1.0)])[: starts.shape[1]]
            v = space.noise(starts, np.broadcast_to(z, starts.shape))
            end = space.move(starts, v)
            assert np.isfinite(end).all()
            assert (space.deviation(end) <= 1e-15).all()
            assert (space.distance(starts, end) <= space.norm(starts, v) + 1e-14).all()


@pytest.mark.parametrize("angle", [3.0, 1.0, 0.3, 0.01, 1e-4])
def test_a_narrow_wedge_returns_the_path(angle: float) -> None:
    """A path into a wedge of this angle comes out again after at most ⌈π/angle⌉ bounces, at the distance that unfolding gives."""
    wedge = Polytope([[0.0, -1.0], [-np.sin(angle), np.cos(angle)]], [0.0, 0.0])
    x = np.array([np.cos(0.4 * angle), np.sin(0.4 * angle)])
    v = np.array([-2.5, 0.3 * angle])
    end = wedge.move(x, v)
    assert wedge.deviation(end) <= 1e-15
    assert_allclose(np.linalg.norm(end), np.linalg.norm(x + v), rtol=1e-9)


def test_a_path_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faces_module, "MOST_BOUNCES", 50)
    cube(2).move(np.full((1, 2), 0.5), np.full((1, 2), 20.0))
    with pytest.raises(ValueError, match="bounced more than 50 times"):
        cube(2).move(np.full((1, 2), 0.5), np.full((1, 2), 60.0))
    with pytest.raises(ValueError, match="nan or inf"):
        cube(2).move(np.full((1, 2), 0.5), np.array([[np.nan, 1.0]]))


def best_by_enumeration(space: Polytope, x: np.ndarray) -> np.ndarray:
    """The projection by trying every set of faces: the feasible candidate nearest to x."""
    best, least = None, np.inf
    slack = 1e-11 * max(1.0, float(np.abs(x).max()))
    for k in range(space.dim + 1):
        for chosen in combinations(range(len(space.b)), k):
            a, h = space.A[list(chosen)], (space.A @ x - space.b)[list(chosen)]
            y = x - a.T @ np.linalg.lstsq(a @ a.T, h, rcond=None)[0] if k else x
            if (space.gaps(y) >= -slack).all() and np.linalg.norm(y - x) < least:
                best, least = y, np.linalg.norm(y - x)
    assert best is not None
    return best


@pytest.mark.parametrize("d", [1, 2, 3])
@few
@given(seed=seeds, size=st.sampled_from([0.5, 3.0, 1e4]))
def test_projection_to_a_polytope_is_the_nearest_point(d: int, seed: int, size: float) -> None:
    rng = np.random.default_rng(seed)
    space = random_polytope(rng, d, 4)
    x = size * rng.standard_normal((6, d))
    y = space.project(x)
    assert (space.deviation(y) <= 1e-14).all()
    expected = np.stack([best_by_enumeration(space, point) for point in x])
    assert_allclose(y, expected, rtol=0, atol=1e-11 * max(1.0, size))


@few
@given(seed=seeds, d=st.integers(1, 6), size=st.sampled_from([1e-3, 1.0, 1e6]))
def test_projection_obeys_its_variational_inequality(seed: int, d: int, size: float) -> None:
    """⟨x − πx, q − πx⟩ ≤ 0 for every q of a convex space: what makes πx the nearest point."""
    rng = np.random.default_rng(seed)
    for space in (Box(d), HalfSpace(rng.standard_normal(d), 0.2), cube(d), random_polytope(rng, d, 5), Simplex(d)):
        q = space.reference(40, rng)
        x = q[:8] + size * rng.standard_normal(q[:8].shape)
        p = space.project(x)
        away = np.einsum("nd,nmd->nm", x - p, q[None] - p[:, None])
        assert away.max() <= 1e-12 * size * max(1.0, size), space
        assert (space.deviation(p) <= 1e-14 * max(1.0, size)).all(), space


def test_projection_where_faces_meet_in_more_than_d() -> None:
    """The apex of a pyramid over an octagon, where eight faces meet in R³."""
    t = np.arange(8) * pi / 4.0
    sides = np.stack([np.cos(t), np.sin(t), np.ones(8)], axis=1)
    pyramid = Polytope(np.vstack([sides, [[0.0, 0.0, -1.0]]]), np.r_[np.ones(8), 0.0], rule="project")
    apex = pyramid.move(np.array([[0.0, 0.0, 0.5]]), np.array([[1e-3, 2e-3, 5.0]]))
    assert_allclose(apex, [[0.0, 0.0, 1.0]], rtol=0, atol=1e-14)
    assert pyramid.deviation(pyramid.move(np.array([[0.0, 0.0, 1.0]]), np.array([[0.0, 0.0, 3.0]])))[0] <= 1e-15


def test_the_rule_decides_the_move() -> None:
    x, v = np.array([[0.9, 0.5]]), np.array([[0.3, 0.0]])
    for make in (Box, cube):
        assert_allclose(make(2, rule="reflect").move(x, v), [[0.8, 0.5]], atol=1e-15)
        assert_allclose(make(2, rule="project").move(x, v), [[1.0, 0.5]], atol=1e-15)
    half = HalfSpace([2.0, 0.0], 2.0), HalfSpace([2.0, 0.0], 2.0, rule="project")
    assert_allclose(half[0].move(x, v), [[0.8, 0.5]], atol=1e-15)
    assert_allclose(half[1].move(x, v), [[1.0, 0.5]], atol=1e-15)
    s = np.array([[0.1, 0.3, 0.6]]), np.array([[-0.3, 0.1, 0.2]])
    assert_allclose(Simplex(2).move(*s), [[0.2, 0.2, 0.6]], atol=1e-15)
    assert_allclose(Simplex(2, rule="project").move(*s), [[0.0, 0.3, 0.7]], atol=1e-15)


def test_gaps_are_distances_to_the_faces() -> None:
    rng = np.random.default_rng(2)
    for space in (cube(3), random_polytope(rng, 2, 3), Simplex(3), HalfSpace([3.0, 4.0], 1.0), Box(2, lower=-1.0, upper=(2.0, 3.0))):
        assert_allclose(np.linalg.norm(space.normals, axis=1), 1.0, rtol=1e-15)
        x = space.reference(5, rng)
        h = 1e-3
        for i, n in enumerate(space.normals):
            assert_allclose(space.gaps(x + h * n)[:, i] - space.gaps(x)[:, i], h, rtol=1e-9)
        foot = x - space.gaps(x)[:, :1] * space.normals[0]
        assert_allclose(space.gaps(foot)[:, 0], 0.0, atol=1e-14)


def test_volume_and_uniform_law_of_a_polytope() -> None:
    assert cube(3).volume == pytest.approx(1.0, rel=1e-12)
    assert cube(1).volume == pytest.approx(1.0, rel=1e-12)
    corner = Polytope(np.vstack([np.ones((1, 4)), -np.eye(4)]), np.r_[1.0, np.zeros(4)])
    assert corner.volume == pytest.approx(1.0 / 24.0, rel=1e-12)
    rng = np.random.default_rng(1)
    x = corner.uniform(20_000, rng)
    assert (corner.deviation(x) <= 1e-15).all()
    # Dirichlet(1, 1, 1, 1, 1): mean 1/5, variance 4/150; six standard errors
    assert_allclose(x.mean(axis=0), 0.2, atol=6.0 * np.sqrt(4.0 / 150.0 / 20_000))
    assert_allclose(x.var(axis=0), 4.0 / 150.0, rtol=0.06)
    open_ = Polytope([[-1.0, 0.0], [0.0, -1.0]], [0.0, 0.0])
    assert not open_.compact
    with pytest.raises(TypeError, match="unbounded"):
        open_.uniform(3, rng)


def test_a_reflected_walk_keeps_the_uniform_law() -> None:
    """Reflection preserves volume: uniform points stay uniform, while projection piles them up on the faces."""
    rng = np.random.default_rng(4)
    for space in (Box(2), cube(2), Simplex(2)):
        x = space.uniform(20_000, rng)
        y = space.move(x, space.noise(x, 0.4 * rng.standard_normal(x.shape)))
        gap = space.gaps(y).min(axis=1)
        start = space.gaps(x).min(axis=1)
        assert abs(np.mean(gap < 0.05) - np.mean(start < 0.05)) < 0.012, space
    x = Box(2).uniform(20_000, rng)
    piled = Box(2, rule="project").move(x, 0.4 * rng.standard_normal(x.shape))
    assert np.mean(Box(2).gaps(piled).min(axis=1) < 0.05) > 0.4
