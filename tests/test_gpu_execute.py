"""Plans on torch tensors: the NumPy replay for every solver, buffers, no allocation and no wait in a step, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from scorebed import gpu
from scorebed.gpu.plan import backend, fused
from scorebed.gpu.plan.graph import Graph
from scorebed.gpu.plan.owned import owned
from scorebed.gpu.plan.program import Fill, Pass, program
from scorebed.solvers import (
    EDM,
    PREDICTIONS,
    SOLVERS,
    VP,
    BrownianNoise,
    Node,
    NonFinite,
    Plan,
    Solver,
    convert,
    methods_on,
    predicts,
    sample,
    trace,
)
from scorebed.solvers.grid import uniform, uniform_lam
from scorebed.solvers.plan import Draw, Evaluate, Walk
from scorebed.solvers.state import bare, parts
from scorebed.toy.properties import phase

UNROLLED = [s for s in methods_on().values() if s.nonlinear is None]
STOCHASTIC = [s for s in UNROLLED if s.weak is not None]
GRID = uniform_lam(VP(), 5, start=0.9, end=0.05)
LIPSCHITZ = 0.85
"""Of ``bent`` in the maximum norm: 0.5 (1 + 0.3) + 0.2."""


def bent(x: Any, node: Node) -> Any:
    """A smooth denoiser, nonlinear in x and mixing the coordinates; in float64, rounded once."""
    if isinstance(x, np.ndarray):
        return 0.5 * np.tanh(node.alpha * x + 0.3 * np.roll(x, 1, axis=-1)) + 0.2 * np.sin(x)
    y = x.double()
    return (0.5 * torch.tanh(node.alpha * y + 0.3 * torch.roll(y, 1, -1)) + 0.2 * torch.sin(y)).to(x.dtype)


def states(seed: int, shape: tuple[int, ...] = (4, 3)) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def error_bound(plan: Plan, x: np.ndarray, noise: BrownianNoise, unit: float, work: float) -> tuple[float, float]:
    """A bound on the error of a replay whose registers are rounded to ``unit`` and whose sums are formed with ``work``, by a running error
    analysis, and the size of the result: e(Σ c r) <= Σ |c| e(r) + (terms work + unit) Σ |c r|, e(D) <= L e(x) + unit |D|."""
    registers, errors = [x], [unit * np.abs(x).max()]
    for op in plan.ops:
        if isinstance(op, Evaluate):
            registers.append(bent(registers[op.source], op.node))
            errors.append(LIPSCHITZ * errors[op.source] + unit * np.abs(registers[-1]).max())
        elif isinstance(op, Draw):
            registers.append(noise(op.s, op.t))
            errors.append(unit * np.abs(registers[-1]).max())
        else:
            registers.append(sum((c * registers[j] for j, c in op.terms), 0.0 * x))
            size = sum(abs(c) * (np.abs(registers[j]).max() + errors[j]) for j, c in op.terms)
            errors.append(sum(abs(c) * errors[j] for j, c in op.terms) + (2 * len(op.terms) * work + unit) * size)
    return 1.05 * errors[plan.result], float(max(np.abs(r).max() for r in registers))


# equality with the replay


@pytest.mark.parametrize("terminal", ["denoise", "none"])
@pytest.mark.parametrize("method", UNROLLED, ids=lambda s: s.name)
def test_run_is_the_numpy_replay(method: Solver, terminal: str) -> None:
    x, plan = states(1, (4, 2, 3)), trace(method, GRID, terminal)
    truth = plan.run(bent, x, noise=5)
    kept = torch.tensor(x)
    found = gpu.run(method, bent, kept, GRID, noise=5, terminal=terminal)
    size = error_bound(plan, x, BrownianNoise(5, x.shape), 0.0, 0.0)[1]
    assert found.dtype == torch.float64
    assert np.abs(found.numpy() - truth).max() < 1e-12 * size
    np.testing.assert_array_equal(kept.numpy(), x)  # the state given is not written to


@pytest.mark.parametrize(("dtype", "unit"), [(torch.float32, 2.0**-24), (torch.bfloat16, 2.0**-8), (torch.float16, 2.0**-11)])
@pytest.mark.parametrize("method", UNROLLED, ids=lambda s: s.name)
def test_narrow_states_stay_within_rounding(method: Solver, dtype: torch.dtype, unit: float) -> None:
    """float32 is summed in float32, half and bfloat16 too, each register rounded once."""
    x = torch.tensor(states(2)).to(dtype)
    plan, noise = trace(method, GRID, "denoise"), BrownianNoise(3, (4, 3))
    found = gpu.run(plan, bent, x, noise=3)
    bound, _ = error_bound(plan, x.double().numpy(), noise, unit, 2.0**-24)
    assert found.dtype == dtype
    assert found.device == x.device
    error = np.abs(found.double().numpy() - plan.run(bent, x.double().numpy(), noise=noise)).max()
    assert error <= bound


def test_the_bounds_say_something() -> None:
    """In float32 they are below 2e-4 of the states for all methods but those that take differences of nearly equal terms by design."""
    x, noise = states(2), BrownianNoise(3, (4, 3))
    loose = []
    for method in UNROLLED:
        bound, size = error_bound(trace(method, GRID, "denoise"), x, noise, 2.0**-24, 2.0**-24)
        if bound > 2e-4 * size:
            loose.append(method.name)
    assert set(loose) <= {"edict", "seeds_3", "taylor_2"}


def test_the_narrow_bound_would_notice_a_lost_digit() -> None:
    """Sums formed in bfloat16 itself, each term rounded, leave the bound of a single pass with cancelling terms."""
    x = torch.full((1, 64), 1.0, dtype=torch.bfloat16)
    tiny = torch.full((1, 64), 2.0**-9, dtype=torch.bfloat16)
    coefficients = [1.0, *[1.0] * 8, -1.0]
    found = gpu.weighted_sum([x, *[tiny] * 8, x], coefficients)
    assert torch.equal(found, torch.full_like(found, 2.0**-6))
    naive = x.clone()
    for _ in range(8):
        naive = naive + tiny
    assert not torch.equal(naive - x, found)


@pytest.mark.parametrize("method", STOCHASTIC, ids=lambda s: s.name)
def test_noise_on_the_device_is_that_of_the_host(method: Solver, monkeypatch: pytest.MonkeyPatch) -> None:
    """The torch generator, which a device without Triton uses, in place of NumPy's."""
    x = torch.tensor(states(3, (5, 7)))
    truth = gpu.run(method, bent, x, GRID, noise=11)
    monkeypatch.setattr(fused, "Normals", partial(fused.Normals, host=False))
    assert torch.allclose(gpu.run(method, bent, x, GRID, noise=11), truth, rtol=0.0, atol=1e-11)


