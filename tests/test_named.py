"""Methods and networks of one's own where a command takes a name: with options, from a file, over processes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from scorebed.solvers import SOLVERS
from scorebed.toy.cli import main
from scorebed.toy.foreign.named import method_of, shape_of
from scorebed.toy.studies.study import run_study

MINE = '''
import math

from scorebed import solver


@solver(order=1, reference="DDIM, written anew", register=False)
def mine(denoise, x, s, t, carry, noise):
    """x_t = (σ_t/σ_s) x − α_t (e^{−h} − 1) D_s."""
    h = t.lam - s.lam
    return (t.sigma / s.sigma) * x - t.alpha * math.expm1(-h) * denoise(x, s), carry


def predict(x, node):
    """eps of N(0, 1/4): x sigma / (alpha²/4 + sigma²)."""
    return x * (node.sigma / (0.25 * node.alpha**2 + node.sigma**2))


def plain(x, denoise):
    return x
'''


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "my_own_file.py"
    path.write_text(MINE, encoding="utf-8")
    return path


def test_a_method_with_options() -> None:
    assert method_of("unipc_3(start=ddim)", SOLVERS).start is SOLVERS["ddim"]
    assert method_of("ghvb_2(beta=0.8)", SOLVERS).name == SOLVERS["ghvb_2"](beta=0.8).name
    for wrong in ("ghvb_2(gamma=0.8)", "nothing(beta=1)", "nothing"):
        with pytest.raises(ValueError, match=r"not known|no option"):
            method_of(wrong, SOLVERS)


def test_a_method_from_a_file_is_measured_in_other_processes(file: Path, tmp_path: Path) -> None:
    """It is DDIM under another name: the same errors to the bit, from two processes."""
    table = run_study(["mixture1d"], ["ddim", f"{file}:mine", "unipc_3(start=ddim)"], nfe=(5, 10), out=tmp_path / "out", jobs=2)
    errors = {name: rows["error"].tolist() for name, rows in table[table["nfe"] <= 10].groupby("solver")}
    assert errors["mine"] == errors["ddim"]
    assert any(name.startswith("unipc_3(") for name in errors)


def test_what_is_no_solver_is_refused_with_the_remedy(file: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["law", "--solvers", f"{file}:plain", "--out", str(tmp_path / "out")])
    assert done.exit_code == 2
    assert "@solver" in done.output


def test_a_network_of_ones_own_is_sampled_and_never_written_over(file: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    out = tmp_path / "x.npy"
    words = ["sample", "--model", f"{file}:predict", "--shape", "1,4,4", "--nfe", "40", "--n", "400", "--out", str(out)]
    run = CliRunner()
    done = run.invoke(main, words)
    assert done.exit_code == 0, done.output
    values = np.load(out)
    assert values.shape == (400, 1, 4, 4)
    assert values.std() == pytest.approx(0.5, abs=0.02)
    refused = run.invoke(main, words)
    assert refused.exit_code == 2
    assert "--force" in refused.output
    assert run.invoke(main, [*words, "--force"]).exit_code == 0
    bare = run.invoke(main, ["sample", "--model", f"{file}:predict", "--out", str(tmp_path / "y.npy")])
    assert bare.exit_code == 2
    assert "--shape" in bare.output


def test_a_network_of_ones_own_has_its_winners_named(file: Path, tmp_path: Path) -> None:
    """On N(0, 1/4), where everything is known, the order of methods is that of their orders; the line of code is printed."""
    pytest.importorskip("torch")
    words = ["transfer", "--model", f"{file}:predict", "--shape", "1,2,2", "--solvers", "ddim", "dpmpp_2m", "unipc_3(start=ddim)"]
    words += ["--nfe", "10", "--n", "4", "--targets", "generic", "--jobs", "1", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    best = pd.read_csv(tmp_path / "out" / "best.csv")
    assert best["solver"].iloc[-1] == "ddim"
    assert 'sample(SOLVERS["' in done.output
    assert json.loads((tmp_path / "out" / "transfer.json").read_text(encoding="utf-8"))["arguments"]["n"] == 4


def test_shapes() -> None:
    assert shape_of("3x32x32") == shape_of("3,32,32") == [3, 32, 32]
    for wrong in ("3,a", None):
        with pytest.raises(ValueError, match="--shape"):
            shape_of(wrong)
