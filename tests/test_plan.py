"""Laws of Plans: the replay is the loop, the dense views are the replay, the facts are counts, and what is not linear is refused."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scorebed.solvers import EDM, SOLVERS, VP, BrownianNoise, Node, NonFinite, NotLinear, Solver, methods_on, sample, solver, trace
from scorebed.solvers.base import Step
from scorebed.solvers.grid import uniform, uniform_lam
from scorebed.solvers.plan import Combine, Draw, Evaluate
from scorebed.toy.properties.strategies import grids, mixtures, seeds
from scorebed.toy.properties.strategies import solvers as any_solver

UNROLLED = [s for s in methods_on().values() if s.nonlinear is None]


def bent(x: Any, node: Node) -> Any:
    """A smooth denoiser, nonlinear in x and mixing the coordinates: near ±1, each coordinate leaning on its neighbour."""
    pull = node.alpha / (node.alpha**2 * 0.3 + node.sigma**2)
    return np.tanh(pull * (x + 0.5 * np.roll(x, 1, axis=-1))) + 0.2 * np.sin(x)


def relative(found: np.ndarray, truth: np.ndarray, *sizes: np.ndarray) -> float:
    return float(np.abs(found - truth).max() / max(1.0, *(np.abs(a).max() for a in (truth, *sizes))))


MILD = (-3.0, 3.0)
"""Bounds on lam within which replay and loop agree to 1e-12. Beyond, both lose digits: terms of size e^h cancel in the steps themselves."""


def states(grid: list[Node], seed: int, d: int = 3) -> np.ndarray:
    return math.hypot(grid[0].alpha, grid[0].sigma) * np.random.default_rng(seed).standard_normal((4, d))


# replay


@pytest.mark.parametrize("method", UNROLLED, ids=lambda s: s.name)
@settings(max_examples=5)
@given(grid=grids(max_steps=8, lam=MILD), terminal=st.sampled_from(["denoise", "none"]), seed=seeds())
def test_replay_is_the_loop(method: Solver, grid: list[Node], terminal: str, seed: int) -> None:
    x = states(grid, seed)
    noise = BrownianNoise(seed, x.shape)
    run = sample(method, bent, x, grid, noise=noise, terminal=terminal, record=True)
    plan = trace(method, grid, terminal)
    replayed = plan.run(bent, x, noise=noise)
    assert replayed.dtype == x.dtype
    assert relative(replayed, run.x, *run.xs, *run.denoised) < 1e-12
    assert plan.nfe == run.nfe
    assert plan.grid == tuple(grid)
    assert plan.solver == method.name


@settings(max_examples=60)
@given(any_solver(unrollable=True), grids(max_steps=8), st.sampled_from(["denoise", "none"]), seeds())
def test_replay_is_the_loop_over_whole_schedules(method: Solver, grid: list[Node], terminal: str, seed: int) -> None:
    x = states(grid, seed)
    run = sample(method, bent, x, grid, noise=seed, terminal=terminal, record=True)
    replayed = trace(method, grid, terminal).run(bent, x, noise=seed)
    assert relative(replayed, run.x, *run.xs, *run.denoised) < 1e-7


@settings(max_examples=60)
@given(any_solver(stochastic=False, unrollable=True), grids(max_steps=6, towards="noise", lam=MILD), seeds())
def test_replay_is_the_loop_towards_noise(method: Solver, grid: list[Node], seed: int) -> None:
    x = states(grid, seed)
    run = sample(method, bent, x, grid, terminal="none", record=True)
    assert relative(trace(method, grid).run(bent, x), run.x, *run.xs, *run.denoised) < 1e-12


@settings(max_examples=40)
@given(any_solver(unrollable=True), grids(max_steps=6, lam=MILD), mixtures(d=2, std=(0.3, 1.5)), seeds())
def test_replay_is_the_loop_on_exact_mixtures(method: Solver, grid: list[Node], mixture: Any, seed: int) -> None:
    x = states(grid, seed, d=2)
    run = sample(method, mixture.denoised, x, grid, noise=seed, record=True)
    assert relative(trace(method, grid, "denoise").run(mixture.denoised, x, noise=seed), run.x, *run.xs, *run.denoised) < 1e-12


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("method", UNROLLED, ids=lambda s: s.name)
def test_replay_of_torch_states(method: Solver, dtype: str) -> None:
    import torch

    grid = uniform(VP(), 6, end=0.02)
    x = states(grid, 0)
    plan = trace(method, grid, "denoise")

    def network(y: Any, node: Node) -> Any:
        return torch.tanh(node.alpha / (node.alpha**2 * 0.3 + node.sigma**2) * (y + 0.5 * torch.roll(y, 1, -1))) + 0.2 * torch.sin(y)

    y = torch.as_tensor(x, dtype=getattr(torch, dtype))
    found = plan.run(network, y, noise=4)
    assert found.dtype == y.dtype
    tolerance = 1e-11 if dtype == "float64" else 2e-4
    np.testing.assert_allclose(found.numpy(), sample(method, bent, x, grid, noise=4), rtol=0.0, atol=tolerance)


def test_a_seed_is_one_noise_and_no_seed_a_new_one_in_both() -> None:
    grid = uniform(VP(), 4)
    x, plan = states(grid, 0), trace(SOLVERS["ddpm"], grid)
    np.testing.assert_array_equal(plan.run(bent, x, noise=0), sample(SOLVERS["ddpm"], bent, x, grid, noise=0, terminal="none"))
    np.testing.assert_array_equal(plan.run(bent, x, noise=np.int64(3)), plan.run(bent, x, noise=3))
    for run in (lambda: plan.run(bent, x), lambda: sample(SOLVERS["ddpm"], bent, x, grid, terminal="none")):
        assert np.abs(run() - run()).max() > 0.1


# dense views


@pytest.mark.parametrize("method", UNROLLED, ids=lambda s: s.name)
@settings(max_examples=4)
@given(grid=grids(max_steps=6, lam=MILD), terminal=st.sampled_from(["denoise", "none"]), seed=seeds())
def test_dense_views_are_the_run(method: Solver, grid: list[Node], terminal: str, seed: int) -> None:
    """Feeding each row of ``inputs`` to the denoiser in turn, then ``output``, is the run, on a denoiser that is not linear."""
    x = states(grid, seed)
    plan = trace(method, grid, terminal)
    noise = BrownianNoise(seed, x.shape)
    draws = [noise(s, t) for s, t in plan.noises]
    width = 1 + plan.nfe + len(draws)
    assert plan.inputs.shape == (plan.nfe, width)
    assert plan.output.shape == (width,)
    assert len(plan.nodes) == plan.nfe
    basis = np.zeros((width, *x.shape))
    basis[0] = x
    basis[1 + plan.nfe :] = np.array(draws).reshape(-1, *x.shape)
    for i, (row, node) in enumerate(zip(plan.inputs, plan.nodes, strict=True)):
        assert not row[1 + i : 1 + plan.nfe].any(), "an evaluation reads one that comes later"
        basis[1 + i] = bent(np.tensordot(row, basis, 1), node)
    truth = sample(method, bent, x, grid, noise=noise, terminal=terminal)
    found = np.tensordot(plan.output, basis, 1)
    # a row may hold large terms that cancel; round-off enters at their size
    rows = np.vstack([plan.inputs, plan.output])
    size = (np.abs(rows) @ np.abs(basis).max(axis=(1, 2))).max()
    assert relative(found, truth, np.array(size)) < 1e-12


@pytest.mark.parametrize("method", UNROLLED, ids=lambda s: s.name)
def test_terminal_evaluation_is_the_last_row(method: Solver) -> None:
    grid = uniform_lam(EDM(), 5)
    plain, ended = trace(method, grid), trace(method, grid, "denoise")
    assert ended.nfe == plain.nfe + 1
    assert ended.nodes[-1] == grid[-1]
    unit = np.zeros_like(ended.output)
    unit[ended.nfe] = 1.0
    np.testing.assert_array_equal(ended.output, unit)
    kept = [0, *range(1, 1 + plain.nfe), *range(2 + plain.nfe, len(ended.output))]
    np.testing.assert_array_equal(ended.inputs[-1][kept], plain.output)


# facts

FACTS: dict[str, tuple[Callable[[int], int], int, bool]] = {
    "euler": (lambda n: n, 0, False),
    "heun": (lambda n: 2 * n, 0, False),
    "ddim": (lambda n: n, 0, False),
    "dpm_solver_2": (lambda n: 2 * n, 0, False),
    "dpm_solver_3": (lambda n: 3 * n, 0, False),
    "dpmpp_2s": (lambda n: 2 * n, 0, False),
    "dpmpp_2m": (lambda n: n + 1, 1, False),
    "deis_tab2": (lambda n: n + 2 * min(n, 2), 2, False),
    "ipndm_2": (lambda n: n + 1, 1, False),
    "ddpm": (lambda n: n, 0, True),
    "dpmpp_2m_sde": (lambda n: n, 1, True),
}
"""Evaluations in n steps, arrays handed on, noise: counted on the papers' algorithms, with the starts that the solvers declare."""


