"""What is asked of a problem holds for every problem: those of the studies, of the properties, Gaussian and inverse ones."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scorebed.solvers import SOLVERS, VP, solver
from scorebed.solvers.process import KINDS
from scorebed.solvers.space import Sphere
from scorebed.solvers.state import parts
from scorebed.toy import problems
from scorebed.toy.measure.cost import affordable, cost, most_steps
from scorebed.toy.measure.runs import case, order_on, path_error
from scorebed.toy.problems import registry
from scorebed.toy.problems.digits import handwritten
from scorebed.toy.problems.euclidean import EuclideanProblem, diagonal
from scorebed.toy.problems.gaussians import GAUSSIANS, GUIDED, STIFF
from scorebed.toy.problems.inverse import INVERSE
from scorebed.toy.problems.problem import Problem, enrolled, refusal
from scorebed.toy.problems.registry import PROBLEMS
from scorebed.toy.properties.cases import cases
from scorebed.toy.properties.space_cases import space_cases

SOLVED = [*PROBLEMS.values(), *cases(), *space_cases(), *GAUSSIANS.values()]
EVERY: list[Any] = [*SOLVED, *(INVERSE[name] for name in ("gaussian2d", "line", "product8d", "gain2d"))]


@solver(order=1, reference="none: of another kind of process", on=("phase",), register=False)
def elsewhere(denoise: Any, x: Any, s: Any, t: Any, carry: Any, noise: Any) -> tuple[Any, Any]:
    return x, None


@pytest.mark.parametrize("problem", EVERY, ids=lambda p: p.name)
def test_a_problem_offers_what_is_asked_of_it(problem: Any) -> None:
    s, t = problem.ends
    assert problem.nodes(3)[0] == s
    assert problem.nodes(3)[-1] == t
    assert len(problem.nodes(3)) == 4
    assert problem.reversed().ends == (t, s)
    assert problem.reversed().name == problem.name
    assert isinstance(problem.grid_name, str)
    kind = problem.process.kind
    assert kind in KINDS
    x, y = (problem.draw(20, seed=seed) for seed in (1, 2))
    assert all(map(np.array_equal, parts(x), parts(problem.draw(20, seed=1))))
    assert not any(map(np.array_equal, parts(x), parts(y)))
    each = (*parts(x)[0].shape, problem.process.size) if kind == "jump" else parts(x)[0].shape
    assert {part.shape for part in parts(problem.model(x, s))} == {each}
    assert problem.distance(x, x) < 1e-7
    assert 0.0 < problem.distance(x, y) == pytest.approx(problem.distance(y, x))
    assert problem.law_kind == ("law" if problem.space is None else "weak")
    wrong = SOLVERS["heun"] if kind == "phase" else elsewhere
    assert refusal(problem, wrong).startswith(f"{wrong.name} is made for {'/'.join(wrong.on)} processes, but")


@pytest.mark.parametrize("problem", [p for p in SOLVED if p.closed], ids=lambda p: p.name)
def test_the_exact_flow_goes_there_and_back(problem: Any) -> None:
    s, t = problem.ends
    x = problem.states(s)
    end = problem.exact(x, s, t)
    assert problem.distance(x, end.x) > 1e-3
    # where the flow contracts, what is lost on the way there is not found on the way back
    stretched = max(1.0, problem.distance(x, problem.draw(len(x), 3)) / max(problem.distance(end.x, end.x[::-1]), 1e-12))
    assert problem.distance(problem.exact(end.x, t, s).x, x) < 1e-8 * max(1.0, stretched)
    assert 0.0 < end.error < 1e-6 * max(1.0, float(np.abs(end.x).max()))


@pytest.mark.parametrize("name", ["mixture1d", "sphere"])
def test_the_error_of_a_law_falls_with_the_steps_and_is_above_its_floor(name: str) -> None:
    problem = PROBLEMS[name]
    method = problem.bind(SOLVERS["ddpm" if name == "mixture1d" else "geodesic_euler_maruyama"])
    coarse, fine = (problem.law_error(method, problem.nodes(n)) for n in (5, 20))
    assert coarse.error > 2.0 * fine.error > 2.0 * fine.floor > 0.0
    assert coarse.samples == 0


def test_methods_enrol_where_they_belong() -> None:
    def names(method: str) -> set[str]:
        return {p.name for p, _ in enrolled(PROBLEMS.values(), SOLVERS[method])}

    def of(kind: str) -> set[str]:
        return {name for name, p in PROBLEMS.items() if p.process.kind == kind}

    assert names("heun") == {name for name in of("gaussian") if PROBLEMS[name].space is None}
    assert names("jump_euler") == of("jump") - {"d3pm_levels"} != set()  # given by its steps, it has no rates
    assert names("jump_ancestral") == of("jump") - {"metric_levels"}  # given by its path, it has no law between two times
    assert names("rkmk_4") == of("gaussian")
    assert names("reflected_heun") == {"box"}
    assert {p.name for p, _ in enrolled(PROBLEMS.values(), elsewhere)} == of("phase") != set()
    moved = {p.name: method for p, method in enrolled(PROBLEMS.values(), SOLVERS["rkmk_4"])}
    assert moved["sphere"].space is PROBLEMS["sphere"].space
    assert moved["sphere"].name == "rkmk_4"
    assert moved["mixture1d"] is SOLVERS["rkmk_4"]


def test_an_inverse_problem_is_one_of_its_posterior() -> None:
    problem = INVERSE["gaussian2d"]
    assert problem.target.mean() == pytest.approx(problem.law.given(problem.operator.matrix, problem.y, problem.operator.variance).mean())
    x = problem.draw(3)
    node = problem.ends[0]
    np.testing.assert_allclose(problem.model(x, node), problem.law.denoised(x, node))
    with pytest.raises(ValueError, match="heun samples the prior of gaussian2d"):
        problem.bind(SOLVERS["heun"])


def test_a_guided_gaussian_is_a_problem_of_its_narrow_law() -> None:
    assert np.asarray(STIFF.target.covariance()).diagonal() == pytest.approx(STIFF.narrow)
    s, t = GUIDED.ends
    x = GUIDED.states(s)
    exact = GUIDED.exact(x, s, t).x * s.alpha / (x * t.alpha)
    np.testing.assert_allclose(exact, np.full_like(x, GUIDED.growth([s, t], 1.0)[-1, 0, 0]), rtol=1e-12)


def test_one_call_measures_an_order_on_a_problem() -> None:
    mine = EuclideanProblem(name="mine", make=lambda: diagonal([0.2, -0.5], [0.1, 1.5]), process=VP(), start=0.8, end=0.05)
    result = order_on(mine, SOLVERS["heun"], steps=(32, 64, 128))
    assert result.inside(2.0)
    assert (result.conditions.target, result.conditions.grid) == ("mine", "uniform_lam, t 0.8 to 0.05")
    assert result.errors[-1] == pytest.approx(path_error(case(mine), SOLVERS["heun"], 128)[0])
    assert order_on(mine, SOLVERS["ddpm"], law=True, steps=(64, 128, 256)).inside(1.0)
    with pytest.raises(ValueError, match="moves in Sphere"):
        order_on(mine, SOLVERS["rkmk_3"](space=Sphere(2)))


def test_a_budget_pays_for_the_most_steps() -> None:
    assert most_steps(lambda n: 3 * n, 10) == 3
    assert most_steps(lambda n: None if n > 2 else n, 10) == 2
    assert most_steps(lambda n: 11, 10) == 0
    problem: Problem = PROBLEMS["sphere"]
    assert (cost(problem, SOLVERS["rkmk_4"], 3), affordable(problem, SOLVERS["rkmk_4"], 11)) == (12, 2)
    assert cost(problem, SOLVERS["heun"], 3) is None


def test_a_file_of_problems_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine_alone.py").write_text(
        "from scorebed.solvers import VP\n"
        "from scorebed.toy.problems.euclidean import EuclideanProblem, line\n"
        "PROBLEMS = (EuclideanProblem(name='mine', make=lambda: line([1.0], [0.0], [0.3]), process=VP()),)\n"
    )
    monkeypatch.setattr(problems, "__path__", [*problems.__path__, str(tmp_path)])
    found = registry.collect()
    monkeypatch.delitem(sys.modules, "scorebed.toy.problems.mine_alone")
    assert set(found) == {*PROBLEMS, "mine"}
    assert order_on(found["mine"], SOLVERS["heun"], steps=(32, 64, 128)).inside(2.0, above=2.0)


def test_a_problem_is_the_same_where_it_says_the_same() -> None:
    a = PROBLEMS["mixture1d"]
    assert replace(a) == a
    assert hash(replace(a)) == hash(a)
    assert replace(a, end=0.1).ends != a.ends


def test_the_digits_are_those_of_scikit_learn() -> None:
    from sklearn.datasets import load_digits

    pixels, labels = handwritten()
    assert np.array_equal(pixels, load_digits().data)
    assert np.array_equal(labels, load_digits().target)
