"""The study on spaces: problems, what a row measures, who is refused where, and the charts that figures are drawn in."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from scorebed.analytic.heat import HeatMixture
from scorebed.solvers import SOLVERS, Solver, sample, solver
from scorebed.solvers.space import SO3, Box, Euclidean, Hyperbolic, Sphere, Torus
from scorebed.toy.cli import main
from scorebed.toy.figures import report
from scorebed.toy.figures import space_scenes as scenes
from scorebed.toy.figures.chart import camera
from scorebed.toy.figures.flat_charts import Ball, Disc, Square, heptagons
from scorebed.toy.figures.plots import SPACE_FAMILIES, looks
from scorebed.toy.figures.space_charts import Globe, Ring, Triad
from scorebed.toy.figures.space_scenes import _law, bounces, charts, geodesics, trajectory
from scorebed.toy.figures.style import appearances
from scorebed.toy.measure.cost import per_step
from scorebed.toy.problems import chains as on
from scorebed.toy.problems.on_space import SpaceProblem
from scorebed.toy.problems.reference import integrate_on
from scorebed.toy.problems.registry import PLAIN, PROBLEMS
from scorebed.toy.studies.cell import measure
from scorebed.toy.studies.rows import frame, read
from scorebed.toy.studies.study import DEFAULT, pairs, rows, run_study
from scorebed.toy.studies.tables import summarise

NAMES = ("sphere", "so3", "torus", "box", "hyperbolic")


def few(name: str, **changes: Any) -> Any:
    return replace(PROBLEMS[name], samples=5, **changes)


@pytest.fixture
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures of few pixels and nodes."""
    monkeypatch.setattr(scenes, "FINE", 6)
    monkeypatch.setattr(Globe, "pixels", 60)
    monkeypatch.setattr(Ring, "pixels", 60)


def curved(denoise: Any, x: Any, s: Any, t: Any, carry: Any, noise: Any, *, space: Any = None) -> tuple[Any, Any]:
    m = s.toward(t, 0.5)
    walk = SOLVERS["geodesic_euler_maruyama"](space=space).step
    return walk(denoise, walk(denoise, x, s, m, None, noise)[0], m, t, None, noise)


HALVES = solver(
    order=1, weak=1, reference="none: the walk in two halves", nonlinear="moves in a Space", spaces=("Sphere",), register=False
)(curved)
SOFT = SOLVERS["penalised_euler"](strength=0.6)


def test_problems_of_spaces_are_registered_and_run_only_when_named() -> None:
    assert {name for name, p in PROBLEMS.items() if p.space is not None} == set(NAMES)
    assert set(PLAIN) == {name for name, p in PROBLEMS.items() if p.process.kind == "gaussian"} - set(NAMES)
    assert [p.name for p, _ in pairs()] == list(PLAIN)
    assert all([s.name for s in methods] == list(DEFAULT) for _, methods in pairs())
    assert [p.name for p, _ in pairs(["all"])] == list(PROBLEMS)


def test_a_problem_that_names_no_methods_has_those_that_belong() -> None:
    bare = replace(PROBLEMS["sphere"], name="bare", solvers=())
    ((_, methods),) = pairs([bare])
    assert methods == pairs([bare], ["all"])[0][1]
    assert {"geodesic_heun", "rkmk_3"} <= {s.name for s in methods}


@pytest.mark.parametrize("name", NAMES)
def test_each_problem_has_its_own_methods_of_every_kind(name: str) -> None:
    problem = PROBLEMS[name]
    ((_, methods),) = pairs([name])
    moved = [problem.bind(s) for s in methods]
    assert all(s.space is problem.space and s.name in SOLVERS for s in moved)
    assert {1, 2, 3, 4} <= {s.order for s in moved if s.weak is None}
    assert {1.0, 2.0} <= {s.weak for s in moved}
    assert all(node.alpha == 1.0 for node in problem.nodes(3))
    everyone = {p.name: found for p, found in pairs([name], ["all"])}[name]
    assert set(everyone) == {s for s in SOLVERS.values() if s.claims(problem.space)}