@pytest.mark.parametrize("n", [1, 2, 3, 4, 11])
@pytest.mark.parametrize("name", list(FACTS))
def test_facts_are_those_of_the_paper(name: str, n: int) -> None:
    nfe, history, stochastic = FACTS[name]
    plan = trace(SOLVERS[name], uniform_lam(VP(), n))
    assert plan.nfe == nfe(n)
    assert plan.history == (history if n > history else 0)  # a memory that never fills is never read
    assert plan.stochastic is stochastic


@pytest.mark.parametrize("n", [1, 2, 3, 9])
@pytest.mark.parametrize("method", UNROLLED, ids=lambda s: s.name)
def test_facts_hold_for_every_solver(method: Solver, n: int) -> None:
    grid = uniform(VP(), n)
    plan = trace(method, grid)
    assert plan.stochastic == (method.weak is not None)
    assert trace(method, grid, "denoise").nfe == plan.nfe + 1
    assert len(plan.states) == n + 1
    assert plan.states[0] == 0
    assert plan.states[-1] == plan.result
    assert all(grid[0].lam <= node.lam <= grid[-1].lam for node in plan.nodes)
    for (s, t), (u, _) in pairwise(plan.noises):
        assert t.lam <= u.lam
        assert s.lam < t.lam
    for op in plan.ops:
        if isinstance(op, Combine):
            assert all(type(c) is float and math.isfinite(c) and c != 0.0 for _, c in op.terms)
            assert [i for i, _ in op.terms] == sorted({i for i, _ in op.terms})


