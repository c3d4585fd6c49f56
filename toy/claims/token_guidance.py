r"""A claim on guidance of tokens: what is normalised token by token is not the tilted law."""

from __future__ import annotations

from itertools import product

import numpy as np

from scorebed.analytic.finite import Known, TableLaw, total_variation
from scorebed.analytic.finite.elbo import score_entropy_bound
from scorebed.solvers import SOLVERS
from scorebed.solvers.decode import DECODERS
from scorebed.solvers.guide_tokens import token_guidance
from scorebed.solvers.process.jump import JumpProcess
from scorebed.toy.claims.registry import Row, above, below, claim, near
from scorebed.toy.problems.decoding import decoded_law
from scorebed.toy.problems.jump import random_table
from scorebed.toy.problems.jump_law import output_table


@claim(
    215,
    paper="Discrete guidance (D-CFG) and UDLM",
    reference="arXiv:2412.10193",
    statement="The bound of uniform noise is tight with the exact model; D-CFG with γ = 1 samples the conditional, and with γ ≠ 1 "
    "something else "
    "than π(x) p(y | x)^γ; a wrong token is corrected under uniform noise and never under masks.",
    control="the scores are e^{0.2} too large; γ = 1 and γ = 2 change places; masks and uniform noise change places",
)
def guidance(broken: bool) -> list[Row]:
    """A table of two bits and a label."""
    joint = random_table(2, 3, 9)
    prior, given = joint.sum(2), joint[..., 1] / joint[..., 1].sum()
    process = JumpProcess(2)
    wide, narrow = Known(TableLaw(prior, process)), Known(TableLaw(given, process))

    def guided(gamma: float) -> np.ndarray:
        model = token_guidance(narrow, wide, gamma)
        return decoded_law(DECODERS["left_to_right"], TableLaw(given, process), [1, 1], model=model)[:2, :2]

    def tilted(gamma: float) -> np.ndarray:
        q = prior * (joint[..., 1] / prior) ** gamma
        return np.asarray(q / q.sum())

    law = TableLaw(random_table(2, 2, 4), JumpProcess(2, "uniform"))
    tight = max(
        abs(score_entropy_bound(law, np.array(x), 0.6, tilt=0.2 * broken) + np.log(law.table[x])) for x in product(range(2), repeat=2)
    )
    kept = {}
    for kernel in ("absorbing", "uniform"):
        place = TableLaw(np.array([[0.499, 0.001], [0.499, 0.001]]), JumpProcess(2, kernel))
        start = np.zeros((place.process.alphabet,) * 2)
        start[place.process.size if kernel == "absorbing" else 0, 1] = 1.0  # the second token is wrong
        nodes = [place.process.node(0.5 * (1.0 - i / 8)) for i in range(9)]
        end = output_table(SOLVERS["jump_ancestral"], Known(place), start, nodes)
        kept[kernel] = float(end[:, 1].sum())
    stuck, free = (kept["uniform"], kept["absorbing"]) if broken else (kept["absorbing"], kept["uniform"])
    one, two = (2.0, 1.0) if broken else (1.0, 2.0)
    return [
        below("bound of uniform noise against −log π, worst x0", float(tight), 1e-10, "nats"),
        below("γ = 1: total variation from the conditional", total_variation(guided(one), tilted(1.0)), 1e-13),
        above("γ = 2: total variation from π(x) p(y | x)²", total_variation(guided(two), tilted(two)), 0.005),
        near("a wrong token stays, masks", stuck, 1.0, 1e-12),
        below("a wrong token stays, uniform noise", free, 0.5),
    ]
