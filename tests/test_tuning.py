"""Advice finds the best plan at a fraction of the cost; tuned plans keep constants, beat what they started from, and say by how much."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import scorebed
from scorebed import EDM, SOLVERS, VP, Plan, RectifiedFlow, advise, trace, tune, universal
from scorebed.solvers import methods_on, predicts
from scorebed.solvers.grid import uniform_lam
from scorebed.solvers.plan import Combine
from scorebed.toy.cli import main
from scorebed.toy.tuning.advise import auto
from scorebed.toy.tuning.candidates import candidates
from scorebed.toy.tuning.form import PARTS, form_of
from scorebed.toy.tuning.lockstep import errors_of, measured
from scorebed.toy.tuning.race import interval, middle_half
from scorebed.toy.tuning.setting import Setting, named, own
from scorebed.toy.tuning.universal import table

FEW = ["ddim", "heun", "dpmpp_2m", "dpmpp_3m", "unipc_2", "ab2", "deis_tab2", "ipndm_3"]
GRIDS = ["uniform_lam", "karras", "quadratic", "uniform"]


@pytest.mark.parametrize("model", ["mixture1d", "product2d"])
def test_the_race_finds_what_trying_all_finds(model: str) -> None:
    """Within 1.1 of the exhaustive best, on states of its own, for less."""
    setting = named(model)
    advice = advise(setting, 8, methods=FEW, grids=GRIDS, states=256)
    x = setting.draw(1000, 77)
    answer = setting.answer(x)
    every = {c.label: float(np.median(measured(setting, c.plan, x, answer))) for c in candidates(setting, 8, FEW, GRIDS)}
    assert every[advice.best.label] <= 1.1 * min(every.values())
    assert advice.evaluations < advice.exhaustive
    assert [row["error"] for row in advice.rows()] == sorted(row["error"] for row in advice.rows())
    assert all(row["low"] <= row["error"] <= row["high"] for row in advice.rows())
    for row, c in zip(advice.rows(), advice.ranking, strict=True):
        assert (row["low"], row["high"]) == interval(c.errors, of=middle_half)
        assert row["error"] == middle_half(c.errors)
        assert row["against the best"] == pytest.approx(row["error"] / advice.best.error)
    assert all(c.plan.nfe <= 8 for c in advice.ranking)


def test_a_race_ends_when_its_time_is_up() -> None:
    """After the first round nothing begins: all are ranked by what they showed there, and the better part is left."""
    advice = advise("mixture1d", 6, methods=FEW, grids=GRIDS, seconds=0.0)
    tried = [*advice.ranking, *advice.others]
    assert {len(c.errors) for c in tried} == {1000 // len(tried)}, "as many runs as a thousand candidates have on one state"
    assert advice.best.error == min(c.error for c in tried)
    alone = advise("mixture1d", 6, methods=["ddim"], grids=["karras"], seconds=0.0)
    assert len(alone.best.errors) == 192 // 4


@pytest.mark.parametrize("schedule", [VP(), EDM(), RectifiedFlow()], ids=lambda s: type(s).__name__)
def test_a_plan_that_tells_other_levels_is_a_form_again(schedule: Any) -> None:
    """A universal or tuned Plan can be tuned further: its levels are read off what it mixes, not off what it tells."""
    ends = (0.99, 0.01) if isinstance(schedule, RectifiedFlow) else (schedule.t_max, schedule.t_min)
    form = table()[6].form(schedule, *ends, scale=0.7, stretch=0.9)
    form = replace(form, told=form.told - 0.003)
    again = form_of(form.plan())
    for name in ("lams", "told", "weights"):
        np.testing.assert_allclose(getattr(again, name), getattr(form, name), atol=1e-7)
    far = replace(form.plan(), ops=(*form.plan().ops[:-1], Combine(tuple((r, 1.01 * c) for r, c in form.plan().ops[-1].terms))))
    with pytest.raises(ValueError, match="does not keep constants at evaluation 6"):
        form_of(far)
    ops = list(form.plan().ops)
    k = next(i for i, op in enumerate(ops) if isinstance(op, Combine))
    ops[k] = Combine(tuple((r, -c) for r, c in ops[k].terms))
    with pytest.raises(ValueError, match="does not keep constants at evaluation 1"):
        form_of(replace(form.plan(), ops=tuple(ops)))


def test_tuning_goes_on_from_a_tuned_plan(tmp_path: Path) -> None:
    few: dict[str, Any] = {"states": 40, "held_out": 20, "test": 60}
    once = tune("product2d", 6, start=universal(6, named("product2d").schedule, 0.98, 0.01), iterations=2, **few)
    once.save(tmp_path / "once.json")
    record = tune("product2d", 6, start=Plan.load(tmp_path / "once.json"), iterations=6, **few).record
    assert record["start"] == once.solver
    assert record["kept"] == "tuned"
    assert record["ratio"] < 0.95


def test_side_by_side_each_plan_is_run_as_it_is_alone() -> None:
    """Also those that diverge; and what several ask alike is asked once."""
    setting = named("product2d")
    x = setting.draw(3, 5)
    answer = setting.answer(x)
    plans = [c.plan for c in candidates(setting, 6, [*FEW, "rk4"], GRIDS)]
    errors, asked = errors_of(setting, plans, x, answer)
    for plan, found in zip(plans, errors, strict=True):
        np.testing.assert_allclose(found, measured(setting, plan, x, answer), rtol=1e-9)
    assert asked < 0.9 * sum(plan.nfe for plan in plans) * len(x)
    broken = replace(setting, denoise=lambda y, node: y / 0.0 if node.lam > 0 else setting.denoise(y, node))
    found = errors_of(broken, plans, x, answer)[0]
    assert all(np.isinf(one).all() == np.isinf(measured(broken, plan, x, answer)).all() for plan, one in zip(plans, found, strict=True))


def test_equal_plans_are_raced_once() -> None:
    (one,) = candidates(named("mixture1d"), 5, ["ddim", "dpmpp_1", "euler"], ["uniform_lam"])
    assert len(one.same) == 2


@pytest.mark.parametrize("model", ["product2d", "mixture1d"])
def test_the_line_of_code_runs_what_was_raced(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ends that are not the schedule's own and grids fitted to the data are in it."""
    setting = named(model)
    x = setting.draw(3, 0)
    known = {name: getattr(scorebed, name) for name in scorebed.__all__}
    known |= {"schedule": setting.schedule, "denoise": setting.denoise, "x": x}
    monkeypatch.setattr("scorebed.toy.tuning.candidates.methods_on", lambda: {"dpmpp_2m": SOLVERS["dpmpp_2m"]})
    for c in candidates(setting, 8):
        np.testing.assert_allclose(eval(c.code, known), c.plan.run(setting.denoise, x), rtol=1e-12, err_msg=c.code)


