"""What charts of spaces share: a density on pixels, paths in front and behind, and where lines must break.

A density is drawn as its square root on one scale for all panels of a figure.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.axes import Axes

Law = Callable[[np.ndarray], np.ndarray]
"""Density at points (n, *shape)."""
PIXELS = 330
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
