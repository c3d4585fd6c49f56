r"""Stochastic candidates: the law of the output on Gaussians, exact where the draws can be replaced, else by Monte Carlo with intervals.

On N(mu, diag(v)) every run is affine in the state and the draws, x_T = c + a x_s + Σ_k b_k ξ_k, coordinate by coordinate. One run on unit
draws reads off c, a and every b_k, so that mean a m_s + c and covariance a² v_s + Σ b_k² are known to round-off, and the weak order is a
slope without noise. That the run is affine, and that its draws are independent or increments of one path, is all that is used.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from scorebed.solvers import Node
from scorebed.toy.check.candidate import Candidate
from scorebed.toy.check.draws import Draws, Interval, Recorder, Units
from scorebed.toy.check.order import FLOOR, Series
from scorebed.toy.check.trials import Affine, Trial
from scorebed.toy.measure.convergence import order_of, rms

STEPS = (32, 64, 128, 256)
FINER = (512, 1024)
_SETTLED = 0.2


def asks(candidate: Candidate, grid: Sequence[Node], end: str | None = None) -> list[Interval | None]:
    """What a run on this grid asks of its noise, draw by draw."""
    recorder = Recorder()
    candidate.run(Affine([0.0], [1.0]), np.zeros((2, 1)), grid, draws=recorder, end=end)
    return recorder.asked


class Paired:
    """Draws made of others: the k-th of each ``per`` draws of a step is c times the first plus sqrt(1 - c²) times itself."""

    def __init__(self, draws: Draws, per: int, c: float) -> None:
        self.draws, self.per, self.c, self.count = draws, per, c, 0
        self.first: Any = None

    def __call__(self, shape: tuple[int, ...], interval: Interval | None) -> np.ndarray:
        value = self.draws(shape, interval)
        place, self.count = self.count % self.per, self.count + 1
        if place == 0:
            self.first = value
            return value
        return self.c * self.first + math.sqrt(1.0 - self.c**2) * value


def affine(
    candidate: Candidate,
    target: Any,
    grid: Sequence[Node],
    path: bool | None = None,
    pair: tuple[int, float] | None = None,
    double: bool = False,
    end: str | None = None,
) -> Any:
    """On a diagonal Gaussian: constant (d,), coefficient of the state, sum of squares of those of the draws; evaluations; end."""
    denoise = Affine(target.mean(), np.diag(target.covariance()))
    units = Units(asks(candidate, grid, end), first=2, path=candidate.path if path is None else path)
    x = np.zeros((units.size, target.d))
    x[1] = 1.0
    draws: Draws = units if pair is None else Paired(units, *pair)
    done = candidate.run(denoise, x, grid, draws=draws, double=double, end=end)
    rest = done.x[1:] - done.x[0]
    return done.x[0], rest[0], np.square(rest[1:]).sum(0), done.nfe, done.end


def weak_error(candidate: Candidate, trial: Trial, n: int, **how: Any) -> tuple[float, int]:
    """RMS error of mean and variances of the output of n steps, started from the exact marginal."""
    grid = trial.make(n)
    constant, slope, noise, nfe, end = affine(candidate, trial.target, grid, **how)
    mean, variance = trial.target.mean(), np.diag(trial.target.covariance())
    first = grid[0]
    gain, shift = np.ones_like(mean), np.zeros_like(mean)
    if candidate.freedom.ends[0] == "denoised":
        gain, shift = Affine(mean, variance).parts(end, mean, variance)
    off_mean = constant + slope * first.alpha * mean - (gain * end.alpha * mean + shift)
    exact = gain**2 * (end.alpha**2 * variance + end.sigma**2)
    off_variance = slope**2 * (first.alpha**2 * variance + first.sigma**2) + noise - exact
    # the covariances between coordinates are exact: nothing mixes them
    d = len(mean)
    return math.sqrt(float((off_mean**2).sum() + (off_variance**2).sum()) / (d + d * d)), nfe


def measure(
    candidate: Candidate, trial: Trial, claim: float | None = None, steps: Sequence[int] = STEPS, finer: Sequence[int] = FINER, **how: Any
) -> Series:
    """Errors of the moments on grids of more and more steps, until the slope is settled."""
    found = Series(trial.name, floor=FLOOR)
    for n in (*steps, *finer):
        value, nfe = weak_error(candidate, trial, n, **how)
        found.steps.append(n)
        found.nfe.append(nfe)
        found.errors.append(value)
        if not math.isfinite(value):
            return found
        if n >= steps[-1]:
            try:
                found.order = order_of(found.steps, found.errors, found.floor)
            except ValueError:
                break
            if found.order.high - found.order.low <= _SETTLED and (claim is None or found.order.slope >= claim - 0.15):
                break
    return found


def monte_carlo(candidate: Candidate, trial: Trial, n: int, samples: int = 20000, seed: int = 0) -> tuple[float, float]:
    """(largest error of a mean or variance, in units of its standard error; relative error of the variance) by sampling."""
    grid, target = trial.make(n), trial.target
    x = np.asarray(target.sample(samples, np.random.default_rng(seed), grid[0]))
    done = candidate.run(Affine(target.mean(), np.diag(target.covariance())), x, grid, seed=seed)
    variance = done.end.alpha**2 * np.diag(target.covariance()) + done.end.sigma**2
    off = (done.x.mean(0) - done.end.alpha * target.mean()) / np.sqrt(variance / samples)
    off2 = (done.x.var(0) / variance - 1.0) / math.sqrt(2.0 / samples)
    return float(np.abs(np.append(off, off2)).max()), rms(done.x.var(0) / variance - 1.0)