@pytest.mark.parametrize("name", ["ddim", "heun", "dpmpp_2m", "dpmpp_3m", "unipc_3", "rk4", "deis_tab3", "dpm_solver_3"])
def test_a_form_is_the_plan(name: str) -> None:
    plan = trace(SOLVERS[name], uniform_lam(VP(), 3))
    form = form_of(plan)
    np.testing.assert_allclose(form.plan().inputs, plan.inputs, atol=1e-9)
    np.testing.assert_allclose(form.plan().output, plan.output, atol=1e-9)
    back = form.moved(PARTS, form.free(PARTS))
    np.testing.assert_allclose(back.plan().output, plan.output, atol=1e-9)


def test_a_moved_form_keeps_constants() -> None:
    form = form_of(trace(SOLVERS["unipc_3"], uniform_lam(VP(), 5)))
    theta = form.free(PARTS)
    moved = form.moved(PARTS, theta + 0.05 * np.random.default_rng(0).standard_normal(len(theta)))
    plan, x = moved.plan(), np.random.default_rng(1).standard_normal((4, 2))
    s, t = plan.grid[0], plan.grid[-1]
    exact = (t.sigma / s.sigma) * x + (t.alpha - s.alpha * t.sigma / s.sigma) * 0.7
    np.testing.assert_allclose(plan.run(lambda y, node: np.full_like(y, 0.7), x), exact, atol=1e-12)


