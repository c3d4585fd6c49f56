"""The report of a study as one page that needs nothing else: tables that sort, plots that zoom, paths through time, and how it was made."""

from __future__ import annotations

import importlib.util
import json
import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scorebed.solvers import SOLVERS, sample
from scorebed.toy.measure.cost import affordable
from scorebed.toy.problems.registry import PROBLEMS
from scorebed.toy.store.files import StoreError

_ROWS, _PATHS, _NFE = 5000, 60, 12
"""Rows of a table, states of a problem, and evaluations of a run, at most."""


def plotly() -> str:
    """The text of plotly's library, from the installed package, which is not imported for it.

    Returns:
        the text of ``plotly.min.js``.

    Raises:
        StoreError: it is not installed.
    """
    found = importlib.util.find_spec("plotly")
    if found is None or found.origin is None:
        raise StoreError("plotly, which draws the report, is not installed: pip install 'scorebed[report]'")
    return (Path(found.origin).parent / "package_data" / "plotly.min.js").read_text(encoding="utf-8")


def command_of(kind: str, arguments: Mapping[str, Any]) -> str:
    """The command line that makes a study again."""
    words = ["scorebed", kind]
    for name, value in arguments.items():
        values = value if isinstance(value, list) else [value]
        if values:
            words += [f"--{name.replace('_', '-')}", *map(str, values)]
    return shlex.join(words)


_DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
_SYMBOLS = {"o": "circle", "s": "square", "^": "triangle-up", "D": "diamond", "P": "cross", "v": "triangle-down", "*": "star", "X": "x"}


def looks(solvers: Sequence[str]) -> dict[str, dict[str, str]]:
    """Colour, dash and symbol of each method, as in the other figures; black is grey, for pages are read in the dark too."""
    from scorebed.toy.figures.style import FAMILIES, INK, LINES, appearances

    out = {}
    for name, look in appearances(solvers).items():
        colour = "#888888" if look["color"] in (INK, FAMILIES["momentum"][0]) else str(look["color"])
        out[name] = {"colour": colour, "dash": _DASHES[LINES.index(look["linestyle"])], "symbol": _SYMBOLS[look["marker"]]}
    return out


def _plain(value: Any) -> Any:
    """A cell as JSON takes it: numbers as numbers, and words for those that are not finite."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return value
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < 1e15 else value if math.isfinite(value) else str(value)
    return value


def tables(folder: Path) -> list[dict[str, Any]]:
    """Every ``.csv`` of a folder: its name, its columns and its rows."""
    import pandas as pd

    out = []
    for path in sorted(folder.glob("*.csv")):
        rows = pd.read_csv(path, keep_default_na=False, na_values={})
        cells = [[_plain(value) for value in row] for row in rows.head(_ROWS).itertuples(index=False)]
        name = path.stem if len(rows) <= _ROWS else f"{path.stem} (the first {_ROWS} of {len(rows)} rows)"
        out.append({"name": name, "columns": list(map(str, rows.columns)), "rows": cells})
    return out


def curves(rows: Any) -> dict[str, Any]:
    """Error against evaluations and steps, by problem and grid, and method."""
    out: dict[str, Any] = {}
    shown = looks(list(map(str, dict.fromkeys(rows["solver"]))))
    good = rows[rows["status"] == "ok"]
    for (problem, grid, solver), mine in good.groupby(["problem", "grid", "solver"], sort=False):
        mine = mine.sort_values("nfe")
        traces = out.setdefault(f"{problem}, {grid}", {})
        traces[str(solver)] = {
            **{name: [_plain(v) for v in mine[name]] for name in ("nfe", "steps", "error")},
            "claim": _plain(mine["claim"].iloc[0]),
            "kind": str(mine["kind"].iloc[0]),
            **shown[str(solver)],
        }
    return out


def _rounded(array: Any) -> Any:
    return [[[float(f"{v:.4g}") for v in state[:2]] for state in states] for states in array]


def paths(problems: Sequence[str], solvers: Sequence[str], seed: int = 0) -> dict[str, Any]:
    """States on their way by each method, and by the exact flow, on the problems of the study that are on the line or in the plane."""
    out: dict[str, Any] = {}
    shown = looks(solvers)
    for name in problems:
        problem = PROBLEMS.get(name)
        if problem is None or problem.space is not None or problem.d > 2 or not problem.closed or problem.process.kind != "gaussian":
            continue
        x, methods = problem.draw(_PATHS if problem.d == 2 else 24, seed), {}
        for solver in solvers:
            method = SOLVERS.get(solver)
            if method is None or "gaussian" not in method.on or not (n := affordable(problem, method, _NFE)):
                continue
            nodes = problem.nodes(n)
            run = sample(method, problem.model, x, nodes, terminal="none", record=True, noise=seed)
            methods[solver] = {
                "times": [float(f"{node.t:.5g}") for node in nodes],
                "states": _rounded(run.xs),
                "exact": _rounded([problem.exact(x, nodes[0], node).x for node in nodes]),
                "nfe": run.nfe,
                **shown[solver],
            }
        if methods:
            reach = max(abs(v) for m in methods.values() for states in m["exact"] for state in states for v in state)
            out[name] = {"d": problem.d, "box": float(f"{1.15 * reach:.3g}"), "methods": methods}
    return out


def content(folder: Path) -> dict[str, Any]:
    """What the page shows of the folder of a study.

    Returns:
        a dict with title, description, tables and curves of the page.

    Raises:
        StoreError: there is no table and no record of a study in it.
    """
    from scorebed.toy.studies.rows import COLUMNS, read

    records = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}
    told = {name: r for name, r in records.items() if isinstance(r, dict) and "versions" in r}
    shown = tables(folder)
    if not shown and not told:
        raise StoreError(f"{folder} holds no study: no table (.csv) and no record of one (.json); run e.g. scorebed study --out {folder}")
    kind, record = next(iter(told.items()), ("", {}))
    arguments = record.get("arguments", {})
    rows = read(folder / "results.csv") if (folder / "results.csv").is_file() else None
    study = rows is not None and set(COLUMNS) <= set(rows.columns)
    seed = int(arguments.get("seed", 0))
    return {
        "title": f"scorebed {kind}".strip() if kind else folder.name,
        "about": f"{sum(len(t['rows']) for t in shown)} rows in {len(shown)} tables" + (f"; seed {seed}" if arguments else ""),
        "command": command_of(kind, arguments) if arguments else "",
        "versions": "\n".join(f"{name} {value}" for name, value in record.get("versions", {}).items()),
        "tables": shown,
        "curves": curves(rows) if study else {},
        "paths": paths(arguments.get("problems", []), arguments.get("solvers", []), seed) if study else {},
    }


def html(shown: Mapping[str, Any], library: str) -> str:
    """The page; what it shows is data in it, so that no text of a table can be taken for markup."""
    template = (Path(__file__).parent / "page.html").read_text(encoding="utf-8")
    text = json.dumps(shown, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    before, rest = template.split("__DATA__")
    middle, after = rest.split("__PLOTLY__")
    return "".join([before, text, middle, library.replace("</script", "<\\/script"), after])
