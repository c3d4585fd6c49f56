r"""Geometry of polygonal paths p of shape (nodes, paths, d): length, straightness, curvature, torsion, the plane and the rotation in it.

    straightness   |p_N − p_0| / Σ |p_{i+1} − p_i|, one if and only if the path is a straight line run without turning back
    curvature      of the circle through three successive points, exact on circles whatever the steps
    torsion        angle between the planes of two successive corners, over the mean length of the three segments; not signed
    plane          the span of p_0 and p_N through the origin, as in Wang & Vastola (arXiv:2303.02490): share of Σ |p_i|² inside it, and
                   the angle turned in it from p_0 to p_N
    components     share of Σ |p_i − p̄|² along each principal component of the path's own points (Chen et al., arXiv:2405.11326)

All depend on the coordinates: x_t, x_t/α_t or x_t/(α_t² + σ_t²)^{1/2} trace different curves.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_STRAIGHT = 1e-7  # the sine of a corner below which its plane is round-off


def check(points: Floats, least: int = 2) -> Floats:
    """The points as float64 of shape (nodes, paths, d), finite.

    Returns:
        (nodes, paths, d) points, float64.

    Raises:
        ValueError: another shape, fewer than ``least`` nodes, nan or inf.
    """
    p = np.asarray(points, np.float64)
    if p.ndim != 3 or p.shape[0] < least or 0 in p.shape:
        raise ValueError(f"points has shape {p.shape}: give (nodes, paths, d) with at least {least} nodes")
    if not np.isfinite(p).all():
        raise ValueError("points has nan or inf entries")
    return p


def lengths(points: Floats) -> Floats:
    """Length so far at every node, shape (nodes, paths)."""
    steps = np.linalg.norm(np.diff(check(points), axis=0), axis=-1)
    return np.concatenate([np.zeros_like(steps[:1]), np.cumsum(steps, axis=0)])


def straightness(points: Floats) -> Floats:
    """Chord over length, shape (paths,); 1 where the path does not move."""
    p = check(points)
    whole, chord = lengths(p)[-1], np.linalg.norm(p[-1] - p[0], axis=-1)
    return np.divide(chord, whole, out=np.ones_like(whole), where=whole > 0.0)


def _units(points: Floats) -> tuple[Floats, Floats]:
    """Directions (segments, paths, d) and lengths (segments, paths); the direction of a segment of no length is zero."""
    e = np.diff(points, axis=0)
    size = np.linalg.norm(e, axis=-1)
    return np.divide(e, size[..., None], out=np.zeros_like(e), where=size[..., None] > 0.0), size


def _angle(a: Floats, b: Floats) -> Floats:
    """Angle between unit vectors, accurate at both ends; 0 where one is zero."""
    angle = 2.0 * np.arctan2(np.linalg.norm(a - b, axis=-1), np.linalg.norm(a + b, axis=-1))
    return np.where(np.any(a, axis=-1) & np.any(b, axis=-1), angle, 0.0)


def _inside(values: Floats, nodes: int, first: int) -> Floats:
    """Values of inner nodes among all of them, NaN elsewhere."""
    out = np.full((nodes, values.shape[1]), np.nan)
    out[first : first + len(values)] = values
    return out


def turning(points: Floats) -> Floats:
    """Angle between the segments that meet at a node, in radians, shape (nodes, paths), NaN at both ends."""
    p = check(points)
    e, _ = _units(p)
    return _inside(_angle(e[:-1], e[1:]), len(p), 1)


def curvature(points: Floats) -> Floats:
    """2 sin θ / |p_{i+1} − p_{i−1}|, shape (nodes, paths), NaN at both ends."""
    p = check(points)
    base = np.linalg.norm(p[2:] - p[:-2], axis=-1)
    sine = np.sin(turning(p)[1:-1])
    return _inside(np.divide(2.0 * sine, base, out=np.zeros_like(base), where=base > 0.0), len(p), 1)


def torsion(points: Floats) -> Floats:
    """Angle between the osculating planes on both sides of the segment that begins at a node, over length; (nodes, paths).

    NaN at the first node and the last two; 0 where a corner is straight and has no plane.

    Returns:
        (nodes, paths) torsion in radians per length, NaN at the first and last two nodes.
    """
    p = check(points)
    if len(p) < 4:
        return np.full(p.shape[:2], np.nan)
    e, size = _units(p)
    middle = e[1:-1]
    before = -(e[:-2] - (e[:-2] * middle).sum(-1, keepdims=True) * middle)
    after = e[2:] - (e[2:] * middle).sum(-1, keepdims=True) * middle
    a, b = np.linalg.norm(before, axis=-1), np.linalg.norm(after, axis=-1)
    plane = (a > _STRAIGHT) & (b > _STRAIGHT)
    n, m = (v / np.where(plane, s, 1.0)[..., None] for v, s in ((before, a), (after, b)))
    angle = _angle(n, m)
    angle = np.where(plane, np.minimum(angle, np.pi - angle), 0.0)  # a plane has no sign
    mean = (size[:-2] + size[1:-1] + size[2:]) / 3.0
    return _inside(np.divide(angle, mean, out=np.zeros_like(mean), where=mean > 0.0), len(p), 1)


def components(points: Floats) -> Floats:
    """Share of each principal component of each path's own centred points, descending, shape (paths, min(nodes, d))."""
    p = np.moveaxis(check(points), 1, 0)
    values = np.linalg.svd(p - p.mean(axis=1, keepdims=True), compute_uv=False) ** 2
    total = values.sum(axis=1, keepdims=True)
    return np.divide(values, total, out=np.zeros_like(values), where=total > 0.0)


class Plane(NamedTuple):
    """The span of p_0 and p_N: share (paths,) of Σ |p_i|² in it, rotation (paths,) from p_0 to p_N in radians, and the coordinates
    (nodes, paths, 2) in it, the first along p_N and the second along what p_0 has beside it."""

    share: Floats
    rotation: Floats
    coordinates: Floats


def plane(points: Floats) -> Plane:
    """The plane of a path and the rotation in it. The rotation is the sum of the signed angles between successive projections."""
    p = check(points)
    size = np.linalg.norm(p[-1], axis=-1, keepdims=True)
    first = np.divide(p[-1], size, out=np.zeros_like(p[-1]), where=size > 0.0)
    rest = p[0] - (p[0] * first).sum(-1, keepdims=True) * first
    rest = rest - (rest * first).sum(-1, keepdims=True) * first
    size = np.linalg.norm(rest, axis=-1, keepdims=True)
    second = np.where(size > _STRAIGHT * np.linalg.norm(p[0], axis=-1, keepdims=True), rest / np.where(size > 0.0, size, 1.0), 0.0)
    c = np.stack([(p * first).sum(-1), (p * second).sum(-1)], axis=-1)
    total = np.square(p).sum((0, 2))
    share = np.divide(np.square(c).sum((0, 2)), total, out=np.ones_like(total), where=total > 0.0)
    a, b = c[:-1], c[1:]
    angles = np.arctan2(a[..., 1] * b[..., 0] - a[..., 0] * b[..., 1], (a * b).sum(-1))
    return Plane(share, np.abs(angles.sum(0)), c)
