r"""Claim 156: the network's output is not Lipschitz in time at t = 0 (E-TSDM, arXiv:2306.11251).

On VP sigma² ~ beta t, so that eps = -sigma score has d eps/dt ~ -score dsigma/dt -> ∞ like t^{-1/2}. On [0, t~) one and the same time may
be given to the network for a whole interval of length Δ; what it then cannot tell apart is eps(Δ) - eps(0) = -sigma(Δ) score.
"""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scorebed.solvers import EDM, VP, Schedule
from scorebed.solvers.model import from_denoised
from scorebed.toy.claims.common import sheet, states
from scorebed.toy.claims.registry import Row, above, below, claim, near
from scorebed.toy.figures.style import BLUE, GREEN, INK, MUTED, ORANGE, VERMILLION
from scorebed.toy.properties.cases import modes

TIMES = np.geomspace(1e-6, 1e-3, 13)


def rate(prediction: str, t: float, schedule: Schedule, by: str = "t") -> float:
    """E|d prediction/dt| at fixed x over the law at t, or by sigma; central difference on three modes."""
    target, h = modes(), 1e-3 * t
    s, e = schedule.node(t - h), schedule.node(t + h)
    x = states(target, schedule.node(t), 41)
    low, high = (from_denoised(target.denoised(x, n), x, n, prediction) for n in (s, e))
    return float(np.abs(high - low).mean()) / (2.0 * h if by == "t" else e.sigma - s.sigma)


def exponent(prediction: str, schedule: Schedule, by: str = "t") -> float:
    """p in rate ~ t^p as t -> 0."""
    return float(np.polyfit(np.log(TIMES), np.log([rate(prediction, float(t), schedule, by) for t in TIMES]), 1)[0])


def shared(length: float, schedule: Schedule) -> tuple[float, float, float]:
    """For one time given to [0, length): the jump of eps at its end over length, the error of eps inside, and sigma(length) E|score|."""
    target = modes()
    n = schedule.node(length)
    clean = schedule.node(1e-9 * length)
    x = states(target, clean, 41)
    gap = float(np.abs(target.eps(x, n) - target.eps(x, clean)).mean())
    return gap / length, gap, n.sigma * float(np.abs(target.score(x, n)).mean())


def _draw() -> Figure:
    def draw(left: Axes, right: Axes) -> None:
        times = np.geomspace(1e-7, 0.3, 40)
        curves = (("eps", "ε", VERMILLION, "-"), ("v", "v", ORANGE, (0, (4, 1.5))), ("denoised", "x0", BLUE, "-"))
        for prediction, label, colour, line in curves:
            left.plot(times, [rate(prediction, float(t), VP()) for t in times], color=colour, linestyle=line, label=f"{label}, by t")
        left.plot(times, [rate("eps", float(t), VP(), "sigma") for t in times], color=GREEN, label="ε, by σ")
        left.set(title="Mean rate of change on VP", xlabel="t", ylabel="E |d/dt|", xscale="log", yscale="log")
        left.legend(loc="upper right")
        lengths = np.geomspace(1e-6, 1e-1, 20)
        found = np.array([shared(float(d), VP()) for d in lengths])
        right.plot(lengths, found[:, 0], color=INK, label="Lipschitz constant between intervals")
        right.plot(lengths, found[0, 0] * (lengths / lengths[0]) ** -0.5, color=MUTED, linestyle=(0, (1.5, 2)), label="slope −½")
        right.plot(lengths, found[:, 1], color=BLUE, label="error of ε inside the interval")
        right.plot(lengths, found[:, 2], "o", color=BLUE, markersize=3.0, label="σ(Δ) E|score|")
        right.set(title="One time for all of [0, Δ)", xlabel="Δ", xscale="log", yscale="log")
        right.legend(loc="center left", bbox_to_anchor=(0.0, 0.5))

    return sheet(2, draw)


@claim(
    156,
    paper="E-TSDM (Lipschitz singularity)",
    reference="arXiv:2306.11251",
    statement="On VP |dε/dt| grows without bound as t → 0, while v, x0 and any parameterisation in σ stay bounded; one shared time for an "
    "interval of length Δ bounds the Lipschitz constant by O(1/Δ), at an error of ε in closed form.",
    control="σ itself is the time (EDM), where dσ/dt is 1, and VP where the rate by σ is measured",
    when="v is left out: v = αε − σx0 contains ε and is as singular; x0 in t, and ε and v in σ, are bounded",
    draw=_draw,
)
def lipschitz(broken: bool) -> list[Row]:
    """Exponents of rates in t on three modes; the jump and the error of shared times."""
    schedule: Schedule = EDM() if broken else VP()
    rows = [near("exponent of E|dε/dt|", exponent("eps", schedule), -0.5, 0.03, "of t")]
    rows.append(near("E|dε/dt| at t = 1e-8 over that at 1e-4", rate("eps", 1e-8, schedule) / rate("eps", 1e-4, schedule), 100.0, 10.0))
    rows.append(near("exponent of E|dv/dt|", exponent("v", schedule), -0.5, 0.03, "of t"))
    rows.append(near("exponent of E|dv/dt| as printed: bounded", exponent("v", VP()), 0.0, 0.03, "of t", printed=True))
    clean = "eps" if broken else "denoised"  # the prediction that contains eps is the break here
    rows.append(near("exponent of E|dx0/dt|", exponent(clean, VP()), 0.0, 0.03, "of t"))
    for prediction in ("eps", "v"):
        by = "t" if broken else "sigma"
        rows.append(near(f"exponent of E|d{_name(prediction)}/dσ|", exponent(prediction, VP(), by), 0.0, 0.03, "of t"))
    lengths = (1e-5, 1e-4, 1e-3)
    found = [shared(d, schedule) for d in lengths]
    slope = float(np.polyfit(np.log(lengths), [math.log(f[0]) for f in found], 1)[0])
    rows.append(near("exponent of the Lipschitz constant with shared times, in Δ: within O(1/Δ)", slope, -0.5, 0.03))
    kept = rate("eps", 1e-8, VP()) / (shared(1e-4, VP())[0] if not broken else rate("eps", 1e-8, VP()))
    rows.append(above("|dε/dt| at t = 1e-8 over the constant with Δ = 1e-4", kept, 10.0, "times"))
    bias = shared(1e-4, VP())
    rows.append(below("error of ε against σ(Δ) E|score|", abs(bias[1] / bias[2] - 1.0), 0.02, "relative", kept=True))
    return rows


def _name(prediction: str) -> str:
    return "ε" if prediction == "eps" else prediction
