"""The solver × law table, and that no law goes without its test."""

import re
from pathlib import Path
from string import ascii_letters

import pytest

from scorebed.solvers import SOLVERS
from scorebed.toy.properties import LAWS


def test_table(capsys: pytest.CaptureFixture[str]) -> None:
    """Prints the table. A hole has a letter, and every letter a reason."""
    holes = {name: [law.exempt(solver) for law in LAWS.values()] for name, solver in SOLVERS.items()}
    reasons = sorted({hole for row in holes.values() for hole in row if hole is not None})
    letters = dict(zip(reasons, ascii_letters, strict=False))
    assert all(letters)
    assert len(letters) == len(reasons)
    lines = [f"{name:<20} " + " ".join("*" if hole is None else letters[hole] for hole in row) for name, row in holes.items()]
    columns = [f"{'':<{21 + 2 * i}}{name}" for i, name in enumerate(LAWS)]
    legend = [f"{letter}: {reason}" for reason, letter in letters.items()]
    with capsys.disabled():
        print("", "solver × law; * holds", *columns, *lines, *legend, sep="\n")


def test_every_law_speaks_of_some_solver() -> None:
    for law in LAWS.values():
        assert any(law.exempt(solver) is None for solver in SOLVERS.values()), law.name


def test_every_law_is_a_test() -> None:
    tests = "\n".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    assert set(LAWS) <= set(re.findall(r"^def test_(\w+)\(solver", tests, flags=re.MULTILINE))
