"""The store: one SQLite file in which every finished row is on disk the moment it is known.

    with Store("out") as store:                       # out/store.sqlite
        row = store.get(key)                          # None where it is not known
        store.put(key, "study", {"solver": "heun", "error": 0.1})

Write-ahead logging makes a row whole or absent whatever kills the process, and lets several runs write at once. Each row carries a check of
its own, so that a file which was damaged since is refused and not believed. The file can be copied to another machine when no run has it
open.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import sqlite3
import time
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from scorebed.toy.store.files import StoreError, ready

NAME = "store.sqlite"
_APPLICATION, _VERSION, _PATIENCE = 0x5C08EBED, 1, 60.0
_TABLE = """CREATE TABLE rows (
    key TEXT PRIMARY KEY, study TEXT NOT NULL, kind TEXT NOT NULL, data BLOB NOT NULL, hash TEXT NOT NULL, made TEXT NOT NULL
) WITHOUT ROWID"""


@dataclass(frozen=True)
class Record:
    """A row with what the store knows of it: the study that asked for it, and when it was made."""

    key: str
    study: str
    row: dict[str, Any]
    made: str


def place(where: str | Path) -> Path:
    """The file of a store: of a folder, ``store.sqlite`` in it."""
    where = Path(where)
    return where if where.suffix == ".sqlite" else where / NAME


class Store:
    """An open store; a context manager.

    Args:
        where: a folder, or a file that ends in ``.sqlite``.
        write: False opens what is there for reading only.

    Raises:
        StoreError: the place cannot be read or written, the file is damaged, no store, of a later version, or a symbolic link.
    """

    def __init__(self, where: str | Path, write: bool = True) -> None:
        self.path = place(where)
        for suffix in ("", "-wal", "-shm"):
            if self.path.with_name(self.path.name + suffix).is_symlink():
                raise StoreError(f"{self.path.name + suffix} in {self.path.parent} is a symbolic link, which is not followed: remove it")
        if write:
            ready(self.path.parent)
        elif not self.path.is_file():
            raise StoreError(f"there is no store at {self.path}: give the folder of a study, or its {NAME}")
        with self._guard():
            self._base = self._connect(write)
        try:
            with self._guard():
                self._prepare(write)
        except BaseException:
            self._base.close()
            raise

    def _connect(self, write: bool) -> sqlite3.Connection:
        quoted = self.path.absolute().as_uri()
        modes = ("rwc",) if write else ("ro", "ro&immutable=1")  # the last: on a medium that takes no shared memory beside the file
        for mode in modes:
            base = sqlite3.connect(f"{quoted}?mode={mode}", uri=True, timeout=_PATIENCE, isolation_level=None)
            try:
                base.execute("SELECT count(*) FROM sqlite_master").fetchone()
            except sqlite3.OperationalError:
                base.close()
                if mode == modes[-1]:
                    raise
            except sqlite3.Error:
                base.close()
                raise
            else:
                return base
        raise AssertionError

    def _prepare(self, write: bool) -> None:
        empty = not self._base.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        application = self._base.execute("PRAGMA application_id").fetchone()[0]
        if application not in (0, _APPLICATION) or (application == 0 and not empty):
            raise StoreError(f"{self.path} is a database of another program: give another folder")
        version = self._base.execute("PRAGMA user_version").fetchone()[0]
        if version > _VERSION:
            raise StoreError(f"{self.path} was written by a later scorebed (version {version} of the store, here {_VERSION}): upgrade")
        if not empty and self._base.execute("SELECT sql FROM sqlite_master WHERE type != 'index'").fetchall() != [(_TABLE,)]:
            raise self._damaged("it has other tables than a store")
        if not empty and (said := self._base.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise self._damaged(_line(said))
        if write:
            self._log_ahead()
            self._base.execute("PRAGMA synchronous = NORMAL")
            if empty:
                self._base.execute("BEGIN IMMEDIATE")
                self._base.execute(_TABLE.replace("TABLE", "TABLE IF NOT EXISTS", 1))
                self._base.execute(f"PRAGMA application_id = {_APPLICATION}")
                self._base.execute(f"PRAGMA user_version = {_VERSION}")
                self._base.execute("COMMIT")
        elif empty:
            self._base.execute("CREATE TEMP TABLE rows (key, study, kind, data, hash, made)")

    def _log_ahead(self) -> None:
        """Turn write-ahead logging on; SQLite doesn't wait by itself where another run is at it."""
        until = time.monotonic() + _PATIENCE
        while True:
            try:
                self._base.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as busy:
                if "locked" not in str(busy) or time.monotonic() > until:
                    raise
                time.sleep(0.02)

    @contextmanager
    def _guard(self) -> Iterator[None]:
        """Say in one line what SQLite could not do, and where."""
        try:
            yield
        except sqlite3.OperationalError as error:
            said = _line(error)
            if "locked" in said:
                raise StoreError(f"{self.path} has been locked by another run for {_PATIENCE:.0f} s: stop that run, or wait") from error
            if "malformed" in said:
                raise self._damaged(said) from error
            raise StoreError(f"cannot use {self.path}: {said}") from error
        except sqlite3.DatabaseError as error:
            raise self._damaged(_line(error)) from error

    def _damaged(self, said: str) -> StoreError:
        return StoreError(f"{self.path} is damaged ({said}): --fresh sets it aside and begins anew")

    def get(self, key: str) -> dict[str, Any] | None:
        """The row of a key, or None.

        Returns:
            the row, or None where the key is not in the store.

        Raises:
            StoreError: the row is not what was written.
        """
        found = self._read(key, "row")
        return None if found is None else self._loads(found)

    def put(self, key: str, study: str, row: Mapping[str, Any], replace: bool = False) -> None:
        """Keep a row, on disk before this returns. Of two rows of one key the first stays, unless ``replace``."""
        self._write(key, study, "row", json.dumps(dict(row), default=_plain, ensure_ascii=False).encode(), replace)

    def arrays(self, key: str) -> dict[str, np.ndarray] | None:
        """The arrays of a key, or None. They are read without pickle."""
        found = self._read(key, "arrays")
        if found is None:
            return None
        try:
            with zipfile.ZipFile(io.BytesIO(found)) as members:
                if any(m.compress_type != zipfile.ZIP_STORED or m.file_size > len(found) for m in members.infolist()):
                    raise ValueError("arrays that would unpack to more than they are")
            with np.load(io.BytesIO(found), allow_pickle=False) as held:
                return dict(held)
        except (ValueError, zipfile.BadZipFile) as error:
            raise self._damaged(_line(error)) from error

    def put_arrays(self, key: str, study: str, arrays: Mapping[str, Any], replace: bool = False) -> None:
        """Keep arrays by name, as ``put`` keeps a row."""
        memory = io.BytesIO()
        np.savez(memory, **{name: np.asarray(a) for name, a in arrays.items()})  # type: ignore[arg-type]  # as for files
        self._write(key, study, "arrays", memory.getvalue(), replace)

    def _read(self, key: str, kind: str) -> bytes | None:
        with self._guard():
            found = self._base.execute("SELECT study, data, hash FROM rows WHERE key = ? AND kind = ?", (key, kind)).fetchone()
        return None if found is None else self._checked(key, kind, *found)

    def _checked(self, key: str, kind: str, study: str, data: bytes, wanted: str) -> bytes:
        if _check(key, study, kind, data) != wanted:
            raise self._damaged(f"the {kind} {key} of {study} is not what was written")
        return data

    def _loads(self, data: bytes) -> dict[str, Any]:
        try:
            row = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise self._damaged(_line(error)) from error
        if not isinstance(row, dict):
            raise self._damaged("a row that is no row")
        return row

    def _write(self, key: str, study: str, kind: str, data: bytes, replace: bool) -> None:
        verb = "REPLACE" if replace else "IGNORE"
        values = (key, study, kind, data, _check(key, study, kind, data), datetime.now(UTC).isoformat(timespec="milliseconds"))
        with self._guard():
            self._base.execute(f"INSERT OR {verb} INTO rows (key, study, kind, data, hash, made) VALUES (?, ?, ?, ?, ?, ?)", values)

    def records(self, study: str | None = None) -> list[Record]:
        """Every row, of one study or of all, in the order in which they were made."""
        with self._guard():
            found = self._base.execute(
                "SELECT key, study, data, hash, made FROM rows WHERE kind = 'row' AND (? IS NULL OR study = ?) ORDER BY made, key",
                (study,) * 2,
            ).fetchall()
        return [Record(k, s, self._loads(self._checked(k, "row", s, data, h)), made) for k, s, data, h, made in found]

    def delete(self, keys: Iterable[str]) -> int:
        """Remove rows or arrays by key, all or none of them; how many there were."""
        with self._guard():
            self._base.execute("BEGIN IMMEDIATE")
            try:
                gone = sum(self._base.execute("DELETE FROM rows WHERE key = ?", (key,)).rowcount for key in keys)
                self._base.execute("COMMIT")
            except BaseException:
                self._base.execute("ROLLBACK")
                raise
        return gone

    def close(self) -> None:
        with suppress(sqlite3.Error):
            self._base.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        self.close()


