"""Composition: what it equals, what happens to memories where methods change, and what the whole may claim."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest

from scorebed.solvers import SOLVERS, VP, RectifiedFlow, Solver, sample, trace
from scorebed.solvers.methods.compose import compose
from scorebed.solvers.methods.unipc import unic
from scorebed.toy.measure.convergence import global_errors, order_of
from scorebed.toy.properties.cases import jagged, modes

X = np.linspace(-2.0, 2.0, 9)[:, None]
GRID = jagged(VP(), 9, 0.9, 0.05)


def run(solver: Solver, terminal: str = "none") -> np.ndarray:
    return sample(solver, modes().denoised, X, GRID, noise=3, terminal=terminal)


def named(names: Sequence[str]) -> list[Solver]:
    return [SOLVERS[name] for name in names]


def found_order(solver: Solver) -> float:
    grids = [jagged(RectifiedFlow(), n, 0.9, 0.1) for n in (64, 128, 256, 512)]
    exact = modes().flow(X, grids[0][0], grids[0][-1])
    return order_of((64, 128, 256, 512), global_errors(solver, modes().denoised, X, exact, grids), 1e-12).slope


@pytest.mark.parametrize("name", ["heun", "dpmpp_2m", "dpmpp_3m", "lms_4", "bdia", "hb_lms_2", "ddpm", "dpmpp_2m_sde"])
@pytest.mark.parametrize("times", [1, 3])
def test_one_method_alone_is_itself(name: str, times: int) -> None:
    one = SOLVERS[name]
    whole = compose([one] * times)
    np.testing.assert_array_equal(run(whole), run(one))
    assert (whole.order, whole.weak, whole.strong) == (one.order, one.weak, one.strong)
    assert trace(whole, GRID).nfe == trace(one, GRID).nfe


def test_a_step_is_made_by_the_method_in_its_place() -> None:
    chain = named(["euler", "heun", "ddim", "rk4", "dpm_solver_2"])
    x = X
    for i, (s, t) in enumerate(pairwise(GRID)):
        x = sample(chain[min(i, 4)], modes().denoised, x, [s, t], terminal="none")
    np.testing.assert_array_equal(run(compose(chain)), x)


def test_a_multistep_method_that_takes_over_begins_anew() -> None:
    chain = named(["heun", "heun", "dpmpp_2m"])
    middle = sample(SOLVERS["heun"], modes().denoised, X, GRID[:3], terminal="none")
    rest = sample(SOLVERS["dpmpp_2m"], modes().denoised, middle, GRID[2:], terminal="none")
    np.testing.assert_array_equal(run(compose(chain)), rest)


def test_a_memory_does_not_outlive_an_interruption() -> None:
    with_gap = compose(named(["dpmpp_2m", "dpmpp_2m", "heun", "dpmpp_2m"]))
    x = X
    for name, part in (("dpmpp_2m", GRID[:3]), ("heun", GRID[2:4]), ("dpmpp_2m", GRID[3:])):
        x = sample(SOLVERS[name], modes().denoised, x, part, terminal="none")
    np.testing.assert_array_equal(run(with_gap), x)


def test_options_make_another_method() -> None:
    one, other = SOLVERS["ghvb_2"], SOLVERS["ghvb_2"](beta=0.5)
    x = sample(one, modes().denoised, X, GRID[:3], terminal="none")
    x = sample(other, modes().denoised, x, GRID[2:], terminal="none")
    np.testing.assert_array_equal(run(compose([one, one, other])), x)


@pytest.mark.parametrize(
    ("names", "order"),
    [
        (["heun", "dpmpp_2m"], 2),
        (["dpmpp_2m", "dpmpp_2m", "heun"], 2),
        (["euler", "dpmpp_2m"], 2),
        (["euler", "dpmpp_3m"], 2),
        (["heun", "dpmpp_3m"], 3),
        (["rk4", "rk4", "ddim"], 1),
    ],
)
def test_the_order_claimed_is_found(names: list[str], order: int) -> None:
    whole = compose(named(names))
    assert whole.order == order
    assert order - 0.15 <= found_order(whole) <= order + 0.35


def test_plans_are_traced() -> None:
    plan = trace(compose(named(["heun", "ddim", "dpmpp_2m"])), GRID, terminal="denoise")
    assert plan.nfe == 2 + 1 + 2 + 6 + 1  # heun, ddim, the start dpmpp_2s, dpmpp_2m, the terminal rule
    np.testing.assert_allclose(
        plan.run(modes().denoised, X), run(compose(named(["heun", "ddim", "dpmpp_2m"])), "denoise"), rtol=1e-12, atol=1e-12
    )


def test_claims_of_mixed_company() -> None:
    noisy = compose(named(["ddpm", "heun"]))
    assert (noisy.weak, noisy.strong, noisy.order) == (2, None, 2)
    assert compose(named(["dpmpp_2m_sde", "ddpm"])).strong == 1
    assert compose(named(["heun", "ddim"])).weak is None
    assert (adaptive := next(one for one in SOLVERS.values() if one.nonlinear)).name in str(compose([SOLVERS["heun"], adaptive]).nonlinear)
    assert "edict" in str(compose(named(["heun", "edict"])).inexact)


@pytest.mark.parametrize(
    ("corrects", "order"),
    [((True, True, False), 2), ((False, False, False, True), 3), ((True, False, True, False, True), 3)],
    ids=str,
)
def test_a_corrector_may_be_switched_on_and_off_per_step(corrects: tuple[bool, ...], order: int) -> None:
    """UniC on DPM++(2M) in some steps: the whole has the order of the rule, that is p + 1 as soon as it stays on at the end."""
    plain, corrected = SOLVERS["dpmpp_2m"], unic(SOLVERS["dpmpp_2m"])
    whole = compose([corrected if on else plain for on in corrects])
    assert whole.order == order
    assert order - 0.15 <= found_order(whole) <= order + 0.35
    np.testing.assert_allclose(trace(whole, GRID).run(modes().denoised, X), run(whole), rtol=1e-12, atol=1e-12)
    other = compose([plain if on else corrected for on in corrects])
    assert np.abs(run(whole) - run(other)).max() > 1e-4


def test_a_corrected_step_costs_one_evaluation_where_its_neighbour_does_not_use_it() -> None:
    """The evaluation at t that the corrector makes is handed on only within one method."""
    plain, corrected = SOLVERS["heun"], unic(SOLVERS["ddim"])
    assert trace(compose([corrected, plain]), GRID).nfe == 2 + 2 * 8
    assert trace(corrected, GRID).nfe == 1 + 9


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        compose([])
    with pytest.raises(TypeError, match=r"solvers\[1\] = 'heun'"):
        compose([SOLVERS["heun"], "heun"])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="registered already"):
        compose([SOLVERS["heun"]], "heun", register=True)
    assert compose(named(["heun", "ddim"]), "mine").name == "mine"
    assert compose(named(["heun", "ddim"])).name == "heun_then_ddim" not in SOLVERS
