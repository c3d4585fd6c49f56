"""What importing a check loads: the methods, and nothing that plots, reads tables, draws terminals or computes on a GPU.

Nor does a process that measures rows wait for what a row does not need.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from scorebed.toy.commands.study import READY

HEAVY = ("matplotlib", "pandas", "sklearn", "rich", "typer", "torch", "diffusers", "joblib", "pytest", "scipy.interpolate")


LINES = ("from scorebed.toy.check import check_solver, solver_test, as_candidate", "from scorebed import check_solver")


@pytest.mark.parametrize("line", LINES)
def test_importing_the_check_loads_no_more_than_the_methods(line: str) -> None:
    code = f"import sys\nimport scorebed.solvers\nbefore = set(sys.modules)\n{line}\nprint(*sorted(set(sys.modules) - before))"
    new = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "scorebed.toy.check.solver" in new
    assert [name for name in new if name in HEAVY or name.split(".")[0] in HEAVY] == []
    assert [name for name in new if name.startswith(("scorebed.toy.figures", "scorebed.toy.studies", "scorebed.gpu"))] == []


def test_a_process_that_measures_rows_loads_what_they_need() -> None:
    """scipy.optimize with what it brings takes as long to load as all of the methods."""
    code = f"import sys, importlib\nfor name in {READY!r}: importlib.import_module(name)\nprint(*sys.modules)"
    new = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "scorebed.toy.problems.digits" in new
    unneeded = (*HEAVY, "scipy.optimize", "scipy.integrate", "scipy.spatial", "scipy.stats")
    assert [name for name in new if name in unneeded] == []