@pytest.mark.parametrize("method", UNROLLED, ids=lambda s: s.name)
def test_nothing_is_evaluated_twice(method: Solver) -> None:
    """No two evaluations share node and input: a body and its start, or two steps, share what they both need."""
    plan = trace(method, uniform_lam(VP(), 5, end=0.05))
    for i, node in enumerate(plan.nodes):
        for j in range(i):
            if plan.nodes[j] == node:
                assert np.abs(plan.inputs[i] - plan.inputs[j]).max() > 1e-9, f"evaluations {j} and {i} are the same"


@pytest.mark.parametrize("method", UNROLLED, ids=lambda s: s.name)
def test_operations_read_only_what_is_made(method: Solver) -> None:
    plan = trace(method, uniform(VP(), 7), "denoise")
    for i, op in enumerate(plan.ops):
        read = [op.source] if isinstance(op, Evaluate) else [j for j, _ in op.terms] if isinstance(op, Combine) else []
        assert all(0 <= j <= i for j in read)
    assert plan.result <= len(plan.ops)


@pytest.mark.parametrize("method", UNROLLED, ids=lambda s: s.name)
def test_recorded_states_are_the_states_registers(method: Solver) -> None:
    grid = uniform(VP(), 5, end=0.05)
    x = states(grid, 1)
    run = sample(method, bent, x, grid, noise=2, terminal="none", record=True)
    plan = trace(method, grid)
    for register, truth in zip(plan.states, run.xs, strict=True):
        cut = replace(plan, result=register)
        assert relative(cut.run(bent, x, noise=2), truth, *run.xs) < 1e-12


def test_a_plan_is_a_value() -> None:
    a, b = trace(SOLVERS["dpmpp_2m"], uniform(VP(), 4)), trace(SOLVERS["dpmpp_2m"], uniform(VP(), 4))
    assert a == b
    assert a != trace(SOLVERS["dpmpp_2m"], uniform(VP(), 5))
    with pytest.raises(AttributeError):
        a.result = 0  # type: ignore[misc]


