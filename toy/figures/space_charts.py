r"""How points of a space are drawn in the plane: charts with a density, paths in front and behind, and where lines must break.

    Globe   the sphere in orthographic projection, shaded, with a graticule; what lies behind is faint
    Triad   SO(3) on a globe: where a rotation takes the three axes; R exp(r a) draws three circles about a
    Ring    the torus embedded in R³, shaded, what lies behind faint

Charts without shading are in ``toy.figures.flat_charts``.
"""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Circle

from scorebed.toy.figures.chart import HALO, PIXELS, Chart, Law, camera, pixels, show
from scorebed.toy.figures.style import BLUE, DENSITY, GREEN, MUTED, VERMILLION

LIGHT = np.array([-0.45, 0.55, 0.70]) / np.linalg.norm([-0.45, 0.55, 0.70])


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
