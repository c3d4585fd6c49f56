r"""What a posterior sampler would return if one term of it were wrong, and which of these a candidate is nearest to.

Every cause is the exact conditional model with one change in the known guidance g = (α/σ²)(E[x0 | x_t, y] − D),

    D̃ = D + (σ²/α) g:     κ g, −g, g of another R, J left out, Cov[x0 | x_t] left out, α or σ left out,

run by DDIM and by DDPM, for an error of the score comes out differently in the ODE and in the SDE. Mean and covariance of the limit, at two
y, are compared. What answers to no change of y, or of the prior, has left it out; what answers less and less the further y is off clips
its guidance; where the means are right and the covariance is not, the noise is to blame.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from scorebed.analytic import GaussianMixture
from scorebed.toy.check.posterior_changes import Moments, changes, extrapolated, laws
from scorebed.toy.problems.inverse import InverseProblem

_UNSTABLE = 3.0  # times the variance of 4N steps, and of the truth, that N steps may have
_NEAR = 0.35  # of the candidate's distance to the truth: a cause nearer than that explains it


@dataclass(frozen=True)
class Cause:
    """A change of one term, and how far the candidate is from it (in the unit in which the truth is ``from_truth`` away)."""

    name: str
    distance: float
    from_truth: float
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.name}: {self.distance:.3f} away, the truth {self.from_truth:.3f}" + (f"; {self.detail}" if self.detail else "")


@dataclass
class Seen:
    """A candidate on a problem at two observations; ``run(problem, y, steps, samples)`` gives samples."""

    place: InverseProblem
    ys: tuple[np.ndarray, np.ndarray]
    steps: int
    samples: int
    run: Callable[[InverseProblem, np.ndarray, int, int], np.ndarray]
    unstable: bool = False
    _limits: dict[Any, Moments] = field(default_factory=dict)

    def truth(self, y: np.ndarray) -> GaussianMixture:
        return self.place.law.given(self.place.operator.matrix, y, self.place.operator.variance)

    def limit(self, y: np.ndarray, place: InverseProblem | None = None) -> Moments:
        """Mean and covariance at N and 4N steps, extrapolated at first order; those at 4N alone where N steps are unstable."""
        key = (tuple(y), None if place is None else place.name)
        if key not in self._limits:
            parts = [self.run(place or self.place, y, n, self.samples) for n in (self.steps, 4 * self.steps)]
            coarse, fine = (Moments(x.mean(0), np.atleast_2d(np.cov(x.T))) for x in parts)
            law = self.truth(y)
            unstable = not np.trace(coarse.covariance) < _UNSTABLE * (np.trace(fine.covariance) + np.trace(law.covariance()))
            self.unstable |= bool(unstable)
            self._limits[key] = fine if unstable else extrapolated(coarse, fine)
        return self._limits[key]


def gap(a: Moments, b: Any, size: float) -> float:
    """|Δ mean| over a standard deviation, and |Δ Cov| over the trace, together."""
    mean, covariance = (b.mean, b.covariance) if isinstance(b, Moments) else (b.mean(), b.covariance())
    return math.hypot(float(np.linalg.norm(a.mean - mean)) / size, float(np.linalg.norm(a.covariance - covariance)) / size**2)


def diagnose(seen: Seen) -> list[Cause]:
    """Causes, the likeliest first; "unknown" where none explains what is seen."""
    truths, found = [seen.truth(y) for y in seen.ys], [seen.limit(y) for y in seen.ys]
    sizes = [math.sqrt(float(np.trace(law.covariance()))) for law in truths]
    off = [gap(a, b, s) for a, b, s in zip(found, truths, sizes, strict=True)]
    from_truth = math.hypot(*off)
    if not math.isfinite(from_truth):
        return [Cause("diverges", math.inf, math.inf, "the samples are not finite, or grow without bound")]
    behaviour = _ignored(seen, found, truths, from_truth) or _saturates(seen, found, truths, from_truth)
    behaviour = behaviour or _spread(found, truths, sizes, from_truth)
    if behaviour is not None:
        return [behaviour]
    causes = []
    for name, detail, pull in changes(seen.place):
        for solver in ("ddim", "ddpm"):
            meant = laws(seen.place, seen.ys, pull, solver)
            distance = math.hypot(*(gap(a, b, s) if b is not None else math.inf for a, b, s in zip(found, meant, sizes, strict=True)))
            causes.append(Cause(name, distance, from_truth, f"{detail} ({solver})"))
    causes.sort(key=lambda c: c.distance)
    noise = 8.0 / math.sqrt(seen.samples)
    if causes and causes[0].distance < max(_NEAR * from_truth, min(noise, 0.65 * from_truth)):
        return causes
    return [Cause("unknown", from_truth, from_truth, "no single change of a known term gives these moments"), *causes]


def _ignored(seen: Seen, found: list[Moments], truths: list[Any], from_truth: float) -> Cause | None:
    """Whether a change of y, or of the prior, moves the output at all."""
    wanted = truths[1].mean() - truths[0].mean()
    moved = float((found[1].mean - found[0].mean) @ wanted / (wanted @ wanted))
    if moved < -0.05:
        return Cause("wrong sign", 0.0, from_truth, f"the mean moves against y: by {moved:.0%} of what it should")
    if abs(moved) < 0.05:
        return Cause("y is ignored", abs(moved), from_truth, "another y leaves the mean where it is")
    if from_truth < 0.5:
        return None
    law, a = seen.place.law, seen.place.operator.matrix
    null = np.linalg.svd(a)[2][-1]
    step = 3.0 * math.sqrt(float(null @ law.covariance() @ null))
    shifted = GaussianMixture(law.weights, law.means + step * null, law.covariances)
    place = replace(seen.place, name=f"{seen.place.name}, prior moved", make=lambda: shifted)
    exact = shifted.given(a, seen.ys[0], seen.place.operator.variance).mean() - truths[0].mean()
    answered = float((seen.limit(seen.ys[0], place).mean - found[0].mean) @ exact / (exact @ exact))
    if answered < 0.15:
        return Cause("prior is ignored", abs(answered), from_truth, "another prior leaves the mean where it is")
    return None


def _saturates(seen: Seen, found: list[Moments], truths: list[Any], from_truth: float) -> Cause | None:
    """Whether the mean answers less to a y that is further off; on one Gaussian it is affine in y whatever constant is wrong."""
    if seen.place.law.k > 1:
        return None
    answers = []
    for (before, after), (low, high) in zip(
        ((seen.place.law.mean(), found[0].mean), (found[0].mean, found[1].mean)),
        ((seen.place.law.mean(), truths[0].mean()), (truths[0].mean(), truths[1].mean())),
        strict=True,
    ):
        wanted = high - low
        answers.append(float((after - before) @ wanted / (wanted @ wanted)))
    if 0.1 < answers[1] < 0.8 * answers[0]:
        words = f"the mean answers {answers[0]:.0%} of what it should near the prior's mean, and {answers[1]:.0%} further off"
        return Cause("guidance clipped", answers[1], from_truth, words)
    return None


def _spread(found: list[Moments], truths: list[Any], sizes: list[float], from_truth: float) -> Cause | None:
    """Whether both means are right and the covariance alone is off, in one sense."""
    if max(float(np.linalg.norm(a.mean - b.mean())) / s for a, b, s in zip(found, truths, sizes, strict=True)) > 0.15:
        return None
    excess = [np.linalg.eigvalsh(a.covariance - b.covariance()) / s**2 for a, b, s in zip(found, truths, sizes, strict=True)]
    low, high = min(e[0] for e in excess), max(e[-1] for e in excess)
    if high > 4.0 * abs(min(low, 0.0)) and high > 0.05:
        words = f"means right, covariance larger by up to {high:.0%} of the trace: too much noise"
        return Cause("over-dispersed", abs(min(low, 0.0)), from_truth, words)
    if -low > 4.0 * max(high, 0.0) and -low > 0.05:
        words = f"means right, covariance smaller by up to {-low:.0%} of the trace: noise missing"
        return Cause("under-dispersed", max(high, 0.0), from_truth, words)
    return None
