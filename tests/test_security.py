"""Hostile files run nothing, take no more memory than they have bytes, and are refused in one line (docs/security.md)."""

from __future__ import annotations

import ast
import io
import pickle
import sqlite3
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scorebed.toy.store.database import _APPLICATION, Store, _check
from scorebed.toy.store.files import StoreError

ROOT = Path(__file__).resolve().parent.parent
NETWORK = {"socket", "ssl", "http", "urllib", "ftplib", "smtplib", "requests", "httpx", "aiohttp", "asyncio", "xmlrpc"}


class Trap:
    """What creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def forged(folder: Path, data: bytes, kind: str) -> Store:
    """A store with one row of any bytes, under the right hash."""
    with Store(folder) as store:
        store._write("k", "study", kind, data, False)
    return Store(folder)


def npz(**members: bytes) -> bytes:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return memory.getvalue()


def test_arrays_of_objects_are_not_unpickled(tmp_path: Path) -> None:
    trap, memory = tmp_path / "sprung", io.BytesIO()
    np.save(memory, np.array([Trap(trap)], dtype=object), allow_pickle=True)
    assert pickle.dumps(Trap(trap))
    with forged(tmp_path, npz(x=memory.getvalue()), "arrays") as store, pytest.raises(StoreError, match="is damaged"):
        store.arrays("k")
    assert not trap.exists()


def test_arrays_take_no_more_memory_than_the_file_has_bytes(tmp_path: Path) -> None:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w", force_zip64=True) as member:
        np.lib.format.write_array_header_1_0(member, {"descr": "<f8", "fortran_order": False, "shape": (1 << 22,)})
        member.write(bytes(1 << 25))
    assert len(memory.getvalue()) < 1 << 16
    with forged(tmp_path, memory.getvalue(), "arrays") as store, pytest.raises(StoreError, match="would unpack to more"):
        store.arrays("k")


@pytest.mark.parametrize("data", [b"not JSON", b"[1]", b'{"a":' * 100_000, b"\xff"], ids=["text", "list", "deep", "bytes"])
def test_a_row_that_is_no_row_is_one_line(data: bytes, tmp_path: Path) -> None:
    with forged(tmp_path, data, "row") as store:
        with pytest.raises(StoreError, match="is damaged") as first:
            store.get("k")
        with pytest.raises(StoreError, match="is damaged"):
            store.records()
    assert str(first.value).isprintable()


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE VIEW rows AS SELECT 'k' AS key, 'study' AS study, 'row' AS kind, x'7b7d' AS data, '' AS hash, '' AS made",
        "CREATE TABLE rows (key TEXT); CREATE TRIGGER t AFTER INSERT ON rows BEGIN DELETE FROM rows; END",
        "CREATE TABLE other (a)",
    ],
    ids=["view", "trigger", "table"],
)
def test_a_database_with_other_tables_is_no_store(sql: str, tmp_path: Path) -> None:
    base = sqlite3.connect(tmp_path / "store.sqlite")
    base.executescript(f"{sql}; PRAGMA application_id = {_APPLICATION}; PRAGMA user_version = 1;")
    base.close()
    with pytest.raises(StoreError, match="has other tables than a store"):
        Store(tmp_path)


def test_a_row_that_was_changed_is_not_believed(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.put("k", "study", {"error": 1.0})
        store._base.execute("UPDATE rows SET data = ?", (b'{"error": 0.5}',))
        with pytest.raises(StoreError, match="is not what was written"):
            store.get("k")
    assert _check("k", "study", "row", b"a") != _check("k", "studyr", "ow", b"a")


def test_no_file_of_ours_opens_a_connection() -> None:
    """Only the engine of a cluster does, through distributed, to the address that it is given."""
    found = []
    for path in (p for room in ("solvers", "analytic", "toy", "gpu") for p in (ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            found += [f"{path.relative_to(ROOT)}: {name}" for name in names if name.split(".")[0] in NETWORK]
    assert found == []
