"""Adaptive pairs and SciPy's integrators: every sample by itself, every call counted, an error in place of a hang."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from scorebed.solvers import EDM, SOLVERS, VP, Node, NonFinite, NotLinear, RectifiedFlow, Solver, grid, sample, trace
from scorebed.solvers.methods import adaptive
from scorebed.solvers.methods.adaptive import BOGACKI_SHAMPINE, DORMAND_PRINCE, DPM_12, DPM_23, Pair, ToleranceNotMet, control
from scorebed.solvers.methods.scipy_integrators import IntegratorFailed
from scorebed.toy.measure.convergence import rms
from scorebed.toy.properties.adaptive import black_box, chooses_steps, close, effort, tolerance, uncontrolled_order
from scorebed.toy.properties.cases import jagged, modes
from scorebed.toy.properties.mutants import _Counter, _plain, _Tampered

PAIRS = {"bogacki_shampine": BOGACKI_SHAMPINE, "dormand_prince": DORMAND_PRINCE, "dpm_solver_12": DPM_12, "dpm_solver_23": DPM_23}
SCIPY = ("scipy_rk45", "scipy_dop853", "scipy_radau", "scipy_lsoda")
X = np.linspace(-2.0, 2.0, 9)[:, None]


def uneven(x: Any, node: Node) -> Any:
    """tanh-shaped posterior means, elementwise, so that the values of a row cannot depend on the rest of the batch even in the last bit."""
    a, s2 = node.alpha, node.sigma**2
    mean = x * (a / (a * a * 0.05 + s2))
    return 0.05 * mean + (s2 / (a * a * 0.05 + s2)) * (mean / (1.0 + abs(mean)))


class Counted:
    """A denoiser that keeps (node, batch size) of its calls."""

    pointwise = True

    def __init__(self, denoise: Callable[[Any, Node], Any]) -> None:
        self.denoise = denoise
        self.calls: list[tuple[Node, int]] = []

    def __call__(self, x: Any, node: Node) -> Any:
        self.calls.append((node, len(x)))
        return self.denoise(x, node)


def run(name: str, denoise: Any, x: Any, nodes: list[Node], tol: float, **options: Any) -> Any:
    return sample(SOLVERS[name](rtol=tol, atol=tol, **options), denoise, x, nodes, terminal="none")


@pytest.mark.parametrize("name", [*PAIRS, *SCIPY])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_sample_does_not_depend_on_its_batch(name: str, dtype: type) -> None:
    x: np.ndarray = np.random.default_rng(0).normal(size=(12, 3)).astype(dtype) * np.array([0.1, 1.0, 10.0], dtype)
    nodes = grid.karras(EDM(0.01, 20.0), 3)
    tol = 1e-3
    whole = run(name, uneven, x, nodes, tol)
    for rows in ([7], [3, 0, 11], list(range(11, -1, -1))):
        np.testing.assert_array_equal(run(name, uneven, x[rows], nodes, tol), whole[rows])
    assert whole.dtype == dtype


@pytest.mark.parametrize("name", PAIRS)
def test_samples_take_their_own_steps(name: str) -> None:
    """Far out the denoiser saturates and few steps do; near the origin many are needed. Neither pays for the other."""
    nodes = grid.uniform_lam(EDM(0.01, 20.0), 1)

    def sizes(x: np.ndarray) -> list[int]:
        counted = Counted(uneven)
        run(name, counted, x, nodes, 1e-4)
        return [n for _, n in counted.calls]

    far, near = np.full((1, 2), 200.0), np.full((1, 2), 0.3)
    both = sizes(np.concatenate([far, near]))
    assert sum(both) == len(sizes(far)) + len(sizes(near))
    assert len(sizes(far)) != len(sizes(near))
    assert len(both) < sum(both)  # what they have in common is called once


@pytest.mark.parametrize("name", PAIRS)
def test_a_batch_costs_little_more_calls_than_its_hardest_sample(name: str) -> None:
    nodes, x = jagged(VP(), 4, 0.9, 0.02), np.linspace(-2.5, 2.5, 16)[:, None]

    def calls(rows: np.ndarray) -> int:
        return sample(SOLVERS[name], modes().denoised, rows, nodes, terminal="none", record=True).nfe

    alone = [calls(x[i : i + 1]) for i in range(len(x))]
    assert max(alone) <= calls(x) < 3 * max(alone) < 0.4 * sum(alone)


@pytest.mark.parametrize("name", [*PAIRS, *SCIPY])
def test_every_call_is_counted(name: str) -> None:
    counted = Counted(modes().denoised)
    done = sample(SOLVERS[name], counted, X, jagged(VP(), 3, 0.9, 0.05), record=True)
    assert done.nfe == len(counted.calls)
    assert len(done.xs) == 4
    assert len(done.denoised) == 4


@pytest.mark.parametrize(("name", "stages"), [("bogacki_shampine", 3), ("dormand_prince", 6), ("dpm_solver_12", 2), ("dpm_solver_23", 3)])
def test_evaluations_of_a_sub_step(name: str, stages: int) -> None:
    """Where nothing is refused: n sub-steps cost n × stages, and the pairs that end with D(x_t) one more in all, over the whole grid."""
    nodes = grid.uniform_lam(VP(), 30, 0.9, 0.05)
    done = sample(SOLVERS[name](rtol=1e9, atol=1e9), modes().denoised, X, nodes, terminal="none", record=True)
    assert done.nfe == 30 * stages + (1 if PAIRS[name].last else 0)


@pytest.mark.parametrize("name", PAIRS)
def test_a_refused_sub_step_keeps_its_first_evaluation(name: str) -> None:
    """No node is visited twice for its first evaluation by a lone sample."""
    counted = Counted(modes().denoised)
    run(name, counted, X[:1], jagged(VP(), 2, 0.9, 0.02), 1e-5)
    starts = [node for node, _ in counted.calls]
    assert starts.count(starts[0]) == 1


@pytest.mark.parametrize("name", SCIPY)
def test_scipy_follows_the_exact_flow(name: str) -> None:
    for schedule, start, end in ((VP(), 0.9, 0.02), (RectifiedFlow(), 0.9, 0.05), (EDM(), 20.0, 0.02)):
        nodes = grid.uniform(schedule, 1, start, end)
        exact = modes().flow(X, nodes[0], nodes[-1])
        for together, every in ((False, 4), (True, 1)):
            assert rms(run(name, modes().denoised, X[::every], nodes, 1e-7, together=together) - exact[::every]) < 1e-5


@pytest.mark.parametrize("name", SCIPY)
def test_together_is_one_system(name: str) -> None:
    """One call for the whole batch, fewer calls in all, and steps that depend on the others."""
    nodes = jagged(VP(), 2, 0.9, 0.05)
    alone, together = Counted(modes().denoised), Counted(modes().denoised)
    run(name, alone, X, nodes, 1e-5)
    run(name, together, X, nodes, 1e-5, together=True)
    assert {n for _, n in alone.calls} == {1}
    assert {n for _, n in together.calls} == {9}
    assert len(together.calls) < len(alone.calls)
    assert np.any(
        run(name, modes().denoised, X, nodes, 1e-5, together=True)[:2] != run(name, modes().denoised, X[:2], nodes, 1e-5, together=True)
    )


@pytest.mark.parametrize("name", [*PAIRS, *SCIPY])
@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 2, 3)])
def test_shapes_and_torch(name: str, shape: tuple[int, ...]) -> None:
    """A vector is one sample, and the denoiser sees it as it is; torch in, torch out, the same numbers."""
    x: np.ndarray = np.linspace(-1.0, 2.0, math.prod(shape)).reshape(shape)
    nodes = grid.uniform_lam(VP(), 2, 0.8, 0.1)
    dims: set[int] = set()

    def seen(y: Any, node: Node) -> Any:
        dims.add(y.ndim)
        return uneven(y, node)

    array = run(name, seen, x, nodes, 1e-4)
    tensor = run(name, uneven, torch.tensor(x), nodes, 1e-4)
    assert dims == {x.ndim}
    assert isinstance(tensor, torch.Tensor)
    assert tensor.dtype == torch.float64
    np.testing.assert_allclose(tensor.numpy(), array, rtol=1e-9, atol=1e-9)
    single = run(name, uneven, torch.tensor(x, dtype=torch.float32), nodes, 1e-4)
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single.numpy(), array, rtol=0, atol=5e-4)


@pytest.mark.parametrize("name", [*PAIRS, *SCIPY])
def test_the_state_given_is_left_alone(name: str) -> None:
    x = X.copy()
    run(name, modes().denoised, x, jagged(VP(), 2, 0.9, 0.05), 1e-3)
    np.testing.assert_array_equal(x, X)


@pytest.mark.parametrize("name", PAIRS)
def test_a_tolerance_out_of_reach_is_an_error_and_no_hang(name: str) -> None:
    nodes = jagged(VP(), 2, 0.9, 0.05)
    with pytest.raises(
        ToleranceNotMet, match=r"rtol = 0.0, atol = 1e-14 are below the round-off of float32 at Node.*: give at least 1e-06 each"
    ):
        sample(SOLVERS[name](rtol=0.0, atol=1e-14), uneven, X[5:6].astype(np.float32), nodes)

    def rough(x: Any, node: Node) -> Any:
        return 0.0 * x + np.sign(np.sin(1e9 * node.lam))

    with pytest.raises(ToleranceNotMet, match="how smooth the denoiser is"):
        run(name, rough, X, nodes, 1e-9)


def test_too_many_sub_steps_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adaptive, "_ATTEMPTS", 20)
    with pytest.raises(ToleranceNotMet, match="more than 20 sub-steps"):
        run("dpm_solver_12", modes().denoised, X, jagged(VP(), 1, 0.9, 0.05), 1e-5)


@pytest.mark.parametrize("name", [*PAIRS, *SCIPY])
def test_bad_input_is_named(name: str) -> None:
    nodes = jagged(VP(), 2, 0.9, 0.05)
    for rtol, atol in ((-1.0, 1.0), (float("nan"), 1.0), (0.0, 0.0)):
        with pytest.raises(ValueError, match=r"rtol = "):
            sample(SOLVERS[name](rtol=rtol, atol=atol), modes().denoised, X, nodes)
    with pytest.raises(NonFinite, match="denoise returned nan"):
        run(name, lambda y, node: float("nan") * y, X, nodes, 1e-3)
    with pytest.raises(NotLinear, match="chooses the steps" if name in SCIPY else "adaptive"):
        trace(SOLVERS[name], nodes)


def test_an_integrator_that_gives_up_says_so() -> None:
    with pytest.raises(IntegratorFailed, match="scipy's RK45 stopped at t = "):
        run("scipy_rk45", lambda y, node: 0.0 * y + np.sin(1e9 * node.t) * 1e12, X[:1], grid.uniform(RectifiedFlow(), 1), 1e-12)


def test_exemptions_know_their_methods() -> None:
    assert {n for n, s in SOLVERS.items() if black_box(s)} == set(SCIPY)
    assert {n for n, s in SOLVERS.items() if chooses_steps(s)} >= {*SCIPY, *PAIRS}
    assert chooses_steps(SOLVERS["heun"]) is None


# coefficients of the pairs: each of them matters


def local_orders(pair: Pair, h: float) -> tuple[float, float]:
    """The slopes of a step's true error and of its estimate between the lengths h and h/2, in the middle of the noise range."""
    x, s = X[1::2] * 0.7, VP().node(0.45)
    errors, estimates = [], []
    for length in (h, 0.5 * h):
        t = VP().at_lam(s.lam + length)
        end, estimate = pair.step(modes().denoised, x, s, t)
        errors.append(rms(end - modes().flow(x, s, t)))
        estimates.append(rms(estimate))
    return float(np.log2(errors[0] / errors[1])), float(np.log2(estimates[0] / estimates[1]))


