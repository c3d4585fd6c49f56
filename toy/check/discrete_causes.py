r"""Which rule of a sampler of tokens is wrong: draws, times, and what becomes of uniform numbers at their ends.

Half-way, at t = ½, a token is still masked with probability ½ if the share of the linear process is kept. What single mistakes would leave
is known: a product of the probabilities to stay of each step, with another step's times, as a leap at frozen rates, or without the division
by 1 − α_s.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy.optimize import minimize_scalar

from scorebed.analytic.finite import TableLaw, total_variation
from scorebed.toy.check.discrete_report import DiscreteReport
from scorebed.toy.check.discrete_run import Candidate, Law
from scorebed.toy.check.finding import Finding, judged
from scorebed.toy.foreign.tokens import Edge, answered

_HALF, _STEPS = 0.5, 4


def marginals(table: np.ndarray) -> list[np.ndarray]:
    """The laws of single tokens."""
    return [table.sum(tuple(j for j in range(table.ndim) if j != i)) for i in range(table.ndim)]


def bad_draw(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> str:
    """What makes the laws of one token what they are found to be (found, right): the nearest of a few mistakes."""

    def tempered(p: np.ndarray, b: float) -> np.ndarray:
        return np.asarray(p**b / (p**b).sum())

    def short(p: np.ndarray, share: float) -> np.ndarray:
        return np.asarray([*(share * p[:-1]), 1.0 - share * p[:-1].sum()])

    def best(make: Callable[[np.ndarray, float], np.ndarray], high: float) -> tuple[float, float]:
        def off(b: float) -> float:
            return sum(total_variation(make(p, b), found) for found, p in pairs)

        b = float(minimize_scalar(off, bounds=(0.0, high), method="bounded", options={"xatol": 1e-7}).x)
        return off(b), b

    (heat, power), (loss, share) = best(tempered, 5.0), best(short, 1.0)
    near = {
        f"a temperature of {1.0 / max(power, 1e-3):.3g} in the draw": heat,
        f"weights that are not divided by their sum: the last value gets what is missing, {1.0 - share:.2g}": loss,
        "the most likely value is taken, and nothing drawn": best(lambda p, b: np.eye(len(p))[p.argmax()], 1.0)[0],
    }
    return min(near, key=lambda name: near[name])


def stays(times: Sequence[float], late: int = 0) -> list[float]:
    """The probability to stay masked in each step of a linear share, computed with the times of ``late`` steps further on."""
    n = len(times) - 1
    at = [min(max(i + late, 0), n) for i in range(n + 1)]
    out = []
    for i in range(n):
        s, t = times[at[i]], times[at[i + 1]]
        if at[i] == at[i + 1]:
            s, t = times[at[i]], times[at[i]] - (times[i] - times[i + 1])
        out.append(max(t / s, 0.0) if s > 0.0 else 0.0)
    return out


def half_way(made: Candidate, law: TableLaw, times_of: Callable[..., list[float]], start: np.ndarray, report: DiscreteReport) -> Finding:
    """How many tokens are masked at t = ½, and what would explain another number."""
    times = times_of(law, _STEPS, _HALF)
    found = made.law(law, times, start)
    size, h = law.process.size, (times[0] - _HALF) / _STEPS
    masked = float(np.mean([m[size] for m in marginals(found.table)]))
    noise = 1e-6 + (5.0 * math.sqrt(0.25 / (made.samples * law.d)) if found.noise else 0.0)
    tried = f"{_STEPS} steps to t = ½"
    if abs(masked - _HALF) < noise:
        return Finding("masked half-way", "pass", tried, f"{masked:.4f} of the tokens", "0.5")
    way = None
    if masked < noise and not made.ours:  # it shows everything at the end of whatever times it is given: look on the way

        def way(n: int) -> Law:
            return made.on_the_way(law, times_of(law, 2 * n), start, n)

        found, tried = way(_STEPS), f"{2 * _STEPS} steps, what the model is asked about at t = ½"
        masked = float(np.mean([m[size] for m in marginals(found.table)]))
        noise = 5.0 * found.noise
        if abs(masked - _HALF) < noise:
            return Finding("masked half-way", "pass", tried, f"{masked:.4f} of the tokens", "0.5")
    wrong = {
        "the times of a step are those of the next one: off by one": math.prod(stays(times, 1)),
        "the times of a step are those of the one before: off by one": math.prod(stays(times, -1)),
        "the rate at the end of the step is used for its beginning": math.prod(1.0 - h / t for t in times[1:]),
        "the probability to show a token is not divided by 1 − α: a forgotten renormalisation": (1.0 - h) ** _STEPS,
    }
    right = {"a leap at frozen rates, e^{−hr}": math.prod(math.exp(-h / s) for s in times[:-1])}
    for name, value in right.items():
        if abs(masked - value) < noise:
            return Finding("masked half-way", "note", tried, f"{masked:.4f} of the tokens: {name}", "0.5", "right as h → 0")
    name = next((k for k, value in wrong.items() if abs(masked - value) < noise), "")
    finer = made.law(law, times_of(law, 4 * _STEPS, _HALF), start) if way is None else way(4 * _STEPS)
    limit = float(np.mean([m[size] for m in marginals(finer.table)]))
    vanishes = abs(limit - _HALF) < 0.4 * abs(masked - _HALF) + noise
    said = f"{masked:.4f} of the tokens, {limit:.4f} in {4 * _STEPS} steps"
    if not name and vanishes:
        return Finding("masked half-way", "note", tried, said, "0.5", "right as h → 0")
    if not name:
        counts = np.sum(np.stack(np.nonzero(found.table > noise / 50.0)) == size, 0)
        if len(set(counts.tolist())) == 1:
            return Finding("masked half-way", "note", tried, said, "0.5", f"it shows a fixed number of tokens: {counts[0]} are masked")
        name = "the share of masked tokens is not kept"
        if report.changes:
            name = "the remasking rate is not made up for: tokens are masked again, and no more are shown for it"
        report.causes.append(name)
    else:
        report.causes.insert(0, name)
    return Finding("masked half-way", "fail", tried, said, "0.5", name)


def edges(made: Candidate, law: TableLaw, times_of: Callable[..., list[float]], start: np.ndarray, report: DiscreteReport) -> None:
    """What happens at the ends of the uniform numbers, and whether a rare value can be drawn at all."""
    asked = sorted(kind for kind in made.kinds if kind.startswith("uniform"))
    if made.ours or not asked:
        return
    narrow = [kind for kind in asked if np.dtype(kind.split()[1]).itemsize <= 4]
    size = law.process.size
    rare, never = 1e-9, 0.0
    faults = []
    for top in (True, False):
        for chance, what in ((rare, "rare"), (never, "impossible")):
            p = np.full(size, (1.0 - chance) / (size - 1))
            p[0] = chance
            alone = TableLaw(p, law.process)
            x = np.full((1, 1), size) if law.process.absorbing else np.zeros((1, 1), dtype=np.int64)
            try:
                with answered(Edge(0, top)) as source:
                    value = int(made.run(alone, x, times_of(alone, 1), source)[0, 0])
            except Exception as raised:
                faults.append(f"u {'next to 1' if top else '= 0'}: {type(raised).__name__}: {raised}")
                continue
            if what == "impossible" and value == 0:
                faults.append(f"a value of probability 0 is drawn at u {'next to 1' if top else '= 0'}")
            if value == size and law.process.absorbing:
                faults.append(f"the mask is left at u {'next to 1' if top else '= 0'}")
            if what == "rare" and top and narrow and value != 0:
                faults.append("uniform numbers are float32 Gumbel noise: a value of probability 1e-9 is never drawn")
    kept = not faults and not narrow
    said = "; ".join(dict.fromkeys(faults)) or (f"asks for {', '.join(asked)}")
    if narrow and not faults:
        said += ": 2^24 values, what is rarer than 6e-8 is not drawn as often as it should"
    if not kept:
        names = [f for f in faults if "Gumbel" in f or "probability 0" in f]
        report.causes += names or (["uniform numbers of float32: draw in float64"] if narrow else faults[:1])
    detail = "draw uniform numbers in float64, choose by their inverse cumulative sum, and keep -inf logits out of the noise"
    report.findings.append(judged(kept, "uniform numbers", "one token, u at its ends", said, "float64, nothing impossible", detail))
