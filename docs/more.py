"""Pages of the site that are tables of what the package knows: the museum, names elsewhere, processes, the gallery of pictures."""

from __future__ import annotations

import csv
import inspect
import json
import math
import re
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import drawn

from scorebed.solvers import SCHEDULES, SOLVERS, Solver, sample
from scorebed.toy.foreign.names import LIBRARIES, LIKE, NAMES
from scorebed.toy.measure.cost import affordable
from scorebed.toy.museum.registry import load
from scorebed.toy.problems.registry import PROBLEMS
from scorebed.toy.studies.catalogue import interval_measured

Table = Callable[[list[str], list[list[Any]]], str]
ROOT = Path(__file__).resolve().parent.parent


def museum(out: Path, table: Table) -> str:
    """Every public defect, with its thread and the check that finds it."""
    rows = []
    for e in load().values():
        threads = [e.thread, *e.also]
        links = ", ".join(f"[{t}](scoreboard.md)" if t.startswith("toy/") else f"[{t}]({_address(t)})" for t in threads)
        rows.append([f"`{e.name}`", e.fault, f"`{e.check}`", e.named, links])
    intro = (
        f"# A museum of defects\n\n{len(rows)} faults that were public in other people's code, each as a minimal case written anew. "
        "Each is found unaided by the check beside it, in seconds; a twin with the one line mended is not flagged. "
        "`scorebed museum` looks at all of them again, `scorebed museum NAME` at one.\n\n"
    )
    shown = table(["exhibit", "what was written", "check", "named", "thread"], rows)
    (out / "museum.md").write_text(f"{intro}{shown}\n", encoding="utf-8")
    return "museum.md"


def _address(thread: str) -> str:
    place, _, number = thread.partition("#")
    return f"https://github.com/{place}/issues/{number}"


def elsewhere(out: Path, table: Table) -> str:
    """What methods are called in other libraries."""
    rows = []
    for ours, names in NAMES.items():
        cells = [", ".join(f"{one} ≈" if one in LIKE else one for one in names.get(library, "").split(", ")) for library in LIBRARIES]
        rows.append([f"[{ours}](methods/{ours}.md)", *cells])
    apart = "\n".join(f"- {name}: {why}" for name, why in LIKE.items())
    intro = (
        "# Names elsewhere\n\nThe same methods under other names. Where a library is installed, the tests read the coefficients of its "
        "sampler from outside and hold that they are ours. `scorebed solvers --called 'DPM++ 2M Karras'` looks one up.\n\n"
    )
    text = f"{intro}{table(['ours', *LIBRARIES], rows)}\n\n≈ the same by intention, not to the last coefficient:\n\n{apart}\n"
    (out / "names.md").write_text(text, encoding="utf-8")
    return "names.md"


def processes(out: Path, table: Table) -> list[Any]:
    """The schedules are pages of their own already; here the other processes, each with the methods that run on it."""
    from scorebed.solvers.process import base, bridge, jump, langevin, linear

    folder = out / "problems"
    modules, nav = (base, linear, langevin, bridge, jump), []
    own = {n: v for m in modules for n, v in vars(m).items() if inspect.isclass(v) and v.__module__ == m.__name__}
    made = {name: value for name, value in own.items() if not name.startswith("_") and hasattr(value, "kind")}
    for name, value in made.items():
        kind = getattr(value, "kind", "")
        methods = [n for n, s in SOLVERS.items() if kind in s.on] if isinstance(kind, str) else []
        text = f"# {name}\n\n```text\n{inspect.getdoc(value)}\n```\n"
        if methods:
            text += f"\nKind `{kind}`. Methods made for it: " + ", ".join(f"[{m}](../methods/{m}.md)" for m in methods) + "\n"
        (folder / f"process_{name}.md").write_text(text, encoding="utf-8")
        nav.append({name: f"problems/process_{name}.md"})
    rows = [[name, f"[{name}](schedule_{name}.md)", (inspect.getdoc(s) or "").splitlines()[0]] for name, s in SCHEDULES.items()]
    (folder / "processes.md").write_text("# Schedules\n\n" + table(["name", "page", "what"], rows) + "\n", encoding="utf-8")
    return [{"Schedules": "problems/processes.md"}, *nav]