# laws of the batch


@pytest.mark.parametrize("method", UNROLLED, ids=lambda s: s.name)
def test_samples_do_not_depend_on_the_batch(method: Solver) -> None:
    x = torch.tensor(states(4, (5, 3)))
    whole = gpu.run(method, bent, x, GRID, noise=8)
    split = gpu.run(method, bent, x, GRID, noise=8, chunk=2)
    part = gpu.run(method, bent, x[3:], GRID, noise=8, index=[3, 4])
    assert torch.allclose(split, whole, rtol=0.0, atol=1e-13 * float(whole.abs().max() + 1))
    assert torch.allclose(part, whole[3:], rtol=0.0, atol=1e-13 * float(whole.abs().max() + 1))
    if method.weak is not None:
        assert not torch.allclose(gpu.run(method, bent, x, GRID, noise=9), whole)


def test_a_large_state_is_the_sum_of_its_blocks() -> None:
    """Beyond one cache block, with and without noise, of a length that no block divides."""
    shape = (3, (1 << 17) + 77)
    x, y = (torch.randn(shape, generator=torch.Generator().manual_seed(i)) for i in (0, 1))
    found = gpu.weighted_sum([x, y], [0.5, -2.0])
    assert torch.allclose(found, 0.5 * x - 2.0 * y, rtol=0.0, atol=2e-6)
    z = torch.tensor(BrownianNoise(4, shape)(GRID[0], GRID[1]), dtype=torch.float32)
    noisy = gpu.weighted_sum([x, y], [0.5, -2.0], noise=[(0.25, (GRID[0], GRID[1]))], seed=4)
    assert torch.allclose(noisy, 0.5 * x - 2.0 * y + 0.25 * z, rtol=0.0, atol=3e-6)


def test_weighted_sum_in_place_and_refusals() -> None:
    x, y = torch.ones(2, 3), torch.full((2, 3), 2.0)
    assert gpu.weighted_sum([y, x], [1.0, 3.0], out=x) is x
    assert torch.equal(x, torch.full((2, 3), 5.0))
    for bad, match in (([x, y[:1]], "operand"), ([x, y.double()], "operand"), ([], "operands")):
        with pytest.raises(ValueError, match=match):
            gpu.weighted_sum(bad, [1.0] * len(bad))


