"""The walk back through a form is the derivative of its run; steps by it lead further than differences, and a wrong one leads nowhere."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scorebed import SOLVERS, VP, trace, tune
from scorebed.solvers.grid import uniform_lam
from scorebed.toy.tuning.adjoint import taped
from scorebed.toy.tuning.advise import advise
from scorebed.toy.tuning.descent import Descent
from scorebed.toy.tuning.families import FAMILIES, member
from scorebed.toy.tuning.form import PARTS, Form, form_of
from scorebed.toy.tuning.lockstep import measured
from scorebed.toy.tuning.pull import network_pull
from scorebed.toy.tuning.setting import Setting, named, own
from scorebed.toy.tuning.starts import starts
from scorebed.toy.tuning.steps import Step, descend

SUBSETS = [PARTS, ("nodes",), ("times",), ("weights",), ("nodes", "weights")]


def shaken(setting: Setting, method: str = "dpmpp_3m", n: int = 4) -> Form:
    """A form with every number off its usual place."""
    first, last = setting.ends
    form = form_of(trace(SOLVERS[method], uniform_lam(setting.schedule, n, first.t, last.t)))
    theta = form.free(PARTS)
    moved = form.moved(PARTS, theta + 0.05 * np.random.default_rng(0).standard_normal(len(theta)))
    return replace(moved, told=np.clip(moved.told, first.lam + 0.05, last.lam - 0.05))


def difference(setting: Setting, form: Form, x: Any, v: Any, parts: tuple[str, ...], h: float) -> np.ndarray:
    theta, out = form.free(parts), []
    for k in range(len(theta)):
        up, down = theta.copy(), theta.copy()
        up[k], down[k] = theta[k] + h, theta[k] - h
        gap = np.asarray(form.moved(parts, up).run(setting.denoise, x)[0] - form.moved(parts, down).run(setting.denoise, x)[0])
        out.append((gap * np.asarray(v)).reshape(len(x), -1).sum(1) / (2.0 * h))
    return np.array(out).T


@pytest.mark.parametrize("parts", SUBSETS, ids="+".join)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_walk_back_is_the_derivative(family: str, parts: tuple[str, ...]) -> None:
    setting = member(family, 3)
    form, x = shaken(setting), setting.draw(4, 0)
    v = np.random.default_rng(1).standard_normal(x.shape)
    found = taped(setting, form, x, parts=parts, step=1e-5).back(v, parts)
    expected = difference(setting, form, x, v, parts, 1e-5)
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-5 * float(np.abs(expected).max()))


def test_a_wrong_jacobian_is_seen() -> None:
    """The model's Jacobian off by a hundredth makes another derivative, so that the comparison above can fail."""
    setting = member("products", 3)
    right = setting.pull
    assert right is not None
    wrong = replace(setting, pull=lambda x, node: (right(x, node)[0], lambda v: 1.01 * right(x, node)[1](v)))
    form, x = shaken(setting), setting.draw(4, 0)
    v = np.random.default_rng(1).standard_normal(x.shape)
    expected = difference(setting, form, x, v, PARTS, 1e-5)
    found = taped(wrong, form, x, parts=PARTS, step=1e-5).back(v, PARTS)
    assert np.abs(found - expected).max() > 1e-3 * np.abs(expected).max()


def test_through_a_network() -> None:
    torch = pytest.importorskip("torch")
    from scorebed.gpu.network.wrap import wrap

    torch.manual_seed(0)
    layer = torch.nn.Sequential(torch.nn.Linear(3, 16), torch.nn.Tanh(), torch.nn.Linear(16, 3)).double().requires_grad_(False)
    denoise = wrap(lambda x, t: layer(x) * t[:, None].cos(), VP(), "eps")
    setting = own(lambda x, node: x, schedule=VP(), shape=(3,), library="torch")
    setting = replace(setting, denoise=denoise, pull=network_pull(denoise.keeping()))
    form, x = shaken(setting), setting.draw(5, 0).double()
    v = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = difference(setting, form, x, v, PARTS, 1e-5)
    found = taped(setting, form, x, parts=PARTS, step=1e-5).back(v, PARTS)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5 * float(np.abs(expected).max()))
    assert not denoise.grad, "the network that runs elsewhere keeps no graph"
    with pytest.raises(ValueError, match="does not hang on x"):
        taped(replace(setting, pull=network_pull(denoise)), form, x, parts=PARTS, step=1e-5)


