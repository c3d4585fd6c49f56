"""One look for every figure: the colours of Okabe and Ito, one colour and marker per family of solvers, sizes for print and for slides.

A family is one or more files of ``solvers/methods``. Members share colour and marker everywhere; they differ by line and filling.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from scorebed.solvers import SOLVERS, Solver
from scorebed.toy.store.files import ready, whole

BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, VERMILLION, PURPLE = "#F0E442", "#0072B2", "#D55E00", "#CC79A7"
INK, MUTED = "#222222", "#6b6b6b"
EXACT = INK
"""The colour of the truth."""

_STOCHASTIC = (
    *("ancestral", "centred", "churn", "er_sde", "euler_maruyama", "langevin", "langevin_splitting", "bridges", "reversible_sde"),
    *("flow_sde", "sa_solver", "sde_dpm", "seeds", "splitting", "stochastic_rk"),
    *("reflected", "reflected_second", "riemannian_sde"),
)
_RUNGE_KUTTA = (
    *("edm", "runge_kutta", "adaptive", "scipy_integrators", "rectified", "stabilized", "compose", "reversible"),
    *("riemannian", "riemannian_lie", "riemannian_retraction", "riemannian_rk"),
)
FAMILIES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "Runge-Kutta": (VERMILLION, "o", _RUNGE_KUTTA),
    "exponential": (BLUE, "s", ("dpm_solver", "exponential_rk", "lawson", "dpm_solver_v3", "taylor")),
    "DPM-Solver++": (GREEN, "^", ("dpmpp",)),
    "Adams": (ORANGE, "D", ("adams", "exponential_adams", "trig_flow", "deis", "ipndm", "multistep")),
    "UniPC": (SKY, "P", ("unipc",)),
    "stochastic": (PURPLE, "v", _STOCHASTIC),
    "momentum": (BLACK, "*", ("momentum",)),
    "other": (MUTED, "X", ()),
}
"""Colour, marker and files of each family. A file that is not listed here belongs to "other"."""

LINES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)), (0, (2.5, 2.5)))
DENSITY = LinearSegmentedColormap.from_list("density", ["#ffffff", "#dbe7f0", "#9fc1da", "#5b93bb", "#2b6490"])
"""From paper to blue, so that lines of every family stay visible on it."""

RC: Any = {
    "font.size": 9.5,
    "font.family": "DejaVu Sans",
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9.5,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.frameon": False,
    "legend.fontsize": 9.0,
    "legend.handlelength": 2.8,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "savefig.dpi": 150,
    "svg.fonttype": "path",
    "svg.hashsalt": "scorebed",
}


@contextmanager
def look() -> Iterator[None]:
    """The project's figure settings, for the time of a ``with``."""
    with mpl.rc_context(RC):
        yield


def family(solver: Solver) -> str:
    """The family of a method, by the file that defines its step."""
    step = solver.step
    while isinstance(step, partial):
        step = step.func
    package, _, file = str(step.__module__).rpartition(".")
    return next((name for name, (_, _, files) in FAMILIES.items() if package == "scorebed.solvers.methods" and file in files), "other")


def appearances(solvers: Iterable[str | Solver]) -> dict[str, dict[str, Any]]:
    """Colour, marker and line of each of the solvers of one figure, as keyword arguments of ``plot``, by name."""
    looks: dict[str, dict[str, Any]] = {}
    seen: dict[str, int] = {}
    for one in solvers:
        known = SOLVERS.get(one) if isinstance(one, str) else one
        kind = "other" if known is None else family(known)
        colour, marker, _ = FAMILIES[kind]
        turn, line = divmod(seen.get(kind, 0), len(LINES))
        seen[kind] = seen.get(kind, 0) + 1
        face = {"markerfacecolor": "white", "markeredgecolor": colour} if turn % 2 else {"markeredgecolor": "white"}
        name = one if isinstance(one, str) else one.name
        looks[name] = {"color": colour, "marker": marker, "linestyle": LINES[line], "markeredgewidth": 0.8 if turn % 2 else 0.5, **face}
    return looks


def save(figure: Figure, folder: str | Path, name: str, dark: bool = False) -> list[Path]:
    """Write ``name.png`` and ``name.svg``, each whole or not at all; without dates in them, so that equal figures are equal files.

    ``dark`` writes ``name-dark.png`` and ``name-dark.svg`` beside them, for slides with a dark ground.
    """
    from scorebed.toy.figures.dark import dark as darkened

    folder = ready(folder)
    paths = []
    for one, stem in [(figure, name), *([(darkened(figure), f"{name}-dark")] if dark else [])]:
        for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
            path = folder / f"{stem}.{kind}"
            with look(), whole(path) as part:
                one.savefig(part, format=kind, metadata=metadata, facecolor=one.get_facecolor())
            paths.append(path)
    return paths
