"""The store: keys, what is read back, damage, two writers, files, and work that runs anywhere with the same rows."""

from __future__ import annotations

import itertools
import math
import multiprocessing
import os
import random
import sqlite3
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from scorebed.solvers import SOLVERS, VP
from scorebed.toy.cli import main
from scorebed.toy.problems.registry import PROBLEMS
from scorebed.toy.store import code
from scorebed.toy.store.database import Store, set_aside
from scorebed.toy.store.engines import Here, engine
from scorebed.toy.store.files import StoreError, ready, replace_text, whole
from scorebed.toy.store.key import key, keyed
from scorebed.toy.store.tables import chosen, compare, conditions, everything, export, table
from scorebed.toy.store.tasks import Chain, Task, run
from scorebed.toy.store.work import work
from scorebed.toy.studies.cell import measure

# Keys


def test_a_key_says_what_it_is_the_key_of() -> None:
    def scaled(factor: float) -> Any:
        return lambda x: factor * x

    values: list[Any] = [
        *(None, True, 1, 1.0, "1", b"1", (1,), [1], {1}, {"a": 1}, {"b": 1}, {"a": 2}, 1j, math.nan, math.inf, -0.0, 0.0),
        *(
            np.array([1.0]),
            np.array([1.0], np.float32),
            np.array([[1.0]]),
            np.array([1]),
            np.float64(2.0),
            np.sin,
            np.cos,
            math.sin,
            VP,
            VP(),
        ),
        *(
            VP(1.0, 1.0),
            scaled(1.0),
            scaled(2.0),
            partial(scaled, 1.0),
            partial(scaled, factor=1.0),
            SOLVERS["heun"],
            SOLVERS["dpm_solver_2"],
        ),
        *(SOLVERS["dpm_solver_2"](r=0.6), SOLVERS["dpm_solver_2"](r=0.7), PROBLEMS["mixture1d"], PROBLEMS["product2d"]),
        *(replace(PROBLEMS["mixture1d"], end=0.01), PROBLEMS["mixture1d"].target, PROBLEMS["product2d"].target, np.random.default_rng(1)),
    ]
    keys = [key(value=value) for value in values]
    assert len(set(keys)) == len(values)
    assert [key(value=value) for value in values] == keys
    assert key(value=scaled(1.0)) == key(value=scaled(1.0))
    assert key(value=replace(PROBLEMS["mixture1d"])) == key(value=PROBLEMS["mixture1d"])  # whatever either has cached
    with pytest.raises(TypeError, match="has no key"):
        key(value=(n for n in ()))
    with Path(os.devnull).open(encoding="utf-8") as file, pytest.raises(TypeError, match="has no key"):
        key(value=file)


def test_a_method_depends_on_the_files_that_it_uses_and_on_no_other() -> None:
    names = {m.name for m in code.closure("scorebed.solvers.methods.dpmpp")}
    assert {"scorebed.solvers.base", "scorebed.solvers.weights.exponential", "scorebed.solvers.methods.dpmpp"} <= names
    assert not {"scorebed.solvers.methods.deis", "scorebed.solvers.methods.unipc", "scorebed.solvers.plan.base"} & names
    modules = code.modules(measure, PROBLEMS["product2d"], PROBLEMS["product2d"].make)  # type: ignore[attr-defined]
    assert set(modules) == {"scorebed.toy.studies.cell", "scorebed.toy.problems.euclidean", "scorebed.toy.problems.products"}
    measuring = {m.name for m in code.closure(*modules)}
    assert {"scorebed.solvers.plan.base", "scorebed.analytic.gaussian.product", "scorebed.analytic.output.moments"} <= measuring
    assert not [name for name in measuring if name.startswith(("scorebed.solvers.methods", "scorebed.toy.store"))]
    assert len(code.closure("scorebed.solvers.methods")) > 40
    assert code.modules(SOLVERS["unipc_3"](), SOLVERS["heun"].step, len, np.sin) == (
        "scorebed.solvers.base",
        "scorebed.solvers.methods.edm",
    )
    with pytest.raises(ValueError, match="no module with source"):
        code.closure("scorebed.nothing")


