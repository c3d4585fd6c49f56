"""What drawing tokens at once costs, the table of methods on tokens, and ``scorebed discrete``."""

from __future__ import annotations

from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from scorebed.analytic.finite import TableLaw, kl, total_correlation
from scorebed.analytic.finite.parallel import best_partition, revealing_cost, reverse_joint, step_correlation
from scorebed.solvers import SOLVERS
from scorebed.solvers.process.jump import JumpProcess
from scorebed.toy.cli import main
from scorebed.toy.problems.jump import JumpProblem, masked, random_table
from scorebed.toy.studies.discrete import TABLES, USUAL, known, profile, table

LAW = masked()


def whole(law: TableLaw) -> JumpProblem:
    return JumpProblem(name="whole", make=lambda: law, process=law.process)


@pytest.mark.parametrize("process", [JumpProcess(2), JumpProcess(2, "uniform")], ids=lambda p: p.kernel)
def test_the_reverse_step_carries_marginals(process: JumpProcess) -> None:
    law = TableLaw(random_table(2, 3, 4), process)
    s, t = process.node(0.8), process.node(0.3)
    weight, states, tables = reverse_joint(law, s, t)
    np.testing.assert_allclose(np.tensordot(weight, tables, 1), law.marginal(t), atol=1e-14)
    p = law.probabilities(states, s)
    for i in range(3):
        axes = tuple(1 + j for j in range(3) if j != i)
        np.testing.assert_allclose(tables.sum(axes), process.posterior(p, states, s, t)[:, i], atol=1e-13)


def test_one_step_from_masks_loses_exactly_the_total_correlation() -> None:
    s, t = LAW.process.node(1.0), LAW.process.node(0.0)
    expected = total_correlation(LAW.table)
    assert step_correlation(LAW, s, t) == pytest.approx(expected, rel=1e-12)
    out = whole(LAW).law(SOLVERS["jump_ancestral"], [s, t])[:2, :2, :2]
    assert kl(LAW.table, out) == pytest.approx(expected, rel=1e-12)
    independent = TableLaw(np.full((2, 2, 2), 0.125), LAW.process)
    assert step_correlation(independent, s, t) == pytest.approx(0.0, abs=1e-14)


def test_what_steps_lose_falls_with_their_square_and_bounds_the_error() -> None:
    nodes = whole(LAW).nodes
    lost = {n: sum(step_correlation(LAW, s, t) for s, t in pairwise(nodes(n))) for n in (8, 16)}
    assert lost[8] / lost[16] == pytest.approx(2.0, rel=0.1)
    for n in (8, 16):
        error = whole(LAW).law_error(SOLVERS["jump_ancestral"], nodes(n)).error
        assert error < np.sqrt(0.5 * lost[n])  # Pinsker, for the law of the path


def test_partitions_are_the_best_there_are() -> None:
    law = TableLaw(random_table(2, 5, 3), JumpProcess(2))
    h = revealing_cost(law)
    assert h.sum() == pytest.approx(law.entropy())
    assert (np.diff(h) <= 1e-12).all()  # knowing more never raises the mean entropy of one more
    for steps in range(1, 6):
        brute = []
        for cuts in combinations(range(1, 5), steps - 1):
            edges = (0, *cuts, 5)
            brute.append(sum(h[a] - h[j] for a, b in pairwise(edges) for j in range(a, b)))
        sizes, cost = best_partition(h, steps)
        assert cost == pytest.approx(min(brute), abs=1e-14)
        assert sum(sizes) == 5
    assert best_partition(h, 5) == ([1] * 5, 0.0)
    with pytest.raises(ValueError, match="give 1 to 5"):
        best_partition(h, 6)


def test_the_table_has_the_orders() -> None:
    rows = table([SOLVERS["jump_euler"], SOLVERS["remdm"]], [TABLES[name] for name in USUAL[:3]], (8, 16, 32))
    assert set(rows["method"]) == {"jump_euler", "remdm"}
    assert len(rows) == 12  # remdm is for masks alone
    last = rows[rows["steps"] == 32]
    assert last["order"].between(0.85, 1.35).all()
    assert (rows["kl"] > 0).all()
    assert (rows["nfe"] == rows["steps"]).all()
    assert "uniformisation" not in known()


def test_paths_and_steps_have_orders_too() -> None:
    """Methods of rates where there are rates, of posteriors where there are steps; none says more than it claims."""
    rows = table([SOLVERS["flow_leaping"], SOLVERS["jump_ancestral"]], [TABLES[n] for n in TABLES if n not in USUAL], (8, 16, 32))
    on = {name: set(part["problem"]) for name, part in rows.groupby("method")}
    assert on == {"flow_leaping": {"hybrid_tokens", "metric_levels"}, "jump_ancestral": {"hybrid_tokens", "d3pm_levels"}}
    assert rows[rows["steps"] == 32]["order"].between(0.85, 1.35).all()


def test_the_profile_says_where() -> None:
    rows = profile(SOLVERS["jump_ancestral"], TABLES["masked_bits"], 6)
    assert len(rows) == 6
    assert rows["tv"].iloc[0] < rows["tv"].iloc[-1]  # the last steps, near the data, cost most
    assert (rows["correlation"] > 0).all()


def test_the_command_prints_saves_and_draws(tmp_path: Path) -> None:
    arguments = ["--methods", "jump_euler", "first_hitting", "--problems", "masked_bits", "--steps", "4", "8", "--out", str(tmp_path)]
    done = CliRunner().invoke(main, ["discrete", *arguments])
    assert done.exit_code == 0, done.output
    for text in ("jump_euler", "first_hitting", "exact", "KL", "4 steps"):
        assert text in done.output
    assert len(pd.read_csv(tmp_path / "discrete.csv")) == 4
    assert {"convergence.png", "convergence.svg", "where_masked_bits.png"} <= {p.name for p in tmp_path.iterdir()}
    for wrong in (["--methods", "nothing"], ["--problems", "nothing"]):
        done = CliRunner().invoke(main, ["discrete", *wrong])
        assert done.exit_code == 2
        assert "nothing" in done.output
