"""One figure of the scoreboard: whose order is less than its name says, and how many keep their word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scorebed.toy.figures.style import MUTED, VERMILLION, headline, look, save
from scorebed.toy.peers.report import formula, labelled, nominal, reached, slope


def _lines(results: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """One line for entries that measure alike: the first of those with equal class, nominal order and order to a tenth."""
    seen: dict[tuple[Any, ...], Mapping[str, Any]] = {}
    for r in results:
        found = formula(r)
        if nominal(r) is None:
            continue
        order = None if found is None else round(slope(found[1]), 1)
        seen.setdefault((r["library"], r["name"].split(" (")[0], nominal(r), r["weak"] is None, reached(r), order), r)
    return list(seen.values())


def _gap(r: Mapping[str, Any]) -> float:
    found = formula(r)
    return float(nominal(r) or 0.0) - (-1.0 if found is None else slope(found[1]))


def draw(results: Sequence[Mapping[str, Any]], folder: Path) -> list[Path]:
    """``scoreboard.png`` and its like: the samplers that fall short of the order of their name, the largest gap first; the rest as a count.

    A ring stands at the nominal order, a cross with its range of slopes at the measured one.

    Returns:
        paths of the figures written.
    """
    told = labelled(results)
    judged = [r for r in told if nominal(r) is not None]
    short = _lines([r for r in judged if not reached(r)])
    rows: list[Any] = []
    for library in dict.fromkeys(r["library"] for r in judged):
        mine = [r for r in judged if r["library"] == library]
        good = sum(bool(reached(r)) for r in mine)
        rows.append(f"{library}: {good} of {len(mine)} reach their order")
        rows += sorted((r for r in short if r["library"] == library), key=_gap, reverse=True)
    with look():
        figure = Figure(figsize=(7.6, 0.24 * len(rows) + 1.9), layout="constrained")
        axis = figure.subplots()
        for y, r in enumerate(rows):
            if not isinstance(r, str):
                _row(axis, y, r)
        axis.set_yticks(range(len(rows)), [r if isinstance(r, str) else _title(r) for r in rows], fontsize=7.5)
        for label, r in zip(axis.get_yticklabels(), rows, strict=True):
            label.set(fontweight="bold" if isinstance(r, str) else "normal", fontsize=8.5 if isinstance(r, str) else 7.5)
        axis.set(xlim=(-0.1, 4.6), ylim=(len(rows) - 0.4, -0.6), xlabel="order")
        axis.set_xticks(range(5))
        axis.grid(axis="x")
        axis.tick_params(axis="y", length=0)
        handles = [
            Line2D([], [], marker="o", markerfacecolor="none", markeredgecolor=MUTED, linestyle="", markersize=8, label="of its name"),
            Line2D([], [], marker="X", color=VERMILLION, linestyle="", markersize=6, label="measured, with the range of slopes"),
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=2)
        bad = len(judged) - sum(bool(reached(r)) for r in judged)
        headline(figure, f"{bad} of {len(judged)} samplers fall short of the order of their name. Alike ones are one line.")
    return save(figure, folder, "scoreboard")


def _row(axis: Axes, y: int, r: Mapping[str, Any]) -> None:
    """The nominal order of a sampler that falls short, and the measured one."""
    wanted, found = nominal(r) or 0, formula(r)
    if found is None:
        axis.text(0.05, y, "fails", color=VERMILLION, va="center", fontsize=7.5)
    else:
        value, low, high = (max(slope(found[1], *part), 0.0) for part in ((), ("low",), ("high",)))
        axis.plot([wanted, value], [y, y], color=VERMILLION, lw=0.8, alpha=0.5)
        axis.plot([low, high], [y, y], color=VERMILLION, lw=2.4, solid_capstyle="butt")
        axis.plot(value, y, "X", color=VERMILLION, ms=5.5, markeredgecolor="white", markeredgewidth=0.5)
    axis.plot(wanted, y, "o", mfc="none", mec=MUTED, ms=8, mew=1.0)


_SHORT = {
    "algorithm=": "",
    "solver_order=": "order ",
    "predictor_order=": "p ",
    "corrector_order=": "c ",
    "solver=": "",
    "sde-dpmsolver": "SDE",
}


def _title(r: Mapping[str, Any]) -> str:
    name = str(r["name"]).replace(", final_sigmas=sigma_min", "")
    for long, short in _SHORT.items():
        name = name.replace(long, short)
    kind = "" if r["weak"] is None else " · weak"
    return (name if len(name) <= 62 else name[:60] + "…") + kind
