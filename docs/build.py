"""Write the sources of the site: the pages kept in docs/, and those generated from the package, which cannot drift from it.

    python docs/build.py OUT && mkdocs build --strict -f OUT/mkdocs.yml

One page for each method (formula, derivation, claims, what its Plan shows, code), each problem and each schedule; the claims of papers, the
scoreboard, the conventions of grids, the reference of the public names, the notebooks with their pictures.
"""

from __future__ import annotations

import base64
import inspect
import json
import re
import shutil
import sys
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import more
import yaml

import scorebed
from scorebed.solvers import SCHEDULES, SOLVERS, NotLinear, Solver, trace
from scorebed.solvers.grid import uniform_lam
from scorebed.toy.claims import registry
from scorebed.toy.conform.conventions import CONVENTIONS, LIBRARIES
from scorebed.toy.foreign.names import NAMES
from scorebed.toy.problems.registry import PROBLEMS

ROOT = Path(__file__).resolve().parent.parent
_NFE = 16
_ROOMS = {
    "solvers": "process schedule grid model guide noise base sample plan space inverse encode decode reuse guide_tokens",
    "analytic": "gaussian.mixture gaussian.product gaussian.condition gaussian.tilt gaussian.field heat.mixture process finite "
    "output.moments output.guided output.likelihood output.klub distance",
    "toy": "check.solver check.sde check.space check.posterior check.guided check.rollout check.discrete check.maps check.loss check.cache "
    "check.likelihood check.plugin conform.grid measure.order problems.problem properties.strategies tuning.advise tuning.tune",
    "gpu": "plan.execute plan.many plan.export network.wrap network.cache diffusers.scheduler mixture heat linear",
}
REFERENCE = tuple(f"{room}.{name}" for room, names in _ROOMS.items() for name in names.split())
"""Modules whose public names have a page of reference."""


def function_of(solver: Solver) -> Callable[..., Any]:
    """The step as it was written."""
    step = solver.step
    while isinstance(step, partial):
        step = step.func
    return step


def _cell(text: Any) -> str:
    return str(text).replace("|", "\\|").replace("\n", " ")


def table(heads: list[str], rows: list[list[Any]]) -> str:
    """A table of Markdown."""
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    return "\n".join([*lines, *("| " + " | ".join(map(_cell, row)) + " |" for row in rows)])


def facts(solver: Solver) -> dict[str, Any]:
    """What the Plan of the method shows: evaluations and draws per step once started, memory."""
    try:
        nodes = uniform_lam(scorebed.VP(), _NFE + 1)
        short, long = trace(solver, nodes[:-1]), trace(solver, nodes)
    except (NotLinear, ValueError, TypeError) as reason:
        return {"Plan": f"none: {reason}"}
    return {
        "evaluations per step": long.nfe - short.nfe,
        f"evaluations in {_NFE} steps": short.nfe,
        "draws per step": len(long.noises) - len(short.noises),
        "arrays kept besides x": long.history,
    }


def kind(solver: Solver) -> str:
    """One word for tables."""
    if solver.spaces:
        return "stochastic, on spaces" if solver.weak is not None else "on spaces"
    where = "" if "gaussian" in getattr(solver, "on", ("gaussian",)) else ", ".join(solver.on)
    return " ".join(filter(None, [where, "stochastic" if solver.weak is not None else "deterministic"]))


def docstring(function: Any) -> str:
    """The formula of a method: its docstring, with the mathematics left as it is written."""
    return inspect.getdoc(function) or ""


