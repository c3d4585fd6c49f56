r"""One fused pass: out_j = Σ_i a_ji in_i + Σ_k c_jk z_k + Σ_{l<j} b_jl out_l, the normals z_k made on the way.

Two back ends with the same results to rounding: the Triton kernel of ``kernel.py`` on a GPU, and torch operations in place everywhere. The
torch path works through the state in blocks that fit a CPU's cache, so that each operand is read from memory once and no temporary is as
large as the state. Half and bfloat16 states are summed in float32 and rounded once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scorebed.gpu.noise import Normals, address, widest
from scorebed.gpu.plan.program import Pass, Sum

_BLOCK = 1 << 19
"""Bytes of an operand in one block, for each thread of a CPU."""

Memory = list[Any]
"""Tensors by register."""


def accumulator(dtype: torch.dtype) -> torch.dtype:
    """The type in which sums of ``dtype`` are formed."""
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype


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
            self.source = Normals(index, self.n, self.device, widest(self.device), host=host)
            self.keys = self._keys()
        most_at_once = self.batch * self.n
        if self.device.type == "cpu":
            most_at_once = min(most_at_once, self.block)
            if any(p.draws for p in passes):
                most_at_once = max(most_at_once, *((r.stop - r.start) * (c.stop - c.start) for r, c in self.source.pieces))
        if any(p.sums for p in passes) and (self.wide != self.dtype or any(p.draws for p in passes)):
            most = max((len(p.draws) for p in passes), default=0)
            self._scratch = torch.empty((2 + most, most_at_once), dtype=self.wide, device=self.device)

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
