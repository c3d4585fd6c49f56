r"""Charts of spaces that are drawn as they lie on the page.

Ball    SO(3) as the ball of rotation vectors θa, |θ| <= π, opposite points of its surface being one; seen through
Square  a box, or a flat torus whose paths are drawn in all the copies that the square meets
Disc    the hyperbolic plane in Poincaré's disc, x⃗/(1 + x₀), whose geodesics are arcs that meet the rim at right angles
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.patches import Circle, Rectangle

from scorebed.solvers.space import SO3, Hyperbolic
from scorebed.toy.figures.chart import Chart, Law, camera, pixels, show
from scorebed.toy.figures.space_charts import Triad
from scorebed.toy.figures.style import DENSITY, INK, MUTED


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

    Returns:
        the edges, each an array (points, 2) in the disc.
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
