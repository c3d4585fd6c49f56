"""Sheets of samples from pretrained networks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from scorebed.toy.figures.style import BLUE, INK, MUTED, VERMILLION, YELLOW

if TYPE_CHECKING:
    from scorebed.gpu.models import Pretrained


def draw(network: Pretrained, x: NDArray[Any]) -> Figure:
    """The samples x of a network, as what they are: crystals, spectra, or pictures."""
    if network.name == "crystals":
        return _crystals(x)
    return _spectra(network, x) if network.name == "21cm" else _pictures(x[:, 0])


def _sheet(n: int, side: float, gap: float, colorbar: bool = False) -> tuple[Figure, list[Any]]:
    columns = math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    spacing = {"wspace": 0.06 if gap < 0.2 else 0.12, "hspace": gap}
    figure, axes = plt.subplots(rows, columns, figsize=(side * columns, side * rows * (1.0 + gap)), squeeze=False, gridspec_kw=spacing)
    for ax in axes.flat[n:]:
        ax.set_visible(False)
    return figure, list(axes.flat[:n])


def _pictures(x: NDArray[Any]) -> Figure:
    """Each picture from its own sky to its own brightest pixels."""
    figure, axes = _sheet(len(x), 1.0, 0.06)
    for ax, picture in zip(axes, x, strict=True):
        low, high = np.percentile(picture, [5.0, 99.9])
        ax.imshow(picture, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), interpolation="nearest")
        ax.set_axis_off()
    return figure


def _crystals(x: NDArray[Any]) -> Figure:
    """The atoms of each cell seen along c: colour is the element (column), size grows with the height along c."""
    import torch

    from scorebed.gpu.models.crystals import ELEMENTS, PLACES, SITES, formulas

    figure, axes = _sheet(len(x), 1.5, 0.22)
    for ax, table, formula in zip(axes, x, formulas(torch.from_numpy(x)), strict=True):
        places, sites = 0.5 * (table[:, PLACES].T + 1.0), table[:, SITES].T
        for column, colour in enumerate((BLUE, VERMILLION, YELLOW)):
            here = (sites[:, column] > 0.0) & (table[column, ELEMENTS].max() > 0.0)
            a, b, c = places[here].T
            ax.scatter(a, b, s=12 + 50 * c.clip(0, 1), color=colour, edgecolor=INK, linewidth=0.5, alpha=0.9, clip_on=False)
        ax.set(xlim=(-0.05, 1.05), ylim=(-0.05, 1.05), xticks=[], yticks=[], aspect="equal")
        ax.set_title("not valid" if formula == "?" else formula, fontsize=8, loc="center", color=MUTED if formula == "?" else INK)
        for spine in ax.spines.values():
            spine.set(visible=True, color=MUTED)
    return figure


def _spectra(network: Pretrained, x: NDArray[Any]) -> Figure:
    """The noisy condition, the mean of the draws, and the draws, in log10 mK², on one scale."""
    import torch

    from scorebed.gpu.models.spectra import example, scales

    draws = np.log10(scales().power(torch.from_numpy(x)))
    noisy = np.log10(example(1)[1])
    panels = [("noisy input", noisy[0]), ("mean of draws", draws.mean(0)), *((f"draw {i + 1}", d) for i, d in enumerate(draws))]
    low, high = np.percentile(draws, [0.5, 99.5])
    figure, axes = _sheet(len(panels), 1.5, 0.3)
    for ax, (title, panel) in zip(axes, panels, strict=True):
        shown = ax.imshow(panel.T, origin="lower", aspect="auto", cmap="cividis", vmin=low, vmax=high, interpolation="nearest")
        ax.set(xticks=[], yticks=[])
        ax.set_title(title, fontsize=8, loc="center", fontweight="normal")
    axes[0].set_ylabel("$k_\\parallel$ →", fontsize=8)
    axes[0].set_xlabel("$k_\\perp$ →", fontsize=8, labelpad=1)
    figure.colorbar(shown, ax=axes, label="log$_{10}$(Δ²/mK²)", shrink=0.6, pad=0.02)
    return figure
