"""A tuned Plan runs wherever a method does: alone, in ``sample``, on the fused passes, as a function, exported, in a pipeline's loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scorebed import EDM, SOLVERS, VP, Plan, RectifiedFlow, sample, trace
from scorebed.solvers import methods_on
from scorebed.solvers.grid import uniform_lam
from scorebed.solvers.onto import onto
from scorebed.toy.tuning.form import PARTS, form_of

torch = pytest.importorskip("torch")


def tuned() -> Plan:
    """A Plan as ``tune`` makes them: levels, told levels and weights off those of any method."""
    form = form_of(trace(SOLVERS["unipc_2"], uniform_lam(VP(), 6)))
    theta = form.free(PARTS)
    theta = theta + 0.03 * np.random.default_rng(3).standard_normal(len(theta))
    theta[form.m - 1] = 0.0  # the first evaluation is told its own level
    return form.moved(PARTS, theta).plan("tuned")


def by_lam(x: Any, node: Any) -> Any:
    """A model of x/alpha and lam, so that it is the same on every schedule."""
    z = x / node.alpha
    return (z + 0.3 * (z * (1.0 / (1.0 + node.rho))) ** 2 / (1.0 + z * z)) / (1.0 + node.rho**2)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tuned().save(tmp_path_factory.mktemp("plans") / "plan.json")


def test_wherever_it_runs_it_ends_alike(file: Path) -> None:
    from scorebed import gpu

    plan, x = Plan.load(file), torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    end = plan.run(by_lam, x)
    assert torch.equal(sample(plan, by_lam, x), end)
    near = {"rtol": 1e-9, "atol": 1e-9}
    torch.testing.assert_close(gpu.run(plan, by_lam, x), end, **near)
    torch.testing.assert_close(gpu.function(plan, by_lam)(x), end, **near)
    torch.testing.assert_close(gpu.export(plan, by_lam, x).module()(x), end, **near)
    np.testing.assert_allclose(plan.run(by_lam, x.numpy()), end.numpy(), rtol=1e-12, atol=1e-12)
    with pytest.raises(ValueError, match="its own grid"):
        sample(plan, by_lam, x, uniform_lam(VP(), 3))  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="not a list of nodes"):
        sample(SOLVERS["ddim"], by_lam, x)  # type: ignore[call-overload]


@pytest.mark.parametrize("schedule", [EDM(), RectifiedFlow()], ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("name", ["heun", "dpmpp_2m", "unipc_3", "sde_dpmpp_1", "rk4"])
def test_on_another_schedule_it_is_the_same(name: str, schedule: Any) -> None:
    for plan in (tuned(), trace(methods_on()[name], uniform_lam(VP(), 4), "denoise"), trace(methods_on()[name], uniform_lam(VP(), 4))):
        moved, x = onto(plan, schedule), np.random.default_rng(0).standard_normal((4, 2))
        ends = "denoise" if plan.result in plan.calls else "none"
        z = {k: np.random.default_rng(k).standard_normal(x.shape) for k in range(len(plan.noises))}
        there = moved.run(by_lam, x * (moved.grid[0].alpha / plan.grid[0].alpha), noise=_draws(moved, z))
        scale = 1.0 if ends == "denoise" else moved.grid[-1].alpha / plan.grid[-1].alpha
        np.testing.assert_allclose(there, scale * plan.run(by_lam, x, noise=_draws(plan, z)), rtol=1e-8, atol=1e-10)
    with pytest.raises(ValueError, match="does not reach lam"):
        onto(trace(SOLVERS["ddim"], uniform_lam(EDM(), 3)), VP(1.0, 1.0, t_max=2.0))


def _draws(plan: Plan, z: dict[int, np.ndarray]) -> Any:
    known = {pair: z[k] for k, pair in enumerate(plan.noises)}
    return lambda s, t: known[s, t]


def test_it_runs_in_a_pipelines_loop(file: Path, tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    from scorebed.gpu import ScorebedScheduler

    scheduler, plan = ScorebedScheduler(plan=str(file)), Plan.load(file)
    scheduler.save_config(tmp_path)
    for made in (scheduler, ScorebedScheduler.from_pretrained(tmp_path)):
        made.set_timesteps(plan.nfe)
        table = onto(plan, made.schedule)
        x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
        y = x
        for node, t in zip(table.nodes, made.timesteps, strict=True):
            assert float(t) == pytest.approx(made.levels.told(node), abs=1e-3)
            a, b = made.levels.linear(node)
            y = made.step((by_lam(y, node) - a * y) / b, t, y).prev_sample
        torch.testing.assert_close(y, table.run(by_lam, x), rtol=1e-4, atol=1e-4)
        with pytest.raises(ValueError, match="has 7 evaluations"):
            made.set_timesteps(20)
        with pytest.raises(ValueError, match="timesteps given with a plan"):
            made.set_timesteps(timesteps=[900, 500])
    made.set_timesteps(plan.nfe)
    made.set_begin_index(2)  # an image-to-image pipeline begins in the middle
    y = made.step(0.1 * x, made.timesteps[2], x).prev_sample
    assert y.isfinite().all()


def test_a_scheduler_refuses_what_it_cannot_run(file: Path, tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    from scorebed.gpu import ScorebedScheduler

    with pytest.raises(ValueError, match=r"a scheduler has none in reach: .*--out plan.json"):
        ScorebedScheduler(solver="auto")
    with pytest.raises(ValueError, match="without inverse"):
        ScorebedScheduler(plan=str(file), inverse=True)
    short = trace(SOLVERS["ddim"], uniform_lam(VP(), 4, 0.3)).save(tmp_path / "short.json")
    with pytest.raises(ValueError, match="made on its noise levels"):
        ScorebedScheduler(plan=str(short))
    with pytest.raises(FileNotFoundError):
        ScorebedScheduler(plan=str(tmp_path / "absent.json"))


@pytest.mark.parametrize("name", ["tuned", "relatives"])
def test_the_page_shows_what_is_kept(name: str) -> None:
    """The tables of the page are those that ``--show`` prints of the figures that are kept."""
    import json
    import runpy

    root = Path(__file__).resolve().parent.parent
    made = runpy.run_path(str(root / "benchmarks" / f"{name}.py"))
    rows = json.loads((root / "benchmarks" / f"{name}.json").read_text(encoding="utf-8"))
    assert rows
    assert made["table"](rows) in (root / "docs" / "tuned.md").read_text(encoding="utf-8")
    assert all(row["ratio interval"][0] <= row["ratio"] <= row["ratio interval"][1] for row in rows)
