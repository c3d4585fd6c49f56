"""Laws of the loop: what it records, what it counts, what it tells a callback, how it ends, and that watching it changes nothing."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scorebed.solvers import (
    EDM,
    SOLVERS,
    VP,
    BrownianNoise,
    Node,
    NonFinite,
    Run,
    Solver,
    StepDone,
    ddim,
    ddpm,
    dpmpp_2m,
    methods_on,
    sample,
    trace,
)
from scorebed.solvers.grid import uniform, uniform_lam
from scorebed.toy.properties.strategies import grids, schedules, seeds
from scorebed.toy.properties.strategies import solvers as any_solver

UNROLLED = [s for s in methods_on().values() if s.nonlinear is None]


class Network:
    """A smooth nonlinear denoiser that remembers every call."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, Node]] = []
        self.values: list[Any] = []

    def __call__(self, x: Any, node: Node) -> Any:
        pull = node.alpha / (node.alpha**2 * 0.3 + node.sigma**2)
        if isinstance(x, np.ndarray):
            value = np.tanh(pull * (x + 0.5 * np.roll(x, 1, axis=-1)))
        else:
            import torch

            value = torch.tanh(pull * (x + 0.5 * torch.roll(x, 1, -1)))
        self.calls.append((x, node))
        self.values.append(value)
        return value


def states(grid: list[Node], seed: int = 0, batch: int = 3) -> np.ndarray:
    return math.hypot(grid[0].alpha, grid[0].sigma) * np.random.default_rng(seed).standard_normal((batch, 2))


# recording and counting


@pytest.mark.parametrize("method", methods_on().values(), ids=lambda s: s.name)
@settings(max_examples=4)
@given(grid=grids(max_steps=7), terminal=st.sampled_from(["denoise", "none"]), seed=seeds())
def test_a_run_records_what_happened(method: Solver, grid: list[Node], terminal: str, seed: int) -> None:
    x, network = states(grid, seed), Network()
    run = sample(method, network, x, grid, noise=seed, terminal=terminal, record=True)
    n = len(grid) - 1
    assert isinstance(run, Run)
    assert run.nodes == grid
    assert len(run.xs) == n + 1
    np.testing.assert_array_equal(run.xs[0], x)
    assert all(a.shape == x.shape and a.dtype == x.dtype and np.isfinite(a).all() for a in run.xs)
    # a method that is declared nonlinear may evaluate a part of the batch at a time
    assert all(a.dtype == x.dtype and (a.shape == x.shape or method.nonlinear) for a in run.denoised)
    assert run.nfe == len(network.calls)
    assert len(run.denoised) == len(run.denoised_nodes) == n + (terminal == "denoise")
    # each recorded evaluation is one that the network made, at the node written beside it, in the network's order
    made, at = [(node, v.tobytes()) for (_, node), v in zip(network.calls, network.values, strict=True)], -1
    for node, v in zip(run.denoised_nodes, run.denoised, strict=True):
        at = made.index((node, v.tobytes()), at + 1)
    assert made[0] == (run.denoised_nodes[0], run.denoised[0].tobytes())
    if terminal == "denoise":
        np.testing.assert_array_equal(network.calls[-1][0], run.xs[-1])
        assert network.calls[-1][1] is grid[-1]
        np.testing.assert_array_equal(run.x, network.values[-1])
        assert run.denoised[-1] is run.x
    else:
        assert run.x is run.xs[-1]


@pytest.mark.parametrize("method", UNROLLED, ids=lambda s: s.name)
@settings(max_examples=4)
@given(grid=grids(max_steps=7), terminal=st.sampled_from(["denoise", "none"]))
def test_evaluations_are_counted_alike_everywhere(method: Solver, grid: list[Node], terminal: str) -> None:
    """Counted at the network, by the run, by the Plan; and made at the same nodes in the same order."""
    network = Network()
    run = sample(method, network, states(grid), grid, noise=0, terminal=terminal, record=True)
    plan = trace(method, grid, terminal)
    assert len(network.calls) == run.nfe == plan.nfe
    assert [node for _, node in network.calls] == list(plan.nodes)


@pytest.mark.parametrize("method", [s for s in UNROLLED if s.weak is None], ids=lambda s: s.name)
def test_denoised_trajectory_is_evaluated_within_its_steps(method: Solver) -> None:
    grid = uniform(VP(), 6)
    run = sample(method, Network(), states(grid), grid, noise=1, record=True)
    for (s, t), node in zip([*pairwise(grid), (grid[-1], grid[-1])], run.denoised_nodes, strict=True):
        assert s.lam <= node.lam <= t.lam


