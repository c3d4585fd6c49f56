"""What pictures say, and what they are for: no two methods alike, one meaning of RMS, purposes, sentences above them."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from typer.testing import CliRunner

from scorebed.solvers import SOLVERS
from scorebed.toy.cli import main
from scorebed.toy.figures import guided, likelihood, plots, schedules, style
from scorebed.toy.figures.budget import figure as budget_figure
from scorebed.toy.figures.plots import by_grid, looks
from scorebed.toy.figures.scenes import trajectory
from scorebed.toy.figures.style import PURPOSES, appearances, headline, purpose, save
from scorebed.toy.problems.registry import PROBLEMS
from scorebed.toy.studies.trajectories import trajectories


def shown(appearance: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(str(appearance[key]) for key in ("color", "marker", "linestyle")) + (str(appearance.get("markerfacecolor")),)


def test_methods_of_one_family_alone_have_colours_of_their_own() -> None:
    alone = appearances(["euler_maruyama", "ddpm", "dpmpp_2s_ancestral", "churn"])
    assert len({to_hex(a["color"]) for a in alone.values()}) == 4


@pytest.mark.parametrize("names", [[n for n, s in SOLVERS.items() if s.spaces][:14], list(SOLVERS)[:9]], ids=["spaces", "others"])
def test_no_two_methods_look_alike(names: list[str]) -> None:
    found = [shown(a) for a in looks(names).values()]
    assert len(set(found)) == len(found)
    fewer = {(colour, marker, face) for colour, marker, _, face in found}  # lines apart: on a slope two dashes are hard to tell
    assert len(fewer) > len({(colour, marker) for colour, marker, *_ in found}) or len(fewer) == len(found)


def test_rms_means_the_same_in_table_and_picture() -> None:
    """The picture of paths writes down the number of the table, of all the paths of the study."""
    problem = PROBLEMS["product2d"]
    found = trajectories(problem, ["ddim", "heun"], nfe=8, paths=6, jacobian=False)
    drawn = trajectory(problem, ["ddim", "heun"], nfe=8, paths=6, shown=3)
    said = " ".join(text.get_text() for axis in drawn.axes for text in axis.texts)
    for name in ("ddim", "heun"):
        value = float((found.paths.loc[found.paths["solver"] == name, "distance"] ** 2).mean() ** 0.5)
        assert f"RMS {value:.2g}" in said


def width(path: Path) -> int:
    return int(struct.unpack(">I", path.read_bytes()[16:20])[0])


def test_a_purpose_makes_text_larger_and_files_of_its_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(style, "_chosen", "screen")
    figure = Figure(figsize=(8.0, 3.0), layout="constrained")
    figure.subplots().plot([1, 2], [1, 2], label="a")
    headline(figure, "A sentence that is longer than the figure is wide, so that it must be broken into lines, " * 2)
    for name, (size, dots, kinds) in PURPOSES.items():
        purpose(name)
        files = save(figure, tmp_path / name, "one")
        assert {path.suffix for path in files} == {f".{kind}" for kind in kinds}
        assert width(tmp_path / name / "one.png") == pytest.approx(8.0 * size * dots, abs=2)
        assert figure.get_figwidth() == pytest.approx(8.0)
        assert max(map(len, figure.get_suptitle().splitlines())) < 8.0 * size * 72 / (0.5 * 9.5)
    with pytest.raises(ValueError, match="screen, slide, paper"):
        purpose("poster")


def test_the_option_holds_for_one_run(tmp_path: Path) -> None:
    run = CliRunner()
    words = f"budget --solvers heun --steps 5 10 --out {tmp_path}".split()
    assert run.invoke(main, [*words, "--for", "paper"]).exit_code == 0
    assert (tmp_path / "budget.pdf").exists()
    assert style._chosen == "screen"
    refused = run.invoke(main, [*words, "--for", "poster"])
    assert refused.exit_code == 2
    assert "slide" in refused.output


def test_parts_that_take_from_the_distance_are_hollow() -> None:
    rows = [
        ("heun", n, part, 0.1 * n, share)
        for n in (5, 10)
        for part, share in (("truncation", -0.01), ("discretisation", 0.2), ("total", 0.2))
    ]
    drawn = budget_figure([pd.DataFrame(rows, columns=["solver", "steps", "part", "w2", "share"])])
    hollow = [line for line in drawn.axes[0].lines if line.get_markerfacecolor() == "white" and len(line.get_xdata())]
    assert [line.get_marker() for line in hollow] == ["s"]
    assert "cancel" in drawn.get_suptitle()


def rows_of(grids: tuple[str, ...]) -> pd.DataFrame:
    base = {"problem": "mixture1d", "solver": "heun", "kind": "path", "status": "ok", "claim": 2.0, "d": 1, "schedule": "VP"}
    return pd.DataFrame(
        [{**base, "grid": g, "steps": n // 2, "nfe": n, "error": (1 + i) / n**2} for i, g in enumerate(grids) for n in (10, 20, 40)]
    )


def test_grids_lie_over_one_another_on_one_scale() -> None:
    (axis,) = by_grid(rows_of(("karras", "quadratic"))).axes
    assert len(axis.lines) == 2
    assert "karras for heun" in by_grid(rows_of(("karras", "quadratic"))).get_suptitle()


def test_convergence_is_drawn_against_evaluations() -> None:
    """Steps would flatter a method that evaluates twice in each."""
    (axis, *_) = plots.convergence(rows_of(("karras",))).axes
    (curve,) = [line for line in axis.lines if len(line.get_xdata()) == 3]
    assert list(curve.get_xdata()) == [10, 20, 40]
    assert "NFE" in axis.get_xlabel()
    assert "heun on mixture1d" in plots.work_precision(rows_of(("karras",))).get_suptitle()


def test_a_headline_is_broken_to_the_width_of_its_figure() -> None:
    """Before it is saved too: a page that shows a figure as it is must not be as wide as its sentence."""
    figure = Figure(figsize=(4.0, 3.0), layout="constrained")
    style.headline(figure, "What was measured, in a sentence that is far longer than four inches are wide, " + "and goes on. " * 5)
    lines = figure.get_suptitle().splitlines()
    assert len(lines) > 2
    assert figure.get_figheight() > 3.0
    figure.draw_without_rendering()
    assert figure._suptitle.get_window_extent().width <= figure.bbox.width  # type: ignore[attr-defined]


def test_headlines_follow_the_numbers() -> None:
    """Other numbers, another sentence: none of them is written down beforehand."""
    row = {"rule": "cfg", "solver": "ddim", "scale": 2.0, "bias": 0.1}
    table = pd.DataFrame([row | {"steps": n, "discretisation": 1.0 / n} for n in (5, 20, 80)])
    assert "from 20 steps on with ddim" in guided.bias_and_steps(table).get_suptitle().replace("\n", " ")
    assert "not up to 80 steps" in guided.bias_and_steps(table.assign(bias=0.001)).get_suptitle().replace("\n", " ")
    makes = {"schedule": "a", "nfe": 5, "train": 1.0, "error": 1.0, "low": 0.9, "high": 1.1, "lams": [0.0, 1.0]}
    usual = makes | {"kind": "usual", "ratio": 1.0, "ratio low": 1.0, "ratio high": 1.0}
    made = makes | {"kind": "made", "schedule": "b", "ratio": 0.5, "ratio low": 0.4, "ratio high": 0.6}
    assert "b, 0.50 [0.40, 0.60]" in schedules.draw(pd.DataFrame([usual, made]), "").get_suptitle().replace("\n", " ")
    assert "1 of 1 are better beyond doubt" in schedules.draw(pd.DataFrame([usual, made]), "").get_suptitle().replace("\n", " ")
    assert "0 of 1" in schedules.draw(pd.DataFrame([usual, made | {"ratio high": 1.2}]), "").get_suptitle().replace("\n", " ")
    parts = [
        {"solver": "heun", "steps": n, "part": p, "rms": r / n}
        for n in (8, 64)
        for p, r in (("prior", 8.0), ("probes", n), ("total", 99.0))
    ]
    said = likelihood.figure([pd.DataFrame(parts)]).get_suptitle().replace("\n", " ")
    assert said.count("probes (heun)") == 1
    assert "in 64 steps probes" in said
