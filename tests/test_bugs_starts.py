"""How multistep methods begin: three starts, and what each leaves of the order."""

from __future__ import annotations

import pickle
from collections.abc import Iterator

import numpy as np
import pytest

from scorebed.analytic import GaussianMixture
from scorebed.solvers import SOLVERS, VP, Solver, distinct, grid, sample, trace
from scorebed.solvers.methods.compose import compose
from scorebed.solvers.methods.momentum import heavy_ball
from scorebed.toy.measure.runs import case, path_error
from scorebed.toy.problems.registry import PROBLEMS

SMOOTH = GaussianMixture([0.5, 0.5], [[-0.6], [0.7]], [0.5, 0.6])
SHARP = GaussianMixture([0.4, 0.6], [[-1.0], [1.0]], [0.05, 0.1])
X = np.random.default_rng(0).standard_normal((16, 1))
STARTED = [s for s in distinct().values() if s.start is not None and s.nonlinear is None]
MADE = [SOLVERS[name] for name in ("unic_dpmpp_2m", "unic_deis_tab2", "hb_lms_2", "nesterov_lms_4")]


def variants() -> Iterator[Solver]:
    for method in (*STARTED, *MADE):
        yield method(start="ddim")
        yield method(start="published")


def error(method: Solver, law: GaussianMixture, nodes: list) -> float:
    x = X * nodes[0].sigma
    return float(np.sqrt(np.mean((sample(method, law.denoised, x, nodes, terminal="none") - law.flow(x, nodes[0], nodes[-1])) ** 2)))


@pytest.mark.parametrize("method", variants(), ids=lambda s: s.name)
def test_the_claim_says_what_the_start_costs(method: Solver) -> None:
    assert method.order <= SOLVERS[method.name.split("(")[0]].order
    if "gaussian" in method.on:
        errors = [error(method, SMOOTH, grid.uniform_lam(VP(), n, 0.9, 0.05)) for n in (64, 128)]
        nodes = grid.uniform_lam(VP(), 20)
    else:
        errors = [path_error(case(PROBLEMS["bridge"]), method, n)[0] for n in (64, 128)]
        nodes = PROBLEMS["bridge"].nodes(20)
    assert np.log2(errors[0] / errors[1]) > method.order - 0.2
    evaluations = trace(method, nodes).nfe
    assert evaluations in (20, 21)  # one each; 21 where the corrector's serves the next step


def test_the_claims() -> None:
    claims = {
        name: [SOLVERS[name](start=how).order for how in ("own", "ddim", "published")] for name in ("dpmpp_2m", "dpmpp_3m", "unipc_3")
    }
    assert claims == {"dpmpp_2m": [2, 2, 2], "dpmpp_3m": [3, 2, 2], "unipc_3": [4, 2, 3]}
    assert SOLVERS["pndm"](start="published").order == 4  # begins by Runge-Kutta as published


def test_the_first_steps_are_those_of_ddim() -> None:
    nodes = grid.uniform_lam(VP(), 6)
    ddim = sample(SOLVERS["ddim"], SHARP.denoised, X, nodes, record=True).xs
    for name in ("lms_4", "dpmpp_3m", "unipc_3"):
        run = sample(SOLVERS[name](start="ddim"), SHARP.denoised, X, nodes, record=True).xs
        for i in range(SOLVERS[name].starts + 1):
            np.testing.assert_allclose(run[i], ddim[i], rtol=0.0, atol=1e-12)
        assert np.abs(run[SOLVERS[name].starts + 1] - ddim[SOLVERS[name].starts + 1]).max() > 1e-4


def test_published_is_the_rising_order() -> None:
    """DPM-Solver++(3M) is its second-order self in the second step, Adams-Bashforth (3, −1)/2 in rho."""
    nodes = grid.uniform_lam(VP(), 5)
    three, two = (sample(SOLVERS[f"dpmpp_{k}m"](start="published"), SHARP.denoised, X, nodes, record=True).xs for k in (3, 2))
    one = sample(SOLVERS["ddim"], SHARP.denoised, X, nodes, record=True).xs
    np.testing.assert_allclose(three[1], one[1], atol=1e-13)
    np.testing.assert_allclose(two[1], one[1], atol=1e-13)
    four, second = (sample(SOLVERS[f"lms_{k}"](start="published"), SHARP.denoised, X, nodes, record=True).xs for k in (4, 2))
    np.testing.assert_allclose(four[2], second[2], atol=1e-13)
    unipc, first = (
        sample(s, SHARP.denoised, X, nodes, record=True).xs for s in (SOLVERS["unipc_3"](start="published"), SOLVERS["unipc_2"])
    )
    np.testing.assert_allclose(unipc[2], first[2], atol=1e-13)


def test_at_ten_evaluations_the_start_costs_more_than_the_formula() -> None:
    """What the option is for: the methods of order 3 and 4 are better without a start of full order there."""
    for name in ("lms_4", "dpmpp_3m", "deis_tab3", "unipc_3", "trig_ab_4"):
        errors = []
        for how in ("own", "ddim", "published"):
            method = SOLVERS[name](start=how)
            n = max(n for n in range(1, 11) if trace(method, grid.uniform_lam(VP(), n), "denoise").nfe <= 10)
            errors.append(error(method, SHARP, grid.uniform_lam(VP(), n, end=0.02)))
        assert max(errors[1:]) < 0.75 * errors[0], (name, errors)


def test_options_names_and_pickles() -> None:
    method = SOLVERS["unipc_3"](b="B1", start="ddim")
    assert method.name == "unipc_3(b='B1', start='ddim')"
    assert SOLVERS["unipc_3"](start="ddim")(b="B1").name == method.name
    assert SOLVERS["unipc_3"](b="B1")(start="published").options == {"b": "B1"}
    assert SOLVERS["unipc_3"](start="own") is SOLVERS["unipc_3"]
    nodes = grid.uniform_lam(VP(), 8)
    for one in (
        method,
        SOLVERS["unipc_3"](b="B1")(start="published"),
        SOLVERS["ghvb_3"](start="ddim", beta=0.5),
        SOLVERS["unic_dpmpp_2m"](start="ddim"),
    ):
        back = pickle.loads(pickle.dumps(one))
        assert (back.name, back.begins, back.order) == (one.name, one.begins, one.order)
        np.testing.assert_array_equal(*(sample(s, SHARP.denoised, X, nodes) for s in (back, one)))
    assert heavy_ball(SOLVERS["lms_2"])(start="ddim").begins == "ddim"
    chain = compose([SOLVERS["heun"], SOLVERS["dpmpp_3m"](start="ddim")])
    assert trace(chain, nodes).nfe == 9


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match=r"unipc_3: start = 'own_' must be one of 'own', 'ddim', 'published'"):
        SOLVERS["unipc_3"](start="own_")
    with pytest.raises(TypeError, match="heun has no start to choose: it begins by itself"):
        SOLVERS["heun"](start="ddim")
    with pytest.raises(ValueError, match=r"begins by start = 'ddim' already: choose once, unipc_3\(start='published'\)"):
        SOLVERS["unipc_3"](start="ddim")(start="published")