def method_page(solver: Solver) -> str:
    """The page of one method."""
    step = function_of(solver)
    module = sys.modules[step.__module__]
    claims: dict[str, Any] = {"order": solver.order, "weak order": solver.weak, "strong order": solver.strong}
    rows = [[key, value] for key, value in claims.items() if value is not None]
    rows += [["kind", kind(solver)], ["start", f"[{solver.start.name}]({solver.start.name}.md)" if solver.start else "none needed"]]
    rows += [[key, value] for key, value in facts(solver).items()]
    rows += [["moves in", ", ".join(solver.spaces)]] if solver.spaces else []
    rows += [["not exact on a constant model", solver.inexact]] if solver.inexact else []
    measured, pictures = more.measured(solver)
    rows += measured
    rows += [[f"in {library}", names] for library, names in NAMES.get(solver.name, {}).items()]
    options = [[f"`{key}`", f"`{value!r}`", ", ".join(map(repr, solver.choices.get(key, ())))] for key, value in solver.options.items()]
    source = "\n".join(line for line in inspect.getsource(step).splitlines())
    parts = [
        f"# {solver.name}",
        f"```text\n{docstring(step)}\n```",
        f"Source: {solver.reference}",
        "## Claims and facts",
        "Claims are held by the properties on every commit; facts are read from the method's Plan.",
        table(["what", "value"], rows),
        pictures,
    ]
    if options:
        parts += ["## Options", table(["option", "default", "choices"], options)]
    parts += ["## The family", f"```text\n{inspect.getdoc(module) or ''}\n```", "## Code", f"```python\n{source}\n```", "## Use"]
    call = f'SOLVERS["{solver.name}"]' + ("(space=sphere)" if solver.spaces else "")
    parts.append(
        f"```python\nfrom scorebed import SOLVERS, sample\n\nx0 = sample({call}, denoise, x, nodes)\n```\n\n"
        f"    scorebed study --solvers {solver.name}\n    pytest tests -k {solver.name}"
    )
    return "\n\n".join(parts) + "\n"


def methods(out: Path) -> list[Any]:
    """A page for each method, and their table."""
    folder = out / "methods"
    folder.mkdir(parents=True)
    families: dict[str, list[str]] = defaultdict(list)
    rows = []
    for name in sorted(SOLVERS):
        solver = SOLVERS[name]
        (folder / f"{name}.md").write_text(method_page(solver), encoding="utf-8")
        family = function_of(solver).__module__.rpartition(".")[2]
        families[family].append(name)
        shown = facts(solver).get("evaluations per step", "-")
        rows.append([f"[{name}]({name}.md)", family, kind(solver), solver.order, solver.weak or "", solver.strong or "", shown])
    head = f"# Methods\n\n{len(rows)} methods. Sort by a click on a head; the search above knows every one of them.\n\n"
    heads = ["method", "family", "kind", "order", "weak", "strong", "evaluations per step"]
    (folder / "index.md").write_text(head + table(heads, rows) + "\n", encoding="utf-8")
    return [
        {"All": "methods/index.md"},
        *({family: [{name: f"methods/{name}.md"} for name in names]} for family, names in sorted(families.items())),
    ]


def _end(node: Any) -> str:
    """A node in four figures, where it has numbers."""
    numbers = {name: getattr(node, name, None) for name in ("t", "alpha", "sigma", "lam")}
    said = ", ".join(f"{name} = {value:.4g}" for name, value in numbers.items() if isinstance(value, int | float))
    return said or str(node)


def problems(out: Path) -> list[Any]:
    """A page for each problem and each schedule."""
    folder = out / "problems"
    folder.mkdir(parents=True)
    nav: list[Any] = []
    for name, problem in PROBLEMS.items():
        s, t = problem.ends
        rows = [
            ["dimension", problem.d],
            ["process", problem.process],
            ["from", _end(s)],
            ["to", _end(t)],
            ["exact answer", "closed in form" if problem.closed else "an integration with its own error"],
            ["states of a study", problem.samples],
            ["finest run", f"{problem.finest} steps"],
        ]
        rows += [["space", problem.space]] if problem.space is not None else []
        text = f"# {name}\n\n{problem.description}\n\n{table(['what', 'value'], rows)}\n\n    scorebed study --problems {name}\n"
        (folder / f"{name}.md").write_text(text, encoding="utf-8")
        nav.append({name: f"problems/{name}.md"})
    schedules = []
    for name, schedule in SCHEDULES.items():
        (folder / f"schedule_{name}.md").write_text(f"# {name}\n\n```text\n{inspect.getdoc(schedule)}\n```\n", encoding="utf-8")
        schedules.append({name: f"problems/schedule_{name}.md"})
    return [*nav, {"Processes": schedules}]


