"""Two processes give the samples of one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from scorebed import gpu
from scorebed.gpu.plan import parallel
from scorebed.solvers import SOLVERS, VP
from scorebed.solvers.grid import uniform_lam

ROOT = Path(__file__).resolve().parent.parent

PROCESS = r"""
import sys
import torch, torch.distributed as dist
from scorebed import gpu
from scorebed.gpu.plan import parallel
from scorebed.solvers import SOLVERS, VP
from scorebed.solvers.grid import uniform_lam

rank, folder = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
x = torch.randn(7, 2, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
labels = torch.arange(7.0, dtype=torch.float64)[:, None, None]
guided = gpu.guided(lambda y, node, c: torch.tanh(y + c), labels, 0 * labels, 1.5)
out = {}
for name in ("ddpm", "dpmpp_2m", "dpm_solver_12"):  # the last asks for parts of the batch, which have no conditions of their own
    network = guided if name != "dpm_solver_12" else lambda y, node: torch.tanh(y)
    out[name] = parallel.run(SOLVERS[name], network, x, uniform_lam(VP(), 4), noise=6)
    out[name + " share"] = parallel.run(SOLVERS[name], network, x, uniform_lam(VP(), 4), noise=6, gather=False)
torch.save(out, f"{folder}/out{rank}.pt")
dist.destroy_process_group()
"""


def test_two_processes_give_the_samples_of_one(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen([sys.executable, "-W", "ignore", "-c", PROCESS, str(rank), str(tmp_path)], env=environment, stderr=subprocess.PIPE)
        for rank in range(2)
    ]
    try:
        errors = [process.communicate(timeout=120)[1] for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0, 0], errors
    x = torch.randn(7, 2, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    labels = torch.arange(7.0, dtype=torch.float64)[:, None, None]
    guided = gpu.guided(lambda y, node, c: torch.tanh(y + c), labels, 0 * labels, 1.5)
    for name in ("ddpm", "dpmpp_2m", "dpm_solver_12"):
        network = guided if name != "dpm_solver_12" else lambda y, node: torch.tanh(y)
        alone = gpu.run(SOLVERS[name], network, x, uniform_lam(VP(), 4), noise=6)
        for rank in range(2):
            found = torch.load(tmp_path / f"out{rank}.pt", weights_only=True)
            assert torch.allclose(found[name], alone, rtol=0.0, atol=1e-13)
            assert torch.equal(found[f"{name} share"], found[name][parallel.share(7, rank, 2)])


def test_shares_cover_the_batch() -> None:
    for n in (1, 5, 8, 13):
        for world in (1, 2, 3, 5):
            rows = [i for rank in range(world) for i in range(n)[parallel.share(n, rank, world)]]
            assert rows == list(range(n))
    with pytest.raises(ValueError, match="rank"):
        parallel.share(4, 2, 2)


def test_it_needs_a_process_group() -> None:
    with pytest.raises(RuntimeError, match="init_process_group"):
        parallel.run(SOLVERS["ddim"], lambda y, node: y, torch.zeros(2, 2), uniform_lam(VP(), 2))
