"""Plans as plain JSON: every registered linear method comes back to the bit, and damaged files are refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scorebed import EDM, VP, GaussianMixture, Plan, RectifiedFlow, trace
from scorebed.solvers import methods_on
from scorebed.solvers.grid import karras, uniform, uniform_lam
from scorebed.solvers.methods.centred import MeanReverting
from scorebed.solvers.plan.file import to_dict

LAW = GaussianMixture([0.4, 0.6], [[-1.0, 0.2], [0.8, -0.3]], [0.1, 0.2])
LINEAR = [s for s in methods_on().values() if s.nonlinear is None and not s.spaces]


@pytest.mark.parametrize("method", LINEAR, ids=lambda s: s.name)
def test_a_plan_comes_back_to_the_bit(method: Any, tmp_path: Path) -> None:
    plan = trace(method, uniform_lam(VP(), 6))
    back = Plan.load(plan.save(tmp_path / "plan.json"))
    assert back == plan
    x = np.random.default_rng(0).standard_normal((3, 2))
    np.testing.assert_array_equal(back.run(LAW.denoised, x, noise=5), plan.run(LAW.denoised, x, noise=5))


@pytest.mark.parametrize("grid", [karras(EDM(), 4), uniform(RectifiedFlow(), 4), uniform(VP(beta_max=12.0), 4)], ids=["edm", "flow", "vp"])
def test_every_process_of_the_table(grid: Any, tmp_path: Path) -> None:
    plan = trace(methods_on()["dpmpp_2m"], grid)
    assert Plan.load(plan.save(tmp_path / "p.json")).grid[0].process == grid[0].process


def test_what_cannot_be_saved_is_said(tmp_path: Path) -> None:
    plan = trace(methods_on()["ddim"], uniform(MeanReverting(), 3))
    with pytest.raises(TypeError, match="cannot be saved"):
        plan.save(tmp_path / "p.json")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.update(format="something"), "no Plan of version"),
        (lambda d: d.update(version=2), "no Plan of version"),
        (lambda d: d.pop("ops"), "damaged"),
        (lambda d: d["ops"].insert(0, ["combine", [[99, 1.0]]]), "made later"),
        (lambda d: d["ops"].append(["exec", "import os"]), "operation 'exec'"),
        (lambda d: d["schedule"].update(name="Own"), "damaged"),
        (lambda d: d["schedule"].update(beta_max=-1.0), "beta_max"),
        (lambda d: d.update(result=500), "never made"),
    ],
)
def test_damaged_files_are_refused(change: Any, words: str, tmp_path: Path) -> None:
    made = to_dict(trace(methods_on()["heun"], uniform_lam(VP(), 3)))
    change(made)
    (tmp_path / "p.json").write_text(json.dumps(made), encoding="utf-8")
    with pytest.raises(ValueError, match=words):
        Plan.load(tmp_path / "p.json")


def test_no_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match="no JSON"):
        Plan.load(tmp_path / "p.json")
    (tmp_path / "p.json").write_text("[1]", encoding="utf-8")
    with pytest.raises(ValueError, match="not a Plan"):
        Plan.load(tmp_path / "p.json")
    with pytest.raises(OSError, match="absent"):
        Plan.load(tmp_path / "absent.json")
