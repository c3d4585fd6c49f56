r"""Projection has weak order 1/2, reflection 1, Heun on the unfolded torus 2: the exact law of each chain on [0, 1], without Monte Carlo.

A step proposes y = m(x) + sqrt(h) z with m = x + h score(x), and then folds y into [0, 1], clips it, or keeps it and pulls it back in the
next step. The transition operator of each chain has a closed form, with phi_h the normal density of variance h,

    fold    (P f)(x) = ∫ f(u) [phi_h(u - m) + phi_h(-u - m) + phi_h(2 - u - m)] du        for √h ≪ 1
    clip    (P f)(x) = ∫ f(u) phi_h(u - m) du + f(0) Φ(-m/√h) + f(1) Φ((m - 1)/√h)

with integrals over [0, 1]; the penalised chain lives on the line and is seen through the clip. On panels of Gauss-Legendre nodes the
operators are matrices, and their product, applied to an observable and integrated over the exact law at the start, is the mean of the
observable under the method up to round-off. The chain of ``reflected_heun`` is not Gaussian: ``radial_law`` runs its step on a Gauss rule.
A clipped normal sits on the wall with probability O(1) when x is within √h of it, and that happens during a fraction √h of the time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import ndtr

from scorebed.analytic.heat import HeatMixture
from scorebed.solvers import EDM, SOLVERS, Node
from scorebed.solvers.space import Box
from scorebed.toy.measure.convergence import Order, order_of
from scorebed.toy.measure.radial_law import RadialChain

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

SCHEMES = ("projected_euler", "penalised_euler", "reflected_euler", "reflected_heun")
STRENGTH = 1.5
"""Of the penalty: at 1 the penalised chain, seen through the clip, is the projected one."""
STEPS = (8, 16, 32, 64, 128, 256, 512)
FINE = 64


def target() -> HeatMixture:
    """Two wide kernels on [0, 1], towards a wall: the drift is small, and what the walls do is seen at moderate steps."""
    return HeatMixture(Box(1), [0.5, 0.5], [[0.1], [0.4]], 0.1)


def clock_grid(n: int, start: float = 0.1, end: float = 0.01) -> list[Node]:
    """n equal steps of the clock sigma²."""
    return [EDM().node(math.sqrt(start + (end - start) * i / n)) for i in range(n + 1)]


def panels(root: float, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre nodes and weights on [low, high], on panels no longer than 4 root."""
    count = max(4, math.ceil((high - low) / (4.0 * root)))
    points, weights = np.polynomial.legendre.leggauss(16)
    ends = np.linspace(low, high, count + 1)
    half = 0.5 * np.diff(ends)
    return (ends[:-1, None] + half[:, None] * (1.0 + points)).reshape(-1), (half[:, None] * weights).reshape(-1)


def proposal(law: HeatMixture, x: np.ndarray, s: Node, t: Node) -> np.ndarray:
    """m(x) = x + h score(x) at points of [0, 1]."""
    return x + (s.sigma**2 - t.sigma**2) * law.score(x[:, None], s)[:, 0]


def _normal(y: np.ndarray, root: float) -> np.ndarray:
    return np.exp(-0.5 * (y / root) ** 2) / (root * math.sqrt(2.0 * math.pi))


def chain_mean(scheme: str, law: HeatMixture, grid: Sequence[Node]) -> float:
    """E x at the end of the chain of ``scheme`` from the exact law at ``grid[0]``.

    Raises:
        ValueError: a scheme without a Gaussian chain.
    """
    if scheme not in SCHEMES[:3]:
        raise ValueError(f"scheme = {scheme!r} must be one of {', '.join(SCHEMES[:3])}")
    root = math.sqrt(min(s.sigma**2 - t.sigma**2 for s, t in pairwise(grid)))
    inner, weights = panels(root, 0.0, 1.0)
    x, w = inner, weights
    if scheme == "penalised_euler":
        out = 12.0 * root * (1.0 + STRENGTH)
        sides = [panels(root, -out, 0.0), (inner, weights), panels(root, 1.0, 1.0 + out)]
        x, w = (np.concatenate(part) for part in zip(*sides, strict=True))
    ends = np.array([0.0, 1.0]) if scheme == "projected_euler" else np.empty(0)
    x = np.concatenate([ends, x])
    f = np.clip(x, 0.0, 1.0)
    for s, t in reversed(list(pairwise(grid))):
        step = math.sqrt(s.sigma**2 - t.sigma**2)
        inside = np.clip(x, 0.0, 1.0)
        m = proposal(law, inside, s, t)
        if scheme == "penalised_euler":
            m = m + (1.0 - STRENGTH) * (x - inside)
            f = (_normal(x[None, :] - m[:, None], step) * w) @ f
        elif scheme == "projected_euler":
            free = (_normal(inner[None, :] - m[:, None], step) * w) @ f[2:]
            f = free + f[0] * ndtr(-m / step) + f[1] * ndtr((m - 1.0) / step)
        else:
            images = sum(_normal(y[None, :] - m[:, None], step) for y in (inner, -inner, 2.0 - inner))  # h is too small for others
            f = (images * w) @ f
    start = weights * np.exp(law.log_prob(inner[:, None], grid[0]))
    at = (x >= 0.0) & (x <= 1.0)
    return float(start @ f[at][len(ends) :] / start.sum())


