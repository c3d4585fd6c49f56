"""Few-step families by exact laws, students with closed optima, the tower of distillations, and ``scorebed maps``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from scorebed.analytic import GaussianMixture
from scorebed.analytic.distance.divergence import gradient
from scorebed.analytic.gaussian.draw import reverse_step
from scorebed.analytic.process.maps import FlowMap
from scorebed.solvers import SOLVERS, VP, sample
from scorebed.toy.cli import main
from scorebed.toy.measure.distil import affine, chain, generator, perturbed, trained
from scorebed.toy.measure.rounds import progressive, reflow, run, straight, tower
from scorebed.toy.problems.lines import modes
from scorebed.toy.studies.map_rounds import table as rounds
from scorebed.toy.studies.maps import FAMILIES, table, training_grid

NODES = training_grid()


@pytest.fixture(scope="module")
def study() -> pd.DataFrame:
    return table(steps=(1, 4))


def w1(study: pd.DataFrame, name: str, steps: int) -> float:
    return float(study[(study.family == name) & (study.steps == steps)].w1.iloc[0])


def test_exact_models_are_at_the_floor_in_any_number_of_steps(study: pd.DataFrame) -> None:
    assert set(study.family) == set(FAMILIES)
    exact = study[study.group == "exact"]
    assert len(exact) == 12
    assert exact.w1.max() < 1e-7
    assert study[study.group != "exact"].w1.min() > 1e-3


def test_what_the_table_says_of_students_is_what_theory_says(study: pd.DataFrame) -> None:
    """Heun's student is nearer than DDIM's; stochastic consistency samples as DDPM's one step; a fixed error adds up over re-noising."""
    assert w1(study, "distilled_heun", 1) < 0.5 * w1(study, "distilled_ddim", 1)
    assert w1(study, "stochastic", 1) == pytest.approx(w1(study, "ddpm", 1), rel=0.05)
    assert w1(study, "imperfect", 4) > w1(study, "imperfect", 1)
    assert w1(study, "ddim", 4) > w1(study, "distilled_ddim", 4)
    assert w1(study, "progressive", 1) == pytest.approx(w1(study, "progressive", 4), rel=1e-3)
    assert w1(study, "reflow_once", 1) == pytest.approx(w1(study, "reflow_once", 4), rel=1e-3)
    assert w1(study, "rectified", 4) > 3.0 * w1(study, "reflow_once", 1)


def test_consistency_distillation_and_a_tower_of_it_are_the_teacher() -> None:
    """f(x, s_i) is the teacher's run from s_i on, to the accuracy of splines; a tower's later rounds add nothing."""
    student = chain(SOLVERS["ddim"], modes(), NODES)
    for i in (0, 7, 15):
        x = modes().sample(50, 0, NODES[i])
        run = sample(SOLVERS["ddim"], modes().denoised, x, NODES[i:])
        np.testing.assert_allclose(student.endpoint(x, NODES[i]), run, atol=2e-5)
    with pytest.raises(ValueError, match="no node of the grid"):
        student.endpoint(x, VP().node(0.123))


def test_a_tower_of_distillations_loses_per_round_what_theory_says() -> None:
    """Exact rounds lose nothing; with steps off by 1 + δ a round turns e into 2 e + 1: (1 + δ)^{2^r − 1} after r, on a Gaussian."""
    x = modes().sample(50, 0, NODES[0])[:, 0]
    run = sample(SOLVERS["ddim"], modes().denoised, x[:, None], NODES, terminal="none")[:, 0]
    exact = tower(SOLVERS["ddim"], modes(), NODES)
    assert [len(steps) for steps in exact] == [16, 8, 4, 2, 1]
    for steps in exact:
        y = x
        for step in steps:
            y = step(y)
        np.testing.assert_allclose(y, run, atol=2e-5)
    law, delta = GaussianMixture([1.0], [0.0], 0.6), 0.01
    clean, off = tower(SOLVERS["ddim"], law, NODES), tower(SOLVERS["ddim"], law, NODES, lambda y: (1.0 + delta) * y)
    for r, (good, bad) in enumerate(zip(clean, off, strict=True)):
        assert bad[0](np.ones(1))[0] / good[0](np.ones(1))[0] == pytest.approx((1.0 + delta) ** (2**r - 1), rel=1e-9)
    with pytest.raises(ValueError, match="a power of 2"):
        tower(SOLVERS["ddim"], law, NODES[:4])


