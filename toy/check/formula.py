r"""Which part of a step's formula is wrong: the linear response of one small step, read off the candidate from outside.

If D depends on the node alone, one step from s to t of length h in lam is x_t = a x_s + b D_s + c D' + …, and for the deterministic flow
(kappa = 1) and for reverse SDEs with a noise tau² = kappa - 1 alike the exact coefficients are

    a = (sigma_t/sigma_s) e^{-(kappa - 1) h},   D = 1:        alpha_t (1 - e^{-kappa h}),
                                                D = λ - λ_s:  alpha_t (h - (1 - e^{-kappa h})/kappa),

and alpha_t (h² - 2h/kappa + 2 (1 - e^{-kappa h})/kappa²) for D = (λ - λ_s)². The ratio of what the candidate does to these names the
part, and its value (-1, 1/2, 2, sigma_s/sigma_t, …) the mistake. Stages are held against the same formulas at their own nodes. Runs on n
and n - 1 steps of one grid give the state before and after the last step, so that multistep methods are in their stride.

Of a stochastic method the higher terms are those of a reverse SDE whose noise is constant over the step; a method that takes noise out and
puts it in again (churn, ancestral steps with stages) is right with others, so its symptoms are only looked at where its weak order fails.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from scorebed.analytic import GaussianMixture
from scorebed.solvers import VP, Node, Schedule
from scorebed.solvers.state import alike
from scorebed.toy.foreign.candidate import Candidate
from scorebed.toy.measure.manners import no_draws
from scorebed.toy.measure.sampler import affine

_STEPS = 24
_LENGTHS = (0.04, 0.02)
_SHORT, _LONG = 0.8, 1.2
_BEFORE = _SHORT / _LONG
"""Of uneven steps, the last but one over the last."""


@dataclass(frozen=True)
class Symptom:
    """A part of the formula that is off: its ratio to what it should be, the mistake that this looks like, and the words for it."""

    part: str
    ratio: float
    like: str
    cause: str

    def __str__(self) -> str:
        looks = f"; this looks like {self.like}" if self.like else ""
        return f"{self.part} is {self.ratio:.6g} times what it should be{looks}"


@dataclass
class Response:
    """The last step of a run: coefficient of the state, responses to the powers of λ - λ_s, and stages (node, coefficient, D = 1)."""

    s: Node
    t: Node
    a: float
    b: tuple[float, float, float]
    stages: list[tuple[Node, float, float]]


def response(candidate: Candidate, schedule: Schedule, h: float, uneven: bool = False) -> Response:
    """Read the last step of ``_STEPS`` steps of length h (alternating 2 : 3 where ``uneven``) around lam = 0.3."""
    lengths = np.where(np.arange(_STEPS) % 2, _LONG, _SHORT) * h if uneven else np.full(_STEPS, h)
    lam = 0.3 + np.concatenate([[0.0], np.cumsum(lengths)]) - float(lengths.sum())
    grid = [schedule.at_lam(float(v)) for v in lam]
    s, t = grid[-2], grid[-1]
    calls: list[tuple[Node, np.ndarray]] = []

    def denoise(x: Any, node: Node) -> Any:
        calls.append((node, np.array([float(v) for v in x[:, 0]])))
        u = node.lam - s.lam
        column = np.array([[0.0], [1.0], [u], [u * u]])
        return alike(column, x)

    start = np.array([[1.0], [0.0], [0.0], [0.0]])
    run: dict[str, Any] = {"draws": no_draws if candidate.stochastic else None, "end": "none", "dtype": "float64"}
    before = candidate.run(denoise, start, grid[:-1], **run).x[:, 0]
    seen = len(calls)
    calls.clear()
    after = candidate.run(denoise, start, grid, **run).x[:, 0]
    a = after[0] / before[0]
    b = after[1:] - a * before[1:]
    stages = []
    for node, values in calls[seen:]:
        a_i = values[0] / before[0]
        if node.lam - s.lam > 1e-6 * h:
            stages.append((node, float(a_i), float(values[1] - a_i * before[1])))
    return Response(s, t, float(a), (float(b[0]), float(b[1]), float(b[2])), stages)


def exact(s: Node, t: Node, kappa: float = 1.0) -> tuple[float, float, float]:
    """The responses to D = 1, λ - λ_s and its square, without cancellation."""
    h = t.lam - s.lam
    z = kappa * h
    one = -math.expm1(-z)
    # h - (1 - e^{-z})/kappa and the next, by their series where z is small
    two = sum((-1) ** k * z**k / math.factorial(k) for k in range(2, 22)) / kappa if z < 0.5 else h - one / kappa
    three = -2.0 * sum((-1) ** k * z**k / math.factorial(k) for k in range(3, 22)) / kappa**2 if z < 0.5 else h * h - 2.0 * two / kappa
    return t.alpha * one, t.alpha * two, t.alpha * three


def _mistakes(s: Node, t: Node) -> dict[str, tuple[float, str]]:
    """Ratios that well-known mistakes give, with the cause that each stands for."""
    h = t.lam - s.lam
    return {
        "the wrong sign": (-1.0, "wrong sign"),
        "a term that is missing": (0.0, "missing factor"),
        "a missing factor 1/2": (2.0, "missing factor"),
        "a factor 1/2 too many": (0.5, "missing factor"),
        "a missing sign and factor 1/2": (-2.0, "wrong sign"),
        "sigma_s and sigma_t swapped": ((s.sigma / t.sigma) ** 2, "swapped sigma"),
        "sigma_s in place of sigma_t": (s.sigma / t.sigma, "wrong sigma"),
        "sigma_t in place of sigma_s": (t.sigma / s.sigma, "wrong sigma"),
        "alpha_s in place of alpha_t": (s.alpha / t.alpha, "wrong alpha"),
        "alpha_t in place of alpha_s": (t.alpha / s.alpha, "wrong alpha"),
        "a missing factor alpha_t": (1.0 / t.alpha, "missing factor"),
        "a missing factor alpha_s": (1.0 / s.alpha, "missing factor"),
        "a factor alpha_t too many": (t.alpha, "missing factor"),
        "a missing factor sigma_t": (1.0 / t.sigma, "missing factor"),
        "a factor sigma_t too many": (t.sigma, "missing factor"),
        "a missing factor h": (1.0 / h, "missing factor"),
        "a factor h too many": (h, "missing factor"),
        "e^h in place of e^-h": (-math.expm1(h) / math.expm1(-h), "wrong sign"),
    }


def _state_mistakes(s: Node, t: Node) -> dict[str, tuple[float, str]]:
    """The same of the coefficient sigma_t/sigma_s of the state."""
    back = s.sigma / t.sigma
    return {
        "the wrong sign": (-1.0, "wrong sign"),
        "sigma_s and sigma_t swapped": (back**2, "swapped sigma"),
        "alpha_t/alpha_s in place of sigma_t/sigma_s": (back * t.alpha / s.alpha, "wrong sigma"),
        "alpha_s/alpha_t in place of sigma_t/sigma_s": (back * s.alpha / t.alpha, "wrong sigma"),
        "a coefficient that is missing": (back, "missing factor"),
        "sigma_t/sigma_s twice": (1.0 / back, "missing factor"),
        "a missing division by sigma_s": (s.sigma, "missing factor"),
        "a missing factor sigma_t": (1.0 / t.sigma, "missing factor"),
    }


def _named(part: str, ratios: list[float], nodes: list[tuple[Node, Node]], known: Any = _mistakes) -> Symptom:
    """The mistake whose ratio fits at both step lengths."""
    for like, (_, cause) in known(*nodes[0]).items():
        values = [known(*pair)[like][0] for pair in nodes]
        if all(abs(ratio - value) < 0.12 * abs(value - 1.0) for ratio, value in zip(ratios, values, strict=True)):
            return Symptom(part, ratios[-1], like, cause)
    return Symptom(part, ratios[-1], "", "wrong coefficient")


def symptoms(candidate: Candidate, order: float) -> list[Symptom]:
    """The parts of the formula that an order-``order`` method needs right and this one has wrong, the most basic first."""
    schedule = candidate.schedule if candidate.schedule is not None else VP()
    found = [response(candidate, schedule, h) for h in _LENGTHS]
    nodes = [(r.s, r.t) for r in found]
    out: list[Symptom] = []
    kappas = [1.0, 1.0]
    if candidate.stochastic:
        # whatever the noise, a point mass must be kept: a alpha_s + b = alpha_t
        kept = [(r.a * r.s.alpha + r.b[0]) / r.t.alpha for r in found]
        if _off(kept, order):
            out.append(Symptom("a alpha_s + b, the mean of a point mass after a step over alpha_t,", kept[-1], "", "wrong coefficient"))
        kappas = [1.0 - math.log(abs(r.a) * r.s.sigma / r.t.sigma) / (r.t.lam - r.s.lam) if r.a else 1.0 for r in found]
    else:
        ratios = [r.a * r.s.sigma / r.t.sigma for r in found]
        if _off(ratios, order):
            out.append(_named("the coefficient of the state, sigma_t/sigma_s,", ratios, nodes, _state_mistakes))
    if out:
        return out
    exacts = [exact(*pair, kappa) for pair, kappa in zip(nodes, kappas, strict=True)]
    ratios = [r.b[0] / e[0] for r, e in zip(found, exacts, strict=True)]
    if _off(ratios, order):
        out.append(_named("the sum of the weights of the evaluations", ratios, nodes))
    out += _stages(found, bool(candidate.stochastic), order)
    if out:
        return out
    for k, part in ((1, "the second-order term"), (2, "the third-order term")):
        if order > k:
            out += _term(candidate, schedule, k, part, found, exacts, nodes, order)
            if out:
                break
    return out


def _term(
    candidate: Candidate,
    schedule: Schedule,
    k: int,
    part: str,
    found: list[Response],
    exacts: list[tuple[float, float, float]],
    nodes: list[tuple[Node, Node]],
    order: float,
) -> list[Symptom]:
    """The response to the k-th power of λ - λ_s, on even and uneven steps."""
    ratios = [r.b[k] / e[k] for r, e in zip(found, exacts, strict=True)]
    if _off(ratios, order - k, settle=True):
        return [_named(part, ratios, nodes)]
    uneven = [response(candidate, schedule, h, uneven=True) for h in _LENGTHS]
    again = [r.b[k] / exact(r.s, r.t)[k] for r in uneven]
    if candidate.stochastic or not _off(again, order - k, settle=True):
        return []
    known = {"equal steps assumed": _BEFORE, "a ratio of steps upside down": _BEFORE**2, "a ratio of steps twice": 1.0 / _BEFORE}
    like = min(known, key=lambda name: abs(again[-1] - known[name]))
    near = like if k == 1 and abs(again[-1] - known[like]) < 0.1 else "equal steps assumed"
    return [Symptom(f"{part} on steps of unequal length", again[-1], near, "wrong coefficient")]


def _stages(found: list[Response], stochastic: bool, order: float) -> list[Symptom]:
    """Stages that hand the model a state which is not at the node that it is told."""
    if order < 2:
        return []
    out: list[Symptom] = []
    whole = {r.s: r.t for r in found}

    def known(s: Node, i: Node) -> dict[str, tuple[float, str]]:
        return {"sigma_t in place of sigma_i": (whole[s].sigma / i.sigma, "wrong sigma"), **_state_mistakes(s, i)}

    for k in range(min(len(r.stages) for r in found)):
        pairs = [(r.s, r.stages[k][0]) for r in found]
        part = f"in stage {k + 1}, "
        if stochastic:
            kept = [(r.stages[k][1] * r.s.alpha + r.stages[k][2]) / r.stages[k][0].alpha for r in found]
            if _off(kept, 2.0):
                out.append(Symptom(part + "the mean of a point mass over alpha_i", kept[-1], "", "wrong coefficient"))
            continue
        ratios = [r.stages[k][1] * r.s.sigma / r.stages[k][0].sigma for r in found]
        if _off(ratios, 2.0):
            out.append(_named(part + "the coefficient of the state, sigma_i/sigma_s,", ratios, pairs, known))
            continue
        ratios = [r.stages[k][2] / exact(*pair)[0] for r, pair in zip(found, pairs, strict=True)]
        if _off(ratios, 1.0, settle=True):
            out.append(_named(part + "the weight of the evaluation", ratios, pairs))
    return out


def _off(ratios: list[float], order: float, settle: bool = False) -> bool:
    """Whether a ratio fails to approach 1 as a method of this order needs: like h^order, or at all where ``settle``."""
    if not all(map(math.isfinite, ratios)):
        return True
    first, last = (abs(r - 1.0) for r in ratios)
    if last < 1e-5 or (settle and abs(2.0 * ratios[1] - ratios[0] - 1.0) < 5e-3):
        return False
    need = 1.0 if settle else min(order, 3.0)
    return last > first / 2.0 ** (need - 0.35)


def noise_symptom(candidate: Candidate) -> Symptom | None:
    """The noise of a run against what keeps a point mass: Σ b_k² = sigma_t² - a² sigma_s²."""
    schedule = candidate.schedule if candidate.schedule is not None else VP()
    grid = [schedule.at_lam(0.02 * k - 0.1) for k in range(11)]
    target = GaussianMixture([1.0], np.zeros((1, 1)), np.zeros(1))
    _, slope, noise, _, _ = affine(candidate, target, grid)
    wanted = grid[-1].sigma ** 2 - float(slope[0]) ** 2 * grid[0].sigma ** 2
    ratio = math.sqrt(float(noise[0]) / wanted) if wanted > 0.0 else math.inf
    if abs(ratio - 1.0) < 0.02:
        return None
    known = {"a factor sqrt(2) too many": math.sqrt(2.0), "a missing factor sqrt(2)": math.sqrt(0.5), "no noise at all": 0.0}
    like = next((words for words, value in known.items() if abs(ratio - value) < 0.03), "")
    return Symptom("the noise of a step on a point mass", ratio, like, "missing factor" if like else "wrong coefficient")