# steps written for the tests


def made(step: Step, **claims: Any) -> Solver:
    return solver(**{"order": 1, "reference": "a test", "register": False, **claims})(step)


def formula(use: Callable[[Any, Any], Any]) -> Solver:
    """A method whose state after a step is ``use(x, D)``."""

    def step(denoise: Any, x: Any, s: Any, t: Any, carry: Any, noise: Any) -> Any:
        return use(x, denoise(x, s)), None

    return made(step)


GRID = uniform(VP(), 3)

NONLINEAR: dict[str, Callable[[Any, Any], Any]] = {
    "x * x": lambda x, d: x * x,
    "x * D": lambda x, d: x * d,
    "D / D": lambda x, d: d / d,
    "1 / x": lambda x, d: 1.0 / x,
    "x ** 2": lambda x, d: x**2,
    "2 ** x": lambda x, d: 2.0**x,
    "x % 1": lambda x, d: x % 1.0,
    "x // 1": lambda x, d: x // 1.0,
    "abs": lambda x, d: abs(x),
    "max": lambda x, d: max(x, d),
    "x < 0": lambda x, d: x if x < 0.0 else d,
    "x == D": lambda x, d: x if x == d else d,
    "x != D": lambda x, d: x if x != d else d,
    "bool": lambda x, d: x if x else d,
    "not": lambda x, d: (not x) * d,
    "x in": lambda x, d: x if 0.0 in d else d,
    "float": lambda x, d: float(x) * d,
    "int": lambda x, d: int(x) * d,
    "math.exp": lambda x, d: math.exp(x) * d,
    "len": lambda x, d: (1.0 / len(x)) * d,
    "iter": lambda x, d: sum(x) * d,
    "index": lambda x, d: x[0],
    "slice": lambda x, d: x[:, 1:],
    "assign": lambda x, d: x.__setitem__(0, d),
    "round": lambda x, d: round(x),
    ".shape": lambda x, d: (1.0 / x.shape[-1]) * d,
    ".dtype": lambda x, d: d if x.dtype else x,
    ".sum()": lambda x, d: x.sum() * d,
    ".clip()": lambda x, d: d.clip(-1.0, 1.0),
    ".copy()": lambda x, d: x.copy(),
    "x + 1": lambda x, d: x + 1.0,
    "1 + x": lambda x, d: 1.0 + x,
    "x - 1": lambda x, d: x - 1.0,
    "1 - x": lambda x, d: 1.0 - x,
    "x + float64": lambda x, d: np.float64(2.0) + x,
    "x + array": lambda x, d: x + np.ones(3),
    "array + x": lambda x, d: np.ones(3) + x,
    "x * array": lambda x, d: x * np.ones(3),
    "array * x": lambda x, d: np.ones(3) * x,
    "x / array": lambda x, d: x / np.ones(3),
    "x @ array": lambda x, d: x @ np.eye(3),
    "array @ x": lambda x, d: np.eye(3) @ x,
    "x * complex": lambda x, d: (1.0 + 1.0j) * x,
    "x * None": lambda x, d: x * None,
    "x & D": lambda x, d: x & d,
    "~x": lambda x, d: ~x,
    "numpy.exp": lambda x, d: np.exp(x),
    "numpy.tanh": lambda x, d: np.tanh(d),
    "numpy.clip": lambda x, d: np.clip(d, -1.0, 1.0),
    "numpy.where": lambda x, d: np.where(x > 0.0, x, d),
    "numpy.linalg.norm": lambda x, d: (1.0 / np.linalg.norm(x)) * d,
    "numpy.zeros_like": lambda x, d: d + np.zeros_like(x),
    "numpy.mean": lambda x, d: np.mean(x) * d,
    "numpy.stack": lambda x, d: np.stack([x, d])[0],
    "numpy.array": lambda x, d: np.array(x),
    "numpy.isfinite": lambda x, d: x if np.isfinite(x).all() else d,
    "numpy.multiply, outer": lambda x, d: np.multiply.outer(2.0, x),
}


@pytest.mark.parametrize("what", list(NONLINEAR))
def test_what_is_not_linear_is_refused(what: str) -> None:
    with pytest.raises(NotLinear, match="between evaluations a step may only use"):
        trace(formula(NONLINEAR[what]), GRID)


