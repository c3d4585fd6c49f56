r"""Claim 3: what momentum does to the stability and the order of Adams-Bashforth (arXiv:2307.11118).

On dy/drho = lambda y the heavy ball widens the real interval of AB_r, of length (2, 1, 6/11, 3/10), by (2 - beta)/beta and leaves order
one; GHVB_r keeps order r with intervals 2 (2-b)/b, 2 - b, 6 (2-b)/(12-b), 3 (2-b)/(11-b), between those of AB_r (beta = 1) and AB_{r-1}
(beta -> 0).
"""

from __future__ import annotations

from functools import cache

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scorebed.analytic import GaussianMixture
from scorebed.solvers import EDM, SOLVERS, VP, Denoiser, Node, Solver, grid, sample
from scorebed.solvers.guide import guided
from scorebed.solvers.methods.momentum import heavy_ball
from scorebed.toy.claims.common import refinements, sheet, slope
from scorebed.toy.claims.registry import Row, above, below, claim, near, order
from scorebed.toy.figures.style import BLUE, GREEN, INK, MUTED, ORANGE, VERMILLION
from scorebed.toy.properties.cases import warped
from scorebed.toy.studies.stability import real_interval

PLAIN = (2.0, 1.0, 6.0 / 11.0, 0.3)
BETAS = (0.8, 0.5)


def formula(r: int, b: float) -> float:
    """The real interval of GHVB_r."""
    return (2.0 * (2.0 - b) / b, 2.0 - b, 6.0 * (2.0 - b) / (12.0 - b), 3.0 * (2.0 - b) / (11.0 - b))[r - 1]


def _heavy(r: int, beta: float) -> Solver:
    return heavy_ball(SOLVERS[f"lms_{r}"], beta)


@cache
def _interval(r: int, beta: float) -> float:
    return real_interval(SOLVERS[f"ghvb_{r}"](beta=beta))


def _guided(scale: float, std: float) -> Denoiser:
    """Classifier-free guidance between N(0, std²) and N(0, 1), the two exact."""
    narrow, wide = (GaussianMixture([1.0], [[0.0]], v).denoised for v in (std**2, 1.0))
    return guided(narrow, wide, scale)


def growth(solver: Solver, scale: float = 7.5, steps: int = 10) -> float:
    """The largest |x| at the end of ``steps`` steps over the least std of the data, from one std of the marginal; guided."""
    nodes, std = grid.uniform(VP(), steps, 0.4, 0.02), 0.02
    first = nodes[0]
    x = np.array([[np.hypot(first.alpha * std, first.sigma)]])
    return float(np.abs(sample(solver, _guided(scale, std), x, nodes, terminal="none")).max() / nodes[-1].sigma)


def _draw() -> Figure:
    def draw(left: Axes, right: Axes) -> None:
        betas = np.linspace(0.15, 1.0, 35)
        for r, colour in zip((1, 2, 3, 4), (INK, BLUE, VERMILLION, GREEN), strict=True):
            left.plot(betas, [formula(r, b) for b in betas], color=colour, label=f"GHVB{r}")
            found = [real_interval(SOLVERS[f"ghvb_{r}"](beta=b)) for b in (0.2, 0.5, 0.8)]
            left.plot((0.2, 0.5, 0.8), found, "o", color=colour, markeredgecolor="white")
            if r > 1:
                left.plot(betas, [PLAIN[r - 1] * (2 - b) / b for b in betas], color=colour, linestyle=(0, (1.5, 1.5)), linewidth=1.0)
        left.set(title="Real stability interval", xlabel="β", ylabel="length in λh", yscale="log", ylim=(0.2, 30))
        left.plot([], [], color=MUTED, linestyle=(0, (1.5, 1.5)), linewidth=1.0, label="heavy ball on AB2 … AB4")
        left.plot([], [], "o", color=MUTED, label="measured")
        left.legend(loc="upper right", ncols=2)
        scales = np.linspace(1.0, 12.0, 45)
        for name, (colour, label) in (
            ("lms_4", (ORANGE, "AB4 (PLMS)")),
            ("ghvb_4", (GREEN, "GHVB4, β = 0.8")),
            ("ghvb_2", (BLUE, "GHVB2, β = 0.8")),
            ("ghvb_1", (INK, "GHVB1, β = 0.8")),
        ):
            right.plot(scales, [growth(SOLVERS[name], w) for w in scales], color=colour, label=label)
        right.axhline(1.0, color=MUTED, linewidth=0.8)
        right.set(title="A narrow Gaussian, guided, in 10 steps", xlabel="guidance scale w", ylabel="|x| / σ at the end", yscale="log")
        right.legend(loc="upper left")

    return sheet(2, draw, 4.2)


