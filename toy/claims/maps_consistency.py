"""Claim 270: trajectory models, against the exact map."""

from __future__ import annotations

from functools import cache, partial

import numpy as np

from scorebed.analytic.process.maps import FlowMap
from scorebed.solvers import SOLVERS, VP, grid, predicts
from scorebed.toy.claims.maps_distillation import ddim
from scorebed.toy.claims.registry import Row, above, below, claim, order
from scorebed.toy.measure.convergence import order_of
from scorebed.toy.measure.output_law import law as output_law
from scorebed.toy.problems.lines import modes
from scorebed.toy.studies.maps import distances

MAP = FlowMap(modes())


@cache
def _added_up() -> tuple[float, float]:
    """W1 to the exact law after 32 steps where g is off by 0.1 sin 3g: of the deterministic chain, and of one that draws noise anew."""

    def off(value: np.ndarray) -> np.ndarray:
        return value + 0.1 * np.sin(3.0 * value)

    models = {
        "flow_map": predicts("map")(lambda y, a, b: ddim(lambda z, n: off(MAP.denoised(y, a, b)), y, a, b)),
        "multistep_consistency": predicts("endpoint")(lambda y, n: off(MAP.endpoint(y, n))),
    }
    nodes = grid.uniform_lam(VP(), 32, 0.9, 0.05)
    laws = [output_law(SOLVERS[name], modes(), nodes, model=model, refine=8.0) for name, model in models.items()]
    still, anew = (distances(modes(), one.cdf, nodes[-1])[0] for one in laws)
    return still, anew


@claim(
    270,
    paper="CTM (consistency trajectory model)",
    reference="arXiv:2310.02279",
    statement="The exact G keeps G(x, t, t) = x and the semigroup, and its g tends to E[x0 | x]; both γ = 0 and γ = 1 sample "
    "the exact law on "
    "any grid. Where g has a fixed error, drawing noise anew adds it up over the steps, and the deterministic chain less.",
    control="one DDIM step stands in for G",
)
def ctm(broken: bool) -> list[Row]:
    """Three modes on the line, laws by the transfer operator, at 32 steps where the error is fixed."""
    g = partial(ddim, modes().denoised) if broken else MAP.map
    model = predicts("map")(lambda x, s, t: g(x, s, t))
    nodes = grid.uniform_lam(VP(), 8, 0.9, 0.05)
    s, u, t = nodes[0], nodes[4], nodes[8]
    x = modes().sample(40, 0, s)
    end = predicts("endpoint")(lambda y, n: modes().denoised(y, n) if broken else MAP.endpoint(y, n))
    laws = [
        output_law(SOLVERS["flow_map"], modes(), nodes[::4], model=model, refine=20.0),
        output_law(SOLVERS["multistep_consistency"], modes(), nodes[::4], model=end, refine=20.0),
    ]
    slopes = [float(np.abs(MAP.denoised(x, s, s.toward(t, r)) - modes().denoised(x, s)).max()) for r in (0.02, 0.01, 0.005)]

    still, anew = _added_up()
    return [
        below("semigroup G(G(x, s, u), u, t) − G(x, s, t)", float(np.abs(g(g(x, s, u), u, t) - g(x, s, t)).max()), 1e-9),
        order("order at which g tends to E[x0 | x]", order_of([50, 100, 200], slopes, 1e-13).slope, 1.0, kept=True),
        *(
            below(f"W1 of two steps to the exact law, γ = {gamma}", distances(modes(), one.cdf, t)[0], 1e-6)
            for gamma, one in zip((0, 1), laws, strict=True)
        ),
        above("error of 32 steps with noise anew, over that of the deterministic chain", anew / still, 1.4, "times", kept=True),
    ]
