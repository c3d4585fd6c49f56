"""Claim 49: distillation of a run of many steps."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from scorebed.analytic import GaussianMixture
from scorebed.analytic.process.maps import FlowMap
from scorebed.solvers import SOLVERS, VP, Node, grid, sample
from scorebed.toy.claims.registry import Row, above, below, claim
from scorebed.toy.problems.lines import modes

MAP = FlowMap(modes())


def ddim(denoise: Any, x: np.ndarray, s: Node, t: Node) -> np.ndarray:
    """One DDIM step with a denoiser of (x, s)."""
    keep = t.sigma / s.sigma
    return np.asarray(keep * x + (t.alpha - keep * s.alpha) * denoise(x, s))


def implied(z: np.ndarray, end: np.ndarray, s: Node, t: Node) -> np.ndarray:
    """x̃ with which one DDIM step from z at s ends at ``end``."""
    keep = t.sigma / s.sigma
    return np.asarray((end - keep * z) / (t.alpha - keep * s.alpha))


@claim(
    49,
    paper="Distillation of guided diffusion",
    reference="arXiv:2210.03142",
    statement="x̃ = (z'' − (σ''/σ) z)/(α'' − (σ''/σ) α) makes one DDIM step of the student equal two of the teacher; after log₂ "
    "N rounds with "
    "exact targets one step is the N-step run of the guided teacher, with its error: not the exact flow. Each round loses nothing more.",
    control="the target is the mean of the teacher's two denoised values",
)
def progressive(broken: bool) -> list[Row]:
    """Guidance w = 0.5 of one of three modes, 8 steps distilled to one in three rounds."""
    mode = GaussianMixture([1.0], [0.2], 0.25)
    nodes = grid.uniform_lam(VP(), 8, 0.95, 0.02)

    def teacher(x: np.ndarray, n: Node) -> np.ndarray:
        return np.asarray(1.5 * mode.denoised(x, n) - 0.5 * modes().denoised(x, n))

    def distilled(rounds: int) -> Any:
        if not rounds:
            return teacher
        below_ = distilled(rounds - 1)

        def student(x: np.ndarray, s: Node) -> np.ndarray:
            i, k = nodes.index(s), 2 ** (rounds - 1)
            m, t = nodes[i + k], nodes[i + 2 * k]
            half = ddim(below_, x, s, m)
            if broken:
                return np.asarray(0.5 * (below_(x, s) + below_(half, m)))
            return implied(x, ddim(below_, half, m, t), s, t)

        return student

    x = modes().sample(50, 0, nodes[0])
    run = sample(SOLVERS["ddim"], teacher, x, nodes, terminal="none")
    fine = sample(SOLVERS["dpmpp_2m"], teacher, x, grid.uniform_lam(VP(), 400, 0.95, 0.02), terminal="none")
    rows, steps = [], 8
    for rounds in (1, 2, 3):
        steps //= 2
        y = x
        for s, t in pairwise(nodes[:: 2**rounds]):
            y = ddim(distilled(rounds), y, s, t)
        rows.append(below(f"{steps} steps after round {rounds} against the teacher's 8", float(np.abs(y - run).max()), 1e-10))
    return [*rows, above("distance of the teacher from the exact guided flow", float(np.abs(run - fine).max()), 0.05, kept=True)]
