r"""``check_loss``: has a few-step training loss the gradient that it should have, and is what it is minimised by the map?

    def mine(student, batch):                               # torch; a value for each sample, or their mean
        f, target = student(batch.x, batch.s), student(batch.y, batch.t).detach()
        return batch.weight[:, 0] * ((f - target) ** 2).sum(-1)

    print(check_loss(mine))                                 # or check_loss(mine, "consistency_training")

The world is a Gaussian, the student affine in its parameters and equal to the exact map where they are 0 (``gpu.losses``). So the expected
gradient of the loss is a sum, to round-off, and is held against that of the formula, at several parameters and pairs of times; the loss is
minimised by solving for the zero of its gradient; its noise is that of independent batches. What is off is compared with faults by name.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from scorebed.solvers import RectifiedFlow
from scorebed.toy.check.finding import Finding, judged
from scorebed.toy.check.findings import Findings
from scorebed.toy.check.loss_gradients import Bench, fit
from scorebed.toy.check.loss_splines import spline_finding

if TYPE_CHECKING:
    from scorebed.gpu.losses import Kind

Loss = Callable[..., Any]
_CLOSE = 1e-3
"""Of its size, what a gradient may be off: the sums are exact, but the candidate may differentiate by differences."""


@dataclass
class LossReport(Findings):
    """The result of ``check_loss``.

    Attributes:
        of: the kind of loss that it was taken for.
        bias: distance of its expected gradient from the right one, over the size of that.
        noise: standard deviation of the gradient of one sample over the size of the expected one, away from the minimiser.
        error: of the map at its minimiser, in standard deviations; nan where there is none.
        theta: the student's parameters there; 0 is the exact map.
    """

    of: str = ""
    bias: float = math.nan
    noise: float = math.nan
    error: float = math.nan
    theta: tuple[float, ...] = ()
    factors: list[float] = field(default_factory=list)


def check_loss(
    loss: Loss | str,
    kind: str | None = None,
    *,
    process: Any = None,
    weight: Callable[[float, float], float] | None = None,
    spacing: float = 0.5,
    samples: int = 256,
    train: int = 0,
    splines: bool = False,
    diagnosis: bool = True,
    name: str | None = None,
    seed: int = 0,
) -> LossReport:
    """Check the loss of a consistency model, a flow map, an average velocity or a one-step generator.

    Args:
        loss: ``loss(student, batch)`` in torch, a value for each sample (B,), or their mean; ``student`` is called as (x, s), (x, s, t) or
            (z), and ``batch`` is a ``gpu.losses.Batch``. Or the name of one of ``gpu.losses.KINDS``.
        kind: which of ``gpu.losses.KINDS`` it is; by default what it is called, or else the one whose gradient is nearest.
        process: RectifiedFlow(), EDM(), VE() or VP(); the first by default.
        weight: w(s, t), which the loss finds as ``batch.weight`` and is to use once; by default one that grows with the noise.
        spacing: between s and t, in lam.
        samples: of each batch.
        train: how many steps a tiny network is trained for, by Adam; 0 leaves that out.
        splines: whether to solve for a student made of splines on three modes as well (``toy.check.loss_splines``).
        diagnosis: whether to compare with faults.
        name, seed: what the report calls it; of everything drawn.

    Returns:
        ``LossReport``; ``causes`` names faults: "missing stop-gradient", "wrong sign of the time derivative", "weighting squared twice",
        "detached target", "fake score left out", ….

    Raises:
        ImportError: torch is not installed.
        TypeError: a loss that is not callable, a process that is not one of the four.
        ValueError: an unknown kind; numbers out of range.
    """
    try:
        from scorebed.gpu.losses import KINDS
    except ImportError as missing:
        raise ImportError("check_loss differentiates losses and needs torch: pip install 'scorebed[gpu]'") from missing
    if isinstance(loss, str):
        if loss not in KINDS:
            raise ValueError(f"loss = {loss!r} is not known: give a function of (student, batch), or one of {', '.join(KINDS)}")
        kind, loss = kind or loss, KINDS[loss].loss
    if not callable(loss):
        raise TypeError(f"loss = {loss!r} is not callable: give loss(student, batch)")
    if kind is not None and kind not in KINDS:
        raise ValueError(f"kind = {kind!r} is not known: give one of {', '.join(KINDS)}")
    if not (math.isfinite(spacing) and spacing > 0.0) or not isinstance(samples, int) or samples < 16:
        raise ValueError(f"spacing = {spacing!r}, samples = {samples!r}: give a positive spacing in lam and at least 16 samples")
    if weight is not None and not callable(weight):
        raise TypeError(f"weight = {weight!r} is not callable: give w(s, t) of two times")
    called = str(getattr(loss, "__name__", type(loss).__name__))
    bench = Bench(process if process is not None else RectifiedFlow(), weight, spacing, samples, seed)
    chosen, words = bench.recognise(loss, kind, called)
    report = LossReport(name or called, f"loss of a few-step model, {chosen.name}", of=chosen.name)
    report.findings.append(Finding("kind", "pass", "which loss it is", words))
    if _runs(bench, loss, chosen, report):
        right = _gradient(bench, loss, chosen, report)
        _minimiser(bench, loss, chosen, report)
        _noise(bench, loss, chosen, report)
        if train:
            _train(bench, loss, chosen, report, train)
        if splines:
            report.findings.append(spline_finding(loss, chosen))
        if diagnosis and not (right and report.passed):
            _name(bench, loss, chosen, report)
    return report


def _runs(bench: Bench, loss: Loss, kind: Kind, report: LossReport) -> bool:
    try:
        value = bench.gradients(loss, kind, pairs=1)
    except Exception as raised:
        detail = "called as loss(student, batch)"
        report.findings.append(
            Finding("runs", "fail", "one batch", f"{type(raised).__name__}: {raised}", "a value for each sample", detail)
        )
        return False
    finite = bool(np.isfinite(value).all())
    report.findings.append(judged(finite, "runs", "one batch", "finite" if finite else "nan or inf", "finite gradients"))
    if finite and not value.any():
        report.findings.append(Finding("gradient", "fail", "one batch", "zero everywhere", "a gradient", "everything is detached"))
        report.causes = ["detached: no gradient reaches the student"]
        return False
    return finite


def _gradient(bench: Bench, loss: Loss, kind: Kind, report: LossReport) -> bool:
    """Direction and weighting of the expected gradient; bias against the teacher's where one sample stands for it."""
    value, own = (bench.gradients(one, kind) for one in (loss, kind.loss))
    ideal = own if kind.ideal is kind.loss else bench.gradients(kind.ideal, kind)
    factors = [fit(value[:, j], own[:, j]) for j in range(value.shape[1])]
    off = max(distance for _, distance in factors)
    words = f"{value.shape[0]} students, {value.shape[1]} pairs of times"
    good = off < _CLOSE and min(f for f, _ in factors) > 0.0
    report.findings.append(judged(good, "gradient", words, f"off by {off:.2g} of its size", f"< {_CLOSE:g}", "not that of the formula"))
    report.factors = [f for f, _ in factors]
    if good:
        _weighting(bench, report)
    even = np.array(report.factors) / np.mean(report.factors) if good else np.ones(value.shape[1])  # a weighting of its own is no bias
    report.bias = fit(value / even[:, None], ideal)[1]
    if kind.ideal is kind.loss:
        return good
    finer = Bench(bench.process, bench.weight, bench.spacing / 4.0, bench.samples, bench.seed)
    fine = fit(finer.gradients(loss, kind) / even[:, None], finer.gradients(kind.ideal, kind))[1]
    falls = fine < 0.5 * report.bias
    said = f"{report.bias:.1%} at lam steps of {bench.spacing:g}, {fine:.1%} at a quarter of that"
    detail = "the target of one sample stands for the teacher's: its bias goes with the step" if falls else "it does not fall with the step"
    report.findings.append(Finding("bias", "note" if falls or not good else "fail", "against the teacher's gradient", said, "", detail))
    return good


