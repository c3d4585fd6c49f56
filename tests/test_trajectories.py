"""Trajectories: geometry of known curves, paths on Gaussians in closed form, commitment, decisions, Jacobians, figures, the command."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from scorebed.analytic import GaussianMixture, RotatedProduct
from scorebed.solvers import EDM, SOLVERS, VP, Node, NotLinear, RectifiedFlow, grid, sample
from scorebed.toy.cli import main
from scorebed.toy.figures.animate import animate
from scorebed.toy.figures.space_time import space_time
from scorebed.toy.figures.trajectories import along_paths, projections
from scorebed.toy.measure import curves
from scorebed.toy.problems.euclidean import EuclideanProblem
from scorebed.toy.problems.registry import PROBLEMS
from scorebed.toy.studies.network_trajectories import network_trajectories
from scorebed.toy.studies.path_measures import decided, last_crossing, measures, modes
from scorebed.toy.studies.paths import EXACT, exact_paths, exact_sensitivity, flat, follow, principal
from scorebed.toy.studies.sensitivity import flow_jacobians, jacobians, largest, spectrum
from scorebed.toy.studies.trajectories import trajectories

RNG = np.random.default_rng(5)


def basis(d: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(d).standard_normal((d, d)))[0]


def gaussian(variances: np.ndarray, schedule: Any = None, **ends: Any) -> EuclideanProblem:
    """A Gaussian with these principal variances, turned, and off the origin."""
    d, q = len(variances), basis(len(variances))
    law = GaussianMixture([1.0], 0.3 * np.ones((1, d)), ((q * variances) @ q.T)[None])
    return EuclideanProblem(name="gaussian", description="a Gaussian", make=lambda: law, process=schedule or VP(), **ends)


IMAGES = gaussian(16.0 / np.arange(1, 65) ** 2.0)
"""A spectrum that falls as that of pictures."""


@pytest.fixture(scope="module")
def plane() -> Any:
    return trajectories(PROBLEMS["product2d"], ["ddim", "dpmpp_2m", "ddpm"], nfe=12, paths=10)


# geometry


def curve(points: list[np.ndarray]) -> np.ndarray:
    return np.stack(points, axis=-1)[:, None, :]


def test_a_circle_has_its_curvature_whatever_the_steps() -> None:
    angle = np.sort(RNG.uniform(0.0, 3.0, 12))
    p = curve([2.5 * np.cos(angle), 2.5 * np.sin(angle)]) @ basis(5)[:2]
    np.testing.assert_allclose(curves.curvature(p)[1:-1], 1 / 2.5, rtol=1e-10)
    np.testing.assert_allclose(curves.torsion(p)[1:-2], 0.0, atol=1e-6)
    assert np.isnan(curves.curvature(p)[[0, -1]]).all()


@pytest.mark.parametrize(("r", "pitch"), [(1.0, 0.5), (2.0, 3.0)])
def test_a_helix_has_its_curvature_and_torsion(r: float, pitch: float) -> None:
    angle = np.linspace(0.0, 4.0, 400)
    p = curve([r * np.cos(angle), r * np.sin(angle), pitch * angle]) @ basis(6)[:3]
    np.testing.assert_allclose(curves.curvature(p)[1:-1], r / (r**2 + pitch**2), rtol=1e-4)
    np.testing.assert_allclose(curves.torsion(p)[1:-2], pitch / (r**2 + pitch**2), rtol=1e-4)
    np.testing.assert_allclose(curves.lengths(p)[-1], 4.0 * math.hypot(r, pitch), rtol=1e-4)


def test_straightness_is_one_if_and_only_if_the_path_is_straight() -> None:
    along = np.sort(RNG.uniform(0.0, 1.0, 9))
    line = along[:, None, None] * RNG.standard_normal((1, 3, 4)) + 2.0
    np.testing.assert_allclose(curves.straightness(line), 1.0, atol=1e-14)
    np.testing.assert_allclose(curves.turning(line)[1:-1], 0.0, atol=1e-6)
    bent, back = line.copy(), line.copy()
    bent[4, 0, 0] += 1e-2
    back[[3, 4]] = back[[4, 3]]
    assert curves.straightness(bent)[0] < 1.0 - 1e-6
    assert (curves.straightness(back) < 0.999).all()
    np.testing.assert_allclose(curves.straightness(line[:1].repeat(3, 0)), 1.0)


def test_the_plane_of_an_arc_holds_it_and_turns_by_its_angle() -> None:
    angle = np.linspace(0.0, 2.0, 30)
    arc = curve([3 * np.cos(angle), 3 * np.sin(angle)]) @ basis(7)[:2]
    found = curves.plane(arc)
    np.testing.assert_allclose(found.share, 1.0, atol=1e-12)
    np.testing.assert_allclose(found.rotation, 2.0, rtol=1e-12)
    np.testing.assert_allclose(found.coordinates[-1], [[3.0, 0.0]], atol=1e-12)
    np.testing.assert_allclose(curves.components(arc)[0, :2].sum(), 1.0)
    wave = np.sin(math.pi * angle)
    beside = arc + 1.5 * wave[:, None, None] * basis(7)[2]
    np.testing.assert_allclose(curves.plane(beside).share, 9.0 / (9.0 + 2.25 * np.mean(wave**2)), rtol=1e-10)
    assert curves.components(beside)[0, 2] > 0.01


@pytest.mark.parametrize("bad", [np.zeros((3, 4)), np.zeros((1, 2, 2)), np.full((4, 1, 2), np.nan), np.zeros((4, 0, 2))])
def test_what_is_no_path_is_refused(bad: np.ndarray) -> None:
    for measure in (curves.lengths, curves.straightness, curves.plane):
        with pytest.raises(ValueError, match="points has"):
            measure(bad)


# Gaussians in closed form


@pytest.mark.parametrize("schedule", [VP(), EDM(), RectifiedFlow()], ids=lambda s: type(s).__name__)
def test_on_a_gaussian_each_principal_direction_follows_the_closed_form(schedule: Any) -> None:
    """(x_t − α μ)_k = sqrt((α² λ_k + σ²)/(α_s² λ_k + σ_s²)) (x_s − α_s μ)_k, for the run of a fine solver and its denoised path."""
    variances = np.array([2.0, 0.5, 0.04, 1e-3])
    problem = gaussian(variances, schedule, start=0.95 if not isinstance(schedule, EDM) else 20.0, end=0.02)
    x, q, mean = problem.draw(6, 1), basis(4), problem.target.means[0]
    run = follow(SOLVERS["rk4"], problem.target.denoised, x, problem.nodes(150))
    s = run.nodes[0]
    for u, seen, node in zip(run.x, run.denoised, run.nodes, strict=True):
        c, first = (n.alpha**2 * variances + n.sigma**2 for n in (node, s))
        closed = (x - s.alpha * mean) @ q * np.sqrt(c / first)
        np.testing.assert_allclose((u - node.alpha * mean) @ q, closed, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose((seen - mean) @ q, closed * node.alpha * variances / c, rtol=1e-5, atol=1e-6)


def test_the_plane_of_rotation_holds_nearly_all_of_the_path() -> None:
    """arXiv:2303.02490: more than 99 %; not of a stochastic path, which is the control."""
    x, nodes = IMAGES.draw(16, 0), IMAGES.nodes(60)
    run = follow(SOLVERS["dpmpp_2m"], IMAGES.target.denoised, x, nodes)
    rows = measures(run)
    assert rows["plane"].min() > 0.99
    cosine = (run.x[0] * run.x[-1]).sum(-1) / np.linalg.norm(run.x[0], axis=-1) / np.linalg.norm(run.x[-1], axis=-1)
    np.testing.assert_allclose(rows["rotation"], np.arccos(cosine), rtol=1e-6)
    assert rows["rotation"].between(0.3, math.pi / 2).all()
    assert measures(follow(SOLVERS["ddpm"], IMAGES.target.denoised, x, nodes))["plane"].max() < 0.9


def test_coarse_directions_are_decided_before_fine_ones_at_the_noise_level_of_the_formula() -> None:
    x, nodes = IMAGES.draw(16, 0), IMAGES.nodes(150)
    states, _ = exact_paths(IMAGES, x, nodes)
    run = follow(SOLVERS["dpmpp_2m"], IMAGES.target.denoised, x, nodes)
    assert np.abs(run.x - states).max() < 0.02
    variances, directions = principal(IMAGES.target.covariance())
    rows = decided(run, IMAGES.target.mean(), variances, directions)
    assert (np.diff(rows["decided_rho"]) < 0.0).all()
    np.testing.assert_allclose(rows["decided_rho"], rows["gaussian_rho"], rtol=0.02)
    clean = rows["variance"] > 1e-2
    np.testing.assert_allclose(rows.loc[clean, "gaussian_rho"], np.sqrt(3.0 * rows.loc[clean, "variance"]), rtol=0.02)


def test_the_flow_of_one_point_is_straight_in_edm_and_that_of_two_scales_is_not() -> None:
    point, two = gaussian(np.full(3, 1e-12), EDM()), gaussian(np.array([9.0, 0.01, 0.01]), EDM(), start=20.0, end=0.01)
    for problem, straight in ((point, True), (two, False)):
        x, nodes = problem.draw(5, 3), problem.nodes(40)
        states, _ = exact_paths(problem, x, nodes)
        assert ((curves.straightness(states) > 1 - 1e-9) == straight).all()


# distance, commitment, order


def test_the_exact_flow_has_no_distance_from_itself_and_solvers_come_closer(plane: Any) -> None:
    rows = plane.nodes
    assert (rows.loc[rows["solver"] == EXACT, "distance"] == 0.0).all()
    assert (rows.loc[rows["node"] == 0, "distance"].dropna() == 0.0).all()
    assert rows.loc[rows["solver"] == "ddpm", "distance"].isna().all()
    finer = trajectories(PROBLEMS["product2d"], ["ddim", "dpmpp_2m"], nfe=48, paths=10, jacobian=False)
    for name in ("ddim", "dpmpp_2m"):
        few, many = (t.paths.loc[t.paths["solver"] == name, "distance"].mean() for t in (plane, finer))
        assert many < 0.5 * few


def test_where_the_flow_is_not_closed_it_is_integrated_from_node_to_node() -> None:
    closed = PROBLEMS["mixture1d"]
    x, nodes = closed.draw(4, 0), closed.nodes(6)
    found, error = exact_paths(replace(closed, closed=False), x, nodes)
    np.testing.assert_allclose(found, exact_paths(closed, x, nodes)[0], atol=1e-7)
    assert 0.0 < error < 1e-6


def test_the_weight_of_the_final_mode_is_bayes_rule() -> None:
    target = GaussianMixture([0.3, 0.7], [[-1.0], [1.0]], [0.04, 0.25])
    nodes = grid.uniform_lam(VP(), 8)
    x = np.linspace(-2.0, 2.0, 9)[:, None] + np.zeros((9, 9, 1))
    weights, number = modes(target, x, nodes)
    for i, node in enumerate(nodes):
        c = node.alpha**2 * np.array([0.04, 0.25]) + node.sigma**2
        joint = np.array([0.3, 0.7]) / np.sqrt(c) * np.exp(-0.5 * (x[i] - node.alpha * np.array([-1.0, 1.0])) ** 2 / c)
        np.testing.assert_allclose(weights[i], (joint / joint.sum(-1, keepdims=True))[np.arange(9), number], rtol=1e-9)
    assert set(number) == {0, 1}


def test_the_modes_of_a_product_are_those_of_the_mixture_it_is() -> None:
    target = PROBLEMS["product2d"].target
    assert isinstance(target, RotatedProduct)
    nodes = PROBLEMS["product2d"].nodes(7)
    x, _ = exact_paths(PROBLEMS["product2d"], PROBLEMS["product2d"].draw(12, 0), nodes)
    (one, a), (two, b) = modes(target, x, nodes), modes(target.mixture(), x, nodes)
    np.testing.assert_allclose(one, two, rtol=1e-8, atol=1e-12)
    assert len(set(a)) == len(set(b)) == len(set(zip(a, b, strict=True))) > 2


def test_commitment_is_for_good() -> None:
    lams = np.array([0.0, 1.0, 2.0, 3.0, 4.0])
    values = np.array([[0.9] * 5, [0.9, 0.2, 0.4, 0.8, 0.9], [0.1, 0.9, 0.3, 0.7, 0.7], [0.1] * 5, [0.9, 0.9, 0.9, 0.9, 0.5]]).T
    np.testing.assert_allclose(last_crossing(values, lams, 0.5), [0.0, 2.25, 2.5, np.nan, np.nan])


def test_stochastic_paths_decide_later_as_the_martingale_says() -> None:
    """ρ² = λ/3 instead of 3 λ, on paths of the reverse SDE in small steps."""
    problem = gaussian(np.array([2.0, 0.4, 0.1]))
    run = follow(SOLVERS["ddpm"], problem.target.denoised, problem.draw(1500, 0), problem.nodes(200), noise=1)
    rows = decided(run, problem.target.mean(), *principal(problem.target.covariance()))
    np.testing.assert_allclose(rows["decided_rho"], rows["gaussian_sde_rho"], rtol=0.06)
    np.testing.assert_allclose(rows["gaussian_sde_rho"], np.sqrt(rows["variance"] / 3.0), rtol=0.02)


def test_paths_end_committed(plane: Any) -> None:
    ends = plane.nodes[plane.nodes["solver"] == EXACT].groupby("path")["weight"].last()
    assert (ends > 0.5).all()
    rows = plane.nodes.merge(plane.paths[["solver", "path", "committed_lam"]], on=["solver", "path"])
    assert (rows.loc[rows["lam"] > rows["committed_lam"] + 1e-9, "weight"] > 0.5).all()


# Jacobians


@pytest.mark.parametrize("name", ["ddim", "heun", "dpmpp_2m", "unipc_3", "ddpm"])
def test_the_jacobian_is_that_of_the_whole_run(name: str) -> None:
    """Dual numbers with the exact posterior covariance against differences of two runs with the same noise, and differences of D."""
    problem = PROBLEMS["product2d"]
    x, nodes, h = problem.draw(5, 2), problem.nodes(8), 1e-5
    found = jacobians(SOLVERS[name], problem.target.denoised, x, nodes, covariance=problem.target.posterior_covariance, noise=4)
    assert found.shape == (9, 5, 2, 2)
    for k in range(2):
        up, down = (
            sample(SOLVERS[name], problem.target.denoised, x + sign * h * np.eye(2)[k], nodes, noise=4, terminal="none", record=True).xs
            for sign in (1, -1)
        )
        np.testing.assert_allclose(found[..., k], (np.stack(up) - np.stack(down)) / (2 * h), rtol=1e-5, atol=1e-6)
    differences = jacobians(SOLVERS[name], problem.target.denoised, x, nodes, noise=4)
    np.testing.assert_allclose(differences, found, rtol=1e-5, atol=1e-5)
    one = jacobians(SOLVERS[name], problem.target.denoised, x, nodes, directions=np.array([[0.6, 0.8]]), noise=4)
    np.testing.assert_allclose(one[..., 0], found @ [0.6, 0.8], rtol=1e-5, atol=1e-5)


def test_on_a_gaussian_the_singular_values_of_the_flow_are_in_closed_form() -> None:
    variances = np.array([4.0, 0.3, 0.01])
    problem = gaussian(variances, VP(), start=0.9, end=0.02)
    x, nodes = problem.draw(3, 0), problem.nodes(200)
    closed = np.array(
        [np.sqrt((n.alpha**2 * variances + n.sigma**2) / (nodes[0].alpha ** 2 * variances + nodes[0].sigma ** 2)) for n in nodes]
    )
    found = spectrum(jacobians(SOLVERS["dpmpp_3m"], problem.target.denoised, x, nodes, covariance=problem.target.posterior_covariance))
    np.testing.assert_allclose(found, np.repeat(np.sort(closed)[:, None, ::-1], 3, 1), rtol=2e-3)
    np.testing.assert_allclose(exact_sensitivity(problem.target, x[None], nodes), np.repeat(closed.max(1)[:, None], 3, 1), rtol=1e-8)


@pytest.mark.parametrize("name", ["mixture1d", "product2d"])
def test_the_exact_flow_stretches_by_the_ratio_of_densities(name: str) -> None:
    problem = PROBLEMS[name]
    x, nodes = problem.draw(6, 0), problem.nodes(5)
    states, _ = exact_paths(problem, x, nodes)
    found = exact_sensitivity(problem.target, states, nodes)
    np.testing.assert_allclose(found, largest(flow_jacobians(problem.target.flow, x, nodes)), rtol=1e-6)
    np.testing.assert_allclose(found[0], 1.0)


def test_jacobians_refuse_what_they_cannot_be() -> None:
    problem = PROBLEMS["product2d"]
    x, nodes = problem.draw(2, 0), problem.nodes(4)
    with pytest.raises(NotLinear, match="declared nonlinear"):
        jacobians(SOLVERS["scipy_rk45"], problem.target.denoised, x, nodes)
    with pytest.raises(ValueError, match="x has shape"):
        jacobians(SOLVERS["ddim"], problem.target.denoised, x[0], nodes)
    with pytest.raises(ValueError, match="directions has shape"):
        jacobians(SOLVERS["ddim"], problem.target.denoised, x, nodes, directions=np.eye(3))


# the study, networks, figures


def test_the_tables_are_tidy(plane: Any) -> None:
    assert list(plane.runs) == [EXACT, "ddim", "dpmpp_2m", "ddpm"]
    assert len(plane.paths) == 4 * 10
    assert len(plane.nodes) == 10 * sum(len(run.nodes) for run in plane.runs.values())
    assert len(plane.directions) == 4 * 2
    for rows in (plane.paths, plane.nodes, plane.directions):
        assert not rows.duplicated([c for c in ("solver", "path", "node", "direction") if c in rows]).any()
    assert plane.nodes.groupby("solver")["sensitivity"].first().eq(1.0).all()
    assert all(run.nfe <= 12 for run in plane.runs.values())


def test_coordinates_change_the_geometry_and_not_the_truth() -> None:
    found = {c: trajectories(PROBLEMS["product2d"], ["ddim"], 8, 6, coordinates=c, jacobian=False).paths for c in ("x", "data", "unit")}
    assert len({round(rows["straightness"].sum(), 6) for rows in found.values()}) == 3
    assert len({round(rows["distance"].sum(), 9) for rows in found.values() if "distance" in rows}) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"solvers": ["nobody"]}, "'nobody' not known"),
        ({"nfe": 0}, "nfe = 0"),
        ({"paths": 2.5}, "paths = 2.5"),
        ({"coordinates": "polar"}, "coordinates = 'polar'"),
        ({"solvers": ["rk4"], "nfe": 3}, "pays for no step of rk4"),
    ],
)
def test_bad_arguments_are_named(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        trajectories(PROBLEMS["mixture1d"], **{"solvers": ["ddim"], "nfe": 4, "paths": 2, **change})


def test_a_method_without_a_plan_is_followed_too() -> None:
    found = trajectories(PROBLEMS["mixture1d"], ["dormand_prince"], nfe=6, paths=3)
    rows = found.nodes[found.nodes["solver"] == "dormand_prince"]
    assert rows["sensitivity"].isna().all()
    assert rows["distance"].notna().all()


def test_a_network_is_a_denoiser_like_any_other(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    target = GaussianMixture([0.5, 0.5], [[1.0] * 6, [-1.0] * 6], np.tile([0.5, 0.2, 0.1, 0.1, 0.1, 0.05], (2, 1)))

    def network(x: Any, node: Node) -> Any:
        assert x.shape[1:] == (2, 3)
        assert x.dtype == torch.float32
        return target.denoised(x.reshape(-1, 6), node).reshape(x.shape)

    x = target.sample(6, 0, EDM().node(80.0))
    rows = flat(network, (2, 3))
    assert np.abs(rows(x, EDM().node(2.0)) - target.denoised(x, EDM().node(2.0))).max() < 1e-4
    found = network_trajectories(rows, x, EDM(), ["ddim", "dpmpp_2m"], 10, jacobian=2, finer=4)
    known = trajectories(
        EuclideanProblem(name="same", make=lambda: target, process=EDM(), grid="karras", closed=False), ["dpmpp_2m"], 10, 2
    )
    assert "mode" not in found.paths
    distance = found.paths.groupby("solver")["distance"].mean()
    assert 0.0 < distance["dpmpp_2m"] < distance["ddim"] < 2.0
    own = jacobians(SOLVERS["dpmpp_2m"], target.denoised, x, found.runs["dpmpp_2m"].nodes, covariance=target.posterior_covariance)
    bound, seen = largest(own), found.nodes[found.nodes["solver"] == "dpmpp_2m"]["sensitivity"].to_numpy().reshape(-1, 6)
    assert (seen <= bound * 1.05).all()
    assert (seen[-1] > 0.3 * bound[-1]).any()
    assert known.paths["mode"].isin([0, 1]).all()
    assert len(projections(found).axes) == 4
    again = [network_trajectories(target.denoised, x, EDM(), ["ddim"], 4, jacobian=1, finer=2, where=tmp_path) for _ in range(2)]
    assert [(run.kept, run.made) for run in again] == [(0, 3), (3, 0)]
    assert again[0].nodes.equals(again[1].nodes)
    for bad, words in (({"finer": 3}, "finer = 3"), ({"nfe": 0}, "nfe = 0")):
        with pytest.raises(ValueError, match=words):
            network_trajectories(rows, x, EDM(), **bad)
    with pytest.raises(ValueError, match="at least 2 paths"):
        network_trajectories(rows, x[:1], EDM())


def test_figures_show_what_there_is(plane: Any) -> None:
    line = trajectories(PROBLEMS["mixture1d"], ["ddim", "ddpm"], nfe=6, paths=5)
    titles = [axis.get_title(loc="left") for axis in space_time(line).axes]
    assert [t for t in titles if t] == [EXACT, "ddim, 6 NFE", "ddpm, 6 NFE"]
    labels = [axis.get_ylabel() or axis.get_xlabel() for axis in along_paths(plane).axes]
    for word in ("distance", "singular value", "posterior weight", "degrees", "straightness"):
        assert any(word in label for label in labels), word
    assert not any("torsion" in label for label in labels)
    assert len(projections(plane).axes) == 4
    with pytest.raises(ValueError, match="d = 2"):
        space_time(plane)
    with pytest.raises(ValueError, match="d = 1"):
        projections(line)


def test_animations_move(plane: Any, tmp_path: Path) -> None:
    line = trajectories(PROBLEMS["mixture1d"], ["ddim"], nfe=6, paths=3, jacobian=False)
    for found, name in ((line, "line"), (plane, "plane")):
        path = animate(found, tmp_path, name, frames=3, shown=3, fps=2, dpi=40, dark=found is line)
        with Image.open(path) as film:
            assert film.n_frames >= 3
            first = np.asarray(film.convert("RGB"), float)
            film.seek(2)
            assert np.abs(np.asarray(film.convert("RGB"), float) - first).max() > 50
        assert (first.mean() < 128) == (found is line)
    assert not list(tmp_path.glob(".*"))
    with pytest.raises(ValueError, match="d = 8"):
        animate(replace(line, problem=PROBLEMS["product8d"]), tmp_path)
    with pytest.raises(ValueError, match="kind = 'webp'"):
        animate(line, tmp_path, kind="webp")
    with pytest.raises(ValueError, match="frames = 1"):
        animate(line, tmp_path, frames=1)


def test_without_ffmpeg_an_mp4_is_refused(plane: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scorebed.toy.figures.animate.FFMpegWriter.isAvailable", lambda: False)
    with pytest.raises(RuntimeError, match="needs ffmpeg"):
        animate(plane, tmp_path, kind="mp4")


def test_the_command_writes_tables_and_figures(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, f"trajectories --problem mixture1d --solvers ddim --nfe 4 --paths 3 --out {tmp_path}".split())
    assert done.exit_code == 0, done.output
    assert max(len(line) for line in done.stdout.splitlines() if str(tmp_path) not in line) <= 120
    for name in (
        "mixture1d-nodes.csv",
        "mixture1d-paths.csv",
        "mixture1d-directions.csv",
        "mixture1d-along.png",
        "mixture1d-space_time.svg",
    ):
        assert (tmp_path / name).exists(), name
    assert set(pd.read_csv(tmp_path / "mixture1d-paths.csv")["solver"]) == {EXACT, "ddim"}
    for text, word in (("--problem nowhere", "nowhere"), ("--problem product8d --animate", "dimensions"), ("--coordinates polar", "polar")):
        refused = CliRunner().invoke(main, ["trajectories", *text.split(), "--out", str(tmp_path)])
        assert refused.exit_code == 2
        assert word in refused.output
