"""The whole sampling loop in one CUDA graph: the host launches once per batch, and between the evaluations nothing waits.

A network can be captured if it is a fixed sequence of kernels: no ``.item()``, no copy from the host, no shapes that depend on values. The
evaluation times are numbers of the Plan and become constants of the graph, so a graph belongs to a Plan, a network and a shape. Seeds and
sample indices lie in device memory and may change between replays.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch

from scorebed.gpu.plan.runner import Runner
from scorebed.solvers.model import Denoiser
from scorebed.solvers.noise import fresh_seed
from scorebed.solvers.plan import Plan
from scorebed.solvers.state import State, bare, parts


class Graph:
    """``Graph(plan, denoise, like)(x)`` is ``Runner(plan, like)(denoise, x)`` as one replay.

    Args:
        plan, noise, index, backend, check: as for ``Runner``; the noise is a seed or a ``BrownianNoise`` without refinement, and ``check``
            is ``end`` or ``none``.
        denoise: a network that can be captured.
        like: a CUDA tensor (B, …) of the state's shape and dtype; a tuple of equal ones for a state of several components.
        warmup: runs before the capture, in which libraries take their memory and choose their kernels.

    Raises:
        ValueError: the state is not on a CUDA device; a noise that must be called; ``check="step"``.
        RuntimeError: the network cannot be captured; the cause is chained.
    """

    kind = "cuda"
    """The type of device on which ``_capture`` works."""

    def __init__(
        self,
        plan: Plan,
        denoise: Denoiser,
        like: State,
        *,
        noise: Any = None,
        index: Any = None,
        backend: str = "auto",
        check: str = "end",
        warmup: int = 2,
    ) -> None:
        device = parts(like)[0].device
        if device.type != self.kind:
            raise ValueError(f"a CUDA graph needs a state on a CUDA device, this one is on {device}: use graph=False there")
        if check == "step":
            raise ValueError("check = 'step' waits for the device in every step and cannot be captured: give 'end' or 'none'")
        self.runner = Runner(plan, like, noise=noise, index=index, backend=backend, check=check)
        if self.runner._noise is not None:
            raise ValueError("a captured loop makes its own noise: give a seed, or a BrownianNoise without refinement")
        self.x = bare(tuple(part.detach().clone(memory_format=torch.contiguous_format) for part in parts(like)))
        try:
            with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
                self._replay, self._result = self._capture(denoise, warmup)
        except RuntimeError as error:
            raise RuntimeError(
                f"the loop of {plan.solver} could not be captured in a CUDA graph: the network must not wait for the device (.item(), "
                "copies from the host, shapes that depend on values); use graph=False"
            ) from error

    def _capture(self, denoise: Denoiser, warmup: int) -> tuple[Callable[[], None], State]:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(max(1, warmup)):
                self.runner.loop(denoise, self.x)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            result = self.runner.loop(denoise, self.x)
        return graph.replay, result

    def reseed(self, seed: int) -> None:
        """Another seed from the next replay on."""
        self.runner.reseed(seed)

    def rename(self, index: Any) -> None:
        """Other samples from the next replay on, by their indices."""
        self.runner.rename(index)

    def __call__(self, x: State, *, out: State | None = None) -> State:
        """Replay from the state ``x``; a new tensor, or a tuple of them, or ``out``.

        Returns:
            samples of the shape of x; ``out`` itself where given.

        Raises:
            ValueError: another shape, dtype or device.
            NonFinite: the result has nan or inf, unless ``check`` is ``"none"``.
        """
        if len(parts(x)) != len(parts(self.x)):
            raise ValueError(f"x has {len(parts(x))} components; the graph is for {len(parts(self.x))}")
        for room, part in zip(parts(self.x), parts(x), strict=True):
            if (part.shape, part.dtype, part.device) != (room.shape, room.dtype, room.device):
                raise ValueError(
                    f"x has {tuple(part.shape)}, {part.dtype}, {part.device}; the graph is for {tuple(room.shape)}, {room.dtype}"
                )
        for room, part in zip(parts(self.x), parts(x), strict=True):
            room.copy_(part)
        if self.runner.fresh:
            self.runner.reseed(fresh_seed())
        self._replay()
        self.runner.check_result()
        if out is None:
            return bare(tuple(part.clone() for part in parts(self._result)))
        return bare(tuple(one.copy_(part) for one, part in zip(parts(out), parts(self._result), strict=True)))
