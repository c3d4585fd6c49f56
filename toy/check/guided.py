r"""``check_guided``: how far is what a guide samples from the law that it means, and is that its bias or the steps?

    print(check_guided(3.0))                                    # classifier-free guidance; or any rule of solvers.guide
    print(check_guided(lambda given, null: my_model, scale=3))  # a model of two models; model(x, node) = E[x0 | x]
    print(check_guided(my_sampler, scale=3))                    # (given, null, x, nodes) -> x0

Meant is p_c^w p_u^{1 − w}/Z. The law of a guide is exact, by the transfer operator; a sampler's is that of many samples. The limit of small
steps splits the distance into bias and discretisation. What stands before the two models' answers is read off, and a fault in it named.
"""

from __future__ import annotations

import inspect
import math
from typing import Any

import numpy as np
from scipy.special import ndtri

from scorebed.solvers import SOLVERS, Solver
from scorebed.solvers.guide import Guided, Rule, guided, rule_of
from scorebed.toy.check.finding import Finding, judged
from scorebed.toy.check.guided_formula import GuidedReport, Made, formula
from scorebed.toy.measure.guided_law import limit_cdf, split, wasserstein_1
from scorebed.toy.problems.guided import GUIDED, GuidedPlane, GuidedProblem

Floats = np.ndarray
_SAMPLES = 2000
_WITHIN = 0.02


def check_guided(
    guide: Any,
    *,
    scale: float | None = None,
    problem: str | GuidedProblem = "classes",
    solver: str | Solver = "ddim",
    steps: int = 20,
    exact: bool = False,
    name: str | None = None,
    seed: int = 0,
) -> GuidedReport:
    """Hold a guide, or a guided sampler, against the law that its scale means.

    Args:
        guide: a scale or a ``Rule``; a function of (given, null) that makes a model; a rule as a function (given, null, x, node) of two
            answers; or a sampler (given, null, x, nodes), x ~ N(0, σ²) at nodes[0], (n, 1).
        scale: w, 3 unless ``guide`` tells it.
        problem: of ``toy.problems.guided.GUIDED``, on the line, or your own.
        solver: that a guide is run with; its limit is the probability flow's, or its own SDE's.
        steps: N.
        exact: whether the limit has to be what was meant; else its bias is noted and fails nothing.
        seed: of ``numpy.random`` before a sampler is called.

    Returns:
        A report: ``bias``, ``discretisation``, ``larger``; ``causes`` names faults: "scale is 1 + w", "given and null swapped", "guidance
        ignored", "weights do not add up to 1", "null left out", "answers in different units", ….

    Raises:
        TypeError: not callable.
        ValueError: an unknown problem or solver, or one of the plane.
    """
    place = GUIDED[problem] if isinstance(problem, str) and problem in GUIDED else problem
    if isinstance(place, str | GuidedPlane):
        raise ValueError(
            f"problem = {problem!r}: give a problem on the line, of {', '.join(n for n, p in GUIDED.items() if p.given.d == 1)}"
        )
    if isinstance(solver, str) and solver not in SOLVERS:
        raise ValueError(f"solver = {solver!r} is not known: give one of SOLVERS")
    if steps < 2:
        raise ValueError(f"steps = {steps!r}: give at least 2")
    kind, make = _kind(guide)
    told = getattr(guide, "scale", guide if isinstance(guide, int | float) else None)
    w = float(scale if scale is not None else told if isinstance(told, int | float) else 3.0)
    called = name or (f"guidance of scale {w:g}" if isinstance(guide, int | float) else getattr(guide, "__name__", type(guide).__name__))
    report = GuidedReport(str(called), f"guidance on {place.name}")
    with np.errstate(all="ignore"):
        try:
            if kind == "sampler":
                _sampler(report, make, place, w, steps, seed, exact)
            else:
                _guide(report, make, place, w, solver, steps, exact)
        except Exception as problem_told:
            said = f"{type(problem_told).__name__}: {problem_told}"
            report.findings.append(Finding("runs", "fail", f"{steps} steps", said, "finite states"))
            report.causes.append("it raised")
    report.causes = list(dict.fromkeys(report.causes))
    return report


def _kind(guide: Any) -> tuple[str, Made]:
    if isinstance(guide, Rule | int | float):
        return "guide", lambda given, null: guided(given, null, rule_of(guide))
    if not callable(guide):
        raise TypeError(
            f"guide = {guide!r} is not callable: give a scale, a Rule, (given, null) -> model, or (given, null, x, nodes) -> x0"
        )
    names = tuple(inspect.signature(guide).parameters)
    if "nodes" in names:
        return "sampler", guide
    if "node" in names:

        class Own(Rule):
            """The function as a rule."""

            def __call__(self, given: Any, null: Any, x: Any, node: Any) -> Any:
                return guide(given, null, x, node)

        return "guide", lambda given, null: Guided(given, null, Own())
    return "guide", guide


