r"""Claims 68, 71, 268: which schedule, which solver, how many steps; what is searched is judged
on states that the search has not seen, beside as many random choices."""

from __future__ import annotations

from functools import cache
from itertools import combinations
from typing import Any

import numpy as np

from scorebed.analytic.output.error import flow_rms
from scorebed.solvers import SOLVERS, VP, RectifiedFlow, sample, trace
from scorebed.solvers.grid import from_times, uniform_lam
from scorebed.solvers.methods.compose import CHOICES, usf
from scorebed.toy.claims.registry import Row, above, below, claim, near
from scorebed.toy.measure.convergence import rms
from scorebed.toy.problems.products import product2d
from scorebed.toy.properties.cases import modes

FLAT = product2d()


@claim(
    68,
    paper="USF and S3 (a solver for every step)",
    reference="arXiv:2312.07243",
    statement="One memory and a free choice of form and order at every step contain DDIM, DPM-Solver++ and Adams methods in rho, to "
    "round-off; the best choice, searched on some states, beats on others the best that is the same at every step, and as many random "
    "choices.",
    control="what is searched is the worst",
)
def choices(broken: bool) -> list[Row]:
    """Five steps on a product of two mixtures: about a hundred choices, tried on 200 states and judged on 400 others."""
    nodes = from_times(RectifiedFlow(), [0.98, 0.8, 0.6, 0.4, 0.2, 0.01])
    plans = _plans()
    errors = []
    for seed, n in ((0, 200), (1, 400)):
        x = FLAT.sample(n, seed, nodes[0])
        exact = FLAT.flow(x, nodes[0], nodes[-1])
        errors.append({c: rms(sample(usf(c), FLAT.denoised, x, nodes, terminal="none") - exact) for c in plans})
    train, held = errors
    uniform = [("d1", c if int(c[1]) < 3 else c[0] + "2", c, c, c) for c in CHOICES]
    best = (max if broken else min)(plans, key=train.__getitem__)
    alike = min((c for c in uniform if c in plans), key=train.__getitem__)
    rng = np.random.default_rng(0)
    random = min((plans[int(i)] for i in rng.integers(0, len(plans), 12)), key=train.__getitem__)
    same = 0.0
    for choice, name in ((["d1"], "ddim"), (["d1", "d2", "d3"], "dpmpp_3m"), (["e1", "e2", "e3"], "lms_3")):
        other = SOLVERS[name] if name == "ddim" else SOLVERS[name](start="published")
        same = max(same, float(np.abs(trace(usf(choice), nodes).output - trace(other, nodes).output).max()))
    return [
        below("coefficients of three methods as choices, largest difference", same, 1e-9, kept=True),
        below("held out: the searched over the best that is alike at every step", held[best] / held[alike], 0.9),
        below("held out: the searched over the best of twelve random", held[best] / held[random], 1.0),
    ]


@cache
def _plans() -> list[tuple[str, ...]]:
    """A third of all choices for five steps, those of uniform order among them."""
    every = [("d1", b, c, d, e) for b in ("d1", "d2", "e2") for c in CHOICES for d in CHOICES[1:] for e in CHOICES[1:]]
    alike = [("d1", c if int(c[1]) < 3 else c[0] + "2", c, c, c) for c in CHOICES]
    return list(dict.fromkeys([*alike, *every[::6]]))


@claim(
    71,
    paper="AutoDiffusion (searched time steps)",
    reference="arXiv:2309.10438",
    statement="An evolutionary search for the subset of time steps reaches the best of all subsets at four steps out of twenty, and "
    "beats the uniform subset on states that it has not seen; the best subset differs between targets and between solvers.",
    control="the search keeps the worst",
)
def evolution(broken: bool) -> list[Row]:
    """Subsets of a table of 14 levels, DDIM: 220 of them, on two modes and on a Gaussian by its exact error."""
    table, cost, seen = _table(), _subset, _subset
    rng = np.random.default_rng(1)
    crowd = [tuple(sorted(rng.choice(np.arange(1, 13), 3, replace=False).tolist())) for _ in range(12)]
    for _ in range(14):
        crowd = sorted(set(crowd), key=seen, reverse=broken)[:6]
        children = []
        for parent in crowd:
            for _ in range(2):
                child = list(parent)
                child[int(rng.integers(3))] += int(rng.choice([-1, 1]))
                if len(set(child)) == 3 and min(child) > 0 and max(child) < 13:
                    children.append(tuple(sorted(child)))
        crowd += children
    found = (max if broken else min)(crowd, key=seen)
    least = min(combinations(range(1, 13), 3), key=seen)
    others = {}
    for name in ("ddim", "dpmpp_2m"):
        plans = {s: flow_rms(trace(SOLVERS[name], [table[i] for i in (0, *s, 13)]), [4.0, 0.04]) for s in combinations(range(1, 13), 3)}
        others[name] = min(plans, key=plans.__getitem__)
    return [
        near("error of the searched subset over the least of all 220", seen(found) / seen(least), 1.0, 0.02),
        below("held out: the searched over the uniform subset", cost(found, 7) / cost((3, 7, 10), 7), 0.95),
        above(
            "levels in which the best subset of two solvers differs",
            float(len(set(others["ddim"]) ^ set(others["dpmpp_2m"]))),
            1.0,
            kept=True,
        ),
        above("levels in which that of two targets differs", float(len(set(others["ddim"]) ^ set(least))), 1.0, kept=True),
    ]


@cache
def _table() -> list[Any]:
    return uniform_lam(VP(), 13, 0.95, 0.01)


@cache
def _subset(subset: tuple[int, ...], seed: int = 0) -> float:
    """The error of DDIM on these levels of the table, on two modes."""
    nodes = [_table()[i] for i in (0, *subset, 13)]
    x = modes().sample(24, seed, nodes[0])
    return rms(sample(SOLVERS["ddim"], modes().denoised, x, nodes, terminal="none") - modes().flow(x, nodes[0], nodes[-1]))


@claim(
    268,
    paper="Speed is all you need (on-device diffusion)",
    reference="arXiv:2304.11267",
    statement="A softmax taken block by block, with a running largest value and sum, gives the same weighted means for every size of "
    "block, in memory that the block bounds and not the number of components; without the running largest value it overflows.",
    control="the sum so far is not rescaled where the largest value grows",
)
def blockwise(broken: bool) -> list[Row]:
    """The exact denoiser of 3000 points at a low level, in blocks of 1 to 3000 components."""
    rng = np.random.default_rng(0)
    points, x, node = rng.standard_normal((3000, 4)), rng.standard_normal((40, 4)), VP().node(0.15)

    def denoised(block: int) -> tuple[np.ndarray, int]:
        top, mass, mean, most = np.full(40, -np.inf), np.zeros(40), np.zeros((40, 4)), 0
        for i in range(0, 3000, block):
            part = points[i : i + block]
            logs = -0.5 * ((x[:, None] - node.alpha * part[None]) ** 2).sum(2) / node.sigma**2
            new = np.maximum(top, logs.max(1))
            keep = np.ones(40) if broken else np.exp(top - new)
            w = np.exp(logs - new[:, None])
            mass, mean, top = keep * mass + w.sum(1), keep[:, None] * mean + w @ part, new
            most = max(most, logs.size)
        return mean / mass[:, None], most

    whole, memory = denoised(3000)
    gaps = [float(np.abs(denoised(b)[0] - whole).max()) for b in (50, 300, 1000)]
    return [
        below("largest difference over sizes of block", max(gaps), 1e-12),
        below("scores held at once in blocks of 50, of all", denoised(50)[1] / memory, 0.02, kept=True),
    ]
