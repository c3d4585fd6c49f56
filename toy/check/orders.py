"""The orders that ``check_solver`` measures, and what it says of each: order, weak order, accuracy, precision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from scorebed.toy.check.diagnose import Diagnosis, costs_of_own_grid, diagnose, diagnose_weak, rounding
from scorebed.toy.check.finding import Finding
from scorebed.toy.check.formula import symptoms
from scorebed.toy.check.invariance import precision
from scorebed.toy.check.report import Report
from scorebed.toy.foreign.candidate import Candidate, Refused
from scorebed.toy.measure.convergence import Order
from scorebed.toy.measure.order import OrderResult
from scorebed.toy.measure.sampler import measure, monte_carlo, path_error
from scorebed.toy.measure.settings import Setting, own, settings

_ADAPTIVE_ERROR = 0.02


def judge(result: OrderResult, claim: float | None, linear: bool = False) -> tuple[str, str]:
    """(status, what to say) of one measurement against a claim; without one it is a note, and a fail where the error grows."""
    if result.stopped:
        return "fail", result.stopped
    if not result.finite:
        return "fail", "the run is not finite"
    if result.grows and not (claim is not None and result.reaches(claim)):
        return "fail", "the error grows with the number of steps"
    if claim is None:
        return "note", "no claim"
    if result.exact:
        return "pass", "exact to round-off"
    if result.order is None:
        return "fail", "no order: the error does not fall"
    if not result.reaches(claim):
        if result.stalls and result.before is not None and result.before.slope >= claim - 0.15:
            return "fail", f"as claimed until it stalls at {min(result.errors):.0e}"
        if result.order.slope < 0.3:
            return "fail", "the error does not fall: it converges to another map"
        return "fail", "lower than claimed"
    return "pass", "higher than claimed" if result.order.slope > claim + (2.0 if linear else 0.35) else "as claimed"


def _tried(result: OrderResult, against: str) -> str:
    """What was done, with the conditions that a name does not tell."""
    usual = replace(result.conditions, target="", grid="")
    return f"{result.steps[0]}…{result.steps[-1]} steps against {against}, {usual}" if result.steps else str(usual)


def _finding(name: str, result: OrderResult, claim: float | None, against: str, linear: bool) -> Finding:
    status, words = judge(result, claim, linear)
    expected = "no claim" if claim is None else f"{claim:g}" + (f", {words}" if status == "pass" else "")
    detail = "" if status == "pass" or words == "no claim" else words
    return Finding(name, status, _tried(result, against), str(result), expected, detail)


def _lowest(results: Sequence[OrderResult]) -> Order | None:
    return min((r.order for r in results if r.order is not None), key=lambda o: o.slope, default=None)


def order(candidate: Candidate, report: Report, where: Sequence[Setting], what: str, diagnosis: bool) -> list[Finding]:
    """A finding for each setting; the first that fails is diagnosed."""
    claim, out = candidate.order, []
    series = report.series.setdefault(what, [])
    for setting in where:
        result = measure(candidate, setting, claim)
        series.append(result)
        finding = _finding(f"{what}: {setting.name}", result, claim, "the exact flow", setting.linear_flow)
        if finding.status == "fail" and claim is not None and diagnosis:
            report.blame(diagnose(candidate, setting, claim))
            finding = replace(finding, detail=f"{finding.detail}; the diagnosis below says which part costs it")
        out.append(finding)
    if what == "order":
        report.order = _lowest(series)
    return out


def backwards(candidate: Candidate, report: Report, where: Sequence[Setting], diagnosis: bool) -> list[Finding]:
    """From data to noise; a sampler that cannot go there is not at fault."""
    what = "order towards noise"
    ours = candidate.kind == "solver"
    try:
        out = order(candidate, report, where, what, diagnosis and ours)
    except Exception as problem:
        if ours:
            raise
        report.series.pop(what, None)
        words = f"{type(problem).__name__}: {problem}"
        return [Finding(what, "skip", "grids from data to noise", words, "", "it only runs from noise to data")]
    words = "not its order there; it matters only where it is used for inversion"
    return out if ours else [replace(f, status="note", detail=words) if f.status == "fail" else f for f in out]


def on_own_grid(candidate: Candidate, report: Report, diagnosis: bool) -> list[Finding]:
    """As shipped: its own grid in float32, the network told the timestep.

    What a last step to 0, float32 or a table cost there is no fault of the formula, so that it is judged only where nothing else can be.

    Returns:
        the Findings on the candidate's own grid.
    """
    free = candidate.interface.steady
    claim, out = candidate.order, []
    series = report.series.setdefault("order, own grid", [])
    for setting in [own(candidate)] if free else [own(candidate, "float64", "node"), own(candidate)]:
        result = measure(candidate, setting, claim)
        series.append(result)
        finding = _finding("order, own grid", result, claim, "the exact flow", setting.linear_flow)
        judged = not free and setting.conditions.dtype == "float64"
        if judged and finding.status == "fail" and claim is not None:
            if result.before is not None and result.before.slope >= claim - 0.15:  # a last step, or a table, bounds it from below
                finding = replace(finding, status="pass", detail="", expected=f"{claim:g}, {finding.detail}")
            elif diagnosis:
                report.blame(diagnose(candidate, setting, claim))
        elif not judged and finding.status == "fail" and result.finite:
            costs = f": {costs_of_own_grid(candidate, claim).cause}" if diagnosis and claim and candidate.interface.grid else ""
            finding = replace(finding, status="note", detail=f"{finding.detail}; what it loses as shipped is not the formula's{costs}")
        elif not judged and finding.status == "pass":
            finding = replace(finding, status="note")
        out.append(finding)
    if report.order is None:
        report.order = _lowest(series[:1])
    return out


def weak(candidate: Candidate, report: Report, quick: bool, diagnosis: bool, seed: int) -> list[Finding]:
    """Weak order and moments on Gaussians."""
    claim, out = candidate.weak, []
    # all of them when quick too: noise that is right where alpha is 1 may be wrong where it is not
    where = [s for s in settings(candidate) if s.linear_flow] or [own(candidate, "float64", "node")]
    if not candidate.interface.draws:
        for setting in where:
            off, relative = monte_carlo(candidate, setting, 64, seed=seed)
            words = f"moments off by {off:.1f} standard errors (variance {relative:.1%})"
            status = "pass" if relative < 0.15 else "fail"
            out.append(Finding("moments", status, f"{setting.name}, 20000 samples, 64 steps", words, "within noise and step error"))
        return out
    series = report.series.setdefault("weak order", [])
    for setting in where:
        result = measure(candidate, setting, claim)
        series.append(result)
        finding = _finding(f"weak order: {setting.name}", result, claim, "exact mean and variance", True)
        if finding.status == "fail" and claim is not None and diagnosis:
            report.blame(diagnose_weak(candidate, setting, claim))
            finding = replace(finding, detail=f"{finding.detail}; the diagnosis below says which part costs it")
        out.append(finding)
    report.weak = _lowest(series)
    return out


def accuracy(candidate: Candidate) -> list[Finding]:
    """What a method that chooses its steps reaches, whatever the grid; of a Plan, what its steps reach."""
    out = []
    chooses = candidate.kind != "plan"
    where = settings(candidate, small=True) if candidate.interface.grid else [own(candidate, "float64 state", "node")]
    for setting in where:
        value, nfe = path_error(candidate, setting, setting.nodes(16))
        kept = value < _ADAPTIVE_ERROR
        status = "pass" if kept else "fail" if chooses else "note"
        detail = "" if kept else "its tolerance is not kept" if chooses else "what its steps cost on this target"
        words = f"error {value:.1e} with {nfe} evaluations"
        out.append(Finding("accuracy", status, setting.name, words, f"< {_ADAPTIVE_ERROR:g}", detail))
    return out


def rounded(candidate: Candidate, report: Report, diagnosis: bool) -> Finding | None:
    """Whether float64 in gives float64 accuracy, and what is rounded where not."""
    out = precision(candidate)
    if out is not None and out.status == "fail" and diagnosis:
        report.blame(rounding(candidate))
    return out


def formula(candidate: Candidate, report: Report) -> Finding | None:
    """Each part of a step's formula read from outside, although the orders pass: what cancels over two steps costs accuracy."""
    claim = candidate.weak if candidate.stochastic else candidate.order
    if claim is None or report.diagnosis is not None or not candidate.interface.grid or candidate.adaptive:
        return None
    if candidate.stochastic and not candidate.interface.draws:
        return None
    tried = "the response of one step of 0.04 and 0.02 in lam"
    try:
        found = symptoms(candidate, claim)
    except Refused as problem:
        return Finding("formula", "skip", tried, str(problem))
    if not found:
        return Finding("formula", "pass", tried, "every part is what it should be", "ratios of 1")
    words = "; ".join(map(str, found))
    return Finding("formula", "note", tried, words, "ratios of 1", "the order holds all the same; is it meant?")


def spoilt() -> Diagnosis:
    """What is left over from the run before."""
    return Diagnosis("memory between runs")