@pytest.mark.parametrize("name", NAMES)
def test_exact_flows_are_those_of_an_integration(name: str) -> None:
    problem = few(name)
    x, (s, t) = problem.draw(3, seed=5), problem.ends
    assert problem.distance(problem.exact(x, s, t).x, integrate_on(problem.target, x, s, t).x) < 1e-9
    assert problem.distance(x, problem.exact(x, s, t).x) > 0.01


def test_a_row_is_the_run_that_it_names() -> None:
    problem, method = few("sphere"), SOLVERS["rkmk_3"]
    row = measure(problem, method, 6, seed=2)
    nodes = problem.nodes(6)
    x = problem.target.sample(5, np.random.default_rng(2), nodes[0])
    run = sample(method(space=Sphere(2)), problem.target.denoised, x, nodes, terminal="none", record=True)
    angle = np.arccos(np.sum(run.x * problem.target.flow(x, nodes[0], nodes[-1]), axis=-1))
    assert row.error == pytest.approx(float(np.sqrt(np.mean(angle**2))), rel=1e-5)
    assert (row.solver, row.kind, row.status, row.nfe, row.d, row.samples) == ("rkmk_3", "path", "ok", run.nfe, 2, 5)
    assert [per_step(problem, problem.bind(SOLVERS[m])) for m in ("geodesic_euler", "geodesic_heun", "rkmk_4")] == [1, 2, 4]


@pytest.mark.parametrize(
    ("name", "method"),
    [("sphere", "cf_4"), ("so3", "rkmk_3"), ("torus", "geodesic_heun"), ("box", "rkmk_4"), ("hyperbolic", "retraction_heun")]
    + [("torus", "geodesic_walk"), ("box", "projected_euler"), ("box", "reflected_walk"), ("box", "reflected_heun")]
    + [("sphere", "retraction_euler_maruyama")],
)
def test_measured_orders_are_the_claims(name: str, method: str) -> None:
    weak = SOLVERS[method].weak is not None
    problem = few(name, finest=80 if name == "torus" else 40)
    budget = 5 * per_step(problem, problem.bind(SOLVERS[method]))
    (line,) = summarise(frame(rows(problem, SOLVERS[method], problem.grid, (budget,), 0)), (20,))
    assert line.verdict == "as claimed", str(line.order)
    assert line.kind == ("weak" if weak else "path")


@pytest.mark.parametrize(
    ("name", "method"),
    [("sphere", "geodesic_heun_maruyama"), ("hyperbolic", "geodesic_euler_maruyama"), ("torus", "geodesic_walk")]
    + [("box", "reflected_walk"), ("box", "projected_euler"), ("box", "reflected_pc"), ("box", "soft")],
)
def test_weak_errors_are_those_of_very_many_paths(name: str, method: str) -> None:
    problem = few(name)
    moving, grid = problem.bind(SOFT if method == "soft" else SOLVERS[method]), problem.nodes(4)
    exact, floor, paths = on.weak_error(problem.target, moving, grid)
    many = 6000 if name in ("sphere", "hyperbolic") else 60_000
    by_paths, half, _ = on.monte_carlo(problem.target, moving, grid, seed=3, paths=many)
    assert (paths, floor < 1e-4) == (0, True)
    assert abs(exact - by_paths) < 2.0 * half < 0.7 * exact


