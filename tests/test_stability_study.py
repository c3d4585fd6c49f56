"""Amplification of errors along a grid: against the moments of Plans, the real loop, the closed form of the flow, and known results."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from scorebed.analytic import GaussianMixture
from scorebed.analytic.output import moments
from scorebed.solvers import EDM, SOLVERS, VP, Node, RectifiedFlow, grid, sample, trace
from scorebed.solvers.base import solver
from scorebed.toy.cli import main
from scorebed.toy.figures.amplification import heat_map, limit_lines
from scorebed.toy.problems.gaussians import GUIDED, MANIFOLD, STIFF, GuidedGaussian
from scorebed.toy.studies.amplification import (
    amplifications,
    fewest_steps,
    largest_guidance,
    limits,
    measure,
    propagators,
)
from scorebed.toy.studies.stability import intervals, roots

KINDS = ("ddim", "heun", "dpmpp_2m", "unipc_3", "lms_4", "pndm", "ghvb_4", "hb_lms_2", "deis_tab3", "bdia", "ddpm", "churn")
"""One step and many, stages, memory of evaluations, of states and of averages, start-up, noise."""


def guided(w: float, problem: GuidedGaussian = GUIDED) -> Callable[[np.ndarray, Node], np.ndarray]:
    broad, narrow = (GaussianMixture([1.0], np.full((1, 1), m), np.array([v])) for m, v in ((0.0, problem.broad), (0.5, problem.narrow[0])))
    return lambda x, node: broad.denoised(x, node) + w * (narrow.denoised(x, node) - broad.denoised(x, node))


@pytest.mark.parametrize("name", KINDS)
def test_the_last_row_is_the_difference_of_two_runs(name: str) -> None:
    """∂y_i/∂y_0 against the ordinary loop from two states with the same noise, at every node."""
    nodes = GUIDED.nodes(9)
    found, _ = propagators(trace(SOLVERS[name], nodes), GUIDED.slope([2.0, 7.5]))
    for k, w in enumerate((2.0, 7.5)):
        one, two = (sample(SOLVERS[name], guided(w), np.array([[x]]), nodes, noise=3, terminal="none", record=True) for x in (0.3, 0.7))
        apart = np.array([(b - a).item() / n.alpha for a, b, n in zip(one.xs, two.xs, nodes, strict=True)])
        np.testing.assert_allclose(found[:, 0, k], apart / apart[0], rtol=1e-9, atol=1e-11 * np.abs(found).max())


@pytest.mark.parametrize("name", ["heun", "dpmpp_2m", "lms_4", "ddim"])
def test_an_error_of_a_middle_state_or_evaluation_spreads_as_said(name: str) -> None:
    """A solver whose step 4, or whose evaluation 7, is off by one: the ordinary loop ends where the propagators say."""
    nodes, w, base = GUIDED.nodes(9), 5.0, SOLVERS[name]
    states, calls = propagators(trace(base, nodes), GUIDED.slope(w))
    x = np.array([[0.4]])
    clean = sample(base, guided(w), x, nodes, terminal="none")
    count = 0

    def disturbed(u: np.ndarray, node: Node) -> np.ndarray:
        nonlocal count
        count += 1
        return guided(w)(u, node) + (1.0 if count == 8 else 0.0)

    moved = sample(base, disturbed, x, nodes, terminal="none")
    np.testing.assert_allclose((moved - clean).item() / nodes[-1].alpha, calls[-1, 7, 0], rtol=1e-9)

    if base.start is None:

        @solver(order=1, reference="test", register=False)
        def bumped(denoise: Any, x: Any, s: Node, t: Node, carry: Any, noise: Any) -> Any:
            x, carry = base.step(denoise, x, s, t, carry, noise)
            return (x + 1.0 if t is nodes[4] else x), carry

        moved = sample(bumped, guided(w), x, nodes, terminal="none")
        np.testing.assert_allclose((moved - clean).item() * nodes[4].alpha / nodes[-1].alpha, states[-1, 4, 0], rtol=1e-9)


def test_the_product_of_step_matrices_is_the_coefficient_of_the_initial_state_in_the_exact_moments() -> None:
    target = GaussianMixture([1.0], np.zeros((1, 3)), np.array([[1.0, 1e-2, 1e-6]]))
    problem = GuidedGaussian(name="three", narrow=(1.0, 1e-2, 1e-6), process=RectifiedFlow(), start=0.98, end=0.01)
    nodes = problem.nodes(7)
    for name in ("dpmpp_3m", "heun", "ghvb_3"):
        plan = trace(SOLVERS[name], nodes)
        mean, _ = moments.moments(plan, target, mean=np.ones(3))
        end = propagators(plan, problem.slope())[0][-1, 0] * nodes[-1].alpha / nodes[0].alpha
        np.testing.assert_allclose(end, mean, rtol=1e-10)


def test_a_disturbance_goes_on_by_the_stability_polynomial() -> None:
    """On equal steps of rho what AB-3 makes of a disturbance is a recurrence with the roots of its stability polynomial."""
    nodes = grid.uniform(EDM(), 12, 30.0, 6.0)
    z = -0.37

    def slope(node: Node) -> np.ndarray:
        h = (nodes[1].sigma - nodes[0].sigma) / node.sigma
        return np.array([1.0 - z / h])  # eps = (1 - slope)/rho x, times the step, is z

    after = propagators(trace(SOLVERS["lms_3"], nodes), slope)[0][4:, 4, 0]
    polynomial = np.poly(roots(SOLVERS["lms_3"], z))
    for i in range(1, len(after) - 3):  # the memory of what was before the disturbance is gone
        assert abs(polynomial @ after[i : i + 4][::-1]) < 1e-6 * np.abs(after[i : i + 4]).max()
    alone = propagators(trace(SOLVERS["heun"], nodes), slope)[0][4:, 4, 0]
    np.testing.assert_allclose(alone[1:] / alone[:-1], roots(SOLVERS["heun"], z)[0].real, rtol=1e-2)


@pytest.mark.parametrize("problem", [STIFF, MANIFOLD, GUIDED], ids=lambda s: s.name)
def test_many_steps_end_where_the_flow_does(problem: GuidedGaussian) -> None:
    w = 3.0 if problem.broad else 1.0
    nodes = grid.uniform_lam(problem.process, 400, start=problem.start, end=problem.end)
    found = propagators(trace(SOLVERS["rk4"], nodes), problem.slope(w))[0][:, 0]
    np.testing.assert_allclose(found, problem.growth(nodes, w)[:, 0], rtol=1e-5)


@pytest.mark.parametrize("w", [1.0, 2.0, 7.5, 30.0])
def test_the_flow_itself_lets_no_error_grow(w: float) -> None:
    exact = GUIDED.growth(GUIDED.nodes(50), w)[:, 0, 0]
    assert np.all(np.diff(exact) < 0.0)
    assert np.all(exact > 0.0)


def test_in_ten_guided_steps_adams_bashforth_of_order_four_diverges_and_ghvb_of_low_order_does_not() -> None:
    """The table of solvers/momentum.py: w (1 − q) is 1.3 to 4.6 there."""
    ten = {name: measure(SOLVERS[name], GUIDED, 10, 7.5).iloc[0] for name in ("lms_4", "ab4", "pndm", "ghvb_1", "ghvb_2", "ghvb_4")}
    for name in ("lms_4", "ab4", "pndm"):
        assert ten[name].growth > 1e3, name
    assert min(ten["lms_4"].end, ten["ab4"].end) > 2.0
    for name in ("ghvb_1", "ghvb_2"):
        assert ten[name].rise == 1.0
        assert ten[name].end < 5e-3, name
    assert 1.0 < ten["ghvb_4"].end < ten["lms_4"].end
    assert ten["ghvb_2"].growth < measure(SOLVERS["ghvb_2"](beta=1.0), GUIDED, 10, 7.5).growth.item()


def test_the_largest_guidance_is_where_the_run_begins_to_grow() -> None:
    for name in ("heun", "lms_4"):
        found, nodes = largest_guidance(SOLVERS[name], 10), GUIDED.nodes(10)
        for w, grows in ((0.995 * found, False), (1.005 * found, True)):
            one, two = (sample(SOLVERS[name], guided(w), np.array([[x]]), nodes, terminal="none", record=True) for x in (0.3, 0.7))
            apart = [abs((b - a).item()) / n.alpha for a, b, n in zip(one.xs, two.xs, nodes, strict=True)]
            assert (max(apart[1:]) > apart[0]) == grows, (name, w)


def test_on_one_step_the_largest_guidance_of_euler_is_in_closed_form() -> None:
    """1 + (ρ_t − ρ_s) ρ_s ((1 − w)/(v_b + ρ_s²) + w/(v_n + ρ_s²)) = −1."""
    s, t = GUIDED.nodes(1)
    broad, narrow = (s.rho * (s.rho - t.rho) / (v + s.rho**2) for v in (1.0, GUIDED.narrow[0]))
    assert largest_guidance(SOLVERS["ddim"], 1) == pytest.approx((2.0 - broad) / (narrow - broad), rel=2e-4)
    assert largest_guidance(SOLVERS["ddim"], 1, most=2.0) == 2.0


def test_the_fewest_steps_are_those_from_which_on_all_are_bounded() -> None:
    rows = [("a", "guided", 2.0, n, rise) for n, rise in ((5, 2.0), (6, 1.0), (10, 4.0), (20, 1.0), (40, 1.0))]
    rows += [("b", "guided", 2.0, n, rise) for n, rise in ((40, 3.0), (20, 1.0))]
    found = fewest_steps(pd.DataFrame(rows, columns=["solver", "problem", "guidance", "steps", "rise"]))
    assert found["steps"].iloc[0] == 20.0
    assert np.isnan(found["steps"].iloc[1])


def test_more_guidance_needs_more_steps_and_a_higher_order_more_still() -> None:
    solvers = [SOLVERS[name] for name in ("ddim", "lms_2", "lms_4")]
    table = amplifications(solvers, (GUIDED,), (5, 10, 20, 40), (1.0, 4.0, 8.0))
    assert len(table) == 3 * 4 * 3
    assert not table.isna().any().any()
    least = fewest_steps(table).pivot(index="solver", columns="guidance", values="steps")
    assert (least[8.0] >= least[1.0]).all()
    assert least.loc["ddim", 8.0] <= least.loc["lms_2", 8.0] < least.loc["lms_4", 8.0]
    most = limits(solvers, (10, 40)).pivot(index="solver", columns="steps", values="guidance")
    assert (most[40] > most[10]).all()


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="no unconditional law"):
        measure(SOLVERS["ddim"], STIFF, 5, 2.0)
    for bad in (np.nan, -1.0, [[1.0]]):
        with pytest.raises(ValueError, match="guidance = "):
            measure(SOLVERS["ddim"], GUIDED, 5, bad)
    with pytest.raises(ValueError, match="n = 0"):
        measure(SOLVERS["ddim"], GUIDED, 0)
    with pytest.raises(TypeError, match="declared nonlinear"):
        measure(SOLVERS["scipy_rk45"], GUIDED, 5)
    with pytest.raises(ValueError, match="problem = 'soft'"):
        heat_map(measure(SOLVERS["ddim"], GUIDED, 5), limits([SOLVERS["ddim"]], (5,)), "soft")


def test_intervals_say_why_there_is_none() -> None:
    found = intervals({"one": SOLVERS["euler"], "two": SOLVERS["dpmpp_2m"]}).set_index("solver")
    assert found.loc["one", "length"] == pytest.approx(2.0)
    assert np.isnan(found.loc["two", "length"])
    assert "autonomous" in found.loc["two", "why"]


def test_figures_have_a_panel_for_each_solver_and_problem() -> None:
    solvers = [SOLVERS[name] for name in ("ddim", "lms_4", "ghvb_1")]
    table = amplifications(solvers, (STIFF, GUIDED), (5, 10), (1.0, 4.0, 8.0))
    most = limits(solvers, (5, 10))
    figure = heat_map(table, most, columns=2)
    assert [a.get_title(loc="left") for a in figure.axes if a.get_title(loc="left")] == ["ddim", "lms_4", "ghvb_1"]
    figure = limit_lines(table, most)
    assert [a.get_title(loc="left") for a in figure.axes] == ["guided"]  # one method alone lets errors grow on the stiff one
    assert len(figure.axes[0].get_lines()) == 4
    assert "no error grows" in figure.get_suptitle()
    wide = amplifications([*solvers, SOLVERS["unipc_3"], SOLVERS["dpmpp_2m"]], (STIFF,), (5, 10))
    panel = limit_lines(wide, most).axes[0]
    assert panel.get_title(loc="left") == "stiff, no guidance"
    assert len(panel.get_lines()) == 3  # two that grow, and the line at one
    assert "no growth: ddim" in panel.texts[0].get_text()


def test_the_command_writes_tables_and_figures(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, f"stability --solvers lms_2 ghvb_2 --steps 5 10 --guidance 1 4 8 --out {tmp_path}".split())
    assert done.exit_code == 0, done.output
    assert max(len(line) for line in done.stdout.splitlines() if str(tmp_path) not in line) <= 120
    for name in ("amplification.csv", "limits.csv", "intervals.csv", "heat_map.png", "heat_map.svg", "limits.png", "regions.png"):
        assert (tmp_path / name).exists(), name
    rows = pd.read_csv(tmp_path / "amplification.csv")
    assert set(rows["solver"]) == {"lms_2", "ghvb_2"}
    refused = CliRunner().invoke(main, f"stability --solvers lms_9 --out {tmp_path}".split())
    assert refused.exit_code == 2
    assert "not known" in refused.output
    assert VP().node(GUIDED.start or 1.0).t == 0.4
