"""The report of a study: one page, whole, that a browser shows with its plots, its sorted tables and its slider."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from scorebed.toy.cli import main
from scorebed.toy.figures import page
from scorebed.toy.store.files import StoreError
from scorebed.toy.studies.study import run_study


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("study")
    run_study(["mixture1d", "product2d"], ["heun", "dpmpp_2m", "ddpm"], nfe=(5, 10), out=out, jobs=1)
    return out


def shown(text: str) -> dict:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_the_page_holds_the_study(study: Path) -> None:
    seen = shown(page.html(page.content(study), ""))
    (table,) = seen["tables"]
    assert table["name"] == "results"
    assert {"problem", "solver", "nfe", "error"} <= set(table["columns"])
    assert all(len(row) == len(table["columns"]) for row in table["rows"])
    assert seen["command"] == "scorebed study --problems mixture1d product2d --solvers heun dpmpp_2m ddpm --nfe 5 10 --seed 0"
    assert "numpy" in seen["versions"]
    assert set(seen["curves"]["mixture1d, quadratic"]) == {"heun", "dpmpp_2m", "ddpm"}
    for name, d in (("mixture1d", 1), ("product2d", 2)):
        for method in seen["paths"][name]["methods"].values():
            assert len(method["times"]) == len(method["states"]) == len(method["exact"])
            assert {len(state) for states in method["states"] for state in states} == {d}
            assert method["states"][0] == method["exact"][0]
            assert method["nfe"] <= 12


def test_the_command_in_the_page_makes_the_study(study: Path, tmp_path: Path) -> None:
    words = page.content(study)["command"].split()[1:]
    again = CliRunner().invoke(main, [*words, "--out", str(tmp_path), "--no-figures", "--jobs", "1"])
    assert again.exit_code == 0, again.output
    assert (tmp_path / "results.csv").read_bytes() == (study / "results.csv").read_bytes()


def test_in_a_browser(study: Path, tmp_path: Path, tab: Any) -> None:
    """Without a browser, or without plotly's library, the text is looked at, and the reason stands in the output."""
    try:
        library = page.plotly()
    except StoreError as missing:
        print(f"looked at without plots: {missing}")
        library = ""
    target = tmp_path / "report.html"
    target.write_text(page.html(page.content(study), library), encoding="utf-8")
    text = target.read_text(encoding="utf-8")
    assert not re.search(r'<(script|link|img)[^>]*(src|href)="http', text.split("<script>")[0])
    if tab is None:
        print("looked at as text: no Chromium is installed")
        return
    tab.open(f"{target.resolve().as_uri()}#problem=product2d&method=heun&step=3&sort=results:error:-1")
    tab.until("document.body.dataset.ready === 'yes'")
    drawn = tab.js("document.documentElement.outerHTML")
    rows = re.findall(r"<tr>(<td.*?)</tr>", drawn)
    column = page.content(study)["tables"][0]["columns"].index("error")
    errors = [float(re.findall(r'<td(?: class="number" data-value="([^"]*)")?', row)[column] or "nan") for row in rows]
    assert errors == sorted(errors, reverse=True)
    if library:
        assert "node 3 of 6" in drawn
        assert drawn.count("main-svg") >= 4  # two plots of two layers
        assert "scatterlayer" in drawn
    tab.open(target.resolve().as_uri(), width=400)
    tab.until("document.body.dataset.ready === 'yes'")
    assert not tab.thrown


def test_text_of_a_table_is_no_markup(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("name,value\n</script><script>alert(1)</script>,nan\n", encoding="utf-8")
    text = page.html(page.content(tmp_path), "")
    assert "<script>alert" not in text
    assert shown(text)["tables"][0]["rows"] == [["</script><script>alert(1)</script>", "nan"]]


def test_the_command_line(study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = CliRunner()
    monkeypatch.setattr(page, "plotly", lambda: "")
    target = tmp_path / "page.html"
    done = run.invoke(main, ["report", str(study), "--out", str(target)])
    assert done.exit_code == 0, done.output
    assert run.invoke(main, ["report", str(study), "--out", str(target)]).exit_code == 0  # its own page is written again
    target.write_text("mine", encoding="utf-8")
    refused = run.invoke(main, ["report", str(study), "--out", str(target)])
    assert refused.exit_code == 1
    assert "--force" in refused.output
    assert target.read_text(encoding="utf-8") == "mine"
    assert run.invoke(main, ["report", str(tmp_path / "absent")]).exit_code == 2
    (tmp_path / "empty").mkdir()
    empty = run.invoke(main, ["report", str(tmp_path / "empty")])
    assert empty.exit_code == 1
    assert "holds no study" in empty.output


def test_plotly_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(StoreError, match=r"pip install 'scorebed\[report\]'"):
        page.plotly()