def test_coordinates_that_share_their_noise_are_followed_together() -> None:
    problem = PROBLEMS["torus"]
    s, t = problem.nodes(6)[:2]
    walk, maruyama = (problem.bind(SOLVERS[m]) for m in ("geodesic_walk", "geodesic_euler_maruyama"))
    assert (on.coupled(walk, problem.target, s, t), on.coupled(maruyama, problem.target, s, t)) == (True, False)
    # the walk on the circle has noise ±1, the coordinate of the one on the torus has √2 cos φ
    chain, side = on.chains(problem.target)[0], on.sides(problem.target)[0]
    apart, together = (c.error(walk(space=c.space), problem.nodes(4), *on.observables(c)) for c in (chain, side))
    assert abs(apart - together) > 1e-3
    alone = chain.error(maruyama(space=chain.space), problem.nodes(4), *on.observables(chain))
    assert side.error(maruyama, problem.nodes(4), *on.observables(side)) == pytest.approx(alone, abs=1e-4)


def test_where_no_chain_is_known_it_is_monte_carlo_with_its_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on.monte_carlo, "__defaults__", (300,))
    coarse, fine = (measure(few("sphere"), HALVES, n) for n in (1, 6))
    assert (coarse.status, coarse.samples, coarse.nfe, fine.status) == ("ok", 300, 2, "floor")
    assert "Monte Carlo over 300 paths, ±" in fine.message
    assert 0.005 < fine.reference_error < 0.1


@pytest.mark.parametrize(
    ("problem", "method", "words"),
    [
        (
            "sphere",
            SOLVERS["heun"],
            "heun is a method of R.d, but sphere lies on Sphere.2.: give methods that move there, e.g. geodesic_euler",
        ),
        ("box", SOLVERS["geodesic_walk"], "geodesic_walk moves in Euclidean/Torus/.*, but box lies on Box"),
        ("sphere", SOLVERS["geodesic_heun"](space=Sphere(3)), r"moves in Sphere\(3\), but sphere lies on Sphere\(2\)"),
        ("mixture1d", SOLVERS["geodesic_heun"](space=Euclidean(1)), "give the method without a space"),
        ("mixture1d", SOLVERS["geodesic_walk"], "has no Plan.*on a problem of a space .*Torus, Sphere"),
    ],
)
def test_methods_that_do_not_belong_are_refused(problem: str, method: Solver, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        run_study([problem], [method])
    (row,) = rows(PROBLEMS[problem], method, PROBLEMS[problem].grid, (5, 10), 0)
    assert (row.status, math.isnan(row.error)) == ("refused", True)


def test_of_methods_and_problems_that_are_named_each_must_fit_one() -> None:
    found = {p.name: [s.name for s in methods] for p, methods in pairs(["mixture1d", "torus"], ["heun", "geodesic_heun"])}
    both = ["heun", "geodesic_heun"]
    assert found == {"mixture1d": both, "torus": both}  # heun on the torus is a row that says why not
    assert PROBLEMS["mixture1d"].bind(SOLVERS["geodesic_heun"]) is SOLVERS["geodesic_heun"]
    with pytest.raises(ValueError, match="reflected_euler moves in Box/"):
        pairs(["torus"], ["geodesic_heun", "reflected_euler"])
    with pytest.raises(ValueError, match="heun is a method of"):
        pairs(["mixture1d", "torus"], ["heun"])


@pytest.mark.usefixtures("coarse")
def test_the_command_measures_a_space_and_draws_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROBLEMS, "box", few("box", finest=40))
    run = CliRunner()
    done = run.invoke(main, f"study --problems box --solvers geodesic_heun reflected_euler --nfe 5 10 --out {tmp_path}".split())
    assert done.exit_code == 0, done.output
    names = {"spaces_convergence", "spaces_work_precision", "spaces_weak_order", "trajectory_box"}
    assert {path.stem for path in tmp_path.glob("*.png")} == names
    assert done.stdout.count("as claimed") == 2
    assert "on Box(2)" in done.stdout
    assert report.SPACES in (tmp_path / "table.md").read_text()
    assert set(read(tmp_path / "results.csv")["kind"]) == {"path", "weak"}
    refused = run.invoke(main, f"study --problems sphere --solvers heun --out {tmp_path / 'no'}".split())
    assert refused.exit_code == 2
    assert "method of R^d" in " ".join(refused.output.replace("│", " ").split())
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize("name", ["sphere", "so3", "hyperbolic"])
def test_densities_of_pictures_are_those_of_the_law(name: str) -> None:
    target, node = PROBLEMS[name].target, PROBLEMS[name].nodes(4)[2]
    x = target.sample(50, 3)
    for at in (None, node):
        known = np.exp(target.log_prob(x, at))
        np.testing.assert_allclose(_law(target, at)(x), known, rtol=1e-3, atol=1e-6 * known.max())