LINEAR: dict[str, tuple[Callable[[Any, Any], Any], tuple[float, float]]] = {
    "plain": (lambda x, d: 0.5 * x - d * 2.0, (0.5, -2.0)),
    "division": (lambda x, d: x / 4.0 + d / 2, (0.25, 0.5)),
    "signs": (lambda x, d: -(+x) - (-d), (-1.0, 1.0)),
    "integers": (lambda x, d: 3 * x - 2 * d, (3.0, -2.0)),
    "float64 on the left": (lambda x, d: np.float64(0.5) * x - np.float64(2.0) * d, (0.5, -2.0)),
    "float64 on the right": (lambda x, d: x * np.float64(0.5) + d / np.float64(2.0), (0.5, 0.5)),
    "float32 on the left": (lambda x, d: np.float32(0.5) * x + np.float32(2.0) * d, (0.5, 2.0)),
    "int64 on the left": (lambda x, d: np.int64(2) * x + d, (2.0, 1.0)),
    "fractions": (lambda x, d: Fraction(1, 4) * x + Fraction(3, 4) * d, (0.25, 0.75)),
    "sum": (lambda x, d: sum([0.5 * x, 2.0 * d]), (0.5, 2.0)),
    "in place": (lambda x, d: _added(0.5 * x, d), (0.5, 1.0)),
    "cancelling": (lambda x, d: (x - d) - (x - 2.0 * d), (0.0, 1.0)),
    "zero": (lambda x, d: 0.0 * x + d, (0.0, 1.0)),
}


def _added(total: Any, d: Any) -> Any:
    total += d
    return total


@pytest.mark.parametrize("what", list(LINEAR))
def test_linear_arithmetic_is_traced(what: str) -> None:
    use, coefficients = LINEAR[what]
    grid = uniform(VP(), 1)
    plan = trace(formula(use), grid)
    np.testing.assert_array_equal(plan.output, coefficients)
    x = states(grid, 5)
    np.testing.assert_allclose(plan.run(bent, x), coefficients[0] * x + coefficients[1] * bent(x, grid[0]), rtol=1e-14, atol=1e-14)
    assert all(type(c) is float for op in plan.ops if isinstance(op, Combine) for _, c in op.terms)


def test_terms_with_coefficient_zero_are_not_read() -> None:
    def step(denoise: Any, x: Any, s: Any, t: Any, carry: Any, noise: Any) -> Any:
        d = denoise(x, s)
        return 0.5 * d + 0.0 * x + 0.0 * noise(s, t), (x, d)

    plan = trace(made(step, weak=1), GRID)
    assert all(len(op.terms) == 1 for op in plan.ops if isinstance(op, Combine))
    assert plan.history == 0
    x = states(GRID, 0)
    np.testing.assert_allclose(
        plan.run(bent, x, 0), sample(made(step, weak=1), bent, x, GRID, noise=0, terminal="none"), rtol=0.0, atol=1e-14
    )


def test_a_state_that_vanishes_is_zero() -> None:
    plan = trace(formula(lambda x, d: x - x), GRID)
    x = states(GRID, 0)
    np.testing.assert_array_equal(plan.run(bent, x), np.zeros_like(x))
    np.testing.assert_array_equal(plan.output, np.zeros(1 + plan.nfe))


def test_a_step_that_does_nothing_costs_nothing() -> None:
    def step(denoise: Any, x: Any, s: Any, t: Any, carry: Any, noise: Any) -> Any:
        return x, None

    plan = trace(made(step), GRID)
    assert (plan.ops, plan.result, plan.nfe, plan.history) == ((), 0, 0, 0)
    assert plan.inputs.size == 0
    x = states(GRID, 0)
    np.testing.assert_array_equal(plan.run(bent, x), x)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, np.float64("nan")])
def test_coefficients_are_finite(bad: float) -> None:
    with pytest.raises(ValueError, match=f"a coefficient is {float(bad)}: steps need finite coefficients"):
        trace(formula(lambda x, d: x + bad * d), GRID)