def test_code_is_what_computes() -> None:
    source = 'def f(x):\n    """Says."""\n    return 1.5 * x\n'
    digest = lambda text: code.computes(compile(text, "f", "exec", optimize=2))  # noqa: E731
    assert digest(source) == digest('# a remark\n\n\ndef f(x):\n    """Says otherwise."""\n    return 1.5 * x  # here\n')
    assert digest(source) != digest(source.replace("1.5", "1.6"))
    assert digest(source) != digest(source.replace("* x", "+ x"))


# The database


@pytest.fixture
def full(tmp_path: Path) -> dict[str, dict[str, Any]]:
    """A store of 60 rows in ``tmp_path``, closed."""
    rows = {key(i=i): {"i": i, "error": 0.1 * i, "text": "é" * i} for i in range(60)}
    with Store(tmp_path) as store:
        for name, row in rows.items():
            store.put(name, "study", row)
    return rows


def test_rows_and_arrays_come_back_as_they_were(tmp_path: Path) -> None:
    row = {
        "error": 0.1 + 0.2,
        "nan": math.nan,
        "inf": -math.inf,
        "text": 'a, "b"\n∇',
        "n": np.int64(3),
        "list": np.arange(2.0),
        "none": None,
    }
    arrays = {"x": np.arange(6.0).reshape(2, 3) / 7.0, "n": np.array(3)}
    with Store(tmp_path) as store:
        assert store.get("k") is None
        store.put("k", "study", row)
        store.put("k", "study", {"error": 1.0})  # the first stays
        store.put_arrays("a", "references", arrays)
    with Store(tmp_path / "store.sqlite", write=False) as store:
        found, held = store.get("k"), store.arrays("a")
        assert (store.get("a"), store.arrays("k")) == (None, None)
    assert found is not None
    assert held is not None
    assert (found["error"], found["inf"], found["text"], found["n"], found["list"]) == (0.1 + 0.2, -math.inf, row["text"], 3, [0.0, 1.0])
    assert math.isnan(found["nan"])
    assert all((held[name] == arrays[name]).all() and held[name].shape == arrays[name].shape for name in arrays)


def test_records_are_of_one_study_and_can_be_deleted(tmp_path: Path, full: dict[str, dict[str, Any]]) -> None:
    with Store(tmp_path) as store:
        store.put("other", "claims", {"id": 3})
        assert [r.row for r in store.records("claims")] == [{"id": 3}]
        assert {r.key: r.row for r in store.records("study")} == full
        assert len(store.records()) == 61
        assert store.delete(list(full)[:5]) == 5
        assert store.get(next(iter(full))) is None
    with pytest.raises(StoreError, match="readonly"), Store(tmp_path, write=False) as store:
        store.put("more", "study", {})


def test_a_damaged_store_is_refused_and_never_believed(tmp_path: Path, full: dict[str, dict[str, Any]]) -> None:
    path = tmp_path / "store.sqlite"
    whole_file = path.read_bytes()
    rng, said = random.Random(0), []
    for i in range(120):
        data = bytearray(whole_file)
        if i % 2:
            data = data[: rng.randrange(1, len(data))]
        else:
            start = rng.randrange(len(data))
            data[start : start + 40] = rng.randbytes(len(data[start : start + 40]))
        path.write_bytes(bytes(data))
        try:
            with Store(path) as store:
                for name, row in full.items():
                    assert store.get(name) in (row, None)
                assert all(r.row == full[r.key] for r in store.records())
        except StoreError as error:
            said.append(str(error))
        for extra in tmp_path.glob("store.sqlite-*"):
            extra.unlink()
    assert len(said) > 80
    assert all(str(path) in line and line.isprintable() for line in said)


def test_a_fresh_store_sets_the_old_file_aside(tmp_path: Path) -> None:
    assert set_aside(tmp_path) is None
    (tmp_path / "store.sqlite").write_bytes(b"no store" * 1000)
    with pytest.raises(StoreError, match=r"is damaged .*--fresh"):
        Store(tmp_path)
    kept = set_aside(tmp_path)
    assert kept is not None
    assert kept.read_bytes() == b"no store" * 1000
    with Store(tmp_path) as store:
        assert store.records() == []


def test_an_empty_file_is_a_store_that_was_killed_when_it_began(tmp_path: Path) -> None:
    (tmp_path / "store.sqlite").touch()
    with Store(tmp_path, write=False) as store:
        assert store.records() == []
    with Store(tmp_path) as store:
        store.put("k", "study", {})


