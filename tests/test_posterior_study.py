"""Inverse problems, their exact answers, calibration, the table of posterior samplers and its pictures."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from scorebed.analytic import GaussianMixture
from scorebed.analytic.distance.mmd import mmd2
from scorebed.analytic.distance.sliced import sliced_wasserstein, unit_directions
from scorebed.solvers import Node
from scorebed.solvers.inverse import METHODS, Linear
from scorebed.solvers.operator import check_adjoint
from scorebed.toy.cli import main
from scorebed.toy.figures import posterior as draw
from scorebed.toy.measure.calibration import Calibration, ranks, shape, summary, unit_axes
from scorebed.toy.problems import operators, sbibm_tasks
from scorebed.toy.problems.grid_posterior import grid_posterior
from scorebed.toy.problems.inverse import INVERSE, InverseProblem
from scorebed.toy.studies import posterior as study


@pytest.mark.parametrize("name", INVERSE)
def test_an_operator_has_the_adjoint_that_it_says(name):
    problem = INVERSE[name]
    check_adjoint(problem.operator, problem.d)
    assert problem.y.shape == (problem.operator.m,)
    assert problem.start_states(3).shape == (3, problem.d)


def test_operators_do_what_their_names_say():
    image = np.arange(16.0)
    assert operators.pooling(4, 2, 0.1)(image) == pytest.approx([2.5, 4.5, 10.5, 12.5])
    assert operators.mask(4, [2, 0], 0.1)(image[:4]) == pytest.approx([2.0, 0.0])
    assert operators.identity(3, 0.1)(image[:3]) == pytest.approx(image[:3])
    soft = operators.blur(8, 1.0, 0.1)
    assert soft(np.ones(64)) == pytest.approx(np.ones(64))
    wave = np.cos(2 * np.pi * np.add.outer(np.arange(8), 2 * np.arange(8)) / 8).ravel()
    damped = soft(wave)
    factor = damped @ wave / (wave @ wave)
    assert damped == pytest.approx(factor * wave, abs=1e-12)
    assert 0.0 < factor < 0.5
    rays = operators.radon(8, (0.0, math.pi / 2), 0.1)
    picture = np.random.default_rng(0).random((8, 8))
    sums = rays(picture.ravel())
    assert sums[:8] == pytest.approx(picture.sum(0))
    assert sums[8:] == pytest.approx(picture.sum(1))
    assert operators.random_rows(200, 100, 0.1).s[0] < 3.0
    with pytest.raises(ValueError, match="distinct coordinates from 0 to 3"):
        operators.mask(4, [4], 0.1)
    with pytest.raises(ValueError, match="divisor of side = 4"):
        operators.pooling(4, 3, 0.1)


@pytest.mark.parametrize("name", ["gaussian2d", "mixture2d"])
def test_a_linear_posterior_is_that_of_the_grid(name):
    problem = INVERSE[name]
    found, exact = problem.grid_posterior, problem.posterior
    assert found.mean() == pytest.approx(exact.mean(), abs=1e-6)
    assert found.covariance() == pytest.approx(exact.covariance(), abs=1e-6)
    r2 = problem.operator.variance
    evidence = found.evidence - 0.5 * math.log(2 * math.pi * r2)
    assert evidence == pytest.approx(problem.law.evidence(problem.operator.matrix, problem.y, r2), abs=1e-6)
    assert found.error < 1e-5


@pytest.mark.parametrize("name", ["gain2d", "phase2d"])
def test_a_nonlinear_posterior_is_that_of_importance_sampling(name):
    problem = INVERSE[name]
    x = problem.law.sample(400_000, 0)
    weight = np.exp(-0.5 / problem.operator.variance * np.square(problem.y - problem.operator(x)).sum(1))
    weight /= weight.sum()
    found = problem.grid_posterior
    assert found.mean() == pytest.approx(weight @ x, abs=0.02)
    assert found.covariance() == pytest.approx((x - weight @ x).T * weight @ (x - weight @ x), abs=0.02)
    assert problem.posterior.mean() == pytest.approx(found.mean(), abs=1e-6)
    assert np.cov(found.sample(50_000, 0).T) == pytest.approx(found.covariance(), abs=0.02)


def test_a_grid_that_holds_no_mass_or_cuts_it_is_refused():
    with pytest.raises(ValueError, match="has prior and likelihood"):
        grid_posterior(lambda x: np.full(len(x), -np.inf), lambda x: np.zeros(len(x)), -1.0, 1.0, 11)
    with pytest.raises(ValueError, match="widen the grid"):
        grid_posterior(lambda x: np.zeros(len(x)), lambda x: np.zeros(len(x)), -1.0, 1.0, 11)


@pytest.mark.parametrize("observation", [1, 7])
def test_somebody_elses_posteriors_are_ours(observation):
    """sbibm's stored reference samples: 10,000 each, with errors of 1 % of a standard deviation."""
    law, operator = sbibm_tasks.gaussian_linear()
    y = sbibm_tasks.observed("gaussian_linear", observation)
    samples, found = sbibm_tasks.reference("gaussian_linear", observation), law.given(operator.matrix, y, operator.variance)
    std = np.sqrt(np.diag(found.covariance()))
    assert np.abs((samples.mean(0) - found.mean()) / std).max() < 4.5 / 100
    assert np.abs(np.cov(samples.T) / np.outer(std, std) - np.eye(10)).max() < 0.06
    assert mmd2(samples[:2000], found, 0.5) < 5e-4
    wrong = law.given(operator.matrix, y, 0.12)
    assert mmd2(samples[:2000], wrong, 0.5) > mmd2(samples[:2000], found, 0.5)
    x = sbibm_tasks.observed("two_moons", observation)
    moons, grid = sbibm_tasks.reference("two_moons", observation), sbibm_tasks.two_moons(x)
    assert moons.mean(0) == pytest.approx(grid.mean(), abs=0.03)
    assert np.cov(moons.T) == pytest.approx(grid.covariance(), abs=0.01)
    u = unit_directions(10, 2, 0)
    own = sliced_wasserstein(grid.sample(10_000, 0), grid.sample(10_000, 1), u)
    assert sliced_wasserstein(moons, grid.sample(10_000, 0), u) < own + 0.05


