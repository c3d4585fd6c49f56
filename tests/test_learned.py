"""Trained networks beside the exact score of their data: the parts of the error add up to what is measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from scorebed.toy.cli import main
from scorebed.toy.studies.learned import PARTS, apart, budget, domains, network, split_error


@pytest.mark.parametrize("name", ["digits", "torsions", "wine"])
def test_the_budget_of_a_learned_network_adds_up(name: str) -> None:
    domain = domains()[name]
    net = network(domain, None, steps=250, width=32)
    table, levels = budget(domain, net.numpy, steps=8, paths=200, draws=120, size=4)
    rows = table.set_index("part")
    assert list(rows.index) == [*PARTS, "sum", "total"]
    assert apart(table) < 4.0, table
    assert rows.nats[PARTS[2]] > 0.0
    assert rows.nats[PARTS[3]] > 0.0
    # the negative control: with the score error left out, or counted twice, it does not add up
    errors = rows.nats[PARTS[2]] + rows.nats[PARTS[3]]
    assert errors > 4.0 * np.hypot(rows.error["sum"], rows.error["total"])
    assert levels[["gradient", "solenoidal"]].sum().sum() == pytest.approx(errors)


def test_a_gradient_and_a_turning_error_are_told_apart() -> None:
    """s + 0.1 s is a gradient; J s with J antisymmetric is divergence-free against p."""
    domain, rng = domains()["torsions"], np.random.default_rng(0)
    turn = np.array([[0.0, -1.0], [1.0, 0.0]])
    moved = split_error(domain, lambda x, s: 1.1 * domain.score(x, s), 0.5, 4, rng, 10)
    turned = split_error(domain, lambda x, s: domain.score(x, s) + 0.1 * domain.score(x, s) @ turn, 0.5, 4, rng, 10)
    assert moved[1].mean() < 1e-3 * moved[0].mean()
    assert turned[0].mean() < 1e-3 * turned[1].mean()
    assert moved[0].mean() == pytest.approx(turned[1].mean(), rel=1e-3)
    wine = domains()["wine"]
    moved = split_error(wine, lambda x, s: 1.1 * wine.score(x, s), 0.5, 300, rng, 4)
    assert moved[1].mean() < 1e-3 * moved[0].mean()


def test_the_command_trains_once(tmp_path: Path) -> None:
    words = ["learned", "--data", "torsions", "--train", "20", "--width", "8", "--steps", "3", "--paths", "20", "--out", str(tmp_path)]
    first = CliRunner().invoke(main, words)
    assert first.exit_code == 0, first.output
    (stored,) = (tmp_path / "networks").iterdir()
    before = stored.stat().st_mtime_ns
    again = CliRunner().invoke(main, words)
    assert stored.stat().st_mtime_ns == before
    assert again.output == first.output
    assert {"learned.csv", "levels.csv", "learned.png", "learned.svg"} <= {p.name for p in tmp_path.iterdir()}
    assert CliRunner().invoke(main, ["learned", "--data", "cats"]).exit_code == 2