def test_other_files_are_not_taken_for_a_store(tmp_path: Path) -> None:
    base = sqlite3.connect(tmp_path / "other.sqlite")
    base.execute("CREATE TABLE theirs (a)")
    base.close()
    with pytest.raises(StoreError, match="another program"):
        Store(tmp_path / "other.sqlite")
    with pytest.raises(StoreError, match="there is no store at"):
        Store(tmp_path / "nothing", write=False)
    (tmp_path / "link.sqlite").symlink_to(tmp_path / "target.sqlite")
    with pytest.raises(StoreError, match="symbolic link"):
        Store(tmp_path / "link.sqlite")
    assert not (tmp_path / "target.sqlite").exists()
    with Store(tmp_path / "later.sqlite") as store:
        store._base.execute("PRAGMA user_version = 9")
    with pytest.raises(StoreError, match="later scorebed"):
        Store(tmp_path / "later.sqlite")


def write_many(folder: Path, first: int) -> None:
    for i in range(first, first + 60):
        with Store(folder) as store:
            store.put(key(i=i), "study", {"i": i})


def test_two_runs_at_once_lose_nothing(tmp_path: Path) -> None:
    """Both begin the store, and both write the rows from 30 to 60."""
    context = multiprocessing.get_context("spawn")
    runs = [context.Process(target=write_many, args=(tmp_path, first)) for first in (0, 30)]
    for one in runs:
        one.start()
    for one in runs:
        one.join(120)
        assert one.exitcode == 0
    with Store(tmp_path, write=False) as store:
        assert {r.key: r.row["i"] for r in store.records()} == {key(i=i): i for i in range(90)}


# Files


def test_a_file_is_whole_or_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    replace_text(path, "old\n")
    with pytest.raises(UnicodeEncodeError), whole(path) as part, part.open("w", encoding="ascii") as file:
        file.writelines(["half", "∇"])
    assert path.read_text(encoding="utf-8") == "old\n"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("theirs", encoding="utf-8")
    path.unlink()
    path.symlink_to(elsewhere)
    replace_text(path, "new\n")
    assert (path.is_symlink(), path.read_text(encoding="utf-8"), elsewhere.read_text(encoding="utf-8")) == (False, "new\n", "theirs")
    assert path.stat().st_mode & 0o777 == 0o666 & ~_mask()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.txt", "elsewhere"]


def _mask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_place_that_takes_nothing_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=f"cannot write {tmp_path / 'file' / 'out'}: "):
        ready(tmp_path / "file" / "out")
    with pytest.raises(StoreError, match=f"cannot write {tmp_path / 'none' / 'a.txt'}: No such file"):
        replace_text(tmp_path / "none" / "a.txt", "")
    assert ready(tmp_path / "a" / "b").is_dir()
    assert list((tmp_path / "a" / "b").iterdir()) == []


# Work


def test_what_has_no_key_is_computed_and_not_kept(tmp_path: Path) -> None:
    assert keyed("study", a=1) == (key(a=1), "study")
    (one, study), (other, _) = (keyed("study", a=(n for n in ())) for _ in range(2))
    assert (study, one != other) == ("", True)

    def chain() -> Chain:
        return (yield Task(one, study, square, (3,)))

    with Store(tmp_path) as store:
        assert run([chain()], store, Here()).values == [{"n": 3, "square": 9}]
        assert store.records() == []


@dataclass
class Count:
    """How often a number was squared."""

    calls: int = 0

    def square(self, n: int) -> dict[str, Any]:
        self.calls += 1
        return {"n": n, "square": n * n}


def square(n: int) -> dict[str, Any]:
    return {"n": n, "square": n * n}


def die(folder: str, times: int) -> dict[str, Any]:
    """Kill this process so many times, then answer."""
    tries = len(list(Path(folder).iterdir()))
    if tries < times:
        (Path(folder) / str(tries)).touch()
        os._exit(1)
    return {"tries": tries}


def powers(n: int, call: Any = square, most: int = 1000) -> Chain:
    """n, n², n⁴, … up to ``most``: each asked for when the one before is known."""
    out = []
    while n < most:
        row = yield Task(key(n=n), "powers", call, (n,))
        out.append(row["square"])
        n = row["square"]
    return out