@pytest.fixture(scope="module")
def tuned() -> Plan:
    start = trace(SOLVERS["ab2"], named("product2d").schedule and _grid("product2d", 5))
    return tune("product2d", 5, start=start, states=120, held_out=60, test=120, iterations=12)


def _grid(model: str, n: int) -> Any:
    setting = named(model)
    s, t = setting.ends
    return uniform_lam(setting.schedule, n, s.t, t.t)


def test_a_tuned_plan_is_better_on_states_never_used(tuned: Plan) -> None:
    record = tuned.record
    assert record["kept"] == "tuned"
    assert record["ratio"] < 0.5
    assert record["ratio interval"][1] < 1.0
    setting = named("product2d")
    x = setting.draw(200, 999)
    answer = setting.answer(x)
    start = trace(SOLVERS["ab2"], _grid("product2d", 5))
    ratio = np.median(measured(setting, tuned, x, answer)) / np.median(measured(setting, start, x, answer))
    assert ratio == pytest.approx(record["ratio"], rel=0.5)


def test_it_is_saved_with_what_made_it(tuned: Plan, tmp_path: Path) -> None:
    back = Plan.load(tuned.save(tmp_path / "plan.json"))
    assert back == tuned
    assert back.record == json.loads(json.dumps(tuned.record))
    assert {"model", "nfe", "start", "parameters", "ratio", "ratio interval", "seed"} <= set(back.record)


def test_it_never_returns_what_is_worse() -> None:
    """Where there is nothing to gain, the start comes back: on a model that is constant every plan is exact."""
    setting = named("mixture1d")
    start = trace(SOLVERS["dpmpp_2m"], _grid("mixture1d", 4))
    flat = Setting(
        name="flat", denoise=lambda x, node: 0.0 * x, schedule=setting.schedule, draw=setting.draw, start=setting.start, end=setting.end,
        exact=lambda x, s, t: (t.sigma / s.sigma) * x + 1e-3 * np.sin(9.0 * x),
    )  # fmt: skip
    plan = tune(flat, 4, start=start, states=8, held_out=8, test=16, iterations=3)
    assert plan.record["ratio"] <= 1.0


def test_a_search_goes_on_where_it_was(tmp_path: Path) -> None:
    start = trace(SOLVERS["dpmpp_2m"], _grid("mixture1d", 4))
    common: dict[str, Any] = {"start": start, "states": 40, "held_out": 20, "test": 20, "checkpoint": tmp_path / "search.json"}
    lines: list[str] = []
    tune("mixture1d", 4, iterations=2, **common)
    again = tune("mixture1d", 4, iterations=5, report=lines.append, **common)
    assert any("going on after 2 iterations" in line for line in lines)
    whole = tune("mixture1d", 4, iterations=5, **{**common, "checkpoint": None})
    assert again.record["iterations"] == whole.record["iterations"]
    assert again.record["median error"] == pytest.approx(whole.record["median error"], rel=1e-3)
    with pytest.raises(ValueError, match="another search"):
        tune("mixture1d", 4, iterations=1, **{**common, "states": 41})