def claims(out: Path) -> str:
    """Claims of papers as one table."""
    rows = [
        [c.id, c.paper, c.reference, f'<span class="wide">{_cell(c.statement)}</span>', c.expected, c.when, c.control]
        for c in registry.load().values()
    ]  # fmt: skip
    intro = (
        f"# Claims of papers\n\n{len(rows)} statements, each measured against closed form, with a control in which the "
        "mechanism is broken and which must fail. `scorebed claims` measures them again.\n\n"
    )
    heads = ["id", "paper", "source", "statement", "verdict", "true when", "control breaks"]
    (out / "claims.md").write_text("---\nhide: [toc]\n---\n\n" + intro + table(heads, rows) + "\n", encoding="utf-8")
    return "claims.md"


def conventions(out: Path) -> str:
    """The table of conventions, which ``check_grid`` uses."""
    rows = []
    for c in CONVENTIONS.values():
        ends = f"{'falls' if c.falls else 'rises'}" + ("" if c.clean is None else f", ends with {c.clean:g}")
        examples = ", ".join(f"{c.from_rho(rho):.6g}" for rho in (4.0, 1.0, 0.25))
        rows.append([f"`{c.name}`", c.meaning, ends, examples, c.users])
    intro = (
        "# Conventions of grids\n\nWhat the numbers of a grid mean, by who writes them. `scorebed check-grid FILE --convention NAME` "
        "reads them so; `scorebed.toy.conform.conventions.translate` converts exactly.\n\n"
    )
    heads = ["name", "meaning", "direction", "sigma/alpha = 4, 1, ¼", "who writes it"]
    who = [[name, f"`{levels}`", told, end, watch] for name, (levels, told, end, watch) in LIBRARIES.items()]
    text = f"{intro}{table(heads, rows)}\n\n## Who writes what\n\n"
    text += table(["library", "levels of the grid", "the network is told", "the end", "what to watch"], who)
    (out / "conventions.md").write_text(text + "\n", encoding="utf-8")
    return "conventions.md"


def _first(module: Any) -> str:
    """The first sentence of a module's docstring."""
    return (inspect.getdoc(module) or "").partition("\n\n")[0].replace("``", "`")


def reference(out: Path) -> list[Any]:
    """Pages of the public names, from their docstrings."""
    folder = out / "reference"
    folder.mkdir(parents=True)
    nav: list[Any] = [{"All": "reference/index.md"}]
    rows = [[f"[scorebed.{name}]({name}.md)", _first(import_module(f"scorebed.{name}"))] for name in REFERENCE]
    intro = "# Reference\n\nThe public names, module by module; those of `scorebed` itself are listed in `docs/api.txt`.\n\n"
    (folder / "index.md").write_text(intro + table(["module", "what is in it"], rows) + "\n", encoding="utf-8")
    for name in REFERENCE:
        (folder / f"{name}.md").write_text(f"# scorebed.{name}\n\n::: scorebed.{name}\n", encoding="utf-8")
        nav.append({name: f"reference/{name}.md"})
    return nav


def notebooks(out: Path) -> list[Any]:
    """The notebooks with their pictures."""
    folder = out / "notebooks"
    folder.mkdir(parents=True)
    nav = []
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        made = json.loads(path.read_text(encoding="utf-8"))
        lines: list[str] = []
        for i, cell in enumerate(made["cells"]):
            source = "".join(cell["source"])
            lines.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
            for j, output in enumerate(cell.get("outputs", [])):
                data = output.get("data", {})
                if "image/png" in data:
                    picture = folder / f"{path.stem}_{i}_{j}.png"
                    picture.write_bytes(base64.b64decode("".join(data["image/png"])))
                    lines.append(f"![output of the cell above]({picture.name})")
                elif "text/plain" in data or "text" in output:
                    text = "".join(data.get("text/plain", output.get("text", "")))
                    lines.append(f"```text\n{text}\n```")
        (folder / f"{path.stem}.md").write_text("\n\n".join(lines) + "\n", encoding="utf-8")
        title = re.search(r"^# (.+)$", "\n".join(lines), re.MULTILINE)
        nav.append({title[1] if title else path.stem: f"notebooks/{path.stem}.md"})
    return nav