def test_globe_and_ring_show_what_is_in_front() -> None:
    rng = np.random.default_rng(0)
    globe, x = Globe(), Sphere(2).uniform(200, rng)
    at, front = globe.plane(x)
    np.testing.assert_allclose(globe.back_to(globe.place(x)), x)
    assert (np.linalg.norm(at, axis=-1) <= 1.0 + 1e-12).all()
    assert front.sum() == (globe.plane(-x)[1] == 0).sum()  # of antipodes one is in front
    ring, u = Ring(), Torus(2).uniform(400, rng)
    ring.view = camera(15.0, 0.0)  # so low that the near side hides some of the far one
    np.testing.assert_allclose(ring.back_to(ring.place(u)), u, atol=1e-12)
    at, front = ring.plane(u)
    seen, first = ring.place(u) @ ring.view.T, ring.depth(at)
    facing = np.einsum("ni,i->n", ring.normal(ring.place(u)), ring.view[2])
    assert (np.abs(seen[front, 2] - first[front]) < 0.05)[np.abs(facing[front]) > 0.3].all()
    assert not front[facing < -0.3].any()  # what faces away is behind
    assert (~front & (facing > 0.3)).any()  # and so is some of what faces the eye
    assert (first[facing > 0.3] - seen[facing > 0.3, 2] > -0.05).all()


def test_lines_on_the_torus_leave_and_come_in_without_crossing() -> None:
    square, x = Square(-math.pi, math.pi, closed=True), np.array([[[3.0, -3.0]], [[-3.0, 3.0]], [[-2.5, 2.4]]])
    pieces = [at for at, _, _ in square.split(x)]
    assert len(pieces) >= 2
    assert all(np.abs(np.diff(at, axis=0)).max() < 0.3 for at in pieces)
    inside = [np.abs(at).max(-1) <= 1.0 for at in pieces]
    assert np.sum(inside, axis=0).T.tolist() == [[1, 1, 1]]  # every state is in the square once
    assert len(Square(0.0, 1.0, closed=False).split(x)) == 1


def test_lines_in_the_ball_break_where_they_come_in_at_the_opposite_point() -> None:
    ball, turn = Ball(), SO3()
    x = turn.group_exp(np.linspace(3.0, 3.3, 7)[:, None, None] * np.array([0.6, 0.0, 0.8]))
    ((at, _, _),) = ball.split(x)
    assert np.isnan(at).any(-1).sum() == 1
    np.testing.assert_allclose(np.linalg.norm(ball.vector(x)[:, 0], axis=-1), math.pi - np.abs(np.linspace(3.0, 3.3, 7) - math.pi))
    triad = Triad().split(x)
    assert [c for _, _, c in triad] == list(Triad.colours)
    np.testing.assert_allclose(triad[1][0][:, 0], (x[:, 0, :, 1] @ Triad().view.T)[:, :2])


