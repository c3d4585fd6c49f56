"""Every coefficient of the study's ten solvers, off by 1 %, breaks a property. ``make mutants`` does the same to the whole catalogue."""

from pathlib import Path
from typing import Any

import pytest

from scorebed.solvers import SOLVERS, VP, ddim, grid, methods_on, trace
from scorebed.toy.properties.cases import cases
from scorebed.toy.properties.local import moves_a_step
from scorebed.toy.properties.mutants import judge, same_plans, tampered
from scorebed.toy.properties.survivors import EXPLAINED, main
from scorebed.toy.studies.study import DEFAULT


@pytest.mark.parametrize("name", DEFAULT)
def test_no_mutant_survives(name: str) -> None:
    found = judge(SOLVERS[name])
    assert [row["what"] for row in found if row["by"] is None] == []
    assert len(found) >= 4


def test_explanations_name_solvers() -> None:
    """Those of the study's methods have none on schedules; on another kind of process the name says which."""
    assert {name for name in EXPLAINED if " on " not in name} <= set(SOLVERS) - set(DEFAULT)
    for name, _, kind in (name.partition(" on ") for name in EXPLAINED if " on " in name):
        assert name in methods_on(kind)


@pytest.mark.parametrize("name", [name for name, solver in methods_on().items() if solver.nonlinear is None])
def test_tampering_with_nothing_changes_nothing(name: str) -> None:
    assert same_plans(tampered(SOLVERS[name], -1), SOLVERS[name])


def test_one_operation_is_off_by_one_percent() -> None:
    nodes = grid.uniform(VP(), 1, 0.9, 0.5)
    right, wrong = trace(ddim, nodes).output, trace(tampered(ddim, 0), nodes).output
    assert abs(wrong[0] / right[0] - 1.01) < 1e-12
    assert wrong[1] == right[1]


@pytest.mark.parametrize(
    ("name", "operation", "lives"), [("bdia", 9, True), ("hb_dpmpp_2m", 1, True), ("dpmpp_3m_sde", 9, True), ("heun", 3, False)]
)
def test_a_survivor_moves_a_step_by_no_more_than_its_order_allows(name: str, operation: int, lives: bool) -> None:
    original = SOLVERS[name]
    claim = original.order if original.weak is None else original.weak
    (moved,) = moves_a_step(tampered(original, operation), original, cases()[:2])
    assert not moved.exact
    assert moved.reaches(claim + 1.0) == lives, moved


def test_a_table_goes_on_from_what_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shown the same, without a mutant being judged again; a survivor that nothing explains is a failure."""
    first, again = list[Any](), list[Any]()
    assert main(["hb_dpmpp_2m"], first.append, where=tmp_path / "kept.sqlite", jobs=1) == 0
    monkeypatch.setattr("scorebed.toy.properties.mutants.killer", None)
    monkeypatch.delitem(EXPLAINED, "hb_dpmpp_2m")
    assert main(["hb_dpmpp_2m"], again.append, where=tmp_path / "kept.sqlite", jobs=1) == 1
    assert first[-1] == again[-1]
    assert "hb_dpmpp_2m: 4 survivors, 0 explained" in again
