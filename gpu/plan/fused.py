r"""One fused pass: out_j = Σ_i a_ji in_i + Σ_k c_jk z_k + Σ_{l<j} b_jl out_l, the normals z_k made on the way.

Two back ends with the same results to rounding: the Triton kernel of ``kernel.py`` on a GPU, and torch operations in place everywhere. The
torch path works through the state in blocks that fit a CPU's cache, so that each operand is read from memory once and no temporary is as
large as the state. Half and bfloat16 states are summed in float32 and rounded once.
"""

from __future__ import annotations

import importlib.util
import math
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from scorebed.gpu.noise import Normals, address
from scorebed.gpu.plan.program import Interval, Pass, Sum

if TYPE_CHECKING:
    from scorebed.gpu.plan.fused_kernels import TritonPasses

Backend = Literal["auto", "torch", "triton", "compile"]
BACKENDS = ("auto", "torch", "triton", "compile")
_BLOCK = 1 << 19
"""Bytes of an operand in one block, for each thread of a CPU."""

Memory = list[Any]
"""Tensors by register."""


def accumulator(dtype: torch.dtype) -> torch.dtype:
    """The type in which sums of ``dtype`` are formed."""
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype


def _triton() -> bool:
    """Whether Triton is installed."""
    try:
        return importlib.util.find_spec("triton") is not None
    except ModuleNotFoundError:
        return False


def backend_for(device: torch.device, backend: str = "auto") -> str:
    """The back end that ``backend`` means on this device.

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


class Passes:
    """The passes of a program on one shape, dtype and device, by torch operations. Scratch memory is taken here, once.

    Args:
        passes: the passes; ``__call__`` runs one of them by its number.
        like: a contiguous tensor (B, …) of the state's shape, dtype and device.
        index: sample indices, uint64.
        seed: of the noise.
    """

    def __init__(self, passes: Sequence[Pass], like: Tensor, index: np.ndarray, seed: int, *, host: bool | None = None) -> None:
        self.passes, self.seed = passes, seed
        self.dtype, self.device = like.dtype, like.device
        self.wide = accumulator(like.dtype)
        self.batch, self.n = like.shape[0], math.prod(like.shape[1:])
        threads = torch.get_num_threads() if self.device.type == "cpu" else 1 << 20
        self.block = max(1, _BLOCK // like.element_size()) * threads
        self._scratch: Tensor | None = None
        if any(p.draws for p in passes):
            compute = torch.float64 if self.device.type != "mps" else torch.float32
            self.source = Normals(index, self.n, self.device, compute, host=host)
            self.keys = self._keys()
        widest = self.batch * self.n
        if self.device.type == "cpu":
            widest = min(widest, self.block)
            if any(p.draws for p in passes):
                widest = max(widest, *((r.stop - r.start) * (c.stop - c.start) for r, c in self.source.pieces))
        if any(p.sums for p in passes) and (self.wide != self.dtype or any(p.draws for p in passes)):
            most = max((len(p.draws) for p in passes), default=0)
            self._scratch = torch.empty((2 + most, widest), dtype=self.wide, device=self.device)

    def _keys(self) -> list[list[Any]]:
        flat = self.source.keys([address(self.seed, *interval) for p in self.passes for interval in p.draws])
        out, at = [], 0
        for p in self.passes:
            out.append(flat[at : at + len(p.draws)])
            at += len(p.draws)
        return out

    def reseed(self, seed: int) -> None:
        """Other noise from here on; on a device the tables are written in place, where a captured graph reads them."""
        self.seed = seed
        if not any(p.draws for p in self.passes):
            return
        if self.source.host:
            self.keys = self._keys()
        else:
            table = self.source.table
            self._keys()
            table.copy_(self.source.table)
            self.source.table = table

    def rename(self, index: np.ndarray) -> None:
        """Other samples, as many: their noise from here on."""
        if any(p.draws for p in self.passes):
            self.source.rename(index)

    def __call__(self, which: int, memory: Memory) -> None:
        """Run pass ``which``. ``memory`` holds the operands, contiguous, and the tensors to write to."""
        p = self.passes[which]
        if p.draws:
            return self._drawn(p, self.keys[which], memory)
        some = memory[p.sums[0].target]
        if some.numel() <= self.block:
            for s in p.sums:
                self._sum(memory[s.target], s, memory, ())
            return None
        parts = {r: memory[r].view(-1).split(self.block) for r in {*p.inputs, *(s.target for s in p.sums)}}
        for i in range(len(parts[p.sums[0].target])):
            here = {r: part[i] for r, part in parts.items()}
            for s in p.sums:
                self._sum(here[s.target], s, here, ())
        return None

    def _drawn(self, p: Pass, keys: Sequence[Any], memory: Memory) -> None:
        assert self._scratch is not None
        views = {r: memory[r].view(self.batch, self.n) for r in {*p.inputs, *(s.target for s in p.sums)}}
        for i, (rows, columns) in enumerate(self.source.pieces):
            here = {r: view[rows, columns] for r, view in views.items()}
            shape = here[p.sums[0].target].shape
            z = []
            for k, key in enumerate(keys):
                room = self._scratch[2 + k, : math.prod(shape)].view(shape)
                z.append(room.copy_(self.source.piece(i, key)))
            for s in p.sums:
                self._sum(here[s.target], s, here, z)

    def _sum(self, out: Tensor, s: Sum, here: Mapping[int, Tensor] | Memory, z: Sequence[Tensor]) -> None:
        """The sum in place. The first term is the one that lies where the result goes, if there is one."""
        if self.wide != self.dtype:
            return self._rounded(out, s, here, z)
        terms = [(here[r], c) for r, c in s.terms] + [(z[k], c) for k, c in s.draws]
        if not terms:
            out.zero_()
            return None
        first, c = terms[0]
        torch.mul(first, c, out=out)
        for value, c in terms[1:]:
            out.add_(value, alpha=c)
        return None

    def _rounded(self, out: Tensor, s: Sum, here: Mapping[int, Tensor] | Memory, z: Sequence[Tensor]) -> None:
        assert self._scratch is not None
        total, one = (self._scratch[i, : out.numel()].view(out.shape) for i in (0, 1))
        if s.terms:
            total.copy_(here[s.terms[0][0]]).mul_(s.terms[0][1])
        else:
            total.zero_()
        for r, c in s.terms[1:]:
            total.add_(one.copy_(here[r]), alpha=c)
        for k, c in s.draws:
            total.add_(z[k], alpha=c)
        out.copy_(total)


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
