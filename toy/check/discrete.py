r"""``check_discrete``: does a sampler of tokens have the law that its model says, and which step or rule loses it?

    def mine(logits, state, times):   # logits(state, t) = log p(x0^i = k | state), (B, L, S); state (B, L), all masks; times 1 … 0
        for s, t in zip(times[:-1], times[1:]):
            p = softmax(logits(state, s))
            shown = (state == mask) & (rng.random(state.shape) < (s - t) / s)
            ...
        return state
    print(check_discrete(mine))

The model is the exact one of a joint table of three bits, with α_t = 1 − t and the mask 2, so that the law of the output is a vector. What
is lost is told apart: by single draws (one token alone), by drawing several tokens at once (one step must lose exactly the total
correlation), by time (how many tokens are masked half-way), and by the number of steps (the order in total variation).
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from scorebed.analytic.finite import TableLaw, kl, total_correlation, total_variation
from scorebed.solvers import SOLVERS, Solver
from scorebed.solvers.process.jump import JumpProcess
from scorebed.toy.check.discrete_causes import bad_draw, edges, half_way, marginals
from scorebed.toy.check.discrete_report import DiscreteReport
from scorebed.toy.check.discrete_run import Candidate, Law
from scorebed.toy.check.finding import Finding, judged
from scorebed.toy.measure.convergence import order_of
from scorebed.toy.problems.jump import random_table

EXACT = 1e-6
"""Total variation that is round-off, where probabilities may be float32."""
_NOISE = 3.0  # times the mean noise of sampling


def check_discrete(
    sampler: Any,
    *,
    law: TableLaw | None = None,
    order: float = 1.0,
    steps: Sequence[int] = (2, 4, 8, 16),
    samples: int = 40_000,
    library: str = "numpy",
    mask_logit: float | None = None,
    name: str | None = None,
    seed: int = 0,
) -> DiscreteReport:
    """Check a sampler of tokens against the exact law of a joint table.

    Args:
        sampler: a function of (logits, state, times) that returns the final states, ``logits(state, t)`` being the model; or one step, a
            function of (logits, state, (s, t)) that never calls its logits but takes them as an array. Either may have a fourth argument
            ``draw``, which gives one value for each row of p, ``draw(p)``. Or a method of ``SOLVERS`` of kind "jump", or its name.
        law: the table and its process; None is three dependent bits under a mask.
        order: the order in total variation that is claimed; a sampler that is exact has every order.
        steps: numbers of steps.
        samples: runs that are counted, where a sampler asks for uniform numbers and its law cannot be followed.
        library: "numpy", or "torch" for a sampler of tensors.
        mask_logit: None gives logits of the S values; a number, S + 1 of them with this one for the mask, as a network may have: a sampler
            must leave it out.
        seed: of what is counted.

    Returns:
        the DiscreteReport, with what was found and whether it passes.

    Raises:
        TypeError: not callable.
        ValueError: an unknown name, a method of another kind, steps or samples out of range.
    """
    place = law or TableLaw(random_table(2, 3, 1), JumpProcess(2))
    made, called = _candidate(sampler, library, samples, seed)
    if len(steps) < 2 or min(steps) < 1 or samples < 1000:
        raise ValueError(f"steps = {tuple(steps)}, samples = {samples}: give at least two numbers of steps and 1000 samples")
    problem = f"{place.process.size}^{place.d}, {getattr(place.process, 'kernel', type(place.process).__name__)}"
    if mask_logit is not None and not place.process.absorbing:
        raise ValueError(f"mask_logit = {mask_logit!r}, but the process has no mask: leave it None")
    made.mask_logit = None if mask_logit is None else float(mask_logit)
    report = DiscreteReport(name or called, f"tokens, {problem}", problem=problem)
    began = time.perf_counter()
    if _runs(made, place, report):
        _measure(made, place, sorted(set(steps)), order, report)
    report.settle()
    report.seconds = time.perf_counter() - began
    return report


def _candidate(sampler: Any, library: str, samples: int, seed: int) -> tuple[Candidate, str]:
    if isinstance(sampler, str):
        sampler = SOLVERS[sampler]
    if isinstance(sampler, Solver):
        if "jump" not in sampler.on:
            raise ValueError(f"{sampler.name} is made for {'/'.join(sampler.on)} processes: give a method on tokens, of kind 'jump'")
        return Candidate(sampler), sampler.name
    if not callable(sampler):
        raise TypeError(f"sampler = {sampler!r} is not callable: give a function of (logits, state, times)")
    if library not in ("numpy", "torch"):
        raise ValueError(f"library = {library!r} is not known: give 'numpy' or 'torch'")
    return Candidate(sampler, library, samples, seed), getattr(sampler, "__name__", type(sampler).__name__)


def start_of(law: TableLaw) -> np.ndarray:
    """The law at the noisy end: all masks, or p_t at t_max."""
    return law.marginal(law.process.node(law.process.t_max))


def times_of(law: TableLaw, n: int, end: float = 0.0) -> list[float]:
    """n equal steps from t_max."""
    first = law.process.t_max
    return [first + (end - first) * i / n for i in range(n)] + [end]


def _at_zero(law: TableLaw) -> np.ndarray:
    return law.marginal(law.process.node(0.0))


def _runs(made: Candidate, law: TableLaw, report: DiscreteReport) -> bool:
    """Whether it runs and gives back states."""
    try:
        made.look(law, times_of(law, 2), start_of(law))
        exact = made.law(law, times_of(law, 2), start_of(law)).noise == 0.0
    except Exception as raised:
        detail = "called as (logits, state, times), times from 1 down to 0; logits(state, t) gives (B, L, S)"
        report.findings.append(Finding("runs", "fail", "2 steps", f"{type(raised).__name__}: {raised}", "states", detail))
        return False
    how = "followed exactly" if exact else f"counted over {made.samples} runs, for it does more with uniform numbers than compare them"
    report.findings.append(Finding("runs", "pass", "2 steps", f"states; its law is {how}"))
    report.exact = exact
    return True


def _measure(made: Candidate, law: TableLaw, steps: list[int], order: float, report: DiscreteReport) -> None:
    truth, start = _at_zero(law), start_of(law)
    laws = {n: made.law(law, times_of(law, n), start) for n in steps}
    finest = laws[steps[-1]]
    report.steps, report.errors = tuple(steps), tuple(laws[n].off(truth) for n in steps)
    report.noise = max(one.noise for one in laws.values())
    if law.process.absorbing:
        report.findings.append(_masks_left(law, finest, steps[-1]))
        try:
            _one_token(made, law, report)
        except Exception as raised:
            said = f"{type(raised).__name__}: {raised}"
            report.findings.append(Finding("single draws", "skip", "one token alone", said, "", "it does not run on a single token"))
        _one_step(made, law, report)
        _finished(made, law, report)
        if getattr(law.process, "share", "") == "linear":
            report.findings.append(half_way(made, law, times_of, start, report))
    edges(made, law, times_of, start, report)
    report.findings.append(_order(report, order))


def _bound(noise: float) -> float:
    return EXACT + _NOISE * noise


def _masks_left(law: TableLaw, found: Law, n: int) -> Finding:
    """The probability that a mask is among the output."""
    mask = law.process.size
    left = float(found.table.sum() - found.table[(slice(0, mask),) * law.d].sum())
    kept = left < _bound(found.noise)
    detail = "tokens are still masked at t = 0: show what is left in the last step, and never draw the mask as a value"
    return judged(kept, "masks left", f"{n} steps", f"{left:.2g} of the outputs", "none", detail)


def _one_token(made: Candidate, law: TableLaw, report: DiscreteReport) -> None:
    """One token alone: what is not masked must have the law of the data, in any number of steps."""
    size, pairs, kept, said = law.process.size, [], True, []
    for first in (0.1, 0.7):
        alone = TableLaw(np.array([first, *np.full(size - 1, (1.0 - first) / (size - 1))]), law.process)
        found = made.law(alone, times_of(alone, 4), start_of(alone))
        shown = found.table[:size] / max(found.table[:size].sum(), 1e-300)
        off = total_variation(shown, alone.table)
        kept = kept and off < _bound(found.noise)
        said.append(f"{shown[0]:.4f} for {first}")
        pairs.append((shown, alone.table))
    if not kept:
        report.causes.append(bad_draw(pairs))
    tried = "one token, 4 steps, the first value where one is shown"
    report.findings.append(judged(kept, "single draws", tried, ", ".join(said), "", "the draw itself is wrong"))


def _one_step(made: Candidate, law: TableLaw, report: DiscreteReport) -> None:
    """One step for all tokens loses the total correlation, and nothing else."""
    truth, found = law.table, made.law(law, times_of(law, 1), start_of(law))
    size = law.process.size
    table = found.table[(slice(0, size),) * law.d]
    shown = table / max(table.sum(), 1e-300)
    expected, lost = total_correlation(truth), kl(truth, shown)
    off = max(total_variation(a, b) for a, b in zip(marginals(shown), marginals(truth), strict=True))
    report.total_correlation = expected
    said = f"KL {lost:.4f} nats, total correlation {expected:.4f}; marginals off by {off:.2g}"
    kept = off < _bound(found.noise) and lost < expected + 1e-6 + 20.0 * found.noise
    detail = "more is lost than drawing the tokens at once costs"
    report.findings.append(judged(kept, "one step", "all tokens at once", said, "KL = total correlation at most", detail, "note"))


def _finished(made: Candidate, law: TableLaw, report: DiscreteReport) -> None:
    """Tokens that are known at the start are still there in the end."""
    process = law.process
    at = process.at(1.0 - 1.0 / law.d).t if law.d > 1 else 0.5
    prompt = np.full(law.d, process.size)
    prompt[0] = int(law.table.sum(tuple(range(1, law.d))).argmin())
    start = np.zeros((process.alphabet,) * law.d)
    start[tuple(prompt)] = 1.0
    times = [at * (1.0 - i / 4) for i in range(4)] + [0.0]
    found = made.law(law, times, start)
    changed = 1.0 - float(found.table[prompt[0]].sum())
    kept = changed < _bound(found.noise)
    report.changes = not kept
    said = f"{changed:.2g} of the outputs have another first token"
    detail = "finished tokens are drawn again or masked again: right for a remasking sampler alone"
    report.findings.append(judged(kept, "finished tokens", f"4 steps from {prompt.tolist()}", said, "none", detail, "note"))


def _order(report: DiscreteReport, order: float) -> Finding:
    """The order in total variation."""
    errors = ", ".join(f"{e:.2g}" for e in report.errors)
    tried = f"total variation at {', '.join(map(str, report.steps))} steps"
    floor = _bound(report.noise)
    if max(report.errors) < floor:
        return Finding("order", "pass", tried, f"{errors}: exact", "")
    usable = [(n, e) for n, e in zip(report.steps, report.errors, strict=True) if e > floor]
    if report.errors[-1] < floor and len(usable) < 2:
        return Finding("order", "pass", tried, f"{errors}: below the noise of counting, {floor:.2g}", "")
    n, e = zip(*usable[-2 if report.exact else -3 :], strict=True)
    slope = order_of(n, e).slope if len(usable) > 1 else math.nan
    report.order = slope
    kept = slope >= order - 0.25 or (report.errors[-1] < floor and report.errors[0] > floor)
    detail = "the error does not fall with the steps: a rule that is wrong in every step, or an order that looks at what was drawn"
    return judged(kept, "order", tried, f"{errors}: order {slope:.2f}", f"{order:g}", detail if slope < 0.5 else "")
