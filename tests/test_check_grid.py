"""``check_grid``: right grids of every convention pass, each planted fault is found and named, and nothing else is."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from scorebed import check_grid
from scorebed.solvers import EDM
from scorebed.solvers.grid import karras
from scorebed.toy.cli import main
from scorebed.toy.conform.conventions import CONVENTIONS, LIBRARIES, shifted, translate

N, SHIFT = 50, 3.0


def flow(n: int, shift: float) -> list[float]:
    """The levels that diffusers' pipelines of flows hand over: 1 to 1/n, shifted, and 0."""
    return [*(shifted(float(t), shift) for t in np.linspace(1.0, 1.0 / n, n)), 0.0]


def rounded(values: list[float], dtype: torch.dtype) -> list[float]:
    return [float(v) for v in torch.tensor(values, dtype=torch.float64).to(dtype).double()]


FAULTS: dict[str, list[float]] = {
    "shifted twice": flow(N, SHIFT**2),
    "shift not applied": flow(N, 1.0),
    "shift inverted": flow(N, 1.0 / SHIFT),
    "mu taken for the shift": flow(N, math.exp(SHIFT)),
    "shift taken for mu": flow(N, math.log(SHIFT)),
    "wrong shift": flow(N, 2.05),
    "one step missing": flow(N - 1, SHIFT),
    "one step too many": flow(N + 1, SHIFT),
    "wrong number of steps": flow(25, SHIFT),
    "rounded to bfloat16": rounded(flow(N, SHIFT), torch.bfloat16),
    "rounded to float16": rounded(flow(N, SHIFT), torch.float16),
    "clean end missing": flow(N, SHIFT)[:-1],
    "reversed": flow(N, SHIFT)[::-1],
    "repeated level": sorted([*flow(N, SHIFT)[1:], flow(N, SHIFT)[7]], reverse=True),
    "not monotone": [*flow(N, SHIFT)[:5], flow(N, SHIFT)[6], flow(N, SHIFT)[5], *flow(N, SHIFT)[7:]],
    "not finite": [*flow(N, SHIFT)[:-1], math.nan],
    "first level short of noise": [0.9 * v for v in flow(N, SHIFT)],
}


@pytest.mark.parametrize("cause", FAULTS)
def test_a_planted_fault_is_named(cause: str) -> None:
    result = check_grid(FAULTS[cause], convention="flow", shift=SHIFT, steps=N)
    assert not result.passed
    assert cause in result.causes


@given(st.integers(4, 120), st.floats(0.4, 12.0))
def test_a_right_grid_passes(n: int, shift: float) -> None:
    result = check_grid(flow(n, shift), [1000.0 * v for v in flow(n, shift)[:-1]], shift=shift, steps=n)
    assert result.passed, result


TOLD: dict[str, Callable[[list[float]], list[float]]] = {
    "network told the level in [0, 1]": lambda t: [v / 1000.0 for v in t],
    "timesteps are of the next level": lambda t: [*t[1:], 0.0],
    "timesteps are of the level before": lambda t: [1000.0, *t[:-1]],
    "timesteps reversed": lambda t: [1000.0 - v for v in t],
    "timesteps of other levels": lambda t: [1000.0 * shifted(v / 1000.0, 2.0) for v in t],
    "timesteps and levels differ in number": lambda t: t[:-1],
}


@pytest.mark.parametrize("cause", TOLD)
def test_what_the_network_is_told(cause: str) -> None:
    levels = flow(N, SHIFT)
    assert check_grid(levels, TOLD[cause]([1000.0 * v for v in levels[:-1]]), shift=SHIFT, steps=N).causes == [cause]


def test_whole_timesteps_are_a_note() -> None:
    levels = flow(N, SHIFT)
    result = check_grid(levels, [float(round(1000.0 * v)) for v in levels[:-1]], shift=SHIFT)
    assert result.passed
    assert result["timesteps"].status == "note"


def test_two_clocks() -> None:
    """Audio that runs on the clock of the picture advances too far."""
    right = {"video": flow(4, 9.0), "audio": flow(4, 1.0)}
    claim = {"video": 9.0, "audio": 1.0}
    assert check_grid(right, shift=claim, steps=4).passed
    assert check_grid({**right, "audio": right["video"]}, shift=claim, steps=4).causes == ["audio runs on the clock of video"]
    assert "clocks of different length" in check_grid({**right, "audio": flow(5, 1.0)}, shift=claim).causes


