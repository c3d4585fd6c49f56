"""Kill tests: a study that is killed at any moment goes on where it was, and ends with the table of one that was never disturbed.

``SCOREBED_KILLS=200`` (``make kill``) kills longer. The processes are forked from one that has imported everything, so that a run is its
work and not its imports.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from scorebed.toy.store.database import Store
from scorebed.toy.studies.study import run_study

KILLS = int(os.environ.get("SCOREBED_KILLS", "20"))
TABLES = {"study": "results.csv", "claims": "claims.csv", "transfer": "errors.csv"}


@dataclass
class Mixture:
    """A network that is an exact mixture."""

    name: str = "mixture"
    shape: tuple[int, ...] = (1, 2, 2)

    def __post_init__(self) -> None:
        import torch

        from scorebed.gpu.mixture import GaussianMixture
        from scorebed.solvers import VP

        means = np.random.default_rng(7).standard_normal((3, math.prod(self.shape)))
        law = GaussianMixture(np.full(3, 1 / 3), means, np.array([0.3, 0.4, 0.5]) ** 2, dtype=torch.float64)
        self.schedule, self.denoise = VP(1.0, 1.0, t_min=1e-3, t_max=10.0), law.images(self.shape)

    def grid(self, n: int) -> Any:
        from scorebed.solvers import grid

        return grid.uniform_lam(self.schedule, n)

    def start(self, n: int, seed: int = 0, *, dtype: Any = None) -> Any:
        import torch

        return torch.randn(n, *self.shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def begin(what: str, folder: str) -> None:
    """The run that is killed: small, in one process, silent."""
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
        if what == "study":
            run_study(["mixture1d"], ["ddim", "heun", "ddpm"], nfe=(5, 10), out=folder, jobs=1)
        elif what == "claims":
            from scorebed.toy.cli import main

            main(["claims", "183", "100", "143", "--out", folder, "--jobs", "1"], standalone_mode=False)
        else:
            from scorebed.toy.studies.transfer import run_transfer

            run_transfer(Mixture(), ["ddim", "heun", "dpmpp_2m"], (5, 8), 2, ["generic", "samples"], folder, draws=8, jobs=1)


def rows(folder: Path) -> dict[str, str]:
    """What is kept, by key, as text: nan is not equal to itself."""
    if not (folder / "store.sqlite").exists():
        return {}
    with Store(folder, write=False) as store:
        return {r.key: repr(r.row) for r in store.records()}


@pytest.mark.parametrize(("what", "share"), [("study", 0.5), ("claims", 0.2), ("transfer", 0.3)])
def test_killed_at_any_moment_the_table_is_that_of_an_undisturbed_run(what: str, share: float, tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["torch", "scorebed.toy.cli", "scorebed.toy.studies.transfer", "scorebed.toy.claims.run", "scorebed.gpu.mixture"]
    )
    rng, kills, finished = random.Random(what), 0, 0

    def run(folder: Path, seconds: float = math.inf) -> bool:
        """Whether it ended by itself."""
        process = context.Process(target=begin, args=(what, str(folder)))
        process.start()
        process.join(None if seconds == math.inf else seconds)
        ended = process.exitcode is not None
        if not ended:
            process.kill()
            process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
        return ended

    began = time.perf_counter()
    assert run(tmp_path / "whole")
    whole = time.perf_counter() - began
    wanted, table = rows(tmp_path / "whole"), (tmp_path / "whole" / TABLES[what]).read_bytes()
    assert len(wanted) >= 3
    while kills < max(1, round(KILLS * share)) or finished == 0:
        folder = tmp_path / str(finished)
        before = rows(folder)
        ended = run(folder, rng.uniform(0.0, whole if rng.random() < 0.3 else 0.4 * whole) if kills < KILLS * share else math.inf)
        kept = rows(folder)
        assert before.items() <= kept.items() <= wanted.items()
        kills += not ended
        if ended:
            assert (folder / TABLES[what]).read_bytes() == table
            assert kept == wanted
            finished += 1
        else:
            assert not (folder / TABLES[what]).exists() or (folder / TABLES[what]).read_bytes() == table
    assert kills >= 1


def test_a_command_with_workers_that_is_killed_leaves_no_process_and_goes_on(tmp_path: Path) -> None:
    study = "study --problems mixture1d --solvers ddim heun ddpm --nfe 5 --no-figures --jobs 2 --out"
    command = [sys.executable, "-m", "scorebed.toy.cli", *study.split(), str(tmp_path / "killed")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as killed:
        until = time.monotonic() + 120.0
        while len(rows(tmp_path / "killed")) < 4 and time.monotonic() < until:
            time.sleep(0.1)
        workers = psutil.Process(killed.pid).children(recursive=True)
        assert len(workers) >= 2
        killed.kill()
    kept = rows(tmp_path / "killed")
    assert kept
    _, alive = psutil.wait_procs(workers, timeout=90.0)
    assert alive == []
    again, whole = (
        run_study(["mixture1d"], ["ddim", "heun", "ddpm"], nfe=(5,), out=tmp_path / name, jobs=1) for name in ("killed", "whole")
    )
    assert again.attrs["kept"] == len([r for r in kept.values() if "status" in r])
    assert whole.attrs["kept"] == 0
    assert (tmp_path / "killed" / "results.csv").read_bytes() == (tmp_path / "whole" / "results.csv").read_bytes()
