"""The rules of the house: what may import what, what is packaged, what is pinned, and that the core needs nothing else."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("solvers", "analytic", "toy", "gpu")
GROUND_FLOOR = ("solvers.process", "solvers.schedule", "solvers.state", "solvers.model", "solvers.space")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
INSTALL = "is the tree installed? `make test` does it, or .venv/bin/python -m pip install --no-deps --no-build-isolation -e ."

FILES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))


class Import(NamedTuple):
    line: int
    module: str
    lazy: bool  # inside a function: not run when the file is imported
    typing: bool  # under `if TYPE_CHECKING:`: never run


def imports(source: str) -> Iterator[Import]:
    """Every import of a file, without the name of the house; ``from room import x`` counts as ``room.x``."""

    def walk(node: ast.AST, lazy: bool, typing: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            yield from (Import(node.lineno, alias.name.removeprefix("scorebed."), lazy, typing) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = ("." * node.level + (node.module or "")).removeprefix("scorebed.")
            names = [alias.name for alias in node.names] if module == "scorebed" else [module]
            names = [f"{module}.{alias.name}" for alias in node.names] if module in ROOMS else names
            yield from (Import(node.lineno, name, lazy, typing) for name in names)
        elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            for child in node.body:
                yield from walk(child, lazy, True)
            for child in node.orelse:
                yield from walk(child, lazy, typing)
        else:
            inside = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            for child in ast.iter_child_nodes(node):
                yield from walk(child, inside, typing)

    yield from walk(ast.parse(source), False, False)


def offence(room: str, imported: Import) -> str | None:
    """Why a file of ``room`` may not have this import, or None."""
    top = imported.module.split(".")[0]
    if not top:
        return "imports name the whole path"
    if room == "solvers" and top in ("analytic", "toy", "gpu", "torch"):
        return f"solvers never imports {top}"
    if room == "analytic":
        if top in ("toy", "gpu", "torch"):
            return f"analytic never imports {top}"
        ground = any(imported.module == floor or imported.module.startswith(f"{floor}.") for floor in GROUND_FLOOR)
        if top == "solvers" and not ground and not imported.typing:
            return f"analytic imports only {', '.join(GROUND_FLOOR)} of solvers"
    if room == "toy" and top in ("gpu", "torch") and not (imported.lazy or imported.typing):
        return f"toy works without {top}; import it inside the function that needs it"
    if room == "gpu" and top == "toy":
        return "gpu never imports toy"
    return None


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_go_down(path: Path) -> None:
    relative = path.relative_to(ROOT)
    found = imports(path.read_text(encoding="utf-8"))
    offences = [f"{relative}:{i.line} imports {i.module}: {why}" for i in found if (why := offence(relative.parts[0], i))]
    assert not offences, "\n".join(offences)


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("solvers", "import torch.nn"),
        ("solvers", "def f():\n    from scorebed.analytic import gaussian"),
        ("solvers", "from .. import toy"),
        ("analytic", "from scorebed.solvers import Node"),
        ("analytic", "from scorebed.solvers.methods.dpmpp import dpmpp_2m"),
        ("analytic", "from scorebed import solvers"),
        ("analytic", "try:\n    import torch\nexcept ImportError:\n    torch = None"),
        ("toy", "import torch"),
        ("toy", "from scorebed.gpu import run"),
        ("gpu", "def f():\n    import scorebed.toy.cli"),
    ],
)
def test_the_import_rule_bites(room: str, source: str) -> None:
    assert any(offence(room, found) for found in imports(source))


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("solvers", "from scorebed.solvers.base import solver"),
        ("analytic", "from scorebed.solvers.schedule import Node"),
        ("analytic", "from scorebed.solvers import model"),
        ("analytic", "if TYPE_CHECKING:\n    from scorebed.solvers.plan import Plan"),
        ("toy", "from scorebed.solvers import SOLVERS\nfrom scorebed.analytic import moments\ndef f():\n    import torch"),
        ("gpu", "import torch\nfrom scorebed.solvers.plan import Plan\nfrom scorebed.analytic import GaussianMixture"),
    ],
)
def test_the_import_rule_allows(room: str, source: str) -> None:
    assert not [why for found in imports(source) if (why := offence(room, found))]


def dotted(path: Path) -> str:
    """The name of a file as a module, without the name of the house."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def graph(sources: dict[str, str]) -> dict[str, set[str]]:
    """What each module imports of these modules: at the top, in functions, and for types alone."""
    edges: dict[str, set[str]] = {}
    for name, source in sources.items():
        seen: set[str] = set()
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                seen |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                parts = {alias.name: f"{node.module}.{alias.name}" for alias in node.names}
                seen |= {whole if whole.removeprefix("scorebed.") in sources else node.module for whole in parts.values()}
        edges[name] = {one.removeprefix("scorebed.") for one in seen} & (sources.keys() - {name})
    return edges


