"""One figure of the scoreboard: nominal against measured order, entry by entry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scorebed.toy.figures.style import BLUE, MUTED, VERMILLION, look, save
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


def draw(results: Sequence[Mapping[str, Any]], folder: Path) -> list[Path]:
    """``scoreboard.png`` and ``.svg``: a ring at the nominal order, a dot with its range at the measured one."""
    import matplotlib.pyplot as plt

    lines = _lines(labelled(results))
    rows: list[Mapping[str, Any] | str] = []
    for line in lines:
        if line["library"] not in rows:
            rows.append(str(line["library"]))
        rows.append(line)
    half = (len(rows) + 1) // 2
    columns = [rows[:half], rows[half:]] if len(rows) > 40 else [rows]
    with look():
        figure, axes = plt.subplots(1, len(columns), figsize=(7.2 * len(columns), 0.205 * max(map(len, columns)) + 1.5), squeeze=False)
        for ax, part in zip(axes[0], columns, strict=True):
            for y, r in enumerate(part):
                if isinstance(r, str):
                    continue
                wanted, found = nominal(r), formula(r)
                good = bool(reached(r))
                colour = BLUE if good else VERMILLION
                if found is None:
                    ax.text(0.05, y, "fails", color=VERMILLION, va="center", fontsize=7)
                else:
                    value = max(slope(found[1]), 0.0)
                    ax.plot([wanted, value], [y, y], color=colour, lw=0.8, alpha=0.5)
                    low, high = (max(slope(found[1], part), 0.0) for part in ("low", "high"))
                    ax.plot([low, high], [y, y], color=colour, lw=2.4, solid_capstyle="butt")
                    ax.plot(value, y, "o" if good else "X", color=colour, ms=5, markeredgecolor="white", markeredgewidth=0.5)
                ax.plot(wanted, y, "o", mfc="none", mec=MUTED, ms=8, mew=1.0)
            ax.set_yticks(range(len(part)), [r if isinstance(r, str) else _title(r) for r in part], fontsize=6.8)
            for label, r in zip(ax.get_yticklabels(), part, strict=True):
                label.set_fontweight("bold" if isinstance(r, str) else "normal")
                label.set_fontsize(8.5 if isinstance(r, str) else 6.8)
            ax.set_ylim(len(part) - 0.4, -0.6)
            ax.set_xlim(-0.1, 4.6)
            ax.set_xticks(range(5))
            ax.set_xlabel("order")
            ax.grid(axis="x")
            ax.tick_params(axis="y", length=0)
        handles = [
            plt.Line2D([], [], marker="o", mfc="none", mec=MUTED, ls="", ms=8, label="nominal"),
            plt.Line2D([], [], marker="o", color=BLUE, ls="", ms=5, label="measured, with the range of slopes"),
            plt.Line2D([], [], marker="X", color=VERMILLION, ls="", ms=6, label="measured, below nominal"),
        ]
        figure.legend(handles=handles, loc="upper center", ncols=3, bbox_to_anchor=(0.5, 1.0))
        figure.tight_layout(rect=(0, 0, 1, 1.0 - 0.45 / figure.get_figheight()))
        paths = save(figure, folder, "scoreboard")
        plt.close(figure)
    return paths


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