def test_a_missing_task_names_the_command(monkeypatch):
    with pytest.raises(sbibm_tasks.Missing, match="--force-reinstall"):
        sbibm_tasks.table("nothing", 1, "observation.csv")
    monkeypatch.setattr(sbibm_tasks, "_MOST", 10)
    with pytest.raises(ValueError, match="unpacks to more than 10 bytes"):
        sbibm_tasks.observed("two_moons")


def draws(scale, shift=0.0, n=400, count=19):
    rng = np.random.default_rng(0)
    return ranks(rng.normal(size=(n, 2)), shift + scale * rng.normal(size=(n, count, 2)), np.eye(2))


def test_calibration_tells_spread_and_shift_and_is_flat_where_all_is_right():
    right, narrow, wide, off = draws(1.0), draws(0.6), draws(1.6), draws(1.0, 0.6)
    assert shape(right) == "flat"
    assert shape(narrow) == "samples spread too little"
    assert shape(wide) == "samples spread too much"
    assert shape(off) == "tilted: the mean is off"
    assert right.dispersion == pytest.approx(1.0, abs=0.1)
    assert narrow.dispersion > 1.3
    assert wide.dispersion < 0.7
    rate, low, high = right.coverage(0.8)
    assert low < right.achieved(0.8) < high
    assert right.achieved(0.8) == pytest.approx(0.8)
    assert low < rate < high
    assert narrow.coverage(0.8)[2] < 0.8
    assert wide.coverage(0.8)[1] > 0.8
    assert right.error < 0.05 < narrow.error
    assert "flat" in summary(right)


def test_ranks_are_uniform_for_ties_and_refuse_other_shapes():
    tied = ranks(np.zeros((4000, 1)), np.zeros((4000, 9, 1)), np.eye(1))
    assert tied.p_value(10) > 0.01
    with pytest.raises(ValueError, match="samples has shape"):
        ranks(np.zeros((4, 2)), np.zeros((3, 9, 2)), np.eye(2))
    with pytest.raises(ValueError, match="divisor of draws"):
        Calibration(np.zeros((4, 1), int), 9).histogram(3)
    assert np.linalg.norm(unit_axes(9), axis=1) == pytest.approx(np.ones(6))


def test_the_exact_sampler_is_calibrated_and_its_mutant_is_not():
    """Truth first: exact draws of p(x0 | y) for y of the joint law."""
    problem = INVERSE["product8d"]
    x0, y = problem.joint(300, 5)
    samples = problem.regression.sample(np.repeat(y, 19, axis=0), 1).reshape(300, 19, -1)
    assert shape(ranks(x0, samples, unit_axes(8))) == "flat"
    narrowed = 0.7 * samples + 0.3 * samples.mean(1, keepdims=True)
    assert shape(ranks(x0, narrowed, unit_axes(8))) == "samples spread too little"


