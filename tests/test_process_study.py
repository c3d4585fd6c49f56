"""The study of linear processes: phase space, bridges, paired ends, sequences."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scorebed.solvers import SOLVERS, sample
from scorebed.solvers.state import parts
from scorebed.toy.figures.process_scenes import paths
from scorebed.toy.problems.problem import refusal
from scorebed.toy.problems.registry import PLAIN, PROBLEMS
from scorebed.toy.studies.catalogue import entry
from scorebed.toy.studies.study import run_study
from scorebed.toy.studies.tables import summarise

NAMES = ("phase", "bridge", "paired", "sequence")


def test_a_study_measures_orders_on_all_four(tmp_path: Path) -> None:
    table = run_study(NAMES, ["ddim", "euler_maruyama"], nfe=(5, 10), out=tmp_path, jobs=1)
    assert list(dict.fromkeys(table["problem"])) == list(NAMES)
    assert set(table["status"]) == {"ok"}
    assert len(pd.read_csv(tmp_path / "results.csv")) == len(table)
    for summary in summarise(table, (5, 10)):
        assert summary.verdict == "as claimed", summary


def test_they_are_no_problems_of_a_study_that_names_none() -> None:
    assert not set(NAMES) & set(PLAIN)
    for name in NAMES:
        assert PROBLEMS[name].solvers
        assert not any(refusal(PROBLEMS[name], SOLVERS[method]) for method in PROBLEMS[name].solvers)
        assert "made for" in refusal(PROBLEMS[name], SOLVERS["heun"])


@pytest.mark.parametrize("name", NAMES)
def test_pictures_are_drawn(name: str) -> None:
    figure = paths(PROBLEMS[name], ("ddim",), steps=6)
    assert len(figure.axes) == 3
    with pytest.raises(ValueError, match="has no such picture"):
        paths(PROBLEMS["mixture1d"])


def test_stochastic_paths_begin_at_the_pin_itself() -> None:
    figure = paths(PROBLEMS["bridge"], ("ddpm",), steps=8)
    path = figure.axes[-1].lines[0].get_xydata()
    np.testing.assert_allclose(path[0], [1.0, 0.8], atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_samples_have_the_law_of_the_data(name: str) -> None:
    """Mean and spread of 4000 samples, each component, within five standard errors."""
    problem = PROBLEMS[name]
    out = np.hstack(parts(sample(SOLVERS["exp_adams_2"], problem.model, problem.draw(4000, 1), problem.nodes(160), terminal="none")))
    law = problem.target.marginal(problem.ends[1])
    spread = np.sqrt(np.diag(law.covariance()))
    assert (np.abs(out.mean(0) - law.mean()) < 5.0 * spread / np.sqrt(4000)).all()
    np.testing.assert_allclose(out.std(0), spread, rtol=0.06)


@pytest.mark.parametrize("name", ["dbmsolver_2", "gddim"])
def test_the_catalogue_measures_methods_that_are_on_no_schedule(name: str) -> None:
    """On the problem of their own properties: there is a Plan, an order, and for stochastic ones a strong order."""
    line = entry(name)
    assert (line.nfe, line.measured is None) == ({"dbmsolver_2": 2, "gddim": 1}[name], False)
    assert line.measured is not None
    assert line.measured.inside(line.weak or line.order)
    assert (line.measured_strong is not None) is (line.strong is not None)