def _judged_split(report: GuidedReport, w: float, words: str, exact: bool, floor: float) -> None:
    report.findings.append(
        judged(
            report.bias < floor,
            "bias",
            f"limit of small steps against p_c^{w:g} p_u^{1.0 - w:g}",
            f"W1 = {report.bias:.4f}",
            f"< {floor:.3f}",
            "the guided field is not the score of the noised tilt: no solver and no number of steps mends it",
            "fail" if exact else "note",
        )
    )
    said, detail = f"W1 = {report.discretisation:.4f} to that limit", "more steps, or a method of higher order, mend it"
    report.findings.append(
        judged(report.discretisation < max(report.bias, floor), "steps", words, said, f"< {max(report.bias, floor):.3f}", detail, "note")
    )
    report.findings.append(
        Finding("law", "note", words, f"W1 = {report.total:.4f} to what was meant", "", f"the larger part: {report.larger}")
    )


def _guide(report: GuidedReport, make: Made, place: GuidedProblem, w: float, solver: str | Solver, steps: int, exact: bool) -> None:
    formula(report, make, place, w)
    model = make(place.given.denoised, place.null.denoised)
    parts = split(place, model, w, solver, steps)
    report.bias, report.discretisation, report.total = parts.bias, parts.discretisation, parts.total
    _judged_split(report, w, f"{getattr(solver, 'name', solver)}, {steps} steps", exact, _WITHIN)
    if exact and report.bias >= _WITHIN:
        report.causes.append("guidance bias")


def _sampler(report: GuidedReport, make: Made, place: GuidedProblem, w: float, steps: int, seed: int, exact: bool) -> None:
    u = (np.arange(_SAMPLES) + 0.5) / _SAMPLES

    def run(given: Any, null: Any, n: int, seed: int = seed) -> Floats:
        nodes = place.nodes(n)
        state = np.random.get_state()  # noqa: NPY002
        np.random.seed(seed)  # noqa: NPY002
        try:
            out = np.asarray(make(given, null, nodes[0].sigma * ndtri(u)[:, None], nodes), float)
        finally:
            np.random.set_state(state)  # noqa: NPY002
        if out.shape != (_SAMPLES, 1) or not np.isfinite(out).all():
            raise ValueError(f"x0 of shape {out.shape} came back, or nan: give ({_SAMPLES}, 1), finite")
        return np.sort(out[:, 0])

    given, null, points = place.given.denoised, place.null.denoised, place.points
    out, again = run(given, null, steps), run(given, null, steps, seed + 1)
    drawn = not np.array_equal(out, again)
    coarse, fine = run(given, null, 2 * steps), run(given, null, 4 * steps)
    limit = np.sort(2.0 * fine - coarse)

    def cdf(x: Floats) -> Floats:
        return np.interp(points, x, u, left=0.0, right=1.0)

    same = run(given, given, 4 * steps)
    own = cdf(same)
    exact_class = np.asarray(place.given.cdf(points))
    noise = _WITHIN + (3.0 / math.sqrt(_SAMPLES) if drawn else 0.0) + wasserstein_1(place, cdf(out), cdf(fine)) / 3.0
    off = wasserstein_1(place, own, exact_class)
    words = "both models the class's own"
    report.findings.append(
        judged(
            off < 3.0 * noise,
            "same models",
            words,
            f"W1 = {off:.4f} to the class",
            f"< {3.0 * noise:.3f}",
            "without guidance it is wrong too",
        )
    )
    if off >= 3.0 * noise:
        report.causes.append("unguided sampler wrong")
    meant = place.meant(w).cdf(points)
    pairs = ((meant, cdf(limit)), (cdf(limit), cdf(out)), (meant, cdf(out)))
    report.bias, report.discretisation, report.total = (wasserstein_1(place, f, g) for f, g in pairs)
    by = "ddpm" if drawn else "ddim"
    laws = {
        cause: wasserstein_1(place, limit_cdf(place, guided(given, null, scale), by, (20, 40)), cdf(limit))
        for cause, scale in (
            ("", w),
            ("scale is 1 + w", 1.0 + w),
            ("scale is w − 1", w - 1.0),
            ("given and null swapped", 1.0 - w),
            ("guidance ignored", 1.0),
            ("null alone", 0.0),
        )
    }
    nearest = min(laws, key=lambda cause: laws[cause])
    if nearest and laws[nearest] < max(2.0 * noise, 0.3 * laws[""]):
        report.causes.append(nearest)
        words = f"limits of CFG of scale {w:g} and of wrong ones"
        said = f"W1 = {laws[nearest]:.3f} to that of a wrong one, {laws['']:.3f} to that of {w:g}"
        report.findings.append(Finding("formula", "fail", words, said, "nearest to its own", nearest))
    _judged_split(report, w, f"{steps} steps", exact, 2.0 * noise)
    if exact and report.bias >= 2.0 * noise and not report.causes:
        report.causes.append("guidance bias")