def test_a_network_of_ones_own_is_tuned_by_gradient() -> None:
    """Also where its weights ask for gradients; one that cuts its graph is tuned by differences."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    layer = torch.nn.Sequential(torch.nn.Linear(64, 8), torch.nn.Tanh(), torch.nn.Linear(8, 64))
    start = trace(SOLVERS["dpmpp_2m"], uniform_lam(VP(), 3))
    few: dict[str, Any] = {"start": start, "states": 8, "held_out": 4, "test": 4, "iterations": 2}
    mine = own(lambda x, node: layer(x), schedule=VP(), shape=(64,), library="torch")
    assert tune(mine, 3, **few).record["gradient"] is True
    cut = own(lambda x, node: layer(x).detach(), schedule=VP(), shape=(64,), library="torch")
    assert tune(cut, 3, **few).record["gradient"] is False
    with pytest.raises(ValueError, match="does not hang on x"):
        tune(cut, 3, gradient=True, **few)


@pytest.mark.parametrize("name", ["galaxy-hsc-32", "crystals", "21cm"])
def test_through_the_packaged_networks(name: str) -> None:
    """In single precision, where differences are good to a hundredth."""
    pytest.importorskip("torch")
    from scorebed.gpu import models

    try:
        setting = named(name)
    except (models.Missing, ModuleNotFoundError) as absent:
        pytest.skip(str(absent))
    first, last = setting.ends
    form = form_of(trace(SOLVERS["dpmpp_2m"], uniform_lam(setting.schedule, 3, first.t, last.t)))
    x, parts = setting.draw(2, 0), ("weights",)
    v = setting.draw(2, 1) / first.sigma
    expected = difference(setting, form, x, v, parts, 1e-2)
    found = taped(setting, form, x, parts=parts, step=1e-2).back(v, parts)
    np.testing.assert_allclose(found, expected, rtol=0.05, atol=0.05 * float(np.abs(expected).max()))


def begun(model: str, n: int) -> Any:
    setting = named(model)
    first, last = setting.ends
    return trace(SOLVERS["dpmpp_2m"](start="ddim"), uniform_lam(setting.schedule, n, first.t, last.t))


def test_by_gradient_it_is_better_on_states_never_used() -> None:
    plan = tune("product2d", 5, gradient=True, start=begun("product2d", 5), states=160, held_out=60, test=120, iterations=40)
    assert plan.record["gradient"]
    assert plan.record["kept"] == "tuned"
    assert plan.record["ratio interval"][1] < 0.5


def test_along_a_wrong_gradient_nothing_is_gained() -> None:
    """The slope turned round: what was there before the search is what comes back."""
    setting = named("product2d")
    search = Descent(setting, PARTS, states=320, held_out=40, seed=0, say=lambda line: None)
    right, form = search.tell, form_of(begun("product2d", 5))

    def turned(*given: Any) -> Any:
        found = right(*given)
        return found and (found[0], -found[1], found[2])

    search.tell = turned  # type: ignore[method-assign]
    best, history = search.run(form, iterations=15, seconds=1e9, saved=None, keep=lambda made: None)
    assert search.judge(best) == search.judge(form)
    assert history[-1]["held out"] > search.judge(form)
    search.tell = right  # type: ignore[method-assign]
    better, _ = search.run(form, iterations=25, seconds=1e9, saved=None, keep=lambda made: None)
    assert search.judge(better) < search.judge(form) - 0.5


def test_a_search_by_gradient_goes_on_where_it_was(tmp_path: Path) -> None:
    common: dict[str, Any] = {"start": begun("mixture1d", 4), "states": 40, "held_out": 20, "test": 20, "iterations": 30, "gradient": True}
    file, lines = tmp_path / "search.json", list[str]()
    stopped = tune("mixture1d", 4, seconds=0.0, checkpoint=file, **common)
    assert stopped.record["iterations"] == 0

    class Broken(Exception):
        pass

    def report(line: str) -> None:
        lines.append(line)
        if line.startswith("10:"):
            raise Broken

    file.unlink()
    with pytest.raises(Broken):
        tune("mixture1d", 4, checkpoint=file, report=report, **common)
    again = tune("mixture1d", 4, checkpoint=file, report=lines.append, **common)
    assert any("going on after" in line for line in lines)
    assert again.record["iterations"] == 30
    with pytest.raises(ValueError, match="another search"):
        tune("mixture1d", 4, checkpoint=file, **{**common, "gradient": False})


def test_steps_go_on_as_small_as_they_were() -> None:
    search = Descent(named("mixture1d"), PARTS, states=40, held_out=20, seed=0, say=lambda line: None)
    kept: list[dict[str, Any]] = []
    search.run(form_of(begun("mixture1d", 4)), iterations=5, seconds=1e9, saved=None, keep=kept.append)
    _, history = search.run(
        form_of(begun("mixture1d", 4)), iterations=10, seconds=1e9, saved={**kept[-1], "damping": 0.125}, keep=lambda made: None
    )
    assert [one["step"] for one in history] == [5, 10]
    assert history[-1]["damping"] <= 0.125


class _Wall:
    """log |theta − 1|, of which nothing comes back at the steps of ``diverges``."""

    def __init__(self, diverges: tuple[int, ...]) -> None:
        self.diverges, self.told = diverges, dict[int, np.ndarray]()

    def judge(self, theta: np.ndarray) -> float:
        return float(np.log(np.linalg.norm(theta - 1.0)))

    def tell(self, theta: np.ndarray, k: int, vectors: int) -> tuple[float, np.ndarray, np.ndarray] | None:
        gap = theta - 1.0
        if vectors < 2:
            self.told[k] = theta
            if k in self.diverges:
                return None
        size = float(gap @ gap)
        return 0.5 * float(np.log(size)), gap / size, np.eye(len(gap)) / size

    def kept(self, theta: np.ndarray, step: np.ndarray) -> np.ndarray:
        return np.asarray(theta + step)


def test_where_a_run_is_not_finite_the_search_goes_back_to_the_best_with_half_the_steps() -> None:
    wall, looks, start = _Wall((3, 7)), list[Step](), np.array([9.0, -4.0])
    best = descend(wall, start, best=(start, wall.judge(start)), iterations=60, looked=looks.append)
    np.testing.assert_array_equal(wall.told[4], start, err_msg="no look before: the best is the start")
    np.testing.assert_array_equal(wall.told[8], looks[0].best)
    assert [one.cut for one in looks[:2]] == [0.5, 0.25]
    assert wall.judge(best) < wall.judge(start) - 1.0
    with pytest.raises(ValueError, match="the start diverges"):
        descend(_AllWall(()), start, best=(start, 0.0), iterations=3)
    never = _Wall(tuple(range(1000)))
    np.testing.assert_array_equal(descend(never, start, best=(start, 0.0), iterations=1000), start)
    assert len(never.told) == 10, "2^-10 is below the smallest steps"


class _AllWall(_Wall):
    def tell(self, theta: np.ndarray, k: int, vectors: int) -> None:
        return None


def test_steps_on_states_that_stay_the_same_come_after(tmp_path: Path) -> None:
    """They lead further, and go on where they were."""
    common: dict[str, Any] = {"start": begun("product2d", 4), "states": 60, "held_out": 30, "test": 30, "iterations": 20, "gradient": True}
    file, lines = tmp_path / "search.json", list[str]()

    class Broken(Exception):
        pass

    def report(line: str) -> None:
        lines.append(line)
        if line.startswith("3:") and "damping" in line:
            raise Broken

    with pytest.raises(Broken):
        tune("product2d", 4, checkpoint=file, report=report, **common)
    lines.clear()
    record = tune("product2d", 4, checkpoint=file, report=lines.append, **common).record
    assert any(line.startswith("2: held out") for line in lines), "the third was not yet kept"
    assert record["iterations"] == 20
    assert record["iterations after"] > 2
    first, after = record["history"][: -record["iterations after"]], record["history"][-record["iterations after"] :]
    assert min(one["held out"] for one in after) < min(one["held out"] for one in first) - 0.1


def test_where_there_is_no_gradient_it_goes_by_differences() -> None:
    start = begun("mixture1d", 4)
    setting = replace(named("mixture1d"), pull=None)
    few: dict[str, Any] = {"start": start, "states": 20, "held_out": 10, "test": 10, "iterations": 2}
    assert tune(setting, 4, **few).record["gradient"] is False
    assert tune("mixture1d", 4, gradient=False, **few).record["gradient"] is False
    assert tune("mixture1d", 4, **few).record["gradient"] is False, "with few entries differences are cheap"
    with pytest.raises(ValueError, match="has no pull"):
        tune(setting, 4, gradient=True, **few)
    with pytest.raises(ValueError, match="has no pull"):
        Descent(setting, PARTS, states=20, held_out=10, seed=0, say=print).run(
            form_of(start), iterations=2, seconds=1.0, saved=None, keep=lambda made: None
        )


def test_a_start_that_goes_back_and_forth_moves() -> None:
    """Stages of Runge–Kutta methods have levels that are in no order: these may stay so, between the ends."""
    setting = named("product2d")
    first, last = setting.ends
    form = form_of(trace(SOLVERS["heun"], uniform_lam(setting.schedule, 3, first.t, last.t)))
    assert not form.ordered  # two evaluations at one level
    search = Descent(setting, PARTS, states=80, held_out=40, seed=0, say=lambda line: None)
    better, _ = search.run(form, iterations=60, seconds=1e9, saved=None, keep=lambda made: None)
    assert search.judge(better) < search.judge(form) - 0.3
    assert np.all((better.lams >= first.lam) & (better.lams < last.lam))


def test_a_step_has_as_many_states_as_numbers_and_at_most_half() -> None:
    search = Descent(named("mixture1d"), PARTS, states=512, held_out=4, seed=0, say=lambda line: None)
    assert [len(search._rows(1, numbers)) for numbers in (10, 64, 100, 4000)] == [32, 64, 100, 256]


def test_opponents_are_found_on_as_many_states_as_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def asked(*args: Any, states: int, methods: Any, **more: Any) -> Any:
        seen.append(states)
        return advise(*args, states=states, methods=["dpmpp_2m", "heun"] if "universal" not in methods else methods, **more)

    monkeypatch.setattr("scorebed.toy.tuning.starts.advise", asked)
    tune("mixture1d", 4, raced=24, states=20, held_out=8, test=8, iterations=1)
    assert seen == [24, 24]
    with pytest.raises(ValueError, match="raced = 3: give at least 4"):
        tune("mixture1d", 4, raced=3)


def test_it_also_begins_from_those_with_one_evaluation_a_step_and_from_the_universal_method(monkeypatch: pytest.MonkeyPatch) -> None:
    """The best of each order, where the two best have stages; by differences the plain one alone stands beside the best."""
    _few(monkeypatch)
    begun_from = {
        g: list(starts(named("product2d"), 6, None, gradient=g, raced=16, seed=0, say=lambda line: None).forms) for g in (True, False)
    }
    assert all(names[0].startswith("universal on levels for scale ") for names in begun_from.values())
    assert begun_from[True][1:] == ["ab2 on quadratic", "rf_solver_2 on quadratic", "dpmpp_3m, start ddim on uniform_lam"]
    assert begun_from[False][1:] == ["ab2 on quadratic", "dpmpp_2m, start ddim on uniform_lam"]


def test_the_universal_method_is_no_opponent_but_never_beaten_by_what_comes_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where the search leads nowhere the universal Plan itself comes back, and the opponent is a registered one."""
    _few(monkeypatch)
    first, last = named("product2d").ends
    poor = form_of(trace(SOLVERS["ddim"], uniform_lam(first.process, 6, first.t, last.t)))
    monkeypatch.setattr("scorebed.toy.tuning.tune.most_promising", lambda *given, **more: (poor, "ddim"))
    asked: dict[str, Any] = {
        "states": 2,
        "held_out": 2,
        "test": 80,
        "iterations": 1,
        "gradient": True,
        "checkpoint": tmp_path / "kept.json",
    }
    plan = tune("product2d", 6, **asked)
    record = plan.record
    assert tune("product2d", 6, **asked).record == record, "from the file, which knows them all"
    assert plan.solver.startswith("universal on levels for scale")
    old = {k: v for k, v in json.loads(asked["checkpoint"].read_text(encoding="utf-8")).items() if k != "universal"}
    asked["checkpoint"].write_text(json.dumps(old), encoding="utf-8")
    with pytest.raises(ValueError, match="is of an earlier version"):
        tune("product2d", 6, **asked)
    assert record["kept"].startswith("universal on levels for scale")
    assert not record["start"].startswith("universal")
    assert record["universal ratio"] == 1.0
    assert record["ratio"] < 0.5
    setting = named("product2d")
    x = setting.draw(80, 2)
    assert np.median(measured(setting, plan, x, setting.answer(x))) == pytest.approx(record["median error"], rel=1e-6)


def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Registered methods and grids are few: a race of all takes long."""
    few: dict[str, Any] = {"methods": ["heun", "rf_solver_2", "ab2", "dpmpp_3m", "ddim"], "grids": ["quadratic", "karras", "uniform_lam"]}

    def raced(model: Any, nfe: int, **given: Any) -> Any:
        return advise(model, nfe, **(given if given["methods"] == ["universal"] else {**given, **few}))

    monkeypatch.setattr("scorebed.toy.tuning.starts.advise", raced)