WITH_MEMORY_OR_NOISE = ("dpmpp_2m", "deis_tab2", "ddpm", "dpmpp_2m_sde")
ON_STATES = [s for s in UNROLLED if s.name in WITH_MEMORY_OR_NOISE or (s.weak is None and trace(s, uniform(VP(), 9)).history == 0)]
"""Methods whose steps begin with an evaluation at the state: those with neither memory nor noise, and some with."""


@pytest.mark.parametrize("method", ON_STATES, ids=lambda s: s.name)
def test_denoised_trajectory_is_evaluated_on_the_trajectory(method: Solver) -> None:
    """Every first evaluation of a step is at the state and node where the step begins."""
    grid = uniform(VP(), 6)
    run = sample(method, Network(), states(grid), grid, noise=1, record=True)
    assert run.denoised_nodes == grid
    for x, node, value in zip(run.xs, run.denoised_nodes, run.denoised, strict=True):
        np.testing.assert_allclose(value, Network()(x, node), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("method", methods_on().values(), ids=lambda s: s.name)
def test_recording_and_watching_change_nothing(method: Solver, capsys: pytest.CaptureFixture[str]) -> None:
    grid = uniform(VP(), 5)
    x = states(grid)
    plain = sample(method, Network(), x, grid, noise=3)
    steps: list[StepDone] = []
    np.testing.assert_array_equal(sample(method, Network(), x, grid, noise=3, record=True).x, plain)
    np.testing.assert_array_equal(sample(method, Network(), x, grid, noise=3, callback=steps.append), plain)
    assert capsys.readouterr() == ("", "")
    np.testing.assert_array_equal(sample(method, Network(), x, grid, noise=3, progress=True), plain)
    capsys.readouterr()
    assert len(steps) == 5


def test_progress_names_the_solver_and_leaves_errors_alone(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich draws for terminals only; this makes it take the captured stream for one
    monkeypatch.setenv("TERM", "xterm")
    grid = uniform(VP(), 5)
    sample(dpmpp_2m, Network(), states(grid), grid, progress=True)
    written = capsys.readouterr()
    assert "dpmpp_2m" in written.err
    assert written.out == ""  # which belongs to whoever prints samples

    def broken(x: Any, node: Node) -> Any:
        raise KeyError("of the network's own")

    for _ in range(2):  # an error must not leave a live display behind that refuses the next
        with pytest.raises(KeyError, match="of the network's own"):
            sample(dpmpp_2m, broken, states(grid), grid, progress=True)


@settings(max_examples=40)
@given(any_solver(), grids(max_steps=5), seeds())
def test_a_run_is_a_function_of_its_arguments(method: Solver, grid: list[Node], seed: int) -> None:
    x = states(grid, seed)
    before = x.copy()
    first = sample(method, Network(), x, grid, noise=seed)
    np.testing.assert_array_equal(sample(method, Network(), x, list(grid), noise=seed), first)
    np.testing.assert_array_equal(sample(method, Network(), x, tuple(grid), noise=BrownianNoise(seed, x.shape)), first)
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("method", methods_on().values(), ids=lambda s: s.name)
def test_no_array_is_written_to(method: Solver) -> None:
    """Neither the state nor an evaluation nor a noise is changed in place: all three are handed over read-only."""
    grid = uniform(VP(), 6)
    x = states(grid)
    noise = BrownianNoise(0, x.shape)

    def frozen(array: np.ndarray) -> np.ndarray:
        array.flags.writeable = False
        return array

    found = sample(method, lambda y, node: frozen(Network()(y, node)), frozen(x), grid, noise=lambda s, t: frozen(noise(s, t)))
    np.testing.assert_array_equal(found, sample(method, Network(), x, grid, noise=0))


# callback


@pytest.mark.parametrize("terminal", ["denoise", "none"])
@pytest.mark.parametrize("method", UNROLLED, ids=lambda s: s.name)
def test_the_callback_is_told_each_step_once(method: Solver, terminal: str) -> None:
    grid, network = uniform(VP(), 5), Network()
    seen: list[StepDone] = []
    counts: list[int] = []

    def callback(done: StepDone) -> None:
        seen.append(done)
        counts.append(len(network.calls))

    run = sample(method, network, states(grid), grid, noise=0, terminal=terminal, record=True, callback=callback)
    assert [done.index for done in seen] == list(range(5))
    for i, done in enumerate(seen):
        assert done.s is grid[i]
        assert done.t is grid[i + 1]
        np.testing.assert_array_equal(done.x, run.xs[i + 1])
        np.testing.assert_array_equal(done.denoised, run.denoised[i])
    assert [done.nfe for done in seen] == counts
    assert counts[-1] == run.nfe - (terminal == "denoise")
    with pytest.raises(AttributeError):
        seen[0].x = None


def test_an_error_in_the_callback_comes_through() -> None:
    grid = uniform(VP(), 5)

    def stop(done: StepDone) -> None:
        if done.index == 2:
            raise StopIteration("enough")

    with pytest.raises(StopIteration, match="enough"):
        sample(ddim, Network(), states(grid), grid, callback=stop)


# terminal rules


@settings(max_examples=40)
@given(any_solver(), grids(max_steps=5), seeds())
def test_denoise_is_one_evaluation_after_none(method: Solver, grid: list[Node], seed: int) -> None:
    x = states(grid, seed)
    state = sample(method, Network(), x, grid, noise=seed, terminal="none")
    ended = sample(method, Network(), x, grid, noise=seed, terminal="denoise")
    np.testing.assert_array_equal(ended, Network()(state, grid[-1]))
    np.testing.assert_array_equal(sample(method, Network(), x, grid, noise=seed), ended)


@settings(max_examples=40)
@given(any_solver(stochastic=False), grids(max_steps=5, towards="noise"))
def test_grids_towards_noise_are_walked(method: Solver, grid: list[Node]) -> None:
    run = sample(method, Network(), states(grid), grid, noise=0, terminal="none", record=True)
    assert run.nodes == grid
    assert np.isfinite(run.x).all()


# noise


def test_no_seed_is_a_fresh_one_and_seeds_differ() -> None:
    grid = uniform(VP(), 5)
    x = states(grid)
    found = {seed: sample(ddpm, Network(), x, grid, noise=seed, terminal="none") for seed in (None, 0, 1, np.int64(1), 2**64 - 1)}
    assert np.abs(found[None] - found[0]).max() > 0.1
    np.testing.assert_array_equal(found[1], sample(ddpm, Network(), x, grid, noise=np.int64(1), terminal="none"))
    assert np.abs(found[0] - found[1]).max() > 0.1
    assert np.abs(found[2**64 - 1] - found[1]).max() > 0.1


def test_deterministic_methods_draw_no_noise() -> None:
    grid = uniform(VP(), 4)

    def noise(s: Node, t: Node) -> Any:
        raise AssertionError("a deterministic method drew noise")

    for method in methods_on().values():
        if method.weak is None:
            sample(method, Network(), states(grid), grid, noise=noise)


@pytest.mark.parametrize("method", [s for s in methods_on().values() if s.weak is not None], ids=lambda s: s.name)
def test_own_noise_is_asked_for_each_interval(method: Solver) -> None:
    grid, asked = uniform(VP(), 6), []
    x = states(grid)
    zero = sample(method, Network(), x, grid, noise=lambda s, t: np.zeros_like(x), terminal="none")

    def noise(s: Node, t: Node) -> Any:
        asked.append((s, t))
        return BrownianNoise(0, x.shape)(s, t)

    found = sample(method, Network(), x, grid, noise=noise, terminal="none")
    assert all(grid[0].lam <= s.lam < t.lam <= grid[-1].lam for s, t in asked)
    assert len({(s.lam, t.lam) for s, t in asked}) >= len(grid) - 1
    assert np.abs(found - zero).max() > 1e-3


@settings(max_examples=25)
@given(any_solver(), grids(min_steps=2, max_steps=5), seeds())
def test_samples_do_not_depend_on_their_batch(method: Solver, grid: list[Node], seed: int) -> None:
    x = states(grid, seed, batch=5)
    noise = BrownianNoise(seed, x.shape)
    whole = sample(method, Network(), x, grid, noise=noise)
    for rows in ([0, 1], [4, 2, 3]):
        np.testing.assert_array_equal(sample(method, Network(), x[rows], grid, noise=noise.take(rows)), whole[rows])


# what is computed before a failure is kept


class Failing(Network):
    """Gives ``bad`` at its call number ``at``."""

    def __init__(self, at: int, bad: float = math.nan) -> None:
        super().__init__()
        self.at, self.bad = at, bad

    def __call__(self, x: Any, node: Node) -> Any:
        value = super().__call__(x, node)
        if len(self.calls) == self.at + 1:
            value = value.copy()
            value[-1, -1] = self.bad
        return value


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("at", range(6))
def test_non_finite_carries_the_run(at: int, bad: float) -> None:
    grid = uniform(VP(), 5)
    x = states(grid)
    whole = sample(ddim, Network(), x, grid, record=True)
    failing = Failing(at, bad)
    with pytest.raises(NonFinite, match=f"denoise returned nan or inf at step {at}, evaluation {at + 1}, Node") as caught:
        sample(ddim, failing, x, grid, record=True)
    run = caught.value.run
    assert run is not None
    assert len(failing.calls) == at + 1
    assert run.nodes == grid[: at + 1]
    assert run.nfe == at
    for found, truth in zip(run.xs, whole.xs[: at + 1], strict=True):
        np.testing.assert_array_equal(found, truth)
    for found, truth in zip(run.denoised, whole.denoised[:at], strict=True):
        np.testing.assert_array_equal(found, truth)
    np.testing.assert_array_equal(run.x, whole.xs[at])
    with pytest.raises(NonFinite) as caught:
        sample(ddim, Failing(at, bad), x, grid)
    assert caught.value.run is not None
    np.testing.assert_array_equal(caught.value.run.x, whole.xs[at])  # the last good state, recorded or not


def test_non_finite_is_both_a_value_error_and_a_floating_point_error() -> None:
    assert issubclass(NonFinite, ValueError)
    assert issubclass(NonFinite, FloatingPointError)


def test_huge_finite_numbers_pass() -> None:
    """The sum of a large array may overflow where no entry does; that is not an error, nor a warning."""
    grid = uniform_lam(EDM(), 2)
    x = np.full((4, 4), 5e307)
    np.testing.assert_array_equal(sample(ddim, lambda y, node: x, x, grid), x)


# arrays


@settings(max_examples=60)
@given(any_solver(unrollable=True), grids(max_steps=5, lam=(-3.0, 3.0)), seeds(), st.sampled_from(["denoise", "none"]))
def test_torch_states_give_what_numpy_gives(method: Solver, grid: list[Node], seed: int, terminal: str) -> None:
    import torch

    x = states(grid, seed)
    truth = sample(method, Network(), x, grid, noise=seed, terminal=terminal, record=True)
    for dtype, tolerance in ((torch.float64, 1e-11), (torch.float32, 5e-3)):
        y = torch.as_tensor(x, dtype=dtype)
        run = sample(method, Network(), y, grid, noise=seed, terminal=terminal, record=True)
        assert all(a.dtype == dtype and a.device == y.device and not a.requires_grad for a in [run.x, *run.xs, *run.denoised])
        size = max(1.0, *(np.abs(a).max() for a in truth.xs))
        assert np.abs(run.x.numpy() - truth.x).max() <= tolerance * size
        assert run.nfe == truth.nfe


@pytest.mark.parametrize("method", methods_on().values(), ids=lambda s: s.name)
def test_float32_states_stay_float32(method: Solver) -> None:
    for grid in (uniform(VP(), 7, end=0.02), uniform_lam(EDM(), 7)):
        x = states(grid)
        run = sample(method, Network(), x.astype(np.float32), grid, noise=1, record=True)
        assert all(a.dtype == np.float32 for a in [run.x, *run.xs, *run.denoised])
        np.testing.assert_allclose(run.x, sample(method, Network(), x, grid, noise=1), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("shape", [(2,), (1, 1), (3, 2), (2, 3, 4, 2)])
def test_states_of_any_shape(shape: tuple[int, ...]) -> None:
    grid = uniform(VP(), 4)
    x = np.random.default_rng(0).standard_normal(shape)
    found = sample(dpmpp_2m, Network(), x, grid)
    assert found.shape == shape
    flat = sample(dpmpp_2m, Network(), x.reshape(-1, shape[-1]), grid)
    np.testing.assert_allclose(found.reshape(-1, shape[-1]), flat, rtol=1e-14, atol=1e-14)


# variables


@settings(max_examples=40)
@given(grids(schedules("VP", "SubVP", "Cosine", "RectifiedFlow"), max_steps=6, lam=(-3.0, 3.0)), st.data())
def test_a_run_in_vp_variables_is_the_run_in_edm_variables(grid: list[Node], data: st.DataObject) -> None:
    """Methods that see the schedule through lam alone commute with x -> x / alpha, which maps every schedule to EDM."""
    method = data.draw(
        st.sampled_from([SOLVERS[name] for name in ("euler", "heun", "ddim", "dpm_solver_2", "dpmpp_2s", "dpmpp_2m", "ddpm")])
    )
    edm = [EDM().at_lam(node.lam) for node in grid]
    x = states(grid)

    def law(y: Any, rho: float) -> Any:
        return np.tanh(y / (0.3 + rho**2))

    here = sample(method, lambda x, node: law(x / node.alpha, node.rho), x, grid, noise=0, terminal="none")
    there = sample(method, lambda x, node: law(x, node.sigma), x / grid[0].alpha, edm, noise=0, terminal="none")
    np.testing.assert_allclose(here / grid[-1].alpha, there, rtol=1e-10, atol=1e-10 * np.abs(there).max())
