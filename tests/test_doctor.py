"""The table of bad input: a sample of it, what it would say of a fault, and the command."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from scorebed.solvers import SOLVERS, Solver, distinct
from scorebed.toy.cli import main
from scorebed.toy.properties.faces import FACES, by_sample
from scorebed.toy.properties.hostile import kinds
from scorebed.toy.studies.doctor import BAD, examined, judge

EVERY = list(distinct().values())


@pytest.mark.parametrize("face", FACES)
def test_nothing_is_silently_wrong(face: str) -> None:
    """Every eighth method by each face, others by each; `scorebed doctor` has them all."""
    chosen = EVERY[list(FACES).index(face) * 2 :: 8]
    rows = [row for solver in chosen for row in examined(solver, (face,))]
    assert [row for row in rows if row["verdict"] in BAD] == []
    assert {row["verdict"] for row in rows} == {"refused", "right", "hole"}
    assert all(row["said"] for row in rows if row["verdict"] == "hole")


def test_the_table_sees_what_is_silent_and_what_is_unclear() -> None:
    def broken(call: Any) -> Any:
        return by_sample(replace(call, x=np.nan_to_num(call.x), noise=abs(int(call.noise)) if call.noise else 7))

    found = {row["kind"]: row["verdict"] for row in _by(broken, SOLVERS["ddpm"])}
    assert found["state nan"] == found["seed bool"] == found["seed negative"] == "silent"
    assert found["model nan"] == "refused"

    def keeps(call: Any) -> Any:
        seen: list[Any] = []

        def model(x: Any, node: Any) -> Any:
            seen.append(call.denoise(x, node))
            return seen[0].copy()

        return by_sample(replace(call, denoise=model))

    assert {row["verdict"] for row in _by(keeps, SOLVERS["ddpm"])} >= {"silent", "refused"}
    assert judge(lambda: {}["x"], 0.0, ()) == ("unclear", "KeyError: 'x'")
    assert judge(lambda: 1.0, 2.0, ())[0] == "silent"
    assert judge(lambda: int("x"), 0.0, ("grid",))[0] == "unclear"


def _by(face: Any, solver: Solver) -> list[dict[str, Any]]:
    good = dict(FACES)
    try:
        FACES["sample"] = face
        return examined(solver, ("sample",))
    finally:
        FACES.update(good)


def test_the_command_keeps_the_table(tmp_path: Path) -> None:
    words = ["doctor", "--solvers", "heun", "ddpm", "--faces", "sample", "--jobs", "1", "--out", str(tmp_path)]
    first = CliRunner().invoke(main, words)
    assert first.exit_code == 0, first.output
    assert "0 parts kept, 2 examined" in first.stdout
    assert "2 parts kept, 0 examined" in CliRunner().invoke(main, words).stdout
    assert (tmp_path / "doctor.csv").read_text().count("\n") == 1 + 2 * len(kinds())
