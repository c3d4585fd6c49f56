"""One look for every figure: the colours of Okabe and Ito, one colour and marker per family of solvers, sizes for print and for slides.

A family is one or more files of ``solvers/methods``. Members share colour and marker, and differ by line and
filling; where a figure shows one family only, each method has a colour of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from textwrap import fill
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

ALONE = ((BLUE, "s"), (VERMILLION, "o"), (GREEN, "^"), (ORANGE, "D"), (PURPLE, "v"), (SKY, "P"), (BLACK, "*"), (MUTED, "X"))
"""Colour and marker of the methods of a figure that shows one family only."""

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
    "legend.handlelength": 3.2,
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
    """Colour, marker and line of each of the solvers of one figure, as keyword arguments of ``plot``, by name.

    A family has one colour and marker. Where a figure shows one family only, that would tell nothing: each method then has its own.

    Returns:
        keyword arguments of ``plot`` (colour, marker, line) by solver name.
    """
    given = [(one if isinstance(one, str) else one.name, SOLVERS.get(one) if isinstance(one, str) else one) for one in solvers]
    kinds = {name: "other" if known is None else family(known) for name, known in given}
    alone = 1 < len(kinds) <= len(ALONE) and len(set(kinds.values())) == 1
    seen: dict[str, int] = {}
    looks: dict[str, dict[str, Any]] = {}
    for i, (name, kind) in enumerate(kinds.items()):
        colour, marker = ALONE[i] if alone else FAMILIES[kind][:2]
        looks[name] = appearance(colour, marker, i if alone else seen.get(kind, 0))
        seen[kind] = seen.get(kind, 0) + 1
    return looks


def appearance(colour: str, marker: str, turn: int) -> dict[str, Any]:
    """Of the member ``turn`` of a family: a line, and a filled or a hollow marker by turns, so that neighbours differ in both."""
    face = {"markerfacecolor": "white", "markeredgecolor": colour} if turn % 2 else {"markeredgecolor": "white"}
    line = LINES[turn % len(LINES)]
    return {"color": colour, "marker": marker, "linestyle": line, "markeredgewidth": 1.0 if turn % 2 else 0.5, **face}


def headline(figure: Figure, text: str) -> None:
    """What a figure says, in one or two sentences above it, in lines of its width; they are broken anew when it is saved at another."""
    lines = fill(text, _letters(figure, 9.5)) if "$" not in text else text
    figure.set_figheight(figure.get_figheight() + 0.17 * max(0, lines.count("\n") - 1))
    figure.suptitle(lines, x=0.01, ha="left", fontsize=9.5, color=INK)


def named(names: Iterable[Any], most: int = 4) -> str:
    """Names in a sentence: the first few, and how many more."""
    all_of = [str(name) for name in names]
    return ", ".join(all_of[:most]) + (f" and {len(all_of) - most} more" if len(all_of) > most else "")


def _letters(figure: Figure, size: float, share: float = 0.54) -> int:
    """How many letters of a size fit beside each other; ``share`` is the width of one by its height."""
    return max(20, int(0.97 * figure.get_figwidth() / (share * size / 72)))


PURPOSES: dict[str, tuple[float, int, tuple[str, ...]]] = {
    "screen": (1.0, 150, ("png", "svg")),
    "slide": (0.78, 220, ("png", "svg")),
    "paper": (0.9, 300, ("png", "pdf")),
}
"""By what a figure is for: its size, against which text and lines grow as it shrinks; dots per inch; kinds of file."""

_chosen = "screen"


def purpose(name: str) -> None:
    """What all figures saved from now on are for: screen, slide or paper.

    Raises:
        ValueError: none of these.
    """
    global _chosen
    if name not in PURPOSES:
        raise ValueError(f"purpose {name!r} not known; known: {', '.join(PURPOSES)}")
    _chosen = name


def chosen() -> str:
    """What figures are for now, as ``purpose`` was told."""
    return _chosen


def fit(figure: Figure) -> None:
    """Break lines of text over the figure to its width, labels to the height of their axes, and rows of its legends."""
    for text in figure.texts:
        said = text.get_text()
        if len(said) > 40 and "$" not in said:
            share = 0.62 if text.get_fontweight() == "bold" else 0.54
            text.set_text(fill(" ".join(said.split()), _letters(figure, float(text.get_fontsize()), share)))
            more = text.get_text().count("\n") - max(said.count("\n"), 1)
            figure.set_figheight(figure.get_figheight() + 0.17 * max(0, more))
    figure.draw_without_rendering()
    changed = False
    for axis in figure.axes:
        label = axis.yaxis.label
        share = label.get_window_extent().height / axis.get_window_extent().height if label.get_text() else 0.0
        if share > 1.02 and "$" not in label.get_text():
            words = " ".join(label.get_text().split())
            label.set_text(fill(words, max(12, int(0.9 * len(words) / share))))
            changed = True
    if changed:
        figure.draw_without_rendering()
    for legend in list(figure.legends):
        handles = [handle for handle in legend.legend_handles if handle is not None]
        labels = [text.get_text() for text in legend.get_texts()]
        low = legend.get_window_extent().y0 < 0.5 * figure.bbox.height
        how: dict[str, Any] = {"loc": f"outside {'lower' if low else 'upper'} center", "title": legend.get_title().get_text() or None}
        columns, size = len(handles), labels and legend.get_texts()[0].get_fontsize()
        while legend.get_window_extent().width > figure.bbox.width and columns > 1:
            legend.remove()
            columns = math.ceil(len(handles) / (math.ceil(len(handles) / columns) + 1))  # one row more, all of them alike
            legend = figure.legend(handles, labels, ncols=columns, fontsize=size, **how)
            figure.draw_without_rendering()


def save(figure: Figure, folder: str | Path, name: str, dark: bool = False) -> list[Path]:
    """Write ``name.png`` and ``name.svg``, each whole or not at all; without dates in them, so that equal figures are equal files.

    ``dark`` writes ``name-dark.png`` and ``name-dark.svg`` beside them, for slides with a dark ground. What they are for, ``purpose`` says:
    for a slide text and lines are larger and dots finer, for a paper there is a PDF.

    Returns:
        paths of the files written, PNG and SVG, or PDF as ``purpose`` asks.
    """
    from scorebed.toy.figures.dark import dark as darkened

    folder = ready(folder)
    size, dots, kinds = PURPOSES[_chosen]
    paths = []
    with look():
        figure.set_size_inches(size * figure.get_figwidth(), size * figure.get_figheight())
        fit(figure)
        engine = figure.get_layout_engine()
        figure.set_layout_engine(None)  # it is laid out: once is enough for all files, and each is drawn once
    for one, stem in [(figure, name), *([(darkened(figure), f"{name}-dark")] if dark else [])]:
        for kind in kinds:
            path = folder / f"{stem}.{kind}"
            metadata = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[kind]
            with look(), whole(path) as part:
                one.savefig(part, format=kind, metadata=metadata, facecolor=one.get_facecolor(), dpi=dots)
            paths.append(path)
    figure.set_layout_engine(engine)
    figure.set_size_inches(figure.get_figwidth() / size, figure.get_figheight() / size)
    return paths
