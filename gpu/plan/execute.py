r"""Running a solver batched on torch tensors, in place.

``run`` is the one entry. A method with a Plan is compiled to a ``Program`` (buffers, fused passes) and walked by a ``Runner``: after the
buffers are made no step allocates and none waits for the device, apart from what the network does itself. A method without a Plan
(adaptive, reflected, Riemannian) goes through the ordinary loop of ``solvers.sample`` on the same tensors, with the same noise; adaptive
ones wait for their errors once per sub-step.

The noise of a sample depends on (seed, its index, interval), so neither the batch, nor its split into chunks or over processes, nor the
device changes it. The state given is never written to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scorebed.gpu.chunks import check_chunk, chunks
from scorebed.gpu.noise import Brownian
from scorebed.gpu.plan.prediction import numbers_of, predicting
from scorebed.gpu.plan.runner import Runner, on_host
from scorebed.solvers.base import Solver
from scorebed.solvers.model import MAPS, Denoiser, denoiser
from scorebed.solvers.noise import BrownianNoise, Noise, fresh_seed
from scorebed.solvers.noise_by_sample import NoiseBySample
from scorebed.solvers.plan import Plan
from scorebed.solvers.sample import StepDone, check_mark, check_run, sample
from scorebed.solvers.schedule import Node
from scorebed.solvers.state import State, bare, check_like, check_state, parts
from scorebed.solvers.tape import trace


def run(
    method: Solver | Plan,
    denoise: Denoiser,
    x: State,
    grid: Sequence[Any] | None = None,
    *,
    noise: Noise | int | Sequence[int] | None = None,
    terminal: str = "denoise",
    prediction: str = "denoised",
    index: Any = None,
    chunk: int | None = None,
    backend: str = "auto",
    compile: bool = False,
    graph: bool = False,
    check: str = "end",
    callback: Callable[[StepDone], Any] | None = None,
) -> State:
    """Run a solver or a Plan on the batch ``x``; the same samples as ``solvers.sample``, to rounding.

    Args:
        method: a ``Solver`` with a ``grid``, or a ``Plan``, which has its own grid and terminal rule.
        denoise: (x, node) -> E[x0 | x], a tensor of x's shape, dtype and device. It may not write to x, and x is written to after it
            returns. With ``take(rows)`` it gives the denoiser of a part of the batch, which ``chunk`` then uses (conditions that differ by
            sample). A network made by ``gpu.wrap`` is taken apart: its conversion to D is done inside the fused passes.
        x: (B, …), floating point, at the first node.
        noise: a seed, one seed for each sample, or a ``Noise``; None is a fresh seed at every call.
        terminal: ``denoise`` or ``none``, as in ``solvers.sample``; for a solver.
        prediction: what ``denoise`` gives, one of ``solvers.PREDICTIONS``; turned into D inside the fused pass, at no pass of its own.
        index: B distinct sample indices, 0 … B - 1 by default: the noise of a sample goes by its index.
        chunk: at most this many samples at once, which bounds the memory; the samples are the same.
        backend: ``auto``, ``torch`` or ``triton``, for the sums.
        compile: make the sums into kernels by ``torch.compile``. The network is yours to compile.
        graph: capture the whole loop in one CUDA graph and replay it: needs CUDA and a network that can be captured (``gpu.Graph`` keeps
            one for many batches).
        check: ``end``, ``step`` or ``none``: when to look for nan and inf.
        callback: called with a ``StepDone`` after every step.

    Raises:
        TypeError: arguments not as above; ``graph`` without CUDA; ``compile`` or ``graph`` with a method that has no Plan.
        ValueError: the same, by its value.
        NonFinite: nan or inf, where ``check`` looks for it.
    """
    for part in parts(x):
        if not isinstance(part, Tensor):
            raise TypeError(f"x is a {type(part).__name__}: give a torch tensor (solvers.sample takes NumPy arrays)")
        check_state(part)
    if graph and isinstance(x, tuple):
        raise ValueError("graph=True captures states of one component: give graph=False for a tuple")
    first = parts(x)[0]
    if compile:
        if backend not in ("auto", "compile"):
            raise ValueError(f"compile=True and backend={backend!r}: give one of them")
        backend = "compile"
    chunk, grid = check_chunk(chunk), None if grid is None else list(grid)
    if isinstance(noise, Sequence | np.ndarray) and not isinstance(noise, str):
        noise = NoiseBySample(list(noise), tuple(x.shape), like=x)
    plan = _plan(method, grid, terminal)
    marked = getattr(denoise, "prediction", prediction)
    if method.takes != "denoised" or marked in MAPS:
        check_mark(denoise, method.takes)
    elif marked != prediction:
        raise ValueError(f"denoise predicts {marked!r}, not {prediction!r}: give prediction={marked!r}")
    if plan is None and (compile or graph):
        assert isinstance(method, Solver)
        raise ValueError(f"{method.name} has no Plan ({method.nonlinear}): compile and graph need one")
    if graph and callback is not None:
        raise ValueError("graph=True replays the loop without the host: it cannot call back")
    rows = chunks(first.shape[0], chunk)
    noise = fresh_seed() if noise is None and len(rows) > 1 else noise
    if len(rows) > 1 and callback is not None:
        raise ValueError("callback goes with the whole batch: give chunk=None")
    if len(rows) > 1 and callable(noise) and not hasattr(noise, "take"):
        raise ValueError("chunk needs seeds or a BrownianNoise: another noise cannot be asked for a part of the batch")
    networks: list[Any] = [denoise] if len(rows) == 1 else [denoise.take(part) if hasattr(denoise, "take") else denoise for part in rows]
    if plan is None or callback is not None:  # the callback is to see denoised means
        networks = [denoiser(one, prediction) if prediction != "denoised" else one for one in networks]
    elif prediction != "denoised":
        plan = predicting(plan, prediction)
    elif (told := numbers_of(networks[0], first.dtype)) is not None:
        plan, networks = predicting(plan, told), [one.raw for one in networks]
    if len(rows) == 1:
        return _whole(method, plan, networks[0], x, grid, noise, terminal, index, backend, graph, check, callback)
    seed = noise.seed if isinstance(noise, BrownianNoise) else noise
    given = noise.index if isinstance(noise, BrownianNoise) and index is None else on_host(index)
    names = BrownianNoise(0, (first.shape[0],), given).index
    out, runner = bare(tuple(torch.empty_like(one) for one in parts(x))), None
    refine = isinstance(noise, BrownianNoise) and noise.refine
    for part, network in zip(rows, networks, strict=True):
        if plan is None or refine or graph or (callable(noise) and not isinstance(noise, BrownianNoise)):
            drawn: Any = noise.take(np.arange(part.start, part.stop)) if callable(noise) else noise  # type: ignore[attr-defined]
            own = None if callable(noise) else names[part]
            made = _whole(method, plan, network, _rows(x, part), grid, drawn, terminal, own, backend, graph, check, None)
            for one, value in zip(parts(out), parts(made), strict=True):
                one[part] = value
            continue
        if runner is None or runner.shape[0] != part.stop - part.start:
            runner = Runner(plan, _rows(x, part), noise=seed, index=names[part], backend=backend, check=check)
        else:
            runner.rename(names[part])
        runner(network, _rows(x, part), out=_rows(out, part))
    return out


def _rows(x: State, rows: slice) -> State:
    """These rows of every component, as views."""
    return bare(tuple(part[rows] for part in parts(x)))


def _plan(method: Solver | Plan, grid: Sequence[Node] | None, terminal: str) -> Plan | None:
    """The Plan of the method, or None if it has none."""
    if isinstance(method, Plan):
        if grid is not None:
            raise ValueError("a Plan has its own grid: give either a Plan, or a Solver and a grid")
        return method
    if not isinstance(method, Solver):
        raise TypeError(
            f"method = {method!r} is neither a Solver nor a Plan: take one from solvers.SOLVERS, or solvers.trace(solver, grid)"
        )
    if grid is None:
        raise ValueError(f"{method.name} needs a grid: gpu.run(solver, denoise, x, grid)")
    if method.nonlinear is not None:
        check_run(method, grid, terminal)
        return None
    return trace(method, grid, terminal)


def _whole(
    method: Any, plan: Plan | None, denoise: Denoiser, x: State, grid: Any, noise: Any, terminal: str, index: Any, backend: str,
    graph: bool, check: str, callback: Any,
) -> State:  # fmt: skip
    """The batch at once."""
    if plan is not None and graph:
        from scorebed.gpu.plan.graph import Graph

        return Graph(plan, denoise, x, noise=noise, index=index, backend=backend, check=check)(x)
    if plan is not None:
        return Runner(plan, x, noise=noise, index=index, backend=backend, check=check, callback=callback)(denoise, x)
    if noise is None or isinstance(noise, Integral):
        noise = Brownian(fresh_seed() if noise is None else int(noise), tuple(parts(x)[0].shape), index, like=parts(x)[0])
    elif isinstance(noise, BrownianNoise) and not isinstance(noise, Brownian):
        noise = Brownian(noise.seed, noise.shape, noise.index if index is None else index, like=parts(x)[0], refine=noise.refine)
    with torch.no_grad():
        begin = bare(tuple(part.detach() for part in parts(x)))
        return sample(method, denoise, begin, grid, noise=noise, terminal=terminal, callback=callback)


def function(plan: Plan, denoise: Denoiser, *, noise: Noise | int | None = None) -> Callable[[Tensor], Tensor]:
    """The whole loop as one function of the state without side effects, for ``torch.compile``, ``torch.export`` or gradients.

    Nothing is checked and nothing is in place. The noise is made when the function is called first with a shape, outside what is compiled
    or exported: sample i has the same noise in every batch.
    """

    def loop(x: Tensor, drawn: dict[tuple[Node, Node], Tensor]) -> Tensor:
        wide = torch.float32 if x.dtype in (torch.float16, torch.bfloat16) else x.dtype

        def combine(terms: list[tuple[float, Tensor]]) -> Tensor:
            total = torch.zeros_like(x, dtype=wide)
            for c, value in terms:
                total = total + c * value.to(wide)
            return total.to(x.dtype)

        result: Tensor = plan.fold(x, denoise, lambda s, t: drawn[s, t], combine)
        return result

    if not plan.stochastic:
        return lambda x: loop(x, {})
    given = noise if callable(noise) else None
    seed = fresh_seed() if noise is None else 0 if callable(noise) else int(noise)
    made: dict[tuple[int, ...], dict[tuple[Node, Node], Tensor]] = {}

    def whole(x: Tensor) -> Tensor:
        shape = tuple(x.shape)
        if shape not in made:
            source = given or Brownian(seed, shape, like=x)
            draws = {(s, t): source(s, t) for s, t in plan.noises}
            for (s, t), value in draws.items():
                check_like(value, x, f"the noise on [{s.t}, {t.t}]")
            made[shape] = draws
        return loop(x, made[shape])

    return whole
