r"""Very many trajectories of one Plan on one exact mixture: the whole run of each in one kernel, or, without Triton, the usual passes.

    end = gpu.many(trace(SOLVERS["dpmpp_2m_sde"], nodes, terminal="denoise"), law, x, seed=0)

The kernel (``many_kernel.py``) reads the Plan as a table, so that a second method, or another grid, costs no compilation. Sample i has the
noise of ``solvers.noise`` for (seed, first + i), whatever way it is run.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scorebed.gpu.mixture import GaussianMixture
from scorebed.gpu.noise import address
from scorebed.gpu.plan.backend import backend_for
from scorebed.gpu.plan.execute import run
from scorebed.solvers.plan import Plan
from scorebed.solvers.plan.ops import Combine, Evaluate, reads

BLOCK = 128
"""Trajectories of one program."""
WIDEST = 16
"""The most dimensions that the kernel takes."""


def many(plan: Plan, law: Any, x: Tensor, *, seed: int = 0, first: int = 0, backend: str = "auto", chunk: int = 1 << 20) -> Tensor:
    """The outputs of ``plan`` from the states ``x`` with the exact denoiser of ``law``.

    Args:
        plan: of one state; its model gives E[x0 | x].
        law: an ``analytic.GaussianMixture`` with isotropic or diagonal covariances, of at most 16 dimensions.
        x: (n, d), float32 or float64.
        first: the index of the first sample.
        backend: ``triton``, ``torch``, or ``auto``: Triton on CUDA.
        chunk: the most trajectories at once, which bounds the memory.

    Returns:
        (n, d), in x's dtype, on its device.

    Raises:
        TypeError: ``x`` is no tensor of float32 or float64.
        ValueError: shapes that do not match, more than 16 dimensions, full covariances, several components of the state.
    """
    if not isinstance(x, Tensor) or x.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"x is {getattr(x, 'dtype', type(x).__name__)}: give a tensor of float32 or float64")
    if x.ndim != 2 or x.shape[1] != law.d or not 1 <= law.d <= WIDEST or not len(x):
        raise ValueError(f"x has shape {tuple(x.shape)} and the law {law.d} dimensions: give (n, {law.d}), of at most {WIDEST}")
    if plan.components > 1 or plan.takes != "denoised":
        raise ValueError(f"{plan.solver} has {plan.components} components and takes {plan.takes!r}: give a Plan of one, on 'denoised'")
    spread = law.covariances
    if not isinstance(spread, np.ndarray) or spread.ndim > 2:
        raise ValueError("law has full or structured covariances: give variances, or (K, d) of them")
    variances = np.broadcast_to(spread[:, None] if spread.ndim == 1 else spread, (law.k, law.d)).copy()
    if backend_for(x.device, backend) != "triton":
        there = GaussianMixture(law.weights, law.means, variances, dtype=x.dtype, device=x.device)
        parts = x.split(chunk)
        ends = [
            run(plan, there.denoised, part, noise=seed if plan.stochastic else None, index=np.arange(len(part)) + first + i * chunk)
            for i, part in enumerate(parts)
        ]
        return torch.cat(ends)
    return torch.cat([_kernel(plan, law, variances, part, seed, first + i * chunk) for i, part in enumerate(x.split(chunk))])


def _kernel(plan: Plan, law: Any, variances: np.ndarray, x: Tensor, seed: int, first: int) -> Tensor:
    from scorebed.gpu.plan.many_kernel import trajectories

    ops, terms, weights, slots, result = table(plan)
    d = 1 << (law.d - 1).bit_length()
    padded = np.zeros((2, law.k, d))
    padded[1] = 1.0
    padded[0, :, : law.d], padded[1, :, : law.d] = law.means, variances

    def numbers(values: Any) -> Tensor:
        return torch.tensor(np.asarray(values, dtype=np.float64).ravel(), dtype=x.dtype, device=x.device)

    def integers(values: Any, kind: torch.dtype = torch.int32) -> Tensor:
        return torch.tensor(np.asarray(values, dtype=np.int64).ravel(), dtype=kind, device=x.device)

    nodes = numbers([(node.alpha, node.sigma) for node in plan.nodes] or [0.0])
    keys = integers([address(seed, s, t) for s, t in plan.noises] or [0], torch.int64)
    programs = -(-len(x) // BLOCK)
    scratch = torch.empty(programs * slots * BLOCK * d, dtype=x.dtype, device=x.device)
    x, out = x.contiguous(), torch.empty_like(x, memory_format=torch.contiguous_format)
    where: Any = torch.cuda.device(x.device) if x.device.type == "cuda" else nullcontext()
    launch: Any = trajectories[(programs,)]
    with where, np.errstate(all="ignore"):
        launch(
            x, out, scratch, integers(ops), integers(terms or [0]), numbers(weights or [0.0]), nodes, keys,
            numbers(np.log(np.maximum(law.weights, 1e-300))), numbers(padded[0]), numbers(padded[1]),
            first, len(x), law.d, len(ops), result, slots, law.k, BLOCK=BLOCK, D=d, WIDE=x.dtype == torch.float64,
        )  # fmt: skip
    return out


def table(plan: Plan) -> tuple[list[tuple[int, int, int, int]], list[int], list[float], int, int]:
    """(ops, terms, weights, number of slots, slot of the result) as the kernel reads them; a slot is free after its last use."""
    place, free, slots = {0: 0}, [], 1
    ops: list[tuple[int, int, int, int]] = []
    terms: list[int] = []
    weights: list[float] = []
    evaluations = draws = 0
    for i, ((made,), op) in enumerate(zip(plan.made, plan.ops, strict=True)):
        sources = [place[r] for r in reads(op)]
        free += [place[r] for r in dict.fromkeys(reads(op)) if plan.last_use[r] == i]
        if free:
            place[made] = free.pop()
        else:
            place[made], slots = slots, slots + 1
        if isinstance(op, Combine):
            ops.append((0, place[made], len(terms), len(sources)))
            terms += sources
            weights += [c for _, c in op.terms]
        elif isinstance(op, Evaluate):
            ops.append((1, place[made], sources[0], evaluations))
            evaluations += 1
        else:
            ops.append((2, place[made], draws, 0))
            draws += 1
        if plan.last_use.get(made, -1) < i + 1 and made != plan.result:
            free.append(place[made])  # nobody reads it
    return ops, terms, weights, slots, place[plan.result]
