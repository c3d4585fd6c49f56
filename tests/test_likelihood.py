"""log p along solvers: order, determinants, quadrature, probes, the split of its error, bounds of stochastic paths."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from scorebed.analytic import GaussianMixture
from scorebed.analytic.gaussian.information import channel, entropy, mmse, mutual_information, over_snr
from scorebed.analytic.output.bound import dequantised, forward_path, girsanov, ito_log_prob, mean_bound, path_bound
from scorebed.analytic.output.density import exact_jacobian, pushed, quadrature_weights, solver_log_prob
from scorebed.analytic.output.moments import output_map
from scorebed.solvers import SOLVERS, VP, Solver, grid, sample, trace
from scorebed.toy.check.likelihood import _target
from scorebed.toy.cli import main
from scorebed.toy.measure.convergence import order_of
from scorebed.toy.properties import PROPERTIES
from scorebed.toy.studies.budget import ScoreError, WithError
from scorebed.toy.studies.likelihood import PARTS, split, wrong_model

LAW = _target()
LINE = GaussianMixture([0.3, 0.7], [-1.0, 1.2], [0.06, 0.15])
PLANE = GaussianMixture([1.0], [[1.0, -0.5]], [[[1.0, 0.3], [0.3, 0.2]]])


def up(n: int, end: float = 0.02) -> list:
    """From data to noise."""
    return grid.uniform_lam(VP(), n, end=end)[::-1]


def test_likelihood_order(solver: Solver) -> None:
    PROPERTIES["likelihood_order"](solver)


def test_a_wrong_weight_of_the_divergence_is_seen() -> None:
    """The negative control: five per cent too much divergence does not converge."""
    x = LAW.sample(9, np.random.default_rng(0), up(4)[0])
    errors = []
    for n in (32, 64, 128):
        nodes = up(n)
        run = pushed(trace(SOLVERS["heun"], nodes), LAW.denoised, exact_jacobian(LAW), x)
        wrong = LAW.log_prob(run.end, nodes[-1]) + 1.05 * run.quadrature - LAW.log_prob(x, nodes[0])
        errors.append(float(np.abs(wrong).max()))
    assert order_of((32, 64, 128), errors).slope < 0.5


def test_the_determinant_on_a_gaussian_is_that_of_the_affine_map() -> None:
    nodes = up(7)
    plan = trace(SOLVERS["dpmpp_3m"], nodes)
    run = pushed(plan, PLANE.denoised, exact_jacobian(PLANE), PLANE.sample(3, 0, nodes[0]))
    a, _, _ = output_map(plan, WithError(PLANE, ScoreError()).affine, 2)
    np.testing.assert_allclose(run.log_det, np.linalg.slogdet(a)[1], rtol=1e-12)
    np.testing.assert_allclose(run.jacobian, np.broadcast_to(a, (3, 2, 2)), atol=1e-12)


def test_the_density_of_samples_integrates_to_one() -> None:
    """log q(x_t) = log prior − log|det| along samples of a coarse run on the line: ∫ q = 1 by the trapezoid over its images."""
    nodes = grid.uniform_lam(VP(), 5, end=0.05)
    z = np.linspace(-8.0, 8.0, 40001)[:, None] * nodes[0].sigma
    run = pushed(trace(SOLVERS["heun"], nodes), LINE.denoised, exact_jacobian(LINE), z)
    log_q = -0.5 * (z[:, 0] / nodes[0].sigma) ** 2 - 0.5 * math.log(2.0 * math.pi * nodes[0].sigma ** 2) - run.log_det
    x, q = run.end[:, 0], np.exp(log_q)
    assert (np.diff(x) > 0.0).all()
    assert float(np.sum(0.5 * np.diff(x) * (q[1:] + q[:-1]))) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("kept", [True, False])
def test_the_variance_of_probes_along_a_run_is_its_formula(kept: bool) -> None:
    """Over all signs: one probe for the run, or independent ones at each evaluation."""
    nodes = up(3)
    run = pushed(trace(SOLVERS["ddim"], nodes), LAW.denoised, exact_jacobian(LAW), LAW.sample(4, 1, nodes[0]))
    signs = np.array(list(itertools.product((-1.0, 1.0), repeat=3)))
    values = np.einsum("va,inab,vb->ivn", signs, run.along, signs)
    weighted = run.weights[:, None, None] * values
    measured = weighted.sum(0).var(0) if kept else weighted.var(1).sum(0)
    np.testing.assert_allclose(measured, run.probe_variance(kept=kept), rtol=1e-10, atol=1e-18)
    assert (run.probe_variance("gaussian") > run.probe_variance()).all()


def test_the_parts_add_up_and_each_vanishes_with_its_cause() -> None:
    x = LAW.sample(40, 3, up(8)[0])
    table = split(SOLVERS["heun"], LAW, up(16), x, error=ScoreError(0.02, 0.1), probes=4).set_index("part")
    assert table["mean"][list(PARTS)].sum() == pytest.approx(table["mean"]["total"], abs=1e-12)
    assert table.rms["probes"] > 0.0
    fine = split(SOLVERS["heun"], LAW, up(128), x).set_index("part")
    assert fine.rms["discretisation"] < 0.05 * table.rms["discretisation"]
    assert fine.rms["score error"] == fine.rms["probes"] == 0.0
    assert split(SOLVERS["heun"], LAW, up(16), x, by="determinant").set_index("part").rms["prior"] == pytest.approx(table.rms["prior"])
    with pytest.raises(ValueError, match="probes = 2 with by = 'determinant'"):
        split(SOLVERS["heun"], LAW, up(4), x, by="determinant", probes=2)


def test_a_turning_error_leaves_log_p_of_the_flow_as_it_is() -> None:
    """∇·(p S s) = 0 for S antisymmetric: along other lines the same log p, to the order of the method; a gradient error is not so."""
    nodes = [up(n) for n in (32, 64, 128)]
    x = PLANE.sample(5, 0, nodes[0][0])
    errors = {}
    for what, error in (("turn", ScoreError(solenoidal=0.3)), ("gradient", ScoreError(0.02))):
        model = wrong_model(PLANE, error)
        errors[what] = [
            float(np.abs(solver_log_prob(trace(SOLVERS["heun"], n), PLANE, x, model=model) - PLANE.log_prob(x, n[0])).max()) for n in nodes
        ]
    assert order_of((32, 64, 128), errors["turn"]).slope > 1.4, errors
    assert errors["turn"][-1] < 0.01 * errors["gradient"][-1]
    assert order_of((32, 64, 128), errors["gradient"]).slope < 0.5


def test_entropy_information_and_mmse_are_one() -> None:
    """I-MMSE: I(snr) = ½ ∫ mmse; entropy against a Gaussian's closed form."""
    one = GaussianMixture([1.0], [0.3], [0.5])
    assert entropy(one) == pytest.approx(0.5 * math.log(2.0 * math.pi * math.e * 0.5), abs=1e-12)
    assert mmse(one, channel(3.0)) == pytest.approx(0.5 / 2.5, rel=1e-12)
    low, high = 1e-7, 9.0
    integral = 0.5 * over_snr(lambda node: mmse(LINE, node), low, high) + 0.5 * low * float(LINE.covariance()[0, 0])
    assert integral == pytest.approx(mutual_information(LINE, channel(high)), abs=1e-8)


