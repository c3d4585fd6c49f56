r"""What a guided run samples, and where its distance to what was meant comes from: bias of guidance, or the steps.

On the line the law of the output is exact for any guide and any solver with a Plan (``output_law``: a transfer operator, nothing is
sampled). The limit of small steps is extrapolated from runs of many steps, and splits the distance:

    meant  ── bias ──  limit of small steps  ── discretisation ──  output of N steps,

each a W1 = ∫ |F − G| dx. No solver mends the bias, and no guide the discretisation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from scorebed.analytic import GaussianMixture
from scorebed.solvers import SOLVERS, Node, Solver
from scorebed.toy.measure.output_law import Law, law
from scorebed.toy.problems.guided import GuidedPlane, GuidedProblem

Floats = np.ndarray
Model = Callable[[Floats, Node], Floats]
FINE = (60, 120)
"""Steps of the two runs that the limit is extrapolated from."""


class Steered:
    """A target whose model is another one: ``denoised`` in place of the law's, the law's line for everything else."""

    def __init__(self, model: Any, law: GaussianMixture) -> None:
        self.model, self.d, self.line = model, law.d, law.line

    def denoised(self, x: Floats, node: Any) -> Floats:
        """The model, (n, 1)."""
        return np.asarray(self.model(x, node))


def output(problem: GuidedProblem, model: Model, solver: Solver | str, steps: int) -> Law:
    """The law of x0 after so many steps, from N(0, σ²).

    Returns:
        the Law of x0.

    Raises:
        ValueError: a solver whose law is not resolved, or that remembers more than one state.
    """
    by = SOLVERS[solver] if isinstance(solver, str) else solver
    target: Any = Steered(model, problem.null)
    return law(by, target, problem.nodes(steps), initial="prior", terminal="denoise")


def limit_cdf(problem: GuidedProblem, model: Model, solver: Solver | str, steps: tuple[int, int] = FINE) -> Floats:
    """F of the limit of small steps at ``problem.points``: that of the probability flow for a deterministic solver (by Heun), that of the
    solver's own SDE for a stochastic one; extrapolated at its order from runs of ``steps``, each twice the one before.

    Returns:
        F at ``problem.points``, in [0, 1].
    """
    by = SOLVERS[solver] if isinstance(solver, str) else solver
    by = by if by.weak is not None else SOLVERS["heun"]
    order = int(by.weak) if by.weak is not None else by.order
    coarse, fine = (np.asarray(output(problem, model, by, n).cdf(problem.points)) for n in steps)
    return np.clip(fine + (fine - coarse) / (2.0**order - 1.0), 0.0, 1.0)


@dataclass(frozen=True)
class Split:
    """W1 between what was meant and what came out, in its two parts.

    Attributes:
        bias: meant to the limit of small steps.
        discretisation: that limit to the output.
        total: meant to the output; at most their sum.
    """

    bias: float
    discretisation: float
    total: float


def wasserstein_1(problem: GuidedProblem, f: Floats, g: Floats) -> float:
    """∫ |F − G| dx of distribution functions at ``problem.points``."""
    return float(np.trapezoid(np.abs(f - g), problem.points))


def split(problem: GuidedProblem, model: Model, scale: float, solver: Solver | str, steps: int, limit: Floats | None = None) -> Split:
    """Both parts of the distance of a guided run on the line to p_c^w p_u^{1 − w}.

    Args:
        problem: on the line.
        model: the guided one.
        scale: w, which says what was meant.
        solver, steps: the run.
        limit: ``limit_cdf``, where it is known already.

    Returns:
        the Split: W1 of bias, of discretisation, and their total.

    Raises:
        ValueError: as ``output``; or a problem of the plane.
    """
    if isinstance(problem, GuidedPlane):
        raise ValueError(f"{problem.name} lies in the plane: measure.guided_plane is for it")
    meant = problem.meant(scale).cdf(problem.points)
    limit = limit_cdf(problem, model, solver) if limit is None else limit
    out = np.asarray(output(problem, model, solver, steps).cdf(problem.points))
    return Split(*(wasserstein_1(problem, f, g) for f, g in ((meant, limit), (limit, out), (meant, out))))
