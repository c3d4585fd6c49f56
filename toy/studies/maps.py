"""Few-step families against the exact map: the error of the exact law of their output, by number of steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from scorebed.analytic import GaussianMixture
from scorebed.analytic.gaussian.draw import reverse_step
from scorebed.analytic.process.maps import FlowMap
from scorebed.analytic.process.reflow import Reflow
from scorebed.solvers import SOLVERS, VP, Node, Solver, grid, predicts
from scorebed.toy.measure.distil import affine, chain, generator, perturbed, span, trained
from scorebed.toy.measure.output_law import law as output_law
from scorebed.toy.measure.rounds import progressive, reflow
from scorebed.toy.problems.lines import modes

if TYPE_CHECKING:
    import pandas as pd

FINE = 16
"""Steps of the teacher, and of the grid that students are trained on."""
REFINE = 24.0
"""Of the grids on which steep maps are pushed forward."""


@dataclass(frozen=True)
class Family:
    """A method with a model: ``make(law, nodes of training)`` gives the model that the solver takes.

    Attributes:
        name: what tables call it.
        group: "exact", "student" or "solver".
        solver: the sampler.
        make: the model; None is E[x0 | x].
        what: in words.
    """

    name: str
    group: str
    solver: Solver | None
    make: Callable[[GaussianMixture, Sequence[Node]], Any] | None
    what: str


def _exact(kind: str) -> Callable[[GaussianMixture, Sequence[Node]], Any]:
    def make(law: GaussianMixture, nodes: Sequence[Node]) -> Any:
        maps = FlowMap(law)
        if kind == "average":
            return predicts("average")(lambda x, s, t: maps.average_velocity(x, s, t))
        return getattr(maps, kind)

    return make


FAMILIES = {
    family.name: family
    for family in (
        Family("flow_map", "exact", SOLVERS["flow_map"], _exact("map"), "the exact map"),
        Family("mean_flow", "exact", SOLVERS["mean_flow"], _exact("average"), "the exact average velocity"),
        Family("ctm", "exact", SOLVERS["ctm"], _exact("map"), "the exact map, γ = ½"),
        Family("consistency", "exact", SOLVERS["multistep_consistency"], _exact("endpoint"), "the exact endpoint, noise drawn anew"),
        Family(
            "reflow", "exact", SOLVERS["reflow"], lambda law, nodes: Reflow(law, nodes[0], nodes[-1]).model, "straight paths of exact pairs"
        ),
        Family("long_reverse", "exact", None, None, "the true p(x_t | x_s)"),
        Family(
            "distilled_ddim",
            "student",
            SOLVERS["multistep_consistency"],
            lambda law, nodes: chain(SOLVERS["ddim"], law, nodes).endpoint,
            f"consistency distilled from DDIM of {FINE} steps",
        ),
        Family(
            "distilled_heun",
            "student",
            SOLVERS["multistep_consistency"],
            lambda law, nodes: chain(SOLVERS["heun"], law, nodes).endpoint,
            f"the same from Heun of {FINE} steps",
        ),
        Family(
            "trained",
            "student",
            SOLVERS["multistep_consistency"],
            lambda law, nodes: trained(law, nodes).endpoint,
            f"consistency training on {FINE} steps",
        ),
        Family(
            "stochastic",
            "student",
            SOLVERS["multistep_consistency"],
            lambda law, nodes: trained(law, nodes, stochastic=True).endpoint,
            "stochastic consistency: E[x0 | x]",
        ),
        Family(
            "progressive",
            "student",
            SOLVERS["flow_map"],
            lambda law, nodes: progressive(SOLVERS["ddim"], law, nodes),
            f"progressive distillation of DDIM of {FINE} steps",
        ),
        Family(
            "reflow_once",
            "student",
            SOLVERS["reflow"],
            lambda law, nodes: reflow(law, nodes, 2)[-1],
            f"reflow of pairs by Euler of {FINE} steps",
        ),
        Family(
            "generator",
            "student",
            SOLVERS["multistep_consistency"],
            lambda law, nodes: generator(law, nodes).endpoint,
            "the affine generator of least KL",
        ),
        Family(
            "affine",
            "student",
            SOLVERS["multistep_consistency"],
            lambda law, nodes: affine(law, nodes).endpoint,
            "the affine map of the moments",
        ),
        Family(
            "imperfect",
            "student",
            SOLVERS["multistep_consistency"],
            lambda law, nodes: perturbed(FlowMap(law).endpoint, 0.05),
            "the exact endpoint with a fixed error",
        ),
        Family("ddim", "solver", SOLVERS["ddim"], None, "DDIM on E[x0 | x]"),
        Family("rectified", "solver", SOLVERS["reflow"], lambda law, nodes: reflow(law, nodes, 1)[0], "Euler on the first velocity"),
        Family("dpmpp_2m", "solver", SOLVERS["dpmpp_2m"], None, "DPM-Solver++(2M) on E[x0 | x]"),
        Family("ddpm", "solver", SOLVERS["ddpm"], None, "DDPM on E[x0 | x]"),
    )
}
"""Every family by name."""


def training_grid(start: float = 0.999, end: float = 0.02) -> list[Node]:
    """The nodes that teachers walk and students are trained on."""
    return list(grid.uniform_lam(VP(), FINE, start, end))


def table(
    families: Sequence[str] | None = None,
    steps: Sequence[int] = (1, 2, 4, 8),
    law: GaussianMixture | None = None,
    report: Callable[[int, int, str], Any] = lambda done, total, what: None,
) -> pd.DataFrame:
    """One row for each family and number of steps: family, group, what, steps, W1, KS (the largest error of the distribution function).

    Returns:
        one row for each family and number of steps, with W1 and KS.

    Raises:
        ValueError: steps that do not divide the training grid, or a law that is not on the line.
    """
    import pandas as pd

    law = law or modes()
    if law.d != 1:
        raise ValueError(f"law has d = {law.d}: exact laws of outputs are computed on the line")
    divides(steps)
    nodes, rows = training_grid(), []
    names = list(families or FAMILIES)
    for i, name in enumerate(names):
        report(i, len(names), name)
        family = FAMILIES[name]
        model = None if family.make is None else family.make(law, nodes)
        for n in steps:
            w1, ks = distances(law, cdf(family, model, law, nodes[:: FINE // n]), nodes[-1])
            rows.append({"family": name, "group": family.group, "what": family.what, "steps": n, "w1": w1, "ks": ks})
    return pd.DataFrame(rows)


def divides(steps: Sequence[int]) -> None:
    """Refuse steps that do not divide the training grid."""
    for n in steps:
        if FINE % n:
            raise ValueError(f"steps = {n}: students live on a grid of {FINE} steps, give 1, 2, 4, 8 or 16")


def cdf(family: Family, model: Any, law: GaussianMixture, nodes: Sequence[Node]) -> Callable[[np.ndarray], np.ndarray]:
    """The distribution function of what the family makes on these nodes, started from the exact marginal."""
    if family.solver is None:
        return reverse_cdf(law, nodes)
    return output_law(family.solver, law, nodes, model=model, refine=1.0 if model is None else REFINE).cdf


def reverse_cdf(law: GaussianMixture, nodes: Sequence[Node]) -> Callable[[np.ndarray], np.ndarray]:
    """The same of a chain of true reverse steps, as sums of normals on grids."""
    from scipy.special import ndtr

    x = span(law, nodes[0])
    density = np.exp(np.asarray(law.log_prob(x[:, None], nodes[0])))
    for s, t in pairwise(nodes[:-1]):
        weights, means, widths = _transition(law, x, density, s, t)
        x = span(law, t)
        kernel = np.exp(-0.5 * ((x[:, None, None] - means) / widths) ** 2) / (np.sqrt(2 * np.pi) * widths)
        density = np.einsum("mnk,nk->m", kernel, weights)
    weights, means, widths = _transition(law, x, density, nodes[-2], nodes[-1])
    return lambda q: np.array([float((weights * ndtr((one - means) / widths)).sum()) for one in np.ravel(q)])


def _transition(law: GaussianMixture, x: np.ndarray, density: np.ndarray, s: Node, t: Node) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights and means (n, K) and widths (K,) of the normals that a density on the grid x becomes by one true step."""
    step = reverse_step(law, x[:, None], s, t)
    weights = (density * (x[1] - x[0]))[:, None] * np.asarray(step.weights)
    return weights, np.asarray(step.means)[..., 0], np.sqrt(step.covariances[:, 0, 0])


def distances(law: GaussianMixture, found: Callable[[np.ndarray], np.ndarray], end: Node) -> tuple[float, float]:
    """W1 and Kolmogorov's distance of a distribution function from the law at a node."""
    truth = law.marginal(end)
    middle, spread = float(truth.mean()[0]), float(np.sqrt(truth.covariance()[0, 0]))
    x = middle + spread * np.linspace(-6.0, 6.0, 1501)
    gap = np.abs(found(x) - np.asarray(truth.cdf(x)))
    return float(gap.sum() * (x[1] - x[0])), float(gap.max())