# buffers


@pytest.mark.parametrize("method", UNROLLED, ids=lambda s: s.name)
def test_buffers_are_as_few_as_are_alive_at_once(method: Solver) -> None:
    """Counted anew: a result may lie where an operand of the same sum lay that nothing reads again."""
    made = program(owned(trace(method, GRID, "denoise")))
    work: list[tuple[int | None, list[int]]] = []  # (register made in a buffer, registers read), in order
    for i in made.instructions:
        if isinstance(i, Pass):
            work += [(s.target, [r for r, _ in s.terms]) for s in i.sums]
        else:
            work.append((i.target, []) if isinstance(i, Fill) else (None, [i.source]))
    last = {r: k for k, (_, reads) in enumerate(work) for r in reads} | {made.result: len(work)}
    mine = {target for target, _ in work if target is not None}
    born: set[int] = set()
    peak = 0
    for k, (target, _) in enumerate(work):
        born |= {target} & mine
        peak = max(peak, sum(1 for r in born if last.get(r, -1) > k or r == target))
    assert made.buffers == peak


def test_a_multistep_step_is_one_pass() -> None:
    """unipc_3 corrects and predicts in one pass, sa_solver too; a pass is what lies between two evaluations, the copies that keep a network
    from spoiling anything included. One more makes the first copy."""
    for name in ("dpmpp_2m", "unipc_3", "sa_solver", "ghvb_3", "ddpm"):
        plan = trace(SOLVERS[name], uniform_lam(VP(), 20), "denoise")
        assert len(program(plan).passes) == plan.nfe - 1, name
        assert len(program(owned(plan)).passes) == plan.nfe, name


# no allocation, no wait


class Watch(TorchDispatchMode):
    """Notes operations that take new memory or read a value on the host, while ``on``."""

    def __init__(self) -> None:
        super().__init__()
        self.on = False
        self.new: list[str] = []
        self.waits: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if self.on:
            known = {t.untyped_storage().data_ptr() for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)}
            if any(isinstance(t, torch.Tensor) and t.untyped_storage().data_ptr() not in known for t in tree_leaves(out)):
                self.new.append(str(func))
            if func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.is_nonzero.default):
                self.waits.append(str(func))
        return out

    def network(self, x: torch.Tensor, node: Node) -> torch.Tensor:
        """Off while the network works, on from its first return."""
        self.on = False
        value = bent(x, node)
        self.on = True
        return value


@contextmanager
def watching() -> Iterator[Watch]:
    watch = Watch()
    with watch:
        yield watch
    watch.on = False


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("method", UNROLLED, ids=lambda s: s.name)
def test_a_step_allocates_nothing_and_waits_for_nothing(method: Solver, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "Normals", partial(fused.Normals, host=False))  # as on a device
    x = torch.tensor(states(5)).to(dtype)
    runner = gpu.Runner(trace(method, GRID, "denoise"), x, noise=1, check="none")
    with watching() as watch:
        runner.loop(watch.network, x)
    assert watch.new == []
    assert watch.waits == []


def test_the_watch_notices() -> None:
    x = torch.ones(4, 3)
    with watching() as watch:
        watch.on = True
        y = x + 1
        y.sum().item()
    assert len(watch.new) == 2
    assert len(watch.waits) == 1


def test_the_check_at_the_end_waits_once() -> None:
    x = torch.tensor(states(5))
    for check, waits in (("end", 1), ("step", 2 * 5 + 1 + 1), ("none", 0)):  # step: 5 states, 6 evaluations, the end
        runner = gpu.Runner(trace(SOLVERS["ddim"], GRID, "denoise"), x, check=check)
        with watching() as watch:
            runner(watch.network, x)
        assert len(watch.waits) == waits, check


def test_a_runner_serves_many_batches() -> None:
    plan = trace(SOLVERS["sa_solver"], GRID, "none")
    x, y = (torch.tensor(states(i)) for i in (6, 7))
    runner = gpu.Runner(plan, x, noise=2)
    first = runner(bent, x)
    kept = first.clone()
    runner.reseed(3)
    runner.rename([10, 11, 12, 13])
    second = runner(bent, y)
    assert torch.equal(first, kept)  # a result is not a buffer
    assert torch.equal(second, gpu.run(plan, bent, y, noise=3, index=[10, 11, 12, 13]))
    assert runner.bytes == program(owned(plan)).buffers * x.numel() * 8