def test_coefficients_that_overflow_on_the_way_are_refused() -> None:
    with pytest.raises(ValueError, match=r"the state after step 0 has coefficients .*inf.*: steps need finite coefficients"):
        trace(formula(lambda x, d: 1e200 * (1e200 * x) + d), GRID)
    with pytest.raises(ValueError, match=r"the state after step 0 has coefficients .*nan"):
        trace(formula(lambda x, d: 0.0 * (1e200 * (1e200 * x)) + d), GRID)


def step_returning(result: Any) -> Solver:
    def step(denoise: Any, x: Any, s: Any, t: Any, carry: Any, noise: Any) -> Any:
        denoise(x, s)
        return result(x) if callable(result) else result

    return made(step)


@pytest.mark.parametrize(
    ("result", "culprit"),
    [
        (("x", None), "the state after step 0 is str, not an array"),
        ((1.0, None), "the state after step 0 is float, not an array"),
        ((np.ones((4, 3)), None), "the state after step 0 is ndarray, not an array"),
        ((None, None), "the state after step 0 is NoneType, not an array"),
        (None, "step returned a NoneType: a step returns the pair"),
        (lambda x: x, r"step returned a Form: a step returns the pair \(x_t, carry\)"),
        (lambda x: (x, None, None), "step returned a tuple: a step returns the pair"),
    ],
)
def test_what_is_no_state_is_refused(result: Any, culprit: str) -> None:
    with pytest.raises(TypeError, match=culprit):
        trace(step_returning(result), GRID)


def test_a_node_that_is_no_form_is_refused_as_input() -> None:
    def step(denoise: Any, x: Any, s: Any, t: Any, carry: Any, noise: Any) -> Any:
        return denoise(s.alpha, s), None

    with pytest.raises(NotLinear, match=r"the input of the evaluation at .* is float"):
        trace(made(step), GRID)


def test_declared_nonlinear_methods_are_refused_with_their_reason() -> None:
    called = []

    def step(denoise: Any, x: Any, s: Any, t: Any, carry: Any, noise: Any) -> Any:
        called.append(s)
        return denoise(x, s), None

    with pytest.raises(NotLinear, match="step is declared nonlinear: it chooses its own steps"):
        trace(made(step, nonlinear="it chooses its own steps"), GRID)
    assert not called


# noise


def drawing(*intervals: tuple[float, float]) -> Solver:
    """Adds the noises of intervals given as shares of the step."""

    def step(denoise: Any, x: Any, s: Any, t: Any, carry: Any, noise: Any) -> Any:
        x_t = denoise(x, s)
        for a, b in intervals:
            x_t = x_t + 0.1 * noise(s.toward(t, a), s.toward(t, b))
        return x_t, None

    return made(step, weak=1)


@pytest.mark.parametrize(
    "intervals",
    [[(0.0, 1.0), (0.0, 0.5)], [(0.0, 0.6), (0.4, 1.0)], [(0.5, 1.0), (0.0, 1.0)], [(0.0, 1.0), (0.25, 0.75)], [(0.0, 1.0), (1.0, 0.5)]],
)
def test_overlapping_draws_are_refused(intervals: list[tuple[float, float]]) -> None:
    """Taken as independent they would break weak order 2 without a sound."""
    with pytest.raises(ValueError, match="overlapping intervals"):
        trace(drawing(*intervals), GRID)


def test_draws_that_overlap_another_step_are_refused() -> None:
    def step(denoise: Any, x: Any, s: Any, t: Any, carry: Any, noise: Any) -> Any:
        first = carry or s
        return denoise(x, s) + noise(first, t), first

    with pytest.raises(ValueError, match="overlapping intervals"):
        trace(made(step, weak=1), GRID)


@pytest.mark.parametrize("intervals", [[(0.0, 0.5), (0.5, 1.0)], [(0.5, 1.0), (0.0, 0.5)], [(0.0, 0.3), (0.3, 0.4), (0.7, 1.0)]])
def test_disjoint_draws_are_independent(intervals: list[tuple[float, float]]) -> None:
    plan = trace(drawing(*intervals), GRID)
    assert len(plan.noises) == 3 * len(intervals)
    x = states(GRID, 3)
    noise = BrownianNoise(9, x.shape)
    truth = sample(drawing(*intervals), bent, x, GRID, noise=noise, terminal="none")
    assert relative(plan.run(bent, x, noise=noise), truth) < 1e-13


