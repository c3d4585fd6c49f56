"""The vectors are right, reproducible and small; runners in four languages pass, and each planted fault is told from the dump alone."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from scorebed import SOLVERS, GaussianMixture, sample
from scorebed.solvers import VP, BrownianNoise, trace
from scorebed.solvers.noise.philox import philox
from scorebed.solvers.process.jump import JumpProcess
from scorebed.toy.cli import main
from scorebed.toy.conform import runners, vectors
from scorebed.toy.conform.faults import FAULTS
from scorebed.toy.conform.judge import judge, read
from scorebed.toy.conform.piece_cases import CHOSEN, TOKENS, started
from scorebed.toy.conform.pieces import end_law
from scorebed.toy.conform.vectors import MEANS, SCHEMA, VARIANCES, VERSION, WEIGHTS, _grids, write

HERE = Path(next(iter(runners.__path__)))
PLANTED = (
    *("missing factor 1/2", "step ratio inverted", "sign of the correction", "no memory", "last step left out"),
    *("weights of equal steps", "seven rounds in place of ten", "sine and cosine swapped"),
    *("variance in place of standard deviation", "probabilities not renormalised"),
)
BUILD = {
    "python": ([], [sys.executable, str(HERE / "runner.py")], "json"),
    "javascript": ([], ["node", str(HERE / "runner.mjs")], "json"),
    "c++": (["c++", "-O1", "-std=c++17", "-o", "{out}", str(HERE / "runner.cpp")], ["{out}"], "txt"),
    "rust": (["rustc", "-O", "-o", "{out}", str(HERE / "runner.rs")], ["{out}"], "txt"),
}


@cache
def pack() -> dict[str, Any]:
    return vectors.pack()


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
    nodes, draws = _grids()[clock], iter(np.array(case["noise"]))
    law = GaussianMixture(WEIGHTS, MEANS, VARIANCES)
    noise: Any = (lambda s, t: next(draws)) if case["noise"] else 0
    got = sample(started(method), law.denoised, np.array(case["x"]), nodes, noise=noise, terminal="none")
    np.testing.assert_allclose(got, case["expected"], rtol=0.0, atol=1e-12 * np.abs(case["expected"]).max())


def cases(kind: str) -> list[dict[str, Any]]:
    return [case for case in pack()["cases"] if case["kind"] == kind]


def test_the_words_and_normals_are_those_of_the_noise() -> None:
    """Philox's words are those of the library, and of its authors' known answers; an address gives the normals of ``BrownianNoise``."""
    words, normals = cases("noise")
    for row, expected in zip(words["rows"], words["expected"], strict=True):
        even, odd = np.array([[row[0]], [row[2]]], np.uint64), np.array([[row[3]], [row[1]]], np.uint64)
        philox(even, odd, (row[4], row[5]))
        assert [int(w) for w in (even[0, 0], odd[1, 0], even[1, 0], odd[0, 0])] == expected
    assert words["expected"][0] == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    for (seed, index, low, high), expected in zip(normals["addresses"], np.reshape(normals["expected"], (-1, 8)), strict=True):
        s, t = VP().at(low), VP().at(high)
        assert (s.lam, t.lam) == pytest.approx((low, high), abs=1e-12)
        np.testing.assert_allclose(BrownianNoise(seed, (1, 8), [index])(s, t)[0], expected, rtol=0.0, atol=1e-14)


def test_the_coefficients_are_those_of_the_plans() -> None:
    """Replayed as lines of a program, the weights give the output of the method's Plan."""
    for case in cases("coefficients"):
        plan = trace(started(case["method"]), _grids()[case["id"].split("/")[-1]])
        evaluations = iter(np.eye(1 + plan.nfe)[1:])
        x, known = np.eye(1 + plan.nfe)[0], [next(evaluations)]
        for i, (row, t) in enumerate(zip(case["expected"], plan.grid[1:], strict=True)):
            start, old = x, known[-2] if len(known) > 1 else 0.0
            x = row[0] * start + row[1] * known[-1] + (row[2] * old if len(row) > 2 else 0.0)
            fresh = next(evaluations) if i < len(plan.grid) - 2 or len(row) > 3 else None
            if len(row) > 3:
                assert plan.nodes[i + 1] == t
                x = row[3] * start + row[4] * fresh + row[5] * known[-1] + row[6] * old
            known.append(fresh)
        np.testing.assert_allclose(x, plan.output, rtol=0.0, atol=1e-13)


def test_the_end_laws_are_those_of_the_samplers() -> None:
    """``analytic.output.moments`` of the catalogue's Plan, and probes of the sampler as ports write it, agree."""
    for case in cases("law"):
        nodes = _grids()[case["id"].split("/")[-1]]
        got = [end_law(case["method"], nodes, m, v) for m, v in case["rows"]]
        np.testing.assert_allclose(got, case["expected"], rtol=0.0, atol=1e-13)


def test_the_rows_of_the_steps_are_those_of_the_catalogue() -> None:
    """The row that ``jump_euler`` and ``jump_ancestral`` hand to the draw; one is clipped, and all sum to 1."""
    for case in cases("step"):
        kernel, rule = case["method"].split("-")
        process = JumpProcess(TOKENS, kernel, "square")
        total = []
        for (x, s, t), p, expected in zip(CHOSEN[kernel], case["probabilities"], case["expected"], strict=True):
            step: Any = SOLVERS[f"jump_{rule}"].step  # with a draw that hands back the row that it is asked to draw from
            row, _ = step(
                lambda x, s, p=p: np.array([p]), np.array([x]), process.node(s), process.node(t), None, lambda s, t: lambda asked: asked
            )
            total.append(float(row.sum()))
            np.testing.assert_allclose(row[0] / total[-1], expected, rtol=0.0, atol=1e-14)
        assert (max(total) > 1.1) == (rule == "euler")


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
            assert judge({case["id"]: twin}).causes == [fault], (case["id"], fault)


def test_what_is_not_known_is_said() -> None:
    wrong = {**answers(), "ddim/vp": (np.array(answers()["ddim/vp"]) * 1.5).tolist(), "no/such": [1.0]}
    judged = judge(wrong)
    assert judged.causes == ["unknown"]
    assert judged["no/such"].status == "note"
    assert judge({**answers(), "ddim/vp": [1.0]}).causes == ["wrong number of values"]
    rows = {**answers(), "step/uniform-ancestral": (1.25 * np.array(answers()["step/uniform-ancestral"])).tolist()}
    assert judge(rows).causes == ["rows do not sum to 1"]
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
    results.write_text(json.dumps({"version": VERSION, "results": answers()}), encoding="utf-8")
    assert run.invoke(main, ["conform", str(results)]).exit_code == 0
    results.write_text(json.dumps({"version": 99, "results": {}}), encoding="utf-8")
    assert run.invoke(main, ["conform", str(results)]).exit_code == 2
    results.write_text("ddim/vp one two", encoding="utf-8")
    assert run.invoke(main, ["conform", str(results)]).exit_code == 2
