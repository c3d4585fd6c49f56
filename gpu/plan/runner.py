"""A Plan on one shape, dtype and device: its program walked over buffers, with no allocation and no wait in a step.

The network may do with its input what it likes and give back the same buffer every time (``owned.py``). What is returned is the caller's
own; the state given is never written to.
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
from scorebed.gpu.plan.owned import owned, witnesses
from scorebed.gpu.plan.program import Call, Fill, Pass, Sum, program
from scorebed.solvers.memory import own
from scorebed.solvers.model import Denoiser
from scorebed.solvers.noise import BrownianNoise, Noise, fresh_seed
from scorebed.solvers.plan import Plan, Registers
from scorebed.solvers.sample import StepDone, StopSampling
from scorebed.solvers.state import NonFinite, State, bare, check_alike, check_like, is_finite, parts

Check = Literal["end", "step", "none"]
CHECKS = ("end", "step", "none")
"""When to look for nan and inf: at the end (one wait for the device), after every evaluation and step, or never."""


class Left(ValueError):
    """The callback stopped the run, or wants it to go on from another state, after step ``index``: a Plan cannot, it has its own start."""

    def __init__(self, index: int, x: State, stopped: bool, nfe: int) -> None:
        super().__init__("callback gave back a state, from which a Plan cannot go on: gpu.run with a Solver and a grid can")
        self.index, self.x, self.stopped, self.nfe = index, x, stopped, nfe


class Runner:
    """A Plan on one shape, dtype and device, with its buffers; call it as often as you like, and threads that share it take turns. ``seed``
    is that of the last run.

    Args:
        plan: the Plan.
        like: a tensor (B, …) of the state's shape, dtype and device; a tuple of equal ones for a state of several components.
        noise: a seed, a ``BrownianNoise`` or any ``Noise``; None is a fresh seed at every call. Seeds, and a ``BrownianNoise`` without
            refinement, are made inside the passes; everything else is called, and its values are kept in memory.
        index: sample indices, 0 … B - 1 by default.
        backend: ``auto`` (Triton on CUDA, torch elsewhere), ``torch``, ``triton`` or ``compile`` (passes by ``torch.compile``).
        check: see ``CHECKS``.
        callback: called with a ``StepDone`` after every step; the tensors are copies. ``StopSampling``, and a state that it gives back,
            raise ``Left``.

    Raises:
        TypeError, ValueError: arguments not as above.
    """

    @torch.inference_mode(False)  # buffers made in inference mode could not be written to outside it
    @torch.no_grad()
    def __init__(
        self,
        plan: Plan,
        like: State,
        *,
        noise: Noise | int | None = None,
        index: Any = None,
        backend: str = "auto",
        check: str = "end",
        callback: Callable[[StepDone], State | None] | None = None,
    ) -> None:
        if check not in CHECKS:
            raise ValueError(f"check = {check!r} is not known: give one of {', '.join(CHECKS)}")
        if callback is not None and not callable(callback):
            raise TypeError(f"callback = {callback!r} is not callable: give a function of one StepDone")
        self.plan, self.check, self.callback = plan, check, callback
        if len({(part.shape, part.dtype, part.device) for part in parts(like)}) > 1:
            raise ValueError(f"the state's components have shapes {[tuple(part.shape) for part in parts(like)]}: give equal ones")
        like = parts(like)[0]
        self.fresh = noise is None and plan.stochastic
        self.seed, self._noise, index = noise_of(noise, index, like, plan.stochastic)
        self.shape, self.dtype, self.device = like.shape, like.dtype, like.device
        self.backend = backend_for(like.device, backend)
        safe = owned(plan)
        inputs, states = witnesses(safe) if check == "end" else (set(), set())
        self.program = program(safe, fuse=self._noise is None, cut=callback is not None or check == "step", keep=states)
        self._buffers = [torch.empty(self.shape, dtype=self.dtype, device=self.device) for _ in range(self.program.buffers)]
        self._memory: list[Any] = [None] * safe.size
        self._passes: list[Pass] = []
        self._steps: list[tuple[Any, int]] = []  # an instruction, and the number of its pass
        for instruction in self.program.instructions:
            if isinstance(instruction, Call) or (isinstance(instruction, Fill) and self._noise is not None):
                self._steps.append((instruction, -1))
                if isinstance(instruction, Fill):
                    self._memory[instruction.target] = self._buffers[instruction.buffer]
                continue
            if isinstance(instruction, Fill):
                one = Sum(instruction.target, instruction.buffer, (), ((0, 1.0),))
                instruction = Pass((), (one,), (True,), (instruction.interval,), (), ())
            for s in instruction.sums:
                self._memory[s.target] = self._buffers[s.buffer]
            self._steps.append((instruction, len(self._passes)))
            self._passes.append(instruction)
        self._called = {r for i in self.program.instructions if isinstance(i, Call) for r in i.targets}
        self._do = passes_for(self.backend, self._passes, torch.empty(self.shape, dtype=self.dtype, device=self.device), index, self.seed)
        self._own = {b.untyped_storage().data_ptr() for b in self._buffers}
        few = plan.components  # rows for the last input, for what is seen on the way, and for the result
        self._seen = {r: i for i, r in enumerate([*sorted(inputs), *sorted(states)], few)}
        self._extremes = torch.zeros((2 * few + len(self._seen), 2), dtype=self.dtype, device=self.device)
        self._gives = len(plan.grid[0].process.gives)
        self._turn = Lock()

    @property
    def bytes(self) -> int:
        """Memory of the buffers."""
        return sum(b.numel() * b.element_size() for b in self._buffers)

    def reseed(self, seed: int) -> None:
        """Another seed from here on."""
        if self._noise is not None:
            raise ValueError("this Runner was given a noise, not a seed: make another Runner")
        self.seed = BrownianNoise(seed, (1,)).seed
        self._do.reseed(self.seed)

    def rename(self, index: Any) -> None:
        """Other samples from here on, by their indices."""
        self._do.rename(BrownianNoise(0, (self.shape[0],), on_host(index)).index)

    def __call__(self, denoise: Denoiser, x: State, *, out: State | None = None) -> State:
        """Run from the state ``x``; the result is a new tensor, or lies in ``out``.

        Returns:
            samples of the shape of x; ``out`` itself where given.

        Raises:
            TypeError: a state or an evaluation of another shape, dtype or device.
            ValueError: the same, by its value.
            NonFinite: nan or inf in a state or the result, where ``check`` looks for it.
        """
        if not callable(denoise):
            raise TypeError(f"denoise = {denoise!r} is not callable: give a function of (x, node)")
        self.plan.grid[0].process.check(x)
        for part in parts(x):
            have, want = (part.shape, part.dtype, part.device), (self.shape, self.dtype, self.device)
            if have != want:
                raise ValueError(f"x has {tuple(have[0])}, {have[1]}, {have[2]}; this Runner is for {tuple(want[0])}, {want[1]}, {want[2]}")
        with self._turn:
            if self.fresh:
                self.reseed(fresh_seed())
            result = self.loop(denoise, bare(tuple(part.detach().contiguous() for part in parts(x))))
            self.check_result()
            if out is None:
                return bare(tuple(part.clone() for part in parts(result)))
            return bare(tuple(one.copy_(part) for one, part in zip(parts(out), parts(result), strict=True)))

    def check_result(self) -> None:
        """Look at the last loop's result, and at its states as far as the result does not tell.

        Raises:
            NonFinite: nan or inf, unless ``check`` is ``"none"``.
        """
        if self.check != "none" and not bool(torch.isfinite(self._extremes).all()):
            hint = "" if self.check == "step" else ": run again with check='step' to see where they begin"
            raise NonFinite(f"the result or a state of {self.plan.solver} has nan or inf entries{hint}")

    @torch.no_grad()
    def loop(self, denoise: Denoiser, x: State) -> State:
        """The steps and nothing else; values are looked at only where ``check`` is ``"step"``. The result may be a buffer."""
        memory, do, called, seen = self._memory, self._do, self._called, self._seen
        begin = parts(self.plan.states[0])
        memory[: len(begin)] = parts(x)
        nfe, first = 0, None
        for instruction, which in self._steps:
            if which >= 0:
                do(which, memory)
                free, steps = instruction.free, instruction.steps
                for s in instruction.sums:
                    if s.target in seen:
                        self._note(seen[s.target], memory[s.target])
            elif isinstance(instruction, Fill):
                s, t, part = instruction.interval
                value = parts(self._noise(s, t))[part]  # type: ignore[misc]
                check_like(value, parts(x)[0], f"noise(s, t) on [{s.t}, {t.t}]")
                memory[instruction.target].copy_(value)
                continue
            else:
                nfe += 1
                value = self._evaluate(denoise, _read(memory, instruction.source), instruction.node, nfe)
                for register, one in zip(instruction.targets, parts(value), strict=True):
                    memory[register] = one
                    if register in seen:
                        self._note(seen[register], one)
                if first is None and self.callback is not None:
                    first = own(value)
                free, steps = instruction.free, instruction.steps
            for i in steps:
                self._step_done(i, _read(memory, self.program.plan.states[i + 1]), first, nfe)
                first = None
            for register in free:
                if register in called:
                    memory[register] = None
        result = _read(memory, self.program.result)
        if self.check != "none":
            for k, part in enumerate(parts(result)):
                self._note(k - len(parts(result)), part)
        for register in (*called, *begin):
            memory[register] = None
        return result

    def _note(self, row: int, x: Tensor) -> None:
        """The extremes of a state in memory, where the host reads them once, at the end; a nan among the entries is both."""
        flat, (low, high) = x.view(-1), self._extremes[row]
        torch.amin(flat, 0, out=low)
        torch.amax(flat, 0, out=high)

    def _evaluate(self, denoise: Denoiser, x: State, node: Any, nfe: int) -> State:
        if self.check == "step":
            for k, part in enumerate(parts(x)):
                self._note(k, part)  # before the network may write on it
        made = denoise(x, *parts(node))
        if len(parts(made)) != self._gives:
            raise TypeError(f"denoise(x, node) at evaluation {nfe}, {node} gave {len(parts(made))} things, the process has {self._gives}")
        return bare(tuple(self._checked(value, parts(x)[0], node, nfe) for value in parts(made)))

    def _checked(self, value: Any, y: Tensor, node: Any, nfe: int) -> Tensor:
        if not (isinstance(value, Tensor) and value.shape == self.shape and value.dtype == self.dtype and value.device == self.device):
            where = f"denoise(x, node) at evaluation {nfe}, {node}"
            check_like(value, y, where)
            raise TypeError(
                f"{where} is a {type(value).__name__} on {getattr(value, 'device', 'no device')}, the state is on {self.device}"
            )
        if self.check == "step" and not is_finite(value):
            cause = "" if is_finite(self._extremes[: self.plan.components]) else "; its input was not finite: the solver diverged"
            raise NonFinite(f"denoise returned nan or inf at evaluation {nfe}, {node}{cause}")
        if value.untyped_storage().data_ptr() in self._own:
            return value.clone(memory_format=torch.contiguous_format)  # its input, or a view of it: that buffer will be written to
        return value.detach().contiguous()

    def _step_done(self, i: int, x: State, denoised: State | None, nfe: int) -> None:
        nodes = self.plan.grid
        if self.check == "step" and not is_finite(x):
            raise NonFinite(f"the state became nan or inf in step {i} of {self.plan.solver}, from {nodes[i]} to {nodes[i + 1]}")
        if self.callback is not None:
            try:
                other = self.callback(StepDone(i, nodes[i], nodes[i + 1], own(x), denoised, nfe))
            except StopSampling:
                raise Left(i, own(x), True, nfe) from None
            if other is not None:
                what = f"the state that the callback returned after step {i}"
                check_alike(other, x, what)
                if not is_finite(other):
                    raise NonFinite(f"{what} has nan or inf entries")
                raise Left(i, own(other), False, nfe)


def _read(memory: list[Any], registers: Registers) -> State:
    return tuple(memory[r] for r in registers) if isinstance(registers, tuple) else memory[registers]


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
    """A tensor of indices as a NumPy array; anything else as it is."""
    return index.cpu().numpy() if isinstance(index, Tensor) else index
