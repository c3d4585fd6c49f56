r"""How points of a space are drawn in the plane: charts with a density, paths in front and behind, and where lines must break.

    Globe   the sphere in orthographic projection, shaded, with a graticule; what lies behind is faint
    Triad   SO(3) on a globe: where a rotation takes the three axes; R exp(r a) draws three circles about a
    Ball    SO(3) as the ball of rotation vectors θa, |θ| <= π, opposite points of its surface being one; seen through
    Square  a box, or a flat torus whose paths are drawn in all the copies that the square meets
    Ring    the torus embedded in R³, shaded, what lies behind faint
    Disc    the hyperbolic plane in Poincaré's disc, x⃗/(1 + x₀), whose geodesics are arcs that meet the rim at right angles

A density is drawn as its square root on one scale for all panels of a figure.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, cached_property
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.patches import Circle, Rectangle

from solvers.space import SO3, Hyperbolic
from toy.style import BLUE, DENSITY, GREEN, INK, MUTED, VERMILLION

Law = Callable[[np.ndarray], np.ndarray]
"""Density at points (n, *shape)."""
PIXELS = 330
LIGHT = np.array([-0.45, 0.55, 0.70]) / np.linalg.norm([-0.45, 0.55, 0.70])
EDGE = "#c4c4c4"
HALO = "#ffffff"


class Chart:
    """What charts share: ``plane`` gives positions (..., 2) and whether they are in front (...)."""

    reach = 1.06
    back = 0.22
    """Of the opacity of a line, behind."""

    def plane(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        raise NotImplementedError

    def frame(self, axis: Axes) -> None:
        """Limits and outline."""
        axis.set(xlim=(-self.reach, self.reach), ylim=(-self.reach, self.reach), xticks=[], yticks=[], aspect="equal")
        for side in axis.spines.values():
            side.set_visible(False)

    def density(self, axis: Axes, law: Law, top: float) -> None:
        """The density, ``top`` the largest of the figure."""

    def split(self, x: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, str | None]]:
        """Positions, front and colour of the lines that the points draw: one line, of the colour that is given, or several."""
        return [(*self.plane(x), None)]

    def lines(self, axis: Axes, x: np.ndarray, colour: str, width: float = 1.1, alpha: float = 0.9) -> None:
        """Paths (m, n, *shape)."""
        for at, front, own in self.split(x):
            for i in range(at.shape[1]):
                for seen, strength in ((True, alpha), (False, self.back * alpha)):
                    # a point of the other side ends each piece, so that the pieces meet
                    kept = front[:, i] == seen
                    kept = kept | np.append(kept[1:], False) if seen else kept
                    line = np.where(kept[:, None], at[:, i], np.nan)
                    if kept.any():
                        axis.plot(*line.T, color=own or colour, linewidth=width, alpha=strength, zorder=3 if seen else 2)

    def dots(self, axis: Axes, x: np.ndarray, colour: str, ring: bool = False) -> None:
        """Points (n, *shape), as dots or as rings."""
        for at, front, own in self.split(x):
            for seen in (True, False):
                c, alpha = own or colour, 1.0 if seen else 2.0 * self.back
                style: dict[str, Any] = {"markersize": 3.8, "markerfacecolor": c, "markeredgecolor": HALO, "markeredgewidth": 0.5}
                if ring:
                    style = {"markersize": 5.6, "markerfacecolor": "none", "markeredgecolor": colour, "markeredgewidth": 0.7}
                here = at[front == seen]
                axis.plot(*here.T, "o", alpha=alpha, zorder=(6 if ring else 5) if seen else 2, **style)


def pixels(reach: float, count: int = PIXELS) -> np.ndarray:
    """Centres of the pixels of a square, (count, count, 2), the first row lowest."""
    ticks = reach * ((np.arange(count) + 0.5) / count * 2.0 - 1.0)
    return np.stack(np.meshgrid(ticks, ticks), axis=-1)


def show(axis: Axes, colours: np.ndarray, reach: float) -> None:
    """An image with an alpha channel over the square."""
    extent = (-reach, reach, -reach, reach)
    smooth = "bilinear" if len(colours) <= PIXELS else "antialiased"
    axis.imshow(colours, extent=extent, origin="lower", interpolation=smooth, zorder=0, rasterized=True)


def camera(elevation: float, azimuth: float, roll: float = 0.0) -> np.ndarray:
    """Rows: right, up, towards the eye, in degrees; the third axis of the world points up, turned clockwise by ``roll``."""
    e, a, b = (math.radians(angle) for angle in (elevation, azimuth, roll))
    eye = np.array([math.cos(e) * math.cos(a), math.cos(e) * math.sin(a), math.sin(e)])
    right = np.array([-math.sin(a), math.cos(a), 0.0])
    up = np.cross(eye, right)
    return np.stack([math.cos(b) * right + math.sin(b) * up, math.cos(b) * up - math.sin(b) * right, eye])


class Solid(Chart):
    """A shaded surface in R³, by rays parallel to the line of sight."""

    view: np.ndarray
    pixels = PIXELS

    @cached_property
    def hits(self) -> tuple[np.ndarray, np.ndarray]:
        """(which pixels meet the surface, where: (n, 3))."""
        at = pixels(self.reach, self.pixels)
        depth = self.depth(at)
        hit = np.isfinite(depth)
        return hit, np.concatenate([at[hit], depth[hit][:, None]], axis=-1) @ self.view

    def depth(self, at: np.ndarray) -> np.ndarray:
        """Where a ray through positions (..., 2) first meets the surface, towards the eye; nan where it does not."""
        raise NotImplementedError

    def normal(self, world: np.ndarray) -> np.ndarray:
        """Outer unit normals."""
        raise NotImplementedError

    def back_to(self, world: np.ndarray) -> np.ndarray:
        """Points of the space at points of the surface."""
        raise NotImplementedError

    def place(self, x: np.ndarray) -> np.ndarray:
        """Points of the surface."""
        raise NotImplementedError

    def plane(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        seen = self.place(x) @ self.view.T
        first = self.depth(seen[..., :2])
        return seen[..., :2], ~(seen[..., 2] < first - 0.02)

    def density(self, axis: Axes, law: Law, top: float) -> None:
        """The density on the surface, in the light."""
        hit, world = self.hits
        shade = 0.76 + 0.24 * np.clip(self.normal(world) @ self.view.T @ LIGHT, 0.0, 1.0)
        colours = np.ones((*hit.shape, 4))
        colours[..., 3] = 0.0
        colours[hit, :3] = DENSITY(np.sqrt(law(self.back_to(world)) / top))[:, :3] * shade[:, None]
        colours[hit, 3] = 1.0
        show(axis, colours, self.reach)


class Globe(Solid):
    """S², the pole of its first coordinate up."""

    def __init__(self, elevation: float = 22.0, azimuth: float = 40.0, roll: float = 23.4) -> None:
        self.view = camera(elevation, azimuth, roll)

    def depth(self, at: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return np.sqrt(1.0 - np.square(at).sum(-1))

    def normal(self, world: np.ndarray) -> np.ndarray:
        return world

    def back_to(self, world: np.ndarray) -> np.ndarray:
        return world[..., [2, 0, 1]]

    def place(self, x: np.ndarray) -> np.ndarray:
        return x[..., [1, 2, 0]]

    def plane(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        seen = self.place(x) @ self.view.T
        return seen[..., :2], seen[..., 2] >= 0.0

    def frame(self, axis: Axes) -> None:
        super().frame(axis)
        turn = np.linspace(-math.pi, math.pi, 181)
        lines = [
            np.stack([np.full_like(turn, math.sin(b)), math.cos(b) * np.cos(turn), math.cos(b) * np.sin(turn)], -1) for b in _parallels()
        ]
        arc = np.linspace(-0.5 * math.pi, 0.5 * math.pi, 91)
        lines += [np.stack([np.sin(arc), np.cos(arc) * math.cos(a), np.cos(arc) * math.sin(a)], -1) for a in turn[:-1:15]]
        for line in lines:
            self.lines(axis, line[:, None], MUTED, 0.4, 0.55)
        axis.add_patch(Circle((0.0, 0.0), 1.0, fill=False, edgecolor=MUTED, linewidth=0.8, zorder=4))


def _parallels() -> np.ndarray:
    return np.radians(np.arange(-60.0, 61.0, 30.0))


class Triad(Globe):
    """Rotations R by the points R e₁, R e₂, R e₃ of the globe; the density is the sum of those of the three."""

    colours = (VERMILLION, GREEN, BLUE)

    def __init__(self) -> None:
        super().__init__(30.0, 45.0, 0.0)

    def split(self, x: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, str | None]]:
        if x.shape[-2:] != (3, 3):
            return super().split(x)
        seen = [np.moveaxis(x, -1, 0)[i] @ self.view.T for i in range(3)]
        return [(s[..., :2], s[..., 2] >= 0.0, c) for s, c in zip(seen, self.colours, strict=True)]

    def density(self, axis: Axes, law: Law, top: float) -> None:
        """A plain shaded globe with the axes: one density would be three."""
        super().density(axis, lambda x: np.zeros(len(x)), 1.0)
        for i, colour in enumerate(self.colours):
            at = np.eye(3)[i] @ self.view.T
            axis.plot(*at[:2], "+", color=colour, markersize=9.0, markeredgewidth=1.3, zorder=7)
            box = {"facecolor": HALO, "alpha": 0.6, "edgecolor": "none", "pad": 0.6}
            axis.annotate(f"$e_{i + 1}$", at[:2], (6, 5), textcoords="offset points", color=colour, fontsize=9.5, bbox=box, zorder=8)


class Ball(Chart):
    """Rotation vectors, in orthographic projection along the body diagonal."""

    reach = 1.06 * math.pi

    def __init__(self) -> None:
        self.view = camera(30.0, 45.0)
        self.group = SO3()

    def vector(self, x: np.ndarray) -> np.ndarray:
        """θa."""
        one = np.broadcast_to(np.eye(3), x.shape)
        return np.asarray(self.group.to_algebra(one, self.group.log(one, x)))

    def plane(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        seen = self.vector(x) @ self.view.T
        return seen[..., :2], np.ones(seen.shape[:-1], dtype=bool)

    def split(self, x: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, str | None]]:
        if x.ndim < 4:
            return super().split(x)
        vector = self.vector(x)
        at = (vector @ self.view.T)[..., :2]
        across = np.linalg.norm(np.diff(vector, axis=0), axis=-1) > math.pi  # out at one point of the surface, in at the opposite one
        at[1:][across] = np.nan
        return [(at, np.ones(at.shape[:-1], dtype=bool), None)]

    def density(self, axis: Axes, law: Law, top: float) -> None:
        """The density of the rotation vector, summed along the line of sight; ``top`` is of the same of the target."""
        show(axis, _paper(np.sqrt(self.column(law) / top)), self.reach)

    def column(self, law: Law) -> np.ndarray:
        """∫ p(R(ω)) (sin(θ/2)/(θ/2))² along the line of sight, for a law of the angle alone, on the pixels."""
        r = np.linalg.norm(pixels(self.reach), axis=-1)
        theta = np.linspace(0.0, math.pi, 400)
        known = law(self.group.group_exp(theta[:, None] * np.array([1.0, 0.0, 0.0]))) * np.sinc(theta / (2.0 * math.pi)) ** 2
        radii = np.linspace(0.0, math.pi, 200)
        z = np.linspace(0.0, 1.0, 161)
        half = np.sqrt(np.maximum(math.pi**2 - radii**2, 0.0))
        along = np.interp(np.hypot(radii[:, None], half[:, None] * z), theta, known).mean(-1) * half
        return np.where(r <= math.pi, np.interp(r, radii, along), np.nan)

    def frame(self, axis: Axes) -> None:
        super().frame(axis)
        axis.add_patch(Circle((0.0, 0.0), math.pi, fill=False, edgecolor=MUTED, linewidth=0.8, zorder=4))
        turn = np.linspace(-math.pi, math.pi, 181)
        for flat in (
            (np.cos(turn), np.sin(turn), 0 * turn),
            (np.cos(turn), 0 * turn, np.sin(turn)),
            (0 * turn, np.cos(turn), np.sin(turn)),
        ):
            seen = math.pi * np.stack(flat, -1) @ self.view.T
            for front, strength in ((seen[:, 2] >= 0.0, 0.8), (seen[:, 2] < 0.0, 0.3)):
                axis.plot(*np.where(front[:, None], seen[:, :2], np.nan).T, color=MUTED, linewidth=0.5, alpha=strength, zorder=1)
        for e, colour in zip(np.eye(3), Triad.colours, strict=True):
            tip = math.pi * e @ self.view.T
            axis.plot([0.0, tip[0]], [0.0, tip[1]], color=colour, linewidth=0.9, alpha=0.7, zorder=1)


def _paper(share: np.ndarray) -> np.ndarray:
    """Colours of a density, transparent where there is none."""
    colours = DENSITY(np.nan_to_num(share))
    colours[..., 3] = np.isfinite(share)
    return np.asarray(colours)


class Square(Chart):
    """Two coordinates between low and high; with ``closed`` the sides are glued."""

    def __init__(self, low: float, high: float, closed: bool) -> None:
        self.low, self.high, self.closed = low, high, closed
        self.middle, self.half = 0.5 * (low + high), 0.5 * (high - low)
        self.reach = 1.05

    def plane(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return (x - self.middle) / self.half, np.ones(x.shape[:-1], dtype=bool)

    def split(self, x: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, str | None]]:
        at, front = self.plane(x)
        if not self.closed or x.ndim < 3:
            return [(at, front, None)]
        step = np.diff(at, axis=0)
        at = np.concatenate([at[:1], at[:1] + np.cumsum(step - 2.0 * np.round(0.5 * step), axis=0)])  # on the universal cover
        low, high = (np.floor(0.5 * (f(at, axis=(0, 1)) + 1.0)).astype(int) for f in (np.min, np.max))
        copies = [(i, j) for i in range(low[0], high[0] + 1) for j in range(low[1], high[1] + 1)]
        return [(at - 2.0 * np.array(copy), front, None) for copy in copies]

    def density(self, axis: Axes, law: Law, top: float) -> None:
        """The density on the square."""
        at = pixels(1.0)
        show(axis, DENSITY(np.sqrt(law((self.middle + self.half * at).reshape(-1, 2)).reshape(at.shape[:2]) / top)), 1.0)

    def frame(self, axis: Axes) -> None:
        super().frame(axis)
        style: dict[str, Any] = {"linewidth": 0.8, "linestyle": (0, (4, 3))} if self.closed else {"linewidth": 1.4}
        axis.add_patch(Rectangle((-1.0, -1.0), 2.0, 2.0, fill=False, edgecolor=MUTED if self.closed else INK, zorder=4, **style))
        # what leaves at one side of the torus comes in at the other: nothing is drawn in the margin
        self.window = Rectangle((-1.0, -1.0), 2.0, 2.0, transform=axis.transData)
        for place, mark in (((0.0, 1.0), ">"), ((0.0, -1.0), ">"), ((1.0, 0.0), "^"), ((-1.0, 0.0), "^")) if self.closed else ():
            axis.plot(*place, mark, color=MUTED, markersize=5.0, zorder=7)

    def lines(self, axis: Axes, x: np.ndarray, colour: str, width: float = 1.1, alpha: float = 0.9) -> None:
        before = len(axis.lines)
        super().lines(axis, x, colour, width, alpha)
        for line in axis.lines[before:]:
            line.set_clip_path(self.window)


class Ring(Solid):
    """The torus ((1 + q cos v) cos u, (1 + q cos v) sin u, q sin v), q = 0.45, scaled to fit."""

    q = 0.45
    pixels = 2 * PIXELS
    back = 0.12

    def __init__(self) -> None:
        self.view = camera(48.0, -70.0)
        self.reach = 1.5

    def place(self, x: np.ndarray) -> np.ndarray:
        u, v = x[..., 0], x[..., 1]
        wide = 1.0 + self.q * np.cos(v)
        return np.stack([wide * np.cos(u), wide * np.sin(u), self.q * np.sin(v)], axis=-1)

    def back_to(self, world: np.ndarray) -> np.ndarray:
        u = np.arctan2(world[..., 1], world[..., 0])
        v = np.arctan2(world[..., 2], np.hypot(world[..., 0], world[..., 1]) - 1.0)
        angles = np.stack([u, v], axis=-1)
        return np.where(angles >= math.pi, -math.pi, angles)

    def normal(self, world: np.ndarray) -> np.ndarray:
        u, v = np.moveaxis(self.back_to(world), -1, 0)
        return np.stack([np.cos(v) * np.cos(u), np.cos(v) * np.sin(u), np.sin(v)], axis=-1)

    def depth(self, at: np.ndarray) -> np.ndarray:
        """By steps of the distance to the torus, which no ray can overshoot."""
        z = np.full(at.shape[:-1], 1.5)
        for _ in range(60):
            world = np.concatenate([at, z[..., None]], axis=-1) @ self.view
            gap = np.hypot(np.hypot(world[..., 0], world[..., 1]) - 1.0, world[..., 2]) - self.q
            z = np.where(z > -2.0, z - gap, z)
        return np.where((gap < 4e-3) & (z > -2.0), z, np.nan)

    def frame(self, axis: Axes) -> None:
        super().frame(axis)
        axis.set_ylim(-1.3, 1.3)
        turn = np.linspace(-math.pi, math.pi, 181)
        for angle in turn[:-1:15]:
            other = np.full_like(turn, angle)
            self.lines(axis, np.stack([other, turn], -1)[:, None], MUTED, 0.35, 0.5)
        for angle in turn[:-1:30]:
            other = np.full_like(turn, angle)
            self.lines(axis, np.stack([turn, other], -1)[:, None], MUTED, 0.35, 0.5)


class Disc(Chart):
    """Poincaré's disc, with the tiling by heptagons, three at a corner. The base is moved off the centre,
    where all geodesics are straight.
    """

    reach = 1.03

    def __init__(self, away: float = 0.9, towards: float = 205.0) -> None:
        c, s, a = math.cosh(away), math.sinh(away), math.radians(towards)
        turn = np.array([[1.0, 0.0, 0.0], [0.0, math.cos(a), -math.sin(a)], [0.0, math.sin(a), math.cos(a)]])
        boost = np.array([[c, s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
        self.motion = turn @ boost @ turn.T

    def plane(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x = x @ self.motion.T
        return x[..., 1:] / (1.0 + x[..., :1]), np.ones(x.shape[:-1], dtype=bool)

    def density(self, axis: Axes, law: Law, top: float) -> None:
        """The density with respect to the hyperbolic area."""
        at, space = pixels(self.reach), Hyperbolic(2)
        r = np.square(at).sum(-1)
        inside = r < 0.9998
        safe = np.where(inside, r, 0.0)
        spatial = 2.0 * at / (1.0 - safe)[..., None]
        x = np.concatenate([np.sqrt(1.0 + np.square(spatial).sum(-1, keepdims=True)), spatial], axis=-1)
        share = np.full(r.shape, np.nan)
        near = inside & (x[..., 0] < 1e4)
        share[inside] = 0.0
        share[near] = np.sqrt(law(space.project(x[near] @ np.linalg.inv(self.motion).T)) / top)
        show(axis, _paper(share), self.reach)

    def frame(self, axis: Axes) -> None:
        super().frame(axis)
        axis.add_patch(Circle((0.0, 0.0), 1.0, fill=False, edgecolor=MUTED, linewidth=1.0, zorder=4))
        axis.add_collection(LineCollection(heptagons(), colors=MUTED, linewidths=0.45, alpha=0.5, zorder=1), autolim=False)


@cache
def heptagons(sides: int = 7, corner: int = 3, rings: int = 4, points: int = 9) -> list[np.ndarray]:
    """Edges of the regular tiling {sides, corner} near the centre, each (points, 2) along its arc in the disc.

    A cell's corners are at the distance arcosh(cot(π/sides) cot(π/corner)) from its centre; its neighbours are its mirror images.
    """
    flip = np.array([-1.0, 1.0, 1.0])
    r = math.acosh(1.0 / (math.tan(math.pi / sides) * math.tan(math.pi / corner)))
    a = 2.0 * math.pi * np.arange(sides) / sides
    cells = [np.stack([np.full(sides, math.cosh(r)), math.sinh(r) * np.cos(a), math.sinh(r) * np.sin(a)], -1)]
    seen, edges, fresh = set(), {}, cells
    for _ in range(rings):
        grown = []
        for cell in fresh:
            for i in range(sides):
                p, q = cell[i], cell[(i + 1) % sides]
                key = tuple(np.round((p + q)[1:] / (1.0 + (p + q)[0]), 5) + 0.0)
                if key not in edges:
                    s = np.linspace(0.0, 1.0, points)[:, None]
                    line = (1.0 - s) * p + s * q
                    line = line / np.sqrt(-(line * line * flip).sum(-1, keepdims=True))
                    edges[key] = line[:, 1:] / (1.0 + line[:, :1])
                wall = np.cross(p, q) * flip  # the Minkowski normal of the plane of p and q
                wall = wall / math.sqrt(float((wall * wall * flip).sum()))
                mirrored = cell - 2.0 * (cell * flip @ wall)[:, None] * wall
                middle = mirrored.sum(0)
                name = tuple(np.round(middle[1:] / (1.0 + middle[0]), 5) + 0.0)
                if name not in seen:
                    seen.add(name)
                    grown.append(mirrored)
        fresh = grown
    return list(edges.values())