def test_what_is_known_is_not_computed_and_what_two_ask_for_is_computed_once(tmp_path: Path) -> None:
    count = Count()
    chains = lambda: [powers(n, count.square) for n in (2, 3, 2, 4)]  # noqa: E731
    with Store(tmp_path) as store:
        first = run(chains(), store, Here())
        assert first.values == [[4, 16, 256, 65536], [9, 81, 6561], [4, 16, 256, 65536], [16, 256, 65536]]
        assert (first.made, first.kept, count.calls) == (7, 0, 7)  # 4, 16 and 256 were known when they were asked for again
        again = run(chains(), store, Here())
        assert (again.values, again.made, count.calls) == (first.values, 0, 7)
    assert run(chains(), None, Here()).values == first.values


def test_the_engine_and_the_order_change_nothing(tmp_path: Path) -> None:
    numbers = list(range(2, 14))
    wanted = run([powers(n) for n in numbers], None, Here()).values
    said: list[tuple[int, int, str]] = []
    with engine(jobs=3) as who, Store(tmp_path) as store:
        found = run([powers(n) for n in reversed(numbers)], store, who, lambda *words: said.append(words))
    assert found.values[::-1] == wanted
    assert said[-1][:2] == (12, 12)
    with Store(tmp_path) as store:
        assert run([powers(n, None) for n in numbers], store, Here()).values == wanted


def test_chains_begin_in_the_order_asked_for_on_an_engine_that_stays_open() -> None:
    began: list[int] = []

    def noted(n: int) -> dict[str, Any]:
        began.append(n)
        return square(n)

    with engine(jobs=1) as who, engine(who, jobs=0) as same:
        assert same is who
        done = work([powers(n, noted, most=4) for n in (2, 3)], backend=who, order=(1, 0))
    assert (began, done.values) == ([3, 2], [[4], [9]])


def test_what_is_finished_is_kept_when_one_fails(tmp_path: Path) -> None:
    def failing(n: int) -> dict[str, Any]:
        if n == 4:
            raise ZeroDivisionError
        return square(n)

    with Store(tmp_path) as store, pytest.raises(ZeroDivisionError):
        run([powers(3, failing), powers(2, failing)], store, Here())
    with Store(tmp_path) as store:
        assert {r.row["n"] for r in store.records()} == {3, 9, 81, 2}


def test_a_process_that_dies_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def chain(times: int) -> Chain:
        (tmp_path / str(times)).mkdir()
        row = yield Task(key(times=times), "", die, (str(tmp_path / str(times)), times), "a task")
        return row["tries"]

    with engine(jobs=2) as who:
        assert run([chain(1), powers(2)], None, who).values == [1, [4, 16, 256, 65536]]
        monkeypatch.setattr("scorebed.toy.store.tasks.TRIES", 1)
        with pytest.raises(StoreError, match="a task: the process that computed it died 1 times"):
            run([chain(2)], None, who)


def test_engines_say_what_they_need() -> None:
    for arguments, words in (
        ({"backend": "slurm"}, "'slurm' is not known: give one of local, dask"),
        ({"backend": "dask"}, "scheduler = None"),
        ({"scheduler": "tcp://a:1"}, "local takes none"),
        ({"jobs": 0}, "jobs = 0"),
    ):
        with pytest.raises(ValueError, match=words), engine(**arguments):  # type: ignore[arg-type]
            pass