def exact_mean(law: HeatMixture, node: Node) -> float:
    """E x under the exact law at ``node``."""
    x, w = panels(node.sigma / 4.0, 0.0, 1.0)
    density = w * np.exp(law.log_prob(x[:, None], node))
    return float(density @ x / density.sum())


def weak_error(scheme: str, n: int) -> float:
    """The error of E x after n steps."""
    law, grid = target(), clock_grid(n)
    if scheme == "reflected_heun":
        chain = RadialChain(law, points=FINE, rule=(16, 2))
        solver = SOLVERS[scheme](space=law.space)
        return abs(chain.error(solver, grid, chain.radius))
    return abs(chain_mean(scheme, law, grid) - exact_mean(law, grid[-1]))


def measure(schemes: Sequence[str] = SCHEMES, steps: Sequence[int] = STEPS) -> pd.DataFrame:
    """One line per scheme and number of steps: scheme, claimed weak order, steps, h, error."""
    import pandas as pd

    grid = clock_grid(1)
    length = grid[0].sigma ** 2 - grid[-1].sigma ** 2
    rows = [(name, SOLVERS[name].weak, n, length / n, weak_error(name, n)) for name in schemes for n in steps]
    return pd.DataFrame(rows, columns=["scheme", "claimed", "steps", "h", "error"])


def orders(frame: pd.DataFrame) -> dict[str, Order]:
    """The weak order of each scheme, from its finest steps."""
    return {str(name): order_of(list(part.steps), list(part.error), 1e-11) for name, part in frame.groupby("scheme", sort=False)}


def draw(frame: pd.DataFrame) -> Figure:
    """Error against h, one line per scheme, with the slopes that are claimed."""
    import matplotlib.pyplot as plt

    from scorebed.toy.figures.style import BLUE, GREEN, MUTED, ORANGE, VERMILLION, look

    colours = dict(zip(SCHEMES, ((VERMILLION, "s"), (ORANGE, "D"), (BLUE, "o"), (GREEN, "^")), strict=True))
    found: dict[str, Any] = orders(frame)
    with look():
        figure, axes = plt.subplots(figsize=(6.4, 4.4), layout="constrained")
        for name, part in frame.groupby("scheme", sort=False):
            colour, marker = colours[str(name)]
            label = f"{name}: {found[str(name)].slope:.2f}"
            axes.loglog(part.h, part.error, color=colour, marker=marker, markeredgecolor="white", label=label)
            guide = part.error.iloc[-1] * (part.h / part.h.iloc[-1]) ** part.claimed
            axes.loglog(part.h, guide, color=colour, linewidth=0.8, linestyle=(0, (1.5, 2.0)), zorder=1)
        axes.set(xlabel="step h in the clock σ²", ylabel="error of E x")
        axes.set_title("Reflection in [0, 1]: exact weak errors of the chains")
        axes.grid(True)
        axes.legend(title="method: measured weak order", loc="lower right")
        axes.annotate(
            "dotted: claimed slopes ½, 1, 2 through the finest step",
            (0.02, 0.97),
            xycoords="axes fraction",
            va="top",
            color=MUTED,
            fontsize=8,
        )
    return figure


def study(folder: str | Path) -> pd.DataFrame:
    """Measure, and write ``reflected_law.csv`` and the figure into ``folder``."""
    from scorebed.toy.figures.style import save

    frame = measure()
    Path(folder).mkdir(parents=True, exist_ok=True)
    frame.to_csv(Path(folder) / "reflected_law.csv", index=False)
    save(draw(frame), folder, "reflected_law")
    return frame
