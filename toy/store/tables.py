"""What is kept, as tables: filtered, compared, exported."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scorebed.toy.store.database import Record, Store
from scorebed.toy.store.files import StoreError, whole

if TYPE_CHECKING:
    import pandas as pd

_BESIDE = ("study", "made", "key")
SUFFIXES = (".csv", ".parquet")


def conditions(words: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """``solver=heun|ddim status=ok`` as the values that each column may have.

    Returns:
        the wanted values by column.

    Raises:
        ValueError: a word that is no condition.
    """
    wanted: dict[str, tuple[str, ...]] = {}
    for word in words:
        name, equals, values = word.partition("=")
        if not (name and equals and values):
            raise ValueError(f"{word!r} is no condition: give COLUMN=VALUE or COLUMN=VALUE|VALUE, e.g. solver=heun")
        wanted[name] = (*wanted.get(name, ()), *values.split("|"))
    return wanted


def chosen(records: Sequence[Record], wanted: Mapping[str, tuple[str, ...]]) -> list[Record]:
    """The records whose columns have the wanted values; ``study`` and ``key`` (its first digits) are columns too.

    Returns:
        the records that fit, in their order.

    Raises:
        ValueError: a column that no record has; the message lists those that some have.
    """
    known = dict.fromkeys((*_BESIDE, *(name for record in records for name in record.row)))
    for name in wanted:
        if records and name not in known:
            raise ValueError(f"no row has a column {name!r}; there are {', '.join(known)}")
    return [r for r in records if all(_holds(r, name, values) for name, values in wanted.items())]


def _holds(record: Record, name: str, values: Sequence[str]) -> bool:
    if name == "key":
        return any(record.key.startswith(value) for value in values)
    value = getattr(record, name) if name in _BESIDE else record.row.get(name)
    return any(_same(value, text) for text in values)


def _same(value: Any, text: str) -> bool:
    if isinstance(value, float | int) and not isinstance(value, bool):
        try:
            return float(text) == value or (math.isnan(float(text)) and math.isnan(value))
        except ValueError:
            return False
    return str(value) == text


def table(records: Sequence[Record], beside: Sequence[str] = ()) -> pd.DataFrame:
    """Records as a table: the columns of their rows, then those that are named of ``study``, ``made`` and ``key``."""
    import pandas as pd

    columns = list(dict.fromkeys(name for record in records for name in record.row))
    rows = [{**record.row, **{name: getattr(record, name) for name in beside}} for record in records]
    return pd.DataFrame(rows, columns=[*columns, *beside])


def compare(one: Sequence[Record], other: Sequence[Record], value: str, within: float = 0.0) -> pd.DataFrame:
    """Rows that agree in everything that they are rows of and differ in ``value``, or that only one side has.

    What a row is a row of are its texts and integers. Columns: these, then ``first``, ``second`` and ``ratio``; nan where a side has none.

    Returns:
        one row for each matching pair, with ``first``, ``second`` and ``ratio``.

    Raises:
        ValueError: no row has the value.
    """
    import pandas as pd

    if not any(value in r.row for r in (*one, *other)):
        names = dict.fromkeys(name for r in (*one, *other) for name, v in r.row.items() if isinstance(v, float))
        raise ValueError(f"no row has a value {value!r}; there are {', '.join(names) or 'none'}")
    sides: list[dict[tuple[tuple[str, Any], ...], float]] = []
    for records in (one, other):
        sides.append({_of(r.row, value): float(r.row[value]) for r in records if value in r.row})
    out = []
    for what in dict.fromkeys((*sides[0], *sides[1])):
        a, b = (side.get(what, math.nan) for side in sides)
        equal = a == b or (math.isnan(a) and math.isnan(b) and what in sides[0] and what in sides[1])
        if not equal and not abs(a - b) <= within * max(abs(a), abs(b)):
            out.append({**dict(what), "first": a, "second": b, "ratio": b / a if a else math.nan})
    return pd.DataFrame(out)


def _of(row: Mapping[str, Any], value: str) -> tuple[tuple[str, Any], ...]:
    return tuple((k, v) for k, v in row.items() if k not in (value, "message", "status") and isinstance(v, str | int))


def export(records: Sequence[Record], path: Path, beside: Sequence[str] = _BESIDE) -> Path:
    """Write the records as CSV or Parquet, as the file's name says: whole, or not at all.

    Returns:
        the path of the file written.

    Raises:
        ValueError: another ending.
        StoreError: pyarrow is not installed, or the place takes no file.
    """
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{path} ends in {path.suffix or 'nothing'}: give a name that ends in {' or '.join(SUFFIXES)}")
    frame = table(records, beside)
    if path.suffix == ".csv":
        with whole(path) as part:
            frame.to_csv(part, index=False, encoding="utf-8")
        return path
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError as absent:
        raise StoreError("pyarrow, which writes Parquet, is not installed: pip install 'scorebed[parquet]', or give a .csv") from absent
    with whole(path) as part:
        parquet.write_table(pyarrow.Table.from_pandas(frame, preserve_index=False), part)
    return path


def everything(where: Path) -> list[Record]:
    """The rows of the store of a folder or a file, without those that are only on the way to one; of a part of a table each row.

    Returns:
        the stored records, a row of each, parts of tables unfolded.

    Raises:
        StoreError: there is none, or it is damaged.
    """
    with Store(where, write=False) as store:
        found = [r for r in store.records() if " " not in r.study]
    return [replace(r, row=row) for r in found for row in (r.row["table"] if r.row.keys() == {"table"} else [r.row])]
