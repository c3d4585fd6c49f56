"""The study: what its rows say and how they are kept, the tables, the figures, and the command."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from scorebed.solvers import SOLVERS, VP, methods_on, sample, solver, trace
from scorebed.toy.cli import main
from scorebed.toy.console import spread
from scorebed.toy.figures import plots, report, scenes, style
from scorebed.toy.figures.style import FAMILIES, LINES, appearances, family, save
from scorebed.toy.measure.cost import affordable, cost
from scorebed.toy.problems.reference import integrate
from scorebed.toy.problems.registry import PROBLEMS
from scorebed.toy.store.files import StoreError
from scorebed.toy.studies.catalogue import entry
from scorebed.toy.studies.cell import MARGIN, case, measure, refinements, settled
from scorebed.toy.studies.rows import COLUMNS, Row, frame, read
from scorebed.toy.studies.study import DEFAULT, pick, run_study
from scorebed.toy.studies.tables import error_at, measured, summarise, verdict

SOME = ["ddim", "heun", "dpmpp_2m", "deis_tab2", "ddpm", "dpmpp_2m_sde"]
BUDGETS = (5, 10, 20)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("study")


@pytest.fixture(scope="module")
def table(folder: Path) -> pd.DataFrame:
    return run_study(["mixture1d", "product2d"], SOME, nfe=BUDGETS, seed=3, out=folder, jobs=1)


@solver(order=1, reference="none: doubles its state until it is no number", register=False)
def runaway(denoise: Any, x: Any, s: Any, t: Any, carry: Any, noise: Any) -> tuple[Any, Any]:
    return 1e200 * x + 0.0 * denoise(x, s), None


@solver(order=1, reference="DDIM, written so that it cannot be traced", nonlinear="looks at its state", register=False)
def opaque(denoise: Any, x: Any, s: Any, t: Any, carry: Any, noise: Any) -> tuple[Any, Any]:
    return SOLVERS["ddim"].step(denoise, np.where(x < 1e9, x, x), s, t, None, noise)


def test_measured_orders_are_the_claims(table: pd.DataFrame) -> None:
    lines = summarise(table, BUDGETS)
    assert len(lines) == 2 * len(SOME)
    assert {(s.problem, s.solver): (s.verdict, str(s.order)) for s in lines if s.verdict != "as claimed"} == {}
    assert all(s.kind == ("path" if SOLVERS[s.solver].weak is None else "law") for s in lines)


def test_results_are_tidy_complete_and_say_how_they_were_made(table: pd.DataFrame, folder: Path) -> None:
    back = read(folder / "results.csv")
    assert tuple(back.columns) == COLUMNS
    assert not back.duplicated(["problem", "grid", "solver", "kind", "steps"]).any()
    pd.testing.assert_frame_equal(back, table, check_dtype=False, rtol=1e-12)
    made = json.loads((folder / "study.json").read_text())
    assert made["arguments"] == {"problems": ["mixture1d", "product2d"], "solvers": SOME, "grids": [], "nfe": list(BUDGETS), "seed": 3}
    assert {"python", "numpy", "scipy", "scorebed"} <= made["versions"].keys()


def test_a_row_is_the_run_that_it_names(table: pd.DataFrame) -> None:
    problem = PROBLEMS["mixture1d"]
    row = table.query("problem == 'mixture1d' and solver == 'deis_tab2' and steps == 20").iloc[0]
    nodes = problem.nodes(20)
    x = problem.target.sample(int(row.samples), np.random.default_rng(3), nodes[0])
    run = sample(SOLVERS["deis_tab2"], problem.target.denoised, x, nodes, terminal="none", record=True)
    exact = problem.target.flow(x, nodes[0], nodes[-1])
    assert row.error == pytest.approx(float(np.sqrt(np.mean((run.x - exact) ** 2))), rel=1e-9)
    assert row.nfe == run.nfe == 24  # two steps of the three-evaluation start


def test_the_law_of_the_output_is_that_of_very_many_samples() -> None:
    problem, method = PROBLEMS["mixture1d"], SOLVERS["ddpm"]
    w2, _, _ = problem.law_error(method, problem.nodes(4))
    law, nodes, n = problem.gaussian, problem.nodes(4), 200_000
    x = sample(method, law.denoised, law.sample(n, np.random.default_rng(0), nodes[0]), nodes, terminal="none", noise=5)
    end = law.marginal(nodes[-1])
    by_samples = math.hypot(x.mean() - end.mean().item(), x.std() - math.sqrt(end.covariance().item()))
    assert cost(problem, method, 4) == 4
    assert w2 == pytest.approx(by_samples, abs=5.0 * x.std() / math.sqrt(n))
    assert w2 > 20.0 * x.std() / math.sqrt(n)


@pytest.mark.parametrize("name", DEFAULT)
def test_a_budget_pays_for_the_most_steps_that_it_can(name: str) -> None:
    problem, method = PROBLEMS["mixture1d"], SOLVERS[name]
    for budget in (4, 5, 10, 11):
        steps = affordable(problem, method, budget)
        assert cost(problem, method, steps) == trace(method, problem.nodes(steps)).nfe <= budget
        assert cost(problem, method, steps + 1) > budget  # type: ignore[operator]
    assert affordable(problem, method, 0) == affordable(problem, opaque, 10) == 0


def test_closed_flow_and_integration_agree() -> None:
    for name in ("product2d", "product8d", "manifold"):
        problem = PROBLEMS[name]
        x = problem.draw(6, seed=1)
        s, t = problem.ends
        closed, integrated = problem.exact(x, s, t), integrate(problem.target.denoised, x, s, t, tolerance=1e-10)
        apart = float(np.sqrt(np.mean((closed.x - integrated.x) ** 2)))
        assert apart < 1e-7, name
        assert apart < 5.0 * integrated.error, name  # the estimate is one of the error, and not of nothing


def test_the_digits_have_a_reference_two_orders_below_every_error() -> None:
    problem = replace(PROBLEMS["digits"], samples=2)
    assert (problem.d, problem.target.k, problem.closed) == (64, 1797, False)
    assert case(problem, 0).exact.error < 1e-9
    row = measure(problem, SOLVERS["dpmpp_2m"], 12)
    assert row.status == "ok"
    assert MARGIN * row.reference_error < row.error < 0.2


def test_what_lies_at_the_floor_is_said_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scorebed.toy.problems.problem.ROUND_OFF", 1e-3)
    case.cache_clear()
    row = measure(PROBLEMS["mixture1d"], SOLVERS["heun"], 40)
    case.cache_clear()
    assert row.status == "floor"
    assert error_at(frame([row]), 80).startswith("<")


def test_a_solver_that_diverges_is_a_row_and_not_the_end(folder: Path) -> None:
    rows = run_study(["mixture1d"], [runaway, "ddim"], nfe=(5,), out=folder / "diverging", jobs=1)
    assert set(rows[rows["solver"] == "runaway"]["status"]) == {"diverged"}
    assert set(rows[rows["solver"] == "ddim"]["status"]) == {"ok"}
    assert rows[rows["solver"] == "runaway"]["message"].str.contains("nan or inf").all()
    first, second = summarise(rows, (5,))
    assert (first.order, first.errors[5], first.verdict) == (None, "div.", "diverged")
    assert second.verdict == "as claimed"


def test_methods_without_a_plan_are_measured_by_their_runs() -> None:
    row, plain = (measure(PROBLEMS["mixture1d"], s, 10) for s in (opaque, SOLVERS["ddim"]))
    assert (row.error, row.nfe, row.status) == (plain.error, plain.nfe, "ok")
    refused = measure(PROBLEMS["mixture1d"], opaque, 10, kind="law")
    assert (refused.status, math.isnan(refused.error)) == ("refused", True)
    assert "looks at its state" in refused.message


def test_a_solver_that_refuses_a_grid_is_a_row_that_says_why() -> None:
    @solver(order=1, reference="DDIM, on many steps only", register=False)
    def choosy(denoise: Any, x: Any, s: Any, t: Any, carry: Any, noise: Any) -> tuple[Any, Any]:
        if t.lam - s.lam > 1.0:
            raise ValueError(f"choosy takes steps of at most 1 in lam, not {t.lam - s.lam:.2f}")
        return SOLVERS["ddim"].step(denoise, x, s, t, None, noise)

    rows = run_study(["mixture1d"], [choosy], nfe=(5,), jobs=1)
    assert rows["status"][0] == "refused"
    assert "at most 1 in lam" in rows["message"][0]
    assert summarise(rows, (5,))[0].errors[5] == "–"
    assert measured(rows).inside(1)  # type: ignore[union-attr]


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_was_computed_survives_an_interruption(tmp_path: Path, jobs: int) -> None:
    old = run_study(["mixture1d"], ["ddim"], nfe=(5,), out=tmp_path, jobs=1)

    def stop(done: int, _: int, __: str) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_study(["mixture1d"], ["heun", "ddim", "dpmpp_2m"], nfe=(5,), out=tmp_path, report=stop, jobs=jobs)
    pd.testing.assert_frame_equal(read(tmp_path / "results.csv"), old, check_dtype=False, rtol=1e-12)
    again = run_study(["mixture1d"], ["heun", "ddim", "dpmpp_2m"], nfe=(5,), out=tmp_path, jobs=1)
    assert again.attrs["kept"] >= len(old) + len(again[again["solver"] == "heun"])
    assert again.attrs["kept"] + again.attrs["made"] == len(again)
    pd.testing.assert_frame_equal(again, run_study(["mixture1d"], ["heun", "ddim", "dpmpp_2m"], nfe=(5,), jobs=jobs))


def test_a_rerun_computes_what_is_missing_and_a_changed_method_is_another(tmp_path: Path) -> None:
    def method(factor: float) -> Any:
        @solver(order=1, reference="none: DDIM with a factor", register=False)
        def scaled(denoise: Any, x: Any, s: Any, t: Any, carry: Any, noise: Any) -> tuple[Any, Any]:
            return factor * SOLVERS["ddim"].step(denoise, x, s, t, None, noise)[0], None

        return scaled

    first = run_study(["mixture1d"], [method(1.0)], nfe=(5,), out=tmp_path, jobs=1)
    assert run_study(["mixture1d"], [method(1.0)], nfe=(5,), out=tmp_path, jobs=1).attrs == {"kept": len(first), "made": 0}
    other = run_study(["mixture1d"], [method(1.001)], nfe=(5,), out=tmp_path, jobs=1)
    assert other.attrs == {"kept": 0, "made": len(other)}
    assert not set(other["error"]) & set(first["error"])
    fresh = run_study(["mixture1d"], [method(1.0)], nfe=(5,), out=tmp_path, jobs=1, fresh=True)
    assert fresh.attrs["kept"] == 0
    pd.testing.assert_frame_equal(fresh, first)


def test_another_study_is_not_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study: dict[str, Any] = {"nfe": (5,), "out": tmp_path, "jobs": 1}
    run_study(["mixture1d"], ["ddim", "euler"], **study)
    before = (tmp_path / "results.csv").read_bytes()
    monkeypatch.setattr("scorebed.toy.studies.study.work", lambda *_, **__: pytest.fail("work was begun"))
    for problems, solvers, changed, word in (
        (["product2d"], ["ddim", "euler"], {}, "problems mixture1d"),
        (["mixture1d"], ["ddim"], {}, "solvers euler"),
        (["mixture1d"], ["ddim", "euler"], {"nfe": (6,)}, "nfe 5"),
        (["mixture1d"], ["ddim", "euler"], {"seed": 1}, "seed 0, not 1"),
        (["mixture1d"], ["ddim", "euler"], {"grids": ["karras"]}, "grids"),
    ):
        with pytest.raises(StoreError, match=word) as refused:
            run_study(problems, solvers, **{**study, **changed})
        assert str(tmp_path / "results.csv") in str(refused.value)
    monkeypatch.undo()
    assert (tmp_path / "results.csv").read_bytes() == before
    assert run_study(["mixture1d"], ["ddim"], **study, force=True).attrs["made"] == 0
    (tmp_path / "study.json").write_text("{", encoding="utf-8")
    with pytest.raises(StoreError, match=r"no study\.json beside it says"):
        run_study(["mixture1d"], ["ddim"], **study)


def test_verdicts() -> None:
    rows = lambda errors: frame(  # noqa: E731
        Row("p", 1, "VP", "uniform", "s", "path", 2.0, n, n, e, 1e-15, 5, 0) for n, e in errors.items()
    )
    second = measured(rows({n: n**-2.0 for n in (10, 20, 40, 80)}))
    first = measured(rows({n: 1.0 / n for n in (10, 20, 40, 80)}))
    bending = measured(rows({10: 1.0, 20: 0.9, 40: 0.5, 80: 0.1}))
    assert [verdict(order, 2.0, ["ok"]) for order in (second, first, bending)] == ["as claimed", "below claim", "pre-asymptotic"]
    assert verdict(second, 1.0, ["ok"]) == "above claim"
    assert [verdict(None, 1.0, [status]) for status in ("floor", "diverged")] == ["at the floor", "diverged"]
    # steps close together would make the slope a matter of noise: of 79 and 80 only one counts
    crowded = measured(rows({20: 20**-2.0, 40: 40**-2.0, 79: 1.02 * 79**-2.0, 80: 80**-2.0}))
    assert crowded is not None
    assert (crowded.low, crowded.high) == (pytest.approx(2.0), pytest.approx(2.0))


def test_the_error_at_a_budget_is_that_of_the_dearest_run_it_pays_for() -> None:
    row = lambda nfe, error, status: Row("p", 1, "VP", "uniform", "s", "path", 2.0, nfe, nfe, error, 1e-15, 5, 0, status)  # noqa: E731
    table = frame([row(4, 0.1, "ok"), row(9, 0.01, "ok"), row(20, math.nan, "diverged"), row(30, 1e-14, "floor")])
    assert [error_at(table, n) for n in (3, 4, 8, 9, 20, 29, 40)] == ["–", "1.0e-01", "1.0e-01", "1.0e-02", "div.", "div.", "<1.0e-14"]


def test_refinement_stops_when_slopes_agree_whatever_they_are() -> None:
    assert refinements(640) == [10, 20, 40, 80, 160, 320, 640]
    assert settled([8.0, 4.0, 2.0])
    assert settled([1.0, 2.0, 4.0])
    assert not settled([8.0, 4.0, 1.0])
    assert not settled([4.0, 2.0])


def test_unknown_names_and_bad_budgets_are_refused() -> None:
    with pytest.raises(ValueError, match=r"problem 'nope' not known; known: all, mixture1d, product2d"):
        run_study(["nope"])
    with pytest.raises(ValueError, match="grid 'log' not known; known: all, uniform"):
        run_study(["mixture1d"], grids=["log"])
    with pytest.raises(ValueError, match="nfe = 0"):
        run_study(["mixture1d"], nfe=(0,))
    assert pick(["heun", opaque], SOLVERS, "solver") == [SOLVERS["heun"], opaque]


def test_tables_and_figures_are_written(table: pd.DataFrame, folder: Path) -> None:
    said: list[Any] = []
    report.tables(table, BUDGETS, folder, lambda *a: said.extend(a))
    text = (folder / "table.md").read_text()
    for name in SOME:
        assert f"| {name} |" in text
    assert text.count("as claimed") == 2 * len(SOME)
    drawn = report.figures(table, folder)
    names = ("convergence", "work_precision", "weak_order", "trajectory_product2d")
    assert {p.name for p in drawn} == {f"{n}.{k}" for n in names for k in ("png", "svg")}
    assert all(p.stat().st_size > 10_000 for p in drawn)
    again = save(plots.convergence(table), folder / "again", "convergence")
    assert [p.name for p in again if p.read_bytes() != (folder / p.name).read_bytes()] == []


def test_figures_of_other_processes_are_the_same_files(table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(style, "_chosen", "slide")
    rows = table[(table["problem"] == "mixture1d") & (table["kind"] == "path")]
    here, there = (report.figures(rows, tmp_path / str(jobs), dark=True, jobs=jobs) for jobs in (1, 2))
    assert [p.name for p in here] == [p.name for p in there]
    assert {"convergence-dark.png", "work_precision.svg"} <= {p.name for p in there}
    assert [a.name for a, b in zip(here, there, strict=True) if a.read_bytes() != b.read_bytes()] == []


def test_figures_of_single_runs(tmp_path: Path) -> None:
    files = save(scenes.trajectory(PROBLEMS["product2d"], ["heun"], paths=4), tmp_path, "trajectory")
    files += save(scenes.images(PROBLEMS["digits"], nfe=6, shown=3, columns=2), tmp_path, "images")
    assert all(p.stat().st_size > 10_000 for p in files)
    with pytest.raises(ValueError, match="product8d has d = 8"):
        scenes.trajectory(PROBLEMS["product8d"])
    with pytest.raises(ValueError, match="image = None"):
        scenes.images(PROBLEMS["product2d"])


def test_pictures_are_what_a_problem_offers_and_not_of_its_name() -> None:
    other = replace(PROBLEMS["product2d"], name="mine", process=VP(), start=None, end=None)
    offers = {p.name: [what for what, _ in report.pictures(p)] for p in (*PROBLEMS.values(), other)}
    assert offers["mine"] == offers["product2d"] == ["trajectory"]
    assert offers["digits"] == ["images"]
    assert offers["mixture1d"] == offers["product8d"] == []
    assert all(offers[name] == ["trajectory"] for name, p in PROBLEMS.items() if p.space is not None)


def test_a_family_has_one_colour_and_marker_and_its_members_differ() -> None:
    assert (family(opaque), family(SOLVERS["dpm_solver_2"](r=0.6))) == ("other", "exponential")
    looks = appearances(["heun", "dpmpp_2s", "ddpm", "dpmpp_2m", "euler"])
    assert looks["dpmpp_2s"]["color"] == looks["dpmpp_2m"]["color"] != looks["heun"]["color"] == looks["euler"]["color"]
    assert looks["heun"] == appearances(["dpmpp_2s", "heun"])["heun"]
    assert len({str(v) for v in looks.values()}) == 5
    many = appearances([SOLVERS["heun"] if i == 0 else f"mine_{i}" for i in range(1 + 2 * len(LINES))])
    assert len({(v["color"], str(v["linestyle"]), v.get("markerfacecolor")) for v in many.values()}) == len(many)
    assert len({(colour, marker) for colour, marker, _ in FAMILIES.values()}) == len(FAMILIES)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("--nfe 5 10 20", "--nfe 5 --nfe 10 --nfe 20"),
        ("--nfe 5,10,20 --seed 1", "--nfe 5 --nfe 10 --nfe 20 --seed 1"),
        ("--nfe=5,10 20 --out a b", "--nfe 5 --nfe 10 --nfe 20 --out a b"),
        ("--names a b --nfe 5", "--names a --names b --nfe 5"),
        ("--nfe 5 --nfe 10", "--nfe 5 --nfe 10"),
        ("--nfe -3", "--nfe -3"),
        ("--nfe --seed 1", "--nfe --seed 1"),
        ("--seed 1 --nfe", "--seed 1 --nfe"),
        ("--nfe 5 -- 6 --nfe 7", "--nfe 5 -- 6 --nfe 7"),
    ],
)
def test_lists_after_one_flag(given: str, meant: str) -> None:
    assert spread(given.split(), ["--nfe", "--names"]) == meant.split()


@pytest.fixture
def run() -> Any:
    runner = CliRunner()
    return lambda text: runner.invoke(main, text.split())


def test_the_command_runs_a_study_and_its_output_is_clean(run: Any, tmp_path: Path) -> None:
    done = run(f"study --problems mixture1d --solvers ddim dpmpp_2m --nfe 4,8 16 --grids karras uniform_lam --seed 2 --out {tmp_path}")
    assert done.exit_code == 0, done.output
    assert "\x1b" not in done.output
    assert max(len(line) for line in done.stdout.splitlines() if str(tmp_path) not in line) <= 120
    for word in ("16 NFE", "as claimed", "karras", "results.csv", "grids.png"):
        assert word in done.stdout
    rows = read(tmp_path / "results.csv")
    assert set(rows["grid"]) == {"karras", "uniform_lam"}
    assert {4, 8, 16} <= set(rows["nfe"])
    assert set(rows["seed"]) == {2}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--problems mixture1d nope", ["'nope'", "mixture1d", "digits"]),
        ("--solvers heum", ["'heum'", "heun", "dpmpp_2m"]),
        ("--grids log", ["'log'", "uniform_lam"]),
        ("--nfe 5 0", ["--nfe", "'0'", "at least 1"]),
        ("--nfe five", ["--nfe", "'five'"]),
        ("--colour", ["--colour"]),
    ],
)
def test_bad_arguments_are_one_clear_error(run: Any, arguments: str, words: list[str]) -> None:
    done = run(f"study {arguments}")
    assert done.exit_code == 2
    assert [word for word in words if word not in done.output] == []
    assert "Traceback" not in done.output


def test_stopping_the_command_says_where_the_rows_are(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("scorebed.toy.studies.study.run_study", stopped)
    done = run(f"study --out {tmp_path}")
    assert done.exit_code == 130
    assert str(tmp_path / "store.sqlite") in done.output.replace("\n", "")


def test_the_catalogue_shows_every_solver_with_its_facts(run: Any) -> None:
    done = run("solvers --claims")
    lines = {line.split()[0]: line.split() for line in done.stdout.splitlines() if line.strip()}
    assert done.exit_code == 0
    assert lines.keys() >= methods_on().keys()
    assert lines["deis_tab2"][:6] == ["deis_tab2", "ODE", "3", "1", "+4", "2"]
    assert lines["ddpm"][:7] == ["ddpm", "SDE", "1", "/", "1", "1", "0"]


def test_the_catalogue_measures_orders_and_stability() -> None:
    ode, sde, free = (entry(name) for name in ("ghvb_2", "dpmpp_2m_sde", "dormand_prince"))
    assert ode.measured is not None
    assert ode.measured.inside(2)
    assert ode.interval == pytest.approx(2.0 - SOLVERS["ghvb_2"].options["beta"], abs=1e-6)
    assert sde.measured is not None
    assert sde.measured.inside(2)
    assert sde.measured_strong is not None
    assert sde.measured_strong.inside(1)
    assert sde.interval is None
    assert (free.kind, free.measured, free.nfe) == ("adaptive", None, None)
    curved, walled = entry("geodesic_heun_maruyama"), entry("projected_euler")
    assert curved.measured is not None
    assert curved.measured.inside(2)
    assert curved.nfe == 2
    assert walled.measured is not None
    assert walled.measured.inside(0.5)
    assert entry("rkmk_4", measure=False).nfe == 4


def test_the_catalogue_reports_every_line(run: Any) -> None:
    done = run("solvers ddim heun")
    assert done.exit_code == 0
    assert "measured" in done.stdout
    assert "0.99 [" in done.stdout or "1.00 [" in done.stdout


def test_version_and_missing_extra(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("--version").stdout.startswith("scorebed")
    monkeypatch.setitem(__import__("sys").modules, "scorebed.toy.properties.survivors", None)
    done = run("mutants ddim")
    assert done.exit_code == 1
    assert "scorebed[dev]" in done.output