def test_auto_is_a_name_that_advice_resolves(tmp_path: Path) -> None:
    found = auto("mixture1d", 6)
    assert found.solver.name.split("(")[0] == found.method.split(",")[0]
    assert found.plan.nfe <= 6
    with pytest.raises(KeyError, match="chosen for a model"):
        SOLVERS["auto"]
    run = CliRunner()
    asked = ["--model", "mixture1d", "--solver", "auto", "--steps", "5", "--states", "8", "--no-figures"]
    done = run.invoke(main, ["cache", *asked, "--out", str(tmp_path / "c")])
    assert done.exit_code == 0, done.output
    done = run.invoke(main, ["schedules", *asked, "--makers", "klub", "--one-solver", "--out", str(tmp_path / "s")])
    assert done.exit_code == 0, done.output


def test_a_model_of_ones_own() -> None:
    torch = pytest.importorskip("torch")
    setting = own(lambda x, node: torch.tanh(x), schedule=VP(), shape=(2,), prediction="eps", library="torch")
    advice = advise(setting, 4, states=4, methods=["ddim", "dpmpp_2m"], grids=["uniform_lam"])
    assert advice.best.error > 0.0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: advise("nothing", 8), "model = 'nothing' is not known"),
        (lambda: advise("mixture1d", 0), "budget = 0"),
        (lambda: advise("mixture1d", 4, methods=["nobody"]), "method 'nobody'"),
        (lambda: advise("mixture1d", 4, grids=["nowhere"]), "grid 'nowhere'"),
        (lambda: advise("mixture1d", 4, states=2), "states = 2"),
        (lambda: tune("mixture1d", 1), "nfe = 1"),
        (lambda: tune("mixture1d", 4, iterations=0), "iterations = 0"),
        (lambda: tune("mixture1d", 4, states=0), "states = 0"),
        (lambda: tune("mixture1d", 4, parameters=("steps",)), "'steps'"),
        (lambda: tune("mixture1d", 4, start=trace(methods_on()["ddpm"], _grid("mixture1d", 4))), "draws noise"),
        (lambda: own(None, schedule=VP(), shape=(2,), library="jax"), "library = 'jax'"),
    ],
)
def test_wrong_use_is_told(call: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


def test_the_commands(tmp_path: Path) -> None:
    run = CliRunner()
    asked = ["advise", "--model", "mixture1d", "--nfe", "4", "--solvers", "ddim", "dpmpp_2m", "--grids", "uniform_lam", "karras"]
    done = run.invoke(main, [*asked, "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["ranking"][0]["nfe"] <= 4
    best = tmp_path / "best.json"
    done = run.invoke(main, [*asked, "--out", str(best)])
    assert "the best" in done.output
    assert str(best) in done.output.replace("\n", "")
    assert Plan.load(best).nfe <= 4
    out = tmp_path / "plan.json"
    made = ["tune", "--model", "mixture1d", "--nfe", "3", "--iterations", "2", "--states", "30", "--out", str(out)]
    done = run.invoke(main, made)
    assert done.exit_code == 0, done.output
    assert Plan.load(out).nfe <= 3
    assert "exists" in run.invoke(main, made).output
    assert run.invoke(main, ["advise", "--model", "x.py:f", "--nfe", "4"]).exit_code == 2


def test_a_network_of_ones_own_may_have_weights_that_ask_for_gradients() -> None:
    """As any plain module has; a state that asks for them keeps its graph, and marks of the function are seen."""
    torch = pytest.importorskip("torch")
    net = torch.nn.Linear(2, 2)

    def predict(x: Any, node: Any) -> Any:
        return 0.1 * net(x)

    setting = own(predict, schedule=VP(), shape=(2,), prediction="eps", library="torch")
    assert len(advise(setting, 3, states=4, methods=["ddim"], grids=["uniform_lam"]).best.errors) == 4
    node = VP().node(0.5)
    x = torch.ones(1, 2)
    assert not setting.denoise(x, node).requires_grad
    assert setting.denoise(x.requires_grad_(), node).requires_grad
    with pytest.raises(ValueError, match="predicts 'v'"):
        own(predicts("v")(predict), schedule=VP(), shape=(2,), prediction="eps", library="torch")
