"""What a study leaves for people: the tables on the terminal and in Markdown, and the figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from scorebed.solvers.process import LINEAR
from scorebed.toy.figures import plots, process_scenes, scenes, space_scenes
from scorebed.toy.figures.style import chosen, purpose, save
from scorebed.toy.problems.problem import Problem
from scorebed.toy.problems.registry import PROBLEMS
from scorebed.toy.store.files import replace_text
from scorebed.toy.store.tasks import Chain, Engine, Task
from scorebed.toy.store.work import work
from scorebed.toy.studies.sent import Sent
from scorebed.toy.studies.tables import Summary, markdown, overview, summarise, terminal

LEGEND = (
    "Errors of deterministic solvers: RMS distance of the end states from the exact flow. Of stochastic ones: W2 between the\n"
    "law of the output and the exact marginal, on the Gaussian with the problem's mean and covariance. Order: slope of the\n"
    "finest refinements, and the range of their single slopes."
)
SPACES = (
    "On spaces other than R^d distances are those of the space, and the error of a stochastic solver is weak: the RMS of the\n"
    "errors of the means of a few functions of the distance from the pole, or of the coordinates, by the exact law of its chain."
)


def captions(table: pd.DataFrame) -> dict[tuple[str, str], str]:
    """What each table is about, by (problem, grid)."""
    out = {}
    for key, rows in table.groupby(["problem", "grid"], sort=False):
        problem, grid = map(str, key)
        first, known = rows.iloc[0], PROBLEMS.get(problem)
        text = f"{known.description}; " if known else ""
        text += f"d = {first['d']}, {first['schedule']}, {grid} grid"
        if known and known.space is not None:
            text += f", on {known.space}"
        paths = rows[rows["kind"] == "path"]
        if len(paths) and known and not known.closed:
            text += f"; reference integrated, its error {paths['reference_error'].max():.0e}"
        out[problem, grid] = text
    return out


def tables(table: pd.DataFrame, nfe: Sequence[int], out: Path, show: Callable[..., Any]) -> list[Path]:
    """Print the tables with ``show`` and write ``table.md``."""
    summaries = summarise(table, nfe)
    pages = ["# Measured against closed-form truth\n", LEGEND.replace("\n", " ") + "\n"]
    for (problem, grid), caption in captions(table).items():
        mine = [s for s in summaries if (s.problem, s.grid) == (problem, grid)]
        show(terminal(problem, caption, mine, nfe))
        show()
        pages.append(markdown(problem, caption, mine, nfe))
    show(overview(summaries))
    show()
    show(notes(summaries))
    replace_text(out / "table.md", "\n".join([*pages, notes(summaries)]))
    return [out / "table.md"]


def notes(summaries: Sequence[Summary]) -> str:
    """How to read the tables, and a line for every order that is not as claimed."""
    strays = [s for s in summaries if s.verdict != "as claimed"]
    lines = [f"{s.problem}, {s.grid}, {s.solver}: {s.verdict}; claim {s.claim:g}, measured {s.order or 'no order'}." for s in strays]
    known = [PROBLEMS.get(s.problem) for s in summaries]
    spaces = [SPACES] if any(p is not None and p.space is not None for p in known) else []
    return "\n".join([LEGEND, *spaces, *lines]) + "\n"


def pictures(problem: Problem) -> list[tuple[str, Callable[..., Any]]]:
    """The pictures of single runs that a problem offers: paths in the plane or on a space with a chart, and images."""
    if problem.space is not None:
        return [("trajectory", space_scenes.trajectory)] if space_scenes.has_chart(problem.space) else []
    if problem.process.kind in LINEAR[1:]:
        return [("paths", process_scenes.paths)] if process_scenes.has_picture(problem) else []
    plane = [("trajectory", scenes.trajectory)] if problem.d == 2 and problem.closed else []
    return plane + ([("images", scenes.images)] if getattr(problem, "image", None) else [])


def figures(
    table: pd.DataFrame,
    out: Path,
    seed: int = 0,
    report: Callable[[int, int, str], Any] | None = None,
    dark: bool = False,
    backend: str | Engine = "local",
    jobs: int | None = 1,
) -> list[Path]:
    """Draw what the rows give, each figure by itself, in the processes of a machine that sees ``out``.

    Args:
        report, backend, jobs: as ``toy.store.work.work`` says.

    Returns:
        paths of the figures written.
    """
    chains = [_chain(name, make, out, dark) for name, make in offered(table, seed)]
    order = range(len(chains))[::-1]  # pictures of single runs, which run them, before curves
    return [path for paths in work(chains, report=report, backend=backend, jobs=jobs, order=order).values for path in paths]


def _chain(name: str, make: Callable[[], Figure], out: Path, dark: bool) -> Chain:
    args = (make, out, name, dark, chosen())
    done = yield Task(f"figure {name}", "", _drawn, args, f"drawing {name}", counted=False)
    return done["paths"]


def _drawn(make: Callable[[], Figure], out: Path, name: str, dark: bool, what_for: str) -> Mapping[str, list[Path]]:
    purpose(what_for)  # of the command, in whichever process this is
    return {"paths": save(make(), out, name, dark=dark)}


def _single(draw: Callable[..., Figure], problem: Sent[Problem], seed: int) -> Figure:
    return draw(problem.value, seed=seed)


def offered(table: pd.DataFrame, seed: int = 0) -> list[tuple[str, Callable[[], Figure]]]:
    """The figures that the rows give: convergence and work-precision, or the grids where there are several; weak order; those on spaces
    as ``spaces_…``; and ``pictures``.

    Returns:
        the name of each, and what makes it, which another process may do.
    """
    jobs: list[tuple[str, Callable[[], Figure]]] = []
    known = [PROBLEMS[name] for name in dict.fromkeys(table["problem"]) if name in PROBLEMS]
    good = table[table["status"] == "ok"]
    on_space = good["problem"].isin([p.name for p in known if p.space is not None])
    for prefix, rows, weak in (("", good[~on_space], "law"), ("spaces_", good[on_space], "weak")):
        path, law = rows[rows["kind"] == "path"], rows[rows["kind"] == weak]
        several = (path.groupby("problem")["grid"].nunique() > 1).any()
        if several and (path["nfe"] <= 100).any():
            jobs.append((f"{prefix}grids", partial(plots.by_grid, path)))
        else:
            jobs += [(f"{prefix}convergence", partial(plots.convergence, path))] if (path["steps"] >= 5).any() else []
            jobs += [(f"{prefix}work_precision", partial(plots.work_precision, path))] if (path["nfe"] <= 100).any() else []
        jobs += [(f"{prefix}weak_order", partial(plots.convergence, law, kind=weak))] if (law["steps"] >= 5).any() else []
    return jobs + [(f"{what}_{p.name}", partial(_single, draw, Sent(p), seed)) for p in known for what, draw in pictures(p)]
