r"""``check_cache``: is a cached sampler the one that it claims to be, and does it cost what it must?

A method with cached evaluations is a Plan, so on a Gaussian its error is known before it is run, and on any target its states are those of
the Plan to round-off. Where they are not, it is held against the mistakes that are made: a value one evaluation too old, weights of equal
steps on steps that are not, the wrong prediction held, another phase, fewer values than claimed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from scorebed.analytic import GaussianMixture
from scorebed.analytic.output.error import flow_rms
from scorebed.solvers import PREDICTIONS, SOLVERS, Node, NonFinite, Solver, sample, trace
from scorebed.solvers.reuse import cached, reuse
from scorebed.toy.check.finding import Finding, judged
from scorebed.toy.check.findings import Findings
from scorebed.toy.measure.convergence import order_of, rms
from scorebed.toy.properties.cases import cases, modes

Candidate = Callable[[Any, np.ndarray, Sequence[Node]], np.ndarray]
"""(denoise, x, nodes) -> the state at the last node."""
_SAME, _COUNTS = 1e-7, (16, 32, 64, 128)


def check_cache(
    candidate: Candidate | Solver,
    solver: str | Solver = "ddim",
    *,
    every: int = 2,
    order: int = 1,
    by: Any = "lam",
    what: str = "denoised",
    shape: Any = "polynomial",
    steps: int = 12,
    name: str | None = None,
) -> Findings:
    """Hold a cached sampler against the Plan that it claims to be.

    Args:
        candidate: somebody's sampler, (denoise, x, nodes) -> the state at the last node, NumPy; or a ``Solver``.
        solver: the method whose evaluations are cached, or its name.
        every: it makes the first ``order`` evaluations and every so-manieth after them.
        order, by, what, shape: what stands for a skipped evaluation, as in ``solvers.reuse.Cache``.
        steps: of the grid on which states are compared; its steps are unequal.
        name: for the report.

    Returns:
        ``Findings``: ``evaluations``, ``states`` (the same as the Plan's), ``error on a Gaussian`` (predicted and measured) and ``order``;
        ``cause`` is "stale by one", "wrong spacing", "other prediction held", "other phase", "fewer values" or "taylor" where that is what
        it does.

    Raises:
        TypeError: a candidate that cannot be called.
        ValueError: options that no cache has, or a solver that is not known.
    """
    base = SOLVERS[solver] if isinstance(solver, str) else solver
    right = cached(base, every, order=order, by=by, what=what, shape=shape)
    if not isinstance(candidate, Solver) and not callable(candidate):
        raise TypeError(f"candidate = {candidate!r}: give a Solver, or a function of (denoise, x, nodes)")
    run = _runner(candidate)
    title = str(name or getattr(candidate, "name", None) or getattr(candidate, "__name__", "candidate"))
    out = Findings(title, "cache")
    case = cases()[0]
    target, nodes, x = modes(), case.nodes(steps), case.states(case.nodes(2)[0])
    plan, count = trace(right, nodes), [0]

    def counted(y: np.ndarray, node: Node) -> np.ndarray:
        count[0] += 1
        return np.asarray(target.denoised(y, node))

    try:
        found = run(counted, x, nodes)
    except (NonFinite, ValueError, ZeroDivisionError) as failed:
        out.findings.append(Finding("states", "fail", f"{steps} steps", f"{type(failed).__name__}: {failed}", "finite states"))
        return out
    out.findings.append(judged(count[0] == plan.nfe, "evaluations", f"{steps} steps of {base.name}", str(count[0]), str(plan.nfe)))
    expected = np.asarray(plan.run(target.denoised, x))
    gap = rms(found - expected) / rms(expected)
    same = gap <= _SAME
    cause = None if same else _cause(base, nodes, x, found, every=every, order=order, by=by, what=what, shape=shape)
    detail = "it is none of the known mistakes" if cause is None else f"it does what this mistake gives: {cause}"
    out.findings.append(judged(same, "states", "against the Plan, relative RMS", f"{gap:.2e}", f"at most {_SAME:g}", detail))
    if cause is not None:
        out.causes.append(cause)
    out.findings.append(_on_a_gaussian(run, right, steps))
    out.findings.append(_order(run, right.order, case, target))
    return out


def _runner(candidate: Candidate | Solver) -> Candidate:
    if isinstance(candidate, Solver):
        made = candidate
        return lambda denoise, x, nodes: np.asarray(sample(made, denoise, x, nodes, terminal="none"))
    called = candidate
    return lambda denoise, x, nodes: np.asarray(called(denoise, x, nodes))


def _cause(
    base: Solver, nodes: Sequence[Node], x: np.ndarray, found: np.ndarray, *, every: int, order: int, by: Any, what: str, shape: Any
) -> str | None:
    """The mistake that gives these states, or None."""
    how: dict[str, Any] = {"order": order, "by": by, "what": what, "shape": shape}
    plan = trace(base, nodes)

    def periodic(phase: int, first: int) -> list[bool]:
        return [i < first or (i - first + 1 + phase) % every == 0 for i in range(plan.nfe)]

    tried: list[tuple[str, Any]] = [("stale by one", (periodic(0, order), {**how, "lag": 1}))]
    tried += [("stale by one", (periodic(0, order + 1), {**how, "lag": 1}))]
    tried += [("wrong spacing", (periodic(0, order), {**how, "by": other})) for other in ("index", "t", "rho", "lam") if other != by]
    tried += [("other prediction held", (periodic(0, order), {**how, "what": w})) for w in PREDICTIONS if w != what]
    tried += [("other phase", (periodic(p, first), how)) for first in (1, order) for p in range(every) if (p, first) != (0, order)]
    tried += [("fewer values", (periodic(0, first), {**how, "order": k})) for k in range(1, order) for first in (k, order)]
    if order > 2:
        other = "taylor" if shape == "polynomial" else "polynomial"
        tried.append((other, (periodic(0, order), {**how, "shape": other})))
    denoise = modes().denoised
    for label, (keep, options) in tried:
        if rms(np.asarray(reuse(plan, keep, **options).run(denoise, x)) - found) <= _SAME * rms(found):
            return label
    return None


def _on_a_gaussian(run: Candidate, right: Solver, steps: int) -> Finding:
    """The RMS error on N(0, diag(4, 1, .04)): the closed form of the Plan against a run of the candidate."""
    variances = np.array([4.0, 1.0, 0.04])
    law = GaussianMixture(np.ones(1), np.zeros((1, 3)), variances[None])
    nodes = cases()[0].nodes(steps)
    s, t = nodes[0], nodes[-1]
    predicted = flow_rms(trace(right, nodes), variances)
    x = np.sqrt(s.alpha**2 * variances + s.sigma**2) * np.concatenate([np.eye(3), -np.eye(3)]) * np.sqrt(3.0)  # covariance exactly right
    exact = np.sqrt((t.alpha**2 * variances + t.sigma**2) / (s.alpha**2 * variances + s.sigma**2)) * x
    measured = rms(run(law.denoised, x, nodes) - exact)
    kept = abs(measured / predicted - 1.0) < 1e-6
    return judged(kept, "error on a Gaussian", "RMS against the exact flow", f"{measured:.6g}", f"{predicted:.6g}")


def _order(run: Candidate, claim: int, case: Any, target: Any) -> Finding:
    errors = []
    for n in _COUNTS:
        nodes = case.nodes(n)
        x = case.states(nodes[0])
        errors.append(rms(run(target.denoised, x, nodes) - target.flow(x, nodes[0], nodes[-1])))
    slope = order_of(_COUNTS, errors, 1e-13).slope
    tried = f"{_COUNTS[0]} to {_COUNTS[-1]} unequal steps"
    return judged(slope >= claim - 0.35, "order", tried, f"{slope:.2f}", f"{claim}", "the error falls more slowly than the claim")