@claim(
    3,
    paper="Momentum for diffusion sampling (HB, GHVB)",
    reference="arXiv:2307.11118",
    statement="A heavy ball widens the real stability interval of AB_r by (2 − β)/β and leaves order 1; GHVB_r keeps order r with an "
    "interval between those of AB_r and AB_{r−1}; under strong guidance in about 10 steps AB4 (PLMS) diverges and GHVB does not; "
    "the weights of GHVB2 are ((2 + β) v + (2 − β) v₋)/2β (eq. 19).",
    control="momentum is taken off (β = 1) where the formulas keep β, and put on (β = 0.5, plain heavy ball) where the order is measured",
    when="the sign in eq. 19 is a minus, and under guidance the order of GHVB is 1 or 2: GHVB4 grows like AB4, only less",
    draw=_draw,
)
def momentum(broken: bool) -> list[Row]:
    """Intervals to 1e-6, orders, and growth under guidance."""
    rows = []
    used = (lambda b: 1.0) if broken else (lambda b: b)
    worst = max(abs(real_interval(_heavy(r, used(b))) * b / (2.0 - b) / PLAIN[r - 1] - 1.0) for r, b in ((1, 0.5), (2, 0.3), (4, 0.5)))
    rows.append(below("heavy ball: interval against (2 − β)/β that of AB_r, worst of r = 1, 2, 4", worst, 1e-6, "relative"))
    for r in (1, 2, 3, 4):
        worst = max(abs(_interval(r, used(b)) / formula(r, b) - 1.0) for b in BETAS)
        rows.append(below(f"GHVB{r}: interval against its formula, worst of β = 0.8, 0.5", worst, 1e-6, "relative"))
    small = 1.0 if broken else 1e-4
    rows.append(near("GHVB4, β = 1e-4: interval, that of AB3", real_interval(SOLVERS["ghvb_4"](beta=small)), PLAIN[2], 1e-3, "λh"))
    one = 0.5 if broken else 1.0
    rows.append(near("GHVB4, β = 1: interval, that of AB4", real_interval(SOLVERS["ghvb_4"](beta=one)), PLAIN[3], 1e-6, "λh"))
    grids = refinements(warped, VP(), (32, 64, 128) if broken else (128, 256, 512), 0.9, 0.05)
    rows.append(order("heavy ball on AB2, β = 0.5", slope(SOLVERS["lms_2"] if broken else _heavy(2, 0.5), grids), 1.0))
    for r in (2, 3, 4):
        rows.append(order(f"GHVB{r}, β = 0.5", slope(_heavy(r, 0.5) if broken else SOLVERS[f"ghvb_{r}"](beta=0.5), grids), float(r)))
    rows.append(above("AB4 in 10 guided steps (w = 7.5): growth", growth(SOLVERS["lms_1" if broken else "lms_4"]), 3.0, "σ"))
    tame = max(growth(SOLVERS["lms_4"] if broken else SOLVERS[f"ghvb_{r}"]) for r in (1, 2))
    rows.append(below("GHVB1, GHVB2 in the same run: growth", tame, 1.0, "σ"))
    rows.append(below("GHVB4 in the same run: growth", growth(SOLVERS["ghvb_4"]), 1.0, "σ", printed=True))
    rows.append(near("sum of the weights of eq. 19 as printed, β = 0.8", ((2 + 0.8) + (2 - 0.8)) / 1.6, 1.0, 1e-12, printed=True))
    rows.append(near("last weight of GHVB2 in v, measured, against −(2 − β)/2β", _last_weight(0.8), -0.75, 1e-12, kept=True))
    return rows


def _last_weight(beta: float) -> float:
    """The weight of v_n in a step of GHVB2, from slopes f = (0, …, 0, 1, 0) of which only the last but one is not 0.

    With f_{n-1} = 1 alone, v_n = beta and v_{n+1} = (1 - beta) beta, so that the move is h beta ((1 - beta) a + b), with a = (2 +
    beta)/2beta.

    Returns:
        the weight of v_n, a float.
    """
    nodes = [EDM().node(float(t)) for t in (9, 8, 7, 6, 5)]

    def denoise(x: np.ndarray, n: Node) -> np.ndarray:
        return x - n.sigma * (1.0 if n.t == 7.0 else 0.0)  # the slope is (x - D)/sigma

    solver = SOLVERS["ghvb_2"](beta=beta)
    run = sample(solver, denoise, np.zeros((1, 1)), nodes, terminal="none", record=True)
    move = float(run.xs[4][0, 0] - run.xs[3][0, 0]) / -1.0
    return move / beta - (1.0 - beta) * (2.0 + beta) / (2.0 * beta)