def measured(solver: Solver) -> tuple[list[list[Any]], str]:
    """What is measured of a deterministic method of R^d with a Plan: rows of its stability and its errors, and pictures of both."""
    fits = solver.weak is None and not solver.spaces and solver.nonlinear is None and "gaussian" in solver.on and solver.takes == "denoised"
    if not fits:
        return [], ""
    rows, one, drawings = [], PROBLEMS["mixture1d"], []
    interval = interval_measured(solver)
    if interval is not None:
        rows.append(["stable for −λ h up to, on dy/dρ = λ y with equal steps", f"{interval:.3g}"])
        drawings += [drawn.region(solver, interval)] if interval < 900.0 else []
    found = {}
    for nfe in (5, 10, 20, 40, 80):
        n = affordable(one, solver, nfe)
        if n:
            nodes, x, exact = _exact(n)
            found[nfe] = off = one.distance(sample(solver, one.model, x, nodes, terminal="none"), exact)
            rows.append([f"RMS error at {nfe} evaluations, three modes on the line", f"{off:.2g}"])
    seen = {n: off for n, off in found.items() if 0.0 < off < math.inf}
    drawings += [drawn.convergence(list(seen), list(seen.values()), solver.order)] if len(seen) > 1 else []
    text = "Error against evaluations" if len(drawings) == 1 else "Region of absolute stability; error against evaluations"
    return rows, f'<div class="drawn">{" ".join(drawings)}</div>\n\n{text}, measured.' if drawings else ""


@cache
def _exact(n: int) -> tuple[Any, Any, Any]:
    """Nodes, states and where the exact flow takes them, of ``n`` steps."""
    one = PROBLEMS["mixture1d"]
    nodes, x = one.nodes(n), one.draw(one.samples, 0)
    return nodes, x, one.exact(x, nodes[0], nodes[-1]).x


def stored(path: Path, table: Table, shown: int = 4) -> str:
    """The winners that ``scorebed transfer`` wrote into ``best.csv``: the first of each budget, with intervals."""
    rows: list[list[Any]] = []
    seen: Counter[str] = Counter()
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            seen[row["budget"]] += 1
            if seen[row["budget"]] > shown:
                continue
            error, low, high, ratio, least, most = (float(row[key]) for key in ("error", "low", "high", "ratio", "ratio_low", "ratio_high"))
            against = "the best" if seen[row["budget"]] == 1 else f"{ratio:.2f} [{least:.2f}, {most:.2f}]"
            name = f"[{row['solver']}](methods/{row['solver'].partition('(')[0]}.md)"
            rows.append([row["budget"], name, row["steps"], f"{error:.3g}", f"{low:.3g} … {high:.3g}", against])
    return table(["evaluations", "method", "steps", "RMS error", "95 %", "against the best"], rows)


def gallery(out: Path) -> str:
    """Pictures of the notebooks and of the documentation, each with the place it comes from."""
    parts = ["# Gallery\n\nEvery picture is made by a command or a notebook of the repository; [how](reproduce.md).\n"]
    for path in sorted((out / "notebooks").glob("*.md")):
        text = path.read_text(encoding="utf-8")
        title = re.search(r"^# (.+)$", text, re.MULTILINE)
        pictures = re.findall(r"!\[[^]]*\]\(([^)]+\.png)\)", text)
        if pictures:
            parts.append(f"## [{title[1] if title else path.stem}](notebooks/{path.name})\n")
            parts.append(" ".join(f"[![{path.stem}](notebooks/{one}){{ width=420 }}](notebooks/{path.name})" for one in pictures))
    parts.append("## From the command line\n")
    captions = json.loads((ROOT / "docs" / "captions.json").read_text(encoding="utf-8"))
    parts += [f"![{text}](docs/{name}.png)\n\n{text}" for name, text in captions.items()]
    (out / "gallery.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return "gallery.md"