def test_levels_of_karras() -> None:
    levels = [node.rho for node in karras(EDM(), 17)] + [0.0]
    result = check_grid(levels, steps=18, last=0.002)
    assert result.passed, result
    assert check_grid(levels, steps=18, last=0.0292).causes == ["last level wrong"]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("FlowMatchEulerDiscreteScheduler", {"shift": 3.0}),
        ("FlowMatchHeunDiscreteScheduler", {"shift": 3.0}),
        ("EulerDiscreteScheduler", {}),
        ("DPMSolverMultistepScheduler", {}),
        ("DDIMScheduler", {}),
        ("UniPCMultistepScheduler", {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "flow_shift": 5.0}),
    ],
)
def test_schedulers_of_diffusers(name: str, options: dict[str, Any]) -> None:
    scheduler = getattr(pytest.importorskip("diffusers"), name)(**options)
    with pytest.raises(ValueError, match="set_timesteps"):
        check_grid(scheduler)
    scheduler.set_timesteps(20)
    if name == "FlowMatchHeunDiscreteScheduler":  # each inner level stands twice: two evaluations in a step
        assert "repeated level" in check_grid(scheduler).causes
    else:
        assert check_grid(scheduler).passed, check_grid(scheduler)


@pytest.mark.parametrize("name", CONVENTIONS)
def test_conversions_are_exact(name: str) -> None:
    rule = CONVENTIONS[name]
    for rho in (0.05, 0.3, 1.0, 4.0, 11.0):
        assert rule.to_rho(rule.from_rho(rho)) == pytest.approx(rho, rel=1e-12)
    levels = [11.0, 3.0, 0.4, 0.0]
    there = translate(levels, "sigma", name)
    assert translate(there, name, "sigma") == pytest.approx(levels, rel=1e-12)
    assert (there[0] > there[1]) == rule.falls


def test_the_table_of_libraries_names_conventions() -> None:
    """Every library's levels are a convention that the checker knows, and every convention is somebody's."""
    assert {levels for levels, *_ in LIBRARIES.values()} <= set(CONVENTIONS)
    for name in ("diffusers", "k-diffusion", "ComfyUI", "EDM", "physicsnemo", "sbi", "lerobot", "skrample", "deepinv", "torchcfm"):
        assert any(name in key for key in LIBRARIES), name
    assert all(rule.users for rule in CONVENTIONS.values())


def test_networks_of_edm_and_angles() -> None:
    """c_noise = ln(sigma)/4 of Karras levels, and TrigFlow's angles, are held to their own rules."""
    levels = [node.rho for node in karras(EDM(), 17)]
    assert check_grid(translate(levels, "sigma", "edm-told"), convention="edm-told", steps=18).passed
    assert "wrong number of steps" in check_grid(translate(levels, "sigma", "edm-told"), convention="edm-told", steps=40).causes
    angles = [*(math.atan(4.0**k) for k in (4, 2, 1, 0, -1)), 0.0]
    assert check_grid(angles, convention="trig", steps=5).passed
    assert "clean end missing" in check_grid(angles[:-1], convention="trig", steps=5).causes


def test_two_clocks_by_the_command(tmp_path: Path) -> None:
    """A dump of two clocks of which one runs on the other's."""
    dump = {"sigmas": {"video": flow(4, 9.0), "audio": flow(4, 9.0)}, "shift": {"video": 9.0, "audio": 1.0}, "steps": 4}
    (tmp_path / "clocks.json").write_text(json.dumps(dump), encoding="utf-8")
    done = CliRunner().invoke(main, ["check-grid", str(tmp_path / "clocks.json")])
    assert done.exit_code == 1
    assert "audio runs on the clock of video" in done.output


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({}, TypeError, "give sigmas, timesteps, or both"),
        ({"sigmas": [1.0]}, TypeError, "at least 2"),
        ({"sigmas": ["a", "b"]}, TypeError, "no list of numbers"),
        ({"sigmas": [1.0, 0.0], "convention": "comfy"}, ValueError, "'comfy' is not known"),
        ({"sigmas": [1.0, 0.0], "shift": -1.0}, ValueError, "shift = -1.0"),
        ({"sigmas": [1.0, 0.0], "shift": {"a": 1.0}}, ValueError, "one for each clock"),
        ({"sigmas": [1.0, 0.0], "steps": 0}, ValueError, "steps = 0"),
    ],
)
def test_wrong_use_is_told(options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        check_grid(**options)


def test_the_command(tmp_path: Path) -> None:
    run = CliRunner()
    (tmp_path / "levels.txt").write_text("\n".join(map(repr, flow(N, 9.0))), encoding="utf-8")
    done = run.invoke(main, ["check-grid", str(tmp_path / "levels.txt"), "--convention", "flow", "--shift", "3", "--steps", "50"])
    assert done.exit_code == 1
    assert "shifted twice" in done.output
    dump = {"sigmas": flow(N, SHIFT), "timesteps": [1000.0 * v for v in flow(N, SHIFT)[:-1]], "shift": SHIFT, "steps": N}
    (tmp_path / "dump.json").write_text(json.dumps(dump), encoding="utf-8")
    done = run.invoke(main, ["check-grid", str(tmp_path / "dump.json"), "--json"])
    assert done.exit_code == 0
    assert json.loads(done.output)["passed"]
    (tmp_path / "bad.txt").write_text("one two", encoding="utf-8")
    assert run.invoke(main, ["check-grid", str(tmp_path / "bad.txt")]).exit_code == 2
    assert run.invoke(main, ["check-grid", str(tmp_path / "absent.txt")]).exit_code == 2
