"""Which code does the passes: torch operations (``fused.py``), or one kernel each by Triton or ``torch.compile`` (``fused_kernels.py``)."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from scorebed.gpu.plan.fused import Passes
from scorebed.gpu.plan.program import Interval, Pass, Sum

if TYPE_CHECKING:
    from scorebed.gpu.plan.fused_kernels import TritonPasses

Backend = Literal["auto", "torch", "triton", "compile"]
BACKENDS = ("auto", "torch", "triton", "compile")


def _triton() -> bool:
    """Whether Triton is installed."""
    try:
        return importlib.util.find_spec("triton") is not None
    except ModuleNotFoundError:
        return False


def backend_for(device: torch.device, backend: str = "auto") -> str:
    """The back end that ``backend`` means on this device.

    Returns:
        the name of the back end, ``torch`` or ``triton``.

    Raises:
        ValueError: an unknown name, or ``triton`` where it cannot run.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend = {backend!r} is not known: give one of {', '.join(BACKENDS)}")
    found = _triton()
    if backend == "auto":
        return "triton" if found and device.type == "cuda" else "torch"
    if backend == "triton":
        if not found:
            raise ValueError("backend = 'triton' needs the package triton, which is not installed; 'torch' gives the same results")
        if device.type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
            raise ValueError(f"backend = 'triton' needs CUDA, or TRITON_INTERPRET=1; the state is on {device}: use 'torch'")
    return backend


def passes_for(backend: str, passes: Sequence[Pass], like: Tensor, index: np.ndarray, seed: int) -> Passes | TritonPasses:
    """The passes on the back end of this name (``backend_for``)."""
    if backend == "torch":
        return Passes(passes, like, index, seed)
    from scorebed.gpu.plan.fused_kernels import CompiledPasses, TritonPasses

    return TritonPasses(passes, like, index, seed) if backend == "triton" else CompiledPasses(passes, like, index, seed)


def weighted_sum(
    xs: Sequence[Tensor],
    coefficients: Sequence[float],
    *,
    noise: Sequence[tuple[float, Interval]] = (),
    seed: int = 0,
    index: Sequence[int] | None = None,
    out: Tensor | None = None,
    backend: str = "auto",
) -> Tensor:
    """Σ coefficients_i xs_i + Σ c z(interval) in one pass.

    Args:
        xs: tensors (B, …) of one shape, dtype and device.
        noise: pairs (c, (s, t)) of a coefficient and an interval, whose normals are those of ``solvers.noise`` for ``seed`` and ``index``.
        out: where the result goes, one of ``xs`` too; a new tensor by default.

    Returns:
        the sum, a tensor of the shape of the inputs; ``out`` where given.

    Raises:
        ValueError: nothing to sum, lengths that differ, operands that differ in shape, dtype or device.
    """
    if not xs or len(xs) != len(coefficients):
        raise ValueError(f"{len(xs)} operands and {len(coefficients)} coefficients: give at least one, and as many of both")
    like = xs[0]
    want = (tuple(like.shape), like.dtype, like.device)
    for x in [*xs, *([] if out is None else [out])]:
        have = (tuple(x.shape), x.dtype, x.device)
        if have != want or not x.is_floating_point():
            raise ValueError(f"an operand has {have}: all need {want}, of a floating type")
    ins = [x.contiguous() for x in xs]
    target = torch.empty_like(ins[0]) if out is None else (out if out.is_contiguous() else torch.empty_like(ins[0]))
    k = len(ins)
    order = sorted(range(k), key=lambda i: ins[i].data_ptr() != target.data_ptr())
    terms = tuple((i, float(coefficients[i])) for i in order)
    one = Sum(k, 0, terms, tuple((i, float(c)) for i, (c, _) in enumerate(noise)))
    p = Pass(tuple(range(k)), (one,), (True,), tuple(interval for _, interval in noise), (), ())
    names = np.arange(like.shape[0], dtype=np.uint64) if index is None else np.asarray(index, dtype=np.uint64)
    passes_for(backend_for(like.device, backend), [p], ins[0], names, seed)(0, [*ins, target])
    if out is not None and out is not target:
        out.copy_(target)
        return out
    return target
