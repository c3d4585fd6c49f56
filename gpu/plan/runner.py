"""A Plan on one shape, dtype and device: its program walked over buffers, with no allocation and no wait in a step.

The network's results stay where it put them. What could go wrong silently is looked at on the host, where it costs nothing: tensors count
how often their memory was written to, so a network that writes over its input, or over a result that is still needed, is noticed.
"""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral
from threading import Lock
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from scorebed.gpu.plan.backend import backend_for, passes_for
from scorebed.gpu.plan.program import Call, Fill, Pass, Sum, program
from scorebed.solvers.model import Denoiser
from scorebed.solvers.noise import BrownianNoise, Noise, fresh_seed
from scorebed.solvers.plan import Plan
from scorebed.solvers.sample import NonFinite, StepDone, check_like, check_state, is_finite
from scorebed.solvers.schedule import Node

Check = Literal["end", "step", "none"]
CHECKS = ("end", "step", "none")
"""When to look for nan and inf: at the end (one wait for the device), after every evaluation and step, or never."""


class Runner:
    """A Plan on one shape, dtype and device, with its buffers; call it as often as you like. Threads that share one take turns.

    Args:
        plan: the Plan.
        like: a tensor (B, …) of the state's shape, dtype and device.
        noise: a seed, a ``BrownianNoise`` or any ``Noise``; None is a fresh seed at every call. Seeds, and a ``BrownianNoise`` without
            refinement, are made inside the passes; everything else is called, and its values are kept in memory.
        index: sample indices, 0 … B - 1 by default.
        backend: ``auto`` (Triton on CUDA, torch elsewhere), ``torch``, ``triton`` or ``compile`` (passes by ``torch.compile``).
        check: see ``CHECKS``.
        callback: called with a ``StepDone`` after every step; its ``x`` is a buffer that the next step writes over.

    Raises:
        TypeError, ValueError: arguments not as above.
    """

    def __init__(
        self,
        plan: Plan,
        like: Tensor,
        *,
        noise: Noise | int | None = None,
        index: Any = None,
        backend: str = "auto",
        check: str = "end",
        callback: Callable[[StepDone], None] | None = None,
    ) -> None:
        if check not in CHECKS:
            raise ValueError(f"check = {check!r} is not known: give one of {', '.join(CHECKS)}")
        if callback is not None and not callable(callback):
            raise TypeError(f"callback = {callback!r} is not callable: give a function of one StepDone")
        self.plan, self.check, self.callback = plan, check, callback
        self.fresh = noise is None and plan.stochastic
        seed, self._noise, index = noise_of(noise, index, like, plan.stochastic)
        self.shape, self.dtype, self.device = like.shape, like.dtype, like.device
        self.backend = backend_for(like.device, backend)
        self.program = program(plan, fuse=self._noise is None, cut=callback is not None or check == "step")
        self._buffers = [torch.empty(self.shape, dtype=self.dtype, device=self.device) for _ in range(self.program.buffers)]
        self._memory: list[Any] = [None] * (len(plan.ops) + 1)
        self._passes: list[Pass] = []
        self._steps: list[tuple[Any, int]] = []  # an instruction, and the number of its pass
        for instruction in self.program.instructions:
            if isinstance(instruction, Call) or (isinstance(instruction, Fill) and self._noise is not None):
                self._steps.append((instruction, -1))
                continue
            if isinstance(instruction, Fill):
                one = Sum(instruction.target, instruction.buffer, (), ((0, 1.0),))
                instruction = Pass((), (one,), (True,), (instruction.interval,), (), ())
            for s in instruction.sums:
                self._memory[s.target] = self._buffers[s.buffer]
            self._steps.append((instruction, len(self._passes)))
            self._passes.append(instruction)
        self._called = {i.target for i in self.program.instructions if isinstance(i, Call)}
        if self._noise is not None:
            self._called |= {i.target for i in self.program.instructions if isinstance(i, Fill)}
        self._do = passes_for(self.backend, self._passes, torch.empty(self.shape, dtype=self.dtype, device=self.device), index, seed)
        self._own = {b.untyped_storage().data_ptr() for b in self._buffers}
        self._turn = Lock()

    @property
    def bytes(self) -> int:
        """Memory of the buffers."""
        return sum(b.numel() * b.element_size() for b in self._buffers)

    def reseed(self, seed: int) -> None:
        """Another seed from here on."""
        if self._noise is not None:
            raise ValueError("this Runner was given a noise, not a seed: make another Runner")
        self._do.reseed(BrownianNoise(seed, (1,)).seed)

    def rename(self, index: Any) -> None:
        """Other samples from here on, by their indices."""
        self._do.rename(BrownianNoise(0, (self.shape[0],), index).index)

    def __call__(self, denoise: Denoiser, x: Tensor, *, out: Tensor | None = None) -> Tensor:
        """Run from the state ``x``; the result is a new tensor, or lies in ``out``.

        Raises:
            TypeError, ValueError: a state or an evaluation of another shape, dtype or device; a network that writes to its input, or over a
                result that is still needed.
            NonFinite: nan or inf, where ``check`` looks for it.
        """
        if not callable(denoise):
            raise TypeError(f"denoise = {denoise!r} is not callable: give a function of (x, node)")
        check_state(x)
        if (x.shape, x.dtype, x.device) != (self.shape, self.dtype, self.device):
            have, want = (x.shape, x.dtype, x.device), (self.shape, self.dtype, self.device)
            raise ValueError(f"x has {tuple(have[0])}, {have[1]}, {have[2]}; this Runner is for {tuple(want[0])}, {want[1]}, {want[2]}")
        with self._turn:
            return self._run(denoise, x, out)

    def _run(self, denoise: Denoiser, x: Tensor, out: Tensor | None) -> Tensor:
        if self.fresh:
            self.reseed(fresh_seed())
        result = self.loop(denoise, x.detach().contiguous())
        if self.check != "none" and not is_finite(result):
            raise NonFinite(f"the result of {self.plan.solver} has nan or inf entries: run again with check='step' to see where they begin")
        if out is not None:
            return out.copy_(result)
        return result.clone() if result.untyped_storage().data_ptr() in {*self._own, x.untyped_storage().data_ptr()} else result

    @torch.no_grad()
    def loop(self, denoise: Denoiser, x: Tensor) -> Tensor:
        """The steps and nothing else: no copy at the end, no look at values unless ``check`` is ``"step"``. The result may be a buffer."""
        memory, do, called = self._memory, self._do, self._called
        memory[0] = x
        live: dict[int, tuple[Any, int | None]] = {}
        nfe, first = 0, None
        for instruction, which in self._steps:
            if which >= 0:
                do(which, memory)
                free, steps = instruction.free, instruction.steps
            elif isinstance(instruction, Fill):
                value = self._noise(*instruction.interval)  # type: ignore[misc]
                check_like(value, x, f"noise(s, t) on [{instruction.interval[0].t}, {instruction.interval[1].t}]")
                memory[instruction.target] = value.contiguous()
                continue
            else:
                nfe += 1
                value = self._evaluate(denoise, memory[instruction.source], instruction.node, live, nfe)
                memory[instruction.target] = value
                live[instruction.target] = (value, _version(value))
                first = value if first is None else first
                free, steps = instruction.free, instruction.steps
            for i in steps:
                self._settle(i, memory[self.plan.states[i + 1]], first, nfe)
                first = None
            for register in free:
                if register in called:
                    memory[register] = None
                    live.pop(register, None)
        result: Tensor = memory[self.program.result]
        for register in called:
            memory[register] = None
        memory[0] = None
        return result

    def _evaluate(self, denoise: Denoiser, y: Tensor, node: Node, live: dict[int, tuple[Any, int | None]], nfe: int) -> Tensor:
        before = _version(y)
        value = denoise(y, node)
        if not (isinstance(value, Tensor) and value.shape == y.shape and value.dtype == y.dtype and value.device == y.device):
            where = f"denoise(x, node) at evaluation {nfe}, {node}"
            check_like(value, y, where)
            raise TypeError(f"{where} is a {type(value).__name__} on {getattr(value, 'device', 'no device')}, the state is on {y.device}")
        if _version(y) != before:
            raise ValueError(f"denoise wrote to its input at evaluation {nfe}, {node}: work on a copy, x.clone()")
        for kept, version in live.values():
            if _version(kept) != version:
                raise ValueError(
                    f"denoise wrote over an earlier result that {self.plan.solver} still needs, at evaluation {nfe}, {node}: "
                    "return a new tensor each time, denoise(x, node).clone()"
                )
        if self.check == "step" and not is_finite(value):
            cause = "" if is_finite(y) else "; its input was not finite: the solver diverged"
            raise NonFinite(f"denoise returned nan or inf at evaluation {nfe}, {node}{cause}")
        if value.untyped_storage().data_ptr() in self._own or value.untyped_storage().data_ptr() == y.untyped_storage().data_ptr():
            return value.clone(memory_format=torch.contiguous_format)  # its input, or a view of it: that buffer will be written to
        return value.detach().contiguous()

    def _settle(self, i: int, x: Tensor, denoised: Tensor | None, nfe: int) -> None:
        nodes = self.plan.grid
        if self.check == "step" and not is_finite(x):
            raise NonFinite(f"the state became nan or inf in step {i} of {self.plan.solver}, from {nodes[i]} to {nodes[i + 1]}")
        if self.callback is not None:
            self.callback(StepDone(i, nodes[i], nodes[i + 1], x, denoised, nfe))