# other noises, callbacks, checks


def test_any_noise_may_be_given() -> None:
    x = torch.tensor(states(8))
    plan = trace(SOLVERS["seeds_2"], GRID, "denoise")
    refined = gpu.Brownian(6, x.shape, like=x, refine=True)
    truth = plan.run(bent, x.numpy(), noise=BrownianNoise(6, tuple(x.shape), refine=True))
    assert np.abs(gpu.run(plan, bent, x, noise=refined).numpy() - truth).max() < 1e-11
    assert torch.allclose(gpu.run(plan, bent, x, noise=refined, chunk=3), torch.tensor(truth), rtol=0.0, atol=1e-11)
    plain = BrownianNoise(6, tuple(x.shape), [5, 6, 7, 8])
    assert torch.equal(gpu.run(plan, bent, x, noise=plain), gpu.run(plan, bent, x, noise=6, index=[5, 6, 7, 8]))
    zero = gpu.run(plan, bent, x, noise=lambda s, t: torch.zeros_like(x))
    assert np.abs(zero.numpy() - plan.run(bent, x.numpy(), noise=lambda s, t: np.zeros(x.shape))).max() < 1e-12


@pytest.mark.parametrize("name", ["dpmpp_2m", "sa_solver", "bdia", "edict", "churn"])
def test_a_callback_sees_every_state(name: str) -> None:
    x = torch.tensor(states(9))
    seen: list[Any] = []
    gpu.run(
        SOLVERS[name],
        bent,
        x,
        GRID,
        noise=4,
        terminal="none",
        callback=lambda done: seen.append((done.index, done.nfe, done.x.numpy().copy())),
    )
    run = sample(SOLVERS[name], bent, x.numpy(), GRID, noise=4, terminal="none", record=True)
    assert [i for i, _, _ in seen] == list(range(len(GRID) - 1))
    assert seen[-1][1] == run.nfe
    for (_, _, found), truth in zip(seen, run.xs[1:], strict=True):
        assert np.abs(found - truth).max() < 1e-12 * max(1.0, np.abs(truth).max())


def test_nan_is_found_where_it_begins_or_at_the_end() -> None:
    x = torch.tensor(states(1))

    def spoilt(y: torch.Tensor, node: Node) -> torch.Tensor:
        return bent(y, node) * (float("nan") if node == GRID[2] else 1.0)

    with pytest.raises(NonFinite, match="check='step'"):
        gpu.run(SOLVERS["ddim"], spoilt, x, GRID)
    with pytest.raises(NonFinite, match="evaluation 3"):
        gpu.run(SOLVERS["ddim"], spoilt, x, GRID, check="step")
    assert bool(gpu.run(SOLVERS["ddim"], spoilt, x, GRID, check="none").isnan().all())


# networks that share memory


def test_a_network_may_return_its_input_or_a_view() -> None:
    x = torch.tensor(states(2, (4, 2, 2, 3)))
    for network in (
        lambda y, node: y,
        lambda y, node: y.view(-1).view(y.shape),
        lambda y, node: y.flip(1).contiguous(memory_format=torch.channels_last),
        lambda y, node: y.mT.contiguous().mT,
    ):
        plan = trace(SOLVERS["unipc_3"], GRID, "denoise")
        truth = plan.run(lambda y, node, f=network: f(torch.tensor(y), node).numpy().copy(), x.numpy())
        assert np.abs(gpu.run(plan, network, x).numpy() - truth).max() < 1e-12


# refusals