def test_the_disc_draws_geodesics_as_arcs_that_meet_the_rim_at_right_angles() -> None:
    space, disc, rng = Hyperbolic(2), Disc(), np.random.default_rng(1)
    ends = space.reference(8, rng).reshape(2, 4, 3)
    at, _ = disc.plane(geodesics(space, ends))
    for line in np.moveaxis(at, 1, 0):
        p, q, r = line[0], line[6], line[-1]
        centre = np.linalg.solve(2.0 * np.array([q - p, r - p]), np.array([q @ q - p @ p, r @ r - p @ p]))
        assert centre @ centre == pytest.approx(1.0 + (p - centre) @ (p - centre), rel=1e-6)
        radii = np.linalg.norm(line - centre, axis=-1)
        assert radii.mean() < 100.0  # no line is straight
        assert np.ptp(radii) < 1e-6 * radii.mean()
    assert np.linalg.norm(disc.plane(space.origin[None])[0]) > 0.3
    lengths = []
    for edge in heptagons():
        gap = 1.0 - np.square(edge).sum(-1)
        lengths.append(math.acosh(1.0 + 2.0 * np.square(edge[0] - edge[-1]).sum() / (gap[0] * gap[-1])))
    assert np.ptp(lengths) < 1e-6  # all edges of the tiling are equal
    cosh_half = math.cos(math.pi / 7) / math.sin(math.pi / 3)
    assert lengths[0] == pytest.approx(2.0 * math.acosh(cosh_half), rel=1e-6)


def test_paths_in_a_box_are_reflected_where_they_are_drawn() -> None:
    box, rng = Box(2), np.random.default_rng(2)
    for _ in range(20):
        x, v = box.uniform(1, rng)[0], 1.5 * rng.standard_normal(2)
        path, walls = bounces(x, v, box.lower, box.upper)
        np.testing.assert_allclose(path[-1], box.move(x, v), atol=1e-12)
        assert np.linalg.norm(np.diff(path, axis=0), axis=-1).sum() == pytest.approx(np.linalg.norm(v))
        assert (np.minimum(walls, 1.0 - walls).min(-1, initial=1.0) < 1e-12).all()
        assert box.contains(path, 1e-12).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("coarse")
def test_a_trajectory_figure_for_each_space(name: str, tmp_path: Path) -> None:
    figure = trajectory(few(name), steps=(3, 5), paths=3)
    figure.savefig(tmp_path / "it.png", dpi=40)
    assert (tmp_path / "it.png").stat().st_size > 10_000
    titles = [axis.get_title(loc="left") for axis in figure.axes]
    assert "exact flow" in titles
    assert any(SOLVERS[t].weak is not None for t in titles if t in SOLVERS)


def test_pictures_of_other_spaces_and_methods_are_refused() -> None:
    with pytest.raises(ValueError, match=r"Sphere\(3\) has no picture: give Sphere\(2\)"):
        charts(Sphere(3))
    with pytest.raises(ValueError, match="heun is a method of"):
        trajectory(PROBLEMS["box"], ["heun"])
    with pytest.raises(ValueError, match="has no picture"):
        trajectory(PROBLEMS["mixture1d"])


def test_kinds_of_method_are_told_apart_where_all_move_in_a_space() -> None:
    names = ["geodesic_heun", "rkmk_3", "cf_3", "retraction_heun", "geodesic_walk", "reflected_euler"]
    found = looks(names)
    assert len({str(v) for v in found.values()}) == len(names)
    assert len({v["color"] for v in found.values()}) == len(SPACE_FAMILIES)
    assert found["rkmk_3"]["color"] == found["cf_3"]["color"]
    assert looks(["heun", *names]) == appearances(["heun", *names])


def test_a_problem_of_ones_own() -> None:
    def cap() -> HeatMixture:
        return HeatMixture(Sphere(3), [1.0], [[1.0, 0.0, 0.0, 0.0]], 0.3)

    mine = SpaceProblem(name="mine", description="a cap of the 3-sphere", make=cap, grid="karras", start=1.0, end=0.2, samples=3, finest=40)
    rows = run_study([mine], ["geodesic_heun"], nfe=(10,), jobs=1)
    assert (summarise(rows, (10,))[0].verdict, rows["d"][0]) == ("as claimed", 3)
