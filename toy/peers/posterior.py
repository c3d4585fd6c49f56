r"""Other libraries' posterior samplers on problems with exact posteriors, each beside ours of the same paper.

``rows()`` runs ``check_posterior`` on azula's eight methods and on diffusers' RePaint and on ours, with the same steps and starts.
A method that couples the samples of a batch (particles) is judged with ``exact=False``: the bound is one for independent samples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pandas as pd

from scorebed.solvers.inverse import METHODS
from scorebed.solvers.operator import Linear
from scorebed.toy.check.posterior import check_posterior
from scorebed.toy.check.posterior_report import PosteriorReport
from scorebed.toy.foreign.posterior import TorchSampler, azula_posterior, repaint_posterior
from scorebed.toy.problems.inverse import INVERSE, InverseProblem

_PRIOR = INVERSE["gaussian2d"]
MASKED = InverseProblem(
    name="masked2d",
    description="one Gaussian, its first coordinate seen, almost without noise",
    make=_PRIOR.make,
    look=lambda: Linear([[1.0, 0.0]], 1e-3),
    given_y=(1.2,),
)
"""RePaint takes masks only, and knows no noise of y."""


@dataclass(frozen=True)
class Entry:
    """One sampler of another library.

    Attributes:
        make: makes the sampler, on float64 tensors.
        ours: the method of ``METHODS`` after the same paper, with the options that make it the same.
        note: what of the difference is known, in words.
    """

    library: str
    name: str
    make: Callable[[], TorchSampler]
    ours: Callable[[], Any]
    problem: InverseProblem = _PRIOR
    particles: bool = False
    note: str = ""


def _repaint(**options: Any) -> TorchSampler:
    return repaint_posterior(import_module("diffusers").RePaintScheduler(clip_sample=False, eta=1.0), **options)


def _azula(name: str, ours: Callable[[], Any], note: str = "", **options: Any) -> Entry:
    extra = {k: options.pop(k) for k in ("problem", "particles") if k in options}
    return Entry("azula", name, lambda: azula_posterior(name, **options), ours, note=note, **extra)


ENTRIES = (
    _azula(
        "DPSSampler",
        lambda: METHODS["dps"],
        "the norm of the residual is that of the whole batch, so a sample's guidance depends on its neighbours",
    ),
    _azula("PGDMSampler", lambda: METHODS["pigdm"], "for data without noise: the variance of y is no argument"),
    _azula("TMPDenoiser", lambda: METHODS["tmpd"]),
    _azula("MMPSDenoiser", lambda: METHODS["mmps"], iterations=2),
    _azula("DiffPIRDenoiser", lambda: METHODS["diffpir"], lmbda=1.0, iterations=2),
    _azula("JFPSDenoiser", lambda: METHODS["tmpd"], "the prior's covariance is given", covariance=_PRIOR.law.covariance()),
    _azula("RePaintSampler", lambda: METHODS["repaint"](resample=3), problem=MASKED, eta=1.0),
    _azula(
        "TDSSampler",
        lambda: METHODS["tds"],
        "multinomial resampling at every step, and the last step's weights are not used",
        particles=True,
    ),
    Entry("diffusers", "RePaintScheduler", _repaint, lambda: METHODS["repaint"](resample=1), MASKED),
)


def installed(entry: Entry) -> bool:
    """Whether the library is there."""
    return find_spec(entry.library) is not None


def verdict(entry: Entry, steps: int = 30, samples: int = 2500) -> tuple[PosteriorReport, PosteriorReport]:
    """The reports on theirs and on ours."""
    how: dict[str, Any] = {"problem": entry.problem, "steps": steps, "samples": samples, "joint": 0, "exact": not entry.particles}
    return check_posterior(entry.make(), library="torch", **how), check_posterior(entry.ours(), diagnosis=False, **how)


def rows(tell: Callable[[int, int, str], object] | None = None, steps: int = 30, samples: int = 2500) -> pd.DataFrame:
    """A row for each installed sampler: errors of mean and covariance near y and far off, verdict, cause; ours beside it."""
    out, chosen = [], [e for e in ENTRIES if installed(e)]
    for i, entry in enumerate(chosen):
        if tell is not None:
            tell(i, len(chosen), f"{entry.library} {entry.name}")
        theirs, ours = verdict(entry, steps, samples)
        row: dict[str, Any] = {"library": entry.library, "sampler": entry.name, "problem": entry.problem.name}
        row |= {"verdict": "passes" if theirs.passed else "fails", "cause": theirs.cause or "", "ours": ours.name}
        for what in ("mean, y", "covariance, y", "mean, y far off", "covariance, y far off"):
            row |= {what: _said(theirs, what), f"ours: {what}": _said(ours, what)}
        out.append(row | {"note": entry.note})
    return pd.DataFrame(out)


def _said(report: PosteriorReport, what: str) -> str:
    try:
        return report[what].measured.removeprefix("off by ").split(" of ")[0]
    except KeyError:
        return ""
