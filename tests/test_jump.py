"""Methods on tokens: the properties of kind "jump", their controls, the process and its draws."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.linalg import expm

from scorebed.analytic.finite import TableLaw, kl
from scorebed.solvers import SOLVERS, BrownianNoise, Solver, grid, methods_on, sample
from scorebed.solvers.draws import categorical
from scorebed.solvers.methods.jump_exact import TIMES
from scorebed.solvers.noise.philox import uniforms
from scorebed.solvers.process import Process
from scorebed.solvers.process.jump import JumpProcess
from scorebed.solvers.process.share import SHARES
from scorebed.toy.measure.convergence import order_of
from scorebed.toy.measure.runs import order_on
from scorebed.toy.problems.jump import PROBLEMS, JumpProblem, random_table
from scorebed.toy.problems.jump_law import outcomes
from scorebed.toy.problems.problem import refusal
from scorebed.toy.properties import PROPERTIES, Broken
from scorebed.toy.properties.jump import problems
from scorebed.toy.properties.sabotage import wrong_drift, wrong_noise

CHAIN = ((-1.0, 1.0, 0.0), (0.5, -1.5, 1.0), (0.0, 2.0, -2.0))


def test_jump_order(solver: Solver) -> None:
    PROPERTIES["jump_order"](solver)


def test_jump_times(solver: Solver) -> None:
    PROPERTIES["jump_times"](solver)


def test_jump_point_mass(solver: Solver) -> None:
    PROPERTIES["jump_point_mass"](solver)


def test_jump_empty_step(solver: Solver) -> None:
    PROPERTIES["jump_empty_step"](solver)


def test_jump_relabelling(solver: Solver) -> None:
    PROPERTIES["jump_relabelling"](solver)


def test_jump_frequencies(solver: Solver) -> None:
    PROPERTIES["jump_frequencies"](solver)


# controls: what is planted is seen


def with_step(change: Any) -> Solver:
    method = SOLVERS["jump_euler"]

    def step(denoise: Any, x: Any, s: Any, t: Any, carry: Any, noise: Any) -> Any:
        return change(method.step, denoise, x, s, t, carry, noise)

    return replace(method, name="planted", step=step)


def test_rates_a_tenth_too_large_break_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    right = JumpProcess.rates
    monkeypatch.setattr(JumpProcess, "rates", lambda self, p, x, node: 1.1 * right(self, p, x, node))
    with pytest.raises(Broken, match="in total variation"):
        PROPERTIES["jump_order"](SOLVERS["jump_euler"])


@pytest.mark.parametrize("wrong", [wrong_drift, wrong_noise])
def test_drift_and_draws_off_by_a_tenth_break_the_order(wrong: Any) -> None:
    with pytest.raises(Broken, match="in total variation"):
        PROPERTIES["jump_order"](wrong(SOLVERS["jump_euler"]))
    PROPERTIES["jump_order"](wrong(SOLVERS["jump_euler"], 1.0))


def test_draws_that_the_batch_shares_are_seen() -> None:
    def shared(step: Any, denoise: Any, x: Any, s: Any, t: Any, carry: Any, noise: Any) -> Any:
        def draw(p: Any) -> Any:
            return categorical(p, np.broadcast_to(noise(s, t).uniform(1)[:1], p.shape[:-1]))

        return step(denoise, x, s, t, carry, lambda a, b: draw)

    planted = with_step(lambda step, d, x, s, t, c, n: shared(step, d, x, s, t, c, n) if len(x) > 1000 else step(d, x, s, t, c, n))
    with pytest.raises(Broken, match=r"paths are .* off the exact law|rest of its batch"):
        PROPERTIES["jump_frequencies"](planted)


def test_a_step_that_moves_when_it_should_stand_is_seen() -> None:
    def moved(step: Any, denoise: Any, x: Any, s: Any, t: Any, carry: Any, noise: Any) -> Any:
        return (np.asarray(x) + 1) % 2, carry

    with pytest.raises(Broken, match="step of length zero"):
        PROPERTIES["jump_empty_step"](with_step(moved))


# orders that the properties do not tell


def weak(process: JumpProcess, sharp: float) -> JumpProblem:
    target = TableLaw(random_table(process.size, 5 - process.size, 1, sharp), process)
    return JumpProblem(name="weak", make=lambda: target, process=process, start=0.9, end=0.2)


@pytest.mark.parametrize("process", [JumpProcess(2), JumpProcess(3, "uniform")], ids=lambda p: p.kernel)
def test_theta_methods_in_total_variation(process: JumpProcess) -> None:
    """Trapezoidal: order 2 where one jump halves no rate, and 1 where one does, since rates are clipped. RK2: order 1 everywhere."""
    problem = weak(process, 0.3)
    assert order_on(problem, SOLVERS["theta_trapezoidal"], law=True, steps=(32, 64, 128)).inside(2.0)
    assert order_on(problem, SOLVERS["theta_rk2"], law=True, steps=(32, 64, 128)).inside(1.0)
    strong = weak(process, 2.0)
    assert order_on(strong, SOLVERS["theta_trapezoidal"], law=True, steps=(128, 256, 512)).inside(1.0)
    gain = (
        strong.law_error(SOLVERS["jump_euler"], strong.nodes(64)).error
        / strong.law_error(SOLVERS["theta_trapezoidal"], strong.nodes(64)).error
    )
    assert gain > 2.0  # a smaller constant all the same


@pytest.mark.parametrize(("sharp", "trapezoidal"), [(0.3, 4.0), (2.0, 2.0)])
def test_theta_methods_in_kl(sharp: float, trapezoidal: float) -> None:
    """KL of the output is of the order of TV², so that every method here is of order 2 in KL, tau-leaping too: what sets the trapezoidal
    one apart is order 4, and that it has only where no rate is clipped (arXiv:2502.00234 bounds KL by O(h²), tau-leaping by O(h))."""
    problem = weak(JumpProcess(2), sharp)
    for name, claim in (("tau_leaping", 2.0), ("theta_rk2", 2.0), ("theta_trapezoidal", trapezoidal)):
        errors = [kl(problem.target.marginal(nodes[-1]), problem.law(SOLVERS[name], nodes)) for nodes in map(problem.nodes, (32, 64, 128))]
        assert order_of((32, 64, 128), errors).inside(claim)


def test_a_cap_of_remasking_that_does_not_shrink_costs_half_an_order() -> None:
    """sigma = 0.1 in every step, from all masks to the data: rate h is held fixed."""
    law = problems()[0].make()
    whole = JumpProblem(name="whole", make=lambda: law, process=law.process)
    errors = [whole.law_error(SOLVERS["remdm"](rate=0.1 * n), whole.nodes(n)).error for n in (64, 128, 256)]
    assert order_of((64, 128, 256), errors).inside(0.5, 0.15, 0.15)
    assert whole.law_error(SOLVERS["remdm"], whole.nodes(256)).error < 0.25 * errors[-1]


def test_caching_asks_the_model_where_a_token_has_changed() -> None:
    """n (1 − (1 − 1/n)^L) evaluations in n steps of a linear share (arXiv:2406.03736): the mean over samples that run alone."""
    problem, n, runs = problems()[0], 6, 300
    whole = JumpProblem(name="whole", make=problem.make, process=problem.process)
    nodes, x = whole.nodes(n), whole.draw(1)
    counts = [
        sample(SOLVERS["cached_ancestral"], whole.known, x, nodes, noise=seed, terminal="none", record=True).nfe for seed in range(runs)
    ]
    # asked at the first step, and after each step but the last that changed a token
    d = whole.d
    expected = 1.0 + (n - 1) * (1.0 - (1.0 - 1.0 / n) ** d)
    assert np.mean(counts) == pytest.approx(expected, abs=4.0 * np.std(counts) / np.sqrt(runs))


def test_corrections_in_several_leaps_bring_a_leap_nearer_to_its_law() -> None:
    """τ-LDR on two tokens: 3 h of correction at once are worse than none, for they draw all tokens at once too; in 3 leaps they are as good
    as none, and in 6 they halve the error of the leap to t."""
    law = TableLaw(random_table(2, 2, 1), JumpProcess(2, "uniform"))
    problem = JumpProblem(name="two", make=lambda: law, process=law.process, start=0.9, end=0.2)

    def error(corrections: int, rate: float) -> float:
        return problem.law_error(SOLVERS["jump_corrector"](corrections=corrections, rate=rate), problem.nodes(8)).error

    none = error(1, 0.0)
    assert error(1, 3.0) > 2.0 * none
    assert error(3, 1.0) < none
    assert error(6, 0.5) < 0.6 * none


@pytest.mark.parametrize("name", ["first_hitting", "remdm"])
def test_methods_for_masks_say_so(name: str) -> None:
    problem = problems()[1]
    with pytest.raises(ValueError, match="this process has no mask: use kernel='absorbing'"):
        problem.bind(SOLVERS[name])
    with pytest.raises(ValueError, match="end the grid before"):
        sample(SOLVERS["uniformisation"], problem.model, problem.draw(2), grid.uniform(problem.process, 2, 0.5, 0.0), noise=0)


# the process


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("kernel", ["absorbing", "uniform", CHAIN])
def test_kernels_are_those_of_their_generator(kernel: Any, share: str) -> None:
    process = JumpProcess(3, kernel, share)
    assert isinstance(process, Process)
    s, t = process.node(0.2), process.node(0.7)
    k, n = process.between(s, t), process.alphabet
    np.testing.assert_allclose(k, expm(np.log(s.clock / t.clock) * process.generator()), atol=1e-14)
    np.testing.assert_allclose(process.between(process.node(0.0), s) @ k, process.between(process.node(0.0), t), atol=1e-14)
    h, fall = 1e-6, SHARES[share]
    assert (fall.alpha(0.3 - h) - fall.alpha(0.3 + h)) / (2 * h) == pytest.approx(fall.falls(0.3), rel=1e-8)
    assert process.at(s.clock).t == pytest.approx(s.t, rel=1e-12)
    # a step and the rates against Bayes, entry by entry, for one token
    p = np.random.default_rng(0).dirichlet(np.ones(3))
    table = p[:, None] * process.forward(t)  # joint of (x0, x_t)
    for x in np.flatnonzero(table.sum(0) > 0):
        clean = (table[:, x] / table[:, x].sum())[None, None]
        joint = p @ process.forward(s) * k[:, x]
        np.testing.assert_allclose(process.posterior(clean, np.array([[x]]), t, s)[0, 0], joint / joint.sum(), atol=1e-13)
        near = process.node(t.t - 1e-6)
        step = process.posterior(clean, np.array([[x]]), t, near)[0, 0]
        rates = process.rates(clean, np.array([[x]]), t)[0, 0]
        assert rates[x] == 0.0
        np.testing.assert_allclose(np.delete(step, x) / 1e-6, np.delete(rates, x), rtol=1e-4, atol=1e-4)
    assert n == (4 if kernel == "absorbing" else 3)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"size": 1}, "size = 1 must be an integer of at least 2"),
        ({"size": 3, "kernel": "gauss"}, "give 'absorbing', 'uniform' or a generator"),
        ({"size": 2, "kernel": CHAIN}, "no generator of 2 states"),
        ({"size": 3, "share": "log"}, "share = 'log' is not known"),
        ({"size": 3, "kernel": "uniform", "t_max": 1.0}, "below 1 unless absorbing"),
        ({"size": 3, "t_min": 0.5, "t_max": 0.5}, "t_min < t_max"),
    ],
)
def test_processes_that_cannot_be_are_refused(arguments: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        JumpProcess(**arguments)


@pytest.mark.parametrize(
    ("x", "error", "says"),
    [
        (np.zeros((2, 3)), TypeError, "x has dtype float64: tokens are integers"),
        (np.zeros((2, 3), bool), TypeError, "tokens are integers"),
        (np.full((2, 3), 3), ValueError, "tokens are 0 to 2, 2 the mask"),
        (np.array([1, 0]), ValueError, r"shape \(B, L\)"),
        ([[0, 1]], TypeError, "x is a list"),
    ],
)
def test_states_that_cannot_be_are_refused(x: Any, error: type[Exception], says: str) -> None:
    problem = problems()[0]
    with pytest.raises(error, match=says):
        sample(SOLVERS["jump_euler"], problem.model, x, problem.nodes(2), noise=0)


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (lambda x, n: np.zeros((*x.shape, 3)), r"has shape \(2, 3, 3\): give the probabilities of the clean values, \(2, 3, 2\)"),
        (lambda x, n: np.ones((*x.shape, 2)), "sum to 1; of logits give the softmax"),
        (lambda x, n: np.full((*x.shape, 2), np.nan), "nan or inf"),
    ],
)
def test_predictions_that_cannot_be_are_refused(model: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        sample(SOLVERS["jump_euler"], model, np.full((2, 3), 2), problems()[0].nodes(2), noise=0)


def test_methods_of_other_processes_are_refused() -> None:
    problem = problems()[0]
    with pytest.raises(ValueError, match="made for gaussian"):
        sample(SOLVERS["heun"], problem.model, problem.draw(2), problem.nodes(2))
    with pytest.raises(ValueError, match="but this grid lies on a gaussian process"):
        sample(SOLVERS["jump_euler"], problem.model, problem.draw(2), grid.uniform(grid_process(), 2))


def grid_process() -> Any:
    from scorebed.solvers import VP

    return VP()


# draws


def test_categorical_draws_are_exact_at_every_edge() -> None:
    p = np.array([0.0, 0.25, 0.0, 0.5, 0.25, 0.0])
    below = np.nextafter([0.25, 0.75, 1.0], 0.0)
    u = np.array([0.0, below[0], 0.25, below[1], 0.75, below[2]])
    rows = np.broadcast_to(p, (6, 6))
    assert categorical(rows, u).tolist() == [1, 1, 3, 3, 4, 4]
    assert categorical(1.5 * rows, u).tolist()[-1] == 4  # u total rounds up to total
    assert categorical((3 * rows).astype(np.float32), u).tolist() == [1, 1, 3, 3, 4, 4]
    rare = np.array([[1e-12, 1.0]])
    assert categorical(rare, np.array([0.9e-12])).item() == 0
    for bad in (np.array([[0.0, 0.0]]), np.array([[-1.0, 2.0]]), np.array([[np.nan, 1.0]]), np.array([[np.inf, 1.0]])):
        with pytest.raises(ValueError, match="probabilities must be finite"):
            categorical(bad, np.array([0.5]))


def test_uniform_numbers_are_keyed_and_uniform() -> None:
    u = uniforms(np.arange(1000, dtype=np.uint64), 101, (1, 2), 3)
    assert u.shape == (1000, 101)
    assert 0.0 <= u.min() < 1e-4
    assert 1.0 - 1e-4 < u.max() < 1.0
    assert abs(u.mean() - 0.5) < 4 * np.sqrt(1 / 12 / u.size)
    assert np.abs(np.corrcoef(u[:, :6].T) - np.eye(6)).max() < 0.15
    np.testing.assert_array_equal(uniforms(np.array([7], dtype=np.uint64), 101, (1, 2), 3)[0], u[7])
    np.testing.assert_array_equal(uniforms(np.array([7], dtype=np.uint64), 3, (1, 2), 3)[0], u[7, :3])
    assert (u * 2.0**53 == np.floor(u * 2.0**53)).all()
    assert ((u * 2.0**53).astype(np.int64) % 2).mean() == pytest.approx(0.5, abs=0.01)  # the last bit is one
    process = JumpProcess(2)
    s, t = process.node(0.9), process.node(0.5)
    draws = process.noise(BrownianNoise(0, (4, 3)), s, t)
    first, second = draws.uniform(3), draws.uniform(3)
    assert (first != second).all()
    np.testing.assert_array_equal(process.noise(BrownianNoise(0, (4, 3)), s, t).uniform(3), first)


def test_outcomes_are_the_product_law() -> None:
    p = np.random.default_rng(0).dirichlet(np.ones(3), (2, 2))
    rows, values, weight = outcomes(p, np.array([0.3, 0.7]))
    assert weight.sum() == pytest.approx(1.0)
    assert len(rows) == 18
    for r, (a, b), w in zip(rows, values, weight, strict=True):
        assert w == pytest.approx((0.3, 0.7)[r] * p[r, 0, a] * p[r, 1, b])


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: p.name)
def test_torch_runs_the_same_draws(problem: JumpProblem) -> None:
    torch = pytest.importorskip("torch")
    nodes, x = problem.nodes(6), problem.draw(50)
    for method in methods_on("jump", aliases=False).values():
        if method.nonlinear == TIMES or refusal(problem, method):
            continue
        plain = sample(method, problem.model, x, nodes, noise=3, terminal="none")
        there = sample(method, lambda y, n: torch.tensor(problem.model(y.numpy(), n)), torch.tensor(x), nodes, noise=3, terminal="none")
        np.testing.assert_array_equal(there.numpy(), plain)
        assert there.dtype == torch.int64
