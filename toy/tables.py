"""Tables as JSON: one document for each run of a command, which every parser takes."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Any, ClassVar

from rich.console import Console
from rich.table import Table
from rich.text import Text
from typer import Exit


def document(value: Any) -> str:
    """A value as JSON that every parser takes: what is not finite is null."""

    def plain(one: Any) -> Any:
        if isinstance(one, Mapping):
            return {str(key): plain(part) for key, part in one.items()}
        if isinstance(one, list | tuple):
            return [plain(part) for part in one]
        return None if isinstance(one, float) and not math.isfinite(one) else one

    return json.dumps(plain(value), indent=1, ensure_ascii=False, allow_nan=False)


def rows_of(table: Table) -> list[dict[str, Any]]:
    """The rows of a table by its heads; cells that are numbers as numbers, empty ones and dashes as None."""

    def cell(value: Any) -> Any:
        text = Text.from_markup(value).plain if isinstance(value, str) else str(value)
        if text in ("", "-", "–"):
            return None
        try:
            return int(text) if text.lstrip("-").isdigit() else float(text)
        except ValueError:
            return text

    columns = [list(column.cells) for column in table.columns]
    heads: list[str] = []
    for i, column in enumerate(table.columns):
        head = Text.from_markup(str(column.header)).plain or f"column {i + 1}"
        heads.append(head if head not in heads else f"{head}, column {i + 1}")
    return [dict(zip(heads, map(cell, row), strict=True)) for row in zip(*columns, strict=True)]


class Tables(Console):
    """A console that keeps tables for one JSON document, and prints all else on standard error: what goes on to another program is data.

    One table is the array of its rows; several are an object with each under its title.
    """

    kept: ClassVar[list[Table] | None] = None

    def print(self, *objects: Any, **how: Any) -> None:
        for one in objects or ("",):
            if isinstance(one, Table) and Tables.kept is not None:
                Tables.kept.append(one)
            else:
                Console(stderr=True).print(one, **how)

    @classmethod
    @contextmanager
    def collected(cls) -> Iterator[None]:
        """Keep the tables that are printed until the end, then write the document; nothing where the command was used wrongly."""
        out, cls.kept = sys.stdout, []
        try:
            with redirect_stdout(sys.stderr):
                try:
                    yield
                finally:
                    found, cls.kept = cls.kept, None
        except Exit:
            out.write(cls.joined(found))
            raise
        out.write(cls.joined(found))

    @staticmethod
    def joined(found: Sequence[Table]) -> str:
        """The tables as JSON."""
        if len(found) == 1:
            return document(rows_of(found[0])) + "\n"
        named: dict[str, Any] = {}
        for i, table in enumerate(found):
            title = Text.from_markup(str(table.title or "")).plain or f"table {i + 1}"
            named[title if title not in named else f"{title}, table {i + 1}"] = rows_of(table)
        return document(named or []) + "\n"