def test_stochastic_consistency_is_the_posterior_mean_at_every_node() -> None:
    student = trained(modes(), NODES, stochastic=True)
    for i in (0, 8, 15):
        x = modes().sample(50, 0, NODES[i])
        np.testing.assert_allclose(student.endpoint(x, NODES[i]), modes().denoised(x, NODES[i]), atol=1e-6)


def test_consistency_training_on_a_gaussian_is_the_recursion_of_its_slopes() -> None:
    """f_s = a_s x with a_s = a_t (α_t α_s v + σ_t σ_s)/c_s²: E[f(y) | x] of one Gaussian, from the cleanest node up."""
    law, v = GaussianMixture([1.0], [0.0], 0.6), 0.6
    student = trained(law, NODES)
    slope = NODES[-1].alpha * v / (NODES[-1].alpha ** 2 * v + NODES[-1].sigma ** 2)
    for i in range(len(NODES) - 2, -1, -1):
        s, t = NODES[i], NODES[i + 1]
        slope *= (t.alpha * s.alpha * v + t.sigma * s.sigma) / (s.alpha**2 * v + s.sigma**2)
        x = np.linspace(-1.0, 1.0, 5)
        np.testing.assert_allclose(student.at[i](x), slope * x, atol=1e-8)
    assert slope < 0.93 * FlowMap(law).affine(NODES[0])[0][0, 0]  # the spread shrinks


def test_the_affine_student_is_the_map_of_one_gaussian_and_a_perturbed_one_is_off_by_what_was_put_in() -> None:
    law = GaussianMixture([1.0], [0.4], 0.6)
    x = law.sample(20, 0, NODES[3])
    np.testing.assert_allclose(affine(law, NODES).endpoint(x, NODES[3]), FlowMap(law).endpoint(x, NODES[3]), atol=1e-12)
    off = perturbed(FlowMap(law).endpoint, 0.05)(x, NODES[3]) - FlowMap(law).endpoint(x, NODES[3])
    assert 0.01 < np.abs(off).max() <= 0.05


def test_reverse_steps_are_the_bayes_rule_and_compose() -> None:
    """p(x_t | x_s) from the two densities and the forward kernel, at points; and two steps are one."""
    law, s, t = modes(), VP().node(0.8), VP().node(0.3)
    x, y = np.array([[0.4]]), np.linspace(-3.0, 3.0, 41)[:, None]
    step = reverse_step(law, x, s, t)
    means, widths = step.means[0, :, 0], np.sqrt(step.covariances[:, 0, 0])
    found = (np.exp(-0.5 * ((y - means) / widths) ** 2) / (np.sqrt(2 * np.pi) * widths)) @ step.weights[0]
    keep = s.alpha / t.alpha
    spread = np.sqrt(s.sigma**2 - keep**2 * t.sigma**2)
    forward = np.exp(-0.5 * ((x - keep * y) / spread) ** 2) / (np.sqrt(2 * np.pi) * spread)
    bayes = forward[:, 0] * np.exp(law.log_prob(y, t) - law.log_prob(x, s)[0])
    np.testing.assert_allclose(found, bayes, rtol=1e-10, atol=1e-13)
    with pytest.raises(ValueError, match="a cleaner node"):
        reverse_step(law, x, t, s)


def test_the_command_prints_saves_and_draws(tmp_path: Path) -> None:
    some = ["maps", "--families", "consistency", "trained", "ddim", "--steps", "1", "2", "--rounds", "1", "--out", str(tmp_path)]
    done = CliRunner().invoke(main, some)
    assert done.exit_code == 0, done.output
    said = " ".join(done.output.split())
    for words in ("consistency", "trained", "W1, N = 2", "the bound of all others", "reflow, N = 2", "round 1"):
        assert words in said
    saved = pd.read_csv(tmp_path / "maps.csv")
    assert list(saved.columns) == ["family", "group", "what", "steps", "w1", "ks"]
    assert len(saved) == 6
    assert {"errors.png", "maps.png", "errors.svg", "rounds.csv"} <= {p.name for p in tmp_path.iterdir()}


@pytest.mark.parametrize(("arguments", "words"), [(["--families", "nothing"], "nothing"), (["--steps", "3"], "3 does not divide 16")])
def test_the_command_refuses_what_it_cannot_do(arguments: list[str], words: str, tmp_path: Path) -> None:
    done: Any = CliRunner().invoke(main, ["maps", *arguments, "--out", str(tmp_path)])
    assert done.exit_code == 2
    assert words in " ".join(done.output.split())


