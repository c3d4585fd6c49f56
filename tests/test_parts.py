"""Tables made of parts: kept the moment they are known, the same whoever computes them, and never written over by another study."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from scorebed.solvers import SOLVERS
from scorebed.toy.cli import main
from scorebed.toy.problems.gaussians import GAUSSIANS, GUIDED
from scorebed.toy.store.files import StoreError
from scorebed.toy.store.parts import Part, chain
from scorebed.toy.store.tables import everything
from scorebed.toy.studies.amplification import amplifications

STABILITY = "stability --solvers ddim heun --guidance 1 4 --no-figures --jobs 1"
PATHS = "trajectories --problem mixture1d --solvers ddim ddpm --nfe 4 --paths 3 --no-figures --jobs 1"
OTHERS = ("law --solvers ddim --steps 4 8", "budget --solvers ddim --steps 4 8")


def run(words: str, out: Path) -> str:
    done = CliRunner().invoke(main, [*words.split(), "--out", str(out)])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_what_is_known_is_not_measured_again(tmp_path: Path) -> None:
    made = 2 * 2 * (len(GAUSSIANS) + 1)  # of two solvers at two numbers of steps: each problem, and the limit
    assert f"0 parts kept, {made} measured" in run(f"{STABILITY} --steps 5 6", tmp_path)
    first = (tmp_path / "amplification.csv").read_bytes()
    assert f"{made} parts kept, 0 measured" in run(f"{STABILITY} --steps 5 6", tmp_path)
    assert (tmp_path / "amplification.csv").read_bytes() == first
    assert f"{made} parts kept, {made // 2} measured" in run(f"{STABILITY} --steps 5 6 8", tmp_path)
    rows = [r for r in everything(tmp_path) if r.study == "stability"]
    assert len(rows) == (tmp_path / "amplification.csv").read_text().count("\n") - 1
    assert {r.row["solver"] for r in rows} == {"ddim", "heun"}


def test_paths_are_kept_and_the_tables_are_the_same(tmp_path: Path) -> None:
    names = [f"mixture1d-{kind}.csv" for kind in ("paths", "nodes", "directions")]
    assert "0 runs kept, 3 followed; seed 0" in run(PATHS, tmp_path)
    first = [(tmp_path / name).read_bytes() for name in names]
    assert "3 runs kept, 0 followed; seed 0" in run(PATHS, tmp_path)
    assert [(tmp_path / name).read_bytes() for name in names] == first
    (other := tmp_path / "two").mkdir()
    assert "0 runs kept, 3 followed" in run(PATHS.replace("--jobs 1", "--jobs 2"), other)
    assert [(other / name).read_bytes() for name in names] == first


@pytest.mark.parametrize("words", [f"{STABILITY} --steps 5 6", PATHS, *OTHERS], ids=lambda words: words.split()[0])
def test_another_study_is_not_written_over(words: str, tmp_path: Path) -> None:
    run(words, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.csv")}
    less = words.replace("ddim heun", "heun").replace("4 8", "8").replace("--nfe 4", "--nfe 6")
    refused = CliRunner().invoke(main, [*less.split(), "--out", str(tmp_path)])
    assert (refused.exit_code, "is of another study" in refused.output, "--force" in refused.output) == (1, True, True)
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.csv")} == before
    run(f"{less} --force", tmp_path)


@pytest.mark.parametrize(
    ("words", "results"),
    [
        ("cache", "cache.csv"),
        ("discrete", "discrete.csv"),
        ("guided", "guided.csv"),
        ("likelihood", "likelihood.csv"),
        ("maps", "maps.csv"),
        ("schedules", "schedules.csv"),
        ("learned", "learned.csv"),
        ("bench", "bench.json"),
        ("posterior --peers", "peers.csv"),
        ("posterior --model galaxy-hsc-32", "network.csv"),
    ],
)
def test_no_command_writes_over_what_it_does_not_know(words: str, results: str, tmp_path: Path) -> None:
    (tmp_path / results).write_text("mine")
    refused = CliRunner().invoke(main, [*words.split(), "--out", str(tmp_path)])
    assert (refused.exit_code, f"no {Path(results).stem}-about.json beside it" in refused.output) == (1, True), refused.output
    assert (tmp_path / results).read_text() == "mine"


def test_the_same_command_again_is_no_other_study(tmp_path: Path) -> None:
    words = "maps --families ddim --steps 1 --no-figures"
    run(words, tmp_path)
    run(words, tmp_path)
    refused = CliRunner().invoke(main, [*words.replace("1", "2").split(), "--out", str(tmp_path)])
    assert "is of another study (steps 1)" in refused.output
    run(f"{words} --force", tmp_path)


def test_a_part_is_of_its_arguments_and_of_the_code_of_its_method() -> None:
    def key_of(*args: object) -> str:
        return next(chain("stability", Part(amplifications, args))).key

    keys = [key_of(SOLVERS["ddim"], GUIDED, 5), key_of(SOLVERS["heun"], GUIDED, 5), key_of(SOLVERS["ddim"], GUIDED, 6)]
    assert len({*keys, key_of(SOLVERS["ddim"], GUIDED, 5)}) == 3


def test_a_worker_of_other_peers_is_refused() -> None:
    from scorebed.toy.peers.board import measured

    with pytest.raises(StoreError, match=r"other versions \(azula .*, not 0.0\)"):
        measured("azula", "nothing", True, {"azula": "0.0"})