def _weighting(bench: Bench, report: LossReport) -> None:
    factors, weights = np.array(report.factors), np.array([bench.weigh(s, t) for s, t in bench.pairs])

    def flat(values: np.ndarray) -> bool:
        return bool(values.std() < 1e-2 * abs(values.mean()))

    said = " ".join(f"{f:.3g}" for f in factors / factors.mean())
    if flat(factors):
        finding = Finding("weighting", "pass", "factor by pair of times, against w", "w once", "w once")
    elif flat(factors / weights):
        finding = Finding("weighting", "fail", "factor by pair of times, against w", "w², not w", "w once", "batch.weight is used twice")
        report.causes = ["weighting squared twice"]
    elif flat(factors * weights):
        finding = Finding("weighting", "note", "factor by pair of times, against w", "none", "w once", "batch.weight is not used")
    else:
        finding = Finding("weighting", "note", "factor by pair of times, against w", said, "w once", "a weighting of its own")
    report.findings.append(finding)


def _minimiser(bench: Bench, loss: Loss, kind: Kind, report: LossReport) -> None:
    theta, stable = bench.solve(loss, kind)
    if theta is None:
        failing = "fail" if kind.exact else "note"
        report.findings.append(Finding("minimiser", failing, "zero of the expected gradient", "none near the map", "the map"))
        return
    report.theta, report.error = tuple(float(v) for v in theta), bench.error(kind, theta)
    bound = 0.02
    said = f"the map is missed by {report.error:.2g} standard deviations"
    if not kind.exact:
        detail = f"its minimiser is {kind.why}"
        report.findings.append(Finding("minimiser", "note", "zero of the expected gradient", said, kind.why, detail))
    elif kind.ideal is not kind.loss and report.error >= bound:
        finer = Bench(bench.process, bench.weight, bench.spacing / 4.0, bench.samples, bench.seed)
        again, _ = finer.solve(loss, kind)
        fine = math.nan if again is None else finer.error(kind, again)
        falls = fine < 0.5 * report.error
        report.findings.append(
            Finding("minimiser", "note" if falls else "fail", "zero of the gradient", f"{said}; {fine:.2g} at a quarter")
        )
    else:
        report.findings.append(
            judged(report.error < bound, "minimiser", "zero of the expected gradient", said, f"< {bound:g}", "another map")
        )
    detail = "descent leaves its zero: the sign, or a gradient through the wrong side"
    report.findings.append(judged(stable, "descent", "eigenvalues there", "converges" if stable else "leaves it", "converges", detail))


