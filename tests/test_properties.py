"""The solver × property table, and that no property goes without its test."""

import re
from pathlib import Path
from string import ascii_letters

import pytest

from scorebed.solvers import SOLVERS
from scorebed.toy.properties import PROPERTIES


def test_table(capsys: pytest.CaptureFixture[str]) -> None:
    """Prints the table. A hole has a letter, and every letter a reason."""
    holes = {name: [one.exempt(solver) for one in PROPERTIES.values()] for name, solver in SOLVERS.items()}
    reasons = sorted({hole for row in holes.values() for hole in row if hole is not None})
    letters = dict(zip(reasons, ascii_letters, strict=False))
    assert all(letters)
    assert len(letters) == len(reasons)
    lines = [f"{name:<20} " + " ".join("*" if hole is None else letters[hole] for hole in row) for name, row in holes.items()]
    columns = [f"{'':<{21 + 2 * i}}{name}" for i, name in enumerate(PROPERTIES)]
    legend = [f"{letter}: {reason}" for reason, letter in letters.items()]
    with capsys.disabled():
        print("", "solver × property; * holds", *columns, *lines, *legend, sep="\n")


def test_every_property_speaks_of_some_solver() -> None:
    for one in PROPERTIES.values():
        assert any(one.exempt(solver) is None for solver in SOLVERS.values()), one.name


def test_every_property_is_a_test() -> None:
    tests = "\n".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    assert set(PROPERTIES) <= set(re.findall(r"^def test_(\w+)\(solver", tests, flags=re.MULTILINE))
