"""Every notebook runs from top to bottom, and is committed with what it shows and nothing else."""

from __future__ import annotations

import base64
import io
import os
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NAMES = [path.name for path in NOTEBOOKS]


def code(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def kinds(cell: Any) -> list[str]:
    """What a cell shows: media types, and ``stream`` once, since what is printed comes in as many pieces as it happens to."""
    shown = [kind for output in cell.outputs for kind in (output.get("data") or {output.output_type: ""})]
    return sorted([kind for kind in shown if kind != "stream"] + ["stream"] * ("stream" in shown))


def test_there_are_notebooks() -> None:
    assert "01_exact_mixtures.ipynb" in NAMES


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_a_notebook_runs_and_shows_what_is_committed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    committed = nbformat.read(path, as_version=4)
    fresh = nbformat.from_dict(committed)
    for cell in code(fresh):
        cell.outputs, cell.execution_count = [], None
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))))
    NotebookClient(fresh, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}}).execute()
    # pictures differ by platform, but each cell must show the kinds of things that the page shows
    assert [kinds(cell) for cell in code(fresh)] == [kinds(cell) for cell in code(committed)]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_a_committed_notebook_is_executed_small_and_clean(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert [cell.execution_count for cell in code(notebook)] == list(range(1, 1 + len(code(notebook))))
    shown = [kind for cell in code(notebook) for kind in kinds(cell)]
    assert "image/png" in shown
    assert "error" not in shown
    text = path.read_text(encoding="utf-8")
    assert len(text) < 400_000
    assert not re.search(r"/(home|root|Users|tmp|work)/", text)
    assert not any(output.get("name") == "stderr" for cell in code(notebook) for output in cell.outputs)
    for cell in code(notebook):
        for output in cell.outputs:
            if "image/png" in output.get("data", {}):
                with Image.open(io.BytesIO(base64.b64decode(output["data"]["image/png"]))) as picture:
                    assert min(picture.info["dpi"]) >= 90, "figure.dpi of the notebook"
                    assert picture.mode == "P", "python docs/palette.py " + path.name
