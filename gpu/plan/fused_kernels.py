"""The passes of ``fused.py`` as one kernel each: by Triton, or written by ``torch.compile``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scorebed.gpu.noise import address
from scorebed.gpu.plan.fused import Memory, Passes, accumulator
from scorebed.gpu.plan.program import MAX_DRAWS, MAX_INPUTS, MAX_OUTPUTS, Pass


class TritonPasses:
    """The same by the Triton kernel: one launch for a pass."""

    def __init__(self, passes: Sequence[Pass], like: Tensor, index: np.ndarray, seed: int) -> None:
        from scorebed.gpu.plan import kernel

        self.kernel, self.passes, self.seed = kernel, passes, seed
        self.batch, self.n = like.shape[0], math.prod(like.shape[1:])
        if -(-self.n // 4) >= 2**32:
            raise ValueError(f"{self.n} elements in a sample: the counter holds 4 * 2^32")
        self.wide = like.dtype == torch.float64
        table: list[float] = []
        self.plans: list[tuple[Any, ...]] = []
        drawn = 0
        for p in passes:
            if len(p.inputs) > MAX_INPUTS or len(p.sums) > MAX_OUTPUTS or len(p.draws) > MAX_DRAWS:
                self.plans.append(())  # one sum longer than the kernel takes
                drawn += len(p.draws)
                continue
            k, m, n = len(p.inputs), len(p.sums), len(p.draws)
            place = {r: i for i, r in enumerate(p.inputs)} | {s.target: k + n + j for j, s in enumerate(p.sums)}
            rows, needs = np.zeros((m, k + n + m)), 0
            for j, s in enumerate(p.sums):
                for i, c in [(place[r], c) for r, c in s.terms] + [(k + i, c) for i, c in s.draws]:
                    rows[j, i] = c
                    needs |= 1 << (j * (k + n + m) + i)
            store = sum(1 << j for j, kept in enumerate(p.stored) if kept)
            self.plans.append((len(table), 3 * drawn, k, m, n, needs, store))
            table += rows.ravel().tolist()
            drawn += n
        self.table = torch.tensor(table or [0.0], dtype=torch.float64 if self.wide else torch.float32, device=like.device)
        self.keys = torch.tensor(self._addresses() or [0], dtype=torch.int64, device=like.device)
        self.index = torch.as_tensor(index.astype("int64"), device=like.device)
        self.rest = Passes([p if not plan else _EMPTY for p, plan in zip(passes, self.plans, strict=True)], like, index, seed)
        even = self.n % 4 == 0
        lanes = self.batch * (-(-self.n // 4)) if not even else -(-(self.batch * self.n) // 4)
        self.grid = (-(-lanes // kernel.BLOCK.value),)
        self.even = even
        # Triton launches on the current device, which need not be that of the state
        self.device: Any = torch.cuda.device(like.device) if like.device.type == "cuda" else nullcontext()

    def _addresses(self) -> list[int]:
        return [w for p in self.passes for interval in p.draws for w in address(self.seed, *interval)]

    def reseed(self, seed: int) -> None:
        """Other noise from here on; the table is written in place, where a captured graph reads it."""
        self.seed = seed
        words = self._addresses()
        if words:
            self.keys.copy_(torch.tensor(words, dtype=torch.int64))
        self.rest.reseed(seed)

    def rename(self, index: np.ndarray) -> None:
        """Other samples, as many: their noise from here on."""
        self.index.copy_(torch.as_tensor(index.astype("int64")))
        self.rest.rename(index)

    def __call__(self, which: int, memory: Memory) -> None:
        plan, p = self.plans[which], self.passes[which]
        if not plan:
            return self.rest(which, memory)
        offset, key_offset, k, m, n, needs, store = plan
        outs = tuple(memory[s.target] for s in p.sums)
        ins = tuple(memory[r] for r in p.inputs)
        # an empty tuple of pointers is no argument; the kernel reads none of it
        launch: Any = self.kernel.fused_pass[self.grid]
        with self.device:
            launch(
                ins or outs[:1], outs, self.table, offset, self.keys, key_offset, self.index, self.n, self.batch,
                K=k, M=m, N=n, NEEDS=needs, STORE=store, WIDE=self.wide, EVEN=self.even,
            )  # fmt: skip
        return None


_EMPTY = Pass((), (), (), (), (), ())


class CompiledPasses(Passes):
    """The torch path with each kind of pass without noise made into one kernel by ``torch.compile``; passes with noise run as they are.

    Coefficients are arguments, so passes of one structure share a kernel.
    """

    def __init__(self, passes: Sequence[Pass], like: Tensor, index: np.ndarray, seed: int) -> None:
        super().__init__(passes, like, index, seed)
        self.block = like.numel()
        self._kernels = [None if p.draws else torch.compile(_structure(p, self.dtype), dynamic=False) for p in passes]
        self._rows = [
            torch.tensor([c for s in p.sums for _, c in s.terms], dtype=self.wide, device=self.device) for p in passes
        ]  # in memory, so that another step's numbers are no reason to compile again

    def __call__(self, which: int, memory: Memory) -> None:
        kernel, p = self._kernels[which], self.passes[which]
        if kernel is None:
            super().__call__(which, memory)
        else:
            kernel(self._rows[which], [memory[r] for r in p.inputs], [memory[s.target] for s in p.sums])


_STRUCTURES: dict[Any, Any] = {}


def _structure(p: Pass, dtype: torch.dtype) -> Any:
    """The function (coefficients, operands, results) of a pass, one for each structure."""
    place = {r: i for i, r in enumerate(p.inputs)} | {s.target: len(p.inputs) + j for j, s in enumerate(p.sums)}
    sums = tuple(tuple(place[r] for r, _ in s.terms) for s in p.sums)
    shape = (len(p.inputs), sums, dtype)
    if shape not in _STRUCTURES:
        wide = accumulator(dtype)

        def run(row: Tensor, ins: list[Tensor], outs: list[Tensor]) -> None:
            values, at = [x.to(wide) for x in ins], 0
            for out, terms in zip(outs, sums, strict=True):
                total = torch.zeros_like(out, dtype=wide)
                for i in terms:
                    total = total + row[at] * values[i]
                    at += 1
                rounded = total.to(dtype)
                values.append(rounded.to(wide))
                out.copy_(rounded)

        _STRUCTURES[shape] = run
    return _STRUCTURES[shape]