def corrupted(pair: Pair) -> Iterator[Pair]:
    """The pair with each of its array operations off by 1 %, one at a time."""
    operations = 1
    k = 0
    while k < operations:
        count = _Counter(k)

        def step(denoise: Any, x: Any, s: Node, t: Node, count: _Counter = count) -> Any:
            count.seen = -1
            return tuple(map(_plain, pair.step(lambda y, n: _Tampered(denoise(_plain(y), n), count), _Tampered(x, count), s, t)))

        step(uneven, X, VP().node(0.5), VP().node(0.4))
        operations = count.seen + 1
        yield replace(pair, step=step)
        k += 1


@pytest.mark.parametrize("name", PAIRS)
def test_local_orders_of_a_pair_and_that_every_operation_matters(name: str) -> None:
    """The step errs by h^{p+1}, the estimate is of size h^p and vanishes for a constant denoiser."""
    pair, p = PAIRS[name], SOLVERS[name].order
    assert pair.power == p

    s, t = VP().node(0.6), VP().node(0.3)
    x_t, estimate = pair.step(uneven, X, s, t)

    def holds(candidate: Pair) -> bool:
        true, estimated = local_orders(candidate, 0.16 if p == 5 else 0.01)
        end, off = candidate.step(lambda y, n: 0.0 * y + 0.7, X, s, t)
        exact = t.alpha * 0.7 + t.sigma / s.sigma * (X - s.alpha * 0.7)
        straight = bool(np.abs(end - exact).max() < 1e-12 > np.abs(off).max())
        return straight and true > p + 0.7 and p - 0.3 < estimated < p + 0.6

    def only_scales(candidate: Pair) -> bool:
        """The same step with an estimate that is the same or 1 % larger as a whole: another tolerance and no other method."""
        end, off = candidate.step(uneven, X, s, t)
        factor = float((off * estimate).sum() / (estimate * estimate).sum())
        return bool(np.array_equal(end, x_t)) and np.allclose(off, factor * estimate, rtol=1e-9, atol=0.0) and 1.0 <= factor < 1.011

    assert holds(pair)
    assert [k for k, wrong in enumerate(corrupted(pair)) if holds(wrong) and not only_scales(wrong)] == []