def test_bad_arguments_are_refused() -> None:
    x, method = torch.tensor(states(4)), SOLVERS["dpmpp_2m"]
    good: dict[str, Any] = {"method": method, "denoise": bent, "x": x, "grid": GRID}
    for change, error, match in (
        ({"x": x.numpy()}, TypeError, "torch tensor"),
        ({"x": x.long()}, TypeError, "floating"),
        ({"x": x * float("inf")}, NonFinite, "nan or inf"),
        ({"x": x[:0]}, ValueError, "at least one"),
        ({"grid": None}, ValueError, "needs a grid"),
        ({"grid": GRID[:1]}, ValueError, "grid"),
        ({"method": trace(method, GRID)}, ValueError, "own grid"),
        ({"method": "dpmpp_2m"}, TypeError, "neither"),
        ({"denoise": None}, TypeError, "callable"),
        ({"denoise": lambda y, node: y[:1]}, ValueError, "shape"),
        ({"denoise": lambda y, node: y.float()}, TypeError, "dtype"),
        ({"denoise": lambda y, node: 0.0}, TypeError, "float"),
        ({"denoise": SOLVERS}, TypeError, "callable"),
        ({"noise": 1.5}, TypeError, "noise"),
        ({"noise": -1}, ValueError, "seed"),
        ({"index": [0, 0, 1, 2]}, ValueError, "distinct"),
        ({"noise": BrownianNoise(0, (3, 3))}, ValueError, "shape"),
        ({"chunk": 0}, ValueError, "chunk"),
        ({"check": "often"}, ValueError, "check"),
        ({"backend": "cuda"}, ValueError, "backend"),
        ({"backend": "triton"}, ValueError, "TRITON_INTERPRET"),
        ({"backend": "torch", "compile": True}, ValueError, "compile"),
        ({"graph": True}, ValueError, "CUDA"),
        ({"callback": 3}, TypeError, "callback"),
        ({"terminal": "round"}, ValueError, "terminal"),
        ({"method": SOLVERS["dpm_solver_12"], "compile": True}, ValueError, "no Plan"),
        ({"method": SOLVERS["dpm_solver_12"], "graph": True}, ValueError, "no Plan"),
    ):
        with pytest.raises(error, match=match):
            gpu.run(**{**good, **change})


def test_a_prediction_that_is_not_denoised_is_refused() -> None:
    with pytest.raises(ValueError, match="eps"):
        gpu.run(SOLVERS["ddim"], predicts("eps")(lambda y, node: y), torch.tensor(states(0)), GRID)


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("name", ["dpmpp_2m", "unipc_3", "sa_solver", "rk4", "dpm_solver_12"])
def test_every_prediction_runs_in_the_same_passes(name: str, prediction: str) -> None:
    """A network that predicts eps, v, score or flow is turned into D inside the passes: as many as before, and the same samples."""
    x = torch.tensor(states(5))

    @predicts(prediction)
    def network(y: torch.Tensor, node: Node) -> torch.Tensor:
        return convert(bent(y, node), y, node, "denoised", prediction)

    truth = gpu.run(SOLVERS[name], bent, x, GRID, noise=2)
    found = gpu.run(SOLVERS[name], network, x, GRID, noise=2, prediction=prediction)
    assert torch.allclose(found, truth, rtol=0.0, atol=1e-10)
    if SOLVERS[name].nonlinear is None:
        plan = trace(SOLVERS[name], GRID, "none")
        told = gpu.predicting(plan, prediction)
        assert told.nfe == plan.nfe
        assert told.noises == plan.noises
        assert len(told.ends) == len(plan.ends)
        assert len(program(told).passes) == len(program(plan).passes)


def test_without_triton_everything_runs_by_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = torch.device("cuda")
    assert backend.backend_for(cuda) == "triton"
    assert backend.backend_for(torch.device("cpu")) == "torch"
    monkeypatch.setattr(backend, "_triton", lambda: False)
    assert backend.backend_for(cuda) == "torch"
    with pytest.raises(ValueError, match="not installed"):
        backend.backend_for(cuda, "triton")


# compiled, captured, as a function


def test_compiled_passes_are_the_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the graph compiler's front end alone: what it writes its kernels from."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    for name, dtype in (("unipc_3", torch.float64), ("ddpm", torch.float32), ("dpmpp_2m", torch.bfloat16)):
        x = torch.tensor(states(5)).to(dtype)
        found = gpu.run(SOLVERS[name], bent, x, GRID, noise=1, compile=True)
        assert torch.allclose(found, gpu.run(SOLVERS[name], bent, x, GRID, noise=1), rtol=1e-2 if dtype == torch.bfloat16 else 1e-6)


def test_the_loop_as_a_function_is_one_graph() -> None:
    x = torch.tensor(states(6))
    for name in ("unipc_3", "ddpm"):
        plan = trace(SOLVERS[name], GRID, "denoise")
        loop = gpu.function(plan, bent, noise=4)
        truth = gpu.run(plan, bent, x, noise=4)
        assert torch.allclose(loop(x), truth, rtol=0.0, atol=1e-12)
        whole = torch.compile(loop, backend="eager", fullgraph=True)
        assert torch.allclose(whole(x), truth, rtol=0.0, atol=1e-12)
    y = x.clone().requires_grad_()
    gpu.function(trace(SOLVERS["heun"], GRID), bent)(y).sum().backward()
    assert y.grad is not None
    assert float(y.grad.abs().min()) > 0.0