def _version(x: Tensor) -> int | None:
    """How often a tensor's memory was written to, where torch counts it."""
    return None if x.is_inference() else x._version


def noise_of(noise: Any, index: Any, like: Tensor, wanted: bool) -> tuple[int, Noise | None, np.ndarray]:
    """(seed, a noise that must be called or None, sample indices as uint64)."""
    if noise is None or (isinstance(noise, Integral) and not isinstance(noise, bool)):
        made = BrownianNoise(fresh_seed() if noise is None else int(noise), tuple(like.shape), on_host(index))
        return made.seed, None, made.index
    if isinstance(noise, BrownianNoise) and not noise.refine:
        if noise.shape != tuple(like.shape):
            raise ValueError(f"noise has shape {noise.shape}, the state has {tuple(like.shape)}: they must be equal")
        return noise.seed, None, noise.index if index is None else BrownianNoise(0, tuple(like.shape), on_host(index)).index
    if not callable(noise):
        raise TypeError(f"noise = {noise!r} is neither a seed nor a function of (s, t)")
    if index is not None:
        raise ValueError("index goes with a seed; this noise knows its own samples")
    return 0, noise if wanted else None, np.arange(like.shape[0], dtype=np.uint64)


def on_host(index: Any) -> Any:
    return index.cpu().numpy() if isinstance(index, Tensor) else index