def circle(edges: dict[str, set[str]]) -> list[str]:
    """Modules that import each other, in a round, or nothing."""
    done: set[str] = set()

    def walk(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        for other in sorted(edges[name]):
            if found := walk(other, [*path, name]):
                return found
        done.add(name)
        return []

    return next((found for name in sorted(edges) if (found := walk(name, []))), [])


def test_no_circle_between_modules() -> None:
    """Type-only imports and those inside functions included."""
    edges = graph({dotted(path): path.read_text(encoding="utf-8") for path in FILES})
    assert sum(map(len, edges.values())) > 1000  # the graph is one of imports, and not of nothing
    assert circle(edges) == []


@pytest.mark.parametrize(
    "back",
    ["from scorebed.toy.a import x", "def f():\n    import scorebed.toy.a", "if TYPE_CHECKING:\n    from scorebed.toy import a"],
)
def test_a_circle_is_seen(back: str) -> None:
    sources = {"toy": "", "toy.a": "from scorebed.toy.b import y", "toy.b": "from scorebed.toy.c import z", "toy.c": back}
    assert circle(graph(sources)) == ["toy.a", "toy.b", "toy.c", "toy.a"]
    assert circle(graph({**sources, "toy.c": "import numpy"})) == []


FLOORS = (
    ("problems", "store"),
    ("measure", "foreign"),
    ("properties",),
    ("studies", "tuning"),
    ("figures",),
    ("check", "peers", "claims", "conform", "museum"),
    ("commands",),
)
"""The rooms of ``toy``, from the ground up; a room imports those on its own floor and below."""
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def test_rooms_of_toy_import_downwards() -> None:
    """Imports for types alone and inside functions included."""
    toy = [path for path in FILES if path.is_relative_to(ROOT / "toy")]
    assert {path.parent.name for path in toy if path.parent.parent == ROOT / "toy"} <= FLOOR.keys()
    up = []
    for path in toy:
        room = path.relative_to(ROOT).parts[1]
        for i in imports(path.read_text(encoding="utf-8")):
            other = i.module.split(".")[1] if i.module.startswith("toy.") else ""
            if FLOOR.get(other, 0) > FLOOR.get(room, len(FLOORS)):
                up.append(f"{path.relative_to(ROOT)}:{i.line} imports {i.module}")
    assert up == []


DRAWS = re.compile(r"toy/(figures|claims)/|/(figure|report)\.py$")
"""Files that may import matplotlib."""


@pytest.mark.parametrize("path", [p for p in FILES if p.is_relative_to(ROOT / "toy")], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_only_figures_import_matplotlib(path: Path) -> None:
    relative = path.relative_to(ROOT).as_posix()
    if not DRAWS.search(relative):
        found = list(imports(path.read_text(encoding="utf-8")))
        assert [i.line for i in found if i.module.split(".")[0] == "matplotlib"] == []
        # and what draws is imported where it is drawn
        assert [i.line for i in found if i.module.startswith("toy.figures") and not (i.lazy or i.typing)] == []


LONGEST = 250
LONG = {
    "analytic/gaussian/mixture.py": "one class: the exact mixture",
    "gpu/bench/step.py": "the variants of one measurement side by side",
    "gpu/diffusers/scheduler.py": "one class: a solver as a scheduler of diffusers",
    "gpu/mixture.py": "one class: the mixture on a device, as its NumPy twin",
    "gpu/mixture_parts.py": "the kernels of one class",
    "gpu/models/spectra.py": "one network: its layers and its weights",
    "gpu/network/wrap.py": "one class: a network as a denoiser, with its errors",
    "gpu/noise.py": "one generator, with its proofs of equality",
    "gpu/plan/execute.py": "one entry, with every argument that it refuses",
    "gpu/plan/program.py": "one compiler: a Plan as a program of fused passes",
    "gpu/plan/runner.py": "one class: a Plan on a device, with what it keeps between runs",
    "solvers/base.py": "the registry and the one step that all methods share",
    "solvers/methods/adaptive.py": "embedded pairs beside the controller that they share",
    "solvers/methods/reversible.py": "one family, whose members invert each other",
    "solvers/noise/base.py": "one generator: keyed normals and their refinement",
    "solvers/plan/base.py": "one class: the Plan and its walk",
    "solvers/reuse.py": "one family: evaluations that are sums of earlier ones",
    "solvers/sample.py": "one loop, with every error that it names",
    "solvers/schedule.py": "six schedules side by side",
    "solvers/space/rotation.py": "one space: its group and its algebra",
    "toy/check/diagnose.py": "one decision tree: from symptoms to a cause",
    "toy/check/formula.py": "the formulas that one diagnosis compares",
    "toy/check/likelihood.py": "one check: estimates of log p, with their faults",
    "toy/check/loss.py": "one check: losses of few-step models, finding by finding",
    "toy/check/solver.py": "one call and the list of its checks",
    "toy/check/space.py": "one check: functions of a manifold, with the laws they obey",
    "toy/claims/curved.py": "claims of one subject",
    "toy/claims/information.py": "claims of one subject",
    "toy/claims/inversion.py": "claims of one subject that share their figures",
    "toy/claims/latent.py": "claims of one subject",
    "toy/claims/learned_data.py": "claims of one subject",
    "toy/claims/learned_objectives.py": "claims of one subject",
    "toy/claims/registry.py": "the register of claims and how one is run",
    "toy/conform/conventions.py": "a table of conventions, one entry each",
    "toy/conform/grid.py": "one check, with the table of its causes",
    "toy/conform/vectors.py": "one writer: all kinds of vectors with their schema",
    "toy/figures/plots.py": "the plots that figures share",
    "toy/foreign/candidate.py": "one class: what a sampler of others is driven by",
    "toy/foreign/tokens.py": "the draws of NumPy and torch, and what answers them",
    "toy/measure/ensemble.py": "one transfer operator",
    "toy/peers/entries_diffusers.py": "a table of schedulers, one entry each",
    "toy/problems/problem.py": "one protocol, with what a problem may leave out",
    "toy/problems/radial_law.py": "one law, along its radius",
    "toy/store/database.py": "one class: the store",
    "toy/studies/budget.py": "one study, from its parts to its table",
    "toy/studies/transfer.py": "one study, from its cases to its table",
}
"""Files of more than 250 lines, and why each is one file."""


def test_no_file_is_long_without_a_reason() -> None:
    lengths = {p.relative_to(ROOT).as_posix(): len(p.read_text(encoding="utf-8").splitlines()) for p in FILES}
    assert {name: n for name, n in lengths.items() if n > LONGEST and name not in LONG} == {}
    assert sorted(name for name in LONG if lengths.get(name, 0) <= LONGEST) == [], "no longer long: take them off the list"


def elsewhere(code: str, folder: Path) -> str:
    """What ``code`` prints in a fresh interpreter that sees neither this folder nor PYTHONPATH."""
    done = subprocess.run([sys.executable, "-I", "-c", code], cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"{done.stderr[-2000:]}\n{INSTALL}"
    return done.stdout


def test_each_package_is_ours(tmp_path: Path) -> None:
    code = f"from importlib.util import find_spec\nfor room in {ROOMS!r}: print(find_spec('scorebed.' + room).origin)"
    found = [Path(line).resolve() for line in elsewhere(code, tmp_path).splitlines()]
    assert found == [ROOT / room / "__init__.py" for room in ROOMS], INSTALL


def test_the_core_needs_no_extra(tmp_path: Path) -> None:
    """Import and ``scorebed --help`` where nothing but the core's own dependencies can be imported."""
    kept = {canonicalize_name(name) for name in closure(PROJECT["project"]["dependencies"])} | {"scorebed", "setuptools", "pip"}
    modules = metadata.packages_distributions()
    hidden = sorted(module for module, owners in modules.items() if not kept & {canonicalize_name(owner) for owner in owners})
    assert {"torch", "pytest", "hypothesis", "mpmath"} <= set(hidden)
    code = f"""
import sys
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {set(hidden)!r}: raise ModuleNotFoundError("not of the core: " + name, name=name)
sys.meta_path.insert(0, Hide())
from scorebed import solvers, analytic, toy
from importlib.metadata import entry_points
(command,) = entry_points(group="console_scripts", name="scorebed")
sys.argv = ["scorebed", "--help"]
try: command.load()()
except SystemExit as end: sys.exit(end.code)
"""
    shown = elsewhere(code, tmp_path)
    assert "study" in shown


def test_the_command_is_declared() -> None:
    assert PROJECT["project"]["scripts"] == {"scorebed": "scorebed.toy.cli:main"}
    (installed,) = metadata.entry_points(group="console_scripts", name="scorebed")
    assert installed.value == "scorebed.toy.cli:main", INSTALL


def test_every_folder_is_a_package() -> None:
    assert [path.parent for path in FILES if not (path.parent / "__init__.py").is_file()] == []


def test_one_name_is_owned() -> None:
    """The rooms stand at the top of the repository, and ``scorebed`` holds links to them and nothing else of theirs."""
    assert {room: (ROOT / "scorebed" / room).resolve() for room in ROOMS} == {room: ROOT / room for room in ROOMS}
    assert PROJECT["tool"]["setuptools"]["packages"]["find"]["include"] == ["scorebed*"]


@pytest.mark.parametrize("room", ROOMS)
def test_types_are_announced(room: str) -> None:
    assert (ROOT / room / "py.typed").is_file()
    assert "py.typed" in PROJECT["tool"]["setuptools"]["package-data"]["*"]


def test_tests_are_one_package() -> None:
    """Else a distribution that ships a ``tests`` of its own stands in their place in spawned processes."""
    assert sorted((ROOT / "tests").rglob("__init__.py")) == [ROOT / "tests" / "__init__.py"]


def closure(requirements: list[str]) -> set[str]:
    """The canonical names of what the requirements install here, as the installed distributions tell it."""
    names: set[str] = set()
    queue = [(Requirement(line), "") for line in requirements]
    seen: set[tuple[str, str]] = set()
    while queue:
        wanted, extra = queue.pop()
        name = canonicalize_name(wanted.name)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": extra}):
            continue
        names.add(name)
        for chosen in ("", *wanted.extras):
            if (name, chosen) not in seen:
                seen.add((name, chosen))
                queue += [(Requirement(line), chosen) for line in metadata.requires(name) or []]
    return names


def pins() -> set[str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    wanted = [Requirement(line) for line in lines if line and not line.startswith("#")]
    loose = [str(pin) for pin in wanted if not re.fullmatch(r"==[\w.]+", str(pin.specifier))]
    assert not loose, f"not one version: {loose}"
    return {canonicalize_name(pin.name) for pin in wanted}


@pytest.mark.parametrize("extra", [None, "dev"])
def test_everything_installed_is_pinned(extra: str | None) -> None:
    project = PROJECT["project"]
    needed = closure(project["dependencies"] + (project["optional-dependencies"][extra] if extra else []))
    assert sorted(needed - pins() - {"scorebed"}) == []


def test_every_declared_dependency_is_pinned() -> None:
    project = PROJECT["project"]
    declared = project["dependencies"] + [line for extra in project["optional-dependencies"].values() for line in extra]
    assert sorted({canonicalize_name(Requirement(line).name) for line in declared} - pins() - {"scorebed"}) == []


def test_the_core_installs_no_torch() -> None:
    assert "torch" not in closure(PROJECT["project"]["dependencies"])


HOSTS = re.compile(r"py[p]i\.|python[h]osted|download\.py[t]orch|--(extra-)?index[-]url|--find[-]links|registry\.np[m]js", re.IGNORECASE)
# A path of one machine: at the start of a word, one of the places where people and machines keep things, and something below.
PLACES = re.compile(r"(?<![\w.:/$}*-])/(?:home|Users|root|work|opt|tmp|mnt|srv|scratch)/\w")
SUFFIXES = {"", ".cfg", ".csv", ".ini", ".ipynb", ".md", ".py", ".rst", ".sh", ".svg", ".toml", ".tsv", ".txt", ".typed", ".yaml", ".yml"}
APART = {".git", ".venv", ".hypothesis", ".ipynb_checkpoints", "out", "build", "dist"}


def texts() -> list[Path]:
    """The text files of the repository: as git has them, or in a tree without git all that is not a result or a cache."""
    git = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if git.returncode == 0 and git.stdout:
        paths = [ROOT / name for name in git.stdout.split("\0") if name]
    else:
        paths = []
        for folder, below, names in os.walk(ROOT):
            below[:] = [name for name in below if name not in APART and "cache" not in name and not name.endswith(".egg-info")]
            paths += [Path(folder, name) for name in names]
    return [path for path in paths if path.suffix in SUFFIXES and path.is_file()]


def test_no_registry_and_no_machine_is_named() -> None:
    files = texts()
    assert ROOT / "pyproject.toml" in files
    found = []
    for path in files:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            found += [f"{path.relative_to(ROOT)}:{number}: {hit.group()}" for rule in (HOSTS, PLACES) if (hit := rule.search(line))]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "line", ["pip install --index" + "-url x", "see https://py" + "pi.org/x", "open('/" + "home/someone/x')", "in /" + "tmp/x"]
)
def test_that_rule_bites(line: str) -> None:
    assert HOSTS.search(line) or PLACES.search(line)


@pytest.mark.parametrize(
    "line", ["#!/usr/bin/env bash", "https://keepachangelog.com/home/x", "out/work/x", "h/work/x", "PYTHON=/path/to/python3"]
)
def test_that_rule_allows(line: str) -> None:
    assert not HOSTS.search(line)
    assert not PLACES.search(line)


def undescribed(source: str) -> list[str]:
    """Public functions with a section Args that leaves a parameter out; names may share a line."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FunctionDef) or node.name.startswith("_"):
            continue
        said, given = ast.get_docstring(node) or "", (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
        gone = [a.arg for a in given if a.arg not in ("self", "cls") and not re.search(rf"(?<!\w){a.arg}(?!\w)", said)]
        if "Args:" in said and gone:
            found.append(f"{node.name}: {', '.join(gone)}")
    return found


@pytest.mark.parametrize("room", ["solvers", "analytic"])
def test_a_section_of_arguments_has_them_all(room: str) -> None:
    """What a docstring says of exceptions and of parameters that are gone, ruff holds (DOC102, DOC202, DOC501)."""
    assert {str(p.relative_to(ROOT)): gone for p in (ROOT / room).rglob("*.py") if (gone := undescribed(p.read_text("utf-8")))} == {}
    assert undescribed('def f(a, b):\n    """Both.\n\n    Args:\n        a: one.\n    """') == ["f: b"]
