"""The study of guidance and its command: bias and discretisation apart, and one picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from scorebed.toy.cli import main
from scorebed.toy.figures.guided import bias_and_steps, laws
from scorebed.toy.problems.guided import GUIDED, LineLaw, scales
from scorebed.toy.studies.guided import table


def test_the_parts_behave() -> None:
    """Bias grows with the scale and knows no steps; discretisation halves as steps double; the triangle inequality holds."""
    rows = table("gaussian", solvers=("ddim",), scale=(1.0, 2.0, 4.0), steps=(20, 40))
    by_scale = rows[rows.steps == 20].sort_values("scale").bias.to_numpy()
    assert by_scale[0] < 0.01 < by_scale[1] < by_scale[2]
    for _, part in rows.groupby("scale"):
        assert part.bias.nunique() == 1
        assert part.discretisation.iloc[0] / part.discretisation.iloc[1] == pytest.approx(2.0, abs=0.25)
        assert (part.total <= part.bias + part.discretisation + 1e-9).all()
    assert len(bias_and_steps(rows).axes) == 1
    assert len(laws(GUIDED["gaussian"], ("ddim",), (1.0, 2.0), 5).axes) == 2


def test_what_was_meant_is_the_power_of_the_densities() -> None:
    place = GUIDED["gaussian"]
    law = place.meant(3.0)
    assert isinstance(law, LineLaw)
    precision = 3.0 / 0.25 - 2.0
    assert law.expect(lambda x: x) == pytest.approx(6.0 / precision, abs=1e-6)
    assert float(law.cdf(np.array([6.0 / precision]))[0]) == pytest.approx(0.5, abs=1e-6)
    with pytest.raises(ValueError, match="no finite mass"):
        place.meant(-2.0)
    with pytest.raises(ValueError, match="finite"):
        scales([float("nan")])
    with pytest.raises(ValueError, match="rules"):
        table("gaussian", rules=("apg",))


def test_the_command_writes_table_and_pictures(tmp_path: Path) -> None:
    run = ["guided", "--problem", "gaussian", "--solvers", "ddim", "--scales", "1", "3", "--steps", "5", "10", "--out", str(tmp_path / "g")]
    result = CliRunner().invoke(main, run)
    assert result.exit_code == 0, result.output
    assert {p.name for p in (tmp_path / "g").iterdir()} == {"guided.csv", "guided.png", "guided.svg", "laws.png", "laws.svg"}
    assert len((tmp_path / "g" / "guided.csv").read_text().splitlines()) == 5
    bad = CliRunner().invoke(main, ["guided", "--rules", "apg", "--out", str(tmp_path / "h")])
    assert bad.exit_code == 2
    assert not (tmp_path / "h").exists()
