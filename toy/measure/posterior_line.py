r"""The exact law of a guide's output in one dimension, for any mixture and any solver with a Plan: the transfer operator of ``output_law``.

The guided model stands where the target's own denoiser does; nothing is sampled. Its distance to p(x0 | y) is then known to the quadrature.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from scorebed.solvers import SOLVERS, Solver
from scorebed.solvers.inverse import METHODS, Method
from scorebed.toy.measure.affine_law import Probe
from scorebed.toy.measure.guided_law import Steered
from scorebed.toy.measure.output_law import Law, law
from scorebed.toy.problems.inverse import InverseProblem


def line_law(method: Method | str, problem: InverseProblem, steps: int, solver: Solver | str = "ddpm") -> Law:
    """The law of x0 from N(0, sigma²) at the first node.

    Returns:
        the Law of x0.

    Raises:
        ValueError: a sampler that is no guide, a problem of more than one dimension, or a solver whose law is not resolved.
    """
    chosen = METHODS[method] if isinstance(method, str) else method
    if chosen.make is None:
        raise ValueError(f"{chosen.name} has a loop of its own: give a guide, e.g. dps, pigdm, tmpd, ddnm")
    by = SOLVERS[solver] if isinstance(solver, str) else solver
    target: Any = Steered(chosen.make(problem.conditioned, Probe(lambda j: np.zeros((1, 1)))), problem.law)
    return law(by, target, problem.nodes(steps), initial="prior", terminal="denoise")


def cdf_gap(found: Law, problem: InverseProblem) -> float:
    """The largest |F(x) − F_exact(x)| on a fine grid."""
    truth = problem.posterior.line()
    reach = 6.0 * float(truth.scales.max())
    x = np.linspace(float(truth.means.min()) - reach, float(truth.means.max()) + reach, 2001)
    return float(np.abs(found.cdf(x) - truth.cdf(x)).max())