def test_the_table_ranks_methods_as_theory_does():
    table = study.table([METHODS[n] for n in ("exact", "dps", "ddnm", "red_diff")], [INVERSE["gaussian2d"]], [80], samples=200)
    assert list(table.columns) == list(study.COLUMNS)
    row = table.set_index("method")
    assert row.measure.to_dict() == {"exact": "w2", "dps": "w2", "ddnm": "w2", "red_diff": "mmd"}
    assert row.error["exact"] < 0.5 * row.error["dps"] < row.error["ddnm"]
    assert row.nfe.to_dict() == {"exact": 81, "dps": 81, "ddnm": 81, "red_diff": 800}
    assert row.vjp.to_dict() == {"exact": 0, "dps": 81, "ddnm": 0, "red_diff": 0}
    assert row.covariance["red_diff"] > 0.6


def test_a_sampler_that_diverges_is_told_so():
    table = study.table([METHODS["dps"](weight=60.0)], [INVERSE["gaussian2d"]], [10], samples=50)
    assert table.measure[0] == "diverged"
    assert table.error[0] == math.inf


def test_on_a_mixture_the_error_is_mmd_beside_that_of_exact_draws_and_modes_are_counted():
    row = study.evaluate(METHODS["exact"](solver="dpmpp_2m"), INVERSE["mixture2d"], 60, samples=600, joint=60)
    assert row["measure"] == "mmd"
    assert row["error"] < 2.0 * row["noise"] + 0.02
    assert row["modes"] < 0.06
    assert row["coverage"] < 0.12
    truth = INVERSE["mixture2d"].posterior
    assert study.sliced(truth.sample(4000, 0), truth) < 0.5 * study.sliced(INVERSE["mixture2d"].law.sample(4000, 0), truth)


def test_discretisation_goes_to_zero_and_approximation_stays():
    problem = INVERSE["gaussian2d"]
    exact, dps = (study.split(METHODS[n](solver="dpmpp_2m"), problem, (20, 80), 320) for n in ("exact", "dps"))
    assert exact.approximation[0] < 0.01
    assert dps.approximation[0] > 0.05
    for table in (exact, dps):
        assert table.discretisation[1] < 0.2 * table.discretisation[0]
        assert (table.total <= table.discretisation + table.approximation + 1e-12).all()


def test_the_profile_says_where_along_t_the_score_is_wrong():
    table = study.profile([METHODS[n] for n in ("tmpd", "dps", "ddnm", "repaint")], INVERSE["gaussian2d"], 8, 100)
    assert set(table.method) == {"tmpd", "dps", "ddnm"}
    by = {name: rows.reset_index() for name, rows in table.groupby("method")}
    assert (by["tmpd"].relative < 1e-9).all()
    assert by["dps"].relative[0] > 1.0 > by["dps"].relative.iloc[-1]
    assert by["ddnm"].relative.iloc[-1] > by["ddnm"].relative[0]


def test_a_new_problem_is_one_entry():
    mine = InverseProblem(name="mine", make=lambda: GaussianMixture([1.0], [[0.0]], 1.0), look=lambda: Linear([[1.0]], 0.1), given_y=(0.5,))
    assert mine.posterior.mean() == pytest.approx([0.5 / 1.1])
    assert replace(mine, given_y=None).y.shape == (1,)
    assert isinstance(mine.nodes(3)[0], Node)


def test_the_command_prints_saves_and_draws(tmp_path: Path) -> None:
    arguments = ["--methods", "exact", "dps", "--steps", "10", "--samples", "60", "--joint", "20", "--out", str(tmp_path)]
    done = CliRunner().invoke(main, ["posterior", *arguments])
    assert done.exit_code == 0, done.output
    for text in ("exact", "mixture2d", "gaussian2d", "w2", "mmd", "coverage"):
        assert text in done.output
    table = pd.read_csv(tmp_path / "posterior.csv")
    assert len(table) == 4
    assert {"samples.png", "score_error.svg", "calibration.png"} <= {p.name for p in tmp_path.iterdir()}
    done = CliRunner().invoke(main, ["posterior", "--methods", "nothing"])
    assert done.exit_code == 2
    assert "nothing" in done.output


def test_the_picture_of_samples_is_of_the_plane():
    with pytest.raises(ValueError, match="of the plane"):
        draw.samples([METHODS["exact"]], INVERSE["line"], 5)
