"""What methods are called elsewhere, by coefficients read from the libraries' own samplers; the catalogue, filtered and sorted."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from scorebed.solvers import SOLVERS
from scorebed.toy.check.same import same_as
from scorebed.toy.cli import main
from scorebed.toy.foreign import as_candidate
from scorebed.toy.foreign.guard import quiet
from scorebed.toy.foreign.kdiffusion import sampling
from scorebed.toy.foreign.names import LIBRARIES, LIKE, NAMES, called

HELD = [
    (library, one, ours)
    for ours, names in NAMES.items()
    for library in ("diffusers", "k-diffusion")
    for one in names.get(library, "").split(", ")
    if one and one not in LIKE
]


@pytest.mark.parametrize(("library", "name", "ours"), HELD, ids=[f"{library} {name}" for library, name, _ in HELD])
def test_the_same_coefficients(library: str, name: str, ours: str) -> None:
    if library == "diffusers":
        diffusers = pytest.importorskip("diffusers")
        parts = re.fullmatch(r"(\w+)(?:\((\w+)=(.+)\))?", name)
        assert parts is not None
        config: dict[str, Any] = {parts[2]: parts[3]} if parts[2] else {}
        config |= {"final_sigmas_type": "sigma_min"} if config.get("algorithm_type") == "sde-dpmsolver" else {}
        candidate = as_candidate(getattr(diffusers, parts[1]), kind="diffusers", config=config)
    else:
        candidate = as_candidate(getattr(sampling(), name), kind="k-diffusion", library="torch")
    candidate.stochastic = SOLVERS[ours].weak is not None
    with quiet():
        found = same_as(candidate, ours)
    assert found.status == "pass", found


def test_every_name_is_of_a_method_and_every_exception_of_a_name() -> None:
    assert set(NAMES) <= set(SOLVERS)
    assert all(set(names) <= set(LIBRARIES) for names in NAMES.values())
    everyone = {one for names in NAMES.values() for text in names.values() for one in text.split(", ")}
    assert set(LIKE) <= everyone
    assert all(called(one) for one in everyone)
    assert called("DPM++ 2M Karras") == called("DPMSolverMultistepScheduler") == "dpmpp_2m"
    assert called("Euler a") == "euler_ancestral"
    assert called("nothing") is None


def listed(*words: str) -> list[dict[str, Any]]:
    done = CliRunner().invoke(main, ["solvers", "--claims", "--json", *words])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_filters_and_sorting() -> None:
    third = listed("--kind", "ODE", "--order", "3", "--nfe-per-step", "1", "--sort", "memory")
    assert {"lms_3", "dpmpp_3m"} <= {row["solver"] for row in third}
    assert {(row["kind"], row["claim"], row["NFE/step"]) for row in third} == {("ODE", 3, 1)}
    assert [row["memory"] for row in third] == sorted(row["memory"] for row in third)
    assert all(row["kind"] == "SDE" for row in listed("--stochastic", "--kind", "gaussian"))
    assert {row["solver"].split(" ")[0] for row in listed("--kind", "jump")} == {n for n, s in SOLVERS.items() if "jump" in s.on}
    names = [row["solver"] for row in listed("--sort", "name")]
    assert names == sorted(names)
    assert len(names) == len(SOLVERS)


def test_what_it_is_called_elsewhere() -> None:
    run = CliRunner()
    (row,) = listed("--called", "DPM++ 2M Karras")
    assert row["ComfyUI"] == "dpmpp_2m"
    done = run.invoke(main, ["solvers", "--elsewhere"])
    assert "sample_dpmpp_2m" in done.output
    assert "not the same to the last coefficient" in done.output
    for words in (["--called", "nothing"], ["--kind", "odd"], ["--sort", "beauty"]):
        assert run.invoke(main, ["solvers", "--claims", *words]).exit_code == 2


def test_tables_of_commands_as_json(tmp_path: Path) -> None:
    """``--json`` after a command with tables, and after one of a group: nothing but data on standard output."""
    run, how = CliRunner(), ["--nfe", "5", "--no-figures", "--jobs", "1", "--out", str(tmp_path), "--json"]
    done = run.invoke(main, ["study", "--problems", "mixture1d", "--solvers", "ddim", *how])
    assert done.exit_code == 0, done.output
    several = json.loads(done.stdout)
    assert [title.partition(" ")[0] for title in several] == ["mixture1d", "measured"]
    assert {row["solver"] for rows in several.values() for row in rows} == {"ddim"}
    assert "Written to" in done.stderr
    listed = json.loads(run.invoke(main, ["results", "list", str(tmp_path), "--limit", "3", "--json"]).stdout)
    assert len(listed) == 3
    assert {"solver", "nfe", "error"} <= set(listed[0])


def test_help_shows_the_formula() -> None:
    assert "h/(2h₋)" in (SOLVERS["dpmpp_2m"].__doc__ or "")
    assert "order 2" in (SOLVERS["dpmpp_2m"].__doc__ or "")
