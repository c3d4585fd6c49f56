r"""Running a solver batched on torch tensors, in place.

``run`` is the one entry. A method with a Plan is compiled to a ``Program`` (buffers, fused passes) and walked by a ``Runner``: after the
buffers are made no step allocates and none waits for the device, apart from what the network does itself. A method without a Plan
(adaptive, reflected, Riemannian) goes through the ordinary loop of ``solvers.sample`` on the same tensors, with the same noise; moves in a
Space are one kernel each (``moves.py``), adaptive methods wait for their errors once per sub-step.

The noise of a sample depends on (seed, its index, interval), so neither the batch, nor its split into chunks or over processes, nor the
device changes it. The state given is never written to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scorebed.gpu.chunks import check_chunk, chunks
from scorebed.gpu.noise import Brownian
from scorebed.gpu.plan.moves import fused_moves
from scorebed.gpu.plan.prediction import numbers_of, predicting
from scorebed.gpu.plan.runner import Left, Runner, on_host
from scorebed.solvers.base import Solver
from scorebed.solvers.levels import by_sample
from scorebed.solvers.model import MAPS, Denoiser, denoiser
from scorebed.solvers.noise import BrownianNoise, Noise, fresh_seed
from scorebed.solvers.noise.by_sample import NoiseBySample, many_seeds
from scorebed.solvers.plan import Plan
from scorebed.solvers.plan.tape import Tape, trace
from scorebed.solvers.process.linear import SCALAR
from scorebed.solvers.sample import StepDone, check_mark, check_run, end, sample
from scorebed.solvers.schedule import Node
from scorebed.solvers.state import State, bare, parts


def run(
    method: Solver | Plan,
    denoise: Denoiser,
    x: State,
    grid: Any = None,
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
    callback: Callable[[StepDone], State | None] | None = None,
) -> State:
    """Run a solver or a Plan on the batch ``x``; the same samples as ``solvers.sample``, to rounding.

    Args:
        method: a ``Solver`` with a ``grid``, or a ``Plan``, which has its own grid and terminal rule.
        denoise: (x, node) -> E[x0 | x], a tensor of x's shape, dtype and device. It may write on x, and give back the same memory every
            time. With ``take(rows)`` it gives the denoiser of a part of the batch, which ``chunk`` then uses (conditions that differ by
            sample). A network made by ``gpu.wrap`` is taken apart: its conversion to D is done inside the fused passes.
        x: (B, …), floating point, at the first node; a tuple of such for a process of several components.
        grid: nodes; or one list of nodes for each sample, all of one length (``by_sample.py``).
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
        callback: called with a ``StepDone`` after every step; what it may give back or raise is as in ``solvers.sample``.

    Returns:
        samples (B, …) at the last node, a tuple for several components.

    Raises:
        TypeError: arguments not as above.
        ValueError: the same, by its value; ``graph`` without CUDA; ``compile`` or ``graph`` with a method that has no Plan; a state that
            wants gradients, which none of this carries.
        NonFinite: nan or inf, where ``check`` looks for it.
    """
    for part in parts(x):
        if not isinstance(part, Tensor):
            raise TypeError(f"x is a {type(part).__name__}: give a torch tensor (solvers.sample takes NumPy arrays)")
    grid = None if grid is None else list(grid)
    if by_sample(grid):
        from scorebed.gpu.plan.by_sample import run_by_sample

        if graph or compile or callback is not None or chunk is not None:
            raise ValueError("a grid for each sample goes without graph, compile, callback and chunk")
        options = {"noise": noise, "terminal": terminal, "prediction": prediction, "index": index, "check": check}
        return run_by_sample(run, method, denoise, x, grid, **options)
    first: Any = method.grid[0] if isinstance(method, Plan) else grid[0] if grid else None
    (first.process if hasattr(first, "clock") else SCALAR).check(x)
    if torch.is_grad_enabled() and any(part.requires_grad for part in parts(x)):
        raise ValueError("x requires gradients, and gpu.run carries none: give x.detach(), or take gpu.function(plan, denoise)")
    if compile:
        if backend not in ("auto", "compile"):
            raise ValueError(f"compile=True and backend={backend!r}: give one of them")
        backend = "compile"
    chunk = check_chunk(chunk)
    like, n = parts(x)[0], parts(x)[0].shape[0]
    if many_seeds(noise):
        noise = NoiseBySample(noise, tuple(like.shape), like=like)
    plan = _plan(method, grid, terminal)
    marked = getattr(denoise, "prediction", prediction)
    if method.takes != "denoised" or marked in MAPS:
        check_mark(denoise, method.takes)
    elif marked != prediction:
        raise ValueError(f"denoise predicts {marked!r}, not {prediction!r}: give prediction={marked!r}")
    if plan is None and (compile or graph):
        assert isinstance(method, Solver)
        raise ValueError(f"{method.name} has no Plan ({method.nonlinear}): compile and graph need one")
    if graph and isinstance(x, tuple):
        raise ValueError("graph=True captures states of one component: give graph=False for a tuple")
    if graph and callback is not None:
        raise ValueError("graph=True replays the loop without the host: it cannot call back")
    rows = chunks(n, chunk)
    if len(rows) > 1 and callback is not None:
        raise ValueError("callback goes with the whole batch: give chunk=None")
    if len(rows) > 1 and callable(noise) and not hasattr(noise, "take"):
        raise ValueError("chunk needs seeds or a BrownianNoise: another noise cannot be asked for a part of the batch")
    networks: list[Any] = [denoise] if len(rows) == 1 else [denoise.take(part) if hasattr(denoise, "take") else denoise for part in rows]
    if plan is None or callback is not None:  # the callback is to see denoised means
        networks = [denoiser(one, prediction) if prediction != "denoised" else one for one in networks]
    elif prediction != "denoised":
        plan = predicting(plan, prediction)
    elif (told := numbers_of(networks[0], like.dtype)) is not None:
        plan, networks = predicting(plan, told), [one.raw for one in networks]
    work = _Work(method, plan, grid, terminal, noise, index, backend, graph, check)
    if callback is not None:
        return work.called_back(networks[0], x, callback)
    return work.whole(networks[0], x) if len(rows) == 1 else work.split(networks, x, rows)


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


@dataclass(frozen=True)
class _Work:
    """What ``run`` was asked for, checked."""

    method: Any
    plan: Plan | None
    grid: Any
    terminal: str
    noise: Any
    index: Any
    backend: str
    graph: bool
    check: str

    def whole(self, denoise: Denoiser, x: State, callback: Any = None) -> State:
        """The batch at once."""
        options = {"noise": self.noise, "index": self.index, "backend": self.backend, "check": self.check}
        if self.plan is not None and self.graph:
            from scorebed.gpu.plan.graph import Graph

            return Graph(self.plan, denoise, x, **options)(x)
        if self.plan is not None:
            return Runner(self.plan, x, **options, callback=callback)(denoise, x)
        noise, like = self.noise, parts(x)[0]
        if noise is None or isinstance(noise, Integral):
            given: Any = fresh_seed() if noise is None else noise  # a bool is refused there
            noise = Brownian(given, tuple(like.shape), self.index, like=like)
        elif isinstance(noise, BrownianNoise) and not isinstance(noise, Brownian):
            index = noise.index if self.index is None else self.index
            noise = Brownian(noise.seed, noise.shape, index, like=like, refine=noise.refine)
        method = fused_moves(self.method, noise, self.backend)
        with torch.no_grad():
            return sample(method, denoise, _cut(x), self.grid, noise=noise, terminal=self.terminal, callback=callback)

    def called_back(self, denoise: Denoiser, x: State, callback: Callable[[StepDone], State | None]) -> State:
        """The batch at once; from a state that the callback gives back the run begins anew, there."""
        work, steps, nfe = self, 0, 0
        while True:

            def shifted(done: StepDone, steps: int = steps, nfe: int = nfe) -> State | None:
                return callback(replace(done, index=done.index + steps, nfe=done.nfe + nfe))

            try:
                return work.whole(denoise, x, shifted if callable(callback) else callback)
            except Left as left:
                if left.stopped:
                    return left.x
                if work.grid is None:
                    raise
                x, steps, nfe = left.x, steps + left.index + 1, nfe + left.nfe
                rest = work.grid[left.index + 1 :]
                if len(rest) == 1:
                    return self._end(denoise, x, rest[0])
                work = replace(work, grid=rest, plan=trace(self.method, rest, self.terminal))

    def _end(self, denoise: Denoiser, x: State, node: Any) -> State:
        """The terminal rule alone."""
        if self.terminal == "none":
            return x
        tape = Tape(self.method.name, (node,))
        last = tape.plan(end(self.method, tape.evaluate, tape.x, node))
        return replace(self, plan=last).whole(denoise, x)

    def split(self, networks: list[Any], x: State, rows: list[slice]) -> State:
        """The batch in parts; one Runner serves all that are of one size."""
        like, noise = parts(x)[0], fresh_seed() if self.noise is None else self.noise
        plain = isinstance(noise, BrownianNoise) and not noise.refine
        given = noise.index if isinstance(noise, BrownianNoise) and self.index is None else on_host(self.index)
        names = BrownianNoise(0, (like.shape[0],), given).index
        out, runner = bare(tuple(torch.empty_like(part) for part in parts(x))), None
        for part, network in zip(rows, networks, strict=True):
            here, there = _rows(x, part), _rows(out, part)
            if self.plan is None or self.graph or (callable(noise) and not plain):
                drawn = noise.take(np.arange(part.start, part.stop)) if callable(noise) else noise
                own = replace(self, noise=drawn, index=None if callable(noise) else names[part])
                for one, value in zip(parts(there), parts(own.whole(network, here)), strict=True):
                    one.copy_(value)
                continue
            if runner is None or runner.shape[0] != part.stop - part.start:
                seed = noise.seed if isinstance(noise, BrownianNoise) else noise
                runner = Runner(self.plan, here, noise=seed, index=names[part], backend=self.backend, check=self.check)
            else:
                runner.rename(names[part])
            runner(network, here, out=there)
        return out


def _rows(x: State, rows: slice) -> State:
    return bare(tuple(part[rows] for part in parts(x)))


def _cut(x: State) -> State:
    return bare(tuple(part.detach() for part in parts(x)))
