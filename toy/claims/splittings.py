r"""Claim 181: conjugate and splitting integrators in phase space."""

from __future__ import annotations

import numpy as np

from scorebed.solvers import SOLVERS, grid, trace
from scorebed.solvers.process.langevin import CLD
from scorebed.solvers.process.recipe import Recipe
from scorebed.toy.claims.registry import Row, above, below, claim, order
from scorebed.toy.measure.runs import order_on
from scorebed.toy.properties import phase


def _slope(name: str, law: bool = False) -> float:
    """The order of a method on an ellipse in phase space."""
    found = order_on(phase.problems()[0], SOLVERS[name], law=law, steps=(32, 64, 128) if law else (96, 192, 384)).order
    return float("nan") if found is None else found.slope


@claim(
    181,
    paper="Conjugate and splitting integrators",
    reference="arXiv:2310.07894",
    statement="The conjugate integrator with B = 0 on VP is DDIM; velocity Verlet on the flow, naive or reduced, has order 1, for "
    "the force on "
    "v depends on v, the reduced one at two evaluations in place of three; (R)OBA have weak order 1.",
    control="B is 1/2; methods of order 2 stand in for those of order 1",
)
def splittings(broken: bool) -> list[Row]:
    """Plans on a process of one component, and orders on an ellipse."""
    one = Recipe(((-1.0,),), ((2.0,),))
    nodes = grid.uniform_lam(one, 6, 2.0, 0.1)
    pair = [trace(method, nodes).output for method in (SOLVERS["conjugate"](lam=0.5 if broken else 0.0), SOLVERS["ddim"])]
    calls = [trace(SOLVERS[name], grid.uniform(CLD(), 4)).nfe / 4 for name in ("rvv", "nvv")]
    return [
        below("conjugate integrator against DDIM on VP", float(np.abs(pair[0] - pair[1]).max()), 1e-9),
        order("reduced velocity Verlet", _slope("heun_t" if broken else "rvv"), 1.0),
        order("ROBA: weak order", _slope("sscs_2" if broken else "roba", law=True), 1.0),
        above("evaluations of the naive one over those of the reduced", calls[1] / calls[0], 1.49, kept=True),
    ]
