"""The borders of the command: folders that take nothing, a disk that is full, consoles of any code page, files of a known encoding."""

from __future__ import annotations

import ast
import errno
import io
import multiprocessing
import os
import resource
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from scorebed.toy.cli import main
from scorebed.toy.store.database import Store
from scorebed.toy.store.files import StoreError

ROOT = Path(__file__).resolve().parent.parent
SMALL = "study --problems mixture1d --solvers ddim --nfe 5 --no-figures --jobs 1 --out"


@pytest.mark.parametrize(
    "command",
    [
        SMALL,
        "claims 183 --jobs 1 --out",
        "stability --out",
        "trajectories --out",
        "law --out",
        "budget --out",
        "likelihood --out",
        "learned --out",
        "posterior --out",
        "discrete --out",
        "bench --out",
        "peers --out",
        "transfer --out",
    ],
    ids=lambda command: command.split()[0],
)
def test_a_folder_that_takes_nothing_is_one_line_before_any_work(command: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    out = tmp_path / "file" / "out"
    done = CliRunner().invoke(main, [*command.split(), str(out)])
    assert done.exit_code == 1, done.output
    assert done.stderr.splitlines() == [f"scorebed: cannot write {out}: Not a directory"]


def test_a_full_disk_is_one_line_and_loses_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def full(path: Any, flags: int, *rest: Any, **more: Any) -> int:
        if str(path).endswith(".part.csv"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return real(path, flags, *rest, **more)

    monkeypatch.setattr("os.open", full)
    done = CliRunner().invoke(main, [*SMALL.split(), str(tmp_path)])
    assert done.exit_code == 1
    assert done.stderr.splitlines() == [f"scorebed: cannot write {tmp_path / 'results.csv'}: No space left on device"]
    monkeypatch.undo()
    again = CliRunner().invoke(main, [*SMALL.split(), str(tmp_path)])
    assert again.exit_code == 0
    assert " 0 measured" in again.output


def fill(folder: str, said: Any) -> None:
    """Write rows into a store that may not grow beyond 100,000 bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    count = 0
    try:
        with Store(folder) as store:
            while count < 10_000:
                store.put(f"{count:032x}", "study", {"n": count, "text": "x" * 500})
                count += 1
    except StoreError as full:
        said.put((count, str(full)))


def test_a_store_that_cannot_grow_keeps_what_it_has(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    said = context.Queue()
    process = context.Process(target=fill, args=(str(tmp_path), said))
    process.start()
    count, line = said.get(timeout=120)
    process.join()
    assert line.startswith(f"cannot use {tmp_path / 'store.sqlite'}: ")
    assert "\n" not in line
    with Store(tmp_path) as store:
        assert sorted(r.row["n"] for r in store.records()) == list(range(count))
        assert count > 10
        store.put("more", "study", {})


@pytest.mark.parametrize("command", ["trajectories --help", "claims 183 --jobs 1 --out", "study --help", "results --help"], ids=str)
def test_a_console_of_any_code_page_is_printed_on(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where = io.TextIOWrapper(io.BytesIO(), encoding="cp1252", errors="strict")
    monkeypatch.setattr(sys, "stdout", where)
    words = command.split()
    main([*words, str(tmp_path)] if words[-1] == "--out" else words, standalone_mode=False)
    where.flush()
    assert len(where.buffer.getvalue().decode("cp1252")) > 300  # type: ignore[attr-defined]


READS = ("read_text", "write_text", "open")
"""Calls that decode or encode."""


def silent(source: str) -> list[int]:
    """Lines that open a text file without saying its encoding."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id if isinstance(node.func, ast.Name) else ""
        owner = node.func.value.id if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name) else ""
        if name not in READS or owner in ("os", "tarfile", "gzip", "zipfile", "Image", "webbrowser"):
            continue
        modes = [
            a.value for a in (*node.args, *(k.value for k in node.keywords)) if isinstance(a, ast.Constant) and isinstance(a.value, str)
        ]
        if not any("b" in mode and len(mode) <= 3 for mode in modes) and "encoding" not in [k.arg for k in node.keywords]:
            lines.append(node.lineno)
    return lines


def test_every_text_file_is_opened_in_a_stated_encoding() -> None:
    files = [path for room in ("solvers", "analytic", "toy", "gpu", "docs") for path in (ROOT / room).rglob("*.py")]
    assert len(files) > 200
    found = {p.relative_to(ROOT).as_posix(): lines for p in files if (lines := silent(p.read_text(encoding="utf-8")))}
    assert found == {}


def test_that_rule_bites() -> None:
    for line in ("open('a')", "open('a', 'w')", "p.read_text()", "p.write_text('x')", "p.open()", "p.open('r')"):
        assert silent(line) == [1], line
    for line in (
        "open('a', 'rb')",
        "p.open('wb')",
        "p.read_text(encoding='utf-8')",
        "p.open(encoding='utf-8')",
        "os.open(p, 1)",
        "p.read_bytes()",
    ):
        assert silent(line) == [], line
