"""Several processes, one batch: data parallelism through torch.distributed.

Every process runs its own share of the samples. The noise goes by sample index, so the result is that of one process, whatever the number
of processes. Nothing is exchanged but the result.
"""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from scorebed.gpu.plan.execute import run as run_here
from scorebed.solvers.base import Solver
from scorebed.solvers.model import Denoiser
from scorebed.solvers.noise import fresh_seed
from scorebed.solvers.plan import Plan


def share(n: int, rank: int, world: int) -> slice:
    """The samples of process ``rank`` of ``world``: contiguous, and as equal as can be."""
    if not 0 <= rank < world:
        raise ValueError(f"rank = {rank} of {world}: give 0 <= rank < world")
    return slice(rank * n // world, (rank + 1) * n // world)


def run(
    method: Solver | Plan,
    denoise: Denoiser,
    x: Tensor,
    grid: Any = None,
    *,
    noise: int | None = None,
    index: Any = None,
    gather: bool = True,
    group: Any = None,
    **options: Any,
) -> Tensor:
    """``gpu.run`` on this process's share of the batch ``x``, which every process holds.

    Args:
        method, denoise, grid, options: as for ``gpu.run``; a denoiser with ``take(rows)`` is asked for that of the share.
        noise: a seed, the same in every process; None is a fresh one, which the first process draws for all.
        index: sample indices of the whole batch, 0 … B - 1 by default.
        gather: give the whole result to every process; otherwise each has its share (``share``).
        group: the process group; all processes by default.

    Returns:
        whole result (B, …) with ``gather``, else this process's share.

    Raises:
        RuntimeError: torch.distributed is not initialised.
        ValueError: fewer samples than processes, or a noise that is not a seed.
    """
    if not (dist.is_available() and dist.is_initialized()):
        raise RuntimeError("torch.distributed is not initialised: call torch.distributed.init_process_group, or use gpu.run")
    if noise is not None and (isinstance(noise, bool) or not isinstance(noise, Integral)):
        raise ValueError(f"noise = {noise!r}: give a seed, the same in every process")
    if noise is None:
        drawn = [fresh_seed()]
        dist.broadcast_object_list(drawn, group=group, group_src=0)
        noise = drawn[0]
    rank, world, n = dist.get_rank(group), dist.get_world_size(group), x.shape[0]
    if n < world:
        raise ValueError(f"{n} samples for {world} processes: give at least one for each")
    rows = share(n, rank, world)
    names = np.arange(n) if index is None else np.asarray(index)
    part = denoise.take(rows) if hasattr(denoise, "take") else denoise
    mine = run_here(method, part, x[rows], grid, noise=noise, index=names[rows], **options)
    if not gather:
        return mine
    sizes = [share(n, r, world) for r in range(world)]
    most = max(s.stop - s.start for s in sizes)
    sent = mine.new_zeros((most, *mine.shape[1:]))
    sent[: len(mine)] = mine
    parts = [torch.empty_like(sent) for _ in range(world)]
    dist.all_gather(parts, sent, group=group)
    return torch.cat([p[: s.stop - s.start] for p, s in zip(parts, sizes, strict=True)])