class Recorded(Graph):
    """A capture that any device can do: the loop again over the same memory, as a replay would."""

    kind = "cpu"

    def _capture(self, denoise: Any, warmup: int) -> Any:
        result = bare(tuple(part.clone() for part in parts(self.runner.loop(denoise, self.x))))

        def replay() -> None:
            for room, part in zip(parts(result), parts(self.runner.loop(denoise, self.x)), strict=True):
                room.copy_(part)

        return replay, result


def test_a_captured_loop_reads_its_state_seed_and_samples_from_memory() -> None:
    plan = trace(SOLVERS["ddpm"], GRID, "denoise")
    x, y = (torch.tensor(states(i)) for i in (1, 2))
    graph = Recorded(plan, bent, x, noise=1)
    first = graph(x)
    graph.reseed(7)
    graph.rename([4, 5, 6, 7])
    assert torch.equal(graph(y), gpu.run(plan, bent, y, noise=7, index=[4, 5, 6, 7]))
    assert torch.equal(first, gpu.run(plan, bent, x, noise=1))
    for options, match in (({"check": "step"}, "step"), ({"noise": lambda s, t: x}, "seed")):
        with pytest.raises(ValueError, match=match):
            Recorded(plan, bent, x, **options)
    with pytest.raises(ValueError, match="the graph is for"):
        graph(x[:2])


@pytest.mark.parametrize("name", ["ddim", "ddpm", "sscs"])
def test_states_of_several_components_are_captured_and_taken_one_evaluation_at_a_time(name: str) -> None:
    """In phase space: one graph, and the walk of a pipeline, against the loop."""
    problem = phase.problems()[0]
    z, w = (tuple(map(torch.tensor, problem.draw(3, seed))) for seed in (1, 2))
    law = gpu.LinearLaw(problem.target, dtype=torch.float64)
    plan = trace(SOLVERS[name], problem.nodes(4), "denoise")
    graph = Recorded(plan, law.denoised, z, noise=5)
    expected = gpu.run(plan, law.denoised, w, noise=5)
    for a, b in zip(graph(w), expected, strict=True):
        assert torch.equal(a, b)
    with pytest.raises(ValueError, match="1 components; the graph is for 2"):
        graph(w[0])
    with pytest.raises(ValueError, match="the graph is for"):
        graph((w[0][:2], w[1][:2]))
    walk, noise = Walk(plan, w), BrownianNoise(5, tuple(w[0].shape), like=w[0])

    def on() -> None:
        walk.advance(lambda s, t: (noise(s, t), noise(s, t, 1)), lambda terms: sum(c * value for c, value in terms))

    on()
    while walk.waiting is not None:
        walk.answer(law.denoised(walk.read(walk.waiting.source), walk.waiting.node))
        on()
    for a, b in zip(walk.read(plan.result), expected, strict=True):
        assert torch.allclose(a, b, rtol=1e-12, atol=1e-12)


def test_a_graph_needs_cuda() -> None:
    with pytest.raises(ValueError, match="CUDA"):
        Graph(trace(SOLVERS["ddim"], GRID), bent, torch.tensor(states(0)))


def test_flows_and_edm_run_too() -> None:
    for grid in (uniform(EDM(), 6, start=10.0, end=0.05),):
        for name in ("heun", "unipc_2", "euler_ancestral", "heun_t"):
            x = 10.0 * states(3)
            truth = sample(SOLVERS[name], bent, x, grid, noise=2)
            assert np.abs(gpu.run(SOLVERS[name], bent, torch.tensor(x), grid, noise=2).numpy() - truth).max() < 1e-11


def test_no_seed_is_a_fresh_one_that_is_told() -> None:
    """Every call draws new noise; the seed that it took gives the same samples again."""
    plan, x = trace(SOLVERS["ddpm"], GRID, "denoise"), torch.tensor(states(3))
    runner = gpu.Runner(plan, x)
    first, seed = runner(bent, x), runner.seed
    assert not torch.equal(runner(bent, x), first)
    assert runner.seed != seed
    assert torch.equal(gpu.run(plan, bent, x, noise=seed), first)
    assert torch.equal(gpu.run(plan, bent, x, noise=np.int64(seed)), first)
    runs = [gpu.run(plan, bent, x[:1], chunk=chunk) for chunk in (None, None, 1, 1)]
    assert len({float(r.sum()) for r in runs}) == 4
    runs = [gpu.run(SOLVERS["geodesic_euler_maruyama"], bent, x, GRID) for _ in range(2)]
    assert not torch.equal(*runs)
    assert not torch.equal(gpu.function(plan, bent)(x), gpu.function(plan, bent)(x))