def test_the_table_refuses_what_has_no_exact_law() -> None:
    with pytest.raises(ValueError, match="d = 2"):
        table(["ddim"], law=GaussianMixture([1.0], [[0.0, 0.0]], 1.0))
    with pytest.raises(ValueError, match="steps = 5"):
        table(["ddim"], steps=(5,))


# reflow, in rounds


def test_the_first_reflow_is_its_teacher_in_one_step_and_later_ones_keep_it() -> None:
    """T_2 in one step is T_1 in N, on three modes; an error of 1 % of each fit is seen in each round."""
    z = np.linspace(-2.0, 2.0, 41)
    one, two, three = reflow(modes(), NODES, 3)
    teacher = run(SOLVERS["reflow"], one, z, NODES)
    for model in (two, three):
        for nodes in (NODES[::16], NODES[::4]):
            np.testing.assert_allclose(run(SOLVERS["reflow"], model, z, nodes), teacher, atol=1e-6)
    assert np.abs(run(SOLVERS["reflow"], one, z, NODES[::16]) - teacher).max() > 0.1
    gained = rounds(2, (1, 4))
    exact = gained[(gained.kind == "reflow") & (gained.fit == 0.0)]
    assert exact[exact["round"] > 0].w1.std() < 1e-5
    assert exact[(exact["round"] == 0) & (exact.steps == 1)].w1.iloc[0] > 5.0 * exact.w1.iloc[-1]
    for kind in ("reflow", "progressive"):
        worse = gained[(gained.kind == kind) & (gained.fit < 0.0) & (gained.steps != 4)].w1.to_numpy()[-2:]
        assert worse[1] > worse[0] > exact.w1.iloc[-1]


def test_a_reflow_of_one_step_loses_what_theory_says() -> None:
    """On a centred Gaussian with fits off by 1 + δ, T_k − 1 = (1 + δ)^{k−1} (T_1 − 1) in one step."""
    law, delta, ends = GaussianMixture([1.0], [0.0], 0.6), -0.02, NODES[::16]
    moves = [run(SOLVERS["reflow"], m, np.ones(1), ends)[0] - 1.0 for m in reflow(law, ends, 4, lambda v: (1.0 + delta) * v)]
    np.testing.assert_allclose(moves, moves[0] * (1.0 + delta) ** np.arange(4), rtol=1e-10)


def test_paths_that_cross_are_refused() -> None:
    z = np.linspace(-1.0, 1.0, 21)
    model = straight(z, -z, NODES[0], NODES[-1])
    np.testing.assert_allclose(model(z, NODES[0]), 2.0 * z / (NODES[0].t - NODES[-1].t), atol=1e-9)
    with pytest.raises(ValueError, match="cross before"):
        model(z, NODES[-1])
    with pytest.raises(ValueError, match="rounds = 0"):
        reflow(modes(), NODES, 0)
    with pytest.raises(ValueError, match="count = 9"):
        rounds(9)
    with pytest.raises(ValueError, match="no step of a round"):
        progressive(SOLVERS["ddim"], modes(), NODES)(z, NODES[0], NODES[3])


def test_the_generator_is_where_the_gradient_of_kl_vanishes() -> None:
    """E_q[∇ log q/p] = 0 and E_q[(x − m) ∇ log q/p] = 0, the derivatives in (m, c); on a Gaussian it is the data."""
    made = generator(modes(), NODES).at[4]
    line = modes().marginal(NODES[4])
    (m,), (high,) = made(np.array([float(line.mean()[0])])), made(np.array([float(line.mean()[0]) + 1.0]))
    q = GaussianMixture(
        line.weights, m + (high - m) * (line.means[:, 0] - line.mean()[0]), (high - m) ** 2 * np.asarray(line.covariances).ravel()
    )
    x = np.linspace(-9.0, 9.0, 9001)
    slope = np.exp(q.log_prob(x[:, None])) * gradient(q, modes(), x) * (x[1] - x[0])
    assert abs(slope.sum()) < 1e-4
    assert abs(slope @ (x - m)) < 1e-4
    one = GaussianMixture([1.0], [0.4], 0.6)
    np.testing.assert_allclose(generator(one, NODES).at[4](x), FlowMap(one).endpoint(x[:, None], NODES[4])[:, 0], atol=1e-3)
