"""The public interface: nothing that is written down in docs/api.txt has gone or lost a parameter; version and citation agree."""

from __future__ import annotations

import importlib.util
import tomllib
from collections.abc import Sequence
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
PROMISED = (ROOT / "docs" / "api.txt").read_text(encoding="utf-8").split("\n")


def present() -> list[str]:
    spec = importlib.util.spec_from_file_location("api", ROOT / "docs" / "api.py")
    assert spec is not None
    assert spec.loader is not None
    api = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(api)
    return list(api.listing())


def broken(promised: Sequence[str], there: Sequence[str]) -> list[str]:
    """Promised lines that are not kept: a name that has gone, or a parameter, an option, or a default of one."""

    def parts(line: str) -> tuple[str, list[str]]:
        if line.startswith("scorebed "):
            words = line.split(" ")
            path = [word for word in words if not word.startswith("--")]
            return " ".join(path), [word for word in words if word.startswith("--")]
        name, _, rest = line.partition("(")
        return name, [word for word in rest.rstrip(")").split(", ") if word]

    now = dict(map(parts, there))
    out = []
    for name, wanted in map(parts, filter(None, promised)):
        if name not in now:
            out.append(f"{name} has gone")
            continue
        bare = {word.rstrip("=") for word in now[name]}
        out += [f"{name} has lost {word}" for word in wanted if word.rstrip("=") not in bare]
        if name.startswith("scorebed."):
            needed = [word for word in now[name] if not word.endswith("=") and not word.startswith("*")]
            out += [f"{name} demands {word}" for word in needed if word not in wanted]
    return out


def test_the_promise_is_kept() -> None:
    assert broken(PROMISED, present()) == []


def test_the_listing_is_the_whole() -> None:
    """Something of every kind is promised: names with parameters, methods with options, grids, commands with options."""
    for line in ("scorebed.check_solver(", "SOLVERS['dpm_solver_2'](", "GRIDS['karras']", "scorebed study ", "scorebed museum "):
        assert any(p.startswith(line) for p in PROMISED), line


def test_what_would_break_it_is_seen() -> None:
    was = ["scorebed.f(a, *, b=)", "SOLVERS['x'](r)", "scorebed study --out --seed"]
    assert broken(was, was) == []
    assert broken(was, ["scorebed.f(a, *, b=, c=)", "SOLVERS['x'](q, r)", "scorebed study --more --out --seed"]) == []
    assert broken(was, ["scorebed.f(a)", "scorebed study --out"]) == [
        "scorebed.f has lost *",
        "scorebed.f has lost b=",
        "SOLVERS['x'] has gone",
        "scorebed study has lost --seed",
    ]
    assert broken(was[:1], ["scorebed.f(a, c, *, b=)"]) == ["scorebed.f demands c"]
    assert broken(was[:1], ["scorebed.f(a, *, b)"]) == ["scorebed.f demands b"]


def test_version_and_citation_agree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"]
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert project["version"].split(".")[:2] == ["0", "2"]


def test_hooks_call_commands_that_are_there() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    commands = {" ".join(line.split(" ")[:2]) for line in PROMISED if line.startswith("scorebed ")}
    assert hooks
    for hook in hooks:
        assert {"id", "name", "entry", "language"} <= set(hook)
        assert hook["entry"] in commands