def test_variational_bounds_lie_below_and_close_with_the_steps() -> None:
    exact = -entropy(LINE, up(2)[0])
    gaps = [exact - mean_bound(LINE, up(n)[::-1]) for n in (32, 64, 128, 256)]
    assert all(gap > 0.0 for gap in gaps)
    assert gaps[-1] < 0.06
    assert order_of((64, 128, 256), gaps[1:]).slope > 0.8
    # as paths of the ancestral solver have it
    nodes = up(64)[::-1]
    x = LINE.sample(400, 0, nodes[-1])
    drawn = path_bound(trace(SOLVERS["ddpm"], nodes).transitions(LINE.denoised), x, 1, draws=4)
    error = float(np.std(drawn.mean(0) - LINE.log_prob(x, nodes[-1]))) / math.sqrt(len(x))
    assert float(np.mean(drawn.mean(0) - LINE.log_prob(x, nodes[-1]))) == pytest.approx(mean_bound(LINE, nodes) - exact, abs=5.0 * error)
    with pytest.raises(ValueError, match="no density"):
        path_bound(trace(SOLVERS["ddim"], nodes).transitions(LINE.denoised), x, 1)
    with pytest.raises(ValueError, match="not noisier"):
        forward_path(x, up(4), 0)


def test_girsanov_on_a_gaussian_is_its_closed_form() -> None:
    """A denoiser wrong by a number c: E|D − D̃|² = c², and ½ ∫ c²/rho⁴ d(rho²) = ½ c² (1/rho_1² − 1/rho_T²)."""
    nodes = up(64)
    one = GaussianMixture([1.0], [0.3], [0.5])
    found = girsanov(one, lambda x, node: one.denoised(x, node) + 0.1, nodes)
    rho = [node.sigma / node.alpha for node in (nodes[0], nodes[-1])]
    assert found == pytest.approx(0.5 * 0.01 * (rho[0] ** -2 - rho[1] ** -2), rel=2e-3)
    with pytest.raises(ValueError, match="an even number"):
        girsanov(one, one.denoised, nodes[:-1])


