r"""``check_rollout``: is a stochastic sampler fit for reinforcement learning? Law kept, log-probabilities right, replay to the bit.

    def mine(model, x, nodes, noise): ...        # model(x, node) = E[x0 | x]; noise(s, t) = unit normals of the interval
        return states, log_probs                 # x at every node, log p(x_t | x_s) of every step, (N, n)
    print(check_rollout(mine))

A step ``(model, x, s, t, …) -> (x_t, log_prob)`` does too. Where the draws come from is told by the name of a parameter: ``noise``,
``seeds`` (one for each sample), ``seed``, ``rng`` or ``generator``. Nothing is estimated that can be read: see ``rollout_causes``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from scorebed.solvers import PREDICTIONS, RectifiedFlow, Schedule, Solver
from scorebed.toy.check.finding import Finding, judged
from scorebed.toy.check.findings import Findings
from scorebed.toy.check.rollout_candidate import Floats, Roller, Rollout
from scorebed.toy.check.rollout_causes import RIGHT, WRONG, limit, log_causes, nearest, wrong_end
from scorebed.toy.check.rollout_read import D, NotRead, Seen, grids, read, start


def check_rollout(
    sampler: Any,
    *,
    schedule: Schedule | None = None,
    prediction: str = "denoised",
    library: str = "numpy",
    steps: int = 20,
    by_sample: bool = False,
    name: str | None = None,
) -> Findings:
    """Check a stochastic sampler with log-probabilities.

    Args:
        sampler: a stochastic ``Solver`` or its name; (model, x, nodes, …) -> states or (states, log_probs); or a step
            (model, x, s, t, …) -> x_t or (x_t, log_prob).
        schedule: what the nodes lie on; the straight flow by default, whose t is sigma.
        prediction: what ``model`` shall predict: "denoised", "flow" (the velocity eps − x0), "eps", "score", "v".
        library: "numpy", or "torch" for float64 tensors.
        steps: N; it runs with N and 4 N steps.
        by_sample: whether a sampler has to take noise or seeds of each sample; else one stream for the batch is noted only.
        name: what the report calls it.

    Returns:
        ``Findings``; ``causes`` names the faults: "sign of dt", "missing drift", "std for variance", "sigma at the wrong end", "generator
        ignored", "mean over the entries for their sum", "2π left out of the log-probability", ….

    Raises:
        TypeError: not callable.
        ValueError: a method that draws nothing, an unknown prediction or library, too few steps.
    """
    for key, value, known in (("prediction", prediction, PREDICTIONS), ("library", library, ("numpy", "torch"))):
        if value not in known:
            raise ValueError(f"{key} = {value!r} is not known: give one of {', '.join(known)}")
    if steps < 10:
        raise ValueError(f"steps = {steps!r}: give at least 10, from which small steps can be told")
    roller = Roller(sampler, prediction, library)
    result = Findings(name or str(roller.name), "roll-out")
    place = schedule or RectifiedFlow()
    nodes, finer = grids(place, steps)
    with np.errstate(all="ignore"):
        if not _runs(roller, nodes, result):
            return result
        replayed = _replay(roller, nodes, by_sample, result)
        try:
            coarse, fine = (read(roller, g, replayed) for g in (nodes, finer))
        except NotRead as problem:
            result.findings.append(Finding("step", "skip", f"{steps} steps", str(problem), "one evaluation, at the state of the step"))
            return result
        _judge_nodes(coarse, result)
        _judge_law(coarse, fine, result)
        _judge_log(coarse, isinstance(roller.sampler, Solver), result)
    result.causes = list(dict.fromkeys(result.causes))
    return result


def _smooth(x: Floats, node: Any) -> Floats:
    """E[x0 | x] of two points, each entry by itself."""
    return np.tanh(node.alpha * x / node.sigma**2)


def _runs(roller: Roller, nodes: Sequence[Any], result: Findings) -> bool:
    try:
        out = roller.run(_smooth, start(8, 1), nodes, 3)
    except Exception as problem:
        said = f"{type(problem).__name__}: {problem}"
        result.findings.append(Finding("runs", "fail", f"{len(nodes) - 1} steps, 8 samples", said, "states and log-probabilities"))
        result.causes.append("it raised")
        return False
    good = bool(np.isfinite(out.states).all()) and (out.log_probs is None or bool(np.isfinite(out.log_probs).all()))
    said = "finite" if good else "nan or inf"
    result.findings.append(judged(good, "runs", f"{len(nodes) - 1} steps, 8 samples", said, "finite", "it diverges on this grid"))
    if not good:
        result.causes.append("not finite")
    return good


def _same(a: Rollout, b: Rollout) -> bool:
    logs = (a.log_probs is None and b.log_probs is None) or np.array_equal(a.log_probs, b.log_probs)  # type: ignore[arg-type]
    return np.array_equal(a.states, b.states) and logs


def _replay(roller: Roller, nodes: Sequence[Any], by_sample: bool, result: Findings) -> bool:
    """Same seed, same bits; another seed, others; and each sample the same in every batch."""
    x = start(6, 2)
    first, again, other = (roller.run(_smooth, x, nodes, seed) for seed in (5, 5, 6))
    kept, moved = _same(first, again), not np.array_equal(first.states, other.states)
    words = "the same seed twice, and another"
    said = f"{'same' if kept else 'different'} bits, {'others' if moved else 'the same'} with another seed"
    result.findings.append(judged(kept and moved, "replay", words, said, "same bits, others", "the draws do not come from the seed"))
    if not (kept and moved):
        result.causes.append("generator ignored")
    seeds = list(range(11, 17))
    if not roller.by_sample:
        kind = "fail" if by_sample and kept else "note"
        words = "samples drawn from one stream: with another batch, order or split they are others"
        result.findings.append(Finding("batch", kind, "parameters of the sampler", "no seeds or noise by sample", "seeds, or noise", words))
        if kind == "fail" and not result.causes:
            result.causes.append("draws by batch, not by sample")
        return kept
    whole = roller.run(_smooth, x, nodes, seeds)
    worst = True
    for rows in ([0, 1, 2], [3, 4, 5], [5, 2, 0], [4]):
        part = roller.run(_smooth, x[rows], nodes, [seeds[i] for i in rows])
        taken = Rollout(whole.states[:, rows], None if whole.log_probs is None else whole.log_probs[:, rows])
        worst = worst and _same(part, taken)
    detail = "a sample depends on its batch: the draws, a statistic of the batch, or a matrix product of another shape"
    result.findings.append(
        judged(worst, "batch", "halves, another order, one alone", "same bits" if worst else "other", "same bits", detail)
    )
    if not worst and kept:
        result.causes.append("depends on the batch")
    return kept


def _judge_nodes(seen: Seen, result: Findings) -> None:
    kept = not seen.elsewhere
    said = (
        "at the node of the state" if kept else "at λ = {:.3g} with a state of λ = {:.3g}".format(*(n.lam for n in seen.elsewhere[0][::-1]))
    )
    result.findings.append(
        judged(kept, "model", "where the model is asked", said, "at the node of the state", "the step gives it another time")
    )
    if not kept:
        result.causes.append("model asked at the wrong node")


def _judge_law(coarse: Seen, fine: Seen, result: Findings) -> None:
    few, many = coarse.steps, fine.steps[::4]
    still = np.array([b.rate / a.rate if a.rate else 1.0 for a, b in zip(few, many, strict=True)])
    growth = float(np.median(still))
    words = f"{len(few)} and {4 * len(few)} steps"
    drawn = all(k.std > 0.0 for k in few)
    shrinks = drawn and 0.5 < growth < 2.0
    detail = "noise of a step goes with sqrt(dt): its variance, and not its std, is proportional to the step"
    said = f"new noise per unit of λ changes by {growth:.2f}" if drawn else "no noise in some step"
    result.findings.append(judged(shrinks, "noise", words, said, "1.00", detail))
    off = limit(few, many)
    rate = np.array([k.rate for k in few])
    allowed = 0.04 + 0.05 * float(np.median(rate))
    worst = float(np.abs(np.median(off, axis=0)).max())
    first, last = float(np.abs(off[0]).max()), float(np.abs(off[-1]).max())
    kept = worst < allowed and max(first, last) < 3.0 * allowed
    said = f"off by {worst:.3g} per unit of λ; {first:.2g} at the first and {last:.2g} at the last step"
    wanted = f"< {allowed:.2g}"
    detail = "the drift does not belong to the noise: the law of small steps is another one"
    result.findings.append(judged(kept, "law", f"{words}, limit of small steps", said, wanted, detail))
    close = nearest(few, RIGHT)[0][1]
    wrong = nearest(few, WRONG)
    ends = wrong_end(few) or (wrong[0][0] == "sigma at the wrong end" and wrong[0][1] < min(0.05, 0.3 * close))
    result.findings.append(
        judged(
            not ends, "ends", "noise and drift at both ends of a step", "of the other end" if ends else "of its own end", "", "see causes"
        )
    )
    if ends:
        result.causes.append("sigma at the wrong end")
    elif not shrinks:
        thinner = growth < 0.5
        result.causes.append("dt for sqrt(dt) in the noise" if thinner else "noise does not shrink with the step")
    if not kept and not ends:
        named = wrong[0][0] if wrong[0][1] < min(0.25, 0.6 * close) else "unknown"
        result.causes.append({"noise beside a whole DDIM step": "missing drift"}.get(named, named))


def _judge_log(seen: Seen, ours: bool, result: Findings) -> None:
    words = f"{len(seen.steps)} steps, {len(seen.squares[0])} samples"
    if seen.logs is None:
        result.findings.append(Finding("log-probability", "skip", words, "not returned", "log p of every step"))
        return
    slopes, constants, rest = [], [], 0.0
    for square, log in zip(seen.squares, seen.logs, strict=True):
        rows = np.stack([-0.5 * square, np.ones_like(square)], 1)
        (slope, constant), *_ = np.linalg.lstsq(rows, log, rcond=None)
        slopes.append(slope)
        constants.append(constant)
        rest = max(rest, float(np.std(log - rows @ (slope, constant)) / max(1e-12, np.std(log))))
    slope, constant, scale = np.array(slopes), np.array(constants), np.array(seen.scale)
    std = np.array([k.std for k in seen.steps]) * scale
    whole = -D * np.log(std * np.sqrt(2.0 * np.pi))
    factor, gap = float(np.abs(slope - 1.0).max()), float(np.abs(constant - whole).max())
    within = max(0.06, 4.5 * float(np.sqrt(2.0 / seen.squares[0].size / D)))  # what a measured std may be off by
    kept = rest < 0.02 and factor < within and gap < within * D
    said = f"the square {factor:.2g} off, the constant {gap:.2g} nats, {rest:.1g} unexplained"
    detail = "it is not the density of the step that was made"
    result.findings.append(judged(kept, "log-probability", words, said, f"{within:.2f}, {within * D:.2f}, 0.02", detail))
    if not kept:
        result.causes.append("log-probability about another mean" if rest >= 0.02 else log_causes(seen.steps, slope, constant, scale, D))