def set_aside(where: str | Path) -> Path | None:
    """Give the file of a store another name, for a fresh beginning; the new name, or None where there was nothing.

    Returns:
        the new name, or None where there was nothing.

    Raises:
        StoreError: it cannot be renamed.
    """
    path = place(where)
    if not path.exists() and not path.is_symlink():
        return None
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
    for suffix in ("", "-wal", "-shm"):
        one = path.with_name(path.name + suffix)
        try:
            if one.exists() or one.is_symlink():
                one.rename(path.with_name(f"{path.stem}.{stamp}{path.suffix}.old{suffix}"))
        except OSError as error:
            raise StoreError(f"cannot set {one} aside: {error.strerror or error}") from error
    return path.with_name(f"{path.stem}.{stamp}{path.suffix}.old")


def _check(key: str, study: str, kind: str, data: bytes) -> str:
    return hashlib.sha256(b"\0".join([key.encode(), study.encode(), kind.encode(), data])).hexdigest()[:16]


def _line(said: object) -> str:
    """A message as one line of what can be printed."""
    return "".join(c if c.isprintable() else " " for c in str(said)).strip()[:200]


def _plain(value: Any) -> Any:
    """NumPy's scalars and arrays as JSON takes them; nan and inf stay what they are."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{value!r} cannot be kept in a row: give numbers, text, lists and dicts")


def number(value: Any) -> float:
    """A number of a row, nan where there is none."""
    return math.nan if value is None else float(value)