def test_ito_gives_log_p_along_stochastic_paths() -> None:
    """Strong order ½ to 1 in the step, with no divergence evaluated."""
    errors = []
    for n in (64, 256, 1024):
        nodes = grid.uniform_lam(VP(), n, end=0.1)
        x = LINE.sample(200, 0, nodes[0])
        run = sample(SOLVERS["ddpm"], LINE.denoised, x, nodes, noise=3, terminal="none", record=True)
        found = ito_log_prob(LINE.score, run.xs, nodes, LINE.log_prob(x, nodes[0]))
        errors.append(float(np.sqrt(np.mean((found - LINE.log_prob(run.xs[-1], nodes[-1])) ** 2))))
    assert 0.4 < order_of((64, 256, 1024), errors).slope < 1.2, errors


def test_dequantisation_costs_what_it_says() -> None:
    centres = np.linspace(-2.0, 2.0, 17)
    exact, bound = dequantised(LINE, centres, 0.25)
    assert (bound <= exact + 1e-12).all()
    assert float((exact - bound).max()) > 1e-3
    finer = dequantised(LINE, centres, 0.025)
    assert float((finer[0] - finer[1]).max()) < 0.02 * float((exact - bound).max())
    assert np.exp(dequantised(LINE, np.arange(-40, 41) * 0.25, 0.25)[0]).sum() == pytest.approx(1.0, abs=1e-12)
    with pytest.raises(ValueError, match="width = 0"):
        dequantised(LINE, centres, 0.0)


def test_the_command(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["likelihood", "--steps", "4", "8", "--solvers", "heun", "--samples", "4", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "discretisation" in done.output
    assert {"likelihood.csv", "likelihood.png", "likelihood.svg"} <= {p.name for p in tmp_path.iterdir()}
    refused = CliRunner().invoke(main, ["likelihood", "--solvers", "ddpm", "--out", str(tmp_path / "other")])
    assert refused.exit_code == 2


def test_wrong_use_is_told() -> None:
    nodes = up(3)
    with pytest.raises(ValueError, match="draws noise"):
        quadrature_weights(trace(SOLVERS["ddpm"], nodes[::-1]))
    plan = trace(SOLVERS["heun"], nodes)
    with pytest.raises(ValueError, match=r"give \(n, d\)"):
        pushed(plan, LAW.denoised, exact_jacobian(LAW), np.zeros(3))
    with pytest.raises(ValueError, match="from noise to data"):
        solver_log_prob(trace(SOLVERS["heun"], nodes[::-1]), LAW, np.zeros((1, 3)))
    with pytest.raises(ValueError, match="prior = 'flat'"):
        solver_log_prob(plan, LAW, np.zeros((1, 3)), prior="flat")
    with pytest.raises(ValueError, match="by = 'guess'"):
        solver_log_prob(plan, LAW, np.zeros((1, 3)), by="guess")