_STORED = re.compile(r"<!-- (\w+\.csv) -->")
"""Where a page shows a table that a command made and the repository keeps."""
_LINK = re.compile(r"\]\((?!https?:|#)([^)\s]+)\)")


def kept(out: Path, source: str, target: str, moved: dict[str, str]) -> str:
    """A page of the repository, its links led to the pages of the site; links to files that the site has not become plain text."""
    text = (ROOT / source).read_text(encoding="utf-8")

    def lead(match: re.Match[str]) -> str:
        link = match[1]
        if link in moved:
            return f"]({moved[link]})"
        return match[0] if (out / link).exists() else "](index.md)"

    text = _STORED.sub(lambda match: more.stored(ROOT / "docs" / match[1], table), _LINK.sub(lead, text))
    (out / target).write_text(text, encoding="utf-8")
    return target


def main(folder: Path) -> None:
    """Write everything below ``folder``; what was there is removed."""
    out = folder / "pages"
    if out.exists():
        shutil.rmtree(out)
    out.mkdir(parents=True)
    for picture in (ROOT / "docs").glob("*.png"):
        (out / "docs").mkdir(exist_ok=True)
        shutil.copy(picture, out / "docs")
    for asset in ("sort.js", "extra.css"):
        shutil.copy(ROOT / "docs" / asset, out)
    moved = {
        "CONTRIBUTING.md": "contributing.md",
        "ARCHITECTURE.md": "architecture.md",
        "solvers/ERRATA.md": "errata.md",
        "toy/PEERS.md": "scoreboard.md",
        "LICENSE": "index.md",
    }
    nav: list[Any] = [{"Start here": "index.md"}]
    extra = [(path.stem.replace("_", " ").capitalize(), f"docs/{path.name}", path.name) for path in sorted((ROOT / "docs").glob("*.md"))]
    nav += [{title: kept(out, source, target, moved)} for title, source, target in extra]
    nav += [{"Methods": methods(out)}, {"Names elsewhere": more.elsewhere(out, table)}]
    nav += [{"Problems": [*problems(out), {"Other processes": more.processes(out, table)}]}, {"Claims of papers": claims(out)}]
    nav += [{"Scoreboard": "scoreboard.md"}, {"Museum of defects": more.museum(out, table)}, {"Conventions of grids": conventions(out)}]
    nav += [{"Notebooks": notebooks(out)}, {"Gallery": more.gallery(out)}]
    nav += [{"Reference": reference(out)}, {"Architecture": "architecture.md"}, {"Errata": "errata.md"}]
    nav += [{"Contributing": "contributing.md"}, {"Changes": "changes.md"}]
    for source, target in {
        **{s: t for s, t in moved.items() if s != "LICENSE"},
        "README.md": "index.md",
        "CHANGELOG.md": "changes.md",
    }.items():
        kept(out, source, target, moved)
    board, caption = out / "scoreboard.md", json.loads((ROOT / "docs" / "captions.json").read_text(encoding="utf-8"))["peers"]
    title, _, rest = board.read_text(encoding="utf-8").partition("\n")
    board.write_text(f"{title}\n\n![{caption}](docs/peers.png)\n{rest}", encoding="utf-8")
    config = yaml.safe_load((ROOT / "docs" / "mkdocs.yml").read_text(encoding="utf-8"))
    config |= {"docs_dir": "pages", "site_dir": "html", "nav": nav}
    config["plugins"][1]["mkdocstrings"]["handlers"]["python"]["paths"] = [str(ROOT)]
    (folder / "mkdocs.yml").write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out/site"))
