"""A study on a dask cluster: the rows of one process, to the bit, and a worker that is killed loses nothing."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from distributed import Client, LocalCluster
from typer.testing import CliRunner

from scorebed.solvers import SOLVERS
from scorebed.toy.cli import main
from scorebed.toy.peers.board import run_board
from scorebed.toy.store.engines import engine, remotely
from scorebed.toy.store.files import StoreError
from scorebed.toy.store.tasks import Task
from scorebed.toy.store.versions import numerical
from scorebed.toy.studies.amplification import amplifications
from scorebed.toy.studies.rows import read
from scorebed.toy.studies.study import run_study

STUDY: dict[str, Any] = {"problems": ["mixture1d", "product2d"], "solvers": ["ddim", "heun", "ddpm"], "nfe": (5, 10)}


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as one:
        yield one


@pytest.fixture(scope="module")
def alone() -> pd.DataFrame:
    return run_study(**STUDY, jobs=1)


def test_a_cluster_gives_the_rows_of_one_process(cluster: LocalCluster, alone: pd.DataFrame, tmp_path: Path) -> None:
    arguments = "study --problems mixture1d product2d --solvers ddim heun ddpm --nfe 5 10 --no-figures --backend dask"
    done = CliRunner().invoke(main, [*arguments.split(), "--scheduler", cluster.scheduler_address, "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert f"0 rows kept, {len(alone)} measured" in done.output
    pd.testing.assert_frame_equal(read(tmp_path / "results.csv"), alone, check_dtype=False, rtol=0.0, atol=0.0)


def test_a_worker_that_is_killed_loses_nothing(cluster: LocalCluster, alone: pd.DataFrame, tmp_path: Path) -> None:
    with Client(cluster, set_as_default=False) as client:
        workers: list[int] = list(client.run(os.getpid).values())
    killed: list[int] = []

    def kill(done: int, _: int, __: str) -> None:
        if done == 2 and not killed:
            killed.append(workers[0])
            os.kill(workers[0], signal.SIGKILL)

    found = run_study(**STUDY, out=tmp_path, backend="dask", scheduler=cluster.scheduler_address, report=kill)
    assert killed
    pd.testing.assert_frame_equal(found, alone)
    assert found.attrs["made"] == len(alone)


def test_other_studies_run_there_too(cluster: LocalCluster, tmp_path: Path) -> None:
    there: dict[str, Any] = {"backend": "dask", "scheduler": cluster.scheduler_address}
    methods, small = [SOLVERS[name] for name in ("ddim", "heun")], {"steps": (5, 8), "guidance": (1.0, 4.0)}
    pd.testing.assert_frame_equal(amplifications(methods, **small, where=tmp_path, jobs=None, **there), amplifications(methods, **small))
    only = lambda entry: entry.name == "DDIMSampler"  # noqa: E731
    away = run_board(tmp_path, ["azula"], quick=True, jobs=None, only=only, **there)
    here = run_board(tmp_path / "here", ["azula"], quick=True, jobs=1, only=only)
    assert [{**row, "seconds": 0.0} for row in away] == [{**row, "seconds": 0.0} for row in here]
    assert len(away) == 1


def test_a_worker_of_other_versions_or_code_is_refused() -> None:
    task = Task("k", "study", dict, (), modules=("scorebed.solvers.methods.edm",))
    with pytest.raises(StoreError, match=r"other versions \(numpy .*, not 1\.0\): install the same on all"):
        remotely(task, {**numerical(), "numpy": "1.0"}, "")
    with pytest.raises(StoreError, match=r"other code than this process in scorebed\.solvers\.methods\.edm"):
        remotely(task, numerical(), "")


def test_a_scheduler_that_does_not_answer_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(StoreError, match=r"no dask scheduler answers at 'tcp://127\.0\.0\.1:1'"),
        engine("dask", scheduler="tcp://127.0.0.1:1"),
    ):
        pass
    refused = CliRunner().invoke(main, ["study", "--backend", "dask", "--out", str(tmp_path)])
    assert refused.exit_code == 2
    assert "--scheduler" in refused.output
