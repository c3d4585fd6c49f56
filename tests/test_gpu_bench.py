"""The benchmark measures what it says, and the ratios that hold on any CPU hold."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from scorebed.gpu.bench import step as bench
from scorebed.gpu.bench.peers import DIFFUSERS, KDIFFUSION
from scorebed.gpu.bench.step import Row, Taken
from scorebed.solvers import SOLVERS
from scorebed.toy.cli import main
from scorebed.toy.foreign.kdiffusion import sampling

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_every_section_gives_its_ratios() -> None:
    rows = bench.bench((2, 1, 8, 8), 4, 1, kdiffusion=sampling(), sizes={"K": 50, "B": 4, "d": 6})
    titles = {row.what.split(",")[0] for row in rows}
    assert {f"{name} / diffusers" for name in DIFFUSERS} <= titles
    assert {f"{name} / k-diffusion" for name in KDIFFUSION} <= titles
    assert {"exact score / two products", "memory", "outside the network / network", "normals of an interval / torch.randn"} <= titles
    assert all(math.isfinite(row.value) and row.value >= 0.0 for row in rows)
    assert {row.section for row in rows} == set(bench.SECTIONS)
    assert set(DIFFUSERS) | set(KDIFFUSION) <= set(SOLVERS)


def test_a_row_knows_whether_its_target_is_met() -> None:
    assert Row("step", "a", 1.2, target=1.3).met is True
    assert Row("step", "a", 1.4, target=1.3).met is False
    assert Row("step", "a", 0.7, target=0.8, least=True).met is False
    assert Row("step", "a", 0.7).met is None


def test_memory_is_what_is_alive_at_once() -> None:
    with Taken() as taken:
        a = torch.empty(1 << 18)
        b = a.view(2, -1) + 1.0
        del a, b
        torch.zeros(1 << 18)
    assert taken.most == 2 << 20


def test_bad_requests_are_refused() -> None:
    for options in ({"sections": ("speed",)}, {"steps": 1}, {"repeats": 0}):
        with pytest.raises(ValueError, match="sections"):
            bench.bench(**{"shape": (2, 1, 8, 8), "steps": 4, "repeats": 1, **options})


def test_the_command_writes_what_it_prints(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, f"bench --sections noise loop --shape 2 1 8 8 --steps 3 --repeats 1 --out {tmp_path}".split())
    assert done.exit_code == 0, done.output
    written = json.loads((tmp_path / "bench.json").read_text(encoding="utf-8"))
    assert written["threads"] == 1
    for row in written["rows"]:
        assert row["what"] in done.output
    assert CliRunner().invoke(main, f"bench --sections speed --out {tmp_path / 'a'}".split()).exit_code == 2
    assert CliRunner().invoke(main, f"bench --dtype int8 --out {tmp_path / 'b'}".split()).exit_code == 2


def test_the_exact_score_takes_little_memory() -> None:
    """At K = 10,000, B = 256, d = 784: at most 64 MiB beside its operands. How long it takes is for ``scorebed bench`` to say."""
    rows = [row for row in bench.score(CPU, torch.float32, 1, bench.SIZES) if row.what.startswith("memory")]
    assert rows
    assert all(row.unit == "MiB" and row.value <= 64.0 for row in rows), rows