def _noise(bench: Bench, loss: Loss, kind: Kind, report: LossReport) -> None:
    size, away, at = bench.noise(loss, kind)
    report.noise = away / size if size > 0.0 else math.inf
    words = "standard deviation of one sample's gradient over its mean"
    said = f"{report.noise:.2g}, {at / size if size > 0.0 else math.inf:.2g} at the exact map"
    report.findings.append(Finding("noise", "pass", words, said, "", ""))


def _train(bench: Bench, loss: Loss, kind: Kind, report: LossReport, steps: int) -> None:
    before, after = bench.train(loss, kind, steps)
    words = f"a network of two hidden layers, {steps} steps of Adam"
    what = "the closed optimum" if kind.optimum != "point" else "the point that it ends in"
    said = f"{before:.2g} standard deviations from {what} before, {after:.2g} after"
    report.findings.append(Finding("tiny network", "note", words, said))


def _name(bench: Bench, loss: Loss, kind: Kind, report: LossReport) -> None:
    """The faults whose gradient the candidate's is, the nearest first."""
    if report.causes:
        return
    value = bench.gradients(loss, kind)
    scale, truth = fit(value, bench.gradients(kind.loss, kind))
    turned = truth < _CLOSE and scale < 0.0
    found = []
    for fault in kind.faults:
        factor, distance = fit(value, bench.gradients(lambda student, batch, fault=fault: kind.loss(student, batch, fault=fault), kind))
        if factor > 0.0:
            found.append((distance, fault))
    found.sort()
    report.causes = [fault for distance, fault in found if distance < (_CLOSE if turned else min(0.05, 0.3 * truth))]
    report.causes += ["wrong sign of the loss"] if turned else []
    if not report.causes and not report.passed:
        report.causes = ["unknown: its gradient is neither the formula's nor that of a known fault"]
