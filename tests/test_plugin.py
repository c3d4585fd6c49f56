"""``pytest --scorebed``: marked samplers become tests, one for each check; without the option nothing is collected."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

SAMPLERS = """
import math
import scorebed


@scorebed.property(order=1, only=("order", "batch"))
def euler(denoise, x, nodes):
    for s, t in zip(nodes, nodes[1:]):
        x = (t.sigma / s.sigma) * x - t.alpha * math.expm1(s.lam - t.lam) * denoise(x, s)
    return x


@scorebed.property(order=2, only=("order", "batch"), xfail={"order": "it is Euler's method"})
def known_to_fail(denoise, x, nodes):
    return euler(denoise, x, nodes)


@scorebed.property(order=2, only=("order",))
def wrong(denoise, x, nodes):
    return euler(denoise, x, nodes)


def test_with_a_problem(scorebed_problem):
    nodes = scorebed_problem.nodes(8)
    x = scorebed_problem.draw(3, 0)
    assert euler(scorebed_problem.target.denoised, x, nodes).shape == x.shape
"""


def run(folder: Path, *options: str) -> str:
    (folder / "test_samplers.py").write_text(SAMPLERS, encoding="utf-8")
    known = any(entry.name == "scorebed" for entry in entry_points(group="pytest11"))
    load = [] if known else ["-p", "scorebed.toy.check.plugin"]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *load, "-rA", *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": ""}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False)
    return done.stdout + done.stderr


def test_marked_samplers_are_tests(tmp_path: Path) -> None:
    shown = run(tmp_path, "--scorebed")
    assert "7 passed, 1 xfailed" in shown.replace("1 failed, ", "")
    assert "FAILED test_samplers.py::wrong[order]" in shown
    assert "PASSED test_samplers.py::euler[batch]" in shown
    assert "as claimed" not in shown.split("wrong[order]")[1].split("\n")[0]
    assert "lower than claimed" in shown  # the report says what is wrong


def test_without_the_option_they_are_functions(tmp_path: Path) -> None:
    assert "4 passed" in run(tmp_path)