# Tables


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A store of six rows of a study, one claim, and something on the way to a row."""
    with Store(tmp_path) as store:
        for i, (solver, steps) in enumerate(itertools.product(("ddim", "heun"), (5, 10, 20))):
            error = math.nan if (solver, steps) == ("heun", 5) else 1.0 / steps
            store.put(f"{i:x}" + "a" * 31, "study", {"solver": solver, "steps": steps, "error": error, "status": "ok", "message": ""})
        store.put("c" * 32, "claims", {"id": 3})
        store.put("d" * 32, "study steps", {"steps": [5, 10]})
    return tmp_path


def test_rows_are_filtered_by_what_they_say(kept: Path) -> None:
    rows = everything(kept)
    assert len(rows) == 7
    for words, count in (
        ([], 7),
        (["solver=heun"], 3),
        (["solver=heun|ddim", "steps=10"], 2),
        (["steps=10|20.0"], 4),
        (["error=nan"], 1),
        (["study=claims"], 1),
        (["key=" + "c" * 6], 1),
        (["solver=rk4"], 0),
    ):
        assert len(chosen(rows, conditions(words))) == count, words
    with pytest.raises(ValueError, match=r"no row has a column 'solvr'; there are study, made, key, solver"):
        chosen(rows, conditions(["solvr=heun"]))
    for word in ("solver", "=heun", "solver="):
        with pytest.raises(ValueError, match="is no condition"):
            conditions([word])


def test_a_comparison_shows_what_differs(kept: Path, tmp_path: Path) -> None:
    one = chosen(everything(kept), conditions(["study=study"]))
    assert compare(one, one, "error").empty
    changed = [
        replace(r, row={**r.row, "error": 1.001 * r.row["error"]}) if r.row["steps"] == 20 else r for r in one if r.row["steps"] != 10
    ]
    found = compare(one, changed, "error")
    assert [(r.solver, r.steps, math.isnan(r.second)) for r in found.itertuples()] == [
        *(("ddim", 10, True), ("ddim", 20, False), ("heun", 10, True), ("heun", 20, False)),
    ]
    assert set(compare(one, changed, "error", within=0.01)["steps"]) == {10}
    with pytest.raises(ValueError, match="no row has a value 'nfe'; there are error"):
        compare(one, one, "nfe")


def test_what_is_exported_is_what_was_kept(kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = chosen(everything(kept), conditions(["study=study"]))
    wanted = table(rows, ("study", "made", "key"))
    assert list(wanted.columns) == ["solver", "steps", "error", "status", "message", "study", "made", "key"]
    back = pd.read_csv(export(rows, tmp_path / "rows.csv"), keep_default_na=False, na_values={"error": [""]})
    pd.testing.assert_frame_equal(back, wanted, check_dtype=False, rtol=0.0, atol=0.0)
    parquet = pd.read_parquet(export(rows, tmp_path / "rows.parquet"))
    pd.testing.assert_frame_equal(parquet, wanted, check_dtype=False, rtol=0.0, atol=0.0)
    with pytest.raises(ValueError, match=r"ends in \.xls: give a name that ends in \.csv or \.parquet"):
        export(rows, tmp_path / "rows.xls")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(StoreError, match=r"pyarrow.*not installed: pip install 'scorebed\[parquet\]', or give a \.csv"):
        export(rows, tmp_path / "other.parquet")
    assert not (tmp_path / "other.parquet").exists()


def test_the_command_lists_compares_exports_and_deletes(kept: Path, tmp_path: Path) -> None:
    run = CliRunner().invoke
    done = run(main, ["results", "list", str(kept), "--where", "solver=heun", "steps=10|20", "--columns", "steps", "error"])
    assert done.exit_code == 0, done.output
    title, *lines, counted = done.stdout.splitlines()
    assert [line.split() for line in lines] == [["steps", "error"], ["10", "0.1"], ["20", "0.05"]]
    assert title.strip() == "study"
    assert counted.startswith("study: 2 rows, ")
    assert "study: 6 rows" in run(main, ["results", "list", str(kept), "--limit", "2"]).stdout
    other = tmp_path / "other.sqlite"
    other.write_bytes((kept / "store.sqlite").read_bytes())
    assert run(main, ["results", "compare", str(kept), str(other)]).exit_code == 0
    refused = run(main, ["results", "delete", str(other)])
    assert (refused.exit_code, "--all" in refused.output) == (2, True)
    assert "3 rows deleted" in run(main, ["results", "delete", str(other), "--where", "solver=heun"]).stdout
    found = run(main, ["results", "compare", str(kept), str(other)])
    assert (found.exit_code, found.stdout.count("heun")) == (1, 3)
    assert "7 rows written" in run(main, ["results", "export", str(kept), str(tmp_path / "all.csv")]).stdout
    absent = run(main, ["results", "list", str(tmp_path / "nothing")])
    assert (absent.exit_code, absent.output.count("\n"), "there is no store at" in absent.output) == (1, 1, True)