def test_one_interval_is_one_draw_in_either_direction() -> None:
    plan = trace(drawing((0.0, 1.0), (0.0, 1.0), (1.0, 0.0)), GRID)
    assert len(plan.noises) == 3
    assert sum(isinstance(op, Draw) for op in plan.ops) == 3
    last = [c for op in plan.ops if isinstance(op, Combine) for _, c in op.terms if math.isclose(c, 0.3)]
    assert len(last) == 3


# refusals of a replay


@pytest.mark.parametrize(
    ("x", "error", "culprit"),
    [
        (np.ones((2, 3), int), TypeError, "x has dtype int64"),
        ([[1.0]], TypeError, "x is a list"),
        (np.ones((0, 3)), ValueError, r"x has shape \(0, 3\)"),
        (np.full((2, 3), np.nan), NonFinite, "x has nan or inf entries"),
    ],
)
def test_replay_refuses_bad_states(x: Any, error: type[Exception], culprit: str) -> None:
    calls: list[Node] = []
    with pytest.raises(error, match=culprit):
        trace(SOLVERS["ddim"], GRID).run(lambda x, node: calls.append(node), x)
    assert not calls


@pytest.mark.parametrize("at", [0, 2])
def test_replay_names_step_and_evaluation_of_a_bad_value(at: int) -> None:
    seen: list[Node] = []

    def network(x: Any, node: Node) -> Any:
        seen.append(node)
        return x * (np.nan if len(seen) == at + 1 else 0.5)

    with pytest.raises(NonFinite, match=f"denoise returned nan or inf at step {at}, evaluation {at + 1},"):
        trace(SOLVERS["ddim"], GRID).run(network, states(GRID, 0))
    assert len(seen) == at + 1


def test_replay_does_not_let_a_diverged_state_out() -> None:
    x = np.full((2, 3), 1e308)
    method = formula(lambda x, d: 8.0 * x + d)
    for run in (
        lambda: trace(method, GRID).run(lambda x, node: 0.5 * x, x),
        lambda: sample(method, lambda x, node: 0.5 * x, x, GRID, terminal="none"),
    ):
        with np.errstate(over="ignore"), pytest.raises(NonFinite, match="the state became nan or inf in step 0 of step"):
            run()


def test_tracing_calls_no_network_and_leaves_no_state() -> None:
    method, grid = SOLVERS["dpmpp_2m"], uniform(VP(), 6)
    first = trace(method, grid)
    sample(method, bent, states(grid, 0), grid)
    assert trace(method, grid) == first


@pytest.mark.parametrize("grid", [[], [GRID[0]], [GRID[1], GRID[0], GRID[2]]], ids=["empty", "one", "zigzag"])
def test_bad_grids_are_refused(grid: list[Node]) -> None:
    with pytest.raises(ValueError, match="grid"):
        trace(SOLVERS["ddim"], grid)


def test_memory_of_any_container_is_traced() -> None:
    """A carry may hold its arrays in tuples, lists and dicts, nested; nothing in it is lost or recomputed."""

    def step(denoise: Any, x: Any, s: Any, t: Any, carry: Any, noise: Any) -> Any:
        d = denoise(x, s)
        old = carry["past"][0][1] if carry else d
        return 0.7 * x + 0.2 * d + 0.1 * old, {"past": [(s, 0.5 * d + 0.5 * old)], "steps": 1}

    method, x = made(step), states(GRID, 8)
    plan = trace(method, GRID)
    assert plan.history == 1
    assert relative(plan.run(bent, x), sample(method, bent, x, GRID, terminal="none")) < 1e-13


def test_replay_frees_what_it_no_longer_reads() -> None:
    """Memory does not grow with the number of steps: of all evaluations only the few still needed are alive."""

    class Tracked(np.ndarray):
        pass

    made_so_far: list[weakref.ref[Tracked]] = []
    alive: list[int] = []

    def network(x: Any, node: Node) -> Any:
        alive.append(sum(ref() is not None for ref in made_so_far))
        value = np.array(0.5 * x).view(Tracked)
        made_so_far.append(weakref.ref(value))
        return value

    trace(SOLVERS["dpmpp_2m"], uniform(VP(), 40)).run(network, np.ones((1, 2)))
    assert len(alive) == 41
    assert max(alive) <= 2
