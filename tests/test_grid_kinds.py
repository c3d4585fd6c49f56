"""Grids by name in studies: every kind, with the parameters that suit the target."""

from __future__ import annotations

import math

import numpy as np
import pytest

from scorebed.solvers import EDM, GRIDS, VP, grid
from scorebed.solvers.equidistribution import lipschitz
from scorebed.solvers.spacing import align_gaussian
from scorebed.toy.problems.problem import Problem
from scorebed.toy.problems.registry import PROBLEMS
from scorebed.toy.studies.study import grids_of, run_study


@pytest.mark.parametrize("kind", GRIDS)
def test_every_kind_is_a_grid_without_options_too(kind: str) -> None:
    assert grid.make(kind, VP(), 7) == GRIDS[kind](VP(), 7)


@pytest.mark.parametrize("kind", GRIDS)
@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=lambda p: p.name)
def test_every_kind_walks_every_problem(kind: str, problem: Problem) -> None:
    """Where it is for the process; elsewhere it says so, in a grid and in a study."""
    if kind not in grid.kinds_on(problem.process):
        with pytest.raises(ValueError, match=r"spaces alpha and sigma, which .* has not: give one of uniform, quadratic"):
            problem.nodes(5, kind)
        with pytest.raises(ValueError, match=f"grid '{kind}' is not for the process of {problem.name}"):
            run_study([problem], None, [kind])
        return
    made = problem.nodes(5, kind)
    assert len(made) == 6
    assert (made[0], made[-1]) == problem.ends


def test_all_kinds_are_those_of_each_process() -> None:
    assert set(grids_of(PROBLEMS["mixture1d"], ["all"])) == set(GRIDS) - {"exponential"}  # the same as uniform_lam
    assert grids_of(PROBLEMS["phase"], ["all"]) == ["uniform", "quadratic", "uniform_lam"]


def test_parameters_are_those_of_the_target() -> None:
    variances = [0.04, 1.0, 4.0]
    c = math.sqrt(sum(variances) / 3.0)
    assert grid.make("align_gaussian", EDM(), 7, variances=variances) == align_gaussian(EDM(), 7, c=c) != align_gaussian(EDM(), 7)
    found = np.array([node.lam for node in grid.make("simple_diffusion", EDM(), 7, variances=variances)])
    np.testing.assert_allclose(found, [node.lam for node in align_gaussian(EDM(), 7, c=c)], rtol=1e-12)
    assert grid.make("lipschitz", EDM(), 7, variances=variances) == lipschitz(EDM(), 7, variances=variances)
    problem = PROBLEMS["mixture1d"]
    c = math.sqrt(float(problem.target.covariance()[0, 0]))
    known = align_gaussian(problem.process, 7, problem.start, problem.end, c=c)
    np.testing.assert_allclose([n.lam for n in problem.nodes(7, "align_gaussian")], [n.lam for n in known], rtol=1e-12)


def test_a_study_takes_them_by_name() -> None:
    table = run_study(["mixture1d"], ["ddim"], ["align_gaussian", "tangent", "uniform_lam"], nfe=[5])
    assert set(table["grid"]) == {"align_gaussian", "tangent", "uniform_lam"}
    assert (table["status"] == "ok").all()
    few = table[table["nfe"] == 5].set_index("grid")["error"]
    assert few["align_gaussian"] < few["uniform_lam"]


def test_unknown_kinds_are_refused() -> None:
    with pytest.raises(ValueError, match="grid = 'linear' is not known: give one of uniform, quadratic"):
        PROBLEMS["mixture1d"].nodes(5, "linear")
    with pytest.raises(ValueError, match="grid 'linear' not known; known: all, uniform"):
        run_study(["mixture1d"], ["ddim"], ["linear"])