@dataclass
class Log:
    """A pair that writes down its sub-steps as (a, b, rms of the estimate)."""

    pair: Pair
    steps: list[tuple[Node, Node, float]] = field(default_factory=list)

    def go(self, x: Any, s: Node, t: Node, rtol: float, atol: float) -> int:
        """Move x from s to t; the number of calls."""

        def step(denoise: Any, y: Any, a: Node, b: Node) -> Any:
            end, error = self.pair.step(denoise, y, a, b)
            self.steps.append((a, b, rms(error)))
            return end, error

        counted = Counted(modes().denoised)
        control(replace(self.pair, step=step), counted, x, s, t, None, rtol, atol)
        return len(counted.calls)


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize(("rtol", "atol"), [(1e-4, 1e-4), (1e-3, 1e-7), (1e-7, 1e-3)])
def test_control_holds_what_it_says(name: str, rtol: float, atol: float) -> None:
    """A sub-step is kept if and only if its estimate is within alpha atol + sigma rtol; sub-steps are dyadic parts of the step in lam."""
    s, t, log = VP().node(0.9), VP().node(0.05), Log(PAIRS[name])
    calls = log.go(X[2:3], s, t, rtol, atol)
    refused = 0
    for (a, b, error), (following, _, _) in pairwise([*log.steps, (t, t, 0.0)]):
        length, place = (b.lam - a.lam) / (t.lam - s.lam), (a.lam - s.lam) / (t.lam - s.lam)
        parts = round(1.0 / length)
        assert parts & (parts - 1) == 0
        assert abs(place * parts - round(place * parts)) < 1e-6
        kept = error <= b.alpha * atol + b.sigma * rtol
        assert following == (b if kept else a)
        refused += not kept
    stages = {"bogacki_shampine": 3, "dormand_prince": 6, "dpm_solver_12": 2, "dpm_solver_23": 3}[name]
    done = len(log.steps) - refused
    assert calls == (1 + stages * len(log.steps) if log.pair.last else stages * done + (stages - 1) * refused)


@pytest.mark.parametrize("name", PAIRS)
def test_the_controller_refuses_little(name: str) -> None:
    """1 to 7 % of the sub-steps, by pair; a controller that takes no account of the rounding of lengths has 14 to 22 % refused."""
    attempts = refused = 0
    for x in X:
        log = Log(PAIRS[name])
        log.go(x[None], VP().node(0.9), VP().node(0.02), 1e-4, 1e-4)
        attempts += len(log.steps)
        refused += sum(a == following for (a, _, _), (following, _, _) in pairwise(log.steps))
    assert refused < 0.1 * attempts


def test_tolerance(solver: Solver) -> None:
    tolerance(solver)


def test_effort(solver: Solver) -> None:
    effort(solver)


def test_uncontrolled_order(solver: Solver) -> None:
    uncontrolled_order(solver)


def test_close(solver: Solver) -> None:
    close(solver)