def test_the_function_has_the_noise_of_the_samples_it_sees() -> None:
    """First called with one sample, then with four: each has its own noise, and the first the same as before."""
    plan, x = trace(SOLVERS["ddpm"], GRID, "denoise"), torch.tensor(states(3))
    loop = gpu.function(plan, bent, noise=4)
    one, four = loop(x[:1]), loop(x)
    truth = gpu.run(plan, bent, x, noise=4)
    assert torch.allclose(four, truth, rtol=0.0, atol=1e-12)
    assert torch.allclose(one, truth[:1], rtol=0.0, atol=1e-12)
    with pytest.raises(ValueError, match="shape"):
        gpu.function(plan, bent, noise=gpu.Brownian(4, x.shape, like=x))(x[:2])


def test_a_grid_may_be_a_generator() -> None:
    x = torch.tensor(states(3))
    for name in ("ddim", "dpm_solver_12"):
        assert torch.equal(gpu.run(SOLVERS[name], bent, x, iter(GRID)), gpu.run(SOLVERS[name], bent, x, GRID))


class NoFloat64(TorchDispatchMode):
    """A device without float64: the meta device stands for one."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for t in tree_leaves(out):
            if isinstance(t, torch.Tensor) and t.device.type == "meta" and t.dtype == torch.float64:
                raise TypeError("this device has no float64")
        return out


def test_devices_without_float64_make_their_noise_in_float32() -> None:
    like = torch.zeros(2, 3, device="meta")
    with NoFloat64():
        assert gpu.Brownian(0, (2, 3), like=like).compute == torch.float32
        assert gpu.Brownian(0, (2, 3), like=like)(GRID[0], GRID[1]).dtype == torch.float32
        assert gpu.start(GRID[0], (2, 3), 0, like=like).device.type == "meta"
        runner = gpu.Runner(trace(SOLVERS["ddpm"], GRID), like, noise=0, check="none")
        assert runner.loop(lambda y, node: 0.5 * y, like).shape == like.shape
    assert gpu.Brownian(0, (2, 3), like=torch.zeros(1)).compute == torch.float64


# callbacks that act, gradients, grids by sample


def test_a_callback_may_change_the_state_or_stop_the_run() -> None:
    """From a state given back the run is one that begins there, in ``sample`` and in ``gpu.run``; stopped, it ends with the last state."""
    from scorebed.solvers import StopSampling

    x = torch.tensor(states(3))
    for name in ("ddim", "dpmpp_2m", "unipc_3", "ddpm", "rk4", "dpm_solver_12"):
        method = SOLVERS[name]
        for terminal in ("denoise", "none"):
            for at in (0, 2, len(GRID) - 2):
                seen: list[int] = []

                def moved(done: Any, at: int = at, seen: list[int] = seen) -> Any:
                    seen.append(done.index)
                    return done.x + 0.5 if done.index == at else None

                half = gpu.run(method, bent, x, GRID[: at + 2], noise=2, terminal="none") + 0.5
                rest = GRID[at + 1 :]
                if len(rest) > 1:
                    truth = gpu.run(method, bent, half, rest, noise=2, terminal=terminal)
                else:
                    truth = bent(half, rest[0]) if terminal == "denoise" else half
                for run in (gpu.run, sample):
                    found = run(method, bent, x, GRID, noise=2, terminal=terminal, callback=moved)
                    assert torch.allclose(found, truth, rtol=0.0, atol=1e-9), (name, terminal, at, run)
                assert seen == 2 * list(range(len(GRID) - 1))

                def stops(done: Any, at: int = at) -> None:
                    if done.index == at:
                        raise StopSampling

                for run in (gpu.run, sample):
                    assert torch.allclose(run(method, bent, x, GRID, noise=2, callback=stops), half - 0.5, rtol=0.0, atol=1e-9)
    for wrong, error in ((x[:1], ValueError), (x.float(), TypeError), (3.0, TypeError), (x / 0.0, NonFinite)):
        for run in (gpu.run, sample):
            with pytest.raises(error):
                run(SOLVERS["ddim"], bent, x, GRID, callback=lambda done, wrong=wrong: wrong)
    with pytest.raises(ValueError, match="Solver and a grid"):
        gpu.run(trace(SOLVERS["ddim"], GRID), bent, x, callback=lambda done: done.x)
    run = sample(SOLVERS["ddim"], bent, x, GRID, record=True, callback=lambda done: 2.0 * done.x)
    assert torch.allclose(run.xs[1], 2.0 * gpu.run(SOLVERS["ddim"], bent, x, GRID[:2], terminal="none"))


def test_gradients_are_refused_where_there_are_none() -> None:
    x = torch.tensor(states(3)).requires_grad_()
    with pytest.raises(ValueError, match=r"gpu\.function"):
        gpu.run(SOLVERS["ddim"], bent, x, GRID)
    with torch.no_grad():
        gpu.run(SOLVERS["ddim"], bent, x, GRID)


@pytest.mark.parametrize("method", [*UNROLLED, SOLVERS["dpm_solver_12"], SOLVERS["scipy_rk45"]], ids=lambda s: s.name)
def test_each_sample_may_have_its_own_grid(method: Solver) -> None:
    """Sample by sample it is the run alone on its grid, with the same noise, also where the operations differ from grid to grid."""
    x = torch.tensor(states(3, (3, 2)))
    grids = [uniform_lam(VP(), 4, start=a, end=b) for a, b in ((0.9, 0.05), (0.6, 0.1), (0.9, 0.05))]
    found = gpu.run(method, bent, x, grids, noise=5)
    for i, grid in enumerate(grids):
        alone = gpu.run(method, bent, x[i : i + 1], grid, noise=5, index=[i])
        assert torch.allclose(found[i : i + 1], alone, rtol=0.0, atol=1e-10 * float(1 + alone.abs().max()))


def test_networks_of_every_kind_take_a_node_for_each_sample() -> None:
    """Wrapped ones in one call with times by row; guided and positional ones node by node, conditions with their samples."""
    x, labels = torch.tensor(states(3, (4, 2))), torch.tensor([0.0, 1.0, 2.0, 3.0], dtype=torch.float64)[:, None]
    grids = [uniform_lam(VP(), 4, start=a, end=0.05) for a in (0.9, 0.6, 0.9, 0.5)]
    calls: list[torch.Tensor] = []

    def network(y: torch.Tensor, t: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        calls.append(t)
        return 0.3 * torch.tanh(y) + 0.1 * c + t[:, None].to(y.dtype)

    wrapped = gpu.wrap(network, VP(), "eps", per_sample={"c": labels}, null={"c": 0 * labels}, guidance=torch.arange(4.0), chunk=3)
    guide = gpu.guided(lambda y, node, c: 0.3 * torch.tanh(y) * node.alpha + 0.1 * c, labels, 0 * labels, 2.0)
    for denoise in (wrapped, guide, lambda y, node: 0.3 * y + 0.1 * labels[: len(y)] * node.sigma):
        found = gpu.run(SOLVERS["unipc_2"], denoise, x, grids)
        for i, grid in enumerate(grids):
            part = denoise.take([i]) if hasattr(denoise, "take") else lambda y, node, i=i: 0.3 * y + 0.1 * labels[i] * node.sigma
            assert torch.allclose(found[i : i + 1], gpu.run(SOLVERS["unipc_2"], part, x[i : i + 1], grid), rtol=0.0, atol=1e-11)
    assert any(len(set(t.tolist())) > 1 for t in calls)
    for wrong, match in ((grids[:2], "2 grids"), ([*grids[:3], grids[0][:3]], r"\[3, 5\] nodes")):
        with pytest.raises(ValueError, match=match):
            gpu.run(SOLVERS["ddim"], bent, x, wrong)
    with pytest.raises(ValueError, match="needs a Solver"):
        gpu.run(trace(SOLVERS["ddim"], GRID), bent, x, grids)
    with pytest.raises(ValueError, match="goes without"):
        gpu.run(SOLVERS["ddim"], bent, x, grids, chunk=2)
    seeds = gpu.run(SOLVERS["ddpm"], bent, x, grids, noise=[4, 5, 6, 4])
    assert torch.allclose(seeds[3:], gpu.run(SOLVERS["ddpm"], bent, x[3:], grids[3], noise=4), rtol=0.0, atol=1e-11)
