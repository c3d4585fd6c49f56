"""The vectors are right, reproducible and small; runners in four languages pass, and each planted fault is told from the dump alone."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from scorebed import SOLVERS, GaussianMixture, sample
from scorebed.toy.cli import main
from scorebed.toy.conform import runners
from scorebed.toy.conform.faults import FAULTS
from scorebed.toy.conform.judge import judge, read
from scorebed.toy.conform.vectors import MEANS, SCHEMA, VARIANCES, WEIGHTS, _grids, pack, write

HERE = Path(next(iter(runners.__path__)))
PLANTED = ("missing factor 1/2", "step ratio inverted", "sign of the correction", "no memory", "last step left out")
BUILD = {
    "python": ([], [sys.executable, str(HERE / "runner.py")], "json"),
    "javascript": ([], ["node", str(HERE / "runner.mjs")], "json"),
    "c++": (["c++", "-O1", "-std=c++17", "-o", "{out}", str(HERE / "runner.cpp")], ["{out}"], "txt"),
    "rust": (["rustc", "-O", "-o", "{out}", str(HERE / "runner.rs")], ["{out}"], "txt"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("vectors")
    write(made)
    return made


@pytest.mark.parametrize("clock", _grids())
@pytest.mark.parametrize("method", FAULTS)
def test_the_vectors_are_the_catalogue(method: str, clock: str) -> None:
    """The expected answers are those of our solvers, started by DDIM where they have a memory."""
    case = next(c for c in pack()["cases"] if c["id"] == f"{method}/{clock}")
    solver = SOLVERS[method] if SOLVERS[method].start is None else replace(SOLVERS[method], start=SOLVERS["ddim"])
    nodes, draws = _grids()[clock], iter(np.array(case["noise"]))
    law = GaussianMixture(WEIGHTS, MEANS, VARIANCES)
    noise: Any = (lambda s, t: next(draws)) if case["noise"] else 0
    got = sample(solver, law.denoised, np.array(case["x"]), nodes, noise=noise, terminal="none")
    np.testing.assert_allclose(got, case["expected"], rtol=0.0, atol=1e-12 * np.abs(case["expected"]).max())


def test_twins_are_told_apart() -> None:
    """No two faults of a case give the same answer to single precision, and none the right one."""
    for case in pack()["cases"]:
        answers = {"right": case["expected"], **case["twins"]}
        flat = {name: np.asarray(value, dtype=float).ravel() for name, value in answers.items()}
        for a in flat:
            for b in flat:
                if a < b and flat[a].shape == flat[b].shape:
                    assert np.abs(flat[a] - flat[b]).max() > 2.0 * case["within"]["float32"], (case["id"], a, b)


def test_the_pack_is_reproducible_small_and_of_its_schema(folder: Path, tmp_path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    for path in write(tmp_path):
        assert path.suffix == ".npz" or path.read_bytes() == (folder / path.name).read_bytes()
    assert sum(path.stat().st_size for path in folder.iterdir()) < 5_000_000
    jsonschema.validate(json.loads((folder / "vectors.json").read_text(encoding="utf-8")), SCHEMA)
    with np.load(folder / "vectors.npz", allow_pickle=False) as arrays:
        assert arrays["ddim/vp/expected"].shape == (4, 2)


@pytest.mark.parametrize("language", BUILD)
def test_a_runner_passes_and_its_faults_are_told(language: str, folder: Path, tmp_path: Path) -> None:
    build, run, kind = BUILD[language]
    tool = (build or run)[0]
    if shutil.which(tool) is None:
        pytest.skip(f"there is no {tool} here")
    out = str(tmp_path / "runner")
    if build:
        subprocess.run([part.format(out=out) for part in build], check=True, timeout=300)
    for fault in ("", *PLANTED):
        results = tmp_path / f"results.{kind}"
        command = [part.format(out=out) for part in run]
        subprocess.run([*command, str(folder / f"vectors.{kind}"), str(results), *([fault] if fault else [])], check=True, timeout=120)
        judged = judge(read(results)["results"])
        assert judged.causes == ([fault] if fault else []), judged
        assert judged.passed == (not fault)


def answers() -> dict[str, Any]:
    return {case["id"]: case["expected"] for case in pack()["cases"]}


def test_every_twin_is_named() -> None:
    for case in pack()["cases"]:
        for fault, twin in case["twins"].items():
            assert judge({**answers(), case["id"]: twin}).causes == [fault], (case["id"], fault)


def test_what_is_not_known_is_said() -> None:
    wrong = {**answers(), "ddim/vp": (np.array(answers()["ddim/vp"]) * 1.5).tolist(), "no/such": [1.0]}
    judged = judge(wrong)
    assert judged.causes == ["unknown"]
    assert judged["no/such"].status == "note"
    assert judge({**answers(), "ddim/vp": [1.0]}).causes == ["wrong number of values"]
    assert judge({**answers(), "ddim/vp": "x"}).causes == ["no numbers"]
    assert judge({**answers(), "ddim/vp": (np.nan * np.array(answers()["ddim/vp"])).tolist()}).causes == ["not finite"]
    half = np.array(answers()["ddim/vp"]) * (1.0 + 2.0**-9)
    assert judge({**answers(), "ddim/vp": half.tolist()})["ddim/vp"].status == "note"


def test_the_commands(tmp_path: Path) -> None:
    run = CliRunner()
    done = run.invoke(main, ["vectors", "--out", str(tmp_path)])
    assert done.exit_code == 0
    assert {"runner.py", "runner.cpp", "runner.rs", "runner.mjs", "vectors.json"} <= {path.name for path in tmp_path.iterdir()}
    results = tmp_path / "results.json"
    results.write_text(json.dumps({"version": 1, "results": answers()}), encoding="utf-8")
    assert run.invoke(main, ["conform", str(results)]).exit_code == 0
    results.write_text(json.dumps({"version": 99, "results": {}}), encoding="utf-8")
    assert run.invoke(main, ["conform", str(results)]).exit_code == 2
    results.write_text("ddim/vp one two", encoding="utf-8")
    assert run.invoke(main, ["conform", str(results)]).exit_code == 2
