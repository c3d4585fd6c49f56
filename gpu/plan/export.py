r"""A whole run as a program that needs torch and nothing of ours: ``torch.export`` of a Plan with its network inside.

    program = gpu.export(trace(SOLVERS["unipc_3"](), nodes, terminal="denoise"), denoise, x)
    torch.export.save(program, "sampler.pt2")                                     # weights, times and coefficients in one file
    ...
    x0 = torch.export.load("sampler.pt2").module()(x)                             # on another machine, with torch alone
    x0 = torch.export.load("sampler.pt2").module()(x, draws)                      # a stochastic Plan: unit normals (k, *x.shape)

    gpu.save_onnx(program, "sampler.onnx")                                        # the same for engines that know no torch (extra ``onnx``)

A stochastic Plan takes its normals from outside, those of the interval ``plan.noises[i]`` as ``draws[i]``, so that replay stays in the
caller's hands. States of several components, and maps f(x, s, t), are handed over the same way as in ``gpu.function``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from scorebed.gpu.plan.function import looped
from scorebed.solvers.model import Denoiser
from scorebed.solvers.plan import Plan


class Loop(nn.Module):
    """The run of ``plan`` as a module: ``forward(x)``, or ``forward(x, draws)`` where the Plan is stochastic.

    Args:
        plan: the Plan.
        denoise: (x, node) -> E[x0 | x]; what holds the weights is a module by itself or under ``denoise.network``.
    """

    def __init__(self, plan: Plan, denoise: Denoiser) -> None:
        super().__init__()
        self.plan, self.denoise = plan, denoise
        holder = denoise if isinstance(denoise, nn.Module) else getattr(denoise, "network", None)
        if isinstance(holder, nn.Module):
            self.network = holder  # so that its weights are parameters of this module

    def forward(self, x: Tensor, draws: Tensor | None = None) -> Tensor:
        """The output from the state ``x`` (B, …), with unit normals (k, B, …)."""
        plan = self.plan
        drawn = {} if draws is None else dict(zip(plan.noises, draws.unbind(0), strict=True))
        return looped(plan, self.denoise, x, drawn)


def export(plan: Plan, denoise: Denoiser, like: Tensor, *, batch: bool = True) -> Any:
    """The run as a ``torch.export.ExportedProgram``.

    Args:
        plan: the Plan, of a state of one component.
        denoise: the model, e.g. ``gpu.wrap(network, …)``; its weights go into the program.
        like: a state of the shape, dtype and device to export for, at least two samples where ``batch``.
        batch: whether the program takes any number of samples; without it exactly as many as ``like`` has.

    Returns:
        the ExportedProgram of the run.

    Raises:
        TypeError: ``like`` is no tensor, or the state has several components.
        ValueError: one sample, with ``batch``.
    """
    if not isinstance(like, Tensor) or plan.components > 1:
        what = f"a {type(like).__name__}" if not isinstance(like, Tensor) else f"of {plan.components} components"
        raise TypeError(f"like is {what}: give one tensor (B, …), for a Plan of one state")
    if batch and like.shape[0] < 2:
        raise ValueError(f"like has shape {tuple(like.shape)}: give at least two samples, or batch=False for programs of one")
    size = torch.export.Dim("batch", min=1) if batch else None
    shapes: dict[str, Any] = {"x": {0: size} if batch else None}
    arguments: tuple[Tensor, ...] = (like,)
    if plan.stochastic:
        arguments = (like, torch.zeros((len(plan.noises), *like.shape), dtype=like.dtype, device=like.device))
        shapes["draws"] = {1: size} if batch else None
    with torch.no_grad():
        return torch.export.export(Loop(plan, denoise), arguments, dynamic_shapes=shapes, strict=False)


def save_onnx(program: Any, path: str | Path) -> None:
    """Write a program of ``export`` as ONNX: inputs ``x`` and, of a stochastic Plan, ``draws``; any size of batch where it was exported so.

    Args:
        program: from ``gpu.export``.
        path: of the file; a network above two gigabytes puts its weights beside it.

    Raises:
        ImportError: onnx and onnxscript are not installed.
        ValueError: a program of float64, whose coefficients torch writes rounded to float32; or the network holds an operation that ONNX
            has no name for. ``torch.export.save`` takes both.
    """
    try:
        import onnxscript  # noqa: F401
    except ImportError as missing:
        raise ImportError("gpu.save_onnx needs onnx and onnxscript: pip install 'scorebed[onnx]'") from missing
    if program.example_inputs[0][0].dtype == torch.float64:
        raise ValueError("program is of float64, and ONNX gets its coefficients in float32: export it for a float32 state")
    try:
        made = torch.onnx.export(program, dynamo=True, verbose=False)
    except torch.onnx.OnnxExporterError as error:
        raise ValueError(f"program cannot be written as ONNX: {error}; torch.export.save(program, path) keeps it for torch") from error
    assert made is not None
    made.save(str(path))
