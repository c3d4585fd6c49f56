r"""The exact law of a guide's output in one dimension, for any mixture and any solver with a Plan: the transfer operator of ``output_law``.

The guided model stands where the target's own denoiser does; nothing is sampled. Its distance to p(x0 | y) is then known to the quadrature.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from scorebed.solvers import SOLVERS, Solver
from scorebed.solvers.inverse import METHODS, Method
from scorebed.toy.measure.affine_law import Probe
from scorebed.toy.measure.output_law import Law, law
from scorebed.toy.problems.inverse import InverseProblem


class Guided:
    """A target whose model is a guided one: ``denoised`` in place of the law's, the prior's line for everything else."""

    def __init__(self, method: Method, problem: InverseProblem) -> None:
        if method.make is None:
            raise ValueError(f"{method.name} has a loop of its own: give a guide, e.g. dps, pigdm, tmpd, ddnm")
        silent = Probe(lambda j: np.zeros((1, 1)))
        self.model: Any = method.make(problem.conditioned, silent)
        self.d, self.line = problem.d, problem.law.line

    def denoised(self, x: np.ndarray, node: Any) -> np.ndarray:
        """The guided model, (n, 1)."""
        return np.asarray(self.model(x, node))


def line_law(method: Method | str, problem: InverseProblem, steps: int, solver: Solver | str = "ddpm") -> Law:
    """The law of x0 from N(0, sigma²) at the first node.

    Raises:
        ValueError: a sampler that is no guide, a problem of more than one dimension, or a solver whose law is not resolved.
    """
    chosen = METHODS[method] if isinstance(method, str) else method
    by = SOLVERS[solver] if isinstance(solver, str) else solver
    target: Any = Guided(chosen, problem)
    return law(by, target, problem.nodes(steps), initial="prior", terminal="denoise")


def cdf_gap(found: Law, problem: InverseProblem) -> float:
    """The largest |F(x) − F_exact(x)| on a fine grid."""
    truth = problem.posterior.line()
    reach = 6.0 * float(truth.scales.max())
    x = np.linspace(float(truth.means.min()) - reach, float(truth.means.max()) + reach, 2001)
    return float(np.abs(found.cdf(x) - truth.cdf(x)).max())
