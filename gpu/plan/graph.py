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
from torch import Tensor

from scorebed.gpu.plan.runner import Runner
from scorebed.solvers.model import Denoiser
from scorebed.solvers.noise import fresh_seed
from scorebed.solvers.plan import Plan


class Graph:
    """``Graph(plan, denoise, like)(x)`` is ``Runner(plan, like)(denoise, x)`` as one replay.

    Args:
        plan, noise, index, backend, check: as for ``Runner``; the noise is a seed or a ``BrownianNoise`` without refinement, and ``check``
            is ``end`` or ``none``.
        denoise: a network that can be captured.
        like: a CUDA tensor (B, …) of the state's shape and dtype.
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
        like: Tensor,
        *,
        noise: Any = None,
        index: Any = None,
        backend: str = "auto",
        check: str = "end",
        warmup: int = 2,
    ) -> None:
        if like.device.type != self.kind:
            raise ValueError(f"a CUDA graph needs a state on a CUDA device, this one is on {like.device}: use graph=False there")
        if check == "step":
            raise ValueError("check = 'step' waits for the device in every step and cannot be captured: give 'end' or 'none'")
        self.runner = Runner(plan, like, noise=noise, index=index, backend=backend, check=check)
        if self.runner._noise is not None:
            raise ValueError("a captured loop makes its own noise: give a seed, or a BrownianNoise without refinement")
        self.x = like.detach().clone(memory_format=torch.contiguous_format)
        try:
            with torch.cuda.device(like.device) if like.device.type == "cuda" else nullcontext():
                self._replay, self._result = self._capture(denoise, warmup)
        except RuntimeError as error:
            raise RuntimeError(
                f"the loop of {plan.solver} could not be captured in a CUDA graph: the network must not wait for the device (.item(), "
                "copies from the host, shapes that depend on values); use graph=False"
            ) from error

    def _capture(self, denoise: Denoiser, warmup: int) -> tuple[Callable[[], None], Tensor]:
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

    def __call__(self, x: Tensor, *, out: Tensor | None = None) -> Tensor:
        """Replay from the state ``x``; a new tensor, or ``out``.

        Raises:
            ValueError: another shape, dtype or device.
            NonFinite: the result has nan or inf, unless ``check`` is ``"none"``.
        """
        if (x.shape, x.dtype, x.device) != (self.x.shape, self.x.dtype, self.x.device):
            raise ValueError(f"x has {tuple(x.shape)}, {x.dtype}, {x.device}; the graph is for {tuple(self.x.shape)}, {self.x.dtype}")
        self.x.copy_(x)
        if self.runner.fresh:
            self.runner.reseed(fresh_seed())
        self._replay()
        self.runner.check_result()
        return self._result.clone() if out is None else out.copy_(self._result)
