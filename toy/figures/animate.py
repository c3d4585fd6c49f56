"""Short animations of paths in one and two dimensions: the density as it forms, and the paths of each solver through it.

A GIF by Pillow, which is installed with matplotlib; an MP4 where matplotlib finds ffmpeg.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.animation import FFMpegWriter, PillowWriter
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from scorebed.solvers import Node
from scorebed.toy.figures.space_time import density_in_time
from scorebed.toy.figures.style import DENSITY, MUTED, look
from scorebed.toy.figures.trajectories import styles
from scorebed.toy.store.files import ready, whole
from scorebed.toy.studies.paths import EXACT as FLOW
from scorebed.toy.studies.trajectories import Trajectories

_POINTS = 121
Moving = dict[str, Any]
"""What changes from frame to frame, by its gid: the dark copy of a figure has its own."""


def has_ffmpeg() -> bool:
    """Whether an mp4 can be written here."""
    return bool(FFMpegWriter.isAvailable())


def _place(result: Trajectories, lam: float, shown: int) -> dict[str, np.ndarray]:
    """Where every path of every run is at ``lam``, in units of (α² + σ²)^{1/2}; between nodes on the chord."""
    out = {}
    for name, run in result.runs.items():
        at = np.array([n.lam for n in run.nodes])
        u = run.states("unit")[:, :shown].reshape(len(at), -1)
        out[name] = np.stack([np.interp(lam, at, column) for column in u.T], axis=-1).reshape(-1, run.x.shape[-1])
    return out


def _moments(result: Trajectories, frames: int) -> list[Node]:
    return result.problem.nodes(max(frames - 1, 1), "uniform_lam")


def _line(result: Trajectories, nodes: list[Node], shown: int) -> tuple[Figure, Callable[[Moving, int], None]]:
    """Space and time: the density stands, the paths grow into it."""
    looks, lams = styles(result), np.array([n.lam for n in nodes])
    trails = np.array([[p[:, 0] for p in _place(result, lam, shown).values()] for lam in lams])  # frames, runs, paths
    box = 1.1 * float(np.abs(trails).max())
    ticks, density = density_in_time(result.problem.target, nodes, box, _POINTS)
    figure = Figure(figsize=(3.2 * len(result.runs), 3.2), layout="constrained")
    for i, (axis, name) in enumerate(zip(figure.subplots(1, len(result.runs), squeeze=False)[0], result.runs, strict=True)):
        axis.pcolormesh(lams, ticks, np.sqrt(density), cmap=DENSITY, vmin=0.0, vmax=2.0, shading="nearest")
        for k in range(trails.shape[2]):
            axis.plot([], [], color=looks[name]["color"], linewidth=1.0, alpha=0.85, gid=f"trail-{i}-{k}")
        axis.plot([], [], "o", color=looks[name]["color"], markersize=4.0, gid=f"head-{i}")
        axis.set(xlim=(lams[0], lams[-1]), ylim=(-box, box), yticks=[], xlabel=r"$\lambda$   (noise → data)")
        axis.set_title(name if name == FLOW else f"{name}, {result.runs[name].nfe} NFE", color=looks[name]["color"])

    def draw(moving: Moving, frame: int) -> None:
        for i in range(trails.shape[1]):
            for k in range(trails.shape[2]):
                moving[f"trail-{i}-{k}"].set_data(lams[: frame + 1], trails[: frame + 1, i, k])
            moving[f"head-{i}"].set_data(np.full(trails.shape[2], lams[frame]), trails[frame, i])

    return figure, draw


def _plane(result: Trajectories, nodes: list[Node], shown: int) -> tuple[Figure, Callable[[Moving, int], None]]:
    """The plane: the density of each marginal, and the states with the trail they have left."""
    looks, target = styles(result), result.problem.target
    trails = np.array([list(_place(result, n.lam, shown).values()) for n in nodes])  # frames, runs, paths, 2
    box = 1.08 * float(np.abs(trails).max())
    ticks = np.linspace(-box, box, _POINTS)
    points = np.stack(np.meshgrid(ticks, ticks), -1).reshape(-1, 2)
    images = []
    for n in nodes:
        values = np.exp(np.asarray(target.log_prob(float(np.hypot(n.alpha, n.sigma)) * points, n))).reshape(_POINTS, _POINTS)
        images.append(np.sqrt(values / values.max()))
    figure = Figure(figsize=(2.9 * len(result.runs), 3.35), layout="constrained")
    for i, (axis, name) in enumerate(zip(figure.subplots(1, len(result.runs), squeeze=False)[0], result.runs, strict=True)):
        extent = (-box, box, -box, box)
        axis.imshow(images[0], extent=extent, origin="lower", cmap=DENSITY, vmin=0.0, vmax=1.4, interpolation="bilinear", gid=f"ground-{i}")
        for k in range(trails.shape[2]):
            axis.plot([], [], color=looks[name]["color"], linewidth=0.9, alpha=0.7, gid=f"trail-{i}-{k}")
        axis.plot([], [], "o", color=looks[name]["color"], markersize=3.8, gid=f"head-{i}")
        axis.set(xlim=(-box, box), ylim=(-box, box), xticks=[], yticks=[], aspect="equal")
        axis.set_title(name if name == FLOW else f"{name}, {result.runs[name].nfe} NFE", color=looks[name]["color"])

    def draw(moving: Moving, frame: int) -> None:
        for i in range(trails.shape[1]):
            moving[f"ground-{i}"].set_data(images[frame])
            for k in range(trails.shape[2]):
                trail = trails[max(0, frame - 12) : frame + 1, i, k]
                moving[f"trail-{i}-{k}"].set_data(trail[:, 0], trail[:, 1])
            moving[f"head-{i}"].set_data(trails[frame, i, :, 0], trails[frame, i, :, 1])

    return figure, draw


def animate(
    result: Trajectories,
    folder: str | Path,
    name: str = "trajectories",
    frames: int = 40,
    shown: int = 20,
    fps: int = 16,
    dpi: int = 80,
    dark: bool = False,
    kind: str = "gif",
) -> Path:
    """Write ``name.gif`` (or ``.mp4``) and return its path; the last frame stands for a second.

    Args:
        frames: from the first node to the last, at equal steps of lam.
        shown: paths of each solver.
        kind: ``gif``, or ``mp4`` where ffmpeg is installed.
        dark: for a dark ground; the file is then called ``name-dark``.

    Returns:
        the path of the ``gif`` or ``mp4`` written.

    Raises:
        ValueError: a target of more than two dimensions, fewer than 2 frames, or an unknown kind.
        RuntimeError: mp4 without ffmpeg.
    """
    from scorebed.toy.figures.dark import dark as darkened

    if result.problem.d > 2:
        raise ValueError(f"{result.problem.name} has d = {result.problem.d}: an animation needs d = 1 or 2")
    if kind not in ("gif", "mp4"):
        raise ValueError(f"kind = {kind!r} is not known: give 'gif' or 'mp4'")
    if frames < 2:
        raise ValueError(f"frames = {frames!r} must be at least 2")
    if kind == "mp4" and not has_ffmpeg():
        raise RuntimeError("an mp4 needs ffmpeg, which is not installed: give kind='gif'")
    folder = ready(folder)
    nodes, rest = _moments(result, frames), fps
    path = folder / f"{name}{'-dark' if dark else ''}.{kind}"
    with look(), whole(path) as part:
        figure, draw = (_line if result.problem.d == 1 else _plane)(result, nodes, shown)
        figure.supxlabel(f"{result.problem.description}; {type(result.problem.process).__name__}", fontsize=8, color=MUTED)
        engine = figure.get_layout_engine()
        if engine is not None:
            engine.set(w_pad=0.06, h_pad=0.08)  # type: ignore[call-arg]
        if dark:
            figure = darkened(figure)
        FigureCanvasAgg(figure)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # once is enough
        moving = {str(artist.get_gid()): artist for artist in figure.findobj(lambda artist: artist.get_gid() is not None)}
        writer = (PillowWriter if kind == "gif" else FFMpegWriter)(fps=fps)
        with writer.saving(figure, str(part), dpi):
            for frame in [*range(len(nodes)), *[len(nodes) - 1] * rest]:
                draw(moving, frame)
                writer.grab_frame(facecolor=figure.get_facecolor())
    return path
