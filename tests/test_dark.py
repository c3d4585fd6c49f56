"""The dark copy of a figure: every text and line stands out from the dark paper, and the figure on paper is untouched."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

from scorebed.toy.figures.dark import dark
from scorebed.toy.figures.style import DENSITY, FAMILIES, INK, MUTED, look, save


def luminance(colour: object) -> float:
    """Relative luminance of WCAG 2.1."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]  # type: ignore[arg-type]
    return float(np.dot((0.2126, 0.7152, 0.0722), linear))


def contrast(a: object, b: object) -> float:
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


@pytest.fixture
def figure() -> Figure:
    with look():
        figure = Figure(figsize=(4, 3), layout="constrained")
        axis = figure.subplots()
        axis.imshow(np.linspace(0, 1, 16).reshape(4, 4), cmap=DENSITY)
        for i, (name, (colour, marker, _)) in enumerate(FAMILIES.items()):
            axis.plot([0, 1], [i, i + 1], color=colour, marker=marker, markeredgecolor="white", label=name)
        axis.set_title("title", color=INK)
        axis.annotate("note", (0, 0), color=MUTED, bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7})
        axis.legend()
    return figure


def test_everything_stands_out(figure: Figure) -> None:
    night = dark(figure)
    paper = night.get_facecolor()
    assert luminance(paper) < 0.02
    texts = [text for text in night.findobj(Text) if text.get_text() and text.get_visible()]
    assert len(texts) > 8
    assert min(contrast(text.get_color(), paper) for text in texts) > 4.5
    lines = [line for axis in night.axes for line in axis.get_lines()]
    assert len(lines) == len(FAMILIES)
    assert min(contrast(line.get_color(), paper) for line in lines) > 3
    assert len({to_rgb(line.get_color()) for line in lines}) == len(FAMILIES)
    assert luminance(night.axes[0].get_images()[0].get_cmap()(0.0)) < 0.02


def test_the_copy_is_a_copy(figure: Figure) -> None:
    before = [to_rgb(line.get_color()) for line in figure.findobj(Line2D)]
    dark(figure)
    assert [to_rgb(line.get_color()) for line in figure.findobj(Line2D)][: len(before)] == before
    assert figure.get_facecolor()[:3] == (1.0, 1.0, 1.0)


def test_saved_beside_the_light_one(figure: Figure, tmp_path) -> None:
    names = [path.name for path in save(figure, tmp_path, "picture", dark=True)]
    assert names == ["picture.png", "picture.svg", "picture-dark.png", "picture-dark.svg"]
    assert (tmp_path / "picture.png").read_bytes() != (tmp_path / "picture-dark.png").read_bytes()
