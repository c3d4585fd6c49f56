"""Figures of ``toy.studies.trajectories``: paths over the density in space and time, measures along the paths, projections and spectra.

Paths over densities in the plane are in ``toy.figures.scenes``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from scorebed.solvers import SOLVERS
from scorebed.toy.figures.style import EXACT, INK, MUTED, appearances, headline, look
from scorebed.toy.measure import curves
from scorebed.toy.studies.paths import EXACT as FLOW
from scorebed.toy.studies.paths import Learned, Paths, axes_of
from scorebed.toy.studies.trajectories import Trajectories

NOISE_LEVEL = r"half log-SNR $\lambda$   (noise → data)"


def styles(result: Trajectories) -> dict[str, dict[str, Any]]:
    """Colour, marker and line of every run; the exact flow is broad and grey."""
    solvers = [name for name in result.runs if name != FLOW]
    known = appearances([SOLVERS.get(name.split("(")[0], name) for name in solvers])
    looks = dict(zip(solvers, known.values(), strict=True)) if len(known) == len(solvers) else appearances(solvers)
    return {FLOW: {"color": EXACT, "linewidth": 3.4, "alpha": 0.3, "marker": "", "linestyle": "-"}, **looks}


def about(result: Trajectories) -> str:
    """The problem in one line."""
    p = result.problem
    return f"{p.description}; {type(p.process).__name__}, {p.grid_name} grid"


def _legend(figure: Figure, result: Trajectories, looks: dict[str, dict[str, Any]], free: Axes | None = None) -> None:
    """In the panel that is free, or below."""
    names = [f"{n}, {run.nfe} NFE" if n != FLOW else n for n, run in result.runs.items()]
    handles = [Line2D([], [], **looks[n], label=label) for n, label in zip(result.runs, names, strict=True)]
    if free is not None:
        free.legend(handles=handles, loc="center left")
    else:
        figure.legend(handles=handles, loc="outside lower center", ncols=min(6, len(handles)))


_PANELS = {
    "distance": ("How far off?", "RMS distance from the exact path", "log"),
    "sensitivity": ("Do differences grow?", "largest singular value\nof the map so far, median", "log"),
    "weight": ("When is the mode decided?", "posterior weight of the mode\nwhere the path ends, mean", "linear"),
    "turning": ("Where do paths turn?", "degrees per unit of λ, median", "log"),
    "torsion": ("Do they leave their plane?", "torsion, median", "log"),
}


def along_paths(result: Trajectories) -> Figure:
    """Distance to the exact path, sensitivity, commitment, curvature and torsion along the paths, and their straightness."""
    looks, rows = styles(result), result.nodes
    wanted = [key for key in _PANELS if key in rows and rows[key].notna().any() and rows[key].max() > 0.0]
    wanted = [key for key in wanted if result.problem.d >= {"torsion": 3, "turning": 2}.get(key, 1)]
    columns = 2 if len(wanted) == 3 else 3
    lines = -(-(len(wanted) + 1) // columns)
    with look():
        figure = Figure(figsize=(3.8 * columns, 3.0 * lines + 0.8), layout="constrained")
        axes = figure.subplots(lines, columns, squeeze=False).ravel()
        for axis in axes[len(wanted) + 1 :]:
            axis.set_axis_off()
        free = axes[-1] if len(axes) > len(wanted) + 1 else None
        for axis, key in zip(axes, wanted, strict=False):
            title, label, scale = _PANELS[key]
            if key == "distance" and isinstance(result.problem.target, Learned):
                label = "RMS distance from a run of finer steps"
            for name in result.runs:
                part = rows[rows["solver"] == name]
                if key == "distance" and name == FLOW:
                    continue
                part = _per_lam(part) if key == "turning" else part
                groups = part.groupby("node")[key]
                value = (
                    groups.apply(lambda v: np.sqrt(np.mean(v**2)))
                    if key == "distance"
                    else groups.mean()
                    if key == "weight"
                    else groups.median()
                )
                lam = part.groupby("node")["lam"].first()
                keep = value.to_numpy() > 0.0 if scale == "log" else value.notna().to_numpy()
                axis.plot(lam[keep], value[keep], **looks[name])
            axis.set(title=title, xlabel=NOISE_LEVEL, ylabel=label, yscale=scale)
            axis.grid(visible=True, which="major")
        _straightness(axes[len(wanted)], result, looks)
        _legend(figure, result, looks, free)
        headline(figure, _nearest(result))
    return figure


def _per_lam(part: Any) -> Any:
    """The angle at each node over the change of λ about it: finite where a path stands still and turns round, as curvature is not."""
    lam = part.groupby("node")["lam"].first()
    about = (lam.shift(-1) - lam.shift(1)) / 2.0
    return part.assign(turning=np.degrees(part["turning"]) / part["node"].map(about))


def _nearest(result: Trajectories) -> str:
    """Whose ends are nearest to those of the exact flow."""
    ends = result.paths.assign(square=result.paths["distance"] ** 2) if "distance" in result.paths else None
    if ends is None:
        return about(result)
    off = ends[ends["solver"] != FLOW].groupby("solver", sort=False)["square"].mean().dropna() ** 0.5
    off = off[[name for name in off.index if not _rough(name)]]
    said = ", ".join(f"{name} {value:.2g}" for name, value in off.sort_values().items())
    return f"RMS distance from the exact flow at the end: {said}. {about(result)}." if said else about(result)


def _rough(name: str) -> bool:
    """Whether a run is of a stochastic method, whose paths are rough and have no exact one."""
    known = SOLVERS.get(name.split("(")[0].split(",")[0])
    return known is not None and known.weak is not None


def _straightness(axis: Axes, result: Trajectories, looks: dict[str, dict[str, Any]]) -> None:
    """Straightness of every path, and a bar at the median of each solver."""
    rng = np.random.default_rng(0)
    for i, name in enumerate(result.runs):
        values = result.paths.loc[result.paths["solver"] == name, "straightness"].to_numpy()
        colour = looks[name]["color"]
        axis.plot(values, i + rng.uniform(-0.22, 0.22, len(values)), ".", color=colour, alpha=0.5, markersize=5)
        axis.plot([np.median(values)] * 2, [i - 0.35, i + 0.35], color=colour, linewidth=2.0)
    axis.set_yticks(range(len(result.runs)), list(result.runs))
    axis.set(title="How straight?", xlim=(0.0, 1.03), ylim=(len(result.runs) - 0.5, -0.5), xlabel="straightness, chord over length")
    axis.grid(visible=True, axis="x")


def projections(result: Trajectories, shown: int = 6) -> Figure:
    """Many dimensions: paths in their own planes and on the data's two widest directions, spectra of paths, when directions are decided.

    Returns:
        the Figure, paths, their spectra and when directions are decided.

    Raises:
        ValueError: fewer than two dimensions.
    """
    if result.problem.d < 2:
        raise ValueError(f"{result.problem.name} has d = 1: projections need at least 2")
    looks = styles(result)
    mean, _, directions = axes_of(result.problem.target)
    if len(directions) < 2:
        raise ValueError(f"{result.problem.name}: these paths end on a line; projections need at least 2 directions")
    with look():
        figure = Figure(figsize=(10.8, 8.2), layout="constrained")
        (own, wide), (spectra, order) = figure.subplots(2, 2)
        for name, run in sorted(result.runs.items(), key=lambda item: _rough(item[0])):
            if _rough(name) and wide.has_data():  # the windows are made for the others
                for axis in (own, wide):
                    axis.set(xlim=axis.get_xlim(), ylim=axis.get_ylim())
            _own_plane(own, run, looks[name], shown, result.coordinates)
            line = {k: v for k, v in looks[name].items() if k in ("color", "linestyle", "linewidth")}
            alpha = 0.35 if name == FLOW else 0.85
            if _rough(name):
                line, alpha = {**line, "linewidth": 0.6, "zorder": 1.0}, 0.35
            on = (run.denoised[:, :shown] - mean) @ directions[:2].T
            wide.plot(on[..., 0], on[..., 1], **{"linewidth": 1.0, **line}, alpha=alpha)
            wide.plot(on[-1, :, 0], on[-1, :, 1], "o", color=line["color"], markersize=3.2, alpha=alpha)
            share = curves.components(run.states(result.coordinates)).mean(axis=0)
            share = share[share > 1e-12][:12]
            spectra.plot(np.arange(1, len(share) + 1), share, **looks[name])
            rows = result.directions[(result.directions["solver"] == name) & (result.directions["variance"] > 0)]
            dots = {**looks[name], "linestyle": "none"}
            order.plot(rows["variance"], rows["decided_rho"], **(dots | {"marker": "o", "markersize": 7} if name == FLOW else dots))
        first = result.directions[result.directions["solver"] == next(iter(result.runs))]
        first = first[first["variance"] > 0]
        for column, text, dash in (("gaussian_rho", "flow of a Gaussian", "solid"), ("gaussian_sde_rho", "its reverse SDE", "dashed")):
            order.plot(first["variance"], first[column], color=INK, linewidth=1.2, linestyle=dash, label=text)
        order.legend(loc="upper left")
        own.set(
            title="Each path in its own plane", xlabel=r"along $x_0$, in its length", ylabel=r"beside it, in the span of $x_0$ and $x_T$"
        )
        wide.set(
            title="Denoised paths on the data's widest directions", xlabel="first principal direction", ylabel="second principal direction"
        )
        spectra.set(title="Principal components of a path", yscale="log", xlabel="component", ylabel="share of the path, mean over paths")
        order.set(title="When directions are decided", xscale="log", yscale="log", xlabel="variance of the data along the direction")
        order.set_ylabel(r"noise level $\sigma/\alpha$")
        for ruler in (order.xaxis, order.yaxis):
            ruler.set_major_formatter("{x:g}")
            ruler.set_minor_formatter("{x:g}")
            ruler.set_minor_locator(LogLocator(subs=(2.0, 5.0)))
        spectra.xaxis.get_major_locator().set_params(integer=True)
        spectra.yaxis.set_major_formatter("{x:g}")
        spectra.yaxis.set_minor_formatter("{x:g}" if len(directions) < 4 else NullFormatter())
        spectra.yaxis.set_minor_locator(LogLocator(subs=(2.0, 5.0)))
        for axis in (own, wide, spectra, order):
            axis.grid(visible=True, which="major")
        _legend(figure, result, looks)
        pale = "; stochastic paths are pale, and may leave the window" if any(map(_rough, result.runs)) else ""
        headline(figure, f"{about(result)}{pale}.")
    return figure


def _own_plane(axis: Axes, run: Paths, appearance: dict[str, Any], shown: int, coordinates: str) -> None:
    points = run.states("unit" if coordinates == "x" else coordinates)[:, :shown]
    at = curves.plane(points).coordinates / np.linalg.norm(points[-1], axis=-1)[None, :, None]
    rough = _rough(run.solver)
    axis.plot(
        at[..., 0],
        at[..., 1],
        color=appearance["color"],
        linewidth=2.6 if run.solver == FLOW else 0.6 if rough else 1.0,
        alpha=0.3 if run.solver == FLOW or rough else 0.8,
        zorder=1.0 if rough else 2.0,
    )
    axis.axhline(0.0, color=MUTED, linewidth=0.6, zorder=0)
